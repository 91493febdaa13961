/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_lapic.c - priorities and EOI, message destinations in every mode, timers on a fake clock, mode changes. */
#include <pthread.h>

#include "board_env.h"

#define BASE_EN 0x800u
#define BASE_EXTD 0x400u
#define MSR_BASE 0x1bu
#define MSR_DEADLINE 0x6e0u
#define X2(off) (0x800u + ((off) >> 4))

static void x2_on(struct board_env *b, unsigned cpu)
{
	uint64_t v;

	assert_int_equal(lapic_msr_read(b->lapics, cpu, MSR_BASE, &v), 0);
	assert_int_equal(lapic_msr_write(b->lapics, cpu, MSR_BASE, v | BASE_EXTD), 0);
	assert_int_equal(lapic_msr_write(b->lapics, cpu, X2(APIC_SVR), 0x1ff), 0);
}

static void self_ipi(struct board_env *b, unsigned vector)
{
	apic_set(b, 0, APIC_ICR, 0x40000 | vector);
}

static bool pending(struct board_env *b)
{
	return lapic_irq_pending(b->lapics, 0);
}

static int ack(struct board_env *b)
{
	return lapic_irq_ack(b->lapics, 0);
}

static void eoi(struct board_env *b)
{
	apic_set(b, 0, APIC_EOI, 0);
}

static void test_reset_state(void **st)
{
	struct board_env *b = board_env_new(3);
	uint64_t v;

	(void)st;
	assert_int_equal(lapic_msr_read(b->lapics, 0, MSR_BASE, &v), 0);
	assert_int_equal(v, 0xfee00900);
	assert_int_equal(lapic_msr_read(b->lapics, 2, MSR_BASE, &v), 0);
	assert_int_equal(v, 0xfee00800);
	assert_int_equal(apic_get(b, 2, APIC_ID), 2u << 24);
	assert_int_equal(apic_get(b, 0, 0x30), 0x50014);
	assert_int_equal(apic_get(b, 0, APIC_SVR), 0xff);
	assert_int_equal(apic_get(b, 0, APIC_DFR), 0xffffffff);
	assert_int_equal(apic_get(b, 0, APIC_LVT_LINT0), 0x10000);
	/* Software-disabled: takes no fixed interrupt, and masks cannot be cleared. */
	self_ipi(b, 0x40);
	assert_false(pending(b));
	apic_set(b, 0, APIC_LVT_TIMER, 0x31);
	assert_int_equal(apic_get(b, 0, APIC_LVT_TIMER), 0x10031);
	apic_on(b, 0);
	apic_set(b, 0, APIC_LVT_TIMER, 0x31);
	assert_int_equal(apic_get(b, 0, APIC_LVT_TIMER), 0x31);
	apic_set(b, 0, APIC_SVR, 0xff);
	assert_int_equal(apic_get(b, 0, APIC_LVT_TIMER), 0x10031);
	board_env_free(b);
}

static void test_priorities(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	self_ipi(b, 0x51);
	self_ipi(b, 0x52);
	self_ipi(b, 0x83);
	assert_true(b->wakes[0] == 3);
	self_ipi(b, 0x83); /* pending already */
	assert_true(b->wakes[0] == 3);
	assert_int_equal(ack(b), 0x83);
	assert_int_equal(apic_get(b, 0, APIC_PPR), 0x80);
	assert_false(pending(b)); /* 0x52 is below what is in service */
	assert_int_equal(ack(b), -1);
	self_ipi(b, 0x8f); /* same class: does not interrupt either */
	assert_false(pending(b));
	self_ipi(b, 0x90);
	assert_true(pending(b));
	assert_int_equal(ack(b), 0x90);
	b->wakes[0] = 0;
	eoi(b); /* of 0x90; 0x83 is still in service */
	assert_false(pending(b));
	assert_int_equal(b->wakes[0], 0);
	eoi(b);
	assert_int_equal(b->wakes[0], 1); /* told that 0x8f can go now */
	assert_int_equal(ack(b), 0x8f);
	eoi(b);
	assert_int_equal(ack(b), 0x52);
	eoi(b);

	/* Task priority holds back its class and below. */
	apic_set(b, 0, APIC_TPR, 0x57);
	assert_int_equal(apic_get(b, 0, APIC_PPR), 0x57);
	assert_false(pending(b));
	lapic_cr8_write(b->lapics, 0, 4);
	assert_int_equal(apic_get(b, 0, APIC_TPR), 0x40);
	assert_int_equal(lapic_cr8_read(b->lapics, 0), 4);
	assert_true(pending(b));
	assert_int_equal(ack(b), 0x51);
	assert_int_equal(apic_get(b, 0, APIC_ISR + 0x20), 1u << 0x11);
	eoi(b);
	eoi(b); /* one too many */
	assert_false(pending(b));
	board_env_free(b);
}

