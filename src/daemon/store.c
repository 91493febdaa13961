/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - SQLite, in WAL mode with synchronous=FULL: what is committed survives a power cut.
 *
 * The version of the schema is the file's user_version. Each step of `schema` leads from version i to i + 1, in a transaction of its
 * own, so that an old file is brought up to date step by step, and a crash in between is gone on from.
 *
 * A full file system must not keep anybody from stopping a VM. So what is only a record of what happens (operations, and whether a VM is
 * wanted to run) is kept in memory when it cannot be written (store_later.h), read from there, and written with the next change that
 * can be, or at the end. A definition is a promise: it is written, or refused.
 */
#include "daemon/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/store_later.h"
#include "util/fault.h"
#include "util/log.h"

#define VALUE_MAX ((size_t)1024 * 1024)

struct store {
	sqlite3 *db;
	char *path;
	struct store_later later;
	uint64_t last_id; /* of an operation */
};

static const char *const schema[] = {
	"CREATE TABLE vm (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE operation (id INTEGER PRIMARY KEY AUTOINCREMENT, value TEXT NOT NULL);",
	/* 2: which operations go on is found without reading all. */
	"ALTER TABLE operation ADD COLUMN open INTEGER NOT NULL DEFAULT 0;"
	"UPDATE operation SET open = 1 WHERE json_extract(value, '$.state') IN ('pending', 'running');"
	"CREATE INDEX operation_open ON operation (open) WHERE open = 1;",
};

static int fail(struct store *s, const char *what, struct err *e)
{
	int code = sqlite3_errcode(s->db);

	switch (code & 0xff) {
	case SQLITE_FULL:
		return err_set(e, ENOSPC,
			       "cannot %s: there is no room for \"%s\": make room on that file system",
			       what, s->path);
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return err_set(
			e, EIO,
			"\"%s\" is damaged (%s): put a copy of it there, or move it away to begin without definitions (VMs that run go on)",
			s->path, sqlite3_errmsg(s->db));
	default:
		return err_set(e, EIO, "cannot %s in \"%s\": %s", what, s->path,
			       sqlite3_errmsg(s->db));
	}
}

static int run(struct store *s, const char *sql, const char *what, struct err *e)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(s, what, e);
}

static sqlite3_stmt *prepare(struct store *s, const char *sql)
{
	sqlite3_stmt *st = NULL;

	return sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK ? st : NULL;
}

/* Of a statement without rows; ends it. */
static int finish(struct store *s, sqlite3_stmt *st, const char *what, struct err *e)
{
	int r = st && sqlite3_step(st) == SQLITE_DONE ? 0 : fail(s, what, e);

	sqlite3_finalize(st);
	return r;
}

static json_t *column(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);
	json_t *j = NULL;

	if (!text || json_parse(text, strlen(text), VALUE_MAX, "a record", &j, NULL) < 0)
		return NULL;
	return j;
}

static int version(struct store *s)
{
	sqlite3_stmt *st = prepare(s, "PRAGMA user_version");
	int v = st && sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int(st, 0) : -1;

	sqlite3_finalize(st);
	return v;
}

static int migrate(struct store *s, const char *path, struct err *e)
{
	int now = version(s), r = 0;
	char sql[1024];

	if (now < 0)
		return fail(s, "read the version", e);
	if (now > (int)ARRAY_SIZE(schema))
		return err_set(
			e, ENOTSUP,
			"\"%s\" was written by a newer lodged (schema %d, this one knows %u): use that one",
			path, now, (unsigned)ARRAY_SIZE(schema));
	for (; r == 0 && now < (int)ARRAY_SIZE(schema); now++) {
		snprintf(sql, sizeof(sql), "BEGIN IMMEDIATE;%s;PRAGMA user_version=%d;COMMIT",
			 schema[now], now + 1);
		r = run(s, sql, "bring it up to date", e);
	}
	return r;
}

static int read_last_id(struct store *s, struct err *e)
{
	sqlite3_stmt *st = prepare(s, "SELECT seq FROM sqlite_sequence WHERE name = 'operation'");
	int step = st ? sqlite3_step(st) : SQLITE_ERROR;

	if (step == SQLITE_ROW)
		s->last_id = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : fail(s, "read operations", e);
}

