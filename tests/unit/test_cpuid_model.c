/* SPDX-License-Identifier: Apache-2.0 */
/* test_cpuid_model.c - named processors: the same on unlike hosts, and refused by name where something is missing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "x86/cpuid_model.h"
#include "x86/state.h"

/* The leaves that say what a program may use. */
static const struct {
	uint32_t leaf, sub;
} told[] = {{1, 0},   {7, 0},	       {7, 1},		{0xd, 0},	 {0xd, 1},
	    {0xd, 2}, {0x80000001, 0}, {0x80000002, 0}, {0x80000003, 0}, {0x80000004, 0}};

static struct {
	const char *vendor;
	uint32_t signature;
	enum cpuid_model only; /* has no more than this model */
	uint32_t leaf, sub, bit;
	enum cpuid_reg reg; /* and not this bit, if leaf is not 0 */
} host;

static enum cpuid_vendor vendor_of_host(void)
{
	return !strcmp(host.vendor, "GenuineIntel") ? CPUID_VENDOR_INTEL : CPUID_VENDOR_AMD;
}

static void pretend(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	memset(out, 0xff, 16);
	if (leaf == 0) {
		out[CPUID_EAX] = 0x20;
		memcpy(&out[CPUID_EBX], host.vendor, 4);
		memcpy(&out[CPUID_EDX], host.vendor + 4, 4);
		memcpy(&out[CPUID_ECX], host.vendor + 8, 4);
		return;
	}
	cpuid_model_filter(host.only, vendor_of_host(), leaf, sub, out);
	if (leaf == 1 || leaf == 0x80000001)
		out[CPUID_EAX] = host.signature;
	else if (leaf == 4 || leaf == 0x8000001d)
		out[CPUID_EAX] = sub < 3 ? 0x3c004121 | sub << 5 : 0;
	else if (leaf == 0x80000000)
		out[CPUID_EAX] = 0x80000021;
	else if (leaf == 0x80000008)
		out[CPUID_EAX] = 52 | 57 << 8;
	if (host.leaf == leaf && host.sub == sub)
		out[host.reg] &= ~(1u << host.bit);
}

static struct cpuid_table table;

static void get(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	cpuid_get(&table, leaf, sub, 0, &out[0], &out[1], &out[2], &out[3]);
}

static void host_is(const char *vendor, uint32_t signature, enum cpuid_model only)
{
	memset(&host, 0, sizeof(host));
	host.vendor = vendor;
	host.signature = signature;
	host.only = only;
}

/* A host with everything and one with no more than the model: a guest sees the same. */
static void test_same_on_unlike_hosts(void **st)
{
	static const char *const vendors[] = {"GenuineIntel", "AuthenticAMD"};

	(void)st;
	for (unsigned v = 0; v < ARRAY_SIZE(vendors); v++)
		for (unsigned m = CPUID_MODEL_V1; m < CPUID_MODELS; m++) {
			uint32_t first[ARRAY_SIZE(told)][4], r[4];

			host_is(vendors[v], 0xabcde, CPUID_MODEL_HOST);
			cpuid_build(&table, pretend, (enum cpuid_model)m, 2, 2000000);
			assert_null(cpuid_model_missing((enum cpuid_model)m, &table));
			for (unsigned i = 0; i < ARRAY_SIZE(told); i++)
				get(told[i].leaf, told[i].sub, first[i]);
			get(0x80000002, 0, r);
			assert_memory_equal(r, "x86-64", 6);
			get(1, 0, r);
			assert_int_not_equal(r[CPUID_EAX], 0xabcde);
			assert_int_equal(table.phys_bits, 40);

			host_is(vendors[v], 0x12345, (enum cpuid_model)m);
			cpuid_build(&table, pretend, (enum cpuid_model)m, 2, 2000000);
			assert_null(cpuid_model_missing((enum cpuid_model)m, &table));
			for (unsigned i = 0; i < ARRAY_SIZE(told); i++) {
				get(told[i].leaf, told[i].sub, r);
				assert_memory_equal(r, first[i], sizeof(r));
			}
		}
}

