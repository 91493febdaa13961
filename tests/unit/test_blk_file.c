/* SPDX-License-Identifier: Apache-2.0 */
/* test_blk_file.c - the front over a raw file, by io_uring and by threads: data, order, errors on purpose, pause, limits. */
#include "blk_fixture.h"

static const enum aio_kind kinds[] = {AIO_URING, AIO_THREADS};

/* Runs the body once for each way of I/O that this host has. */
#define EACH_KIND(kind)                                                 \
	for (unsigned k_ = 0; k_ < ARRAY_SIZE(kinds); k_++)             \
		for (enum aio_kind kind = kinds[k_], once_ = AIO_URING; \
		     once_ == AIO_URING && has_kind(kind); once_ = AIO_THREADS)

static bool has_kind(enum aio_kind kind)
{
	struct loop *l = NULL;
	struct aio *a = NULL;
	int r;

	assert_int_equal(loop_create(&l, NULL), 0);
	r = aio_create(&a, l, kind, NULL);
	aio_destroy(a);
	loop_destroy(l);
	if (kind == AIO_THREADS)
		assert_int_equal(r, 0);
	return r == 0;
}

static uint8_t out[MIB], in[MIB];

static void test_data(void **state)
{
	struct test_req t[16];

	(void)state;
	EACH_KIND(kind)
	{
		bf_open(kind, false);
		bf_fill(out, sizeof(out), 7);
		/* Many in flight, in uneven pieces, then all read back in other pieces. */
		for (unsigned i = 0; i < 16; i++)
			bf_start(&t[i], BLK_WRITE, 0, i * 64 * KIB, 64 * KIB, out + i * 64 * KIB,
				 1111 + 512 * i);
		for (unsigned i = 0; i < 16; i++)
			assert_int_equal(bf_wait(&t[i]), 0);
		assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), 0);
		memset(in, 0, sizeof(in));
		for (unsigned i = 0; i < 16; i++)
			bf_start(&t[i], BLK_READ, 0, i * 64 * KIB, 64 * KIB, in + i * 64 * KIB,
				 4096);
		for (unsigned i = 0; i < 16; i++)
			assert_int_equal(bf_wait(&t[i]), 0);
		assert_memory_equal(in, out, sizeof(in));
		memset(in, 0, sizeof(in));
		assert_int_equal(pread(bf.fd, in, sizeof(in), 0), sizeof(in));
		assert_memory_equal(in, out, sizeof(in));
		/* Large ones take another way. */
		assert_int_equal(bf_do(BLK_WRITE, BLK_FUA, 3 * MIB, MIB, out), 0);
		assert_int_equal(bf_do(BLK_READ, 0, 3 * MIB, MIB, in), 0);
		assert_memory_equal(in, out, sizeof(in));
		assert_int_equal(bf.n_dsync, 1);
		bf_end();
	}
}

