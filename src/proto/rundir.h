/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.h - the run directory: where the running VMs of a user are found.
 *
 * Every VM has a folder, named after it, in
 *   $LODGE_RUN/vms                  if that is set; else
 *   /run/lodge/vms                  for root,
 *   $XDG_RUNTIME_DIR/lodge/vms      for others who have one,
 *   /tmp/lodge-UID/vms              for the rest.
 * In it are
 *   lock          held by the VM's keeper (the `lodge run` process) as long as the VM lives; says who it is: {"pid":N}
 *   info.json     what runs: name, pid of the keeper, start time, resolved configuration, the words it was started with
 *   control       control socket of the VM process (proto/control.h)
 *   agent         socket to the guest agent, with `--agent on`
 *   console       console socket of the keeper (keeper/hub.h), unless the console is elsewhere
 *   plug          of the keeper: adds disks and network cards (keeper/plug.h)
 *   console.log, console.log.old    the last of what the guest said
 *   messages      what a detached VM's processes had to say
 *   folders.json  folders elsewhere (of control groups) that were made for it: removed, if empty, together with what is here
 *   exit.json     how it ended: status, cause, text, ended_ms, and if its VM process was killed from outside, signal, oom (for want
 *                 of memory) and limit (what its own control group may have, if that was it); then `lock` is free, and says the same
 * Beside the folder "vms": lodged's socket, and kvm.json (keeper/probekeep.h).
 *
 * Trust. The folders belong to the user, mode 0700, and are refused otherwise. Nothing in here follows a symbolic link or
 * leaves its folder: names are single components, opened beneath an open descriptor. Sockets are made and reached as
 * /proc/self/fd/N/NAME, so that no length of a path can be too long.
 *
 * Life. The lock is an open-file-description lock (fcntl(2), F_OFD_SETLK) and not flock(2), because it can be asked about
 * (F_OFD_GETLK) without being taken: who looks never stands in the way of who starts. What is left of a dead VM is
 * cleared by the next one of its name, or by rundir_remove().
 */
#ifndef LODGE_PROTO_RUNDIR_H
#define LODGE_PROTO_RUNDIR_H

#include "proto/config.h"

#define RUNDIR_FOLDERS "folders"
#define RUNDIR_FOLDERS_FILE RUNDIR_FOLDERS ".json"
#define RUNDIR_INFO_MAX ((size_t)256 * 1024)

struct rundir {
	char name[CONFIG_NAME_MAX + 1];
	int dir;  /* -1: none */
	int lock; /* -1: none; with rundir_create() it is held */
};

/* Zeroes, descriptors -1. */
void rundir_init(struct rundir *r);
/* Closes; releases the lock. Twice, and after an error, too. */
void rundir_close(struct rundir *r);

/*
 * Makes the folder of a VM and takes its lock; what a dead one left is removed. name NULL: one is found. -EEXIST: a VM of
 * this name lives, the sentence says which process has it. -EACCES: the folder is not to be trusted.
 */
int rundir_create(struct rundir *r, const char *name, struct err *e);
/* Opens that of an existing VM, dead or alive. -ESRCH: there is none. */
int rundir_open(struct rundir *r, const char *name, struct err *e);
/* Takes the lock of a dead one. -EBUSY: it lives. */
int rundir_claim(struct rundir *r, struct err *e);
/* Removes everything, the folder too; the lock is held. */
void rundir_remove(struct rundir *r);

/* Is the folder still found by its name, and the lock in it? */
bool rundir_whole(const struct rundir *r);
/* Was the lock removed by somebody? Then, while its VM lives, there is another one by the same name, or soon will be. */
bool rundir_stale(const struct rundir *r);
/*
 * For the keeper, when somebody has removed or moved the folder of a VM that lives: makes it anew, behind the same descriptors, with nothing
 * in it. If another VM has the name by now, one is found. *before: the old lock, to be held and closed by the caller, for those who
 * look at it. 0 or -errno.
 */
int rundir_again(struct rundir *r, int *before, struct err *e);

/* Removes the folders that folders.json names, and that are empty; its keeper is dead, or it is the keeper who asks. */
void rundir_remove_folders(const struct rundir *r);

/* Does its keeper live? */
bool rundir_alive(const struct rundir *r);
/* Waits until it does not. 0; -ETIMEDOUT; -EINTR never. deadline_ns as in proto/control.h. */
int rundir_wait(const struct rundir *r, uint64_t deadline_ns);
/* The keeper, as a pidfd; -ESRCH when it is gone. */
int rundir_keeper(const struct rundir *r);

/* Writes a file whole: a reader sees the old one or the new one. */
int rundir_write(const struct rundir *r, const char *file, const json_t *j, struct err *e);
/* NULL: it is not there, or not an object. */
json_t *rundir_read(const struct rundir *r, const char *file);
/* What the lock says: the end of a VM whose folder may be gone already. NULL: nothing. */
json_t *rundir_last_words(const struct rundir *r);
/* Into the lock alone; for who holds it. */
int rundir_write_lock(const struct rundir *r, const json_t *j);
/* Writes exit.json, and the same into the lock; for the keeper. */
int rundir_write_end(const struct rundir *r, const json_t *j, struct err *e);

/* A listening socket in the folder, mode 0600, in the place of one that is there; type: SOCK_STREAM, SOCK_SEQPACKET. fd or -errno. */
int rundir_listen(const struct rundir *r, const char *file, int type, struct err *e);
/* Connects to one, waits. fd or -errno. */
int rundir_connect(const struct rundir *r, const char *file, int type, struct err *e);

/* The folder that "vms" is in, for lodged's own socket; made if it is not there. Only listen, connect and close are for it. */
int rundir_open_base(struct rundir *r, struct err *e);

/* The names of all, sorted; *names is one allocation, ended by NULL. Returns how many, or -errno. */
int rundir_list(char ***names, struct err *e);

#endif
