/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_virtio_resets.c - a driver that resets its device over and over in the middle of I/O: a disk on a file with requests in
 * flight, a network card with traffic both ways. The device's status reads 0 only when nothing touches guest memory any more;
 * nothing is written where nobody asked; no descriptor is left over, and no memory.
 *
 * The argument is the number of resets of each device (10,000 if there is none).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio_fixture.h"

#include "blk/layer.h"
#include "util/clock.h"
#include "virtio/disk.h"
#include "virtio/net.h"

#define SIZE (4 * MIB)
#define GUARDED (64 * KIB) /* at the beginning of the disk: never written to */
#define BYTES (64 * KIB)   /* of a request */
#define REQUESTS 24u
#define HEADER(i) (FIX_DATA + 0x20000u * (i))
#define STATUS(i) (HEADER(i) + 0x100)
#define DATA(i) (HEADER(i) + 0x1000)
#define WARM 300u /* resets before anything is counted: pools and caches fill */

static unsigned rounds = 10000;
static struct fix *f;
static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Resident memory of the process but for the guest's. */
static uint64_t own_memory(void)
{
	unsigned long total, resident, shared;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu %lu", &total, &resident, &shared), 3);
	fclose(file);
	return (resident - shared) * 4096; /* the guest's is a memfd: shared */
}

struct usage {
	unsigned fds;
	uint64_t bytes;
};

static struct usage usage(void)
{
	return (struct usage){count_fds(), own_memory()};
}

static void expect_no_more(const struct usage *before)
{
	struct usage now = usage();

	assert_int_equal(now.fds, before->fds);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory for a while */
	if (now.bytes > before->bytes + MIB)
		fail_msg("%llu bytes more", (unsigned long long)(now.bytes - before->bytes));
#endif
}

/* Resets in one of the ways there are, and waits until it is done. */
static void reset(void)
{
	uint64_t limit = clock_ns() + 20 * CLOCK_NS_PER_S;
	unsigned express = fix_find_cap(f, PCI_CAP_EXPRESS, 0);

	if (express && rnd(8) == 0) { /* function level reset: BAR and bus mastering are gone, too */
		fix_cfg_set(f, express + 8, 0x8000, 2);
		fix_map(f);
	} else {
		fix_set(f, C_STATUS, 0, 1);
	}
	while (fix_get(f, C_STATUS, 1) != 0) {
		assert_true(clock_ns() < limit);
		loop_run_once(f->loop, 1);
	}
}

/* Only then does the driver use the memory for something else: nobody else may. */
static void reuse(gpa_t at, uint64_t n, bool check)
{
	uint8_t *p = gmem_at(f->mem, at, n);

	for (uint64_t i = 0; i < n && check; i += 509)
		assert_int_equal(p[i], 0x5a);
	memset(p, 0x5a, n);
}

/* ---- the disk ---- */

static struct blk *blk;

static void submit_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t header[4] = {rnd(2), 0,
				      (uint32_t)(GUARDED / 512 +
						 rnd((SIZE - GUARDED - BYTES) / 512))};
		uint32_t bytes = 512 * (1 + rnd(BYTES / 512));
		struct drv_seg s[3] = {{HEADER(i), 16, false},
				       {DATA(i), bytes, header[0] == 0},
				       {STATUS(i), 1, true}};

		if (rnd(10) == 0) { /* a flush */
			header[0] = 4;
			header[2] = 0;
			s[1] = s[2];
		}
		assert_int_equal(gmem_write(f->mem, HEADER(i), header, 16), 0);
		(void)drv_add(&f->q[0], s, header[0] == 4 ? 2 : 3, true);
	}
	fix_kick(f, 0);
}

