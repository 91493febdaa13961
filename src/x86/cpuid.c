/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - builds the CPUID table of a guest (SDM vol. 2 CPUID; AMD APM vol. 3 appendix E).
 *
 * Theory of operation. A feature bit is shown when it is in our list and the host has it; a few are added
 * whatever the host says, because the board or the engine makes them (x2APIC, TSC-deadline, ARAT, the
 * hypervisor bit) or because they say that a flaw is not there to be worked around. Caches are the host's,
 * cut to one package without threads; topology is our own. What is not in the table reads as zero.
 * With a named model (cpuid_model.h) the host has no more than the model.
 */
#include "x86/cpuid.h"
#include "x86/cpuid_model.h"
#include "x86/state.h"

/* Leaf 1. */
#define F1_ECX_HOST                                                                                \
	(BIT(0) /* SSE3 */ | BIT(1) /* PCLMULQDQ */ | BIT(9) /* SSSE3 */ | BIT(13) /* CX16 */ |    \
	 BIT(17) /* PCID */ | BIT(19) /* SSE4.1 */ | BIT(20) /* SSE4.2 */ | BIT(23) /* POPCNT */ | \
	 BIT(25) /* AES */ | BIT(30) /* RDRAND */)
#define F1_ECX_FMA BIT(12)
#define F1_ECX_MOVBE BIT(22)
#define F1_ECX_XSAVE BIT(26)
#define F1_ECX_OSXSAVE BIT(27)
#define F1_ECX_AVX BIT(28)
#define F1_ECX_F16C BIT(29)
#define F1_ECX_ALWAYS (BIT(21) /* x2APIC */ | BIT(24) /* TSC-deadline */ | BIT(31) /* hypervisor */)
#define F1_EDX_HOST                                                                           \
	(BIT(0) /* FPU */ | BIT(2) /* DE */ | BIT(3) /* PSE */ | BIT(4) /* TSC */ |           \
	 BIT(5) /* MSR */ | BIT(6) /* PAE */ | BIT(7) /* MCE */ | BIT(8) /* CX8 */ |          \
	 BIT(9) /* APIC */ | BIT(11) /* SEP */ | BIT(12) /* MTRR */ | BIT(13) /* PGE */ |     \
	 BIT(14) /* MCA */ | BIT(15) /* CMOV */ | BIT(16) /* PAT */ | BIT(17) /* PSE-36 */ |  \
	 BIT(19) /* CLFLUSH */ | BIT(23) /* MMX */ | BIT(24) /* FXSR */ | BIT(25) /* SSE */ | \
	 BIT(26) /* SSE2 */)
#define F1_EDX_HTT BIT(28)
/* The engine's own, whether or not the host lets us see them. */
#define F1_EDX_ALWAYS                                                                       \
	(BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(9) | BIT(11) | BIT(12) | \
	 BIT(13) | BIT(14) | BIT(16) | BIT(17))
#define F1_ECX_PCID BIT(17)

/* Leaf 7. */
#define F7_EBX_FSGSBASE BIT(0)
#define F7_EBX_SMEP BIT(7)
#define F7_EBX_SMAP BIT(20)
#define F7_EBX_HOST                                                                  \
	(F7_EBX_FSGSBASE | F7_EBX_SMEP | BIT(9) /* ERMS */ | BIT(10) /* INVPCID */ | \
	 BIT(18) /* RDSEED */ | F7_EBX_SMAP | BIT(29) /* SHA */)
#define F7_EBX_BMI1 BIT(3)
#define F7_EBX_BMI2 BIT(8)
#define F7_EBX_AVX2 BIT(5)
#define F7_EBX_ALWAYS BIT(1) /* TSC_ADJUST */
#define F7_ECX_UMIP BIT(2)
#define F7_ECX_RDPID BIT(22)
#define F7_ECX_HOST (F7_ECX_UMIP | F7_ECX_RDPID)
#define F7_ECX_AVX (BIT(9) /* VAES */ | BIT(10) /* VPCLMULQDQ */)
#define F7_EDX_HOST BIT(4) /* FSRM */
#define F7_EDX_SPEC_CTRL BIT(26)
#define F7_EDX_ARCH_CAP BIT(29)

