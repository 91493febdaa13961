/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_state.c - a local APIC's registers out and in (x86/irqchip.h), for saved state.
 *
 * The count of the timer is kept as the moment when it began (lapic_timer.c); what travels is the time left. A one-shot
 * timer that has expired gets a beginning so long ago that its count reads as 0. A period shorter than the host timer may
 * fire (MIN_PERIOD_NS) keeps its phase; only the interrupts merged at that moment are counted anew.
 */
#include "board/lapic_int.h"

#include "state/state_x86.h"

_Static_assert((int)IRQCHIP_LVT_TIMER == (int)LVT_TIMER &&
		       (int)IRQCHIP_LVT_ERROR == (int)LVT_ERROR &&
		       (int)LVTS == (int)IRQCHIP_LVT_CMCI,
	       "the same order of entries, but no CMCI here");

static void words_out(uint32_t out[8], const uint64_t w[4])
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint32_t)(__atomic_load_n(&w[i / 2], __ATOMIC_SEQ_CST) >> (32 * (i & 1)));
}

static void words_in(uint64_t w[4], const uint32_t in[8])
{
	for (unsigned i = 0; i < 4; i++)
		__atomic_store_n(&w[i], in[2 * i] | (uint64_t)in[2 * i + 1] << 32, __ATOMIC_SEQ_CST);
}

void lapic_get(struct lapic_set *s, unsigned cpu, struct irqchip_lapic *out)
{
	struct lapic *l = &s->apic[cpu];

	*out = (struct irqchip_lapic){
		.apic_base = l->base,
		.id = cpu,
		.tpr = l->tpr,
		.ldr = l->ldr,
		.dfr = l->dfr,
		.svr = l->svr,
		.esr = l->esr,
		.esr_pending = lapic_load(&l->esr_new),
		.icr = l->icr,
		.extint = lapic_load(&l->hot) & HOT_EXTINT_MSG,
	};
	words_out(out->isr, l->isr);
	words_out(out->tmr, l->tmr);
	words_out(out->irr, l->irr);
	for (unsigned i = 0; i < LVTS; i++)
		out->lvt[i] = lapic_load(&l->lvt[i]);
	out->lvt[IRQCHIP_LVT_CMCI] = IRQCHIP_LVT_MASKED;
	lapic_timer_get(s, l, out);
}

int lapic_set(struct lapic_set *s, unsigned cpu, const struct irqchip_lapic *in, struct err *e)
{
	struct lapic *l = &s->apic[cpu];
	int r = state_lapic_check(in, cpu, LVTS, e);

	if (r < 0)
		return r;
	r = lapic_registers_set(s, l, in, e);
	if (r < 0)
		return r;
	words_in(l->isr, in->isr);
	words_in(l->tmr, in->tmr);
	words_in(l->irr, in->irr);
	lapic_irq_loaded(l, in->tpr, in->extint);
	lapic_timer_loaded(s, l, in);
	lapic_lint_update(s, l);
	return 0;
}

void lapic_lint_loaded(struct lapic_set *s, bool intr)
{
	lapic_store(&s->lint[0], intr);
	for (unsigned i = 0; i < s->n; i++)
		lapic_lint_update(s, &s->apic[i]);
}
