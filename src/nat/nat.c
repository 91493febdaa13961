/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nat.c - libslirp between a guest's frames and the host's sockets.
 *
 * Theory of operation. A round waits for the guest's socket and for what libslirp wants of its own sockets,
 * hands the guest's frames in, and lets libslirp look at its sockets. Frames to the guest go out at once; when
 * the guest does not take them, up to HELD_MAX bytes of them wait here and libslirp's sockets are not looked at until
 * they are gone: so a slow guest slows its peers down instead of losing their packets, which TCP would take for
 * congestion.
 *
 * What a guest can do to us: libslirp parses its packets. That is why all this is a process of its own, with
 * nothing in it but these sockets.
 */
#include "nat/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nat/frame.h"
#include "util/clock.h"
#include "util/log.h"

#define HELD_MAX (4 * MIB)
#define FRAMES_A_ROUND 64u
#define SOCKET_BUFFER (1024 * 1024)

struct held {
	struct held *next;
	size_t len;
	uint8_t data[];
};

struct timer {
	struct timer *next;
	SlirpTimerId id;
	void *arg;
	int64_t expire_ms; /* -1: idle */
};

struct nat {
	int fd;
	bool gone;
	Slirp *slirp;
	struct timer *timers;
	struct held *held, **held_end;
	size_t held_bytes;
	struct pollfd *poll;
	unsigned n_poll, poll_cap;
	uint8_t frame[FRAME_MAX + 1]; /* one more, so that a cut frame shows */
};

/* ---- libslirp's calls ---- */

static void hold(struct nat *n, const void *data, size_t len)
{
	struct held *h;

	if (n->held_bytes + len > HELD_MAX)
		return; /* lost, as in any network */
	h = malloc(sizeof(*h) + FRAME_HDR + len);
	if (!h)
		return;
	h->next = NULL;
	h->len = FRAME_HDR + len;
	frame_header_to_guest(h->data);
	memcpy(h->data + FRAME_HDR, data, len);
	*n->held_end = h;
	n->held_end = &h->next;
	n->held_bytes += len;
}

