/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - the block device (virtio 1.2 §5.2): several queues, flush, discard, write-zeroes, serial number, topology, growth.
 *
 * Theory of operation. A request is a chain: 16 bytes of header (out), data, one status byte (the last of in). One pass over a
 * queue hands all that is there to the block layer, and one blk_commit() sends it. Completions put the chain back
 * (virtq_push()); after each round of them the block layer calls batch(), which shows all at once to the driver, by one
 * interrupt. Data goes straight between guest memory and the file: the chain's own pieces are the request's.
 *
 * A discard or write-zeroes names up to SEGMENTS ranges; they were copied, and are done one after the other.
 *
 * Without VIRTIO_BLK_F_FLUSH the driver cannot ask for stable storage, so every write goes there before it completes
 * (§5.2.6.2).
 *
 * A reset cancels what has not begun and what finds no room on the host, and is told to the transport (virtio_stopped()) when nothing is with the block layer any
 * more: what was given up is never written later into a place that means something else by then.
 *
 * A pause waits until nothing is with the block layer; only what waits for room on the host stays, and then the disk cannot be
 * saved. So saved state is the queues' places alone. What the disk is (size, what it can) comes from the file at the load; it may
 * have grown, and the driver is told.
 *
 * What a driver gets wrong in a request is its status (IOERR, UNSUPP); what leaves no place for a status breaks the queue.
 */
#include "virtio/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/state.h"
#include "util/buf.h"
#include "util/log.h"

#define QUEUE_SIZE 256u
#define BATCH QUEUE_SIZE /* requests of a queue before others have their turn */
#define SEGMENTS 16u
#define RANGE_SECTORS_MAX (UINT32_C(1) << 21) /* of a discard, of a write-zeroes: 1 GiB */

/* §5.2.3 */
#define F_SEG_MAX BIT(2)
#define F_RO BIT(5)
#define F_BLK_SIZE BIT(6)
#define F_FLUSH BIT(9)
#define F_TOPOLOGY BIT(10)
#define F_MQ BIT(12)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)

/* §5.2.6 */
enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
};
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define HEADER 16u
#define SEGMENT 16u
#define SEGMENT_UNMAP 1u

/* §5.2.4; offsets in the configuration. */
enum {
	CFG_CAPACITY = 0,
	CFG_SEG_MAX = 12,
	CFG_BLK_SIZE = 20,
	CFG_PHYSICAL_EXP = 24,
	CFG_MIN_IO = 26,
	CFG_OPT_IO = 28,
	CFG_NUM_QUEUES = 34,
	CFG_DISCARD_SECTORS = 36,
	CFG_DISCARD_SEG = 40,
	CFG_DISCARD_ALIGN = 44,
	CFG_ZEROES_SECTORS = 48,
	CFG_ZEROES_SEG = 52,
	CFG_ZEROES_UNMAP = 56,
	CFG_SIZE = 60,
};

struct disk;

struct request {
	struct blk_req blk;
	struct disk *d;
	struct virtq_chain *chain;
	struct request *next; /* in the pool */
	struct iovec *iov;    /* ours, when the chain's pieces do not fit as they are */
	unsigned n_segments, at;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} segment[SEGMENTS];
};

struct disk {
	struct virtio_dev v;
	struct blk *blk;
	char id[BLK_NAME_MAX];
	uint8_t serial[DISK_SERIAL_MAX];
	struct request *pool;
	unsigned flight[DISK_QUEUES_MAX]; /* with the block layer, of each queue */
	unsigned n_flight;
	uint32_t pushed; /* bit: queue has something to show */
	bool stopping;	 /* virtio_stopped() is owed */
	uint32_t stopping_queues;
	struct loop_work settle; /* owed, and nothing is in flight */
	uint64_t n_bad;
};

static struct disk *from_virtio(struct virtio_dev *v)
{
	return container_of(v, struct disk, v);
}

/* ---- the end of a request ---- */

static void request_free(struct request *r)
{
	free(r->iov);
	r->next = r->d->pool;
	r->d->pool = r;
}

