/* SPDX-License-Identifier: Apache-2.0 */
/* test_x86_state.c - architectural state: reset, INIT, SIPI, copies, the dump; and the CPUID table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "x86/cpuid.h"
#include "x86/state.h"

static void test_reset(void **st)
{
	struct x86_state s;

	(void)st;
	memset(&s, 0xff, sizeof(s));
	x86_state_reset(&s, true);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.cr3 | s.cr4 | s.cr2 | s.cr8, 0);
	assert_int_equal(s.msr.efer, 0);
	assert_int_equal(s.seg[X86_CS].base, 0xffff0000);
	assert_int_equal(s.seg[X86_CS].sel, 0xf000);
	assert_int_equal(s.seg[X86_SS].limit, 0xffff);
	assert_int_equal(x86_state_cpl(&s), 0);
	assert_int_equal(s.dr[6], 0xffff0ff0);
	assert_int_equal(s.dr[7], 0x400);
	assert_int_equal(s.idt.limit, 0xffff);
	assert_int_equal(s.msr.apic_base, 0xfee00900);
	assert_int_equal(s.msr.pat, 0x0007040600070406);
	assert_int_equal(s.fx[24] | s.fx[25] << 8, 0x1f80);
	assert_int_equal(s.fx[X86_FX_XSTATE_BV], 1);
	assert_int_equal(s.xcr0, 1);
	assert_false(s.ev.wait_for_sipi);
	x86_state_reset(&s, false);
	assert_int_equal(s.msr.apic_base, 0xfee00800);
	assert_true(s.ev.wait_for_sipi);
}

static void test_init_and_sipi(void **st)
{
	struct x86_state s;

	(void)st;
	x86_state_reset(&s, false);
	s.cr0 = 0x80050033;
	s.msr.efer = 0xd01;
	s.msr.mtrr_def_type = 0xc06;
	s.msr.tsc_offset = 77;
	s.fx[0] = 0x7f;
	s.ev.halted = s.ev.nmi_masked = true;
	x86_state_init(&s, false);
	assert_int_equal(s.cr0, 0x10); /* CD and NW were clear and stay so */
	assert_int_equal(s.msr.efer, 0);
	assert_int_equal(s.msr.mtrr_def_type, 0xc06);
	assert_int_equal(s.msr.tsc_offset, 77);
	assert_int_equal(s.fx[0], 0x7f);
	assert_false(s.ev.halted || s.ev.nmi_masked);
	assert_true(s.ev.wait_for_sipi);
	x86_state_sipi(&s, 0x9a);
	assert_int_equal(s.seg[X86_CS].sel, 0x9a00);
	assert_int_equal(s.seg[X86_CS].base, 0x9a000);
	assert_int_equal(s.rip, 0);
	assert_false(s.ev.wait_for_sipi);
	s.cr0 |= X86_CR0_CD;
	x86_state_init(&s, true);
	assert_int_equal(s.cr0, 0x40000010);
	assert_false(s.ev.wait_for_sipi);
}

static void test_copy(void **st)
{
	static struct x86_state a, b, all;

	(void)st;
	memset(&a, 0x11, sizeof(a));
	a.ev = (struct x86_events){.halted = true};
	x86_state_copy(&all, &a, X86_STATE_ALL);
	assert_int_equal(all.gpr[15], a.gpr[15]);
	assert_int_equal(all.cr8, a.cr8);
	assert_int_equal(all.tr.base, a.tr.base);
	assert_int_equal(all.msr.virt_spec_ctrl, a.msr.virt_spec_ctrl);
	assert_memory_equal(all.fx, a.fx, sizeof(a.fx));
	assert_true(all.ev.halted);
	x86_state_copy(&b, &a, X86_STATE_GPR);
	assert_int_equal(b.rip, a.rip);
	assert_int_equal(b.cr0, 0);
	assert_int_equal(b.msr.efer, 0);
	assert_int_equal(b.fx[0], 0);
}

