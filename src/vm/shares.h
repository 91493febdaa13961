/* SPDX-License-Identifier: Apache-2.0 */
/* shares.h - connections to the file servers of a machine's shared folders; they outlive its resets. Loop thread only. */
#ifndef LODGE_VM_SHARES_H
#define LODGE_VM_SHARES_H

#include "proto/config.h"
#include "virtio/vhost_user.h"

struct shares {
	struct vhost_user *server[CONFIG_SHARES_MAX];
};

/* Says hello to each. The fds stay the caller's. */
int shares_connect(struct shares *s, const struct vm_config *c, const struct config_fds *fds,
		   struct err *e);
/* No device uses them any more. Accepts a zeroed one. */
void shares_end(struct shares *s);

#endif
