/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - HTTP/1.1 connections.
 *
 * A connection goes from HANDSHAKE (with TLS) to READ, WAIT, WRITE and READ again or the end; or from WAIT to SOCKET, which
 * is httpws.c's. A slow or silent client costs a buffer until its timer ends it, or until its place is needed: then the oldest
 * that has not said its request goes. Those that wait for something to happen have no timer, and are not more than HTTP_HELD_MAX.
 */
#include "daemon/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/http_int.h"
#include "daemon/httphead.h"
#include "util/clock.h"
#include "util/log.h"

#define DRAIN_SECONDS 5u

static void conn_free(struct http_conn *c)
{
	loop_fd_del(c->watch);
	loop_timer_cancel(&c->timer);
	loop_unpost(c->http->loop, &c->again);
	tls_conn_destroy(c->tls);
	base_close_fd(&c->fd);
	http_ws_free(c);
	free(c->in);
	free(c->out);
	free(c);
}

static void bury(void *ctx)
{
	struct http *h = ctx;

	while (h->dead) {
		struct http_conn *c = h->dead;

		h->dead = c->next;
		conn_free(c);
	}
}

void http_conn_end(struct http_conn *c)
{
	struct http *h = c->http;

	if (c->dead)
		return;
	c->dead = true;
	for (struct http_conn **p = &h->conns; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	loop_fd_del(c->watch);
	c->watch = NULL;
	loop_timer_cancel(&c->timer);
	h->n--;
	c->next = h->dead;
	h->dead = c;
	loop_post(h->loop, &h->bury);
	(void)loop_fd_mod(h->listen, EPOLLIN);
	if (c->state == HTTP_WAIT)
		h->calls.closed(h->calls.ctx, c);
	else if (c->state == HTTP_SOCKET)
		http_ws_ended(c);
}

void http_conn_watch(struct http_conn *c)
{
	static const uint32_t events[] = {[HTTP_HANDSHAKE] = EPOLLIN,
					  [HTTP_READ] = EPOLLIN,
					  [HTTP_WAIT] = EPOLLRDHUP,
					  [HTTP_WRITE] = EPOLLOUT,
					  [HTTP_DRAIN] = EPOLLIN};
	uint32_t want = c->state == HTTP_SOCKET ? http_ws_events(c) : events[c->state];

	if (c->dead)
		return;
	if (c->tls && c->state != HTTP_WAIT && c->state != HTTP_DRAIN &&
	    tls_conn_wants_write(c->tls))
		want |= EPOLLOUT;
	if (loop_fd_mod(c->watch, want) < 0)
		http_conn_end(c);
}

void http_conn_state(struct http_conn *c, enum http_state s)
{
	unsigned seconds = s == HTTP_HANDSHAKE ? HTTP_HANDSHAKE_SECONDS :
			   s == HTTP_DRAIN     ? DRAIN_SECONDS :
						 HTTP_SECONDS;

	c->state = s;
	if (s == HTTP_WAIT)
		loop_timer_cancel(&c->timer);
	else if (s != HTTP_SOCKET)
		(void)loop_timer_set(&c->timer, clock_ns() + seconds * CLOCK_NS_PER_S);
	http_conn_watch(c);
}

ssize_t http_conn_recv(struct http_conn *c, void *data, size_t len)
{
	ssize_t n = c->tls ? tls_conn_recv(c->tls, data, len) : recv(c->fd, data, len, MSG_DONTWAIT);

	if (n < 0 && !c->tls)
		n = errno == EINTR ? -EAGAIN : -errno;
	return n;
}

bool http_conn_flush(struct http_conn *c)
{
	while (c->out_at < c->out_len) {
		const char *data = c->out + c->out_at;
		size_t len = c->out_len - c->out_at;
		ssize_t n = c->tls ? tls_conn_send(c->tls, data, len) :
				     send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && !c->tls)
			n = errno == EINTR ? -EAGAIN : -errno;
		if (n == -EAGAIN)
			return true;
		if (n <= 0) {
			http_conn_end(c);
			return false;
		}
		c->out_at += (size_t)n;
	}
	return true;
}

/* A close with bytes that nobody has read resets the connection, and what we said last may be lost (RFC 9112 §9.6). */
void http_conn_drain(struct http_conn *c)
{
	if (c->tls)
		tls_conn_bye(c->tls);
	(void)shutdown(c->fd, SHUT_WR);
	http_conn_state(c, HTTP_DRAIN);
}