/* Each bit of each word by itself: the summary word must not lose any. */
static void test_all_vectors(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	for (unsigned v = 16; v < 256; v++) {
		self_ipi(b, v);
		assert_true(apic_requested(b, 0, v));
		assert_int_equal(take_irq(b, 0), v);
		assert_false(pending(b));
	}
	for (unsigned v = 16; v < 256; v++)
		self_ipi(b, v);
	for (unsigned v = 255; v >= 16; v--)
		assert_int_equal(take_irq(b, 0), v);
	assert_int_equal(take_irq(b, 0), -1);
	board_env_free(b);
}

static void test_errors(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	apic_set(b, 0, APIC_LVT_ERROR, 0xfe);
	self_ipi(b, 0x0f); /* illegal vector */
	assert_int_equal(take_irq(b, 0), 0xfe);
	assert_int_equal(apic_get(b, 0, APIC_ESR), 0); /* not before a write */
	apic_set(b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(b, 0, APIC_ESR), 0x20);
	apic_set(b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(b, 0, APIC_ESR), 0);
	irq_msi(b->irq, 0xfee00000, 5);
	apic_get(b, 0, 0x40); /* reserved register */
	apic_set(b, 0, 0xff0, 1);
	apic_set(b, 0, APIC_ESR, 0);
	assert_int_equal(apic_get(b, 0, APIC_ESR), 0xc0);
	/* Odd accesses do nothing and break nothing. */
	lapic_mmio_write(b->lapics, 0, LAYOUT_LAPIC + APIC_TPR, 0x90, 1);
	lapic_mmio_write(b->lapics, 0, LAYOUT_LAPIC + APIC_TPR + 2, 0x90, 4);
	assert_int_equal(apic_get(b, 0, APIC_TPR), 0);
	assert_int_equal(lapic_mmio_read(b->lapics, 0, LAYOUT_LAPIC + 0x33, 1), 0);
	assert_int_equal((uint8_t)lapic_mmio_read(b->lapics, 0, LAYOUT_LAPIC + 0x32, 1), 5);
	board_env_free(b);
}

/* Which of the first 8 CPUs have `vector`; clears it everywhere. */
static unsigned who(struct board_env *b, unsigned vector, unsigned n)
{
	unsigned set = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!lapic_irq_pending(b->lapics, i))
			continue;
		assert_int_equal(lapic_irq_ack(b->lapics, i), vector);
		if (lapic_msr_write(b->lapics, i, X2(APIC_EOI), 0) != 0)
			apic_set(b, i, APIC_EOI, 0);
		set |= 1u << i;
	}
	return set;
}

