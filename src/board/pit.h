/* SPDX-License-Identifier: Apache-2.0 */
/* pit.h - the 8254 interval timer and the speaker port 0x61. VM lock held. */
#ifndef LODGE_BOARD_PIT_H
#define LODGE_BOARD_PIT_H

#include "board/device.h"

#define PIT_HZ 1193182u

int pit_create(struct device **out, const struct dev_env *env, struct err *e);

#endif
