/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - a process locks itself in.
 *
 * In two steps, by a process that has one thread and its open files:
 *   1. sandbox_isolate(): limits, namespaces, an empty file system, a user of its own, no capabilities, no new privileges, Landlock.
 *   2. sandbox_seal(): the filter of system calls. After this nothing can be opened or started any more.
 * What a host does not offer is left out and said why; whoever needs all of it looks at sandbox_missing().
 *
 * A PID namespace can only be given to a child: so who starts the process does that by namespace_start().
 */
#ifndef LODGE_SANDBOX_SANDBOX_H
#define LODGE_SANDBOX_SANDBOX_H

#include <sys/types.h>

#include "sandbox/seccomp.h"
#include "util/err.h"
#include "util/json.h"

enum sandbox_layer {
	SANDBOX_LIMITS,	   /* rlimits */
	SANDBOX_CGROUP,	   /* control group of its own; made by who started it (cgroup.h) */
	SANDBOX_USER,	   /* user namespace */
	SANDBOX_UID,	   /* a user id of its own, where started by root */
	SANDBOX_FILES,	   /* mount namespace, and an empty root in it */
	SANDBOX_PIDS,	   /* PID namespace */
	SANDBOX_NETWORK,   /* network namespace */
	SANDBOX_IPC,	   /* IPC namespace */
	SANDBOX_UTS,	   /* host name namespace */
	SANDBOX_CGROUP_NS, /* cgroup namespace */
	SANDBOX_CAPS,	   /* no capabilities, and none to get */
	SANDBOX_PRIVS,	   /* no_new_privs */
	SANDBOX_LANDLOCK,  /* no rights to files and ports */
	SANDBOX_WX,	   /* PR_SET_MDWE: memory never becomes executable */
	SANDBOX_SECCOMP,
	SANDBOX_LAYERS
};
extern const char *const sandbox_layer_names[];

#define SANDBOX_NOTE_SIZE 112u

struct sandbox {
	bool on[SANDBOX_LAYERS];
	char note[SANDBOX_LAYERS][SANDBOX_NOTE_SIZE]; /* why it is not on; or a remark; or "" */
};

/*
 * Starts a process that calls run(ctx, inside), which ends in exec or _exit(): with a PID namespace if that can be had, and, if `group` is
 * a folder of control groups (version 2) and not -1, in that group from the beginning (Linux 5.7), which `inside` then says. As
 * after any fork, only async-signal-safe calls in there; and it may be this process's memory that it writes to, while this thread waits.
 * Returns the process, or -1 with errno.
 */
pid_t namespace_start(int group, void (*run)(void *ctx, bool inside), void *ctx);

struct sandbox_config {
	const struct sandbox_filter *filter;
	bool network; /* the host's network is kept: it is what the program is for */
	const char *group; /* the control group that it was put into: "+" or "-" and a note; NULL: no word of it */
	const char *keep; /* a file that can still be read, by its own name; NULL: none */
	uint64_t max_fds, max_threads, max_file; /* rlimits; 0: as they are */
	/* Called in the namespaces while there still are rights, in them. NULL: nothing to do. */
	void (*prepare)(void *ctx);
	void *ctx;
	bool trap; /* a refused system call is named on stderr: for debugging */
};

/* The word for sandbox_config.group. */
void sandbox_group_word(char *word, size_t size, bool on, const char *text);

void sandbox_isolate(struct sandbox *s, const struct sandbox_config *c);
void sandbox_seal(struct sandbox *s, const struct sandbox_config *c);
/* Fills in what there is of it for a process that does not lock itself in. */
void sandbox_none(struct sandbox *s, const char *why);

/* 0, or -EPERM with a sentence that names the layers that are not on. */
int sandbox_missing(const struct sandbox *s, struct err *e);
/* [{"layer","on","note"}, ...]; NULL: out of memory. */
json_t *sandbox_json(const struct sandbox *s);

/* For sandbox.c: one file a layer. Each notes why it is not on. */
void sandbox_note(struct sandbox *s, enum sandbox_layer layer, const char *fmt, ...)
	PRINTF_FORMAT(3, 4);
void namespace_user(struct sandbox *s);
void namespace_rest(struct sandbox *s, bool network, const char *keep);
void landlock_apply(struct sandbox *s, bool network, const char *keep);

#endif
