/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h - an address space of device registers: the ports, or guest physical space outside of RAM.
 *
 * A bus is a sorted table of ranges that never overlap. An access is cut into pieces that lie inside one
 * range, are no larger than the range's device takes, and each go to its callbacks; bytes that nobody answers
 * read as all ones and ignore writes. So devices see sizes 1, 2, 4 (8), with an offset inside of their
 * range, possibly unaligned, and nothing else.
 *
 * Threads: VM lock held, for accesses and for changes. A callback may add and remove ranges of its bus,
 * its own too (a guest that moves the BAR it goes through).
 *
 * The local APIC is not on a bus: each vCPU has its own at the same address (lapic_mmio_read()).
 */
#ifndef LODGE_BOARD_BUS_H
#define LODGE_BOARD_BUS_H

#include "util/base.h"
#include "util/err.h"

struct bus_ops {
	/* `size` is 1, 2, 4 or 8 and offset + size <= range->size. A result's upper bits are cut off. */
	uint64_t (*read)(void *ctx, uint64_t offset, unsigned size);
	void (*write)(void *ctx, uint64_t offset, uint64_t value, unsigned size);
	/* Larger accesses are cut into pieces of this size, ascending. 0: the bus's own maximum. */
	unsigned max_size;
};

/* Owned by the device, which keeps it in place while it is on the bus. */
struct bus_range {
	const char *name;
	uint64_t base, size;
	const struct bus_ops *ops;
	void *ctx;
};

struct bus {
	const char *name;	  /* "port", "mmio" */
	uint64_t last;		  /* highest address */
	unsigned max_size;	  /* 4 or 8 */
	struct bus_range **range; /* ascending base */
	unsigned n, cap;
	unsigned hint;	      /* index of the last hit */
	uint64_t n_unclaimed; /* pieces that nobody answered */
};

void bus_init(struct bus *b, const char *name, uint64_t last, unsigned max_size);
void bus_fini(struct bus *b);
#define BUS_PORT_LAST 0xffffu
#define BUS_MMIO_LAST UINT64_MAX

/* -EINVAL: empty, wraps or beyond the end; -EBUSY: overlaps another range (named in e); -ENOMEM. */
int bus_add(struct bus *b, struct bus_range *r, struct err *e);
/* Nothing happens if it is not on the bus. */
void bus_remove(struct bus *b, struct bus_range *r);
bool bus_has(const struct bus *b, const struct bus_range *r);
/* The range that holds addr, or NULL. */
struct bus_range *bus_find(struct bus *b, uint64_t addr);

/* `size` 1..8: odd sizes are cut up too. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, uint64_t value, unsigned size);

/* One line a range; returns as snprintf. */
int bus_dump(const struct bus *b, char *buf, size_t size);

#endif
