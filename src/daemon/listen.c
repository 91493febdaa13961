/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - see listen.h.
 *
 * A group that is let in may pass through the run directory and open the socket, and that is all: the folder with the VMs' own
 * sockets stays its user's.
 *
 * A lodged that was killed while it began a program may leave its sockets open for a moment: in that child, until it becomes
 * the program.
 */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/rundir.h"
#include "util/log.h"

#define SOCKET "lodged.socket"
#define BACKLOG 256
#define TAKEN_TRIES 100u /* 20 ms apart */

static int let_in(const struct rundir *base, const char *group, struct err *e)
{
	const struct group *g = *group ? getgrnam(group) : NULL;
	struct stat st;

	if (!*group) { /* what let a group in before does so no longer */
		if (fstat(base->dir, &st) == 0 && (st.st_mode & 0777) == 0710)
			(void)fchmod(base->dir, 0700);
		return 0;
	}
	if (!g)
		return err_set(e, EINVAL, "there is no group \"%s\"", group);
	if (fchown(base->dir, (uid_t)-1, g->gr_gid) < 0 || fchmod(base->dir, 0710) < 0 ||
	    fchownat(base->dir, SOCKET, (uid_t)-1, g->gr_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(base->dir, SOCKET, 0660, 0) < 0)
		return err_errno(e, errno, "cannot let the group \"%s\" in", group);
	return 0;
}

static bool has_ended(pid_t pid)
{
	_autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return fd < 0 ? errno == ESRCH : poll(&p, 1, 0) == 1;
}

/* The socket of a lodged with another state is not taken from it; one that nobody listens on is what a dead one left. */
static int check_free(const struct rundir *base, struct err *e)
{
	_autoclose int fd = rundir_connect(base, SOCKET, SOCK_STREAM, NULL);
	struct ucred who = {.pid = 0};
	socklen_t len = sizeof(who);

	if (fd < 0)
		return 0;
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	if (has_ended(who.pid))
		return 0;
	return err_set(
		e, EBUSY,
		"another lodged (process %d) listens in this run directory: end it, or set LODGE_RUN to another one",
		(int)who.pid);
}

bool listen_is_there(const struct listen_place *place)
{
	struct rundir base;
	struct stat st;
	bool same = rundir_open_base(&base, NULL) == 0 &&
		    fstatat(base.dir, SOCKET, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_ino == place->socket.st_ino && st.st_dev == place->socket.st_dev;

	rundir_close(&base);
	return same;
}

/* With a descriptor of its own: a close of one like it ends the notice. Without a notice nobody sees that it goes. */
static void watch(const struct rundir *base, struct listen_place *place)
{
	base_close_fd(&place->dir);
	if (fstatat(base->dir, SOCKET, &place->socket, AT_SYMLINK_NOFOLLOW) == 0)
		place->dir = openat(base->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->dir >= 0)
		(void)fcntl(place->dir, F_NOTIFY, DN_DELETE | DN_RENAME | DN_MULTISHOT);
}

int listen_local(const char *group, struct listen_place *place, struct err *e)
{
	struct rundir base;
	int r = rundir_open_base(&base, e), fd;

	if (r < 0)
		return r;
	r = check_free(&base, e);
	if (r < 0) {
		rundir_close(&base);
		return r;
	}
	fd = rundir_listen(&base, SOCKET, SOCK_STREAM, e);
	r = fd < 0 ? fd : let_in(&base, group, e);
	if (r == 0 && listen(fd, BACKLOG) < 0) /* more than for one VM */
		r = err_errno(e, errno, "cannot listen for clients");
	if (r == 0)
		watch(&base, place);
	rundir_close(&base);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* "127.0.0.1:8443", "[::1]:8443": into its parts, in place. */
static int split(char *text, char **address, char **port)
{
	char *colon = strrchr(text, ':');

	*address = text;
	if (!colon || colon == text || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -EINVAL;
	*colon = '\0';
	*port = colon + 1;
	if (*text != '[')
		return strchr(text, ':') ? -EINVAL : 0;
	if (colon[-1] != ']')
		return -EINVAL;
	colon[-1] = '\0';
	*address = text + 1;
	return 0;
}

static void say_where(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char address[64], port[16];

	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
	    getnameinfo((struct sockaddr *)&sa, len, address, sizeof(address), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		log_info("listening on %s, port %s, with TLS", address, port);
}

int listen_tcp(const char *where, struct err *e)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				 .ai_socktype = SOCK_STREAM},
			*found = NULL;
	_autoclose int fd = -1;
	char text[128], *address, *port;
	int on = 1, r = 0;

	snprintf(text, sizeof(text), "%s", where);
	if (split(text, &address, &port) < 0 || getaddrinfo(address, port, &hints, &found) != 0)
		return err_set(
			e, EINVAL,
			"listen = %s: write an address and a port, as 192.0.2.1:8443 or [::]:8443",
			where);
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		r = -errno;
	for (unsigned i = 0; r == 0; i++) {
		if (bind(fd, found->ai_addr, found->ai_addrlen) == 0)
			break;
		if (errno != EADDRINUSE || i == TAKEN_TRIES)
			r = -errno;
		else
			(void)poll(NULL, 0, 20);
	}
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	freeaddrinfo(found);
	if (r < 0)
		return err_errno(e, -r, "cannot listen on %s", where);
	say_where(fd);
	r = fd;
	fd = -1;
	return r;
}
