/* SPDX-License-Identifier: Apache-2.0 */
/* test_mem.c - guest memory: layout checks, the gate, copies, sealing, the dirty log and the write hook. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/gmem.h"

#define P ((uint64_t)GMEM_PAGE)

/* [0, 4 pages), touching [4, 6 pages), and [4 GiB, 4 GiB + 2 pages). */
static struct gmem *three_regions_of(int kind)
{
	static const struct gmem_range range[] = {{0, 4 * P}, {4 * P, 2 * P}, {4 * GIB, 2 * P}};
	struct gmem *m = NULL;
	struct err e = {0};

	assert_int_equal(gmem_create(&m, range, 3, kind, &e), 0);
	return m;
}

static struct gmem *three_regions(void)
{
	return three_regions_of(GMEM_NEW);
}

static void test_create(void **st)
{
	struct gmem *m = three_regions();
	struct stat s;

	(void)st;
	assert_int_equal(m->n_regions, 3);
	assert_int_equal(m->size_bytes, 8 * P);
	assert_int_equal(fstat(m->memfd, &s), 0);
	assert_int_equal(s.st_size, 8 * P);
	assert_int_equal(s.st_blocks, 0); /* nothing touched */
	assert_int_equal(fcntl(m->memfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(m->region[2].file_offset, 6 * P);
	assert_ptr_equal(m->region[2].hva, m->base + 6 * P);
	assert_int_equal((uintptr_t)m->base % (2 * MIB), 0);
	/* The size cannot be changed under us. */
	assert_int_equal(ftruncate(m->memfd, P), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(m->memfd, 100 * P), -1);
	gmem_destroy(m);
	gmem_destroy(NULL);
}

static void expect_bad(const struct gmem_range *range, unsigned n, const char *word)
{
	struct gmem *m = (void *)1;
	struct err e = {0};

	assert_int_equal(gmem_create(&m, range, n, -1, &e), -EINVAL);
	assert_null(m);
	assert_non_null(strstr(e.msg, word));
	assert_int_equal(gmem_create(&m, range, n, -1, NULL), -EINVAL);
}

static void test_bad_layouts(void **st)
{
	struct gmem_range many[GMEM_MAX_REGIONS + 1];

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct gmem_range){i * P, P};
	expect_bad(many, 0, "regions");
	expect_bad(many, ARRAY_SIZE(many), "regions");
	expect_bad((struct gmem_range[]){{0, 0}}, 1, "whole pages");
	expect_bad((struct gmem_range[]){{0, 100}}, 1, "whole pages");
	expect_bad((struct gmem_range[]){{12, P}}, 1, "whole pages");
	expect_bad((struct gmem_range[]){{UINT64_MAX - P + 1, P}}, 1, "whole pages");
	expect_bad((struct gmem_range[]){{0, 2 * P}, {P, P}}, 2, "overlaps");
	expect_bad((struct gmem_range[]){{4 * P, P}, {0, P}}, 2, "overlaps");
	expect_bad((struct gmem_range[]){{0, UINT64_C(1) << 60}}, 1, "larger");
	expect_bad((struct gmem_range[]){{0, UINT64_C(1) << 45},
					 {UINT64_C(1) << 50, (UINT64_C(1) << 45) + P}},
		   2, "larger");
}

static void test_given_fd(void **st)
{
	struct gmem_range range = {0, 2 * P};
	struct gmem *m;
	char c = 'x', d = 0;
	int fd = memfd_create("given", MFD_ALLOW_SEALING);

	(void)st;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &c, 1), 1);
	assert_int_equal(gmem_create(&m, &range, 1, fd, NULL), 0);
	assert_int_equal(gmem_read(m, 0, &d, 1), 0);
	assert_int_equal(d, 'x');
	assert_int_equal(m->memfd, fd);
	gmem_destroy(m);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* owned: closed */

	fd = memfd_create("given", MFD_ALLOW_SEALING);
	range.size = 5;
	assert_int_equal(gmem_create(&m, &range, 1, fd, NULL), -EINVAL);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_at(void **st)
{
	struct gmem *m = three_regions();

	(void)st;
	assert_ptr_equal(gmem_at(m, 0, 1), m->base);
	assert_ptr_equal(gmem_at(m, 0, 4 * P), m->base);
	assert_ptr_equal(gmem_at(m, 4 * P - 1, 1), m->base + 4 * P - 1);
	assert_null(gmem_at(m, 4 * P - 1, 2)); /* crosses a region, though they touch */
	assert_null(gmem_at(m, 0, 4 * P + 1));
	assert_null(gmem_at(m, 6 * P, 1)); /* hole */
	assert_null(gmem_at(m, 6 * P, 0));
	assert_ptr_equal(gmem_at(m, 4 * GIB, 2 * P), m->base + 6 * P);
	assert_null(gmem_at(m, 4 * GIB + P, P + 1));
	/* Wrap-around. */
	assert_null(gmem_at(m, 0, UINT64_MAX));
	assert_null(gmem_at(m, P, UINT64_MAX - P + 2));
	assert_null(gmem_at(m, UINT64_MAX, 1));
	assert_null(gmem_at(m, UINT64_MAX, 2));
	assert_null(gmem_at(m, 4 * GIB, UINT64_MAX - 4 * GIB + 1));
	assert_null(gmem_find(m, 6 * P));
	assert_ptr_equal(gmem_find(m, 5 * P), &m->region[1]);
	gmem_destroy(m);
}

