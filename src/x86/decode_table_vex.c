/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_table_vex.c - the decode table: what has a VEX prefix. AVX, AVX2, FMA, F16C, AES and PCLMULQDQ in both
 * lengths, BMI1, BMI2. See decode_table.h for the words; SDM vol. 2 appendix A and the instructions' pages. Not in
 * here, and so #UD: the opmask instructions of AVX-512, AVX-VNNI and what came later.
 */
#include "x86/decode_table.h"

/* Tables from here on. */
/* clang-format off */

#define VEC MEM_VEC
#define AVX (X86_A_VEX | X86_A_AVX)
#define VROW(at, p, ...) FP_(ATTR(AVX | (at)), PFX(p), SIZE(Y), __VA_ARGS__)
/* dst, src1 in vvvv, src2 of m bytes in memory; the same without src1; stores. ..A: aligned. */
#define V3(p, m, ...) VROW(NAT, PFX_##p, G(X, W), VV(X, R), E(X, R), MEM(m), __VA_ARGS__)
#define V2(p, m, ...) VROW(NAT, PFX_##p, G(X, W), E(X, R), MEM(m), __VA_ARGS__)
#define V2A(p, m, ...) VROW(NAT | ALIGN, PFX_##p, G(X, W), E(X, R), MEM(m), __VA_ARGS__)
#define VST(p, m, ...) VROW(NAT, PFX_##p, G(X, R), E(X, W), MEM(m), __VA_ARGS__)
#define VSTA(p, m, ...) VROW(NAT | ALIGN, PFX_##p, G(X, R), E(X, W), MEM(m), __VA_ARGS__)
#define VCMPF(p, m, ...) VROW(NAT, PFX_##p, G(X, R), E(X, R), MEM(m), WRITES(ALLF), __VA_ARGS__)

#define R3 ROWS(V3(66, VEC))			  /* integer */
#define R3_COUNT ROWS(V3(66, 16))		  /* shift by an XMM register, whatever the length */
#define R3_PSPD ROWS(V3(NP, VEC), V3(66, VEC))
#define R3_ALL ROWS(V3(NP, VEC), V3(66, VEC), V3(F3, 4), V3(F2, 8))
#define VSHIFT(n) VROW(NAT, PFX_66, EXT(n), REG_ONLY, VV(X, W), .rm = KIND_X, .rm_acc = X86_ACC_R, IMM(B))

