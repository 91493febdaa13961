/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_lockstep.c - lock-step finds a difference that is there, names its place, and finds none where none is.
 * The differences are planted by changing translated code in code memory.
 */
#include <stdio.h>

#include "soft_tables.h"

#include "engine/soft/lockstep.h"

#define DATA 0x21000u

/* clang-format off */
static const uint8_t program[] = {
	0xb8, 0x78, 0x56, 0x34, 0x12,			/* mov eax, 0x12345678 */
	0xf9,						/* stc */
	0x19, 0xdb,					/* sbb ebx, ebx */
	0xb9, 0x64, 0x00, 0x00, 0x00,			/* mov ecx, 100 */
	/* LOOP */
	0x48, 0x89, 0x04, 0x25, 0x00, 0x10, 0x02, 0x00,	/* mov [DATA], rax */
	0x48, 0x01, 0xc8,				/* add rax, rcx */
	0xff, 0xc9,					/* dec ecx */
	0x75, 0xf1,					/* jnz LOOP */
	0xe8, 0x10, 0x00, 0x00, 0x00,			/* call COPY */
	0xe6, 0x80,					/* out 0x80, al */
	0xe4, 0x81,					/* in al, 0x81 */
	0x0f, 0x31,					/* rdtsc */
	0xb2, 0x5a,					/* mov dl, 0x5a */
	0xe6, 0x82,					/* out 0x82, al */
	0xb8, 0x01, 0x00, 0x00, 0x00,			/* mov eax, 1 */
	0xf4,						/* hlt */
	/* COPY: over a page boundary */
	0xbe, 0x00, 0x10, 0x02, 0x00,			/* mov esi, DATA */
	0xbf, 0x00, 0x28, 0x02, 0x00,			/* mov edi, DATA + 0x1800 */
	0xb9, 0x2c, 0x01, 0x00, 0x00,			/* mov ecx, 300 */
	0xf3, 0x48, 0xa5,				/* rep movsq */
	0xf3, 0x0f, 0x6f, 0x06,				/* movdqu xmm0, [rsi] */
	0x66, 0x0f, 0xef, 0xc9,				/* pxor xmm1, xmm1 */
	0xc3,						/* ret */
};
/* clang-format on */

#define LOOP (CODE + 13)
#define COPY (CODE + 49)

static struct fix *start(void **state)
{
	struct fix *f = *state;

	mode64(f, 0);
	f->v->soft->cfg.soft_mode = SOFT_MODE_LOCKSTEP;
	assert_int_equal(gmem_write(f->mem, CODE, program, sizeof(program)), 0);
	f->v->s.rip = CODE;
	f->v->s.cr4 |= X86_CR4_OSFXSR;
	f->v->s.ev.halted = false;
	soft_state_loaded(f->v);
	return f;
}

static struct engine_exit run_guest(struct fix *f)
{
	struct engine_exit exit;

	(engine_soft.run)(f->ev, &exit);
	return exit;
}

/* Registers and memory again as at the begin; translated code stays. */
static void again(struct fix *f)
{
	f->v->s.rip = CODE;
	f->v->s.ev.halted = false;
	for (unsigned i = 0; i < 16; i++)
		if (i != X86_RSP)
			f->v->s.gpr[i] = 0x1111 * i;
}

/* The block at va, which has run. */
static struct soft_block *block_at(struct fix *f, uint64_t va)
{
	struct soft_block *b;
	uint64_t rip = f->v->s.rip;

	f->v->s.rip = va;
	b = soft_tr_block(f->v, soft_tr_key(f->v));
	f->v->s.rip = rip;
	assert_non_null(b);
	return b;
}

/* The only place in the block's code with these bytes, as it can be written to. */
static uint8_t *find(struct fix *f, const struct soft_block *b, const void *bytes, size_t n)
{
	const struct soft_cache *c = f->v->soft->cache;
	uint8_t *at = NULL;

	for (const uint8_t *p = b->code; p + n <= b->code_end; p++) {
		if (memcmp(p, bytes, n))
			continue;
		assert_null(at);
		at = c->rw + (p - c->rx);
	}
	assert_non_null(at);
	return at;
}

static void test_same(void **state)
{
	struct fix *f = start(state);

	for (unsigned i = 0; i < 3; i++) {
		struct engine_exit exit = run_guest(f);

		assert_string_equal(exit.why, "");
		assert_int_equal(exit.reason, ENGINE_EXIT_HALT);
		/* The outside was asked once a run. */
		assert_int_equal(f->n_port, 3 * (i + 1));
		assert_int_equal(f->port, 0x82);
		again(f);
	}
	assert_int_equal(f->v->lockstep_state->n_insns, 3 * (4 + 400 + 1 + 7 + 7));
	assert_int_equal(f->v->lockstep_state->n_skipped, 0);
	assert_int_equal(fix_get(f, DATA, 8), 0x12345678 + 100 * 101 / 2 - 1);
}

static void expect_difference(struct fix *f, uint64_t block, const char *what)
{
	struct engine_exit exit;
	char where[64];

	(void)snprintf(where, sizeof(where), "lock-step: block %#llx: ", (unsigned long long)block);
	again(f);
	exit = run_guest(f);
	assert_int_equal(exit.reason, ENGINE_EXIT_ERROR);
	if (strncmp(exit.why, where, strlen(where)) || !strstr(exit.why, what))
		fail_msg("'%s' does not say '%s' and '%s'", exit.why, where, what);
}

