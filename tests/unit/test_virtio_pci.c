/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_pci.c - the transport as a driver sees it: negotiation, queues, interrupts, resets; then random accesses. */
#include <errno.h>

#include "virtio_fixture.h"

#include "virtio/rng.h"

#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)

static struct fix *fix_rng(void)
{
	struct fix *f = fix_new();
	struct virtio_dev *d;

	assert_int_equal(rng_create(&d, &f->b->env, NULL), 0);
	fix_add(f, d);
	return f;
}

static const struct drv_seg one = {FIX_DATA, 256, true};

static bool filled(struct fix *f)
{
	uint8_t data[256];
	unsigned zero = 0;

	assert_int_equal(gmem_read(f->mem, FIX_DATA, data, sizeof(data)), 0);
	for (unsigned i = 0; i < sizeof(data); i++)
		zero += data[i] == 0;
	memset(data, 0, sizeof(data));
	assert_int_equal(gmem_write(f->mem, FIX_DATA, data, sizeof(data)), 0);
	return zero < 64;
}

static void test_identity(void **st)
{
	struct fix *f = fix_rng();
	unsigned cap;

	(void)st;
	assert_int_equal(fix_cfg(f, 0, 4), 0x10441af4);
	assert_true(fix_cfg(f, PCI_REVISION, 1) >= 1);
	assert_true(fix_cfg(f, PCI_SUBSYSTEM_ID, 2) >= 0x40);
	for (unsigned type = 1; type <= 5; type++) {
		cap = fix_find_cap(f, PCI_CAP_VENDOR, type);
		assert_int_equal(cap != 0, type != 4); /* no device configuration */
		if (cap && type < 5) {
			assert_int_equal(fix_cfg(f, cap + 4, 1), 0); /* BAR */
			assert_true(fix_cfg(f, cap + 8, 4) + fix_cfg(f, cap + 12, 4) <= 0x8000);
		}
	}
	cap = fix_find_cap(f, PCI_CAP_VENDOR, 2);
	assert_int_equal(fix_cfg(f, cap + 2, 1), 20);
	assert_int_equal(fix_cfg(f, cap + 16, 4), 4);
	assert_true(fix_find_cap(f, PCI_CAP_MSIX, 0));
	assert_int_equal(fix_get(f, C_NUM_QUEUES, 2), 1);
	assert_int_equal(fix_offered(f) & (BASE | VIRTIO_F_PACKED | VIRTIO_F_INDIRECT |
					   VIRTIO_F_EVENT_IDX | VIRTIO_F_IN_ORDER),
			 BASE | VIRTIO_F_PACKED | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX |
				 VIRTIO_F_IN_ORDER);
	fix_set(f, C_DF_SELECT, 2, 4);
	assert_int_equal(fix_get(f, C_DF, 4), 0);
	fix_free(f);
}

static void test_negotiation(void **st)
{
	struct fix *f = fix_rng();

	(void)st;
	assert_int_equal(fix_negotiate(f, BASE), 11);
	/* Fixed now. */
	fix_set(f, C_GF_SELECT, 1, 4);
	fix_set(f, C_GF, 0, 4);
	assert_int_equal(fix_get(f, C_GF, 4), BASE >> 32);
	assert_int_equal(fix_negotiate(f, 0), 3);	      /* no VERSION_1 */
	assert_int_equal(fix_negotiate(f, BASE | BIT(7)), 3); /* not offered */
	assert_int_equal(fix_negotiate(f, BASE | BIT(63)), 3);
	/* DRIVER_OK without FEATURES_OK does not count; bits are not taken back by writing less. */
	fix_set(f, C_STATUS, 7, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 3);
	fix_set(f, C_STATUS, 1, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 3);
	fix_set(f, C_STATUS, 0x40 | 3, 1); /* NEEDS_RESET is the device's */
	assert_int_equal(fix_get(f, C_STATUS, 1), 3);
	fix_set(f, C_STATUS, 0x80 | 3, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0x83);
	fix_free(f);
}

