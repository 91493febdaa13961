/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - routing, rights, validation, and the handlers.
 *
 * The way of a request: route by method and path; the role that the route needs against what the caller has; body and query against
 * their tables, with everything refused that is not in them; then the handler, on one object. A handler answers its call,
 * or leaves it to a waiter.
 */
#include "daemon/api.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/opt.h"

#define QUERY_MAX 8u
#define TEXT_MAX 4096u

enum api_kind { API_TEXT, API_NUMBER, API_BOOL, API_WORD, API_TEXTS };
enum api_role { API_ROLE_READ, API_ROLE_OPERATE, API_ROLE_ADMIN };

struct api_field {
	const char *name;
	enum api_kind kind;
	bool required;
	uint64_t min, max; /* of a number; of the bytes of a text; of how many texts */
	const char *const *words;
};

struct api_call {
	struct api *api;
	struct http_conn *conn;
	char param[72];	   /* {name} or {id} of the path */
	json_t *body;	   /* object, NULL: none */
	json_t *query;	   /* object */
	uint64_t revision; /* If-Match; 0: none */
};

struct api_route {
	const char *method, *path;
	enum api_role role;
	void (*handle)(struct api_call *call);
	const struct api_field *body;
	bool body_required;
	const struct api_field *query;
};

#include <daemon/routes_gen.h>

struct waiter {
	struct waiter *next;
	struct api *api;
	struct http_conn *conn;
	uint64_t id;
	struct loop_timer timer;
};

struct api {
	struct loop *loop;
	struct http *http;
	struct vms *vms;
	struct store *store;
	struct waiter *waiters;
};

/* ---- answers ---- */

static void answer_error(struct http_conn *c, unsigned status, const char *id, const char *message,
			 const char *field)
{
	json_t *e = json_pack("{s:s}", "id", id), *text = json_string(message);

	json_object_set_new(e, "message", text ? text : json_string("failed"));
	if (field && *field)
		json_object_set_new(e, "field", json_string(field));
	http_answer(c, status, json_pack("{s:o}", "error", e), NULL, NULL);
}

static void answer_err(struct http_conn *c, const struct err *e)
{
	static const struct {
		const char *id;
		unsigned status;
	} all[] = {{"not-found", 404},	 {"exists", 409},    {"running", 409},
		   {"not-running", 409}, {"busy", 409},	     {"capacity", 409},
		   {"revision", 412},	 {"bad-value", 400}, {"full", 507}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].id, e->field)) {
			answer_error(c, all[i].status, all[i].id, e->msg, NULL);
			return;
		}
	answer_error(c, 500, "internal", e->msg, NULL);
}

static void answer_vm(struct api_call *call, unsigned status, const char *name)
{
	struct err e = {0};
	json_t *j = vms_get(call->api->vms, name, &e);
	char etag[24], location[100];

	if (!j) {
		answer_err(call->conn, &e);
		return;
	}
	snprintf(etag, sizeof(etag), "%llu", (unsigned long long)vms_revision(call->api->vms, name));
	snprintf(location, sizeof(location), "/1.0/vms/%s", name);
	http_answer(call->conn, status, j, etag, status == 201 ? location : NULL);
}

static void answer_operation(struct api *a, struct http_conn *c, unsigned status, uint64_t id)
{
	json_t *j = store_get_operation(a->store, id);
	char location[64];

	if (!j) {
		answer_error(c, 404, "not-found", "there is no such operation", NULL);
		return;
	}
	snprintf(location, sizeof(location), "/1.0/operations/%llu", (unsigned long long)id);
	http_answer(c, status, j, NULL, status == 202 ? location : NULL);
}

/* ---- handlers ---- */

static void api_getServer(struct api_call *call)
{
	http_answer(call->conn, 200,
		    json_pack("{s:s, s:s, s:i, s:s}", "api", "1.0", "version", LODGE_VERSION, "pid",
			      (int)getpid(), "description", "docs/api/lodge.json"),
		    NULL, NULL);
}

static void api_listVms(struct api_call *call)
{
	const json_t *limit = json_object_get(call->query, "limit");
	const char *state = json_string_value(json_object_get(call->query, "state"));
	const char *after = json_string_value(json_object_get(call->query, "after"));
	size_t max = limit ? (size_t)json_integer_value(limit) : 1000;
	_autojson json_t *all = vms_list(call->api->vms);
	json_t *page = json_array(), *vm;
	bool more = false;
	size_t i;

	json_array_foreach(all, i, vm)
	{
		const char *name = json_string_value(json_object_get(vm, "name"));
		const char *is = json_string_value(json_object_get(vm, "state"));

		if ((state && strcmp(state, is) != 0) || (after && strcmp(name, after) <= 0))
			continue;
		more = json_array_size(page) == max;
		if (more)
			break;
		(void)json_array_append(page, vm);
	}
	http_answer(call->conn, 200, json_pack("{s:o, s:b}", "vms", page, "more", more), NULL, NULL);
}

