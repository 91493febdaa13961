/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.c - the tables. Layout from `base` on: RSDP, XSDT, FACS (aligned to 64), FADT, MADT, MCFG, [HPET], DSDT.
 *
 * The model is ICH9's: fixed PM registers at LAYOUT_PORT_PM, no SMI_CMD (the machine is always in ACPI mode),
 * SCI on GSI 9, level, active high; fixed power button; reset by port 0xcf9. There is no sleep state but S5.
 * With acpi_config.reduced the same registers are described as hardware-reduced ACPI: a Generic Event Device (§5.6.9) on GSI 9, whose
 * method looks into PM1a and GPE0, a power button device, sleep control and status registers, no PM timer. A system then takes it
 * that there are neither 8259s nor an 8254, and does not ask for what is left of them.
 *
 * PCI interrupts are wired to GSI 16-23 (pci_gsi()); there are no link devices, so a system that does
 * without the IOAPIC has MSI-X only. Serial port, clock and keyboard are below the LPC bridge; without it, right below the PCI root.
 */
#include "board/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/aml.h"
#include "board/hotplug.h"
#include "board/pci.h"
#include "board/pm.h"

#define TABLES_MAX (LAYOUT_RESET_VECTOR - LAYOUT_RSDP)
#define HEADER 36u /* DESCRIPTION_HEADER */
#define TABLE_SLOTS 8u

/* FADT (§5.2.9): flags. */
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_PWR_BUTTON BIT(4) /* set: there is no fixed power button */
#define FADT_SLP_BUTTON BIT(5) /* set: there is no fixed sleep button */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG_SUP BIT(10)
#define FADT_HW_REDUCED BIT(20)
/* IA-PC boot architecture flags (§5.2.9.3). */
#define IAPC_LEGACY_DEVICES 0x1u
#define IAPC_8042 0x2u
#define IAPC_NO_VGA 0x4u

#define SPACE_MEMORY 0u
#define SPACE_IO 1u

#define OSC_UUID \
	"33db4d5b-1ff7-401c-9657-7441c03dd766" /* PCI host bridge (PCI firmware 3.3 §4.5.1) */
#define OSC_GRANTED 0x1du /* native hot-plug, PME, AER, PCIe capability structure; not SHPC */

struct tables {
	gpa_t base;
	uint8_t *buf;
	size_t size, len;
	bool full;
	gpa_t list[TABLE_SLOTS]; /* for XSDT */
	unsigned n;
};

static void le(uint8_t *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* Appends n zero bytes at this alignment; returns their offset. When full: writes go to the first bytes, and
 * the result is not used. */
static size_t take(struct tables *t, size_t n, size_t align)
{
	size_t at = ALIGN_UP(t->len, align);

	if (at > t->size || n > t->size - at) {
		t->full = true;
		return 0;
	}
	memset(t->buf + t->len, 0, at + n - t->len);
	t->len = at + n;
	return at;
}

static void checksum(uint8_t *p, size_t n, uint8_t *where)
{
	uint8_t sum = 0;

	*where = 0;
	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + p[i]);
	*where = (uint8_t)-sum;
}

/* A table of this length with its header; NULL when full. Checksum comes by finish(). */
static uint8_t *table(struct tables *t, const char *sig, unsigned revision, size_t len)
{
	size_t at = take(t, len, 16);
	uint8_t *p = t->buf + at;

	if (t->full)
		return NULL;
	memcpy(p, sig, 4);
	le(p + 4, len, 4);
	p[8] = (uint8_t)revision;
	memcpy(p + 10, "LODGE ", 6);
	memcpy(p + 16, "LODGEVM ", 8);
	le(p + 24, 1, 4);
	memcpy(p + 28, "LDGE", 4);
	le(p + 32, 1, 4);
	return p;
}

/* Checksums a table and enters it in the XSDT if `listed`. Returns its address. */
static gpa_t finish(struct tables *t, uint8_t *p, bool listed)
{
	gpa_t gpa = t->base + (size_t)(p - t->buf);
	uint32_t len = p[4] | p[5] << 8 | p[6] << 16 | (uint32_t)p[7] << 24;

	checksum(p, len, p + 9);
	if (listed) {
		ASSERT(t->n < TABLE_SLOTS);
		t->list[t->n++] = gpa;
	}
	return gpa;
}

/* Generic Address Structure (§5.2.3.2). */
static void gas(uint8_t *p, unsigned space, unsigned bits, unsigned access, uint64_t addr)
{
	p[0] = (uint8_t)space;
	p[1] = (uint8_t)bits;
	p[2] = 0;
	p[3] = (uint8_t)access;
	le(p + 4, addr, 8);
}

