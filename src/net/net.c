/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - moves packets between a network card and a back-end's fd.
 *
 * Theory of operation. To the guest: the fd is watched while the card takes packets. A packet is read into one
 * buffer and offered; when the card has no room it stays in the buffer, and the watch is off until the card asks
 * for more. So nothing is lost here, and the other side feels the pressure in its socket. A round takes at most
 * PACKETS_A_ROUND, so that one busy card does not hold up the loop.
 *
 * From the guest: each packet is written at once, straight from the guest's buffers but for the header, which is copied
 * and checked first (the guest may change its memory at any time). When there is no room the card is told to wait, and the
 * fd is watched for it.
 *
 * A rate limit only makes both wait for a timer.
 */
#include "net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

#define PACKETS_A_ROUND 64u
#define SOCKET_BUFFER (1024 * 1024)

struct direction {
	struct bucket bytes, packets;
	struct loop_timer timer; /* the limit's */
};

struct net_port {
	struct loop *loop;
	enum net_kind kind;
	int fd;
	struct loop_fd *watch;
	const struct net_port_ops *ops;
	void *ctx;
	bool receiving;	 /* the card takes packets */
	bool send_waits; /* it waits for writable() */
	bool link_down;	 /* the cable is out */
	bool lost;	 /* the other end is gone */
	struct direction rx, tx;
	struct net_stats stats;
	size_t kept; /* a packet that the card had no room for; 0: none */
	uint8_t packet[NET_PACKET_MAX + 1];
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

/* Is the header true of a frame of `len` bytes? Neither side may trust the other's. */
static bool header_ok(const uint8_t hdr[NET_HDR_SIZE], size_t len)
{
	unsigned gso = hdr[1] & ~NET_HDR_GSO_ECN;
	size_t start = get16(hdr + 6), at = start + get16(hdr + 8);

	if (len < NET_FRAME_MIN)
		return false;
	if (gso != NET_HDR_GSO_NONE && gso != NET_HDR_GSO_TCPV4 && gso != NET_HDR_GSO_TCPV6)
		return false;
	if (hdr[0] & NET_HDR_F_NEEDS_CSUM) {
		if (start < NET_FRAME_MIN || at + 2 > len)
			return false;
	} else if (gso != NET_HDR_GSO_NONE) {
		return false; /* virtio 1.2 §5.1.6.2.1: segmentation needs the checksum left out */
	}
	return gso == NET_HDR_GSO_NONE || (get16(hdr + 4) && get16(hdr + 2) <= len);
}

/* ---- waiting ---- */

static void update_watch(struct net_port *p)
{
	uint32_t events = 0;

	if (!p->watch)
		return;
	if (p->lost) {
		(void)loop_fd_mod(p->watch, 0);
		return;
	}
	if (p->receiving && !p->kept && !loop_timer_armed(&p->rx.timer))
		events |= EPOLLIN;
	if (p->send_waits && !loop_timer_armed(&p->tx.timer))
		events |= EPOLLOUT;
	(void)loop_fd_mod(p->watch, events);
}

static void lost(struct net_port *p)
{
	if (p->lost)
		return;
	p->lost = true;
	update_watch(p);
	if (p->ops->link_lost)
		p->ops->link_lost(p->ctx);
}

/* False: not yet; the timer is set. */
static bool may_move(struct net_port *p, struct direction *d)
{
	uint64_t now, wait;

	if (!d->bytes.cfg.rate && !d->packets.cfg.rate)
		return true;
	if (loop_timer_armed(&d->timer))
		return false;
	now = clock_ns();
	wait = MAX(bucket_wait(&d->bytes, now), bucket_wait(&d->packets, now));
	if (!wait)
		return true;
	p->stats.n_throttled++;
	(void)loop_timer_set(&d->timer, now + wait);
	return false;
}

static void moved(struct direction *d, size_t len)
{
	uint64_t now;

	if (!d->bytes.cfg.rate && !d->packets.cfg.rate)
		return;
	now = clock_ns();
	bucket_take(&d->bytes, len, now);
	bucket_take(&d->packets, 1, now);
}

/* ---- to the guest ---- */

/* A packet that is in the buffer. False: kept. */
static bool offer(struct net_port *p, size_t len)
{
	if (!p->link_down && header_ok(p->packet, len - NET_HDR_SIZE)) {
		if (!p->ops->receive(p->ctx, p->packet, len)) {
			p->kept = len;
			return false;
		}
		p->stats.rx_packets++;
		p->stats.rx_bytes += len - NET_HDR_SIZE;
		moved(&p->rx, len - NET_HDR_SIZE);
	} else {
		p->stats.rx_dropped++;
	}
	p->kept = 0;
	return true;
}

static void batch_done(struct net_port *p)
{
	if (p->ops->received)
		p->ops->received(p->ctx);
}

static void receive_some(struct net_port *p)
{
	uint64_t before = p->stats.rx_packets;

	for (unsigned i = 0; i < PACKETS_A_ROUND && p->receiving && !p->lost; i++) {
		ssize_t n;

		if (!may_move(p, &p->rx))
			break;
		/* seccomp vm: read */
		n = read(p->fd, p->packet, sizeof(p->packet));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			lost(p);
		if (n <= 0)
			break;
		if ((size_t)n < NET_HDR_SIZE || (size_t)n > NET_PACKET_MAX)
			p->stats.rx_dropped++;
		else if (!offer(p, (size_t)n))
			break;
	}
	if (p->stats.rx_packets != before)
		batch_done(p);
	update_watch(p);
}

static void ready(void *ctx, int fd, uint32_t events)
{
	struct net_port *p = ctx;

	(void)fd;
	if (events & EPOLLOUT && p->send_waits) {
		p->send_waits = false;
		p->ops->writable(p->ctx);
	}
	/* A hang-up shows as the end of what can be read, after all that was sent before it. */
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		if (p->receiving && !p->kept)
			receive_some(p);
		else if (events & (EPOLLHUP | EPOLLERR))
			lost(p);
	}
	update_watch(p);
}