static void test_copies(void **st)
{
	struct gmem *m = three_regions();
	uint8_t buf[2 * GMEM_PAGE], back[2 * GMEM_PAGE];

	(void)st;
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 7 + 1);
	/* Crosses the seam of two regions that touch. */
	assert_int_equal(gmem_write(m, 3 * P + 5, buf, sizeof(buf)), 0);
	assert_int_equal(gmem_read(m, 3 * P + 5, back, sizeof(back)), 0);
	assert_memory_equal(buf, back, sizeof(buf));
	assert_int_equal(m->base[3 * P + 4], 0);
	assert_int_equal(m->base[5 * P + 5], 0);
	/* Ends of regions, holes, wrap-around. */
	assert_int_equal(gmem_read(m, 6 * P - 4, back, 4), 0);
	assert_int_equal(gmem_read(m, 6 * P - 4, back, 5), -EFAULT);
	assert_int_equal(gmem_write(m, 6 * P - 4, buf, 5), -EFAULT);
	assert_int_equal(gmem_write(m, 6 * P, buf, 1), -EFAULT);
	assert_int_equal(gmem_write(m, 4 * GIB + 2 * P - 1, buf, 1), 0);
	assert_int_equal(gmem_write(m, 4 * GIB + 2 * P, buf, 1), -EFAULT);
	assert_int_equal(gmem_read(m, UINT64_MAX - 1, back, 4), -EFAULT);
	assert_int_equal(gmem_write(m, 4 * GIB - 1, buf, 2), -EFAULT);
	/* Nothing is nothing, wherever. */
	assert_int_equal(gmem_read(m, 6 * P, back, 0), 0);
	gmem_destroy(m);
}

/* Large writes take another way in. */
static void test_large_write(void **st)
{
	struct gmem_range range[] = {{0, 600 * P}, {600 * P, 100 * P}};
	uint8_t *buf = malloc(700 * P), *back = malloc(700 * P);
	struct gmem *m;

	(void)st;
	assert_int_equal(gmem_create(&m, range, 2, -1, NULL), 0);
	for (unsigned i = 0; i < 700 * P; i++)
		buf[i] = (uint8_t)(i * 13 + i / 4096);
	assert_int_equal(gmem_write(m, 3, buf, 700 * P - 5), 0);
	assert_int_equal(gmem_read(m, 3, back, 700 * P - 5), 0);
	assert_memory_equal(buf, back, 700 * P - 5);
	assert_memory_equal(buf, m->base + 3, 700 * P - 5); /* the mapping sees it */
	assert_int_equal(m->base[2], 0);
	assert_int_equal(m->base[700 * P - 2], 0);
	assert_int_equal(gmem_write(m, 550 * P, buf, 151 * P), -EFAULT);
	gmem_destroy(m);
	free(buf);
	free(back);
}

