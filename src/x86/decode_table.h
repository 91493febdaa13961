/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_table.h - the rows of the decode table, and the words they are written in. Private to the decoder.
 *
 * Theory of operation. decode_maps[map][opcode] is a list of rows that ends with X86_OP_COUNT, or NULL when
 * the opcode means nothing. The decoder takes the first row whose conditions hold: operating mode, mandatory
 * prefix, REX.W, bits of ModRM, register or memory form. No row: #UD. A row whose fields are zero has no
 * condition, no operands, a 16/32/64-bit operand size and no effect on flags; each macro below adds one thing.
 * Opcodes follow SDM vol. 2 appendix A; attributes and flags the instructions' own pages.
 */
#ifndef LODGE_X86_DECODE_TABLE_H
#define LODGE_X86_DECODE_TABLE_H

#include "x86/decode.h"

/* What an operand is. GPR kinds carry their size. */
enum decode_kind {
	KIND_NONE,
	KIND_B, /* GPR, 8 bits */
	KIND_W, /* GPR, 16 */
	KIND_D, /* GPR, 32 */
	KIND_V, /* GPR, operand size */
	KIND_Y, /* GPR, 64 with REX.W, else 32 */
	KIND_P, /* GPR, 64 in 64-bit mode, else 32 */
	KIND_X, /* XMM */
	KIND_M, /* MMX */
	KIND_S, /* segment register */
	KIND_C, /* control register */
	KIND_R, /* debug register */
	KIND_T, /* x87 stack */
};

/* The effective operand size. */
enum decode_size {
	SIZE_V,	  /* 16, 32 or 64 by mode, 66 and REX.W */
	SIZE_B,	  /* 8 */
	SIZE_Z,	  /* as V, at most 32 */
	SIZE_Y,	  /* 64 with REX.W, else 32: 66 does not count */
	SIZE_D64, /* as V, but 64 in 64-bit mode unless 66 */
	SIZE_F64, /* as V, but always 64 in 64-bit mode */
	SIZE_P,	  /* 64 in 64-bit mode, else as V */
	SIZE_MODE /* 64 in 64-bit mode, else 32 */
};

enum decode_imm {
	IMM_NONE,
	IMM_B,	  /* 8 bits, zero-extended */
	IMM_SB,	  /* 8 bits, sign-extended */
	IMM_W,	  /* 16 bits, zero-extended */
	IMM_Z,	  /* 16 or 32 bits, sign-extended */
	IMM_V,	  /* 16, 32 or 64 bits */
	IMM_WB,	  /* 16 and 8 bits: ENTER */
	IMM_REL8, /* branch displacement */
	IMM_RELZ,
	IMM_FAR,   /* offset of the operand size, selector */
	IMM_MOFFS, /* address of the address size, no ModRM */
	IMM_ONE,   /* the constant 1, not encoded */
};

/* Sizes of memory operands that depend on something. */
#define MEM_FAR 0xff00u	  /* operand size + 2 */
#define MEM_BOUND 0xff01u /* twice the operand size */
#define MEM_DTR 0xff02u	  /* 10 in 64-bit mode, else 6 */
#define MEM_ENV 0xff03u	  /* x87 environment: 14 or 28 */
#define MEM_SAVE 0xff04u  /* x87 image: 94 or 108 */
#define MEM_VEC 0xff10u	  /* 16 or 32 by VEX.L */
#define MEM_VEC2 0xff11u  /* half of that */
#define MEM_VEC4 0xff12u  /* a quarter */
#define MEM_VEC8 0xff13u  /* an eighth */
#define MEM_WS 0xff14u	  /* 8 with VEX.W, else 4 */
#define MEM_DDUP 0xff15u  /* 8, or 32 with VEX.L */

/* Mandatory prefix: the set of those that select the row; 0 is any. */
#define PFX_NP 1u
#define PFX_66 2u
#define PFX_F3 4u
#define PFX_F2 8u

/* How flags_* follow from the immediate count. */
enum decode_shift { SHIFT_NONE, SHIFT_SHX, SHIFT_SAR, SHIFT_ROX, SHIFT_RCX, SHIFT_DBL };

