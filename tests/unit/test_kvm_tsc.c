/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm_tsc.c - the rate of a guest's TSC under the KVM that is here. This program's ioctl() stands before the C library's and can
 * pretend that KVM's idea of the host's frequency is an old one, as it is when its module was loaded before the kernel had measured.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/kvm/kvm.h"
#include "kvm_fixture.h"

#define SECOND UINT64_C(1000000000)

static unsigned long stale_khz; /* what a new VM's vCPUs have, unless told otherwise; 0: what KVM says */
static int last_vm = -1;
static bool old_kernel; /* a VM cannot be told a rate: Linux before 5.19 */

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_SET_TSC_KHZ && fd == last_vm && old_kernel) {
		errno = EINVAL;
		return -1;
	}
	r = (int)syscall(SYS_ioctl, fd, request, arg);
	if (request == KVM_CREATE_VM)
		last_vm = r;
	if (request == KVM_CREATE_VM && r >= 0 && stale_khz)
		syscall(SYS_ioctl, r, KVM_SET_TSC_KHZ, stale_khz);
	return r;
}

static int setup(void **state)
{
	return setup_n(state, 2, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_BOARD);
}

/* KVM's frequency is one percent too high: the one direction in which a processor without scaling can be told so. */
static int setup_stale(void **state)
{
	stale_khz = clock_tsc_khz() + clock_tsc_khz() / 100;
	return setup(state);
}

static int teardown_stale(void **state)
{
	stale_khz = 0;
	old_kernel = false;
	return teardown(state);
}

static unsigned long rate_of(const struct engine_vcpu *v)
{
	return (unsigned long)ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
}

/* What KVM gives a vCPU that asks for the host's present rate. */
static unsigned long present_rate(const struct fixture *f)
{
	int vm = ioctl(f->en->made.kvm, KVM_CREATE_VM, 0), vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	unsigned long khz;

	assert_true(vcpu >= 0);
	assert_int_equal(ioctl(vcpu, KVM_SET_TSC_KHZ, 0), 0);
	khz = (unsigned long)ioctl(vcpu, KVM_GET_TSC_KHZ, 0);
	close(vcpu);
	close(vm);
	return khz;
}

/*
 * A vCPU has the rate that the host has now, whatever was known when KVM's module was loaded. (With an old one a guest hung: each of its TSC
 * deadlines had passed.)
 */
static void test_present_rate(void **state)
{
	struct fixture *f = fixture(state);
	unsigned long khz = present_rate(f);

	assert_int_not_equal(khz, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rate_of(f->v[i]), khz);
}

static void test_present_rate_of_old_kernel(void **state)
{
	struct fixture *f;

	/* Made here, when the mark is set. */
	teardown(state);
	old_kernel = true;
	assert_int_equal(setup_stale(state), 0);
	f = fixture(state);
	assert_false(f->en->vm_tsc_rate);
	test_present_rate(state);
}

/* The guest's TSC, read by it, and between which values of the host's. */
static uint64_t guest_tsc(struct fixture *f, uint64_t *before, uint64_t *after)
{
	struct engine_exit exit = {.why = ""};

	f->n_out = 0;
	*before = clock_tsc();
	while (f->n_out < 2) {
		engine_kvm.run(f->v[0], &exit);
		assert_int_equal(exit.reason, ENGINE_EXIT_KICK);
	}
	*after = clock_tsc();
	return (uint64_t)f->out[1] << 32 | f->out[0];
}

