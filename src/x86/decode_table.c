/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_table.c - the decode table: the one-byte map and the 0F map. See decode_table.h for the words,
 * decode_table_ext.c for x87, 0F 38 and 0F 3A. SDM vol. 2 appendix A, tables.
 */
#include "x86/decode_table.h"

#define OSAPC (X86_OF | X86_SF | X86_AF | X86_PF | X86_CF)
#define SZAP (X86_SF | X86_ZF | X86_AF | X86_PF)
#define NOT_CF (ALLF & ~X86_CF)

/* Tables from here on. */
/* clang-format off */

/* The eight ALU operations of 00-3F; `lk` and `acc` differ for CMP. */
#define ALU(base, name, acc, lk, fr, fu)                                                           \
	[(base) + 0] = ROWS(ROW(name, E(B, acc), G(B, R), SIZE(B), ATTR(NAT | (lk)), READS(fr),    \
				WRITES(ALLF), UNDEF(fu))),                                         \
	[(base) + 1] = ROWS(ROW(name, E(V, acc), G(V, R), ATTR(NAT | (lk)), READS(fr),             \
				WRITES(ALLF), UNDEF(fu))),                                         \
	[(base) + 2] = ROWS(ROW(name, G(B, acc), E(B, R), SIZE(B), ATTR(NAT), READS(fr),           \
				WRITES(ALLF), UNDEF(fu))),                                         \
	[(base) + 3] = ROWS(ROW(name, G(V, acc), E(V, R), ATTR(NAT), READS(fr), WRITES(ALLF),      \
				UNDEF(fu))),                                                       \
	[(base) + 4] = ROWS(ROW(name, ACC(acc), SIZE(B), IMM(SB), ATTR(NAT), READS(fr),            \
				WRITES(ALLF), UNDEF(fu))),                                         \
	[(base) + 5] = ROWS(ROW(name, ACC(acc), IMM(Z), ATTR(NAT), READS(fr), WRITES(ALLF), UNDEF(fu)))

#define GRP1_ROW(n, name, acc, lk, fr, fu, ...)                                                    \
	ROW(name, EXT(n), .rm_acc = X86_ACC_##acc, .attr = X86_A_GRP1 | (lk), READS(fr),           \
	    WRITES(ALLF), UNDEF(fu), __VA_ARGS__)
#define GRP1(...)                                                                                  \
	ROWS(GRP1_ROW(0, ADD, RW, LOCKABLE, 0, 0, __VA_ARGS__),                                    \
	     GRP1_ROW(1, OR, RW, LOCKABLE, 0, X86_AF, __VA_ARGS__),                                \
	     GRP1_ROW(2, ADC, RW, LOCKABLE, X86_CF, 0, __VA_ARGS__),                               \
	     GRP1_ROW(3, SBB, RW, LOCKABLE, X86_CF, 0, __VA_ARGS__),                               \
	     GRP1_ROW(4, AND, RW, LOCKABLE, 0, X86_AF, __VA_ARGS__),                               \
	     GRP1_ROW(5, SUB, RW, LOCKABLE, 0, 0, __VA_ARGS__),                                    \
	     GRP1_ROW(6, XOR, RW, LOCKABLE, 0, X86_AF, __VA_ARGS__),                               \
	     GRP1_ROW(7, CMP, R, 0, 0, 0, __VA_ARGS__))

#define SHX_F MAYBE(ALLF), UNDEF(X86_AF | X86_OF | X86_CF), SHIFT(SHX)
#define SAR_F MAYBE(ALLF), UNDEF(X86_AF | X86_OF), SHIFT(SAR)
#define ROX_F MAYBE(X86_CF | X86_OF), UNDEF(X86_OF), SHIFT(ROX)
#define RCX_F READS(X86_CF), MAYBE(X86_CF | X86_OF), UNDEF(X86_OF), SHIFT(RCX)
#define GRP2(kind, ...)                                                                            \
	ROWS(ROW(ROL, EXT(0), E(kind, RW), ATTR(NAT), ROX_F, __VA_ARGS__),                         \
	     ROW(ROR, EXT(1), E(kind, RW), ATTR(NAT), ROX_F, __VA_ARGS__),                         \
	     ROW(RCL, EXT(2), E(kind, RW), ATTR(NAT), RCX_F, __VA_ARGS__),                         \
	     ROW(RCR, EXT(3), E(kind, RW), ATTR(NAT), RCX_F, __VA_ARGS__),                         \
	     ROW(SHL, EXT(4), E(kind, RW), ATTR(NAT), SHX_F, __VA_ARGS__),                         \
	     ROW(SHR, EXT(5), E(kind, RW), ATTR(NAT), SHX_F, __VA_ARGS__),                         \
	     ROW(SHL, EXT(6), E(kind, RW), ATTR(NAT), SHX_F, __VA_ARGS__), /* an alias of /4 */    \
	     ROW(SAR, EXT(7), E(kind, RW), ATTR(NAT), SAR_F, __VA_ARGS__))

#define GRP3(kind, sz, im)                                                                         \
	ROWS(ROW(TEST, EXT(0), E(kind, R), sz, im, ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF)),        \
	     ROW(TEST, EXT(1), E(kind, R), sz, im, ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF)),        \
	     ROW(NOT, EXT(2), E(kind, RW), sz, ATTR(NAT | LOCKABLE)),                              \
	     ROW(NEG, EXT(3), E(kind, RW), sz, ATTR(NAT | LOCKABLE), WRITES(ALLF)),                \
	     ROW(MUL, EXT(4), E(kind, R), sz, ATTR(NAT), WRITES(ALLF), UNDEF(SZAP)),               \
	     ROW(IMUL1, EXT(5), E(kind, R), sz, ATTR(NAT), WRITES(ALLF), UNDEF(SZAP)),             \
	     ROW(DIV, EXT(6), E(kind, R), sz, ATTR(NAT), WRITES(ALLF), UNDEF(ALLF)),               \
	     ROW(IDIV, EXT(7), E(kind, R), sz, ATTR(NAT), WRITES(ALLF), UNDEF(ALLF)))

#define EACH8(base, ...)                                                                           \
	[(base)] = __VA_ARGS__, [(base) + 1] = __VA_ARGS__, [(base) + 2] = __VA_ARGS__,            \
	[(base) + 3] = __VA_ARGS__, [(base) + 4] = __VA_ARGS__, [(base) + 5] = __VA_ARGS__,        \
	[(base) + 6] = __VA_ARGS__, [(base) + 7] = __VA_ARGS__

