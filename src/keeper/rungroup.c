/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rungroup.c - the control group of a VM (sandbox/cgroup.h): how large it is, and that it is found again.
 *
 * The group holds lodge-vm and its helpers, not the keeper. Its folders are named in the run directory before they are made: who
 * removes that, or starts the next VM of the name, removes what a killed keeper left of them.
 *
 * Memory, above the guest's own: a fixed part for the programs, their buffers and the kernel's, code of the software engine with what it knows about
 * it, and 1/32 for page tables on both sides and for what is kept of each page of the guest. docs/security.md has what was measured.
 */
#include <errno.h>

#include "keeper/run.h"
#include "sandbox/cgroup.h"
#include "util/fault.h"

#define MEMORY_FIXED (128 * MIB)
#define MEMORY_SHARE (64 * MIB) /* a file server */
#define MEMORY_PART 32u

#define TASKS_FIXED 256u
#define TASKS_DISK 32u
#define TASKS_NET 8u
#define TASKS_SHARE 128u

static struct cgroup_limits rungroup_limits(const struct run_options *o, const struct vm_config *c)
{
	struct cgroup_limits l = {.memory_bytes = c->memory_bytes + c->memory_bytes / MEMORY_PART +
						  MEMORY_FIXED + c->n_shares * MEMORY_SHARE,
				  .tasks = TASKS_FIXED + c->cpus + TASKS_DISK * c->n_disks +
					   TASKS_NET * c->n_nets + TASKS_SHARE * c->n_shares,
				  .cpu_weight = o->cpu_weight,
				  .cpu_percent = o->cpu_quota};

	if (c->engine == CONFIG_ENGINE_SOFT)
		l.memory_bytes += 2 * c->soft_cache_bytes;
	return l;
}

int rungroup_record(const struct cgroup *g, const struct rundir *run, struct err *e)
{
	_autojson json_t *j = json_pack("{s:[]}", RUNDIR_FOLDERS);

	for (unsigned i = 0; i < g->n; i++)
		(void)json_array_append_new(json_object_get(j, RUNDIR_FOLDERS),
					    json_string(g->folder[i]));
	return rundir_write(run, RUNDIR_FOLDERS_FILE, j, e);
}

int rungroup_open(struct cgroup *g, const struct run_options *o, const struct vm_config *c,
		  const struct rundir *run, struct err *e)
{
	const struct cgroup_limits l = rungroup_limits(o, c);
	const char *option = o->cpu_quota ? "--cpu-quota" : o->cpu_weight ? "--cpu-weight" : NULL;
	int r = 0;

	cgroup_init(g);
	if (c->sandbox != CONFIG_SANDBOX_OFF || option) {
		cgroup_plan(g, run->name, o->detach);
		r = g->n ? rungroup_record(g, run, e) : 0;
		if (r == 0)
			r = fault_point("group-make", e);
		if (r < 0)
			return r;
		cgroup_make(g, &l);
		(void)fault_point("group-made", NULL);
	}
	launch_into(g);
	if (g->on || !option)
		return 0;
	err_set(e, EPERM, "%s needs a control group: %s", option, g->note);
	err_field(e, option, NULL);
	return err_hint(e, "docs/security.md says what one needs");
}

void rungroup_close(struct cgroup *g)
{
	launch_into(NULL);
	cgroup_fini(g);
}
