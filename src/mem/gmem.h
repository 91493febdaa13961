/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.h - guest memory: one memfd, a few RAM regions in guest physical space, and the one checked
 * gate from a guest physical address (gpa_t) to host memory.
 *
 * Guest addresses are numbers, never pointers. gmem_at() is the only way to turn one into a pointer;
 * it answers only for a range that lies wholly inside one RAM region. Devices use gmem_read() and
 * gmem_write(), which also keep the dirty log and tell the engine (struct gmem_hook) about writes
 * that it did not make itself, so that it can drop translated code.
 *
 * Threads: regions are fixed once the VM runs; reads, writes and the dirty log may be used from any thread.
 */
#ifndef LODGE_MEM_GMEM_H
#define LODGE_MEM_GMEM_H

#include <sys/types.h>

#include "util/base.h"
#include "util/err.h"

typedef uint64_t gpa_t; /* guest physical address, bytes */

#define GMEM_PAGE 4096u
#define GMEM_MAX_REGIONS 8

struct gmem_region {
	gpa_t gpa;	      /* page aligned */
	uint64_t size;	      /* bytes, page aligned */
	uint8_t *hva;	      /* where it is mapped, read and write, in this process */
	uint64_t file_offset; /* in the memfd */
};

/* Called after a host-side write (device DMA, loader) to [gpa, gpa+len). Any thread. */
struct gmem_hook {
	void (*written)(void *ctx, gpa_t gpa, uint64_t len); /* NULL: nobody wants to know */
	void *ctx;
	/* At the beginning of gmem_dirty_harvest(): marks what an engine keeps in a log of its own. NULL: there is none. */
	void (*collect)(void *ctx);
};

struct gmem {
	int memfd;	     /* owned; GMEM_PRIVATE: none */
	uint64_t size_bytes; /* sum of regions */
	uint8_t *base;	     /* the whole memfd mapped at once, regions one after the other */
	uint64_t huge; /* bytes of a page of hugetlbfs, which the memory is made of; 0: ordinary pages */
	bool from_file; /* base is a private view of a file of saved memory; the memfd is empty */
	bool own_file;	/* made by us (GMEM_NEW) */
	bool thp;	/* memfd and spare_fd are of gmem_open_thp() */
	int spare_fd;	/* an empty one for the next clear; -1: there is none */
	uint64_t filled_from,
		filled_to; /* what gmem_fill() got pages for last: offsets in the memfd */
	int old_fd;	 /* the file before the last clear, while gmem_clear_rest() has work; -1 */
	uint64_t old_at; /* what comes before was given back */
	void *area;	 /* the reservation around base: the mapping and its guards */
	unsigned n_regions;
	struct gmem_region region[GMEM_MAX_REGIONS]; /* ascending gpa */
	struct gmem_hook hook;
	uint64_t *dirty; /* one bit a page of the memfd; NULL while the log is off. Atomic pointer and bits. */
	uint64_t *dirty_map; /* what dirty points to; kept until destroy for writers that still look at it */
};

/* A layout entry: RAM of `size` bytes at `gpa`. */
struct gmem_range {
	gpa_t gpa;
	uint64_t size;
};

/* Creates the memfd itself when memfd is GMEM_NEW, else takes ownership of it (and grows it to size). GMEM_PRIVATE: there is
 * none, no other process and no second mapping can have this memory; the host gives it huge pages, which it seldom does for
 * a file. Memory is zero and not yet resident. */
#define GMEM_NEW (-1)
#define GMEM_PRIVATE (-2)
int gmem_create(struct gmem **out, const struct gmem_range *range, unsigned n, int memfd,
		struct err *e);
/* The same of pages of `huge` bytes (2 MiB or 1 GiB) that the host has reserved (hugetlbfs); all sizes are multiples of it. All of the
 * memory is taken at once: an error if there is not so much. */
int gmem_create_huge(struct gmem **out, const struct gmem_range *range, unsigned n, int memfd,
		     uint64_t huge, struct err *e);
