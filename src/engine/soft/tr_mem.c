/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_mem.c - memory operands: the soft TLB check, and how neighbouring accesses share one.
 *
 * Theory of operation. After an access S0 still holds the host address of its operand. An access that follows in the
 * same block, relative to the same registers, needs no look-up if it lies in the same page: host pages are page
 * aligned, so comparing the page of S0 + distance with that of S0 tells. That takes four instructions and no load.
 * t->chain says what S0 stands for. Whatever changes S0, one of those registers, or goes through C on its way ends it.
 *
 * When the pages differ, cold code does the whole check and a copy of the instruction, and brings S0 back, so that the
 * chain goes on. When the instruction has to be run by C (a fault, MMIO, two pages), S0 is lost: an access that others
 * lean on then leaves the block behind it (its record has no `next`).
 *
 * A chain that began with a read serves reads; one that began with a write serves both.
 */
#include "engine/soft/tr_emit.h"

static struct tr_place place_of(const struct tr *t, const struct x86_insn *in)
{
	struct tr_place p = {.base = in->base,
			     .index = in->index,
			     .scale = in->scale,
			     .disp = in->disp};

	p.simple = t->mode == X86_MODE_64 && in->addr_bytes == 8 && in->seg != X86_FS &&
		   in->seg != X86_GS;
	if (in->base == X86_RIP) {
		p.base = 0xff;
		p.disp += (int64_t)(t->va + t->off[t->i] + in->len);
	}
	return p;
}

/* The guest address of p into S0. */
static void address(struct tr *t, const struct x86_insn *in, const struct tr_place *p)
{
	if (p->stack)
		emit_lea(&t->e, t->mode == X86_MODE_64, S0, soft_host_reg(p->base), HR_NONE, 0,
			 (int32_t)p->disp);
	else
		tr_address(t, in, S0, true);
}

static bool shares(const struct tr *t, const struct tr_place *p, bool write, unsigned size,
		   int64_t *delta)
{
	const struct tr_chain *c = &t->chain;

	if (!c->valid || !p->simple || (write && !c->write) || c->place.base != p->base ||
	    c->place.index != p->index || (p->index != 0xff && c->place.scale != p->scale))
		return false;
	*delta = p->disp - c->place.disp;
	/* Bytes on both sides of S0 would need two comparisons. */
	return *delta < 2048 && *delta > -2048 && (*delta >= 0 || *delta + (int64_t)size <= 1);
}

static void full_check(struct tr *t, const struct x86_insn *in, const struct tr_place *p,
		       bool write, unsigned size, tr_body *body, bool hot)
{
	uint8_t *retry = emit_here(&t->e);

	address(t, in, p);

	struct tr_cold *c = tr_tlb_check(t, in, write, size, retry);

	if (hot) {
		t->chain = (struct tr_chain){.valid = p->simple, .write = write, .place = *p};
		t->chain.first_cold = (unsigned)(c - t->cold);
	}
	body(t, in, 0);
	if (hot)
		c->next = emit_here(&t->e);
}

void tr_access(struct tr *t, const struct x86_insn *in, const struct tr_place *p, bool write,
	       unsigned size, tr_body *body)
{
	struct emit *e = &t->e;
	int64_t delta;

	tr_flags_clobber(t);
	t->keep_chain = true;
	if (!shares(t, p, write, size, &delta)) {
		full_check(t, in, p, write, size, body, true);
		return;
	}
	emit_lea(e, true, S1, S0, HR_NONE, 0, (int32_t)(delta >= 0 ? delta + size - 1 : delta));
	emit_rr(e, true, 0x31, S0, S1);
	emit_alu_imm(e, true, 7, S1, 4095);

	struct tr_cold *c = tr_cold(t, TR_COLD_OTHER_PAGE, emit_jcc32(e, CC_A));

	for (unsigned i = t->chain.first_cold; i < t->n_cold; i++)
		t->cold[i].next = NULL; /* S0 must be what the chain says */
	c->i = (uint8_t)t->i;
	c->place = *p;
	c->write = write;
	c->size = (uint16_t)size;
	c->body = body;
	c->loc = (uint8_t)t->loc;
	body(t, in, (int32_t)delta);
	c->back = emit_here(e);
}

void tr_emit_other_page(struct tr *t, struct tr_cold *c)
{
	struct emit *e = &t->e;
	const struct x86_insn *in = &t->insn[c->i];

	t->i = c->i;
	t->key = c->key;
	t->loc = c->loc;
	t->live = t->live_after[t->i];
	tr_site(t);
	emit_store_gs(e, true, S0, GS(tr.keep));
	full_check(t, in, &c->place, c->write, c->size, c->body, false);
	emit_load_gs(e, true, S0, GS(tr.keep));
	emit_jmp(e, c->back);
}

