/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chips.c - state of the kernel's interrupt controllers in the form of x86/irqchip.h, and back.
 *
 * Theory of operation. The kernel's form is that of its own models; what is not in ours keeps its value (a state is set by
 * reading the kernel's, replacing, writing back).
 *
 * An interrupt in flight. A vCPU may leave the kernel after it has acknowledged an interrupt and before the guest has
 * taken it (its delivery met a nested page fault, or a kick came just then). x86_state has no such moment: the
 * acknowledge is undone in what we give out. The request is pending again, not in service, and is taken when the vCPU runs.
 *
 * Levels. The kernel's models forget the level of an edge-triggered input; so we keep what was driven (en->ioapic_line;
 * the kernel's PIC keeps its own). An edge-triggered input that is high is not set as a request again: that would be a second edge.
 *
 * A one-shot timer that has expired is set with the initial count 0: the kernel would raise it again.
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

/*
 * seccomp vm: ioctl arg1=KVM_GET_VCPU_EVENTS/KVM_GET_MSRS/KVM_SET_MSRS/KVM_GET_LAPIC/
 *	KVM_SET_LAPIC/KVM_GET_SREGS/KVM_SET_SREGS/KVM_GET_IRQCHIP/KVM_SET_IRQCHIP
 */

#define REG_ID 0x020u
#define REG_TPR 0x080u
#define REG_LDR 0x0d0u
#define REG_DFR 0x0e0u
#define REG_SVR 0x0f0u
#define REG_ISR 0x100u
#define REG_TMR 0x180u
#define REG_IRR 0x200u
#define REG_ESR 0x280u
#define REG_LVT_CMCI 0x2f0u
#define REG_ICR 0x300u
#define REG_ICR2 0x310u
#define REG_TIMER_INITIAL 0x380u
#define REG_TIMER_CURRENT 0x390u
#define REG_TIMER_DIVIDE 0x3e0u
#define MSR_TSC_DEADLINE 0x6e0u
#define TIMER_MODE(lvt) (((lvt) >> 17) & 3u)
#define TIMER_ONESHOT 0u
#define TIMER_DEADLINE 2u
#define RTE_LEVEL BIT(15)
#define PIC_ELCR_MASK_MASTER 0xf8u /* inputs that may be level-triggered */
#define PIC_ELCR_MASK_SLAVE 0xdeu

/* Where the local vector table's entries are, by enum irqchip_lvt. */
static const uint16_t lvt_reg[IRQCHIP_LVTS] = {0x320, 0x330, 0x340,	  0x350,
					       0x360, 0x370, REG_LVT_CMCI};

int kvm_chips_deadline(struct engine_vcpu *v, uint64_t *tsc, bool set)
{
	union {
		struct kvm_msrs head;
		uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} m;
	int r;

	memset(&m, 0, sizeof(m));
	m.head.nmsrs = 1;
	m.head.entries[0].index = MSR_TSC_DEADLINE;
	m.head.entries[0].data = set ? *tsc : 0;
	r = kvm_ioctl(v->fd, set ? KVM_SET_MSRS : KVM_GET_MSRS, &m);
	if (r < 0)
		return r;
	if (r == 0 && (!set || *tsc))
		return -ENOTSUP;
	if (!set)
		*tsc = m.head.entries[0].data;
	return 0;
}

/* The vector of an interrupt that was acknowledged and not taken yet; -1: none. */
static int in_flight(struct engine_vcpu *v)
{
	struct kvm_vcpu_events ev;

	if (kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0 || !ev.interrupt.injected ||
	    ev.interrupt.soft)
		return -1;
	return ev.interrupt.nr;
}

