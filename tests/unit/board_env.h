/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_env.h - a board without a machine, for the unit tests of devices: buses, interrupt controllers with
 * recording hosts, and a clock that stands still until board_advance(), which runs due timers in order.
 */
#ifndef LODGE_TESTS_BOARD_ENV_H
#define LODGE_TESTS_BOARD_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "board/bus.h"
#include "board/device.h"
#include "board/irq.h"
#include "board/lapic.h"
#include "board/layout.h"

#define ENV_CPUS_MAX 64
#define ENV_TSC_KHZ 2000000u /* guest TSC: two a nanosecond */
#define MS UINT64_C(1000000)

struct board_env {
	struct bus ports, mmio;
	struct lapic_set *lapics;
	struct irq_router *irq;
	struct dev_env env;
	uint64_t now;
	int64_t wall_offset; /* wall = now + this */
	struct dev_timer *timer[8];
	uint64_t apic_deadline[ENV_CPUS_MAX]; /* 0: not armed */
	unsigned wakes[ENV_CPUS_MAX], nmis[ENV_CPUS_MAX], inits[ENV_CPUS_MAX];
	int sipi[ENV_CPUS_MAX]; /* vector, or -1 */
	unsigned fired;		/* timers run */
	unsigned requests[4];
	uint32_t code;
	int64_t tsc_lag; /* guest TSC less 2 * now */
};

static uint64_t env_now(void *ctx)
{
	return __atomic_load_n(&((struct board_env *)ctx)->now, __ATOMIC_SEQ_CST);
}

static int64_t env_wall(void *ctx)
{
	struct board_env *b = ctx;

	return (int64_t)b->now + b->wall_offset;
}

static void env_arm(void *ctx, struct dev_timer *t, uint64_t deadline_ns)
{
	struct board_env *b = ctx;
	unsigned i = 0;

	while (i < ARRAY_SIZE(b->timer) && b->timer[i] != t)
		i++;
	for (unsigned k = 0; i == ARRAY_SIZE(b->timer) && k < ARRAY_SIZE(b->timer); k++) {
		if (!b->timer[k])
			i = k;
	}
	assert_true(i < ARRAY_SIZE(b->timer));
	b->timer[i] = t;
	t->armed = true;
	t->deadline_ns = deadline_ns;
}

static void env_cancel(void *ctx, struct dev_timer *t)
{
	struct board_env *b = ctx;

	t->armed = false;
	for (unsigned i = 0; i < ARRAY_SIZE(b->timer); i++) {
		if (b->timer[i] == t)
			b->timer[i] = NULL;
	}
}

static void env_request(void *ctx, enum dev_request what, uint32_t code)
{
	struct board_env *b = ctx;

	b->requests[what]++;
	b->code = code;
}

static void env_apic_arm(void *ctx, unsigned cpu, uint64_t deadline_ns)
{
	((struct board_env *)ctx)->apic_deadline[cpu] = deadline_ns;
}

static void env_apic_cancel(void *ctx, unsigned cpu)
{
	((struct board_env *)ctx)->apic_deadline[cpu] = 0;
}

static void env_wake(void *ctx, unsigned cpu)
{
	__atomic_fetch_add(&((struct board_env *)ctx)->wakes[cpu], 1, __ATOMIC_RELAXED);
}

static void env_nmi(void *ctx, unsigned cpu)
{
	((struct board_env *)ctx)->nmis[cpu]++;
}

static void env_init(void *ctx, unsigned cpu)
{
	((struct board_env *)ctx)->inits[cpu]++;
}

static void env_sipi(void *ctx, unsigned cpu, uint8_t vector)
{
	((struct board_env *)ctx)->sipi[cpu] = vector;
}

static uint64_t env_tsc(void *ctx, unsigned cpu)
{
	struct board_env *b = ctx;

	(void)cpu;
	return 2 * b->now + (uint64_t)b->tsc_lag;
}

static inline struct board_env *board_env_new(unsigned n_cpus)
{
	struct board_env *b = calloc(1, sizeof(*b));
	struct lapic_config cfg = {
		.n_cpus = n_cpus,
		.tsc_khz = ENV_TSC_KHZ,
		.host = {b, env_wake, env_nmi, env_init, env_sipi, env_tsc},
		.timer = {b, env_apic_arm, env_apic_cancel},
		.now = env_now,
		.now_ctx = b,
	};
	struct err e = {0};

	assert_non_null(b);
	assert_true(n_cpus <= ENV_CPUS_MAX);
	b->now = 1000 * MS;
	bus_init(&b->ports, "port", BUS_PORT_LAST, 4);
	bus_init(&b->mmio, "mmio", BUS_MMIO_LAST, 8);
	b->env = (struct dev_env){
		.ports = &b->ports,
		.mmio = &b->mmio,
		.clock = {b, env_now, env_wall, env_arm, env_cancel},
		.request = env_request,
		.request_ctx = b,
	};
	memset(b->sipi, 0xff, sizeof(b->sipi));
	assert_int_equal(lapic_create(&b->lapics, &cfg, &e), 0);
	assert_int_equal(irq_router_create(&b->irq, &b->env, b->lapics, &e), 0);
	b->env.irq = b->irq;
	return b;
}

