/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tlb.c - what takes entries out of the soft TLB: flushes, INVLPG, changes of address space.
 *
 * Theory of operation. A flush of all but global entries must be quick: the index of each other entry goes into a
 * journal when the entry is made, so that a flush visits only those; when the journal overflows, the flush
 * sweeps the array.
 *
 * PCIDs (SDM vol. 3 §4.10.1). Entries carry no tag: the arrays hold what belongs to the current PCID, and global
 * entries. MOV CR3 to another PCID moves the other entries, and the jump targets of user code, into a struct soft_space,
 * and if the instruction asks for it (CR3 bit 63) brings back what was put away for the new PCID: a copy is ten
 * times cheaper than a walk for each. So a check in translated code needs no PCID. There are few such spaces; the one
 * not used for longest is forgotten, which is always allowed (§4.10.4.2). What flushes more than the current PCID forgets
 * spaces. In a space put away, jump targets are void when the jump cache was emptied meanwhile (jc_epoch), and a
 * write tag when the page got code, or all write tags were dropped (no_write): looked at when it is brought back.
 *
 * Write tags. When a page gets code, its write tags go. written_at[] says, by the page's hash, where in the arrays the only
 * one may be, or that there is none, or that all must be looked at.
 *
 * INVLPG drops one index in each array. But if the address lies in a large page, all entries made from that
 * page must go. Which GiB of linear space has ever got an entry from a large page is kept, hashed, in two
 * sets (one for global pages, one for the rest, emptied by the corresponding flush), each with bits of their own for the
 * lower and the upper half of linear space: the kernel's large pages must not make each INVLPG of a user's small page
 * expensive. Only if the address hits there, the arrays are swept.
 */
#include "engine/soft/mmu.h"

/* ---- What was filled ---- */

void mmu_journal(struct soft_vcpu *v, unsigned kind, unsigned i)
{
	uint16_t n = v->journal_len[kind];

	if (n == 0xffff)
		return;
	if (n == ARRAY_SIZE(v->journal[kind])) {
		v->journal_len[kind] = 0xffff;
		return;
	}
	v->journal[kind][n] = (uint16_t)i;
	v->journal_len[kind] = n + 1;
}

void mmu_note_fetch(struct soft_vcpu *v, unsigned i)
{
	if (v->fetch_journal_len < ARRAY_SIZE(v->fetch_journal))
		v->fetch_journal[v->fetch_journal_len++] = (uint8_t)i;
	else
		v->fetch_journal_len = 0xff;
}

#define NOWHERE 0u
#define SOMEWHERE 0xffffu /* more than one: otherwise the place + 1 */

static uint16_t *written(struct soft_vcpu *v, gpa_t gpa)
{
	return &v->written_at[(gpa >> 12) % SOFT_WRITTEN];
}

void mmu_note_write(struct soft_vcpu *v, unsigned kind, unsigned i)
{
	uint16_t *w = written(v, v->tlb[kind][i].gpa), at = (uint16_t)(kind * SOFT_TLB_SIZE + i + 1);

	if (*w == NOWHERE)
		*w = at;
	else if (*w != at)
		*w = SOMEWHERE;
}

static unsigned large_bit(uint64_t la)
{
	unsigned hash = (unsigned)(((la >> 30) * UINT64_C(0x9e3779b97f4a7c15)) >> 56);

	return (unsigned)(la >> 63) * (SOFT_LARGE_BITS / 2) + hash % (SOFT_LARGE_BITS / 2);
}

void mmu_note_large(struct soft_vcpu *v, uint64_t la, bool global)
{
	unsigned n = large_bit(la);

	v->large[global][n / 64] |= BIT(n % 64);
}

static bool maybe_large(const struct soft_vcpu *v, uint64_t la)
{
	unsigned n = large_bit(la);

	return ((v->large[0][n / 64] | v->large[1][n / 64]) >> (n % 64)) & 1;
}

/* ---- Flushes ---- */

static void empty(struct soft_tlb_entry *e, unsigned i)
{
	e->tag_r = e->tag_w = soft_tlb_empty(i);
	e->gpa = 0;
}

static void forget_spaces(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < SOFT_SPACES; i++)
		v->space[i].valid = false;
}

