/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpws.c - connections that became WebSockets.
 *
 * The owner sends and is called back with messages; pings and closes are ours. What waits for a client is in one queue, at most
 * HTTP_QUEUE_MAX long: a client that does not take it is closed with a reason. So is one that does not answer a ping: who reads nothing
 * does not, so a queue does not stand for ever. While the owner has us paused, nothing is read, and silence is no reason.
 *
 * After both closes, and after a client's mistake, the server is the one that ends the connection (RFC 6455 §7.1.1): it
 * says that nothing more comes, and drops what the client, who may be in the middle of a message, still sends. Who closed
 * at once would reset the connection, and the reason might never be read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http_int.h"
#include "util/clock.h"
#include "util/log.h"

#define CLOSING_SECONDS 5u /* for the last of the queue, and the other's close */

void http_ws_free(struct http_conn *c)
{
	if (c->ws)
		ws_reader_fini(&c->ws->reader);
	free(c->ws);
	c->ws = NULL;
}

void http_ws_ended(struct http_conn *c)
{
	if (c->ws->told)
		return;
	c->ws->told = true;
	c->ws->calls.closed(c->ws->calls.ctx);
}

uint32_t http_ws_events(const struct http_conn *c)
{
	const struct http_ws *w = c->ws;

	return (w->paused && !w->closing ? EPOLLRDHUP : EPOLLIN) |
	       (c->out_at < c->out_len ? EPOLLOUT : 0);
}

size_t http_ws_queued(const struct http_conn *c)
{
	return c->out_len - c->out_at;
}

static bool queue(struct http_conn *c, const void *data, size_t len)
{
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	if (c->out_len + len > c->out_cap) {
		size_t cap = c->out_cap ? c->out_cap : 1024;
		char *more;

		if (c->out_at)
			memmove(c->out, c->out + c->out_at, c->out_len - c->out_at);
		c->out_len -= c->out_at;
		c->out_at = 0;
		while (cap < c->out_len + len)
			cap *= 2;
		more = cap > c->out_cap ? realloc(c->out, cap) : c->out;
		if (!more)
			return false;
		c->out = more;
		c->out_cap = cap;
	}
	if (len)
		memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	return true;
}

static bool queue_frame(struct http_conn *c, enum ws_op op, const void *data, size_t len)
{
	uint8_t head[WS_HEAD_MAX];
	size_t n = ws_head(head, op, len, NULL);
	bool good = queue(c, head, n) && queue(c, data, len);

	http_conn_watch(c);
	return good;
}

void http_ws_close(struct http_conn *c, unsigned code, const char *why)
{
	uint8_t body[WS_CONTROL_MAX];
	size_t len = ws_close_body(body, code, why);

	if (c->dead || c->ws->closing)
		return;
	c->ws->closing = true;
	if (code == WS_POLICY)
		log_info_limited("a WebSocket is closed: %s", why);
	(void)queue_frame(c, WS_CLOSE, body, len);
	(void)loop_timer_set(&c->timer, clock_ns() + CLOSING_SECONDS * CLOCK_NS_PER_S);
}

void http_ws_send(struct http_conn *c, enum ws_op op, const void *data, size_t len)
{
	if (c->dead || c->ws->closing)
		return;
	if (http_ws_queued(c) + len > HTTP_QUEUE_MAX || !queue_frame(c, op, data, len))
		http_ws_close(c, WS_POLICY, "you are too slow: too much waits for you");
}

void http_ws_pause(struct http_conn *c, bool yes)
{
	if (c->dead || c->ws->paused == yes)
		return;
	c->ws->paused = yes;
	c->ws->heard_ns = clock_ns();
	c->ws->asked = false;
	if (!yes) /* what was read, or decrypted, before */
		loop_post(c->http->loop, &c->again);
	http_conn_watch(c);
}

/* One message. */
static void take(struct http_conn *c, const struct ws_message *m)
{
	struct http_ws *w = c->ws;

	switch (m->op) {
	case WS_PING:
		/* Who sends pings and takes no answers is as slow as others. */
		http_ws_send(c, WS_PONG, m->data, m->len);
		break;
	case WS_CLOSE:
		http_ws_close(c, m->code == 1005 ? WS_NORMAL : m->code, "");
		w->over = true;
		break;
	case WS_TEXT:
	case WS_BINARY:
		if (!w->closing)
			w->calls.message(w->calls.ctx, m->data, m->len);
		break;
	default: break;
	}
}

