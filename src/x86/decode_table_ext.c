/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_table_ext.c - the decode table: x87 (D8-DF), 0F 38 and 0F 3A. See decode_table.h for the words.
 * SDM vol. 2 appendix A, tables.
 */
#include "x86/decode_table.h"

/* Tables from here on. */
/* clang-format off */

/* ---- x87: eight lists, memory forms by /digit, then register forms ---- */

#define FM(n, bytes, acc) FP_(EXT(n), MEM_ONLY, .rm_acc = X86_ACC_##acc, MEM(bytes), ATTR(X87))
#define FR(n) FP_(EXT(n), REG_ONLY, .rm = KIND_T, .rm_acc = X86_ACC_RW, ATTR(X87)) /* /n with ST(i) */
#define FRF(n, ...) FP_(EXT(n), REG_ONLY, .rm = KIND_T, .rm_acc = X86_ACC_RW, ATTR(X87), __VA_ARGS__)
#define F1(byte) FP_(EXACT(byte), ATTR(X87))					 /* one encoding, no operand */
#define FMS(bytes)                                                                                 \
	FM(0, bytes, R), FM(1, bytes, R), FM(2, bytes, R), FM(3, bytes, R), FM(4, bytes, R),       \
	FM(5, bytes, R), FM(6, bytes, R), FM(7, bytes, R)
#define FRS FR(0), FR(1), FR(2), FR(3), FR(4), FR(5), FR(6), FR(7)
#define FENV(name, n, bytes, acc)                                                                  \
	ROW(name, EXT(n), MEM_ONLY, .rm_acc = X86_ACC_##acc, MEM(bytes),                           \
	    ATTR(X86_A_X87 | X86_A_FSTENV))
#define ROWS_END {.op = (uint8_t)X86_OP_COUNT}
/* FCOMI and its kin set ZF, PF, CF; the manuals differ on whether the others are cleared. */
#define FCOMI_F WRITES(X86_ZF | X86_PF | X86_CF), MAYBE(ALLF)

const struct decode_row decode_x87[8][96] = {
	/* D8: arithmetic, m32 */
	{FMS(4), FRS, ROWS_END},
	/* D9 */
	{FM(0, 4, R), FM(2, 4, W), FM(3, 4, W), FENV(FLDENV, 4, MEM_ENV, R), FM(5, 2, R),
	 FENV(FSTENV, 6, MEM_ENV, W), FM(7, 2, W),
	 FR(0), FR(1), F1(0xd0), FR(3), F1(0xe0), F1(0xe1), F1(0xe4), F1(0xe5),
	 F1(0xe8), F1(0xe9), F1(0xea), F1(0xeb), F1(0xec), F1(0xed), F1(0xee),
	 F1(0xf0), F1(0xf1), F1(0xf2), F1(0xf3), F1(0xf4), F1(0xf5), F1(0xf6), F1(0xf7),
	 F1(0xf8), F1(0xf9), F1(0xfa), F1(0xfb), F1(0xfc), F1(0xfd), F1(0xfe), F1(0xff), ROWS_END},
	/* DA: arithmetic, m32 integer; FCMOVcc */
	{FMS(4), FRF(0, READS(X86_CF)), FRF(1, READS(X86_ZF)), FRF(2, READS(X86_CF | X86_ZF)),
	 FRF(3, READS(X86_PF)), F1(0xe9), ROWS_END},
	/* DB */
	{FM(0, 4, R), FM(1, 4, W), FM(2, 4, W), FM(3, 4, W), FM(5, 10, R), FM(7, 10, W),
	 FRF(0, READS(X86_CF)), FRF(1, READS(X86_ZF)), FRF(2, READS(X86_CF | X86_ZF)),
	 FRF(3, READS(X86_PF)), F1(0xe0), F1(0xe1), F1(0xe2), F1(0xe3), F1(0xe4),
	 FRF(5, FCOMI_F), FRF(6, FCOMI_F), ROWS_END},
	/* DC: arithmetic, m64 */
	{FMS(8), FRS, ROWS_END},
	/* DD */
	{FM(0, 8, R), FM(1, 8, W), FM(2, 8, W), FM(3, 8, W), FENV(FRSTOR, 4, MEM_SAVE, R),
	 FENV(FSAVE, 6, MEM_SAVE, W), FM(7, 2, W),
	 FR(0), FR(1), FR(2), FR(3), FR(4), FR(5), ROWS_END},
	/* DE: arithmetic, m16 integer */
	{FMS(2), FR(0), FR(1), FR(2), F1(0xd9), FR(4), FR(5), FR(6), FR(7), ROWS_END},
	/* DF */
	{FM(0, 2, R), FM(1, 2, W), FM(2, 2, W), FM(3, 2, W), FM(4, 10, R), FM(5, 8, R),
	 FM(6, 10, W), FM(7, 8, W),
	 FR(0), FR(1), FR(2), FR(3), F1(0xe0), FRF(5, FCOMI_F), FRF(6, FCOMI_F), ROWS_END},
};

/* ---- 0F 38 ---- */

#define X66(acc) FP_(PFX(PFX_66), G(X, acc), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))
#define MX66(acc)                                                                                  \
	ROWS(FP_(PFX(PFX_NP), G(M, acc), E(M, R), MEM(8), ATTR(MMX), SIZE(Y)), X66(acc))
#define MOVX(bytes) ROWS(FP_(PFX(PFX_66), G(X, W), E(X, R), MEM(bytes), ATTR(SSE), SIZE(Y)))
#define XNP(...) ROWS(FP_(PFX(PFX_NP), G(X, RW), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y), __VA_ARGS__))
#define XX(acc) ROWS(X66(acc))

