/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmclock.h - the machine's time: board time that stands still while paused, and the timers of devices
 * and local APICs on the loop.
 *
 * Board time is CLOCK_MONOTONIC less all time spent paused, from 0 at creation. It goes on through a reset.
 */
#ifndef LODGE_VM_VMCLOCK_H
#define LODGE_VM_VMCLOCK_H

#include <pthread.h>

#include "board/device.h"
#include "board/lapic.h"
#include "util/loop.h"

struct vmclock;

/* `lock`: the VM lock, taken around device timers' callbacks. The clock starts stopped, at 0. Loop thread. */
int vmclock_create(struct vmclock **out, struct loop *l, pthread_mutex_t *lock, struct err *e);
/* Loop thread; no device and no APIC uses it any more. Accepts NULL. */
void vmclock_destroy(struct vmclock *c);

/* Board time now, ns. Any thread. */
uint64_t vmclock_now(void *clock);
/* A board time as CLOCK_MONOTONIC, for a wait. Only meaningful while the clock runs. Any thread. */
uint64_t vmclock_host_ns(const struct vmclock *c, uint64_t board_ns);
/* Loop thread, with no vCPU running. Both may be called twice. */
void vmclock_stop(struct vmclock *c);
void vmclock_start(struct vmclock *c);

/* Board time goes on from there. Stopped, nothing armed. Loop thread. */
void vmclock_set(struct vmclock *c, uint64_t board_ns);

/* The clock of dev_env. */
void vmclock_dev(struct vmclock *c, struct dev_clock *out);

/*
 * One timer a vCPU for its local APIC: the functions of lapic_timer_ops but for `ctx`, which is the clock.
 * vmclock_apic_attach() makes room for n of them; `fired` is called on the loop thread without the VM lock, `armed`
 * on the thread that arms (deadline as CLOCK_MONOTONIC, 0: cancelled) and may be NULL. Detach (loop thread) when
 * no vCPU and nothing else can arm them any more.
 */
struct vmclock_apic {
	void *ctx;
	void (*fired)(void *ctx, unsigned cpu);
	void (*armed)(void *ctx, unsigned cpu, uint64_t host_ns);
};
int vmclock_apic_attach(struct vmclock *c, unsigned n, const struct vmclock_apic *a, struct err *e);
void vmclock_apic_detach(struct vmclock *c);
void vmclock_apic_arm(void *clock, unsigned cpu, uint64_t deadline_ns);
void vmclock_apic_cancel(void *clock, unsigned cpu);

#endif
