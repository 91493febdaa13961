/* SPDX-License-Identifier: Apache-2.0 */
/* attach.h - the keeper: lives with the VM until it ends. */
#ifndef LODGE_KEEPER_ATTACH_H
#define LODGE_KEEPER_ATTACH_H

#include <sys/types.h>

#include "proto/config.h"
#include "proto/rundir.h"

struct cgroup;
struct detach;
struct run_disks;

struct attach_options {
	struct rundir *run;    /* its lock is held; NULL: there is none */
	const json_t *info;    /* for info.json, when the VM runs */
	struct detach *detach; /* NULL: on this terminal */
	pid_t pid;
	int control;	    /* owned by attach */
	int opener;	    /* our end for the guest's vsock connections, owned; if `vsock` */
	const char *vsock;  /* the path that they begin with; NULL: there are none */
	int console;	    /* our end of the console stream, owned; -1: none */
	uint64_t timeout_s; /* 0: none */
	bool restored;	    /* it goes on: its clock is behind */
	bool quiet;
	const struct cgroup *group; /* that its process is in; NULL: none */
	struct run_disks *disks;    /* files of disks that are removed are let go */
};

/* From here on signals that end us wait for attach_run(): an end in the middle of a start leaves
 * nothing behind. */
void attach_hold_signals(void);
/* Returns the exit status. Terminal and process are cleaned up. */
int attach_run(const struct attach_options *o);

#endif
