/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guestfile.c - a file into a guest, or out of one, by its agent; declared in guestio.h.
 *
 * Bytes go in pieces, so a file may be larger than memory. The agent talks to one client at a time, and an open file is the agent's, not the
 * client's: while nothing comes, or nobody takes what came, the agent is left to others. Whatever happens, the file is closed in the guest.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/guestio.h"
#include "cli/vm.h"
#include "keeper/guest.h"
#include "util/clock.h"

#define CLOSE_S UINT64_C(5) /* after a failure */

struct guestfile {
	const char *vm;
	struct agent a;
	int64_t handle;
};

static int again(struct guestfile *f, struct err *e)
{
	return f->a.fd >= 0 ? 0 : guest_connect(f->vm, guest_call_deadline(), &f->a, e);
}

static int begin(struct guestfile *f, const char *vm, uint64_t wait_s, const char *path,
		 const char *mode, struct err *e)
{
	int r;

	*f = (struct guestfile){.vm = vm, .handle = -1};
	agent_init(&f->a);
	r = guest_connect(vm, clock_ns() + (wait_s + 1) * CLOCK_NS_PER_S, &f->a, e);
	if (r == -ESRCH)
		r = vm_not_found(vm, e);
	if (r)
		return r;
	guestio_hold(true);
	r = guestio_told() ?
		    err_set(e, EINTR, "interrupted") :
		    agent_file_open(&f->a, path, mode, guest_call_deadline(), &f->handle, e);
	guestio_hold(false);
	return r;
}

/* With what went wrong before, or 0. */
static int end(struct guestfile *f, int r, struct err *e)
{
	uint64_t soon = clock_ns() + CLOSE_S * CLOCK_NS_PER_S;
	int closed = 0;

	if (r)
		guestio_finish();
	if (r && r != -EREMOTEIO) /* the stream may be of no use, or an answer on its way */
		agent_fini(&f->a);
	if (f->handle >= 0) {
		if (f->a.fd < 0)
			closed = guest_connect(f->vm, soon, &f->a, r ? NULL : e);
		if (!closed)
			closed = agent_file_close(&f->a, f->handle,
						  r ? soon : guest_call_deadline(), r ? NULL : e);
	}
	agent_fini(&f->a);
	return r ? r : closed;
}

/* The file gets the mode of the one that is copied: an agent may make files that everybody can write to. */
static int set_mode(struct agent *a, const char *path, mode_t mode, struct err *e)
{
	const struct timespec pause = {.tv_nsec = 5 * CLOCK_NS_PER_MS};
	uint64_t pid, deadline = guest_call_deadline();
	char program[] = "chmod", last[] = "--", octal[8], name[PATH_MAX];
	char *argv[] = {program, octal, last, name, NULL};
	struct agent_exit x = {0};
	int r;

	snprintf(octal, sizeof(octal), "%o", (unsigned)mode & 0777);
	snprintf(name, sizeof(name), "%s", path);
	r = agent_exec(a, argv, NULL, 0, false, deadline, &pid, e);
	while (!r && !x.exited) {
		r = agent_exec_status(a, pid, deadline, &x, e);
		free(x.out);
		free(x.err);
		if (!r && !x.exited && clock_ns() > deadline)
			r = -ETIMEDOUT;
		if (!r && !x.exited)
			nanosleep(&pause, NULL);
	}
	if (!r && (x.by_signal || x.code))
		r = -EACCES;
	return r ? err_set(e, -r, "cannot set the mode of the copy in the guest") : 0;
}

static int send_all(struct guestfile *f, const struct guestio *from, struct err *e)
{
	_autofree uint8_t *piece = malloc(AGENT_CHUNK);

	if (!piece)
		return err_set(e, ENOMEM, "out of memory");
	for (;;) {
		ssize_t n;
		int r;

		if (guestio_waits(from))
			agent_fini(&f->a);
		n = guestio_read(from, piece, AGENT_CHUNK);
		if (n == 0)
			return 0;
		if (n < 0)
			return err_errno(e, (int)-n, "cannot read what is to be copied");
		r = again(f, e);
		if (!r)
			r = agent_file_write(&f->a, f->handle, piece, (size_t)n,
					     guest_call_deadline(), e);
		if (r)
			return r;
	}
}

int guestfile_put(const char *vm, uint64_t wait_s, const char *path, mode_t mode,
		  const struct guestio *from, struct err *e)
{
	struct guestfile f;
	int r = begin(&f, vm, wait_s, path, "w", e);

	if (!r)
		r = set_mode(&f.a, path, mode, e);
	if (!r)
		r = send_all(&f, from, e);
	return end(&f, r, e);
}

static int receive_all(struct guestfile *f, const struct guestio *to, struct err *e)
{
	for (;;) {
		_autofree uint8_t *piece = NULL;
		size_t len = 0;
		int r = again(f, e);

		if (!r)
			r = agent_file_read(&f->a, f->handle, guest_call_deadline(), &piece, &len,
					    e);
		if (r || len == 0)
			return r;
		r = guestio_write(to, FRAME_OUTPUT, piece, len, &f->a);
		if (r)
			return err_errno(e, -r, "cannot write the copy");
	}
}

int guestfile_get(const char *vm, uint64_t wait_s, const char *path, const struct guestio *to,
		  struct err *e)
{
	struct guestfile f;
	int r = begin(&f, vm, wait_s, path, "r", e);

	if (!r)
		r = receive_all(&f, to, e);
	return end(&f, r, e);
}
