/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - lodged's API (docs/api/lodge.json) for the commands. With $LODGE_DIRECT set there is no daemon for them: so lodged runs
 * them itself.
 */
#ifndef LODGE_CLI_DAEMON_H
#define LODGE_CLI_DAEMON_H

#include <sys/types.h>

#include "util/err.h"
#include "util/json.h"

/*
 * A connection to lodged: the local one's socket or, with $LODGE_HOST (`lodge --host`), that of unix:PATH, or https://HOST[:PORT] by way of
 * the program lodge-tls.
 */
struct daemon_conn {
	int fd;	   /* -1: none */
	int why;   /* lodge-tls says here why it goes no further; -1: there is none */
	pid_t pid; /* lodge-tls */
};

/* Is it another lodged than that of this host and user? */
bool daemon_remote(void);
/* -ENOENT: there is no daemon (never of another host). */
int daemon_connect(struct daemon_conn *c, struct err *e);
/* After it ended unexpectedly: a sentence, if there is one. Returns -EPIPE. */
int daemon_why(struct daemon_conn *c, struct err *e);
void daemon_close(struct daemon_conn *c);
/* -EINTR: we were told to end (guestio.h), and there may be a part of it on its way. */
int daemon_send(const struct daemon_conn *c, const void *data, size_t len);
/* The status of an answer that begins so; 0: it is none. */
int daemon_status(const char *head);
/* What an answer that is an error says, as a sentence with a code for status_of(). */
int daemon_error(const json_t *answer, struct err *e);

/*
 * One request; body NULL: none. Returns the HTTP status; -ENOENT: there is no daemon; -errno. *answer (NULL: not wanted) is the
 * caller's, NULL if there was no body. For a status of 400 and more e has the daemon's sentence, and the code that
 * status_of() makes the exit status of.
 */
int daemon_call(const char *method, const char *path, const json_t *body, json_t **answer,
		struct err *e);
/* Of what daemon_call() returned, and is not what was expected: -errno, and its sentence. */
int daemon_refused(int r, struct err *e);
/* Says that it is not lodged who answers. -EPROTO. */
int daemon_stranger(struct err *e);
/* Is a VM the daemon's? No daemon: no. */
bool daemon_has(const char *name);
/* Begins an operation for a VM and waits for its end. 0 or -errno. */
int daemon_operate(const char *name, const char *verb, const json_t *body, struct err *e);

#endif
