/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c - byte buffer codec. The host is little-endian (x86-64), so put and get are plain copies.
 */
#include "util/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST ((size_t)256)

void buf_init(struct buf *b, size_t max)
{
	memset(b, 0, sizeof(*b));
	b->max = max;
}

void buf_init_read(struct buf *b, const void *data, size_t len)
{
	memset(b, 0, sizeof(*b));
	/* Never written through: puts fail on a borrowed buffer. */
	b->data = (uint8_t *)(uintptr_t)data;
	b->len = len;
	b->borrow = true;
}

void buf_fini(struct buf *b)
{
	size_t max = b->max;

	if (!b->borrow)
		free(b->data);
	buf_init(b, max);
}

void buf_reset(struct buf *b)
{
	b->pos = 0;
	b->error = 0;
	b->len = 0;
}

int buf_fail(struct buf *b, int error)
{
	if (!b->error)
		b->error = error;
	return b->error;
}

/* Room for len more bytes; false with the error set. */
static bool buf_room(struct buf *b, size_t len)
{
	size_t need, cap;
	uint8_t *data;

	if (b->error)
		return false;
	if (b->borrow) {
		buf_fail(b, -EROFS);
		return false;
	}
	if (__builtin_add_overflow(b->len, len, &need) || (b->max && need > b->max)) {
		buf_fail(b, -EFBIG);
		return false;
	}
	if (need <= b->cap)
		return true;
	cap = MAX(b->cap + b->cap / 2, MAX(need, BUF_FIRST));
	data = realloc(b->data, cap);
	if (!data) {
		buf_fail(b, -ENOMEM);
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void *buf_extend(struct buf *b, size_t len)
{
	uint8_t *p;

	if (!buf_room(b, len))
		return NULL;
	p = b->data + b->len;
	if (len)
		memset(p, 0, len);
	b->len += len;
	return p;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	if (!buf_room(b, len) || !len)
		return;
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_u16(struct buf *b, uint16_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_u32(struct buf *b, uint32_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	buf_put(b, &v, sizeof(v));
}

void buf_put_zero(struct buf *b, size_t len)
{
	buf_extend(b, len);
}

void buf_put_str(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	if (len > UINT32_MAX) {
		buf_fail(b, -EFBIG);
		return;
	}
	buf_put_u32(b, (uint32_t)len);
	buf_put(b, s, len);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		buf_fail(b, -EINVAL);
		return;
	}
	/* vsnprintf ends with a NUL: room for it, which then is not counted. */
	if (!buf_room(b, (size_t)n + 1))
		return;
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void buf_put_align(struct buf *b, size_t align)
{
	buf_put_zero(b, ALIGN_UP(b->len, align) - b->len);
}

static void buf_set(struct buf *b, size_t off, const void *data, size_t len)
{
	if (b->error)
		return;
	if (b->borrow)
		buf_fail(b, -EROFS);
	else if (off > b->len || len > b->len - off)
		buf_fail(b, -EINVAL);
	else
		memcpy(b->data + off, data, len);
}

void buf_set_u32(struct buf *b, size_t off, uint32_t v)
{
	buf_set(b, off, &v, sizeof(v));
}

void buf_set_u64(struct buf *b, size_t off, uint64_t v)
{
	buf_set(b, off, &v, sizeof(v));
}

const void *buf_get_ptr(struct buf *b, size_t len)
{
	const void *p;

	if (b->error)
		return NULL;
	if (len > b->len - b->pos) {
		buf_fail(b, -ENODATA);
		return NULL;
	}
	p = b->data + b->pos;
	b->pos += len;
	return p;
}

void buf_get(struct buf *b, void *out, size_t len)
{
	const void *p = buf_get_ptr(b, len);

	if (!len)
		return;
	if (p)
		memcpy(out, p, len);
	else
		memset(out, 0, len);
}

uint8_t buf_get_u8(struct buf *b)
{
	uint8_t v;

	buf_get(b, &v, sizeof(v));
	return v;
}

uint16_t buf_get_u16(struct buf *b)
{
	uint16_t v;

	buf_get(b, &v, sizeof(v));
	return v;
}

uint32_t buf_get_u32(struct buf *b)
{
	uint32_t v;

	buf_get(b, &v, sizeof(v));
	return v;
}

uint64_t buf_get_u64(struct buf *b)
{
	uint64_t v;

	buf_get(b, &v, sizeof(v));
	return v;
}

void buf_get_str(struct buf *b, char *out, size_t size)
{
	uint32_t len = buf_get_u32(b);
	const char *p;

	ASSERT(size > 0);
	out[0] = '\0';
	if (b->error)
		return;
	if (len >= size) {
		buf_fail(b, -EINVAL);
		return;
	}
	p = buf_get_ptr(b, len);
	if (!p)
		return;
	if (len && memchr(p, 0, len)) {
		buf_fail(b, -EINVAL);
		return;
	}
	if (len)
		memcpy(out, p, len);
	out[len] = '\0';
}
