/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio.h - asynchronous operations on one open file: io_uring, or a pool of threads where the host switches it off.
 *
 * Loop thread only. A request is handed in by aio_submit(), sent with all others of the batch by aio_commit(), and
 * completes once, by its `done`, on the loop thread: from the loop or from aio_wait(), never from inside of
 * aio_submit() or aio_commit(). `done` may submit again. A result is what the system call gave: bytes, which may be fewer than
 * were asked for, or -errno; EINTR and EAGAIN are not seen here.
 */
#ifndef LODGE_BLK_AIO_H
#define LODGE_BLK_AIO_H

#include <sys/uio.h>

#include "util/err.h"
#include "util/loop.h"

enum aio_kind { AIO_AUTO, AIO_URING, AIO_THREADS };

enum aio_op {
	AIO_READ,
	AIO_WRITE,
	AIO_SYNC,      /* fdatasync() */
	AIO_FALLOCATE, /* with `mode`, of [offset, offset + bytes) */
};

struct aio_req {
	/* The caller's, unchanged until `done`. */
	enum aio_op op;
	int fd;
	uint64_t offset;
	uint64_t bytes;		 /* of all of iov, or of the range */
	const struct iovec *iov; /* AIO_READ, AIO_WRITE; memory stays in place until `done` */
	unsigned n_iov;		 /* at most IOV_MAX */
	bool dsync;		 /* AIO_WRITE: is on stable storage when it completes (RWF_DSYNC) */
	int mode;		 /* AIO_FALLOCATE */
	void (*done)(struct aio_req *r, int64_t result);

	/* Ours. */
	struct aio_req *next;
	int64_t result;
};

struct aio;

/* A test's hand on results: called before a request goes to the system, on any thread. 0: go on; below: fails with it;
 * above: only so many bytes of a read or write are done. */
typedef int64_t (*aio_fault_fn)(void *ctx, const struct aio_req *r);

/*
 * For a process that is about to lock itself in: makes rings for n files, as far as the host lets it. Afterwards no other ring is ever
 * made; one that is given back serves again.
 */
#define AIO_PREPARED_MAX 16u
void aio_prepare(unsigned n);

/* AIO_AUTO: io_uring if the host lets us. AIO_URING on a host without: -errno. */
int aio_create(struct aio **out, struct loop *l, enum aio_kind kind, struct err *e);
/* Nothing may be in flight. Accepts NULL. */
void aio_destroy(struct aio *a);
enum aio_kind aio_kind(const struct aio *a); /* which one it is: never AIO_AUTO */
extern const char *const aio_kind_names[];   /* "auto", "io_uring", "threads", NULL */

void aio_submit(struct aio *a, struct aio_req *r);
/* Completes like any other, with this result, without a system call. */
void aio_submit_error(struct aio *a, struct aio_req *r, int error);
void aio_commit(struct aio *a);
/* Commits, waits until something has completed and dispatches it. False: nothing is in flight. */
bool aio_wait(struct aio *a);
/* Called after each round of completions: for who has something to do once for all of them. */
void aio_set_batch(struct aio *a, void (*fn)(void *ctx), void *ctx);
void aio_set_fault(struct aio *a, aio_fault_fn fn, void *ctx);

#endif
