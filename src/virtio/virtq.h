/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq.h - a virtqueue, as the device sees it: split or packed ring (virtio 1.2 §2.7, §2.8), indirect tables,
 * event index, in-order use. The only code that looks at rings and descriptors.
 *
 * What virtq_pop() returns is safe to use whatever the guest does meanwhile: every descriptor was read once, every
 * buffer lies in guest RAM, the chain is bounded, and no buffer is with the device twice. Only the *content* of the
 * buffers can change under the reader: a device copies what it decides on (virtq_chain_read()) and looks at the copy.
 * A ring that breaks the rules makes the queue `broken`: virtq_pop() returns NULL from then on, the transport tells the
 * driver (DEVICE_NEEDS_RESET), and nothing else happens.
 *
 * Threads: one thread serves a queue (the loop, today); it alone may call what is below, from virtq_start() to
 * virtq_stop(). Between queues nothing is shared, so each may have a thread of its own.
 *
 * Serving a queue:
 *
 *	do {
 *		virtq_disable_kicks(q);
 *		while ((c = virtq_pop(q))) {
 *			... virtq_chain_read(), virtq_chain_write() ...
 *			virtq_push(q, c, written);
 *		}
 *		virtq_flush(q);
 *	} while (virtq_enable_kicks(q));
 */
#ifndef LODGE_VIRTIO_VIRTQ_H
#define LODGE_VIRTIO_VIRTQ_H

#include <sys/uio.h>

#include "mem/gmem.h"

#define VIRTQ_SIZE_MAX 1024u  /* the largest queue of any device here */
#define VIRTQ_CHAIN_MAX 1024u /* buffers (and descriptors) of one chain, as IOV_MAX */

struct virtq;
struct virtq_desc;

/*
 * A request: buffers that the device reads (out), then buffers that it writes (in). Belongs to the device from
 * virtq_pop() until virtq_push(), virtq_unpop() or virtq_drop(); all but `ctx` is read-only for it.
 */
struct virtq_chain {
	struct virtq *q;
	void *ctx;   /* the device's own; NULL after virtq_pop() */
	uint16_t id; /* head descriptor or buffer id: unique among those that are with the device */
	unsigned n_out, n_in; /* iov[0..n_out) can be read, iov[n_out..n_out+n_in) can be written */
	uint64_t out_bytes, in_bytes;
	struct iovec *iov; /* host addresses in guest RAM, none empty */
	gpa_t *gpa;	   /* guest address of each */

	/* virtq.c's */
	unsigned cap;	  /* room in iov and gpa */
	uint16_t n_slots; /* ring places it takes: 1 in a split ring */
	bool busy, done;
	uint32_t written; /* given to virtq_push() */
	uint64_t touched; /* so much of the in part was written, at least */
};

struct virtq_stats {
	uint64_t n_popped, n_used, n_interrupts, n_kicks;
};

struct virtq_ops {
	/* Buffers were used and the driver wants to hear of it. On the serving thread. */
	void (*interrupt)(struct virtq *q);
	/* The ring is broken, in these words. On the serving thread, once; may not touch the queue. */
	void (*broken)(struct virtq *q, const char *why);
};

/* Features that matter here, and where the rings are: what the driver set up. */
struct virtq_setup {
	bool packed, event_idx, indirect, in_order;
	uint16_t size;
	gpa_t desc, driver,
		device; /* §2.7: descriptors, avail, used. §2.8: ring, driver event, device event */
};

struct virtq {
	struct gmem *mem;
	const struct virtq_ops *ops;
	void *owner;	/* for ops: the virtio device */
	unsigned index; /* in the device */
	bool live;	/* between start and stop */
	bool broken;	/* until stop */
	struct virtq_setup set;
	struct virtq_stats stats;

