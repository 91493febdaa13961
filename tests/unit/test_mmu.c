/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mmu.c - the soft engine's MMU: walks of every paging mode with their rights, reserved bits and error
 * codes, accessed and dirty bits, the TLB and its flushes, page crossing, MMIO, breakpoints, the dirty log.
 */
#include "soft_fixture.h"

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_A 0x20u
#define PTE_D 0x40u
#define PTE_PS 0x80u
#define PTE_G 0x100u
#define PTE_NX BIT(63)
#define ALL (PTE_P | PTE_W | PTE_U)

/* Where the page tables of the tests are. */
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT 0x4000u
#define DATA 0x100000u /* frames that entries of PT map: page n at DATA + n * 4096 */

#define VA UINT64_C(0x400000) /* mapped through PT: PML4[0], PDPT[0], PD[2] */

/* 4-level paging, NX on, everything user and writable: PT maps 512 pages from VA to DATA. CPL 0. */
static void long_mode(struct fix *f)
{
	struct x86_state *s = &f->v->s;

	fix_put(f, PML4, PDPT | ALL, 8);
	fix_put(f, PDPT, PD | ALL, 8);
	fix_put(f, PD + 2 * 8, PT | ALL, 8);
	for (unsigned i = 0; i < 512; i++)
		fix_put(f, PT + i * 8, (DATA + i * 4096) | ALL, 8);
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE;
	s->msr.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE;
	s->seg[X86_CS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW | X86_ATTR_L;
	soft_state_loaded(f->v);
	assert_int_equal(f->v->mode, X86_MODE_64);
}

static void set_cpl(struct fix *f, unsigned cpl)
{
	struct x86_seg *ss = &f->v->s.seg[X86_SS];

	ss->attr = (uint16_t)((ss->attr & ~0x60u) | cpl << X86_ATTR_DPL_SHIFT);
	soft_mode_changed(f->v);
}

static void flush(struct fix *f)
{
	soft_tlb_flush_all(f->v);
}

#define assert_pf(f, a, code)                                     \
	do {                                                      \
		assert_int_equal((f)->v->exc.vector, X86_EXC_PF); \
		assert_true((f)->v->exc.has_error);               \
		assert_int_equal((f)->v->exc.addr, (a));          \
		assert_int_equal((f)->v->exc.error, (code));      \
	} while (0)

static void test_paging_off(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	assert_true(fix_write(f->v, 0x5000, 0x1234567890abcdef, 8));
	assert_int_equal(fix_get(f, 0x5000, 8), 0x1234567890abcdef);
	assert_true(fix_read(f->v, 0x5003, 2, &r));
	assert_int_equal(r, 0x7890);
	/* Past RAM: MMIO, and never cached. */
	assert_true(fix_read(f->v, 0xfee00020, 4, &r));
	assert_int_equal(f->mmio_gpa, 0xfee00020);
	assert_int_equal(r, 0x55667788);
	assert_true(fix_read(f->v, 0xfee00020, 4, &r));
	assert_int_equal(f->n_mmio, 2);
}

static void test_4k(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	long_mode(f);
	fix_put(f, DATA + 0x18, 0xfeedface, 4);
	assert_true(fix_read(f->v, VA + 0x18, 4, &r));
	assert_int_equal(r, 0xfeedface);
	/* Accessed all the way down, dirty nowhere. */
	assert_int_equal(fix_get(f, PML4, 8), PDPT | ALL | PTE_A);
	assert_int_equal(fix_get(f, PDPT, 8), PD | ALL | PTE_A);
	assert_int_equal(fix_get(f, PD + 16, 8), PT | ALL | PTE_A);
	assert_int_equal(fix_get(f, PT, 8), DATA | ALL | PTE_A);
	/* The read filled no write tag: the write must set the dirty bit. */
	assert_true(fix_write(f->v, VA + 0x18, 1, 4));
	assert_int_equal(fix_get(f, PT, 8), DATA | ALL | PTE_A | PTE_D);
	assert_int_equal(fix_get(f, DATA + 0x18, 4), 1);
	/* Not mapped. */
	assert_false(fix_read(f->v, 0x800000, 1, NULL));
	assert_pf(f, 0x800000, 0);
	assert_false(fix_write(f->v, 0x812345, 0, 1));
	assert_pf(f, 0x812345, MMU_PF_W);
	set_cpl(f, 3);
	assert_false(fix_write(f->v, 0x812345, 0, 1));
	assert_pf(f, 0x812345, MMU_PF_W | MMU_PF_U);
	assert_false(fix_fetch(f->v, 0x812345));
	assert_pf(f, 0x812345, MMU_PF_I | MMU_PF_U);
}

static void test_fault_sets_no_bits(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	fix_put(f, PT, DATA | PTE_P | PTE_U, 8);
	set_cpl(f, 3);
	assert_false(fix_write(f->v, VA, 0, 1));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_W | MMU_PF_U);
	assert_int_equal(fix_get(f, PT, 8), DATA | PTE_P | PTE_U);
	assert_int_equal(fix_get(f, PML4, 8), PDPT | ALL);
}

