/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_run.c - between translated code and the rest: the dispatcher that finds or makes the block for s.rip
 * and enters it, and the C halves of the stubs.
 *
 * Called from the stubs, with guest FPU state in the host's registers: soft_tr_miss(), soft_tr_step(). They
 * answer with the host address to go on at, or 0 to leave the code (tr.exit says why).
 */
#include "engine/soft/mmu.h"
#include "engine/soft/translate.h"

/* AddressSanitizer's run-time library is called before an unwinding jump, and uses vector registers. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* What control registers make of it. */
static uint32_t control_key(const struct soft_vcpu *v, unsigned cpl)
{
	const struct x86_state *s = &v->s;
	uint32_t key = 0;

	if ((s->cr0 & (X86_CR0_EM | X86_CR0_TS)) || !(s->cr4 & X86_CR4_OSFXSR))
		key |= SOFT_KEY_FP_SLOW;
	if (soft_avx_enabled(v) && !(s->cr0 & X86_CR0_TS))
		key |= SOFT_KEY_AVX;
	if ((s->cr4 & X86_CR4_TSD) && cpl != 0)
		key |= SOFT_KEY_TSD;
	if ((s->cr4 & X86_CR4_SMAP) && cpl != 3)
		key |= SOFT_KEY_SMAP;
	if (v->window.on && cpl == 3)
		key |= SOFT_KEY_WINDOW;
	return key;
}

uint32_t soft_tr_key(const struct soft_vcpu *v)
{
	const struct x86_state *s = &v->s;
	uint32_t key = v->mmu;

	if (!(s->msr.efer & X86_EFER_LMA) || (v->cpl != 0 && v->cpl != 3))
		return SOFT_KEY_NONE;
	if (v->code_breakpoints || (s->rflags & X86_TF))
		return SOFT_KEY_NONE;
	if (v->mode == X86_MODE_32) {
		static const uint8_t flat[] = {X86_CS, X86_DS, X86_ES, X86_SS};

		for (unsigned i = 0; i < ARRAY_SIZE(flat); i++) {
			const struct x86_seg *g = &s->seg[flat[i]];

			/* A segment that a store or a load could fault on goes by C. */
			if (g->base || g->limit != UINT32_MAX || !(g->attr & X86_ATTR_P) ||
			    (flat[i] != X86_CS &&
			     (g->attr & (X86_ATTR_CODE | X86_ATTR_EXPAND_DOWN))) ||
			    !(g->attr & X86_ATTR_RW))
				return SOFT_KEY_NONE;
		}
		if (!(s->seg[X86_SS].attr & X86_ATTR_DB))
			return SOFT_KEY_NONE;
		key |= SOFT_KEY_COMPAT;
	} else if (v->mode != X86_MODE_64) {
		return SOFT_KEY_NONE;
	}
	if (v->cpl == 3) {
		key |= SOFT_KEY_CPL3;
		if ((s->cr0 & X86_CR0_AM) && (s->rflags & X86_AC))
			return SOFT_KEY_NONE; /* alignment checks: by C */
	}
	key |= control_key(v, v->cpl);
	return key & SOFT_KEY_COMPAT ? key & ~SOFT_KEY_WINDOW : key;
}

/* ---- jump cache ---- */

static unsigned jc_array(uint32_t key)
{
	return key & SOFT_KEY_COMPAT ? SOFT_JCS - 1 : key & SOFT_KEY_MMU;
}

/* Tags of empty entries: addresses that have another index. */
static uint64_t jc_empty(unsigned i)
{
	return i ^ 1;
}

static uint64_t jc2_empty(unsigned i)
{
	return (uint64_t)(i ^ 1) << 4;
}

/* A change of address space empties an array, often: it visits only what was filled, unless that was a lot. */
static void jc_clear(struct soft_vcpu *v, unsigned a)
{
	struct soft_tr *tr = &v->tr;
	bool all = tr->jc_n_used[a] == 0xffff;
	unsigned n = all ? 2 * SOFT_JC_SIZE : tr->jc_n_used[a];

	for (unsigned j = 0; j < n; j++) {
		unsigned i = all ? j : tr->jc_used[a][j];

		if (i < SOFT_JC_SIZE)
			tr->jc_tag[a][i] = jc_empty(i);
		else
			tr->jc2_tag[a][i - SOFT_JC_SIZE] = jc2_empty(i - SOFT_JC_SIZE);
	}
	tr->jc_n_used[a] = 0;
}

