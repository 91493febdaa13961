/* SPDX-License-Identifier: Apache-2.0 */
/* test_proto_ws.c - SHA-1, the greeting of WebSocket, and frames in pieces of every size. What a client may not do is tests/api/websocket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/ws.h"
#include "util/sha1.h"

static void check_sha1(const char *text, unsigned repeat, const char *wanted)
{
	size_t len = strlen(text), all = len * repeat;
	char *data = malloc(all + 1), hex[2 * SHA1_BYTES + 1];
	uint8_t digest[SHA1_BYTES];

	assert_non_null(data);
	for (unsigned i = 0; i < repeat; i++)
		memcpy(data + i * len, text, len);
	sha1(data, all, digest);
	for (unsigned i = 0; i < SHA1_BYTES; i++)
		snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
	assert_string_equal(hex, wanted);
	free(data);
}

/* RFC 3174 §7.3, and what stands at the edges of a block. */
static void test_sha1(void **state)
{
	(void)state;
	check_sha1("", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	check_sha1("abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d");
	check_sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		   "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
	check_sha1("a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
	check_sha1("0123456701234567012345670123456701234567012345670123456701234567", 10,
		   "dea356a2cddd90c7a7ecedc5ebb563934f460452");
	check_sha1("a", 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a");
	check_sha1("a", 56, "c2db330f6083854c99d4b5bfb6e8f29f201be699");
	check_sha1("a", 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d");
}

/* RFC 6455 §1.3 */
static void test_greeting(void **state)
{
	char accept[WS_ACCEPT_MAX];

	(void)state;
	assert_true(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", accept));
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_true(ws_key_good("dGhlIHNhbXBsZSBub25jZQ=="));
	assert_false(ws_key_good("dGhlIHNhbXBsZSBub25jZQ"));
	assert_false(ws_key_good(""));
	assert_false(ws_key_good("dGhlIHNhbXBsZSBub25jZTEy"));
}

/* A message of `len` bytes as a client's frames of at most `part`, read in pieces of `piece`. */
static void round_trip(size_t len, size_t part, size_t piece)
{
	static const uint8_t mask[4] = {0x9c, 0, 0xff, 0x31};
	uint8_t *data = malloc(len + 1), *wire = malloc(len + (len / part + 2) * WS_HEAD_MAX);
	struct ws_reader r;
	struct ws_message m = {.op = WS_NONE};
	size_t n = 0, at = 0;

	assert_non_null(data);
	assert_non_null(wire);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7);
	do {
		size_t some = MIN(len - at, part);
		size_t head = ws_head(wire + n, at ? WS_MORE : WS_BINARY, some, mask);

		if (at + some < len)
			wire[n] &= 0x7f; /* there is more */
		n += head;
		memcpy(wire + n, data + at, some);
		ws_mask(wire + n, some, mask);
		n += some;
		at += some;
	} while (at < len);
	ws_reader_init(&r, true, len);
	for (at = 0; at < n;) {
		ssize_t took = ws_read(&r, wire + at, MIN(piece, n - at), &m);

		assert_true(took > 0);
		at += (size_t)took;
		assert_int_equal(m.op, at < n ? WS_NONE : WS_BINARY);
	}
	assert_int_equal(m.len, len);
	if (len)
		assert_memory_equal(m.data, data, len);
	ws_reader_fini(&r);
	free(data);
	free(wire);
}

static void test_frames(void **state)
{
	static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, 70000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		round_trip(sizes[i], SIZE_MAX / 2, 1);
		round_trip(sizes[i], SIZE_MAX / 2, SIZE_MAX / 2);
		round_trip(sizes[i], 1000, 7);
	}
}

/* A client's reader: the other way round, no mask. One byte too many is seen in the head already. */
static void test_client(void **state)
{
	struct ws_reader r;
	struct ws_message m;

	(void)state;
	ws_reader_init(&r, false, 5);
	assert_int_equal(ws_read(&r, (const uint8_t *)"\x81\x05hello\x8a", 8, &m), 7);
	assert_int_equal(m.op, WS_TEXT);
	assert_memory_equal(m.data, "hello", 5);
	assert_int_equal(ws_read(&r, (const uint8_t *)"\x8a\x00", 2, &m), 2);
	assert_int_equal(m.op, WS_PONG);
	assert_int_equal(ws_read(&r,
				 (const uint8_t *)"\x88\x05\x03\xf0"
						  "bye",
				 7, &m),
			 7);
	assert_int_equal(m.code, WS_POLICY);
	assert_int_equal(m.len, 3);
	assert_int_equal(ws_read(&r, (const uint8_t *)"\x82\x06", 2, &m), -WS_TOO_LARGE);
	ws_reader_fini(&r);
	ws_reader_init(&r, false, 5);
	assert_int_equal(ws_read(&r, (const uint8_t *)"\x81\x80mask", 6, &m), -WS_PROTOCOL);
	ws_reader_fini(&r);
}

static void test_close(void **state)
{
	uint8_t body[WS_CONTROL_MAX];
	char reason[200];

	(void)state;
	memset(reason, 'a', sizeof(reason));
	memcpy(reason + 122, "\xe2\x82\xac", 4); /* its cut would be within the euro sign */
	assert_int_equal(ws_close_body(body, WS_NORMAL, reason), 2 + 122);
	assert_int_equal(body[0], 3);
	assert_int_equal(body[1], 0xe8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha1),   cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_frames), cmocka_unit_test(test_client),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
