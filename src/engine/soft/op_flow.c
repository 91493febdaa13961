/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_flow.c - near jumps, calls, returns and loops. A target that is not canonical (64-bit mode) or beyond the
 * limit of CS is #GP(0) at the branch, before the stack pointer or the counter changes.
 */
#include "engine/soft/op_util.h"

static bool bad_target(const struct soft_vcpu *v, uint64_t target)
{
	if (v->mode == X86_MODE_64)
		return op_sign_extend(target, 6) != target;
	return target > v->s.seg[X86_CS].limit;
}

static uint64_t check_target(struct soft_vcpu *v, uint64_t target, unsigned size)
{
	target &= op_mask(size);
	if (unlikely(bad_target(v, target)))
		soft_raise_err(v, X86_EXC_GP, 0);
	return target;
}

static void jump_relative(struct soft_vcpu *v, const struct x86_insn *in)
{
	v->next_rip = check_target(v, v->next_rip + (uint64_t)in->imm, in->opnd_bytes);
}

static void call_to(struct soft_vcpu *v, const struct x86_insn *in, uint64_t target)
{
	unsigned size = in->opnd_bytes;

	target &= op_mask(size);
	if (unlikely(bad_target(v, target))) {
		/* The stack is looked at first (seen on Zen). */
		uint64_t sp = op_sp_add(v, v->s.gpr[X86_RSP], -(int64_t)size);

		soft_probe_write(v, soft_linear(v, X86_SS, sp, size, SOFT_WRITE), size);
		soft_raise_err(v, X86_EXC_GP, 0);
	}
	op_push(v, v->next_rip, size);
	v->next_rip = target;
}

void soft_op_jmp(struct soft_vcpu *v, const struct x86_insn *in)
{
	jump_relative(v, in);
}

void soft_op_jcc(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (op_condition(v, in->cond))
		jump_relative(v, in);
}

void soft_op_jmp_ind(struct soft_vcpu *v, const struct x86_insn *in)
{
	v->next_rip = check_target(v, op_rm_read(v, in), in->opnd_bytes);
}

void soft_op_call(struct soft_vcpu *v, const struct x86_insn *in)
{
	call_to(v, in, v->next_rip + (uint64_t)in->imm);
}

void soft_op_call_ind(struct soft_vcpu *v, const struct x86_insn *in)
{
	call_to(v, in, op_rm_read(v, in));
}

void soft_op_ret(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t sp = op_sp_add(v, v->s.gpr[X86_RSP], 0);
	uint64_t target = check_target(v, op_stack_read(v, sp, in->opnd_bytes), in->opnd_bytes);

	op_sp_set(v, op_sp_add(v, sp, in->opnd_bytes + in->imm));
	v->next_rip = target;
}

/* ---- counted: CX, ECX or RCX by address size ---- */

static void loop_if(struct soft_vcpu *v, const struct x86_insn *in, bool condition)
{
	uint64_t count = (v->s.gpr[X86_RCX] - 1) & op_mask(in->addr_bytes);

	if (count != 0 && condition)
		jump_relative(v, in);
	op_gpr_set(v, X86_RCX, count, in->addr_bytes);
}

void soft_op_loop(struct soft_vcpu *v, const struct x86_insn *in)
{
	loop_if(v, in, true);
}

void soft_op_loope(struct soft_vcpu *v, const struct x86_insn *in)
{
	loop_if(v, in, v->s.rflags & X86_ZF);
}

void soft_op_loopne(struct soft_vcpu *v, const struct x86_insn *in)
{
	loop_if(v, in, !(v->s.rflags & X86_ZF));
}

void soft_op_jcxz(struct soft_vcpu *v, const struct x86_insn *in)
{
	if ((v->s.gpr[X86_RCX] & op_mask(in->addr_bytes)) == 0)
		jump_relative(v, in);
}
