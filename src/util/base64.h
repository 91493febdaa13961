/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.h - base64 (RFC 4648 §4) with padding, as JSON protocols carry bytes.
 */
#ifndef LODGE_UTIL_BASE64_H
#define LODGE_UTIL_BASE64_H

#include "util/base.h"

/* malloc'd text with its NUL, without line breaks; NULL: out of memory. */
char *base64_encode(const void *data, size_t len);
/*
 * Strict: only the alphabet, whole groups of four, padding at the end only, no bits in the padding. malloc'd *data (never
 * NULL on success) of *len bytes. 0, -EINVAL, -ENOMEM.
 */
int base64_decode(const char *text, size_t text_len, uint8_t **data, size_t *len);

#endif
