/* SPDX-License-Identifier: Apache-2.0 */
/* test_util_opt.c - options, sizes, numbers, suggestions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "util/opt.h"

struct target {
	bool quiet, loud;
	const char *name;
	uint64_t count, size;
	unsigned colour;
};

static const char *const colours[] = {"red", "green", NULL};

#define AT(f) offsetof(struct target, f)
static const struct opt_def table[] = {
	{"quiet", 'q', OPT_FLAG, AT(quiet), NULL, "h", 0, 0, NULL},
	{"loud", 'l', OPT_FLAG, AT(loud), NULL, "h", 0, 0, NULL},
	{"name", 0, OPT_TEXT, AT(name), "NAME", "h", 0, 0, NULL},
	{"count", 'c', OPT_UINT, AT(count), "N", "h", 1, 9, NULL},
	{"memory", 'm', OPT_SIZE, AT(size), "SIZE", "h", MIB, GIB, NULL},
	{"colour", 0, OPT_CHOICE, AT(colour), "WORD", "h", 0, 0, colours},
};

static int parse(struct target *t, struct opt_result *res, struct err *e, ...)
{
	static char words[16][64];
	static char *argv[17];
	const char *word;
	int argc = 0;
	va_list ap;

	va_start(ap, e);
	while ((word = va_arg(ap, const char *))) {
		strcpy(words[argc], word);
		argv[argc] = words[argc];
		argc++;
	}
	va_end(ap);
	memset(t, 0, sizeof(*t));
	memset(e, 0, sizeof(*e));
	return opt_parse(table, ARRAY_SIZE(table), argc, argv, t, res, e);
}

static void test_forms(void **state)
{
	struct opt_result res = {0};
	struct target t;
	struct err e;

	(void)state;
	assert_int_equal(parse(&t, &res, &e, "--name=x", "-c", "3", "a", "-m4M", "-ql", "--colour",
			       "green", "-", "--", "--name", (char *)NULL),
			 0);
	assert_string_equal(t.name, "x");
	assert_int_equal(t.count, 3);
	assert_int_equal(t.size, 4 * MIB);
	assert_true(t.quiet && t.loud);
	assert_int_equal(t.colour, 1);
	assert_int_equal(res.n_args, 3);
	assert_string_equal(res.arg[0], "a");
	assert_string_equal(res.arg[1], "-");
	assert_string_equal(res.arg[2], "--name");
	assert_true(opt_given(table, ARRAY_SIZE(table), &res, "count"));
	assert_int_equal(parse(&t, &res, &e, "--name=", (char *)NULL), 0);
	assert_string_equal(t.name, "");
	assert_false(opt_given(table, ARRAY_SIZE(table), &res, "count"));
}

static void check_bad(const char *sentence, const char *a, const char *b, const char *c)
{
	struct opt_result res = {0};
	struct target t;
	struct err e;

	assert_int_equal(parse(&t, &res, &e, a, b, c, (char *)NULL), -EINVAL);
	assert_string_equal(e.msg, sentence);
	assert_true(e.field[0] == '-');
}

static void test_mistakes(void **state)
{
	(void)state;
	check_bad("there is no option --memroy: did you mean --memory?", "--memroy", "1M", NULL);
	check_bad("there is no option --mem: did you mean --memory?", "--mem=1M", NULL, NULL);
	check_bad("there is no option --zzzzzz: see --help", "--zzzzzz", NULL, NULL);
	check_bad("there is no option -x: see --help", "-x", NULL, NULL);
	check_bad("--name needs a value: --name NAME", "--name", NULL, NULL);
	check_bad("--count needs a value: --count N", "-c", NULL, NULL);
	check_bad("--quiet takes no value: write it without \"=\"", "--quiet=1", NULL, NULL);
	check_bad("--count is given twice: give it once", "-c1", "--count", "2");
	check_bad("--quiet is given twice: give it once", "-qq", NULL, NULL);
	check_bad("--count 0 is too small: at least 1 is needed", "-c", "0", NULL);
	check_bad("--count 10 is too large: at most 9 is possible", "-c", "10", NULL);
	check_bad("--count \"-1\" is not a whole number: it must be 1 to 9", "-c", "-1", NULL);
	check_bad("--count \"\" is not a whole number: it must be 1 to 9", "--count=", NULL, NULL);
	check_bad("--count \"1.5\" is not a whole number: it must be 1 to 9", "-c1.5", NULL, NULL);
	check_bad("--count 99999999999999999999 is too large: at most 9 is possible", "-c",
		  "99999999999999999999", NULL);
	check_bad("--colour \"gren\" is not known: it must be one of red, green", "--colour",
		  "gren", NULL);
	check_bad("--memory 1K is too small: it must be 1 MiB to 1 GiB", "-m", "1K", NULL);
	check_bad("--memory 2G is too large: it must be 1 MiB to 1 GiB", "-m", "2G", NULL);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes; /* 0: refused */
	} cases[] = {
		{"512M", 512 * MIB},
		{"4G", 4 * GIB},
		{"4GiB", 4 * GIB},
		{"4gib", 4 * GIB},
		{"4Gi", 4 * GIB},
		{"4GB", 4 * GIB},
		{"1048576", MIB},
		{"64k", 64 * KIB},
		{"1T", 1024 * GIB},
		{"18446744073709551615", UINT64_MAX},
		{"16383P", UINT64_C(16383) << 50},
		{"0", 0},
		{"0G", 0},
		{"-1", 0},
		{"1e30", 0},
		{"1e3", 0},
		{"4 GB", 0},
		{" 4G", 0},
		{"4G ", 0},
		{"", 0},
		{"G", 0},
		{"1.5G", 0},
		{"0x10", 0},
		{"4GG", 0},
		{"4X", 0},
		{"+4G", 0},
		{"16384P", 0},
		{"18446744073709551616", 0},
		{"99999999999999999999999999999999999999G", 0},
		{"nan", 0},
		{"4G\n", 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = {0};
		uint64_t v = 0;
		int r = opt_parse_size(cases[i].text, &v, &e);

		assert_int_equal(r, cases[i].bytes ? 0 : -EINVAL);
		assert_true(v == cases[i].bytes);
		assert_int_equal(e.code, cases[i].bytes ? 0 : EINVAL);
		assert_true(!e.msg[0] == !!cases[i].bytes);
		assert_null(strchr(e.msg, '\n'));
	}
}