static void test_rights(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	/* Supervisor page. */
	fix_put(f, PT, DATA | PTE_P | PTE_W, 8);
	set_cpl(f, 3);
	assert_false(fix_read(f->v, VA, 1, NULL));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_U);
	/* ... made so by an upper entry. */
	fix_put(f, PT, DATA | ALL, 8);
	fix_put(f, PD + 16, PT | PTE_P | PTE_W, 8);
	flush(f);
	assert_false(fix_read(f->v, VA, 1, NULL));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_U);
	/* Read-only by an upper entry: CR0.WP decides for the supervisor. */
	fix_put(f, PD + 16, PT | PTE_P | PTE_U, 8);
	set_cpl(f, 0);
	flush(f);
	assert_true(fix_read(f->v, VA, 1, NULL));
	assert_false(fix_write(f->v, VA, 0, 1));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_W);
	f->v->s.cr0 &= ~(uint64_t)X86_CR0_WP;
	flush(f);
	assert_true(fix_write(f->v, VA, 0, 1));
	set_cpl(f, 3);
	assert_false(fix_write(f->v, VA, 0, 1));
	/* NX. */
	fix_put(f, PD + 16, PT | ALL | PTE_NX, 8);
	flush(f);
	assert_true(fix_read(f->v, VA, 1, NULL));
	assert_false(fix_fetch(f->v, VA));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_U | MMU_PF_I);
	/* Without NXE the bit is reserved and fetches are not told apart. */
	f->v->s.msr.efer &= ~(uint64_t)X86_EFER_NXE;
	flush(f);
	assert_false(fix_fetch(f->v, VA));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_U | MMU_PF_RSVD);
}

static void test_smep_smap(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	long_mode(f);
	assert_true(fix_fetch(v, VA));
	v->s.cr4 |= X86_CR4_SMEP | X86_CR4_SMAP;
	soft_state_loaded(v);
	assert_false(fix_fetch(v, VA));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_I);
	assert_int_equal(v->mmu, SOFT_MMU_KERNEL);
	assert_false(fix_read(v, VA, 1, NULL));
	assert_pf(f, VA, MMU_PF_P);
	v->s.rflags |= X86_AC;
	soft_mode_changed(v);
	assert_true(fix_read(v, VA, 1, NULL));
	assert_true(fix_write(v, VA, 1, 1));
	/* AC does not count for implicit accesses. */
	assert_int_equal(mmu_sys_kind(v), SOFT_MMU_KERNEL);
	v->s.rflags &= ~(uint64_t)X86_AC;
	soft_mode_changed(v);
	assert_false(fix_read(v, VA, 1, NULL));
	set_cpl(f, 3);
	assert_true(fix_read(v, VA, 1, NULL));
	assert_true(fix_fetch(v, VA));
}

