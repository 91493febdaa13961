/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - time, and how fast the time stamp counter runs.
 *
 * The frequency of the TSC has several sources, each missing on some hosts:
 *  - CPUID 0x15 (SDM vol. 2 "CPUID", TSC/core crystal ratio): Intel since Skylake. ECX, the
 *    crystal, may be 0. 0x16 (base MHz) then gives a value that is too coarse for 100 ppm, unless
 *    it can be turned back into the crystal: crystal = base * EAX / EBX. The crystals that exist
 *    are known, so the near one is taken.
 *  - CPUID 0x40000010 EAX (the hypervisors' timing leaf): TSC kHz, when a hypervisor says so.
 *  - perf_event_open's mmap page: the kernel shows the factor that its own sched_clock uses
 *    (linux/perf_event.h: time_mult, time_shift): ns = cycles * mult >> shift, so that
 *    kHz = 10^6 * 2^shift / mult. It is so only where the TSC is invariant, and hardly ever in a virtual machine, whose sched_clock is the
 *    hypervisor's; and the first perf event of a host makes its kernel wait for all CPUs, 15 ms and more. So elsewhere it is not asked.
 *  - a measurement against CLOCK_MONOTONIC_RAW over 10 ms or more; each end is the tightest of several reads.
 *
 * A measurement need not be waited for: clock_tsc_begin() reads its first end.
 */
#include "util/clock.h"

#include <cpuid.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define CLOCK_MEASURE_NS (10 * CLOCK_NS_PER_MS)

static struct {
	pthread_once_t begun, found;
	uint32_t khz;
	const char *source;
	uint64_t tsc, raw_ns; /* the first end of the measurement */
} clock_tsc_info = {.begun = PTHREAD_ONCE_INIT, .found = PTHREAD_ONCE_INIT};

static uint64_t clock_read(clockid_t id)
{
	struct timespec ts;

	/* seccomp vm nat: clock_gettime - where the vDSO does not know the clock */
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_ns(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

uint64_t clock_realtime_ns(void)
{
	return clock_read(CLOCK_REALTIME);
}

uint64_t clock_process_cpu_ns(void)
{
	return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_tsc(void)
{
	return __rdtsc();
}

bool clock_tsc_invariant(void)
{
	uint32_t a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & BIT(8));
}

/* A TSC between 100 MHz and 10 GHz: what any source must say to be believed. */
static bool clock_khz_sane(uint64_t khz)
{
	return khz >= 100000 && khz <= 10000000;
}

static uint32_t clock_khz_cpuid(void)
{
	static const uint32_t crystal_hz[] = {19200000, 24000000, 25000000, 38400000};
	uint32_t den, num, hz, d, base_mhz, b, c, best = 0;
	uint64_t khz, guess;

	if (__get_cpuid_max(0, NULL) < 0x15)
		return 0;
	__cpuid_count(0x15, 0, den, num, hz, d);
	if (!den || !num)
		return 0;
	if (!hz && __get_cpuid_max(0, NULL) >= 0x16) {
		__cpuid_count(0x16, 0, base_mhz, b, c, d);
		guess = (uint64_t)(base_mhz & 0xffff) * 1000000 * den / num;
		for (unsigned i = 0; i < ARRAY_SIZE(crystal_hz); i++) {
			uint64_t off = guess > crystal_hz[i] ? guess - crystal_hz[i] :
							       crystal_hz[i] - guess;

			/* base_mhz is rounded to a MHz: within 0.2 % for any real frequency. */
			if (off < crystal_hz[i] / 500)
				best = crystal_hz[i];
		}
		hz = best;
	}
	if (!hz)
		return 0;
	khz = (uint64_t)hz * num / den / 1000;
	return clock_khz_sane(khz) ? (uint32_t)khz : 0;
}

static bool clock_in_vm(void)
{
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	return c & BIT(31);
}

static uint32_t clock_khz_hypervisor(void)
{
	uint32_t a, b, c, d, max;

	if (!clock_in_vm())
		return 0;
	__cpuid(0x40000000, max, b, c, d);
	if (max < 0x40000010 || max > 0x400000ff)
		return 0;
	__cpuid(0x40000010, a, b, c, d);
	return clock_khz_sane(a) ? a : 0;
}

static uint32_t clock_khz_perf(void)
{
	struct perf_event_attr attr;
	struct perf_event_mmap_page *page;
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
	_autoclose int fd = -1;
	uint64_t khz = 0;

	if (clock_in_vm() || !clock_tsc_invariant())
		return 0;
	memset(&attr, 0, sizeof(attr));
	attr.type = PERF_TYPE_SOFTWARE;
	attr.size = sizeof(attr);
	attr.config = PERF_COUNT_SW_DUMMY;
	attr.exclude_kernel = 1;
	attr.exclude_hv = 1;
	attr.disabled = 1;
	fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return 0;
	page = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return 0;
	/* cap_user_time: the kernel's sched_clock is the TSC and mult/shift are its factor. */
	if (page->cap_user_time && page->time_mult && page->time_shift < 40) {
		unsigned __int128 v = (unsigned __int128)1000000 << page->time_shift;

		khz = (uint64_t)((v + page->time_mult / 2) / page->time_mult);
	}
	munmap(page, page_size);
	return clock_khz_sane(khz) ? (uint32_t)khz : 0;
}

/* One pair (TSC, raw ns), the tightest of several tries. */
static void clock_pair(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t t0 = __rdtsc();
		uint64_t n = clock_read(CLOCK_MONOTONIC_RAW);
		uint64_t t1 = __rdtsc();

		if (t1 - t0 < best) {
			best = t1 - t0;
			*tsc = t0 + (t1 - t0) / 2;
			*ns = n;
		}
	}
}

static uint32_t clock_khz_measure(void)
{
	uint64_t t0 = clock_tsc_info.tsc, n0 = clock_tsc_info.raw_ns, t1, n1;
	uint64_t now = clock_read(CLOCK_MONOTONIC_RAW);
	unsigned __int128 khz;

	if (now - n0 < CLOCK_MEASURE_NS) {
		const struct timespec rest = {.tv_nsec = (long)(CLOCK_MEASURE_NS - (now - n0))};

		/* seccomp vm: nanosleep, clock_nanosleep */
		nanosleep(&rest, NULL);
	}
	clock_pair(&t1, &n1);
	if (n1 <= n0)
		return 0;
	khz = (unsigned __int128)(t1 - t0) * 1000000 / (n1 - n0);
	return khz <= UINT32_MAX ? (uint32_t)khz : 0;
}

static void clock_tsc_look(void)
{
	static const struct {
		const char *name;
		uint32_t (*find)(void);
	} sources[] = {
		{"cpuid-15h", clock_khz_cpuid},
		{"hypervisor", clock_khz_hypervisor},
		{"kernel", clock_khz_perf},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
		clock_tsc_info.khz = sources[i].find();
		clock_tsc_info.source = sources[i].name;
		if (clock_tsc_info.khz)
			return;
	}
	clock_pair(&clock_tsc_info.tsc, &clock_tsc_info.raw_ns);
}

static void clock_tsc_find(void)
{
	clock_tsc_begin();
	if (clock_tsc_info.khz)
		return;
	clock_tsc_info.khz = clock_khz_measure();
	clock_tsc_info.source = "measured";
	/* A clock that does not move: any non-zero value keeps divisions legal. */
	if (!clock_tsc_info.khz)
		clock_tsc_info.khz = 1000000;
}

void clock_tsc_begin(void)
{
	pthread_once(&clock_tsc_info.begun, clock_tsc_look);
}

uint32_t clock_tsc_khz(void)
{
	pthread_once(&clock_tsc_info.found, clock_tsc_find);
	return clock_tsc_info.khz;
}

const char *clock_tsc_source(void)
{
	clock_tsc_khz();
	return clock_tsc_info.source;
}
