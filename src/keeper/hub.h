/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.h - the console of a VM for several: the socket `console` of its run directory.
 *
 * A client connects and says in one line what it wants:
 *   "watch\n"    what the guest says
 *   "write\n"    and to type, if nobody else does
 *   "take\n"     and to type; who did so until now only watches
 * It may add how much of what was said before it wants to see, in bytes: "write 2000\n" (default: all that is kept). The answer
 * is one line, "write\n" or "watch PID\n" (the process that types), and then come the guest's bytes as they are, first
 * those that were kept (conlog.h). What the client sends is typed if it writes, and dropped if it watches.
 *
 * No client holds the guest back: each one reads from the log at its own pace, and one that falls behind what is kept goes on
 * with the oldest that is, after a line that says so.
 */
#ifndef LODGE_KEEPER_HUB_H
#define LODGE_KEEPER_HUB_H

#include "util/loop.h"

struct hub;

/* `typed` gets what a writer sends, at most HUB_TYPED bytes at once, and only while hub_accept() allows it. `dir`: where the log
 * goes. listen_fd: owned by the hub. Loop thread, as all of these. */
#define HUB_TYPED 1024u
int hub_create(struct hub **out, struct loop *l, int dir, int listen_fd,
	       void (*typed)(void *ctx, const uint8_t *data, size_t len), void *ctx, struct err *e);
/* The folder of the log is another one, and so is the socket (owned by the hub). Clients stay. 0 or -errno. */
int hub_again(struct hub *h, int listen_fd);
/* Gives clients a moment to take the rest. Accepts NULL. */
void hub_destroy(struct hub *h);
/* The guest said this. */
void hub_said(struct hub *h, const uint8_t *data, size_t len);
/* May a writer send now? */
void hub_accept(struct hub *h, bool yes);
/* The keeper's own terminal types: no client does. */
void hub_local_writer(struct hub *h, bool yes);

#endif
