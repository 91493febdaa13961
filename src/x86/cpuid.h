/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.h - what CPUID tells a guest of the software engine, as a table built once.
 *
 * The processor shown is the host's vendor, family and model with a subset of its features: those that
 * the engine runs (never more than the host has, since most instructions run as themselves). Speculation
 * flaws are shown as absent, so that a guest does not pay for work-arounds that would protect nothing here.
 * The table is made on the host side by cpuid_build(); cpuid_get() only looks things up and may be called
 * while guest FPU state is live.
 */
#ifndef LODGE_X86_CPUID_H
#define LODGE_X86_CPUID_H

#include "util/base.h"

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

enum cpuid_vendor { CPUID_VENDOR_OTHER, CPUID_VENDOR_INTEL, CPUID_VENDOR_AMD /* and Hygon */ };

/* Which fields of an entry hold the x2APIC id of the asking processor. */
#define CPUID_ID_EBX24 1u /* EBX bits 24-31 */
#define CPUID_ID_EDX 2u
#define CPUID_ID_EAX 4u
#define CPUID_ID_EBX8 8u /* EBX bits 0-7 */

struct cpuid_entry {
	uint32_t leaf, sub;
	uint32_t reg[4]; /* by enum cpuid_reg */
	bool any_sub;	 /* the leaf has no sub-leaves */
	uint8_t id;	 /* CPUID_ID_* */
};

#define CPUID_MAX_ENTRIES 64

struct cpuid_table {
	unsigned n;
	struct cpuid_entry entry[CPUID_MAX_ENTRIES];
	uint32_t max_basic, max_ext, max_hyp;
	enum cpuid_vendor vendor;
	unsigned phys_bits; /* MAXPHYADDR */
	uint32_t tsc_khz;
	/* Features that the engine itself asks about, from the entries above. */
	uint64_t cr4_valid;  /* bits that MOV CR4 accepts */
	uint64_t efer_valid; /* bits that WRMSR EFER accepts */
	uint64_t xcr0_valid; /* bits that XSETBV accepts; 0: no XSAVE */
	bool xsaveopt, xsavec, xgetbv1;
	bool lzcnt, tzcnt, movbe;
	bool gbpages, rdtscp, rdpid, arch_cap, spec_ctrl, auto_ibrs;
};

/* Named processors: cpuid_model.h. */
enum cpuid_model {
	CPUID_MODEL_HOST, /* no model: all that host and engine have */
	CPUID_MODEL_V1,	  /* x86-64: what every 64-bit processor has */
	CPUID_MODEL_V2, /* the levels of the x86-64 psABI, with what a system wants of such a processor */
	CPUID_MODEL_V3,
	CPUID_MODELS
};

/* Reads one leaf of a real or pretended processor into out[4]. */
typedef void (*cpuid_source)(uint32_t leaf, uint32_t sub, uint32_t out[4]);

/* The processor this program runs on. */
void cpuid_host(uint32_t leaf, uint32_t sub, uint32_t out[4]);

/* Builds the table of a guest with n_vcpus processors (APIC ids 0..n-1, one package) and that TSC. Whether it has all of the model,
 * cpuid_model_missing() says. */
void cpuid_build(struct cpuid_table *t, cpuid_source host, enum cpuid_model model, unsigned n_vcpus,
		 uint32_t tsc_khz);

/* Shows another frequency of the TSC. */
void cpuid_set_tsc_khz(struct cpuid_table *t, uint32_t tsc_khz);

/* Adds what the host has of AVX-512, if the table has AVX, and the host the state of AVX-512: all three components. */
void cpuid_add_avx512(struct cpuid_table *t, cpuid_source host);
/* Shows KVM's feature PV EOI and, if there is more than one vCPU, those for vCPUs that wait for one another (steal time, PV
 * spinlocks, TLB flush, yield): those that `have` (bits of leaf 0x40000001 EAX) has. */
void cpuid_add_pv(struct cpuid_table *t, unsigned n_vcpus, uint32_t have);

/*
 * The answer to CPUID(leaf, sub) on the processor with this APIC id. Leaves beyond a range's maximum
 * answer as zero. Sets only scalars: safe while vector registers hold guest state.
 */
static inline void cpuid_get(const struct cpuid_table *t, uint32_t leaf, uint32_t sub,
			     uint32_t apic_id, uint32_t *eax, uint32_t *ebx, uint32_t *ecx,
			     uint32_t *edx)
{
	*eax = *ebx = *ecx = *edx = 0;
	for (unsigned i = 0; i < t->n; i++) {
		const struct cpuid_entry *e = &t->entry[i];

		if (e->leaf != leaf || (!e->any_sub && e->sub != sub))
			continue;
		*eax = e->reg[CPUID_EAX];
		*ebx = e->reg[CPUID_EBX];
		*ecx = e->reg[CPUID_ECX];
		*edx = e->reg[CPUID_EDX];
		if (e->id & CPUID_ID_EBX24)
			*ebx |= apic_id << 24;
		if (e->id & CPUID_ID_EDX)
			*edx = apic_id;
		if (e->id & CPUID_ID_EAX)
			*eax = apic_id;
		if (e->id & CPUID_ID_EBX8)
			*ebx |= apic_id & 0xff;
		return;
	}
	if (leaf == 0xb || leaf == 0x1f) { /* sub-leaves past the last say so, with the id */
		*ecx = sub & 0xff;
		*edx = apic_id;
	}
}

#endif
