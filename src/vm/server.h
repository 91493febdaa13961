/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - serves the control socket of the VM (proto/control.h): the connection it was started with and those that come to
 * the listening socket. Loop thread only.
 */
#ifndef LODGE_VM_SERVER_H
#define LODGE_VM_SERVER_H

#include "proto/control.h"
#include "util/loop.h"
#include "vm/machine.h"

struct server;

/* start_fd: the connection that started us. It stays the caller's, becomes non-blocking and gets every event. `gone` is
 * called when its peer went away. */
int server_create(struct server **out, struct loop *l, int start_fd, void (*gone)(void *ctx),
		  void *ctx, struct err *e);
/* Gives peers half a second to take what they have not yet read. Accepts NULL. */
void server_destroy(struct server *s);

/* Begins to answer requests. */
void server_serve(struct server *s, struct machine *m);
/* Takes connections from a listening socket too, which stays the caller's; at most two, after server_serve(). */
int server_listen(struct server *s, int listen_fd, struct err *e);
/* Sends an event to the start connection and to all that asked for events; `details` is consumed, may be NULL. */
void server_event(struct server *s, enum control_event ev, json_t *details);

#endif
