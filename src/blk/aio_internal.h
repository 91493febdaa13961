/* SPDX-License-Identifier: Apache-2.0 */
/* aio_internal.h - what aio.c shares with its two ways of doing it. */
#ifndef LODGE_BLK_AIO_INTERNAL_H
#define LODGE_BLK_AIO_INTERNAL_H

#include "blk/aio.h"

struct aio_class {
	enum aio_kind kind;
	int (*create)(struct aio *a, struct err *e);
	void (*destroy)(struct aio *a); /* accepts a half-made one */
	void (*submit)(struct aio *a, struct aio_req *r);
	void (*commit)(struct aio *a);
	void (*wait)(struct aio *a); /* returns when at least one is done; it is dispatched by then */
};

struct aio {
	const struct aio_class *class;
	struct loop *loop;
	unsigned n_flight; /* submitted and not done */
	void (*batch)(void *ctx);
	void *batch_ctx;
	aio_fault_fn fault;
	void *fault_ctx;
	void *priv; /* the class's */

	/* Requests that have their result without the class; they complete by a post. */
	struct aio_req *answered, **answered_tail;
	struct loop_work answered_work;
};

extern const struct aio_class aio_uring, aio_threads;

/* After a round of aio_complete(): sends what they submitted, tells aio_set_batch()'s function. */
void aio_round(struct aio *a);
/* One request is over: calls its `done`. */
void aio_complete(struct aio *a, struct aio_req *r, int64_t result);
/* The first `bytes` of an iovec into `to`, which has room for n; returns how many entries. */
unsigned aio_cut(struct iovec *to, const struct iovec *from, unsigned n, uint64_t bytes);
/* Does it now, by a system call; EINTR and EAGAIN are tried again. */
int64_t aio_do(const struct aio_req *r, const struct iovec *iov, unsigned n_iov);

#endif
