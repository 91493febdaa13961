/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_board_state.c - saved state of the board's devices.
 *
 * A board is driven by random accesses and passing time to some state with timers on their way, saved, and loaded into a
 * second one. Saving the second gives the same bytes. Then both get the same accesses: every value read, every interrupt
 * and every wake has to be the same. And: damaged state, checksum made right, is refused or gives a board that
 * works (under the sanitizers).
 */
#include <errno.h>
#include <stdio.h>

#include "board_twin.h"
#include "state_forge.h"

/* ---- what a guest does ---- */

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(rng >> 33) % n;
}

static const uint16_t apic_regs[] = {0x80,  0xb0,  0xd0,  0xe0,	 0xf0,	0x280, 0x310, 0x320,
				     0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0};

static struct step next_step(void)
{
	struct step st = {.kind = rnd(12), .cpu = rnd(CPUS), .size = 1};
	unsigned i = rnd(ARRAY_SIZE(places));

	st.value = rnd(UINT32_MAX);
	st.ns = rnd(4) ? rnd(3000) : rnd(40000000);
	switch (st.kind) {
	case 0 ... 4: /* port */
		st.addr = places[i].port + rnd(places[i].n);
		if (i == ARRAY_SIZE(places) - 1) { /* configuration address, or data */
			st.size = 4;
			st.addr = LAYOUT_PORT_PCI_ADDR + 4 * rnd(2);
			if (st.addr == LAYOUT_PORT_PCI_ADDR)
				st.value = 0x80000000u | (rnd(2) ? 3u : 31u * rnd(2)) << 11 |
					   rnd(64) << 2;
		} else if (places[i].port == LAYOUT_PORT_RTC && st.addr == LAYOUT_PORT_RTC) {
			st.value = rnd(14);
		}
		break;
	case 5 ... 7:
		st.addr = LAYOUT_LAPIC + apic_regs[rnd(ARRAY_SIZE(apic_regs))];
		if (st.addr == LAYOUT_LAPIC + 0xf0)
			st.value |= 0x100;
		if (st.addr == LAYOUT_LAPIC + 0x380)
			st.value %= 10000000;
		break;
	case 8: st.addr = LAYOUT_IOAPIC + 0x10 * rnd(2); break;
	case 9: st.addr = 0x1000 + 4 * rnd(4 * 70); break; /* MSI-X table */
	}
	return st;
}

static void drive(struct twin *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct step st = next_step();

		(void)do_step(t, &st);
	}
}

/* All that can be seen of a board without touching it. */
static uint32_t digest(struct twin *t)
{
	uint32_t crc = 0;
	char text[8192];

	for (unsigned i = 0; i < CPUS; i++) {
		bool pending = lapic_irq_pending(t->b->lapics, i);

		crc = (uint32_t)crc32(crc, (const uint8_t *)&pending, 1);
	}
	/* Lines, PIC and IOAPIC but for counters. */
	irq_dump(t->b->irq, text, sizeof(text));
	for (char *p = text; *p; p++)
		if (*p == '\n' || !strncmp(p, "acked", 5) || !strncmp(p, "sent", 4))
			*p = '\0';
	return (uint32_t)crc32(crc, (const uint8_t *)text, (unsigned)strlen(text));
}

static void test_twins(void **ctx)
{
	(void)ctx;
	for (unsigned round = 0; round < 150; round++) {
		struct twin *a, *b;
		struct err e = {0};
		uint8_t *one, *two;
		size_t len1, len2;
		unsigned wakes[CPUS];

		rng = round * 77 + 1;
		a = twin_new();
		b = twin_new();
		drive(a, 300);
		twin_pause(a);
		one = twin_save(a, &len1);
		twin_pause(b);
		if (twin_load(b, one, len1, a->b->now, &e))
			fail_msg("round %u: %s", round, e.msg);
		b->b->tsc_lag = a->b->tsc_lag;
		two = twin_save(b, &len2);
		assert_int_equal(len1, len2);
		assert_memory_equal(one, two, len1);
		twin_resume(a);
		twin_resume(b);
		for (unsigned i = 0; i < CPUS; i++)
			wakes[i] = a->b->wakes[i] - b->b->wakes[i];
		for (unsigned i = 0; i < 300; i++) {
			struct step st = next_step();
			uint64_t va = do_step(a, &st), vb = do_step(b, &st);

			if (va != vb || digest(a) != digest(b))
				fail_msg("round %u step %u kind %u at %#llx: %#llx and %#llx",
					 round, i, st.kind, (unsigned long long)st.addr,
					 (unsigned long long)va, (unsigned long long)vb);
		}
		for (unsigned i = 0; i < CPUS; i++)
			assert_int_equal(a->b->wakes[i] - b->b->wakes[i], wakes[i]);
		free(one);
		free(two);
		twin_free(a);
		twin_free(b);
	}
}

