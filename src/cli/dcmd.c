/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dcmd.c - the commands that are lodged's alone: create, set, operation.
 *
 * The words of `lodge run` in a definition are checked here, by the same table as those of `lodge run` itself: what is misspelt is
 * refused before lodged hears of it. Relative paths in them mean the folder in which the command was given.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/define.h"
#include "cli/vm.h"

static const char *const on_off[] = {"off", "on", NULL};

struct create_options {
	unsigned restart, autostart;
	bool start, json_errors, help;
};

#define AT(field) offsetof(struct create_options, field)

static const struct opt_def create_table[] = {
	{"restart", 0, OPT_CHOICE, AT(restart), "WORD",
	 "when it has ended: no, on-failure or always (no)", 0, 0, define_restart_names},
	{"autostart", 0, OPT_CHOICE, AT(autostart), "WORD",
	 "start it when the host has started: on or off (off)", 0, 0, on_off},
	{"start", 0, OPT_FLAG, AT(start), "", "create: start it too", 0, 0, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_create_options(FILE *f)
{
	opt_print_help(create_table, ARRAY_SIZE(create_table), f);
	fprintf(f,
		"\nBehind -- stand the words of `lodge run`: lodge create web --start -- --disk web.raw -m 1G\n");
}

int dcmd_no_daemon(void)
{
	struct err e = {0};

	err_set(&e, ECONNREFUSED,
		"lodged does not run: start it, or use `lodge run --detach`, which needs none");
	return status_fail(&e, STATUS_RUNTIME);
}

/* What the options say, as a definition. words: may be none. */
static json_t *definition(const struct create_options *o, const struct opt_result *res, int argc,
			  char **argv)
{
	const unsigned n = ARRAY_SIZE(create_table);
	json_t *j = json_object(), *words;
	char cwd[PATH_MAX];

	if (opt_given(create_table, n, res, "restart"))
		json_object_set_new(j, "restart", json_string(define_restart_names[o->restart]));
	if (opt_given(create_table, n, res, "autostart"))
		json_object_set_new(j, "autostart", json_boolean(o->autostart));
	if (!argc)
		return j;
	words = json_array();
	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(words, json_string(argv[i]));
	json_object_set_new(j, "words", words);
	json_object_set_new(j, "folder",
			    json_string(!daemon_remote() && getcwd(cwd, sizeof(cwd)) ? cwd : "/"));
	return j;
}

static int define(int argc, char **argv, bool create)
{
	struct create_options o = {0};
	struct opt_result res = {0};
	_autojson json_t *j = NULL;
	struct err e = {0};
	const char *name;
	char path[96], shown[80];
	int r;

	if (opt_parse(create_table, ARRAY_SIZE(create_table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(create ? cli_create : cli_set);
	if (res.n_args < (create ? 2 : 1)) {
		err_set(&e, EINVAL,
			create ?
				"a name and the words of `lodge run` are needed: lodge create web -- --disk web.raw" :
				"the name of a VM is needed: lodge set web --restart always");
		return status_fail(&e, STATUS_USAGE);
	}
	if (!create && res.n_args == 1 && !res.given) {
		err_set(&e, EINVAL,
			"what is to change of \"%s\"? --restart WORD, --autostart WORD, or -- and the words of `lodge run`",
			err_quote(shown, sizeof(shown), res.arg[0]));
		return status_fail(&e, STATUS_USAGE);
	}
	name = res.arg[0];
	if (config_check_name(name, &e) < 0 ||
	    (res.n_args > 1 && define_check(res.n_args - 1, res.arg + 1, &e) < 0))
		return status_fail_option(&e, STATUS_USAGE);
	j = definition(&o, &res, res.n_args - 1, res.arg + 1);
	if (create)
		json_object_set_new(j, "name", json_string(name));
	snprintf(path, sizeof(path), create ? "/1.0/vms" : "/1.0/vms/%.64s", name);
	r = daemon_call(create ? "POST" : "PATCH", path, j, NULL, &e);
	if (r == -ENOENT)
		return dcmd_no_daemon();
	if (r != (create ? 201 : 200)) {
		(void)daemon_refused(r, &e);
		return status_fail(&e, status_of(&e));
	}
	if (o.start && daemon_operate(name, "start", NULL, &e) < 0)
		return status_fail(&e, status_of(&e));
	if (create)
		puts(name);
	return STATUS_OK;
}

int cli_create(int argc, char **argv)
{
	return define(argc, argv, true);
}

int cli_set(int argc, char **argv)
{
	return define(argc, argv, false);
}

/* ---- operations ---- */

static const struct opt_def operation_table[] = {VM_OPT_FORMAT, VM_OPT_QUIET("ls: only the numbers"),
						 VM_OPT_FILTER, VM_OPT_END};

static const struct show_column operation_columns[] = {{"id", "ID"},	   {"verb", "VERB"},
						       {"vm", "VM"},	   {"state", "STATE"},
						       {"message", "WHY"}, {NULL, NULL}};

void cli_operation_options(FILE *f)
{
	fprintf(f, "  ls           the last ones, the newest first\n"
		   "  info ID      one of them\n"
		   "  wait ID      when it has ended\n"
		   "  cancel ID    it is not to go on\n\n");
	opt_print_help(operation_table, ARRAY_SIZE(operation_table), f);
}

static int show_operations(json_t *answer, const struct vm_options *o)
{
	json_t *list = json_object_get(answer, "operations"), *op;
	struct err e = {0};
	size_t i;
	int r;

	json_array_foreach(list, i, op)
	{
		json_object_set(op, "message",
				json_object_get(json_object_get(op, "error"), "message"));
	}
	if (show_filter(list, &o->filter, operation_columns, &e) < 0)
		return status_fail(&e, STATUS_USAGE);
	r = o->quiet ? show_names(list, "id", stdout) :
		       show_rows(list, operation_columns, (enum show_format)o->format, stdout);
	return r < 0 ? STATUS_RUNTIME : STATUS_OK;
}

int cli_operation(int argc, char **argv)
{
	struct vm_options o = {0};
	struct opt_result res = {0};
	_autojson json_t *answer = NULL;
	struct err e = {0};
	const char *verb;
	char path[80];
	uint64_t id = 0;
	bool ls;
	int r;

	if (opt_parse(operation_table, ARRAY_SIZE(operation_table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_operation);
	verb = res.n_args ? res.arg[0] : "ls";
	ls = !strcmp(verb, "ls");
	if ((ls && res.n_args > 1) ||
	    (!ls && (res.n_args != 2 || (strcmp(verb, "info") != 0 && strcmp(verb, "wait") != 0 &&
					 strcmp(verb, "cancel") != 0)))) {
		err_set(&e, EINVAL, "lodge operation takes ls, info ID, wait ID or cancel ID");
		return status_fail(&e, STATUS_USAGE);
	}
	if (!ls && opt_parse_uint(res.arg[1], 1, INT64_MAX, &id, &e) < 0)
		return status_fail(&e, STATUS_USAGE);
	snprintf(path, sizeof(path), ls ? "/1.0/operations" : "/1.0/operations/%llu%s",
		 (unsigned long long)id, !strcmp(verb, "wait") ? "?wait=3600" : "");
	r = daemon_call(!strcmp(verb, "cancel") ? "DELETE" : "GET", path, NULL, &answer, &e);
	if (r == -ENOENT)
		return dcmd_no_daemon();
	if (r < 0 || r >= 400)
		return status_fail(&e, status_of(&e));
	if (ls)
		return show_operations(answer, &o);
	return show_object(answer, (enum show_format)o.format, stdout) ? STATUS_RUNTIME : STATUS_OK;
}
