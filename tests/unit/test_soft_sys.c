/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_sys.c - the soft engine's system instructions, one at a time by the reference way: segment, control
 * and debug registers, MSRs, time, flags, ports.
 */
#include "soft_tables.h"

static void test_segments(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode32(f, 0);

	gdt_set(f, 0x60, 0x123456, 0xfff, 0x4012); /* writable data, not present */
	s->gpr[X86_RAX] = 0x60;
	assert_false(run(f, "\x8e\xd8")); /* mov ds, eax */
	assert_int_equal(s->rip, HANDLER(11));
	assert_int_equal(frame32(f, 0), 0x60);
	mode32(f, 0);
	gdt_set(f, 0x60, 0x123456, 0xfff, 0x4092);
	assert_true(run(f, "\x8e\xd8"));
	assert_int_equal(s->seg[X86_DS].base, 0x123456);
	assert_int_equal(s->seg[X86_DS].limit, 0xfff);
	assert_int_equal(fix_get(f, GDT + 0x65, 1), 0x93); /* accessed */
	assert_false(run(f, "\xa0\0\x10\0\0"));		   /* mov al, [0x1000] */
	assert_int_equal(s->rip, HANDLER(13));
	mode32(f, 0);
	s->gpr[X86_RAX] = 0;
	assert_true(run(f, "\x8e\xd8")); /* null: fine until used */
	assert_false(run(f, "\xa0\0\x10\0\0"));
	mode32(f, 0);
	s->gpr[X86_RAX] = 0;
	assert_false(run(f, "\x8e\xd0")); /* mov ss, eax */
	assert_int_equal(frame32(f, 0), 0);
	mode32(f, 0);
	s->gpr[X86_RAX] = KDS;
	assert_true(run(f, "\x8e\xd0"));
	assert_true(s->ev.movss_shadow);
	assert_true(run(f, "\x90"));
	assert_false(s->ev.movss_shadow);
	/* LAR, LSL, VERR, VERW. */
	s->gpr[X86_RAX] = 0x60;
	assert_true(run(f, "\x0f\x02\xc8")); /* lar ecx, eax */
	assert_int_equal(s->gpr[X86_RCX], 0x409300);
	assert_true(s->rflags & X86_ZF);
	assert_true(run(f, "\x0f\x03\xc8"));
	assert_int_equal(s->gpr[X86_RCX], 0xfff);
	s->gpr[X86_RAX] = KCS;
	assert_true(run(f, "\x0f\x00\xe8")); /* verw ax */
	assert_false(s->rflags & X86_ZF);
	assert_true(run(f, "\x0f\x00\xe0")); /* verr ax */
	assert_true(s->rflags & X86_ZF);
	/* LTR makes it busy; a busy one is refused. */
	gdt_set(f, TR, TSS, 0x67, 0x89);
	s->gpr[X86_RAX] = TR;
	assert_true(run(f, "\x0f\x00\xd8"));
	assert_int_equal(fix_get(f, GDT + TR + 5, 1), 0x8b);
	assert_int_equal(s->tr.attr & 15, 11);
	assert_false(run(f, "\x0f\x00\xd8"));
	assert_int_equal(frame32(f, 0), TR);
}

/* ---- Registers ---- */

static bool write_cr(struct fix *f, unsigned cr, uint64_t value)
{
	char code[] = "\x0f\x22\xc0";
	char code8[] = "\x44\x0f\x22\xc0";

	f->v->s.gpr[X86_RAX] = value;
	if (cr == 8)
		return run_(f, code8, 4);
	code[2] = (char)(0xc0 | cr << 3);
	return run_(f, code, 3);
}

