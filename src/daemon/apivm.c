/* SPDX-License-Identifier: Apache-2.0 */
/* apivm.c - definitions of VMs, and operations. */
#include "daemon/api_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/events.h"
#include "daemon/vms_int.h"
#include "util/clock.h"
#include "util/opt.h"

/* Somebody who waits for the end of an operation, or of what a VM runs. */
struct waiter {
	struct waiter *next;
	struct api *api;
	struct http_conn *conn;
	uint64_t id;			/* of the operation; 0: */
	char name[CONFIG_NAME_MAX + 1]; /* of the VM */
	json_t *end;			/* how it has ended, once it has */
	struct loop_timer timer;
};

/* ---- answers ---- */

static void answer_vm(struct api_call *call, unsigned status, const char *name)
{
	struct err e = {0};
	json_t *j = vms_get(call->api->vms, name, &e);
	char etag[24], location[100];

	if (!j) {
		api_err(call->conn, &e);
		return;
	}
	snprintf(etag, sizeof(etag), "%llu", (unsigned long long)vms_revision(call->api->vms, name));
	snprintf(location, sizeof(location), "/1.0/vms/%s", name);
	http_answer(call->conn, status, j, etag, status == 201 ? location : NULL);
}

static void no_operation(struct http_conn *c, uint64_t id)
{
	char text[120];

	snprintf(text, sizeof(text),
		 "there is no operation %llu, or no more: `lodge operation` shows the last ones",
		 (unsigned long long)id);
	api_error(c, 404, "not-found", text, NULL);
}

static void answer_operation(struct api *a, struct http_conn *c, unsigned status, uint64_t id)
{
	json_t *j = store_get_operation(a->store, id);
	char location[64];

	if (!j) {
		no_operation(c, id);
		return;
	}
	snprintf(location, sizeof(location), "/1.0/operations/%llu", (unsigned long long)id);
	http_answer(c, status, j, NULL, status == 202 ? location : NULL);
}

/* ---- definitions ---- */

static const char *query_text(const struct api_call *call, const char *key)
{
	return json_string_value(json_object_get(call->query, key));
}

void api_listVms(struct api_call *call)
{
	const json_t *limit = json_object_get(call->query, "limit");
	const struct vms_page p = {.after = query_text(call, "after"),
				   .state = query_text(call, "state"),
				   .name = query_text(call, "name"),
				   .max = limit ? (size_t)json_integer_value(limit) : 1000};
	bool more;
	json_t *page = vms_list(call->api->vms, &p, &more);

	http_answer(call->conn, 200, json_pack("{s:o, s:b}", "vms", page, "more", more), NULL, NULL);
}

void api_createVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_define(call->api->vms, call->body, &e) < 0)
		api_err(call->conn, &e);
	else
		answer_vm(call, 201, json_string_value(json_object_get(call->body, "name")));
}

void api_getVm(struct api_call *call)
{
	answer_vm(call, 200, call->param);
}

void api_setVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_set(call->api->vms, call->param, call->body, call->revision, &e) < 0)
		api_err(call->conn, &e);
	else
		answer_vm(call, 200, call->param);
}

void api_removeVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_remove(call->api->vms, call->param, call->revision, &e) < 0)
		api_err(call->conn, &e);
	else
		http_answer(call->conn, 204, NULL, NULL, NULL);
}

static void begin(struct api_call *call, enum vms_verb verb)
{
	const json_t *timeout = json_object_get(call->body, "timeout");
	struct err e = {0};
	uint64_t id;

	if (vms_begin(call->api->vms, call->param, verb,
		      timeout ? (uint64_t)json_integer_value(timeout) : 30,
		      json_is_true(json_object_get(call->body, "force")), &id, &e) < 0)
		api_err(call->conn, &e);
	else
		answer_operation(call->api, call->conn, 202, id);
}

void api_startVm(struct api_call *call)
{
	begin(call, VMS_START);
}

void api_stopVm(struct api_call *call)
{
	begin(call, VMS_STOP);
}

void api_restartVm(struct api_call *call)
{
	begin(call, VMS_RESTART);
}

void api_listOperations(struct api_call *call)
{
	static const char *const filters[] = {"vm", "state", "verb"};
	const json_t *limit = json_object_get(call->query, "limit");
	uint64_t before = (uint64_t)json_integer_value(json_object_get(call->query, "before"));
	size_t max = limit ? (size_t)json_integer_value(limit) : 100, i;
	_autojson json_t *all = store_list_operations(call->api->store, before,
						      STORE_OPERATIONS_MAX);
	json_t *page = json_array(), *op;
	bool more = false;

	json_array_foreach(all, i, op)
	{
		bool fits = true;

		for (unsigned k = 0; k < ARRAY_SIZE(filters); k++) {
			const char *wanted = query_text(call, filters[k]);

			fits = fits && (!wanted || !strcmp(vms_text(op, filters[k]), wanted));
		}
		more = fits && json_array_size(page) == max;
		if (more)
			break;
		if (fits)
			(void)json_array_append(page, op);
	}
	http_answer(call->conn, 200, json_pack("{s:o, s:b}", "operations", page, "more", more),
		    NULL, NULL);
}

