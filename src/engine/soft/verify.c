/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.c - verification of whole blocks: the walk, branches, calls with their records, links. verify.h tells the rules.
 *
 * Two passes over a block. The first marks where instructions begin, and the places that code outside of the block
 * comes back to (entries; what records say): nothing is known of the scratch registers there. The second checks
 * each instruction with what is known on every way to it. Branches go forward only, so all ways to a place have been
 * seen when it is reached, and there are no loops.
 */
#include "engine/soft/verify.h"

#include "util/log.h"

#define MAX_CODE 32768u /* bytes of a block: many times what 64 instructions need */
#define MAX_WAYS 512u

/* Marks of a byte of code. */
#define M_INSN 1u  /* an instruction begins here */
#define M_ENTER 2u /* the code is entered here from outside */
#define M_REL32 4u /* displacement of a direct jump */
#define M_RETRY \
	8u /* entered from outside after a TLB miss of this block: tr.group[] is as it was */

struct way {
	uint32_t at;
	struct verify_flow flow;
};

struct verify {
	const struct soft_cache *c;
	const struct soft_block *b;
	struct soft_verify_error *err;
	uint32_t size;
	struct verify_flow flow;
	bool reached; /* the walk comes here from the item before */
	unsigned n_joins, n_notes, n_backs;
	struct way join[MAX_WAYS]; /* targets of branches seen so far */
	struct way note[MAX_WAYS]; /* what was known at places that are come back to */
	/* Targets of jumps back, with what their look at the TLB makes of S0, and, when the walk has been there, all that
	 * was known. */
	struct way back[MAX_WAYS];
	uint8_t mark[MAX_CODE + 1];
};

static bool bad(struct verify *v, uint32_t at, const char *why)
{
	*v->err = (struct soft_verify_error){.why = why, .at = at};
	return false;
}

static uint32_t offset(const struct verify *v, const uint8_t *p)
{
	uint64_t off = (uint64_t)((uintptr_t)p - (uintptr_t)v->b->code);

	return off <= v->size ? (uint32_t)off : UINT32_MAX;
}

/* ---- stubs and the walk ---- */

struct soft_stub soft_stub_at(const struct soft_cache *c, const uint8_t *target)
{
	const struct soft_stubs *st = &c->stub;
	struct soft_stub s = {.kind = SOFT_STUB_NONE};

	if (target == st->step || target == st->sysret || target == st->syscall[0] ||
	    target == st->syscall[1] || target == st->iret[0] || target == st->iret[1])
		s.kind = SOFT_STUB_STEP;
	else if (target == st->link)
		s.kind = SOFT_STUB_LINK;
	else if (target == st->exit_pc)
		s.kind = SOFT_STUB_EXIT_PC;
	for (unsigned a = 0; a < SOFT_JCS; a++)
		if (target == st->ind[a])
			s = (struct soft_stub){.kind = SOFT_STUB_IND, .array = a};
	for (unsigned mmu = 0; mmu < SOFT_MMUS; mmu++) {
		for (unsigned w = 0; w < 2; w++)
			if (target == st->miss[mmu][w])
				s = (struct soft_stub){.kind = SOFT_STUB_MISS,
						       .mmu = mmu,
						       .write = w};
		for (unsigned i = 0; i < 16; i++)
			if (target == st->string[mmu][i / 8][i / 2 % 4][i % 2])
				s = (struct soft_stub){.kind = SOFT_STUB_STRING, .mmu = mmu};
	}
	return s;
}

static unsigned record_size(enum soft_stub_kind k)
{
	return k == SOFT_STUB_LINK || k == SOFT_STUB_EXIT_PC ? sizeof(uint64_t) :
							       sizeof(struct soft_rec);
}

void soft_walk_start(struct soft_walk *w, const struct soft_cache *c, const struct soft_block *b)
{
	w->c = c;
	w->p = w->at = b->code;
	w->end = b->code_end;
	w->record = false;
	w->due = 0;
}

bool soft_walk_next(struct soft_walk *w)
{
	w->at = w->p;
	w->record = w->due == 1;
	if (w->due)
		w->due--;
	if (w->p == w->end)
		return false;
	if (w->record) {
		w->len = record_size(w->stub.kind);
		if ((size_t)(w->end - w->p) < w->len)
			return false;
	} else {
		if (x86_decode(&w->in, w->p, (size_t)(w->end - w->p), X86_MODE_64,
			       w->c->host_vendor) != X86_DECODE_OK)
			return false;
		w->len = w->in.len;
	}
	w->p += w->len;
	if (!w->record && w->in.op == X86_OP_CALL) {
		w->stub = soft_stub_at(w->c, soft_walk_target(w));
		w->due = w->stub.kind == SOFT_STUB_NONE	  ? 0 :
			 w->stub.kind == SOFT_STUB_STRING ? 2 :
							    1;
	}
	return true;
}