/* Puts the chain back with a status. */
static void answer(struct disk *d, struct virtq_chain *c, uint8_t status)
{
	struct virtq *q = c->q;

	virtq_chain_write(c, c->in_bytes - 1, &status, 1);
	virtq_push(q, c, c->in_bytes);
	d->pushed |= (uint32_t)BIT(q->index);
}

static void settle(void *ctx)
{
	struct disk *d = ctx;

	if (d->v.paused)
		return; /* resume() posts it again */
	if (d->stopping && !d->n_flight) {
		d->stopping = false;
		d->stopping_queues = 0;
		virtio_stopped(&d->v);
		return;
	}
	for (unsigned i = 0; i < d->v.n_queues; i++) {
		if (!(d->stopping_queues & BIT(i)) || d->flight[i])
			continue;
		d->stopping_queues &= ~(uint32_t)BIT(i);
		virtio_queue_stopped(&d->v, virtio_q(&d->v, i));
	}
}

static bool given_up(const struct request *r)
{
	return r->d->stopping || r->d->stopping_queues & BIT(r->chain->q->index);
}

static void finish(struct request *r, uint8_t status)
{
	struct disk *d = r->d;
	struct virtq_chain *c = r->chain;

	d->flight[c->q->index]--;
	d->n_flight--;
	if (given_up(r))
		loop_post(d->v.env->loop, &d->settle);
	else
		answer(d, c, status);
	request_free(r);
}

static void next_segment(struct request *r);

static void request_done(struct blk_req *b, int result)
{
	struct request *r = container_of(b, struct request, blk);

	if (result || ++r->at >= r->n_segments || given_up(r))
		finish(r, !result ? S_OK : result == -EOPNOTSUPP ? S_UNSUPP : S_IOERR);
	else
		next_segment(r);
}

static bool wanted(void *ctx, const struct blk_req *b)
{
	(void)ctx;
	return !given_up(container_of(b, struct request, blk));
}

/* Shows the driver what is done. */
static void batch(void *ctx)
{
	struct disk *d = ctx;
	uint32_t bits = d->pushed;

	d->pushed = 0;
	for (; bits; bits &= bits - 1) {
		struct virtq *q = virtio_q(&d->v, (unsigned)__builtin_ctz(bits));

		if (q->live)
			virtq_flush(q);
	}
}

/* ---- requests ---- */

static struct request *request_new(struct disk *d, struct virtq_chain *c)
{
	struct request *r = d->pool;

	if (r)
		d->pool = r->next;
	else
		r = malloc(sizeof(*r));
	if (!r)
		return NULL;
	r->d = d;
	r->chain = c;
	r->iov = NULL;
	r->n_segments = r->at = 0;
	r->blk = (struct blk_req){.done = request_done};
	d->flight[c->q->index]++;
	d->n_flight++;
	return r;
}

static void submit(struct request *r, enum blk_op op, unsigned flags, uint64_t sector,
		   uint64_t bytes)
{
	r->blk.op = op;
	r->blk.flags = flags;
	/* A sector beyond 2^55 is beyond the end of every disk; so is this. */
	r->blk.offset = sector > UINT64_MAX / BLK_SECTOR ? UINT64_MAX - BLK_SECTOR + 1 :
							   sector * BLK_SECTOR;
	r->blk.bytes = bytes;
	blk_submit(r->d->blk, &r->blk);
}

/* Data is all of a part but `skip` bytes at its begin and one status byte at the end of in. */
static bool set_data(struct request *r, bool in)
{
	const struct virtq_chain *c = r->chain;
	const struct iovec *first = c->iov + (in ? c->n_out : 0);
	unsigned n = in ? c->n_in : c->n_out;
	uint64_t skip = in ? 0 : HEADER, bytes = in ? c->in_bytes - 1 : c->out_bytes - HEADER, got;

	/* As all drivers do it: header and status are pieces of their own. */
	if (in && first[n - 1].iov_len == 1) {
		r->blk.iov = first;
		r->blk.n_iov = n - 1;
		return true;
	}
	if (!in && first->iov_len == HEADER) {
		r->blk.iov = first + 1;
		r->blk.n_iov = n - 1;
		return true;
	}
	r->iov = calloc(n, sizeof(*r->iov));
	if (!r->iov)
		return false;
	r->blk.iov = r->iov;
	r->blk.n_iov = virtq_chain_iov(c, in, skip, bytes, r->iov, n, &got);
	return got == bytes;
}

