/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio_threads.c - a pool of threads that make the system calls, for hosts without io_uring.
 *
 * Theory of operation. Requests of a batch are collected in a list; the commit puts it on the queue and wakes as many
 * threads as there are requests. Threads are made when all that exist are busy, up to THREADS_MAX, and stay. What is done
 * goes to a second list; the first entry of it posts the harvest to the loop. A wait (aio_wait()) sleeps on a
 * condition instead of the loop.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "blk/aio_internal.h"

#define THREADS_MAX 8u

struct threads {
	struct aio *aio;
	struct aio_req *batch, **batch_tail; /* the loop thread's */
	struct loop_work harvest;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t work, finished;
	struct aio_req *queue, **queue_tail;
	struct aio_req *done, **done_tail;
	pthread_t thread[THREADS_MAX];
	unsigned n_threads, n_idle, n_queued;
	bool stop;
};

static void *threads_main(void *arg)
{
	struct threads *t = arg;
	/* By the thread itself: for another one the C library opens a file.
	 * seccomp vm: prctl arg0=PR_SET_NAME */
	(void)pthread_setname_np(pthread_self(), "disk");

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct aio_req *r;
		bool first;

		while (!t->queue && !t->stop) {
			t->n_idle++;
			pthread_cond_wait(&t->work, &t->lock);
			t->n_idle--;
		}
		if (!t->queue)
			break;
		r = t->queue;
		t->queue = r->next;
		if (!t->queue)
			t->queue_tail = &t->queue;
		t->n_queued--;
		pthread_mutex_unlock(&t->lock);

		r->result = aio_do(r, r->iov, r->n_iov);

		pthread_mutex_lock(&t->lock);
		first = !t->done;
		r->next = NULL;
		*t->done_tail = r;
		t->done_tail = &r->next;
		if (first) {
			pthread_cond_signal(&t->finished);
			loop_post(t->aio->loop, &t->harvest);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void threads_harvest(void *ctx)
{
	struct threads *t = ctx;
	struct aio_req *list;

	pthread_mutex_lock(&t->lock);
	list = t->done;
	t->done = NULL;
	t->done_tail = &t->done;
	pthread_mutex_unlock(&t->lock);
	while (list) {
		struct aio_req *r = list;

		list = r->next;
		aio_complete(t->aio, r, r->result);
	}
	aio_round(t->aio);
}

/* One more, with all signals blocked. */
static int threads_add(struct threads *t)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->thread[t->n_threads], NULL, threads_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!r)
		t->n_threads++;
	return -r;
}

static int threads_create(struct aio *a, struct err *e)
{
	struct threads *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return err_errno(e, ENOMEM, "cannot make an I/O queue");
	a->priv = t;
	t->aio = a;
	t->batch_tail = &t->batch;
	t->queue_tail = &t->queue;
	t->done_tail = &t->done;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->work, NULL);
	pthread_cond_init(&t->finished, NULL);
	loop_work_init(&t->harvest, threads_harvest, t);
	r = threads_add(t);
	return r < 0 ? err_errno(e, -r, "cannot start a thread for disks") : 0;
}

static void threads_destroy(struct aio *a)
{
	struct threads *t = a->priv;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	for (unsigned i = 0; i < t->n_threads; i++)
		pthread_join(t->thread[i], NULL);
	loop_unpost(a->loop, &t->harvest);
	pthread_cond_destroy(&t->work);
	pthread_cond_destroy(&t->finished);
	pthread_mutex_destroy(&t->lock);
	free(t);
	a->priv = NULL;
}

static void threads_submit(struct aio *a, struct aio_req *r)
{
	struct threads *t = a->priv;

	r->next = NULL;
	*t->batch_tail = r;
	t->batch_tail = &r->next;
}

static void threads_commit(struct aio *a)
{
	struct threads *t = a->priv;
	unsigned n = 0;

	if (!t->batch)
		return;
	for (struct aio_req *r = t->batch; r; r = r->next)
		n++;
	pthread_mutex_lock(&t->lock);
	*t->queue_tail = t->batch;
	t->queue_tail = t->batch_tail;
	t->n_queued += n;
	/* If no more can be had, those that are there do it all. */
	while (t->n_queued > t->n_idle && t->n_threads < THREADS_MAX && threads_add(t) == 0 &&
	       t->n_threads < t->n_queued)
		;
	for (; n && n <= THREADS_MAX; n--)
		pthread_cond_signal(&t->work);
	if (n)
		pthread_cond_broadcast(&t->work);
	pthread_mutex_unlock(&t->lock);
	t->batch = NULL;
	t->batch_tail = &t->batch;
}

static void threads_wait(struct aio *a)
{
	struct threads *t = a->priv;

	pthread_mutex_lock(&t->lock);
	while (!t->done)
		pthread_cond_wait(&t->finished, &t->lock);
	pthread_mutex_unlock(&t->lock);
	threads_harvest(t);
}

const struct aio_class aio_threads = {
	.kind = AIO_THREADS,
	.create = threads_create,
	.destroy = threads_destroy,
	.submit = threads_submit,
	.commit = threads_commit,
	.wait = threads_wait,
};
