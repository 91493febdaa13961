/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.c - the instruction decoder (SDM vol. 2 §2): walks the bytes once, left to right, with the rows of
 * decode_table.c saying what each opcode is.
 *
 * Theory of operation. Prefixes, then the opcode picks a list of rows, ModRM (if the list has one) the row.
 * The row gives operand kinds and sizes; address bytes and immediates follow. Registers, sizes and flags are
 * then filled in. Where vendors differ and the choice is not made in x86_decode(), it is Intel's: in 64-bit mode a
 * near branch ignores 66, and a far pointer in memory honours REX.W.
 *
 * The engine calls this while guest FPU state is live in the host's registers: no C library calls, and
 * loops that the compiler must not turn into one.
 */
#include "x86/decode.h"
#include "x86/decode_table.h"

typedef uint64_t __attribute__((may_alias)) decode_word;

_Static_assert(sizeof(struct x86_insn) % sizeof(decode_word) == 0, "cleared by words");

/* The bytes, how far we are, and what the prefixes said. */
struct cursor {
	const uint8_t *bytes;
	unsigned pos, end; /* end: at most X86_INSN_MAX */
	bool bad;	   /* an attempt to go beyond end */
};

static inline int64_t take(struct cursor *c, unsigned size)
{
	if (c->end - c->pos < size) {
		c->bad = true;
		return 0;
	}
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)c->bytes[c->pos + i] << (8 * i);
	c->pos += size;
	return (int64_t)value;
}

static inline int64_t sign_extend(int64_t value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (int64_t)((uint64_t)value << shift) >> shift;
}

static void decode_clear(struct x86_insn *in)
{
	decode_word *word = (decode_word *)(void *)in;

	for (unsigned i = 0; i < sizeof(*in) / sizeof(*word); i++) {
		word[i] = 0;
		__asm__ volatile("" : : : "memory");
	}
	in->reg = in->rm = in->opreg = in->base = in->index = in->vvvv = 0xff;
	in->seg = X86_DS;
}

/* Keeps the bytes looked at. */
static enum x86_decode_result finish(struct x86_insn *in, const struct cursor *c,
				     enum x86_decode_result result)
{
	if (c->bad)
		result = c->end == X86_INSN_MAX ? X86_DECODE_TOO_LONG : X86_DECODE_TRUNCATED;
	in->len = (uint8_t)c->pos;
	for (unsigned i = 0; i < c->pos; i++) {
		in->bytes[i] = c->bytes[i];
		__asm__ volatile("" : : : "memory");
	}
	return result;
}

/*
 * VEX (SDM vol. 2 §2.3.5): leaves the fields where those of legacy prefixes and REX are, and the cursor behind the
 * opcode. Outside of 64-bit mode there are eight registers: R, X (which tell VEX from LES and LDS), B and the top bit of
 * a register in vvvv count for nothing. False: #UD.
 */
static bool decode_vex(struct x86_insn *in, struct cursor *c, unsigned prefix)
{
	static const uint8_t pp[4] = {0, 0x66, 0xf3, 0xf2};
	bool mode64 = in->mode == X86_MODE_64, bad = in->lock || in->pfx66 || in->rep || in->rex;
	unsigned a = (unsigned)take(c, 1), b = a, map = X86_MAP_0F, rex = 0x40;

	if (!(a & 0x80))
		rex |= 4;
	if (prefix == 0xc4) {
		b = (unsigned)take(c, 1);
		map = a & 31;
		rex |= (a & 0x40 ? 0 : 2u) | (a & 0x20 ? 0 : 1u) | (b & 0x80 ? 8u : 0);
	}
	in->opcode = (uint8_t)take(c, 1);
	in->vex = true;
	in->rex = (uint8_t)(mode64 ? rex : rex & 0x48u);
	in->vvvv = (uint8_t)(~(b >> 3) & 15u);
	in->vex_l = (b >> 2) & 1;
	in->sse_pfx = pp[b & 3];
	in->map = (uint8_t)map;
	return !bad && map >= X86_MAP_0F && map <= X86_MAP_0F3A;
}

