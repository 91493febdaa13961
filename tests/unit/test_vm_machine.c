/* SPDX-License-Identifier: Apache-2.0 */
/* test_vm_machine.c - life of a machine: start, ends of each kind, reset, pause, console with back-pressure, timers. */
#include <dirent.h>
#include <signal.h>

#include "vm_fixture.h"

static void expect_end(const char *events, int status)
{
	FX_UNTIL(fx.ended);
	assert_string_equal(fx.events, events);
	assert_int_equal(fx.status, status);
	assert_int_equal(machine_state(fx.m), MACHINE_ENDING);
	assert_int_equal(machine_pause(fx.m, NULL), -ESHUTDOWN);
	fx_finish();
}

/* ---- ends ---- */

static void guest_hello(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	if (v->st.rip == 0xfff0 || v->st.msr.apic_base == 0)
		return; /* not booted: the test times out */
	for (const char *p = "hello\n"; *p; p++)
		guest_out(v, LAYOUT_PORT_COM1, (uint8_t)*p, 1);
	guest_poweroff(v);
	assert_true(fake_idle(v)); /* does not run on */
}

static void test_poweroff(void **st)
{
	char buf[32] = "";

	(void)st;
	fx_prepare(guest_hello);
	fx_console();
	fx_start();
	FX_UNTIL(fx.ended);
	assert_int_equal(read(fx.out_r, buf, sizeof(buf)), 6);
	assert_string_equal(buf, "hello\n");
	expect_end("started shutdown:poweroff ", 0);
}

static void guest_debug_exit(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	guest_out(v, LAYOUT_PORT_DEBUG_EXIT, 77, 1);
	guest_out(v, LAYOUT_PORT_DEBUG_EXIT, 78, 1); /* the first counts */
	fake_idle(v);
}

static void test_debug_exit(void **st)
{
	(void)st;
	fx_prepare(guest_debug_exit);
	fx.cfg.debug_exit = true;
	fx_start();
	expect_end("started guest-exit:77 ", 0);
}

static void guest_triple_fault(struct engine_vcpu *v, struct engine_exit *exit)
{
	v->st.rip = 0x1234;
	exit->reason = ENGINE_EXIT_SHUTDOWN;
}

static void test_crash(void **st)
{
	(void)st;
	fx_prepare(guest_triple_fault);
	fx_start();
	FX_UNTIL(fx.ended);
	assert_non_null(strstr(fx.text, "triple fault on vCPU 0 at "));
	assert_non_null(strstr(fx.text, ":0x1234 "));
	expect_end("started crashed ", 3);
}

static void guest_breaks_engine(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)v;
	exit->reason = ENGINE_EXIT_ERROR;
	strcpy(exit->why, "it is broken");
}

static void test_engine_error(void **st)
{
	(void)st;
	fx_prepare(guest_breaks_engine);
	fx_start();
	FX_UNTIL(fx.ended);
	assert_string_equal(fx.text, "vCPU 0 cannot go on: it is broken");
	expect_end("started error ", 1);
}

static void guest_idle(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	while (!fake_idle(v))
		;
}

static void test_quit(void **st)
{
	(void)st;
	fx_prepare(guest_idle);
	fx.cfg.cpus = 4;
	fx_start();
	assert_int_equal(machine_quit(fx.m, NULL), 0);
	assert_int_equal(machine_quit(fx.m, NULL), 0);
	expect_end("started shutdown:quit ", 0);
}

static void test_destroy_while_running(void **st)
{
	(void)st;
	fx_prepare(guest_idle);
	fx_start();
	fx_finish();
	assert_string_equal(fx.events, "started ");
}

/* ---- failures of the start ---- */

static void test_create_fails(void **st)
{
	struct err e = {0};

	(void)st;
	fx_prepare(guest_idle);
	fake.fail_open = EPERM;
	assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &fake_engine_class,
					&fx.owner, &e),
			 -EPERM);
	assert_string_equal(e.msg, "the fake engine does not open");
	fake.fail_open = 0;
	fake.fail_vcpu = EPERM;
	memset(&e, 0, sizeof(e));
	fx.cfg.cpus = 2;
	assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &fake_engine_class,
					&fx.owner, &e),
			 -EPERM);
	fake.fail_vcpu = 0;
	memset(&e, 0, sizeof(e));
	assert_int_equal(ftruncate(fx.fds.fd[CONFIG_FD_KERNEL], 100), 0);
	assert_true(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &fake_engine_class, &fx.owner,
				   &e) < 0);
	assert_non_null(strstr(e.msg, "vmlinux"));
	fx_finish();
}

/*
 * An engine that has something begun, and interrupt controllers, is opened behind the reading of the kernel. What fails first is
 * told, once, and what was begun is taken back.
 */
