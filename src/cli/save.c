/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save.c - `lodge ctl PATH save FILE`.
 *
 * The file is made here, without a name where the file system can do that (O_TMPFILE), and passed to the VM as an open
 * descriptor. It gets its name when the VM has said that all of it is on the disk, by a rename: FILE is the old one or the new
 * one, whole, at any moment, and an end in between leaves nothing behind. With --stop the VM stays paused until then, and
 * is ended after it; it goes on when the name cannot be given.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "proto/control.h"

struct target {
	const char *path;
	const char *name; /* its last part */
	int dir;
	int fd;
	char temp[NAME_MAX + 1]; /* "": none (yet) */
};

static int target_error(const struct target *t, int code, const char *what, struct err *e)
{
	char shown[160];

	err_errno(e, code, "cannot %s \"%s\"", what, err_quote(shown, sizeof(shown), t->path));
	err_field(e, "FILE", t->path);
	return -code;
}

static int open_dir(struct target *t, struct err *e)
{
	const char *slash = strrchr(t->path, '/');
	char dir[PATH_MAX] = ".";
	struct stat st;

	t->name = slash ? slash + 1 : t->path;
	if (!*t->name || strlen(t->name) > NAME_MAX - 24 || strlen(t->path) >= sizeof(dir))
		return target_error(t, *t->name ? ENAMETOOLONG : EINVAL, "save to", e);
	if (slash) {
		size_t n = slash == t->path ? 1 : (size_t)(slash - t->path);

		memcpy(dir, t->path, n);
		dir[n] = '\0';
	}
	t->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->dir < 0)
		return target_error(t, errno, "save to", e);
	if (fstatat(t->dir, t->name, &st, 0) == 0 && !S_ISREG(st.st_mode)) {
		char shown[160];

		err_set(e, EEXIST, "\"%s\" exists and is not a regular file: save to another name",
			err_quote(shown, sizeof(shown), t->path));
		return err_field(e, "FILE", t->path);
	}
	return 0;
}

static void temp_name(struct target *t)
{
	snprintf(t->temp, sizeof(t->temp), ".%.*s.%ld.part", NAME_MAX - 24, t->name, (long)getpid());
}

static int open_target(struct target *t, struct err *e)
{
	int r = open_dir(t, e);

	if (r < 0)
		return r;
	t->fd = openat(t->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (t->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
		return target_error(t, errno, "save to", e);
	temp_name(t);
	t->fd = openat(t->dir, t->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd >= 0)
		return 0;
	t->temp[0] = '\0';
	return target_error(t, errno, "save to", e);
}

/* The file gets its name. */
static int commit(struct target *t, struct err *e)
{
	char proc[40];

	if (!t->temp[0]) {
		temp_name(t);
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", t->fd);
		(void)unlinkat(t->dir, t->temp, 0);
		if (linkat(AT_FDCWD, proc, t->dir, t->temp, AT_SYMLINK_FOLLOW) < 0) {
			t->temp[0] = '\0';
			return target_error(t, errno, "give the saved state the name", e);
		}
	}
	if (renameat(t->dir, t->temp, t->dir, t->name) < 0)
		return target_error(t, errno, "give the saved state the name", e);
	t->temp[0] = '\0';
	if (fsync(t->dir) < 0)
		return target_error(t, errno, "flush the folder of", e);
	return 0;
}

static void close_target(struct target *t)
{
	if (t->temp[0])
		(void)unlinkat(t->dir, t->temp, 0);
	base_close_fd(&t->fd);
	base_close_fd(&t->dir);
}

int save_run(int sock, const char *path, bool stop, uint64_t deadline_ns, json_t **result,
	     struct err *e)
{
	struct target t = {.path = path, .dir = -1, .fd = -1};
	struct err ignored = {0};
	sigset_t ends, old;
	int r;

	/* The file must not stay without its name, or the VM paused, because of a key. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, &old);
	r = open_target(&t, e);
	if (r == 0)
		r = control_call_save(sock, t.fd, stop, deadline_ns, result, e);
	if (r == 0) {
		r = commit(&t, e);
		if (r == 0 && stop)
			r = control_call(sock, CONTROL_QUIT, deadline_ns, NULL, e);
		else if (stop)
			(void)control_call(sock, CONTROL_RESUME, deadline_ns, NULL, &ignored);
	}
	close_target(&t);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}
