/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay.c - writes go to a second file that nobody keeps; the disk below is only read.
 *
 * Theory of operation. One bit a page of PAGE bytes says whether it lives in the upper file, which has a page at the same
 * offset as the disk. A read is cut into runs of pages that live in the same place, one request each. A write goes to
 * the upper file; where it covers a page only in part and that page is still below, the page is read first and written
 * together with it (two pages, one at each end, at most). The bits are set when the write is done: a read meanwhile
 * sees what was there before, as it may.
 *
 * Two writes into one page that is still below would each copy it, and one of them would be lost. So a write that copies
 * waits until no write in flight touches its pages, and a write waits for a copying one that touches its pages. What
 * waits keeps its order. Guests write whole pages nearly always, so hardly anything waits.
 *
 * Nothing is to outlive the process, or the state that it saves (vm/disks_state.c): a flush does nothing. A discard does nothing either, which is allowed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blk/layer.h"

#define PAGE OVERLAY_PAGE
#define WRITE_PARTS 3u /* edge, middle, edge */

struct overlay_op;

struct overlay_part {
	struct blk_io io;
	struct overlay_op *op;
};

struct overlay_op {
	struct overlay *o;
	struct blk_io *io;
	struct overlay_op *next; /* in `writing`, `waiting` or `over` */
	uint64_t first, last;	 /* pages it touches, both included */
	bool copy_first, copy_last;
	bool reading; /* the pages to be copied */
	unsigned pending;
	int result;
	struct overlay_part *part;
	struct iovec *iov; /* for all parts */
	uint8_t *edge;	   /* 2 pages: the first, the last */
};

struct overlay {
	struct blk_layer layer;
	struct blk_layer *lower, *upper;
	struct loop *loop;
	uint64_t *map; /* one bit a page: it is in the upper file */
	struct overlay_op *writing;
	struct overlay_op *waiting, **waiting_tail;
	struct overlay_op *over; /* to be completed by `work` */
	struct loop_work work;
	struct layer_refused refused;
};

static struct overlay *overlay_of(struct blk_layer *l)
{
	return container_of(l, struct overlay, layer);
}

static bool overlay_has(const struct overlay *o, uint64_t page)
{
	return o->map[page / 64] >> (page % 64) & 1;
}

/* Bytes of a page that lie inside of the disk. */
static uint64_t overlay_page_bytes(const struct overlay *o, uint64_t page)
{
	return MIN(PAGE, o->layer.info.size - page * PAGE);
}

/* ---- the end of a request ---- */

static void overlay_finish(struct overlay_op *op)
{
	struct blk_io *io = op->io;
	int result = op->result;

	free(op->part);
	free(op->iov);
	free(op->edge);
	free(op);
	io->done(io, result);
}

/* For what needs nothing from below, or could not begin. */
static void overlay_later(struct overlay_op *op, int result)
{
	struct overlay *o = op->o;

	op->result = result;
	op->next = o->over;
	o->over = op;
	loop_post(o->loop, &o->work);
}

static void overlay_run_over(void *ctx)
{
	struct overlay *o = ctx;
	struct overlay_op *list = o->over;

	o->over = NULL;
	while (list) {
		struct overlay_op *op = list;

		list = op->next;
		overlay_finish(op);
	}
	layer_batch(&o->layer);
}

static void overlay_part_submit(struct overlay_op *op, unsigned i, struct blk_layer *to,
				enum blk_op what, uint64_t offset, uint64_t bytes,
				const struct iovec *iov, unsigned n_iov,
				void (*done)(struct blk_io *io, int result))
{
	struct overlay_part *p = &op->part[i];

	p->op = op;
	p->io = (struct blk_io){.op = what,
				.flags = what == BLK_WRITE_ZEROES ? BLK_UNMAP : 0,
				.offset = offset,
				.bytes = bytes,
				.iov = iov,
				.n_iov = n_iov,
				.done = done};
	op->pending++;
	to->class->submit(to, &p->io);
}

