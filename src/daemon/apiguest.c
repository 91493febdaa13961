/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiguest.c - commands in guests and files of guests, as WebSockets; and as answers why a guest is as it is, what its agent says, and what the
 * host has.
 *
 * lodged does not speak to guests. A `talk` is a client and a program, `lodge exec` or `lodge cp`, that does so for it with --frames: its standard
 * input is a socket whose packets are the client's messages, and what it says goes to the client as it is (proto/frames.h).
 *
 *	client there, no program	it has not said yet what it wants: its first message is that
 *	both				messages and packets go to and fro. Nobody is ahead by much: packets are read while the client has less
 *					than QUEUE_LOW to take, and a message is read when the one before has gone
 *	program only			the client has left: the program hears a signal, ends the command in the guest and then itself
 *	client only			the program has ended, and so the client's connection does
 *
 * Likewise `lodge why` looks at a VM, `lodge guest` asks its agent and `lodge host` looks at the host, for a request that waits for their one packet.
 *
 * When lodged dies, its programs hear the same signal, and see that the socket is closed.
 */
#include "daemon/api_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/child.h"
#include "proto/frames.h"

#define TALKS_MAX 32u	 /* with their programs, also of clients that have left */
#define TALKS_VM_MAX 16u /* of one VM: a guest that does not answer keeps nobody from others */
#define QUEUE_LOW (16u * 1024)
#define WORDS_MAX (1024u + 12) /* of ExecStart, and ours */

struct talk {
	struct talk *next;
	struct api *api;
	struct http_conn *conn; /* NULL: the client has left */
	const struct api_field *first;
	char name[CONFIG_NAME_MAX + 1];
	enum {
		TALK_EXEC,
		TALK_FILE,
		TALK_WHY,
		TALK_GUEST,
		TALK_HOST
	} kind;	    /* from `why` on: an answer */
	bool begun; /* the first message was there */
	bool ended; /* the client was told the end */
	int fd, pidfd;
	pid_t pid; /* 0: no program */
	struct loop_fd *watch, *w_end;
	uint8_t *said; /* by the client, and not passed on yet */
	size_t said_len;
	struct loop_work leave; /* both have gone */
};

/* Is it about an answer, not a WebSocket? */
static bool talk_answers(const struct talk *t)
{
	return t->kind >= TALK_WHY;
}

static void talk_free(struct talk *t)
{
	for (struct talk **p = &t->api->talks; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			t->api->n_talks--;
			break;
		}
	loop_unpost(t->api->loop, &t->leave);
	loop_fd_del(t->watch);
	loop_fd_del(t->w_end);
	base_close_fd(&t->fd);
	base_close_fd(&t->pidfd);
	free(t->said);
	free(t);
}

static void talk_left(void *ctx)
{
	talk_free(ctx);
}

/* Called on anybody's stack: it is freed later. */
static void talk_settle(struct talk *t)
{
	if (!t->conn && !t->pid)
		loop_post(t->api->loop, &t->leave);
}

static void talk_update(struct talk *t)
{
	uint32_t want = 0;

	if (!t->watch)
		return;
	if (!t->conn || talk_answers(t) || http_ws_queued(t->conn) < QUEUE_LOW)
		want |= EPOLLIN;
	if (t->said)
		want |= EPOLLOUT;
	(void)loop_fd_mod(t->watch, want);
}

static void talk_hang_up(struct talk *t)
{
	loop_fd_del(t->watch);
	t->watch = NULL;
	base_close_fd(&t->fd);
}

/* The client's end, if it was not told one. */
static void talk_end(struct talk *t, unsigned status, const char *id, const struct err *e)
{
	json_t *error = json_pack("{s:s, s:s}", "id", id, "message", e->msg);
	_autojson json_t *j = NULL;
	_autofree char *text = NULL;

	if (error && *e->field)
		json_object_set_new(error, "field", json_string(e->field));
	j = json_pack("{s:i, s:o}", "status", (int)status, "error", error);
	text = j ? json_text(j) : NULL;
	if (t->conn && !t->ended && text)
		http_ws_send(t->conn, WS_TEXT, text, strlen(text));
	t->ended = true;
	if (t->conn)
		http_ws_close(t->conn, WS_NORMAL, "");
}