static void test_xapic_destinations(void **st)
{
	struct board_env *b = board_env_new(8);
	struct lapic_msg m = {.vector = 0x40};

	(void)st;
	for (unsigned i = 0; i < 8; i++)
		apic_on(b, i);
#define SEND(high, low) \
	(apic_set(b, 1, APIC_ICR2, (uint32_t)(high) << 24), apic_set(b, 1, APIC_ICR, (low) | 0x40))
	/* Physical, shorthands, broadcast. */
	SEND(3, 0);
	assert_int_equal(who(b, 0x40, 8), 0x08);
	SEND(9, 0);
	assert_int_equal(who(b, 0x40, 8), 0);
	SEND(0xff, 0);
	assert_int_equal(who(b, 0x40, 8), 0xff);
	SEND(3, 0x40000);
	assert_int_equal(who(b, 0x40, 8), 0x02);
	SEND(3, 0x80000);
	assert_int_equal(who(b, 0x40, 8), 0xff);
	SEND(3, 0xc0000);
	assert_int_equal(who(b, 0x40, 8), 0xfd);
	assert_int_equal(apic_get(b, 1, APIC_ICR), 0xc0040);

	/* Logical flat: a bit an APIC. */
	for (unsigned i = 0; i < 8; i++)
		apic_set(b, i, APIC_LDR, 1u << (24 + i));
	SEND(0x25, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0x25);
	SEND(0xff, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0xff);
	SEND(0, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0);

	/* Logical cluster: cluster i/4, member i%4. */
	for (unsigned i = 0; i < 8; i++) {
		apic_set(b, i, APIC_DFR, 0x0fffffff);
		apic_set(b, i, APIC_LDR, (i / 4) << 28 | 1u << (24 + i % 4));
	}
	SEND(0x0a, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0x0a);
	SEND(0x13, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0x30);
	SEND(0x2f, 0x800);
	assert_int_equal(who(b, 0x40, 8), 0);

	/* Disabled ones take none. */
	apic_set(b, 5, APIC_SVR, 0xff);
	m.broadcast = true;
	assert_int_equal(lapic_send(b->lapics, &m), 7);
	assert_int_equal(who(b, 0x40, 8), 0xdf);
	apic_on(b, 5);

	/* Lowest priority: exactly one, the least busy; in turn among equals. */
	for (unsigned i = 0; i < 8; i++)
		apic_set(b, i, APIC_TPR, i == 6 ? 0x20 : 0x30);
	m.mode = LAPIC_LOWEST;
	assert_int_equal(lapic_send(b->lapics, &m), 1);
	assert_int_equal(who(b, 0x40, 8), 0x40);
	apic_set(b, 6, APIC_TPR, 0x30);
	unsigned seen = 0;
	for (unsigned i = 0; i < 16; i++) {
		unsigned one;

		lapic_send(b->lapics, &m);
		one = who(b, 0x40, 8);
		assert_true(one && !(one & (one - 1)));
		seen |= one;
	}
	assert_int_equal(seen, 0xff);

	/* NMI, INIT, SIPI. */
	SEND(4, 0x400);
	assert_int_equal(b->nmis[4], 1);
	SEND(0, 0xc0000 | 0x500 | 0x4000);
	assert_int_equal(b->inits[0] + b->inits[7], 2);
	assert_int_equal(b->inits[1], 0);
	SEND(4, 0x500 | 0x8000); /* level de-assert: nothing */
	assert_int_equal(b->inits[4], 1);
	apic_set(b, 1, APIC_ICR2, 2u << 24);
	apic_set(b, 1, APIC_ICR, 0x600 | 0x9a);
	assert_int_equal(b->sipi[2], 0x9a);
	assert_int_equal(b->sipi[3], -1);
#undef SEND
	board_env_free(b);
}

static void test_x2apic_destinations(void **st)
{
	struct board_env *b = board_env_new(40);
	uint64_t v;

	(void)st;
	for (unsigned i = 0; i < 40; i++)
		x2_on(b, i);
	assert_int_equal(lapic_msr_read(b->lapics, 33, X2(APIC_ID), &v), 0);
	assert_int_equal(v, 33);
	assert_int_equal(lapic_msr_read(b->lapics, 33, X2(APIC_LDR), &v), 0);
	assert_int_equal(v, 0x20002);
#define SEND(dest, low)                                                          \
	assert_int_equal(lapic_msr_write(b->lapics, 0, 0x830,                    \
					 (uint64_t)(dest) << 32 | (low) | 0x77), \
			 0)
	SEND(33, 0);
	assert_true(lapic_irq_pending(b->lapics, 33));
	assert_int_equal(take_irq(b, 33), 0x77);
	lapic_msr_write(b->lapics, 33, X2(APIC_EOI), 0);
	SEND(0x20003, 0x800); /* cluster 2, members 0 and 1 */
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(lapic_irq_pending(b->lapics, i), i == 32 || i == 33);
	for (unsigned i = 32; i < 34; i++) {
		assert_int_equal(lapic_irq_ack(b->lapics, i), 0x77);
		lapic_msr_write(b->lapics, i, X2(APIC_EOI), 0);
	}
	SEND(0x0005, 0x800); /* cluster 0 */
	assert_int_equal(who(b, 0x77, 32), 0x05);
	SEND(0xff, 0);	      /* not a broadcast here */
	SEND(0x90001, 0x800); /* a cluster that is not there */
	SEND(0xffff0001, 0x800);
	for (unsigned i = 0; i < 40; i++)
		assert_false(lapic_irq_pending(b->lapics, i));
	SEND(0xffffffff, 0);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(lapic_irq_ack(b->lapics, i), 0x77);
		lapic_msr_write(b->lapics, i, X2(APIC_EOI), 0);
	}
