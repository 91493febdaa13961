/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_pci.c - the PCI transport of virtio 1.2 (§4.1): capabilities, and the registers of one BAR.
 *
 * BAR 0, 64 KiB, 64-bit:
 *   0x0000  common configuration     0x1000  ISR status     0x2000  device configuration
 *   0x3000  notification, 4 bytes a queue (a doorbell each)
 *   0x8000  MSI-X table: vector 0.. as the driver likes, one more than there are queues
 *   0xc000  MSI-X pending bits
 * The same is reachable through the window in configuration space that §4.1.4.9 asks for. The function has a PCI
 * Express capability for function level reset (PCI Express 5.0 §6.6.2, §7.5.3), which is a device reset and then PCI's.
 *
 * Registers: a read of any size gets the bytes that are there; a write counts if it is as wide as its field (§4.1.3.1),
 * or half of a 64-bit one. Queue registers are ignored while the queue is enabled, and features once FEATURES_OK
 * is set, so what was checked is what is used.
 */
#include <errno.h>
#include <string.h>

#include "virtio/virtio.h"

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define BAR 0u
#define BAR_SIZE 0x10000u
#define COMMON 0x0000u
#define COMMON_SIZE 0x3cu
#define ISR 0x1000u
#define DEVICE 0x2000u
#define NOTIFY 0x3000u
#define NOTIFY_STEP 4u
#define MSIX_TABLE 0x8000u
#define MSIX_PBA 0xc000u

/* Capability types (§4.1.4). */
#define CAP_COMMON 1u
#define CAP_NOTIFY 2u
#define CAP_ISR 3u
#define CAP_DEVICE 4u
#define CAP_PCI 5u

/* Common configuration (§4.1.4.3). */
enum reg {
	R_DEVICE_FEATURE_SELECT = 0x00,
	R_DEVICE_FEATURE = 0x04,
	R_DRIVER_FEATURE_SELECT = 0x08,
	R_DRIVER_FEATURE = 0x0c,
	R_CONFIG_VECTOR = 0x10,
	R_NUM_QUEUES = 0x12,
	R_STATUS = 0x14,
	R_GENERATION = 0x15,
	R_QUEUE_SELECT = 0x16,
	R_QUEUE_SIZE = 0x18,
	R_QUEUE_VECTOR = 0x1a,
	R_QUEUE_ENABLE = 0x1c,
	R_QUEUE_NOTIFY_OFF = 0x1e,
	R_QUEUE_DESC = 0x20,
	R_QUEUE_DRIVER = 0x28,
	R_QUEUE_DEVICE = 0x30,
	R_QUEUE_NOTIFY_DATA = 0x38,
	R_QUEUE_RESET = 0x3a,
};

/* Express capability of a root complex integrated endpoint, version 2. */
#define EXPRESS_SIZE 60u
#define EXPRESS_FLAGS 0x0092u
#define EXPRESS_DEVCAP 4u
#define DEVCAP_ROLE_BASED 0x00008000u
#define DEVCAP_FLR 0x10000000u
#define EXPRESS_DEVCTL 8u
#define DEVCTL_WRITABLE 0x7fffu
#define DEVCTL_FLR 0x8000u

static struct virtio_dev *from_pci(struct pci_device *p)
{
	return container_of(p, struct virtio_dev, pci);
}

/* ---- common configuration ---- */

static struct virtio_queue *selected(struct virtio_dev *d)
{
	return d->queue_select < d->n_queues ? &d->queue[d->queue_select] : NULL;
}

static void put(uint8_t *regs, unsigned off, uint64_t v, unsigned size)
{
	memcpy(regs + off, &v, size);
}

static uint32_t half(uint64_t v, uint32_t select)
{
	return select < 2 ? (uint32_t)(v >> 32 * select) : 0;
}