static void test_checks(void **state)
{
	static uint8_t big[DISK_SIZE];
	const struct {
		enum blk_op op;
		uint64_t offset, bytes;
		int result;
	} cases[] = {
		{BLK_READ, DISK_SIZE, 512, -EINVAL},
		{BLK_READ, DISK_SIZE - 512, 1024, -EINVAL},
		{BLK_READ, UINT64_MAX - 511, 512, -EINVAL},
		{BLK_READ, UINT64_MAX - 511, 1024, -EINVAL},
		{BLK_READ, 0, 0, -EINVAL},
		{BLK_READ, 1, 512, -EINVAL},
		{BLK_READ, 0, 511, -EINVAL},
		{BLK_WRITE, 512, DISK_SIZE, -EINVAL},
		{BLK_DISCARD, DISK_SIZE, 512, -EINVAL},
		{BLK_WRITE_ZEROES, 0, DISK_SIZE + 512, -EINVAL},
		{BLK_OPS, 0, 512, -EINVAL},
		{BLK_READ, DISK_SIZE - 512, 512, 0},
		{BLK_WRITE_ZEROES, 0, DISK_SIZE, 0},
		{BLK_DISCARD, 0, DISK_SIZE, 0},
	};
	struct blk_stats st;
	struct test_req t;

	(void)state;
	bf_open(AIO_AUTO, false);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		bool data = cases[i].op == BLK_READ || cases[i].op == BLK_WRITE;

		assert_int_equal(bf_do(cases[i].op, 0, cases[i].offset, cases[i].bytes,
				       data && cases[i].bytes <= sizeof(big) ? big : NULL),
				 cases[i].result);
	}
	/* Memory that is not as long as the range. */
	memset(&t, 0, sizeof(t));
	t.iov[0] = (struct iovec){in, 512};
	t.r = (struct blk_req){
		.op = BLK_READ, .bytes = 1024, .iov = t.iov, .n_iov = 1, .done = bf_done};
	blk_submit(bf.blk, &t.r);
	assert_int_equal(bf_wait(&t), -EINVAL);
	blk_stats(bf.blk, &st);
	assert_true(st.refused > 10);
	bf_end();

	/* Read-only. */
	bf_begin();
	bf.fd = bf_file(DISK_SIZE, 0);
	bf_disk(bf_layer(bf.fd, true, AIO_AUTO), false);
	assert_int_equal(bf_do(BLK_WRITE, 0, 0, 512, in), -EROFS);
	assert_int_equal(bf_do(BLK_DISCARD, 0, 0, 512, NULL), -EROFS);
	assert_int_equal(bf_do(BLK_WRITE_ZEROES, 0, 0, 512, NULL), -EROFS);
	assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(bf_do(BLK_READ, 0, 0, 512, in), 0);
	assert_int_equal(bf.n_calls[AIO_SYNC] + bf.n_calls[AIO_WRITE], 0);
	bf_end();
}

/* Every result that a system call can have, at every place of a sequence of them. */
static void test_short_and_failed(void **state)
{
	static const int64_t results[] = {1, 511, 512, 513, 4096, 65535, -EIO, -ENOSPC, -EBADF};

	(void)state;
	EACH_KIND(kind)
	for (unsigned i = 0; i < ARRAY_SIZE(results); i++) {
		for (unsigned n = 1; n < 4; n++) {
			struct test_req t;

			bf_open(kind, false);
			bf_fill(out, 64 * KIB, i + n);
			bf.fault = (struct fault){AIO_WRITE, 0, n, results[i]};
			bf_start(&t, BLK_WRITE, 0, 512, 64 * KIB, out, 3000);
			if (results[i] < 0) {
				assert_int_equal(bf_wait(&t), results[i]);
				assert_int_equal(bf.last.kind, BLK_EV_ERROR);
				assert_int_equal(bf.last.error, -results[i]);
				bf_end();
				continue;
			}
			assert_int_equal(bf_wait(&t), 0);
			bf.fault = (struct fault){AIO_READ, 0, n, results[i]};
			bf_start(&t, BLK_READ, 0, 512, 64 * KIB, in, 777);
			assert_int_equal(bf_wait(&t), 0);
			assert_memory_equal(in, out, 64 * KIB);
			assert_int_equal(bf.n_events, 0);
			bf_end();
		}
	}
}

static void test_zeroes(void **state)
{
	static const unsigned flags[] = {0, BLK_UNMAP, BLK_FUA, BLK_FUA | BLK_UNMAP};

	(void)state;
	EACH_KIND(kind)
	for (unsigned f = 0; f < ARRAY_SIZE(flags); f++) {
		for (unsigned fail = 0; fail < 3; fail++) {
			unsigned syncs = flags[f] & BLK_FUA ? 1 : 0;

			bf_open(kind, false);
			memset(out, 0xaa, sizeof(out));
			for (unsigned i = 0; i < 4; i++)
				assert_int_equal(bf_do(BLK_WRITE, 0, i * MIB, MIB, out), 0);
			/* The host can, can one of two, can neither. */
			bf.fault = (struct fault){AIO_FALLOCATE, 0, fail, -EOPNOTSUPP};
			assert_int_equal(bf_do(BLK_WRITE_ZEROES, flags[f], 512, 2 * MIB, NULL), 0);
			assert_int_equal(bf.n_calls[AIO_SYNC], syncs);
			for (unsigned i = 0; i < 3; i++) {
				assert_int_equal(bf_do(BLK_READ, 0, i * MIB, MIB, in), 0);
				for (unsigned j = 0; j < MIB; j++) {
					uint64_t at = i * MIB + j;

					assert_int_equal(in[j],
							 at < 512 || at >= 512 + 2 * MIB ? 0xaa : 0);
				}
			}
			/* A discard that the host cannot do is none. */
			bf.fault = (struct fault){AIO_FALLOCATE, 0, 1, -EOPNOTSUPP};
			assert_int_equal(bf_do(BLK_DISCARD, 0, 3 * MIB, MIB, NULL), 0);
			bf_end();
		}
	}
}

