/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the sockets that lodged listens on. */
#ifndef LODGE_DAEMON_LISTEN_H
#define LODGE_DAEMON_LISTEN_H

#include <sys/stat.h>

#include "util/err.h"

/* Where the unix socket is. */
struct listen_place {
	int dir; /* of the run directory, whose changes are told by SIGIO (fcntl(2), F_NOTIFY); ours, -1: none */
	struct stat socket;
};

/* The unix socket lodged.socket of the run directory; group "": for its user (and root) only. fd or -errno. *place: made anew. */
int listen_local(const char *group, struct listen_place *place, struct err *e);
/* Is it still there? */
bool listen_is_there(const struct listen_place *place);
/* ADDRESS:PORT, with an IPv6 address in brackets; port 0: one that is free. What it is gets logged. fd or -errno. */
int listen_tcp(const char *where, struct err *e);

#endif
