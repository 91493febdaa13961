/* SPDX-License-Identifier: Apache-2.0 */
/*
 * int.c - tests of integer code: a loop in registers, CRC-32, SHA-256, qsort, a hash table.
 */
#include <stdlib.h>
#include <string.h>

#include "cpubench.h"

#define BUFFER_BYTES 65536u

static uint8_t *buffer;

static int fill_buffer(void)
{
	uint64_t x = UINT64_C(0x9876543210fedcba);
	size_t i;

	buffer = bench_pages(BUFFER_BYTES);
	for (i = 0; buffer && i < BUFFER_BYTES; i++)
		buffer[i] = (uint8_t)(bench_random(&x) >> 32);
	return buffer ? 0 : -1;
}

/* --- int-loop: a turn is a pass of a chain of multiply, shift, xor, rotate, with one branch that has a pattern --- */

int int_loop_run(uint64_t turns, uint64_t *sum)
{
	uint64_t x = 1, y = 2, i;

	for (i = 0; i < turns; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		y ^= x >> 33;
		y = (y << 5 | y >> 59) + i;
		if (!(i & 7))
			y -= x;
	}
	*sum = x ^ y;
	return 0;
}

/* --- crc32: a turn is the table-driven sum (polynomial of IEEE 802.3, reflected) over 64 KiB --- */

static uint32_t crc_table[256];

int crc32_prepare(void)
{
	uint32_t i, k, c;

	for (i = 0; i < 256; i++) {
		for (c = i, k = 0; k < 8; k++)
			c = c & 1 ? UINT32_C(0xedb88320) ^ c >> 1 : c >> 1;
		crc_table[i] = c;
	}
	return fill_buffer();
}

int crc32_run(uint64_t turns, uint64_t *sum)
{
	uint32_t c = UINT32_C(0xffffffff);
	size_t i;

	while (turns--) {
		for (i = 0; i < BUFFER_BYTES; i++)
			c = crc_table[(c ^ buffer[i]) & 0xff] ^ c >> 8;
	}
	*sum = ~c;
	return 0;
}

/* --- sha256: a turn is 64 KiB (FIPS 180-4 §6.2) --- */

static uint32_t sha_k[64];

/* The constants are the first 32 bits of the fractions of the cube roots of the first 64 primes (§4.2.2). */
static uint32_t cube_root_fraction(uint32_t p)
{
	unsigned __int128 r = 0, t; /* root * 2^32: 35 bits */
	uint64_t bit;

	for (bit = UINT64_C(1) << 34; bit; bit >>= 1) {
		t = r | bit;
		if (t * t * t <= (unsigned __int128)p << 96)
			r = t;
	}
	return (uint32_t)r;
}

int sha256_prepare(void)
{
	uint32_t p, q, n = 0;

	for (p = 2; n < 64; p++) {
		for (q = 2; q * q <= p && p % q; q++)
			;
		if (q * q > p)
			sha_k[n++] = cube_root_fraction(p);
	}
	return fill_buffer();
}