static void test_create_fails_begun(void **st)
{
	static const struct engine_irqchip irqchip;
	struct engine_class class = fake_engine_class;
	struct err e = {0};

	(void)st;
	class.irqchip = &irqchip;
	fx_prepare(guest_idle);
	fake.fail_open = EPERM;
	assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &class, &fx.owner, &e),
			 -EPERM);
	assert_string_equal(e.msg, "the fake engine does not open");
	assert_int_equal(fake.taken, 1);
	assert_int_equal(fake.abandoned, 0);
	assert_int_equal(ftruncate(fx.fds.fd[CONFIG_FD_KERNEL], 100), 0);
	memset(&e, 0, sizeof(e));
	assert_true(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &class, &fx.owner, &e) < 0);
	assert_non_null(strstr(e.msg, "vmlinux"));
	assert_int_equal(fake.abandoned, 1);
	/* Before there is any hardware. */
	fx.cfg.memory_bytes = UINT64_C(1) << 62;
	memset(&e, 0, sizeof(e));
	assert_true(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &class, &fx.owner, &e) < 0);
	assert_non_null(strstr(e.msg, "memory"));
	assert_int_equal(fake.abandoned, 2);
	assert_int_equal(fake.begun, 3);
	assert_int_equal(fake.opened, 0);
	fx_finish();
}

/* ---- reset ---- */

static void guest_resets(struct engine_vcpu *v, struct engine_exit *exit)
{
	uint32_t *word = gmem_at(v->en->cfg.mem, 0x2000000, 4);

	(void)exit;
	assert_int_equal(*word, 0); /* memory is as new */
	*word = 0xdead;
	guest_out(v, LAYOUT_PORT_COM1, 'a' + get(fx.step), 1);
	if (add(fx.step) <= 3)
		guest_out(v, LAYOUT_PORT_RESET, 6, 1);
	else
		guest_poweroff(v);
	fake_idle(v);
}

