/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid_model.c - the table of named processors.
 *
 * Theory of operation. A model is laid over what the host answers (cpuid_model_filter()) before the guest's table is built from
 * it: of each feature word the model's bits are left, and signature and name are replaced. So everything that follows from a
 * feature (bits of CR4 and EFER, XCR0, sizes of the XSAVE area, instructions that the software engine refuses) follows from the model
 * without asking for it. What the engines add by themselves is the same on every host. Whether the host carries the
 * model is asked of the finished table.
 *
 * The levels are those of the x86-64 psABI (System V ABI, AMD64 supplement, §3.1.1); added is what every processor of
 * the level has and a system wants: no-execute at the first, AES, PCLMULQDQ, RDRAND, FSGSBASE, SMEP, XSAVEOPT, RDTSCP and
 * pages of 1 GiB at the third (Intel's since Haswell, AMD's since the first Zen).
 */
#include "x86/cpuid_model.h"

#include <errno.h>
#include <string.h>

#include "util/text.h"

const char *const cpuid_model_names[] = {"host", "x86-64", "x86-64-v2", "x86-64-v3", NULL};
_Static_assert(ARRAY_SIZE(cpuid_model_names) == CPUID_MODELS + 1, "a name for each model");

#define OSXSAVE BIT(27)

#define V1_1_EDX                                                                                   \
	(BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) |          \
	 BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | \
	 BIT(24) | BIT(25) | BIT(26))
#define V2_1_ECX (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23))
#define V3_1_ECX \
	(V2_1_ECX | BIT(1) | BIT(12) | BIT(22) | BIT(25) | BIT(26) | BIT(28) | BIT(29) | BIT(30))
#define V3_7_EBX (BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8))
#define V1_X1_EDX (BIT(11) | BIT(20) | BIT(29))
#define V3_X1_EDX (V1_X1_EDX | BIT(26) | BIT(27))
#define TOPOEXT BIT(22) /* AMD: where the topology is told; the leaves are there in any case */

/* Feature words: what each model has of them. A word that is not here is the host's. */
static const struct {
	uint32_t leaf, sub;
	enum cpuid_reg reg;
	uint32_t has[CPUID_MODELS];
	uint32_t neutral; /* let through, but not needed */
} words[] = {
	{0x1, 0, CPUID_ECX, {~0u, 0, V2_1_ECX, V3_1_ECX}, OSXSAVE},
	{0x1, 0, CPUID_EDX, {~0u, V1_1_EDX, V1_1_EDX, V1_1_EDX}, 0},
	{0x7, 0, CPUID_EBX, {~0u, 0, 0, V3_7_EBX}, 0},
	{0x7, 0, CPUID_ECX, {~0u, 0, 0, 0}, 0},
	{0x7, 0, CPUID_EDX, {~0u, 0, 0, 0}, 0},
	{0xd, 0, CPUID_EAX, {~0u, 0, 0, 7}, 0},
	{0xd, 1, CPUID_EAX, {~0u, 0, 0, BIT(0)}, 0},
	{0x80000001, 0, CPUID_ECX, {~0u, 0, BIT(0), BIT(0) | BIT(5)}, TOPOEXT},
	{0x80000001, 0, CPUID_EDX, {~0u, V1_X1_EDX, V1_X1_EDX, V3_X1_EDX}, 0},
	{0x80000008, 0, CPUID_EBX, {~0u, 0, 0, 0}, 0},
};

/* Signatures (leaf 1 EAX) of processors that have these features and whose workarounds cost little. */
static const struct {
	uint32_t intel, amd;
} signatures[CPUID_MODELS] = {
	[CPUID_MODEL_V1] = {0x000106a3, 0x00800f12}, /* Nehalem; Zen */
	[CPUID_MODEL_V2] = {0x000106a3, 0x00800f12},
	[CPUID_MODEL_V3] = {0x000306f2, 0x00800f12}, /* Haswell; Zen */
};

#define PHYS_BITS 40u /* shown at most: hosts differ, and nobody's memory is larger */
#define LEAF_NAME 0x80000002u

