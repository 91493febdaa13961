/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.h - the last layer: which system calls a process may still make.
 *
 * The filter of a program is made by scripts/seccomp-filter from the comments that stand beside the code that makes the calls.
 */
#ifndef LODGE_SANDBOX_SECCOMP_H
#define LODGE_SANDBOX_SECCOMP_H

#include <linux/filter.h>

#include "util/base.h"

/* Constants of a filter that are put in when it is installed: the process's own id, and what happens to a refused call. */
#define SANDBOX_SELF 0x5e1f5e1fu
#define SANDBOX_REFUSE 0x5e1f0badu

struct sandbox_filter {
	const struct sock_filter *code;
	unsigned n;
};

/* For ever, for this thread and those that it starts. `trap`: a refused call is named on stderr before the process ends, by a
 * handler in the process itself; otherwise the kernel ends it at once. 0 or -errno. */
int seccomp_install(const struct sandbox_filter *f, bool trap);

#endif
