/* SPDX-License-Identifier: Apache-2.0 */
/* child.c - see child.h. */
#include "daemon/child.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void child_exec(const char *program, const char *const argv[], const char *folder,
			  bool direct, const int fds[3])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	close_range(3, ~0u, 0);
	if (chdir(folder) < 0) {
		dprintf(STDERR_FILENO, "lodge: cannot go to the folder \"%s\"\n", folder);
		_exit(1);
	}
	unsetenv("NOTIFY_SOCKET");
	if (direct)
		setenv("LODGE_DIRECT", "1", 1);
	execvp(program, (char *const *)(uintptr_t)argv);
	_exit(127);
}
