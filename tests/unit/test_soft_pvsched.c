/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_pvsched.c - what vCPUs tell one another by KVM's conventions: the steal time record and the TLB flush that it
 * carries, kicks before and after HLT, and PAUSE that gives the host CPU away.
 */
#include "soft_fixture.h"

#define PTE_P 1u
#define PTE_W 2u
#define PTE_G 0x100u

#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT 0x4000u
#define CODE 0x10000u
#define RECORD 0x20040u
#define PREEMPTED 16

#define MSR_STEAL 0x4b564d03u
#define HC_KICK 5u
#define HC_YIELD 11u

struct two {
	struct fix f;
	struct engine_vcpu *ev1;
	struct soft_vcpu *v1;
	unsigned n_wake, woken;
};

static void wake(void *ctx, unsigned vcpu)
{
	struct two *t = (struct two *)ctx;

	t->n_wake++;
	t->woken = vcpu;
}

/* 64-bit mode, the first 512 pages mapped one to one, odd ones global. */
static void enter_64(struct soft_vcpu *v)
{
	struct x86_state *s = &v->s;

	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE;
	s->msr.efer = X86_EFER_LMA | X86_EFER_LME;
	s->seg[X86_CS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW | X86_ATTR_L;
	s->seg[X86_SS].attr = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW;
	s->rflags = X86_F1;
	s->rip = CODE;
	s->ev.wait_for_sipi = false;
	soft_state_loaded(v);
}

static int setup(void **state)
{
	static struct two t;

	memset(&t, 0, sizeof(t));
	fix_open_as(&t.f, 2, SOFT_MODE_TRANSLATE);
	t.f.host.ctx = &t;
	t.f.host.wake = wake;
	fix_put(&t.f, PML4, PDPT | PTE_P | PTE_W, 8);
	fix_put(&t.f, PDPT, PD | PTE_P | PTE_W, 8);
	fix_put(&t.f, PD, PT | PTE_P | PTE_W, 8);
	for (unsigned i = 0; i < 512; i++)
		fix_put(&t.f, PT + i * 8, i * 4096 | PTE_P | PTE_W | (i & 1 ? PTE_G : 0), 8);
	assert_int_equal(engine_soft.vcpu_create(t.f.en, 1, &t.ev1, NULL), 0);
	assert_int_equal(engine_soft.vcpu_attach(t.ev1, NULL), 0);
	t.v1 = soft_vcpu_of(t.ev1);
	enter_64(t.f.v);
	enter_64(t.v1);
	*state = &t;
	return 0;
}

static int teardown(void **state)
{
	struct two *t = *state;

	engine_soft.vcpu_destroy(t->ev1);
	fix_close(&t->f);
	return 0;
}

static uint32_t features(const struct cpuid_table *t)
{
	uint32_t a, b, c, d;

	cpuid_get(t, 0x40000001, 0, 0, &a, &b, &c, &d);
	return a;
}

#define OURS ((uint32_t)(BIT(5) | BIT(7) | BIT(9) | BIT(13)))
#define PV_EOI ((uint32_t)BIT(6))
#define MSR_PV_EOI 0x4b564d04u

static void test_offer(void **state)
{
	struct two *t = *state;
	struct cpuid_table one;
	struct fix f;
	uint64_t value;

	assert_int_equal(features(&t->f.v->soft->cpuid) & OURS, OURS);
	/* To a single vCPU nothing of it; PV EOI is for all. */
	cpuid_build(&one, fix_cpuid, CPUID_MODEL_HOST, 1, 2000000);
	cpuid_add_pv(&one, 1, UINT32_MAX & ~PV_EOI);
	assert_int_equal(features(&one) & (OURS | PV_EOI), 0);
	cpuid_add_pv(&one, 1, UINT32_MAX);
	assert_int_equal(features(&one) & (OURS | PV_EOI), PV_EOI);
	assert_int_equal(features(&t->f.v->soft->cpuid) & PV_EOI, PV_EOI);
	fix_open(&f);
	assert_false(soft_wrmsr(f.v, MSR_STEAL, RECORD | 1));
	assert_int_equal(soft_pv_hypercall(f.v, HC_KICK, 0), -1000);
	assert_int_equal(soft_pv_hypercall(f.v, HC_YIELD, 0), -1000);
	assert_false(soft_wrmsr(f.v, MSR_PV_EOI, RECORD | 3)); /* not a multiple of 4 */
	assert_true(soft_wrmsr(f.v, MSR_PV_EOI, RECORD | 1));
	assert_true(soft_rdmsr(f.v, MSR_PV_EOI, &value));
	assert_int_equal(value, RECORD | 1);
	assert_true(soft_wrmsr(f.v, MSR_PV_EOI, 0));
	fix_close(&f);

	assert_false(soft_wrmsr(t->v1, MSR_STEAL, RECORD | 3)); /* reserved bits */
	assert_false(soft_wrmsr(t->v1, MSR_STEAL, RECORD | 0x21));
	assert_true(soft_wrmsr(t->v1, MSR_STEAL, RECORD | 1));
	assert_true(soft_rdmsr(t->v1, MSR_STEAL, &value));
	assert_int_equal(value, RECORD | 1);
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_YIELD, 1), 0);
	assert_int_equal(soft_pv_hypercall(t->f.v, 999, 0), -1000);
}