static void test_discard(void **state)
{
	struct stat before, after;

	(void)state;
	bf_open(AIO_AUTO, false);
	memset(out, 1, sizeof(out));
	assert_int_equal(bf_do(BLK_WRITE, BLK_FUA, 0, MIB, out), 0);
	assert_int_equal(fstat(bf.fd, &before), 0);
	assert_int_equal(bf_do(BLK_DISCARD, 0, 0, MIB, NULL), 0);
	assert_int_equal(fstat(bf.fd, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(after.st_size, before.st_size);
	bf_end();
}

/* No room: held until a resume, as often as it takes; nothing reaches the guest. */
static void test_full(void **state)
{
	struct test_req t, u;
	struct blk_stats st;

	(void)state;
	EACH_KIND(kind)
	{
		bf_open(kind, true);
		bf_fill(out, 4096, 3);
		bf.fault = (struct fault){AIO_WRITE, 0, 3, -ENOSPC};
		bf_start(&t, BLK_WRITE, 0, 0, 4096, out, 0);
		bf_start(&u, BLK_WRITE, 0, 8192, 4096, out, 0);
		while (bf.fault.n > 1)
			bf_round();
		bf_round();
		blk_pause(bf.blk);
		assert_false(t.done || u.done);
		assert_int_equal(bf.n_events, 1); /* once for both */
		assert_int_equal(bf.last.kind, BLK_EV_FULL);
		assert_int_equal(bf.last.error, ENOSPC);
		blk_stats(bf.blk, &st);
		assert_int_equal(st.held, 2);
		assert_int_equal(st.stalls, 1);
		blk_resume(bf.blk); /* one of them finds no room again */
		while (bf.n_events < 2)
			bf_round();
		blk_pause(bf.blk);
		assert_int_equal(t.done + u.done, 1);
		blk_resume(bf.blk);
		assert_int_equal(bf_wait(&t), 0);
		assert_int_equal(bf_wait(&u), 0);
		assert_int_equal(bf_do(BLK_READ, 0, 8192, 4096, in), 0);
		assert_memory_equal(in, out, 4096);
		/* A reset of the device in the middle: cancelled, no later write. */
		bf.fault = (struct fault){AIO_WRITE, 0, 1, -EDQUOT};
		bf_start(&t, BLK_WRITE, 0, 0, 4096, out, 0);
		while (bf.n_events < 3)
			bf_round();
		blk_drain(bf.blk);
		assert_true(t.done);
		assert_int_equal(t.result, -ECANCELED);
		bf_end();

		/* Policy: report. */
		bf_open(kind, false);
		bf.fault = (struct fault){AIO_WRITE, 0, 1, -ENOSPC};
		assert_int_equal(bf_do(BLK_WRITE, 0, 0, 4096, out), -ENOSPC);
		bf_end();
	}
}

/* A flush that failed stays failed. */
static void test_flush_latched(void **state)
{
	(void)state;
	EACH_KIND(kind)
	{
		bf_open(kind, true);
		assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), 0);
		bf.fault = (struct fault){AIO_SYNC, 0, 1, -ENOSPC};
		assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), -EIO);
		assert_int_equal(bf.n_events, 1);
		assert_int_equal(bf.last.kind, BLK_EV_FLUSH);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), -EIO);
		assert_int_equal(bf.n_calls[AIO_SYNC], 2);
		assert_int_equal(bf.n_events, 1);
		assert_int_equal(bf_do(BLK_READ, 0, 0, 4096, in), 0);
		bf_end();
	}
}

