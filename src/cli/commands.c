/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.c - the table of commands, their help, and how errors are printed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "proto/control.h"

#ifndef LODGE_VERSION
#define LODGE_VERSION "unknown"
#endif

static bool json_errors;

/* Ordered as the help shows them. */
const struct cli_command cli_commands[] = {
	{"run", "[IMAGE] [OPTION...]", "run a virtual machine on this terminal", cli_run,
	 cli_run_options},
	{"image", "COMMAND [NAME...] [OPTION...]", "make, list and remove images", cli_image,
	 cli_image_options},
	{"ctl", "PATH COMMAND [FILE] [OPTION...]", "control a running machine through its socket",
	 cli_ctl, cli_ctl_options},
	{"doctor", "", "show what this host can do", cli_doctor, NULL},
	{"version", "", "show the version", cli_version, NULL},
	{"help", "[COMMAND]", "show this, or the help of a command", cli_help, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

void cli_set_json_errors(bool on)
{
	json_errors = on;
}

int cli_fail(const struct err *e, enum cli_exit status)
{
	_autojson json_t *j = json_errors ? control_error_json(e) : NULL;
	_autofree char *text = j ? json_text(j) : NULL;

	if (text)
		fprintf(stderr, "%s\n", text);
	else
		fprintf(stderr, "lodge: %s\n", e->msg[0] ? e->msg : "failed");
	return status;
}

int cli_fail_option(struct err *e, enum cli_exit status)
{
	const char *key = !strncmp(e->field, "boot.", 5) ? e->field + 5 : e->field;
	char option[sizeof(e->field)];

	if (*key && *key != '-') {
		snprintf(option, sizeof(option), "--%.61s", key);
		for (char *p = option; *p; p++)
			if (*p == '.' || *p == '_')
				*p = '-';
		memcpy(e->field, option, sizeof(option));
	}
	return cli_fail(e, status);
}

void cli_print_help(FILE *f, const struct cli_command *c)
{
	fprintf(f, "Usage: lodge %s %s\n%s\n", c->name, c->usage, c->help);
	if (c->options) {
		fputc('\n', f);
		c->options(f);
	}
}

int cli_own_help(int (*run)(int argc, char **argv))
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (c->run == run)
			cli_print_help(stdout, c);
	return CLI_EXIT_OK;
}

static void print_usage(FILE *f)
{
	fprintf(f, "Usage: lodge [--json-errors] COMMAND ...\n\n");
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", c->name, c->usage);
		fprintf(f, "  lodge %-34s %s\n", left, c->help);
	}
}

const struct cli_command *cli_find_command(const char *name, struct err *e)
{
	const char *names[ARRAY_SIZE(cli_commands)];
	const char *near;
	char shown[64];
	unsigned n = 0;

	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (!strcmp(c->name, name))
			return c;
		names[n++] = c->name;
	}
	names[n] = NULL;
	near = opt_suggest(name, names);
	err_quote(shown, sizeof(shown), name);
	if (near) {
		err_set(e, EINVAL, "there is no command \"%s\": did you mean %s?", shown, near);
		err_hint(e, "lodge %s", near);
	} else {
		err_set(e, EINVAL, "there is no command \"%s\": see lodge help", shown);
		err_hint(e, "lodge help");
	}
	err_field(e, "command", name);
	return NULL;
}

int cli_version(int argc, char **argv)
{
	struct err e = {0};

	(void)argv;
	if (argc) {
		err_set(&e, EINVAL, "`lodge version` takes no arguments");
		return cli_fail(&e, CLI_EXIT_USAGE);
	}
	printf("lodge %s\n", LODGE_VERSION);
	return CLI_EXIT_OK;
}

int cli_help(int argc, char **argv)
{
	const struct cli_command *c;
	struct err e = {0};

	if (!argc) {
		print_usage(stdout);
		return CLI_EXIT_OK;
	}
	c = cli_find_command(argv[0], &e);
	if (!c)
		return cli_fail(&e, CLI_EXIT_USAGE);
	cli_print_help(stdout, c);
	return CLI_EXIT_OK;
}
