/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c - filling in struct err. The first writer of each part wins: it stood nearest to the cause.
 */
#include "util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void err_vset(struct err *e, int code, bool with_errno, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void err_vset(struct err *e, int code, bool with_errno, const char *fmt, va_list ap)
{
	char why[96];
	int n;

	if (!e || e->code)
		return;
	e->code = code ? code : EINVAL;
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	if (n < 0)
		n = 0;
	if (!with_errno || (size_t)n >= sizeof(e->msg))
		return;
	/* GNU strerror_r: thread-safe, may return its own constant text. */
	snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerror_r(code, why, sizeof(why)));
}

int(err_set)(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(e, code, false, fmt, ap);
	va_end(ap);
	return code ? -code : -EINVAL;
}

int(err_errno)(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	err_vset(e, code, true, fmt, ap);
	va_end(ap);
	return code ? -code : -EINVAL;
}

const char *err_quote(char *dst, size_t size, const char *text)
{
	size_t i;

	if (!size)
		return dst;
	for (i = 0; text[i] && i + 1 < size; i++) {
		unsigned char c = (unsigned char)text[i], last = i ? (unsigned char)text[i - 1] : 0;
		bool second = last == 0xc2 && c >= 0x80 && c <= 0x9f;

		dst[i] = (c < 0x20 || c == 0x7f || second) ? '?' : text[i];
		if (second) /* U+0080 to U+009F: to a terminal they are what ESC and a letter are */
			dst[i - 1] = '?';
	}
	dst[i] = '\0';
	if (text[i] && size > 4) {
		/* Cut at a character, not inside of a UTF-8 sequence. */
		size_t end = size - 4;

		while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
			end--;
		memcpy(dst + end, "...", 4);
	}
	return dst;
}

static int err_result(const struct err *e)
{
	return e && e->code ? -e->code : -EINVAL;
}

int(err_field)(struct err *e, const char *field, const char *value)
{
	if (e && field && !e->field[0]) {
		err_quote(e->field, sizeof(e->field), field);
		if (value)
			err_quote(e->value, sizeof(e->value), value);
	}
	return err_result(e);
}

static int err_text(struct err *e, char *dst, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static int err_text(struct err *e, char *dst, size_t size, const char *fmt, va_list ap)
{
	if (!dst[0])
		vsnprintf(dst, size, fmt, ap);
	return err_result(e);
}

int(err_limit)(struct err *e, const char *fmt, ...)
{
	va_list ap;
	int r;

	if (!e)
		return -EINVAL;
	va_start(ap, fmt);
	r = err_text(e, e->limit, sizeof(e->limit), fmt, ap);
	va_end(ap);
	return r;
}

int(err_hint)(struct err *e, const char *fmt, ...)
{
	va_list ap;
	int r;

	if (!e)
		return -EINVAL;
	va_start(ap, fmt);
	r = err_text(e, e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return r;
}
