/* SPDX-License-Identifier: Apache-2.0 */
/* test_util_buf.c - the byte buffer codec: order of bytes, sticky errors, limits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "util/buf.h"

static void test_roundtrip(void **state)
{
	static const uint8_t head[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04};
	char text[16];
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	buf_put_u8(&b, 1);
	buf_put_u16(&b, 0x0203);
	buf_put_u32(&b, 0x04050607);
	buf_put_u64(&b, UINT64_C(0x1122334455667788));
	buf_put_str(&b, "hello");
	buf_put_align(&b, 8);
	buf_printf(&b, "%d-%s", 42, "x");
	assert_int_equal(buf_error(&b), 0);
	assert_memory_equal(b.data, head, sizeof(head)); /* little-endian */
	assert_int_equal(buf_get_u8(&b), 1);
	assert_int_equal(buf_get_u16(&b), 0x0203);
	assert_int_equal(buf_get_u32(&b), 0x04050607);
	assert_true(buf_get_u64(&b) == UINT64_C(0x1122334455667788));
	buf_get_str(&b, text, sizeof(text));
	assert_string_equal(text, "hello");
	assert_int_equal(b.pos, 24);
	assert_int_equal(buf_left(&b), 4); /* aligned at 24 already, then "42-x" */
	buf_get(&b, text, 4);
	assert_memory_equal(text, "42-x", 4);
	assert_int_equal(buf_left(&b), 0);
	buf_fini(&b);
}

static void test_past_end(void **state)
{
	const uint8_t raw[3] = {1, 2, 3};
	struct buf b;

	(void)state;
	buf_init_read(&b, raw, sizeof(raw));
	assert_int_equal(buf_get_u32(&b), 0);
	assert_int_equal(buf_error(&b), -ENODATA);
	assert_int_equal(buf_get_u8(&b), 0); /* sticky */
	assert_int_equal(buf_left(&b), 0);
	assert_null(buf_get_ptr(&b, 1));
	buf_init_read(&b, raw, sizeof(raw));
	buf_put_u8(&b, 1);
	assert_int_equal(buf_error(&b), -EROFS);
}

static void test_limit(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	buf_put_u64(&b, 0);
	assert_int_equal(buf_error(&b), 0);
	buf_put_u32(&b, 0);
	assert_int_equal(buf_error(&b), -EFBIG);
	assert_int_equal(b.len, 8);
	buf_put_u8(&b, 0);
	assert_int_equal(b.len, 8); /* sticky */
	buf_reset(&b);
	buf_put_u8(&b, 7);
	assert_int_equal(buf_error(&b), 0);
	assert_null(buf_extend(&b, SIZE_MAX));
	assert_int_equal(buf_error(&b), -EFBIG);
	buf_fini(&b);
}

static void test_hostile_text(void **state)
{
	/* A length far beyond the data; a NUL inside; longer than the room. */
	static const uint8_t lying[] = {0xff, 0xff, 0xff, 0x7f, 'a'};
	static const uint8_t nul[] = {3, 0, 0, 0, 'a', 0, 'b'};
	static const uint8_t fits[] = {4, 0, 0, 0, 'a', 'b', 'c', 'd'};
	char out[5], small[4];
	struct buf b;

	(void)state;
	buf_init_read(&b, lying, sizeof(lying));
	buf_get_str(&b, out, sizeof(out));
	assert_int_equal(buf_error(&b), -EINVAL);
	assert_string_equal(out, "");
	buf_init_read(&b, nul, sizeof(nul));
	buf_get_str(&b, out, sizeof(out));
	assert_int_equal(buf_error(&b), -EINVAL);
	buf_init_read(&b, fits, sizeof(fits));
	buf_get_str(&b, small, sizeof(small));
	assert_int_equal(buf_error(&b), -EINVAL);
	buf_init_read(&b, fits, sizeof(fits));
	buf_get_str(&b, out, sizeof(out));
	assert_int_equal(buf_error(&b), 0);
	assert_string_equal(out, "abcd");
}

static void test_patch(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	buf_put_u32(&b, 0);
	buf_put_u32(&b, 0xaaaaaaaa);
	buf_set_u32(&b, 0, 0x12345678);
	assert_int_equal(buf_error(&b), 0);
	assert_int_equal(buf_le32(b.data), 0x12345678);
	buf_set_u64(&b, 4, 1);
	assert_int_equal(buf_error(&b), -EINVAL);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roundtrip), cmocka_unit_test(test_past_end),
		cmocka_unit_test(test_limit),	  cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_patch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
