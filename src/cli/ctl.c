/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.c - `lodge ctl VM COMMAND`: talks to a VM by its name, or by the path of its --control socket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/show.h"
#include "cli/vm.h"
#include "keeper/plug.h"
#include "util/clock.h"

struct ctl_options {
	uint64_t timeout_s, vcpu;
	const char *size_text; /* balloon: what it is to take; NULL: only look */
	uint64_t size;
	bool stop, force, json, json_errors, help;
};

#define AT(field) offsetof(struct ctl_options, field)

static const struct opt_def ctl_options[] = {
	{"stop", 0, OPT_FLAG, AT(stop), "", "save: end the VM when its state is on the disk", 0, 0,
	 NULL},
	{"force", 0, OPT_FLAG, AT(force), "",
	 "disk rm, net rm: close what is behind the device at once", 0, 0, NULL},
	{"timeout", 0, OPT_UINT, AT(timeout_s), "SECONDS",
	 "wait this long for the answer (10; save: 600)", 1, 86400, NULL},
	{"vcpu", 0, OPT_UINT, AT(vcpu), "N", "dump: which vCPU (0)", 0, CONFIG_CPUS_MAX - 1, NULL},
	{"json", 0, OPT_FLAG, AT(json), "", "print the result as JSON", 0, 0, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_ctl_options(FILE *f)
{
	fprintf(f, "Commands:");
	for (unsigned i = 0; control_cmd_names[i]; i++)
		if (strncmp(control_cmd_names[i], "disk-", 5) != 0 &&
		    strncmp(control_cmd_names[i], "net-", 4) != 0 && i != CONTROL_AGENT &&
		    i != CONTROL_LISTEN)
			fprintf(f, " %s", control_cmd_names[i]);
	fprintf(f,
		"\n  disk limit ID [bps=SIZE] [bps-burst=SIZE] [iops=N] [iops-burst=N]   (0: no limit)\n"
		"  disk grow ID [SIZE]\n"
		"  net limit ID [bps=SIZE] [bps-burst=SIZE] [pps=N] [pps-burst=N]\n"
		"  net link ID up|down\n"
		"  disk add FILE[,key=value...], net add KIND[,key=value...]   (as --disk and --net of lodge run)\n"
		"  disk rm ID, net rm ID\n\n");
	opt_print_help(ctl_options, ARRAY_SIZE(ctl_options), f);
}

static void ctl_print_json(const json_t *j)
{
	_autofree char *text = json_text(j);

	printf("%s\n", text ? text : "");
	fflush(stdout);
}

/* The layers of a sandbox, one a line. */
static void ctl_print_sandbox(const json_t *layers)
{
	const json_t *l;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)layers, i, l)
	{
		const char *name = json_string_value(json_object_get(l, "layer"));
		const char *note = json_string_value(json_object_get(l, "note"));
		char word[64], more[400];

		printf("sandbox.%-18s %s%s%s%s\n", err_quote(word, sizeof(word), name ? name : "?"),
		       json_is_true(json_object_get(l, "on")) ? "on" : "OFF",
		       note && *note ? " (" : "", err_quote(more, sizeof(more), note ? note : ""),
		       note && *note ? ")" : "");
	}
}

static void ctl_print_member(const char *key, char between, const json_t *value)
{
	_autofree char *text = json_is_string(value) ?
				       NULL :
				       json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	show_text(key, false, stdout);
	putchar(between);
	show_text(json_is_string(value) ? json_string_value(value) :
		  text			? text :
					  "?",
		  false, stdout);
}

/* The objects of a list, one a line: "key=value ...". */
static void ctl_print_list(const json_t *list)
{
	const char *key;
	json_t *j, *value;
	size_t i;

	json_array_foreach(list, i, j)
	{
		const char *space = "";

		json_object_foreach(j, key, value)
		{
			fputs(space, stdout);
			ctl_print_member(key, '=', value);
			space = " ";
		}
		printf("\n");
	}
}

/* One "key value" line a member; a member called text is printed as it is. A list alone is one of objects. */
static void ctl_print(const json_t *result)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)result, key, value)
	{
		if (json_is_array(value) && json_object_size(result) == 1) {
			ctl_print_list(value);
			continue;
		}
		if (json_is_string(value) && !strcmp(key, "text")) {
			show_text(json_string_value(value), true, stdout);
			continue;
		}
		if (!strcmp(key, "sandbox")) {
			ctl_print_sandbox(value);
			continue;
		}
		ctl_print_member(key, ' ', value);
		putchar('\n');
	}
}

