/* SPDX-License-Identifier: Apache-2.0 */
/* pci_root.h - inside of the root complex, for pci_root.c and pci_q35.c only. VM lock held. */
#ifndef LODGE_BOARD_PCI_ROOT_H
#define LODGE_BOARD_PCI_ROOT_H

#include "board/pci.h"

struct pci_root {
	const struct dev_env *env;
	struct pci_root_config cfg;
	struct bus_range ports, ecam;
	bool ecam_mapped;
	uint32_t cf8;
	uint8_t cf9;
	struct pci_device *fn[256];	/* by devfn */
	unsigned pirq_users[IRQ_PIRQS]; /* functions that hold the line up */
	struct pci_device mch;
	struct pci_device *lpc; /* NULL: pci_root_config.no_lpc */
};

/* Puts ECAM at base; size 0: nowhere. */
void pci_root_ecam(struct pci_root *r, uint64_t base, uint64_t size);
/* The built-in functions, in their state at reset. */
int pci_q35_create(struct pci_root *r, struct err *e);

#endif