/* All registers as bytes. Rare: drivers read them when they set up. */
static void common_bytes(struct virtio_dev *d, uint8_t regs[COMMON_SIZE])
{
	const struct virtio_queue *vq = selected(d);

	memset(regs, 0, COMMON_SIZE);
	put(regs, R_DEVICE_FEATURE_SELECT, d->device_feature_select, 4);
	put(regs, R_DEVICE_FEATURE, half(d->offered, d->device_feature_select), 4);
	put(regs, R_DRIVER_FEATURE_SELECT, d->driver_feature_select, 4);
	put(regs, R_DRIVER_FEATURE, half(d->features, d->driver_feature_select), 4);
	put(regs, R_CONFIG_VECTOR, load(&d->config_vector), 2);
	put(regs, R_NUM_QUEUES, d->n_queues, 2);
	put(regs, R_STATUS, load(&d->status), 1);
	pthread_mutex_lock(&d->config_lock);
	put(regs, R_GENERATION, d->generation, 1);
	pthread_mutex_unlock(&d->config_lock);
	put(regs, R_QUEUE_SELECT, d->queue_select, 2);
	if (!vq)
		return; /* §4.1.4.3.1: size 0 says that there is no such queue */
	put(regs, R_QUEUE_SIZE, vq->size, 2);
	put(regs, R_QUEUE_VECTOR, load(&vq->vector), 2);
	put(regs, R_QUEUE_ENABLE, vq->enabled, 2);
	put(regs, R_QUEUE_NOTIFY_OFF, d->queue_select, 2);
	put(regs, R_QUEUE_DESC, vq->desc, 8);
	put(regs, R_QUEUE_DRIVER, vq->driver, 8);
	put(regs, R_QUEUE_DEVICE, vq->device, 8);
	put(regs, R_QUEUE_RESET, vq->resetting, 2);
}

static uint64_t common_read(struct virtio_dev *d, unsigned off, unsigned size)
{
	uint8_t regs[COMMON_SIZE + 8] = {0};
	uint64_t v = 0;

	if (off >= COMMON_SIZE)
		return 0;
	common_bytes(d, regs);
	memcpy(&v, regs + off, size);
	return v;
}

static void set_vector(struct virtio_dev *d, uint16_t *vector, uint64_t v)
{
	/* §4.1.5.1.2.1: a vector that cannot be had reads back as none. */
	store(vector, v < d->pci.msix.n ? (uint16_t)v : (uint16_t)VIRTIO_NO_VECTOR);
}

static void driver_feature(struct virtio_dev *d, uint32_t v)
{
	unsigned shift = 32 * d->driver_feature_select;

	if (d->driver_feature_select > 1 || (load(&d->status) & VIRTIO_S_FEATURES_OK))
		return;
	d->features = (d->features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)v << shift;
}

static void enable_queue(struct virtio_dev *d, struct virtio_queue *vq)
{
	if (d->phase == VIRTIO_STOPPING)
		return;
	vq->enabled = true;
	/* After DRIVER_OK only a queue that was reset can come here. */
	if (d->phase != VIRTIO_IDLE)
		virtio_kick(d, (unsigned)(vq - d->queue));
	virtio_pci_doorbells(d);
}

static void address(gpa_t *a, bool upper, uint64_t v, unsigned size)
{
	if (size == 8)
		*a = v;
	else if (upper)
		*a = (*a & UINT32_MAX) | v << 32;
	else
		*a = (*a & ~(uint64_t)UINT32_MAX) | v;
}

static void queue_write(struct virtio_dev *d, struct virtio_queue *vq, unsigned off, uint64_t v,
			unsigned size)
{
	bool wide = size == 8 || size == 4;

	if (off == R_QUEUE_VECTOR && size == 2) {
		set_vector(d, &vq->vector, v);
		return;
	}
	if (off == R_QUEUE_RESET && size == 2) {
		if (v == 1)
			virtio_queue_reset(d, vq);
		return;
	}
	/* Frozen: what is enabled; and when the device runs, what was not reset in between. */
	if (vq->enabled)
		return;
	switch (off) {
	case R_QUEUE_SIZE:
		if (size == 2 && v >= 1 && v <= vq->size_max)
			vq->size = (uint16_t)v;
		break;
	case R_QUEUE_ENABLE:
		if (size == 2 && v == 1)
			enable_queue(d, vq);
		break;
	case R_QUEUE_DESC:
	case R_QUEUE_DESC + 4:
		if (wide && (size == 4 || off == R_QUEUE_DESC))
			address(&vq->desc, off != R_QUEUE_DESC, v, size);
		break;
	case R_QUEUE_DRIVER:
	case R_QUEUE_DRIVER + 4:
		if (wide && (size == 4 || off == R_QUEUE_DRIVER))
			address(&vq->driver, off != R_QUEUE_DRIVER, v, size);
		break;
	case R_QUEUE_DEVICE:
	case R_QUEUE_DEVICE + 4:
		if (wide && (size == 4 || off == R_QUEUE_DEVICE))
			address(&vq->device, off != R_QUEUE_DEVICE, v, size);
		break;
	}
}