#undef SEND
	/* Self IPI. */
	assert_int_equal(lapic_msr_write(b->lapics, 7, 0x83f, 0x66), 0);
	assert_int_equal(lapic_irq_ack(b->lapics, 7), 0x66);
	/* 8-bit messages reach them too. */
	assert_true(irq_msi(b->irq, 0xfee00000 | 39 << 12, 0x88));
	assert_int_equal(lapic_irq_ack(b->lapics, 39), 0x88);
	board_env_free(b);
}

static void test_modes(void **st)
{
	struct board_env *b = board_env_new(2);
	uint64_t v;

	(void)st;
	assert_int_equal(lapic_msr_read(b->lapics, 0, X2(APIC_ID), &v), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfee00000 | BASE_EXTD),
			 -1); /* invalid state */
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfee00801), -1); /* reserved bit */
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, BIT(46) | 0xfee00800), -1);
	apic_on(b, 0);
	apic_set(b, 0, APIC_TPR, 0x50);
	assert_true(lapic_mmio_hit(b->lapics, 0, 0xfee00fff));
	assert_false(lapic_mmio_hit(b->lapics, 0, 0xfee01000));
	x2_on(b, 0);
	assert_false(lapic_mmio_hit(b->lapics, 0, 0xfee00000));
	assert_int_equal(lapic_msr_read(b->lapics, 0, X2(APIC_TPR), &v), 0);
	assert_int_equal(v, 0x50); /* kept across the switch */
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfee00900),
			 -1); /* back to xAPIC */
	/* #GP cases of x2APIC registers. */
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_EOI), 1), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_ESR), 1), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_ESR), 0), 0);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_ID), 0), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_LDR), 0), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_TPR), 0x100), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_LVT_TIMER), BIT(20)), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, X2(APIC_INITIAL), BIT(32)), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, 0x830, 0x20000 | 0x40), -1);
	assert_int_equal(lapic_msr_write(b->lapics, 0, 0x831, 0), -1);
	assert_int_equal(lapic_msr_read(b->lapics, 0, 0x80e, &v), -1); /* DFR is gone */
	assert_int_equal(lapic_msr_read(b->lapics, 0, X2(APIC_EOI), &v), -1);
	assert_int_equal(lapic_msr_read(b->lapics, 0, 0x83f, &v), -1);
	assert_int_equal(lapic_msr_read(b->lapics, 0, 0x8ff, &v), -1);
	/* INIT keeps the mode. */
	lapic_init_reset(b->lapics, 0);
	assert_int_equal(lapic_msr_read(b->lapics, 0, X2(APIC_TPR), &v), 0);
	assert_int_equal(v, 0);
	/* Off, and from off only to xAPIC. */
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfee00100), 0);
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfee00d00), -1);
	assert_false(lapic_mmio_hit(b->lapics, 0, 0xfee00000));
	assert_int_equal(lapic_msr_write(b->lapics, 0, MSR_BASE, 0xfed00900), 0); /* elsewhere */
	assert_true(lapic_mmio_hit(b->lapics, 0, 0xfed00020));
	assert_false(lapic_mmio_hit(b->lapics, 0, 0xfee00020));
	board_env_free(b);
}

static void test_oneshot(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	apic_set(b, 0, APIC_DIVIDE, 0xb); /* by 1 */
	apic_set(b, 0, APIC_LVT_TIMER, 0xec);
	apic_set(b, 0, APIC_INITIAL, 1000000);
	board_advance(b, 400000);
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 600000);
	apic_set(b, 0, APIC_DIVIDE, 0x0); /* by 2: goes on at half the pace */
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 600000);
	board_advance(b, 600000);
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 300000);
	assert_false(pending(b));
	board_advance(b, 599999);
	assert_false(pending(b));
	board_advance(b, 1);
	assert_int_equal(take_irq(b, 0), 0xec);
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 0);
	board_advance(b, 10 * MS);
	assert_false(pending(b));

	/* Stopped by 0; masked it runs out silently. */
	apic_set(b, 0, APIC_INITIAL, 1000);
	apic_set(b, 0, APIC_INITIAL, 0);
	board_advance(b, MS);
	assert_false(pending(b));
	apic_set(b, 0, APIC_LVT_TIMER, 0x100ec);
	apic_set(b, 0, APIC_INITIAL, 1000);
	board_advance(b, MS);
	apic_set(b, 0, APIC_LVT_TIMER, 0xec);
	assert_false(pending(b));

	/* All divisors. */
	static const struct {
		uint32_t reg;
		unsigned by;
	} div[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
	for (unsigned i = 0; i < ARRAY_SIZE(div); i++) {
		apic_set(b, 0, APIC_DIVIDE, div[i].reg);
		apic_set(b, 0, APIC_INITIAL, 1000);
		board_advance(b, 999 * div[i].by);
		assert_false(pending(b));
		assert_int_equal(apic_get(b, 0, APIC_CURRENT), 1);
		board_advance(b, div[i].by);
		assert_int_equal(take_irq(b, 0), 0xec);
	}
	board_env_free(b);
}

