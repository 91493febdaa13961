/* SPDX-License-Identifier: Apache-2.0 */
/* test_vm_vcpu.c - vCPU threads: sleep and wake, interrupts off, INIT and SIPI, the pause barrier, stops. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fake_engine.h"
#include "vm/vcpu.h"

#define N 2u

static struct {
	uint32_t irq[N]; /* pending interrupts; atomic */
	uint32_t acked[N], n_stopped, n_init[N], n_dead, n_due;
	enum vcpu_stop why;
	char text[160];
	uint32_t halt_now, rflags_if; /* what the guest does */
} t;

#define get(p) __atomic_load_n(&(p), __ATOMIC_SEQ_CST)
#define set(p, v) __atomic_store_n(&(p), v, __ATOMIC_SEQ_CST)
#define add(p) __atomic_add_fetch(&(p), 1, __ATOMIC_SEQ_CST)

static uint64_t now_ns(clockid_t c)
{
	struct timespec ts;

	clock_gettime(c, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Waits for something that another thread is about to make true. */
#define EVENTUALLY(cond)                                                  \
	do {                                                              \
		uint64_t end_ = now_ns(CLOCK_MONOTONIC) + 20000000000u;   \
		while (!(cond)) {                                         \
			if (now_ns(CLOCK_MONOTONIC) > end_)               \
				fail_msg("never became true: %s", #cond); \
			sched_yield();                                    \
		}                                                         \
	} while (0)

static bool irq_pending(void *ctx, unsigned i)
{
	(void)ctx;
	return get(t.irq[i]) != 0;
}

static void stopped(void *ctx, unsigned vcpu, enum vcpu_stop why, const char *text)
{
	(void)ctx;
	(void)vcpu;
	t.why = why;
	snprintf(t.text, sizeof(t.text), "%s", text);
	add(t.n_stopped);
}

static void init(void *ctx, unsigned vcpu)
{
	(void)ctx;
	add(t.n_init[vcpu]);
}

static void deadline(void *ctx, unsigned vcpu)
{
	(void)ctx;
	add(t.irq[vcpu]);
	add(t.n_due);
}

static void all_dead(void *ctx)
{
	(void)ctx;
	add(t.n_dead);
}

static const struct engine_host host = {.irq_pending = irq_pending};
static const struct vcpu_owner owner = {.stopped = stopped,
					.init = init,
					.deadline = deadline,
					.all_dead = all_dead};
static struct engine *en;
static struct vcpu_set *s;

static void begin(unsigned n, void (*guest)(struct engine_vcpu *, struct engine_exit *))
{
	struct engine_config cfg = {.host = &host, .n_vcpus = n};

	memset(&t, 0, sizeof(t));
	memset(&fake, 0, sizeof(fake));
	fake.guest = guest;
	assert_int_equal(fake_open(&en, &cfg, NULL), 0);
	assert_int_equal(vcpu_set_create(&s, &fake_engine_class, en, &host, &owner, n, NULL), 0);
}

static void end(void)
{
	vcpu_set_destroy(s);
	fake_close(en);
	s = NULL;
}

static enum vcpu_phase phase(unsigned i)
{
	struct vcpu_stats st;

	vcpu_stats(s, i, &st);
	return st.phase;
}

static uint64_t runs(unsigned i)
{
	struct vcpu_stats st;

	vcpu_stats(s, i, &st);
	return st.n_runs;
}

static void guest_busy(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	while (!fake_idle(v))
		;
}

/* Takes its interrupts, then halts with or without IF. */
static void guest_halts(struct engine_vcpu *v, struct engine_exit *exit)
{
	while (get(t.irq[v->index]) && get(t.rflags_if)) {
		__atomic_sub_fetch(&t.irq[v->index], 1, __ATOMIC_SEQ_CST);
		add(t.acked[v->index]);
	}
	v->st.rflags = get(t.rflags_if) ? X86_IF | X86_F1 : X86_F1;
	exit->reason = ENGINE_EXIT_HALT;
}

static void test_life(void **st)
{
	(void)st;
	begin(1, guest_busy);
	assert_int_equal(phase(0), VCPU_PARKED);
	vcpu_set_destroy(s); /* never started */
	assert_int_equal(vcpu_set_create(&s, &fake_engine_class, en, &host, &owner, 1, NULL), 0);
	assert_int_equal(vcpu_set_start(s, true, NULL), 0);
	vcpu_set_pause(s); /* all are in */
	assert_int_equal(runs(0), 0);
	vcpu_set_resume(s);
	EVENTUALLY(runs(0) >= 1);
	vcpu_set_pause(s);
	assert_int_equal(phase(0), VCPU_PARKED);
	vcpu_set_pause(s);
	vcpu_set_resume(s);
	vcpu_set_resume(s);
	EVENTUALLY(phase(0) == VCPU_RUNNING);
	end();
	assert_int_equal(fake.closed, 1);
}

/* What the process had used before its first vCPU ran is kept, whatever runs later. The first test, for only it finds that none has. */
static void test_first_run(void **st)
{
	uint64_t before, first;

	(void)st;
	begin(1, guest_busy);
	assert_int_equal(vcpu_set_start(s, true, NULL), 0);
	vcpu_set_pause(s);
	assert_int_equal(vcpu_first_run_cpu_ns(), 0);
	before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	vcpu_set_resume(s);
	EVENTUALLY(runs(0) >= 1);
	first = vcpu_first_run_cpu_ns();
	assert_in_range(first, before, now_ns(CLOCK_PROCESS_CPUTIME_ID));
	end();
	begin(1, guest_busy);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(runs(0) >= 1);
	end();
	assert_int_equal(vcpu_first_run_cpu_ns(), first);
}

static void test_create_fails(void **st)
{
	struct err e = {0};

	(void)st;
	begin(1, guest_busy);
	vcpu_set_destroy(s);
	fake.fail_vcpu = ENOSPC;
	assert_int_equal(vcpu_set_create(&s, &fake_engine_class, en, &host, &owner, 1, &e), -ENOSPC);
	assert_null(s);
	assert_string_equal(e.msg, "the fake engine makes no vCPU 0");
	end();
}

static void test_halt_and_interrupt(void **st)
{
	struct vcpu_stats v;

	(void)st;
	begin(1, guest_halts);
	t.rflags_if = 1;
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(phase(0) == VCPU_ASLEEP);
	for (unsigned i = 1; i <= 100; i++) {
		add(t.irq[0]);
		vcpu_interrupt(s, 0);
		EVENTUALLY(get(t.acked[0]) == i);
	}
	EVENTUALLY(phase(0) == VCPU_ASLEEP);
	assert_int_equal(t.n_dead, 0);
	/* A halted vCPU uses no processor time. (It may not quite be asleep yet, and be charged for what somebody else took.) */
	vcpu_stats(s, 0, &v);
	uint64_t cpu, n = v.n_runs;

	for (unsigned i = 0; i < 100; i++) {
		cpu = v.cpu_ns;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		vcpu_stats(s, 0, &v);
		cpu = v.cpu_ns - cpu;
		if (cpu < 1000000)
			break;
	}
	assert_true(cpu < 1000000);
	assert_int_equal(v.n_runs, n);
	/* Pause and resume in the halt. */
	vcpu_set_pause(s);
	assert_int_equal(phase(0), VCPU_PARKED);
	add(t.irq[0]);
	vcpu_interrupt(s, 0);
	assert_int_equal(runs(0), n);
	vcpu_set_resume(s);
	EVENTUALLY(get(t.acked[0]) == 101);
	end();
}

static void guest_sleeps(struct engine_vcpu *v, struct engine_exit *exit)
{
	guest_halts(v, exit);
	if (get(t.acked[0]) < 20)
		vcpu_set_deadline(s, 0, now_ns(CLOCK_MONOTONIC) + 100000);
}

static void test_deadline(void **st)
{
	(void)st;
	begin(1, guest_sleeps);
	t.rflags_if = 1;
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(get(t.acked[0]) == 20);
	assert_true(get(t.n_due) >= 20);
	EVENTUALLY(phase(0) == VCPU_ASLEEP);
	end();
}

static void test_halt_with_interrupts_off(void **st)
{
	uint64_t n;

	(void)st;
	begin(1, guest_halts);
	t.irq[0] = 1; /* pending all the time */
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(phase(0) == VCPU_DEAD);
	EVENTUALLY(get(t.n_dead) == 1);
	n = runs(0);
	vcpu_interrupt(s, 0);
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	assert_int_equal(runs(0), n);
	assert_int_equal(get(t.n_dead), 1);
	set(t.rflags_if, 1);
	vcpu_nmi(s, 0);
	EVENTUALLY(get(t.acked[0]) == 1);
	EVENTUALLY(phase(0) == VCPU_ASLEEP);
	end();
}

/* A processor that waits for a lock with interrupts off is woken by a kick. */
static void test_look(void **st)
{
	uint64_t n;

	(void)st;
	begin(1, guest_halts);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(phase(0) == VCPU_DEAD);
	for (unsigned i = 0; i < 100; i++) {
		n = runs(0);
		vcpu_look(s, 0);
		EVENTUALLY(runs(0) > n);
	}
	end();
}

static void test_init_sipi(void **st)
{
	struct x86_state x;
	uint64_t n;

	(void)st;
	begin(2, guest_busy);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(phase(1) == VCPU_WAITING);
	EVENTUALLY(phase(0) == VCPU_RUNNING);
	assert_int_equal(runs(1), 0);
	/* The boot processor does not wait for one. */
	vcpu_sipi(s, 0, 0x11);
	vcpu_interrupt(s, 1); /* is no start-up IPI */
	assert_int_equal(phase(1), VCPU_WAITING);
	vcpu_init(s, 1);
	vcpu_sipi(s, 1, 0x9a);
	EVENTUALLY(runs(1) >= 1);
	assert_int_equal(get(t.n_init[1]), 1);
	n = runs(1);
	vcpu_sipi(s, 1, 0x55); /* late: nothing */
	EVENTUALLY(runs(1) > n);
	vcpu_set_pause(s);
	vcpu_get_state(s, 1, X86_STATE_ALL, &x);
	assert_int_equal(x.seg[X86_CS].sel, 0x9a00);
	assert_int_equal(x.seg[X86_CS].base, 0x9a000);
	assert_int_equal(x.rip, 0);
	assert_false(x.ev.wait_for_sipi);
	vcpu_get_state(s, 0, X86_STATE_ALL, &x);
	assert_int_equal(x.rip, 0xfff0);
	vcpu_set_resume(s);
	vcpu_init(s, 1);
	EVENTUALLY(phase(1) == VCPU_WAITING);
	/* The order counts: an INIT takes back the start-up IPI before it. */
	vcpu_set_pause(s);
	vcpu_sipi(s, 1, 0x10);
	vcpu_init(s, 1);
	vcpu_set_resume(s);
	EVENTUALLY(get(t.n_init[1]) == 3);
	EVENTUALLY(phase(1) == VCPU_WAITING);
	assert_int_equal(t.n_init[0], 0);
	end();
}

static void guest_faults(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)v;
	exit->reason = ENGINE_EXIT_SHUTDOWN;
}

static void guest_error(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)v;
	exit->reason = ENGINE_EXIT_ERROR;
	strcpy(exit->why, "code memory is full");
}

static void test_stops(void **st)
{
	(void)st;
	begin(1, guest_faults);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(get(t.n_stopped) == 1);
	assert_int_equal(t.why, VCPU_STOP_TRIPLE_FAULT);
	vcpu_set_pause(s);
	vcpu_set_resume(s);
	vcpu_nmi(s, 0);
	vcpu_init(s, 0);
	vcpu_set_pause(s);
	assert_int_equal(runs(0), 1); /* not again */
	end();
	assert_int_equal(t.n_dead, 0);

	begin(1, guest_error);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(get(t.n_stopped) == 1);
	assert_int_equal(t.why, VCPU_STOP_ERROR);
	assert_string_equal(t.text, "code memory is full");
	end();

	begin(1, guest_busy);
	fake.fail_attach = EPERM;
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(get(t.n_stopped) == 1);
	assert_int_equal(t.why, VCPU_STOP_ERROR);
	assert_string_equal(t.text, "the fake engine does not attach");
	end();
}

/* A device register written by the guest asks for the pause, from the vCPU's own thread. */
static void guest_asks(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	vcpu_set_ask_pause(s);
	assert_true(fake_idle(v));
}

static void test_pause_from_inside(void **st)
{
	(void)st;
	begin(1, guest_asks);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	EVENTUALLY(phase(0) == VCPU_PARKED && runs(0) == 1);
	vcpu_set_pause(s);
	vcpu_set_resume(s);
	EVENTUALLY(phase(0) == VCPU_PARKED && runs(0) == 2);
	end();
}

/* Two vCPUs throw a ball: each wake-up that is lost ends the game. */
#define ROUNDS 5000u
static void guest_ping(struct engine_vcpu *v, struct engine_exit *exit)
{
	unsigned i = v->index;

	while (get(t.irq[i])) {
		set(t.irq[i], 0);
		if (add(t.acked[i]) <= ROUNDS) {
			add(t.irq[i ^ 1]);
			vcpu_interrupt(s, i ^ 1);
		}
	}
	v->st.rflags = X86_IF | X86_F1;
	exit->reason = ENGINE_EXIT_HALT;
}

static void test_no_lost_wakeup(void **st)
{
	(void)st;
	begin(2, guest_ping);
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	vcpu_init(s, 1);
	vcpu_sipi(s, 1, 1);
	set(t.irq[0], 1);
	vcpu_interrupt(s, 0);
	EVENTUALLY(get(t.acked[0]) == ROUNDS + 1 || get(t.acked[1]) == ROUNDS + 1);
	end();
}

static void test_pause_storm(void **st)
{
	(void)st;
	begin(2, guest_halts);
	t.rflags_if = 1;
	assert_int_equal(vcpu_set_start(s, false, NULL), 0);
	vcpu_init(s, 1);
	vcpu_sipi(s, 1, 1);
	for (unsigned i = 0; i < 1000; i++) {
		vcpu_set_pause(s);
		assert_int_equal(phase(0), VCPU_PARKED);
		assert_int_equal(phase(1), VCPU_PARKED);
		add(t.irq[i % 2]);
		vcpu_interrupt(s, i % 2);
		vcpu_set_resume(s);
	}
	EVENTUALLY(get(t.acked[0]) == 500 && get(t.acked[1]) == 500);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_run),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_halt_and_interrupt),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_halt_with_interrupts_off),
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_init_sipi),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_pause_from_inside),
		cmocka_unit_test(test_no_lost_wakeup),
		cmocka_unit_test(test_pause_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
