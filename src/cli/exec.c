/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - `lodge exec VM -- COMMAND`: a program in the guest, by its agent.
 *
 * Standard input is read to its end first, because the protocol takes input only with the start of the program. Then the
 * agent is asked how the program does, at intervals that grow from 2 to 100 ms, and at the longest ones the agent is left to
 * others in between. Lodge's own agent gives output as it comes, with a bound on what it keeps; qemu-guest-agent gives it at the
 * end, at most 16 MiB of each stream.
 *
 * When the time is over, or we are told to end, the program in the guest is killed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "keeper/guest.h"
#include "util/clock.h"

#define POLL_MIN_NS (2 * CLOCK_NS_PER_MS)
#define POLL_MAX_NS (100 * CLOCK_NS_PER_MS)

/* Ours, not the program's: as env(1) and timeout(1) have it. */
#define EXIT_OWN ((enum status)125)
#define EXIT_CANNOT_RUN ((enum status)126)
#define EXIT_NOT_FOUND ((enum status)127)

struct exec_options {
	uint64_t timeout_s, wait_s;
	bool no_input, json_errors, help;
};

#define AT(field) offsetof(struct exec_options, field)

static const struct opt_def table[] = {
	{"timeout", 't', OPT_UINT, AT(timeout_s), "SECONDS",
	 "kill the command after this time, exit status 124", 1, UINT32_MAX, NULL},
	{"wait", 0, OPT_UINT, AT(wait_s), "SECONDS",
	 "wait this long for the agent of a guest that has just begun (5)", 0, 86400, NULL},
	{"no-input", 'n', OPT_FLAG, AT(no_input), "", "do not read standard input", 0, 0, NULL},
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

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
	told_to_end = sig;
}

static int read_input(uint8_t **data, size_t *len, struct err *e)
{
	size_t cap = 0;

	for (;;) {
		ssize_t n;

		if (*len == cap) {
			uint8_t *more;

			cap = cap ? 2 * cap : 64 * KIB;
			more = realloc(*data, cap);
			if (!more)
				return err_set(e, ENOMEM, "out of memory");
			*data = more;
		}
		n = read(STDIN_FILENO, *data + *len, cap - *len);
		if (n == 0)
			return 0;
		if (n < 0 && (errno != EINTR || told_to_end))
			return err_errno(e, errno, "cannot read standard input");
		if (n > 0)
			*len += (size_t)n;
		if (*len > AGENT_INPUT_MAX) {
			err_set(e, EFBIG,
				"standard input is longer than the %u MiB that a guest agent takes",
				(unsigned)(AGENT_INPUT_MAX / MIB));
			return err_hint(e, "copy it by lodge cp, and read the file");
		}
	}
}

static int show_output(const struct agent_exit *x, struct err *e)
{
	int r = guest_write_all(STDOUT_FILENO, x->out, x->out_len);

	if (!r)
		r = guest_write_all(STDERR_FILENO, x->err, x->err_len);
	return r ? err_errno(e, -r, "cannot write what the command says") : 0;
}

/* What is running. */
struct exec {
	const char *path;
	struct agent a;
	uint64_t pid, deadline_ns, interval_ns;
	bool unread; /* nobody reads our output any more */
};

/* Another program that ends this one; nobody waits for it. */
static void kill_it(struct exec *x)
{
	uint64_t deadline = clock_ns() + 5 * CLOCK_NS_PER_S, killer;
	char program[] = "kill", how[] = "-KILL", number[24];
	char *argv[] = {program, how, number, NULL};

	snprintf(number, sizeof(number), "%llu", (unsigned long long)x->pid);
	agent_fini(&x->a); /* an answer may be on its way there */
	if (guest_connect(x->path, deadline, &x->a, NULL) == 0)
		(void)agent_exec(&x->a, argv, NULL, 0, false, deadline, &killer, NULL);
}

/* Waits until it is over. The exit status, or -errno. */
static int follow(struct exec *x, struct err *e)
{
	for (;;) {
		struct agent_exit now;
		struct timespec t;
		int r = x->a.fd >= 0 ? 0 : guest_connect(x->path, guest_call_deadline(), &x->a, e);

		if (!r)
			r = agent_exec_status(&x->a, x->pid, guest_call_deadline(), &now, e);
		if (r)
			return r;
		r = show_output(&now, e);
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
		t = (struct timespec){.tv_nsec = (long)x->interval_ns};
		x->interval_ns = MIN(2 * x->interval_ns, POLL_MAX_NS);
		if (!told_to_end)
			nanosleep(&t, NULL);
		if (told_to_end)
			return -EINTR;
	}
}

/* The agent's own words for why a program did not start. */
static int start_failed(int r, const struct err *e)
{
	if (r == -EREMOTEIO && strstr(e->msg, "No such file or directory"))
		return status_fail(e, EXIT_NOT_FOUND);
	if (r == -EREMOTEIO && strstr(e->msg, "Permission denied"))
		return status_fail(e, EXIT_CANNOT_RUN);
	return status_fail(e, EXIT_OWN);
}

static int run(const struct exec_options *o, const char *path, char *const argv[])
{
	struct exec x = {.path = path, .interval_ns = POLL_MIN_NS, .deadline_ns = UINT64_MAX};
	_autofree uint8_t *input = NULL;
	size_t input_len = 0;
	struct err e = {0};
	int r = 0, stream;

	agent_init(&x.a);
	if (!o->no_input && !isatty(STDIN_FILENO))
		r = read_input(&input, &input_len, &e);
	if (r)
		return status_fail(&e, EXIT_OWN);
	r = guest_connect(path, clock_ns() + o->wait_s * CLOCK_NS_PER_S + CLOCK_NS_PER_S, &x.a, &e);
	stream = r ? r : agent_can_stream(&x.a, guest_call_deadline(), &e);
	if (stream < 0) {
		agent_fini(&x.a);
		return status_fail(&e, EXIT_OWN);
	}
	if (o->timeout_s)
		x.deadline_ns = clock_ns() + o->timeout_s * CLOCK_NS_PER_S;
	r = agent_exec(&x.a, argv, input, input_len, stream, guest_call_deadline(), &x.pid, &e);
	if (r) {
		agent_fini(&x.a);
		return start_failed(r, &e);
	}
	r = follow(&x, &e);
	if (told_to_end || x.unread || (r == -ETIMEDOUT && clock_ns() >= x.deadline_ns)) {
		kill_it(&x);
		r = told_to_end ? STATUS_INTERRUPTED : x.unread ? EXIT_OWN : STATUS_TIMEOUT;
	} else if (r < 0) {
		r = status_fail(&e, EXIT_OWN);
	}
	agent_fini(&x.a);
	return r;
}

int cli_exec(int argc, char **argv)
{
	const struct sigaction act = {.sa_handler = on_signal};
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
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	return run(&o, res.arg[0], res.arg + 1);
}
