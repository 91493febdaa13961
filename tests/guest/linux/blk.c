/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.c - lodge-guest blk: what a test of disks needs and busybox has not.
 *
 *	blk discard DEV OFFSET BYTES	BLKDISCARD
 *	blk zero DEV OFFSET BYTES	BLKZEROOUT, and looks that zeroes are read
 *	blk fill DEV SEED BYTES		writes a pattern with O_DIRECT, random sizes, from several processes; flushes
 *	blk verify DEV SEED BYTES	reads it back with O_DIRECT
 *	blk faults DEV SEED BYTES	writes, reads and checks while the disk fails now and then; prints how many errors there were
 *	blk log DEV			writes numbered blocks for ever; after each fdatasync() prints which are safe
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define BLOCK 4096u
#define WORKERS 4u
#define PIECE_MAX (64u * BLOCK)

static uint8_t buf[PIECE_MAX] __attribute__((aligned(4096))); /* for O_DIRECT */

static int failed(const char *what)
{
	fprintf(stderr, "lodge-guest: blk %s: %s\n", what, strerror(errno));
	return 1;
}

/* The content of a block: its number and the seed, mixed. */
static void pattern(uint8_t *p, uint64_t block, uint64_t seed)
{
	uint64_t x = (block + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed;

	for (unsigned i = 0; i < BLOCK; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i, &x, 8);
	}
}

/* Worker w does every WORKERS-th piece. */
static int move(const char *dev, uint64_t seed, uint64_t bytes, unsigned w, int write_it)
{
	int fd = open(dev, (write_it ? O_RDWR : O_RDONLY) | O_DIRECT);
	uint64_t at = 0, rnd = seed + 1;
	uint8_t want[BLOCK];

	if (fd < 0)
		return failed("open");
	for (unsigned n = 0; at < bytes; n++) {
		uint64_t len;

		rnd = rnd * UINT64_C(6364136223846793005) + 1;
		len = (rnd >> 33) % (PIECE_MAX / BLOCK) * BLOCK + BLOCK;
		if (len > bytes - at)
			len = bytes - at;
		for (uint64_t i = 0; n % WORKERS == w && write_it && i < len; i += BLOCK)
			pattern(buf + i, (at + i) / BLOCK, seed);
		if (n % WORKERS == w && (write_it ? pwrite(fd, buf, len, (off_t)at) :
						    pread(fd, buf, len, (off_t)at)) != (ssize_t)len)
			return failed(write_it ? "write" : "read");
		for (uint64_t i = 0; n % WORKERS == w && !write_it && i < len; i += BLOCK) {
			pattern(want, (at + i) / BLOCK, seed);
			if (memcmp(buf + i, want, BLOCK) != 0) {
				fprintf(stderr, "lodge-guest: blk: block %llu of %s is wrong\n",
					(unsigned long long)((at + i) / BLOCK), dev);
				return 1;
			}
		}
		at += len;
	}
	return write_it && fsync(fd) ? failed("fsync") : 0;
}

static int move_all(const char *dev, uint64_t seed, uint64_t bytes, int write_it)
{
	int bad = 0, status;

	for (unsigned w = 0; w < WORKERS; w++)
		if (fork() == 0)
			_exit(move(dev, seed, bytes, w, write_it));
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}

static int range(const char *dev, unsigned long request, uint64_t offset, uint64_t bytes)
{
	uint64_t r[2] = {offset, bytes};
	int fd = open(dev, O_RDWR | O_DIRECT);

	if (fd < 0)
		return failed("open");
	if (ioctl(fd, request, r) < 0)
		return failed(request == BLKDISCARD ? "discard" : "zero");
	for (uint64_t at = 0; request == BLKZEROOUT && at < bytes; at += BLOCK) {
		if (pread(fd, buf, BLOCK, (off_t)(offset + at)) != BLOCK)
			return failed("read");
		for (unsigned i = 0; i < BLOCK; i++)
			if (buf[i]) {
				fprintf(stderr, "lodge-guest: blk: byte %llu of %s is not zero\n",
					(unsigned long long)(offset + at + i), dev);
				return 1;
			}
	}
	return 0;
}

/* Block n, in place n modulo the disk, says n in its first 8 bytes. What is printed must never be lost. */
static int write_log(const char *dev)
{
	int fd = open(dev, O_RDWR);
	uint64_t size, n = 0;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
		return failed("open");
	for (;;) {
		for (unsigned i = 0; i < 1 + n % 7; i++, n++) {
			pattern(buf, n, 0);
			memcpy(buf, &n, 8);
			if (pwrite(fd, buf, BLOCK, (off_t)(n % (size / BLOCK) * BLOCK)) != BLOCK)
				return failed("write");
		}
		if (fdatasync(fd))
			return failed("fdatasync");
		printf("lodge-log: %llu\n", (unsigned long long)n);
		fflush(stdout);
	}
}

