/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - a build for tests fails or dies where it is told to (fault.h). */
#include "util/fault.h"

#ifdef __SANITIZE_ADDRESS__
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fault_point(const char *name, struct err *e)
{
	const char *wanted = getenv("LODGE_FAULT");
	size_t len = strlen(name);

	if (!wanted || strncmp(wanted, name, len) != 0 || wanted[len] != ':')
		return 0;
	if (!strcmp(wanted + len + 1, "crash"))
		kill(getpid(), SIGKILL);
	return err_set(e, EIO, "a fault at \"%s\" was asked for", name);
}
#endif