static void test_control_registers(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);
	uint64_t cr0 = s->cr0;

	assert_false(write_cr(f, 0, cr0 & ~(uint64_t)X86_CR0_PE));
	mode64(f, 0);
	assert_false(write_cr(f, 0, cr0 & ~(uint64_t)X86_CR0_PG)); /* not from 64-bit mode */
	mode64(f, 0);
	assert_false(write_cr(f, 0, cr0 | X86_CR0_NW));
	mode64(f, 0);
	assert_false(write_cr(f, 0, cr0 | BIT(32)));
	mode64(f, 0);
	assert_true(write_cr(f, 0, cr0 | X86_CR0_TS | BIT(10)));
	assert_int_equal(s->cr0, cr0 | X86_CR0_TS);
	assert_false(write_cr(f, 4, s->cr4 & ~(uint64_t)X86_CR4_PAE));
	mode64(f, 0);
	assert_false(write_cr(f, 4, s->cr4 | X86_CR4_LA57));
	mode64(f, 0);
	assert_false(write_cr(f, 3, s->cr3 | BIT(63)));
	mode64(f, 0);
	assert_false(write_cr(f, 3, BIT(46)));
	mode64(f, 0);
	assert_true(write_cr(f, 4, s->cr4 | X86_CR4_PCIDE));
	assert_true(write_cr(f, 3, PML4 | 5 | BIT(63)));
	assert_int_equal(s->cr3, PML4 | 5);
	mode64(f, 0);
	s->cr3 |= 5;
	assert_false(write_cr(f, 4, s->cr4 | X86_CR4_PCIDE)); /* with a PCID already there */
	mode64(f, 0);
	assert_true(write_cr(f, 8, 7));
	mode64(f, 0);
	assert_false(write_cr(f, 8, 16));
	mode64(f, 0);
	assert_false(write_cr(f, 1, 0));
	assert_int_equal(s->rip, HANDLER(6));
	mode64(f, 3);
	assert_false(write_cr(f, 0, cr0));
	assert_int_equal(s->rip, HANDLER(13));
	/* Entering IA-32e mode. */
	mode32(f, 0);
	s->msr.efer = X86_EFER_LME;
	s->cr3 = PML4;
	assert_false(write_cr(f, 0, s->cr0 | X86_CR0_PG)); /* no PAE */
	mode32(f, 0);
	s->msr.efer = X86_EFER_LME;
	s->cr4 = X86_CR4_PAE;
	assert_true(write_cr(f, 0, s->cr0 | X86_CR0_PG));
	assert_true(s->msr.efer & X86_EFER_LMA);
	assert_int_equal(f->v->mode, X86_MODE_32);
	assert_true(write_cr(f, 0, s->cr0 & ~(uint64_t)X86_CR0_PG));
	assert_false(s->msr.efer & X86_EFER_LMA);
}

static void test_msrs(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct x86_state *s = mode64(f, 0);
	uint64_t value;

	assert_true(soft_rdmsr(v, 0xc0000080, &value));
	assert_int_equal(value, s->msr.efer);
	assert_false(soft_wrmsr(v, 0xc0000080, value & ~(uint64_t)X86_EFER_LME)); /* paging is on */
	assert_false(soft_wrmsr(v, 0xc0000080, value | BIT(12)));
	assert_true(
		soft_wrmsr(v, 0xc0000080, value & ~(uint64_t)X86_EFER_LMA)); /* LMA is read-only */
	assert_true(s->msr.efer & X86_EFER_LMA);
	assert_true(soft_wrmsr(v, 0xc0000082, 0xffffffff81000000));
	assert_false(soft_wrmsr(v, 0xc0000082, BIT(47)));
	assert_true(soft_wrmsr(v, 0xc0000101, 0xffff888000000000));
	assert_int_equal(s->seg[X86_GS].base, 0xffff888000000000);
	assert_false(soft_wrmsr(v, 0xc0000084, BIT(32)));
	assert_true(soft_wrmsr(v, 0x277, 0x0407050600070106));
	assert_false(soft_wrmsr(v, 0x277, 0x0207050600070106));
	assert_true(soft_wrmsr(v, 0x2ff, 0xc06));
	assert_false(soft_wrmsr(v, 0x2ff, 0xc02));
	assert_true(soft_wrmsr(v, 0x26f, 0x0606060606060606));
	assert_true(soft_rdmsr(v, 0x26f, &value));
	assert_int_equal(value, 0x0606060606060606);
	assert_true(soft_wrmsr(v, 0x201, 0x3ff000000800));
	assert_false(soft_wrmsr(v, 0x201, BIT(50)));
	assert_false(soft_rdmsr(v, 0x210, &value));
	assert_false(soft_rdmsr(v, 0xdeadbeef, &value));
	assert_false(soft_wrmsr(v, 0xfe, 0)); /* read-only */
	assert_true(soft_rdmsr(v, 0x10a, &value));
	assert_true(value & 1);
	assert_true(soft_wrmsr(v, 0x49, 1));
	assert_false(soft_wrmsr(v, 0x49, 2));
	assert_false(soft_rdmsr(v, 0x800, &value)); /* the host says no */
	assert_true(soft_rdmsr(v, 0x1b, &value));
	assert_false(soft_rdmsr(v, 0xc0010015, &value)); /* AMD's */
	v->soft->cpuid.vendor = CPUID_VENDOR_AMD;
	assert_true(soft_rdmsr(v, 0xc0010015, &value));
	assert_int_equal(value, BIT(24));
	/* WRMSR, RDMSR */
	s->gpr[X86_RCX] = 0xc0000103;
	s->gpr[X86_RAX] = 0x55;
	s->gpr[X86_RDX] = 0;
	assert_true(run(f, "\x0f\x30"));
	s->gpr[X86_RAX] = s->gpr[X86_RDX] = ~UINT64_C(0);
	assert_true(run(f, "\x0f\x32"));
	assert_int_equal(s->gpr[X86_RAX], 0x55);
	assert_int_equal(s->gpr[X86_RDX], 0);
	assert_true(run(f, "\x0f\x01\xf9")); /* rdtscp */
	assert_int_equal(s->gpr[X86_RCX], 0x55);
}

