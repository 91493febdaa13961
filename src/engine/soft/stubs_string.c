/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs_string.c - MOVS and STOS, done by the host's own string instruction.
 *
 * Theory of operation. Most string instructions move a few bytes to a page, upwards, between pages that the TLB
 * knows. Then the whole instruction runs as itself on host addresses, and the guest's pointers move by as much.
 * Source and destination keep their distance when they overlap, because both addresses of a page go to the
 * same host page. A REP that is longer, or crosses into another page, goes on chunk by chunk, each in one page a side, and
 * looks between them whether there is a request to this vCPU; the guest's registers are exact after each. Everything else
 * (DF set, an element that crosses a page, TLB miss, device memory) goes by C, from where the stub has come to.
 *
 * Lock-step counts what C does in one call of a long REP, so there the chunks are left out.
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

/* What a stub is for. */
struct kind {
	unsigned mmu, lg; /* lg: log2 of the element's bytes */
	bool movs, rep;
};

static void shift(struct emit *e, bool left, unsigned reg, unsigned n)
{
	if (!n)
		return;
	emit8(e, 0xc1);
	emit8(e, (left ? 0xe0 : 0xe8) | reg);
	emit8(e, n);
}

static void insn(struct emit *e, const struct kind *k, struct soft_stub_fault *fault)
{
	fault->insn = emit_here(e);
	if (k->lg == 1)
		emit8(e, 0x66);
	if (k->rep)
		emit8(e, 0xf3);
	if (k->lg == 3)
		emit8(e, 0x48);
	emit8(e, (k->movs ? 0xa4 : 0xaa) | (k->lg ? 1 : 0));
}

/* The guest's pointers, from the stack, move by rdx. */
static void pop_advanced(struct emit *e, const struct kind *k)
{
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	emit_lea(e, true, HR_RDI, HR_RDI, HR_RDX, 0, 0);
	if (k->movs)
		emit_lea(e, true, HR_RSI, HR_RSI, HR_RDX, 0, 0);
}

/* Likewise rcx, by the elements that rdx bytes are. */
static void pop_counted(struct emit *e, const struct kind *k)
{
	pop_advanced(e, k);
	pop(e, HR_RCX);
	shift(e, false, HR_RDX, k->lg);
	emit_rr(e, true, 0x29, HR_RDX, HR_RCX);
}

/* A REP in chunks. Runs into what follows when C has to go on. */
static void chunks(struct emit *e, struct soft_stubs *st, const struct kind *k)
{
	struct soft_stub_fault *fault = &st->fault_at[st->n_fault_at++];
	uint8_t *slow[4], *none = NULL, *done, *next, *by_c[2];
	unsigned n = 0;

	push(e, HR_RDX);
	next = e->p;
	/* rdx: elements that lie in the page on both sides, but not more than there are */
	emit_mov_rr(e, false, HR_RDX, HR_RDI);
	emit_alu_imm(e, false, 4, HR_RDX, 4095);
	if (k->movs) {
		emit_mov_rr(e, false, S0, HR_RSI);
		emit_alu_imm(e, false, 4, S0, 4095);
		emit_rr(e, false, 0x39, S0, HR_RDX);
		emit_rex(e, false, HR_RDX, 0, S0); /* cmovb edx, S0 */
		emit8(e, 0x0f);
		emit8(e, 0x42);
		emit8(e, 0xc0 | HR_RDX << 3 | (S0 & 7));
	}
	emit_alu_imm(e, false, 6, HR_RDX, 4095); /* 4096 - rdx */
	emit_alu_imm(e, false, 0, HR_RDX, 1);
	if (k->lg) {
		shift(e, false, HR_RDX, k->lg);
		none = emit_jcc32(e, CC_E);
	}
	emit_rr(e, true, 0x39, HR_RCX, HR_RDX);
	emit_rex(e, true, 0, 0, 0); /* cmova rdx, rcx */
	emit8(e, 0x0f);
	emit8(e, 0x47);
	emit8(e, 0xc0 | HR_RDX << 3 | HR_RCX);
	push(e, HR_RCX);
	push(e, HR_RSI);
	push(e, HR_RDI);
	emit_mov_rr(e, false, HR_RCX, HR_RDX);
	shift(e, true, HR_RDX, k->lg);
	if (k->movs)
		translate(e, HR_RSI, k->mmu, false, slow, &n);
	translate(e, HR_RDI, k->mmu, true, slow, &n);
	insn(e, k, fault);
	pop_counted(e, k);
	done = emit_jcc32(e, CC_E);
	emit8(e, 0x65); /* cmp dword gs:[req], 0 */
	emit8(e, 0x83);
	emit8(e, 0x3c);
	emit8(e, 0x25);
	emit32(e, GS(req));
	emit8(e, 0);
	emit_patch32(e, emit_jcc32(e, CC_E), next);
	by_c[0] = emit_jmp32(e);

	emit_patch32(e, done, e->p);
	pop(e, HR_RDX);
	emit8(e, 0xc3);

	/* rdx: bytes of the chunk; rcx: elements of it that are not done */
	fault->go_on = emit_here(e);
	shift(e, true, HR_RCX, k->lg);
	emit_rr(e, false, 0x29, HR_RCX, HR_RDX);
	pop_counted(e, k);
	by_c[1] = emit_jmp32(e);

	for (unsigned i = 0; i < n; i++)
		emit_patch32(e, slow[i], e->p);
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	pop(e, HR_RCX);
	for (unsigned i = 0; i < ARRAY_SIZE(by_c); i++)
		emit_patch32(e, by_c[i], e->p);
	if (none)
		emit_patch32(e, none, e->p);
	pop(e, HR_RDX);
}