static void test_dirty(void **st)
{
	struct gmem *m = three_regions();
	uint64_t map = ~UINT64_C(0);

	(void)st;
	gmem_dirty_mark(m, 0, P); /* off: nothing */
	assert_int_equal(gmem_dirty_harvest(m, &map), 0);
	assert_int_equal(map, 0);
	assert_int_equal(gmem_dirty_start(m), 0);
	assert_int_equal(gmem_write(m, 4 * P - 1, "ab", 2), 0);	 /* pages 3 and 4 */
	assert_int_equal(gmem_write(m, 4 * GIB + P, "c", 1), 0); /* file page 7 */
	gmem_dirty_mark(m, 2 * P, 1);
	gmem_dirty_mark(m, 2 * P, 0);
	gmem_dirty_mark(m, 6 * P, 10 * P);	    /* hole */
	gmem_dirty_mark(m, UINT64_MAX, UINT64_MAX); /* nonsense */
	assert_int_equal(gmem_dirty_harvest(m, &map), 4);
	assert_int_equal(map, BIT(2) | BIT(3) | BIT(4) | BIT(7));
	assert_int_equal(gmem_dirty_harvest(m, &map), 0);
	gmem_dirty_mark(m, 0, 100 * P); /* to the end of what touches */
	assert_int_equal(gmem_dirty_harvest(m, &map), 6);
	gmem_dirty_mark(m, 0, 1);
	gmem_dirty_stop(m);
	gmem_dirty_mark(m, P, 1);
	assert_int_equal(gmem_dirty_start(m), 0); /* starts clean */
	assert_int_equal(gmem_dirty_harvest(m, &map), 0);
	gmem_destroy(m);
}

static void test_clear(void **st)
{
	struct gmem *m = three_regions();
	uint64_t map;
	struct stat s;

	(void)st;
	memset(m->base, 0xa5, 8 * P);
	assert_int_equal(gmem_dirty_start(m), 0);
	assert_int_equal(gmem_clear(m), 0);
	assert_int_equal(fstat(m->memfd, &s), 0);
	assert_int_equal(s.st_blocks, 0);
	assert_int_equal(s.st_size, 8 * P);
	for (unsigned i = 0; i < 8 * P; i++)
		assert_int_equal(m->base[i], 0);
	assert_int_equal(gmem_dirty_harvest(m, &map), 8);
	gmem_destroy(m);
}

/* Memory is new at once; what it was before goes back to the host by and by, also if somebody else has it mapped. */
static void test_clear_rest(void **st)
{
	struct gmem_range range = {0, 40 * MIB};
	struct gmem *m = NULL;
	uint8_t *seen;
	struct stat s;
	int old;

	(void)st;
	assert_int_equal(gmem_create(&m, &range, 1, GMEM_NEW, NULL), 0);
	assert_false(gmem_clear_rest(m));
	for (unsigned round = 0; round < 3; round++) {
		old = dup(m->memfd);
		seen = mmap(NULL, 40 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, old, 0);
		assert_ptr_not_equal(seen, MAP_FAILED);
		memset(m->base, 0x5a, P);
		memset(m->base + 39 * MIB, 0x5a, P);
		assert_int_equal(gmem_clear(m), 0);
		seen[2 * P] = 1; /* a server that does not know yet */
		assert_int_equal(m->base[0] | m->base[39 * MIB] | m->base[2 * P], 0);
		assert_int_equal(gmem_resident(m), 3 * P);
		assert_int_equal(seen[39 * MIB], 0x5a);
		if (round < 2) /* else the next clear does it */
			while (gmem_clear_rest(m))
				;
		else
			assert_int_equal(gmem_clear(m), 0);
		assert_int_equal(fstat(old, &s), 0);
		assert_int_equal(s.st_blocks, 0);
		munmap(seen, 40 * MIB);
		close(old);
	}
	gmem_write(m, P, "x", 1);
	assert_int_equal(gmem_resident(m), P);
	gmem_destroy(m);
}

