/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_irq.c - IOAPIC pins and Remote IRR, PIC nesting, cascade and modes, wiring of lines, MSI. */
#include "board_env.h"

#define RTE(pin) (0x10 + 2 * (pin))
#define LEVEL 0x8000u
#define MASKED 0x10000u

static void test_ioapic_registers(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	assert_int_equal(ioapic_take(b, 1), 0x170020);
	ioapic_put(b, 0, 0xffffffff);
	assert_int_equal(ioapic_take(b, 0), 0x0f000000);
	assert_int_equal(ioapic_take(b, RTE(5)), MASKED);
	ioapic_put(b, RTE(5), 0xffffffff);
	ioapic_put(b, RTE(5) + 1, 0xffffffff);
	assert_int_equal(ioapic_take(b, RTE(5)), 0x1afff); /* without status and Remote IRR */
	assert_int_equal(ioapic_take(b, RTE(5) + 1), 0xff000000);
	ioapic_put(b, RTE(24), 0x12345); /* beyond the last pin */
	assert_int_equal(ioapic_take(b, RTE(24)), 0);
	assert_int_equal(ioapic_take(b, 0xff), 0);
	bus_write(&b->mmio, LAYOUT_IOAPIC, 1, 1); /* narrow access to the select register */
	assert_int_equal(bus_read(&b->mmio, LAYOUT_IOAPIC + 0x12, 1), 0x17);
	assert_int_equal(bus_read(&b->mmio, LAYOUT_IOAPIC + 0x800, 4), 0);
	irq_router_reset(b->irq);
	assert_int_equal(ioapic_take(b, RTE(5)), MASKED);
	board_env_free(b);
}

static void test_ioapic_edge(void **st)
{
	struct board_env *b = board_env_new(2);

	(void)st;
	apic_on(b, 0);
	apic_on(b, 1);
	irq_line_set(b->irq, 5, true); /* masked: lost */
	ioapic_put(b, RTE(5) + 1, 1u << 24);
	ioapic_put(b, RTE(5), 0x45);
	assert_int_equal(take_irq(b, 1), -1);
	irq_line_set(b->irq, 5, true); /* no edge */
	assert_int_equal(take_irq(b, 1), -1);
	irq_line_set(b->irq, 5, false);
	irq_line_set(b->irq, 5, true);
	assert_int_equal(take_irq(b, 0), -1);
	assert_int_equal(take_irq(b, 1), 0x45);
	irq_line_pulse(b->irq, 5);
	assert_int_equal(take_irq(b, 1), 0x45);
	/* ISA IRQ 0 is pin 2; GSI 2 is nothing. */
	ioapic_put(b, RTE(2), 0x42);
	ioapic_put(b, RTE(0), 0x40);
	irq_line_pulse(b->irq, 2);
	assert_int_equal(take_irq(b, 0), -1);
	irq_line_pulse(b->irq, 0);
	assert_int_equal(take_irq(b, 0), 0x42);
	irq_line_set(b->irq, 24, true);
	irq_line_set(b->irq, 1000, true);
	/* NMI by a pin, once for an edge. */
	ioapic_put(b, RTE(7), 0x400);
	irq_line_pulse(b->irq, 7);
	assert_int_equal(b->nmis[0], 1);
	board_env_free(b);
}

