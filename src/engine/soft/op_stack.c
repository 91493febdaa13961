/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_stack.c - PUSH, POP, PUSHA, POPA, ENTER, LEAVE. The operand size says how much moves, the stack segment
 * (64-bit mode: 64 bits) how wide the stack pointer is. RSP is committed after the last access.
 */
#include "engine/soft/op_util.h"

void soft_op_push(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value;

	if (in->opreg != 0xff)
		value = v->s.gpr[in->opreg];
	else if (in->imm_bytes)
		value = (uint64_t)in->imm;
	else
		value = op_rm_read(v, in);
	op_push(v, value, in->opnd_bytes);
}

void soft_op_pop(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	uint64_t old = v->s.gpr[X86_RSP];
	uint64_t value = op_stack_read(v, op_sp_add(v, old, 0), size);
	uint64_t sp = op_sp_add(v, old, size);

	if (in->has_mem) {
		/* An address that uses RSP sees it incremented. */
		op_sp_set(v, sp);
		uint64_t ea = soft_ea(v, in);
		v->s.gpr[X86_RSP] = old;
		soft_write(v, soft_linear(v, in->seg, ea, size, SOFT_WRITE), value, size);
		op_sp_set(v, sp);
	} else {
		op_sp_set(v, sp);
		op_gpr_set(v, in->opreg != 0xff ? in->opreg : in->rm, value, size);
	}
}

void soft_op_pusha(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	uint64_t sp = v->s.gpr[X86_RSP];

	for (unsigned reg = X86_RAX; reg <= X86_RDI; reg++) {
		sp = op_sp_add(v, sp, -(int64_t)size);
		op_stack_write(v, sp, v->s.gpr[reg], size);
	}
	op_sp_set(v, sp);
}

/* A fault on the way leaves registers that were already loaded (seen on Zen); only RSP says that it was not done. */
void soft_op_popa(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	uint64_t sp = op_sp_add(v, v->s.gpr[X86_RSP], 0);

	for (unsigned i = 0; i < 8; i++) {
		unsigned reg = X86_RDI - i;
		uint64_t value = op_stack_read(v, sp, size);

		if (reg != X86_RSP)
			op_gpr_set(v, reg, value, size);
		sp = op_sp_add(v, sp, size);
	}
	op_sp_set(v, sp);
}

void soft_op_enter(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes, level = in->imm2 & 31;
	uint64_t sp = op_sp_add(v, v->s.gpr[X86_RSP], -(int64_t)size);
	uint64_t bp = op_sp_add(v, v->s.gpr[X86_RBP], 0);
	uint64_t frame = sp;

	op_stack_write(v, sp, v->s.gpr[X86_RBP], size);
	if (level > 0) {
		for (unsigned i = 1; i < level; i++) {
			bp = op_sp_add(v, bp, -(int64_t)size);
			uint64_t link = op_stack_read(v, bp, size);
			sp = op_sp_add(v, sp, -(int64_t)size);
			op_stack_write(v, sp, link, size);
		}
		sp = op_sp_add(v, sp, -(int64_t)size);
		op_stack_write(v, sp, frame, size);
	}
	sp = op_sp_add(v, sp, -in->imm);
	/* A page fault comes now if the new top of the stack cannot be written (SDM vol. 2, "ENTER"). */
	soft_probe_write(v, soft_linear(v, X86_SS, sp, size, SOFT_WRITE), size);
	op_gpr_set(v, X86_RBP, frame, size);
	op_sp_set(v, sp);
}

void soft_op_leave(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	uint64_t sp = op_sp_add(v, v->s.gpr[X86_RBP], 0);
	uint64_t value = op_stack_read(v, sp, size);

	op_sp_set(v, op_sp_add(v, sp, size));
	op_gpr_set(v, X86_RBP, value, size);
}