/* Legacy prefixes and REX; leaves the cursor behind the opcode, whose map and byte it sets. */
static bool decode_prefixes(struct x86_insn *in, struct cursor *c)
{
	bool mode64 = in->mode == X86_MODE_64;

	for (;;) {
		uint8_t byte = (uint8_t)take(c, 1);

		switch (byte) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			if (!mode64) {
				in->seg = (byte >> 3) & 3;
				in->seg_override = true;
			}
			break;
		case 0x64:
		case 0x65:
			in->seg = X86_FS + (byte & 1);
			in->seg_override = true;
			break;
		case 0x66: in->pfx66 = true; break;
		case 0x67: in->pfx67 = true; break;
		case 0xf0: in->lock = true; break;
		case 0xf2:
		case 0xf3: in->rep = byte; break;
		case 0x40 ... 0x4f:
			if (!mode64 || c->bad) {
				in->opcode = byte;
				return true;
			}
			in->rex = byte;
			continue;
		case 0x0f:
			in->map = X86_MAP_0F;
			in->opcode = (uint8_t)take(c, 1);
			if (in->opcode == 0x38 || in->opcode == 0x3a) {
				in->map = in->opcode == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
				in->opcode = (uint8_t)take(c, 1);
			}
			return true;
		case 0xc4:
		case 0xc5:
			in->opcode = byte;
			if (mode64 || (c->pos < c->end && c->bytes[c->pos] >= 0xc0))
				return decode_vex(in, c, byte);
			return true;
		default: in->opcode = byte; return true;
		}
		in->rex = 0; /* only directly before the opcode does REX count */
	}
}

/* The mandatory prefix that the bytes amount to, and its bit in decode_row.pfx. */
static inline unsigned prefix_of(const struct x86_insn *in, unsigned *bit)
{
	if (in->vex) {
		*bit = in->sse_pfx == 0	   ? PFX_NP :
		       in->sse_pfx == 0x66 ? PFX_66 :
		       in->sse_pfx == 0xf3 ? PFX_F3 :
					     PFX_F2;
		return in->sse_pfx;
	}
	if (in->rep != 0) {
		*bit = in->rep == 0xf3 ? PFX_F3 : PFX_F2;
		return in->rep;
	}
	*bit = in->pfx66 ? PFX_66 : PFX_NP;
	return in->pfx66 ? 0x66 : 0;
}

static const struct decode_row *find_row(const struct x86_insn *in, const struct decode_row *row,
					 unsigned pfx_bit)
{
	bool mode64 = in->mode == X86_MODE_64;
	unsigned mod = in->modrm >> 6;

	for (; row->op != (uint8_t)X86_OP_COUNT; row++) {
		if ((in->modrm & row->modrm_mask) != row->modrm_value)
			continue;
		if (row->mod != 0 && (row->mod == 3) != (mod == 3))
			continue;
		if (row->pfx != 0 && !(row->pfx & pfx_bit))
			continue;
		if (row->w != 0 && (row->w == 2) != ((in->rex & 8) != 0))
			continue;
		if (row->vl != 0 && (row->vl == 2) != in->vex_l)
			continue;
		if (mode64 ? row->no64 : row->only64)
			continue;
		return row;
	}
	return NULL;
}

static unsigned operand_size(const struct x86_insn *in, unsigned rule)
{
	bool mode64 = in->mode == X86_MODE_64;
	bool w = in->rex & 8;
	unsigned size = in->pfx66 == (in->mode == X86_MODE_16) ? 4 : 2;

	switch (rule) {
	case SIZE_B: return 1;
	case SIZE_Z: return w ? 4 : size;
	case SIZE_Y: return w ? 8 : 4;
	case SIZE_D64: return w ? 8 : mode64 && !in->pfx66 ? 8 : size;
	case SIZE_F64:
	case SIZE_P: return mode64 ? 8 : size;
	case SIZE_MODE: return mode64 ? 8 : 4;
	default: return w ? 8 : size;
	}
}

static unsigned kind_size(const struct x86_insn *in, unsigned kind)
{
	switch (kind) {
	case KIND_B: return 1;
	case KIND_W: return 2;
	case KIND_D: return 4;
	case KIND_V: return in->opnd_bytes;
	case KIND_Y: return in->rex & 8 ? 8 : 4; /* (VEX.W outside of 64-bit mode: decode_vvvv()) */
	case KIND_P: return in->mode == X86_MODE_64 ? 8 : 4;
	default: return 0;
	}
}