static void test_ioapic_level(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	apic_on(b, 0);
	ioapic_put(b, RTE(16), LEVEL | 0x55);
	irq_line_set(b->irq, 16, true);
	assert_int_equal(ioapic_take(b, RTE(16)), LEVEL | 0x4055); /* Remote IRR */
	irq_line_set(b->irq, 16, false);
	irq_line_set(b->irq, 16, true); /* not again before the EOI */
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x55);
	assert_false(lapic_irq_pending(b->lapics, 0));
	assert_int_equal(apic_get(b, 0, APIC_TMR + 0x20), 1u << 0x15);
	apic_set(b, 0, APIC_EOI, 0); /* still up: again */
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x55);
	irq_line_set(b->irq, 16, false);
	apic_set(b, 0, APIC_EOI, 0);
	assert_false(lapic_irq_pending(b->lapics, 0));
	assert_int_equal(ioapic_take(b, RTE(16)), LEVEL | 0x55);

	/* Masked while up: goes when unmasked. */
	ioapic_put(b, RTE(16), LEVEL | MASKED | 0x55);
	irq_line_set(b->irq, 16, true);
	assert_false(lapic_irq_pending(b->lapics, 0));
	ioapic_put(b, RTE(16), LEVEL | 0x55);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x55);
	/* The EOI register does it without the local APIC. */
	irq_line_set(b->irq, 16, false);
	bus_write(&b->mmio, LAYOUT_IOAPIC + 0x40, 0x54, 4);
	assert_int_equal(ioapic_take(b, RTE(16)) & 0x4000, 0x4000);
	bus_write(&b->mmio, LAYOUT_IOAPIC + 0x40, 0x55, 4);
	assert_int_equal(ioapic_take(b, RTE(16)) & 0x4000, 0);
	/* And so does the switch to edge and back. */
	irq_line_set(b->irq, 16, true);
	assert_int_equal(ioapic_take(b, RTE(16)) & 0x4000, 0x4000);
	irq_line_set(b->irq, 16, false);
	ioapic_put(b, RTE(16), MASKED | 0x55);
	ioapic_put(b, RTE(16), LEVEL | 0x55);
	assert_int_equal(ioapic_take(b, RTE(16)) & 0x4000, 0);
	/* An edge interrupt on the same vector clears TMR: its EOI is not for the IOAPIC. */
	apic_set(b, 0, APIC_EOI, 0);
	lapic_irq_ack(b->lapics, 0);
	apic_set(b, 0, APIC_EOI, 0);
	irq_msi(b->irq, 0xfee00000, 0x55);
	assert_int_equal(apic_get(b, 0, APIC_TMR + 0x20), 0);
	board_env_free(b);
}

static void test_msi(void **st)
{
	struct board_env *b = board_env_new(4);
	unsigned n = 0;

	(void)st;
	for (unsigned i = 0; i < 4; i++) {
		apic_on(b, i);
		apic_set(b, i, APIC_LDR, 1u << (24 + i));
	}
	assert_true(irq_msi(b->irq, 0xfee02000, 0x4061));
	assert_int_equal(take_irq(b, 2), 0x61);
	assert_false(irq_msi(b->irq, 0xfee09000, 0x61));
	assert_false(irq_msi(b->irq, 0x100000, 0x61)); /* memory is not written */
	assert_false(irq_msi(b->irq, 0x1fee00000, 0x61));
	assert_true(irq_msi(b->irq, 0xfee0f004, 0x61)); /* logical, all four */
	for (unsigned i = 0; i < 4; i++)
		n += take_irq(b, i) == 0x61;
	assert_int_equal(n, 4);
	assert_true(irq_msi(b->irq, 0xfee0f00c, 0x61)); /* redirection hint: one of them */
	for (unsigned i = 0; i < 4; i++)
		n += take_irq(b, i) == 0x61;
	assert_int_equal(n, 5);
	assert_true(irq_msi(b->irq, 0xfee03000, 0x400));
	assert_int_equal(b->nmis[3], 1);
	assert_false(irq_msi(b->irq, 0xfee03000, 0x600));
	board_env_free(b);
}

/* The usual set-up: vectors 0x20 and 0x28, EOI by command, all unmasked. */
static void pic_setup(struct board_env *b, uint8_t icw4)
{
	outb(b, 0x20, 0x11);
	outb(b, 0x21, 0x20);
	outb(b, 0x21, 0x04);
	outb(b, 0x21, icw4);
	outb(b, 0xa0, 0x11);
	outb(b, 0xa1, 0x28);
	outb(b, 0xa1, 0x02);
	outb(b, 0xa1, icw4);
	outb(b, 0x21, 0);
	outb(b, 0xa1, 0);
	lapic_virtual_wire(b->lapics, 0);
}

static int take_ext(struct board_env *b)
{
	return lapic_irq_pending(b->lapics, 0) ? lapic_irq_ack(b->lapics, 0) : -1;
}

