/* SPDX-License-Identifier: Apache-2.0 */
/* remote_ws.h - answers of lodged's that come piece by piece: long bodies, and WebSockets. For one thread, blocking. */
#ifndef LODGE_CLI_REMOTE_WS_H
#define LODGE_CLI_REMOTE_WS_H

#include "cli/daemon.h"
#include "proto/ws.h"
#include "util/buf.h"

#define REMOTE_WS_HEAD_MAX 8192u

struct remote_ws {
	struct daemon_conn conn;
	struct buf got; /* bytes that came and were not looked at begin at got.pos */
	struct ws_reader reader;
};

/* Takes what comes next. 1; 0: the end; -EINTR: we were told to end (guestio.h); -errno. */
int remote_ws_more(struct remote_ws *s, struct err *e);
/* Sends a GET and takes the head of its answer: the status, or -errno; *length of the body that follows. Close it in any case. */
int remote_ws_get(struct remote_ws *s, const char *path, const char *fields,
		  char head[REMOTE_WS_HEAD_MAX], size_t *length, struct err *e);
/* The body, of which `length` bytes are to come. */
int remote_ws_body(struct remote_ws *s, size_t length, struct err *e);
/* Of an answer that was not expected: -errno and its sentence. */
int remote_ws_error(struct remote_ws *s, int status, size_t length, struct err *e);
void remote_ws_close(struct remote_ws *s);

/* A GET that becomes a WebSocket. Close it in any case. */
int remote_ws_open(struct remote_ws *s, const char *path, struct err *e);
/* One message. */
int remote_ws_send(const struct remote_ws *s, enum ws_op op, const void *data, size_t len);
/* Takes of what has come. 1: a message; 0: nothing whole is there; -ENOTCONN: it is closed, e says why if it was not meant; -errno. */
int remote_ws_take(struct remote_ws *s, struct ws_message *m, struct err *e);

#endif
