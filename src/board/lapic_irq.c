/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_irq.c - interrupts on their way into a vCPU: IRR, priorities, acknowledge, EOI, messages between APICs.
 *
 * Any thread puts a vector into IRR: the bit, then the word's bit in `hot`, then lapic_wake(). Only the vCPU's own thread takes it
 * out again: the bit, then `hot` if the word became empty, then it looks at the word once more; whatever the order of
 * the two, a bit in IRR never stays without its bit in `hot`. So lapic_irq_pending() is one load when
 * nothing is there, and at most two more when something is.
 *
 * The processor priority (PPR, SDM vol. 3 §11.8.3.1) changes only with TPR, acknowledge and EOI, all on the own thread,
 * which recompute it. When it falls and something pending becomes deliverable, lapic_wake() is called for that too.
 *
 * ExtINT: the PIC's INTR is a level. An APIC passes it when its LVT LINT0 says ExtINT unmasked, or when the
 * APIC of the boot processor is off (it is as if it were not there). lapic_lint_update() keeps
 * HOT_EXTINT_LINE; the change of the line and the change of the LVT each store first and then look at the other.
 */
#include "board/lapic_int.h"

static int top_bit(const uint64_t w[4])
{
	for (int i = 3; i >= 0; i--) {
		uint64_t v = __atomic_load_n(&w[i], __ATOMIC_SEQ_CST);

		if (v)
			return i * 64 + 63 - __builtin_clzll(v);
	}
	return -1;
}

static void update_ppr(struct lapic *l)
{
	int isr = top_bit(l->isr);
	uint32_t tpr = l->tpr, ppr = tpr;

	if (isr >= 0 && ((uint32_t)isr >> 4) > (tpr >> 4))
		ppr = (uint32_t)isr & 0xf0;
	lapic_store(&l->ppr, ppr);
}

void lapic_wake(const struct lapic_set *s, const struct lapic *l)
{
	if (s->cfg.host.wake)
		s->cfg.host.wake(s->cfg.host.ctx, l->cpu);
}

/* Highest vector in IRR, or -1. */
static int top_irr(const struct lapic *l, uint32_t hot)
{
	for (int i = 3; i >= 0; i--) {
		uint64_t v;

		if (!(hot & (1u << i)))
			continue;
		v = __atomic_load_n(&l->irr[i], __ATOMIC_SEQ_CST);
		if (v)
			return i * 64 + 63 - __builtin_clzll(v);
	}
	return -1;
}

bool lapic_irq_pending(const struct lapic_set *s, unsigned cpu)
{
	const struct lapic *l = &s->apic[cpu];
	uint32_t hot = lapic_load(&l->hot);
	int vector;

	if (likely(hot == 0))
		return false;
	if (hot & (HOT_EXTINT_LINE | HOT_EXTINT_MSG))
		return true;
	vector = top_irr(l, hot);
	return vector >= 0 && ((uint32_t)vector >> 4) > (lapic_load(&l->ppr) >> 4);
}

static void clear_irr(struct lapic *l, unsigned vector)
{
	unsigned i = vector / 64;

	if (__atomic_and_fetch(&l->irr[i], ~BIT(vector % 64), __ATOMIC_SEQ_CST))
		return;
	__atomic_and_fetch(&l->hot, ~(1u << i), __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l->irr[i], __ATOMIC_SEQ_CST))
		__atomic_or_fetch(&l->hot, 1u << i, __ATOMIC_SEQ_CST);
}

int lapic_irq_ack(struct lapic_set *s, unsigned cpu)
{
	struct lapic *l = &s->apic[cpu];
	uint32_t hot = lapic_load(&l->hot);
	int vector;

	if (hot & (HOT_EXTINT_LINE | HOT_EXTINT_MSG)) {
		if (hot & HOT_EXTINT_MSG)
			__atomic_and_fetch(&l->hot, ~HOT_EXTINT_MSG, __ATOMIC_SEQ_CST);
		if (s->intc.inta) {
			l->n_irq++;
			return s->intc.inta(s->intc.ctx);
		}
		__atomic_and_fetch(&l->hot, ~HOT_EXTINT_LINE, __ATOMIC_SEQ_CST);
	}
	vector = top_irr(l, hot);
	if (vector < 0 || ((uint32_t)vector >> 4) <= (l->ppr >> 4))
		return -1;
	clear_irr(l, (unsigned)vector);
	__atomic_or_fetch(&l->isr[vector / 64], BIT(vector % 64), __ATOMIC_SEQ_CST);
	update_ppr(l);
	l->n_irq++;
	return vector;
}

