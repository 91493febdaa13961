/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - calls to the host beside those in soft.h. */
#ifndef LODGE_ENGINE_SOFT_HOST_H
#define LODGE_ENGINE_SOFT_HOST_H

#include "engine/soft/soft.h"

/* The host's time of day. */
void host_wall_clock(struct soft_vcpu *v, uint64_t *sec, uint32_t *nsec);

#endif