static void test_queue_registers(void **st)
{
	struct fix *f = fix_rng();

	(void)st;
	fix_negotiate(f, BASE);
	fix_set(f, C_Q_SELECT, 1, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 0);
	fix_set(f, C_Q_ENABLE, 1, 2); /* of no queue */
	fix_set(f, C_Q_SELECT, 0, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 64);
	fix_set(f, C_Q_SIZE, 65, 2);
	fix_set(f, C_Q_SIZE, 0, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 64);
	fix_set(f, C_Q_SIZE, 8, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 8);
	fix_set(f, C_Q_SIZE, 16, 4); /* not its width */
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 8);
	fix_set(f, C_Q_DESC, UINT64_C(0x1122334455667788), 8);
	fix_set(f, C_Q_DESC + 4, 0xaabbccdd, 4);
	assert_int_equal(fix_get(f, C_Q_DESC, 8), UINT64_C(0xaabbccdd55667788));
	assert_int_equal(fix_get(f, C_Q_DESC + 4, 4), 0xaabbccdd);
	fix_set(f, C_Q_VECTOR, 1, 2);
	assert_int_equal(fix_get(f, C_Q_VECTOR, 2), 1);
	fix_set(f, C_Q_VECTOR, 2, 2); /* two vectors: 0 and 1 */
	assert_int_equal(fix_get(f, C_Q_VECTOR, 2), 0xffff);
	fix_set(f, C_VECTOR, 5, 2);
	assert_int_equal(fix_get(f, C_VECTOR, 2), 0xffff);
	/* Frozen once enabled. */
	fix_queue(f, 0, 8, BASE);
	assert_int_equal(fix_get(f, C_Q_ENABLE, 2), 1);
	fix_set(f, C_Q_SIZE, 4, 2);
	fix_set(f, C_Q_DESC, 0, 8);
	fix_set(f, C_Q_ENABLE, 0, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 8);
	assert_int_equal(fix_get(f, C_Q_DESC, 8), f->q[0].set.desc);
	assert_int_equal(fix_get(f, C_Q_ENABLE, 2), 1);
	fix_set(f, C_STATUS, 15, 1);
	fix_run(f);
	fix_set(f, C_Q_SIZE, 4, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 8);
	/* All back after a reset. */
	fix_negotiate(f, BASE);
	fix_set(f, C_Q_SELECT, 0, 2);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 64);
	assert_int_equal(fix_get(f, C_Q_DESC, 8), 0);
	assert_int_equal(fix_get(f, C_Q_ENABLE, 2), 0);
	assert_int_equal(fix_get(f, C_Q_VECTOR, 2), 0xffff);
	fix_free(f);
}

static void test_traffic(void **st)
{
	static const uint64_t features[] = {BASE, BASE | VIRTIO_F_EVENT_IDX, BASE | VIRTIO_F_PACKED,
					    BASE | VIRTIO_F_PACKED | VIRTIO_F_EVENT_IDX |
						    VIRTIO_F_IN_ORDER};
	struct fix *f = fix_rng();

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		fix_up(f, features[i], 8);
		for (unsigned k = 0; k < 40; k++) {
			drv_interrupts(&f->q[0], true);
			assert_int_equal(fix_request(f, 0, &one, 1), 256);
			assert_true(filled(f));
			assert_true(fix_irq(f, FIX_VECTOR + 1));
		}
		/* A buffer larger than what comes at a time. */
		assert_int_equal(fix_request(f, 0, &(struct drv_seg){FIX_DATA, 65536, true}, 1),
				 4096);
		/* No vector, no interrupt. */
		fix_irq(f, 0);
		fix_set(f, C_Q_SELECT, 0, 2);
		fix_set(f, C_Q_VECTOR, 0xffff, 2);
		drv_interrupts(&f->q[0], true);
		assert_int_equal(fix_request(f, 0, &one, 1), 256);
		assert_int_equal(take_irq(f->b, 0), -1);
		assert_int_equal(fix_get(f, B_ISR, 1), 0);
	}
	fix_free(f);
}