/* A saved guest's rate: above the host's the kernel can always give it, below only with a processor that scales. */
static void test_other_rate(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {
		0x0f, 0x31,	  /* 1: rdtsc */
		0x66, 0xe7, PORT, /* out PORT, eax */
		0x66, 0x89, 0xd0, /* mov eax, edx */
		0x66, 0xe7, PORT, /* out PORT, eax */
		0xeb, 0xf3,	  /* jmp 1b */
	};
	uint32_t host = clock_tsc_khz(), khz = host + host / 4, leaf[4];
	uint64_t tsc, before, after, begin, ns = 0, slack;
	struct x86_state s;
	struct kvm_probe probe;
	bool scales = ioctl(f->en->made.vm, KVM_CHECK_EXTENSION,
			    (unsigned long)KVM_CAP_TSC_CONTROL) > 0;

	kvm_probe(&probe);
	if (!kvm_probe_usable(&probe))
		skip(); /* (one that emulates RDTSC does as it likes) */
	if (!scales)
		assert_int_equal(engine_kvm.set_tsc_khz(f->en, host / 2), -ENOTSUP);
	assert_int_equal(engine_kvm.tsc_scaled(f->en, 12345), 12345);
	assert_int_equal(engine_kvm.set_tsc_khz(f->en, khz), 0);
	assert_int_equal(rate_of(f->v[0]), khz);
	assert_int_equal(rate_of(f->v[1]), khz);
	engine_kvm.cpuid(f->en, 0x15, 0, leaf);
	assert_int_equal(leaf[CPUID_EBX], khz);
	engine_kvm.cpuid(f->en, 0x40000010, 0, leaf);
	assert_int_equal(leaf[CPUID_EAX], khz);
	assert_in_range(engine_kvm.tsc_scaled(f->en, UINT64_C(1000000) * host),
			UINT64_C(1000000) * khz - 1000, UINT64_C(1000000) * khz + 1000);

	f->kick_on_out = true;
	/* The guest had counted 100 s of its own when it was saved. */
	assert_int_equal(gmem_write(f->mem, CODE, code, sizeof(code)), 0);
	for (unsigned i = 0; i < 2; i++) {
		x86_state_reset(&s, i == 0);
		s.seg[X86_CS].sel = 0;
		s.seg[X86_CS].base = 0;
		s.rip = CODE;
		if (i == 0)
			begin = clock_tsc();
		s.msr.tsc_offset = UINT64_C(100000) * khz - engine_kvm.tsc_scaled(f->en, begin);
		assert_int_equal(engine_kvm.set_state(f->v[i], X86_STATE_ALL, &s), 0);
	}
	assert_int_equal(engine_kvm.set_clock(f->en, UINT64_C(100000) * khz, 7 * SECOND), 0);
	do {
		tsc = guest_tsc(f, &before, &after);
		/* What the kernel makes good at the next entry, and how well it has measured the host: a busy bed's emulated one is off by
		 * some percent. It is less than a quarter, by which the rate is another. */
		slack = (after - before) + (after - begin) / 10 + 5 * host;
		assert_in_range(tsc,
				UINT64_C(100000) * khz +
					engine_kvm.tsc_scaled(f->en, before - begin) - slack,
				UINT64_C(100000) * khz +
					engine_kvm.tsc_scaled(f->en, after - begin) + slack);
	} while (after - begin < host * UINT64_C(300));

	/* What is read is what the guest sees, for both, and kvmclock went on by the guest's rate. */
	for (unsigned paused = 0; paused < 2; paused++) {
		if (paused)
			engine_kvm.irqchip->pause(f->en);
		for (unsigned i = 0; i < 2; i++) {
			engine_kvm.get_state(f->v[i], X86_STATE_MSR, &s);
			tsc = engine_kvm.tsc_scaled(f->en, after) + s.msr.tsc_offset -
			      UINT64_C(100000) * khz;
			slack = (after - begin) / 4 + host * 50;
			if (i == 0 || !f->en->tsc_catches_up)
				assert_in_range(tsc,
						engine_kvm.tsc_scaled(f->en, after - begin) - slack,
						engine_kvm.tsc_scaled(f->en, after - begin) + slack);
			if (i == 0)
				assert_int_equal(engine_kvm.get_clock(f->en,
								      tsc + UINT64_C(100000) * khz,
								      &ns),
						 0);
		}
		assert_in_range(ns, 7 * SECOND + SECOND / 5, 7 * SECOND + 60 * SECOND);
		if (paused)
			engine_kvm.irqchip->resume(f->en);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_present_rate, setup, teardown_stale),
		cmocka_unit_test_setup_teardown(test_present_rate, setup_stale, teardown_stale),
		cmocka_unit_test_setup_teardown(test_present_rate_of_old_kernel, setup,
						teardown_stale),
		cmocka_unit_test_setup_teardown(test_other_rate, setup, teardown_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
