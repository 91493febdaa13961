/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_vm_state.c - a whole machine into a file and out of it: what goes on, what a reset makes afterwards, what is refused. Then
 * damaged files with right checksums, into the software engine: whatever is in them, the process lives.
 */
#include "state_forge.h"
#include "vm_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <signal.h>

#include "state/state_file.h"

#define COUNTER 0x200000u /* guest memory */
#define PAGE 4096u

/* Counts in memory and in a register, until it is asked to do something else. */
static void counting(struct engine_vcpu *v, struct engine_exit *exit)
{
	struct gmem *mem = v->en->cfg.mem;
	uint64_t n;

	exit->reason = ENGINE_EXIT_KICK;
	switch (get(fx.step)) {
	case 0:
		gmem_read(mem, COUNTER + 8 * v->index, &n, 8);
		n++;
		gmem_write(mem, COUNTER + 8 * v->index, &n, 8);
		v->st.gpr[X86_RBX] = n;
		break;
	case 1: /* a byte of CMOS memory, then a reset */
		set(fx.step, 3);
		guest_out(v, 0x70, 0x40, 1);
		guest_out(v, 0x71, 0x99, 1);
		guest_out(v, 0x64, 0xfe, 1);
		return;
	case 2:
		guest_out(v, 0x70, 0x40, 1);
		set(fx.ready, guest_in(v, 0x71, 1));
		set(fx.step, 3);
		break;
	case 4:
		set(fx.step, 3);
		exit->reason = ENGINE_EXIT_SHUTDOWN;
		return;
	}
	if (get(fx.step))
		fake_idle(v);
	add(fx.ready);
}

static uint64_t counter(unsigned cpu)
{
	json_t *j = NULL;
	struct err e = {0};
	uint64_t n = 0;

	/* The register of a parked vCPU, by way of the dump. */
	assert_int_equal(machine_dump(fx.m, cpu, &j, &e), 0);
	assert_int_equal(sscanf(strstr(json_string_value(json_object_get(j, "text")), "rbx") + 4,
				"%16lx", &n),
			 1);
	json_decref(j);
	return n;
}

static int save_to(int fd, bool hold, struct err *e)
{
	json_t *j = NULL;
	int r = machine_save(fx.m, fd, hold, &j, e);

	json_decref(j);
	return r;
}

static bool lpc; /* machines have the bridge */

/* A machine that counts, as a file. */
static int saved_machine(unsigned cpus, uint64_t *n, uint64_t *ms)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);
	struct err e = {0};

	fx_prepare(counting);
	fx.cfg.rng = fx.cfg.balloon = false;
	fx.cfg.lpc = lpc;
	fx.cfg.cpus = cpus;
	fx_start();
	/* Only vCPU 0 runs at first. */
	FX_UNTIL(get(fx.ready) > 100);
	if (save_to(fd, true, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(machine_state(fx.m), MACHINE_PAUSED);
	*n = counter(0);
	*ms = fx_uptime();
	fx_finish();
	return fd;
}

static void prepare_from(int fd, unsigned cpus)
{
	fx_prepare(counting);
	fx.cfg.rng = fx.cfg.balloon = false;
	fx.cfg.lpc = lpc;
	fx.cfg.cpus = cpus;
	base_close_fd(&fx.fds.fd[CONFIG_FD_KERNEL]);
	fx.fds.fd[CONFIG_FD_STATE] = dup(fd);
}

static void test_round_trip(void **st)
{
	uint64_t n, ms;
	int fd = saved_machine(2, &n, &ms), again;
	struct err e = {0};

	(void)st;
	for (unsigned twice = 0; twice < 2; twice++) {
		prepare_from(fd, 2);
		fx_create();
		assert_true(n > 50);
		assert_int_equal(fx_uptime(), ms);
		set(fx.step, 3);
		assert_int_equal(machine_start(fx.m, &e), 0);
		assert_int_equal(counter(0), n);
		set(fx.step, 0);
		(void)counter(0); /* wakes the vCPUs */
		FX_UNTIL(get(fx.ready) > 50);
		assert_true(fx_uptime() >= ms);
		assert_int_equal(machine_pause(fx.m, NULL), 0);
		assert_true(counter(0) > n);
		/* From a machine that came from a file itself, and goes on. */
		assert_int_equal(machine_resume(fx.m, NULL), 0);
		again = memfd_create("again", MFD_CLOEXEC);
		assert_int_equal(save_to(again, false, &e), 0);
		assert_int_equal(machine_state(fx.m), MACHINE_RUNNING);
		base_close_fd(&again);
		/* The kernel comes out of the file. */
		set(fx.step, 1);
		FX_UNTIL(strstr(fx.events, "reset:guest"));
		set(fx.ready, 0);
		set(fx.step, 2);
		(void)counter(0);
		FX_UNTIL(get(fx.ready) >= 0x99); /* CMOS memory has a battery */
		fx_finish();
	}
	close(fd);
}

static void expect_refused(int fd, unsigned cpus, const char *word)
{
	struct err e = {0};

	prepare_from(fd, cpus);
	assert_true(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &fake_engine_class, &fx.owner,
				   &e) < 0);
	assert_non_null(strstr(e.msg, word));
	assert_null(fx.m);
	fx_finish();
}

