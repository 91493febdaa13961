/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.h - interrupt lines: from a device's line (GSI) or MSI to the PIC, the IOAPIC and the local APICs.
 *
 *   GSI 0-15:  ISA lines. Each feeds PIC input n and IOAPIC pin n, but ISA IRQ 0 (the PIT) goes to
 *              pin 2, and GSI 2 is nothing (the PIC's cascade).
 *   GSI 16-23: IOAPIC pins; PCI's PIRQ A-H. The LPC bridge, where there is one, can route a PIRQ to a PIC input too.
 *   PIC INTR:  LINT0 of the local APICs and IOAPIC pin 0.
 *
 * Threads: one lock for PIC and IOAPIC together; all functions from any thread, with or without the VM lock.
 * Lock order: VM lock, then this, then a local APIC's.
 */
#ifndef LODGE_BOARD_IRQ_H
#define LODGE_BOARD_IRQ_H

#include "board/device.h"
#include "x86/irqchip.h"

struct lapic_set;
struct pic;
struct ioapic;

#define IRQ_GSIS 24
#define IRQ_PIRQ_FIRST 16
#define IRQ_PIRQS 8

struct irq_router;

/*
 * Controllers that are not the board's (an engine's own). `pin`: IOAPIC input, `isa`: PIC input, -1: it does not go there.
 * Only changes of a level are told. Called with the router's lock held; may not call back.
 */
struct irq_sink {
	void *ctx;
	void (*line)(void *ctx, int pin, int isa, bool level);
	bool (*msi)(void *ctx, uint64_t addr, uint32_t data);
};

/* A router of lines and messages to such controllers. */
int irq_router_create_sink(struct irq_router **out, const struct dev_env *env,
			   const struct irq_sink *sink, struct err *e);
/* Creates the PIC and the IOAPIC with it, on env's buses, connects them to the APICs; does not set env->irq. */
int irq_router_create(struct irq_router **out, const struct dev_env *env, struct lapic_set *lapics,
		      struct err *e);
void irq_router_destroy(struct irq_router *r);
void irq_router_reset(struct irq_router *r);

/* Level of a line; each line has one driver. A gsi that does not exist is ignored. */
void irq_line_set(struct irq_router *r, unsigned gsi, bool level);
/* Low then high: an edge for certain. */
void irq_line_pulse(struct irq_router *r, unsigned gsi);
/* A message-signalled interrupt (SDM vol. 3 §11.11). False: not an interrupt address, or nobody took it. */
bool irq_msi(struct irq_router *r, uint64_t addr, uint32_t data);
/* PIRQ n (0..7) also drives PIC input `isa_irq`; -1: none. */
void irq_pirq_route(struct irq_router *r, unsigned pirq, int isa_irq);

/* ---- saved state; every vCPU parked ---- */

/* Lines and PIRQ routes. Loaded before the controllers and the devices. */
int irq_state(struct irq_router *r, struct state *s);
void irq_get_chips(struct irq_router *r, struct irqchip_pic *pic, struct irqchip_ioapic *io);
/* Takes them as they were: no line gets an edge by it. After lapic_set() of all. 0, or -EINVAL. */
int irq_set_chips(struct irq_router *r, const struct irqchip_pic *pic,
		  const struct irqchip_ioapic *io, struct err *e);

/* Text about PIC, IOAPIC and lines; returns as snprintf. */
int irq_dump(struct irq_router *r, char *buf, size_t size);

#endif
