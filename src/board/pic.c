/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pic.c - the 8259A pair.
 *
 * Each chip is a set of requests (IRR), masks and services (ISR) and an order of priorities that begins after
 * `lowest`. chip_pending() says which input should interrupt now. The slave's output is the master's
 * input 2, which here is always a level, so that the two chips never disagree. Edge requests are latched until they
 * are acknowledged, even when the line falls before that.
 *
 * What a chip shows outside is recomputed after every change (pic_update), and output() told of changes of INTR.
 */
#include "board/pic.h"

#include <inttypes.h>
#include <string.h>

#define CASCADE 2

static const uint8_t elcr_mask[2] = {0xf8, 0xde}; /* ICH9 §13.4.13: IRQ 0, 1, 2, 8, 13 are edge */

/* Distance of the highest-priority bit in `set` from the top; 8 if none. */
static unsigned top_priority(const struct irqchip_8259 *c, uint8_t set)
{
	unsigned p = 0;

	while (p < 8 && !(set & (1u << ((c->lowest + 1 + p) & 7))))
		p++;
	return p;
}

/* The input that should interrupt now, or -1. */
static int chip_pending(const struct irqchip_8259 *c, bool master)
{
	uint8_t in_service = c->isr;
	unsigned p = top_priority(c, c->irr & (uint8_t)~c->imr);

	if (p == 8)
		return -1;
	if (c->special_mask)
		in_service &= (uint8_t)~c->imr;
	if (master && c->special_nested)
		in_service &= (uint8_t) ~(1u << CASCADE);
	if (p >= top_priority(c, in_service))
		return -1;
	return (int)((c->lowest + 1 + p) & 7);
}

static void chip_set(struct irqchip_8259 *c, unsigned n, bool level)
{
	uint8_t bit = (uint8_t)(1u << n);

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & (uint8_t)~bit;
	else if (level && !(c->line & bit))
		c->irr |= bit;
	c->line = level ? c->line | bit : c->line & (uint8_t)~bit;
}

static void pic_update(struct pic *p)
{
	struct irqchip_8259 *m = &p->chip[0];
	bool slave = chip_pending(&p->chip[1], false) >= 0, intr;

	m->irr = slave ? m->irr | 1u << CASCADE : m->irr & (uint8_t) ~(1u << CASCADE);
	intr = chip_pending(m, true) >= 0;
	if (intr == p->intr)
		return;
	p->intr = intr;
	p->output(p->ctx, intr);
}

static void chip_ack(struct irqchip_8259 *c, unsigned n)
{
	uint8_t bit = (uint8_t)(1u << n);

	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest = (uint8_t)n;
	if (!(c->elcr & bit))
		c->irr &= (uint8_t)~bit;
}

uint8_t pic_inta(struct pic *p)
{
	struct irqchip_8259 *m = &p->chip[0], *s = &p->chip[1];
	int n = chip_pending(m, true);
	uint8_t vector;

	p->n_acked++;
	if (n < 0) {
		vector = m->base + 7; /* spurious: no service bit */
	} else {
		chip_ack(m, (unsigned)n);
		vector = m->base + (uint8_t)n;
	}
	if (n == CASCADE) {
		n = chip_pending(s, false);
		if (n >= 0)
			chip_ack(s, (unsigned)n);
		vector = s->base + (uint8_t)(n >= 0 ? n : 7);
	}
	pic_update(p);
	return vector;
}

void pic_set(struct pic *p, unsigned irq, bool level)
{
	if (irq > 15 || irq == CASCADE)
		return;
	chip_set(&p->chip[irq >> 3], irq & 7, level);
	pic_update(p);
}

static void chip_init(struct irqchip_8259 *c)
{
	c->irr = c->line & c->elcr;
	c->imr = c->isr = 0;
	c->lowest = 7;
	c->auto_eoi = c->rotate_aeoi = c->special_mask = c->special_nested = false;
	c->read_isr = c->poll = false;
}

static void chip_eoi(struct irqchip_8259 *c, unsigned n, bool rotate)
{
	c->isr &= (uint8_t) ~(1u << n);
	if (rotate)
		c->lowest = (uint8_t)n;
}

