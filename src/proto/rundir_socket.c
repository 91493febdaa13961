/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir_socket.c - sockets in the folder of a VM; declared in rundir.h. One gets its name when it listens, not before: who finds it is
 * never refused because it came between bind(2) and listen(2), which would mean that nobody is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/rundir.h"

#define PROC_PATH_MAX 64u

static void proc_address(const struct rundir *r, const char *file, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(sa->sun_path, PROC_PATH_MAX, "/proc/self/fd/%d/%.30s", r->dir, file);
}

int rundir_listen(const struct rundir *r, const char *file, int type, struct err *e)
{
	_autoclose int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;
	char part[40];
	mode_t old;
	int got;

	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	snprintf(part, sizeof(part), "%.25s.new", file);
	(void)unlinkat(r->dir, part, 0);
	proc_address(r, part, &sa);
	old = umask(0177);
	got = bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;
	umask(old);
	if (!got && (listen(fd, 64) < 0 || renameat(r->dir, part, r->dir, file) < 0)) {
		got = errno;
		(void)unlinkat(r->dir, part, 0);
	}
	if (got)
		return err_errno(e, got, "cannot make the socket \"%s\" of \"%s\"", file, r->name);
	got = fd;
	fd = -1;
	return got;
}

int rundir_connect(const struct rundir *r, const char *file, int type, struct err *e)
{
	_autoclose int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa;
	struct stat st;
	int got;

	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	proc_address(r, file, &sa);
	if (fstatat(r->dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		got = errno;
	else if (!S_ISSOCK(st.st_mode))
		got = ENOTSOCK;
	else
		got = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;
	if (got == ENOENT)
		return err_set(e, ENOENT, "the VM \"%s\" has no socket \"%s\"", r->name, file);
	if (got == ECONNREFUSED)
		return err_set(e, ECONNREFUSED, "the VM \"%s\" is not running", r->name);
	if (got)
		return err_errno(e, got, "cannot reach the socket \"%s\" of \"%s\"", file, r->name);
	got = fd;
	fd = -1;
	return got;
}
