/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq.c - what is the same for split and packed rings: life, chains, order of use, copies.
 *
 * Theory of operation. A chain lives in a slot of its own, found by its id (§2.7: index of the head descriptor; §2.8:
 * buffer id, which a driver keeps below the ring size). A busy slot is a request that the device has; a
 * ring that offers the same id again is broken. So the guest cannot make more requests than the ring has
 * places, and no id that goes back is anything but one that came.
 *
 * The rings' host addresses are looked up once, at the start: guest RAM stays where it is while the VM runs.
 *
 * Dirty log: what the device writes (buffers, used ring, event suppression) goes through gmem_written(). Chains that are
 * forgotten (virtq_stop()) count as written all over, because a read from a disk may have been half way.
 */
#include "virtio/virtq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtq_ring.h"

#define CHAIN_ROOM 8u /* buffers of a chain at first; doubled as needed */

void virtq_break(struct virtq *q, const char *why)
{
	if (q->broken || !q->live)
		return;
	q->broken = true;
	q->ops->broken(q, why);
}

/* ---- life ---- */

uint64_t virtq_desc_bytes(const struct virtq_setup *set)
{
	return (uint64_t)set->size * DESC_SIZE;
}

uint64_t virtq_driver_bytes(const struct virtq_setup *set)
{
	return set->packed ? 4 : 6 + 2 * (uint64_t)set->size;
}

uint64_t virtq_device_bytes(const struct virtq_setup *set)
{
	return set->packed ? 4 : 6 + 8 * (uint64_t)set->size;
}

static void free_tables(struct virtq *q)
{
	free(q->chain);
	free(q->order);
	free(q->look);
	q->chain = NULL;
	q->order = NULL;
	q->look = NULL;
}

int virtq_start(struct virtq *q, struct gmem *mem, const struct virtq_setup *set)
{
	unsigned size = set->size;
	uint8_t *desc, *driver, *device;

	if (q->live || size == 0 || size > VIRTQ_SIZE_MAX || (!set->packed && (size & (size - 1))))
		return -EINVAL;
	/* §2.7, §2.8.10.1: 16 bytes; 2 and 4, or 4 and 4. */
	if ((set->desc & 15) || (set->driver & (set->packed ? 3 : 1)) || (set->device & 3))
		return -EINVAL;
	desc = gmem_at(mem, set->desc, virtq_desc_bytes(set));
	driver = gmem_at(mem, set->driver, virtq_driver_bytes(set));
	device = gmem_at(mem, set->device, virtq_device_bytes(set));
	if (!desc || !driver || !device)
		return -EINVAL;
	q->chain = calloc(size, sizeof(*q->chain));
	q->order = calloc(size, sizeof(*q->order));
	q->look = calloc(size, sizeof(*q->look));
	if (!q->chain || !q->order || !q->look) {
		free_tables(q);
		return -ENOMEM;
	}
	q->mem = mem;
	q->set = *set;
	q->desc = desc;
	q->driver = driver;
	q->device = device;
	q->order_first = q->n_order = q->n_busy = q->n_busy_slots = 0;
	q->avail = q->used = q->shown = 0;
	q->avail_wrap = q->used_wrap = q->shown_wrap = true;
	q->held = false;
	q->broken = false;
	q->live = true;
	return 0;
}

int virtq_restore(struct virtq *q, uint16_t place, bool wrap)
{
	ASSERT(q->live && !q->n_busy);
	if (q->set.packed && place >= q->set.size)
		return -EINVAL;
	q->avail = q->used = q->shown = place;
	q->avail_wrap = q->used_wrap = q->shown_wrap = wrap || !q->set.packed;
	return 0;
}

static void dirty_in(struct virtq *q, const struct virtq_chain *c, uint64_t len)
{
	for (unsigned i = c->n_out; i < c->n_out + c->n_in && len; i++) {
		uint64_t n = MIN(len, c->iov[i].iov_len);

		gmem_written(q->mem, c->gpa[i], n);
		len -= n;
	}
}

void virtq_stop(struct virtq *q)
{
	if (!q->live)
		return;
	for (unsigned i = 0; i < q->set.size; i++) {
		struct virtq_chain *c = q->chain[i];

		if (!c)
			continue;
		if (c->busy)
			dirty_in(q, c, c->in_bytes);
		free(c->iov);
		free(c->gpa);
		free(c);
	}
	free_tables(q);
	q->desc = q->driver = q->device = NULL;
	q->n_busy = q->n_busy_slots = q->n_order = 0;
	q->live = q->broken = false;
}

