/* SPDX-License-Identifier: Apache-2.0 */
/* child.h - how a program that lodged runs begins. */
#ifndef LODGE_DAEMON_CHILD_H
#define LODGE_DAEMON_CHILD_H

#include <stdbool.h>

/*
 * Of a process that was just forked: becomes `program` (found in the path if it has no slash) in `folder`, with these descriptors as
 * its standard ones and no others, in a session of its own. `direct`: what it does as a `lodge` is for us, not by us.
 */
_Noreturn void child_exec(const char *program, const char *const argv[], const char *folder,
			  bool direct, const int fds[3]);

#endif
