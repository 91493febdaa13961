/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.h - the instruction decoder: bytes to struct x86_insn, by one hand-written table.
 *
 * Theory of operation. An instruction is prefixes, opcode (one of four maps), ModRM, SIB, displacement,
 * immediate (SDM vol. 2 §2). decode_table.c has one row an opcode form: which operation it is, what its
 * operands are, how large they are, which flags it reads and writes, and how the engine may run it. The
 * decoder is pure: no state, no memory beyond the bytes given, and no privilege or CPUID checks (the
 * operations make those). The tests hold it against Zydis.
 */
#ifndef LODGE_X86_DECODE_H
#define LODGE_X86_DECODE_H

#include "util/base.h"
#include "x86/cpuid.h"
#include "x86/ops.h"
#include "x86/state.h"

#define X86_INSN_MAX 15

enum x86_mode { X86_MODE_16, X86_MODE_32, X86_MODE_64 }; /* of the code segment: L, D/B */

enum x86_map { X86_MAP_1, X86_MAP_0F, X86_MAP_0F38, X86_MAP_0F3A };

/* What ModRM.reg or ModRM.rm (mod 3), or the register in the opcode, names. */
enum x86_regkind {
	X86_RK_NONE, /* absent, or an opcode extension */
	X86_RK_GPR,
	X86_RK_XMM,
	X86_RK_MMX,
	X86_RK_SREG,
	X86_RK_CR,
	X86_RK_DR,
	X86_RK_ST,
};

#define X86_ACC_R 1u
#define X86_ACC_W 2u
#define X86_ACC_RW 3u

/* Attributes of a form. */
#define X86_A_NATIVE \
	BIT(0) /* runs as itself on the host: touches only registers named in ModRM/opcode or implicit
				 ones other than RSP, status flags, FPU/SSE state, and the one ModRM memory operand.
				 Never set for control flow, stack, string, system instructions. */
#define X86_A_X87 BIT(1) /* needs the FPU: #NM when CR0.EM or TS (FWAIT: MP and TS) */
#define X86_A_MMX BIT(2)
#define X86_A_SSE BIT(3)  /* #UD unless CR4.OSFXSR and not CR0.EM; #NM when TS */
#define X86_A_PRIV BIT(4) /* CPL 0 only */
#define X86_A_LOCK \
	BIT(5) /* LOCK allowed with a memory destination; elsewhere LOCK is #UD (the decoder says UD) */
#define X86_A_STACK BIT(6) /* push, pop, enter, leave, pushf, ... (not calls and returns) */
#define X86_A_STRING BIT(7)
#define X86_A_BRANCH BIT(8) /* near control transfer (jmp, jcc, call, ret, loop, jcxz) */
#define X86_A_END \
	BIT(9) /* ends a translated block: far transfers, mode, paging or interrupt-flag changes, HLT,
				 I/O, serialising instructions. Everything after which the run loop must look around. */
#define X86_A_ALIGN16 \
	BIT(10) /* memory operand that must be aligned (#GP): to 16 bytes; with VEX, to its size */
#define X86_A_BITOFF \
	BIT(11) /* BT/BTS/BTR/BTC with a register bit offset: memory address depends on it */
#define X86_A_LEA \
	BIT(12) /* memory form names an address but does not access it (LEA, multi-byte NOP, PREFETCH) */
#define X86_A_FSTENV \
	BIT(13) /* stores or loads FPU pointers or a whole image: FNSTENV FLDENV FNSAVE FRSTOR FXSAVE FXRSTOR */
#define X86_A_VEX BIT(14) /* VEX-encoded: not in real mode */
#define X86_A_AVX \
	BIT(15) /* needs AVX state: #UD unless CR4.OSXSAVE and XCR0 bits 1 and 2; #NM when TS */
#define X86_A_VSIB BIT(16) /* the index of the memory operand is a vector register */

/* One decoded instruction. Registers carry their REX bits; 8-bit registers: see `reg8_high`. */
struct x86_insn {
	uint8_t bytes[X86_INSN_MAX];
	uint8_t len;	     /* all bytes, 1..15 */
	uint8_t mode;	     /* enum x86_mode it was decoded for */
	uint8_t map, opcode; /* enum x86_map, last opcode byte */
	uint8_t rex;	     /* 0, or 0x40..0x4f */
	uint8_t rep;	     /* 0, 0xf2 or 0xf3: the last one present */
	bool lock, pfx66, pfx67;
	bool vex;	 /* VEX prefix: R, X, B, W are in rex, pp in sse_pfx */
	uint8_t vex_l;	 /* 0: 128 bits, 1: 256 */
	uint8_t sse_pfx; /* mandatory prefix that selected the form: 0, 0x66, 0xf2, 0xf3 */
	bool has_modrm, has_sib;
	uint8_t modrm, sib;
	uint8_t opnd_bytes; /* effective operand size: 1, 2, 4, 8 */
	uint8_t addr_bytes; /* effective address size: 2, 4, 8 */
	uint8_t seg;	    /* enum x86_sreg for the memory operand: the default, or the override */
	bool seg_override; /* (in 64-bit mode only FS and GS count, others are ignored here already) */

