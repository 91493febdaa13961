/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.c - base64 (RFC 4648 §4).
 */
#include "util/base64.h"

#include <errno.h>
#include <stdlib.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *in = data;
	char *text, *out;

	if (len > SIZE_MAX / 4)
		return NULL;
	text = malloc((len + 2) / 3 * 4 + 1);
	if (!text)
		return NULL;
	out = text;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;

		v |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
		v |= i + 2 < len ? in[i + 2] : 0;
		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*out = '\0';
	return text;
}

static int value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t text_len, uint8_t **data, size_t *len)
{
	size_t padding = 0, n = 0;
	uint8_t *out;

	if (text_len % 4)
		return -EINVAL;
	while (padding < 2 && padding < text_len && text[text_len - 1 - padding] == '=')
		padding++;
	out = malloc(text_len / 4 * 3 + 1);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < text_len; i += 4) {
		size_t chars = i + 4 == text_len ? 4 - padding : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < chars ? value(text[i + k]) : 0;

			if (d < 0)
				goto bad;
			v = v << 6 | (uint32_t)d;
		}
		if ((chars == 2 && (v & 0xffff)) || (chars == 3 && (v & 0xff)))
			goto bad;
		out[n++] = (uint8_t)(v >> 16);
		if (chars > 2)
			out[n++] = (uint8_t)(v >> 8);
		if (chars > 3)
			out[n++] = (uint8_t)v;
	}
	*data = out;
	*len = n;
	return 0;
bad:
	free(out);
	return -EINVAL;
}