/* ---- reads ---- */

static void overlay_read_done(struct blk_io *below, int result)
{
	struct overlay_op *op = container_of(below, struct overlay_part, io)->op;

	if (result && !op->result)
		op->result = result;
	if (!--op->pending)
		overlay_finish(op);
}

/* Where the run that begins at `offset` ends, at most at `end`. */
static uint64_t overlay_run(const struct overlay *o, uint64_t offset, uint64_t end, bool *upper)
{
	uint64_t page = offset / PAGE;

	*upper = overlay_has(o, page);
	for (page++; page * PAGE < end && overlay_has(o, page) == *upper; page++)
		;
	return MIN(page * PAGE, end);
}

/* The next `bytes` of *from, which is `skip` bytes into its first piece; moves both on. Returns how many pieces. */
static unsigned overlay_slice(struct iovec *to, const struct iovec **from, uint64_t *skip,
			      uint64_t bytes)
{
	unsigned n = 0;

	while (bytes) {
		uint64_t len = MIN((*from)->iov_len - *skip, bytes);

		to[n++] = (struct iovec){(uint8_t *)(*from)->iov_base + *skip, len};
		bytes -= len;
		*skip += len;
		if (*skip == (*from)->iov_len) {
			++*from;
			*skip = 0;
		}
	}
	return n;
}

static void overlay_read(struct overlay_op *op)
{
	struct overlay *o = op->o;
	struct blk_io *io = op->io;
	uint64_t end = io->offset + io->bytes, skip = 0, at;
	const struct iovec *from = io->iov;
	unsigned n = 0, i = 0, used = 0;
	bool upper;

	for (at = io->offset; at < end; at = overlay_run(o, at, end, &upper))
		n++;
	op->part = calloc(MAX(n, 1u), sizeof(*op->part));
	op->iov = calloc(io->n_iov + n, sizeof(*op->iov));
	if (!op->part || !op->iov) {
		overlay_later(op, -ENOMEM);
		return;
	}
	for (at = io->offset; at < end; i++) {
		uint64_t to = overlay_run(o, at, end, &upper);
		unsigned k = overlay_slice(&op->iov[used], &from, &skip, to - at);

		overlay_part_submit(op, i, upper ? o->upper : o->lower, BLK_READ, at, to - at,
				    &op->iov[used], k, overlay_read_done);
		used += k;
		at = to;
	}
}

/* ---- writes ---- */

static void overlay_start_waiting(struct overlay *o);

static void overlay_write_over(struct overlay_op *op)
{
	struct overlay *o = op->o;
	struct overlay_op **p = &o->writing;

	while (*p != op)
		p = &(*p)->next;
	*p = op->next;
	for (uint64_t i = op->first; !op->result && i <= op->last; i++)
		o->map[i / 64] |= BIT(i % 64);
	overlay_finish(op);
	overlay_start_waiting(o);
}

static void overlay_write_done(struct blk_io *below, int result);