/* Without a file: the same, and a clear gives it back. */
/* Huge pages, if this host has some reserved; else the sentence. */
static void huge_pages(int memfd)
{
	struct gmem_range range = {0, 4 * MIB}, odd = {0, 3 * MIB};
	struct gmem *m = NULL;
	struct err e = {0};

	assert_int_equal(gmem_create_huge(&m, &odd, 1, memfd, 2 * MIB, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "whole pages of 2 MiB"));
	e = (struct err){0};
	if (gmem_create_huge(&m, &range, 1, memfd, 2 * MIB, &e) < 0) {
		assert_null(m);
		assert_non_null(strstr(e.msg, "huge pages of 2 MiB"));
		print_message("no huge pages here: %s\n", e.msg);
		return;
	}
	assert_int_equal((uintptr_t)m->base % (2 * MIB), 0);
	assert_int_equal(gmem_write(m, 2 * MIB - 1, "xy", 2), 0);
	assert_int_equal(gmem_resident(m), 4 * MIB);
	/* A part of a page becomes zero, a whole one is given back. */
	assert_int_equal(gmem_discard(m, MIB, MIB), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 2 * MIB - 1, 1), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 2 * MIB, 1), 'y');
	assert_int_equal(gmem_discard(m, 2 * MIB, 2 * MIB), 0);
	assert_int_equal(gmem_resident(m), 2 * MIB);
	assert_int_equal(*(uint8_t *)gmem_at(m, 2 * MIB, 1), 0);
	assert_int_equal(gmem_write(m, 2 * MIB, "x", 1), 0);
	assert_int_equal(gmem_clear(m), 0);
	assert_int_equal(gmem_resident(m), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 2 * MIB, 1), 0);
	gmem_destroy(m);
}

static void test_huge_pages(void **st)
{
	(void)st;
	huge_pages(GMEM_PRIVATE);
	huge_pages(GMEM_NEW);
}

static void test_private(void **st)
{
	struct gmem_range range[2] = {{0, 4 * P}, {1024 * P, 4 * P}};
	struct gmem *m = NULL;

	(void)st;
	assert_int_equal(gmem_create(&m, range, 2, GMEM_PRIVATE, NULL), 0);
	assert_int_equal(m->memfd, GMEM_PRIVATE);
	assert_int_equal(gmem_resident(m), 0);
	assert_int_equal(gmem_write(m, 1024 * P, "x", 1), 0);
	assert_true(gmem_resident(m) >= P);
	assert_int_equal(gmem_discard(m, 1024 * P, P), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 1024 * P, 1), 0);
	assert_int_equal(gmem_write(m, 1024 * P, "x", 1), 0);
	assert_int_equal(gmem_clear(m), 0);
	assert_int_equal(gmem_resident(m), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 1024 * P, 1), 0);
	gmem_destroy(m);
}

struct seen {
	unsigned n;
	gpa_t gpa[4];
	uint64_t len[4];
};

static void written(void *ctx, gpa_t gpa, uint64_t len)
{
	struct seen *s = ctx;

	assert_true(s->n < 4);
	s->gpa[s->n] = gpa;
	s->len[s->n++] = len;
}