/* Leaf 0x80000001. */
#define FX1_ECX_HOST \
	(FX1_ECX_ABM | BIT(0) /* LAHF64 */ | BIT(8) /* PREFETCHW */ | BIT(22) /* TOPOEXT */)
#define FX1_ECX_ABM BIT(5)
#define FX1_EDX_NX BIT(20)
#define FX1_EDX_GBPAGES BIT(26)
#define FX1_EDX_RDTSCP BIT(27)
#define FX1_EDX_HOST                                                                   \
	(BIT(11) /* SYSCALL */ | FX1_EDX_NX | BIT(22) /* MMXEXT */ | FX1_EDX_GBPAGES | \
	 FX1_EDX_RDTSCP | BIT(29) /* LM */)
/* AMD repeats these of leaf 1 EDX. */
#define FX1_EDX_REPEATED                                                                  \
	(BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | \
	 BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(23) | BIT(24))

#define FX8_EBX_HOST BIT(2) /* XSAVEERPTR: FXSAVE always saves the error pointers */
/* AMD: "not affected", and automatic IBRS instead of return trampolines. */
#define FX8_EBX_AMD (BIT(26) /* SSB_NO */ | BIT(29) /* BTC_NO */)
#define FX21_EAX_LFENCE_SERIALIZING BIT(2)
#define FX21_EAX_NULL_CLEARS_BASE BIT(6)
#define FX21_EAX_AUTO_IBRS BIT(8)
#define FX21_EAX_SRSO_NO BIT(29)
#define FX21_ECX_TSA_NO (BIT(1) /* TSA_SQ_NO */ | BIT(2) /* TSA_L1_NO */)

/* Leaf 0xd: the XSAVE area of x87, SSE, AVX. */
#define XCR0_OURS (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX)
#define XSAVE_LEGACY 576u
/* AVX-512: F, DQ, IFMA, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; VP2INTERSECT, FP16. */
#define F7_EBX_AVX512F BIT(16)
#define F7_EBX_AVX512 (F7_EBX_AVX512F | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
#define F7_ECX_AVX512 (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define F7_EDX_AVX512 (BIT(8) | BIT(23))
#define AVX512_FIRST 5u /* its components in XCR0, and sub-leaves of leaf 0xd */
#define AVX512_PARTS 3u
#define FD1_EAX_XSAVEOPT BIT(0)
#define FD1_EAX_XSAVEC BIT(1)
#define FD1_EAX_XGETBV1 BIT(2)

/* KVM's leaves (Linux, Documentation/virt/kvm/x86/cpuid.rst). */
#define KVM_LEAF 0x40000000u
#define KVM_TSC_LEAF 0x40000010u
#define KVM_NOP_IO_DELAY BIT(1)
#define KVM_CLOCKSOURCE2 BIT(3)
#define KVM_CLOCKSOURCE_STABLE BIT(24)
#define KVM_PV_EOI BIT(6)
#define KVM_OF_SEVERAL                                                                  \
	(BIT(5) /* STEAL_TIME */ | BIT(7) /* PV_UNHALT */ | BIT(9) /* PV_TLB_FLUSH */ | \
	 BIT(13) /* PV_SCHED_YIELD */)

#define PHYS_BITS_MAX 48u
#define PHYS_BITS_DEFAULT 46u

void cpuid_host(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[CPUID_EAX]), "=b"(out[CPUID_EBX]), "=c"(out[CPUID_ECX]),
			   "=d"(out[CPUID_EDX])
			 : "a"(leaf), "c"(sub));
}

/* Where the answers come from, and what is laid over them. */
struct origin {
	cpuid_source read;
	enum cpuid_model model;
	enum cpuid_vendor vendor;
};