static void ctl_show(const json_t *result, const struct ctl_options *o)
{
	if (o->json)
		ctl_print_json(result);
	else
		ctl_print(result);
}

/* Prints events until the VM ends. */
int ctl_events(int sock, struct err *e)
{
	struct control_msg m;
	int r;

	control_msg_init(&m);
	while ((r = control_recv(sock, &m, CONTROL_WAIT_FOREVER, e)) > 0) {
		if (control_parse_event(m.json) >= 0)
			ctl_print_json(m.json);
		control_msg_fini(&m);
		if (ferror(stdout))
			return 0;
	}
	return r;
}

/* `req` is a request with id 1. */
static int ctl_talk(int sock, enum control_cmd cmd, json_t *req, const struct ctl_options *o,
		    struct err *e)
{
	uint64_t deadline = clock_ns() + o->timeout_s * CLOCK_NS_PER_S;
	_autojson json_t *result = NULL;
	struct control_msg m;
	json_t *got = NULL;
	int r;

	if (o->size_text && json_object_set_new(req, "size", json_u64(o->size)))
		return err_errno(e, ENOMEM, "cannot make the request");
	r = control_send(sock, req, NULL, 0, deadline, e);
	if (r)
		return r;
	control_msg_init(&m);
	for (r = 0; !r;) {
		r = control_recv(sock, &m, deadline, e);
		if (r == -ETIMEDOUT)
			break;
		r = r > 0 ? control_parse_reply(m.json, 1, &got, e) :
		    r	  ? r :
			    err_set(e, EPIPE, "the VM closed the connection without an answer");
		if (!r)
			r = control_late(deadline, e);
	}
	if (r > 0)
		result = json_incref(got);
	control_msg_fini(&m);
	if (r == -ETIMEDOUT && e) {
		*e = (struct err){0};
		err_set(e, ETIMEDOUT, "the VM did not answer within %llu s",
			(unsigned long long)o->timeout_s);
	}
	if (r < 0)
		return r;
	if (cmd == CONTROL_EVENTS)
		return ctl_events(sock, e);
	ctl_show(result, o);
	return 0;
}

static int ctl_save(int sock, const char *path, const struct ctl_options *o, struct err *e)
{
	uint64_t deadline = clock_ns() + o->timeout_s * CLOCK_NS_PER_S;
	_autojson json_t *result = NULL;
	int r = save_run(sock, path, o->stop, deadline, &result, e);

	if (r < 0)
		return r;
	ctl_show(result, o);
	return 0;
}

static int ctl_plug(int sock, const struct opt_result *res, const struct ctl_options *o,
		    struct err *e)
{
	uint64_t deadline = clock_ns() + o->timeout_s * CLOCK_NS_PER_S;
	_autojson json_t *result = NULL;
	int r = plug_run(sock, res->arg[1], res->arg[2], res->arg[3], o->force, deadline, &result,
			 e);

	if (r < 0 || !result)
		return r;
	ctl_show(result, o);
	return 0;
}

static int ctl_command(const char *word, unsigned *cmd, struct err *e)
{
	const char *near;
	char shown[64];

	for (*cmd = 0; control_cmd_names[*cmd]; ++*cmd)
		if (!strcmp(control_cmd_names[*cmd], word))
			return 0;
	near = opt_suggest(word, control_cmd_names);
	err_quote(shown, sizeof(shown), word);
	if (near) {
		err_set(e, EINVAL, "there is no control command \"%s\": did you mean %s?", shown,
			near);
		err_hint(e, "use %s", near);
	} else {
		err_set(e, EINVAL, "there is no control command \"%s\": see lodge help ctl", shown);
	}
	return err_field(e, "command", word);
}

/* What follows the command: a size, for the balloon. */
static int ctl_size(const struct opt_result *res, unsigned cmd, struct ctl_options *o, struct err *e)
{
	char shown[64];
	int r = 0;

	if (res->n_args == 2)
		return 0;
	if (cmd != CONTROL_BALLOON || res->n_args > 3) {
		err_set(e, EINVAL, "what is \"%s\" after the command? Only balloon takes a size",
			err_quote(shown, sizeof(shown), res->arg[res->n_args - 1]));
		return err_field(e, "command", NULL);
	}
	o->size_text = res->arg[2];
	if (strcmp(o->size_text, "0") != 0)
		r = opt_parse_size(o->size_text, &o->size, e);
	return r ? err_field(e, "size", o->size_text) : 0;
}

