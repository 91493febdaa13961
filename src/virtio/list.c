/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - every kind of virtio device, in the order of help texts. */
#include "virtio/rng.h"
#include "virtio/virtio.h"

const struct virtio_class *const virtio_classes[] = {
	&virtio_rng_class,
	NULL,
};
