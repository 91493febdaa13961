/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the self-check: is the machine that this Linux sees the one that was asked for?
 *
 * Kernel, processor (what it calls itself, and which level of the x86-64 psABI it has, for tests of CPU models), processors (each one runs us), memory (the firmware's map, to the page), the clock (never steps
 * back, on one CPU or across them; sleeps take the time they should), and 64 MiB of data written to a file
 * in memory and read back twice, by read and by mapping. One row each, then the verdict line
 * "lodge-check: TOKEN pass" or "... fail". The token comes from the host, so that no other text on the
 * console can be taken for a verdict.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define CLOCK_READINGS 50000u /* on each CPU */
#define CLOCK_THREADS_MAX 16u
#define SLEEPS 10u
#define SLEEP_NS (10 * NS_PER_MS)
#define SLEEP_MEDIAN_MAX_NS (200 * NS_PER_MS) /* a broken timer is later */
#define SLEEP_TRIES 20u			      /* a busy host may be late, but not always */

static bool row(bool ok, const char *what, const char *text)
{
	printf("  %-10s %-58s %s\n", what, text, ok ? "ok" : "FAIL");
	fflush(stdout);
	return ok;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static bool check_kernel(void)
{
	struct utsname u;
	char text[160];

	if (uname(&u))
		return row(false, "kernel", strerror(errno));
	snprintf(text, sizeof(text), "%.40s %.10s", u.release, u.machine);
	return row(!strcmp(u.sysname, "Linux") && !strcmp(u.machine, "x86_64"), "kernel", text);
}

/* Its own name, and how far it goes. */
static bool check_processor(void)
{
	static const char *const levels[] = {"below x86-64-v2", "x86-64-v2", "x86-64-v3",
					     "x86-64-v4"};
	uint32_t name[13] = {0};
	unsigned level = 0;
	char text[160];

	for (unsigned i = 0; i < 3; i++)
		__get_cpuid(0x80000002u + i, &name[4 * i], &name[4 * i + 1], &name[4 * i + 2],
			    &name[4 * i + 3]);
	__builtin_cpu_init();
	if (__builtin_cpu_supports("x86-64-v2"))
		level = 1;
	if (level == 1 && __builtin_cpu_supports("x86-64-v3"))
		level = 2;
	if (level == 2 && __builtin_cpu_supports("x86-64-v4"))
		level = 3;
	snprintf(text, sizeof(text), "%s: level %s", (const char *)name, levels[level]);
	return row(true, "processor", text);
}

static bool run_on(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set) && sched_getcpu() == (int)cpu;
}

static bool check_cpus(unsigned given)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned ran = 0, i;
	char text[160];

	for (i = 0; i < given; i++)
		ran += run_on(i);
	run_on(0);
	snprintf(text, sizeof(text), "%ld online, %u ran a program (%u given)", online, ran, given);
	return row(online == (long)given && ran == given, "cpus", text);
}

/* What the firmware's map (or the boot loader's) called RAM, less what the kernel cut out of it: in /proc/iomem the
 * top-level "System RAM" lines. Between the whole and 2 MiB less: the first MiB has holes, firmware takes some. */
static bool check_memory(unsigned long given_mib)
{
	FILE *f = fopen("/proc/iomem", "re");
	char line[256], text[160];
	uint64_t sum = 0, given = (uint64_t)given_mib << 20, start, end;
	unsigned long usable_kib = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (line[0] != ' ' && strstr(line, ": System RAM") &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2)
			sum += end - start + 1;
	}
	if (f)
		fclose(f);
	f = fopen("/proc/meminfo", "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemTotal: %lu kB", &usable_kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	snprintf(text, sizeof(text),
		 "%" PRIu64 " KiB in the map, %lu MiB for programs (%lu MiB given)", sum >> 10,
		 usable_kib >> 10, given_mib);
	return row(sum <= given && sum + (2u << 20) >= given && usable_kib / 1024 >= given_mib / 2,
		   "memory", text);
}

/* Shared by the clock threads: the latest time that any of them has seen. */
struct clock_race {
	_Atomic int64_t latest;
	_Atomic int64_t worst; /* largest step back, ns */
};

struct clock_thread {
	pthread_t thread;
	struct clock_race *race;
	unsigned cpu;
};

static void *clock_thread(void *arg)
{
	struct clock_thread *t = arg;
	unsigned i;

	run_on(t->cpu);
	for (i = 0; i < CLOCK_READINGS; i++) {
		int64_t before = atomic_load(&t->race->latest), now = now_ns(), seen;

		seen = atomic_load(&t->race->worst);
		while (before - now > seen &&
		       !atomic_compare_exchange_weak(&t->race->worst, &seen, before - now))
			;
		seen = before;
		while (seen < now && !atomic_compare_exchange_weak(&t->race->latest, &seen, now))
			;
	}
	return NULL;
}