void cpuid_model_filter(enum cpuid_model m, enum cpuid_vendor vendor, uint32_t leaf, uint32_t sub,
			uint32_t out[4])
{
	char name[48] = "";
	uint32_t sig = vendor == CPUID_VENDOR_INTEL ? signatures[m].intel :
		       vendor == CPUID_VENDOR_AMD   ? signatures[m].amd :
						      0;

	if (m == CPUID_MODEL_HOST)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].leaf == leaf && words[i].sub == sub)
			out[words[i].reg] &= words[i].has[m] | words[i].neutral;
	if (sig && (leaf == 1 || (leaf == 0x80000001 && vendor == CPUID_VENDOR_AMD)))
		out[CPUID_EAX] = sig;
	if (leaf == 0x80000008 && (out[CPUID_EAX] & 0xff) > PHYS_BITS)
		out[CPUID_EAX] = (out[CPUID_EAX] & ~0xffu) | PHYS_BITS;
	if (leaf >= LEAF_NAME && leaf <= LEAF_NAME + 2) {
		strcpy(name, cpuid_model_names[m]);
		memcpy(out, name + 16 * (leaf - LEAF_NAME), 16);
	}
}

/* ---- names ---- */

static const struct {
	uint32_t leaf, sub;
	enum cpuid_reg reg;
	unsigned bit;
	const char *name;
} features[] = {
	{0x1, 0, CPUID_ECX, 0, "SSE3"},
	{0x1, 0, CPUID_ECX, 1, "PCLMULQDQ"},
	{0x1, 0, CPUID_ECX, 9, "SSSE3"},
	{0x1, 0, CPUID_ECX, 12, "FMA"},
	{0x1, 0, CPUID_ECX, 13, "CMPXCHG16B"},
	{0x1, 0, CPUID_ECX, 17, "PCID"},
	{0x1, 0, CPUID_ECX, 19, "SSE4.1"},
	{0x1, 0, CPUID_ECX, 20, "SSE4.2"},
	{0x1, 0, CPUID_ECX, 21, "x2APIC"},
	{0x1, 0, CPUID_ECX, 22, "MOVBE"},
	{0x1, 0, CPUID_ECX, 23, "POPCNT"},
	{0x1, 0, CPUID_ECX, 24, "TSC-deadline timer"},
	{0x1, 0, CPUID_ECX, 25, "AES"},
	{0x1, 0, CPUID_ECX, 26, "XSAVE"},
	{0x1, 0, CPUID_ECX, 28, "AVX"},
	{0x1, 0, CPUID_ECX, 29, "F16C"},
	{0x1, 0, CPUID_ECX, 30, "RDRAND"},
	{0x7, 0, CPUID_EBX, 0, "FSGSBASE"},
	{0x7, 0, CPUID_EBX, 3, "BMI1"},
	{0x7, 0, CPUID_EBX, 5, "AVX2"},
	{0x7, 0, CPUID_EBX, 7, "SMEP"},
	{0x7, 0, CPUID_EBX, 8, "BMI2"},
	{0x7, 0, CPUID_EBX, 9, "ERMS"},
	{0x7, 0, CPUID_EBX, 10, "INVPCID"},
	{0x7, 0, CPUID_EBX, 16, "AVX512F"},
	{0x7, 0, CPUID_EBX, 17, "AVX512DQ"},
	{0x7, 0, CPUID_EBX, 18, "RDSEED"},
	{0x7, 0, CPUID_EBX, 19, "ADX"},
	{0x7, 0, CPUID_EBX, 20, "SMAP"},
	{0x7, 0, CPUID_EBX, 23, "CLFLUSHOPT"},
	{0x7, 0, CPUID_EBX, 24, "CLWB"},
	{0x7, 0, CPUID_EBX, 28, "AVX512CD"},
	{0x7, 0, CPUID_EBX, 29, "SHA"},
	{0x7, 0, CPUID_EBX, 30, "AVX512BW"},
	{0x7, 0, CPUID_EBX, 31, "AVX512VL"},
	{0x7, 0, CPUID_ECX, 1, "AVX512_VBMI"},
	{0x7, 0, CPUID_ECX, 2, "UMIP"},
	{0x7, 0, CPUID_ECX, 3, "PKU"},
	{0x7, 0, CPUID_ECX, 8, "GFNI"},
	{0x7, 0, CPUID_ECX, 9, "VAES"},
	{0x7, 0, CPUID_ECX, 10, "VPCLMULQDQ"},
	{0x7, 0, CPUID_ECX, 16, "LA57"},
	{0x7, 0, CPUID_ECX, 22, "RDPID"},
	{0xd, 0, CPUID_EAX, 1, "SSE state of XSAVE"},
	{0xd, 0, CPUID_EAX, 2, "AVX state of XSAVE"},
	{0xd, 1, CPUID_EAX, 0, "XSAVEOPT"},
	{0xd, 1, CPUID_EAX, 1, "XSAVEC"},
	{0x40000001, 0, CPUID_EAX, 5, "steal time"},
	{0x40000001, 0, CPUID_EAX, 6, "PV EOI"},
	{0x40000001, 0, CPUID_EAX, 7, "PV spinlocks"},
	{0x40000001, 0, CPUID_EAX, 9, "PV TLB flush"},
	{0x40000001, 0, CPUID_EAX, 13, "PV yield"},
	{0x80000001, 0, CPUID_ECX, 0, "LAHF in long mode"},
	{0x80000001, 0, CPUID_ECX, 5, "LZCNT"},
	{0x80000001, 0, CPUID_ECX, 6, "SSE4a"},
	{0x80000001, 0, CPUID_ECX, 8, "PREFETCHW"},
	{0x80000001, 0, CPUID_EDX, 11, "SYSCALL"},
	{0x80000001, 0, CPUID_EDX, 20, "NX"},
	{0x80000001, 0, CPUID_EDX, 26, "1 GiB pages"},
	{0x80000001, 0, CPUID_EDX, 27, "RDTSCP"},
	{0x80000001, 0, CPUID_EDX, 29, "long mode"},
};