static const struct decode_row *const vex_0f[256] = {
	[0x10] = ROWS(V2(NP, VEC), V2(66, VEC),
		      V2(F3, 4, MEM_ONLY), V3(F3, 0, REG_ONLY), V2(F2, 8, MEM_ONLY), V3(F2, 0, REG_ONLY)),
	[0x11] = ROWS(VST(NP, VEC), VST(66, VEC), VST(F3, 4, MEM_ONLY), VST(F3, 0, REG_ONLY, VV(X, R)),
		      VST(F2, 8, MEM_ONLY), VST(F2, 0, REG_ONLY, VV(X, R))),
	[0x12] = ROWS(V3(NP, 8, VL0), V3(66, 8, VL0, MEM_ONLY), V2(F3, VEC), V2(F2, MEM_DDUP)),
	[0x13] = ROWS(VST(NP, 8, VL0, MEM_ONLY), VST(66, 8, VL0, MEM_ONLY)),
	[0x14] = R3_PSPD, [0x15] = R3_PSPD,
	[0x16] = ROWS(V3(NP, 8, VL0), V3(66, 8, VL0, MEM_ONLY), V2(F3, VEC)),
	[0x17] = ROWS(VST(NP, 8, VL0, MEM_ONLY), VST(66, 8, VL0, MEM_ONLY)),
	[0x28] = ROWS(V2A(NP, VEC), V2A(66, VEC)),
	[0x29] = ROWS(VSTA(NP, VEC), VSTA(66, VEC)),
	[0x2a] = ROWS(VROW(NAT, PFX_F3 | PFX_F2, G(X, W), VV(X, R), E(Y, R))),
	[0x2b] = ROWS(VSTA(NP, VEC, MEM_ONLY), VSTA(66, VEC, MEM_ONLY)),
	[0x2c] = ROWS(VROW(NAT, PFX_F3, G(Y, W), E(X, R), MEM(4)), VROW(NAT, PFX_F2, G(Y, W), E(X, R), MEM(8))),
	[0x2d] = ROWS(VROW(NAT, PFX_F3, G(Y, W), E(X, R), MEM(4)), VROW(NAT, PFX_F2, G(Y, W), E(X, R), MEM(8))),
	[0x2e] = ROWS(VCMPF(NP, 4), VCMPF(66, 8)),
	[0x2f] = ROWS(VCMPF(NP, 4), VCMPF(66, 8)),
	[0x50] = ROWS(VROW(NAT, PFX_NP | PFX_66, REG_ONLY, G(Y, W), E(X, R))),
	[0x51] = ROWS(V2(NP, VEC), V2(66, VEC), V3(F3, 4), V3(F2, 8)),
	[0x52] = ROWS(V2(NP, VEC), V3(F3, 4)),
	[0x53] = ROWS(V2(NP, VEC), V3(F3, 4)),
	[0x54] = R3_PSPD, [0x55] = R3_PSPD, [0x56] = R3_PSPD, [0x57] = R3_PSPD,
	[0x58] = R3_ALL, [0x59] = R3_ALL,
	[0x5a] = ROWS(V2(NP, MEM_VEC2), V2(66, VEC), V3(F3, 4), V3(F2, 8)),
	[0x5b] = ROWS(V2(NP, VEC), V2(66, VEC), V2(F3, VEC)),
	[0x5c] = R3_ALL, [0x5d] = R3_ALL, [0x5e] = R3_ALL, [0x5f] = R3_ALL,
	[0x60] = R3, [0x61] = R3, [0x62] = R3, [0x63] = R3, [0x64] = R3, [0x65] = R3, [0x66] = R3, [0x67] = R3,
	[0x68] = R3, [0x69] = R3, [0x6a] = R3, [0x6b] = R3, [0x6c] = R3, [0x6d] = R3,
	[0x6e] = ROWS(VROW(NAT, PFX_66, VL0, G(X, W), E(Y, R))),
	[0x6f] = ROWS(V2A(66, VEC), V2(F3, VEC)),
	[0x70] = ROWS(V2(66, VEC, IMM(B)), V2(F3, VEC, IMM(B)), V2(F2, VEC, IMM(B))),
	[0x71] = ROWS(VSHIFT(2), VSHIFT(4), VSHIFT(6)),
	[0x72] = ROWS(VSHIFT(2), VSHIFT(4), VSHIFT(6)),
	[0x73] = ROWS(VSHIFT(2), VSHIFT(3), VSHIFT(6), VSHIFT(7)),
	[0x74] = R3, [0x75] = R3, [0x76] = R3,
	[0x77] = ROWS(VROW(NAT, PFX_NP)), /* VZEROUPPER, VZEROALL */
	[0x7c] = ROWS(V3(66, VEC), V3(F2, VEC)),
	[0x7d] = ROWS(V3(66, VEC), V3(F2, VEC)),
	[0x7e] = ROWS(VROW(NAT, PFX_66, VL0, G(X, R), E(Y, W)), V2(F3, 8, VL0)),
	[0x7f] = ROWS(VSTA(66, VEC), VST(F3, VEC)),
	[0xae] = ROWS(ROW(LDMXCSR, EXT(2), PFX(PFX_NP), VL0, MEM_ONLY, .rm_acc = X86_ACC_R, MEM(4), SIZE(Y), ATTR(AVX)),
		      ROW(STMXCSR, EXT(3), PFX(PFX_NP), VL0, MEM_ONLY, .rm_acc = X86_ACC_W, MEM(4), SIZE(Y),
			  ATTR(AVX | NAT))),
	[0xc2] = ROWS(V3(NP, VEC, IMM(B)), V3(66, VEC, IMM(B)), V3(F3, 4, IMM(B)), V3(F2, 8, IMM(B))),
	[0xc4] = ROWS(VROW(NAT, PFX_66, VL0, G(X, W), VV(X, R), E(D, R), MEM(2), IMM(B))),
	[0xc5] = ROWS(VROW(NAT, PFX_66, VL0, REG_ONLY, G(Y, W), E(X, R), IMM(B))),
	[0xc6] = ROWS(V3(NP, VEC, IMM(B)), V3(66, VEC, IMM(B))),
	[0xd0] = ROWS(V3(66, VEC), V3(F2, VEC)),
	[0xd1] = R3_COUNT, [0xd2] = R3_COUNT, [0xd3] = R3_COUNT, [0xd4] = R3, [0xd5] = R3,
	[0xd6] = ROWS(VST(66, 8, VL0)),
	[0xd7] = ROWS(VROW(NAT, PFX_66, REG_ONLY, G(Y, W), E(X, R))),
	[0xd8] = R3, [0xd9] = R3, [0xda] = R3, [0xdb] = R3, [0xdc] = R3, [0xdd] = R3, [0xde] = R3, [0xdf] = R3,
	[0xe0] = R3, [0xe1] = R3_COUNT, [0xe2] = R3_COUNT, [0xe3] = R3, [0xe4] = R3, [0xe5] = R3,
	[0xe6] = ROWS(V2(66, VEC), V2(F3, MEM_VEC2), V2(F2, VEC)),
	[0xe7] = ROWS(VSTA(66, VEC, MEM_ONLY)),
	[0xe8] = R3, [0xe9] = R3, [0xea] = R3, [0xeb] = R3, [0xec] = R3, [0xed] = R3, [0xee] = R3, [0xef] = R3,
	[0xf0] = ROWS(V2(F2, VEC, MEM_ONLY)),
	[0xf1] = R3_COUNT, [0xf2] = R3_COUNT, [0xf3] = R3_COUNT, [0xf4] = R3, [0xf5] = R3, [0xf6] = R3,
	[0xf7] = ROWS(ROW(MASKMOV, PFX(PFX_66), VL0, REG_ONLY, G(X, R), E(X, R), ATTR(AVX), SIZE(Y))),
	[0xf8] = R3, [0xf9] = R3, [0xfa] = R3, [0xfb] = R3, [0xfc] = R3, [0xfd] = R3, [0xfe] = R3,
};

