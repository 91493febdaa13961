/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.c - clients of the console socket.
 *
 * Clients are the user's own processes, but may be slow, silent or mad: a request line has a bound, there is a bound on
 * clients (more wait in the backlog), and every send is without waiting. A client that goes is unlinked at once and freed by a
 * post, as in vm/server.c.
 */
#include "keeper/hub.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/conlog.h"
#include "util/clock.h"
#include "util/opt.h"

#define CLIENTS_MAX 32u
#define LINE_MAX_BYTES 32u
#define PIECE 4096u
#define GOODBYE_NS CLOCK_NS_PER_S

struct client {
	struct hub *hub;
	struct client *next;
	int fd;
	struct loop_fd *watch;
	char line[LINE_MAX_BYTES];
	unsigned line_len;
	bool asked; /* its line was read */
	char answer[96];
	unsigned answer_len; /* to be sent before anything else */
	uint64_t at;	     /* next byte of the log for it */
	bool dead;
};

struct hub {
	struct loop *loop;
	struct conlog log;
	int listen_fd;
	struct loop_fd *listen;
	struct client *clients, *dead, *writer;
	unsigned n_clients;
	bool accept, local;
	struct loop_work bury;
	void (*typed)(void *ctx, const uint8_t *data, size_t len);
	void *ctx;
};

static void client_update(struct client *c);

static void client_free(struct client *c)
{
	loop_fd_del(c->watch);
	base_close_fd(&c->fd);
	free(c);
}

static void bury(void *ctx)
{
	struct hub *h = ctx;

	while (h->dead) {
		struct client *c = h->dead;

		h->dead = c->next;
		client_free(c);
	}
}

static void client_drop(struct client *c)
{
	struct hub *h = c->hub;

	if (c->dead)
		return;
	c->dead = true;
	for (struct client **p = &h->clients; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	if (h->writer == c)
		h->writer = NULL;
	loop_fd_del(c->watch);
	c->watch = NULL;
	c->next = h->dead;
	h->dead = c;
	h->n_clients--;
	loop_post(h->loop, &h->bury);
	(void)loop_fd_mod(h->listen, EPOLLIN);
}

static pid_t client_pid(const struct client *c)
{
	struct ucred who = {0};
	socklen_t len = sizeof(who);

	return getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? who.pid : 0;
}

/* Who watches now hears it between two bytes of the guest. */
static void displace(struct client *old, const struct client *by)
{
	if (old->answer_len == 0)
		old->answer_len =
			(unsigned)snprintf(old->answer, sizeof(old->answer),
					   "\r\n[lodge: process %d types now, you only watch]\r\n",
					   (int)client_pid(by));
	client_update(old);
}

/* -EINVAL: not a request. */
static int client_request(struct client *c)
{
	struct hub *h = c->hub;
	char *blank = strchr(c->line, ' ');
	uint64_t tail = UINT64_MAX;
	bool take, write;

	if (blank) {
		*blank = '\0';
		if (opt_parse_uint(blank + 1, 0, UINT64_MAX, &tail, NULL) < 0)
			return -EINVAL;
	}
	take = !strcmp(c->line, "take");
	write = take || !strcmp(c->line, "write");
	if (!write && strcmp(c->line, "watch") != 0)
		return -EINVAL;
	if (take && h->writer && !h->local) {
		displace(h->writer, c);
		h->writer = NULL;
	}
	if (write && !h->local && !h->writer)
		h->writer = c;
	c->asked = true;
	c->at = h->log.end - MIN(tail, h->log.end - h->log.begin);
	if (h->writer == c)
		strcpy(c->answer, "write\n");
	else
		sprintf(c->answer, "watch %d\n",
			h->local  ? (int)getpid() :
			h->writer ? (int)client_pid(h->writer) :
				    0);
	c->answer_len = (unsigned)strlen(c->answer);
	return 0;
}

/* Reads up to the line's end, not further: what follows is typed. */
static void client_line(struct client *c)
{
	while (!c->asked) {
		char ch;
		ssize_t n = recv(c->fd, &ch, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n == 1 && ch != '\n' && c->line_len + 1 < sizeof(c->line)) {
			c->line[c->line_len++] = ch;
			continue;
		}
		c->line[c->line_len] = '\0';
		if (n != 1 || ch != '\n' || client_request(c) < 0) {
			client_drop(c);
			return;
		}
	}
}

/* Sends what it can. False: the client is gone. */
static bool client_send(struct client *c)
{
	uint8_t piece[PIECE];
	const struct conlog *log = &c->hub->log;

	for (;;) {
		uint64_t before = c->at;
		const void *data = c->answer;
		size_t len = c->answer_len;
		ssize_t n;

		if (!len) {
			len = conlog_get(log, &c->at, piece, sizeof(piece));
			data = piece;
			if (c->at != before && before < log->begin) {
				c->answer_len = (unsigned)
					snprintf(c->answer, sizeof(c->answer),
						 "\r\n[lodge: %llu bytes are left out]\r\n",
						 (unsigned long long)(c->at - before));
				continue;
			}
			if (!len)
				return true;
		}
		n = send(c->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (data == piece) {
			c->at += (uint64_t)n;
		} else {
			c->answer_len -= (unsigned)n;
			memmove(c->answer, c->answer + n, c->answer_len);
		}
	}
}

static void client_update(struct client *c)
{
	bool writer = c->hub->writer == c;
	uint32_t want = 0;

	if (c->dead)
		return;
	if (!c->asked || !writer || c->hub->accept)
		want |= EPOLLIN;
	if (c->asked && (c->answer_len || c->at < c->hub->log.end))
		want |= EPOLLOUT;
	if (loop_fd_mod(c->watch, want) < 0)
		client_drop(c);
}

static void client_ready(void *ctx, int fd, uint32_t events)
{
	struct client *c = ctx;
	struct hub *h = c->hub;
	uint8_t in[HUB_TYPED];
	ssize_t n;

	if (!c->asked) {
		client_line(c);
	} else if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && (h->writer != c || h->accept)) {
		n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			client_drop(c);
			return;
		}
		if (n > 0 && h->writer == c)
			h->typed(h->ctx, in, (size_t)n);
	}
	if (!c->dead && c->asked && !client_send(c))
		client_drop(c);
	client_update(c);
}

