/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_timers.c - PIT modes, real time clock, ACPI PM timer and events, on a fake clock. */
#include "board_env.h"

#include "board/hotplug.h"
#include "board/pit.h"
#include "board/pm.h"
#include "board/pvpanic.h"
#include "board/rtc.h"

#define CLK(n) ((uint64_t)(n)*1000000000u / PIT_HZ + 1) /* ns in which n clocks have gone */

/* IRQ `gsi` as an edge interrupt of vector 0x40 at CPU 0. */
static void watch(struct board_env *b, unsigned gsi)
{
	apic_on(b, 0);
	ioapic_put(b, 0x10 + 2 * (gsi ? gsi : 2), 0x40);
}

static unsigned irqs(struct board_env *b, uint64_t ns, uint64_t step)
{
	unsigned n = 0;

	for (uint64_t t = 0; t < ns; t += step) {
		board_advance(b, MIN(step, ns - t));
		n += take_irq(b, 0) == 0x40;
	}
	return n;
}

static uint16_t pit_count(struct board_env *b, unsigned i)
{
	uint16_t v;

	outb(b, 0x43, (uint8_t)(i << 6));
	v = inb(b, (uint16_t)(0x40 + i));
	return (uint16_t)(v | inb(b, (uint16_t)(0x40 + i)) << 8);
}

static void pit_load(struct board_env *b, unsigned i, uint8_t mode, uint16_t count)
{
	outb(b, 0x43, (uint8_t)(i << 6 | 0x30 | mode << 1));
	outb(b, (uint16_t)(0x40 + i), (uint8_t)count);
	outb(b, (uint16_t)(0x40 + i), (uint8_t)(count >> 8));
}

static void test_pit_irq(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;

	(void)st;
	assert_int_equal(pit_create(&d, &b->env, NULL), 0);
	watch(b, 0);
	assert_int_equal(irqs(b, 100 * MS, MS), 0);
	pit_load(b, 0, 2, 11932); /* 100 Hz */
	assert_in_range(irqs(b, 1000 * MS, MS), 99, 100);
	pit_load(b, 0, 3, 11932);
	assert_in_range(irqs(b, 1000 * MS, MS), 99, 100);
	pit_load(b, 0, 0, 11932); /* one shot */
	assert_int_equal(irqs(b, 9 * MS, MS), 0);
	assert_int_equal(irqs(b, 2 * MS, MS), 1);
	assert_int_equal(irqs(b, 200 * MS, MS), 0);
	pit_load(b, 0, 4, 11932);
	assert_int_equal(irqs(b, 9 * MS, MS), 0);
	assert_int_equal(irqs(b, 2 * MS, MS), 1);
	assert_int_equal(irqs(b, 200 * MS, MS), 0);
	pit_load(b, 0, 1, 100); /* no trigger: never */
	assert_int_equal(irqs(b, 100 * MS, MS), 0);
	pit_load(b, 0, 2, 0); /* 65536: 18.2 Hz */
	assert_in_range(irqs(b, 10000 * MS, 10 * MS), 181, 183);
	/* The first byte in mode 0 stops; a control word stops. */
	pit_load(b, 0, 0, 11932);
	outb(b, 0x40, 1);
	assert_int_equal(irqs(b, 100 * MS, MS), 0);
	outb(b, 0x40, 0);
	assert_int_equal(irqs(b, 100 * MS, MS), 1);
	pit_load(b, 0, 2, 11932);
	outb(b, 0x43, 0x34);
	assert_int_equal(irqs(b, 100 * MS, MS), 0);
	/* A count of 2 does not flood the host. */
	pit_load(b, 0, 2, 2);
	b->fired = 0;
	board_advance(b, 10 * MS);
	assert_in_range(b->fired, 50, 110);
	/* A new count in mode 2 waits for the end of the cycle. */
	pit_load(b, 0, 2, 11932);
	take_irq(b, 0);
	board_advance(b, 5 * MS);
	outb(b, 0x40, 1193 & 0xff);
	outb(b, 0x40, 1193 >> 8);
	assert_int_equal(irqs(b, 4 * MS, MS), 0);
	(void)pit_count(b, 0);
	assert_in_range(irqs(b, 11 * MS, MS / 10), 10, 11);
	/* Pause and resume. */
	device_pause(d);
	assert_int_equal(irqs(b, 10 * MS, MS), 0);
	device_resume(d);
	assert_true(irqs(b, 10 * MS, MS) >= 9);
	device_reset(d);
	assert_int_equal(irqs(b, 100 * MS, MS), 0);
	device_destroy(d);
	board_env_free(b);
}

