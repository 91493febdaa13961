/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_soft_verify.c - the verification of translated code: hand-made blocks that break one rule each are refused, for
 * the right reason. (test_soft_emitted.c: what the translator makes passes.)
 */
#include <stdio.h>

#include "engine/soft/verify.h"
#include "soft_tables.h"

/* A block under construction. */
struct vt {
	struct soft_cache *c;
	struct soft_block b;
	struct soft_link link[2];
	struct soft_verify_error err;
	struct emit e;
	uint8_t *start;
	struct x86_insn *insn; /* in the arena */
};

static void begin(struct vt *t, struct fix *f, uint32_t key)
{
	struct soft_cache *c = f->v->soft->cache;

	memset(t, 0, sizeof(*t));
	t->c = c;
	t->start = c->rw + ALIGN_UP(c->used, 16);
	t->e = (struct emit){.p = t->start, .end = t->start + 4096, .delta = c->rx - c->rw};
	t->b.va = 0x401000;
	t->b.key = key;
	t->b.index = 7;
	t->b.bytes = 20;
	t->b.link = t->link;
	t->b.code = t->b.e_slot = t->b.e_slot_polled = t->b.e_native = t->b.e_native_polled =
		emit_here(&t->e);
	t->insn = soft_cache_alloc(c, sizeof(*t->insn));
}

static void bytes(struct vt *t, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		emit8(&t->e, ((const uint8_t *)p)[i]);
}

static void leave(struct vt *t)
{
	emit_call(&t->e, t->c->stub.exit_pc);
	emit64(&t->e, 0x401014);
}

static bool verify(struct vt *t)
{
	t->b.code_end = emit_here(&t->e);
	assert_false(t->e.full);
	return soft_verify_block(t->c, &t->b, &t->err);
}

static void passes(struct vt *t)
{
	if (!verify(t))
		fail_msg("refused at +%u: %s", t->err.at, t->err.why);
}

static void refused(struct vt *t, const char *name, const char *why)
{
	if (verify(t))
		fail_msg("%s: passes", name);
	if (!strstr(t->err.why, why))
		fail_msg("%s: refused at +%u, but because %s", name, t->err.at, t->err.why);
}

/* ---- single instructions ---- */

/* clang-format off */
#define INSN(text, name) {text, sizeof(text) - 1, name, "instruction that blocks may not have"}
#define SP(text, name) {text, sizeof(text) - 1, name, "stack pointer"}
#define MEM(text, name) {text, sizeof(text) - 1, name, "reach"}
#define OTHER(text, name, why) {text, sizeof(text) - 1, name, why}
/* clang-format on */