	/* ModRM.reg, ModRM.rm when mod is 3, register in the opcode's low bits; 0xff when absent. */
	uint8_t reg, rm, opreg;
	uint8_t reg_kind, rm_kind; /* enum x86_regkind */
	uint8_t reg_acc, rm_acc;   /* X86_ACC_*; rm_acc is the access of the memory operand too */
	uint8_t opreg_acc;
	/* The register in VEX.vvvv; 0xff when absent. */
	uint8_t vvvv, vvvv_kind, vvvv_acc, vvvv_bytes;
	uint8_t reg_bytes,
		rm_bytes; /* size of a GPR operand: 1, 2, 4, 8 (for MOVZX etc. they differ) */

	/* Memory operand: present when mem_bytes != 0 or X86_A_LEA with mod != 3, or moffs. */
	bool has_mem;
	uint8_t base,
		index; /* X86_RAX.., X86_RIP, 0xff none. RIP: disp is relative to the next instruction */
	uint8_t scale;	    /* 0..3 */
	int64_t disp;	    /* sign-extended; moffs: the whole address */
	uint16_t mem_bytes; /* bytes accessed (FXSAVE 512); 0 if none or X86_A_LEA */

	uint8_t imm_bytes,
		disp_bytes; /* sizes as encoded; the immediate(s) are the last bytes of the instruction */
	int64_t imm;	    /* sign-extended as the form says; branch: the relative displacement */
	uint16_t imm2; /* ENTER's level, selector of a far pointer */

	enum x86_op op;
	uint8_t cond;  /* Jcc, SETcc, CMOVcc: low four opcode bits */
	uint32_t attr; /* X86_A_* */
	/* Status flags (X86_STATUS_FLAGS bits; DF is never in these). A form that writes flags only
	 * sometimes (shift by CL or by 0, REP CMPS) has them in `flags_may_write`, not in `flags_write`. */
	uint16_t flags_read;
	uint16_t flags_write;	  /* certainly overwritten (with a defined or an undefined value) */
	uint16_t flags_may_write; /* superset of flags_write */
	uint16_t flags_undef;	  /* of those written, the ones with undefined value */
};

enum x86_decode_result {
	X86_DECODE_OK,
	X86_DECODE_UD, /* no such instruction in this mode: #UD (in->len says how much was looked at) */
	X86_DECODE_TRUNCATED, /* n bytes are not enough */
	X86_DECODE_TOO_LONG,  /* over 15 bytes: #GP(0) */
};

/* AH, CH, DH, BH: an 8-bit register number 4..7 without any REX prefix. */
static inline bool x86_reg8_high(const struct x86_insn *in, unsigned reg)
{
	return in->rex == 0 && reg >= 4 && reg < 8;
}

/* VBLENDVPS, VBLENDVPD, VPBLENDVB: the upper half of the immediate is a register (of eight outside 64-bit mode). */
static inline bool x86_is4(const struct x86_insn *in)
{
	return in->vex && in->map == X86_MAP_0F3A && in->opcode >= 0x4a && in->opcode <= 0x4c;
}

/* Few bytes mean something else to one vendor's processors than to the other's; CPUID_VENDOR_OTHER is taken for AMD. */
enum x86_decode_result x86_decode(struct x86_insn *in, const uint8_t *bytes, size_t n,
				  enum x86_mode mode, enum cpuid_vendor vendor);

/* For traces: "add" etc., lower case. */
const char *x86_op_name(enum x86_op op);

/* For tests: walks the decode table; calls `fn` with an example encoding's opcode fields for each form that
 * the table knows. Returns the number of forms. */
struct x86_form_info {
	uint8_t map, opcode, sse_pfx;
	int8_t modrm_ext; /* /digit, or -1 */
	int8_t mod_class; /* 0 any, 1 memory only, 3 register only */
	bool has_modrm;
	bool only64, no64;
	bool vex, vvvv;	      /* VEX-encoded; it has an operand in vvvv */
	uint8_t vex_l, vex_w; /* 0 any, 1: must be clear, 2: must be set */
	enum x86_op op;
	uint32_t attr;
};
unsigned x86_forms(void (*fn)(void *ctx, const struct x86_form_info *f), void *ctx);

#endif
