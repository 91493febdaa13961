/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_user.c - messages of the vhost-user protocol.
 *
 * A message is a header (request, flags with the version in its low bits, size of what follows) and its payload; numbers are in the
 * host's byte order, descriptors go along as SCM_RIGHTS. Only some requests have an answer. Two of them are asked at the start, with
 * a time limit; the third, GET_VRING_BASE, ends a ring and is answered when that has happened, which may take as long as the
 * file system behind it: its answer is taken from the loop.
 */
#include "virtio/vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"

#define GET_FEATURES 1u
#define SET_FEATURES 2u
#define SET_OWNER 3u
#define SET_MEM_TABLE 5u
#define SET_VRING_NUM 8u
#define SET_VRING_ADDR 9u
#define SET_VRING_BASE 10u
#define GET_VRING_BASE 11u
#define SET_VRING_KICK 12u
#define SET_VRING_CALL 13u
#define GET_PROTOCOL_FEATURES 15u
#define SET_PROTOCOL_FEATURES 16u
#define SET_VRING_ENABLE 18u

#define FLAGS_VERSION 1u
#define FLAGS_VERSION_MASK 3u
#define FLAGS_REPLY 4u

#define F_PROTOCOL_FEATURES BIT(30)
#define F_VERSION_1 BIT(32)

#define ANSWER_NS (5 * CLOCK_NS_PER_S)

struct header {
	uint32_t request, flags, size;
};

struct vring_state {
	uint32_t index, num;
};

struct vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct mem_region {
	uint64_t gpa, size, user, offset;
};

struct mem_table {
	uint32_t n, padding;
	struct mem_region region[VHOST_USER_REGIONS_MAX];
};

struct vhost_user {
	int fd; /* open until the object goes: who watches it takes the watch off first */
	bool ended;
	uint8_t in[sizeof(struct header) + sizeof(struct vring_state)]; /* what has come of an answer */
	size_t n_in;
};

void vhost_user_end(struct vhost_user *v)
{
	/* seccomp vm: shutdown */
	if (!v->ended)
		(void)shutdown(v->fd, SHUT_RDWR);
	v->ended = true;
}

bool vhost_user_alive(const struct vhost_user *v)
{
	return !v->ended;
}

int vhost_user_fd(const struct vhost_user *v)
{
	return v->fd;
}

/* Sends without waiting: the other end reads what little we send, or is no good. */
static int send_message(struct vhost_user *v, unsigned request, const void *payload, size_t len,
			const int *fds, unsigned n_fds)
{
	struct header h = {request, FLAGS_VERSION, (uint32_t)len};
	uint8_t bytes[sizeof(h) + sizeof(struct mem_table)];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * VHOST_USER_REGIONS_MAX)];
	} control;
	struct iovec iov = {bytes, sizeof(h) + len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (v->ended)
		return -ENOTCONN;
	ASSERT(len <= sizeof(struct mem_table) && n_fds <= VHOST_USER_REGIONS_MAX);
	memcpy(bytes, &h, sizeof(h));
	if (len)
		memcpy(bytes + sizeof(h), payload, len);
	if (n_fds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	/* seccomp vm: sendmsg */
	do
		n = sendmsg(v->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)iov.iov_len)
		return 0;
	vhost_user_end(v);
	return -ENOTCONN;
}

static int send_u64(struct vhost_user *v, unsigned request, uint64_t value)
{
	return send_message(v, request, &value, sizeof(value), NULL, 0);
}

/* More of an answer, as far as it is there. 1: it is whole; 0: not yet; below: the connection is gone. No answer has descriptors:
 * those that come are not taken. */