static uint32_t features; /* CPUID leaf 1 ECX */

static void showing_features(struct engine *en, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	(void)en;
	(void)sub;
	memset(out, 0, 4 * sizeof(*out));
	out[2] = leaf == 1 ? features : 0;
}

static int with_avx512(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s)
{
	struct x86_state wide = *s;

	wide.xcr0 = 0xe7;
	return fake_engine_class.set_state(v, mask, &wide);
}

/* XCR0 is held against the engine, whatever features the file says that the guest was shown. */
static void test_xcr0(void **st)
{
	struct engine_class cls = fake_engine_class;
	int fd = memfd_create("saved", MFD_CLOEXEC);
	struct err e = {0};

	(void)st;
	cls.set_state = with_avx512;
	fx_prepare(counting);
	fx.cfg.rng = fx.cfg.balloon = false;
	assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &cls, &fx.owner, &e), 0);
	assert_int_equal(machine_start(fx.m, &e), 0);
	assert_int_equal(save_to(fd, true, &e), 0);
	fx_finish();
	expect_refused(fd, 1, "XCR0 0xe7, more than the fake engine has");
	close(fd);
}

/* What the guest was shown must be there where it goes on; more may be. */
static void test_features(void **st)
{
	struct engine_class cls = fake_engine_class;
	int fd = memfd_create("saved", MFD_CLOEXEC);
	struct err e = {0};

	(void)st;
	cls.cpuid = showing_features;
	features = 1u << 28 | 1u << 20;
	fx_prepare(counting);
	fx.cfg.rng = fx.cfg.balloon = false;
	assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &cls, &fx.owner, &e), 0);
	assert_int_equal(machine_start(fx.m, &e), 0);
	assert_int_equal(save_to(fd, true, &e), 0);
	fx_finish();
	for (unsigned i = 0; i < 2; i++) {
		features = i ? 1u << 20 : ~0u;
		prepare_from(fd, 1);
		assert_int_equal(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &cls, &fx.owner,
						&e) < 0,
				 i);
		fx_finish();
	}
	assert_non_null(strstr(e.msg, "the processor feature AVX, which the fake engine does not"));
	/* The model is part of the machine. */
	e = (struct err){0};
	prepare_from(fd, 1);
	fx.cfg.cpu_model = CONFIG_CPU_V2;
	assert_true(machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &cls, &fx.owner, &e) < 0);
	assert_non_null(strstr(e.msg, "cpu.model"));
	fx_finish();
	close(fd);
}

