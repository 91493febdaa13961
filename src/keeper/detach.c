/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detach.c - the fork into keeper and starter, and the keeper's standard error.
 *
 * Who starts is told to end: then the keeper is, and it is waited for. So nothing comes up behind the back of who thinks that there is
 * nothing. A keeper hears signals from attach.c on, when there is something to end; until then they wait.
 */
#include "keeper/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/run.h"

struct word {
	int status;
	char name[CONFIG_NAME_MAX + 1];
};

/* In the keeper. */
static int become_keeper(struct detach *d, const int err_pipe[2])
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	d->terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	d->messages = err_pipe[0];
	if (null < 0 || setsid() < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(err_pipe[1], STDERR_FILENO) < 0)
		return -errno;
	close(null);
	close(err_pipe[1]);
	return 0;
}

static int wait_word(int fd, int *status, char *name, size_t size, struct err *e)
{
	struct word w;
	ssize_t n;

	do
		n = read(fd, &w, sizeof(w));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(w))
		return err_set(e, EPIPE, "the process that was to keep the VM has ended");
	*status = w.status;
	w.name[sizeof(w.name) - 1] = '\0';
	snprintf(name, size, "%s", w.name);
	return 0;
}

/* ---- who starts ---- */

static const int end_signals[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t told_to_end;
static pid_t keeper;

static void pass_on(int sig)
{
	told_to_end = sig;
	(void)kill(keeper, SIGTERM);
}

/* Those that are ignored stay so. */
static void catch_signals(struct sigaction was[ARRAY_SIZE(end_signals)])
{
	const struct sigaction sa = {.sa_handler = pass_on};

	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		if (sigaction(end_signals[i], NULL, &was[i]) == 0 && was[i].sa_handler != SIG_IGN)
			(void)sigaction(end_signals[i], &sa, NULL);
}

static bool keeper_ends(void)
{
	while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
		;
	return true;
}

/* With the signals held, by `held`; `mask` is the one before. */
static int wait_for_keeper(int ready, const sigset_t *held, const sigset_t *mask, int *status,
			   char *name, size_t size, struct err *e)
{
	struct sigaction was[ARRAY_SIZE(end_signals)];
	bool ended;
	int r;

	catch_signals(was);
	sigprocmask(SIG_SETMASK, mask, NULL);
	r = wait_word(ready, status, name, size, e);
	close(ready); /* nobody waits any more */
	ended = told_to_end && keeper_ends();
	sigprocmask(SIG_BLOCK, held, NULL);
	if (told_to_end && !ended) /* just now */
		(void)keeper_ends();
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		(void)sigaction(end_signals[i], &was[i], NULL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (!told_to_end)
		return r;
	(void)raise(told_to_end); /* as if there had been nothing to end before */
	return err_set(e, EINTR, "interrupted");
}

int detach_fork(struct detach *d, int *status, char *name, size_t size, struct err *e)
{
	int ready[2], err_pipe[2], r;
	sigset_t set, mask;

	*d = (struct detach){.ready = -1,
			     .messages = -1,
			     .terminal = -1,
			     .log = {.fd = -1, .old = -1}};
	if (pipe2(ready, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	/* Without waiting: a full pipe must not stop its own reader. */
	if (pipe2(err_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		r = err_errno(e, errno, "cannot make a pipe");
		close(ready[0]);
		close(ready[1]);
		return r;
	}
	fflush(NULL);
	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(&set, end_signals[i]);
	sigprocmask(SIG_BLOCK, &set, &mask);
	keeper = fork();
	if (keeper == 0) {
		close(ready[0]);
		d->ready = ready[1];
		r = become_keeper(d, err_pipe);
		return r < 0 ? err_errno(e, -r, "cannot detach") : 1;
	}
	r = errno;
	close(ready[1]);
	close(err_pipe[0]);
	close(err_pipe[1]);
	if (keeper > 0)
		return wait_for_keeper(ready[0], &set, &mask, status, name, size, e);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	close(ready[0]);
	return err_errno(e, r, "cannot start a process");
}

/* One piece. False: no more now. */
static bool take_messages(struct detach *d)
{
	char buf[4096];
	ssize_t n = read(d->messages, buf, sizeof(buf));

	if (n <= 0)
		return false;
	conlog_put(&d->log, buf, (size_t)n);
	if (d->terminal >= 0 && write(d->terminal, buf, (size_t)n) < 0)
		base_close_fd(&d->terminal);
	return true;
}

static void messages_ready(void *ctx, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	(void)take_messages(ctx);
}

int detach_watch(struct detach *d, struct loop *l, int dir)
{
	conlog_init(&d->log, dir, "messages");
	return loop_fd_add(l, d->messages, EPOLLIN, messages_ready, d, &d->watch);
}

void detach_again(struct detach *d)
{
	conlog_again(&d->log);
}

int detach_say(struct detach *d, int status, const char *name)
{
	struct word w = {.status = status};
	ssize_t n;

	if (d->ready < 0)
		return 0;
	/* Before: who waits must have seen all of it when it goes on. */
	while (take_messages(d))
		;
	snprintf(w.name, sizeof(w.name), "%s", name);
	n = write(d->ready, &w, sizeof(w));
	base_close_fd(&d->ready);
	base_close_fd(&d->terminal);
	return n == (ssize_t)sizeof(w) ? 0 : -EPIPE;
}

void detach_end(struct detach *d)
{
	while (take_messages(d))
		;
	loop_fd_del(d->watch);
	d->watch = NULL;
	conlog_fini(&d->log);
	base_close_fd(&d->ready);
	base_close_fd(&d->terminal);
	base_close_fd(&d->messages);
}
