/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.c - commands for VMs of another host (`lodge --host`), where there is no run directory to look into: all goes by lodged's API, events
 * and consoles as WebSockets.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/vm.h"
#include "keeper/escape.h"
#include "keeper/term.h"
#include "proto/ws.h"
#include "util/base64.h"
#include "util/buf.h"
#include "util/clock.h"

#define ANSWER_MAX ((size_t)4 * 1024 * 1024)
#define HEAD_MAX 8192u

bool remote_has(const char *command)
{
	static const char *const all[] = {"ls",	    "info",	 "console",    "logs",
					  "stop",   "start",	 "restart",    "pause",
					  "resume", "rm",	 "events",     "create",
					  "set",    "operation", "completion", "version",
					  "help"};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i], command))
			return true;
	return false;
}

/* ---- looking ---- */

/* A VM of the API's as a row of `lodge ls`. */
static json_t *row_of(const json_t *vm)
{
	static const char *const from_config[] = {"engine", "cpus", "memory"};
	const json_t *config = json_object_get(vm, "config");
	json_int_t started = json_integer_value(json_object_get(vm, "started_ms"));
	json_int_t now = (json_int_t)(clock_realtime_ns() / CLOCK_NS_PER_MS);
	json_t *j = json_object();

	json_object_set(j, "name", json_object_get(vm, "name"));
	json_object_set(j, "state", json_object_get(vm, "state"));
	for (unsigned i = 0; i < ARRAY_SIZE(from_config); i++)
		json_object_set(j, from_config[i], json_object_get(config, from_config[i]));
	if (started)
		json_object_set_new(j, "uptime_ms", json_integer(MAX(now - started, 0)));
	return j;
}

int remote_rows(json_t *rows, struct err *e)
{
	char path[160] = "/1.0/vms";
	bool more = true;

	while (more) {
		_autojson json_t *page = NULL;
		const char *last = NULL;
		json_t *vm;
		size_t i;
		int r = daemon_call("GET", path, NULL, &page, e);

		if (r != 200)
			return r < 0 ? r : -e->code;
		json_array_foreach(json_object_get(page, "vms"), i, vm)
		{
			last = json_string_value(json_object_get(vm, "name"));
			json_array_append_new(rows, row_of(vm));
		}
		more = last && json_is_true(json_object_get(page, "more"));
		if (more)
			snprintf(path, sizeof(path), "/1.0/vms?after=%.64s", last);
	}
	return 0;
}

json_t *remote_describe(const char *name, struct err *e)
{
	_autojson json_t *vm = NULL, *info = NULL;
	char path[96];
	json_t *j;
	int r;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	r = daemon_call("GET", path, NULL, &vm, e);
	if (r != 200)
		return NULL;
	j = row_of(vm);
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/info", name);
	/* It may have ended meanwhile: then there is less to say. */
	if (json_object_get(vm, "started_ms") && daemon_call("GET", path, NULL, &info, NULL) == 200)
		json_object_update(j, info);
	json_object_set(j, "lodged", vm);
	return j;
}

/* ---- doing ---- */

static int post(const char *name, const char *verb, struct err *e)
{
	char path[96];
	int r;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s/%s", name, verb);
	r = daemon_call("POST", path, NULL, NULL, e);
	return r == 204 ? 0 : r < 0 ? r : -e->code;
}

int remote_pause(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	(void)o;
	(void)status;
	return post(name, "pause", e);
}

int remote_resume(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	(void)o;
	(void)status;
	return post(name, "resume", e);
}

static int write_out(const void *data, size_t len)
{
	return fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0 ? 0 : -EIO;
}

/* ---- the head of an answer ---- */

struct stream {
	struct daemon_conn conn;
	struct buf got; /* bytes that came and were not looked at begin at got.pos */
};

static void stream_close(struct stream *s)
{
	daemon_close(&s->conn);
	buf_fini(&s->got);
}

