/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart.c - 16550A (National PC16550D data sheet).
 *
 * A character is "sent" when the back-end takes it: there is no baud rate. THRE ("holding register empty") is true when
 * all of the transmit FIFO is gone, and its interrupt is a latch: set when THRE becomes true and when its enable
 * bit rises while it is true, cleared by reading IIR when it is the one shown, or by writing a character.
 * Characters below the receive trigger level raise the time-out interrupt at once instead of after four character times.
 *
 * The interrupt line follows IIR, and needs OUT2, as on PCs. Modem inputs are asserted (the console is
 * always there), in loop-back mode they are the outputs.
 */
#include "board/uart.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "board/bus.h"
#include "board/irq.h"
#include "state/state.h"

#define FIFO 16u

#define IER_RDA 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u

#define IIR_NONE 0x01u
#define IIR_MODEM 0x00u
#define IIR_THRE 0x02u
#define IIR_RDA 0x04u
#define IIR_LINE 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_CLEAR_TX 0x04u

#define LCR_BREAK 0x40u
#define LCR_DLAB 0x80u

#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u

#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_BI 0x10u
#define LSR_ERRORS 0x1eu
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
#define LSR_FIFO_ERROR 0x80u

#define MSR_DCTS 0x01u
#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u

struct fifo {
	uint8_t byte[FIFO];
	unsigned head, len;
};

struct uart {
	struct device dev;
	const struct dev_env *env;
	struct uart_config cfg;
	struct bus_range range;
	struct fifo rx, tx;
	uint16_t divisor;
	uint8_t ier, fcr, lcr, mcr, scratch;
	uint8_t lsr_errors; /* OE, PE, FE, BI */
	uint8_t msr;	    /* inputs and their changes */
	bool thre_pending;
	bool had_room; /* what the back-end was last told or saw */
	bool paused;
	uint64_t n_tx, n_rx, n_overrun;
};

static unsigned depth(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? FIFO : 1;
}

static void fifo_put(struct fifo *f, uint8_t v)
{
	if (f->len < FIFO)
		f->byte[(f->head + f->len++) % FIFO] = v;
}

static uint8_t fifo_get(struct fifo *f)
{
	uint8_t v = f->byte[f->head % FIFO];

	f->head = (f->head + 1) % FIFO;
	f->len--;
	return v;
}

/* ---- interrupts ---- */

static unsigned trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The interrupt with the highest priority (PC16550D table III). */
static uint8_t identify(const struct uart *u)
{
	if ((u->ier & IER_LINE) && u->lsr_errors)
		return IIR_LINE;
	if ((u->ier & IER_RDA) && u->rx.len >= trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->rx.len)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MODEM) && (u->msr & 0x0f))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update(struct uart *u)
{
	bool gate = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_line_set(u->env->irq, u->cfg.gsi, gate && identify(u) != IIR_NONE);
}

/* ---- characters ---- */

static void rx_put(struct uart *u, uint8_t v)
{
	if (u->rx.len >= depth(u)) {
		u->lsr_errors |= LSR_OE;
		u->n_overrun++;
		if (!(u->fcr & FCR_ENABLE)) /* the new one overwrites */
			u->rx.byte[u->rx.head % FIFO] = v;
		return;
	}
	fifo_put(&u->rx, v);
	u->n_rx++;
}

static void drain(struct uart *u)
{
	bool was = u->tx.len;

	while (u->tx.len && !u->paused) {
		unsigned run = MIN(u->tx.len, FIFO - u->tx.head);
		size_t n = run;

		if (u->cfg.backend.tx)
			n = u->cfg.backend.tx(u->cfg.backend.ctx, u->tx.byte + u->tx.head, run);
		if (n == 0)
			break;
		n = MIN(n, run);
		u->tx.head = (u->tx.head + (unsigned)n) % FIFO;
		u->tx.len -= (unsigned)n;
		u->n_tx += n;
	}
	if (was && u->tx.len == 0)
		u->thre_pending = true;
}

static void transmit(struct uart *u, uint8_t v)
{
	u->thre_pending = false;
	if (u->mcr & MCR_LOOP) {
		rx_put(u, v);
		u->thre_pending = true;
		return;
	}
	if (u->tx.len >= depth(u)) { /* the guest did not wait */
		u->n_overrun++;
		return;
	}
	fifo_put(&u->tx, v);
	drain(u);
}