static void ocw2(struct irqchip_8259 *c, uint8_t v)
{
	unsigned n = v & 7, p;

	switch (v >> 5) {
	case 0:
	case 4: c->rotate_aeoi = v >> 7; break;
	case 1:
	case 5: /* non-specific: the one with the highest priority; masked ones stay in special mask mode */
		p = top_priority(c, c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr);
		if (p < 8)
			chip_eoi(c, (c->lowest + 1 + p) & 7, v >> 7);
		break;
	case 3:
	case 7: chip_eoi(c, n, v >> 7); break;
	case 6: c->lowest = (uint8_t)n; break;
	}
}

static void ocw3(struct irqchip_8259 *c, uint8_t v)
{
	if (v & 0x40)
		c->special_mask = v & 0x20;
	c->poll = v & 0x04;
	if (v & 0x02)
		c->read_isr = v & 0x01;
}

void pic_write(struct pic *p, unsigned chip, unsigned reg, uint8_t v)
{
	struct irqchip_8259 *c = &p->chip[chip & 1];

	if (reg == 0) {
		if (v & 0x10) { /* ICW1 */
			chip_init(c);
			c->icw4_needed = v & 0x01;
			c->single = v & 0x02;
			c->icw = 2;
		} else if (v & 0x08) {
			ocw3(c, v);
		} else {
			ocw2(c, v);
		}
	} else {
		switch (c->icw) {
		case 0: c->imr = v; break;
		case 2:
			c->base = v & 0xf8;
			c->icw = !c->single ? 3 : c->icw4_needed ? 4 : 0;
			break;
		case 3: /* the wiring is fixed */ c->icw = c->icw4_needed ? 4 : 0; break;
		case 4:
			c->special_nested = v & 0x10;
			c->auto_eoi = v & 0x02;
			c->icw = 0;
			break;
		}
	}
	pic_update(p);
}

uint8_t pic_read(struct pic *p, unsigned chip, unsigned reg)
{
	struct irqchip_8259 *c = &p->chip[chip & 1];

	if (c->poll) {
		int n = chip_pending(c, chip == 0);

		c->poll = false;
		if (n < 0)
			return 0x07;
		chip_ack(c, (unsigned)n);
		pic_update(p);
		return (uint8_t)(0x80 | n);
	}
	if (reg)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

uint8_t pic_elcr_read(const struct pic *p, unsigned chip)
{
	return p->chip[chip & 1].elcr;
}

void pic_elcr_write(struct pic *p, unsigned chip, uint8_t v)
{
	struct irqchip_8259 *c = &p->chip[chip & 1];

	c->elcr = v & elcr_mask[chip & 1];
	c->irr = (c->irr & (uint8_t)~c->elcr) | (c->line & c->elcr);
	pic_update(p);
}

void pic_init(struct pic *p, void (*output)(void *ctx, bool level), void *ctx)
{
	memset(p, 0, sizeof(*p));
	p->output = output;
	p->ctx = ctx;
	pic_reset(p);
}

void pic_reset(struct pic *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct irqchip_8259 *c = &p->chip[i];

		c->elcr = 0;
		chip_init(c);
		c->imr = 0xff;
		c->base = c->icw = 0;
		c->icw4_needed = c->single = false;
	}
	pic_update(p);
}

bool pic_loaded(struct pic *p, const struct irqchip_pic *in)
{
	for (unsigned i = 0; i < 2; i++) {
		p->chip[i] = in->chip[i];
		p->chip[i].elcr &= elcr_mask[i];
	}
	p->intr = chip_pending(&p->chip[0], true) >= 0;
	return p->intr;
}

void pic_dump(const struct pic *p, struct text *t)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct irqchip_8259 *c = &p->chip[i];

		text_print(
			t,
			"pic%u: irr %02x imr %02x isr %02x line %02x elcr %02x base %02x lowest %u icw %u\n",
			i, c->irr, c->imr, c->isr, c->line, c->elcr, c->base, c->lowest, c->icw);
	}
	text_print(t, "pic: intr %d acked %" PRIu64 "\n", p->intr, p->n_acked);
}