static void api_createVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_define(call->api->vms, call->body, &e) < 0)
		answer_err(call->conn, &e);
	else
		answer_vm(call, 201, json_string_value(json_object_get(call->body, "name")));
}

static void api_getVm(struct api_call *call)
{
	answer_vm(call, 200, call->param);
}

static void api_setVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_set(call->api->vms, call->param, call->body, call->revision, &e) < 0)
		answer_err(call->conn, &e);
	else
		answer_vm(call, 200, call->param);
}

static void api_removeVm(struct api_call *call)
{
	struct err e = {0};

	if (vms_remove(call->api->vms, call->param, call->revision, &e) < 0)
		answer_err(call->conn, &e);
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
		answer_err(call->conn, &e);
	else
		answer_operation(call->api, call->conn, 202, id);
}

static void api_startVm(struct api_call *call)
{
	begin(call, VMS_START);
}

static void api_stopVm(struct api_call *call)
{
	begin(call, VMS_STOP);
}

static void api_restartVm(struct api_call *call)
{
	begin(call, VMS_RESTART);
}

static void api_listOperations(struct api_call *call)
{
	const json_t *limit = json_object_get(call->query, "limit");
	uint64_t before = (uint64_t)json_integer_value(json_object_get(call->query, "before"));

	http_answer(call->conn, 200,
		    json_pack("{s:o}", "operations",
			      store_list_operations(call->api->store, before,
						    limit ? (unsigned)json_integer_value(limit) :
							    100)),
		    NULL, NULL);
}

static int operation_id(const struct api_call *call, uint64_t *id)
{
	if (opt_parse_uint(call->param, 1, INT64_MAX, id, NULL) == 0)
		return 0;
	answer_error(call->conn, 404, "not-found", "there is no such operation", NULL);
	return -ENOENT;
}

static void api_cancelOperation(struct api_call *call)
{
	_autojson json_t *there = NULL;
	struct err e = {0};
	uint64_t id;

	if (operation_id(call, &id) < 0)
		return;
	there = store_get_operation(call->api->store, id);
	if (there && vms_cancel(call->api->vms, id, &e) < 0)
		answer_err(call->conn, &e);
	else
		answer_operation(call->api, call->conn, 202, id);
}

/* ---- waiting for an operation ---- */

static void waiter_drop(struct waiter *w)
{
	for (struct waiter **p = &w->api->waiters; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			break;
		}
	loop_timer_cancel(&w->timer);
	free(w);
}

static void waiter_answer(void *ctx)
{
	struct waiter *w = ctx;
	struct http_conn *c = w->conn;
	struct api *a = w->api;
	uint64_t id = w->id;

	waiter_drop(w);
	answer_operation(a, c, 200, id);
}

void api_operation_ended(void *ctx, uint64_t id)
{
	struct api *a = ctx;
	struct waiter *w = a->waiters;

	while (w) {
		struct waiter *next = w->next;

		/* By the timer: not from under somebody's feet. */
		if (w->id == id)
			(void)loop_timer_set(&w->timer, 0);
		w = next;
	}
}

static void api_getOperation(struct api_call *call)
{
	uint64_t id, wait = (uint64_t)json_integer_value(json_object_get(call->query, "wait"));
	struct waiter *w;

	if (operation_id(call, &id) < 0)
		return;
	w = wait && vms_operation_open(call->api->vms, id) ? calloc(1, sizeof(*w)) : NULL;
	if (!w) {
		answer_operation(call->api, call->conn, 200, id);
		return;
	}
	*w = (struct waiter){.next = call->api->waiters,
			     .api = call->api,
			     .conn = call->conn,
			     .id = id};
	loop_timer_init(&w->timer, call->api->loop, waiter_answer, w);
	call->api->waiters = w;
	(void)loop_timer_set(&w->timer, clock_ns() + wait * CLOCK_NS_PER_S);
}

static void closed(void *ctx, struct http_conn *conn)
{
	struct api *a = ctx;
	struct waiter *w = a->waiters;

	while (w && w->conn != conn)
		w = w->next;
	if (w)
		waiter_drop(w);
}

