/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pit.c - 8254 programmable interval timer (Intel 8254 data sheet) and port 0x61.
 *
 * A channel is not ticked but computed: it knows when its count was loaded (start_ns), and output and count follow from
 * the clocks gone since, by mode. A low gate freezes the clocks of modes 0, 2, 3 and 4; a rising gate goes on (0, 4),
 * starts anew (2, 3) or is the trigger (1, 5). A count written in modes 2 and 3 while counting waits for the
 * end of the cycle, in modes 1 and 5 for the trigger (`next`).
 *
 * Channel 0 drives IRQ 0 with the rising edges of its output, from a timer armed for the next one. Edges that come
 * faster than MIN_INTERVAL_NS are merged. Channel 1 (memory refresh of old) only counts. Channel 2 has its gate in port
 * 0x61 and its output there to read; there is no speaker.
 */
#include "board/pit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "board/bus.h"
#include "board/irq.h"
#include "board/layout.h"
#include "state/state_x86.h"

#define NS_PER_S UINT64_C(1000000000)
#define MIN_INTERVAL_NS 100000u
#define REFRESH_NS 15085u /* half period of the refresh toggle, port 0x61 bit 4 */
#define NO_EDGE UINT64_MAX

struct pit_channel {
	uint8_t mode; /* 0-5 */
	uint8_t rw;   /* 1 low byte, 2 high byte, 3 low then high */
	bool bcd, gate;
	bool loaded;	/* a count was written since the control word */
	bool triggered; /* modes 1 and 5: the gate has started it */
	bool frozen;	/* gate low: clocks stand at frozen_clocks */
	bool has_next;
	uint32_t count;	  /* 1..65536 */
	uint32_t next;	  /* the count to come */
	uint64_t next_at; /* modes 2, 3: clocks at which it comes */
	uint64_t start_ns, frozen_clocks;
	uint16_t latch;
	uint8_t latched; /* bytes of `latch` still to be read */
	uint8_t status;
	bool status_latched, read_high, write_high;
	uint8_t write_low;
};

struct pit {
	struct device dev;
	const struct dev_env *env;
	struct bus_range range, speaker;
	struct pit_channel ch[3];
	uint8_t port61;
	struct dev_timer timer;
	uint64_t edge_ns; /* when channel 0's output rises next; NO_EDGE */
	uint64_t n_irqs;
	struct irqchip_pit loading; /* between state() and loaded() */
};

