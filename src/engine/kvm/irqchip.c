/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip.c - the kernel's interrupt controllers: local APICs, IOAPIC and the two 8259As.
 *
 * Theory of operation. A line of the board is raised by a number (GSI) that a table in the kernel maps to inputs of the
 * controllers. The board wires its lines itself (board/irq.h), so that table only names the inputs:
 *
 *   GSI 0-23   IOAPIC pin and, for 0-15, PIC input of that number; ISA IRQ 0 is wired to pin 2, GSI 2 to nothing
 *   GSI 24-39  PIC input GSI - 24 alone
 *   GSI 40-63  IOAPIC pin GSI - 40 alone
 *
 * A level is kept per input and source in the kernel, and all of ours are one source: who drives an input with several
 * lines ORs them before (the board does).
 *
 * The interval timer is pit.c, and the board's in most VMs: a guest that has a TSC-deadline timer does not touch it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_CREATE_IRQCHIP/KVM_SET_GSI_ROUTING/KVM_IRQ_LINE/KVM_SIGNAL_MSI/
 *	KVM_GET_LAPIC/KVM_SET_LAPIC/KVM_GET_CLOCK/KVM_SET_CLOCK/KVM_KVMCLOCK_CTRL/KVM_GET_IRQCHIP
 */

#define PINS 24u
#define PIC_INPUTS 16u
#define GSI_PIC 24u
#define GSI_IOAPIC 40u
#define PIN_PIT 2u
#define ROUTES (PINS + 3 * PIC_INPUTS + PINS)

#define APIC_TPR 0x080u
#define APIC_PPR 0x0a0u
#define APIC_LDR 0x0d0u
#define APIC_SVR 0x0f0u
#define APIC_ISR 0x100u
#define APIC_TMR 0x180u
#define APIC_IRR 0x200u
#define APIC_ESR 0x280u
#define APIC_LVT_TIMER 0x320u
#define APIC_LVT_LINT0 0x350u
#define APIC_LVT_LINT1 0x360u
#define SVR_ENABLED 0x1ffu
#define LVT_EXTINT 0x700u
#define LVT_NMI 0x400u

union routing {
	struct kvm_irq_routing head;
	uint8_t bytes[sizeof(struct kvm_irq_routing) + ROUTES * sizeof(struct kvm_irq_routing_entry)];
};

