/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guestio.h - where `lodge exec` and `lodge cp` have their input from, and where output and result go: descriptors or, when lodged runs
 * them, frames on a socket (proto/frames.h). Also what signals do to them.
 */
#ifndef LODGE_CLI_GUESTIO_H
#define LODGE_CLI_GUESTIO_H

#include <sys/types.h>

#include "proto/agent.h"
#include "proto/frames.h"
#include "proto/status.h"

/* Ours, not the program's: as env(1) and timeout(1) have it. */
#define EXIT_OWN ((enum status)125)
#define EXIT_CANNOT_RUN ((enum status)126)
#define EXIT_NOT_FOUND ((enum status)127)

struct guestio {
	int in, out, err; /* not owned; with frames all are `in` */
	bool frames;
};

void guestio_standard(struct guestio *io, bool frames);
/* SIGINT, SIGTERM and SIGHUP are remembered from now on, and interrupt what waits, then and later. SIGPIPE is ignored. */
void guestio_catch(void);
bool guestio_told(void);
/* They wait meanwhile: what is begun is to be known of. */
void guestio_hold(bool yes);
/* From now on they interrupt nothing: what is left to do takes little time. */
void guestio_finish(void);

/* Of frames, `size` is at least FRAME_MAX. 0: that was all; -ECONNRESET: the client is gone; -EINTR: told to end; -errno. */
ssize_t guestio_read(const struct guestio *io, void *data, size_t size);
/* All of it. `a` is left to others while nobody takes it (NULL: none). 0; -EPIPE: nobody ever will; -EINTR; -errno. */
int guestio_write(const struct guestio *io, enum frame what, const void *data, size_t len,
		  struct agent *a);
/* Does input, or its end, not come soon? */
bool guestio_waits(const struct guestio *io);
/* Waits; false: told to end, or nobody is there any more. */
bool guestio_pause(const struct guestio *io, uint64_t ns);
/* Says how it ended; e NULL, or without a code: there is nothing to say. Returns `status`. */
int guestio_end(const struct guestio *io, unsigned status, const struct err *e);

/* A result instead, as a frame on standard input. 0 or -errno. */
int guestio_result(const json_t *j);

/* ---- files of the guest ---- */

/* One copied, in pieces. The agent is left to others while the other side keeps us waiting. 0 or -errno. */
int guestfile_put(const char *vm, uint64_t wait_s, const char *path, mode_t mode,
		  const struct guestio *from, struct err *e);
int guestfile_get(const char *vm, uint64_t wait_s, const char *path, const struct guestio *to,
		  struct err *e);

#endif
