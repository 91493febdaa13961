/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmlist.c - what is told of VMs: one, or a page of them.
 *
 * A page costs what is on it: VMs before and behind it are not looked at. Of one that runs its keeper's file is read once, when it has run
 * for SETTLED_NS: before, the file may be that of the run before, or not be there yet.
 */
#include <errno.h>
#include <string.h>

#include "daemon/vms_int.h"
#include "util/clock.h"

#define SETTLED_NS (5 * CLOCK_NS_PER_S)

void vms_find_again(struct vm *vm)
{
	_autojson json_t *is = NULL, *was = NULL;
	struct rundir run;

	if (!rundir_stale(&vm->run))
		return;
	if (rundir_open(&run, vm->name, NULL) == 0) {
		is = rundir_last_words(&run); /* of one that lives: its process */
		was = rundir_last_words(&vm->run);
	}
	if (is && was && json_equal(is, was)) {
		rundir_close(&vm->run);
		vm->run = run;
	} else {
		rundir_close(&run);
	}
}

json_t *vms_last_words(const struct rundir *run)
{
	json_t *j = rundir_read(run, "exit.json");

	if (j)
		return j;
	/* The folder was removed: the lock says the same, or only who had it. */
	j = rundir_last_words(run);
	if (json_object_get(j, "status"))
		return j;
	json_decref(j);
	return NULL;
}

static void look(struct vm *vm)
{
	/* It may have come up without us: by a program of a lodged that was killed, or of somebody's. Or `lodge wait` knows of its end already. */
	if (!vm->op)
		vms_refresh(vm);
	if (vm->keeper >= 0)
		vms_find_again(vm);
}

/* The caller's; NULL: there is none. */
static json_t *info_of(struct vm *vm)
{
	json_t *info;

	if (vm->keeper < 0 || vm->info)
		return vm->keeper < 0 ? NULL : json_incref(vm->info);
	info = rundir_read(&vm->run, "info.json");
	if (info && clock_ns() - vm->up_ns > SETTLED_NS)
		vm->info = json_incref(info);
	return info;
}

json_t *vms_describe(struct vm *vm)
{
	static const char *const of_info[] = {"started_ms", "keeper", "config"};
	_autojson json_t *info = NULL;
	json_t *j;

	look(vm);
	info = info_of(vm);
	j = json_copy(vm->def);
	json_object_set_new(j, "name", json_string(vm->name));
	json_object_set_new(j, "state", json_string(vms_state(vm)));
	if (vm->op)
		json_object_set_new(j, "operation", json_u64(vm->op->id));
	for (unsigned i = 0; info && i < ARRAY_SIZE(of_info); i++)
		json_object_set(j, of_info[i], json_object_get(info, of_info[i]));
	return j;
}

json_t *vms_end_of(const json_t *exit)
{
	static const char *const keys[] = {"status", "cause", "text", "ended_ms"};
	json_t *j = json_pack("{s:b}", "running", 0);

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		json_object_set(j, keys[i], json_object_get(exit, keys[i]));
	return j;
}

json_t *vms_end(struct vms *v, const char *name, struct err *e)
{
	_autojson json_t *exit = NULL, *there = vms_get(v, name, e);
	struct vm *vm = there ? vms_find(v, name) : NULL;
	struct rundir run;

	if (!vm)
		return NULL;
	if (vm->keeper >= 0 || (vm->op && vm->op->starting))
		return json_pack("{s:b}", "running", 1);
	if (rundir_open(&run, name, NULL) == 0)
		exit = rundir_read(&run, "exit.json");
	else
		err_set(e, EBUSY, "\"%s\" has not run yet: `lodge start %s` starts it", name, name);
	rundir_close(&run);
	if (!e->code)
		return vms_end_of(exit);
	err_field(e, "not-running", NULL);
	return NULL;
}

json_t *vms_names(struct vms *v)
{
	json_t *list = json_array();

	for (const struct vm *vm = v->all; vm; vm = vm->next)
		(void)json_array_append_new(list, json_string(vm->name));
	return list;
}

/* "web", or "web*" for all that begin so. */
static bool name_fits(const char *name, const char *pattern)
{
	size_t n = strlen(pattern);

	return n && pattern[n - 1] == '*' ? !strncmp(name, pattern, n - 1) : !strcmp(name, pattern);
}

json_t *vms_list(struct vms *v, const struct vms_page *p, bool *more)
{
	json_t *list = json_array();

	*more = false;
	for (struct vm *vm = v->all; vm; vm = vm->next) {
		if ((p->after && strcmp(vm->name, p->after) <= 0) ||
		    (p->name && !name_fits(vm->name, p->name)))
			continue;
		if (p->state) {
			look(vm);
			if (strcmp(vms_state(vm), p->state) != 0)
				continue;
		}
		*more = json_array_size(list) == p->max;
		if (*more)
			break;
		(void)json_array_append_new(list, vms_describe(vm));
	}
	return list;
}
