/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu_walk.c - the page table walk: linear address to guest physical address (SDM vol. 3 §4).
 *
 * Theory of operation. Three paging modes besides none: 32-bit (two levels of 4-byte entries, 4 MiB pages
 * with CR4.PSE), PAE (page directory pointers held in v->pdpte, then two levels) and 4-level. A walk reads
 * each entry once, checks presence and reserved bits on the way down and the accumulated rights at the leaf,
 * and only when the access is allowed sets the accessed bits and, for a write, the dirty bit. Each of these
 * is a compare-and-swap against the entry that was read: if another processor changed it, the walk starts
 * again. So a bit is never set in an entry that was not used.
 *
 * Page tables outside of RAM read as all ones, as a bus does when nobody answers; there is nowhere to set a
 * bit then. A hostile guest can thus get faults and MMIO, never an address outside of its RAM.
 */
#include "engine/soft/lockstep.h"
#include "engine/soft/mmu.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)

uint8_t *mmu_ram(const struct soft_vcpu *v, gpa_t gpa)
{
	const struct gmem *m = v->mem;

	gpa &= ~(gpa_t)0xfff;
	for (unsigned i = 0; i < m->n_regions; i++) {
		uint64_t off = gpa - m->region[i].gpa;

		if (off < m->region[i].size)
			return unlikely(v->lockstep) ?
				       soft_lockstep_page(v, m->region[i].hva + off) :
				       m->region[i].hva + off;
	}
	return NULL;
}

void mmu_ram_written(struct soft_vcpu *v, gpa_t gpa, unsigned size)
{
	const struct gmem *m = v->mem;

	if (unlikely(v->lockstep) && v->lockstep->side == LOCKSTEP_REFERENCE)
		return; /* that was a copy */
	uint64_t *dirty = __atomic_load_n(&m->dirty, __ATOMIC_RELAXED);

	if (unlikely(dirty)) {
		for (unsigned i = 0; i < m->n_regions; i++) {
			const struct gmem_region *r = &m->region[i];
			uint64_t off = gpa - r->gpa, page;

			if (off >= r->size)
				continue;
			page = (r->file_offset + off) / GMEM_PAGE;
			__atomic_fetch_or(&dirty[page / 64], BIT(page % 64), __ATOMIC_RELAXED);
			break;
		}
	}
	soft_store_done(v->soft);
	if (unlikely(soft_page_has_code(v->soft, gpa & ~(gpa_t)0xfff)))
		soft_code_written(v->soft, v, gpa, size);
}

static uint64_t phys_mask(const struct soft_vcpu *v)
{
	return (BIT(v->soft->cpuid.phys_bits) - 1) & ~UINT64_C(0xfff);
}

static uint32_t fault_code(const struct soft_vcpu *v, unsigned access, unsigned kind, uint32_t error)
{
	const struct x86_state *s = &v->s;

	if (access == SOFT_WRITE)
		error |= MMU_PF_W;
	if (kind == SOFT_MMU_USER)
		error |= MMU_PF_U;
	if (access == SOFT_FETCH &&
	    ((s->cr4 & X86_CR4_SMEP) || ((s->cr4 & X86_CR4_PAE) && (s->msr.efer & X86_EFER_NXE))))
		error |= MMU_PF_I;
	return error;
}

/* Rights of the whole walk: every entry's W and U and-ed, NX or-ed (SDM vol. 3 §4.6.1). */
static bool allowed(const struct soft_vcpu *v, unsigned access, unsigned kind, uint64_t rights,
		    bool nx)
{
	bool user_page = rights & PTE_U;

	if (kind == SOFT_MMU_USER && !user_page)
		return false;
	if (access == SOFT_FETCH)
		return !nx && !(kind != SOFT_MMU_USER && user_page && (v->s.cr4 & X86_CR4_SMEP));
	if (kind == SOFT_MMU_KERNEL && user_page)
		return false;
	return access != SOFT_WRITE || (rights & PTE_W) ||
	       (kind != SOFT_MMU_USER && !(v->s.cr0 & X86_CR0_WP));
}

static void found(struct soft_vcpu *v, unsigned kind, struct mmu_xlate *x, gpa_t gpa,
		  uint64_t rights, uint64_t leaf)
{
	x->gpa = gpa;
	x->host = mmu_ram(v, gpa);
	x->global = (leaf & PTE_G) && (v->s.cr4 & X86_CR4_PGE);
	x->writable = (rights & PTE_W) || (kind != SOFT_MMU_USER && !(v->s.cr0 & X86_CR0_WP));
	x->dirty = leaf & PTE_D;
	x->error = 0;
}

