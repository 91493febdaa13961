/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_user.h - our end of the vhost-user protocol: a device whose queues are served by another process, which shares memory with
 * us (QEMU's docs/interop/vhost-user.rst). Split rings only.
 *
 * The other process is not trusted with more than the memory it is given: what it sends is checked, a message that makes no sense or
 * does not come ends the connection, and nothing waits for it without a limit. After that every call fails with -ENOTCONN.
 *
 * Threads: loop thread only.
 */
#ifndef LODGE_VIRTIO_VHOST_USER_H
#define LODGE_VIRTIO_VHOST_USER_H

#include "util/base.h"
#include "util/err.h"

#define VHOST_USER_REGIONS_MAX 8u /* what every other end can take */

struct vhost_user;

/* Memory that the other process may map. */
struct vhost_user_region {
	uint64_t gpa, size;
	void *hva;
	int fd;
	uint64_t offset; /* in fd */
};

/* A ring: host addresses inside of the regions. */
struct vhost_user_ring {
	uint16_t size;
	void *desc, *avail, *used;
	int kick, call; /* eventfds: to them, from them */
};

/* Says hello on a connected stream socket, which is owned from the call on, and waits for the answers. `name`: for the sentence. */
int vhost_user_create(struct vhost_user **out, const char *name, int fd, struct err *e);
/* Accepts NULL. */
void vhost_user_destroy(struct vhost_user *v);
bool vhost_user_alive(const struct vhost_user *v);
/* The socket, to be watched for EPOLLIN: vhost_user_take() then. It stays open until the object goes, also when the connection has ended. */
int vhost_user_fd(const struct vhost_user *v);
/* Ends the connection. */
void vhost_user_end(struct vhost_user *v);

int vhost_user_set_memory(struct vhost_user *v, const struct vhost_user_region *r, unsigned n);
int vhost_user_start_ring(struct vhost_user *v, unsigned index, const struct vhost_user_ring *r);
/* Asks for the end of a ring; when it is reached vhost_user_take() says so, and nothing of its requests is under way any more. */
int vhost_user_stop_ring(struct vhost_user *v, unsigned index);
/* What has come, without waiting: 1, and a ring has stopped: *index; 0: nothing; below: the connection is gone. */
int vhost_user_take(struct vhost_user *v, unsigned *index);

#endif
