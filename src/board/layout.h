/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - where things are on the board: guest physical addresses, ports and interrupt lines.
 *
 * A minimal Q35. ACPI tables, boot loaders and devices all take their numbers from here.
 */
#ifndef LODGE_BOARD_LAYOUT_H
#define LODGE_BOARD_LAYOUT_H

#include "util/base.h"

/* Guest physical space. RAM is [0, LOW_RAM_MAX) and from 4 GiB up; 640 KiB - 1 MiB is RAM too, but not
 * reported as usable (firmware tables live there). */
#define LAYOUT_LOW_RAM_MAX (3 * GIB)
#define LAYOUT_HIGH_RAM (4 * GIB)
#define LAYOUT_EBDA 0x9fc00u
#define LAYOUT_RSDP 0xe0000u /* RSDP and the ACPI tables behind it, up to the next: */
#define LAYOUT_RESET_VECTOR \
	0xffff0u /* f000:fff0, where a PC begins, and where systems jump to begin anew */
#define LAYOUT_PCI_MMIO32 0xc0000000u
#define LAYOUT_PCI_MMIO32_END 0xe0000000u
#define LAYOUT_ECAM 0xe0000000u
#define LAYOUT_ECAM_SIZE 0x10000000u /* room for 256 buses */
/* The last bus that can exist, as ACPI says it: there is no bridge. Linux looks for 32 devices on each bus up to the one that
 * MCFG names (6.1: __pci_mmcfg_init(), pcibios_fixup_peer_bridges()), by two port accesses each. */
#define LAYOUT_PCI_LAST_BUS 0
#define LAYOUT_IOAPIC 0xfec00000u
#define LAYOUT_HPET 0xfed00000u
#define LAYOUT_LAPIC 0xfee00000u
#define LAYOUT_PCI_MMIO64_SIZE \
	(64 * GIB) /* 64-bit window: from the end of RAM, aligned to its size */

/* Ports. */
#define LAYOUT_PORT_PIC0 0x20
#define LAYOUT_PORT_PIC1 0xa0
#define LAYOUT_PORT_ELCR 0x4d0
#define LAYOUT_PORT_PIT 0x40
#define LAYOUT_PORT_I8042 0x60 /* 0x60 and 0x64 */
#define LAYOUT_PORT_SPEAKER 0x61
#define LAYOUT_PORT_RTC 0x70
#define LAYOUT_PORT_FAST_A20 0x92
#define LAYOUT_PORT_DEBUG_EXIT 0xf4 /* tests only */
#define LAYOUT_PORT_PVPANIC 0x505
#define LAYOUT_PORT_COM1 0x3f8
#define LAYOUT_PORT_PCI_ADDR 0xcf8
#define LAYOUT_PORT_RESET 0xcf9
#define LAYOUT_PORT_PCI_DATA 0xcfc
#define LAYOUT_PORT_HOTPLUG 0xae00
#define LAYOUT_PORT_PM 0x600 /* ICH9: PM1a event +0, control +4, timer +8, GPE0 +0x20 */

/* Interrupt lines (GSIs). ISA IRQ 0 is wired to IOAPIC pin 2. */
#define LAYOUT_IRQ_PIT 0
#define LAYOUT_IRQ_COM1 4
#define LAYOUT_IRQ_RTC 8
#define LAYOUT_IRQ_SCI 9
#define LAYOUT_IOAPIC_PINS 24

#endif