static ssize_t send_packet(const void *data, size_t len, void *opaque)
{
	struct nat *n = opaque;
	uint8_t hdr[FRAME_HDR];
	struct iovec iov[2] = {{hdr, sizeof(hdr)}, {(void *)(uintptr_t)data, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (n->held) {
		hold(n, data, len);
		return (ssize_t)len;
	}
	frame_header_to_guest(hdr);
	/* seccomp nat: sendmsg */
	if (sendmsg(n->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno == EAGAIN || errno == ENOBUFS)
			hold(n, data, len);
		else if (errno == EPIPE || errno == ECONNRESET)
			n->gone = true;
	}
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	(void)opaque;
	log_debug_limited("the guest's packet: %s", msg);
}

static int64_t clock_now(void *opaque)
{
	(void)opaque;
	return (int64_t)clock_ns();
}

static void *timer_new(SlirpTimerId id, void *arg, void *opaque)
{
	struct nat *n = opaque;
	struct timer *t = calloc(1, sizeof(*t));

	if (!t) {
		log_error("out of memory");
		exit(1);
	}
	*t = (struct timer){.next = n->timers, .id = id, .arg = arg, .expire_ms = -1};
	n->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct nat *n = opaque;

	for (struct timer **p = &n->timers; *p; p = &(*p)->next) {
		if (*p != timer)
			continue;
		*p = (*p)->next;
		break;
	}
	free(timer);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->expire_ms = expire_ms;
}

static void poll_fd_ignored(int fd, void *opaque)
{
	(void)fd; /* each round asks for all of them */
	(void)opaque;
}

static void notify(void *opaque)
{
	(void)opaque; /* we are its only thread: it looks in the same round */
}

static const SlirpCb slirp_calls = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_now,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd_ignored,
	.unregister_poll_fd = poll_fd_ignored,
	.notify = notify,
};

/* ---- a round ---- */

static int add_poll(int fd, int events, void *opaque)
{
	struct nat *n = opaque;
	short ev = 0;

	if (n->n_poll == n->poll_cap) {
		unsigned cap = n->poll_cap ? 2 * n->poll_cap : 64;
		struct pollfd *p = realloc(n->poll, cap * sizeof(*p));

		if (!p)
			return -1; /* not looked at in this round */
		n->poll = p;
		n->poll_cap = cap;
	}
	ev |= events & SLIRP_POLL_IN ? POLLIN : 0;
	ev |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
	ev |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
	n->poll[n->n_poll] = (struct pollfd){.fd = fd, .events = ev};
	return (int)n->n_poll++;
}

static int get_revents(int idx, void *opaque)
{
	struct nat *n = opaque;
	int r = 0;
	short ev;

	if (idx < 0 || (unsigned)idx >= n->n_poll)
		return 0;
	ev = n->poll[idx].revents;
	r |= ev & POLLIN ? SLIRP_POLL_IN : 0;
	r |= ev & POLLOUT ? SLIRP_POLL_OUT : 0;
	r |= ev & POLLPRI ? SLIRP_POLL_PRI : 0;
	r |= ev & POLLERR ? SLIRP_POLL_ERR : 0;
	r |= ev & POLLHUP ? SLIRP_POLL_HUP : 0;
	return r;
}

static void run_timers(struct nat *n)
{
	int64_t now_ms = (int64_t)(clock_ns() / CLOCK_NS_PER_MS);
	struct timer *next;

	for (struct timer *t = n->timers; t; t = next) {
		next = t->next;
		if (t->expire_ms < 0 || t->expire_ms > now_ms)
			continue;
		t->expire_ms = -1;
		slirp_handle_timer(n->slirp, t->id, t->arg);
	}
}

static uint32_t time_left(const struct nat *n, uint32_t most_ms)
{
	int64_t now_ms = (int64_t)(clock_ns() / CLOCK_NS_PER_MS);

	for (const struct timer *t = n->timers; t; t = t->next)
		if (t->expire_ms >= 0)
			most_ms = t->expire_ms <= now_ms ?
					  0 :
					  (uint32_t)MIN((int64_t)most_ms, t->expire_ms - now_ms);
	return most_ms;
}

static void send_held(struct nat *n)
{
	while (n->held) {
		struct held *h = n->held;

		/* seccomp nat: sendto */
		if (send(n->fd, h->data, h->len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
			if (errno == EAGAIN || errno == ENOBUFS)
				return;
			n->gone |= errno == EPIPE || errno == ECONNRESET;
		}
		n->held = h->next;
		if (!n->held)
			n->held_end = &n->held;
		n->held_bytes -= h->len - FRAME_HDR;
		free(h);
	}
}

static void take_frames(struct nat *n)
{
	for (unsigned i = 0; i < FRAMES_A_ROUND; i++) {
		/* seccomp nat: recvfrom */
		ssize_t r = recv(n->fd, n->frame, sizeof(n->frame), MSG_DONTWAIT);
		size_t len;

		if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
			n->gone = true;
		if (r <= 0)
			return;
		if ((size_t)r > FRAME_MAX)
			continue; /* cut: larger than any packet */
		len = frame_from_guest(n->frame, (size_t)r);
		if (len)
			slirp_input(n->slirp, n->frame + FRAME_HDR, (int)len);
	}
}

bool nat_round(struct nat *n)
{
	uint32_t timeout = UINT32_MAX;
	int r;

	n->n_poll = 0;
	(void)add_poll(n->fd, SLIRP_POLL_IN | (n->held ? SLIRP_POLL_OUT : 0), n);
	if (!n->n_poll)
		return false; /* no memory for even one */
	if (!n->held)
		slirp_pollfds_fill(n->slirp, &timeout, add_poll, n);
	timeout = time_left(n, timeout);
	/* seccomp nat: poll */
	r = poll(n->poll, n->n_poll, timeout > INT32_MAX ? -1 : (int)timeout);
	if (r < 0 && errno != EINTR)
		return false;
	if (r > 0 && n->poll[0].revents & POLLOUT)
		send_held(n);
	if (r > 0 && n->poll[0].revents & (POLLIN | POLLHUP | POLLERR))
		take_frames(n);
	if (n->n_poll > 1 || !n->held)
		slirp_pollfds_poll(n->slirp, r < 0, get_revents, n);
	run_timers(n);
	return !n->gone;
}

/* ---- life ---- */

static int add_forward(struct nat *n, const struct portfwd *f, struct err *e)
{
	struct sockaddr_in h4 = {.sin_family = AF_INET,
				 .sin_addr = f->host4,
				 .sin_port = htons(f->host_port)};
	struct sockaddr_in6 h6 = {.sin6_family = AF_INET6,
				  .sin6_addr = f->host6,
				  .sin6_port = htons(f->host_port)};
	struct sockaddr_in g4 = {.sin_family = AF_INET, .sin_port = htons(f->guest_port)};
	struct sockaddr_in6 g6 = {.sin6_family = AF_INET6, .sin6_port = htons(f->guest_port)};
	int flags = (f->udp ? SLIRP_HOSTFWD_UDP : 0) | (f->v6 ? SLIRP_HOSTFWD_V6ONLY : 0);
	char text[PORTFWD_TEXT_MAX];
	int r;

	errno = 0;
	/* Guest address 0: the one that DHCP gives out. */
	if (f->v6)
		r = slirp_add_hostxfwd(n->slirp, (const struct sockaddr *)&h6, sizeof(h6),
				       (const struct sockaddr *)&g6, sizeof(g6), flags);
	else
		r = slirp_add_hostxfwd(n->slirp, (const struct sockaddr *)&h4, sizeof(h4),
				       (const struct sockaddr *)&g4, sizeof(g4), flags);
	if (r == 0)
		return 0;
	r = errno ? errno : EADDRINUSE;
	portfwd_format(f, text, sizeof(text));
	if (r == EADDRINUSE)
		err_set(e, r, "cannot forward %s: port %u of the host is in use", text,
			f->host_port);
	else if (r == EACCES || r == EPERM)
		err_set(e, r, "cannot forward %s: ports below 1024 need privileges on this host",
			text);
	else
		err_errno(e, r, "cannot forward %s", text);
	err_hint(e, "choose another port");
	return err_field(e, "publish", text);
}

static struct in_addr address(const struct nat_config *c, uint32_t last)
{
	return (struct in_addr){.s_addr = htonl(ntohl(c->network.s_addr) | last)};
}

static struct in6_addr address6(const struct nat_config *c, uint8_t last)
{
	struct in6_addr a = c->prefix6;

	a.s6_addr[15] = last;
	return a;
}

int nat_create(struct nat **out, const struct nat_config *c, int fd, struct err *e)
{
	SlirpConfig sc = {
		.version = 4,
		.restricted = c->restricted,
		.in_enabled = true,
		.vnetwork = c->network,
		.vnetmask = c->mask,
		.vhost = address(c, 2),
		.in6_enabled = c->ipv6,
		.vprefix_addr6 = c->prefix6,
		.vprefix_len = 64,
		.vhost6 = address6(c, 2),
		.vhostname = c->hostname,
		.vdhcp_start = address(c, 15),
		.vnameserver = address(c, 3),
		.vnameserver6 = address6(c, 3),
		.if_mtu = c->mtu,
		.if_mru = c->mtu,
		.disable_host_loopback = !c->host_loopback,
	};
	struct nat *n = calloc(1, sizeof(*n));
	int size = SOCKET_BUFFER;

	*out = NULL;
	if (!n)
		return err_set(e, ENOMEM, "out of memory");
	n->fd = fd;
	n->held_end = &n->held;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	/*
	 * What libslirp calls after its start: sockets to anywhere, which is what it is for, and the host's list of name servers.
	 * seccomp nat: socket arg0=AF_INET/AF_INET6, socket errno=EAFNOSUPPORT
	 * seccomp nat: connect, accept, shutdown, getpeername, getsockname, getsockopt, setsockopt - streams
	 * seccomp nat: sendto, recvfrom, recvmsg, ioctl arg1=FIONBIO/FIONREAD, fcntl arg1=F_GETFL/F_SETFL/F_GETFD/F_SETFD
	 * seccomp nat: openat arg2&(O_ACCMODE|O_CREAT|O_TRUNC)=O_RDONLY, newfstatat, fstat, read, lseek - /etc/resolv.conf
	 */
	n->slirp = slirp_new(&sc, &slirp_calls, n);
	if (!n->slirp) {
		nat_destroy(n);
		return err_set(e, EIO, "libslirp %s does not begin", slirp_version_string());
	}
	for (unsigned i = 0; i < c->n_forwards; i++) {
		int r = add_forward(n, &c->forward[i], e);

		if (r < 0) {
			nat_destroy(n);
			return r;
		}
	}
	*out = n;
	return 0;
}

void nat_destroy(struct nat *n)
{
	if (!n)
		return;
	if (n->slirp)
		slirp_cleanup(n->slirp);
	while (n->timers)
		timer_free(n->timers, n);
	while (n->held) {
		struct held *h = n->held;

		n->held = h->next;
		free(h);
	}
	free(n->poll);
	free(n);
}
