/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conlog.h - the last of a stream of bytes, in files of a run directory: NAME, and NAME.old behind it. When NAME is full it
 * becomes NAME.old, so that what is kept is between CONLOG_HALF and twice that. Bytes have a number, their place in the
 * stream from its beginning. One thread.
 */
#ifndef LODGE_KEEPER_CONLOG_H
#define LODGE_KEEPER_CONLOG_H

#include "util/base.h"

#define CONLOG_HALF (512u * 1024)

struct conlog {
	const char *name;
	int dir;	/* not ours */
	int fd, old;	/* -1: none */
	uint64_t start; /* number of the first byte of fd; those of old end there */
	uint64_t begin; /* of the first that is kept */
	uint64_t end;	/* of the next to come */
};

/* Begins with nothing; `name` must stay. Cannot fail: without a file nothing is kept. */
void conlog_init(struct conlog *l, int dir, const char *name);
void conlog_fini(struct conlog *l);
/* `dir` leads to another folder now: what is kept is copied into it. */
void conlog_again(struct conlog *l);
void conlog_put(struct conlog *l, const void *data, size_t len);
/* From *at, or from the first byte that is still there if that is gone: then *at is moved. Returns how many, 0: none yet. */
size_t conlog_get(const struct conlog *l, uint64_t *at, void *data, size_t len);

#endif