static void test_instructions(void **state)
{
	/* clang-format off */
	static const struct {
		const char *code;
		size_t n;
		const char *name, *why;
	} cases[] = {
		INSN("\x0f\x05", "syscall"), INSN("\x0f\x34", "sysenter"),
		INSN("\x0f\x07", "sysret"), INSN("\x0f\x35", "sysexit"), INSN("\xcd\x80", "int"),
		INSN("\xcc", "int3"), INSN("\xf1", "int1"), INSN("\x0f\x0b", "ud2"),
		INSN("\xe4\x60", "in imm"), INSN("\xe7\x60", "out imm"), INSN("\xec", "in"),
		INSN("\xef", "out"), INSN("\x6c", "ins"), INSN("\xf3\x6f", "rep outs"),
		INSN("\xf4", "hlt"), INSN("\xfa", "cli"), INSN("\xfb", "sti"), INSN("\xfd", "std"),
		INSN("\xfc", "cld"), INSN("\x0f\x30", "wrmsr"), INSN("\x0f\x32", "rdmsr"),
		INSN("\x0f\x33", "rdpmc"), INSN("\x0f\x20\xc0", "mov rax, cr0"),
		INSN("\x0f\x22\xd8", "mov cr3, rax"), INSN("\x0f\x21\xf8", "mov rax, dr7"),
		INSN("\x0f\x23\xf8", "mov dr7, rax"), INSN("\x0f\x06", "clts"),
		INSN("\x41\x0f\x01\x12", "lgdt"), INSN("\x41\x0f\x01\x3a", "invlpg"),
		INSN("\x0f\x01\xe0", "smsw"), INSN("\x0f\x01\xf8", "swapgs"),
		INSN("\x0f\x01\xf9", "rdtscp"), INSN("\x0f\x01\xca", "clac"),
		INSN("\x0f\x01\xd0", "xgetbv"), INSN("\x0f\x01\xd1", "xsetbv"),
		INSN("\x0f\x01\xc1", "vmcall"), INSN("\x0f\x01\xc8", "monitor"),
		INSN("\x0f\x00\xc8", "str"), INSN("\x0f\x02\xc0", "lar"),
		INSN("\x0f\x09", "wbinvd"), INSN("\x0f\xa2", "cpuid"), INSN("\x0f\xaa", "rsm"),
		INSN("\x8e\xd8", "mov ds, eax"), INSN("\x8c\xd8", "mov eax, ds"),
		INSN("\x0f\xa1", "pop fs"), INSN("\x0f\xa8", "push gs"),
		INSN("\x41\x0f\xb2\x02", "lss"), INSN("\x41\x0f\xb5\x02", "lgs"),
		INSN("\x41\xff\x2a", "jmp far"), INSN("\x41\xff\x1a", "call far"),
		INSN("\xcb", "retf"), INSN("\x48\xcf", "iret"), INSN("\xc3", "ret"),
		INSN("\xc2\x08\x00", "ret imm"), INSN("\x50", "push"), INSN("\x58", "pop"),
		INSN("\x6a\x01", "push imm"), INSN("\x41\xff\x32", "push mem"),
		INSN("\x41\x8f\x02", "pop mem"), INSN("\x9c", "pushf"), INSN("\x9d", "popf"),
		INSN("\xc8\x10\x00\x00", "enter"), INSN("\xc9", "leave"), INSN("\xa4", "movs"),
		INSN("\xf3\x48\xab", "rep stos"), INSN("\xac", "lods"), INSN("\xae", "scas"),
		INSN("\xa6", "cmps"), INSN("\xd7", "xlat"), INSN("\xff\xd0", "call rax"),
		INSN("\xe2\x00", "loop"), INSN("\x41\x0f\xae\x02", "fxsave"),
		INSN("\x41\x0f\xae\x0a", "fxrstor"), INSN("\x41\x0f\xae\x12", "ldmxcsr"),
		INSN("\x41\x0f\xae\x3a", "clflush"), INSN("\xf3\x48\x0f\xae\xc0", "rdfsbase"),
		INSN("\xf3\x48\x0f\xae\xd8", "wrgsbase"), INSN("\xf3\x0f\xc7\xf8", "rdpid"),
		INSN("\x41\xd9\x22", "fldenv"), INSN("\x41\xd9\x32", "fnstenv"),
		INSN("\x41\xdd\x22", "frstor"), INSN("\x41\xdd\x32", "fnsave"),
		INSN("\x0f\xf7\xc1", "maskmovq"), INSN("\x66\x0f\x38\x82\x02", "invpcid"),
		INSN("\x67\x8d\x00", "address size prefix"),
		OTHER("\x0f\x01\xef", "wrpkru", "no instruction"),
		OTHER("\xc7\xf8\x00\x00\x00\x00", "xbegin", "no instruction"),
		OTHER("\x0f\xff\xc0", "ud0", "no"), OTHER("\x06", "push es", "no instruction"),
		SP("\x48\x89\xc4", "mov rsp, rax"), SP("\x48\x89\xe0", "mov rax, rsp"),
		SP("\x48\x83\xc4\x08", "add rsp, 8"), SP("\x48\x94", "xchg rsp, rax"),
		SP("\x0f\xcc", "bswap esp"), SP("\x48\x8d\x64\x24\x08", "lea rsp"),
		SP("\x48\x0f\x44\xe0", "cmovz rsp"), SP("\x40\x88\xc4", "mov spl, al"),
		SP("\x48\x8b\x04\x24", "mov rax, [rsp]"),
		SP("\xbc\x00\x00\x00\x00", "mov esp, imm"), MEM("\x48\x8b\x01", "mov rax, [rcx]"),
		MEM("\x49\x8b\x02", "mov rax, [r10] unchecked"),
		MEM("\x48\x8b\x05\x00\x00\x00\x00", "mov rax, [rip]"),
		MEM("\x48\x8b\x04\x25\x00\x10\x00\x00", "mov rax, [0x1000]"),
		MEM("\x64\x48\x8b\x04\x25\x00\x00\x00\x00", "mov rax, fs:[0]"),
		MEM("\x65\x48\x8b\x01", "mov rax, gs:[rcx]"),
		MEM("\x65\x48\x8b\x04\x25\xf8\xff\xff\xff", "mov rax, gs:[-8]"),
		MEM("\x65\x48\x8b\x04\x25\x00\x00\x00\x7f", "mov rax, gs:[0x7f000000]"),
		OTHER("\x65\x4d\x2b\x93\x20\x06\x00\x00", "sub r10, gs:[r11 + ...]", "masked"),
		OTHER("\x48\xa1\x00\x00\x00\x00\x00\x00\x00\x00", "moffs", "not have"),
		OTHER("\x65\xff\x24\x25\x00\x00\x00\x00", "jmp gs:[0]", "jumps"),
		OTHER("\xff\xe0", "jmp rax", "jumps"),
	};
	/* clang-format on */
	/* clang-format off */
	static const char *const good[] = {
		"\x48\x01\xc8", "\x4d\x89\xd3", "\x0f\xc8", "\x66\x0f\xef\xc0", "\xd9\xc0", "\xd8\xc1", "\x88\xe4",
		"\x0f\x31", "\x9f", "\xf3\x48\x0f\xb8\xc1", "\x0f\xae\xe8", "\x90", "\x48\x8d\x04\x0a",
	};
	/* clang-format on */
	struct vt t;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(&t, *state, 0);
		bytes(&t, cases[i].code, cases[i].n);
		leave(&t);
		refused(&t, cases[i].name, cases[i].why);
		assert_int_equal(t.err.at, 0);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		begin(&t, *state, 0);
		bytes(&t, good[i], strlen(good[i]));
		leave(&t);
		passes(&t);
	}
}

