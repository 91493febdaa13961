/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.c - one basic block of guest code to host code, in three passes: decode, liveness of the
 * status flags backwards, emit. translate.h tells the theory; tr_emit.c emits the single instructions.
 */
#include "engine/soft/tr_emit.h"
#include "engine/soft/trace.h"
#include "engine/soft/verify.h"

#define PEEK_INSNS 10u

/* Near branches, and what the C op functions must not be asked to chain through. */
static bool ends_block(const struct tr *t, const struct x86_insn *in)
{
	return (in->attr & (X86_A_BRANCH | X86_A_END)) && !tr_inline_system(t, in);
}

/* Status flags as the translator sees them: an instruction run by C may look at all of them. */
static unsigned flags_read(const struct tr *t, const struct x86_insn *in)
{
	if (in->op == X86_OP_PUSHF || ((in->attr & X86_A_END) && !tr_inline_system(t, in)))
		return X86_STATUS_FLAGS;
	return in->flags_read & X86_STATUS_FLAGS;
}

/* The instruction at t->page[pos]. */
static enum x86_decode_result decode_at(const struct tr *t, unsigned pos, struct x86_insn *in)
{
	uint8_t buf[X86_INSN_MAX];
	unsigned n = MIN(4096 - pos, X86_INSN_MAX);

	soft_copy_code(buf, t->page, pos, n);
	return x86_decode(in, buf, n, t->mode, t->so->cpuid.vendor);
}

static unsigned live_before(const struct tr *t, const struct x86_insn *in, unsigned after)
{
	return flags_read(t, in) | (after & ~(unsigned)in->flags_write);
}

/*
 * Which flags the code at va may read before it writes them. Only within the page of the block, whose bytes
 * then belong to what the block depends on; beyond, all of them. A fault frame on the way may show stale ones.
 */
static unsigned peek_live(struct tr *t, uint64_t va)
{
	unsigned unknown = X86_STATUS_FLAGS, live = 0;

	if ((va ^ t->va) & ~UINT64_C(0xfff))
		return X86_STATUS_FLAGS;
	unsigned pos = va & 0xfff;

	for (unsigned i = 0; i < PEEK_INSNS && unknown; i++) {
		struct x86_insn in;

		if (decode_at(t, pos, &in) != X86_DECODE_OK)
			break;
		t->b->page[0].granules |= soft_granules(pos, in.len);
		live |= unknown & flags_read(t, &in);
		unknown &= ~(unsigned)in.flags_write;
		pos += in.len;
		if (ends_block(t, &in) || pos >= 4096)
			break;
	}
	return live | unknown;
}

/* The one instruction of the block goes on in the next page. */
static void decode_crossing(struct tr *t, unsigned pos)
{
	struct soft_block *b = t->b;
	const struct soft_xtlb_entry *x = soft_fetch_page_peek(t->v, tr_va(t, (t->va | 0xfff) + 1));
	unsigned first = 4096 - pos;
	uint8_t buf[X86_INSN_MAX];

	if (!x || !x->host)
		return;
	b->page[1].number = soft_page_number(t->so, x->gpa);
	b->page[1].gpa = x->gpa;
	if (b->page[1].number == SOFT_NO_PAGE || b->page[1].number == b->page[0].number)
		return;
	if (!soft_page_mark(t->so, t->v, b->page[1].number, x->gpa))
		return;
	soft_copy_code(buf, t->page, pos, first);
	soft_copy_code(buf + first, x->host, 0, X86_INSN_MAX - first);
	if (x86_decode(&t->insn[0], buf, sizeof(buf), t->mode, t->so->cpuid.vendor) != X86_DECODE_OK)
		return;
	b->page[1].granules = soft_granules(0, t->insn[0].len - first);
	b->n_pages = 2;
	t->crosses = true;
	t->second_tag = x->tag;
	t->page_global = t->page_global && x->global;
	t->n = 1;
}

/* A conditional jump forward does not end the block: what is found out before it goes on to hold where it is not
 * taken. (Behind one backward, the end of a loop, other code begins.) */
