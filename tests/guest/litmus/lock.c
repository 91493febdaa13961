/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - locked instructions lose nothing: two threads change the same words, and the sums are right.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "litmus.h"

static struct line word, guard, plain;
static unsigned __int128 wide __attribute__((aligned(16)));
static uint64_t n, errors;

static void add(unsigned me)
{
	(void)me;
	for (uint64_t i = 0; i < n; i += 4) {
		__asm__ volatile(
			"lock incq %0\n\tlock addq $1, %0\n\tlock subq $-1, %0\n\tlock decq %0\n\t"
			"lock addq $2, %0"
			: "+m"(word.v)
			:
			: "memory", "cc");
	}
}

/* Each value is handed out once: the sum of what xadd returned is known. */
static uint64_t got;

static void xadd(unsigned me)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t one = 1;

		__asm__ volatile("lock xaddq %0, %1" : "+r"(one), "+m"(word.v) : : "memory", "cc");
		sum += one;
	}
	(void)me;
	__atomic_fetch_add(&got, sum, __ATOMIC_RELAXED);
}

static void cmpxchg(unsigned me)
{
	(void)me;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t old = word.v;
		bool ok = false;

		do {
			__asm__ volatile("lock cmpxchgq %3, %1"
					 : "+a"(old), "+m"(word.v), "=@ccz"(ok)
					 : "r"(old + 1)
					 : "memory");
		} while (!ok);
	}
}

/* Both halves go up together. */
static void cmpxchg16b(unsigned me)
{
	(void)me;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t lo = 0, hi = 0;
		bool ok = false;

		do {
			__asm__ volatile("lock cmpxchg16b %2"
					 : "+a"(lo), "+d"(hi), "+m"(wide), "=@ccz"(ok)
					 : "b"(lo + 1), "c"(hi + 1)
					 : "memory");
			if (lo != hi)
				__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED);
		} while (!ok);
	}
}

/* A lock made of xchg, which locks without the prefix; a plain store gives it back. */
static void spin_xchg(unsigned me)
{
	(void)me;
	for (uint64_t i = 0; i < n; i++) {
		uint32_t taken = 1;

		for (;;) {
			taken = 1;
			__asm__ volatile("xchgl %0, %1"
					 : "+r"(taken), "+m"(*(uint32_t *)(void *)&guard)
					 :
					 : "memory");
			if (!taken)
				break;
			while (__atomic_load_n((uint32_t *)(void *)&guard, __ATOMIC_RELAXED))
				__builtin_ia32_pause();
		}
		plain.v++;
		__asm__ volatile("movl $0, %0" : "=m"(*(uint32_t *)(void *)&guard) : : "memory");
	}
}

/* One made of bts and btr, with the bit's number in a register and beyond the first word. */
static void spin_bts(unsigned me)
{
	uint64_t bit = 64 + 37;
	bool taken = false;

	(void)me;
	for (uint64_t i = 0; i < n; i++) {
		do
			__asm__ volatile("lock btsq %2, %0"
					 : "+m"(guard), "=@ccc"(taken)
					 : "r"(bit)
					 : "memory");
		while (taken);
		plain.v++;
		__asm__ volatile("lock btrq %1, %0" : "+m"(guard) : "r"(bit) : "memory", "cc");
	}
}

/* Bytes of one word, a thread each, and OR, AND, XOR of bits: neighbours stay as they are. */
static void bytes(unsigned me)
{
	uint8_t *mine = (uint8_t *)&word.v + me;

	for (uint64_t i = 0; i < n; i++) {
		__asm__ volatile("incb %0" : "+m"(*mine) : : "memory", "cc");
		__asm__ volatile("lock orq %1, %0\n\tlock xorq %1, %0"
				 : "+m"(word.v)
				 : "r"(UINT64_C(4) << (32 + 8 * me))
				 : "memory", "cc");
	}
}

/* A word that lies in two pages. */
static void across(unsigned me)
{
	static uint8_t pages[8192] __attribute__((aligned(4096)));
	uint64_t *p = (uint64_t *)(void *)(pages + 4092);

	for (uint64_t i = 0; i < n; i++)
		__asm__ volatile("lock incq %0" : "+m"(*p) : : "memory", "cc");
	litmus_meet(me, 1, 0);
	if (me == 0)
		memcpy(&got, p, sizeof(got));
}

static unsigned one(const char *name, uint64_t iterations, void (*fn)(unsigned),
		    const uint64_t *result, uint64_t want)
{
	char note[64];
	uint64_t have;

	n = iterations;
	word.v = plain.v = errors = got = 0;
	memset(&guard, 0, sizeof(guard));
	wide = 0;
	litmus_threads(2, fn);
	have = *result;
	snprintf(note, sizeof(note), "sum %#" PRIx64 "%s", have, have == want ? "" : ", wrong");
	return litmus_row(name, 2 * iterations, errors + (have != want), note);
}

unsigned lock_tests(unsigned percent)
{
	uint64_t k = UINT64_C(1000) * percent / 100 * 4;
	uint64_t i = 100 * k,
		 half = 50 * k; /* a multiple of 256 is what bytes() leaves no trace of */
	unsigned bad = 0;

	bad += one("lock inc, add, sub, dec", i, add, &word.v, 2 * i);
	bad += one("lock xadd", i, xadd, &got, i * (2 * i - 1));
	bad += one("lock cmpxchg", i, cmpxchg, &word.v, 2 * i);
	bad += one("lock cmpxchg16b", half, cmpxchg16b, (const uint64_t *)(const void *)&wide,
		   2 * half);
	bad += one("lock inc across pages", half / 4, across, &got, half / 2);
	bad += one("xchg lock", half, spin_xchg, &plain.v, 2 * half);
	bad += one("lock bts, btr", half, spin_bts, &plain.v, 2 * half);
	bad += one("bytes, or, xor", half, bytes, &word.v, (half & 0xff) * 0x101);
	return bad;
}
