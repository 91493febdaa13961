/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_socket.c - bytes between one client of a unix socket and a port.
 *
 * No byte waits in here: what the client does not take stays in the guest's buffers until EPOLLOUT, and the client is only
 * read as far as the guest has buffers. While there is a client no other is accepted; it waits in the backlog. Without a client
 * the port is closed on our side, which the guest's writers see.
 */
#include "vm/port_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/log.h"

#define CHUNK 4096u

struct port_socket {
	struct loop *loop;
	int fd; /* fd -1: no client */
	struct loop_fd *listen, *watch;
	struct virtio_dev *console; /* NULL: detached */
	unsigned port;
	bool want_in, want_out;
};

static void watch(struct port_socket *p)
{
	if (p->watch)
		(void)loop_fd_mod(p->watch,
				  (p->want_in ? EPOLLIN : 0u) | (p->want_out ? EPOLLOUT : 0u));
}

static void drop_client(struct port_socket *p)
{
	loop_fd_del(p->watch);
	p->watch = NULL;
	base_close_fd(&p->fd);
	p->want_in = p->want_out = false;
	if (p->console) {
		vconsole_set_open(p->console, p->port, false);
		vconsole_tx_ready(p->console, p->port); /* what waits for it is dropped */
	}
	if (p->listen)
		(void)loop_fd_mod(p->listen, EPOLLIN);
}

static void client_in(struct port_socket *p)
{
	uint8_t buf[CHUNK];
	size_t room = p->console ? vconsole_rx_space(p->console, p->port) : 0;
	ssize_t n;

	if (room == 0) {
		p->want_in = false; /* until rx_room() */
		watch(p);
		return;
	}
	n = read(p->fd, buf, MIN(room, sizeof(buf)));
	if (n > 0)
		(void)vconsole_rx_push(p->console, p->port, buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		drop_client(p);
}

static void client_ready(void *ctx, int fd, uint32_t events)
{
	struct port_socket *p = ctx;

	(void)fd;
	if ((events & EPOLLOUT) && p->want_out) {
		p->want_out = false;
		watch(p);
		if (p->console)
			vconsole_tx_ready(p->console, p->port);
	}
	if (events & (EPOLLHUP | EPOLLERR)) {
		/* What the client sent before it left is not read any more: nobody is there for the answer. */
		drop_client(p);
		return;
	}
	if (events & EPOLLIN)
		client_in(p);
}

/* Takes over fd, which is non-blocking. */
static int add_client(struct port_socket *p, int fd)
{
	int r = loop_fd_add(p->loop, fd, EPOLLIN, client_ready, p, &p->watch);

	if (r < 0)
		return r;
	p->fd = fd;
	p->want_in = true;
	if (p->listen)
		(void)loop_fd_mod(p->listen, 0);
	if (p->console)
		vconsole_set_open(p->console, p->port, true);
	return 0;
}

static void listen_ready(void *ctx, int fd, uint32_t events)
{
	struct port_socket *p = ctx;
	int client;

	(void)events;
	/* seccomp vm: accept4 */
	client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (client >= 0 && (p->fd >= 0 || add_client(p, client) < 0))
		close(client);
}

int port_socket_take(struct port_socket *p, int *fd, bool *open, struct err *e)
{
	int r;

	*open = p->console && vconsole_guest_open(p->console, p->port);
	if (!*open)
		return 0;
	if (p->fd >= 0) {
		err_set(e, EBUSY, "somebody else talks to the guest agent");
		return -EBUSY;
	}
	/* seccomp vm: fcntl arg1=F_GETFL/F_SETFL */
	r = fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
	if (r == 0)
		r = add_client(p, *fd);
	if (r < 0)
		return err_errno(e, -r, "cannot use that file as a socket");
	*fd = -1;
	return 0;
}

const char *port_socket_look(const struct port_socket *p)
{
	if (!p->console || !vconsole_guest_open(p->console, p->port))
		return "closed";
	return p->fd >= 0 ? "busy" : "open";
}

/* ---- the port ---- */

static size_t port_tx(void *ctx, const uint8_t *buf, size_t len)
{
	struct port_socket *p = ctx;
	ssize_t n;

	if (p->fd < 0)
		return len; /* nobody to take it */
	/* seccomp vm: sendto arg4=NULL */
	n = send(p->fd, buf, len, MSG_NOSIGNAL);
	if (n >= 0 && (size_t)n == len)
		return len;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return len; /* the loop will hear of it too */
	p->want_out = true;
	watch(p);
	return n < 0 ? 0 : (size_t)n;
}

static void port_room(void *ctx)
{
	struct port_socket *p = ctx;

	if (p->fd < 0 || p->want_in)
		return;
	p->want_in = true;
	watch(p);
}

void port_socket_backend(struct port_socket *p, const char *name, unsigned index,
			 struct vconsole_port *out)
{
	p->port = index;
	*out = (struct vconsole_port){
		.name = name, .open = p->fd >= 0, .ctx = p, .tx = port_tx, .rx_room = port_room};
}

void port_socket_attach(struct port_socket *p, struct virtio_dev *console)
{
	p->console = console;
}

void port_socket_detach(struct port_socket *p)
{
	p->console = NULL;
}

int port_socket_create(struct port_socket **out, struct loop *l, int listen_fd, struct err *e)
{
	struct port_socket *p = calloc(1, sizeof(*p));
	int r;

	*out = NULL;
	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	p->loop = l;
	p->fd = -1;
	if (listen_fd < 0) {
		*out = p;
		return 0;
	}
	r = fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
	if (r == 0)
		r = loop_fd_add(l, listen_fd, EPOLLIN, listen_ready, p, &p->listen);
	if (r < 0) {
		port_socket_destroy(p);
		return err_errno(e, -r, "cannot listen for clients of a port");
	}
	*out = p;
	return 0;
}

void port_socket_destroy(struct port_socket *p)
{
	if (!p)
		return;
	loop_fd_del(p->watch);
	loop_fd_del(p->listen);
	base_close_fd(&p->fd);
	free(p);
}
