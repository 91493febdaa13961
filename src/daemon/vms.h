/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vms.h - the VMs that lodged looks after: definitions, what they do, and the operations that change that. Loop thread only.
 *
 * A definition is {"words":[...], "restart":"no|on-failure|always", "autostart":bool, "wanted":"running|stopped",
 * "revision":N}: words of `lodge run`, and what lodged is to do. An operation is
 * {"id", "verb", "vm", "state":"pending|running|done|failed|cancelled", "started_ms", "ended_ms", "error":{"id","message"}}.
 *
 * Errors have a stable id for programs, in err.field: "not-found", "exists", "running", "not-running", "busy", "revision",
 * "capacity", "bad-value", "full", "internal".
 */
#ifndef LODGE_DAEMON_VMS_H
#define LODGE_DAEMON_VMS_H

#include "daemon/settings.h"
#include "daemon/store.h"
#include "proto/rundir.h"
#include "util/loop.h"

struct vms;

struct vms_calls {
	void *ctx;
	void (*operation_changed)(void *ctx, uint64_t id);
	void (*operation_ended)(void *ctx, uint64_t id);
	/* state: "removed" when its definition is gone; also called when only the definition has changed. */
	void (*vm_changed)(void *ctx, const char *name, const char *state);
	/* What runs has ended; end: how, as in vms_end(). */
	void (*vm_ended)(void *ctx, const char *name, const json_t *end);
};

/* `lodge`: path of the program. Adopts what runs, and starts what is to. */
int vms_create(struct vms **out, struct loop *l, struct store *s, const struct settings *set,
	       const char *lodge, const struct vms_calls *calls, struct err *e);
/* The VMs go on. Accepts NULL. */
void vms_destroy(struct vms *v);

/* The names of all, in order. */
json_t *vms_names(struct vms *v);
/* Those behind `after`, in `state`, whose name is `name` or begins so with * at its end (NULL: all), `max` at most; *more: there are others. */
struct vms_page {
	const char *after, *state, *name;
	size_t max;
};
json_t *vms_list(struct vms *v, const struct vms_page *p, bool *more);
/* NULL: not found, with the error. */
json_t *vms_get(struct vms *v, const char *name, struct err *e);
uint64_t vms_revision(struct vms *v, const char *name);
/* Is its definition at this revision? 0: whichever. Also if there is none. */
int vms_check_revision(struct vms *v, const char *name, uint64_t revision, struct err *e);
/* def: {"name", "words", and what else a definition may have}; checked as the API's description says. */
int vms_define(struct vms *v, const json_t *def, struct err *e);
/* Changes some of it; revision 0: whatever it is now. What runs is not touched. */
int vms_set(struct vms *v, const char *name, const json_t *change, uint64_t revision, struct err *e);
/* Forgets a VM that does not run, and what it left. */
int vms_remove(struct vms *v, const char *name, uint64_t revision, struct err *e);

/* How its last run has ended, {"running","status","cause","text","ended_ms"}, the caller's. NULL: with the error, also if it never ran. */
json_t *vms_end(struct vms *v, const char *name, struct err *e);

/* The run directory of one that runs; valid until the loop goes on. NULL: with the error. */
const struct rundir *vms_run(struct vms *v, const char *name, struct err *e);

/* Path of the program `lodge`. */
const char *vms_program(const struct vms *v);

enum vms_verb { VMS_START, VMS_STOP, VMS_RESTART, VMS_VERBS };
/* Begins an operation. stop, restart: timeout_s for the guest; `force`: at once. */
int vms_begin(struct vms *v, const char *name, enum vms_verb verb, uint64_t timeout_s, bool force,
	      uint64_t *id, struct err *e);
/* Does it still go on? */
bool vms_operation_open(struct vms *v, uint64_t id);
int vms_cancel(struct vms *v, uint64_t id, struct err *e);

#endif
