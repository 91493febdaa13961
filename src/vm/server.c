/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - control connections on the loop.
 *
 * Theory of operation. Each client is a SOCK_SEQPACKET connection. A message for it is sent at once if that works
 * without waiting; else it goes to the client's queue and EPOLLOUT takes it from there. While a queue is not empty no
 * request is read from that client, so requests are answered in order and a client that does not read its replies
 * stops only itself. A client whose queue is full is let go; the start connection, whose end would be the VM's,
 * loses the message instead.
 *
 * Requests come from whoever may connect: they are parsed by proto/, a bad one gets an error reply. Clients
 * are unlinked at once when they go, and freed by a post, so that no caller up the stack holds a dead pointer.
 */
#include "vm/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

#define CLIENTS_MAX 16u
#define QUEUE_MAX 64u
#define LISTEN_MAX 2u
#define GOODBYE_NS (500 * CLOCK_NS_PER_MS)

struct client {
	struct server *server;
	struct client *next;
	int fd;
	bool start;  /* the start connection: fd not ours */
	bool events; /* wants events */
	bool dead;   /* on the server's dead list */
	struct loop_fd *watch;
	json_t *queue[QUEUE_MAX]; /* ring */
	unsigned first, n_queued;
};

struct server {
	struct loop *loop;
	struct machine *machine; /* NULL: not serving yet */
	struct client *clients, *dead;
	struct client *start; /* NULL: gone */
	unsigned n_clients;
	struct loop_fd *listen[LISTEN_MAX];
	unsigned n_listen;
	int again_fd; /* as the keeper gave it when its folder was made anew; ours, -1: none */
	struct loop_fd *again;
	struct loop_work bury;
	void (*gone)(void *ctx);
	void *gone_ctx;
};

static void client_free(struct client *c)
{
	while (c->n_queued) {
		json_decref(c->queue[c->first]);
		c->first = (c->first + 1) % QUEUE_MAX;
		c->n_queued--;
	}
	if (!c->start)
		base_close_fd(&c->fd);
	free(c);
}

static void bury(void *ctx)
{
	struct server *s = ctx;

	while (s->dead) {
		struct client *c = s->dead;

		s->dead = c->next;
		client_free(c);
	}
}

static void listen_watch(struct server *s, uint32_t events)
{
	for (unsigned i = 0; i < s->n_listen; i++)
		(void)loop_fd_mod(s->listen[i], events);
	if (s->again)
		(void)loop_fd_mod(s->again, events);
}

