/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_shift.c - shifts and rotates. The host masks the count and leaves the flags alone for a count of zero,
 * as the guest's processor does (SDM vol. 2, "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR").
 */
#include "engine/soft/op_util.h"

HOST_SHIFT(rol, rol)
HOST_SHIFT(ror, ror)
HOST_SHIFT(rcl, rcl)
HOST_SHIFT(rcr, rcr)
HOST_SHIFT(shl, shl)
HOST_SHIFT(shr, shr)
HOST_SHIFT(sar, sar)
HOST_DOUBLE(shld, shld)
HOST_DOUBLE(shrd, shrd)

/* By an immediate, by one, or (D2, D3) by CL. */
static inline uint64_t shift_count(const struct soft_vcpu *v, const struct x86_insn *in)
{
	return (in->opcode & 0xfe) == 0xd2 ? v->s.gpr[X86_RCX] & 0xff : (uint64_t)in->imm;
}

#define SHIFT_OP(name)                                                      \
	void soft_op_##name(struct soft_vcpu *v, const struct x86_insn *in) \
	{                                                                   \
		op_rmw(v, in, host_##name, shift_count(v, in), 0, false);   \
	}

SHIFT_OP(rol)
SHIFT_OP(ror)
SHIFT_OP(rcl)
SHIFT_OP(rcr)
SHIFT_OP(shl)
SHIFT_OP(shr)
SHIFT_OP(sar)

#define DOUBLE_OP(name)                                                                        \
	void soft_op_##name(struct soft_vcpu *v, const struct x86_insn *in)                    \
	{                                                                                      \
		uint64_t count = in->imm_bytes ? (uint64_t)in->imm : v->s.gpr[X86_RCX] & 0xff; \
		op_rmw(v, in, host_##name, v->s.gpr[in->reg], count, false);                   \
	}

DOUBLE_OP(shld)
DOUBLE_OP(shrd)
