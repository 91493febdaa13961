/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_exc.c - the soft engine's exceptions, interrupts and transfers between privileges, one instruction
 * at a time by the reference way, in 64-bit, 32-bit and real mode.
 */
#include "soft_tables.h"

/* ---- 64-bit delivery ---- */

static void test_fault_frame(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	s->gpr[X86_RSP] = STACK - 3;	  /* gets aligned */
	assert_false(run(f, "\x0f\x0b")); /* ud2 */
	assert_int_equal(s->rip, HANDLER(6));
	assert_int_equal(s->gpr[X86_RSP], STACK - 16 - 40);
	assert_int_equal(frame(f, 0), CODE);
	assert_int_equal(frame(f, 1), KCS);
	assert_int_equal(frame(f, 2), 0x10202); /* RF */
	assert_int_equal(frame(f, 3), STACK - 3);
	assert_int_equal(frame(f, 4), KDS);
	assert_int_equal(s->rflags, 2); /* interrupt gate */
	assert_int_equal(s->seg[X86_SS].sel, KDS);
	/* A trap gate leaves IF. */
	mode64(f, 0);
	idt64(f, 6, KCS, 15, 0, 0);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rflags, 0x202);
}

static void test_privilege_change(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	s->gpr[X86_RBX] = 0x12345678000;      /* not mapped */
	assert_false(run(f, "\x48\x89\x03")); /* mov [rbx], rax */
	assert_int_equal(s->rip, HANDLER(14));
	assert_int_equal(s->cr2, 0x12345678000);
	assert_int_equal(s->gpr[X86_RSP], STACK - 48);
	assert_int_equal(frame(f, 0), 6); /* write, user */
	assert_int_equal(frame(f, 1), CODE);
	assert_int_equal(frame(f, 2), UCS);
	assert_int_equal(frame(f, 4), USTACK);
	assert_int_equal(frame(f, 5), UDS);
	assert_int_equal(f->v->cpl, 0);
	assert_int_equal(s->seg[X86_CS].sel, KCS);
	assert_int_equal(s->seg[X86_SS].sel, 0);
	assert_false(s->seg[X86_SS].attr & X86_ATTR_P);
	/* And back. */
	s->gpr[X86_RSP] += 8;
	assert_true(run(f, "\x48\xcf")); /* iretq */
	assert_int_equal(s->rip, CODE);
	assert_int_equal(f->v->cpl, 3);
	assert_int_equal(s->seg[X86_SS].sel, UDS);
	assert_int_equal(s->gpr[X86_RSP], USTACK);
	assert_int_equal(s->rflags, 0x10202);
}

static void test_ist(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	idt64(f, 6, KCS, 14, 0, 1);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->gpr[X86_RSP], IST1 - 40);
	assert_int_equal(s->seg[X86_SS].sel, KDS); /* no change of privilege */
	/* A TSS too short for it. */
	mode64(f, 0);
	idt64(f, 6, KCS, 14, 0, 7);
	s->tr.limit = 0x40;
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(10));
	assert_int_equal(frame(f, 0), TR | 1);
}

static void test_software_interrupts(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	assert_true(run(f, "\xcd\x06") || s->rip != HANDLER(6)); /* int 6: the gate's DPL is 0 */
	assert_int_equal(s->rip, HANDLER(13));
	assert_int_equal(frame(f, 0), 6 * 8 + 2);
	assert_int_equal(frame(f, 1), CODE);
	mode64(f, 3);
	idt64(f, 0x80, KCS, 14, 3, 0);
	assert_true(run(f, "\xcd\x80"));
	assert_int_equal(s->rip, HANDLER(0x80));
	assert_int_equal(frame(f, 0), CODE + 2);
	assert_int_equal(frame(f, 2), 0x202);
	mode64(f, 3);
	idt64(f, 3, KCS, 14, 3, 0);
	assert_true(run(f, "\xcc"));
	assert_int_equal(frame(f, 0), CODE + 1);
	/* INT1 does not ask for the DPL. */
	mode64(f, 3);
	assert_true(run(f, "\xf1"));
	assert_int_equal(s->rip, HANDLER(1));
	/* A gate that is not present: #NP without EXT for an instruction, with EXT for a fault. */
	mode64(f, 0);
	fix_put(f, IDT + 0x80 * 16 + 5, 0x0e, 1);
	assert_false(run(f, "\xcd\x80"));
	assert_int_equal(s->rip, HANDLER(11));
	assert_int_equal(frame(f, 0), 0x80 * 8 + 2);
	mode64(f, 0);
	fix_put(f, IDT + 6 * 16 + 5, 0x0e, 1);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(11));
	assert_int_equal(frame(f, 0), 6 * 8 + 2 + 1);
	/* Handlers that are no 64-bit code. */
	mode64(f, 0);
	idt64(f, 6, KDS, 14, 0, 0);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(13));
	assert_int_equal(frame(f, 0), KDS + 1);
}