static void test_print(void **st)
{
	struct x86_state s;
	char buf[4096], small[16];
	int n;

	(void)st;
	x86_state_reset(&s, true);
	s.gpr[X86_R15] = 0xdeadbeef;
	n = x86_state_print(&s, buf, sizeof(buf));
	assert_int_equal(n, strlen(buf));
	assert_non_null(strstr(buf, "00000000deadbeef"));
	assert_non_null(strstr(buf, "cs   f000 base 00000000ffff0000"));
	assert_int_equal(x86_state_print(&s, small, sizeof(small)), n);
	assert_int_equal(strlen(small), sizeof(small) - 1);
	assert_int_equal(x86_state_print(&s, NULL, 0), n);
}

/* ---- CPUID ---- */

static uint32_t vendor[4];
static uint32_t bits; /* what every feature register of the pretended host holds */

static void pretend(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = bits;
	if (leaf == 0)
		memcpy(out, vendor, sizeof(vendor));
	else if (leaf == 4 || leaf == 0x8000001d)
		out[CPUID_EAX] = sub < 4 ? 0x3c004121 | sub << 5 : 0;
	else if (leaf == 0x80000000)
		out[CPUID_EAX] = 0x80000021;
	else if (leaf == 0x80000008)
		out[CPUID_EAX] = 39 | 48 << 8;
}

static void set_vendor(const char *name)
{
	vendor[CPUID_EAX] = 0x20;
	memcpy(&vendor[CPUID_EBX], name, 4);
	memcpy(&vendor[CPUID_EDX], name + 4, 4);
	memcpy(&vendor[CPUID_ECX], name + 8, 4);
}

struct regs {
	uint32_t a, b, c, d;
};

static struct regs get(const struct cpuid_table *t, uint32_t leaf, uint32_t sub, uint32_t id)
{
	struct regs r;

	cpuid_get(t, leaf, sub, id, &r.a, &r.b, &r.c, &r.d);
	return r;
}

static struct cpuid_table table;

static void test_features(void **st)
{
	struct regs r;

	(void)st;
	set_vendor("GenuineIntel");
	bits = ~0u;
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 4, 2100000);
	assert_int_equal(table.vendor, CPUID_VENDOR_INTEL);
	r = get(&table, 1, 0, 3);
	assert_int_equal(r.b >> 24, 3);
	assert_int_equal(r.b >> 16 & 0xff, 4);
	/* OSXSAVE is the guest's CR4; no MONITOR, VMX. XSAVE, AVX, FMA, F16C, MOVBE. */
	assert_int_equal(r.c & (BIT(27) | BIT(3) | BIT(5)), 0);
	assert_int_equal(r.c | ~(uint32_t)(BIT(26) | BIT(28) | BIT(12) | BIT(29) | BIT(22)), ~0u);
	assert_int_equal(table.xcr0_valid, 7);
	r = get(&table, 0xd, 0, 0);
	assert_int_equal(r.a, 7);
	assert_int_equal(r.c, 832);
	assert_int_equal(r.d, 0);
	r = get(&table, 0xd, 1, 0);
	assert_int_equal(r.a, 7); /* XSAVEOPT, XSAVEC, XGETBV(1); no XSAVES */
	assert_int_equal(r.c | r.d, 0);
	r = get(&table, 0xd, 2, 0);
	assert_int_equal(r.a, 256);
	assert_int_equal(r.b, 576);
	assert_int_equal(r.c | r.d, 0);
	r = get(&table, 1, 0, 3);
	assert_int_equal(r.c & (BIT(31) | BIT(21) | BIT(24)), BIT(31) | BIT(21) | BIT(24));
	assert_int_equal(r.d & BIT(1), 0); /* VME */
	r = get(&table, 7, 0, 0);
	assert_int_equal(r.a, 0);
	assert_int_equal(r.b & (BIT(3) | BIT(5) | BIT(8) | BIT(16)),
			 BIT(3) | BIT(5) | BIT(8));		/* no AVX-512 */
	assert_int_equal(r.c & (BIT(1) | BIT(8) | BIT(16)), 0); /* AVX512-VBMI, GFNI, LA57 */
	assert_true(r.d & BIT(29));
	assert_true(table.arch_cap && table.spec_ctrl);
	assert_int_equal(get(&table, 7, 1, 0).a, 0);
	assert_int_equal(table.phys_bits, 39);
	assert_int_equal(get(&table, 0x80000008, 0, 0).a, 39 | 48 << 8);
	assert_int_equal(table.cr4_valid &
				 (X86_CR4_LA57 | X86_CR4_OSXSAVE | X86_CR4_VME | X86_CR4_PKE),
			 X86_CR4_OSXSAVE);
	assert_int_equal(table.cr4_valid & (X86_CR4_SMEP | X86_CR4_PCIDE),
			 X86_CR4_SMEP | X86_CR4_PCIDE);
	/* A host with nothing: only what we add. */
	bits = 0;
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 1, 2100000);
	r = get(&table, 1, 0, 0);
	assert_int_equal(r.c, BIT(31) | BIT(21) | BIT(24));
	assert_int_equal(r.d & BIT(25), 0); /* SSE runs as itself */
	assert_int_equal(table.cr4_valid & (X86_CR4_SMEP | X86_CR4_PCIDE), 0);
	assert_false(table.gbpages || table.rdtscp || table.xcr0_valid || table.lzcnt ||
		     table.tzcnt || table.movbe);
	assert_int_equal(get(&table, 7, 0, 0).b & (BIT(3) | BIT(5) | BIT(8)), 0);
	assert_int_equal(get(&table, 0xd, 0, 0).a, 0);
	assert_int_equal(table.efer_valid & X86_EFER_NXE, 0);
}