/* The fixed hardware (§4.8): ICH9's, or what hardware-reduced ACPI has in place of it. */
static void fadt_hardware(uint8_t *p, const struct acpi_config *cfg)
{
	uint32_t flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET_REG_SUP;

	if (cfg->reduced) {
		le(p + 112, flags | FADT_PWR_BUTTON | FADT_HW_REDUCED, 4);
		gas(p + 244, SPACE_IO, 8, 1, LAYOUT_PORT_PM + PM_SLEEP_CONTROL);
		gas(p + 256, SPACE_IO, 8, 1, LAYOUT_PORT_PM + PM_SLEEP_STATUS);
		return;
	}
	le(p + 46, LAYOUT_IRQ_SCI, 2);
	le(p + 56, LAYOUT_PORT_PM, 4);
	le(p + 64, LAYOUT_PORT_PM + 4, 4);
	le(p + 76, LAYOUT_PORT_PM + 8, 4);
	le(p + 80, LAYOUT_PORT_PM + PM_GPE0_OFFSET, 4);
	p[88] = 4;
	p[89] = 2;
	p[91] = 4;
	p[92] = PM_GPE0_LEN;
	le(p + 112, flags | (cfg->pm_timer_32bit ? FADT_TMR_VAL_EXT : 0), 4);
	gas(p + 148, SPACE_IO, 32, 2, LAYOUT_PORT_PM);
	gas(p + 172, SPACE_IO, 16, 2, LAYOUT_PORT_PM + 4);
	gas(p + 208, SPACE_IO, 32, 3, LAYOUT_PORT_PM + 8);
	gas(p + 220, SPACE_IO, PM_GPE0_LEN * 8, 1, LAYOUT_PORT_PM + PM_GPE0_OFFSET);
}

static void build_fadt(struct tables *t, const struct acpi_config *cfg, gpa_t facs, gpa_t dsdt)
{
	uint8_t *p = table(t, "FACP", 6, 276);

	if (!p)
		return;
	le(p + 36, facs, 4);
	le(p + 40, dsdt, 4);
	p[45] = 4; /* preferred profile: enterprise server */
	fadt_hardware(p, cfg);
	le(p + 96, 0xfff, 2); /* no C2 */
	le(p + 98, 0xfff, 2); /* no C3 */
	p[108] = 0x32;	      /* CMOS index of the century */
	le(p + 109, IAPC_LEGACY_DEVICES | IAPC_NO_VGA | (cfg->i8042 ? IAPC_8042 : 0), 2);
	gas(p + 116, SPACE_IO, 8, 1, LAYOUT_PORT_RESET);
	p[128] = ACPI_RESET_VALUE;
	p[131] = 5; /* minor version */
	le(p + 140, dsdt, 8);
	memcpy(p + 268, "LODGE", 5); /* hypervisor vendor */
	finish(t, p, true);
}

static uint8_t *entry(uint8_t *p, unsigned type, unsigned len)
{
	p[0] = (uint8_t)type;
	p[1] = (uint8_t)len;
	return p + len;
}

/* Interrupt source override (§5.2.12.5): ISA IRQ -> GSI. flags: polarity bits 0-1, trigger bits 2-3. */
static uint8_t * override(uint8_t *p, unsigned irq, unsigned gsi, unsigned flags)
{
	p[3] = (uint8_t)irq;
	le(p + 4, gsi, 4);
	le(p + 8, flags, 2);
	return entry(p, 2, 10);
}

