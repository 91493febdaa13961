/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what the commands share that talk to a guest's agent: exec, cp, guest.
 */
#ifndef LODGE_KEEPER_GUEST_H
#define LODGE_KEEPER_GUEST_H

#include "proto/agent.h"

#define GUEST_WAIT_S 5u		  /* for an agent that is not there yet, or busy */
#define GUEST_CALL_S UINT64_C(60) /* for one answer */

/*
 * The agent of a VM, by its name or the path of its control socket. Tries until the deadline: while the guest has none
 * yet, and while another client talks to it. a is initialised. -ETIMEDOUT with a sentence that says what is missing.
 */
int guest_connect(const char *vm, uint64_t deadline_ns, struct agent *a, struct err *e);
/* Deadline of one answer. */
uint64_t guest_call_deadline(void);
/* Sets the clock of a guest that stood still, if it has an agent just now, in a process of its own: says nothing, does not
 * wait. */
void guest_renew_time(const char *vm);
/* The whole of it to a file; 0 or -errno. */
int guest_write_all(int fd, const void *data, size_t len);

#endif