static inline uint32_t ror32(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void sha256_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6],
			x = h[7];
	unsigned i;

	for (i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	for (; i < 64; i++) {
		uint32_t s0 = ror32(w[i - 15], 7) ^ ror32(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = ror32(w[i - 2], 17) ^ ror32(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
#define ROUND(a, b, c, d, e, f, g, x, i)                                         \
	do {                                                                     \
		uint32_t t = (x) + (ror32(e, 6) ^ ror32(e, 11) ^ ror32(e, 25)) + \
			     (((e) & (f)) ^ (~(e) & (g))) + sha_k[i] + w[i];     \
		(d) += t;                                                        \
		(x) = t + (ror32(a, 2) ^ ror32(a, 13) ^ ror32(a, 22)) +          \
		      (((a) & (b)) ^ ((a) & (c)) ^ ((b) & (c)));                 \
	} while (0)
	for (i = 0; i < 64; i += 8) {
		ROUND(a, b, c, d, e, f, g, x, i);
		ROUND(x, a, b, c, d, e, f, g, i + 1);
		ROUND(g, x, a, b, c, d, e, f, i + 2);
		ROUND(f, g, x, a, b, c, d, e, i + 3);
		ROUND(e, f, g, x, a, b, c, d, i + 4);
		ROUND(d, e, f, g, x, a, b, c, i + 5);
		ROUND(c, d, e, f, g, x, a, b, i + 6);
		ROUND(b, c, d, e, f, g, x, a, i + 7);
	}
#undef ROUND
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
	h[5] += f;
	h[6] += g;
	h[7] += x;
}

int sha256_run(uint64_t turns, uint64_t *sum)
{
	uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	size_t i;

	while (turns--) {
		for (i = 0; i < BUFFER_BYTES; i += 64)
			sha256_block(h, buffer + i);
	}
	*sum = bench_mix_bytes(0, h, sizeof(h));
	return 0;
}

/* --- qsort: a turn sorts 4096 records of 16 bytes by the C library, with a comparison function of ours --- */

#define SORT_RECORDS 4096u

struct record {
	uint64_t key, value;
};

static struct record *records, *unsorted;

int qsort_prepare(void)
{
	uint64_t x = 12345;
	size_t i;

	records = bench_pages(SORT_RECORDS * sizeof(*records));
	unsorted = bench_pages(SORT_RECORDS * sizeof(*unsorted));
	if (!records || !unsorted)
		return -1;
	for (i = 0; i < SORT_RECORDS; i++) {
		unsorted[i].key = bench_random(&x) %
				  3000; /* some keys are equal: the value decides */
		unsorted[i].value = bench_random(&x);
	}
	return 0;
}

static int compare_records(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->value > y->value) - (x->value < y->value);
}

int qsort_run(uint64_t turns, uint64_t *sum)
{
	size_t i;

	*sum = 0;
	while (turns--) {
		for (i = 0; i < SORT_RECORDS; i++)
			records[i] = unsorted[(i * 7 + turns) % SORT_RECORDS];
		qsort(records, SORT_RECORDS, sizeof(*records), compare_records);
		for (i = 0; i < SORT_RECORDS; i += 61)
			*sum = bench_mix(*sum, records[i].value);
	}
	return 0;
}

/* --- hash: a turn is 16 K insertions into a chained table, 32 K look-ups (half of them in vain), 8 K removals --- */

#define HASH_NODES 16384u
#define HASH_BUCKETS 8192u

struct node {
	struct node *next;
	uint64_t key, value;
};

static struct node *nodes, **buckets;

int hash_prepare(void)
{
	nodes = bench_pages(HASH_NODES * sizeof(*nodes));
	buckets = bench_pages(HASH_BUCKETS * sizeof(struct node *));
	return nodes && buckets ? 0 : -1;
}

static struct node **bucket_of(uint64_t key)
{
	return &buckets[(key * UINT64_C(0x9e3779b97f4a7c15) >> 40) % HASH_BUCKETS];
}

static struct node **find(uint64_t key)
{
	struct node **n = bucket_of(key);

	while (*n && (*n)->key != key)
		n = &(*n)->next;
	return n;
}

int hash_run(uint64_t turns, uint64_t *sum)
{
	uint64_t x, s = 0;
	struct node **n, **b;
	size_t i;

	while (turns--) {
		memset(buckets, 0, HASH_BUCKETS * sizeof(struct node *));
		for (i = 0, x = turns + 1; i < HASH_NODES; i++) {
			nodes[i].key = bench_random(&x);
			nodes[i].value = i;
			b = bucket_of(nodes[i].key);
			nodes[i].next = *b;
			*b = &nodes[i];
		}
		for (i = 0, x = turns + 1; i < HASH_NODES; i++) {
			uint64_t key = bench_random(&x);

			n = find(key);
			if (*n)
				s += (*n)->value;
			n = find(key + 1);
			if (*n)
				s ^= UINT64_C(1) << 63;
		}
		for (i = 0, x = turns + 1; i < HASH_NODES / 2; i++) {
			n = find(bench_random(&x));
			if (*n) {
				s = bench_mix(s, (*n)->value);
				*n = (*n)->next;
			}
		}
	}
	*sum = s;
	return 0;
}
