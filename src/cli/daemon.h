/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - lodged's API (docs/api/lodge.json) for the commands. With $LODGE_DIRECT set there is no daemon for them: so lodged runs
 * them itself.
 */
#ifndef LODGE_CLI_DAEMON_H
#define LODGE_CLI_DAEMON_H

#include "util/err.h"
#include "util/json.h"

/*
 * One request; body NULL: none. Returns the HTTP status; -ENOENT: there is no daemon; -errno. *answer (NULL: not wanted) is the
 * caller's, NULL if there was no body. For a status of 400 and more e has the daemon's sentence, and the code that
 * status_of() makes the exit status of.
 */
int daemon_call(const char *method, const char *path, const json_t *body, json_t **answer,
		struct err *e);
/* Is a VM the daemon's? No daemon: no. */
bool daemon_has(const char *name);
/* Begins an operation for a VM and waits for its end. 0 or -errno. */
int daemon_operate(const char *name, const char *verb, const json_t *body, struct err *e);

#endif