static void test_reset(void **st)
{
	char buf[32] = "";

	(void)st;
	fx_prepare(guest_resets);
	fx_console();
	fx_start();
	FX_UNTIL(fx.ended);
	assert_int_equal(read(fx.out_r, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "abcd");
	assert_int_equal(fake.opened, 4);
	assert_int_equal(fake.taken, 4); /* at each reset, too */
	expect_end("started reset:guest reset:guest reset:guest shutdown:poweroff ", 0);
}

static void test_no_reboot(void **st)
{
	(void)st;
	fx_prepare(guest_resets);
	fx.cfg.no_reboot = true;
	fx_start();
	expect_end("started shutdown:reset ", 0);
}

static void test_reset_fails(void **st)
{
	(void)st;
	fx_prepare(guest_idle);
	fx_start();
	assert_int_equal(ftruncate(fx.fds.fd[CONFIG_FD_KERNEL], 0), 0);
	assert_int_equal(machine_reset(fx.m, NULL), 0);
	FX_UNTIL(fx.ended);
	assert_non_null(strstr(fx.text, "vmlinux"));
	expect_end("started error ", 1);
}

static unsigned n_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_reset_storm(void **st)
{
	unsigned before;

	(void)st;
	fx_prepare(guest_idle);
	fx.cfg.cpus = 2;
	fx_start();
	before = n_fds();
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(machine_reset(fx.m, NULL), 0);
	assert_int_equal(n_fds(), before);
	assert_int_equal(fx.n_events, 101);
	/* A reset of a paused machine stays paused. */
	assert_int_equal(machine_pause(fx.m, NULL), 0);
	assert_int_equal(machine_reset(fx.m, NULL), 0);
	assert_int_equal(machine_state(fx.m), MACHINE_PAUSED);
	assert_int_equal(machine_resume(fx.m, NULL), 0);
	fx_finish();
}

/* ---- pause, query, dump, stats ---- */

static void test_pause(void **st)
{
	uint64_t t0, t1, begin;
	json_int_t runs = 0;
	json_t *j = NULL;
	struct err e = {0};

	(void)st;
	fx_prepare(guest_idle);
	fx_start();
	assert_int_equal(machine_pause(fx.m, NULL), 0);
	assert_int_equal(machine_pause(fx.m, NULL), 0);
	t0 = fx_uptime();
	usleep(20000);
	assert_int_equal(fx_uptime(), t0);
	assert_int_equal(machine_query(fx.m, &j, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(j, "state")), "paused");
	assert_string_equal(json_string_value(json_object_get(j, "engine")), "fake");
	json_decref(j);
	begin = clock_ns();
	assert_int_equal(machine_resume(fx.m, NULL), 0);
	assert_int_equal(machine_resume(fx.m, NULL), 0);
	usleep(3000);
	t1 = fx_uptime();
	assert_true(t1 >= t0 + 2);
	assert_true(t1 <= t0 + 1 + (clock_ns() - begin) / CLOCK_NS_PER_MS);

	assert_int_equal(machine_dump(fx.m, 0, &j, NULL), 0);
	assert_non_null(strstr(json_string_value(json_object_get(j, "text")), "vcpu 0 of 1"));
	assert_non_null(strstr(json_string_value(json_object_get(j, "text")), "com1"));
	json_decref(j);
	assert_int_equal(machine_dump(fx.m, 1, &j, &e), -EINVAL);
	assert_string_equal(e.field, "vcpu");
	/* On a busy machine the thread of the vCPU may not have begun yet. */
	for (unsigned i = 0; i < 10000 && runs < 1; i++) {
		assert_int_equal(machine_stats(fx.m, &j, NULL), 0);
		assert_int_equal(json_integer_value(json_object_get(j, "fake.answer")), 42);
		runs = json_integer_value(json_object_get(j, "vcpu0.runs"));
		json_decref(j);
		usleep(1000);
	}
	assert_true(runs >= 1);
	assert_string_equal(fx.events, "started paused resumed ");
	fx_finish();
}

static void guest_sees_button(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	if (guest_in(v, LAYOUT_PORT_PM, 2) & 0x100)
		guest_poweroff(v);
	sched_yield();
}

static void test_powerdown(void **st)
{
	(void)st;
	fx_prepare(guest_sees_button);
	fx_start();
	assert_int_equal(machine_powerdown(fx.m, NULL), 0);
	expect_end("started powerdown shutdown:poweroff ", 0);
}

static void guest_dies(struct engine_vcpu *v, struct engine_exit *exit)
{
	v->st.rflags = X86_F1;
	exit->reason = ENGINE_EXIT_HALT;
}

static void test_halted(void **st)
{
	json_t *j = NULL;

	(void)st;
	fx_prepare(guest_dies);
	fx.cfg.cpus = 3; /* the others wait for their start-up IPI */
	fx_start();
	FX_UNTIL(fx.n_events == 2);
	assert_int_equal(machine_dump(fx.m, 0, &j, NULL), 0);
	json_decref(j);
	loop_run_once(fx.loop, 10);
	assert_string_equal(fx.events, "started halted ");
	assert_int_equal(machine_quit(fx.m, NULL), 0);
	expect_end("started halted shutdown:quit ", 0);
}

/* ---- timers and interrupts ---- */

#define X2APIC 0x800u

static void guest_timer(struct engine_vcpu *v, struct engine_exit *exit)
{
	const struct engine_host *h = v->en->cfg.host;

	if (get(fx.step) == 0) {
		guest_wrmsr(v, 0x1b, 0xfee00000 | BIT(11) | BIT(10) | BIT(8));
		guest_wrmsr(v, X2APIC + 0xf, 0x1ff);
		guest_wrmsr(v, X2APIC + 0x3e, 0xb);  /* divide by 1 */
		guest_wrmsr(v, X2APIC + 0x32, 0x40); /* one-shot, vector 0x40 */
	} else if (h->irq_pending(h->ctx, 0)) {
		assert_int_equal(h->irq_ack(h->ctx, 0), 0x40);
		guest_wrmsr(v, X2APIC + 0xb, 0);
		if (get(fx.step) == 20)
			guest_wrmsr(v, X2APIC + 0x32, 0x40 | 1 << 18); /* TSC deadline */
	} else {
		exit->reason = ENGINE_EXIT_HALT;
		return;
	}
	if (add(fx.step) > 40) {
		guest_poweroff(v);
		fake_idle(v);
	} else if (get(fx.step) <= 20) {
		guest_wrmsr(v, X2APIC + 0x38, 200000); /* 0.2 ms */
	} else {
		guest_wrmsr(v, 0x6e0, clock_tsc() + v->st.msr.tsc_offset + clock_tsc_khz() / 5);
	}
	v->st.rflags = X86_F1 | X86_IF;
	exit->reason = ENGINE_EXIT_HALT;
}

static void test_apic_timer(void **st)
{
	(void)st;
	fx_prepare(guest_timer);
	fx_start();
	expect_end("started shutdown:poweroff ", 0);
}

static void test_apic_timer_and_pauses(void **st)
{
	(void)st;
	fx_prepare(guest_timer);
	fx_start();
	for (unsigned i = 0; i < 50 && !fx.ended; i++) {
		if (machine_pause(fx.m, NULL) < 0)
			break;
		loop_run_once(fx.loop, 0);
		if (machine_resume(fx.m, NULL) < 0)
			break;
		loop_run_once(fx.loop, 1);
	}
	FX_UNTIL(fx.ended);
	assert_non_null(strstr(fx.events, "shutdown:poweroff"));
	fx_finish();
}

/* ---- console ---- */

#define LOTS 300000u

static void guest_talks(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	while (get(fx.step) < LOTS) {
		if (!(guest_in(v, LAYOUT_PORT_COM1 + 5, 1) & 0x20))
			return; /* transmitter busy: look at kicks, then again */
		guest_out(v, LAYOUT_PORT_COM1, (get(fx.step) * 7) & 0xff, 1);
		add(fx.step);
	}
	guest_poweroff(v);
	fake_idle(v);
}

static void test_slow_reader(void **st)
{
	uint8_t buf[5000];
	unsigned seen = 0;

	(void)st;
	fx_prepare(guest_talks);
	fx_console();
	assert_int_equal(fcntl(fx.out_r, F_SETFL, O_NONBLOCK), 0);
	assert_true(fcntl(fx.out_r, F_SETPIPE_SZ, 4096) >= 4096);
	fx_start();
	/* Nobody reads: the guest stops in front of its transmitter, and can be paused there. */
	for (uint32_t last = 1; last != get(fx.step);) {
		last = get(fx.step);
		for (unsigned i = 0; i < 20; i++)
			loop_run_once(fx.loop, 5);
	}
	assert_true(get(fx.step) < LOTS);
	assert_int_equal(machine_pause(fx.m, NULL), 0);
	assert_int_equal(machine_resume(fx.m, NULL), 0);
	while (seen < LOTS) {
		ssize_t n = read(fx.out_r, buf, sizeof(buf));

		for (ssize_t i = 0; i < n; i++, seen++)
			assert_int_equal(buf[i], (seen * 7) & 0xff);
		if (n < 0)
			loop_run_once(fx.loop, 1);
		assert_false(n == 0);
	}
	expect_end("started paused resumed shutdown:poweroff ", 0);
}

/* The guest is off, the reader asleep: the machine waits for it, until somebody wants the end. */
static void test_quit_before_reader(void **st)
{
	(void)st;
	fx_prepare(guest_hello);
	fx_console();
	while (write(fx.fds.fd[CONFIG_FD_CONSOLE_OUT], "x", 1) == 1 &&
	       fcntl(fx.fds.fd[CONFIG_FD_CONSOLE_OUT], F_SETFL, O_NONBLOCK) == 0)
		; /* the pipe is full */
	fx_start();
	FX_UNTIL(machine_state(fx.m) == MACHINE_ENDING);
	for (unsigned i = 0; i < 20; i++)
		loop_run_once(fx.loop, 5);
	assert_false(fx.ended);
	assert_int_equal(machine_quit(fx.m, NULL), 0);
	expect_end("started shutdown:poweroff ", 0);
}

static void test_reader_goes_away(void **st)
{
	(void)st;
	signal(SIGPIPE, SIG_IGN);
	fx_prepare(guest_talks);
	fx_console();
	base_close_fd(&fx.out_r);
	fx_start();
	expect_end("started shutdown:poweroff ", 0);
}

static void guest_listens(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	if (!get(fx.ready))
		guest_out(v, LAYOUT_PORT_COM1 + 2, 7, 1); /* FIFO on, and empty */
	set(fx.ready, 1);
	while (guest_in(v, LAYOUT_PORT_COM1 + 5, 1) & 1) {
		assert_int_equal(guest_in(v, LAYOUT_PORT_COM1, 1), (get(fx.step) * 3) & 0xff);
		if (add(fx.step) == 4000) {
			guest_poweroff(v);
			fake_idle(v);
		}
	}
	sched_yield();
}

static void test_input(void **st)
{
	uint8_t buf[4000];

	(void)st;
	fx_prepare(guest_listens);
	fx_console();
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 3);
	fx_start();
	FX_UNTIL(get(fx.ready));
	assert_int_equal(write(fx.in_w, buf, 100), 100);
	FX_UNTIL(get(fx.step) == 100);
	assert_int_equal(write(fx.in_w, buf + 100, 3900), 3900);
	base_close_fd(&fx.in_w); /* the end of input is not the end of the VM */
	expect_end("started shutdown:poweroff ", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_poweroff),
		cmocka_unit_test(test_debug_exit),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_engine_error),
		cmocka_unit_test(test_quit),
		cmocka_unit_test(test_destroy_while_running),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_create_fails_begun),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_no_reboot),
		cmocka_unit_test(test_reset_fails),
		cmocka_unit_test(test_reset_storm),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_powerdown),
		cmocka_unit_test(test_halted),
		cmocka_unit_test(test_apic_timer),
		cmocka_unit_test(test_apic_timer_and_pauses),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_quit_before_reader),
		cmocka_unit_test(test_reader_goes_away),
		cmocka_unit_test(test_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
