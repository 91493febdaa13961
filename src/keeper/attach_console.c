/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_console.c - the console of the VM that `lodge run` keeps: the terminal it was started on, if there is one, and
 * the clients of its console socket (hub.h).
 *
 *   stdin  --escape key-->  typed[]  -->  console stream  -->  printed[]  -->  stdout
 *   writer of the hub  -->  typed[]                       -->  log of the hub, its clients
 *
 * Each direction reads only when its buffer is empty, so a slow terminal holds back the guest and
 * nothing is lost. stdin and stdout are shared with other programs and stay in blocking mode: they
 * are used only when poll says that they are ready, and written in pieces that a ready pipe takes
 * at once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/attach_int.h"
#include "keeper/term.h"
#include "util/log.h"

#define OUT_PIECE 4096u /* PIPE_BUF: a pipe that polls writable takes this much without blocking */

static void attach_console_closed(struct attach *a)
{
	loop_fd_del(a->w_console);
	a->w_console = NULL;
	base_close_fd(&a->console);
	a->typed.len = 0;
	attach_finish(a);
}

static void attach_on_console(void *ctx, int fd, uint32_t events)
{
	struct attach *a = ctx;
	ssize_t n;

	if ((events & EPOLLOUT) && a->typed.len) {
		n = send(fd, a->typed.data + a->typed.start, a->typed.len,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			a->typed.start += (size_t)n;
			a->typed.len -= (size_t)n;
		}
	}
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !a->printed.len) {
		n = recv(fd, a->printed.data, sizeof(a->printed.data), MSG_DONTWAIT);
		if (n > 0) {
			if (a->hub)
				hub_said(a->hub, a->printed.data, (size_t)n);
			a->printed.start = 0;
			/* With nobody to show it to it is dropped, so that the VM can end. */
			a->printed.len = a->stdout_open ? (size_t)n : 0;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			attach_console_closed(a);
		}
	}
	attach_update(a);
}

static void attach_on_stdout(void *ctx, int fd, uint32_t events)
{
	struct attach *a = ctx;
	ssize_t n;

	(void)events;
	n = write(fd, a->printed.data + a->printed.start, MIN(a->printed.len, (size_t)OUT_PIECE));
	if (n > 0) {
		a->printed.start += (size_t)n;
		a->printed.len -= (size_t)n;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* Nobody to show the console to any more: as when a terminal is closed. */
		if (!a->quitting && errno != EPIPE)
			log_error("cannot write the console: %s", strerror(errno));
		a->stdout_open = false;
		a->printed.len = 0;
		attach_quit(a, STATUS_RUNTIME);
	}
	attach_update(a);
	attach_finish(a);
}

static void attach_action(struct attach *a, enum escape_action action)
{
	switch (action) {
	case ESCAPE_NONE: break;
	case ESCAPE_LEAVE:
		log_info(
			"this VM lives and ends with its terminal: start it with --detach to leave it alone");
		break;
	case ESCAPE_QUIT: attach_quit(a, STATUS_OK); break;
	case ESCAPE_HELP: fprintf(stderr, "\n%s", escape_help); break;
	case ESCAPE_PAUSE:
		log_info("%s", a->paused ? "going on" : "paused; Ctrl-A p goes on");
		attach_request(a, a->paused ? CONTROL_RESUME : CONTROL_PAUSE);
		break;
	case ESCAPE_RESET: attach_request(a, CONTROL_RESET); break;
	case ESCAPE_POWERDOWN: attach_request(a, CONTROL_POWERDOWN); break;
	}
}

static void attach_on_stdin(void *ctx, int fd, uint32_t events)
{
	struct attach *a = ctx;
	uint8_t in[1024];
	ssize_t n = read(fd, in, sizeof(in)); /* at most what typed[] holds: it is empty now */

	(void)events;
	if (n > 0) {
		a->typed.start = a->typed.len = 0;
		for (size_t i = 0, used, len; i < (size_t)n; i += used) {
			enum escape_action action = ESCAPE_NONE;
			uint8_t *to = a->typed.data + a->typed.len;

			if (a->escape_on) {
				action = escape_filter(&a->escape, in + i, (size_t)n - i, &used, to,
						       &len);
			} else {
				used = len = (size_t)n - i;
				memcpy(to, in + i, len);
			}
			a->typed.len += len;
			attach_action(a, action);
		}
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		/* The end of a file or pipe ends the input, not the VM. */
		a->stdin_open = false;
		if (a->hub)
			hub_local_writer(a->hub, false);
	}
	attach_update(a);
}

void attach_update(struct attach *a)
{
	bool console = a->console >= 0;
	uint32_t want = 0;

	if (a->hub)
		hub_accept(a->hub, console && !a->typed.len);
	if (a->w_stdin)
		loop_fd_mod(a->w_stdin, console && a->stdin_open && !a->typed.len ? EPOLLIN : 0);
	if (a->w_stdout)
		loop_fd_mod(a->w_stdout, a->stdout_open && a->printed.len ? EPOLLOUT : 0);
	if (!a->w_console)
		return;
	if (!a->printed.len)
		want |= EPOLLIN;
	if (a->typed.len)
		want |= EPOLLOUT;
	loop_fd_mod(a->w_console, want);
}

/* A client of the hub typed; only when typed[] was empty, and never more than that holds. */
static void attach_on_hub(void *ctx, const uint8_t *data, size_t len)
{
	struct attach *a = ctx;

	a->typed.start = 0;
	a->typed.len = len;
	memcpy(a->typed.data, data, len);
	attach_update(a);
}

static int attach_hub(struct attach *a, struct err *e)
{
	int fd = rundir_listen(a->opt->run, "console", SOCK_STREAM, e);

	return fd < 0 ? fd : hub_create(&a->hub, a->loop, a->opt->run->dir, fd, attach_on_hub, a, e);
}

int attach_hub_again(struct attach *a, struct err *e)
{
	int fd = rundir_listen(a->opt->run, "console", SOCK_STREAM, e);

	return fd < 0 ? fd : hub_again(a->hub, fd);
}

int attach_console_watch(struct attach *a, struct err *e)
{
	int r;

	if (a->console < 0)
		return 0;
	r = a->opt->run ? attach_hub(a, e) : 0;
	if (!r)
		r = loop_fd_add(a->loop, a->console, EPOLLIN, attach_on_console, a, &a->w_console);
	if (r || a->opt->detach)
		return r;
	a->stdin_open = !isatty(STDIN_FILENO) || term_usable();
	a->stdout_open = true;
	if (a->hub)
		hub_local_writer(a->hub, a->stdin_open);
	r = loop_fd_add(a->loop, STDOUT_FILENO, 0, attach_on_stdout, a, &a->w_stdout);
	if (!r && a->stdin_open)
		r = loop_fd_add(a->loop, STDIN_FILENO, EPOLLIN, attach_on_stdin, a, &a->w_stdin);
	return r;
}
