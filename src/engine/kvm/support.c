/* SPDX-License-Identifier: Apache-2.0 */
/* support.c - what processor KVM can give. */
#include "engine/kvm/support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "x86/cpuid.h"

#define ENTRIES 256u
#define F1_ECX_XSAVE BIT(26)
#define F1_ECX_OSXSAVE BIT(27)
#define LEAF_NAME 0x80000002u /* and the two behind it: KVM says nothing about them */

static const struct kvm_cpuid2 *source_table;

int kvm_support_read(int kvm, struct kvm_cpuid2 **out)
{
	struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + ENTRIES * sizeof(t->entries[0]));

	*out = NULL;
	if (!t)
		return -ENOMEM;
	t->nent = ENTRIES;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, t) < 0) {
		int code = errno;

		free(t);
		return -code;
	}
	*out = t;
	return 0;
}

const struct kvm_cpuid_entry2 *kvm_support_find(const struct kvm_cpuid2 *t, uint32_t leaf,
						uint32_t sub)
{
	for (uint32_t i = 0; i < t->nent; i++) {
		const struct kvm_cpuid_entry2 *k = &t->entries[i];

		if (k->function == leaf &&
		    (!(k->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || k->index == sub))
			return k;
	}
	return NULL;
}

void kvm_support_use(const struct kvm_cpuid2 *t)
{
	source_table = t;
}

void kvm_support_source(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	const struct kvm_cpuid_entry2 *k = source_table ?
						   kvm_support_find(source_table, leaf, sub) :
						   NULL;

	memset(out, 0, 4 * sizeof(*out));
	if (leaf >= LEAF_NAME && leaf <= LEAF_NAME + 2) {
		cpuid_host(leaf, sub, out);
		return;
	}
	if (!k)
		return;
	out[CPUID_EAX] = k->eax;
	out[CPUID_EBX] = k->ebx;
	out[CPUID_ECX] = k->ecx;
	out[CPUID_EDX] = k->edx;
	/* cpuid_build() asks whether an operating system lets XSAVE be used; this one does. */
	if (leaf == 1 && (k->ecx & (uint32_t)F1_ECX_XSAVE))
		out[CPUID_ECX] |= (uint32_t)F1_ECX_OSXSAVE;
}
