/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.c - the AML writer. A term with a PkgLength (ACPI 6.5 §20.2.4) is written without it; at its close the
 * length is known, and its one to four bytes are inserted where the term began. Tables are small: moving the
 * content is cheaper than thinking about it.
 */
#include "board/aml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAP_MAX (4 * MIB)

static uint8_t *room(struct aml *a, size_t n)
{
	uint8_t *p;

	if (a->error)
		return NULL;
	if (a->cap - a->len < n) {
		size_t cap = MAX(a->cap * 2, MAX((size_t)4096, a->len + n));

		p = cap <= CAP_MAX ? realloc(a->buf, cap) : NULL;
		if (!p) {
			a->error = -ENOMEM;
			return NULL;
		}
		a->buf = p;
		a->cap = cap;
	}
	p = a->buf + a->len;
	a->len += n;
	return p;
}

static void put(struct aml *a, const void *data, size_t n)
{
	uint8_t *p = room(a, n);

	if (p && n)
		memcpy(p, data, n);
}

static void put_le(struct aml *a, uint64_t v, unsigned n)
{
	uint8_t *p = room(a, n);

	for (unsigned i = 0; p && i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* Makes room for n bytes at `at`, moving what is there. */
static uint8_t *insert(struct aml *a, size_t at, size_t n)
{
	if (!room(a, n))
		return NULL;
	memmove(a->buf + at + n, a->buf + at, a->len - n - at);
	return a->buf + at;
}

void aml_init(struct aml *a)
{
	memset(a, 0, sizeof(*a));
}

void aml_fini(struct aml *a)
{
	free(a->buf);
	aml_init(a);
}

int aml_error(const struct aml *a)
{
	if (a->error)
		return a->error;
	return a->depth ? -EINVAL : 0;
}

static void fail(struct aml *a)
{
	if (!a->error)
		a->error = -EINVAL;
}

void aml_op(struct aml *a, enum aml_op op)
{
	put_le(a, op, 1);
}

void aml_null(struct aml *a)
{
	put_le(a, 0, 1);
}

void aml_arg(struct aml *a, unsigned n)
{
	if (n > 6)
		fail(a);
	put_le(a, 0x68 + n, 1);
}

void aml_local(struct aml *a, unsigned n)
{
	if (n > 7)
		fail(a);
	put_le(a, 0x60 + n, 1);
}

/* §20.2.3: ZeroOp, OneOp, BytePrefix, WordPrefix, DWordPrefix, QWordPrefix. */
void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		put_le(a, v, 1);
	} else if (v <= 0xff) {
		put_le(a, 0x0a, 1);
		put_le(a, v, 1);
	} else if (v <= 0xffff) {
		put_le(a, 0x0b, 1);
		put_le(a, v, 2);
	} else if (v <= 0xffffffff) {
		put_le(a, 0x0c, 1);
		put_le(a, v, 4);
	} else {
		put_le(a, 0x0e, 1);
		put_le(a, v, 8);
	}
}

