/* SPDX-License-Identifier: Apache-2.0 */
/* test_board_pci.c - configuration mechanisms, BAR sizing and relocation, INTx, MSI-X, bridges; then random accesses. */
#include <errno.h>

#include "board_env.h"

#include "board/debug_exit.h"
#include "board/i8042.h"
#include "board/pci.h"
#include "board/pit.h"
#include "board/pm.h"
#include "board/rtc.h"
#include "board/uart.h"

/* A function with one BAR of each kind: 0 MEM32 4 KiB, 1 I/O 32, 2/3 MEM64 16 KiB with MSI-X. */
struct gadget {
	struct pci_device pci;
	uint64_t last_off, last_value;
	unsigned reads, writes, msix_changes;
};

static uint64_t gadget_read(void *ctx, uint64_t off, unsigned size)
{
	struct gadget *g = ctx;

	(void)size;
	g->reads++;
	g->last_off = off;
	return 0xabcd0000 + off;
}

static void gadget_write(void *ctx, uint64_t off, uint64_t value, unsigned size)
{
	struct gadget *g = ctx;

	(void)size;
	g->writes++;
	g->last_off = off;
	g->last_value = value;
}

static const struct bus_ops gadget_ops = {gadget_read, gadget_write, 0};

static void gadget_reset(struct device *d)
{
	pci_reset(container_of(d, struct pci_device, dev));
}

static const struct dev_class gadget_class = {.name = "gadget",
					      .help = "a test",
					      .reset = gadget_reset};

static void gadget_msix_changed(struct pci_device *d)
{
	container_of(d, struct gadget, pci)->msix_changes++;
}

#define VECTORS 70u
#define TABLE 0x1000u
#define PBA 0x2000u

static void gadget_init(struct gadget *g, struct board_env *b)
{
	memset(g, 0, sizeof(*g));
	pci_init(&g->pci, &gadget_class, "gadget", &b->env, 0x1af4, 0x1041, 0x020000, 1);
	pci_set8(&g->pci, PCI_INTERRUPT_PIN, 1);
	assert_int_equal(pci_bar_add(&g->pci, 0, PCI_BAR_MEM32, 4096, &gadget_ops, g, NULL), 0);
	assert_int_equal(pci_bar_add(&g->pci, 1, PCI_BAR_IO, 32, &gadget_ops, g, NULL), 0);
	assert_int_equal(pci_bar_add(&g->pci, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, 16384,
				     &gadget_ops, g, NULL),
			 0);
	assert_int_equal(pci_msix_init(&g->pci, VECTORS, 2, TABLE, PBA, NULL), 0);
	g->pci.msix_changed = gadget_msix_changed;
}

static uint64_t ecam(unsigned slot, unsigned fn, unsigned reg)
{
	return LAYOUT_ECAM + (slot << 15 | fn << 12 | reg);
}

static uint32_t cfg_get(struct board_env *b, unsigned slot, unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&b->mmio, ecam(slot, 0, reg), size);
}

static void cfg_set(struct board_env *b, unsigned slot, unsigned reg, uint32_t v, unsigned size)
{
	bus_write(&b->mmio, ecam(slot, 0, reg), v, size);
}

static struct pci_root *root_new(struct board_env *b, struct device *pm)
{
	struct pci_root_config cfg = {.pm = pm};
	struct pci_root *r;

	assert_int_equal(pci_root_create(&r, &b->env, &cfg, NULL), 0);
	return r;
}

