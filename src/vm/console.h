/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the bytes between a UART and the console's file descriptors.
 *
 * Lives longer than the UART: a reset makes a new UART, and what the old one sent is still written out.
 */
#ifndef LODGE_VM_CONSOLE_H
#define LODGE_VM_CONSOLE_H

#include <pthread.h>

#include "board/uart.h"
#include "util/loop.h"

struct console;

/* The fds stay the caller's and become non-blocking; -1: none (nothing comes in; output is dropped). `lock` is the
 * VM lock. Loop thread. */
int console_create(struct console **out, struct loop *l, pthread_mutex_t *lock, int in_fd,
		   int out_fd, struct err *e);
/* Accepts NULL. What was not written by now is lost. Loop thread, detached. */
void console_destroy(struct console *c);

/* What the UART is to be created with. */
void console_backend(struct console *c, struct uart_backend *out);
/* From now on input goes to this UART. Loop thread, VM lock not held. */
void console_attach(struct console *c, struct device *uart);
/* Takes what the UART still has to send and forgets it. Loop thread, VM lock not held. */
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
