/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_sys.c - host code for system instructions that need no look around: the interrupt flag, SMAP's AC, the
 * time stamp counter, segment selectors and bases, reads of control registers, bit tests in memory. Everything else of the kind goes by C.
 */
#include "engine/soft/tr_emit.h"

/* Where a control register that is no more than its value stands; 0: it is not of that kind. */
static uint32_t cr_field(unsigned cr)
{
	switch (cr) {
	case 0: return GS(s.cr0);
	case 2: return GS(s.cr2);
	case 3: return GS(s.cr3);
	case 4: return GS(s.cr4);
	default: return 0;
	}
}

bool tr_inline_system(const struct tr *t, const struct x86_insn *in)
{
	bool kernel64 = t->mode == X86_MODE_64 && !(t->key & SOFT_KEY_CPL3);

	switch (in->op) {
	case X86_OP_CLI:
	case X86_OP_STI: return kernel64;
	case X86_OP_STAC:
	case X86_OP_CLAC: return kernel64 && (t->key & SOFT_KEY_SMAP);
	case X86_OP_RDTSC:
	case X86_OP_RDTSCP:
		return !(t->key & SOFT_KEY_TSD) && t->so->cfg.soft_mode == SOFT_MODE_TRANSLATE;
	case X86_OP_PUSHF: return t->mode == X86_MODE_64 && in->opnd_bytes == 8;
	case X86_OP_SWAPGS: return kernel64;
	case X86_OP_MOV_FROM_SREG: return true;
	case X86_OP_MOV_FROM_CR: return kernel64 && cr_field(in->reg) != 0;
	case X86_OP_RDFSBASE:
	case X86_OP_RDGSBASE:
	case X86_OP_WRFSBASE:
	case X86_OP_WRGSBASE: return t->mode == X86_MODE_64;
	case X86_OP_CLD:
	case X86_OP_STD: return true;
	case X86_OP_BT:
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC:
		return t->mode == X86_MODE_64 && (in->attr & X86_A_BITOFF) && in->has_mem &&
		       in->opnd_bytes >= 4;
	default: return false;
	}
}

/* op dword gs:[disp], imm32: group 1 with ext (1 or, 4 and). */
static void gs_alu_imm(struct emit *e, unsigned ext, uint32_t disp, uint32_t imm)
{
	emit8(e, 0x65);
	emit8(e, 0x81);
	emit8(e, 0x04 | ext << 3);
	emit8(e, 0x25);
	emit32(e, disp);
	emit32(e, imm);
}

/* Interrupts wait one more instruction after STI; if one waits, leave with the shadow set. */
static void sti(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;

	gs_alu_imm(e, 1, GS(s.rflags), X86_IF);
	emit8(e, 0x65); /* cmp byte gs:[irq_check], 0 */
	emit8(e, 0x80);
	emit8(e, 0x3c);
	emit8(e, 0x25);
	emit32(e, GS(tr.irq_check));
	emit8(e, 0);

	struct tr_cold *c = tr_cold(t, TR_COLD_STI, emit_jcc32(e, CC_NE));

	c->va = tr_va(t, t->va + t->off[t->i] + in->len);
	c->i = (uint8_t)t->i;
}

static void rdtsc(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;

	if (in->op == X86_OP_RDTSCP) { /* waits for earlier instructions */
		emit8(e, 0x0f);
		emit8(e, 0xae);
		emit8(e, 0xe8);
	}
	emit8(e, 0x0f);
	emit8(e, 0x31);
	emit8(e, 0x48); /* shl rdx, 32 */
	emit8(e, 0xc1);
	emit8(e, 0xe2);
	emit8(e, 32);
	emit_rr(e, true, 0x09, HR_RDX, HR_RAX);
	emit_gs(e, true, 0x03, HR_RAX, GS(s.msr.tsc_offset));
	emit_mov_rr(e, true, HR_RDX, HR_RAX);
	emit8(e, 0x48); /* shr rdx, 32 */
	emit8(e, 0xc1);
	emit8(e, 0xea);
	emit8(e, 32);
	emit_mov_rr(e, false, HR_RAX, HR_RAX);
	if (in->op == X86_OP_RDTSCP)
		emit_load_gs(e, false, HR_RCX, GS(s.msr.tsc_aux));
}

static void pushf(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	struct tr_cold *c = tr_push_slot(t, in);

	/* rflags without its status bits, which are in the slot: high byte as they are, low byte OF. */
	emit_load_gs(e, false, S1, GS(s.rflags));
	emit_alu_imm(e, false, 4, S1, (int32_t) ~(X86_STATUS_FLAGS | X86_RF | X86_VM));
	emit_rm(e, true, 0x89, S1, S0, HR_NONE, 0, 0);
	emit8(e, 0x65); /* movzx r11d, byte gs:[slot + 1] */
	emit8(e, 0x44);
	emit8(e, 0x0f);
	emit8(e, 0xb6);
	emit8(e, 0x1c);
	emit8(e, 0x25);
	emit32(e, GS(tr.flags_slot) + 1);
	emit_alu_imm(e, false, 4, S1, 0xd5);
	emit_rm(e, true, 0x09, S1, S0, HR_NONE, 0, 0);
	emit8(e, 0x65); /* movzx r11d, byte gs:[slot] */
	emit8(e, 0x44);
	emit8(e, 0x0f);
	emit8(e, 0xb6);
	emit8(e, 0x1c);
	emit8(e, 0x25);
	emit32(e, GS(tr.flags_slot));
	emit_rex(e, false, 0, 0, S1); /* shl r11d, 11 */
	emit8(e, 0xc1);
	emit8(e, 0xe0 | (S1 & 7));
	emit8(e, 11);
	emit_rm(e, true, 0x09, S1, S0, HR_NONE, 0, 0);
	tr_move_rsp(t, -8);
	tr_done(t, c);
}

