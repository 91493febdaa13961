/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c - the virtio network card: queues on one side, a net_port on the other.
 *
 * Theory of operation. From the guest: each packet of a transmit queue goes out at once, straight from guest
 * memory. When the port has no room the packet is put back (virtq_unpop()), the queue waits for writable(), and the
 * guest is not asked for kicks meanwhile. A call serves at most TX_BATCH packets and then asks to be called again, so
 * that one card cannot hold up the loop.
 *
 * To the guest: the port offers a packet; it is copied into as many receive buffers as it needs (merge-able buffers,
 * §5.1.6.4) or into one. When there are too few, what was popped is put back, the port keeps the packet, and the next
 * kick of the receive queue asks for it again. With several queue pairs a packet goes to the pair that its flow's hash
 * says, so that a flow stays in order.
 *
 * What the driver chooses by commands, and what of it is saved: net_ctrl.c. Nothing is with the card when it is paused: what could not
 * be sent is in the queue again, and a packet that the port keeps is lost, as in any network. After a load the guest is asked to
 * tell the network where it is now (§5.1.6.5.4).
 */
#include "virtio/net_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define QUEUE_SIZE 256u
#define CTRL_QUEUE_SIZE 64u
#define TX_BATCH 256u
#define RX_CHAINS_MAX 64u /* of one packet */

static struct virtio_net *from_v(struct virtio_dev *d)
{
	return container_of(d, struct virtio_net, v);
}

