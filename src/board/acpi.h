/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.h - the board's ACPI tables (ACPI 6.5): RSDP, XSDT, FADT, FACS, MADT, MCFG, optionally HPET, and a
 * DSDT made by our own AML writer (aml.h).
 *
 * The tables are a pure function of struct acpi_config: no host value goes into them, so that a guest sees
 * the same bytes after a reset, a restore or a move.
 */
#ifndef LODGE_BOARD_ACPI_H
#define LODGE_BOARD_ACPI_H

#include "board/layout.h"
#include "mem/gmem.h"
#include "util/err.h"

#define ACPI_MAX_CPUS 1024

#define ACPI_RESET_VALUE 6 /* written to LAYOUT_PORT_RESET: hard reset */

struct acpi_config {
	unsigned n_cpus;   /* APIC id of CPU i is i (processor UID too) */
	gpa_t mmio64_base; /* 64-bit PCI window; size 0: none */
	uint64_t mmio64_size;
	bool pm_timer_32bit; /* pm_config.timer_32bit */
	bool i8042; /* a keyboard and mouse are plugged in: else systems skip the slow probe for them */
	uint32_t hotplug_slots; /* board/hotplug.h */
	bool no_lpc;		/* pci_root_config.no_lpc */
	bool reduced;		/* hardware-reduced ACPI (§4.1): see acpi.c */
	bool hpet;		/* an HPET answers at LAYOUT_HPET */
};

/* Where the 64-bit window goes: behind RAM, aligned to its size. */
gpa_t acpi_mmio64_base(const struct gmem *mem);

/* Builds the tables for `base` (RSDP first) into buf; *len: bytes used. -ENOSPC when they do not fit. */
int acpi_build(const struct acpi_config *cfg, gpa_t base, uint8_t *buf, size_t size, size_t *len,
	       struct err *e);

/* Builds them in guest memory, at LAYOUT_RSDP: that goes into boot_config.rsdp. */
int acpi_install(const struct acpi_config *cfg, struct gmem *mem, struct err *e);

#endif
