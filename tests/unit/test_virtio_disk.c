/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_disk.c - the block device through its rings: requests, wrong ones, resets in the middle, random ones. */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio_fixture.h"

#include "blk/layer.h"
#include "util/clock.h"
#include "virtio/disk.h"

#define SIZE (4 * MIB)
#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)
#define F_RO BIT(5)
#define F_FLUSH BIT(9)
#define F_MQ BIT(12)
#define F_DISCARD BIT(13)
#define F_ZEROES BIT(14)
#define ALL (BASE | F_FLUSH | F_MQ | F_DISCARD | F_ZEROES)
#define ONE (ALL & ~F_MQ) /* of a disk with one queue */
#define HEADER FIX_DATA
#define STATUS (FIX_DATA + 0x1000)
#define DATA (FIX_DATA + 0x10000)

static struct fix *f;
static struct blk *blk;
static int fd;
static unsigned n_syncs, n_dsync;
static bool no_room;	       /* writes find none */
static void (*at_write)(void); /* called once, while the next write is on its way */

static int64_t look(void *ctx, const struct aio_req *r)
{
	(void)ctx;
	n_syncs += r->op == AIO_SYNC;
	n_dsync += r->dsync;
	if (r->op == AIO_WRITE && at_write) {
		void (*call)(void) = at_write;

		at_write = NULL;
		call();
	}
	return r->op == AIO_WRITE && no_room ? -ENOSPC : 0;
}

static void begin(enum aio_kind kind, bool read_only, unsigned queues)
{
	struct blk_config bc = {.id = "disk0", .pause_when_full = true};
	struct file_config fc = {.name = "t", .read_only = read_only, .aio = kind};
	struct disk_config dc = {.serial = "a serial of twenty b, and more", .n_queues = queues};
	struct blk_layer *layer;
	struct virtio_dev *d;

	f = fix_new();
	fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	fc.fd = dup(fd);
	n_syncs = n_dsync = 0;
	assert_int_equal(file_open(&layer, f->loop, &fc, NULL), 0);
	aio_set_fault(file_aio(layer), look, NULL);
	assert_int_equal(blk_create(&blk, f->loop, layer, &bc, NULL), 0);
	dc.blk = blk;
	assert_int_equal(disk_create(&d, &f->b->env, &dc, NULL), 0);
	fix_add(f, d);
}

static void end(void)
{
	struct loop *loop = f->loop;

	/* As a machine does it: the hardware, then the disk, then the loop. */
	device_destroy(&f->d->pci.dev);
	pci_root_destroy(f->root);
	blk_destroy(blk);
	loop_destroy(loop);
	gmem_destroy(f->mem);
	board_env_free(f->b);
	free(f);
	close(fd);
}

static void put(gpa_t at, const void *p, size_t n)
{
	assert_int_equal(gmem_write(f->mem, at, p, n), 0);
}

static void header_at(gpa_t at, uint32_t type, uint64_t sector)
{
	uint32_t h[4] = {type, 0, (uint32_t)sector, (uint32_t)(sector >> 32)};

	put(at, h, 16);
}

static uint8_t status(void)
{
	uint8_t v;

	assert_int_equal(gmem_read(f->mem, STATUS, &v, 1), 0);
	return v;
}

