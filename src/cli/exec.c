/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - `lodge exec VM -- COMMAND`: a program in the guest, by its agent.
 *
 * Standard input is read to its end first, because the protocol takes input only with the start of the program. Then the
 * agent is asked how the program does, at intervals that grow from 2 to 100 ms, and at the longest ones the agent is left to
 * others in between. Lodge's own agent gives output as it comes, with a bound on what it keeps; qemu-guest-agent gives it at the
 * end, at most 16 MiB of each stream.
 *
 * When the time is over, or we are told to end, the program in the guest is killed. With --frames lodged runs us for a client of
 * its API (proto/frames.h): when the socket is closed nobody wants to know any more, which is the same.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/guestio.h"
#include "cli/remote.h"
#include "cli/vm.h"
#include "keeper/guest.h"
#include "util/clock.h"

#define POLL_MIN_NS (2 * CLOCK_NS_PER_MS)
#define POLL_MAX_NS (100 * CLOCK_NS_PER_MS)

struct exec_options {
	uint64_t timeout_s, wait_s;
	bool no_input, frames, json_errors, help;
};

#define AT(field) offsetof(struct exec_options, field)

static const struct opt_def table[] = {
	{"timeout", 't', OPT_UINT, AT(timeout_s), "SECONDS",
	 "kill the command after this time, exit status 124", 1, UINT32_MAX, NULL},
	{"wait", 0, OPT_UINT, AT(wait_s), "SECONDS",
	 "wait this long for the agent of a guest that has just begun (5)", 0, 86400, NULL},
	{"no-input", 'n', OPT_FLAG, AT(no_input), "", "do not read standard input", 0, 0, NULL},
	{"frames", 0, OPT_FLAG, AT(frames), "", NULL, 0, 0, NULL}, /* by lodged */
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_exec_options(FILE *f)
{
	fprintf(f,
		"VM is its name, or the path of its control socket. Standard input goes to the command unless it is\n"
		"a terminal.\n\n");
	opt_print_help(table, ARRAY_SIZE(table), f);
	fprintf(f,
		"\nExit status: the command's, 128 + N if signal N ended it, 124 time-out, 127 not found,\n"
		"126 cannot be run, 125 anything else that failed, 2 usage.\n");
}

static int read_input(const struct guestio *io, uint8_t **data, size_t *len, struct err *e)
{
	size_t cap = 0;

	for (;;) {
		ssize_t n;

		if (cap - *len < FRAME_MAX) {
			uint8_t *more;

			cap = cap ? 2 * cap : 2 * FRAME_MAX;
			more = realloc(*data, cap);
			if (!more)
				return err_set(e, ENOMEM, "out of memory");
			*data = more;
		}
		n = guestio_read(io, *data + *len, cap - *len);
		if (n == 0)
			return 0;
		if (n < 0)
			return err_errno(e, (int)-n, "cannot read standard input");
		*len += (size_t)n;
		if (*len > AGENT_INPUT_MAX) {
			err_set(e, EFBIG,
				"standard input is longer than the %u MiB that a guest agent takes",
				(unsigned)(AGENT_INPUT_MAX / MIB));
			return err_hint(e, "copy it by lodge cp, and read the file");
		}
	}
}

/* What is running. */
struct exec {
	const char *path;
	struct guestio io;
	struct agent a;
	uint64_t pid, deadline_ns, interval_ns;
	bool unread; /* nobody reads our output any more */
};

static int show_output(struct exec *x, const struct agent_exit *now, struct err *e)
{
	int r = guestio_write(&x->io, FRAME_OUTPUT, now->out, now->out_len, &x->a);

	if (!r)
		r = guestio_write(&x->io, FRAME_ERROR, now->err, now->err_len, &x->a);
	return r ? err_errno(e, -r, "cannot write what the command says") : 0;
}

/* Another program that ends this one; nobody waits for it. Of many that are told to end at once, each waits for its turn with the agent. */
static void kill_it(struct exec *x)
{
	uint64_t deadline = x->io.frames ? guest_call_deadline() : clock_ns() + 5 * CLOCK_NS_PER_S;
	struct agent_exit now = {0};
	uint64_t killer;
	char program[] = "kill", how[] = "-KILL", number[24];
	char *argv[] = {program, how, number, NULL};

	snprintf(number, sizeof(number), "%llu", (unsigned long long)x->pid);
	guestio_finish();
	agent_fini(&x->a); /* an answer may be on its way there */
	if (guest_connect(x->path, deadline, &x->a, NULL) < 0)
		return;
	/* One that has ended meanwhile is not to be: its number may be another's. */
	if (agent_exec_status(&x->a, x->pid, deadline, &now, NULL) == 0 && !now.exited)
		(void)agent_exec(&x->a, argv, NULL, 0, false, deadline, &killer, NULL);
	agent_exit_fini(&now);
}

/* For one answer of the agent's: not long beyond the command's own time. */
static uint64_t answer_deadline(const struct exec *x)
{
	uint64_t own = MAX(x->deadline_ns, clock_ns() + CLOCK_NS_PER_S);

	return MIN(own, guest_call_deadline());
}

/* Waits until it is over. The exit status, or -errno. */
static int follow(struct exec *x, struct err *e)
{
	for (;;) {
		struct agent_exit now;
		int r = x->a.fd >= 0 ? 0 : guest_connect(x->path, answer_deadline(x), &x->a, e);

		if (!r)
			r = agent_exec_status(&x->a, x->pid, answer_deadline(x), &now, e);
		if (r)
			return r;
		r = show_output(x, &now, e);
		x->unread = r == -EPIPE;
		if (now.out_len || now.err_len)
			x->interval_ns = POLL_MIN_NS;
		if (!r && now.exited && now.cut)
			r = err_set(e, EFBIG,
				    "the guest agent keeps 16 MiB of output: the rest of it is lost");
		free(now.out);
		free(now.err);
		if (r)
			return r;
		if (now.exited)
			return (int)(now.by_signal ? 128 + now.code : now.code);
		if (clock_ns() >= x->deadline_ns)
			return -ETIMEDOUT;
		if (x->interval_ns >= POLL_MAX_NS)
			agent_fini(&x->a);
		x->unread = !guestio_pause(&x->io, x->interval_ns);
		if (x->unread)
			return -EPIPE;
		x->interval_ns = MIN(2 * x->interval_ns, POLL_MAX_NS);
	}
}

/* The agent's own words for why a program did not start. */
static unsigned start_status(int r, const struct err *e)
{
	if (r == -EREMOTEIO && strstr(e->msg, "No such file or directory"))
		return EXIT_NOT_FOUND;
	if (r == -EREMOTEIO && strstr(e->msg, "Permission denied"))
		return EXIT_CANNOT_RUN;
	return EXIT_OWN;
}

/* The exit status; e says why it is ours. */
static unsigned run_in_guest(struct exec *x, const struct exec_options *o, char *const argv[],
			     struct err *e)
{
	_autofree uint8_t *input = NULL;
	size_t input_len = 0;
	int r = 0, stream;

	if (!o->no_input)
		r = read_input(&x->io, &input, &input_len, e);
	if (r)
		return EXIT_OWN;
	r = guest_connect(x->path, clock_ns() + (o->wait_s + 1) * CLOCK_NS_PER_S, &x->a, e);
	if (r == -ESRCH)
		r = vm_not_found(x->path, e);
	stream = r ? r : agent_can_stream(&x->a, guest_call_deadline(), e);
	if (stream < 0)
		return EXIT_OWN;
	if (o->timeout_s)
		x->deadline_ns = clock_ns() + o->timeout_s * CLOCK_NS_PER_S;
	guestio_hold(true);
	r = guestio_told() ? err_set(e, EINTR, "interrupted") :
			     agent_exec(&x->a, argv, input, input_len, stream,
					guest_call_deadline(), &x->pid, e);
	guestio_hold(false);
	if (r)
		return start_status(r, e);
	r = follow(x, e);
	if (guestio_told() || x->unread || (r == -ETIMEDOUT && clock_ns() >= x->deadline_ns)) {
		kill_it(x);
		*e = (struct err){0};
		if (x->unread)
			return EXIT_OWN;
		if (x->io.frames)
			err_set(e, ETIMEDOUT, "the command was killed after %llu s",
				(unsigned long long)o->timeout_s);
		return STATUS_TIMEOUT;
	}
	return r < 0 ? EXIT_OWN : (unsigned)r;
}

static int run(const struct exec_options *o, const char *path, char *const argv[])
{
	struct exec x = {.path = path, .interval_ns = POLL_MIN_NS, .deadline_ns = UINT64_MAX};
	struct err e = {0};
	unsigned status;

	guestio_standard(&x.io, o->frames);
	agent_init(&x.a);
	status = run_in_guest(&x, o, argv, &e);
	if (guestio_told()) {
		e = (struct err){0};
		status = STATUS_INTERRUPTED;
	}
	agent_fini(&x.a);
	return guestio_end(&x.io, status, &e);
}

int cli_exec(int argc, char **argv)
{
	struct exec_options o = {.wait_s = GUEST_WAIT_S};
	struct opt_result res = {0};
	struct err e = {0};

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_exec);
	if (res.n_args < 2) {
		err_set(&e, EINVAL,
			"`lodge exec` needs the name of a VM and a command: lodge exec VM -- COMMAND");
		return status_fail(&e, STATUS_USAGE);
	}
	res.arg[res.n_args] = NULL; /* argv has room: its own end, or a word that is an option */
	guestio_catch();
	if (!o.frames)
		o.no_input = o.no_input || isatty(STDIN_FILENO);
	if (daemon_remote())
		return remote_exec(res.arg[0], res.arg + 1, !o.no_input, o.timeout_s, o.wait_s);
	return run(&o, res.arg[0], res.arg + 1);
}