void soft_tlb_flush_all(struct soft_vcpu *v)
{
	for (unsigned k = 0; k < SOFT_MMUS; k++) {
		for (unsigned i = 0; i < SOFT_TLB_SIZE; i++)
			empty(&v->tlb[k][i], i);
		v->journal_len[k] = 0;
	}
	for (unsigned i = 0; i < SOFT_XTLB_SIZE; i++)
		v->xtlb[i].va = 1;
	v->fetch_journal_len = 0;
	soft_zero(v->large, sizeof(v->large));
	soft_zero(v->written_at, sizeof(v->written_at));
	v->wr_la = 1;
	v->n_flush++;
	forget_spaces(v);
	soft_window_flush(v);
	soft_window_switched(v);
	soft_tr_flushed(v, true);
}

static void flush_current(struct soft_vcpu *v)
{
	bool sweep;
	unsigned n;

	for (unsigned k = 0; k < SOFT_MMUS; k++) {
		sweep = v->journal_len[k] == 0xffff;
		n = sweep ? SOFT_TLB_SIZE : v->journal_len[k];
		for (unsigned j = 0; j < n; j++) {
			unsigned i = sweep ? j : v->journal[k][j];

			if (!(v->tlb[k][i].gpa & MMU_TLB_GLOBAL))
				empty(&v->tlb[k][i], i);
		}
		v->journal_len[k] = 0;
	}
	sweep = v->fetch_journal_len == 0xff;
	n = sweep ? SOFT_XTLB_SIZE : v->fetch_journal_len;
	for (unsigned j = 0; j < n; j++) {
		struct soft_xtlb_entry *x = &v->xtlb[sweep ? j : v->fetch_journal[j]];

		if (!x->global)
			x->va = 1;
	}
	v->fetch_journal_len = 0;
	soft_zero(v->large[0], sizeof(v->large[0]));
	v->wr_la = 1;
	v->n_flush++;
	soft_tr_flushed(v, false);
}

void soft_tlb_flush_nonglobal(struct soft_vcpu *v)
{
	forget_spaces(v);
	flush_current(v);
	soft_window_flush(v);
	soft_window_switched(v);
}

/* ---- Address spaces ---- */

static struct soft_space *find_space(struct soft_vcpu *v, unsigned pcid)
{
	for (unsigned i = 0; i < SOFT_SPACES; i++)
		if (v->space[i].valid && v->space[i].pcid == pcid)
			return &v->space[i];
	return NULL;
}

static struct soft_space *new_space(struct soft_vcpu *v)
{
	struct soft_space *best = &v->space[0];

	for (unsigned i = 0; i < SOFT_SPACES; i++) {
		struct soft_space *sp = &v->space[i];

		if (!sp->valid)
			return sp;
		if (sp->used < best->used)
			best = sp;
	}
	return best;
}

static void save(struct soft_vcpu *v, unsigned pcid)
{
	struct soft_space *sp = find_space(v, pcid);

	if (!sp)
		sp = new_space(v);
	sp->n = 0;
	for (unsigned k = 0; k < SOFT_MMUS; k++) {
		bool sweep = v->journal_len[k] == 0xffff;
		unsigned n = sweep ? SOFT_TLB_SIZE : v->journal_len[k];

		for (unsigned j = 0; j < n; j++) {
			unsigned i = sweep ? j : v->journal[k][j];
			struct soft_tlb_entry *e = &v->tlb[k][i];

			if ((e->gpa & MMU_TLB_GLOBAL) || e->tag_r == soft_tlb_empty(i))
				continue;
			if (sp->n < SOFT_SPACE_ENTRIES) {
				sp->at[sp->n] = (uint16_t)(k * SOFT_TLB_SIZE + i);
				sp->entry[sp->n++] = *e;
			}
			empty(e, i);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sp->large); i++)
		sp->large[i] = v->large[0][i];
	soft_tr_save(v, sp);
	sp->pcid = (uint16_t)pcid;
	sp->no_write = false;
	sp->used = v->n_flush;
	sp->valid = true;
}

static void restore(struct soft_vcpu *v, const struct soft_space *sp)
{
	for (unsigned j = 0; j < sp->n; j++) {
		unsigned k = sp->at[j] / SOFT_TLB_SIZE, i = sp->at[j] % SOFT_TLB_SIZE;
		struct soft_tlb_entry *e = &v->tlb[k][i];

		*e = sp->entry[j];
		if (e->tag_w == e->tag_r &&
		    (sp->no_write || soft_page_has_code(v->soft, mmu_page(e->gpa))))
			e->tag_w = soft_tlb_empty(i);
		if (e->tag_w == e->tag_r)
			mmu_note_write(v, k, i);
		mmu_journal(v, k, i);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sp->large); i++)
		v->large[0][i] |= sp->large[i];
	soft_tr_restore(v, sp);
	v->n_space_hits++;
}

