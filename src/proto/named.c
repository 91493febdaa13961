/* SPDX-License-Identifier: Apache-2.0 */
/*
 * named.c - control sockets with a name in the file system, and other sockets of a VM (declared in control.h).
 *
 * A socket file outlives a process that was killed. So a name that is taken is tried: if nobody
 * listens (ECONNREFUSED) and it is a socket, it is stale and removed; anything else is left alone
 * and refused. The file is made with mode 0600 from the start (umask), not narrowed afterwards.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/control.h"

static const struct control_name named_control = {SOCK_SEQPACKET, "control socket", "control"};

static int control_address(const char *path, const struct control_name *n, struct sockaddr_un *sa,
			   struct err *e)
{
	const size_t max = sizeof(sa->sun_path) - 1;
	char shown[96];

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (!*path) {
		err_set(e, EINVAL, "the path of the %s is empty", n->what);
		return err_field(e, n->field, path);
	}
	if (strlen(path) > max) {
		err_set(e, ENAMETOOLONG,
			"the path of the %s, \"%s\", is too long: %zu bytes, at most %zu are possible",
			n->what, err_quote(shown, sizeof(shown), path), strlen(path), max);
		err_limit(e, "%zu bytes", max);
		err_hint(e, "use a shorter path, for example under /run or /tmp");
		err_field(e, n->field, path);
		return -ENAMETOOLONG;
	}
	strcpy(sa->sun_path, path);
	return 0;
}

static int control_bind(int fd, const struct sockaddr_un *sa)
{
	mode_t old = umask(0177);
	int r = bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* The name is taken: by a live listener, by a stale socket (removed here: 0), or by something else. */
static int control_clear(const struct sockaddr_un *sa, const struct control_name *n,
			 const char *shown, struct err *e)
{
	_autoclose int fd = socket(AF_UNIX, n->type | SOCK_CLOEXEC, 0);
	struct stat st;
	int r;

	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "cannot look at \"%s\"", shown);
	if (!S_ISSOCK(st.st_mode)) {
		err_set(e, EEXIST,
			"\"%s\" exists and is not a socket: choose another path for the %s", shown,
			n->what);
		err_field(e, n->field, sa->sun_path);
		return -EEXIST;
	}
	r = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? errno : 0;
	if (r != ECONNREFUSED) {
		struct ucred who = {0};
		socklen_t len = sizeof(who);

		if (!r && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid)
			err_set(e, EADDRINUSE,
				"the %s \"%s\" is in use by process %d: choose another path",
				n->what, shown, (int)who.pid);
		else
			err_set(e, EADDRINUSE, "the %s \"%s\" is in use: choose another path",
				n->what, shown);
		err_field(e, n->field, sa->sun_path);
		return -EADDRINUSE;
	}
	if (unlink(sa->sun_path) < 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the stale socket \"%s\"", shown);
	return 0;
}

int control_listen_named(const char *path, const struct control_name *n, struct err *e)
{
	struct sockaddr_un sa;
	_autoclose int fd = -1;
	char shown[112];
	int r = control_address(path, n, &sa, e), out;

	if (r)
		return r;
	err_quote(shown, sizeof(shown), path);
	fd = socket(AF_UNIX, n->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	r = control_bind(fd, &sa);
	if (r == -EADDRINUSE) {
		r = control_clear(&sa, n, shown, e);
		if (r)
			return r;
		r = control_bind(fd, &sa);
	}
	if (r) {
		err_errno(e, -r, "cannot make the %s \"%s\"", n->what, shown);
		err_field(e, n->field, path);
		return r;
	}
	if (listen(fd, 16) < 0) {
		r = errno;
		unlink(path);
		return err_errno(e, r, "cannot listen on \"%s\"", shown);
	}
	out = fd;
	fd = -1;
	return out;
}

int control_listen(const char *path, struct err *e)
{
	return control_listen_named(path, &named_control, e);
}

int control_listen_stream(const char *path, const char *what, const char *field, struct err *e)
{
	const struct control_name n = {SOCK_STREAM, what, field};

	return control_listen_named(path, &n, e);
}

int control_connect_named(const char *path, const struct control_name *n, struct err *e)
{
	bool vm = n == &named_control;
	struct sockaddr_un sa;
	_autoclose int fd = -1;
	char shown[112];
	int r = control_address(path, n, &sa, e), out;

	if (r)
		return r;
	err_quote(shown, sizeof(shown), path);
	fd = socket(AF_UNIX, n->type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = errno;
		if (r == ECONNREFUSED)
			err_set(e, r, "no%s listens on \"%s\" any more: the socket is stale",
				vm ? " VM" : "body", shown);
		else if (r == ENOENT)
			err_set(e, r, "there is no %s \"%s\"%s", n->what, shown,
				vm ? ": is the VM running?" : "");
		else if (r == EPROTOTYPE || r == ENOTSOCK)
			err_set(e, r, "\"%s\" is not the %s%s", shown, n->what,
				vm ? " of a VM" : ": it is of another type");
		else
			err_errno(e, r, "cannot connect to \"%s\"", shown);
		err_field(e, n->field, path);
		return -r;
	}
	out = fd;
	fd = -1;
	return out;
}

int control_connect(const char *path, struct err *e)
{
	return control_connect_named(path, &named_control, e);
}
