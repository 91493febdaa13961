/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a control group for the processes of one VM: what they may use of the host's memory, CPUs and process numbers.
 *
 * Made by who starts them and stays outside itself; the processes go in one by one before they exec. In three steps, so that
 * what is made can be written down before it is there, and is found by others when the maker is killed:
 *   cgroup_plan()     where it will be
 *   cgroup_make()     makes the folders and sets the limits
 *   cgroup_fini()     removes them; the processes have ended
 */
#ifndef LODGE_SANDBOX_CGROUP_H
#define LODGE_SANDBOX_CGROUP_H

#include "util/base.h"

#define CGROUP_WEIGHT_MAX 10000u
#define CGROUP_FOLDERS_MAX 3u
#define CGROUP_NOTE_SIZE 112u

struct cgroup_limits {
	uint64_t memory_bytes, tasks;
	uint64_t cpu_weight; /* 1 to CGROUP_WEIGHT_MAX, of which others have 100; 0: the same as others */
	uint64_t cpu_percent; /* of one CPU, at most; 0: no limit */
};

struct cgroup {
	bool on;
	char note[CGROUP_NOTE_SIZE]; /* what the limits are, or why there is none */
	bool v2;
	unsigned n; /* v1: folders, one a hierarchy; v2: places, of which the first that can be had is taken */
	char *folder[CGROUP_FOLDERS_MAX]; /* shorter than PATH_MAX; NULL */
	int procs[CGROUP_FOLDERS_MAX];	  /* their cgroup.procs; -1 */
};

void cgroup_init(struct cgroup *g);
/*
 * `stay`: the processes outlive who started them. Where systemd runs, the calling process first gets a scope of its own, so that
 * it, too, outlives the service or session that it is of. A group that cannot be had is noted, not an error.
 */
void cgroup_plan(struct cgroup *g, const char *name, bool stay);
void cgroup_make(struct cgroup *g, const struct cgroup_limits *l);
/*
 * The group's folder, for namespace_start(). A process that is born in a group need not be moved there, for which the kernel waits
 * until no CPU is in the middle of a fork: some ms at each start. -1: there is none (version 1).
 */
int cgroup_open(const struct cgroup *g);
/* In the child, after fork: this process goes in. Only async-signal-safe calls. False: it could not. */
bool cgroup_enter(const struct cgroup *g);
/* Was a process in it ended because they had used up their memory? */
bool cgroup_out_of_memory(const struct cgroup *g);
/* Also twice. */
void cgroup_fini(struct cgroup *g);

/* scope.c: moves the calling process into a scope of its own, below the service manager. 0; -ENOENT: there is none. */
int scope_enter(const char *unit, const char *description);

#endif