/* ---- stores to the vCPU ---- */

static void store_field(struct vt *t, struct fix *f, uint32_t key, uint32_t at, const char *name,
			const char *why)
{
	begin(t, f, key);
	emit_store_gs(&t->e, true, HR_RAX, at);
	leave(t);
	if (why)
		refused(t, name, why);
	else
		passes(t);
}

static void test_fields(void **state)
{
	struct fix *f = *state;
	struct vt t;

	static const char *const never = "blocks may not change", *const user = "user code may not";
#define STORE(key, field, why) store_field(&t, f, key, GS(field), #field, why)

	STORE(0, s.gpr[X86_R10], NULL);
	STORE(0, s.gpr[X86_RAX], never);
	STORE(0, s.msr.kernel_gs_base, NULL);
	STORE(SOFT_KEY_CPL3 | SOFT_MMU_USER, s.msr.kernel_gs_base, user);
	STORE(SOFT_KEY_CPL3 | SOFT_MMU_USER, s.seg[X86_GS].base, NULL);
	STORE(SOFT_KEY_CPL3 | SOFT_MMU_USER, s.seg[X86_CS].base, never);
	STORE(0, s.cr3, never);
	STORE(0, s.rflags, "RFLAGS");
	STORE(0, tr.self, never);
	STORE(0, tr.jc_code[0][5], never);
	STORE(0, tlb[0][3].host, never);
	STORE(0, host, never);
	STORE(0, req, never);
#undef STORE
	static const struct {
		unsigned ext;
		uint32_t imm;
		bool user;
		bool ok;
	} rflags[] = {
		{4, ~(uint32_t)X86_IF, false, true},
		{1, X86_IF, false, true},
		{4, ~(uint32_t)X86_IF, true, false},
		{1, X86_AC, true, false},
		{1, X86_DF, true, true},
		{4, ~(uint32_t)X86_DF, true, true},
		{1, X86_IOPL, false, false},
		{4, 0, false, false},
		{6, X86_IF, false, false},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rflags); i++) {
		begin(&t, f, rflags[i].user ? SOFT_KEY_CPL3 | SOFT_MMU_USER : 0);
		bytes(&t, "\x65\x81", 2);
		emit8(&t.e, 4 | rflags[i].ext << 3);
		emit8(&t.e, 0x25);
		emit32(&t.e, GS(s.rflags));
		emit32(&t.e, rflags[i].imm);
		leave(&t);
		if (rflags[i].ok)
			passes(&t);
		else
			refused(&t, "rflags", "RFLAGS");
	}
}

/* ---- guest memory ---- */

enum spoil {
	SPOIL_NONE,
	SPOIL_S1_MASK,
	SPOIL_S1_SUB,
	SPOIL_S0_SUB,
	SPOIL_FLAGS,
	SPOIL_S0_ADD,
	SPOIL_S1_ADD
};

struct seq {
	const char *name;
	unsigned mmu, host_mmu;
	bool write, tag_w; /* how the access is reported, and by which tag */
	int mask, size;
	unsigned cond;
	enum spoil spoil;
	const char *access; /* instruction, and its length */
	unsigned n;
	const char *why; /* NULL: passes */
	uint32_t key;
};

#define LOAD "\x49\x8b\x02", 3
#define STORE8 "\x49\x89\x02", 3
#define LOAD_NEXT "\x49\x8b\x42\x01", 4