void soft_tr_rekey(struct soft_vcpu *v)
{
	for (unsigned a = 0; a < SOFT_MMUS; a++) {
		uint32_t key = a == SOFT_MMU_USER ? a | SOFT_KEY_CPL3 | control_key(v, 3) :
						    a | control_key(v, 0);

		if (v->tr.jc_key[a] == key)
			continue;
		jc_clear(v, a);
		v->tr.jc_key[a] = key;
	}
}

void soft_tr_init_jc(struct soft_vcpu *v)
{
	for (unsigned a = 0; a < SOFT_JCS; a++)
		v->tr.jc_n_used[a] = 0xffff;
	soft_tr_flush_jc(v);
}

void soft_tr_flush_jc(struct soft_vcpu *v)
{
	for (unsigned a = 0; a < SOFT_JCS; a++)
		jc_clear(v, a);
	soft_zero(&v->tr.jc_pages, sizeof(v->tr.jc_pages));
	v->tr.jc_nonglobal = false;
	v->tr.jc_epoch++;
}

static void jc_note(struct soft_vcpu *v, unsigned a, unsigned i)
{
	if (v->tr.jc_n_used[a] < ARRAY_SIZE(v->tr.jc_used[a]))
		v->tr.jc_used[a][v->tr.jc_n_used[a]++] = (uint16_t)i;
	else
		v->tr.jc_n_used[a] = 0xffff;
}

static void jc_insert(struct soft_vcpu *v, uint32_t key, const struct soft_block *b, bool global)
{
	unsigned a = jc_array(key), i = soft_jc_index(b->va);
	uint64_t old = v->tr.jc_tag[a][i];

	if (old != jc_empty(i) && old != b->va) { /* keep what a collision drives out */
		unsigned i2 = soft_jc_index2(old);

		v->tr.jc2_tag[a][i2] = old;
		v->tr.jc2_code[a][i2] = v->tr.jc_code[a][i];
		jc_note(v, a, SOFT_JC_SIZE + i2);
	}
	v->tr.jc_tag[a][i] = b->va;
	v->tr.jc_code[a][i] = (uint64_t)(uintptr_t)b->e_slot_polled;
	jc_note(v, a, i);
	soft_filter_add(&v->tr.jc_pages, b->va);
	if (!global && a <= SOFT_MMU_KERNEL_USER)
		v->tr.jc_nonglobal = true;
}

void soft_tr_flushed(struct soft_vcpu *v, bool global)
{
	if (global) {
		soft_tr_flush_jc(v);
		if (v->soft->cache && v->soft->cache->n_cross)
			soft_cache_unlink_cross(v->soft);
		return;
	}
	if (v->tr.jc_nonglobal) {
		soft_tr_flush_jc(v);
		return;
	}
	jc_clear(v, SOFT_MMU_USER);
	jc_clear(v, SOFT_JCS - 1);
}

static const uint8_t user_arrays[2] = {SOFT_MMU_USER, SOFT_JCS - 1};

void soft_tr_save(struct soft_vcpu *v, struct soft_space *sp)
{
	struct soft_tr *tr = &v->tr;

	sp->jc_epoch = tr->jc_epoch;
	for (unsigned k = 0; k < ARRAY_SIZE(user_arrays); k++) {
		unsigned a = user_arrays[k], room = SOFT_SPACE_JUMPS, n = 0;
		bool all = tr->jc_n_used[a] == 0xffff;
		unsigned used = all ? 2 * SOFT_JC_SIZE : tr->jc_n_used[a];

		for (unsigned j = 0; j < used; j++) {
			unsigned i = all ? j : tr->jc_used[a][j], i2 = i - SOFT_JC_SIZE;
			bool first = i < SOFT_JC_SIZE;
			uint64_t *tag = first ? &tr->jc_tag[a][i] : &tr->jc2_tag[a][i2];
			uint64_t none = first ? jc_empty(i) : jc2_empty(i2);

			if (*tag == none)
				continue;
			if (n < room) {
				sp->jc_at[k][n] = (uint16_t)i;
				sp->jc_tag[k][n] = *tag;
				sp->jc_code[k][n++] = first ? tr->jc_code[a][i] :
							      tr->jc2_code[a][i2];
			}
			*tag = none;
		}
		tr->jc_n_used[a] = 0;
		sp->n_jc[k] = n;
		sp->jc_key[k] = tr->jc_key[a];
	}
}