static void test_double_and_triple(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	/* #GP whose gate is missing: #NP on #GP is a double fault. */
	fix_put(f, IDT + 13 * 16 + 5, 0x0e, 1);
	s->gpr[X86_RAX] = X86_CR0_PG;
	assert_false(run(f, "\x0f\x22\xc0")); /* mov cr0, rax: PG without PE */
	assert_int_equal(s->rip, HANDLER(8));
	assert_int_equal(frame(f, 0), 0);
	assert_int_equal(frame(f, 1), CODE);
	assert_false(f->v->shutdown);
	/* A page fault while a page fault is delivered. */
	mode64(f, 0);
	s->gpr[X86_RSP] = 0x50000000000;
	idt64(f, 8, KCS, 14, 0, 1);
	s->gpr[X86_RBX] = 0x12345678000;
	assert_false(run(f, "\x48\x8b\x03"));
	assert_int_equal(s->rip, HANDLER(8));
	assert_int_equal(s->cr2, 0x50000000000 - 8);
	/* A page fault while #UD, benign, is delivered: the page fault is. */
	mode64(f, 0);
	s->gpr[X86_RSP] = 0x50000000000;
	idt64(f, 14, KCS, 14, 0, 1);
	idt64(f, 8, KCS, 14, 0, 0);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(14));
	assert_int_equal(frame(f, 0), 2);
	/* No way at all. */
	mode64(f, 0);
	s->idt.limit = 0;
	assert_false(run(f, "\x0f\x0b"));
	assert_true(f->v->shutdown);
	assert_int_equal(s->rip, CODE);
	assert_int_equal(s->gpr[X86_RSP], STACK);
}

static void test_interrupt_and_nmi(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	s->ev.halted = true;
	soft_interrupt(f->v, 0x30);
	assert_false(s->ev.halted);
	assert_int_equal(s->rip, HANDLER(0x30));
	assert_int_equal(frame(f, 0), CODE);
	assert_int_equal(frame(f, 2), 0x202);
	/* One whose gate is missing becomes #NP with EXT. */
	mode64(f, 0);
	fix_put(f, IDT + 0x30 * 16 + 5, 0x0e, 1);
	soft_interrupt(f->v, 0x30);
	assert_int_equal(s->rip, HANDLER(11));
	assert_int_equal(frame(f, 0), 0x30 * 8 + 3);
	mode64(f, 0);
	soft_nmi(f->v);
	assert_int_equal(s->rip, HANDLER(2));
	assert_true(s->ev.nmi_masked);
	assert_true(run(f, "\x48\xcf"));
	assert_false(s->ev.nmi_masked);
	assert_int_equal(s->gpr[X86_RSP], STACK);
}

