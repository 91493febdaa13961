/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apilive.c - VMs that run: requests to the VM process, its log, its console.
 *
 * A `live` is one connection to a VM's process or keeper on behalf of one of ours. Two kinds:
 *
 *   asking   one or more requests go to the control socket at once (proto/control.h); when the last answer is there, or after
 *            ANSWER_SECONDS, the request is answered. What the process sends is taken as hostile: only answers to our numbers count.
 *   console  the request became a WebSocket, the other side is the keeper's console socket (keeper/hub.h). Neither side holds more than a
 *            piece: the guest's bytes are read while the client has less than QUEUE_LOW to take, and the keeper leaves out what
 *            its log does not keep any more; what is typed is one message, and no further one is read until it is gone.
 */
#include "daemon/api_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/events.h"
#include "proto/control.h"
#include "util/clock.h"

#define ANSWER_SECONDS 10u
#define ASKED_MAX 4u
#define QUEUE_LOW (16u * 1024)
#define PIECE 4096u
#define HELLO_MAX 64u /* of the keeper */
#define LOGS_MAX (1024u * 1024)

struct live {
	struct live *next;
	struct api *api;
	struct http_conn *conn;
	int fd;
	struct loop_fd *watch;
	struct loop_timer timer;
	/* asking */
	bool opens;		   /* the keeper is to open something */
	bool nothing;		   /* of the answer, only that it is there */
	unsigned asked, got, need; /* requests; answers; the first so many must be good */
	int until;		   /* an event is waited for, too; -1: none */
	const char *device;	   /* "disk" or "net", that it tells of; and which */
	char id[CONFIG_ID_MAX + 1];
	json_t *result;
	struct err err;
	/* console */
	bool greeted, types;
	char hello[HELLO_MAX];
	unsigned hello_len;
	uint8_t *typed;
	size_t typed_at, typed_len;
};

static void live_drop(struct live *v)
{
	for (struct live **p = &v->api->live; *p; p = &(*p)->next)
		if (*p == v) {
			*p = v->next;
			break;
		}
	loop_fd_del(v->watch);
	loop_timer_cancel(&v->timer);
	base_close_fd(&v->fd);
	json_decref(v->result);
	free(v->typed);
	free(v);
}

void apilive_closed(struct api *a, const struct http_conn *conn)
{
	struct live *v = a->live;

	while (v && v->conn != conn)
		v = v->next;
	if (v)
		live_drop(v);
}

void apilive_end(struct api *a)
{
	while (a->live)
		live_drop(a->live);
}

/* Connected to `socket` of a VM that runs; NULL: the call is answered. */
static struct live *live_open(struct api_call *call, const char *name, int type,
			      void (*ready)(void *ctx, int fd, uint32_t events))
{
	struct live *v = calloc(1, sizeof(*v));
	const struct rundir *run;
	struct err e = {0}, why = {0};
	int r = v ? 0 : -ENOMEM;

	run = r == 0 ? vms_run(call->api->vms, call->param, &e) : NULL;
	if (!run) {
		free(v);
		api_err(call->conn, &e);
		return NULL;
	}
	v->api = call->api;
	v->conn = call->conn;
	v->until = -1;
	v->fd = r = rundir_connect(run, name, type | SOCK_NONBLOCK, &why);
	if (r >= 0)
		r = loop_fd_add(call->api->loop, v->fd, EPOLLIN, ready, v, &v->watch);
	if (r < 0) {
		bool none = r == -ENOENT && !strcmp(name, "console");

		err_set(&e, -r,
			none ? "the console of \"%s\" is elsewhere" : "\"%s\" does not answer",
			call->param);
		err_field(&e, none ? "no-console" : "no-answer", NULL);
		base_close_fd(&v->fd);
		free(v);
		api_err(call->conn, &e);
		return NULL;
	}
	v->next = call->api->live;
	call->api->live = v;
	return v;
}

/* ---- asking ---- */

/* The id of an error that the VM process or its keeper gave. */
static const char *error_id(const struct live *v, int code)
{
	switch (code) {
	case ENOENT:
	case ENODEV: return "not-found";
	case EBUSY: return "busy";
	case EINVAL:
	case ERANGE:
	case ENOSPC:
	case EOPNOTSUPP: return "bad-value";
	case ETIMEDOUT: return "no-answer";
	/* The keeper's reasons are the host's, about what was to be opened. */
	default: return v->opens ? "bad-value" : "internal";
	}
}

