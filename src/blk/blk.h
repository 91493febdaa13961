/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.h - a disk as the rest of the VM sees it: the checked front over a stack of layers (layer.h).
 *
 * Loop thread only. A request is handed in by blk_submit() and completes exactly once, by its `done`, on the loop thread:
 * from the loop or from blk_drain(), never from inside of blk_submit() or blk_commit(). Requests may complete in any order. A
 * device hands in what it found in one pass over its ring and then calls blk_commit() once.
 *
 * The front refuses what no layer should ever see: ranges outside of the disk, lengths that are no whole blocks, writes to a
 * read-only disk, operations that the disk does not have. It keeps the rate limits, counts, and applies the error policy:
 *   - No room (ENOSPC, EDQUOT) with `pause_when_full`: the request is held, the owner is told and pauses the VM; a
 *     resume tries again. Nothing reaches the guest. One that the device does not want any more (it was reset) is
 *     cancelled instead.
 *   - A flush that failed: latched. What the host could not write may be gone, and its next fsync would not say so; every
 *     later flush of this disk fails, too. The owner is told and pauses the VM.
 *   - Anything else is reported to the guest, and to the owner.
 *
 * Durability. A write that completed is in the disk for every later read. It is on stable storage after a flush that was
 * handed in after its completion, or when it had BLK_FUA. A flush completes only then.
 *
 * States, and what may be done in each:
 *   RUNNING  everything.
 *   PAUSED   requests are accepted and held, nothing is in flight (blk_pause() waits for that): everything else.
 */
#ifndef LODGE_BLK_BLK_H
#define LODGE_BLK_BLK_H

#include <sys/uio.h>

#include "blk/aio.h"
#include "util/err.h"
#include "util/loop.h"

#define BLK_SECTOR 512u	 /* smallest block */
#define BLK_NAME_MAX 32u /* id of a disk, with its NUL */
#define BLK_BUCKETS 24u	 /* latencies: bucket i counts those below 2^i us, the last one the rest */
#define BLK_IOV_MAX \
	1022u /* pieces of one request; a layer may add two, and the system takes 1024 */
#define BLK_REQUEST_MAX (UINT64_C(1) << 30) /* bytes of one read or write */

struct blk;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES, BLK_OPS };
extern const char *const blk_op_names[]; /* "read", "write", "flush", "discard", "write-zeroes", NULL */

#define BLK_FUA 1u   /* write, write-zeroes: on stable storage when it completes */
#define BLK_UNMAP 2u /* write-zeroes: the space may be given back */

/* What every layer is handed; the front's is inside of struct blk_req. */
struct blk_io {
	enum blk_op op;
	unsigned flags;
	uint64_t offset, bytes;	 /* bytes, whole blocks; 0 and 0 for a flush */
	const struct iovec *iov; /* read, write: `bytes` in all; in place until done */
	unsigned n_iov;
	void (*done)(struct blk_io *io,
		     int result); /* 0 or -errno; on the loop, never from inside of a submit */
	struct blk_io *next;	  /* the layer's that has it */
};

struct blk_req {
	/* The caller's. */
	enum blk_op op;
	unsigned flags;
	uint64_t offset, bytes;
	const struct iovec *iov;
	unsigned n_iov;
	void (*done)(struct blk_req *r, int result); /* 0 or -errno */

	/* The front's. */
	struct blk_io io;
	struct blk *blk;
	struct blk_req *next;
	uint64_t start_ns;
	int result;
};

/* What a disk is and can. Sizes in bytes. */
struct blk_info {
	uint64_t size;
	uint32_t block;	   /* logical block: the unit of every offset and length; >= 512 */
	uint32_t physical; /* what is best written at once; >= block */
	bool read_only;
	bool discard, write_zeroes;
	bool can_grow;
};

