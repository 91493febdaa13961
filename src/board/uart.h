/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart.h - 16550A serial port. VM lock held.
 *
 * Flow of characters. Guest to host: the transmit FIFO (16) is offered to the back-end at once; what it does
 * not take stays in the FIFO (the guest sees "not empty" and waits) until uart_tx_ready(). Host to guest: the
 * back-end pushes no more than uart_rx_space(), and is told by rx_room() when there is space again.
 */
#ifndef LODGE_BOARD_UART_H
#define LODGE_BOARD_UART_H

#include "board/device.h"

struct uart_backend {
	void *ctx;
	/* Takes up to len bytes, returns how many. NULL: all are dropped. */
	size_t (*tx)(void *ctx, const uint8_t *buf, size_t len);
	/* There is room in the receive FIFO after it was full. Not from inside uart_rx_push(). May be NULL. */
	void (*rx_room)(void *ctx);
};

struct uart_config {
	const char *id; /* "com1"; static */
	uint16_t port;	/* LAYOUT_PORT_COM1 */
	unsigned gsi;	/* LAYOUT_IRQ_COM1 */
	struct uart_backend backend;
};

int uart_create(struct device **out, const struct dev_env *env, const struct uart_config *cfg,
		struct err *e);
/* The back-end can take more: empties the FIFO as far as it goes. */
void uart_tx_ready(struct device *d);
size_t uart_rx_space(const struct device *d);
/* Returns the bytes taken. */
size_t uart_rx_push(struct device *d, const uint8_t *buf, size_t len);
/* A break condition on the line. */
void uart_rx_break(struct device *d);

#endif
