/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shares.c - connections to the file servers of a machine's shared folders. A server is told hello once; what it is given
 * of the machine (memory, rings) comes anew from the device after each reset.
 */
#include "vm/shares.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int shares_connect(struct shares *s, const struct vm_config *c, const struct config_fds *fds,
		   struct err *e)
{
	for (unsigned i = 0; i < c->n_shares; i++) {
		char name[CONFIG_TAG_MAX + 24];
		int r, fd = fcntl(fds->fd[CONFIG_FD_SHARE + i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return err_errno(e, errno, "cannot keep the socket of a file server");
		snprintf(name, sizeof(name), "shared folder \"%s\"", c->share[i].tag);
		r = vhost_user_create(&s->server[i], name, fd, e);
		if (r < 0)
			return r;
	}
	return 0;
}

void shares_end(struct shares *s)
{
	for (unsigned i = 0; i < CONFIG_SHARES_MAX; i++) {
		vhost_user_destroy(s->server[i]);
		s->server[i] = NULL;
	}
}