static void test_large_pages(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	long_mode(f);
	fix_put(f, PD + 3 * 8, 0x800000 | ALL | PTE_PS, 8); /* 2 MiB at 0x600000 */
	fix_put(f, PDPT + 8, 0 | ALL | PTE_PS, 8);	    /* 1 GiB at 1 GiB */
	fix_put(f, 0x912340, 0x77, 1);
	assert_true(fix_read(f->v, 0x712340, 1, &r));
	assert_int_equal(r, 0x77);
	assert_true(fix_write(f->v, GIB + 0x912341, 0x78, 1));
	assert_int_equal(fix_get(f, 0x912341, 1), 0x78);
	assert_int_equal(fix_get(f, PDPT + 8, 8), ALL | PTE_PS | PTE_A | PTE_D);
	/* Reserved bits of large pages. */
	fix_put(f, PD + 3 * 8, 0x800000 | ALL | PTE_PS | BIT(13), 8);
	fix_put(f, PDPT + 8, ALL | PTE_PS | BIT(29), 8);
	flush(f);
	assert_false(fix_read(f->v, 0x712340, 1, NULL));
	assert_pf(f, 0x712340, MMU_PF_P | MMU_PF_RSVD);
	assert_false(fix_read(f->v, GIB, 1, NULL));
	assert_pf(f, GIB, MMU_PF_P | MMU_PF_RSVD);
	/* PAT is bit 12 there. */
	fix_put(f, PD + 3 * 8, 0x800000 | ALL | PTE_PS | BIT(12), 8);
	assert_true(fix_read(f->v, 0x712340, 1, NULL));
	/* A processor without 1 GiB pages. */
	f->v->soft->cpuid.gbpages = false;
	fix_put(f, PDPT + 8, ALL | PTE_PS, 8);
	assert_false(fix_read(f->v, GIB, 1, NULL));
	assert_pf(f, GIB, MMU_PF_P | MMU_PF_RSVD);
}

static void test_reserved_and_canonical(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	fix_put(f, PT, DATA | ALL | BIT(46), 8); /* MAXPHYADDR is 46 */
	assert_false(fix_read(f->v, VA, 1, NULL));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_RSVD);
	fix_put(f, PT, DATA | ALL | BIT(52) | BIT(62), 8); /* ignored ones */
	assert_true(fix_read(f->v, VA, 1, NULL));
	fix_put(f, PML4, PDPT | ALL | PTE_PS, 8);
	flush(f);
	assert_false(fix_write(f->v, VA, 1, 1));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_RSVD | MMU_PF_W);
	assert_false(fix_read(f->v, BIT(47), 1, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_GP);
	assert_false(fix_fetch(f->v, BIT(62)));
	assert_int_equal(f->v->exc.vector, X86_EXC_GP);
	/* An empty TLB entry's tag is no address that can hit. */
	flush(f);
	fix_put(f, PML4, 0, 8);
	for (unsigned i = 0; i < SOFT_TLB_SIZE; i++)
		assert_false(fix_read(f->v, (uint64_t)i << 12, 8, NULL));
}

