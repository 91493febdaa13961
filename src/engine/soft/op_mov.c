/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_mov.c - moves, exchanges and conversions.
 */
#include "engine/soft/op_util.h"

/* Immediate to register, immediate to ModRM.rm, or between register and ModRM.rm (or moffs). */
void soft_op_mov(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (in->opreg != 0xff)
		op_reg_set(v, in, in->opreg, (uint64_t)in->imm, in->opnd_bytes);
	else if (in->reg == 0xff)
		op_rm_write(v, in, (uint64_t)in->imm);
	else if (in->reg_acc & X86_ACC_W)
		op_reg_set(v, in, in->reg, op_rm_read(v, in), in->reg_bytes);
	else
		op_rm_write(v, in, op_reg(v, in, in->reg, in->reg_bytes));
}

void soft_op_movnti(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_rm_write(v, in, op_reg(v, in, in->reg, in->reg_bytes));
}

void soft_op_movzx(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_reg_set(v, in, in->reg, op_rm_read(v, in), in->reg_bytes);
}

void soft_op_movsx(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_reg_set(v, in, in->reg, op_sign_extend(op_rm_read(v, in), in->rm_bytes), in->reg_bytes);
}

void soft_op_movsxd(struct soft_vcpu *v, const struct x86_insn *in)
{
	soft_op_movsx(v, in);
}

