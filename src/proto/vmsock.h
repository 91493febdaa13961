/* SPDX-License-Identifier: Apache-2.0 */
/* vmsock.h - the control socket (control.h) of a VM that is found by its name, in the run directory. */
#ifndef LODGE_PROTO_VMSOCK_H
#define LODGE_PROTO_VMSOCK_H

#include "proto/control.h"
#include "proto/rundir.h"

#define VMSOCK_ANSWER_NS (10 * UINT64_C(1000000000))

/* A control connection. -ESRCH.. with a sentence; -EBUSY: it is not running. */
int vmsock_open(const struct rundir *r, struct err *e);
/* One request and its answer; *result may be NULL. */
int vmsock_call(const struct rundir *r, enum control_cmd cmd, json_t **result, struct err *e);
/* By a path, which has a slash in it or is there, or else the name of a VM. fd or -errno. */
int vmsock_connect(const char *where, struct err *e);

#endif