static void test_pit_counters(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;
	uint16_t v;

	(void)st;
	assert_int_equal(pit_create(&d, &b->env, NULL), 0);
	pit_load(b, 0, 2, 1000);
	board_advance(b, CLK(250));
	assert_int_equal(pit_count(b, 0), 750);
	board_advance(b, CLK(800));
	assert_in_range(pit_count(b, 0), 948, 951);
	/* Mode 3 counts by two. */
	pit_load(b, 0, 3, 1000);
	board_advance(b, CLK(100));
	assert_int_equal(pit_count(b, 0), 800);
	board_advance(b, CLK(500));
	assert_in_range(pit_count(b, 0), 798, 800);
	/* A latched count stays until it is read, and a second latch does nothing. */
	outb(b, 0x43, 0x00);
	board_advance(b, CLK(10));
	outb(b, 0x43, 0x00);
	v = inb(b, 0x40);
	v |= (uint16_t)(inb(b, 0x40) << 8);
	assert_in_range(v, 798, 800);
	/* Low byte only; BCD. */
	outb(b, 0x43, 0x14);
	outb(b, 0x40, 100);
	board_advance(b, CLK(30));
	assert_int_equal(inb(b, 0x40), 70);
	outb(b, 0x43, 0x35);
	outb(b, 0x40, 0x00);
	outb(b, 0x40, 0x10); /* 1000 */
	board_advance(b, CLK(1));
	assert_int_equal(pit_count(b, 0), 0x0999);
	/* Read-back: status before count. */
	pit_load(b, 0, 0, 500);
	outb(b, 0x43, 0xe2);
	assert_int_equal(inb(b, 0x40), 0x30);
	board_advance(b, CLK(600));
	outb(b, 0x43, 0xc2);
	board_advance(b, CLK(50)); /* both are latched */
	assert_int_equal(inb(b, 0x40), 0xb0);
	v = inb(b, 0x40);
	v |= (uint16_t)(inb(b, 0x40) << 8);
	assert_in_range(v, 65536 - 101, 65536 - 99); /* goes on after zero */
	outb(b, 0x43, 0x30);
	outb(b, 0x43, 0xe2);
	assert_int_equal(inb(b, 0x40), 0x70); /* no count yet */
	assert_int_equal(inb(b, 0x43), 0xff);
	device_destroy(d);
	board_env_free(b);
}

static void test_pit_speaker(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;
	uint8_t v;

	(void)st;
	assert_int_equal(pit_create(&d, &b->env, NULL), 0);
	/* How systems measure the TSC: mode 0 with the gate up, wait for the output. */
	outb(b, 0x61, 0x01);
	pit_load(b, 2, 0, 11932);
	assert_int_equal(inb(b, 0x61) & 0x2f, 0x01);
	board_advance(b, CLK(11931));
	assert_int_equal(inb(b, 0x61) & 0x20, 0);
	board_advance(b, CLK(1));
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	/* The gate stops the count and lets it go on. */
	pit_load(b, 2, 0, 1000);
	board_advance(b, CLK(400));
	outb(b, 0x61, 0x00);
	board_advance(b, 100 * MS);
	assert_int_equal(pit_count(b, 2), 600);
	outb(b, 0x61, 0x01);
	board_advance(b, CLK(100));
	assert_in_range(pit_count(b, 2), 499, 501);
	/* Mode 1: the gate's edge is the trigger, again and again. */
	pit_load(b, 2, 1, 1000);
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	for (unsigned i = 0; i < 2; i++) {
		outb(b, 0x61, 0x00);
		outb(b, 0x61, 0x01);
		assert_int_equal(inb(b, 0x61) & 0x20, 0);
		board_advance(b, CLK(999));
		assert_int_equal(inb(b, 0x61) & 0x20, 0);
		board_advance(b, CLK(1));
		assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	}
	/* Mode 5: a low strobe of one clock after the trigger. */
	pit_load(b, 2, 5, 1000);
	board_advance(b, CLK(5000));
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	outb(b, 0x61, 0x00);
	outb(b, 0x61, 0x01);
	board_advance(b, CLK(1000));
	assert_int_equal(inb(b, 0x61) & 0x20, 0);
	board_advance(b, CLK(1));
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	/* Mode 3: half and half; low gate holds it high, a rising one starts anew. */
	pit_load(b, 2, 3, 1000);
	board_advance(b, CLK(499));
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	board_advance(b, CLK(2));
	assert_int_equal(inb(b, 0x61) & 0x20, 0);
	outb(b, 0x61, 0x00);
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	outb(b, 0x61, 0x01);
	board_advance(b, CLK(400));
	assert_int_equal(inb(b, 0x61) & 0x20, 0x20);
	/* The refresh bit toggles. */
	v = inb(b, 0x61);
	board_advance(b, 15085);
	assert_int_equal((v ^ inb(b, 0x61)) & 0x10, 0x10);
	device_destroy(d);
	board_env_free(b);
}

