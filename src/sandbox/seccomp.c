/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.c - installs a filter of system calls.
 *
 * A refused call ends the process: the kernel kills it with SIGSYS, and who started it says so. Only the kernel's audit log has the
 * number then. With `trap` the call is not made either, but the process gets the signal and says itself which call it was; code that is in
 * the hands of an attacker could go on from there, so this is for finding out what a filter lacks.
 */
#include "sandbox/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

/* What the C library itself calls, in any program of ours:
 * seccomp vm nat: brk, mremap, munmap, madvise - malloc() and free()
 * seccomp vm nat: mmap arg2&PROT_EXEC=0, mprotect arg2&PROT_EXEC=0
 * seccomp vm nat: futex, rseq, set_robust_list, sched_getaffinity, getrandom - threads, locks, arenas and keys of malloc()
 * seccomp vm nat: clone arg0=CLONE_FOR_THREAD, clone3 errno=ENOSYS - a thread; the flags of clone3 cannot be seen from here
 * seccomp vm nat: sysinfo - qsort()
 * seccomp vm nat: exit, exit_group, restart_syscall, rt_sigreturn, rt_sigprocmask
 * seccomp vm nat: getpid, gettid, tgkill arg0=SELF - abort(), pthread_kill()
 * seccomp vm nat: newfstatat arg3=AT_EMPTY_PATH - fstat(), in newer C libraries
 */

/* The process ends here whatever happens: this is the debugging mode. */
static void refused(int sig, siginfo_t *info, void *context)
{
	const greg_t *reg = ((const ucontext_t *)context)->uc_mcontext.gregs;
	char line[200];
	int n = snprintf(
		line, sizeof(line),
		"the sandbox refused system call number %d (%#llx, %#llx, %#llx, %#llx): it stands so in no seccomp comment of this program\n",
		info->si_syscall, (unsigned long long)reg[REG_RDI], (unsigned long long)reg[REG_RSI],
		(unsigned long long)reg[REG_RDX], (unsigned long long)reg[REG_R10]);

	(void)sig;
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	_exit(128 + SIGSYS);
}

#ifdef __SANITIZE_ADDRESS__
#define ALWAYS_TRAP true /* a build for tests: what it lacks shall be seen at once */

/* What the sanitizers' run-time library calls on top: at the start and end of threads, and for a report, which it has to make without the names
 * of places in the source (they come from a program that it would start).
 * seccomp asan: sigaltstack, prlimit64 arg2=NULL, getuid, getppid, rt_sigaction, sched_yield, nanosleep, clock_nanosleep
 * seccomp asan: tgkill arg0=SELF, prctl arg0=PR_SET_NAME/PR_GET_NAME
 * seccomp asan: openat errno=EACCES, readlink errno=EACCES, newfstatat errno=EACCES, pipe errno=EMFILE, fork errno=EAGAIN
 * seccomp asan: pipe2 errno=EMFILE
 */

static bool sealed;

/* Asked by the leak checker at the end: it wants a thread of its own that traces the others, which a sealed process may not have. Leaks are
 * looked for with --sandbox off, and by the unit tests. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return sealed;
}
#else
#define ALWAYS_TRAP false
#endif

int seccomp_install(const struct sandbox_filter *f, bool trap)
{
	struct sigaction sa = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
	_autofree struct sock_filter *code = malloc(f->n * sizeof(*code));
	struct sock_fprog prog = {.len = (unsigned short)f->n, .filter = code};
	uint32_t self = (uint32_t)getpid();

	trap |= ALWAYS_TRAP;
	if (!code)
		return -ENOMEM;
	memcpy(code, f->code, f->n * sizeof(*code));
	for (unsigned i = 0; i < f->n; i++) {
		if (BPF_CLASS(code[i].code) == BPF_RET && code[i].k == SANDBOX_REFUSE)
			code[i].k = trap ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS;
		else if (BPF_CLASS(code[i].code) == BPF_JMP && code[i].k == SANDBOX_SELF)
			code[i].k = self;
	}
	if (trap)
		sigaction(SIGSYS, &sa, NULL);
		/* Needs no_new_privs, or the right to do without. */
#ifdef __SANITIZE_ADDRESS__
	sealed = true;
#endif
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0 ? -errno : 0;
}
