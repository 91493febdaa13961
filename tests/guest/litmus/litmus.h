/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus.h - the program lodge-litmus: tests of what two processors see of each other's stores, to data and to code.
 *
 * One static program for the guest and for the host (where it must pass as well). Each test prints a row and returns
 * how many times something happened that may not.
 */
#ifndef LODGE_TESTS_LITMUS_H
#define LODGE_TESTS_LITMUS_H

#include <stdbool.h>
#include <stdint.h>

/* order.c: stores and loads; lock.c: locked instructions; code.c: code that is written and run. `percent` of
 * the usual number of iterations. */
unsigned order_tests(unsigned percent);
unsigned lock_tests(unsigned percent);
unsigned code_tests(unsigned percent);

/* ---- litmus.c ---- */

/* A variable that has a cache line of its own. */
struct line {
	uint64_t v;
	char pad[56];
} __attribute__((aligned(64)));

/* Runs fn(me) on n threads, thread i on CPU i modulo their number; returns when all have. */
void litmus_threads(unsigned n, void (*fn)(unsigned me));
/* All n threads of the test wait for one another (spinning: between two; sleeping: for more than there are CPUs). */
void litmus_wait(unsigned n);
/* The two threads of a test begin step `n` (counted up from 1) at the same time, or nearly: `skew` loops later. */
void litmus_meet(unsigned me, uint64_t n, unsigned skew);
/* Has the row that is under way taken all the time that it may? Two threads that wait for one another on a host without a processor for
 * each need a turn of its scheduler for every step. */
bool litmus_late(void);
/* A row; adds `iterations` to those of all tests. Returns `forbidden`. */
unsigned litmus_row(const char *name, uint64_t iterations, uint64_t forbidden, const char *note);
uint64_t litmus_random(uint64_t *x);

/* The compiler keeps memory accesses on their side of it. */
#define barrier() __asm__ volatile("" : : : "memory")

#endif
