/* SPDX-License-Identifier: Apache-2.0 */
/* test_acpi.c - the AML writer's encodings, the tables' structure and checksums, and what iasl makes of the DSDT. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "board/acpi.h"
#include "board/aml.h"
#include "board/pci.h"

/* ---- AML ---- */

static void expect_bytes(struct aml *a, const char *bytes, size_t n)
{
	assert_int_equal(aml_error(a), 0);
	assert_int_equal(a->len, n);
	assert_memory_equal(a->buf, bytes, n);
	aml_fini(a);
	aml_init(a);
}

static void test_aml_data(void **st)
{
	struct aml a;

	(void)st;
	aml_init(&a);
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 2);
	aml_int(&a, 0x100);
	aml_int(&a, 0x10000);
	aml_int(&a, 0x100000000);
	expect_bytes(&a, "\0\1\x0a\2\x0b\0\1\x0c\0\0\1\0\x0e\0\0\0\0\1\0\0\0", 21);
	aml_string(&a, "abc");
	expect_bytes(&a,
		     "\x0d"
		     "abc\0",
		     5);
	aml_eisaid(&a, "PNP0A03"); /* ACPI 6.5 §19.6.33: 0x030AD041 */
	expect_bytes(&a, "\x0c\x41\xd0\x0a\x03", 5);
	aml_uuid(&a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	expect_bytes(
		&a,
		"\x11\x13\x0a\x10\x5b\x4d\xdb\x33\xf7\x1f\x1c\x40\x96\x57\x74\x41\xc0\x3d\xd7\x66",
		20);
	aml_path(&a, "\\_SB.PCI0");
	expect_bytes(&a, "\\\x2e_SB_PCI0", 10);
	aml_path(&a, "^A.B.C");
	expect_bytes(&a, "^\x2f\3A___B___C___", 15);
	aml_path(&a, "\\");
	expect_bytes(&a, "\\\0", 2);
}

/* PkgLength in 1 to 3 bytes, at the boundaries (ACPI 6.5 §20.2.4). */
static void test_aml_length(void **st)
{
	static const struct {
		unsigned content; /* bytes after the PkgLength, the element count included */
		uint8_t enc[3], n;
	} t[] = {
		{1, {0x02}, 1},
		{62, {0x3f}, 1},
		{63, {0x41, 0x04}, 2},
		{4093, {0x4f, 0xff}, 2},
		{4094, {0x81, 0x00, 0x01}, 3},
		{70000, {0x83, 0x17, 0x11}, 3},
	};

	(void)st;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct aml a;

		aml_init(&a);
		aml_package(&a, 0);
		for (unsigned k = 1; k < t[i].content; k++)
			aml_int(&a, 0);
		aml_close(&a);
		assert_int_equal(aml_error(&a), 0);
		assert_int_equal(a.len, 1 + t[i].n + t[i].content);
		assert_memory_equal(a.buf + 1, t[i].enc, t[i].n);
		aml_fini(&a);
	}
}

static void test_aml_errors(void **st)
{
	struct aml a;

	(void)st;
	aml_init(&a);
	aml_close(&a);
	assert_int_equal(aml_error(&a), -EINVAL);
	aml_fini(&a);
	aml_scope(&a, "\\");
	assert_int_equal(aml_error(&a), -EINVAL); /* still open */
	aml_close(&a);
	assert_int_equal(aml_error(&a), 0);
	aml_path(&a, "TOOLONG");
	assert_int_equal(aml_error(&a), -EINVAL);
	aml_fini(&a);
	for (unsigned i = 0; i <= AML_DEPTH; i++)
		aml_package(&a, 0);
	assert_int_equal(aml_error(&a), -EINVAL);
	aml_fini(&a);
	aml_eisaid(&a, "PNP");
	assert_int_equal(aml_error(&a), -EINVAL);
	aml_fini(&a);
	for (unsigned i = 0; i < 100000; i++)
		aml_string(&a, "a string of some length, again and again and again");
	assert_int_equal(aml_error(&a), -ENOMEM); /* bounded */
	aml_fini(&a);
}

/* ---- tables ---- */

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

struct built {
	uint8_t buf[128 * 1024];
	size_t len;
	const uint8_t *fadt, *madt, *mcfg, *hpet, *dsdt, *facs;
};

static const uint8_t *at(const struct built *b, uint64_t gpa)
{
	assert_in_range(gpa, LAYOUT_RSDP, LAYOUT_RSDP + b->len - 36);
	return b->buf + (gpa - LAYOUT_RSDP);
}

