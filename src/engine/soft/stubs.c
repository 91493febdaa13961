/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs.c - the ways between translated code and C: a few pieces of host code at the start of code memory.
 *
 * Translated code leaves by `call stub`, with a record behind the call that the stub pops as an address. The
 * stub saves the guest registers into s.gpr and either calls C and goes on where C says (miss, step), or
 * returns from `enter` (link, exit_pc, ind, fault). The host stack pointer never moves inside a block, so a
 * stub that has popped its record is back at the alignment that C expects.
 */
#include "engine/soft/translate.h"

static const uint8_t direct_regs[] = {X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RBP, X86_RSI,
				      X86_RDI, X86_R8,	X86_R9,	 X86_R12, X86_R13, X86_R14};

static void save_regs(struct emit *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(direct_regs); i++)
		emit_store_gs(e, true, direct_regs[i], GS_GPR(direct_regs[i]));
	emit_store_gs(e, true, HR_GUEST_RSP, GS_GPR(X86_RSP));
}

static void load_regs(struct emit *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(direct_regs); i++)
		emit_load_gs(e, true, direct_regs[i], GS_GPR(direct_regs[i]));
	emit_load_gs(e, true, HR_GUEST_RSP, GS_GPR(X86_RSP));
}

static void call_c(struct emit *e, uintptr_t fn)
{
	emit_load_gs(e, true, HR_RDI, GS(tr.self));
	emit_mov_imm(e, HR_RAX, fn);
	emit8(e, 0xff); /* call rax */
	emit8(e, 0xd0);
}

static uint8_t *start(struct emit *e)
{
	while (((uintptr_t)e->p & 15) && !e->full)
		emit8(e, 0xcc);
	return emit_here(e);
}

static void pop_rec(struct emit *e)
{
	emit8(e, 0x41); /* pop r11 */
	emit8(e, 0x5b);
	emit_store_gs(e, true, S1, GS(tr.rec));
}

static void set_exit(struct emit *e, unsigned why)
{
	emit8(e, 0x65); /* mov dword gs:[exit], why */
	emit8(e, 0xc7);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, GS(tr.exit));
	emit32(e, why);
}

/* Goes on at rax, or leaves when it is 0. */
static void go_on(struct emit *e, const struct soft_stubs *st)
{
	emit_rr(e, true, 0x85, HR_RAX, HR_RAX); /* test rax, rax */
	emit8(e, 0x0f);
	emit8(e, 0x80 | CC_E);
	emit32(e, (uint32_t)(st->leave - (emit_here(e) + 4)));
	emit_jmp(e, st->resume);
}

/* An indirect jump to S0 that missed the jump cache: the second array, else out. */
static uint8_t *ind_stub(struct emit *e, struct soft_stubs *st, unsigned a)
{
	uint8_t *at = start(e), *miss;
	uint32_t part = (uint32_t)(a * SOFT_JC_SIZE * sizeof(uint64_t));

	pop_rec(e);
	st->ind_popped[a] = emit_here(e);
	emit_store_gs(e, true, S0, GS(tr.va));
	emit_mov_rr(e, false, S1, S0); /* soft_jc_index2() */
	emit_rex(e, false, 0, 0, S1);
	emit8(e, 0xc1);
	emit8(e, 0xe8 | (S1 & 7));
	emit8(e, 4);
	emit_rex(e, false, 0, 0, S0);
	emit8(e, 0xc1);
	emit8(e, 0xe8 | (S0 & 7));
	emit8(e, 15);
	emit_rr(e, false, 0x31, S0, S1);
	emit_alu_imm(e, false, 4, S1, SOFT_JC_SIZE - 1);
	emit_load_gs(e, true, S0, GS(tr.va));
	emit8(e, 0x65); /* cmp S0, gs:[S1 * 8 + tags] */
	emit_rm(e, true, 0x3b, S0, HR_NONE, S1, 3, (int32_t)(GS(tr.jc2_tag) + part));
	miss = emit_jcc32(e, CC_NE);
	emit8(e, 0x65); /* jmp gs:[S1 * 8 + codes] */
	emit_rm(e, false, 0xff, 4, HR_NONE, S1, 3, (int32_t)(GS(tr.jc2_code) + part));
	emit_patch32(e, miss, e->p);
	save_regs(e);
	set_exit(e, TR_EXIT_IND);
	emit_jmp(e, st->leave);
	return at;
}

static uint8_t *exit_stub(struct emit *e, const struct soft_stubs *st, unsigned why, bool rec)
{
	uint8_t *at = start(e);

	if (rec)
		pop_rec(e);
	save_regs(e);
	set_exit(e, why);
	emit_jmp(e, st->leave);
	return at;
}

void soft_stubs_emit(struct soft *so, struct emit *e)
{
	struct soft_stubs *st = &so->cache->stub;
	static const uint8_t callee_saved[] = {HR_RBX, HR_RBP, HR_R12, HR_R13, HR_R14, HR_R15};

	/* void enter(struct soft_vcpu *v, const void *code) */
	st->enter = start(e);
	for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++) {
		emit_rex(e, false, 0, 0, callee_saved[i]);
		emit8(e, 0x50 | (callee_saved[i] & 7)); /* push */
	}
	emit_alu_imm(e, true, 5, HR_RSP, 8);
	emit_mov_rr(e, true, S0, HR_RSI);
	load_regs(e);
	emit8(e, 0x41); /* jmp r10 */
	emit8(e, 0xff);
	emit8(e, 0xe2);

	st->leave = start(e);
	emit_alu_imm(e, true, 0, HR_RSP, 8);
	for (unsigned i = ARRAY_SIZE(callee_saved); i-- > 0;) {
		emit_rex(e, false, 0, 0, callee_saved[i]);
		emit8(e, 0x58 | (callee_saved[i] & 7)); /* pop */
	}
	emit8(e, 0xc3);

	/* rax: where to go on. Flags become valid in both places. */
	st->resume = start(e);
	emit_store_gs(e, true, HR_RAX, GS(tr.resume));
	soft_emit_flags_restore(e);
	load_regs(e);
	emit8(e, 0x65); /* jmp gs:[resume] */
	emit8(e, 0xff);
	emit8(e, 0x24);
	emit8(e, 0x25);
	emit32(e, GS(tr.resume));

	for (unsigned mmu = 0; mmu < SOFT_MMUS; mmu++) {
		for (unsigned write = 0; write < 2; write++) {
			st->miss[mmu][write] = start(e);
			/* S0 is va - tag: make it va again. */
			emit_gs_base(e, true, 0x03, S0, S1,
				     write ? GS_TLB(mmu, tag_w) : GS_TLB(mmu, tag_r));
			emit_store_gs(e, true, S0, GS(tr.va));
			pop_rec(e);
			save_regs(e);
			emit_mov_imm(e, HR_RSI, write);
			call_c(e, (uintptr_t)soft_tr_miss);
			go_on(e, st);
		}
	}

	st->step = start(e);
	pop_rec(e);
	st->step_popped = emit_here(e);
	save_regs(e);
	call_c(e, (uintptr_t)soft_tr_step);
	go_on(e, st);

	soft_stubs_emit_string(so, e);
	st->link = exit_stub(e, st, TR_EXIT_LINK, true);
	st->exit_pc = exit_stub(e, st, TR_EXIT_PC, true);
	for (unsigned a = 0; a < SOFT_JCS; a++)
		st->ind[a] = ind_stub(e, st, a);
	soft_stubs_emit_flow(st, e);
	st->fault = exit_stub(e, st, TR_EXIT_FAULT, false);
	st->native_done = exit_stub(e, st, TR_EXIT_NATIVE, false);
}