static int ctl_remote(const struct opt_result *res, const json_t *req, const struct ctl_options *o)
{
	const struct remote_ctl c = {.vm = res->arg[0],
				     .command = res->arg[1],
				     .verb = res->n_args > 2 ? res->arg[2] : NULL,
				     .word = res->n_args > 3 ? res->arg[3] : NULL,
				     .request = req,
				     .force = o->force,
				     .has_size = o->size_text,
				     .size = o->size};
	const struct vm_options none = {0};
	_autojson json_t *result = NULL;
	struct err e = {0};
	int r, status;

	if (!strcmp(c.command, control_cmd_names[CONTROL_EVENTS]))
		r = remote_events(c.vm, &none, &status, &e);
	else
		r = remote_ctl(&c, &result, &e);
	if (r == 0 && result)
		ctl_show(result, o);
	return r < 0 ? status_fail(&e, status_of(&e)) : STATUS_OK;
}

int cli_ctl(int argc, char **argv)
{
	struct ctl_options o = {0};
	struct opt_result res = {0};
	struct err e = {0};
	_autojson json_t *req = NULL;
	_autoclose int sock = -1;
	unsigned cmd = CONTROL_CMDS;
	bool save = false, plug = false;
	int r;

	if (opt_parse(ctl_options, ARRAY_SIZE(ctl_options), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_ctl);
	if (res.n_args >= 2 && !strcmp(res.arg[1], "save")) {
		save = true;
		if (res.n_args != 3) {
			err_set(&e, EINVAL,
				"`lodge ctl VM save` needs the file to save to: lodge ctl VM save FILE");
			return status_fail(&e, STATUS_USAGE);
		}
	} else if (res.n_args >= 3 && plug_is(res.arg[1], res.arg[2])) {
		plug = true;
		if (res.n_args != 4) {
			err_set(&e, EINVAL, "lodge ctl VM %s %s needs %s", res.arg[1], res.arg[2],
				!strcmp(res.arg[2], "rm") ? "the name of one device" :
							    "one word: what is added");
			return status_fail(&e, STATUS_USAGE);
		}
	} else if (res.n_args >= 2 && (!strcmp(res.arg[1], "disk") || !strcmp(res.arg[1], "net"))) {
		cmd = CONTROL_DISK_GROW; /* no other answer needs to be known here */
		req = ctldev_request(res.arg[1], res.n_args - 2, res.arg + 2, &e);
		if (!req)
			return status_fail(&e, STATUS_USAGE);
	} else if (res.n_args < 2) {
		err_set(&e, EINVAL,
			"lodge ctl needs a VM, by its name or the path of its control socket, and one command: lodge ctl VM COMMAND");
		return status_fail(&e, STATUS_USAGE);
	} else {
		if (ctl_command(res.arg[1], &cmd, &e) || ctl_size(&res, cmd, &o, &e))
			return status_fail(&e, STATUS_USAGE);
		req = control_request_json(1, (enum control_cmd)cmd);
		if (cmd == CONTROL_DUMP)
			(void)json_object_set_new(req, "vcpu", json_u64(o.vcpu));
	}
	if (o.stop && !save) {
		err_set(&e, EINVAL, "--stop is for save only");
		err_field(&e, "--stop", NULL);
		return status_fail(&e, STATUS_USAGE);
	}
	if (o.force && !(plug && !strcmp(res.arg[2], "rm"))) {
		err_set(&e, EINVAL, "--force is for disk rm and net rm only");
		err_field(&e, "--force", NULL);
		return status_fail(&e, STATUS_USAGE);
	}
	if (daemon_remote())
		return ctl_remote(&res, req, &o);
	if (!o.timeout_s)
		o.timeout_s = save ? 600 : 10;
	sock = vmsock_connect(res.arg[0], &e);
	if (sock == -ESRCH)
		sock = vm_not_found(res.arg[0], &e);
	if (sock < 0)
		return status_fail(&e, status_of(&e));
	if (plug)
		r = ctl_plug(sock, &res, &o, &e);
	else if (save)
		r = ctl_save(sock, res.arg[2], &o, &e);
	else
		r = ctl_talk(sock, (enum control_cmd)cmd, req, &o, &e);
	return r ? status_fail(&e, STATUS_RUNTIME) : STATUS_OK;
}