static void ask_end(struct live *v)
{
	struct http_conn *c = v->conn;
	json_t *result = v->result;
	struct err e = v->err;
	bool nothing = v->nothing;
	const char *id = error_id(v, e.code);

	v->result = NULL;
	live_drop(v);
	if (e.code) {
		*e.field = '\0';
		err_field(&e, id, NULL);
		json_decref(result);
		api_err(c, &e);
	} else if (nothing) {
		json_decref(result);
		http_answer(c, 204, NULL, NULL, NULL);
	} else {
		http_answer(c, 200, result, NULL, NULL);
	}
}

static void ask_late(void *ctx)
{
	struct live *v = ctx;

	if (v->until >= 0 && v->got == v->asked)
		err_set(&v->err, ETIMEDOUT,
			"the guest has not let go of %s yet: it is gone when it does, or at a reset; by force what is behind it is closed at once",
			v->id);
	else
		err_set(&v->err, ETIMEDOUT, "the VM's process does not answer");
	ask_end(v);
}

/* Is it what is waited for? */
static bool ask_event(const struct live *v, const json_t *msg)
{
	const char *id = v->until < 0 ? NULL : json_string_value(json_object_get(msg, v->device));

	return id && control_parse_event(msg) == v->until && !strcmp(id, v->id);
}

static void ask_ready(void *ctx, int fd, uint32_t events)
{
	struct live *v = ctx;
	struct control_msg m;
	json_t *result = NULL;
	struct err e = {0};
	int r;

	(void)events;
	control_msg_init(&m);
	r = control_recv(fd, &m, CONTROL_NO_WAIT, NULL);
	if (r > 0) {
		r = control_parse_reply(m.json, v->got + 1, &result, &e);
		if (r != 0)
			v->got++;
		if (r > 0)
			json_object_update(v->result, result);
		else if (r < 0 && v->got <= v->need && !v->err.code)
			v->err = e;
		else if (r == 0 && ask_event(v, m.json))
			v->until = -1;
	} else if (r == 0 || (r != -EAGAIN && r != -EINVAL && r != -EMSGSIZE)) {
		if (v->opens)
			err_set(&v->err, ETIMEDOUT,
				"what is to be added could not be opened in time, or the VM has just ended");
		else
			err_set(&v->err, EBUSY, "the VM has just ended");
		v->got = v->asked;
	}
	control_msg_fini(&m);
	if (v->got == v->asked && (v->until < 0 || v->err.code))
		ask_end(v);
}

/* Asks at `socket`. `more`: members of the last request. The first `need` must be answered well. NULL: the call is answered. */
static struct live *ask_at(struct api_call *call, const char *socket, const enum control_cmd *cmds,
			   unsigned n, unsigned need, const json_t *more, bool nothing)
{
	struct live *v;
	int r = 0;

	if (!api_may_hold(call))
		return NULL;
	v = live_open(call, socket, SOCK_SEQPACKET, ask_ready);
	if (!v)
		return NULL;
	v->asked = n;
	v->need = need;
	v->nothing = nothing;
	v->result = json_object();
	loop_timer_init(&v->timer, v->api->loop, ask_late, v);
	for (unsigned i = 0; i < n && r == 0; i++) {
		_autojson json_t *req = control_request_json(i + 1, cmds[i]);

		if (i == n - 1 && more && req)
			json_object_update(req, (json_t *)(uintptr_t)more);
		r = control_send(v->fd, req, NULL, 0, CONTROL_NO_WAIT, &v->err);
	}
	/* By the timer also what went wrong already. */
	(void)loop_timer_set(&v->timer, r < 0 ? 0 : clock_ns() + ANSWER_SECONDS * CLOCK_NS_PER_S);
	return v;
}

static void ask(struct api_call *call, const enum control_cmd *cmds, unsigned n, unsigned need,
		const json_t *more, bool nothing)
{
	(void)ask_at(call, "control", cmds, n, need, more, nothing);
}

static void tell(struct api_call *call, enum control_cmd cmd)
{
	ask(call, &cmd, 1, 1, call->body, true);
}

void api_pauseVm(struct api_call *call)
{
	tell(call, CONTROL_PAUSE);
}