static uint16_t get16be(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static struct virtq *rx_queue(struct virtio_net *n, unsigned pair)
{
	return virtio_q(&n->v, 2 * pair);
}

static struct virtq *tx_queue(struct virtio_net *n, unsigned pair)
{
	return virtio_q(&n->v, 2 * pair + 1);
}

/* Behind all pairs, or behind the only one for a driver that does not know of more; §5.1.2. */
static unsigned ctrl_queue(const struct virtio_net *n)
{
	return 2 * (virtio_has(&n->v, F_MQ) ? n->pairs_max : 1);
}

/* ---- from the guest ---- */

/* A packet in more pieces than a port takes at once. */
static int send_gathered(struct virtio_net *n, const struct virtq_chain *c)
{
	_autofree uint8_t *buf = malloc(NET_PACKET_MAX);
	struct iovec iov = {buf, 0};

	if (!buf)
		return 0; /* lost, as in any network */
	iov.iov_len = virtq_chain_read(c, 0, buf, NET_PACKET_MAX);
	return net_port_send(n->port, &iov, 1);
}

static void serve_tx(struct virtio_net *n, unsigned pair)
{
	struct virtq *q = tx_queue(n, pair);
	unsigned budget = TX_BATCH;
	struct virtq_chain *c;

	if (n->tx_waiting & BIT(pair))
		return;
	do {
		virtq_disable_kicks(q);
		while ((c = virtq_pop(q))) {
			int r;

			if (!budget--) {
				virtq_unpop(q, c);
				virtq_flush(q);
				virtio_kick(&n->v, q->index);
				return;
			}
			/* Larger than any packet: the port would refuse it, but must not read that much either. */
			if (c->out_bytes > NET_PACKET_MAX || c->out_bytes < NET_HDR_SIZE)
				r = 0;
			else if (c->n_out > NET_IOV_MAX)
				r = send_gathered(n, c);
			else
				r = net_port_send(n->port, c->iov, c->n_out);
			if (r == -EAGAIN) {
				virtq_unpop(q, c);
				virtq_flush(q);
				n->tx_waiting |= BIT(pair);
				return;
			}
			virtq_push(q, c, 0);
		}
		virtq_flush(q);
	} while (virtq_enable_kicks(q));
}

static void port_writable(void *ctx)
{
	struct virtio_net *n = ctx;
	uint64_t waiting = n->tx_waiting;

	n->tx_waiting = 0;
	for (; waiting; waiting &= waiting - 1)
		virtio_kick(&n->v, 2 * (unsigned)__builtin_ctzll(waiting) + 1);
}

/* ---- to the guest ---- */

/* The same number for all packets of a flow: addresses, protocol and ports, as far as they are there. */
static uint32_t flow_hash(const uint8_t *f, size_t len)
{
	uint32_t h = 2166136261u;
	size_t ports = 0, from = 0, to = 0;
	uint8_t proto = 0;

	if (len >= 34 && get16be(f + 12) == 0x0800) {
		from = 26;
		to = 34;
		proto = f[23];
		if (!(get16be(f + 20) & 0x3fff)) /* no fragment */
			ports = 14 + 4u * (f[14] & 15u);
	} else if (len >= 54 && get16be(f + 12) == 0x86dd) {
		from = 22;
		to = 54;
		proto = f[20];
		ports = 54;
	}
	for (size_t i = from; i < to; i++)
		h = (h ^ f[i]) * 16777619u;
	if ((proto == 6 || proto == 17) && ports && ports + 4 <= len)
		for (size_t i = ports; i < ports + 4; i++)
			h = (h ^ f[i]) * 16777619u;
	return h ^ h >> 16;
}

/* Makes the header true for what the driver said it can take. False: it cannot. */
static bool fit_header(const struct virtio_net *n, uint8_t *hdr)
{
	unsigned gso = hdr[1] & ~NET_HDR_GSO_ECN;

	if (!(n->offloads & F_GUEST_CSUM)) {
		if (hdr[0] & NET_HDR_F_NEEDS_CSUM)
			return false;
		hdr[0] = 0;
	}
	hdr[0] &= NET_HDR_F_NEEDS_CSUM | NET_HDR_F_DATA_VALID;
	if (hdr[1] & NET_HDR_GSO_ECN && !(n->offloads & F_GUEST_ECN))
		return false;
	return gso == NET_HDR_GSO_NONE ||
	       (gso == NET_HDR_GSO_TCPV4 && n->offloads & F_GUEST_TSO4) ||
	       (gso == NET_HDR_GSO_TCPV6 && n->offloads & F_GUEST_TSO6);
}

/*
 * Enough receive buffers for `len` bytes into chain[]. Their number; 0: too few now, a kick comes when there are more; -1: never.
 * Kicks are switched on while all that there is is popped, so that the event index stands behind it: the next buffer kicks.
 */
static int take_buffers(struct virtio_net *n, struct virtq *q, size_t len,
			struct virtq_chain *chain[RX_CHAINS_MAX])
{
	int most = virtio_has(&n->v, F_MRG_RXBUF) ? (int)RX_CHAINS_MAX : 1;
	uint64_t room = 0;
	int k = 0, r = -1;

	virtq_disable_kicks(q);
	while (room < len && k < most) {
		chain[k] = virtq_pop(q);
		if (chain[k]) {
			room += chain[k++]->in_bytes;
		} else if (!virtq_enable_kicks(q)) {
			r = 0;
			break;
		}
	}
	if (room >= len)
		return k;
	while (k > 0)
		virtq_unpop(q, chain[--k]);
	return r;
}

static bool deliver(struct virtio_net *n, unsigned pair, uint8_t *packet, size_t len)
{
	struct virtq *q = rx_queue(n, pair);
	struct virtq_chain *chain[RX_CHAINS_MAX];
	size_t at = 0;
	int k;

	if (!q->live || q->broken)
		return true; /* nobody will ever take it */
	k = take_buffers(n, q, len, chain);
	if (k == 0) {
		n->n_no_buffer++;
		return q->broken;
	}
	if (k < 0) {
		n->n_too_large++;
		return true;
	}
	packet[10] = (uint8_t)k;
	packet[11] = 0;
	for (int i = 0; i < k; i++) {
		size_t part = MIN(len - at, (size_t)chain[i]->in_bytes);

		virtq_chain_write(chain[i], 0, packet + at, part);
		virtq_push(q, chain[i], part);
		at += part;
	}
	n->rx_touched |= BIT(pair);
	return true;
}

static bool port_receive(void *ctx, uint8_t *packet, size_t len)
{
	struct virtio_net *n = ctx;
	const uint8_t *frame = packet + NET_HDR_SIZE;
	unsigned pair = 0;

	if (!virtio_running(&n->v))
		return false;
	if (!net_ctrl_wants(n, frame) || !fit_header(n, packet)) {
		n->n_filtered++;
		return true;
	}
	if (n->pairs > 1)
		pair = flow_hash(frame, len - NET_HDR_SIZE) % n->pairs;
	return deliver(n, pair, packet, len);
}

static void port_received(void *ctx)
{
	struct virtio_net *n = ctx;

	for (; n->rx_touched; n->rx_touched &= n->rx_touched - 1)
		virtq_flush(rx_queue(n, (unsigned)__builtin_ctzll(n->rx_touched)));
}

/* ---- link ---- */

bool virtio_net_link(const struct virtio_dev *d)
{
	const struct virtio_net *n = container_of(d, const struct virtio_net, v);

	return n->plugged && !n->peer_gone;
}

void net_show_status(struct virtio_net *n, bool tell)
{
	uint8_t s[2] = {(uint8_t)((virtio_net_link(&n->v) ? STATUS_LINK_UP : 0) |
				  (n->announcing ? STATUS_ANNOUNCE : 0)),
			0};

	virtio_set_config(&n->v, CFG_STATUS, s, sizeof(s), tell);
}

void virtio_net_set_cable(struct virtio_dev *d, bool plugged)
{
	struct virtio_net *n = from_v(d);

	if (plugged == n->plugged)
		return;
	n->plugged = plugged;
	net_port_set_link(n->port, plugged);
	net_show_status(n, true);
}

void virtio_net_set_limit(struct virtio_dev *d, const struct bucket_config *bytes,
			  const struct bucket_config *packets)
{
	net_port_set_limit(from_v(d)->port, bytes, packets);
}

void virtio_net_cut(struct virtio_dev *d)
{
	struct virtio_net *n = from_v(d);

	net_port_cut(n->port);
	n->peer_gone = true;
	net_show_status(n, true);
}

void virtio_net_stats(const struct virtio_dev *d, struct net_stats *out)
{
	net_port_stats(container_of(d, const struct virtio_net, v)->port, out);
}

static void port_link_lost(void *ctx)
{
	struct virtio_net *n = ctx;

	log_warn("%s: the other end of the network cable is gone: the guest's link is down",
		 n->v.pci.dev.id);
	n->peer_gone = true;
	net_show_status(n, true);
}

/* All of the device configuration. */
static void set_config(struct virtio_net *n)
{
	uint8_t config[CFG_SIZE] = {[CFG_PAIRS] = (uint8_t)n->pairs_max,
				    [CFG_MTU] = (uint8_t)n->mtu,
				    [CFG_MTU + 1] = (uint8_t)(n->mtu >> 8)};

	memcpy(config + CFG_MAC, n->mac, 6);
	virtio_set_config(&n->v, 0, config, sizeof(config), false);
	net_show_status(n, false);
}

static const struct net_port_ops port_ops = {
	.receive = port_receive,
	.received = port_received,
	.writable = port_writable,
	.link_lost = port_link_lost,
};

/* ---- life ---- */

static void start(struct virtio_dev *d)
{
	struct virtio_net *n = from_v(d);
	bool again = n->loaded && n->loaded_resets == d->n_resets;

	n->loaded = false;
	n->tx_waiting = n->rx_touched = 0;
	if (!again)
		net_ctrl_reset(n);
	net_ctrl_offloads(n, n->offloads);
	net_port_receive(n->port, true);
	if (!again)
		return;
	n->announcing = virtio_has(d, F_GUEST_ANNOUNCE) && virtio_net_link(d);
	net_show_status(n, true); /* the link may be another than before, too */
}

static void stop(struct virtio_dev *d)
{
	struct virtio_net *n = from_v(d);

	net_port_receive(n->port, false);
	n->announcing = false;
	net_show_status(n, false);
	memcpy(n->mac, n->first_mac, 6);
	virtio_set_config(d, CFG_MAC, n->mac, 6, false);
	virtio_stopped(d);
}

static void pause_(struct virtio_dev *d)
{
	net_port_receive(from_v(d)->port, false);
}

static void resume(struct virtio_dev *d)
{
	struct virtio_net *n = from_v(d);

	n->tx_waiting = 0;
	net_port_receive(n->port, true);
}

static int loaded(struct virtio_dev *d, struct err *e)
{
	struct virtio_net *n = from_v(d);

	n->loaded = d->phase == VIRTIO_LIVE;
	n->loaded_resets = d->n_resets;
	n->announcing = false;
	set_config(n);
	if (!n->pairs || n->mac[0] & 1 || n->offloads & ~(d->features & F_GUEST_OFFLOADS))
		return err_set(e, EINVAL, "%s: the saved state cannot be", d->pci.dev.id);
	return 0;
}

static void notify(struct virtio_dev *d, struct virtq *q)
{
	struct virtio_net *n = from_v(d);

	if (q->index == ctrl_queue(n))
		net_ctrl_serve(n, q);
	else if (q->index & 1)
		serve_tx(n, q->index / 2);
	else
		net_port_receive(n->port, true); /* buffers came */
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct virtio_net *n = from_v(d);
	struct net_stats s;

	net_port_stats(n->port, &s);
	add(ctx, "rx_packets", s.rx_packets);
	add(ctx, "rx_bytes", s.rx_bytes);
	add(ctx, "rx_dropped", s.rx_dropped + n->n_too_large);
	add(ctx, "rx_filtered", n->n_filtered);
	add(ctx, "rx_waits", n->n_no_buffer);
	add(ctx, "tx_packets", s.tx_packets);
	add(ctx, "tx_bytes", s.tx_bytes);
	add(ctx, "tx_dropped", s.tx_dropped);
	add(ctx, "throttled", s.n_throttled);
	add(ctx, "link", virtio_net_link(d));
}

static void dump(const struct virtio_dev *d, struct text *t)
{
	const struct virtio_net *n = container_of(d, const struct virtio_net, v);

	text_print(t, "  mac %02x:%02x:%02x:%02x:%02x:%02x, link %s, %u of %u queue pairs%s\n",
		   n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5],
		   virtio_net_link(d) ? "up" : "down", n->pairs, n->pairs_max,
		   n->promisc ? ", promiscuous" : "");
	text_print(t, "  %llu control commands (%llu refused), transmit queues waiting %#llx\n",
		   (unsigned long long)n->n_ctrl, (unsigned long long)n->n_ctrl_refused,
		   (unsigned long long)n->tx_waiting);
}

