/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - epoll, one timerfd, one eventfd.
 *
 * Theory of operation. Watches live in a list and are handed to epoll by pointer. A watch that is
 * removed is unlinked and kept on the `dead` list until the current round of events is over, so
 * that events that were already harvested find it, see that it is dead, and are dropped. What epoll
 * refuses (EPERM: regular files, /dev/null) is "always ready": such watches are called once a
 * round, which then does not wait.
 *
 * Timers are a binary heap under a mutex; the earliest deadline is in a timerfd, which any thread
 * may set, so arming a timer from a vCPU thread does not need to wake the loop. Posted work is a
 * list under the same mutex, and the eventfd wakes the loop for it. No callback is called with the
 * mutex held.
 */
#include "util/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/clock.h"

#define LOOP_EVENTS 32

struct loop_fd {
	struct loop *loop;
	int fd;
	uint32_t events; /* wanted; 0: not in the epoll set */
	loop_fd_fn fn;
	void *ctx;
	bool always; /* epoll refused it */
	bool dead;
	struct loop_fd *next, **link; /* list of live ones, or of dead ones */
};

struct loop {
	int epfd, timerfd, eventfd;
	bool stop;	  /* atomic */
	pthread_t thread; /* who runs it; valid while `running` */
	bool running;	  /* atomic */
	struct loop_fd *watches;
	struct loop_fd *dead;
	unsigned n_always; /* live `always` watches that want something */

	pthread_mutex_t lock;	  /* everything below, and the fields of timers and works */
	struct loop_timer **heap; /* heap[1..n_timers] */
	size_t n_timers, cap_timers;
	uint64_t armed_ns; /* what the timerfd is set to; 0: off */
	struct loop_work *work, **work_tail;
};

/* Tags of our own two fds in epoll's data. */
static char loop_tag_timer, loop_tag_event;

/* seccomp vm: epoll_ctl */
static int loop_epoll_own(struct loop *l, int fd, void *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data = {.ptr = tag}};

	return epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int loop_create(struct loop **out, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_errno(e, ENOMEM, "cannot make an event loop");
	l->epfd = l->timerfd = l->eventfd = -1;
	l->work_tail = &l->work;
	pthread_mutex_init(&l->lock, NULL);
	/* seccomp vm: epoll_create1, timerfd_create, eventfd2 */
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->epfd < 0 || l->timerfd < 0 || l->eventfd < 0)
		r = -errno;
	else
		r = loop_epoll_own(l, l->timerfd, &loop_tag_timer);
	if (!r)
		r = loop_epoll_own(l, l->eventfd, &loop_tag_event);
	if (r) {
		loop_destroy(l);
		return err_errno(e, -r, "cannot make an event loop");
	}
	*out = l;
	return 0;
}

static void loop_bury(struct loop *l)
{
	while (l->dead) {
		struct loop_fd *w = l->dead;

		l->dead = w->next;
		free(w);
	}
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	while (l->watches)
		loop_fd_del(l->watches);
	loop_bury(l);
	base_close_fd(&l->epfd);
	base_close_fd(&l->timerfd);
	base_close_fd(&l->eventfd);
	free(l->heap);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

bool loop_is_current(const struct loop *l)
{
	return __atomic_load_n(&l->running, __ATOMIC_ACQUIRE) &&
	       pthread_equal(l->thread, pthread_self());
}

static void loop_wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t r;

	/* EAGAIN: the counter is full, so the loop is awake anyhow. */
	do
		r = write(l->eventfd, &one, sizeof(one));
	while (r < 0 && errno == EINTR);
}

void loop_stop(struct loop *l)
{
	__atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
	loop_wake(l);
}

/* ---- file descriptors ---- */

/* Makes epoll's view that of `events`. */
static int loop_fd_apply(struct loop_fd *w, uint32_t events)
{
	struct loop *l = w->loop;
	struct epoll_event ev = {.events = events, .data = {.ptr = w}};
	int op;

	if (!w->always) {
		if (!events && !w->events)
			return 0;
		op = !w->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
		if (epoll_ctl(l->epfd, op, w->fd, &ev) == 0) {
			w->events = events;
			return 0;
		}
		if (errno != EPERM || op != EPOLL_CTL_ADD)
			return -errno;
		w->always = true;
	}
	l->n_always += !!events;
	l->n_always -= !!w->events;
	w->events = events;
	return 0;
}

