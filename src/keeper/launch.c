/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - starts lodge-vm, and the helpers that a VM needs.
 *
 * A new process, then exec with an exact table of descriptors: null for stdin and stdout, our stderr, and what the program
 * is given from number 3 on: for lodge-vm the control socket, everything else comes in the start message. The child has
 * its own session, so keys and hang-ups of our terminal do not reach it, and dies when we die
 * (PR_SET_PDEATHSIG; it also ends when its socket closes). Its environment is empty. A pipe that closes on exec tells
 * whether exec worked. The program locks itself in (sandbox/sandbox.h); what only its parent can do for that, a namespace of
 * process ids, is done here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/run.h"
#include "proto/control.h"
#include "sandbox/cgroup.h"
#include "sandbox/sandbox.h"
#include "util/log.h"

#define LAUNCH_FIRST_FD 3
#define LAUNCH_FDS_MAX 2u

/* The group that children go into. */
static const struct cgroup *launch_group;

void launch_into(const struct cgroup *g)
{
	launch_group = g;
}

void launch_group_word(char *word, size_t size)
{
	*word = '\0';
	if (launch_group)
		sandbox_group_word(word, size, launch_group->on, launch_group->note);
}

/* The smallest descriptor from `from` on that launch_close_others() keeps; -1: none. */
static int next_kept(int from, int keep)
{
	int next = keep >= from ? keep : -1;

	for (unsigned i = 0; launch_group && i < launch_group->n; i++) {
		int fd = launch_group->procs[i];

		if (fd >= from && (next < 0 || fd < next))
			next = fd;
	}
	return next;
}

void launch_close_others(int keep)
{
	int from = STDERR_FILENO + 1, kept;

	for (; (kept = next_kept(from, keep)) >= 0; from = kept + 1)
		if (kept > from)
			close_range((unsigned)from, (unsigned)kept - 1, 0);
	close_range((unsigned)from, ~0u, 0);
}

int launch_find(const char *program, char *path, size_t size, struct err *e)
{
	static const char *const places[] = {"/", "/../libexec/lodge/"};
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return err_errno(e, errno, "cannot find out where this program is (/proc/self/exe)");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		if ((size_t)snprintf(path, size, "%s%s%s", self, places[i], program) < size &&
		    access(path, X_OK) == 0)
			return 0;
	}
	return err_set(
		e, ENOENT,
		"the program %s is neither beside lodge in \"%.200s\" nor in ../libexec/lodge: is the installation complete?",
		program, self);
}

/* The environment of a program: nothing. What the sanitizers of a build for tests are told goes along. */
static void launch_environment(char **env)
{
#ifdef __SANITIZE_ADDRESS__
	static const char *const names[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
	static char text[ARRAY_SIZE(names)][512];

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);

		if (value && (size_t)snprintf(text[i], sizeof(text[i]), "%s=%s", names[i], value) <
				     sizeof(text[i]))
			*env++ = text[i];
	}
#endif
	*env = NULL;
}

/* The maps of a user name space in which we are root, made before the fork. */
struct launch_user {
	char uid[40], gid[40];
};

static int launch_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int r = fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

static int launch_own_user(const struct launch_user *user)
{
	return unshare(CLONE_NEWUSER) < 0 || launch_put("/proc/self/setgroups", "deny") < 0 ||
			       launch_put("/proc/self/uid_map", user->uid) < 0 ||
			       launch_put("/proc/self/gid_map", user->gid) < 0 ?
		       -1 :
		       0;
}

/* What the child is told. */
struct launch_child {
	const char *path;
	char *const *argv, *const *env;
	const int *fds;
	unsigned n;
	const struct launch_user *user; /* NULL: none */
	int status, ours;		/* the status pipe; our end of it */
};

/*
 * In the child: only async-signal-safe calls, and no writing to what is ours: its memory may be our own (namespace_start()). Does not
 * return. `inside`: it is in the group already.
 */
static void launch_exec(void *ctx, bool inside)
{
	const struct launch_child *c = ctx;
	int high[LAUNCH_FDS_MAX], null, code, status = c->status;
	int status_fd = LAUNCH_FIRST_FD + (int)c->n;
	struct pollfd gone = {.fd = status, .events = 0};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Out of the way of the low numbers first. */
	for (unsigned i = 0; i < c->n; i++) {
		high[i] = fcntl(c->fds[i], F_DUPFD, 16);
		if (high[i] < 0)
			_exit(127);
	}
	/* A parent that died before prctl() has closed its end: in a PID namespace getppid() does not tell. */
	close(c->ours);
	if (poll(&gone, 1, 0) != 0)
		_exit(127);
	if (launch_group && !inside && !cgroup_enter(launch_group))
		_exit(127);
	status = fcntl(status, F_DUPFD, 16);
	null = open("/dev/null", O_RDWR);
	if (status < 0 || null < 0 || (c->user && launch_own_user(c->user) < 0))
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	for (unsigned i = 0; i < c->n; i++)
		dup2(high[i], LAUNCH_FIRST_FD + (int)i);
	dup3(status, status_fd, O_CLOEXEC);
	close_range((unsigned)status_fd + 1, ~0u, 0);
	execve(c->path, c->argv, c->env);
	code = errno;
	if (write(status_fd, &code, sizeof(code)) < 0)
		_exit(126);
	_exit(127);
}