static void rx_timer(void *ctx)
{
	struct net_port *p = ctx;

	if (p->receiving && !p->kept)
		receive_some(p);
}

static void tx_timer(void *ctx)
{
	struct net_port *p = ctx;

	if (!p->send_waits)
		return;
	p->send_waits = false;
	p->ops->writable(p->ctx);
	update_watch(p);
}

void net_port_receive(struct net_port *p, bool on)
{
	p->receiving = on;
	if (on && p->kept) {
		if (offer(p, p->kept))
			batch_done(p);
		else
			p->receiving = false; /* asked for too early: waits for the next call */
	}
	update_watch(p);
}

/* ---- from the guest ---- */

int net_port_send(struct net_port *p, const struct iovec *iov, unsigned n)
{
	struct iovec out[NET_IOV_MAX + 1];
	struct msghdr msg = {.msg_iov = out};
	uint8_t hdr[NET_HDR_SIZE];
	size_t len = 0, have = 0;
	ssize_t r;

	out[0] = (struct iovec){hdr, sizeof(hdr)};
	msg.msg_iovlen = 1;
	for (unsigned i = 0; i < n; i++) {
		struct iovec v = iov[i];
		size_t part = MIN(v.iov_len, sizeof(hdr) - have);

		memcpy(hdr + have, v.iov_base, part);
		have += part;
		v.iov_base = (uint8_t *)v.iov_base + part;
		v.iov_len -= part;
		len += v.iov_len;
		if (!v.iov_len)
			continue;
		if (msg.msg_iovlen == ARRAY_SIZE(out))
			goto drop;
		out[msg.msg_iovlen++] = v;
	}
	if (have < sizeof(hdr) || len > NET_PACKET_MAX - NET_HDR_SIZE || p->link_down || p->lost)
		goto drop;
	hdr[0] &= NET_HDR_F_NEEDS_CSUM;
	hdr[10] = 1; /* num_buffers: not the guest's to set */
	hdr[11] = 0;
	if (!header_ok(hdr, len))
		goto drop;
	if (!may_move(p, &p->tx)) {
		p->send_waits = true;
		return -EAGAIN;
	}
	do
		/* seccomp vm: sendmsg, writev */
		r = p->kind == NET_KIND_SOCKET ? sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) :
						 writev(p->fd, out, (int)msg.msg_iovlen);
	while (r < 0 && errno == EINTR);
	if (r >= 0) {
		p->stats.tx_packets++;
		p->stats.tx_bytes += len;
		moved(&p->tx, len);
		return 0;
	}
	if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
		p->send_waits = true;
		update_watch(p);
		return -EAGAIN;
	}
	if (errno == EPIPE || errno == ECONNRESET || errno == EBADFD)
		lost(p);
