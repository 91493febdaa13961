/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.c - guest memory: one sealed memfd, mapped once, cut into regions.
 *
 * Theory of operation. The regions lie back to back in the memfd, in ascending guest address, and the
 * whole memfd is mapped by one mapping. So two regions that touch in guest physical space touch in the
 * host too, and a page's number in the file (which the dirty log counts by) needs no search table. The
 * mapping has an inaccessible guard on either side: a run-away host access faults instead of reaching
 * another mapping. Nothing is touched here: pages come into being when first written.
 *
 * The file's size is sealed (memfd_create(2), F_SEAL_GROW and F_SEAL_SHRINK): whoever else gets the fd
 * cannot make our accesses raise SIGBUS by cutting it short.
 *
 * Private memory (GMEM_PRIVATE) is an anonymous mapping instead, for which the host has transparent huge pages by default.
 *
 * A file of a tmpfs that was mounted for it (gmem_thp.c) can have transparent huge pages, too. They are taken for what is known to be
 * written whole, the kernel and the initrd (gmem_fill()): one fault and one zeroing for 512 small pages, half of the time to the
 * guest's first instruction. Elsewhere they would take memory of the host that the guest does not use.
 *
 * Huge pages of hugetlbfs are for either kind. The host accounts for all of them when they are mapped: a guest never
 * meets the lack of one. They know neither holes nor write(), and are given back whole only.
 *
 * Clearing. To give the pages of a whole guest back takes time, of which a guest that reboots would have to wait for each
 * millisecond. So memory gets a new file in the old one's place, and the old one's pages are given back by pieces, later. To
 * close the old file would not do: others may have it mapped.
 *
 * Dirty log. One bit a page, set with an atomic OR only when it is not set yet, so that a page that is
 * written often costs a load. Harvest exchanges each word with zero: a write is either in this harvest or
 * in the next one. The bitmap, once allocated, lives as long as the memory: stopping the log clears the
 * pointer only, because a writer may just have read it.
 */
#include "mem/gmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/clock.h"

#define GUARD (2 * MIB)
#define BY_FILE (16 * KIB)
#define REST_PIECE (16 * MIB) /* given back by one gmem_clear_rest(): a few milliseconds */
#define FILL_SLOW_NS (3 * CLOCK_NS_PER_MS) /* for 2 MiB; one that is there takes less than 1 ms */
#define MEM_MAX (UINT64_C(1) << 46)	   /* below the host's user address space */

static uint64_t n_pages(const struct gmem *m)
{
	return m->size_bytes / GMEM_PAGE;
}

static uint64_t n_words(const struct gmem *m)
{
	return (n_pages(m) + 63) / 64;
}

/* Checks the layout and fills the region table but for hva. */
static int lay_out(struct gmem *m, const struct gmem_range *range, unsigned n, struct err *e)
{
	gpa_t end = 0;

	if (n == 0 || n > GMEM_MAX_REGIONS)
		return err_set(e, EINVAL, "guest memory has %u regions; 1 to %u are possible", n,
			       GMEM_MAX_REGIONS);
	for (unsigned i = 0; i < n; i++) {
		gpa_t gpa = range[i].gpa;
		uint64_t size = range[i].size;

		if (m->huge && (size % m->huge || gpa % m->huge))
			return err_set(
				e, EINVAL,
				"guest memory of %llu MiB is not made of whole pages of %llu MiB",
				(unsigned long long)(size / MIB),
				(unsigned long long)(m->huge / MIB));
		if (size == 0 || gpa % GMEM_PAGE || size % GMEM_PAGE || gpa > UINT64_MAX - size)
			return err_set(
				e, EINVAL,
				"guest memory region %u (%#llx, %llu bytes) is not made of whole pages",
				i, (unsigned long long)gpa, (unsigned long long)size);
		if (i > 0 && gpa < end)
			return err_set(e, EINVAL, "guest memory region %u overlaps the one before",
				       i);
		if (size > MEM_MAX || m->size_bytes > MEM_MAX - size)
			return err_set(e, EINVAL, "guest memory is larger than %llu GiB",
				       (unsigned long long)(MEM_MAX / GIB));
		m->region[i] =
			(struct gmem_region){.gpa = gpa, .size = size, .file_offset = m->size_bytes};
		m->size_bytes += size;
		end = gpa + size;
	}
	m->n_regions = n;
	return 0;
}

