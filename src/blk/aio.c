/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio.c - the choice between io_uring and threads, and what both need.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "blk/aio_internal.h"
#include "util/log.h"

const char *const aio_kind_names[] = {"auto", "io_uring", "threads", NULL};

static void aio_run_answered(void *ctx)
{
	struct aio *a = ctx;
	struct aio_req *list = a->answered;

	a->answered = NULL;
	a->answered_tail = &a->answered;
	while (list) {
		struct aio_req *r = list;

		list = r->next;
		aio_complete(a, r, r->result);
	}
	aio_round(a);
}

static int aio_try(struct aio *a, const struct aio_class *class, struct err *e)
{
	int r;

	a->class = class;
	r = class->create(a, e);
	if (r)
		class->destroy(a);
	return r;
}

int aio_create(struct aio **out, struct loop *l, enum aio_kind kind, struct err *e)
{
	struct aio *a = calloc(1, sizeof(*a));
	struct err why = {0};
	int r = -ENOSYS;

	*out = NULL;
	if (!a)
		return err_errno(e, ENOMEM, "cannot make an I/O queue");
	a->loop = l;
	a->answered_tail = &a->answered;
	loop_work_init(&a->answered_work, aio_run_answered, a);
	if (kind != AIO_THREADS) {
		r = aio_try(a, &aio_uring, kind == AIO_URING ? e : &why);
		if (r && kind == AIO_AUTO)
			log_debug("%s: threads are used", why.msg);
	}
	if (r && kind != AIO_URING)
		r = aio_try(a, &aio_threads, e);
	if (r) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

void aio_destroy(struct aio *a)
{
	if (!a)
		return;
	ASSERT(!a->n_flight);
	loop_unpost(a->loop, &a->answered_work);
	a->class->destroy(a);
	free(a);
}

enum aio_kind aio_kind(const struct aio *a)
{
	return a->class->kind;
}

void aio_set_batch(struct aio *a, void (*fn)(void *ctx), void *ctx)
{
	a->batch = fn;
	a->batch_ctx = ctx;
}

void aio_round(struct aio *a)
{
	if (a->batch)
		a->batch(a->batch_ctx);
	a->class->commit(a);
}

void aio_set_fault(struct aio *a, aio_fault_fn fn, void *ctx)
{
	a->fault = fn;
	a->fault_ctx = ctx;
}

void aio_complete(struct aio *a, struct aio_req *r, int64_t result)
{
	a->n_flight--;
	r->done(r, result);
}

unsigned aio_cut(struct iovec *to, const struct iovec *from, unsigned n, uint64_t bytes)
{
	unsigned i;

	for (i = 0; i < n && bytes; i++) {
		to[i] = from[i];
		to[i].iov_len = MIN((uint64_t)from[i].iov_len, bytes);
		bytes -= to[i].iov_len;
	}
	return i;
}

int64_t aio_do(const struct aio_req *r, const struct iovec *iov, unsigned n_iov)
{
	ssize_t n;

	do {
		/* seccomp vm: preadv, pwritev2, fdatasync, fallocate */
		switch (r->op) {
		case AIO_READ: n = preadv(r->fd, iov, (int)n_iov, (off_t)r->offset); break;
		case AIO_WRITE:
			n = pwritev2(r->fd, iov, (int)n_iov, (off_t)r->offset,
				     r->dsync ? RWF_DSYNC : 0);
			break;
		case AIO_SYNC: n = fdatasync(r->fd); break;
		case AIO_FALLOCATE:
			n = fallocate(r->fd, r->mode, (off_t)r->offset, (off_t)r->bytes);
			break;
		default: return -EINVAL;
		}
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	return n < 0 ? -errno : n;
}

static void aio_answer(struct aio *a, struct aio_req *r, int64_t result)
{
	r->result = result;
	r->next = NULL;
	*a->answered_tail = r;
	a->answered_tail = &r->next;
	loop_post(a->loop, &a->answered_work);
}

/* What the test's hand says is done here, at once, so that both ways behave the same. */
static bool aio_faulted(struct aio *a, struct aio_req *r)
{
	int64_t limit = a->fault(a->fault_ctx, r);

	if (!limit)
		return false;
	if (limit > 0 && (r->op == AIO_READ || r->op == AIO_WRITE)) {
		struct iovec *iov = calloc(r->n_iov, sizeof(*iov));
		unsigned n = iov ? aio_cut(iov, r->iov, r->n_iov, (uint64_t)limit) : 0;

		limit = iov ? aio_do(r, iov, n) : -ENOMEM;
		free(iov);
	}
	aio_answer(a, r, limit);
	return true;
}

void aio_submit(struct aio *a, struct aio_req *r)
{
	ASSERT(r->n_iov <= IOV_MAX);
	a->n_flight++;
	if (!a->fault || !aio_faulted(a, r))
		a->class->submit(a, r);
}

void aio_submit_error(struct aio *a, struct aio_req *r, int error)
{
	a->n_flight++;
	aio_answer(a, r, error);
}

void aio_commit(struct aio *a)
{
	a->class->commit(a);
}

bool aio_wait(struct aio *a)
{
	if (!a->n_flight)
		return false;
	if (a->answered) {
		aio_run_answered(a);
		return true;
	}
	a->class->commit(a);
	a->class->wait(a);
	return true;
}