static void test_pic_nesting(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	pic_setup(b, 0x01);
	assert_int_equal(take_ext(b), -1);
	irq_line_pulse(b->irq, 5);
	irq_line_pulse(b->irq, 3);
	assert_int_equal(take_ext(b), 0x23); /* the higher first */
	assert_int_equal(take_ext(b), -1);   /* 5 waits for the EOI of 3 */
	irq_line_pulse(b->irq, 1);
	assert_int_equal(take_ext(b), 0x21); /* 1 interrupts 3 */
	outb(b, 0x20, 0x0b);
	assert_int_equal(inb(b, 0x20), 0x0a); /* ISR */
	outb(b, 0x20, 0x0a);
	assert_int_equal(inb(b, 0x20), 0x20); /* IRR */
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), -1);
	outb(b, 0x20, 0x63); /* specific EOI of 3 */
	assert_int_equal(take_ext(b), 0x25);
	outb(b, 0x20, 0x20);

	/* Cascade: the slave's come between 1 and 3, need two EOIs. */
	irq_line_pulse(b->irq, 4);
	irq_line_pulse(b->irq, 12);
	irq_line_pulse(b->irq, 9);
	assert_int_equal(take_ext(b), 0x29);
	irq_line_pulse(b->irq,
		       8); /* higher in the slave, but the master is not in special nested mode */
	assert_int_equal(take_ext(b), -1);
	outb(b, 0xa0, 0x20);
	assert_int_equal(take_ext(b), -1);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x28);
	outb(b, 0xa0, 0x20);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x2c);
	outb(b, 0xa0, 0x20);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x24);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), -1);

	/* Mask, and unmask with the request latched. */
	outb(b, 0x21, 0x10);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_ext(b), -1);
	outb(b, 0x21, 0x00);
	assert_int_equal(take_ext(b), 0x24);
	/* Special mask mode: the masked one in service does not hold back lower ones. */
	irq_line_pulse(b->irq, 6);
	assert_int_equal(take_ext(b), -1);
	outb(b, 0x21, 0x10);
	outb(b, 0x20, 0x68);
	assert_int_equal(take_ext(b), 0x26);
	board_env_free(b);
}

static void test_pic_modes(void **st)
{
	struct board_env *b = board_env_new(1);

	(void)st;
	/* Automatic EOI. */
	pic_setup(b, 0x03);
	irq_line_pulse(b->irq, 6);
	assert_int_equal(take_ext(b), 0x26);
	irq_line_pulse(b->irq, 7);
	assert_int_equal(take_ext(b), 0x27);
	/* Rotation: after a rotating EOI of 4 it is the lowest, 5 the highest. */
	pic_setup(b, 0x01);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_ext(b), 0x24);
	irq_line_pulse(b->irq, 1);
	irq_line_pulse(b->irq, 5);
	irq_line_pulse(b->irq, 4);
	outb(b, 0x20, 0xa0);
	assert_int_equal(take_ext(b), 0x25);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x21);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x24);
	outb(b, 0x20, 0x20);
	outb(b, 0x20, 0xc7); /* order as at first */
	/* Poll command. */
	outb(b, 0x20, 0x0c);
	assert_int_equal(inb(b, 0x20) & 0x80, 0);
	irq_line_pulse(b->irq, 3);
	outb(b, 0x20, 0x0c);
	assert_int_equal(inb(b, 0x20), 0x83);
	assert_int_equal(take_ext(b), -1);
	outb(b, 0x20, 0x20);
	/* Level by ELCR: gone with the line, back while it is up. */
	for (unsigned i = 3; i < 8; i++)
		irq_line_set(b->irq, i, false);
	outb(b, 0x4d0, 0xff);
	outb(b, 0x4d1, 0xff);
	assert_int_equal(inw(b, 0x4d0), 0xdef8);
	irq_line_set(b->irq, 11, true);
	irq_line_set(b->irq, 11, false);
	assert_int_equal(take_ext(b), -1);
	irq_line_set(b->irq, 11, true);
	assert_int_equal(take_ext(b), 0x2b);
	outb(b, 0xa0, 0x20);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), 0x2b);
	irq_line_set(b->irq, 11, false);
	outb(b, 0xa0, 0x20);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), -1);
	/* A PIRQ routed to a PIC input. */
	irq_pirq_route(b->irq, 3, 11);
	irq_line_set(b->irq, 19, true);
	assert_int_equal(take_ext(b), 0x2b);
	irq_pirq_route(b->irq, 3, -1);
	outb(b, 0xa0, 0x20);
	outb(b, 0x20, 0x20);
	assert_int_equal(take_ext(b), -1);
	irq_pirq_route(b->irq, 8, 5);
	irq_pirq_route(b->irq, 0, 16);
	board_env_free(b);
}

