/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_server.h - the other end of vhost-user for tests of virtio-fs: a file server that takes requests off its ring, and does with
 * them what the test says. Written from the protocol's description, not from our end of it.
 */
#ifndef LODGE_TESTS_FS_SERVER_H
#define LODGE_TESTS_FS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/base.h"

#define FS_RINGS 2u
#define FS_FEATURES (BIT(32) | BIT(30))

struct fs_server {
	int fd;
	int memfd; /* the last region: the rings'; -1: not told yet */
	uint8_t *memory;
	uint64_t gpa, size, user; /* of it */
	struct fs_server_ring {
		int kick, call;
		bool on;
		uint32_t num;
		uint64_t desc, used, avail; /* offsets in memory */
		uint16_t seen, done;
	} ring[FS_RINGS];
	bool mute;     /* does not answer when a ring is to end */
	bool was_mute; /* and that was never made good */
	unsigned n_stops;
};

struct fs_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static inline void fs_server_send(struct fs_server *s, uint32_t request, const void *payload,
				  uint32_t size)
{
	uint8_t bytes[64];
	uint32_t h[3] = {request, 1 | 4, size};
	ssize_t n;

	memcpy(bytes, h, sizeof(h));
	memcpy(bytes + sizeof(h), payload, size);
	n = send(s->fd, bytes, sizeof(h) + size, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)n;
}

/* A connected server that has said what it can, before it is asked. *theirs: the other end. */
static inline bool fs_server_init(struct fs_server *s, uint64_t features, int *theirs)
{
	uint64_t none = 0;
	int pair[2];

	*theirs = -1;
	memset(s, 0, sizeof(*s));
	s->memfd = -1;
	for (unsigned i = 0; i < FS_RINGS; i++)
		s->ring[i].kick = s->ring[i].call = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	s->fd = pair[0];
	*theirs = pair[1];
	fs_server_send(s, 1, &features, 8);
	fs_server_send(s, 15, &none, 8);
	return true;
}

static inline void fs_server_forget(struct fs_server *s)
{
	if (s->memory)
		munmap(s->memory, s->size);
	s->memory = NULL;
	base_close_fd(&s->memfd);
	for (unsigned i = 0; i < FS_RINGS; i++) {
		base_close_fd(&s->ring[i].kick);
		base_close_fd(&s->ring[i].call);
		s->ring[i].on = false;
	}
}

static inline void fs_server_end(struct fs_server *s)
{
	fs_server_forget(s);
	base_close_fd(&s->fd);
}

static inline void fs_server_message(struct fs_server *s, uint32_t request, const uint64_t *p,
				     int *fd, unsigned n_fds)
{
	uint32_t index = (uint32_t)p[0] & 0xff, num = (uint32_t)(p[0] >> 32);
	struct fs_server_ring *r = &s->ring[index % FS_RINGS];
	const uint64_t *region;

	switch (request) {
	case 5: /* memory: count, then gpa, size, user address, offset of each */
		if (s->memory)
			munmap(s->memory, s->size);
		base_close_fd(&s->memfd);
		region = p + 1 + 4 * (n_fds - 1);
		s->gpa = region[0];
		s->size = region[1];
		s->user = region[2];
		s->memfd = fd[n_fds - 1];
		fd[n_fds - 1] = -1;
		s->memory = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
		break;
	case 8: r->num = num; break;
	case 9:
		r->desc = p[1] - s->user;
		r->used = p[2] - s->user;
		r->avail = p[3] - s->user;
		break;
	case 10: r->seen = r->done = (uint16_t)num; break;
	case 11:
		s->n_stops++;
		s->was_mute |= s->mute;
		if (s->mute)
			break;
		r->on = false;
		fs_server_send(s, 11, p, 8);
		break;
	case 12:
	case 13:
		base_close_fd(request == 12 ? &r->kick : &r->call);
		*(request == 12 ? &r->kick : &r->call) = fd[0];
		fd[0] = -1;
		break;
	case 18: r->on = num; break;
	}
}

/* All messages that are there. False: the other end is gone. */
static inline bool fs_server_read(struct fs_server *s)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(8 * sizeof(int))];
		} control;
		uint32_t h[3];
		uint64_t payload[64] = {0};
		int fd[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
		struct iovec iov = {h, sizeof(h)};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.space,
				     .msg_controllen = sizeof(control.space)};
		unsigned n_fds = 0;
		ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

		if (n <= 0)
			return n < 0;
		if (c && c->cmsg_type == SCM_RIGHTS) {
			n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fd, CMSG_DATA(c), n_fds * sizeof(int));
		}
		if (h[2] && recv(s->fd, payload, MIN(h[2], sizeof(payload)), 0) < 0)
			return false;
		fs_server_message(s, h[0], payload, fd, n_fds);
		for (unsigned i = 0; i < n_fds; i++)
			base_close_fd(&fd[i]);
	}
}

/* The next request of a ring: its descriptors, up to `max`. Returns how many, 0: there is none. */
static inline unsigned fs_server_next(struct fs_server *s, unsigned ring, struct fs_desc *d,
				      unsigned max, unsigned *head)
{
	struct fs_server_ring *r = &s->ring[ring];
	uint16_t idx, at;
	unsigned n = 0;

	*head = 0;
	if (!r->on || !s->memory)
		return 0;
	memcpy(&idx, s->memory + r->avail + 2, 2);
	if (idx == r->seen)
		return 0;
	memcpy(&at, s->memory + r->avail + 4 + 2 * (r->seen++ % r->num), 2);
	*head = at;
	do {
		memcpy(&d[n], s->memory + r->desc + sizeof(*d) * at, sizeof(*d));
		at = d[n].next;
	} while ((d[n++].flags & 1) && n < max);
	return n;
}

static inline void fs_server_use(struct fs_server *s, unsigned ring, uint32_t head, uint32_t len)
{
	struct fs_server_ring *r = &s->ring[ring];
	uint32_t e[2] = {head, len};
	uint64_t one = 1;
	ssize_t n;

	if (!s->memory || !r->num || r->call < 0)
		return;
	memcpy(s->memory + r->used + 4 + 8 * (r->done % r->num), e, sizeof(e));
	r->done++;
	memcpy(s->memory + r->used + 2, &r->done, 2);
	n = write(r->call, &one, sizeof(one));
	(void)n;
}

#endif