static bool goes_on(const struct tr *t, const struct x86_insn *in)
{
	if (tr_counts(t)) /* a block is left at its end, or by C */
		return false;
	return in->op == X86_OP_JCC && in->imm > 0 && t->n_side < SOFT_BLOCK_SIDES &&
	       in->opnd_bytes == (t->mode == X86_MODE_64 ? 8 : 4);
}

static void decode_block(struct tr *t, unsigned max_insns)
{
	unsigned pos = t->va & 0xfff;

	t->n_side = 0;
	for (t->n = 0; t->n < max_insns;) {
		struct x86_insn *in = &t->insn[t->n];
		enum x86_decode_result r = decode_at(t, pos, in);

		if (r == X86_DECODE_TRUNCATED && t->n == 0)
			decode_crossing(t, pos);
		if (r != X86_DECODE_OK)
			break; /* crosses the page, or #UD: by soft_step() */
		t->off[t->n] = (uint16_t)(pos - (t->va & 0xfff));
		pos += in->len;
		t->n++;
		if (pos < 4096 && t->n < max_insns && goes_on(t, in)) {
			t->n_side++;
			continue;
		}
		if (ends_block(t, in) || pos >= 4096)
			break;
	}
	t->off[t->n] = t->crosses ? t->insn[0].len : (uint16_t)(pos - (t->va & 0xfff));
}

static void liveness(struct tr *t)
{
	const struct x86_insn *last = &t->insn[t->n - 1];
	uint64_t next = tr_va(t, t->va + t->off[t->n]);

	t->live_next = X86_STATUS_FLAGS;
	for (unsigned i = 0; i < t->n; i++) {
		const struct x86_insn *in = &t->insn[i];
		uint64_t end = t->va + t->off[i] + in->len;

		t->live_taken[i] = X86_STATUS_FLAGS;
		if (in->op == X86_OP_JCC || in->op == X86_OP_JMP || in->op == X86_OP_CALL)
			t->live_taken[i] = (uint16_t)peek_live(t, tr_va(t, end + (uint64_t)in->imm));
	}
	if (last->op == X86_OP_JCC || !ends_block(t, last))
		t->live_next = peek_live(t, next);

	unsigned live = X86_STATUS_FLAGS;

	if (last->op == X86_OP_JCC)
		live = t->live_next;
	else if (last->op == X86_OP_JMP || last->op == X86_OP_CALL)
		live = t->live_taken[t->n - 1];
	else if (!ends_block(t, last))
		live = t->live_next;
	for (unsigned i = t->n; i-- > 0;) {
		if (t->insn[i].op == X86_OP_JCC)
			live |= t->live_taken[i];
		t->live_after[i] = (uint16_t)live;
		live = live_before(t, &t->insn[i], live);
	}
	t->live_in = live;
}

/* What comes first in the block that cares where the flags are decides the convention of its body. */
static bool body_wants_slot(const struct tr *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct x86_insn *in = &t->insn[i];

		if (in->flags_read || in->flags_may_write)
			return in->has_mem && !(in->attr & X86_A_LEA);
		if ((in->has_mem && !(in->attr & X86_A_LEA)) || !(in->attr & X86_A_NATIVE))
			return true;
	}
	return false;
}

/* Poll of a word at an entry: leaves to the dispatcher, which comes back to the block's address. */
static void poll_word(struct tr *t, uint32_t word)
{
	struct emit *e = &t->e;

	emit8(e, 0x65); /* cmp dword gs:[word], 0 */
	emit8(e, 0x83);
	emit8(e, 0x3c);
	emit8(e, 0x25);
	emit32(e, word);
	emit8(e, 0);
	tr_cold_exit(t, emit_jcc32(e, CC_NE), t->va, LOC_SLOT);
}

static void poll_flags_dead(struct tr *t)
{
	poll_word(t, GS(req));
	if (unlikely(tr_counts(t)))
		poll_word(t, GS(tr.count) + 4); /* the unit is full (lockstep.c) */
}

/* The same without touching EFLAGS. */
static void poll_word_live(struct tr *t, uint32_t word)
{
	struct emit *e = &t->e;

	emit_mov_rr(e, true, S1, HR_RCX);
	emit_load_gs(e, false, HR_RCX, word);
	emit8(e, 0xe3); /* jrcxz + 8 */
	emit8(e, 8);
	emit_mov_rr(e, true, HR_RCX, S1);		   /* 3 bytes */
	tr_cold_exit(t, emit_jmp32(e), t->va, LOC_NATIVE); /* 5 bytes */
	emit_mov_rr(e, true, HR_RCX, S1);
}

