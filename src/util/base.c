/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.c - scope cleanup, and the end of the line for our own bugs.
 */
#include "util/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void base_free_ptr(void *pp)
{
	void **p = pp;

	free(*p);
	*p = NULL;
}

/* seccomp vm nat: close */
void base_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void base_assert_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "lodge: bug: %s:%d: %s does not hold\n", file, line, cond);
	abort();
}