#define GS_BASE(n) \
	(GS(s.seg) + (uint32_t)(sizeof(struct x86_seg) * (n) + offsetof(struct x86_seg, base)))
#define GS_SEL(n) \
	(GS(s.seg) + (uint32_t)(sizeof(struct x86_seg) * (n) + offsetof(struct x86_seg, sel)))

static void swapgs(struct emit *e)
{
	emit_load_gs(e, true, S0, GS_BASE(X86_GS));
	emit_load_gs(e, true, S1, GS(s.msr.kernel_gs_base));
	emit_store_gs(e, true, S1, GS_BASE(X86_GS));
	emit_store_gs(e, true, S0, GS(s.msr.kernel_gs_base));
}

static void load_selector(struct emit *e, unsigned dst, unsigned sreg)
{
	emit8(e, 0x65); /* movzx dst, word gs:[selector] */
	emit_rex(e, false, dst, 0, 0);
	emit8(e, 0x0f);
	emit8(e, 0xb7);
	emit8(e, 0x04 | (dst & 7) << 3);
	emit8(e, 0x25);
	emit32(e, GS_SEL(sreg));
}

static void store_selector(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	struct emit *e = &t->e;

	load_selector(e, S1, in->reg);
	emit8(e, 0x66);
	emit_rm(e, false, 0x89, S1, S0, HR_NONE, 0, disp);
}

static void mov_from_sreg(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	unsigned hr, dst;

	if (in->has_mem) {
		(void)tr_operand(t, in, store_selector);
		return;
	}
	hr = soft_host_reg(in->rm);
	if (in->opnd_bytes == 2) { /* the rest of the register stays */
		dst = tr_gpr(t, in->rm, S1);
		load_selector(e, S0, in->reg);
		emit8(e, 0x66);
		emit_mov_rr(e, false, dst, S0);
	} else {
		dst = hr == HR_HOMED ? S1 : hr;
		load_selector(e, dst, in->reg);
	}
	if (hr == HR_HOMED)
		emit_store_gs(e, true, dst, GS_GPR(in->rm));
}

/* RDFSBASE and its kind. CR4.FSGSBASE is no part of the mode key: it is looked at. */
static void fsgsbase(struct tr *t, const struct x86_insn *in)
{
	bool fs = in->op == X86_OP_RDFSBASE || in->op == X86_OP_WRFSBASE;
	bool write = in->op == X86_OP_WRFSBASE || in->op == X86_OP_WRGSBASE;
	bool w = in->opnd_bytes == 8;
	uint32_t base = fs ? GS_BASE(X86_FS) : GS_BASE(X86_GS);
	struct emit *e = &t->e;
	struct tr_cold *off, *bad = NULL;
	unsigned hr = soft_host_reg(in->rm);

	emit8(e, 0x65); /* test byte gs:[cr4 + 2], FSGSBASE >> 16 */
	emit8(e, 0xf6);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, GS(s.cr4) + 2);
	emit8(e, X86_CR4_FSGSBASE >> 16);
	off = tr_cold(t, TR_COLD_STEP, emit_jcc32(e, CC_E));
	if (!write) {
		emit_load_gs(e, w, hr == HR_HOMED ? S0 : hr, base);
		if (hr == HR_HOMED)
			emit_store_gs(e, true, S0, GS_GPR(in->rm));
	} else {
		hr = tr_gpr(t, in->rm, S1);
		emit_mov_rr(e, w, S0, hr);
		if (w) { /* must be canonical */
			if (hr != S1)
				emit_mov_rr(e, true, S1, hr);
			emit_rex(e, true, 0, 0, S1); /* shl r11, 16 */
			emit8(e, 0xc1);
			emit8(e, 0xe0 | (S1 & 7));
			emit8(e, 16);
			emit_rex(e, true, 0, 0, S1); /* sar r11, 16 */
			emit8(e, 0xc1);
			emit8(e, 0xf8 | (S1 & 7));
			emit8(e, 16);
			emit_rr(e, true, 0x39, S0, S1);
			bad = tr_cold(t, TR_COLD_STEP, emit_jcc32(e, CC_NE));
		}
		emit_store_gs(e, true, S0, base);
	}
	off->back = emit_here(e);
	off->i = (uint8_t)t->i;
	if (bad) {
		bad->back = off->back;
		bad->i = off->i;
	}
}

