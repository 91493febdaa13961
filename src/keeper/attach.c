/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c - the keeper of a VM: lives with it from its start to its end: signals, events, exit status. The console is
 * attach_console.c's.
 *
 * Theory of operation. Everything is on one event loop: the console, the control socket (events and replies), a signalfd
 * (SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCHLD, SIGIO). The keeper is `lodge run` itself, on its terminal or detached (detach.h); while
 * it lives it holds the lock of the VM's run directory (proto/rundir.h), in which it writes what runs when the VM has
 * started, and how it ended.
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

#include "keeper/attach_int.h"
#include "keeper/detach.h"
#include "keeper/guest.h"
#include "keeper/plug.h"
#include "keeper/term.h"
#include "proto/opener.h"
#include "sandbox/cgroup.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"
#include "util/procfile.h"

#define QUIT_GRACE_NS (3 * CLOCK_NS_PER_S)
#define DRAIN_GRACE_NS (2 * CLOCK_NS_PER_S)

void attach_finish(struct attach *a)
{
	if (a->reaped && (a->console < 0 || !a->stdout_open) && (!a->printed.len || !a->stdout_open))
		loop_stop(a->loop);
}

/* ---- control ---- */

void attach_request(struct attach *a, enum control_cmd cmd)
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

void attach_quit(struct attach *a, int status)
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

void attach_write_info(const struct attach *a)
{
	struct err e = {0};

	if (a->started && a->opt->run &&
	    rundir_write(a->opt->run, "info.json", a->opt->info, &e) < 0)
		log_warn("%s", e.msg);
}

/* The VM runs: tells who looks, and who waits. */
static void attach_started(struct attach *a)
{
	(void)fault_point("vm-started", NULL);
	a->started = true;
	attach_write_info(a);
	(void)fault_point("start-tell", NULL);
	/* Who asked for it is gone: nobody would know of this VM. */
	if (a->opt->detach && detach_say(a->opt->detach, STATUS_OK, a->opt->run->name) < 0)
		attach_quit(a, STATUS_INTERRUPTED);
	if (a->opt->run && a->opt->restored)
		guest_renew_time(a->opt->run->name);
}

/* The VM's own error event is an error object; say it like any other error. */
static void attach_error_event(struct attach *a, const json_t *msg)
{
	struct err e;

	control_error_parse(msg, &e);
	if (!e.msg[0])
		event_text(msg, "text", e.msg, sizeof(e.msg));
	term_restore();
	err_quote(a->final_text, sizeof(a->final_text), e.msg);
	attach_final(a, CONTROL_EV_ERROR, status_fail_option(&e, STATUS_RUNTIME));
}

static void attach_event(struct attach *a, int event, const json_t *msg)
{
	char text[256];

	switch (event) {
	case CONTROL_EV_STARTED: attach_started(a); break;
	case CONTROL_EV_PAUSED: a->paused = true; break;
	case CONTROL_EV_RESUMED:
		a->paused = false;
		if (a->opt->run)
			guest_renew_time(a->opt->run->name);
		break;
	case CONTROL_EV_HALTED:
		if (!a->opt->quiet)
			log_info("the guest has halted and will not wake%s",
				 a->escape_on ? " (Ctrl-A x quits)" : "");
		break;
	case CONTROL_EV_DISK_REMOVED:
		if (a->opt->disks)
			rundisk_forget(a->opt->disks, event_text(msg, "disk", text, sizeof(text)));
		break;
	case CONTROL_EV_SHUTDOWN:
		event_text(msg, "cause", text, sizeof(text));
		err_quote(a->final_text, sizeof(a->final_text), text);
		attach_final(a, event,
			     a->quitting && !strcmp(text, "quit") ? a->quit_status : STATUS_OK);
		break;
	case CONTROL_EV_CRASHED:
		event_text(msg, "text", a->final_text, sizeof(a->final_text));
		log_error("the guest crashed: %s", a->final_text);
		attach_final(a, event, STATUS_CRASHED);
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
		case SIGIO: attach_home_changed(a); break;
		default:
			attach_quit(a, STATUS_INTERRUPTED);
			if (si.ssi_signo == SIGHUP)
				a->stdin_open = false;
			break;
		}
	}
	attach_update(a);
}

static void attach_signal_set(sigset_t *set)
{
	static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCHLD, SIGIO};

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
	attach_quit(a, STATUS_TIMEOUT);
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

static int attach_watch(struct attach *a, struct err *e)
{
	int r = attach_signals(a);

	if (!r)
		r = loop_fd_add(a->loop, a->signals, EPOLLIN, attach_on_signal, a, &a->w_signals);
	if (!r)
		r = loop_fd_add(a->loop, a->control, EPOLLIN, attach_on_control, a, &a->w_control);
	if (!r && a->opt->detach)
		r = detach_watch(a->opt->detach, a->loop, a->opt->run->dir);
	if (!r && a->opt->vsock)
		r = loop_fd_add(a->loop, a->opt->opener, EPOLLIN, attach_on_opener, a, &a->w_opener);
	if (!r && a->opt->run)
		r = plugsock_create(&a->plug, a->loop, a->opt->run, e);
	if (!r)
		r = attach_console_watch(a, e);
	return r || !a->opt->run ? r : attach_home(a, e);
}

