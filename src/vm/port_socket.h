/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port_socket.h - a port of the virtio console behind a listening unix socket, or sockets that come otherwise: one client at
 * a time talks to the program in the guest that has the port open (a guest agent).
 *
 * Lives longer than the device: a reset of the machine does not cut the client off. Loop thread.
 */
#ifndef LODGE_VM_PORT_SOCKET_H
#define LODGE_VM_PORT_SOCKET_H

#include "util/loop.h"
#include "virtio/console.h"

struct port_socket;

/* The listening socket (-1: none) stays the caller's and becomes non-blocking. */
int port_socket_create(struct port_socket **out, struct loop *l, int listen_fd, struct err *e);
/* Accepts NULL. Detached. */
void port_socket_destroy(struct port_socket *p);

/*
 * A client that was let in elsewhere. *open: a program in the guest has the port open; then *fd is taken over and -1. -EBUSY:
 * there is a client.
 */
int port_socket_take(struct port_socket *p, int *fd, bool *open, struct err *e);

/* "closed": no program in the guest has it open; "open"; "busy": and a client talks to it. */
const char *port_socket_look(const struct port_socket *p);

/* What port number `index` of the console is to be created with. */
void port_socket_backend(struct port_socket *p, const char *name, unsigned index,
			 struct vconsole_port *out);
void port_socket_attach(struct port_socket *p, struct virtio_dev *console);
void port_socket_detach(struct port_socket *p);

#endif