static uint8_t cmos(struct board_env *b, uint8_t reg)
{
	outb(b, 0x70, reg);
	return inb(b, 0x71);
}

static void cmos_put(struct board_env *b, uint8_t reg, uint8_t v)
{
	outb(b, 0x70, reg);
	outb(b, 0x71, v);
}

#define T_2024 INT64_C(1709251199) /* 2024-02-29 23:59:59 UTC, a Thursday */

static struct device *rtc_new(struct board_env *b)
{
	struct rtc_config cfg = {.low_ram_bytes = 3 * GIB, .high_ram_bytes = GIB, .n_cpus = 4};
	struct device *d;

	b->wall_offset = T_2024 * 1000000000 - (int64_t)b->now;
	assert_int_equal(rtc_create(&d, &b->env, &cfg, NULL), 0);
	return d;
}

static void test_rtc_time(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d = rtc_new(b);

	(void)st;
	assert_int_equal(cmos(b, 0x0d), 0x80);
	/* BCD, 24 hours. */
	assert_int_equal(cmos(b, 0x00), 0x59);
	assert_int_equal(cmos(b, 0x04), 0x23);
	assert_int_equal(cmos(b, 0x06), 5);
	assert_int_equal(cmos(b, 0x07), 0x29);
	assert_int_equal(cmos(b, 0x08), 0x02);
	assert_int_equal(cmos(b, 0x09), 0x24);
	assert_int_equal(cmos(b, 0x32), 0x20);
	/* Binary, 12 hours. */
	cmos_put(b, 0x0b, 0x04);
	assert_int_equal(cmos(b, 0x00), 59);
	assert_int_equal(cmos(b, 0x04), 0x80 | 11);
	assert_int_equal(cmos(b, 0x09), 24);
	/* Update in progress for the last 244 us of a second; then the next day. */
	assert_int_equal(cmos(b, 0x0a), 0x26);
	board_advance(b, 999700000);
	assert_int_equal(cmos(b, 0x0a), 0x26);
	board_advance(b, 100000);
	assert_int_equal(cmos(b, 0x0a), 0xa6);
	board_advance(b, 200000);
	assert_int_equal(cmos(b, 0x0a), 0x26);
	assert_int_equal(cmos(b, 0x00), 0);
	assert_int_equal(cmos(b, 0x04), 12); /* midnight */
	assert_int_equal(cmos(b, 0x07), 1);
	assert_int_equal(cmos(b, 0x08), 3);
	/* Set, as systems do: SET, divider reset, write, divider on, SET off. */
	cmos_put(b, 0x0b, 0x82);
	cmos_put(b, 0x0a, 0x76);
	cmos_put(b, 0x09, 0x99);
	cmos_put(b, 0x32, 0x19);
	cmos_put(b, 0x08, 0x12);
	cmos_put(b, 0x07, 0x31);
	cmos_put(b, 0x04, 0x23);
	cmos_put(b, 0x02, 0x59);
	cmos_put(b, 0x00, 0x58);
	board_advance(b, 5000 * MS); /* stands still */
	assert_int_equal(cmos(b, 0x00), 0x58);
	cmos_put(b, 0x0a, 0x26);
	cmos_put(b, 0x0b, 0x02);
	assert_int_equal(cmos(b, 0x00), 0x58);
	board_advance(b, 499 * MS);
	assert_int_equal(cmos(b, 0x00), 0x58);
	board_advance(b, 2 * MS); /* first update after half a second */
	assert_int_equal(cmos(b, 0x00), 0x59);
	board_advance(b, 1000 * MS);
	assert_int_equal(cmos(b, 0x09), 0x00);
	assert_int_equal(cmos(b, 0x32), 0x20);
	/* Written while running. */
	cmos_put(b, 0x02, 0x30);
	assert_int_equal(cmos(b, 0x02), 0x30);
	assert_int_equal(cmos(b, 0x00), 0x00);
	/* Nonsense in every register: no harm, and a time comes out. */
	for (unsigned fill = 0; fill < 256; fill += 51) {
		cmos_put(b, 0x0b, 0x80);
		for (uint8_t r = 0; r < 10; r++)
			cmos_put(b, r, (uint8_t)fill);
		cmos_put(b, 0x32, (uint8_t)fill);
		cmos_put(b, 0x0b, fill & 1 ? 0x04 : 0x02);
		board_advance(b, 100000 * MS);
		assert_true(cmos(b, 0x08) != 0);
	}
	device_destroy(d);
	board_env_free(b);
}

