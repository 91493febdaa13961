/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_emit.h - the translator's working state for one block, shared by translate.c (passes, entries, edges)
 * and tr_emit.c (single instructions). Lives in soft_cache, used under its lock.
 */
#ifndef LODGE_ENGINE_SOFT_TR_EMIT_H
#define LODGE_ENGINE_SOFT_TR_EMIT_H

#include "engine/soft/translate.h"

static inline uint64_t tr_va(const struct tr *t, uint64_t va)
{
	return t->mode == X86_MODE_32 ? (uint32_t)va : va;
}

/* Privileged or serialising instructions that are nevertheless done inside a block. */
bool tr_inline_system(const struct tr *t, const struct x86_insn *in);

/* Emits instruction t->i; sets t->ended when it emitted the end of the block. */
void tr_emit_one(struct tr *t, const struct x86_insn *in);

/* Goes on at guest address `target`, whose code reads `live` flags: a chained jump, or a jump cache look-up where
 * chaining is not safe. jcc: a rel32 of a conditional jump that takes this edge; NULL: fall into it here. */
void tr_emit_edge(struct tr *t, uint64_t target, unsigned live, uint8_t *jcc);

/* Cold code, emitted behind the block's body. */
void tr_cold_exit(struct tr *t, uint8_t *from, uint64_t va, unsigned loc);
void tr_emit_cold(struct tr *t);

#endif