static void test_tsc_and_clock(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct x86_state *s = mode64(f, 0);
	uint64_t tsc, sec, nsec;
	uint32_t version;

	assert_true(soft_wrmsr(v, 0x10, 1000000));
	assert_true(soft_rdmsr(v, 0x10, &tsc));
	assert_true(tsc >= 1000000 && tsc < 1000000 + UINT64_C(20000000000));
	assert_int_equal(s->msr.tsc_adjust, s->msr.tsc_offset);
	assert_true(soft_wrmsr(v, 0x3b, 0));
	assert_int_equal(s->msr.tsc_offset, 0);
	/* kvmclock: 2 GHz, so half a nanosecond a tick. */
	assert_true(soft_wrmsr(v, 0x4b564d01, 0x70ff0 | 1)); /* crosses a page */
	version = (uint32_t)fix_get(f, 0x70ff0, 4);
	assert_true(version && !(version & 1));
	assert_int_equal(fix_get(f, 0x70ff0 + 24, 4), BIT(31));
	assert_int_equal(fix_get(f, 0x70ff0 + 28, 1), 0);
	assert_int_equal(fix_get(f, 0x70ff0 + 29, 1), 1);
	assert_int_equal(fix_get(f, 0x70ff0 + 8, 8), 0);
	/* The guest moves its TSC: the line moves with it. */
	assert_true(soft_wrmsr(v, 0x3b, 5000));
	assert_int_equal(fix_get(f, 0x70ff0 + 8, 8), 5000);
	assert_int_equal((uint32_t)fix_get(f, 0x70ff0, 4), version + 2);
	assert_true(soft_wrmsr(v, 0x4b564d00, 0x71000));
	sec = fix_get(f, 0x71004, 4);
	nsec = fix_get(f, 0x71008, 4);
	assert_true(sec > 0 && nsec < 1000000000);
	/* Where there is no RAM: nothing happens. */
	assert_true(soft_wrmsr(v, 0x4b564d01, UINT64_C(0xfffffffff000) | 1));
	assert_true(soft_wrmsr(v, 0x4b564d00, ~UINT64_C(0)));
	assert_true(soft_wrmsr(v, 0x4b564d01, 0));
}

static void test_flags(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	s->gpr[X86_RSP] = USTACK - 8;
	fix_put(f, USTACK - 8, 0x3fffd7, 8);
	assert_true(run(f, "\x9d")); /* popfq: neither IOPL nor IF */
	assert_int_equal(s->rflags & X86_IOPL, 0);
	assert_true(s->rflags & X86_IF);
	assert_true(s->rflags & X86_AC);
	assert_false(s->rflags & (X86_RF | X86_VM | X86_VIF | X86_VIP));
	s->rflags &= ~(uint64_t)X86_TF;
	assert_true(run(f, "\x9c"));
	assert_int_equal(fix_get(f, USTACK - 8, 8), s->rflags);
	assert_false(run(f, "\xfa")); /* cli */
	assert_int_equal(s->rip, HANDLER(13));
	mode64(f, 0);
	assert_true(run(f, "\xfa"));
	assert_false(s->rflags & X86_IF);
	assert_true(run(f, "\xfb"));
	assert_true(s->ev.sti_shadow);
	assert_true(run(f, "\xfb")); /* no new shadow */
	assert_false(s->ev.sti_shadow);
	assert_false(run(f, "\xf4"));
	assert_true(s->ev.halted);
	assert_int_equal(s->rip, CODE + 1);
	/* STAC and CLAC */
	mode64(f, 0);
	s->cr4 |= X86_CR4_SMAP;
	soft_state_loaded(f->v);
	s->rip = CODE;
	fix_put(f, PDPT, 0x83, 8); /* the code's page must be the supervisor's to be read */
	soft_state_loaded(f->v);
	assert_true(run(f, "\x0f\x01\xcb"));
	assert_int_equal(f->v->mmu, SOFT_MMU_KERNEL_USER);
	assert_true(run(f, "\x0f\x01\xca"));
	assert_int_equal(f->v->mmu, SOFT_MMU_KERNEL);
}

