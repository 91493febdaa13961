/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kvm_chips.c - the kernel's interrupt controllers and interval timer, with the KVM that is here: their state comes back as it was
 * set, and a guest gets its ticks. Without /dev/kvm everything is skipped, and says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kvm_fixture.h"

static int setup(void **state)
{
	return setup_n(state, 1, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_BOARD);
}

static int setup_pit(void **state)
{
	return setup_n(state, 1, MEMORY, KVM_DIRTY_AUTO, KVM_PIT_KERNEL);
}

/* The local APIC: what is set comes back, a periodic timer counts on, an armed deadline stays. */
static void test_lapic(void **state)
{
	struct fixture *f = fixture(state);
	struct irqchip_lapic l, one, two;

	assert_int_equal(engine_kvm.get_lapic(f->v[0], &l), 0);
	assert_int_equal(l.id, 0);
	l.tpr = 0x20;
	l.svr = 0x1ff;
	l.irr[2] = BIT(5);
	l.isr[3] = BIT(7);
	l.tmr[2] = BIT(5);
	l.lvt[IRQCHIP_LVT_TIMER] = 0x20000 | 0xec; /* periodic */
	l.lvt[IRQCHIP_LVT_LINT0] = 0x10700;
	l.timer_divide = 3; /* by 16 */
	l.timer_initial = 1000000000;
	l.timer_left_ns = UINT64_C(8000000000);
	assert_int_equal(engine_kvm.set_lapic(f->v[0], &l), 0);
	assert_int_equal(engine_kvm.get_lapic(f->v[0], &one), 0);
	assert_int_equal(one.tpr, 0x20);
	assert_int_equal(one.svr, 0x1ff);
	assert_memory_equal(one.irr, l.irr, sizeof(l.irr));
	assert_memory_equal(one.isr, l.isr, sizeof(l.isr));
	assert_memory_equal(one.tmr, l.tmr, sizeof(l.tmr));
	assert_memory_equal(one.lvt, l.lvt, sizeof(l.lvt));
	assert_int_equal(one.timer_initial, l.timer_initial);
	assert_true(one.timer_left_ns <= l.timer_left_ns);
	assert_true(one.timer_left_ns > 0);
	assert_int_equal(engine_kvm.set_lapic(f->v[0], &one), 0);
	assert_int_equal(engine_kvm.get_lapic(f->v[0], &two), 0);
	assert_true(two.timer_left_ns <= one.timer_left_ns);
	two.timer_left_ns = one.timer_left_ns;
	assert_memory_equal(&one, &two, sizeof(one));

	l.lvt[IRQCHIP_LVT_TIMER] = 0x400ec; /* TSC-deadline: far away */
	l.timer_left_ns = IRQCHIP_NEVER;
	l.timer_initial = 0;
	l.tsc_deadline = BIT(60);
	assert_int_equal(engine_kvm.set_lapic(f->v[0], &l), 0);
	assert_int_equal(engine_kvm.get_lapic(f->v[0], &one), 0);
	assert_int_equal(one.tsc_deadline, BIT(60));
	assert_int_equal(one.timer_left_ns, IRQCHIP_NEVER);
	/* A pause takes it away from the kernel and brings it back. */
	engine_kvm.irqchip->pause(f->en);
	assert_int_equal(engine_kvm.get_lapic(f->v[0], &one), 0);
	assert_int_equal(one.tsc_deadline, BIT(60));
	engine_kvm.irqchip->resume(f->en);
	assert_int_equal(engine_kvm.get_lapic(f->v[0], &one), 0);
	assert_int_equal(one.tsc_deadline, BIT(60));
}