static void test_refused(void **st)
{
	uint64_t n, ms;
	int fd = saved_machine(1, &n, &ms), other, p[2];
	struct err e = {0};
	uint8_t byte;
	off_t size = lseek(fd, 0, SEEK_END);

	(void)st;
	expect_refused(fd, 2, "cpus");
	/* Cut short, anywhere; longer. */
	for (unsigned i = 0; i < 40; i++) {
		other = memfd_create("short", MFD_CLOEXEC);
		for (off_t at = 0; at < size; at += 1 << 20) {
			static uint8_t chunk[1 << 20];
			ssize_t got = pread(fd, chunk, sizeof(chunk), at);

			if (at < 2 << 20 || at > size - (2 << 20))
				assert_int_equal(pwrite(other, chunk, (size_t)got, at), got);
		}
		assert_int_equal(ftruncate(other, i < 20 ? (off_t)i * 800 : size - 1 - (off_t)i), 0);
		expect_refused(other, 1, i < 1 ? "not the saved state" : "");
		close(other);
	}
	assert_int_equal(ftruncate(fd, size + 1), 0);
	expect_refused(fd, 1, "cut short, or is more");
	assert_int_equal(ftruncate(fd, size), 0);
	/* Version, and every byte of the head. */
	for (off_t at = 0; at < 88; at++) {
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		expect_refused(fd, 1,
			       at < 16 ? "not the saved state" :
			       at < 20 ? "version" :
					 "damaged");
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	/* What cannot be saved to: nothing happens to the guest. */
	prepare_from(fd, 1);
	fx_start();
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(save_to(p[1], false, &e), -EINVAL);
	close(p[0]);
	close(p[1]);
	e = (struct err){0};
	assert_int_equal(save_to(fd, true, &e), -EEXIST);
	assert_int_equal(machine_state(fx.m), MACHINE_RUNNING);
	other = memfd_create("full", MFD_CLOEXEC);
	{
		struct rlimit old, small;

		signal(SIGXFSZ, SIG_IGN);
		getrlimit(RLIMIT_FSIZE, &old);
		small = (struct rlimit){64 * KIB, old.rlim_max};
		setrlimit(RLIMIT_FSIZE, &small);
		e = (struct err){0};
		assert_int_equal(save_to(other, true, &e), -EFBIG);
		setrlimit(RLIMIT_FSIZE, &old);
		assert_non_null(strstr(e.msg, "not saved"));
	}
	close(other);
	set(fx.ready, 0);
	FX_UNTIL(get(fx.ready) > 10); /* it runs on */
	assert_int_equal(machine_quit(fx.m, NULL), 0);
	FX_UNTIL(fx.ended);
	assert_int_equal(save_to(-1, true, NULL), -ESHUTDOWN);
	fx_finish();
	close(fd);
}

static bool bridge_shown(void)
{
	struct err e = {0};
	json_t *j = NULL;
	bool r;

	assert_int_equal(machine_dump(fx.m, 0, &j, &e), 0);
	r = strstr(json_string_value(json_object_get(j, "text")), "00:1f.0 8086:2918");
	json_decref(j);
	return r;
}

/* Machines with the LPC bridge, as all had it, and those of today: each comes back as it was, also after a reset, and not as the other. */
static void test_lpc(void **st)
{
	(void)st;
	for (unsigned i = 0; i < 2; i++) {
		struct err e = {0};
		uint64_t n, ms;
		int fd;

		lpc = i;
		fd = saved_machine(1, &n, &ms);
		prepare_from(fd, 1);
		fx_create();
		assert_int_equal(machine_start(fx.m, &e), 0);
		assert_int_equal(bridge_shown(), i);
		set(fx.step, 1);
		FX_UNTIL(strstr(fx.events, "reset:guest"));
		assert_int_equal(bridge_shown(), i);
		fx_finish();
		lpc = !lpc;
		expect_refused(fd, 1, "lpc was ");
		close(fd);
	}
	lpc = false;
}

static void test_on_crash(void **st)
{
	(void)st;
	fx_prepare(counting);
	fx.cfg.rng = fx.cfg.balloon = false;
	fx.cfg.on_crash = CONFIG_ON_CRASH_RESET;
	set(fx.step, 4);
	fx_start();
	FX_UNTIL(strstr(fx.events, "reset:crash"));
	assert_int_equal(machine_state(fx.m), MACHINE_RUNNING);
	fx_finish();
}

/* ---- hostile ---- */

static uint32_t rnd(uint64_t *s, uint32_t n)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33) % n;
}

static void test_hostile(void **st)
{
	unsigned taken = 0, refused = 0;
	struct state_file f;
	uint64_t n, ms, seed = 99;
	int fd = saved_machine(1, &n, &ms);
	uint8_t *bad;

	(void)st;
	assert_int_equal(state_file_open(&f, fd, NULL), 0);
	bad = malloc(f.sections_len);
	for (unsigned round = 0; round < 200; round++) {
		struct err e = {0};
		json_t *j = NULL;

		memcpy(bad, f.sections, f.sections_len);
		for (unsigned i = 0, k = 1 + rnd(&seed, 6); i < k; i++)
			bad[rnd(&seed, (uint32_t)f.sections_len)] = (uint8_t)rnd(&seed, 256);
		state_forge(bad, f.sections_len);
		assert_int_equal(pwrite(fd, bad, f.sections_len, PAGE), (ssize_t)f.sections_len);
		prepare_from(fd, 1);
		if (machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &engine_soft, &fx.owner, &e) <
		    0) {
			assert_true(e.msg[0]);
			refused++;
		} else {
			taken++;
			assert_int_equal(machine_start(fx.m, &e), 0);
			for (unsigned i = 0; i < 5 && !fx.ended; i++)
				loop_run_once(fx.loop, 1);
			if (machine_state(fx.m) != MACHINE_ENDING) {
				assert_int_equal(machine_pause(fx.m, NULL), 0);
				assert_int_equal(machine_dump(fx.m, 0, &j, NULL), 0);
			}
			json_decref(j);
		}
		fx_finish();
	}
	assert_true(taken > 20 && refused > 20);
	free(bad);
	state_file_fini(&f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_features),   cmocka_unit_test(test_xcr0),
		cmocka_unit_test(test_lpc),	   cmocka_unit_test(test_on_crash),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
