/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.c - a PCI function: configuration space, BARs, capabilities, INTx.
 *
 * A configuration write goes through the write masks byte by byte; then what depends on the registers is brought in line
 * (sync), the same way whatever was written. So odd sizes and overlapping writes need no care of their own.
 *
 * A BAR is "wanted" when its decode bit in the command register is set and its address is one: not 0, not the pattern left by
 * sizing, within the space. It is then put on the bus, which refuses it while something else is in the way; whenever a BAR
 * leaves a place, the root lets the waiting ones try again.
 */
#include "board/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "state/state.h"

#define COMMAND_WRITABLE                                                                 \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF)
#define STATUS_W1C 0xf900u
#define HEADER_END 0x40u
#define LEGACY_END 0x100u

#define BAR_IO 0x1u
#define BAR_MEM64 0x4u
#define BAR_PREFETCHABLE 0x8u

void pci_set8(struct pci_device *d, unsigned off, uint8_t v)
{
	ASSERT(off < PCI_CONFIG_SIZE);
	d->cfg[off] = v;
}

void pci_set16(struct pci_device *d, unsigned off, uint16_t v)
{
	pci_set8(d, off, (uint8_t)v);
	pci_set8(d, off + 1, (uint8_t)(v >> 8));
}

void pci_set32(struct pci_device *d, unsigned off, uint32_t v)
{
	pci_set16(d, off, (uint16_t)v);
	pci_set16(d, off + 2, (uint16_t)(v >> 16));
}

uint16_t pci_get16(const struct pci_device *d, unsigned off)
{
	ASSERT(off + 1 < PCI_CONFIG_SIZE);
	return (uint16_t)(d->cfg[off] | d->cfg[off + 1] << 8);
}

uint32_t pci_get32(const struct pci_device *d, unsigned off)
{
	return pci_get16(d, off) | (uint32_t)pci_get16(d, off + 2) << 16;
}

void pci_wmask16(struct pci_device *d, unsigned off, uint16_t mask)
{
	ASSERT(off + 1 < PCI_CONFIG_SIZE);
	d->wmask[off] = (uint8_t)mask;
	d->wmask[off + 1] = (uint8_t)(mask >> 8);
}

void pci_wmask32(struct pci_device *d, unsigned off, uint32_t mask)
{
	pci_wmask16(d, off, (uint16_t)mask);
	pci_wmask16(d, off + 2, (uint16_t)(mask >> 16));
}

/* ---- BARs ---- */

static uint64_t bar_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pci_bar *b = ctx;
	uint64_t v;

	if (pci_msix_read(b->dev, (unsigned)(b - b->dev->bar), offset, size, &v))
		return v;
	return b->ops && b->ops->read ? b->ops->read(b->ctx, offset, size) : 0;
}

static void bar_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_bar *b = ctx;

	if (pci_msix_write(b->dev, (unsigned)(b - b->dev->bar), offset, size, value))
		return;
	if (b->ops && b->ops->write)
		b->ops->write(b->ctx, offset, value, size);
}

static struct bus *bar_bus(const struct pci_bar *b)
{
	return b->type == PCI_BAR_IO ? b->dev->env->ports : b->dev->env->mmio;
}

/* Fills in addr and wanted from the registers. */
static void bar_decode(struct pci_bar *b)
{
	const struct pci_device *d = b->dev;
	unsigned reg = PCI_BAR0 + 4 * (unsigned)(b - d->bar);
	uint16_t command = pci_get16(d, PCI_COMMAND);
	uint64_t addr = pci_get32(d, reg), last = UINT32_MAX;

	if (b->type == PCI_BAR_IO) {
		addr &= ~UINT64_C(3);
		last = BUS_PORT_LAST;
		b->wanted = command & PCI_COMMAND_IO;
	} else {
		addr &= ~UINT64_C(0xf);
		b->wanted = command & PCI_COMMAND_MEMORY;
		if (b->type == PCI_BAR_MEM64) {
			addr |= (uint64_t)pci_get32(d, reg + 4) << 32;
			last = BUS_MMIO_LAST;
		}
	}
	b->addr = addr;
	if (addr == 0 || addr > last || b->size - 1 > last - addr || addr == (last & ~(b->size - 1)))
		b->wanted = false;
}

static void bar_map(struct pci_bar *b)
{
	if (b->mapped || !b->wanted)
		return;
	b->range.base = b->addr;
	b->mapped = bus_add(bar_bus(b), &b->range, NULL) == 0;
	if (b->mapped && b->dev->bar_changed)
		b->dev->bar_changed(b->dev);
}

