/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - `lodge`: finds the command and calls it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/vm.h"

/* A program that was started without stdin, stdout or stderr would get its files as those. */
static int fill_stdio(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

/* --host URL or --host=URL; *i is left on its last word. */
static int take_host(int argc, char **argv, int *i, struct err *e)
{
	const char *url = argv[*i] + strlen("--host");

	if (*url == '=')
		url++;
	else if (!*url && *i + 1 < argc)
		url = argv[++*i];
	else
		url = "";
	if (!*url || setenv("LODGE_HOST", url, 1) < 0) {
		err_set(e, EINVAL, "write --host https://NAME[:PORT] or unix:PATH");
		return err_field(e, "--host", NULL);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct cli_command *c;
	struct err e = {0};
	char shown[64];
	int i = 1;

	if (fill_stdio() < 0)
		return STATUS_RUNTIME;
	/* Wanted even for the words before it that are wrong. */
	for (int k = 1; k < argc && strcmp(argv[k], "--"); k++)
		if (!strcmp(argv[k], "--json-errors"))
			status_json_errors(true);
	while (i < argc && (!strcmp(argv[i], "--json-errors") || !strncmp(argv[i], "--host", 6))) {
		if (argv[i][2] == 'h' && take_host(argc, argv, &i, &e) < 0)
			return status_fail(&e, STATUS_USAGE);
		i++;
	}
	if (i == argc) {
		err_set(&e, EINVAL,
			"there is no command: try `lodge run --kernel FILE`, or `lodge help`");
		err_hint(&e, "lodge help");
		err_field(&e, "command", NULL);
		return status_fail(&e, STATUS_USAGE);
	}
	if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
		return cli_help(0, NULL);
	if (!strcmp(argv[i], "--version"))
		return cli_version(0, NULL);
	if (argv[i][0] == '-') {
		err_set(&e, EINVAL, "there is no option %s before a command: see lodge help",
			err_quote(shown, sizeof(shown), argv[i]));
		err_field(&e, shown, NULL);
		return status_fail(&e, STATUS_USAGE);
	}
	c = cli_find_command(argv[i], &e);
	if (!c)
		return status_fail(&e, STATUS_USAGE);
	if (daemon_remote() && !remote_has(c->name)) {
		(void)remote_none(c->name, &e);
		return status_fail(&e, STATUS_USAGE);
	}
	return c->run(argc - i - 1, argv + i + 1);
}