static void test_config_access(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pci_root *r = root_new(b, NULL);
	struct gadget g;

	(void)st;
	/* Both ways see the host bridge and the LPC bridge. */
	outl(b, 0xcf8, 0x80000000);
	assert_int_equal(inl(b, 0xcf8), 0x80000000);
	assert_int_equal(inl(b, 0xcfc), 0x29c08086);
	assert_int_equal(inw(b, 0xcfe), 0x29c0);
	assert_int_equal(inb(b, 0xcfd), 0x80);
	outl(b, 0xcf8, 0x8000f800);
	assert_int_equal(inl(b, 0xcfc), 0x29188086);
	assert_int_equal(cfg_get(b, 0, 0, 4), 0x29c08086);
	assert_int_equal(cfg_get(b, 31, 0, 4), 0x29188086);
	assert_int_equal(cfg_get(b, 31, 0x0a, 2), 0x0601);
	/* Nothing there: ones. Disabled mechanism: ones. Narrow writes to the address register: ignored. */
	assert_int_equal(cfg_get(b, 5, 0, 4), 0xffffffff);
	assert_int_equal(bus_read(&b->mmio, LAYOUT_ECAM + (1u << 20), 4), 0xffffffff);
	outl(b, 0xcf8, 0x80010000); /* bus 1 */
	assert_int_equal(inl(b, 0xcfc), 0xffffffff);
	outl(b, 0xcf8, 0x00000000);
	assert_int_equal(inl(b, 0xcfc), 0xffffffff);
	outw(b, 0xcf8, 0x1234);
	outb(b, 0xcf8, 0x12);
	assert_int_equal(inl(b, 0xcf8), 0);

	/* Masks: ids cannot be written, command can in part, status bits are write-1-to-clear. */
	gadget_init(&g, b);
	assert_int_equal(pci_root_add(r, &g.pci, -1, NULL), 0);
	assert_int_equal(g.pci.devfn, PCI_DEVFN(1, 0));
	cfg_set(b, 1, 0x00, 0, 4);
	assert_int_equal(cfg_get(b, 1, 0, 4), 0x10411af4);
	cfg_set(b, 1, 0x04, 0xffff, 2);
	assert_int_equal(cfg_get(b, 1, 0x04, 2), 0x0547);
	cfg_set(b, 1, 0x04, 0, 2);
	g.pci.cfg[PCI_STATUS + 1] |= 0x20;
	cfg_set(b, 1, 0x06, 0, 2);
	assert_int_equal(cfg_get(b, 1, 0x07, 1), 0x20);
	cfg_set(b, 1, 0x06, 0xffff, 2);
	assert_int_equal(cfg_get(b, 1, 0x07, 1), 0x00);
	assert_int_equal(cfg_get(b, 1, 0x06, 1) & 0x10, 0x10); /* capabilities */
	cfg_set(b, 1, 0x3c, 0x1234, 2);
	assert_int_equal(cfg_get(b, 1, 0x3c, 2), 0x0134);
	/* At the end of the space, unaligned and across: 256 bytes, or 4096 with a PCI Express capability. */
	assert_int_equal(cfg_get(b, 0, 0x100, 4), 0xffffffff);
	assert_int_equal(cfg_get(b, 1, 0x100, 4), 0xffffffff);
	assert_int_equal(cfg_get(b, 1, 0xff, 4) >> 8, 0xffffff);
	cfg_set(b, 1, 0xfd, 0xffffffff, 4);
	cfg_set(b, 1, 0x100, 0xffffffff, 4);
	assert_true(pci_cap_add(&g.pci, PCI_CAP_EXPRESS, 4, NULL) > 0);
	assert_int_equal(cfg_get(b, 1, 0x100, 4), 0);
	assert_int_equal(bus_read(&b->mmio, ecam(1, 0, 0xffc), 8), 0xffffffff00000000);
	assert_int_equal(cfg_get(b, 1, 0xfff, 4) >> 8, 0xffffff);
	cfg_set(b, 1, 0xffd, 0xffffffff, 4);
	/* Slots. */
	struct gadget h, i;
	gadget_init(&h, b);
	gadget_init(&i, b);
	assert_int_equal(pci_root_add(r, &h.pci, PCI_DEVFN(1, 0), NULL), -EBUSY);
	assert_int_equal(pci_root_add(r, &h.pci, 256, NULL), -EINVAL);
	assert_int_equal(cfg_get(b, 1, 0x0e, 1), 0x00);
	assert_int_equal(pci_root_add(r, &h.pci, PCI_DEVFN(1, 3), NULL), 0);
	assert_int_equal(cfg_get(b, 1, 0x0e, 1), 0x80); /* multi-function now */
	assert_int_equal(pci_root_add(r, &i.pci, -1, NULL), 0);
	assert_int_equal(i.pci.devfn, PCI_DEVFN(2, 0));
	pci_fini(&h.pci);
	assert_int_equal(cfg_get(b, 1, 0x0e, 1), 0x00);
	pci_fini(&i.pci);
	pci_fini(&g.pci);
	pci_fini(&g.pci);
	assert_null(pci_root_get(r, PCI_DEVFN(1, 0)));
	pci_root_destroy(r);
	pci_root_destroy(NULL);
	board_env_free(b);
}