/* Token buckets (util/bucket.h); 0: no limit. A burst is what may be taken at once after a time without use; 0: 100 ms worth. */
struct blk_limits {
	uint64_t bps, bps_burst;   /* bytes read and written */
	uint64_t iops, iops_burst; /* requests */
};

struct blk_op_stats {
	uint64_t ops, bytes, errors; /* completed; errors are not in the two before */
	uint64_t total_ns;	     /* sum of latencies, waiting included */
	uint64_t latency[BLK_BUCKETS];
};

struct blk_stats {
	struct blk_op_stats op[BLK_OPS];
	uint64_t in_flight, held; /* now: with the layers; waiting for limits, a resume or room */
	uint64_t throttled;	  /* requests that had to wait for a limit */
	uint64_t refused;	  /* by the checks */
	uint64_t stalls;	  /* pauses because there was no room */
};

enum blk_event_kind {
	BLK_EV_ERROR, /* a request failed and the guest is told */
	BLK_EV_FULL,  /* no room: held, wants a pause */
	BLK_EV_FLUSH, /* a flush failed: latched, wants a pause */
	BLK_EV_SIZE,  /* the size changed */
};

struct blk_event {
	enum blk_event_kind kind;
	enum blk_op op;
	uint64_t offset, bytes;
	int error; /* positive errno */
};

struct blk_owner {
	void *ctx;
	/* Loop thread, never from inside of a call to the disk but blk_grow(). It may not submit or drain: post. */
	void (*event)(void *ctx, struct blk *b, const struct blk_event *ev);
};

struct blk_config {
	const char *id;
	bool pause_when_full;
	struct blk_limits limits;
	struct blk_owner owner;
};

struct blk_layer;

/* Takes the stack over, also when it fails. */
int blk_create(struct blk **out, struct loop *l, struct blk_layer *top,
	       const struct blk_config *cfg, struct err *e);
/* Drains. Accepts NULL. */
void blk_destroy(struct blk *b);

/* Gives the layers up: from now on every request fails with -EIO, and nothing has the file open any more. */
int blk_eject(struct blk *b, struct err *e);

const char *blk_id(const struct blk *b);
const struct blk_info *blk_info(const struct blk *b);
struct blk_layer *blk_top(struct blk *b);

void blk_submit(struct blk *b, struct blk_req *r);
void blk_commit(struct blk *b);
/* Are there requests that wait for room? */
bool blk_full(const struct blk *b);
/* Requests that have not begun (waiting for a limit, for room, or for a resume) and that the device does not want any more
 * complete with -ECANCELED, by a post. */
void blk_cancel(struct blk *b);
/* Cancels all, and waits until everything has completed. */
void blk_drain(struct blk *b);
/* Waits until nothing is in flight, whatever the limits say; what comes from now on is held, as is what waits for room. */
void blk_pause(struct blk *b);
void blk_resume(struct blk *b);

/* Limits from now on; what waited for the old ones is looked at again. */
void blk_set_limits(struct blk *b, const struct blk_limits *limits);
const struct blk_limits *blk_limits(const struct blk *b);
/* Makes it larger, or with 0 takes over the size that the file or device has grown to. BLK_EV_SIZE comes from inside. */
int blk_grow(struct blk *b, uint64_t bytes, struct err *e);
/* The guest's side. Calls come on the loop. NULL: none. */
struct blk_device {
	void *ctx;
	void (*batch)(void *ctx);   /* after each round of completions */
	void (*resized)(void *ctx); /* info.size is another one */
	/* Is the request still waited for? Asked before it is held for want of room, and by blk_cancel(). NULL: all are. */
	bool (*wanted)(void *ctx, const struct blk_req *r);
};
void blk_set_device(struct blk *b, const struct blk_device *d);
void blk_stats(const struct blk *b, struct blk_stats *out);
/* By name: "read.ops", "read.p99_us", "in_flight"; see docs/disks.md. */
void blk_stats_list(const struct blk_stats *st, void (*add)(void *ctx, const char *key, uint64_t v),
		    void *ctx);

#endif