static void build_madt(struct tables *t, const struct acpi_config *cfg)
{
	unsigned n_x2 = cfg->n_cpus > 255 ? cfg->n_cpus - 255 : 0, n_x = cfg->n_cpus - n_x2;
	size_t len = HEADER + 8 + n_x * 8 + n_x2 * 16 + 12 + 2 * 10 + 6 + (n_x2 ? 12 : 0);
	uint8_t *table_start = table(t, "APIC", 5, len), *p = table_start;

	if (!p)
		return;
	le(p + 36, LAYOUT_LAPIC, 4);
	le(p + 40, 1, 4); /* there are 8259s, too */
	p += HEADER + 8;
	for (unsigned i = 0; i < n_x; i++) {
		p[2] = (uint8_t)i;
		p[3] = (uint8_t)i;
		le(p + 4, 1, 4); /* enabled */
		p = entry(p, 0, 8);
	}
	for (unsigned i = n_x; i < cfg->n_cpus; i++) {
		le(p + 4, i, 4);
		le(p + 8, 1, 4);
		le(p + 12, i, 4);
		p = entry(p, 9, 16);
	}
	le(p + 4, LAYOUT_IOAPIC, 4);
	p = entry(p, 1, 12);
	p = override(p, LAYOUT_IRQ_PIT, 2, 0); /* as the bus has it: edge, active high */
	p = override(p, LAYOUT_IRQ_SCI, LAYOUT_IRQ_SCI, 0xd); /* level, active high */
	p[2] = 0xff;					      /* all processors: LINT1 is NMI */
	p[5] = 1;
	p = entry(p, 4, 6);
	if (n_x2) {
		le(p + 4, 0xffffffff, 4);
		p[8] = 1;
		p = entry(p, 10, 12);
	}
	ASSERT((size_t)(p - table_start) == len);
	finish(t, table_start, true);
}

/* PCI Express memory-mapped configuration space (PCI firmware 3.3 §4.1.2). */
static void build_mcfg(struct tables *t)
{
	uint8_t *p = table(t, "MCFG", 1, HEADER + 8 + 16);

	if (!p)
		return;
	le(p + 44, LAYOUT_ECAM, 8);
	p[55] = LAYOUT_PCI_LAST_BUS;
	finish(t, p, true);
}

static void build_hpet(struct tables *t)
{
	uint8_t *p = table(t, "HPET", 1, 56);

	if (!p)
		return;
	le(p + 36, 0x8086a201, 4); /* Intel, legacy replacement, 64-bit counter, 3 timers, rev. 1 */
	gas(p + 40, SPACE_MEMORY, 64, 0, LAYOUT_HPET);
	finish(t, p, true);
}

/* ---- DSDT ---- */

static void aml_cpus(struct aml *a, unsigned n)
{
	char name[8];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		aml_device(a, name);
		aml_name_string(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", i);
		aml_close(a);
	}
}

/* Operating system capabilities of the host bridge (§6.2.11.3): grants control of native PCIe features. */
static void aml_osc(struct aml *a)
{
	aml_method(a, "_OSC", 4, true);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const field[] = {"CDW1", "CDW2", "CDW3"};

		if (i == 1) {
			aml_if(a);
			aml_op(a, AML_LEQUAL);
			aml_arg(a, 0);
			aml_uuid(a, OSC_UUID);
		}
		aml_op(a, AML_CREATE_DWORD_FIELD);
		aml_arg(a, 3);
		aml_int(a, i * 4);
		aml_path(a, field[i]);
	}
	aml_op(a, AML_AND); /* Local0 = CDW3 & granted */
	aml_path(a, "CDW3");
	aml_int(a, OSC_GRANTED);
	aml_local(a, 0);

	aml_if(a); /* a revision that we do not know: bit 3 */
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_arg(a, 1);
	aml_int(a, 1);
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, 8);
	aml_path(a, "CDW1");
	aml_close(a);

	aml_if(a); /* something was masked: bit 4 */
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_path(a, "CDW3");
	aml_local(a, 0);
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, 0x10);
	aml_path(a, "CDW1");
	aml_close(a);

	aml_op(a, AML_STORE);
	aml_local(a, 0);
	aml_path(a, "CDW3");
	aml_close(a); /* If UUID */
	aml_else(a);  /* not our UUID: bit 2 */
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, 4);
	aml_path(a, "CDW1");
	aml_close(a);
	aml_op(a, AML_RETURN);
	aml_arg(a, 3);
	aml_close(a);
}

static void aml_prt(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, 32 * 4);
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			aml_package(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0); /* no link device: the next is a GSI */
			aml_int(a, pci_gsi(slot, pin));
			aml_close(a);
		}
	}
	aml_close(a);
}

/* Opens the device and its _CRS: two closes. */
static void aml_isa_device(struct aml *a, const char *name, const char *hid, unsigned uid)
{
	aml_device(a, name);
	aml_name_eisaid(a, "_HID", hid);
	aml_name_int(a, "_UID", uid);
	aml_name(a, "_CRS");
	aml_resources(a);
}