/* 1; 0: the end. */
static int stream_more(struct stream *s, struct err *e)
{
	char piece[16384];
	ssize_t n;

	do
		n = recv(s->conn.fd, piece, sizeof(piece), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_errno(e, errno, "lodged does not answer");
	if (s->got.pos == s->got.len)
		buf_reset(&s->got);
	buf_put(&s->got, piece, (size_t)n);
	return buf_error(&s->got) ? err_set(e, EMSGSIZE, "lodged's answer is too long") : n > 0;
}

/* Sends a GET and takes the head of its answer: the status; *length of the body that follows. */
static int stream_get(struct stream *s, const char *path, const char *fields, char head[HEAD_MAX],
		      size_t *length, struct err *e)
{
	_autofree char *request = NULL;
	const char *end, *field;
	size_t n;
	int r = daemon_connect(&s->conn, e);

	buf_init(&s->got, ANSWER_MAX);
	if (r == -ENOENT)
		return err_set(e, ECONNREFUSED, "lodged does not run");
	if (r < 0)
		return r;
	if (asprintf(&request, "GET %s HTTP/1.1\r\nHost: lodged\r\n%s\r\n", path, fields) < 0)
		return err_set(e, ENOMEM, "out of memory");
	if (daemon_send(&s->conn, request, strlen(request)) < 0)
		return daemon_why(&s->conn, e);
	do {
		r = stream_more(s, e);
		if (r <= 0)
			return daemon_why(&s->conn, e);
		end = memmem(s->got.data, s->got.len, "\r\n\r\n", 4);
	} while (!end && s->got.len < HEAD_MAX);
	n = end ? (size_t)(end - (const char *)s->got.data) + 4 : HEAD_MAX;
	if (n >= HEAD_MAX || strncmp((const char *)s->got.data, "HTTP/1.1 ", 9) != 0)
		return err_set(e, EPROTO, "what answers in place of lodged is not lodged");
	memcpy(head, s->got.data, n);
	head[n] = '\0';
	s->got.pos = n;
	field = strcasestr(head, "\r\nContent-Length:");
	*length = field ? strtoul(field + 17, NULL, 10) : 0;
	return atoi(head + 9);
}

/* The body, of which `length` bytes are to come. */
static int stream_body(struct stream *s, size_t length, struct err *e)
{
	int r = 1;

	while (r > 0 && s->got.len - s->got.pos < length)
		r = stream_more(s, e);
	return r == 0 ? daemon_why(&s->conn, e) : MIN(r, 0);
}

/* Of an answer that is an error: -errno and its sentence. */
static int stream_error(struct stream *s, size_t length, struct err *e)
{
	_autojson json_t *j = NULL;
	int r = stream_body(s, length, e);

	if (r == 0)
		r = json_parse((const char *)s->got.data + s->got.pos, length, ANSWER_MAX,
			       "lodged's answer", &j, e);
	return r < 0 ? r : daemon_error(j, e);
}

/* ---- logs ---- */

int remote_logs(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	char path[160], head[HEAD_MAX];
	struct stream s;
	size_t length;
	int r;

	if (o->follow) {
		struct vm_options watch = {.watch = true, .tail = o->tail};

		return remote_console(name, &watch, status, e);
	}
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/logs?tail=%llu", name,
		 (unsigned long long)MIN(o->tail, (uint64_t)GIB));
	r = stream_get(&s, path, "Connection: close\r\n", head, &length, e);
	if (r == 200)
		r = stream_body(&s, length, e);
	else if (r > 0)
		r = stream_error(&s, length, e);
	if (r == 0 && write_out(s.got.data + s.got.pos, length) < 0)
		*status = STATUS_RUNTIME;
	stream_close(&s);
	return r;
}

/* ---- WebSocket ---- */

