/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_twin.h - a board with all its devices and a PCI function, steps that a guest or the host does to it, and its saved state.
 */
#ifndef LODGE_TESTS_BOARD_TWIN_H
#define LODGE_TESTS_BOARD_TWIN_H

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
static inline size_t tx(void *ctx, const uint8_t *buf, size_t len)
{
	struct twin *t = ctx;

	if (len < 3)
		return 0;
	t->sent[t->n_sent++ % sizeof(t->sent)] = buf[0];
	return 1;
}

static inline int gadget_state(struct device *d, struct state *s)
{
	return pci_device_state(container_of(d, struct pci_device, dev), s);
}

static inline int gadget_loaded(struct device *d, struct err *e)
{
	return pci_device_loaded(container_of(d, struct pci_device, dev), e);
}

static inline void gadget_reset(struct device *d)
{
	pci_reset(container_of(d, struct pci_device, dev));
}

static const struct dev_class gadget_class = {.name = "gadget",
					      .help = "a test",
					      .reset = gadget_reset,
					      .state = gadget_state,
					      .loaded = gadget_loaded};

static inline struct twin *twin_new(void)
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

static inline void twin_free(struct twin *t)
{
	pci_fini(&t->gadget.pci);
	pci_root_destroy(t->pci);
	for (unsigned i = DEVICES; i-- > 0;)
		device_destroy(t->dev[i]);
	board_env_free(t->b);
	free(t);
}

/* ---- saving and loading, in the order of a machine ---- */

static inline int twin_state(struct twin *t, struct state *s, struct err *e)
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

static inline void twin_pause(struct twin *t)
{
	lapic_pause(t->b->lapics);
	for (unsigned i = 0; i < DEVICES; i++)
		device_pause(t->dev[i]);
}

static inline void twin_resume(struct twin *t)
{
	for (unsigned i = 0; i < DEVICES; i++)
		device_resume(t->dev[i]);
	lapic_resume(t->b->lapics);
}

/* The caller frees. */
static inline uint8_t *twin_save(struct twin *t, size_t *len)
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
static inline int twin_load(struct twin *t, const uint8_t *data, size_t len, uint64_t now,
			    struct err *e)
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

static const struct {
	uint16_t port, n;
} places[] = {
	{LAYOUT_PORT_PIT, 4},	   {LAYOUT_PORT_PIT, 4},       {LAYOUT_PORT_SPEAKER, 1},
	{LAYOUT_PORT_RTC, 2},	   {LAYOUT_PORT_COM1, 8},      {LAYOUT_PORT_PM, 0x38},
	{LAYOUT_PORT_I8042, 1},	   {LAYOUT_PORT_I8042 + 4, 1}, {LAYOUT_PORT_PIC0, 2},
	{LAYOUT_PORT_PIC1, 2},	   {LAYOUT_PORT_ELCR, 2},      {LAYOUT_PORT_FAST_A20, 1},
	{LAYOUT_PORT_PCI_ADDR, 8},
};

struct step {
	unsigned kind, cpu;
	uint64_t addr, value, ns;
	unsigned size;
};

/* One step on one board; what the guest sees of it. */
static inline uint64_t do_step(struct twin *t, const struct step *st)
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

#endif
