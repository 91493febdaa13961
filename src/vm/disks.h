/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks.h - the disks of a machine: made of its configuration, they outlive its resets. Loop thread only, VM lock not held.
 */
#ifndef LODGE_VM_DISKS_H
#define LODGE_VM_DISKS_H

#include "blk/blk.h"
#include "proto/control.h"
#include "state/state.h"

struct disks;

struct disks_owner {
	void *ctx;
	/* As machine_owner's. */
	void (*event)(void *ctx, enum control_event ev, json_t *details);
	/* A disk cannot go on: the VM is to be paused. By a post, so it may do so at once. */
	void (*pause)(void *ctx);
};

/* Everything is borrowed for life. */
int disks_create(struct disks **out, struct loop *l, const struct vm_config *c,
		 const struct config_fds *fds, const struct disks_owner *owner, struct err *e);
/* No device uses them any more. Accepts NULL. */
void disks_destroy(struct disks *d);
/*
 * A machine with disks as saved state: what a disk's file was like. Saving, nothing is in flight (devices are paused), and all that was
 * written is flushed. Loading refuses a file that was written since, unless the configuration allows it.
 */
void disks_state(struct disks *d, struct state *s);
/*
 * What was written to throw-away disks: how much it is, by what disks_state() saved or loaded; and its way to the file of the saved state,
 * or from there, at `offset`.
 */
uint64_t disks_overlay_bytes(struct disks *d);
int disks_overlay_copy(struct disks *d, bool load, int fd, uint64_t offset, struct err *e);
/* One more, as the last; the descriptors are borrowed until it is removed. */
int disks_add(struct disks *d, const struct config_disk *c, int fd, int overlay_fd, struct err *e);
/* No device uses it any more. Those behind it move up. */
void disks_remove(struct disks *d, unsigned i);
/* Its file is taken away from under the device, which sees errors from now on; the descriptors are not used any more. */
int disks_eject(struct disks *d, unsigned i, struct err *e);
bool disks_ejected(const struct disks *d, unsigned i);
struct blk *disks_get(struct disks *d, unsigned i);

/* Which one has this name: its number, or -ENODEV. */
int disks_find(const struct disks *d, const char *id, struct err *e);
/* The control command of this name. */
int disks_grow(struct disks *d, const struct control_request *rq, json_t **result, struct err *e);
/* What they are, for "query" and "disks": an array, or NULL when out of memory. */
json_t *disks_query(struct disks *d);

#endif
