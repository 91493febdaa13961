/* SPDX-License-Identifier: Apache-2.0 */
/* test_vm_disks_state.c - what was written to a throw-away disk, into a saved state and out of it, right and damaged. */
#include "blk_fixture.h"
#include "state_forge.h"

#include "state/state_file.h"
#include "vm/disks.h"

#define PAGES 1500u
#define SIZE ((PAGES - 1) * OVERLAY_PAGE + 512 * 3) /* the last page is not whole */

static uint8_t model[2][SIZE], check[SIZE];
static struct vm_config cfg;
static struct config_fds fds;
static struct disks *disks;
static uint64_t seed = 5;

static uint32_t rnd(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

/* Two throw-away disks on files of the test, and an ordinary one between them. */
static void make(uint64_t size)
{
	struct err e = {0};

	for (unsigned i = 0; i < CONFIG_FDS; i++)
		fds.fd[i] = -1;
	memset(&cfg, 0, sizeof(cfg));
	cfg.n_disks = 3;
	for (unsigned i = 0; i < 3; i++) {
		struct config_disk *c = &cfg.disk[i];

		snprintf(c->id, sizeof(c->id), "disk%u", i);
		strcpy(c->name, "d");
		c->snapshot = i != 1;
		c->changed = true;
		c->block = 512;
		c->queues = 1;
		fds.fd[CONFIG_FD_DISK + i] = bf_file(size, 0);
		bf_fill(model[0], SIZE, 7);
		assert_int_equal(pwrite(fds.fd[CONFIG_FD_DISK + i], model[0], size, 0), size);
		if (c->snapshot)
			fds.fd[CONFIG_FD_OVERLAY + i] = bf_file(size, 0);
	}
	if (disks_create(&disks, bf.loop, &cfg, &fds, NULL, &e) < 0)
		fail_msg("%s", e.msg);
}

static void unmake(void)
{
	disks_destroy(disks);
	for (unsigned i = 0; i < CONFIG_FDS; i++)
		base_close_fd(&fds.fd[i]);
}

static void look(unsigned disk, const uint8_t *want)
{
	bf.blk = disks_get(disks, disk);
	memset(check, 0xee, SIZE);
	assert_int_equal(bf_do(BLK_READ, 0, 0, SIZE, check), 0);
	assert_memory_equal(check, want, SIZE);
}

static void write_some(unsigned disk, uint8_t *m)
{
	static uint8_t buf[600 * OVERLAY_PAGE];

	bf.blk = disks_get(disks, disk);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t at = rnd(SIZE / 512) * UINT64_C(512);
		uint64_t n = MIN(512 * (1 + rnd(i ? 30 : 4000)), SIZE - at);

		bf_fill(buf, n, rnd(1u << 30));
		memcpy(m + at, buf, n);
		assert_int_equal(bf_do(BLK_WRITE, 0, at, n, buf), 0);
	}
	/* The end of the disk. */
	bf_fill(buf, 512, 3);
	memcpy(m + SIZE - 512, buf, 512);
	assert_int_equal(bf_do(BLK_WRITE, 0, SIZE - 512, 512, buf), 0);
}

/* Sections, and the area in a file. */
static int save(struct state *s, uint64_t offset)
{
	int fd = memfd_create("area", MFD_CLOEXEC);

	state_init_save(s);
	disks_state(disks, s);
	assert_int_equal(state_finish(s, NULL), 0);
	assert_int_equal(disks_overlay_copy(disks, false, fd, offset, NULL), 0);
	assert_int_equal(ftruncate(fd, (off_t)(offset + disks_overlay_bytes(disks))), 0);
	return fd;
}

static int load(const void *data, size_t len, struct err *e)
{
	struct state s;
	int r = state_init_load(&s, data, len, e);

	if (r < 0)
		return r;
	disks_state(disks, &s);
	r = state_finish(&s, e);
	state_fini(&s);
	return r;
}

static void test_round_trip(void **st)
{
	struct state s;
	uint64_t bytes;
	int fd;

	(void)st;
	bf_begin();
	make(SIZE);
	memcpy(model[1], model[0], SIZE);
	write_some(0, model[0]);
	write_some(2, model[1]);
	fd = save(&s, 8192);
	bytes = disks_overlay_bytes(disks);
	assert_true(bytes > 0 && bytes % OVERLAY_PAGE == 0);
	unmake();

	{
		static uint8_t keep[SIZE];

		memcpy(keep, model[0], SIZE); /* make() fills it anew */
		make(SIZE);
		memcpy(model[0], keep, SIZE);
	}
	assert_int_equal(load(s.out.data, s.out.len, NULL), 0);
	assert_int_equal(disks_overlay_bytes(disks), bytes);
	assert_int_equal(disks_overlay_copy(disks, true, fd, 8192, NULL), 0);
	look(0, model[0]);
	look(2, model[1]);
	write_some(0, model[0]); /* and goes on */
	look(0, model[0]);
	unmake();
	close(fd);
	state_fini(&s);
	bf.blk = NULL;
	bf_end();
}

static void test_damaged(void **st)
{
	struct err e = {0};
	unsigned taken = 0;
	struct state s;
	uint8_t *bad;
	int fd;

	(void)st;
	bf_begin();
	make(SIZE);
	write_some(0, model[0]);
	fd = save(&s, 0);
	unmake();

	make(SIZE + OVERLAY_PAGE - 512); /* pages as before, and another size */
	assert_int_equal(load(s.out.data, s.out.len, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "the size of a throw-away disk"));
	unmake();

	bad = malloc(s.out.len);
	for (unsigned i = 0; i < 400; i++) {
		memcpy(bad, s.out.data, s.out.len);
		for (unsigned k = 0, n = 1 + rnd(6); k < n; k++)
			bad[rnd((uint32_t)s.out.len)] = (uint8_t)rnd(256);
		state_forge(bad, s.out.len);
		make(SIZE);
		e = (struct err){0};
		if (load(bad, s.out.len, &e) < 0) {
			assert_true(e.msg[0]);
		} else {
			/* Maybe more than there is in the file, never more than the disks have. */
			assert_in_range(disks_overlay_bytes(disks), 0, 2 * PAGES * OVERLAY_PAGE);
			(void)disks_overlay_copy(disks, true, fd, 0, NULL);
			taken++;
		}
		unmake();
	}
	assert_in_range(taken, 1, 399);
	free(bad);
	close(fd);
	state_fini(&s);
	bf.blk = NULL;
	bf_end();
}

/* What may not be lost is reported: no room for the copy, an area that is cut. */
static void test_errors(void **st)
{
	struct err e = {0};
	struct state s;
	int fd;

	(void)st;
	bf_begin();
	make(SIZE);
	write_some(0, model[0]);
	fd = save(&s, 0);
	unmake();
	make(SIZE);
	assert_int_equal(load(s.out.data, s.out.len, NULL), 0);
	assert_int_equal(ftruncate(fd, OVERLAY_PAGE), 0);
	assert_true(disks_overlay_copy(disks, true, fd, 0, &e) < 0);
	assert_non_null(strstr(e.msg, "throw-away disk disk0"));
	unmake();
	close(fd);
	state_fini(&s);
	bf.blk = NULL;
	bf_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
