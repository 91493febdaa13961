/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - routing, rights, life.
 *
 * The way of a request: route by method and path; the role that the route needs against what the caller has; body and query against
 * their tables, with everything refused that is not in them; then the handler, on one object. A handler answers its call,
 * or leaves it to somebody who waits for something.
 *
 * Who the caller is comes with the connection: the user of a unix socket, the certificate of TLS. lodged's own user and root are
 * admins; others have the role that the settings give them, or none.
 */
#define API_TABLES
#include "daemon/api_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/events.h"
#include "util/log.h"
#include "util/opt.h"

#define PING_SECONDS 30u

/* ---- answers ---- */

void api_error(struct http_conn *c, unsigned status, const char *id, const char *message,
	       const char *field)
{
	json_t *e = json_pack("{s:s}", "id", id), *text = json_string(message);

	json_object_set_new(e, "message", text ? text : json_string("failed"));
	if (field && *field)
		json_object_set_new(e, "field", json_string(field));
	http_answer(c, status, json_pack("{s:o}", "error", e), NULL, NULL);
}

void api_err(struct http_conn *c, const struct err *e)
{
	static const struct {
		const char *id;
		unsigned status;
	} all[] = {{"not-found", 404},	 {"exists", 409},     {"running", 409},
		   {"not-running", 409}, {"busy", 409},	      {"capacity", 409},
		   {"revision", 412},	 {"bad-value", 400},  {"full", 507},
		   {"no-answer", 504},	 {"no-console", 409}, {"too-many", 503}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].id, e->field)) {
			api_error(c, all[i].status, all[i].id, e->msg, NULL);
			return;
		}
	api_error(c, 500, "internal", e->msg, NULL);
}

bool api_may_hold(struct api_call *call)
{
	if (http_may_hold(call->conn))
		return true;
	api_error(call->conn, 503, "too-many",
		  "too many connections wait for something already: end one, or ask without waiting",
		  NULL);
	return false;
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

/* ---- rights ---- */

static enum role role_of(const struct api *a, const struct http_peer *peer)
{
	if (*peer->certificate)
		return settings_certificate_role(a->set, peer->certificate);
	if (peer->uid == geteuid() || peer->uid == 0)
		return ROLE_ADMIN;
	return settings_user_role(a->set, peer->uid);
}

static void forbid(const struct http_request *rq, enum role has)
{
	const struct http_peer *peer = rq->peer;
	char who[HTTP_FINGERPRINT_MAX + 32], text[400];

	if (*peer->certificate)
		snprintf(who, sizeof(who), "the certificate %s", peer->certificate);
	else
		snprintf(who, sizeof(who), "the user %u", (unsigned)peer->uid);
	if (has == ROLE_NONE)
		snprintf(text, sizeof(text),
			 "%s has no role here: its administrator gives one by `%s` in lodged.conf",
			 who, *peer->certificate ? "client = FINGERPRINT ROLE" : "user = NAME ROLE");
	else
		snprintf(text, sizeof(text), "%s is %s here, and may not do that", who,
			 settings_role_names[has]);
	log_info_limited("refused: %s %s: %s", rq->method, rq->path, text);
	api_error(rq->conn, 403, "forbidden", text, NULL);
}

/* A page of another site in a browser that has a certificate for us speaks with its user's rights, but not in the user's name. */
static bool foreign_origin(const struct http_request *rq)
{
	static const char scheme[] = "https://";
	size_t n = sizeof(scheme) - 1;

	return *rq->origin &&
	       (strncmp(rq->origin, scheme, n) != 0 || strcmp(rq->origin + n, rq->host) != 0);
}

/* ---- a request ---- */

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
	enum role has = role_of(call.api, rq->peer);
	const struct api_route *r;
	struct err e = {0};
	bool path;

	/* Who has no role does not learn what there is. */
	if (has == ROLE_NONE) {
		forbid(rq, has);
		return;
	}
	r = route(rq, &call, &path);
	if (!r) {
		api_error(rq->conn, path ? 405 : 404, path ? "method" : "no-such-path",
			  path ? "this path does not take that method" : "there is no such path",
			  NULL);
		return;
	}
	if (has < r->role) {
		forbid(rq, has);
		return;
	}
	if (foreign_origin(rq)) {
		api_error(rq->conn, 403, "forbidden",
			  "the request comes from a page of another site", NULL);
		return;
	}
	if (r->ws && !rq->ws) {
		api_error(rq->conn, 426, "bad-request", "this path speaks WebSocket", NULL);
		return;
	}
	if (parse_if_match(rq->if_match, &call.revision) < 0) {
		api_error(rq->conn, 412, "revision", "If-Match is none of the revisions", NULL);
		return;
	}
	if ((rq->body_len && !r->body) || (!rq->body_len && r->body_required))
		err_set(&e, EINVAL, r->body ? "a body is needed" : "no body is wanted");
	else if (rq->body_len)
		(void)(json_parse(rq->body, rq->body_len, HTTP_BODY_MAX, "the body", &body, &e) ||
		       apicheck_body(r->body, body, &e));
	if (!e.code)
		(void)apicheck_query(r->query, rq->query, &query, &e);
	if (e.code) {
		api_error(rq->conn, 400, "bad-request", e.msg, e.field);
		return;
	}
	if (has < apicheck_role(r->query, query)) {
		forbid(rq, has);
		return;
	}
	if (strstr(r->path, "{name}") &&
	    vms_check_revision(call.api->vms, call.param, call.revision, &e) < 0) {
		api_err(rq->conn, &e);
		return;
	}
	if (r->ws && !api_may_hold(&call))
		return;
	call.body = body;
	call.query = query;
	call.role = has;
	call.first = r->first;
	r->handle(&call);
}

