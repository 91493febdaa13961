/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks_state.c - what of the disks is saved with a machine.
 *
 * Theory of operation. A disk's content does not travel: the file is given again, and the section "disk-file" says when it was written
 * last. What a guest wrote to a throw-away disk is nowhere else, so it goes with the machine: the section "disk-overlay" says
 * which pages these are, and the pages themselves are an area of the file (state_file.h): those of the first such disk in
 * their order, then those of the next. At a load they are copied to the temporary file that the new process came with. The
 * last page of a disk may be shorter than a page; the rest of it is zeroes in the area.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blk/layer.h"
#include "state/state_file.h"
#include "util/fdio.h"
#include "vm/disks_int.h"

#define CHUNK_PAGES 256u

/* When its file was written last, in ns; 0: there is no such thing (a block device). */
static int64_t written_ns(const struct disk *k)
{
	struct stat st;

	if (fstat(k->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static void file_state(struct disk *k, struct state *s)
{
	int64_t written = written_ns(k), saved = written;

	state_begin(s, "disk-file", k->cfg.id, 1);
	if (!state_loading(s)) {
		if (k->fd < 0)
			state_fail(s,
				   "\"%s\" was taken away, and the guest has not let go of it yet",
				   k->cfg.name);
		else if (!k->cfg.read_only && !k->cfg.snapshot && fdatasync(k->fd) < 0)
			state_fail(s, "\"%s\" cannot be flushed: %s", k->cfg.name, strerror(errno));
	}
	state_i64(s, &saved);
	if (state_error(s) == 0 && saved && written && saved != written && !k->cfg.changed)
		state_fail(
			s,
			"\"%s\" was written after the VM was saved, and the guest would spoil it: give the file as it was then, or add changed=on to --disk if it is that",
			k->cfg.name);
	state_end(s);
}

/* ---- throw-away disks ---- */

static bool has_overlay(const struct disk *k)
{
	return k->cfg.snapshot && k->fd >= 0;
}

static void overlay_state(struct disk *k, struct state *s)
{
	uint64_t n, *map = overlay_map(blk_top(k->blk), &n);
	size_t bytes = (n + 7) / 8, len = bytes;
	const uint8_t *p;

	state_begin(s, "disk-overlay", k->cfg.id, 1);
	state_same(s, blk_info(k->blk)->size, "the size of a throw-away disk");
	p = state_blob(s, map, &len, STATE_FILE_SECTIONS_MAX);
	if (state_loading(s) && p) {
		if (len != bytes || (n % 8 && p[len - 1] >> (n % 8)))
			state_fail(s, "it names pages that the disk does not have");
		else
			memcpy(map, p, len); /* little-endian */
	}
	state_end(s);
}

static bool is_set(const uint64_t *map, uint64_t page)
{
	return map[page / 64] >> (page % 64) & 1;
}

/* The next run of pages that were written, from *at on, at most a chunk of them; 0: no more. */
static unsigned next_run(const uint64_t *map, uint64_t n, uint64_t *at)
{
	unsigned len = 0;

	while (*at < n && !is_set(map, *at))
		*at += map[*at / 64] >> (*at % 64) ? 1 : 64 - *at % 64;
	while (*at + len < n && len < CHUNK_PAGES && is_set(map, *at + len))
		len++;
	return len;
}

uint64_t disks_overlay_bytes(struct disks *d)
{
	uint64_t pages = 0, n;

	for (unsigned i = 0; i < d->n; i++) {
		const uint64_t *map;

		if (!has_overlay(d->disk[i]))
			continue;
		map = overlay_map(blk_top(d->disk[i]->blk), &n);
		for (uint64_t w = 0; w < (n + 63) / 64; w++)
			pages += (unsigned)__builtin_popcountll(map[w]);
	}
	return pages * OVERLAY_PAGE;
}

/* Pages of one disk; *offset in the state's file moves on. */
static int overlay_copy(struct disk *k, bool load, int fd, uint64_t *offset, uint8_t *chunk,
			struct err *e)
{
	uint64_t size = blk_info(k->blk)->size, n, at = 0;
	const uint64_t *map = overlay_map(blk_top(k->blk), &n);
	unsigned pages;

	for (; (pages = next_run(map, n, &at)); at += pages) {
		size_t len = MIN(pages * OVERLAY_PAGE, size - at * OVERLAY_PAGE);
		int r = load ? fdio_read(fd, chunk, len, *offset) :
			       fdio_read(k->overlay_fd, chunk, len, at * OVERLAY_PAGE);

		if (r < 0)
			return err_errno(e, -r,
					 "cannot read what was written to the throw-away disk %s",
					 k->cfg.id);
		r = load ? fdio_write(k->overlay_fd, chunk, len, at * OVERLAY_PAGE) :
			   fdio_write(fd, chunk, len, *offset);
		if (r < 0 && !load)
			return state_file_write_error(-r, e);
		if (r < 0) {
			err_errno(e, -r,
				  "cannot write to the temporary file of the throw-away disk %s",
				  k->cfg.id);
			err_hint(e, "set TMPDIR to a folder with room");
			return r;
		}
		*offset += pages * OVERLAY_PAGE;
	}
	return 0;
}

int disks_overlay_copy(struct disks *d, bool load, int fd, uint64_t offset, struct err *e)
{
	_autofree uint8_t *chunk = malloc(CHUNK_PAGES * OVERLAY_PAGE);
	int r = 0;

	if (!chunk)
		return err_set(e, ENOMEM, "out of memory");
	for (unsigned i = 0; r == 0 && i < d->n; i++)
		if (has_overlay(d->disk[i]))
			r = overlay_copy(d->disk[i], load, fd, &offset, chunk, e);
	return r;
}

void disks_state(struct disks *d, struct state *s)
{
	for (unsigned i = 0; i < d->n; i++) {
		file_state(d->disk[i], s);
		if (has_overlay(d->disk[i]))
			overlay_state(d->disk[i], s);
	}
}
