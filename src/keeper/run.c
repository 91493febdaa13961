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

#include "keeper/run.h"
#include "keeper/detach.h"
#include "keeper/probekeep.h"
#include "proto/control.h"
#include "sandbox/cgroup.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

/* Options that only the software engine has: who gives one wants it. */
static bool run_wants_soft(const struct run_options *o, const struct vm_config *c)
{
	return o->soft_mode != CONFIG_SOFT_TRANSLATE || o->soft_trace || o->perf_map ||
	       c->soft_cache_bytes != CONFIG_SOFT_CACHE_DEFAULT;
}

/*
 * Who unpacks the kernel. With KVM the guest: the same work, but `lodge run` is done sooner. In the software engine each
 * instruction of a decompressor costs several: there the host does it.
 */
static void run_choose_unpack(const struct run_options *o, struct vm_config *c)
{
	bool guest = o->kernel_unpack == RUN_UNPACK_GUEST ||
		     (o->kernel_unpack == RUN_UNPACK_AUTO && c->engine == CONFIG_ENGINE_KVM);

	c->boot_unpack = guest ? CONFIG_UNPACK_GUEST : CONFIG_UNPACK_HOST;
}

/* Decides the engine. Never another one than was asked for. *kept: by an answer of an earlier probe. */
static int run_choose_engine(const struct run_options *o, struct vm_config *c, bool *kept,
			     struct err *e)
{
	struct kvm_probe probe;

	*kept = false;
	c->engine = CONFIG_ENGINE_SOFT;
	if (o->engine == RUN_ENGINE_SOFT || (o->engine == RUN_ENGINE_AUTO && run_wants_soft(o, c)))
		return 0;
	if (o->engine == RUN_ENGINE_KVM && o->no_probe) {
		c->engine = CONFIG_ENGINE_KVM;
		return 0;
	}
	*kept = probekeep_get(&probekeep_here, &probe);
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

/* The sockets of the run directory, and those that have a path of the operator's choice. */
static int run_sockets(const struct run_options *o, const struct rundir *run,
		       struct config_fds *fds, struct err *e)
{
	int *fd = fds->fd;

	fd[CONFIG_FD_CONTROL_LISTEN] = rundir_listen(run, "control", SOCK_SEQPACKET, e);
	if (fd[CONFIG_FD_CONTROL_LISTEN] < 0)
		return fd[CONFIG_FD_CONTROL_LISTEN];
	if (o->control) {
		fd[CONFIG_FD_CONTROL_EXTRA] = control_listen(o->control, e);
		if (fd[CONFIG_FD_CONTROL_EXTRA] < 0)
			return fd[CONFIG_FD_CONTROL_EXTRA];
	}
	if (o->agent) {
		fd[CONFIG_FD_AGENT_LISTEN] =
			!strcmp(o->agent, "on") ?
				rundir_listen(run, "agent", SOCK_STREAM, e) :
				control_listen_stream(o->agent, "guest agent's socket", "agent", e);
		if (fd[CONFIG_FD_AGENT_LISTEN] < 0)
			return fd[CONFIG_FD_AGENT_LISTEN];
	}
	return 0;
}

/* Opens everything. On error fds hold what was opened so far. */
static int run_open(struct run_options *o, const struct vm_config *c, const char *console_path,
		    const struct rundir *run, struct config_fds *fds, int *console, int *opener,
		    struct err *e)
{
	int r = runfile_check_memory(c->memory_bytes, e), pair[2];

