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
#include <unistd.h>

#include "cli/remote.h"
#include "cli/remote_ws.h"
#include "cli/vm.h"
#include "keeper/escape.h"
#include "keeper/term.h"
#include "util/clock.h"

bool remote_has(const char *command)
{
	static const char *const all[] = {"ls",		"info",	   "console", "logs",	   "stop",
					  "start",	"restart", "pause",   "resume",	   "rm",
					  "events",	"create",  "set",     "operation", "help",
					  "completion", "version", "exec",    "cp",	   "ctl",
					  "apply",	"diff",	   "why",     "wait",	   "guest",
					  "host",	"disk",	   "run"};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i], command))
			return true;
	return false;
}

int remote_none(const char *command, struct err *e)
{
	char shown[64];

	err_set(e, EINVAL, "`lodge %s` is for this host only, not with --host or LODGE_HOST",
		err_quote(shown, sizeof(shown), command));
	return err_field(e, "command", command);
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
	char path[160] = "/1.0/vms", before[CONFIG_NAME_MAX + 1] = "";
	bool more = true;

	while (more) {
		_autojson json_t *page = NULL;
		const char *last = NULL;
		json_t *vm;
		size_t i;
		int r = daemon_call("GET", path, NULL, &page, e);

		if (r != 200)
			return daemon_refused(r, e);
		json_array_foreach(json_object_get(page, "vms"), i, vm)
		{
			last = json_string_value(json_object_get(vm, "name"));
			json_array_append_new(rows, row_of(vm));
		}
		more = last && json_is_true(json_object_get(page, "more"));
		/* Pages without end are not lodged's. */
		if (more && (config_check_name(last, NULL) < 0 || strcmp(last, before) <= 0))
			return daemon_stranger(e);
		if (more) {
			strcpy(before, last);
			snprintf(path, sizeof(path), "/1.0/vms?after=%s", last);
		}
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
	if (r != 200) {
		(void)daemon_refused(r, e);
		return NULL;
	}
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
	return r == 204 ? 0 : daemon_refused(r, e);
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

/* ---- logs ---- */

int remote_logs(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	char path[160], head[REMOTE_WS_HEAD_MAX];
	struct remote_ws s;
	size_t length;
	int r;

	if (o->follow)
		return remote_console(name, o, status, e);
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/logs?tail=%llu", name,
		 (unsigned long long)MIN(o->tail, (uint64_t)GIB));
	r = remote_ws_get(&s, path, "Connection: close\r\n", head, &length, e);
	if (r == 200)
		r = remote_ws_body(&s, length, e);
	else if (r > 0)
		r = remote_ws_error(&s, r, length, e);
	if (r == 0 && write_out(s.got.data + s.got.pos, length) < 0)
		*status = STATUS_RUNTIME;
	remote_ws_close(&s);
	return r;
}

/* ---- events ---- */

/* Prints it as a line. 1: it was the end of the VM. */
static int print_event(const struct ws_message *m, struct err *e)
{
	_autojson json_t *j = json_loadb((const char *)m->data, m->len, 0, NULL);
	const char *type = json_string_value(json_object_get(j, "type"));
	const char *state = json_string_value(json_object_get(j, "state"));
	_autofree char *text = j ? json_text(j) : NULL;

	if (!text)
		return daemon_stranger(e);
	if (write_out(text, strlen(text)) < 0 || write_out("\n", 1) < 0)
		return err_set(e, EIO, "cannot write what happens");
	return type && state && !strcmp(type, "vm") &&
	       (!strcmp(state, "stopped") || !strcmp(state, "removed"));
}

int remote_events(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	struct ws_message m;
	struct remote_ws s;
	char path[160];
	int r;

	(void)o;
	(void)status;
	/* Of a VM that is not there nothing would ever be heard. */
	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	r = daemon_call("GET", path, NULL, NULL, e);
	if (r != 200)
		return daemon_refused(r, e);
	snprintf(path, sizeof(path), "/1.0/events?vm=%.64s", name);
	r = remote_ws_open(&s, path, e);
	while (r == 0) {
		r = remote_ws_take(&s, &m, e);
		if (r == 1)
			r = print_event(&m, e);
		else if (r == 0 && remote_ws_more(&s, e) <= 0)
			r = daemon_why(&s.conn, e);
	}
	remote_ws_close(&s);
	return r == 1 || (r == -ENOTCONN && !e->code) ? 0 : -e->code;
}

/* ---- the console ---- */

struct console {
	const char *name;
	struct remote_ws s;
	struct escape escape;
	bool watch, log; /* what is typed goes nowhere; nor is it read */
	bool greeted, raw, paused, stdin_open, leave;
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
		if (len && !c->watch && remote_ws_send(&c->s, WS_BINARY, what, len) < 0)
			return -EPIPE;
		act(c, action);
	}
	return 0;
}

/* The first message, who types. */
static void greet(struct console *c, const struct ws_message *m)
{
	_autojson json_t *j = json_loadb((const char *)m->data, m->len, 0, NULL);
	const char *mode = json_string_value(json_object_get(j, "mode"));
	bool writer = mode && !strcmp(mode, "write");

	if (c->greeted || c->log)
		return;
	c->greeted = true;
	if (!writer && !c->watch)
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
static int console_pump(struct console *c, struct err *e)
{
	struct ws_message m;
	int r = 0;

	while (r >= 0 && !c->leave) {
		struct pollfd p[2] = {{.fd = c->s.conn.fd, .events = POLLIN},
				      {.fd = c->stdin_open ? STDIN_FILENO : -1, .events = POLLIN}};

		while ((r = remote_ws_take(&c->s, &m, e)) == 1) {
			if (m.op == WS_TEXT)
				greet(c, &m);
			else if (write_out(m.data, m.len) < 0)
				return err_set(e, EIO, "cannot write what the guest says");
		}
		if (r < 0)
			return r;
		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return err_errno(e, errno, "cannot wait for lodged");
			continue;
		}
		if (p[0].revents && remote_ws_more(&c->s, e) <= 0)
			r = daemon_why(&c->s.conn, e);
		if (r >= 0 && p[1].revents && read_keys(c) < 0)
			r = daemon_why(&c->s.conn, e);
	}
	return r;
}

int remote_console(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	struct console c = {.name = name,
			    .watch = o->watch || o->follow,
			    .log = o->follow,
			    .stdin_open = !o->follow};
	const char *mode = c.watch ? "watch" : o->take ? "take" : "write";
	char path[200];
	int r;

	(void)status;
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/console?mode=%s&tail=%llu", name, mode,
		 (unsigned long long)MIN(o->tail, (uint64_t)GIB));
	r = remote_ws_open(&c.s, path, e);
	if (r == 0)
		r = console_pump(&c, e);
	term_restore();
	if (c.raw)
		fprintf(stderr, "\n");
	remote_ws_close(&c.s);
	return r == -ENOTCONN && !e->code ? 0 : r < 0 ? -e->code : 0;
}