static void test_intx(void **st)
{
	struct fix *f = fix_rng();

	(void)st;
	fix_negotiate(f, BASE);
	fix_queue(f, 0, 8, BASE);
	fix_set(f, C_STATUS, 15, 1);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	assert_int_equal(fix_cfg(f, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
	assert_int_equal(fix_get(f, B_ISR, 1), 1);
	assert_int_equal(fix_get(f, B_ISR, 1), 0);
	assert_int_equal(fix_cfg(f, PCI_STATUS, 2) & PCI_STATUS_INTX, 0);
	fix_free(f);
}

static void expect_needs_reset(struct fix *f)
{
	assert_int_equal(fix_get(f, C_STATUS, 1), 0x4f);
	assert_true(fix_irq(f, FIX_VECTOR));
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	fix_irq(f, 0);
}

static void test_broken(void **st)
{
	struct fix *f = fix_rng();

	(void)st;
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &(struct drv_seg){64 * MIB, 16, true}, 1), -1);
	assert_int_equal(f->d->n_broken, 1);
	/* Nothing is served until the reset. */
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	expect_needs_reset(f);
	/* Rings that are nowhere, unaligned, or on top of the board. */
	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t bad[] = {64 * MIB, 0x100001, FIX_BAR};

		fix_negotiate(f, BASE);
		fix_set(f, C_VECTOR, 0, 2);
		fix_queue(f, 0, 8, BASE);
		fix_negotiate(f, BASE);
		fix_set(f, C_VECTOR, 0, 2);
		fix_set(f, C_Q_DESC, bad[i], 8);
		fix_set(f, C_Q_DRIVER, FIX_RING(0) + 0x5000, 8);
		fix_set(f, C_Q_DEVICE, FIX_RING(0) + 0x8000, 8);
		fix_set(f, C_Q_ENABLE, 1, 2);
		fix_set(f, C_STATUS, 15, 1);
		fix_run(f);
		expect_needs_reset(f);
	}
	fix_free(f);
}

static void test_held(void **st)
{
	struct fix *f = fix_rng();
	uint32_t len;

	(void)st;
	fix_up(f, BASE, 8);
	/* Without bus mastering nothing is read or written; it goes on when that comes back. */
	fix_cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	fix_cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	fix_run(f);
	assert_true(drv_get(&f->q[0], &len) >= 0);
	/* Nor in a pause. */
	device_pause(&f->d->pci.dev);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	device_resume(&f->d->pci.dev);
	fix_run(f);
	assert_true(drv_get(&f->q[0], &len) >= 0);
	fix_free(f);
}

static void test_queue_reset(void **st)
{
	struct fix *f = fix_rng();

	(void)st;
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	fix_set(f, C_Q_SELECT, 0, 2);
	fix_set(f, C_Q_RESET, 1, 2);
	assert_int_equal(fix_get(f, C_Q_RESET, 2), 1); /* the loop has not come to it */
	fix_run(f);
	assert_int_equal(fix_get(f, C_Q_RESET, 2), 0);
	assert_int_equal(fix_get(f, C_Q_ENABLE, 2), 0);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	/* Set up again, with another size. */
	fix_queue(f, 0, 4, BASE);
	fix_run(f);
	assert_int_equal(fix_get(f, C_Q_SIZE, 2), 4);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	assert_int_equal(fix_get(f, C_STATUS, 1), 15);
	/* Without the feature it is ignored. */
	fix_up(f, VIRTIO_F_VERSION_1, 8);
	fix_set(f, C_Q_SELECT, 0, 2);
	fix_set(f, C_Q_RESET, 1, 2);
	fix_run(f);
	assert_int_equal(fix_get(f, C_Q_ENABLE, 2), 1);
	fix_free(f);
}

