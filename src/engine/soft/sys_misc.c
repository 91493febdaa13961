/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_misc.c - the remaining system instructions: flags and interrupts, CPUID, time stamps, MSRs, FS and GS
 * bases, hypercalls; and the operand helpers that all system instructions share.
 */
#include "engine/soft/sys.h"

/* ---- Operands ---- */

_Noreturn void sys_gp0(struct soft_vcpu *v)
{
	soft_raise_err(v, X86_EXC_GP, 0);
}

void sys_need_cpl0(struct soft_vcpu *v)
{
	if (v->cpl != 0)
		sys_gp0(v);
}

void sys_write_gpr(struct soft_vcpu *v, unsigned reg, uint64_t value, unsigned size)
{
	uint64_t *r = &v->s.gpr[reg & 15];

	if (size == 8)
		*r = value;
	else if (size == 4)
		*r = value & 0xffffffffu;
	else
		*r = (*r & ~UINT64_C(0xffff)) | (value & 0xffff);
}

uint64_t sys_read_mem(struct soft_vcpu *v, const struct x86_insn *in, unsigned off, unsigned size)
{
	uint64_t ea = soft_ea(v, in) + off;

	return soft_read(v, soft_linear(v, in->seg, sys_cut(ea, in->addr_bytes), size, SOFT_READ),
			 size);
}

void sys_write_mem(struct soft_vcpu *v, const struct x86_insn *in, unsigned off, uint64_t value,
		   unsigned size)
{
	uint64_t ea = soft_ea(v, in) + off;

	soft_write(v, soft_linear(v, in->seg, sys_cut(ea, in->addr_bytes), size, SOFT_WRITE), value,
		   size);
}

uint64_t sys_read_rm(struct soft_vcpu *v, const struct x86_insn *in, unsigned size)
{
	if (in->has_mem)
		return sys_read_mem(v, in, 0, size);
	return sys_cut(v->s.gpr[in->rm & 15], size);
}

void sys_write_rm(struct soft_vcpu *v, const struct x86_insn *in, uint64_t value, unsigned size)
{
	if (in->has_mem)
		sys_write_mem(v, in, 0, value, size);
	else
		sys_write_gpr(v, in->rm, value, size);
}

/* ---- Flags and interrupts ---- */

void soft_op_sys_hlt(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_need_cpl0(v);
	v->s.ev.halted = true;
}

void soft_op_sys_cli(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	if (v->cpl > sys_iopl(v))
		sys_gp0(v);
	v->s.rflags &= ~(uint64_t)X86_IF;
}

void soft_op_sys_sti(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	if (v->cpl > sys_iopl(v))
		sys_gp0(v);
	if (!(v->s.rflags & X86_IF)) {
		v->s.rflags |= X86_IF;
		v->s.ev.sti_shadow = true;
	}
}

static void set_ac(struct soft_vcpu *v, bool on)
{
	if (!(v->soft->cpuid.cr4_valid & X86_CR4_SMAP) || v->cpl != 0)
		soft_raise(v, X86_EXC_UD);
	v->s.rflags = on ? v->s.rflags | X86_AC : v->s.rflags & ~(uint64_t)X86_AC;
	soft_mode_changed(v);
}

void soft_op_sys_clac(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	set_ac(v, false);
}

void soft_op_sys_stac(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	set_ac(v, true);
}

void soft_op_sys_pushf(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct sys_stack st;

	sys_stack_current(v, &st, 0);
	sys_stack_push(v, &st, v->s.rflags & ~(uint64_t)(X86_VM | X86_RF), in->opnd_bytes);
	sys_stack_commit(v, &st);
}

void soft_op_sys_popf(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t mask = X86_STATUS_FLAGS | X86_TF | X86_DF | X86_NT, flags;
	struct sys_stack st;

	sys_stack_current(v, &st, 0);
	flags = sys_stack_pop(v, &st, in->opnd_bytes);
	sys_stack_commit(v, &st);
	if (in->opnd_bytes > 2)
		mask |= X86_AC | X86_ID;
	if (v->cpl <= sys_iopl(v))
		mask |= X86_IF;
	if (v->cpl == 0)
		mask |= X86_IOPL;
	v->s.rflags = (v->s.rflags & ~(mask | X86_RF)) | (flags & mask) | X86_F1;
	soft_mode_changed(v);
}

/* ---- Identification, time, MSRs ---- */

