/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_tlb.c - what the soft engine keeps of translations and code, and what takes it away: INVLPG, the jump
 * cache, links between pages, pages that change from code to data, PCIDs, the dirty log.
 */
#include <pthread.h>
#include <sched.h>

#include "engine/soft/op_table.h"
#include "soft_fixture.h"

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_PS 0x80u
#define PTE_G 0x100u
#define ALL (PTE_P | PTE_W | PTE_U)

#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT 0x4000u
#define PDPT_K 0x5000u
#define PD_K 0x6000u
#define DATA 0x100000u

#define USER UINT64_C(0x400000)		    /* 512 small pages, mapped to DATA */
#define KERNEL UINT64_C(0xffffffff80000000) /* 8 large global pages, mapped to 0 */
#define CODE (KERNEL + 0x800000)

static int setup(void **state)
{
	static struct fix f;
	struct x86_state *s;

	fix_open(&f);
	fix_put(&f, PML4, PDPT | ALL, 8);
	fix_put(&f, PDPT, PD | ALL, 8);
	fix_put(&f, PD + 2 * 8, PT | ALL, 8);
	for (unsigned i = 0; i < 512; i++)
		fix_put(&f, PT + i * 8, (DATA + i * 4096) | ALL, 8);
	fix_put(&f, PML4 + 511 * 8, PDPT_K | PTE_P | PTE_W, 8);
	fix_put(&f, PDPT_K + 510 * 8, PD_K | PTE_P | PTE_W, 8);
	for (unsigned i = 0; i < 8; i++)
		fix_put(&f, PD_K + i * 8, i * 0x200000 | PTE_P | PTE_W | PTE_PS | PTE_G, 8);
	s = &f.v->s;
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR;
	s->msr.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE;
	s->seg[X86_CS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW | X86_ATTR_L;
	s->seg[X86_SS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW;
	soft_state_loaded(f.v);
	*state = &f;
	return 0;
}

static unsigned at(uint64_t va)
{
	return (unsigned)(va >> 12) % SOFT_TLB_SIZE;
}

/* ---- INVLPG ---- */

/* The kernel's large pages are not touched by what a user's small page asks for, wherever that is. */
static void test_invlpg_small(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	for (unsigned i = 0; i < 8; i++)
		assert_true(fix_read(v, KERNEL + i * 0x201000, 8, NULL));
	for (uint64_t gib = 1; gib < 4096; gib++)
		soft_tlb_flush_page(v, (gib * 31) % 131072 << 30 | 0x7ff000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(v->tlb[v->mmu][at(KERNEL + i * 0x201000)].tag_r,
				 KERNEL + i * 0x201000);
	/* All of a large page goes with any address in it. */
	soft_tlb_flush_page(v, KERNEL + 0x3ff000);
	assert_int_not_equal(v->tlb[v->mmu][at(KERNEL + 0x201000)].tag_r, KERNEL + 0x201000);
}

/* ---- The jump cache ---- */

static void jump_to(struct soft_vcpu *v, uint64_t va)
{
	unsigned i = soft_jc_index(va);

	v->tr.jc_tag[v->mmu][i] = va;
	soft_filter_add(&v->tr.jc_pages, va);
}

static bool knows(const struct soft_vcpu *v, uint64_t va)
{
	return v->tr.jc_tag[v->mmu][soft_jc_index(va)] == va;
}

static void test_invlpg_jump_cache(void **state)
{
	struct soft_vcpu *v = ((struct fix *)*state)->v;
	uint64_t far = 0x7f0000001000;

	jump_to(v, USER + 0x10);
	jump_to(v, USER + 0x2020);
	for (uint64_t i = 0; i < 100000; i++)
		soft_tlb_flush_page(v, far + i * 4096);
	assert_true(knows(v, USER + 0x10));
	assert_true(knows(v, USER + 0x2020));
	soft_tlb_flush_page(v, USER);
	assert_false(knows(v, USER + 0x10));
	assert_true(knows(v, USER + 0x2020));
	assert_false(soft_filter_has(&v->tr.jc_pages, USER));
	assert_true(soft_filter_has(&v->tr.jc_pages, USER + 0x2000));
	soft_tlb_flush_page(v, USER + 0x2000);
	assert_false(knows(v, USER + 0x2020));
}

/* ---- Links to other pages ---- */

static void test_cross_links(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct soft_cache *c = v->soft->cache;
	struct soft_block *from, *to;
	struct soft_link *l;

	/* jmp to the next page; there a return */
	assert_int_equal(gmem_write(f->mem, 0x800000, "\xe9\xfb\x0f\x00\x00", 5), 0);
	assert_int_equal(gmem_write(f->mem, 0x801000, "\xc3", 1), 0);
	v->s.rip = CODE;
	from = soft_tr_block(v, soft_tr_key(v));
	v->s.rip = CODE + 0x1000;
	to = soft_tr_block(v, soft_tr_key(v));
	assert_non_null(from);
	assert_non_null(to);
	l = &from->link[0];
	assert_true(l->cross_page);
	soft_cache_link(v->soft, l, to);
	assert_ptr_equal(l->to, to);
	assert_true(soft_filter_has(&c->cross_pages, to->va));
	/* Another page, even if the filter takes it for one of ours. */
	soft_filter_add(&c->cross_pages, USER);
	soft_tlb_flush_page(v, USER);
	assert_ptr_equal(l->to, to);
	assert_int_equal(c->n_cross, 1);
	assert_false(soft_filter_has(&c->cross_pages, USER));
	soft_cache_unlink_cross_page(v->soft, CODE + 0x1fff);
	assert_null(l->to);
	assert_null(to->in);
	assert_int_equal(c->n_cross, 0);
	assert_false(soft_filter_has(&c->cross_pages, to->va));
}

/* ---- Code and data ---- */

/* Code that nobody runs any more does not make a page's stores slow for ever. */
static void test_code_to_data(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct soft_block *b;
	unsigned stores[3];

	assert_int_equal(gmem_write(f->mem, 0x800000, "\xc3", 1), 0);
	for (unsigned turn = 0; turn < 3; turn++) {
		v->s.rip = CODE;
		b = soft_tr_block(v, soft_tr_key(v));
		assert_non_null(b);
		assert_true(soft_page_has_code(v->soft, 0x800000));
		for (stores[turn] = 0; soft_page_has_code(v->soft, 0x800000); stores[turn]++) {
			assert_false(b->dead);
			assert_true(stores[turn] < 100000);
			assert_true(fix_write(v, CODE + 0x800, stores[turn], 8));
		}
		assert_true(b->dead);
		assert_true(soft_tlb_fill(v, CODE, 8, SOFT_WRITE));
	}
	/* But if it is run again, it was a mistake: more patience. */
	assert_int_equal(stores[1], 2 * stores[0]);
	assert_int_equal(stores[2], 4 * stores[0]);
}

/* ---- PCIDs ---- */

#define NO_FLUSH BIT(63)

static void do_cr3(struct soft_vcpu *v, void *arg)
{
	struct x86_insn in = {.reg = 3, .rm = X86_RAX};

	v->s.gpr[X86_RAX] = *(uint64_t *)arg;
	soft_op_sys_mov_to_cr(v, &in);
}

static void load_cr3(struct fix *f, uint64_t value)
{
	assert_false(fix_raises(f->v, do_cr3, &value));
}

static void do_invpcid(struct soft_vcpu *v, void *arg)
{
	struct x86_insn in = {.reg = X86_RAX, .base = X86_RBX, .index = 0xff, .addr_bytes = 8};

	in.seg = X86_DS;
	in.has_mem = true;
	v->s.gpr[X86_RAX] = *(uint64_t *)arg;
	v->s.gpr[X86_RBX] = KERNEL + 0x700000;
	soft_op_sys_invpcid(v, &in);
}

static void invpcid(struct fix *f, uint64_t type, uint64_t pcid, uint64_t la)
{
	fix_put(f, 0x700000, pcid, 8);
	fix_put(f, 0x700008, la, 8);
	assert_false(fix_raises(f->v, do_invpcid, &type));
}

static bool cached(const struct soft_vcpu *v, uint64_t va)
{
	return v->tlb[v->mmu][at(va)].tag_r == va;
}

static bool cached_write(const struct soft_vcpu *v, uint64_t va)
{
	return v->tlb[v->mmu][at(va)].tag_w == va;
}

/* Two address spaces; the current one is PCID 1. */
static void two_spaces(struct fix *f)
{
	f->v->s.cr4 |= X86_CR4_PCIDE;
	soft_state_loaded(f->v);
	load_cr3(f, PML4 | 1);
}

static void test_pcid(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	two_spaces(f);
	assert_true(fix_write(v, USER + 0x1000, 1, 8));
	assert_true(fix_read(v, USER + 0x2000, 8, NULL));
	assert_true(fix_write(v, KERNEL, 1, 8));
	/* The same PCID again. */
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x1000));
	load_cr3(f, PML4 | 1);
	assert_false(cached(v, USER + 0x1000));
	assert_true(cached(v, KERNEL));
	/* Another one sees nothing of it, and it is there again afterwards. */
	assert_true(fix_write(v, USER + 0x1000, 1, 8));
	assert_true(fix_read(v, USER + 0x2000, 8, NULL));
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	assert_false(cached(v, USER + 0x1000));
	assert_true(cached(v, KERNEL));
	assert_true(fix_read(v, USER + 0x3000, 8, NULL));
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x1000));
	assert_true(cached_write(v, USER + 0x1000));
	assert_true(cached(v, USER + 0x2000));
	assert_false(cached_write(v, USER + 0x2000));
	assert_false(cached(v, USER + 0x3000));
	/* Loading without the bit forgets the new one's only. */
	load_cr3(f, PML4 | 2);
	assert_false(cached(v, USER + 0x3000));
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x1000));
	/* What came back is known to flushes. */
	load_cr3(f, PML4 | 1);
	assert_false(cached(v, USER + 0x1000));
	assert_false(cached(v, USER + 0x2000));
}