static void start_data(struct disk *d, struct virtq_chain *c, bool in, uint64_t sector)
{
	uint64_t bytes = in ? c->in_bytes - 1 : c->out_bytes - HEADER;
	/* Without the feature the driver cannot flush. */
	unsigned flags = !in && !virtio_has(&d->v, F_FLUSH) ? BLK_FUA : 0;
	struct request *r = request_new(d, c);

	if (!r)
		answer(d, c, S_IOERR);
	else if (!set_data(r, in))
		finish(r, S_IOERR);
	else
		submit(r, in ? BLK_READ : BLK_WRITE, flags, sector, bytes);
}

static void start_flush(struct disk *d, struct virtq_chain *c)
{
	struct request *r = request_new(d, c);

	if (r)
		submit(r, BLK_FLUSH, 0, 0, 0);
	else
		answer(d, c, S_IOERR);
}

static void next_segment(struct request *r)
{
	bool zeroes = r->blk.op == BLK_WRITE_ZEROES;
	unsigned flags = zeroes && !virtio_has(&r->d->v, F_FLUSH) ? BLK_FUA : 0;

	if (zeroes && (r->segment[r->at].flags & SEGMENT_UNMAP))
		flags |= BLK_UNMAP;
	submit(r, r->blk.op, flags, r->segment[r->at].sector,
	       (uint64_t)r->segment[r->at].sectors * BLK_SECTOR);
	blk_commit(r->d->blk);
}

static void start_ranges(struct disk *d, struct virtq_chain *c, enum blk_op op)
{
	uint64_t bytes = c->out_bytes - HEADER;
	uint8_t raw[SEGMENTS * SEGMENT];
	struct request *r;

	if (!virtio_has(&d->v, op == BLK_DISCARD ? F_DISCARD : F_WRITE_ZEROES)) {
		answer(d, c, S_UNSUPP);
		return;
	}
	if (!bytes || bytes % SEGMENT || bytes > sizeof(raw) ||
	    virtq_chain_read(c, HEADER, raw, bytes) != bytes) {
		answer(d, c, S_IOERR);
		return;
	}
	r = request_new(d, c);
	if (!r) {
		answer(d, c, S_IOERR);
		return;
	}
	r->n_segments = (unsigned)(bytes / SEGMENT);
	r->blk.op = op;
	for (unsigned i = 0; i < r->n_segments; i++) {
		const uint8_t *p = raw + i * SEGMENT;
		uint32_t known = op == BLK_WRITE_ZEROES ? SEGMENT_UNMAP : 0;

		r->segment[i].sector = buf_le64(p);
		r->segment[i].sectors = buf_le32(p + 8);
		r->segment[i].flags = buf_le32(p + 12);
		if (r->segment[i].flags & ~known) { /* §5.2.6.2 */
			finish(r, S_UNSUPP);
			return;
		}
		if (r->segment[i].sectors > RANGE_SECTORS_MAX) {
			finish(r, S_IOERR);
			return;
		}
	}
	next_segment(r);
}

static void start(struct disk *d, struct virtq_chain *c)
{
	uint8_t header[HEADER];

	if (!c->in_bytes || virtq_chain_read(c, 0, header, HEADER) != HEADER) {
		virtq_break(c->q, "a request without header or status");
		return;
	}
	switch (buf_le32(header)) {
	case T_IN: start_data(d, c, true, buf_le64(header + 8)); break;
	case T_OUT: start_data(d, c, false, buf_le64(header + 8)); break;
	case T_FLUSH: start_flush(d, c); break;
	case T_DISCARD: start_ranges(d, c, BLK_DISCARD); break;
	case T_WRITE_ZEROES: start_ranges(d, c, BLK_WRITE_ZEROES); break;
	case T_GET_ID:
		virtq_chain_write(c, 0, d->serial, MIN(c->in_bytes - 1, sizeof(d->serial)));
		answer(d, c, S_OK);
		break;
	default: d->n_bad++; answer(d, c, S_UNSUPP);
	}
}