/* What conditions 0-15 read, two codes a line (SDM vol. 1 appendix B). */
#define CONDITIONS(M, base)                                                                        \
	M((base) + 0, X86_OF), M((base) + 1, X86_OF), M((base) + 2, X86_CF),                       \
	M((base) + 3, X86_CF), M((base) + 4, X86_ZF), M((base) + 5, X86_ZF),                       \
	M((base) + 6, X86_CF | X86_ZF), M((base) + 7, X86_CF | X86_ZF), M((base) + 8, X86_SF),     \
	M((base) + 9, X86_SF), M((base) + 10, X86_PF), M((base) + 11, X86_PF),                     \
	M((base) + 12, X86_SF | X86_OF), M((base) + 13, X86_SF | X86_OF),                          \
	M((base) + 14, X86_SF | X86_OF | X86_ZF), M((base) + 15, X86_SF | X86_OF | X86_ZF)
#define JCC8(opc, f) [opc] = ROWS(ROW(JCC, IMM(REL8), SIZE(F64), ATTR(BRANCH), READS(f)))
#define JCCZ(opc, f) [opc] = ROWS(ROW(JCC, IMM(RELZ), SIZE(F64), ATTR(BRANCH), READS(f)))
#define CMOVCC(opc, f) [opc] = ROWS(ROW(CMOV, G(V, RW), E(V, R), ATTR(NAT), READS(f)))
#define SETCCS(opc, f) [opc] = ROWS(ROW(SETCC, E(B, W), SIZE(B), ATTR(NAT), READS(f)))

#define PUSH_S(opc) [opc] = ROWS(ROW(PUSH_SREG, SIZE(D64), ATTR(STACK), NO64))
#define POP_S(opc) [opc] = ROWS(ROW(POP_SREG, SIZE(D64), ATTR(STACK | END), NO64))

#define X86_A_GRP1 NAT
static const struct decode_row *const map_1[256] = {
	ALU(0x00, ADD, RW, LOCKABLE, 0, 0),
	PUSH_S(0x06), POP_S(0x07),
	ALU(0x08, OR, RW, LOCKABLE, 0, X86_AF),
	PUSH_S(0x0e),
	ALU(0x10, ADC, RW, LOCKABLE, X86_CF, 0),
	PUSH_S(0x16), POP_S(0x17),
	ALU(0x18, SBB, RW, LOCKABLE, X86_CF, 0),
	PUSH_S(0x1e), POP_S(0x1f),
	ALU(0x20, AND, RW, LOCKABLE, 0, X86_AF),
	[0x27] = ROWS(ROW(DAA, NO64, READS(X86_CF | X86_AF), WRITES(ALLF), UNDEF(X86_OF))),
	ALU(0x28, SUB, RW, LOCKABLE, 0, 0),
	[0x2f] = ROWS(ROW(DAS, NO64, READS(X86_CF | X86_AF), WRITES(ALLF), UNDEF(X86_OF))),
	ALU(0x30, XOR, RW, LOCKABLE, 0, X86_AF),
	[0x37] = ROWS(ROW(AAA, NO64, READS(X86_AF), WRITES(ALLF), UNDEF(ALLF & ~(X86_AF | X86_CF)))),
	ALU(0x38, CMP, R, 0, 0, 0),
	[0x3f] = ROWS(ROW(AAS, NO64, READS(X86_AF), WRITES(ALLF), UNDEF(ALLF & ~(X86_AF | X86_CF)))),
	/* In 64-bit mode 40-4F are REX. */
	EACH8(0x40, ROWS(ROW(INC, NO64, LOW(RW), WRITES(NOT_CF)))),
	EACH8(0x48, ROWS(ROW(DEC, NO64, LOW(RW), WRITES(NOT_CF)))),
	EACH8(0x50, ROWS(ROW(PUSH, LOW(R), SIZE(D64), ATTR(STACK)))),
	EACH8(0x58, ROWS(ROW(POP, LOW(W), SIZE(D64), ATTR(STACK)))),
	[0x60] = ROWS(ROW(PUSHA, NO64, ATTR(STACK))),
	[0x61] = ROWS(ROW(POPA, NO64, ATTR(STACK))),
	[0x62] = ROWS(ROW(BOUND, NO64, G(V, R), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_BOUND))),
	/* How many bits MOVSXD of 16 bits reads depends on the vendor: x86_decode(). */
	[0x63] = ROWS(ROW(ARPL, NO64, E(W, RW), G(W, R), WRITES(X86_ZF)),
		      ROW(MOVSXD, ONLY64, G(V, W), E(D, R), ATTR(NAT))),
	[0x68] = ROWS(ROW(PUSH, IMM(Z), SIZE(D64), ATTR(STACK))),
	[0x69] = ROWS(ROW(IMUL, G(V, W), E(V, R), IMM(Z), ATTR(NAT), WRITES(ALLF), UNDEF(SZAP))),
	[0x6a] = ROWS(ROW(PUSH, IMM(SB), SIZE(D64), ATTR(STACK))),
	[0x6b] = ROWS(ROW(IMUL, G(V, W), E(V, R), IMM(SB), ATTR(NAT), WRITES(ALLF), UNDEF(SZAP))),
	[0x6c] = ROWS(ROW(INS, SIZE(B), ATTR(STRING | END))),
	[0x6d] = ROWS(ROW(INS, SIZE(Z), ATTR(STRING | END))),
	[0x6e] = ROWS(ROW(OUTS, SIZE(B), ATTR(STRING | END))),
	[0x6f] = ROWS(ROW(OUTS, SIZE(Z), ATTR(STRING | END))),
	CONDITIONS(JCC8, 0x70),
	[0x80] = GRP1(.rm = KIND_B, SIZE(B), IMM(SB)),
	[0x81] = GRP1(.rm = KIND_V, IMM(Z)),
#undef X86_A_GRP1
#define X86_A_GRP1 0 /* 82 has no 64-bit encoding */
	[0x82] = GRP1(.rm = KIND_B, SIZE(B), IMM(SB), NO64),
