/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - every kind of virtio device, in the order of help texts. */
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/virtio.h"

const struct virtio_class *const virtio_classes[] = {
	&virtio_net_class,
	&virtio_rng_class,
	NULL,
};