static void route(union routing *t, unsigned gsi, unsigned chip, unsigned pin)
{
	t->head.entries[t->head.nr++] =
		(struct kvm_irq_routing_entry){.gsi = gsi,
					       .type = KVM_IRQ_ROUTING_IRQCHIP,
					       .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static void route_pic(union routing *t, unsigned gsi, unsigned n)
{
	route(t, gsi, n < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, n % 8);
}

int kvm_irqchip_create(struct engine *en, struct err *e)
{
	union routing t;
	int r = kvm_ioctl(en->made.vm, KVM_CREATE_IRQCHIP, NULL);

	if (r < 0)
		return err_errno(e, -r, "KVM cannot make the interrupt controllers");
	memset(&t, 0, sizeof(t));
	for (unsigned n = 0; n < PINS; n++) {
		if (n != PIN_PIT)
			route(&t, n, KVM_IRQCHIP_IOAPIC, n == 0 ? PIN_PIT : n);
		if (n != PIN_PIT && n < PIC_INPUTS)
			route_pic(&t, n, n);
		if (n < PIC_INPUTS)
			route_pic(&t, GSI_PIC + n, n);
		route(&t, GSI_IOAPIC + n, KVM_IRQCHIP_IOAPIC, n);
	}
	r = kvm_ioctl(en->made.vm, KVM_SET_GSI_ROUTING, &t);
	if (r < 0)
		return err_errno(e, -r, "KVM does not take the wiring of the interrupt lines");
	return 0;
}

static void set_gsi(struct engine *en, unsigned gsi, bool level)
{
	struct kvm_irq_level l = {.irq = gsi, .level = level};

	(void)ioctl(en->made.vm, KVM_IRQ_LINE, &l);
}

static void irqchip_line(struct engine *en, unsigned input, bool level)
{
	bool ioapic = input & ENGINE_LINE_IOAPIC(0), pic = input & ENGINE_LINE_PIC(0);
	unsigned pin = input & 0x3f, n = (input >> 8) & 0xf;

	if (ioapic && pin < PINS && level)
		__atomic_or_fetch(&en->ioapic_line, 1u << pin, __ATOMIC_SEQ_CST);
	else if (ioapic && pin < PINS)
		__atomic_and_fetch(&en->ioapic_line, ~(1u << pin), __ATOMIC_SEQ_CST);

	if (ioapic && pic && pin == (n == 0 ? PIN_PIT : n)) {
		set_gsi(en, n, level);
		return;
	}
	if (pic)
		set_gsi(en, GSI_PIC + n, level);
	if (ioapic && pin < PINS)
		set_gsi(en, GSI_IOAPIC + pin, level);
}

static bool irqchip_msi(struct engine *en, uint64_t addr, uint32_t data)
{
	struct kvm_msi m = {.address_lo = (uint32_t)addr,
			    .address_hi = (uint32_t)(addr >> 32),
			    .data = data};

	return ioctl(en->made.vm, KVM_SIGNAL_MSI, &m) > 0;
}

/* ---- state ---- */

static int irqchip_virtual_wire(struct engine *en)
{
	struct kvm_lapic_state l;
	int r = kvm_ioctl(en->vcpu[0]->fd, KVM_GET_LAPIC, &l);

	if (r < 0)
		return r;
	kvm_lapic_reg_set(&l, APIC_SVR, SVR_ENABLED);
	kvm_lapic_reg_set(&l, APIC_LVT_LINT0, LVT_EXTINT);
	kvm_lapic_reg_set(&l, APIC_LVT_LINT1, LVT_NMI);
	return kvm_ioctl(en->vcpu[0]->fd, KVM_SET_LAPIC, &l);
}

/* ---- pause ---- */

/*
 * A deadline timer is disarmed and set again at the resume, when the TSC has been set back: it would expire early. One-shot and
 * periodic timers of the kernel go on: what expires in the pause comes at the resume. kvmclock would go on; it is
 * set back.
 */
static void irqchip_pause(struct engine *en)
{
	struct kvm_clock_data clock;
	uint64_t none = 0;

	if (en->paused || !en->n_vcpus)
		return;
	kvm_run_late_writes(en, 0);
	kvm_pit_pause(en);
	kvm_tsc_pause(en);
	if (!en->caps.adjust_clock || kvm_ioctl(en->made.vm, KVM_GET_CLOCK, &clock) < 0)
		return;
	en->paused_clock = clock.clock;
	en->paused = true;
	for (unsigned i = 0; i < en->n_vcpus && en->caps.tsc_deadline; i++) {
		struct engine_vcpu *v = en->vcpu[i];

		v->paused_deadline = 0;
		if (kvm_chips_deadline(v, &v->paused_deadline, false) == 0 && v->paused_deadline)
			(void)kvm_chips_deadline(v, &none, true);
	}
}

static void irqchip_resume(struct engine *en)
{
	struct kvm_clock_data clock = {.clock = en->paused_clock};

	kvm_pit_resume(en);
	if (!en->paused)
		return;
	en->paused = false;
	if (kvm_ioctl(en->made.vm, KVM_SET_CLOCK, &clock) < 0)
		log_warn("KVM did not take kvmclock of before the pause");
	for (unsigned i = 0; i < en->n_vcpus; i++) {
		struct engine_vcpu *v = en->vcpu[i];

		if (v->paused_deadline)
			(void)kvm_chips_deadline(v, &v->paused_deadline, true);
		v->paused_deadline = 0;
		if (en->caps.kvmclock_ctrl) /* the guest's watchdog shall not count the gap */
			(void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
	}
}

/* ---- for people ---- */

static void add_vectors(struct text *t, const struct kvm_lapic_state *l, const char *name,
			unsigned reg)
{
	text_print(t, "%s", name);
	for (unsigned vec = 0; vec < 256; vec++)
		if (kvm_lapic_reg_get(l, reg + vec / 32 * 16) & 1u << vec % 32)
			text_print(t, " %02x", vec);
	text_print(t, "\n");
}

static int irqchip_dump(struct engine *en, unsigned vcpu, char *buf, size_t size)
{
	struct text t = {.buf = buf, .size = size};
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_lapic_state l;

	if (kvm_ioctl(en->vcpu[vcpu]->fd, KVM_GET_LAPIC, &l) == 0) {
		text_print(&t, "lapic %u (kernel): tpr %02x ppr %02x ldr %08x svr %03x esr %02x\n",
			   vcpu, kvm_lapic_reg_get(&l, APIC_TPR), kvm_lapic_reg_get(&l, APIC_PPR),
			   kvm_lapic_reg_get(&l, APIC_LDR), kvm_lapic_reg_get(&l, APIC_SVR),
			   kvm_lapic_reg_get(&l, APIC_ESR));
		text_print(&t, "lvt timer %05x lint0 %05x lint1 %05x\n",
			   kvm_lapic_reg_get(&l, APIC_LVT_TIMER),
			   kvm_lapic_reg_get(&l, APIC_LVT_LINT0),
			   kvm_lapic_reg_get(&l, APIC_LVT_LINT1));
		add_vectors(&t, &l, "irr", APIC_IRR);
		add_vectors(&t, &l, "isr", APIC_ISR);
	}
	if (kvm_ioctl(en->made.vm, KVM_GET_IRQCHIP, &chip) == 0) {
		text_print(&t, "ioapic (kernel): id %x\n", chip.chip.ioapic.id);
		for (unsigned i = 0; i < PINS; i++) {
			uint64_t rte = chip.chip.ioapic.redirtbl[i].bits;

			if (!(rte & BIT(16)))
				text_print(&t, "  pin %2u rte %016llx\n", i,
					   (unsigned long long)rte);
		}
	}
	kvm_pit_dump(en, &t);
	return (int)t.len;
}

const struct engine_irqchip kvm_irqchip = {
	.line = irqchip_line,
	.msi = irqchip_msi,
	.virtual_wire = irqchip_virtual_wire,
	.pause = irqchip_pause,
	.resume = irqchip_resume,
	.dump = irqchip_dump,
};
