/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - `lodge host info`: what this host has, in a form for programs; `lodge doctor` says whether it is well. */
#include "cli/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/guestio.h"
#include "cli/vm.h"
#include "keeper/probekeep.h"
#include "util/procfile.h"

void host_vms(struct host_vms *out)
{
	_autofree char **names = NULL;
	int n = rundir_list(&names, NULL);

	*out = (struct host_vms){0};
	for (int i = 0; i < n; i++) {
		struct rundir r;

		if (rundir_open(&r, names[i], NULL) == 0 && rundir_alive(&r)) {
			_autojson json_t *info = rundir_read(&r, "info.json");
			const json_t *config = json_object_get(info, "config");

			out->memory +=
				(uint64_t)json_integer_value(json_object_get(config, "memory"));
			out->cpus += (uint64_t)json_integer_value(json_object_get(config, "cpus"));
			out->n++;
		}
		rundir_close(&r);
	}
}

/* "MemAvailable:  123 kB" */
static uint64_t meminfo(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) * KIB : 0;
}

void host_memory(uint64_t *total, uint64_t *available)
{
	char text[8192];

	(void)procfile_read("/proc/meminfo", text, sizeof(text));
	*total = meminfo(text, "MemTotal:");
	*available = meminfo(text, "MemAvailable:");
}

/* ---- the command ---- */

static const struct opt_def table[] = {
	VM_OPT_FORMAT,
	{"frames", 0, OPT_FLAG, VM_AT(frames), "", NULL, 0, 0, NULL}, /* by lodged */
	VM_OPT_END,
};

void cli_host_options(FILE *f)
{
	fprintf(f, "  info         processors, memory, engines, VMs that run, lodged\n\n");
	opt_print_help(table, ARRAY_SIZE(table), f);
}

/* The engines that run VMs here; NULL: a lodged that systemd gives no devices cannot know, what it starts has them. */
static const char *engines(bool for_lodged)
{
	struct kvm_probe probe;

	(void)probekeep_get(&probekeep_here, &probe);
	if (for_lodged && probe.result == KVM_PROBE_ABSENT &&
	    access("/sys/class/misc/kvm", F_OK) == 0)
		return NULL;
	return kvm_probe_usable(&probe) ? "kvm soft" : "soft";
}

static json_t *describe(bool for_lodged)
{
	const char *can = engines(for_lodged);
	uint64_t total, available;
	struct utsname un = {0};
	struct host_vms vms;
	json_t *j;

	(void)uname(&un);
	host_memory(&total, &available);
	host_vms(&vms);
	j = json_pack("{s:s, s:s, s:i, s:o, s:o}", "name", un.nodename, "kernel", un.release,
		      "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN), "memory", json_u64(total),
		      "available", json_u64(available));
	if (can)
		json_object_set_new(j, "engines", json_string(can));
	json_object_set_new(j, "vms",
			    json_pack("{s:i, s:o, s:o}", "running", (int)vms.n, "cpus",
				      json_u64(vms.cpus), "memory", json_u64(vms.memory)));
	return j;
}

/* This one, or that of --host. NULL: with the error. */
static json_t *find_out(struct err *e)
{
	json_t *j = NULL, *lodged = NULL;

	if (daemon_remote())
		(void)daemon_call("GET", "/1.0/host", NULL, &j, e);
	else
		j = describe(false);
	if (j && !e->code && daemon_call("GET", "/1.0", NULL, &lodged, NULL) == 200)
		json_object_set(j, "lodged", lodged);
	json_decref(lodged);
	return j;
}

int cli_host(int argc, char **argv)
{
	_autojson json_t *j = NULL;
	struct vm_options o = {0};
	struct opt_result res = {0};
	struct err e = {0};

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_host);
	if (res.n_args > 1 || (res.n_args && strcmp(res.arg[0], "info") != 0)) {
		err_set(&e, EINVAL, "lodge host has one command: info");
		err_field(&e, "command", res.arg[0]);
		return status_fail(&e, STATUS_USAGE);
	}
	j = o.frames ? describe(true) : find_out(&e);
	if (e.code)
		return status_fail(&e, status_of(&e));
	if (o.frames)
		return guestio_result(j) < 0 ? STATUS_RUNTIME : STATUS_OK;
	if (o.format == SHOW_TABLE) {
		show_as_size(j, "memory");
		show_as_size(j, "available");
		show_as_size(json_object_get(j, "vms"), "memory");
	}
	return show_object(j, (enum show_format)o.format, stdout) < 0 ? STATUS_RUNTIME : STATUS_OK;
}
