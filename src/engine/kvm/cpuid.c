/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - what CPUID tells a guest of the KVM engine.
 *
 * Theory of operation. The table is the software engine's (x86/cpuid.h), built from what KVM supports instead of from the
 * bare host: topology, caches, the hypervisor's leaves and the set of features are the same, so a guest can move from
 * one engine to the other. What differs is what the processor itself decides: protections against speculation are shown as
 * KVM reports them, since guest code runs on the processor as it is, flaws included.
 *
 * x2APIC, the TSC-deadline timer, TSC_ADJUST and ARAT are made by the kernel, whatever the processor has.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "engine/kvm/support.h"
#include "x86/cpuid_model.h"

/* seccomp vm: ioctl arg1=KVM_GET_SUPPORTED_CPUID/KVM_SET_CPUID2 */

#define F1_ECX_TSC_DEADLINE BIT(24)
/* Leaf 7 EDX: MD_CLEAR, IBRS/IBPB, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, SSBD. */
#define F7_EDX_SPECULATION (BIT(10) | BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31))
/* 0x80000008 EBX: IBPB, INT_WBINVD no, IBRS, STIBP, always-on and preferred modes, SSBD, VIRT_SSBD, SSB_NO, BTC_NO ... */
#define FX8_EBX_SPECULATION                                                                        \
	(BIT(12) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(24) | BIT(25) | \
	 BIT(26) | BIT(28) | BIT(29) | BIT(30))
/* 0x80000021 EAX: all that KVM reports of LFENCE, NULL_CLEARS_BASE, AUTO_IBRS, SBPB, IBPB_BRTYPE, SRSO_NO ... */
#define FX21_EAX_AUTO_IBRS BIT(8)
#define FX21_EAX_OURS \
	(BIT(2) | BIT(6) | FX21_EAX_AUTO_IBRS | BIT(27) | BIT(28) | BIT(29) | BIT(30) | BIT(31))

/* What the processor, not an engine, decides. */
static void take_real(struct engine *en, struct cpuid_entry *c)
{
	const struct kvm_cpuid_entry2 *k = kvm_support_find(en->supported, c->leaf, c->sub);
	uint32_t none[4] = {0}, *r = c->reg;
	uint32_t real[4];

	memcpy(real, none, sizeof(real));
	if (k) {
		real[CPUID_EAX] = k->eax;
		real[CPUID_EBX] = k->ebx;
		real[CPUID_ECX] = k->ecx;
		real[CPUID_EDX] = k->edx;
	}
	switch (c->leaf) {
	case 1:
		if (!en->caps.tsc_deadline)
			r[CPUID_ECX] &= ~(uint32_t)F1_ECX_TSC_DEADLINE;
		break;
	case 7:
		r[CPUID_EDX] = (r[CPUID_EDX] & ~(uint32_t)F7_EDX_SPECULATION) |
			       (real[CPUID_EDX] & (uint32_t)F7_EDX_SPECULATION);
		break;
	case 0x80000008:
		r[CPUID_EBX] = (r[CPUID_EBX] & ~(uint32_t)FX8_EBX_SPECULATION) |
			       (real[CPUID_EBX] & (uint32_t)FX8_EBX_SPECULATION);
		break;
	case 0x80000021:
		r[CPUID_EAX] = real[CPUID_EAX] & (uint32_t)FX21_EAX_OURS;
		r[CPUID_ECX] = real[CPUID_ECX];
		break;
	default: break;
	}
}

/* AVX-512, which the software engine does not have and no named model contains, if we can move its state. */
static void add_avx512(struct engine *en)
{
	uint32_t leaf[KVM_XSAVE_WIDE][4];

	for (unsigned i = 0; i < KVM_XSAVE_WIDE; i++)
		kvm_support_source(0xd, 5 + i, leaf[i]);
	if (en->cfg.cpu_model == CPUID_MODEL_HOST && kvm_xsave_layout(&en->xsave, leaf))
		cpuid_add_avx512(&en->cpuid, kvm_support_source);
}

int kvm_cpuid_init(struct engine *en, struct err *e)
{
	uint32_t pv[4], x21[4];
	int r;

	if (en->supported)
		return 0;
	r = kvm_support_read(en->made.kvm, &en->supported);
	if (r < 0)
		return err_errno(e, -r, "KVM does not tell what processor it can give");
	kvm_support_use(en->supported);
	cpuid_build(&en->cpuid, kvm_support_source, en->cfg.cpu_model, en->cfg.n_vcpus, en->tsc_khz);
	add_avx512(en);
	kvm_support_source(KVM_CPUID_FEATURES, 0, pv);
	cpuid_add_pv(&en->cpuid, en->cfg.n_vcpus, pv[CPUID_EAX]);
	kvm_support_use(NULL);
	for (unsigned i = 0; i < en->cpuid.n; i++)
		take_real(en, &en->cpuid.entry[i]);
	cpuid_get(&en->cpuid, 0x80000021, 0, 0, &x21[CPUID_EAX], &x21[CPUID_EBX], &x21[CPUID_ECX],
		  &x21[CPUID_EDX]);
	en->cpuid.auto_ibrs = x21[CPUID_EAX] & (uint32_t)FX21_EAX_AUTO_IBRS;
	en->vendor = en->cpuid.vendor;
	return cpuid_model_check(en->cfg.cpu_model, &en->cpuid, "KVM", e);
}

int kvm_cpuid_set(struct engine_vcpu *v, struct err *e)
{
	const struct cpuid_table *t = &v->en->cpuid;
	union {
		struct kvm_cpuid2 head;
		uint8_t bytes[sizeof(struct kvm_cpuid2) +
			      CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
	} out;
	int r;

	memset(&out, 0, sizeof(out));
	for (unsigned i = 0; i < t->n; i++) {
		const struct cpuid_entry *c = &t->entry[i];
		struct kvm_cpuid_entry2 *k = &out.head.entries[out.head.nent++];

		k->function = c->leaf;
		k->index = c->sub;
		k->flags = c->any_sub ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		cpuid_get(t, c->leaf, c->sub, v->index, &k->eax, &k->ebx, &k->ecx, &k->edx);
	}
	r = kvm_ioctl(v->fd, KVM_SET_CPUID2, &out);
	if (r < 0)
		return err_errno(e, -r, "KVM refuses the guest's CPUID on vCPU %u", v->index);
	return 0;
}