#define UNTIL(cond)                                                       \
	do {                                                              \
		uint64_t limit_ = clock_ns() + 20 * CLOCK_NS_PER_S;       \
		while (!(cond)) {                                         \
			if (clock_ns() > limit_)                          \
				fail_msg("never became true: %s", #cond); \
			loop_run_once(f->loop, 1);                        \
		}                                                         \
	} while (0)

/* A request on queue 0, and its end; returns its status. */
static uint8_t request(const struct drv_seg *s, unsigned n, uint32_t *len)
{
	uint8_t unset = 0xee;
	int id = -1;

	put(STATUS, &unset, 1);
	assert_true(drv_add(&f->q[0], s, n, f->q[0].set.indirect) >= 0);
	fix_kick(f, 0);
	UNTIL((id = drv_get(&f->q[0], len)) >= 0);
	return status();
}

static uint8_t simple(uint32_t type, uint64_t sector, uint32_t bytes)
{
	bool in = type == 0 || type == 8;
	struct drv_seg s[3] = {{HEADER, 16, false}, {DATA, bytes, in}, {STATUS, 1, true}};
	uint32_t len;
	uint8_t r;

	header_at(HEADER, type, sector);
	if (!bytes)
		s[1] = s[2];
	r = request(s, bytes ? 3 : 2, &len);
	assert_int_equal(len, in ? bytes + 1 : 1);
	return r;
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

static uint8_t buf[256 * KIB], back[256 * KIB];

static void test_config(void **st)
{
	(void)st;
	begin(AIO_AUTO, false, 3);
	assert_true((fix_offered(f) & (ALL | F_RO)) == ALL);
	assert_int_equal(fix_get(f, B_DEVICE, 8), SIZE / 512);
	assert_int_equal(fix_get(f, B_DEVICE + 12, 4), 254);
	assert_int_equal(fix_get(f, B_DEVICE + 20, 4), 512);
	assert_int_equal(fix_get(f, B_DEVICE + 24, 1), 3); /* 2^3 blocks of 512 */
	assert_int_equal(fix_get(f, B_DEVICE + 34, 2), 3);
	/* Growth, with the interrupt for it. */
	fix_up(f, ALL, 8);
	fix_irq(f, 0);
	assert_int_equal(blk_grow(blk, SIZE + MIB, NULL), 0);
	assert_int_equal(fix_get(f, B_DEVICE, 8), (SIZE + MIB) / 512);
	assert_true(fix_irq(f, FIX_VECTOR));
	assert_int_equal(simple(0, SIZE / 512, 4096), 0);
	end();
	begin(AIO_AUTO, true, 1);
	assert_true((fix_offered(f) & (ALL | F_RO)) == (BASE | F_FLUSH | F_RO));
	fix_up(f, BASE | F_FLUSH | F_RO, 8);
	assert_int_equal(simple(1, 0, 512), 1);
	assert_int_equal(simple(0, 0, 512), 0);
	assert_int_equal(simple(4, 0, 0), 0);
	assert_int_equal(simple(11, 0, 16), 2);
	end();
}

static void requests(uint64_t features)
{
	struct drv_seg s[8];
	uint32_t len, range[8] = {64, 0, 8, 0, 128, 0, 16, 1};
	char id[24] = "";

	fix_up(f, features, 16);
	fill(buf, sizeof(buf), 1);
	put(DATA, buf, sizeof(buf));
	fix_irq(f, 0);
	assert_int_equal(simple(1, 8, sizeof(buf)), 0);
	assert_true(fix_irq(f, FIX_VECTOR + 1));
	assert_int_equal(pread(fd, back, sizeof(back), 4096), sizeof(back));
	assert_memory_equal(back, buf, sizeof(buf));
	assert_int_equal(n_syncs, 0);
	assert_int_equal(simple(4, 0, 0), features & F_FLUSH ? 0 : 0);
	assert_int_equal(n_syncs, 1);
	/* Without the feature the driver cannot flush: each write is safe when it completes. */
	assert_true((n_dsync > 0) == !(features & F_FLUSH));
	/* Read into odd pieces. */
	header_at(HEADER, 0, 8);
	s[0] = (struct drv_seg){HEADER, 16, false};
	s[1] = (struct drv_seg){DATA + 3, 1000, true};
	s[2] = (struct drv_seg){DATA + 5000, 24, true};
	s[3] = (struct drv_seg){STATUS, 1, true};
	assert_int_equal(request(s, 4, &len), 0);
	assert_int_equal(len, 1025);
	assert_int_equal(gmem_read(f->mem, DATA + 3, back, 1000), 0);
	assert_memory_equal(back, buf, 1000);
	assert_int_equal(gmem_read(f->mem, DATA + 5000, back, 24), 0);
	assert_memory_equal(back, buf + 1000, 24);
	/* Header and data in one piece; data and status in one piece; the header in two. */
	header_at(DATA, 1, 100);
	put(DATA + 16, buf + 77, 512);
	s[0] = (struct drv_seg){DATA, 16 + 512, false};
	s[1] = (struct drv_seg){STATUS, 1, true};
	assert_int_equal(request(s, 2, &len), 0);
	header_at(DATA, 0, 100);
	s[0] = (struct drv_seg){DATA, 5, false};
	s[1] = (struct drv_seg){DATA + 5, 11, false};
	s[2] = (struct drv_seg){STATUS - 512, 513, true};
	assert_int_equal(request(s, 3, &len), 0);
	assert_int_equal(len, 513);
	assert_int_equal(gmem_read(f->mem, STATUS - 512, back, 512), 0);
	assert_memory_equal(back, buf + 77, 512);
	/* Serial number: 20 bytes, or what there is room for. */
	assert_int_equal(simple(8, 0, 20), 0);
	assert_int_equal(gmem_read(f->mem, DATA, id, 20), 0);
	assert_string_equal(id, "a serial of twenty b");
	assert_int_equal(simple(8, 0, 7), 0);
	/* Ranges. */
	put(DATA, range, 32);
	assert_int_equal(simple(13, 0, 32), features & F_ZEROES ? 0 : 2);
	if (features & F_ZEROES) {
		assert_int_equal(pread(fd, back, 4096, 64 * 512), 4096);
		for (unsigned i = 0; i < 4096; i++)
			assert_int_equal(back[i], 0);
	}
	assert_int_equal(simple(11, 0, 16), features & F_DISCARD ? 0 : 2);
	assert_int_equal(simple(11, 0, 32), 2); /* the unmap flag is none of discard's */
	/* Wrong: ends of the disk, sizes, types, flags. */
	assert_int_equal(simple(0, SIZE / 512, 512), 1);
	assert_int_equal(simple(0, SIZE / 512 - 1, 1024), 1);
	assert_int_equal(simple(1, UINT64_MAX, 512), 1);
	assert_int_equal(simple(1, UINT64_MAX / 512, 512), 1);
	assert_int_equal(simple(0, 0, 100), 1);
	assert_int_equal(simple(0, 0, 0), 1);
	assert_int_equal(simple(77, 0, 512), 2);
	if (features & F_DISCARD) {
		range[2] = 0xffffffff;
		put(DATA, range, 32);
		assert_int_equal(simple(11, 0, 16), 1);
		assert_int_equal(simple(11, 0, 17), 1);
		assert_int_equal(simple(11, 0, 16 * 17), 1);
		range[2] = 8;
		range[3] = 0x80;
		put(DATA, range, 32);
		assert_int_equal(simple(13, 0, 16), 2);
	}
	assert_int_equal(fix_get(f, C_STATUS, 1), 15);
}

static void test_requests(void **st)
{
	static const uint64_t features[] = {
		ALL,
		ALL | VIRTIO_F_PACKED,
		ALL | VIRTIO_F_EVENT_IDX,
		ALL | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX,
		ALL | VIRTIO_F_PACKED | VIRTIO_F_INDIRECT,
		BASE,
	};

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		begin(i & 1 ? AIO_THREADS : AIO_AUTO, false, 2);
		requests(features[i]);
		end();
	}
}

/* Makes n requests available on a queue, each with its own memory; then one kick. */
static void many(unsigned q, unsigned n, uint32_t type, uint32_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		gpa_t at = DATA + 0x10000 * (q * 64 + i);
		struct drv_seg s[3] = {{at, 16, false},
				       {at + 0x1000, bytes, !type},
				       {at + 0x800, 1, true}};

		header_at(at, type, (uint64_t)i * bytes / 512);
		assert_true(drv_add(&f->q[q], s, 3, false) >= 0);
	}
	fix_kick(f, q);
}

