/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.h - PCI Express root complex with one bus of functions, and what a function is made of.
 *
 * Configuration space is an array with a write mask; registers with behaviour are the header's command and
 * BARs, the MSI-X capability, and what a device's config_written() does. BARs appear on and vanish from the buses as
 * the guest programs them; one that would overlap something is held back until its place is free.
 *
 * Threads: VM lock held, but pci_msix_notify(), which may be called from any thread.
 * Sources: PCI 3.0, PCI Express 5.0 §7, Q35 (MCH) and ICH9 data sheets.
 */
#ifndef LODGE_BOARD_PCI_H
#define LODGE_BOARD_PCI_H

#include <pthread.h>

#include "board/bus.h"
#include "board/device.h"
#include "board/irq.h"

#define PCI_CONFIG_SIZE 4096u
#define PCI_BARS 6u
#define PCI_DEVFN(slot, fn) ((uint8_t)(((slot) << 3) | (fn)))
#define PCI_SLOT(devfn) ((devfn) >> 3)
#define PCI_FN(devfn) ((devfn)&7)
#define PCI_SLOT_LPC 31u
#define PCI_MSIX_MAX 2048u

/* Configuration header, type 0. */
#define PCI_VENDOR_ID 0x00u
#define PCI_DEVICE_ID 0x02u
#define PCI_COMMAND 0x04u
#define PCI_STATUS 0x06u
#define PCI_REVISION 0x08u
#define PCI_CLASS_PROG 0x09u
#define PCI_HEADER_TYPE 0x0eu
#define PCI_BAR0 0x10u
#define PCI_SUBSYSTEM_VENDOR_ID 0x2cu
#define PCI_SUBSYSTEM_ID 0x2eu
#define PCI_ROM_BAR 0x30u
#define PCI_CAPABILITIES 0x34u
#define PCI_INTERRUPT_LINE 0x3cu
#define PCI_INTERRUPT_PIN 0x3du

#define PCI_COMMAND_IO 0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_COMMAND_SERR 0x0100u
#define PCI_COMMAND_PARITY 0x0040u
#define PCI_COMMAND_INTX_OFF 0x0400u
#define PCI_STATUS_INTX 0x0008u
#define PCI_STATUS_CAPS 0x0010u

#define PCI_CAP_VENDOR 0x09u
#define PCI_CAP_EXPRESS 0x10u
#define PCI_CAP_MSIX 0x11u

enum pci_bar_type { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };
#define PCI_BAR_PREFETCH 0x100u /* or'ed to the type */

struct pci_device;
struct pci_root;

struct pci_bar {
	enum pci_bar_type type;
	uint64_t size;		   /* power of two */
	const struct bus_ops *ops; /* the device's; offset from the BAR's start */
	void *ctx;
	struct pci_device *dev;
	struct bus_ops wrap;	/* ours: MSI-X structures first, then `ops` */
	struct bus_range range; /* on the bus while `mapped` */
	bool mapped;
	bool wanted; /* the guest enabled it, at `addr` */
	uint64_t addr;
};

struct pci_msix_entry {
	uint64_t addr;
	uint32_t data;
	uint32_t control; /* bit 0: masked */
};

struct pci_msix {
	pthread_mutex_t lock; /* all below, and the enable and mask bits */
	unsigned n;	      /* vectors; 0: no MSI-X */
	unsigned bar;
	uint32_t table, pba;  /* offsets in the BAR */
	uint16_t cap;	      /* offset in configuration space */
	bool enabled, masked; /* message control, kept beside the configuration space */
	struct pci_msix_entry *entry;
	uint64_t *pending; /* one bit a vector */
};

/* A function. Embedded by the device that it is, after pci_init(). */
struct pci_device {
	struct device dev;
	const struct dev_env *env;
	struct pci_root *root; /* NULL while not on the bus */
	uint8_t devfn;
	uint16_t cfg_end; /* where its configuration space ends: 256, and 4096 with a PCI Express capability */
	uint8_t cfg[PCI_CONFIG_SIZE];
	uint8_t initial[PCI_CONFIG_SIZE]; /* cfg after a reset; taken by pci_root_add() */
	uint8_t wmask[PCI_CONFIG_SIZE];	  /* 1: the guest can write the bit */
	uint8_t w1c[PCI_CONFIG_SIZE];	  /* 1: writing 1 clears the bit */
	uint16_t cap_next;		  /* free space for capabilities */
	uint16_t cap_last;		  /* to be linked to the next */
	struct pci_bar bar[PCI_BARS];
	struct pci_msix msix;
	bool intx;     /* what the device drives, before the command register's mask */
	bool intx_out; /* what the root sees */

	/* The device's own, all optional. `off`+`size` lie inside configuration space, size 1, 2 or 4. */
	void (*config_read)(struct pci_device *d, unsigned off,
			    unsigned size); /* before: may refresh cfg[] */
	void (*config_written)(struct pci_device *d, unsigned off, unsigned size); /* after */
	void (*bar_changed)(struct pci_device *d);  /* a BAR came to or left a place */
	void (*msix_changed)(struct pci_device *d); /* enabled or function mask changed */
};

/* ---- for devices ---- */

/* `class_code`: base class, sub-class, programming interface, 24 bits. Zeroes the struct. */
void pci_init(struct pci_device *d, const struct dev_class *class, const char *id,
	      const struct dev_env *env, uint16_t vendor, uint16_t device, uint32_t class_code,
	      uint8_t revision);
/* Off the bus, unmapped, MSI-X freed. Accepts a zeroed struct. */
void pci_fini(struct pci_device *d);
/* Configuration space as at first, BARs unmapped, MSI-X off; for the device's reset(). */
void pci_reset(struct pci_device *d);

