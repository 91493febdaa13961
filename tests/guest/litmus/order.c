/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.c - the memory model: what x86 allows two processors to see of each other's plain stores (SDM vol. 3 §9.2).
 *
 * Each test has variables x and y in cells of their own; the two threads meet, run their few instructions on
 * cell i, and go on to the next. After a round of cells the results are counted. Only one thing may happen
 * that a sequential machine forbids: a load overtakes an older store to another address (SB). Without that
 * seen at all the test would say little, so its count is in the row. A row that takes too long ends after fewer iterations.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "litmus.h"

#define CELLS 1024u

static struct line x[CELLS], y[CELLS];
static uint64_t r0[CELLS], r1[CELLS], r2[CELLS], r3[CELLS]; /* what the loads got */

/* One test of two threads: what each does with cell i, and which outcome is forbidden, or only noted. */
struct shape {
	const char *name;
	uint64_t iterations;
	void (*body[2])(unsigned i);
	bool (*outcome)(unsigned i);
	bool allowed;
};

static const struct shape *shape;
static uint64_t rounds, done, seen;
static bool late;

static void two_threads(unsigned me)
{
	uint64_t step = 0, random = 12345 + me;

	for (uint64_t round = 0; round < rounds && !late; round++) {
		for (unsigned i = 0; i < CELLS; i++) {
			litmus_meet(me, ++step, litmus_random(&random) % 8);
			shape->body[me](i);
		}
		litmus_meet(me, ++step, 0);
		if (me == 0) {
			for (unsigned i = 0; i < CELLS; i++) {
				seen += shape->outcome(i);
				x[i].v = y[i].v = 0;
				r0[i] = r1[i] = 0;
			}
			done = round + 1;
			late = litmus_late();
		}
		litmus_meet(me, ++step, 0);
	}
}

static void store(uint64_t *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v) : "memory");
}

static uint64_t load(const uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v;
}

/* SB, with something between the store and the load. */
#define SB_THREAD(name, mine, other, result, between)                         \
	static void name(unsigned i)                                          \
	{                                                                     \
		uint64_t got, scratch = 0;                                    \
                                                                              \
		__asm__ volatile("movq $1, %0\n\t" between "movq %3, %1"      \
				 : "+m"(mine[i].v), "=&r"(got), "+m"(scratch) \
				 : "m"(other[i].v)                            \
				 : "memory", "cc");                           \
		result[i] = got;                                              \
	}
SB_THREAD(sb0, x, y, r0, "")
SB_THREAD(sb1, y, x, r1, "")
SB_THREAD(sb_mfence0, x, y, r0, "mfence\n\t")
SB_THREAD(sb_mfence1, y, x, r1, "mfence\n\t")
SB_THREAD(sb_lock0, x, y, r0, "lock addq $0, %2\n\t")
SB_THREAD(sb_lock1, y, x, r1, "lock addq $0, %2\n\t")

static void sb_xchg(uint64_t *mine, const uint64_t *other, uint64_t *result)
{
	uint64_t one = 1, got;

	__asm__ volatile("xchgq %0, %1\n\tmovq %3, %2"
			 : "+r"(one), "+m"(*mine), "=&r"(got)
			 : "m"(*other)
			 : "memory");
	*result = got;
}

static void sb_xchg0(unsigned i)
{
	sb_xchg(&x[i].v, &y[i].v, &r0[i]);
}

static void sb_xchg1(unsigned i)
{
	sb_xchg(&y[i].v, &x[i].v, &r1[i]);
}

static bool both_old(unsigned i)
{
	return !r0[i] && !r1[i];
}

/* MP: the flag is seen, the data are not. */
static void mp0(unsigned i)
{
	store(&x[i].v, 1);
	store(&y[i].v, 1);
}

static void mp1(unsigned i)
{
	uint64_t flag, data;

	__asm__ volatile("movq %2, %0\n\tmovq %3, %1"
			 : "=&r"(flag), "=&r"(data)
			 : "m"(y[i].v), "m"(x[i].v)
			 : "memory");
	r0[i] = flag;
	r1[i] = data;
}

static bool mp_bad(unsigned i)
{
	return r0[i] && !r1[i];
}

/* MP with a string instruction for the data. */
static void mp_string0(unsigned i)
{
	void *to = x[i].pad;
	uint64_t n = 7;

	__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(UINT64_C(1)) : "memory");
	store(&y[i].v, 1);
}

static void mp_string1(unsigned i)
{
	r0[i] = load(&y[i].v);
	r1[i] = load((const uint64_t *)(const void *)(x[i].pad + 48));
}

