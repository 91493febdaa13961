/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unit.c - under systemd, VMs are started by systemd and not by lodged.
 *
 * lodged.service is locked in: no rights, no namespaces, no devices, a file system that it cannot write. What it starts itself would be, too, and a VM
 * needs most of that. So the program that starts one, `lodge run --detach`, is a unit of its own, lodge-start@NAME.service, which lodged asks
 * systemd for. What the program is to be told stands in a file in the run directory, starts/NAME.words, one word after the
 * other, each with a zero behind it, for xargs(1); what it has to complain of comes in starts/NAME.err. The unit ends when the VM runs: the VM is in
 * a scope by then (sandbox/scope.c).
 *
 * $LODGE_START_UNIT, which lodged.service sets, is the first part of the unit's name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/vms_int.h"
#include "util/fdio.h"

#define FOLDER "starts"

bool unit_used(void)
{
	const char *name = getenv("LODGE_START_UNIT");

	return name && *name;
}

void unit_words(struct unit_words *w, const char *verb, const char *name)
{
	unsigned n = 0;

	snprintf(w->unit, sizeof(w->unit), "%.64s%s.service", getenv("LODGE_START_UNIT"), name);
	w->argv[n++] = "systemctl";
	if (geteuid() != 0)
		w->argv[n++] = "--user";
	w->argv[n++] = "--quiet";
	w->argv[n++] = verb;
	w->argv[n++] = w->unit;
	w->argv[n] = NULL;
}

static int open_file(const char *name, const char *end, int flags, bool make, struct err *e)
{
	char path[CONFIG_NAME_MAX + 24];
	struct rundir base;
	int fd, r = rundir_open_base(&base, e);

	if (r < 0)
		return r;
	if (make)
		(void)mkdirat(base.dir, FOLDER, 0700);
	snprintf(path, sizeof(path), FOLDER "/%s.%s", name, end);
	fd = openat(base.dir, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? err_errno(e, errno, "cannot open \"%s\" in the run directory", path) : fd;
	rundir_close(&base);
	return r;
}

void unit_forget(const char *name)
{
	static const char *const ends[] = {"words", "err"};
	char path[CONFIG_NAME_MAX + 24];
	struct rundir base;

	if (rundir_open_base(&base, NULL) < 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		snprintf(path, sizeof(path), FOLDER "/%s.%s", name, ends[i]);
		(void)unlinkat(base.dir, path, 0);
	}
	rundir_close(&base);
}

/* "lodge", "run", ...: the first of them is where the program is. */
int unit_tell(const char *name, const char *folder, const char *lodge, const char *const argv[],
	      struct err *e)
{
	const char *head[] = {"-C", *folder ? folder : "/", "LODGE_DIRECT=1", lodge};
	_autoclose int fd = -1;
	FILE *f;
	int r;

	unit_forget(name);
	fd = open_file(name, "words", O_WRONLY | O_CREAT | O_EXCL, true, e);
	if (fd < 0)
		return fd;
	f = fdopen(fd, "w");
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	fd = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(head); i++)
		fwrite(head[i], strlen(head[i]) + 1, 1, f);
	for (unsigned i = 1; argv[i]; i++)
		fwrite(argv[i], strlen(argv[i]) + 1, 1, f);
	r = ferror(f) ? EIO : 0;
	if (fclose(f) != 0)
		r = errno;
	return r ? err_errno(e, r, "cannot write the words of \"%s\"", name) : 0;
}

size_t unit_said(const char *name, char *text, size_t size)
{
	_autoclose int fd = open_file(name, "err", O_RDONLY, false, NULL);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	size_t len = n > 0 ? (size_t)n : 0;

	/* The last line is what counts. */
	while (len && text[len - 1] == '\n')
		len--;
	text[len] = '\0';
	for (char *p; (p = strchr(text, '\n'));) {
		len -= (size_t)(p + 1 - text);
		memmove(text, p + 1, len + 1);
	}
	return len;
}
