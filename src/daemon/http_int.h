/* SPDX-License-Identifier: Apache-2.0 */
/* http_int.h - what http.c (connections, requests) and httpws.c (WebSockets) share. */
#ifndef LODGE_DAEMON_HTTP_INT_H
#define LODGE_DAEMON_HTTP_INT_H

#include "daemon/http.h"
#include "daemon/tls.h"

enum http_state {
	HTTP_HANDSHAKE, /* of TLS; a timer runs */
	HTTP_READ,	/* bytes of a request come; a timer runs */
	HTTP_WAIT,	/* it was given out: nothing is read, but a hang-up is seen */
	HTTP_WRITE,	/* the answer goes out; a timer runs */
	HTTP_SOCKET,	/* a WebSocket, until its end */
	HTTP_DRAIN, /* our last word is out; what still comes is dropped, for closing before would take it back */
};

struct http_ws {
	struct ws_reader reader;
	struct http_ws_calls calls;
	uint64_t heard_ns; /* when something came last */
	bool asked;	   /* a ping is out */
	bool paused;
	bool closing; /* our close is in the queue: only what goes out counts, and the owner is told */
	bool told;    /* the owner was */
	bool over; /* both closes are said, or they broke the rules: what still comes is dropped */
};

struct http_conn {
	struct http *http;
	struct http_conn *next;
	int fd;
	struct tls_conn *tls; /* NULL: bytes go as they are */
	struct http_peer peer;
	enum http_state state;
	struct loop_fd *watch;
	struct loop_timer timer;
	struct loop_work again; /* there is more to read than the socket tells */
	char *in;		/* HTTP_HEAD_MAX + HTTP_BODY_MAX + 1 bytes at most; grows */
	size_t in_len, in_cap;
	char *out;
	size_t out_len, out_at, out_cap;
	size_t used;	 /* bytes of `in` that the request has */
	char ws_key[28]; /* of the request; "": it is no greeting */
	bool keep;	 /* the connection stays after the answer */
	bool head;	 /* HEAD: no body in the answer */
	bool drain;	 /* not kept, and there may be more to come */
	bool dead;
	struct http_ws *ws;
};

struct http {
	struct loop *loop;
	struct loop_fd *listen;
	struct tls *tls;
	unsigned ping_s;
	struct http_calls calls;
	struct http_conn *conns, *dead;
	unsigned n;
	struct loop_work bury;
};

void http_conn_end(struct http_conn *c);
void http_conn_state(struct http_conn *c, enum http_state s);
/* What the state waits for, with what TLS does. */
void http_conn_watch(struct http_conn *c);
/* > 0; 0: the end; -EAGAIN; another -errno. */
ssize_t http_conn_recv(struct http_conn *c, void *data, size_t len);
/* Sends of `out` what goes. false: it has ended. */
bool http_conn_flush(struct http_conn *c);
/* `out` was our last word: what still comes is dropped, until their end or a few seconds later. */
void http_conn_drain(struct http_conn *c);

/* httpws.c */
void http_ws_ready(struct http_conn *c, uint32_t events);
void http_ws_timer(struct http_conn *c);
uint32_t http_ws_events(const struct http_conn *c);
/* Tells the owner, once. */
void http_ws_ended(struct http_conn *c);
void http_ws_free(struct http_conn *c);

#endif
