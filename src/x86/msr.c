/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.c - constant MSRs of the vendors (SDM vol. 4; AMD APM vol. 2 appendix A).
 */
#include "x86/msr.h"

#define MSR_PLATFORM_ID 0x17u
#define MSR_EBL_CR_POWERON 0x2au
#define MSR_UCODE_WRITE 0x79u
#define MSR_UCODE_REV 0x8bu /* AMD: PATCH_LEVEL */
#define MSR_FSB_FREQ 0xcdu
#define MSR_PERF_STATUS 0x198u
#define MSR_LAST_BRANCH_FIRST 0x1dbu
#define MSR_LAST_BRANCH_LAST 0x1deu
#define MSR_MC_FIRST 0x400u /* MC0_CTL; four for each bank */
#define MSR_MC_LAST 0x47fu
#define MSR_AMD_SYSCFG 0xc0010010u
#define MSR_AMD_HWCR 0xc0010015u
#define MSR_AMD_NB_CFG 0xc001001fu
#define MSR_AMD_PATCH_LOADER 0xc0010020u
#define MSR_AMD_INT_PENDING 0xc0010055u
#define MSR_AMD_MMIO_CONF 0xc0010058u
#define MSR_AMD_VM_CR 0xc0010114u
#define MSR_AMD_CFG_FIRST 0xc0011020u /* LS_CFG, IC_CFG, DC_CFG, BU_CFG ... */
#define MSR_AMD_DE_CFG 0xc0011029u
#define MSR_AMD_CFG_LAST 0xc001102au

#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at the P0 rate */
#define DE_CFG_LFENCE_SERIALIZE BIT(1)
#define PATCH_LEVEL_AMD UINT64_C(0x01000065)
#define PATCH_LEVEL_INTEL UINT64_C(0x100000000)

bool msr_constant(enum cpuid_vendor vendor, uint32_t msr, uint64_t *value)
{
	*value = 0;
	if (vendor == CPUID_VENDOR_AMD) {
		switch (msr) {
		case MSR_AMD_HWCR: *value = HWCR_TSC_FREQ_SEL; return true;
		case MSR_AMD_DE_CFG: *value = DE_CFG_LFENCE_SERIALIZE; return true;
		case MSR_AMD_SYSCFG:
		case MSR_AMD_NB_CFG:
		case MSR_AMD_PATCH_LOADER:
		case MSR_AMD_INT_PENDING:
		case MSR_AMD_MMIO_CONF:
		case MSR_AMD_VM_CR: return true;
		default: break;
		}
		if (msr >= MSR_AMD_CFG_FIRST && msr <= MSR_AMD_CFG_LAST)
			return true;
	}
	switch (msr) {
	case MSR_FEATURE_CONTROL:
		*value = 1; /* locked, VMX off */
		return vendor == CPUID_VENDOR_INTEL;
	case MSR_UCODE_REV:
		*value = vendor == CPUID_VENDOR_AMD ? PATCH_LEVEL_AMD : PATCH_LEVEL_INTEL;
		return true;
	case MSR_UCODE_WRITE:
	case MSR_PLATFORM_ID:
	case MSR_EBL_CR_POWERON:
	case MSR_FSB_FREQ:
	case MSR_PERF_STATUS: return true;
	default: break;
	}
	/* Machine check banks: nothing is ever in them. MCG_CAP tells of 32 under KVM, and Linux looks into those that it has seen at its
	 * start each 5 minutes, and panics where one is not there (6.1: machine_check_poll()). */
	return (msr >= MSR_LAST_BRANCH_FIRST && msr <= MSR_LAST_BRANCH_LAST) ||
	       (msr >= MSR_MC_FIRST && msr <= MSR_MC_LAST);
}
