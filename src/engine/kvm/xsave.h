/* SPDX-License-Identifier: Apache-2.0 */
/* xsave.h - a vCPU's XSAVE area to and from x86_state. Pure functions. */
#ifndef LODGE_ENGINE_KVM_XSAVE_H
#define LODGE_ENGINE_KVM_XSAVE_H

#include <linux/kvm.h>

#include "x86/cpuid.h"
#include "x86/state.h"

#define KVM_XSAVE_WIDE 3u /* AVX-512's components: 5 to 7 of XCR0 */

/* Where they are in the area; all 0: not there. */
struct kvm_xsave_layout {
	uint32_t at[KVM_XSAVE_WIDE];
};

/* From CPUID(0xd, 5) to (0xd, 7), eax to edx. False: that is nothing that we can move, *l is all 0. */
bool kvm_xsave_layout(struct kvm_xsave_layout *l, uint32_t (*leaf)[4]);
/* What of xcr0_valid (XCR0's bits that the guest may set) is in the area, to the parts of X86_STATE_FPU, and back. */
void kvm_xsave_out(const struct kvm_xsave *area, const struct kvm_xsave_layout *l,
		   uint64_t xcr0_valid, struct x86_state *s);
void kvm_xsave_in(struct kvm_xsave *area, const struct kvm_xsave_layout *l, uint64_t xcr0_valid,
		  const struct x86_state *s);

#endif