	/* Rings, as host addresses. */
	uint8_t *desc, *driver, *device;
	struct virtq_chain **chain; /* [size] by id; NULL until first used */
	struct virtq_desc *look;    /* [size] packed: copies of a chain's descriptors */
	uint16_t *order; /* [size] ring: ids with the device, oldest first; in-order only */
	unsigned order_first, n_order;
	unsigned n_busy, n_busy_slots;

	/* Split: free running counts. Packed: position (below size) and wrap bit. */
	uint16_t avail, used;
	bool avail_wrap, used_wrap;
	uint16_t shown; /* used, as the driver has seen it at the last flush */
	bool shown_wrap;
	bool held; /* packed: the first element of the batch has its flags held back... */
	uint16_t held_at, held_flags; /* ...at this place */
};

/* Takes the rings over. 0, or -EINVAL with the queue untouched: they are not in guest RAM, not aligned, or the size is
 * none (1..VIRTQ_SIZE_MAX; a split ring's a power of two); -ENOMEM. */
int virtq_start(struct virtq *q, struct gmem *mem, const struct virtq_setup *set);
/* Forgets everything, chains that are still with the device included (their pointers become invalid, and what they
 * may have written is noted in the dirty log). Accepts a queue that is not live. */
void virtq_stop(struct virtq *q);

/*
 * Just started: goes on where a saved queue stood, with nothing with the device: `place` is q->avail, `wrap` q->avail_wrap (packed).
 * -EINVAL: no such place.
 */
int virtq_restore(struct virtq *q, uint16_t place, bool wrap);

/* Is there a chain to pop? */
bool virtq_ready(struct virtq *q);
/* The next chain, or NULL: there is none, or the queue is broken or not live. */
struct virtq_chain *virtq_pop(struct virtq *q);
/* Puts back the chain that was popped last (and, called again, the one before): the next pop finds it again. Nothing may
 * have been pushed meanwhile that was popped after it. */
void virtq_unpop(struct virtq *q, struct virtq_chain *c);
/*
 * Done with it; the first `written` bytes of the in part were written. The driver sees it at virtq_flush(), and all that
 * was pushed since the last flush at once. In-order queues keep it back until those before are done too.
 */
void virtq_push(struct virtq *q, struct virtq_chain *c, uint64_t written);
/* Shows the driver what was pushed, and interrupts it if it wants that. */
void virtq_flush(struct virtq *q);

/* Hints to the driver whether a kick is wanted. Enabling returns true if there is something to pop already. */
void virtq_disable_kicks(struct virtq *q);
bool virtq_enable_kicks(struct virtq *q);

/* The ring or a request in it makes no sense: marks the queue broken. `why` is static text. */
void virtq_break(struct virtq *q, const char *why);

/* Copies from the out part, from byte `off`. Returns the bytes copied, less than len at the end of it. */
size_t virtq_chain_read(const struct virtq_chain *c, uint64_t off, void *buf, size_t len);
/* Copies into the in part; likewise. */
size_t virtq_chain_write(struct virtq_chain *c, uint64_t off, const void *buf, size_t len);
/*
 * The pieces of [off, off+len) of one part as at most `max` iovecs, for I/O straight into guest memory; what is beyond the
 * end or does not fit is left out: *bytes says how much there is. Returns how many. Whoever writes by them
 * says so by virtq_push() or virtq_chain_touched().
 */
unsigned virtq_chain_iov(const struct virtq_chain *c, bool in, uint64_t off, uint64_t len,
			 struct iovec *iov, unsigned max, uint64_t *bytes);
/* Bytes of the in part up to `end` may have been written, other than by virtq_chain_write(). */
void virtq_chain_touched(struct virtq_chain *c, uint64_t end);

/* Bytes of the three areas of a queue of this size. */
uint64_t virtq_desc_bytes(const struct virtq_setup *set);
uint64_t virtq_driver_bytes(const struct virtq_setup *set);
uint64_t virtq_device_bytes(const struct virtq_setup *set);

#endif