/* Each level has more than the one below it, XCR0 and CR4 follow, and "host" hides nothing. */
static void test_levels(void **st)
{
	(void)st;
	host_is("GenuineIntel", 0x906ea, CPUID_MODEL_HOST);
	for (unsigned m = CPUID_MODEL_V1; m < CPUID_MODELS; m++) {
		cpuid_build(&table, pretend, (enum cpuid_model)m, 1, 2000000);
		for (unsigned other = CPUID_MODEL_V1; other < CPUID_MODELS; other++)
			assert_int_equal(!cpuid_model_missing((enum cpuid_model)other, &table),
					 other <= m);
		assert_int_equal(table.xcr0_valid, m >= CPUID_MODEL_V3 ? 7 : 0);
		assert_int_equal(!!(table.cr4_valid & X86_CR4_OSXSAVE), m >= CPUID_MODEL_V3);
		assert_int_equal(!!(table.cr4_valid & X86_CR4_SMEP), m >= CPUID_MODEL_V3);
		assert_int_equal(table.cr4_valid & (X86_CR4_SMAP | X86_CR4_PCIDE | X86_CR4_UMIP), 0);
		assert_true(table.efer_valid & X86_EFER_NXE);
	}
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 1, 2000000);
	assert_true(table.cr4_valid & X86_CR4_SMAP);
	assert_null(cpuid_model_missing(CPUID_MODEL_HOST, &table));
}

static void expect_missing(enum cpuid_model m, uint32_t leaf, enum cpuid_reg reg, uint32_t bit,
			   const char *name, const char *best)
{
	struct err e = {0};
	char use[40];

	host_is("AuthenticAMD", 0x800f12, CPUID_MODEL_HOST);
	host.leaf = leaf;
	host.reg = reg;
	host.bit = bit;
	cpuid_build(&table, pretend, m, 1, 2000000);
	assert_string_equal(cpuid_model_missing(m, &table), name);
	assert_int_equal(cpuid_model_check(m, &table, "KVM", &e), -ENODEV);
	assert_non_null(strstr(e.msg, name));
	assert_non_null(strstr(e.msg, "KVM"));
	assert_non_null(strstr(e.msg, cpuid_model_names[m]));
	snprintf(use, sizeof(use), "(use %s)", best);
	assert_non_null(strstr(e.msg, use));
	assert_string_equal(e.field, "cpu.model");
}

static void test_missing(void **st)
{
	struct err e = {0};
	char text[64];

	(void)st;
	expect_missing(CPUID_MODEL_V2, 1, CPUID_ECX, 20, "SSE4.2", "x86-64");
	expect_missing(CPUID_MODEL_V3, 1, CPUID_ECX, 23, "POPCNT", "x86-64");
	expect_missing(CPUID_MODEL_V3, 7, CPUID_EBX, 5, "AVX2", "x86-64-v2");
	expect_missing(CPUID_MODEL_V3, 7, CPUID_EBX, 0, "FSGSBASE", "x86-64-v2");
	expect_missing(CPUID_MODEL_V1, 0x80000001, CPUID_EDX, 20, "NX", "host");
	expect_missing(CPUID_MODEL_V1, 1, CPUID_EDX, 26, "a feature of every x86-64 processor",
		       "host");
	cpuid_build(&table, pretend, CPUID_MODEL_HOST, 1, 2000000);
	assert_int_equal(cpuid_model_check(CPUID_MODEL_HOST, &table, "KVM", &e), 0);
	/* Without XSAVE there is no AVX either. */
	host_is("GenuineIntel", 0x906ea, CPUID_MODEL_HOST);
	host.leaf = 1;
	host.reg = CPUID_ECX;
	host.bit = 26;
	assert_string_equal(cpuid_model_list(pretend, text, sizeof(text)), "x86-64 x86-64-v2");
	host.leaf = 0;
	assert_string_equal(cpuid_model_list(pretend, text, sizeof(text)),
			    "x86-64 x86-64-v2 x86-64-v3");
	assert_string_equal(cpuid_model_list(pretend, text, 9), "x86-64 x");
}

/* A maker whose models nobody here knows: the signature is the host's. */
static void test_other_vendor(void **st)
{
	uint32_t r[4];

	(void)st;
	host_is("CentaurHauls", 0x307b0, CPUID_MODEL_HOST);
	cpuid_build(&table, pretend, CPUID_MODEL_V2, 1, 2000000);
	assert_int_equal(table.vendor, CPUID_VENDOR_OTHER);
	get(1, 0, r);
	assert_int_equal(r[CPUID_EAX], 0x307b0);
	assert_null(cpuid_model_missing(CPUID_MODEL_V2, &table));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_on_unlike_hosts),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_other_vendor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