/* An AMD processor's places in the XSAVE area. */
static void with_avx512(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	static const uint32_t part[3][2] = {{64, 832}, {512, 896}, {1024, 1408}};

	pretend(leaf, sub, out);
	if (leaf == 0xd && sub >= 5 && sub <= 7) {
		out[CPUID_EAX] = part[sub - 5][0];
		out[CPUID_EBX] = part[sub - 5][1];
	}
}

static void without_its_state(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	with_avx512(leaf, sub, out);
	if (leaf == 0xd && sub == 0)
		out[CPUID_EAX] &= ~0x40u;
}

static void test_avx512(void **st)
{
	struct regs r;

	(void)st;
	set_vendor("AuthenticAMD");
	bits = ~0u;
	cpuid_build(&table, with_avx512, CPUID_MODEL_HOST, 1, 2100000);
	cpuid_add_avx512(&table, without_its_state);
	assert_int_equal(table.xcr0_valid, 7);
	assert_int_equal(get(&table, 7, 0, 0).b & BIT(16), 0);
	cpuid_add_avx512(&table, with_avx512);
	assert_int_equal(table.xcr0_valid, 0xe7);
	r = get(&table, 7, 0, 0);
	assert_int_equal(r.b & 0xd0230000, 0xd0230000);
	assert_int_equal(r.b & BIT(26), 0); /* AVX512PF, of other processors */
	assert_int_equal(r.c & (BIT(1) | BIT(8) | BIT(11) | BIT(16)), BIT(1) | BIT(11));
	r = get(&table, 0xd, 0, 0);
	assert_int_equal(r.a, 0xe7);
	assert_int_equal(r.c, 2432);
	r = get(&table, 0xd, 7, 0);
	assert_int_equal(r.a, 1024);
	assert_int_equal(r.b, 1408);
	/* Not without AVX: the model's. */
	cpuid_build(&table, with_avx512, CPUID_MODEL_V2, 1, 2100000);
	cpuid_add_avx512(&table, with_avx512);
	assert_int_equal(table.xcr0_valid, 0);
	assert_int_equal(get(&table, 0xd, 5, 0).a, 0);
}

static void test_vendors(void **st)
{
	struct regs r;

	(void)st;
	set_vendor("AuthenticAMD");
	bits = ~0u;
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 2, 2100000);
	assert_int_equal(table.vendor, CPUID_VENDOR_AMD);
	r = get(&table, 0x80000001, 0, 0);
	assert_int_equal(r.c & (BIT(2) | BIT(6) | BIT(11) | BIT(16)), 0); /* SVM, SSE4A, XOP, FMA4 */
	assert_true(r.c & BIT(22));
	assert_int_equal(r.d & (BIT(30) | BIT(31) | BIT(25)), 0); /* 3DNow, FFXSR */
	assert_true(table.auto_ibrs);
	assert_true(table.efer_valid & BIT(21));
	assert_int_equal(get(&table, 0x8000001e, 0, 1).a, 1);
	assert_int_equal(get(&table, 0x80000021, 0, 0).a, BIT(2) | BIT(6) | BIT(8) | BIT(29));
	assert_int_equal(get(&table, 4, 0, 0).a, 0); /* Intel's cache leaf */
	assert_int_not_equal(get(&table, 0x8000001d, 3, 0).a, 0);
	assert_false(table.spec_ctrl || table.arch_cap);
	set_vendor("HygonGenuine");
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 2, 2100000);
	assert_int_equal(table.vendor, CPUID_VENDOR_AMD);
	set_vendor("CentaurHauls");
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 2, 2100000);
	assert_int_equal(table.vendor, CPUID_VENDOR_OTHER);
}

