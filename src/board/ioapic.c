/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.c - redirection of 24 pins to local APIC messages.
 *
 * An edge pin sends when its line rises and it is not masked; an edge while masked is lost (82093AA §3.2.4). A
 * level pin sends while its line is up, unmasked, and Remote IRR clear; an APIC that takes the message sets Remote
 * IRR, an EOI of its vector clears it, and if the line is still up the pin sends again. Polarity is only stored: lines
 * are "asserted" or not.
 */
#include "board/ioapic.h"

#include <inttypes.h>
#include <string.h>

#define REG_SELECT 0x00u
#define REG_WINDOW 0x10u
#define REG_EOI 0x40u

#define IOAPIC_VERSION (0x20u | (LAYOUT_IOAPIC_PINS - 1) << 16)

#define RTE_MODE(r) ((enum lapic_mode)(((r) >> 8) & 7))
#define RTE_LOGICAL BIT(11)
#define RTE_REMOTE_IRR BIT(14)
#define RTE_LEVEL BIT(15)
#define RTE_MASKED BIT(16)
#define RTE_WRITABLE (UINT64_C(0xff000000) << 32 | 0x1afff)

static bool is_level(uint64_t rte)
{
	return (rte & RTE_LEVEL) && (RTE_MODE(rte) == LAPIC_FIXED || RTE_MODE(rte) == LAPIC_LOWEST);
}

static bool send(struct ioapic *io, uint64_t rte)
{
	struct lapic_msg m = {
		.dest = (uint32_t)(rte >> 56),
		.logical = rte & RTE_LOGICAL,
		.broadcast = (rte >> 56) == 0xff,
		.level = is_level(rte),
		.vector = (uint8_t)rte,
		.mode = RTE_MODE(rte),
	};

	if (m.mode == LAPIC_SIPI || m.mode == LAPIC_REMOTE_READ) /* reserved encodings */
		return false;
	io->n_sent++;
	return lapic_send(io->lapics, &m) != 0;
}

/* A level pin that may send does. */
static void service_level(struct ioapic *io, unsigned pin)
{
	uint64_t *rte = &io->rte[pin];

	if (!is_level(*rte) || (*rte & (RTE_MASKED | RTE_REMOTE_IRR)) || !(io->line & (1u << pin)))
		return;
	if (send(io, *rte))
		*rte |= RTE_REMOTE_IRR;
}

void ioapic_set(struct ioapic *io, unsigned pin, bool level)
{
	uint32_t bit = 1u << (pin & 31);
	bool was;

	if (pin >= LAYOUT_IOAPIC_PINS)
		return;
	was = io->line & bit;
	io->line = level ? io->line | bit : io->line & ~bit;
	if (is_level(io->rte[pin]))
		service_level(io, pin);
	else if (level && !was && !(io->rte[pin] & RTE_MASKED))
		send(io, io->rte[pin]);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		uint64_t *rte = &io->rte[pin];

		if (!(*rte & RTE_REMOTE_IRR) || (uint8_t)*rte != vector)
			continue;
		*rte &= ~RTE_REMOTE_IRR;
		io->n_eoi++;
		service_level(io, pin);
	}
}

static uint32_t window_read(const struct ioapic *io)
{
	unsigned i = io->select - 0x10;

	switch (io->select) {
	case 0: /* id */
	case 2: /* arbitration id */ return io->id;
	case 1: return IOAPIC_VERSION;
	}
	if (io->select >= 0x10 && i < 2 * LAYOUT_IOAPIC_PINS)
		return (uint32_t)(io->rte[i / 2] >> (32 * (i & 1)));
	return 0;
}

static void window_write(struct ioapic *io, uint32_t v)
{
	unsigned i = io->select - 0x10, shift = 32 * (i & 1);
	uint64_t mask, *rte;

	if (io->select == 0)
		io->id = v & 0x0f000000;
	if (io->select < 0x10 || i >= 2 * LAYOUT_IOAPIC_PINS)
		return;
	mask = RTE_WRITABLE & (UINT64_C(0xffffffff) << shift);
	rte = &io->rte[i / 2];
	*rte = (*rte & ~mask) | ((uint64_t)v << shift & mask);
	/* The way to force an EOI before there was a register for it. */
	if (!is_level(*rte))
		*rte &= ~RTE_REMOTE_IRR;
	service_level(io, i / 2);
}

uint32_t ioapic_read(struct ioapic *io, uint64_t offset)
{
	unsigned reg = offset & ~3u, shift = 8 * (offset & 3);

	switch (reg) {
	case REG_SELECT: return io->select >> shift;
	case REG_WINDOW: return window_read(io) >> shift;
	}
	return 0;
}

void ioapic_write(struct ioapic *io, uint64_t offset, uint32_t v)
{
	switch (offset) {
	case REG_SELECT: io->select = v & 0xff; break;
	case REG_WINDOW: window_write(io, v); break;
	case REG_EOI: ioapic_eoi(io, (uint8_t)v); break;
	}
}

void ioapic_init(struct ioapic *io, struct lapic_set *lapics)
{
	memset(io, 0, sizeof(*io));
	io->lapics = lapics;
	ioapic_reset(io);
}

void ioapic_reset(struct ioapic *io)
{
	io->select = io->id = 0;
	for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASKED;
}

void ioapic_loaded(struct ioapic *io, const struct irqchip_ioapic *in)
{
	_Static_assert(IRQCHIP_IOAPIC_PINS == LAYOUT_IOAPIC_PINS, "as many pins");
	io->select = in->select;
	io->id = in->id;
	io->line = in->line;
	for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		io->rte[pin] = in->rte[pin] & (RTE_WRITABLE | RTE_REMOTE_IRR);
		if (!is_level(io->rte[pin]))
			io->rte[pin] &= ~RTE_REMOTE_IRR;
	}
}

void ioapic_dump(const struct ioapic *io, struct text *t)
{
	text_print(t, "ioapic: select %02x lines %06x sent %" PRIu64 " eoi %" PRIu64 "\n",
		   io->select, io->line, io->n_sent, io->n_eoi);
	for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		if (io->rte[pin] != RTE_MASKED)
			text_print(t, " pin %2u: %016" PRIx64 "\n", pin, io->rte[pin]);
	}
}
