/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_board.c - every register of the board: ports and MMIO of all its devices, local and I/O APICs, the configuration spaces
 * and the MSI-X table of a PCI function, in any order, size and time; with resets, pauses, and state that is saved, damaged
 * and loaded into a new board.
 */
#include "fuzz.h"

#include "../unit/board_twin.h"
#include "../unit/state_forge.h"

static struct twin *t;

static uint64_t any_place(struct input *in)
{
	unsigned i = in8(in) % ARRAY_SIZE(places);

	return places[i].port + in8(in) % (places[i].n + 2u);
}

static void port(struct input *in, uint8_t op)
{
	uint64_t at = op & 0x80 ? in16(in) : any_place(in);
	unsigned size = 1u << (op >> 4 & 3) % 3;

	if (op & 0x40)
		(void)bus_read(&t->b->ports, at, size);
	else
		bus_write(&t->b->ports, at, in_edge(in), size);
}

static void mmio(struct input *in, uint8_t op)
{
	static const uint64_t base[] = {LAYOUT_IOAPIC,
					LAYOUT_ECAM,
					LAYOUT_ECAM + (3 << 15),
					LAYOUT_ECAM + (31 << 15),
					0xd0000000,
					LAYOUT_ECAM - 8,
					0,
					UINT64_MAX - 300};
	uint64_t at = base[in8(in) % ARRAY_SIZE(base)] + (op & 0x80 ? in16(in) : in8(in));
	unsigned size = 1u << (op >> 4 & 3);

	if (op & 0x40)
		(void)bus_read(&t->b->mmio, at, size);
	else
		bus_write(&t->b->mmio, at, in_edge(in), size);
}

static void pci_config(struct input *in, uint8_t op)
{
	static const unsigned devfn[] = {0, 3 << 3, 31 << 3, 31 << 3 | 3, 4 << 3, 255};
	unsigned reg = in8(in), size = 1u << (op >> 4 & 3) % 3;

	outl(t->b, LAYOUT_PORT_PCI_ADDR,
	     0x80000000u | devfn[in8(in) % ARRAY_SIZE(devfn)] << 8 | (reg & 0xfc));
	if (op & 0x80)
		(void)bus_read(&t->b->ports, LAYOUT_PORT_PCI_ADDR + 4 + (reg & 3), size);
	else
		bus_write(&t->b->ports, LAYOUT_PORT_PCI_ADDR + 4 + (reg & 3), in_edge(in), size);
}

static void apic(struct input *in, uint8_t op)
{
	unsigned cpu = op >> 4 & 1;
	uint64_t at = LAYOUT_LAPIC + (op & 0x20 ? in16(in) % 0x1000 : in8(in) * 16u), v = 0;

	if (op & 0x80) { /* by MSR: base, deadline, x2APIC */
		static const uint32_t msr[] = {0x1b, 0x6e0};
		unsigned i = in8(in);
		uint32_t m = i < 2 ? msr[i] : 0x800 + i;

		if (op & 0x40)
			(void)lapic_msr_read(t->b->lapics, cpu, m, &v);
		else
			(void)lapic_msr_write(t->b->lapics, cpu, m, in_edge(in));
	} else if (lapic_mmio_hit(t->b->lapics, cpu, at)) {
		if (op & 0x40)
			(void)lapic_mmio_read(t->b->lapics, cpu, at, 4);
		else
			lapic_mmio_write(t->b->lapics, cpu, at, in_edge(in), 4);
	}
}

/* The engine's and the host's side. */
static void event(struct input *in, uint8_t op)
{
	static char text[16384];
	unsigned cpu = op >> 4 & 1;
	uint8_t bytes[16];

	switch (op >> 5) {
	case 0:
		if (lapic_irq_pending(t->b->lapics, cpu))
			(void)lapic_irq_ack(t->b->lapics, cpu);
		break;
	case 1: pci_intx(&t->gadget.pci, op & 0x10); break;
	case 2: pci_msix_notify(&t->gadget.pci, in8(in) % 70); break;
	case 3:
		in_bytes(in, bytes, sizeof(bytes));
		(void)uart_rx_push(t->dev[2], bytes, MIN(sizeof(bytes), uart_rx_space(t->dev[2])));
		break;
	case 4: pm_power_button(t->dev[3]); break;
	case 5: lapic_cr8_write(t->b->lapics, cpu, in8(in) & 15); break;
	case 6:
		for (unsigned i = 0; i < DEVICES; i++)
			(void)device_dump(t->dev[i], text, sizeof(text));
		irq_dump(t->b->irq, text, sizeof(text));
		break;
	default: device_reset(t->dev[in8(in) % DEVICES]);
	}
}

static void move_on(struct input *in)
{
	unsigned damage = in8(in) % 4;
	struct twin *next = twin_new();
	struct err e = {0};
	uint8_t *data;
	size_t len;
	int r;

	twin_pause(t);
	data = twin_save(t, &len);
	for (unsigned i = 0; i < damage; i++) {
		size_t at = in16(in) % len, size = (size_t)1 << in8(in) % 4;
		uint64_t v = in_edge(in);

		memcpy(data + at, &v, MIN(size, len - at));
	}
	state_forge(data, len);
	twin_pause(next);
	r = twin_load(next, data, len, t->b->now, &e);
	free(data);
	if (r == 0) {
		next->b->tsc_lag = t->b->tsc_lag;
		twin_resume(next);
		twin_free(t);
		t = next;
	} else {
		ASSERT(damage && e.msg[0]);
		twin_free(next);
		twin_resume(t);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct step st;

	t = twin_new();
	for (unsigned i = 0; i < 1000 && in.n; i++) {
		uint8_t op = in8(&in);

		switch (op & 15) {
		case 0 ... 3: port(&in, op); break;
		case 4 ... 5: mmio(&in, op); break;
		case 6 ... 7: pci_config(&in, op); break;
		case 8 ... 9: apic(&in, op); break;
		case 10: event(&in, op); break;
		case 11: board_advance(t->b, in_edge(&in) >> 42); break;
		case 12: board_advance(t->b, in16(&in)); break;
		case 13: /* MSI-X table, and its pending bits */
			st = (struct step){.kind = 9,
					   .addr = 0x1000 + in16(&in) % 0x1800,
					   .value = in_edge(&in)};
			(void)do_step(t, &st);
			break;
		case 14:
			if (op & 0x80)
				move_on(&in);
			break;
		default:
			if (op & 0x80) { /* an INIT, as the guest sends one */
				lapic_mmio_write(t->b->lapics, 0, LAYOUT_LAPIC + 0x310, 1u << 24, 4);
				lapic_mmio_write(t->b->lapics, 0, LAYOUT_LAPIC + 0x300, 0x4500, 4);
			}
		}
	}
	twin_free(t);
	return 0;
}

bool fuzz_seed(unsigned i, struct seed *s)
{
	if (i >= 32)
		return false;
	for (unsigned n = 0; n < 60 + 10 * i; n++) {
		seed_put(s, (uint8_t)seed_rnd(s, 256));
		seed_random(s, 3);
	}
	return true;
}