static inline void board_env_free(struct board_env *b)
{
	irq_router_destroy(b->irq);
	lapic_destroy(b->lapics);
	for (unsigned i = 0; i < ARRAY_SIZE(b->timer); i++)
		assert_null(b->timer[i]); /* a device left one armed */
	assert_int_equal(b->ports.n, 0);
	assert_int_equal(b->mmio.n, 0);
	bus_fini(&b->ports);
	bus_fini(&b->mmio);
	free(b);
}

/* Runs the clock on by ns, and what is due on the way at its time. */
static inline void board_advance(struct board_env *b, uint64_t ns)
{
	uint64_t end = b->now + ns;

	for (;;) {
		uint64_t first = UINT64_MAX;
		struct dev_timer *t = NULL;
		int cpu = -1;

		for (unsigned i = 0; i < ARRAY_SIZE(b->timer); i++) {
			if (b->timer[i] && b->timer[i]->armed && b->timer[i]->deadline_ns < first) {
				t = b->timer[i];
				first = t->deadline_ns;
			}
		}
		for (unsigned i = 0; i < ENV_CPUS_MAX; i++) {
			if (b->apic_deadline[i] && b->apic_deadline[i] < first) {
				cpu = (int)i;
				first = b->apic_deadline[i];
			}
		}
		if (first > end)
			break;
		b->now = MAX(b->now, first);
		b->fired++;
		if (cpu >= 0) {
			b->apic_deadline[cpu] = 0;
			lapic_timer_fired(b->lapics, (unsigned)cpu);
		} else {
			t->armed = false;
			t->fn(t->arg);
		}
	}
	b->now = end;
}

static inline uint8_t inb(struct board_env *b, uint16_t port)
{
	return (uint8_t)bus_read(&b->ports, port, 1);
}

static inline uint16_t inw(struct board_env *b, uint16_t port)
{
	return (uint16_t)bus_read(&b->ports, port, 2);
}

static inline uint32_t inl(struct board_env *b, uint16_t port)
{
	return (uint32_t)bus_read(&b->ports, port, 4);
}

static inline void outb(struct board_env *b, uint16_t port, uint8_t v)
{
	bus_write(&b->ports, port, v, 1);
}

static inline void outw(struct board_env *b, uint16_t port, uint16_t v)
{
	bus_write(&b->ports, port, v, 2);
}

static inline void outl(struct board_env *b, uint16_t port, uint32_t v)
{
	bus_write(&b->ports, port, v, 4);
}

/* xAPIC registers of a CPU by their offset. */
static inline uint32_t apic_get(struct board_env *b, unsigned cpu, unsigned off)
{
	return (uint32_t)lapic_mmio_read(b->lapics, cpu, LAYOUT_LAPIC + off, 4);
}

static inline void apic_set(struct board_env *b, unsigned cpu, unsigned off, uint32_t v)
{
	lapic_mmio_write(b->lapics, cpu, LAYOUT_LAPIC + off, v, 4);
}

#define APIC_ID 0x20
#define APIC_TPR 0x80
#define APIC_PPR 0xa0
#define APIC_EOI 0xb0
#define APIC_LDR 0xd0
#define APIC_DFR 0xe0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_TMR 0x180
#define APIC_IRR 0x200
#define APIC_ESR 0x280
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_LVT_ERROR 0x370
#define APIC_INITIAL 0x380
#define APIC_CURRENT 0x390
#define APIC_DIVIDE 0x3e0

/* Software-enables an APIC. */
static inline void apic_on(struct board_env *b, unsigned cpu)
{
	apic_set(b, cpu, APIC_SVR, 0x1ff);
}

static inline bool apic_requested(struct board_env *b, unsigned cpu, unsigned vector)
{
	return apic_get(b, cpu, APIC_IRR + vector / 32 * 16) & (1u << (vector % 32));
}

static inline void ioapic_put(struct board_env *b, unsigned reg, uint32_t v)
{
	bus_write(&b->mmio, LAYOUT_IOAPIC, reg, 4);
	bus_write(&b->mmio, LAYOUT_IOAPIC + 0x10, v, 4);
}

static inline uint32_t ioapic_take(struct board_env *b, unsigned reg)
{
	bus_write(&b->mmio, LAYOUT_IOAPIC, reg, 4);
	return (uint32_t)bus_read(&b->mmio, LAYOUT_IOAPIC + 0x10, 4);
}

/* Vector waiting at CPU 0 from an edge pin, taken and ended; -1: none. */
static inline int take_irq(struct board_env *b, unsigned cpu)
{
	int v;

	if (!lapic_irq_pending(b->lapics, cpu))
		return -1;
	v = lapic_irq_ack(b->lapics, cpu);
	if (v >= 0)
		apic_set(b, cpu, APIC_EOI, 0);
	return v;
}

#endif