static void test_pcid_invalidation(void **state)
{
	static const struct {
		uint64_t type, pcid, la;
		bool keeps_1, keeps_2; /* which is current */
	} cases[] = {
		{0, 1, USER + 0x1000, false, true},
		{0, 2, USER + 0x1000, true, false},
		{0, 3, USER + 0x1000, true, true},
		{1, 1, 0, false, true},
		{1, 2, 0, true, false},
		{1, 7, 0, true, true},
		{2, 0, 0, false, false},
		{3, 0, 0, false, false},
	};
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		two_spaces(f);
		assert_true(fix_read(v, USER + 0x1000, 8, NULL));
		load_cr3(f, PML4 | 2 | NO_FLUSH);
		assert_true(fix_read(v, USER + 0x1000, 8, NULL));
		assert_true(fix_read(v, KERNEL, 8, NULL));
		invpcid(f, cases[i].type, cases[i].pcid, cases[i].la);
		assert_int_equal(cached(v, USER + 0x1000), cases[i].keeps_2);
		assert_int_equal(cached(v, KERNEL), cases[i].type != 2);
		load_cr3(f, PML4 | 1 | NO_FLUSH);
		assert_int_equal(cached(v, USER + 0x1000), cases[i].keeps_1);
	}
	/* INVLPG: the current one's. */
	two_spaces(f);
	assert_true(fix_read(v, USER + 0x1000, 8, NULL));
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	assert_true(fix_read(v, USER + 0x1000, 8, NULL));
	soft_tlb_flush_page(v, USER + 0x1000);
	assert_false(cached(v, USER + 0x1000));
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x1000));
	/* Many PCIDs: the oldest is forgotten, never mixed up. */
	for (unsigned pcid = 2; pcid < 40; pcid++) {
		fix_put(f, PT + 8, (DATA + pcid * 4096) | ALL, 8);
		load_cr3(f, PML4 | pcid);
		assert_true(fix_read(v, USER + 0x1000, 8, NULL));
	}
	for (unsigned pcid = 39; pcid >= 2; pcid--) {
		load_cr3(f, PML4 | pcid | NO_FLUSH);
		if (cached(v, USER + 0x1000))
			assert_int_equal(mmu_page(v->tlb[v->mmu][at(USER + 0x1000)].gpa),
					 DATA + pcid * 4096);
		else
			assert_true(pcid < 39 - SOFT_SPACES + 1);
	}
}

