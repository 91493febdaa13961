/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - text that a person reads, put together in a buffer of fixed size: cut, never overrun.
 */
#ifndef LODGE_UTIL_TEXT_H
#define LODGE_UTIL_TEXT_H

#include "util/base.h"

struct text {
	char *buf;
	size_t size, len; /* len: the length wanted so far, as with snprintf */
};

void text_print(struct text *t, const char *fmt, ...) PRINTF_FORMAT(2, 3);

#endif
