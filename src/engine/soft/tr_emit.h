/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_emit.h - what translate.c (passes, entries) and the emitters, tr_*.c, give one another. Their working state for
 * one block, struct tr, lives in soft_cache and is used under its lock.
 */
#ifndef LODGE_ENGINE_SOFT_TR_EMIT_H
#define LODGE_ENGINE_SOFT_TR_EMIT_H

#include "engine/soft/translate.h"

static inline uint64_t tr_va(const struct tr *t, uint64_t va)
{
	return t->mode == X86_MODE_32 ? (uint32_t)va : va;
}

/* Lock-step counts instructions as they are run (lockstep.c). */
static inline bool tr_counts(const struct tr *t)
{
	return t->so->cfg.soft_mode == SOFT_MODE_LOCKSTEP;
}

/* n more (or less) are run. Clobbers S1, and no flags. */
void tr_count(struct tr *t, int n);

/* Privileged or serialising instructions that are nevertheless done inside a block. */
bool tr_inline_system(const struct tr *t, const struct x86_insn *in);

/* Emits one for which that is true. */
void tr_emit_system(struct tr *t, const struct x86_insn *in);

/* ---- for the emitters of single instructions ---- */

/* From here on host code is that of instruction t->i. */
void tr_site(struct tr *t);
struct tr_cold *tr_cold(struct tr *t, enum tr_cold_kind kind, uint8_t *from);
/* Status flags: before code that clobbers EFLAGS; before an instruction that reads them or changes a part of them. */
void tr_flags_to_slot(struct tr *t);
void tr_flags_clobber(struct tr *t);
void tr_flags_to_native(struct tr *t);
/* The host register that holds guest register g; a homed one is loaded into `scratch`. */
unsigned tr_gpr(struct tr *t, unsigned g, unsigned scratch);
/* Effective address (with_segment: linear, FS or GS base added) into dst: S0, or a guest's register. */
void tr_address(struct tr *t, const struct x86_insn *in, unsigned dst, bool with_segment);
/* The low half of S0 from bit n on into S1, whose upper bits are of no use: RORX (BMI2), where the host has it. */
void tr_s0_shifted(struct tr *t, unsigned n);
/* S0: guest address in, host address out. Clobbers S1 and EFLAGS. `retry`: where the address is computed. */
struct tr_cold *tr_tlb_check(struct tr *t, const struct x86_insn *in, bool write, unsigned size,
			     uint8_t *retry);
/* Cold code of a WINDOW entry. */
void tr_tlb_cold(struct tr *t, const struct tr_cold *c);
/* S0: host address of the memory operand. */
struct tr_cold *tr_memory_operand(struct tr *t, const struct x86_insn *in, bool write,
				  unsigned size);
/* ---- tr_mem.c, tr_group.c ---- */

/* What an operand is relative to. */
struct tr_place tr_place_of(const struct tr *t, const struct x86_insn *in);
struct tr_place tr_stack_place(const struct tr *t, unsigned base, int32_t disp);
/* Sets likely_va, by what registers hold as the block is translated. */
void tr_guess(struct tr *t, const struct x86_insn *in, const struct tr_place *p);
/* Finds the groups of the decoded block. */
void tr_find_groups(struct tr *t);
/* Emits the access and, with its operand at hand, `body`. NULL: it was checked with its group; else the cold entry. */
struct tr_cold *tr_access(struct tr *t, const struct x86_insn *in, const struct tr_place *p,
			  bool write, unsigned size, tr_body *body);
struct tr_cold *tr_operand(struct tr *t, const struct x86_insn *in, tr_body *body);
/* At [base + disp], as wide as a stack slot. */
struct tr_cold *tr_stack_access(struct tr *t, const struct x86_insn *in, unsigned base,
				int32_t disp, bool write, tr_body *body);
/* Operands of groups begun are still to come: nothing may come back here from C. */
bool tr_in_open_group(const struct tr *t);
/* May the instruction run by C, or move strings, and then go on behind it? */
bool tr_may_leave(const struct tr *t, const struct x86_insn *in);

/* The instruction is complete: where the slow path goes on. */
void tr_done(struct tr *t, struct tr_cold *c);
/* S0: host address of the new top of stack; and the change of RSP afterwards. */
struct tr_cold *tr_push_slot(struct tr *t, const struct x86_insn *in);
void tr_move_rsp(struct tr *t, int32_t by);

/* The instruction runs by soft_step(). */
void tr_by_c(struct tr *t, const struct x86_insn *in);
/* tr_vex.c: a VEX-encoded one as itself. */
void tr_vex(struct tr *t, const struct x86_insn *in);
bool tr_vex_by_c(const struct x86_insn *in);

/* Emits instruction t->i; sets t->ended when it emitted the end of the block. */
void tr_emit_one(struct tr *t, const struct x86_insn *in);

/* A record for the instruction with its decoded form, to be run by soft_step_decoded(). next: where the code goes on,
 * NULL: behind the record. */
void tr_step_record(struct tr *t, const struct x86_insn *in, unsigned flags, const uint8_t *next);
/* Goes on at the guest address in S0, by the jump cache. */
void tr_look_up(struct tr *t, unsigned flags, int rsp_undo);
/* Goes on at guest address `target`, whose code reads `live` flags: a chained jump, or a jump cache look-up where
 * chaining is not safe. jcc: a rel32 of a conditional jump that takes this edge; NULL: fall into it here. */
void tr_emit_edge(struct tr *t, uint64_t target, unsigned live, uint8_t *jcc);

/* Cold code, emitted behind the block's body. */
void tr_cold_exit(struct tr *t, uint8_t *from, uint64_t va, unsigned loc);
void tr_emit_cold(struct tr *t);

#endif