static void test_ports(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	s->gpr[X86_RDX] = 0x3f8;
	s->gpr[X86_RAX] = ~UINT64_C(0);
	assert_true(run(f, "\xec")); /* in al, dx */
	assert_int_equal(s->gpr[X86_RAX], 0xffffffffffffffa5);
	assert_true(run(f, "\xed"));
	assert_int_equal(s->gpr[X86_RAX], 0xa5a5a5a5);
	assert_true(run(f, "\xe6\x80")); /* out 0x80, al */
	assert_int_equal(f->port, 0x80);
	assert_int_equal(f->port_value, 0xa5);
	/* rep insw */
	f->n_port = 0;
	s->gpr[X86_RCX] = 3;
	s->gpr[X86_RDI] = 0x70000;
	assert_true(run(f, "\x66\xf3\x6d"));
	assert_int_equal(f->n_port, 3);
	assert_int_equal(s->gpr[X86_RDI], 0x70006);
	assert_int_equal(s->gpr[X86_RCX], 0);
	assert_int_equal(fix_get(f, 0x70000, 8), 0xa5a5a5a5a5a5);
	/* A fault in the middle leaves what was done; the port is not read for nothing. */
	f->n_port = 0;
	s->gpr[X86_RCX] = 4;
	s->gpr[X86_RDI] = GIB - 2;
	/* MMIO lets the loop look for interrupts after each: the instruction starts again. */
	for (unsigned i = 0; i < 4 && (i ? soft_step(f->v) : run(f, "\xf3\x6c")); i++)
		assert_int_equal(s->rip, CODE);
	assert_int_equal(s->rip, HANDLER(14));
	assert_int_equal(s->gpr[X86_RCX], 2);
	assert_int_equal(f->n_port, 2);
	/* The permission bitmap. */
	mode64(f, 3);
	assert_false(run(f, "\xec"));
	assert_int_equal(s->rip, HANDLER(13));
	mode64(f, 3);
	s->tr.limit = 0x68 + 0x3f8 / 8 + 1;
	fix_put(f, TSS + 0x66, 0x68, 2);
	fix_put(f, TSS + 0x68 + 0x3f8 / 8, 0xfe, 1);
	s->gpr[X86_RDX] = 0x3f8;
	assert_true(run(f, "\xec"));
	assert_false(run(f, "\x66\xed")); /* two ports */
	mode64(f, 3);
	s->rflags |= X86_IOPL;
	assert_true(run(f, "\xed"));
}

