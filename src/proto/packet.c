/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet.c - one JSON object and its fds in one SOCK_SEQPACKET packet (declared in control.h).
 *
 * The peer is not trusted: a packet that is cut off, has too many fds or is not a JSON object is
 * dropped whole, its fds closed, and the connection goes on. fds of a packet are counted by the
 * kernel's own control message header, never by what the JSON says.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/control.h"
#include "util/clock.h"

void control_msg_init(struct control_msg *m)
{
	memset(m, 0, sizeof(*m));
}

void control_msg_fini(struct control_msg *m)
{
	json_decref(m->json);
	for (unsigned i = 0; i < m->n_fds; i++)
		base_close_fd(&m->fd[i]);
	control_msg_init(m);
}

/* 0: ready, or hung up (the call that follows finds out); -EAGAIN, -ETIMEDOUT. */
static int control_wait(int sock, short events, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = sock, .events = events};

	for (;;) {
		int timeout = -1, n;

		if (deadline_ns == CONTROL_NO_WAIT) {
			timeout = 0;
		} else if (deadline_ns != CONTROL_WAIT_FOREVER) {
			uint64_t now = clock_ns();
			uint64_t ms = deadline_ns > now ? (deadline_ns - now + CLOCK_NS_PER_MS -
							   1) / CLOCK_NS_PER_MS :
							  0;

			timeout = (int)MIN(ms, (uint64_t)60000);
		}
		/* seccomp vm: poll */
		n = poll(&p, 1, timeout);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (deadline_ns == CONTROL_NO_WAIT)
			return n < 0 ? -EINTR : -EAGAIN;
		if (deadline_ns != CONTROL_WAIT_FOREVER && clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

int control_send(int sock, const json_t *msg, const int *fds, unsigned n_fds, uint64_t deadline_ns,
		 struct err *e)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * CONTROL_MAX_FDS)];
		struct cmsghdr align;
	} ctl;
	_autofree char *text = NULL;
	struct iovec iov;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	int r;

	if (n_fds > CONTROL_MAX_FDS)
		return err_errno(e, EMSGSIZE, "cannot send %u files in one message", n_fds);
	text = msg ? json_text(msg) : NULL;
	if (!text)
		return err_errno(e, ENOMEM, "cannot send a control message");
	iov.iov_base = text;
	iov.iov_len = strlen(text);
	if (iov.iov_len > CONTROL_MAX_BYTES)
		return err_errno(e, EMSGSIZE, "cannot send a control message of %zu bytes",
				 iov.iov_len);
	if (n_fds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		mh.msg_control = ctl.buf;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	for (;;) {
		/* seccomp vm: sendmsg */
		if (sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_errno(e, errno, "cannot send a control message");
		r = control_wait(sock, POLLOUT, deadline_ns);
		if (r && r != -EINTR)
			return err_errno(e, -r, "cannot send a control message");
	}
}

/* Moves the packet's fds into m. False: more came than a message may have (all are then closed). */
static bool control_take_fds(struct msghdr *mh, struct control_msg *m)
{
	bool fine = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (m->n_fds < CONTROL_MAX_FDS) {
				m->fd[m->n_fds++] = fd;
			} else {
				close(fd);
				fine = false;
			}
		}
	}
	return fine;
}

int control_recv(int sock, struct control_msg *m, uint64_t deadline_ns, struct err *e)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * CONTROL_MAX_FDS)];
		struct cmsghdr align;
	} ctl;
	_autofree char *text = malloc(CONTROL_MAX_BYTES);
	struct iovec iov = {.iov_base = text, .iov_len = CONTROL_MAX_BYTES};
	struct msghdr mh;
	ssize_t n;
	int r;

	control_msg_fini(m);
	if (!text)
		return err_errno(e, ENOMEM, "cannot receive a control message");
	for (;;) {
		mh = (struct msghdr){.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = ctl.buf,
				     .msg_controllen = sizeof(ctl.buf)};
		/* seccomp vm: recvmsg */
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n >= 0)
			break;
		if (errno == ECONNRESET)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return err_errno(e, errno, "cannot receive a control message");
		r = control_wait(sock, POLLIN, deadline_ns);
		if (r && r != -EINTR)
			return err_errno(e, -r, "no control message came");
	}
	if (!control_take_fds(&mh, m)) {
		r = err_set(e, EMSGSIZE, "a control message has more than %u files",
			    CONTROL_MAX_FDS);
		goto refuse;
	}
	/* An empty packet and the end of the connection look alike here: nobody sends an empty one. */
	if (n == 0 && !m->n_fds)
		return 0;
	if (mh.msg_flags & MSG_TRUNC) {
		r = err_set(e, EMSGSIZE, "a control message is longer than %zu bytes",
			    CONTROL_MAX_BYTES);
		goto refuse;
	}
	r = json_parse(text, (size_t)n, CONTROL_MAX_BYTES, "a control message", &m->json, e);
	if (!r && !json_is_object(m->json))
		r = err_set(e, EINVAL, "a control message is not a JSON object");
	if (!r)
		return 1;
	r = r == -ENOMEM ? r : -EINVAL;
refuse:
	control_msg_fini(m);
	return r;
}