const uint8_t *soft_walk_target(const struct soft_walk *w)
{
	return w->at + w->in.len + w->in.imm;
}

/* ---- first pass ---- */

/* An address that the stub's C half goes on at. */
static bool enter_at(struct verify *v, uint32_t rec_at, int32_t rel, unsigned mark)
{
	int64_t to = (int64_t)rec_at + rel;

	if (to < 0 || to >= v->size)
		return bad(v, rec_at, "its record leads out of the block");
	v->mark[to] |= (uint8_t)mark;
	return true;
}

static bool arena_has(const struct soft_cache *c, const void *p, size_t size)
{
	uintptr_t off = (uintptr_t)p - (uintptr_t)c->arena;

	return off < c->arena_used && size <= c->arena_used - off;
}

static bool record(struct verify *v, const struct soft_walk *w)
{
	uint32_t at = offset(v, w->at);
	struct soft_rec r;
	const struct soft_link *l;

	if (w->stub.kind == SOFT_STUB_EXIT_PC)
		return true; /* any guest address */
	if (w->stub.kind == SOFT_STUB_LINK) {
		soft_copy(&l, w->at, sizeof(l));
		for (unsigned i = 0; i < v->b->n_links; i++)
			if (l == &v->b->link[i])
				return true;
		return bad(v, at, "its record names a link that is not the block's");
	}
	soft_copy(&r, w->at, sizeof(r));
	if (r.block != v->b->index || r.off > v->b->bytes || r.off + r.len > v->b->bytes)
		return bad(v, at, "its record names another block, or no instruction of it");
	switch (w->stub.kind) {
	case SOFT_STUB_MISS:
		if (!r.size || r.size > 4096 || r.insn)
			return bad(v, at, "its record of a TLB miss is not one");
		return enter_at(v, at, r.retry, M_RETRY) &&
		       (!r.next || enter_at(v, at, r.next, M_ENTER));
	case SOFT_STUB_STEP:
	case SOFT_STUB_STRING:
		if (!arena_has(v->c, r.insn, sizeof(*r.insn)))
			return bad(v, at, "its record has no decoded instruction");
		return (r.flags & REC_END) || enter_at(v, at, r.next, M_ENTER);
	default: return true;
	}
}

/* What a look at the TLB in front of a jump back gives: pieces of it, by the form of the instructions. The second
 * pass finds out whether it is true. */
static void look(const struct x86_insn *in, struct verify_flow *f)
{
	if (in->map != X86_MAP_1 || !in->has_modrm || in->opnd_bytes != 8)
		return;
	if (in->opcode == 0x2b && in->has_mem && in->base == S1 && in->reg == S0)
		f->write = ((uint64_t)in->disp - offsetof(struct soft_vcpu, tlb)) %
				   sizeof(struct soft_tlb_entry) ==
			   offsetof(struct soft_tlb_entry, tag_w);
	if (in->op == X86_OP_CMP && (in->opcode == 0x81 || in->opcode == 0x83) && !in->has_mem &&
	    in->rm == S0)
		f->size = 4096 - (uint32_t)in->imm;
}

/* Whether it may jump back is the second pass's to say. (A link that is chained to its own block does, too.) */
static void jump_back(struct verify *v, const struct soft_walk *w, const struct verify_flow *f)
{
	uint32_t to = offset(v, soft_walk_target(w));

	if ((v->b->key & SOFT_KEY_WINDOW) && v->n_backs < MAX_WAYS)
		v->back[v->n_backs++] = (struct way){.at = to,
						     .flow = {.s0 = VERIFY_S0_HOST,
							      .write = f->write,
							      .size = f->size}};
}

