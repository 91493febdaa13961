/* SPDX-License-Identifier: Apache-2.0 */
/* absent.h - why a host has no /dev/kvm. */
#ifndef LODGE_ENGINE_KVM_ABSENT_H
#define LODGE_ENGINE_KVM_ABSENT_H

#include "util/base.h"

struct kvm_absent {
	const char *feature; /* the vendor's name of hardware virtualization, and of its module */
	const char *module;
	bool device;	/* the kernel has KVM: only the file is missing */
	bool processor; /* CPUID shows the feature */
	bool kernel; /* and so does the kernel, which takes it away where firmware has switched it off */
	bool loaded; /* the module is there, perhaps built in */
	bool guest;  /* this host is a virtual machine */
};

/* What this host is like. */
void kvm_absent_look(struct kvm_absent *a);
/* A sentence without a final full stop. */
void kvm_absent_say(const struct kvm_absent *a, char *buf, size_t size);

#endif