/* Waits until the child has exec'd. 0, or its errno. */
static int launch_wait_exec(int status)
{
	int code = 0;
	ssize_t n;

	do
		n = read(status, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(code) ? code : 0;
}

/*
 * The file in which `perf` looks for the names of code that a process made itself. The name is known to
 * everybody, so nothing that is there already is used: what has the name of a process that
 * has just begun is left over from another one.
 */
static int launch_perf_map(pid_t pid, struct err *e)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)pid);
	unlink(path);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	fd = -errno;
	err_errno(e, -fd, "cannot make \"%s\"", path);
	err_field(e, "--perf-map", NULL);
	return fd;
}

static int launch_start(int control, const struct vm_config *c, const struct config_fds *fds,
			pid_t pid, struct err *e)
{
	struct config_fds all = *fds;
	_autoclose int map = -1;

	if (c->soft_perf_map) {
		map = launch_perf_map(pid, e);
		if (map < 0)
			return map;
		all.fd[CONFIG_FD_PERF_MAP] = map;
	}
	return control_send_start(control, c, &all, e);
}

int launch_path(const char *path, char *const argv[], const int *fds, unsigned n,
		enum launch_how how, pid_t *pid, struct err *e)
{
	_autoclose int status_r = -1;
	_autoclose int status_w = -1;
	struct launch_user user;
	char *env[4];
	int pipe_fd[2], r;
	struct launch_child child = {.path = path, .argv = argv, .env = env, .fds = fds, .n = n};

	ASSERT(n <= LAUNCH_FDS_MAX);
	snprintf(user.uid, sizeof(user.uid), "0 %u 1\n", (unsigned)geteuid());
	snprintf(user.gid, sizeof(user.gid), "0 %u 1\n", (unsigned)getegid());
	if (how == LAUNCH_OWN_USER)
		child.user = &user;
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	child.ours = status_r = pipe_fd[0];
	child.status = status_w = pipe_fd[1];
	launch_environment(env);
	if (how == LAUNCH_SANDBOX) {
		_autoclose int group = launch_group ? cgroup_open(launch_group) : -1;

		*pid = namespace_start(group, launch_exec, &child);
	} else {
		*pid = fork();
		if (*pid == 0)
			launch_exec(&child, false);
	}
	if (*pid < 0)
		return err_errno(e, errno, "cannot start a process");
	base_close_fd(&status_w);
	r = launch_wait_exec(status_r);
	if (!r)
		return 0;
	launch_end(*pid);
	return err_errno(e, r, "cannot run \"%.200s\"", path);
}

int launch_program(const char *program, char *const argv[], const int *fds, unsigned n,
		   bool sandbox, pid_t *pid, struct err *e)
{
	char path[PATH_MAX];
	int r = launch_find(program, path, sizeof(path), e);

	return r ? r :
		   launch_path(path, argv, fds, n, sandbox ? LAUNCH_SANDBOX : LAUNCH_PLAIN, pid, e);
}

void launch_end(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) == pid) {
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
			log_error(
				"a helper process was ended by its sandbox: it made a system call that it may not make; --sandbox trace names it");
		return;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int launch_vm(const struct vm_config *c, const struct config_fds *fds, pid_t *pid, int *control,
	      struct err *e)
{
	static char arg0[] = "lodge-vm", arg1[] = "--control-fd", arg2[] = "3";
	char group[CGROUP_NOTE_SIZE + 1];
	char *const argv[] = {arg0, arg1, arg2, group, NULL};
	_autoclose int theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a control socket");
	theirs = pair[1];
	launch_group_word(group, sizeof(group));
	r = launch_program("lodge-vm", argv, &theirs, 1, c->sandbox != CONFIG_SANDBOX_OFF, pid, e);
	if (!r) {
		base_close_fd(&theirs);
		r = launch_start(pair[0], c, fds, *pid, e);
		/* EPIPE: it ended at once. It says why on stderr, if it can. */
		if (r)
			launch_end(*pid);
	}
	if (r)
		close(pair[0]);
	else
		*control = pair[0];
	return r;
}
