/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - HTTP/1.1 on a listening unix socket: requests in, answers out. Loop thread only.
 *
 * The subset that an API needs, and strictly (RFC 9112): one request at a time on a connection (more wait in the socket), bodies
 * with a Content-Length only, everything bounded. What is outside of it is answered and the connection closed. A request
 * is answered once, now or later; the connection may go meanwhile, which `closed` tells.
 */
#ifndef LODGE_DAEMON_HTTP_H
#define LODGE_DAEMON_HTTP_H

#include <sys/types.h>

#include "util/json.h"
#include "util/loop.h"

#define HTTP_HEAD_MAX 16384u
#define HTTP_BODY_MAX (256u * 1024)
#define HTTP_CONNECTIONS_MAX 64u
#define HTTP_SECONDS \
	30u /* for one request to arrive, for an answer to be taken, and between requests */

struct http;
struct http_conn;

struct http_request {
	struct http_conn *conn;
	const char *method, *path, *query; /* query "" if there is none */
	const char *if_match;		   /* "" likewise */
	const char *body;
	size_t body_len;
	uid_t uid; /* of who connected */
};

struct http_calls {
	void *ctx;
	/* The request is valid until it returns; the connection until it is answered or closed. */
	void (*request)(void *ctx, const struct http_request *rq);
	/* A connection whose request was not answered yet is gone. */
	void (*closed)(void *ctx, struct http_conn *conn);
};

/* listen_fd stays the caller's. */
int http_create(struct http **out, struct loop *l, int listen_fd, const struct http_calls *calls,
		struct err *e);
void http_destroy(struct http *h); /* accepts NULL */

/* `body` (consumed, NULL: none); etag and location NULL: none. */
void http_answer(struct http_conn *c, unsigned status, json_t *body, const char *etag,
		 const char *location);

#endif
