/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpubench.c - lodge-cpubench: runs the tests, takes their times, prints a line a test.
 *
 * Theory of operation. Each test has a process of its own, so that one that crashes or hangs (SIGALRM ends
 * it) is a failure of that test only. In it the work is done several times over with the same amount; the
 * time is the median, by CLOCK_MONOTONIC, and the sums must be the same each time. Output:
 *
 *	NAME<TAB>NANOSECONDS<TAB>SUM        a result; SUM is to be compared with that of a native run
 *	cpubench: FAIL NAME: REASON         a test that did not come to a result
 *	cpubench: begin / cpubench: end NS  around it all, with the time that passed by our clock: the host can
 *	                                    compare it with its own
 *
 * With --procs N each run is done by N processes at once, each on a CPU of its own as far as there are so many,
 * and its time is that until all of them are done.
 *
 * The exit status is 0 when every test came to a result.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cpubench.h"

#define RUNS_MAX 15u
#define PROCS_MAX 16u
#define TEST_LIMIT_S 120u

/* The amounts are such that a native run takes about 30 ms, less where an emulator may be a
 * hundred times slower. */
static const struct bench benches[] = {
	{"int-loop", 15000000, NULL, int_loop_run, NULL},
	{"crc32", 150, crc32_prepare, crc32_run, NULL},
	{"sha256", 80, sha256_prepare, sha256_run, NULL},
	{"sse2-matmul", 50, matmul_prepare, matmul_run, NULL},
	{"fp-scalar", 120000, NULL, fp_scalar_run, NULL},
	{"x87", 24000, NULL, x87_run, NULL},
	{"memcpy-1m", 200, memcpy_prepare, memcpy_run, memcpy_check},
	{"rep-movsb", 240, memcpy_prepare, rep_movsb_run, memcpy_check},
	{"qsort", 40, qsort_prepare, qsort_run, NULL},
	{"chase-256k", 4000, chase_256k_prepare, chase_run, NULL},
	{"chase-64m", 100, chase_64m_prepare, chase_run, NULL},
	{"hash", 25, hash_prepare, hash_run, NULL},
	{"recursion", 400, NULL, recursion_run, NULL},
	{"switch", 6000, switch_prepare, switch_run, NULL},
	{"indirect", 200000, indirect_prepare, indirect_run, NULL},
	{"patch", 40000, patch_prepare, patch_run, NULL},
	{"getppid", 120000, NULL, getppid_run, NULL},
	{"page-fault", 120, NULL, page_fault_run, NULL},
	{"fork-exec", 30, NULL, fork_exec_run, NULL},
	{"pipe", 4000, NULL, pipe_run, NULL},
	{"tmpfs", 1000, NULL, tmpfs_run, NULL},
	{"signals", 8000, signals_prepare, signals_run, NULL},
	{"gzip", 12, gzip_prepare, gzip_run, gzip_check},
	{"shell", 12000, NULL, shell_run, NULL},
};
#define N_BENCHES (sizeof(benches) / sizeof(benches[0]))

struct options {
	unsigned scale; /* percent */
	unsigned runs, procs;
	bool best; /* the shortest run instead of the median */
};

struct bench_env bench_env = {.tmp = "/tmp", .busybox = "/bin/busybox"};
static const char *current = "";

int bench_fail(const char *what)
{
	printf("cpubench: %s: %s: %s\n", current, what, strerror(errno));
	return -1;
}

void *bench_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		bench_fail("mmap");
		return NULL;
	}
	madvise(p, bytes, MADV_NOHUGEPAGE); /* not offered by every kernel: then there are none */
	return p;
}

int bench_stay(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? bench_fail("sched_setaffinity") : 0;
}

uint64_t bench_mix_bytes(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t w;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&w, b, 8);
		sum = bench_mix(sum, w);
	}
	for (; n; n--, b++)
		sum = bench_mix(sum, *b);
	return sum;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int run_once(const struct bench *b, uint64_t turns, uint64_t *ns, uint64_t *sum)
{
	uint64_t start = now_ns();
	int r = b->run(turns, sum);

	*ns = now_ns() - start;
	return r ? r : b->check ? b->check(sum) : 0;
}

/* The i-th of --procs has the i-th CPU of those that we may use, over and over: the schedulers' balance of short-lived
 * processes is not what is measured. */