/* Write tags and jump targets that went out of date while they were put away. */
static void test_pcid_stale(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	uint64_t target = USER + 0x5010;
	unsigned i = soft_jc_index(target);
	uint64_t *tag = &v->tr.jc_tag[SOFT_MMU_USER][i];

	two_spaces(f);
	assert_true(fix_write(v, USER + 0x1000, 1, 8));
	assert_true(fix_write(v, USER + 0x2000, 1, 8));
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	/* Code in one of the pages. */
	assert_int_equal(gmem_write(f->mem, DATA + 0x1000, "\xc3", 1), 0);
	v->s.rip = USER + 0x1000;
	assert_non_null(soft_tr_block(v, soft_tr_key(v)));
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x1000));
	assert_false(cached_write(v, USER + 0x1000));
	assert_true(cached_write(v, USER + 0x2000));
	/* The dirty log was emptied. */
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	soft_tlb_drop_write_tags(v);
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached(v, USER + 0x2000));
	assert_false(cached_write(v, USER + 0x2000));
	/* A page that gets code later loses a tag that was brought back. */
	assert_true(fix_write(v, USER + 0x2000, 1, 8));
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_true(cached_write(v, USER + 0x2000));
	soft_tlb_revoke_write(v, DATA + 0x2000);
	assert_false(cached_write(v, USER + 0x2000));

	*tag = target;
	v->tr.jc_used[SOFT_MMU_USER][v->tr.jc_n_used[SOFT_MMU_USER]++] = (uint16_t)i;
	soft_filter_add(&v->tr.jc_pages, target);
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	assert_int_not_equal(*tag, target);
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_int_equal(*tag, target);
	load_cr3(f, PML4 | 2 | NO_FLUSH);
	soft_tr_flush_jc(v); /* blocks were dropped */
	load_cr3(f, PML4 | 1 | NO_FLUSH);
	assert_int_not_equal(*tag, target);
}