static void test_rtc_irq(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d = rtc_new(b);
	unsigned n = 0;

	(void)st;
	watch(b, 8);
	/* Polled flags, no interrupt. */
	(void)cmos(b, 0x0c);
	board_advance(b, 1100 * MS);
	assert_int_equal(cmos(b, 0x0c), 0x70); /* it is midnight: the alarm registers are 0 */
	assert_int_equal(cmos(b, 0x0c), 0x00);
	assert_int_equal(take_irq(b, 0), -1);
	/* Periodic at 1024 Hz, each acknowledged. */
	cmos_put(b, 0x0b, 0x42);
	(void)cmos(b, 0x0c);
	for (unsigned i = 0; i < 10000; i++) {
		board_advance(b, MS / 10);
		if (take_irq(b, 0) == 0x40) {
			n++;
			assert_int_equal(cmos(b, 0x0c) & 0xc0, 0xc0);
		}
	}
	assert_in_range(n, 1020, 1025);
	/* Not acknowledged: one, and no timer any more. */
	board_advance(b, 2 * MS);
	b->fired = 0;
	board_advance(b, 100 * MS);
	assert_int_equal(b->fired, 0);
	(void)take_irq(b, 0);
	/* Update ended. */
	cmos_put(b, 0x0b, 0x12);
	(void)cmos(b, 0x0c);
	n = 0;
	for (unsigned i = 0; i < 50; i++) {
		board_advance(b, 100 * MS);
		if (take_irq(b, 0) == 0x40) {
			n++;
			assert_int_equal(cmos(b, 0x0c) & 0x90, 0x90);
		}
	}
	assert_int_equal(n, 5);
	/* Alarm at 00:01:00 of the next day; then every minute at second 0. */
	cmos_put(b, 0x01, 0x00);
	cmos_put(b, 0x03, 0x01);
	cmos_put(b, 0x05, 0x00);
	cmos_put(b, 0x0b, 0x22);
	(void)cmos(b, 0x0c);
	board_advance(b, 10000 * MS);
	assert_int_equal(take_irq(b, 0), -1);
	board_advance(b, 60000 * MS);
	assert_int_equal(take_irq(b, 0), 0x40);
	assert_int_equal(cmos(b, 0x02), 0x01);
	assert_int_equal(cmos(b, 0x0c) & 0xa0, 0xa0);
	cmos_put(b, 0x03, 0xff);
	cmos_put(b, 0x05, 0xff);
	n = 0;
	for (unsigned i = 0; i < 300; i++) {
		board_advance(b, 1000 * MS);
		if (take_irq(b, 0) == 0x40) {
			n++;
			(void)cmos(b, 0x0c);
		}
	}
	assert_int_equal(n, 5);
	/* An alarm that can never be. */
	cmos_put(b, 0x01, 0x77);
	board_advance(b, 200000 * MS);
	assert_int_equal(take_irq(b, 0), -1);
	/* The host's clock is set back by a year: no hang, no flood. */
	cmos_put(b, 0x0b, 0x12);
	b->wall_offset -= INT64_C(365) * 86400 * 1000000000;
	b->fired = 0;
	board_advance(b, 5000 * MS);
	assert_true(b->fired < 20);
	device_reset(d);
	assert_int_equal(cmos(b, 0x0b) & 0x70, 0);
	device_destroy(d);
	board_env_free(b);
}