#undef X86_A_GRP1
#define X86_A_GRP1 NAT
	[0x83] = GRP1(.rm = KIND_V, IMM(SB)),
	[0x84] = ROWS(ROW(TEST, E(B, R), G(B, R), SIZE(B), ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF))),
	[0x85] = ROWS(ROW(TEST, E(V, R), G(V, R), ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF))),
	[0x86] = ROWS(ROW(XCHG, E(B, RW), G(B, RW), SIZE(B), ATTR(NAT | LOCKABLE))),
	[0x87] = ROWS(ROW(XCHG, E(V, RW), G(V, RW), ATTR(NAT | LOCKABLE))),
	[0x88] = ROWS(ROW(MOV, E(B, W), G(B, R), SIZE(B), ATTR(NAT))),
	[0x89] = ROWS(ROW(MOV, E(V, W), G(V, R), ATTR(NAT))),
	[0x8a] = ROWS(ROW(MOV, G(B, W), E(B, R), SIZE(B), ATTR(NAT))),
	[0x8b] = ROWS(ROW(MOV, G(V, W), E(V, R), ATTR(NAT))),
	[0x8c] = ROWS(ROW(MOV_FROM_SREG, E(V, W), G(S, R), MEM(2))),
	[0x8d] = ROWS(ROW(LEA, G(V, W), MEM_ONLY, ATTR(NAT | ANAME))),
	[0x8e] = ROWS(ROW(MOV_TO_SREG, G(S, W), E(W, R), ATTR(END))),
	[0x8f] = ROWS(ROW(POP, EXT(0), E(V, W), SIZE(D64), ATTR(STACK))),
	/* 90 without REX.B is a NOP, F3 90 PAUSE (with REX.B on Intel only): see decode.c. */
	[0x90] = ROWS(ROW(PAUSE, PFX(PFX_F3), ATTR(NAT)), ROW(XCHG, LOW(RW), ATTR(NAT))),
	[0x91] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))), [0x92] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))),
	[0x93] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))), [0x94] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))),
	[0x95] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))), [0x96] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))),
	[0x97] = ROWS(ROW(XCHG, LOW(RW), ATTR(NAT))),
	[0x98] = ROWS(ROW(CBW, ATTR(NAT))),
	[0x99] = ROWS(ROW(CWD, ATTR(NAT))),
	[0x9a] = ROWS(ROW(CALL_FAR, NO64, IMM(FAR), ATTR(END))),
	[0x9b] = ROWS(ROW(FWAIT, ATTR(X87))),
	[0x9c] = ROWS(ROW(PUSHF, SIZE(D64), ATTR(STACK), READS(ALLF))),
	[0x9d] = ROWS(ROW(POPF, SIZE(D64), ATTR(STACK | END), WRITES(ALLF))),
	[0x9e] = ROWS(ROW(SAHF, ATTR(NAT), WRITES(ALLF & ~X86_OF))),
	[0x9f] = ROWS(ROW(LAHF, ATTR(NAT), READS(ALLF & ~X86_OF))),
	[0xa0] = ROWS(ROW(MOV, .reg_acc = X86_ACC_W, .rm_acc = X86_ACC_R, SIZE(B), IMM(MOFFS))),
	[0xa1] = ROWS(ROW(MOV, .reg_acc = X86_ACC_W, .rm_acc = X86_ACC_R, IMM(MOFFS))),
	[0xa2] = ROWS(ROW(MOV, .reg_acc = X86_ACC_R, .rm_acc = X86_ACC_W, SIZE(B), IMM(MOFFS))),
	[0xa3] = ROWS(ROW(MOV, .reg_acc = X86_ACC_R, .rm_acc = X86_ACC_W, IMM(MOFFS))),
	[0xa4] = ROWS(ROW(MOVS, SIZE(B), ATTR(STRING))),
	[0xa5] = ROWS(ROW(MOVS, ATTR(STRING))),
	[0xa6] = ROWS(ROW(CMPS, SIZE(B), ATTR(STRING), WRITES(ALLF))),
	[0xa7] = ROWS(ROW(CMPS, ATTR(STRING), WRITES(ALLF))),
	[0xa8] = ROWS(ROW(TEST, ACC(R), SIZE(B), IMM(SB), ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF))),
	[0xa9] = ROWS(ROW(TEST, ACC(R), IMM(Z), ATTR(NAT), WRITES(ALLF), UNDEF(X86_AF))),
	[0xaa] = ROWS(ROW(STOS, SIZE(B), ATTR(STRING))),
	[0xab] = ROWS(ROW(STOS, ATTR(STRING))),
	[0xac] = ROWS(ROW(LODS, SIZE(B), ATTR(STRING))),
	[0xad] = ROWS(ROW(LODS, ATTR(STRING))),
	[0xae] = ROWS(ROW(SCAS, SIZE(B), ATTR(STRING), WRITES(ALLF))),
	[0xaf] = ROWS(ROW(SCAS, ATTR(STRING), WRITES(ALLF))),
	EACH8(0xb0, ROWS(ROW(MOV, LOW(W), SIZE(B), IMM(SB), ATTR(NAT)))),
	EACH8(0xb8, ROWS(ROW(MOV, LOW(W), IMM(V), ATTR(NAT)))),
	[0xc0] = GRP2(B, SIZE(B), IMM(B)),
	[0xc1] = GRP2(V, IMM(B)),
	[0xc2] = ROWS(ROW(RET, IMM(W), SIZE(F64), ATTR(BRANCH))),
	[0xc3] = ROWS(ROW(RET, SIZE(F64), ATTR(BRANCH))),
	/* C4 and C5 with mod 3, and in 64-bit mode, are VEX. */
	[0xc4] = ROWS(ROW(LES, NO64, G(V, W), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END))),
	[0xc5] = ROWS(ROW(LDS, NO64, G(V, W), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END))),
	[0xc6] = ROWS(ROW(MOV, EXT(0), E(B, W), SIZE(B), IMM(SB), ATTR(NAT))),
	[0xc7] = ROWS(ROW(MOV, EXT(0), E(V, W), IMM(Z), ATTR(NAT))),
	[0xc8] = ROWS(ROW(ENTER, IMM(WB), SIZE(D64), ATTR(STACK))),
	[0xc9] = ROWS(ROW(LEAVE, SIZE(D64), ATTR(STACK))),
	[0xca] = ROWS(ROW(RET_FAR, IMM(W), ATTR(END))),
	[0xcb] = ROWS(ROW(RET_FAR, ATTR(END))),
	[0xcc] = ROWS(ROW(INT3, ATTR(END), READS(ALLF))),
	[0xcd] = ROWS(ROW(INT, IMM(B), ATTR(END), READS(ALLF))),
	[0xce] = ROWS(ROW(INTO, NO64, ATTR(END), READS(ALLF))),
	[0xcf] = ROWS(ROW(IRET, ATTR(END), WRITES(ALLF))),
	[0xd0] = GRP2(B, SIZE(B), IMM(ONE)),
	[0xd1] = GRP2(V, IMM(ONE)),
	[0xd2] = GRP2(B, SIZE(B)),
	[0xd3] = GRP2(V, SIZE(V)),
	[0xd4] = ROWS(ROW(AAM, NO64, IMM(B), WRITES(ALLF), UNDEF(X86_OF | X86_AF | X86_CF))),
	[0xd5] = ROWS(ROW(AAD, NO64, IMM(B), WRITES(ALLF), UNDEF(X86_OF | X86_AF | X86_CF))),
	[0xd6] = ROWS(ROW(SALC, NO64, READS(X86_CF))),
	[0xd7] = ROWS(ROW(XLAT, SIZE(B))),
	[0xd8] = decode_x87[0], [0xd9] = decode_x87[1], [0xda] = decode_x87[2], [0xdb] = decode_x87[3],
	[0xdc] = decode_x87[4], [0xdd] = decode_x87[5], [0xde] = decode_x87[6], [0xdf] = decode_x87[7],
	[0xe0] = ROWS(ROW(LOOPNE, IMM(REL8), SIZE(F64), ATTR(BRANCH), READS(X86_ZF))),
	[0xe1] = ROWS(ROW(LOOPE, IMM(REL8), SIZE(F64), ATTR(BRANCH), READS(X86_ZF))),
	[0xe2] = ROWS(ROW(LOOP, IMM(REL8), SIZE(F64), ATTR(BRANCH))),
	[0xe3] = ROWS(ROW(JCXZ, IMM(REL8), SIZE(F64), ATTR(BRANCH))),
	[0xe4] = ROWS(ROW(IN, SIZE(B), IMM(B), ATTR(END))),
	[0xe5] = ROWS(ROW(IN, SIZE(Z), IMM(B), ATTR(END))),
	[0xe6] = ROWS(ROW(OUT, SIZE(B), IMM(B), ATTR(END))),
	[0xe7] = ROWS(ROW(OUT, SIZE(Z), IMM(B), ATTR(END))),
	[0xe8] = ROWS(ROW(CALL, IMM(RELZ), SIZE(F64), ATTR(BRANCH))),
	[0xe9] = ROWS(ROW(JMP, IMM(RELZ), SIZE(F64), ATTR(BRANCH))),
	[0xea] = ROWS(ROW(JMP_FAR, NO64, IMM(FAR), ATTR(END))),
	[0xeb] = ROWS(ROW(JMP, IMM(REL8), SIZE(F64), ATTR(BRANCH))),
	[0xec] = ROWS(ROW(IN, SIZE(B), ATTR(END))),
	[0xed] = ROWS(ROW(IN, SIZE(Z), ATTR(END))),
	[0xee] = ROWS(ROW(OUT, SIZE(B), ATTR(END))),
	[0xef] = ROWS(ROW(OUT, SIZE(Z), ATTR(END))),
	[0xf1] = ROWS(ROW(INT1, ATTR(END), READS(ALLF))),
	[0xf4] = ROWS(ROW(HLT, ATTR(END | PRIV))),
	[0xf5] = ROWS(ROW(CMC, ATTR(NAT), READS(X86_CF), WRITES(X86_CF))),
	[0xf6] = GRP3(B, SIZE(B), IMM(SB)),
	[0xf7] = GRP3(V, SIZE(V), IMM(Z)),
	[0xf8] = ROWS(ROW(CLC, ATTR(NAT), WRITES(X86_CF))),
	[0xf9] = ROWS(ROW(STC, ATTR(NAT), WRITES(X86_CF))),
	[0xfa] = ROWS(ROW(CLI, ATTR(END))),
	[0xfb] = ROWS(ROW(STI, ATTR(END))),
	[0xfc] = ROWS(ROW(CLD, SIZE(V))),
	[0xfd] = ROWS(ROW(STD, SIZE(V))),
	[0xfe] = ROWS(ROW(INC, EXT(0), E(B, RW), SIZE(B), ATTR(NAT | LOCKABLE), WRITES(NOT_CF)),
		      ROW(DEC, EXT(1), E(B, RW), SIZE(B), ATTR(NAT | LOCKABLE), WRITES(NOT_CF))),
	[0xff] = ROWS(ROW(INC, EXT(0), E(V, RW), ATTR(NAT | LOCKABLE), WRITES(NOT_CF)),
		      ROW(DEC, EXT(1), E(V, RW), ATTR(NAT | LOCKABLE), WRITES(NOT_CF)),
		      ROW(CALL_IND, EXT(2), E(V, R), SIZE(F64), ATTR(BRANCH)),
		      ROW(CALL_FAR, EXT(3), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END)),
		      ROW(JMP_IND, EXT(4), E(V, R), SIZE(F64), ATTR(BRANCH)),
		      ROW(JMP_FAR, EXT(5), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END)),
		      ROW(PUSH, EXT(6), E(V, R), SIZE(D64), ATTR(STACK))),
};