static unsigned memory_size(const struct x86_insn *in, const struct decode_row *row)
{
	if (row->attr & X86_A_LEA)
		return 0;
	switch (row->mem) {
	case 0: return kind_size(in, row->rm);
	case MEM_FAR: return in->opnd_bytes + 2u;
	case MEM_BOUND: return in->opnd_bytes * 2u;
	case MEM_DTR: return in->mode == X86_MODE_64 ? 10 : 6;
	case MEM_ENV: return in->opnd_bytes == 2 ? 14 : 28;
	case MEM_SAVE: return in->opnd_bytes == 2 ? 94 : 108;
	case MEM_VEC: return 16u << in->vex_l;
	case MEM_VEC2: return 8u << in->vex_l;
	case MEM_VEC4: return 4u << in->vex_l;
	case MEM_VEC8: return 2u << in->vex_l;
	case MEM_WS: return in->rex & 8 ? 8 : 4;
	case MEM_DDUP: return in->vex_l ? 32 : 8;
	default: return row->mem;
	}
}

static const uint8_t kind_to_regkind[] = {
	[KIND_NONE] = X86_RK_NONE, [KIND_B] = X86_RK_GPR, [KIND_W] = X86_RK_GPR,
	[KIND_D] = X86_RK_GPR,	   [KIND_V] = X86_RK_GPR, [KIND_Y] = X86_RK_GPR,
	[KIND_P] = X86_RK_GPR,	   [KIND_X] = X86_RK_XMM, [KIND_M] = X86_RK_MMX,
	[KIND_S] = X86_RK_SREG,	   [KIND_C] = X86_RK_CR,  [KIND_R] = X86_RK_DR,
	[KIND_T] = X86_RK_ST,
};

/* ModRM.reg. False: there is no such register. */
static bool decode_reg(struct x86_insn *in, const struct decode_row *row)
{
	unsigned reg = (in->modrm >> 3) & 7;
	unsigned ext = in->rex & 4 ? 8 : 0;

	in->reg_kind = kind_to_regkind[row->reg];
	in->reg_bytes = (uint8_t)kind_size(in, row->reg);
	in->reg_acc = row->reg_acc;
	switch (row->reg) {
	case KIND_NONE: in->reg = 0xff; return true;
	case KIND_M:
	case KIND_T: break;
	case KIND_S: /* REX.R is ignored; CS can only be read */
		if (reg > X86_GS || (reg == X86_CS && (row->reg_acc & X86_ACC_W)))
			return false;
		break;
	case KIND_C:
		reg |= ext;
		if (reg != 0 && reg != 2 && reg != 3 && reg != 4 && reg != 8)
			return false;
		break;
	case KIND_R:
		reg |= ext;
		if (reg > 7)
			return false;
		break;
	default: reg |= ext; break;
	}
	in->reg = (uint8_t)reg;
	return true;
}

/* 16-bit addressing forms (SDM vol. 2 table 2-1). */
static void decode_mem16(struct x86_insn *in, struct cursor *c)
{
	static const uint8_t base[8] = {X86_RBX, X86_RBX, X86_RBP, X86_RBP,
					X86_RSI, X86_RDI, X86_RBP, X86_RBX};
	static const uint8_t index[8] = {X86_RSI, X86_RDI, X86_RSI, X86_RDI,
					 0xff,	  0xff,	   0xff,    0xff};
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;

	if (mod == 0 && rm == 6) {
		in->disp_bytes = 2;
	} else {
		in->base = base[rm];
		in->index = index[rm];
		in->disp_bytes = (uint8_t)mod;
	}
	if (in->disp_bytes)
		in->disp = sign_extend(take(c, in->disp_bytes), in->disp_bytes);
}

