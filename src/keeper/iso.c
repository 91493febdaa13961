/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iso.c - a small ISO 9660 file system: ECMA-119, with real names and modes by Rock Ridge (IEEE P1282 over SUSP, P1281).
 *
 * Sectors of 2048 bytes: 16 the volume descriptor, 17 the end of descriptors, 18 and 19 the path tables in both byte orders, 20
 * the root folder, then the files. Numbers stand twice, little-endian and big-endian. Dates are left out (zeroes), so that
 * the same files give the same image.
 */
#include "keeper/iso.h"

#include <errno.h>
#include <string.h>

#define SECTOR 2048u

enum { AT_DESCRIPTOR = 16, AT_END, AT_PATHS_LE, AT_PATHS_BE, AT_ROOT, AT_FILES };

static void put_both16(struct buf *b, uint16_t v)
{
	buf_put_u16(b, v);
	buf_put_u16(b, __builtin_bswap16(v));
}

static void put_both32(struct buf *b, uint32_t v)
{
	buf_put_u32(b, v);
	buf_put_u32(b, __builtin_bswap32(v));
}

/* A text field, filled with blanks. */
static void put_text(struct buf *b, const char *text, size_t size)
{
	size_t len = strlen(text);

	buf_put(b, text, len);
	while (len++ < size)
		buf_put_u8(b, ' ');
}

/* ECMA-119 §8.4.26.1: not specified. */
static void put_no_date(struct buf *b)
{
	buf_put(b, "0000000000000000", 16);
	buf_put_u8(b, 0);
}

static uint32_t sectors(size_t len)
{
	return (uint32_t)(ALIGN_UP(len, SECTOR) / SECTOR);
}

/* ECMA-119 §9.1, without what follows the name. The first byte is the record's length, set by record_end(). */
static size_t record_begin(struct buf *b, uint32_t at, uint32_t len, bool folder, const void *name,
			   uint8_t name_len)
{
	size_t begin = b->len;

	buf_put_u8(b, 0);
	buf_put_u8(b, 0);
	put_both32(b, at);
	put_both32(b, len);
	buf_put_zero(b, 7);
	buf_put_u8(b, folder ? 2 : 0);
	buf_put_zero(b, 2);
	put_both16(b, 1);
	buf_put_u8(b, name_len);
	buf_put(b, name, name_len);
	if (name_len % 2 == 0)
		buf_put_u8(b, 0);
	return begin;
}

static void record_end(struct buf *b, size_t begin)
{
	if ((b->len - begin) % 2)
		buf_put_u8(b, 0);
	if (!buf_error(b))
		b->data[begin] = (uint8_t)(b->len - begin);
}

/* Rock Ridge: mode, links, owner. */
static void put_px(struct buf *b, uint32_t mode, uint32_t links)
{
	buf_put(b, "PX\x24\x01", 4);
	put_both32(b, mode);
	put_both32(b, links);
	put_both32(b, 0);
	put_both32(b, 0);
}

static void put_root(struct buf *b, const struct iso_file *file, unsigned n)
{
	uint32_t at = AT_FILES;
	size_t begin = record_begin(b, AT_ROOT, SECTOR, true, "\0", 1);

	buf_put(b, "SP\x07\x01\xbe\xef\0", 7);
	put_px(b, 040555, 2);
	buf_put(b, "ER\x12\x01\x0a\0\0\x01RRIP_1991A", 18);
	record_end(b, begin);
	begin = record_begin(b, AT_ROOT, SECTOR, true, "\1", 1);
	put_px(b, 040555, 2);
	record_end(b, begin);
	for (unsigned i = 0; i < n; i++) {
		const struct iso_file *f = &file[i];
		uint8_t len = (uint8_t)strlen(f->name);

		begin = record_begin(b, at, (uint32_t)f->len, false, f->iso_name,
				     (uint8_t)strlen(f->iso_name));
		put_px(b, 0100400, 1);
		buf_put(b, "NM", 2);
		buf_put_u8(b, (uint8_t)(5 + len));
		buf_put_u8(b, 1);
		buf_put_u8(b, 0);
		buf_put(b, f->name, len);
		record_end(b, begin);
		at += sectors(f->len);
	}
	buf_put_align(b, SECTOR);
}

static void put_descriptor(struct buf *b, const char *label, uint32_t total)
{
	buf_put(b,
		"\x01"
		"CD001"
		"\x01\0",
		8);
	put_text(b, "", 32);
	put_text(b, label, 32);
	buf_put_zero(b, 8);
	put_both32(b, total);
	buf_put_zero(b, 32);
	put_both16(b, 1);
	put_both16(b, 1);
	put_both16(b, SECTOR);
	put_both32(b, 10); /* bytes of a path table */
	buf_put_u32(b, AT_PATHS_LE);
	buf_put_u32(b, 0);
	buf_put_u32(b, __builtin_bswap32(AT_PATHS_BE));
	buf_put_u32(b, 0);
	record_end(b, record_begin(b, AT_ROOT, SECTOR, true, "\0", 1));
	for (int i = 0; i < 4; i++)
		put_text(b, "", 128);
	for (int i = 0; i < 3; i++)
		put_text(b, "", 37);
	for (int i = 0; i < 4; i++)
		put_no_date(b);
	buf_put_u8(b, 1);
	buf_put_align(b, SECTOR);
	buf_put(b,
		"\xff"
		"CD001"
		"\x01",
		7);
	buf_put_align(b, SECTOR);
}

/* One entry: the root (ECMA-119 §9.4). */
static void put_paths(struct buf *b, bool big)
{
	buf_put(b, "\x01\0", 2);
	buf_put_u32(b, big ? __builtin_bswap32(AT_ROOT) : AT_ROOT);
	buf_put_u16(b, big ? __builtin_bswap16(1) : 1);
	buf_put(b, "\0\0", 2);
	buf_put_align(b, SECTOR);
}

int iso_write(struct buf *out, const char *label, const struct iso_file *file, unsigned n,
	      struct err *e)
{
	uint32_t total = AT_FILES;

	ASSERT(n <= ISO_FILES_MAX && strlen(label) <= 32);
	for (unsigned i = 0; i < n; i++) {
		if (file[i].len > 64 * MIB)
			return err_set(e, EFBIG, "the file %s is too long for the guest's seed",
				       file[i].name);
		total += sectors(file[i].len);
	}
	buf_put_zero(out, (size_t)AT_DESCRIPTOR * SECTOR);
	put_descriptor(out, label, total);
	put_paths(out, false);
	put_paths(out, true);
	put_root(out, file, n);
	for (unsigned i = 0; i < n; i++) {
		buf_put(out, file[i].data, file[i].len);
		buf_put_align(out, SECTOR);
	}
	return buf_error(out) ? err_errno(e, -buf_error(out), "cannot make the guest's seed") : 0;
}