static void mov_from_cr(struct tr *t, const struct x86_insn *in)
{
	unsigned hr = soft_host_reg(in->rm);
	unsigned dst = hr == HR_HOMED ? S0 : hr;

	emit_load_gs(&t->e, true, dst, cr_field(in->reg));
	if (hr == HR_HOMED)
		emit_store_gs(&t->e, true, dst, GS_GPR(in->rm));
}

/* The flags of the slot into EFLAGS; S1 stays. */
static void restore_flags_beside_s1(struct tr *t)
{
	struct emit *e = &t->e;

	emit_store_gs(e, true, HR_RAX, GS(tr.tmp));
	soft_emit_flags_from_slot(e);
	emit_load_gs(e, true, HR_RAX, GS(tr.tmp));
}

/* BT and its kind with the bit's number in a register: the byte address depends on it. Only CF is written: where
 * somebody wants other flags they are put back after the number was masked. */
static void bit_test(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	bool w = in->opnd_bytes == 8;
	unsigned shift = w ? 6 : 5, hr;
	bool write = in->op != X86_OP_BT;

	tr_flags_clobber(t);

	uint8_t *retry = emit_here(e);

	tr_address(t, in, S0, true);
	hr = tr_gpr(t, in->reg, S1);
	if (w) {
		if (hr != S1)
			emit_mov_rr(e, true, S1, hr);
	} else { /* movsxd r11, reg */
		emit_rex(e, true, S1, 0, hr);
		emit8(e, 0x63);
		emit8(e, 0xc0 | (S1 & 7) << 3 | (hr & 7));
	}
	emit_rex(e, true, 0, 0, S1); /* sar r11, shift */
	emit8(e, 0xc1);
	emit8(e, 0xf8 | (S1 & 7));
	emit8(e, shift);
	emit_lea(e, true, S0, S0, S1, w ? 3 : 2, 0);

	struct tr_cold *c = tr_tlb_check(t, in, write, in->opnd_bytes, retry);

	if (!write) { /* in a register the number is cut to its size */
		emit_rm(e, w, 0x8b, S0, S0, HR_NONE, 0, 0);
		if (t->live & ~(unsigned)in->flags_write)
			tr_flags_to_native(t);
		hr = tr_gpr(t, in->reg, S1);
		emit_rex(e, w, hr, 0, S0);
		emit8(e, 0x0f);
		emit8(e, 0xa3);
		emit8(e, 0xc0 | (hr & 7) << 3 | (S0 & 7));
		t->loc = LOC_NATIVE;
		tr_done(t, c);
		return;
	}
	hr = tr_gpr(t, in->reg, S1);
	if (hr != S1)
		emit_mov_rr(e, false, S1, hr);
	emit_alu_imm(e, false, 4, S1, w ? 63 : 31);
	if (t->live & ~(unsigned)in->flags_write)
		restore_flags_beside_s1(t);
	if (in->lock)
		emit8(e, 0xf0);
	emit_rex(e, w, S1, 0, S0);
	emit8(e, 0x0f);
	emit8(e, in->opcode);
	emit_modrm_mem(e, S1, S0, HR_NONE, 0, 0);
	t->loc = LOC_NATIVE;
	tr_done(t, c);
}

void tr_emit_system(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;

	switch (in->op) {
	case X86_OP_PUSHF: pushf(t, in); return;
	case X86_OP_SWAPGS: swapgs(e); return;
	case X86_OP_MOV_FROM_SREG: mov_from_sreg(t, in); return;
	case X86_OP_BT:
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC: bit_test(t, in); return;
	case X86_OP_MOV_FROM_CR: mov_from_cr(t, in); return;
	default: break;
	}
	tr_flags_clobber(t);
	switch (in->op) {
	case X86_OP_RDFSBASE:
	case X86_OP_RDGSBASE:
	case X86_OP_WRFSBASE:
	case X86_OP_WRGSBASE: fsgsbase(t, in); break;
	case X86_OP_CLI: gs_alu_imm(e, 4, GS(s.rflags), ~X86_IF); break;
	case X86_OP_STI: sti(t, in); break;
	case X86_OP_CLD: gs_alu_imm(e, 4, GS(s.rflags), ~X86_DF); break;
	case X86_OP_STD: gs_alu_imm(e, 1, GS(s.rflags), X86_DF); break;
	case X86_OP_STAC:
		gs_alu_imm(e, 1, GS(s.rflags), X86_AC);
		emit_store8_gs(e, GS(mmu), SOFT_MMU_KERNEL_USER);
		t->key = (t->key & ~SOFT_KEY_MMU) | SOFT_MMU_KERNEL_USER;
		break;
	case X86_OP_CLAC:
		gs_alu_imm(e, 4, GS(s.rflags), ~X86_AC);
		emit_store8_gs(e, GS(mmu), SOFT_MMU_KERNEL);
		t->key = (t->key & ~SOFT_KEY_MMU) | SOFT_MMU_KERNEL;
		break;
	default: rdtsc(t, in); break;
	}
}
