/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the sockets that lodged listens on. */
#ifndef LODGE_DAEMON_LISTEN_H
#define LODGE_DAEMON_LISTEN_H

#include "util/err.h"

/* The unix socket lodged.socket of the run directory; group "": for its user (and root) only. fd or -errno. */
int listen_local(const char *group, struct err *e);
/* ADDRESS:PORT, with an IPv6 address in brackets; port 0: one that is free. What it is gets logged. fd or -errno. */
int listen_tcp(const char *where, struct err *e);

#endif