const char *cpuid_feature_name(uint32_t leaf, uint32_t sub, enum cpuid_reg reg, unsigned bit)
{
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].leaf == leaf && features[i].sub == sub && features[i].reg == reg &&
		    features[i].bit == bit)
			return features[i].name;
	return NULL;
}

/* ---- what a host can carry ---- */

const char *cpuid_model_missing(enum cpuid_model m, const struct cpuid_table *t)
{
	for (unsigned i = 0; m != CPUID_MODEL_HOST && i < ARRAY_SIZE(words); i++) {
		uint32_t r[4], lacks;
		const char *name;

		cpuid_get(t, words[i].leaf, words[i].sub, 0, &r[CPUID_EAX], &r[CPUID_EBX],
			  &r[CPUID_ECX], &r[CPUID_EDX]);
		lacks = words[i].has[m] & ~r[words[i].reg];
		if (!lacks)
			continue;
		name = cpuid_feature_name(words[i].leaf, words[i].sub, words[i].reg,
					  (unsigned)__builtin_ctz(lacks));
		return name ? name : "a feature of every x86-64 processor";
	}
	return NULL;
}

int cpuid_model_check(enum cpuid_model m, const struct cpuid_table *t, const char *engine,
		      struct err *e)
{
	const char *lacks = cpuid_model_missing(m, t);
	unsigned best = (unsigned)m;

	if (!lacks)
		return 0;
	while (cpuid_model_missing((enum cpuid_model)best, t))
		best--;
	err_set(e, ENODEV,
		"the %s engine cannot give a processor of model %s on this host: it has no %s (use %s)",
		engine, cpuid_model_names[m], lacks, cpuid_model_names[best]);
	return err_field(e, "cpu.model", cpuid_model_names[m]);
}

const char *cpuid_model_list(cpuid_source host, char *buf, size_t size)
{
	struct text out = {.buf = buf, .size = size};
	struct cpuid_table t;

	cpuid_build(&t, host, CPUID_MODEL_HOST, 1, 0);
	if (size)
		buf[0] = '\0';
	for (unsigned m = CPUID_MODEL_HOST + 1; m < CPUID_MODELS; m++)
		if (!cpuid_model_missing((enum cpuid_model)m, &t))
			text_print(&out, "%s%s", out.len ? " " : "", cpuid_model_names[m]);
	return buf;
}