static void aml_isa(struct aml *a, const struct acpi_config *cfg)
{
	if (!cfg->no_lpc) {
		aml_device(a, "ISA");
		aml_name_int(a, "_ADR", 0x001f0000); /* the LPC bridge */
	}
	aml_isa_device(a, "COM1", "PNP0501", 1);
	aml_res_io(a, LAYOUT_PORT_COM1, 8);
	aml_res_irq(a, LAYOUT_IRQ_COM1);
	aml_close(a);
	aml_close(a);

	aml_isa_device(a, "RTC", "PNP0B00", 0);
	aml_res_io(a, LAYOUT_PORT_RTC, 4);
	aml_res_irq(a, LAYOUT_IRQ_RTC);
	aml_close(a);
	aml_close(a);

	aml_device(a, "PANI");
	aml_name_string(a, "_HID", "QEMU0001"); /* board/pvpanic.h */
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, LAYOUT_PORT_PVPANIC, 1);
	aml_close(a);
	aml_close(a);

	if (cfg->i8042) {
		aml_isa_device(a, "KBD", "PNP0303", 0);
		aml_res_io(a, LAYOUT_PORT_I8042, 1);
		aml_res_io(a, LAYOUT_PORT_I8042 + 4, 1);
		aml_res_irq(a, 1);
		aml_close(a);
		aml_close(a);
		aml_isa_device(a, "MOU", "PNP0F13", 0);
		aml_res_irq(a, 12);
		aml_close(a);
		aml_close(a);
	}
	if (!cfg->no_lpc)
		aml_close(a);
}

static const char *slot_name(unsigned slot, char name[8])
{
	snprintf(name, 8, "S%03X", slot & 0xfff);
	return name;
}

/* Notifies the devices of the slots in Local0. */
static void aml_notify_slots(struct aml *a, uint32_t slots, unsigned what)
{
	char name[8];

	for (; slots; slots &= slots - 1) {
		aml_if(a);
		aml_op(a, AML_AND);
		aml_local(a, 0);
		aml_int(a, slots & -slots);
		aml_null(a);
		aml_op(a, AML_NOTIFY);
		aml_path(a, slot_name((unsigned)__builtin_ctz(slots), name));
		aml_int(a, what);
		aml_close(a);
	}
}

/* The slots of board/hotplug.h: a device for each, and the method that reads which have news. Inside of the host bridge. */
static void aml_hotplug(struct aml *a, uint32_t slots)
{
	static const char *const news[] = {"HPUP", "HPDN"};
	static const unsigned what[] = {1, 3}; /* device check, ejection request (§5.6.6) */
	char name[8];

	aml_region_io(a, "HPRG", LAYOUT_PORT_HOTPLUG, HOTPLUG_SIZE);
	aml_field(a, "HPRG");
	aml_field_dword(a, news[0]);
	aml_field_dword(a, news[1]);
	aml_field_dword(a, "HPEJ");
	aml_close(a);
	for (uint32_t left = slots; left; left &= left - 1) {
		unsigned slot = (unsigned)__builtin_ctz(left);

		aml_device(a, slot_name(slot, name));
		aml_name_int(a, "_ADR", (uint64_t)slot << 16);
		aml_name_int(a, "_SUN", slot);
		aml_method(a, "_EJ0", 1, true);
		aml_op(a, AML_STORE);
		aml_int(a, BIT(slot));
		aml_path(a, "HPEJ");
		aml_close(a);
		aml_close(a);
	}
	aml_method(a, "HPNW", 0, true);
	for (unsigned i = 0; i < ARRAY_SIZE(news); i++) {
		aml_op(a, AML_STORE);
		aml_path(a, news[i]);
		aml_local(a, 0);
		aml_op(a, AML_STORE); /* clears what was read */
		aml_local(a, 0);
		aml_path(a, news[i]);
		aml_notify_slots(a, slots, what[i]);
	}
	aml_close(a);
}

static void aml_pci(struct aml *a, const struct acpi_config *cfg)
{
	aml_device(a, "PCI0");
	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_window_bus(a, 0, LAYOUT_PCI_LAST_BUS);
	aml_res_io(a, LAYOUT_PORT_PCI_ADDR, 8);
	aml_res_window_io(a, 0, LAYOUT_PORT_PCI_ADDR - 1);
	aml_res_window_io(a, LAYOUT_PORT_PCI_ADDR + 8, 0xffff);
	aml_res_window_mem32(a, LAYOUT_PCI_MMIO32, LAYOUT_PCI_MMIO32_END - LAYOUT_PCI_MMIO32);
	if (cfg->mmio64_size)
		aml_res_window_mem64(a, cfg->mmio64_base, cfg->mmio64_size);
	aml_close(a);
	aml_prt(a);
	aml_osc(a);
	aml_isa(a, cfg);
	if (cfg->hotplug_slots)
		aml_hotplug(a, cfg->hotplug_slots);
	aml_close(a);
}

