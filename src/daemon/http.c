/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - HTTP/1.1 connections.
 *
 * States of a connection: READ (bytes of a request come, a timer runs), WAIT (the request was given out; nothing is read, but a
 * hang-up is seen), WRITE (the answer goes out, a timer runs), then READ again or the end. A slow or silent client costs a buffer
 * until its timer ends it, or until its place is needed: then the oldest that has not said its request goes.
 */
#include "daemon/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/opt.h"

enum state { READ, WAIT, WRITE };

struct http_conn {
	struct http *http;
	struct http_conn *next;
	int fd;
	uid_t uid;
	enum state state;
	struct loop_fd *watch;
	struct loop_timer timer;
	char *in; /* HTTP_HEAD_MAX + HTTP_BODY_MAX + 1 bytes at most; grows */
	size_t in_len, in_cap;
	char *out;
	size_t out_len, out_at;
	size_t used; /* bytes of `in` that the request has */
	bool keep;   /* the connection stays after the answer */
	bool head;   /* HEAD: no body in the answer */
	bool dead;
};

struct http {
	struct loop *loop;
	struct loop_fd *listen;
	struct http_calls calls;
	struct http_conn *conns, *dead;
	unsigned n;
	struct loop_work bury;
};

static void conn_free(struct http_conn *c)
{
	loop_fd_del(c->watch);
	loop_timer_cancel(&c->timer);
	base_close_fd(&c->fd);
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

static void conn_end(struct http_conn *c)
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
	if (c->state == WAIT)
		h->calls.closed(h->calls.ctx, c);
}

static void conn_state(struct http_conn *c, enum state s)
{
	static const uint32_t events[] = {EPOLLIN, EPOLLRDHUP, EPOLLOUT};

	c->state = s;
	if (s == WAIT)
		loop_timer_cancel(&c->timer);
	else
		(void)loop_timer_set(&c->timer, clock_ns() + HTTP_SECONDS * CLOCK_NS_PER_S);
	if (loop_fd_mod(c->watch, events[s]) < 0)
		conn_end(c);
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
		   {431, "Request Header Fields Too Large"},
		   {500, "Internal Server Error"},
		   {501, "Not Implemented"},
		   {505, "HTTP Version Not Supported"},
		   {507, "Insufficient Storage"}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].status == status)
			return all[i].text;
	return "Status";
}

static void conn_write(struct http_conn *c)
{
	ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_end(c);
		return;
	}
	c->out_at += n > 0 ? (size_t)n : 0;
	if (c->out_at < c->out_len)
		return;
	free(c->out);
	c->out = NULL;
	if (!c->keep) {
		conn_end(c);
		return;
	}
	c->in_len -= c->used;
	memmove(c->in, c->in + c->used, c->in_len);
	c->in[c->in_len] = '\0';
	c->used = 0;
	conn_state(c, READ);
}

void http_answer(struct http_conn *c, unsigned status, json_t *body, const char *etag,
		 const char *location)
{
	_autofree char *text = body ? json_text(body) : NULL;
	size_t len = text ? strlen(text) + 1 : 0;
	char length[48] = "";
	int n;

	json_decref(body);
	if (status != 204) /* RFC 9110 §8.6 */
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", len);
	n = asprintf(&c->out,
		     "HTTP/1.1 %u %s\r\n%s%s%s%s%s%s%s%sCache-Control: no-store\r\n%s\r\n%s%s",
		     status, reason(status), len ? "Content-Type: application/json\r\n" : "",
		     etag ? "ETag: \"" : "", etag ? etag : "", etag ? "\"\r\n" : "",
		     location ? "Location: " : "", location ? location : "", location ? "\r\n" : "",
		     length, c->keep ? "" : "Connection: close\r\n", len && !c->head ? text : "",
		     len && !c->head ? "\n" : "");
	if (n < 0) {
		c->out = NULL;
		c->state = WRITE;
		conn_end(c);
		return;
	}
	c->out_len = (size_t)n;
	c->out_at = 0;
	conn_state(c, WRITE);
	if (!c->dead)
		conn_write(c);
}

static void refuse(struct http_conn *c, unsigned status, const char *what)
{
	c->keep = false;
	http_answer(c, status,
		    json_pack("{s:{s:s, s:s}}", "error", "id", "bad-request", "message", what),
		    NULL, NULL);
}

/* ---- requests ---- */

struct head {
	char *method, *path, *query;
	const char *if_match;
	uint64_t length;
	bool has_length, close;
};