static void test_hook(void **st)
{
	struct gmem *m = three_regions();
	struct seen s = {0};

	(void)st;
	m->hook = (struct gmem_hook){.written = written, .ctx = &s};
	assert_int_equal(gmem_write(m, 4 * P - 3, "abcdef", 6), 0);
	assert_int_equal(s.n, 2);
	assert_int_equal(s.gpa[0], 4 * P - 3);
	assert_int_equal(s.len[0], 3);
	assert_int_equal(s.gpa[1], 4 * P);
	assert_int_equal(s.len[1], 3);
	assert_int_equal(gmem_write(m, 6 * P, "a", 1), -EFAULT);
	assert_int_equal(s.n, 2);
	gmem_destroy(m);
}

static void save_load(int kind)
{
	struct gmem *m = three_regions_of(kind), *n = three_regions_of(kind);
	_autoclose int fd = memfd_create("saved", MFD_CLOEXEC);
	_autoclose int again = memfd_create("again", MFD_CLOEXEC);
	static uint8_t page[5 * GMEM_PAGE],
		buf[2 * GMEM_PAGE]; /* 5: large enough to go by the file */
	struct err e = {0};
	uint64_t pages = 99;

	memset(page, 0x5a, sizeof(page));
	assert_int_equal(gmem_save(m, fd, 2 * P, &pages), 0);
	assert_int_equal(pages, 0);
	/* One byte in a page, a page over a seam of regions, a page that is written and zero; the last. */
	assert_int_equal(gmem_write(m, 5, "x", 1), 0);
	assert_int_equal(gmem_write(m, 3 * P + 100, page, P), 0);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(gmem_write(m, 2 * P, buf, P), 0);
	assert_int_equal(gmem_write(m, 4 * GIB + P, page, P), 0);
	assert_int_equal(gmem_save(m, fd, 2 * P, &pages), 0);
	assert_int_equal(pages, 4);
	/* Too short, not aligned. */
	assert_int_equal(gmem_load(n, fd, 3 * P, false, &e), -EINVAL);
	assert_int_equal(ftruncate(fd, (off_t)(2 * P + m->size_bytes)), 0);
	assert_int_equal(gmem_load(n, fd, 2 * P + 1, false, NULL), -EINVAL);
	assert_int_equal(gmem_load(n, fd, 2 * P, true, &e), 0);
	assert_false(n->from_file);
	assert_int_equal(gmem_resident(n), 4 * P);
	assert_memory_equal(n->base, m->base, m->size_bytes);
	assert_int_equal(gmem_clear(n), 0);
	assert_int_equal(gmem_load(n, fd, 2 * P, false, &e), 0);
	assert_memory_equal(n->base, m->base, m->size_bytes);
	assert_true(gmem_resident(n) >= 4 * P);
	/* The file does not see what is written, large writes neither; a second one from it does not either. */
	assert_int_equal(gmem_write(n, 0, page, 3 * P), 0);
	assert_int_equal(gmem_write(n, 0, page, 5 * P), 0);
	assert_int_equal(pread(fd, buf, P, (off_t)(2 * P)), (ssize_t)P);
	assert_memory_equal(buf, m->base, P);
	assert_int_equal(gmem_save(n, again, 0, &pages), 0);
	assert_int_equal(pages, 6);
	assert_int_equal(pread(again, buf, 2 * P, 0), (ssize_t)(2 * P));
	assert_memory_equal(buf, n->base, 2 * P);
	/* Cleared: zero, and large writes work as ever. */
	/* Given back to the host: zero, not what the file has. */
	assert_int_equal(gmem_discard(n, 4 * GIB + P, P), 0);
	assert_int_equal(*(uint8_t *)gmem_at(n, 4 * GIB + P, 1), 0);
	assert_int_equal(gmem_clear(n), 0);
	assert_false(n->from_file);
	assert_int_equal(gmem_resident(n), 0);
	assert_int_equal(n->base[0], 0);
	assert_int_equal(gmem_write(n, 0, page, 5 * P), 0);
	assert_memory_equal(n->base, page, 5 * P);
	gmem_destroy(m);
	gmem_destroy(n);
}