#define UNKNOWN UINT32_MAX
#define FAULT_OPS 1500u
#define RETRIES 100u

/* Are blocks [first, first + n) of buf as last written? A write that failed may have left anything in its blocks. */
static int compare(const uint32_t *version, uint64_t first, uint64_t n, uint64_t base, uint64_t seed)
{
	static const uint8_t zero[BLOCK];
	uint8_t want[BLOCK];

	for (uint64_t i = 0; i < n; i++) {
		uint32_t v = version[first + i];

		if (v == UNKNOWN)
			continue;
		if (v)
			pattern(want, base + first + i, seed + v);
		if (memcmp(buf + i * BLOCK, v ? want : zero, BLOCK) != 0) {
			fprintf(stderr, "lodge-guest: blk: block %llu, written %u times, is wrong\n",
				(unsigned long long)(base + first + i), v);
			return 1;
		}
	}
	return 0;
}

/* Works on `blocks` blocks of its own from `base` on, zero at first. Exit status: 0, or 1: something that was acknowledged is lost. */
static int fault_worker(const char *dev, uint64_t seed, uint64_t base, uint64_t blocks, int result)
{
	uint32_t *version = calloc(blocks, sizeof(*version)), errors[2] = {0};
	int fd = open(dev, O_RDWR | O_DIRECT);
	uint64_t rnd = seed + base;

	if (fd < 0 || !version)
		return failed("open");
	for (uint32_t op = 1; op <= FAULT_OPS; op++) {
		uint64_t first, n;
		off_t at;

		rnd = rnd * UINT64_C(6364136223846793005) + 1442695040888963407;
		first = (rnd >> 20) % blocks;
		n = 1 + (rnd >> 40) % (PIECE_MAX / BLOCK);
		n = n < blocks - first ? n : blocks - first;
		at = (off_t)((base + first) * BLOCK);
		if (rnd >> 63) {
			for (uint64_t i = 0; i < n; i++)
				pattern(buf + i * BLOCK, base + first + i, seed + op);
			if (pwrite(fd, buf, n * BLOCK, at) == (ssize_t)(n * BLOCK)) {
				for (uint64_t i = 0; i < n; i++)
					version[first + i] = op;
			} else {
				errors[0]++;
				memset(&version[first], 0xff, n * sizeof(*version));
			}
		} else if (pread(fd, buf, n * BLOCK, at) != (ssize_t)(n * BLOCK)) {
			errors[1]++;
		} else if (compare(version, first, n, base, seed)) {
			return 1;
		}
		if (op % 100 == 0 && fsync(fd))
			return failed("fsync");
	}
	for (uint64_t i = 0; i < blocks; i++) {
		unsigned tries = 0;

		while (pread(fd, buf, BLOCK, (off_t)((base + i) * BLOCK)) != BLOCK)
			if (++tries == RETRIES)
				return failed("read, over and over");
		if (compare(version, i, 1, base, seed))
			return 1;
	}
	return write(result, errors, sizeof(errors)) != sizeof(errors);
}

static int faults(const char *dev, uint64_t seed, uint64_t bytes)
{
	uint64_t blocks = bytes / BLOCK / WORKERS;
	uint32_t errors[2] = {0}, one[2];
	int bad = 0, status, pipes[2];

	if (pipe(pipes))
		return failed("pipe");
	for (unsigned w = 0; w < WORKERS; w++)
		if (fork() == 0)
			_exit(fault_worker(dev, seed, w * blocks, blocks, pipes[1]));
	close(pipes[1]);
	while (wait(&status) > 0)
		bad |= status;
	while (read(pipes[0], one, sizeof(one)) == (ssize_t)sizeof(one)) {
		errors[0] += one[0];
		errors[1] += one[1];
	}
	printf("lodge-disk: of %u requests %u writes and %u reads failed\n", WORKERS * FAULT_OPS,
	       errors[0], errors[1]);
	return bad != 0;
}

int blk_main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "", *dev = argc > 2 ? argv[2] : "";
	uint64_t a = argc > 4 ? strtoull(argv[3], NULL, 0) : 0;
	uint64_t b = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;

	if (!strcmp(what, "log"))
		return write_log(dev);
	if (argc == 5 && !strcmp(what, "discard"))
		return range(dev, BLKDISCARD, a, b);
	if (argc == 5 && !strcmp(what, "zero"))
		return range(dev, BLKZEROOUT, a, b);
	if (argc == 5 && !strcmp(what, "fill"))
		return move_all(dev, a, b, 1);
	if (argc == 5 && !strcmp(what, "verify"))
		return move_all(dev, a, b, 0);
	if (argc == 5 && !strcmp(what, "faults"))
		return faults(dev, a, b);
	fprintf(stderr,
		"usage: lodge-guest blk discard|zero DEV OFFSET BYTES, fill|verify|faults DEV SEED BYTES, log DEV\n");
	return 2;
}