void api_getServer(struct api_call *call)
{
	http_answer(call->conn, 200,
		    json_pack("{s:s, s:s, s:i, s:s, s:s}", "api", "1.0", "version", LODGE_VERSION,
			      "pid", (int)getpid(), "role", settings_role_names[call->role],
			      "description", "docs/api/lodge.json"),
		    NULL, NULL);
}

/* ---- life ---- */

static void closed(void *ctx, struct http_conn *conn)
{
	apivm_closed(ctx, conn);
	apilive_closed(ctx, conn);
	apiguest_closed(ctx, conn);
}

int api_create(struct api **out, struct loop *l, const struct settings *set, int listen_fd,
	       int tcp_fd, struct tls *tls, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));
	struct http_calls calls = {.ctx = a, .request = request, .closed = closed};
	int r;

	*out = NULL;
	if (!a)
		return err_set(e, ENOMEM, "out of memory");
	a->loop = l;
	a->set = set;
	r = http_create(&a->local, l, listen_fd, NULL, PING_SECONDS, &calls, e);
	if (r == 0 && tcp_fd >= 0)
		r = http_create(&a->remote, l, tcp_fd, tls, PING_SECONDS, &calls, e);
	if (r < 0) {
		api_destroy(a);
		return r;
	}
	*out = a;
	return 0;
}

int api_listen_again(struct api *a, int listen_fd)
{
	return http_listen_again(a->local, listen_fd);
}

int api_serve(struct api *a, struct vms *v, struct store *s, struct err *e)
{
	a->vms = v;
	a->store = s;
	return events_create(&a->events, a->loop, v, e);
}

void api_vm_changed(void *ctx, const char *name, const char *state)
{
	struct api *a = ctx;

	if (a->events)
		events_vm(a->events, name, state);
	if (strcmp(state, "running") != 0 && strcmp(state, "busy") != 0)
		apivm_settled(a, name);
}

void api_destroy(struct api *a)
{
	if (!a)
		return;
	http_destroy(a->local);
	http_destroy(a->remote);
	apivm_end(a);
	apilive_end(a);
	apiguest_end(a);
	events_destroy(a->events);
	free(a);
}