static void ask(const struct origin *o, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	o->read(leaf, sub, out);
	cpuid_model_filter(o->model, o->vendor, leaf, sub, out);
}

/* A new entry; leaves past the table's room are not shown. */
static struct cpuid_entry *add(struct cpuid_table *t, uint32_t leaf, uint32_t sub, bool any_sub)
{
	static struct cpuid_entry spare; /* never reached: the table is larger than what is added */
	struct cpuid_entry *e = t->n < CPUID_MAX_ENTRIES ? &t->entry[t->n++] : &spare;

	*e = (struct cpuid_entry){.leaf = leaf, .sub = sub, .any_sub = any_sub};
	return e;
}

static struct cpuid_entry *add_regs(struct cpuid_table *t, uint32_t leaf, uint32_t eax,
				    uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct cpuid_entry *e = add(t, leaf, 0, true);

	e->reg[CPUID_EAX] = eax;
	e->reg[CPUID_EBX] = ebx;
	e->reg[CPUID_ECX] = ecx;
	e->reg[CPUID_EDX] = edx;
	return e;
}

/* The host's answer as it is. */
static void add_host(struct cpuid_table *t, const struct origin *host, uint32_t leaf)
{
	uint32_t r[4];

	ask(host, leaf, 0, r);
	add_regs(t, leaf, r[CPUID_EAX], r[CPUID_EBX], r[CPUID_ECX], r[CPUID_EDX]);
}

static enum cpuid_vendor vendor_of(const uint32_t r[4])
{
	if (r[CPUID_EBX] == 0x756e6547 && r[CPUID_EDX] == 0x49656e69 && r[CPUID_ECX] == 0x6c65746e)
		return CPUID_VENDOR_INTEL; /* GenuineIntel */
	if (r[CPUID_EBX] == 0x68747541 && r[CPUID_EDX] == 0x69746e65 && r[CPUID_ECX] == 0x444d4163)
		return CPUID_VENDOR_AMD; /* AuthenticAMD */
	if (r[CPUID_EBX] == 0x6f677948 && r[CPUID_EDX] == 0x6e65476e && r[CPUID_ECX] == 0x656e6975)
		return CPUID_VENDOR_AMD; /* HygonGenuine */
	return CPUID_VENDOR_OTHER;
}