void soft_tr_restore(struct soft_vcpu *v, const struct soft_space *sp)
{
	struct soft_tr *tr = &v->tr;

	if (sp->jc_epoch != tr->jc_epoch)
		return;
	for (unsigned k = 0; k < ARRAY_SIZE(user_arrays); k++) {
		unsigned a = user_arrays[k];

		if (sp->jc_key[k] != tr->jc_key[a])
			continue;
		for (unsigned j = 0; j < sp->n_jc[k]; j++) {
			unsigned i = sp->jc_at[k][j];

			if (i < SOFT_JC_SIZE) {
				tr->jc_tag[a][i] = sp->jc_tag[k][j];
				tr->jc_code[a][i] = sp->jc_code[k][j];
			} else {
				tr->jc2_tag[a][i - SOFT_JC_SIZE] = sp->jc_tag[k][j];
				tr->jc2_code[a][i - SOFT_JC_SIZE] = sp->jc_code[k][j];
			}
			jc_note(v, a, i);
			soft_filter_add(&tr->jc_pages, sp->jc_tag[k][j]);
		}
	}
}

/* Drops targets in the page of la; the filter then knows what is left. (Empty entries have addresses too: if they are
 * taken for targets, nothing is lost.) */
static void jc_drop_page(struct soft_vcpu *v, uint64_t la)
{
	struct soft_tr *tr = &v->tr;

	soft_zero(&tr->jc_pages, sizeof(tr->jc_pages));
	for (unsigned a = 0; a < SOFT_JCS; a++) {
		for (unsigned i = 0; i < SOFT_JC_SIZE; i++) {
			uint64_t *tag = &tr->jc_tag[a][i], *tag2 = &tr->jc2_tag[a][i];

			if (!((*tag ^ la) >> 12))
				*tag = jc_empty(i);
			else if (*tag != jc_empty(i))
				soft_filter_add(&tr->jc_pages, *tag);
			if (!((*tag2 ^ la) >> 12))
				*tag2 = jc2_empty(i);
			else if (*tag2 != jc2_empty(i))
				soft_filter_add(&tr->jc_pages, *tag2);
		}
	}
}

void soft_tr_flushed_page(struct soft_vcpu *v, uint64_t la)
{
	struct soft_cache *c = v->soft->cache;

	if (unlikely(soft_filter_has(&v->tr.jc_pages, la)))
		jc_drop_page(v, la);
	if (c && unlikely(soft_filter_has(&c->cross_pages, la)))
		soft_cache_unlink_cross_page(v->soft, la);
}

/* ---- called by the stubs ---- */

static void flags_in(struct soft_vcpu *v)
{
	v->s.rflags = (v->s.rflags & ~(uint64_t)X86_STATUS_FLAGS) |
		      soft_flags_of_slot(v->tr.flags_slot);
}

static void flags_out(struct soft_vcpu *v)
{
	v->tr.flags_slot = soft_slot_of_flags(v->s.rflags);
}

static uint64_t linear_rip(const struct soft_vcpu *v)
{
	return v->mode == X86_MODE_64 ? v->s.rip : (uint32_t)v->s.rip;
}

/* Something is due before the next instruction: an event, or a look at a shadow. */
static bool must_look(const struct soft_vcpu *v)
{
	const struct x86_events *ev = &v->s.ev;

	return ev->halted || ev->sti_shadow || ev->movss_shadow || ev->nmi_pending || v->shutdown ||
	       v->trap_pending || (v->tr.irq_check && (v->s.rflags & X86_IF));
}

/* After an instruction that went somewhere else: the code at s.rip, straight from the jump cache. */
static uint64_t go_on(struct soft_vcpu *v)
{
	uint32_t key = soft_tr_key(v);
	uint64_t va = linear_rip(v);
	unsigned a = jc_array(key), i = soft_jc_index(va);

	v->tr.exit = TR_EXIT_STEP;
	if (key == SOFT_KEY_NONE || must_look(v))
		return 0;
	if (v->tr.jc_key[a] != key || v->tr.jc_tag[a][i] != va) {
		v->tr.exit = TR_EXIT_NEXT;
		return 0;
	}
	soft_fp_load(v);
	return v->tr.jc_code[a][i];
}