static void test_tables_outside_ram(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	/* They read as all ones: reserved bits are set. */
	fix_put(f, PD + 16, 0xc0000000 | ALL, 8);
	assert_false(fix_read(f->v, VA, 1, NULL));
	assert_pf(f, VA, MMU_PF_P | MMU_PF_RSVD);
	f->v->s.cr3 = 0x3ffffffff000;
	flush(f);
	assert_false(fix_read(f->v, VA, 1, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_PF);
	assert_int_equal(f->n_mmio, 0);
}

static void legacy_mode(struct fix *f, bool pae)
{
	struct x86_state *s = &f->v->s;

	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET;
	s->cr3 = PML4;
	s->cr4 = pae ? X86_CR4_PAE : X86_CR4_PSE;
	s->msr.efer = pae ? X86_EFER_NXE : 0;
	s->seg[X86_CS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW | X86_ATTR_DB;
	soft_state_loaded(f->v);
	assert_int_equal(f->v->mode, X86_MODE_32);
}

static void test_32bit(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	fix_put(f, PML4 + 4, PT | ALL, 4); /* 4 MiB: table */
	fix_put(f, PML4 + 8, 0x400000 | ALL | PTE_PS | 1u << 13,
		4); /* 8 MiB: 4 GiB + 4 MiB by PSE-36 */
	fix_put(f, PML4 + 12, 0x400000 | PTE_P | PTE_W | PTE_PS, 4);  /* 12 MiB: supervisor */
	fix_put(f, PML4 + 16, 0x400000 | ALL | PTE_PS | 1u << 21, 4); /* 16 MiB: reserved bit */
	fix_put(f, PT + 4, DATA | PTE_P | PTE_U, 4);
	legacy_mode(f, false);
	fix_put(f, DATA + 5, 0x99, 1);
	assert_true(fix_read(f->v, 0x401005, 1, &r));
	assert_int_equal(r, 0x99);
	assert_int_equal(fix_get(f, PT + 4, 4), DATA | PTE_P | PTE_U | PTE_A);
	assert_false(fix_write(f->v, 0x401005, 1, 1));
	assert_pf(f, 0x401005, MMU_PF_P | MMU_PF_W);
	assert_true(fix_write(f->v, 0x800010, 0xab, 1));
	assert_int_equal(fix_get(f, FIX_HIGH + 0x400010, 1), 0xab);
	assert_int_equal(fix_get(f, PML4 + 8, 4),
			 0x400000 | ALL | PTE_PS | 1u << 13 | PTE_A | PTE_D);
	assert_false(fix_read(f->v, 0x1000000, 1, NULL));
	assert_pf(f, 0x1000000, MMU_PF_P | MMU_PF_RSVD);
	set_cpl(f, 3);
	assert_false(fix_read(f->v, 0xc00000, 1, NULL));
	assert_pf(f, 0xc00000, MMU_PF_P | MMU_PF_U);
	assert_false(fix_fetch(f->v, 0x402000)); /* no I bit without NXE and SMEP */
	assert_pf(f, 0x402000, MMU_PF_U);
}

static void test_pae(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	fix_put(f, PML4 + 8, PD | PTE_P, 8); /* second GiB; pointers have no W or U */
	fix_put(f, PML4 + 24, 0, 8);
	fix_put(f, PD + 8, PT | ALL, 8);
	fix_put(f, PD + 16, 0x600000 | ALL | PTE_PS | PTE_NX, 8);
	fix_put(f, PT, DATA | ALL, 8);
	legacy_mode(f, true);
	fix_put(f, DATA + 1, 0x31, 1);
	assert_true(fix_read(f->v, GIB + 0x200001, 1, &r));
	assert_int_equal(r, 0x31);
	assert_true(fix_write(f->v, GIB + 0x400001, 0x32, 1));
	assert_int_equal(fix_get(f, 0x600001, 1), 0x32);
	assert_false(fix_fetch(f->v, GIB + 0x400001));
	assert_pf(f, GIB + 0x400001, MMU_PF_P | MMU_PF_I);
	assert_false(fix_read(f->v, 3 * GIB, 1, NULL));
	assert_pf(f, 3 * GIB, 0);
	/* The pointers are loaded with CR3, not looked at later; bad ones are refused. */
	fix_put(f, PML4 + 8, 0, 8);
	flush(f);
	assert_true(fix_read(f->v, GIB + 0x200001, 1, NULL));
	fix_put(f, PML4 + 8, PD | PTE_P | PTE_W, 8);
	assert_false(mmu_load_pdptes(f->v, PML4));
	assert_true(fix_read(f->v, GIB + 0x200001, 1, NULL));
	/* Bit 52 is reserved here, unlike with four levels. */
	fix_put(f, PT, DATA | ALL | BIT(52), 8);
	flush(f);
	assert_false(fix_read(f->v, GIB + 0x200001, 1, NULL));
	assert_pf(f, GIB + 0x200001, MMU_PF_P | MMU_PF_RSVD);
}

/* Is la in the TLB? Asks by taking its page table entry away. */
static bool cached(struct fix *f, uint64_t la, gpa_t pte)
{
	uint64_t old = fix_get(f, pte, 8);
	bool r;

	fix_put(f, pte, 0, 8);
	r = fix_read(f->v, la, 1, NULL);
	fix_put(f, pte, old, 8);
	return r;
}

static void test_flushes(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	fix_put(f, PT + 8, (DATA + 0x1000) | ALL | PTE_G, 8);
	assert_true(fix_read(f->v, VA, 1, NULL));
	assert_true(fix_read(f->v, VA + 0x1000, 1, NULL));
	assert_true(cached(f, VA, PT));
	assert_true(cached(f, VA + 0x1000, PT + 8));
	soft_tlb_flush_nonglobal(f->v);
	assert_false(cached(f, VA, PT));
	assert_true(cached(f, VA + 0x1000, PT + 8));
	soft_tlb_flush_page(f->v, VA + 0x1fff);
	assert_false(cached(f, VA + 0x1000, PT + 8));
	/* A slot used by a global page and then by another one. */
	assert_true(fix_read(f->v, VA + 0x1000, 1, NULL));
	soft_tlb_flush_all(f->v);
	assert_false(cached(f, VA + 0x1000, PT + 8));
	/* G means nothing without CR4.PGE. */
	f->v->s.cr4 &= ~(uint64_t)X86_CR4_PGE;
	flush(f);
	assert_true(fix_read(f->v, VA + 0x1000, 1, NULL));
	soft_tlb_flush_nonglobal(f->v);
	assert_false(cached(f, VA + 0x1000, PT + 8));
}

static void test_journal_overflow(void **state)
{
	struct fix *f = *state;

	long_mode(f);
	fix_put(f, PT + 511 * 8, (DATA + 511 * 0x1000) | ALL | PTE_G, 8);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 1024; i++) { /* twice: more than the journal holds */
			soft_tlb_flush_page(f->v, VA + i % 512 * 0x1000);
			assert_true(fix_read(f->v, VA + i % 512 * 0x1000, 1, NULL));
		}
		soft_tlb_flush_nonglobal(f->v);
		for (unsigned i = 0; i < 511; i++)
			assert_false(cached(f, VA + i * 0x1000, PT + i * 8));
		assert_true(cached(f, VA + 511 * 0x1000, PT + 511 * 8));
		/* A few only: the journal says which. */
		assert_true(fix_read(f->v, VA + 0x7000, 1, NULL));
		assert_true(fix_read(f->v, VA + 0x9000, 1, NULL));
		soft_tlb_flush_nonglobal(f->v);
		assert_false(cached(f, VA + 0x7000, PT + 7 * 8));
		assert_false(cached(f, VA + 0x9000, PT + 9 * 8));
	}
}

