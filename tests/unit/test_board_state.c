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
#include <zlib.h>

#include "board_env.h"

#include "board/debug_exit.h"
#include "board/i8042.h"
#include "board/pci.h"
#include "board/pit.h"
#include "board/pm.h"
#include "board/rtc.h"
#include "board/uart.h"
#include "state/state.h"
#include "state/state_x86.h"

#define CPUS 2u
#define DEVICES 6u

struct gadget {
	struct pci_device pci;
};

struct twin {
	struct board_env *b;
	struct device *dev[DEVICES];
	struct pci_root *pci;
	struct gadget gadget;
	uint8_t sent[64]; /* what the UART gave away, cut */
	unsigned n_sent;
};

/* A back-end that takes a byte now and then, by its own count. */
static size_t tx(void *ctx, const uint8_t *buf, size_t len)
{
	struct twin *t = ctx;

	if (len < 3)
		return 0;
	t->sent[t->n_sent++ % sizeof(t->sent)] = buf[0];
	return 1;
}

static int gadget_state(struct device *d, struct state *s)
{
	return pci_device_state(container_of(d, struct pci_device, dev), s);
}

static int gadget_loaded(struct device *d, struct err *e)
{
	return pci_device_loaded(container_of(d, struct pci_device, dev), e);
}

static void gadget_reset(struct device *d)
{
	pci_reset(container_of(d, struct pci_device, dev));
}

static const struct dev_class gadget_class = {.name = "gadget",
					      .help = "a test",
					      .reset = gadget_reset,
					      .state = gadget_state,
					      .loaded = gadget_loaded};

static struct twin *twin_new(void)
{
	struct twin *t = calloc(1, sizeof(*t));
	struct rtc_config rtc = {.low_ram_bytes = 64 * MIB, .n_cpus = CPUS};
	struct pm_config pm = {.timer_32bit = false};
	struct uart_config uart = {.id = "com1",
				   .port = LAYOUT_PORT_COM1,
				   .gsi = LAYOUT_IRQ_COM1,
				   .backend = {t, tx, NULL}};
	struct pci_root_config pci = {0};

	t->b = board_env_new(CPUS);
	t->b->wall_offset = INT64_C(1800000000) * 1000000000;
	assert_int_equal(pit_create(&t->dev[0], &t->b->env, NULL), 0);
	assert_int_equal(rtc_create(&t->dev[1], &t->b->env, &rtc, NULL), 0);
	assert_int_equal(uart_create(&t->dev[2], &t->b->env, &uart, NULL), 0);
	assert_int_equal(pm_create(&t->dev[3], &t->b->env, &pm, NULL), 0);
	assert_int_equal(i8042_create(&t->dev[4], &t->b->env, NULL), 0);
	assert_int_equal(debug_exit_create(&t->dev[5], &t->b->env, NULL), 0);
	pci.pm = t->dev[3];
	assert_int_equal(pci_root_create(&t->pci, &t->b->env, &pci, NULL), 0);
	pci_init(&t->gadget.pci, &gadget_class, "gadget", &t->b->env, 0x1af4, 0x1041, 0x020000, 1);
	pci_set8(&t->gadget.pci, PCI_INTERRUPT_PIN, 1);
	assert_int_equal(pci_bar_add(&t->gadget.pci, 2, PCI_BAR_MEM64, 16384, NULL, NULL, NULL), 0);
	assert_int_equal(pci_msix_init(&t->gadget.pci, 70, 2, 0x1000, 0x2000, NULL), 0);
	assert_int_equal(pci_root_add(t->pci, &t->gadget.pci, PCI_DEVFN(3, 0), NULL), 0);
	return t;
}

static void twin_free(struct twin *t)
{
	pci_fini(&t->gadget.pci);
	pci_root_destroy(t->pci);
	for (unsigned i = DEVICES; i-- > 0;)
		device_destroy(t->dev[i]);
	board_env_free(t->b);
	free(t);
}

/* ---- saving and loading, in the order of a machine ---- */

static int twin_state(struct twin *t, struct state *s, struct err *e)
{
	struct irqchip_lapic l = {0};
	struct irqchip_pic pic = {0};
	struct irqchip_ioapic io = {0};
	int r = 0;

	irq_state(t->b->irq, s);
	for (unsigned i = 0; i < CPUS; i++) {
		char name[4];

		snprintf(name, sizeof(name), "%u", i);
		if (!state_loading(s))
			lapic_get(t->b->lapics, i, &l);
		state_begin(s, "lapic", name, 1);
		state_lapic(s, &l);
		if (state_end(s) == 0 && state_loading(s))
			r |= lapic_set(t->b->lapics, i, &l, e);
	}
	if (!state_loading(s))
		irq_get_chips(t->b->irq, &pic, &io);
	state_begin(s, "pic", NULL, 1);
	state_pic(s, &pic);
	state_end(s);
	state_begin(s, "ioapic", NULL, 1);
	state_ioapic(s, &io);
	state_end(s);
	if (state_loading(s) && state_error(s) == 0)
		r |= irq_set_chips(t->b->irq, &pic, &io, e);
	for (unsigned i = 0; i < DEVICES; i++)
		device_state(t->dev[i], s);
	pci_root_state(t->pci, s);
	r |= state_finish(s, e);
	if (!state_loading(s) || r)
		return r;
	for (unsigned i = 0; i < DEVICES && r == 0; i++)
		r = device_loaded(t->dev[i], e);
	return r ? r : pci_root_loaded(t->pci, e);
}

