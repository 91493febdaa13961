/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the host's time in nanoseconds, and the frequency of its time stamp counter.
 */
#ifndef LODGE_UTIL_CLOCK_H
#define LODGE_UTIL_CLOCK_H

#include "util/base.h"

#define CLOCK_NS_PER_S UINT64_C(1000000000)
#define CLOCK_NS_PER_MS UINT64_C(1000000)
#define CLOCK_NS_PER_US UINT64_C(1000)

/* CLOCK_MONOTONIC: for deadlines and intervals. Any thread. */
uint64_t clock_ns(void);
/* CLOCK_REALTIME since 1970 (UTC): for wall clocks and people. */
uint64_t clock_realtime_ns(void);
uint64_t clock_process_cpu_ns(void); /* CPU time of all threads of this process */
/* The processor's time stamp counter now. */
uint64_t clock_tsc(void);

/*
 * Frequency of the host's TSC in kHz, never 0. Found once, by the first of these that answers:
 * CPUID 0x15/0x16, the hypervisor's timing leaf (CPUID 0x40000010), the kernel's own factor as
 * shown in a perf event's mmap page (invariant TSCs), a measurement over 10 ms or more. Better than 100 ppm. Any thread;
 * the first call may take what is left of 10 ms since clock_tsc_begin().
 */
uint32_t clock_tsc_khz(void);
/* All of that but the measurement, whose first end is read: for the start of a process that will want the frequency later, and
 * before it locks itself in. Any thread. */
void clock_tsc_begin(void);
/* Where that came from: "cpuid-15h", "hypervisor", "kernel" or "measured". */
const char *clock_tsc_source(void);
/* Does the host say that its TSC runs at one speed in all states (CPUID 0x80000007 EDX bit 8)? */
bool clock_tsc_invariant(void);

#endif
