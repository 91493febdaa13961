/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs_flow.c - SYSCALL, SYSRET and IRET between 64-bit kernel and 64-bit user code, without leaving host code.
 *
 * Theory of operation. What these instructions load into CS and SS depends on control registers, MSRs and
 * descriptors, which hardly ever change. v->tr.flow holds it ready (soft_flow_changed(), soft_flow_iret()), and says
 * whether the plain case is given: 64-bit code on both sides, nothing that single-steps, checks alignment or
 * waits to be delivered. A stub looks at that, moves the flags and the few fields of struct soft_vcpu that make up
 * the mode, and goes on by the jump cache of the new mode. Everything else goes by C, before anything has changed.
 *
 * IRET reads its frame through the TLB, and compares the descriptors that its selectors name with those that the
 * last IRET of this kind found and checked: as long as they are the same, so is what they load.
 *
 * The jump cache of a mode holds code for one mode key. soft_flow_changed() empties those that change their key, so
 * that a stub may use them without a look at the key.
 *
 * Called with a record behind the call (as stub.step is), flags in the slot; SYSCALL with the return address in S0.
 */
#include "engine/soft/sys.h"
#include "engine/soft/translate.h"

#define UPPER(n) (GS(s.seg) + (uint32_t)(sizeof(struct x86_seg) * (n)) + 8)
#define BASE(n) (GS(s.seg) + (uint32_t)(sizeof(struct x86_seg) * (n)))
#define IRET(field) ((uint32_t)(offsetof(struct soft_vcpu, tr.flow.iret[0].field)))

_Static_assert(offsetof(struct x86_seg, base) == 0 && offsetof(struct x86_seg, limit) == 8 &&
		       offsetof(struct x86_seg, sel) == 12 && offsetof(struct x86_seg, attr) == 14,
	       "stubs move segment registers by halves");
_Static_assert(sizeof(struct soft_flow_iret) == 128, "a stub indexes them by a shift");

/* ---- what the stubs go by ---- */

static uint64_t upper(const struct x86_seg *seg)
{
	return seg->limit | (uint64_t)seg->sel << 32 | (uint64_t)seg->attr << 48;
}

static uint64_t flat(unsigned sel, unsigned cpl, bool code)
{
	struct x86_seg seg = {.limit = UINT32_MAX, .sel = (uint16_t)((sel & SYS_SEL_INDEX) | cpl)};

	seg.attr = (uint16_t)(X86_ATTR_P | X86_ATTR_S | X86_ATTR_G | X86_ATTR_RW |
			      X86_ATTR_ACCESSED | cpl << X86_ATTR_DPL_SHIFT |
			      (code ? X86_ATTR_CODE | X86_ATTR_L : X86_ATTR_DB));
	return upper(&seg);
}

void soft_flow_changed(struct soft_vcpu *v)
{
	const struct x86_state *s = &v->s;
	struct soft_flow *f = &v->tr.flow;
	unsigned sc = (unsigned)(s->msr.star >> 32) & 0xffff, sr = (unsigned)(s->msr.star >> 48);
	bool smap = s->cr4 & X86_CR4_SMAP;
	bool on = (s->msr.efer & (X86_EFER_LMA | X86_EFER_SCE)) == (X86_EFER_LMA | X86_EFER_SCE);

	f->cr0 = s->cr0;
	f->cr4 = s->cr4;
	f->efer = s->msr.efer;
	f->cs[0] = flat(sc, 0, true);
	f->ss[0] = flat(sc + 8, 0, false);
	f->cs[1] = flat(sr + 16, 3, true);
	f->ss[1] = flat(sr + 8, 3, false);
	f->rflags_mask = ~((uint32_t)s->msr.sfmask | X86_RF);
	f->slot_mask = soft_slot_of_flags(f->rflags_mask);
	/* The new privilege must not depend on AC. */
	f->kernel_mmu = smap ? SOFT_MMU_KERNEL : SOFT_MMU_KERNEL_USER;
	f->syscall_ok[SOFT_MMU_KERNEL] = on && smap && (s->msr.sfmask & X86_AC);
	f->syscall_ok[SOFT_MMU_KERNEL_USER] = on && !smap;
	f->sysret_ok = on;
	soft_tr_rekey(v);
}

static uint64_t raw_at(struct soft_vcpu *v, uint16_t sel)
{
	return soft_read_sys(v, v->s.gdt.base + (sel & 0xfff8u), 8);
}