static void test_periodic(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	apic_set(b, 0, APIC_DIVIDE, 0xb);
	apic_set(b, 0, APIC_LVT_TIMER, 0x200ec);
	apic_set(b, 0, APIC_INITIAL, 1000000);
	for (unsigned i = 0; i < 5; i++) {
		board_advance(b, 999999);
		assert_false(pending(b));
		board_advance(b, 1);
		assert_int_equal(take_irq(b, 0), 0xec);
	}
	board_advance(b, 250000);
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 750000);
	/* A host that is late by several periods: one interrupt, and the phase is kept. */
	b->now += 3100000;
	board_advance(b, 0);
	assert_int_equal(take_irq(b, 0), 0xec);
	assert_int_equal(take_irq(b, 0), -1);
	assert_int_equal(b->apic_deadline[0] - b->now, 650000);
	/* A period of a nanosecond does not flood the host. */
	b->fired = 0;
	apic_set(b, 0, APIC_INITIAL, 1);
	board_advance(b, MS);
	assert_true(b->fired >= 5 && b->fired <= 15);
	assert_int_equal(take_irq(b, 0), 0xec);
	/* Pause holds it, resume goes on. */
	apic_set(b, 0, APIC_INITIAL, 1000000);
	lapic_pause(b->lapics);
	assert_int_equal(b->apic_deadline[0], 0);
	lapic_resume(b->lapics);
	board_advance(b, MS);
	assert_int_equal(take_irq(b, 0), 0xec);
	lapic_reset(b->lapics);
	assert_int_equal(b->apic_deadline[0], 0);
	board_env_free(b);
}

static void test_deadline(void **st)
{
	struct board_env *b = board_env_new(1);
	uint64_t v;

	(void)st;
	apic_on(b, 0);
	/* Not in the mode: ignored. */
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 1);
	assert_int_equal(lapic_msr_read(b->lapics, 0, MSR_DEADLINE, &v), 0);
	assert_int_equal(v, 0);
	apic_set(b, 0, APIC_LVT_TIMER, 0x400ec);
	apic_set(b, 0, APIC_INITIAL, 1000);
	assert_int_equal(apic_get(b, 0, APIC_CURRENT), 0);
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 2 * b->now + 2000);
	board_advance(b, 999);
	assert_false(pending(b));
	lapic_msr_read(b->lapics, 0, MSR_DEADLINE, &v);
	assert_int_equal(v, 2 * (b->now + 1));
	board_advance(b, 2);
	assert_int_equal(take_irq(b, 0), 0xec);
	lapic_msr_read(b->lapics, 0, MSR_DEADLINE, &v);
	assert_int_equal(v, 0);
	/* In the past: at once. */
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 1);
	assert_int_equal(take_irq(b, 0), 0xec);
	assert_int_equal(b->apic_deadline[0], 0);
	/* The TSC runs behind what was predicted: not before its time. */
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 2 * b->now + 2000);
	b->tsc_lag = -500;
	board_advance(b, 1100);
	assert_false(pending(b));
	board_advance(b, 200);
	assert_int_equal(take_irq(b, 0), 0xec);
	/* 0 disarms; far away does not overflow; leaving the mode disarms. */
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 2 * b->now + 2000);
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, 0);
	board_advance(b, MS);
	assert_false(pending(b));
	lapic_msr_write(b->lapics, 0, MSR_DEADLINE, UINT64_MAX);
	board_advance(b, 1000 * MS);
	assert_false(pending(b));
	assert_true(b->apic_deadline[0] > b->now);
	apic_set(b, 0, APIC_LVT_TIMER, 0xec);
	assert_int_equal(b->apic_deadline[0], 0);
	lapic_msr_read(b->lapics, 0, MSR_DEADLINE, &v);
	assert_int_equal(v, 0);
	board_env_free(b);
}

