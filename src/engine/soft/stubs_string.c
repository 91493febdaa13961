/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs_string.c - MOVS and STOS inside one page a side, done by the host's own string instruction.
 *
 * Theory of operation. Most string instructions move a few bytes to a page, upwards, between pages that the TLB
 * knows. Then the whole instruction runs as itself on host addresses, and the guest's pointers move by as much.
 * Source and destination keep their distance when they overlap, because both addresses of a page go to the
 * same host page. Everything else (DF set, page crossing, TLB miss, device memory) goes by C, which works page by page.
 *
 * With several vCPUs the store may fault on the host, because another vCPU has found code in the page (smc.c). The
 * signal handler then goes on at `fault`: what has been moved so far is done, and C does the rest.
 *
 * Called with a record two bytes behind the return address (a short jump over the record stands there), so that
 * call and return pair up on the host. EFLAGS are clobbered. S0, S1 as everywhere; rdx is saved and holds the bytes.
 */
#include "engine/soft/translate.h"

static void push(struct emit *e, unsigned reg)
{
	emit8(e, 0x50 | reg);
}

static void pop(struct emit *e, unsigned reg)
{
	emit8(e, 0x58 | reg);
}

/* reg (rsi or rdi): guest address in, host address out; jumps collected in `slow` when the page does not do. */
static void translate(struct emit *e, unsigned reg, unsigned mmu, bool write, uint8_t **slow,
		      unsigned *n)
{
	emit_mov_rr(e, false, S1, reg);
	emit_rex(e, false, 0, 0, S1);
	emit8(e, 0xc1);
	emit8(e, 0xe8 | (S1 & 7));
	emit8(e, 7);
	emit_alu_imm(e, false, 4, S1, (SOFT_TLB_SIZE - 1) * (int)sizeof(struct soft_tlb_entry));
	emit_gs_base(e, true, 0x2b, reg, S1, write ? GS_TLB(mmu, tag_w) : GS_TLB(mmu, tag_r));
	emit_alu_imm(e, true, 7, reg, 4095);
	slow[(*n)++] = emit_jcc32(e, CC_A);
	emit_lea(e, true, S0, reg, HR_RDX, 0, 0);
	emit_alu_imm(e, true, 7, S0, 4096);
	slow[(*n)++] = emit_jcc32(e, CC_A);
	emit_gs_base(e, true, 0x03, reg, S1, GS_TLB(mmu, host));
}

static uint8_t *string_stub(struct emit *e, struct soft_stubs *st, unsigned mmu, bool movs,
			    unsigned lg, bool rep)
{
	struct soft_stub_fault *fault = &st->fault_at[st->n_fault_at++];
	uint8_t *slow[6], *too_many = NULL;
	unsigned n = 0;

	while (((uintptr_t)e->p & 15) && !e->full)
		emit8(e, 0xcc);

	uint8_t *at = emit_here(e);

	emit8(e, 0x65); /* test byte gs:[rflags + 1], DF >> 8 */
	emit8(e, 0xf6);
	emit8(e, 0x04);
	emit8(e, 0x25);
	emit32(e, GS(s.rflags) + 1);
	emit8(e, X86_DF >> 8);

	uint8_t *down = emit_jcc32(e, CC_NE);

	if (rep) {
		emit_alu_imm(e, true, 7, HR_RCX, 4096 >> lg);
		too_many = emit_jcc32(e, CC_A);
	}
	push(e, HR_RDX);
	push(e, HR_RSI);
	push(e, HR_RDI);
	if (rep) {
		emit_mov_rr(e, false, HR_RDX, HR_RCX);
		if (lg) {
			emit8(e, 0xc1); /* shl edx, lg */
			emit8(e, 0xe0 | HR_RDX);
			emit8(e, lg);
		}
	} else {
		emit_mov_imm(e, HR_RDX, 1u << lg);
	}
	if (movs)
		translate(e, HR_RSI, mmu, false, slow, &n);
	translate(e, HR_RDI, mmu, true, slow, &n);
	fault->insn = emit_here(e);
	if (lg == 1)
		emit8(e, 0x66);
	if (rep)
		emit8(e, 0xf3);
	if (lg == 3)
		emit8(e, 0x48);
	emit8(e, (movs ? 0xa4 : 0xaa) | (lg ? 1 : 0));
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	emit_lea(e, true, HR_RDI, HR_RDI, HR_RDX, 0, 0);
	if (movs)
		emit_lea(e, true, HR_RSI, HR_RSI, HR_RDX, 0, 0);
	pop(e, HR_RDX);
	emit8(e, 0xc3);

	/* rdx: bytes done, of all less those to do; rcx is as the guest's would be. */
	fault->go_on = emit_here(e);
	if (rep) {
		emit_mov_rr(e, true, S0, HR_RCX);
		emit_rex(e, true, 0, 0, S0); /* shl r10, lg */
		emit8(e, 0xc1);
		emit8(e, 0xe0 | (S0 & 7));
		emit8(e, lg);
		emit_rr(e, true, 0x29, S0, HR_RDX);
	} else {
		emit_mov_imm(e, HR_RDX, 0);
	}
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	emit_lea(e, true, HR_RDI, HR_RDI, HR_RDX, 0, 0);
	if (movs)
		emit_lea(e, true, HR_RSI, HR_RSI, HR_RDX, 0, 0);
	pop(e, HR_RDX);

	uint8_t *by_c = emit_jmp32(e);

	for (unsigned i = 0; i < n; i++)
		emit_patch32(e, slow[i], e->p);
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	pop(e, HR_RDX);
	emit_patch32(e, by_c, e->p);
	emit_patch32(e, down, e->p);
	if (rep)
		emit_patch32(e, too_many, e->p);
	emit8(e, 0x48); /* add qword [rsp], 2: the record */
	emit8(e, 0x83);
	emit8(e, 0x04);
	emit8(e, 0x24);
	emit8(e, 2);
	emit_jmp(e, st->step);
	return at;
}

void soft_stubs_emit_string(struct soft_stubs *st, struct emit *e)
{
	for (unsigned mmu = 0; mmu < SOFT_MMUS; mmu++)
		for (unsigned movs = 0; movs < 2; movs++)
			for (unsigned lg = 0; lg < 4; lg++)
				for (unsigned rep = 0; rep < 2; rep++)
					st->string[mmu][movs][lg][rep] = string_stub(e, st, mmu,
										     movs, lg, rep);
}
