/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_bus.c - ranges, overlap, cutting of accesses, changes from inside a callback; debug-exit and i8042. */
#include <errno.h>

#include "board_env.h"

#include "board/debug_exit.h"
#include "board/i8042.h"

/* A range that records what reaches it, and reads as its bytes' offsets. */
struct probe {
	struct bus_range range;
	unsigned n;
	struct {
		uint64_t off, value;
		unsigned size;
		bool write;
	} log[16];
	struct bus *remove_from; /* takes itself off when written */
};

static uint64_t probe_read(void *ctx, uint64_t off, unsigned size)
{
	struct probe *p = ctx;
	uint64_t v = 0;

	assert_true(off + size <= p->range.size);
	assert_true(p->n < ARRAY_SIZE(p->log));
	p->log[p->n].off = off;
	p->log[p->n].size = size;
	p->log[p->n++].write = false;
	for (unsigned i = 0; i < size; i++)
		v |= (off + i) << 8 * i;
	return v | (size < 8 ? UINT64_MAX << 8 * size : 0); /* junk above must be cut */
}

static void probe_write(void *ctx, uint64_t off, uint64_t value, unsigned size)
{
	struct probe *p = ctx;

	assert_true(off + size <= p->range.size);
	assert_true(p->n < ARRAY_SIZE(p->log));
	p->log[p->n].off = off;
	p->log[p->n].value = value;
	p->log[p->n].size = size;
	p->log[p->n++].write = true;
	if (p->remove_from)
		bus_remove(p->remove_from, &p->range);
}

static const struct bus_ops any_ops = {probe_read, probe_write, 0};
static const struct bus_ops byte_ops = {probe_read, probe_write, 1};
static const struct bus_ops dword_ops = {probe_read, probe_write, 4};

static void probe_init(struct probe *p, uint64_t base, uint64_t size, const struct bus_ops *ops)
{
	memset(p, 0, sizeof(*p));
	p->range = (struct bus_range){"probe", base, size, ops, p};
}

static void test_add(void **st)
{
	struct bus b;
	struct probe p[4];
	struct err e = {0};

	(void)st;
	bus_init(&b, "port", BUS_PORT_LAST, 4);
	probe_init(&p[0], 0x100, 8, &any_ops);
	probe_init(&p[1], 0x108, 8, &any_ops);
	probe_init(&p[2], 0x0f9, 8, &any_ops);
	probe_init(&p[3], 0xfffe, 2, &any_ops);
	assert_int_equal(bus_add(&b, &p[1].range, &e), 0);
	assert_int_equal(bus_add(&b, &p[0].range, &e), 0); /* touches, does not overlap */
	assert_int_equal(bus_add(&b, &p[2].range, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "0x100-0x107"));
	p[2].range.base = 0xf8;
	assert_int_equal(bus_add(&b, &p[2].range, &e), 0);
	assert_int_equal(bus_add(&b, &p[3].range, &e), 0);
	for (unsigned i = 1; i < b.n; i++)
		assert_true(b.range[i - 1]->base < b.range[i]->base);
	p[3].range.size = 3;
	bus_remove(&b, &p[3].range);
	assert_int_equal(bus_add(&b, &p[3].range, NULL), -EINVAL); /* beyond the last port */
	p[3].range.size = 0;
	assert_int_equal(bus_add(&b, &p[3].range, NULL), -EINVAL);
	p[3].range.size = UINT64_MAX;
	assert_int_equal(bus_add(&b, &p[3].range, NULL), -EINVAL);
	assert_ptr_equal(bus_find(&b, 0x107), &p[0].range);
	assert_ptr_equal(bus_find(&b, 0x108), &p[1].range);
	assert_null(bus_find(&b, 0x110));
	assert_null(bus_find(&b, 0xf7));
	bus_remove(&b, &p[0].range);
	bus_remove(&b, &p[0].range);
	assert_null(bus_find(&b, 0x100));
	assert_false(bus_has(&b, &p[0].range));
	assert_true(bus_has(&b, &p[1].range));
	bus_fini(&b);
	/* The whole of a 64-bit space can be one range. */
	bus_init(&b, "mmio", BUS_MMIO_LAST, 8);
	probe_init(&p[0], 1, UINT64_MAX, &any_ops);
	assert_int_equal(bus_add(&b, &p[0].range, &e), 0);
	assert_ptr_equal(bus_find(&b, UINT64_MAX), &p[0].range);
	assert_null(bus_find(&b, 0));
	bus_fini(&b);
}

