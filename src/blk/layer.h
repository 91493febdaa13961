/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - one layer of a disk: a file, or something between the front and a file.
 *
 * Layers trust their caller: ranges lie inside of the disk, lengths are whole blocks, capabilities were looked at (the front,
 * blk.c). Loop thread only. A layer owns those below it.
 */
#ifndef LODGE_BLK_LAYER_H
#define LODGE_BLK_LAYER_H

#include "blk/blk.h"

struct blk_layer_class {
	const char *name;
	/* Completes by io->done once, later, on the loop. */
	void (*submit)(struct blk_layer *l, struct blk_io *io);
	void (*commit)(struct blk_layer *l);
	/* Waits until something has completed; false: nothing is in flight. */
	bool (*wait)(struct blk_layer *l);
	/* NULL: cannot. bytes 0: look again. Updates info.size. */
	int (*grow)(struct blk_layer *l, uint64_t bytes, struct err *e);
	void (*destroy)(struct blk_layer *l); /* nothing is in flight */
};

struct blk_layer {
	const struct blk_layer_class *class;
	struct blk_info info;
	/* The layer above: called after each round of completions. NULL: none. */
	void (*batch)(void *ctx);
	void *batch_ctx;
};

static inline void layer_set_batch(struct blk_layer *l, void (*fn)(void *ctx), void *ctx)
{
	l->batch = fn;
	l->batch_ctx = ctx;
}

static inline void layer_batch(const struct blk_layer *l)
{
	if (l->batch)
		l->batch(l->batch_ctx);
}

/*
 * Requests for which there is no memory: they complete with -ENOMEM, by a post as all do. The link is the request's own (blk_io.next).
 */
struct layer_refused {
	struct loop *loop;
	struct blk_layer *layer;
	struct loop_work work;
	struct blk_io *first;
};

void layer_refused_init(struct layer_refused *r, struct loop *loop, struct blk_layer *layer);
void layer_refused_fini(struct layer_refused *r); /* nothing is in it; accepts zeroes */
void layer_refuse(struct layer_refused *r, struct blk_io *io);
/* For wait(): completes them now. False: there were none. */
bool layer_refused_run(struct layer_refused *r);

/* ---- file.c: raw files and block devices ---- */

struct file_config {
	int fd;		  /* owned from the call on, also when it fails */
	const char *name; /* for messages */
	bool read_only;	  /* the fd may be writable all the same */
	bool direct;	  /* the fd has O_DIRECT */
	uint32_t block;	  /* logical block; 0: 512 */
	enum aio_kind aio;
};

int file_open(struct blk_layer **out, struct loop *l, const struct file_config *cfg, struct err *e);
struct aio *file_aio(struct blk_layer *l); /* for tests: aio_set_fault() */

/* ---- overlay.c: throw-away writes over a disk that is only read ---- */

/* upper: a file layer as large as lower, empty (all zeroes). Owns both, also when it fails. */
int overlay_open(struct blk_layer **out, struct loop *loop, struct blk_layer *lower,
		 struct blk_layer *upper, struct err *e);
#define OVERLAY_PAGE UINT64_C(4096)
/* For saved state, nothing is in flight: one bit a page of the disk, in order: it lives in the upper file, at the same offset. May be
 * written to before the first request. */
uint64_t *overlay_map(struct blk_layer *l, uint64_t *n_pages);

#endif
