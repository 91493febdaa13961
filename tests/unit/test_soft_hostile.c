/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_hostile.c - a guest that does its worst: random descriptors, gates, page tables and registers,
 * random instructions (system ones above all) in all modes. Nothing may crash (the sanitizers look), and what
 * the vCPU derives from its registers must still agree with them after each instruction.
 *
 * One argument: a seed, to run another sequence than the usual ones.
 */
#include "soft_tables.h"

#define STEPS 60000u
#define STEPS_PER_STATE 16u

static uint64_t rng;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static bool one_in(unsigned n)
{
	return rnd() % n == 0;
}

/* A number at an edge of something. */
static uint64_t edge(void)
{
	switch (rnd() % 10) {
	case 0: return rnd();
	case 1: return rnd() % FIX_RAM;
	case 2: return rnd() % 0x100000;
	case 3: return (rnd() % FIX_RAM) & ~UINT64_C(0xfff);
	case 4: return UINT64_C(0xffff800000000000) + rnd() % 0x10000;
	case 5: return UINT64_C(0x7ffffffffff0) + rnd() % 32;
	case 6: return ~UINT64_C(0) - rnd() % 16;
	case 7: return rnd() % 256;
	case 8: return GIB * (rnd() % 4) + rnd() % 64 - 32;
	default: return (rnd() & 0xfff) + 0xff8;
	}
}

static void new_state(struct fix *f)
{
	struct soft_vcpu *v = f->v;
	struct x86_state *s = &v->s;
	unsigned cpl = one_in(2) ? 3 : 0;

	v->soft->cpuid.vendor = one_in(2) ? CPUID_VENDOR_AMD : CPUID_VENDOR_INTEL;
	x86_state_reset(s, true);
	switch (rnd() % 3) {
	case 0: mode64(f, cpl); break;
	case 1: mode32(f, cpl); break;
	default:
		s->seg[X86_CS].base = 0;
		s->idt.limit = 0x3ff;
		break;
	}
	if (one_in(2))
		s->cr4 |= rnd() & v->soft->cpuid.cr4_valid & ~(uint64_t)X86_CR4_PCIDE;
	if (one_in(4) && (s->cr0 & X86_CR0_PE) && !(s->msr.efer & X86_EFER_LMA)) {
		s->cr3 = (rnd() % FIX_RAM) & ~UINT64_C(0xfff);
		s->cr0 |= X86_CR0_PG;
	}
	for (unsigned i = 0; i < 8; i++)
		fix_put(f, PML4 + (rnd() % 0x3000 & ~7u), edge(), 8);
	for (unsigned i = one_in(2) ? 4 : 0; i > 0; i--) {
		fix_put(f, GDT + (rnd() % 0x100 & ~7u), rnd(), 8);
		fix_put(f, IDT + (rnd() % 0x1000 & ~7u), rnd(), 8);
	}
	for (unsigned i = one_in(4) ? 4 : 0; i > 0; i--)
		s->seg[rnd() % X86_SREGS] = (struct x86_seg){edge(), (uint32_t)edge(),
							     (uint16_t)rnd(),
							     (uint16_t)(rnd() & 0xf0ff)};
	if (one_in(8)) {
		s->dr[rnd() % 4] = edge();
		s->dr[7] = 0x400 | (rnd() & 0xffff00ff);
	}
	if (one_in(8))
		s->tr.limit = (uint32_t)rnd() % 0x200;
	if (one_in(8))
		s->gdt.limit = (uint16_t)rnd();
	if (one_in(8))
		s->rflags |= rnd() & 0x3d7fd5;
	if (one_in(8))
		s->msr.kvm_system_time = edge();
	soft_state_loaded(v);
}

