/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.c - RDMSR and WRMSR (SDM vol. 4; AMD APM vol. 2 appendix A; KVM's paravirtual MSRs).
 *
 * Theory of operation. There are the architectural MSRs of the features that CPUID shows; the few of each
 * vendor that operating systems read without asking CPUID, which read as on a processor where firmware has
 * left nothing to do and ignore writes; and kvmclock's. Any other number gets #GP. APIC registers belong to
 * the board and go through the host table.
 */
#include "engine/soft/sys.h"
#include "x86/msr.h"

#define MSR_TSC 0x10u
#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_ADJUST 0x3bu
#define MSR_SPEC_CTRL 0x48u
#define MSR_VIRT_SPEC_CTRL 0xc001011fu
#define MSR_PRED_CMD 0x49u
#define MSR_MTRR_CAP 0xfeu
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_MCG_CAP 0x179u
#define MSR_MCG_STATUS 0x17au
#define MSR_MISC_ENABLE 0x1a0u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_MTRR_VAR 0x200u
#define MSR_MTRR_FIX64K 0x250u
#define MSR_MTRR_FIX16K 0x258u /* and 0x259 */
#define MSR_MTRR_FIX4K 0x268u  /* to 0x26f */
#define MSR_PAT 0x277u
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST 0x8ffu
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_KVM_WALL_CLOCK 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define MSR_KVM_STEAL_TIME 0x4b564d03u
#define MSR_KVM_PV_EOI 0x4b564d04u

/* RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO PSDP_NO
 * BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO: nothing for the guest to work around. */
#define ARCH_CAPABILITIES                                                                   \
	(BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | \
	 BIT(15) | BIT(20) | BIT(24) | BIT(26) | BIT(27) | BIT(62))
#define SPEC_CTRL_VALID (BIT(0) | BIT(1) | BIT(2)) /* IBRS STIBP SSBD */
#define VIRT_SPEC_CTRL_SSBD BIT(2)
#define MTRR_CAP (X86_MTRR_VAR | BIT(8) | BIT(10)) /* fixed ranges, write combining */
#define MTRR_DEF_VALID UINT64_C(0xcff)

/* ---- Memory types ---- */

static bool memory_type_ok(unsigned type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool types_ok(uint64_t eight, bool pat)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = eight >> (8 * i) & 0xff;

		if (!memory_type_ok(type) && !(pat && type == 7))
			return false;
	}
	return true;
}

/* Where a fixed-range MTRR is kept, or NULL. */
static uint64_t *fixed_mtrr(struct soft_vcpu *v, uint32_t msr)
{
	uint64_t *fixed = v->s.msr.mtrr_fixed;

	if (msr == MSR_MTRR_FIX64K)
		return &fixed[0];
	if (msr == MSR_MTRR_FIX16K || msr == MSR_MTRR_FIX16K + 1)
		return &fixed[1 + msr - MSR_MTRR_FIX16K];
	if (msr >= MSR_MTRR_FIX4K && msr < MSR_MTRR_FIX4K + 8)
		return &fixed[3 + msr - MSR_MTRR_FIX4K];
	return NULL;
}

static uint64_t *variable_mtrr(struct soft_vcpu *v, uint32_t msr)
{
	unsigned n = msr - MSR_MTRR_VAR;

	if (n >= 2 * X86_MTRR_VAR)
		return NULL;
	return n & 1 ? &v->s.msr.mtrr_mask[n / 2] : &v->s.msr.mtrr_base[n / 2];
}

static bool write_variable_mtrr(struct soft_vcpu *v, uint64_t *reg, uint32_t msr, uint64_t value)
{
	uint64_t valid = (BIT(v->soft->cpuid.phys_bits) - 1) & ~UINT64_C(0xfff);

	valid |= msr & 1 ? 0x800 : 0xff;
	if ((value & ~valid) || (!(msr & 1) && !memory_type_ok(value & 0xff)))
		return false;
	*reg = value;
	return true;
}

/* ---- APIC and time ---- */