/* Tells the back-end when there is room again after there was none. */
static void tell_room(struct uart *u)
{
	bool room = uart_rx_space(&u->dev), had = u->had_room;

	u->had_room = room;
	if (room && !had && u->cfg.backend.rx_room)
		u->cfg.backend.rx_room(u->cfg.backend.ctx);
}

static uint8_t receive(struct uart *u)
{
	return u->rx.len ? fifo_get(&u->rx) : u->rx.byte[(u->rx.head + FIFO - 1) % FIFO];
}

/* ---- registers ---- */

static uint8_t line_status(const struct uart *u)
{
	uint8_t v = u->lsr_errors;

	if (u->rx.len)
		v |= LSR_DR;
	if (u->tx.len == 0)
		v |= LSR_THRE | LSR_TEMT;
	if ((u->fcr & FCR_ENABLE) && (u->lsr_errors & ~LSR_OE))
		v |= LSR_FIFO_ERROR;
	return v;
}

/* Modem inputs now, and the bits that tell what changed (RI: its trailing edge only). */
static void modem_inputs(struct uart *u)
{
	uint8_t in = MSR_CTS | MSR_DSR | MSR_DCD, old = u->msr & 0xf0, delta;

	if (u->mcr & MCR_LOOP)
		in = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
	delta = (uint8_t)((in ^ old) & ~(in & MSR_RI)) >> 4;
	u->msr = (uint8_t)(in | (u->msr & 0x0f) | delta);
}

static void fcr_write(struct uart *u, uint8_t v)
{
	if ((v ^ u->fcr) & FCR_ENABLE)
		v |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (v & FCR_CLEAR_RX) {
		u->rx.head = u->rx.len = 0;
		u->lsr_errors = 0;
	}
	if ((v & FCR_CLEAR_TX) && u->tx.len) {
		u->tx.head = u->tx.len = 0;
		u->thre_pending = true;
	}
	u->fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
}

static uint64_t uart_read(void *ctx, uint64_t offset, unsigned size)
{
	struct uart *u = ctx;
	uint8_t v = 0;

	(void)size;
	switch (offset) {
	case 0:
		if (u->lcr & LCR_DLAB)
			return u->divisor & 0xff;
		v = receive(u);
		update(u);
		tell_room(u);
		return v;
	case 1: return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
	case 2:
		v = identify(u);
		if (v == IIR_THRE)
			u->thre_pending = false;
		v |= u->fcr & FCR_ENABLE ? IIR_FIFOS : 0;
		break;
	case 3: return u->lcr;
	case 4: return u->mcr;
	case 5:
		v = line_status(u);
		u->lsr_errors = 0;
		break;
	case 6:
		v = u->msr;
		u->msr &= 0xf0;
		break;
	case 7: return u->scratch;
	}
	update(u);
	return v;
}

static void uart_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct uart *u = ctx;
	uint8_t v = (uint8_t)value;

	(void)size;
	switch (offset) {
	case 0:
		if (u->lcr & LCR_DLAB)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			transmit(u, v);
		break;
	case 1:
		if (u->lcr & LCR_DLAB) {
			u->divisor = (uint16_t)((u->divisor & 0x00ff) | v << 8);
			break;
		}
		if ((v & ~u->ier & IER_THRE) && u->tx.len == 0)
			u->thre_pending = true;
		u->ier = v & 0x0f;
		break;
	case 2: fcr_write(u, v); break;
	case 3: u->lcr = v; break;
	case 4:
		u->mcr = v & 0x1f;
		modem_inputs(u);
		break;
	case 7: u->scratch = v; break;
	}
	update(u);
	tell_room(u);
}

static const struct bus_ops uart_ops = {uart_read, uart_write, 1};

/* ---- to the back-end ---- */

void uart_tx_ready(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	drain(u);
	update(u);
}

size_t uart_rx_space(const struct device *d)
{
	const struct uart *u = container_of(d, const struct uart, dev);

	/* In loop-back mode the line is cut: characters wait outside. */
	if ((u->mcr & MCR_LOOP) || u->paused)
		return 0;
	return u->rx.len < depth(u) ? depth(u) - u->rx.len : 0;
}