static int ws_open(struct stream *s, const char *path, struct err *e)
{
	char fields[256], head[HEAD_MAX], accept[WS_ACCEPT_MAX], wanted[WS_ACCEPT_MAX + 32];
	uint8_t random[16];
	_autofree char *key = NULL;
	size_t length;
	int r;

	*s = (struct stream){.conn = {.fd = -1, .why = -1}};
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_errno(e, errno, "there are no random numbers");
	key = base64_encode(random, sizeof(random));
	if (!key || !ws_accept(key, accept))
		return err_set(e, ENOMEM, "out of memory");
	snprintf(fields, sizeof(fields),
		 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
		 key);
	r = stream_get(s, path, fields, head, &length, e);
	if (r < 0)
		return r;
	if (r != 101)
		return stream_error(s, length, e);
	snprintf(wanted, sizeof(wanted), "Sec-WebSocket-Accept: %s\r\n", accept);
	return strcasestr(head, wanted) ? 0 : err_set(e, EPROTO, "what answers is not a WebSocket");
}

static int ws_send(const struct stream *s, enum ws_op op, const void *data, size_t len)
{
	uint8_t frame[WS_HEAD_MAX + 1024], mask[4];
	size_t n;

	len = MIN(len, (size_t)1024);
	if (getrandom(mask, sizeof(mask), 0) != (ssize_t)sizeof(mask))
		return -EIO;
	n = ws_head(frame, op, len, mask);
	memcpy(frame + n, data, len);
	ws_mask(frame + n, len, mask);
	return daemon_send(&s->conn, frame, n + len);
}

/* Takes what has come. 1: a message; 0: nothing whole is there; -ENOTCONN: it is closed, e says why if it was not meant; -errno. */
static int ws_take(struct stream *s, struct ws_reader *reader, struct ws_message *m, struct err *e)
{
	char shown[WS_CONTROL_MAX + 1], why[WS_CONTROL_MAX + 1];

	while (s->got.pos < s->got.len) {
		ssize_t n = ws_read(reader, s->got.data + s->got.pos, s->got.len - s->got.pos, m);

		if (n < 0)
			return err_set(e, EPROTO, "lodged does not speak WebSocket");
		s->got.pos += (size_t)n;
		switch (m->op) {
		case WS_TEXT:
		case WS_BINARY: return 1;
		case WS_PING:
			if (ws_send(s, WS_PONG, m->data, m->len) < 0)
				return daemon_why(&s->conn, e);
			break;
		case WS_CLOSE:
			snprintf(why, sizeof(why), "%.*s", (int)m->len, (const char *)m->data);
			if (m->code != WS_NORMAL)
				err_set(e, EPIPE, "lodged has closed the connection: %s",
					err_quote(shown, sizeof(shown), why));
			return -ENOTCONN;
		default: break;
		}
	}
	return 0;
}

/* ---- events ---- */

/* Prints each as it came. 1: it was the end of the VM. */
static int print_event(const struct ws_message *m)
{
	_autojson json_t *j = json_loadb((const char *)m->data, m->len, 0, NULL);
	const char *type = json_string_value(json_object_get(j, "type"));
	const char *state = json_string_value(json_object_get(j, "state"));

	if (write_out(m->data, m->len) < 0 || write_out("\n", 1) < 0)
		return -EIO;
	return type && state && !strcmp(type, "vm") &&
	       (!strcmp(state, "stopped") || !strcmp(state, "removed"));
}

int remote_events(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	struct ws_reader reader;
	struct ws_message m;
	struct stream s;
	char path[160];
	int r;

	(void)o;
	(void)status;
	ws_reader_init(&reader, false, ANSWER_MAX);
	/* Of a VM that is not there nothing would ever be heard. */
	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	r = daemon_call("GET", path, NULL, NULL, e);
	if (r != 200)
		return r < 0 ? r : -e->code;
	snprintf(path, sizeof(path), "/1.0/events?vm=%.64s", name);
	r = ws_open(&s, path, e);
	while (r == 0) {
		r = ws_take(&s, &reader, &m, e);
		if (r == 1)
			r = print_event(&m);
		else if (r == 0 && stream_more(&s, e) <= 0)
			r = daemon_why(&s.conn, e);
	}
	ws_reader_fini(&reader);
	stream_close(&s);
	return r == 1 || (r == -ENOTCONN && !e->code) ? 0 : r < 0 && e->code ? -e->code : r;
}

/* ---- the console ---- */

struct console {
	const char *name;
	struct stream s;
	struct ws_reader reader;
	struct escape escape;
	bool raw, paused, stdin_open, leave;
};

