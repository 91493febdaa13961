/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotplug.h - PCI slots whose card can come and go while the guest runs (ACPI 6.5 §5.6.6, §6.3). VM lock held.
 *
 * The tables (acpi.c) have a device with _EJ0 for each of these slots, and a handler of GPE 1 that reads which slots have news:
 * of a new card the guest is notified by "device check", of one that is to go by "ejection request". When the guest has let go of
 * the card, _EJ0 writes its slot to the eject register.
 *
 * Ports at LAYOUT_PORT_HOTPLUG, 32 bits each, a bit a slot:
 *   +0  came    written ones are cleared
 *   +4  to go   likewise
 *   +8  eject   write only; counts for slots that are to go
 */
#ifndef LODGE_BOARD_HOTPLUG_H
#define LODGE_BOARD_HOTPLUG_H

#include "board/device.h"

#define HOTPLUG_GPE 1u
#define HOTPLUG_SIZE 12u

struct hotplug_config {
	struct device *pm; /* has the GPE */
	/* The guest has let go of the card in this slot. */
	void (*eject)(void *ctx, unsigned slot);
	void *ctx;
};

int hotplug_create(struct device **out, const struct dev_env *env, const struct hotplug_config *cfg,
		   struct err *e);
/* Which slots the tables name; before they are built. Bit 0 is no slot. */
void hotplug_set_slots(struct device *d, uint32_t slots);
uint32_t hotplug_slots(const struct device *d);
/* There is a card in the slot now, or it is to go. */
void hotplug_came(struct device *d, unsigned slot);
void hotplug_ask(struct device *d, unsigned slot);
/* Slots that were asked for and are not ejected yet. */
uint32_t hotplug_leaving(const struct device *d);

#endif
