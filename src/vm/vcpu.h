/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.h - the vCPU threads of one machine: run, sleep, wake, pause together, start and stop.
 *
 * A `struct vcpu_set` is all vCPUs of a machine. The loop thread builds it, starts it, pauses and resumes it
 * and destroys it; other threads only wake vCPUs and send them INIT, SIPI and NMI.
 *
 * States of a vCPU (enum vcpu_phase), and what may be done in each:
 *   PARKED   not in the engine and will not enter it: its state may be read and written by the loop thread.
 *            New, paused, or stopped after a triple fault.
 *   RUNNING  in engine->run() or between two of them. Only its own thread touches its state.
 *   ASLEEP   halted with interrupts on: wakes for an interrupt, NMI, INIT, a pause.
 *   DEAD     halted with interrupts off: wakes for NMI, INIT, a pause.
 *   WAITING  for a start-up IPI: wakes for that, INIT, a pause.
 *   GONE     the thread has ended.
 */
#ifndef LODGE_VM_VCPU_H
#define LODGE_VM_VCPU_H

#include "engine/engine.h"

enum vcpu_phase {
	VCPU_PARKED,
	VCPU_RUNNING,
	VCPU_ASLEEP,
	VCPU_DEAD,
	VCPU_WAITING,
	VCPU_GONE,
	VCPU_PHASES
};
extern const char *const vcpu_phase_names[];

enum vcpu_stop {
	VCPU_STOP_TRIPLE_FAULT, /* the guest's doing */
	VCPU_STOP_ERROR,	/* the engine's or the host's */
};

/* What the owner hears. All are called on the vCPU's own thread, without locks; they may not wait for the loop thread. */
struct vcpu_owner {
	void *ctx;
	/* This vCPU cannot run on; it sleeps until the set is destroyed. */
	void (*stopped)(void *ctx, unsigned vcpu, enum vcpu_stop why, const char *text);
	/* An INIT is being applied: reset the local APIC (SDM vol. 3 §11.4.7.3). */
	void (*init)(void *ctx, unsigned vcpu);
	/* The time of vcpu_set_deadline() has come while this vCPU sleeps. */
	void (*deadline)(void *ctx, unsigned vcpu);
	/* Every vCPU is DEAD or WAITING now, this one as the last. */
	void (*all_dead)(void *ctx);
};

struct vcpu_set;

/* Creates n vCPUs in the engine, in the state after power-up (vCPU 0 is the boot processor). No thread yet.
 * `host` is what irq_pending is asked of; all four pointers must outlive the set. */
int vcpu_set_create(struct vcpu_set **out, const struct engine_class *cls, struct engine *en,
		    const struct engine_host *host, const struct vcpu_owner *owner, unsigned n,
		    struct err *e);
/* Ends the threads; the vCPUs stay and may still be kicked. Loop thread, VM lock not held. */
void vcpu_set_stop(struct vcpu_set *s);
/* Stops, and destroys the engine's vCPUs. Accepts NULL and a half-built one. Loop thread, VM lock not held. */
void vcpu_set_destroy(struct vcpu_set *s);

/* Starts the threads; they run at once, or stay parked until vcpu_set_resume(). Loop thread. */
int vcpu_set_start(struct vcpu_set *s, bool paused, struct err *e);

/* Asks all vCPUs to park and returns at once. Any thread, a vCPU's own too: it parks when it is back from engine->run(). */
void vcpu_set_ask_pause(struct vcpu_set *s);
/* Asks, and waits until all are parked. Loop thread, VM lock not held: a vCPU may need it to get out. */
void vcpu_set_pause(struct vcpu_set *s);
void vcpu_set_resume(struct vcpu_set *s);

/* State of a parked vCPU. Loop thread (or before start). */
void vcpu_get_state(struct vcpu_set *s, unsigned i, uint64_t mask, struct x86_state *st);
int vcpu_set_state(struct vcpu_set *s, unsigned i, uint64_t mask, const struct x86_state *st);

/* The engine's side of a vCPU. */
struct engine_vcpu *vcpu_engine(struct vcpu_set *s, unsigned i);
/* INIT and SIPI that were not applied yet, as a number for saved state, 0..VCPU_REQUESTS_MAX. Of a parked vCPU. Loop thread. */
#define VCPU_REQUESTS_MAX 0xffffu
uint32_t vcpu_get_requests(struct vcpu_set *s, unsigned i);
void vcpu_set_requests(struct vcpu_set *s, unsigned i, uint32_t requests);

/* An interrupt may be deliverable (engine_host.irq_pending says so already): look. Any thread, takes no lock. */
void vcpu_interrupt(struct vcpu_set *s, unsigned i);
/* When this vCPU's APIC timer is due (CLOCK_MONOTONIC ns; 0: never): it sleeps no longer than that, so that a timer
 * interrupt does not have to come by way of the loop thread. Any thread, no lock; not looked at while it already sleeps. */
void vcpu_set_deadline(struct vcpu_set *s, unsigned i, uint64_t host_ns);
/* Events from the interrupt fabric. Any thread, no lock, applied later on the vCPU's own thread. An INIT drops a
 * start-up IPI that was not applied yet; a start-up IPI to a vCPU that does not wait for one does nothing. */
/* The engine has something for it (engine_host.wake). */
void vcpu_look(struct vcpu_set *s, unsigned i);
void vcpu_nmi(struct vcpu_set *s, unsigned i);
void vcpu_init(struct vcpu_set *s, unsigned i);
void vcpu_sipi(struct vcpu_set *s, unsigned i, uint8_t vector);

/* Counters of one vCPU. Any thread. */
struct vcpu_stats {
	enum vcpu_phase phase;
	uint64_t cpu_ns; /* processor time of its thread */
	uint64_t n_runs; /* calls of engine->run() */
	uint64_t n_halts;
	uint64_t n_wakes;     /* sleeps that another thread ended */
	uint64_t deadline_ns; /* vcpu_set_deadline(); 0: none */
};
void vcpu_stats(struct vcpu_set *s, unsigned i, struct vcpu_stats *out);
/* What this process had used of the CPUs when a vCPU of any set was about to run for the first time; 0: none was. Any thread. */
uint64_t vcpu_first_run_cpu_ns(void);

#endif