/* ---- writing, now or later ---- */

static bool is_open(const json_t *j)
{
	const char *state = json_string_value(json_object_get(j, "state"));

	return state && (!strcmp(state, "pending") || !strcmp(state, "running"));
}

static int write_vm(struct store *s, const char *name, const json_t *j, struct err *e)
{
	_autofree char *text = json_text(j);
	sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO vm (name, value) VALUES (?, ?)");

	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
	return finish(s, st, "keep a VM", e);
}

static int write_operation(struct store *s, uint64_t id, const json_t *j, struct err *e)
{
	_autofree char *text = json_text(j);
	sqlite3_stmt *st =
		prepare(s, "INSERT OR REPLACE INTO operation (id, value, open) VALUES (?, ?, ?)");

	sqlite3_bind_int64(st, 1, (sqlite3_int64)id);
	sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, is_open(j));
	return finish(s, st, "record an operation", e);
}

/* What waits to be written, as long as it goes well. */
static void flush(struct store *s)
{
	const struct store_later_item *i;

	while ((i = s->later.first) && (i->id ? write_operation(s, i->id, i->value, NULL) :
						write_vm(s, i->name, i->value, NULL)) == 0) {
		store_later_drop(&s->later, i->id, i->name);
		if (!s->later.n)
			log_info("\"%s\" is written again", s->path);
	}
}

/* A record of either kind: written, or kept for later. */
static int record(struct store *s, uint64_t id, const char *name, const json_t *j, struct err *e)
{
	struct err why = {0};
	int r;

	flush(s);
	r = id ? write_operation(s, id, j, &why) : write_vm(s, name, j, &why);
	if (r == 0) {
		store_later_drop(&s->later, id, name);
		return 0;
	}
	if (!s->later.n)
		log_error("%s; what happens is kept in memory until then", why.msg);
	return store_later_put(&s->later, id, name, j) == 0 ? 0 : err_set(e, -r, "%s", why.msg);
}

int store_open(struct store **out, const char *path, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	*out = NULL;
	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		return err_set(e, ENOMEM, "out of memory");
	}
	r = sqlite3_open_v2(path, &s->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL);
	r = r == SQLITE_OK ? 0 :
			     err_set(e, EIO, "cannot open \"%s\": %s", path, sqlite3_errmsg(s->db));
	if (r == 0)
		(void)sqlite3_busy_timeout(s->db, 2000);
	if (r == 0)
		r = run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
			"keep lodged's state", e);
	if (r == 0)
		r = migrate(s, path, e);
	if (r == 0)
		r = read_last_id(s, e);
	if (r < 0) {
		store_close(s);
		return r;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	flush(s);
	if (s->later.n)
		log_error("there is still no room for \"%s\": %u changes are lost", s->path,
			  s->later.n);
	store_later_fini(&s->later);
	sqlite3_close(s->db);
	free(s->path);
	free(s);
}

/* ---- VMs ---- */

int store_each_vm(struct store *s, int (*fn)(void *ctx, const char *name, const json_t *j),
		  void *ctx, struct err *e)
{
	sqlite3_stmt *st = prepare(s, "SELECT name, value FROM vm ORDER BY name");
	int r = st ? 0 : fail(s, "list VMs", e), step = SQLITE_DONE;

	while (r == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
		_autojson json_t *j = column(st, 1);
		const char *name = (const char *)sqlite3_column_text(st, 0);

		r = j && name ? fn(ctx, name, j) :
				err_set(e, EIO, "lodged's state: the record of \"%s\" is damaged",
					name ? name : "?");
	}
	if (r == 0 && step != SQLITE_DONE)
		r = fail(s, "list VMs", e);
	sqlite3_finalize(st);
	return r;
}

int store_put_vm(struct store *s, const char *name, const json_t *j, struct err *e)
{
	int r = fault_point("definition-keep", e);

	if (r < 0)
		return r;
	flush(s);
	r = write_vm(s, name, j, e);
	if (r == 0)
		store_later_drop(&s->later, 0, name);
	(void)fault_point("definition-kept", NULL);
	return r;
}

