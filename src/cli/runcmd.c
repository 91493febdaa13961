/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runcmd.c - `lodge run`: the words, then the keeper (keeper/run.h) in this process or, detached, in one of its own.
 */
#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"
#include "keeper/image.h"

void cli_run_options(FILE *f)
{
	runopt_print_help(f);
	fprintf(f, "\nOn a terminal, Ctrl-A is the escape key: Ctrl-A h lists what it does.\n"
		   "Exit status: 0 the guest powered off, 1 error, 2 usage, 3 the guest crashed,\n"
		   "124 time-out, 130 interrupted; with --debug-exit what the guest chose.\n");
}

int cli_run(int argc, char **argv)
{
	_autojson json_t *words = json_array();
	const char *console_path = NULL;
	struct run_options o;
	struct vm_config c;
	struct err e = {0};
	int state_fd = -1, status;

	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(words, json_string(argv[i]));
	if (runopt_parse(argc, argv, &o, &c, &console_path, &e))
		status = status_fail_option(&e, STATUS_USAGE);
	else if (o.help)
		status = cli_own_help(cli_run);
	else if (o.image && image_ensure(o.image, o.quiet, &e) < 0)
		status = status_fail(&e, e.code == ESRCH ? STATUS_NOT_FOUND : STATUS_RUNTIME);
	else if (o.restore && restore_config(&o, &c, &state_fd, &e) < 0)
		status = status_fail(&e, STATUS_RUNTIME);
	else
		status = run_parsed(&o, &c, console_path, state_fd,
				    (int)json_array_size(words) == argc ? words : NULL);
	runnet_end(&o.nets);
	runshare_end(&o.shares);
	rundisk_end(&o.disks);
	runseed_end(&o.seed);
	return status;
}