int loop_fd_add(struct loop *l, int fd, uint32_t events, loop_fd_fn fn, void *ctx,
		struct loop_fd **out)
{
	struct loop_fd *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->loop = l;
	w->fd = fd;
	w->fn = fn;
	w->ctx = ctx;
	r = loop_fd_apply(w, events);
	if (r) {
		free(w);
		return r;
	}
	w->next = l->watches;
	w->link = &l->watches;
	if (w->next)
		w->next->link = &w->next;
	l->watches = w;
	*out = w;
	return 0;
}

int loop_fd_mod(struct loop_fd *w, uint32_t events)
{
	return w->events == events ? 0 : loop_fd_apply(w, events);
}

void loop_fd_del(struct loop_fd *w)
{
	struct loop *l;

	if (!w || w->dead)
		return;
	l = w->loop;
	loop_fd_apply(w, 0);
	w->dead = true;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->next = l->dead;
	l->dead = w;
}

/* Calls each always-ready watch once. Callbacks may add and remove watches, so the list is walked
 * first and called after; a removed watch stays readable until loop_bury(). There are one or two in
 * a process. */
static void loop_run_always(struct loop *l)
{
	struct loop_fd *batch[LOOP_EVENTS];
	unsigned n = 0;

	for (struct loop_fd *w = l->watches; w && n < LOOP_EVENTS; w = w->next)
		if (w->always && w->events)
			batch[n++] = w;
	for (unsigned i = 0; i < n; i++)
		if (!batch[i]->dead && batch[i]->events)
			batch[i]->fn(batch[i]->ctx, batch[i]->fd,
				     batch[i]->events & (EPOLLIN | EPOLLOUT));
}

/* ---- timers ---- */

static void loop_heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->heap_index = i;
}

static void loop_heap_fix(struct loop *l, size_t i)
{
	struct loop_timer *t = l->heap[i];
	size_t child;

	while (i > 1 && l->heap[i / 2]->deadline_ns > t->deadline_ns) {
		loop_heap_put(l, i, l->heap[i / 2]);
		i /= 2;
	}
	while ((child = 2 * i) <= l->n_timers) {
		if (child < l->n_timers &&
		    l->heap[child + 1]->deadline_ns < l->heap[child]->deadline_ns)
			child++;
		if (l->heap[child]->deadline_ns >= t->deadline_ns)
			break;
		loop_heap_put(l, i, l->heap[child]);
		i = child;
	}
	loop_heap_put(l, i, t);
}

static void loop_heap_remove(struct loop *l, struct loop_timer *t)
{
	size_t i = t->heap_index;
	struct loop_timer *last = l->heap[l->n_timers--];

	t->heap_index = 0;
	if (last != t) {
		loop_heap_put(l, i, last);
		loop_heap_fix(l, i);
	}
}

/* Sets the timerfd when the earliest deadline is before what it waits for. A later one is left: the
 * timer then fires for nothing once, which is cheaper than a system call for each change. */
static void loop_arm(struct loop *l)
{
	struct itimerspec its = {0};
	uint64_t first;

	if (!l->n_timers)
		return;
	first = MAX(l->heap[1]->deadline_ns, 1u);
	if (l->armed_ns && l->armed_ns <= first)
		return;
	its.it_value.tv_sec = (time_t)(first / CLOCK_NS_PER_S);
	its.it_value.tv_nsec = (long)(first % CLOCK_NS_PER_S);
	/* seccomp vm: timerfd_settime */
	timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
	l->armed_ns = first;
}

void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fn)(void *ctx), void *ctx)
{
	*t = (struct loop_timer){.loop = l, .fn = fn, .ctx = ctx};
}