/* The size of a page in the flags of mmap() and memfd_create(), which have it at the same place. */
static unsigned huge_flag(const struct gmem *m)
{
	return m->huge ? (unsigned)__builtin_ctzll(m->huge) << MAP_HUGE_SHIFT : 0;
}

static uint64_t guard(const struct gmem *m)
{
	return MAX(GUARD, m->huge);
}

static int no_huge_pages(const struct gmem *m, int code, struct err *e)
{
	err_set(e, code,
		"the host does not have %llu MiB of free huge pages of %llu MiB for the guest's memory: reserve them in /sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages, or leave --huge-pages out",
		(unsigned long long)(m->size_bytes / MIB), (unsigned long long)(m->huge / MIB),
		(unsigned long long)(m->huge / KIB));
	return err_field(e, "memory.huge", NULL);
}

static int open_file(struct gmem *m, struct err *e)
{
	struct stat st;

	if (m->memfd == GMEM_PRIVATE)
		return 0;
	if (m->memfd == GMEM_NEW) {
		m->own_file = true;
		/* seccomp vm: memfd_create, ftruncate, fcntl arg1=F_ADD_SEALS - guest memory */
		m->memfd = memfd_create("guest-memory",
					MFD_CLOEXEC | MFD_ALLOW_SEALING |
						(m->huge ? MFD_HUGETLB | huge_flag(m) : 0));
		if (m->memfd < 0)
			return err_errno(e, errno, "cannot create the memory file of the guest");
	}
	/* seccomp vm: fstat */
	if (fstat(m->memfd, &st) < 0)
		return err_errno(e, errno, "cannot look at the memory file of the guest");
	if ((uint64_t)st.st_size < m->size_bytes && ftruncate(m->memfd, (off_t)m->size_bytes) < 0)
		return err_errno(e, errno, "cannot make %llu MiB of guest memory",
				 (unsigned long long)(m->size_bytes / MIB));
	/* A file from elsewhere may be sealed already, or be of a kind that has no seals. */
	(void)fcntl(m->memfd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	return 0;
}

static int map_file(struct gmem *m, struct err *e)
{
	bool private = m->memfd == GMEM_PRIVATE;
	int flags = MAP_FIXED | (private ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) |
		    (m->huge ? MAP_HUGETLB | (int)huge_flag(m) : MAP_NORESERVE);
	uint8_t *area, *at;

	area = mmap(NULL, m->size_bytes + 2 * guard(m), PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return err_errno(e, errno, "cannot find %llu MiB of address space for guest memory",
				 (unsigned long long)(m->size_bytes / MIB));
	m->area = area;
	at = (uint8_t *)ALIGN_UP((uintptr_t)area + 1,
				 guard(m)); /* 2 MiB: huge pages stay possible */
	if (mmap(at, m->size_bytes, PROT_READ | PROT_WRITE, flags, private ? -1 : m->memfd, 0) ==
	    MAP_FAILED)
		return m->huge ? no_huge_pages(m, errno, e) :
				 err_errno(e, errno, "cannot map %llu MiB of guest memory",
					   (unsigned long long)(m->size_bytes / MIB));
	m->base = at;
	for (unsigned i = 0; i < m->n_regions; i++)
		m->region[i].hva = at + m->region[i].file_offset;
	(void)madvise(at, m->size_bytes, MADV_DONTDUMP);
	if (private && !m->huge)
		(void)madvise(at, m->size_bytes, MADV_HUGEPAGE);
	if (m->thp)
		(void)madvise(at, m->size_bytes, MADV_NOHUGEPAGE);
	return 0;
}

static int create(struct gmem **out, const struct gmem_range *range, unsigned n, int memfd,
		  int spare, uint64_t huge, struct err *e)
{
	struct gmem *m = calloc(1, sizeof(*m));
	int r;

	*out = NULL;
	if (!m) {
		base_close_fd(&memfd);
		base_close_fd(&spare);
		return err_set(e, ENOMEM, "out of memory");
	}
	m->memfd = memfd;
	m->old_fd = -1;
	m->spare_fd = spare;
	m->huge = huge;
	m->thp = spare >= 0;
	r = lay_out(m, range, n, e);
	if (r == 0)
		r = open_file(m, e);
	if (r == 0)
		r = map_file(m, e);
	if (r < 0) {
		gmem_destroy(m);
		return r;
	}
	*out = m;
	return 0;
}

int gmem_create(struct gmem **out, const struct gmem_range *range, unsigned n, int memfd,
		struct err *e)
{
	return create(out, range, n, memfd, -1, 0, e);
}

int gmem_create_huge(struct gmem **out, const struct gmem_range *range, unsigned n, int memfd,
		     uint64_t huge, struct err *e)
{
	return create(out, range, n, memfd, -1, huge, e);
}

int gmem_create_thp(struct gmem **out, const struct gmem_range *range, unsigned n, const int fd[2],
		    struct err *e)
{
	return create(out, range, n, fd[0], fd[1], 0, e);
}

void gmem_destroy(struct gmem *m)
{
	if (!m)
		return;
	if (m->area)
		munmap(m->area, m->size_bytes + 2 * guard(m));
	if (m->memfd >= 0)
		close(m->memfd);
	base_close_fd(&m->old_fd);
	base_close_fd(&m->spare_fd);
	free(m->dirty_map);
	free(m);
}

const struct gmem_region *gmem_find(const struct gmem *m, gpa_t gpa)
{
	for (unsigned i = 0; i < m->n_regions; i++)
		if (gpa - m->region[i].gpa < m->region[i].size)
			return &m->region[i];
	return NULL;
}

void *gmem_at(const struct gmem *m, gpa_t gpa, uint64_t len)
{
	const struct gmem_region *r = gmem_find(m, gpa);

	/* gpa is inside: the subtraction does not wrap, and neither does a huge len pass. */
	if (!r || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->hva + (gpa - r->gpa);
}

/* The longest piece of [gpa, gpa+len) that starts at gpa and lies in one region; 0: none. */
static uint64_t piece(const struct gmem *m, gpa_t gpa, uint64_t len, uint8_t **hva)
{
	const struct gmem_region *r = gmem_find(m, gpa);
	uint64_t left;

	if (!r)
		return 0;
	left = r->size - (gpa - r->gpa);
	*hva = r->hva + (gpa - r->gpa);
	return MIN(len, left);
}

int gmem_read(const struct gmem *m, gpa_t gpa, void *buf, uint64_t len)
{
	uint8_t *to = buf, *from;

	while (len) {
		uint64_t n = piece(m, gpa, len, &from);

		if (n == 0)
			return -EFAULT;
		memcpy(to, from, n);
		to += n;
		gpa += n; /* may wrap to 0 only when the region ends at 2^64; lay_out() excludes that */
		len -= n;
	}
	return 0;
}

/* Large writes go through the file: the kernel fills new small pages in one pass, without a fault and a zeroing for
 * each. Half the cost when a kernel is loaded. (It would not make large ones.) */
static void copy_in(struct gmem *m, uint8_t *to, const uint8_t *from, uint64_t n)
{
	uint64_t off = (uint64_t)(to - m->base);
	bool there = off >= m->filled_from && off < m->filled_to && n <= m->filled_to - off;

	while (n >= BY_FILE && !m->from_file && !there) {
		ssize_t r = pwrite(m->memfd, from, MIN(n, MIB), to - m->base);

		if (r <= 0)
			break; /* out of memory, say: the copy shows it as any access would */
		to += r;
		from += r;
		n -= (uint64_t)r;
	}
	memcpy(to, from, n);
}

void gmem_fill(struct gmem *m, gpa_t gpa, uint64_t len)
{
	uint8_t *p = m->thp && !m->from_file ? gmem_at(m, gpa, len) : NULL;
	uint64_t from, to;
	bool slow = false;

	if (!p)
		return;
	from = ALIGN_UP((uint64_t)(p - m->base), 2 * MIB);
	to = ALIGN_DOWN((uint64_t)(p - m->base) + len, 2 * MIB);
	if (from >= to || madvise(m->base + from, to - from, MADV_HUGEPAGE) < 0)
		return;
	m->filled_from = m->filled_to = from;
	/* A host without free huge pages makes them by moving others, which takes longer than small ones do. */
	while (m->filled_to < to && !slow) {
		uint64_t began = clock_ns();

		if (madvise(m->base + m->filled_to, 2 * MIB, MADV_POPULATE_WRITE) < 0)
			break;
		m->filled_to += 2 * MIB;
		slow = clock_ns() - began > FILL_SLOW_NS;
	}
	(void)madvise(m->base + from, to - from,
		      MADV_NOHUGEPAGE); /* one mapping again; the pages stay */
}

void gmem_written(struct gmem *m, gpa_t gpa, uint64_t len)
{
	gmem_dirty_mark(m, gpa, len);
	if (m->hook.written)
		m->hook.written(m->hook.ctx, gpa, len);
}

int gmem_write(struct gmem *m, gpa_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;
	uint8_t *to;

	while (len) {
		uint64_t n = piece(m, gpa, len, &to);

		if (n == 0)
			return -EFAULT;
		copy_in(m, to, from, n);
		gmem_written(m, gpa, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

/* seccomp vm: fallocate - memory that the guest gives back */
static int punch(int fd, uint64_t off, uint64_t len)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) <
			       0 ?
		       -errno :
		       0;
}

/* Makes [off, off + len) of huge pages zero, and gives back those that are whole. */
static void discard_huge(struct gmem *m, uint64_t off, uint64_t len)
{
	uint64_t from = MIN(ALIGN_UP(off, m->huge), off + len);
	uint64_t to = MAX(ALIGN_DOWN(off + len, m->huge), from);

	memset(m->base + off, 0, from - off);
	memset(m->base + to, 0, off + len - to);
	if (from < to &&
	    (m->memfd == GMEM_PRIVATE ? madvise(m->base + from, to - from, MADV_DONTNEED) :
					punch(m->memfd, from, to - from)) < 0)
		memset(m->base + from, 0, to - from); /* Linux before 5.18 */
}

int gmem_discard(struct gmem *m, gpa_t gpa, uint64_t len)
{
	const uint8_t *hva = gmem_at(m, gpa, len);
	gpa_t first = ALIGN_UP(gpa, GMEM_PAGE), end = ALIGN_DOWN(gpa + len, GMEM_PAGE);
	uint64_t off;

	if (!hva)
		return -EFAULT;
	if (first >= end)
		return 0;
	off = (uint64_t)(hva - m->base) + (first - gpa);
	if (m->huge)
		discard_huge(m, off, end - first);
	else if (m->from_file) /* to give it back would bring back what is in the file */
		memset(m->base + off, 0, end - first);
	else if (m->memfd == GMEM_PRIVATE ? madvise(m->base + off, end - first, MADV_DONTNEED) < 0 :
					    punch(m->memfd, off, end - first) < 0)
		return -errno;
	gmem_written(m, first, end - first);
	return 0;
}

uint64_t gmem_resident(const struct gmem *m)
{
	unsigned char present[4096];
	struct stat st;
	uint64_t n = 0;

	if (m->memfd != GMEM_PRIVATE && !m->from_file && !m->huge)
		return fstat(m->memfd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
	for (uint64_t at = 0; at < m->size_bytes; at += sizeof(present) * GMEM_PAGE) {
		uint64_t len = MIN(m->size_bytes - at, sizeof(present) * GMEM_PAGE);

		/* seccomp vm: mincore */
		if (mincore(m->base + at, len, present) < 0)
			return 0;
		for (uint64_t i = 0; i < len / GMEM_PAGE; i++)
			n += present[i] & 1;
	}
	return n * GMEM_PAGE;
}

/* A new file in the place of the old one. */
static int renew(struct gmem *m)
{
	int old = m->memfd, r = 0;

	m->memfd = m->thp ? m->spare_fd : GMEM_NEW;
	if (!m->thp)
		r = open_file(m, NULL);
	if (r == 0 && mmap(m->base, m->size_bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_NORESERVE | MAP_FIXED, m->memfd, 0) == MAP_FAILED)
		r = -errno;
	if (r < 0) {
		if (m->memfd >= 0 && !m->thp)
			close(m->memfd);
		m->memfd = old;
		return r;
	}
	m->spare_fd = -1;
	(void)madvise(m->base, m->size_bytes, MADV_DONTDUMP);
	if (m->thp)
		(void)madvise(m->base, m->size_bytes, MADV_NOHUGEPAGE);
	m->old_fd = old;
	m->old_at = 0;
	return 0;
}

bool gmem_clear_rest(struct gmem *m)
{
	uint64_t n;

	if (m->old_fd < 0)
		return false;
	n = MIN(m->size_bytes - m->old_at, REST_PIECE);
	(void)punch(m->old_fd, m->old_at, n);
	m->old_at += n;
	if (m->old_at < m->size_bytes)
		return true;
	if (m->thp) {
		m->spare_fd = m->old_fd;
		m->old_fd = -1;
	}
	base_close_fd(&m->old_fd);
	return false;
}

int gmem_clear(struct gmem *m)
{
	while (gmem_clear_rest(m))
		;
	for (unsigned i = 0; i < m->n_regions; i++)
		gmem_dirty_mark(m, m->region[i].gpa, m->region[i].size);
	m->filled_from = m->filled_to = 0;
	if (m->from_file)
		return gmem_unload(m);
	if (m->huge) {
		discard_huge(m, 0, m->size_bytes);
		return 0;
	}
	if (m->memfd == GMEM_PRIVATE)
		return madvise(m->base, m->size_bytes, MADV_DONTNEED) < 0 ? -errno : 0;
	if ((m->own_file || m->spare_fd >= 0) && renew(m) == 0)
		return 0;
	return punch(m->memfd, 0, m->size_bytes);
}

int gmem_dirty_start(struct gmem *m)
{
	if (!m->dirty_map) {
		m->dirty_map = calloc(n_words(m), sizeof(uint64_t));
		if (!m->dirty_map)
			return -ENOMEM;
	} else if (!__atomic_load_n(&m->dirty, __ATOMIC_RELAXED)) {
		for (uint64_t i = 0; i < n_words(m); i++)
			__atomic_store_n(&m->dirty_map[i], 0, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&m->dirty, m->dirty_map, __ATOMIC_RELEASE);
	return 0;
}

void gmem_dirty_stop(struct gmem *m)
{
	__atomic_store_n(&m->dirty, NULL, __ATOMIC_RELEASE);
}

void gmem_dirty_mark(struct gmem *m, gpa_t gpa, uint64_t len)
{
	uint64_t *map = __atomic_load_n(&m->dirty, __ATOMIC_ACQUIRE);
	uint8_t *hva;

	if (!map)
		return;
	while (len) {
		uint64_t n = piece(m, gpa, len, &hva);
		uint64_t first, last;

		if (n == 0)
			return;
		first = (uint64_t)(hva - m->base) / GMEM_PAGE;
		last = (uint64_t)(hva - m->base + n - 1) / GMEM_PAGE;
		for (uint64_t p = first; p <= last; p++) {
			uint64_t bit = BIT(p % 64);

			if (!(__atomic_load_n(&map[p / 64], __ATOMIC_RELAXED) & bit))
				__atomic_fetch_or(&map[p / 64], bit, __ATOMIC_RELEASE);
		}
		gpa += n;
		len -= n;
	}
}

uint64_t gmem_dirty_harvest(struct gmem *m, uint64_t *bitmap)
{
	uint64_t *map = __atomic_load_n(&m->dirty, __ATOMIC_ACQUIRE);
	uint64_t n = 0;

	if (map && m->hook.collect)
		m->hook.collect(m->hook.ctx);
	for (uint64_t i = 0; i < n_words(m); i++) {
		uint64_t w = 0;

		if (map && __atomic_load_n(&map[i], __ATOMIC_RELAXED))
			w = __atomic_exchange_n(&map[i], 0, __ATOMIC_ACQ_REL);
		bitmap[i] = w;
		n += (uint64_t)__builtin_popcountll(w);
	}
	return n;
}