static void test_access(void **st)
{
	struct bus b;
	struct probe any, byte, dword;

	(void)st;
	bus_init(&b, "mmio", BUS_MMIO_LAST, 8);
	probe_init(&any, 0x1000, 0x10, &any_ops);
	probe_init(&byte, 0x1010, 0x10, &byte_ops);
	probe_init(&dword, 0x2000, 0x10, &dword_ops);
	assert_int_equal(bus_add(&b, &any.range, NULL), 0);
	assert_int_equal(bus_add(&b, &byte.range, NULL), 0);
	assert_int_equal(bus_add(&b, &dword.range, NULL), 0);

	assert_int_equal(bus_read(&b, 0x1000, 8), 0x0706050403020100);
	assert_int_equal(any.n, 1);
	assert_int_equal(bus_read(&b, 0x1003, 2), 0x0403); /* unaligned goes through as it is */
	assert_int_equal(any.n, 2);
	assert_int_equal(bus_read(&b, 0x1001, 3), 0x030201); /* odd size: 2 + 1 */
	assert_int_equal(any.n, 4);

	/* Across two devices, the second of which takes bytes. */
	any.n = 0;
	assert_int_equal(bus_read(&b, 0x100e, 4), 0x01000f0e);
	assert_int_equal(any.n, 1);
	assert_int_equal(any.log[0].size, 2);
	assert_int_equal(byte.n, 2);

	/* Nobody there: ones, and the neighbour's bytes still right. */
	assert_int_equal(bus_read(&b, 0x5000, 4), 0xffffffff);
	assert_int_equal(bus_read(&b, 0x5000, 1), 0xff);
	assert_int_equal(bus_read(&b, 0x0ffe, 4), 0x0100ffff);
	assert_true(b.n_unclaimed > 0);
	assert_int_equal(bus_read(&b, UINT64_MAX, 8), UINT64_MAX); /* wraps: still ones */

	dword.n = 0;
	bus_write(&b, 0x2004, 0x1122334455667788, 8);
	assert_int_equal(dword.n, 2);
	assert_int_equal(dword.log[0].value, 0x55667788);
	assert_int_equal(dword.log[1].off, 8);
	assert_int_equal(dword.log[1].value, 0x11223344);

	/* The end of a range is never crossed. */
	dword.n = 0;
	bus_write(&b, 0x200f, 0xaabbccdd, 4);
	assert_int_equal(dword.n, 1);
	assert_int_equal(dword.log[0].size, 1);
	assert_int_equal(dword.log[0].value, 0xdd);

	/* A callback takes its range away in the middle of an access. */
	dword.n = 0;
	dword.remove_from = &b;
	bus_write(&b, 0x2000, 0x1122334455667788, 8);
	assert_int_equal(dword.n, 1);
	assert_null(bus_find(&b, 0x2000));
	bus_fini(&b);
}

static void test_debug_exit(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;

	(void)st;
	assert_int_equal(debug_exit_create(&d, &b->env, NULL), 0);
	outb(b, 0xf4, 42);
	assert_int_equal(b->requests[DEV_REQ_DEBUG_EXIT], 1);
	assert_int_equal(b->code, 42);
	outl(b, 0xf4, 0x12345);
	assert_int_equal(b->code, 0x12345);
	device_destroy(d);
	device_destroy(NULL);
	board_env_free(b);
}

static void test_i8042(void **st)
{
	struct board_env *b = board_env_new(1);
	struct device *d;

	(void)st;
	assert_int_equal(i8042_create(&d, &b->env, NULL), 0);
	assert_int_equal(inb(b, 0x64) & 0x03, 0); /* nothing waits, ready for a command */
	outb(b, 0x64, 0xaa);
	assert_int_equal(inb(b, 0x64) & 0x01, 1);
	assert_int_equal(inb(b, 0x60), 0x55);
	assert_int_equal(inb(b, 0x64) & 0x01, 0);
	outb(b, 0x64, 0x60);
	outb(b, 0x60, 0x74);
	outb(b, 0x64, 0x20);
	assert_int_equal(inb(b, 0x60), 0x74);
	/* No keyboard: an answer at once, with the time-out bit. */
	outb(b, 0x60, 0xff);
	assert_int_equal(inb(b, 0x64) & 0x41, 0x41);
	assert_int_equal(inb(b, 0x60), 0xfe);
	assert_int_equal(inb(b, 0x64) & 0x41, 0);
	assert_int_equal(b->requests[DEV_REQ_RESET], 0);
	outb(b, 0x64, 0xff); /* pulses nothing */
	assert_int_equal(b->requests[DEV_REQ_RESET], 0);
	outb(b, 0x64, 0xfe);
	assert_int_equal(b->requests[DEV_REQ_RESET], 1);
	outb(b, 0x64, 0xd1); /* output port with the reset bit low */
	outb(b, 0x60, 0x02);
	assert_int_equal(b->requests[DEV_REQ_RESET], 2);
	/* Port 0x92: A20 is kept, reset on the rising edge of bit 0. */
	outb(b, 0x92, 0x00);
	assert_int_equal(inb(b, 0x92), 0x00);
	outb(b, 0x92, 0x03);
	outb(b, 0x92, 0x03);
	assert_int_equal(b->requests[DEV_REQ_RESET], 3);
	device_reset(d);
	assert_int_equal(inb(b, 0x92), 0x02);
	device_destroy(d);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_debug_exit),
		cmocka_unit_test(test_i8042),
	};

	return cmocka_run_group_tests_name("board/bus", tests, NULL, NULL);
}
