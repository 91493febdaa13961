/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recode.c - re-encoding: one guest instruction with other registers and a relocated memory operand.
 *
 * With VEX likewise, and vvvv. The opcode, its mandatory prefixes and its immediate stay; ModRM, REX and SIB are made anew. Address-size
 * and segment prefixes go (the address has been computed already), LOCK and operand-size prefixes stay.
 */
#include "engine/soft/translate.h"

static const uint8_t host_reg[16] = {
	[X86_RAX] = HR_RAX, [X86_RCX] = HR_RCX, [X86_RDX] = HR_RDX,   [X86_RBX] = HR_RBX,
	[X86_RSP] = HR_R15, [X86_RBP] = HR_RBP, [X86_RSI] = HR_RSI,   [X86_RDI] = HR_RDI,
	[X86_R8] = HR_R8,   [X86_R9] = HR_R9,	[X86_R10] = HR_HOMED, [X86_R11] = HR_HOMED,
	[X86_R12] = HR_R12, [X86_R13] = HR_R13, [X86_R14] = HR_R14,   [X86_R15] = HR_HOMED,
};

unsigned soft_host_reg(unsigned guest)
{
	return host_reg[guest];
}

/* rax -> slot, by way of S1. EFLAGS stay as they are. */
void soft_emit_flags_save(struct emit *e)
{
	emit_mov_rr(e, true, S1, HR_RAX);
	emit8(e, 0x9f); /* lahf */
	emit8(e, 0x0f); /* seto al */
	emit8(e, 0x90);
	emit8(e, 0xc0);
	emit8(e, 0x65); /* mov gs:[slot], ax */
	emit8(e, 0x66);
	emit8(e, 0x89);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, GS(tr.flags_slot));
	emit_mov_rr(e, true, HR_RAX, S1);
}

void soft_emit_flags_from_slot(struct emit *e)
{
	emit8(e, 0x65); /* movzx eax, word gs:[slot] */
	emit8(e, 0x0f);
	emit8(e, 0xb7);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, GS(tr.flags_slot));
	emit8(e, 0x04); /* add al, 0x7f: OF = al */
	emit8(e, 0x7f);
	emit8(e, 0x9e); /* sahf */
}

void soft_emit_flags_restore(struct emit *e)
{
	emit_mov_rr(e, true, S1, HR_RAX);
	soft_emit_flags_from_slot(e);
	emit_mov_rr(e, true, HR_RAX, S1);
}

static bool byte_gpr(const struct x86_insn *in, bool is_reg)
{
	if (is_reg)
		return in->reg_kind == X86_RK_GPR && in->reg_bytes == 1;
	return in->rm_kind == X86_RK_GPR && in->rm_bytes == 1;
}

/* The register is in the opcode's low bits; accumulator forms (ADD rAX, imm ...) name it by the opcode as a whole. */
static bool reg_in_opcode(const struct x86_insn *in)
{
	if (in->has_modrm || in->opreg == 0xff)
		return false;
	if (in->map == X86_MAP_0F)
		return in->opcode >= 0xc8; /* BSWAP */
	return (in->opcode >= 0x40 && in->opcode < 0x60) ||
	       (in->opcode >= 0x90 && in->opcode < 0x98) ||
	       (in->opcode >= 0xb0 && in->opcode < 0xc0);
}

/* The VEX prefix and the opcode. */
static void emit_vex(struct emit *e, const struct x86_insn *in, unsigned reg, unsigned rm,
		     unsigned vvvv)
{
	unsigned pp = in->sse_pfx == 0 ? 0 : in->sse_pfx == 0x66 ? 1 : in->sse_pfx == 0xf3 ? 2 : 3;
	unsigned last = (in->vvvv == 0xff ? 0x78u : (~vvvv & 15) << 3) | (in->vex_l ? 4u : 0) | pp;

	if (in->map == X86_MAP_0F && !(in->rex & 8) && rm < 8) {
		emit8(e, 0xc5);
		emit8(e, (reg < 8 ? 0x80u : 0) | last);
	} else {
		emit8(e, 0xc4);
		emit8(e, (reg < 8 ? 0x80u : 0) | 0x40 | (rm < 8 ? 0x20u : 0) | in->map);
		emit8(e, (in->rex & 8 ? 0x80u : 0) | last);
	}
	emit8(e, in->opcode);
}

bool soft_emit_insn(struct emit *e, const struct x86_insn *in, unsigned reg, unsigned rm,
		    unsigned vvvv, int32_t disp)
{
	bool mem = in->has_modrm && in->modrm < 0xc0;
	bool high = false, need_rex = false;
	bool w = in->mode == X86_MODE_64 && (in->rex & 8);
	unsigned modrm_reg = (in->modrm >> 3) & 7;
	unsigned reg_field = modrm_reg, rm_field = 0;

	if (in->has_modrm && in->reg_kind != X86_RK_NONE) {
		reg_field = reg;
		if (byte_gpr(in, true)) {
			high |= x86_reg8_high(in, in->reg);
			need_rex |= !x86_reg8_high(in, in->reg) && reg >= 4;
		}
	}
	if (in->has_modrm) {
		rm_field = rm;
		if (!mem && in->rm_kind == X86_RK_NONE)
			rm_field = in->modrm & 7; /* ST(i) and fixed encodings */
		if (!mem && byte_gpr(in, false)) {
			high |= x86_reg8_high(in, in->rm);
			need_rex |= !x86_reg8_high(in, in->rm) && rm >= 4;
		}
	} else if (reg_in_opcode(in)) {
		rm_field = reg;
		if (in->opnd_bytes == 1) { /* mov r8, imm8 */
			high |= x86_reg8_high(in, in->opreg);
			need_rex |= !x86_reg8_high(in, in->opreg) && reg >= 4;
		}
	}
	if (in->vex) {
		emit_vex(e, in, reg_field, rm_field, vvvv);
		goto operands;
	}
	unsigned rex = 0x40u | (w ? 8u : 0) | (reg_field >= 8 ? 4u : 0) | (rm_field >= 8 ? 1u : 0);

	if (high && rex != 0x40)
		return false;
	if (in->lock)
		emit8(e, 0xf0);
	if (in->pfx66)
		emit8(e, 0x66);
	if (in->rep)
		emit8(e, in->rep);
	if (!high && (rex != 0x40 || need_rex))
		emit8(e, rex);
	if (in->map != X86_MAP_1)
		emit8(e, 0x0f);
	if (in->map == X86_MAP_0F38)
		emit8(e, 0x38);
	else if (in->map == X86_MAP_0F3A)
		emit8(e, 0x3a);
	if (reg_in_opcode(in))
		emit8(e, (in->opcode & 0xf8u) | (rm_field & 7));
	else
		emit8(e, in->opcode);
operands:
	if (in->has_modrm) {
		if (mem)
			emit_modrm_mem(e, reg_field, rm_field, HR_NONE, 0, disp);
		else
			emit8(e, 0xc0 | (reg_field & 7) << 3 | (rm_field & 7));
	}
	for (unsigned i = in->len - in->imm_bytes; i < in->len; i++)
		emit8(e,
		      x86_is4(in) && in->mode != X86_MODE_64 ? in->bytes[i] & 0x7fu : in->bytes[i]);
	return true;
}
