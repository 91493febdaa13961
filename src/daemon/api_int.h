/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_int.h - what the files of the API share: api.c (routes, rights, life), apicheck.c (bodies and queries), apivm.c (definitions and
 * operations), apilive.c (VMs that run), apiguest.c (inside of them).
 */
#ifndef LODGE_DAEMON_API_INT_H
#define LODGE_DAEMON_API_INT_H

#include "daemon/api.h"

enum api_kind { API_TEXT, API_NUMBER, API_BOOL, API_WORD, API_TEXTS };

struct api_field {
	const char *name;
	enum api_kind kind;
	bool required;
	uint64_t min, max; /* of a number; of the bytes of a text; of how many texts */
	const char *const *words;
	const enum role *roles; /* that each word needs; NULL: the route's */
};

struct api_call {
	struct api *api;
	struct http_conn *conn;
	char param[72];	   /* {name} or {id} of the path */
	json_t *body;	   /* object, NULL: none */
	json_t *query;	   /* object */
	uint64_t revision; /* If-Match; 0: none */
	enum role role;	   /* the caller's */
	/* Of a WebSocket: what its client's first message may have. NULL: it is not wanted. */
	const struct api_field *first;
};

struct api_route {
	const char *method, *path;
	enum role role;
	bool ws; /* becomes a WebSocket */
	void (*handle)(struct api_call *call);
	const struct api_field *body;
	bool body_required;
	const struct api_field *first; /* of a WebSocket: its client's first message */
	const struct api_field *query;
};

#include <daemon/routes_gen.h> /* the handlers; with API_TABLES the routes too */

struct api {
	struct loop *loop;
	const struct settings *set;
	struct http *local, *remote; /* the unix socket's; TCP's, or NULL */
	struct vms *vms;
	struct store *store;
	struct events *events;
	struct waiter *waiters;
	struct live *live;
	struct talk *talks;
	unsigned n_talks;
};

void api_error(struct http_conn *c, unsigned status, const char *id, const char *message,
	       const char *field);
/* The id is in e->field. */
void api_err(struct http_conn *c, const struct err *e);
/* Answers that it cannot wait, if it cannot. */
bool api_may_hold(struct api_call *call);

/* apicheck.c: 0, or -EINVAL with the field at fault. The query becomes an object, with numbers where the table wants them. */
int apicheck_body(const struct api_field *fields, const json_t *j, struct err *e);
int apicheck_query(const struct api_field *fields, const char *text, json_t **out, struct err *e);
/* The role that a query needs beyond the route's. */
enum role apicheck_role(const struct api_field *fields, const json_t *query);

/* It neither runs nor is worked on: who waits for its end gets an answer. */
void apivm_settled(struct api *a, const char *name);

/* A connection that was not answered is gone. */
void apivm_closed(struct api *a, const struct http_conn *conn);
void apilive_closed(struct api *a, const struct http_conn *conn);
void apiguest_closed(struct api *a, const struct http_conn *conn);
void apivm_end(struct api *a);
void apilive_end(struct api *a);
void apiguest_end(struct api *a);

#endif
