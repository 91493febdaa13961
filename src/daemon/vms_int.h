/* SPDX-License-Identifier: Apache-2.0 */
/* vms_int.h - what vms.c (definitions, what runs), vmlist.c (what is told of them), vmadmit.c (what the host can carry) and vmop.c (operations) share. */
#ifndef LODGE_DAEMON_VMS_INT_H
#define LODGE_DAEMON_VMS_INT_H

#include "daemon/vms.h"
#include "proto/rundir.h"

struct op {
	struct op *next;
	struct vms *vms;
	struct vm *vm;
	uint64_t id;
	enum vms_verb verb;
	uint64_t timeout_s;
	bool force;
	json_t *record;
	pid_t pid; /* 0: pending */
	int pidfd, said;
	struct loop_fd *w_end, *w_said;
	char text[1024]; /* the last of what the program said */
	size_t len;
	bool cancelled;
	bool undone;   /* a start that was cancelled: what may have come up is being stopped */
	bool starting; /* its program is `lodge run`, else `lodge stop` */
};

struct vm {
	struct vm *next;
	struct vms *vms;
	char name[CONFIG_NAME_MAX + 1];
	json_t *def;
	struct rundir run; /* dir -1: it does not run */
	int keeper;	   /* pidfd of what runs; -1: nothing */
	json_t *info;	   /* of what runs, as its keeper wrote it, once it has; NULL */
	struct loop_fd *w_keeper;
	struct loop_timer again; /* a restart, or another look */
	bool look;		 /* what `again` is for */
	unsigned failures;	 /* ends in a row, soon after the start */
	uint64_t up_ns;		 /* since when it is known to run */
	struct op *op;		 /* what goes on with it */
	const char *said;	 /* the state that was told last; NULL: tell it again */
};

struct vms {
	struct loop *loop;
	struct store *store;
	const struct settings *set;
	const char *lodge;
	struct vms_calls calls;
	struct vm *all; /* by name */
	struct op *ops; /* in order of their beginning */
	struct loop_work pump;
	bool ending;
};

const char *vms_state(const struct vm *vm);
/* vmlist.c: all that is told of it, the caller's; its members may be those of the definition. */
json_t *vms_describe(struct vm *vm);
/* vmlist.c: how what ran in this folder ended, as exit.json has it, or NULL. The caller's. */
json_t *vms_last_words(const struct rundir *run);
/* vmlist.c: of exit.json, or NULL, what vms_end() says. The caller's. */
json_t *vms_end_of(const json_t *exit);
struct vm *vms_find(struct vms *v, const char *name);
const char *vms_text(const json_t *j, const char *key);
/* Tells its state, if it is another than before. */
void vms_changed(struct vm *vm);
/* Is it to run? Kept. */
int vms_want(struct vm *vm, bool running, struct err *e);
/* vmlist.c: if the run directory of what runs was made anew (rundir_again()), that one is its from now on. */
void vms_find_again(struct vm *vm);
/* Looks whether it runs, and watches it then. */
void vms_refresh(struct vm *vm);
/* vmadmit.c: 0, or -ENOSPC with numbers: the host cannot carry it beside those that run. */
int vms_admit(struct vm *vm, struct err *e);

/* unit.c */
struct unit_words {
	const char *argv[8]; /* for systemctl(1) */
	char unit[CONFIG_NAME_MAX + 80];
};

/* Are VMs started by systemd? */
bool unit_used(void);
void unit_words(struct unit_words *w, const char *verb, const char *name);
/* Leaves for the unit of `name` what it is to run: argv, which is lodge's, in `folder`. */
int unit_tell(const char *name, const char *folder, const char *lodge, const char *const argv[],
	      struct err *e);
/* Nothing is left of that. */
void unit_forget(const char *name);
/* What it said at the end, without a line break; its length. */
size_t unit_said(const char *name, char *text, size_t size);

/* vmop.c */
int op_begin(struct vm *vm, enum vms_verb verb, uint64_t timeout_s, bool force, uint64_t *id,
	     struct err *e);
void op_pump(void *vms);
/* Lets go of all without ending what they started. */
void op_drop_all(struct vms *v);

#endif
