/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c - lives with a VM from its start to its end: console, keys, signals, events, exit
 * status.
 *
 * Theory of operation. Everything is on one event loop:
 *
 *   stdin  --escape key-->  typed[]  -->  console stream  -->  printed[]  -->  stdout
 *   control socket: events and replies;  signalfd: SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCHLD
 *
 * Each direction reads only when its buffer is empty, so a slow side holds back the other and
 * nothing is lost. stdin and stdout are shared with other programs and stay in blocking mode: they
 * are used only when poll says that they are ready, and written in pieces that a ready pipe takes
 * at once.
 *
 * The end. lodge-vm says why it ends (an event), closes its sockets and exits. We are done when the
 * process has been reaped and the console is drained to stdout. Whoever wants the VM to end (key,
 * signal, time-out) calls attach_quit(): a "quit" request, and a kill when nothing has happened
 * after QUIT_GRACE_NS. A second signal kills at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/escape.h"
#include "cli/term.h"
#include "proto/control.h"
#include "proto/opener.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/loop.h"

#define QUIT_GRACE_NS (3 * CLOCK_NS_PER_S)
#define DRAIN_GRACE_NS (2 * CLOCK_NS_PER_S)
#define OUT_PIECE 4096u /* PIPE_BUF: a pipe that polls writable takes this much without blocking */

struct stream {
	uint8_t data[16384];
	size_t start, len; /* bytes waiting are [start, start + len) */
};

struct attach {
	const struct attach_options *opt;
	struct loop *loop;
	int control, console, signals;
	struct loop_fd *w_control, *w_console, *w_stdin, *w_stdout, *w_signals, *w_opener;
	struct stream typed, printed;
	struct escape escape;
	bool escape_on; /* stdin is a terminal in raw mode */
	bool stdin_open, stdout_open;
	bool paused;
	uint64_t next_id;
	struct loop_timer timeout, kill;

	bool quitting;	 /* attach_quit() was called */
	int quit_status; /* what it was for */
	bool reaped;
	int wait_status;
	int final;	  /* enum control_event that was the last word, or -1 */
	int final_status; /* exit status that it means */
};

static void attach_update(struct attach *a);

static void attach_finish(struct attach *a)
{
	if (a->reaped && (a->console < 0 || !a->stdout_open) && (!a->printed.len || !a->stdout_open))
		loop_stop(a->loop);
}

/* ---- control ---- */

static void attach_request(struct attach *a, enum control_cmd cmd)
{
	_autojson json_t *req = control_request_json(++a->next_id, cmd);
	struct err e = {0};

	if (a->control < 0)
		return;
	if (control_send(a->control, req, NULL, 0, CONTROL_NO_WAIT, &e) && !a->quitting)
		log_warn("%s", e.msg);
}

static void attach_kill(void *ctx)
{
	struct attach *a = ctx;

	if (!a->reaped) {
		log_warn("the VM process does not end: killed");
		kill(a->opt->pid, SIGKILL);
		return;
	}
	/* It is gone, but somebody keeps the console open or does not read our output. */
	a->stdout_open = false;
	loop_stop(a->loop);
}

static void attach_quit(struct attach *a, int status)
{
	if (a->reaped) {
		/* Only the rest of the console was still to be shown. */
		a->stdout_open = false;
		loop_stop(a->loop);
		return;
	}
	if (a->quitting) {
		kill(a->opt->pid, SIGKILL);
		return;
	}
	a->quitting = true;
	a->quit_status = status;
	attach_request(a, CONTROL_QUIT);
	loop_timer_set(&a->kill, clock_ns() + QUIT_GRACE_NS);
}

static const char *event_text(const json_t *msg, const char *key, char *buf, size_t size)
{
	const char *s = json_string_value(json_object_get(msg, key));

	return err_quote(buf, size, s ? s : "");
}

static void attach_final(struct attach *a, int event, int status)
{
	if (a->final >= 0)
		return;
	a->final = event;
	a->final_status = status;
}

/* The VM's own error event is an error object; say it like any other error. */
static void attach_error_event(struct attach *a, const json_t *msg)
{
	struct err e;

	control_error_parse(msg, &e);
	if (!e.msg[0])
		event_text(msg, "text", e.msg, sizeof(e.msg));
	term_restore();
	attach_final(a, CONTROL_EV_ERROR, cli_fail_option(&e, CLI_EXIT_RUNTIME));
}

