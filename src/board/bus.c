/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.c - finding the device that answers an address, and cutting accesses to what it takes.
 *
 * Pieces are chosen by address only: the largest power of two that is not more than what is left, the device's
 * maximum, and the room up to the range's end; a piece that had to be cut is then as aligned as the access
 * was. After each piece the table is looked at again, because the callback may have changed it.
 */
#include "board/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/device.h"

void bus_init(struct bus *b, const char *name, uint64_t last, unsigned max_size)
{
	memset(b, 0, sizeof(*b));
	b->name = name;
	b->last = last;
	b->max_size = max_size;
}

void bus_fini(struct bus *b)
{
	free(b->range);
	b->range = NULL;
	b->n = b->cap = b->hint = 0;
}

static uint64_t range_last(const struct bus_range *r)
{
	return r->base + (r->size - 1);
}

/* Index of the first range that ends at or after addr; b->n if none. */
static unsigned bus_lower(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (range_last(b->range[mid]) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *b, struct bus_range *r, struct err *e)
{
	unsigned i;

	if (r->size == 0 || r->base > b->last || r->size - 1 > b->last - r->base)
		return err_set(e, EINVAL,
			       "%s range of %s does not fit: 0x%" PRIx64 ", 0x%" PRIx64 " bytes",
			       b->name, r->name, r->base, r->size);
	i = bus_lower(b, r->base);
	if (i < b->n && b->range[i]->base <= range_last(r))
		return err_set(e, EBUSY,
			       "%s range 0x%" PRIx64 "-0x%" PRIx64 " of %s overlaps 0x%" PRIx64
			       "-0x%" PRIx64 " of %s",
			       b->name, r->base, range_last(r), r->name, b->range[i]->base,
			       range_last(b->range[i]), b->range[i]->name);
	if (b->n == b->cap) {
		unsigned cap = b->cap ? 2 * b->cap : 32;
		struct bus_range **p = realloc(b->range, cap * sizeof(*p));

		if (!p)
			return err_set(e, ENOMEM, "no memory for the %s bus", b->name);
		b->range = p;
		b->cap = cap;
	}
	memmove(b->range + i + 1, b->range + i, (b->n - i) * sizeof(*b->range));
	b->range[i] = r;
	b->n++;
	return 0;
}

bool bus_has(const struct bus *b, const struct bus_range *r)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (b->range[i] == r)
			return true;
	}
	return false;
}

void bus_remove(struct bus *b, struct bus_range *r)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (b->range[i] != r)
			continue;
		memmove(b->range + i, b->range + i + 1, (b->n - i - 1) * sizeof(*b->range));
		b->n--;
		return;
	}
}

struct bus_range *bus_find(struct bus *b, uint64_t addr)
{
	struct bus_range *r;
	unsigned i;

	if (b->hint < b->n) {
		r = b->range[b->hint];
		if (addr - r->base < r->size)
			return r;
	}
	i = bus_lower(b, addr);
	if (i == b->n || addr < b->range[i]->base)
		return NULL;
	b->hint = i;
	return b->range[i];
}

/* Size of the next piece of an access to addr with `left` bytes to go. */
static unsigned bus_piece(const struct bus *b, const struct bus_range *r, uint64_t addr,
			  unsigned left)
{
	unsigned size = b->max_size;

	if (!r)
		return 1;
	if (r->ops->max_size && r->ops->max_size < size)
		size = r->ops->max_size;
	while (size > left || size - 1 > range_last(r) - addr)
		size >>= 1;
	return size;
}

static uint64_t size_mask(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
	uint64_t value = 0;
	unsigned done = 0;

	if (size > 8)
		size = 8;
	while (done < size) {
		uint64_t at = addr + done, v = UINT64_MAX;
		struct bus_range *r = bus_find(b, at);
		unsigned piece = bus_piece(b, r, at, size - done);

		if (r && r->ops->read)
			v = r->ops->read(r->ctx, at - r->base, piece);
		else
			b->n_unclaimed++;
		value |= (v & size_mask(piece)) << (8 * done);
		done += piece;
	}
	return value;
}

void bus_write(struct bus *b, uint64_t addr, uint64_t value, unsigned size)
{
	unsigned done = 0;

	if (size > 8)
		size = 8;
	while (done < size) {
		uint64_t at = addr + done;
		struct bus_range *r = bus_find(b, at);
		unsigned piece = bus_piece(b, r, at, size - done);

		if (r && r->ops->write)
			r->ops->write(r->ctx, at - r->base,
				      (value >> (8 * done)) & size_mask(piece), piece);
		else
			b->n_unclaimed++;
		done += piece;
	}
}

int bus_dump(const struct bus *b, char *buf, size_t size)
{
	struct text t = {buf, size, 0};

	if (size)
		buf[0] = '\0';
	for (unsigned i = 0; i < b->n; i++)
		text_print(&t, "%s %#" PRIx64 "-%#" PRIx64 " %s\n", b->name, b->range[i]->base,
			   range_last(b->range[i]), b->range[i]->name);
	text_print(&t, "%s unclaimed %" PRIu64 "\n", b->name, b->n_unclaimed);
	return (int)t.len;
}