static bool check_clock(unsigned cpus)
{
	struct clock_race race = {0};
	struct clock_thread t[CLOCK_THREADS_MAX];
	unsigned n = cpus < CLOCK_THREADS_MAX ? cpus : CLOCK_THREADS_MAX, i, started = 0;
	int64_t first = now_ns(), took;
	char text[160];

	for (i = 0; i < n; i++) {
		t[i] = (struct clock_thread){.race = &race, .cpu = i};
		if (pthread_create(&t[i].thread, NULL, clock_thread, &t[i]))
			break;
		started++;
	}
	for (i = 0; i < started; i++)
		pthread_join(t[i].thread, NULL);
	took = now_ns() - first;
	snprintf(text, sizeof(text),
		 "%u readings on %u CPUs, %" PRId64 " ns each, worst step back %" PRId64 " ns",
		 CLOCK_READINGS * started, started, took / CLOCK_READINGS, race.worst);
	return row(started == n && race.worst == 0 && took > 0, "clock", text);
}

static int compare_int64(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool check_sleep(void)
{
	int64_t took[SLEEPS];
	char text[160];
	unsigned i, tries = 0;

	do {
		for (i = 0; i < SLEEPS; i++) {
			struct timespec ts = {.tv_nsec = SLEEP_NS};
			int64_t start = now_ns();

			nanosleep(&ts, NULL);
			took[i] = now_ns() - start;
		}
		qsort(took, SLEEPS, sizeof(took[0]), compare_int64);
	} while (took[0] >= SLEEP_NS && took[SLEEPS / 2] > SLEEP_MEDIAN_MAX_NS &&
		 ++tries < SLEEP_TRIES);
	snprintf(text, sizeof(text), "%u of 10 ms took %.1f to %.1f ms, median %.1f", SLEEPS,
		 (double)took[0] / 1e6, (double)took[SLEEPS - 1] / 1e6,
		 (double)took[SLEEPS / 2] / 1e6);
	return row(took[0] >= SLEEP_NS && took[SLEEPS / 2] <= SLEEP_MEDIAN_MAX_NS, "sleep", text);
}

#define CHUNK_WORDS 8192u /* 64 KiB */
#define WINDOW_BYTES \
	(16u << 20) /* what is in the file at a time: small guests have no 64 MiB to spare */

static uint64_t next_random(uint64_t *x) /* xorshift64: any non-zero start */
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static uint64_t add_words(uint64_t sum, const uint64_t *w, size_t n)
{
	for (; n--; w++)
		sum = ((sum ^ *w) * UINT64_C(0x9e3779b97f4a7c15)) ^ (sum >> 29);
	return sum;
}

/* One window: written, then added to both sums as read and as mapped. */
static int checksum_window(int fd, uint64_t *x, uint64_t *by_read, uint64_t *by_map)
{
	static uint64_t chunk[CHUNK_WORDS];
	void *map;
	uint64_t i;
	size_t k;

	for (i = 0; i < WINDOW_BYTES; i += sizeof(chunk)) {
		for (k = 0; k < CHUNK_WORDS; k++)
			chunk[k] = next_random(x);
		if (pwrite(fd, chunk, sizeof(chunk), (off_t)i) != (ssize_t)sizeof(chunk))
			return -1;
	}
	for (i = 0; i < WINDOW_BYTES; i += sizeof(chunk)) {
		if (pread(fd, chunk, sizeof(chunk), (off_t)i) != (ssize_t)sizeof(chunk))
			return -1;
		*by_read = add_words(*by_read, chunk, CHUNK_WORDS);
	}
	map = mmap(NULL, WINDOW_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	*by_map = add_words(*by_map, map, WINDOW_BYTES / 8);
	munmap(map, WINDOW_BYTES);
	return 0;
}

int checksum_file(const char *dir, uint64_t bytes, uint64_t *sum)
{
	char path[256];
	uint64_t x = UINT64_C(0x1234567887654321), by_read = 0, i;
	int fd;

	snprintf(path, sizeof(path), "%s/checksum.XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		return -1;
	}
	unlink(path);
	*sum = 0;
	for (i = 0; i < bytes; i += WINDOW_BYTES) {
		if (checksum_window(fd, &x, &by_read, sum)) {
			perror(path);
			close(fd);
			return -1;
		}
	}
	close(fd);
	if (*sum == by_read)
		return 0;
	printf("checksum by read %016" PRIx64 ", by mapping %016" PRIx64 "\n", by_read, *sum);
	return -1;
}

static bool check_checksum(void)
{
	uint64_t sum = 0;
	int64_t start = now_ns();
	bool ok = !checksum_file("/tmp", CHECKSUM_BYTES, &sum) && sum == CHECKSUM_64M;
	char text[160];

	snprintf(text, sizeof(text), "64 MiB written, read and mapped: %016" PRIx64 ", %.1f s", sum,
		 (double)(now_ns() - start) / 1e9);
	return row(ok, "checksum", text);
}

int check_main(int argc, char **argv)
{
	unsigned cpus;
	unsigned long mib;
	bool ok = true;

	if (argc != 4) {
		fprintf(stderr, "usage: lodge-guest check TOKEN CPUS MIB\n");
		return 2;
	}
	cpus = (unsigned)strtoul(argv[2], NULL, 10);
	mib = strtoul(argv[3], NULL, 10);
	ok &= check_kernel();
	ok &= check_processor();
	ok &= check_cpus(cpus);
	ok &= check_memory(mib);
	ok &= check_clock(cpus);
	ok &= check_sleep();
	ok &= check_checksum();
	printf("lodge-check: %s %s realtime %lld\n", argv[1], ok ? "pass" : "fail",
	       (long long)time(NULL));
	fflush(stdout);
	return ok ? 0 : 1;
}