/* ---- SSE shapes: the prefix chooses packed single, packed double, scalar single, scalar double ---- */

#define PS(...) FP_(PFX(PFX_NP), ATTR(SSE16), MEM(16), SIZE(Y), __VA_ARGS__)
#define PD(...) FP_(PFX(PFX_66), ATTR(SSE16), MEM(16), SIZE(Y), __VA_ARGS__)
#define SS(...) FP_(PFX(PFX_F3), ATTR(SSE), MEM(4), SIZE(Y), __VA_ARGS__)
#define SD(...) FP_(PFX(PFX_F2), ATTR(SSE), MEM(8), SIZE(Y), __VA_ARGS__)
#define SSE4(acc) ROWS(PS(G(X, acc), E(X, R)), PD(G(X, acc), E(X, R)), SS(G(X, RW), E(X, R)), SD(G(X, RW), E(X, R)))
#define SSE_PSPD ROWS(PS(G(X, RW), E(X, R)), PD(G(X, RW), E(X, R)))
/* MMX without prefix, XMM with 66. */
#define MX(...) FP_(PFX(PFX_NP), ATTR(MMX), MEM(8), SIZE(Y), __VA_ARGS__)
#define MMXSSE ROWS(MX(G(M, RW), E(M, R)), PD(G(X, RW), E(X, R)))
#define EACH3(base, ...) [(base)] = __VA_ARGS__, [(base) + 1] = __VA_ARGS__, [(base) + 2] = __VA_ARGS__
#define MMX_SHIFT(n)                                                                               \
	MX(EXT(n), REG_ONLY, .rm = KIND_M, .rm_acc = X86_ACC_RW, IMM(B)),                          \
	PD(EXT(n), REG_ONLY, .rm = KIND_X, .rm_acc = X86_ACC_RW, IMM(B))
#define XMM_SHIFT(n) PD(EXT(n), REG_ONLY, .rm = KIND_X, .rm_acc = X86_ACC_RW, IMM(B))
#define MMX_TOO (X86_A_MMX | SSE)

#define BT_ROW(name, acc, lk)                                                                      \
	ROWS(ROW(name, REG_ONLY, E(V, acc), G(V, R), ATTR(NAT), BT_F),                             \
	     ROW(name, MEM_ONLY, E(V, acc), G(V, R), ATTR(X86_A_BITOFF | (lk)), BT_F))
