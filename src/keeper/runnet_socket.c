/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runnet_socket.c - a network card on a socket: another VM, a switch, or any program that takes packets (docs/network.md has the format).
 *
 * A socket pair has two equal ends. With a name one end listens, takes the first that connects, and removes the name; after
 * that there is no difference between the two. Or the socket is there already, and came with this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/run.h"
#include "proto/control.h"
#include "util/log.h"

static const struct control_name net_name = {SOCK_SEQPACKET, "network socket", "--net"};

int runnet_socket_check(const struct run_net *n, const char *word, struct err *e)
{
	if (n->path && n->fd)
		err_set(e, EINVAL, "--net socket: path and fd exclude each other");
	else if (!n->path && !n->fd)
		err_set(e, EINVAL, "--net socket needs one: --net socket,path=FILE or fd=N");
	else if (n->listen && !n->path)
		err_set(e, EINVAL, "--net socket: listen needs a path");
	else
		return 0;
	return err_field(e, "--net", word);
}

int runnet_apart(const struct run_nets *nets, const char *word, struct err *e)
{
	for (unsigned i = 0; i < nets->n; i++) {
		const struct run_net *n = &nets->net[i];

		if (!n->listen && !n->fd)
			continue;
		err_set(e, EINVAL,
			"--net socket: %s is for `lodge run` and `lodge ctl` on the VM's host, which somebody waits for",
			n->listen ? "listen" : "fd");
		err_hint(e, "let the other end listen, and use path");
		return err_field(e, "--net", word);
	}
	return 0;
}

/* The first that connects; the name is gone then. */
static int wait_for_peer(const char *path, struct err *e)
{
	_autoclose int listening = control_listen_named(path, &net_name, e);
	struct pollfd p = {.fd = listening, .events = POLLIN};
	int r;

	if (listening < 0)
		return listening;
	log_info("waiting for the other end of the network socket \"%s\"", path);
	do {
		r = poll(&p, 1, -1);
		if (r > 0)
			r = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
		if (r < 0)
			r = -errno;
	} while (r == -EINTR || r == -EAGAIN || r == -ECONNABORTED);
	unlink(path);
	if (r >= 0)
		return r;
	err_errno(e, -r, "nobody connected to the network socket \"%s\"", path);
	return err_field(e, "--net", path);
}

/* One that was handed down. It is ours from now on. */
static int take(int fd, struct err *e)
{
	int domain = 0, type = 0, own;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int), peer_len = sizeof(peer);
	char shown[16];

	snprintf(shown, sizeof(shown), "%d", fd);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		err_set(e, errno, "--net socket: descriptor %d is %s", fd,
			errno == EBADF ? "not open" : "no socket");
	else if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || domain != AF_UNIX ||
		 type != SOCK_SEQPACKET)
		err_set(e, EPROTOTYPE,
			"--net socket: descriptor %d is no unix socket of type SEQPACKET", fd);
	else if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
		err_set(e, ENOTCONN, "--net socket: nobody is at the other end of descriptor %d",
			fd);
	else if ((own = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
		err_errno(e, errno, "cannot take over descriptor %d", fd);
	else {
		close(fd);
		return own;
	}
	return err_field(e, "--net", shown);
}

int runnet_socket_open(const struct run_net *n, struct err *e)
{
	if (!n->path)
		return take(n->fd, e);
	return n->listen ? wait_for_peer(n->path, e) : control_connect_named(n->path, &net_name, e);
}
