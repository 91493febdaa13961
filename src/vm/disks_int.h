/* SPDX-License-Identifier: Apache-2.0 */
/* disks_int.h - inside of the disks of a machine, for disks*.c only. */
#ifndef LODGE_VM_DISKS_INT_H
#define LODGE_VM_DISKS_INT_H

#include "util/log.h"
#include "vm/disks.h"

struct disk {
	struct disks *disks;
	struct config_disk cfg;
	int fd;		/* of its file, borrowed; -1: taken away */
	int overlay_fd; /* of what is written to a throw-away disk, likewise */
	struct blk *blk;
	struct log_limit events; /* of errors that go to the guest */
	int error;		 /* the last one, a positive errno; 0: none yet */
};

struct disks {
	struct loop *loop;
	const struct disks_owner *owner;
	struct loop_work pause;
	unsigned n;
	struct disk *disk[CONFIG_DISKS_MAX];
};

#endif
