/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growable byte buffer with little-endian put and get: the codec of every binary format
 * we own.
 *
 * Writing appends at the end, reading takes from `pos`. The first error (out of memory, over the
 * limit, read past the end) sticks in `error`: later puts do nothing and later gets give zeroes, so
 * a long sequence is written without checks and tested once with buf_error(). Not thread-safe.
 */
#ifndef LODGE_UTIL_BUF_H
#define LODGE_UTIL_BUF_H

#include "util/base.h"

struct buf {
	uint8_t *data;
	size_t len;  /* bytes that are valid */
	size_t cap;  /* bytes allocated; 0 with borrowed data */
	size_t pos;  /* next byte to get */
	size_t max;  /* puts beyond this fail with -EFBIG; 0: no limit but memory */
	int error;   /* 0 or -errno, sticky */
	bool borrow; /* data belongs to somebody else: puts fail with -EROFS */
};

void buf_init(struct buf *b, size_t max);
/* Reads bytes that belong to the caller and outlive b. */
void buf_init_read(struct buf *b, const void *data, size_t len);
void buf_fini(struct buf *b);  /* frees; b is empty and may be used again */
void buf_reset(struct buf *b); /* len = pos = error = 0, keeps the memory */
static inline int buf_error(const struct buf *b)
{
	return b->error;
}
static inline size_t buf_left(const struct buf *b)
{
	return b->error ? 0 : b->len - b->pos;
}
/* Sets the sticky error (negative errno) if none is set yet; returns b->error. */
int buf_fail(struct buf *b, int error);

void buf_put(struct buf *b, const void *data, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_zero(struct buf *b, size_t len);
/* u32 length, then the bytes (no NUL). */
void buf_put_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_FORMAT(2, 3); /* appends text, no NUL */
/* Appends zeroes until len is a multiple of `align` (a power of two). */
void buf_put_align(struct buf *b, size_t align);
/* Room for `len` bytes at the end, zeroed, valid until the next put; NULL on error. */
void *buf_extend(struct buf *b, size_t len);
/* Overwrites 4 or 8 bytes at `off`, for lengths known later. */
void buf_set_u32(struct buf *b, size_t off, uint32_t v);
void buf_set_u64(struct buf *b, size_t off, uint64_t v);

void buf_get(struct buf *b, void *out, size_t len); /* zeroes out on error */
uint8_t buf_get_u8(struct buf *b);
uint16_t buf_get_u16(struct buf *b);
uint32_t buf_get_u32(struct buf *b);
uint64_t buf_get_u64(struct buf *b);
/* Pointer to the next `len` bytes inside the buffer and steps over them; NULL on error. */
const void *buf_get_ptr(struct buf *b, size_t len);
/* Text written by buf_put_str into out, with a NUL; too long for `size`, or a NUL inside: -EINVAL sticks. */
void buf_get_str(struct buf *b, char *out, size_t size);

/* Unaligned little-endian access to plain memory. */
static inline uint16_t buf_le16(const void *p)
{
	uint16_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint32_t buf_le32(const void *p)
{
	uint32_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}
static inline uint64_t buf_le64(const void *p)
{
	uint64_t v;
	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

#endif
