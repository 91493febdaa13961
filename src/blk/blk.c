/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.c - the checked front of a disk.
 *
 * Theory of operation. A request is in one of five places:
 *
 *   answered   refused by the checks, cancelled, or nothing to do: completes by a post
 *   held       waits for a limit, for its turn behind one that does, or for a resume; in order
 *   flight     with the layers
 *   full       came back because there was no room; goes to the head of `held` at a resume
 *   done       with its owner again
 *
 * Only blk_pump() moves requests from `held` to the layers. A request that finds nothing held and its limits open goes
 * there directly.
 */
#include "blk/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blk/layer.h"
#include "util/bucket.h"
#include "util/clock.h"
#include "util/log.h"

const char *const blk_op_names[] = {"read", "write", "flush", "discard", "write-zeroes", NULL};
_Static_assert(ARRAY_SIZE(blk_op_names) == BLK_OPS + 1, "a name for each operation");

struct queue {
	struct blk_req *first, **tail;
};

struct blk {
	struct loop *loop;
	struct blk_layer *top;
	char id[BLK_NAME_MAX];
	bool pause_when_full;
	struct blk_owner owner;
	struct blk_limits limits;
	struct bucket bps, iops;
	struct loop_timer timer; /* when the limits open again */
	struct queue answered, held, full;
	struct loop_work answer;
	uint64_t n_flight, n_held;
	bool paused;
	bool cancelling;
	bool flush_failed; /* latched */
	bool gone;	   /* ejected: `top` is `nothing` */
	struct blk_device device;
	struct blk_stats stats;
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->tail = &q->first;
}

static void queue_put(struct queue *q, struct blk_req *r)
{
	r->next = NULL;
	*q->tail = r;
	q->tail = &r->next;
}

static struct blk_req *queue_get(struct queue *q)
{
	struct blk_req *r = q->first;

	if (r) {
		q->first = r->next;
		if (!q->first)
			q->tail = &q->first;
	}
	return r;
}

/* ---- the end of a request ---- */

static void count(struct blk *b, const struct blk_req *r, int result)
{
	struct blk_op_stats *s = &b->stats.op[r->op];
	uint64_t ns = clock_ns() - r->start_ns, us = ns / CLOCK_NS_PER_US;
	unsigned bucket = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	if (result) {
		s->errors++;
		return;
	}
	s->ops++;
	s->bytes += r->bytes;
	s->total_ns += ns;
	s->latency[MIN(bucket, BLK_BUCKETS - 1)]++;
}

static void finish(struct blk *b, struct blk_req *r, int result)
{
	if (r->op < BLK_OPS)
		count(b, r, result);
	log_debug("disk %s: %s %llu+%llu: %d", b->id, r->op < BLK_OPS ? blk_op_names[r->op] : "?",
		  (unsigned long long)r->offset, (unsigned long long)r->bytes, result);
	r->done(r, result);
}

static void batch(void *ctx)
{
	struct blk *b = ctx;

	if (b->device.batch)
		b->device.batch(b->device.ctx);
}

static void answer(struct blk *b, struct blk_req *r, int result)
{
	r->result = result;
	queue_put(&b->answered, r);
	loop_post(b->loop, &b->answer);
}

static void run_answered(void *ctx)
{
	struct blk *b = ctx;
	struct queue list = b->answered;
	struct blk_req *r, *next;

	queue_init(&b->answered);
	for (r = list.first; r; r = next) {
		next = r->next;
		finish(b, r, r->result);
	}
	batch(b);
}

static void tell(struct blk *b, enum blk_event_kind kind, const struct blk_req *r, int result)
{
	struct blk_event ev = {.kind = kind, .error = -result};

	if (r) {
		ev.op = r->op;
		ev.offset = r->offset;
		ev.bytes = r->bytes;
	}
	if (b->owner.event)
		b->owner.event(b->owner.ctx, b, &ev);
}

static bool no_room(const struct blk_req *r, int result)
{
	return (result == -ENOSPC || result == -EDQUOT) && r->op != BLK_READ && r->op != BLK_FLUSH;
}

/* Is somebody still waiting for it? */
static bool wanted(const struct blk *b, const struct blk_req *r)
{
	return !b->cancelling && (!b->device.wanted || b->device.wanted(b->device.ctx, r));
}

/* A layer is done with it. */
static void layer_done(struct blk_io *io, int result)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct blk *b = r->blk;

	b->n_flight--;
	if (no_room(r, result) && b->pause_when_full) {
		bool first = !b->full.first;

		if (!wanted(b, r)) {
			finish(b, r, -ECANCELED);
			return;
		}
		queue_put(&b->full, r);
		b->n_held++;
		if (first) {
			b->stats.stalls++;
			tell(b, BLK_EV_FULL, r, result);
		}
		return;
	}
	if (result && r->op == BLK_FLUSH) {
		bool first = !b->flush_failed;

		b->flush_failed = true;
		result = -EIO;
		if (first)
			tell(b, BLK_EV_FLUSH, r, result);
	} else if (result) {
		tell(b, BLK_EV_ERROR, r, result);
	}
	finish(b, r, result);
}

