/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio_uring.c - io_uring: a batch of requests is one system call.
 *
 * Theory of operation. Submissions are written to the ring and sent by one io_uring_enter() at the commit. The ring's
 * own descriptor becomes readable when there are completions: the loop watches it, level-triggered, so what the kernel
 * could do at once (a read from the page cache) is picked up in the next round. The kernel does what it
 * cannot do without waiting on threads of its own.
 *
 * Requests that io_uring_enter() does not take (EAGAIN, EBUSY: no memory, or too many completions unread) stay in the
 * submission ring; each later commit and each harvest sends them again. When the ring is full, requests wait in a list.
 *
 * A large read or write of the page cache is mostly copying. The kernel would do it inside of io_uring_enter(), on the
 * loop thread, one request after the other; from LARGE_BYTES on it is told to use its threads (IOSQE_ASYNC).
 *
 * The kernel does what stands in a ring without asking the filter of system calls. So a ring is restricted for ever, before its first
 * request, to the four operations below, which the filter allows as system calls too (IORING_REGISTER_RESTRICTIONS, Linux 5.10); and a
 * process that locks itself in makes its rings before, and cannot make another one afterwards (aio_prepare()).
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <liburing.h>

#include "blk/aio_internal.h"
#include "util/log.h"

#define URING_ENTRIES 128u
#define URING_HARVEST 64u
#define LARGE_BYTES (512 * KIB)

static const uint8_t uring_ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				    IORING_OP_FALLOCATE};

struct uring {
	struct io_uring ring;
	bool up;
	struct loop_fd *watch;
	struct aio_req *waiting, **waiting_tail; /* the submission ring was full */
	unsigned n_unsent;			 /* in the submission ring */
};

static void uring_ready(void *ctx, int fd, uint32_t events);

/* Rings that were made beforehand and are not in use. Loop thread. */
static struct {
	bool only; /* no others can be made */
	unsigned n;
	struct io_uring ring[AIO_PREPARED_MAX];
} uring_pool;

static bool uring_has_ops(struct io_uring *ring)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);
	bool all = p != NULL;

	for (unsigned i = 0; all && i < ARRAY_SIZE(uring_ops); i++)
		all = io_uring_opcode_supported(p, uring_ops[i]);
	io_uring_free_probe(p);
	return all;
}

static int uring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction res[ARRAY_SIZE(uring_ops) + 1] = {{0}};
	unsigned n;
	int r;

	for (n = 0; n < ARRAY_SIZE(uring_ops); n++) {
		res[n].opcode = IORING_RESTRICTION_SQE_OP;
		res[n].sqe_op = uring_ops[n];
	}
	res[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	res[n++].sqe_flags = IOSQE_ASYNC;
	/* (The library has these calls in its header, and some versions not in the file that is linked.) */
	r = (int)syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, res, n);
	if (r == 0)
		r = (int)syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS,
				 NULL, 0);
	return r < 0 ? -errno : 0;
}

static int uring_make(struct io_uring *ring, struct err *e)
{
	int r = io_uring_queue_init(URING_ENTRIES, ring, IORING_SETUP_R_DISABLED);

	if (r < 0)
		return err_errno(e, -r, "io_uring cannot be used on this host");
	(void)io_uring_ring_dontfork(ring);
	if (uring_has_ops(ring) && (ring->features & IORING_FEAT_NODROP) &&
	    uring_restrict(ring) == 0)
		return 0;
	io_uring_queue_exit(ring);
	return err_set(e, ENOSYS, "the host's io_uring is too old");
}

void aio_prepare(unsigned n)
{
	uring_pool.only = true;
	while (uring_pool.n < MIN(n, AIO_PREPARED_MAX) &&
	       uring_make(&uring_pool.ring[uring_pool.n], NULL) == 0)
		uring_pool.n++;
}

static int uring_get(struct io_uring *ring, struct err *e)
{
	if (!uring_pool.only)
		return uring_make(ring, e);
	if (!uring_pool.n)
		return err_set(
			e, ENOSYS,
			"there is no I/O ring left: the VM process made those of its first disks before it locked itself in, if the host lets it");
	*ring = uring_pool.ring[--uring_pool.n];
	return 0;
}

/* Nothing is in flight, so the ring is as good as new. */
static void uring_put_back(struct io_uring *ring)
{
	if (uring_pool.only)
		uring_pool.ring[uring_pool.n++] = *ring;
	else
		io_uring_queue_exit(ring);
}

