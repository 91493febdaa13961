/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.h - the entropy device (virtio 1.2 §5.4): fills the guest's buffers from the host's getrandom(2).
 */
#ifndef LODGE_VIRTIO_RNG_H
#define LODGE_VIRTIO_RNG_H

#include "virtio/virtio.h"

extern const struct virtio_class virtio_rng_class;

int rng_create(struct virtio_dev **out, const struct dev_env *env, struct err *e);

#endif