static uint64_t byte_swap(uint64_t value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

void soft_op_movbe(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (!v->soft->cpuid.movbe)
		soft_raise(v, X86_EXC_UD);
	if (in->reg_acc & X86_ACC_W)
		op_reg_set(v, in, in->reg, byte_swap(op_rm_read(v, in), in->rm_bytes),
			   in->reg_bytes);
	else
		op_rm_write(v, in, byte_swap(op_reg(v, in, in->reg, in->reg_bytes), in->rm_bytes));
}

void soft_op_lea(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_reg_set(v, in, in->reg, soft_ea(v, in), in->reg_bytes);
}

void soft_op_cmov(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t src = op_rm_read(v, in); /* also when it is not moved */

	/* A 32-bit destination is cleared above in both cases. */
	op_reg_set(v, in, in->reg, op_condition(v, in->cond) ? src : v->s.gpr[in->reg],
		   in->reg_bytes);
}

void soft_op_setcc(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_rm_write(v, in, op_condition(v, in->cond));
}

/* ---- exchanges: with memory always locked ---- */

op_inline uint64_t take_b(uint64_t a, uint64_t b, uint64_t c, unsigned size, uint64_t *flags)
{
	(void)a;
	(void)c;
	(void)size;
	(void)flags;
	return b;
}

void soft_op_xchg(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (in->opreg != 0xff) {
		uint64_t a = v->s.gpr[X86_RAX], b = v->s.gpr[in->opreg];

		op_gpr_set(v, X86_RAX, b, in->opnd_bytes);
		op_gpr_set(v, in->opreg, a, in->opnd_bytes);
		return;
	}
	uint64_t b = op_reg(v, in, in->reg, in->reg_bytes);
	uint64_t old = op_rmw(v, in, take_b, b, 0, true);
	op_reg_set(v, in, in->reg, old, in->reg_bytes);
}

void soft_op_xadd(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t b = op_reg(v, in, in->reg, in->reg_bytes);

	if (in->has_mem) {
		uint64_t old = op_rmw(v, in, host_add, b, 0, in->lock);

		op_reg_set(v, in, in->reg, old, in->reg_bytes);
	} else { /* the register operand is loaded first: of two the same, the sum stays */
		uint64_t a = op_reg(v, in, in->rm, in->rm_bytes);

		op_reg_set(v, in, in->reg, a, in->reg_bytes);
		op_reg_set(v, in, in->rm, host_add(a, b, 0, in->rm_bytes, &v->s.rflags),
			   in->rm_bytes);
	}
}

/* The new value of the destination; c is the accumulator. Flags as CMP accumulator, destination. */
op_inline uint64_t compare_exchange(uint64_t a, uint64_t b, uint64_t c, unsigned size,
				    uint64_t *flags)
{
	host_sub(c, a, 0, size, flags);
	return *flags & X86_ZF ? b : a;
}

void soft_op_cmpxchg(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->rm_bytes;
	uint64_t b = op_reg(v, in, in->reg, size);
	uint64_t acc = v->s.gpr[X86_RAX] & op_mask(size);

	if (in->has_mem) {
		uint64_t old = op_rmw(v, in, compare_exchange, b, acc, in->lock);

		if (!(v->s.rflags & X86_ZF))
			op_gpr_set(v, X86_RAX, old, size);
		return;
	}
	uint64_t a = op_reg(v, in, in->rm, size);
	host_sub(acc, a, 0, size, &v->s.rflags);
	if (v->s.rflags & X86_ZF)
		op_reg_set(v, in, in->rm, b, size);
	else
		op_gpr_set(v, X86_RAX, a, size);
}

/* ---- CMPXCHG8B, CMPXCHG16B ---- */

struct pair {
	uint64_t lo, hi;
};

/* The slow way: no host address for the whole operand. */
static struct pair exchange_pair_slow(struct soft_vcpu *v, uint64_t la, unsigned half,
				      struct pair want, struct pair value)
{
	struct pair old;

	soft_probe_write(v, la, 2 * half);
	op_slow_lock();
	old.lo = soft_read(v, la, half);
	old.hi = soft_read(v, la + half, half);
	bool equal = old.lo == want.lo && old.hi == want.hi;
	soft_write(v, la, equal ? value.lo : old.lo, half);
	soft_write(v, la + half, equal ? value.hi : old.hi, half);
	op_slow_unlock();
	return old;
}

static void exchange_pair(struct soft_vcpu *v, const struct x86_insn *in, unsigned half)
{
	bool based = v->mode != X86_MODE_64 || in->seg >= X86_FS;
	uint64_t mask = op_mask(half);
	struct pair want = {v->s.gpr[X86_RAX] & mask, v->s.gpr[X86_RDX] & mask};
	struct pair value = {v->s.gpr[X86_RBX] & mask, v->s.gpr[X86_RCX] & mask};
	struct pair old = want;

	/* Alignment comes first, then the canonical form, which may be #SS. */
	if (half == 8 && ((soft_ea(v, in) + (based ? v->s.seg[in->seg].base : 0)) & 15))
		soft_raise_err(v, X86_EXC_GP, 0);
	uint64_t la = op_linear(v, in, 2 * half, SOFT_WRITE);
	void *p = soft_ptr(v, la, 2 * half, SOFT_WRITE);
	if (p == NULL) {
		old = exchange_pair_slow(v, la, half, want, value);
	} else if (half == 8) {
		__asm__ volatile("lock cmpxchg16b (%[p])"
				 : "+a"(old.lo), "+d"(old.hi)
				 : [p] "r"(p), "b"(value.lo), "c"(value.hi)
				 : "cc", "memory");
		soft_wrote(v, la, 16);
	} else {
		__asm__ volatile("lock cmpxchg8b (%[p])"
				 : "+a"(old.lo), "+d"(old.hi)
				 : [p] "r"(p), "b"(value.lo), "c"(value.hi)
				 : "cc", "memory");
		old.lo &= mask;
		old.hi &= mask;
		soft_wrote(v, la, 8);
	}
	bool equal = old.lo == want.lo && old.hi == want.hi;
	if (!equal) {
		op_gpr_set(v, X86_RAX, old.lo, half);
		op_gpr_set(v, X86_RDX, old.hi, half);
	}
	op_set_flags(v, X86_ZF, equal ? X86_ZF : 0);
}

void soft_op_cmpxchg8b(struct soft_vcpu *v, const struct x86_insn *in)
{
	exchange_pair(v, in, 4);
}

void soft_op_cmpxchg16b(struct soft_vcpu *v, const struct x86_insn *in)
{
	exchange_pair(v, in, 8);
}

/* ---- the accumulator ---- */

/* CBW, CWDE, CDQE */
void soft_op_cbw(struct soft_vcpu *v, const struct x86_insn *in)
{
	op_gpr_set(v, X86_RAX, op_sign_extend(v->s.gpr[X86_RAX], in->opnd_bytes / 2),
		   in->opnd_bytes);
}

/* CWD, CDQ, CQO */
void soft_op_cwd(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool negative = (v->s.gpr[X86_RAX] >> (8 * in->opnd_bytes - 1)) & 1;

	op_gpr_set(v, X86_RDX, negative ? ~UINT64_C(0) : 0, in->opnd_bytes);
}

void soft_op_xlat(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t ea = (v->s.gpr[X86_RBX] + (v->s.gpr[X86_RAX] & 0xff)) & op_mask(in->addr_bytes);

	op_gpr_set(v, X86_RAX, soft_read(v, soft_linear(v, in->seg, ea, 1, SOFT_READ), 1), 1);
}