/* 32- and 64-bit forms (tables 2-2 and 2-3; §2.2.1.6 RIP-relative). */
static void decode_mem(struct x86_insn *in, struct cursor *c, bool vsib)
{
	unsigned mod = in->modrm >> 6, rm = in->modrm & 7;
	unsigned base = rm;

	in->disp_bytes = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	if (rm == 4) {
		in->has_sib = true;
		in->sib = (uint8_t)take(c, 1);
		unsigned index = ((in->sib >> 3) & 7) | (in->rex & 2 ? 8 : 0);
		if (index != 4 || vsib) {
			in->index = (uint8_t)index;
			in->scale = in->sib >> 6;
		}
		base = in->sib & 7;
	}
	if (base == 5 && mod == 0) {
		in->disp_bytes = 4;
		if (rm == 5 && in->mode == X86_MODE_64)
			in->base = X86_RIP;
	} else {
		in->base = (uint8_t)(base | (in->rex & 1 ? 8 : 0));
	}
	if (in->disp_bytes)
		in->disp = sign_extend(take(c, in->disp_bytes), in->disp_bytes);
}

static void decode_rm(struct x86_insn *in, struct cursor *c, const struct decode_row *row)
{
	unsigned ext = in->rex & 1 ? 8 : 0;

	in->rm_acc = row->rm_acc;
	if (in->modrm >> 6 == 3 || row->reg == KIND_C || row->reg == KIND_R) {
		in->rm_kind = kind_to_regkind[row->rm];
		in->rm_bytes = (uint8_t)kind_size(in, row->rm);
		if (row->rm == KIND_M || row->rm == KIND_T)
			ext = 0;
		if (row->rm != KIND_NONE)
			in->rm = (uint8_t)((in->modrm & 7) | ext);
		return;
	}
	in->has_mem = true;
	in->mem_bytes = (uint16_t)memory_size(in, row);
	if (kind_to_regkind[row->rm] == X86_RK_GPR)
		in->rm_bytes = (uint8_t)in->mem_bytes;
	if (in->addr_bytes == 2)
		decode_mem16(in, c);
	else
		decode_mem(in, c, row->attr & X86_A_VSIB);
	if ((in->base == X86_RBP || in->base == X86_RSP) && !in->seg_override)
		in->seg = X86_SS;
}

/* VEX.vvvv; and VEX.W where it is the size of a general register, of which only 64-bit mode has two. */
static bool decode_vvvv(struct x86_insn *in, const struct decode_row *row)
{
	bool gpr = row->reg == KIND_Y || row->rm == KIND_Y || row->vv == KIND_Y ||
		   (in->map == X86_MAP_0F3A &&
		    (in->opcode & 0xfc) == 0x60); /* VPCMPESTRx: EAX, EDX */

	if (in->mode != X86_MODE_64 && gpr)
		in->rex &= 0xf7;
	if (row->vv == KIND_NONE) {
		bool none = in->vvvv == 0;

		in->vvvv = 0xff;
		return none;
	}
	if (in->mode != X86_MODE_64)
		in->vvvv &= 7;
	in->vvvv_kind = kind_to_regkind[row->vv];
	in->vvvv_bytes = (uint8_t)kind_size(in, row->vv);
	in->vvvv_acc = row->vv_acc;
	return true;
}

/* Gathers: an index is needed, and index, mask and destination must differ. */
static bool vsib_valid(const struct x86_insn *in)
{
	return in->addr_bytes != 2 && in->has_sib && in->index != in->reg &&
	       in->index != in->vvvv && in->reg != in->vvvv;
}

static void decode_imm(struct x86_insn *in, struct cursor *c, unsigned how)
{
	unsigned size = 0;

	switch (how) {
	case IMM_NONE: return;
	case IMM_ONE: in->imm = 1; return;
	case IMM_B:
		in->imm_bytes = 1;
		in->imm = take(c, 1);
		return;
	case IMM_W:
		in->imm_bytes = 2;
		in->imm = take(c, 2);
		return;
	case IMM_WB:
		in->imm_bytes = 3;
		in->imm = take(c, 2);
		in->imm2 = (uint16_t)take(c, 1);
		return;
	case IMM_FAR:
		in->imm_bytes = in->opnd_bytes + 2;
		in->imm = take(c, in->opnd_bytes);
		in->imm2 = (uint16_t)take(c, 2);
		return;
	case IMM_MOFFS:
		in->disp_bytes = in->addr_bytes;
		in->disp = take(c, in->addr_bytes);
		in->has_mem = true;
		in->mem_bytes = in->opnd_bytes;
		in->rm_bytes = in->opnd_bytes;
		in->reg = X86_RAX;
		in->reg_kind = X86_RK_GPR;
		in->reg_bytes = in->opnd_bytes;
		return;
	case IMM_SB:
	case IMM_REL8: size = 1; break;
	case IMM_Z:
	case IMM_RELZ: size = in->opnd_bytes == 2 ? 2 : 4; break;
	default: size = in->opnd_bytes; break;
	}
	in->imm_bytes = (uint8_t)size;
	in->imm = sign_extend(take(c, size), size);
}

