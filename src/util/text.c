/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - bounded text. */
#include "util/text.h"

#include <stdarg.h>
#include <stdio.h>

void text_print(struct text *t, const char *fmt, ...)
{
	size_t room = t->len < t->size ? t->size - t->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room ? t->buf + t->len : NULL, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
}