static void test_debug(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	/* Single step: a trap, after the instruction, RF not set. */
	s->rflags |= X86_TF;
	assert_false(run(f, "\x90"));
	assert_int_equal(s->rip, HANDLER(1));
	assert_int_equal(frame(f, 0), CODE + 1);
	assert_int_equal(frame(f, 2), 0x302);
	assert_int_equal(s->dr[6], 0xffff4ff0);
	assert_int_equal(s->rflags, 2);
	/* General detect: a fault; the handler may use the registers. */
	mode64(f, 0);
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x2400;
	assert_false(run(f, "\x0f\x21\xf8")); /* mov rax, dr7 */
	assert_int_equal(s->rip, HANDLER(1));
	assert_int_equal(frame(f, 0), CODE);
	assert_int_equal(s->dr[6], 0xffff2ff0);
	assert_int_equal(s->dr[7], 0x400);
	/* Data breakpoint. */
	mode64(f, 0);
	s->dr[2] = 0x70000;
	s->dr[7] = 0x400 | 1u << 4 | 0xdu << 24;
	s->gpr[X86_RBX] = 0x70000;
	soft_mode_changed(f->v);
	assert_false(run(f, "\x88\x03")); /* mov [rbx], al */
	assert_int_equal(s->rip, HANDLER(1));
	assert_int_equal(s->dr[6] & 0xf, 4);
	/* Reserved bits and widths. */
	mode64(f, 0);
	s->dr[7] = 0x400;
	soft_mode_changed(f->v);
	s->gpr[X86_RAX] = 0xffffffff & ~0x2000u;
	assert_true(run(f, "\x0f\x23\xf8")); /* mov dr7, rax */
	assert_int_equal(s->dr[7], 0xffff07ff);
	s->dr[7] = 0x400;
	soft_mode_changed(f->v);
	s->gpr[X86_RAX] = BIT(32);
	assert_false(run(f, "\x0f\x23\xf0")); /* mov dr6, rax */
	assert_int_equal(s->rip, HANDLER(13));
}

/* ---- IRET, far transfers, SYSCALL ---- */

static void push_iret(struct fix *f, uint64_t rip, uint64_t cs, uint64_t flags, uint64_t rsp,
		      uint64_t ss)
{
	struct x86_state *s = &f->v->s;

	s->gpr[X86_RSP] = STACK - 40;
	fix_put(f, STACK - 40, rip, 8);
	fix_put(f, STACK - 32, cs, 8);
	fix_put(f, STACK - 24, flags, 8);
	fix_put(f, STACK - 16, rsp, 8);
	fix_put(f, STACK - 8, ss, 8);
}

static void test_iret(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	/* To compatibility mode; kernel segments become null. */
	push_iret(f, 0x1234, UCS32, 0x3202 | X86_AC | X86_ID, 0x5678, UDS);
	assert_true(run(f, "\x48\xcf"));
	assert_int_equal(f->v->mode, X86_MODE_32);
	assert_int_equal(s->rip, 0x1234);
	assert_int_equal(s->rflags, 0x3202 | X86_AC | X86_ID);
	assert_int_equal(s->seg[X86_DS].sel, 0);
	assert_int_equal(s->seg[X86_DS].attr, 0);
	/* Same privilege pops the stack too; a null SS is fine there. */
	mode64(f, 0);
	push_iret(f, 0x1234, KCS, 0x46, 0x7777, 0);
	assert_true(run(f, "\x48\xcf"));
	assert_int_equal(s->gpr[X86_RSP], 0x7777);
	assert_int_equal(s->seg[X86_SS].sel, 0);
	assert_int_equal(f->v->cpl, 0);
	/* Refused. */
	static const struct {
		uint64_t rip, cs, ss;
		unsigned vector;
		uint64_t error;
	} bad[] = {
		{BIT(50), UCS, UDS, 13, 0},    /* not canonical */
		{CODE, 0, UDS, 13, 0},	       /* null CS */
		{CODE, KDS, UDS, 13, KDS},     /* no code */
		{CODE, KCS | 3, UDS, 13, KCS}, /* RPL is not DPL */
		{CODE, UCS, KDS, 13, KDS},     /* SS privilege */
		{CODE, UCS, 3, 13, 0},	       /* null SS at CPL 3 */
		{CODE, 0xf8, UDS, 13, 0xf8},   /* an empty descriptor */
		{BIT(32), UCS32, UDS, 13, 0},  /* beyond a 32-bit limit */
	};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		mode64(f, 0);
		push_iret(f, bad[i].rip, bad[i].cs, 2, USTACK, bad[i].ss);
		assert_false(run(f, "\x48\xcf"));
		assert_int_equal(s->rip, HANDLER(bad[i].vector));
		assert_int_equal(frame(f, 0), bad[i].error);
		assert_int_equal(frame(f, 4), STACK - 40); /* RSP as it was */
	}
	mode64(f, 0);
	s->rflags |= X86_NT;
	push_iret(f, CODE, KCS, 2, STACK, KDS);
	assert_false(run(f, "\x48\xcf"));
	assert_int_equal(s->rip, HANDLER(13));
	/* IOPL and IF are CPL 0's. */
	mode64(f, 3);
	s->gpr[X86_RSP] = STACK - 40;
	push_iret(f, CODE + 9, UCS, 0x3002 | X86_CF, USTACK, UDS);
	assert_true(run(f, "\x48\xcf"));
	assert_int_equal(s->rflags, 0x202 | X86_CF);
}