/* ---- 0F 38 ---- */

#define FMA_ROW(m) ROWS(VROW(NAT, PFX_66, G(X, RW), VV(X, R), E(X, R), MEM(m)))
#define FMA(base)                                                                                  \
	[(base) + 6] = FMA_ROW(VEC), [(base) + 7] = FMA_ROW(VEC), [(base) + 8] = FMA_ROW(VEC),     \
	[(base) + 9] = FMA_ROW(MEM_WS), [(base) + 10] = FMA_ROW(VEC), [(base) + 11] = FMA_ROW(MEM_WS), \
	[(base) + 12] = FMA_ROW(VEC), [(base) + 13] = FMA_ROW(MEM_WS), [(base) + 14] = FMA_ROW(VEC), \
	[(base) + 15] = FMA_ROW(MEM_WS)
#define MASKED_LOAD(...)                                                                           \
	ROWS(ROW(VMASKMOV, PFX(PFX_66), MEM_ONLY, G(X, W), VV(X, R), E(X, R), MEM(VEC), SIZE(Y), ATTR(AVX), __VA_ARGS__))
#define MASKED_STORE(...)                                                                          \
	ROWS(ROW(VMASKMOV, PFX(PFX_66), MEM_ONLY, G(X, R), VV(X, R), E(X, W), MEM(VEC), SIZE(Y), ATTR(AVX), __VA_ARGS__))
#define GATHER                                                                                     \
	ROWS(ROW(VGATHER, PFX(PFX_66), MEM_ONLY, G(X, RW), VV(X, RW), E(X, R), MEM(MEM_WS), SIZE(Y),  \
		 ATTR(AVX | X86_A_VSIB)))
#define BMI_(p, ...) ROW(BMI, PFX(PFX_##p), VL0, SIZE(Y), ATTR(NAT | X86_A_VEX), __VA_ARGS__)
#define BMI_F WRITES(ALLF), UNDEF(X86_AF | X86_PF)