static void test_chips(void **state)
{
	struct fixture *f = fixture(state);
	struct irqchip_ioapic io, io2;
	struct irqchip_pic pic, pic2;

	assert_int_equal(engine_kvm.get_ioapic(f->en, &io), 0);
	for (unsigned i = 0; i < IRQCHIP_IOAPIC_PINS; i++)
		io.rte[i] = 0x10000 | (0x30 + i); /* masked */
	io.rte[16] |= 0x8000;			  /* level */
	io.select = 0x12;
	io.id = 5u << 24;
	io.line = BIT(16);
	assert_int_equal(engine_kvm.set_ioapic(f->en, &io), 0);
	assert_int_equal(engine_kvm.get_ioapic(f->en, &io2), 0);
	assert_memory_equal(&io, &io2, sizeof(io));
	engine_kvm.irqchip->line(f->en, ENGINE_LINE_IOAPIC(16), false);
	engine_kvm.irqchip->line(f->en, ENGINE_LINE_BOTH(4, 4), true);
	assert_int_equal(engine_kvm.get_ioapic(f->en, &io2), 0);
	assert_int_equal(io2.line, BIT(4));

	memset(&pic, 0, sizeof(pic));
	pic.chip[0] = (struct irqchip_8259){
		.base = 0x20, .imr = 0xfb, .isr = 0x04, .lowest = 7, .special_mask = true};
	pic.chip[1] = (struct irqchip_8259){
		.base = 0x28, .imr = 0xff, .lowest = 3, .elcr = 0x0c, .read_isr = true, .icw = 3};
	assert_int_equal(engine_kvm.set_pic(f->en, &pic), 0);
	assert_int_equal(engine_kvm.get_pic(f->en, &pic2), 0);
	assert_memory_equal(&pic, &pic2, sizeof(pic));
}

static void test_no_pit(void **state)
{
	assert_false(engine_kvm.has_pit(fixture(state)->en));
}

/* The kernel's interval timer: what is set comes back, but for what the kernel does not tell. */
static void test_pit_state(void **state)
{
	struct fixture *f = fixture(state);
	struct irqchip_pit p, q;

	assert_true(engine_kvm.has_pit(f->en));
	/* As at a reset of the board's: nothing is to come. */
	assert_int_equal(engine_kvm.get_pit(f->en, &p), 0);
	assert_int_equal(p.edge_left_ns, IRQCHIP_NEVER);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(p.ch[i].loaded);
		assert_int_equal(p.ch[i].gate, i != 2);
		assert_int_equal(p.ch[i].count, 65536);
	}
	assert_int_equal(engine_kvm.set_pit(f->en, &p), 0);
	assert_int_equal(engine_kvm.get_pit(f->en, &q), 0);
	assert_memory_equal(&p, &q, sizeof(p));

	p.ch[0] = (struct irqchip_8254){.mode = 2,
					.rw = 3,
					.gate = true,
					.loaded = true,
					.count = 59659,
					.latch = 0x1234,
					.latched = 1};
	p.ch[0].read_high = true;
	p.edge_left_ns = 20000000;
	p.ch[1] = (struct irqchip_8254){.mode = 2,
					.rw = 1,
					.gate = true,
					.loaded = true,
					.count = 18,
					.status_latched = true,
					.status = 0x94};
	/* One that ends once, half way: what is left is what counts. */
	p.ch[2] = (struct irqchip_8254){
		.mode = 0, .rw = 3, .gate = true, .loaded = true, .count = 60000};
	p.ch[2].elapsed_ns = 25142857; /* 30000 clocks */
	p.ch[2].write_high = true;
	p.ch[2].write_low = 0x5a;
	p.port61 = 3;
	for (unsigned paused = 0; paused < 2; paused++) {
		if (paused)
			engine_kvm.irqchip->pause(f->en);
		assert_int_equal(engine_kvm.set_pit(f->en, &p), 0);
		assert_int_equal(engine_kvm.get_pit(f->en, &q), 0);
		assert_int_equal(q.port61, 3);
		assert_in_range(q.edge_left_ns, 49990000, 50000000); /* a whole period */
		assert_in_range(q.ch[2].count, 29990, 30010);
		if (paused)
			engine_kvm.irqchip->resume(f->en);
		q.ch[2].count = p.ch[2].count;
		q.ch[1].elapsed_ns = q.ch[2].elapsed_ns = 0;
		q.ch[2].elapsed_ns = p.ch[2].elapsed_ns;
		assert_memory_equal(q.ch, p.ch, sizeof(p.ch));
		assert_int_equal(engine_kvm.get_pit(f->en, &q), 0);
		assert_int_equal(q.ch[0].count, 59659);
	}

	/* Once, 100 clocks before its end; over; and with the gate shut. */
	p.ch[0] = (struct irqchip_8254){
		.mode = 4, .rw = 3, .gate = true, .loaded = true, .count = 60000};
	p.edge_left_ns = 83809;
	p.ch[2] = (struct irqchip_8254){.mode = 3,
					.rw = 3,
					.loaded = true,
					.frozen = true,
					.count = 1000,
					.frozen_clocks = 10};
	p.port61 = 0;
	assert_int_equal(engine_kvm.set_pit(f->en, &p), 0);
	assert_int_equal(engine_kvm.get_pit(f->en, &q), 0);
	assert_in_range(q.ch[0].count, 98, 101);
	assert_true(q.ch[2].frozen && !q.ch[2].gate);
	p.edge_left_ns = IRQCHIP_NEVER;
	assert_int_equal(engine_kvm.set_pit(f->en, &p), 0);
	assert_int_equal(engine_kvm.get_pit(f->en, &q), 0);
	assert_int_equal(q.ch[0].count, 65536);
}