static void test_syscall(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	s->msr.star = (uint64_t)(UCS32 - 0) << 48 | (uint64_t)KCS << 32;
	s->msr.lstar = 0x9000;
	s->msr.sfmask = X86_IF | X86_TF | X86_AC;
	s->rflags = 0x202 | X86_CF | X86_AC;
	assert_true(run(f, "\x0f\x05"));
	assert_int_equal(s->rip, 0x9000);
	assert_int_equal(s->gpr[X86_RCX], CODE + 2);
	assert_int_equal(s->gpr[X86_R11], 0x202 | X86_CF | X86_AC);
	assert_int_equal(s->rflags, 2 | X86_CF);
	assert_int_equal(s->seg[X86_CS].sel, KCS);
	assert_int_equal(s->seg[X86_SS].sel, KDS);
	assert_int_equal(f->v->cpl, 0);
	assert_int_equal(s->gpr[X86_RSP], USTACK);
	/* SYSRETQ: CS is STAR[63:48] + 16, SS + 8. */
	s->msr.star = (uint64_t)0x18 << 48 | (uint64_t)KCS << 32;
	s->gpr[X86_R11] = 0x10246 | X86_VM;
	assert_true(run(f, "\x48\x0f\x07"));
	assert_int_equal(s->rip, CODE + 2);
	assert_int_equal(s->seg[X86_CS].sel, 0x2b);
	assert_int_equal(s->seg[X86_SS].sel, 0x23);
	assert_int_equal(s->rflags, 0x246);
	assert_int_equal(f->v->cpl, 3);
	assert_int_equal(f->v->mode, X86_MODE_64);
	/* SYSRET in user mode; without SCE. */
	assert_false(run(f, "\x48\x0f\x07"));
	assert_int_equal(s->rip, HANDLER(13));
	mode64(f, 3);
	s->msr.efer &= ~(uint64_t)X86_EFER_SCE;
	assert_false(run(f, "\x0f\x05"));
	assert_int_equal(s->rip, HANDLER(6));
	/* To a bad address: Intel faults in the kernel, AMD after the change. */
	mode64(f, 0);
	s->gpr[X86_RCX] = BIT(47);
	s->gpr[X86_R11] = 2;
	assert_false(run(f, "\x48\x0f\x07"));
	assert_int_equal(frame(f, 2), KCS);
	mode64(f, 0);
	f->v->soft->cpuid.vendor = CPUID_VENDOR_AMD;
	s->gpr[X86_RCX] = BIT(47);
	s->gpr[X86_R11] = 2;
	assert_true(run(f, "\x48\x0f\x07"));
	assert_int_equal(f->v->cpl, 3);
	assert_false(soft_step(f->v));
	assert_int_equal(s->rip, HANDLER(13));
	assert_int_equal(frame(f, 1), BIT(47));
}

static void test_sysenter(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 3);

	s->msr.sysenter_cs = KCS;
	s->msr.sysenter_esp = STACK;
	s->msr.sysenter_eip = 0xa000;
	assert_true(run(f, "\x0f\x34"));
	assert_int_equal(s->rip, 0xa000);
	assert_int_equal(s->gpr[X86_RSP], STACK);
	assert_int_equal(s->rflags, 2);
	assert_int_equal(f->v->mode, X86_MODE_64);
	s->gpr[X86_RDX] = 0x1111;
	s->gpr[X86_RCX] = 0x2222;
	assert_true(run(f, "\x48\x0f\x35"));
	assert_int_equal(s->rip, 0x1111);
	assert_int_equal(s->gpr[X86_RSP], 0x2222);
	assert_int_equal(s->seg[X86_CS].sel, KCS + 32 + 3);
	assert_int_equal(f->v->cpl, 3);
	mode64(f, 3);
	s->msr.sysenter_cs = 0;
	assert_false(run(f, "\x0f\x34"));
	assert_int_equal(s->rip, HANDLER(13));
	mode64(f, 3);
	f->v->soft->cpuid.vendor = CPUID_VENDOR_AMD;
	assert_false(run(f, "\x0f\x34"));
	assert_int_equal(s->rip, HANDLER(6));
}