static const struct decode_row *const vex_0f38[256] = {
	[0x00] = R3, [0x01] = R3, [0x02] = R3, [0x03] = R3, [0x04] = R3, [0x05] = R3, [0x06] = R3, [0x07] = R3,
	[0x08] = R3, [0x09] = R3, [0x0a] = R3, [0x0b] = R3,
	[0x0c] = ROWS(V3(66, VEC, W0)), [0x0d] = ROWS(V3(66, VEC, W0)),
	[0x0e] = ROWS(VCMPF(66, VEC, W0)), [0x0f] = ROWS(VCMPF(66, VEC, W0)),
	[0x13] = ROWS(V2(66, MEM_VEC2, W0)),
	[0x16] = ROWS(V3(66, VEC, W0, VL1)),
	[0x17] = ROWS(VCMPF(66, VEC)),
	[0x18] = ROWS(V2(66, 4, W0)), [0x19] = ROWS(V2(66, 8, W0, VL1)), [0x1a] = ROWS(V2(66, 16, W0, VL1, MEM_ONLY)),
	[0x1c] = ROWS(V2(66, VEC)), [0x1d] = ROWS(V2(66, VEC)), [0x1e] = ROWS(V2(66, VEC)),
	[0x20] = ROWS(V2(66, MEM_VEC2)), [0x21] = ROWS(V2(66, MEM_VEC4)), [0x22] = ROWS(V2(66, MEM_VEC8)),
	[0x23] = ROWS(V2(66, MEM_VEC2)), [0x24] = ROWS(V2(66, MEM_VEC4)), [0x25] = ROWS(V2(66, MEM_VEC2)),
	[0x28] = R3, [0x29] = R3, [0x2a] = ROWS(V2A(66, VEC, MEM_ONLY)), [0x2b] = R3,
	[0x2c] = MASKED_LOAD(W0), [0x2d] = MASKED_LOAD(W0), [0x2e] = MASKED_STORE(W0), [0x2f] = MASKED_STORE(W0),
	[0x30] = ROWS(V2(66, MEM_VEC2)), [0x31] = ROWS(V2(66, MEM_VEC4)), [0x32] = ROWS(V2(66, MEM_VEC8)),
	[0x33] = ROWS(V2(66, MEM_VEC2)), [0x34] = ROWS(V2(66, MEM_VEC4)), [0x35] = ROWS(V2(66, MEM_VEC2)),
	[0x36] = ROWS(V3(66, VEC, W0, VL1)),
	[0x37] = R3, [0x38] = R3, [0x39] = R3, [0x3a] = R3, [0x3b] = R3, [0x3c] = R3, [0x3d] = R3, [0x3e] = R3,
	[0x3f] = R3, [0x40] = R3,
	[0x41] = ROWS(V2(66, 16, VL0)),
	[0x45] = R3, [0x46] = ROWS(V3(66, VEC, W0)), [0x47] = R3,
	[0x58] = ROWS(V2(66, 4, W0)), [0x59] = ROWS(V2(66, 8, W0)), [0x5a] = ROWS(V2(66, 16, W0, VL1, MEM_ONLY)),
	[0x78] = ROWS(V2(66, 1, W0)), [0x79] = ROWS(V2(66, 2, W0)),
	[0x8c] = MASKED_LOAD(), [0x8e] = MASKED_STORE(),
	[0x90] = GATHER, [0x91] = GATHER, [0x92] = GATHER, [0x93] = GATHER,
	FMA(0x90), FMA(0xa0), FMA(0xb0),
	[0xdb] = ROWS(V2(66, 16, VL0)), [0xdc] = R3, [0xdd] = R3, [0xde] = R3, [0xdf] = R3,
	[0xf2] = ROWS(BMI_(NP, G(Y, W), VV(Y, R), E(Y, R), BMI_F)), /* ANDN */
	/* BLSR, BLSMSK, BLSI */
	[0xf3] = ROWS(BMI_(NP, EXT(1), VV(Y, W), E(Y, R), BMI_F), BMI_(NP, EXT(2), VV(Y, W), E(Y, R), BMI_F),
		      BMI_(NP, EXT(3), VV(Y, W), E(Y, R), BMI_F)),
	/* BZHI, PEXT, PDEP */
	[0xf5] = ROWS(BMI_(NP, G(Y, W), E(Y, R), VV(Y, R), BMI_F), BMI_(F3, G(Y, W), VV(Y, R), E(Y, R)),
		      BMI_(F2, G(Y, W), VV(Y, R), E(Y, R))),
	[0xf6] = ROWS(BMI_(F2, G(Y, W), VV(Y, W), E(Y, R))), /* MULX: RDX too */
	/* BEXTR, SHLX, SARX, SHRX */
	[0xf7] = ROWS(BMI_(NP, G(Y, W), E(Y, R), VV(Y, R), WRITES(ALLF), UNDEF(X86_AF | X86_SF | X86_PF)),
		      BMI_(66, G(Y, W), E(Y, R), VV(Y, R)), BMI_(F3, G(Y, W), E(Y, R), VV(Y, R)),
		      BMI_(F2, G(Y, W), E(Y, R), VV(Y, R))),
};