size_t uart_rx_push(struct device *d, const uint8_t *buf, size_t len)
{
	struct uart *u = container_of(d, struct uart, dev);
	size_t n = MIN(len, uart_rx_space(d));

	for (size_t i = 0; i < n; i++)
		rx_put(u, buf[i]);
	u->had_room = uart_rx_space(d);
	update(u);
	return n;
}

void uart_rx_break(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	if ((u->mcr & MCR_LOOP) || u->rx.len >= depth(u))
		return;
	u->lsr_errors |= LSR_BI;
	rx_put(u, 0);
	update(u);
}

/* ---- life ---- */

static void uart_reset(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	u->rx.head = u->rx.len = u->tx.head = u->tx.len = 0;
	memset(u->rx.byte, 0, sizeof(u->rx.byte));
	u->divisor = 12; /* 9600 */
	u->ier = u->fcr = u->lcr = u->scratch = u->lsr_errors = 0;
	u->mcr = 0;
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->thre_pending = false;
	update(u);
	tell_room(u);
}

static void uart_pause(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	u->paused = true;
	u->had_room = false;
}

static void uart_resume(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	u->paused = false;
	uart_tx_ready(d);
	tell_room(u);
}

static void fifo_state(struct state *s, struct fifo *f)
{
	state_bytes(s, f->byte, sizeof(f->byte));
	state_u32_max(s, &f->head, FIFO - 1);
	state_u32_max(s, &f->len, FIFO);
}

/* Characters that the guest has sent and the back-end has not taken stay in the FIFO and go out after the load. */
static int uart_state(struct device *d, struct state *s)
{
	struct uart *u = container_of(d, struct uart, dev);

	state_begin(s, "uart", d->id, 1);
	fifo_state(s, &u->rx);
	fifo_state(s, &u->tx);
	state_u16(s, &u->divisor);
	state_u8(s, &u->ier);
	state_u8(s, &u->fcr);
	state_u8(s, &u->lcr);
	state_u8(s, &u->mcr);
	state_u8(s, &u->scratch);
	state_u8(s, &u->lsr_errors);
	state_u8(s, &u->msr);
	state_bool(s, &u->thre_pending);
	return state_end(s);
}

static int uart_loaded(struct device *d, struct err *e)
{
	struct uart *u = container_of(d, struct uart, dev);

	(void)e;
	u->ier &= 0x0f;
	u->fcr = u->fcr & FCR_ENABLE ? u->fcr & 0xc9 : 0;
	u->mcr &= 0x1f;
	u->lsr_errors &= LSR_ERRORS;
	update(u);
	return 0;
}

static void uart_destroy(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	bus_remove(u->env->ports, &u->range);
	free(u);
}

static void uart_dump(const struct device *d, struct text *t)
{
	const struct uart *u = container_of(d, const struct uart, dev);

	text_print(
		t,
		"port %#x gsi %u ier %02x iir %02x fcr %02x lcr %02x mcr %02x lsr %02x msr %02x divisor %u\n",
		u->cfg.port, u->cfg.gsi, u->ier, identify(u), u->fcr, u->lcr, u->mcr,
		line_status(u), u->msr, u->divisor);
	text_print(t, "rx %u tx %u sent %" PRIu64 " received %" PRIu64 " overruns %" PRIu64 "\n",
		   u->rx.len, u->tx.len, u->n_tx, u->n_rx, u->n_overrun);
}

static const struct dev_class uart_class = {
	.name = "uart",
	.help = "16550A serial port",
	.destroy = uart_destroy,
	.reset = uart_reset,
	.pause = uart_pause,
	.resume = uart_resume,
	.state = uart_state,
	.loaded = uart_loaded,
	.dump = uart_dump,
};

int uart_create(struct device **out, const struct dev_env *env, const struct uart_config *cfg,
		struct err *e)
{
	struct uart *u = calloc(1, sizeof(*u));
	int ret;

	*out = NULL;
	if (!u)
		return err_set(e, ENOMEM, "no memory for serial port %s", cfg->id);
	u->dev.class = &uart_class;
	u->dev.id = cfg->id;
	u->env = env;
	u->cfg = *cfg;
	u->had_room = true;
	u->range = (struct bus_range){cfg->id, cfg->port, 8, &uart_ops, u};
	uart_reset(&u->dev);
	ret = bus_add(env->ports, &u->range, e);
	if (ret < 0) {
		device_destroy(&u->dev);
		return ret;
	}
	*out = &u->dev;
	return 0;
}