void lapic_eoi(struct lapic_set *s, struct lapic *l)
{
	int vector = top_bit(l->isr);

	if (vector < 0)
		return;
	__atomic_and_fetch(&l->isr[vector / 64], ~BIT(vector % 64), __ATOMIC_SEQ_CST);
	update_ppr(l);
	if (__atomic_load_n(&l->tmr[vector / 64], __ATOMIC_SEQ_CST) & BIT(vector % 64)) {
		for (unsigned pin = 0; pin < 2; pin++) {
			uint32_t *lvt = &l->lvt[LVT_LINT0 + pin];

			if ((lapic_load(lvt) & LVT_REMOTE_IRR) &&
			    (lapic_load(lvt) & LVT_VECTOR) == (uint32_t)vector) {
				__atomic_and_fetch(lvt, ~LVT_REMOTE_IRR, __ATOMIC_SEQ_CST);
				lapic_lint_level(s, l, pin);
			}
		}
		if (s->intc.eoi)
			s->intc.eoi(s->intc.ctx, (uint8_t)vector);
	}
	if (lapic_irq_pending(s, l->cpu))
		lapic_wake(s, l);
}

void lapic_set_tpr(struct lapic_set *s, struct lapic *l, uint32_t tpr)
{
	uint32_t old = l->ppr;

	lapic_store(&l->tpr, tpr & 0xff);
	update_ppr(l);
	if (l->ppr < old && lapic_irq_pending(s, l->cpu))
		lapic_wake(s, l);
}

unsigned lapic_cr8_read(const struct lapic_set *s, unsigned cpu)
{
	return lapic_load(&s->apic[cpu].tpr) >> 4;
}

void lapic_cr8_write(struct lapic_set *s, unsigned cpu, unsigned tpr)
{
	lapic_set_tpr(s, &s->apic[cpu], (tpr & 0xf) << 4);
}

void lapic_irq_reset(struct lapic *l)
{
	for (unsigned i = 0; i < 4; i++) {
		__atomic_store_n(&l->isr[i], 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&l->tmr[i], 0, __ATOMIC_SEQ_CST);
		__atomic_store_n(&l->irr[i], 0, __ATOMIC_SEQ_CST);
		__atomic_and_fetch(&l->hot, ~(1u << i), __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&l->irr[i], __ATOMIC_SEQ_CST))
			__atomic_or_fetch(&l->hot, 1u << i, __ATOMIC_SEQ_CST);
	}
	__atomic_and_fetch(&l->hot, ~HOT_EXTINT_MSG, __ATOMIC_SEQ_CST);
	lapic_store(&l->tpr, 0);
	update_ppr(l);
}

void lapic_irq_loaded(struct lapic *l, uint32_t tpr, bool extint)
{
	uint32_t hot = extint ? HOT_EXTINT_MSG : 0;

	for (unsigned i = 0; i < 4; i++)
		hot |= __atomic_load_n(&l->irr[i], __ATOMIC_SEQ_CST) ? 1u << i : 0;
	lapic_store(&l->hot, hot);
	lapic_store(&l->tpr, tpr);
	update_ppr(l);
}

/* ---- into IRR ---- */

/* `fresh`: was not pending before, so that the vCPU must be woken. */
static bool accept_vector(struct lapic_set *s, struct lapic *l, uint8_t vector, bool level,
			  bool *fresh)
{
	unsigned i = vector / 64;
	uint64_t bit = BIT(vector % 64);

	if (!lapic_enabled(l) || !(lapic_load(&l->svr) & SVR_ENABLED))
		return false;
	if (vector < 16) {
		lapic_error(s, l, ESR_RECEIVE_VECTOR);
		return false;
	}
	if (level)
		__atomic_or_fetch(&l->tmr[i], bit, __ATOMIC_SEQ_CST);
	else if (__atomic_load_n(&l->tmr[i], __ATOMIC_SEQ_CST) & bit)
		__atomic_and_fetch(&l->tmr[i], ~bit, __ATOMIC_SEQ_CST);
	if (__atomic_fetch_or(&l->irr[i], bit, __ATOMIC_SEQ_CST) & bit)
		return true; /* was pending already: one more does not count */
	__atomic_or_fetch(&l->hot, 1u << i, __ATOMIC_SEQ_CST);
	*fresh = true;
	return true;
}

bool lapic_accept(struct lapic_set *s, struct lapic *l, uint8_t vector, bool level)
{
	bool fresh = false, taken = accept_vector(s, l, vector, level, &fresh);

	if (fresh)
		lapic_wake(s, l);
	return taken;
}

/* SDM vol. 3 §11.5.3. */
void lapic_error(struct lapic_set *s, struct lapic *l, uint32_t bits)
{
	uint32_t old = __atomic_fetch_or(&l->esr_new, bits, __ATOMIC_SEQ_CST), lvt;

	lvt = lapic_load(&l->lvt[LVT_ERROR]);
	if ((bits & ~old) && !(lvt & LVT_MASKED) && (lvt & LVT_VECTOR) >= 16)
		lapic_accept(s, l, lvt & LVT_VECTOR, false);
}