static uint8_t *string_stub(struct emit *e, struct soft_stubs *st, const struct kind *k,
			    bool in_chunks)
{
	struct soft_stub_fault *fault = &st->fault_at[st->n_fault_at++];
	uint8_t *slow[4], *too_many = NULL;
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

	if (k->rep) {
		emit_alu_imm(e, true, 7, HR_RCX, 4096 >> k->lg);
		too_many = emit_jcc32(e, CC_A);
	}
	push(e, HR_RDX);
	push(e, HR_RSI);
	push(e, HR_RDI);
	if (k->rep) {
		emit_mov_rr(e, false, HR_RDX, HR_RCX);
		shift(e, true, HR_RDX, k->lg);
	} else {
		emit_mov_imm(e, HR_RDX, 1u << k->lg);
	}
	if (k->movs)
		translate(e, HR_RSI, k->mmu, false, slow, &n);
	translate(e, HR_RDI, k->mmu, true, slow, &n);
	insn(e, k, fault);
	pop_advanced(e, k);
	pop(e, HR_RDX);
	emit8(e, 0xc3);

	/* rdx: bytes done, of all less those to do; rcx is as the guest's would be. */
	fault->go_on = emit_here(e);
	if (k->rep) {
		emit_mov_rr(e, true, S0, HR_RCX);
		emit_rex(e, true, 0, 0, S0); /* shl r10, lg */
		emit8(e, 0xc1);
		emit8(e, 0xe0 | (S0 & 7));
		emit8(e, k->lg);
		emit_rr(e, true, 0x29, S0, HR_RDX);
	} else {
		emit_mov_imm(e, HR_RDX, 0);
	}
	pop_advanced(e, k);
	pop(e, HR_RDX);

	uint8_t *by_c = emit_jmp32(e);

	for (unsigned i = 0; i < n; i++)
		emit_patch32(e, slow[i], e->p);
	pop(e, HR_RDI);
	pop(e, HR_RSI);
	pop(e, HR_RDX);
	if (k->rep) {
		emit_patch32(e, too_many, e->p);
		if (in_chunks)
			chunks(e, st, k);
	}
	emit_patch32(e, by_c, e->p);
	emit_patch32(e, down, e->p);
	emit8(e, 0x48); /* add qword [rsp], 2: the record */
	emit8(e, 0x83);
	emit8(e, 0x04);
	emit8(e, 0x24);
	emit8(e, 2);
	emit_jmp(e, st->step);
	return at;
}

void soft_stubs_emit_string(struct soft *so, struct emit *e)
{
	bool in_chunks = so->cfg.soft_mode != SOFT_MODE_LOCKSTEP;
	struct soft_stubs *st = &so->cache->stub;

	for (unsigned mmu = 0; mmu < SOFT_MMUS; mmu++) {
		for (unsigned i = 0; i < 16; i++) {
			struct kind k = {.mmu = mmu, .movs = i / 8, .lg = i / 2 % 4, .rep = i % 2};

			st->string[mmu][k.movs][k.lg][k.rep] = string_stub(e, st, &k, in_chunks);
		}
	}
}
