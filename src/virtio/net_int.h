/* SPDX-License-Identifier: Apache-2.0 */
/* net_int.h - inside of the network card, for net.c and net_ctrl.c only. */
#ifndef LODGE_VIRTIO_NET_INT_H
#define LODGE_VIRTIO_NET_INT_H

#include "virtio/net.h"

/* Feature bits; §5.1.3. */
#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_CTRL_GUEST_OFFLOADS BIT(2)
#define F_MTU BIT(3)
#define F_MAC BIT(5)
#define F_GUEST_TSO4 BIT(7)
#define F_GUEST_TSO6 BIT(8)
#define F_GUEST_ECN BIT(9)
#define F_HOST_TSO4 BIT(11)
#define F_HOST_TSO6 BIT(12)
#define F_HOST_ECN BIT(13)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS BIT(16)
#define F_CTRL_VQ BIT(17)
#define F_CTRL_RX BIT(18)
#define F_CTRL_RX_EXTRA BIT(20)
#define F_GUEST_ANNOUNCE BIT(21)
#define F_MQ BIT(22)
#define F_CTRL_MAC_ADDR BIT(23)
#define F_GUEST_OFFLOADS (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN)

/* Device configuration; §5.1.4. */
#define CFG_MAC 0u
#define CFG_STATUS 6u
#define CFG_PAIRS 8u
#define CFG_MTU 10u
#define CFG_SIZE 12u
#define STATUS_LINK_UP 1u
#define STATUS_ANNOUNCE 2u

#define MAC_TABLE_MAX 64u /* more addresses: as with all of their kind */
struct mac_table {
	unsigned n;
	bool overflow;
	uint8_t mac[MAC_TABLE_MAX][6];
};

struct virtio_net {
	struct virtio_dev v;
	char id[VIRTIO_NET_ID_MAX];
	struct net_port *port;
	unsigned pairs_max, mtu;
	uint8_t first_mac[6];

	/* The loop's. */
	bool plugged;	/* the operator's cable */
	bool peer_gone; /* for ever */
	bool announcing;
	bool loaded;		/* start() goes on with what was loaded... */
	uint64_t loaded_resets; /* ...unless the driver has reset the card since */
	unsigned pairs;		/* in use */
	uint8_t mac[6];
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	struct mac_table uni, multi;
	uint64_t offloads;    /* F_GUEST_OFFLOADS that are on */
	uint64_t tx_waiting;  /* bit of each pair whose transmit queue waits for room */
	uint64_t rx_touched;  /* pairs with packets that are not shown to the driver yet */
	uint64_t n_filtered;  /* packets for other addresses */
	uint64_t n_no_buffer; /* packets that had to wait for receive buffers */
	uint64_t n_too_large; /* that no buffer of the driver's can take */
	uint64_t n_ctrl, n_ctrl_refused;
};

/* ---- net.c ---- */

/* Link and announcement, in the device's configuration; `tell` interrupts the driver. */
void net_show_status(struct virtio_net *n, bool tell);

/* ---- net_ctrl.c ---- */

/* Everything that commands choose, as after a reset. */
void net_ctrl_reset(struct virtio_net *n);
/* Has the driver asked for frames to this address? */
bool net_ctrl_wants(const struct virtio_net *n, const uint8_t *dst);
/* From now on the guest can take these of F_GUEST_OFFLOADS. */
void net_ctrl_offloads(struct virtio_net *n, uint64_t offloads);
/* Commands in the control queue. */
void net_ctrl_serve(struct virtio_net *n, struct virtq *q);
int net_ctrl_state(struct virtio_dev *d, struct state *s);

#endif
