/* SPDX-License-Identifier: Apache-2.0 */
/* fs.h - shared folder (virtio 1.2 §5.11), served by virtiofsd behind a vhost-user socket. */
#ifndef LODGE_VIRTIO_FS_H
#define LODGE_VIRTIO_FS_H

#include "virtio/vhost_user.h"
#include "virtio/virtio.h"

#define VIRTIO_FS_TAG_MAX 36u /* bytes, §5.11.4 */

struct virtio_fs_config {
	const char *id, *tag;
	bool read_only;
	struct vhost_user *server; /* borrowed; the device is its only user while it lives */
};

extern const struct virtio_class virtio_fs_class;

/* Guest memory must be one that other processes can map (not GMEM_PRIVATE). */
int virtio_fs_create(struct virtio_dev **out, const struct dev_env *env,
		     const struct virtio_fs_config *cfg, struct err *e);

#endif