unsigned soft_block_left(const struct soft_block *b, unsigned off)
{
	unsigned i = 0;

	/* The first sites are the instructions in order; copies in cold code come behind. */
	while (i < b->n_insns && b->site[i].off != off)
		i++;
	return b->n_insns - i;
}

/* Runs the instruction of the record by the reference way. */
static uint64_t by_step(struct soft_vcpu *v, const struct soft_rec *r)
{
	struct soft_block *b = v->soft->cache->block[r->block];
	uint64_t next = b->va + r->off + r->len;

	flags_in(v);
	v->s.rip = b->va + r->off;
	if (b->key & SOFT_KEY_COMPAT) {
		v->s.rip = (uint32_t)v->s.rip;
		next = (uint32_t)next;
	}
	v->tr.n_slow++;
	if (SANITIZED)
		soft_fp_save(v);

	bool ok = r->insn ? soft_step_decoded(v, r->insn) : soft_step(v);

	v->tr.slow_by_op[r->insn ? r->insn->op : v->insn.op]++;
	flags_out(v);
	if (!ok || (r->flags & REC_END) || !r->next || v->s.rip != next || b->dead ||
	    v->s.ev.movss_shadow || v->s.ev.sti_shadow || soft_tr_key(v) != r->key) {
		if (unlikely(v->lockstep))
			v->tr.count -= soft_block_left(b, r->off) - 1;
		return go_on(v);
	}
	soft_fp_load(v);
	return (uint64_t)(uintptr_t)((const uint8_t *)v->tr.rec + r->next);
}

uint64_t soft_tr_step(struct soft_vcpu *v)
{
	struct soft_rec r;

	soft_copy(&r, v->tr.rec, sizeof(r));
	return by_step(v, &r);
}

/* The check of a group failed; none of its operands has been touched. It may ask for writing where its leader only
 * reads: then the entry is filled for reading, and will do if that made it writable, too. */
static uint64_t group_miss(struct soft_vcpu *v, const struct soft_rec *r, unsigned write)
{
	bool leader_writes = write && !(r->flags & REC_READS);
	uint64_t va = v->tr.va;
	bool ok = soft_tlb_fill(v, va, r->size, leader_writes ? SOFT_WRITE : SOFT_READ);

	if (ok && write && !leader_writes)
		ok = v->tlb[v->mmu][(va >> 12) & (SOFT_TLB_SIZE - 1)].tag_w ==
		     (va & ~UINT64_C(0xfff));
	if (unlikely(v->lockstep) && !ok)
		v->tr.count -= soft_block_left(v->soft->cache->block[r->block], r->off);
	return (uint64_t)(uintptr_t)((const uint8_t *)v->tr.rec + (ok ? r->retry : r->next));
}

uint64_t soft_tr_miss(struct soft_vcpu *v, unsigned write)
{
	struct soft_rec r;

	soft_copy(&r, v->tr.rec, sizeof(r));
	v->tr.n_miss++;
	if (r.flags & REC_GROUP)
		return group_miss(v, &r, write);
	if (soft_tlb_fill(v, v->tr.va, r.size, write ? SOFT_WRITE : SOFT_READ)) {
		if (unlikely(v->chaos_state))
			soft_chaos_miss(v);
		return (uint64_t)(uintptr_t)((const uint8_t *)v->tr.rec + r.retry);
	}
	return by_step(v, &r);
}

/* ---- dispatcher ---- */

/* Block for s.rip, made if need be. NULL: step instead. */
static struct soft_block *find(struct soft_vcpu *v, uint32_t key, bool *global)
{
	struct soft_cache *c = v->soft->cache;
	uint64_t va = linear_rip(v);
	const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, va);
	struct soft_block *b;
	bool full;

	if (!x || !x->host)
		return NULL;
	*global = x->global;
	pthread_mutex_lock(&c->lock);
	b = soft_cache_find(c, va, x->gpa | (va & 0xfff), key);
	pthread_mutex_unlock(&c->lock);
	if (b && likely(b->n_pages == 1))
		return b;
	if (b) { /* its check of the second page looks at the TLB entry: there it is now */
		struct soft_xtlb_entry first = *x;

		if (soft_block_valid(v, b))
			return b;
		b = soft_translate(v, va, &first, key, &full);
	} else {
		b = soft_translate(v, va, x, key, &full);
	}
	if (!b && full) {
		soft_cache_flush(v->soft, v, false);
		x = soft_fetch_page_peek(v, va);
		b = x && x->host ? soft_translate(v, va, x, key, &full) : NULL;
	}
	return b;
}

