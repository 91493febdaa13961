/* SPDX-License-Identifier: Apache-2.0 */
/* test_util_loop.c - the event loop: watches that go away while events are pending, timers, posts. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/clock.h"
#include "util/loop.h"

static int setup(void **state)
{
	struct loop *l = NULL;

	if (loop_create(&l, NULL))
		return -1;
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	loop_destroy(*state);
	return 0;
}

/* Runs rounds until *flag; a minute is too long. */
static void run_until(struct loop *l, const int *flag, int wanted)
{
	uint64_t deadline = clock_ns() + 60 * CLOCK_NS_PER_S;

	while (*flag < wanted && clock_ns() < deadline)
		loop_run_once(l, 50);
	assert_int_equal(*flag, wanted);
}

struct pair {
	struct loop_fd *w[2];
	int calls;
};

/* Both ends are ready; whoever comes first removes both. */
static void remove_both(void *ctx, int fd, uint32_t events)
{
	struct pair *p = ctx;

	(void)fd;
	(void)events;
	p->calls++;
	loop_fd_del(p->w[0]);
	loop_fd_del(p->w[1]);
}

static void test_delete_in_dispatch(void **state)
{
	struct loop *l = *state;
	struct pair p = {0};
	int a[2], b[2];

	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(write(a[1], "x", 1), 1);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_int_equal(loop_fd_add(l, a[0], EPOLLIN, remove_both, &p, &p.w[0]), 0);
	assert_int_equal(loop_fd_add(l, b[0], EPOLLIN, remove_both, &p, &p.w[1]), 0);
	loop_run_once(l, 1000);
	loop_run_once(l, 0);
	assert_int_equal(p.calls, 1);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
}

static void count_call(void *ctx, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	++*(int *)ctx;
}

static void test_modify(void **state)
{
	struct loop *l = *state;
	struct loop_fd *w;
	int fd[2], calls = 0;

	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(loop_fd_add(l, fd[0], 0, count_call, &calls, &w), 0);
	loop_run_once(l, 0);
	assert_int_equal(calls, 0);
	assert_int_equal(loop_fd_mod(w, EPOLLIN), 0);
	loop_run_once(l, 1000);
	assert_int_equal(calls, 1);
	assert_int_equal(loop_fd_mod(w, 0), 0);
	close(fd[1]); /* a hang-up nobody waits for costs nothing */
	loop_run_once(l, 0);
	assert_int_equal(calls, 1);
	loop_fd_del(w);
	close(fd[0]);
}

static void test_regular_file(void **state)
{
	char name[] = "/tmp/lodge-loop-XXXXXX";
	struct loop *l = *state;
	struct loop_fd *w;
	int fd = mkstemp(name), calls = 0;

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(loop_fd_add(l, fd, EPOLLIN, count_call, &calls, &w), 0);
	loop_run_once(l, -1); /* always ready: does not wait */
	assert_int_equal(calls, 1);
	loop_fd_mod(w, 0);
	loop_run_once(l, 0);
	assert_int_equal(calls, 1);
	loop_fd_mod(w, EPOLLOUT);
	loop_run_once(l, -1);
	assert_int_equal(calls, 2);
	loop_fd_del(w);
	loop_run_once(l, 0);
	assert_int_equal(calls, 2);
	close(fd);
}

#define N_TIMERS 64

struct fired {
	struct loop_timer t[N_TIMERS];
	int order[N_TIMERS], n;
};
static struct fired fired;

static void on_timer(void *ctx)
{
	fired.order[fired.n++] = (int)((struct loop_timer *)ctx - fired.t);
}

static void test_timer_order(void **state)
{
	uint64_t now = clock_ns();
	int i, last = -1;

	for (i = 0; i < N_TIMERS; i++) {
		loop_timer_init(&fired.t[i], *state, on_timer, &fired.t[i]);
		/* Set in a scattered order, moved once, every fourth cancelled. */
		assert_int_equal(loop_timer_set(&fired.t[i], now + (uint64_t)(i * 37 % 64)), 0);
	}
	for (i = 0; i < N_TIMERS; i++)
		loop_timer_set(&fired.t[i], now + CLOCK_NS_PER_MS + (uint64_t)i * 10000);
	for (i = 0; i < N_TIMERS; i += 4)
		loop_timer_cancel(&fired.t[i]);
	run_until(*state, &fired.n, N_TIMERS * 3 / 4);
	for (i = 0; i < fired.n; i++) {
		assert_true(fired.order[i] > last);
		assert_true(fired.order[i] % 4 != 0);
		last = fired.order[i];
	}
	assert_false(loop_timer_armed(&fired.t[1]));
}

struct again {
	struct loop_timer t;
	int n;
	uint64_t started;
};

static void on_again(void *ctx)
{
	struct again *a = ctx;

	if (++a->n < 5)
		loop_timer_set(&a->t, 0); /* long over: fires in another round */
}

static void test_timer_again(void **state)
{
	struct again a = {.n = 0};

	loop_timer_init(&a.t, *state, on_again, &a);
	loop_timer_set(&a.t, clock_ns() + CLOCK_NS_PER_MS);
	run_until(*state, &a.n, 5);
}

struct posted {
	struct loop *l;
	struct loop_work work;
	struct loop_timer timer;
	int calls, timer_calls;
};

static void on_work(void *ctx)
{
	((struct posted *)ctx)->calls++;
}

static void on_other_timer(void *ctx)
{
	((struct posted *)ctx)->timer_calls++;
}

static void *poster(void *ctx)
{
	struct posted *p = ctx;

	loop_post(p->l, &p->work);
	loop_timer_set(&p->timer, clock_ns());
	return NULL;
}

static void test_post(void **state)
{
	struct posted p = {.l = *state};
	pthread_t t;

	loop_work_init(&p.work, on_work, &p);
	loop_timer_init(&p.timer, *state, on_other_timer, &p);
	loop_post(p.l, &p.work);
	loop_post(p.l, &p.work); /* still waiting: one call */
	loop_run_once(p.l, 1000);
	assert_int_equal(p.calls, 1);
	loop_post(p.l, &p.work);
	loop_unpost(p.l, &p.work);
	loop_run_once(p.l, 0);
	assert_int_equal(p.calls, 1);
	assert_int_equal(pthread_create(&t, NULL, poster, &p), 0);
	run_until(p.l, &p.calls, 2);
	run_until(p.l, &p.timer_calls, 1);
	pthread_join(t, NULL);
}

static void *stopper(void *ctx)
{
	loop_stop(ctx);
	return NULL;
}

static void test_stop(void **state)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, stopper, *state), 0);
	loop_run(*state);
	pthread_join(t, NULL);
	assert_false(loop_run_once(*state, -1)); /* sticky */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_delete_in_dispatch),
		TEST(test_modify),
		TEST(test_regular_file),
		TEST(test_timer_order),
		TEST(test_timer_again),
		TEST(test_post),
		TEST(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