/* What a shift by an immediate does to the flags is known here. By zero: nothing. */
static void shift_flags(struct x86_insn *in, unsigned how)
{
	unsigned bits = in->rm_bytes * 8u;
	unsigned count = (unsigned)in->imm & (bits == 64 ? 63 : 31);
	uint16_t undef = count == 1 ? 0 : X86_OF;

	in->flags_write = in->flags_may_write;
	switch (how) {
	case SHIFT_SHX: undef |= X86_AF | (count >= bits ? X86_CF : 0); break;
	case SHIFT_SAR: undef |= X86_AF; break;
	case SHIFT_DBL:
		undef |= X86_AF;
		if (count > bits)
			undef = X86_STATUS_FLAGS;
		break;
	case SHIFT_RCX:
		/* A whole turn through the carry may write nothing at all. */
		if (bits < 32 && count % (bits + 1) == 0)
			in->flags_write = 0;
		break;
	default: break;
	}
	in->flags_undef = undef;
	if (count == 0) {
		in->flags_read = in->flags_write = in->flags_may_write = in->flags_undef = 0;
	}
}

static void decode_flags(struct x86_insn *in, const struct decode_row *row)
{
	in->flags_read = row->fr;
	in->flags_write = row->fw;
	in->flags_may_write = row->fw | row->fm;
	in->flags_undef = row->fu;
	if (row->shift != SHIFT_NONE) {
		if (row->imm != IMM_NONE)
			shift_flags(in, row->shift);
		else if (row->shift == SHIFT_SHX && in->rm_bytes >= 4)
			in->flags_undef &= (uint16_t)~X86_CF; /* the count is always below the size */
		else if (row->shift == SHIFT_DBL)
			in->flags_undef = in->rm_bytes >= 4 ? X86_AF | X86_OF : X86_STATUS_FLAGS;
	}
	if ((row->attr & X86_A_STRING) && in->rep)
		in->flags_write = 0; /* not when the count is zero */
}

enum x86_decode_result x86_decode(struct x86_insn *in, const uint8_t *bytes, size_t n,
				  enum x86_mode mode, enum cpuid_vendor vendor)
{
	struct cursor c = {.bytes = bytes, .end = n < X86_INSN_MAX ? (unsigned)n : X86_INSN_MAX};
	bool intel = vendor == CPUID_VENDOR_INTEL;
	unsigned pfx_bit;

	decode_clear(in);
	in->mode = (uint8_t)mode;
	if (!decode_prefixes(in, &c) || c.bad)
		return finish(in, &c, X86_DECODE_UD);

	const struct decode_row *row = (in->vex ? decode_vex_maps :
						  decode_maps)[in->map][in->opcode];
	if (row == NULL)
		return finish(in, &c, X86_DECODE_UD);
	/* UD0 and UD1: AMD looks at no ModRM byte (SDM vol. 2, "UD": #UD, where fetching it would have faulted). */
	if (decode_row_modrm(row) && (intel || row->op != (uint8_t)X86_OP_UD)) {
		in->has_modrm = true;
		in->modrm = (uint8_t)take(&c, 1);
		if (c.bad)
			return finish(in, &c, X86_DECODE_OK);
	}
	unsigned sel = prefix_of(in, &pfx_bit);
	row = find_row(in, row, pfx_bit);
	if (row != NULL && row->op == (uint8_t)X86_OP_PAUSE && (in->rex & 1) && !intel)
		row++; /* XCHG with R8: F3 counts for nothing (seen on Zen; a Xeon pauses) */
	if (row == NULL)
		return finish(in, &c, X86_DECODE_UD);

