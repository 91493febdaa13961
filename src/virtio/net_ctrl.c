/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_ctrl.c - what a driver chooses of its network card by commands, and the address filter that comes of it.
 *
 * Theory of operation. The control queue (§5.1.6.5): receive modes and the table of addresses, the card's address, how many pairs are
 * used, offloads, and the answer to an announcement. Every command is copied before it is looked at. What was chosen is the card's
 * saved state.
 *
 * The address filter is for the guest's convenience; who may send what to whom is decided by the other side.
 */
#include <string.h>

#include "state/state.h"
#include "util/buf.h"
#include "util/log.h"
#include "virtio/net_int.h"

/* Control commands; §5.1.6.5. */
#define CTRL_RX 0u
#define CTRL_MAC 1u
#define CTRL_ANNOUNCE 3u
#define CTRL_MQ 4u
#define CTRL_GUEST_OFFLOADS 5u
#define CTRL_OK 0u
#define CTRL_ERR 1u
#define CTRL_DATA_MAX 4096u /* more than any command needs */
#define CTRL_BATCH 64u

/* ---- the filter ---- */

static bool in_table(const struct mac_table *t, const uint8_t *mac)
{
	if (t->overflow)
		return true;
	for (unsigned i = 0; i < t->n; i++)
		if (!memcmp(t->mac[i], mac, 6))
			return true;
	return false;
}

/* §5.1.6.5.1 and .2 */
bool net_ctrl_wants(const struct virtio_net *n, const uint8_t *dst)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (n->promisc)
		return true;
	if (!memcmp(dst, broadcast, 6))
		return !n->nobcast;
	if (dst[0] & 1)
		return !n->nomulti && (n->allmulti || in_table(&n->multi, dst));
	if (n->nouni)
		return false;
	return n->alluni || !memcmp(dst, n->mac, 6) || in_table(&n->uni, dst);
}

/* ---- commands ---- */

static bool ctrl_rx(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
	bool *mode[] = {&n->promisc, &n->allmulti, &n->alluni, &n->nomulti, &n->nouni, &n->nobcast};

	if (len < 1 || cmd >= ARRAY_SIZE(mode) || data[0] > 1)
		return false;
	*mode[cmd] = data[0];
	return true;
}

/* One table of a MAC_TABLE_SET; returns the bytes it takes, 0 if it is cut. */
static size_t read_table(struct mac_table *t, const uint8_t *data, size_t len)
{
	uint32_t count;

	if (len < 4)
		return 0;
	count = buf_le32(data);
	if (count > (len - 4) / 6)
		return 0;
	t->overflow = count > MAC_TABLE_MAX;
	t->n = t->overflow ? 0 : count;
	memcpy(t->mac, data + 4, t->n * 6u);
	return 4 + count * 6u;
}

static bool ctrl_mac(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
	struct mac_table uni, multi;
	size_t used;

	if (cmd == 1) {
		if (len < 6 || data[0] & 1)
			return false;
		memcpy(n->mac, data, 6);
		virtio_set_config(&n->v, CFG_MAC, data, 6, false);
		return true;
	}
	if (cmd != 0)
		return false;
	used = read_table(&uni, data, len);
	if (!used || !read_table(&multi, data + used, len - used))
		return false;
	n->uni = uni;
	n->multi = multi;
	return true;
}

void net_ctrl_offloads(struct virtio_net *n, uint64_t offloads)
{
	unsigned o = 0;

	n->offloads = offloads;
	o |= offloads & F_GUEST_CSUM ? NET_OFFLOAD_CSUM : 0;
	o |= offloads & F_GUEST_TSO4 ? NET_OFFLOAD_TSO4 : 0;
	o |= offloads & F_GUEST_TSO6 ? NET_OFFLOAD_TSO6 : 0;
	o |= offloads & F_GUEST_ECN ? NET_OFFLOAD_TSO_ECN : 0;
	if (net_port_set_offloads(n->port, o) < 0)
		log_warn_limited("%s: the tap device does not take the guest's offloads",
				 n->v.pci.dev.id);
}

static bool ctrl_offloads(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
	uint64_t want;

	if (cmd != 0 || len < 8)
		return false;
	want = buf_le32(data) | (uint64_t)buf_le32(data + 4) << 32;
	if (want & ~(n->v.features & F_GUEST_OFFLOADS))
		return false;
	net_ctrl_offloads(n, want);
	return true;
}

