/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the console device (virtio 1.2 §5.3): ports, each a stream of bytes both ways. Port 0 may be a console (hvc0);
 * the others are /dev/virtio-ports/NAME.
 *
 * Flow of bytes, as with the UART: what the back-end does not take stays with the guest until vconsole_tx_ready(); the back-end
 * pushes no more than vconsole_rx_space(), and is told by rx_room() when there is some after there was none.
 * All on the loop thread.
 */
#ifndef LODGE_VIRTIO_CONSOLE_H
#define LODGE_VIRTIO_CONSOLE_H

#include "virtio/virtio.h"

#define VCONSOLE_PORTS_MAX 8u

extern const struct virtio_class virtio_console_class;

struct vconsole_port {
	const char *name; /* static; NULL: none */
	bool console;	  /* a terminal for the guest's console */
	bool open;	  /* is there somebody on our side at first? */
	void *ctx;
	/* Takes up to len bytes, returns how many. Not called from inside the functions below. NULL: all are dropped. */
	size_t (*tx)(void *ctx, const uint8_t *buf, size_t len);
	void (*rx_room)(void *ctx); /* may be NULL */
};

int vconsole_create(struct virtio_dev **out, const struct dev_env *env,
		    const struct vconsole_port *port, unsigned n_ports, struct err *e);
/* The back-end can take more. Any thread. */
void vconsole_tx_ready(struct virtio_dev *d, unsigned port);
size_t vconsole_rx_space(struct virtio_dev *d, unsigned port);
/* Returns the bytes taken. */
size_t vconsole_rx_push(struct virtio_dev *d, unsigned port, const uint8_t *buf, size_t len);
/* Does a program in the guest have it open? */
bool vconsole_guest_open(struct virtio_dev *d, unsigned port);
/* Somebody came to, or left, our side. */
void vconsole_set_open(struct virtio_dev *d, unsigned port, bool open);

#endif
