/* SPDX-License-Identifier: Apache-2.0 */
/* opener.c - connections to unix sockets for a process that may not make them. */
#include "proto/opener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct message {
	uint32_t id, port;
	int32_t result;
};

int opener_ask(int sock, uint32_t port, uint32_t id)
{
	struct message m = {.id = id, .port = port};

	/* seccomp vm: sendto arg4=NULL */
	return send(sock, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(m) ? 0 : -errno;
}

/* Takes one message, and a descriptor that comes with it. 1, 0 or -errno. */
static int receive(int sock, struct message *m, int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {m, sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	/* seccomp vm: recvmsg */
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(fd, CMSG_DATA(c), sizeof(int));
	if (n == sizeof(*m))
		return 1;
	base_close_fd(fd);
	return n == 0 ? -EPIPE : -EPROTO;
}

int opener_take(int sock, struct opener_answer *a)
{
	struct message m;
	int r = receive(sock, &m, &a->fd);

	if (r <= 0)
		return r;
	a->id = m.id;
	a->port = m.port;
	if (a->fd >= 0 && m.result)
		base_close_fd(&a->fd);
	if (a->fd < 0)
		a->fd = m.result < 0 ? m.result : -EPROTO;
	return 1;
}

static int connect_to(const char *path, uint32_t port)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_autoclose int fd = -1;
	int out;

	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s_%u", path, port) >=
	    sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	out = fd;
	fd = -1;
	return out;
}

int opener_serve(int sock, const char *path)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct message m;
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	_autoclose int fd = -1;
	_autoclose int stray = -1;
	int r = receive(sock, &m, &stray);

	if (r <= 0)
		return r;
	fd = connect_to(path, m.port);
	m.result = fd < 0 ? fd : 0;
	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS,
						 .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	}
	/* The other end reads what it asked for, or is gone: waiting here for a full socket would be waiting for the guest. */
	return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(m) ? 1 : -errno;
}
