/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_root.c - the root complex: bus 0, the two ways to configuration space, INTx lines, reset control.
 *
 * Ports 0xcf8-0xcff are one range: the address register answers 32-bit accesses at 0xcf8, reset control
 * (ICH9 §13.7.5) bytes at 0xcf9, the data window is 0xcfc-0xcff. ECAM is where PCIEXBAR says.
 */
#include "board/pci_root.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "board/layout.h"
#include "board/pm.h"
#include "state/state.h"

#define CF8_ENABLE 0x80000000u
#define CF9_HARD 0x02u
#define CF9_CPU 0x04u

/* ---- accesses ---- */

static uint32_t function_read(struct pci_root *r, uint8_t bus, uint8_t devfn, unsigned off,
			      unsigned size)
{
	if (bus != 0 || !r->fn[devfn])
		return UINT32_MAX;
	return pci_config_read(r->fn[devfn], off, size);
}

static void function_write(struct pci_root *r, uint8_t bus, uint8_t devfn, unsigned off,
			   uint32_t value, unsigned size)
{
	if (bus == 0 && r->fn[devfn])
		pci_config_write(r->fn[devfn], off, value, size);
}

static uint64_t port_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pci_root *r = ctx;

	if (offset == 0 && size == 4)
		return r->cf8;
	if (offset == 1 && size == 1)
		return r->cf9;
	if (offset < 4 || !(r->cf8 & CF8_ENABLE))
		return UINT64_MAX;
	return function_read(r, (uint8_t)(r->cf8 >> 16), (uint8_t)(r->cf8 >> 8),
			     (r->cf8 & 0xfc) + (unsigned)offset - 4, size);
}

static void reset_control_write(struct pci_root *r, uint8_t v)
{
	uint8_t old = r->cf9;

	r->cf9 = v & 0x0e;
	if (v & ~old & CF9_CPU)
		dev_request(r->env, DEV_REQ_RESET, 0);
}

static void port_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_root *r = ctx;

	if (offset == 0 && size == 4)
		r->cf8 = (uint32_t)value & ~0x7f000003u;
	else if (offset == 1 && size == 1)
		reset_control_write(r, (uint8_t)value);
	else if (offset >= 4 && (r->cf8 & CF8_ENABLE))
		function_write(r, (uint8_t)(r->cf8 >> 16), (uint8_t)(r->cf8 >> 8),
			       (r->cf8 & 0xfc) + (unsigned)offset - 4, (uint32_t)value, size);
}

static uint64_t ecam_read(void *ctx, uint64_t offset, unsigned size)
{
	return function_read(ctx, (uint8_t)(offset >> 20), (uint8_t)(offset >> 12), offset & 0xfff,
			     size);
}

static void ecam_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	function_write(ctx, (uint8_t)(offset >> 20), (uint8_t)(offset >> 12), offset & 0xfff,
		       (uint32_t)value, size);
}

static const struct bus_ops port_ops = {port_read, port_write, 4};
static const struct bus_ops ecam_ops = {ecam_read, ecam_write, 4};

void pci_root_ecam(struct pci_root *r, uint64_t base, uint64_t size)
{
	if (r->ecam_mapped && r->ecam.base == base && r->ecam.size == size)
		return;
	if (r->ecam_mapped)
		bus_remove(r->env->mmio, &r->ecam);
	r->ecam.base = base;
	r->ecam.size = size;
	r->ecam_mapped = size && bus_add(r->env->mmio, &r->ecam, NULL) == 0;
	pci_root_retry_bars(r);
}

/* ---- lines ---- */

void pci_root_intx(struct pci_root *r, const struct pci_device *d, bool level)
{
	unsigned pirq = pci_pirq(PCI_SLOT(d->devfn), d->cfg[PCI_INTERRUPT_PIN] - 1u);
	unsigned *n = &r->pirq_users[pirq];

	if (level)
		++*n;
	else if (*n)
		--*n;
	irq_line_set(r->env->irq, IRQ_PIRQ_FIRST + pirq, *n > 0);
}

void pci_root_retry_bars(struct pci_root *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(r->fn); i++) {
		if (r->fn[i])
			pci_bars_retry(r->fn[i]);
	}
}

/* ---- functions ---- */

/* Function 0 says whether there are others. */
static void update_multi(struct pci_root *r, unsigned slot)
{
	struct pci_device *zero = r->fn[PCI_DEVFN(slot, 0)];
	bool multi = false;

	for (unsigned fn = 1; fn < 8; fn++)
		multi |= r->fn[PCI_DEVFN(slot, fn)] != NULL;
	if (!zero)
		return;
	zero->cfg[PCI_HEADER_TYPE] = (uint8_t)((zero->cfg[PCI_HEADER_TYPE] & 0x7f) |
					       (multi ? 0x80 : 0));
	zero->initial[PCI_HEADER_TYPE] = zero->cfg[PCI_HEADER_TYPE];
}

static bool slot_free(const struct pci_root *r, unsigned slot)
{
	for (unsigned fn = 0; fn < 8; fn++) {
		if (r->fn[PCI_DEVFN(slot, fn)])
			return false;
	}
	return true;
}