int loop_timer_set(struct loop_timer *t, uint64_t deadline_ns)
{
	struct loop *l = t->loop;

	/* The timerfd refuses what does not fit a signed 64-bit number of ns. */
	deadline_ns = MIN(deadline_ns, (uint64_t)INT64_MAX);
	pthread_mutex_lock(&l->lock);
	if (!t->heap_index) {
		if (l->n_timers + 2 > l->cap_timers) {
			size_t cap = l->cap_timers ? 2 * l->cap_timers : 16;
			struct loop_timer **heap = realloc(l->heap,
							   cap * sizeof(struct loop_timer *));

			if (!heap) {
				pthread_mutex_unlock(&l->lock);
				return -ENOMEM;
			}
			l->heap = heap;
			l->cap_timers = cap;
		}
		loop_heap_put(l, ++l->n_timers, t);
	}
	t->deadline_ns = deadline_ns;
	loop_heap_fix(l, t->heap_index);
	loop_arm(l);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

void loop_timer_cancel(struct loop_timer *t)
{
	struct loop *l = t->loop;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	if (t->heap_index)
		loop_heap_remove(l, t);
	pthread_mutex_unlock(&l->lock);
}

bool loop_timer_armed(const struct loop_timer *t)
{
	bool armed;

	if (!t->loop)
		return false;
	pthread_mutex_lock(&t->loop->lock);
	armed = t->heap_index != 0;
	pthread_mutex_unlock(&t->loop->lock);
	return armed;
}

static void loop_run_timers(struct loop *l)
{
	uint64_t count, now;

	/* Only to make it unreadable again; EAGAIN when another thread has just re-armed it. */
	/* seccomp vm: read */
	if (read(l->timerfd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		return;
	now = clock_ns();
	pthread_mutex_lock(&l->lock);
	l->armed_ns = 0;
	/* Timers that callbacks set to a time up to `now` belong to the next round (loop_arm sees them). */
	for (size_t budget = l->n_timers; budget && l->n_timers; budget--) {
		struct loop_timer *t = l->heap[1];
		void (*fn)(void *ctx) = t->fn;
		void *ctx = t->ctx;

		if (t->deadline_ns > now)
			break;
		loop_heap_remove(l, t);
		pthread_mutex_unlock(&l->lock);
		fn(ctx); /* may free t */
		pthread_mutex_lock(&l->lock);
	}
	/* A set from inside a callback may have armed it for a time that is over: begin anew. */
	l->armed_ns = 0;
	loop_arm(l);
	pthread_mutex_unlock(&l->lock);
}

/* ---- posted work ---- */

void loop_work_init(struct loop_work *w, void (*fn)(void *ctx), void *ctx)
{
	*w = (struct loop_work){.fn = fn, .ctx = ctx};
}

void loop_post(struct loop *l, struct loop_work *w)
{
	bool wake = false;

	pthread_mutex_lock(&l->lock);
	if (!w->queued) {
		wake = !l->work;
		w->queued = true;
		w->next = NULL;
		*l->work_tail = w;
		l->work_tail = &w->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (wake)
		loop_wake(l);
}

void loop_unpost(struct loop *l, struct loop_work *w)
{
	pthread_mutex_lock(&l->lock);
	for (struct loop_work **p = &l->work; *p; p = &(*p)->next) {
		if (*p != w)
			continue;
		*p = w->next;
		if (!w->next)
			l->work_tail = p;
		w->queued = false;
		break;
	}
	pthread_mutex_unlock(&l->lock);
}

static void loop_run_work(struct loop *l)
{
	size_t budget = 0;
	uint64_t count;
	bool more;

	if (read(l->eventfd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		return;
	pthread_mutex_lock(&l->lock);
	/* What callbacks post now waits for the next round, so that fds get their turn. */
	for (struct loop_work *w = l->work; w; w = w->next)
		budget++;
	for (; budget && l->work; budget--) {
		struct loop_work *w = l->work;
		void (*fn)(void *ctx) = w->fn;
		void *ctx = w->ctx;

		l->work = w->next;
		if (!l->work)
			l->work_tail = &l->work;
		w->queued = false;
		pthread_mutex_unlock(&l->lock);
		fn(ctx); /* may free w */
		pthread_mutex_lock(&l->lock);
	}
	more = l->work != NULL;
	pthread_mutex_unlock(&l->lock);
	if (more)
		loop_wake(l);
}

/* ---- running ---- */

bool loop_run_once(struct loop *l, int timeout_ms)
{
	struct epoll_event ev[LOOP_EVENTS];
	bool timers = false, work = false;
	int n;

	if (!__atomic_load_n(&l->running, __ATOMIC_RELAXED)) {
		l->thread = pthread_self();
		__atomic_store_n(&l->running, true, __ATOMIC_RELEASE);
	}
	if (__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE))
		return false;
	/* seccomp vm: epoll_wait */
	n = epoll_wait(l->epfd, ev, LOOP_EVENTS, l->n_always ? 0 : timeout_ms);
	for (int i = 0; i < n; i++) {
		struct loop_fd *w = ev[i].data.ptr;

		if (ev[i].data.ptr == &loop_tag_timer)
			timers = true;
		else if (ev[i].data.ptr == &loop_tag_event)
			work = true;
		else if (!w->dead && w->events)
			w->fn(w->ctx, w->fd, ev[i].events);
	}
	/* Timers and work come after the fds of the round; none of them can starve another. */
	if (timers)
		loop_run_timers(l);
	if (work)
		loop_run_work(l);
	if (l->n_always)
		loop_run_always(l);
	loop_bury(l);
	return !__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE);
}

void loop_run(struct loop *l)
{
	while (loop_run_once(l, -1))
		;
	__atomic_store_n(&l->running, false, __ATOMIC_RELEASE);
}
