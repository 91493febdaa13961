/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq_driver.h - the driver's side of a virtqueue for the unit tests: makes buffers available and takes used ones, in
 * split and packed rings, written from the specification (virtio 1.2 §2.7, §2.8), not from the device's code.
 */
#ifndef LODGE_TESTS_VIRTQ_DRIVER_H
#define LODGE_TESTS_VIRTQ_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "virtio/virtq.h"

#define DRV_SIZE_MAX 1024u
#define DRV_SEGS_MAX 64u

struct drv_seg {
	uint64_t addr;
	uint32_t len;
	bool write;
};

struct drv {
	struct gmem *mem;
	struct virtq_setup set;
	gpa_t tables;			/* room for an indirect table of DRV_SEGS_MAX for each id */
	unsigned n_free;		/* ring places */
	uint16_t free_id[DRV_SIZE_MAX]; /* ids not in use: a stack; split: descriptors */
	unsigned n_free_id;
	uint16_t slots[DRV_SIZE_MAX];	  /* ring places of each id in use */
	uint16_t next_desc[DRV_SIZE_MAX]; /* split: chain links */
	uint16_t avail, last_used;	  /* split: counts. Packed: positions */
	bool avail_wrap, used_wrap;
	uint16_t event; /* split: avail index when the device last may have seen it */
};

static inline uint16_t drv_get16(struct drv *d, gpa_t a)
{
	uint16_t v;

	assert_int_equal(gmem_read(d->mem, a, &v, 2), 0);
	return v;
}

static inline void drv_put16(struct drv *d, gpa_t a, uint16_t v)
{
	assert_int_equal(gmem_write(d->mem, a, &v, 2), 0);
}

static inline void drv_put_desc(struct drv *d, gpa_t table, unsigned i, uint64_t addr, uint32_t len,
				uint16_t a, uint16_t b)
{
	uint8_t e[16];

	memcpy(e, &addr, 8);
	memcpy(e + 8, &len, 4);
	memcpy(e + 12, &a, 2);
	memcpy(e + 14, &b, 2);
	assert_int_equal(gmem_write(d->mem, table + 16 * i, e, 16), 0);
}

/* Rings at `base` (page aligned, 64 KiB), indirect tables behind them. */
static inline void drv_init(struct drv *d, struct gmem *mem, gpa_t base, struct virtq_setup set)
{
	static const uint8_t zero[4096];

	memset(d, 0, sizeof(*d));
	d->mem = mem;
	set.desc = base;
	set.driver = base + 0x5000;
	set.device = base + 0x8000;
	d->set = set;
	d->tables = base + 0x10000;
	for (gpa_t a = base; a < base + 0x10000; a += sizeof(zero))
		assert_int_equal(gmem_write(mem, a, zero, sizeof(zero)), 0);
	d->n_free = set.size;
	for (unsigned i = 0; i < set.size; i++)
		d->free_id[d->n_free_id++] = (uint16_t)(set.size - 1 - i);
	d->avail_wrap = d->used_wrap = true;
}

static inline void drv_table(struct drv *d, gpa_t table, const struct drv_seg *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = s[i].write ? 2 : 0;

		if (d->set.packed)
			drv_put_desc(d, table, i, s[i].addr, s[i].len, 0, flags);
		else
			drv_put_desc(d, table, i, s[i].addr, s[i].len,
				     (uint16_t)(flags | (i + 1 < n ? 1 : 0)), (uint16_t)(i + 1));
	}
}

static inline int drv_add_split(struct drv *d, const struct drv_seg *s, unsigned n, bool indirect)
{
	unsigned k = indirect ? 1 : n;
	uint16_t id[DRV_SEGS_MAX] = {0};

	if (d->n_free < k)
		return -1;
	for (unsigned i = 0; i < k; i++)
		id[i] = d->free_id[--d->n_free_id];
	for (unsigned i = 0; i + 1 < k; i++)
		d->next_desc[id[i]] = id[i + 1];
	if (indirect) {
		gpa_t table = d->tables + (gpa_t)id[0] * DRV_SEGS_MAX * 16;

		drv_table(d, table, s, n);
		drv_put_desc(d, d->set.desc, id[0], table, 16 * n, 4, 0);
	} else {
		for (unsigned i = 0; i < n; i++)
			drv_put_desc(d, d->set.desc, id[i], s[i].addr, s[i].len,
				     (uint16_t)((s[i].write ? 2 : 0) | (i + 1 < n ? 1 : 0)),
				     i + 1 < n ? id[i + 1] : 0);
	}
	d->n_free -= k;
	d->slots[id[0]] = (uint16_t)k;
	drv_put16(d, d->set.driver + 4 + 2 * (d->avail % d->set.size), id[0]);
	d->avail++;
	drv_put16(d, d->set.driver + 2, d->avail);
	return id[0];
}

