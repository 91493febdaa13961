/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmconsole.c - `lodge console`, `lodge logs`: clients of a VM's console socket (hub.h), and of its log when it is not running.
 *
 * A poll loop of two directions, each with one buffer: a full one stops its reader. What the guest says goes to stdout as it is;
 * on a terminal the escape key of `lodge run` works, but leaves the VM alone when it leaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper/escape.h"
#include "keeper/term.h"
#include "cli/vm.h"
#include "util/clock.h"

#define ANSWER_MAX 64u

struct link {
	const struct rundir *vm;
	int fd;
	bool writer, raw, paused;
	struct escape escape;
	uint8_t typed[1024];
	size_t typed_len;
	bool stdin_open;
};

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Says what we want and reads the line of the answer. */
static int ask(struct link *l, const char *want, uint64_t tail, char answer[ANSWER_MAX],
	       struct err *e)
{
	uint64_t deadline = clock_ns() + VMSOCK_ANSWER_NS;
	char line[48];
	size_t n = 0;

	snprintf(line, sizeof(line), "%s %llu\n", want, (unsigned long long)tail);
	if (write_all(l->fd, line, strlen(line)) < 0)
		return err_errno(e, errno, "cannot reach the console of \"%s\"", l->vm->name);
	while (n + 1 < ANSWER_MAX) {
		struct pollfd p = {.fd = l->fd, .events = POLLIN};
		uint64_t now = clock_ns();

		if (now >= deadline ||
		    poll(&p, 1, (int)((deadline - now) / CLOCK_NS_PER_MS) + 1) == 0)
			return err_set(e, ETIMEDOUT, "the keeper of \"%s\" does not answer",
				       l->vm->name);
		if (read(l->fd, answer + n, 1) != 1)
			return err_set(e, EPIPE, "the VM \"%s\" has ended", l->vm->name);
		if (answer[n] == '\n') {
			answer[n] = '\0';
			return 0;
		}
		n++;
	}
	return err_set(e, EPROTO, "the console of \"%s\" answers what is no answer", l->vm->name);
}

static void act(struct link *l, enum escape_action action, bool *leave)
{
	enum control_cmd cmd = CONTROL_CMDS;
	struct err e = {0};

	switch (action) {
	case ESCAPE_NONE: return;
	case ESCAPE_QUIT:
	case ESCAPE_LEAVE: *leave = true; return;
	case ESCAPE_HELP: fputs(escape_help_attached, stderr); return;
	case ESCAPE_PAUSE:
		cmd = l->paused ? CONTROL_RESUME : CONTROL_PAUSE;
		l->paused = !l->paused;
		fprintf(stderr, "\n[lodge: %s]\n", l->paused ? "paused" : "going on");
		break;
	case ESCAPE_RESET: cmd = CONTROL_RESET; break;
	case ESCAPE_POWERDOWN: cmd = CONTROL_POWERDOWN; break;
	}
	if (vmsock_call(l->vm, cmd, NULL, &e) < 0)
		fprintf(stderr, "\n[lodge: %s]\n", e.msg);
}

/* From stdin into typed[], which is empty. */
static void read_keys(struct link *l, bool *leave)
{
	uint8_t in[sizeof(l->typed)];
	ssize_t n = read(STDIN_FILENO, in, sizeof(in));

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		l->stdin_open = false;
	for (size_t i = 0, used, len; n > 0 && i < (size_t)n && !*leave; i += used) {
		enum escape_action action = ESCAPE_NONE;

		if (l->raw) {
			action = escape_filter(&l->escape, in + i, (size_t)n - i, &used,
					       l->typed + l->typed_len, &len);
		} else {
			used = len = (size_t)n - i;
			memcpy(l->typed + l->typed_len, in + i, len);
		}
		l->typed_len += len;
		act(l, action, leave);
	}
}

/* Until the VM ends (0), we leave (0), or stdout does not want more (-errno). */
static int pump(struct link *l)
{
	uint8_t out[4096];
	bool leave = false;

	while (!leave) {
		struct pollfd p[2] = {{.fd = l->fd,
				       .events = (short)(POLLIN | (l->typed_len ? POLLOUT : 0))},
				      {.fd = l->stdin_open && !l->typed_len ? STDIN_FILENO : -1,
				       .events = POLLIN}};
		ssize_t n;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents & POLLOUT && l->typed_len) {
			n = send(l->fd, l->typed, l->typed_len, MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n > 0) {
				l->typed_len -= (size_t)n;
				memmove(l->typed, l->typed + n, l->typed_len);
			}
		}
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(l->fd, out, sizeof(out), MSG_DONTWAIT);
			if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
				return 0;
			if (n > 0 && write_all(STDOUT_FILENO, out, (size_t)n) < 0)
				return -errno;
		}
		if (p[1].revents)
			read_keys(l, &leave);
	}
	return 0;
}