/* A batch is one interrupt for all, or few. */
static void test_batch(void **st)
{
	unsigned got = 0, irqs = 0;
	uint32_t len;

	(void)st;
	begin(AIO_AUTO, false, 1);
	fix_up(f, ONE | VIRTIO_F_EVENT_IDX, 256);
	drv_interrupts(&f->q[0], true);
	fix_irq(f, 0);
	many(0, 60, 1, 4096);
	while (got < 60) {
		loop_run_once(f->loop, 10);
		irqs += fix_irq(f, FIX_VECTOR + 1);
		while (drv_get(&f->q[0], &len) >= 0)
			got++;
	}
	assert_in_range(irqs, 1, 1); /* the event index was not moved on */
	end();
}

static bool is_reset(void)
{
	return fix_get(f, C_STATUS, 1) == 0;
}

/* Resets while requests are under way: nothing is written to guest memory after the driver saw the reset. */
static void test_reset_in_the_middle(void **st)
{
	(void)st;
	for (unsigned kind = AIO_URING; kind <= AIO_THREADS; kind++) {
		begin(kind == AIO_URING ? AIO_AUTO : AIO_THREADS, false, 2);
		memset(buf, 0x55, sizeof(buf));
		for (unsigned round = 0; round < 150; round++) {
			uint8_t v;

			fix_up(f, ALL | (round & 1 ? VIRTIO_F_PACKED : 0), 256);
			many(0, 40, round % 3 ? 0 : 1, 32768);
			many(1, 40, 0, 16384);
			for (unsigned i = 0; i < round % 5; i++)
				loop_run_once(f->loop, 0);
			if (round % 7 == 3) { /* one queue first */
				fix_set(f, C_Q_SELECT, 1, 2);
				fix_set(f, C_Q_RESET, 1, 2);
				UNTIL(fix_get(f, C_Q_RESET, 2) == 0);
				put(DATA + 0x10000 * 64 + 0x1000, buf, 64);
				fix_run(f);
				assert_int_equal(gmem_read(f->mem, DATA + 0x10000 * 64 + 0x1000, &v,
							   1),
						 0);
				assert_int_equal(v, 0x55);
			}
			fix_set(f, C_STATUS, 0, 1);
			UNTIL(is_reset());
			put(DATA + 0x1000, buf, 64);
			put(DATA + 0x800, buf, 1);
			fix_run(f);
			assert_int_equal(gmem_read(f->mem, DATA + 0x1000, &v, 1), 0);
			assert_int_equal(v, 0x55);
			assert_int_equal(gmem_read(f->mem, DATA + 0x800, &v, 1), 0);
			assert_int_equal(v, 0x55);
		}
		/* Destroyed in the middle. */
		fix_up(f, ALL, 256);
		many(0, 40, 1, 32768);
		loop_run_once(f->loop, 0);
		end();
	}
}