static void test_far_64(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode64(f, 0);

	/* jmp far [rbx] to compatibility mode, and the 64-bit form. */
	s->gpr[X86_RBX] = 0x70000;
	fix_put(f, 0x70000, 0x1234, 4);
	fix_put(f, 0x70004, UCS32, 2);
	assert_false(run(f, "\xff\x2b"));
	assert_int_equal(s->rip, HANDLER(13)); /* DPL 3 */
	assert_int_equal(frame(f, 0), UCS32 & ~3u);
	mode64(f, 0);
	gdt_set(f, 0x58, 0, 0xfffff, 0xc09b);
	fix_put(f, 0x70004, 0x58, 2);
	assert_true(run(f, "\xff\x2b"));
	assert_int_equal(f->v->mode, X86_MODE_32);
	assert_int_equal(s->rip, 0x1234);
	/* call far [rbx], and back by retfq */
	mode64(f, 0);
	fix_put(f, 0x70000, 0x4321, 8);
	fix_put(f, 0x70008, KCS, 2);
	assert_true(run(f, "\x48\xff\x1b"));
	assert_int_equal(s->rip, 0x4321);
	assert_int_equal(frame(f, 0), CODE + 3);
	assert_int_equal(frame(f, 1), KCS);
	assert_true(run(f, "\x48\xcb"));
	assert_int_equal(s->rip, CODE + 3);
	assert_int_equal(s->gpr[X86_RSP], STACK);
	/* Through a call gate to CPL 0. */
	mode64(f, 3);
	fix_put(f, GDT + GATE, 0x5678 | (uint64_t)KCS << 16 | (uint64_t)0xec << 40, 8);
	fix_put(f, GDT + GATE + 8, 0, 8);
	fix_put(f, 0x70000, 0, 8);
	fix_put(f, 0x70008, GATE | 3, 2);
	assert_true(run(f, "\x48\xff\x1b"));
	assert_int_equal(s->rip, 0x5678);
	assert_int_equal(f->v->cpl, 0);
	assert_int_equal(s->seg[X86_SS].sel, 0);
	assert_int_equal(frame(f, 0), CODE + 3);
	assert_int_equal(frame(f, 1), UCS);
	assert_int_equal(frame(f, 2), USTACK);
	assert_int_equal(frame(f, 3), UDS);
	assert_true(run(f, "\x48\xcb"));
	assert_int_equal(f->v->cpl, 3);
	assert_int_equal(s->gpr[X86_RSP], USTACK);
	/* A gate with DPL 0 from CPL 3. */
	fix_put(f, GDT + GATE + 5, 0x8c, 1);
	assert_false(run(f, "\x48\xff\x1b"));
	assert_int_equal(s->rip, HANDLER(13));
	assert_int_equal(frame(f, 0), GATE);
}

/* ---- 32-bit protected mode ---- */

