/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_fixture.h - a board with one virtio device, and a driver that reaches it as a guest does: configuration space,
 * BAR 0, rings in guest memory (virtq_driver.h).
 */
#ifndef LODGE_TESTS_VIRTIO_FIXTURE_H
#define LODGE_TESTS_VIRTIO_FIXTURE_H

#include "board_env.h"
#include "virtq_driver.h"

#include "board/pci.h"
#include "util/loop.h"
#include "virtio/virtio.h"

#define FIX_BAR UINT64_C(0xd0000000)
#define FIX_SLOT 1u
#define FIX_QUEUES 20u
#define FIX_RING(i) (0x100000u + (i)*0x120000u)
#define FIX_DATA (32 * MIB) /* free for the tests, to 64 MiB */
#define FIX_VECTOR 0x40u    /* of config; queue i: 0x41 + i */

/* Offsets in the BAR. */
#define C_DF_SELECT 0x00u
#define C_DF 0x04u
#define C_GF_SELECT 0x08u
#define C_GF 0x0cu
#define C_VECTOR 0x10u
#define C_NUM_QUEUES 0x12u
#define C_STATUS 0x14u
#define C_GENERATION 0x15u
#define C_Q_SELECT 0x16u
#define C_Q_SIZE 0x18u
#define C_Q_VECTOR 0x1au
#define C_Q_ENABLE 0x1cu
#define C_Q_NOTIFY_OFF 0x1eu
#define C_Q_DESC 0x20u
#define C_Q_DRIVER 0x28u
#define C_Q_DEVICE 0x30u
#define C_Q_RESET 0x3au
#define B_ISR 0x1000u
#define B_DEVICE 0x2000u
#define B_NOTIFY 0x3000u
#define B_MSIX 0x8000u

struct fix {
	struct board_env *b;
	struct gmem *mem;
	struct loop *loop;
	struct pci_root *root;
	struct virtio_dev *d;
	struct drv q[FIX_QUEUES];
	unsigned n_queues;
	void (*free_backend)(struct fix *f); /* when the device is gone; NULL: nothing to do */
	void *backend;
};

static inline uint64_t fix_ecam(unsigned reg)
{
	return LAYOUT_ECAM + (FIX_SLOT << 15 | reg);
}

static inline uint32_t fix_cfg(struct fix *f, unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&f->b->mmio, fix_ecam(reg), size);
}

static inline void fix_cfg_set(struct fix *f, unsigned reg, uint32_t v, unsigned size)
{
	bus_write(&f->b->mmio, fix_ecam(reg), v, size);
}

static inline uint64_t fix_get(struct fix *f, unsigned off, unsigned size)
{
	return bus_read(&f->b->mmio, FIX_BAR + off, size);
}

static inline void fix_set(struct fix *f, unsigned off, uint64_t v, unsigned size)
{
	bus_write(&f->b->mmio, FIX_BAR + off, v, size);
}

/* Lets the loop do all that is posted. */
static inline void fix_run(struct fix *f)
{
	for (unsigned i = 0; i < 40; i++)
		loop_run_once(f->loop, 0);
}

static inline struct fix *fix_new(void)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct gmem_range range = {0, 64 * MIB};
	struct pci_root_config cfg = {0};

	assert_non_null(f);
	f->b = board_env_new(1);
	assert_int_equal(gmem_create(&f->mem, &range, 1, -1, NULL), 0);
	assert_int_equal(loop_create(&f->loop, NULL), 0);
	f->b->env.mem = f->mem;
	f->b->env.loop = f->loop;
	assert_int_equal(pci_root_create(&f->root, &f->b->env, &cfg, NULL), 0);
	apic_on(f->b, 0);
	return f;
}

