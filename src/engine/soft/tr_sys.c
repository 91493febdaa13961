/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_sys.c - host code for system instructions that need no look around: the interrupt flag, SMAP's AC, the
 * time stamp counter, segment selectors, bit tests in memory. Everything else of the kind goes by C.
 */
#include "engine/soft/tr_emit.h"

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
	case X86_OP_MOV_FROM_SREG: return !in->has_mem && in->opnd_bytes != 2;
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

static void mov_from_sreg(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	unsigned hr = soft_host_reg(in->rm);
	unsigned dst = hr == HR_HOMED ? S0 : hr;

	emit8(e, 0x65); /* movzx dst, word gs:[selector] */
	emit_rex(e, false, dst, 0, 0);
	emit8(e, 0x0f);
	emit8(e, 0xb7);
	emit8(e, 0x04 | (dst & 7) << 3);
	emit8(e, 0x25);
	emit32(e, GS_SEL(in->reg));
	if (hr == HR_HOMED)
		emit_store_gs(e, true, S0, GS_GPR(in->rm));
}

/* BT and its kind with the bit's number in a register: the byte address depends on it. CF only is written, so the
 * masking of the number would spoil other flags: by C if somebody wants those. */
static bool bit_test(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	bool w = in->opnd_bytes == 8;
	unsigned shift = w ? 6 : 5, hr;
	bool write = in->op != X86_OP_BT;

	if (t->live & ~(unsigned)in->flags_write)
		return false;
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

	hr = tr_gpr(t, in->reg, S1);
	if (hr != S1)
		emit_mov_rr(e, false, S1, hr);
	emit_alu_imm(e, false, 4, S1, w ? 63 : 31);
	if (in->lock)
		emit8(e, 0xf0);
	emit_rex(e, w, S1, 0, S0);
	emit8(e, 0x0f);
	emit8(e, in->opcode);
	emit_modrm_mem(e, S1, S0, HR_NONE, 0, 0);
	t->loc = LOC_NATIVE;
	tr_done(t, c);
	return true;
}

bool tr_emit_system(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;

	switch (in->op) {
	case X86_OP_PUSHF: pushf(t, in); return true;
	case X86_OP_SWAPGS: swapgs(e); return true;
	case X86_OP_MOV_FROM_SREG: mov_from_sreg(t, in); return true;
	case X86_OP_BT:
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC: return bit_test(t, in);
	default: break;
	}
	tr_flags_clobber(t);
	switch (in->op) {
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
	return true;
}
