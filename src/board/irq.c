/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.c - the wiring between interrupt lines, PIC, IOAPIC and local APICs, and the one lock over it.
 *
 * Lines have levels; every change goes to all that it is wired to, and the controllers decide. MSIs go to the
 * local APICs directly, without the lock.
 *
 * With a sink (irq_sink) the controllers are elsewhere: this file then only keeps the wiring, and what each PIC input
 * has, because the sink is told changes only.
 */
#include "board/irq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "board/bus.h"
#include "board/ioapic.h"
#include "board/lapic.h"
#include "board/layout.h"
#include "board/pic.h"
#include "state/state_x86.h"

#define PIN_INTR 0u /* IOAPIC input that has the PIC's output */
#define PIN_PIT 2u

struct irq_router {
	const struct dev_env *env;
	struct lapic_set *lapics;
	const struct irq_sink *sink;	 /* NULL: the controllers below */
	struct bus_range ports[3], mmio; /* PICs, ELCR; IOAPIC */

	pthread_mutex_t lock; /* all below */
	struct pic pic;
	struct ioapic ioapic;
	uint32_t line;		    /* level of each GSI */
	uint16_t routed[IRQ_PIRQS]; /* PIC inputs that a PIRQ drives, as a mask of at most one bit */
	uint16_t told;		    /* sink: levels of the PIC inputs */
};

/* ---- lines ---- */

static void pic_output(void *ctx, bool level)
{
	struct irq_router *r = ctx;

	lapic_lint(r->lapics, 0, level);
	ioapic_set(&r->ioapic, PIN_INTR, level);
}

/* PIC input n: the ISA line or any PIRQ that is routed to it. */
static void update_pic_input(struct irq_router *r, unsigned n)
{
	bool level = r->line & (1u << n);

	for (unsigned i = 0; i < IRQ_PIRQS; i++)
		level |= (r->routed[i] & (1u << n)) && (r->line & (1u << (IRQ_PIRQ_FIRST + i)));
	if (!r->sink) {
		pic_set(&r->pic, n, level);
	} else if (level != !!(r->told & (1u << n))) {
		r->told ^= (uint16_t)(1u << n);
		r->sink->line(r->sink->ctx, -1, (int)n, level);
	}
}

/* An ISA line drives both controllers by one call to the sink, where no PIRQ holds the PIC's input. */
static void sink_line(struct irq_router *r, unsigned gsi, bool level)
{
	int pin = gsi == LAYOUT_IRQ_PIT ? (int)PIN_PIT : (int)gsi;
	uint16_t bit = gsi < 16 ? (uint16_t)(1u << gsi) : 0, held = 0;

	for (unsigned i = 0; i < IRQ_PIRQS; i++)
		if (r->line & (1u << (IRQ_PIRQ_FIRST + i)))
			held |= r->routed[i];
	if (!bit || (held & bit)) {
		r->sink->line(r->sink->ctx, pin, -1, level);
		return;
	}
	r->told = level ? r->told | bit : (uint16_t)(r->told & ~bit);
	r->sink->line(r->sink->ctx, pin, (int)gsi, level);
}

static void line_set_locked(struct irq_router *r, unsigned gsi, bool level)
{
	bool was = r->line & (1u << gsi);

	r->line = level ? r->line | 1u << gsi : r->line & ~(1u << gsi);
	if (r->sink) {
		if (level != was)
			sink_line(r, gsi, level);
		if (gsi >= 16 && r->routed[gsi - IRQ_PIRQ_FIRST])
			update_pic_input(r,
					 (unsigned)__builtin_ctz(r->routed[gsi - IRQ_PIRQ_FIRST]));
		return;
	}
	if (gsi < 16) {
		update_pic_input(r, gsi);
		ioapic_set(&r->ioapic, gsi == LAYOUT_IRQ_PIT ? PIN_PIT : gsi, level);
		return;
	}
	ioapic_set(&r->ioapic, gsi, level);
	if (r->routed[gsi - IRQ_PIRQ_FIRST])
		update_pic_input(r, (unsigned)__builtin_ctz(r->routed[gsi - IRQ_PIRQ_FIRST]));
}

static bool gsi_valid(unsigned gsi)
{
	return gsi < IRQ_GSIS && gsi != PIN_PIT;
}

void irq_line_set(struct irq_router *r, unsigned gsi, bool level)
{
	if (!gsi_valid(gsi))
		return;
	pthread_mutex_lock(&r->lock);
	line_set_locked(r, gsi, level);
	pthread_mutex_unlock(&r->lock);
}

void irq_line_pulse(struct irq_router *r, unsigned gsi)
{
	if (!gsi_valid(gsi))
		return;
	pthread_mutex_lock(&r->lock);
	line_set_locked(r, gsi, false);
	line_set_locked(r, gsi, true);
	pthread_mutex_unlock(&r->lock);
}

