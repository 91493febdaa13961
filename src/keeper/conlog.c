/* SPDX-License-Identifier: Apache-2.0 */
/* conlog.c - two files that take turns. */
#include "keeper/conlog.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fdio.h"

static int make(int dir, const char *name)
{
	return openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void old_name(const struct conlog *l, char name[40])
{
	snprintf(name, 40, "%.30s.old", l->name);
}

static void turn(struct conlog *l)
{
	char old[40];

	old_name(l, old);
	base_close_fd(&l->old);
	l->old = l->fd;
	if (l->fd >= 0 && renameat(l->dir, l->name, l->dir, old) < 0)
		base_close_fd(&l->old);
	l->begin = l->old >= 0 ? l->start : l->end;
	l->start = l->end;
	l->fd = make(l->dir, l->name);
}

/* A copy of `from` by this name, in its place, unless it has that name. Without room nothing is kept there, and `from` goes on. */
static int copy(const struct conlog *l, const char *name, int from, uint64_t len)
{
	uint8_t piece[4096];
	struct stat a, b;
	int to;

	if (fstat(from, &a) == 0 && fstatat(l->dir, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	    a.st_ino == b.st_ino && a.st_dev == b.st_dev)
		return from;
	to = make(l->dir, name);
	for (uint64_t at = 0; to >= 0 && at < len; at += sizeof(piece)) {
		size_t n = (size_t)MIN(len - at, (uint64_t)sizeof(piece));

		if (fdio_read(from, piece, n, at) < 0 || fdio_write(to, piece, n, at) < 0) {
			(void)unlinkat(l->dir, name, 0);
			base_close_fd(&to);
		}
	}
	if (to < 0)
		return from;
	close(from);
	return to;
}

void conlog_again(struct conlog *l)
{
	char old[40];

	old_name(l, old);
	if (l->old >= 0)
		l->old = copy(l, old, l->old, l->start - l->begin);
	if (l->fd >= 0)
		l->fd = copy(l, l->name, l->fd, l->end - l->start);
}

void conlog_init(struct conlog *l, int dir, const char *name)
{
	*l = (struct conlog){.name = name, .dir = dir, .fd = -1, .old = -1};
	turn(l);
}

void conlog_fini(struct conlog *l)
{
	base_close_fd(&l->fd);
	base_close_fd(&l->old);
}

void conlog_put(struct conlog *l, const void *data, size_t len)
{
	if (l->end - l->start + len > CONLOG_HALF)
		turn(l);
	if (l->fd >= 0 && fdio_write(l->fd, data, len, l->end - l->start) == 0) {
		l->end += len;
		return;
	}
	/* No room: what is there makes place, and these bytes are lost. */
	l->end += len;
	base_close_fd(&l->old);
	if (l->fd >= 0 && ftruncate(l->fd, 0) < 0)
		base_close_fd(&l->fd);
	l->begin = l->start = l->end;
}

size_t conlog_get(const struct conlog *l, uint64_t *at, void *data, size_t len)
{
	bool old;
	uint64_t n;

	if (*at < l->begin)
		*at = l->begin;
	old = *at < l->start;
	n = MIN((uint64_t)len, (old ? l->start : l->end) - *at);
	if (!n)
		return 0;
	if (fdio_read(old ? l->old : l->fd, data, n, *at - (old ? l->begin : l->start)) < 0) {
		*at += n;
		return 0;
	}
	return n;
}