/* Nothing is in flight after a pause, and nothing begins until the resume. */
static void test_pause(void **state)
{
	struct test_req t[8], late;
	struct blk_stats st;

	(void)state;
	EACH_KIND(kind)
	{
		bf_open(kind, true);
		for (unsigned i = 0; i < 8; i++)
			bf_start(&t[i], BLK_WRITE, 0, i * 4096, 4096, out, 512);
		blk_pause(bf.blk);
		for (unsigned i = 0; i < 8; i++)
			assert_true(t[i].done);
		bf_start(&late, BLK_READ, 0, 0, 4096, in, 0);
		for (unsigned i = 0; i < 3; i++)
			loop_run_once(bf.loop, 1);
		assert_false(late.done);
		blk_stats(bf.blk, &st);
		assert_int_equal(st.in_flight, 0);
		assert_int_equal(st.held, 1);
		blk_resume(bf.blk);
		assert_int_equal(bf_wait(&late), 0);
		bf_start(&late, BLK_READ, 0, 0, 4096, in, 0);
		blk_drain(bf.blk);
		assert_true(late.done);
		bf_end();
	}
}

/* What limits let pass in a time is what they say; the time is counted, not bounded. */
static void test_limits(void **state)
{
	struct blk_limits lim = {.iops = 500, .iops_burst = 5};
	struct test_req t[40];
	struct blk_stats st;
	uint64_t began;

	(void)state;
	bf_open(AIO_AUTO, true);
	blk_set_limits(bf.blk, &lim);
	began = clock_ns();
	for (unsigned i = 0; i < 40; i++)
		bf_start(&t[i], BLK_READ, 0, 0, 512, in, 0);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(bf_wait(&t[i]), 0);
	assert_true(clock_ns() - began >= 34 * CLOCK_NS_PER_S / 500);
	for (unsigned i = 1; i < 40; i++)
		assert_true(t[i].order > t[0].order || i < 5);
	blk_stats(bf.blk, &st);
	assert_true(st.throttled >= 34);
	/* Taking the limit away lets all go at once; 1 a second would take a minute. */
	lim = (struct blk_limits){.bps = 512, .bps_burst = 512};
	blk_set_limits(bf.blk, &lim);
	for (unsigned i = 0; i < 40; i++)
		bf_start(&t[i], BLK_READ, 0, 0, 512, in, 0);
	blk_set_limits(bf.blk, &(struct blk_limits){0});
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(bf_wait(&t[i]), 0);
	/* Cancelled while they wait. */
	blk_set_limits(bf.blk, &lim);
	for (unsigned i = 0; i < 40; i++)
		bf_start(&t[i], BLK_READ, 0, 0, 512, in, 0);
	blk_drain(bf.blk);
	for (unsigned i = 0; i < 40; i++)
		assert_true(t[i].done);
	assert_int_equal(t[39].result, -ECANCELED);
	bf_end();
}

static void resized(void *ctx)
{
	++*(int *)ctx;
}

static void test_grow(void **state)
{
	struct err e = {0};
	int n = 0;

	(void)state;
	bf_open(AIO_AUTO, true);
	blk_set_device(bf.blk, &(struct blk_device){.ctx = &n, .resized = resized});
	assert_int_equal(bf_do(BLK_WRITE, 0, DISK_SIZE, 4096, out), -EINVAL);
	assert_int_equal(blk_grow(bf.blk, DISK_SIZE + MIB, &e), 0);
	assert_true(blk_info(bf.blk)->size == DISK_SIZE + MIB);
	assert_int_equal(n, 1);
	assert_int_equal(bf.last.kind, BLK_EV_SIZE);
	assert_int_equal(bf_do(BLK_WRITE, 0, DISK_SIZE, 4096, out), 0);
	/* By somebody else, then looked at. */
	assert_int_equal(ftruncate(bf.fd, DISK_SIZE + 2 * MIB + 100), 0);
	assert_int_equal(blk_grow(bf.blk, 0, &e), 0);
	assert_true(blk_info(bf.blk)->size == DISK_SIZE + 2 * MIB);
	assert_int_equal(n, 2);
	assert_int_equal(blk_grow(bf.blk, 0, &e), 0);
	assert_int_equal(n, 2);
	assert_int_equal(blk_grow(bf.blk, DISK_SIZE, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "can only grow"));
	e = (struct err){0};
	assert_int_equal(blk_grow(bf.blk, DISK_SIZE + 3 * MIB + 1, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "multiple of 512"));
	bf_end();
}