void api_resumeVm(struct api_call *call)
{
	tell(call, CONTROL_RESUME);
}

void api_resetVm(struct api_call *call)
{
	tell(call, CONTROL_RESET);
}

void api_powerdownVm(struct api_call *call)
{
	tell(call, CONTROL_POWERDOWN);
}

void api_limitDisk(struct api_call *call)
{
	tell(call, CONTROL_DISK_LIMIT);
}

void api_limitNet(struct api_call *call)
{
	tell(call, CONTROL_NET_LIMIT);
}

void api_linkNet(struct api_call *call)
{
	tell(call, CONTROL_NET_LINK);
}

/* The keeper opens what is behind a device: lodged may not. */
static void add_device(struct api_call *call, enum control_cmd cmd, const char *key)
{
	const char *folder = json_string_value(json_object_get(call->body, "folder"));
	_autojson json_t *more = json_pack("{s:O, s:s}", "word", json_object_get(call->body, key),
					   "folder", folder ? folder : "/");

	struct live *v = ask_at(call, "plug", &cmd, 1, 1, more, false);

	if (v)
		v->opens = true;
}

static void remove_device(struct api_call *call, enum control_cmd cmd, const char *key,
			  enum control_event gone)
{
	const enum control_cmd cmds[] = {CONTROL_EVENTS, cmd};
	struct live *v = ask_at(call, "control", cmds, 2, 2, call->body, true);

	if (!v || json_is_true(json_object_get(call->body, "force")))
		return;
	v->until = (int)gone;
	v->device = key;
	snprintf(v->id, sizeof(v->id), "%s", json_string_value(json_object_get(call->body, key)));
}

void api_addDisk(struct api_call *call)
{
	add_device(call, CONTROL_DISK_ADD, "disk");
}

void api_addNet(struct api_call *call)
{
	add_device(call, CONTROL_NET_ADD, "net");
}

void api_removeDisk(struct api_call *call)
{
	remove_device(call, CONTROL_DISK_RM, "disk", CONTROL_EV_DISK_REMOVED);
}

void api_removeNet(struct api_call *call)
{
	remove_device(call, CONTROL_NET_RM, "net", CONTROL_EV_NET_REMOVED);
}

void api_growDisk(struct api_call *call)
{
	enum control_cmd cmd = CONTROL_DISK_GROW;

	ask(call, &cmd, 1, 1, call->body, false);
}

void api_setBalloon(struct api_call *call)
{
	enum control_cmd cmd = CONTROL_BALLOON;

	ask(call, &cmd, 1, 1, call->body, false);
}

void api_getStats(struct api_call *call)
{
	enum control_cmd cmd = CONTROL_STATS;

	ask(call, &cmd, 1, 1, NULL, false);
}

void api_getInfo(struct api_call *call)
{
	static const enum control_cmd cmds[ASKED_MAX] = {CONTROL_INFO, CONTROL_DISKS, CONTROL_NETS,
							 CONTROL_BALLOON};

	ask(call, cmds, ASKED_MAX, 1, NULL, false);
}

/* ---- the log ---- */

