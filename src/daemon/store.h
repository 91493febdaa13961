/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - what lodged remembers: definitions of VMs and records of operations, in one SQLite file. A change is on the disk when
 * the call returns; a crash at any moment leaves the old or the new. Where there is no room any more, a definition is refused, and a record of
 * what happens waits in memory (store.c).
 */
#ifndef LODGE_DAEMON_STORE_H
#define LODGE_DAEMON_STORE_H

#include "util/err.h"
#include "util/json.h"

#define STORE_OPERATIONS_MAX 1000u /* older records go */

struct store;

/* Opens or makes it; a file of an older schema is brought up to date, one of a newer is refused. */
int store_open(struct store **out, const char *path, struct err *e);
void store_close(struct store *s); /* accepts NULL */

/* Calls fn for each definition, by name. j is borrowed. Stops at an error. */
int store_each_vm(struct store *s, int (*fn)(void *ctx, const char *name, const json_t *j),
		  void *ctx, struct err *e);
int store_put_vm(struct store *s, const char *name, const json_t *j, struct err *e);
/* The same, of what is no change that anybody made: it may be written later. */
int store_note_vm(struct store *s, const char *name, const json_t *j, struct err *e);
int store_drop_vm(struct store *s, const char *name, struct err *e);

/* The number of a new operation. */
int store_new_operation(struct store *s, const json_t *j, uint64_t *id, struct err *e);
int store_put_operation(struct store *s, uint64_t id, const json_t *j, struct err *e);
/* NULL: there is none (or it cannot be read). */
json_t *store_get_operation(struct store *s, uint64_t id);
/* The newest first, at most `limit` of those below `before` (0: of all). NULL: out of memory. */
json_t *store_list_operations(struct store *s, uint64_t before, unsigned limit);
/* Those that were going on when a daemon ended: they are recorded as failed. */
int store_end_operations(struct store *s, struct err *e);

#endif