/* May this link be chained to a target on another page? Both pages global now. */
static void chain(struct soft_vcpu *v, struct soft_link *l, struct soft_block *to, bool global,
		  uint64_t generation)
{
	struct soft_cache *c = v->soft->cache;

	bool fixed = global || ((l->key & SOFT_KEY_WINDOW) && v->window.on);

	if (l->target != to->va || l->key != to->key || (l->cross_page && !fixed))
		return;
	pthread_mutex_lock(&c->lock);
	if (c->n_flushes == generation)
		soft_cache_link(v->soft, l, to);
	pthread_mutex_unlock(&c->lock);
}

/* An indirect jump that the jump cache did not know. A bad address faults at the jump: run it by C. */
static void indirect(struct soft_vcpu *v)
{
	struct soft_rec r;

	soft_copy(&r, v->tr.rec, sizeof(r));
	v->tr.n_ind++;
	v->s.rip = v->tr.va;
	if (v->mode == X86_MODE_64 && (r.flags & REC_REDO) && unlikely(!mmu_canonical(v->tr.va))) {
		v->s.gpr[X86_RSP] += (uint64_t)(int64_t)r.rsp_undo;
		v->s.rip = v->soft->cache->block[r.block]->va + r.off;
		v->tr.exit = TR_EXIT_FAULT; /* the caller steps */
		v->tr.fault_left = 1;
	}
}

/* Enters a block and comes back when its code (and what is chained to it) leaves. True: it was entered. */
static bool enter(struct soft_vcpu *v, const struct soft_block *b, uint64_t generation)
{
	struct soft_tr *tr = &v->tr;
	struct soft_cache *c = v->soft->cache;

	__atomic_store_n(&tr->in_code, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST) ||
	    __atomic_load_n(&v->req, __ATOMIC_SEQ_CST) || c->n_flushes != generation || b->dead) {
		__atomic_store_n(&tr->in_code, 0, __ATOMIC_SEQ_CST);
		soft_cache_park(c);
		return false;
	}
	flags_out(v);
	v->s.rflags &= ~(
		uint64_t)X86_RF; /* it is for the first instruction only; no code breakpoints here */
	soft_fp_load(v);
	tr->n_enter++;
	((void (*)(struct soft_vcpu *, const void *))(uintptr_t)c->stub.enter)(v, b->e_slot);
	return true;
}

bool soft_tr_run(struct soft_vcpu *v)
{
	struct soft_tr *tr = &v->tr;
	struct soft_cache *c = v->soft->cache;
	struct soft_link *link = NULL;
	bool indirect_jump = false;
	uint64_t generation = 0;

	for (;;) {
		uint32_t key = soft_tr_key(v), plain = 0;
		bool global = false;

		if (unlikely(v->chaos_state))
			soft_chaos(v);
		if (key == SOFT_KEY_NONE || v->s.ev.sti_shadow || v->s.ev.movss_shadow ||
		    v->trap_pending)
			return false;
		if (tr->jc_key[jc_array(key)] != key) {
			jc_clear(v, jc_array(key));
			tr->jc_key[jc_array(key)] = key;
		}
		if (link && c->n_flushes == generation)
			plain = link->key & SOFT_KEY_PLAIN;

		struct soft_block *b = find(v, key | plain, &global);

		if (!b)
			return false;
		if (link && c->n_flushes == generation) /* else it is gone */
			chain(v, link, b, global, generation);
		if (indirect_jump)
			jc_insert(v, key, b, global);
		link = NULL;
		indirect_jump = false;
		generation = c->n_flushes;
		if (!enter(v, b, generation))
			return true;
		/* Records lie in code memory: read them before it may be reused. */
		switch ((enum soft_tr_exit)tr->exit) {
		case TR_EXIT_LINK:
			soft_copy(&link, tr->rec, sizeof(link));
			v->s.rip = link->target;
			tr->n_link++;
			break;
		case TR_EXIT_PC: soft_copy(&v->s.rip, tr->rec, sizeof(v->s.rip)); break;
		case TR_EXIT_IND:
			indirect(v);
			indirect_jump = true;
			break;
		case TR_EXIT_FAULT:
			tr->n_fault++;
			v->s.rip = tr->fault_rip;
			break;
		case TR_EXIT_NEXT: indirect_jump = true; break;
		case TR_EXIT_STEP:
		case TR_EXIT_NATIVE: break;
		}
		__atomic_store_n(&tr->in_code, 0, __ATOMIC_SEQ_CST);
		if (tr->exit == TR_EXIT_STEP)
			return true; /* rflags are whole already, as after NEXT */
		flags_in(v);
		if (tr->exit == TR_EXIT_FAULT) {
			tr->count -= tr->fault_left - 1;
			(void)soft_step(v);
			return true;
		}
		if (__atomic_load_n(&v->req, __ATOMIC_SEQ_CST))
			return true;
		if (unlikely(v->lockstep) && tr->count >> 32) /* the unit is full */
			return true;
	}
}

