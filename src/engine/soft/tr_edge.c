/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_edge.c - where a block's code leads: chained jumps, look-ups in the jump cache, and the cold code behind its body,
 * with the records that stubs find behind their calls.
 */
#include "engine/soft/tr_emit.h"

/* ---- records ---- */

static void record(struct emit *e, const struct soft_rec *r)
{
	const uint8_t *p = (const uint8_t *)r;

	for (unsigned i = 0; i < sizeof(*r); i++)
		/* All of it is initialised: it is packed. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
		emit8(e, p[i]);
}

void tr_step_record(struct tr *t, const struct x86_insn *in, unsigned flags, const uint8_t *next)
{
	struct soft_rec r = {.block = t->b->index, .off = t->off[t->i], .len = in->len};
	struct x86_insn *copy = soft_cache_alloc(t->so->cache, sizeof(*copy));

	if (!copy) {
		t->overflow = true;
		return;
	}
	*copy = *in;
	r.insn = copy;
	r.key = (uint16_t)(t->key & ~SOFT_KEY_PLAIN);
	r.flags = (uint8_t)flags;
	r.next = next ? (int32_t)(next - emit_here(&t->e)) : (int32_t)sizeof(r);
	record(&t->e, &r);
}

/* ---- edges ---- */

static unsigned jc_array(uint32_t key)
{
	return key & SOFT_KEY_COMPAT ? SOFT_JCS - 1 : key & SOFT_KEY_MMU;
}

void tr_look_up(struct tr *t, unsigned flags, int rsp_undo)
{
	struct emit *e = &t->e;
	uint32_t part = (uint32_t)(jc_array(t->key) * SOFT_JC_SIZE * sizeof(uint64_t));

	tr_s0_shifted(t, SOFT_JC_SHIFT); /* soft_jc_index() */
	emit_rr(e, false, 0x31, S0, S1);
	emit_alu_imm(e, false, 4, S1, SOFT_JC_SIZE - 1);
	emit8(e, 0x65); /* cmp S0, gs:[S1 * 8 + tags] */
	emit_rm(e, true, 0x3b, S0, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_tag) + part));

	struct tr_cold *c = tr_cold(t, TR_COLD_IND, emit_jcc32(e, CC_NE));

	c->off = t->off[t->i];
	c->len = t->insn[t->i].len;
	c->rsp_undo = (int16_t)rsp_undo;
	c->flags = (uint8_t)flags;
	emit8(e, 0x65); /* jmp gs:[S1 * 8 + codes] */
	emit_rm(e, false, 0xff, 4, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_code) + part));
}

/* The same to a target that is known: it has one place in the jump cache. */
static void look_up_known(struct tr *t, uint64_t target)
{
	struct emit *e = &t->e;
	uint32_t at = (uint32_t)(sizeof(uint64_t) *
				 (jc_array(t->key) * SOFT_JC_SIZE + soft_jc_index(target)));
	struct tr_cold *c;

	emit_mov_imm(e, S0, target);
	emit_gs(e, true, 0x3b, S0, GS(tr.jc_tag) + at);
	c = tr_cold(t, TR_COLD_IND, emit_jcc32(e, CC_NE));
	c->off = t->off[t->i];
	c->len = t->insn[t->i].len;
	emit_gs(e, false, 0xff, 4, GS(tr.jc_code) + at); /* jmp */
}

void tr_emit_edge(struct tr *t, uint64_t target, unsigned live, uint8_t *jcc)
{
	struct emit *e = &t->e;
	bool same_page = !((target ^ t->va) & ~UINT64_C(0xfff));
	bool kernel = !(t->key & (SOFT_KEY_CPL3 | SOFT_KEY_COMPAT));

	/* Only the address space that the window belongs to runs code with its key; when the mapping of one of its pages changes,
	 * these links go (window.c). But each vCPU has a window of its own. */
	bool window = (t->key & SOFT_KEY_WINDOW) && t->so->n_vcpus == 1;

	if (!same_page && !window && !(kernel && t->page_global)) {
		if (jcc) {
			struct tr_cold *c = tr_cold(t, TR_COLD_EDGE, jcc);

			c->va = target;
			c->live = (uint16_t)live;
			c->loc = (uint8_t)t->loc;
			c->off = t->off[t->i];
			return;
		}
		if (live && !(t->loc & LOC_SLOT))
			soft_emit_flags_save(e);
		look_up_known(t, target);
		return;
	}
	struct soft_link *l = &t->b->link[t->b->n_links++];

	if (!jcc) {
		emit_align_rel32(e, 1);
		jcc = emit_jmp32(e);
	}
	*l = (struct soft_link){.from = t->b, .site = jcc, .target = target};
	l->key = t->key & ~SOFT_KEY_PLAIN;
	l->loc = (uint8_t)(live ? t->loc : LOC_BOTH);
	l->polled = target <= t->va + t->off[t->i];
	l->cross_page = !same_page;
	tr_cold(t, TR_COLD_LINK, jcc)->link = l;
}