struct decode_row {
	uint8_t op;			 /* enum x86_op; X86_OP_COUNT ends a list */
	uint8_t modrm_mask, modrm_value; /* the ModRM byte under the mask */
	uint8_t mod;			 /* 0 any, 1 memory, 3 register */
	uint8_t pfx;			 /* PFX_*, 0 any */
	uint8_t w;			 /* 0 any, 1: REX.W clear, 2: REX.W set */
	uint8_t vl;			 /* VEX.L: 0 any, 1: clear, 2: set */
	bool only64, no64;
	bool modrm; /* has a ModRM byte although nothing below says so */
	bool acc;   /* opreg is the accumulator, not the low opcode bits */
	bool low;   /* opreg is the low opcode bits */
	uint8_t reg, rm,
		vv; /* enum decode_kind; vv: VEX.vvvv, which must be 1111b when there is none */
	uint8_t reg_acc, rm_acc, vv_acc, opreg_acc;
	uint8_t size, imm;	 /* enum decode_size, decode_imm */
	uint8_t shift;		 /* enum decode_shift */
	uint16_t mem;		 /* bytes of the memory operand; 0: as its GPR kind says */
	uint16_t fr, fw, fm, fu; /* flags read, written, perhaps written besides, undefined */
	uint32_t attr;
};

/* All rows of an opcode agree in this. */
static inline bool decode_row_modrm(const struct decode_row *r)
{
	return r->modrm | r->modrm_mask | r->mod | r->reg | r->rm;
}

_Static_assert(X86_OP_COUNT < 256, "decode_row.op is a byte");

extern const struct decode_row *const *const decode_maps[4]; /* by enum x86_map, then opcode */

extern const struct decode_row *const *const decode_vex_maps[4]; /* the same with VEX; no one-byte map */

/* Lists that the maps refer to from another file. */
extern const struct decode_row decode_x87[8][96];
extern const struct decode_row *const decode_map_0f38[256];
extern const struct decode_row *const decode_map_0f3a[256];

/* ---- the words of a row ---- */

#define ROWS(...) ((const struct decode_row[]){__VA_ARGS__, {.op = (uint8_t)X86_OP_COUNT}})
#define ROW(name, ...)                                    \
	{                                                 \
		.op = (uint8_t)X86_OP_##name, __VA_ARGS__ \
	}
#define FP_(...) ROW(FP, __VA_ARGS__)

#define MODRM .modrm = true
#define EXT(n) .modrm_mask = 0x38, .modrm_value = (n) << 3
#define EXACT(byte) .mod = 3, .modrm_mask = 0xff, .modrm_value = (byte)
#define MEM_ONLY .mod = 1
#define REG_ONLY .mod = 3
#define PFX(set) .pfx = (set)
#define W0 .w = 1
#define W1 .w = 2
#define ONLY64 .only64 = true
#define NO64 .no64 = true
#define G(kind, access) .reg = KIND_##kind, .reg_acc = X86_ACC_##access
#define E(kind, access) .rm = KIND_##kind, .rm_acc = X86_ACC_##access
#define VV(kind, access) .vv = KIND_##kind, .vv_acc = X86_ACC_##access
#define VL0 .vl = 1
#define VL1 .vl = 2
#define MEM(bytes) .mem = (bytes)
#define LOW(access) .low = true, .opreg_acc = X86_ACC_##access
#define ACC(access) .acc = true, .opreg_acc = X86_ACC_##access
#define SIZE(s) .size = SIZE_##s
#define IMM(i) .imm = IMM_##i
#define SHIFT(s) .shift = SHIFT_##s
#define READS(f) .fr = (f)
#define WRITES(f) .fw = (f)
#define MAYBE(f) .fm = (f)
#define UNDEF(f) .fu = (f)
#define ATTR(a) .attr = (a)

#define ALLF X86_STATUS_FLAGS
#define NAT X86_A_NATIVE
#define LOCKABLE X86_A_LOCK
#define PRIV X86_A_PRIV
#define END X86_A_END
#define STACK X86_A_STACK
#define STRING X86_A_STRING
#define BRANCH X86_A_BRANCH
#define ANAME X86_A_LEA
#define ALIGN X86_A_ALIGN16
#define SSE (X86_A_SSE | X86_A_NATIVE)
#define SSE16 (X86_A_SSE | X86_A_NATIVE | X86_A_ALIGN16)
#define MMX (X86_A_MMX | X86_A_NATIVE)
#define X87 (X86_A_X87 | X86_A_NATIVE)

#endif