static void test_mode32(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = mode32(f, 3);

	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(6));
	assert_int_equal(s->seg[X86_SS].sel, KDS);
	assert_int_equal(s->gpr[X86_RSP], STACK - 20);
	assert_int_equal(frame32(f, 0), CODE);
	assert_int_equal(frame32(f, 1), UCS32);
	assert_int_equal(frame32(f, 3), USTACK);
	assert_int_equal(frame32(f, 4), UDS);
	assert_true(run(f, "\xcf"));
	assert_int_equal(f->v->cpl, 3);
	assert_int_equal(s->gpr[X86_RSP], USTACK);
	/* 16-bit gate. */
	mode32(f, 0);
	idt32(f, 6, KCS, 6, 0);
	fix_put(f, IDT + 6 * 8 + 6, 0x1234, 2); /* ignored */
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(6) & 0xffff);
	assert_int_equal(s->gpr[X86_RSP], STACK - 6);
	/* Task gate: not modelled, #GP with its selector. */
	mode32(f, 0);
	fix_put(f, IDT + 6 * 8 + 5, 0x85, 1);
	assert_false(run(f, "\x0f\x0b"));
	assert_int_equal(s->rip, HANDLER(13));
	assert_int_equal(frame32(f, 0), 6 * 8 + 3);
	/* A stack segment in the TSS that is none. */
	mode32(f, 3);
	fix_put(f, TSS + 8, KCS, 4);
	assert_false(run(f, "\x0f\x0b"));
	assert_true(f->v->shutdown); /* #TS needs the same stack */
	/* Call gate with two parameters. */
	mode32(f, 3);
	fix_put(f, GDT + GATE,
		0x5678 | (uint64_t)KCS << 16 | (uint64_t)2 << 32 | (uint64_t)0xec << 40, 8);
	s->gpr[X86_RSP] = USTACK - 8;
	fix_put(f, USTACK - 8, 0xaaaa, 4);
	fix_put(f, USTACK - 4, 0xbbbb, 4);
	assert_true(run(f, "\x9a\0\0\0\0\x43\0"));
	assert_int_equal(s->rip, 0x5678);
	assert_int_equal(frame32(f, 0), CODE + 7);
	assert_int_equal(frame32(f, 2), 0xaaaa);
	assert_int_equal(frame32(f, 3), 0xbbbb);
	assert_int_equal(frame32(f, 4), USTACK - 8);
	assert_true(run(f, "\xca\x08\0")); /* retf 8 */
	assert_int_equal(s->gpr[X86_RSP], USTACK);
	assert_int_equal(f->v->cpl, 3);
	/* IRET to virtual-8086 mode: not modelled. */
	mode32(f, 0);
	fix_put(f, STACK - 12, 0, 4);
	fix_put(f, STACK - 8, 0, 4);
	fix_put(f, STACK - 4, X86_VM | 2, 4);
	s->gpr[X86_RSP] = STACK - 12;
	assert_false(run(f, "\xcf"));
	assert_int_equal(s->rip, HANDLER(13));
}

/* ---- Real mode ---- */

static void test_real(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = &f->v->s;

	s->seg[X86_CS].base = 0;
	s->seg[X86_CS].sel = 0;
	s->idt = (struct x86_dtr){0, 0x3ff};
	s->gpr[X86_RSP] = 0x7000;
	s->rflags = 0x202;
	soft_state_loaded(f->v);
	fix_put(f, 0x10 * 4, 0xf0001234, 4);
	assert_true(run(f, "\xcd\x10"));
	assert_int_equal(s->rip, 0x1234);
	assert_int_equal(s->seg[X86_CS].base, 0xf0000);
	assert_int_equal(s->rflags, 2);
	assert_int_equal(fix_get(f, 0x6ffa, 2), CODE + 2);
	assert_int_equal(fix_get(f, 0x6ffe, 2), 0x202);
	s->seg[X86_CS].base = 0;
	assert_true(run(f, "\xcf"));
	assert_int_equal(s->rip, CODE + 2);
	assert_int_equal(s->rflags, 0x202);
	assert_int_equal(s->gpr[X86_RSP], 0x7000);
	/* Far jump, segment loads, then PE. */
	assert_true(run(f, "\xea\x34\x12\x00\xc0"));
	assert_int_equal(s->seg[X86_CS].base, 0xc0000);
	s->seg[X86_CS].base = 0;
	s->gpr[X86_RAX] = 0x1234;
	assert_true(run(f, "\x8e\xd8"));
	assert_int_equal(s->seg[X86_DS].base, 0x12340);
	s->gpr[X86_RAX] = X86_CR0_PE;
	assert_true(run(f, "\x0f\x22\xc0"));
	assert_int_equal(f->v->mode, X86_MODE_16);
	assert_true(s->cr0 & X86_CR0_PE);
	gdt_common(f);
	gdt_set(f, KCS, 0, 0xfffff, 0xc09b);
	assert_true(run(f, "\xea\x78\x56\x08\x00"));
	assert_int_equal(f->v->mode, X86_MODE_32);
	assert_int_equal(s->rip, 0x5678);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fault_frame),
		TEST(test_privilege_change),
		TEST(test_ist),
		TEST(test_software_interrupts),
		TEST(test_double_and_triple),
		TEST(test_interrupt_and_nmi),
		TEST(test_debug),
		TEST(test_iret),
		TEST(test_syscall),
		TEST(test_sysenter),
		TEST(test_far_64),
		TEST(test_mode32),
		TEST(test_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
