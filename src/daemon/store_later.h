/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_later.h - what store.c could not write, because the file system is full or does not take it: kept in memory, and written when it can be.
 *
 * Keys are the number of an operation, or the name of a VM (then the number is 0). Each is there once, with its last value.
 */
#ifndef LODGE_DAEMON_STORE_LATER_H
#define LODGE_DAEMON_STORE_LATER_H

#include "proto/config.h"
#include "util/json.h"

#define STORE_LATER_MAX 4096u

struct store_later_item {
	struct store_later_item *next;
	uint64_t id;
	char name[CONFIG_NAME_MAX + 1];
	json_t *value;
};

struct store_later {
	struct store_later_item *first; /* in the order in which they came */
	unsigned n;
};

/* The value is copied. -ENOSPC: there are too many. */
int store_later_put(struct store_later *l, uint64_t id, const char *name, const json_t *value);
/* NULL: it is not among them. */
const struct store_later_item *store_later_find(const struct store_later *l, uint64_t id,
						const char *name);
void store_later_drop(struct store_later *l, uint64_t id, const char *name);
void store_later_fini(struct store_later *l);
/* A list of operations, the newest first, with those of `l` below `before` in their places; at most `limit`. */
void store_later_merge(const struct store_later *l, json_t *list, uint64_t before, unsigned limit);

#endif
