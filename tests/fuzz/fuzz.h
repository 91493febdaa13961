/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what the libFuzzer targets share: an input as a stream of choices, and seeds.
 *
 * An input is not a file format but a program: each target reads operations and their operands from it, and what is
 * missing at the end reads as zero. So most mutations give another program that makes sense. Seeds are made by code
 * (`fuzz_seed()`), from a generator that starts with the seed's number; nothing is kept in the tree.
 *
 * The environment FUZZ_SEEDS=DIRECTORY makes the program write its seeds there and end; tests/fuzz/run does that.
 */
#ifndef LODGE_TESTS_FUZZ_H
#define LODGE_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/base.h"
#include "util/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct input {
	const uint8_t *p;
	size_t n;
};

static inline void in_bytes(struct input *in, void *buf, size_t len)
{
	size_t n = MIN(len, in->n);

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->p, n);
	in->p += n;
	in->n -= n;
}

static inline uint8_t in8(struct input *in)
{
	uint8_t v;

	in_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint16_t in16(struct input *in)
{
	uint16_t v;

	in_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint32_t in32(struct input *in)
{
	uint32_t v;

	in_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint64_t in64(struct input *in)
{
	uint64_t v;

	in_bytes(in, &v, sizeof(v));
	return v;
}

/* A number where it hurts: small, around powers of two, at the ends, or any. */
static inline uint64_t in_edge(struct input *in)
{
	uint8_t how = in8(in);

	switch (how >> 6) {
	case 0: return how & 0x3f;
	case 1: return BIT(how & 0x3f) - 1 + in8(in) % 3;
	case 2: return UINT64_MAX >> (how & 0x3f);
	default: return in64(in);
	}
}

/* ---- seeds ---- */

struct seed {
	uint8_t bytes[4096];
	size_t n;
	uint64_t state;
};

static inline uint32_t seed_rnd(struct seed *s, uint32_t n)
{
	s->state = s->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(s->state >> 33) % n;
}

static inline void seed_put(struct seed *s, uint8_t b)
{
	if (s->n < sizeof(s->bytes))
		s->bytes[s->n++] = b;
}

static inline void seed_random(struct seed *s, unsigned n)
{
	while (n--)
		seed_put(s, (uint8_t)seed_rnd(s, 256));
}

/* The target's: input number i, from s->state. False: there is none any more. */
bool fuzz_seed(unsigned i, struct seed *s);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dir = getenv("FUZZ_SEEDS");

	(void)argc;
	(void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	if (!dir)
		return 0;
	for (unsigned i = 0;; i++) {
		struct seed s = {.state = i + 1};
		char path[4096];
		FILE *f;

		seed_random(&s, 8);
		s.n = 0;
		if (!fuzz_seed(i, &s))
			break;
		snprintf(path, sizeof(path), "%s/seed-%03u", dir, i);
		f = fopen(path, "wb");
		if (!f || fwrite(s.bytes, 1, s.n, f) != s.n || fclose(f)) {
			perror(path);
			exit(1);
		}
	}
	exit(0);
}

#endif