static void poll_flags_live(struct tr *t)
{
	poll_word_live(t, GS(req));
	if (unlikely(tr_counts(t)))
		poll_word_live(t, GS(tr.count) + 4);
}

static void emit_entries(struct tr *t)
{
	struct soft_block *b = t->b;
	struct emit *e = &t->e;

	if (!t->live_in) {
		b->e_slot_polled = b->e_native_polled = emit_here(e);
		poll_flags_dead(t);
		b->e_slot = b->e_native = emit_here(e);
		t->loc = 0;
		b->body_slot = true;
	} else if (t->crosses || body_wants_slot(t)) {
		b->e_native = b->e_native_polled = emit_here(e);
		soft_emit_flags_save(e);
		b->e_slot_polled = emit_here(e);
		poll_flags_dead(t);
		b->e_slot = emit_here(e);
		t->loc = LOC_SLOT;
		b->body_slot = true;
	} else {
		b->e_native_polled = emit_here(e);
		poll_flags_live(t);

		uint8_t *over = emit_jmp32(e);

		b->e_slot = b->e_slot_polled = emit_here(e);
		poll_flags_dead(t);
		soft_emit_flags_restore(e);
		emit_patch32(e, over, e->p);
		b->e_native = emit_here(e);
		t->loc = LOC_NATIVE;
		b->body_slot = false;
	}
}

/* A block that crosses into a second page is good only while that page is where it was: compares the
 * instruction-side TLB entry; if it is another one, the dispatcher finds out. Flags are in the slot here. */
static void check_second_page(struct tr *t)
{
	struct emit *e = &t->e;
	uint64_t va = tr_va(t, (t->va | 0xfff) + 1);
	uint32_t entry = GS(xtlb) +
			 (uint32_t)((va >> 12) % SOFT_XTLB_SIZE * sizeof(struct soft_xtlb_entry));

	emit_mov_imm(e, S0, va);
	emit_gs(e, true, 0x3b, S0, entry + (uint32_t)offsetof(struct soft_xtlb_entry, va));
	tr_cold_exit(t, emit_jcc32(e, CC_NE), t->va, LOC_SLOT);
	emit_mov_imm(e, S0, t->second_tag);
	emit_gs(e, true, 0x3b, S0, entry + (uint32_t)offsetof(struct soft_xtlb_entry, tag));
	tr_cold_exit(t, emit_jcc32(e, CC_NE), t->va, LOC_SLOT);
}

static void emit_body(struct tr *t)
{
	if (t->crosses)
		check_second_page(t);
	tr_count(t, (int)t->n);
	for (unsigned i = 0; i < t->n; i++) {
		t->i = i;
		t->live = t->live_after[i];
		t->live_before = live_before(t, &t->insn[i], t->live);
		tr_site(t);
		tr_emit_one(t, &t->insn[i]);
	}
	if (!t->ended)
		tr_emit_edge(t, tr_va(t, t->va + t->off[t->n]), t->live_next, NULL);
}

static struct soft_block *finish(struct tr *t)
{
	struct soft_cache *c = t->so->cache;
	struct soft_block *b = t->b;

	tr_emit_cold(t);
	if (t->e.full || t->overflow)
		return NULL;
	b->code_end = emit_here(&t->e);
	b->bytes = t->off[t->n];
	b->n_insns = (uint16_t)t->n;
	b->page[0].granules |= soft_granules(t->va & 0xfff, MIN((unsigned)b->bytes,
								4096u - (unsigned)(t->va & 0xfff)));
	b->n_sites = (uint16_t)t->n_sites;
	b->site = soft_cache_alloc(c, t->n_sites * sizeof(*b->site));
	if (!b->site)
		return NULL;
	soft_copy(b->site, t->site, t->n_sites * sizeof(*b->site));
	soft_verify_emitted(c, b);
	c->used = (size_t)(t->e.p - c->rw);
	c->block[b->index] = b;
	__atomic_store_n(&c->n_blocks, b->index + 1, __ATOMIC_RELEASE);
	soft_cache_insert(c, b);
	if (unlikely(t->so->cfg.soft_perf_map || t->so->cfg.soft_trace))
		soft_trace_block(t->v, b, t);
	return b;
}