static uint64_t clocks_to_ns(uint64_t clocks)
{
	return (uint64_t)(((unsigned __int128)clocks * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static uint64_t clocks(const struct pit_channel *c, uint64_t now)
{
	if (c->frozen)
		return c->frozen_clocks;
	return dev_muldiv(now - c->start_ns, PIT_HZ, NS_PER_S);
}

static bool periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool by_trigger(const struct pit_channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

/* Brings in a count that was waiting for the end of the cycle. */
static void sync_next(struct pit_channel *c, uint64_t now)
{
	if (!c->has_next || !periodic(c) || c->frozen || clocks(c, now) < c->next_at)
		return;
	c->start_ns += clocks_to_ns(c->next_at);
	c->count = c->next;
	c->has_next = false;
}

static bool counting(const struct pit_channel *c)
{
	return c->loaded && (!by_trigger(c) || c->triggered);
}

static bool output(const struct pit_channel *c, uint64_t now)
{
	uint64_t d;

	if (!counting(c))
		return c->mode != 0;
	d = clocks(c, now);
	switch (c->mode) {
	case 0:
	case 1: return d >= c->count;
	case 2: return !c->gate || d % c->count != c->count - 1;
	case 3: return !c->gate || d % c->count < (c->count + 1) / 2;
	}
	return d != c->count; /* 4, 5: one clock low */
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10);
}

static uint32_t from_bcd(uint32_t v)
{
	return (v >> 12 & 0xf) * 1000 + (v >> 8 & 0xf) * 100 + (v >> 4 & 0xf) * 10 + (v & 0xf);
}

/* What the counting element shows. */
static uint16_t value(const struct pit_channel *c, uint64_t now)
{
	uint32_t modulus = c->bcd ? 10000 : 65536, n = c->count, v, half, phase;
	uint64_t d;

	if (!counting(c)) {
		v = n % modulus;
	} else {
		d = clocks(c, now);
		if (c->mode == 2) {
			v = n - (uint32_t)(d % n);
		} else if (c->mode == 3) {
			half = (n + 1) / 2;
			phase = (uint32_t)(d % n);
			v = (n - 2 * (phase < half ? phase : phase - half)) & ~1u;
		} else {
			v = (uint32_t)((n + modulus - d % modulus) % modulus);
		}
		v %= modulus;
	}
	return c->bcd ? to_bcd(v) : (uint16_t)v;
}

/* ---- IRQ 0 ---- */

/* Clocks of the first rising edge after `d`; NO_EDGE. */
static uint64_t next_edge(const struct pit_channel *c, uint64_t d)
{
	if (!c->loaded || c->frozen)
		return NO_EDGE;
	switch (c->mode) {
	case 0: return d < c->count ? c->count : NO_EDGE;
	case 2:
	case 3: return (d / c->count + 1) * c->count;
	case 4: return d < c->count + 1 ? c->count + 1 : NO_EDGE;
	}
	return NO_EDGE;
}

static void arm(struct pit *p, uint64_t earliest)
{
	if (p->edge_ns == NO_EDGE)
		p->env->clock.cancel(p->env->clock.ctx, &p->timer);
	else
		p->env->clock.arm(p->env->clock.ctx, &p->timer, MAX(p->edge_ns, earliest));
}

static void schedule(struct pit *p, uint64_t now, uint64_t earliest)
{
	const struct pit_channel *c = &p->ch[0];
	uint64_t edge = next_edge(c, clocks(c, now));

	p->edge_ns = edge == NO_EDGE ? NO_EDGE : c->start_ns + clocks_to_ns(edge);
	arm(p, earliest);
}

static void fired(void *arg)
{
	struct pit *p = arg;
	struct pit_channel *c = &p->ch[0];
	uint64_t now = dev_now(&p->env->clock);

	if (p->edge_ns == NO_EDGE)
		return;
	if (now < p->edge_ns) {
		arm(p, 0);
		return;
	}
	sync_next(c, now);
	schedule(p, now, now + MIN_INTERVAL_NS);
	p->n_irqs++;
	irq_line_pulse(p->env->irq, LAYOUT_IRQ_PIT);
}

/* ---- registers ---- */

static void load(struct pit *p, unsigned i, uint32_t raw)
{
	struct pit_channel *c = &p->ch[i];
	uint64_t now = dev_now(&p->env->clock);
	uint32_t n = c->bcd ? from_bcd(raw) : raw;

	if (n == 0)
		n = c->bcd ? 10000 : 65536;
	sync_next(c, now);
	if (by_trigger(c) || (periodic(c) && c->loaded && !c->frozen)) {
		c->next = n;
		c->has_next = true;
		if (by_trigger(c)) {
			c->loaded = true;
			if (!c->triggered)
				c->count = n;
		} else {
			c->next_at = (clocks(c, now) / c->count + 1) * c->count;
		}
		return; /* the edge scheduled stays where it is */
	}
	c->count = n;
	c->has_next = false;
	c->loaded = true;
	c->start_ns = now;
	c->frozen = !c->gate;
	c->frozen_clocks = 0;
	if (i == 0) {
		if (c->mode == 0)
			irq_line_set(p->env->irq, LAYOUT_IRQ_PIT, false);
		schedule(p, now, 0);
	}
}

static void counter_write(struct pit *p, unsigned i, uint8_t v)
{
	struct pit_channel *c = &p->ch[i];

	switch (c->rw) {
	case 1: load(p, i, v); break;
	case 2: load(p, i, (uint32_t)v << 8); break;
	default:
		if (!c->write_high) {
			c->write_low = v;
			c->write_high = true;
			if (c->mode == 0) { /* the first byte stops the count */
				c->loaded = false;
				if (i == 0)
					schedule(p, dev_now(&p->env->clock), 0);
			}
		} else {
			c->write_high = false;
			load(p, i, (uint32_t)v << 8 | c->write_low);
		}
	}
}

static uint8_t counter_read(struct pit *p, unsigned i)
{
	struct pit_channel *c = &p->ch[i];
	uint64_t now = dev_now(&p->env->clock);
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	sync_next(c, now);
	v = c->latched ? c->latch : value(c, now);
	if (c->latched)
		c->latched--;
	if (c->rw == 1)
		return (uint8_t)v;
	if (c->rw == 2)
		return (uint8_t)(v >> 8);
	c->read_high = !c->read_high;
	return (uint8_t)(c->read_high ? v : v >> 8);
}

static void latch_count(struct pit_channel *c, uint64_t now)
{
	if (c->latched)
		return;
	sync_next(c, now);
	c->latch = value(c, now);
	c->latched = c->rw == 3 ? 2 : 1;
}

static void latch_status(struct pit_channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	sync_next(c, now);
	c->status = (uint8_t)(output(c, now) << 7 | (!c->loaded || c->has_next) << 6 | c->rw << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void control_write(struct pit *p, uint8_t v)
{
	uint64_t now = dev_now(&p->env->clock);
	unsigned i = v >> 6, rw = v >> 4 & 3, mode = v >> 1 & 7;
	struct pit_channel *c;

	if (i == 3) { /* read-back */
		for (unsigned k = 0; k < 3; k++) {
			if (!(v & (2u << k)))
				continue;
			if (!(v & 0x20))
				latch_count(&p->ch[k], now);
			if (!(v & 0x10))
				latch_status(&p->ch[k], now);
		}
		return;
	}
	c = &p->ch[i];
	if (rw == 0) {
		latch_count(c, now);
		return;
	}
	c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
	c->rw = (uint8_t)rw;
	c->bcd = v & 1;
	c->loaded = c->triggered = c->has_next = c->frozen = false;
	c->latched = 0;
	c->status_latched = c->read_high = c->write_high = false;
	if (i == 0) {
		irq_line_set(p->env->irq, LAYOUT_IRQ_PIT, false);
		schedule(p, now, 0);
	}
}

static void set_gate(struct pit *p, unsigned i, bool gate)
{
	struct pit_channel *c = &p->ch[i];
	uint64_t now = dev_now(&p->env->clock);

	if (c->gate == gate)
		return;
	sync_next(c, now);
	if (!gate) {
		if (c->loaded && !by_trigger(c)) {
			c->frozen_clocks = clocks(c, now);
			c->frozen = true;
		}
	} else if (c->loaded) {
		if (c->has_next && !(c->mode == 0 || c->mode == 4)) {
			c->count = c->next;
			c->has_next = false;
		}
		c->start_ns = now;
		if (c->frozen && (c->mode == 0 || c->mode == 4))
			c->start_ns -= MIN(now, clocks_to_ns(c->frozen_clocks));
		c->triggered = true;
		c->frozen = false;
	}
	c->gate = gate;
}

static uint64_t pit_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pit *p = ctx;

	(void)size;
	return offset < 3 ? counter_read(p, (unsigned)offset) : 0xff;
}

static void pit_write(void *ctx, uint64_t offset, uint64_t v, unsigned size)
{
	struct pit *p = ctx;

	(void)size;
	if (offset < 3)
		counter_write(p, (unsigned)offset, (uint8_t)v);
	else
		control_write(p, (uint8_t)v);
}

static uint64_t speaker_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pit *p = ctx;
	uint64_t now = dev_now(&p->env->clock);

	(void)offset;
	(void)size;
	sync_next(&p->ch[2], now);
	return p->port61 | (now / REFRESH_NS & 1) << 4 | (uint64_t)output(&p->ch[2], now) << 5;
}

static void speaker_write(void *ctx, uint64_t offset, uint64_t v, unsigned size)
{
	struct pit *p = ctx;

	(void)offset;
	(void)size;
	p->port61 = v & 0x0f;
	set_gate(p, 2, v & 1);
}

static const struct bus_ops pit_ops = {pit_read, pit_write, 1};
static const struct bus_ops speaker_ops = {speaker_read, speaker_write, 1};

/* ---- life ---- */

static void pit_reset(struct device *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	for (unsigned i = 0; i < 3; i++)
		p->ch[i] = (struct pit_channel){.rw = 3, .mode = 3, .count = 65536, .gate = i != 2};
	p->port61 = 0;
	p->edge_ns = NO_EDGE;
	p->env->clock.cancel(p->env->clock.ctx, &p->timer);
	irq_line_set(p->env->irq, LAYOUT_IRQ_PIT, false);
}

static void pit_pause(struct device *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	p->env->clock.cancel(p->env->clock.ctx, &p->timer);
}

static void pit_resume(struct device *d)
{
	arm(container_of(d, struct pit, dev), 0);
}

/* Fields of a channel that are the same in its saved form; the rest are times. */
#define SAME_FIELDS(X)    \
	X(mode)           \
	X(rw)             \
	X(bcd)            \
	X(gate)           \
	X(loaded)         \
	X(triggered)      \
	X(frozen)         \
	X(has_next)       \
	X(count)          \
	X(next)           \
	X(frozen_clocks)  \
	X(latch)          \
	X(latched)        \
	X(status)         \
	X(status_latched) \
	X(read_high)      \
	X(write_high)     \
	X(write_low)

static void get_saved(struct pit *p, struct irqchip_pit *out)
{
	uint64_t now = dev_now(&p->env->clock);

	*out = (struct irqchip_pit){.port61 = p->port61, .edge_left_ns = IRQCHIP_NEVER};
	if (p->edge_ns != NO_EDGE)
		out->edge_left_ns = p->edge_ns > now ? p->edge_ns - now : 0;
	for (unsigned i = 0; i < 3; i++) {
		const struct pit_channel *c = &p->ch[i];
		struct irqchip_8254 *o = &out->ch[i];

#define COPY(field) o->field = c->field;
		SAME_FIELDS(COPY)
#undef COPY
		o->next_at_clocks = c->next_at;
		/* What runs in a channel that does not count is of no interest. */
		if (counting(c) && !c->frozen)
			o->elapsed_ns = MIN(now - c->start_ns, IRQCHIP_TIME_MAX);
	}
}

static int pit_state(struct device *d, struct state *s)
{
	struct pit *p = container_of(d, struct pit, dev);

	state_begin(s, "pit", NULL, 1);
	if (!state_loading(s))
		get_saved(p, &p->loading);
	state_pit(s, &p->loading);
	return state_end(s);
}

static int pit_loaded(struct device *d, struct err *e)
{
	struct pit *p = container_of(d, struct pit, dev);
	uint64_t now = dev_now(&p->env->clock);
	const struct irqchip_pit *in = &p->loading;
	int r = state_pit_check(in, e);

	if (r < 0)
		return r;
	p->port61 = in->port61;
	p->edge_ns = in->edge_left_ns == IRQCHIP_NEVER ? NO_EDGE : now + in->edge_left_ns;
	for (unsigned i = 0; i < 3; i++) {
		const struct irqchip_8254 *c = &in->ch[i];
		struct pit_channel *o = &p->ch[i];

#define COPY(field) o->field = c->field;
		SAME_FIELDS(COPY)
#undef COPY
		o->next_at = c->next_at_clocks;
		/* May be before board time 0: only differences are looked at. */
		o->start_ns = now - c->elapsed_ns;
	}
	return 0;
}

static void pit_destroy(struct device *d)
{
	struct pit *p = container_of(d, struct pit, dev);

	p->env->clock.cancel(p->env->clock.ctx, &p->timer);
	bus_remove(p->env->ports, &p->range);
	bus_remove(p->env->ports, &p->speaker);
	free(p);
}

static void pit_dump(const struct device *d, struct text *t)
{
	const struct pit *p = container_of(d, const struct pit, dev);
	uint64_t now = dev_now(&p->env->clock);

	for (unsigned i = 0; i < 3; i++) {
		const struct pit_channel *c = &p->ch[i];

		text_print(t,
			   "channel %u: mode %u rw %u count %u loaded %d gate %d out %d value %u\n",
			   i, c->mode, c->rw, c->count, c->loaded, c->gate, output(c, now),
			   value(c, now));
	}
	text_print(t, "port61 %02x irqs %" PRIu64 "\n", p->port61, p->n_irqs);
}

static const struct dev_class pit_class = {
	.name = "pit",
	.help = "8254 interval timer",
	.destroy = pit_destroy,
	.reset = pit_reset,
	.pause = pit_pause,
	.resume = pit_resume,
	.state = pit_state,
	.loaded = pit_loaded,
	.dump = pit_dump,
};

int pit_create(struct device **out, const struct dev_env *env, struct err *e)
{
	struct pit *p = calloc(1, sizeof(*p));
	int ret;

	*out = NULL;
	if (!p)
		return err_set(e, ENOMEM, "no memory for the interval timer");
	p->dev.class = &pit_class;
	p->dev.id = "pit";
	p->env = env;
	p->timer = (struct dev_timer){.fn = fired, .arg = p};
	p->range = (struct bus_range){"pit", LAYOUT_PORT_PIT, 4, &pit_ops, p};
	p->speaker = (struct bus_range){"speaker", LAYOUT_PORT_SPEAKER, 1, &speaker_ops, p};
	pit_reset(&p->dev);
	ret = bus_add(env->ports, &p->range, e);
	if (ret == 0)
		ret = bus_add(env->ports, &p->speaker, e);
	if (ret < 0) {
		device_destroy(&p->dev);
		return ret;
	}
	*out = &p->dev;
	return 0;
}