/* ---- chains ---- */

struct virtq_chain *virtq_chain_take(struct virtq *q, unsigned id)
{
	struct virtq_chain *c;

	if (id >= q->set.size) {
		virtq_break(q, "a buffer id is not below the queue size");
		return NULL;
	}
	c = q->chain[id];
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c) {
			virtq_break(q, "the host is out of memory");
			return NULL;
		}
		q->chain[id] = c;
		c->q = q;
		c->id = (uint16_t)id;
	}
	if (c->busy) {
		virtq_break(q, "a buffer that the device has is made available again");
		return NULL;
	}
	c->busy = true;
	c->done = false;
	c->ctx = NULL;
	c->n_slots = 1;
	c->n_out = c->n_in = 0;
	c->out_bytes = c->in_bytes = c->touched = 0;
	q->n_busy++;
	return c;
}

void virtq_chain_release(struct virtq *q, struct virtq_chain *c)
{
	c->busy = false;
	q->n_busy--;
}

static bool chain_grow(struct virtq_chain *c)
{
	unsigned cap = c->cap ? 2 * c->cap : CHAIN_ROOM;
	struct iovec *iov = realloc(c->iov, cap * sizeof(*iov));
	gpa_t *gpa;

	if (!iov)
		return false;
	c->iov = iov;
	gpa = realloc(c->gpa, cap * sizeof(*gpa));
	if (!gpa)
		return false;
	c->gpa = gpa;
	c->cap = cap;
	return true;
}

bool virtq_chain_add(struct virtq *q, struct virtq_chain *c, uint64_t addr, uint32_t len, bool write)
{
	unsigned n = c->n_out + c->n_in;
	void *hva;

	if (len == 0)
		return true;
	if (!write && c->n_in) {
		virtq_break(q, "a chain has a readable buffer behind a writable one");
		return false;
	}
	hva = gmem_at(q->mem, addr, len);
	if (!hva) {
		virtq_break(q, "a buffer is not in guest RAM");
		return false;
	}
	if (n == VIRTQ_CHAIN_MAX) {
		virtq_break(q, "a chain has too many buffers");
		return false;
	}
	/* §2.7.5: a chain has at most 2^32 bytes. */
	if (c->out_bytes + c->in_bytes + len > UINT32_MAX) {
		virtq_break(q, "a chain has 4 GiB or more");
		return false;
	}
	if (n == c->cap && !chain_grow(c)) {
		virtq_break(q, "the host is out of memory");
		return false;
	}
	c->iov[n] = (struct iovec){.iov_base = hva, .iov_len = len};
	c->gpa[n] = addr;
	if (write) {
		c->n_in++;
		c->in_bytes += len;
	} else {
		c->n_out++;
		c->out_bytes += len;
	}
	return true;
}

const uint8_t *virtq_indirect(struct virtq *q, uint64_t addr, uint32_t len, unsigned *n)
{
	const uint8_t *table;

	if (!q->set.indirect) {
		virtq_break(q, "an indirect table without the feature");
		return NULL;
	}
	if (len == 0 || len % DESC_SIZE || len / DESC_SIZE > UINT16_MAX + 1u) {
		virtq_break(q, "an indirect table has an impossible size");
		return NULL;
	}
	table = gmem_at(q->mem, addr, len);
	if (!table)
		virtq_break(q, "an indirect table is not in guest RAM");
	*n = len / DESC_SIZE;
	return table;
}

/* ---- the ring ---- */

bool virtq_ready(struct virtq *q)
{
	if (!q->live || q->broken)
		return false;
	return q->set.packed ? virtq_packed_ready(q) : virtq_split_ready(q);
}

struct virtq_chain *virtq_pop(struct virtq *q)
{
	struct virtq_chain *c;

	if (!q->live || q->broken)
		return NULL;
	c = q->set.packed ? virtq_packed_pop(q) : virtq_split_pop(q);
	if (!c)
		return NULL;
	if (q->set.in_order)
		q->order[(q->order_first + q->n_order++) % q->set.size] = c->id;
	q->stats.n_popped++;
	return c;
}

