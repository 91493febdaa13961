/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.c - one thread per vCPU, and how they sleep, wake and pause.
 *
 * Theory of operation. A vCPU's thread calls engine->run() over and over. What others want of it arrives in
 * three ways, none of which it polls for:
 *   - set->want says what all vCPUs shall do: RUN, PAUSE, QUIT. Written under set->lock, read without.
 *   - v->req holds what is meant for this one: INIT, SIPI and its vector, NMI. An atomic word.
 *   - host->irq_pending() is the local APIC's word on maskable interrupts.
 * Who changes one of these then calls engine->kick(), which makes a running vCPU look, and wake(), which
 * ends a sleep. A kick is sticky, so it does not matter whether the vCPU is just about to enter run().
 *
 * Sleep without polling and without a lost wake-up: the sleeper stores asleep = 1, then looks at all three
 * sources, then waits on the futex while it is still 1. The waker changes a source first and exchanges
 * asleep with 0 after that. Both sides are sequentially consistent, so at least one of them sees the other.
 * A halted vCPU whose APIC timer is armed waits with that deadline and delivers the timer itself.
 *
 * Interrupts off. irq_pending() does not know RFLAGS.IF. A guest that halts with IF clear (a processor put
 * aside, the end of a panic) would wake for each pending interrupt and halt again, for ever; so the thread
 * looks at IF once a halt and then sleeps for NMI, INIT and requests only.
 *
 * An engine that has interrupt controllers of its own (engine.h) sleeps and waits for INIT and SIPI inside of run(): of
 * the above only `want` is left, and the phases are RUNNING and PARKED.
 *
 * Pause barrier. vcpu_set_pause() sets want and waits on `parked` until every thread counted itself in. A
 * vCPU thread must therefore never wait for the loop thread: device code that needs the loop posts work.
 */
#include "vm/vcpu.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

#define REQ_LOOK 0x1u /* run again: something is waiting in the engine */
#define REQ_INIT 0x2u
#define REQ_SIPI 0x4u
#define REQ_VECTOR_SHIFT 8
#define REQ_SAVED (REQ_INIT | REQ_SIPI | 0xffu << REQ_VECTOR_SHIFT)

enum want { WANT_RUN, WANT_PAUSE, WANT_QUIT };

struct vcpu {
	struct vcpu_set *set;
	struct engine_vcpu *ev;
	unsigned index;
	pthread_t thread;
	bool started;	/* thread is valid; loop thread */
	bool wait_sipi; /* own thread while it runs, else the loop thread */
	bool stopped;	/* triple fault or error: never enters the engine again; own thread */

	uint32_t req;	      /* REQ_*, atomic */
	uint32_t asleep;      /* futex: 1 while the thread sleeps or is about to; atomic */
	uint32_t phase;	      /* enum vcpu_phase, atomic; written by its own thread */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none; atomic */
	uint64_t n_runs, n_halts, n_wakes; /* written by its own thread, read relaxed */
} __attribute__((aligned(64)));

struct vcpu_set {
	const struct engine_class *cls;
	struct engine *en;
	const struct engine_host *host;
	const struct vcpu_owner *owner;
	unsigned n;
	struct vcpu *vcpu;

	pthread_mutex_t lock;	   /* innermost: nothing is taken and no owner called under it */
	pthread_cond_t parked;	   /* n_parked or n_gone went up */
	pthread_cond_t go;	   /* want changed */
	uint32_t want;		   /* enum want; written under lock, read atomically */
	unsigned n_parked, n_gone; /* under lock */
	uint32_t n_dead;	   /* vCPUs DEAD or WAITING, atomic */
};

const char *const vcpu_phase_names[] = {
	[VCPU_PARKED] = "parked", [VCPU_RUNNING] = "running", [VCPU_ASLEEP] = "asleep",
	[VCPU_DEAD] = "dead",	  [VCPU_WAITING] = "waiting", [VCPU_GONE] = "gone",
	[VCPU_PHASES] = NULL,
};
_Static_assert(ARRAY_SIZE(vcpu_phase_names) == VCPU_PHASES + 1, "a name for each phase");

#define load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
#define count(p) __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED)

/* Waits while *word is 1, until the deadline if there is one. False: it has come. */
static bool futex_wait(uint32_t *word, uint64_t deadline_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
			      .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)};

	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 1,
		       deadline_ns ? &ts : NULL, NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||
	       errno != ETIMEDOUT;
}

static void wake(struct vcpu *v)
{
	if (__atomic_exchange_n(&v->asleep, 0, __ATOMIC_SEQ_CST))
		(void)syscall(SYS_futex, &v->asleep, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL,
			      0);
}