void aml_string(struct aml *a, const char *s)
{
	put_le(a, 0x0d, 1);
	for (const char *p = s; *p; p++)
		if (*p & 0x80)
			fail(a);
	put(a, s, strlen(s) + 1);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

void aml_eisaid(struct aml *a, const char *id)
{
	uint32_t v = 0;

	if (strlen(id) != 7) {
		fail(a);
		return;
	}
	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | ((unsigned)(id[i] - 'A' + 1) & 0x1f);
	for (unsigned i = 3; i < 7; i++) {
		if (hex(id[i]) < 0)
			fail(a);
		v = v << 4 | ((unsigned)hex(id[i]) & 0xf);
	}
	put_le(a, 0x0c, 1);
	put_le(a, __builtin_bswap32(v), 4);
}

void aml_uuid(struct aml *a, const char *uuid)
{
	/* Text offsets of the bytes in memory order: the first three groups are little-endian. */
	static const uint8_t at[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};

	if (strlen(uuid) != 36) {
		fail(a);
		return;
	}
	put(a, "\x11\x13\x0a\x10", 4); /* BufferOp, PkgLength 19, size 16 */
	for (unsigned i = 0; i < 16; i++) {
		int hi = hex(uuid[at[i]]), lo = hex(uuid[at[i] + 1]);

		if (hi < 0 || lo < 0)
			fail(a);
		put_le(a, ((unsigned)hi << 4 | (unsigned)lo) & 0xff, 1);
	}
}

/* NameString, §20.2.2. */
void aml_path(struct aml *a, const char *path)
{
	unsigned segs = 0;
	const char *p;

	while (*path == '\\' || *path == '^')
		put_le(a, (uint8_t)*path++, 1);
	for (p = path; *p; segs++) {
		p += strcspn(p, ".");
		if (*p)
			p++;
	}
	if (segs == 0)
		put_le(a, 0, 1); /* NullName */
	else if (segs == 2)
		put_le(a, 0x2e, 1);
	else if (segs > 2) {
		put_le(a, 0x2f, 1);
		put_le(a, segs, 1);
	}
	for (p = path; *p;) {
		size_t n = strcspn(p, ".");

		if (n == 0 || n > 4 || (*p >= '0' && *p <= '9'))
			fail(a);
		put(a, p, MIN(n, (size_t)4));
		for (size_t i = n; i < 4; i++)
			put_le(a, '_', 1);
		p += n;
		if (*p)
			p++;
	}
}

void aml_name(struct aml *a, const char *path)
{
	put_le(a, 0x08, 1);
	aml_path(a, path);
}

void aml_name_int(struct aml *a, const char *path, uint64_t v)
{
	aml_name(a, path);
	aml_int(a, v);
}

void aml_name_string(struct aml *a, const char *path, const char *s)
{
	aml_name(a, path);
	aml_string(a, s);
}

void aml_name_eisaid(struct aml *a, const char *path, const char *id)
{
	aml_name(a, path);
	aml_eisaid(a, id);
}

/* ---- terms with a length ---- */

static void open_term(struct aml *a, unsigned op, bool resources)
{
	if (op > 0xff)
		put_le(a, op >> 8, 1);
	put_le(a, op & 0xff, 1);
	if (a->depth == AML_DEPTH) {
		fail(a);
		return;
	}
	a->open[a->depth].start = a->len;
	a->open[a->depth].resources = resources;
	a->depth++;
}

void aml_scope(struct aml *a, const char *path)
{
	open_term(a, 0x10, false);
	aml_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	open_term(a, 0x5b82, false);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned n_args, bool serialized)
{
	open_term(a, 0x14, false);
	aml_path(a, name);
	if (n_args > 7)
		fail(a);
	put_le(a, n_args | (serialized ? 8u : 0), 1);
}

void aml_package(struct aml *a, unsigned n_elements)
{
	open_term(a, 0x12, false);
	if (n_elements > 255)
		fail(a);
	put_le(a, n_elements, 1);
}

void aml_if(struct aml *a)
{
	open_term(a, 0xa0, false);
}

void aml_else(struct aml *a)
{
	open_term(a, 0xa1, false);
}

void aml_resources(struct aml *a)
{
	open_term(a, 0x11, true);
}

void aml_region_io(struct aml *a, const char *name, uint16_t base, uint8_t size)
{
	put_le(a, 0x805b, 2);
	aml_path(a, name);
	put_le(a, 1, 1); /* SystemIO */
	aml_int(a, base);
	aml_int(a, size);
}

void aml_field(struct aml *a, const char *region)
{
	open_term(a, 0x5b81, false);
	aml_path(a, region);
	put_le(a, 0x43, 1); /* 32-bit accesses, no lock, other bits are written as zero */
}

void aml_field_dword(struct aml *a, const char *name)
{
	aml_path(a, name);
	put_le(a, 32, 1); /* bits, as a PkgLength */
}

void aml_close(struct aml *a)
{
	uint8_t enc[4];
	size_t start, len, n;
	uint8_t *p;

	if (!a->depth) {
		fail(a);
		return;
	}
	a->depth--;
	if (a->error)
		return;
	start = a->open[a->depth].start;
	if (a->open[a->depth].resources) {
		put(a, "\x79", 2); /* end tag; checksum 0: not used */
		len = a->len - start;
		p = insert(a, start, 3); /* BufferSize */
		if (!p)
			return;
		p[0] = 0x0b;
		p[1] = (uint8_t)len;
		p[2] = (uint8_t)(len >> 8);
		if (len > 0xffff)
			fail(a);
	}
	len = a->len - start;
	if (len + 1 < 0x40) {
		n = 1;
		enc[0] = (uint8_t)(len + 1);
	} else {
		n = len + 2 < 0x1000 ? 2 : len + 3 < 0x100000 ? 3 : 4;
		len += n; /* the length counts itself */
		enc[0] = (uint8_t)((n - 1) << 6 | (len & 0xf));
		for (size_t i = 1; i < n; i++)
			enc[i] = (uint8_t)(len >> (8 * i - 4));
	}
	p = insert(a, start, n);
	if (p)
		memcpy(p, enc, n);
}

/* ---- resource descriptors ---- */

void aml_res_io(struct aml *a, uint16_t base, uint8_t size)
{
	put_le(a, 0x47, 1);
	put_le(a, 1, 1); /* decodes 16 bits */
	put_le(a, base, 2);
	put_le(a, base, 2);
	put_le(a, 1, 1); /* alignment */
	put_le(a, size, 1);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	if (irq > 15)
		fail(a);
	put_le(a, 0x22, 1);
	put_le(a, BIT(irq & 15), 2);
}

void aml_res_gsi(struct aml *a, uint32_t gsi)
{
	put_le(a, 0x89, 1);
	put_le(a, 6, 2);
	put_le(a, 1, 1); /* a consumer */
	put_le(a, 1, 1); /* how many */
	put_le(a, gsi, 4);
}

void aml_res_mem32(struct aml *a, uint32_t base, uint32_t size, bool writable)
{
	put_le(a, 0x86, 1);
	put_le(a, 9, 2);
	put_le(a, writable, 1);
	put_le(a, base, 4);
	put_le(a, size, 4);
}

/* Word, DWord and QWord address spaces share one form, in words of `width` bytes (§6.4.3.5). */
static void window(struct aml *a, unsigned width, unsigned type, unsigned flags, uint64_t min,
		   uint64_t max)
{
	put_le(a, width == 2 ? 0x88 : width == 4 ? 0x87 : 0x8a, 1);
	put_le(a, 3 + 5 * width, 2);
	put_le(a, type, 1);
	put_le(a, 0x0c, 1); /* producer, minimum and maximum fixed */
	put_le(a, flags, 1);
	put_le(a, 0, width); /* granularity */
	put_le(a, min, width);
	put_le(a, max, width);
	put_le(a, 0, width); /* translation */
	put_le(a, max - min + 1, width);
	if (max < min)
		fail(a);
}

void aml_res_window_bus(struct aml *a, uint16_t first, uint16_t last)
{
	window(a, 2, 2, 0, first, last);
}

void aml_res_window_io(struct aml *a, uint16_t first, uint16_t last)
{
	window(a, 2, 1, 3, first, last); /* entire range */
}

void aml_res_window_mem32(struct aml *a, uint32_t base, uint32_t size)
{
	window(a, 4, 0, 1, base, (uint64_t)base + size - 1); /* read-write, not cached */
}

void aml_res_window_mem64(struct aml *a, uint64_t base, uint64_t size)
{
	window(a, 8, 0, 1, base, base + size - 1);
}
