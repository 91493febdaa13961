/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem_file.c - guest memory to and from a file: saved state.
 *
 * The file has memory as the memfd has it, byte for byte, from an offset on; pages that are zero are holes. So to load is
 * to map: the file takes the place of the memfd in the one mapping, private, and a page is read when the guest first touches
 * it and copied when the guest first writes it. The memfd (or what private memory has instead) stays behind it, empty, and comes back when memory is cleared. Where
 * memory must be in the memfd (somebody else maps it too), it is copied there instead.
 *
 * Saving looks at what may hold something: the extents of the memfd, or everything where there is none or a file is mapped
 * (which pages were written since is not known to us).
 */
#include "mem/gmem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/fdio.h"

#define CHUNK MIB

static bool page_is_zero(const uint8_t *page)
{
	const uint64_t *w = (const uint64_t *)(const void *)page;
	uint64_t any = 0;

	for (unsigned i = 0; i < GMEM_PAGE / 8 && !any; i += 8)
		any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] |
		      w[i + 7];
	return !any;
}

/* Writes the pages of [from, to) that are not zero. */
static int save_range(const struct gmem *m, int fd, uint64_t offset, uint64_t from, uint64_t to,
		      uint64_t *n_pages)
{
	uint64_t at = from;

	while (at < to) {
		uint64_t end = at;
		int r;

		while (end < to && end - at < CHUNK && !page_is_zero(m->base + end))
			end += GMEM_PAGE;
		if (end == at) {
			at += GMEM_PAGE;
			continue;
		}
		r = fdio_write(fd, m->base + at, end - at, offset + at);
		if (r < 0)
			return r;
		*n_pages += (end - at) / GMEM_PAGE;
		at = end;
	}
	return 0;
}

int gmem_save(const struct gmem *m, int fd, uint64_t offset, uint64_t *n_pages)
{
	uint64_t at = 0;
	int r = 0;

	*n_pages = 0;
	if (m->from_file || m->memfd == GMEM_PRIVATE || m->huge)
		return save_range(m, fd, offset, 0, m->size_bytes, n_pages);
	while (r == 0 && at < m->size_bytes) {
		/* seccomp vm: lseek */
		off_t data = lseek(m->memfd, (off_t)at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(m->memfd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		at = MIN(ALIGN_UP((uint64_t)hole, GMEM_PAGE), m->size_bytes);
		r = save_range(m, fd, offset, ALIGN_DOWN((uint64_t)data, GMEM_PAGE), at, n_pages);
	}
	return r;
}

/* Copies [at, end) of the file's part into the memfd, which makes each page in one pass. */
static int copy_range(struct gmem *m, int fd, uint64_t offset, uint64_t at, uint64_t end,
		      uint8_t *chunk)
{
	while (at < end) {
		ssize_t n = pread(fd, chunk, MIN(end - at, CHUNK), (off_t)(offset + at));
		int r = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		if (m->memfd == GMEM_PRIVATE || m->huge)
			memcpy(m->base + at, chunk, (size_t)n);
		else
			r = fdio_write(m->memfd, chunk, (uint64_t)n, at);
		if (r < 0)
			return r;
		at += (uint64_t)n;
	}
	return 0;
}

static int copy_file(struct gmem *m, int fd, uint64_t offset)
{
	_autofree uint8_t *chunk = malloc(CHUNK);
	uint64_t at = 0;
	int r = 0;

	if (!chunk)
		return -ENOMEM;
	while (r == 0 && at < m->size_bytes) {
		off_t data = lseek(fd, (off_t)(offset + at), SEEK_DATA), hole;
		uint64_t from, to;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		from = (uint64_t)data - offset;
		to = MIN((uint64_t)hole - offset, m->size_bytes);
		if (from < to)
			r = copy_range(m, fd, offset, from, to, chunk);
		at = (uint64_t)hole - offset;
	}
	return r;
}

int gmem_load(struct gmem *m, int fd, uint64_t offset, bool copy, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "cannot look at the file of the saved memory");
	if (offset % GMEM_PAGE || (uint64_t)st.st_size < offset ||
	    (uint64_t)st.st_size - offset < m->size_bytes)
		return err_set(e, EINVAL, "the file of the saved memory is too short");
	if (copy || m->huge) {
		r = copy_file(m, fd, offset);
		return r < 0 ? err_errno(e, -r, "cannot read the saved memory") : 0;
	}
	if (mmap(m->base, m->size_bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
		return err_errno(e, errno, "cannot map the saved memory");
	(void)madvise(m->base, m->size_bytes, MADV_DONTDUMP);
	m->from_file = true;
	return 0;
}

int gmem_unload(struct gmem *m)
{
	bool private = m->memfd == GMEM_PRIVATE;
	int flags = MAP_NORESERVE | MAP_FIXED | (private ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	if (!m->from_file)
		return 0;
	if (mmap(m->base, m->size_bytes, PROT_READ | PROT_WRITE, flags, private ? -1 : m->memfd,
		 0) == MAP_FAILED)
		return -errno;
	(void)madvise(m->base, m->size_bytes, MADV_DONTDUMP);
	if (private || m->thp)
		(void)madvise(m->base, m->size_bytes, private ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	m->from_file = false;
	return 0;
}
