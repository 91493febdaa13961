/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - ports and their control messages (virtio 1.2 §5.3).
 *
 * Queues: 0 receive and 1 transmit of port 0, 2 and 3 control, then two for each further port. Control messages
 * to the guest are not queued: each port has a set of messages that are due, which go out as the guest has buffers, in a
 * fixed order. So a guest that takes none costs nothing.
 *
 * A transmit chain that the back-end takes in parts stays with us, and so does the receive chain that is being filled into:
 * at a pause both are put back, and `tx_off` remembers how much of the first has gone out.
 */
#include "virtio/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/state.h"

#define F_MULTIPORT BIT(1)

#define QUEUE_SIZE 64u
#define BATCH 64u
#define CHUNK 4096u

enum event {
	DEVICE_READY,
	PORT_ADD,
	PORT_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME
};

#define DUE_ADD BIT(PORT_ADD)
#define DUE_CONSOLE BIT(CONSOLE_PORT)
#define DUE_NAME BIT(PORT_NAME)
#define DUE_OPEN BIT(PORT_OPEN)

struct message {
	uint32_t id;
	uint16_t event, value;
};

struct config {
	uint16_t cols, rows;
	uint32_t max_ports;
	uint32_t emerg_wr;
};

struct port {
	struct vconsole_port cfg;
	struct virtq_chain *tx, *rx; /* with us; NULL: none */
	uint32_t tx_off;	     /* bytes of the next transmit chain that went out */
	bool rx_wanted;		     /* the back-end found no room */
	bool guest_open;	     /* a program has it open */
	uint32_t due;		     /* bit: event to be told */
	uint64_t n_in, n_out;
};

struct vconsole {
	struct virtio_dev v;
	unsigned n_ports;
	struct port port[VCONSOLE_PORTS_MAX];
};

static struct vconsole *from_virtio(struct virtio_dev *d)
{
	return container_of(d, struct vconsole, v);
}

static unsigned rx_queue(unsigned port)
{
	return port ? 2 + 2 * port : 0;
}

/* ---- control ---- */

#define CONTROL_RX 2u
#define CONTROL_TX 3u

static bool send(struct vconsole *c, unsigned id, enum event event, uint16_t value, const char *name)
{
	struct message m = {.id = id, .event = (uint16_t)event, .value = value};
	struct virtq *q = virtio_q(&c->v, CONTROL_RX);
	struct virtq_chain *chain = virtq_pop(q);
	uint64_t n;

	if (!chain)
		return false;
	n = virtq_chain_write(chain, 0, &m, sizeof(m));
	if (name)
		n += virtq_chain_write(chain, n, name, strlen(name) + 1);
	virtq_push(q, chain, n);
	return true;
}

/* In this order: a port is there before anything is said about it. */
static void send_due(struct vconsole *c)
{
	static const enum event order[] = {PORT_ADD, CONSOLE_PORT, PORT_NAME, PORT_OPEN};

	if (!virtio_running(&c->v) || !virtio_has(&c->v, F_MULTIPORT))
		return;
	for (unsigned i = 0; i < c->n_ports; i++) {
		struct port *p = &c->port[i];

		for (unsigned k = 0; k < ARRAY_SIZE(order) && p->due; k++) {
			enum event ev = order[k];

			if (!(p->due & BIT(ev)))
				continue;
			if (!send(c, i, ev, ev == PORT_OPEN ? p->cfg.open : 1,
				  ev == PORT_NAME ? p->cfg.name : NULL)) {
				virtq_flush(virtio_q(&c->v, CONTROL_RX));
				(void)virtq_enable_kicks(virtio_q(&c->v, CONTROL_RX));
				return;
			}
			p->due &= (uint32_t)~BIT(ev);
		}
	}
	virtq_flush(virtio_q(&c->v, CONTROL_RX));
}

static void take_message(struct vconsole *c, const struct message *m)
{
	struct port *p;

	if (m->event == DEVICE_READY) {
		for (unsigned i = 0; m->value && i < c->n_ports; i++)
			c->port[i].due |= DUE_ADD;
		return;
	}
	if (m->id >= c->n_ports)
		return;
	p = &c->port[m->id];
	if (m->event == PORT_READY && m->value)
		p->due |= (p->cfg.console ? DUE_CONSOLE : 0) | (p->cfg.name ? DUE_NAME : 0) |
			  (p->cfg.open ? DUE_OPEN : 0);
	else if (m->event == PORT_OPEN)
		p->guest_open = m->value;
}

static void serve_control(struct vconsole *c, struct virtq *q)
{
	struct virtq_chain *chain;
	struct message m;
	unsigned n = 0;

	do {
		virtq_disable_kicks(q);
		while (n < BATCH && (chain = virtq_pop(q))) {
			if (virtq_chain_read(chain, 0, &m, sizeof(m)) == sizeof(m))
				take_message(c, &m);
			virtq_push(q, chain, 0);
			n++;
		}
		virtq_flush(q);
		if (n == BATCH) {
			virtio_kick(&c->v, q->index);
			break;
		}
	} while (virtq_enable_kicks(q));
	send_due(c);
}