static void test_bars(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pci_root *r = root_new(b, NULL);
	struct gadget g, h;

	(void)st;
	gadget_init(&g, b);
	gadget_init(&h, b);
	assert_int_equal(pci_root_add(r, &g.pci, -1, NULL), 0);
	assert_int_equal(pci_root_add(r, &h.pci, -1, NULL), 0);
	/* Sizing. */
	cfg_set(b, 1, 0x10, 0xffffffff, 4);
	cfg_set(b, 1, 0x14, 0xffffffff, 4);
	cfg_set(b, 1, 0x18, 0xffffffff, 4);
	cfg_set(b, 1, 0x1c, 0xffffffff, 4);
	cfg_set(b, 1, 0x20, 0xffffffff, 4);
	cfg_set(b, 1, 0x30, 0xffffffff, 4);
	assert_int_equal(cfg_get(b, 1, 0x10, 4), 0xfffff000);
	assert_int_equal(cfg_get(b, 1, 0x14, 4), 0xffffffe1);
	assert_int_equal(cfg_get(b, 1, 0x18, 4), 0xffffc00c);
	assert_int_equal(cfg_get(b, 1, 0x1c, 4), 0xffffffff);
	assert_int_equal(cfg_get(b, 1, 0x20, 4), 0);
	assert_int_equal(cfg_get(b, 1, 0x30, 4), 0);
	/* With decoding on, sizes are no addresses. */
	cfg_set(b, 1, 0x04, 3, 2);
	assert_false(g.pci.bar[0].mapped || g.pci.bar[1].mapped || g.pci.bar[2].mapped);
	/* Programmed. */
	cfg_set(b, 1, 0x10, 0xc0000000, 4);
	cfg_set(b, 1, 0x14, 0xc000, 4);
	cfg_set(b, 1, 0x18, 0x00010000, 4);
	cfg_set(b, 1, 0x1c, 0x00000010, 4);
	assert_int_equal(bus_read(&b->mmio, 0xc0000010, 4), 0xabcd0010);
	assert_int_equal(inl(b, 0xc004), 0xabcd0004);
	assert_int_equal(bus_read(&b->mmio, 0x1000010020, 4), 0xabcd0020);
	bus_write(&b->mmio, 0xc0000ffe, 0x1234, 2);
	assert_int_equal(g.last_off, 0xffe);
	assert_int_equal(g.last_value, 0x1234);
	/* Moved: the old place is empty. */
	cfg_set(b, 1, 0x10, 0xc0100000, 4);
	assert_int_equal(bus_read(&b->mmio, 0xc0000010, 4), 0xffffffff);
	assert_int_equal(bus_read(&b->mmio, 0xc0100010, 4), 0xabcd0010);
	cfg_set(b, 1, 0x11, 0x10, 1); /* one byte of it: 0xc0101000 */
	assert_int_equal(bus_read(&b->mmio, 0xc0101010, 4), 0xabcd0010);
	/* Sizing again while it decodes: gone, then back. */
	cfg_set(b, 1, 0x10, 0xffffffff, 4);
	assert_false(g.pci.bar[0].mapped);
	cfg_set(b, 1, 0x10, 0xc0100000, 4);
	assert_true(g.pci.bar[0].mapped);
	/* Decode bits one by one. */
	cfg_set(b, 1, 0x04, 1, 2);
	assert_int_equal(bus_read(&b->mmio, 0xc0100010, 4), 0xffffffff);
	assert_int_equal(inl(b, 0xc004), 0xabcd0004);
	cfg_set(b, 1, 0x04, 2, 2);
	assert_int_equal(inl(b, 0xc004), 0xffffffff);
	assert_int_equal(bus_read(&b->mmio, 0xc0100010, 4), 0xabcd0010);

	/* In one another's way: the second waits until the first leaves. */
	cfg_set(b, 2, 0x10, 0xc0100000, 4);
	cfg_set(b, 2, 0x04, 2, 2);
	assert_true(h.pci.bar[0].wanted && !h.pci.bar[0].mapped);
	g.reads = h.reads = 0;
	bus_read(&b->mmio, 0xc0100000, 4);
	assert_int_equal(g.reads, 1);
	cfg_set(b, 1, 0x10, 0xc0200000, 4);
	bus_read(&b->mmio, 0xc0100000, 4);
	assert_int_equal(h.reads, 1);
	/* On top of the IOAPIC or ECAM: refused, they stay. */
	cfg_set(b, 2, 0x10, LAYOUT_IOAPIC, 4);
	assert_false(h.pci.bar[0].mapped);
	assert_int_equal(ioapic_take(b, 1), 0x170020);
	cfg_set(b, 2, 0x10, LAYOUT_ECAM, 4);
	assert_false(h.pci.bar[0].mapped);
	/* I/O beyond 64 KiB, or over fixed ports. */
	cfg_set(b, 2, 0x04, 3, 2);
	cfg_set(b, 2, 0x14, 0x1c000, 4);
	assert_false(h.pci.bar[1].mapped);
	cfg_set(b, 2, 0x14, 0xcc0, 4);
	assert_true(h.pci.bar[1].mapped);
	cfg_set(b, 2, 0x14, 0x20, 4);
	assert_false(h.pci.bar[1].mapped);

	/* Reset takes everything away; so does removal. */
	pci_root_reset(r);
	assert_false(g.pci.bar[0].mapped);
	assert_int_equal(cfg_get(b, 1, 0x10, 4), 0);
	assert_int_equal(cfg_get(b, 1, 0x04, 2), 0);
	cfg_set(b, 1, 0x10, 0xc0000000, 4);
	cfg_set(b, 1, 0x04, 2, 2);
	pci_root_remove(r, &g.pci);
	assert_int_equal(bus_read(&b->mmio, 0xc0000010, 4), 0xffffffff);
	pci_fini(&g.pci);
	pci_fini(&h.pci);
	/* Set-up mistakes. */
	gadget_init(&g, b);
	assert_int_equal(pci_bar_add(&g.pci, 3, PCI_BAR_MEM32, 4096, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(pci_bar_add(&g.pci, 5, PCI_BAR_MEM64, 4096, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(pci_bar_add(&g.pci, 4, PCI_BAR_MEM32, 5000, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(pci_bar_add(&g.pci, 6, PCI_BAR_MEM32, 4096, NULL, NULL, NULL), -EINVAL);
	assert_true(pci_cap_add(&g.pci, PCI_CAP_VENDOR, 20, NULL) > 0x40);
	assert_int_equal(pci_cap_add(&g.pci, PCI_CAP_VENDOR, 200, NULL), -ENOSPC);
	pci_fini(&g.pci);
	pci_root_destroy(r);
	board_env_free(b);
}

static void test_intx(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pci_root *r = root_new(b, NULL);
	struct gadget g, h;

	(void)st;
	gadget_init(&g, b);
	gadget_init(&h, b);
	assert_int_equal(pci_root_add(r, &g.pci, PCI_DEVFN(3, 0), NULL), 0);
	assert_int_equal(pci_root_add(r, &h.pci, PCI_DEVFN(11, 0), NULL), 0); /* shares the line */
	assert_int_equal(pci_gsi(3, 0), 19);
	assert_int_equal(pci_gsi(11, 0), 19);
	apic_on(b, 0);
	ioapic_put(b, 0x10 + 2 * 19, 0x8050);
	pci_intx(&g.pci, true);
	assert_int_equal(cfg_get(b, 3, 0x06, 1) & 8, 8);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x50);
	pci_intx(&h.pci, true);
	pci_intx(&g.pci, false);
	apic_set(b, 0, APIC_EOI, 0); /* the other still holds it */
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x50);
	/* The command register's bit takes it away, the status bit stays. */
	cfg_set(b, 11, 0x04, PCI_COMMAND_INTX_OFF, 2);
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(take_irq(b, 0), -1);
	assert_int_equal(cfg_get(b, 11, 0x06, 1) & 8, 8);
	cfg_set(b, 11, 0x04, 0, 2);
	assert_int_equal(lapic_irq_ack(b->lapics, 0), 0x50);
	pci_fini(&h.pci); /* unplugged with the line up */
	apic_set(b, 0, APIC_EOI, 0);
	assert_int_equal(take_irq(b, 0), -1);
	/* PIRQ routing to the PIC by the LPC bridge: PIRQ D to IRQ 11. */
	outb(b, 0x4d1, 0x08);
	cfg_set(b, 31, 0x63, 0x0b, 1);
	outb(b, 0xa1, 0x00);
	pci_intx(&g.pci, true);
	outb(b, 0xa0, 0x0a);
	assert_int_equal(inb(b, 0xa0), 0x08);
	cfg_set(b, 31, 0x63, 0x02, 1); /* not an input for PCI */
	assert_int_equal(inb(b, 0xa0), 0x00);
	pci_intx(&g.pci, false);
	pci_fini(&g.pci);
	pci_root_destroy(r);
	board_env_free(b);
}

/*
 * Without the LPC bridge: nobody is there, its slot stays free, the power management registers and the PIC are where they were made, and
 * resets can be asked for.
 */
static void test_no_lpc(void **st)
{
	static struct gadget g[31];
	struct board_env *b = board_env_new(1);
	struct pm_config pm_cfg = {0};
	struct device *pm;
	struct pci_root_config cfg = {.no_lpc = true};
	struct pci_root *r;
	struct err e = {0};

	(void)st;
	assert_int_equal(pm_create(&pm, &b->env, &pm_cfg, NULL), 0);
	cfg.pm = pm;
	assert_int_equal(pci_root_create(&r, &b->env, &cfg, NULL), 0);
	assert_int_equal(cfg_get(b, 0, 0, 4), 0x29c08086);
	assert_int_equal(cfg_get(b, 31, 0, 4), 0xffffffff);
	cfg_set(b, 31, 0x40, 0, 2);
	assert_int_equal(inw(b, LAYOUT_PORT_PM + 4) & PM1_CNT_SCI_EN, PM1_CNT_SCI_EN);
	pci_root_reset(r);
	assert_int_equal(inw(b, LAYOUT_PORT_PM + 4) & PM1_CNT_SCI_EN, PM1_CNT_SCI_EN);
	outb(b, 0x4d1, 0x08);
	assert_int_equal(inb(b, 0x4d1), 0x08);
	outb(b, 0xcf9, 0x02);
	outb(b, 0xcf9, 0x06);
	assert_int_equal(b->requests[DEV_REQ_RESET], 1);
	/* Machines with and without it take as many devices. */
	for (unsigned i = 0; i < 30; i++) {
		gadget_init(&g[i], b);
		assert_int_equal(pci_root_add(r, &g[i].pci, -1, NULL), 0);
		assert_int_equal(g[i].pci.devfn, PCI_DEVFN(i + 1, 0));
	}
	gadget_init(&g[30], b);
	assert_int_equal(pci_root_add(r, &g[30].pci, -1, &e), -ENOSPC);
	for (unsigned i = 0; i < 31; i++)
		pci_fini(&g[i].pci);
	pci_root_destroy(r);
	device_destroy(pm);
	board_env_free(b);
}

static void test_msix(void **st)
{
	struct board_env *b = board_env_new(2);
	struct pci_root *r = root_new(b, NULL);
	struct gadget g;
	const uint64_t bar = 0xc0000000;
	unsigned cap;

	(void)st;
	gadget_init(&g, b);
	assert_int_equal(pci_root_add(r, &g.pci, 1 << 3, NULL), 0);
	apic_on(b, 0);
	apic_on(b, 1);
	cap = cfg_get(b, 1, 0x34, 1);
	assert_int_equal(cfg_get(b, 1, cap, 1), PCI_CAP_MSIX);
	assert_int_equal(cfg_get(b, 1, cap + 2, 2), VECTORS - 1);
	assert_int_equal(cfg_get(b, 1, cap + 4, 4), TABLE | 2);
	assert_int_equal(cfg_get(b, 1, cap + 8, 4), PBA | 2);
	cfg_set(b, 1, 0x18, (uint32_t)bar, 4);
	cfg_set(b, 1, 0x04, 6, 2);
	/* Table: masked at first, holds what is written, in 4 and 8 byte accesses. */
	assert_int_equal(bus_read(&b->mmio, bar + TABLE + 12, 4), 1);
	bus_write(&b->mmio, bar + TABLE + 65 * 16, 0xfee01000, 8);
	bus_write(&b->mmio, bar + TABLE + 65 * 16 + 8, 0x00000061, 4);
	assert_int_equal(bus_read(&b->mmio, bar + TABLE + 65 * 16 + 8, 8), 0x100000061);
	assert_int_equal(g.writes, 0);
	/* Off: nothing at all. */
	pci_msix_notify(&g.pci, 65);
	assert_int_equal(bus_read(&b->mmio, bar + PBA + 8, 8), 0);
	cfg_set(b, 1, cap + 2, 0x8000, 2);
	assert_int_equal(g.msix_changes, 1);
	assert_true(pci_msix_enabled(&g.pci));
	/* Vector masked: pending, then sent when unmasked. */
	pci_msix_notify(&g.pci, 65);
	assert_int_equal(bus_read(&b->mmio, bar + PBA + 8, 8), 2);
	assert_int_equal(bus_read(&b->mmio, bar + PBA + 8, 4), 2);
	assert_int_equal(take_irq(b, 1), -1);
	bus_write(&b->mmio, bar + TABLE + 65 * 16 + 12, 0, 4);
	assert_int_equal(take_irq(b, 1), 0x61);
	assert_int_equal(bus_read(&b->mmio, bar + PBA + 8, 8), 0);
	pci_msix_notify(&g.pci, 65);
	assert_int_equal(take_irq(b, 1), 0x61);
	/* Function masked. */
	cfg_set(b, 1, cap + 3, 0xc0, 1);
	pci_msix_notify(&g.pci, 65);
	pci_msix_notify(&g.pci, 65);
	assert_int_equal(take_irq(b, 1), -1);
	cfg_set(b, 1, cap + 3, 0x80, 1);
	assert_int_equal(take_irq(b, 1), 0x61);
	assert_int_equal(take_irq(b, 1), -1);
	/* Out of range; pending bits cannot be written; odd accesses. */
	pci_msix_notify(&g.pci, VECTORS);
	bus_write(&b->mmio, bar + PBA, UINT64_MAX, 8);
	assert_int_equal(bus_read(&b->mmio, bar + PBA, 8), 0);
	assert_int_equal(bus_read(&b->mmio, bar + TABLE + 2, 2), 0xffff);
	bus_write(&b->mmio, bar + TABLE + VECTORS * 16 - 2, 0xffffffff, 4);
	bus_write(&b->mmio, bar + TABLE + VECTORS * 16 - 4, 0xffffffff, 4);
	assert_int_equal(bus_read(&b->mmio, bar + TABLE + VECTORS * 16 - 4, 4), 1);
	/* INTx is silent while MSI-X is on. */
	ioapic_put(b, 0x10 + 2 * 17, 0x8050);
	pci_intx(&g.pci, true);
	assert_int_equal(take_irq(b, 0), -1);
	cfg_set(b, 1, cap + 2, 0, 2);
	assert_int_equal(take_irq(b, 0), 0x50);
	pci_intx(&g.pci, false);
	/* The device's own registers are still in that BAR. */
	assert_int_equal(bus_read(&b->mmio, bar + 0x10, 4), 0xabcd0010);
	pci_root_reset(r);
	assert_false(pci_msix_enabled(&g.pci));
	assert_int_equal(g.pci.msix.entry[65].control, 1);
	pci_fini(&g.pci);
	pci_root_destroy(r);
	board_env_free(b);
}

static void test_bridges(void **st)
{
	struct board_env *b = board_env_new(1);
	struct pm_config pc = {0};
	struct pci_root *r;
	struct device *pm;

	(void)st;
	assert_int_equal(pm_create(&pm, &b->env, &pc, NULL), 0);
	r = root_new(b, pm);
	/* PMBASE moves the registers, ACPI_EN hides them. */
	assert_int_equal(cfg_get(b, 31, 0x40, 4), 0x601);
	assert_int_equal(inw(b, 0x604), 1);
	cfg_set(b, 31, 0x40, 0xb000, 2);
	assert_int_equal(inw(b, 0x604), 0xffff);
	assert_int_equal(inw(b, 0xb004), 1);
	cfg_set(b, 31, 0x44, 0, 1);
	assert_int_equal(inw(b, 0xb004), 0xffff);
	/* PCIEXBAR moves ECAM: seen by the ports, and by itself at the new place. */
	outl(b, 0xcf8, 0x80000060);
	assert_int_equal(inl(b, 0xcfc), LAYOUT_ECAM | 1);
	outl(b, 0xcfc, 0xb0000003); /* 128 MiB */
	assert_int_equal(bus_read(&b->mmio, LAYOUT_ECAM, 4), 0xffffffff);
	assert_int_equal(bus_read(&b->mmio, 0xb0000000, 4), 0x29c08086);
	bus_write(&b->mmio, 0xb0000060, LAYOUT_ECAM | 1, 4); /* through itself */
	assert_int_equal(bus_read(&b->mmio, LAYOUT_ECAM, 4), 0x29c08086);
	bus_write(&b->mmio, LAYOUT_ECAM + 0x60, 0xb0000007, 4); /* reserved length: off */
	assert_int_equal(bus_read(&b->mmio, 0xb0000000, 4), 0xffffffff);
	pci_root_reset(r);
	assert_int_equal(bus_read(&b->mmio, LAYOUT_ECAM, 4), 0x29c08086);
	assert_int_equal(inw(b, 0x604), 1);
	/* PAM and SMRAM are kept. */
	cfg_set(b, 0, 0x90, 0x33333330, 4);
	assert_int_equal(cfg_get(b, 0, 0x90, 4), 0x33333330);
	/* Reset control. */
	outb(b, 0xcf9, 0x02);
	assert_int_equal(b->requests[DEV_REQ_RESET], 0);
	outb(b, 0xcf9, 0x06);
	assert_int_equal(b->requests[DEV_REQ_RESET], 1);
	assert_int_equal(inb(b, 0xcf9), 0x06);
	pci_root_destroy(r);
	device_destroy(pm);
	board_env_free(b);
}

/* The whole board against a guest that does anything anywhere. The seed is fixed. */
static uint64_t rng = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static size_t tx_some(void *ctx, const uint8_t *buf, size_t len)
{
	(void)ctx;
	(void)buf;
	return rnd() % (len + 1);
}

static void test_hostile(void **st)
{
	static const uint16_t ports[] = {0x20,	0x21,  0xa0,  0xa1,  0x4d0, 0x40,  0x41,  0x42,
					 0x43,	0x60,  0x61,  0x64,  0x70,  0x71,  0x72,  0x73,
					 0x92,	0xf4,  0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd,
					 0x3fe, 0x600, 0x602, 0x604, 0x608, 0x620, 0x628, 0x630,
					 0xcf8, 0xcf9, 0xcfc, 0xcfe};
	struct board_env *b = board_env_new(3);
	struct uart_config uc = {"com1", LAYOUT_PORT_COM1, LAYOUT_IRQ_COM1, {NULL, tx_some, NULL}};
	struct rtc_config rc = {.n_cpus = 3};
	struct pm_config pc = {.timer_32bit = true};
	struct device *dev[6];
	struct pci_root *r;
	struct gadget g[3];
	char text[16384];
	uint64_t v;

	(void)st;
	b->wall_offset = INT64_C(1700000000000000000);
	assert_int_equal(pit_create(&dev[0], &b->env, NULL), 0);
	assert_int_equal(rtc_create(&dev[1], &b->env, &rc, NULL), 0);
	assert_int_equal(uart_create(&dev[2], &b->env, &uc, NULL), 0);
	assert_int_equal(i8042_create(&dev[3], &b->env, NULL), 0);
	assert_int_equal(pm_create(&dev[4], &b->env, &pc, NULL), 0);
	assert_int_equal(debug_exit_create(&dev[5], &b->env, NULL), 0);
	r = root_new(b, dev[4]);
	for (unsigned i = 0; i < 3; i++) {
		gadget_init(&g[i], b);
		assert_int_equal(pci_root_add(r, &g[i].pci, -1, NULL), 0);
	}
	for (unsigned n = 0; n < 400000; n++) {
		unsigned size = 1u << (rnd() % 4), cpu = rnd() % 3;
		uint16_t port = ports[rnd() % ARRAY_SIZE(ports)];
		uint64_t gpa = 0;

		if (rnd() % 8 == 0)
			port = (uint16_t)rnd();
		v = rnd() >> (rnd() % 64);
		if (rnd() % 16 == 0)
			v = UINT64_MAX;
		switch (rnd() % 8) {
		case 0: gpa = LAYOUT_ECAM + (rnd() % 4) * 0x8000 + rnd() % 0x100; break;
		case 1: gpa = LAYOUT_ECAM + (rnd() % 0x100000); break;
		case 2:
			gpa = LAYOUT_IOAPIC + (rnd() & 1) * 0x10 + (rnd() % 8 ? 0 : rnd() % 0x60);
			break;
		case 3: gpa = g[rnd() % 3].pci.bar[2].range.base + rnd() % 0x4000; break;
		case 4:
			gpa = LAYOUT_LAPIC + (rnd() % 0x41) * 16 + (rnd() % 8 ? 0 : rnd() % 16);
			if (!lapic_mmio_hit(b->lapics, cpu, gpa))
				break;
			if (rnd() & 1)
				lapic_mmio_write(b->lapics, cpu, gpa, v, size);
			else
				lapic_mmio_read(b->lapics, cpu, gpa, size);
			break;
		}
		if (gpa && rnd() & 1)
			bus_write(&b->mmio, gpa, v, size);
		else if (gpa)
			bus_read(&b->mmio, gpa, size);
		else if (rnd() & 1)
			bus_write(&b->ports, port, v, MIN(size, 4u));
		else
			bus_read(&b->ports, port, MIN(size, 4u));
		switch (rnd() % 32) {
		case 0: board_advance(b, rnd() % (MS / 4)); break;
		case 1:
			lapic_msr_write(b->lapics, cpu,
					rnd() % 4 ? 0x800 + (uint32_t)(rnd() % 0x40) : 0x1b,
					rnd() % 4 ? v : 0xfee00800 | (rnd() & 0x400));
			lapic_msr_read(b->lapics, cpu, 0x800 + (uint32_t)(rnd() % 0x100), &v);
			break;
		case 2: lapic_msr_write(b->lapics, cpu, 0x6e0, v); break;
		case 3:
			uart_rx_push(dev[2], (const uint8_t *)&v, rnd() % 8);
			uart_tx_ready(dev[2]);
			break;
		case 4:
			pci_msix_notify(&g[rnd() % 3].pci, (unsigned)(rnd() % 80));
			pci_intx(&g[rnd() % 3].pci, rnd() & 1);
			break;
		case 5:
			if (lapic_irq_pending(b->lapics, cpu))
				lapic_irq_ack(b->lapics, cpu);
			lapic_cr8_write(b->lapics, cpu, (unsigned)rnd());
			break;
		case 6:
			pm_power_button(dev[4]);
			pm_gpe(dev[4], (unsigned)(rnd() % 70));
			break;
		}
		if (n % 50000 == 49999) {
			for (unsigned i = 0; i < 6; i++) {
				assert_true(device_dump(dev[i], text, sizeof(text)) > 0);
				device_pause(dev[i]);
				device_resume(dev[i]);
				device_reset(dev[i]);
			}
			assert_true(irq_dump(b->irq, text, sizeof(text)) > 0);
			assert_true(lapic_dump(b->lapics, cpu, text, sizeof(text)) > 0);
			assert_true(bus_dump(&b->mmio, text, 10) > 10);
			assert_true(pci_root_dump(r, text, sizeof(text)) > 0);
			pci_root_reset(r);
			irq_router_reset(b->irq);
			lapic_reset(b->lapics);
		}
	}
	for (unsigned i = 0; i < 3; i++)
		pci_fini(&g[i].pci);
	pci_root_destroy(r);
	for (unsigned i = 0; i < 6; i++)
		device_destroy(dev[i]);
	board_env_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config_access), cmocka_unit_test(test_bars),
		cmocka_unit_test(test_intx),	      cmocka_unit_test(test_no_lpc),
		cmocka_unit_test(test_msix),	      cmocka_unit_test(test_bridges),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests_name("board/pci", tests, NULL, NULL);
}