static bool first_pass(struct verify *v)
{
	const struct soft_block *b = v->b;
	const uint8_t *const entry[] = {b->code, b->e_slot, b->e_slot_polled, b->e_native,
					b->e_native_polled};
	struct verify_flow seen = {0};
	struct soft_walk w;

	for (soft_walk_start(&w, v->c, b); soft_walk_next(&w);) {
		uint32_t at = offset(v, w.at);

		if (w.record) {
			if (!record(v, &w))
				return false;
			continue;
		}
		v->mark[at] |= M_INSN;
		look(&w.in, &seen);
		if (w.in.op == X86_OP_JMP && soft_walk_target(&w) >= b->code &&
		    soft_walk_target(&w) <= w.at)
			jump_back(v, &w, &seen);
		if (w.in.imm_bytes == 4 && (w.in.op == X86_OP_JMP || w.in.op == X86_OP_JCC))
			v->mark[at + w.in.len - 4] |= M_REL32;
	}
	if (w.p != w.end || w.due)
		return bad(v, offset(v, w.at), "it is no instruction, or its record is cut off");
	for (unsigned i = 0; i < ARRAY_SIZE(entry); i++) {
		if (offset(v, entry[i]) >= v->size)
			return bad(v, 0, "an entry is outside of the block");
		v->mark[offset(v, entry[i])] |= M_ENTER;
	}
	for (uint32_t i = 0; i < v->size; i++)
		if ((v->mark[i] & (M_ENTER | M_RETRY)) && !(v->mark[i] & M_INSN))
			return bad(v, i, "the code is entered where no instruction begins");
	return true;
}

/* ---- second pass ---- */

/* Two ways lead here: what they agree in. */
static void flow_join(struct verify_flow *a, const struct verify_flow *b)
{
	if (a->s0 != b->s0 || a->mmu != b->mmu || a->write != b->write || a->size != b->size ||
	    a->part != b->part || a->window != b->window) {
		a->s0 = a->mmu = a->write = a->size = a->part = 0;
		a->window = false;
	}
	if (a->s1 != b->s1 || a->s1_value != b->s1_value)
		a->s1 = VERIFY_S1_ANY;
	if (a->jc != b->jc)
		a->jc = 0;
	for (unsigned i = 0; i < SOFT_GROUPS; i++)
		if (a->group[i] != b->group[i] || ((a->group_write ^ b->group_write) >> i & 1))
			a->group[i] = 0;
}

static bool same_groups(const struct verify_flow *a, const struct verify_flow *b)
{
	for (unsigned i = 0; i < SOFT_GROUPS; i++)
		if (a->group[i] != b->group[i] ||
		    (a->group[i] && ((a->group_write ^ b->group_write) >> i & 1)))
			return false;
	return true;
}

static struct way *way_to(struct way *w, unsigned n, uint32_t at)
{
	for (unsigned i = 0; i < n; i++)
		if (w[i].at == at)
			return &w[i];
	return NULL;
}

/* From behind a look at the TLB to behind the addition of window_delta[]: there the walk went on with what this look
 * gives. */
static bool comes_back(struct verify *v, uint32_t at, uint32_t to)
{
	const struct way *back = way_to(v->back, v->n_backs, to);
	const struct verify_flow *f = &v->flow, *was;

	if (!back)
		return bad(v, at, "it is a loop");
	was = &back->flow;
	if (!was->window || f->s0 != VERIFY_S0_HOST || f->write != was->write ||
	    f->size != was->size || !same_groups(f, was))
		return bad(v, at, "it jumps back with another operand than that was gone on with");
	return true;
}

static bool branch(struct verify *v, const struct soft_walk *w, const struct verify_flow *taken)
{
	uint32_t at = offset(v, w->at), to = offset(v, soft_walk_target(w));
	struct way *j = way_to(v->join, v->n_joins, to);

	if (to >= v->size || !(v->mark[to] & M_INSN))
		return bad(v, at, "it branches to where no instruction of the block begins");
	if (to <= at)
		return w->in.op == X86_OP_JMP ? comes_back(v, at, to) : bad(v, at, "it is a loop");
	if (j) {
		flow_join(&j->flow, taken);
		return true;
	}
	if (v->n_joins == MAX_WAYS)
		return bad(v, at, "it has too many branches");
	v->join[v->n_joins++] = (struct way){.at = to, .flow = *taken};
	return true;
}