static void client_drop(struct client *c)
{
	struct server *s = c->server;

	if (c->dead)
		return;
	c->dead = true;
	loop_fd_del(c->watch);
	c->watch = NULL;
	for (struct client **p = &s->clients; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	c->next = s->dead;
	s->dead = c;
	s->n_clients--;
	loop_post(s->loop, &s->bury);
	listen_watch(s, EPOLLIN); /* there may be an fd for another again */
	if (c->start) {
		s->start = NULL;
		s->gone(s->gone_ctx);
	}
}

/* What to wait for now. */
static void client_watch(struct client *c)
{
	uint32_t events = c->n_queued ? EPOLLOUT : c->server->machine ? EPOLLIN : 0;

	if (!c->dead && loop_fd_mod(c->watch, events) < 0)
		client_drop(c);
}

/* Sends or queues a message (borrowed). -EMSGSIZE: it is too large for the protocol; else the client's own affair. */
static int client_send(struct client *c, json_t *msg)
{
	int r;

	if (c->dead)
		return 0;
	if (c->n_queued == 0) {
		r = control_send(c->fd, msg, NULL, 0, CONTROL_NO_WAIT, NULL);
		if (r == 0 || r == -EMSGSIZE)
			return r;
		if (r != -EAGAIN) {
			client_drop(c);
			return 0;
		}
	}
	if (c->n_queued == QUEUE_MAX) {
		log_warn_limited("a control client does not read: %s",
				 c->start ? "a message is dropped" : "it is disconnected");
		if (!c->start)
			client_drop(c);
		return 0;
	}
	c->queue[(c->first + c->n_queued++) % QUEUE_MAX] = json_incref(msg);
	client_watch(c);
	return 0;
}

/* Sends queued messages, waiting until deadline_ns. */
static void client_flush(struct client *c, uint64_t deadline_ns)
{
	while (c->n_queued) {
		int r = control_send(c->fd, c->queue[c->first], NULL, 0, deadline_ns, NULL);

		if (r == -EAGAIN || r == -ETIMEDOUT)
			return;
		if (r < 0 && r != -EMSGSIZE) {
			client_drop(c);
			return;
		}
		json_decref(c->queue[c->first]);
		c->first = (c->first + 1) % QUEUE_MAX;
		c->n_queued--;
	}
}

/* ---- requests ---- */

static void listen_ready(void *ctx, int fd, uint32_t events);

static int set_nonblock(int fd)
{
	/* seccomp vm: fcntl arg1=F_GETFL/F_SETFL */
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* The descriptor is taken. */
static int listen_again(struct client *c, struct control_msg *msg, struct err *e)
{
	struct server *s = c->server;
	int r;

	if (!c->start || msg->n_fds != 1)
		return err_set(e, EINVAL, "listen is for the VM's keeper, with one socket");
	loop_fd_del(s->again);
	s->again = NULL;
	base_close_fd(&s->again_fd);
	s->again_fd = msg->fd[0];
	msg->fd[0] = -1;
	r = set_nonblock(s->again_fd);
	if (r == 0)
		r = loop_fd_add(s->loop, s->again_fd, EPOLLIN, listen_ready, s, &s->again);
	return r < 0 ? err_errno(e, -r, "cannot listen for control connections") : 0;
}

static int run_command(struct client *c, const struct control_request *rq, struct control_msg *msg,
		       json_t **result, struct err *e)
{
	struct machine *m = c->server->machine;
	const json_t *config = json_object_get(msg->json, "config");

	switch (rq->cmd) {
	case CONTROL_QUERY: return machine_query(m, result, e);
	case CONTROL_INFO: return machine_info(m, result, e);
	case CONTROL_PAUSE: return machine_pause(m, e);
	case CONTROL_RESUME: return machine_resume(m, e);
	case CONTROL_POWERDOWN: return machine_powerdown(m, e);
	case CONTROL_RESET: return machine_reset(m, e);
	case CONTROL_QUIT: return machine_quit(m, e);
	case CONTROL_DUMP: return machine_dump(m, rq->vcpu, result, e);
	case CONTROL_STATS: return machine_stats(m, result, e);
	case CONTROL_LOOK: return machine_look(m, result, e);
	case CONTROL_BALLOON: return machine_balloon(m, rq->has_size ? &rq->size : NULL, result, e);
	case CONTROL_SAVE:
		if (msg->n_fds != 1)
			return err_set(e, EINVAL, "save needs one open file with the request");
		return machine_save(m, msg->fd[0], rq->hold, result, e);
	case CONTROL_AGENT:
		if (msg->n_fds != 1)
			return err_set(e, EINVAL, "agent needs one open socket with the request");
		return machine_agent(m, &msg->fd[0], result, e);
	case CONTROL_EVENTS: c->events = true; return 0;
	case CONTROL_DISK_LIMIT: return machine_disk_limit(m, rq, e);
	case CONTROL_DISK_GROW: return machine_disk_grow(m, rq, result, e);
	case CONTROL_DISKS: return machine_disks(m, result, e);
	case CONTROL_NETS: return machine_nets(m, result, e);
	case CONTROL_NET_LIMIT: return machine_net_limit(m, rq, e);
	case CONTROL_NET_LINK: return machine_net_link(m, rq, e);
	case CONTROL_DISK_ADD: return machine_disk_add(m, config, msg->fd, msg->n_fds, e);
	case CONTROL_DISK_RM: return machine_disk_rm(m, rq, e);
	case CONTROL_NET_ADD: return machine_net_add(m, config, msg->fd, msg->n_fds, e);
	case CONTROL_NET_RM: return machine_net_rm(m, rq, e);
	case CONTROL_LISTEN: return listen_again(c, msg, e);
	case CONTROL_CMDS: break;
	}
	return err_set(e, EINVAL, "this VM does not know that command");
}

static void reply_error(struct client *c, uint64_t id, const struct err *e)
{
	_autojson json_t *reply = control_reply_error(id, e);

	if (!reply || client_send(c, reply) < 0)
		client_drop(c);
}

static void handle(struct client *c, struct control_msg *msg)
{
	struct control_request rq = {0};
	json_t *result = NULL;
	struct err e = {0};
	json_t *reply;

	if (control_parse_request(msg->json, &rq, &e) < 0 ||
	    run_command(c, &rq, msg, &result, &e) < 0) {
		reply_error(c, rq.id, &e);
		return;
	}
	reply = control_reply_ok(rq.id, result);
	if (!reply) {
		client_drop(c);
		return;
	}
	if (client_send(c, reply) == -EMSGSIZE) {
		err_set(&e, EMSGSIZE, "the answer is larger than a control message may be");
		reply_error(c, rq.id, &e);
	}
	json_decref(reply);
}

static void client_ready(void *ctx, int fd, uint32_t events)
{
	struct client *c = ctx;
	struct control_msg msg;
	struct err e = {0};
	int r;

	(void)events;
	if (c->n_queued) {
		client_flush(c, CONTROL_NO_WAIT);
		client_watch(c);
		return;
	}
	control_msg_init(&msg);
	r = control_recv(fd, &msg, CONTROL_NO_WAIT, &e);
	if (r == 1)
		handle(c, &msg);
	else if (r == -EINVAL || r == -EMSGSIZE)
		reply_error(c, 0, &e);
	else if (r != -EAGAIN)
		client_drop(c);
	control_msg_fini(&msg);
}

/* ---- connections ---- */

static int client_add(struct server *s, int fd, bool start, struct client **out)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->server = s;
	c->fd = fd;
	c->start = start;
	c->events = start;
	r = loop_fd_add(s->loop, fd, s->machine ? EPOLLIN : 0, client_ready, c, &c->watch);
	if (r < 0) {
		free(c);
		return r;
	}
	c->next = s->clients;
	s->clients = c;
	s->n_clients++;
	if (out)
		*out = c;
	return 0;
}

static void listen_ready(void *ctx, int fd, uint32_t events)
{
	struct server *s = ctx;
	int sock;

	(void)events;
	/* With all places taken, or no fd left, they wait in the backlog until a client leaves. */
	if (s->n_clients >= CLIENTS_MAX) {
		listen_watch(s, 0);
		return;
	}
	/* seccomp vm: accept4 */
	sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_warn_limited("cannot take a control connection (errno %d)", errno);
			listen_watch(s, 0);
		}
		return;
	}
	if (client_add(s, sock, false, NULL) < 0)
		close(sock);
}