static int uring_create(struct aio *a, struct err *e)
{
	struct uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_errno(e, ENOMEM, "cannot make an I/O queue");
	a->priv = u;
	u->waiting_tail = &u->waiting;
	r = uring_get(&u->ring, e);
	if (r < 0)
		return r;
	u->up = true;
	r = loop_fd_add(a->loop, u->ring.ring_fd, EPOLLIN, uring_ready, a, &u->watch);
	return r < 0 ? err_errno(e, -r, "cannot wait for io_uring") : 0;
}

static void uring_destroy(struct aio *a)
{
	struct uring *u = a->priv;

	if (!u)
		return;
	loop_fd_del(u->watch);
	if (u->up)
		uring_put_back(&u->ring);
	free(u);
	a->priv = NULL;
}

static void uring_prepare(struct io_uring_sqe *sqe, const struct aio_req *r)
{
	switch (r->op) {
	case AIO_READ: io_uring_prep_readv(sqe, r->fd, r->iov, r->n_iov, r->offset); break;
	case AIO_WRITE:
		io_uring_prep_writev2(sqe, r->fd, r->iov, r->n_iov, r->offset,
				      r->dsync ? RWF_DSYNC : 0);
		break;
	case AIO_SYNC: io_uring_prep_fsync(sqe, r->fd, IORING_FSYNC_DATASYNC); break;
	case AIO_FALLOCATE:
		io_uring_prep_fallocate(sqe, r->fd, r->mode, (off_t)r->offset, (off_t)r->bytes);
		break;
	}
	if (r->bytes >= LARGE_BYTES)
		io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	io_uring_sqe_set_data(sqe, (void *)(uintptr_t)r);
}

/* Sends what is in the submission ring.
 * seccomp vm: io_uring_enter */
static void uring_send(struct uring *u)
{
	while (u->n_unsent) {
		int n = io_uring_submit(&u->ring);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			if (n < 0 && n != -EAGAIN && n != -EBUSY)
				log_error_limited("io_uring does not take requests (errno %d)", -n);
			break;
		}
		u->n_unsent -= MIN((unsigned)n, u->n_unsent);
	}
}

static bool uring_put(struct uring *u, const struct aio_req *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		uring_send(u);
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (!sqe)
		return false;
	uring_prepare(sqe, r);
	u->n_unsent++;
	return true;
}

static void uring_submit(struct aio *a, struct aio_req *r)
{
	struct uring *u = a->priv;

	if (!u->waiting && uring_put(u, r))
		return;
	r->next = NULL;
	*u->waiting_tail = r;
	u->waiting_tail = &r->next;
}

static void uring_commit(struct aio *a)
{
	struct uring *u = a->priv;

	while (u->waiting && uring_put(u, u->waiting)) {
		u->waiting = u->waiting->next;
		if (!u->waiting)
			u->waiting_tail = &u->waiting;
	}
	uring_send(u);
}

/* Dispatches what has completed. */
static void uring_harvest(struct aio *a)
{
	struct io_uring_cqe *cqe[URING_HARVEST];
	struct uring *u = a->priv;
	struct aio_req *done = NULL, **tail = &done;
	unsigned n = io_uring_peek_batch_cqe(&u->ring, cqe, URING_HARVEST);

	/* First out of the ring, then called: `done` may come back to it. */
	for (unsigned i = 0; i < n; i++) {
		struct aio_req *r = io_uring_cqe_get_data(cqe[i]);

		r->result = cqe[i]->res;
		r->next = NULL;
		*tail = r;
		tail = &r->next;
	}
	io_uring_cq_advance(&u->ring, n);
	while (done) {
		struct aio_req *r = done;

		done = r->next;
		if (r->result == -EINTR || r->result == -EAGAIN)
			uring_submit(a, r); /* sent below */
		else
			aio_complete(a, r, r->result);
	}
	aio_round(a);
}

static void uring_ready(void *ctx, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	uring_harvest(ctx);
}

static void uring_wait(struct aio *a)
{
	struct uring *u = a->priv;
	int n = io_uring_submit_and_wait(&u->ring, 1);

	/* EINTR, EAGAIN, EBUSY: the caller comes again. */
	if (n > 0)
		u->n_unsent -= MIN((unsigned)n, u->n_unsent);
	uring_harvest(a);
}

const struct aio_class aio_uring = {
	.kind = AIO_URING,
	.create = uring_create,
	.destroy = uring_destroy,
	.submit = uring_submit,
	.commit = uring_commit,
	.wait = uring_wait,
};
