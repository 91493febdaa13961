/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - what the files of lodge-agent share: a guest agent for guests that have nothing else, in one small static program.
 *
 * Each command gets the request's "arguments" (NULL: none) and returns the result, which the caller owns, or NULL with a
 * sentence in `why`. proto/agent.h describes the protocol. The host is trusted here as it is everywhere in a guest; what must
 * not happen is that a mistake of its ends the agent.
 */
#ifndef LODGE_GUEST_AGENT_H
#define LODGE_GUEST_AGENT_H

#include <jansson.h>
#include <stdarg.h>
#include <sys/epoll.h>

#include "util/base.h"

struct why {
	char text[256];
};

/* Returns NULL, so that `return refuse(why, ...)` reads well. */
json_t *refuse(struct why *why, const char *fmt, ...) PRINTF_FORMAT(2, 3);
/* With the text of errno behind it. */
json_t *refuse_errno(struct why *why, const char *fmt, ...) PRINTF_FORMAT(2, 3);

/* An epoll instance: agent_main.c waits, and calls back what was registered. */
struct watch {
	void (*ready)(struct watch *w, uint32_t events);
	int fd; /* -1: not registered */
};
int watch_add(struct watch *w, int fd, uint32_t events);
/* Not watched any more, open still: for watch_add() again. */
void watch_hold(struct watch *w);
void watch_remove(struct watch *w); /* closes */

/* ---- agent_exec.c ---- */
json_t *agent_exec(json_t *args, struct why *why);
json_t *agent_exec_status(json_t *args, struct why *why);
/* Children that have ended are waited for. */
void agent_reap(void);

/* ---- agent_file.c ---- */
json_t *agent_file_open(json_t *args, struct why *why);
json_t *agent_file_close(json_t *args, struct why *why);
json_t *agent_file_read(json_t *args, struct why *why);
json_t *agent_file_write(json_t *args, struct why *why);
json_t *agent_file_seek(json_t *args, struct why *why);
json_t *agent_file_flush(json_t *args, struct why *why);

/* ---- agent_system.c ---- */
json_t *agent_freeze(json_t *args, struct why *why);
json_t *agent_thaw(json_t *args, struct why *why);
json_t *agent_freeze_status(json_t *args, struct why *why);
json_t *agent_interfaces(json_t *args, struct why *why);
json_t *agent_get_time(json_t *args, struct why *why);
json_t *agent_set_time(json_t *args, struct why *why);
json_t *agent_shutdown(json_t *args, struct why *why);

#endif