/* Bits that hold numbers 0..n-1. */
static unsigned bits_for(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* Caches in the format that Intel's leaf 4 and AMD's 0x8000001d share. */
static void add_caches(struct cpuid_table *t, const struct origin *host, uint32_t leaf,
		       unsigned n_vcpus)
{
	for (uint32_t sub = 0; sub < 8; sub++) {
		struct cpuid_entry *e;
		uint32_t r[4], sharing = 0;
		unsigned level;

		ask(host, leaf, sub, r);
		if (!(r[CPUID_EAX] & 0x1f))
			break;
		level = r[CPUID_EAX] >> 5 & 7;
		if (level >= 3)
			sharing = (1u << bits_for(n_vcpus)) - 1;
		e = add(t, leaf, sub, false);
		/* Bits 14-25: processors that share it, less one; 26-31: cores in the package (Intel). */
		e->reg[CPUID_EAX] = (r[CPUID_EAX] & 0x3fff) | sharing << 14;
		if (leaf == 4)
			e->reg[CPUID_EAX] |= (uint32_t)MIN((1u << bits_for(n_vcpus)) - 1, 63u) << 26;
		e->reg[CPUID_EBX] = r[CPUID_EBX];
		e->reg[CPUID_ECX] = r[CPUID_ECX];
		e->reg[CPUID_EDX] = r[CPUID_EDX];
	}
}

/* Leaves 0xb and 0x1f: one thread a core, n cores. The level past the last is answered by cpuid_get(). */
static void add_topology(struct cpuid_table *t, uint32_t leaf, unsigned n_vcpus)
{
	struct cpuid_entry *e = add(t, leaf, 0, false);

	e->reg[CPUID_EAX] = 0;
	e->reg[CPUID_EBX] = 1;
	e->reg[CPUID_ECX] = 0 | 1 << 8; /* threads */
	e->id = CPUID_ID_EDX;
	e = add(t, leaf, 1, false);
	e->reg[CPUID_EAX] = bits_for(n_vcpus);
	e->reg[CPUID_EBX] = n_vcpus;
	e->reg[CPUID_ECX] = 1 | 2 << 8; /* cores */
	e->id = CPUID_ID_EDX;
}

/*
 * XSAVE and AVX as the host has them and its operating system lets us use them (OSXSAVE). Leaf 0xd sub-leaf 0 EBX, and
 * 1 EBX, are sizes for the XCR0 of the moment: the engine fills them in. *ecx: feature bits of leaf 1.
 */
static void add_xsave(struct cpuid_table *t, const struct origin *host, uint32_t host_ecx,
		      uint32_t max, uint32_t *ecx)
{
	uint32_t r[4], eax1;
	struct cpuid_entry *e;

	if (!(host_ecx & (uint32_t)F1_ECX_XSAVE) || !(host_ecx & (uint32_t)F1_ECX_OSXSAVE) ||
	    max < 0xd)
		return;
	ask(host, 0xd, 0, r);
	t->xcr0_valid = r[CPUID_EAX] & XCR0_OURS;
	if (!(host_ecx & (uint32_t)F1_ECX_AVX) || t->xcr0_valid != XCR0_OURS)
		t->xcr0_valid &= X86_XCR0_X87 | X86_XCR0_SSE;
	*ecx |= (uint32_t)F1_ECX_XSAVE;
	if (t->xcr0_valid & X86_XCR0_AVX)
		*ecx |= host_ecx & (uint32_t)(F1_ECX_AVX | F1_ECX_FMA | F1_ECX_F16C);
	ask(host, 0xd, 1, r);
	eax1 = r[CPUID_EAX] & (uint32_t)(FD1_EAX_XSAVEOPT | FD1_EAX_XSAVEC | FD1_EAX_XGETBV1);
	t->xsaveopt = eax1 & (uint32_t)FD1_EAX_XSAVEOPT;
	t->xsavec = eax1 & (uint32_t)FD1_EAX_XSAVEC;
	t->xgetbv1 = eax1 & (uint32_t)FD1_EAX_XGETBV1;
	e = add(t, 0xd, 0, false);
	e->reg[CPUID_EAX] = (uint32_t)t->xcr0_valid;
	e->reg[CPUID_ECX] = t->xcr0_valid & X86_XCR0_AVX ? X86_FX_SIZE : XSAVE_LEGACY;
	e = add(t, 0xd, 1, false);
	e->reg[CPUID_EAX] = eax1;
	if (t->xcr0_valid & X86_XCR0_AVX) {
		e = add(t, 0xd, 2, false);
		e->reg[CPUID_EAX] = X86_FX_SIZE - X86_FX_YMM_HI;
		e->reg[CPUID_EBX] = X86_FX_YMM_HI;
	}
}

static void add_basic(struct cpuid_table *t, const struct origin *host, unsigned n_vcpus,
		      uint32_t *edx1)
{
	uint32_t r[4], id[4], max;
	struct cpuid_entry *e;
	uint32_t ecx, edx, ebx7, ecx7, edx7;

	ask(host, 0, 0, id);
	max = id[CPUID_EAX];
	t->max_basic = 0x1f;
	add_regs(t, 0, t->max_basic, id[CPUID_EBX], id[CPUID_ECX], id[CPUID_EDX]);

	ask(host, 1, 0, r);
	ecx = (r[CPUID_ECX] & (uint32_t)F1_ECX_HOST) | (uint32_t)F1_ECX_ALWAYS;
	ecx |= r[CPUID_ECX] & (uint32_t)F1_ECX_MOVBE;
	t->movbe = ecx & (uint32_t)F1_ECX_MOVBE;
	edx = (r[CPUID_EDX] & (uint32_t)F1_EDX_HOST) | (uint32_t)F1_EDX_ALWAYS;
	add_xsave(t, host, r[CPUID_ECX], max, &ecx);
	*edx1 = edx;
	if (n_vcpus > 1)
		edx |= (uint32_t)F1_EDX_HTT;
	/* EBX: CLFLUSH line in 8 bytes, processors in the package, APIC id. */
	e = add_regs(t, 1, r[CPUID_EAX], 8u << 8 | (MIN(1u << bits_for(n_vcpus), 255u) << 16), ecx,
		     edx);
	e->id = CPUID_ID_EBX24;

	if (t->vendor == CPUID_VENDOR_INTEL) {
		add_host(t, host, 2);
		add_caches(t, host, 4, n_vcpus);
	}
	add_regs(t, 6, BIT(2) /* ARAT */, 0, 0, 0);

	if (max >= 7)
		ask(host, 7, 0, r);
	else
		r[CPUID_EBX] = r[CPUID_ECX] = r[CPUID_EDX] = 0;
	ebx7 = (r[CPUID_EBX] & (uint32_t)F7_EBX_HOST) | (uint32_t)F7_EBX_ALWAYS;
	ebx7 |= r[CPUID_EBX] & (uint32_t)(F7_EBX_BMI1 | F7_EBX_BMI2);
	t->tzcnt = ebx7 & (uint32_t)F7_EBX_BMI1;
	ecx7 = r[CPUID_ECX] & (uint32_t)F7_ECX_HOST;
	if (t->xcr0_valid & X86_XCR0_AVX) {
		ebx7 |= r[CPUID_EBX] & (uint32_t)F7_EBX_AVX2;
		ecx7 |= r[CPUID_ECX] & (uint32_t)F7_ECX_AVX;
	}
	edx7 = r[CPUID_EDX] & (uint32_t)F7_EDX_HOST;
	if (t->vendor == CPUID_VENDOR_INTEL)
		edx7 |= (uint32_t)(F7_EDX_SPEC_CTRL | F7_EDX_ARCH_CAP);
	t->spec_ctrl = edx7 & (uint32_t)F7_EDX_SPEC_CTRL;
	t->arch_cap = edx7 & (uint32_t)F7_EDX_ARCH_CAP;
	t->rdpid = ecx7 & (uint32_t)F7_ECX_RDPID;
	e = add(t, 7, 0, false);
	e->reg[CPUID_EBX] = ebx7;
	e->reg[CPUID_ECX] = ecx7;
	e->reg[CPUID_EDX] = edx7;

	add_topology(t, 0xb, n_vcpus);
	add_topology(t, 0x1f, n_vcpus);
	/* TSC = crystal of 1 GHz (also the APIC timer's clock) * EBX / EAX; then the frequency in MHz. */
	if (t->tsc_khz)
		add_regs(t, 0x15, 1000000, t->tsc_khz, 1000000000, 0);
	add_regs(t, 0x16, t->tsc_khz / 1000, t->tsc_khz / 1000, 100, 0);

	t->cr4_valid = X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE |
		       X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	if (t->xcr0_valid)
		t->cr4_valid |= X86_CR4_OSXSAVE;
	if (ecx & (uint32_t)F1_ECX_PCID)
		t->cr4_valid |= X86_CR4_PCIDE;
	if (ebx7 & (uint32_t)F7_EBX_FSGSBASE)
		t->cr4_valid |= X86_CR4_FSGSBASE;
	if (ebx7 & (uint32_t)F7_EBX_SMEP)
		t->cr4_valid |= X86_CR4_SMEP;
	if (ebx7 & (uint32_t)F7_EBX_SMAP)
		t->cr4_valid |= X86_CR4_SMAP;
	if (ecx7 & (uint32_t)F7_ECX_UMIP)
		t->cr4_valid |= X86_CR4_UMIP;
}

static void add_hypervisor(struct cpuid_table *t)
{
	t->max_hyp = KVM_TSC_LEAF;
	add_regs(t, KVM_LEAF, KVM_TSC_LEAF, 0x4b4d564b, 0x564b4d56, 0x4d); /* KVMKVMKVM */
	add_regs(t, KVM_LEAF + 1,
		 (uint32_t)(KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_CLOCKSOURCE_STABLE), 0, 0, 0);
	add_regs(t, KVM_TSC_LEAF, t->tsc_khz, 1000000 /* APIC timer, kHz */, 0, 0);
}

static struct cpuid_entry *find(struct cpuid_table *t, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].leaf == leaf && t->entry[i].sub == sub)
			return &t->entry[i];
	return NULL;
}