static void test_format(void **state)
{
	char b[40];

	(void)state;
	assert_string_equal(opt_format_size(512 * MIB, b, sizeof(b)), "512 MiB");
	assert_string_equal(opt_format_size(3 * GIB, b, sizeof(b)), "3 GiB");
	assert_string_equal(opt_format_size(1000, b, sizeof(b)), "1000 bytes");
	assert_string_equal(opt_format_size(0, b, sizeof(b)), "0 bytes");
	assert_string_equal(opt_format_size(1536 * MIB, b, sizeof(b)), "1536 MiB");
}

static void test_suggest(void **state)
{
	static const char *const words[] = {"kernel", "initrd", "cmdline", "cpus", NULL};

	(void)state;
	assert_string_equal(opt_suggest("kernal", words), "kernel");
	assert_string_equal(opt_suggest("kenrel", words), "kernel");
	assert_string_equal(opt_suggest("init", words), "initrd");
	assert_string_equal(opt_suggest("cpu", words), "cpus");
	assert_null(opt_suggest("something", words));
	assert_null(opt_suggest("", words));
}

struct disk {
	const char *file, *serial;
	bool ro;
	uint64_t bps, queues;
	unsigned colour;
};

#define DISK(f) offsetof(struct disk, f)
static const struct opt_def disk_keys[] = {
	{"file", 0, OPT_TEXT, DISK(file), "FILE", "h", 0, 0, NULL},
	{"serial", 0, OPT_TEXT, DISK(serial), "TEXT", "h", 0, 0, NULL},
	{"ro", 0, OPT_FLAG, DISK(ro), NULL, "h", 0, 0, NULL},
	{"bps", 0, OPT_SIZE, DISK(bps), "SIZE", "h", KIB, GIB, NULL},
	{"queues", 0, OPT_UINT, DISK(queues), "N", "h", 1, 8, NULL},
	{"colour", 0, OPT_CHOICE, DISK(colour), "WORD", "h", 0, 0, colours},
};