static void test_save_load(void **st)
{
	(void)st;
	save_load(GMEM_NEW);
	save_load(GMEM_PRIVATE);
}

/* Huge pages on a tmpfs: for what is filled, not for what is only touched. */
static void test_thp(void **st)
{
	const struct gmem_range range[2] = {{0, 16 * MIB}, {4 * GIB, 8 * MIB}};
	static uint8_t data[3 * MIB];
	struct gmem *m;
	struct stat s;
	blkcnt_t filled;
	int fd[2], r;

	(void)st;
	r = gmem_open_thp(24 * MIB, fd);
	if (r < 0) {
		print_message("no such pages here: %s\n", strerror(-r));
		skip();
	}
	assert_int_equal(gmem_create_thp(&m, range, 2, fd, NULL), 0);
	assert_int_equal(fstat(m->memfd, &s), 0);
	assert_int_equal(s.st_blocks, 0);
	*(uint8_t *)gmem_at(m, 12 * MIB, 1) = 1;
	assert_int_equal(fstat(m->memfd, &s), 0);
	assert_true(s.st_blocks <= 64);
	/* Two whole pages of 2 MiB in it; one, when the host takes long to find it. */
	gmem_fill(m, 3 * MIB, 6 * MIB);
	assert_int_equal(m->filled_from, 4 * MIB);
	filled = (blkcnt_t)(m->filled_to - m->filled_from);
	assert_true(filled == 4 * MIB || filled == 2 * MIB);
	assert_int_equal(fstat(m->memfd, &s), 0);
	assert_true(s.st_blocks * 512 >= filled && s.st_blocks * 512 < filled + (blkcnt_t)MIB);
	gmem_fill(m, 4 * GIB + 7 * MIB, 8 * MIB); /* not wholly memory: a hint only */
	assert_int_equal(m->filled_to - m->filled_from, filled);
	/* Copies that lie before, in, across and behind. */
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 4096);
	for (uint64_t at = 1 * MIB; at <= 13 * MIB; at += 2 * MIB + 12345) {
		assert_int_equal(gmem_write(m, at, data, sizeof(data)), 0);
		assert_memory_equal(gmem_at(m, at, sizeof(data)), data, sizeof(data));
	}
	/* A small page in the middle of a large one, then all. */
	assert_int_equal(gmem_discard(m, 5 * MIB, 4096), 0);
	assert_int_equal(*(uint8_t *)gmem_at(m, 5 * MIB, 1), 0);
	for (unsigned i = 0; i < 3; i++) { /* the files take turns */
		assert_int_equal(m->memfd, i % 2 ? fd[1] : fd[0]);
		assert_int_equal(gmem_clear(m), 0);
		assert_int_equal(fstat(m->memfd, &s), 0);
		assert_int_equal(s.st_blocks, 0);
		assert_int_equal(*(uint8_t *)gmem_at(m, 5 * MIB, 1), 0);
		gmem_fill(m, 4 * MIB, 4 * MIB);
		assert_int_equal(gmem_write(m, 4 * MIB, data, sizeof(data)), 0);
		assert_memory_equal(gmem_at(m, 4 * MIB, sizeof(data)), data, sizeof(data));
		while (i && gmem_clear_rest(m))
			;
	}
	gmem_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),	    cmocka_unit_test(test_bad_layouts),
		cmocka_unit_test(test_given_fd),    cmocka_unit_test(test_at),
		cmocka_unit_test(test_copies),	    cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_hook),	    cmocka_unit_test(test_clear),
		cmocka_unit_test(test_clear_rest),  cmocka_unit_test(test_private),
		cmocka_unit_test(test_large_write), cmocka_unit_test(test_save_load),
		cmocka_unit_test(test_huge_pages),  cmocka_unit_test(test_thp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
