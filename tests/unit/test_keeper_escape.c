/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_escape.c - the escape key, also when its two keys come in two reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "keeper/escape.h"

static enum escape_action feed(struct escape *s, const char *in, size_t *used, char *out)
{
	size_t len;
	enum escape_action a = escape_filter(s, (const uint8_t *)in, strlen(in), used,
					     (uint8_t *)out, &len);

	out[len] = '\0';
	return a;
}

static void test_plain(void **state)
{
	struct escape s = {0};
	size_t used;
	char out[32];

	(void)state;
	assert_int_equal(feed(&s, "ls\r\x03\x1b[A", &used, out), ESCAPE_NONE);
	assert_string_equal(out, "ls\r\x03\x1b[A");
	assert_int_equal(used, 7);
}

static void test_actions(void **state)
{
	static const struct {
		char key;
		enum escape_action action;
	} keys[] = {{'x', ESCAPE_QUIT},	 {'h', ESCAPE_HELP},  {'?', ESCAPE_HELP},
		    {'p', ESCAPE_PAUSE}, {'r', ESCAPE_RESET}, {'s', ESCAPE_POWERDOWN}};
	size_t used;
	char out[32];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		char in[] = {'a', ESCAPE_KEY, keys[i].key, 'b', 0};
		struct escape s = {0};

		assert_int_equal(feed(&s, in, &used, out), keys[i].action);
		assert_string_equal(out, "a");
		assert_int_equal(used, 3); /* "b" comes after the action */
		assert_int_equal(feed(&s, in + used, &used, out), ESCAPE_NONE);
		assert_string_equal(out, "b");
	}
}

static void test_split_and_literal(void **state)
{
	struct escape s = {0};
	size_t used;
	char out[32];

	(void)state;
	assert_int_equal(feed(&s, "a\x01", &used, out), ESCAPE_NONE);
	assert_string_equal(out, "a");
	assert_int_equal(feed(&s, "x", &used, out), ESCAPE_QUIT);
	assert_string_equal(out, "");
	assert_int_equal(feed(&s,
			      "\x01"
			      "a\x01\x01z\x01!x",
			      &used, out),
			 ESCAPE_NONE);
	assert_string_equal(out, "\x01\x01zx"); /* an unknown key is dropped, with its Ctrl-A */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_split_and_literal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