static void test_invlpg_of_large_page(void **state)
{
	struct fix *f = *state;
	gpa_t pde = PD + 3 * 8;

	long_mode(f);
	fix_put(f, pde, 0x800000 | ALL | PTE_PS | PTE_G, 8);
	assert_true(fix_read(f->v, 0x600000, 1, NULL));
	assert_true(fix_read(f->v, 0x7ff000, 1, NULL));
	assert_true(fix_fetch(f->v, 0x650000));
	assert_true(cached(f, 0x7ff000, pde));
	soft_tlb_flush_nonglobal(f->v);
	assert_true(cached(f, 0x7ff000, pde));
	/* One address in it: all go, the neighbour stays. */
	assert_true(fix_read(f->v, VA, 1, NULL));
	soft_tlb_flush_page(f->v, 0x612345);
	assert_false(cached(f, 0x600000, pde));
	assert_false(cached(f, 0x7ff000, pde));
	fix_put(f, pde, 0, 8);
	assert_false(fix_fetch(f->v, 0x650000));
	assert_true(cached(f, VA, PT));
	/* 1 GiB. */
	fix_put(f, PDPT + 8, ALL | PTE_PS, 8);
	assert_true(fix_read(f->v, GIB, 1, NULL));
	assert_true(fix_read(f->v, GIB + 0x1fff000, 1, NULL));
	soft_tlb_flush_page(f->v, GIB + 0x3fffffff);
	assert_false(cached(f, GIB, PDPT + 8));
	assert_false(cached(f, GIB + 0x1fff000, PDPT + 8));
}

static void test_page_crossing(void **state)
{
	struct fix *f = *state;
	uint64_t r;

	long_mode(f);
	assert_true(fix_write(f->v, VA + 0xffd, 0x8877665544332211, 8));
	assert_int_equal(fix_get(f, DATA + 0xffd, 3), 0x332211);
	assert_int_equal(fix_get(f, DATA + 0x1000, 5), 0x8877665544);
	assert_true(fix_read(f->v, VA + 0xffd, 8, &r));
	assert_int_equal(r, 0x8877665544332211);
	/* The second page faults: nothing is written to the first. */
	fix_put(f, PT + 8, (DATA + 0x1000) | PTE_P | PTE_U, 8);
	flush(f);
	assert_false(fix_write(f->v, VA + 0xffd, 0, 8));
	assert_pf(f, VA + 0x1000, MMU_PF_P | MMU_PF_W);
	assert_int_equal(fix_get(f, DATA + 0xffd, 3), 0x332211);
	/* RAM and MMIO in one access. */
	fix_put(f, PT + 8, 0xfec00000 | ALL, 8);
	flush(f);
	assert_true(fix_write(f->v, VA + 0xffe, 0xaabbccdd, 4));
	assert_int_equal(f->mmio_gpa, 0xfec00000);
	assert_int_equal(f->mmio_size, 2);
	assert_int_equal(f->mmio_value, 0xaabb);
	assert_int_equal(fix_get(f, DATA + 0xffe, 2), 0xccdd);
}