static void act(struct console *c, enum escape_action action)
{
	struct err e = {0};
	int r = 0;

	switch (action) {
	case ESCAPE_NONE: break;
	case ESCAPE_QUIT:
	case ESCAPE_LEAVE: c->leave = true; break;
	case ESCAPE_HELP: fputs(escape_help_attached, stderr); break;
	case ESCAPE_PAUSE:
		r = post(c->name, c->paused ? "resume" : "pause", &e);
		c->paused = r == 0 ? !c->paused : c->paused;
		break;
	case ESCAPE_RESET: r = post(c->name, "reset", &e); break;
	case ESCAPE_POWERDOWN: r = post(c->name, "powerdown", &e); break;
	}
	if (r < 0)
		fprintf(stderr, "\n[lodge: %s]\n", e.msg);
}

static int read_keys(struct console *c)
{
	uint8_t in[1024], out[sizeof(in)];
	ssize_t n = read(STDIN_FILENO, in, sizeof(in));

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		c->stdin_open = false;
	for (size_t i = 0, used, len; n > 0 && i < (size_t)n && !c->leave; i += used) {
		enum escape_action action = ESCAPE_NONE;
		const uint8_t *what = out;

		if (c->raw) {
			action = escape_filter(&c->escape, in + i, (size_t)n - i, &used, out, &len);
		} else {
			used = len = (size_t)n - i;
			what = in + i;
		}
		if (len && ws_send(&c->s, WS_BINARY, what, len) < 0)
			return -EPIPE;
		act(c, action);
	}
	return 0;
}

/* The first message, who types. */
static void greet(struct console *c, const struct ws_message *m, bool watch)
{
	_autojson json_t *j = json_loadb((const char *)m->data, m->len, 0, NULL);
	const char *mode = json_string_value(json_object_get(j, "mode"));
	bool writer = mode && !strcmp(mode, "write");

	if (!writer && !watch)
		fprintf(stderr,
			"lodge: somebody else types into this console, you only watch (--take changes that)\n");
	if (term_usable() && term_raw() == 0)
		c->raw = true;
	else if (!writer)
		c->stdin_open = false;
	if (c->raw)
		fprintf(stderr, "[lodge: console of %s; Ctrl-A d leaves it]\n", c->name);
}

/* Until it is closed (-ENOTCONN), we leave (0), or something fails. */
static int console_pump(struct console *c, bool watch, struct err *e)
{
	struct ws_message m;
	int r = 0;

	while (r >= 0 && !c->leave) {
		struct pollfd p[2] = {{.fd = c->s.conn.fd, .events = POLLIN},
				      {.fd = c->stdin_open ? STDIN_FILENO : -1, .events = POLLIN}};

		while ((r = ws_take(&c->s, &c->reader, &m, e)) == 1) {
			if (m.op == WS_TEXT)
				greet(c, &m, watch);
			else if (write_out(m.data, m.len) < 0)
				return -EIO;
		}
		if (r < 0)
			return r;
		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (p[0].revents && stream_more(&c->s, e) <= 0)
			r = daemon_why(&c->s.conn, e);
		if (r >= 0 && p[1].revents && read_keys(c) < 0)
			r = daemon_why(&c->s.conn, e);
	}
	return r;
}

int remote_console(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	struct console c = {.name = name, .stdin_open = !o->watch};
	const char *mode = o->watch ? "watch" : o->take ? "take" : "write";
	char path[200];
	int r;

	(void)status;
	ws_reader_init(&c.reader, false, ANSWER_MAX);
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/console?mode=%s&tail=%llu", name, mode,
		 (unsigned long long)MIN(o->tail, (uint64_t)GIB));
	r = ws_open(&c.s, path, e);
	if (r == 0)
		r = console_pump(&c, o->watch, e);
	term_restore();
	if (c.raw)
		fprintf(stderr, "\n");
	ws_reader_fini(&c.reader);
	stream_close(&c.s);
	return r == -ENOTCONN && !e->code ? 0 : r < 0 && e->code ? -e->code : MIN(r, 0);
}
