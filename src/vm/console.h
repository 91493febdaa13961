/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the bytes between the guest's console, a UART or a virtio port, and the console's file descriptors.
 *
 * Lives longer than the device: a reset makes a new one, and what the old one sent is still written out.
 */
#ifndef LODGE_VM_CONSOLE_H
#define LODGE_VM_CONSOLE_H

#include <pthread.h>

#include "util/loop.h"

struct console;

/* What the device does for the console: VM lock held, loop thread. See board/uart.h for the flow of bytes. */
struct console_user {
	void *ctx;
	size_t (*rx_space)(void *ctx);
	size_t (*rx_push)(void *ctx, const uint8_t *buf, size_t len);
	void (*tx_ready)(void *ctx); /* may call `tx` */
};

/* And the console for the device: VM lock held. */
struct console_calls {
	void *ctx;
	size_t (*tx)(void *ctx, const uint8_t *buf, size_t len); /* NULL: nobody takes output */
	void (*rx_room)(void *ctx);
};

/* The fds stay the caller's and become non-blocking; -1: none (nothing comes in; output is dropped). `lock` is the
 * VM lock. Loop thread. */
int console_create(struct console **out, struct loop *l, pthread_mutex_t *lock, int in_fd,
		   int out_fd, struct err *e);
/* Accepts NULL. What was not written by now is lost. Loop thread, detached. */
void console_destroy(struct console *c);

void console_backend(struct console *c, struct console_calls *out);
/* From now on input goes to this device. Loop thread, VM lock not held. */
void console_attach(struct console *c, const struct console_user *user);
/* Takes what the device still has to send and forgets it. Loop thread, VM lock not held. */
void console_detach(struct console *c);

/* Calls done(ctx) on the loop, once, when all output is written or can never be. Loop thread. */
void console_flush(struct console *c, void (*done)(void *ctx), void *ctx);

/* Bytes of output not written yet. Loop thread. */
uint64_t console_pending(struct console *c);

struct console_stats {
	uint64_t bytes_in, bytes_out;
	uint64_t n_blocked; /* times the UART had to wait for a slow reader */
};
void console_stats(struct console *c, struct console_stats *out);

#endif
