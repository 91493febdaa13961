/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plug.h - disks and network cards for a VM that runs, and away from it.
 *
 * What is added has to be opened first: by who asks (`lodge ctl`), or by the keeper for those who cannot do so themselves, as lodged. For them
 * the keeper has the socket `plug` in the run directory, SOCK_SEQPACKET with messages like those of the control socket (proto/control.h):
 *   {"id":N,"cmd":"disk-add|net-add","word":WORD,"folder":PATH}  ->  result {"id":DEVICE}
 * WORD is that of --disk or --net of `lodge run`; a relative path in it begins in the folder. One request a connection.
 */
#ifndef LODGE_KEEPER_PLUG_H
#define LODGE_KEEPER_PLUG_H

#include "proto/rundir.h"
#include "util/loop.h"

/* Does it do that: "disk", "net"; "add", "rm"? */
bool plug_is(const char *device, const char *verb);
/* `sock`: of control. *result is the caller's, or NULL. */
int plug_run(int sock, const char *device, const char *verb, const char *word, bool force,
	     uint64_t deadline_ns, json_t **result, struct err *e);
/* `apart`: for somebody who is not there, so that nobody can be waited for, and no descriptor be meant. */
int plug_add(int sock, bool disk, const char *word, bool apart, uint64_t deadline_ns,
	     json_t **result, struct err *e);

/* plugsock.c: the socket. `run` must stay. */
struct plugsock;
int plugsock_create(struct plugsock **out, struct loop *l, const struct rundir *run, struct err *e);
void plugsock_destroy(struct plugsock *s); /* accepts NULL */

#endif