static void spoil(struct vt *t, const struct seq *s, enum spoil where, unsigned reg)
{
	if (s->spoil == where)
		emit_mov_rr(&t->e, true, reg, HR_RAX);
}

static struct soft_rec rec(const struct vt *t)
{
	return (struct soft_rec){.block = t->b.index, .off = 3, .len = 4};
}

/* The check of an access, up to S0 as a host address. Returns the JA's displacement. */
static uint8_t *check(struct vt *t, const struct seq *s)
{
	struct emit *e = &t->e;
	uint8_t *ja;

	emit_mov_rr(e, false, S1, S0);
	bytes(t, "\x41\xc1\xeb\x07", 4);
	emit_alu_imm(e, false, 4, S1, s->mask);
	spoil(t, s, SPOIL_S1_MASK, S1);
	emit_gs_base(e, true, 0x2b, S0, S1,
		     s->tag_w ? GS_TLB(s->mmu, tag_w) : GS_TLB(s->mmu, tag_r));
	spoil(t, s, SPOIL_S1_SUB, S1);
	spoil(t, s, SPOIL_S0_SUB, S0);
	emit_alu_imm(e, true, 7, S0, 4096 - s->size);
	if (s->spoil == SPOIL_FLAGS)
		emit_rr(e, true, 0x85, HR_RAX, HR_RAX);
	ja = emit_jcc32(e, s->cond);
	emit_gs_base(e, true, 0x03, S0, S1, GS_TLB(s->host_mmu, host));
	spoil(t, s, SPOIL_S0_ADD, S0);
	spoil(t, s, SPOIL_S1_ADD, S1);
	return ja;
}

#define MASK ((int)((SOFT_TLB_SIZE - 1) * sizeof(struct soft_tlb_entry)))

static void miss(struct vt *t, const struct seq *s, uint8_t *ja, const uint8_t *retry,
		 const uint8_t *next)
{
	struct soft_rec r = rec(t);

	emit_patch32(&t->e, ja, t->e.p);
	emit_call(&t->e, t->c->stub.miss[s->mmu][s->write]);
	r.size = (uint16_t)s->size;
	r.retry = (int32_t)(retry - t->e.p);
	r.next = (int32_t)(next - t->e.p);
	bytes(t, &r, sizeof(r));
}

static void test_memory(void **state)
{
	static const char unchecked[] = "without having looked at the TLB", more[] = "more memory",
			  entry[] = "without having compared", index[] = "index that is not masked",
			  other[] = "another privilege", wrong[] = "miss without one", any[] = "";
	/* clang-format off */
	static const struct seq cases[] = {
		{"load", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, NULL, 0},
		{"store", 1, 1, 1, 1, MASK, 8, CC_A, SPOIL_NONE, STORE8, NULL, 0},
		{"load after write check", 0, 0, 1, 1, MASK, 8, CC_A, SPOIL_NONE, LOAD, NULL, 0},
		{"user", 2, 2, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, NULL, SOFT_KEY_CPL3 | 2},
		{"S1 free afterwards", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_S1_ADD, LOAD, NULL, 0},
		{"small mask", 0, 0, 0, 0, 0x20, 8, CC_A, SPOIL_NONE, LOAD, NULL, 0},
		{"kernel entries by user code", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, other, SOFT_KEY_CPL3 | 2},
		{"user entries by kernel code", 2, 2, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, other, 0},
		{"store by the tag for reading", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_NONE, STORE8, "tag for reading", 0},
		{"mask too large", 0, 0, 0, 0, 2 * MASK + 32, 8, CC_A, SPOIL_NONE, LOAD, index, 0},
		{"mask negative", 0, 0, 0, 0, -32, 8, CC_A, SPOIL_NONE, LOAD, index, 0},
		{"mask not of entries", 0, 0, 0, 0, 0x7ff0, 8, CC_A, SPOIL_NONE, LOAD, index, 0},
		{"compared for less", 0, 0, 0, 0, MASK, 4, CC_A, SPOIL_NONE, LOAD, more, 0},
		{"at a distance", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD_NEXT, more, 0},
		{"jae", 0, 0, 0, 0, MASK, 8, CC_AE, SPOIL_NONE, LOAD, entry, 0},
		{"jb", 0, 0, 0, 0, MASK, 8, CC_B, SPOIL_NONE, LOAD, entry, 0},
		{"index changed", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_S1_MASK, LOAD, index, 0},
		{"index changed after the tag", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_S1_SUB, LOAD, index, 0},
		{"offset changed", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_S0_SUB, LOAD, entry, 0},
		{"flags changed", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_FLAGS, LOAD, entry, 0},
		{"address changed", 0, 0, 0, 0, MASK, 8, CC_A, SPOIL_S0_ADD, LOAD, unchecked, 0},
		{"host of another array", 0, 1, 0, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, entry, 0},
		{"reported as a write", 0, 0, 1, 0, MASK, 8, CC_A, SPOIL_NONE, LOAD, wrong, 0},
		{"whole page and more", 0, 0, 0, 0, MASK, 4097, CC_A, SPOIL_NONE, LOAD, any, 0},
	};
	/* clang-format on */
	struct vt t;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *ja, *next;

		begin(&t, *state, cases[i].key);
		ja = check(&t, &cases[i]);
		bytes(&t, cases[i].access, cases[i].n);
		next = t.e.p;
		leave(&t);
		miss(&t, &cases[i], ja, t.start, next);
		if (cases[i].why)
			refused(&t, cases[i].name, cases[i].why);
		else
			passes(&t);
	}
	/* Entered behind its check: by an entry, by a branch, by a record. */
	for (unsigned how = 0; how < 3; how++) {
		uint8_t *ja, *jmp = NULL, *at;

		begin(&t, *state, 0);
		if (how == 1)
			jmp = emit_jcc32(&t.e, CC_E);
		ja = check(&t, &cases[0]);
		at = t.e.p;
		bytes(&t, cases[0].access, cases[0].n);
		leave(&t);
		miss(&t, &cases[0], ja, how == 2 ? at : t.start, at);
		if (how == 0)
			t.b.e_native = at + t.e.delta;
		if (how == 1)
			emit_patch32(&t.e, jmp, at);
		refused(&t, "entered behind its check", unchecked);
	}
}

