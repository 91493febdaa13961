/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_mem.c - memory operands: the soft TLB check, alone or for a group of them (tr_group.c).
 */
#include "engine/soft/tr_emit.h"

struct tr_place tr_place_of(const struct tr *t, const struct x86_insn *in)
{
	struct tr_place p = {.base = in->base,
			     .index = in->index,
			     .scale = in->index == 0xff ? 0 : in->scale,
			     .disp = in->disp};

	p.simple = t->mode == X86_MODE_64 && in->addr_bytes == 8 && in->seg != X86_FS &&
		   in->seg != X86_GS;
	if (in->base == X86_RIP) {
		p.base = 0xff;
		p.disp += (int64_t)(t->va + t->off[t->i] + in->len);
	}
	return p;
}

struct tr_place tr_stack_place(const struct tr *t, unsigned base, int32_t disp)
{
	struct tr_place p = {.base = (uint8_t)base, .index = 0xff, .disp = disp, .stack = true};

	p.simple = t->mode == X86_MODE_64;
	return p;
}

void tr_guess(struct tr *t, const struct x86_insn *in, const struct tr_place *p)
{
	const struct x86_state *s = &t->v->s;
	uint64_t va = (uint64_t)p->disp;

	if (p->base < 16)
		va += s->gpr[p->base];
	if (p->index < 16)
		va += s->gpr[p->index] << p->scale;
	if (!p->stack && (in->seg == X86_FS || in->seg == X86_GS))
		va += s->seg[in->seg].base;
	t->likely_va = va;
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

/* The guest address of the first byte of p's group into S0; false: no displacement does that. */
static bool group_address(struct tr *t, const struct tr_place *p, int64_t disp)
{
	struct emit *e = &t->e;

	if (p->base == 0xff && p->index == 0xff) {
		emit_mov_imm(e, S0, (uint64_t)disp);
		return true;
	}
	if (disp != (int32_t)disp)
		return false;

	unsigned base = p->base == 0xff ? HR_NONE : tr_gpr(t, p->base, S0);
	unsigned index = p->index == 0xff ? HR_NONE : tr_gpr(t, p->index, S1);

	if (index == HR_NONE && disp == 0)
		emit_mov_rr(e, true, S0, base);
	else
		emit_lea(e, true, S0, base, index, p->scale, (int32_t)disp);
	return true;
}

#define GS_GROUP(n) (GS(tr.group) + 8 * (uint32_t)(n))

/* Checks the whole range of group n, and keeps the host address of its first byte. */
static void lead(struct tr *t, const struct x86_insn *in, const struct tr_place *p, unsigned n,
		 bool write)
{
	const struct tr_group *g = &t->group[n];
	uint8_t *retry = emit_here(&t->e);
	struct tr_cold *c;

	if (!group_address(t, p, p->disp + (g->start - t->at[t->i])))
		t->overflow = true; /* tr_find_groups() made none such */
	c = tr_tlb_check(t, in, g->write, (unsigned)(g->end - g->start), retry);
	if (c->kind == TR_COLD_WINDOW)
		c->then = TR_COLD_GROUP;
	else
		c->kind = TR_COLD_GROUP;
	c->flags = REC_GROUP | (write ? 0 : REC_READS);
	c->va = tr_va(t, t->va + t->off[t->i]);
	c->live = (uint16_t)t->live_before;
	emit_store_gs(&t->e, true, S0, GS_GROUP(n));
}

/* Operands that group members still have to come: they would not find S0 or its copy after a way through C. */
bool tr_in_open_group(const struct tr *t)
{
	for (unsigned i = 0; i < t->n_groups; i++)
		if (t->group[i].first < t->i && t->i < t->group[i].last)
			return true;
	return false;
}

struct tr_cold *tr_access(struct tr *t, const struct x86_insn *in, const struct tr_place *p,
			  bool write, unsigned size, tr_body *body)
{
	unsigned n = t->in_group[t->i];

	t->keep_s0 = true;
	tr_guess(t, in, p);
	if (n) {
		const struct tr_group *g = &t->group[n - 1];

		if (g->first == t->i) {
			tr_flags_clobber(t);
			lead(t, in, p, n - 1, write);
		} else if (t->s0_group != n) {
			emit_load_gs(&t->e, true, S0, GS_GROUP(n - 1));
		}
		t->s0_group = n;
		body(t, in, (int32_t)(t->at[t->i] - g->start));
		return NULL;
	}
	tr_flags_clobber(t);
	t->s0_group = 0;

	uint8_t *retry = emit_here(&t->e);

	address(t, in, p);

	struct tr_cold *c = tr_tlb_check(t, in, write, size, retry);

	body(t, in, 0);
	if (!tr_in_open_group(t))
		c->next = emit_here(&t->e);
	return c;
}

struct tr_cold *tr_operand(struct tr *t, const struct x86_insn *in, tr_body *body)
{
	struct tr_place p = tr_place_of(t, in);

	return tr_access(t, in, &p, in->rm_acc & X86_ACC_W, in->mem_bytes, body);
}

struct tr_cold *tr_stack_access(struct tr *t, const struct x86_insn *in, unsigned base,
				int32_t disp, bool write, tr_body *body)
{
	struct tr_place p = tr_stack_place(t, base, disp);

	return tr_access(t, in, &p, write, p.simple ? 8 : 4, body);
}