static int operation_id(const struct api_call *call, uint64_t *id)
{
	if (opt_parse_uint(call->param, 1, INT64_MAX, id, NULL) == 0)
		return 0;
	api_error(call->conn, 404, "not-found",
		  "operations have numbers: `lodge operation` shows the last ones", NULL);
	return -ENOENT;
}

void api_cancelOperation(struct api_call *call)
{
	_autojson json_t *there = NULL;
	struct err e = {0};
	uint64_t id;

	if (operation_id(call, &id) < 0)
		return;
	there = store_get_operation(call->api->store, id);
	if (there && vms_cancel(call->api->vms, id, &e) < 0)
		api_err(call->conn, &e);
	else
		answer_operation(call->api, call->conn, 202, id);
}

/* ---- waiting for an end ---- */

static void waiter_drop(struct waiter *w)
{
	for (struct waiter **p = &w->api->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			break;
		}
	loop_timer_cancel(&w->timer);
	json_decref(w->end);
	free(w);
}

/* end: the answer's, consumed; NULL: look. */
static void answer_end(struct api *a, struct http_conn *c, const char *name, json_t *end)
{
	struct err e = {0};

	if (!end)
		end = vms_end(a->vms, name, &e);
	if (end)
		http_answer(c, 200, end, NULL, NULL);
	else
		api_err(c, &e);
}

static void waiter_answer(void *ctx)
{
	const struct waiter w = *(struct waiter *)ctx;

	json_incref(w.end);
	waiter_drop(ctx); /* an answer may end the connection */
	if (w.id)
		answer_operation(w.api, w.conn, 200, w.id);
	else
		answer_end(w.api, w.conn, w.name, w.end);
}

/* NULL: the call is answered. */
static struct waiter *waiter_add(struct api_call *call, uint64_t seconds)
{
	struct waiter *w;

	if (!api_may_hold(call))
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w) {
		api_error(call->conn, 500, "internal", "out of memory", NULL);
		return NULL;
	}
	*w = (struct waiter){.next = call->api->waiters, .api = call->api, .conn = call->conn};
	loop_timer_init(&w->timer, call->api->loop, waiter_answer, w);
	call->api->waiters = w;
	(void)loop_timer_set(&w->timer, clock_ns() + seconds * CLOCK_NS_PER_S);
	return w;
}

void api_operation_changed(void *ctx, uint64_t id)
{
	struct api *a = ctx;

	if (a->events && events_heard(a->events))
		events_operation(a->events, store_get_operation(a->store, id));
}

void api_operation_ended(void *ctx, uint64_t id)
{
	struct api *a = ctx;
	struct waiter *w = a->waiters;

	api_operation_changed(a, id);
	while (w) {
		struct waiter *next = w->next;

		/* By the timer: not from under somebody's feet. */
		if (w->id == id)
			(void)loop_timer_set(&w->timer, 0);
		w = next;
	}
}

void api_getOperation(struct api_call *call)
{
	uint64_t id, wait = (uint64_t)json_integer_value(json_object_get(call->query, "wait"));
	struct waiter *w;

	if (operation_id(call, &id) < 0)
		return;
	if (!wait || !vms_operation_open(call->api->vms, id)) {
		answer_operation(call->api, call->conn, 200, id);
		return;
	}
	w = waiter_add(call, wait);
	if (w)
		w->id = id;
}

void api_getEnd(struct api_call *call)
{
	uint64_t wait = (uint64_t)json_integer_value(json_object_get(call->query, "wait"));
	struct err e = {0};
	json_t *end = vms_end(call->api->vms, call->param, &e);
	struct waiter *w;

	if (!end) {
		api_err(call->conn, &e);
		return;
	}
	if (!wait || !json_is_true(json_object_get(end, "running"))) {
		answer_end(call->api, call->conn, call->param, end);
		return;
	}
	json_decref(end);
	w = waiter_add(call, wait);
	if (w)
		strcpy(w->name, call->param);
}

/* By the timer: not from under somebody's feet. */
static void name_ended(struct api *a, const char *name, const json_t *end)
{
	for (struct waiter *w = a->waiters; w; w = w->next) {
		if (w->id || strcmp(w->name, name) != 0)
			continue;
		if (!w->end && end)
			w->end = json_deep_copy(end);
		(void)loop_timer_set(&w->timer, 0);
	}
}

void api_vm_ended(void *ctx, const char *name, const json_t *end)
{
	name_ended(ctx, name, end);
}

void apivm_settled(struct api *a, const char *name)
{
	name_ended(a, name, NULL);
}

void apivm_closed(struct api *a, const struct http_conn *conn)
{
	struct waiter *w = a->waiters;

	while (w && w->conn != conn)
		w = w->next;
	if (w)
		waiter_drop(w);
}

void apivm_end(struct api *a)
{
	while (a->waiters)
		waiter_drop(a->waiters);
}