/* An IRET from CPL 0 in 64-bit code has just gone well. */
void soft_flow_iret(struct soft_vcpu *v, uint16_t cs, uint16_t ss)
{
	struct soft_flow_iret *r = &v->tr.flow.iret[v->cpl == 3];
	bool null_ss = !(ss & SYS_SEL_INDEX);
	uint64_t cs_at = v->s.gdt.base + (cs & 0xfff8u);
	uint64_t ss_at = null_ss ? cs_at : v->s.gdt.base + (ss & 0xfff8u);

	if (v->mode != X86_MODE_64 || (v->cpl != 0 && v->cpl != 3) || ((cs | ss) & 4) ||
	    (cs_at ^ ss_at) & ~UINT64_C(0xfff) || (cs_at & 0xfff) > 4088 || (ss_at & 0xfff) > 4088)
		return;
	r->cs_sel = UINT32_MAX; /* what is read here may fault */
	r->cs_raw = raw_at(v, cs);
	r->ss_raw = null_ss ? r->cs_raw : raw_at(v, ss);
	r->gdt_base = v->s.gdt.base;
	r->gdt_limit = v->s.gdt.limit;
	r->desc = cs_at;
	r->ss_delta = ss_at - cs_at;
	r->cs_base = v->s.seg[X86_CS].base;
	r->ss_base = v->s.seg[X86_SS].base;
	r->cs_upper = upper(&v->s.seg[X86_CS]);
	r->ss_upper = upper(&v->s.seg[X86_SS]);
	r->ss_sel = ss;
	r->cs_sel = cs;
}

/* ---- pieces of host code ---- */

#define MAX_SLOW 24u

/* Jumps to where the instruction goes by C. */
struct slow {
	uint8_t *from[MAX_SLOW];
	unsigned n;
};

static void slow_if(struct emit *e, struct slow *s, unsigned cc)
{
	ASSERT(s->n < MAX_SLOW);
	s->from[s->n++] = emit_jcc32(e, cc);
}

static uint8_t *start(struct emit *e, struct slow *s)
{
	s->n = 0;
	while (((uintptr_t)e->p & 15) && !e->full)
		emit8(e, 0xcc);

	uint8_t *at = emit_here(e);

	emit8(e, 0x41); /* pop r11 */
	emit8(e, 0x5b);
	emit_store_gs(e, true, S1, GS(tr.rec));
	return at;
}

static void slow_here(struct emit *e, const struct slow *s)
{
	for (unsigned i = 0; i < s->n; i++)
		emit_patch32(e, s->from[i], e->p);
}

/* cmp byte gs:[at], value; test byte gs:[at], value. */
static void cmp8(struct emit *e, uint32_t at, unsigned value)
{
	emit8(e, 0x65);
	emit8(e, 0x80);
	emit8(e, 0x3c);
	emit8(e, 0x25);
	emit32(e, at);
	emit8(e, value);
}

static void test8(struct emit *e, uint32_t at, unsigned value)
{
	emit8(e, 0x65);
	emit8(e, 0xf6);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, at);
	emit8(e, value);
}

/* test reg, imm32 (32 bits). */
static void test_imm(struct emit *e, unsigned reg, uint32_t imm)
{
	emit_rex(e, false, 0, 0, reg);
	emit8(e, 0xf7);
	emit8(e, 0xc0 | (reg & 7));
	emit32(e, imm);
}

/* shl, shr, sar (ext 4, 5, 7) reg, n. */
static void shift(struct emit *e, bool w, unsigned ext, unsigned reg, unsigned n)
{
	emit_rex(e, w, 0, 0, reg);
	emit8(e, 0xc1);
	emit8(e, 0xc0 | ext << 3 | (reg & 7));
	emit8(e, n);
}

/* mov gs:[at], S1's low byte. */
static void store_s1_byte(struct emit *e, uint32_t at)
{
	emit8(e, 0x65);
	emit8(e, 0x44);
	emit8(e, 0x88);
	emit8(e, 0x1c);
	emit8(e, 0x25);
	emit32(e, at);
}

/* movzx reg, byte gs:[at]. */
static void load8(struct emit *e, unsigned reg, uint32_t at)
{
	emit8(e, 0x65);
	emit_rex(e, false, reg, 0, 0);
	emit8(e, 0x0f);
	emit8(e, 0xb6);
	emit8(e, 0x04 | (reg & 7) << 3);
	emit8(e, 0x25);
	emit32(e, at);
}