static struct soft_block *translate_locked(struct soft_vcpu *v, uint64_t va,
					   const struct soft_xtlb_entry *xt, uint32_t key,
					   uint64_t page_number, bool *full)
{
	struct soft_cache *c = v->soft->cache;
	struct tr *t = &c->tr;

	if (!soft_page_mark(v->soft, v, page_number, xt->gpa)) {
		*full = true;
		return NULL;
	}
	t->v = v;
	t->so = v->soft;
	t->va = va;
	t->key = key;
	t->page = xt->host;
	t->page_global = xt->global;
	t->mode = key & SOFT_KEY_COMPAT ? X86_MODE_32 : X86_MODE_64;
	t->n_cold = t->n_sites = 0;
	t->ended = t->overflow = t->crosses = false;
	t->s0_group = 0;

	size_t arena_mark = c->arena_used;
	struct soft_block *b = soft_cache_alloc(c, sizeof(*b));

	t->b = b;
	if (!b || c->n_blocks >= SOFT_MAX_BLOCKS) {
		*full = true;
		return NULL;
	}
	b->n_pages = 1;
	b->page[0].number = page_number;
	b->page[0].gpa = xt->gpa;
	decode_block(t, v->tr.max_insns);
	if (!t->n) {
		c->arena_used = arena_mark;
		return NULL;
	}
	b->va = va;
	b->gpa = xt->gpa | (va & 0xfff);
	b->key = key;
	b->index = c->n_blocks;
	liveness(t);
	tr_find_groups(t);
	b->link = soft_cache_alloc(c, (2 + t->n_side + t->n_groups) * sizeof(*b->link));
	if (!b->link) {
		*full = true;
		return NULL;
	}
	t->e = (struct emit){.p = c->rw + ALIGN_UP(c->used, 16),
			     .end = c->rw + c->size,
			     .delta = c->rx - c->rw};
	b->code = emit_here(&t->e);
	emit_entries(t);
	emit_body(t);
	if (!finish(t)) {
		*full = true;
		return NULL;
	}
	return b;
}

static uint64_t second_page(uint64_t va, uint32_t key)
{
	uint64_t next = (va | 0xfff) + 1;

	return key & SOFT_KEY_COMPAT ? (uint32_t)next : next;
}

bool soft_block_valid(struct soft_vcpu *v, const struct soft_block *b)
{
	const struct soft_xtlb_entry *x;

	if (b->n_pages == 1)
		return true;
	x = soft_fetch_page_peek(v, second_page(b->va, b->key));
	return x && x->gpa == b->page[1].gpa;
}

struct soft_block *soft_translate(struct soft_vcpu *v, uint64_t va,
				  const struct soft_xtlb_entry *xt, uint32_t key, bool *full)
{
	struct soft_cache *c = v->soft->cache;
	uint64_t n = soft_page_number(v->soft, xt->gpa);
	struct soft_block *b;

	struct soft_xtlb_entry first = *xt; /* looking at the second page may replace it */

	*full = false;
	if (n == SOFT_NO_PAGE)
		return NULL;
	/* The walk for a second page writes to page tables, which may hold code and then take the lock: now, not under it. */
	if ((va & 0xfff) > GMEM_PAGE - X86_INSN_MAX)
		(void)soft_fetch_page_peek(v, second_page(va, key));
	pthread_mutex_lock(&c->lock);
	b = soft_cache_find(c, va, first.gpa | (va & 0xfff),
			    key); /* another vCPU may have been faster */
	if (b && !soft_block_valid(v, b)) {
		soft_cache_drop(c, b);
		b = NULL;
	}
	if (!b && !soft_patched_often(c, va, first.gpa | (va & 0xfff), first.host)) {
		b = translate_locked(v, va, &first, key, n, full);
		if (b)
			soft_patched_made(c, b);
	}
	pthread_mutex_unlock(&c->lock);
	return b;
}