int pci_root_add(struct pci_root *r, struct pci_device *d, int devfn, struct err *e)
{
	if (devfn < 0) {
		unsigned slot = 1;

		while (slot < PCI_SLOT_LPC && !slot_free(r, slot))
			slot++;
		if (slot == PCI_SLOT_LPC)
			return err_set(e, ENOSPC, "%s: all PCI slots are taken", d->dev.id);
		devfn = PCI_DEVFN(slot, 0);
	}
	if (devfn > 0xff || d->root)
		return err_set(e, EINVAL, "%s: bad PCI function number %d", d->dev.id, devfn);
	if (r->fn[devfn])
		return err_set(e, EBUSY, "%s: PCI slot %d function %d is taken by %s", d->dev.id,
			       PCI_SLOT(devfn), PCI_FN(devfn), r->fn[devfn]->dev.id);
	r->fn[devfn] = d;
	d->root = r;
	d->devfn = (uint8_t)devfn;
	memcpy(d->initial, d->cfg, sizeof(d->cfg));
	update_multi(r, PCI_SLOT(d->devfn));
	return 0;
}

void pci_root_remove(struct pci_root *r, struct pci_device *d)
{
	if (d->root != r)
		return;
	pci_reset(d); /* line down, BARs off the bus */
	r->fn[d->devfn] = NULL;
	d->root = NULL;
	update_multi(r, PCI_SLOT(d->devfn));
}

struct pci_device *pci_root_get(struct pci_root *r, uint8_t devfn)
{
	return r->fn[devfn];
}

/* ---- life ---- */

int pci_root_create(struct pci_root **out, const struct dev_env *env,
		    const struct pci_root_config *cfg, struct err *e)
{
	struct pci_root *r = calloc(1, sizeof(*r));
	int ret;

	*out = NULL;
	if (!r)
		return err_set(e, ENOMEM, "no memory for the PCI root complex");
	r->env = env;
	r->cfg = *cfg;
	r->ports = (struct bus_range){"pci configuration", LAYOUT_PORT_PCI_ADDR, 8, &port_ops, r};
	r->ecam = (struct bus_range){"pci ecam", LAYOUT_ECAM, 0, &ecam_ops, r};
	ret = bus_add(env->ports, &r->ports, e);
	if (ret == 0)
		ret = pci_q35_create(r, e);
	if (ret == 0 && !r->ecam_mapped)
		ret = err_set(e, EBUSY, "no place for PCI ECAM at 0x%x", LAYOUT_ECAM);
	if (ret < 0) {
		pci_root_destroy(r);
		return ret;
	}
	*out = r;
	return 0;
}

void pci_root_destroy(struct pci_root *r)
{
	if (!r)
		return;
	pci_fini(&r->mch);
	if (r->lpc)
		pci_fini(r->lpc);
	free(r->lpc);
	if (r->ecam_mapped)
		bus_remove(r->env->mmio, &r->ecam);
	bus_remove(r->env->ports, &r->ports);
	free(r);
}

void pci_root_reset(struct pci_root *r)
{
	r->cf8 = 0;
	r->cf9 = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(r->fn); i++) {
		if (r->fn[i])
			device_reset(&r->fn[i]->dev);
	}
}

int pci_root_state(struct pci_root *r, struct state *s)
{
	state_begin(s, "pci-root", NULL, 1);
	state_u32(s, &r->cf8);
	state_u8(s, &r->cf9);
	state_end(s);
	for (unsigned i = 0; i < ARRAY_SIZE(r->fn); i++)
		if (r->fn[i])
			device_state(&r->fn[i]->dev, s);
	return state_error(s);
}

int pci_root_loaded(struct pci_root *r, struct err *e)
{
	int ret = 0;

	r->cf8 &= ~0x7f000003u;
	r->cf9 &= 0x0e;
	for (unsigned i = 0; i < ARRAY_SIZE(r->fn) && ret == 0; i++)
		if (r->fn[i])
			ret = device_loaded(&r->fn[i]->dev, e);
	return ret;
}

int pci_root_dump(struct pci_root *r, char *buf, size_t size)
{
	struct text t = {buf, size, 0};

	if (size)
		buf[0] = '\0';
	text_print(&t, "pci: cf8 %08x ecam %#" PRIx64 "%s\n", r->cf8, r->ecam.base,
		   r->ecam_mapped ? "" : " (off)");
	for (unsigned i = 0; i < ARRAY_SIZE(r->fn); i++) {
		const struct pci_device *d = r->fn[i];

		if (!d)
			continue;
		text_print(&t, " 00:%02x.%x %04x:%04x command %04x intx %d msix %u%s %s\n",
			   PCI_SLOT(i), PCI_FN(i), pci_get16(d, PCI_VENDOR_ID),
			   pci_get16(d, PCI_DEVICE_ID), pci_get16(d, PCI_COMMAND), d->intx_out,
			   d->msix.n, pci_msix_enabled(d) ? " on" : "", d->dev.id);
		for (unsigned k = 0; k < PCI_BARS; k++) {
			const struct pci_bar *b = &d->bar[k];

			if (b->type != PCI_BAR_NONE)
				text_print(&t, "  bar%u %s %#" PRIx64 " size %#" PRIx64 "%s\n", k,
					   b->type == PCI_BAR_IO ? "io" : "mem", b->addr, b->size,
					   b->mapped ? "" : " (off)");
		}
	}
	return (int)t.len;
}