static void take_cpu(unsigned i)
{
	cpu_set_t all, one;
	unsigned cpu, skip;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	skip = i % (unsigned)CPU_COUNT(&all);
	for (cpu = 0; !CPU_ISSET(cpu, &all) || skip; cpu++)
		skip -= CPU_ISSET(cpu, &all) ? 1 : 0;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* One of --procs: says on `ready` that it is there, works when `go` is closed by all others, sends its sum. */
static void one_of_many(const struct bench *b, uint64_t turns, int ready, int go, int result)
{
	uint64_t sum = 0;
	char c = 0;

	if (write(ready, &c, 1) != 1 || read(go, &c, 1) != 0)
		_exit(1);
	if (b->run(turns, &sum) || write(result, &sum, sizeof(sum)) != sizeof(sum))
		_exit(1);
	_exit(0);
}

static int run_many(const struct bench *b, uint64_t turns, unsigned procs, uint64_t *ns,
		    uint64_t *sum)
{
	int ready[2], go[2], result[2], status, bad = 0;
	uint64_t start, s;
	unsigned i;
	char c;

	fflush(stdout);
	if (pipe(ready) || pipe(go) || pipe(result))
		return bench_fail("pipe");
	for (i = 0; i < procs; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return bench_fail("fork");
		if (!pid) {
			close(go[1]);
			take_cpu(i);
			one_of_many(b, turns, ready[1], go[0], result[1]);
		}
	}
	close(result[1]);
	close(go[0]);
	for (i = 0; i < procs; i++) {
		if (read(ready[0], &c, 1) != 1)
			return bench_fail("processes");
	}
	start = now_ns();
	close(go[1]);
	for (i = 0; i < procs; i++) {
		if (read(result[0], &s, sizeof(s)) != sizeof(s))
			return bench_fail("a process gave no result");
		bad |= i && s != *sum;
		*sum = s;
	}
	*ns = now_ns() - start;
	for (i = 0; i < procs; i++)
		wait(&status);
	close(ready[0]);
	close(ready[1]);
	close(result[0]);
	if (bad)
		printf("cpubench: %s: processes came to different sums\n", b->name);
	return bad ? -1 : 0;
}

/* In the test's own process. */
static int run_bench(const struct bench *b, const struct options *o)
{
	uint64_t turns = b->turns * o->scale / 100, ns[RUNS_MAX], sum = 0, s = 0;
	unsigned i;

	turns = turns ? turns : 1;
	if (b->prepare && b->prepare())
		return 1;
	for (i = 0; i < o->runs; i++) {
		if (o->procs > 1 ? run_many(b, turns, o->procs, &ns[i], &s) :
				   run_once(b, turns, &ns[i], &s))
			return 1;
		if (i && s != sum) {
			printf("cpubench: FAIL %s: run %u gave %016" PRIx64
			       " instead of %016" PRIx64 "\n",
			       b->name, i + 1, s, sum);
			return 1;
		}
		sum = s;
	}
	qsort(ns, o->runs, sizeof(ns[0]), compare_u64);
	printf("%s\t%" PRIu64 "\t%016" PRIx64 "\n", b->name, ns[o->best ? 0 : o->runs / 2], sum);
	return 0;
}

static bool run_apart(const struct bench *b, const struct options *o)
{
	int status;
	pid_t pid;

	current = b->name;
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		bench_fail("fork");
		return false;
	}
	if (!pid) {
		alarm(TEST_LIMIT_S);
		status = run_bench(b, o);
		fflush(stdout);
		_exit(status);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("cpubench: FAIL %s: ended by signal %d%s\n", b->name, WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
	else if (WEXITSTATUS(status))
		printf("cpubench: FAIL %s: exit status %d\n", b->name, WEXITSTATUS(status));
	fflush(stdout);
	return status == 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: lodge-cpubench [--scale PERCENT] [--runs N] [--best] [--procs N]\n"
			"                      [--tmp DIR] [--busybox PATH] [--list] [NAME...]\n");
	return 2;
}

static bool number(const char *text, unsigned max, unsigned *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*out = (unsigned)v;
	return *text >= '0' && *text <= '9' && !*end && v >= 1 && v <= max;
}

static bool wanted(const char *name, char **names, int n, bool *known)
{
	bool found = false;
	int i;

	for (i = 0; i < n; i++) {
		if (!strcmp(names[i], name))
			known[i] = found = true;
	}
	return found || !n;
}

static int run_all(char **names, int n, const struct options *o)
{
	bool todo[N_BENCHES], known[64] = {false}, ok = true;
	uint64_t start;
	size_t i;
	int k;

	if (n > 64)
		return usage();
	for (i = 0; i < N_BENCHES; i++)
		todo[i] = wanted(benches[i].name, names, n, known);
	for (k = 0; k < n; k++) {
		if (!known[k]) {
			fprintf(stderr, "lodge-cpubench: no test is called %s\n", names[k]);
			return 2;
		}
	}
	start = now_ns();
	printf("cpubench: begin\n");
	fflush(stdout);
	for (i = 0; i < N_BENCHES; i++) {
		if (todo[i])
			ok &= run_apart(&benches[i], o);
	}
	printf("cpubench: end %" PRIu64 "\n", now_ns() - start);
	fflush(stdout);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"scale", required_argument, NULL, 's'}, {"runs", required_argument, NULL, 'r'},
		{"best", no_argument, NULL, 'b'},	 {"procs", required_argument, NULL, 'p'},
		{"tmp", required_argument, NULL, 't'},	 {"busybox", required_argument, NULL, 'x'},
		{"list", no_argument, NULL, 'l'},	 {NULL, 0, NULL, 0},
	};
	struct options o = {.scale = 100, .runs = 3, .procs = 1};
	bool good = true;
	ssize_t n;
	size_t i;
	int c;

	if (argc == 2 && !strcmp(argv[1], BENCH_EXIT_ARG))
		_exit(BENCH_EXIT_STATUS);
	n = readlink("/proc/self/exe", bench_env.self, sizeof(bench_env.self) - 1);
	bench_env.self[n < 0 ? 0 : n] = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': good &= number(optarg, 100000, &o.scale); break;
		case 'r': good &= number(optarg, RUNS_MAX, &o.runs); break;
		case 'p': good &= number(optarg, PROCS_MAX, &o.procs); break;
		case 'b': o.best = true; break;
		case 't': bench_env.tmp = optarg; break;
		case 'x': bench_env.busybox = optarg; break;
		case 'l':
			for (i = 0; i < N_BENCHES; i++)
				printf("%s\n", benches[i].name);
			return 0;
		default: good = false;
		}
	}
	return good ? run_all(argv + optind, argc - optind, &o) : usage();
}