/* One field; it ends the text at `line`. 0, or the status to refuse with. */
static unsigned parse_field(char *line, struct head *h)
{
	size_t n = strcspn(line, ": \t");
	char *value, *end;

	/* No name, a blank before the colon, or a folded line (RFC 9112 §5.1, §5.2). */
	if (!n || line[n] != ':')
		return 400;
	line[n] = '\0';
	value = line + n + 1 + strspn(line + n + 1, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (!strcasecmp(line, "Content-Length")) {
		if (h->has_length || opt_parse_uint(value, 0, UINT64_MAX, &h->length, NULL) < 0)
			return 400;
		h->has_length = true;
	} else if (!strcasecmp(line, "Transfer-Encoding")) {
		return 501;
	} else if (!strcasecmp(line, "Connection")) {
		h->close = !strcasecmp(value, "close");
	} else if (!strcasecmp(line, "If-Match")) {
		h->if_match = value;
	}
	return 0;
}

/* The head is text[0..len) with its last empty line cut off; it is cut up in place. */
static unsigned parse_head(char *text, struct head *h)
{
	char *line = text, *next, *version;
	unsigned r = 0;

	*h = (struct head){.if_match = ""};
	next = strstr(line, "\r\n");
	if (next)
		*next = '\0';
	h->method = line;
	h->path = strchr(line, ' ');
	version = h->path ? strchr(h->path + 1, ' ') : NULL;
	if (!version || h->path[1] != '/')
		return 400;
	*h->path++ = '\0';
	*version++ = '\0';
	if (strcmp(version, "HTTP/1.1") != 0)
		return strncmp(version, "HTTP/", 5) == 0 ? 505 : 400;
	for (const char *p = h->method; *p; p++)
		if (!isupper((unsigned char)*p))
			return 400;
	h->query = strchr(h->path, '?');
	if (h->query)
		*h->query++ = '\0';
	else
		h->query = h->path + strlen(h->path);
	while (!r && next) {
		line = next + 2;
		next = strstr(line, "\r\n");
		if (next)
			*next = '\0';
		r = parse_field(line, h);
	}
	return r;
}

/* Gives a request out if it is there whole. */
static void conn_parse(struct http_conn *c)
{
	static const char *const what[] = {"the request is not proper HTTP/1.1",
					   "the request is too large",
					   "a body needs a Content-Length"};
	char *end;
	size_t head_len;
	struct head h;
	struct http_request rq;
	_autofree char *head = NULL;
	unsigned r;

	c->in[c->in_len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (!end && (c->in_len >= HTTP_HEAD_MAX || strlen(c->in) < c->in_len)) {
		refuse(c, c->in_len >= HTTP_HEAD_MAX ? 431 : 400, what[c->in_len >= HTTP_HEAD_MAX]);
		return;
	}
	if (!end)
		return;
	head_len = (size_t)(end - c->in) + 4;
	if (head_len > HTTP_HEAD_MAX) {
		refuse(c, 431, what[1]);
		return;
	}
	head = strndup(c->in, head_len - 4);
	r = head ? parse_head(head, &h) : 500;
	if (r) {
		refuse(c, r, what[r == 501 ? 2 : 0]);
		return;
	}
	if (h.length > HTTP_BODY_MAX) {
		refuse(c, 413, what[1]);
		return;
	}
	if (c->in_len - head_len < h.length)
		return;
	c->used = head_len + (size_t)h.length;
	c->keep = !h.close;
	c->head = !strcmp(h.method, "HEAD");
	rq = (struct http_request){.conn = c,
				   .method = h.method,
				   .path = h.path,
				   .query = h.query,
				   .if_match = h.if_match,
				   .body = c->in + head_len,
				   .body_len = (size_t)h.length,
				   .uid = c->uid};
	conn_state(c, WAIT);
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
			conn_end(c);
			return;
		}
		c->in = more;
		c->in_cap = cap;
	}
	n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		conn_end(c);
		return;
	}
	if (n > 0) {
		c->in_len += (size_t)n;
		conn_parse(c);
	}
}

static void conn_ready(void *ctx, int fd, uint32_t events)
{
	struct http_conn *c = ctx;

	(void)fd;
	if (c->state == READ)
		conn_read(c);
	else if (c->state == WRITE)
		conn_write(c);
	else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn_end(c);
	/* What came behind the request that was answered. */
	while (!c->dead && c->state == READ && c->in_len && strstr(c->in, "\r\n\r\n")) {
		size_t before = c->in_len;

		conn_parse(c);
		if (c->state == READ && c->in_len == before)
			break;
	}
}

static void conn_late(void *ctx)
{
	conn_end(ctx);
}

/* Of those that have nothing to say yet the oldest goes: who is silent does not keep out who speaks. */
static bool make_place(struct http *h)
{
	struct http_conn *oldest = NULL;

	for (struct http_conn *c = h->conns; c; c = c->next) /* the newest comes first */
		if (c->state == READ)
			oldest = c;
	if (oldest)
		conn_end(oldest);
	return oldest;
}

static void listen_ready(void *ctx, int fd, uint32_t events)
{
	struct http *h = ctx;
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);
	struct http_conn *c;

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
	c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (c->fd < 0 || loop_fd_add(h->loop, c->fd, EPOLLIN, conn_ready, c, &c->watch) < 0) {
		if (c->fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			(void)loop_fd_mod(h->listen, 0); /* until one ends */
		conn_free(c);
		return;
	}
	(void)getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	c->uid = who.uid;
	c->next = h->conns;
	h->conns = c;
	h->n++;
	conn_state(c, READ);
}

int http_create(struct http **out, struct loop *l, int listen_fd, const struct http_calls *calls,
		struct err *e)
{
	struct http *h = calloc(1, sizeof(*h));
	int r;

	*out = NULL;
	if (!h)
		return err_set(e, ENOMEM, "out of memory");
	h->loop = l;
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

void http_destroy(struct http *h)
{
	if (!h)
		return;
	loop_fd_del(h->listen);
	h->listen = NULL;
	while (h->conns) {
		struct http_conn *c = h->conns;

		h->conns = c->next;
		conn_free(c);
	}
	loop_unpost(h->loop, &h->bury);
	bury(h);
	free(h);
}