static int attach_status(const struct attach *a)
{
	if (a->final >= 0)
		return a->final_status;
	if (a->quitting)
		return a->quit_status;
	if (WIFSIGNALED(a->wait_status) && WTERMSIG(a->wait_status) == SIGSYS)
		log_error(
			"the VM process was ended by its sandbox: it made a system call that it may not make; --sandbox trace names it");
	else if (WIFSIGNALED(a->wait_status) && WTERMSIG(a->wait_status) == SIGKILL &&
		 a->opt->group && cgroup_out_of_memory(a->opt->group))
		log_error("the VM process was ended by the host's kernel: it wanted more memory than its control group allows (%s)",
			  a->opt->group->note);
	else if (WIFSIGNALED(a->wait_status))
		log_error("the VM process ended by signal %d (%s)", WTERMSIG(a->wait_status),
			  strsignal(WTERMSIG(a->wait_status)));
	else
		log_error("the VM process ended without a reason (exit status %d)",
			  WEXITSTATUS(a->wait_status));
	return STATUS_RUNTIME;
}

/* How many processes the kernel has killed for want of memory, on the whole host and in any control group (proc(5), vmstat). */
static uint64_t attach_oom_kills(void)
{
	static const char key[] = "\noom_kill ";
	_autofree char *text = procfile_whole("/proc/vmstat");
	const char *at = text ? strstr(text, key) : NULL;

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Killed from outside: by what. */
static void attach_note_signal(const struct attach *a, json_t *j)
{
	if (a->final >= 0 || a->quitting || !a->reaped || !WIFSIGNALED(a->wait_status))
		return;
	json_object_set_new(j, "signal", json_integer(WTERMSIG(a->wait_status)));
	if (WTERMSIG(a->wait_status) == SIGKILL && attach_oom_kills() > a->oom_kills)
		json_object_set_new(j, "oom", json_true());
	if (WTERMSIG(a->wait_status) == SIGKILL && a->opt->group &&
	    cgroup_out_of_memory(a->opt->group))
		json_object_set_new(j, "limit", json_string(a->opt->group->note));
}

/* How it ended, for who looks later. */
static void attach_write_end(struct attach *a, int status)
{
	const char *cause = a->final >= 0 ? control_event_names[a->final] : "killed";
	json_t *text = json_string(a->final_text);
	_autojson json_t *j = NULL;
	struct err e = {0};

	if (a->final == CONTROL_EV_SHUTDOWN)
		cause = a->final_text;
	if (!text) /* cut in the middle of a character */
		text = json_string("");
	j = json_pack("{s:i, s:s, s:o, s:I}", "status", status, "cause",
		      status == STATUS_TIMEOUT ? "timeout" : cause, "text", text, "ended_ms",
		      (json_int_t)(clock_realtime_ns() / CLOCK_NS_PER_MS));
	attach_note_signal(a, j);
	if (!j || rundir_write_end(a->opt->run, j, &e) < 0)
		log_warn("%s", j ? e.msg : "out of memory");
	attach_home_end(a, j);
}

int attach_run(const struct attach_options *o)
{
	struct attach *a = malloc(sizeof(*a));
	struct err e = {0};
	int r, status;

	if (!a) {
		err_errno(&e, ENOMEM, "cannot attach to the VM");
		kill(o->pid, SIGKILL);
		waitpid(o->pid, NULL, 0);
		return status_fail(&e, STATUS_RUNTIME);
	}
	memset(a, 0, offsetof(struct attach, typed));
	a->typed.start = a->typed.len = a->printed.start = a->printed.len = 0;
	a->opt = o;
	a->control = o->control;
	a->console = o->console;
	a->signals = -1;
	a->final = -1;
	a->oom_kills = attach_oom_kills();
	r = loop_create(&a->loop, &e);
	if (!r) {
		loop_timer_init(&a->timeout, a->loop, attach_on_timeout, a);
		loop_timer_init(&a->kill, a->loop, attach_kill, a);
		r = attach_watch(a, &e);
	}
	if (!r && o->timeout_s)
		r = loop_timer_set(&a->timeout, clock_ns() + o->timeout_s * CLOCK_NS_PER_S);
	if (r) {
		err_errno(&e, -r, "cannot attach to the VM");
		kill(o->pid, SIGKILL);
		waitpid(o->pid, NULL, 0);
		status = status_fail(&e, STATUS_RUNTIME);
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
	hub_destroy(a->hub);
	plugsock_destroy(a->plug);
	(void)fault_point("vm-end", NULL);
	if (o->run)
		attach_write_end(a, status);
	if (o->detach) {
		(void)detach_say(o->detach, status, o->run->name);
		detach_end(o->detach);
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