static void destroy(struct virtio_dev *d)
{
	struct virtio_net *n = from_v(d);

	net_port_destroy(n->port);
	virtio_fini(d);
	free(n);
}

const struct virtio_class virtio_net_class = {
	.name = "net",
	.help = "network card",
	.type = 1,
	.pci_class = 0x020000,
	.destroy = destroy,
	.notify = notify,
	.start = start,
	.stop = stop,
	.pause = pause_,
	.resume = resume,
	.state = net_ctrl_state,
	.loaded = loaded,
	.stats = stats,
	.dump = dump,
};

int virtio_net_create(struct virtio_dev **out, const struct dev_env *env,
		      const struct virtio_net_config *c, struct err *e)
{
	struct virtio_net *n = calloc(1, sizeof(*n));
	uint16_t size[2 * VIRTIO_NET_PAIRS_MAX + 1];
	struct virtio_params p = {
		.n_queues = 2 * c->pairs + 1,
		.queue_size = size,
		.features = F_CSUM | F_GUEST_OFFLOADS | F_CTRL_GUEST_OFFLOADS | F_MAC | F_HOST_TSO4 |
			    F_HOST_TSO6 | F_HOST_ECN | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ |
			    F_CTRL_RX | F_CTRL_RX_EXTRA | F_GUEST_ANNOUNCE | F_CTRL_MAC_ADDR,
		.config_size = CFG_SIZE,
	};
	int r;

	*out = NULL;
	if (!n)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(n->id, sizeof(n->id), "%s", c->id);
	p.id = n->id;
	for (unsigned i = 0; i < 2 * c->pairs; i++)
		size[i] = QUEUE_SIZE;
	size[2 * c->pairs] = CTRL_QUEUE_SIZE;
	p.features |= (c->pairs > 1 ? F_MQ : 0) | (c->mtu ? F_MTU : 0);
	r = virtio_init(&n->v, &virtio_net_class, env, &p, e);
	if (r < 0) {
		free(n);
		return r;
	}
	n->pairs_max = c->pairs;
	n->pairs = 1;
	n->mtu = c->mtu;
	n->plugged = true;
	memcpy(n->mac, c->mac, 6);
	memcpy(n->first_mac, c->mac, 6);
	set_config(n);
	r = net_port_create(&n->port, env->loop, c->kind, c->fd, &port_ops, n, e);
	if (r < 0) {
		destroy(&n->v);
		return r;
	}
	*out = &n->v;
	return 0;
}
