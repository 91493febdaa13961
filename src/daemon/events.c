/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - listeners, and the ears that we have at VM processes while somebody listens.
 *
 * An ear is a control connection to a VM process that runs. It is there for the first listener, or when the VM starts, and goes
 * with the last listener, or the process. A VM process may be its guest's: what it says is bounded (EAR_EVENTS a second; more are
 * counted, not passed on) and is only ever passed on as what it said.
 */
#include "daemon/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/vms_int.h"
#include "proto/control.h"
#include "util/clock.h"

#define EAR_EVENTS 100u

struct listener {
	struct listener *next;
	struct events *events;
	struct http_conn *conn;
	char vm[CONFIG_NAME_MAX + 1]; /* "": all */
};

struct ear {
	struct ear *next;
	struct events *events;
	char vm[CONFIG_NAME_MAX + 1];
	int fd;
	struct loop_fd *watch;
	uint64_t since_ns; /* the second that `n` counts in */
	unsigned n, lost;
};

struct events {
	struct loop *loop;
	struct vms *vms;
	struct listener *listeners;
	struct ear *ears;
	uint64_t id;
};

bool events_heard(const struct events *ev)
{
	return ev->listeners;
}

/* `more` is consumed: what else the event has. */
static void say(struct events *ev, const char *type, const char *vm, json_t *more)
{
	_autojson json_t *j = json_pack("{s:I, s:I, s:s, s:s}", "id", (json_int_t)++ev->id,
					"time_ms",
					(json_int_t)(clock_realtime_ns() / CLOCK_NS_PER_MS), "type",
					type, "vm", vm);
	_autofree char *text = NULL;

	if (j && more)
		json_object_update(j, more);
	json_decref(more);
	text = j ? json_text(j) : NULL;
	for (struct listener *l = ev->listeners; l && text; l = l->next)
		if (!*l->vm || !strcmp(l->vm, vm))
			http_ws_send(l->conn, WS_TEXT, text, strlen(text));
}

/* ---- ears ---- */

static void ear_drop(struct ear *ear)
{
	for (struct ear **p = &ear->events->ears; *p; p = &(*p)->next)
		if (*p == ear) {
			*p = ear->next;
			break;
		}
	loop_fd_del(ear->watch);
	base_close_fd(&ear->fd);
	free(ear);
}

static void ear_said(struct ear *ear, json_t *event)
{
	uint64_t now = clock_ns();

	if (now - ear->since_ns >= CLOCK_NS_PER_S) {
		if (ear->lost)
			say(ear->events, "lost", ear->vm,
			    json_pack("{s:i}", "count", (int)ear->lost));
		ear->since_ns = now;
		ear->n = ear->lost = 0;
	}
	if (++ear->n > EAR_EVENTS)
		ear->lost++;
	else
		say(ear->events, "guest", ear->vm, json_pack("{s:O}", "event", event));
}

static void ear_ready(void *ctx, int fd, uint32_t events)
{
	struct ear *ear = ctx;
	struct control_msg m;
	int r;

	(void)events;
	control_msg_init(&m);
	r = control_recv(fd, &m, CONTROL_NO_WAIT, NULL);
	if (r > 0 && control_parse_event(m.json) >= 0)
		ear_said(ear, m.json);
	control_msg_fini(&m);
	if (r == 0 || (r < 0 && r != -EAGAIN && r != -EINVAL && r != -EMSGSIZE))
		ear_drop(ear);
}

static void ear_open(struct events *ev, const char *vm)
{
	const struct rundir *run = vms_run(ev->vms, vm, NULL);
	_autojson json_t *req = control_request_json(1, CONTROL_EVENTS);
	struct ear *ear;

	for (ear = ev->ears; ear; ear = ear->next)
		if (!strcmp(ear->vm, vm))
			return;
	ear = run ? calloc(1, sizeof(*ear)) : NULL;
	if (!ear)
		return;
	ear->events = ev;
	strcpy(ear->vm, run->name);
	ear->next = ev->ears;
	ev->ears = ear;
	ear->fd = rundir_connect(run, "control", SOCK_SEQPACKET | SOCK_NONBLOCK, NULL);
	if (ear->fd < 0 || control_send(ear->fd, req, NULL, 0, CONTROL_NO_WAIT, NULL) < 0 ||
	    loop_fd_add(ev->loop, ear->fd, EPOLLIN, ear_ready, ear, &ear->watch) < 0)
		ear_drop(ear);
}

/* ---- listeners ---- */

static void listener_closed(void *ctx)
{
	struct listener *l = ctx;
	struct events *ev = l->events;

	for (struct listener **p = &ev->listeners; *p; p = &(*p)->next)
		if (*p == l) {
			*p = l->next;
			break;
		}
	free(l);
	while (!ev->listeners && ev->ears)
		ear_drop(ev->ears);
}

static void listener_message(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx; /* nothing is wanted from who listens */
	(void)data;
	(void)len;
}

static void listener_drained(void *ctx)
{
	(void)ctx;
}

void events_listen(struct events *ev, struct http_conn *c, const char *vm)
{
	struct listener *l = calloc(1, sizeof(*l));
	struct http_ws_calls calls = {.ctx = l,
				      .message = listener_message,
				      .drained = listener_drained,
				      .closed = listener_closed};
	_autojson json_t *all = NULL;
	json_t *one;
	size_t i;

	if (!l || !http_websocket(c, &calls)) {
		if (!l)
			http_answer(c, 500, NULL, NULL, NULL);
		free(l);
		return;
	}
	l->events = ev;
	l->conn = c;
	if (vm)
		memcpy(l->vm, vm, MIN(strlen(vm), sizeof(l->vm) - 1));
	l->next = ev->listeners;
	ev->listeners = l;
	if (l->next)
		return;
	all = vms_names(ev->vms);
	json_array_foreach(all, i, one) ear_open(ev, json_string_value(one));
}

void events_vm(struct events *ev, const char *name, const char *state)
{
	if (!ev->listeners)
		return;
	say(ev, "vm", name, json_pack("{s:s}", "state", state));
	ear_open(ev, name);
}

void events_operation(struct events *ev, json_t *record)
{
	if (record && ev->listeners)
		say(ev, "operation", vms_text(record, "vm"),
		    json_pack("{s:O}", "operation", record));
	json_decref(record);
}

/* ---- life ---- */

int events_create(struct events **out, struct loop *l, struct vms *v, struct err *e)
{
	struct events *ev = calloc(1, sizeof(*ev));

	*out = ev;
	if (!ev)
		return err_set(e, ENOMEM, "out of memory");
	ev->loop = l;
	ev->vms = v;
	return 0;
}

void events_destroy(struct events *ev)
{
	if (!ev)
		return;
	while (ev->ears)
		ear_drop(ev->ears);
	free(ev);
}
