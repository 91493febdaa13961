/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_conn.c - one connection: its unix socket, the bytes that wait, the credit.
 *
 * To the guest nothing is buffered: data stays in the unix socket until the guest has both buffers and credit. While it has
 * not, the socket is not watched, so it costs no time. From the guest up to VSOCK_BUF bytes wait in here, which is what
 * the guest is told it may send; more is a breach of the protocol and ends the connection.
 */
#include "virtio/vsock_conn.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_PORT 0x40000000u
#define IOVS 64u

static void watch(struct vsock_conn *c)
{
	bool in = !c->readable && !c->eof && (c->state == VSOCK_OPEN || c->state == VSOCK_HELLO);

	if (c->watch)
		(void)loop_fd_mod(c->watch, (in ? EPOLLIN : 0u) | (c->want_out ? EPOLLOUT : 0u));
}

static void close_socket(struct vsock_conn *c)
{
	loop_fd_del(c->watch);
	c->watch = NULL;
	base_close_fd(&c->fd);
	free(c->buf);
	c->buf = NULL;
	c->used = 0;
}

/* ---- life ---- */

static struct vsock_conn *dead_one(struct vsock *vs)
{
	for (struct vsock_conn *c = vs->conns; c; c = c->next)
		if (c->state == VSOCK_DEAD)
			return c;
	return NULL;
}

struct vsock_conn *vsock_conn_new(struct vsock *vs, enum vsock_state state)
{
	struct vsock_conn *c;

	/* A guest that does not take its RSTs loses them. */
	if (vs->n_conns >= VSOCK_CONNS_MAX && dead_one(vs))
		vsock_conn_free(dead_one(vs));
	if (vs->n_conns >= VSOCK_CONNS_MAX)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->vs = vs;
	c->state = state;
	c->fd = -1;
	c->id = ++vs->last_id;
	c->next = vs->conns;
	vs->conns = c;
	vs->n_conns++;
	return c;
}

void vsock_conn_free(struct vsock_conn *c)
{
	struct vsock *vs = c->vs;

	for (struct vsock_conn **p = &vs->conns; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			vs->n_conns--;
			break;
		}
	close_socket(c);
	free(c);
}

void vsock_conn_kill(struct vsock_conn *c)
{
	close_socket(c);
	c->state = VSOCK_DEAD;
	c->due = BIT(OP_RST);
}

/* ---- from the guest ---- */

uint32_t vsock_conn_credit(const struct vsock_conn *c)
{
	uint32_t flying = c->tx_cnt - c->peer_fwd_cnt;

	return flying < c->peer_buf_alloc ? c->peer_buf_alloc - flying : 0;
}

/* Our client took n bytes. The guest hears of it before it runs dry. */
static void taken(struct vsock_conn *c, uint32_t n)
{
	c->fwd_cnt += n;
	c->vs->n_out += n;
	if (c->fwd_cnt - c->fwd_told >= VSOCK_BUF / 2)
		c->due |= BIT(OP_CREDIT_UPDATE);
}

void vsock_conn_shut(struct vsock_conn *c)
{
	if (c->used || c->state != VSOCK_OPEN)
		return;
	if (c->guest_shut == SHUT_F_BOTH)
		vsock_conn_kill(c); /* §5.10.6.5: confirmed by RST */
	else if (c->guest_shut & SHUT_F_SEND)
		/* seccomp vm: shutdown */
		(void)shutdown(c->fd, SHUT_WR);
}

