/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpubench.h - the program lodge-cpubench: classes of code, each with a fixed amount of work and a checked result.
 *
 * The same static binary runs natively and in a guest, so that a ratio of times compares the machine and
 * nothing else: baseline x86-64 only, no choice by CPUID in what is measured, no huge pages, no randomness.
 * A test is a struct bench; cpubench.c has the table and the clock.
 */
#ifndef LODGE_TESTS_CPUBENCH_H
#define LODGE_TESTS_CPUBENCH_H

#include <stddef.h>
#include <stdint.h>

struct bench {
	const char *name;
	uint64_t turns; /* amount of work at --scale 100, in units of the test's own */
	/* Called once, not timed, in the test's own process; may be NULL. 0, or -1 with a message printed. */
	int (*prepare)(void);
	/* Timed, several times: the same turns must give the same *sum. 0, or -1 with a message printed. */
	int (*run)(uint64_t turns, uint64_t *sum);
	/* Called after each run, not timed, adds to the sum what is dear to look at; may be NULL. */
	int (*check)(uint64_t *sum);
};

/* What the tests are told by the options. */
struct bench_env {
	const char *tmp;     /* a folder on tmpfs */
	const char *busybox; /* path of the program */
	char self[256];	     /* path of this program */
};
extern struct bench_env bench_env;

/* The argument with which fork-exec starts this program: it exits at once, with BENCH_EXIT_STATUS. */
#define BENCH_EXIT_ARG "--exit"
#define BENCH_EXIT_STATUS 7

/* Prints NAME: what failed, with errno's text. Always -1. */
int bench_fail(const char *what);
/* Zeroed pages of 4 KiB, never merged into huge ones: both sides then have the same number of them. NULL: failed. */
void *bench_pages(size_t bytes);
/* All of this process (and its children) on the CPU where it is now: no wake-ups across CPUs in what is timed. */
int bench_stay(void);

static inline uint64_t bench_random(uint64_t *x) /* xorshift64: any non-zero start */
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static inline uint64_t bench_mix(uint64_t sum, uint64_t v)
{
	return ((sum ^ v) * UINT64_C(0x9e3779b97f4a7c15)) ^ (sum >> 29);
}

uint64_t bench_mix_bytes(uint64_t sum, const void *p, size_t n);

/* int.c */
int int_loop_run(uint64_t turns, uint64_t *sum);
int crc32_prepare(void);
int crc32_run(uint64_t turns, uint64_t *sum);
int sha256_prepare(void);
int sha256_run(uint64_t turns, uint64_t *sum);
int qsort_prepare(void);
int qsort_run(uint64_t turns, uint64_t *sum);
int hash_prepare(void);
int hash_run(uint64_t turns, uint64_t *sum);

/* flow.c */
int recursion_run(uint64_t turns, uint64_t *sum);
int switch_prepare(void);
int switch_run(uint64_t turns, uint64_t *sum);
int indirect_prepare(void);
int indirect_run(uint64_t turns, uint64_t *sum);
int patch_prepare(void);
int patch_run(uint64_t turns, uint64_t *sum);

/* float.c */
int matmul_prepare(void);
int matmul_run(uint64_t turns, uint64_t *sum);
int fp_scalar_run(uint64_t turns, uint64_t *sum);
int x87_run(uint64_t turns, uint64_t *sum);

/* mem.c */
int memcpy_prepare(void);
int memcpy_run(uint64_t turns, uint64_t *sum);
int rep_movsb_run(uint64_t turns, uint64_t *sum);
int memcpy_check(uint64_t *sum);
int chase_256k_prepare(void);
int chase_64m_prepare(void);
int chase_run(uint64_t turns, uint64_t *sum);

/* os.c */
int getppid_run(uint64_t turns, uint64_t *sum);
int page_fault_run(uint64_t turns, uint64_t *sum);
int fork_exec_run(uint64_t turns, uint64_t *sum);
int pipe_run(uint64_t turns, uint64_t *sum);
int tmpfs_run(uint64_t turns, uint64_t *sum);
int signals_prepare(void);
int signals_run(uint64_t turns, uint64_t *sum);

/* prog.c */
int gzip_prepare(void);
int gzip_run(uint64_t turns, uint64_t *sum);
int gzip_check(uint64_t *sum);
int shell_run(uint64_t turns, uint64_t *sum);

#endif