static void test_rtc_memory(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d = rtc_new(b);

	(void)st;
	assert_int_equal(cmos(b, 0x15) | cmos(b, 0x16) << 8, 640);
	assert_int_equal(cmos(b, 0x17) | cmos(b, 0x18) << 8, 0xffff);
	assert_int_equal(cmos(b, 0x34) | cmos(b, 0x35) << 8, (3 * GIB - 16 * MIB) >> 16);
	assert_int_equal(cmos(b, 0x5b) | cmos(b, 0x5c) << 8 | cmos(b, 0x5d) << 16, GIB >> 16);
	assert_int_equal(cmos(b, 0x5f), 3);
	cmos_put(b, 0x0f, 0x0a);
	rtc_cmos_set(d, 0x38, 0x21);
	rtc_cmos_set(d, 0x00, 0x77); /* not memory */
	device_reset(d);
	assert_int_equal(cmos(b, 0x0f), 0x0a);
	assert_int_equal(cmos(b, 0x8f), 0x0a); /* the NMI bit is not part of the index */
	assert_int_equal(cmos(b, 0x38), 0x21);
	assert_int_equal(cmos(b, 0x00), 0x59);
	outb(b, 0x72, 0xf0); /* upper bank */
	outb(b, 0x73, 0x5a);
	outb(b, 0x72, 0xf1);
	assert_int_equal(inb(b, 0x73), 0);
	outb(b, 0x72, 0xf0);
	assert_int_equal(inb(b, 0x73), 0x5a);
	/* Index and data in one access. */
	outw(b, 0x70, 0x6638);
	assert_int_equal(cmos(b, 0x38), 0x66);
	device_destroy(d);
	board_env_free(b);
}

static void test_pm(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pm_config cfg = {.timer_32bit = false};
	struct device *d;
	uint32_t t;

	(void)st;
	assert_int_equal(pm_create(&d, &b->env, &cfg, NULL), 0);
	apic_on(b, 0);
	ioapic_put(b, 0x10 + 2 * 9, 0x8040); /* SCI, level */
	/* The timer: 3.579545 MHz, 24 bits. */
	t = inl(b, 0x608);
	board_advance(b, 1000 * MS);
	assert_in_range(inl(b, 0x608) - t, 3579544, 3579546);
	board_advance(b, 10000 * MS);
	assert_true(inl(b, 0x608) < 1u << 24);
	assert_int_equal(inb(b, 0x608), inl(b, 0x608) & 0xff);
	/* Its carry, polled and as SCI. */
	assert_int_equal(inw(b, 0x600) & PM1_TMR_STS, PM1_TMR_STS);
	outw(b, 0x600, PM1_TMR_STS);
	assert_int_equal(inw(b, 0x600), 0);
	assert_int_equal(take_irq(b, 0), -1);
	outw(b, 0x602, PM1_TMR_STS);
	board_advance(b, 2400 * MS); /* 2^23 ticks are 2.34 s */
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x40);
	outw(b, 0x600, PM1_TMR_STS);
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(take_irq(b, 0), -1);
	outw(b, 0x602, 0);

	/* Power button: no SCI unless enabled; the status stays until it is cleared. */
	assert_int_equal(inw(b, 0x604), PM1_CNT_SCI_EN);
	assert_false(pm_power_button(d));
	assert_int_equal(take_irq(b, 0), -1);
	outw(b, 0x602, PM1_PWRBTN_STS);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x40);
	apic_set(b, 0, APIC_EOI, 0); /* still asserted */
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x40);
	outb(b, 0x601, 0x01); /* byte access clears */
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(take_irq(b, 0), -1);
	assert_true(pm_power_button(d));
	outw(b, 0x600, 0xffff);
	(void)take_irq(b, 0);

	/* General purpose events. */
	pm_gpe(d, 35);
	pm_gpe(d, 64);
	assert_int_equal(inl(b, 0x624), 8);
	assert_int_equal(take_irq(b, 0), -1);
	outl(b, 0x62c, 8);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x40);
	outb(b, 0x624, 8);
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(take_irq(b, 0), -1);
	assert_int_equal(inl(b, 0x624), 0);

	/* S5 only with SLP_EN and its type; SCI_EN cannot be cleared. */
	outw(b, 0x604, 0x0000);
	assert_int_equal(inw(b, 0x604), PM1_CNT_SCI_EN);
	outw(b, 0x604, 5 << 10 | PM1_CNT_SLP_EN);
	assert_int_equal(b->requests[DEV_REQ_POWEROFF], 0);
	outw(b, 0x604, 7 << 10);
	assert_int_equal(b->requests[DEV_REQ_POWEROFF], 0);
	outw(b, 0x604, PM_SLP_TYP_S5 << 10 | PM1_CNT_SLP_EN);
	assert_int_equal(b->requests[DEV_REQ_POWEROFF], 1);
	outb(b, 0x605, 0x3c); /* by byte */
	assert_int_equal(b->requests[DEV_REQ_POWEROFF], 2);

	/* Moved. */
	pm_map(d, 0xb000, true);
	assert_int_equal(inw(b, 0x604), 0xffff);
	assert_int_equal(inw(b, 0xb004) & 1, 1);
	pm_map(d, 0xffc0, true); /* does not fit */
	pm_map(d, LAYOUT_PORT_PM, false);
	assert_int_equal(inw(b, 0x604), 0xffff);
	device_destroy(d);
	board_env_free(b);
}

