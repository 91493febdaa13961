/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - for generated filters only: the words that comments about system calls may use. */
#ifndef LODGE_SANDBOX_FILTER_H
#define LODGE_SANDBOX_FILTER_H

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "sandbox/seccomp.h"

/* x86-64 is little-endian. */
#define ARG_LOW(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define ARG_HIGH(n) (ARG_LOW(n) + 4)

/* What pthread_create() asks of clone(), with and without the C library's newer habits. */
#define CLONE_FOR_THREAD                                                                    \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
	 CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* The generated file's own. */
extern const struct sandbox_filter sandbox_filter_vm, sandbox_filter_nat;

#endif
