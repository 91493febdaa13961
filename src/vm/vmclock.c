/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmclock.c - board time, and device and APIC timers as loop timers.
 *
 * Theory of operation. board = CLOCK_MONOTONIC - offset while the clock runs, a fixed number while it is
 * stopped. The offset changes only when no vCPU runs, and by the loop thread; others read it atomically.
 *
 * Device timers (struct dev_timer) are armed under the VM lock by any thread and fire on the loop thread
 * under the VM lock. Each armed one has a slot with a loop timer. A slot may be given back, and given to
 * another timer, while its callback already waits for the VM lock on the loop thread; so slots are never
 * freed before the clock, and the callback looks again, under the lock, whether what is in its slot is due.
 * A slot that fires early or for nothing does no harm.
 *
 * While the clock is stopped nothing fires: stop cancels the loop timers, arming only notes the deadline,
 * start arms them all again with the new offset. APIC timers are cancelled and armed again by lapic_pause()
 * and lapic_resume() themselves.
 */
#include "vm/vmclock.h"

#include <errno.h>
#include <stdlib.h>

#include "util/clock.h"
#include "util/log.h"

struct slot {
	struct vmclock *clock;
	struct dev_timer *t; /* NULL: free. VM lock */
	struct loop_timer lt;
	struct slot *next;	/* all slots */
	struct slot *next_free; /* while free */
};

struct apic_timer {
	struct vmclock *clock;
	unsigned cpu;
	struct loop_timer lt;
};

struct vmclock {
	struct loop *loop;
	pthread_mutex_t *lock;
	bool running;		   /* loop thread writes, with no vCPU running; atomic */
	uint64_t offset_ns;	   /* while running; likewise */
	uint64_t stopped_at_ns;	   /* board time while stopped; likewise */
	struct slot *slots, *free; /* VM lock */
	struct vmclock_apic apic;
	struct apic_timer *apic_timer;
	unsigned n_apics;
};

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

int vmclock_create(struct vmclock **out, struct loop *l, pthread_mutex_t *lock, struct err *e)
{
	struct vmclock *c = calloc(1, sizeof(*c));

	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->loop = l;
	c->lock = lock;
	*out = c;
	return 0;
}

void vmclock_destroy(struct vmclock *c)
{
	if (!c)
		return;
	vmclock_apic_detach(c);
	while (c->slots) {
		struct slot *s = c->slots;

		c->slots = s->next;
		loop_timer_cancel(&s->lt);
		if (s->t)
			s->t->host = NULL;
		free(s);
	}
	free(c);
}

uint64_t vmclock_now(void *clock)
{
	struct vmclock *c = clock;

	return load(&c->running) ? clock_ns() - load(&c->offset_ns) : load(&c->stopped_at_ns);
}

uint64_t vmclock_host_ns(const struct vmclock *c, uint64_t board_ns)
{
	uint64_t offset = load(&c->offset_ns);

	return board_ns > UINT64_MAX - offset ? UINT64_MAX : board_ns + offset;
}

static int64_t wall(void *clock)
{
	(void)clock;
	return (int64_t)clock_realtime_ns();
}

/* ---- device timers ---- */

static void slot_fired(void *ctx)
{
	struct slot *s = ctx;
	struct vmclock *c = s->clock;
	struct dev_timer *t;

	pthread_mutex_lock(c->lock);
	t = s->t;
	if (t && t->armed && c->running) {
		if (t->deadline_ns <= vmclock_now(c)) {
			t->armed = false;
			t->fn(t->arg);
		} else {
			(void)loop_timer_set(&s->lt, vmclock_host_ns(c, t->deadline_ns));
		}
	}
	pthread_mutex_unlock(c->lock);
}

static struct slot *slot_get(struct vmclock *c)
{
	struct slot *s = c->free;