static int receive(struct vhost_user *v)
{
	ssize_t n;

	if (v->ended)
		return -ENOTCONN;
	while (v->n_in < sizeof(v->in)) {
		/* seccomp vm: recvfrom */
		n = recv(v->fd, v->in + v->n_in, sizeof(v->in) - v->n_in, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		if (n <= 0) {
			vhost_user_end(v);
			return -ENOTCONN;
		}
		v->n_in += (size_t)n;
	}
	return 1;
}

/* The payload of a whole answer to this request: always eight bytes. */
static int take_answer(struct vhost_user *v, unsigned request, void *payload)
{
	struct header h;

	memcpy(&h, v->in, sizeof(h));
	if (h.request != request || (h.flags & FLAGS_VERSION_MASK) != FLAGS_VERSION ||
	    !(h.flags & FLAGS_REPLY) || h.size != sizeof(struct vring_state)) {
		vhost_user_end(v);
		return -EPROTO;
	}
	memcpy(payload, v->in + sizeof(h), sizeof(struct vring_state));
	v->n_in = 0;
	return 0;
}

static int ask(struct vhost_user *v, unsigned request, uint64_t *answer)
{
	uint64_t limit = clock_ns() + ANSWER_NS, now;
	int r = send_message(v, request, NULL, 0, NULL, 0);

	while (r == 0) {
		struct pollfd p = {.fd = v->fd, .events = POLLIN};

		r = receive(v);
		if (r)
			break;
		now = clock_ns();
		if (now >= limit || poll(&p, 1, (int)((limit - now) / 1000000) + 1) < 0) {
			if (now < limit && errno == EINTR)
				continue;
			vhost_user_end(v);
			r = -ETIMEDOUT;
		}
	}
	return r < 0 ? r : take_answer(v, request, answer);
}

int vhost_user_create(struct vhost_user **out, const char *name, int fd, struct err *e)
{
	struct vhost_user *v = calloc(1, sizeof(*v));
	uint64_t features = 0, protocol = 0;
	int r;

	*out = NULL;
	if (!v) {
		close(fd);
		return err_set(e, ENOMEM, "out of memory");
	}
	v->fd = fd;
	r = ask(v, GET_FEATURES, &features);
	if (r == 0 && (~features & (F_VERSION_1 | F_PROTOCOL_FEATURES))) {
		r = err_set(
			e, EPROTO,
			"%s: the server behind the socket does not speak a vhost-user protocol of today",
			name);
	} else {
		if (r == 0)
			r = send_message(v, SET_OWNER, NULL, 0, NULL, 0);
		if (r == 0)
			r = ask(v, GET_PROTOCOL_FEATURES, &protocol);
		if (r == 0) /* there is none that we want */
			r = send_u64(v, SET_PROTOCOL_FEATURES, 0);
		if (r == 0)
			r = send_u64(v, SET_FEATURES, F_VERSION_1 | F_PROTOCOL_FEATURES);
		if (r < 0)
			err_set(e, -r,
				r == -ETIMEDOUT ?
					"%s: the server behind the socket does not answer" :
					"%s: the server behind the socket does not speak vhost-user, or has ended",
				name);
	}
	if (r < 0) {
		vhost_user_destroy(v);
		return r;
	}
	*out = v;
	return 0;
}

void vhost_user_destroy(struct vhost_user *v)
{
	if (!v)
		return;
	vhost_user_end(v);
	base_close_fd(&v->fd);
	free(v);
}

int vhost_user_set_memory(struct vhost_user *v, const struct vhost_user_region *r, unsigned n)
{
	struct mem_table t = {.n = n};
	int fds[VHOST_USER_REGIONS_MAX];

	ASSERT(n <= VHOST_USER_REGIONS_MAX);
	for (unsigned i = 0; i < n; i++) {
		t.region[i] = (struct mem_region){r[i].gpa, r[i].size, (uintptr_t)r[i].hva,
						  r[i].offset};
		fds[i] = r[i].fd;
	}
	return send_message(v, SET_MEM_TABLE, &t,
			    offsetof(struct mem_table, region) + n * sizeof(t.region[0]), fds, n);
}

static int send_state(struct vhost_user *v, unsigned request, unsigned index, unsigned num)
{
	struct vring_state s = {index, num};

	return send_message(v, request, &s, sizeof(s), NULL, 0);
}

int vhost_user_start_ring(struct vhost_user *v, unsigned index, const struct vhost_user_ring *r)
{
	struct vring_addr a = {.index = index,
			       .desc = (uintptr_t)r->desc,
			       .used = (uintptr_t)r->used,
			       .avail = (uintptr_t)r->avail};
	uint64_t number = index;
	int ret = send_state(v, SET_VRING_NUM, index, r->size);

	if (ret == 0)
		ret = send_state(v, SET_VRING_BASE, index, 0);
	if (ret == 0)
		ret = send_message(v, SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	if (ret == 0)
		ret = send_message(v, SET_VRING_CALL, &number, sizeof(number), &r->call, 1);
	if (ret == 0) /* the ring begins with it */
		ret = send_message(v, SET_VRING_KICK, &number, sizeof(number), &r->kick, 1);
	return ret ? ret : send_state(v, SET_VRING_ENABLE, index, 1);
}

int vhost_user_stop_ring(struct vhost_user *v, unsigned index)
{
	return send_state(v, GET_VRING_BASE, index, 0);
}

int vhost_user_take(struct vhost_user *v, unsigned *index)
{
	struct vring_state s;
	int r = receive(v);

	if (r <= 0)
		return r;
	r = take_answer(v, GET_VRING_BASE, &s);
	*index = r ? 0 : s.index;
	return r ? r : 1;
}