/* The address of a group is kept, and taken out again where S0 has been used for something else. */
static void test_group(void **state)
{
	static const struct seq s = {"group", 0,    0,		0,    0,    MASK,
				     24,      CC_A, SPOIL_NONE, LOAD, NULL, 0};
	static const struct {
		const char *name, *why;
		unsigned put, get; /* groups */
		int at;
		bool spoil, other_way;
	} cases[] = {
		{"group", NULL, 3, 3, 16, false, false},
		{"beyond its range", "more memory", 3, 3, 17, false, false},
		{"before its range", "more memory", 3, 3, -1, false, false},
		{"another group", "looked at the TLB", 3, 4, 0, false, false},
		{"S0 was something else", "looked at the TLB", 3, 3, 0, true, false},
		{"after a way through C", "looked at the TLB", 3, 3, 0, false, true},
	};
	struct vt t;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t *ja, *next;

		begin(&t, *state, 0);
		ja = check(&t, &s);
		if (cases[i].spoil)
			emit_mov_rr(&t.e, true, S0, HR_RAX);
		emit_store_gs(&t.e, true, S0, GS(tr.group) + 8 * cases[i].put);
		next = t.e.p;
		emit_mov_rr(&t.e, true, S0, HR_RCX);
		emit_load_gs(&t.e, true, S0, GS(tr.group) + 8 * cases[i].get);
		emit_rm(&t.e, true, 0x8b, HR_RAX, S0, HR_NONE, 0, cases[i].at);
		leave(&t);
		/* As if C had done the access: what is kept is another block's. */
		miss(&t, &s, ja, t.start, cases[i].other_way ? next : t.e.p - 13);
		if (cases[i].why)
			refused(&t, cases[i].name, cases[i].why);
		else
			passes(&t);
	}
	/* It is no place for anything else. */
	for (unsigned i = 0; i < 4; i++) {
		begin(&t, *state, 0);
		emit_gs(&t.e, i != 2, i == 3 ? 0x03 : 0x89, i == 0 ? HR_RAX : S0,
			GS(tr.group) + (i == 1 ? 4 : 0));
		leave(&t);
		refused(&t, "group's place", "for something else");
	}
}

/* ---- control flow ---- */

static void look_up(struct vt *t, int mask, unsigned tags, unsigned codes, unsigned cond)
{
	uint32_t part = SOFT_JC_SIZE * sizeof(uint64_t);
	struct soft_rec r = rec(t);
	uint8_t *jne;

	emit_mov_rr(&t->e, false, S1, S0);
	emit_alu_imm(&t->e, false, 4, S1, mask);
	emit8(&t->e, 0x65);
	emit_rm(&t->e, true, 0x3b, S0, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_tag) + part * tags));
	jne = emit_jcc32(&t->e, cond);
	emit8(&t->e, 0x65);
	emit_rm(&t->e, false, 0xff, 4, HR_NONE, S1, 3, (int32_t)(GS(tr.jc_code) + part * codes));
	emit_patch32(&t->e, jne, t->e.p);
	emit_call(&t->e, t->c->stub.ind[tags]);
	bytes(t, &r, sizeof(r));
}

