/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smc.c - self-modifying code: which guest pages hold translated code, and what a store to one does.
 *
 * A page that holds code has a bit set and gets no write tag in any TLB, so every store to it comes through C
 * (soft_wrote, soft_write) and ends in soft_code_written(), which drops just the blocks that depend on the
 * 64-byte granules written. A page whose last block is gone becomes an ordinary page again, but not at once: code that is
 * patched and run in turns would pay for the change of state each time. It takes some stores without a new
 * block in between, or one that covers the whole page.
 *
 * A page that is stored to again and again beside the code that it holds is mostly no code any more: an operating system
 * has freed it (its own initialization code, a program that ended) and uses it for data, and the old blocks lie in granules
 * that nobody writes. After some stores without a new block in between, all its blocks go and the page becomes an
 * ordinary one. If it does hold both, its code is translated anew; the next time it takes twice as many stores.
 *
 * Code that is patched before nearly each time that it runs is not worth a translation: a block that lived a short time only,
 * several times in a row, is run by soft_step() instead, until its first bytes have stayed the same for some turns. A page that
 * has no other code then takes stores like any other.
 *
 * Stale write tags. When a page gets its first block, this vCPU drops its own write tag; another vCPU may
 * have one too, and may be in the middle of translated code. Waiting for it would cost a scheduling delay for
 * each new page of code, so the page is write-protected in the mapping that the TLBs point into (`view`, a
 * second mapping of guest memory used when there are several vCPUs): the host kernel makes that visible to
 * every thread at once. A store through a stale tag then faults; signal.c drops the stale tags and has the
 * instruction run again by the reference way, which stores through the unprotected mapping.
 *
 * Each protected page away from others makes two more mappings, and a process may have so many (vm.max_map_count). When the
 * host refuses one, the code cache is full: it is emptied, which joins them all again.
 */
#include <sys/mman.h>

#include "engine/soft/translate.h"

#define STORES_TO_DATA 32u /* without a block left in the page */
#define STORES_BESIDE \
	128u /* with blocks left; doubled each time that the page was taken for data */
#define BESIDE_LEVELS 7u

#define SHORT_LIFE_US 20u
#define SHORT_LIVES 8u
#define SAME_TURNS 8u