static inline int drv_add_packed(struct drv *d, const struct drv_seg *s, unsigned n, bool indirect)
{
	unsigned k = indirect ? 1 : n, pos = d->avail, first = pos;
	bool wrap = d->avail_wrap;
	uint16_t id, first_flags = 0;

	if (d->n_free < k)
		return -1;
	id = d->free_id[--d->n_free_id];
	for (unsigned i = 0; i < k; i++) {
		uint16_t flags = (uint16_t)((wrap ? 0x80 : 0x8000) | (i + 1 < k ? 1 : 0));
		gpa_t table = d->tables + (gpa_t)id * DRV_SEGS_MAX * 16;
		uint64_t addr = s[i].addr;
		uint32_t len = s[i].len;

		if (indirect) {
			drv_table(d, table, s, n);
			addr = table;
			len = 16 * n;
			flags |= 4;
		} else if (s[i].write) {
			flags |= 2;
		}
		if (i == 0)
			first_flags = flags;
		/* The first one's flags come last. */
		drv_put_desc(d, d->set.desc, pos, addr, len, id,
			     i ? flags : drv_get16(d, d->set.desc + 16 * pos + 14));
		if (++pos == d->set.size) {
			pos = 0;
			wrap = !wrap;
		}
	}
	drv_put16(d, d->set.desc + 16 * first + 14, first_flags);
	d->avail = (uint16_t)pos;
	d->avail_wrap = wrap;
	d->n_free -= k;
	d->slots[id] = (uint16_t)k;
	return id;
}

/* Makes a chain available. Its id, or -1: no room. */
static inline int drv_add(struct drv *d, const struct drv_seg *s, unsigned n, bool indirect)
{
	assert_true(n >= 1 && n <= DRV_SEGS_MAX);
	return d->set.packed ? drv_add_packed(d, s, n, indirect) : drv_add_split(d, s, n, indirect);
}

/* Takes a used chain. Its id, or -1. */
static inline int drv_get(struct drv *d, uint32_t *len)
{
	uint32_t e[2];
	unsigned id;

	if (!d->set.packed) {
		if (drv_get16(d, d->set.device + 2) == d->last_used)
			return -1;
		assert_int_equal(gmem_read(d->mem,
					   d->set.device + 4 + 8 * (d->last_used % d->set.size), e,
					   8),
				 0);
		d->last_used++;
		id = e[0];
		assert_true(id < d->set.size && d->slots[id]);
		for (unsigned i = 0, at = id; i < d->slots[id]; i++, at = d->next_desc[at])
			d->free_id[d->n_free_id++] = (uint16_t)at;
		*len = e[1];
	} else {
		gpa_t at = d->set.desc + 16 * d->last_used;
		uint16_t flags = drv_get16(d, at + 14);
		unsigned next;

		if (!!(flags & 0x80) != d->used_wrap || !!(flags & 0x8000) != d->used_wrap)
			return -1;
		assert_int_equal(gmem_read(d->mem, at + 8, len, 4), 0);
		assert_int_equal(!!(flags & 2), *len > 0);
		id = drv_get16(d, at + 12);
		assert_true(id < d->set.size && d->slots[id]);
		next = d->last_used + d->slots[id];
		if (next >= d->set.size) {
			next -= d->set.size;
			d->used_wrap = !d->used_wrap;
		}
		d->last_used = (uint16_t)next;
		d->free_id[d->n_free_id++] = (uint16_t)id;
	}
	d->n_free += d->slots[id];
	d->slots[id] = 0;
	return (int)id;
}

/* Asks for an interrupt at the next used buffer (event index: exactly then), or for none. */
static inline void drv_interrupts(struct drv *d, bool on)
{
	if (d->set.packed) {
		drv_put16(d, d->set.driver, (uint16_t)(d->last_used | (d->used_wrap ? 0x8000 : 0)));
		drv_put16(d, d->set.driver + 2, (uint16_t)(!on ? 1 : d->set.event_idx ? 2 : 0));
	} else if (d->set.event_idx) {
		drv_put16(d, d->set.driver + 4 + 2 * d->set.size,
			  (uint16_t)(on ? d->last_used : d->last_used - 1));
	} else {
		drv_put16(d, d->set.driver, !on);
	}
}

/* Does the device want a kick for what was added since the ring stood at `old` (split: count; packed: unused)? */
static inline bool drv_kick_wanted(struct drv *d, uint16_t old)
{
	uint16_t event, flags;

	if (!d->set.packed) {
		if (!d->set.event_idx)
			return !(drv_get16(d, d->set.device) & 1);
		event = drv_get16(d, d->set.device + 4 + 8 * d->set.size);
		return (uint16_t)(d->avail - event - 1) < (uint16_t)(d->avail - old);
	}
	flags = drv_get16(d, d->set.device + 2);
	if (flags != 2)
		return flags == 0;
	event = drv_get16(d, d->set.device);
	(void)old;
	return (event & 0x7fff) < d->set.size; /* where it is, the caller checks */
}

/* The head of the ring as the device's event would name it. */
static inline uint16_t drv_place(const struct drv *d)
{
	return (uint16_t)(d->avail | (d->set.packed && d->avail_wrap ? 0x8000 : 0));
}

#endif