/* ---- validation ---- */

static const struct api_field *field_of(const struct api_field *fields, const char *name)
{
	while (fields->name && strcmp(fields->name, name) != 0)
		fields++;
	return fields->name ? fields : NULL;
}

static int bad(struct err *e, const struct api_field *f, const char *wanted)
{
	err_set(e, EINVAL, "\"%s\" must be %s", f->name, wanted);
	return err_field(e, f->name, NULL);
}

static int check_value(const struct api_field *f, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);
	size_t n = text ? json_string_length(v) : json_array_size(v);
	char wanted[96];
	bool good = false;

	switch (f->kind) {
	case API_TEXT:
		good = text && n >= f->min && n <= f->max && strlen(text) == n;
		snprintf(wanted, sizeof(wanted), "a text of %llu to %llu bytes",
			 (unsigned long long)f->min, (unsigned long long)f->max);
		break;
	case API_NUMBER:
		good = json_is_integer(v) && json_integer_value(v) >= 0 &&
		       (uint64_t)json_integer_value(v) >= f->min &&
		       (uint64_t)json_integer_value(v) <= f->max;
		snprintf(wanted, sizeof(wanted), "a whole number from %llu to %llu",
			 (unsigned long long)f->min, (unsigned long long)f->max);
		break;
	case API_BOOL:
		good = json_is_boolean(v);
		strcpy(wanted, "true or false");
		break;
	case API_WORD:
		*wanted = '\0';
		for (unsigned i = 0; f->words[i]; i++) {
			size_t len = strlen(wanted);

			good = good || (text && !strcmp(text, f->words[i]));
			snprintf(wanted + len, sizeof(wanted) - len, "%s%s", i ? ", " : "one of ",
				 f->words[i]);
		}
		break;
	case API_TEXTS:
		good = json_is_array(v) && n >= f->min && n <= f->max;
		for (size_t i = 0; good && i < n; i++) {
			const json_t *t = json_array_get(v, i);

			good = json_is_string(t) && json_string_length(t) <= TEXT_MAX &&
			       strlen(json_string_value(t)) == json_string_length(t);
		}
		snprintf(wanted, sizeof(wanted), "a list of %llu to %llu texts of at most %u bytes",
			 (unsigned long long)f->min, (unsigned long long)f->max, TEXT_MAX);
		break;
	}
	return good ? 0 : bad(e, f, wanted);
}

static int check_object(const struct api_field *fields, const json_t *j, struct err *e)
{
	const char *key, *names[17];
	const json_t *v;
	unsigned n = 0;

	if (!json_is_object(j))
		return err_set(e, EINVAL, "the body must be an object");
	for (; n < 16 && fields[n].name; n++)
		names[n] = fields[n].name;
	names[n] = NULL;
	if (json_check_keys(j, names, "the request", e) < 0)
		return -EINVAL;
	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		if (check_value(field_of(fields, key), v, e) < 0)
			return -EINVAL;
	}
	for (; fields->name; fields++) {
		if (!fields->required || json_object_get(j, fields->name))
			continue;
		err_set(e, EINVAL, "\"%s\" is missing", fields->name);
		return err_field(e, fields->name, NULL);
	}
	return 0;
}

/* Undoes %XX and + in place; false: it is not proper. */
static bool unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		char hex[3] = {0};

		if (*p == '%') {
			if (!isxdigit((unsigned char)p[1]) || !isxdigit((unsigned char)p[2]))
				return false;
			memcpy(hex, p + 1, 2);
			*to = (char)strtoul(hex, NULL, 16);
			if (!*to)
				return false;
			p += 2;
		} else {
			*to = *p == '+' ? ' ' : *p;
		}
		to++;
	}
	*to = '\0';
	return true;
}

/* As an object: numbers where the table wants numbers. */
static int parse_query(const struct api_field *fields, const char *text, json_t **out, struct err *e)
{
	_autofree char *copy = strdup(text);
	char *save = NULL;
	json_t *j = json_object();
	unsigned n = 0;

	*out = j;
	for (char *p = copy ? strtok_r(copy, "&", &save) : NULL; p; p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');
		const struct api_field *f;
		uint64_t number;
		json_t *v;

		if (value)
			*value++ = '\0';
		if (!value || ++n > QUERY_MAX || !unescape(p) || !unescape(value) ||
		    json_object_get(j, p))
			return err_set(e, EINVAL,
				       "the query is not proper: write key=value&key=value");
		f = field_of(fields, p);
		v = f && f->kind == API_NUMBER &&
				    opt_parse_uint(value, 0, INT64_MAX, &number, NULL) == 0 ?
			    json_u64(number) :
			    json_string(value);
		if (!v || json_object_set_new(j, p, v) < 0)
			return err_set(e, EINVAL, "the query is not UTF-8 text");
	}
	return check_object(fields, j, e);
}