drop:
	p->stats.tx_dropped++;
	return 0;
}

/* ---- settings ---- */

int net_port_set_offloads(struct net_port *p, unsigned offloads)
{
	unsigned tun = 0;

	if (p->kind != NET_KIND_TAP || p->fd < 0)
		return 0; /* the user NAT leaves nothing undone, a switch asks its ports */
	tun |= offloads & NET_OFFLOAD_CSUM ? TUN_F_CSUM : 0;
	if (tun) {
		tun |= offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0;
		tun |= offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0;
		if (tun & (TUN_F_TSO4 | TUN_F_TSO6))
			tun |= offloads & NET_OFFLOAD_TSO_ECN ? TUN_F_TSO_ECN : 0;
	}
	/* seccomp vm: ioctl arg1=TUNSETOFFLOAD */
	return ioctl(p->fd, TUNSETOFFLOAD, (unsigned long)tun) < 0 ? -errno : 0;
}

void net_port_set_link(struct net_port *p, bool up)
{
	p->link_down = !up;
	if (p->kept && p->link_down) {
		p->kept = 0;
		p->stats.rx_dropped++;
		update_watch(p);
	}
}

void net_port_cut(struct net_port *p)
{
	p->lost = true;
	loop_fd_del(p->watch);
	p->watch = NULL;
	p->fd = -1;
	if (p->send_waits) {
		p->send_waits = false;
		p->ops->writable(p->ctx);
	}
}

void net_port_set_limit(struct net_port *p, const struct bucket_config *bytes,
			const struct bucket_config *packets)
{
	struct direction *both[] = {&p->rx, &p->tx};

	for (unsigned i = 0; i < ARRAY_SIZE(both); i++) {
		bucket_set(&both[i]->bytes, bytes);
		bucket_set(&both[i]->packets, packets);
		/* Who waits looks again at once, under the new limit. */
		if (loop_timer_armed(&both[i]->timer))
			(void)loop_timer_set(&both[i]->timer, clock_ns());
	}
}

void net_port_stats(const struct net_port *p, struct net_stats *out)
{
	*out = p->stats;
}

/* ---- life ---- */

int net_port_create(struct net_port **out, struct loop *l, enum net_kind kind, int fd,
		    const struct net_port_ops *ops, void *ctx, struct err *e)
{
	struct net_port *p = calloc(1, sizeof(*p));
	int r, size = SOCKET_BUFFER;

	*out = NULL;
	if (!p)
		return err_set(e, ENOMEM, "out of memory");
	p->loop = l;
	p->kind = kind;
	p->fd = fd;
	p->ops = ops;
	p->ctx = ctx;
	loop_timer_init(&p->rx.timer, l, rx_timer, p);
	loop_timer_init(&p->tx.timer, l, tx_timer, p);
	r = fcntl(fd, F_GETFL);
	if (r < 0 || fcntl(fd, F_SETFL, r | O_NONBLOCK) < 0) {
		r = err_errno(e, errno, "the network card's descriptor is not usable");
		goto fail;
	}
	if (kind == NET_KIND_SOCKET)
		/* seccomp vm: setsockopt arg1=SOL_SOCKET arg2=SO_SNDBUF */
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = loop_fd_add(l, fd, 0, ready, p, &p->watch);
	if (r < 0) {
		r = err_errno(e, -r, "cannot wait for the network card's packets");
		goto fail;
	}
	*out = p;
	return 0;
fail:
	net_port_destroy(p);
	return r;
}

void net_port_destroy(struct net_port *p)
{
	if (!p)
		return;
	loop_timer_cancel(&p->rx.timer);
	loop_timer_cancel(&p->tx.timer);
	loop_fd_del(p->watch);
	free(p);
}
