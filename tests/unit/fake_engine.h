/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_engine.h - an engine for tests: its "guest" is a C function that the test gives.
 *
 * run() calls fake.guest(v, exit) once a run. The guest may call the host's table as instructions would, and
 * fake_idle() to run until somebody kicks. Each vCPU has a real x86_state behind get_state and set_state.
 * What begin() begins is done when open() or abandon() asks for it.
 * The test keeps `struct fake_engine_script fake` filled before the engine is opened.
 */
#ifndef LODGE_TESTS_FAKE_ENGINE_H
#define LODGE_TESTS_FAKE_ENGINE_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"

struct engine {
	struct engine_config cfg;
};

struct engine_begun {
	int kvm_fd;
};

struct engine_vcpu {
	struct engine *en;
	unsigned index;
	struct x86_state st;
	pthread_mutex_t lock;
	pthread_cond_t kicked;
	bool kick, kick_out, nmi;
	unsigned runs; /* of the guest; atomic */
};

struct fake_engine_script {
	void (*guest)(struct engine_vcpu *v, struct engine_exit *exit);
	int fail_open, fail_vcpu, fail_attach; /* errno; fail_vcpu: for the last vCPU */
	unsigned opened, closed;
	unsigned begun, taken, abandoned;
};
static struct fake_engine_script fake;

/* Runs "guest code" until a kick comes. True: the kick wants out. */
static inline bool fake_idle(struct engine_vcpu *v)
{
	bool out;

	pthread_mutex_lock(&v->lock);
	while (!v->kick && !v->kick_out)
		pthread_cond_wait(&v->kicked, &v->lock);
	out = v->kick_out;
	v->kick = v->kick_out = false;
	pthread_mutex_unlock(&v->lock);
	return out;
}

static inline unsigned fake_runs(struct engine_vcpu *v)
{
	return __atomic_load_n(&v->runs, __ATOMIC_SEQ_CST);
}

static struct engine_begun *fake_begin(int kvm_fd)
{
	struct engine_begun *b = calloc(1, sizeof(*b));

	b->kvm_fd = kvm_fd;
	fake.begun++;
	return b;
}

static void fake_abandon(struct engine_begun *b)
{
	if (b)
		fake.abandoned++;
	free(b);
}

static int fake_open(struct engine **out, const struct engine_config *cfg, struct err *e)
{
	if (cfg->begun)
		fake.taken++;
	free(cfg->begun);
	if (fake.fail_open)
		return err_set(e, fake.fail_open, "the fake engine does not open");
	*out = calloc(1, sizeof(**out));
	(*out)->cfg = *cfg;
	fake.opened++;
	return 0;
}

static void fake_close(struct engine *en)
{
	if (en)
		fake.closed++;
	free(en);
}

static int fake_vcpu_create(struct engine *en, unsigned index, struct engine_vcpu **out,
			    struct err *e)
{
	struct engine_vcpu *v;

	if (fake.fail_vcpu && index + 1 == en->cfg.n_vcpus)
		return err_set(e, fake.fail_vcpu, "the fake engine makes no vCPU %u", index);
	v = calloc(1, sizeof(*v));
	v->en = en;
	v->index = index;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->kicked, NULL);
	*out = v;
	return 0;
}

static void fake_vcpu_destroy(struct engine_vcpu *v)
{
	pthread_cond_destroy(&v->kicked);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static int fake_vcpu_attach(struct engine_vcpu *v, struct err *e)
{
	(void)v;
	return fake.fail_attach ? err_set(e, fake.fail_attach, "the fake engine does not attach") :
				  0;
}

static void fake_run(struct engine_vcpu *v, struct engine_exit *exit)
{
	exit->reason = ENGINE_EXIT_KICK;
	__atomic_add_fetch(&v->runs, 1, __ATOMIC_SEQ_CST);
	fake.guest(v, exit);
}

static void fake_kick(struct engine_vcpu *v, bool out)
{
	pthread_mutex_lock(&v->lock);
	v->kick = true;
	v->kick_out |= out;
	pthread_cond_signal(&v->kicked);
	pthread_mutex_unlock(&v->lock);
}

static void fake_nmi(struct engine_vcpu *v)
{
	pthread_mutex_lock(&v->lock);
	v->nmi = true;
	pthread_mutex_unlock(&v->lock);
	fake_kick(v, false);
}

static void fake_get_state(struct engine_vcpu *v, uint64_t mask, struct x86_state *s)
{
	(void)mask;
	*s = v->st;
}

static int fake_set_state(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s)
{
	(void)mask;
	v->st = *s;
	return 0;
}

static int fake_stats(struct engine *en, char *buf, size_t size)
{
	(void)en;
	return snprintf(buf, size, "fake.answer 42\n");
}

static const struct engine_class fake_engine_class = {
	.name = "fake",
	.help = "for tests",
	.begin = fake_begin,
	.abandon = fake_abandon,
	.open = fake_open,
	.close = fake_close,
	.vcpu_create = fake_vcpu_create,
	.vcpu_destroy = fake_vcpu_destroy,
	.vcpu_attach = fake_vcpu_attach,
	.run = fake_run,
	.kick = fake_kick,
	.nmi = fake_nmi,
	.get_state = fake_get_state,
	.set_state = fake_set_state,
	.stats = fake_stats,
};

#endif
