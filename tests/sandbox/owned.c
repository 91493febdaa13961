/* SPDX-License-Identifier: Apache-2.0 */
/* owned.c - what a taken-over VM process does: one system call, one escape, or nothing. See owned.h. */
#include "sandbox/owned.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool owned_without_filter(const struct vm_config *c)
{
	owned_before();
	return !strncmp(c->name, "bare-", 5);
}

static void make_call(long number, long kind)
{
	static char page[4096];
	const long a = kind == 0 ? 0 : kind == 1 ? -1 : (long)(uintptr_t)page;

	(void)syscall(number, a, a, a, a, a, a);
}

void owned_try(const struct vm_config *c, const struct config_fds *fds, int control_fd)
{
	struct owned_targets t = {.fds = fds, .control_fd = control_fd};
	const char *dash = strchr(c->name, '-');
	unsigned long n = dash ? strtoul(dash + 1, NULL, 10) : 0;

	if (!strcmp(c->name, "idle"))
		for (;;)
			(void)poll(NULL, 0, -1);
	if (!strncmp(c->name, "sys-", 4)) {
		make_call((long)n, strtol(strrchr(c->name, '-') + 1, NULL, 10));
		_exit(OWNED_RETURNED);
	}
	if (sscanf(c->cmdline, "%199s %d %d %u", t.folder, &t.sibling, &t.driver, &t.port) != 4 ||
	    n >= owned_n_escapes)
		_exit(1);
	_exit(owned_escapes[n].try(&t) ? OWNED_ESCAPED : OWNED_RETURNED);
}
