/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - the virtio network card (virtio 1.2 §5.1).
 */
#ifndef LODGE_VIRTIO_NET_H
#define LODGE_VIRTIO_NET_H

#include "net/net.h"
#include "virtio/virtio.h"

#define VIRTIO_NET_PAIRS_MAX 32u
#define VIRTIO_NET_ID_MAX 32u

struct virtio_net_config {
	const char *id; /* below VIRTIO_NET_ID_MAX bytes */
	uint8_t mac[6];
	unsigned mtu;	/* 0: not told to the guest */
	unsigned pairs; /* of queues, 1..VIRTIO_NET_PAIRS_MAX */
	enum net_kind kind;
	int fd; /* the back-end's; stays the caller's */
};

/* VM lock held, loop thread. */
int virtio_net_create(struct virtio_dev **out, const struct dev_env *env,
		      const struct virtio_net_config *cfg, struct err *e);

/* ---- while it runs; loop thread ---- */

/* The cable, as the operator wants it; at first it is plugged. Without anybody at its other end the link is down all the same. */
void virtio_net_set_cable(struct virtio_dev *d, bool plugged);
/* What the guest sees. */
bool virtio_net_link(const struct virtio_dev *d);
/* There is nothing behind the card any more: the link is down for ever, and the fd is not used. */
void virtio_net_cut(struct virtio_dev *d);
/* Each direction's own; a rate of 0: no limit. */
void virtio_net_set_limit(struct virtio_dev *d, const struct bucket_config *bytes,
			  const struct bucket_config *packets);

void virtio_net_stats(const struct virtio_dev *d, struct net_stats *out);

extern const struct virtio_class virtio_net_class;

#endif
