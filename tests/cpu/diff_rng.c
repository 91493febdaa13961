/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_rng.c - random numbers, and random values of the kinds that find bugs: edges of integers, floats
 * with all classes of values, FXSAVE images that a processor would have written.
 */
#include <string.h>

#include "diff.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void diff_rng_seed(struct diff_rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t x = seed;

	x = splitmix(&x) ^ (stream * UINT64_C(0xd1342543de82ef95) + 1);
	r->s[0] = splitmix(&x);
	r->s[1] = splitmix(&x) | 1;
}

/* xoroshiro128+, by its published description. */
uint64_t diff_rng_u64(struct diff_rng *r)
{
	uint64_t a = r->s[0], b = r->s[1], sum = a + b;

	b ^= a;
	r->s[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
	r->s[1] = (b << 37) | (b >> 27);
	return sum;
}

uint64_t diff_rng_int(struct diff_rng *r)
{
	static const uint64_t edge[] = {
		0,
		1,
		2,
		0x7f,
		0x80,
		0xff,
		0x100,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		0x7fffffffffffffff,
		0x8000000000000000,
		0xffffffffffffffff,
		0xfffffffffffffffe,
		0x0f0f0f0f0f0f0f0f,
		0x5555555555555555,
		0xaaaaaaaaaaaaaaaa,
		0x0123456789abcdef,
		0xffffffff80000000,
		0xffffffff7fffffff,
	};
	uint64_t x = diff_rng_u64(r);

	switch (diff_rnd(r, 8)) {
	case 0: return x & 0xff;
	case 1: return edge[diff_rnd(r, ARRAY_SIZE(edge))];
	case 2: return x >> 32;
	case 3: return (UINT64_C(1) << (x & 63)) + (x >> 62) - 1;
	case 4: return (uint64_t)(int64_t)(int8_t)x;
	case 5: return x >> (x & 63);
	default: return x;
	}
}

static void put_float(struct diff_rng *r, uint8_t *p)
{
	static const uint32_t edge[] = {
		0,	    0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
		0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001, 0x80000001, 0x007fffff,
		0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000,
		0x3f000000, 0x3fc00000, 0x40200000, 0x4b000000,
	};
	uint32_t x;

	if (diff_chance(r, 50))
		x = edge[diff_rnd(r, ARRAY_SIZE(edge))];
	else /* exponents near 1, so that sums and conversions do something */
		x = ((uint32_t)diff_rng_u64(r) & 0x807fffff) | (110 + diff_rnd(r, 50)) << 23;
	memcpy(p, &x, 4);
}

static void put_double(struct diff_rng *r, uint8_t *p)
{
	static const uint64_t edge[] = {
		0,
		0x8000000000000000,
		0x3ff0000000000000,
		0xbff0000000000000,
		0x7ff0000000000000,
		0xfff0000000000000,
		0x7ff8000000000000,
		0x7ff0000000000001,
		0xfff8123456789abc,
		0x0000000000000001,
		0x800fffffffffffff,
		0x0010000000000000,
		0x7fefffffffffffff,
		0x41e0000000000000,
		0xc1e0000000000000,
		0x43e0000000000000,
		0xc3e0000000000000,
		0x3fe0000000000000,
		0x3ff8000000000000,
		0x4004000000000000,
		0x4330000000000000,
		0x47efffffe0000000,
		0x36a0000000000000,
	};
	uint64_t x;

	if (diff_chance(r, 50))
		x = edge[diff_rnd(r, ARRAY_SIZE(edge))];
	else
		x = (diff_rng_u64(r) & 0x800fffffffffffff) | (uint64_t)(1000 + diff_rnd(r, 80))
								     << 52;
	memcpy(p, &x, 8);
}

void diff_rng_data(struct diff_rng *r, uint8_t *p, unsigned len)
{
	for (unsigned i = 0; i + 8 <= len; i += 8) {
		uint64_t x;

		switch (diff_rnd(r, 8)) {
		case 0:
			put_float(r, p + i);
			put_float(r, p + i + 4);
			break;
		case 1: put_double(r, p + i); break;
		case 2:
			x = diff_rng_int(r);
			memcpy(p + i, &x, 8);
			break;
		case 3:
			x = (diff_rng_int(r) & 0xffffffff) | diff_rng_int(r) << 32;
			memcpy(p + i, &x, 8);
			break;
		default:
			x = diff_rng_u64(r);
			memcpy(p + i, &x, 8);
			break;
		}
	}
}

static void put_ext(struct diff_rng *r, uint8_t *p)
{
	static const struct {
		uint64_t m;
		uint16_t e;
	} edge[] = {
		{0, 0},
		{0, 0x8000},
		{0x8000000000000000, 0x3fff},
		{0x8000000000000000, 0xbfff},
		{0x8000000000000000, 0x7fff},
		{0x8000000000000000, 0xffff},
		{0xc000000000000000, 0xffff},
		{0xc000000000000000, 0x7fff},
		{0x8000000000000001, 0x7fff},
		{0xa000000000000000, 0xffff},
		{1, 0},
		{0x7fffffffffffffff, 0},
		{0x8000000000000000, 0},
		{0x4000000000000000, 0x3fff},
		{0xffffffffffffffff, 0x7ffe},
		{0x8000000000000000, 1},
		{0x8000000000000000, 0x403e},
		{0x8000000000000000, 0xc03e},
		{0x8000000000000000, 0x401e},
		{0x8000000000000000, 0x3ffe},
		{0xc000000000000000, 0x3fff},
		{0xc90fdaa22168c235, 0x4000},
		{0, 0x7fff},
		{0x4000000000000000, 0x7fff},
	};
	uint64_t m;
	uint16_t e;

	if (diff_chance(r, 40)) {
		unsigned k = diff_rnd(r, ARRAY_SIZE(edge));

		m = edge[k].m;
		e = edge[k].e;
	} else {
		m = diff_rng_u64(r) | BIT(63);
		e = (uint16_t)(0x3fff - 40 + diff_rnd(r, 120));
		if (diff_chance(r, 50))
			m &= ~UINT64_C(0) << diff_rnd(r, 64);
		if (diff_chance(r, 50))
			e |= 0x8000;
	}
	memcpy(p, &m, 8);
	memcpy(p + 8, &e, 2);
}

void diff_rng_fx(struct diff_rng *r, uint8_t fx[X86_FX_SIZE], bool calm)
{
	uint16_t fcw = 0x37f, fsw = 0;
	uint32_t mxcsr = 0x1f80;
	uint8_t tags = 0;

	memset(fx, 0, X86_FX_SIZE);
	fx[X86_FX_XSTATE_BV] = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	if (diff_chance(r, 40)) {
		fcw = (diff_rng_u64(r) & 0x0f00) | 0x007f; /* precision, rounding */
		if (!calm && diff_chance(r, 30))
			fcw &= (uint16_t)(0xffc0 | diff_rng_u64(r));
	}
	if (diff_chance(r, 50))
		fsw = (uint16_t)(diff_rng_u64(r) & 0x7f7f);
	if (!calm && diff_chance(r, 10))
		fcw &= (uint16_t)(0xffc0 | diff_rng_u64(r));
	if (calm || diff_chance(r, 95)) /* mostly no exception pending */
		fsw &= (uint16_t)(~0x3f | fcw);
	if (fsw & ~fcw & 0x3f)
		fsw |= 0x8080; /* ES and B */
	switch (diff_rnd(r, 4)) {
	case 0: tags = 0; break;
	case 1: tags = 0xff; break;
	default: tags = (uint8_t)diff_rng_u64(r) | (uint8_t)diff_rng_u64(r); break;
	}
	if (diff_chance(r, 40)) {
		mxcsr = 0x1f80 | (diff_rng_u64(r) & 0xe07f); /* FTZ, RC, DAZ, flags */
		if (!calm && diff_chance(r, 25))
			mxcsr &= ~0x1f80u | (uint32_t)diff_rng_u64(r);
	}
	memcpy(fx, &fcw, 2);
	memcpy(fx + 2, &fsw, 2);
	fx[4] = tags;
	memcpy(fx + 24, &mxcsr, 4);
	for (unsigned i = 0; i < 8; i++)
		put_ext(r, fx + 32 + 16 * i);
	for (unsigned i = 0; i < 32; i++) {
		uint8_t *p = i < 16 ? fx + X86_FX_XMM + 16 * i : fx + X86_FX_YMM_HI + 16 * (i - 16);

		if (i >= 16 && diff_chance(r, 20)) /* (stays zero) */
			continue;

		switch (diff_rnd(r, 4)) {
		case 0:
			for (unsigned k = 0; k < 16; k += 4)
				put_float(r, p + k);
			break;
		case 1:
			put_double(r, p);
			put_double(r, p + 8);
			break;
		default: diff_rng_data(r, p, 16); break;
		}
	}
}

/* An XSAVE area, standard or compacted, at times with a header that does not load. */
void diff_rng_xsave(struct diff_rng *r, uint8_t fx[X86_FX_SIZE])
{
	uint64_t h[8] = {diff_chance(r, 50) ? 7 : diff_rnd(r, 8)};

	diff_rng_fx(r, fx, false);
	memset(fx + 6, 0, 18);
	if (diff_chance(r, 40))
		h[1] = BIT(63) | (diff_chance(r, 90) ? h[0] | diff_rnd(r, 8) : diff_rnd(r, 8));
	if (diff_chance(r, 4))
		fx[26 + diff_rnd(r, 2)] = 4; /* reserved MXCSR bit */
	if (diff_chance(r, 8))
		h[diff_rnd(r, 8)] |= BIT(62 - diff_rnd(r, 3));
	memcpy(fx + X86_FX_XSTATE_BV, h, sizeof(h));
}

/* The VEX prefix of a form; what the form leaves open is random. */
unsigned diff_rng_vex(struct diff_rng *r, const struct x86_form_info *f, bool compat,
		      uint8_t *bytes, unsigned n)
{
	unsigned last = f->sse_pfx == 0 ? 0 : f->sse_pfx == 0x66 ? 1 : f->sse_pfx == 0xf3 ? 2 : 3;

	last |= f->vex_l == 2 || (f->vex_l == 0 && diff_chance(r, 60)) ? 4 : 0;
	last |= f->vex_w == 2 || (f->vex_w == 0 && diff_chance(r, 50)) ? 0x80 : 0;
	last |= f->vvvv ? diff_rnd(r, 16) << 3 : 0x78;
	if (f->map == X86_MAP_0F && !(last & 0x80) && diff_chance(r, 60)) {
		bytes[n++] = 0xc5;
		bytes[n++] = (uint8_t)((compat ? 0xc0u : diff_rnd(r, 2) << 7) | (last & 0x7f));
		return n;
	}
	bytes[n++] = 0xc4;
	bytes[n++] = (uint8_t)((compat ? 0xc0 | diff_rnd(r, 2) << 5 : diff_rnd(r, 8) << 5) | f->map);
	bytes[n++] = (uint8_t)last;
	return n;
}

/* Vector indices near zero, with one further away at times; and a mask with many elements. */
void diff_rng_vsib(struct diff_rng *r, uint8_t fx[X86_FX_SIZE], const struct x86_insn *in)
{
	unsigned size = in->opcode & 1 ? 8 : 4;

	for (unsigned i = 0; i < 32; i += size) {
		uint8_t *half = fx + (i < 16 ? X86_FX_XMM : X86_FX_YMM_HI - 16);
		int64_t x = (int64_t)diff_rnd(r, 64) - 32;

		if (diff_chance(r, 5))
			x = (int64_t)diff_rng_int(r);
		memcpy(half + 16 * in->index + i, &x, size);
	}
	for (unsigned i = 0; i < 32; i += 4) {
		uint8_t *half = fx + (i < 16 ? X86_FX_XMM : X86_FX_YMM_HI - 16);

		if (diff_chance(r, 60))
			memset(half + 16 * in->vvvv + i, diff_chance(r, 50) ? 0xff : 0x80, 4);
	}
}