struct entry_ref {
	uint64_t *ptr; /* NULL: not RAM */
	uint64_t val;
	gpa_t gpa;
};

/* Sets `bits` in an entry; false: it changed since it was read. */
static bool set_bits(struct soft_vcpu *v, struct entry_ref *e, uint64_t bits)
{
	uint64_t val = e->val;

	if ((val & bits) == bits)
		return true;
	if (e->ptr) {
		if (unlikely(v->lockstep))
			e->ptr = (uint64_t *)(void *)soft_lockstep_touch(v, (uint8_t *)e->ptr, true);
		if (!__atomic_compare_exchange_n(e->ptr, &val, val | bits, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST))
			return false;
		mmu_ram_written(v, e->gpa, 8);
	}
	e->val |= bits;
	return true;
}

/* PAE and 4-level: `shift` is that of the first level read from memory, at `table`. */
static enum mmu_result walk8(struct soft_vcpu *v, uint64_t la, unsigned access, unsigned kind,
			     uint64_t table, unsigned top_shift, struct mmu_xlate *x)
{
	bool pae = top_shift == 21;
	uint64_t phys = phys_mask(v), rsvd_all, root = table;
	struct entry_ref e[4];
	unsigned n;

	rsvd_all = ~(phys | 0xfff) & (pae ? ~PTE_NX : UINT64_C(0x000fffffffffffff));
	if (!(v->s.msr.efer & X86_EFER_NXE))
		rsvd_all |= PTE_NX;
	for (;;) {
		uint64_t rights = PTE_W | PTE_U, val, rsvd, page;
		unsigned shift = top_shift;
		bool nx = false, leaf, again = false;

		table = root;
		for (n = 0;; n++, shift -= 9) {
			uint8_t *host = mmu_ram(v, table);
			unsigned off = (unsigned)(la >> shift & 0x1ff) * 8;

			e[n].gpa = table + off;
			e[n].ptr = host ? (uint64_t *)(void *)(host + off) : NULL;
			val = e[n].val = host ? __atomic_load_n(e[n].ptr, __ATOMIC_RELAXED) :
						~UINT64_C(0);
			if (!(val & PTE_P)) {
				x->error = fault_code(v, access, kind, 0);
				return MMU_PF;
			}
			leaf = shift == 12 || ((val & PTE_PS) && shift <= 30);
			rsvd = rsvd_all;
			if (shift == 39 || (shift == 30 && !v->soft->cpuid.gbpages))
				rsvd |= PTE_PS;
			else if (leaf && shift > 12)
				rsvd |= (BIT(shift) - 1) & ~UINT64_C(0x1fff);
			if (val & rsvd) {
				x->error = fault_code(v, access, kind, MMU_PF_P | MMU_PF_RSVD);
				return MMU_PF;
			}
			rights &= val;
			nx = nx || (val & PTE_NX);
			if (leaf)
				break;
			table = val & phys;
		}
		if (!allowed(v, access, kind, rights, nx)) {
			x->error = fault_code(v, access, kind, MMU_PF_P);
			return MMU_PF;
		}
		for (unsigned i = 0; i <= n && !again; i++)
			again = !set_bits(v, &e[i],
					  i == n && access == SOFT_WRITE ? PTE_A | PTE_D : PTE_A);
		if (again)
			continue;
		page = BIT(shift) - 1;
		x->size = shift == 30 ? MMU_TLB_1G : shift == 21 ? MMU_TLB_2M : 0;
		found(v, kind, x, (val & phys & ~page) | (la & page), rights, e[n].val);
		return MMU_OK;
	}
}