static void test_pic_to_cpu(void **st)
{
	struct board_env *b = board_env_new(2);

	(void)st;
	/* Before any set-up LINT0 is masked. */
	outb(b, 0x21, 0x00);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_ext(b), -1);
	pic_setup(b, 0x01);
	irq_line_pulse(b->irq, 4);
	assert_true(b->wakes[0] > 0);
	assert_int_equal(b->wakes[1], 0);
	/* ExtINT does not care for the task priority. */
	lapic_cr8_write(b->lapics, 0, 15);
	assert_int_equal(take_ext(b), 0x24);
	outb(b, 0x20, 0x20);
	/* LINT0 as a fixed interrupt: an edge of INTR. */
	lapic_cr8_write(b->lapics, 0, 0);
	apic_set(b, 0, APIC_LVT_LINT0, 0x39);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_irq(b, 0), 0x39);
	apic_set(b, 0, APIC_LVT_LINT0, 0x700);
	assert_int_equal(take_ext(b), 0x24); /* the line was up all the time */
	outb(b, 0x20, 0x20);
	/* By IOAPIC pin 0 as ExtINT, to the other CPU. */
	apic_on(b, 1);
	apic_set(b, 0, APIC_LVT_LINT0, 0x10700);
	ioapic_put(b, RTE(0) + 1, 1u << 24);
	ioapic_put(b, RTE(0), 0x700);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_ext(b), -1);
	assert_true(lapic_irq_pending(b->lapics, 1));
	assert_int_equal(lapic_irq_ack(b->lapics, 1), 0x24);
	assert_false(lapic_irq_pending(b->lapics, 1));
	outb(b, 0x20, 0x20);
	ioapic_put(b, RTE(0), MASKED);
	/* APIC off: INTR goes to the boot processor directly. */
	assert_int_equal(lapic_msr_write(b->lapics, 0, 0x1b, 0xfee00100), 0);
	irq_line_pulse(b->irq, 4);
	assert_int_equal(take_ext(b), 0x24);
	/* A request that goes away before it is taken gives the spurious vector, without service. */
	outb(b, 0x20, 0x20);
	irq_line_pulse(b->irq, 4);
	assert_true(lapic_irq_pending(b->lapics, 0));
	outb(b, 0x21, 0x10);
	assert_int_equal(take_ext(b), -1);
	/* LINT1 is NMI in virtual wire mode. */
	assert_int_equal(lapic_msr_write(b->lapics, 0, 0x1b, 0xfee00900), 0);
	lapic_virtual_wire(b->lapics, 0);
	lapic_lint(b->lapics, 1, true);
	lapic_lint(b->lapics, 1, true);
	lapic_lint(b->lapics, 1, false);
	assert_int_equal(b->nmis[0], 1);
	/* LINT1 as level: Remote IRR, again after the EOI. */
	apic_set(b, 0, APIC_LVT_LINT1, 0x8048);
	lapic_lint(b->lapics, 1, true);
	assert_int_equal(apic_get(b, 0, APIC_LVT_LINT1), 0xc048);
	assert_int_equal(take_irq(b, 0), 0x48);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x48);
	lapic_lint(b->lapics, 1, false);
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(apic_get(b, 0, APIC_LVT_LINT1), 0x8048);
	assert_int_equal(take_irq(b, 0), -1);
	board_env_free(b);
}

static void test_spurious(void **st)
{
	struct board_env *b = board_env_new(2);

	(void)st;
	pic_setup(b, 0x01);
	/* Two CPUs see INTR; the second finds nothing. */
	lapic_virtual_wire(b->lapics, 1);
	irq_line_pulse(b->irq, 4);
	assert_true(lapic_irq_pending(b->lapics, 0) && lapic_irq_pending(b->lapics, 1));
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x24);
	assert_false(lapic_irq_pending(b->lapics, 1));
	/* An acknowledge with nothing there, by the ExtINT message that was overtaken. */
	outb(b, 0x20, 0x20);
	apic_set(b, 0, APIC_LVT_LINT0, 0x10000);
	apic_set(b, 1, APIC_LVT_LINT0, 0x10000);
	ioapic_put(b, RTE(0), 0x700);
	irq_line_pulse(b->irq, 4);
	outb(b, 0x21, 0xff);
	assert_int_equal(take_ext(b), 0x27);
	outb(b, 0x20, 0x0b);
	assert_int_equal(inb(b, 0x20), 0);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ioapic_registers), cmocka_unit_test(test_ioapic_edge),
		cmocka_unit_test(test_ioapic_level),	 cmocka_unit_test(test_msi),
		cmocka_unit_test(test_pic_nesting),	 cmocka_unit_test(test_pic_modes),
		cmocka_unit_test(test_pic_to_cpu),	 cmocka_unit_test(test_spurious),
	};

	return cmocka_run_group_tests_name("board/irq", tests, NULL, NULL);
}