#define BT_F WRITES(X86_CF), MAYBE(OSAPC), UNDEF(OSAPC & ~X86_CF)
#define BSX_F WRITES(X86_ZF), MAYBE(ALLF), UNDEF(OSAPC)
#define XZCNT_F WRITES(X86_ZF | X86_CF), MAYBE(ALLF), UNDEF(X86_OF | X86_SF | X86_PF | X86_AF)
#define DBL_F MAYBE(ALLF), UNDEF(X86_AF | X86_OF | X86_CF), SHIFT(DBL)
#define HINT ROWS(ROW(NOP, MODRM, .rm = KIND_V, ATTR(NAT | ANAME)))

static const struct decode_row *const map_0f[256] = {
	[0x00] = ROWS(ROW(SLDT, EXT(0), E(V, W), MEM(2)), ROW(STR, EXT(1), E(V, W), MEM(2)),
		      ROW(LLDT, EXT(2), E(W, R), ATTR(END)), ROW(LTR, EXT(3), E(W, R), ATTR(END)),
		      ROW(VERR, EXT(4), E(W, R), WRITES(X86_ZF)),
		      ROW(VERW, EXT(5), E(W, R), WRITES(X86_ZF))),
	[0x01] = ROWS(ROW(SGDT, EXT(0), MEM_ONLY, .rm_acc = X86_ACC_W, MEM(MEM_DTR), SIZE(P)),
		      ROW(SIDT, EXT(1), MEM_ONLY, .rm_acc = X86_ACC_W, MEM(MEM_DTR), SIZE(P)),
		      ROW(LGDT, EXT(2), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(MEM_DTR), SIZE(P), ATTR(PRIV | END)),
		      ROW(LIDT, EXT(3), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(MEM_DTR), SIZE(P), ATTR(PRIV | END)),
		      ROW(SMSW, EXT(4), E(V, W), MEM(2)),
		      ROW(LMSW, EXT(6), E(W, R), ATTR(PRIV | END)),
		      ROW(INVLPG, EXT(7), MEM_ONLY, ATTR(PRIV | END | ANAME)),
		      ROW(VMCALL, EXACT(0xc1), PFX(PFX_NP), ATTR(END)),
		      ROW(MONITOR, EXACT(0xc8), PFX(PFX_NP)),
		      ROW(MWAIT, EXACT(0xc9), PFX(PFX_NP), ATTR(END)),
		      ROW(CLAC, EXACT(0xca), PFX(PFX_NP), ATTR(END)),
		      ROW(STAC, EXACT(0xcb), PFX(PFX_NP), ATTR(END)),
		      ROW(XGETBV, EXACT(0xd0), PFX(PFX_NP)),
		      ROW(XSETBV, EXACT(0xd1), PFX(PFX_NP), ATTR(END)),
		      ROW(VMMCALL, EXACT(0xd9), ATTR(END)),
		      ROW(SWAPGS, EXACT(0xf8), ONLY64, ATTR(PRIV)),
		      ROW(RDTSCP, EXACT(0xf9))),
	[0x02] = ROWS(ROW(LAR, G(V, RW), E(V, R), MEM(2), WRITES(X86_ZF))),
	[0x03] = ROWS(ROW(LSL, G(V, RW), E(V, R), MEM(2), WRITES(X86_ZF))),
	[0x05] = ROWS(ROW(SYSCALL, ATTR(END), READS(ALLF), MAYBE(ALLF))),
	[0x06] = ROWS(ROW(CLTS, ATTR(PRIV | END))),
	[0x07] = ROWS(ROW(SYSRET, ATTR(END), WRITES(ALLF))),
	[0x08] = ROWS(ROW(INVD, ATTR(PRIV | END))),
	[0x09] = ROWS(ROW(WBINVD, ATTR(PRIV | END))),
	[0x0b] = ROWS(ROW(UD, ATTR(END), READS(ALLF))),
	/* With a register: #UD on AMD, a NOP on Intel. It cannot run as itself, so #UD. */
	[0x0d] = ROWS(ROW(PREFETCH, MODRM, .rm = KIND_V, MEM_ONLY, ATTR(NAT | ANAME))),
	[0x10] = ROWS(FP_(PFX(PFX_NP | PFX_66), G(X, W), E(X, R), MEM(16), ATTR(SSE), SIZE(Y)),
		      SS(MEM_ONLY, G(X, W), E(X, R)), SS(REG_ONLY, G(X, RW), E(X, R)),
		      SD(MEM_ONLY, G(X, W), E(X, R)), SD(REG_ONLY, G(X, RW), E(X, R))),
	[0x11] = ROWS(FP_(PFX(PFX_NP | PFX_66), G(X, R), E(X, W), MEM(16), ATTR(SSE), SIZE(Y)),
		      SS(MEM_ONLY, G(X, R), E(X, W)), SS(REG_ONLY, G(X, R), E(X, RW)),
		      SD(MEM_ONLY, G(X, R), E(X, W)), SD(REG_ONLY, G(X, R), E(X, RW))),
	[0x12] = ROWS(FP_(PFX(PFX_NP), G(X, RW), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_66), MEM_ONLY, G(X, RW), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y)),
		      SD(G(X, W), E(X, R))),
	[0x13] = ROWS(FP_(PFX(PFX_NP | PFX_66), MEM_ONLY, G(X, R), E(X, W), MEM(8), ATTR(SSE), SIZE(Y))),
	[0x14] = SSE_PSPD,
	[0x15] = SSE_PSPD,
	[0x16] = ROWS(FP_(PFX(PFX_NP), G(X, RW), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_66), MEM_ONLY, G(X, RW), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0x17] = ROWS(FP_(PFX(PFX_NP | PFX_66), MEM_ONLY, G(X, R), E(X, W), MEM(8), ATTR(SSE), SIZE(Y))),
	[0x18] = ROWS(ROW(PREFETCH, EXT(0), MEM_ONLY, .rm = KIND_V, ATTR(NAT | ANAME)),
		      ROW(PREFETCH, EXT(1), MEM_ONLY, .rm = KIND_V, ATTR(NAT | ANAME)),
		      ROW(PREFETCH, EXT(2), MEM_ONLY, .rm = KIND_V, ATTR(NAT | ANAME)),
		      ROW(PREFETCH, EXT(3), MEM_ONLY, .rm = KIND_V, ATTR(NAT | ANAME)),
		      ROW(NOP, MODRM, .rm = KIND_V, ATTR(NAT | ANAME))),
	[0x19] = HINT, [0x1a] = HINT, [0x1b] = HINT, [0x1c] = HINT, [0x1d] = HINT, [0x1e] = HINT,
	[0x1f] = HINT,
	/* MOV to and from CR and DR: ModRM.mod is ignored. */
	[0x20] = ROWS(ROW(MOV_FROM_CR, E(P, W), G(C, R), SIZE(MODE), ATTR(PRIV))),
	[0x21] = ROWS(ROW(MOV_FROM_DR, E(P, W), G(R, R), SIZE(MODE), ATTR(PRIV))),
	[0x22] = ROWS(ROW(MOV_TO_CR, G(C, W), E(P, R), SIZE(MODE), ATTR(PRIV | END))),
	[0x23] = ROWS(ROW(MOV_TO_DR, G(R, W), E(P, R), SIZE(MODE), ATTR(PRIV | END))),
	[0x28] = ROWS(PS(G(X, W), E(X, R)), PD(G(X, W), E(X, R))),
	[0x29] = ROWS(PS(G(X, R), E(X, W)), PD(G(X, R), E(X, W))),
	/* Of memory they do not touch the MMX state (of CVTPI2PS that is so on AMD; SDM says otherwise). */
	[0x2a] = ROWS(FP_(PFX(PFX_NP | PFX_66), MEM_ONLY, G(X, RW), E(M, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_NP | PFX_66), REG_ONLY, G(X, RW), E(M, R), ATTR(MMX_TOO), SIZE(Y)),
		      FP_(PFX(PFX_F3 | PFX_F2), G(X, RW), E(Y, R), ATTR(SSE), SIZE(Y))),
	[0x2b] = ROWS(PS(MEM_ONLY, G(X, R), E(X, W)), PD(MEM_ONLY, G(X, R), E(X, W))),
	[0x2c] = ROWS(FP_(PFX(PFX_NP), G(M, W), E(X, R), MEM(8), ATTR(MMX_TOO), SIZE(Y)),
		      FP_(PFX(PFX_66), G(M, W), E(X, R), MEM(16), ATTR(MMX_TOO | ALIGN), SIZE(Y)),
		      SS(G(Y, W), E(X, R)), SD(G(Y, W), E(X, R))),
	[0x2d] = ROWS(FP_(PFX(PFX_NP), G(M, W), E(X, R), MEM(8), ATTR(MMX_TOO), SIZE(Y)),
		      FP_(PFX(PFX_66), G(M, W), E(X, R), MEM(16), ATTR(MMX_TOO | ALIGN), SIZE(Y)),
		      SS(G(Y, W), E(X, R)), SD(G(Y, W), E(X, R))),
	[0x2e] = ROWS(FP_(PFX(PFX_NP), G(X, R), E(X, R), MEM(4), ATTR(SSE), SIZE(Y), WRITES(ALLF)),
		      FP_(PFX(PFX_66), G(X, R), E(X, R), MEM(8), ATTR(SSE), SIZE(Y), WRITES(ALLF))),
	[0x2f] = ROWS(FP_(PFX(PFX_NP), G(X, R), E(X, R), MEM(4), ATTR(SSE), SIZE(Y), WRITES(ALLF)),
		      FP_(PFX(PFX_66), G(X, R), E(X, R), MEM(8), ATTR(SSE), SIZE(Y), WRITES(ALLF))),
	[0x30] = ROWS(ROW(WRMSR, ATTR(PRIV | END))),
	[0x31] = ROWS(ROW(RDTSC, SIZE(V))),
	[0x32] = ROWS(ROW(RDMSR, ATTR(PRIV))),
	[0x33] = ROWS(ROW(RDPMC, SIZE(V))),
	[0x34] = ROWS(ROW(SYSENTER, ATTR(END))),
	[0x35] = ROWS(ROW(SYSEXIT, ATTR(END))),
	CONDITIONS(CMOVCC, 0x40),
	[0x50] = ROWS(PS(REG_ONLY, G(Y, W), E(X, R)), PD(REG_ONLY, G(Y, W), E(X, R))),
	[0x51] = SSE4(W),
	[0x52] = ROWS(PS(G(X, W), E(X, R)), SS(G(X, RW), E(X, R))),
	[0x53] = ROWS(PS(G(X, W), E(X, R)), SS(G(X, RW), E(X, R))),
	[0x54] = SSE_PSPD, [0x55] = SSE_PSPD, [0x56] = SSE_PSPD, [0x57] = SSE_PSPD,
	[0x58] = SSE4(RW), [0x59] = SSE4(RW),
	[0x5a] = ROWS(FP_(PFX(PFX_NP), G(X, W), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      PD(G(X, W), E(X, R)), SS(G(X, RW), E(X, R)), SD(G(X, RW), E(X, R))),
	[0x5b] = ROWS(PS(G(X, W), E(X, R)), PD(G(X, W), E(X, R)),
		      FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0x5c] = SSE4(RW), [0x5d] = SSE4(RW), [0x5e] = SSE4(RW), [0x5f] = SSE4(RW),
	EACH3(0x60, ROWS(FP_(PFX(PFX_NP), G(M, RW), E(M, R), MEM(4), ATTR(MMX), SIZE(Y)),
			 PD(G(X, RW), E(X, R)))),
	[0x63] = MMXSSE, [0x64] = MMXSSE, [0x65] = MMXSSE, [0x66] = MMXSSE, [0x67] = MMXSSE,
	[0x68] = MMXSSE, [0x69] = MMXSSE, [0x6a] = MMXSSE, [0x6b] = MMXSSE,
	[0x6c] = ROWS(PD(G(X, RW), E(X, R))),
	[0x6d] = ROWS(PD(G(X, RW), E(X, R))),
	[0x6e] = ROWS(FP_(PFX(PFX_NP), G(M, W), E(Y, R), ATTR(MMX), SIZE(Y)),
		      FP_(PFX(PFX_66), G(X, W), E(Y, R), ATTR(SSE), SIZE(Y))),
	[0x6f] = ROWS(MX(G(M, W), E(M, R)), PD(G(X, W), E(X, R)),
		      FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(16), ATTR(SSE), SIZE(Y))),
	[0x70] = ROWS(MX(G(M, W), E(M, R), IMM(B)),
		      FP_(PFX(PFX_66 | PFX_F3 | PFX_F2), G(X, W), E(X, R), MEM(16), ATTR(SSE16),
			  IMM(B), SIZE(Y))),
	[0x71] = ROWS(MMX_SHIFT(2), MMX_SHIFT(4), MMX_SHIFT(6)),
	[0x72] = ROWS(MMX_SHIFT(2), MMX_SHIFT(4), MMX_SHIFT(6)),
	[0x73] = ROWS(MMX_SHIFT(2), XMM_SHIFT(3), MMX_SHIFT(6), XMM_SHIFT(7)),
	EACH3(0x74, MMXSSE),
	[0x77] = ROWS(FP_(PFX(PFX_NP), ATTR(MMX))),
	[0x7c] = ROWS(PD(G(X, RW), E(X, R)), FP_(PFX(PFX_F2), G(X, RW), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0x7d] = ROWS(PD(G(X, RW), E(X, R)), FP_(PFX(PFX_F2), G(X, RW), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0x7e] = ROWS(FP_(PFX(PFX_NP), G(M, R), E(Y, W), ATTR(MMX), SIZE(Y)),
		      FP_(PFX(PFX_66), G(X, R), E(Y, W), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(8), ATTR(SSE), SIZE(Y))),
	[0x7f] = ROWS(MX(G(M, R), E(M, W)), PD(G(X, R), E(X, W)),
		      FP_(PFX(PFX_F3), G(X, R), E(X, W), MEM(16), ATTR(SSE), SIZE(Y))),
	CONDITIONS(JCCZ, 0x80),
	CONDITIONS(SETCCS, 0x90),
	[0xa0] = ROWS(ROW(PUSH_SREG, SIZE(D64), ATTR(STACK))),
	[0xa1] = ROWS(ROW(POP_SREG, SIZE(D64), ATTR(STACK | END))),
	[0xa2] = ROWS(ROW(CPUID, ATTR(END))),
	[0xa3] = BT_ROW(BT, R, 0),
	[0xa4] = ROWS(ROW(SHLD, E(V, RW), G(V, R), IMM(B), ATTR(NAT), DBL_F)),
	[0xa5] = ROWS(ROW(SHLD, E(V, RW), G(V, R), ATTR(NAT), DBL_F)),
	[0xa8] = ROWS(ROW(PUSH_SREG, SIZE(D64), ATTR(STACK))),
	[0xa9] = ROWS(ROW(POP_SREG, SIZE(D64), ATTR(STACK | END))),
	[0xaa] = ROWS(ROW(RSM, ATTR(END), WRITES(ALLF))),
	[0xab] = BT_ROW(BTS, RW, LOCKABLE),
	[0xac] = ROWS(ROW(SHRD, E(V, RW), G(V, R), IMM(B), ATTR(NAT), DBL_F)),
	[0xad] = ROWS(ROW(SHRD, E(V, RW), G(V, R), ATTR(NAT), DBL_F)),
	[0xae] = ROWS(ROW(FXSAVE, EXT(0), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_W, MEM(512), SIZE(Y),
			  ATTR(X86_A_X87 | X86_A_FSTENV | ALIGN)),
		      ROW(FXRSTOR, EXT(1), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(512), SIZE(Y),
			  ATTR(X86_A_X87 | X86_A_FSTENV | ALIGN)),
		      /* LDMXCSR can be #GP by its operand's value: not NATIVE. */
		      ROW(LDMXCSR, EXT(2), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(4), SIZE(Y),
			  ATTR(X86_A_SSE)),
		      ROW(STMXCSR, EXT(3), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_W, MEM(4), SIZE(Y),
			  ATTR(SSE)),
		      /* Of the XSAVE area its legacy region and header are always there. */
		      ROW(XSAVE, EXT(4), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_RW, MEM(576), SIZE(Y),
			  ATTR(X86_A_FSTENV)),
		      ROW(XRSTOR, EXT(5), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(576), SIZE(Y),
			  ATTR(X86_A_FSTENV)),
		      ROW(XSAVEOPT, EXT(6), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_RW, MEM(576), SIZE(Y),
			  ATTR(X86_A_FSTENV)),
		      ROW(LFENCE, EXT(5), PFX(PFX_NP), REG_ONLY, ATTR(NAT)),
		      ROW(MFENCE, EXT(6), PFX(PFX_NP), REG_ONLY, ATTR(NAT)),
		      ROW(SFENCE, EXT(7), PFX(PFX_NP), REG_ONLY, ATTR(NAT)),
		      ROW(CLFLUSH, EXT(7), PFX(PFX_NP | PFX_66), MEM_ONLY, .rm_acc = X86_ACC_R, MEM(1),
			  SIZE(Y)),
		      ROW(RDFSBASE, EXT(0), PFX(PFX_F3), REG_ONLY, ONLY64, E(Y, W), SIZE(Y)),
		      ROW(RDGSBASE, EXT(1), PFX(PFX_F3), REG_ONLY, ONLY64, E(Y, W), SIZE(Y)),
		      ROW(WRFSBASE, EXT(2), PFX(PFX_F3), REG_ONLY, ONLY64, E(Y, R), SIZE(Y)),
		      ROW(WRGSBASE, EXT(3), PFX(PFX_F3), REG_ONLY, ONLY64, E(Y, R), SIZE(Y))),
	[0xaf] = ROWS(ROW(IMUL, G(V, RW), E(V, R), ATTR(NAT), WRITES(ALLF), UNDEF(SZAP))),
	[0xb0] = ROWS(ROW(CMPXCHG, E(B, RW), G(B, R), SIZE(B), ATTR(NAT | LOCKABLE), WRITES(ALLF))),
	[0xb1] = ROWS(ROW(CMPXCHG, E(V, RW), G(V, R), ATTR(NAT | LOCKABLE), WRITES(ALLF))),
	[0xb2] = ROWS(ROW(LSS, G(V, W), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END))),
	[0xb3] = BT_ROW(BTR, RW, LOCKABLE),
	[0xb4] = ROWS(ROW(LFS, G(V, W), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END))),
	[0xb5] = ROWS(ROW(LGS, G(V, W), .rm_acc = X86_ACC_R, MEM_ONLY, MEM(MEM_FAR), ATTR(END))),
	[0xb6] = ROWS(ROW(MOVZX, G(V, W), E(B, R), ATTR(NAT))),
	[0xb7] = ROWS(ROW(MOVZX, G(V, W), E(W, R), ATTR(NAT))),
	[0xb8] = ROWS(ROW(POPCNT, PFX(PFX_F3), G(V, W), E(V, R), ATTR(NAT), WRITES(ALLF))),
	/* UD1 and UD0: x86_decode() knows whether there is a ModRM byte. Its operand is never accessed. */
	[0xb9] = ROWS(ROW(UD, MODRM, ATTR(END | ANAME), READS(ALLF))),
	[0xba] = ROWS(ROW(BT, EXT(4), E(V, R), IMM(B), ATTR(NAT), BT_F),
		      ROW(BTS, EXT(5), E(V, RW), IMM(B), ATTR(NAT | LOCKABLE), BT_F),
		      ROW(BTR, EXT(6), E(V, RW), IMM(B), ATTR(NAT | LOCKABLE), BT_F),
		      ROW(BTC, EXT(7), E(V, RW), IMM(B), ATTR(NAT | LOCKABLE), BT_F)),
	[0xbb] = BT_ROW(BTC, RW, LOCKABLE),
	/* A source of zero leaves the destination of BSF and BSR alone. */
	[0xbc] = ROWS(ROW(TZCNT, PFX(PFX_F3), G(V, W), E(V, R), ATTR(NAT), XZCNT_F),
		      ROW(BSF, G(V, RW), E(V, R), ATTR(NAT), BSX_F)),
	[0xbd] = ROWS(ROW(LZCNT, PFX(PFX_F3), G(V, W), E(V, R), ATTR(NAT), XZCNT_F),
		      ROW(BSR, G(V, RW), E(V, R), ATTR(NAT), BSX_F)),
	[0xbe] = ROWS(ROW(MOVSX, G(V, W), E(B, R), ATTR(NAT))),
	[0xbf] = ROWS(ROW(MOVSX, G(V, W), E(W, R), ATTR(NAT))),
	[0xc0] = ROWS(ROW(XADD, E(B, RW), G(B, RW), SIZE(B), ATTR(NAT | LOCKABLE), WRITES(ALLF))),
	[0xc1] = ROWS(ROW(XADD, E(V, RW), G(V, RW), ATTR(NAT | LOCKABLE), WRITES(ALLF))),
	[0xc2] = ROWS(PS(G(X, RW), E(X, R), IMM(B)), PD(G(X, RW), E(X, R), IMM(B)),
		      SS(G(X, RW), E(X, R), IMM(B)), SD(G(X, RW), E(X, R), IMM(B))),
	[0xc3] = ROWS(ROW(MOVNTI, PFX(PFX_NP), MEM_ONLY, G(Y, R), E(Y, W), SIZE(Y), ATTR(NAT))),
	[0xc4] = ROWS(FP_(PFX(PFX_NP), G(M, RW), E(D, R), MEM(2), IMM(B), ATTR(MMX), SIZE(Y)),
		      FP_(PFX(PFX_66), G(X, RW), E(D, R), MEM(2), IMM(B), ATTR(SSE), SIZE(Y))),
	[0xc5] = ROWS(MX(REG_ONLY, G(Y, W), E(M, R), IMM(B)), PD(REG_ONLY, G(Y, W), E(X, R), IMM(B))),
	[0xc6] = ROWS(PS(G(X, RW), E(X, R), IMM(B)), PD(G(X, RW), E(X, R), IMM(B))),
	[0xc7] = ROWS(ROW(CMPXCHG8B, EXT(1), MEM_ONLY, W0, .rm_acc = X86_ACC_RW, MEM(8), SIZE(Y),
			  ATTR(NAT | LOCKABLE), WRITES(X86_ZF)),
		      ROW(CMPXCHG16B, EXT(1), MEM_ONLY, W1, .rm_acc = X86_ACC_RW, MEM(16), SIZE(Y),
			  ATTR(NAT | LOCKABLE | ALIGN), WRITES(X86_ZF)),
		      ROW(XSAVEC, EXT(4), PFX(PFX_NP), MEM_ONLY, .rm_acc = X86_ACC_W, MEM(576), SIZE(Y),
			  ATTR(X86_A_FSTENV)),
		      ROW(RDRAND, EXT(6), PFX(PFX_NP | PFX_66), REG_ONLY, E(V, W), ATTR(NAT), WRITES(ALLF)),
		      ROW(RDPID, EXT(7), PFX(PFX_F3), REG_ONLY, E(P, W), SIZE(MODE)),
		      ROW(RDSEED, EXT(7), PFX(PFX_NP | PFX_66), REG_ONLY, E(V, W), ATTR(NAT), WRITES(ALLF))),
	EACH8(0xc8, ROWS(ROW(BSWAP, LOW(RW), ATTR(NAT)))),
	[0xd0] = ROWS(PD(G(X, RW), E(X, R)), FP_(PFX(PFX_F2), G(X, RW), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0xd1] = MMXSSE, [0xd2] = MMXSSE, [0xd3] = MMXSSE, [0xd4] = MMXSSE, [0xd5] = MMXSSE,
	[0xd6] = ROWS(FP_(PFX(PFX_66), G(X, R), E(X, W), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_F3), REG_ONLY, G(X, W), E(M, R), ATTR(MMX_TOO), SIZE(Y)),
		      FP_(PFX(PFX_F2), REG_ONLY, G(M, W), E(X, R), ATTR(MMX_TOO), SIZE(Y))),
	[0xd7] = ROWS(MX(REG_ONLY, G(Y, W), E(M, R)), PD(REG_ONLY, G(Y, W), E(X, R))),
	EACH8(0xd8, MMXSSE),
	[0xe0] = MMXSSE, [0xe1] = MMXSSE, [0xe2] = MMXSSE, [0xe3] = MMXSSE, [0xe4] = MMXSSE, [0xe5] = MMXSSE,
	[0xe6] = ROWS(PD(G(X, W), E(X, R)), FP_(PFX(PFX_F3), G(X, W), E(X, R), MEM(8), ATTR(SSE), SIZE(Y)),
		      FP_(PFX(PFX_F2), G(X, W), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0xe7] = ROWS(MX(MEM_ONLY, G(M, R), E(M, W)), PD(MEM_ONLY, G(X, R), E(X, W))),
	EACH8(0xe8, MMXSSE),
	[0xf0] = ROWS(FP_(PFX(PFX_F2), MEM_ONLY, G(X, W), E(X, R), MEM(16), ATTR(SSE), SIZE(Y))),
	[0xf1] = MMXSSE, [0xf2] = MMXSSE, [0xf3] = MMXSSE, [0xf4] = MMXSSE, [0xf5] = MMXSSE, [0xf6] = MMXSSE,
	[0xf7] = ROWS(ROW(MASKMOV, PFX(PFX_NP), REG_ONLY, G(M, R), E(M, R), ATTR(X86_A_MMX), SIZE(Y)),
		      ROW(MASKMOV, PFX(PFX_66), REG_ONLY, G(X, R), E(X, R), ATTR(X86_A_SSE), SIZE(Y))),
	EACH3(0xf8, MMXSSE), EACH3(0xfb, MMXSSE), [0xfe] = MMXSSE,
	[0xff] = ROWS(ROW(UD, MODRM, ATTR(END | ANAME), READS(ALLF))),
};

const struct decode_row *const *const decode_maps[4] = {map_1, map_0f, decode_map_0f38, decode_map_0f3a};