/* Everything is there: writes the edges that were copied, and what is between them. */
static void overlay_write_out(struct overlay_op *op)
{
	struct overlay *o = op->o;
	struct blk_io *io = op->io;
	uint64_t begin = op->copy_first ? op->first * PAGE : io->offset;
	uint64_t end = io->offset + io->bytes;
	uint64_t stop = op->copy_last ? op->last * PAGE + overlay_page_bytes(o, op->last) : end;
	unsigned n = 0, i = 0;

	op->reading = false;
	if (io->op == BLK_WRITE) {
		if (begin < io->offset)
			op->iov[n++] = (struct iovec){op->edge, io->offset - begin};
		memcpy(&op->iov[n], io->iov, io->n_iov * sizeof(*io->iov));
		n += io->n_iov;
		if (stop > end)
			op->iov[n++] = (struct iovec){op->edge + PAGE + end % PAGE, stop - end};
		overlay_part_submit(op, 0, o->upper, BLK_WRITE, begin, stop - begin, op->iov, n,
				    overlay_write_done);
		o->upper->class->commit(o->upper);
		return;
	}
	/* Zeroes: the edge before, the edge behind, and the range as such. */
	op->pending++; /* until all are handed in */
	if (begin < io->offset) {
		op->iov[0] = (struct iovec){op->edge, io->offset - begin};
		overlay_part_submit(op, i++, o->upper, BLK_WRITE, begin, io->offset - begin,
				    &op->iov[0], 1, overlay_write_done);
	}
	if (stop > end) {
		op->iov[1] = (struct iovec){op->edge + PAGE + end % PAGE, stop - end};
		overlay_part_submit(op, i++, o->upper, BLK_WRITE, end, stop - end, &op->iov[1], 1,
				    overlay_write_done);
	}
	overlay_part_submit(op, i, o->upper, BLK_WRITE_ZEROES, io->offset, io->bytes, NULL, 0,
			    overlay_write_done);
	op->pending--;
	o->upper->class->commit(o->upper);
}

/* After a part of the copying, or of the writing. */
static void overlay_write_done(struct blk_io *below, int result)
{
	struct overlay_op *op = container_of(below, struct overlay_part, io)->op;

	if (result && !op->result)
		op->result = result;
	if (--op->pending)
		return;
	if (op->reading && !op->result)
		overlay_write_out(op);
	else
		overlay_write_over(op);
}

static void overlay_copy_page(struct overlay_op *op, unsigned i, uint64_t page)
{
	struct overlay *o = op->o;
	uint64_t bytes = overlay_page_bytes(o, page);

	op->iov[i] = (struct iovec){op->edge + i * PAGE, bytes};
	overlay_part_submit(op, i, o->lower, BLK_READ, page * PAGE, bytes, &op->iov[i], 1,
			    overlay_write_done);
}

static void overlay_start(struct overlay_op *op)
{
	struct overlay *o = op->o;

	op->next = o->writing;
	o->writing = op;
	if (!op->copy_first && !op->copy_last) {
		overlay_write_out(op);
		return;
	}
	op->reading = true;
	op->pending++; /* until both are handed in */
	if (op->copy_first)
		overlay_copy_page(op, 0, op->first);
	if (op->copy_last)
		overlay_copy_page(op, 1, op->last);
	op->pending--;
	o->lower->class->commit(o->lower);
}

/* Which pages it has to copy, as things are now. */
static void overlay_plan(struct overlay_op *op)
{
	const struct overlay *o = op->o;
	uint64_t end = op->io->offset + op->io->bytes;

	op->copy_first = op->io->offset % PAGE && !overlay_has(o, op->first);
	op->copy_last = end % PAGE && end < o->layer.info.size && !overlay_has(o, op->last);
}

static bool overlay_may_start(struct overlay_op *op)
{
	overlay_plan(op);
	for (const struct overlay_op *w = op->o->writing; w; w = w->next)
		if (w->first <= op->last && op->first <= w->last &&
		    (op->copy_first || op->copy_last || w->copy_first || w->copy_last))
			return false;
	return true;
}

static void overlay_start_waiting(struct overlay *o)
{
	while (o->waiting && overlay_may_start(o->waiting)) {
		struct overlay_op *op = o->waiting;

		o->waiting = op->next;
		if (!o->waiting)
			o->waiting_tail = &o->waiting;
		overlay_start(op);
	}
}