/* Threads send while the owner takes: nothing is lost, and at the end nothing is left. */
struct sender {
	struct board_env *b;
	unsigned vector;
	unsigned sent; /* atomic */
};

static void *send_many(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < 20000; i++) {
		irq_msi(s->b->irq, 0xfee00000, s->vector);
		__atomic_fetch_add(&s->sent, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void test_threads(void **st)
{
	struct board_env *b = board_env_new(1);
	struct sender s[2] = {{b, 0x61, 0}, {b, 0x63, 0}};
	pthread_t t[2];
	unsigned taken = 0, quiet = 0;

	(void)st;
	apic_on(b, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, send_many, &s[i]), 0);
	while (quiet < 2) {
		bool done = __atomic_load_n(&s[0].sent, __ATOMIC_SEQ_CST) == 20000 &&
			    __atomic_load_n(&s[1].sent, __ATOMIC_SEQ_CST) == 20000;
		int v = take_irq(b, 0);

		assert_true(v == -1 || v == 0x61 || v == 0x63);
		taken += v >= 0;
		if (done && v < 0)
			quiet++;
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_true(taken >= 2 && taken <= 40000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(apic_get(b, 0, APIC_IRR + i * 16), 0);
	board_env_free(b);
}

/* Another thread says all the time that the timer may have expired. */
struct clock_thread {
	struct board_env *b;
	bool end; /* atomic */
};

static void *fire_always(void *arg)
{
	struct clock_thread *c = arg;

	while (!__atomic_load_n(&c->end, __ATOMIC_SEQ_CST))
		lapic_timer_fired(c->b->lapics, 0);
	return NULL;
}

/* Who reads a count of 0 has the interrupt, and when the timer has been stopped none comes any more, whichever thread saw it expire. */
static void test_two_see_expiry(void **st)
{
	struct board_env *b = board_env_new(1);
	struct clock_thread c = {b, false};
	unsigned came = 0, late = 0, without = 0;
	pthread_t t;

	(void)st;
	apic_on(b, 0);
	apic_set(b, 0, APIC_DIVIDE, 0xb); /* by 1 */
	apic_set(b, 0, APIC_LVT_TIMER, 0xec);
	assert_int_equal(pthread_create(&t, NULL, fire_always, &c), 0);
	for (unsigned i = 0; i < 2000000; i++) {
		apic_set(b, 0, APIC_INITIAL, 1000);
		__atomic_fetch_add(&b->now, 1000, __ATOMIC_SEQ_CST);
		if (i & 1) {
			apic_set(b, 0, APIC_INITIAL, 0);
			take_irq(b, 0);
			for (unsigned k = 0; k < 20; k++)
				late += take_irq(b, 0) == 0xec;
		} else {
			came += apic_get(b, 0, APIC_CURRENT) == 0;
			without += take_irq(b, 0) != 0xec;
		}
	}
	__atomic_store_n(&c.end, true, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	assert_int_equal(came, 1000000);
	assert_int_equal(without, 0);
	assert_int_equal(late, 0);
	board_env_free(b);
}

static void test_bad_config(void **st)
{
	struct board_env *b = board_env_new(1);
	struct lapic_config cfg = {.n_cpus = 0, .tsc_khz = 1000000};
	struct lapic_set *s = (void *)1;

	(void)st;
	assert_true(lapic_create(&s, &cfg, NULL) < 0);
	assert_null(s);
	cfg.n_cpus = 256;
	assert_true(lapic_create(&s, &cfg, NULL) < 0);
	cfg.n_cpus = 1;
	cfg.tsc_khz = 0;
	assert_true(lapic_create(&s, &cfg, NULL) < 0);
	lapic_destroy(NULL);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_state),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_all_vectors),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_xapic_destinations),
		cmocka_unit_test(test_x2apic_destinations),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_oneshot),
		cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_two_see_expiry),
		cmocka_unit_test(test_bad_config),
	};

	return cmocka_run_group_tests_name("board/lapic", tests, NULL, NULL);
}