/* Each tag of a page goes, wherever it is and however many there are. */
static void test_revoke(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;

	for (unsigned i = 0; i < 40; i++)
		fix_put(f, PT + i * 8, (DATA + 0x7000 + i / 10 * FIX_RAM / 8) | ALL, 8);
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < 40; i++)
			assert_true(fix_write(v, USER + i * 4096, 1, 8));
		soft_tlb_revoke_write(v, DATA + 0x7000 + FIX_RAM / 8);
		for (unsigned i = 0; i < 40; i++)
			assert_int_equal(cached_write(v, USER + i * 4096), i / 10 != 1);
		soft_tlb_revoke_write(v, DATA + 0x7000 + 3 * (FIX_RAM / 8));
		soft_tlb_revoke_write(v, DATA + 0x7000);
		for (unsigned i = 0; i < 40; i++)
			assert_int_equal(cached_write(v, USER + i * 4096), i / 10 == 2);
	}
}

/* ---- The dirty log ---- */

static uint32_t quit;

static void *run_vcpu(void *arg)
{
	struct engine_vcpu *ev = arg;
	struct engine_exit exit;

	assert_int_equal(engine_soft.vcpu_attach(ev, NULL), 0);
	do {
		engine_soft.run(ev, &exit);
	} while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST));
	return NULL;
}

static bool in_log(struct fix *f, uint64_t *log, gpa_t page)
{
	(void)gmem_dirty_harvest(f->mem, log);
	return (log[page / GMEM_PAGE / 64] >> (page / GMEM_PAGE % 64)) & 1;
}

static uint64_t counter(struct fix *f)
{
	return __atomic_load_n((uint64_t *)gmem_at(f->mem, DATA, 8), __ATOMIC_SEQ_CST);
}

/* A loop that stores to one page all the time, through the write tag that it got once. */
static void test_dirty_sync(void **state)
{
	struct fix *f = *state;
	uint64_t *log = calloc(f->mem->size_bytes / GMEM_PAGE / 64 + 1, sizeof(*log)), seen;
	pthread_t thread;

	f->v->soft->cfg.soft_mode = SOFT_MODE_TRANSLATE;
	/* again: inc qword [rbx]; jmp again */
	assert_int_equal(gmem_write(f->mem, 0x800000, "\x48\xff\x03\xeb\xfb", 5), 0);
	f->v->s.rip = CODE;
	f->v->s.gpr[X86_RBX] = USER;
	quit = 0;
	engine_soft.dirty_sync(f->en); /* not running: nothing to wait for */
	assert_int_equal(pthread_create(&thread, NULL, run_vcpu, f->ev), 0);
	while (!counter(f))
		sched_yield();
	assert_int_equal(gmem_dirty_start(f->mem), 0);
	engine_soft.dirty_sync(f->en);
	for (unsigned i = 0; i < 200; i++) {
		seen = counter(f);
		while (counter(f) < seen + 2) /* one may have been under way */
			sched_yield();
		assert_true(in_log(f, log, DATA));
		engine_soft.dirty_sync(f->en);
	}
	gmem_dirty_stop(f->mem);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	engine_soft.kick(f->ev, true);
	pthread_join(thread, NULL);
	assert_int_equal(engine_soft.vcpu_attach(f->ev, NULL), 0);
	free(log);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, fix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_invlpg_small), TEST(test_invlpg_jump_cache),
		TEST(test_cross_links),	 TEST(test_code_to_data),
		TEST(test_pcid),	 TEST(test_pcid_invalidation),
		TEST(test_pcid_stale),	 TEST(test_revoke),
		TEST(test_dirty_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
