/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support.h - what processor KVM can give, as a source of cpuid_build(). Needs x86/ and util/ only: the probe asks too.
 */
#ifndef LODGE_ENGINE_KVM_SUPPORT_H
#define LODGE_ENGINE_KVM_SUPPORT_H

#include <linux/kvm.h>

#include "util/base.h"

/* KVM_GET_SUPPORTED_CPUID of an open /dev/kvm. *out is the caller's to free. 0 or -errno. */
int kvm_support_read(int kvm, struct kvm_cpuid2 **out);
/* The entry of a leaf, or NULL. */
const struct kvm_cpuid_entry2 *kvm_support_find(const struct kvm_cpuid2 *t, uint32_t leaf,
						uint32_t sub);
/* What kvm_support_source() reads from now on (NULL: nothing). One thread at a time. */
void kvm_support_use(const struct kvm_cpuid2 *t);
/* cpuid_source: KVM's support as if it were a processor. The processor's name is the host's; what else KVM says nothing about is 0. */
void kvm_support_source(uint32_t leaf, uint32_t sub, uint32_t out[4]);

#endif
