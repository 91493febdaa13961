/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - what KVM on this host can really do, found out by running a few guest instructions.
 *
 * Needs nothing but x86/ and util/, so that both the command line and lodge-vm may ask.
 */
#ifndef LODGE_ENGINE_KVM_PROBE_H
#define LODGE_ENGINE_KVM_PROBE_H

#include "util/base.h"

enum kvm_probe_result {
	KVM_PROBE_USABLE,
	KVM_PROBE_ABSENT,     /* no /dev/kvm, or nothing behind it */
	KVM_PROBE_PERMISSION, /* /dev/kvm may not be opened by this user */
	KVM_PROBE_BROKEN,     /* opens, but cannot make a VM or run the test guest */
	KVM_PROBE_SLOW,	      /* guest kernel code is emulated (PVM) */
};

struct kvm_probe {
	enum kvm_probe_result result;
	uint64_t kernel_insn_ps; /* picoseconds an instruction of guest kernel code; 0: not measured */
	bool sysret_works;	 /* SYSRET, IRETQ to CPL 3 and SYSCALL back did what they should */
	uint64_t took_ns;	 /* the whole probe */
	unsigned max_vcpus;	 /* in one VM; 0: not asked */
	char has[256]; /* what the engine can use of it, a list in words; "" if /dev/kvm did not open */
	char models[96]; /* the processors that it can give (cpuid_model_list()); "" as above */
	char why[256];	 /* one sentence without a final full stop, always set */
};

/* Never hangs: a few ms on most hosts, about a second on the worst. Leaves nothing open. Not to be
 * called from several threads at once. */
void kvm_probe(struct kvm_probe *out);
static inline bool kvm_probe_usable(const struct kvm_probe *p)
{
	return p->result == KVM_PROBE_USABLE;
}

#endif
