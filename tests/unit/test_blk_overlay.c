/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_blk_overlay.c - throw-away writes: random requests of all sizes against a copy in memory, many in flight where they do
 * not overlap, and the file below must never change.
 */
#include "blk_fixture.h"

#define SIZE (64 * 4096 + 512 * 3) /* the last page is not whole */
#define FLIGHT 12

static uint8_t below[SIZE], model[SIZE], check[SIZE];
static uint64_t seed;

static uint64_t rnd(uint64_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % n;
}

static void begin(enum aio_kind kind)
{
	struct blk_layer *lower, *upper, *top;
	int upper_fd;

	bf_begin();
	bf.fd = bf_file(SIZE, 0);
	bf_fill(below, SIZE, 99);
	memcpy(model, below, SIZE);
	assert_int_equal(pwrite(bf.fd, below, SIZE, 0), SIZE);
	upper_fd = memfd_create("upper", MFD_CLOEXEC);
	assert_int_equal(ftruncate(upper_fd, SIZE), 0);
	lower = bf_layer(bf.fd, true, kind);
	upper = bf_layer(upper_fd, false, kind);
	close(upper_fd);
	assert_int_equal(overlay_open(&top, bf.loop, lower, upper, NULL), 0);
	bf_disk(top, true);
}

struct slot {
	struct test_req t;
	uint8_t buf[SIZE];
	uint64_t offset, bytes;
	bool used;
};

static struct slot slot[FLIGHT];

/* Starts one that overlaps no other in flight in its bytes (it may in its pages). */
static void start_one(struct slot *s)
{
	static const enum blk_op ops[] = {BLK_WRITE, BLK_WRITE,	       BLK_WRITE, BLK_READ,
					  BLK_READ,  BLK_WRITE_ZEROES, BLK_FLUSH};
	enum blk_op op = ops[rnd(ARRAY_SIZE(ops))];
	uint64_t sectors = SIZE / 512, bytes, offset;

again:
	offset = rnd(sectors) * 512;
	bytes = (1 + rnd(rnd(4) ? 12 : 100)) * 512;
	bytes = MIN(bytes, SIZE - offset);
	if (!rnd(4)) { /* whole pages */
		offset = ALIGN_DOWN(offset, (uint64_t)4096);
		bytes = MIN(UINT64_C(8192), SIZE - offset);
	}
	for (unsigned i = 0; i < FLIGHT; i++)
		if (slot[i].used && offset < slot[i].offset + slot[i].bytes &&
		    slot[i].offset < offset + bytes)
			goto again;
	s->used = true;
	s->offset = offset;
	s->bytes = bytes;
	if (op == BLK_FLUSH) {
		bf_start(&s->t, op, 0, 0, 0, NULL, 0);
		return;
	}
	if (op == BLK_WRITE) {
		bf_fill(s->buf, bytes, (uint32_t)rnd(1u << 30));
		memcpy(model + offset, s->buf, bytes);
	} else if (op == BLK_WRITE_ZEROES) {
		memset(model + offset, 0, bytes);
	}
	bf_start(&s->t, op, 0, offset, bytes, op == BLK_WRITE_ZEROES ? NULL : s->buf,
		 bytes / 40 + 1 + rnd(3000));
}

static void finish_one(struct slot *s)
{
	assert_int_equal(bf_wait(&s->t), 0);
	if (s->t.r.op == BLK_READ)
		assert_memory_equal(s->buf, model + s->offset, s->bytes);
	s->used = false;
}

static void run(enum aio_kind kind, unsigned n)
{
	begin(kind);
	for (unsigned i = 0; i < n; i++) {
		struct slot *s = &slot[rnd(FLIGHT)];

		if (s->used)
			finish_one(s);
		start_one(s);
		if (!rnd(10))
			loop_run_once(bf.loop, 0);
	}
	for (unsigned i = 0; i < FLIGHT; i++)
		if (slot[i].used)
			finish_one(&slot[i]);
	assert_int_equal(bf_do(BLK_READ, 0, 0, SIZE, check), 0);
	assert_memory_equal(check, model, SIZE);
	assert_int_equal(pread(bf.fd, check, SIZE, 0), SIZE);
	assert_memory_equal(check, below, SIZE);
	bf_end();
}

static void test_random(void **state)
{
	(void)state;
	for (seed = 1; seed < 10;) {
		uint64_t round = seed;

		run(round & 1 ? AIO_THREADS : AIO_AUTO, 400);
		seed = round + 1;
	}
}

/* A failure below reaches the request, and what was there before stays. */
static void test_errors(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		begin(AIO_AUTO);
		bf_fill(check, 8192, 4);
		bf.fault = (struct fault){-1, i, 1, -EIO};
		/* Copies two pages, then writes. */
		assert_int_equal(bf_do(BLK_WRITE, 0, 512, 8192, check), i < 3 ? -EIO : 0);
		bf.fault.n = 0;
		if (i < 3) {
			assert_int_equal(bf_do(BLK_READ, 0, 0, SIZE, check), 0);
			assert_memory_equal(check, below, SIZE);
		}
		assert_int_equal(bf_do(BLK_WRITE, 0, 512, 8192, check), 0);
		bf_end();
	}
	/* No room for the upper file: held, and goes on. */
	begin(AIO_AUTO);
	bf.fault = (struct fault){AIO_WRITE, 0, 1, -ENOSPC};
	{
		struct test_req t;

		bf_start(&t, BLK_WRITE, 0, 512, 8192, model, 0);
		while (!bf.n_events)
			bf_round();
		blk_pause(bf.blk);
		assert_false(t.done);
		blk_resume(bf.blk);
		assert_int_equal(bf_wait(&t), 0);
	}
	assert_int_equal(blk_grow(bf.blk, SIZE * 2, NULL), -EOPNOTSUPP);
	bf_end();
}

/* Destroyed in the middle of everything. */
static void test_destroy(void **state)
{
	(void)state;
	for (seed = 100; seed < 130;) {
		uint64_t round = seed;

		begin(round & 1 ? AIO_THREADS : AIO_AUTO);
		for (unsigned i = 0; i < FLIGHT; i++)
			start_one(&slot[i]);
		bf_end();
		for (unsigned i = 0; i < FLIGHT; i++) {
			assert_true(slot[i].t.done);
			slot[i].used = false;
		}
		seed = round + 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