int kvm_chips_get_lapic(struct engine_vcpu *v, struct irqchip_lapic *l)
{
	struct kvm_lapic_state k;
	struct kvm_sregs s;
	uint32_t current;
	int r = kvm_ioctl(v->fd, KVM_GET_LAPIC, &k), vector;

	if (r == 0)
		r = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);
	if (r < 0)
		return r;
	*l = (struct irqchip_lapic){
		.apic_base = s.apic_base,
		.id = v->index,
		.tpr = kvm_lapic_reg_get(&k, REG_TPR),
		.ldr = kvm_lapic_reg_get(&k, REG_LDR),
		.dfr = kvm_lapic_reg_get(&k, REG_DFR),
		.svr = kvm_lapic_reg_get(&k, REG_SVR),
		.esr = kvm_lapic_reg_get(&k, REG_ESR),
		.icr = kvm_lapic_reg_get(&k, REG_ICR) | (uint64_t)kvm_lapic_reg_get(&k, REG_ICR2)
								<< 32,
		.timer_initial = kvm_lapic_reg_get(&k, REG_TIMER_INITIAL),
		.timer_divide = kvm_lapic_reg_get(&k, REG_TIMER_DIVIDE),
		.timer_left_ns = IRQCHIP_NEVER,
	};
	for (unsigned i = 0; i < 8; i++) {
		l->isr[i] = kvm_lapic_reg_get(&k, REG_ISR + 16 * i);
		l->tmr[i] = kvm_lapic_reg_get(&k, REG_TMR + 16 * i);
		l->irr[i] = kvm_lapic_reg_get(&k, REG_IRR + 16 * i);
	}
	for (unsigned i = 0; i < IRQCHIP_LVTS; i++)
		l->lvt[i] = i == IRQCHIP_LVT_CMCI ? IRQCHIP_LVT_MASKED :
						    kvm_lapic_reg_get(&k, lvt_reg[i]);
	vector = in_flight(v);
	if (vector >= 0 && (l->isr[vector / 32] & 1u << vector % 32)) {
		l->isr[vector / 32] &= ~(1u << vector % 32);
		l->irr[vector / 32] |= 1u << vector % 32;
	}
	current = kvm_lapic_reg_get(&k, REG_TIMER_CURRENT);
	if (TIMER_MODE(l->lvt[IRQCHIP_LVT_TIMER]) == TIMER_DEADLINE) {
		l->tsc_deadline = v->paused_deadline;
		return l->tsc_deadline ? 0 : kvm_chips_deadline(v, &l->tsc_deadline, false);
	}
	if (l->timer_initial && (current || TIMER_MODE(l->lvt[IRQCHIP_LVT_TIMER]) != TIMER_ONESHOT))
		l->timer_left_ns = (uint64_t)current * irqchip_timer_divisor(l->timer_divide);
	return 0;
}

static int set_apic_base(struct engine_vcpu *v, uint64_t base)
{
	struct kvm_sregs s;
	int r = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);

	if (r < 0 || s.apic_base == base)
		return r;
	s.apic_base = base;
	return kvm_ioctl(v->fd, KVM_SET_SREGS, &s);
}

int kvm_chips_set_lapic(struct engine_vcpu *v, const struct irqchip_lapic *l)
{
	unsigned divisor = irqchip_timer_divisor(l->timer_divide);
	uint64_t deadline = l->tsc_deadline, left;
	struct kvm_lapic_state k;
	int r = set_apic_base(v, l->apic_base);

	if (r == 0)
		r = kvm_ioctl(v->fd, KVM_GET_LAPIC, &k);
	if (r < 0)
		return r;
	kvm_lapic_reg_set(&k, REG_ID, l->id << 24);
	kvm_lapic_reg_set(&k, REG_TPR, l->tpr);
	kvm_lapic_reg_set(&k, REG_LDR, l->ldr);
	kvm_lapic_reg_set(&k, REG_DFR, l->dfr);
	kvm_lapic_reg_set(&k, REG_SVR, l->svr);
	kvm_lapic_reg_set(&k, REG_ESR, l->esr);
	kvm_lapic_reg_set(&k, REG_ICR, (uint32_t)l->icr);
	kvm_lapic_reg_set(&k, REG_ICR2, (uint32_t)(l->icr >> 32));
	for (unsigned i = 0; i < 8; i++) {
		kvm_lapic_reg_set(&k, REG_ISR + 16 * i, l->isr[i]);
		kvm_lapic_reg_set(&k, REG_TMR + 16 * i, l->tmr[i]);
		kvm_lapic_reg_set(&k, REG_IRR + 16 * i, l->irr[i]);
	}
	for (unsigned i = 0; i < IRQCHIP_LVTS; i++)
		if (i != IRQCHIP_LVT_CMCI)
			kvm_lapic_reg_set(&k, lvt_reg[i], l->lvt[i]);
	left = (MIN(l->timer_left_ns, (uint64_t)UINT32_MAX * divisor) + divisor - 1) / divisor;
	kvm_lapic_reg_set(&k, REG_TIMER_DIVIDE, l->timer_divide);
	kvm_lapic_reg_set(&k, REG_TIMER_INITIAL,
			  l->timer_left_ns == IRQCHIP_NEVER ? 0 : l->timer_initial);
	kvm_lapic_reg_set(&k, REG_TIMER_CURRENT,
			  l->timer_left_ns == IRQCHIP_NEVER ? 0 : (uint32_t)MAX(left, 1u));
	r = kvm_ioctl(v->fd, KVM_SET_LAPIC, &k);
	if (r < 0)
		return r;
	v->paused_deadline = 0;
	if (TIMER_MODE(l->lvt[IRQCHIP_LVT_TIMER]) != TIMER_DEADLINE || !v->en->caps.tsc_deadline)
		return 0;
	if (v->en->paused) { /* armed at the resume */
		v->paused_deadline = deadline;
		deadline = 0;
	}
	return kvm_chips_deadline(v, &deadline, true);
}

/* ---- IOAPIC ---- */