/* Requests that wait for a limit are given up by a reset at once. */
static void test_reset_with_limits(void **st)
{
	struct blk_limits slow = {.iops = 1, .iops_burst = 1};

	(void)st;
	begin(AIO_AUTO, false, 1);
	blk_set_limits(blk, &slow);
	for (unsigned i = 0; i < 3; i++) {
		fix_up(f, ONE, 256);
		many(0, 40, 0, 4096);
		fix_run(f);
		fix_set(f, C_STATUS, 0, 1);
		UNTIL(is_reset());
	}
	end();
}

static void reset_device(void)
{
	fix_set(f, C_STATUS, 0, 1);
}

static void reset_queue(void)
{
	fix_set(f, C_Q_SELECT, 0, 2);
	fix_set(f, C_Q_RESET, 1, 2);
}

/* A driver that resets while writes are on their way that will find no room does not wait for the operator to make some. */
static void test_reset_when_full(void **st)
{
	struct blk_stats bs;
	uint32_t len;

	(void)st;
	for (unsigned i = 0; i < 4; i++) {
		begin(i & 1 ? AIO_THREADS : AIO_AUTO, false, 2);
		fix_up(f, ALL, 256);
		no_room = true;
		at_write = i & 2 ? reset_queue : reset_device;
		many(0, 10, 1, 4096);
		if (i & 2)
			UNTIL(!at_write && fix_get(f, C_Q_RESET, 2) == 0);
		else
			UNTIL(!at_write && is_reset());
		blk_stats(blk, &bs);
		assert_int_equal(bs.stalls, 0);
		assert_int_equal(bs.held, 0);
		no_room = false;
		if (i & 2) { /* the other queue works as before */
			many(1, 1, 1, 4096);
			UNTIL(drv_get(&f->q[1], &len) >= 0);
		} else {
			fix_up(f, ALL, 256);
			assert_int_equal(simple(1, 0, 4096), 0);
		}
		end();
	}
}

