/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_window.c - windows of user programs (engine/soft/window.c): what is mapped, and everything that takes it away.
 * That results and exceptions are right, cpu-diff finds out, with more kinds of instructions.
 */
#include <sys/mman.h>

#include "soft_fixture.h"

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define ALL (PTE_P | PTE_W | PTE_U)

/* Two address spaces, which share the page of code. */
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT 0x4000u
#define PML4_B 0x5000u
#define PDPT_B 0x6000u
#define PD_B 0x7000u
#define PT_B 0x8000u
#define CODE 0x100000u
#define DATA 0x200000u
#define DATA_B 0x300000u

#define USER UINT64_C(0x400000) /* 512 pages: the first is CODE, the others DATA or DATA_B */
#define LOAD (USER + 0)		/* mov rax, [rbx] */
#define STORE (USER + 0x20)	/* mov [rbx], rax */
#define PAGE(n) (USER + (n)*UINT64_C(4096))
#define ONLY_READ 9u

static void build(struct fix *f, gpa_t pml4, gpa_t pdpt, gpa_t pd, gpa_t pt, gpa_t data)
{
	fix_put(f, pml4, pdpt | ALL, 8);
	fix_put(f, pdpt, pd | ALL, 8);
	fix_put(f, pd + 2 * 8, pt | ALL, 8);
	fix_put(f, pt, CODE | ALL, 8);
	for (unsigned i = 1; i < 512; i++) {
		fix_put(f, pt + i * 8, (data + i * 4096) | (i == ONLY_READ ? PTE_P | PTE_U : ALL),
			8);
		fix_put(f, data + i * 4096, data + i, 8);
	}
}