/* ---- the way in ---- */

static void start(struct blk *b, struct blk_req *r)
{
	if (b->bps.cfg.rate || b->iops.cfg.rate) {
		uint64_t now = clock_ns();

		bucket_take(&b->iops, 1, now);
		if (r->op == BLK_READ || r->op == BLK_WRITE)
			bucket_take(&b->bps, r->bytes, now);
	}
	b->n_flight++;
	r->io = (struct blk_io){.op = r->op,
				.flags = r->flags,
				.offset = r->offset,
				.bytes = r->bytes,
				.iov = r->iov,
				.n_iov = r->n_iov,
				.done = layer_done};
	b->top->class->submit(b->top, &r->io);
}

/* 0, or when to look again. */
static uint64_t limits_open(struct blk *b)
{
	uint64_t now, bps, iops;

	if (!b->bps.cfg.rate && !b->iops.cfg.rate)
		return 0;
	now = clock_ns();
	bps = bucket_wait(&b->bps, now);
	iops = bucket_wait(&b->iops, now);
	return bps || iops ? now + MAX(bps, iops) : 0;
}

/* Starts what may start. */
static void pump(struct blk *b)
{
	uint64_t when;

	while (b->held.first && !b->paused) {
		when = limits_open(b);
		if (when) {
			(void)loop_timer_set(&b->timer, when);
			return;
		}
		b->n_held--;
		start(b, queue_get(&b->held));
	}
}

static void limits_due(void *ctx)
{
	struct blk *b = ctx;

	pump(b);
	b->top->class->commit(b->top);
}

static uint64_t iov_bytes(const struct blk_req *r)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < r->n_iov; i++)
		n += r->iov[i].iov_len;
	return n;
}

/* What the layers rely on. 0: go on; 1: nothing to do; -errno: refused. */
static int check(const struct blk *b, const struct blk_req *r)
{
	const struct blk_info *i = &b->top->info;

	if ((unsigned)r->op >= BLK_OPS)
		return -EINVAL;
	if (b->gone)
		return -EIO;
	if (r->op == BLK_FLUSH)
		return b->flush_failed ? -EIO : i->read_only;
	if (!r->bytes || (r->bytes | r->offset) & (i->block - 1) || r->offset > i->size ||
	    r->bytes > i->size - r->offset)
		return -EINVAL;
	if (r->op == BLK_READ || r->op == BLK_WRITE) {
		if (r->bytes > BLK_REQUEST_MAX || r->n_iov > BLK_IOV_MAX || iov_bytes(r) != r->bytes)
			return -EINVAL;
	}
	if (r->op != BLK_READ && i->read_only)
		return -EROFS;
	if ((r->op == BLK_DISCARD && !i->discard) || (r->op == BLK_WRITE_ZEROES && !i->write_zeroes))
		return -EOPNOTSUPP;
	return 0;
}

void blk_submit(struct blk *b, struct blk_req *r)
{
	int bad = check(b, r);

	r->blk = b;
	r->start_ns = clock_ns();
	if (bad) {
		b->stats.refused += bad < 0;
		answer(b, r, MIN(bad, 0));
		return;
	}
	if (!b->paused && !b->held.first && !limits_open(b)) {
		start(b, r);
		return;
	}
	b->stats.throttled += !b->paused;
	queue_put(&b->held, r);
	b->n_held++;
	pump(b);
}

void blk_commit(struct blk *b)
{
	b->top->class->commit(b->top);
}

/* ---- stopping and going on ---- */

bool blk_full(const struct blk *b)
{
	return b->full.first;
}

static void cancel_in(struct blk *b, struct queue *q)
{
	struct queue all = *q;
	struct blk_req *r, *next;

	queue_init(q);
	for (r = all.first; r; r = next) {
		next = r->next;
		if (wanted(b, r)) {
			queue_put(q, r);
		} else {
			b->n_held--;
			answer(b, r, -ECANCELED);
		}
	}
}

void blk_cancel(struct blk *b)
{
	cancel_in(b, &b->held);
	cancel_in(b, &b->full);
	if (!b->held.first)
		loop_timer_cancel(&b->timer);
}

static void wait_flight(struct blk *b)
{
	while (b->n_flight)
		if (!b->top->class->wait(b->top))
			break;
}

void blk_drain(struct blk *b)
{
	b->cancelling = true;
	do {
		blk_cancel(b);
		wait_flight(b);
		run_answered(b);
	} while (b->n_flight || b->held.first || b->full.first || b->answered.first);
	b->cancelling = false;
}