/* ---- 0F 3A: all with an 8-bit immediate; 4A-4C have a register in its upper half ---- */

#define R3I ROWS(V3(66, VEC, IMM(B)))
#define VSTR ROWS(VCMPF(66, 16, VL0, IMM(B)))

static const struct decode_row *const vex_0f3a[256] = {
	[0x00] = ROWS(V2(66, VEC, W1, VL1, IMM(B))), [0x01] = ROWS(V2(66, VEC, W1, VL1, IMM(B))),
	[0x02] = ROWS(V3(66, VEC, W0, IMM(B))),
	[0x04] = ROWS(V2(66, VEC, W0, IMM(B))), [0x05] = ROWS(V2(66, VEC, W0, IMM(B))),
	[0x06] = ROWS(V3(66, VEC, W0, VL1, IMM(B))),
	[0x08] = ROWS(V2(66, VEC, IMM(B))), [0x09] = ROWS(V2(66, VEC, IMM(B))),
	[0x0a] = ROWS(V3(66, 4, IMM(B))), [0x0b] = ROWS(V3(66, 8, IMM(B))),
	[0x0c] = R3I, [0x0d] = R3I, [0x0e] = R3I, [0x0f] = R3I,
	[0x14] = ROWS(VROW(NAT, PFX_66, VL0, G(X, R), E(Y, W), MEM(1), IMM(B))),
	[0x15] = ROWS(VROW(NAT, PFX_66, VL0, G(X, R), E(Y, W), MEM(2), IMM(B))),
	[0x16] = ROWS(VROW(NAT, PFX_66, VL0, G(X, R), E(Y, W), IMM(B))),
	[0x17] = ROWS(VROW(NAT, PFX_66, VL0, G(X, R), E(Y, W), MEM(4), IMM(B))),
	[0x18] = ROWS(V3(66, 16, W0, VL1, IMM(B))), [0x19] = ROWS(VST(66, 16, W0, VL1, IMM(B))),
	[0x1d] = ROWS(VST(66, MEM_VEC2, W0, IMM(B))),
	[0x20] = ROWS(VROW(NAT, PFX_66, VL0, G(X, W), VV(X, R), E(D, R), MEM(1), IMM(B))),
	[0x21] = ROWS(V3(66, 4, VL0, IMM(B))),
	[0x22] = ROWS(VROW(NAT, PFX_66, VL0, G(X, W), VV(X, R), E(Y, R), IMM(B))),
	[0x38] = ROWS(V3(66, 16, W0, VL1, IMM(B))), [0x39] = ROWS(VST(66, 16, W0, VL1, IMM(B))),
	[0x40] = R3I, [0x41] = ROWS(V3(66, 16, VL0, IMM(B))), [0x42] = R3I, [0x44] = R3I,
	[0x46] = ROWS(V3(66, VEC, W0, VL1, IMM(B))),
	[0x4a] = ROWS(V3(66, VEC, W0, IMM(B))), [0x4b] = ROWS(V3(66, VEC, W0, IMM(B))),
	[0x4c] = ROWS(V3(66, VEC, W0, IMM(B))),
	[0x60] = VSTR, [0x61] = VSTR, [0x62] = VSTR, [0x63] = VSTR,
	[0xdf] = ROWS(V2(66, 16, VL0, IMM(B))),
	[0xf0] = ROWS(BMI_(F2, G(Y, W), E(Y, R), IMM(B))), /* RORX */
};

static const struct decode_row *const none[256];
const struct decode_row *const *const decode_vex_maps[4] = {none, vex_0f, vex_0f38, vex_0f3a};
