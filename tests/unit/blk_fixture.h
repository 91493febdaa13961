/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_fixture.h - a disk on a file of the test's own, with a loop, requests that wait for their end, and a hand that makes
 * system calls fail. The test thread is the loop thread.
 */
#ifndef LODGE_TESTS_BLK_FIXTURE_H
#define LODGE_TESTS_BLK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "blk/blk.h"
#include "blk/layer.h"
#include "util/clock.h"

#define DISK_SIZE (4 * MIB)
#define REQS 128

struct fault {
	int op;	       /* enum aio_op, or -1: all */
	unsigned skip; /* so many pass first */
	unsigned n;    /* then so many are hit */
	int64_t result;
};

static struct {
	struct loop *loop;
	struct blk *blk;
	int fd; /* of the file; the layers have their own */
	struct fault fault;
	unsigned n_calls[4]; /* system calls by enum aio_op */
	unsigned n_dsync;
	struct blk_event last;
	unsigned n_events;
	unsigned n_done;
} bf;

struct test_req {
	struct blk_req r;
	struct iovec iov[REQS];
	int result;
	bool done, submitting;
	unsigned order; /* of completion */
};

static int64_t bf_fault(void *ctx, const struct aio_req *r)
{
	struct fault *f = ctx;

	bf.n_calls[r->op]++;
	bf.n_dsync += r->dsync;
	if (f->op != -1 && f->op != (int)r->op)
		return 0;
	if (f->skip) {
		f->skip--;
		return 0;
	}
	if (!f->n)
		return 0;
	f->n--;
	return f->result;
}

static void bf_event(void *ctx, struct blk *b, const struct blk_event *ev)
{
	(void)ctx;
	(void)b;
	bf.last = *ev;
	bf.n_events++;
}

/* An unlinked file in the build's temporary folder, whose file system can punch holes. */
static inline int bf_file(uint64_t size, int flags)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static inline struct blk_layer *bf_layer(int fd, bool ro, enum aio_kind kind)
{
	struct file_config fc = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
				 .name = "test.raw",
				 .read_only = ro,
				 .direct = fcntl(fd, F_GETFL) & O_DIRECT,
				 .aio = kind};
	struct blk_layer *layer = NULL;
	struct err e = {0};

	if (file_open(&layer, bf.loop, &fc, &e) < 0)
		fail_msg("%s", e.msg);
	aio_set_fault(file_aio(layer), bf_fault, &bf.fault);
	return layer;
}

static inline void bf_disk(struct blk_layer *top, bool pause_when_full)
{
	struct blk_config bc = {.id = "disk0",
				.pause_when_full = pause_when_full,
				.owner = {.event = bf_event}};

	assert_int_equal(blk_create(&bf.blk, bf.loop, top, &bc, NULL), 0);
}

static inline void bf_begin(void)
{
	memset(&bf, 0, sizeof(bf));
	bf.fault.op = -1;
	bf.fd = -1;
	assert_int_equal(loop_create(&bf.loop, NULL), 0);
}

static inline void bf_end(void)
{
	blk_destroy(bf.blk);
	loop_destroy(bf.loop);
	base_close_fd(&bf.fd);
}

static inline void bf_open(enum aio_kind kind, bool pause_when_full)
{
	bf_begin();
	bf.fd = bf_file(DISK_SIZE, 0);
	bf_disk(bf_layer(bf.fd, false, kind), pause_when_full);
}

static void bf_done(struct blk_req *r, int result)
{
	struct test_req *t = container_of(r, struct test_req, r);

	assert_false(t->done);
	assert_false(t->submitting); /* never from inside */
	t->done = true;
	t->result = result;
	t->order = ++bf.n_done;
}

/* Hands one in; `buf` in pieces of `piece` bytes (0: one). */
static inline void bf_start(struct test_req *t, enum blk_op op, unsigned flags, uint64_t offset,
			    uint64_t bytes, void *buf, uint64_t piece)
{
	uint64_t at = 0;

	memset(t, 0, sizeof(*t));
	t->r = (struct blk_req){.op = op,
				.flags = flags,
				.offset = offset,
				.bytes = bytes,
				.iov = t->iov,
				.done = bf_done};
	while (buf && at < bytes) {
		uint64_t n = piece ? MIN(piece, bytes - at) : bytes;

		assert_true(t->r.n_iov < REQS);
		t->iov[t->r.n_iov++] = (struct iovec){(uint8_t *)buf + at, n};
		at += n;
	}
	t->submitting = true;
	blk_submit(bf.blk, &t->r);
	blk_commit(bf.blk);
	t->submitting = false;
}

static inline void bf_round(void)
{
	loop_run_once(bf.loop, 20);
}

static inline int bf_wait(struct test_req *t)
{
	uint64_t end = clock_ns() + 20 * CLOCK_NS_PER_S;

	while (!t->done) {
		if (clock_ns() > end)
			fail_msg("a request did not complete");
		bf_round();
	}
	return t->result;
}

static inline int bf_do(enum blk_op op, unsigned flags, uint64_t offset, uint64_t bytes, void *buf)
{
	struct test_req t;

	bf_start(&t, op, flags, offset, bytes, buf, 0);
	return bf_wait(&t);
}

static inline void bf_fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		p[i] = (uint8_t)(seed >> 24);
	}
}

#endif