void tr_operand(struct tr *t, const struct x86_insn *in, tr_body *body)
{
	struct tr_place p = place_of(t, in);

	tr_access(t, in, &p, in->rm_acc & X86_ACC_W, in->mem_bytes, body);
}

void tr_stack_access(struct tr *t, const struct x86_insn *in, unsigned base, int32_t disp,
		     bool write, tr_body *body)
{
	struct tr_place p = {.base = (uint8_t)base, .index = 0xff, .disp = disp, .stack = true};

	p.simple = t->mode == X86_MODE_64;
	tr_access(t, in, &p, write, p.simple ? 8 : 4, body);
}

/* ---- when a chain ends ---- */

/* General registers that an instruction changes; all of them where it is not plain to see. */
static unsigned registers_written(const struct x86_insn *in)
{
	unsigned mask = 0;

	switch (in->op) {
	case X86_OP_ADD:
	case X86_OP_OR:
	case X86_OP_ADC:
	case X86_OP_SBB:
	case X86_OP_AND:
	case X86_OP_SUB:
	case X86_OP_XOR:
	case X86_OP_CMP:
	case X86_OP_TEST:
	case X86_OP_INC:
	case X86_OP_DEC:
	case X86_OP_NEG:
	case X86_OP_NOT:
	case X86_OP_IMUL:
	case X86_OP_ROL:
	case X86_OP_ROR:
	case X86_OP_SHL:
	case X86_OP_SHR:
	case X86_OP_SAR:
	case X86_OP_MOV:
	case X86_OP_MOVZX:
	case X86_OP_MOVSX:
	case X86_OP_MOVSXD:
	case X86_OP_MOVNTI:
	case X86_OP_LEA:
	case X86_OP_CMOV:
	case X86_OP_SETCC:
	case X86_OP_BSWAP:
	case X86_OP_NOP:
	case X86_OP_PREFETCH:
	case X86_OP_PUSH:
	case X86_OP_POP: break;
	case X86_OP_FP:
		/* PCMPxSTRx and FNSTSW AX write a register that no field names. */
		if ((in->map == X86_MAP_0F3A && in->opcode >= 0x60 && in->opcode <= 0x63) ||
		    in->opcode == 0xdf)
			return 0xffff;
		break;
	default: return 0xffff;
	}
	if (in->opreg != 0xff && (in->opreg_acc & X86_ACC_W))
		mask |= 1u << in->opreg;
	if (in->reg_kind == X86_RK_GPR && (in->reg_acc & X86_ACC_W) && in->reg < 16)
		mask |= 1u << in->reg;
	if (!in->has_mem && in->rm_kind == X86_RK_GPR && (in->rm_acc & X86_ACC_W) && in->rm < 16)
		mask |= 1u << in->rm;
	if (in->rm_bytes == 1 || in->reg_bytes == 1 || in->opnd_bytes == 1)
		mask |= (mask >> 4) & 0xf; /* AH is a part of RAX */
	return mask;
}

/* ADD, SUB of a constant to RSP, and LEA: a chain on RSP moves along. */
static bool moves_rsp(const struct tr *t, const struct x86_insn *in, int64_t *by)
{
	if (t->mode != X86_MODE_64 || in->opnd_bytes != 8 || in->has_mem != (in->op == X86_OP_LEA))
		return false;
	if (in->op == X86_OP_LEA) {
		*by = in->disp;
		return in->reg == X86_RSP && in->base == X86_RSP && in->index == 0xff &&
		       in->addr_bytes == 8;
	}
	*by = in->op == X86_OP_SUB ? -in->imm : in->imm;
	return (in->op == X86_OP_ADD || in->op == X86_OP_SUB) && in->rm == X86_RSP && in->imm_bytes;
}

void tr_chain_rsp(struct tr *t, int64_t by)
{
	if (t->chain.place.base == X86_RSP)
		t->chain.place.disp -= by;
}

void tr_chain_after(struct tr *t, const struct x86_insn *in)
{
	const struct tr_place *p = &t->chain.place;
	unsigned written, used = 0;
	int64_t by;

	if (!t->keep_chain)
		t->chain.valid = false;
	if (!t->chain.valid)
		return;
	written = registers_written(in);
	if (moves_rsp(t, in, &by)) {
		if (p->index == X86_RSP)
			t->chain.valid = false;
		tr_chain_rsp(t, by);
		written &= ~(1u << X86_RSP);
	}
	if (p->base != 0xff)
		used |= 1u << p->base;
	if (p->index != 0xff)
		used |= 1u << p->index;
	if (written & used)
		t->chain.valid = false;
}