/* ---- one block at a time: lock-step and tests ---- */

struct soft_block *soft_tr_block(struct soft_vcpu *v, uint32_t key)
{
	bool global;

	return find(v, key, &global);
}

bool soft_tr_block_ends_at_once(struct soft_vcpu *v, const struct soft_block *b)
{
	const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, b->va);
	unsigned pos = b->va & 0xfff;
	struct x86_insn in;

	return !x || !x->host || soft_decode(v, &in, x->host + pos, 4096 - pos) != X86_DECODE_OK ||
	       (in.attr & X86_A_END);
}

/* The code was left by the poll at its entry: nothing has run. */
static bool polled_out(struct soft_vcpu *v, const struct soft_block *b)
{
	uint64_t pc;

	if (v->tr.exit != TR_EXIT_PC)
		return false;
	soft_copy(&pc, v->tr.rec, sizeof(pc));
	if (pc != b->va)
		return false;
	flags_in(v); /* what enter() begins with */
	return true;
}

/* Returns SOFT_KEY_PLAIN when the block has to go on as that, else 0. */
static uint32_t run_block(struct soft_vcpu *v, uint32_t plain)
{
	struct soft_tr *tr = &v->tr;
	uint32_t key = soft_tr_key(v), req;
	struct soft_block *b = key == SOFT_KEY_NONE ? NULL : soft_tr_block(v, key | plain);
	struct soft_link *link;
	bool entered;

	plain = 0;
	if (!b) {
		(void)soft_step(v);
		return 0;
	}
	req = 0;
	do { /* not now; another thread may ask again before the code is entered, or before a poll in its entry */
		req |= __atomic_exchange_n(&v->req, 0, __ATOMIC_SEQ_CST);
		entered = enter(v, b, v->soft->cache->n_flushes);
	} while ((!entered || polled_out(v, b)) && __atomic_load_n(&v->req, __ATOMIC_SEQ_CST));
	__atomic_or_fetch(&v->req, req, __ATOMIC_SEQ_CST);
	if (!entered)
		return 0;
	if (tr->exit == TR_EXIT_LINK) {
		soft_copy(&link, tr->rec, sizeof(link));
		v->s.rip = link->target;
		plain = link->key & SOFT_KEY_PLAIN;
	} else if (tr->exit == TR_EXIT_PC) {
		soft_copy(&v->s.rip, tr->rec, sizeof(v->s.rip));
	} else if (tr->exit == TR_EXIT_IND) {
		indirect(v);
	} else if (tr->exit == TR_EXIT_FAULT) {
		v->s.rip = tr->fault_rip;
	}
	__atomic_store_n(&tr->in_code, 0, __ATOMIC_SEQ_CST);
	if (tr->exit == TR_EXIT_STEP || tr->exit == TR_EXIT_NEXT)
		return 0;
	flags_in(v);
	if (tr->exit == TR_EXIT_FAULT)
		(void)soft_step(v);
	return plain;
}

void soft_tr_run_block(struct soft_vcpu *v)
{
	uint32_t plain = 0;

	do
		plain = run_block(v, plain);
	while (plain);
}