static void listen_ready(void *ctx, int fd, uint32_t events)
{
	struct hub *h = ctx;
	struct client *c;

	(void)events;
	if (h->n_clients >= CLIENTS_MAX) {
		(void)loop_fd_mod(h->listen, 0);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->hub = h;
	c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (c->fd < 0 || loop_fd_add(h->loop, c->fd, EPOLLIN, client_ready, c, &c->watch) < 0) {
		if (c->fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			(void)loop_fd_mod(h->listen, 0); /* until one leaves */
		client_free(c);
		return;
	}
	c->next = h->clients;
	h->clients = c;
	h->n_clients++;
}

void hub_said(struct hub *h, const uint8_t *data, size_t len)
{
	struct client *c, *next;

	conlog_put(&h->log, data, len);
	for (c = h->clients; c; c = next) {
		next = c->next;
		if (c->asked && !client_send(c))
			client_drop(c);
		client_update(c);
	}
}

void hub_accept(struct hub *h, bool yes)
{
	h->accept = yes;
	if (h->writer)
		client_update(h->writer);
}

void hub_local_writer(struct hub *h, bool yes)
{
	h->local = yes;
}

int hub_create(struct hub **out, struct loop *l, int dir, int listen_fd,
	       void (*typed)(void *ctx, const uint8_t *data, size_t len), void *ctx, struct err *e)
{
	struct hub *h = calloc(1, sizeof(*h));
	int r;

	*out = NULL;
	if (!h) {
		close(listen_fd);
		return err_set(e, ENOMEM, "out of memory");
	}
	h->loop = l;
	h->listen_fd = listen_fd;
	h->typed = typed;
	h->ctx = ctx;
	h->accept = true;
	loop_work_init(&h->bury, bury, h);
	conlog_init(&h->log, dir, "console.log");
	r = loop_fd_add(l, listen_fd, EPOLLIN, listen_ready, h, &h->listen);
	if (r < 0) {
		hub_destroy(h);
		return err_errno(e, -r, "cannot serve the console");
	}
	*out = h;
	return 0;
}

int hub_again(struct hub *h, int listen_fd)
{
	loop_fd_del(h->listen);
	h->listen = NULL;
	base_close_fd(&h->listen_fd);
	h->listen_fd = listen_fd;
	conlog_again(&h->log);
	return loop_fd_add(h->loop, listen_fd, EPOLLIN, listen_ready, h, &h->listen);
}

/* Until all have read to the end, or the time is over. */
static void last_words(struct hub *h)
{
	uint64_t deadline = clock_ns() + GOODBYE_NS, now;

	for (struct client *c = h->clients; c; c = c->next) {
		while (c->asked && client_send(c) && (c->answer_len || c->at < h->log.end) &&
		       (now = clock_ns()) < deadline) {
			struct pollfd p = {.fd = c->fd, .events = POLLOUT};

			(void)poll(&p, 1, (int)((deadline - now) / CLOCK_NS_PER_MS) + 1);
		}
	}
}

void hub_destroy(struct hub *h)
{
	if (!h)
		return;
	last_words(h);
	while (h->clients) {
		struct client *c = h->clients;

		h->clients = c->next;
		client_free(c);
	}
	loop_unpost(h->loop, &h->bury);
	bury(h);
	loop_fd_del(h->listen);
	base_close_fd(&h->listen_fd);
	conlog_fini(&h->log);
	free(h);
}
