/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus.c - lodge-litmus: the commands, and what the tests share. See litmus.h.
 *
 *   run [PERCENT [GROUP]]  all tests, or those of "order", "lock" or "code"; the last line is "litmus: pass" or
 *                          "litmus: FAIL"; exit status 0 or 1
 *   data BYTES             a file to compress, the same everywhere: random bytes, text and zeros in turn
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "litmus.h"

#define THREADS_MAX 4u
#define ROW_SECONDS_MAX 15 /* with a processor for each: 2 */

static struct line meet[2];
static pthread_barrier_t sleeping;
static uint64_t total;
static double row_start;

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t litmus_random(uint64_t *x) /* xorshift64: any start but 0 */
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* ---- threads ---- */

struct thread {
	pthread_t id;
	void (*fn)(unsigned me);
	unsigned me;
};

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(t->me % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	t->fn(t->me);
	return NULL;
}

void litmus_threads(unsigned n, void (*fn)(unsigned me))
{
	struct thread t[THREADS_MAX];

	meet[0].v = meet[1].v = 0;
	pthread_barrier_init(&sleeping, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		t[i] = (struct thread){.fn = fn, .me = i};
		if (pthread_create(&t[i].id, NULL, thread_main, &t[i])) {
			perror("lodge-litmus: pthread_create");
			exit(1);
		}
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i].id, NULL);
	pthread_barrier_destroy(&sleeping);
}

void litmus_wait(unsigned n)
{
	(void)n;
	pthread_barrier_wait(&sleeping);
}

void litmus_meet(unsigned me, uint64_t n, unsigned skew)
{
	__atomic_store_n(&meet[me].v, n, __ATOMIC_SEQ_CST);
	/* One that is not run just now is waited for politely. */
	for (unsigned spins = 0; __atomic_load_n(&meet[!me].v, __ATOMIC_ACQUIRE) < n;) {
		if (++spins > 1000)
			__builtin_ia32_pause();
		if (spins == 100000) {
			sched_yield();
			spins = 0;
		}
	}
	while (skew--)
		barrier();
}

/* ---- output ---- */

bool litmus_late(void)
{
	return seconds() - row_start > ROW_SECONDS_MAX;
}

unsigned litmus_row(const char *name, uint64_t iterations, uint64_t forbidden, const char *note)
{
	double now = seconds();

	printf("  %-24s %9" PRIu64 "  %-42s %6.1f s  %s\n", name, iterations, note, now - row_start,
	       forbidden ? "FAIL" : "ok");
	if (forbidden)
		printf("    %" PRIu64 " times what may not be\n", forbidden);
	fflush(stdout);
	row_start = now;
	total += iterations;
	return forbidden != 0;
}

static int run(unsigned percent, const char *group)
{
	static const struct {
		const char *name;
		unsigned (*fn)(unsigned percent);
	} groups[] = {{"order", order_tests}, {"lock", lock_tests}, {"code", code_tests}};
	unsigned bad = 0;

	row_start = seconds();
	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (!group || !strcmp(group, groups[i].name))
			bad += groups[i].fn(percent);
	printf("litmus: %" PRIu64 " iterations, %ld CPUs\n", total, sysconf(_SC_NPROCESSORS_ONLN));
	printf("litmus: %s\n", bad ? "FAIL" : "pass");
	return bad != 0;
}

static int data(uint64_t bytes)
{
	static const char text[] = "The quick brown fox jumps over the lazy dog. 0123456789\n";
	uint64_t x = 88172645463325252u;
	char block[4096];

	for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
		unsigned kind = litmus_random(&x) % 4;

		memset(block, 0, sizeof(block));
		for (size_t i = 0; i < sizeof(block) && kind; i++) {
			uint64_t r = litmus_random(&x);

			if (kind == 1)
				block[i] = (char)r;
			else if (kind == 2)
				block[i] = text[(i + (r % 97 == 0)) % (sizeof(text) - 1)];
			else
				block[i] = (char)('a' + r % 7 * (r >> 8 & 3));
		}
		if (fwrite(block, 1, sizeof(block), stdout) != sizeof(block)) {
			perror("lodge-litmus: data");
			return 1;
		}
	}
	return fflush(stdout) != 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "run"))
		return run(argc > 2 ? (unsigned)atoi(argv[2]) : 100, argc > 3 ? argv[3] : NULL);
	if (argc == 3 && !strcmp(argv[1], "data"))
		return data(strtoull(argv[2], NULL, 0));
	fprintf(stderr, "usage: lodge-litmus run [PERCENT [GROUP]] | data BYTES\n");
	return 2;
}
