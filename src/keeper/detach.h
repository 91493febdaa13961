/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detach.h - `lodge run --detach`: a keeper of its own, and who started it waits until the VM runs.
 *
 * The keeper is a fork with a session of its own. What it and the VM's processes write to standard error goes through a pipe
 * to itself: into the log `messages` of the run directory, which is bounded whatever they write, and until the VM runs also to the
 * standard error of who started it.
 */
#ifndef LODGE_KEEPER_DETACH_H
#define LODGE_KEEPER_DETACH_H

#include "keeper/conlog.h"
#include "util/loop.h"

struct detach {
	int ready;    /* to who waits; -1: nobody any more */
	int messages; /* read end of our standard error */
	int terminal; /* the standard error that was; -1: given up */
	struct conlog log;
	struct loop_fd *watch;
};

/* 1: here goes the keeper. 0: here goes who started it, and the keeper has said its word: *status, and `name` of the VM.
 * -errno: there is no keeper. */
int detach_fork(struct detach *d, int *status, char *name, size_t size, struct err *e);
/* Messages into the folder `dir`, from the loop. */
int detach_watch(struct detach *d, struct loop *l, int dir);
/* That folder is another one now. */
void detach_again(struct detach *d);
/* Says to who waits that the VM runs, or has ended already; 0, or -EPIPE: nobody waits any more. Only the first word counts. */
int detach_say(struct detach *d, int status, const char *name);
/* The last messages, and closes all. Detached from the loop. */
void detach_end(struct detach *d);

#endif
