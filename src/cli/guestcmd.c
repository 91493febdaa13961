/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guestcmd.c - `lodge guest VM COMMAND`: single requests to a guest's agent.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/guestio.h"
#include "cli/remote.h"
#include "cli/vm.h"
#include "keeper/guest.h"
#include "util/clock.h"

struct guest_options {
	uint64_t wait_s;
	bool json, frames, json_errors, help;
};

#define AT(field) offsetof(struct guest_options, field)

static const struct opt_def table[] = {
	{"wait", 0, OPT_UINT, AT(wait_s), "SECONDS",
	 "wait this long for the agent of a guest that has just begun (5)", 0, 86400, NULL},
	{"json", 0, OPT_FLAG, AT(json), "", "print the agent's answer as it is", 0, 0, NULL},
	{"frames", 0, OPT_FLAG, AT(frames), "", NULL, 0, 0, NULL}, /* by lodged */
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

static void print_text(const json_t *j)
{
	char line[160];

	if (json_is_string(j))
		printf("%s\n", err_quote(line, sizeof(line), json_string_value(j)));
	else if (json_is_integer(j))
		printf("%lld\n", (long long)json_integer_value(j));
}

static void print_info(const json_t *j)
{
	json_t *list = json_object_get(j, "supported_commands"), *c;
	size_t i;

	print_text(json_object_get(j, "version"));
	json_array_foreach(list, i, c) if (json_is_true(json_object_get(c, "enabled")))
		print_text(json_object_get(c, "name"));
}

/* One line an address: eth0 10.0.2.15/24 */
static void print_addresses(const json_t *j)
{
	json_t *card, *address;
	size_t i, k;

	json_array_foreach(j, i, card)
	{
		const char *name = json_string_value(json_object_get(card, "name"));
		json_t *list = json_object_get(card, "ip-addresses");
		char shown[40], ip[64];

		json_array_foreach(list, k, address)
		{
			const char *text = json_string_value(json_object_get(address, "ip-address"));

			if (name && text)
				printf("%s %s/%lld\n", err_quote(shown, sizeof(shown), name),
				       err_quote(ip, sizeof(ip), text),
				       (long long)json_integer_value(
					       json_object_get(address, "prefix")));
		}
	}
}

/* Nanoseconds since 1970. */
static void print_time(const json_t *j)
{
	json_int_t ns = json_integer_value(j);

	printf("%lld.%09lld\n", (long long)(ns / 1000000000), (long long)(ns % 1000000000));
}

static const struct request {
	const char *word, *command, *help;
	void (*print)(const json_t *result); /* NULL: nothing is said */
	const char *mode;		     /* of guest-shutdown, which does not answer */
	bool set_time;
} requests[] = {
	{"info", "guest-info", "the agent's version, and what it can do", print_info, NULL, false},
	{"addresses", "guest-network-get-interfaces", "of all network cards", print_addresses, NULL,
	 false},
	{"freeze", "guest-fsfreeze-freeze", "file systems come to rest, whole; says how many",
	 print_text, NULL, false},
	{"thaw", "guest-fsfreeze-thaw", "and go on", print_text, NULL, false},
	{"fs-status", "guest-fsfreeze-status", "frozen or thawed", print_text, NULL, false},
	{"time", "guest-get-time", "the guest's clock, seconds since 1970", print_time, NULL, false},
	{"set-time", "guest-set-time", "sets it to this host's", NULL, NULL, true},
	{"shutdown", "guest-shutdown", "powers the guest off", NULL, "powerdown", false},
	{"reboot", "guest-shutdown", "starts it anew", NULL, "reboot", false},
};

void cli_guest_options(FILE *f)
{
	fprintf(f, "VM is its name, or the path of its control socket. Commands:\n");
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
		fprintf(f, "  %-12s %s\n", requests[i].word, requests[i].help);
	fputc('\n', f);
	opt_print_help(table, ARRAY_SIZE(table), f);
}

static const struct request *find(const char *word, struct err *e)
{
	const char *words[ARRAY_SIZE(requests) + 1] = {NULL}, *near;
	char shown[64];

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		if (!strcmp(requests[i].word, word))
			return &requests[i];
		words[i] = requests[i].word;
	}
	near = opt_suggest(word, words);
	err_set(e, EINVAL, "`lodge guest` has no command \"%s\": see lodge help guest",
		err_quote(shown, sizeof(shown), word));
	if (near)
		err_hint(e, "use %s", near);
	err_field(e, "command", word);
	return NULL;
}

static int ask(struct agent *a, const struct request *rq, json_t **result, struct err *e)
{
	uint64_t deadline = guest_call_deadline();
	int r;

	if (rq->set_time)
		return agent_set_time(a, deadline, e);
	if (!rq->mode)
		return agent_call(a, rq->command, NULL, deadline, result, e);
	/* It answers only if it refuses: whoever powers off has no time left. So some seconds' silence, or an end, is success. */
	r = agent_call(a, rq->command, json_pack("{s:s}", "mode", rq->mode),
		       clock_ns() + 3 * CLOCK_NS_PER_S, result, e);
	if (r == -ETIMEDOUT || r == -EPIPE)
		r = 0;
	return r;
}

static int ask_here(const struct guest_options *o, const char *vm, const struct request *rq,
		    json_t **result, struct err *e)
{
	struct agent a;
	int r;

	agent_init(&a);
	r = guest_connect(vm, clock_ns() + (o->wait_s + 1) * CLOCK_NS_PER_S, &a, e);
	if (r == -ESRCH)
		r = vm_not_found(vm, e);
	if (!r)
		r = ask(&a, rq, result, e);
	agent_fini(&a);
	return r;
}

/* For lodged: {"result"}, or why there is none. */
static int answer_frame(const json_t *result, struct err *e)
{
	_autojson json_t *j = json_object();
	struct guestio io;

	guestio_standard(&io, true);
	if (result)
		json_object_set(j, "result", (json_t *)(uintptr_t)result);
	if (!e->code && guestio_result(j) < 0)
		err_set(e, EFBIG, "the guest agent's answer is too long");
	return e->code ? guestio_end(&io, status_of(e), e) : STATUS_OK;
}

int cli_guest(int argc, char **argv)
{
	struct guest_options o = {.wait_s = GUEST_WAIT_S};
	_autojson json_t *result = NULL;
	struct opt_result res = {0};
	const struct request *rq;
	struct err e = {0};
	int r;

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_guest);
	if (res.n_args != 2) {
		err_set(&e, EINVAL,
			"`lodge guest` needs the name of a VM and one command: lodge guest VM COMMAND");
		return status_fail(&e, STATUS_USAGE);
	}
	rq = find(res.arg[1], &e);
	if (!rq)
		return status_fail(&e, STATUS_USAGE);
	r = daemon_remote() ? remote_guest(res.arg[0], rq->word, o.wait_s, &result, &e) :
			      ask_here(&o, res.arg[0], rq, &result, &e);
	if (o.frames)
		return answer_frame(result, &e);
	if (r)
		return status_fail(&e, status_of(&e));
	if (o.json && result) {
		_autofree char *text = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);

		puts(text ? text : "");
	} else if (rq->print) {
		rq->print(result);
	}
	return STATUS_OK;
}
