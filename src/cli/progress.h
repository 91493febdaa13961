/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - that something goes on, on standard error. On a terminal: one line that is written over, and gone at the end. Elsewhere a
 * line of its own, and only of what takes long: whoever reads that later wants to know where the time went, not that there was some.
 */
#ifndef LODGE_CLI_PROGRESS_H
#define LODGE_CLI_PROGRESS_H

#include "util/base.h"

#define PROGRESS_PLAIN_S 10u /* where there is no terminal */

/* Is there a terminal to write over? */
bool progress_live(void);
void progress_show(const char *fmt, ...) PRINTF_FORMAT(1, 2);
/* Before anything else is printed, and at the end. */
void progress_clear(void);

#endif
