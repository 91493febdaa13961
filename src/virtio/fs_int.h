/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_int.h - what fs.c, the device and its server, and fs_ring.c, the second rings, share. Not for others.
 */
#ifndef LODGE_VIRTIO_FS_INT_H
#define LODGE_VIRTIO_FS_INT_H

#include "util/loop.h"
#include "virtio/fs.h"

#define FS_QUEUES 2u /* high priority, requests */
#define FS_QUEUE_SIZE 128u
#define FS_RING 1024u /* of the second ring: a chain has to be shorter */

/* Our memory, for each queue: the ring, then copies of requests. */
#define FS_COPY_MAX 8192u /* a read-only file system has no longer requests */
#define FS_AT_AVAIL 0x4000u
#define FS_AT_USED 0x5000u
#define FS_AT_COPIES 0x8000u
#define FS_QUEUE_MEMORY (FS_AT_COPIES + FS_QUEUE_SIZE * FS_COPY_MAX)
/* Where the server is told it lies: above all guest memory. */
#define FS_OUR_GPA (UINT64_C(1) << 45)

struct fs_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct fs_queue {
	struct fs *fs;
	unsigned index;
	bool on;	 /* the server has it */
	bool stopping;	 /* and was asked for its end */
	bool queue_stop; /* for this queue alone */
	int kick, call;
	struct loop_fd *watch; /* of call */
	/* The second ring, which the server can write to: what we decide on is kept below. */
	uint8_t *memory;
	struct fs_desc *desc;
	uint16_t avail, used;		    /* free running */
	uint16_t free[FS_RING];		    /* descriptors that are not in use: a stack */
	uint16_t next[FS_RING];		    /* what follows, of those in use */
	struct virtq_chain *chain[FS_RING]; /* of a chain's first one; NULL: it is none */
	uint16_t n_desc[FS_RING];	    /* of that chain */
	unsigned n_free;
};

struct fs {
	struct virtio_dev v;
	struct virtio_fs_config cfg;
	struct fs_queue queue[FS_QUEUES];
	int memfd;
	uint8_t *memory; /* FS_QUEUES * FS_QUEUE_MEMORY */
	bool has_memory; /* the server was told of it */
	bool stopping;
	struct loop_fd *watch; /* of the server's socket */
	struct loop_timer timer;
	uint64_t n_requests, n_refused, n_failed;
};

static inline bool fs_alive(const struct fs *f)
{
	return vhost_user_alive(f->cfg.server);
}

/* All on the loop thread. Gives the chain back with an error of ours (errno). */
void fs_ring_answer(struct virtq_chain *c, int error);
/* Makes the second ring empty; the server does not have it. */
void fs_ring_clear(struct fs_queue *q);
/* Gives the chain to the server, or answers it. False: there is no room now, and nothing was done. */
bool fs_ring_give(struct fs_queue *q, struct virtq_chain *c);
/* Shows the server what it was given since, and wakes it if it wants that. */
void fs_ring_show(struct fs_queue *q);
/* What the server has used goes back to the guest. Ends a server that says nonsense. */
void fs_ring_take(struct fs_queue *q);

#endif