/*
 * Files for guest memory that can have transparent huge pages (gmem_thp.c), and the memory that takes ownership of them; the second one
 * is for gmem_clear(). Making them needs the right to mount (CAP_SYS_ADMIN over the process's mount namespace): a process that locks itself in
 * does it before it gives its rights up. 0 or -errno: no right, or the host has no such pages. Their size cannot be sealed: they are not
 * for sharing with another process.
 */
int gmem_open_thp(uint64_t size, int fd[2]);
int gmem_create_thp(struct gmem **out, const struct gmem_range *range, unsigned n, const int fd[2],
		    struct err *e);
void gmem_destroy(struct gmem *m);

/* Host pointer for [gpa, gpa+len), or NULL when the range is not wholly RAM of one region (or wraps). */
void *gmem_at(const struct gmem *m, gpa_t gpa, uint64_t len);
/* The region that holds gpa, or NULL. */
const struct gmem_region *gmem_find(const struct gmem *m, gpa_t gpa);

/* Copies; a range may span regions that touch. 0, or -EFAULT (nothing, or only a part, copied). */
int gmem_read(const struct gmem *m, gpa_t gpa, void *buf, uint64_t len);
int gmem_write(struct gmem *m, gpa_t gpa, const void *buf, uint64_t len);

/* [gpa, gpa+len) is about to be written whole: gets pages for it at once, huge ones if the memory can have them. A hint. */
void gmem_fill(struct gmem *m, gpa_t gpa, uint64_t len);

/* After a write through gmem_at(): marks the dirty log and tells the engine. Any thread. */
void gmem_written(struct gmem *m, gpa_t gpa, uint64_t len);

/*
 * Gives the whole pages of [gpa, gpa+len) back to the host (of huge pages, those that are whole): they read as zero until they are
 * written again. Dirty log and
 * engine are told. 0; -EFAULT (nothing done): not wholly RAM of one region; another -errno of the host. Any thread.
 */
int gmem_discard(struct gmem *m, gpa_t gpa, uint64_t len);
/* Bytes of guest memory that the host holds at the moment. A call for each 16 MiB, perhaps: for statistics. */
uint64_t gmem_resident(const struct gmem *m);

/*
 * Makes all memory zero and not resident, as after gmem_create(). Nothing may use it meanwhile; the hook is not told. A memfd of our own
 * may be another one afterwards: whoever maps memory a second time maps it again. 0 or -errno; memory is undefined then.
 */
int gmem_clear(struct gmem *m);
/* Gives back a piece of what memory was before the last clear. Is there more? Any thread, one at a time. */
bool gmem_clear_rest(struct gmem *m);

/* ---- saved state, gmem_file.c; nothing runs meanwhile ---- */

/* Writes memory to fd from `offset` on (a multiple of the page size), leaving out pages that are zero: there the file is to
 * have a hole, or zeroes. 0 or -errno; *n_pages: how many were written. */
int gmem_save(const struct gmem *m, int fd, uint64_t offset, uint64_t *n_pages);
/*
 * Memory shall be what gmem_save() wrote; before anything else uses it. `copy`: reads it into the memfd. Else it takes no
 * time: pages are read when they are touched, so the file must not change or shrink as long as the memory lives (the fd may
 * be closed, the name may go), and nobody else can share this memory by its memfd. Huge pages are always copied to.
 */
int gmem_load(struct gmem *m, int fd, uint64_t offset, bool copy, struct err *e);
/* Back to the (empty) memfd, or to private memory. For gmem_clear(). */
int gmem_unload(struct gmem *m);

/* Dirty log: pages written since the last harvest. For the stores of vCPUs see engine_class.dirty_sync. */
int gmem_dirty_start(struct gmem *m);
void gmem_dirty_stop(struct gmem *m);
void gmem_dirty_mark(struct gmem *m, gpa_t gpa, uint64_t len);
/* Copies the bitmap (one bit a page, in file order, size_bytes/4096 bits) and clears it. Returns the pages set. */
uint64_t gmem_dirty_harvest(struct gmem *m, uint64_t *bitmap);

#endif
