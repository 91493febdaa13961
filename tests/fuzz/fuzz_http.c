/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http.c - what comes to lodged from outside: heads of requests, and frames of WebSocket.
 *
 * A head that is taken has parts that lie within it. Frames give the same messages, and the same end, in whatever pieces they come;
 * what is given out is within the limit, and text is UTF-8. As client and as server.
 */
#include "fuzz.h"

#include "daemon/httphead.h"
#include "proto/ws.h"

#define MAX 4096u

static void head(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct http_head h;
	unsigned r;

	memcpy(text, data, size);
	text[size] = '\0';
	r = http_head_parse(text, &h);
	ASSERT(r == 0 || r == 400 || r == 501 || r == 505);
	if (r == 0) {
		ASSERT(*h.method && h.path[0] == '/');
		ASSERT(h.path > text && h.path < text + size);
		ASSERT(strlen(h.query) + strlen(h.host) + strlen(h.if_match) + strlen(h.origin) <=
		       size);
		ASSERT(!h.ws || strcmp(h.ws_version, "13") != 0 || ws_key_good(h.ws_key));
	}
	free(text);
}

/* A sum over all messages, and how it ended. */
static uint64_t frames(const uint8_t *data, size_t size, bool server, size_t piece)
{
	struct ws_reader r;
	uint64_t sum = 0;

	ws_reader_init(&r, server, MAX);
	for (size_t at = 0; at < size;) {
		size_t some = MIN(piece, size - at);
		uint8_t *copy = malloc(some); /* so that reading behind it is seen */
		struct ws_message m;
		ssize_t n;

		memcpy(copy, data + at, some);
		n = ws_read(&r, copy, some, &m);
		free(copy);
		if (n < 0) {
			sum = sum * 31 + (uint64_t)-n;
			break;
		}
		ASSERT(n > 0 && (size_t)n <= some);
		at += (size_t)n;
		if (m.op == WS_NONE)
			continue;
		ASSERT(m.len <= MAX && (m.op < WS_CLOSE || m.len <= WS_CONTROL_MAX));
		ASSERT((m.op != WS_TEXT && m.op != WS_CLOSE) || ws_utf8(m.data, m.len));
		sum = sum * 31 + (uint64_t)m.op * 1000 + m.code;
		for (size_t i = 0; i < m.len; i++)
			sum = sum * 31 + m.data[i];
	}
	ws_reader_fini(&r);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1) {
		head(data + 1, size - 1);
		return 0;
	}
	for (unsigned server = 0; server < 2; server++) {
		uint64_t whole = frames(data + 1, size - 1, server, SIZE_MAX);

		ASSERT(frames(data + 1, size - 1, server, 1) == whole);
		ASSERT(frames(data + 1, size - 1, server, 1 + data[0] / 2u) == whole);
	}
	return 0;
}

static void seed_text(struct seed *s, const char *text)
{
	for (; *text; text++)
		seed_put(s, (uint8_t)*text);
}

bool fuzz_seed(unsigned i, struct seed *s)
{
	static const char *const heads[] = {
		"GET /1.0 HTTP/1.1\r\nHost: lodged",
		"POST /1.0/vms?limit=3&after=web HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\nConnection: close",
		"PATCH /1.0/vms/web HTTP/1.1\r\nHost: a\r\nIf-Match: \"7\"\r\nOrigin: https://a",
		"GET /1.0/events HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\nHost: a",
	};
	static const uint8_t mask[4] = {1, 2, 3, 4};
	unsigned k = i - (unsigned)ARRAY_SIZE(heads);
	uint8_t wire[WS_HEAD_MAX];
	size_t len, n;

	if (i < ARRAY_SIZE(heads)) {
		seed_put(s, 1);
		seed_text(s, heads[i]);
		return true;
	}
	if (k >= 16)
		return false;
	seed_put(s, (uint8_t)(k * 2));
	/* Two frames, the first of which may be a fragment; from a client every other time. */
	for (unsigned part = 0; part < 2; part++) {
		static const enum ws_op ops[] = {WS_TEXT, WS_BINARY, WS_PING, WS_CLOSE};
		enum ws_op op = part && (k & 4) ? WS_MORE : ops[k % 4];
		bool fragment = !part && (k & 4);

		len = op == WS_CLOSE ? 2 : k * 20u % 130;
		n = ws_head(wire, op, len, k & 1 ? mask : NULL);
		wire[0] &= fragment ? 0x7f : 0xff;
		for (size_t at = 0; at < n; at++)
			seed_put(s, wire[at]);
		for (size_t at = 0; at < len; at++)
			seed_put(s, (uint8_t)((op == WS_CLOSE ? (at ? 0xe8 : 3) : 'a') ^
					      (k & 1 ? mask[at & 3] : 0)));
	}
	return true;
}