static void test_jump_cache(void **state)
{
	struct vt t;

	begin(&t, *state, 0);
	look_up(&t, SOFT_JC_SIZE - 1, 1, 1, CC_NE);
	passes(&t);
	begin(&t, *state, 0);
	look_up(&t, 2 * SOFT_JC_SIZE - 1, 1, 1, CC_NE);
	refused(&t, "mask too large", "masked the index");
	begin(&t, *state, 0);
	look_up(&t, SOFT_JC_SIZE - 1, 1, 2, CC_NE);
	refused(&t, "another array", "compared the tag");
	begin(&t, *state, 0);
	look_up(&t, SOFT_JC_SIZE - 1, 1, 1, CC_E);
	refused(&t, "wrong condition", "compared the tag");

	/* At a place that is known. */
	for (unsigned i = 0; i < 5; i++) {
		struct soft_rec r = rec(&t);
		uint8_t *jne;

		begin(&t, *state, 0);
		emit_mov_imm(&t.e, S0, 0x402000);
		emit_gs(&t.e, true, 0x3b, i == 1 ? HR_RAX : S0, GS(tr.jc_tag) + 8 * 5);
		if (i == 2)
			emit_rr(&t.e, true, 0x39, S0, S0);
		jne = emit_jcc32(&t.e, i == 3 ? CC_E : CC_NE);
		emit_gs(&t.e, false, 0xff, 4, GS(tr.jc_code) + 8 * (i == 4 ? 6 : 5));
		emit_patch32(&t.e, jne, t.e.p);
		emit_call(&t.e, t.c->stub.ind[0]);
		bytes(&t, &r, sizeof(r));
		if (i)
			refused(&t, "known place", "compared the tag");
		else
			passes(&t);
	}
}

static void test_branches(void **state)
{
	struct vt t;
	uint8_t *jcc;

	begin(&t, *state, 0); /* over an instruction */
	jcc = emit_jcc32(&t.e, CC_E);
	emit_mov_rr(&t.e, true, HR_RAX, HR_RCX);
	emit_patch32(&t.e, jcc, t.e.p);
	leave(&t);
	passes(&t);
	emit_patch32(&t.e, jcc, jcc + 5); /* into it */
	refused(&t, "into an instruction", "where no instruction");
	emit_patch32(&t.e, jcc, t.e.p - 3);
	refused(&t, "into a record", "where no instruction");
	emit_patch32(&t.e, jcc, t.e.p);
	refused(&t, "past the end", "where no instruction");
	emit_patch32(&t.e, jcc, t.start - 64);
	refused(&t, "out of the block", "where no instruction");
	emit_patch32(&t.e, jcc, t.start);
	refused(&t, "backward", "a loop");

	begin(&t, *state, 0);
	emit_mov_rr(&t.e, true, HR_RAX, HR_RCX);
	refused(&t, "falls through", "past its end");

	begin(&t, *state, 0);
	bytes(&t, "\xe3\x00", 2);
	leave(&t);
	passes(&t);

	begin(&t, *state, 0); /* entry inside of an instruction */
	emit_mov_rr(&t.e, true, HR_RAX, HR_RCX);
	leave(&t);
	t.b.e_slot = t.b.code + 1;
	refused(&t, "entry", "no instruction begins");
	t.b.e_slot = t.b.code - 16;
	refused(&t, "entry", "outside of the block");
}

