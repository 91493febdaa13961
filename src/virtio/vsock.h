/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h - sockets between guest and host (virtio 1.2 §5.10), streams only, which on the host are unix sockets:
 *
 *   host to guest   a client of the listening socket writes "CONNECT port\n"; once the guest has accepted it reads "OK n\n",
 *                   and from then on the stream is its own. If nobody listens in the guest it is disconnected.
 *   guest to host   a connect to CID 2, port N is passed to `connect`, which answers with a connected stream socket.
 *
 * All on the loop thread.
 */
#ifndef LODGE_VIRTIO_VSOCK_H
#define LODGE_VIRTIO_VSOCK_H

#include "virtio/virtio.h"

#define VSOCK_CID_HOST 2u
#define VSOCK_CID_MIN 3u
#define VSOCK_CID_MAX 0xfffffffeu
#define VSOCK_CONNS_MAX 256u

extern const struct virtio_class virtio_vsock_class;

struct vsock_config {
	uint64_t cid;
	int listen_fd; /* -1: none. Borrowed, becomes non-blocking */
	void *ctx;
	/* The guest connects to a port of the host. The answer, vsock_connected() with this id, comes later, never from
	 * inside; or -errno: refused at once. NULL: always refused. */
	int (*connect)(void *ctx, uint32_t port, uint32_t id);
};

int vsock_create(struct virtio_dev **out, const struct dev_env *env, const struct vsock_config *cfg,
		 struct err *e);
/* `fd`: a connected stream socket, which is owned from here on, or -errno. What is not waited for any more is closed. */
void vsock_connected(struct virtio_dev *d, uint32_t port, uint32_t id, int fd);

#endif