static void test_misc(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	s->gpr[X86_RAX] = 0x40000000;
	assert_true(run(f, "\x0f\xa2"));
	assert_int_equal(s->gpr[X86_RBX], 0x4b4d564b);
	/* swapgs */
	s->seg[X86_GS].base = 1;
	s->msr.kernel_gs_base = 2;
	assert_true(run(f, "\x0f\x01\xf8"));
	assert_int_equal(s->seg[X86_GS].base, 2);
	assert_int_equal(s->msr.kernel_gs_base, 1);
	/* wrgsbase */
	assert_false(run(f, "\xf3\x48\x0f\xae\xd8"));
	assert_int_equal(s->rip, HANDLER(6));
	mode64(f, 3);
	s->cr4 |= X86_CR4_FSGSBASE;
	s->gpr[X86_RAX] = 0x123456789000;
	assert_true(run(f, "\xf3\x48\x0f\xae\xd8"));
	assert_int_equal(s->seg[X86_GS].base, 0x123456789000);
	s->gpr[X86_RAX] = BIT(47);
	assert_false(run(f, "\xf3\x48\x0f\xae\xd8"));
	assert_int_equal(s->rip, HANDLER(13));
	/* UMIP, TSD */
	mode64(f, 3);
	s->gpr[X86_RBX] = 0x70000;
	assert_true(run(f, "\x0f\x01\x03")); /* sgdt [rbx] */
	assert_int_equal(fix_get(f, 0x70000, 2), 0xff);
	assert_int_equal(fix_get(f, 0x70002, 8), GDT);
	s->cr4 |= X86_CR4_UMIP | X86_CR4_TSD;
	assert_false(run(f, "\x0f\x01\x03"));
	assert_int_equal(s->rip, HANDLER(13));
	mode64(f, 3);
	s->cr4 |= X86_CR4_TSD;
	assert_false(run(f, "\x0f\x31"));
	assert_int_equal(s->rip, HANDLER(13));
	/* lgdt */
	mode64(f, 0);
	s->gpr[X86_RBX] = 0x70000;
	assert_true(run(f, "\x0f\x01\x13"));
	assert_int_equal(s->gdt.base, GDT);
	fix_put(f, 0x70002, BIT(47), 8);
	assert_false(run(f, "\x0f\x01\x13"));
	assert_int_equal(s->rip, HANDLER(13));
	/* Hypercalls that nobody answers; instructions that are not there. */
	mode64(f, 0);
	assert_true(run(f, "\x0f\x01\xd9"));
	assert_int_equal((int64_t)s->gpr[X86_RAX], -1000);
	assert_false(run(f, "\x0f\x01\xd0")); /* xgetbv */
	assert_int_equal(s->rip, HANDLER(6));
	/* invpcid */
	mode64(f, 0);
	s->gpr[X86_RBX] = 0x70000;
	fix_put(f, 0x70000, 0, 8);
	fix_put(f, 0x70008, 0x400000, 8);
	for (uint64_t type = 0; type < 4; type++) {
		s->gpr[X86_RAX] = type;
		assert_true(run(f, "\x66\x0f\x38\x82\x03"));
	}
	s->gpr[X86_RAX] = 4;
	assert_false(run(f, "\x66\x0f\x38\x82\x03"));
	assert_int_equal(s->rip, HANDLER(13));
}

/* ---- XSAVE ---- */

static bool set_xcr(struct fix *f, uint32_t n, uint64_t value)
{
	struct x86_state *s = &f->v->s;

	s->gpr[X86_RCX] = n;
	s->gpr[X86_RAX] = (uint32_t)value;
	s->gpr[X86_RDX] = value >> 32;
	return run(f, "\x0f\x01\xd1");
}

static struct x86_state *with_xsave(struct fix *f, uint64_t xcr0)
{
	struct x86_state *s = mode64(f, 0);

	s->cr4 |= X86_CR4_OSXSAVE;
	s->xcr0 = xcr0;
	s->gpr[X86_RBX] = 0x70000;
	s->gpr[X86_RAX] = s->gpr[X86_RDX] = 0xffffffff;
	return s;
}

static void test_xcr0(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);
	static const uint64_t bad[] = {0, 2, 5, 4, 6, 0x17, BIT(63) | 7};

	assert_false(set_xcr(f, 0, 1)); /* CR4.OSXSAVE is clear */
	assert_int_equal(s->rip, HANDLER(6));
	mode64(f, 0);
	assert_true(write_cr(f, 4, s->cr4 | X86_CR4_OSXSAVE));
	s->gpr[X86_RAX] = 1;
	assert_true(run(f, "\x0f\xa2"));
	assert_true(s->gpr[X86_RCX] & BIT(27));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		with_xsave(f, 1);
		assert_false(set_xcr(f, 0, bad[i]));
		assert_int_equal(s->rip, HANDLER(13));
	}
	with_xsave(f, 1);
	assert_false(set_xcr(f, 1, 7));
	with_xsave(f, 1);
	/* AVX only when XCR0 has it: vaddps ymm0, ymm1, ymm2; ANDN needs nothing. */
	assert_false(run(f, "\xc5\xf4\x58\xc2"));
	assert_int_equal(s->rip, HANDLER(6));
	with_xsave(f, 1);
	assert_true(set_xcr(f, 0, 7));
	assert_int_equal(s->xcr0, 7);
	s->cr0 |= X86_CR0_TS;
	assert_false(run(f, "\xc5\xf4\x58\xc2"));
	assert_int_equal(s->rip, HANDLER(7));
	/* XGETBV(1): what is in use. The size in CPUID follows XCR0. */
	with_xsave(f, 7);
	memset(s->fx, 0, sizeof(s->fx));
	s->fx[0] = 0x7f;
	s->fx[1] = 3;
	s->fx[X86_FX_YMM_HI + 17] = 1;
	s->gpr[X86_RCX] = 1;
	assert_true(run(f, "\x0f\x01\xd0"));
	assert_int_equal(s->gpr[X86_RAX], X86_XCR0_AVX);
	s->gpr[X86_RCX] = 2;
	assert_false(run(f, "\x0f\x01\xd0"));
	with_xsave(f, 3);
	s->gpr[X86_RAX] = 0xd;
	s->gpr[X86_RCX] = 0;
	assert_true(run(f, "\x0f\xa2"));
	assert_int_equal(s->gpr[X86_RBX], 576);
	assert_int_equal(s->gpr[X86_RCX], 832);
	mode64(f, 3);
	s->cr4 |= X86_CR4_OSXSAVE;
	assert_false(set_xcr(f, 0, 1));
	assert_int_equal(s->rip, HANDLER(13));
}