/* ---- routing ---- */

/* Does the path fit, with one part for {...}? */
static bool path_fits(const char *path, const char *template, char *param, size_t size)
{
	const char *open = strchr(template, '{'), *close = strchr(template, '}');
	size_t before = open ? (size_t)(open - template) : 0, len;

	*param = '\0';
	if (!open)
		return !strcmp(path, template);
	if (strncmp(path, template, before) != 0)
		return false;
	len = strcspn(path + before, "/");
	if (!len || len >= size || strcmp(path + before + len, close + 1) != 0)
		return false;
	memcpy(param, path + before, len);
	param[len] = '\0';
	return true;
}

/* The socket is its owner's alone (mode 0600): who else gets here is root. */
static bool allowed(uid_t uid, enum api_role role)
{
	(void)role;
	return uid == geteuid() || uid == 0;
}

static const struct api_route *route(const struct http_request *rq, struct api_call *call,
				     bool *path)
{
	const char *method = !strcmp(rq->method, "HEAD") ? "GET" : rq->method;

	*path = false;
	for (unsigned i = 0; i < ARRAY_SIZE(api_routes); i++) {
		if (!path_fits(rq->path, api_routes[i].path, call->param, sizeof(call->param)))
			continue;
		*path = true;
		if (!strcmp(method, api_routes[i].method))
			return &api_routes[i];
	}
	return NULL;
}

/* "7", with its quotes, or *. */
static int parse_if_match(const char *text, uint64_t *revision)
{
	char digits[24];
	size_t n = strlen(text);

	*revision = 0;
	if (!n || !strcmp(text, "*"))
		return 0;
	if (n < 3 || n - 2 >= sizeof(digits) || text[0] != '"' || text[n - 1] != '"')
		return -EINVAL;
	memcpy(digits, text + 1, n - 2);
	digits[n - 2] = '\0';
	return opt_parse_uint(digits, 1, INT64_MAX, revision, NULL);
}

static void request(void *ctx, const struct http_request *rq)
{
	struct api_call call = {.api = ctx, .conn = rq->conn};
	_autojson json_t *body = NULL, *query = NULL;
	const struct api_route *r;
	struct err e = {0};
	bool path;

	r = route(rq, &call, &path);
	if (!r) {
		answer_error(rq->conn, path ? 405 : 404, path ? "method" : "no-such-path",
			     path ? "this path does not take that method" : "there is no such path",
			     NULL);
		return;
	}
	if (!allowed(rq->uid, r->role)) {
		answer_error(rq->conn, 403, "forbidden", "you may not do that", NULL);
		return;
	}
	if (parse_if_match(rq->if_match, &call.revision) < 0) {
		answer_error(rq->conn, 412, "revision", "If-Match is none of the revisions", NULL);
		return;
	}
	if ((rq->body_len && !r->body) || (!rq->body_len && r->body_required))
		err_set(&e, EINVAL, r->body ? "a body is needed" : "no body is wanted");
	else if (rq->body_len)
		(void)(json_parse(rq->body, rq->body_len, HTTP_BODY_MAX, "the body", &body, &e) ||
		       check_object(r->body, body, &e));
	if (!e.code)
		(void)parse_query(r->query, rq->query, &query, &e);
	if (e.code) {
		answer_error(rq->conn, 400, "bad-request", e.msg, e.field);
		return;
	}
	call.body = body;
	call.query = query;
	r->handle(&call);
}

/* ---- life ---- */

int api_create(struct api **out, struct loop *l, int listen_fd, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));
	struct http_calls calls = {.ctx = a, .request = request, .closed = closed};
	int r;

	*out = NULL;
	if (!a)
		return err_set(e, ENOMEM, "out of memory");
	a->loop = l;
	r = http_create(&a->http, l, listen_fd, &calls, e);
	if (r < 0) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

void api_serve(struct api *a, struct vms *v, struct store *s)
{
	a->vms = v;
	a->store = s;
}

void api_destroy(struct api *a)
{
	if (!a)
		return;
	while (a->waiters)
		waiter_drop(a->waiters);
	http_destroy(a->http);
	free(a);
}