static const uint8_t *checked(const struct built *b, uint64_t gpa)
{
	const uint8_t *p = at(b, gpa);
	size_t n = le(p + 4, 4);

	assert_in_range(n, 36, b->buf + b->len - p);
	assert_int_equal(sum(p, n), 0);
	return p;
}

static struct built *build(const struct acpi_config *cfg)
{
	struct built *b = calloc(1, sizeof(*b));
	const uint8_t *xsdt;
	struct err e = {0};

	memset(b->buf, 0xee, sizeof(b->buf));
	if (acpi_build(cfg, LAYOUT_RSDP, b->buf, sizeof(b->buf), &b->len, &e))
		fail_msg("%s", e.msg);
	assert_memory_equal(b->buf, "RSD PTR ", 8);
	assert_int_equal(sum(b->buf, 20), 0);
	assert_int_equal(sum(b->buf, 36), 0);
	assert_int_equal(b->buf[15], 2);
	xsdt = checked(b, le(b->buf + 24, 8));
	assert_memory_equal(xsdt, "XSDT", 4);
	for (size_t i = 36; i < le(xsdt + 4, 4); i += 8) {
		const uint8_t *p = checked(b, le(xsdt + i, 8));

		if (!memcmp(p, "FACP", 4))
			b->fadt = p;
		else if (!memcmp(p, "APIC", 4))
			b->madt = p;
		else if (!memcmp(p, "MCFG", 4))
			b->mcfg = p;
		else if (!memcmp(p, "HPET", 4))
			b->hpet = p;
		else
			fail_msg("table %.4s?", p);
	}
	assert_true(b->fadt && b->madt && b->mcfg);
	assert_int_equal(!b->hpet, !cfg->hpet);
	b->dsdt = checked(b, le(b->fadt + 140, 8));
	assert_memory_equal(b->dsdt, "DSDT", 4);
	assert_int_equal(le(b->fadt + 40, 4), le(b->fadt + 140, 8));
	b->facs = at(b, le(b->fadt + 36, 4));
	assert_memory_equal(b->facs, "FACS", 4);
	assert_int_equal(le(b->fadt + 36, 4) % 64, 0);
	return b;
}

static void test_fadt(void **st)
{
	struct acpi_config cfg = {.n_cpus = 1};
	struct built *b = build(&cfg);

	(void)st;
	assert_int_equal(le(b->fadt + 4, 4), 276);
	assert_int_equal(b->fadt[8], 6);
	assert_int_equal(le(b->fadt + 46, 2), 9);
	assert_int_equal(le(b->fadt + 48, 4), 0); /* no SMI_CMD */
	assert_int_equal(le(b->fadt + 56, 4), 0x600);
	assert_int_equal(le(b->fadt + 64, 4), 0x604);
	assert_int_equal(le(b->fadt + 76, 4), 0x608);
	assert_int_equal(le(b->fadt + 80, 4), 0x620);
	assert_int_equal(le(b->fadt + 112, 4) & BIT(20), 0); /* not hardware-reduced */
	assert_int_equal(le(b->fadt + 112, 4) & BIT(4), 0);  /* fixed power button */
	assert_int_equal(le(b->fadt + 120, 8), 0xcf9);
	assert_int_equal(b->fadt[128], 6);
	assert_int_equal(le(b->fadt + 109, 2), 0x5);
	free(b);
	cfg.i8042 = true;
	b = build(&cfg);
	assert_int_equal(le(b->fadt + 109, 2), 0x7);
	free(b);
}

static void test_madt(void **st)
{
	static const unsigned n_cpus[] = {1, 4, 255, 256, 1024};

	(void)st;
	for (size_t i = 0; i < ARRAY_SIZE(n_cpus); i++) {
		struct acpi_config cfg = {.n_cpus = n_cpus[i], .hpet = i & 1};
		struct built *b = build(&cfg);
		const uint8_t *p = b->madt + 44, *end = b->madt + le(b->madt + 4, 4);
		unsigned cpus = 0, ioapics = 0, overrides = 0, nmis = 0;

		for (; p < end; p += p[1]) {
			assert_in_range(p[1], 2, end - p);
			if (p[0] == 0) {
				assert_int_equal(p[2], cpus);
				assert_int_equal(p[3], cpus);
				assert_int_not_equal(p[3],
						     255); /* broadcast: an x2APIC entry's job */
				cpus++;
			} else if (p[0] == 9) {
				assert_int_equal(le(p + 4, 4), cpus);
				assert_int_equal(le(p + 12, 4), cpus);
				cpus++;
			} else if (p[0] == 1) {
				assert_int_equal(le(p + 4, 4), LAYOUT_IOAPIC);
				ioapics++;
			} else if (p[0] == 2) {
				assert_int_equal(le(p + 4, 4), p[3] == 0 ? 2 : 9);
				assert_int_equal(le(p + 8, 2), p[3] == 0 ? 0 : 0xd);
				overrides++;
			} else if (p[0] == 4 || p[0] == 10) {
				nmis++;
			} else {
				fail_msg("entry type %u?", p[0]);
			}
		}
		assert_ptr_equal(p, end);
		assert_int_equal(cpus, n_cpus[i]);
		assert_int_equal(ioapics, 1);
		assert_int_equal(overrides, 2);
		assert_int_equal(nmis, n_cpus[i] > 255 ? 2 : 1);
		free(b);
	}
}