/* A guest that counts ticks gets them without an access to a port of the timer, and none in a pause. */
static void test_pit_ticks(void **state)
{
	struct fixture *f = fixture(state);
	static const uint8_t code[] = {
		0xfb,	    /* sti */
		0xf4,	    /* 1: hlt */
		0xeb, 0xfd, /* jmp 1b */
	};
	static const uint8_t handler[] = {
		0xb0, 0x20, /* mov al, 20h */
		0xe6, 0x20, /* out 20h, al: end of interrupt */
		0xe6, PORT, /* out PORT, al */
		0xcf,	    /* iret */
	};
	static const uint16_t vector[2] = {0x2000, 0};
	struct irqchip_pic pic = {.chip = {{.base = 0x20, .imr = 0xfe, .lowest = 7},
					   {.base = 0x28, .imr = 0xff, .lowest = 7}}};
	struct kvm_probe probe;
	struct irqchip_pit p;
	unsigned n;

	kvm_probe(&probe);
	if (!kvm_probe_usable(&probe))
		skip(); /* (one that emulates real mode does not wake it from HLT) */
	f->kick_on_out = true;
	gmem_write(f->mem, 0x2000, handler, sizeof(handler));
	gmem_write(f->mem, 0x20 * 4, vector, sizeof(vector));
	start(f, code, sizeof(code));
	assert_int_equal(engine_kvm.irqchip->virtual_wire(f->en), 0);
	assert_int_equal(engine_kvm.set_pic(f->en, &pic), 0);
	assert_int_equal(engine_kvm.get_pit(f->en, &p), 0);
	p.ch[0] = (struct irqchip_8254){
		.mode = 2, .rw = 3, .gate = true, .loaded = true, .count = 5966};
	assert_int_equal(engine_kvm.set_pit(f->en, &p), 0);
	for (unsigned i = 0; i < 2; i++) {
		for (n = f->n_out + 5; f->n_out < n;)
			assert_int_equal(run(f), ENGINE_EXIT_KICK);
		/* The kernel's timer stands: what is set is kept for the resume. */
		engine_kvm.irqchip->pause(f->en);
		assert_int_equal(engine_kvm.get_pit(f->en, &p), 0);
		assert_int_equal(p.ch[0].mode, 2);
		assert_int_equal(p.ch[0].count, 5966);
		engine_kvm.irqchip->resume(f->en);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lapic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chips, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_pit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pit_state, setup_pit, teardown),
		cmocka_unit_test_setup_teardown(test_pit_ticks, setup_pit, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