static struct soft_patched *patched(struct soft_cache *c, uint64_t va)
{
	return &c->patched[(va * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (SOFT_PATCHED - 1)];
}

void soft_patched_made(struct soft_cache *c, const struct soft_block *b)
{
	struct soft_patched *p = patched(c, b->va);

	if (p->va != b->va || p->gpa != b->gpa)
		*p = (struct soft_patched){.va = b->va, .gpa = b->gpa};
	p->made = soft_host_tsc();
}

void soft_patched_dropped(struct soft *so, const struct soft_block *b)
{
	struct soft_patched *p = patched(so->cache, b->va);

	if (p->va != b->va || p->gpa != b->gpa)
		return;
	if (soft_host_tsc() - p->made > (uint64_t)so->cfg.tsc_khz * SHORT_LIFE_US / 1000)
		p->lives = 0;
	else if (p->lives < SHORT_LIVES)
		p->lives++;
}

bool soft_patched_often(struct soft_cache *c, uint64_t va, gpa_t gpa, const uint8_t *page)
{
	struct soft_patched *p = patched(c, va);
	unsigned pos = va & 0xfff, n = MIN(GMEM_PAGE - pos, (unsigned)sizeof(p->bytes));
	uint8_t now[sizeof(p->bytes)] = {0};
	bool same = true;

	if (p->va != va || p->gpa != gpa || p->lives < SHORT_LIVES)
		return false;
	soft_copy_code(now, page, pos, n);
	for (unsigned i = 0; i < sizeof(now); i++) {
		same &= p->bytes[i] == now[i];
		p->bytes[i] = now[i];
	}
	p->same = same ? p->same + 1 : 0;
	if (p->same < SAME_TURNS)
		return true;
	p->lives = p->same = 0;
	return false;
}

uint64_t soft_page_number(const struct soft *so, gpa_t gpa)
{
	for (unsigned i = 0; i < so->mem->n_regions; i++) {
		const struct gmem_region *r = &so->mem->region[i];

		if (gpa - r->gpa < r->size)
			return (r->file_offset + (gpa - r->gpa)) / GMEM_PAGE;
	}
	return SOFT_NO_PAGE;
}

uint64_t soft_granules(unsigned start, unsigned len)
{
	unsigned first = start / 64, last = (start + (len ? len : 1) - 1) / 64;
	uint64_t upto = last >= 63 ? ~UINT64_C(0) : BIT(last + 1) - 1;

	return upto & ~(BIT(first) - 1);
}

static bool has_code(const struct soft_cache *c, uint64_t n)
{
	return (__atomic_load_n(&c->page_code[n / 64], __ATOMIC_ACQUIRE) >> (n % 64)) & 1;
}

bool soft_page_has_code(struct soft *so, gpa_t page)
{
	uint64_t n = soft_page_number(so, page);

	return n != SOFT_NO_PAGE && has_code(so->cache, n);
}

static bool protect(struct soft *so, uint64_t n, uint64_t count, int prot)
{
	return so->view == so->mem->base ||
	       mprotect(so->view + n * GMEM_PAGE, count * GMEM_PAGE, prot) == 0;
}

bool soft_page_mark(struct soft *so, struct soft_vcpu *v, uint64_t n, gpa_t page)
{
	struct soft_cache *c = so->cache;

	c->page_use[n].stores = 0;
	if (has_code(c, n))
		return true;
	__atomic_or_fetch(&c->page_code[n / 64], BIT(n % 64), __ATOMIC_SEQ_CST);
	soft_tlb_revoke_write(v, page);
	soft_window_revoke_write(so, page);
	if (protect(so, n, 1, PROT_READ))
		return true;
	__atomic_and_fetch(&c->page_code[n / 64], ~BIT(n % 64), __ATOMIC_SEQ_CST);
	return false;
}

void soft_pages_clear(struct soft *so)
{
	struct soft_cache *c = so->cache;

	for (uint64_t i = 0; i < (c->n_pages + 63) / 64; i++)
		if (c->page_code[i])
			__atomic_store_n(&c->page_code[i], 0, __ATOMIC_SEQ_CST);
	(void)protect(so, 0, c->n_pages,
		      PROT_READ | PROT_WRITE); /* joins mappings: never out of them */
}

/* Counts a store to a code page. True: the page is taken for data from now on. */
static bool now_data(struct soft_cache *c, uint64_t n, unsigned len)
{
	struct soft_page_use *u = &c->page_use[n];

	if (!c->page[n])
		return len == GMEM_PAGE || ++u->stores >= STORES_TO_DATA;
	if (++u->stores < STORES_BESIDE << u->level)
		return false;
	if (u->level < BESIDE_LEVELS)
		u->level++;
	return true;
}

static bool page_written(struct soft *so, uint64_t n, unsigned start, unsigned len)
{
	struct soft_cache *c = so->cache;
	bool any = false;

	pthread_mutex_lock(&c->lock);
	if (has_code(c, n)) {
		any = soft_cache_drop_page(so, n, soft_granules(start, len));
		if (now_data(c, n, len)) {
			any |= soft_cache_drop_page(so, n, ~UINT64_C(0));
			__atomic_and_fetch(&c->page_code[n / 64], ~BIT(n % 64), __ATOMIC_SEQ_CST);
			/* If the host refuses, stores to it go on by way of a fault each. */
			(void)protect(so, n, 1, PROT_READ | PROT_WRITE);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return any;
}

void soft_code_written(struct soft *so, struct soft_vcpu *v, gpa_t gpa, uint64_t len)
{
	bool any = false;

	while (len) {
		unsigned start = gpa % GMEM_PAGE;
		unsigned part = (unsigned)MIN(len, GMEM_PAGE - start);
		uint64_t n = soft_page_number(so, gpa);

		if (n != SOFT_NO_PAGE && has_code(so->cache, n))
			any |= page_written(so, n, start, part);
		gpa += part;
		len -= part;
	}
	if (any)
		soft_cache_clear_jump_caches(so, v);
}