static void do_block(struct soft_vcpu *v, void *arg)
{
	struct fix_access *a = arg;
	static uint8_t buf[512];

	if (a->access == SOFT_WRITE) {
		memset(buf, (int)a->value, sizeof(buf));
		soft_write_block(v, a->la, buf, a->size);
	} else {
		soft_read_block(v, a->la, buf, a->size);
		a->value = buf[a->size - 1];
	}
}

static void test_blocks(void **state)
{
	struct fix *f = *state;
	struct fix_access a = {.la = VA + 0xf80, .value = 0x5c, .size = 512, .access = SOFT_WRITE};

	long_mode(f);
	assert_false(fix_raises(f->v, do_block, &a));
	assert_int_equal(fix_get(f, DATA + 0xf80, 1), 0x5c);
	assert_int_equal(fix_get(f, DATA + 0x117f, 1), 0x5c);
	assert_int_equal(fix_get(f, DATA + 0x1180, 1), 0);
	a.access = SOFT_READ;
	assert_false(fix_raises(f->v, do_block, &a));
	assert_int_equal(a.value, 0x5c);
	fix_put(f, PT + 8, 0, 8);
	flush(f);
	assert_true(fix_raises(f->v, do_block, &a));
	assert_pf(f, VA + 0x1000, 0);
	/* MMIO in natural pieces. */
	fix_put(f, PT + 8, 0xfec00000 | ALL, 8);
	a = (struct fix_access){.la = VA + 0x1004, .size = 13, .access = SOFT_READ};
	assert_false(fix_raises(f->v, do_block, &a));
	assert_int_equal(f->n_mmio, 3); /* 4, 8, 1 */
}

static void do_ptr(struct soft_vcpu *v, void *arg)
{
	struct fix_access *a = arg;

	a->value = (uint64_t)(uintptr_t)soft_ptr(v, a->la, a->size, a->access);
}

static void test_ptr(void **state)
{
	struct fix *f = *state;
	struct fix_access a = {.la = VA + 0xff0, .size = 16, .access = SOFT_WRITE};

	long_mode(f);
	assert_false(fix_raises(f->v, do_ptr, &a));
	assert_ptr_equal((void *)(uintptr_t)a.value, gmem_at(f->mem, DATA + 0xff0, 16));
	soft_wrote(f->v, a.la, 16);
	a.la++;
	assert_false(fix_raises(f->v, do_ptr, &a));
	assert_int_equal(a.value, 0);
	fix_put(f, PT + 8, 0xfec00000 | ALL, 8);
	flush(f);
	a.la = VA + 0x1000;
	assert_false(fix_raises(f->v, do_ptr, &a));
	assert_int_equal(a.value, 0);
}

static void test_fill(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	long_mode(f);
	assert_true(soft_tlb_fill(v, VA, 8, SOFT_READ));
	assert_int_equal(v->tlb[v->mmu][(VA >> 12) % SOFT_TLB_SIZE].tag_w,
			 soft_tlb_empty((VA >> 12) % SOFT_TLB_SIZE));
	assert_true(soft_tlb_fill(v, VA, 8, SOFT_WRITE));
	assert_int_equal(v->tlb[v->mmu][(VA >> 12) % SOFT_TLB_SIZE].tag_w, VA);
	assert_false(soft_tlb_fill(v, VA + 0xffc, 8, SOFT_READ)); /* crosses */
	assert_false(soft_tlb_fill(v, 0x800000, 8, SOFT_READ));	  /* faults */
	fix_put(f, PT + 8, 0xfec00000 | ALL, 8);
	assert_false(soft_tlb_fill(v, VA + 0x1000, 4, SOFT_READ)); /* MMIO */
	assert_null(soft_fetch_page_peek(v, 0x800000));
	assert_non_null(soft_fetch_page_peek(v, VA));
	assert_null(soft_fetch_page_peek(v, VA + 0x1000)->host);
	soft_tlb_revoke_write(v, DATA);
	assert_int_equal(v->tlb[v->mmu][(VA >> 12) % SOFT_TLB_SIZE].tag_w,
			 soft_tlb_empty((VA >> 12) % SOFT_TLB_SIZE));
	assert_int_equal(v->tlb[v->mmu][(VA >> 12) % SOFT_TLB_SIZE].tag_r, VA);
}

