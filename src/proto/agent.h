/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - client of a guest agent: the protocol of qemu-guest-agent over a stream (the virtio port org.qemu.guest_agent.0).
 *
 * One request at a time: {"execute":NAME,"arguments":{...}} and a line feed, answered by one line {"return":...} or
 * {"error":{"class":..,"desc":..}}. The stream may hold what was meant for somebody who was there before, so a client begins
 * with guest-sync-delimited: the answer to that comes behind a byte 0xff, which no JSON text has, and repeats its number.
 *
 * The other end is the guest, who is hostile: answers are bounded in size and time, and everything in them is checked by
 * the one who asked (util/json.h, util/base64.h). After an error other than -EREMOTEIO the stream is of no use any more.
 */
#ifndef LODGE_PROTO_AGENT_H
#define LODGE_PROTO_AGENT_H

#include "util/buf.h"
#include "util/err.h"
#include "util/json.h"

/* Longest answer: qemu-guest-agent returns up to 16 MiB of each output stream of a program, in base64. */
#define AGENT_ANSWER_MAX (64 * MIB)
/* Most bytes of input for a program: they travel in one request. */
#define AGENT_INPUT_MAX (16 * MIB)
/* Bytes of a file in one request. */
#define AGENT_CHUNK (256 * KIB)

struct agent {
	int fd;		/* stream socket, owned; -1: none */
	struct buf got; /* bytes that came and were not looked at; got.pos is the first */
};

void agent_init(struct agent *a);
/* Closes. Also when nothing is open, and twice. */
void agent_fini(struct agent *a);

/*
 * Takes the stream over (also on an error) and makes sure that somebody answers. deadline_ns: a clock_ns() time. 0,
 * -ETIMEDOUT: no proper answer until then, -EPIPE: the other end left, ...
 */
int agent_open(struct agent *a, int fd, uint64_t deadline_ns, struct err *e);
/*
 * `arguments` is consumed and may be NULL. *result is the caller's, of any type; may be NULL. -EREMOTEIO: the agent refused;
 * its reason is part of the sentence.
 */
int agent_call(struct agent *a, const char *command, json_t *arguments, uint64_t deadline_ns,
	       json_t **result, struct err *e);

/* ---- parts of answers; `what` names the answer in the error ---- */

/* A member that is base64: malloc'd *data, *len. 1; 0: not there (*data is NULL then); -errno. */
int agent_get_bytes(const json_t *obj, const char *key, uint8_t **data, size_t *len, struct err *e);

/* The end of one program. */
struct agent_exit {
	bool exited, by_signal;
	uint64_t code; /* exit code or signal, 0..255 */
	bool cut;      /* the agent dropped output that was too much for it */
	uint8_t *out, *err;
	size_t out_len, err_len;
};

/* Starts a program. argv ends with NULL. input may be NULL. `stream`: output is to come before the end too, which only
 * Lodge's own agent can (agent_can_stream()). */
int agent_exec(struct agent *a, char *const argv[], const void *input, size_t input_len,
	       bool stream, uint64_t deadline_ns, uint64_t *pid, struct err *e);
/* What is new of it; freed by agent_exit_fini(). */
int agent_exec_status(struct agent *a, uint64_t pid, uint64_t deadline_ns, struct agent_exit *x,
		      struct err *e);
void agent_exit_fini(struct agent_exit *x);
/* 1, 0 or -errno. */
int agent_can_stream(struct agent *a, uint64_t deadline_ns, struct err *e);

/* Sets the guest's clock to the host's. */
int agent_set_time(struct agent *a, uint64_t deadline_ns, struct err *e);

/* ---- files. mode: "r" or "w" ---- */

int agent_file_open(struct agent *a, const char *path, const char *mode, uint64_t deadline_ns,
		    int64_t *handle, struct err *e);
/* Up to AGENT_CHUNK bytes into malloc'd *data; *len 0: the end. */
int agent_file_read(struct agent *a, int64_t handle, uint64_t deadline_ns, uint8_t **data,
		    size_t *len, struct err *e);
/* All of it. */
int agent_file_write(struct agent *a, int64_t handle, const void *data, size_t len,
		     uint64_t deadline_ns, struct err *e);
int agent_file_close(struct agent *a, int64_t handle, uint64_t deadline_ns, struct err *e);

#endif