/* Addresses that are taken by the board itself: ECAM (required by PCI firmware 3.3 §4.1.2), chip set ports. */
static void aml_board(struct aml *a, const struct acpi_config *cfg)
{
	aml_isa_device(a, "MBRD", "PNP0C02", 0);
	aml_res_mem32(a, LAYOUT_ECAM, LAYOUT_ECAM_SIZE, true);
	aml_res_mem32(a, LAYOUT_IOAPIC, 0x1000, true);
	aml_res_mem32(a, LAYOUT_LAPIC, 0x1000, true);
	aml_res_io(a, LAYOUT_PORT_ELCR, 2);
	aml_res_io(a, LAYOUT_PORT_PM, PM_SIZE);
	if (cfg->hotplug_slots)
		aml_res_io(a, LAYOUT_PORT_HOTPLUG, HOTPLUG_SIZE);
	aml_close(a);
	aml_close(a);
	if (cfg->hpet) {
		aml_isa_device(a, "HPET", "PNP0103", 0);
		aml_res_mem32(a, LAYOUT_HPET, 0x400, false);
		aml_close(a);
		aml_close(a);
	}
}

/* One event: if a status bit is set it is cleared, and then what it stands for is told, so that news in between comes again. */
static void aml_event(struct aml *a, const char *status, uint32_t bit, uint32_t clear)
{
	aml_if(a);
	aml_op(a, AML_AND);
	aml_path(a, status);
	aml_int(a, bit);
	aml_null(a);
	aml_op(a, AML_STORE);
	aml_int(a, clear);
	aml_path(a, status);
}

static void aml_enable(struct aml *a, const char *where, uint32_t value)
{
	aml_op(a, AML_STORE);
	aml_int(a, value);
	aml_path(a, where);
}

