/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - every kind of virtio device, in the order of help texts. */
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/disk.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/virtio.h"
#include "virtio/vsock.h"

const struct virtio_class *const virtio_classes[] = {
	&virtio_disk_class,    &virtio_net_class,     &virtio_fs_class,	   &virtio_rng_class,
	&virtio_balloon_class, &virtio_console_class, &virtio_vsock_class, NULL,
};
