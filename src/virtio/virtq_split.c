/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq_split.c - the split ring (virtio 1.2 §2.7): descriptor table, avail ring of the driver, used ring of the device.
 *
 * avail: flags, idx, ring[size], used_event. used: flags, idx, {id, len}[size], avail_event. Both indices run free,
 * modulo 2^16. What was pushed becomes visible by one store of used.idx at the flush.
 */
#include "virtio/virtq_ring.h"

#define AVAIL_IDX 2u
#define AVAIL_RING 4u
#define USED_IDX 2u
#define USED_RING 4u
#define AVAIL_F_NO_INTERRUPT 1u
#define USED_F_NO_NOTIFY 1u

static uint16_t avail_idx(const struct virtq *q)
{
	return virtq_get16(q->driver + AVAIL_IDX);
}

bool virtq_split_ready(struct virtq *q)
{
	return avail_idx(q) != q->avail;
}

/* Follows a chain. Every step reads one descriptor once; steps are counted against loops. */
static bool walk(struct virtq *q, struct virtq_chain *c)
{
	const uint8_t *table = q->desc;
	unsigned n = q->set.size, i = c->id;
	bool indirect = false;

	for (unsigned steps = 0; steps < VIRTQ_CHAIN_MAX && steps < n; steps++) {
		struct virtq_desc d = virtq_desc_get(table, i);
		uint16_t flags = d.a;

		if (flags & DESC_F_INDIRECT) {
			/* §2.7.5.3.1: not in a table, and the last of its chain. */
			if (indirect || (flags & DESC_F_NEXT)) {
				virtq_break(q, "an indirect descriptor where none may be");
				return false;
			}
			table = virtq_indirect(q, d.addr, d.len, &n);
			if (!table)
				return false;
			indirect = true;
			i = 0;
			steps = UINT32_MAX; /* 0 at the next turn */
			continue;
		}
		if (!virtq_chain_add(q, c, d.addr, d.len, flags & DESC_F_WRITE))
			return false;
		if (!(flags & DESC_F_NEXT))
			return true;
		i = d.b;
		if (i >= n) {
			virtq_break(q, "a descriptor's successor is not in its table");
			return false;
		}
	}
	virtq_break(q, "a chain is longer than its table: it loops");
	return false;
}

struct virtq_chain *virtq_split_pop(struct virtq *q)
{
	uint16_t idx = avail_idx(q), size = q->set.size;
	struct virtq_chain *c;
	unsigned head;

	if (idx == q->avail)
		return NULL;
	if ((uint16_t)(idx - q->avail) > size) {
		virtq_break(q, "more buffers are available than the queue has");
		return NULL;
	}
	head = virtq_get16(q->driver + AVAIL_RING + 2u * (q->avail & (size - 1u)));
	c = virtq_chain_take(q, head);
	if (!c)
		return NULL;
	if (!walk(q, c)) {
		virtq_chain_release(q, c);
		return NULL;
	}
	q->avail++;
	return c;
}

void virtq_split_unpop(struct virtq *q, const struct virtq_chain *c)
{
	(void)c;
	q->avail--;
}

void virtq_split_emit(struct virtq *q, const struct virtq_chain *c)
{
	uint8_t *e = q->device + USED_RING + 8u * (q->used & (q->set.size - 1u));

	virtq_put32(e, c->id);
	virtq_put32(e + 4, c->written);
	q->used++;
}

/* Tells the dirty log about the elements [shown, used) and the index. */
static void written(struct virtq *q)
{
	unsigned size = q->set.size, first = q->shown & (size - 1u);
	unsigned n = (uint16_t)(q->used - q->shown);

	if (first + n > size) { /* around the end */
		first = 0;
		n = size;
	}
	gmem_written(q->mem, q->set.device + USED_RING + 8u * first, 8u * n);
	gmem_written(q->mem, q->set.device, USED_RING);
}

bool virtq_split_flush(struct virtq *q)
{
	uint16_t old = q->shown, new = q->used;

	if (old == new)
		return false;
	virtq_put16(q->device + USED_IDX, new);
	written(q);
	q->shown = new;
	/* The index must be out before we look whether an interrupt is wanted (§2.7.7). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->set.event_idx)
		return !(virtq_get16(q->driver) & AVAIL_F_NO_INTERRUPT);
	return virtq_passed(virtq_get16(q->driver + AVAIL_RING + 2u * q->set.size), new, old);
}

void virtq_split_kicks(struct virtq *q, bool on)
{
	unsigned event = USED_RING + 8u * q->set.size;

	if (!q->set.event_idx) {
		virtq_put16(q->device, on ? 0 : USED_F_NO_NOTIFY);
		gmem_written(q->mem, q->set.device, 2);
	} else if (on) {
		/* Off needs nothing: avail_event stays at what has passed. */
		virtq_put16(q->device + event, q->avail);
		gmem_written(q->mem, q->set.device + event, 2);
	}
}