static void test_fetch(void **state)
{
	struct fix *f = *state;
	uint8_t buf[16];

	long_mode(f);
	for (unsigned i = 0; i < 32; i++)
		fix_put(f, DATA + 0xff0 + i, i, 1);
	assert_int_equal(soft_fetch(f->v, VA + 0xff0, buf, 1), 15);
	assert_int_equal(soft_fetch(f->v, VA + 0xffc, buf, 4), 4); /* no need for the next page */
	assert_int_equal(soft_fetch(f->v, VA + 0xffc, buf, 5), 15);
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(buf[i], 12 + i);
}

static void test_breakpoints(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	long_mode(f);
	v->s.dr[0] = VA + 0x10;
	v->s.dr[1] = VA + 0x20;
	/* DR0: writes of 4 bytes. DR1: reads and writes, 8 bytes. */
	v->s.dr[7] = 0x400 | 1 | 4 | 0xdu << 16 | 0xbu << 20;
	soft_mode_changed(v);
	assert_true(v->data_breakpoints);
	assert_true(fix_read(v, VA + 0x10, 4, NULL));
	assert_false(v->trap_pending);
	assert_true(fix_write(v, VA + 0xc, 0, 4));
	assert_false(v->trap_pending);
	assert_true(fix_write(v, VA + 0xc, 0, 8));
	assert_true(v->trap_pending);
	assert_int_equal(v->trap_dr6, 1);
	v->trap_pending = false;
	v->trap_dr6 = 0;
	assert_true(fix_read(v, VA + 0x27, 1, NULL));
	assert_true(v->trap_pending);
	assert_int_equal(v->trap_dr6, 2);
	assert_false(soft_tlb_fill(v, VA, 8, SOFT_READ));
	v->trap_pending = false;
	v->s.dr[7] = 0x400;
	soft_mode_changed(v);
	assert_true(fix_write(v, VA + 0x10, 0, 8));
	assert_false(v->trap_pending);
}

static void test_alignment(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	long_mode(f);
	v->s.cr0 |= X86_CR0_AM;
	v->s.rflags |= X86_AC;
	set_cpl(f, 0);
	assert_true(fix_read(v, VA + 1, 4, NULL));
	set_cpl(f, 3);
	assert_true(fix_read(v, VA + 4, 4, NULL));
	for (unsigned round = 0; round < 2; round++) {
		assert_false(fix_write(v, VA + 1, 0, 4));
		assert_int_equal(v->exc.vector, X86_EXC_AC);
		assert_true(v->exc.has_error && v->exc.error == 0);
		assert_false(fix_read(v, VA + 0xfff, 2, NULL));
		assert_true(fix_read(v, VA + 1, 1, NULL));
	}
	/* A page fault comes first; the supervisor's own accesses are not checked. */
	assert_false(fix_read(v, 0x800001, 2, NULL));
	assert_int_equal(v->exc.vector, X86_EXC_PF);
	assert_int_equal(soft_read_sys(v, VA + 1, 4), 0);
	v->s.rflags &= ~(uint64_t)X86_AC;
	soft_mode_changed(v);
	assert_true(fix_read(v, VA + 1, 4, NULL));
}