	if (!r && !o->restore)
		r = runfile_open_boot(o, c, fds, e);
	if (!r && c->engine == CONFIG_ENGINE_KVM)
		r = runfile_open_kvm(fds, e);
	if (!r)
		r = runseed_write(&o->seed, c->name, e);
	if (!r)
		r = rundisk_open(&o->disks, c, fds, e);
	if (r < 0)
		return r;
	r = c->console == CONFIG_CONSOLE_STDIO ? run_stdio_console(fds, console, e) :
						 runfile_open_console(c, console_path, fds, e);
	if (!r)
		r = run_sockets(o, run, fds, e);
	if (r)
		return r;
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
	r = runshare_open(&o->shares, fds, e);
	return r ? r : runnet_open(&o->nets, c, fds, e);
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

/* info.json: what runs, and how to begin again. `words` are those of the command line. */
static json_t *run_info(const struct run_options *o, const struct vm_config *c, const json_t *words,
			bool detached)
{
	json_t *again = json_deep_copy(words);
	char cwd[PATH_MAX];
	json_t *j;

	if (!getcwd(cwd, sizeof(cwd)))
		strcpy(cwd, "/");
	if (!o->name) {
		json_array_insert_new(again, 0, json_string(c->name));
		json_array_insert_new(again, 0, json_string("--name"));
	}
	j = json_pack("{s:s, s:i, s:b, s:I, s:o, s:o, s:o}", "name", c->name, "keeper",
		      (int)getpid(), "detached", detached, "started_ms",
		      (json_int_t)(clock_realtime_ns() / CLOCK_NS_PER_MS), "config",
		      config_to_json(c), "words", again, "cwd", json_string(cwd));
	return j;
}

/* What is known only then: its process, and how its network helpers are locked in, by the number of the card. */
static void run_tell_started(json_t *info, pid_t pid, const struct run_nets *nets)
{
	json_t *helpers = json_object();
	char card[16];

	(void)json_object_set_new(info, "vm", json_integer(pid));
	for (unsigned i = 0; i < nets->n; i++) {
		snprintf(card, sizeof(card), "%u", i);
		if (nets->net[i].sandbox)
			(void)json_object_set(helpers, card, nets->net[i].sandbox);
	}
	(void)json_object_set_new(info, "nat", helpers);
}

/* state_fd: of --restore, or -1; consumed. */
static int run_vm(struct run_options *o, const struct vm_config *c, const char *console_path,
		  int state_fd, struct rundir *run, struct detach *detach, const json_t *words)
{
	_autojson json_t *info = run_info(o, c, words, detach);
	struct attach_options at = {.run = run,
				    .info = info,
				    .detach = detach,
				    .pid = -1,
				    .control = -1,
				    .console = -1,
				    .opener = -1,
				    .vsock = o->vsock,
				    .timeout_s = o->timeout_s,
				    .restored = o->restore,
				    .quiet = o->quiet,
				    .disks = &o->disks};
	struct cgroup group;
	struct config_fds fds;
	struct run_name names[3] = {0};
	struct err e = {0};
	int status, r;

	config_fds_init(&fds);
	fds.fd[CONFIG_FD_STATE] = state_fd;
	attach_hold_signals();
	r = rungroup_open(&group, o, c, run, &e);
	at.group = &group;
	if (r == 0)
		r = info ? run_open(o, c, console_path, run, &fds, &at.console, &at.opener, &e) :
			   err_set(&e, EINVAL,
				   "the command line or the current folder is not UTF-8 text");
	run_note_name(&names[0], o->control, fds.fd[CONFIG_FD_CONTROL_EXTRA]);
	if (o->agent && strcmp(o->agent, "on") != 0)
		run_note_name(&names[1], o->agent, fds.fd[CONFIG_FD_AGENT_LISTEN]);
	run_note_name(&names[2], o->vsock, fds.fd[CONFIG_FD_VSOCK_LISTEN]);
	if (!r)
		r = fault_point("vm-launch", &e);
	if (!r)
		r = launch_vm(c, &fds, &at.pid, &at.control, &e);
	(void)fault_point("vm-launched", NULL);
	rundisk_keep(&o->disks, &fds);
	config_fds_close(&fds);
	if (!r)
		run_tell_started(info, at.pid, &o->nets);
	if (r) {
		base_close_fd(&at.console);
		base_close_fd(&at.opener);
		status = status_fail_option(&e, STATUS_RUNTIME);
	} else {
		status = attach_run(&at);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		run_remove_name(&names[i]);
	runnet_end(&o->nets);
	runshare_end(&o->shares);
	rungroup_close(&group);
	return status;
}

/* With a run directory of its own, which stays if a detached VM ran in it: for `lodge ls`, `logs`, `start`. */
static int run_named(struct run_options *o, struct vm_config *c, const char *console_path,
		     int state_fd, struct detach *detach, const json_t *words)
{
	const char *name = o->name ? o->name : o->restore ? c->name : NULL;
	struct rundir run;
	struct err e = {0};
	bool kept;
	int r = rundir_create(&run, name, &e), status;

	if (r < 0) {
		base_close_fd(&state_fd);
		return status_fail(&e, status_of(&e));
	}
	(void)fault_point("folder-made", NULL);
	strcpy(c->name, run.name);
	log_init("lodge", c->name);
	if (o->restore && !o->given.engine && !run_wants_soft(o, c))
		o->engine = c->engine == CONFIG_ENGINE_KVM ? RUN_ENGINE_KVM : RUN_ENGINE_SOFT;
	if (run_choose_engine(o, c, &kept, &e)) {
		base_close_fd(&state_fd);
		status = status_fail(&e, STATUS_RUNTIME);
	} else {
		if (!o->restore)
			run_choose_unpack(o, c);
		status = run_vm(o, c, console_path, state_fd, &run, detach, words);
		/* Whatever it was: if it was KVM, the next start finds out. */
		if (kept && c->engine == CONFIG_ENGINE_KVM &&
		    (status == STATUS_RUNTIME || status == STATUS_CRASHED ||
		     status == STATUS_TIMEOUT))
			probekeep_drop();
	}
	if (!detach || o->remove || faccessat(run.dir, "info.json", F_OK, 0) < 0)
		rundir_remove(&run);
	(void)fault_point("vm-over", NULL);
	rundir_close(&run);
	return status;
}

int run_parsed(struct run_options *o, struct vm_config *c, const char *console_path, int state_fd,
	       const json_t *words)
{
	char name[CONFIG_NAME_MAX + 1];
	struct err e = {0};
	struct detach d;
	int r, status;

	log_init("lodge", o->name);
	if (!o->detach)
		return run_named(o, c, console_path, state_fd, NULL, words);
	r = detach_fork(&d, &status, name, sizeof(name), &e);
	if (r <= 0)
		base_close_fd(&state_fd);
	if (r < 0)
		return status_fail(&e, STATUS_RUNTIME);
	if (r == 0 && status == STATUS_OK)
		printf("%s\n", name);
	if (r == 0)
		return status;
	status = run_named(o, c, console_path, state_fd, &d, words);
	(void)detach_say(&d, status ? status : STATUS_RUNTIME, "");
	detach_end(&d);
	return status;
}