static void notify(struct virtio_dev *v, struct virtq *q)
{
	struct disk *d = from_virtio(v);
	struct virtq_chain *c;
	unsigned n = 0;

	if (d->stopping || d->stopping_queues & BIT(q->index))
		return;
	do {
		virtq_disable_kicks(q);
		for (; n < BATCH && (c = virtq_pop(q)); n++)
			start(d, c);
		if (n == BATCH) {
			virtio_kick(v, q->index); /* the rest after others had their turn */
			break;
		}
	} while (virtq_enable_kicks(q));
	blk_commit(d->blk);
	batch(d);
}

/* ---- device configuration ---- */

static void put(uint8_t *config, unsigned off, uint64_t v, unsigned size)
{
	memcpy(config + off, &v, size); /* little-endian */
}

static void set_config(uint8_t *c, const struct blk_info *i, unsigned n_queues)
{
	put(c, CFG_CAPACITY, i->size / BLK_SECTOR, 8);
	put(c, CFG_SEG_MAX, QUEUE_SIZE - 2, 4);
	put(c, CFG_BLK_SIZE, i->block, 4);
	put(c, CFG_PHYSICAL_EXP, (unsigned)__builtin_ctz(i->physical / i->block), 1);
	put(c, CFG_MIN_IO, i->physical / i->block, 2);
	put(c, CFG_NUM_QUEUES, n_queues, 2);
	put(c, CFG_DISCARD_SECTORS, RANGE_SECTORS_MAX, 4);
	put(c, CFG_DISCARD_SEG, SEGMENTS, 4);
	put(c, CFG_DISCARD_ALIGN, i->physical / BLK_SECTOR, 4);
	put(c, CFG_ZEROES_SECTORS, RANGE_SECTORS_MAX, 4);
	put(c, CFG_ZEROES_SEG, SEGMENTS, 4);
	put(c, CFG_ZEROES_UNMAP, 1, 1);
}

/* ---- life ---- */

static void stop(struct virtio_dev *v)
{
	struct disk *d = from_virtio(v);

	d->stopping = true;
	d->pushed = 0;
	blk_cancel(d->blk);
	loop_post(v->env->loop, &d->settle);
}

static void queue_stop(struct virtio_dev *v, struct virtq *q)
{
	struct disk *d = from_virtio(v);

	d->stopping_queues |= (uint32_t)BIT(q->index);
	d->pushed &= ~(uint32_t)BIT(q->index);
	blk_cancel(d->blk);
	loop_post(v->env->loop, &d->settle);
}

static void pause_disk(struct virtio_dev *v)
{
	struct disk *d = from_virtio(v);

	/* The next range of a discard is held when the one before is done, so again. */
	do
		blk_pause(d->blk);
	while (d->n_flight && !blk_full(d->blk));
	batch(d);
}

static void resume_disk(struct virtio_dev *v)
{
	struct disk *d = from_virtio(v);

	blk_resume(d->blk);
	if (d->stopping || d->stopping_queues)
		loop_post(v->env->loop, &d->settle);
}

static void resized(void *ctx)
{
	struct disk *d = ctx;
	uint64_t sectors = blk_info(d->blk)->size / BLK_SECTOR;

	virtio_set_config(&d->v, CFG_CAPACITY, &sectors, sizeof(sectors), true);
}

static int state(struct virtio_dev *v, struct state *s)
{
	struct disk *d = from_virtio(v);

	if (!state_loading(s) && blk_full(d->blk))
		return state_fail(
			s,
			"the disk waits for room on the host: make room and resume the VM before it is saved");
	state_begin(s, "virtio-disk", v->pci.dev.id, 1);
	state_same(s, blk_info(d->blk)->block, "the block size of a disk");
	return state_end(s);
}

