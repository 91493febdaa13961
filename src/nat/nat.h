/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nat.h - a network of one guest behind the host's sockets: libslirp, fed with Ethernet frames.
 *
 * The guest sees a /24 (or what `network` says) with a gateway at .2, a name server at .3 and its own address, by
 * DHCP, at .15; with IPv6 a prefix with the same three. Its connections become the host user's own.
 *
 * One thread.
 */
#ifndef LODGE_NAT_NAT_H
#define LODGE_NAT_NAT_H

#include "proto/portfwd.h"
#include "util/base.h"
#include "util/err.h"

#define NAT_MTU_MIN 1280u
#define NAT_MTU_MAX 65521u

struct nat_config {
	struct in_addr network, mask; /* IPv4, network byte order */
	bool ipv6;
	struct in6_addr prefix6; /* a /64 */
	unsigned mtu;		 /* of the guest's interface */
	const char *hostname;	 /* the guest's, told by DHCP; may be NULL */
	bool host_loopback;	 /* the gateway's address reaches the host's 127.0.0.1 */
	bool restricted;	 /* the guest reaches nothing but the forwards' clients */
	struct portfwd forward[PORTFWD_MAX];
	unsigned n_forwards;
};

struct nat;

/* Frames of `fd`: packets, each a virtio_net_hdr_v1 and an Ethernet frame. Listens on the forwards' ports. The fd stays
 * the caller's. */
int nat_create(struct nat **out, const struct nat_config *cfg, int fd, struct err *e);
/* Accepts NULL. */
void nat_destroy(struct nat *n);
/* One round of waiting and moving; false: the other end of fd is gone. */
bool nat_round(struct nat *n);

#endif