static void test_limits(void **st)
{
	struct acpi_config cfg = {.n_cpus = 1};
	uint8_t buf[4096];
	struct err e = {0};
	size_t len;

	(void)st;
	for (size_t n = 0; n < 3000; n += 7) {
		uint8_t *exact = malloc(n + 1); /* its end is watched in sanitizer builds */
		int r = acpi_build(&cfg, LAYOUT_RSDP, exact, n, &len, NULL);

		assert_true(r == -ENOSPC || (r == 0 && len <= n));
		free(exact);
	}
	cfg.n_cpus = 0;
	assert_int_equal(acpi_build(&cfg, LAYOUT_RSDP, buf, sizeof(buf), &len, &e), -EINVAL);
	cfg.n_cpus = ACPI_MAX_CPUS + 1;
	assert_int_equal(acpi_build(&cfg, LAYOUT_RSDP, buf, sizeof(buf), &len, NULL), -EINVAL);
}

static void test_install(void **st)
{
	static const struct gmem_range range[] = {{0, 16 * MIB}, {4 * GIB, 70 * GIB}};
	struct acpi_config cfg = {.n_cpus = 2};
	struct built *b = build(&cfg);
	struct gmem *m;

	(void)st;
	assert_int_equal(gmem_create(&m, range, 1, -1, NULL), 0);
	assert_int_equal(acpi_mmio64_base(m), 64 * GIB);
	assert_int_equal(acpi_install(&cfg, m, NULL), 0);
	assert_memory_equal(gmem_at(m, LAYOUT_RSDP, b->len), b->buf,
			    b->len); /* the same bytes each time */
	gmem_destroy(m);
	assert_int_equal(gmem_create(&m, range, 2, -1, NULL), 0);
	assert_int_equal(acpi_mmio64_base(m), 128 * GIB);
	gmem_destroy(m);
	free(b);
}

/* Hardware-reduced: no fixed hardware but the sleep registers, which are the upper bytes of PM1a's. */
static void test_reduced(void **st)
{
	struct acpi_config cfg = {.n_cpus = 1, .reduced = true, .pm_timer_32bit = true};
	struct built *b = build(&cfg);
	uint32_t flags = (uint32_t)le(b->fadt + 112, 4);

	(void)st;
	assert_true(flags & BIT(20));
	assert_true(flags & BIT(4)); /* no fixed power button */
	assert_true(flags & BIT(5));
	assert_false(flags & BIT(8)); /* there is no timer */
	assert_int_equal(le(b->fadt + 46, 2), 0);
	for (unsigned i = 48; i < 96; i++) /* the blocks, and how long they are */
		assert_int_equal(b->fadt[i], 0);
	for (unsigned i = 148; i < 244; i++)
		assert_int_equal(b->fadt[i], 0);
	assert_int_equal(b->fadt[244], 1);
	assert_int_equal(b->fadt[245], 8);
	assert_int_equal(le(b->fadt + 248, 8), 0x605);
	assert_int_equal(b->fadt[256], 1);
	assert_int_equal(le(b->fadt + 260, 8), 0x601);
	assert_int_equal(le(b->fadt + 120, 8), 0xcf9);
	free(b);
}

/* ---- DSDT, through iasl ---- */

static char *disassemble(const uint8_t *dsdt, const char *dir)
{
	char path[256], cmd[600];
	char *text;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/dsdt.aml", dir);
	f = fopen(path, "wb");
	assert_non_null(f);
	fwrite(dsdt, 1, le(dsdt + 4, 4), f);
	fclose(f);
	/* Disassembled, and what comes out compiled again: errors and warnings of the second step count. */
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d dsdt.aml >log 2>&1 && iasl -oa -p again dsdt.dsl >log2 2>&1 && cat log2 >>dsdt.dsl",
		 dir);
	if (system(cmd) != 0)
		fail_msg("iasl does not like the DSDT: %s", cmd);
	snprintf(path, sizeof(path), "%s/dsdt.dsl", dir);
	f = fopen(path, "rb");
	assert_non_null(f);
	text = calloc(1, 4 * MIB);
	n = fread(text, 1, 4 * MIB - 1, f);
	assert_true(n > 0);
	fclose(f);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
	return text;
}

