/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emit.h - the emitter: bytes of x86-64 host code, appended one instruction at a time.
 *
 * Writes go through the writable mapping of code memory (p); addresses inside the code are those of the
 * executable mapping (p + delta). An emitter that runs out of room sets `full` and writes nothing more:
 * the translator looks at it once, at the end of a block.
 *
 * Operand order is destination first. Sizes: `w` true is a 64-bit operation, false a 32-bit one. gs: is
 * the vCPU (struct soft_vcpu), reached by a 32-bit displacement.
 */
#ifndef LODGE_ENGINE_SOFT_EMIT_H
#define LODGE_ENGINE_SOFT_EMIT_H

#include "util/base.h"

struct emit {
	uint8_t *p, *end; /* writable mapping */
	intptr_t delta;	  /* executable address - writable address */
	bool full;
};

enum host_reg {
	HR_RAX,
	HR_RCX,
	HR_RDX,
	HR_RBX,
	HR_RSP,
	HR_RBP,
	HR_RSI,
	HR_RDI,
	HR_R8,
	HR_R9,
	HR_R10,
	HR_R11,
	HR_R12,
	HR_R13,
	HR_R14,
	HR_R15
};

static inline void emit8(struct emit *e, unsigned b)
{
	if (unlikely(e->p >= e->end)) {
		e->full = true;
		return;
	}
	*e->p++ = (uint8_t)b;
}

static inline void emit32(struct emit *e, uint32_t v)
{
	if (unlikely(e->end - e->p < 4)) {
		e->full = true;
		return;
	}
	__builtin_memcpy(e->p, &v, 4);
	e->p += 4;
}

static inline void emit64(struct emit *e, uint64_t v)
{
	emit32(e, (uint32_t)v);
	emit32(e, (uint32_t)(v >> 32));
}

static inline void emit16(struct emit *e, unsigned v)
{
	emit8(e, v);
	emit8(e, v >> 8);
}

/* Executable address of the next byte. */
static inline uint8_t *emit_here(const struct emit *e)
{
	return e->p + e->delta;
}

static inline void emit_rex(struct emit *e, bool w, unsigned reg, unsigned index, unsigned base)
{
	unsigned rex = 0x40u | (w ? 8u : 0) | ((reg >> 3) & 1) << 2 | ((index >> 3) & 1) << 1 |
		       ((base >> 3) & 1);

	if (rex != 0x40)
		emit8(e, rex);
}

/* op reg, rm: register forms of one-byte opcodes. */
static inline void emit_rr(struct emit *e, bool w, unsigned opcode, unsigned reg, unsigned rm)
{
	emit_rex(e, w, reg, 0, rm);
	emit8(e, opcode);
	emit8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void emit_mov_rr(struct emit *e, bool w, unsigned dst, unsigned src)
{
	emit_rr(e, w, 0x89, src, dst);
}

/* ModRM (and SIB, displacement) for [base + index << scale + disp]; HR_NONE for an absent one. */
#define HR_NONE 0xffu
static inline void emit_modrm_mem(struct emit *e, unsigned reg, unsigned base, unsigned index,
				  unsigned scale, int32_t disp)
{
	reg = (reg & 7) << 3;
	if (base == HR_NONE) { /* no base: SIB with base 101 and disp32 */
		emit8(e, reg | 4);
		emit8(e, scale << 6 | (index == HR_NONE ? 4 : index & 7) << 3 | 5);
		emit32(e, (uint32_t)disp);
		return;
	}
	unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp >= -128 && disp <= 127 ? 1 : 2;

	if (index != HR_NONE || (base & 7) == 4) {
		emit8(e, mod << 6 | reg | 4);
		emit8(e, scale << 6 | (index == HR_NONE ? 4 : index & 7) << 3 | (base & 7));
	} else {
		emit8(e, mod << 6 | reg | (base & 7));
	}
	if (mod == 1)
		emit8(e, (uint8_t)disp);
	else if (mod == 2)
		emit32(e, (uint32_t)disp);
}

static inline void emit_rm(struct emit *e, bool w, unsigned opcode, unsigned reg, unsigned base,
			   unsigned index, unsigned scale, int32_t disp)
{
	emit_rex(e, w, reg, index == HR_NONE ? 0 : index, base == HR_NONE ? 0 : base);
	emit8(e, opcode);
	emit_modrm_mem(e, reg, base, index, scale, disp);
}

static inline void emit_lea(struct emit *e, bool w, unsigned dst, unsigned base, unsigned index,
			    unsigned scale, int32_t disp)
{
	emit_rm(e, w, 0x8d, dst, base, index, scale, disp);
}

/* op reg, gs:[disp] and op gs:[disp], reg. */
static inline void emit_gs(struct emit *e, bool w, unsigned opcode, unsigned reg, uint32_t disp)
{
	emit8(e, 0x65);
	emit_rm(e, w, opcode, reg, HR_NONE, HR_NONE, 0, (int32_t)disp);
}

static inline void emit_load_gs(struct emit *e, bool w, unsigned reg, uint32_t disp)
{
	emit_gs(e, w, 0x8b, reg, disp);
}

static inline void emit_store_gs(struct emit *e, bool w, unsigned reg, uint32_t disp)
{
	emit_gs(e, w, 0x89, reg, disp);
}

static inline void emit_store8_gs(struct emit *e, uint32_t disp, unsigned value)
{
	emit8(e, 0x65); /* mov byte gs:[disp], value */
	emit8(e, 0xc6);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, disp);
	emit8(e, value);
}

