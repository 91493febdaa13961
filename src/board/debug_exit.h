/* SPDX-License-Identifier: Apache-2.0 */
/* debug_exit.h - port 0xf4 (4 bytes) for test guests: what is written becomes DEV_REQ_DEBUG_EXIT. VM lock held. */
#ifndef LODGE_BOARD_DEBUG_EXIT_H
#define LODGE_BOARD_DEBUG_EXIT_H

#include "board/device.h"

int debug_exit_create(struct device **out, const struct dev_env *env, struct err *e);

#endif