static void common_write(struct virtio_dev *d, unsigned off, uint64_t v, unsigned size)
{
	struct virtio_queue *vq = selected(d);

	v &= size == 8 ? UINT64_MAX : BIT(8 * size) - 1;
	if (off == R_DEVICE_FEATURE_SELECT && size == 4)
		d->device_feature_select = (uint32_t)v;
	else if (off == R_DRIVER_FEATURE_SELECT && size == 4)
		d->driver_feature_select = (uint32_t)v;
	else if (off == R_DRIVER_FEATURE && size == 4)
		driver_feature(d, (uint32_t)v);
	else if (off == R_CONFIG_VECTOR && size == 2)
		set_vector(d, &d->config_vector, v);
	else if (off == R_STATUS && size == 1)
		virtio_set_status(d, (uint8_t)v);
	else if (off == R_QUEUE_SELECT && size == 2)
		d->queue_select = (uint16_t)v;
	else if (off >= R_QUEUE_SIZE && vq)
		queue_write(d, vq, off, v, size);
}

/* ---- the BAR ---- */

static uint64_t config_read(struct virtio_dev *d, uint64_t off, unsigned size)
{
	uint64_t v = 0;

	if (off < d->config_size)
		virtio_get_config(d, (unsigned)off, &v, (unsigned)MIN(size, d->config_size - off));
	return v;
}

static uint64_t isr_read(struct virtio_dev *d)
{
	uint8_t isr = __atomic_exchange_n(&d->isr, 0, __ATOMIC_ACQ_REL);

	pci_intx(&d->pci, false);
	return isr;
}

static uint64_t bar_read(void *ctx, uint64_t off, unsigned size)
{
	struct virtio_dev *d = ctx;

	if (off < COMMON + 0x1000u)
		return common_read(d, (unsigned)off, size);
	if (off == ISR)
		return isr_read(d);
	if (off >= DEVICE && off < NOTIFY)
		return config_read(d, off - DEVICE, size);
	return 0;
}

static void bar_write(void *ctx, uint64_t off, uint64_t value, unsigned size)
{
	struct virtio_dev *d = ctx;

	if (off < COMMON + 0x1000u) {
		common_write(d, (unsigned)off, value, size);
	} else if (off >= DEVICE && off < NOTIFY) {
		off -= DEVICE;
		if (off < d->config_size && size <= d->config_size - off && d->class->config_write)
			d->class->config_write(d, (unsigned)off, size, value);
	} else if (off >= NOTIFY && off < NOTIFY + NOTIFY_STEP * d->n_queues) {
		virtio_kick(d, (unsigned)(off - NOTIFY) / NOTIFY_STEP);
	}
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 8};

/* ---- doorbells ---- */

void virtio_pci_doorbells(struct virtio_dev *d)
{
	const struct pci_bar *b = &d->pci.bar[BAR];
	bool live = d->phase == VIRTIO_STARTING || d->phase == VIRTIO_LIVE;

	if (!d->env->doorbell_add)
		return;
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *vq = &d->queue[i];
		bool wanted = live && b->mapped && vq->enabled && !vq->resetting;
		uint64_t gpa = b->range.base + NOTIFY + i * NOTIFY_STEP;

		if (vq->doorbell_on && (!wanted || vq->doorbell.gpa != gpa)) {
			d->env->doorbell_remove(d->env->doorbell_ctx, &vq->doorbell);
			vq->doorbell_on = false;
		}
		if (wanted && !vq->doorbell_on) {
			vq->doorbell.gpa = gpa;
			vq->doorbell_on = d->env->doorbell_add(d->env->doorbell_ctx,
							       &vq->doorbell) == 0;
		}
	}
}

static void bar_changed(struct pci_device *p)
{
	virtio_pci_doorbells(from_pci(p));
}

/* ---- configuration space ---- */

/* The window's target: offset and length that are a plain access inside our BAR. */
static bool window(struct virtio_dev *d, uint32_t *off, unsigned *len)
{
	*off = pci_get32(&d->pci, d->pci_cap + 8);
	*len = pci_get32(&d->pci, d->pci_cap + 12);
	return d->pci.cfg[d->pci_cap + 4] == BAR && (*len == 1 || *len == 2 || *len == 4) &&
	       !(*off & (*len - 1)) && *off <= BAR_SIZE - *len;
}

static bool touches(unsigned off, unsigned size, unsigned at, unsigned n)
{
	return off < at + n && off + size > at;
}

static void cfg_read(struct pci_device *p, unsigned off, unsigned size)
{
	struct virtio_dev *d = from_pci(p);
	const struct bus_ops *ops = &p->bar[BAR].wrap;
	unsigned len;
	uint32_t at;

	if (touches(off, size, d->pci_cap + 16, 4) && window(d, &at, &len))
		pci_set32(p, d->pci_cap + 16, (uint32_t)ops->read(&p->bar[BAR], at, len));
}

