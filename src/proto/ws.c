/* SPDX-License-Identifier: Apache-2.0 */
/* ws.c - see ws.h. Sections are those of RFC 6455. */
#include "proto/ws.h"

#include <stdlib.h>
#include <string.h>

#include "util/base64.h"
#include "util/sha1.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

void ws_reader_init(struct ws_reader *r, bool server, size_t max)
{
	*r = (struct ws_reader){.server = server, .max = max, .frame = WS_NONE, .op = WS_NONE};
}

void ws_reader_fini(struct ws_reader *r)
{
	free(r->data);
	ws_reader_init(r, r->server, r->max);
}

bool ws_utf8(const uint8_t *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		uint8_t c = text[i++];
		unsigned more = c < 0x80	      ? 0 :
				c >= 0xc2 && c < 0xe0 ? 1 :
				c >= 0xe0 && c < 0xf0 ? 2 :
							3;
		uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
		uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;

		if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || more > len - i)
			return false;
		for (; more; more--, low = 0x80, high = 0xbf, i++)
			if (text[i] < low || text[i] > high)
				return false;
	}
	return true;
}

/* How long a head is that begins with these bytes. */
static unsigned head_size(const struct ws_reader *r)
{
	unsigned len = r->head[1] & 0x7f;

	if (r->head_len < 2)
		return 2;
	return 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + (r->head[1] & 0x80 ? 4 : 0);
}

/* A whole head (§5.2). 0, or the code of the close. */
static unsigned take_head(struct ws_reader *r)
{
	unsigned op = r->head[0] & 0x0f, bytes;
	uint64_t len = r->head[1] & 0x7f;
	bool final = r->head[0] & 0x80, masked = r->head[1] & 0x80, control = op & 8;

	bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
	if (bytes) {
		len = 0;
		for (unsigned i = 0; i < bytes; i++)
			len = len << 8 | r->head[2 + i];
		if (len < (bytes == 2 ? 126u : 65536u) || len >> 63)
			return WS_PROTOCOL;
	}
	if ((r->head[0] & 0x70) || masked != r->server || (op > WS_BINARY && !control) ||
	    op > WS_PONG || (control && (!final || len > WS_CONTROL_MAX)))
		return WS_PROTOCOL;
	/* §5.4: a fragment follows a first one, and nothing else does but control frames. */
	if (!control && (op == WS_MORE) != (r->op != WS_NONE))
		return WS_PROTOCOL;
	if (!control && len > r->max - r->len)
		return WS_TOO_LARGE;
	memset(r->mask, 0, sizeof(r->mask));
	if (masked)
		memcpy(r->mask, r->head + 2 + bytes, sizeof(r->mask));
	r->mask_at = 0;
	r->frame = (enum ws_op)op;
	r->final = final;
	r->left = len;
	if (control)
		r->control_len = 0;
	else if (op != WS_MORE)
		r->op = r->frame;
	return 0;
}

static bool reserve(struct ws_reader *r, size_t more)
{
	size_t cap = r->cap ? r->cap : 256;
	uint8_t *data;

	if (r->data && r->len + more <= r->cap)
		return true;
	while (cap < r->len + more)
		cap *= 2;
	data = realloc(r->data, cap);
	if (!data)
		return false;
	r->data = data;
	r->cap = cap;
	return true;
}

