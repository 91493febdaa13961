/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq_ring.h - between virtq.c, which is the same for both ring layouts, and the layouts (virtq_split.c,
 * virtq_packed.c). Not for devices.
 */
#ifndef LODGE_VIRTIO_VIRTQ_RING_H
#define LODGE_VIRTIO_VIRTQ_RING_H

#include "virtio/virtq.h"

#define DESC_SIZE 16u
#define DESC_F_NEXT 0x1u
#define DESC_F_WRITE 0x2u
#define DESC_F_INDIRECT 0x4u

/* A descriptor as copied out of guest memory. `id` and `next` share their place: packed has flags last. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t a, b; /* split: flags, next; packed: id, flags */
};

/* One copy of descriptor i of a table. The compiler may not look at guest memory again. */
static inline struct virtq_desc virtq_desc_get(const uint8_t *table, unsigned i)
{
	struct virtq_desc d;

	__builtin_memcpy(&d, table + (size_t)i * DESC_SIZE, sizeof(d));
	__asm__ volatile("" ::: "memory");
	return d;
}

static inline uint16_t virtq_get16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static inline void virtq_put16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

static inline void virtq_put32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}

/* §2.7.10.1: did the index pass `event` on its way from `old` to `new`? */
static inline bool virtq_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* The chain of this id, empty and busy; NULL, and the queue is broken: bad id, with the device already, no memory. */
struct virtq_chain *virtq_chain_take(struct virtq *q, unsigned id);
/* Not busy any more. */
void virtq_chain_release(struct virtq *q, struct virtq_chain *c);
/* Adds a buffer. False: it broke the queue. */
bool virtq_chain_add(struct virtq *q, struct virtq_chain *c, uint64_t addr, uint32_t len,
		     bool write);
/* An indirect table's host address and its number of entries; NULL: it broke the queue. */
const uint8_t *virtq_indirect(struct virtq *q, uint64_t addr, uint32_t len, unsigned *n);

/* The layouts. Pop returns a whole chain, or NULL with nothing changed or the queue broken. */
bool virtq_split_ready(struct virtq *q);
struct virtq_chain *virtq_split_pop(struct virtq *q);
void virtq_split_unpop(struct virtq *q, const struct virtq_chain *c);
void virtq_split_emit(struct virtq *q, const struct virtq_chain *c);
bool virtq_split_flush(struct virtq *q); /* true: interrupt */
void virtq_split_kicks(struct virtq *q, bool on);

bool virtq_packed_ready(struct virtq *q);
struct virtq_chain *virtq_packed_pop(struct virtq *q);
void virtq_packed_unpop(struct virtq *q, const struct virtq_chain *c);
void virtq_packed_emit(struct virtq *q, const struct virtq_chain *c);
bool virtq_packed_flush(struct virtq *q);
void virtq_packed_kicks(struct virtq *q, bool on);

#endif
