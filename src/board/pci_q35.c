/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci_q35.c - the two functions that firmware and systems look for on this chipset: the Q35 host bridge (Intel 3 Series
 * Express data sheet) and the ICH9 LPC bridge (ICH9 data sheet §13). Most of their registers are only kept; those that act:
 *
 *   host bridge  PCIEXBAR 0x60: where ECAM is
 *   LPC bridge   PMBASE 0x40, ACPI_CNTL 0x44: where the power management registers are
 *                PIRQ[A-D]_ROUT 0x60, PIRQ[E-H]_ROUT 0x68: PIRQs to PIC inputs
 *
 * RAM is at 0xa0000-0xfffff whatever PAM and SMRAM say.
 *
 * The LPC bridge can be left out: a system that finds its devices by ACPI has no use for it, and asks it some seventy times
 * at each boot what it can do. All that it sets up is then where a reset puts it.
 */
#include <errno.h>
#include <stdlib.h>

#include "board/layout.h"
#include "board/pci_root.h"
#include "board/pm.h"

#define VENDOR_INTEL 0x8086
#define DEVICE_MCH 0x29c0
#define DEVICE_LPC 0x2918

#define MCH_PCIEXBAR 0x60u
#define PCIEXBAR_ENABLE 0x1u
#define MCH_PAM0 0x90u
#define MCH_SMRAM 0x9du
#define MCH_TSEGMB 0xacu
#define MCH_TOLUD 0xb0u

#define LPC_PMBASE 0x40u
#define LPC_ACPI_CNTL 0x44u
#define ACPI_EN 0x80u
#define LPC_GPIOBASE 0x48u
#define LPC_GPIO_CNTL 0x4cu
#define LPC_PIRQ_A 0x60u
#define LPC_PIRQ_E 0x68u
#define PIRQ_OFF 0x80u
#define LPC_IO_DECODE 0x80u /* to 0x93 */
#define LPC_GEN_PMCON 0xa0u
#define LPC_BIOS_CNTL 0xdcu
#define LPC_RCBA 0xf0u

static void mch_sync(struct pci_device *d)
{
	static const uint64_t sizes[4] = {256 * MIB, 128 * MIB, 64 * MIB, 0};
	uint64_t v = pci_get32(d, MCH_PCIEXBAR) | (uint64_t)pci_get32(d, MCH_PCIEXBAR + 4) << 32;
	uint64_t size = v & PCIEXBAR_ENABLE ? sizes[(v >> 1) & 3] : 0;

	pci_root_ecam(container_of(d, struct pci_root, mch), size ? ALIGN_DOWN(v, size) : 0, size);
}

static void mch_written(struct pci_device *d, unsigned off, unsigned size)
{
	if (off < MCH_PCIEXBAR + 8 && off + size > MCH_PCIEXBAR)
		mch_sync(d);
}

static void mch_reset(struct device *d)
{
	struct pci_device *p = container_of(d, struct pci_device, dev);

	pci_reset(p);
	mch_sync(p);
}

/* PIRQs go to the PIC inputs that PCI devices may use (ICH9 §13.1.17). */
static int pirq_target(uint8_t v)
{
	static const uint16_t allowed = 0xdef8; /* 3-7, 9-12, 14, 15 */
	unsigned irq = v & 0xf;

	return !(v & PIRQ_OFF) && (allowed & (1u << irq)) ? (int)irq : -1;
}

static void lpc_sync(struct pci_device *d)
{
	struct pci_root *r = d->root;

	if (r->cfg.pm)
		pm_map(r->cfg.pm, pci_get16(d, LPC_PMBASE) & 0xff80,
		       d->cfg[LPC_ACPI_CNTL] & ACPI_EN);
	for (unsigned i = 0; i < IRQ_PIRQS; i++)
		irq_pirq_route(r->env->irq, i,
			       pirq_target(d->cfg[(i < 4 ? LPC_PIRQ_A : LPC_PIRQ_E - 4) + i]));
}

static void lpc_written(struct pci_device *d, unsigned off, unsigned size)
{
	if (off < LPC_PIRQ_E + 4 && off + size > LPC_PMBASE)
		lpc_sync(d);
}

static void lpc_reset(struct device *d)
{
	struct pci_device *p = container_of(d, struct pci_device, dev);

	pci_reset(p);
	lpc_sync(p);
}