static void test_register(void **state)
{
	static const uint8_t imm[] = {0x78, 0x56, 0x34, 0x12};
	struct fix *f = start(state);

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	find(f, block_at(f, CODE), imm, sizeof(imm))[1] ^= 0x10;
	expect_difference(f, CODE, "rax is 0x123446dc, the reference says 0x123456dc");
}

static void test_flag(void **state)
{
	static const uint8_t stc_sbb[] = {0xf9, 0x19, 0xdb};
	struct fix *f = start(state);

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	*find(f, block_at(f, CODE), stc_sbb, sizeof(stc_sbb)) = 0xf8;
	expect_difference(f, CODE, "rbx is 0, the reference says 0xffffffff");
}

static void test_memory(void **state)
{
	static const uint8_t store[] = {0x49, 0x89, 0x02}; /* mov [r10], rax */
	struct fix *f = start(state);

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	find(f, block_at(f, LOOP), store, sizeof(store))[2] = 0x0a; /* rcx */
	/* Where the loop begins as the rest of a longer block. */
	expect_difference(f, LOOP, "memory at 0x21000 is 0x63, the reference says");
}

static void test_vector(void **state)
{
	static const uint8_t pxor[] = {0x66, 0x0f, 0xef, 0xc9};
	struct fix *f = start(state);

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	find(f, block_at(f, COPY), pxor, sizeof(pxor))[2] = 0x76; /* pcmpeqd */
	expect_difference(f, COPY, "xmm1, low half is 0xffffffffffffffff, the reference says 0");
}

/* What the two sides ask the outside. */
static void test_call(void **state)
{
	struct fix *f = start(state);
	struct soft_cache *c = f->v->soft->cache;
	struct x86_insn *out = NULL;

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	/* OUT runs by C, from its decoded form in the arena: another port there. */
	for (uint8_t *p = c->arena; p + sizeof(*out) <= c->arena + c->arena_used; p += 16) {
		struct x86_insn *in = (struct x86_insn *)(void *)p;

		if (in->len == 2 && in->bytes[0] == 0xe6 && in->bytes[1] == 0x82)
			out = in;
	}
	assert_non_null(out);
	assert_int_equal(out->imm & 0xff, 0x82);
	out->imm = 0x83;
	again(f);

	struct engine_exit exit = run_guest(f);

	assert_int_equal(exit.reason, ENGINE_EXIT_ERROR);
	assert_non_null(strstr(exit.why, "here a write to port 0x82"));
	assert_non_null(strstr(exit.why, "there a write to port 0x83"));
}

/* A jump that leads to another block than it should: no single block is wrong. */
static void test_link(void **state)
{
	struct fix *f = start(state);
	struct soft_cache *c = f->v->soft->cache;
	struct soft_block *loop, *copy;
	bool found = false;

	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	again(f);
	assert_int_equal(run_guest(f).reason, ENGINE_EXIT_HALT);
	loop = block_at(f, LOOP);
	copy = block_at(f, COPY);
	for (unsigned i = 0; i < loop->n_links; i++) {
		struct soft_link *l = &loop->link[i];

		if (l->to != loop)
			continue;
		int32_t rel = (int32_t)(copy->e_native - (soft_cache_rx(c, l->site) + 4));

		memcpy(l->site, &rel, 4);
		found = true;
	}
	assert_true(found);
	again(f);

	struct engine_exit exit = run_guest(f);

	assert_int_equal(exit.reason, ENGINE_EXIT_ERROR);
	assert_non_null(strstr(exit.why, "no block of them differs when it runs alone"));
}

/* A 16-byte operand that is not aligned: #GP, both ways, at the instruction, and no store. */
static void test_misaligned(void **state)
{
	static const uint8_t code[] = {
		0xbe, 0x08, 0x10, 0x02, 0x00, /* mov esi, DATA + 8 */
		0xf0, 0x48, 0x0f, 0xc7, 0x0e, /* lock cmpxchg16b [rsi] */
		0xf4,			      /* hlt */
	};
	static const uint8_t hlt = 0xf4;
	struct fix *f = start(state);
	struct engine_exit exit;
	struct err e = {0};

	assert_int_equal(soft_signal_init(&e),
			 0); /* cmocka has put its own handlers in their place */
	assert_int_equal(gmem_write(f->mem, CODE, code, sizeof(code)), 0);
	assert_int_equal(gmem_write(f->mem, HANDLER(X86_EXC_GP), &hlt, 1), 0);
	for (unsigned i = 0; i < 2; i++) { /* without and with the TLB entry and the block there */
		again(f);
		f->v->s.gpr[X86_RSP] = STACK;
		exit = run_guest(f);
		assert_string_equal(exit.why, "");
		assert_int_equal(exit.reason, ENGINE_EXIT_HALT);
		assert_int_equal(f->v->s.rip, HANDLER(X86_EXC_GP) + 1);
		assert_int_equal(fix_get(f, f->v->s.gpr[X86_RSP], 8), 0);
		assert_int_equal(fix_get(f, f->v->s.gpr[X86_RSP] + 8, 8), CODE + 5);
		assert_int_equal(fix_get(f, DATA + 8, 8), 0);
	}
	assert_true(f->v->tr.n_fault != 0 || f->v->tr.n_slow != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_register, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_flag, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_memory, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_vector, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_call, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_link, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_misaligned, fix_setup, fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