void irq_pirq_route(struct irq_router *r, unsigned pirq, int isa_irq)
{
	uint16_t old;

	if (pirq >= IRQ_PIRQS || isa_irq > 15)
		return;
	pthread_mutex_lock(&r->lock);
	old = r->routed[pirq];
	r->routed[pirq] = isa_irq >= 0 ? (uint16_t)(1u << isa_irq) : 0;
	if (old)
		update_pic_input(r, (unsigned)__builtin_ctz(old));
	if (isa_irq >= 0)
		update_pic_input(r, (unsigned)isa_irq);
	pthread_mutex_unlock(&r->lock);
}

/* ---- messages ---- */

bool irq_msi(struct irq_router *r, uint64_t addr, uint32_t data)
{
	struct lapic_msg m = {
		.dest = (uint32_t)(addr >> 12) & 0xff,
		.logical = addr & BIT(2),
		.redirect = addr & BIT(3),
		.level = data & BIT(15),
		.vector = (uint8_t)data,
		.mode = (enum lapic_mode)((data >> 8) & 7),
	};

	if ((addr >> 20) != (LAYOUT_LAPIC >> 20))
		return false;
	if (r->sink)
		return r->sink->msi(r->sink->ctx, addr, data);
	m.broadcast = m.dest == 0xff;
	if (m.mode == LAPIC_SIPI || m.mode == LAPIC_REMOTE_READ)
		return false;
	return lapic_send(r->lapics, &m) != 0;
}

static void lapic_to_ioapic_eoi(void *ctx, uint8_t vector)
{
	struct irq_router *r = ctx;

	pthread_mutex_lock(&r->lock);
	ioapic_eoi(&r->ioapic, vector);
	pthread_mutex_unlock(&r->lock);
}

static int lapic_to_pic_inta(void *ctx)
{
	struct irq_router *r = ctx;
	int vector;

	pthread_mutex_lock(&r->lock);
	vector = pic_inta(&r->pic);
	pthread_mutex_unlock(&r->lock);
	return vector;
}

/* ---- registers ---- */

static uint64_t pic_port_read(struct irq_router *r, unsigned chip, uint64_t offset)
{
	uint8_t v;

	pthread_mutex_lock(&r->lock);
	v = pic_read(&r->pic, chip, offset & 1);
	pthread_mutex_unlock(&r->lock);
	return v;
}

static void pic_port_write(struct irq_router *r, unsigned chip, uint64_t offset, uint64_t value)
{
	pthread_mutex_lock(&r->lock);
	pic_write(&r->pic, chip, offset & 1, (uint8_t)value);
	pthread_mutex_unlock(&r->lock);
}

static uint64_t pic0_read(void *ctx, uint64_t offset, unsigned size)
{
	(void)size;
	return pic_port_read(ctx, 0, offset);
}

static uint64_t pic1_read(void *ctx, uint64_t offset, unsigned size)
{
	(void)size;
	return pic_port_read(ctx, 1, offset);
}

static void pic0_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	(void)size;
	pic_port_write(ctx, 0, offset, value);
}

static void pic1_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	(void)size;
	pic_port_write(ctx, 1, offset, value);
}

static uint64_t elcr_read(void *ctx, uint64_t offset, unsigned size)
{
	struct irq_router *r = ctx;
	uint8_t v;

	(void)size;
	pthread_mutex_lock(&r->lock);
	v = pic_elcr_read(&r->pic, (unsigned)offset);
	pthread_mutex_unlock(&r->lock);
	return v;
}

static void elcr_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct irq_router *r = ctx;

	(void)size;
	pthread_mutex_lock(&r->lock);
	pic_elcr_write(&r->pic, (unsigned)offset, (uint8_t)value);
	pthread_mutex_unlock(&r->lock);
}

static uint64_t ioapic_mmio_read(void *ctx, uint64_t offset, unsigned size)
{
	struct irq_router *r = ctx;
	uint32_t v;

	(void)size;
	pthread_mutex_lock(&r->lock);
	v = ioapic_read(&r->ioapic, offset);
	pthread_mutex_unlock(&r->lock);
	return v;
}

static void ioapic_mmio_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct irq_router *r = ctx;

	/* The window takes whole registers only. */
	if (size < 4 && offset >= 0x10)
		return;
	pthread_mutex_lock(&r->lock);
	ioapic_write(&r->ioapic, offset, (uint32_t)value);
	pthread_mutex_unlock(&r->lock);
}

static const struct bus_ops pic0_ops = {pic0_read, pic0_write, 1};
static const struct bus_ops pic1_ops = {pic1_read, pic1_write, 1};
static const struct bus_ops elcr_ops = {elcr_read, elcr_write, 1};
static const struct bus_ops ioapic_ops = {ioapic_mmio_read, ioapic_mmio_write, 4};

/* ---- life ---- */

int irq_router_create(struct irq_router **out, const struct dev_env *env, struct lapic_set *lapics,
		      struct err *e)
{
	struct irq_router *r = calloc(1, sizeof(*r));
	int ret = 0;

