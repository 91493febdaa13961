/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_misc.c - flag instructions, BOUND, fences, hints, random numbers.
 */
#include "engine/soft/op_util.h"

void soft_op_lahf(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t ah = (v->s.rflags & 0xd5) | X86_F1;

	(void)in;
	v->s.gpr[X86_RAX] = (v->s.gpr[X86_RAX] & ~UINT64_C(0xff00)) | ah << 8;
}

void soft_op_sahf(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	op_set_flags(v, 0xd5, v->s.gpr[X86_RAX] >> 8);
}

void soft_op_salc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	op_gpr_set(v, X86_RAX, v->s.rflags & X86_CF ? 0xff : 0, 1);
}

void soft_op_clc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	v->s.rflags &= ~(uint64_t)X86_CF;
}

void soft_op_stc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	v->s.rflags |= X86_CF;
}

void soft_op_cmc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	v->s.rflags ^= X86_CF;
}

void soft_op_cld(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	v->s.rflags &= ~(uint64_t)X86_DF;
}

void soft_op_std(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	v->s.rflags |= X86_DF;
}

/* Signed index between two signed bounds in memory, or #BR. */
void soft_op_bound(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	uint64_t la = op_linear(v, in, 2 * size, SOFT_READ);
	int64_t lower = (int64_t)op_sign_extend(soft_read(v, la, size), size), upper;
	int64_t index = (int64_t)op_sign_extend(v->s.gpr[in->reg], size);

	/* Below the lower bound Intel's processors do not read the upper one, which may fault (seen on a Xeon). */
	if (index < lower && soft_intel(v->soft))
		soft_raise(v, X86_EXC_BR);
	upper = (int64_t)op_sign_extend(soft_read(v, (uint32_t)(la + size), size), size);
	if (index < lower || index > upper)
		soft_raise(v, X86_EXC_BR);
}

/* ---- hints and fences ---- */

void soft_op_nop(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
}

void soft_op_prefetch(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
}

void soft_op_pause(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	soft_pause(v);
}

void soft_op_lfence(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
	__asm__ volatile("lfence" : : : "memory");
}

void soft_op_sfence(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
	__asm__ volatile("sfence" : : : "memory");
}

void soft_op_mfence(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)v;
	(void)in;
	__asm__ volatile("mfence" : : : "memory");
}

/* Memory is coherent: only the faults of a load are left. MMIO is not touched. */
void soft_op_clflush(struct soft_vcpu *v, const struct x86_insn *in)
{
	soft_ptr(v, op_linear(v, in, 1, SOFT_READ), 1, SOFT_READ);
}

/* ---- random numbers: the host's, if the guest was told of them ---- */

/* #UD unless CPUID(leaf, 0) offers the bit of the register. */
static void need_feature(struct soft_vcpu *v, uint32_t leaf, enum cpuid_reg reg, unsigned bit)
{
	uint32_t r[4];

	cpuid_get(&v->soft->cpuid, leaf, 0, 0, &r[CPUID_EAX], &r[CPUID_EBX], &r[CPUID_ECX],
		  &r[CPUID_EDX]);
	if (!(r[reg] >> bit & 1))
		soft_raise(v, X86_EXC_UD);
}

static void random_done(struct soft_vcpu *v, const struct x86_insn *in, uint64_t value, bool ok)
{
	op_reg_set(v, in, in->rm, ok ? value : 0, in->rm_bytes);
	op_set_flags(v, X86_STATUS_FLAGS, ok ? X86_CF : 0);
}

void soft_op_rdrand(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool ok;

	need_feature(v, 1, CPUID_ECX, 30);
	uint64_t value = soft_random(v, false, &ok);

	random_done(v, in, value, ok);
}

void soft_op_rdseed(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool ok;

	need_feature(v, 7, CPUID_EBX, 18);
	uint64_t value = soft_random(v, true, &ok);

	random_done(v, in, value, ok);
}
