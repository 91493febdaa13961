/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_file.h - a saved machine as a file.
 *
 *	0       head: magic, version, sizes and places, CRC-32 (state_file.c); padded to 4 KiB
 *	4 KiB   sections (state.h), "config" among them: the frozen configuration as JSON
 *	        areas, each at a multiple of 4 KiB, which hold plain bytes:
 *	          memory   guest memory in file order (mem/gmem.h), a hole where it is zero
 *	          kernel   the file that was booted, for a reset after the load
 *	          initrd   likewise
 *	          overlay  what was written to throw-away disks (vm/disks_state.c); since version 2
 *
 * Areas have no checksum: memory is mapped and not read. The head is written last, so a file that was not finished is none.
 * Works on descriptors; names are the business of who opened them. Any one thread.
 */
#ifndef LODGE_STATE_STATE_FILE_H
#define LODGE_STATE_STATE_FILE_H

#include "state/state.h"

#define STATE_FILE_VERSION 2u /* 1 is read, too, and written where it will do */
#define STATE_FILE_SECTIONS_MAX (256 * MIB)

enum state_area {
	STATE_AREA_MEMORY,
	STATE_AREA_KERNEL,
	STATE_AREA_INITRD,
	STATE_AREA_OVERLAY,
	STATE_AREAS
};

struct state_file {
	int fd; /* borrowed */
	struct {
		uint64_t offset, size; /* size 0: not there */
	} area[STATE_AREAS];
	uint8_t *sections; /* loading: their bytes, owned */
	uint64_t sections_len;
};

/* ---- writing ---- */

/* Lays the file out and writes the sections. f->area[].size is filled in by the caller, .offset here. fd: empty and
 * writable. Then the caller writes the areas. */
int state_file_begin(struct state_file *f, int fd, const struct buf *sections, struct err *e);
/* Fills an area from a regular file, from that offset on. */
int state_file_copy(struct state_file *f, enum state_area area, int from, uint64_t from_offset,
		    struct err *e);
/* All is written: sets the length, flushes it to the disk, writes the head, flushes again. */
int state_file_end(struct state_file *f, struct err *e);
/* The sentence for a failed write. Returns -code. */
int state_file_write_error(int code, struct err *e);

/* ---- reading ---- */

/* Reads head and sections and checks both: 0, or -errno with a sentence that says whether it is no saved state at all, of another
 * version, cut short or damaged. state_file_fini() in any case. */
int state_file_open(struct state_file *f, int fd, struct err *e);
void state_file_fini(struct state_file *f); /* the fd stays open */
/* The text of section "config", NUL-terminated; the caller frees. NULL with the error set. */
char *state_file_config(const struct state_file *f, struct err *e);
/* Copies an area into a new memfd: its fd, or -errno. */
int state_file_extract(const struct state_file *f, enum state_area area, const char *name,
		       struct err *e);

/* The section "config", both ways: *text is borrowed when saving, the caller's to free when loading. */
#define STATE_FILE_CONFIG_MAX (128 * KIB)
int state_file_config_section(struct state *s, char **text);

#endif
