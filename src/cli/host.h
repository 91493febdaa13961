/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - what this host has, and what the VMs that run here were given, for `lodge host` and `lodge doctor`. */
#ifndef LODGE_CLI_HOST_H
#define LODGE_CLI_HOST_H

#include "util/base.h"

struct host_vms {
	unsigned n; /* that live */
	uint64_t memory, cpus;
};

/* Of this user's run directory. */
void host_vms(struct host_vms *out);
/* Bytes; proc(5), meminfo. */
void host_memory(uint64_t *total, uint64_t *available);

#endif