/* op reg, gs:[base + disp] with a 32-bit displacement always. */
static inline void emit_gs_base(struct emit *e, bool w, unsigned opcode, unsigned reg,
				unsigned base, uint32_t disp)
{
	emit8(e, 0x65);
	emit_rex(e, w, reg, 0, base);
	emit8(e, opcode);
	emit8(e, 0x80 | (reg & 7) << 3 | (base & 7)); /* base is r10 or r11: no SIB needed */
	emit32(e, disp);
}

/* Group 1 (add or adc sbb and sub xor cmp: ext 0..7) with an imm32. */
static inline void emit_alu_imm(struct emit *e, bool w, unsigned ext, unsigned rm, int32_t imm)
{
	emit_rex(e, w, 0, 0, rm);
	if (imm >= -128 && imm <= 127) {
		emit8(e, 0x83);
		emit8(e, 0xc0 | ext << 3 | (rm & 7));
		emit8(e, (uint8_t)imm);
	} else {
		emit8(e, 0x81);
		emit8(e, 0xc0 | ext << 3 | (rm & 7));
		emit32(e, (uint32_t)imm);
	}
}

/* The shortest move of a constant; does not touch flags. */
static inline void emit_mov_imm(struct emit *e, unsigned dst, uint64_t v)
{
	if (v <= UINT32_MAX) {
		emit_rex(e, false, 0, 0, dst);
		emit8(e, 0xb8 | (dst & 7));
		emit32(e, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		emit_rex(e, true, 0, 0, dst);
		emit8(e, 0xc7);
		emit8(e, 0xc0 | (dst & 7));
		emit32(e, (uint32_t)v);
	} else {
		emit_rex(e, true, 0, 0, dst);
		emit8(e, 0xb8 | (dst & 7));
		emit64(e, v);
	}
}

/* Branches to a known executable address. */
static inline void emit_jmp(struct emit *e, const uint8_t *target)
{
	emit8(e, 0xe9);
	emit32(e, (uint32_t)(target - (emit_here(e) + 4)));
}

static inline void emit_call(struct emit *e, const uint8_t *target)
{
	emit8(e, 0xe8);
	emit32(e, (uint32_t)(target - (emit_here(e) + 4)));
}

/* Forward branches: emit with room for the displacement, patch when the target is known. */
static inline uint8_t *emit_jcc32(struct emit *e, unsigned cond)
{
	emit8(e, 0x0f);
	emit8(e, 0x80 | cond);
	emit32(e, 0);
	return e->p - 4;
}

static inline uint8_t *emit_jmp32(struct emit *e)
{
	emit8(e, 0xe9);
	emit32(e, 0);
	return e->p - 4;
}

static inline void emit_patch32(struct emit *e, uint8_t *at, const uint8_t *target_w)
{
	int32_t rel = (int32_t)(target_w - (at + 4));

	if (!e->full)
		__builtin_memcpy(at, &rel, 4);
}

static inline void emit_nops(struct emit *e, unsigned n)
{
	static const uint8_t nop[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};

	for (unsigned i = 0; i < n && n <= 3; i++)
		emit8(e, nop[n][i]);
}

/* Pads so that the 32-bit displacement that follows `opcode_bytes` bytes is 4-byte aligned: it can then be
 * replaced by one atomic store while another core runs it. */
static inline void emit_align_rel32(struct emit *e, unsigned opcode_bytes)
{
	emit_nops(e, (unsigned)(-((uintptr_t)e->p + opcode_bytes) & 3));
}

#define CC_O 0u
#define CC_B 2u
#define CC_AE 3u
#define CC_E 4u
#define CC_NE 5u
#define CC_BE 6u
#define CC_A 7u

#endif
