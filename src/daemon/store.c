/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - SQLite, in WAL mode with synchronous=FULL: what is committed survives a power cut.
 *
 * The version of the schema is the file's user_version. Each step of `schema` leads from version i to i + 1, in a transaction of its
 * own, so that an old file is brought up to date step by step, and a crash in between is gone on from.
 */
#include "daemon/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "util/fault.h"

#define VALUE_MAX ((size_t)1024 * 1024)

struct store {
	sqlite3 *db;
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

	return err_set(e, code == SQLITE_FULL ? ENOSPC : EIO, "lodged's state: cannot %s: %s", what,
		       sqlite3_errmsg(s->db));
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

int store_open(struct store **out, const char *path, struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	*out = NULL;
	if (!s)
		return err_set(e, ENOMEM, "out of memory");
	r = sqlite3_open_v2(path, &s->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, NULL);
	r = r == SQLITE_OK ? 0 :
			     err_set(e, EIO, "cannot open \"%s\": %s", path, sqlite3_errmsg(s->db));
	if (r == 0)
		(void)sqlite3_busy_timeout(s->db, 2000);
	if (r == 0)
		r = run(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", "be set up", e);
	if (r == 0)
		r = migrate(s, path, e);
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
	sqlite3_close(s->db);
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
	_autofree char *text = json_text(j);
	sqlite3_stmt *st;
	int r = fault_point("definition-keep", e);

	if (r < 0)
		return r;
	st = prepare(s, "INSERT OR REPLACE INTO vm (name, value) VALUES (?, ?)");
	sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
	r = finish(s, st, "keep a VM", e);
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
	(void)fault_point("definition-dropped", NULL);
	return r;
}

/* ---- operations ---- */

static bool is_open(const json_t *j)
{
	const char *state = json_string_value(json_object_get(j, "state"));

	return state && (!strcmp(state, "pending") || !strcmp(state, "running"));
}

int store_new_operation(struct store *s, const json_t *j, uint64_t *id, struct err *e)
{
	_autofree char *text = json_text(j);
	sqlite3_stmt *st;
	int r = fault_point("operation-record", e);

	if (r < 0)
		return r;
	st = prepare(s, "INSERT INTO operation (value, open) VALUES (?, ?)");
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, is_open(j));
	r = finish(s, st, "record an operation", e);
	if (r < 0)
		return r;
	(void)fault_point("operation-recorded", NULL);
	*id = (uint64_t)sqlite3_last_insert_rowid(s->db);
	if (*id > STORE_OPERATIONS_MAX) {
		st = prepare(s, "DELETE FROM operation WHERE id <= ? AND open = 0");
		sqlite3_bind_int64(st, 1, (sqlite3_int64)(*id - STORE_OPERATIONS_MAX));
		(void)finish(s, st, "drop old operations", NULL);
	}
	return 0;
}

int store_put_operation(struct store *s, uint64_t id, const json_t *j, struct err *e)
{
	_autofree char *text = json_text(j);
	sqlite3_stmt *st;
	int r = fault_point("operation-state", e);

	if (r < 0)
		return r;
	st = prepare(s, "UPDATE operation SET value = ?, open = ? WHERE id = ?");
	sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, is_open(j));
	sqlite3_bind_int64(st, 3, (sqlite3_int64)id);
	return finish(s, st, "record an operation", e);
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
	sqlite3_stmt *st = prepare(s, "SELECT id, value FROM operation WHERE id = ?");
	json_t *j = NULL;

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
	return list;
}

int store_end_operations(struct store *s, struct err *e)
{
	return run(s,
		   "UPDATE operation SET open = 0, value = json_set(value, '$.state', 'failed', "
		   "'$.error.id', 'interrupted', '$.error.message', 'lodged ended while this went on') "
		   "WHERE open = 1",
		   "end what was going on", e);
}