static bool bar_unmap(struct pci_bar *b)
{
	if (!b->mapped)
		return false;
	bus_remove(bar_bus(b), &b->range);
	b->mapped = false;
	if (b->dev->bar_changed)
		b->dev->bar_changed(b->dev);
	return true;
}

static void sync_bars(struct pci_device *d)
{
	bool freed = false;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &d->bar[i];

		if (b->type == PCI_BAR_NONE)
			continue;
		bar_decode(b);
		if (!b->wanted || b->addr != b->range.base)
			freed |= bar_unmap(b);
		bar_map(b);
	}
	if (freed && d->root)
		pci_root_retry_bars(d->root);
}

void pci_bars_retry(struct pci_device *d)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (d->bar[i].type != PCI_BAR_NONE)
			bar_map(&d->bar[i]);
	}
}

int pci_bar_add(struct pci_device *d, unsigned n, unsigned type, uint64_t size,
		const struct bus_ops *ops, void *ctx, struct err *e)
{
	enum pci_bar_type kind = (enum pci_bar_type)(type & 0xff);
	bool io = kind == PCI_BAR_IO, wide = kind == PCI_BAR_MEM64;
	uint32_t flags = io ? BAR_IO :
			      (wide ? BAR_MEM64 : 0) |
					 (type & PCI_BAR_PREFETCH ? BAR_PREFETCHABLE : 0);
	unsigned reg = PCI_BAR0 + 4 * n;
	struct pci_bar *b;

	if (n >= PCI_BARS || (wide && n + 1 >= PCI_BARS) || d->bar[n].type != PCI_BAR_NONE ||
	    (n > 0 && d->bar[n - 1].type == PCI_BAR_MEM64) ||
	    (wide && d->bar[n + 1].type != PCI_BAR_NONE))
		return err_set(e, EINVAL, "%s: BAR %u is not free", d->dev.id, n);
	if (kind == PCI_BAR_NONE || (size & (size - 1)) || size < (io ? 4 : 16) ||
	    (io && size > 256) || (!wide && size > 2 * GIB))
		return err_set(e, EINVAL, "%s: BAR %u cannot have %" PRIu64 " bytes", d->dev.id, n,
			       size);
	b = &d->bar[n];
	b->type = kind;
	b->size = size;
	b->ops = ops;
	b->ctx = ctx;
	b->dev = d;
	b->wrap = (struct bus_ops){bar_read, bar_write, ops ? ops->max_size : 0};
	b->range = (struct bus_range){d->dev.id, 0, size, &b->wrap, b};
	pci_set32(d, reg, flags);
	pci_wmask32(d, reg, (uint32_t) ~(size - 1) & (io ? ~3u : ~0xfu));
	if (wide)
		pci_wmask32(d, reg + 4, (uint32_t)(~(size - 1) >> 32));
	return 0;
}

int pci_cap_add(struct pci_device *d, uint8_t id, unsigned size, struct err *e)
{
	unsigned off = d->cap_next;

	size = ALIGN_UP(size, 4);
	if (size < 4 || off + size > LEGACY_END)
		return err_set(e, ENOSPC, "%s: no room for capability 0x%02x", d->dev.id, id);
	d->cap_next = (uint16_t)(off + size);
	if (id == PCI_CAP_EXPRESS)
		d->cfg_end = PCI_CONFIG_SIZE;
	pci_set8(d, d->cap_last ? d->cap_last + 1u : PCI_CAPABILITIES, (uint8_t)off);
	d->cap_last = (uint16_t)off;
	pci_set8(d, off, id);
	pci_set8(d, off + 1, 0);
	pci_set16(d, PCI_STATUS, pci_get16(d, PCI_STATUS) | PCI_STATUS_CAPS);
	return (int)off;
}

/* ---- INTx ---- */

static void sync_intx(struct pci_device *d)
{
	bool out = d->intx && !(pci_get16(d, PCI_COMMAND) & PCI_COMMAND_INTX_OFF) &&
		   !pci_msix_enabled(d);
	uint8_t *status = &d->cfg[PCI_STATUS];

	*status = (uint8_t)((*status & ~PCI_STATUS_INTX) | (d->intx ? PCI_STATUS_INTX : 0));
	if (out == d->intx_out)
		return;
	d->intx_out = out;
	if (d->root)
		pci_root_intx(d->root, d, out);
}