void soft_tlb_switch(struct soft_vcpu *v, unsigned from, unsigned to, bool keep)
{
	struct soft_space *sp;

	if (!keep)
		soft_window_flush_pcid(v, to);
	if (from == to) {
		if (!keep)
			flush_current(v);
		soft_window_switched(v);
		return;
	}
	save(v, from);
	flush_current(v);
	soft_window_switched(v);
	sp = find_space(v, to);
	if (!sp)
		return;
	if (keep)
		restore(v, sp);
	sp->valid = false;
}

void soft_tlb_flush_pcid(struct soft_vcpu *v, unsigned pcid)
{
	unsigned current = v->s.cr4 & X86_CR4_PCIDE ? (unsigned)v->s.cr3 & 0xfff : 0;
	struct soft_space *sp;

	if (pcid == current) {
		flush_current(v);
		soft_window_flush(v);
		return;
	}
	soft_window_flush_pcid(v, pcid);
	sp = find_space(v, pcid);
	if (sp)
		sp->valid = false;
}

/* ---- INVLPG ---- */

/* Drops every entry that may come from the large page around la. */
static void flush_large(struct soft_vcpu *v, uint64_t la)
{
	for (unsigned k = 0; k < SOFT_MMUS; k++) {
		for (unsigned i = 0; i < SOFT_TLB_SIZE; i++) {
			struct soft_tlb_entry *e = &v->tlb[k][i];
			uint64_t diff = e->tag_r ^ la;

			if (((e->gpa & MMU_TLB_2M) && !(diff >> 22)) ||
			    ((e->gpa & MMU_TLB_1G) && !(diff >> 30)))
				empty(e, i);
		}
	}
	for (unsigned i = 0; i < SOFT_XTLB_SIZE; i++) {
		if (!((v->xtlb[i].va ^ la) >> 30))
			v->xtlb[i].va = 1;
	}
}

void soft_tlb_flush_page(struct soft_vcpu *v, uint64_t la)
{
	unsigned i = mmu_tlb_index(la);
	uint64_t page = mmu_page(la);
	struct soft_xtlb_entry *xe = &v->xtlb[(la >> 12) % SOFT_XTLB_SIZE];

	for (unsigned k = 0; k < SOFT_MMUS; k++) {
		if (v->tlb[k][i].tag_r == page)
			empty(&v->tlb[k][i], i);
	}
	if (xe->va == page)
		xe->va = 1;
	v->wr_la = 1;
	v->n_flush++;
	if (unlikely(maybe_large(v, la))) {
		flush_large(v, la);
		soft_window_flush(v);
		soft_tr_flushed(v,
				true); /* other addresses in the large page may have been jumped to */
	} else {
		soft_window_flush_page(v, la);
		soft_tr_flushed_page(v, la);
	}
}

/* ---- Write tags ---- */

static bool has_write_tag(const struct soft_tlb_entry *e, unsigned i)
{
	return e->tag_w != soft_tlb_empty(i);
}

void soft_tlb_revoke_write(struct soft_vcpu *v, gpa_t page)
{
	uint16_t *w = written(v, page);
	unsigned from = 0, to = SOFT_MMUS * SOFT_TLB_SIZE;

	if (*w == NOWHERE)
		return;
	if (*w != SOMEWHERE) {
		from = *w - 1u;
		to = *w;
	}
	*w = NOWHERE;
	for (unsigned at = from; at < to; at++) {
		unsigned k = at / SOFT_TLB_SIZE, i = at % SOFT_TLB_SIZE;
		struct soft_tlb_entry *e = &v->tlb[k][i];

		if (mmu_page(e->gpa) == page)
			e->tag_w = soft_tlb_empty(i);
		else if (has_write_tag(e, i) && written(v, e->gpa) == w)
			mmu_note_write(v, k, i);
	}
}

void soft_tlb_drop_write_tags(struct soft_vcpu *v)
{
	for (unsigned k = 0; k < SOFT_MMUS; k++)
		for (unsigned i = 0; i < SOFT_TLB_SIZE; i++)
			v->tlb[k][i].tag_w = soft_tlb_empty(i);
	soft_zero(v->written_at, sizeof(v->written_at));
	for (unsigned i = 0; i < SOFT_SPACES; i++)
		v->space[i].no_write = true;
	soft_window_drop_writes(v);
}
