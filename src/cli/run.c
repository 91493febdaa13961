/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - `lodge run`: one VM without a daemon.
 *
 * Options, then the engine, then the files, then the process: nothing is created before everything
 * that can be checked is checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/image.h"
#include "engine/kvm/probe.h"
#include "proto/control.h"
#include "util/log.h"

void cli_run_options(FILE *f)
{
	runopt_print_help(f);
	fprintf(f, "\nOn a terminal, Ctrl-A is the escape key: Ctrl-A h lists what it does.\n"
		   "Exit status: 0 the guest powered off, 1 error, 2 usage, 3 the guest crashed,\n"
		   "124 time-out, 130 interrupted; with --debug-exit what the guest chose.\n");
}

/* Options that only the software engine has: who gives one wants it. */
static bool run_wants_soft(const struct run_options *o, const struct vm_config *c)
{
	return o->soft_mode != CONFIG_SOFT_TRANSLATE || o->soft_trace || o->perf_map ||
	       c->soft_cache_bytes != CONFIG_SOFT_CACHE_DEFAULT;
}

/* Decides the engine. Never another one than was asked for. */
static int run_choose_engine(const struct run_options *o, struct vm_config *c, struct err *e)
{
	struct kvm_probe probe;

	c->engine = CONFIG_ENGINE_SOFT;
	if (o->engine == RUN_ENGINE_SOFT || (o->engine == RUN_ENGINE_AUTO && run_wants_soft(o, c)))
		return 0;
	if (o->engine == RUN_ENGINE_KVM && o->no_probe) {
		c->engine = CONFIG_ENGINE_KVM;
		return 0;
	}
	kvm_probe(&probe);
	if (kvm_probe_usable(&probe)) {
		c->engine = CONFIG_ENGINE_KVM;
		return 0;
	}
	if (o->engine == RUN_ENGINE_AUTO) {
		if (!o->quiet)
			log_info("%s; using the software engine", probe.why);
		return 0;
	}
	err_set(e, probe.result == KVM_PROBE_PERMISSION ? EACCES : ENODEV, "--engine kvm: %s",
		probe.why);
	if (probe.result != KVM_PROBE_PERMISSION)
		err_hint(e, "use --engine soft, or auto");
	return err_field(e, "--engine", "kvm");
}

/* A program that was started without stdin, stdout or stderr would get its files as those. */
static int run_fill_stdio(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return -1;
	return 0;
}

/* The console stream between lodge-vm and us. */
static int run_stdio_console(struct config_fds *fds, int *ours, struct err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_errno(e, errno, "cannot make the console stream");
	*ours = pair[0];
	fds->fd[CONFIG_FD_CONSOLE_IN] = pair[1];
	fds->fd[CONFIG_FD_CONSOLE_OUT] = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
	if (fds->fd[CONFIG_FD_CONSOLE_OUT] < 0)
		return err_errno(e, errno, "cannot make the console stream");
	return 0;
}

/* Opens everything. On error fds hold what was opened so far. */
static int run_open(struct run_options *o, const struct vm_config *c, const char *console_path,
		    struct config_fds *fds, int *console, int *opener, struct err *e)
{
	int r = runfile_check_memory(c->memory_bytes, e), pair[2];

	if (!r && !o->restore)
		r = runfile_open_boot(o, c, fds, e);
	if (!r && c->engine == CONFIG_ENGINE_KVM)
		r = runfile_open_kvm(fds, e);
	if (!r)
		r = rundisk_open(&o->disks, c, fds, e);
	if (r < 0)
		return r;
	r = c->console == CONFIG_CONSOLE_STDIO ? run_stdio_console(fds, console, e) :
						 runfile_open_console(c, console_path, fds, e);
	if (r)
		return r;
	if (o->control) {
		fds->fd[CONFIG_FD_CONTROL_LISTEN] = control_listen(o->control, e);
		if (fds->fd[CONFIG_FD_CONTROL_LISTEN] < 0)
			return fds->fd[CONFIG_FD_CONTROL_LISTEN];
	}
	if (o->agent) {
		fds->fd[CONFIG_FD_AGENT_LISTEN] =
			control_listen_stream(o->agent, "guest agent's socket", "agent", e);
		if (fds->fd[CONFIG_FD_AGENT_LISTEN] < 0)
			return fds->fd[CONFIG_FD_AGENT_LISTEN];
	}
	if (o->vsock) {
		fds->fd[CONFIG_FD_VSOCK_LISTEN] = control_listen_stream(o->vsock, "vsock socket",
									"vsock", e);
		if (fds->fd[CONFIG_FD_VSOCK_LISTEN] < 0)
			return fds->fd[CONFIG_FD_VSOCK_LISTEN];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return err_errno(e, errno, "cannot make a socket pair");
		*opener = pair[0];
		fds->fd[CONFIG_FD_VSOCK_OPENER] = pair[1];
	}
	return runnet_open(&o->nets, c, fds, e);
}

