/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doorbell.h - doorbells of devices (board/device.h) that the engine rings without leaving the guest for long.
 */
#ifndef LODGE_VM_DOORBELL_H
#define LODGE_VM_DOORBELL_H

#include "board/device.h"
#include "engine/engine.h"
#include "util/loop.h"

struct doorbell_set;

/* Fills in the three fields of env; NULL and no field, if this engine has no doorbells. Loop thread. */
int doorbell_set_create(struct doorbell_set **out, const struct engine_class *cls,
			struct engine *en, struct loop *l, struct dev_env *env, struct err *e);
/* No vCPU runs, every doorbell was removed. Accepts NULL. Loop thread. */
void doorbell_set_destroy(struct doorbell_set *s);

#endif