int server_create(struct server **out, struct loop *l, int start_fd, void (*gone)(void *ctx),
		  void *ctx, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	*out = NULL;
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	s->loop = l;
	s->again_fd = -1;
	s->gone = gone;
	s->gone_ctx = ctx;
	loop_work_init(&s->bury, bury, s);
	r = set_nonblock(start_fd);
	if (r == 0)
		r = client_add(s, start_fd, true, &s->start);
	if (r < 0) {
		server_destroy(s);
		return err_errno(e, -r, "cannot serve the control socket");
	}
	*out = s;
	return 0;
}

int server_listen(struct server *s, int listen_fd, struct err *e)
{
	int r = s->n_listen < LISTEN_MAX ? set_nonblock(listen_fd) : -E2BIG;

	if (r == 0)
		r = loop_fd_add(s->loop, listen_fd, EPOLLIN, listen_ready, s,
				&s->listen[s->n_listen]);
	if (r < 0)
		return err_errno(e, -r, "cannot listen for control connections");
	s->n_listen++;
	return 0;
}

void server_serve(struct server *s, struct machine *m)
{
	s->machine = m;
	if (s->start)
		client_watch(s->start);
}

void server_event(struct server *s, enum control_event ev, json_t *details)
{
	_autojson json_t *msg = control_event(ev, details);
	struct client *c, *next;

	if (!msg) {
		log_error("out of memory for an event");
		return;
	}
	for (c = s->clients; c; c = next) {
		next = c->next; /* a client that goes now takes only itself off the list */
		if (c->events)
			(void)client_send(c, msg);
	}
}

void server_destroy(struct server *s)
{
	uint64_t deadline = clock_ns() + GOODBYE_NS;
	struct client *c, *next;

	if (!s)
		return;
	s->gone = NULL;
	for (c = s->clients; c; c = next) {
		next = c->next;
		loop_fd_del(c->watch);
		c->dead = true; /* so that a failing flush does not drop it */
		client_flush(c, deadline);
		client_free(c);
	}
	for (unsigned i = 0; i < s->n_listen; i++)
		loop_fd_del(s->listen[i]);
	loop_fd_del(s->again);
	base_close_fd(&s->again_fd);
	loop_unpost(s->loop, &s->bury);
	bury(s);
	free(s);
}
