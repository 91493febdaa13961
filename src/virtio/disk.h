/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - the block device (virtio 1.2 §5.2) in front of a struct blk.
 */
#ifndef LODGE_VIRTIO_DISK_H
#define LODGE_VIRTIO_DISK_H

#include "blk/blk.h"
#include "virtio/virtio.h"

#define DISK_QUEUES_MAX 16u
#define DISK_SERIAL_MAX 20u /* bytes, §5.2.6.1 */

struct disk_config {
	struct blk *blk;    /* borrowed; the device is its only user while it lives */
	const char *serial; /* at most DISK_SERIAL_MAX bytes are told */
	unsigned n_queues;  /* 1..DISK_QUEUES_MAX */
};

extern const struct virtio_class virtio_disk_class;

int disk_create(struct virtio_dev **out, const struct dev_env *env, const struct disk_config *cfg,
		struct err *e);

#endif