/* A program's error as a request's. */
static void answer_error(struct http_conn *c, const json_t *error, const struct err *e)
{
	static const struct {
		const char *id, *to;
		unsigned status;
	} all[] = {{"refused", "refused", 409},
		   {"busy", "busy", 409},
		   {"no-answer", "no-answer", 504},
		   {"timeout", "no-answer", 504}};
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *id = json_string_value(json_object_get(error, "id"));

	for (unsigned i = 0; id && message && i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].id, id)) {
			api_error(c, all[i].status, all[i].to, message, NULL);
			return;
		}
	api_error(c, 500, "internal", message ? message : e->msg, NULL);
}

/* The request's answer; NULL: there is none, and why. */
static void talk_answer(struct talk *t, json_t *result, const struct err *e)
{
	struct http_conn *c = t->conn;
	const json_t *error = json_object_get(result, "error");

	t->conn = NULL;
	if (c && (!result || error))
		answer_error(c, error, e);
	else if (c)
		http_answer(c, 200, json_incref(result), NULL, NULL);
	json_decref(result);
	talk_settle(t);
}

/* ---- the program's side ---- */

static void talk_pass_on(struct talk *t)
{
	ssize_t n = send(t->fd, t->said, t->said_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* A program that is gone is seen by what it says. */
	free(t->said);
	t->said = NULL;
	if (t->conn)
		http_ws_pause(t->conn, false);
}

static void talk_heard(struct talk *t)
{
	uint8_t packet[FRAME_MAX];
	ssize_t n = recv(t->fd, packet, sizeof(packet), MSG_DONTWAIT);
	struct err e = {0};

	/* A reset tells that the program did not read all that was for it; what it said comes after that. */
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNRESET))
		return;
	if (n <= 0) {
		talk_hang_up(t);
		err_set(&e, EIO, "the program that spoke to the guest has ended");
		if (talk_answers(t))
			talk_answer(t, NULL, &e);
		else
			talk_end(t, 125, "internal", &e);
		return;
	}
	if (!t->conn || t->ended)
		return;
	if (talk_answers(t)) {
		json_t *result = NULL;

		(void)json_parse((char *)packet + 1, (size_t)n - 1, FRAME_MAX, "what it says",
				 &result, &e);
		talk_answer(t, result, &e);
		return;
	}
	if (packet[0] == FRAME_END) {
		http_ws_send(t->conn, WS_TEXT, packet + 1, (size_t)n - 1);
		t->ended = true;
	} else if (packet[0] == FRAME_OUTPUT || packet[0] == FRAME_ERROR) {
		http_ws_send(t->conn, WS_BINARY, packet, (size_t)n);
	}
}

static void talk_ready(void *ctx, int fd, uint32_t events)
{
	struct talk *t = ctx;

	(void)fd;
	if (t->said && (events & EPOLLOUT))
		talk_pass_on(t);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		talk_heard(t);
	talk_update(t);
}

static void program_ended(void *ctx, int fd, uint32_t events)
{
	struct talk *t = ctx;

	(void)fd;
	(void)events;
	if (waitpid(t->pid, NULL, WNOHANG) != t->pid)
		return;
	t->pid = 0;
	loop_fd_del(t->w_end);
	t->w_end = NULL;
	base_close_fd(&t->pidfd);
	talk_settle(t);
}

static unsigned exec_words(const json_t *start, const char *argv[], unsigned n, const char *name)
{
	const json_t *words = json_object_get(start, "command");

	if (!json_is_true(json_object_get(start, "input")))
		argv[n++] = "--no-input";
	argv[n++] = "--";
	argv[n++] = name;
	for (size_t i = 0; i < json_array_size(words) && n + 1 < WORDS_MAX; i++)
		argv[n++] = json_string_value(json_array_get(words, i));
	return n;
}