static void overlay_write(struct overlay_op *op)
{
	struct overlay *o = op->o;

	op->part = calloc(WRITE_PARTS, sizeof(*op->part));
	op->iov = calloc(op->io->n_iov + WRITE_PARTS, sizeof(*op->iov));
	op->edge = op->io->offset % PAGE || (op->io->offset + op->io->bytes) % PAGE ?
			   aligned_alloc(PAGE, 2 * PAGE) :
			   NULL;
	overlay_plan(op);
	if (!op->part || !op->iov || (!op->edge && (op->copy_first || op->copy_last))) {
		overlay_later(op, -ENOMEM);
		return;
	}
	if (!o->waiting && overlay_may_start(op)) {
		overlay_start(op);
		return;
	}
	op->next = NULL;
	*o->waiting_tail = op;
	o->waiting_tail = &op->next;
}

/* ---- the layer ---- */

static void overlay_submit(struct blk_layer *l, struct blk_io *io)
{
	struct overlay *o = overlay_of(l);
	struct overlay_op *op = calloc(1, sizeof(*op));

	if (!op) {
		layer_refuse(&o->refused, io);
		return;
	}
	op->o = o;
	op->io = io;
	op->first = io->offset / PAGE;
	op->last = io->bytes ? (io->offset + io->bytes - 1) / PAGE : op->first;
	switch (io->op) {
	case BLK_READ: overlay_read(op); break;
	case BLK_WRITE:
	case BLK_WRITE_ZEROES: overlay_write(op); break;
	default: overlay_later(op, 0); break;
	}
}

static void overlay_commit(struct blk_layer *l)
{
	struct overlay *o = overlay_of(l);

	o->lower->class->commit(o->lower);
	o->upper->class->commit(o->upper);
}

static bool overlay_wait(struct blk_layer *l)
{
	struct overlay *o = overlay_of(l);

	if (o->over) {
		overlay_run_over(o);
		return true;
	}
	return layer_refused_run(&o->refused) || o->upper->class->wait(o->upper) ||
	       o->lower->class->wait(o->lower);
}

static void overlay_destroy(struct blk_layer *l)
{
	struct overlay *o = overlay_of(l);

	loop_unpost(o->loop, &o->work);
	layer_refused_fini(&o->refused);
	if (o->upper)
		o->upper->class->destroy(o->upper);
	if (o->lower)
		o->lower->class->destroy(o->lower);
	free(o->map);
	free(o);
}

uint64_t *overlay_map(struct blk_layer *l, uint64_t *n_pages)
{
	struct overlay *o = overlay_of(l);

	*n_pages = (l->info.size + PAGE - 1) / PAGE;
	return o->map;
}

static void overlay_batch(void *ctx)
{
	layer_batch(&((struct overlay *)ctx)->layer);
}

static const struct blk_layer_class overlay_class = {
	.name = "overlay",
	.submit = overlay_submit,
	.commit = overlay_commit,
	.wait = overlay_wait,
	.destroy = overlay_destroy,
};

int overlay_open(struct blk_layer **out, struct loop *loop, struct blk_layer *lower,
		 struct blk_layer *upper, struct err *e)
{
	struct overlay *o = calloc(1, sizeof(*o));

	*out = NULL;
	if (o)
		o->map = calloc((lower->info.size + 64 * PAGE - 1) / (64 * PAGE), sizeof(*o->map));
	if (!o || !o->map || upper->info.size < lower->info.size) {
		free(o ? o->map : NULL);
		free(o);
		lower->class->destroy(lower);
		upper->class->destroy(upper);
		return err_errno(e, ENOMEM, "cannot make a throw-away layer");
	}
	o->layer.class = &overlay_class;
	o->layer.info = lower->info;
	o->layer.info.read_only = false;
	o->layer.info.discard = o->layer.info.write_zeroes = true;
	o->layer.info.can_grow = false;
	o->lower = lower;
	o->upper = upper;
	o->loop = loop;
	o->waiting_tail = &o->waiting;
	loop_work_init(&o->work, overlay_run_over, o);
	layer_refused_init(&o->refused, loop, &o->layer);
	layer_set_batch(lower, overlay_batch, o);
	layer_set_batch(upper, overlay_batch, o);
	*out = &o->layer;
	return 0;
}