void vconsole_set_open(struct virtio_dev *d, unsigned port, bool open)
{
	struct vconsole *c = from_virtio(d);

	ASSERT(port < c->n_ports);
	if (c->port[port].cfg.open == open)
		return;
	c->port[port].cfg.open = open;
	if (d->started)
		c->port[port].due |= DUE_OPEN;
	send_due(c);
}

/* ---- guest to host ---- */

/* Offers the rest of a chain. True: all of it was taken. */
static bool transmit(struct port *p, const struct virtq_chain *chain)
{
	uint8_t buf[CHUNK];
	size_t n, taken;

	while ((n = virtq_chain_read(chain, p->tx_off, buf, sizeof(buf)))) {
		taken = p->cfg.tx ? p->cfg.tx(p->cfg.ctx, buf, n) : n;
		p->tx_off += (uint32_t)taken;
		p->n_out += taken;
		if (taken < n)
			return false;
	}
	return true;
}

static void serve_tx(struct vconsole *c, struct port *p, struct virtq *q)
{
	unsigned n = 0;

	do {
		virtq_disable_kicks(q);
		for (; n < BATCH; n++) {
			if (!p->tx)
				p->tx = virtq_pop(q);
			if (!p->tx)
				break;
			if (!transmit(p, p->tx)) {
				virtq_flush(q);
				return; /* vconsole_tx_ready() goes on */
			}
			virtq_push(q, p->tx, 0);
			p->tx = NULL;
			p->tx_off = 0;
		}
		virtq_flush(q);
		if (n == BATCH) {
			virtio_kick(&c->v, q->index);
			return;
		}
	} while (virtq_enable_kicks(q));
}

void vconsole_tx_ready(struct virtio_dev *d, unsigned port)
{
	virtio_kick(d, rx_queue(port) + 1);
}

bool vconsole_guest_open(struct virtio_dev *d, unsigned port)
{
	struct vconsole *c = from_virtio(d);

	ASSERT(port < c->n_ports);
	return virtio_running(d) && c->port[port].guest_open;
}

/* ---- host to guest ---- */

size_t vconsole_rx_space(struct virtio_dev *d, unsigned port)
{
	struct vconsole *c = from_virtio(d);
	struct port *p = &c->port[port];
	struct virtq *q = virtio_q(d, rx_queue(port));

	ASSERT(port < c->n_ports);
	if (!virtio_running(d) || (!p->cfg.console && !p->guest_open)) {
		p->rx_wanted = true;
		return 0;
	}
	if (!p->rx)
		p->rx = virtq_pop(q);
	if (!p->rx && virtq_enable_kicks(q))
		p->rx = virtq_pop(q);
	p->rx_wanted = !p->rx;
	if (p->rx && p->rx->in_bytes == 0) { /* no room at all in it: gives it back */
		virtq_push(q, p->rx, 0);
		virtq_flush(q);
		p->rx = NULL;
		p->rx_wanted = true;
		virtio_kick(d, q->index);
	}
	return p->rx ? (size_t)p->rx->in_bytes : 0;
}

size_t vconsole_rx_push(struct virtio_dev *d, unsigned port, const uint8_t *buf, size_t len)
{
	struct port *p = &from_virtio(d)->port[port];
	struct virtq *q = virtio_q(d, rx_queue(port));
	size_t n;

	if (!len || !vconsole_rx_space(d, port))
		return 0;
	n = virtq_chain_write(p->rx, 0, buf, len);
	virtq_push(q, p->rx, n);
	p->rx = NULL;
	p->n_in += n;
	virtq_flush(q);
	return n;
}

/* The guest gave buffers, or opened the port. */
static void rx_room(struct port *p)
{
	if (!p->rx_wanted)
		return;
	p->rx_wanted = false;
	if (p->cfg.rx_room)
		p->cfg.rx_room(p->cfg.ctx);
}

/* ---- life ---- */

static void notify(struct virtio_dev *d, struct virtq *q)
{
	struct vconsole *c = from_virtio(d);
	unsigned port;

	if (q->index == CONTROL_RX) {
		send_due(c);
	} else if (q->index == CONTROL_TX) {
		serve_control(c, q);
		for (unsigned i = 0; i < c->n_ports; i++)
			rx_room(&c->port[i]);
	} else {
		port = q->index < 2 ? 0 : (q->index - 2) / 2;
		if (q->index & 1)
			serve_tx(c, &c->port[port], q);
		else
			rx_room(&c->port[port]);
	}
}

static void forget_port(struct port *p)
{
	p->tx = p->rx = NULL;
	p->tx_off = 0;
	p->rx_wanted = true;
}