static void test_flr(void **st)
{
	struct fix *f = fix_rng();
	unsigned cap = fix_find_cap(f, PCI_CAP_EXPRESS, 0);

	(void)st;
	fix_up(f, BASE, 8);
	assert_true(fix_cfg(f, cap + 4, 4) & BIT(28));
	fix_cfg_set(f, cap + 8, 0x8000, 2);
	assert_int_equal(fix_cfg(f, cap + 8, 2), 0);
	assert_int_equal(fix_cfg(f, PCI_COMMAND, 2), 0);
	assert_int_equal(fix_cfg(f, PCI_BAR0, 4) & ~0xfu, 0);
	fix_run(f);
	fix_map(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	fix_free(f);
}

static void test_window(void **st)
{
	struct fix *f = fix_rng();
	unsigned cap = fix_find_cap(f, PCI_CAP_VENDOR, 5);

	(void)st;
	fix_cfg_set(f, cap + 8, C_NUM_QUEUES, 4);
	fix_cfg_set(f, cap + 12, 2, 4);
	assert_int_equal(fix_cfg(f, cap + 16, 2), 1);
	fix_cfg_set(f, cap + 8, C_STATUS, 4);
	fix_cfg_set(f, cap + 12, 1, 4);
	fix_cfg_set(f, cap + 16, 3, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 3);
	assert_int_equal(fix_cfg(f, cap + 16, 1), 3);
	/* Nonsense: no access. */
	fix_cfg_set(f, cap + 12, 3, 4);
	fix_cfg_set(f, cap + 16, 0, 4);
	fix_cfg_set(f, cap + 12, 4, 4);
	fix_cfg_set(f, cap + 8, 0xfffffffe, 4);
	fix_cfg_set(f, cap + 16, 0, 4);
	fix_cfg_set(f, cap + 4, 3, 1);
	fix_cfg_set(f, cap + 8, C_STATUS, 4);
	fix_cfg_set(f, cap + 12, 1, 4);
	fix_cfg_set(f, cap + 16, 0, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 3);
	fix_free(f);
}

/* ---- a device that takes its time ---- */

struct slow {
	struct virtio_dev v;
	struct virtq_chain *held;
	unsigned starts, stops, queue_stops;
};

static void slow_notify(struct virtio_dev *d, struct virtq *q)
{
	struct slow *s = container_of(d, struct slow, v);

	if (!s->held)
		s->held = virtq_pop(q);
}

static void slow_start(struct virtio_dev *d)
{
	container_of(d, struct slow, v)->starts++;
}

static void slow_stop(struct virtio_dev *d)
{
	container_of(d, struct slow, v)->stops++;
}

static void slow_queue_stop(struct virtio_dev *d, struct virtq *q)
{
	(void)q;
	container_of(d, struct slow, v)->queue_stops++;
}

static void slow_destroy(struct virtio_dev *d)
{
	virtio_fini(d);
	free(container_of(d, struct slow, v));
}

static const struct virtio_class slow_class = {
	.name = "slow",
	.type = 63,
	.destroy = slow_destroy,
	.start = slow_start,
	.notify = slow_notify,
	.stop = slow_stop,
	.queue_stop = slow_queue_stop,
};

static unsigned n_doorbells;
static struct dev_doorbell *last_doorbell;

static int doorbell_add(void *ctx, struct dev_doorbell *db)
{
	(void)ctx;
	n_doorbells++;
	last_doorbell = db;
	return 0;
}

static void doorbell_remove(void *ctx, struct dev_doorbell *db)
{
	(void)ctx;
	(void)db;
	n_doorbells--;
}

static struct slow *fix_slow(struct fix *f)
{
	struct virtio_params p = {.id = "slow",
				  .n_queues = 2,
				  .queue_size_all = 8,
				  .config = "abcdefgh",
				  .config_size = 8};
	struct slow *s = calloc(1, sizeof(*s));

	n_doorbells = 0;
	f->b->env.doorbell_add = doorbell_add;
	f->b->env.doorbell_remove = doorbell_remove;
	assert_non_null(s);
	assert_int_equal(virtio_init(&s->v, &slow_class, &f->b->env, &p, NULL), 0);
	fix_add(f, &s->v);
	return s;
}

static void test_slow_reset(void **st)
{
	struct fix *f = fix_new();
	struct slow *s = fix_slow(f);

	(void)st;
	fix_up(f, BASE, 8);
	assert_int_equal(s->starts, 1);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	assert_non_null(s->held);
	/* The driver's reset waits for the request that is with the device. */
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	assert_int_equal(s->stops, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 15);
	fix_set(f, C_STATUS, 0, 1); /* again */
	fix_set(f, C_STATUS, 1, 1); /* too early */
	fix_kick(f, 1);
	fix_run(f);
	assert_int_equal(s->stops, 1);
	assert_int_equal(fix_get(f, C_STATUS, 1), 15);
	s->held = NULL;
	virtio_stopped(&s->v);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	fix_up(f, BASE, 8);
	assert_int_equal(s->starts, 2);
	/* One queue. */
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	fix_set(f, C_Q_SELECT, 0, 2);
	fix_set(f, C_Q_RESET, 1, 2);
	fix_run(f);
	assert_int_equal(s->queue_stops, 1);
	assert_int_equal(fix_get(f, C_Q_RESET, 2), 1);
	s->held = NULL;
	virtio_queue_stopped(&s->v, virtio_q(&s->v, 0));
	assert_int_equal(fix_get(f, C_Q_RESET, 2), 0);
	/* A reset before the loop has seen DRIVER_OK: never started. */
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	virtio_stopped(&s->v);
	fix_negotiate(f, BASE);
	fix_queue(f, 0, 8, BASE);
	fix_set(f, C_STATUS, 15, 1);
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	assert_int_equal(s->starts, 2);
	/* Destroyed with a request under way. */
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	fix_free(f);
}

static void test_doorbells(void **st)
{
	struct fix *f = fix_new();
	struct slow *s = fix_slow(f);

	(void)st;
	fix_negotiate(f, BASE);
	assert_int_equal(n_doorbells, 0);
	fix_up(f, BASE, 8);
	assert_int_equal(n_doorbells, 2);
	assert_int_equal(last_doorbell->gpa, FIX_BAR + B_NOTIFY + 4);
	/* The engine's call does what a write does. */
	assert_true(drv_add(&f->q[1], &one, 1, false) >= 0);
	last_doorbell->fn(last_doorbell->arg);
	assert_non_null(s->held);
	/* They follow the BAR. */
	fix_cfg_set(f, PCI_COMMAND, 0, 2);
	assert_int_equal(n_doorbells, 0);
	fix_cfg_set(f, PCI_BAR0, (uint32_t)FIX_BAR + 0x100000, 4);
	fix_cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(n_doorbells, 2);
	assert_int_equal(last_doorbell->gpa, FIX_BAR + 0x100000 + B_NOTIFY + 4);
	fix_map(f);
	assert_int_equal(last_doorbell->gpa, FIX_BAR + B_NOTIFY + 4);
	fix_set(f, C_STATUS, 0, 1);
	assert_int_equal(n_doorbells, 0);
	fix_run(f);
	virtio_stopped(&s->v);
	fix_up(f, BASE, 8);
	assert_int_equal(n_doorbells, 2);
	fix_free(f);
	assert_int_equal(n_doorbells, 0);
}

static void test_device_config(void **st)
{
	struct fix *f = fix_new();
	struct slow *s = fix_slow(f);
	uint8_t before;

	(void)st;
	assert_int_equal(fix_get(f, B_DEVICE, 8), UINT64_C(0x6867666564636261));
	assert_int_equal(fix_get(f, B_DEVICE + 6, 4), 0x6867);
	assert_int_equal(fix_get(f, B_DEVICE + 8, 4), 0);
	fix_set(f, B_DEVICE, 0, 4); /* this device has nothing to write */
	before = (uint8_t)fix_get(f, C_GENERATION, 1);
	fix_irq(f, 0);
	virtio_set_config(&s->v, 2, "xy", 2, true);
	assert_int_equal(take_irq(f->b, 0), -1); /* no driver yet */
	assert_int_equal(fix_get(f, B_DEVICE, 4), 0x79786261);
	assert_int_not_equal(fix_get(f, C_GENERATION, 1), before);
	fix_up(f, BASE, 8);
	virtio_set_config(&s->v, 0, "z", 1, true);
	assert_true(fix_irq(f, FIX_VECTOR));
	fix_free(f);
}

/* ---- random ---- */

static uint32_t seed = 99;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)(seed >> 4) * n) >> 28);
}

