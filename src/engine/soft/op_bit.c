/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_bit.c - bit tests, scans and counts; CRC32; BSWAP.
 */
#include "engine/soft/op_util.h"

HOST_BINARY_WLQ(bt, bt)
HOST_BINARY_WLQ(bts, bts)
HOST_BINARY_WLQ(btr, btr)
HOST_BINARY_WLQ(btc, btc)
HOST_BINARY_WLQ(bsf, bsf)
HOST_BINARY_WLQ(bsr, bsr)
HOST_BINARY_WLQ(tzcnt, tzcnt)
HOST_BINARY_WLQ(lzcnt, lzcnt)

/*
 * The bit offset in a register reaches beyond the memory operand: it moves the address by whole operands,
 * signed (SDM vol. 2, "BT"). Gives the instruction with the address that is meant.
 */
static void bit_address(const struct soft_vcpu *v, const struct x86_insn *in, struct x86_insn *moved)
{
	unsigned size = in->rm_bytes;
	int64_t offset = (int64_t)op_sign_extend(v->s.gpr[in->reg], size);

	*moved = *in;
	moved->disp += (offset >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size;
}

op_inline void bit_op(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc, bool store)
{
	unsigned size = in->rm_bytes;
	uint64_t bit = (in->imm_bytes ? (uint64_t)in->imm : v->s.gpr[in->reg]) & (8 * size - 1);
	struct x86_insn moved;

	if (in->attr & X86_A_BITOFF) {
		bit_address(v, in, &moved);
		in = &moved;
	}
	if (store)
		op_rmw(v, in, calc, bit, 0, in->lock);
	else
		calc(op_rm_read(v, in), bit, 0, size, &v->s.rflags);
}

void soft_op_bt(struct soft_vcpu *v, const struct x86_insn *in)
{
	bit_op(v, in, host_bt, false);
}

void soft_op_bts(struct soft_vcpu *v, const struct x86_insn *in)
{
	bit_op(v, in, host_bts, true);
}

void soft_op_btr(struct soft_vcpu *v, const struct x86_insn *in)
{
	bit_op(v, in, host_btr, true);
}

void soft_op_btc(struct soft_vcpu *v, const struct x86_insn *in)
{
	bit_op(v, in, host_btc, true);
}

/* A source of zero leaves the whole destination as it was. */
op_inline void scan(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc)
{
	uint64_t src = op_rm_read(v, in);
	uint64_t result = calc(v->s.gpr[in->reg], src, 0, in->rm_bytes, &v->s.rflags);

	if (src != 0)
		op_reg_set(v, in, in->reg, result, in->reg_bytes);
}

void soft_op_bsf(struct soft_vcpu *v, const struct x86_insn *in)
{
	scan(v, in, host_bsf);
}

void soft_op_bsr(struct soft_vcpu *v, const struct x86_insn *in)
{
	scan(v, in, host_bsr);
}

/* What the host's instruction, or the one that it takes this for, does to undefined flags. */
op_inline void count_done(struct soft_vcpu *v, const struct x86_insn *in, uint64_t src,
			  uint64_t result, op_calc host)
{
	(void)host(0, src, 0, in->rm_bytes, &v->s.rflags);
	op_reg_set(v, in, in->reg, result, in->reg_bytes);
	op_set_flags(v, X86_CF | X86_ZF, (src == 0 ? X86_CF : 0) | (result == 0 ? X86_ZF : 0));
}

void soft_op_tzcnt(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (!v->soft->cpuid.tzcnt) { /* F3 counts for nothing */
		soft_op_bsf(v, in);
		return;
	}
	uint64_t src = op_rm_read(v, in);

	count_done(v, in, src, src ? (uint64_t)__builtin_ctzll(src) : in->rm_bytes * 8u, host_tzcnt);
}

void soft_op_lzcnt(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (!v->soft->cpuid.lzcnt) {
		soft_op_bsr(v, in);
		return;
	}
	uint64_t src = op_rm_read(v, in);
	unsigned bits = in->rm_bytes * 8u;

	count_done(v, in, src, src ? (uint64_t)__builtin_clzll(src) - (64 - bits) : bits,
		   host_lzcnt);
}

void soft_op_popcnt(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t n = op_rm_read(v, in);
	uint64_t zero = n == 0 ? X86_ZF : 0;

	n -= (n >> 1) & UINT64_C(0x5555555555555555);
	n = (n & UINT64_C(0x3333333333333333)) + ((n >> 2) & UINT64_C(0x3333333333333333));
	n = (n + (n >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	op_reg_set(v, in, in->reg, (n * UINT64_C(0x0101010101010101)) >> 56, in->reg_bytes);
	op_set_flags(v, X86_STATUS_FLAGS, zero);
}

/* Polynomial 0x11edc6f41, bit-reflected. */
void soft_op_crc32(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t src = op_rm_read(v, in);
	uint32_t crc = (uint32_t)v->s.gpr[in->reg];

	for (unsigned i = 0; i < in->rm_bytes; i++, src >>= 8) {
		crc ^= src & 0xff;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	v->s.gpr[in->reg] = crc;
}

/* The 16-bit form is undefined: processors give zero in the low half. */
void soft_op_bswap(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value = v->s.gpr[in->opreg];

	if (in->opnd_bytes == 8)
		v->s.gpr[in->opreg] = __builtin_bswap64(value);
	else if (in->opnd_bytes == 4)
		v->s.gpr[in->opreg] = __builtin_bswap32((uint32_t)value);
	else
		op_gpr_set(v, in->opreg, 0, 2);
}