/* What is known at `at`, on all ways to it. */
static bool arrive(struct verify *v, uint32_t at)
{
	const struct way *j = way_to(v->join, v->n_joins, at);
	unsigned mark = v->mark[at];

	if (!v->reached) {
		v->flow = j ? j->flow : (struct verify_flow){0};
	} else if (j) {
		flow_join(&v->flow, &j->flow);
	}
	v->reached = true;
	/* Code goes on behind window_delta[] with no more than the look at the TLB gives, which jumps to here. */
	if (v->flow.s0 == VERIFY_S0_HOST && v->flow.window) {
		struct way *back = way_to(v->back, v->n_backs, at);

		if (!back || j)
			return bad(v, at, "nothing stands in for its window");
		v->flow.window = false;
		v->flow.write = back->flow.write;
		v->flow.size = back->flow.size;
		back->flow = v->flow;
		back->flow.window = true; /* the walk has been here */
	}
	if (mark & M_ENTER)
		v->flow = (struct verify_flow){0};
	if (mark & M_RETRY) {
		struct verify_flow was = v->flow;

		v->flow = (struct verify_flow){.group_write = was.group_write};
		for (unsigned g = 0; g < SOFT_GROUPS; g++)
			v->flow.group[g] = was.group[g];
	}
	if (mark & M_RETRY) {
		if (v->n_notes == MAX_WAYS)
			return bad(v, at, "it has too many branches");
		v->note[v->n_notes++] = (struct way){.at = at, .flow = v->flow};
	}
	return true;
}

static bool call(struct verify *v, const struct soft_walk *w)
{
	uint32_t at = offset(v, w->at);
	const struct verify_flow *f = &v->flow;
	const struct way *retry;
	struct soft_rec r;

	switch (w->stub.kind) {
	case SOFT_STUB_NONE: return bad(v, at, "it calls something that is not a stub");
	case SOFT_STUB_MISS:
		soft_copy(&r, w->at + w->len, sizeof(r));
		if (f->s0 != VERIFY_S0_OFFSET || f->mmu != w->stub.mmu ||
		    (bool)f->write != w->stub.write || f->size != r.size)
			return bad(v, at, "it reports a TLB miss without one, or another one");
		retry = way_to(v->note, v->n_notes, at + w->len + (uint32_t)r.retry);
		if (!retry || !same_groups(&retry->flow, f))
			return bad(v, at, "it tries an access again that was not the one");
		break;
	case SOFT_STUB_STRING:
		if ((v->b->key & SOFT_KEY_CPL3) && w->stub.mmu != SOFT_MMU_USER)
			return bad(v, at, "it moves strings with another privilege");
		if (!(v->mark[at + w->len] & M_INSN) || w->at[w->len] != 0xeb ||
		    w->at[w->len + 1] != sizeof(struct soft_rec))
			return bad(v, at,
				   "behind the call of a string stub is no jump over its record");
		v->flow = (struct verify_flow){0};
		return true;
	default: break;
	}
	v->reached = false; /* all others come back to what their record says */
	return true;
}

static bool instruction(struct verify *v, const struct soft_walk *w)
{
	const struct x86_insn *in = &w->in;
	uint32_t at = offset(v, w->at);
	struct verify_flow taken;
	const char *why;

	if (!arrive(v, at))
		return false;
	taken = v->flow;
	why = verify_insn(v->b, in, &v->flow);
	if (why)
		return bad(v, at, why);
	switch (in->op) {
	case X86_OP_CALL: return call(v, w);
	case X86_OP_JMP_IND: v->reached = false; return true;
	case X86_OP_JCC:
	case X86_OP_JCXZ:
		if (taken.s0 == VERIFY_S0_PART)
			taken.s0 = VERIFY_S0_ANY;
		if (taken.s0 == VERIFY_S0_COMPARED) /* the miss: size stays for its record */
			taken.s0 = in->op == X86_OP_JCC && in->cond == CC_A ? VERIFY_S0_OFFSET :
									      VERIFY_S0_ANY;
		taken.jc = 0;
		return branch(v, w, &taken);
	case X86_OP_JMP: v->reached = false; return branch(v, w, &v->flow);
	default: return true;
	}
}

static bool second_pass(struct verify *v)
{
	struct soft_walk w;

	for (soft_walk_start(&w, v->c, v->b); soft_walk_next(&w);)
		if (!w.record && !instruction(v, &w))
			return false;
	return !v->reached || bad(v, v->size, "the code runs past its end");
}

/* ---- links and sites ---- */

