/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.c - the vsock device: packets in both directions (virtio 1.2 §5.10).
 *
 * Queues: 0 to the guest, 1 from the guest, 2 events. Packets to the guest are not queued: each connection has a set of
 * operations that are due, and its data waits in its socket; vsock_pump() turns them into packets as the guest gives
 * buffers, one connection after the other. Refusals of packets that belong to no connection have a small list; when it
 * is full, no more packets are taken from the guest until it takes some (§5.10.6.4 allows that).
 *
 * A connection does not live through a save and restore: the guest hears of it by a TRANSPORT_RESET event.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "state/state.h"
#include "virtio/vsock_conn.h"

#define RX 0u
#define TX 1u
#define EVENT 2u
#define QUEUE_SIZE 256u
#define BATCH 64u
#define TYPE_STREAM 1u
#define EVENT_TRANSPORT_RESET 0u

static struct vsock *from_virtio(const struct virtio_dev *d)
{
	return container_of(d, struct vsock, v);
}

static struct vsock_conn *find(struct vsock *vs, uint32_t host_port, uint32_t guest_port)
{
	for (struct vsock_conn *c = vs->conns; c; c = c->next)
		if (c->state != VSOCK_HELLO && c->host_port == host_port &&
		    c->guest_port == guest_port)
			return c;
	return NULL;
}

/* ---- to the guest ---- */

static struct vsock_hdr header(const struct vsock *vs, uint32_t host_port, uint32_t guest_port,
			       enum vsock_op op)
{
	return (struct vsock_hdr){.src_cid = VSOCK_CID_HOST,
				  .dst_cid = vs->cfg.cid,
				  .src_port = host_port,
				  .dst_port = guest_port,
				  .type = TYPE_STREAM,
				  .op = (uint16_t)op};
}

/* A packet of a connection with `len` bytes behind the header already in the chain. */
static void send_packet(struct vsock_conn *c, struct virtq_chain *chain, enum vsock_op op,
			uint32_t flags, uint32_t len)
{
	struct vsock_hdr h = header(c->vs, c->host_port, c->guest_port, op);

	h.flags = flags;
	h.len = len;
	h.buf_alloc = VSOCK_BUF;
	h.fwd_cnt = c->fwd_told = c->fwd_cnt;
	(void)virtq_chain_write(chain, 0, &h, sizeof(h));
	virtq_push(chain->q, chain, sizeof(h) + len);
	c->due &= (uint32_t)~BIT(OP_CREDIT_UPDATE);
}

/* What is due, in this order. Returns OPS if it is nothing. */
static enum vsock_op next_due(const struct vsock_conn *c)
{
	static const enum vsock_op order[] = {OP_RST, OP_REQUEST, OP_RESPONSE, OP_SHUTDOWN,
					      OP_CREDIT_UPDATE};

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		if (c->due & BIT(order[i]))
			return order[i];
	return OPS;
}

static bool has_something(const struct vsock_conn *c)
{
	return c->due || (c->state == VSOCK_OPEN && c->readable && vsock_conn_credit(c));
}

/* Our client sends no more; and if it has left, it does not read either. */
static void at_eof(struct vsock_conn *c)
{
	c->due |= BIT(OP_SHUTDOWN);
	c->shut_flags = SHUT_F_SEND;
}

/* Fills one chain for this connection. False: there was nothing, the chain is untouched. */
static bool fill(struct vsock_conn *c, struct virtq_chain *chain)
{
	enum vsock_op op = next_due(c);
	uint32_t n;

	if (op == OPS) {
		n = vsock_conn_read(c, chain);
		if (n) {
			send_packet(c, chain, OP_RW, 0, n);
			return true;
		}
		if (c->state == VSOCK_OPEN && c->eof)
			at_eof(c);
		op = next_due(c);
		if (op == OPS)
			return false;
	}
	send_packet(c, chain, op, op == OP_SHUTDOWN ? c->shut_flags : 0, 0);
	c->due &= (uint32_t)~BIT(op);
	if (op == OP_RST)
		vsock_conn_free(c);
	return true;
}

