/* SPDX-License-Identifier: Apache-2.0 */
/* test_util_json.c - JSON from outside: limits, positions, typed getters. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/json.h"

static int parse(const char *text, json_t **out, struct err *e)
{
	*e = (struct err){0};
	*out = NULL;
	return json_parse(text, strlen(text), 1000, "the text", out, e);
}

static void test_good(void **state)
{
	json_t *j;
	struct err e;

	(void)state;
	assert_int_equal(parse("{\"a\":[1,2,{\"b\":\"}]\"}]}", &j, &e), 0);
	json_unref(&j);
	assert_null(j);
	/* As deep as it may be. */
	assert_int_equal(parse("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", &j, &e), 0);
	json_unref(&j);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"{\"a\":1,}",
		"{\"a\":1} x",
		"{'a':1}",
		"{\"a\":1,\"a\":2}",
		"{\"a\":}",
		"[1 2]",
		"\"\\u0000\"",
		"\"\xff\"",
		"nul",
		"{\"a\":1e999}",
		"[\"\\ud800\"]",
		"{\"a\":99999999999999999999999}",
	};
	json_t *j;
	struct err e;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(bad[i], &j, &e), -EINVAL);
		assert_null(j);
		assert_non_null(strstr(e.msg, "line"));
		assert_non_null(strstr(e.msg, "column"));
	}
	assert_int_equal(parse("{\n\"a\": 1\n\"b\": 2}", &j, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "line 3, column 3"));
}

static void test_limits(void **state)
{
	size_t n = 10000;
	char *deep = malloc(n);
	json_t *j;
	struct err e = {0};

	(void)state;
	memset(deep, '[', n);
	assert_int_equal(json_parse(deep, n, n, "the text", &j, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "column 17"));
	e = (struct err){0};
	assert_int_equal(json_parse(deep, n, 1000, "the text", &j, &e), -EFBIG);
	assert_string_equal(e.limit, "1000 bytes");
	/* Brackets inside of text do not count. */
	memset(deep, '[', 900);
	deep[0] = deep[899] = '"';
	deep[500] = '\\';
	deep[501] = '"';
	e = (struct err){0};
	assert_int_equal(json_parse(deep, 900, 1000, "the text", &j, &e),
			 -EINVAL); /* not an array or object */
	assert_null(strstr(e.msg, "deeper"));
	free(deep);
}

/* [1,1,...] takes twenty times its length. */
static void test_values(void **state)
{
	size_t n = 2 * (size_t)(JSON_VALUES_MAX + 1) + 1;
	char *text = malloc(n);
	json_t *j = NULL;
	struct err e = {0};

	(void)state;
	for (size_t i = 1; i < n; i++)
		text[i] = i % 2 ? '1' : ',';
	text[0] = '[';
	text[n - 1] = ']';
	assert_int_equal(json_parse(text, n, n, "the text", &j, &e), -EINVAL);
	assert_string_equal(e.limit, "1048576 values");
	text[n - 3] = ']';
	assert_int_equal(json_parse(text, n - 2, n, "the text", &j, NULL), 0);
	assert_int_equal(json_array_size(j), JSON_VALUES_MAX);
	json_decref(j);
	/* Commas inside of text do not count. */
	memset(text, ',', n);
	memcpy(text, "[\"", 2);
	memcpy(text + n - 2, "\"]", 2);
	assert_int_equal(json_parse(text, n, n, "the text", &j, NULL), 0);
	json_decref(j);
	free(text);
}

static void test_getters(void **state)
{
	static const char *const words[] = {"one", "two", NULL};
	static const char *const keys[] = {"n", "neg", "real", "s", "b", "w", NULL};
	json_t *j;
	struct err e;
	uint64_t v = 7;
	unsigned w;
	char s[4];
	bool b;

	(void)state;
	assert_int_equal(
		parse("{\"n\":5,\"neg\":-1,\"real\":1.5,\"s\":\"abc\",\"b\":true,\"w\":\"two\"}",
		      &j, &e),
		0);
	assert_int_equal(json_get_u64(j, "n", true, 1, 5, &v, &e), 1);
	assert_int_equal(v, 5);
	assert_int_equal(json_get_u64(j, "none", false, 1, 5, &v, &e), 0);
	assert_int_equal(json_get_text(j, "s", true, s, sizeof(s), &e), 1);
	assert_string_equal(s, "abc");
	assert_int_equal(json_get_bool(j, "b", true, &b, &e), 1);
	assert_int_equal(json_get_choice(j, "w", true, words, &w, &e), 1);
	assert_int_equal(w, 1);
	assert_int_equal(json_check_keys(j, keys, "it", &e), 0);
	assert_int_equal(e.code, 0);

	assert_int_equal(json_get_u64(j, "neg", true, 0, 5, &v, &e), -EINVAL);
	assert_string_equal(e.field, "neg");
	assert_string_equal(e.limit, "0..5");
	e = (struct err){0};
	assert_int_equal(json_get_u64(j, "real", true, 0, 5, &v, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "a real number"));
	assert_int_equal(json_get_u64(j, "none", true, 0, 5, &v, NULL), -EINVAL);
	assert_int_equal(json_get_u64(j, "n", true, 6, 9, &v, NULL), -EINVAL);
	assert_int_equal(json_get_text(j, "s", true, s, 3, NULL), -EINVAL);
	assert_int_equal(json_get_bool(j, "n", true, &b, NULL), -EINVAL);
	assert_int_equal(json_get_choice(j, "s", true, words, &w, NULL), -EINVAL);
	e = (struct err){0};
	assert_int_equal(json_check_keys(j, keys + 1, "it", &e), -EINVAL);
	assert_string_equal(e.field, "n");
	json_unref(&j);
	assert_int_equal(parse("[1]", &j, &e), 0);
	assert_int_equal(json_check_keys(j, keys, "it", &e), -EINVAL);
	json_unref(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),	cmocka_unit_test(test_values),
		cmocka_unit_test(test_getters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
