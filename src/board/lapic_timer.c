/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_timer.c - the local APIC timer: one-shot, periodic and TSC-deadline (SDM vol. 3 §11.5.4).
 *
 * The count is not kept but computed: it was `initial` at start_ns and falls by one each `divide` nanoseconds
 * (LAPIC_BUS_HZ is 1 GHz). The host timer is armed for the moment of zero. In TSC-deadline mode the
 * deadline is converted with the guest's TSC frequency, and when the host timer fires the guest's TSC
 * is looked at again, as the two clocks may drift apart.
 *
 * A periodic timer never fires more often than MIN_PERIOD_NS; periods that pass unseen (late host,
 * short period) are merged into one interrupt, as they would be in IRR.
 */
#include "board/lapic_int.h"

#define MIN_PERIOD_NS 100000u
#define MAX_DELAY_NS (UINT64_C(1) << 60)

static uint64_t now_ns(const struct lapic_set *s)
{
	return s->cfg.now(s->cfg.now_ctx);
}

/* Divide configuration register: bits 3, 1, 0 -> 2, 4, ... 128, 1 (SDM vol. 3 figure 11-10). */
static unsigned divisor(uint32_t divide)
{
	unsigned v = (divide & 3) | ((divide >> 1) & 4);

	return v == 7 ? 1 : 2u << v;
}

static uint64_t period_ns(const struct lapic *l)
{
	return (uint64_t)l->initial * divisor(l->divide);
}

static void arm_locked(struct lapic_set *s, struct lapic *l, uint64_t deadline)
{
	l->deadline_ns = deadline;
	if (!__atomic_load_n(&s->paused, __ATOMIC_SEQ_CST))
		s->cfg.timer.arm(s->cfg.timer.ctx, l->cpu, deadline);
}

static void cancel_locked(struct lapic_set *s, struct lapic *l)
{
	l->armed = false;
	l->tsc_deadline = 0;
	s->cfg.timer.cancel(s->cfg.timer.ctx, l->cpu);
}

/* It has expired. True: wake the vCPU when the lock is released. */
static bool fire_locked(struct lapic_set *s, struct lapic *l)
{
	l->n_timer++;
	return lapic_raise_timer(s, l);
}

/* Arms for tsc_deadline; true if that is past already (and then it is disarmed). */
static bool deadline_locked(struct lapic_set *s, struct lapic *l)
{
	uint64_t tsc = s->cfg.host.guest_tsc(s->cfg.host.ctx, l->cpu);
	uint64_t delta, ns;

	if (l->tsc_deadline <= tsc) {
		l->tsc_deadline = 0;
		return true;
	}
	delta = MIN(l->tsc_deadline - tsc, BIT(53));
	ns = MIN(dev_muldiv(delta, 1000000, s->cfg.tsc_khz) + 1, MAX_DELAY_NS);
	arm_locked(s, l, now_ns(s) + ns);
	return false;
}

static uint32_t current_locked(struct lapic_set *s, const struct lapic *l)
{
	uint64_t gone;

	/* Not armed: a one-shot that has expired. */
	if (!l->armed || l->initial == 0 ||
	    LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER])) >= TIMER_DEADLINE)
		return 0;
	gone = (now_ns(s) - l->start_ns) / divisor(l->divide);
	if (LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER])) == TIMER_PERIODIC)
		return l->initial - (uint32_t)(gone % l->initial);
	return gone >= l->initial ? 0 : l->initial - (uint32_t)gone;
}

/* Did it expire, as far as the clock says? Arms what comes next. */
static bool expired_locked(struct lapic_set *s, struct lapic *l)
{
	unsigned mode = LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER]));
	uint64_t now, period;

	if (l->tsc_deadline)
		return deadline_locked(s, l);
	if (!l->armed)
		return false;
	now = now_ns(s);
	if (now < l->deadline_ns) {
		arm_locked(s, l, l->deadline_ns);
		return false;
	}
	if (mode != TIMER_PERIODIC) {
		l->armed = false;
		return true;
	}
	period = period_ns(l);
	now = MAX(now, l->deadline_ns + (period < MIN_PERIOD_NS ? MIN_PERIOD_NS - period : 0));
	arm_locked(s, l, l->start_ns + ((now - l->start_ns) / period + 1) * period);
	return true;
}

/*
 * Before the guest sees or changes the timer: an expiry that the host timer is late with happens now, so that it
 * comes before the count of 0, or the masked entry, that follows it. As with lapic_timer_fired(), its call is harmless.
 */
static void catch_up(struct lapic_set *s, struct lapic *l)
{
	bool due, woken;

	pthread_mutex_lock(&l->lock);
	if (__atomic_load_n(&s->paused, __ATOMIC_SEQ_CST))
		due = false;
	else if (l->tsc_deadline)
		due = s->cfg.host.guest_tsc(s->cfg.host.ctx, l->cpu) >= l->tsc_deadline;
	else
		due = l->armed && now_ns(s) >= l->deadline_ns;
	woken = due && expired_locked(s, l) && fire_locked(s, l);
	pthread_mutex_unlock(&l->lock);
	if (woken)
		lapic_wake(s, l);
}

uint32_t lapic_timer_current(struct lapic_set *s, struct lapic *l)
{
	uint32_t v;

	pthread_mutex_lock(&l->lock);
	v = current_locked(s, l);
	pthread_mutex_unlock(&l->lock);
	if (v == 0)
		catch_up(s, l);
	return v;
}

