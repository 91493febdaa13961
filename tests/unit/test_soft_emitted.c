/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_emitted.c - what the translator makes of random guest code keeps the rules of engine/soft/verify.h; and
 * Zydis, walking over the same bytes, agrees with our decoder about where every instruction ends, and finds nothing
 * forbidden either: the verification's own decoder is the translator's.
 *
 * LODGE_TEST_SEED and LODGE_TEST_COUNT (blocks) change the run.
 */
#include <stdio.h>

#include <Zydis/Zydis.h>

#include "engine/soft/verify.h"
#include "soft_tables.h"

static uint64_t rng = 1;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

/* One random valid instruction; mostly ones that run inside of blocks. Returns its length. */
static unsigned random_insn(const struct soft_vcpu *v, uint8_t *p)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x64, 0x65, 0x67};
	bool mode64 = v->mode == X86_MODE_64;
	struct x86_insn in;

	for (;;) {
		unsigned n = 0;

		for (unsigned i = 0; i < X86_INSN_MAX; i++)
			p[i] = (uint8_t)rnd();
		if (rnd() % 3 == 0)
			p[n++] = prefixes[rnd() % sizeof(prefixes)];
		if (mode64 && rnd() % 2)
			p[n++] = 0x40 | (rnd() & 15);
		if (rnd() % 4 == 0) { /* VEX; outside of 64-bit mode the next two bits must be set */
			p[n] = rnd() % 2 ? 0xc4 : 0xc5;
			p[n + 1] |= mode64 ? 0 : 0xc0;
			if (p[n] == 0xc4)
				p[n + 1] = (uint8_t)((p[n + 1] & 0xe0) | (1 + rnd() % 3));
		} else if (rnd() % 2) {
			p[n++] = 0x0f;
			if (rnd() % 4 == 0)
				p[n++] = rnd() % 2 ? 0x38 : 0x3a;
		}
		if (soft_decode(v, &in, p, X86_INSN_MAX) != X86_DECODE_OK)
			continue;
		if ((in.attr & (X86_A_END | X86_A_BRANCH)) && rnd() % 8)
			continue;
		return in.len;
	}
}

static bool zydis_operand(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	bool hidden_of_call = z->mnemonic == ZYDIS_MNEMONIC_CALL &&
			      o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;

	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		switch (ZydisRegisterGetClass(o->reg.value)) {
		case ZYDIS_REGCLASS_SEGMENT:
		case ZYDIS_REGCLASS_CONTROL:
		case ZYDIS_REGCLASS_DEBUG:
		case ZYDIS_REGCLASS_TABLE: return false;
		default: break;
		}
		return hidden_of_call ||
		       ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value) !=
			       ZYDIS_REGISTER_RSP;
	}
	if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.type == ZYDIS_MEMOP_TYPE_AGEN ||
	    z->mnemonic == ZYDIS_MNEMONIC_NOP || hidden_of_call)
		return true;
	if (o->mem.segment == ZYDIS_REGISTER_GS)
		return (o->mem.base == ZYDIS_REGISTER_NONE &&
			(o->mem.index == ZYDIS_REGISTER_NONE ||
			 o->mem.index == ZYDIS_REGISTER_R11)) ||
		       (o->mem.base == ZYDIS_REGISTER_R11 && o->mem.index == ZYDIS_REGISTER_NONE);
	return o->mem.base == ZYDIS_REGISTER_R10 && o->mem.index == ZYDIS_REGISTER_NONE;
}

/* The other decoder's opinion of one instruction of a block. */
static const char *zydis(const ZydisDecoder *zd, const struct soft_walk *w)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(zd, w->at, (size_t)(w->end - w->at), &z, op)))
		return "invalid";
	if (z.length != w->len)
		return "of another length";
	switch (z.meta.category) {
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_STRINGOP:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_RDWRFSGS: return "of a forbidden kind";
	case ZYDIS_CATEGORY_SYSTEM:
		if (z.mnemonic != ZYDIS_MNEMONIC_RDTSC)
			return "a system instruction";
		break;
	default: break;
	}
	if ((z.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) ||
	    z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return "privileged";
	for (unsigned i = 0; i < z.operand_count; i++)
		if (!zydis_operand(&z, &op[i]))
			return "with a forbidden operand";
	return NULL;
}

/* Returns how many instructions with a VEX prefix there were. */
static unsigned hold_against(const ZydisDecoder *zd, const struct soft_cache *c,
			     const struct soft_block *b)
{
	struct soft_verify_error err;
	struct soft_walk w;
	unsigned vex = 0;

	if (!soft_verify_block(c, b, &err))
		soft_verify_failed(b, &err);
	for (soft_walk_start(&w, c, b); soft_walk_next(&w);) {
		const char *why = w.record ? NULL : zydis(zd, &w);

		vex += !w.record && w.in.vex;
		if (why) {
			for (unsigned i = 0; i < w.len; i++)
				print_error(" %02x", w.at[i]);
			fail_msg(" is %s", why);
		}
	}
	assert_ptr_equal(w.p, w.end);
	return vex;
}

/* Privilege, mode, and what else is in the mode key. */
static void random_mode(struct fix *f)
{
	struct x86_state *s = mode64(f, rnd() % 2 ? 3 : 0);

	s->cr4 |= X86_CR4_PGE | (rnd() % 4 ? X86_CR4_OSFXSR : 0) | (rnd() % 2 ? X86_CR4_SMAP : 0) |
		  (rnd() % 4 ? 0 : X86_CR4_TSD) | (rnd() % 4 ? X86_CR4_OSXSAVE : 0);
	s->xcr0 = rnd() % 4 ? 7 : 3;
	if (f->v->cpl == 3 && rnd() % 3 == 0)
		seg(&s->seg[X86_CS], UCS32, 0xc0fb);
	soft_state_loaded(f->v);
}

static void test_translated(void **state)
{
	const char *seed = getenv("LODGE_TEST_SEED"), *count = getenv("LODGE_TEST_COUNT");
	unsigned blocks = count ? (unsigned)atoi(count) : 20000, n_insns = 0, done = 0, vex = 0;
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct soft_block *b;
	uint8_t page[4096 + 16];
	ZydisDecoder zd;

	if (seed)
		rng = strtoull(seed, NULL, 0) | 1;
	assert_true(ZYAN_SUCCESS(
		ZydisDecoderInit(&zd, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)));
	while (done < blocks) {
		unsigned n = 0, left = 64;

		random_mode(f);
		v->soft->cache->host_bmi2 = done & 1 && __builtin_cpu_supports("bmi2");
		while (n < 4096)
			n += random_insn(v, page + n);
		assert_int_equal(gmem_write(f->mem, CODE, page, 4096), 0);
		for (v->s.rip = CODE; v->s.rip < CODE + 4096 && left--;) {
			b = soft_tr_block(v, soft_tr_key(v) | (left & 1 ? SOFT_KEY_PLAIN : 0));
			if (!b) {
				v->s.rip++;
				continue;
			}
			vex += hold_against(&zd, v->soft->cache, b);
			v->s.rip = b->va + b->bytes;
			n_insns += b->n_insns;
			done++;
		}
	}
	print_message("%u blocks, %u instructions, %u emitted with VEX\n", done, n_insns, vex);
	assert_true(n_insns > done && vex > done / 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_translated, fix_setup, fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
