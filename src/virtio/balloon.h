/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.h - the memory balloon (virtio 1.2 §5.5): takes memory from the guest when the operator asks for it, and gives
 * what the guest has no use for back to the host by itself.
 */
#ifndef LODGE_VIRTIO_BALLOON_H
#define LODGE_VIRTIO_BALLOON_H

#include "virtio/virtio.h"

extern const struct virtio_class virtio_balloon_class;

int balloon_create(struct virtio_dev **out, const struct dev_env *env, struct err *e);
/* How much memory the guest is to give; it does so when it likes. Loop thread, VM lock not held. -EINVAL: more than it has. */
int balloon_set_target(struct virtio_dev *d, uint64_t bytes, struct err *e);
uint64_t balloon_target(struct virtio_dev *d);
uint64_t balloon_actual(struct virtio_dev *d); /* as the guest says */

#endif