void blk_pause(struct blk *b)
{
	struct blk_req *r;

	b->paused = true;
	loop_timer_cancel(&b->timer);
	while ((r = queue_get(&b->held))) {
		b->n_held--;
		start(b, r);
	}
	wait_flight(b);
	if (b->answered.first)
		run_answered(b);
}

void blk_resume(struct blk *b)
{
	if (b->full.first) {
		*b->full.tail = b->held.first;
		if (b->held.first)
			b->full.tail = b->held.tail;
		b->held = b->full;
		queue_init(&b->full);
	}
	b->paused = false;
	pump(b);
	b->top->class->commit(b->top);
}

/* ---- the rest ---- */

void blk_set_limits(struct blk *b, const struct blk_limits *limits)
{
	b->limits = *limits;
	bucket_set(&b->bps, &(struct bucket_config){limits->bps, limits->bps_burst});
	bucket_set(&b->iops, &(struct bucket_config){limits->iops, limits->iops_burst});
	loop_timer_cancel(&b->timer);
	pump(b);
	b->top->class->commit(b->top);
}

/* ---- a disk whose file was taken away ---- */

static void nothing_submit(struct blk_layer *l, struct blk_io *io)
{
	(void)l;
	(void)io;
	ASSERT(false); /* check() lets nothing through */
}

static void nothing_commit(struct blk_layer *l)
{
	(void)l;
}

static bool nothing_wait(struct blk_layer *l)
{
	(void)l;
	return false;
}

static void nothing_destroy(struct blk_layer *l)
{
	free(l);
}

static const struct blk_layer_class nothing_class = {
	.name = "nothing",
	.submit = nothing_submit,
	.commit = nothing_commit,
	.wait = nothing_wait,
	.destroy = nothing_destroy,
};

int blk_eject(struct blk *b, struct err *e)
{
	struct blk_layer *l = calloc(1, sizeof(*l));

	if (!l)
		return err_set(e, ENOMEM, "out of memory");
	l->class = &nothing_class;
	l->info = b->top->info;
	l->info.can_grow = false;
	b->gone = true; /* before the drain: what comes from its completions fails, too */
	blk_drain(b);
	b->top->class->destroy(b->top);
	b->top = l;
	return 0;
}

const struct blk_limits *blk_limits(const struct blk *b)
{
	return &b->limits;
}

int blk_grow(struct blk *b, uint64_t bytes, struct err *e)
{
	uint64_t before = b->top->info.size;
	int r;

	if (!b->top->class->grow || !b->top->info.can_grow) {
		err_set(e, EOPNOTSUPP, "the disk %s cannot grow: it is %s", b->id,
			b->gone		       ? "taken away" :
			b->top->info.read_only ? "read-only" :
						 "a throw-away one");
		err_field(e, "disk", b->id);
		return -EOPNOTSUPP;
	}
	r = b->top->class->grow(b->top, bytes, e);
	if (r || b->top->info.size == before)
		return r;
	tell(b, BLK_EV_SIZE, NULL, 0);
	if (b->device.resized)
		b->device.resized(b->device.ctx);
	return 0;
}

void blk_set_device(struct blk *b, const struct blk_device *d)
{
	b->device = d ? *d : (struct blk_device){0};
}

void blk_stats(const struct blk *b, struct blk_stats *out)
{
	*out = b->stats;
	out->in_flight = b->n_flight;
	out->held = b->n_held;
}

const char *blk_id(const struct blk *b)
{
	return b->id;
}

const struct blk_info *blk_info(const struct blk *b)
{
	return &b->top->info;
}

struct blk_layer *blk_top(struct blk *b)
{
	return b->top;
}

int blk_create(struct blk **out, struct loop *l, struct blk_layer *top,
	       const struct blk_config *cfg, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));

	*out = NULL;
	if (!b) {
		top->class->destroy(top);
		return err_errno(e, ENOMEM, "cannot make a disk");
	}
	if (strlen(cfg->id) >= sizeof(b->id)) {
		free(b);
		top->class->destroy(top);
		return err_set(e, EINVAL, "the name of a disk is too long");
	}
	b->loop = l;
	b->top = top;
	strcpy(b->id, cfg->id);
	b->pause_when_full = cfg->pause_when_full;
	b->owner = cfg->owner;
	queue_init(&b->answered);
	queue_init(&b->held);
	queue_init(&b->full);
	loop_work_init(&b->answer, run_answered, b);
	loop_timer_init(&b->timer, l, limits_due, b);
	blk_set_limits(b, &cfg->limits);
	layer_set_batch(top, batch, b);
	*out = b;
	return 0;
}

void blk_destroy(struct blk *b)
{
	if (!b)
		return;
	blk_drain(b);
	loop_timer_cancel(&b->timer);
	loop_unpost(b->loop, &b->answer);
	b->top->class->destroy(b->top);
	free(b);
}
