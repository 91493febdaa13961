/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - starts lodge-vm.
 *
 * fork, then exec with exactly four descriptors: null for stdin and stdout, our stderr, and the
 * control socket as number 3; everything else the VM gets comes in the start message. The child has
 * its own session, so keys and hang-ups of our terminal do not reach it, and dies when we die
 * (PR_SET_PDEATHSIG; it also ends when the control socket closes). A pipe that closes on exec tells
 * whether exec worked.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "proto/control.h"

#define LAUNCH_CONTROL_FD 3
#define LAUNCH_STATUS_FD 4

int launch_find(char *path, size_t size, struct err *e)
{
	static const char *const places[] = {"/lodge-vm", "/../libexec/lodge/lodge-vm"};
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return err_errno(e, errno, "cannot find out where this program is (/proc/self/exe)");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		if ((size_t)snprintf(path, size, "%s%s", self, places[i]) < size &&
		    access(path, X_OK) == 0)
			return 0;
	}
	return err_set(
		e, ENOENT,
		"the program lodge-vm is neither beside lodge in \"%.200s\" nor in ../libexec/lodge: is the installation complete?",
		self);
}

/* In the child: only async-signal-safe calls. Does not return. */
static _Noreturn void launch_exec(const char *path, int control, int status, pid_t parent)
{
	static char arg0[] = "lodge-vm", arg1[] = "--control-fd", arg2[] = "3";
	char *const argv[] = {arg0, arg1, arg2, NULL};
	sigset_t none;
	int null, code;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Out of the way of 0..4 first. */
	control = fcntl(control, F_DUPFD, 16);
	status = fcntl(status, F_DUPFD, 16);
	null = open("/dev/null", O_RDWR);
	if (control < 0 || status < 0 || null < 0 || getppid() != parent)
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(control, LAUNCH_CONTROL_FD);
	dup3(status, LAUNCH_STATUS_FD, O_CLOEXEC);
	close_range(LAUNCH_STATUS_FD + 1, ~0u, 0);
	execv(path, argv);
	code = errno;
	if (write(LAUNCH_STATUS_FD, &code, sizeof(code)) < 0)
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

int launch_vm(const struct vm_config *c, const struct config_fds *fds, pid_t *pid, int *control,
	      struct err *e)
{
	_autoclose int theirs = -1;
	_autoclose int status_r = -1;
	_autoclose int status_w = -1;
	char path[PATH_MAX];
	int pair[2], pipe_fd[2], r;
	pid_t parent = getpid();

	r = launch_find(path, sizeof(path), e);
	if (r)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a control socket");
	theirs = pair[1];
	*control = pair[0];
	if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
		r = err_errno(e, errno, "cannot make a pipe");
		goto fail;
	}
	status_r = pipe_fd[0];
	status_w = pipe_fd[1];
	*pid = fork();
	if (*pid < 0) {
		r = err_errno(e, errno, "cannot start a process");
		goto fail;
	}
	if (*pid == 0)
		launch_exec(path, theirs, status_w, parent);
	base_close_fd(&theirs);
	base_close_fd(&status_w);
	r = launch_wait_exec(status_r);
	if (r)
		r = err_errno(e, r, "cannot run \"%.200s\"", path);
	else
		r = launch_start(*control, c, fds, *pid, e);
	if (!r)
		return 0;
	/* EPIPE: it ended at once. It says why on stderr, if it can. */
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
fail:
	base_close_fd(control);
	return r;
}