static bool ctrl_pairs(struct virtio_net *n, uint8_t cmd, const uint8_t *data, size_t len)
{
	unsigned pairs = len >= 2 ? buf_le16(data) : 0;

	if (cmd != 0 || !pairs || pairs > n->pairs_max)
		return false;
	n->pairs = pairs;
	return true;
}

static bool ctrl(struct virtio_net *n, const uint8_t *cmd, size_t len)
{
	const uint8_t *data = cmd + 2;

	if (len < 2)
		return false;
	len -= 2;
	switch (cmd[0]) {
	case CTRL_RX: return virtio_has(&n->v, F_CTRL_RX) && ctrl_rx(n, cmd[1], data, len);
	case CTRL_MAC: return ctrl_mac(n, cmd[1], data, len);
	case CTRL_ANNOUNCE:
		if (!virtio_has(&n->v, F_GUEST_ANNOUNCE) || cmd[1] != 0)
			return false;
		n->announcing = false;
		net_show_status(n, false);
		return true;
	case CTRL_MQ: return virtio_has(&n->v, F_MQ) && ctrl_pairs(n, cmd[1], data, len);
	case CTRL_GUEST_OFFLOADS:
		return virtio_has(&n->v, F_CTRL_GUEST_OFFLOADS) &&
		       ctrl_offloads(n, cmd[1], data, len);
	default: return false;
	}
}

void net_ctrl_serve(struct virtio_net *n, struct virtq *q)
{
	uint8_t cmd[CTRL_DATA_MAX], ack;
	struct virtq_chain *c;
	unsigned k = 0;

	do {
		virtq_disable_kicks(q);
		for (; k < CTRL_BATCH && (c = virtq_pop(q)); k++) {
			size_t len = virtq_chain_read(c, 0, cmd, sizeof(cmd));

			n->n_ctrl++;
			ack = CTRL_ERR;
			if (c->out_bytes <= sizeof(cmd) && ctrl(n, cmd, len))
				ack = CTRL_OK;
			else
				n->n_ctrl_refused++;
			virtq_push(q, c, virtq_chain_write(c, 0, &ack, 1));
		}
		virtq_flush(q);
		if (k == CTRL_BATCH) {
			virtio_kick(&n->v, q->index);
			return;
		}
	} while (virtq_enable_kicks(q));
}

/* ---- reset and saved state ---- */

/* As after a reset, §5.1.5. */
void net_ctrl_reset(struct virtio_net *n)
{
	n->pairs = 1;
	/* Without modes to choose the driver wants everything (§5.1.6.5.1: it cannot say less). */
	n->promisc = !virtio_has(&n->v, F_CTRL_VQ | F_CTRL_RX);
	n->allmulti = n->alluni = n->nomulti = n->nouni = n->nobcast = false;
	memset(&n->uni, 0, sizeof(n->uni));
	memset(&n->multi, 0, sizeof(n->multi));
	n->offloads = n->v.features & F_GUEST_OFFLOADS;
}

static void table_state(struct mac_table *t, struct state *s)
{
	uint32_t count = t->n;

	state_bool(s, &t->overflow);
	state_u32_max(s, &count, MAC_TABLE_MAX);
	t->n = count;
	for (unsigned i = 0; i < t->n; i++)
		state_bytes(s, t->mac[i], 6);
}

int net_ctrl_state(struct virtio_dev *d, struct state *s)
{
	struct virtio_net *n = container_of(d, struct virtio_net, v);
	uint32_t pairs = n->pairs;

	state_begin(s, "virtio-net", d->pci.dev.id, 1);
	state_u32_max(s, &pairs, n->pairs_max);
	n->pairs = pairs;
	state_bytes(s, n->mac, 6);
	state_bool(s, &n->promisc);
	state_bool(s, &n->allmulti);
	state_bool(s, &n->alluni);
	state_bool(s, &n->nomulti);
	state_bool(s, &n->nouni);
	state_bool(s, &n->nobcast);
	table_state(&n->uni, s);
	table_state(&n->multi, s);
	state_u64(s, &n->offloads);
	return state_end(s);
}