static void cfg_written(struct pci_device *p, unsigned off, unsigned size)
{
	struct virtio_dev *d = from_pci(p);
	const struct bus_ops *ops = &p->bar[BAR].wrap;
	bool dma = pci_bus_master(p);
	unsigned len;
	uint32_t at;

	if (touches(off, size, d->pci_cap + 16, 4) && window(d, &at, &len))
		ops->write(&p->bar[BAR], at, pci_get32(p, d->pci_cap + 16), len);
	if (touches(off, size, d->express_cap + EXPRESS_DEVCTL, 2) &&
	    (pci_get16(p, d->express_cap + EXPRESS_DEVCTL) & DEVCTL_FLR)) {
		virtio_reset(d);
		pci_reset(p);
		dma = false;
	}
	if (dma != load(&d->dma)) {
		store(&d->dma, dma);
		for (unsigned i = 0; dma && d->phase == VIRTIO_LIVE && i < d->n_queues; i++)
			virtio_kick(d, i);
	}
}

static int add_cap(struct virtio_dev *d, unsigned type, unsigned size, uint32_t off, uint32_t len,
		   struct err *e)
{
	int cap = pci_cap_add(&d->pci, PCI_CAP_VENDOR, size, e);

	if (cap < 0)
		return cap;
	pci_set8(&d->pci, (unsigned)cap + 2, (uint8_t)size);
	pci_set8(&d->pci, (unsigned)cap + 3, (uint8_t)type);
	pci_set8(&d->pci, (unsigned)cap + 4, BAR);
	pci_set32(&d->pci, (unsigned)cap + 8, off);
	pci_set32(&d->pci, (unsigned)cap + 12, len);
	return cap;
}

static int add_express(struct virtio_dev *d, struct err *e)
{
	int cap = pci_cap_add(&d->pci, PCI_CAP_EXPRESS, EXPRESS_SIZE, e);

	if (cap < 0)
		return cap;
	d->express_cap = (unsigned)cap;
	pci_set16(&d->pci, d->express_cap + 2, EXPRESS_FLAGS);
	pci_set32(&d->pci, d->express_cap + EXPRESS_DEVCAP, DEVCAP_ROLE_BASED | DEVCAP_FLR);
	/* FLR reads as 0: pci_reset() clears it in the write itself. */
	pci_wmask16(&d->pci, d->express_cap + EXPRESS_DEVCTL, DEVCTL_WRITABLE | DEVCTL_FLR);
	return 0;
}

int virtio_pci_init(struct virtio_dev *d, struct err *e)
{
	struct pci_device *p = &d->pci;
	int r, cap;

	ASSERT(d->config_size <= NOTIFY - DEVICE);
	pci_set8(p, PCI_INTERRUPT_PIN, 1);
	/* §4.1.2.1: any subsystem id from 0x40 on. */
	pci_set16(p, PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
	pci_set16(p, PCI_SUBSYSTEM_ID, 0x1100);
	r = pci_bar_add(p, BAR, PCI_BAR_MEM64, BAR_SIZE, &bar_ops, d, e);
	if (r == 0)
		r = pci_msix_init(p, d->n_queues + 1, BAR, MSIX_TABLE, MSIX_PBA, e);
	if (r == 0)
		r = add_express(d, e);
	if (r >= 0)
		r = add_cap(d, CAP_COMMON, 16, COMMON, COMMON_SIZE, e);
	if (r >= 0)
		r = add_cap(d, CAP_ISR, 16, ISR, 4, e);
	if (r >= 0 && d->config_size)
		r = add_cap(d, CAP_DEVICE, 16, DEVICE, ALIGN_UP(d->config_size, 4), e);
	if (r >= 0) {
		r = cap = add_cap(d, CAP_NOTIFY, 20, NOTIFY, NOTIFY_STEP * d->n_queues, e);
		if (cap >= 0)
			pci_set32(p, (unsigned)cap + 16, NOTIFY_STEP);
	}
	if (r >= 0) {
		r = cap = add_cap(d, CAP_PCI, 20, 0, 0, e);
		if (cap >= 0) {
			d->pci_cap = (unsigned)cap;
			p->wmask[cap + 4] = 0xff;
			pci_wmask32(p, (unsigned)cap + 8, UINT32_MAX);
			pci_wmask32(p, (unsigned)cap + 12, UINT32_MAX);
			pci_wmask32(p, (unsigned)cap + 16, UINT32_MAX);
		}
	}
	if (r < 0)
		return r;
	p->config_read = cfg_read;
	p->config_written = cfg_written;
	p->bar_changed = bar_changed;
	return 0;
}