void pci_set8(struct pci_device *d, unsigned off, uint8_t v);
void pci_set16(struct pci_device *d, unsigned off, uint16_t v);
void pci_set32(struct pci_device *d, unsigned off, uint32_t v);
uint16_t pci_get16(const struct pci_device *d, unsigned off);
uint32_t pci_get32(const struct pci_device *d, unsigned off);
void pci_wmask16(struct pci_device *d, unsigned off, uint16_t mask);
void pci_wmask32(struct pci_device *d, unsigned off, uint32_t mask);

/* BAR `n` (MEM64 takes n and n+1). Size: a power of two, >= 16 (memory), >= 4 (I/O). Before pci_root_add(). */
int pci_bar_add(struct pci_device *d, unsigned n, unsigned type, uint64_t size,
		const struct bus_ops *ops, void *ctx, struct err *e);
/* Room for a capability of `size` bytes, linked in; returns its offset, or -ENOSPC. Bytes 0 and 1 are filled. */
int pci_cap_add(struct pci_device *d, uint8_t id, unsigned size, struct err *e);
/* MSI-X with n vectors; table and PBA at these offsets of a memory BAR that was added before; they take precedence over
 * the BAR's own ops. */
int pci_msix_init(struct pci_device *d, unsigned n, unsigned bar, uint32_t table, uint32_t pba,
		  struct err *e);
bool pci_msix_enabled(const struct pci_device *d);
/* Raises vector n: sent, or pending while masked. Nothing when MSI-X is off (use pci_intx()). Any thread. */
void pci_msix_notify(struct pci_device *d, unsigned n);
/* INTx level; needs pci_set8(d, PCI_INTERRUPT_PIN, 1..4). */
void pci_intx(struct pci_device *d, bool level);
bool pci_bus_master(const struct pci_device *d);

/*
 * Saved state of what a function is made of, for its device's state() and loaded(): section "pci:ID". Of configuration space
 * only what the guest can write travels, so identity, capabilities and BAR sizes are the machine's. Loading maps BARs and drives
 * INTx again; a MSI-X vector that is pending and unmasked is sent by pci_device_loaded().
 */
int pci_device_state(struct pci_device *d, struct state *s);
int pci_device_loaded(struct pci_device *d, struct err *e);

/* Tries again to map BARs that were held back. */
void pci_bars_retry(struct pci_device *d);
/* For pci.c and pci_msix.c: what an access to a BAR with MSI-X structures does first. False: not one of them. */
bool pci_msix_read(struct pci_device *d, unsigned bar, uint64_t off, unsigned size, uint64_t *value);
bool pci_msix_write(struct pci_device *d, unsigned bar, uint64_t off, unsigned size, uint64_t value);
void pci_msix_control(struct pci_device *d); /* message control was written */
void pci_msix_reset(struct pci_device *d);
void pci_msix_state(struct pci_device *d, struct state *s); /* in the function's section */
void pci_msix_loaded(struct pci_device *d);
void pci_msix_fini(struct pci_device *d);
/* For pci.c: the INTx output of a function changed; a BAR gave up its place. */
void pci_root_intx(struct pci_root *r, const struct pci_device *d, bool level);
void pci_root_retry_bars(struct pci_root *r);

/* ---- configuration accesses; `off` < 4096, any size and alignment ---- */

uint32_t pci_config_read(struct pci_device *d, unsigned off, unsigned size);
void pci_config_write(struct pci_device *d, unsigned off, uint32_t value, unsigned size);

/* ---- the root complex ---- */

struct pci_root_config {
	struct device *pm; /* follows PMBASE; may be NULL */
	bool no_lpc; /* without the LPC bridge: what it would set up stays as a reset leaves it */
};

/*
 * The root with its built-in functions: host bridge 00:00.0 (8086:29c0) and, unless no_lpc, LPC bridge 00:1f.0 (8086:2918). The state
 * at reset is what firmware would set up: ECAM on at LAYOUT_ECAM (PCIEXBAR), PMBASE at LAYOUT_PORT_PM and ACPI on, so that
 * direct boot needs none. Port 0xcf9 (reset control) is here too.
 */
int pci_root_create(struct pci_root **out, const struct dev_env *env,
		    const struct pci_root_config *cfg, struct err *e);
/* All functions but the built-in ones must be off the bus. */
void pci_root_destroy(struct pci_root *r);
/* Root registers, bridges and all functions' device reset. */
void pci_root_reset(struct pci_root *r);
/*
 * Puts a function on bus 0. devfn < 0: the first free slot from 1 to 30; 31 is the LPC bridge's, there or not. -EBUSY, -ENOSPC. Does
 * not take ownership.
 */
int pci_root_add(struct pci_root *r, struct pci_device *d, int devfn, struct err *e);
void pci_root_remove(struct pci_root *r, struct pci_device *d);
struct pci_device *pci_root_get(struct pci_root *r, uint8_t devfn);
/* Registers of the root, and the state() and loaded() of every function on it. */
int pci_root_state(struct pci_root *r, struct state *s);
int pci_root_loaded(struct pci_root *r, struct err *e);
int pci_root_dump(struct pci_root *r, char *buf, size_t size);

/* INTx wiring, for _PRT as well: pin 0..3 (INTA..INTD) of a slot -> PIRQ 0..7 -> GSI 16..23. */
static inline unsigned pci_pirq(unsigned slot, unsigned pin)
{
	return (slot + pin) % IRQ_PIRQS;
}

static inline unsigned pci_gsi(unsigned slot, unsigned pin)
{
	return IRQ_PIRQ_FIRST + pci_pirq(slot, pin);
}

#endif