void cpuid_set_tsc_khz(struct cpuid_table *t, uint32_t tsc_khz)
{
	struct cpuid_entry *ratio = find(t, 0x15, 0), *mhz = find(t, 0x16, 0),
			   *pv = find(t, KVM_TSC_LEAF, 0);

	t->tsc_khz = tsc_khz;
	if (ratio)
		ratio->reg[CPUID_EBX] = tsc_khz;
	if (mhz)
		mhz->reg[CPUID_EAX] = mhz->reg[CPUID_EBX] = tsc_khz / 1000;
	if (pv)
		pv->reg[CPUID_EAX] = tsc_khz;
}

void cpuid_add_avx512(struct cpuid_table *t, cpuid_source host)
{
	struct cpuid_entry *e7 = find(t, 7, 0), *ed = find(t, 0xd, 0), *e;
	uint32_t host7[4], hostd[4], part[4], end = X86_FX_SIZE;

	host(7, 0, host7);
	host(0xd, 0, hostd);
	if (!e7 || !ed || !(t->xcr0_valid & X86_XCR0_AVX) ||
	    !(host7[CPUID_EBX] & (uint32_t)F7_EBX_AVX512F) ||
	    (hostd[CPUID_EAX] & X86_XCR0_AVX512) != X86_XCR0_AVX512 ||
	    t->n + AVX512_PARTS > CPUID_MAX_ENTRIES)
		return;
	e7->reg[CPUID_EBX] |= host7[CPUID_EBX] & (uint32_t)F7_EBX_AVX512;
	e7->reg[CPUID_ECX] |= host7[CPUID_ECX] & (uint32_t)F7_ECX_AVX512;
	e7->reg[CPUID_EDX] |= host7[CPUID_EDX] & (uint32_t)F7_EDX_AVX512;
	for (uint32_t sub = AVX512_FIRST; sub < AVX512_FIRST + AVX512_PARTS; sub++) {
		host(0xd, sub, part);
		e = add(t, 0xd, sub, false);
		e->reg[CPUID_EAX] = part[CPUID_EAX];
		e->reg[CPUID_EBX] = part[CPUID_EBX];
		end = MAX(end, part[CPUID_EBX] + part[CPUID_EAX]);
	}
	t->xcr0_valid |= X86_XCR0_AVX512;
	ed->reg[CPUID_EAX] |= X86_XCR0_AVX512;
	ed->reg[CPUID_ECX] = end;
}

