/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.c - `lodge apply -f FILE`, `lodge diff -f FILE`: lodged's VMs as a file says they are to be.
 *
 * All files are read and checked before anything is changed. What lodged has is compared by its meaning (define_values()), so that a
 * definition made by `lodge create` in other words is no difference; what is the same is not touched. VMs that no file names are left
 * alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/define.h"
#include "cli/progress.h"
#include "cli/vm.h"

struct apply_options {
	struct opt_list file;
	unsigned format;
	bool start, quiet, json_errors, help;
};

#define AT(field) offsetof(struct apply_options, field)
#define OPT_FILE                                                                                \
	{                                                                                       \
		"file", 'f', OPT_LIST, AT(file), "FILE",                                        \
			"definitions in YAML; - is standard input; may be repeated", 0, 0, NULL \
	}
#define OPT_END                                                                                   \
	{"format", 0, OPT_CHOICE,	AT(format), "WORD", "table, json, yaml or csv (table)",   \
	 0,	   0, show_format_names},                                                         \
		{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, \
		 NULL},                                                                           \
	{                                                                                         \
		"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL                      \
	}

static const struct opt_def apply_table[] = {
	OPT_FILE,
	{"start", 0, OPT_FLAG, AT(start), "", "start those that do not run", 0, 0, NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), "", "name only those that were changed or started", 0,
	 0, NULL},
	OPT_END,
};

static const struct opt_def diff_table[] = {OPT_FILE, OPT_END};

void cli_apply_options(FILE *f)
{
	opt_print_help(apply_table, ARRAY_SIZE(apply_table), f);
	fprintf(f,
		"\nKeys of a definition: name, image, restart, autostart, folder, and the options of `lodge run`.\n");
}

void cli_diff_options(FILE *f)
{
	opt_print_help(diff_table, ARRAY_SIZE(diff_table), f);
	fprintf(f, "\nExit status: 0 nothing would change, 1 something would, 2 a file is wrong.\n");
}

/* ---- differences ---- */

/* As it is written in a file: sizes with their unit, lists by commas. */
static json_t *say_value(const char *key, const json_t *v)
{
	const struct opt_def *table;
	char text[40];
	unsigned n;

	table = runopt_table(&n);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(table[i].name, key) && table[i].type == OPT_SIZE)
			return json_string(opt_format_size((uint64_t)json_integer_value(v), text,
							   sizeof(text)));
	return json_deep_copy(v);
}

static void add_difference(json_t *rows, const char *name, const char *key, const json_t *is,
			   const json_t *wanted)
{
	json_t *j = json_pack("{s:s, s:s}", "name", name, "key", key);

	if (is)
		json_object_set_new(j, "is", say_value(key, is));
	if (wanted)
		json_object_set_new(j, "wanted", say_value(key, wanted));
	(void)json_array_append_new(rows, j);
}

/* What lodged has; NULL: nothing of this name. -errno: it cannot be asked. */
static int current(const char *name, json_t **def, struct err *e)
{
	char path[96];
	int r;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	r = daemon_call("GET", path, NULL, def, e);
	if (r == 200)
		return 0;
	json_decref(*def);
	*def = NULL;
	if (r == 404) {
		*e = (struct err){0};
		return 0;
	}
	return daemon_refused(r, e);
}

/* Appends a row for each key that is not the same: {"name","key","is","wanted"}. */
static void compare(const json_t *is, const json_t *wanted, json_t *rows)
{
	const char *name = json_string_value(json_object_get(wanted, "name")), *key;
	_autojson json_t *a = is ? define_values(is) : NULL, *b = define_values(wanted);
	json_t *v;

	json_object_foreach(b, key, v)
	{
		const json_t *other = json_object_get(a, key);

		if (!other || !json_equal(other, v))
			add_difference(rows, name, key, other, v);
	}
	json_object_foreach(a, key, v)
	{
		if (!json_object_get(b, key))
			add_difference(rows, name, key, v, NULL);
	}
}

/* ---- what both begin with ---- */

/* 0: *defs is the caller's; else what the command is to return, less 1 (status 0: the help was shown). */
static int begin(const struct opt_def *table, unsigned n, int (*self)(int argc, char **argv),
		 int argc, char **argv, struct apply_options *o, json_t **defs)
{
	struct opt_result res = {0};
	struct err e = {0};

	*defs = json_array();
	if (opt_parse(table, n, argc, argv, o, &res, &e))
		return 1 + status_fail(&e, STATUS_USAGE);
	if (o->help)
		return 1 + cli_own_help(self);
	if (res.n_args || !o->file.n) {
		err_set(&e, EINVAL, "which file? -f FILE");
		err_field(&e, "--file", NULL);
		return 1 + status_fail(&e, STATUS_USAGE);
	}
	for (unsigned i = 0; i < o->file.n; i++)
		if (define_load(o->file.word[i], *defs, &e) < 0)
			return 1 + status_fail(&e, e.code == EINVAL ? STATUS_USAGE : STATUS_RUNTIME);
	return 0;
}