static void conn_drop_more(struct http_conn *c)
{
	char piece[16384];
	ssize_t n = recv(c->fd, piece, sizeof(piece), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		http_conn_end(c);
}

/* ---- answers ---- */

static const char *reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} all[] = {{200, "OK"},
		   {201, "Created"},
		   {202, "Accepted"},
		   {204, "No Content"},
		   {400, "Bad Request"},
		   {403, "Forbidden"},
		   {404, "Not Found"},
		   {405, "Method Not Allowed"},
		   {409, "Conflict"},
		   {411, "Length Required"},
		   {412, "Precondition Failed"},
		   {413, "Content Too Large"},
		   {426, "Upgrade Required"},
		   {431, "Request Header Fields Too Large"},
		   {500, "Internal Server Error"},
		   {501, "Not Implemented"},
		   {503, "Service Unavailable"},
		   {504, "Gateway Timeout"},
		   {505, "HTTP Version Not Supported"},
		   {507, "Insufficient Storage"}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].status == status)
			return all[i].text;
	return "Status";
}

static void conn_write(struct http_conn *c)
{
	if (!http_conn_flush(c))
		return;
	if (c->out_at < c->out_len) {
		http_conn_watch(c);
		return;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_at = c->out_cap = 0;
	if (!c->keep && c->drain) {
		http_conn_drain(c);
		return;
	}
	if (!c->keep) {
		http_conn_end(c);
		return;
	}
	c->in_len -= c->used;
	memmove(c->in, c->in + c->used, c->in_len);
	c->in[c->in_len] = '\0';
	c->used = 0;
	http_conn_state(c, HTTP_READ);
	/* What came behind the request that was answered. */
	if (!c->dead && (c->in_len || (c->tls && tls_conn_pending(c->tls))))
		loop_post(c->http->loop, &c->again);
}

/* Answers that nobody takes are not more than HTTP_ANSWERS_MAX: for a new one the oldest connection with one goes. */
static void make_room(const struct http_conn *c, size_t len)
{
	for (;;) {
		struct http_conn *oldest = NULL;
		size_t all = len;

		for (struct http_conn *o = c->http->conns; o; o = o->next)
			if (o != c && o->state == HTTP_WRITE) {
				all += o->out_len;
				oldest = o;
			}
		if (all <= HTTP_ANSWERS_MAX || !oldest)
			return;
		http_conn_end(oldest);
	}
}

/* Head and body; type NULL: there is none. `fields`: more of the head, each with its line end. */
static void answer(struct http_conn *c, unsigned status, const char *type, const char *fields,
		   const void *body, size_t len)
{
	char *head = NULL;
	char length[48] = "";
	int n;

	if (status != 204) /* RFC 9110 §8.6 */
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", len);
	n = asprintf(&head, "HTTP/1.1 %u %s\r\n%s%s%s%sCache-Control: no-store\r\n%s%s\r\n", status,
		     reason(status), type ? "Content-Type: " : "", type ? type : "",
		     type ? "\r\n" : "", fields, length, c->keep ? "" : "Connection: close\r\n");
	if (c->head)
		len = 0;
	make_room(c, len);
	c->out = n < 0 ? NULL : realloc(head, (size_t)n + len + 1);
	if (!c->out) {
		free(n < 0 ? NULL : head);
		c->state = HTTP_WRITE; /* as one that was answered */
		http_conn_end(c);
		return;
	}
	if (len)
		memcpy(c->out + n, body, len);
	c->out_cap = c->out_len = (size_t)n + len;
	c->out_at = 0;
	http_conn_state(c, HTTP_WRITE);
	if (!c->dead)
		conn_write(c);
}

void http_answer(struct http_conn *c, unsigned status, json_t *body, const char *etag,
		 const char *location)
{
	_autofree char *text = body ? json_text(body) : NULL;
	size_t len = text ? strlen(text) : 0;
	char fields[256];

	json_decref(body);
	if (text)
		text[len++] = '\n'; /* in place of the NUL */
	snprintf(fields, sizeof(fields), "%s%s%s%s%s%s%s", etag ? "ETag: \"" : "", etag ? etag : "",
		 etag ? "\"\r\n" : "", location ? "Location: " : "", location ? location : "",
		 location ? "\r\n" : "",
		 status == 426 ? "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" : "");
	answer(c, status, len ? "application/json" : NULL, fields, text, len);
}

void http_answer_bytes(struct http_conn *c, const void *data, size_t len)
{
	answer(c, 200, "application/octet-stream", "", data, len);
}

bool http_may_hold(const struct http_conn *c)
{
	unsigned held = 0;

	for (const struct http_conn *o = c->http->conns; o; o = o->next)
		held += o != c && (o->state == HTTP_WAIT || o->state == HTTP_SOCKET);
	return held < HTTP_HELD_MAX;
}

static void refuse(struct http_conn *c, unsigned status)
{
	const char *what = status == 413 ? "the body is too large: at most 256 KiB" :
			   status == 431 ? "the head of the request is too large: at most 16 KiB" :
			   status == 426 ? "of WebSocket there is version 13 only" :
			   status == 501 ? "a body needs a Content-Length" :
					   "the request is not proper HTTP/1.1";

	c->keep = false;
	c->drain = true;
	http_answer(c, status,
		    json_pack("{s:{s:s, s:s}}", "error", "id", "bad-request", "message", what),
		    NULL, NULL);
}

/* ---- requests ---- */

/* Gives a request out if it is there whole. */
static void conn_parse(struct http_conn *c)
{
	char *end;
	size_t head_len;
	struct http_head h;
	struct http_request rq;
	_autofree char *head = NULL;
	unsigned r;

	c->in[c->in_len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (!end && (c->in_len >= HTTP_HEAD_MAX || strlen(c->in) < c->in_len)) {
		refuse(c, c->in_len >= HTTP_HEAD_MAX ? 431 : 400);
		return;
	}
	if (!end)
		return;
	head_len = (size_t)(end - c->in) + 4;
	if (head_len > HTTP_HEAD_MAX) {
		refuse(c, 431);
		return;
	}
	head = strndup(c->in, head_len - 4);
	r = head ? http_head_parse(head, &h) : 500;
	if (r == 0 && h.length > HTTP_BODY_MAX)
		r = 413;
	if (r == 0 && h.ws && strcmp(h.ws_version, "13") != 0)
		r = 426;
	if (r) {
		refuse(c, r);
		return;
	}
	if (c->in_len - head_len < h.length)
		return;
	c->used = head_len + (size_t)h.length;
	c->keep = !h.close;
	c->head = !strcmp(h.method, "HEAD");
	snprintf(c->ws_key, sizeof(c->ws_key), "%s", h.ws ? h.ws_key : "");
	rq = (struct http_request){.conn = c,
				   .method = h.method,
				   .path = h.path,
				   .query = h.query,
				   .if_match = h.if_match,
				   .host = h.host,
				   .origin = h.origin,
				   .body = c->in + head_len,
				   .body_len = (size_t)h.length,
				   .ws = h.ws,
				   .peer = &c->peer};
	http_conn_state(c, HTTP_WAIT);
	if (!c->dead)
		c->http->calls.request(c->http->calls.ctx, &rq);
}

static void conn_read(struct http_conn *c)
{
	const size_t max = HTTP_HEAD_MAX + HTTP_BODY_MAX;
	ssize_t n;

	if (c->in_len == c->in_cap) {
		size_t cap = MIN(c->in_cap ? c->in_cap * 2 : 4096, max);
		char *more = cap > c->in_cap ? realloc(c->in, cap + 1) : NULL;

		if (!more) {
			http_conn_end(c);
			return;
		}
		c->in = more;
		c->in_cap = cap;
	}
	n = http_conn_recv(c, c->in + c->in_len, c->in_cap - c->in_len);
	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		http_conn_end(c);
		return;
	}
	if (n > 0) {
		c->in_len += (size_t)n;
		conn_parse(c);
	}
	if (!c->dead && c->state == HTTP_READ) {
		if (c->tls && tls_conn_pending(c->tls))
			loop_post(c->http->loop, &c->again);
		http_conn_watch(c);
	}
}

static void conn_handshake(struct http_conn *c)
{
	struct err e = {0};
	int r = tls_conn_handshake(c->tls, &e);

	if (r == -EAGAIN) {
		http_conn_watch(c);
		return;
	}
	if (r == 0)
		r = tls_conn_fingerprint(c->tls, c->peer.certificate, sizeof(c->peer.certificate));
	if (r < 0) {
		log_info_limited("a client by TLS: %s", e.msg);
		http_conn_drain(c);
		return;
	}
	http_conn_state(c, HTTP_READ);
	if (!c->dead)
		conn_read(c);
}

static void conn_ready(void *ctx, int fd, uint32_t events)
{
	struct http_conn *c = ctx;

	(void)fd;
	switch (c->state) {
	case HTTP_HANDSHAKE: conn_handshake(c); break;
	case HTTP_READ: conn_read(c); break;
	case HTTP_WRITE: conn_write(c); break;
	case HTTP_SOCKET: http_ws_ready(c, events); break;
	case HTTP_DRAIN: conn_drop_more(c); break;
	case HTTP_WAIT:
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			http_conn_end(c);
		break;
	}
}

static void conn_again(void *ctx)
{
	struct http_conn *c = ctx;

	if (c->dead)
		return;
	if (c->state == HTTP_SOCKET) {
		http_ws_ready(c, EPOLLIN);
		return;
	}
	if (c->state == HTTP_READ && c->in_len)
		conn_parse(c);
	if (!c->dead && c->state == HTTP_READ && c->tls && tls_conn_pending(c->tls))
		conn_read(c);
}

static void conn_late(void *ctx)
{
	struct http_conn *c = ctx;

	if (c->state == HTTP_SOCKET)
		http_ws_timer(c);
	else
		http_conn_end(c);
}

/* ---- new ones ---- */

/* Of those that have nothing to say yet, or do not take what they asked for, the oldest goes: they do not keep out who speaks. */
static bool make_place(struct http *h)
{
	struct http_conn *oldest = NULL;

	for (struct http_conn *c = h->conns; c; c = c->next) /* the newest comes first */
		if (c->state != HTTP_WAIT && c->state != HTTP_SOCKET)
			oldest = c;
	if (oldest)
		http_conn_end(oldest);
	return oldest;
}

static void conn_options(struct http_conn *c)
{
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);
	int on = 1, idle = HTTP_SECONDS, count = 3;

	c->peer.uid = (uid_t)-1;
	if (!c->tls) {
		(void)getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
		c->peer.uid = who.uid;
		return;
	}
	/* A host that went away without a word is found out. */
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void listen_ready(void *ctx, int fd, uint32_t events)
{
	struct http *h = ctx;
	struct http_conn *c;
	bool full;

	(void)events;
	if (h->n >= HTTP_CONNECTIONS_MAX && !make_place(h)) {
		(void)loop_fd_mod(h->listen, 0);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->http = h;
	loop_timer_init(&c->timer, h->loop, conn_late, c);
	loop_work_init(&c->again, conn_again, c);
	c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	full = c->fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
	if (c->fd >= 0 && h->tls)
		c->tls = tls_conn_create(h->tls, c->fd);
	if (c->fd < 0 || (h->tls && !c->tls) ||
	    loop_fd_add(h->loop, c->fd, EPOLLIN, conn_ready, c, &c->watch) < 0) {
		if (full)
			(void)loop_fd_mod(h->listen, 0); /* until one ends */
		conn_free(c);
		return;
	}
	conn_options(c);
	c->next = h->conns;
	h->conns = c;
	h->n++;
	http_conn_state(c, h->tls ? HTTP_HANDSHAKE : HTTP_READ);
}

int http_create(struct http **out, struct loop *l, int listen_fd, struct tls *tls, unsigned ping_s,
		const struct http_calls *calls, struct err *e)
{
	struct http *h = calloc(1, sizeof(*h));
	int r;

	*out = NULL;
	if (!h)
		return err_set(e, ENOMEM, "out of memory");
	h->loop = l;
	h->tls = tls;
	h->ping_s = ping_s;
	h->calls = *calls;
	loop_work_init(&h->bury, bury, h);
	r = loop_fd_add(l, listen_fd, EPOLLIN, listen_ready, h, &h->listen);
	if (r < 0) {
		free(h);
		return err_errno(e, -r, "cannot listen for clients");
	}
	*out = h;
	return 0;
}

int http_listen_again(struct http *h, int listen_fd)
{
	loop_fd_del(h->listen);
	h->listen = NULL;
	return loop_fd_add(h->loop, listen_fd, EPOLLIN, listen_ready, h, &h->listen);
}

void http_destroy(struct http *h)
{
	if (!h)
		return;
	loop_fd_del(h->listen);
	h->listen = NULL;
	while (h->conns) {
		struct http_conn *c = h->conns;

		h->conns = c->next;
		if (c->state == HTTP_SOCKET)
			http_ws_ended(c);
		conn_free(c);
	}
	loop_unpost(h->loop, &h->bury);
	bury(h);
	free(h);
}
