/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ram.h - a disk in memory whose requests complete when, in which order and with which error the input says.
 */
#ifndef LODGE_TESTS_FUZZ_RAM_H
#define LODGE_TESTS_FUZZ_RAM_H

#include <errno.h>

#include "blk/layer.h"

#define RAM_SIZE (256 * KIB)
#define RAM_PENDING 4096u

struct ram {
	struct blk_layer layer;
	struct blk_io *pending[RAM_PENDING];
	unsigned n_pending;
	uint8_t bytes[RAM_SIZE];
};

static inline void ram_copy(struct ram *r, const struct blk_io *io)
{
	uint8_t *at = r->bytes + io->offset;

	if (io->op == BLK_WRITE_ZEROES || io->op == BLK_DISCARD)
		memset(at, 0, io->bytes);
	for (unsigned i = 0; i < io->n_iov; at += io->iov[i++].iov_len) {
		if (io->op == BLK_READ)
			memcpy(io->iov[i].iov_base, at, io->iov[i].iov_len);
		else if (io->op == BLK_WRITE)
			memcpy(at, io->iov[i].iov_base, io->iov[i].iov_len);
	}
}

/* Number i of those that are under way. */
static inline void ram_complete(struct ram *r, unsigned i, int result)
{
	struct blk_io *io = r->pending[i];

	r->pending[i] = r->pending[--r->n_pending];
	if (result == 0)
		ram_copy(r, io);
	io->done(io, result);
}

static inline void ram_submit(struct blk_layer *l, struct blk_io *io)
{
	struct ram *r = container_of(l, struct ram, layer);
	uint64_t bytes = 0;

	/* What the front promises. */
	ASSERT(r->n_pending < RAM_PENDING);
	ASSERT(io->offset <= l->info.size && io->bytes <= l->info.size - io->offset);
	ASSERT(io->offset % l->info.block == 0 && io->bytes % l->info.block == 0);
	for (unsigned i = 0; i < io->n_iov; i++)
		bytes += io->iov[i].iov_len;
	ASSERT(io->n_iov == 0 || bytes == io->bytes);
	r->pending[r->n_pending++] = io;
}

static inline void ram_commit(struct blk_layer *l)
{
	(void)l;
}

static inline bool ram_wait(struct blk_layer *l)
{
	struct ram *r = container_of(l, struct ram, layer);

	if (!r->n_pending)
		return false;
	ram_complete(r, 0, 0);
	layer_batch(l);
	return true;
}

static inline void ram_destroy(struct blk_layer *l)
{
	struct ram *r = container_of(l, struct ram, layer);

	ASSERT(!r->n_pending);
	free(r);
}

static inline struct ram *ram_new(void)
{
	static const struct blk_layer_class class = {.name = "ram",
						     .submit = ram_submit,
						     .commit = ram_commit,
						     .wait = ram_wait,
						     .destroy = ram_destroy};
	struct ram *r = calloc(1, sizeof(*r));

	ASSERT(r);
	r->layer.class = &class;
	r->layer.info = (struct blk_info){.size = RAM_SIZE,
					  .block = 512,
					  .physical = 4096,
					  .discard = true,
					  .write_zeroes = true};
	return r;
}

#endif