static unsigned file_words(const json_t *start, const char *argv[], unsigned n, const char *path)
{
	bool write = !strcmp(json_string_value(json_object_get(start, "do")), "write");

	argv[n++] = "--";
	argv[n++] = write ? "-" : path;
	argv[n++] = write ? path : "-";
	return n;
}

static int talk_spawn(struct talk *t, const json_t *start, struct err *e)
{
	static const char *const numbers[] = {"timeout", "wait"};
	static const char *const commands[] = {"exec", "cp", "why", "guest", "host"};
	const char *argv[WORDS_MAX] = {"lodge", commands[t->kind], "--frames"};
	const json_t *mode = json_object_get(start, "mode");
	const char *path = json_string_value(json_object_get(start, "path"));
	char text[ARRAY_SIZE(numbers)][40], octal[24], place[CONFIG_NAME_MAX + 4200];
	int pair[2], null, r;
	unsigned n = 3;

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		const json_t *v = json_object_get(start, numbers[i]);

		if (!v)
			continue;
		snprintf(text[i], sizeof(text[i]), "--%s=%lld", numbers[i],
			 (long long)json_integer_value(v));
		argv[n++] = text[i];
	}
	if (mode) {
		snprintf(octal, sizeof(octal), "--mode=%o", (unsigned)json_integer_value(mode));
		argv[n++] = octal;
	}
	snprintf(place, sizeof(place), "%s:%s", t->name, path ? path : "");
	if (t->kind == TALK_EXEC)
		n = exec_words(start, argv, n, t->name);
	else if (t->kind == TALK_FILE)
		n = file_words(start, argv, n, place);
	else if (t->kind == TALK_WHY || t->kind == TALK_GUEST)
		argv[n++] = t->name;
	if (t->kind == TALK_GUEST)
		argv[n++] = json_string_value(json_object_get(start, "command"));
	argv[n] = NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a socket");
	t->pid = fork();
	if (t->pid == 0) {
		null = open("/dev/null", O_RDWR);
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		/* What lodged has of the VM is part of the reasons. */
		child_exec(vms_program(t->api->vms), argv, "/", t->kind != TALK_WHY,
			   (int[]){pair[1], null, STDERR_FILENO});
	}
	r = t->pid < 0 ? -errno : 0;
	close(pair[1]);
	t->fd = pair[0];
	if (r < 0) {
		t->pid = 0;
		return err_errno(e, -r, "cannot start a process");
	}
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	r = t->pidfd < 0 ?
		    -errno :
		    loop_fd_add(t->api->loop, t->pidfd, EPOLLIN, program_ended, t, &t->w_end);
	if (r == 0)
		r = loop_fd_add(t->api->loop, t->fd, EPOLLIN, talk_ready, t, &t->watch);
	if (r == 0)
		return 0;
	if (!t->w_end) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
		t->pid = 0;
	}
	return err_errno(e, -r, "cannot watch a process");
}

/* ---- the client's side ---- */

/* Its first message: what it wants. */
static void talk_begin(struct talk *t, const uint8_t *data, size_t len)
{
	_autojson json_t *start = NULL;
	struct err e = {0};

	t->begun = true;
	if (json_parse((const char *)data, len, HTTP_MESSAGE_MAX, "the first message", &start, &e) ||
	    apicheck_body(t->first, start, &e)) {
		talk_end(t, 2, "bad-request", &e);
	} else if (!vms_run(t->api->vms, t->name, &e)) { /* it was, at the greeting */
		*e.field = '\0';
		talk_end(t, 125, "busy", &e);
	} else if (talk_spawn(t, start, &e) < 0) {
		talk_hang_up(t);
		talk_end(t, 125, "internal", &e);
	}
}