static void drain(struct vsock_conn *c)
{
	while (c->used) {
		uint32_t n = MIN(c->used, VSOCK_BUF - c->head);
		/* seccomp vm: sendto arg4=NULL */
		ssize_t r = send(c->fd, c->buf + c->head, n, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			break;
		if (r <= 0) {
			vsock_conn_kill(c);
			return;
		}
		c->head = (c->head + (uint32_t)r) % VSOCK_BUF;
		c->used -= (uint32_t)r;
		taken(c, (uint32_t)r);
	}
	c->want_out = c->used != 0;
	watch(c);
	if (!c->used)
		vsock_conn_shut(c);
}

static bool keep(struct vsock_conn *c, const struct virtq_chain *chain, uint64_t off, uint32_t len)
{
	if (len > VSOCK_BUF - c->used)
		return false;
	if (!c->buf)
		c->buf = malloc(VSOCK_BUF);
	if (!c->buf)
		return false;
	while (len) {
		uint32_t at = (c->head + c->used) % VSOCK_BUF, n = MIN(len, VSOCK_BUF - at);

		if (virtq_chain_read(chain, off, c->buf + at, n) != n)
			return false;
		c->used += n;
		off += n;
		len -= n;
	}
	c->want_out = true;
	watch(c);
	return true;
}

bool vsock_conn_write(struct vsock_conn *c, const struct virtq_chain *chain, uint64_t off,
		      uint32_t len)
{
	struct iovec iov[IOVS];
	struct msghdr m = {.msg_iov = iov};
	uint64_t bytes;
	ssize_t r = 0;

	if (len > VSOCK_BUF - c->used)
		return false;
	if (!c->used && len) {
		m.msg_iovlen = virtq_chain_iov(chain, false, off, len, iov, IOVS, &bytes);
		/* seccomp vm: sendmsg */
		r = sendmsg(c->fd, &m, MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN && errno != EINTR) {
			vsock_conn_kill(c);
			return true;
		}
		r = MAX(r, 0);
		taken(c, (uint32_t)r);
	}
	return (uint32_t)r == len || keep(c, chain, off + (uint64_t)r, len - (uint32_t)r);
}

void vsock_conn_say(struct vsock_conn *c, const char *text)
{
	if (send(c->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
		vsock_conn_kill(c); /* a new socket has room for a line */
}

/* ---- to the guest ---- */

uint32_t vsock_conn_read(struct vsock_conn *c, const struct virtq_chain *chain)
{
	struct iovec iov[IOVS];
	uint64_t bytes;
	unsigned n;
	ssize_t r;

	n = virtq_chain_iov(chain, true, sizeof(struct vsock_hdr), vsock_conn_credit(c), iov, IOVS,
			    &bytes);
	if (!n)
		return 0;
	do
		/* seccomp vm: readv */
		r = readv(c->fd, iov, (int)n);
	while (r < 0 && errno == EINTR);
	if (r > 0) {
		c->tx_cnt += (uint32_t)r;
		c->vs->n_in += (uint64_t)r;
		return (uint32_t)r;
	}
	c->readable = false;
	c->eof = r == 0;
	watch(c);
	if (r < 0 && errno != EAGAIN)
		vsock_conn_kill(c);
	return 0;
}

/* ---- the host's side ---- */

static bool port_free(const struct vsock *vs, uint32_t port)
{
	for (const struct vsock_conn *c = vs->conns; c; c = c->next)
		if (c->host_port == port)
			return false;
	return true;
}

static bool hello_line(struct vsock_conn *c)
{
	unsigned long port;
	char *end;

	if (strncmp(c->hello, "CONNECT ", 8) != 0 || c->hello[8] < '0' || c->hello[8] > '9')
		return false;
	errno = 0;
	port = strtoul(c->hello + 8, &end, 10);
	if (errno || *end || port >= UINT32_MAX)
		return false;
	do
		c->vs->last_port = c->vs->last_port < FIRST_PORT || c->vs->last_port == INT32_MAX ?
					   FIRST_PORT :
					   c->vs->last_port + 1;
	while (!port_free(c->vs, c->vs->last_port));
	c->host_port = c->vs->last_port;
	c->guest_port = (uint32_t)port;
	c->state = VSOCK_REQUESTED;
	c->due = BIT(OP_REQUEST);
	watch(c);
	return true;
}

/* "CONNECT port\n", without a byte of what follows. False: it is none, or the client left. */
static bool hello(struct vsock_conn *c)
{
	while (c->n_hello < sizeof(c->hello)) {
		char *at = &c->hello[c->n_hello];
		/* seccomp vm: recvfrom */
		ssize_t n = recv(c->fd, at, 1, 0);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		if (*at == '\n') {
			*at = '\0';
			return hello_line(c);
		}
		c->n_hello++;
	}
	return false;
}

static void socket_ready(void *ctx, int fd, uint32_t events)
{
	struct vsock_conn *c = ctx;
	struct vsock *vs = c->vs;

	(void)fd;
	if (c->state == VSOCK_HELLO) {
		if (!hello(c)) {
			vs->n_refused++;
			vsock_conn_free(c);
			return;
		}
	} else {
		if (events & EPOLLOUT)
			drain(c);
		/* A hang-up is found by reading, when what came before it has been read. */
		if (c->state == VSOCK_OPEN && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !c->eof) {
			c->readable = true;
			watch(c);
		} else if (c->state == VSOCK_OPEN && (events & (EPOLLHUP | EPOLLERR))) {
			vsock_conn_kill(c); /* it reads no more either */
		}
	}
	vsock_pump(vs);
}

bool vsock_conn_socket(struct vsock_conn *c, int fd)
{
	c->fd = fd;
	if (loop_fd_add(c->vs->v.env->loop, fd, EPOLLIN, socket_ready, c, &c->watch) < 0) {
		base_close_fd(&c->fd);
		return false;
	}
	return true;
}

void vsock_conn_accept(void *ctx, int fd, uint32_t events)
{
	struct vsock *vs = ctx;
	/* seccomp vm: accept4 */
	int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct vsock_conn *c;

	(void)events;
	if (sock < 0)
		return;
	c = virtio_running(&vs->v) ? vsock_conn_new(vs, VSOCK_HELLO) : NULL;
	if (!c) { /* no driver, or too many */
		vs->n_refused++;
		close(sock);
		return;
	}
	if (!vsock_conn_socket(c, sock))
		vsock_conn_free(c);
}
