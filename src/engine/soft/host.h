/* SPDX-License-Identifier: Apache-2.0 */
/* host.h - calls to the host beside those in soft.h. */
#ifndef LODGE_ENGINE_SOFT_HOST_H
#define LODGE_ENGINE_SOFT_HOST_H

#include "engine/soft/soft.h"

/* The host's time of day. */
void host_wall_clock(struct soft_vcpu *v, uint64_t *sec, uint32_t *nsec);
/* Makes a vCPU that sleeps in HLT look at what it was asked (engine_host.wake). */
void host_wake(struct soft_vcpu *v, unsigned vcpu);
/* Gives the host CPU to another thread that wants it; sleeps for so long unless something is asked of the vCPU now. */
void host_yield(struct soft_vcpu *v);
void host_nap(struct soft_vcpu *v, uint32_t ns);

#endif