/* Those that may be sent (§7.4). */
static bool code_good(unsigned code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static unsigned take_control(struct ws_reader *r, struct ws_message *m)
{
	*m = (struct ws_message){.op = r->frame, .data = r->control, .len = r->control_len};
	if (m->op != WS_CLOSE)
		return 0;
	m->code = 1005;
	if (m->len == 1)
		return WS_PROTOCOL;
	if (m->len >= 2) {
		m->code = (unsigned)m->data[0] << 8 | m->data[1];
		m->data += 2;
		m->len -= 2;
		if (!code_good(m->code))
			return WS_PROTOCOL;
	}
	return ws_utf8(m->data, m->len) ? 0 : WS_NOT_TEXT;
}

/* The frame has ended. */
static unsigned take_frame(struct ws_reader *r, struct ws_message *m)
{
	bool control = r->frame & 8;
	unsigned code = 0;

	if (control) {
		code = take_control(r, m);
	} else if (r->final) {
		*m = (struct ws_message){.op = r->op, .data = r->data, .len = r->len};
		r->op = WS_NONE;
		r->len = 0; /* the bytes stay until the next are taken */
		if (m->op == WS_TEXT && !ws_utf8(m->data, m->len))
			code = WS_NOT_TEXT;
	}
	r->frame = WS_NONE;
	r->head_len = 0;
	return code;
}

ssize_t ws_read(struct ws_reader *r, const uint8_t *data, size_t len, struct ws_message *m)
{
	size_t at = 0;
	unsigned code;

	*m = (struct ws_message){.op = WS_NONE};
	for (;;) {
		uint8_t *to;
		size_t n;

		if (r->frame == WS_NONE) {
			while (at < len && r->head_len < head_size(r))
				r->head[r->head_len++] = data[at++];
			if (r->head_len < head_size(r))
				return (ssize_t)at;
			code = take_head(r);
			if (code)
				return -(ssize_t)code;
		}
		n = (size_t)MIN((uint64_t)(len - at), r->left);
		if (!(r->frame & 8) && !reserve(r, n))
			return -WS_INTERNAL;
		to = r->frame & 8 ? r->control + r->control_len : r->data + r->len;
		for (size_t i = 0; i < n; i++)
			to[i] = data[at + i] ^ r->mask[r->mask_at++ & 3];
		*(r->frame & 8 ? &r->control_len : &r->len) += n;
		at += n;
		r->left -= n;
		if (r->left)
			return (ssize_t)at;
		code = take_frame(r, m);
		if (code)
			return -(ssize_t)code;
		if (m->op != WS_NONE)
			return (ssize_t)at;
	}
}

size_t ws_head(uint8_t head[WS_HEAD_MAX], enum ws_op op, size_t len, const uint8_t mask[4])
{
	unsigned bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
	size_t n = 2;

	head[0] = (uint8_t)(0x80 | op);
	head[1] = (uint8_t)(bytes == 0 ? len : bytes == 2 ? 126 : 127);
	for (unsigned i = bytes; i--;)
		head[n++] = (uint8_t)((uint64_t)len >> 8 * i);
	if (mask) {
		head[1] |= 0x80;
		memcpy(head + n, mask, 4);
		n += 4;
	}
	return n;
}

void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4])
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= mask[i & 3];
}

size_t ws_close_body(uint8_t body[WS_CONTROL_MAX], unsigned code, const char *reason)
{
	size_t len = MIN(strlen(reason), (size_t)WS_CONTROL_MAX - 2);

	while (len && !ws_utf8((const uint8_t *)reason, len))
		len--; /* it was cut within a character */
	body[0] = (uint8_t)(code >> 8);
	body[1] = (uint8_t)code;
	memcpy(body + 2, reason, len);
	return len + 2;
}

bool ws_key_good(const char *key)
{
	_autofree uint8_t *data = NULL;
	size_t len = 0;

	return strlen(key) == 24 && base64_decode(key, 24, &data, &len) == 0 && len == 16;
}

bool ws_accept(const char *key, char accept[WS_ACCEPT_MAX])
{
	_autofree char *text = NULL;
	uint8_t digest[SHA1_BYTES];
	char both[24 + sizeof(GUID)];
	size_t len = MIN(strlen(key), (size_t)24);

	memcpy(both, key, len);
	memcpy(both + len, GUID, sizeof(GUID));
	sha1(both, strlen(both), digest);
	text = base64_encode(digest, sizeof(digest));
	if (!text)
		return false;
	strcpy(accept, text);
	return true;
}
