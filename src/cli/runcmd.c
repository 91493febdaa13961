/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runcmd.c - `lodge run`: the words, then the keeper (keeper/run.h) in this process or, detached, in one of its own; or, with
 * --host, a definition for lodged there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/remote.h"
#include "keeper/image.h"

void cli_run_options(FILE *f)
{
	runopt_print_help(f);
	fprintf(f, "\nOn a terminal, Ctrl-A is the escape key: Ctrl-A h lists what it does.\n"
		   "Exit status: 0 the guest powered off, 1 error, 2 usage, 3 the guest crashed,\n"
		   "124 time-out, 130 interrupted; with --debug-exit what the guest chose.\n");
}

/* With --host. argv as it was before it was parsed. */
static int run_remote(const struct run_options *o, int argc, char **argv)
{
	struct err e = {0};

	if (!o->detach) {
		err_set(&e, EINVAL,
			"`lodge run` on another host needs --detach; `lodge console NAME` shows its console then");
		err_hint(&e, "--detach");
		err_field(&e, "--detach", NULL);
	} else if (o->remove) {
		err_set(&e, EINVAL,
			"--rm is for this host only, not with --host or LODGE_HOST: `lodge rm NAME` removes it");
		err_field(&e, "--rm", NULL);
	}
	return e.code ? (int)status_fail(&e, STATUS_USAGE) : remote_run(argc, argv, o->name);
}

int cli_run(int argc, char **argv)
{
	_autofree char **as_was = calloc((size_t)argc + 1, sizeof(*as_was));
	_autojson json_t *words = json_array();
	const char *console_path = NULL;
	struct run_options o;
	struct vm_config c;
	struct err e = {0};
	int state_fd = -1, status;

	if (!as_was) {
		err_set(&e, ENOMEM, "out of memory");
		return status_fail(&e, STATUS_RUNTIME);
	}
	memcpy(as_was, argv, (size_t)argc * sizeof(*argv));
	for (int i = 0; i < argc; i++)
		(void)json_array_append_new(words, json_string(argv[i]));
	if (runopt_parse(argc, argv, &o, &c, &console_path, &e))
		status = status_fail_option(&e, STATUS_USAGE);
	else if (o.help)
		status = cli_own_help(cli_run);
	else if (daemon_remote())
		status = run_remote(&o, argc, as_was);
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
