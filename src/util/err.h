/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - one sentence about what went wrong, for set-up paths: what, which object, why, what to do.
 *
 * A function that can fail because of the host or the operator returns 0 or -errno and, where a
 * person will read the reason, takes a last `struct err *` (may be NULL). The first sentence set
 * wins; callees report, callers decide. Not used on hot paths nor for guest misbehaviour.
 */
#ifndef LODGE_UTIL_ERR_H
#define LODGE_UTIL_ERR_H

#include "util/base.h"

struct err {
	int code;	 /* positive errno; 0: nothing set */
	char msg[512];	 /* the sentence, no trailing newline */
	char field[64];	 /* configuration key or option at fault, "" if none (JSON: field) */
	char value[128]; /* its value as given, shortened (JSON: value) */
	char limit[96];	 /* what would be accepted, "" if there is no simple bound (JSON: limit) */
	char hint[192];	 /* what to do next, "" if the sentence says it (JSON: hint) */
};

/* Sets the sentence and returns -code, so that `return err_set(e, EINVAL, "...")` reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_FORMAT(3, 4);
/* As err_set, and appends ": strerror(code)". */
int err_errno(struct err *e, int code, const char *fmt, ...) PRINTF_FORMAT(3, 4);
/* Adds which option or key, with which value. Both may be NULL. Returns -e->code (-EINVAL without
 * e). Like the sentence, a field, limit or hint that is there already stays. */
int err_field(struct err *e, const char *field, const char *value);
int err_limit(struct err *e, const char *fmt, ...) PRINTF_FORMAT(2, 3);
int err_hint(struct err *e, const char *fmt, ...) PRINTF_FORMAT(2, 3);
/* Copies text for a message: control characters become '?', and what is too long ends in "...". Returns dst. */
const char *err_quote(char *dst, size_t size, const char *text);

#ifdef __clang_analyzer__
/* The analyzer of clang-tidy does not see into err.c: without this it takes an error for a success. */
static inline int err_below_0(int r)
{
	if (r >= 0)
		__builtin_unreachable();
	return r;
}
#define err_set(...) err_below_0(err_set(__VA_ARGS__))
#define err_errno(...) err_below_0(err_errno(__VA_ARGS__))
#define err_field(...) err_below_0(err_field(__VA_ARGS__))
#define err_limit(...) err_below_0(err_limit(__VA_ARGS__))
#define err_hint(...) err_below_0(err_hint(__VA_ARGS__))
#endif

#endif