static void store_zero(struct emit *e, uint32_t at)
{
	emit8(e, 0x65); /* mov qword gs:[at], 0 */
	emit8(e, 0x48);
	emit8(e, 0xc7);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, at);
	emit32(e, 0);
}

static void move_gs(struct emit *e, uint32_t to, uint32_t from)
{
	emit_load_gs(e, true, S0, from);
	emit_store_gs(e, true, S0, to);
}

static void flat_segments(struct emit *e, unsigned user)
{
	store_zero(e, BASE(X86_CS));
	store_zero(e, BASE(X86_SS));
	move_gs(e, UPPER(X86_CS), GS(tr.flow.cs) + 8 * user);
	move_gs(e, UPPER(X86_SS), GS(tr.flow.ss) + 8 * user);
}

/* RFLAGS and the flags slot from S1, which has only bits that may be set. */
static void set_rflags(struct emit *e)
{
	emit_alu_imm(e, false, 1, S1, X86_F1);
	emit_store_gs(e, true, S1, GS(s.rflags));
	store_s1_byte(e, GS(tr.flags_slot) + 1);
	shift(e, false, 5, S1, 11);
	emit_alu_imm(e, false, 4, S1, 1);
	store_s1_byte(e, GS(tr.flags_slot));
}

static void set_mode(struct emit *e, unsigned cpl, unsigned mmu)
{
	emit_store8_gs(e, GS(cpl), cpl);
	emit_store8_gs(e, GS(mmu), mmu);
}

/* Goes on at guest address S0 in the new mode. */
static void look_up(struct emit *e, const struct soft_stubs *st, unsigned mmu)
{
	uint32_t part = (uint32_t)(mmu * SOFT_JC_SIZE * sizeof(uint64_t));

	emit_mov_rr(e, false, S1, S0); /* soft_jc_index() */
	shift(e, false, 5, S1, SOFT_JC_SHIFT);
	emit_rr(e, false, 0x31, S0, S1);
	emit_alu_imm(e, false, 4, S1, SOFT_JC_SIZE - 1);
	emit8(e, 0x65);
	emit_rm(e, true, 0x3b, S0, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_tag) + part));

	uint8_t *miss = emit_jcc32(e, CC_NE);

	emit8(e, 0x65);
	emit_rm(e, false, 0xff, 4, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_code) + part));
	emit_patch32(e, miss, e->p);
	emit_jmp(e, st->ind_popped[mmu]);
}

/* ---- the stubs ---- */

static uint8_t *syscall_stub(struct emit *e, const struct soft_stubs *st, unsigned mmu)
{
	struct slow s;
	uint8_t *at = start(e, &s);

	cmp8(e, GS(tr.flow.syscall_ok) + mmu, 0);
	slow_if(e, &s, CC_E);
	emit_mov_rr(e, true, HR_RCX, S0);
	emit_load_gs(e, false, S1, GS(s.rflags));
	emit_alu_imm(e, false, 4, S1, (int32_t) ~(X86_STATUS_FLAGS | X86_RF));
	load8(e, S0, GS(tr.flags_slot) + 1);
	emit_alu_imm(e, false, 4, S0, 0xd5);
	emit_rr(e, false, 0x09, S0, S1);
	load8(e, S0, GS(tr.flags_slot));
	shift(e, false, 4, S0, 11);
	emit_rr(e, false, 0x09, S0, S1);
	emit_store_gs(e, true, S1, GS_GPR(X86_R11));
	emit_gs(e, false, 0x23, S1, GS(tr.flow.rflags_mask));
	set_rflags(e);
	flat_segments(e, 0);
	set_mode(e, 0, mmu);
	emit_load_gs(e, true, S0, GS(s.msr.lstar));
	look_up(e, st, mmu);
	slow_here(e, &s);
	emit_jmp(e, st->step_popped);
	return at;
}