static enum engine_exit_reason run(struct two *t)
{
	struct engine_exit exit;

	engine_soft.run(t->ev1, &exit);
	return exit.reason;
}

static void test_steal_time(void **state)
{
	struct two *t = *state;
	struct soft_vcpu *v = t->v1;

	assert_int_equal(gmem_write(t->f.mem, CODE, "\xf4\xf4\xf4\xf4\xf4\xf4\xf4\xf4", 8), 0);
	assert_true(soft_wrmsr(v, MSR_STEAL, RECORD | 1));
	assert_int_equal(fix_get(&t->f, RECORD + PREEMPTED, 1), 0);
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(fix_get(&t->f, RECORD + PREEMPTED, 1), 1);
	/* Woken without more: the TLB stays. */
	v->s.ev.halted = false;
	assert_true(fix_read(v, 0x30000, 8, NULL));
	assert_true(fix_read(v, 0x31000, 8, NULL));
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(v->tlb[v->mmu][0x30].tag_r, 0x30000);
	/* Another vCPU has asked for a flush meanwhile; not of global pages. */
	fix_put(&t->f, RECORD + PREEMPTED, 3, 1);
	v->s.ev.halted = false;
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_not_equal(v->tlb[v->mmu][0x30].tag_r, 0x30000);
	assert_int_equal(v->tlb[v->mmu][0x31].tag_r, 0x31000);
	assert_int_equal(fix_get(&t->f, RECORD + PREEMPTED, 1), 1);
	/* The request waits in memory while the vCPU is moved. */
	fix_put(&t->f, RECORD + PREEMPTED, 3, 1);
	soft_state_loaded(v);
	v->s.ev.halted = false;
	assert_true(fix_read(v, 0x30000, 8, NULL));
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_not_equal(v->tlb[v->mmu][0x30].tag_r, 0x30000);
	/* Switched off, and a record where there is no memory: nothing is written. */
	assert_true(soft_wrmsr(v, MSR_STEAL, 0));
	fix_put(&t->f, RECORD + PREEMPTED, 0x55, 1);
	v->s.ev.halted = false;
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(fix_get(&t->f, RECORD + PREEMPTED, 1), 0x55);
	assert_true(soft_wrmsr(v, MSR_STEAL, 0xfec00001));
	v->s.ev.halted = false;
	v->s.rip = CODE;
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->f.n_mmio, 0);
}

static void test_kick(void **state)
{
	struct two *t = *state;

	assert_int_equal(gmem_write(t->f.mem, CODE, "\xf4\xf4\xf4\xf4", 4), 0);
	/* Asleep: it goes on behind the HLT, though interrupts are off. */
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->v1->s.rip, CODE + 1);
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->v1->s.rip, CODE + 1);
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_KICK, 1), 0);
	assert_int_equal(t->n_wake, 1);
	assert_int_equal(t->woken, 1);
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->v1->s.rip, CODE + 2);
	/* Awake: the next HLT does nothing, and one only, however often it was kicked. */
	t->v1->s.ev.halted = false;
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_KICK, 1), 0);
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_KICK, 1), 0);
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->v1->s.rip, CODE + 4);
	/* Nobody there. */
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_KICK, 2), 0);
	assert_int_equal(soft_pv_hypercall(t->f.v, HC_KICK, UINT64_MAX), 0);
	assert_int_equal(t->n_wake, 3);
}

/* As an instruction: VMCALL with the number in RAX, arguments in RBX and RCX. */
static void test_vmcall(void **state)
{
	struct two *t = *state;

	assert_int_equal(gmem_write(t->f.mem, CODE, "\x0f\x01\xc1\xf4", 4), 0);
	t->v1->s.gpr[X86_RAX] = HC_KICK;
	t->v1->s.gpr[X86_RBX] = 1; /* flags */
	t->v1->s.gpr[X86_RCX] = 0;
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_int_equal(t->v1->s.gpr[X86_RAX], 0);
	assert_int_equal(t->n_wake, 1);
	assert_int_equal(t->woken, 0);
	assert_true(t->f.v->req & SOFT_REQ_KICK);
}

static void test_pause(void **state)
{
	struct two *t = *state;

	/* again: pause; dec ecx; jnz again; hlt */
	assert_int_equal(gmem_write(t->f.mem, CODE, "\xf3\x90\xff\xc9\x75\xfa\xf4", 7), 0);
	t->v1->s.gpr[X86_RCX] = 300000;
	assert_int_equal(run(t), ENGINE_EXIT_HALT);
	assert_true(t->v1->n_yield > 0);
	assert_int_equal(t->f.v->n_yield, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_offer),  TEST(test_steal_time), TEST(test_kick),
		TEST(test_vmcall), TEST(test_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