static void test_xsave(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	assert_false(run(f, "\x0f\xae\x23"));
	assert_int_equal(s->rip, HANDLER(6));
	with_xsave(f, 7);
	s->gpr[X86_RBX] = 0x70020;
	assert_false(run(f, "\x0f\xae\x23")); /* aligned to 64 bytes */
	assert_int_equal(s->rip, HANDLER(13));
	/* Other bits of XSTATE_BV stay; bytes for software stay. */
	with_xsave(f, 7);
	for (unsigned i = 0; i < 16; i++) {
		s->fx[X86_FX_XMM + 16 * i] = (uint8_t)(i + 1);
		s->fx[X86_FX_YMM_HI + 16 * i] = (uint8_t)(i + 0x81);
	}
	fix_put(f, 0x70000 + 464, 0x1234, 8);
	fix_put(f, 0x70200, BIT(40), 8);
	assert_true(run(f, "\x0f\xae\x23"));
	assert_int_equal(fix_get(f, 0x70000 + 464, 8), 0x1234);
	assert_int_equal(fix_get(f, 0x70200, 8) & ~UINT64_C(1), BIT(40) | 6);
	assert_int_equal(fix_get(f, 0x70000 + 160 + 240, 1), 16);
	assert_int_equal(fix_get(f, 0x70000 + 576 + 240, 1), 0x90);
	/* Bits outside of XCR0 do not load. */
	with_xsave(f, 7);
	assert_false(run(f, "\x0f\xae\x2b"));
	assert_int_equal(s->rip, HANDLER(13));
	/* A clear bit of XSTATE_BV is the initial configuration; what is not asked for stays. */
	with_xsave(f, 7);
	fix_put(f, 0x70200, 2, 8);
	fix_put(f, 0x70000 + 160, 0x77, 1);
	s->gpr[X86_RAX] = 6;
	s->gpr[X86_RDX] = 0;
	s->fx[32] = 0x55;
	assert_true(run(f, "\x0f\xae\x2b"));
	assert_int_equal(s->fx[160], 0x77);
	assert_int_equal(s->fx[576], 0);
	assert_int_equal(s->fx[32], 0x55);
	assert_int_equal(s->fx[512] & 6, 2);
	/* Compacted. */
	with_xsave(f, 7);
	s->fx[576] = 9;
	assert_true(run(f, "\x0f\xc7\x23"));
	assert_int_equal(fix_get(f, 0x70208, 8), BIT(63) | 7);
	s->fx[576] = 0;
	with_xsave(f, 7);
	assert_true(run(f, "\x0f\xae\x2b"));
	assert_int_equal(s->fx[576], 9);
	for (unsigned i = 1; i < 8; i++) { /* header: XCOMP_BV, and what must be zero */
		uint64_t old = fix_get(f, 0x70200 + 8 * i, 8);

		with_xsave(f, 7);
		fix_put(f, 0x70200 + 8 * i, old | BIT(20), 8);
		assert_false(run(f, "\x0f\xae\x2b"));
		assert_int_equal(s->rip, HANDLER(13));
		fix_put(f, 0x70200 + 8 * i, old, 8);
	}
	with_xsave(f, 7);
	fix_put(f, 0x70208, BIT(63) | 3, 8); /* XSTATE_BV outside of XCOMP_BV */
	assert_false(run(f, "\x0f\xae\x2b"));
	with_xsave(f, 7);
	s->cr0 |= X86_CR0_TS;
	assert_false(run(f, "\x0f\xae\x23"));
	assert_int_equal(s->rip, HANDLER(7));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_segments), TEST(test_control_registers),
		TEST(test_msrs),     TEST(test_tsc_and_clock),
		TEST(test_flags),    TEST(test_ports),
		TEST(test_misc),     TEST(test_xcr0),
		TEST(test_xsave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
