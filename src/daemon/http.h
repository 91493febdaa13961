/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - HTTP/1.1 and WebSocket on a listening socket, a unix one or TCP with TLS: requests in, answers out. Loop thread only.
 *
 * The subset that an API needs, and strictly (RFC 9112): one request at a time on a connection (more wait in the socket), bodies
 * with a Content-Length only, everything bounded. What is outside of it is answered and the connection closed. A request
 * is answered once, now or later; the connection may go meanwhile, which `closed` tells. Or it becomes a WebSocket (RFC 6455).
 */
#ifndef LODGE_DAEMON_HTTP_H
#define LODGE_DAEMON_HTTP_H

#include <sys/types.h>

#include "proto/ws.h"
#include "util/json.h"
#include "util/loop.h"

#define HTTP_HEAD_MAX 16384u
#define HTTP_BODY_MAX (256u * 1024)
#define HTTP_CONNECTIONS_MAX 64u
#define HTTP_HELD_MAX 48u /* of these, that wait for something to happen, WebSockets too */
#define HTTP_SECONDS \
	30u /* for one request to arrive, for an answer to be taken, and between requests */
#define HTTP_HANDSHAKE_SECONDS 10u	     /* of TLS */
#define HTTP_ANSWERS_MAX (16u * 1024 * 1024) /* bytes of all that wait to be taken */
#define HTTP_MESSAGE_MAX (64u * 1024)	     /* of a WebSocket's client */
#define HTTP_QUEUE_MAX (256u * 1024)	     /* for a WebSocket's client, that it has not taken */

struct http;
struct http_conn;
struct tls;

#define HTTP_FINGERPRINT_MAX 72u

/* Who is at the other end: of a unix socket the user, of TLS the certificate ("sha256:" and hexadecimal digits). */
struct http_peer {
	uid_t uid;				/* (uid_t)-1 with TLS */
	char certificate[HTTP_FINGERPRINT_MAX]; /* "" without */
};

struct http_request {
	struct http_conn *conn;
	const char *method, *path, *query; /* query "" if there is none */
	const char *if_match;		   /* "" likewise */
	const char *host, *origin;	   /* likewise */
	const char *body;
	size_t body_len;
	bool ws; /* it wants to become a WebSocket: http_websocket() */
	const struct http_peer *peer;
};

struct http_calls {
	void *ctx;
	/* The request is valid until it returns; the connection until it is answered or closed. */
	void (*request)(void *ctx, const struct http_request *rq);
	/* A connection whose request was not answered yet is gone. */
	void (*closed)(void *ctx, struct http_conn *conn);
};

/* listen_fd and tls (NULL: none) stay the caller's. ping_s: a WebSocket that says nothing is asked, and ended after as long again. */
int http_create(struct http **out, struct loop *l, int listen_fd, struct tls *tls, unsigned ping_s,
		const struct http_calls *calls, struct err *e);
/* Another socket in its place; the caller closes the old one. Connections stay. 0 or -errno. */
int http_listen_again(struct http *h, int listen_fd);
void http_destroy(struct http *h); /* accepts NULL */

/* May one more connection wait for something to happen? Otherwise answer at once. */
bool http_may_hold(const struct http_conn *c);
/* `body` (consumed, NULL: none); etag and location NULL: none. */
void http_answer(struct http_conn *c, unsigned status, json_t *body, const char *etag,
		 const char *location);
/* Bytes as they are. */
void http_answer_bytes(struct http_conn *c, const void *data, size_t len);

/* ---- WebSocket ---- */

struct http_ws_calls {
	void *ctx;
	/* Text or binary. Valid until it returns. */
	void (*message)(void *ctx, const uint8_t *data, size_t len);
	/* All that was sent has been taken. */
	void (*drained)(void *ctx);
	/* It is gone, or about to: nothing is called any more, nothing may be sent. */
	void (*closed)(void *ctx);
};

/* Answers the request by becoming one. false: out of memory, the connection ends (and `closed` of http_calls comes). */
bool http_websocket(struct http_conn *c, const struct http_ws_calls *calls);
/* Never calls back. More than HTTP_QUEUE_MAX that is not taken: the connection is closed with a reason, soon. */
void http_ws_send(struct http_conn *c, enum ws_op op, const void *data, size_t len);
/* How many bytes wait to be taken. */
size_t http_ws_queued(const struct http_conn *c);
/* Takes no messages meanwhile. */
void http_ws_pause(struct http_conn *c, bool yes);
/* Says why, and ends. `closed` comes later. */
void http_ws_close(struct http_conn *c, unsigned code, const char *reason);

#endif
