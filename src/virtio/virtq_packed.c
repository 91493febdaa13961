/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq_packed.c - the packed ring (virtio 1.2 §2.8): one ring of descriptors that driver and device both write, and an
 * event suppression structure of each.
 *
 * A descriptor is available when its AVAIL bit is the driver's wrap bit and its USED bit is not; the device uses it by
 * writing id and length and then both bits as its own wrap bit. A chain of n descriptors takes n places, and so does
 * its use, of which the first is written.
 *
 * What is pushed between two flushes must become visible at once (a packet in several buffers): the flags of the
 * first element are held back until the flush, and the driver reads in order. A position with its wrap bit is a number
 * modulo twice the size, in which distances are taken.
 */
#include "virtio/virtq_ring.h"

#define F_AVAIL 0x0080u
#define F_USED 0x8000u
#define DESC_ID 12u
#define DESC_FLAGS 14u
#define EVENT_WRAP 0x8000u
#define EVENT_F_ENABLE 0u
#define EVENT_F_DISABLE 1u
#define EVENT_F_DESC 2u

static uint16_t flags_at(const struct virtq *q, unsigned pos)
{
	return virtq_get16(q->desc + DESC_SIZE * pos + DESC_FLAGS);
}

static bool available(uint16_t flags, bool wrap)
{
	return !!(flags & F_AVAIL) == wrap && !!(flags & F_USED) != wrap;
}

bool virtq_packed_ready(struct virtq *q)
{
	return available(flags_at(q, q->avail), q->avail_wrap);
}

static void step(uint16_t *pos, bool *wrap, unsigned n, uint16_t size)
{
	unsigned to = *pos + n;

	if (to >= size) {
		to -= size;
		*wrap = !*wrap;
	}
	*pos = (uint16_t)to;
}

static bool walk_indirect(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
	const uint8_t *table;
	unsigned n;

	table = virtq_indirect(q, d->addr, d->len, &n);
	if (!table)
		return false;
	if (n > VIRTQ_CHAIN_MAX) {
		virtq_break(q, "a chain has too many buffers");
		return false;
	}
	for (unsigned i = 0; i < n; i++) {
		/* §2.8.7: of the flags only WRITE counts. */
		struct virtq_desc e = virtq_desc_get(table, i);

		if (!virtq_chain_add(q, c, e.addr, e.len, e.b & DESC_F_WRITE))
			return false;
	}
	return true;
}

/* The id stands in the last descriptor, but a chain needs its slot first: all descriptors are copied, then looked at. */
static bool collect(struct virtq *q, unsigned *n)
{
	struct virtq_desc *d = q->look;
	uint16_t pos = q->avail;
	bool wrap = q->avail_wrap;
	uint16_t flags;

	*n = 0;
	do {
		if (*n + q->n_busy_slots >= q->set.size) {
			virtq_break(q, "more descriptors are available than the queue has");
			return false;
		}
		d[*n] = virtq_desc_get(q->desc, pos);
		flags = d[*n].b;
		if ((flags & DESC_F_INDIRECT) && (*n || (flags & DESC_F_NEXT))) {
			virtq_break(q, "an indirect descriptor where none may be");
			return false;
		}
		++*n;
		step(&pos, &wrap, 1, q->set.size);
	} while (flags & DESC_F_NEXT);
	return true;
}

struct virtq_chain *virtq_packed_pop(struct virtq *q)
{
	struct virtq_desc *d = q->look;
	struct virtq_chain *c;
	bool ok = true;
	unsigned n;

	if (!virtq_packed_ready(q) || !collect(q, &n))
		return NULL;
	c = virtq_chain_take(q, d[n - 1].a);
	if (!c)
		return NULL;
	if (d[0].b & DESC_F_INDIRECT)
		ok = walk_indirect(q, c, &d[0]);
	else
		for (unsigned i = 0; i < n && ok; i++)
			ok = virtq_chain_add(q, c, d[i].addr, d[i].len, d[i].b & DESC_F_WRITE);
	if (!ok) {
		virtq_chain_release(q, c);
		return NULL;
	}
	c->n_slots = (uint16_t)n;
	q->n_busy_slots += n;
	step(&q->avail, &q->avail_wrap, n, q->set.size);
	return c;
}

void virtq_packed_unpop(struct virtq *q, const struct virtq_chain *c)
{
	q->n_busy_slots -= c->n_slots;
	if (q->avail < c->n_slots) {
		q->avail = (uint16_t)(q->avail + q->set.size);
		q->avail_wrap = !q->avail_wrap;
	}
	q->avail = (uint16_t)(q->avail - c->n_slots);
}

void virtq_packed_emit(struct virtq *q, const struct virtq_chain *c)
{
	uint8_t *p = q->desc + DESC_SIZE * q->used;
	uint16_t flags = (uint16_t)((c->written ? DESC_F_WRITE : 0) |
				    (q->used_wrap ? F_AVAIL | F_USED : 0));

	virtq_put32(p + 8, c->written);
	__atomic_store_n((uint16_t *)(void *)(p + DESC_ID), c->id, __ATOMIC_RELAXED);
	if (q->held) {
		virtq_put16(p + DESC_FLAGS, flags);
	} else {
		q->held = true;
		q->held_at = q->used;
		q->held_flags = flags;
	}
	gmem_written(q->mem, q->set.desc + DESC_SIZE * q->used, DESC_SIZE);
	q->n_busy_slots -= c->n_slots;
	step(&q->used, &q->used_wrap, c->n_slots, q->set.size);
}

/* Position and wrap bit as one number below 2 * size. */
static unsigned place(unsigned pos, bool wrap, unsigned size)
{
	return pos + (wrap ? 0 : size);
}

/* Did the used position pass the driver's event on its way from shown? */
static bool passed(const struct virtq *q, uint16_t event)
{
	unsigned size = q->set.size, twice = 2 * size;
	unsigned old = place(q->shown, q->shown_wrap, size);
	unsigned new = place(q->used, q->used_wrap, size);
	unsigned at = event & ~EVENT_WRAP;

	if (at >= size)
		return true; /* makes no sense: rather one interrupt too many */
	at = place(at, event & EVENT_WRAP, size);
	return (at + twice - old) % twice < (new + twice - old) % twice;
}

bool virtq_packed_flush(struct virtq *q)
{
	uint16_t event, flags;
	uint8_t *p;
	bool go;

	if (!q->held)
		return false;
	p = q->desc + DESC_SIZE * q->held_at;
	virtq_put16(p + DESC_FLAGS, q->held_flags);
	gmem_written(q->mem, q->set.desc + DESC_SIZE * q->held_at, DESC_SIZE);
	q->held = false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = virtq_get16(q->driver + 2) & 3;
	event = virtq_get16(q->driver);
	go = flags != EVENT_F_DISABLE;
	if (flags == EVENT_F_DESC && q->set.event_idx)
		go = passed(q, event);
	q->shown = q->used;
	q->shown_wrap = q->used_wrap;
	return go;
}

void virtq_packed_kicks(struct virtq *q, bool on)
{
	uint16_t flags = EVENT_F_DISABLE;

	if (on && q->set.event_idx) {
		virtq_put16(q->device, (uint16_t)(q->avail | (q->avail_wrap ? EVENT_WRAP : 0)));
		flags = EVENT_F_DESC;
	} else if (on) {
		flags = EVENT_F_ENABLE;
	}
	virtq_put16(q->device + 2, flags);
	gmem_written(q->mem, q->set.device, 4);
}