static void twin_pause(struct twin *t)
{
	lapic_pause(t->b->lapics);
	for (unsigned i = 0; i < DEVICES; i++)
		device_pause(t->dev[i]);
}

static void twin_resume(struct twin *t)
{
	for (unsigned i = 0; i < DEVICES; i++)
		device_resume(t->dev[i]);
	lapic_resume(t->b->lapics);
}

/* The caller frees. */
static uint8_t *twin_save(struct twin *t, size_t *len)
{
	struct err e = {0};
	struct state s;
	uint8_t *data;

	state_init_save(&s);
	if (twin_state(t, &s, &e))
		fail_msg("%s", e.msg);
	data = malloc(s.out.len);
	memcpy(data, s.out.data, s.out.len);
	*len = s.out.len;
	state_fini(&s);
	return data;
}

/* `now`: board time of the save. */
static int twin_load(struct twin *t, const uint8_t *data, size_t len, uint64_t now, struct err *e)
{
	struct state s;
	int r = state_init_load(&s, data, len, e);

	if (r < 0)
		return r;
	t->b->now = now;
	r = twin_state(t, &s, e);
	state_fini(&s);
	return r;
}

/* ---- what a guest does ---- */

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(rng >> 33) % n;
}

static const struct {
	uint16_t port, n;
} places[] = {
	{LAYOUT_PORT_PIT, 4},	   {LAYOUT_PORT_PIT, 4},       {LAYOUT_PORT_SPEAKER, 1},
	{LAYOUT_PORT_RTC, 2},	   {LAYOUT_PORT_COM1, 8},      {LAYOUT_PORT_PM, 0x38},
	{LAYOUT_PORT_I8042, 1},	   {LAYOUT_PORT_I8042 + 4, 1}, {LAYOUT_PORT_PIC0, 2},
	{LAYOUT_PORT_PIC1, 2},	   {LAYOUT_PORT_ELCR, 2},      {LAYOUT_PORT_FAST_A20, 1},
	{LAYOUT_PORT_PCI_ADDR, 8},
};

static const uint16_t apic_regs[] = {0x80,  0xb0,  0xd0,  0xe0,	 0xf0,	0x280, 0x310, 0x320,
				     0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0};

struct step {
	unsigned kind, cpu;
	uint64_t addr, value, ns;
	unsigned size;
};

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

/* One step on one board; what the guest sees of it. */
static uint64_t do_step(struct twin *t, const struct step *st)
{
	struct board_env *b = t->b;
	bool write = st->value & 0x8000;
	uint64_t v = 0;

	switch (st->kind) {
	case 0 ... 4:
		if (write)
			bus_write(&b->ports, st->addr, st->value, st->size);
		else
			v = bus_read(&b->ports, st->addr, st->size);
		break;
	case 5 ... 7:
		if (write && lapic_mmio_hit(b->lapics, st->cpu, st->addr))
			lapic_mmio_write(b->lapics, st->cpu, st->addr, st->value, 4);
		else
			v = lapic_mmio_read(b->lapics, st->cpu, st->addr, 4);
		break;
	case 8:
		if (st->addr == LAYOUT_IOAPIC || write)
			bus_write(&b->mmio, st->addr, st->value, 4);
		else
			v = bus_read(&b->mmio, st->addr, 4);
		break;
	case 9:
		if (write)
			pci_msix_write(&t->gadget.pci, 2, st->addr, 4, st->value);
		else if (!pci_msix_read(&t->gadget.pci, 2, st->addr, 4, &v))
			v = 1;
		break;
	case 10:
		switch (st->value % 4) {
		case 0: pci_intx(&t->gadget.pci, st->value & 0x10); break;
		case 1: pci_msix_notify(&t->gadget.pci, st->value / 4 % 70); break;
		case 2: v = uart_rx_push(t->dev[2], (const uint8_t *)&st->value, 3); break;
		case 3: pm_power_button(t->dev[3]); break;
		}
		break;
	case 11:
		if (lapic_irq_pending(b->lapics, st->cpu))
			v = (uint64_t)lapic_irq_ack(b->lapics, st->cpu);
		break;
	}
	board_advance(b, st->ns);
	return v;
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

/* Checksums of all sections, made right. */
static void forge(uint8_t *data, size_t len)
{
	size_t at = 0;

	while (at + 16 <= len) {
		size_t n = 16 + buf_le16(data + at + 6) + (size_t)buf_le32(data + at);
		uint32_t crc;

		if (n > len - at)
			return;
		memset(data + at + 8, 0, 4);
		crc = (uint32_t)crc32_z(0, data + at, n);
		memcpy(data + at + 8, &crc, 4);
		at += n;
	}
}

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
		forge(bad, len);
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