/* One message at one APIC that matched it. */
static bool deliver(struct lapic_set *s, struct lapic *l, enum lapic_mode mode, uint8_t vector,
		    bool level)
{
	const struct lapic_host *h = &s->cfg.host;

	if (!lapic_enabled(l))
		return false;
	switch (mode) {
	case LAPIC_FIXED:
	case LAPIC_LOWEST: return lapic_accept(s, l, vector, level);
	case LAPIC_NMI:
		if (h->nmi)
			h->nmi(h->ctx, l->cpu);
		return true;
	case LAPIC_INIT:
		if (h->init)
			h->init(h->ctx, l->cpu);
		return true;
	case LAPIC_SIPI:
		if (h->sipi)
			h->sipi(h->ctx, l->cpu, vector);
		return true;
	case LAPIC_EXTINT:
		__atomic_or_fetch(&l->hot, HOT_EXTINT_MSG, __ATOMIC_SEQ_CST);
		lapic_wake(s, l);
		return true;
	case LAPIC_SMI: /* there is no SMM */
	case LAPIC_REMOTE_READ: break;
	}
	return false;
}

void lapic_raise_lvt(struct lapic_set *s, struct lapic *l, enum lapic_lvt which)
{
	uint32_t lvt = lapic_load(&l->lvt[which]);

	if (lvt & LVT_MASKED)
		return;
	if (LVT_MODE(lvt) != LAPIC_EXTINT)
		deliver(s, l, (enum lapic_mode)LVT_MODE(lvt), lvt & LVT_VECTOR, false);
}

bool lapic_raise_timer(struct lapic_set *s, struct lapic *l)
{
	uint32_t lvt = lapic_load(&l->lvt[LVT_TIMER]);
	bool fresh = false;

	if (!(lvt & LVT_MASKED))
		accept_vector(s, l, lvt & LVT_VECTOR, false, &fresh);
	return fresh;
}

/* ---- local pins ---- */

void lapic_lint_update(struct lapic_set *s, struct lapic *l)
{
	bool up, pass;
	uint32_t lvt, old;

	pthread_mutex_lock(&l->lock);
	lvt = lapic_load(&l->lvt[LVT_LINT0]);
	up = lapic_load(&s->lint[0]);
	if (lapic_enabled(l))
		pass = !(lvt & LVT_MASKED) && LVT_MODE(lvt) == LAPIC_EXTINT;
	else
		pass = l->cpu == 0;
	if (up && pass)
		old = __atomic_fetch_or(&l->hot, HOT_EXTINT_LINE, __ATOMIC_SEQ_CST);
	else
		old = __atomic_fetch_and(&l->hot, ~HOT_EXTINT_LINE, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&l->lock);
	if (up && pass && !(old & HOT_EXTINT_LINE))
		lapic_wake(s, l);
}

void lapic_lint_level(struct lapic_set *s, struct lapic *l, unsigned pin)
{
	uint32_t *p = &l->lvt[LVT_LINT0 + pin];
	uint32_t lvt = lapic_load(p);

	if (!lapic_load(&s->lint[pin]) || (lvt & LVT_MASKED) || !(lvt & LVT_LEVEL) ||
	    LVT_MODE(lvt) != LAPIC_FIXED)
		return;
	if (__atomic_fetch_or(p, LVT_REMOTE_IRR, __ATOMIC_SEQ_CST) & LVT_REMOTE_IRR)
		return;
	if (!lapic_accept(s, l, lvt & LVT_VECTOR, true))
		__atomic_and_fetch(p, ~LVT_REMOTE_IRR, __ATOMIC_SEQ_CST);
}

void lapic_lint(struct lapic_set *s, unsigned pin, bool level)
{
	pin &= 1;
	if (__atomic_exchange_n(&s->lint[pin], level, __ATOMIC_SEQ_CST) == level)
		return;
	for (unsigned i = 0; i < s->n; i++) {
		struct lapic *l = &s->apic[i];
		uint32_t lvt = lapic_load(&l->lvt[LVT_LINT0 + pin]);

		if (!lapic_enabled(l)) {
			/* The pins are INTR and NMI of the processor then. */
			if (pin == 0)
				lapic_lint_update(s, l);
			else if (level && l->cpu == 0 && s->cfg.host.nmi)
				s->cfg.host.nmi(s->cfg.host.ctx, l->cpu);
			continue;
		}
		if (lvt & LVT_MASKED)
			continue;
		if (LVT_MODE(lvt) == LAPIC_EXTINT) {
			if (pin == 0)
				lapic_lint_update(s, l);
		} else if (LVT_MODE(lvt) == LAPIC_FIXED && (lvt & LVT_LEVEL)) {
			lapic_lint_level(s, l, pin);
		} else if (level) {
			lapic_raise_lvt(s, l, LVT_LINT0 + pin);
		}
	}
}