/* Hardware-reduced: the power button, and the device whose interrupt tells of it and of hot-plug. Inside of \\_SB. */
static void aml_events(struct aml *a, const struct acpi_config *cfg)
{
	static const uint32_t button = PM_PM1_PWRBTN
				       << 16; /* its enable bit, kept when its status is cleared */

	aml_device(a, "PWRB");
	aml_name_eisaid(a, "_HID", "PNP0C0C");
	aml_name_int(a, "_UID", 0);
	aml_close(a);

	aml_device(a, "GED");
	aml_name_string(a, "_HID", "ACPI0013");
	aml_name_int(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_gsi(a, LAYOUT_IRQ_SCI);
	aml_close(a);
	aml_region_io(a, "PM1R", LAYOUT_PORT_PM + PM_PM1_EVENTS, 4);
	aml_field(a, "PM1R");
	aml_field_dword(a, "PM1E");
	aml_close(a);
	aml_region_io(a, "GPER", LAYOUT_PORT_PM + PM_GPE0_OFFSET, PM_GPE0_LEN);
	aml_field(a, "GPER");
	aml_field_dword(a, "GPES");
	aml_field_dword(a, "GPS2");
	aml_field_dword(a, "GPEE");
	aml_close(a);

	aml_method(a, "_INI", 0, true);
	aml_enable(a, "PM1E", button);
	if (cfg->hotplug_slots)
		aml_enable(a, "GPEE", BIT(HOTPLUG_GPE));
	aml_close(a);

	aml_method(a, "_EVT", 1, true);
	aml_event(a, "PM1E", PM_PM1_PWRBTN, button | PM_PM1_PWRBTN);
	aml_op(a, AML_NOTIFY);
	aml_path(a, "PWRB");
	aml_int(a, 0x80); /* pressed (§4.8.3.2.2.1.1) */
	aml_close(a);
	if (cfg->hotplug_slots) {
		aml_event(a, "GPES", BIT(HOTPLUG_GPE), BIT(HOTPLUG_GPE));
		aml_path(a, "\\_SB.PCI0.HPNW");
		aml_close(a);
	}
	aml_close(a);
	aml_close(a);
}

static void dsdt_body(struct aml *a, const struct acpi_config *cfg)
{
	aml_scope(a, "\\_SB");
	aml_cpus(a, cfg->n_cpus);
	aml_pci(a, cfg);
	aml_board(a, cfg);
	if (cfg->reduced)
		aml_events(a, cfg);
	aml_close(a);

	if (cfg->hotplug_slots && !cfg->reduced) {
		aml_scope(a, "\\_GPE");
		aml_method(a, "_E01", 0, false); /* HOTPLUG_GPE */
		aml_path(a, "\\_SB.PCI0.HPNW");
		aml_close(a);
		aml_close(a);
	}
	aml_name(a, "\\_S5");
	aml_package(a, 4);
	aml_int(a, PM_SLP_TYP_S5); /* PM1a */
	aml_int(a, PM_SLP_TYP_S5); /* PM1b: there is none */
	aml_int(a, 0);
	aml_int(a, 0);
	aml_close(a);
}

static gpa_t build_dsdt(struct tables *t, const struct acpi_config *cfg, int *error)
{
	gpa_t gpa = 0;
	struct aml a;

	aml_init(&a);
	dsdt_body(&a, cfg);
	*error = aml_error(&a);
	if (!*error) {
		uint8_t *p = table(t, "DSDT", 2, HEADER + a.len);

		if (p) {
			memcpy(p + HEADER, a.buf, a.len);
			gpa = finish(t, p, false);
		}
	}
	aml_fini(&a);
	return gpa;
}

/* ---- the whole ---- */

gpa_t acpi_mmio64_base(const struct gmem *mem)
{
	gpa_t top = LAYOUT_HIGH_RAM;

	for (unsigned i = 0; i < mem->n_regions; i++)
		top = MAX(top, mem->region[i].gpa + mem->region[i].size);
	return ALIGN_UP(top, LAYOUT_PCI_MMIO64_SIZE);
}

int acpi_build(const struct acpi_config *cfg, gpa_t base, uint8_t *buf, size_t size, size_t *len,
	       struct err *e)
{
	struct tables t = {.base = base, .buf = buf, .size = size};
	size_t xsdt_len, xsdt_at, facs_at;
	uint8_t *rsdp = buf, *xsdt;
	gpa_t dsdt;
	int error;

	if (cfg->n_cpus < 1 || cfg->n_cpus > ACPI_MAX_CPUS)
		return err_set(e, EINVAL, "ACPI tables describe 1 to %u processors, not %u",
			       ACPI_MAX_CPUS, cfg->n_cpus);
	if (base % 64 || base > 4 * GIB - MIB)
		return err_set(e, EINVAL, "ACPI tables cannot be at 0x%llx",
			       (unsigned long long)base);

	/* RSDP, XSDT and FACS have known sizes and come first; the XSDT is filled in last. */
	take(&t, 36, 16);
	xsdt_len = HEADER + (cfg->hpet ? 4 : 3) * 8;
	xsdt = table(&t, "XSDT", 1, xsdt_len);
	xsdt_at = xsdt ? (size_t)(xsdt - buf) : 0;
	facs_at = take(&t, 64, 64);
	if (!t.full) {
		memcpy(buf + facs_at, "FACS", 4);
		le(buf + facs_at + 4, 64, 4);
		buf[facs_at + 32] = 2; /* version */
	}
	dsdt = build_dsdt(&t, cfg, &error);
	if (error)
		return err_set(e, -error, "cannot build the ACPI tables: no memory");
	build_fadt(&t, cfg, base + facs_at, dsdt);
	build_madt(&t, cfg);
	build_mcfg(&t);
	if (cfg->hpet)
		build_hpet(&t);
	if (t.full)
		return err_set(e, ENOSPC, "the ACPI tables do not fit into %zu KiB", size / 1024);

	for (unsigned i = 0; i < t.n; i++)
		le(xsdt + HEADER + i * 8, t.list[i], 8);
	ASSERT(HEADER + t.n * 8 == xsdt_len);
	finish(&t, xsdt, false);
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "LODGE ", 6);
	rsdp[15] = 2;
	le(rsdp + 20, 36, 4);
	le(rsdp + 24, base + xsdt_at, 8);
	checksum(rsdp, 20, rsdp + 8);
	checksum(rsdp, 36, rsdp + 32);
	*len = t.len;
	return 0;
}

int acpi_install(const struct acpi_config *cfg, struct gmem *mem, struct err *e)
{
	uint8_t *buf = malloc(TABLES_MAX);
	size_t len = 0;
	int r;

	if (!buf)
		return err_set(e, ENOMEM, "no memory to build the ACPI tables");
	r = acpi_build(cfg, LAYOUT_RSDP, buf, TABLES_MAX, &len, e);
	if (!r && gmem_write(mem, LAYOUT_RSDP, buf, len))
		r = err_set(e, EFAULT, "guest memory has no room for the ACPI tables at 0x%x",
			    LAYOUT_RSDP);
	free(buf);
	return r;
}
