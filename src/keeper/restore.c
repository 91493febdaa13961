/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restore.c - `lodge run --restore FILE`: the configuration out of a saved machine.
 *
 * The files of disks and what is behind network cards are given again: lodge-vm never had their names, and a name out of a file
 * that the VM wrote would open for it whatever this user may open.
 *
 * What the guest sees comes from the file, what is the host's business (engine, console, names, policies) from the options, and
 * where there is none of these, from the file too. Only the head and the sections of the file are looked at here, by the
 * same reader that lodge-vm has; lodge-vm looks at them again, and at the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/run.h"
#include "state/state_file.h"

static int restore_read(int fd, struct vm_config *saved, struct err *e)
{
	_autojson json_t *j = NULL;
	struct state_file f;
	char *text = NULL;
	int r = state_file_open(&f, fd, e);

	if (r == 0) {
		text = state_file_config(&f, e);
		r = text ? 0 : -EINVAL;
	}
	state_file_fini(&f);
	if (r == 0) {
		j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		r = config_from_json(j, saved, e);
	}
	free(text);
	return r;
}

int restore_config(struct run_options *o, struct vm_config *c, int *fd, struct err *e)
{
	const struct vm_config given = *c;
	char shown[160], why[sizeof(e->msg)];
	struct err inner = {0};
	uint64_t size;
	int r;

	*fd = runfile_open(o->restore, "saved state", "--restore", &size, e);
	if (*fd < 0)
		return *fd;
	r = restore_read(*fd, c, &inner);
	if (r < 0) {
		base_close_fd(fd);
		memcpy(why, inner.msg, sizeof(why));
		err_set(e, inner.code, "cannot restore \"%s\": %s",
			err_quote(shown, sizeof(shown), o->restore), why);
		return err_field(e, "--restore", o->restore);
	}
	if (o->given.name)
		memcpy(c->name, given.name, sizeof(c->name));
	if (o->given.no_reboot)
		c->no_reboot = given.no_reboot;
	if (o->given.on_crash)
		c->on_crash = given.on_crash;
	if (o->given.soft_mode)
		c->soft_mode = given.soft_mode;
	if (o->given.kvm_pit)
		c->kvm_pit = given.kvm_pit;
	if (o->given.soft_cache)
		c->soft_cache_bytes = given.soft_cache_bytes;
	c->soft_trace = given.soft_trace;
	c->soft_trace_address = given.soft_trace_address;
	c->soft_perf_map = given.soft_perf_map;
	c->console = given.console;
	c->sandbox = given.sandbox;
	c->memory_huge = given.memory_huge;
	r = rundisk_restore(&o->disk, c, &o->disks, e);
	if (!r)
		r = runnet_restore(&o->net, &o->publish, c, &o->nets, e);
	if (r)
		base_close_fd(fd);
	return r;
}