static int bridge_state(struct device *d, struct state *s)
{
	return pci_device_state(container_of(d, struct pci_device, dev), s);
}

static int mch_loaded(struct device *d, struct err *e)
{
	struct pci_device *p = container_of(d, struct pci_device, dev);
	int r = pci_device_loaded(p, e);

	mch_sync(p);
	return r;
}

static int lpc_loaded(struct device *d, struct err *e)
{
	struct pci_device *p = container_of(d, struct pci_device, dev);
	int r = pci_device_loaded(p, e);

	lpc_sync(p);
	return r;
}

static const struct dev_class mch_class = {
	.name = "q35-mch",
	.help = "Q35 host bridge",
	.reset = mch_reset,
	.state = bridge_state,
	.loaded = mch_loaded,
};

static const struct dev_class lpc_class = {
	.name = "ich9-lpc",
	.help = "ICH9 LPC bridge",
	.reset = lpc_reset,
	.state = bridge_state,
	.loaded = lpc_loaded,
};

static void set_mch(struct pci_device *d)
{
	pci_set32(d, MCH_PCIEXBAR, LAYOUT_ECAM | PCIEXBAR_ENABLE);
	pci_wmask32(d, MCH_PCIEXBAR, 0xfc000007);
	pci_wmask32(d, MCH_PCIEXBAR + 4, 0x0000000f);
	for (unsigned i = 0; i < 7; i++)
		d->wmask[MCH_PAM0 + i] = i ? 0x33 : 0x30;
	pci_set16(d, MCH_SMRAM, 0x3802);
	pci_wmask16(d, MCH_SMRAM, 0x877f);
	pci_wmask32(d, MCH_TSEGMB, 0xfff00000);
	pci_wmask16(d, MCH_TOLUD, 0xfff0);
	d->config_written = mch_written;
}

static void set_lpc(struct pci_device *d)
{
	pci_set32(d, LPC_PMBASE, LAYOUT_PORT_PM | 1);
	pci_wmask16(d, LPC_PMBASE, 0xff80);
	pci_set8(d, LPC_ACPI_CNTL, ACPI_EN);
	d->wmask[LPC_ACPI_CNTL] = 0x87;
	pci_set32(d, LPC_GPIOBASE, 1);
	pci_wmask16(d, LPC_GPIOBASE, 0xff80);
	d->wmask[LPC_GPIO_CNTL] = 0x10;
	for (unsigned i = 0; i < 4; i++) {
		pci_set8(d, LPC_PIRQ_A + i, PIRQ_OFF);
		pci_set8(d, LPC_PIRQ_E + i, PIRQ_OFF);
		d->wmask[LPC_PIRQ_A + i] = d->wmask[LPC_PIRQ_E + i] = 0x8f;
	}
	for (unsigned off = LPC_IO_DECODE; off < LPC_IO_DECODE + 0x14; off += 4)
		pci_wmask32(d, off, UINT32_MAX);
	pci_wmask32(d, LPC_GEN_PMCON, 0x0000ffff);
	d->wmask[LPC_BIOS_CNTL] = 0x1f;
	pci_wmask32(d, LPC_RCBA, 0xffffc001);
	d->config_written = lpc_written;
}

int pci_q35_create(struct pci_root *r, struct err *e)
{
	int ret;

	pci_init(&r->mch, &mch_class, "host-bridge", r->env, VENDOR_INTEL, DEVICE_MCH, 0x060000, 2);
	set_mch(&r->mch);
	ret = pci_root_add(r, &r->mch, PCI_DEVFN(0, 0), e);
	if (ret < 0)
		return ret;
	mch_sync(&r->mch);
	if (r->cfg.no_lpc)
		return 0;
	r->lpc = calloc(1, sizeof(*r->lpc));
	if (!r->lpc)
		return err_set(e, ENOMEM, "out of memory");
	pci_init(r->lpc, &lpc_class, "lpc", r->env, VENDOR_INTEL, DEVICE_LPC, 0x060100, 2);
	set_lpc(r->lpc);
	ret = pci_root_add(r, r->lpc, PCI_DEVFN(PCI_SLOT_LPC, 0), e);
	if (ret < 0)
		return ret;
	lpc_sync(r->lpc);
	return 0;
}