static void attach_event(struct attach *a, int event, const json_t *msg)
{
	char text[256];

	switch (event) {
	case CONTROL_EV_PAUSED: a->paused = true; break;
	case CONTROL_EV_RESUMED: a->paused = false; break;
	case CONTROL_EV_HALTED:
		if (!a->opt->quiet)
			log_info("the guest has halted and will not wake%s",
				 a->escape_on ? " (Ctrl-A x quits)" : "");
		break;
	case CONTROL_EV_SHUTDOWN:
		event_text(msg, "cause", text, sizeof(text));
		attach_final(a, event,
			     a->quitting && !strcmp(text, "quit") ? a->quit_status : CLI_EXIT_OK);
		break;
	case CONTROL_EV_CRASHED:
		log_error("the guest crashed: %s", event_text(msg, "text", text, sizeof(text)));
		attach_final(a, event, CLI_EXIT_CRASHED);
		break;
	case CONTROL_EV_GUEST_EXIT:
		attach_final(a, event,
			     (int)(json_integer_value(json_object_get(msg, "code")) & 0x7f));
		break;
	case CONTROL_EV_ERROR: attach_error_event(a, msg); break;
	default: break;
	}
}

static void attach_reply(struct attach *a, const json_t *msg)
{
	const json_t *error = json_object_get(msg, "error");
	char text[256];

	if (error && !a->quitting)
		log_warn("%s", event_text(error, "message", text, sizeof(text)));
}

/* Takes one message. False: there is none now, or never again. */
static bool attach_take_message(struct attach *a)
{
	struct control_msg m;
	struct err e = {0};
	int r;

	control_msg_init(&m);
	r = control_recv(a->control, &m, CONTROL_NO_WAIT, &e);
	if (r == -EAGAIN)
		return false;
	if (r > 0) {
		int event = control_parse_event(m.json);

		if (event >= 0)
			attach_event(a, event, m.json);
		else
			attach_reply(a, m.json);
		control_msg_fini(&m);
		return true;
	}
	if (r == -EINVAL || r == -EMSGSIZE) {
		log_warn_limited("%s", e.msg);
		return true;
	}
	/* Closed: the process is about to end, or must. */
	loop_fd_del(a->w_control);
	a->w_control = NULL;
	base_close_fd(&a->control);
	if (!a->reaped && !loop_timer_armed(&a->kill))
		loop_timer_set(&a->kill, clock_ns() + QUIT_GRACE_NS);
	return false;
}

static void attach_on_control(void *ctx, int fd, uint32_t events)
{
	(void)fd;
	(void)events;
	attach_take_message(ctx);
}

/* ---- console ---- */

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
		attach_quit(a, CLI_EXIT_RUNTIME);
	}
	attach_update(a);
	attach_finish(a);
}

static void attach_action(struct attach *a, enum escape_action action)
{
	switch (action) {
	case ESCAPE_NONE: break;
	case ESCAPE_QUIT: attach_quit(a, CLI_EXIT_OK); break;
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
	}
	attach_update(a);
}

/* Sets what each watch waits for by what the buffers hold. */
static void attach_update(struct attach *a)
{
	bool console = a->console >= 0;
	uint32_t want = 0;

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

/* ---- signals ---- */

static void attach_reap(struct attach *a)
{
	if (a->reaped || waitpid(a->opt->pid, &a->wait_status, WNOHANG) != a->opt->pid)
		return;
	a->reaped = true;
	/* The rest of the console: for as long as a slow reader needs, unless we are to end. */
	if (a->quitting)
		loop_timer_set(&a->kill, clock_ns() + DRAIN_GRACE_NS);
	else
		loop_timer_cancel(&a->kill);
	attach_finish(a);
}

static void attach_stop(struct attach *a)
{
	bool raw = a->escape_on;

	term_restore();
	raise(SIGSTOP);
	/* Here we go on after SIGCONT. */
	if (raw && term_usable())
		term_raw();
}

static void attach_on_signal(void *ctx, int fd, uint32_t events)
{
	struct attach *a = ctx;
	struct signalfd_siginfo si;

	(void)events;
	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGCHLD: attach_reap(a); break;
		case SIGTSTP: attach_stop(a); break;
		default:
			attach_quit(a, CLI_EXIT_INTERRUPTED);
			if (si.ssi_signo == SIGHUP)
				a->stdin_open = false;
			break;
		}
	}
	attach_update(a);
}

static void attach_signal_set(sigset_t *set)
{
	static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD};

	sigemptyset(set);
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		sigaddset(set, wanted[i]);
}