	if (s) {
		c->free = s->next_free;
		return s;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->clock = c;
	loop_timer_init(&s->lt, c->loop, slot_fired, s);
	s->next = c->slots;
	c->slots = s;
	return s;
}

static void dev_arm(void *ctx, struct dev_timer *t, uint64_t deadline_ns)
{
	struct vmclock *c = ctx;
	struct slot *s = t->host;

	if (!s) {
		s = slot_get(c);
		if (!s) {
			log_error_limited("out of memory for a device timer");
			return;
		}
		s->t = t;
		t->host = s;
	}
	t->armed = true;
	t->deadline_ns = deadline_ns;
	if (load(&c->running))
		(void)loop_timer_set(&s->lt, vmclock_host_ns(c, deadline_ns));
}

static void dev_cancel(void *ctx, struct dev_timer *t)
{
	struct vmclock *c = ctx;
	struct slot *s = t->host;

	t->armed = false;
	if (!s)
		return;
	t->host = NULL;
	loop_timer_cancel(&s->lt);
	s->t = NULL;
	s->next_free = c->free;
	c->free = s;
}

void vmclock_dev(struct vmclock *c, struct dev_clock *out)
{
	*out = (struct dev_clock){
		.ctx = c, .now = vmclock_now, .wall = wall, .arm = dev_arm, .cancel = dev_cancel};
}

void vmclock_stop(struct vmclock *c)
{
	pthread_mutex_lock(c->lock);
	if (c->running) {
		store(&c->stopped_at_ns, clock_ns() - c->offset_ns);
		store(&c->running, false);
		for (struct slot *s = c->slots; s; s = s->next)
			loop_timer_cancel(&s->lt);
	}
	pthread_mutex_unlock(c->lock);
}

void vmclock_start(struct vmclock *c)
{
	pthread_mutex_lock(c->lock);
	if (!c->running) {
		store(&c->offset_ns, clock_ns() - c->stopped_at_ns);
		store(&c->running, true);
		for (struct slot *s = c->slots; s; s = s->next)
			if (s->t && s->t->armed)
				(void)loop_timer_set(&s->lt, vmclock_host_ns(c, s->t->deadline_ns));
	}
	pthread_mutex_unlock(c->lock);
}

void vmclock_set(struct vmclock *c, uint64_t board_ns)
{
	pthread_mutex_lock(c->lock);
	ASSERT(!c->running);
	store(&c->stopped_at_ns, board_ns);
	pthread_mutex_unlock(c->lock);
}

/* ---- local APIC timers ---- */

static void apic_fired(void *ctx)
{
	struct apic_timer *t = ctx;

	t->clock->apic.fired(t->clock->apic.ctx, t->cpu);
}

int vmclock_apic_attach(struct vmclock *c, unsigned n, const struct vmclock_apic *a, struct err *e)
{
	c->apic_timer = calloc(n, sizeof(*c->apic_timer));
	if (!c->apic_timer)
		return err_set(e, ENOMEM, "out of memory for %u APIC timers", n);
	for (unsigned i = 0; i < n; i++) {
		c->apic_timer[i].clock = c;
		c->apic_timer[i].cpu = i;
		loop_timer_init(&c->apic_timer[i].lt, c->loop, apic_fired, &c->apic_timer[i]);
	}
	c->n_apics = n;
	c->apic = *a;
	return 0;
}

void vmclock_apic_detach(struct vmclock *c)
{
	for (unsigned i = 0; i < c->n_apics; i++)
		loop_timer_cancel(&c->apic_timer[i].lt);
	free(c->apic_timer);
	c->apic_timer = NULL;
	c->n_apics = 0;
}

void vmclock_apic_arm(void *clock, unsigned cpu, uint64_t deadline_ns)
{
	struct vmclock *c = clock;
	uint64_t host_ns = MAX(vmclock_host_ns(c, deadline_ns), 1u);

	if (c->apic.armed)
		c->apic.armed(c->apic.ctx, cpu, host_ns);
	if (loop_timer_set(&c->apic_timer[cpu].lt, host_ns) < 0)
		log_error_limited("out of memory for the timer of vCPU %u", cpu);
}

void vmclock_apic_cancel(void *clock, unsigned cpu)
{
	struct vmclock *c = clock;

	if (c->apic.armed)
		c->apic.armed(c->apic.ctx, cpu, 0);
	loop_timer_cancel(&c->apic_timer[cpu].lt);
}
