/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto_portfwd.c - port forwards as text: every form, and every mistake gets a sentence.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/portfwd.h"

static void good(void **state)
{
	static const struct {
		const char *text, *whole;
	} t[] = {
		{"8080:80", "127.0.0.1:8080:80/tcp"},
		{"8080:80/tcp", "127.0.0.1:8080:80/tcp"},
		{"53:5353/udp", "127.0.0.1:53:5353/udp"},
		{"0.0.0.0:1:65535", "0.0.0.0:1:65535/tcp"},
		{"[::1]:8080:80", "[::1]:8080:80/tcp"},
		{"[::]:8080:80/udp", "[::]:8080:80/udp"},
	};
	struct portfwd f, again;
	char buf[PORTFWD_TEXT_MAX];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		assert_int_equal(portfwd_parse(t[i].text, &f, NULL), 0);
		assert_string_equal(portfwd_format(&f, buf, sizeof(buf)), t[i].whole);
		assert_int_equal(portfwd_parse(buf, &again, NULL), 0);
		assert_true(portfwd_collide(&f, &again));
		assert_int_equal(again.guest_port, f.guest_port);
	}
}

static void bad(void **state)
{
	static const char *const t[] = {
		"",
		":",
		"80",
		"80:",
		":80",
		"0:80",
		"80:0",
		"65536:80",
		"80:65536",
		"-1:80",
		"a:b",
		"80:80/sctp",
		"80:80/",
		"1.2.3:80:80",
		"1.2.3.4.5:80:80",
		"::1:80:80",
		"[::1:80:80",
		"[]:80:80",
		"[zz]:80:80",
		"localhost:80:80",
		" 80:80",
		"80:80 ",
		"+80:80",
		"80:80:",
		"1.2.3.4:80:80:80",
		"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:80:80",
	};
	struct portfwd f;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct err e = {0};

		if (portfwd_parse(t[i], &f, &e) == 0)
			fail_msg("\"%s\" was accepted", t[i]);
		assert_non_null(strstr(e.msg, "port forward"));
		assert_string_equal(e.field, "publish");
	}
}

static void lists(void **state)
{
	struct portfwd f[3];
	struct err e = {0};
	unsigned n;

	(void)state;
	assert_int_equal(portfwd_parse_list("", f, 3, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_int_equal(portfwd_parse_list("1:1,1:1/udp,[::1]:1:1", f, 3, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_true(f[1].udp);
	assert_true(f[2].v6);
	assert_true(portfwd_parse_list("1:1,2:2,3:3,4:4", f, 3, &n, &e) < 0);
	assert_int_equal(e.code, E2BIG);
	assert_true(portfwd_parse_list("1:1,1:2", f, 3, &n, NULL) < 0);
	assert_true(portfwd_parse_list("1:1,", f, 3, &n, NULL) < 0);
	assert_true(portfwd_parse_list(",1:1", f, 3, &n, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