static void talk_message(void *ctx, const uint8_t *data, size_t len)
{
	struct talk *t = ctx;
	struct err e = {0};

	if (!t->begun) {
		talk_begin(t, data, len);
		return;
	}
	if (!t->watch || !len || data[0] != FRAME_INPUT)
		return;
	t->said = malloc(len);
	if (!t->said) { /* input with a hole in it would be worse than none */
		talk_hang_up(t);
		err_set(&e, ENOMEM, "out of memory");
		talk_end(t, 125, "internal", &e);
		return;
	}
	memcpy(t->said, data, len);
	t->said_len = len;
	http_ws_pause(t->conn, true);
	talk_pass_on(t);
	talk_update(t);
}

static void talk_drained(void *ctx)
{
	talk_update(ctx);
}

static void talk_closed(void *ctx)
{
	struct talk *t = ctx;

	t->conn = NULL;
	if (t->pid)
		kill(t->pid, SIGTERM);
	talk_hang_up(t);
	talk_settle(t);
}

/* NULL: the call is answered. */
static struct talk *new_talk(struct api_call *call, unsigned kind)
{
	struct talk *t;
	unsigned here = 0;

	for (t = call->api->talks; t; t = t->next)
		here += *call->param && !strcmp(t->name, call->param);
	if (here >= TALKS_VM_MAX || call->api->n_talks >= TALKS_MAX) {
		api_error(call->conn, 503, "too-many",
			  here >= TALKS_VM_MAX ?
				  "too many commands and copies go on in this guest already: end one" :
				  "too many commands and copies go on in guests already: end one",
			  NULL);
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	if (!t) {
		api_error(call->conn, 500, "internal", "out of memory", NULL);
		return NULL;
	}
	*t = (struct talk){.next = call->api->talks,
			   .api = call->api,
			   .conn = call->conn,
			   .first = call->first,
			   .kind = kind,
			   .fd = -1,
			   .pidfd = -1};
	snprintf(t->name, sizeof(t->name), "%.64s", call->param);
	loop_work_init(&t->leave, talk_left, t);
	call->api->talks = t;
	call->api->n_talks++;
	return t;
}

static void open_talk(struct api_call *call, unsigned kind)
{
	struct http_ws_calls calls = {.message = talk_message,
				      .drained = talk_drained,
				      .closed = talk_closed};
	struct err e = {0};

	if (!vms_run(call->api->vms, call->param, &e)) {
		api_err(call->conn, &e);
		return;
	}
	calls.ctx = new_talk(call, kind);
	if (calls.ctx)
		(void)http_websocket(call->conn, &calls); /* else `closed` drops it */
}

void api_execInGuest(struct api_call *call)
{
	open_talk(call, TALK_EXEC);
}

void api_copyFile(struct api_call *call)
{
	open_talk(call, TALK_FILE);
}

/* Has a program say the answer. */
static void answer_by(struct api_call *call, unsigned kind)
{
	struct talk *t = api_may_hold(call) ? new_talk(call, kind) : NULL;
	struct err e = {0};

	if (t && talk_spawn(t, call->body, &e) < 0) {
		talk_hang_up(t);
		talk_answer(t, NULL, &e);
	}
}

void api_explainVm(struct api_call *call)
{
	struct err e = {0};
	_autojson json_t *there = vms_get(call->api->vms, call->param, &e);

	if (there)
		answer_by(call, TALK_WHY);
	else
		api_err(call->conn, &e);
}

void api_askGuest(struct api_call *call)
{
	struct err e = {0};

	if (vms_run(call->api->vms, call->param, &e))
		answer_by(call, TALK_GUEST);
	else
		api_err(call->conn, &e);
}

void api_getHost(struct api_call *call)
{
	answer_by(call, TALK_HOST);
}

void apiguest_closed(struct api *a, const struct http_conn *conn)
{
	struct talk *t = a->talks;

	while (t && t->conn != conn)
		t = t->next;
	if (t)
		talk_closed(t);
}

void apiguest_end(struct api *a)
{
	while (a->talks)
		talk_free(a->talks);
}