static bool mp_string_bad(unsigned i)
{
	bool bad = r0[i] && !r1[i];

	memset(x[i].pad, 0, sizeof(x[i].pad));
	return bad;
}

/* LB: both loads see the other's later store. */
static void lb(const uint64_t *from, uint64_t *to, uint64_t *result)
{
	uint64_t got;

	__asm__ volatile("movq %2, %0\n\tmovq $1, %1"
			 : "=&r"(got), "=m"(*to)
			 : "m"(*from)
			 : "memory");
	*result = got;
}

static void lb0(unsigned i)
{
	lb(&x[i].v, &y[i].v, &r0[i]);
}

static void lb1(unsigned i)
{
	lb(&y[i].v, &x[i].v, &r1[i]);
}

static bool both_new(unsigned i)
{
	return r0[i] && r1[i];
}

/* 2+2W: each variable ends with the value of the store that came first. */
static void ww0(unsigned i)
{
	store(&x[i].v, 1);
	store(&y[i].v, 2);
}

static void ww1(unsigned i)
{
	store(&y[i].v, 1);
	store(&x[i].v, 2);
}

static bool ww_bad(unsigned i)
{
	return x[i].v == 1 && y[i].v == 1;
}

/* CoRR: one variable, read twice, goes back. */
static void corr0(unsigned i)
{
	store(&x[i].v, 1);
}

static void corr1(unsigned i)
{
	uint64_t first, second;

	__asm__ volatile("movq %2, %0\n\tmovq %2, %1"
			 : "=&r"(first), "=&r"(second)
			 : "m"(x[i].v)
			 : "memory");
	r0[i] = first;
	r1[i] = second;
}

/* IRIW, by four threads: two write, two read in opposite order. There is no meeting at each cell, as there may be
 * fewer processors than threads: all run over the cells, again and again. */
static void iriw(unsigned me)
{
	for (uint64_t round = 0; round < rounds; round++) {
		litmus_wait(4);
		if (late) /* which was said before the wait: all see it */
			break;
		for (unsigned i = 0; i < CELLS; i++) {
			switch (me) {
			case 0: store(&x[i].v, 1); break;
			case 1: store(&y[i].v, 1); break;
			case 2:
				r0[i] = load(&x[i].v);
				r1[i] = load(&y[i].v);
				break;
			default:
				r2[i] = load(&y[i].v);
				r3[i] = load(&x[i].v);
				break;
			}
		}
		litmus_wait(4);
		if (me == 0) {
			for (unsigned i = 0; i < CELLS; i++) {
				seen += r0[i] && !r1[i] && r2[i] && !r3[i];
				x[i].v = y[i].v = 0;
			}
			done = round + 1;
			late = litmus_late();
		}
	}
}

unsigned order_tests(unsigned percent)
{
	static const struct shape shapes[] = {
		{"SB", 6000000, {sb0, sb1}, both_old, true},
		{"SB + mfence", 4000000, {sb_mfence0, sb_mfence1}, both_old, false},
		{"SB + lock", 4000000, {sb_lock0, sb_lock1}, both_old, false},
		{"SB by xchg", 4000000, {sb_xchg0, sb_xchg1}, both_old, false},
		{"MP", 6000000, {mp0, mp1}, mp_bad, false},
		{"MP, rep stos", 2000000, {mp_string0, mp_string1}, mp_string_bad, false},
		{"LB", 6000000, {lb0, lb1}, both_new, false},
		{"2+2W", 2000000, {ww0, ww1}, ww_bad, false},
		{"CoRR", 2000000, {corr0, corr1}, mp_bad, false},
	};
	unsigned bad = 0;
	char note[64];

	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		shape = &shapes[i];
		rounds = (shape->iterations * percent / 100 + CELLS - 1) / CELLS;
		seen = 0;
		late = false;
		litmus_threads(2, two_threads);
		snprintf(note, sizeof(note), "%s seen %" PRIu64 " times",
			 shape->allowed ? "reordering (allowed)" : "forbidden outcome", seen);
		bad += litmus_row(shape->name, done * CELLS, shape->allowed ? 0 : seen, note);
	}
	rounds = (UINT64_C(4000000) * percent / 100 + CELLS - 1) / CELLS;
	seen = 0;
	late = false;
	litmus_threads(4, iriw);
	snprintf(note, sizeof(note), "forbidden outcome seen %" PRIu64 " times", seen);
	bad += litmus_row("IRIW, 4 threads", done * CELLS, seen, note);
	return bad;
}