/* Random bytes, most often behind the opcode of a system instruction. */
static void new_code(struct fix *f)
{
	static const uint8_t opcodes[][2] = {
		{0xcf},	      {0xcb},	    {0xca},	  {0x9d},	{0x9c},	      {0x8e},
		{0x8c},	      {0xcd},	    {0xcc},	  {0xff},	{0x9a},	      {0xea},
		{0x6c},	      {0x6f},	    {0xa4},	  {0xa5},	{0xab},	      {0xc4},
		{0x17},	      {0x07},	    {0xc8},	  {0xf0},	{0xf4},	      {0xfb},
		{0xec},	      {0xe7},	    {0x0f, 0x00}, {0x0f, 0x01}, {0x0f, 0x02}, {0x0f, 0x03},
		{0x0f, 0x05}, {0x0f, 0x07}, {0x0f, 0x20}, {0x0f, 0x22}, {0x0f, 0x23}, {0x0f, 0x30},
		{0x0f, 0x32}, {0x0f, 0x34}, {0x0f, 0x35}, {0x0f, 0xa2}, {0x0f, 0xa9}, {0x0f, 0xae},
		{0x0f, 0xb2}, {0x0f, 0xc7}, {0x0f, 0x38},
	};
	uint8_t code[16];
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)rnd();
	if (one_in(4))
		code[n++] = 0x66;
	if (one_in(8))
		code[n++] = 0x67;
	if (one_in(8))
		code[n++] = 0xf3;
	if (one_in(2) && f->v->mode == X86_MODE_64)
		code[n++] = 0x40 | (uint8_t)(rnd() & 15);
	if (!one_in(8)) {
		const uint8_t *op = opcodes[rnd() % ARRAY_SIZE(opcodes)];

		code[n++] = op[0];
		if (op[0] == 0x0f)
			code[n] = op[1];
	}
	f->v->s.rip = one_in(32) ? CODE + 0xff8 : CODE; /* sometimes across a page's end */
	assert_int_equal(gmem_write(f->mem, f->v->s.rip, code, sizeof(code)), 0);
}

static void check(const struct soft_vcpu *v)
{
	const struct x86_state *s = &v->s;
	unsigned mode = s->seg[X86_CS].attr & X86_ATTR_DB ? X86_MODE_32 : X86_MODE_16;

	if ((s->msr.efer & X86_EFER_LMA) && (s->seg[X86_CS].attr & X86_ATTR_L))
		mode = X86_MODE_64;
	assert_int_equal(v->mode, mode);
	assert_int_equal(v->cpl, x86_state_cpl(s));
	assert_int_equal(v->mmu == SOFT_MMU_USER, v->cpl == 3);
	assert_int_equal(!!(s->msr.efer & X86_EFER_LMA),
			 (s->msr.efer & X86_EFER_LME) && (s->cr0 & X86_CR0_PG));
	assert_true(s->rflags & X86_F1);
}

static void run_seed(struct fix *f, uint64_t seed)
{
	struct soft_vcpu *v = f->v;

	rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (unsigned i = 0; i < STEPS; i++) {
		if (i % STEPS_PER_STATE == 0)
			new_state(f);
		for (unsigned r = 0; r < 16; r++) {
			if (one_in(3) && (r != X86_RSP || one_in(4)))
				v->s.gpr[r] = edge();
		}
		if (one_in(2))
			v->s.gpr[X86_RCX] &= 0x1ff; /* REP */
		new_code(f);
		v->s.ev.halted = v->shutdown = false;
		v->req = 0;
		soft_step(v);
		soft_fp_save(v); /* what follows is not the engine's */
		check(v);
		if (one_in(16)) {
			soft_interrupt(v, (unsigned)rnd() & 0xff);
			check(v);
		}
	}
}

static uint64_t only_seed;

static void test_hostile(void **state)
{
	struct err e = {0};

	/* The test library has taken the signals that guest floating point raises. */
	assert_int_equal(soft_signal_init(&e), 0);
	for (uint64_t seed = 1; seed <= 4; seed++)
		run_seed(*state, only_seed ? only_seed + seed : seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hostile, fix_setup, fix_teardown),
	};

	only_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
