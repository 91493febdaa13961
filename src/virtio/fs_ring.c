/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_ring.c - the second rings of shared folders, which the server has instead of the guest's: see fs.c. Split rings (virtio 1.2 §2.7) of
 * which this end is the driver.
 *
 * The server can write to all of a ring. So what this end decides on is kept beside it: which descriptors are free, what follows which,
 * and whose chain it is; and of what the server says only the numbers of used chains are believed, after a look whether they are some.
 */
#include "virtio/fs_int.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "virtio/fuse.h"

#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define USED_F_NO_NOTIFY 1u

void fs_ring_answer(struct virtq_chain *c, int error)
{
	struct fuse_out out = {.len = sizeof(out), .error = -error};
	size_t n = 0;

	/* A request without room for an answer (FUSE_FORGET) has none. */
	if (c->in_bytes >= sizeof(out) &&
	    virtq_chain_read(c, offsetof(struct fuse_in, unique), &out.unique,
			     sizeof(out.unique)) == sizeof(out.unique))
		n = virtq_chain_write(c, 0, &out, sizeof(out));
	virtq_push(c->q, c, n);
}

static uint16_t get16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void put16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

void fs_ring_clear(struct fs_queue *q)
{
	memset(q->memory, 0, FS_AT_COPIES);
	memset(q->chain, 0, sizeof(q->chain));
	q->avail = q->used = 0;
	q->n_free = 0;
	for (unsigned i = FS_RING; i > 0; i--)
		q->free[q->n_free++] = (uint16_t)(i - 1);
}

static void add_desc(struct fs_queue *q, unsigned *head, unsigned *last, uint64_t addr,
		     uint64_t len, bool write)
{
	unsigned i = q->free[--q->n_free];

	q->desc[i] = (struct fs_desc){.addr = addr,
				      .len = (uint32_t)len,
				      .flags = write ? DESC_F_WRITE : 0};
	if (*head == FS_RING) {
		*head = i;
		q->n_desc[i] = 0;
	} else {
		q->desc[*last].flags |= DESC_F_NEXT;
		q->desc[*last].next = (uint16_t)i;
		q->next[*last] = (uint16_t)i;
	}
	q->n_desc[*head]++;
	*last = i;
}

bool fs_ring_give(struct fs_queue *q, struct virtq_chain *c)
{
	struct fs *f = q->fs;
	unsigned head = FS_RING, last = 0;
	uint8_t *copy = q->memory + FS_AT_COPIES + c->id * FS_COPY_MAX;
	uint64_t copy_gpa = FS_OUR_GPA + (uint64_t)(copy - f->memory);
	size_t n = 0;

	/* Of a chain that is as long as the ring, the copy of a request may need one piece more. */
	if (!fs_alive(f) || c->out_bytes < sizeof(struct fuse_in) || c->n_out + c->n_in >= FS_RING) {
		f->n_failed++;
		fs_ring_answer(c, fs_alive(f) ? EINVAL : ENOTCONN);
		return true;
	}
	if (q->n_free < c->n_out + c->n_in + 1)
		return false;
	if (f->cfg.read_only) {
		uint8_t mine[FS_COPY_MAX]; /* the server could write to `copy` */

		n = virtq_chain_read(c, 0, mine, sizeof(mine));
		if (c->out_bytes > n || !fuse_only_reads(mine, n)) {
			f->n_refused++;
			fs_ring_answer(c, EROFS);
			return true;
		}
		memcpy(copy, mine, n);
		add_desc(q, &head, &last, copy_gpa, sizeof(struct fuse_in), false);
		if (n > sizeof(struct fuse_in))
			add_desc(q, &head, &last, copy_gpa + sizeof(struct fuse_in),
				 n - sizeof(struct fuse_in), false);
	}
	for (unsigned i = n ? c->n_out : 0; i < c->n_out + c->n_in; i++)
		add_desc(q, &head, &last, c->gpa[i], c->iov[i].iov_len, i >= c->n_out);
	q->chain[head] = c;
	put16(q->memory + FS_AT_AVAIL + 4 + 2 * (q->avail % FS_RING), (uint16_t)head);
	q->avail++;
	f->n_requests++;
	return true;
}

void fs_ring_show(struct fs_queue *q)
{
	static const uint64_t one = 1;

	put16(q->memory + FS_AT_AVAIL + 2, q->avail);
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* out before we look whether a kick is wanted */
	if (!(get16(q->memory + FS_AT_USED) & USED_F_NO_NOTIFY) &&
	    write(q->kick, &one, sizeof(one)) < 0)
		log_warn_limited("%s: cannot wake the file server", q->fs->v.pci.dev.id);
}

static void free_chain(struct fs_queue *q, unsigned head)
{
	unsigned n = q->n_desc[head], i = head;

	q->chain[head] = NULL;
	for (; n; n--) {
		q->free[q->n_free++] = (uint16_t)i;
		i = q->next[i];
	}
}

void fs_ring_take(struct fs_queue *q)
{
	struct virtq *vq = virtio_q(&q->fs->v, q->index);
	uint16_t used = get16(q->memory + FS_AT_USED + 2);
	bool any = false;

	while (q->on && q->used != used) {
		uint32_t e[2];
		struct virtq_chain *c;

		memcpy(e, q->memory + FS_AT_USED + 4 + 8 * (q->used % FS_RING), sizeof(e));
		__asm__ volatile("" ::: "memory"); /* the copy is what counts */
		c = e[0] < FS_RING ? q->chain[e[0]] : NULL;
		if (!c) {
			log_error("%s: the file server answers what it was not asked",
				  q->fs->v.pci.dev.id);
			vhost_user_end(q->fs->cfg.server);
			break;
		}
		free_chain(q, e[0]);
		virtq_push(vq, c, e[1]);
		q->used++;
		any = true;
	}
	if (any)
		virtq_flush(vq);
}