void lapic_timer_set_initial(struct lapic_set *s, struct lapic *l, uint32_t initial)
{
	pthread_mutex_lock(&l->lock);
	if (LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER])) < TIMER_DEADLINE) {
		l->initial = initial;
		l->start_ns = now_ns(s);
		if (initial) {
			l->armed = true;
			arm_locked(s, l, l->start_ns + period_ns(l));
		} else {
			cancel_locked(s, l);
		}
	}
	pthread_mutex_unlock(&l->lock);
}

/* The count goes on from where it is, at the new pace. */
void lapic_timer_set_divide(struct lapic_set *s, struct lapic *l, uint32_t divide)
{
	pthread_mutex_lock(&l->lock);
	if (divide != l->divide) {
		uint64_t left = current_locked(s, l), now = now_ns(s);

		l->divide = divide;
		if (l->armed) {
			l->start_ns = now - (l->initial - left) * divisor(divide);
			arm_locked(s, l, l->start_ns + period_ns(l));
		}
	}
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_set_deadline(struct lapic_set *s, struct lapic *l, uint64_t tsc)
{
	bool woken = false;

	pthread_mutex_lock(&l->lock);
	if (LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER])) == TIMER_DEADLINE) {
		l->tsc_deadline = tsc;
		if (tsc == 0)
			cancel_locked(s, l);
		else
			woken = deadline_locked(s, l) && fire_locked(s, l);
	}
	pthread_mutex_unlock(&l->lock);
	if (woken)
		lapic_wake(s, l);
}

uint64_t lapic_timer_get_deadline(struct lapic_set *s, struct lapic *l)
{
	uint64_t v;

	catch_up(s, l);
	pthread_mutex_lock(&l->lock);
	v = l->tsc_deadline;
	pthread_mutex_unlock(&l->lock);
	return v;
}

void lapic_timer_mode(struct lapic_set *s, struct lapic *l, uint32_t lvt)
{
	unsigned from, to = LVT_TIMER_MODE(lvt);

	catch_up(s, l);
	pthread_mutex_lock(&l->lock);
	from = LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER]));
	if (from != to && (from >= TIMER_DEADLINE || to >= TIMER_DEADLINE)) {
		cancel_locked(s, l);
		l->initial = 0;
	}
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_reset(struct lapic_set *s, struct lapic *l)
{
	pthread_mutex_lock(&l->lock);
	cancel_locked(s, l);
	l->initial = l->divide = 0;
	l->start_ns = l->deadline_ns = 0;
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_get(struct lapic_set *s, struct lapic *l, struct irqchip_lapic *out)
{
	uint64_t now, period;

	pthread_mutex_lock(&l->lock);
	now = now_ns(s);
	period = period_ns(l);
	out->timer_initial = l->initial;
	out->timer_divide = l->divide;
	out->tsc_deadline = l->tsc_deadline;
	out->timer_left_ns = IRQCHIP_NEVER;
	if (l->armed && period) {
		if (l->deadline_ns <= now)
			out->timer_left_ns = 0;
		else if (LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER])) == TIMER_PERIODIC)
			out->timer_left_ns = period - (now - l->start_ns) % period;
		else
			out->timer_left_ns = MIN(l->deadline_ns - now, period);
	}
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_loaded(struct lapic_set *s, struct lapic *l, const struct irqchip_lapic *in)
{
	unsigned mode = LVT_TIMER_MODE(lapic_load(&l->lvt[LVT_TIMER]));
	bool counts = mode < TIMER_DEADLINE;
	uint64_t now;

	pthread_mutex_lock(&l->lock);
	now = now_ns(s);
	l->initial = counts ? in->timer_initial : 0;
	l->divide = in->timer_divide;
	l->tsc_deadline = mode == TIMER_DEADLINE ? in->tsc_deadline : 0;
	l->armed = counts && in->timer_left_ns != IRQCHIP_NEVER;
	/* The beginning may be before board time 0: only differences are looked at. */
	l->deadline_ns = l->armed ? now + in->timer_left_ns : 0;
	l->start_ns = now + (l->armed ? in->timer_left_ns : 0) - period_ns(l);
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_fired(struct lapic_set *s, unsigned cpu)
{
	struct lapic *l = &s->apic[cpu];
	bool woken = false;

	pthread_mutex_lock(&l->lock);
	if (!__atomic_load_n(&s->paused, __ATOMIC_SEQ_CST))
		woken = expired_locked(s, l) && fire_locked(s, l);
	pthread_mutex_unlock(&l->lock);
	if (woken)
		lapic_wake(s, l);
}

void lapic_timer_pause(struct lapic_set *s, struct lapic *l)
{
	pthread_mutex_lock(&l->lock);
	s->cfg.timer.cancel(s->cfg.timer.ctx, l->cpu);
	pthread_mutex_unlock(&l->lock);
}

void lapic_timer_resume(struct lapic_set *s, struct lapic *l)
{
	bool woken = false;

	pthread_mutex_lock(&l->lock);
	if (l->tsc_deadline)
		woken = deadline_locked(s, l) && fire_locked(s, l);
	else if (l->armed)
		arm_locked(s, l, l->deadline_ns);
	pthread_mutex_unlock(&l->lock);
	if (woken)
		lapic_wake(s, l);
}