void pci_intx(struct pci_device *d, bool level)
{
	d->intx = level && d->cfg[PCI_INTERRUPT_PIN] >= 1 && d->cfg[PCI_INTERRUPT_PIN] <= 4;
	sync_intx(d);
}

bool pci_bus_master(const struct pci_device *d)
{
	return pci_get16(d, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/* ---- configuration space ---- */

uint32_t pci_config_read(struct pci_device *d, unsigned off, unsigned size)
{
	uint32_t v = 0;

	if (off >= d->cfg_end || size > 4)
		return UINT32_MAX;
	if (d->config_read)
		d->config_read(d, off, MIN(size, d->cfg_end - off));
	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)(off + i < d->cfg_end ? d->cfg[off + i] : 0xff) << 8 * i;
	return v;
}

static bool touches(unsigned off, unsigned size, unsigned from, unsigned to)
{
	return off < to && off + size > from;
}

void pci_config_write(struct pci_device *d, unsigned off, uint32_t value, unsigned size)
{
	if (off >= d->cfg_end || size > 4)
		return;
	size = MIN(size, d->cfg_end - off);
	for (unsigned i = 0; i < size; i++) {
		uint8_t *p = &d->cfg[off + i], v = (uint8_t)(value >> 8 * i),
			mask = d->wmask[off + i];

		*p = (uint8_t)((*p & ~mask) | (v & mask));
		*p &= (uint8_t) ~(v & d->w1c[off + i]);
	}
	if (d->msix.n && touches(off, size, d->msix.cap + 2u, d->msix.cap + 4u))
		pci_msix_control(d);
	if (touches(off, size, PCI_COMMAND, PCI_STATUS) ||
	    touches(off, size, PCI_BAR0, PCI_BAR0 + 4 * PCI_BARS))
		sync_bars(d);
	sync_intx(d);
	if (d->config_written)
		d->config_written(d, off, size);
}

/* ---- life ---- */

void pci_init(struct pci_device *d, const struct dev_class *class, const char *id,
	      const struct dev_env *env, uint16_t vendor, uint16_t device, uint32_t class_code,
	      uint8_t revision)
{
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->msix.lock, NULL);
	d->dev.class = class;
	d->dev.id = id;
	d->env = env;
	d->cap_next = HEADER_END;
	d->cfg_end = LEGACY_END;
	pci_set16(d, PCI_VENDOR_ID, vendor);
	pci_set16(d, PCI_DEVICE_ID, device);
	pci_set32(d, PCI_REVISION, class_code << 8 | revision);
	pci_wmask16(d, PCI_COMMAND, COMMAND_WRITABLE);
	d->wmask[0x0c] = 0xff; /* cache line size */
	d->wmask[PCI_INTERRUPT_LINE] = 0xff;
	d->w1c[PCI_STATUS + 1] = STATUS_W1C >> 8;
}

void pci_reset(struct pci_device *d)
{
	pci_intx(d, false);
	pci_msix_reset(d);
	if (!d->root)
		return;
	memcpy(d->cfg, d->initial, sizeof(d->cfg));
	sync_bars(d);
	sync_intx(d);
}

/* The bytes that are not the machine's: what the guest has written, and status bits that it can clear. */
static uint8_t guest_bits(const struct pci_device *d, unsigned i)
{
	return d->wmask[i] | d->w1c[i];
}

int pci_device_state(struct pci_device *d, struct state *s)
{
	state_begin(s, "pci", d->dev.id, 1);
	state_same(s, d->devfn, "the PCI function number");
	state_same(s, pci_get32(d, PCI_VENDOR_ID), "the PCI vendor and device id");
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t mask = guest_bits(d, i), v = d->cfg[i] & mask;

		if (!mask)
			continue;
		state_u8(s, &v);
		d->cfg[i] = (uint8_t)((d->cfg[i] & ~mask) | (v & mask));
	}
	state_bool(s, &d->intx);
	pci_msix_state(d, s);
	return state_end(s);
}

int pci_device_loaded(struct pci_device *d, struct err *e)
{
	(void)e;
	if (d->msix.n)
		pci_msix_loaded(d);
	sync_bars(d);
	pci_intx(d, d->intx);
	return 0;
}

void pci_fini(struct pci_device *d)
{
	if (!d->dev.class)
		return;
	pci_intx(d, false);
	if (d->root)
		pci_root_remove(d->root, d);
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (d->bar[i].type != PCI_BAR_NONE)
			bar_unmap(&d->bar[i]);
	}
	pci_msix_fini(d);
	pthread_mutex_destroy(&d->msix.lock);
	d->dev.class = NULL;
}