/* Puts the device on the bus, with its BAR mapped and bus mastering on. */
static inline void fix_map(struct fix *f)
{
	fix_cfg_set(f, PCI_BAR0, (uint32_t)FIX_BAR, 4);
	fix_cfg_set(f, PCI_BAR0 + 4, 0, 4);
	fix_cfg_set(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static inline void fix_add(struct fix *f, struct virtio_dev *d)
{
	f->d = d;
	assert_int_equal(pci_root_add(f->root, &d->pci, PCI_DEVFN(FIX_SLOT, 0), NULL), 0);
	fix_map(f);
}

static inline void fix_free(struct fix *f)
{
	if (f->d)
		device_destroy(&f->d->pci.dev);
	if (f->free_backend)
		f->free_backend(f);
	pci_root_destroy(f->root);
	loop_destroy(f->loop);
	gmem_destroy(f->mem);
	board_env_free(f->b);
	free(f);
}

static inline unsigned fix_find_cap(struct fix *f, unsigned id, unsigned type)
{
	for (unsigned at = fix_cfg(f, PCI_CAPABILITIES, 1); at; at = fix_cfg(f, at + 1, 1))
		if (fix_cfg(f, at, 1) == id && (!type || fix_cfg(f, at + 3, 1) == type))
			return at;
	return 0;
}

static inline void fix_msix(struct fix *f)
{
	unsigned cap = fix_find_cap(f, PCI_CAP_MSIX, 0);

	for (unsigned i = 0; i <= f->d->n_queues; i++) {
		fix_set(f, B_MSIX + 16 * i, LAYOUT_LAPIC, 8);
		fix_set(f, B_MSIX + 16 * i + 8, FIX_VECTOR + i, 4);
		fix_set(f, B_MSIX + 16 * i + 12, 0, 4);
	}
	fix_cfg_set(f, cap + 2, 0x8000, 2);
}

static inline uint64_t fix_offered(struct fix *f)
{
	uint64_t v;

	fix_set(f, C_DF_SELECT, 0, 4);
	v = fix_get(f, C_DF, 4);
	fix_set(f, C_DF_SELECT, 1, 4);
	return v | fix_get(f, C_DF, 4) << 32;
}

/* Status ACKNOWLEDGE, DRIVER, these features, FEATURES_OK. Returns the status read back. */
static inline uint8_t fix_negotiate(struct fix *f, uint64_t features)
{
	fix_set(f, C_STATUS, 0, 1);
	fix_run(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0);
	fix_set(f, C_STATUS, 1, 1);
	fix_set(f, C_STATUS, 3, 1);
	fix_set(f, C_GF_SELECT, 0, 4);
	fix_set(f, C_GF, (uint32_t)features, 4);
	fix_set(f, C_GF_SELECT, 1, 4);
	fix_set(f, C_GF, features >> 32, 4);
	fix_set(f, C_STATUS, 11, 1);
	return (uint8_t)fix_get(f, C_STATUS, 1);
}

static inline void fix_queue(struct fix *f, unsigned i, uint16_t size, uint64_t features)
{
	struct virtq_setup set = {.packed = features & VIRTIO_F_PACKED,
				  .event_idx = features & VIRTIO_F_EVENT_IDX,
				  .indirect = features & VIRTIO_F_INDIRECT,
				  .in_order = features & VIRTIO_F_IN_ORDER,
				  .size = size};

	fix_set(f, C_Q_SELECT, i, 2);
	drv_init(&f->q[i], f->mem, FIX_RING(i), set);
	fix_set(f, C_Q_SIZE, size, 2);
	fix_set(f, C_Q_DESC, f->q[i].set.desc, 4);
	fix_set(f, C_Q_DESC + 4, 0, 4);
	fix_set(f, C_Q_DRIVER, f->q[i].set.driver, 8);
	fix_set(f, C_Q_DEVICE, f->q[i].set.device, 8);
	fix_set(f, C_Q_VECTOR, 1 + i, 2);
	fix_set(f, C_Q_ENABLE, 1, 2);
}

/* All of it, with MSI-X, and queues of this size at most. */
static inline void fix_up(struct fix *f, uint64_t features, uint16_t size)
{
	assert_int_equal(fix_negotiate(f, features), 11);
	fix_msix(f);
	fix_set(f, C_VECTOR, 0, 2);
	f->n_queues = (unsigned)fix_get(f, C_NUM_QUEUES, 2);
	assert_true(f->n_queues >= 1 && f->n_queues <= FIX_QUEUES);
	for (unsigned i = 0; i < f->n_queues; i++) {
		fix_set(f, C_Q_SELECT, i, 2);
		fix_queue(f, i, (uint16_t)MIN(size, fix_get(f, C_Q_SIZE, 2)), features);
	}
	fix_set(f, C_STATUS, 15, 1);
	fix_run(f);
	assert_int_equal(fix_get(f, C_STATUS, 1), 15);
}

static inline void fix_kick(struct fix *f, unsigned q)
{
	fix_set(f, B_NOTIFY + 4 * q, q, 2);
}

/* One request and its answer. Returns the bytes written, or -1: it is still with the device. */
static inline int64_t fix_request(struct fix *f, unsigned q, const struct drv_seg *s, unsigned n)
{
	uint32_t len;

	assert_true(drv_add(&f->q[q], s, n, false) >= 0);
	fix_kick(f, q);
	fix_run(f);
	return drv_get(&f->q[q], &len) >= 0 ? (int64_t)len : -1;
}

/* Is this vector waiting at CPU 0? Taken if so. */
static inline bool fix_irq(struct fix *f, unsigned vector)
{
	bool found = false;
	int v;

	while ((v = take_irq(f->b, 0)) >= 0)
		found |= (unsigned)v == vector;
	return found;
}

#endif