static void begin(struct fix *f, unsigned n_vcpus)
{
	struct err e = {0};
	struct x86_state *s;

	fix_open_as(f, n_vcpus, SOFT_MODE_TRANSLATE);
	/* Again: each test's first act is to take the signals for itself. */
	assert_int_equal(soft_signal_init(&e), 0);
	build(f, PML4, PDPT, PD, PT, DATA);
	build(f, PML4_B, PDPT_B, PD_B, PT_B, DATA_B);
	fix_put(f, CODE + (LOAD - USER), 0x038b48, 3);
	fix_put(f, CODE + (STORE - USER), 0x038948, 3);
	s = &f->v->s;
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET;
	s->cr3 = PML4 | 1;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_PCIDE;
	s->msr.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE;
	s->seg[X86_CS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW | X86_ATTR_L |
			      3u << X86_ATTR_DPL_SHIFT;
	s->seg[X86_CS].sel = 3;
	s->seg[X86_SS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW | 3u << X86_ATTR_DPL_SHIFT;
	s->seg[X86_SS].sel = 3;
	soft_state_loaded(f->v);
	assert_int_equal(f->v->cpl, 3);
	soft_window_open(f->v);
}

/* Runs the one instruction there; how many faults brought pages. */
static unsigned run(struct soft_vcpu *v, uint64_t rip, uint64_t rbx)
{
	uint64_t before = v->window.n_faults;

	v->s.rip = rip;
	v->s.gpr[X86_RBX] = rbx;
	soft_run_block(v, 1);
	return (unsigned)(v->window.n_faults - before);
}

/* Loads the first word of a page of the window: what it is, and whether a fault brought the page. */
static void expect(struct soft_vcpu *v, unsigned page, uint64_t value, unsigned faults)
{
	assert_int_equal(run(v, LOAD, PAGE(page)), faults);
	assert_int_equal(v->s.rip, LOAD + 3);
	assert_int_equal(v->s.gpr[X86_RAX], value);
}

#define NEEDS_WINDOW(f)                       \
	do {                                  \
		if (!(f)->v->window.on) {     \
			fix_close(f);         \
			skip(); /* no BMI2 */ \
		}                             \
	} while (0)

static void test_pages(void **state)
{
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	expect(f.v, 5, DATA + 5, 1);
	expect(f.v, 5, DATA + 5, 0);
	/* A store where only a load was made so far: D is set by the walk, which it asks for. */
	f.v->s.gpr[X86_RAX] = 77;
	assert_int_equal(run(f.v, STORE, PAGE(5)), 1);
	assert_int_equal(run(f.v, STORE, PAGE(5)), 0);
	assert_int_equal(fix_get(&f, DATA + 5 * 4096, 8), 77);
	assert_int_equal(fix_get(&f, PT + 5 * 8, 8) & 0x60, 0x60);
	assert_int_equal(fix_get(&f, PT + 6 * 8, 8) & 0x60, 0);
	/* Across two pages: the second one comes by a fault of its own. */
	fix_put(&f, DATA + 7 * 4096 + 4092, 0x11111111, 4);
	fix_put(&f, DATA + 8 * 4096, 0x22222222, 4);
	assert_int_equal(run(f.v, LOAD, PAGE(7) + 4092), 2);
	assert_int_equal(f.v->s.gpr[X86_RAX], 0x2222222211111111);
	fix_close(&f);
}

static void test_invalidation(void **state)
{
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	expect(f.v, 5, DATA + 5, 1);
	expect(f.v, 6, DATA + 6, 1);
	fix_put(&f, PT + 5 * 8, (DATA + 100 * 4096) | ALL, 8);
	soft_tlb_flush_page(f.v, PAGE(5) + 123);
	expect(f.v, 5, DATA + 100, 1);
	expect(f.v, 6, DATA + 6, 0);
	fix_put(&f, PT + 6 * 8, (DATA + 101 * 4096) | ALL, 8);
	soft_tlb_flush_nonglobal(f.v);
	expect(f.v, 6, DATA + 101, 1);
	fix_put(&f, PT + 6 * 8, (DATA + 102 * 4096) | ALL, 8);
	soft_tlb_flush_pcid(f.v, 1);
	expect(f.v, 6, DATA + 102, 1);
	fix_put(&f, PT + 6 * 8, (DATA + 103 * 4096) | ALL, 8);
	soft_tlb_flush_all(f.v);
	expect(f.v, 6, DATA + 103, 1);
	/* The dirty log wants to see the first store. */
	soft_tlb_drop_write_tags(f.v);
	assert_int_equal(f.v->window.n, 0);
	expect(f.v, 6, DATA + 103, 1);
	fix_close(&f);
}

static void go_to(struct soft_vcpu *v, uint64_t cr3, bool keep)
{
	uint64_t old = v->s.cr3;

	v->s.cr3 = cr3;
	soft_tlb_switch(v, old & 0xfff, cr3 & 0xfff, keep);
}

static void test_address_spaces(void **state)
{
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	expect(f.v, 5, DATA + 5, 1);
	go_to(f.v, PML4_B | 2, true);
	assert_false(f.v->window.on);
	expect(f.v, 5, DATA_B + 5, 0);
	go_to(f.v, PML4 | 1, true); /* the page is there still */
	assert_true(f.v->window.on);
	expect(f.v, 5, DATA + 5, 0);
	go_to(f.v, PML4_B | 2, true);
	fix_put(&f, PT + 5 * 8, (DATA + 100 * 4096) | ALL, 8);
	go_to(f.v, PML4 | 1, false);
	expect(f.v, 5, DATA + 100, 1);
	go_to(f.v, PML4_B | 2, true);
	fix_put(&f, PT + 5 * 8, (DATA + 101 * 4096) | ALL, 8);
	soft_tlb_flush_pcid(f.v, 1); /* from elsewhere */
	go_to(f.v, PML4 | 1, true);
	expect(f.v, 5, DATA + 101, 1);
	/* Taken over by the other one. */
	go_to(f.v, PML4_B | 2, true);
	soft_window_open(f.v);
	expect(f.v, 5, DATA_B + 5, 0); /* it began with what the TLB knew */
	go_to(f.v, PML4 | 1, true);
	assert_false(f.v->window.on);
	expect(f.v, 5, DATA + 101, 0);
	fix_close(&f);
}

/* Addresses that are none of the window's, though it would have a page there: there is no IDT, so the guest is shut down. */
static void test_faults(void **state)
{
	static const uint64_t bad[] = {
		PAGE(5) | BIT(63),
		PAGE(5) | BIT(48),
		PAGE(5) | BIT(62),
		PAGE(5) | UINT64_C(0xffff) << 48,
		PAGE(5) | BIT(47),
		PAGE(5) | BIT(40),
		PAGE(5) | BIT(30),
		UINT64_C(0x10000000000) - 4,
		UINT64_C(0x800000000000) - 4,
		UINT64_C(0x7f0000000000),
		UINT64_C(0x550000000000) - 4,
	};
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	expect(f.v, 5, DATA + 5, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		f.v->s.gpr[X86_RAX] = 1;
		(void)run(f.v, LOAD, bad[i]);
		assert_true(f.v->shutdown);
		assert_int_equal(f.v->s.gpr[X86_RAX], 1);
		f.v->shutdown = false;
	}
	expect(f.v, ONLY_READ, DATA + ONLY_READ, 1);
	assert_int_equal(run(f.v, STORE, PAGE(ONLY_READ)), 1);
	assert_true(f.v->shutdown);
	assert_int_equal(fix_get(&f, DATA + ONLY_READ * 4096, 8), DATA + ONLY_READ);
	fix_close(&f);
}

static int prot_of(const struct soft_vcpu *v, uint64_t va)
{
	for (unsigned i = 0; i < v->window.n; i++)
		if (v->window.page[i].va == va)
			return v->window.page[i].prot;
	return -1;
}

/* A page that gets code is not writable any more, and stores to it are noticed. */
static void test_code(void **state)
{
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	f.v->s.gpr[X86_RAX] = 0xc0ff; /* inc eax */
	assert_int_equal(run(f.v, STORE, PAGE(20)), 1);
	assert_int_equal(prot_of(f.v, PAGE(20)), PROT_READ | PROT_WRITE);
	f.v->s.gpr[X86_RAX] = 5;
	(void)run(f.v, PAGE(20), 0);
	assert_int_equal(f.v->s.gpr[X86_RAX], 6);
	assert_int_equal(prot_of(f.v, PAGE(20)), PROT_READ);
	f.v->s.gpr[X86_RAX] = 0xc8ff; /* dec eax */
	(void)run(f.v, STORE, PAGE(20));
	assert_int_equal(fix_get(&f, DATA + 20 * 4096, 8), 0xc8ff);
	f.v->s.gpr[X86_RAX] = 5;
	(void)run(f.v, PAGE(20), 0);
	assert_int_equal(f.v->s.gpr[X86_RAX], 4);
	fix_close(&f);
}

/* Another vCPU finds code in a page. */
static void test_revoke(void **state)
{
	static struct fix f;
	struct soft_cache *c;
	struct engine_vcpu *other;
	struct err e = {0};

	(void)state;
	begin(&f, 2);
	assert_int_equal(engine_soft.vcpu_create(f.en, 1, &other, &e), 0);
	if (f.v->window.on) {
		c = f.v->soft->cache;
		assert_int_equal(run(f.v, STORE, PAGE(30)), 1);
		assert_int_equal(prot_of(f.v, PAGE(30)), PROT_READ | PROT_WRITE);
		pthread_mutex_lock(&c->lock);
		assert_true(soft_page_mark(f.v->soft, soft_vcpu_of(other),
					   soft_page_number(f.v->soft, DATA + 30 * 4096),
					   DATA + 30 * 4096));
		pthread_mutex_unlock(&c->lock);
		assert_int_equal(prot_of(f.v, PAGE(30)), PROT_READ);
		/* By C: this vCPU's TLB has a write tag still, but the store goes through and is seen. */
		f.v->s.gpr[X86_RAX] = 1234;
		(void)run(f.v, STORE, PAGE(30));
		assert_int_equal(fix_get(&f, DATA + 30 * 4096, 8), 1234);
		assert_int_equal(prot_of(f.v, PAGE(30)), PROT_READ);
	}
	engine_soft.vcpu_destroy(other);
	fix_close(&f);
}

/* One that costs too much is closed. */
static void test_work(void **state)
{
	static struct fix f;

	(void)state;
	begin(&f, 1);
	NEEDS_WINDOW(&f);
	f.v->window.may_work = 3;
	for (unsigned i = 1; i < 5; i++)
		expect(f.v, i, DATA + i, 1);
	expect(f.v, 5, DATA + 5, 1); /* this fault finds out */
	assert_false(f.v->window.on);
	assert_int_equal(f.v->window.n_closed, 1);
	expect(f.v, 6, DATA + 6, 0);
	soft_window_tick(f.v);
	assert_false(f.v->window.on);
	fix_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),	       cmocka_unit_test(test_invalidation),
		cmocka_unit_test(test_address_spaces), cmocka_unit_test(test_faults),
		cmocka_unit_test(test_code),	       cmocka_unit_test(test_revoke),
		cmocka_unit_test(test_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
