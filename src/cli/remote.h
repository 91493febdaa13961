/* SPDX-License-Identifier: Apache-2.0 */
/* remote.h - what commands do with VMs of another host (`lodge --host`), beyond what every command for VMs has (vm.h). */
#ifndef LODGE_CLI_REMOTE_H
#define LODGE_CLI_REMOTE_H

#include "cli/guestio.h"
#include "util/json.h"

/* A command that is not for VMs of another host: "doctor". -EINVAL. */
int remote_none(const char *command, struct err *e);

/* remote_guest.c. `lodge exec`: the exit status. */
int remote_exec(const char *name, char *const argv[], bool input, uint64_t timeout_s,
		uint64_t wait_s);
/* As guestfile_put() and guestfile_get(). */
int remote_put(const char *name, uint64_t wait_s, const char *path, mode_t mode,
	       const struct guestio *from, struct err *e);
int remote_get(const char *name, uint64_t wait_s, const char *path, const struct guestio *to,
	       struct err *e);

/* `lodge guest`: *result is the caller's, or NULL. 0 or -errno. */
int remote_guest(const char *name, const char *command, uint64_t wait_s, json_t **result,
		 struct err *e);

/* remote_run.c. `lodge run --detach`, whose words these are: the exit status. */
int remote_run(int argc, char **argv, const char *name);

/* remote_ctl.c. `lodge ctl`: what is wanted, as far as there is something. */
struct remote_ctl {
	const char *vm, *command;
	const char *verb, *word; /* "add", and what is added */
	const json_t *request;	 /* of disk and net: as for the control socket */
	bool force, has_size;
	uint64_t size; /* balloon */
};
/* *result is the caller's, or NULL. -errno: for status_of(). */
int remote_ctl(const struct remote_ctl *c, json_t **result, struct err *e);

#endif
