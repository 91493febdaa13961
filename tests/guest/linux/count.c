/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.c - counts and checks, for machines that are saved and restored while they do.
 *
 * One thread a processor, each pinned to its own, goes round after round: it changes every word of its memory and then finds the
 * sum of all words as it should be; carries a floating point and a vector value along in registers, and knows
 * at the end what they have to be; reads the clock, which no processor may see going back nor jump; sleeps now and then, so
 * that timers are on their way. Every round counts in a counter that all share. The first thread prints the count and ends
 * all when a line comes on standard input.
 */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define WORDS 16384u
#define JUMP_NS (UINT64_C(60) * 1000000000)
#define PRINT_EVERY 16u

typedef uint64_t vec __attribute__((vector_size(16)));

static struct {
	uint64_t last_ns; /* the latest time that anybody has read */
	uint64_t count;
	int stop;
	const char *bad;
} all;

struct worker {
	unsigned index;
	pthread_t thread;
	uint64_t rounds;
};

static void fail(const char *why)
{
	const char *none = NULL;

	__atomic_compare_exchange_n(&all.bad, &none, why, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	__atomic_store_n(&all.stop, 1, __ATOMIC_SEQ_CST);
}

static void look_at_clock(void)
{
	uint64_t before = __atomic_load_n(&all.last_ns, __ATOMIC_SEQ_CST), now;
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	if (now < before)
		fail("time went back");
	if (before && now - before > JUMP_NS)
		fail("time has jumped");
	while (before < now && !__atomic_compare_exchange_n(&all.last_ns, &before, now, 0,
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void look_at_input(uint64_t rounds)
{
	struct pollfd p = {.fd = 0, .events = POLLIN};

	if (rounds % PRINT_EVERY == 0) {
		printf("count %" PRIu64 "\n", rounds);
		fflush(stdout);
	}
	if (poll(&p, 1, 0) > 0)
		__atomic_store_n(&all.stop, 1, __ATOMIC_SEQ_CST);
}

static void step(double *d, vec *v)
{
	*d = *d * 0.999 + 1.0;
	*v = *v * 6364136223846793005u + 1442695040888963407u;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t *word = calloc(WORDS, sizeof(*word)), sum = 0;
	const struct timespec nap = {.tv_nsec = 1000000};
	vec v = {w->index, 1}, v2 = v;
	double d = w->index, d2 = d;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->index, &set);
	if (!word || sched_setaffinity(0, sizeof(set), &set))
		fail("cannot begin");
	while (!__atomic_load_n(&all.stop, __ATOMIC_SEQ_CST)) {
		uint64_t found = 0;

		for (unsigned i = 0; i < WORDS; i++) {
			uint64_t old = word[i];

			word[i] = old * 2862933555777941757u + i + w->rounds;
			sum += word[i] - old;
		}
		for (unsigned i = 0; i < WORDS; i++)
			found += *(volatile uint64_t *)&word[i];
		if (found != sum)
			fail("memory is not what was written");
		step(&d, &v);
		w->rounds++;
		__atomic_add_fetch(&all.count, 1, __ATOMIC_SEQ_CST);
		look_at_clock();
		if (w->rounds % 8 == w->index % 8)
			nanosleep(&nap, NULL);
		if (w->index == 0)
			look_at_input(w->rounds);
	}
	for (uint64_t i = 0; i < w->rounds; i++)
		step(&d2, &v2);
	if (d != d2 || memcmp(&v, &v2, sizeof(v)))
		fail("a register is not what it was");
	free(word);
	return NULL;
}

int count_main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	struct worker w[64] = {0};
	uint64_t rounds = 0;

	if (n < 1 || n > 64)
		return 2;
	for (unsigned i = 0; i < n; i++) {
		w[i].index = i;
		if (pthread_create(&w[i].thread, NULL, work, &w[i]))
			return 1;
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		rounds += w[i].rounds;
	}
	if (!all.bad && rounds != all.count)
		fail("the count is not the sum of the rounds");
	printf("count-%s %" PRIu64 " %s\n", all.bad ? "bad" : "ok", rounds, all.bad ? all.bad : "");
	return all.bad != NULL;
}
