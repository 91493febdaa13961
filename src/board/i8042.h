/* SPDX-License-Identifier: Apache-2.0 */
/*
 * i8042.h - the keyboard controller, as far as systems use it without a keyboard: self-test, reset pulse,
 * A20 gate (kept, without effect), and port 0x92. VM lock held.
 */
#ifndef LODGE_BOARD_I8042_H
#define LODGE_BOARD_I8042_H

#include "board/device.h"

int i8042_create(struct device **out, const struct dev_env *env, struct err *e);

#endif