/* Cut while in use: an error for the guest, not a crash, and writes still work. */
static void test_shrunk(void **state)
{
	(void)state;
	EACH_KIND(kind)
	{
		struct err e = {0};

		bf_open(kind, true);
		assert_int_equal(ftruncate(bf.fd, MIB), 0);
		assert_int_equal(bf_do(BLK_READ, 0, 2 * MIB, 4096, in), -EIO);
		assert_int_equal(bf_do(BLK_READ, 0, MIB - 4096, 8192, in), -EIO);
		assert_int_equal(bf_do(BLK_READ, 0, MIB - 4096, 4096, in), 0);
		assert_int_equal(blk_grow(bf.blk, 0, &e), -EINVAL);
		assert_non_null(strstr(e.msg, "made smaller while in use"));
		assert_true(blk_info(bf.blk)->size == DISK_SIZE);
		bf_end();
	}
}

/* O_DIRECT with memory of any alignment. */
static void test_direct(void **state)
{
	static uint8_t odd[2 * MIB] __attribute__((aligned(4096)));

	(void)state;
	EACH_KIND(kind)
	{
		struct blk_layer *layer = NULL;
		struct file_config fc = {.name = "x", .direct = true, .aio = kind};
		struct err e = {0};
		struct test_req t;

		bf_begin();
		bf.fd = bf_file(DISK_SIZE, 0);
		fc.fd = fcntl(bf.fd, F_DUPFD_CLOEXEC, 0);
		if (fcntl(bf.fd, F_SETFL, O_DIRECT) < 0) {
			close(fc.fd);
			bf_end();
			skip();
		}
		fc.block = 4096; /* what every host takes */
		if (file_open(&layer, bf.loop, &fc, &e) < 0)
			fail_msg("%s", e.msg);
		aio_set_fault(file_aio(layer), bf_fault, &bf.fault);
		bf_disk(layer, false);
		bf_fill(out, 128 * KIB, 5);
		memcpy(odd + 3, out, 128 * KIB);
		bf_start(&t, BLK_WRITE, 0, 4096, 128 * KIB, odd + 3, 5001);
		assert_int_equal(bf_wait(&t), 0);
		memset(odd, 0, sizeof(odd));
		bf.fault = (struct fault){AIO_READ, 0, 1, 4096}; /* short, at a block */
		bf_start(&t, BLK_READ, 0, 4096, 128 * KIB, odd + 7, 4999);
		assert_int_equal(bf_wait(&t), 0);
		assert_memory_equal(odd + 7, out, 128 * KIB);
		bf_start(&t, BLK_READ, 0, 4096, 128 * KIB, odd + 4096, 0);
		assert_int_equal(bf_wait(&t), 0);
		assert_memory_equal(odd + 4096, out, 128 * KIB);
		bf_end();
	}
}

static void test_refused_files(void **state)
{
	struct file_config fc = {.name = "odd.raw"};
	struct blk_layer *layer;
	struct err e = {0};
	int p[2];

	(void)state;
	bf_begin();
	fc.fd = bf_file(1000, 0);
	assert_int_equal(file_open(&layer, bf.loop, &fc, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "1000 bytes"));
	e = (struct err){0};
	fc.fd = bf_file(0, 0);
	assert_int_equal(file_open(&layer, bf.loop, &fc, &e), -EINVAL);
	e = (struct err){0};
	assert_int_equal(pipe(p), 0);
	close(p[1]);
	fc.fd = p[0];
	assert_int_equal(file_open(&layer, bf.loop, &fc, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "neither"));
	bf_end();
}