/* ---- cold code ---- */

void tr_cold_exit(struct tr *t, uint8_t *from, uint64_t va, unsigned loc)
{
	struct tr_cold *c = tr_cold(t, TR_COLD_EXIT, from);

	c->va = va;
	c->loc = (uint8_t)loc;
}

static void cold_record(struct tr *t, const struct tr_cold *c)
{
	struct emit *e = &t->e;
	const uint8_t *here = emit_here(e);
	struct soft_rec r = {.block = t->b->index, .off = c->off, .size = c->size, .len = c->len};

	r.key = (uint16_t)(c->key & ~SOFT_KEY_PLAIN);
	r.flags = c->flags;
	r.rsp_undo = c->rsp_undo;
	if (c->retry)
		r.retry = (int32_t)(c->retry - here);
	if (c->next)
		r.next = (int32_t)(c->next - here);
	else if (c->flags & REC_GROUP)
		r.next = (int32_t)sizeof(r);
	record(e, &r);
}

/* A group's check failed. Crossing a page it always will: the way to the plain block is a link. */
static void cold_group(struct tr *t, const struct tr_cold *c)
{
	struct emit *e = &t->e;
	const struct soft_stubs *st = &t->so->cache->stub;
	struct soft_link *l = &t->b->link[t->b->n_links++];

	*l = (struct soft_link){.from = t->b, .target = c->va, .key = c->key | SOFT_KEY_PLAIN};
	l->loc = c->live ? LOC_SLOT : LOC_BOTH;
	if (unlikely(tr_counts(t))) { /* by C first, which takes back what has not run */
		emit_call(e, st->miss[c->mmu][c->write]);
		cold_record(t, c);
		emit_align_rel32(e, 1);
		l->site = emit_jmp32(e);
	} else {
		emit_rex(e, true, 0, 0, S0); /* test r10, ~0xfff: another page? */
		emit8(e, 0xf7);
		emit8(e, 0xc0 | (S0 & 7));
		emit32(e, ~0xfffu);
		emit_align_rel32(e, 2);
		l->site = emit_jcc32(e, CC_E);
		emit_call(e, st->miss[c->mmu][c->write]);
		cold_record(t, c);
	}
	emit_patch32(e, l->site, e->p);
	l->cold = emit_here(e);
	emit_call(e, st->link);
	emit64(e, (uint64_t)(uintptr_t)l);
}

void tr_emit_cold(struct tr *t)
{
	struct emit *e = &t->e;
	const struct soft_stubs *st = &t->so->cache->stub;

	for (unsigned i = 0; i < t->n_cold; i++) { /* EDGE and WINDOW add entries */
		struct tr_cold *c = &t->cold[i];

		emit_patch32(e, c->from, e->p);
		switch (c->kind) {
		case TR_COLD_MISS:
			emit_call(e, st->miss[c->mmu][c->write]);
			cold_record(t, c);
			break;
		case TR_COLD_IND:
			emit_call(e, st->ind[jc_array(c->key)]);
			cold_record(t, c);
			break;
		case TR_COLD_STI:
			emit_store8_gs(e, GS(s.ev.sti_shadow), 1);
			tr_count(t, (int)c->i + 1 - (int)t->n);
			emit_call(e, st->exit_pc);
			emit64(e, c->va);
			break;
		case TR_COLD_EXIT:
			if (c->loc == LOC_NATIVE)
				soft_emit_flags_save(e);
			emit_call(e, st->exit_pc);
			emit64(e, c->va);
			break;
		case TR_COLD_LINK:
			c->link->cold = emit_here(e);
			if (!(c->link->loc & LOC_SLOT))
				soft_emit_flags_save(e);
			emit_call(e, st->link);
			emit64(e, (uint64_t)(uintptr_t)c->link);
			break;
		case TR_COLD_WINDOW:
			t->i = c->i;
			t->key = c->key;
			tr_tlb_cold(t, c);
			break;
		case TR_COLD_GROUP: cold_group(t, c); break;
		case TR_COLD_STEP:
			t->i = c->i;
			t->key = c->key;
			emit_call(e, st->step);
			tr_step_record(t, &t->insn[c->i], 0, c->back);
			break;
		case TR_COLD_EDGE:
			t->key = c->key;
			if (c->live && !(c->loc & LOC_SLOT))
				soft_emit_flags_save(e);
			look_up_known(t, c->va);
			break;
		}
	}
}
