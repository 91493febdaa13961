/* SPDX-License-Identifier: Apache-2.0 */
/* lockstep.h - both ways of the engine on the same guest, compared after every block (lockstep.c). */
#ifndef LODGE_ENGINE_SOFT_LOCKSTEP_H
#define LODGE_ENGINE_SOFT_LOCKSTEP_H

#include "engine/soft/soft.h"

/* Runs one block both ways. False: they differ; `why` says where and how (the state is the reference's). */
bool soft_lockstep_run(struct soft_vcpu *v, char *why, size_t size);

/* The MMU found host page `page` (4096 bytes) for a store of the reference way, while v->lockstep is set. */
void soft_lockstep_touch(struct soft_vcpu *v, uint8_t *page);
/* The MMU set an accessed or dirty bit meanwhile. */
void soft_lockstep_marked(struct soft_vcpu *v);

#endif
