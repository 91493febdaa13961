/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_gen.h - random instructions for the decoder's test: half of them are forms of the decode table.
 */
#ifndef LODGE_TESTS_UNIT_DECODE_GEN_H
#define LODGE_TESTS_UNIT_DECODE_GEN_H

#include "x86/decode.h"

static uint64_t rng_state;

static uint64_t rng(void)
{
	rng_state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = rng_state;
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static struct x86_form_info form[2048];
static unsigned n_forms;

static void form_add(void *ctx, const struct x86_form_info *f)
{
	(void)ctx;
	if (n_forms < ARRAY_SIZE(form))
		form[n_forms++] = *f;
}

static unsigned opcode_bytes(uint8_t *b, unsigned n, unsigned map)
{
	if (map != X86_MAP_1)
		b[n++] = 0x0f;
	if (map == X86_MAP_0F38)
		b[n++] = 0x38;
	if (map == X86_MAP_0F3A)
		b[n++] = 0x3a;
	return n;
}

/* A VEX prefix, mostly a valid one for the form. */
static unsigned vex_prefix(uint8_t *b, unsigned n, const struct x86_form_info *f)
{
	static const uint8_t pp[4] = {0, 0x66, 0xf3, 0xf2};
	unsigned map = f	 ? f->map :
		       rng() % 8 ? 1 + (unsigned)(rng() % 3) :
				   (unsigned)rng() & 31,
		 last = (unsigned)rng() & 0xff;

	if (f && rng() % 8) {
		last &= 0x78;
		for (unsigned i = 0; i < 4; i++)
			last |= pp[i] == f->sse_pfx ? i : 0;
		last |= f->vex_l == 2 || (f->vex_l == 0 && rng() % 2) ? 4 : 0;
		last |= f->vex_w == 2 || (f->vex_w == 0 && rng() % 2) ? 0x80 : 0;
		if (!f->vvvv)
			last |= 0x78;
	}
	if (map == X86_MAP_0F && rng() % 3 == 0) {
		b[n++] = 0xc5;
		b[n++] = (uint8_t)last;
	} else {
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(map | (rng() & 7) << 5);
		b[n++] = (uint8_t)last;
	}
	return n;
}

/* Half: prefixes and a random opcode. Half: a form of the table, so that the rare ones come too. */
static void generate(uint8_t b[32])
{
	static const uint8_t prefix[] = {0x66, 0x66, 0xf2, 0xf3, 0x67, 0x2e,
					 0x36, 0x64, 0x65, 0xf0, 0x26, 0x3e};
	const struct x86_form_info *f = rng() % 2 ? &form[rng() % n_forms] : NULL;
	unsigned prefixes = rng() % 8 < 6 ? rng() % 3 : rng() % 6;
	unsigned n = 0;

	if (f != NULL && rng() % 2)
		prefixes = 0;
	if (rng() % 4096 == 0)
		prefixes += 12; /* too long */
	bool vex = f != NULL ? f->vex : rng() % 8 == 0;

	if (vex && rng() % 8)
		prefixes = 0;
	while (prefixes--)
		b[n++] = rng() % 5 < 2 ? 0x40 | (rng() & 15) : prefix[rng() % sizeof(prefix)];
	if (f != NULL && f->sse_pfx && !vex)
		b[n++] = f->sse_pfx;
	if (rng() % (vex ? 64 : 3) == 0)
		b[n++] = 0x40 | (rng() & 15);
	if (vex && rng() % 4 == 0)
		b[n++] = rng() % 2 ? 0x64 : 0x67;
	if (vex)
		n = vex_prefix(b, n, f);
	if (f != NULL) {
		if (!vex)
			n = opcode_bytes(b, n, f->map);
		b[n++] = f->opcode;
		b[n] = (uint8_t)rng();
		if (f->mod_class == 3)
			b[n] |= 0xc0;
		if (f->modrm_ext >= 0)
			b[n] = (uint8_t)((b[n] & 0xc7) | f->modrm_ext << 3);
		if (f->has_modrm)
			n++;
	} else if (!vex) {
		static const uint8_t maps[] = {0, 0, 0, 1, 1, 1, 2, 3};

		n = opcode_bytes(b, n, maps[rng() % 8]);
	}
	while (n < 32)
		b[n++] = (uint8_t)rng();
}

#endif