void virtq_unpop(struct virtq *q, struct virtq_chain *c)
{
	ASSERT(c->busy);
	if (q->broken)
		return; /* the ring is not looked at any more */
	if (q->set.in_order) {
		ASSERT(q->order[(q->order_first + q->n_order - 1) % q->set.size] == c->id);
		q->n_order--;
	}
	if (q->set.packed)
		virtq_packed_unpop(q, c);
	else
		virtq_split_unpop(q, c);
	dirty_in(q, c, c->touched);
	virtq_chain_release(q, c);
	q->stats.n_popped--;
}

static void emit(struct virtq *q, struct virtq_chain *c)
{
	if (q->set.packed)
		virtq_packed_emit(q, c);
	else
		virtq_split_emit(q, c);
	virtq_chain_release(q, c);
	q->stats.n_used++;
}

void virtq_push(struct virtq *q, struct virtq_chain *c, uint64_t written)
{
	ASSERT(c->busy && !c->done);
	c->written = (uint32_t)MIN(written, c->in_bytes);
	dirty_in(q, c, MAX(c->written, c->touched));
	c->touched = 0;
	if (q->broken)
		return; /* stays busy until the reset */
	if (!q->set.in_order) {
		emit(q, c);
		return;
	}
	c->done = true;
	while (q->n_order) {
		c = q->chain[q->order[q->order_first]];
		if (!c->done)
			break;
		q->order_first = (q->order_first + 1) % q->set.size;
		q->n_order--;
		emit(q, c);
	}
}

void virtq_flush(struct virtq *q)
{
	if (!q->live || q->broken)
		return;
	if (!(q->set.packed ? virtq_packed_flush(q) : virtq_split_flush(q)))
		return;
	q->stats.n_interrupts++;
	q->ops->interrupt(q);
}

static void set_kicks(struct virtq *q, bool on)
{
	if (q->set.packed)
		virtq_packed_kicks(q, on);
	else
		virtq_split_kicks(q, on);
}

void virtq_disable_kicks(struct virtq *q)
{
	if (q->live && !q->broken)
		set_kicks(q, false);
}

bool virtq_enable_kicks(struct virtq *q)
{
	if (!q->live || q->broken)
		return false;
	set_kicks(q, true);
	/* Ours must be seen before the driver decides not to kick; theirs, before we decide to sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_ready(q);
}

/* ---- contents ---- */

size_t virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len)
{
	uint8_t *to = buf;
	size_t done = 0;

	for (unsigned i = 0; i < c->n_out && done < len; i++) {
		size_t have = c->iov[i].iov_len, n;

		if (off >= have) {
			off -= have;
			continue;
		}
		n = MIN(have - off, len - done);
		memcpy(to + done, (const uint8_t *)c->iov[i].iov_base + off, n);
		done += n;
		off = 0;
	}
	__asm__ volatile("" ::: "memory"); /* the copy is what counts from here on */
	return done;
}

size_t virtq_chain_write(struct virtq_chain *c, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	uint64_t start = off;
	size_t done = 0;

	for (unsigned i = c->n_out; i < c->n_out + c->n_in && done < len; i++) {
		size_t have = c->iov[i].iov_len, n;

		if (off >= have) {
			off -= have;
			continue;
		}
		n = MIN(have - off, len - done);
		memcpy((uint8_t *)c->iov[i].iov_base + off, from + done, n);
		done += n;
		off = 0;
	}
	if (done)
		virtq_chain_touched(c, start + done);
	return done;
}

unsigned virtq_chain_iov(const struct virtq_chain *c, bool in, uint64_t off, uint64_t len,
			 struct iovec *iov, unsigned max, uint64_t *bytes)
{
	const struct iovec *from = c->iov + (in ? c->n_out : 0);
	unsigned n = in ? c->n_in : c->n_out, k = 0;

	*bytes = 0;
	for (unsigned i = 0; i < n && len && k < max; i++) {
		uint64_t have = from[i].iov_len;

		if (off >= have) {
			off -= have;
			continue;
		}
		have = MIN(have - off, len);
		iov[k++] = (struct iovec){(uint8_t *)from[i].iov_base + off, have};
		*bytes += have;
		len -= have;
		off = 0;
	}
	return k;
}

void virtq_chain_touched(struct virtq_chain *c, uint64_t end)
{
	c->touched = MAX(c->touched, MIN(end, c->in_bytes));
}