static void to_end(struct vsock *vs, struct vsock_conn *c)
{
	struct vsock_conn **p = &vs->conns;

	while (*p && *p != c)
		p = &(*p)->next;
	if (!*p || !c->next)
		return; /* gone, or last already */
	*p = c->next;
	while (*p)
		p = &(*p)->next;
	*p = c;
	c->next = NULL;
}

static struct vsock_conn *next_conn(struct vsock *vs)
{
	for (struct vsock_conn *c = vs->conns; c; c = c->next)
		if (has_something(c))
			return c;
	return NULL;
}

/* A chain of the receive queue that has room for a header; others go back empty, and count in *n like what is sent. */
static struct virtq_chain *rx_chain(struct vsock *vs, unsigned *n)
{
	struct virtq *q = virtio_q(&vs->v, RX);
	struct virtq_chain *chain;

	while (*n < BATCH && (chain = virtq_pop(q))) {
		if (chain->in_bytes >= sizeof(struct vsock_hdr))
			return chain;
		vs->n_bad++;
		virtq_push(q, chain, 0);
		++*n;
	}
	return NULL;
}

void vsock_pump(struct vsock *vs)
{
	struct virtq *q = virtio_q(&vs->v, RX);
	struct virtq_chain *chain = NULL;
	struct vsock_conn *c;
	unsigned n = 0;

	if (!virtio_running(&vs->v))
		return;
	virtq_disable_kicks(q);
	while (n < BATCH && (vs->n_rst || next_conn(vs))) {
		if (!chain)
			chain = rx_chain(vs, &n);
		if (!chain) {
			if (n == BATCH || virtq_enable_kicks(q))
				continue; /* some came just now */
			break;
		}
		if (vs->n_rst) {
			struct vsock_hdr h;

			vs->n_rst--;
			h = header(vs, vs->rst[vs->n_rst].host_port, vs->rst[vs->n_rst].guest_port,
				   OP_RST);
			(void)virtq_chain_write(chain, 0, &h, sizeof(h));
			virtq_push(q, chain, sizeof(h));
			chain = NULL;
		} else {
			c = next_conn(vs);
			if (fill(c, chain))
				chain = NULL;
			to_end(vs, c);
		}
		n++;
	}
	if (chain)
		virtq_unpop(q, chain);
	virtq_flush(q);
	if (n == BATCH)
		virtio_kick(&vs->v, RX);
	else if (vs->n_rst < ARRAY_SIZE(vs->rst) / 2 && virtq_ready(virtio_q(&vs->v, TX)))
		virtio_kick(&vs->v, TX); /* it may have waited for the list */
}

/* ---- from the guest ---- */

static void refuse(struct vsock *vs, const struct vsock_hdr *h)
{
	if (h->op == OP_RST)
		return;
	vs->rst[vs->n_rst].host_port = h->dst_port;
	vs->rst[vs->n_rst].guest_port = h->src_port;
	vs->n_rst++;
}

static void request(struct vsock *vs, const struct vsock_hdr *h)
{
	struct vsock_conn *c = vs->cfg.connect ? vsock_conn_new(vs, VSOCK_CONNECTING) : NULL;

	if (!c) {
		vs->n_refused++;
		refuse(vs, h);
		return;
	}
	c->host_port = h->dst_port;
	c->guest_port = h->src_port;
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd_cnt = h->fwd_cnt;
	if (vs->cfg.connect(vs->cfg.ctx, h->dst_port, c->id) < 0) {
		vs->n_refused++;
		vsock_conn_kill(c);
	}
}

void vsock_connected(struct virtio_dev *d, uint32_t port, uint32_t id, int fd)
{
	struct vsock *vs = from_virtio(d);
	struct vsock_conn *c = vs->conns;

	while (c && (c->id != id || c->host_port != port || c->state != VSOCK_CONNECTING))
		c = c->next;
	if (!c) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		if (fd >= 0)
			close(fd);
		vs->n_refused++;
		vsock_conn_kill(c);
	} else if (!vsock_conn_socket(c, fd)) {
		vsock_conn_kill(c);
	} else {
		c->state = VSOCK_OPEN;
		c->due |= BIT(OP_RESPONSE);
		vs->n_opened++;
	}
	vsock_pump(vs);
}