/* ---- damaged ---- */

static void test_hostile(void **ctx)
{
	unsigned taken = 0, refused = 0;
	struct twin *a = twin_new();
	uint8_t *data, *bad;
	size_t len;

	(void)ctx;
	rng = 5;
	drive(a, 500);
	twin_pause(a);
	data = twin_save(a, &len);
	bad = malloc(len);
	for (unsigned round = 0; round < 2500; round++) {
		struct twin *b = twin_new();
		struct err e = {0};

		memcpy(bad, data, len);
		for (unsigned i = 0, n = 1 + rnd(4); i < n; i++)
			bad[rnd((uint32_t)len)] = rnd(2) ? 0xff : (uint8_t)rnd(256);
		state_forge(bad, len);
		twin_pause(b);
		if (twin_load(b, bad, len, a->b->now, &e) == 0) {
			twin_resume(b);
			drive(b, 60);
			taken++;
		} else {
			assert_true(e.msg[0] && e.code);
			refused++;
		}
		twin_free(b);
	}
	assert_true(taken > 100 && refused > 100);
	free(bad);
	free(data);
	twin_free(a);
}

static void test_truncated(void **ctx)
{
	struct twin *a = twin_new();
	uint8_t *data;
	size_t len;

	(void)ctx;
	twin_pause(a);
	data = twin_save(a, &len);
	for (size_t n = 0; n < len; n += 13) {
		struct twin *b = twin_new();
		struct err e = {0};

		assert_true(twin_load(b, data, n, a->b->now, &e) < 0);
		assert_true(e.msg[0]);
		twin_free(b);
	}
	free(data);
	twin_free(a);
}

/* A device without state() is named. */
static void test_cannot(void **ctx)
{
	static const struct dev_class class = {.name = "brick", .help = "cannot be saved"};
	struct device d = {&class, "brick0"};
	struct err e = {0};
	struct state s;

	(void)ctx;
	state_init_save(&s);
	assert_true(device_state(&d, &s) < 0);
	assert_true(state_finish(&s, &e) < 0);
	assert_non_null(strstr(e.msg, "brick0"));
	state_fini(&s);
}

/* Memory, alarm and time of a clock go on in the next one; interrupt enables do not. */
static void test_battery(void **ctx)
{
	struct board_env *b = board_env_new(1);
	struct rtc_battery battery;
	struct rtc_config cfg = {.n_cpus = 1};
	struct device *d;
	uint8_t hour;

	(void)ctx;
	b->wall_offset = INT64_C(1800000000) * 1000000000;
	assert_int_equal(rtc_create(&d, &b->env, &cfg, NULL), 0);
	outb(b, 0x70, 0x40);
	outb(b, 0x71, 0x5a);
	outb(b, 0x70, 0x0b);
	outb(b, 0x71, 0x42); /* periodic interrupt */
	outb(b, 0x70, 4);
	hour = (inb(b, 0x71) + 1) % 10;
	outb(b, 0x71, hour);
	rtc_get_battery(d, &battery);
	device_destroy(d);
	board_advance(b, 5000 * MS);
	cfg.battery = &battery;
	cfg.n_cpus = 1;
	assert_int_equal(rtc_create(&d, &b->env, &cfg, NULL), 0);
	outb(b, 0x70, 0x40);
	assert_int_equal(inb(b, 0x71), 0x5a);
	outb(b, 0x70, 0x0b);
	assert_int_equal(inb(b, 0x71), 0x02);
	outb(b, 0x70, 4);
	assert_int_equal(inb(b, 0x71), hour);
	device_destroy(d);
	board_env_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twins),	  cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_cannot),
		cmocka_unit_test(test_battery),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