void soft_op_sys_cpuid(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint32_t leaf = (uint32_t)v->s.gpr[X86_RAX], a, b, c, d;

	(void)in;
	cpuid_get(&v->soft->cpuid, leaf, (uint32_t)v->s.gpr[X86_RCX], v->index, &a, &b, &c, &d);
	/* The APIC feature shows whether IA32_APIC_BASE enables it (SDM vol. 3 §10.4.3). */
	if ((leaf == 1 || leaf == 0x80000001) && !(v->s.msr.apic_base & BIT(11)))
		d &= ~(uint32_t)BIT(9);
	if (leaf == 1 && (v->s.cr4 & X86_CR4_OSXSAVE))
		c |= (uint32_t)BIT(27);
	/* Sizes of the area for what XCR0 enables now (SDM vol. 1 §13.2). */
	if (leaf == 0xd && a && (uint32_t)v->s.gpr[X86_RCX] <= 1)
		b = v->s.xcr0 & X86_XCR0_AVX ? X86_FX_SIZE : X86_FX_YMM_HI;
	v->s.gpr[X86_RAX] = a;
	v->s.gpr[X86_RBX] = b;
	v->s.gpr[X86_RCX] = c;
	v->s.gpr[X86_RDX] = d;
}

static void set_edx_eax(struct soft_vcpu *v, uint64_t value)
{
	v->s.gpr[X86_RAX] = value & 0xffffffffu;
	v->s.gpr[X86_RDX] = value >> 32;
}

static void read_tsc(struct soft_vcpu *v)
{
	if ((v->s.cr4 & X86_CR4_TSD) && v->cpl != 0)
		sys_gp0(v);
	set_edx_eax(v, soft_guest_tsc(v));
}

void soft_op_sys_rdtsc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	read_tsc(v);
}

void soft_op_sys_rdtscp(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	if (!v->soft->cpuid.rdtscp)
		soft_raise(v, X86_EXC_UD);
	read_tsc(v);
	v->s.gpr[X86_RCX] = v->s.msr.tsc_aux & 0xffffffffu;
}

void soft_op_sys_rdpid(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (!v->soft->cpuid.rdpid)
		soft_raise(v, X86_EXC_UD);
	v->s.gpr[in->rm & 15] = v->s.msr.tsc_aux;
}

/* There is no performance monitoring unit. */
void soft_op_sys_rdpmc(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_gp0(v);
}

void soft_op_sys_rdmsr(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value = 0;

	(void)in;
	sys_need_cpl0(v);
	if (!soft_rdmsr(v, (uint32_t)v->s.gpr[X86_RCX], &value))
		sys_gp0(v);
	set_edx_eax(v, value);
}

void soft_op_sys_wrmsr(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value = (v->s.gpr[X86_RAX] & 0xffffffffu) | v->s.gpr[X86_RDX] << 32;

	(void)in;
	sys_need_cpl0(v);
	if (!soft_wrmsr(v, (uint32_t)v->s.gpr[X86_RCX], value))
		sys_gp0(v);
}

/* ---- FS and GS bases ---- */

static void need_fsgsbase(struct soft_vcpu *v)
{
	if (v->mode != X86_MODE_64 || !(v->s.cr4 & X86_CR4_FSGSBASE))
		soft_raise(v, X86_EXC_UD);
}

static void read_base(struct soft_vcpu *v, const struct x86_insn *in, unsigned sreg)
{
	need_fsgsbase(v);
	sys_write_gpr(v, in->rm, v->s.seg[sreg].base, in->opnd_bytes);
}

static void write_base(struct soft_vcpu *v, const struct x86_insn *in, unsigned sreg)
{
	uint64_t base = sys_cut(v->s.gpr[in->rm & 15], in->opnd_bytes);

	need_fsgsbase(v);
	if (!mmu_canonical(base))
		sys_gp0(v);
	v->s.seg[sreg].base = base;
}

void soft_op_sys_rdfsbase(struct soft_vcpu *v, const struct x86_insn *in)
{
	read_base(v, in, X86_FS);
}

void soft_op_sys_rdgsbase(struct soft_vcpu *v, const struct x86_insn *in)
{
	read_base(v, in, X86_GS);
}

void soft_op_sys_wrfsbase(struct soft_vcpu *v, const struct x86_insn *in)
{
	write_base(v, in, X86_FS);
}

void soft_op_sys_wrgsbase(struct soft_vcpu *v, const struct x86_insn *in)
{
	write_base(v, in, X86_GS);
}

/* ---- Instructions that this processor does not have ---- */

void soft_op_sys_monitor(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	soft_raise(v, X86_EXC_UD);
}

void soft_op_sys_mwait(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	soft_raise(v, X86_EXC_UD);
}

/* CR4.OSXSAVE cannot be set. */
void soft_op_sys_rsm(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	soft_raise(v, X86_EXC_UD);
}

/* ---- Hypercalls, KVM's convention ---- */

#define HYPERCALL_EPERM 1

static void hypercall(struct soft_vcpu *v)
{
	unsigned size = v->mode == X86_MODE_64 ? 8 : 4;
	int64_t r = -HYPERCALL_EPERM;

	if (v->cpl == 0)
		r = soft_pv_hypercall(v, sys_cut(v->s.gpr[X86_RAX], size),
				      sys_cut(v->s.gpr[X86_RCX], size));
	sys_write_gpr(v, X86_RAX, (uint64_t)r, v->mode == X86_MODE_64 ? 8 : 4);
}

void soft_op_sys_vmcall(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	hypercall(v);
}

void soft_op_sys_vmmcall(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	hypercall(v);
}