static void response(struct vsock_conn *c)
{
	char text[24];

	c->state = VSOCK_OPEN;
	c->vs->n_opened++;
	c->readable = true; /* it may have written already */
	snprintf(text, sizeof(text), "OK %u\n", c->host_port);
	vsock_conn_say(c, text);
}

static void take_packet(struct vsock *vs, const struct virtq_chain *chain)
{
	struct vsock_conn *c;
	struct vsock_hdr h;

	if (virtq_chain_read(chain, 0, &h, sizeof(h)) != sizeof(h)) {
		vs->n_bad++;
		return;
	}
	c = h.src_cid == vs->cfg.cid && h.dst_cid == VSOCK_CID_HOST && h.type == TYPE_STREAM ?
		    find(vs, h.dst_port, h.src_port) :
		    NULL;
	if (!c) {
		if (h.op == OP_REQUEST && h.src_cid == vs->cfg.cid && h.dst_cid == VSOCK_CID_HOST &&
		    h.type == TYPE_STREAM)
			request(vs, &h);
		else
			refuse(vs, &h);
		return;
	}
	if (c->state == VSOCK_DEAD) {
		if (h.op == OP_RST) /* both at once */
			vsock_conn_free(c);
		return;
	}
	c->peer_buf_alloc = h.buf_alloc;
	c->peer_fwd_cnt = h.fwd_cnt;
	if (h.op == OP_RST) {
		vsock_conn_free(c);
	} else if (h.op == OP_RESPONSE && c->state == VSOCK_REQUESTED && !c->due) {
		response(c);
	} else if (c->state != VSOCK_OPEN) {
		vs->n_bad++;
		vsock_conn_kill(c);
	} else if (h.op == OP_RW) {
		if ((c->guest_shut & SHUT_F_SEND) || h.len > chain->out_bytes - sizeof(h) ||
		    !vsock_conn_write(c, chain, sizeof(h), h.len)) {
			vs->n_bad++;
			vsock_conn_kill(c);
		}
	} else if (h.op == OP_SHUTDOWN) {
		c->guest_shut |= h.flags & SHUT_F_BOTH;
		vsock_conn_shut(c);
	} else if (h.op == OP_CREDIT_REQUEST) {
		c->due |= BIT(OP_CREDIT_UPDATE);
	} else if (h.op != OP_CREDIT_UPDATE) {
		vs->n_bad++;
		vsock_conn_kill(c);
	}
}

static void serve_tx(struct vsock *vs, struct virtq *q)
{
	struct virtq_chain *chain;
	unsigned n = 0;

	do {
		virtq_disable_kicks(q);
		while (n < BATCH && vs->n_rst < ARRAY_SIZE(vs->rst) && (chain = virtq_pop(q))) {
			take_packet(vs, chain);
			virtq_push(q, chain, 0);
			n++;
		}
		virtq_flush(q);
		if (n == BATCH) {
			virtio_kick(&vs->v, TX);
			break;
		}
		if (vs->n_rst == ARRAY_SIZE(vs->rst))
			break; /* vsock_pump() comes back here */
	} while (virtq_enable_kicks(q));
	vsock_pump(vs);
}

static void serve_events(struct vsock *vs, struct virtq *q)
{
	uint32_t id = EVENT_TRANSPORT_RESET;
	struct virtq_chain *chain;

	if (!vs->reset_due)
		return;
	chain = virtq_pop(q);
	if (!chain)
		return;
	virtq_push(q, chain, virtq_chain_write(chain, 0, &id, sizeof(id)));
	virtq_flush(q);
	vs->reset_due = false;
}

/* ---- life ---- */

static void notify(struct virtio_dev *d, struct virtq *q)
{
	struct vsock *vs = from_virtio(d);

	switch (q->index) {
	case RX: vsock_pump(vs); break;
	case TX: serve_tx(vs, q); break;
	case EVENT: serve_events(vs, q); break;
	}
}

static void drop_all(struct vsock *vs)
{
	while (vs->conns)
		vsock_conn_free(vs->conns);
	vs->n_rst = 0;
}

static void stop(struct virtio_dev *d)
{
	drop_all(from_virtio(d));
	from_virtio(d)->reset_due = false;
	virtio_stopped(d);
}

