/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm_xsave.c - the XSAVE area of KVM to x86_state and back: AVX-512's components where Intel's and where AMD's processors have
 * them, and, where this machine's KVM has AVX-512, in the kernel itself (which need not be able to run a stock guest for it).
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/kvm/support.h"
#include "engine/kvm/xsave.h"

#define ALL (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_AVX512)

static uint32_t intel[KVM_XSAVE_WIDE][4] = {{64, 1088}, {512, 1152}, {1024, 1664}};
static uint32_t amd[KVM_XSAVE_WIDE][4] = {{64, 832}, {512, 896}, {1024, 1408}};

static uint64_t rng = UINT64_C(0x2545f4914f6cdd1d);

static void random_bytes(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		rng ^= rng << 13;
		rng ^= rng >> 7;
		rng ^= rng << 17;
		((uint8_t *)p)[i] = (uint8_t)rng;
	}
}

static void random_state(struct x86_state *s)
{
	uint64_t bv = ALL & ~X86_XCR0_AVX512;

	x86_state_reset(s, true);
	random_bytes(s->fx + 32, 8 * 16);
	for (unsigned i = 0; i < 8; i++)
		memset(s->fx + 32 + 16 * i + 10, 0, 6);
	random_bytes(s->fx + X86_FX_XMM, 256);
	random_bytes(s->fx + X86_FX_YMM_HI, 256);
	memcpy(s->fx + X86_FX_XSTATE_BV, &bv, sizeof(bv));
	random_bytes(&s->avx512, sizeof(s->avx512));
}

static void check_same(const struct x86_state *a, const struct x86_state *b)
{
	assert_memory_equal(a->fx, b->fx, sizeof(a->fx));
	assert_memory_equal(&a->avx512, &b->avx512, sizeof(a->avx512));
}

static void test_layouts(void **st)
{
	uint32_t bad[KVM_XSAVE_WIDE][4];
	struct kvm_xsave_layout l;

	(void)st;
	assert_true(kvm_xsave_layout(&l, intel));
	assert_int_equal(l.at[2], 1664);
	assert_true(kvm_xsave_layout(&l, amd));
	assert_int_equal(l.at[0], 832);
	memcpy(bad, intel, sizeof(bad));
	bad[1][CPUID_EAX] = 0; /* a component that is not there */
	assert_false(kvm_xsave_layout(&l, bad));
	assert_int_equal(l.at[0] | l.at[1] | l.at[2], 0);
	memcpy(bad, intel, sizeof(bad));
	bad[2][CPUID_EBX] = 4096 - 1023; /* past the end */
	assert_false(kvm_xsave_layout(&l, bad));
	bad[2][CPUID_EBX] = 576; /* in AVX's */
	assert_false(kvm_xsave_layout(&l, bad));
}

static void round_trip(uint32_t (*leaf)[4])
{
	static struct x86_state want, got;
	struct kvm_xsave_layout l;
	struct kvm_xsave area;
	const uint8_t *bytes = (const uint8_t *)area.region;

	assert_true(kvm_xsave_layout(&l, leaf));
	for (unsigned i = 0; i < 50; i++) {
		random_state(&want);
		kvm_xsave_in(&area, &l, ALL, &want);
		assert_memory_equal(bytes + leaf[0][CPUID_EBX], want.avx512.k, 64);
		assert_memory_equal(bytes + leaf[1][CPUID_EBX], want.avx512.zmm_hi, 512);
		assert_memory_equal(bytes + leaf[2][CPUID_EBX], want.avx512.zmm_16, 1024);
		memset(&got, 0x5a, sizeof(got));
		kvm_xsave_out(&area, &l, ALL, &got);
		check_same(&want, &got);
	}
}

static void test_round_trip(void **st)
{
	(void)st;
	round_trip(intel);
	round_trip(amd);
}

/* A component that XSTATE_BV does not name is initial, whatever its bytes are; and without AVX-512 nothing of it is looked at. */
static void test_initial(void **st)
{
	static const struct x86_avx512 none;
	static struct x86_state want, got;
	struct kvm_xsave_layout l;
	struct kvm_xsave area;
	uint64_t bv = ALL & ~(uint64_t)BIT(6);

	(void)st;
	assert_true(kvm_xsave_layout(&l, intel));
	random_state(&want);
	kvm_xsave_in(&area, &l, ALL, &want);
	memcpy((uint8_t *)area.region + X86_FX_XSTATE_BV, &bv, sizeof(bv));
	kvm_xsave_out(&area, &l, ALL, &got);
	memset(want.avx512.zmm_hi, 0, sizeof(want.avx512.zmm_hi));
	check_same(&want, &got);
	kvm_xsave_out(&area, &l, ALL & ~X86_XCR0_AVX512, &got);
	assert_memory_equal(&got.avx512, &none, sizeof(none));
	l = (struct kvm_xsave_layout){0};
	kvm_xsave_in(&area, &l, ALL & ~X86_XCR0_AVX512, &want);
	kvm_xsave_out(&area, &l, ALL & ~X86_XCR0_AVX512, &got);
	assert_memory_equal(&got.fx, &want.fx, sizeof(want.fx));
	assert_memory_equal(&got.avx512, &none, sizeof(none));
}

/* What the kernel is given, it gives back. */
static void test_in_kernel(void **st)
{
	static struct x86_state want, got;
	uint32_t leaf[KVM_XSAVE_WIDE][4], d[4];
	struct kvm_cpuid2 *t = NULL;
	struct kvm_xsave_layout l;
	struct kvm_xsave area;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;

	(void)st;
	if (kvm < 0 || kvm_support_read(kvm, &t) < 0) {
		print_message("skipped: no KVM\n");
		skip();
	}
	kvm_support_use(t);
	kvm_support_source(0xd, 0, d);
	for (unsigned i = 0; i < KVM_XSAVE_WIDE; i++)
		kvm_support_source(0xd, 5 + i, leaf[i]);
	kvm_support_use(NULL);
	if ((d[CPUID_EAX] & ALL) != ALL) {
		free(t);
		close(kvm);
		print_message("skipped: KVM here has no AVX-512\n");
		skip();
	}
	assert_true(kvm_xsave_layout(&l, leaf));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	assert_true(vm >= 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	assert_true(vcpu >= 0);
	assert_int_equal(ioctl(vcpu, KVM_SET_CPUID2, t), 0);
	for (unsigned i = 0; i < 50; i++) {
		random_state(&want);
		kvm_xsave_in(&area, &l, ALL, &want);
		assert_int_equal(ioctl(vcpu, KVM_SET_XSAVE, &area), 0);
		memset(&area, 0, sizeof(area));
		assert_int_equal(ioctl(vcpu, KVM_GET_XSAVE, &area), 0);
		kvm_xsave_out(&area, &l, ALL, &got);
		check_same(&want, &got);
	}
	free(t);
	close(vcpu);
	close(vm);
	close(kvm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_initial),
		cmocka_unit_test(test_in_kernel),
	};

	return cmocka_run_group_tests_name("kvm_xsave", tests, NULL, NULL);
}