/* Is there a reason not to sleep? `irqs`: a maskable interrupt is one. */
static bool has_work(struct vcpu *v, bool irqs)
{
	struct vcpu_set *s = v->set;
	uint32_t mask = v->wait_sipi ? REQ_INIT | REQ_SIPI : ~0u;

	if (load(&s->want) != WANT_RUN)
		return true;
	if (v->stopped)
		return false;
	return (load(&v->req) & mask) || (irqs && s->host->irq_pending(s->host->ctx, v->index));
}

/* Sleeps in the given phase until has_work(). */
static void nap(struct vcpu *v, enum vcpu_phase phase)
{
	struct vcpu_set *s = v->set;
	bool dead = phase != VCPU_ASLEEP;
	bool told = false;
	uint64_t due;

	store(&v->phase, (uint32_t)phase);
	if (dead)
		told = __atomic_add_fetch(&s->n_dead, 1, __ATOMIC_SEQ_CST) != s->n || v->stopped;
	for (;;) {
		store(&v->asleep, 1);
		if (has_work(v, !dead))
			break;
		if (dead && !told) {
			told = true; /* after the look for work: somebody may just have woken us */
			s->owner->all_dead(s->owner->ctx);
			continue;
		}
		due = dead ? 0 : load(&v->deadline_ns);
		while (load(&v->asleep) && futex_wait(&v->asleep, due))
			;
		if (load(&v->asleep)) {
			__atomic_compare_exchange_n(&v->deadline_ns, &due, 0, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
			s->owner->deadline(s->owner->ctx, v->index);
			continue;
		}
		count(&v->n_wakes);
	}
	store(&v->asleep, 0);
	if (dead)
		__atomic_sub_fetch(&s->n_dead, 1, __ATOMIC_SEQ_CST);
	else
		s->cls->kick(v->ev,
			     false); /* the engine shall look at interrupts, whoever woke us */
	store(&v->phase, VCPU_RUNNING);
}

/* Waits while the set is paused. False: the thread shall end. */
static bool park(struct vcpu *v)
{
	struct vcpu_set *s = v->set;
	bool go_on;

	pthread_mutex_lock(&s->lock);
	store(&v->phase, VCPU_PARKED);
	s->n_parked++;
	pthread_cond_broadcast(&s->parked);
	while (s->want == WANT_PAUSE)
		pthread_cond_wait(&s->go, &s->lock);
	s->n_parked--;
	go_on = s->want == WANT_RUN;
	store(&v->phase, go_on ? VCPU_RUNNING : VCPU_GONE);
	if (!go_on) {
		s->n_gone++;
		pthread_cond_broadcast(&s->parked);
	}
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void stop(struct vcpu *v, enum vcpu_stop why, const char *text)
{
	const struct vcpu_owner *o = v->set->owner;

	v->stopped = true;
	o->stopped(o->ctx, v->index, why, text);
}

/* INIT, and after it the start-up IPI (SDM vol. 3 §9.4). */
static void apply_requests(struct vcpu *v)
{
	struct vcpu_set *s = v->set;
	uint32_t req = __atomic_exchange_n(&v->req, 0, __ATOMIC_SEQ_CST);
	struct x86_state st;

	if (!(req & REQ_INIT) && !((req & REQ_SIPI) && v->wait_sipi))
		return;
	s->cls->get_state(v->ev, X86_STATE_ALL, &st);
	if (req & REQ_INIT) {
		x86_state_init(&st, v->index == 0);
		s->owner->init(s->owner->ctx, v->index);
		v->wait_sipi = st.ev.wait_for_sipi;
	}
	if ((req & REQ_SIPI) && v->wait_sipi) {
		x86_state_sipi(&st, (uint8_t)(req >> REQ_VECTOR_SHIFT));
		v->wait_sipi = false;
	}
	if (s->cls->set_state(v->ev, X86_STATE_ALL, &st) < 0)
		stop(v, VCPU_STOP_ERROR, "the engine refused the state after INIT");
}

static void halted(struct vcpu *v)
{
	struct x86_state st;

	count(&v->n_halts);
	v->set->cls->get_state(v->ev, X86_STATE_GPR, &st);
	nap(v, st.rflags & X86_IF ? VCPU_ASLEEP : VCPU_DEAD);
}

/* CPU time of this process when a vCPU ran for the first time; 0: none has. Atomic. */
static uint64_t first_run_cpu_ns;

uint64_t vcpu_first_run_cpu_ns(void)
{
	return __atomic_load_n(&first_run_cpu_ns, __ATOMIC_RELAXED);
}

static void note_first_run(void)
{
	uint64_t none = 0;

	if (!vcpu_first_run_cpu_ns())
		(void)__atomic_compare_exchange_n(&first_run_cpu_ns, &none, clock_process_cpu_ns(),
						  false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void *thread_main(void *arg)
{
	struct vcpu *v = arg;
	struct vcpu_set *s = v->set;
	struct engine_exit exit;
	struct err e = {0};
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->index);
	(void)pthread_setname_np(pthread_self(), name);
	/* seccomp vm: prctl arg0=PR_SET_TIMERSLACK/PR_SET_NAME */
	(void)prctl(PR_SET_TIMERSLACK, 1); /* ns: a sleep until the deadline ends then */
	store(&v->phase, VCPU_RUNNING);
	if (s->cls->vcpu_attach(v->ev, &e) < 0)
		stop(v, VCPU_STOP_ERROR, e.msg);
	for (;;) {
		if (load(&s->want) != WANT_RUN && !park(v))
			return NULL;
		if (v->stopped) {
			nap(v, VCPU_DEAD);
			continue;
		}
		if (load(&v->req)) {
			apply_requests(v);
			continue;
		}
		if (v->wait_sipi) {
			nap(v, VCPU_WAITING);
			continue;
		}
		if (!v->n_runs)
			note_first_run();
		count(&v->n_runs);
		exit.why[0] = '\0';
		s->cls->run(v->ev, &exit);
		switch (exit.reason) {
		case ENGINE_EXIT_KICK: break;
		case ENGINE_EXIT_HALT: halted(v); break;
		case ENGINE_EXIT_SHUTDOWN: stop(v, VCPU_STOP_TRIPLE_FAULT, "triple fault"); break;
		case ENGINE_EXIT_ERROR: stop(v, VCPU_STOP_ERROR, exit.why); break;
		}
	}
}

int vcpu_set_create(struct vcpu_set **out, const struct engine_class *cls, struct engine *en,
		    const struct engine_host *host, const struct vcpu_owner *owner, unsigned n,
		    struct err *e)
{
	struct vcpu_set *s = calloc(1, sizeof(*s));
	struct x86_state st;
	int r = 0;

	*out = NULL;
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->parked, NULL);
	pthread_cond_init(&s->go, NULL);
	s->cls = cls;
	s->en = en;
	s->host = host;
	s->owner = owner;
	s->want = WANT_PAUSE;
	s->vcpu = aligned_alloc(_Alignof(struct vcpu), n * sizeof(*s->vcpu));
	if (!s->vcpu) {
		r = err_set(e, ENOMEM, "out of memory for %u vCPUs", n);
		goto fail;
	}
	for (unsigned i = 0; i < n; i++)
		s->vcpu[i] = (struct vcpu){.set = s, .index = i, .phase = VCPU_PARKED};
	s->n = n;
	for (unsigned i = 0; i < n; i++) {
		r = cls->vcpu_create(en, i, &s->vcpu[i].ev, e);
		if (r < 0)
			goto fail;
		x86_state_reset(&st, i == 0);
		r = vcpu_set_state(s, i, X86_STATE_ALL, &st);
		if (r < 0) {
			r = err_set(e, -r, "the %s engine refused the power-up state", cls->name);
			goto fail;
		}
	}
	*out = s;
	return 0;
fail:
	vcpu_set_destroy(s);
	return r;
}

static void set_want(struct vcpu_set *s, enum want want)
{
	pthread_mutex_lock(&s->lock);
	if (s->want != WANT_QUIT)
		store(&s->want, (uint32_t)want);
	pthread_cond_broadcast(&s->go);
	pthread_mutex_unlock(&s->lock);
	if (want == WANT_RUN)
		return;
	for (unsigned i = 0; i < s->n; i++) {
		if (!s->vcpu[i].ev)
			continue; /* half-built */
		s->cls->kick(s->vcpu[i].ev, true);
		wake(&s->vcpu[i]);
	}
}

void vcpu_set_stop(struct vcpu_set *s)
{
	set_want(s, WANT_QUIT);
	for (unsigned i = 0; i < s->n; i++) {
		if (!s->vcpu[i].started)
			continue;
		pthread_join(s->vcpu[i].thread, NULL);
		s->vcpu[i].started = false;
	}
}

void vcpu_set_destroy(struct vcpu_set *s)
{
	if (!s)
		return;
	vcpu_set_stop(s);
	for (unsigned i = 0; i < s->n; i++)
		if (s->vcpu[i].ev)
			s->cls->vcpu_destroy(s->vcpu[i].ev);
	pthread_cond_destroy(&s->go);
	pthread_cond_destroy(&s->parked);
	pthread_mutex_destroy(&s->lock);
	free(s->vcpu);
	free(s);
}

int vcpu_set_start(struct vcpu_set *s, bool paused, struct err *e)
{
	if (!paused)
		set_want(s, WANT_RUN);
	for (unsigned i = 0; i < s->n; i++) {
		int r = pthread_create(&s->vcpu[i].thread, NULL, thread_main, &s->vcpu[i]);

		if (r)
			return err_errno(e, r, "cannot start the thread of vCPU %u", i);
		s->vcpu[i].started = true;
	}
	return 0;
}

void vcpu_set_ask_pause(struct vcpu_set *s)
{
	set_want(s, WANT_PAUSE);
}

void vcpu_set_pause(struct vcpu_set *s)
{
	unsigned started = 0;

	for (unsigned i = 0; i < s->n; i++)
		started += s->vcpu[i].started;
	set_want(s, WANT_PAUSE);
	pthread_mutex_lock(&s->lock);
	while (s->n_parked + s->n_gone < started)
		pthread_cond_wait(&s->parked, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void vcpu_set_resume(struct vcpu_set *s)
{
	set_want(s, WANT_RUN);
}

void vcpu_get_state(struct vcpu_set *s, unsigned i, uint64_t mask, struct x86_state *st)
{
	s->cls->get_state(s->vcpu[i].ev, mask, st);
}

int vcpu_set_state(struct vcpu_set *s, unsigned i, uint64_t mask, const struct x86_state *st)
{
	int r = s->cls->set_state(s->vcpu[i].ev, mask, st);

	/* An engine with its own interrupt controllers waits inside of run(). */
	if (r == 0 && (mask & X86_STATE_EVENTS) && !s->cls->irqchip)
		s->vcpu[i].wait_sipi = st->ev.wait_for_sipi;
	return r;
}

struct engine_vcpu *vcpu_engine(struct vcpu_set *s, unsigned i)
{
	return s->vcpu[i].ev;
}

uint32_t vcpu_get_requests(struct vcpu_set *s, unsigned i)
{
	return load(&s->vcpu[i].req) & REQ_SAVED;
}

void vcpu_set_requests(struct vcpu_set *s, unsigned i, uint32_t requests)
{
	/* A look at what the engine has to deliver does no harm. */
	store(&s->vcpu[i].req, (requests & REQ_SAVED) | REQ_LOOK);
}

void vcpu_interrupt(struct vcpu_set *s, unsigned i)
{
	s->cls->kick(s->vcpu[i].ev, false);
	wake(&s->vcpu[i]);
}

void vcpu_set_deadline(struct vcpu_set *s, unsigned i, uint64_t host_ns)
{
	store(&s->vcpu[i].deadline_ns, host_ns);
}

/* Replaces the bits of `clear` in the request word by `set`, and makes the vCPU look. */
static void request(struct vcpu *v, uint32_t clear, uint32_t set)
{
	uint32_t old = __atomic_load_n(&v->req, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&v->req, &old, (old & ~clear) | set, true,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
	v->set->cls->kick(v->ev, true);
	wake(v);
}

void vcpu_look(struct vcpu_set *s, unsigned i)
{
	request(&s->vcpu[i], 0, REQ_LOOK);
}

void vcpu_nmi(struct vcpu_set *s, unsigned i)
{
	s->cls->nmi(s->vcpu[i].ev);
	request(&s->vcpu[i], 0, REQ_LOOK);
}

void vcpu_init(struct vcpu_set *s, unsigned i)
{
	request(&s->vcpu[i], ~REQ_LOOK, REQ_INIT);
}

void vcpu_sipi(struct vcpu_set *s, unsigned i, uint8_t vector)
{
	request(&s->vcpu[i], 0xffu << REQ_VECTOR_SHIFT,
		REQ_SIPI | ((uint32_t)vector << REQ_VECTOR_SHIFT));
}

void vcpu_stats(struct vcpu_set *s, unsigned i, struct vcpu_stats *out)
{
	struct vcpu *v = &s->vcpu[i];
	struct timespec ts;
	clockid_t clock;

	out->phase = (enum vcpu_phase)load(&v->phase);
	out->deadline_ns = load(&v->deadline_ns);
	out->n_runs = __atomic_load_n(&v->n_runs, __ATOMIC_RELAXED);
	out->n_halts = __atomic_load_n(&v->n_halts, __ATOMIC_RELAXED);
	out->n_wakes = __atomic_load_n(&v->n_wakes, __ATOMIC_RELAXED);
	out->cpu_ns = 0;
	if (v->started && out->phase != VCPU_GONE &&
	    pthread_getcpuclockid(v->thread, &clock) == 0 && clock_gettime(clock, &ts) == 0)
		out->cpu_ns = (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}
