/* SPDX-License-Identifier: Apache-2.0 */
/* launch.h - starts the VM process and its helpers. */
#ifndef LODGE_KEEPER_LAUNCH_H
#define LODGE_KEEPER_LAUNCH_H

#include <sys/types.h>

#include "proto/config.h"
#include "util/err.h"

struct cgroup;

/* Programs that are started from now on go into this group; NULL: into none. */
void launch_into(const struct cgroup *g);
/* About it, for sandbox_config.group; "": there is none. */
void launch_group_word(char *word, size_t size);

/* In a child of the process that made the group: closes all descriptors but the standard ones, `keep` and the group's. */
void launch_close_others(int keep);

/* Where a program of ours is: beside this one, or in libexec. */
int launch_find(const char *program, char *path, size_t size, struct err *e);
/* Starts it with argv and `n` descriptors (at most 2), which it finds as numbers 3 and up; they stay the caller's. `sandbox`: it
 * will lock itself in. */
int launch_program(const char *program, char *const argv[], const int *fds, unsigned n,
		   bool sandbox, pid_t *pid, struct err *e);
/* The same with any program. */
enum launch_how {
	LAUNCH_PLAIN,
	LAUNCH_SANDBOX,	 /* it will lock itself in */
	LAUNCH_OWN_USER, /* as root of a user name space that has this user only */
};
int launch_path(const char *path, char *const argv[], const int *fds, unsigned n,
		enum launch_how how, pid_t *pid, struct err *e);
/* Kills and reaps it. */
void launch_end(pid_t pid);
/* Starts it with the control socket, makes the file for --perf-map, and sends the start message. On success *control is the
 * caller's end. */
int launch_vm(const struct vm_config *c, const struct config_fds *fds, pid_t *pid, int *control,
	      struct err *e);

#endif
