/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.c - tests of memory: copies of 1 MiB by SSE2 and by rep movsb, chains of pointers in 256 KiB and 64 MiB.
 */
#include <emmintrin.h>
#include <string.h>

#include "cpubench.h"

/* --- memcpy-1m, rep-movsb: a turn copies 1 MiB. Not the C library's: that one chooses by CPUID. --- */

#define COPY_BYTES (1u << 20)

static uint8_t *source, *target;

int memcpy_prepare(void)
{
	uint64_t x = 2718, v;
	size_t i;

	source = bench_pages(COPY_BYTES + 4096);
	target = bench_pages(COPY_BYTES + 4096);
	if (!source || !target)
		return -1;
	for (i = 0; i < COPY_BYTES + 4096; i += 8) {
		v = bench_random(&x);
		memcpy(source + i, &v, 8);
	}
	memset(target, 1, COPY_BYTES + 4096); /* all pages are there before the clock runs */
	return 0;
}

static __attribute__((noipa)) void copy_sse2(uint8_t *to, const uint8_t *from, size_t n)
{
	for (; n >= 64; n -= 64, to += 64, from += 64) {
		const __m128i *f = (const __m128i *)(const void *)from;
		__m128i a = _mm_loadu_si128(f), b = _mm_loadu_si128(f + 1),
			c = _mm_loadu_si128(f + 2), d = _mm_loadu_si128(f + 3), *t = (void *)to;

		_mm_store_si128(t, a);
		_mm_store_si128(t + 1, b);
		_mm_store_si128(t + 2, c);
		_mm_store_si128(t + 3, d);
	}
}

int memcpy_run(uint64_t turns, uint64_t *sum)
{
	*sum = turns;
	while (turns--)
		copy_sse2(target, source + (turns & 15) * 8, COPY_BYTES);
	return 0;
}

int rep_movsb_run(uint64_t turns, uint64_t *sum)
{
	*sum = turns;
	while (turns--) {
		const uint8_t *from = source + (turns & 15) * 64;
		uint8_t *to = target;
		size_t n = COPY_BYTES;

		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		if (to != target + COPY_BYTES || n)
			*sum = UINT64_MAX;
	}
	return 0;
}

int memcpy_check(uint64_t *sum)
{
	*sum = bench_mix_bytes(*sum, target, COPY_BYTES);
	memset(target, 1, COPY_BYTES);
	return 0;
}

/* --- chase: a turn is 1000 steps along a ring that visits every line of 64 bytes once, in random order --- */

#define LINE_WORDS 8u

static uint64_t *ring;

static int make_ring(size_t bytes)
{
	size_t lines = bytes / 64, i, k;
	uint64_t x = 1618, t;

	ring = bench_pages(bytes);
	if (!ring)
		return -1;
	/* Sattolo's shuffle: one cycle of all lines. Word 0 holds the index (in words) of the next line. */
	for (i = 0; i < lines; i++)
		ring[i * LINE_WORDS] = i * LINE_WORDS;
	for (i = lines - 1; i > 0; i--) {
		k = bench_random(&x) % i;
		t = ring[i * LINE_WORDS];
		ring[i * LINE_WORDS] = ring[k * LINE_WORDS];
		ring[k * LINE_WORDS] = t;
	}
	/* Indexes become pointers. */
	for (i = 0; i < lines; i++)
		ring[i * LINE_WORDS] = (uintptr_t)(ring + ring[i * LINE_WORDS]);
	return 0;
}

int chase_256k_prepare(void)
{
	return make_ring(256u << 10);
}

int chase_64m_prepare(void)
{
	return make_ring(64u << 20);
}

int chase_run(uint64_t turns, uint64_t *sum)
{
	const uint64_t *p = ring;
	uint64_t steps = turns * 1000, s = 0;

	while (steps--) {
		p = (const uint64_t *)(uintptr_t)*p;
		if (!(steps & 1023))
			s = bench_mix(s, (uint64_t)(p - ring));
	}
	*sum = s;
	return 0;
}