static void stop(struct virtio_dev *d)
{
	struct vconsole *c = from_virtio(d);

	for (unsigned i = 0; i < c->n_ports; i++) {
		forget_port(&c->port[i]);
		c->port[i].guest_open = false;
		c->port[i].due = 0;
	}
	virtio_stopped(d);
}

static void queue_stop(struct virtio_dev *d, struct virtq *q)
{
	struct vconsole *c = from_virtio(d);

	for (unsigned i = 0; i < c->n_ports; i++) {
		struct port *p = &c->port[i];

		if (q->index == rx_queue(i) + 1) {
			p->tx = NULL;
			p->tx_off = 0;
		} else if (q->index == rx_queue(i)) {
			p->rx = NULL;
		}
	}
	virtio_queue_stopped(d, q);
}

static void pause_ports(struct virtio_dev *d)
{
	struct vconsole *c = from_virtio(d);

	for (unsigned i = 0; i < c->n_ports; i++) {
		struct port *p = &c->port[i];

		if (p->tx)
			virtq_unpop(p->tx->q, p->tx);
		if (p->rx)
			virtq_unpop(p->rx->q, p->rx);
		p->tx = p->rx = NULL;
		p->rx_wanted = true; /* room is told again after the pause */
	}
}

static int state(struct virtio_dev *d, struct state *s)
{
	struct vconsole *c = from_virtio(d);

	state_begin(s, "virtio-console", d->pci.dev.id, 1);
	state_same(s, c->n_ports, "the number of ports");
	for (unsigned i = 0; i < c->n_ports; i++) {
		struct port *p = &c->port[i];

		state_bool(s, &p->guest_open);
		state_u32(s, &p->due);
		state_u32(s, &p->tx_off);
	}
	return state_end(s);
}

/* Who is there on our side may be another than before. */
static int loaded(struct virtio_dev *d, struct err *e)
{
	struct vconsole *c = from_virtio(d);

	(void)e;
	for (unsigned i = 0; i < c->n_ports; i++) {
		struct port *p = &c->port[i];

		p->due &= DUE_ADD | DUE_CONSOLE | DUE_NAME | DUE_OPEN;
		if (d->phase == VIRTIO_LIVE && d->features & F_MULTIPORT)
			p->due |= DUE_OPEN;
	}
	return 0;
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct vconsole *c = from_virtio(d);
	uint64_t in = 0, out = 0;

	for (unsigned i = 0; i < c->n_ports; i++) {
		in += c->port[i].n_in;
		out += c->port[i].n_out;
	}
	add(ctx, "bytes_in", in);
	add(ctx, "bytes_out", out);
}

static void dump(const struct virtio_dev *d, struct text *t)
{
	const struct vconsole *c = container_of(d, const struct vconsole, v);

	for (unsigned i = 0; i < c->n_ports; i++) {
		const struct port *p = &c->port[i];

		text_print(t, " port %u%s%s: host %s, guest %s, %llu bytes in, %llu out\n", i,
			   p->cfg.name ? " " : "", p->cfg.name ? p->cfg.name : "",
			   p->cfg.open ? "open" : "closed", p->guest_open ? "open" : "closed",
			   (unsigned long long)p->n_in, (unsigned long long)p->n_out);
	}
}

static void destroy(struct virtio_dev *d)
{
	virtio_fini(d);
	free(from_virtio(d));
}

const struct virtio_class virtio_console_class = {
	.name = "console",
	.help = "console (hvc0), and ports for programs such as a guest agent",
	.type = 3,
	.pci_class = 0x078000,
	.destroy = destroy,
	.notify = notify,
	.stop = stop,
	.queue_stop = queue_stop,
	.pause = pause_ports,
	.state = state,
	.loaded = loaded,
	.stats = stats,
	.dump = dump,
};

int vconsole_create(struct virtio_dev **out, const struct dev_env *env,
		    const struct vconsole_port *port, unsigned n_ports, struct err *e)
{
	const struct config config = {.max_ports = n_ports};
	struct virtio_params p = {
		.id = "vconsole",
		.n_queues = 2 + 2 * n_ports,
		.queue_size_all = QUEUE_SIZE,
		.features = F_MULTIPORT,
		.config = &config,
		.config_size = sizeof(config),
	};
	struct vconsole *c;
	int r;

	ASSERT(n_ports >= 1 && n_ports <= VCONSOLE_PORTS_MAX);
	*out = NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->n_ports = n_ports;
	for (unsigned i = 0; i < n_ports; i++) {
		c->port[i].cfg = port[i];
		c->port[i].rx_wanted = true;
	}
	r = virtio_init(&c->v, &virtio_console_class, env, &p, e);
	if (r < 0) {
		free(c);
		return r;
	}
	*out = &c->v;
	return 0;
}