/* A socket with a name, which is removed at the end unless it is another one by then. */
struct run_name {
	const char *path; /* NULL: none was made */
	struct stat made;
};

static void run_note_name(struct run_name *n, const char *path, int fd)
{
	if (path && fd >= 0 && lstat(path, &n->made) == 0)
		n->path = path;
}

static void run_remove_name(const struct run_name *n)
{
	struct stat now;

	if (n->path && lstat(n->path, &now) == 0 && now.st_ino == n->made.st_ino &&
	    now.st_dev == n->made.st_dev)
		unlink(n->path);
}

/* state_fd: of --restore, or -1; consumed. */
static int run_vm(struct run_options *o, const struct vm_config *c, const char *console_path,
		  int state_fd)
{
	struct attach_options at = {.pid = -1,
				    .control = -1,
				    .console = -1,
				    .opener = -1,
				    .vsock = o->vsock,
				    .timeout_s = o->timeout_s,
				    .quiet = o->quiet};
	struct config_fds fds;
	struct run_name names[3] = {0};
	struct err e = {0};
	int status, r;

	config_fds_init(&fds);
	fds.fd[CONFIG_FD_STATE] = state_fd;
	attach_hold_signals();
	r = run_open(o, c, console_path, &fds, &at.console, &at.opener, &e);
	run_note_name(&names[0], o->control, fds.fd[CONFIG_FD_CONTROL_LISTEN]);
	run_note_name(&names[1], o->agent, fds.fd[CONFIG_FD_AGENT_LISTEN]);
	run_note_name(&names[2], o->vsock, fds.fd[CONFIG_FD_VSOCK_LISTEN]);
	if (!r)
		r = launch_vm(c, &fds, &at.pid, &at.control, &e);
	rundisk_keep(&o->disks, &fds);
	config_fds_close(&fds);
	if (r) {
		base_close_fd(&at.console);
		base_close_fd(&at.opener);
		status = cli_fail_option(&e, CLI_EXIT_RUNTIME);
	} else {
		status = attach_run(&at);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		run_remove_name(&names[i]);
	return status;
}

/* Consumes state_fd. */
static int run_parsed(struct run_options *o, struct vm_config *c, const char *console_path,
		      int state_fd)
{
	struct err e = {0};

	log_init("lodge", c->name);
	if (o->restore && !o->given.engine && !run_wants_soft(o, c))
		o->engine = c->engine == CONFIG_ENGINE_KVM ? RUN_ENGINE_KVM : RUN_ENGINE_SOFT;
	if (run_choose_engine(o, c, &e)) {
		base_close_fd(&state_fd);
		return cli_fail(&e, CLI_EXIT_RUNTIME);
	}
	return run_vm(o, c, console_path, state_fd);
}

int cli_run(int argc, char **argv)
{
	const char *console_path = NULL;
	struct run_options o;
	struct vm_config c;
	struct err e = {0};
	int state_fd = -1, status;

	if (run_fill_stdio() < 0)
		return CLI_EXIT_RUNTIME;
	if (runopt_parse(argc, argv, &o, &c, &console_path, &e))
		status = cli_fail_option(&e, CLI_EXIT_USAGE);
	else if (o.help)
		status = cli_own_help(cli_run);
	else if (o.image && image_ensure(o.image, o.quiet, &e) < 0)
		status = cli_fail(&e, CLI_EXIT_RUNTIME);
	else if (o.restore && restore_config(&o, &c, &state_fd, &e) < 0)
		status = cli_fail(&e, CLI_EXIT_RUNTIME);
	else
		status = run_parsed(&o, &c, console_path, state_fd);
	runnet_end(&o.nets);
	rundisk_end(&o.disks);
	return status;
}