static int keys(const char *text, struct disk *d, uint64_t *given, struct err *e)
{
	static char copy[512];

	strcpy(copy, text);
	*d = (struct disk){0};
	*e = (struct err){0};
	return opt_parse_keys("--disk", disk_keys, ARRAY_SIZE(disk_keys), copy, d, given, e);
}

static void test_keys(void **state)
{
	uint64_t given;
	struct disk d;
	struct err e;

	(void)state;
	assert_int_equal(keys("a.raw", &d, &given, &e), 0);
	assert_string_equal(d.file, "a.raw");
	assert_true(given == 1);
	assert_int_equal(keys("a,,b.raw,ro,serial=x,,y=z,bps=4M,queues=3,colour=green", &d, &given,
			      &e),
			 0);
	assert_string_equal(d.file, "a,b.raw");
	assert_string_equal(d.serial, "x,y=z");
	assert_true(d.ro && d.bps == 4 * MIB && d.queues == 3 && d.colour == 1 && given == 0x3f);
	assert_int_equal(keys("f,ro=off", &d, &given, &e), 0);
	assert_true(!d.ro && given == 5);
}

static void test_keys_refused(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{"", "--disk has no FILE: write --disk FILE"},
		{",ro", "--disk has no FILE"},
		{"f,", "--disk has no key \"\""},
		{"f,quues=3", "--disk has no key \"quues\": did you mean queues?"},
		{"f,zzz=3", "--disk has no key \"zzz\": there are serial, ro, bps, queues, colour"},
		{"f,file=g", "--disk has no key \"file\""},
		{"f,ro=maybe", "--disk ro \"maybe\" is not known: it must be on or off"},
		{"f,serial=", "--disk serial needs a value: serial=TEXT"},
		{"f,serial", "--disk serial needs a value"},
		{"f,bps=4 GB", "--disk bps \"4 GB\" has a blank"},
		{"f,bps=1", "--disk bps 1 is too small"},
		{"f,queues=99", "--disk queues 99 is too large: at most 8 is possible"},
		{"f,colour=grene",
		 "--disk colour \"grene\" is not known: it must be one of red, green"},
		{"f,queues=1,queues=2", "--disk queues is given twice"},
	};
	uint64_t given;
	struct disk d;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(keys(cases[i].text, &d, &given, &e), -EINVAL);
		if (!strstr(e.msg, cases[i].part))
			fail_msg("\"%s\": %s", cases[i].text, e.msg);
		assert_string_equal(e.field, "--disk");
	}
}

static void test_list(void **state)
{
	static const struct opt_def t[] = {
		{"disk", 0, OPT_LIST, 0, "FILE", "h", 0, 0, NULL},
	};
	char words[OPT_LIST_MAX + 1][16];
	char *argv[OPT_LIST_MAX + 1];
	struct opt_list list = {0};
	struct opt_result res;
	struct err e = {0};

	(void)state;
	for (unsigned i = 0; i <= OPT_LIST_MAX; i++) {
		snprintf(words[i], sizeof(words[i]), "--disk=%u", i);
		argv[i] = words[i];
	}
	assert_int_equal(opt_parse(t, 1, 2, argv, &list, &res, &e), 0);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.word[0], "0");
	assert_string_equal(list.word[1], "1");
	list.n = 0;
	assert_int_equal(opt_parse(t, 1, OPT_LIST_MAX, argv, &list, &res, &e), 0);
	assert_int_equal(list.n, OPT_LIST_MAX);
	list.n = 0;
	assert_int_equal(opt_parse(t, 1, OPT_LIST_MAX + 1, argv, &list, &res, &e), -EINVAL);
	assert_string_equal(e.field, "--disk");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),  cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_keys),   cmocka_unit_test(test_keys_refused),
		cmocka_unit_test(test_list),   cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_format), cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