int store_note_vm(struct store *s, const char *name, const json_t *j, struct err *e)
{
	int r = fault_point("definition-keep", e);

	if (r == 0)
		r = record(s, 0, name, j, e);
	(void)fault_point("definition-kept", NULL);
	return r;
}

int store_drop_vm(struct store *s, const char *name, struct err *e)
{
	sqlite3_stmt *st;
	int r = fault_point("definition-drop", e);

	if (r < 0)
		return r;
	st = prepare(s, "DELETE FROM vm WHERE name = ?");
	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	r = finish(s, st, "forget a VM", e);
	if (r == 0)
		store_later_drop(&s->later, 0, name);
	(void)fault_point("definition-dropped", NULL);
	return r;
}

/* ---- operations ---- */

int store_new_operation(struct store *s, const json_t *j, uint64_t *id, struct err *e)
{
	sqlite3_stmt *st;
	int r = fault_point("operation-record", e);

	if (r == 0)
		r = record(s, s->last_id + 1, "", j, e);
	if (r < 0)
		return r;
	(void)fault_point("operation-recorded", NULL);
	*id = ++s->last_id;
	if (*id > STORE_OPERATIONS_MAX && !s->later.n) {
		st = prepare(s, "DELETE FROM operation WHERE id <= ? AND open = 0");
		sqlite3_bind_int64(st, 1, (sqlite3_int64)(*id - STORE_OPERATIONS_MAX));
		(void)finish(s, st, "drop old operations", NULL);
	}
	return 0;
}

int store_put_operation(struct store *s, uint64_t id, const json_t *j, struct err *e)
{
	int r = fault_point("operation-state", e);

	return r < 0 ? r : record(s, id, "", j, e);
}

static json_t *with_id(sqlite3_stmt *st)
{
	json_t *j = column(st, 1);

	if (j)
		json_object_set_new(j, "id", json_integer(sqlite3_column_int64(st, 0)));
	return j;
}

json_t *store_get_operation(struct store *s, uint64_t id)
{
	const struct store_later_item *later = store_later_find(&s->later, id, "");
	sqlite3_stmt *st = prepare(s, "SELECT id, value FROM operation WHERE id = ?");
	json_t *j = NULL;

	if (later) {
		sqlite3_finalize(st);
		j = json_deep_copy(later->value);
		json_object_set_new(j, "id", json_u64(id));
		return j;
	}
	sqlite3_bind_int64(st, 1, (sqlite3_int64)id);
	if (st && sqlite3_step(st) == SQLITE_ROW)
		j = with_id(st);
	sqlite3_finalize(st);
	return j;
}

json_t *store_list_operations(struct store *s, uint64_t before, unsigned limit)
{
	sqlite3_stmt *st =
		prepare(s, "SELECT id, value FROM operation WHERE id < ? ORDER BY id DESC LIMIT ?");
	json_t *list = json_array();

	sqlite3_bind_int64(st, 1, before && before < INT64_MAX ? (sqlite3_int64)before : INT64_MAX);
	sqlite3_bind_int(st, 2, (int)limit);
	while (st && sqlite3_step(st) == SQLITE_ROW)
		(void)json_array_append_new(list, with_id(st));
	sqlite3_finalize(st);
	store_later_merge(&s->later, list, before, limit);
	return list;
}

int store_end_operations(struct store *s, struct err *e)
{
	sqlite3_stmt *st = prepare(s, "SELECT id, value FROM operation WHERE open = 1");
	_autojson json_t *open = json_array();
	json_t *j;
	int r = st ? 0 : fail(s, "list operations", e);
	size_t i;

	while (st && sqlite3_step(st) == SQLITE_ROW)
		(void)json_array_append_new(open, with_id(st));
	sqlite3_finalize(st);
	json_array_foreach(open, i, j)
	{
		uint64_t id = (uint64_t)json_integer_value(json_object_get(j, "id"));

		json_object_del(j, "id");
		json_object_set_new(j, "state", json_string("failed"));
		json_object_set_new(j, "error",
				    json_pack("{s:s, s:s}", "id", "interrupted", "message",
					      "lodged ended while this went on"));
		if (r == 0)
			r = record(s, id, "", j, e);
	}
	return r;
}