static int connect_console(const struct rundir *r, struct err *e)
{
	struct err inner = {0};
	int fd;

	if (!rundir_alive(r)) {
		err_set(e, EBUSY, "the VM \"%s\" is not running: `lodge logs %s` shows what it said",
			r->name, r->name);
		return err_field(e, "name", r->name);
	}
	fd = rundir_connect(r, "console", SOCK_STREAM, &inner);
	if (fd == -ENOENT)
		return err_set(e, EBUSY,
			       "the console of \"%s\" is elsewhere (--console of `lodge run`)",
			       r->name);
	return fd < 0 ? err_set(e, inner.code, "%s", inner.msg) : fd;
}

/* ---- console ---- */

static const struct opt_def console_table[] = {
	{"watch", 0, OPT_FLAG, VM_AT(watch), "", "only look: type nothing", 0, 0, NULL},
	{"take", 0, OPT_FLAG, VM_AT(take), "", "type, also if somebody else does", 0, 0, NULL},
	{"tail", 0, OPT_SIZE, VM_AT(tail), "SIZE",
	 "begin with this much of what was said before (8K)", 1, GIB, NULL},
	VM_OPT_END,
};

void vm_console_options(FILE *f)
{
	opt_print_help(console_table, ARRAY_SIZE(console_table), f);
	fprintf(f, "\nCtrl-A d leaves the console, Ctrl-A h lists more keys.\n");
}

static int console_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	struct link l = {.vm = r, .fd = connect_console(r, e), .stdin_open = true};
	char answer[ANSWER_MAX];
	int got;

	if (l.fd < 0)
		return l.fd;
	got = ask(&l, o->watch ? "watch" : o->take ? "take" : "write", o->tail, answer, e);
	l.writer = got == 0 && !strcmp(answer, "write");
	if (got == 0 && !l.writer && !o->watch)
		fprintf(stderr,
			"lodge: process %s types into this console, you only watch (--take changes that)\n",
			answer + MIN(strlen(answer), strlen("watch ")));
	if (got == 0) {
		if (term_usable() && term_raw() == 0)
			l.raw = true;
		else if (!l.writer)
			l.stdin_open = false;
		if (l.raw)
			fprintf(stderr, "[lodge: console of %s; Ctrl-A d leaves it]\n", r->name);
		if (pump(&l) < 0)
			*status = STATUS_RUNTIME;
		term_restore();
		if (l.raw)
			fprintf(stderr, "\n");
	}
	close(l.fd);
	return got;
}

int vm_console(int argc, char **argv)
{
	static const struct vm_verb verb = {console_table, ARRAY_SIZE(console_table),
					    vm_console,	   false,
					    console_one,   NULL,
					    remote_console};
	struct vm_options o = {.tail = 8 * KIB};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- logs ---- */

static const struct opt_def logs_table[] = {
	{"follow", 'f', OPT_FLAG, VM_AT(follow), "", "go on until the VM ends", 0, 0, NULL},
	{"tail", 0, OPT_SIZE, VM_AT(tail), "SIZE", "only the last so many bytes (all)", 1, GIB,
	 NULL},
	VM_OPT_END,
};

void vm_logs_options(FILE *f)
{
	opt_print_help(logs_table, ARRAY_SIZE(logs_table), f);
}

/* One file of the log, from `skip` on. Returns its size. */
static uint64_t print_file(const struct rundir *r, const char *name, uint64_t skip, bool print)
{
	_autoclose int fd = openat(r->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	char buf[4096];
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	while (print && (n = pread(fd, buf, sizeof(buf), (off_t)skip)) > 0 &&
	       write_all(STDOUT_FILENO, buf, (size_t)n) == 0)
		skip += (uint64_t)n;
	return (uint64_t)st.st_size;
}

static int logs_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	struct link l = {.vm = r, .fd = -1};
	char answer[ANSWER_MAX];
	int got;

	if (!o->follow || !rundir_alive(r)) {
		uint64_t old = print_file(r, "console.log.old", 0, false);
		uint64_t all = old + print_file(r, "console.log", 0, false);
		uint64_t skip = all - MIN(all, o->tail);

		if (skip < old)
			print_file(r, "console.log.old", skip, true);
		print_file(r, "console.log", skip > old ? skip - old : 0, true);
		return 0;
	}
	l.fd = connect_console(r, e);
	if (l.fd < 0)
		return l.fd;
	got = ask(&l, "watch", o->tail, answer, e);
	if (got == 0 && pump(&l) < 0)
		*status = STATUS_RUNTIME;
	close(l.fd);
	return got;
}

int vm_logs(int argc, char **argv)
{
	static const struct vm_verb verb = {logs_table, ARRAY_SIZE(logs_table),
					    vm_logs,	false,
					    logs_one,	NULL,
					    remote_logs};
	struct vm_options o = {.tail = UINT64_MAX};

	return vm_each(&verb, &o, argc, argv);
}
