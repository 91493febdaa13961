/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvpanic.h - the port by which a guest's kernel says that it has panicked: ACPI device QEMU0001, one byte at
 * LAYOUT_PORT_PVPANIC. A read tells which events are known, a write reports one: bit 0, it has panicked; bit 1, it has, and a
 * crash kernel takes over, which is the guest's own affair. VM lock held.
 */
#ifndef LODGE_BOARD_PVPANIC_H
#define LODGE_BOARD_PVPANIC_H

#include "board/device.h"

int pvpanic_create(struct device **out, const struct dev_env *env, struct err *e);

#endif