static void test_dirty_log(void **state)
{
	struct fix *f = *state;
	uint64_t bitmap[(FIX_RAM + FIX_HIGH_SIZE) / 4096 / 64];

	long_mode(f);
	assert_int_equal(gmem_dirty_start(f->mem), 0);
	flush(f);
	assert_true(fix_read(f->v, VA, 1, NULL));
	gmem_dirty_harvest(f->mem, bitmap); /* accessed bits */
	flush(f);
	assert_true(fix_read(f->v, VA, 1, NULL));
	assert_int_equal(gmem_dirty_harvest(f->mem, bitmap), 0);
	assert_true(fix_write(f->v, VA, 1, 1));
	assert_int_equal(gmem_dirty_harvest(f->mem, bitmap),
			 2); /* the page, and its dirty bit's table */
	assert_true(bitmap[DATA / 4096 / 64] >> (DATA / 4096 % 64) & 1);
	assert_true(bitmap[PT / 4096 / 64] >> (PT / 4096 % 64) & 1);
	gmem_dirty_stop(f->mem);
}

static void do_linear(struct soft_vcpu *v, void *arg)
{
	struct fix_access *a = arg;

	a->value = soft_linear(v, (unsigned)a->value, a->la, a->size, a->access);
}

static bool linear(struct fix *f, unsigned seg, uint64_t off, unsigned size, unsigned access,
		   uint64_t *la)
{
	struct fix_access a = {.la = off, .value = seg, .size = size, .access = access};
	bool raised = fix_raises(f->v, do_linear, &a);

	if (la)
		*la = a.value;
	return !raised;
}

static void test_linear(void **state)
{
	struct fix *f = *state;
	struct x86_state *s = &f->v->s;
	uint64_t la;

	/* Real mode: only the limit counts. */
	s->seg[X86_DS].base = 0x12340;
	assert_true(linear(f, X86_DS, 0xfffe, 2, SOFT_WRITE, &la));
	assert_int_equal(la, 0x2233e);
	assert_false(linear(f, X86_DS, 0xffff, 2, SOFT_READ, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_GP);
	assert_false(linear(f, X86_SS, 0xffff, 2, SOFT_READ, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_SS);
	/* Protected mode: type and presence. */
	legacy_mode(f, false);
	assert_false(linear(f, X86_CS, 0, 1, SOFT_WRITE, NULL));
	assert_true(linear(f, X86_CS, 0, 1, SOFT_READ, NULL));
	s->seg[X86_CS].attr &= (uint16_t)~X86_ATTR_RW;
	assert_false(linear(f, X86_CS, 0, 1, SOFT_READ, NULL));
	s->seg[X86_ES].attr = 0;
	assert_false(linear(f, X86_ES, 0, 1, SOFT_READ, NULL));
	s->seg[X86_DS].attr |= X86_ATTR_EXPAND_DOWN;
	s->seg[X86_DS].limit = 0xfff;
	assert_false(linear(f, X86_DS, 0xfff, 1, SOFT_READ, NULL));
	assert_true(linear(f, X86_DS, 0x1000, 1, SOFT_READ, NULL));
	assert_false(linear(f, X86_DS, 0xffff, 2, SOFT_READ, NULL));
	/* 64-bit mode: canonical form; only FS and GS have a base. */
	long_mode(f);
	s->seg[X86_GS].base = 0xffff888000000000;
	assert_true(linear(f, X86_GS, 0x10, 8, SOFT_READ, &la));
	assert_int_equal(la, 0xffff888000000010);
	assert_true(linear(f, X86_DS, 0x10, 8, SOFT_READ, &la));
	assert_int_equal(la, 0x10);
	assert_false(linear(f, X86_DS, 0x7ffffffffff9, 8, SOFT_READ, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_GP);
	assert_false(linear(f, X86_SS, BIT(63), 8, SOFT_READ, NULL));
	assert_int_equal(f->v->exc.vector, X86_EXC_SS);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fix_setup, fix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_paging_off),
		TEST(test_4k),
		TEST(test_fault_sets_no_bits),
		TEST(test_rights),
		TEST(test_smep_smap),
		TEST(test_large_pages),
		TEST(test_reserved_and_canonical),
		TEST(test_tables_outside_ram),
		TEST(test_32bit),
		TEST(test_pae),
		TEST(test_flushes),
		TEST(test_journal_overflow),
		TEST(test_invlpg_of_large_page),
		TEST(test_page_crossing),
		TEST(test_blocks),
		TEST(test_ptr),
		TEST(test_fill),
		TEST(test_fetch),
		TEST(test_breakpoints),
		TEST(test_alignment),
		TEST(test_dirty_log),
		TEST(test_linear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
