/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - what every device of the board has in common: its class, its life, and the environment
 * (struct dev_env) that it is created into.
 *
 * Life: X_create() -> reset() -> [pause() -> resume()]* -> destroy(). Creation registers the device's
 * ranges on the buses and leaves it in its power-up state. destroy() accepts a half-built device.
 *
 * Threads. Unless a header says otherwise, everything here is called with the *VM lock* held (vm/ owns
 * it): register accesses from vCPU threads, timers from the loop, back-end events. A device never takes
 * the VM lock itself and never sleeps for the guest.
 *
 * Saved state. One state() function both saves and loads (state/state.h); it is called with every vCPU parked, board
 * time standing still and the device paused, and does nothing but name fields: it may leave an impossible device behind.
 * loaded() comes after the state() of *all* devices, with the device still paused: it checks every field as if a hostile
 * hand had written it, then arms timers and drives lines again, as they were; a line has its saved level already, so
 * driving it to the same level makes no edge. If it fails the device is destroyed, nothing else. Board time goes on from where it
 * was saved, so a field may hold a board time. A device of the file that is not in the machine, or the other way
 * round, is an error. A class without state() cannot be saved, and says so.
 */
#ifndef LODGE_BOARD_DEVICE_H
#define LODGE_BOARD_DEVICE_H

#include <pthread.h>

#include "util/base.h"
#include "util/err.h"
#include "util/text.h"

struct bus;
struct irq_router;
struct loop;
struct gmem;
struct device;
struct state;

struct dev_class {
	const char *name; /* "uart" */
	const char *help; /* one line */
	void (*destroy)(struct device *d);
	void (*reset)(struct device *d);  /* to the power-up state, as after board reset */
	void (*pause)(struct device *d);  /* emits no work, holds new work; may be NULL */
	void (*resume)(struct device *d); /* may be NULL */
	/* Saves or loads: 0 or -errno, which is state_error(). NULL: it cannot be saved. */
	int (*state)(struct device *d, struct state *s);
	/* Validates what was loaded, and takes it into effect. 0, or -EINVAL with a sentence. NULL: nothing to do. */
	int (*loaded)(struct device *d, struct err *e);
	void (*dump)(const struct device *d, struct text *t);
};

/* First member of each device's struct. */
struct device {
	const struct dev_class *class;
	const char *id; /* static: "com1", "rtc" */
};

/* The class's calls; all accept NULL and missing callbacks. */
void device_destroy(struct device *d);
void device_reset(struct device *d);
void device_pause(struct device *d);
void device_resume(struct device *d);
/* NULL device: 0. A class that cannot be saved: -ENOTSUP, with a sentence that names it. */
int device_state(struct device *d, struct state *s);
int device_loaded(struct device *d, struct err *e);
/* Writes "id (class)\n" and the class's lines; returns the length wanted, as snprintf. */
int device_dump(const struct device *d, char *buf, size_t size);

/*
 * Time. The board's time is a monotonic count of nanoseconds, CLOCK_MONOTONIC or that less the time
 * the VM was paused: vm/ decides. Timers are one-shot; the implementer calls t->fn(t->arg), with the VM
 * lock held, once, at or after the deadline, unless cancelled or re-armed before. arm() of an armed timer
 * moves it; cancel() of an idle one does nothing. fn may arm the timer again.
 */
struct dev_timer {
	void (*fn)(void *arg); /* the device's */
	void *arg;
	bool armed;	      /* kept by the implementer, like the two below */
	uint64_t deadline_ns; /* board time */
	void *host;	      /* the implementer's own; NULL at first */
};

struct dev_clock {
	void *ctx;
	uint64_t (*now)(void *ctx); /* board time, ns. Any thread */
	int64_t (*wall)(void *ctx); /* CLOCK_REALTIME, ns since 1970, UTC */
	void (*arm)(void *ctx, struct dev_timer *t, uint64_t deadline_ns);
	/* Also frees t->host, if any: devices call it last thing. */
	void (*cancel)(void *ctx, struct dev_timer *t);
};

static inline uint64_t dev_now(const struct dev_clock *c)
{
	return c->now(c->ctx);
}

/* a * b / c without overflow of the product; c != 0. The quotient must fit. */
static inline uint64_t dev_muldiv(uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)((unsigned __int128)a * b / c);
}

/*
 * A register whose writes are only a signal: the guest rings it, fn(arg) is called soon after on the loop thread, without the
 * VM lock. Several writes may become one call. The engine may take such a write without asking the board (KVM: ioeventfd);
 * the device's own write handler must do the same, for engines that do not. Owned by the device, in place while added.
 */
struct dev_doorbell {
	uint64_t gpa;
	unsigned size; /* bytes written: 1, 2, 4, 8; 0: any */
	bool match;    /* only writes of this value */
	uint64_t value;
	void (*fn)(void *arg);
	void *arg;
	void *host; /* the implementer's own; NULL at first */
};

/* What a device can ask of the machine as a whole. */
enum dev_request {
	DEV_REQ_RESET,	    /* board reset: i8042, 0xcf9, port 0x92 */
	DEV_REQ_POWEROFF,   /* ACPI S5 */
	DEV_REQ_PANIC,	    /* the guest's kernel has panicked */
	DEV_REQ_DEBUG_EXIT, /* test guests: `code` is what they wrote */
};

/* Shared by all devices of one board; outlives them. */
struct dev_env {
	struct bus *ports; /* port space, 0..0xffff */
	struct bus *mmio;  /* guest physical space outside of RAM */
	struct irq_router *irq;
	struct gmem *mem; /* may be NULL in tests */
	struct dev_clock clock;
	bool split_rings;      /* virtio devices offer no packed ones */
	struct loop *loop;     /* where virtio queues are served; NULL: there are none */
	pthread_mutex_t *lock; /* the VM lock, for work on the loop; NULL in tests without threads */
	/* VM lock held, or nothing runs yet; remove: the call does not come any more. add may refuse (-errno): the write handler
	 * gets the writes then. NULL: none. */
	int (*doorbell_add)(void *ctx, struct dev_doorbell *db);
	void (*doorbell_remove)(void *ctx, struct dev_doorbell *db);
	void *doorbell_ctx;
	/* Called on the thread that hit it, VM lock held: note it down and act later. May be NULL. */
	void (*request)(void *ctx, enum dev_request what, uint32_t code);
	void *request_ctx;
};

static inline void dev_request(const struct dev_env *env, enum dev_request what, uint32_t code)
{
	if (env->request)
		env->request(env->request_ctx, what, code);
}

#endif