static int loaded(struct virtio_dev *v, struct err *e)
{
	struct disk *d = from_virtio(v);
	uint8_t config[CFG_SIZE] = {0};
	uint64_t was, is = blk_info(d->blk)->size / BLK_SECTOR;

	virtio_get_config(v, CFG_CAPACITY, &was, sizeof(was));
	if (was > is)
		return err_set(
			e, EINVAL,
			"the disk %s has %llu bytes, and the guest was shown more of them: %llu",
			v->pci.dev.id, (unsigned long long)is * BLK_SECTOR,
			(unsigned long long)was * BLK_SECTOR);
	set_config(config, blk_info(d->blk), v->n_queues);
	virtio_set_config(v, 0, config, sizeof(config), was != is);
	return 0;
}

static void destroy(struct virtio_dev *v)
{
	struct disk *d = from_virtio(v);

	d->stopping = true; /* nothing is put back any more */
	blk_drain(d->blk);
	blk_set_device(d->blk, NULL);
	loop_unpost(v->env->loop, &d->settle);
	virtio_fini(v);
	while (d->pool) {
		struct request *r = d->pool;

		d->pool = r->next;
		free(r);
	}
	free(d);
}

/* ---- counters ---- */

static void stats(struct virtio_dev *v, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct disk *d = from_virtio(v);
	struct blk_stats st;

	blk_stats(d->blk, &st);
	st.refused += d->n_bad;
	blk_stats_list(&st, add, ctx);
}

static void dump(const struct virtio_dev *v, struct text *t)
{
	const struct disk *d = container_of(v, struct disk, v);
	const struct blk_info *i = blk_info(d->blk);

	text_print(t, " %llu bytes, blocks of %u%s, %u in flight%s%s\n", (unsigned long long)i->size,
		   i->block, i->read_only ? ", read-only" : "", d->n_flight,
		   blk_full(d->blk) ? ", waits for room" : "", d->stopping ? ", stopping" : "");
}

const struct virtio_class virtio_disk_class = {
	.name = "blk",
	.help = "a disk",
	.type = 2,
	.pci_class = 0x010000,
	.destroy = destroy,
	.notify = notify,
	.stop = stop,
	.queue_stop = queue_stop,
	.pause = pause_disk,
	.resume = resume_disk,
	.state = state,
	.loaded = loaded,
	.stats = stats,
	.dump = dump,
};

int disk_create(struct virtio_dev **out, const struct dev_env *env, const struct disk_config *cfg,
		struct err *e)
{
	const struct blk_info *i = blk_info(cfg->blk);
	uint8_t config[CFG_SIZE] = {0};
	struct disk *d = calloc(1, sizeof(*d));
	struct virtio_params p = {
		.n_queues = cfg->n_queues,
		.queue_size_all = QUEUE_SIZE,
		.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY |
			    (i->read_only ? F_RO : 0) | (i->discard ? F_DISCARD : 0) |
			    (i->write_zeroes ? F_WRITE_ZEROES : 0) | (cfg->n_queues > 1 ? F_MQ : 0),
		.config = config,
		.config_size = CFG_SIZE,
	};
	int r;

	*out = NULL;
	if (!d)
		return err_set(e, ENOMEM, "out of memory");
	ASSERT(cfg->n_queues >= 1 && cfg->n_queues <= DISK_QUEUES_MAX);
	d->blk = cfg->blk;
	snprintf(d->id, sizeof(d->id), "%s", blk_id(cfg->blk));
	memcpy(d->serial, cfg->serial, strnlen(cfg->serial, DISK_SERIAL_MAX));
	p.id = d->id;
	set_config(config, i, cfg->n_queues);
	r = virtio_init(&d->v, &virtio_disk_class, env, &p, e);
	if (r < 0) {
		free(d);
		return r;
	}
	loop_work_init(&d->settle, settle, d);
	blk_set_device(d->blk, &(struct blk_device){.ctx = d,
						    .batch = batch,
						    .resized = resized,
						    .wanted = wanted});
	blk_resume(d->blk); /* a reset of the machine may have found it paused */
	*out = &d->v;
	return 0;
}