static int fail(int r, const struct err *e)
{
	return r == -ENOENT ? dcmd_no_daemon() : status_fail(e, status_of(e));
}

/* ---- diff ---- */

static void print_differences(const json_t *rows)
{
	const char *last = "";
	const json_t *j;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)rows, i, j)
	{
		const char *name = json_string_value(json_object_get(j, "name"));
		const char *key = json_string_value(json_object_get(j, "key"));

		if (strcmp(name, last) != 0)
			printf("%s\n", name);
		last = name;
		for (int k = 0; k < 2; k++) {
			const json_t *v = json_object_get(j, k ? "wanted" : "is");
			_autofree char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) :
						   NULL;

			if (text)
				printf("  %c %s: %s\n", k ? '+' : '-', key, text);
		}
	}
}

int cli_diff(int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"name", "NAME"}, {"key", "KEY"}, {"is", "IS"}, {"wanted", "WANTED"}, {NULL, NULL}};
	_autojson json_t *defs = NULL, *rows = json_array();
	struct apply_options o = {0};
	struct err e = {0};
	json_t *def, *is;
	size_t i;
	int r = begin(diff_table, ARRAY_SIZE(diff_table), cli_diff, argc, argv, &o, &defs);

	if (r)
		return r - 1;
	json_array_foreach(defs, i, def)
	{
		is = NULL;
		r = current(json_string_value(json_object_get(def, "name")), &is, &e);
		if (r < 0)
			return fail(r, &e);
		compare(is, def, rows);
		json_decref(is);
	}
	if (o.format == SHOW_TABLE)
		print_differences(rows);
	else if (show_rows(rows, columns, (enum show_format)o.format, stdout) < 0)
		return STATUS_RUNTIME;
	return json_array_size(rows) ? STATUS_RUNTIME : STATUS_OK;
}

/* ---- apply ---- */

/* *what: created, changed, unchanged, and what was started. */
static int apply_one(json_t *def, bool start, const char **what, struct err *e)
{
	const char *name = json_string_value(json_object_get(def, "name"));
	_autojson json_t *rows = json_array(), *is = NULL, *change = json_copy(def), *now = NULL;
	bool runs;
	char path[96];
	int r = current(name, &is, e);

	if (r < 0)
		return r;
	compare(is, def, rows);
	*what = !is ? "created" : json_array_size(rows) ? "changed" : "unchanged";
	if (is) { /* what the file does not say is what lodged takes for it */
		json_object_del(change, "name");
		if (!json_object_get(change, "restart"))
			json_object_set_new(change, "restart", json_string("no"));
		if (!json_object_get(change, "autostart"))
			json_object_set_new(change, "autostart", json_false());
	}
	snprintf(path, sizeof(path), is ? "/1.0/vms/%.64s" : "/1.0/vms", name);
	if (!is || json_array_size(rows)) {
		r = daemon_call(is ? "PATCH" : "POST", path, change, NULL, e);
		if (r != (is ? 200 : 201))
			return daemon_refused(r, e);
	}
	if (!start)
		return 0;
	r = current(name, &now, e);
	runs = !strcmp(json_string_value(json_object_get(now, "state")) ?: "", "running");
	if (r < 0 || runs)
		return r;
	*what = !is ? "created, started" : json_array_size(rows) ? "changed, started" : "started";
	return daemon_operate(name, "start", NULL, e);
}

int cli_apply(int argc, char **argv)
{
	static const struct show_column columns[] = {{"name", "NAME"},
						     {"result", "RESULT"},
						     {NULL, NULL}};
	_autojson json_t *defs = NULL, *rows = json_array();
	struct apply_options o = {0};
	int first = STATUS_OK;
	json_t *def;
	size_t i;
	int r = begin(apply_table, ARRAY_SIZE(apply_table), cli_apply, argc, argv, &o, &defs);

	if (r)
		return r - 1;
	json_array_foreach(defs, i, def)
	{
		const char *name = json_string_value(json_object_get(def, "name"));
		const char *what = "unchanged";
		struct err e = {0};

		if (progress_live() && json_array_size(defs) > 1)
			progress_show("%s (%zu of %zu)", name, i + 1, json_array_size(defs));
		r = apply_one(def, o.start, &what, &e);
		progress_clear();
		if (r == -ENOENT)
			return dcmd_no_daemon();
		if (r < 0) {
			struct err named = e;
			int status;

			err_set(&named, e.code, "%s: %s", name, e.msg);
			status = status_fail(&named, status_of(&named));
			first = first ? first : status;
			what = "failed";
		}
		(void)json_array_append_new(rows,
					    json_pack("{s:s, s:s}", "name", name, "result", what));
		if (o.quiet && strcmp(what, "unchanged") != 0 && r == 0)
			puts(name);
	}
	if (!o.quiet && show_rows(rows, columns, (enum show_format)o.format, stdout) < 0)
		return STATUS_RUNTIME;
	return first;
}
