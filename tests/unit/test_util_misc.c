/* SPDX-License-Identifier: Apache-2.0 */
/* test_util_misc.c - error sentences, log lines, clock. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/clock.h"
#include "util/err.h"
#include "util/log.h"

static void test_err(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(err_errno(&e, ENOENT, "cannot open \"%s\"", "x"), -ENOENT);
	assert_string_equal(e.msg, "cannot open \"x\": No such file or directory");
	/* The first one wins. */
	assert_int_equal(err_set(&e, EINVAL, "later"), -EINVAL);
	assert_int_equal(e.code, ENOENT);
	assert_int_equal(err_field(&e, "kernel", "a\nb"), -ENOENT);
	assert_string_equal(e.value, "a?b");
	err_field(&e, "other", "y");
	assert_string_equal(e.field, "kernel");
	assert_int_equal(err_set(NULL, EIO, "nobody reads"), -EIO);
	assert_int_equal(err_field(NULL, "a", "b"), -EINVAL);
}

static void test_quote(void **state)
{
	char out[8];

	(void)state;
	assert_string_equal(err_quote(out, sizeof(out), "abcdefg"), "abcdefg");
	assert_string_equal(err_quote(out, sizeof(out), "abcdefgh"), "abcd...");
	/* Not cut inside of a character: "abc" and two bytes of u-umlaut. */
	assert_string_equal(err_quote(out, sizeof(out), "abc\xc3\xbc\xc3\xbc\xc3\xbc"), "abc...");
	assert_string_equal(err_quote(out, sizeof(out), "\x1b[2J"), "?[2J");
	/* U+009B is ESC [ in one; U+00A0, behind those, is none. */
	assert_string_equal(err_quote(out, sizeof(out),
				      "a\xc2\x9b"
				      "2J"),
			    "a??2J");
	assert_string_equal(err_quote(out, sizeof(out), "a\xc2\xa0"), "a\xc2\xa0");
}

/* What log_write sends to stderr. */
static void capture(char *out, size_t size, void (*fn)(void))
{
	int fd[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], STDERR_FILENO);
	close(fd[1]);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fd[0], out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	close(fd[0]);
}

static void say_some(void)
{
	log_info("one %d", 1);
	log_warn("two\nlines \x1b[2J");
	log_debug("not shown");
}

static unsigned flood_s;

static void say_many(void)
{
	uint64_t begin = clock_ns();

	for (int i = 0; i < 1000; i++)
		log_warn_limited("flood");
	flood_s = (unsigned)((clock_ns() - begin) / CLOCK_NS_PER_S) + 2; /* begun, at most */
}

static void say_long(void)
{
	static char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	log_info("%s", text);
}

static void test_log(void **state)
{
	char out[4096];
	unsigned lines = 0;

	(void)state;
	log_init("lodge-vm", "a b");
	capture(out, sizeof(out), say_some);
	assert_string_equal(out, "lodge-vm[a b]: one 1\nlodge-vm[a b]: warning: two?lines ?[2J\n");
	capture(out, sizeof(out), say_many);
	for (const char *p = out; *p; p++)
		lines += *p == '\n';
	assert_in_range(lines, 1, flood_s * (LOG_LIMIT_BURST + 1) - 1);
	capture(out, sizeof(out), say_long);
	assert_int_equal(strlen(out), 1023);
	assert_int_equal(out[1022], '\n');
}

/* Both clocks at one time: as near to each other as a busy host lets us read them. */
static void both_clocks(uint64_t *ns, uint64_t *tsc)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < 1000 && best > 20000; i++) {
		uint64_t before = clock_ns(), t = clock_tsc(), after = clock_ns();

		if (after - before >= best)
			continue;
		best = after - before;
		*ns = before + best / 2;
		*tsc = t;
	}
}

static void test_clock(void **state)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000000};
	uint64_t n0 = 0, n1 = 0, t0 = 0, t1 = 0;
	double khz, off;

	(void)state;
	clock_tsc_begin();
	assert_true(clock_tsc_khz() > 100000);
	assert_non_null(clock_tsc_source());
	both_clocks(&n0, &t0);
	nanosleep(&pause, NULL);
	both_clocks(&n1, &t1);
	assert_true(n1 > n0);
	khz = (double)(t1 - t0) * 1e6 / (double)(n1 - n0);
	off = khz / clock_tsc_khz() - 1;
	assert_true(off < 0.01 && off > -0.01);
	assert_true(clock_realtime_ns() > UINT64_C(1600000000) * CLOCK_NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
