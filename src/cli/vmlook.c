/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmlook.c - finding VMs by name, `lodge ls`, `lodge info`.
 *
 * The state of a VM is what its lock says first (dead or alive), then what its VM process answers. One that does not answer
 * within a moment is shown as "stuck": a list must come up whatever some VMs do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/daemon.h"
#include "cli/vm.h"
#include "util/clock.h"

/* On a busy host a healthy VM process may be late: how long all VMs of one command together are waited for, and each at least. */
#define LOOK_ALL_NS (2 * CLOCK_NS_PER_S)
#define LOOK_ONE_NS (100 * CLOCK_NS_PER_MS)

/* ---- for all commands ---- */

int vm_not_found(const char *name, struct err *e)
{
	if (e->code != ESRCH || !daemon_has(name))
		return -e->code;
	*e = (struct err){0};
	err_set(e, EBUSY, "\"%s\" has not run yet: `lodge start %s` starts it", name, name);
	return err_field(e, "name", name);
}

static int each(const struct vm_verb *v, const struct vm_options *o, const char *name, int *status)
{
	struct rundir r;
	struct err e = {0};
	int got;

	*status = STATUS_OK;
	if (daemon_remote() && config_check_name(name, &e) < 0)
		return status_fail(&e, status_of(&e));
	if (daemon_remote() && v->remote) {
		got = v->remote(name, o, status, &e);
		return got < 0 ? (int)status_fail(&e, status_of(&e)) : *status;
	}
	if (v->managed && (daemon_remote() || daemon_has(name))) {
		got = v->managed(name, o, &e);
		return got < 0 ? (int)status_fail(&e, status_of(&e)) : STATUS_OK;
	}
	got = rundir_open(&r, name, &e);
	if (got == 0)
		got = v->one(&r, o, status, &e);
	else if (got == -ESRCH && o->all)
		got = 0; /* it has never run, or went meanwhile */
	else if (got == -ESRCH)
		got = vm_not_found(name, &e);
	rundir_close(&r);
	return got < 0 ? (int)status_fail(&e, status_of(&e)) : *status;
}

int vm_names(json_t *list, struct err *e)
{
	_autofree char **names = NULL;
	_autojson json_t *answer = NULL, *seen = json_object();
	int n = rundir_list(&names, e);
	const char *name;
	json_t *vm;
	size_t i;

	if (n < 0)
		return n;
	for (int k = 0; k < n; k++)
		json_object_set_new(seen, names[k], json_true());
	(void)daemon_call("GET", "/1.0/vms", NULL, &answer, NULL);
	json_array_foreach(json_object_get(answer, "vms"), i, vm)
	{
		name = json_string_value(json_object_get(vm, "name"));
		if (name)
			json_object_set_new(seen, name, json_true());
	}
	json_object_foreach(seen, name, vm)
	{
		(void)json_array_append_new(list, json_string(name));
	}
	return 0;
}

