/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.h - the I/O APIC: 24 pins, version 0x20 with the EOI register (82093AA, ICH9 §13.5).
 *
 * Belongs to irq.c, which holds its lock around every call here, register accesses included.
 */
#ifndef LODGE_BOARD_IOAPIC_H
#define LODGE_BOARD_IOAPIC_H

#include "board/bus.h"
#include "board/device.h"
#include "board/layout.h"
#include "board/lapic.h"

struct ioapic {
	struct lapic_set *lapics;
	uint32_t select;		  /* IOREGSEL */
	uint32_t id;			  /* bits 24-27 of register 0 */
	uint64_t rte[LAYOUT_IOAPIC_PINS]; /* redirection table */
	uint32_t line;			  /* level of each pin */
	uint64_t n_sent, n_eoi;
};

void ioapic_init(struct ioapic *io, struct lapic_set *lapics);
void ioapic_reset(struct ioapic *io); /* the lines keep their levels */
void ioapic_set(struct ioapic *io, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *io, uint8_t vector);
uint32_t ioapic_read(struct ioapic *io, uint64_t offset);
void ioapic_write(struct ioapic *io, uint64_t offset, uint32_t value);
/* Registers and lines as they were, nothing is sent; `in` was checked. */
void ioapic_loaded(struct ioapic *io, const struct irqchip_ioapic *in);
void ioapic_dump(const struct ioapic *io, struct text *t);

#endif