static bool set_bits4(struct soft_vcpu *v, uint8_t *host, unsigned off, gpa_t table, uint32_t *val,
		      uint32_t bits)
{
	uint32_t old = *val;

	if ((old & bits) == bits)
		return true;
	if (host) {
		if (unlikely(v->lockstep))
			host = soft_lockstep_touch(v, host, true);
		if (!__atomic_compare_exchange_n((uint32_t *)(void *)(host + off), &old, old | bits,
						 false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return false;
		mmu_ram_written(v, table + off, 4);
	}
	*val |= bits;
	return true;
}

/* 32-bit paging (SDM vol. 3 §4.3). */
static enum mmu_result walk4(struct soft_vcpu *v, uint64_t la, unsigned access, unsigned kind,
			     struct mmu_xlate *x)
{
	unsigned doff = (unsigned)(la >> 22 & 0x3ff) * 4, toff = (unsigned)(la >> 12 & 0x3ff) * 4;
	gpa_t dir = v->s.cr3 & 0xfffff000u, table;

	for (;;) {
		uint8_t *dhost = mmu_ram(v, dir), *thost;
		uint32_t pde, pte;
		uint64_t rights;

		pde = dhost ? __atomic_load_n((uint32_t *)(void *)(dhost + doff), __ATOMIC_RELAXED) :
			      ~0u;
		if (!(pde & PTE_P)) {
			x->error = fault_code(v, access, kind, 0);
			return MMU_PF;
		}
		if ((pde & PTE_PS) && (v->s.cr4 & X86_CR4_PSE)) {
			gpa_t base = (pde & 0xffc00000u) | (gpa_t)(pde >> 13 & 0xff) << 32;

			/* PSE-36: bits 13-20 are address bits 32-39; bit 21 and those past MAXPHYADDR are reserved. */
			if ((pde & BIT(21)) || (base & ~(phys_mask(v) | 0xfff))) {
				x->error = fault_code(v, access, kind, MMU_PF_P | MMU_PF_RSVD);
				return MMU_PF;
			}
			if (!allowed(v, access, kind, pde, false)) {
				x->error = fault_code(v, access, kind, MMU_PF_P);
				return MMU_PF;
			}
			if (!set_bits4(v, dhost, doff, dir, &pde,
				       access == SOFT_WRITE ? PTE_A | PTE_D : PTE_A))
				continue;
			x->size = MMU_TLB_2M;
			found(v, kind, x, base | (la & 0x3fffff), pde, pde);
			return MMU_OK;
		}
		table = pde & 0xfffff000u;
		thost = mmu_ram(v, table);
		pte = thost ? __atomic_load_n((uint32_t *)(void *)(thost + toff), __ATOMIC_RELAXED) :
			      ~0u;
		if (!(pte & PTE_P)) {
			x->error = fault_code(v, access, kind, 0);
			return MMU_PF;
		}
		rights = pde & pte;
		if (!allowed(v, access, kind, rights, false)) {
			x->error = fault_code(v, access, kind, MMU_PF_P);
			return MMU_PF;
		}
		if (!set_bits4(v, dhost, doff, dir, &pde, PTE_A) ||
		    !set_bits4(v, thost, toff, table, &pte,
			       access == SOFT_WRITE ? PTE_A | PTE_D : PTE_A))
			continue;
		x->size = 0;
		found(v, kind, x, (pte & 0xfffff000u) | (la & 0xfff), rights, pte);
		return MMU_OK;
	}
}

enum mmu_result mmu_walk(struct soft_vcpu *v, uint64_t la, unsigned access, unsigned kind,
			 struct mmu_xlate *x)
{
	const struct x86_state *s = &v->s;

	if (s->msr.efer & X86_EFER_LMA) {
		if (unlikely(!mmu_canonical(la)))
			return MMU_GP;
		return walk8(v, la, access, kind, s->cr3 & phys_mask(v), 39, x);
	}
	la &= 0xffffffffu;
	if (!(s->cr0 & X86_CR0_PG)) {
		found(v, kind, x, la, PTE_W | PTE_U, PTE_D);
		x->size = 0;
		x->global = false;
		return MMU_OK;
	}
	if (s->cr4 & X86_CR4_PAE) {
		uint64_t pdpte = v->pdpte[la >> 30];

		if (!(pdpte & PTE_P)) {
			x->error = fault_code(v, access, kind, 0);
			return MMU_PF;
		}
		return walk8(v, la, access, kind, pdpte & phys_mask(v), 21, x);
	}
	return walk4(v, la, access, kind, x);
}

bool mmu_load_pdptes(struct soft_vcpu *v, uint64_t cr3)
{
	uint64_t rsvd = ~(phys_mask(v) | 0xfff) | 0x1e6;
	gpa_t at = cr3 & 0xffffffe0u;
	const uint8_t *host = mmu_ram(v, at);
	uint64_t p[4];

	for (unsigned i = 0; i < 4; i++) {
		p[i] = host ? mmu_load(host + (at & 0xfff) + 8 * i, 8) : ~UINT64_C(0);
		if ((p[i] & PTE_P) && (p[i] & rsvd))
			return false;
	}
	for (unsigned i = 0; i < 4; i++)
		v->pdpte[i] = p[i];
	return true;
}