static size_t read_log(const struct rundir *run, const char *name, uint8_t *to, size_t max)
{
	_autoclose int fd = run->dir < 0 ? -1 :
					   openat(run->dir, name,
						  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	size_t n = 0;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	while (n < max && (got = pread(fd, to + n, max - n, (off_t)n)) > 0)
		n += (size_t)got;
	return n;
}

void api_getLogs(struct api_call *call)
{
	const json_t *tail = json_object_get(call->query, "tail");
	_autofree uint8_t *text = malloc(2 * (size_t)LOGS_MAX);
	_autojson json_t *there = NULL;
	struct rundir run;
	struct err e = {0};
	size_t n = 0, wanted = tail ? (size_t)json_integer_value(tail) : SIZE_MAX;

	there = vms_get(call->api->vms, call->param, &e);
	if (!there || !text) {
		api_err(call->conn, &e);
		return;
	}
	rundir_init(&run);
	if (rundir_open(&run, call->param, NULL) == 0) {
		n = read_log(&run, "console.log.old", text, LOGS_MAX);
		n += read_log(&run, "console.log", text + n, LOGS_MAX);
	}
	rundir_close(&run);
	wanted = MIN(wanted, n);
	http_answer_bytes(call->conn, text + n - wanted, wanted);
}

/* ---- the console ---- */

static void console_update(struct live *v)
{
	uint32_t want = 0;

	if (!v->greeted || http_ws_queued(v->conn) < QUEUE_LOW)
		want |= EPOLLIN;
	if (v->typed_at < v->typed_len)
		want |= EPOLLOUT;
	(void)loop_fd_mod(v->watch, want);
}

static void console_end(struct live *v, unsigned code, const char *why)
{
	loop_fd_del(v->watch);
	v->watch = NULL;
	base_close_fd(&v->fd);
	http_ws_close(v->conn, code, why);
}

/* The keeper's first line, "write" or "watch PID", as {"mode":..,"writer":PID}; then come bytes. */
static void console_greet(struct live *v)
{
	_autojson json_t *j = NULL;
	_autofree char *text = NULL;
	char ch;
	ssize_t n;

	while ((n = recv(v->fd, &ch, 1, MSG_DONTWAIT)) == 1 && ch != '\n')
		if (v->hello_len + 1 < HELLO_MAX)
			v->hello[v->hello_len++] = ch;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != 1) {
		console_end(v, WS_GOING_AWAY, "the VM has ended");
		return;
	}
	v->greeted = true;
	j = !strcmp(v->hello, "write") ? json_pack("{s:s}", "mode", "write") :
					 json_pack("{s:s, s:i}", "mode", "watch", "writer",
						   v->hello_len > 6 ? atoi(v->hello + 6) : 0);
	text = j ? json_text(j) : NULL;
	if (text)
		http_ws_send(v->conn, WS_TEXT, text, strlen(text));
}

static void console_typing(struct live *v)
{
	while (v->typed_at < v->typed_len) {
		ssize_t n = send(v->fd, v->typed + v->typed_at, v->typed_len - v->typed_at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) /* a keeper that is gone is seen by what it says */
			return;
		v->typed_at += (size_t)n;
	}
	free(v->typed);
	v->typed = NULL;
	v->typed_at = v->typed_len = 0;
	http_ws_pause(v->conn, false);
}

static void console_ready(void *ctx, int fd, uint32_t events)
{
	struct live *v = ctx;
	uint8_t piece[PIECE];
	ssize_t n;

	if (v->typed && (events & EPOLLOUT))
		console_typing(v);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		console_update(v);
		return;
	}
	if (!v->greeted) {
		console_greet(v);
	} else {
		n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (n > 0)
			http_ws_send(v->conn, WS_BINARY, piece, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			console_end(v, WS_NORMAL, "the VM has ended");
	}
	if (v->watch)
		console_update(v);
}

static void console_typed(void *ctx, const uint8_t *data, size_t len)
{
	struct live *v = ctx;

	if (!v->watch || !len || !v->types)
		return;
	v->typed = malloc(len);
	if (!v->typed)
		return;
	memcpy(v->typed, data, len);
	v->typed_at = 0;
	v->typed_len = len;
	http_ws_pause(v->conn, true);
	console_typing(v);
	console_update(v);
}

static void console_drained(void *ctx)
{
	struct live *v = ctx;

	if (v->watch)
		console_update(v);
}

static void console_closed(void *ctx)
{
	live_drop(ctx);
}

void api_openConsole(struct api_call *call)
{
	const char *mode = json_string_value(json_object_get(call->query, "mode"));
	const json_t *tail = json_object_get(call->query, "tail");
	struct live *v = live_open(call, "console", SOCK_STREAM, console_ready);
	struct http_ws_calls calls = {.ctx = v,
				      .message = console_typed,
				      .drained = console_drained,
				      .closed = console_closed};
	char line[48];
	int n;

	if (!v)
		return;
	v->types = mode && strcmp(mode, "watch") != 0;
	n = snprintf(line, sizeof(line), "%s %lld\n", mode ? mode : "watch",
		     tail ? (long long)json_integer_value(tail) : (long long)INT64_MAX);
	/* The socket is new: it takes a line. Without it the keeper would end us, and we the client. */
	(void)!send(v->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)http_websocket(call->conn, &calls); /* else `closed` drops it */
}

/* ---- events ---- */

void api_listenEvents(struct api_call *call)
{
	events_listen(call->api->events, call->conn,
		      json_string_value(json_object_get(call->query, "vm")));
}