/* ---- messages ---- */

/* SDM vol. 3 §11.6.2; each APIC looks at the destination with its own mode. */
static bool match_logical(const struct lapic *l, uint32_t dest)
{
	uint32_t ldr = lapic_load(&l->ldr);

	if (lapic_is_x2(l))
		return (ldr >> 16) == (dest >> 16) && (ldr & dest & 0xffff);
	if (dest > 0xff)
		return false;
	ldr >>= 24;
	if ((lapic_load(&l->dfr) >> 28) == 0xf) /* flat */
		return ldr & dest;
	return (ldr >> 4) == (dest >> 4) && (ldr & dest & 0xf); /* cluster */
}

static bool match(const struct lapic *l, const struct lapic_msg *m)
{
	if (!lapic_enabled(l))
		return false;
	if (m->broadcast)
		return true;
	return m->logical ? match_logical(l, m->dest) : m->dest == l->cpu;
}

/* Of the APICs that match, the one with the lowest processor priority; of equals, in turn. */
static struct lapic *lowest(struct lapic_set *s, const struct lapic_msg *m)
{
	uint32_t start = __atomic_fetch_add(&s->rotate, 1, __ATOMIC_RELAXED);
	struct lapic *best = NULL;
	uint32_t best_ppr = UINT32_MAX;

	for (unsigned i = 0; i < s->n; i++) {
		struct lapic *l = &s->apic[(start + i) % s->n];
		uint32_t ppr;

		if (!match(l, m) || !(lapic_load(&l->svr) & SVR_ENABLED))
			continue;
		ppr = lapic_load(&l->ppr);
		if (ppr < best_ppr) {
			best = l;
			best_ppr = ppr;
		}
	}
	return best;
}

static unsigned send_except(struct lapic_set *s, const struct lapic_msg *m,
			    const struct lapic *except)
{
	unsigned taken = 0, first = 0, end = s->n;

	if (m->mode == LAPIC_LOWEST || (m->redirect && m->mode == LAPIC_FIXED)) {
		struct lapic *l = lowest(s, m);

		return l && deliver(s, l, m->mode, m->vector, m->level);
	}
	if (!m->broadcast && !m->logical) {
		if (m->dest >= s->n)
			return 0;
		first = m->dest;
		end = first + 1;
	} else if (!m->broadcast && m->dest > 0xff) { /* can only match in x2APIC mode: one cluster */
		first = (m->dest >> 16) * 16;
		end = MIN(first + 16, s->n);
	}
	for (unsigned i = first; i < end; i++) {
		struct lapic *l = &s->apic[i];

		if (l != except && match(l, m))
			taken += deliver(s, l, m->mode, m->vector, m->level);
	}
	return taken;
}

unsigned lapic_send(struct lapic_set *s, const struct lapic_msg *m)
{
	return send_except(s, m, NULL);
}

/* SDM vol. 3 §11.6.1. Called with the register already stored. */
void lapic_icr_write(struct lapic_set *s, struct lapic *l, uint64_t icr)
{
	bool x2 = lapic_is_x2(l);
	struct lapic_msg m = {
		.dest = x2 ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56),
		.logical = icr & BIT(11),
		.vector = (uint8_t)icr,
		.mode = (enum lapic_mode)((icr >> 8) & 7),
	};
	const struct lapic *except = NULL;

	l->n_ipi++;
	if (m.mode == LAPIC_EXTINT || m.mode == LAPIC_REMOTE_READ || m.mode == LAPIC_SMI)
		return;
	/* INIT level de-assert only synchronised arbitration ids of old. */
	if (m.mode == LAPIC_INIT && (icr & BIT(15)) && !(icr & BIT(14)))
		return;
	if ((m.mode == LAPIC_FIXED || m.mode == LAPIC_LOWEST) && m.vector < 16) {
		lapic_error(s, l, ESR_SEND_VECTOR);
		return;
	}
	m.broadcast = m.dest == (x2 ? UINT32_MAX : 0xffu);
	switch ((icr >> 18) & 3) {
	case 0: break;
	case 1: /* self */ deliver(s, l, m.mode, m.vector, false); return;
	case 3: /* all but self */ except = l; __attribute__((fallthrough));
	case 2: /* all */
		m.broadcast = true;
		if (m.mode == LAPIC_LOWEST)
			m.mode = LAPIC_FIXED;
		break;
	}
	send_except(s, &m, except);
}
