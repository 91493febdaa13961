/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - a network card's way out: the checked front of all network back-ends.
 *
 * A back-end is a dumb pipe, one open fd that carries a frame a packet in both directions: a SOCK_SEQPACKET
 * socket (user NAT, a switch) or a tap device. Each frame has a virtio_net_hdr_v1 of NET_HDR_SIZE bytes in front (virtio
 * 1.2 §5.1.6), so that checksums and segmentation can be left to whoever is last. Policy lives on the other side.
 *
 * Threads: loop thread only.
 */
#ifndef LODGE_NET_NET_H
#define LODGE_NET_NET_H

#include <sys/uio.h>

#include "util/bucket.h"
#include "util/err.h"
#include "util/loop.h"

#define NET_HDR_SIZE 12u
#define NET_FRAME_MIN 14u
/* Header, Ethernet with a VLAN tag, and an IP packet of any size. */
#define NET_PACKET_MAX (NET_HDR_SIZE + 18u + 65535u)

/* virtio_net_hdr: flags and gso_type. */
#define NET_HDR_F_NEEDS_CSUM 1u
#define NET_HDR_F_DATA_VALID 2u
#define NET_HDR_GSO_NONE 0u
#define NET_HDR_GSO_TCPV4 1u
#define NET_HDR_GSO_TCPV6 4u
#define NET_HDR_GSO_ECN 0x80u

enum net_kind { NET_KIND_SOCKET, NET_KIND_TAP };

/* What the card can take; a tap device is told (TUNSETOFFLOAD). */
#define NET_OFFLOAD_CSUM 1u
#define NET_OFFLOAD_TSO4 2u
#define NET_OFFLOAD_TSO6 4u
#define NET_OFFLOAD_TSO_ECN 8u

struct net_port_ops {
	/* A packet came: header and frame, `len` bytes, valid during the call. False: there is no room; it is kept, and offered
	 * again after net_port_receive(). */
	bool (*receive)(void *ctx, uint8_t *packet, size_t len);
	/* After one or more calls of receive(): no other follows at once. May be NULL. */
	void (*received)(void *ctx);
	/* After net_port_send() said -EAGAIN: try again. */
	void (*writable)(void *ctx);
	/* The other end went away, for ever. May be NULL. */
	void (*link_lost)(void *ctx);
};

struct net_stats {
	uint64_t rx_packets, rx_bytes; /* to the guest; frames without the header */
	uint64_t tx_packets, tx_bytes;
	uint64_t rx_dropped; /* malformed, or the cable was out */
	uint64_t tx_dropped;
	uint64_t n_throttled; /* waits for the rate limit */
};

struct net_port;

/* fd stays the caller's and becomes non-blocking. Receiving is off at first. */
int net_port_create(struct net_port **out, struct loop *l, enum net_kind kind, int fd,
		    const struct net_port_ops *ops, void *ctx, struct err *e);
/* Accepts NULL. */
void net_port_destroy(struct net_port *p);

/*
 * One packet from the guest: header and frame, `n` pieces (at most NET_IOV_MAX). 0: sent, or dropped because it is no proper
 * frame, the cable is out, or nobody is at the other end; -EAGAIN: no room or the rate limit: nothing was sent, wait for writable().
 */
#define NET_IOV_MAX 64u
int net_port_send(struct net_port *p, const struct iovec *iov, unsigned n);
/* Packets to the guest from now on, a refused one first; or none until the next call. */
void net_port_receive(struct net_port *p, bool on);
/* Which NET_OFFLOAD_* the guest can take. */
int net_port_set_offloads(struct net_port *p, unsigned offloads);
/* A cable pulled: what comes either way is dropped. */
void net_port_set_link(struct net_port *p, bool up);
/* The fd is not used any more, as if the other end had gone; link_lost() does not come. */
void net_port_cut(struct net_port *p);
/* Bits of both directions share no bucket: each has its own, of these rates. */
void net_port_set_limit(struct net_port *p, const struct bucket_config *bytes,
			const struct bucket_config *packets);
void net_port_stats(const struct net_port *p, struct net_stats *out);

#endif