void cpuid_add_pv(struct cpuid_table *t, unsigned n_vcpus, uint32_t have)
{
	have &= (uint32_t)(n_vcpus > 1 ? KVM_PV_EOI | KVM_OF_SEVERAL : KVM_PV_EOI);
	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].leaf == KVM_LEAF + 1)
			t->entry[i].reg[CPUID_EAX] |= have;
}

static void add_extended(struct cpuid_table *t, const struct origin *host, unsigned n_vcpus,
			 uint32_t edx1)
{
	bool amd = t->vendor == CPUID_VENDOR_AMD;
	uint32_t r[4], max, ecx, edx, phys = PHYS_BITS_DEFAULT, ebx8 = 0, ecx8 = 0;
	struct cpuid_entry *e;

	ask(host, 0x80000000, 0, r);
	max = r[CPUID_EAX];
	t->max_ext = amd ? 0x80000021 : 0x80000008;
	add_regs(t, 0x80000000, t->max_ext, r[CPUID_EBX], r[CPUID_ECX], r[CPUID_EDX]);

	ask(host, 0x80000001, 0, r);
	ecx = r[CPUID_ECX] & (uint32_t)FX1_ECX_HOST;
	edx = r[CPUID_EDX] & (uint32_t)FX1_EDX_HOST;
	if (amd) {
		edx |= edx1 & (uint32_t)FX1_EDX_REPEATED;
		if (n_vcpus > 1)
			ecx |= BIT(1); /* CmpLegacy: cores, not threads */
	} else {
		ecx &= ~(uint32_t)BIT(22);
		edx &= ~(uint32_t)BIT(22);
	}
	add_regs(t, 0x80000001, amd ? r[CPUID_EAX] : 0, amd ? r[CPUID_EBX] : 0, ecx, edx);
	t->lzcnt = ecx & (uint32_t)FX1_ECX_ABM;
	t->gbpages = edx & (uint32_t)FX1_EDX_GBPAGES;
	t->rdtscp = edx & (uint32_t)FX1_EDX_RDTSCP;
	t->efer_valid = X86_EFER_SCE | X86_EFER_LME |
			(edx & (uint32_t)FX1_EDX_NX ? X86_EFER_NXE : 0);

	for (uint32_t leaf = 0x80000002; leaf <= 0x80000004 && leaf <= max; leaf++)
		add_host(t, host, leaf); /* name */
	if (amd && max >= 0x80000005)
		add_host(t, host, 0x80000005); /* L1 caches and TLBs */
	if (max >= 0x80000006)
		add_host(t, host, 0x80000006); /* L2 */
	if (max >= 0x80000007) {
		ask(host, 0x80000007, 0, r);
		add_regs(t, 0x80000007, 0, 0, 0,
			 r[CPUID_EDX] & (uint32_t)BIT(8)); /* invariant TSC */
	}

	if (max >= 0x80000008) {
		ask(host, 0x80000008, 0, r);
		phys = r[CPUID_EAX] & 0xff;
		ebx8 = r[CPUID_EBX] & (uint32_t)FX8_EBX_HOST;
		if (phys < 36)
			phys = PHYS_BITS_DEFAULT;
	}
	t->phys_bits = MIN(phys, PHYS_BITS_MAX);
	if (amd) {
		ebx8 |= (uint32_t)FX8_EBX_AMD;
		ecx8 = (n_vcpus - 1) | bits_for(n_vcpus) << 12;
	}
	add_regs(t, 0x80000008, t->phys_bits | 48 << 8, amd ? ebx8 : 0, ecx8, 0);
	if (!amd)
		return;

	if (max >= 0x8000001d)
		add_caches(t, host, 0x8000001d, n_vcpus);
	e = add_regs(t, 0x8000001e, 0, 0, 0, 0); /* one thread a core, one node */
	e->id = CPUID_ID_EAX | CPUID_ID_EBX8;
	add_regs(t, 0x80000021,
		 (uint32_t)(FX21_EAX_LFENCE_SERIALIZING | FX21_EAX_NULL_CLEARS_BASE |
			    FX21_EAX_AUTO_IBRS | FX21_EAX_SRSO_NO),
		 0, (uint32_t)FX21_ECX_TSA_NO, 0);
	t->auto_ibrs = true;
	t->efer_valid |= X86_EFER_AIBRSE;
}

void cpuid_build(struct cpuid_table *t, cpuid_source host, enum cpuid_model model, unsigned n_vcpus,
		 uint32_t tsc_khz)
{
	struct origin origin = {.read = host, .model = model};
	uint32_t id[4], edx1;

	*t = (struct cpuid_table){.tsc_khz = tsc_khz};
	if (!n_vcpus)
		n_vcpus = 1;
	host(0, 0, id);
	t->vendor = origin.vendor = vendor_of(id);
	add_basic(t, &origin, n_vcpus, &edx1);
	add_hypervisor(t);
	add_extended(t, &origin, n_vcpus, edx1);
}