static void test_calls(void **state)
{
	struct vt t;
	struct soft_rec r;
	static const struct x86_insn outside;
	struct soft_site site[1] = {{.host = 1}};

	begin(&t, *state, 0);
	emit_call(&t.e, t.c->stub.step + 1);
	leave(&t);
	refused(&t, "call into a stub", "not a stub");
	begin(&t, *state, 0);
	emit_call(&t.e, t.c->stub.enter);
	leave(&t);
	refused(&t, "call of a stub for C", "not a stub");
	begin(&t, *state, 0);
	emit_jmp(&t.e, t.c->stub.leave);
	refused(&t, "jump to a stub", "where no instruction");

	begin(&t, *state, 0);
	emit_call(&t.e, t.c->stub.exit_pc);
	emit32(&t.e, 0);
	refused(&t, "record cut off", "cut off");

	/* By C: bad fields one by one. */
	for (unsigned i = 0; i < 7; i++) {
		begin(&t, *state, 0);
		emit_call(&t.e, t.c->stub.step);
		r = rec(&t);
		r.insn = i == 1 ? NULL : i == 2 ? &outside : t.insn;
		r.next = i == 3 ? 4 : (int32_t)sizeof(r);
		r.block += i == 4;
		r.off = (uint16_t)(i == 5 ? 19 : 3);
		r.flags = i == 6 ? REC_END : 0;
		bytes(&t, &r, sizeof(r));
		if (i != 6)
			leave(&t);
		if (i == 0 || i == 6)
			passes(&t);
		else
			refused(&t, "record", i == 3 ? "no instruction begins" : "its record");
	}

	/* Strings: a jump over the record follows. */
	for (unsigned i = 0; i < 3; i++) {
		begin(&t, *state, i == 2 ? SOFT_KEY_CPL3 | SOFT_MMU_USER : 0);
		emit_call(&t.e, t.c->stub.string[0][1][0][1]);
		bytes(&t, "\xeb", 1);
		emit8(&t.e, sizeof(r) - (i == 1));
		r = rec(&t);
		r.insn = t.insn;
		r.next = (int32_t)sizeof(r);
		bytes(&t, &r, sizeof(r));
		leave(&t);
		if (i)
			refused(&t, "string", i == 1 ? "jump over its record" : "another privilege");
		else
			passes(&t);
	}

	/* Links. */
	for (unsigned i = 0; i < 6; i++) {
		uint8_t *jmp;

		begin(&t, *state, 0);
		emit_align_rel32(&t.e, i == 1 ? 2 : 1);
		jmp = emit_jmp32(&t.e);
		emit_patch32(&t.e, jmp, t.e.p);
		t.b.n_links = i != 2;
		t.b.link[0] = (struct soft_link){.from = &t.b, .site = jmp, .cold = emit_here(&t.e)};
		if (i == 3)
			t.b.link[0].cold += 5;
		if (i == 4)
			t.b.link[0].from = NULL;
		if (i == 5)
			t.b.link[0].site += 4;
		emit_call(&t.e, t.c->stub.link);
		emit64(&t.e, (uint64_t)(uintptr_t)&t.b.link[0]);
		if (i)
			refused(&t, "link", "link");
		else
			passes(&t);
	}

	begin(&t, *state, 0);
	emit_mov_rr(&t.e, true, HR_RAX, HR_RCX);
	leave(&t);
	t.b.site = site;
	t.b.n_sites = 1;
	refused(&t, "site", "site");
	site[0].host = 3;
	passes(&t);
}

/* ---- links between blocks ---- */

static void test_links(void **state)
{
	struct fix *f = *state;
	struct soft_vcpu *v = f->v;
	struct soft_cache *c = v->soft->cache;
	struct soft_verify_error err;
	struct soft_block *a, *b;
	struct soft_link *l;

	mode64(f, 0);
	/* jmp +6; add eax, ecx; ret; nop; nop; nop; add eax, edx; ret */
	assert_int_equal(gmem_write(f->mem, CODE, "\xeb\x06\x01\xc8\xc3\x90\x90\x90\x01\xd0\xc3",
				    11),
			 0);
	a = soft_tr_block(v, soft_tr_key(v));
	v->s.rip = CODE + 8;
	b = soft_tr_block(v, soft_tr_key(v));
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(a->n_links, 1);
	l = &a->link[0];
	assert_true(soft_verify_link(c, l, b, b->e_slot, &err));
	assert_false(soft_verify_link(c, l, b, b->e_slot + 1, &err));
	assert_false(soft_verify_link(c, l, a, a->e_slot, &err));
	l->polled = true;
	assert_true(soft_verify_link(c, l, b, b->e_native_polled, &err));
	assert_false(soft_verify_link(c, l, b, b->e_slot, &err) && b->e_slot != b->e_slot_polled);
	l->polled = false;
	soft_cache_link(v->soft, l, b);
	assert_false(soft_verify_link(c, l, b, b->e_slot, &err)); /* a second time */
}

/* ---- windows ---- */

enum window_break {
	WINDOW_GOOD,
	WINDOW_NO_JNE,
	WINDOW_S0_MOVES,  /* between comparison and addition */
	WINDOW_NO_LOOK,	  /* jumps back without having looked at the TLB */
	WINDOW_NO_BACK,	  /* nothing jumps back */
	WINDOW_BACK_EARLY /* to in front of the addition */
};

struct window_case {
	const char *name;
	uint32_t key;
	uint8_t tag;
	unsigned part, cond, size; /* size: that the look compares with */
	bool store;
	enum window_break how;
	const char *why;
};