int vm_each(const struct vm_verb *v, struct vm_options *o, int argc, char **argv)
{
	_autojson json_t *names = json_array();
	struct opt_result res = {0};
	int first = STATUS_OK, status, n;
	struct err e = {0};

	if (opt_parse(v->table, v->n_options, argc, argv, o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o->help)
		return cli_own_help(v->run);
	if (!o->all && (res.n_args == 0 || (!v->many && res.n_args > 1))) {
		err_set(&e, EINVAL, "the name of %s VM is needed: `lodge ls` shows them",
			v->many ? "at least one" : "one");
		return status_fail(&e, STATUS_USAGE);
	}
	if (o->all && res.n_args) {
		err_set(&e, EINVAL, "--all and names: give one of them");
		return status_fail(&e, STATUS_USAGE);
	}
	if (o->all && daemon_remote()) {
		err_set(&e, EINVAL, "--all is for this host only: name the VMs");
		return status_fail(&e, STATUS_USAGE);
	}
	if (o->all && vm_names(names, &e) < 0)
		return status_fail(&e, status_of(&e));
	n = o->all ? (int)json_array_size(names) : res.n_args;
	for (int i = 0; i < n; i++) {
		const char *name = o->all ? json_string_value(json_array_get(names, (size_t)i)) :
					    res.arg[i];

		status = each(v, o, name, &status);
		if (first == STATUS_OK)
			first = status;
	}
	return first;
}

/* ---- looking ---- */

static const char *ended_state(const json_t *end)
{
	const char *cause = json_string_value(json_object_get(end, "cause"));

	if (!cause)
		return "dead"; /* nobody was left to say how */
	if (!strcmp(cause, "crashed"))
		return "crashed";
	if (!strcmp(cause, "error") || !strcmp(cause, "killed"))
		return "failed";
	return "stopped";
}

/* A question that is not to hold up the command. NULL: no answer. */
static json_t *ask(int fd, enum control_cmd cmd)
{
	static uint64_t left_ns = LOOK_ALL_NS;
	uint64_t begin_ns = clock_ns();
	json_t *answer = NULL;

	if (control_call(fd, cmd, begin_ns + MAX(left_ns, LOOK_ONE_NS), &answer, NULL) < 0)
		answer = NULL;
	left_ns -= MIN(left_ns, clock_ns() - begin_ns);
	return answer;
}

/* running, paused, starting, stuck */
static void ask_state(const struct rundir *r, json_t *j, bool started)
{
	_autojson json_t *answer = NULL;
	_autoclose int fd = rundir_connect(r, "control", SOCK_SEQPACKET, NULL);
	const char *state;

	if (fd >= 0)
		answer = ask(fd, CONTROL_QUERY);
	state = json_string_value(json_object_get(answer, "state"));
	json_object_set_new(j, "state",
			    json_string(state	? state :
					started ? "stuck" :
						  "starting"));
	if (answer)
		json_object_set(j, "uptime_ms", json_object_get(answer, "uptime_ms"));
}

json_t *vm_describe(const struct rundir *r)
{
	static const char *const from_config[] = {"engine", "cpus", "memory"};
	_autojson json_t *info = rundir_read(r, "info.json");
	const json_t *config = json_object_get(info, "config");
	json_t *j = json_pack("{s:s}", "name", r->name);

	if (!j)
		return NULL;
	json_object_set_new(j, "state", json_null()); /* its place is the second */
	if (rundir_alive(r)) {
		ask_state(r, j, info);
	} else {
		_autojson json_t *end = rundir_read(r, "exit.json");

		json_object_set_new(j, "state", json_string(ended_state(end)));
		if (end)
			json_object_set(j, "status", json_object_get(end, "status"));
		if (end)
			json_object_set(j, "exit", end);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(from_config); i++)
		json_object_set(j, from_config[i], json_object_get(config, from_config[i]));
	json_object_update_missing(j, info);
	return j;
}

static json_t *say_time(json_int_t ms)
{
	long long s = ms / 1000;

	if (s < 120)
		return json_sprintf("%lld s", s);
	if (s < 7200)
		return json_sprintf("%lld min", s / 60);
	if (s < 172800)
		return json_sprintf("%lld h", s / 3600);
	return json_sprintf("%lld days", s / 86400);
}

void vm_humanise(json_t *j)
{
	const json_t *up = json_object_get(j, "uptime_ms");

	show_as_size(j, "memory");
	if (up)
		json_object_set_new(j, "uptime", say_time(json_integer_value(up)));
}

/* ---- ls ---- */

static const struct opt_def ls_table[] = {
	VM_OPT_FORMAT,
	VM_OPT_QUIET("only the names"),
	VM_OPT_FILTER,
	VM_OPT_END,
};

static const struct show_column ls_columns[] = {
	{"name", "NAME"},     {"state", "STATE"},   {"engine", "ENGINE"}, {"cpus", "CPUS"},
	{"memory", "MEMORY"}, {"uptime", "UPTIME"}, {"status", "STATUS"}, {NULL, NULL},
};

/* "uptime" in whole seconds, for csv and filters: what programs read has plain numbers, as "memory" is one of bytes. */
static void add_uptime(json_t *rows)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		const json_t *ms = json_object_get(row, "uptime_ms");

		if (ms)
			json_object_set_new(row, "uptime",
					    json_integer(json_integer_value(ms) / 1000));
	}
}

void vm_ls_options(FILE *f)
{
	opt_print_help(ls_table, ARRAY_SIZE(ls_table), f);
}

/* lodged's own that have no folder in the run directory, and those that are about to be started again. */
static void add_managed(json_t *rows)
{
	_autojson json_t *answer = NULL;
	json_t *list, *vm, *row;
	size_t i, k;

	if (daemon_call("GET", "/1.0/vms", NULL, &answer, NULL) != 200)
		return;
	list = json_object_get(answer, "vms");
	json_array_foreach(list, i, vm)
	{
		const char *name = json_string_value(json_object_get(vm, "name"));
		const char *state = json_string_value(json_object_get(vm, "state"));

		json_array_foreach(rows, k, row)
		{
			const char *is = json_string_value(json_object_get(row, "name"));

			if (name && is && strcmp(is, name) >= 0)
				break;
		}
		row = json_array_get(rows, k);
		if (!name || !state)
			continue;
		if (!row || strcmp(json_string_value(json_object_get(row, "name")), name) != 0)
			json_array_insert_new(rows, k,
					      json_pack("{s:s, s:s}", "name", name, "state", state));
		else if (!strcmp(state, "waiting"))
			json_object_set_new(row, "state", json_string(state));
	}
}

