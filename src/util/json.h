/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - JSON from outside, with limits: a thin layer over jansson.
 *
 * jansson builds the tree; this file is the gate in front of it. Text is refused when it is too
 * long, too deep, has too many values, has a key twice, a NUL, bad UTF-8 or anything behind its end; errors name line
 * and column. The typed getters below are how a receiver reads an object that it does not trust:
 * each checks presence, type and range and names the key in its error, and json_check_keys()
 * refuses what nobody asked for.
 */
#ifndef LODGE_UTIL_JSON_H
#define LODGE_UTIL_JSON_H

#include <jansson.h>

#include "util/base.h"
#include "util/err.h"

#define JSON_DEPTH_MAX 16u
#define JSON_VALUES_MAX (1u << 20) /* and keys */

void json_unref(json_t **j);
#define _autojson __attribute__((cleanup(json_unref)))

/* Parses `len` bytes of at most `max_bytes`, nested at most JSON_DEPTH_MAX deep, with at most
 * JSON_VALUES_MAX values. `what` begins the sentence ("configuration"). *out is owned by the caller. 0, -EINVAL, -EFBIG, -ENOMEM. */
int json_parse(const char *text, size_t len, size_t max_bytes, const char *what, json_t **out,
	       struct err *e);
/* Compact text, malloc'd; NULL when out of memory. */
char *json_text(const json_t *j);

/* -EINVAL unless obj is an object all of whose keys are in the NULL-terminated list; suggests a
 * near one. */
int json_check_keys(const json_t *obj, const char *const *keys, const char *what, struct err *e);

/*
 * Typed getters. Return 1: there, 0: not there (only if !required; *out stays as it was), -EINVAL:
 * missing, wrong type or out of range. Text must be shorter than `size` and is copied with its NUL.
 */
int json_get_text(const json_t *obj, const char *key, bool required, char *out, size_t size,
		  struct err *e);
int json_get_u64(const json_t *obj, const char *key, bool required, uint64_t min, uint64_t max,
		 uint64_t *out, struct err *e);
int json_get_bool(const json_t *obj, const char *key, bool required, bool *out, struct err *e);
/* One word of a NULL-terminated list; *out is its index. */
int json_get_choice(const json_t *obj, const char *key, bool required, const char *const *words,
		    unsigned *out, struct err *e);

/* An unsigned 64-bit number as JSON; above 2^63-1 saturates (JSON integers here are signed). */
json_t *json_u64(uint64_t v);

#endif