static uint8_t *sysret_stub(struct emit *e, const struct soft_stubs *st)
{
	struct slow s;
	uint8_t *at = start(e, &s);

	cmp8(e, GS(tr.flow.sysret_ok), 0);
	slow_if(e, &s, CC_E);
	cmp8(e, GS(tr.irq_check), 0);
	slow_if(e, &s, CC_NE);
	emit_mov_rr(e, true, S0, HR_RCX); /* lower half only: vendors differ in what the rest does */
	shift(e, true, 5, S0, 47);
	slow_if(e, &s, CC_NE);
	emit_load_gs(e, false, S1, GS_GPR(X86_R11));
	test_imm(e, S1, X86_TF | X86_AC);
	slow_if(e, &s, CC_NE);
	emit_alu_imm(e, false, 4, S1, 0x3c7fd7);
	set_rflags(e);
	flat_segments(e, 1);
	set_mode(e, 3, SOFT_MMU_USER);
	emit_mov_rr(e, true, S0, HR_RCX);
	look_up(e, st, SOFT_MMU_USER);
	slow_here(e, &s);
	emit_jmp(e, st->step_popped);
	return at;
}

/* S0: guest address in, host address out of `size` readable bytes in one page. */
static void readable(struct emit *e, struct slow *s, unsigned mmu, unsigned size)
{
	emit_mov_rr(e, false, S1, S0);
	shift(e, false, 5, S1, 7);
	emit_alu_imm(e, false, 4, S1, (SOFT_TLB_SIZE - 1) * (int)sizeof(struct soft_tlb_entry));
	emit_gs_base(e, true, 0x2b, S0, S1, GS_TLB(mmu, tag_r));
	emit_alu_imm(e, true, 7, S0, 4096 - (int)size);
	slow_if(e, s, CC_A);
	emit_gs_base(e, true, 0x03, S0, S1, GS_TLB(mmu, host));
}

/* op reg, gs:[rdx + at] */
static void of_entry(struct emit *e, bool w, unsigned opcode, unsigned reg, uint32_t at)
{
	emit8(e, 0x65);
	emit_rm(e, w, opcode, reg, HR_RDX, HR_NONE, 0, (int32_t)at);
}

/* ecx = word [rax + off], which must be the selector of the entry. */
static void same_selector(struct emit *e, struct slow *s, unsigned off, uint32_t at)
{
	emit8(e, 0x0f); /* movzx ecx, word [rax + off] */
	emit8(e, 0xb7);
	emit_modrm_mem(e, HR_RCX, HR_RAX, HR_NONE, 0, (int32_t)off);
	if (at == IRET(cs_sel)) { /* its low bit tells which entry: CPL 0 or 3 */
		emit_mov_rr(e, false, HR_RDX, HR_RCX);
		emit_alu_imm(e, false, 4, HR_RDX, 1);
		shift(e, false, 4, HR_RDX, 7);
	}
	of_entry(e, false, 0x3b, HR_RCX, at);
	slow_if(e, s, CC_NE);
}

/* The GDT is where it was, and the two descriptors are what they were. */
static void same_descriptors(struct emit *e, struct slow *s, unsigned mmu)
{
	of_entry(e, true, 0x8b, S0, IRET(gdt_base));
	emit_gs(e, true, 0x3b, S0, GS(s.gdt.base));
	slow_if(e, s, CC_NE);
	of_entry(e, false, 0x8b, S0, IRET(gdt_limit));
	emit8(e, 0x66); /* cmp r10w, gs:[limit]: prefixes in this order */
	emit_gs(e, false, 0x3b, S0, GS(s.gdt.limit));
	slow_if(e, s, CC_NE);
	of_entry(e, true, 0x8b, S0, IRET(desc));
	readable(e, s, mmu, 8);
	emit_rm(e, true, 0x8b, HR_RCX, S0, HR_NONE, 0, 0);
	of_entry(e, true, 0x3b, HR_RCX, IRET(cs_raw));
	slow_if(e, s, CC_NE);
	of_entry(e, true, 0x03, S0, IRET(ss_delta));
	emit_rm(e, true, 0x8b, HR_RCX, S0, HR_NONE, 0, 0);
	of_entry(e, true, 0x3b, HR_RCX, IRET(ss_raw));
	slow_if(e, s, CC_NE);
}

static void entry_segments(struct emit *e)
{
	of_entry(e, true, 0x8b, S0, IRET(cs_base));
	emit_store_gs(e, true, S0, BASE(X86_CS));
	of_entry(e, true, 0x8b, S0, IRET(cs_upper));
	emit_store_gs(e, true, S0, UPPER(X86_CS));
	of_entry(e, true, 0x8b, S0, IRET(ss_base));
	emit_store_gs(e, true, S0, BASE(X86_SS));
	of_entry(e, true, 0x8b, S0, IRET(ss_upper));
	emit_store_gs(e, true, S0, UPPER(X86_SS));
}