int kvm_chips_get_ioapic(struct engine *en, struct irqchip_ioapic *io)
{
	struct kvm_irqchip k = {.chip_id = KVM_IRQCHIP_IOAPIC};
	int r = kvm_ioctl(en->made.vm, KVM_GET_IRQCHIP, &k);

	if (r < 0)
		return r;
	*io = (struct irqchip_ioapic){
		.select = k.chip.ioapic.ioregsel & 0xff,
		.id = (k.chip.ioapic.id & 0xf) << 24,
		.line = __atomic_load_n(&en->ioapic_line, __ATOMIC_SEQ_CST),
	};
	for (unsigned i = 0; i < IRQCHIP_IOAPIC_PINS; i++)
		io->rte[i] = k.chip.ioapic.redirtbl[i].bits;
	return 0;
}

int kvm_chips_set_ioapic(struct engine *en, const struct irqchip_ioapic *io)
{
	struct kvm_irqchip k = {.chip_id = KVM_IRQCHIP_IOAPIC};
	int r = kvm_ioctl(en->made.vm, KVM_GET_IRQCHIP, &k);

	if (r < 0)
		return r;
	k.chip.ioapic.ioregsel = io->select;
	k.chip.ioapic.id = io->id >> 24 & 0xf;
	k.chip.ioapic.irr = 0;
	for (unsigned i = 0; i < IRQCHIP_IOAPIC_PINS; i++) {
		k.chip.ioapic.redirtbl[i].bits = io->rte[i];
		if ((io->rte[i] & RTE_LEVEL) && (io->line & 1u << i))
			k.chip.ioapic.irr |= 1u << i;
	}
	__atomic_store_n(&en->ioapic_line, io->line, __ATOMIC_SEQ_CST);
	return kvm_ioctl(en->made.vm, KVM_SET_IRQCHIP, &k);
}

/* ---- PIC ---- */

static const unsigned pic_chip[2] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE};

static void pic_out(const struct kvm_pic_state *k, struct irqchip_8259 *c)
{
	*c = (struct irqchip_8259){
		.irr = k->irr,
		.imr = k->imr,
		.isr = k->isr,
		.line = k->last_irr,
		.elcr = k->elcr,
		.base = k->irq_base & 0xf8,
		.lowest = (k->priority_add + 7u) & 7u,
		.icw = k->init_state ? (uint8_t)MIN(k->init_state + 1u, 4u) : 0,
		.icw4_needed = k->init4,
		.auto_eoi = k->auto_eoi,
		.rotate_aeoi = k->rotate_on_auto_eoi,
		.special_mask = k->special_mask,
		.special_nested = k->special_fully_nested_mode,
		.read_isr = k->read_reg_select,
		.poll = k->poll,
	};
}

static void pic_in(const struct irqchip_8259 *c, unsigned chip, struct kvm_pic_state *k)
{
	*k = (struct kvm_pic_state){
		.last_irr = c->line,
		.irr = c->irr,
		.imr = c->imr,
		.isr = c->isr,
		.priority_add = (c->lowest + 1u) & 7u,
		.irq_base = c->base,
		.read_reg_select = c->read_isr,
		.poll = c->poll,
		.special_mask = c->special_mask,
		.init_state = c->icw ? c->icw - 1u : 0,
		.auto_eoi = c->auto_eoi,
		.rotate_on_auto_eoi = c->rotate_aeoi,
		.special_fully_nested_mode = c->special_nested,
		.init4 = c->icw4_needed,
		.elcr = c->elcr,
		.elcr_mask = chip ? PIC_ELCR_MASK_SLAVE : PIC_ELCR_MASK_MASTER,
	};
}

int kvm_chips_get_pic(struct engine *en, struct irqchip_pic *p)
{
	int vector = en->vcpu[0] ? in_flight(en->vcpu[0]) : -1;

	for (unsigned i = 0; i < 2; i++) {
		struct kvm_irqchip k = {.chip_id = pic_chip[i]};
		struct irqchip_8259 *c = &p->chip[i];
		int r = kvm_ioctl(en->made.vm, KVM_GET_IRQCHIP, &k);
		unsigned bit;

		if (r < 0)
			return r;
		pic_out(&k.chip.pic, c);
		if (vector < 0 || (vector & 0xf8) != c->base)
			continue;
		bit = 1u << (vector & 7);
		if (c->isr & bit) {
			c->isr &= (uint8_t)~bit;
			c->irr |= (uint8_t)bit;
		}
	}
	return 0;
}

int kvm_chips_set_pic(struct engine *en, const struct irqchip_pic *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct kvm_irqchip k = {.chip_id = pic_chip[i]};
		int r;

		pic_in(&p->chip[i], i, &k.chip.pic);
		r = kvm_ioctl(en->made.vm, KVM_SET_IRQCHIP, &k);
		if (r < 0)
			return r;
	}
	return 0;
}