const struct decode_row *const decode_map_0f38[256] = {
	[0x00] = MX66(RW), [0x01] = MX66(RW), [0x02] = MX66(RW), [0x03] = MX66(RW), [0x04] = MX66(RW),
	[0x05] = MX66(RW), [0x06] = MX66(RW), [0x07] = MX66(RW), [0x08] = MX66(RW), [0x09] = MX66(RW),
	[0x0a] = MX66(RW), [0x0b] = MX66(RW),
	[0x10] = XX(RW), [0x14] = XX(RW), [0x15] = XX(RW),
	[0x17] = ROWS(FP_(PFX(PFX_66), G(X, R), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y), WRITES(ALLF))),
	[0x1c] = MX66(W), [0x1d] = MX66(W), [0x1e] = MX66(W),
	[0x20] = MOVX(8), [0x21] = MOVX(4), [0x22] = MOVX(2), [0x23] = MOVX(8), [0x24] = MOVX(4),
	[0x25] = MOVX(8),
	[0x28] = XX(RW), [0x29] = XX(RW),
	[0x2a] = ROWS(FP_(PFX(PFX_66), MEM_ONLY, G(X, W), E(X, R), MEM(16), ATTR(SSE16), SIZE(Y))),
	[0x2b] = XX(RW),
	[0x30] = MOVX(8), [0x31] = MOVX(4), [0x32] = MOVX(2), [0x33] = MOVX(8), [0x34] = MOVX(4),
	[0x35] = MOVX(8),
	[0x37] = XX(RW), [0x38] = XX(RW), [0x39] = XX(RW), [0x3a] = XX(RW), [0x3b] = XX(RW),
	[0x3c] = XX(RW), [0x3d] = XX(RW), [0x3e] = XX(RW), [0x3f] = XX(RW), [0x40] = XX(RW),
	[0x41] = XX(W),
	[0x82] = ROWS(ROW(INVPCID, PFX(PFX_66), MEM_ONLY, G(P, R), .rm_acc = X86_ACC_R, MEM(16),
			  SIZE(MODE), ATTR(PRIV | END))),
	[0xc8] = XNP(), [0xc9] = XNP(), [0xca] = XNP(), [0xcb] = XNP(), [0xcc] = XNP(), [0xcd] = XNP(),
	[0xdb] = XX(W), [0xdc] = XX(RW), [0xdd] = XX(RW), [0xde] = XX(RW), [0xdf] = XX(RW),
	[0xf0] = ROWS(ROW(CRC32, PFX(PFX_F2), G(Y, RW), E(B, R), ATTR(NAT)),
		      ROW(MOVBE, PFX(PFX_NP | PFX_66), MEM_ONLY, G(V, W), E(V, R), ATTR(NAT))),
	[0xf1] = ROWS(ROW(CRC32, PFX(PFX_F2), G(Y, RW), E(V, R), ATTR(NAT)),
		      ROW(MOVBE, PFX(PFX_NP | PFX_66), MEM_ONLY, G(V, R), E(V, W), ATTR(NAT))),
};

/* ---- 0F 3A: all with an 8-bit immediate ---- */

#define XI(bytes, at, acc) ROWS(FP_(PFX(PFX_66), G(X, acc), E(X, R), MEM(bytes), IMM(B), ATTR(at), SIZE(Y)))
#define XOUT(kind, bytes) ROWS(FP_(PFX(PFX_66), G(X, R), E(kind, W), MEM(bytes), IMM(B), ATTR(SSE), SIZE(Y)))
#define XIN(kind, bytes) ROWS(FP_(PFX(PFX_66), G(X, RW), E(kind, R), MEM(bytes), IMM(B), ATTR(SSE), SIZE(Y)))
/* PCMPxSTRx: unaligned operand; implicit EAX, EDX, ECX, XMM0; AF and PF cleared. */
#define XSTR                                                                                       \
	ROWS(FP_(PFX(PFX_66), G(X, R), E(X, R), MEM(16), IMM(B), ATTR(SSE), SIZE(Y), WRITES(ALLF)))

const struct decode_row *const decode_map_0f3a[256] = {
	[0x08] = XI(16, SSE16, W), [0x09] = XI(16, SSE16, W), [0x0a] = XI(4, SSE, RW),
	[0x0b] = XI(8, SSE, RW), [0x0c] = XI(16, SSE16, RW), [0x0d] = XI(16, SSE16, RW),
	[0x0e] = XI(16, SSE16, RW),
	[0x0f] = ROWS(FP_(PFX(PFX_NP), G(M, RW), E(M, R), MEM(8), IMM(B), ATTR(MMX), SIZE(Y)),
		      FP_(PFX(PFX_66), G(X, RW), E(X, R), MEM(16), IMM(B), ATTR(SSE16), SIZE(Y))),
	[0x14] = XOUT(Y, 1), [0x15] = XOUT(Y, 2), [0x16] = XOUT(Y, 0), [0x17] = XOUT(Y, 4),
	[0x20] = XIN(D, 1), [0x21] = XIN(X, 4), [0x22] = XIN(Y, 0),
	[0x40] = XI(16, SSE16, RW), [0x41] = XI(16, SSE16, RW), [0x42] = XI(16, SSE16, RW),
	[0x44] = XI(16, SSE16, RW),
	[0x60] = XSTR, [0x61] = XSTR, [0x62] = XSTR, [0x63] = XSTR,
	[0xcc] = ROWS(FP_(PFX(PFX_NP), G(X, RW), E(X, R), MEM(16), IMM(B), ATTR(SSE16), SIZE(Y))),
	[0xdf] = XI(16, SSE16, W),
};