static void test_topology(void **st)
{
	(void)st;
	set_vendor("GenuineIntel");
	bits = ~0u;
	for (unsigned n = 1; n <= 256; n++) {
		struct regs core, past;

		cpuid_build(&table, pretend, CPUID_MODEL_HOST, n, 2100000);
		assert_true(table.n < CPUID_MAX_ENTRIES);
		core = get(&table, 0xb, 1, n - 1);
		assert_int_equal(core.b, n);
		assert_true(1u << core.a >= n);
		assert_int_equal(core.d, n - 1);
		assert_int_equal(core.c, 0x201);
		assert_int_equal(get(&table, 0xb, 0, 0).c, 0x100);
		past = get(&table, 0x1f, 2, n - 1);
		assert_int_equal(past.b, 0);
		assert_int_equal(past.c, 2);
		assert_int_equal(past.d, n - 1);
	}
}

static void test_clock_and_hypervisor(void **st)
{
	struct regs r;

	(void)st;
	set_vendor("GenuineIntel");
	bits = ~0u;
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 1, 2596122);
	r = get(&table, 0x15, 0, 0);
	assert_int_equal((uint64_t)r.c * r.b / r.a, UINT64_C(2596122000));
	r = get(&table, 0x40000000, 0, 0);
	assert_memory_equal(&r.b, "KVMK", 4);
	assert_memory_equal(&r.c, "VMKV", 4);
	assert_memory_equal(&r.d, "M\0\0", 4);
	assert_int_equal(r.a, 0x40000010);
	assert_int_equal(get(&table, 0x40000001, 0, 0).a, BIT(1) | BIT(3) | BIT(24));
	assert_int_equal(get(&table, 0x40000010, 0, 0).a, 2596122);
	/* Past the ends: nothing. */
	assert_int_equal(get(&table, 0x20, 0, 0).a | get(&table, 0x80000022, 0, 0).a, 0);
	assert_int_equal(get(&table, 0xd, 3, 0).a, 0);
}

/* On the processor that runs the test: never a feature that it has not, but for those that we make. */
static void test_subset_of_host(void **st)
{
	static const struct {
		uint32_t leaf;
		unsigned reg;
		uint32_t ours;
	} regs[] = {
		{1, CPUID_ECX, 0x80000000 | 1u << 21 | 1u << 24},
		{1, CPUID_EDX, 0x00037a7c | 1u << 28},
		{7, CPUID_EBX, 1u << 1},
		{7, CPUID_ECX, 0},
		{7, CPUID_EDX, 1u << 26 | 1u << 29},
		{0x80000001, CPUID_ECX, 1u << 1},
		{0x80000001, CPUID_EDX, 0x0003727c},
		{0x80000007, CPUID_EDX, 0},
	};

	(void)st;
	cpuid_build(&table, cpuid_host, CPUID_MODEL_HOST, 2, 2000000);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		uint32_t host[4], out[4];

		cpuid_host(regs[i].leaf, 0, host);
		cpuid_get(&table, regs[i].leaf, 0, 0, &out[0], &out[1], &out[2], &out[3]);
		assert_int_equal(out[regs[i].reg] & ~(host[regs[i].reg] | regs[i].ours), 0);
	}
	assert_true(table.phys_bits >= 36 && table.phys_bits <= 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_init_and_sipi),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_avx512),
		cmocka_unit_test(test_vendors),
		cmocka_unit_test(test_topology),
		cmocka_unit_test(test_clock_and_hypervisor),
		cmocka_unit_test(test_subset_of_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
