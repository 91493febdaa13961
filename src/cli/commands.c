/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands.c - the table of commands, their help, and how errors are printed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/vm.h"

#ifndef LODGE_VERSION
#define LODGE_VERSION "unknown"
#endif

/* Ordered as the help shows them. */
const struct cli_command cli_commands[] = {
	{"run", "[IMAGE] [OPTION...]", "run a virtual machine on this terminal", cli_run,
	 cli_run_options},
	{"image", "COMMAND [NAME...] [OPTION...]", "make, list and remove images", cli_image,
	 cli_image_options},
	{"disk", "COMMAND [FILE] [SIZE] [OPTION...]", "make, resize and list disks", cli_disk,
	 cli_disk_options},
	{"ls", "[OPTION...]", "list the VMs", vm_ls, vm_ls_options},
	{"info", "VM", "show all that is known of a VM", vm_info, vm_info_options},
	{"why", "VM...", "say why a guest is stuck, slow or not to be reached, and what to do",
	 cli_why, cli_why_options},
	{"console", "VM", "attach this terminal to a VM's console", vm_console, vm_console_options},
	{"logs", "VM", "show what the guest said on its console", vm_logs, vm_logs_options},
	{"stop", "VM...", "shut the guest down, or end it", vm_stop, vm_stop_options},
	{"start", "VM...", "start a stopped VM again", vm_start, vm_start_options},
	{"restart", "VM...", "stop and start", vm_restart, vm_start_options},
	{"pause", "VM...", "stop the virtual CPUs", vm_pause, vm_pause_options},
	{"resume", "VM...", "let them go on", vm_resume, vm_pause_options},
	{"rm", "VM...", "remove what a stopped VM left", vm_rm, vm_rm_options},
	{"wait", "VM", "wait until a VM ends; its exit status", vm_wait, vm_wait_options},
	{"events", "VM", "print what happens, until the VM ends", vm_events, vm_events_options},
	{"create", "NAME [OPTION...] -- WORDS", "define a VM for lodged", cli_create,
	 cli_create_options},
	{"set", "VM [OPTION...] [-- WORDS]", "change what lodged is to do with a VM", cli_set,
	 cli_create_options},
	{"apply", "-f FILE...", "define VMs for lodged as a YAML file says", cli_apply,
	 cli_apply_options},
	{"diff", "-f FILE...", "show what `lodge apply` would change", cli_diff, cli_diff_options},
	{"operation", "COMMAND [ID]", "list, await and cancel operations of lodged", cli_operation,
	 cli_operation_options},
	{"ctl", "VM COMMAND [FILE] [OPTION...]", "control a running VM more closely", cli_ctl,
	 cli_ctl_options},
	{"exec", "VM [OPTION...] -- COMMAND", "run a command in a guest, by its agent", cli_exec,
	 cli_exec_options},
	{"cp", "FROM TO", "copy a file into a guest, or out of it (VM:PATH)", cli_cp,
	 cli_cp_options},
	{"guest", "VM COMMAND", "ask the agent of a guest: addresses, freeze, thaw, time, ...",
	 cli_guest, cli_guest_options},
	{"completion", "bash|zsh|fish", "completion for a shell", cli_completion,
	 cli_completion_options},
	{"host", "[info]", "show what this host has, and what VMs have of it", cli_host,
	 cli_host_options},
	{"doctor", "", "show what this host can do, and what is wrong with it", cli_doctor,
	 cli_doctor_options},
	{"version", "", "show the version", cli_version, NULL},
	{"help", "[COMMAND]", "show this, or the help of a command", cli_help, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

void cli_print_help(FILE *f, const struct cli_command *c)
{
	fprintf(f, "Usage: lodge %s %s\n%s\n", c->name, c->usage, c->help);
	if (c->options) {
		fputc('\n', f);
		c->options(f);
	}
}

char *cli_marked_help(const struct cli_command *c)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	opt_mark_help(true);
	if (c->options)
		c->options(f);
	opt_mark_help(false);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

int cli_own_help(int (*run)(int argc, char **argv))
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (c->run == run)
			cli_print_help(stdout, c);
	return STATUS_OK;
}

static void print_usage(FILE *f)
{
	fprintf(f, "Usage: lodge [--json-errors] [--host URL] COMMAND ...\n\n");
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

static bool wants_help(int argc, char **argv)
{
	return argc == 1 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"));
}

int cli_version(int argc, char **argv)
{
	struct err e = {0};

	if (wants_help(argc, argv))
		return cli_own_help(cli_version);
	if (argc) {
		err_set(&e, EINVAL, "`lodge version` takes no arguments");
		return status_fail(&e, STATUS_USAGE);
	}
	printf("lodge %s\n", LODGE_VERSION);
	return STATUS_OK;
}

int cli_help(int argc, char **argv)
{
	const struct cli_command *c;
	struct err e = {0};

	if (!argc || wants_help(argc, argv)) {
		print_usage(stdout);
		return STATUS_OK;
	}
	if (!strcmp(argv[0], "--man")) /* for the build */
		return man_print(argc == 2 ? argv[1] : "", &e) < 0 ? status_fail(&e, STATUS_USAGE) :
								     STATUS_OK;
	c = cli_find_command(argv[0], &e);
	if (!c)
		return status_fail(&e, STATUS_USAGE);
	cli_print_help(stdout, c);
	return STATUS_OK;
}