static unsigned n_ejected, last_ejected;

static void ejected(void *ctx, unsigned slot)
{
	(void)ctx;
	n_ejected++;
	last_ejected = slot;
}

/* The ports of slots whose card can come and go, and their event. */
static void test_hotplug(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pm_config cfg = {.timer_32bit = false};
	struct hotplug_config hc = {.eject = ejected};
	struct device *h;

	(void)st;
	assert_int_equal(pm_create(&hc.pm, &b->env, &cfg, NULL), 0);
	assert_int_equal(hotplug_create(&h, &b->env, &hc, NULL), 0);
	hotplug_set_slots(h, 0xff);
	assert_int_equal(hotplug_slots(h), 0xfe);
	hotplug_came(h, 3);
	assert_int_equal(inb(b, LAYOUT_PORT_PM + PM_GPE0_OFFSET), 1 << HOTPLUG_GPE);
	assert_int_equal(inl(b, LAYOUT_PORT_HOTPLUG), 8);
	assert_int_equal(inl(b, LAYOUT_PORT_HOTPLUG + 4), 0);
	outl(b, LAYOUT_PORT_HOTPLUG, 4);
	assert_int_equal(inl(b, LAYOUT_PORT_HOTPLUG), 8);
	outl(b, LAYOUT_PORT_HOTPLUG, 8);
	assert_int_equal(inl(b, LAYOUT_PORT_HOTPLUG), 0);
	/* Only what was asked for can be ejected, and once. */
	outl(b, LAYOUT_PORT_HOTPLUG + 8, 0xffffffff);
	assert_int_equal(n_ejected, 0);
	hotplug_ask(h, 3);
	assert_int_equal(inl(b, LAYOUT_PORT_HOTPLUG + 4), 8);
	assert_int_equal(hotplug_leaving(h), 8);
	outw(b, LAYOUT_PORT_HOTPLUG + 8, 8); /* not as wide as the register */
	assert_int_equal(n_ejected, 0);
	outl(b, LAYOUT_PORT_HOTPLUG + 8, 0xffffffff);
	outl(b, LAYOUT_PORT_HOTPLUG + 8, 0xffffffff);
	assert_int_equal(n_ejected, 1);
	assert_int_equal(last_ejected, 3);
	assert_int_equal(hotplug_leaving(h), 0);
	device_destroy(h);
	device_destroy(hc.pm);
	board_env_free(b);
}

/* The kernel's panic becomes a request. */
static void test_pvpanic(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;

	(void)st;
	assert_int_equal(pvpanic_create(&d, &b->env, NULL), 0);
	assert_int_equal(inb(b, LAYOUT_PORT_PVPANIC), 3);
	outb(b, LAYOUT_PORT_PVPANIC, 2);
	assert_int_equal(b->requests[DEV_REQ_PANIC], 0);
	outb(b, LAYOUT_PORT_PVPANIC, 1);
	assert_int_equal(b->requests[DEV_REQ_PANIC], 1);
	device_destroy(d);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pit_irq),	    cmocka_unit_test(test_pit_counters),
		cmocka_unit_test(test_pit_speaker), cmocka_unit_test(test_rtc_time),
		cmocka_unit_test(test_rtc_irq),	    cmocka_unit_test(test_rtc_memory),
		cmocka_unit_test(test_pm),	    cmocka_unit_test(test_hotplug),
		cmocka_unit_test(test_pvpanic),
	};

	return cmocka_run_group_tests_name("board/timers", tests, NULL, NULL);
}
