/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - the event loop: file descriptors, timers, and work posted by other threads.
 *
 * One thread runs loop_run(); every callback comes on that thread, never inline from the call that
 * asked for it. Watches (fds) are added, changed and removed on the loop thread only (or before
 * loop_run). Timers and posted work may be used from any thread.
 *
 * A callback may remove any watch, its own too: a watch that was removed is not called again, even
 * if its event had already been harvested. Callbacks must not block.
 */
#ifndef LODGE_UTIL_LOOP_H
#define LODGE_UTIL_LOOP_H

#include <sys/epoll.h>

#include "util/base.h"
#include "util/err.h"

struct loop;
struct loop_fd;

int loop_create(struct loop **out, struct err *e);
/* Accepts NULL. Watches that are left are freed (their fds are not closed); timers must be idle. */
void loop_destroy(struct loop *l);

/* Dispatches until loop_stop(). */
void loop_run(struct loop *l);
/* One round: waits up to timeout_ms (-1: for ever) and dispatches what is there. For tests and for
 * programs with a small loop of their own. Returns false once loop_stop() was called. */
bool loop_run_once(struct loop *l, int timeout_ms);
/* Any thread; sticky: loop_run() returns after the current round. */
void loop_stop(struct loop *l);
/* Is the caller the thread that runs the loop? */
bool loop_is_current(const struct loop *l);

/* ---- file descriptors ---- */

/* `events`: EPOLLIN, EPOLLOUT, ... as they came; EPOLLERR and EPOLLHUP come without being asked for. */
typedef void (*loop_fd_fn)(void *ctx, int fd, uint32_t events);

/*
 * Watches fd (not owned, level-triggered). `events` 0: nothing yet, not even errors. A regular file
 * or /dev/null, which epoll refuses, counts as always ready. Returns 0 or -errno.
 */
int loop_fd_add(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *ctx,
		struct loop_fd **out);
/* Changes what is waited for. Cheap when nothing changes. 0: nothing at all, so a hung-up peer
 * costs no time. */
int loop_fd_mod(struct loop_fd *w, uint32_t events);
/* Accepts NULL. Before close(fd). */
void loop_fd_del(struct loop_fd *w);

/* ---- timers ---- */

/*
 * A one-shot timer, embedded in its owner. Times are clock_ns() (CLOCK_MONOTONIC). The callback may
 * arm it again. Fields are the loop's. After loop_timer_cancel() on the loop thread the callback
 * does not come any more; when another thread cancels, it may be running at that moment (take your
 * own lock and look).
 */
struct loop_timer {
	struct loop *loop;
	void (*fn)(void *ctx);
	void *ctx;
	uint64_t deadline_ns;
	size_t heap_index; /* 1-based; 0: not armed */
};

void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fn)(void *ctx), void *ctx);
/* Arms or moves it; a time in the past fires at once (on the loop). Any thread. Returns 0 or -ENOMEM. */
int loop_timer_set(struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *t); /* accepts an idle or zeroed one */
bool loop_timer_armed(const struct loop_timer *t);

/* ---- posted work ---- */

/*
 * Work for the loop thread, embedded in its owner, which must live until it has run. Posting work
 * that is already waiting does nothing: several posts may become one call, but a post after the
 * call began gets another one.
 */
struct loop_work {
	void (*fn)(void *ctx);
	void *ctx;
	struct loop_work *next; /* the loop's */
	bool queued;		/* the loop's */
};

void loop_work_init(struct loop_work *w, void (*fn)(void *ctx), void *ctx);
/* Any thread. Never fails, never blocks for long. */
void loop_post(struct loop *l, struct loop_work *w);
/* Takes it back if it has not begun. Any thread. */
void loop_unpost(struct loop *l, struct loop_work *w);

#endif
