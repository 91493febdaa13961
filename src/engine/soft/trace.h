/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - to see what the translator makes: names of blocks for `perf`, and the code of chosen blocks in the log.
 */
#ifndef LODGE_ENGINE_SOFT_TRACE_H
#define LODGE_ENGINE_SOFT_TRACE_H

#include "engine/soft/translate.h"

/* After a block was made, lock held: its line in the perf map, its code in the log if it is asked for. */
void soft_trace_block(struct soft_vcpu *v, const struct soft_block *b, const struct tr *t);
/* The stubs' line in the perf map. */
void soft_trace_stubs(const struct soft *so);

#endif