/* Its displacement lies in a jump of the block, aligned for an atomic store. */
static bool link_site(struct verify *v, const struct soft_link *l, const uint8_t **target)
{
	const uint8_t *site = soft_cache_rx(v->c, l->site);
	uint32_t at = offset(v, site);
	int32_t rel;

	if (at >= v->size || !(v->mark[at] & M_REL32) || ((uintptr_t)site & 3) || l->from != v->b)
		return bad(v, MIN(at, v->size),
			   "a link's place is no aligned displacement of a jump of the block");
	soft_copy(&rel, site, sizeof(rel));
	*target = site + 4 + rel;
	return true;
}

static bool links_and_sites(struct verify *v)
{
	const struct soft_block *b = v->b;
	const uint8_t *target;

	for (unsigned i = 0; i < b->n_links; i++) {
		if (!link_site(v, &b->link[i], &target))
			return false;
		if (target != b->link[i].cold || b->link[i].to)
			return bad(v, 0, "a link does not lead to its own cold code");
	}
	for (unsigned i = 0; i < b->n_sites; i++)
		if (b->site[i].host > v->size ||
		    (b->site[i].host < v->size && !(v->mark[b->site[i].host] & M_INSN)))
			return bad(v, MIN(b->site[i].host, v->size),
				   "an instruction's site is inside of another one");
	return true;
}

static bool start(struct verify *v, const struct soft_cache *c, const struct soft_block *b,
		  struct soft_verify_error *err)
{
	size_t size = (size_t)(b->code_end - b->code);

	v->c = c;
	v->b = b;
	v->err = err;
	v->size = 0;
	v->n_joins = v->n_notes = v->n_backs = 0;
	v->flow = (struct verify_flow){0};
	v->reached = true;
	if (size > MAX_CODE)
		return bad(v, 0, "it has too many bytes");
	if (b->code < c->rx + c->stubs_end || b->code_end > c->rx + c->size ||
	    ((uintptr_t)b->code & 15))
		return bad(v, 0, "it is not where blocks are");
	v->size = (uint32_t)size;
	soft_zero(v->mark, size + 1);
	return true;
}

bool soft_verify_block(const struct soft_cache *c, const struct soft_block *b,
		       struct soft_verify_error *err)
{
	struct verify v;

	return start(&v, c, b, err) && first_pass(&v) && second_pass(&v) && links_and_sites(&v);
}

bool soft_verify_link(const struct soft_cache *c, const struct soft_link *l,
		      const struct soft_block *to, const uint8_t *entry,
		      struct soft_verify_error *err)
{
	const uint8_t *const polled[] = {to->e_slot_polled, to->e_native_polled};
	const uint8_t *const plain[] = {to->e_slot, to->e_native};
	const uint8_t *const *entries = l->polled ? polled : plain;
	const uint8_t *target;
	struct verify v;

	if (!start(&v, c, l->from, err) || !first_pass(&v) || !link_site(&v, l, &target))
		return false;
	if (target != l->cold)
		return bad(&v, 0, "a link is chained twice");
	if (entry != entries[0] && entry != entries[1])
		return bad(&v, 0, "a link is chained to what is not an entry of its kind");
	if (to->dead || l->from->dead || l->target != to->va || l->key != to->key)
		return bad(&v, 0, "a link is chained to another block than it was made for");
	if ((l->key & SOFT_KEY_PLAIN) &&
	    ((l->from->key & SOFT_KEY_PLAIN) || l->target < l->from->va))
		return bad(&v, 0,
			   "a link leads from one plain block to another, or out of its block");
	if (!l->polled && l->target <= l->from->va && !(l->key & SOFT_KEY_PLAIN))
		return bad(&v, 0, "a link backward has no poll");
	return true;
}

void soft_verify_failed(const struct soft_block *b, const struct soft_verify_error *err)
{
	static const char digit[] = "0123456789abcdef";
	size_t size = (size_t)(b->code_end - b->code);
	char line[3 * 32 + 1];

	log_error("the translated block of guest address %#llx (key %#x) breaks a rule at +%u: %s",
		  (unsigned long long)b->va, b->key, err->at, err->why);
	for (size_t i = 0; i < size; i += 32) {
		size_t n = MIN(size - i, (size_t)32);

		for (size_t k = 0; k < n; k++) {
			line[3 * k] = ' ';
			line[3 * k + 1] = digit[b->code[i + k] >> 4];
			line[3 * k + 2] = digit[b->code[i + k] & 15];
		}
		line[3 * n] = '\0';
		log_error("+%04zu %s", i, line);
	}
	base_assert_failed("translated code keeps the rules of verify.h", __FILE__, __LINE__);
}