static void test_counters(void **state)
{
	struct blk_stats st;
	uint64_t n = 0;

	(void)state;
	bf_open(AIO_AUTO, false);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(bf_do(BLK_WRITE, 0, 0, 8192, out), 0);
	assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), 0);
	bf.fault = (struct fault){AIO_READ, 0, 1, -EIO};
	assert_int_equal(bf_do(BLK_READ, 0, 0, 8192, in), -EIO);
	blk_stats(bf.blk, &st);
	assert_int_equal(st.op[BLK_WRITE].ops, 5);
	assert_int_equal(st.op[BLK_WRITE].bytes, 5 * 8192);
	assert_int_equal(st.op[BLK_FLUSH].ops, 1);
	assert_int_equal(st.op[BLK_READ].ops, 0);
	assert_int_equal(st.op[BLK_READ].errors, 1);
	for (unsigned i = 0; i < BLK_BUCKETS; i++)
		n += st.op[BLK_WRITE].latency[i];
	assert_int_equal(n, 5);
	assert_true(st.op[BLK_WRITE].total_ns > 0);
	bf_end();
}

/* More requests than the ring has room, handed in at once. */
static void test_many(void **state)
{
	enum { N = 1000 };
	struct test_req *t = calloc(N, sizeof(*t));

	(void)state;
	EACH_KIND(kind)
	{
		bf_open(kind, false);
		for (unsigned i = 0; i < N; i++) {
			t[i].iov[0] = (struct iovec){out, 512};
			t[i].done = false;
			t[i].r = (struct blk_req){.op = BLK_WRITE,
						  .offset = i * 512,
						  .bytes = 512,
						  .iov = t[i].iov,
						  .n_iov = 1,
						  .done = bf_done};
			blk_submit(bf.blk, &t[i].r);
		}
		blk_commit(bf.blk);
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(bf_wait(&t[i]), 0);
		bf_end();
	}
	free(t);
}

static unsigned n_refused;

static void refused_done(struct blk_io *io, int result)
{
	(void)io;
	assert_int_equal(result, -ENOMEM);
	n_refused++;
}

/* No memory: the request fails later, as all do. */
static void test_refused(void **st)
{
	struct blk_io io[3] = {{.done = refused_done},
			       {.done = refused_done},
			       {.done = refused_done}};
	struct blk_layer layer = {0};
	struct layer_refused r;

	(void)st;
	bf_begin();
	layer_refused_init(&r, bf.loop, &layer);
	assert_false(layer_refused_run(&r));
	layer_refuse(&r, &io[0]);
	layer_refuse(&r, &io[1]);
	assert_int_equal(n_refused, 0);
	bf_round();
	assert_int_equal(n_refused, 2);
	layer_refuse(&r, &io[2]);
	assert_true(layer_refused_run(&r));
	assert_int_equal(n_refused, 3);
	layer_refused_fini(&r);
	loop_destroy(bf.loop);
}

/* The file is taken away while requests are under way: they end, and what comes after them fails. */
static void test_eject(void **st)
{
	static uint8_t buf[8][4096];
	struct test_req t[8];

	(void)st;
	bf_open(AIO_THREADS, true);
	for (unsigned i = 0; i < 8; i++)
		bf_start(&t[i], BLK_WRITE, 0, 4096 * i, 4096, buf[i], 0);
	assert_int_equal(blk_eject(bf.blk, NULL), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(t[i].done);
	assert_int_equal(bf_do(BLK_READ, 0, 0, 4096, buf[0]), -EIO);
	assert_int_equal(bf_do(BLK_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_int_equal(blk_info(bf.blk)->size, DISK_SIZE);
	assert_int_equal(blk_grow(bf.blk, 2 * DISK_SIZE, NULL), -EOPNOTSUPP);
	blk_pause(bf.blk);
	blk_resume(bf.blk);
	bf_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_checks),
		cmocka_unit_test(test_short_and_failed),
		cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_flush_latched),
		cmocka_unit_test(test_pause),

		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_shrunk),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_refused_files),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_eject),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