int vm_ls(int argc, char **argv)
{
	_autojson json_t *rows = json_array();
	_autofree char **names = NULL;
	struct vm_options o = {0};
	struct opt_result res = {0};
	struct err e = {0};
	int n;

	if (opt_parse(ls_table, ARRAY_SIZE(ls_table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(vm_ls);
	if (res.n_args) {
		err_set(&e, EINVAL, "`lodge ls` takes no names: `lodge info NAME` shows one VM");
		return status_fail(&e, STATUS_USAGE);
	}
	n = daemon_remote() ? remote_rows(rows, &e) : rundir_list(&names, &e);
	if (n < 0)
		return status_fail(&e, status_of(&e));
	for (int i = 0; names && i < n; i++) {
		struct rundir r;

		/* It may go while we look. */
		if (rundir_open(&r, names[i], NULL) == 0) {
			json_t *j = vm_describe(&r);

			(void)json_array_append_new(rows, j);
		}
		rundir_close(&r);
	}
	if (!daemon_remote())
		add_managed(rows);
	add_uptime(rows);
	if (show_filter(rows, &o.filter, ls_columns, &e) < 0)
		return status_fail(&e, STATUS_USAGE);
	for (size_t i = 0; o.format == SHOW_TABLE && i < json_array_size(rows); i++)
		vm_humanise(json_array_get(rows, i));
	n = o.quiet ? show_names(rows, "name", stdout) :
		      show_rows(rows, ls_columns, (enum show_format)o.format, stdout);
	return n < 0 ? STATUS_RUNTIME : STATUS_OK;
}

/* ---- info ---- */

static const struct opt_def info_table[] = {VM_OPT_FORMAT, VM_OPT_END};

void vm_info_options(FILE *f)
{
	opt_print_help(info_table, ARRAY_SIZE(info_table), f);
}

/* The layers of a sandbox: {"seccomp":"on",..}. */
static json_t *layers_text(const json_t *layers)
{
	json_t *all = json_object();
	const json_t *l;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)layers, i, l)
	{
		const char *name = json_string_value(json_object_get(l, "layer"));
		const char *note = json_string_value(json_object_get(l, "note"));
		bool on = json_is_true(json_object_get(l, "on")), more = note && *note;

		if (name)
			json_object_set_new(all, name,
					    json_sprintf("%s%s%s%s", on ? "on" : "OFF",
							 more ? " (" : "", more ? note : "",
							 more ? ")" : ""));
	}
	return all;
}

/* How its process is locked in, and its network helpers ("sandbox-nat0", by the card). */
static void add_sandbox(const struct rundir *r, json_t *j)
{
	_autojson json_t *info = rundir_read(r, "info.json"), *answer = NULL;
	_autoclose int fd = rundir_alive(r) ? rundir_connect(r, "control", SOCK_SEQPACKET, NULL) :
					      -1;
	const char *card;
	json_t *layers;
	char key[32];

	if (fd >= 0)
		answer = ask(fd, CONTROL_INFO);
	if (!answer)
		return;
	json_object_set_new(j, "sandbox", layers_text(json_object_get(answer, "sandbox")));
	json_object_foreach(json_object_get(info, "nat"), card, layers)
	{
		snprintf(key, sizeof(key), "sandbox-nat%.8s", card);
		json_object_set_new(j, key, layers_text(layers));
	}
}

static int info_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *j = vm_describe(r);

	if (!j)
		return err_set(e, ENOMEM, "out of memory");
	add_sandbox(r, j);
	if (o->format == SHOW_TABLE)
		vm_humanise(j);
	if (show_object(j, (enum show_format)o->format, stdout) < 0)
		*status = STATUS_RUNTIME;
	return 0;
}

/* With what lodged is to do with it; also when it never ran. */
static int info_managed(const char *name, const struct vm_options *o, struct err *e)
{
	_autojson json_t *j = NULL, *def = NULL;
	struct rundir r;
	char path[96];
	int got;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	got = daemon_call("GET", path, NULL, &def, e);
	if (got != 200)
		return daemon_refused(got, e);
	if (rundir_open(&r, name, NULL) == 0) {
		j = vm_describe(&r);
		if (j)
			add_sandbox(&r, j);
	} else {
		j = json_pack("{s:s, s:O}", "name", name, "state", json_object_get(def, "state"));
	}
	rundir_close(&r);
	if (!j)
		return err_set(e, ENOMEM, "out of memory");
	json_object_del(def, "config"); /* it is there already */
	json_object_set(j, "lodged", def);
	if (o->format == SHOW_TABLE)
		vm_humanise(j);
	return show_object(j, (enum show_format)o->format, stdout) < 0 ?
		       err_set(e, EIO, "cannot write what is known of \"%s\"", name) :
		       0;
}

static int info_remote(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *j = remote_describe(name, e);

	if (!j)
		return -e->code;
	if (o->format == SHOW_TABLE)
		vm_humanise(j);
	if (show_object(j, (enum show_format)o->format, stdout) < 0)
		*status = STATUS_RUNTIME;
	return 0;
}

int vm_info(int argc, char **argv)
{
	static const struct vm_verb verb = {info_table, ARRAY_SIZE(info_table), vm_info,    false,
					    info_one,	info_managed,		info_remote};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}
