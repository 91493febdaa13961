/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home.c - the run directory of a VM that lives, when somebody removes it.
 *
 * A VM is found by its folder, and all that can be done to it goes through the sockets there: without it, nobody could stop it. Folders in /tmp are
 * cleaned, in /run/user they go with the last session, and people have rm. So the keeper watches its folder, and makes anew what is
 * missing a moment after it went: the folder and its lock, the files, from what the keeper has in memory or still open, and the sockets; that of
 * the VM process it makes, too, and hands over. Connections that there are stay. Only a socket of the guest agent's (--agent on) does not come back.
 *
 * It is watched by F_NOTIFY (fcntl(2)), which says by a signal that something has changed: inotify(7) would say what, but a user has 128 of it for all
 * his programs. A kernel without that is asked every SLOW_NS.
 *
 * Who has the old lock open (lodged, `lodge wait`) may go on looking at it: it stays held, and says at the end how the VM ended.
 *
 * If another VM has taken the name in that moment, this one goes on under a name that is made up. If nothing can be made, it is tried again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/attach_int.h"
#include "keeper/detach.h"
#include "keeper/plug.h"
#include "sandbox/cgroup.h"
#include "util/clock.h"
#include "util/log.h"

#define SETTLE_NS (100 * CLOCK_NS_PER_MS) /* who removes one file removes the others next */
#define RETRY_NS (5 * CLOCK_NS_PER_S)
#define SLOW_NS (10 * CLOCK_NS_PER_S)
#define BEFORE_MAX 8u

struct home {
	struct attach *a;
	int above; /* the folder that ours is in, -1: none */
	bool slow; /* nobody says when something changes */
	struct loop_timer look;
	int before[BEFORE_MAX]; /* locks that nobody finds any more; the last ones */
	unsigned n;
};

/* Of the folder as it is now. What is removed in it, and that it is moved; a rmdir of it cannot come before that of its lock. */
static void watch_folder(struct home *h)
{
	int dir = h->a->opt->run->dir;

	base_close_fd(&h->above);
	h->above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	h->slow = h->above < 0 || fcntl(dir, F_NOTIFY, DN_DELETE | DN_RENAME | DN_MULTISHOT) < 0 ||
		  fcntl(h->above, F_NOTIFY, DN_RENAME | DN_MULTISHOT) < 0;
	if (h->slow)
		(void)loop_timer_set(&h->look, clock_ns() + SLOW_NS);
}

static bool is_there(const struct home *h, const char *file)
{
	return faccessat(h->a->opt->run->dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool all_there(const struct home *h)
{
	return rundir_whole(h->a->opt->run) && is_there(h, "control") && is_there(h, "plug") &&
	       (!h->a->hub || is_there(h, "console")) &&
	       (!h->a->started || is_there(h, "info.json"));
}

static void keep_lock(struct home *h, int lock)
{
	if (h->n == BEFORE_MAX) {
		close(h->before[0]);
		h->n--;
		memmove(h->before, h->before + 1, h->n * sizeof(*h->before));
	}
	h->before[h->n++] = lock;
}

/* The VM process listens there. */
static int control_again(struct attach *a, struct err *e)
{
	_autojson json_t *rq = control_request_json(++a->next_id, CONTROL_LISTEN);
	_autoclose int fd = rundir_listen(a->opt->run, "control", SOCK_SEQPACKET, e);

	if (fd < 0)
		return fd;
	return a->control < 0 ? 0 : control_send(a->control, rq, &fd, 1, CONTROL_NO_WAIT, e);
}

static int make_files(struct home *h, struct err *e)
{
	static const char *const sockets[] = {"control", "plug", "console"};
	struct attach *a = h->a;
	int r;

	for (unsigned i = 0; i < ARRAY_SIZE(sockets); i++)
		(void)unlinkat(a->opt->run->dir, sockets[i], 0);
	if (a->opt->detach)
		detach_again(a->opt->detach);
	r = a->opt->group && a->opt->group->n ? rungroup_record(a->opt->group, a->opt->run, e) : 0;
	if (r == 0 && a->hub)
		r = attach_hub_again(a, e);
	plugsock_destroy(a->plug);
	if (r == 0)
		r = plugsock_create(&a->plug, a->loop, a->opt->run, e);
	else
		a->plug = NULL;
	attach_write_info(a);
	return r ? r : control_again(a, e);
}

static int make_again(struct home *h, struct err *e)
{
	struct rundir *run = h->a->opt->run;
	int before, r = 0;

	if (!rundir_whole(run)) {
		r = rundir_again(run, &before, e);
		if (r == 0)
			keep_lock(h, before);
	}
	if (r == 0)
		r = make_files(h, e);
	return r;
}

static void look(void *ctx)
{
	struct home *h = ctx;
	struct err e = {0};

	if (all_there(h)) {
		if (h->slow)
			(void)loop_timer_set(&h->look, clock_ns() + SLOW_NS);
		return;
	}
	if (make_again(h, &e) < 0) {
		log_warn_limited(
			"the run directory of this VM was removed, and cannot be made again: %s",
			e.msg);
		(void)loop_timer_set(&h->look, clock_ns() + RETRY_NS);
		return;
	}
	log_warn_limited(
		"somebody has removed the run directory of this VM, or a part of it: it is made again, as \"%s\"",
		h->a->opt->run->name);
	watch_folder(h);
	/* What went before that. */
	(void)loop_timer_set(&h->look, clock_ns() + SETTLE_NS);
}

void attach_home_changed(struct attach *a)
{
	struct home *h = a->home;

	if (h && (h->slow || !loop_timer_armed(&h->look)))
		(void)loop_timer_set(&h->look, clock_ns() + SETTLE_NS);
}

int attach_home(struct attach *a, struct err *e)
{
	struct home *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, ENOMEM, "out of memory");
	h->a = a;
	h->above = -1;
	a->home = h;
	loop_timer_init(&h->look, a->loop, look, h);
	watch_folder(h);
	return 0;
}

void attach_home_end(struct attach *a, const json_t *end)
{
	struct home *h = a->home;

	if (!h)
		return;
	a->home = NULL;
	loop_timer_cancel(&h->look);
	base_close_fd(&h->above);
	for (unsigned i = 0; i < h->n; i++) {
		const struct rundir before = {.dir = -1, .lock = h->before[i]};

		if (end)
			rundir_write_lock(&before, end);
		close(h->before[i]);
	}
	free(h);
}