static void test_random(void **st)
{
	static const unsigned size[] = {1, 2, 4, 8};
	struct fix *f = fix_rng();

	(void)st;
	for (unsigned i = 0; i < 60000; i++) {
		unsigned off = rnd(4) ? rnd(0x40) : rnd(2) ? B_NOTIFY + rnd(8) : rnd(0x10000);
		uint64_t v = rnd(3) ? rnd(16) :
			     rnd(2) ? FIX_RING(0) + 0x1000 * rnd(16) :
				      (uint64_t)rnd(1u << 28) << rnd(36);

		if (rnd(400) == 0)
			fix_up(f, BASE | (rnd(2) ? VIRTIO_F_PACKED : 0), (uint16_t)(1 << rnd(4)));
		if (rnd(50) == 0) {
			fix_cfg_set(f, rnd(0x100), rnd(1u << 28), 1 + rnd(4));
			fix_map(f);
		}
		switch (rnd(6)) {
		case 0: (void)fix_get(f, off, size[rnd(4)]); break;
		case 1: fix_kick(f, 0); break;
		case 2: {
			uint8_t byte = (uint8_t)rnd(256);

			assert_int_equal(gmem_write(f->mem, FIX_RING(0) + rnd(0x9000), &byte, 1), 0);
			break;
		}
		case 3: loop_run_once(f->loop, 0); break;
		default: fix_set(f, off, v, size[rnd(4)]); break;
		}
	}
	fix_map(f);
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_negotiation),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_queue_reset),
		cmocka_unit_test(test_flr),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_slow_reset),
		cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_device_config),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