static void push(struct emit *e, unsigned reg)
{
	emit8(e, 0x50 | reg);
}

static void pop(struct emit *e, unsigned reg)
{
	emit8(e, 0x58 | reg);
}

/* Flags, registers and mode; the frame is at [rax], its flags in ecx. */
static void iret_end(struct emit *e, const struct soft_stubs *st, unsigned cpl, unsigned mmu)
{
	const uint32_t mask = X86_STATUS_FLAGS | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_AC |
			      X86_VIF | X86_VIP | X86_ID; /* RF counts for breakpoints only */

	entry_segments(e);
	emit_mov_rr(e, false, S1, HR_RCX);
	emit_alu_imm(e, false, 4, S1, (int32_t)mask);
	set_rflags(e);
	set_mode(e, cpl, mmu);
	emit_rm(e, true, 0x8b, HR_GUEST_RSP, HR_RAX, HR_NONE, 0, 24);
	emit_rm(e, true, 0x8b, S0, HR_RAX, HR_NONE, 0, 0);
	pop(e, HR_RDX);
	pop(e, HR_RCX);
	pop(e, HR_RAX);
	look_up(e, st, mmu);
}

static uint8_t *iret_stub(struct emit *e, const struct soft_stubs *st, unsigned mmu)
{
	static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	struct slow s, saved = {.n = 0};
	uint8_t *at = start(e, &s), *user, *ac;

	cmp8(e, GS(tr.irq_check), 0);
	slow_if(e, &s, CC_NE);
	cmp8(e, GS(s.ev.nmi_masked), 0);
	slow_if(e, &s, CC_NE);
	test8(e, GS(s.rflags) + 1, X86_NT >> 8);
	slow_if(e, &s, CC_NE);
	emit_mov_rr(e, true, S0, HR_GUEST_RSP);
	readable(e, &s, mmu, 40);
	push(e, HR_RAX);
	push(e, HR_RCX);
	push(e, HR_RDX);
	emit_mov_rr(e, true, HR_RAX, S0);
	same_selector(e, &saved, 8, IRET(cs_sel));
	same_selector(e, &saved, 32, IRET(ss_sel));
	same_descriptors(e, &saved, mmu);
	emit_rm(e, true, 0x8b, S0, HR_RAX, HR_NONE, 0, 0); /* rip must be canonical */
	emit_mov_rr(e, true, S1, S0);
	shift(e, true, 4, S1, 16);
	shift(e, true, 7, S1, 16);
	emit_rr(e, true, 0x39, S0, S1);
	slow_if(e, &saved, CC_NE);
	emit_rm(e, false, 0x8b, HR_RCX, HR_RAX, HR_NONE, 0, 16);
	test_imm(e, HR_RCX, X86_TF);
	slow_if(e, &saved, CC_NE);
	emit_rr(e, false, 0x85, HR_RDX, HR_RDX);
	user = emit_jcc32(e, CC_NE);
	test_imm(e, HR_RCX, X86_AC);
	ac = emit_jcc32(e, CC_NE);
	iret_end(e, st, 0, mmu);
	emit_patch32(e, ac, e->p);
	iret_end(e, st, 0, SOFT_MMU_KERNEL_USER);

	emit_patch32(e, user, e->p);
	test_imm(e, HR_RCX, X86_AC);
	slow_if(e, &saved, CC_NE);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) { /* a segment that may have to be dropped */
		test8(e, UPPER(data[i]) + 6, X86_ATTR_P);
		slow_if(e, &saved, CC_NE);
	}
	iret_end(e, st, 3, SOFT_MMU_USER);

	slow_here(e, &saved);
	pop(e, HR_RDX);
	pop(e, HR_RCX);
	pop(e, HR_RAX);
	slow_here(e, &s);
	emit_jmp(e, st->step_popped);
	return at;
}

void soft_stubs_emit_flow(struct soft_stubs *st, struct emit *e)
{
	for (unsigned mmu = 0; mmu < SOFT_MMU_USER; mmu++) {
		st->syscall[mmu] = syscall_stub(e, st, mmu);
		st->iret[mmu] = iret_stub(e, st, mmu);
	}
	st->sysret = sysret_stub(e, st);
}