	if (in->vex && !decode_vvvv(in, row))
		return finish(in, &c, X86_DECODE_UD);
	in->op = (enum x86_op)row->op;
	in->attr = row->attr;
	in->opnd_bytes = (uint8_t)operand_size(in, row->size);
	in->addr_bytes = mode == X86_MODE_64		    ? (in->pfx67 ? 4 : 8) :
			 in->pfx67 == (mode == X86_MODE_16) ? 4 :
							      2;
	/* Where 66 still means the operand size it selected nothing. */
	if (row->pfx != 0 && !(sel == 0x66 && row->size == SIZE_V))
		in->sse_pfx = (uint8_t)sel;

	if (in->has_modrm) {
		if (!decode_reg(in, row))
			return finish(in, &c, X86_DECODE_UD);
		decode_rm(in, &c, row);
		if ((row->attr & X86_A_VSIB) && !c.bad && !vsib_valid(in))
			return finish(in, &c, X86_DECODE_UD);
	} else {
		in->reg_acc = row->reg_acc;
		in->rm_acc = row->rm_acc;
	}
	if (in->op == X86_OP_MOVSXD && in->opnd_bytes == 2 && intel) { /* AMD reads 32 bits */
		in->rm_bytes = 2;
		in->mem_bytes = in->has_mem ? 2 : 0;
	}
	if (row->low || row->acc) {
		in->opreg = row->acc ? X86_RAX : (uint8_t)((in->opcode & 7) | (in->rex & 1 ? 8 : 0));
		in->opreg_acc = row->opreg_acc;
		if (in->op == X86_OP_XCHG && in->opreg == X86_RAX) {
			in->op = X86_OP_NOP; /* 90, which does not clear EAX's upper half */
			in->opreg = 0xff;
			in->opreg_acc = 0;
		}
	}
	decode_imm(in, &c, row->imm);
	if (c.bad)
		return finish(in, &c, X86_DECODE_OK);
	if (in->lock && !((in->attr & X86_A_LOCK) && in->has_mem && (in->rm_acc & X86_ACC_W)))
		return finish(in, &c, X86_DECODE_UD);
	in->cond = in->opcode & 15;
	decode_flags(in, row);
	return finish(in, &c, X86_DECODE_OK);
}

static unsigned forms_of(const struct decode_row *row, unsigned map, unsigned opcode, bool vex,
			 void (*fn)(void *ctx, const struct x86_form_info *f), void *ctx)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2}; /* by bit of decode_row.pfx */
	unsigned count = 0;

	for (; row != NULL && row->op != (uint8_t)X86_OP_COUNT; row++) {
		for (unsigned bit = 0; bit < 4; bit++) {
			if (row->pfx == 0 ? bit != 0 : !(row->pfx & (1u << bit)))
				continue;
			struct x86_form_info f = {
				.map = (uint8_t)map,
				.opcode = (uint8_t)opcode,
				.sse_pfx = prefix[bit],
				.modrm_ext = row->modrm_mask ? (row->modrm_value >> 3) & 7 : -1,
				.mod_class = (int8_t)row->mod,
				.has_modrm = decode_row_modrm(row),
				.only64 = row->only64,
				.no64 = row->no64,
				.vex = vex,
				.vvvv = row->vv != KIND_NONE,
				.vex_l = row->vl,
				.vex_w = row->w,
				.op = (enum x86_op)row->op,
				.attr = row->attr,
			};
			fn(ctx, &f);
			count++;
		}
	}
	return count;
}

unsigned x86_forms(void (*fn)(void *ctx, const struct x86_form_info *f), void *ctx)
{
	unsigned count = 0;

	for (unsigned map = 0; map < 4; map++)
		for (unsigned opcode = 0; opcode < 256; opcode++)
			count += forms_of(decode_maps[map][opcode], map, opcode, false, fn, ctx);
	for (unsigned map = X86_MAP_0F; map < 4; map++)
		for (unsigned opcode = 0; opcode < 256; opcode++)
			count += forms_of(decode_vex_maps[map][opcode], map, opcode, true, fn, ctx);
	return count;
}