static bool is_apic_msr(uint32_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
	       (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static bool write_apic(struct soft_vcpu *v, uint32_t msr, uint64_t value)
{
	if (soft_apic_msr(v, msr, &value, true))
		return false;
	if (msr == MSR_APIC_BASE)
		v->s.msr.apic_base = value;
	else if (msr == MSR_TSC_DEADLINE)
		v->s.msr.tsc_deadline = value;
	return true;
}

static void move_tsc(struct soft_vcpu *v, uint64_t delta)
{
	v->s.msr.tsc_offset += delta;
	v->s.msr.tsc_adjust += delta;
	soft_pvclock_update(v);
}

/* ---- EFER ---- */

static bool write_efer(struct soft_vcpu *v, uint64_t value)
{
	struct x86_state *s = &v->s;
	uint64_t old = s->msr.efer;

	if (value & ~(v->soft->cpuid.efer_valid | X86_EFER_LMA))
		return false;
	if (((old ^ value) & X86_EFER_LME) && (s->cr0 & X86_CR0_PG))
		return false;
	value = (value & ~(uint64_t)X86_EFER_LMA) | (old & X86_EFER_LMA); /* LMA is read-only */
	s->msr.efer = value;
	if ((old ^ value) & X86_EFER_NXE)
		soft_tlb_flush_all(v);
	soft_mode_changed(v);
	return true;
}

/* ---- RDMSR ---- */

bool soft_rdmsr(struct soft_vcpu *v, uint32_t msr, uint64_t *value)
{
	const struct x86_msrs *m = &v->s.msr;
	const uint64_t *reg;

	if (is_apic_msr(msr))
		return soft_apic_msr(v, msr, value, false) == 0;
	switch (msr) {
	case MSR_TSC: *value = soft_guest_tsc(v); return true;
	case MSR_TSC_ADJUST: *value = m->tsc_adjust; return true;
	/* Speculation's: whether shown or not, for guests that come from another engine and were. */
	case MSR_SPEC_CTRL: *value = m->spec_ctrl; return true;
	case MSR_ARCH_CAPABILITIES: *value = ARCH_CAPABILITIES; return v->soft->cpuid.arch_cap;
	case MSR_MTRR_CAP: *value = MTRR_CAP; return true;
	case MSR_SYSENTER_CS: *value = m->sysenter_cs; return true;
	case MSR_SYSENTER_ESP: *value = m->sysenter_esp; return true;
	case MSR_SYSENTER_EIP: *value = m->sysenter_eip; return true;
	case MSR_VIRT_SPEC_CTRL:
		*value = m->virt_spec_ctrl;
		return v->soft->cpuid.vendor == CPUID_VENDOR_AMD;
	case MSR_MCG_CAP:
		*value = 0; /* no banks */
		return true;
	case MSR_MCG_STATUS: *value = m->mcg_status; return true;
	case MSR_MISC_ENABLE: *value = m->misc_enable; return true;
	case MSR_DEBUGCTL: *value = 0; return true;
	case MSR_PAT: *value = m->pat; return true;
	case MSR_MTRR_DEF_TYPE: *value = m->mtrr_def_type; return true;
	case MSR_EFER: *value = m->efer; return true;
	case MSR_STAR: *value = m->star; return true;
	case MSR_LSTAR: *value = m->lstar; return true;
	case MSR_CSTAR: *value = m->cstar; return true;
	case MSR_SFMASK: *value = m->sfmask; return true;
	case MSR_FS_BASE: *value = v->s.seg[X86_FS].base; return true;
	case MSR_GS_BASE: *value = v->s.seg[X86_GS].base; return true;
	case MSR_KERNEL_GS_BASE: *value = m->kernel_gs_base; return true;
	case MSR_TSC_AUX: *value = m->tsc_aux; return v->soft->cpuid.rdtscp || v->soft->cpuid.rdpid;
	case MSR_KVM_WALL_CLOCK: *value = m->kvm_wall_clock; return true;
	case MSR_KVM_SYSTEM_TIME: *value = m->kvm_system_time; return true;
	case MSR_KVM_STEAL_TIME: *value = m->kvm_steal_time; return soft_pv_offered(v);
	case MSR_KVM_PV_EOI: *value = m->kvm_pv_eoi; return true;
	default: break;
	}
	reg = fixed_mtrr(v, msr);
	if (!reg)
		reg = variable_mtrr(v, msr);
	if (reg) {
		*value = *reg;
		return true;
	}
	/* An address inside of *v is not NULL. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	return msr_constant(v->soft->cpuid.vendor, msr, value);
}

/* ---- WRMSR ---- */

static bool write_canonical(uint64_t *reg, uint64_t value)
{
	if (!mmu_canonical(value))
		return false;
	*reg = value;
	return true;
}

static bool write_valid(uint64_t *reg, uint64_t value, uint64_t valid)
{
	if (value & ~valid)
		return false;
	*reg = value;
	return true;
}

bool soft_wrmsr(struct soft_vcpu *v, uint32_t msr, uint64_t value)
{
	struct x86_msrs *m = &v->s.msr;
	uint64_t *reg, dummy;

	if (is_apic_msr(msr))
		return write_apic(v, msr, value);
	switch (msr) {
	case MSR_TSC: move_tsc(v, value - soft_guest_tsc(v)); return true;
	case MSR_TSC_ADJUST: move_tsc(v, value - m->tsc_adjust); return true;
	case MSR_SPEC_CTRL: return write_valid(&m->spec_ctrl, value, SPEC_CTRL_VALID);
	case MSR_PRED_CMD: /* a barrier between predictions: nothing to do */
		return !(value & ~UINT64_C(1));
	case MSR_SYSENTER_CS: m->sysenter_cs = value & 0xffffffffu; return true;
	case MSR_SYSENTER_ESP: return write_canonical(&m->sysenter_esp, value);
	case MSR_SYSENTER_EIP: return write_canonical(&m->sysenter_eip, value);
	case MSR_VIRT_SPEC_CTRL: /* not shown; for a guest that KVM has shown it to */
		return v->soft->cpuid.vendor == CPUID_VENDOR_AMD &&
		       write_valid(&m->virt_spec_ctrl, value, VIRT_SPEC_CTRL_SSBD);
	case MSR_MCG_STATUS: return write_valid(&m->mcg_status, value, 7);
	case MSR_MISC_ENABLE: m->misc_enable = value; return true;
	case MSR_DEBUGCTL: /* LBR and BTF are not there; asking for them does no harm */
		return !(value & ~UINT64_C(3));
	case MSR_PAT:
		if (!types_ok(value, true))
			return false;
		m->pat = value;
		return true;
	case MSR_MTRR_DEF_TYPE:
		return memory_type_ok(value & 0xff) &&
		       write_valid(&m->mtrr_def_type, value, MTRR_DEF_VALID);
	case MSR_EFER: return write_efer(v, value);
	case MSR_STAR:
		m->star = value;
		soft_flow_changed(v);
		return true;
	case MSR_LSTAR: return write_canonical(&m->lstar, value);
	case MSR_CSTAR: return write_canonical(&m->cstar, value);
	case MSR_SFMASK:
		if (!write_valid(&m->sfmask, value, 0xffffffffu))
			return false;
		soft_flow_changed(v);
		return true;
	case MSR_FS_BASE: return write_canonical(&v->s.seg[X86_FS].base, value);
	case MSR_GS_BASE: return write_canonical(&v->s.seg[X86_GS].base, value);
	case MSR_KERNEL_GS_BASE: return write_canonical(&m->kernel_gs_base, value);
	case MSR_TSC_AUX:
		return (v->soft->cpuid.rdtscp || v->soft->cpuid.rdpid) &&
		       write_valid(&m->tsc_aux, value, 0xffffffffu);
	case MSR_KVM_WALL_CLOCK:
		m->kvm_wall_clock = value;
		soft_pvclock_wall(v);
		return true;
	case MSR_KVM_SYSTEM_TIME:
		m->kvm_system_time = value;
		soft_pvclock_update(v);
		return true;
	case MSR_KVM_STEAL_TIME: return soft_pv_steal_time(v, value);
	/* Where the guest would find that it need not write EOI (Linux, Documentation/virt/kvm/x86/msr.rst): here it always finds that it
	 * must, which costs no exit. KVM makes use of it, for a guest that moves there. */
	case MSR_KVM_PV_EOI: return write_valid(&m->kvm_pv_eoi, value, ~UINT64_C(2));
	default: break;
	}
	reg = fixed_mtrr(v, msr);
	if (reg) {
		if (!types_ok(value, false))
			return false;
		*reg = value;
		return true;
	}
	reg = variable_mtrr(v, msr);
	if (reg)
		return write_variable_mtrr(v, reg, msr, value);
	/* An address inside of *v is not NULL. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
	return !msr_constant_read_only(msr) && msr_constant(v->soft->cpuid.vendor, msr, &dummy);
}