/* The part's comparison and the addition; then 8 bytes at [r10]; behind the end the look at the TLB. */
static void window_block(struct vt *t, struct fix *f, const struct window_case *w)
{
	const uint32_t user = SOFT_MMU_USER;
	uint8_t *other = NULL, *behind, *miss;

	begin(t, f, w->key);
	bytes(t, "\xc4\x43\xfb\xf0\xda\x28", 6); /* rorx r11, r10, 40 */
	bytes(t, "\x41\x80\xfb", 3);		 /* cmp r11b, tag */
	emit8(&t->e, w->tag);
	if (w->how != WINDOW_NO_JNE)
		other = emit_jcc32(&t->e, w->cond);
	if (w->how == WINDOW_S0_MOVES)
		bytes(t, "\x49\x83\xc2\x08", 4); /* add r10, 8 */
	behind = emit_here(&t->e);
	emit_gs(&t->e, true, 0x03, S0, GS(tr.window_delta) + 8 * w->part);
	if (w->how != WINDOW_BACK_EARLY)
		behind = emit_here(&t->e);
	bytes(t, w->store ? "\x49\x89\x02" : "\x49\x8b\x02", 3);
	leave(t);
	if (!other)
		return;
	emit_patch32(&t->e, other, t->e.p);
	if (w->how == WINDOW_NO_BACK) {
		leave(t);
		return;
	}
	if (w->how == WINDOW_NO_LOOK) {
		emit_jmp(&t->e, behind);
		return;
	}
	bytes(t, "\xc4\x43\x7b\xf0\xda\x07", 6); /* rorx r11d, r10d, 7 */
	emit_alu_imm(&t->e, false, 4, S1, (SOFT_TLB_SIZE - 1) * (int)sizeof(struct soft_tlb_entry));
	emit_gs_base(&t->e, true, 0x2b, S0, S1, GS_TLB(user, tag_r));
	emit_alu_imm(&t->e, true, 7, S0, 4096 - (int)w->size);
	miss = emit_jcc32(&t->e, CC_A);
	emit_gs_base(&t->e, true, 0x03, S0, S1, GS_TLB(user, host));
	emit_jmp(&t->e, behind);
	emit_patch32(&t->e, miss, t->e.p);
	leave(t);
}

static void test_window(void **state)
{
	const uint32_t key = SOFT_KEY_CPL3 | SOFT_MMU_USER | SOFT_KEY_WINDOW;
	const char *part = "without having compared the part";
	const struct window_case cases[] = {
		{"good", key, 0x7f, 3, CC_NE, 8, false, WINDOW_GOOD, NULL},
		{"another part", key, 0x55, 1, CC_NE, 64, false, WINDOW_GOOD, NULL},
		{"no key", key & ~SOFT_KEY_WINDOW, 0x7f, 3, CC_NE, 8, false, WINDOW_NO_BACK,
		 "its key does not say so"},
		{"kernel", SOFT_KEY_WINDOW, 0x7f, 3, CC_NE, 8, false, WINDOW_NO_BACK,
		 "its key does not say so"},
		{"tag of another part", key, 0x00, 3, CC_NE, 8, false, WINDOW_GOOD, part},
		{"tag of no part", key, 0x80, 3, CC_NE, 8, false, WINDOW_GOOD, part},
		{"je", key, 0x7f, 3, CC_E, 8, false, WINDOW_GOOD, part},
		{"no jne", key, 0x7f, 3, CC_NE, 8, false, WINDOW_NO_JNE, part},
		{"S0 moves", key, 0x7f, 3, CC_NE, 8, false, WINDOW_S0_MOVES, part},
		{"no look", key, 0x7f, 3, CC_NE, 8, false, WINDOW_NO_LOOK, "more memory"},
		{"no jump back", key, 0x7f, 3, CC_NE, 8, false, WINDOW_NO_BACK, "stands in"},
		{"jump back too far", key, 0x7f, 3, CC_NE, 8, false, WINDOW_BACK_EARLY, "stands in"},
		{"small look", key, 0x7f, 3, CC_NE, 4, false, WINDOW_GOOD, "more memory"},
		{"look for reading", key, 0x7f, 3, CC_NE, 8, true, WINDOW_GOOD, "stores where"},
	};
	struct vt t;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		window_block(&t, *state, &cases[i]);
		if (cases[i].why)
			refused(&t, cases[i].name, cases[i].why);
		else
			passes(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_instructions, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_fields, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_memory, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_group, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_jump_cache, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_branches, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_calls, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_links, fix_setup, fix_teardown),
		cmocka_unit_test_setup_teardown(test_window, fix_setup, fix_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