static void disk_resets(enum aio_kind kind)
{
	static const uint64_t features = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET |
					 VIRTIO_F_INDIRECT | BIT(9);
	static uint8_t guard[GUARDED];
	struct blk_config bc = {.id = "disk0"};
	struct file_config fc = {.name = "t", .aio = kind};
	struct disk_config dc = {.serial = "", .n_queues = 1};
	struct blk_layer *layer;
	struct blk_stats stats;
	struct usage before = {0};
	unsigned n_busy = 0;
	struct loop *loop;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	f = fix_new();
	loop = f->loop;
	memset(guard, 0xc3, sizeof(guard));
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(pwrite(fd, guard, sizeof(guard), 0), sizeof(guard));
	fc.fd = dup(fd);
	assert_int_equal(file_open(&layer, f->loop, &fc, NULL), 0);
	assert_int_equal(blk_create(&blk, f->loop, layer, &bc, NULL), 0);
	dc.blk = blk;
	assert_int_equal(disk_create(&f->d, &f->b->env, &dc, NULL), 0);
	fix_add(f, f->d);
	for (unsigned i = 0; i < rounds + WARM; i++) {
		if (i == WARM)
			before = usage();
		fix_up(f, features | (i & 1 ? VIRTIO_F_PACKED : 0), 64);
		submit_some(1 + rnd(REQUESTS));
		for (unsigned turns = rnd(4); turns; turns--)
			loop_run_once(f->loop, 0);
		if (rnd(16) == 0) { /* a machine that is paused meanwhile */
			device_pause(&f->d->pci.dev);
			device_resume(&f->d->pci.dev);
		}
		blk_stats(blk, &stats);
		n_busy += stats.in_flight > 0;
		reset();
		for (unsigned k = 0; k < REQUESTS; k++)
			reuse(DATA(k), BYTES, false);
		for (unsigned turns = 0; turns < 2; turns++)
			loop_run_once(f->loop, 0);
		reuse(DATA(rnd(REQUESTS)), BYTES, true);
	}
	expect_no_more(&before);
	assert_true(n_busy > rounds / 8);
	assert_int_equal(pread(fd, guard, sizeof(guard), 0), sizeof(guard));
	for (unsigned i = 0; i < sizeof(guard); i++)
		assert_int_equal(guard[i], 0xc3);
	device_destroy(&f->d->pci.dev);
	pci_root_destroy(f->root);
	blk_destroy(blk);
	loop_destroy(loop);
	gmem_destroy(f->mem);
	board_env_free(f->b);
	free(f);
	close(fd);
}

static void test_disk_threads(void **st)
{
	(void)st;
	disk_resets(AIO_THREADS);
}

static void test_disk_auto(void **st)
{
	(void)st;
	disk_resets(AIO_AUTO);
}

/* ---- the card ---- */

static void test_net(void **st)
{
	static const uint64_t features = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET |
					 VIRTIO_F_EVENT_IDX | BIT(15);
	struct virtio_net_config cfg = {.id = "net0", .mac = {2, 0, 0, 0, 0, 1}, .pairs = 1};
	static uint8_t frame[12 + 1514];
	struct usage before = {0};
	uint64_t got = 0;
	int pair[2];

	(void)st;
	f = fix_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	cfg.fd = pair[0];
	assert_int_equal(virtio_net_create(&f->d, &f->b->env, &cfg, NULL), 0);
	fix_add(f, f->d);
	memset(frame + 12, 0xff, 6);
	for (unsigned i = 0; i < rounds + WARM; i++) {
		if (i == WARM)
			before = usage();
		fix_up(f, features | (i & 1 ? VIRTIO_F_PACKED : 0), 64);
		for (unsigned k = 0; k < 16; k++) {
			struct drv_seg in = {DATA(k), 1600, true},
				       out = {DATA(REQUESTS + k), 200, false};

			memset(gmem_at(f->mem, out.addr, 12), 0, 12);
			(void)drv_add(&f->q[0], &in, 1, false);
			(void)drv_add(&f->q[1], &out, 1, false);
		}
		for (unsigned k = rnd(20); k; k--)
			(void)send(pair[1], frame, sizeof(frame), MSG_NOSIGNAL);
		fix_kick(f, 0);
		fix_kick(f, 1);
		for (unsigned turns = rnd(5); turns; turns--)
			loop_run_once(f->loop, 0);
		reset();
		for (unsigned k = 0; k < 16; k++)
			reuse(DATA(k), 1600, false);
		(void)send(pair[1], frame, sizeof(frame), MSG_NOSIGNAL);
		for (unsigned turns = 0; turns < 2; turns++)
			loop_run_once(f->loop, 0);
		reuse(DATA(rnd(16)), 1600, true);
		while (recv(pair[1], frame, sizeof(frame), 0) > 0)
			got++;
		memset(frame, 0, sizeof(frame));
		memset(frame + 12, 0xff, 6);
	}
	expect_no_more(&before);
	assert_true(got > rounds); /* the guest's packets did go out */
	fix_free(f);
	close(pair[0]);
	close(pair[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_threads),
		cmocka_unit_test(test_disk_auto),
		cmocka_unit_test(test_net),
	};

	seed = 1;
	if (argc > 1)
		rounds = (unsigned)strtoul(argv[1], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
