/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owned.h - a VM process that an intruder has taken over. For tests: main.c of src/vm/ is built a second time with LODGE_OWNED,
 * and does here what the name of its VM says, after it has locked itself in.
 *
 *   sys-N-V    makes system call number N, with arguments of kind V
 *   esc-N      tries escape N of owned_escapes
 *   bare-N     the same without the filter of system calls: what do the other layers stop?
 *   idle       waits until it is killed: a sibling
 *
 * The exit status says how it went, if the process lives to tell.
 */
#ifndef LODGE_TESTS_SANDBOX_OWNED_H
#define LODGE_TESTS_SANDBOX_OWNED_H

#include "proto/config.h"

#define OWNED_RETURNED 42 /* the system call returned; the escape was refused */
#define OWNED_ESCAPED 43

/* Where the intruder would like to get; the VM's command line, "folder sibling driver port". */
struct owned_targets {
	char folder[200]; /* with "disk" of the sibling, "secret", the unix socket "daemon"; also the abstract socket of its path */
	int sibling, driver; /* process ids, as the host sees them */
	unsigned port;	     /* of 127.0.0.1 */
	const struct config_fds *fds;
	int control_fd;
};

struct owned_escape {
	const char *name;
	bool (*try)(const struct owned_targets *t); /* true: it worked */
	bool filter_only; /* nothing else stops it, or it harms nobody by itself */
};
extern const struct owned_escape owned_escapes[];
extern const unsigned owned_n_escapes;

/* ring.c; before the process locks itself in, and afterwards. */
void owned_before(void);
bool owned_ring_beyond(const struct owned_targets *t);
bool owned_ring_register(const struct owned_targets *t);

/* Called by main.c. */
bool owned_without_filter(const struct vm_config *c);
void owned_try(const struct vm_config *c, const struct config_fds *fds, int control_fd);

#endif