void attach_hold_signals(void)
{
	sigset_t set;

	attach_signal_set(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int attach_signals(struct attach *a)
{
	sigset_t set;

	attach_hold_signals();
	attach_signal_set(&set);
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signals < 0 ? -errno : 0;
}

static void attach_on_timeout(void *ctx)
{
	struct attach *a = ctx;

	if (a->reaped || a->final >= 0)
		return;
	log_error("the VM did not end within %llu s", (unsigned long long)a->opt->timeout_s);
	attach_quit(a, CLI_EXIT_TIMEOUT);
}

/* The guest connects to a port of the host. */
static void attach_on_opener(void *ctx, int fd, uint32_t events)
{
	struct attach *a = ctx;

	(void)events;
	if (opener_serve(fd, a->opt->vsock) < 0) {
		loop_fd_del(a->w_opener);
		a->w_opener = NULL;
	}
}

/* ---- life ---- */

static int attach_watch(struct attach *a)
{
	int r = attach_signals(a);

	if (!r)
		r = loop_fd_add(a->loop, a->signals, EPOLLIN, attach_on_signal, a, &a->w_signals);
	if (!r)
		r = loop_fd_add(a->loop, a->control, EPOLLIN, attach_on_control, a, &a->w_control);
	if (!r && a->opt->vsock)
		r = loop_fd_add(a->loop, a->opt->opener, EPOLLIN, attach_on_opener, a, &a->w_opener);
	if (r || a->console < 0)
		return r;
	a->stdin_open = !isatty(STDIN_FILENO) || term_usable();
	a->stdout_open = true;
	r = loop_fd_add(a->loop, a->console, EPOLLIN, attach_on_console, a, &a->w_console);
	if (!r)
		r = loop_fd_add(a->loop, STDOUT_FILENO, 0, attach_on_stdout, a, &a->w_stdout);
	if (!r && a->stdin_open)
		r = loop_fd_add(a->loop, STDIN_FILENO, EPOLLIN, attach_on_stdin, a, &a->w_stdin);
	return r;
}

static int attach_status(const struct attach *a)
{
	if (a->final >= 0)
		return a->final_status;
	if (a->quitting)
		return a->quit_status;
	if (WIFSIGNALED(a->wait_status))
		log_error("the VM process ended by signal %d (%s)", WTERMSIG(a->wait_status),
			  strsignal(WTERMSIG(a->wait_status)));
	else
		log_error("the VM process ended without a reason (exit status %d)",
			  WEXITSTATUS(a->wait_status));
	return CLI_EXIT_RUNTIME;
}

int attach_run(const struct attach_options *o)
{
	struct attach *a = calloc(1, sizeof(*a));
	struct err e = {0};
	int r, status;

	if (!a) {
		err_errno(&e, ENOMEM, "cannot attach to the VM");
		kill(o->pid, SIGKILL);
		waitpid(o->pid, NULL, 0);
		return cli_fail(&e, CLI_EXIT_RUNTIME);
	}
	a->opt = o;
	a->control = o->control;
	a->console = o->console;
	a->signals = -1;
	a->final = -1;
	r = loop_create(&a->loop, &e);
	if (!r) {
		loop_timer_init(&a->timeout, a->loop, attach_on_timeout, a);
		loop_timer_init(&a->kill, a->loop, attach_kill, a);
		r = attach_watch(a);
	}
	if (!r && o->timeout_s)
		r = loop_timer_set(&a->timeout, clock_ns() + o->timeout_s * CLOCK_NS_PER_S);
	if (r) {
		err_errno(&e, -r, "cannot attach to the VM");
		kill(o->pid, SIGKILL);
		waitpid(o->pid, NULL, 0);
		status = cli_fail(&e, CLI_EXIT_RUNTIME);
	} else {
		if (a->w_stdin && term_usable() && term_raw() == 0)
			a->escape_on = true;
		attach_update(a);
		/* It may have ended before SIGCHLD was watched. */
		attach_reap(a);
		loop_run(a->loop);
		/* The last words may have been in flight when the process was reaped. */
		while (a->w_control && a->final < 0 && attach_take_message(a))
			;
		term_restore();
		status = attach_status(a);
	}
	loop_destroy(a->loop);
	base_close_fd(&a->control);
	base_close_fd(&a->console);
	base_close_fd(&a->signals);
	if (o->vsock)
		close(o->opener);
	free(a);
	return status;
}