static void pause_all(struct virtio_dev *d)
{
	struct vsock *vs = from_virtio(d);

	if (vs->listen)
		(void)loop_fd_mod(vs->listen, 0); /* clients wait */
}

static void resume_all(struct virtio_dev *d)
{
	struct vsock *vs = from_virtio(d);

	if (vs->listen)
		(void)loop_fd_mod(vs->listen, EPOLLIN);
}

static int state(struct virtio_dev *d, struct state *s)
{
	struct vsock *vs = from_virtio(d);

	state_begin(s, "virtio-vsock", d->pci.dev.id, 1);
	state_same(s, vs->cfg.cid, "the vsock address");
	state_bool(s, &vs->reset_due);
	return state_end(s);
}

static int loaded(struct virtio_dev *d, struct err *e)
{
	struct vsock *vs = from_virtio(d);

	(void)e;
	if (d->phase == VIRTIO_LIVE)
		vs->reset_due = true;
	return 0;
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct vsock *vs = from_virtio(d);

	add(ctx, "connections", vs->n_conns);
	add(ctx, "opened", vs->n_opened);
	add(ctx, "refused", vs->n_refused);
	add(ctx, "bytes_in", vs->n_in);
	add(ctx, "bytes_out", vs->n_out);
	add(ctx, "bad_packets", vs->n_bad);
}

static void dump(const struct virtio_dev *d, struct text *t)
{
	static const char *const states[] = {"hello", "requested", "connecting", "open", "dead"};

	for (const struct vsock_conn *c = from_virtio(d)->conns; c; c = c->next)
		text_print(t, " host port %u, guest port %u: %s%s, %u bytes wait, credit %u\n",
			   c->host_port, c->guest_port, states[c->state], c->eof ? " eof" : "",
			   c->used, vsock_conn_credit(c));
}

static void destroy(struct virtio_dev *d)
{
	struct vsock *vs = from_virtio(d);

	drop_all(vs);
	loop_fd_del(vs->listen);
	virtio_fini(d);
	free(vs);
}

const struct virtio_class virtio_vsock_class = {
	.name = "vsock",
	.help = "sockets between guest and host, unix sockets on the host",
	.type = 19,
	.pci_class = 0x028000,
	.destroy = destroy,
	.notify = notify,
	.stop = stop,
	.pause = pause_all,
	.resume = resume_all,
	.state = state,
	.loaded = loaded,
	.stats = stats,
	.dump = dump,
};

int vsock_create(struct virtio_dev **out, const struct dev_env *env, const struct vsock_config *cfg,
		 struct err *e)
{
	struct virtio_params p = {
		.id = "vsock",
		.n_queues = 3,
		.queue_size_all = QUEUE_SIZE,
		.config = &cfg->cid,
		.config_size = sizeof(cfg->cid),
	};
	struct vsock *vs = calloc(1, sizeof(*vs));
	int r;

	*out = NULL;
	if (!vs)
		return err_set(e, ENOMEM, "out of memory");
	vs->cfg = *cfg;
	/* So that a late answer from before a reset finds nobody. */
	if (getrandom(&vs->last_id, sizeof(vs->last_id), GRND_NONBLOCK) < 0)
		vs->last_id = (uint32_t)dev_now(&env->clock);
	r = virtio_init(&vs->v, &virtio_vsock_class, env, &p, e);
	if (r < 0) {
		free(vs);
		return r;
	}
	if (cfg->listen_fd >= 0) {
		/* seccomp vm: fcntl arg1=F_GETFL/F_SETFL */
		r = fcntl(cfg->listen_fd, F_SETFL, fcntl(cfg->listen_fd, F_GETFL) | O_NONBLOCK) < 0 ?
			    -errno :
			    0;
		if (r == 0)
			r = loop_fd_add(env->loop, cfg->listen_fd, EPOLLIN, vsock_conn_accept, vs,
					&vs->listen);
	}
	if (r < 0) {
		destroy(&vs->v);
		return err_errno(e, -r, "cannot listen for connections to the guest");
	}
	*out = &vs->v;
	return 0;
}