/* All messages in the first `c->in_len` bytes of `in`. */
static void parse(struct http_conn *c)
{
	size_t at = 0;

	while (!c->dead && !c->ws->over && at < c->in_len && (!c->ws->paused || c->ws->closing)) {
		struct ws_message m;
		ssize_t n = ws_read(&c->ws->reader, (const uint8_t *)c->in + at, c->in_len - at, &m);

		if (n < 0) {
			/* §7.1.7: closed with the reason, and not read any further. */
			http_ws_close(c, (unsigned)-n,
				      n == -WS_TOO_LARGE ? "the message is too large" :
				      n == -WS_NOT_TEXT	 ? "the text is not UTF-8" :
							   "that is not proper WebSocket");
			c->ws->over = true;
			break;
		}
		at += (size_t)n;
		if (m.op != WS_NONE)
			take(c, &m);
	}
	if (c->dead)
		return;
	if (c->ws->over)
		at = c->in_len;
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

void http_ws_ready(struct http_conn *c, uint32_t events)
{
	struct http_ws *w = c->ws;
	bool had = c->out_at < c->out_len;

	if (had && !http_conn_flush(c))
		return;
	if (had && c->out_at == c->out_len && !w->closing)
		w->calls.drained(w->calls.ctx);
	if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && (!w->paused || w->closing)) {
		ssize_t n = 1;

		if (c->in_len)
			parse(c);
		if (!c->dead && !c->in_len) {
			n = http_conn_recv(c, c->in, c->in_cap);
			if (n > 0) {
				c->in_len = (size_t)n;
				w->heard_ns = clock_ns();
				w->asked = false;
				parse(c);
			}
		}
		if (!c->dead && (n == 0 || (n < 0 && n != -EAGAIN)))
			http_conn_end(c);
		if (!c->dead && c->tls && tls_conn_pending(c->tls) && !w->paused)
			loop_post(c->http->loop, &c->again);
	} else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		http_conn_end(c); /* it is paused, and its client gone */
	}
	if (c->dead)
		return;
	if (w->closing)
		http_ws_ended(c); /* the owner need not wait for the last bytes */
	if (w->over && c->out_at == c->out_len)
		http_conn_drain(c);
	else
		http_conn_watch(c);
}

void http_ws_timer(struct http_conn *c)
{
	struct http_ws *w = c->ws;
	uint64_t now = clock_ns(), period = c->http->ping_s * CLOCK_NS_PER_S;

	if (w->closing) {
		http_conn_end(c);
		return;
	}
	if (w->asked && !w->paused) {
		http_ws_close(c, WS_POLICY, "you do not answer");
		http_ws_ended(c);
		return;
	}
	if (!w->paused && now - w->heard_ns >= period) {
		w->asked = true;
		(void)queue_frame(c, WS_PING, NULL, 0);
	}
	(void)loop_timer_set(&c->timer, now + period);
}

bool http_websocket(struct http_conn *c, const struct http_ws_calls *calls)
{
	struct http_ws *w = calloc(1, sizeof(*w));
	char accept[WS_ACCEPT_MAX];
	char head[160];

	if (!w || !ws_accept(c->ws_key, accept)) {
		free(w);
		http_conn_end(c);
		return false;
	}
	*w = (struct http_ws){.calls = *calls, .heard_ns = clock_ns()};
	ws_reader_init(&w->reader, true, HTTP_MESSAGE_MAX);
	c->ws = w;
	c->in_len -= c->used;
	memmove(c->in, c->in + c->used, c->in_len);
	c->used = 0;
	snprintf(head, sizeof(head),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	http_conn_state(c, HTTP_SOCKET);
	(void)loop_timer_set(&c->timer, clock_ns() + c->http->ping_s * CLOCK_NS_PER_S);
	if (!queue(c, head, strlen(head))) {
		c->state = HTTP_WAIT;
		http_conn_end(c);
		return false;
	}
	http_conn_watch(c);
	if (c->in_len || (c->tls && tls_conn_pending(c->tls)))
		loop_post(c->http->loop, &c->again);
	return true;
}