static void test_dsdt(void **st)
{
	struct acpi_config cfg = {.n_cpus = 5,
				  .mmio64_base = 64 * GIB,
				  .mmio64_size = 64 * GIB,
				  .i8042 = true,
				  .hpet = true};
	static const char *const words[] = {
		"Scope (\\_SB)",
		"Device (C000)",
		"Device (C004)",
		"\"ACPI0007\"",
		"Device (PCI0)",
		"EisaId (\"PNP0A08\")",
		"EisaId (\"PNP0A03\")",
		"WordBusNumber (ResourceProducer",
		"0x0CF7,",
		"0xC0000000,         // Range Minimum",
		"0xDFFFFFFF,         // Range Maximum",
		"QWordMemory (ResourceProducer",
		"0x0000001FFFFFFFFF, // Range Maximum",
		"Name (_PRT, Package (0x80)",
		"Method (_OSC, 4, Serialized)",
		"33db4d5b-1ff7-401c-9657-7441c03dd766",
		"CreateDWordField (Arg3, 0x08, CDW3)",
		"Device (COM1)",
		"EisaId (\"PNP0501\")",
		"Device (RTC)",
		"Device (KBD)",
		"Device (HPET)",
		"EisaId (\"PNP0C02\")",
		"0xE0000000,         // Address Base",
		"0x10000000,         // Address Length",
		"Name (\\_S5, Package (0x04)",
		" 0 Errors, 0 Warnings",
	};
	char dir[] = "/tmp/lodge-acpi-XXXXXX", gsi[16];
	struct built *b;
	char *text, *p, *last = NULL;

	(void)st;
	if (system("command -v iasl >/dev/null 2>&1") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	b = build(&cfg);
	text = disassemble(b->dsdt, dir);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strstr(text, words[i]))
			fail_msg("no '%s' in the disassembly", words[i]);
	assert_null(strstr(text, "Device (C005)"));
	/* The last slot's last pin is wired as the PCI root says. */
	for (p = text; (p = strstr(p, "0x001FFFFF")); p++)
		last = p;
	assert_non_null(last);
	snprintf(gsi, sizeof(gsi), "0x%02X", pci_gsi(31, 3));
	p = strstr(last, gsi);
	assert_non_null(p);
	assert_true(p < strchr(last, '}'));
	assert_non_null(strstr(text, "Device (ISA)"));
	free(text);
	free(b);

	/* Without the LPC bridge what is behind it hangs on the root. */
	cfg.no_lpc = true;
	assert_non_null(mkdtemp(strcpy(dir, "/tmp/lodge-acpi-XXXXXX")));
	b = build(&cfg);
	text = disassemble(b->dsdt, dir);
	assert_null(strstr(text, "Device (ISA)"));
	assert_non_null(strstr(text, "Device (COM1)"));
	assert_non_null(strstr(text, " 0 Errors, 0 Warnings"));
	assert_null(strstr(text, "ACPI0013"));
	free(text);
	free(b);

	/* Hardware-reduced, with hot-plug and without. */
	for (unsigned slots = 0; slots < 2; slots++) {
		static const char *const reduced[] = {
			"Device (PWRB)",
			"EisaId (\"PNP0C0C\")",
			"\"ACPI0013\"",
			"Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive",
			"Method (_EVT, 1, Serialized)",
			"Notify (PWRB, 0x80)",
			" 0 Errors, 0 Warnings",
		};

		cfg.reduced = true;
		cfg.hotplug_slots = slots ? 0xc : 0;
		assert_non_null(mkdtemp(strcpy(dir, "/tmp/lodge-acpi-XXXXXX")));
		b = build(&cfg);
		text = disassemble(b->dsdt, dir);
		for (size_t i = 0; i < ARRAY_SIZE(reduced); i++)
			if (!strstr(text, reduced[i]))
				fail_msg("no '%s' in the disassembly", reduced[i]);
		assert_null(strstr(text, "_GPE"));
		assert_int_equal(!!strstr(text, "HPNW ()"), slots);
		free(text);
		free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aml_data),   cmocka_unit_test(test_aml_length),
		cmocka_unit_test(test_aml_errors), cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_madt),	   cmocka_unit_test(test_limits),
		cmocka_unit_test(test_install),	   cmocka_unit_test(test_dsdt),
		cmocka_unit_test(test_reduced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