/* What waits for a limit is given up with its queue; another queue's requests wait on. */
static void test_queue_reset_with_limits(void **st)
{
	struct blk_limits slow = {.iops = 1, .iops_burst = 1}, none = {0};
	unsigned got = 0;
	uint32_t len;

	(void)st;
	begin(AIO_AUTO, false, 2);
	fix_up(f, ALL, 256);
	blk_set_limits(blk, &slow);
	many(1, 2, 1, 4096);
	many(0, 40, 1, 4096);
	many(1, 8, 1, 4096);
	fix_run(f);
	reset_queue();
	UNTIL(fix_get(f, C_Q_RESET, 2) == 0);
	blk_set_limits(blk, &none);
	while (got < 10) {
		loop_run_once(f->loop, 10);
		while (drv_get(&f->q[1], &len) >= 0)
			got++;
	}
	end();
}

static void test_pause(void **st)
{
	unsigned got = 0;
	uint32_t len;

	(void)st;
	begin(AIO_THREADS, false, 1);
	fix_up(f, ONE, 256);
	many(0, 40, 0, 32768);
	loop_run_once(f->loop, 0);
	device_pause(&f->d->pci.dev);
	while (drv_get(&f->q[0], &len) >= 0)
		got++;
	many(0, 10, 0, 512);
	fix_run(f);
	assert_int_equal(drv_get(&f->q[0], &len), -1);
	device_resume(&f->d->pci.dev);
	while (got < 50) {
		loop_run_once(f->loop, 10);
		while (drv_get(&f->q[0], &len) >= 0)
			got++;
	}
	end();
}

static uint64_t rnd_state = 1;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* Random requests, most of them nonsense, some of them in memory that is being written: each is answered, or breaks the queue
 * until a reset. */
static void test_random(void **st)
{
	static const uint32_t types[] = {0, 1, 4, 8, 11, 13, 0, 1, 0, 1, 2, 0xffffffff};
	unsigned broken = 0;

	(void)st;
	begin(AIO_AUTO, false, 2);
	fix_up(f, ALL | VIRTIO_F_INDIRECT, 64);
	for (unsigned i = 0; i < 4000; i++) {
		struct drv_seg s[6];
		unsigned n_out = rnd(4), n_in = rnd(3), n = 0, q = rnd(2);
		uint32_t len;

		header_at(HEADER, types[rnd(ARRAY_SIZE(types))],
			  rnd(8) ? rnd(SIZE / 512 + 4) : (uint64_t)rnd(1u << 31) << rnd(34));
		for (unsigned k = 0; k < n_out + n_in; k++) {
			static const uint32_t lens[] = {1, 16, 512, 513, 4096, 17, 32, 1024};

			s[n].addr = k == 0 && n_out && rnd(10) ? HEADER : DATA + rnd(60000);
			s[n].len = k == 0 && n_out && rnd(10) ? 16 : lens[rnd(ARRAY_SIZE(lens))];
			s[n++].write = k >= n_out;
		}
		if (rnd(10) || !n)
			s[n++] = (struct drv_seg){STATUS, 1, true};
		if (drv_add(&f->q[q], s, n, rnd(2)) < 0 || !rnd(3)) {
			fix_kick(f, q);
			loop_run_once(f->loop, 0);
		}
		for (unsigned k = 0; k < 2; k++)
			while (drv_get(&f->q[k], &len) >= 0)
				;
		if (fix_get(f, C_STATUS, 1) & VIRTIO_S_NEEDS_RESET) {
			broken++;
			fix_set(f, C_STATUS, 0, 1);
			UNTIL(is_reset());
			fix_up(f, ALL | VIRTIO_F_INDIRECT | (rnd(2) ? VIRTIO_F_PACKED : 0), 64);
		}
	}
	assert_in_range(broken, 1, 3999);
	fix_set(f, C_STATUS, 0, 1);
	UNTIL(is_reset());
	fix_up(f, ALL, 64);
	assert_int_equal(simple(0, 0, 4096), 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_reset_in_the_middle),
		cmocka_unit_test(test_reset_with_limits),
		cmocka_unit_test(test_reset_when_full),
		cmocka_unit_test(test_queue_reset_with_limits),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