	*out = NULL;
	if (!r)
		return err_set(e, ENOMEM, "no memory for the interrupt controllers");
	r->env = env;
	r->lapics = lapics;
	pthread_mutex_init(&r->lock, NULL);
	pic_init(&r->pic, pic_output, r);
	ioapic_init(&r->ioapic, lapics);
	r->ports[0] = (struct bus_range){"pic master", LAYOUT_PORT_PIC0, 2, &pic0_ops, r};
	r->ports[1] = (struct bus_range){"pic slave", LAYOUT_PORT_PIC1, 2, &pic1_ops, r};
	r->ports[2] = (struct bus_range){"elcr", LAYOUT_PORT_ELCR, 2, &elcr_ops, r};
	r->mmio = (struct bus_range){"ioapic", LAYOUT_IOAPIC, 0x1000, &ioapic_ops, r};
	for (unsigned i = 0; i < ARRAY_SIZE(r->ports) && ret == 0; i++)
		ret = bus_add(env->ports, &r->ports[i], e);
	if (ret == 0)
		ret = bus_add(env->mmio, &r->mmio, e);
	if (ret < 0) {
		irq_router_destroy(r);
		return ret;
	}
	lapic_connect(lapics, &(struct lapic_intc){r, lapic_to_ioapic_eoi, lapic_to_pic_inta});
	*out = r;
	return 0;
}

int irq_router_create_sink(struct irq_router **out, const struct dev_env *env,
			   const struct irq_sink *sink, struct err *e)
{
	struct irq_router *r = calloc(1, sizeof(*r));

	*out = NULL;
	if (!r)
		return err_set(e, ENOMEM, "no memory for the interrupt lines");
	r->env = env;
	r->sink = sink;
	pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

void irq_router_destroy(struct irq_router *r)
{
	if (!r)
		return;
	if (!r->sink) {
		lapic_connect(r->lapics, &(struct lapic_intc){0});
		for (unsigned i = 0; i < ARRAY_SIZE(r->ports); i++)
			bus_remove(r->env->ports, &r->ports[i]);
		bus_remove(r->env->mmio, &r->mmio);
	}
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void irq_router_reset(struct irq_router *r)
{
	pthread_mutex_lock(&r->lock);
	if (!r->sink) {
		ioapic_reset(&r->ioapic);
		pic_reset(&r->pic);
	}
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < IRQ_PIRQS; i++)
		irq_pirq_route(r, i, -1);
}

/* ---- saved state ---- */

int irq_state(struct irq_router *r, struct state *s)
{
	pthread_mutex_lock(&r->lock);
	state_begin(s, "irq", NULL, 1);
	state_u32_max(s, &r->line, (1u << IRQ_GSIS) - 1);
	state_u16s(s, r->routed, IRQ_PIRQS);
	for (unsigned i = 0; i < IRQ_PIRQS; i++) {
		if (!(r->routed[i] & (r->routed[i] - 1u)))
			continue;
		state_fail(s, "an interrupt line is routed to two inputs");
		r->routed[i] = 0;
	}
	state_end(s);
	/* The sink gets its levels in its own state. */
	r->told = (uint16_t)r->line;
	for (unsigned i = 0; i < IRQ_PIRQS; i++)
		if (r->line & (1u << (IRQ_PIRQ_FIRST + i)))
			r->told |= r->routed[i];
	pthread_mutex_unlock(&r->lock);
	return state_error(s);
}

void irq_get_chips(struct irq_router *r, struct irqchip_pic *pic, struct irqchip_ioapic *io)
{
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < 2; i++)
		pic->chip[i] = r->pic.chip[i];
	*io = (struct irqchip_ioapic){.select = r->ioapic.select,
				      .id = r->ioapic.id,
				      .line = r->ioapic.line};
	for (unsigned i = 0; i < IRQCHIP_IOAPIC_PINS; i++)
		io->rte[i] = r->ioapic.rte[i];
	pthread_mutex_unlock(&r->lock);
}

int irq_set_chips(struct irq_router *r, const struct irqchip_pic *pic,
		  const struct irqchip_ioapic *io, struct err *e)
{
	int ret = state_pic_check(pic, e);
	bool intr;

	if (ret == 0)
		ret = state_ioapic_check(io, e);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&r->lock);
	intr = pic_loaded(&r->pic, pic);
	ioapic_loaded(&r->ioapic, io);
	pthread_mutex_unlock(&r->lock);
	lapic_lint_loaded(r->lapics, intr);
	return 0;
}

int irq_dump(struct irq_router *r, char *buf, size_t size)
{
	struct text t = {buf, size, 0};

	if (size)
		buf[0] = '\0';
	pthread_mutex_lock(&r->lock);
	text_print(&t, "lines %06x\n", r->line);
	if (!r->sink) {
		pic_dump(&r->pic, &t);
		ioapic_dump(&r->ioapic, &t);
	}
	pthread_mutex_unlock(&r->lock);
	return (int)t.len;
}
