/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify_insn.c - verification of single instructions of translated code: which there may be, what memory they
 * may name, and what is known of the scratch registers behind them. verify.h tells the rules.
 *
 * The lists are written from the opcode maps (SDM vol. 2 appendix A) on purpose, and not taken from the decode
 * table that the translator goes by. New code shapes of the translator are added here by hand.
 */
#include "engine/soft/verify.h"

struct range {
	uint8_t map, first, last;
};

/* clang-format off */
/* Opcodes that blocks are made of. Forms of them that are not harmless are caught by forbidden_form(). */
static const struct range allowed[] = {
	{ X86_MAP_1, 0x00, 0x05 },  { X86_MAP_1, 0x08, 0x0d },	/* ALU */
	{ X86_MAP_1, 0x10, 0x15 },  { X86_MAP_1, 0x18, 0x1d },
	{ X86_MAP_1, 0x20, 0x25 },  { X86_MAP_1, 0x28, 0x2d },
	{ X86_MAP_1, 0x30, 0x35 },  { X86_MAP_1, 0x38, 0x3d },
	{ X86_MAP_1, 0x63, 0x63 },  { X86_MAP_1, 0x69, 0x69 },	/* MOVSXD, IMUL */
	{ X86_MAP_1, 0x6b, 0x6b },  { X86_MAP_1, 0x70, 0x7f },	/* Jcc */
	{ X86_MAP_1, 0x80, 0x81 },  { X86_MAP_1, 0x83, 0x8b },	/* ALU, TEST, XCHG, MOV */
	{ X86_MAP_1, 0x8d, 0x8d },  { X86_MAP_1, 0x90, 0x99 },	/* LEA, XCHG, CBW, CWD */
	{ X86_MAP_1, 0x9b, 0x9b },				/* FWAIT */
	{ X86_MAP_1, 0x9e, 0x9f },  { X86_MAP_1, 0xa8, 0xa9 },	/* SAHF, LAHF, TEST */
	{ X86_MAP_1, 0xb0, 0xc1 },  { X86_MAP_1, 0xc6, 0xc7 },	/* MOV, shifts */
	{ X86_MAP_1, 0xd0, 0xd3 },  { X86_MAP_1, 0xd8, 0xdf },	/* shifts, x87 */
	{ X86_MAP_1, 0xe3, 0xe3 },  { X86_MAP_1, 0xe8, 0xe9 },	/* JRCXZ, CALL, JMP */
	{ X86_MAP_1, 0xeb, 0xeb },  { X86_MAP_1, 0xf5, 0xf9 },	/* JMP, CMC, group 3, CLC, STC */
	{ X86_MAP_1, 0xfe, 0xff },				/* INC, DEC, indirect JMP */
	{ X86_MAP_0F, 0x10, 0x17 }, { X86_MAP_0F, 0x1f, 0x1f }, /* SSE moves, NOP */
	{ X86_MAP_0F, 0x28, 0x2f }, { X86_MAP_0F, 0x31, 0x31 }, /* SSE, RDTSC */
	{ X86_MAP_0F, 0x40, 0x77 }, { X86_MAP_0F, 0x7c, 0x9f }, /* CMOVcc, SSE, EMMS, Jcc, SETcc */
	{ X86_MAP_0F, 0xa3, 0xa5 }, { X86_MAP_0F, 0xab, 0xb1 }, /* BT, SHLD, group 15, IMUL, CMPXCHG */
	{ X86_MAP_0F, 0xb3, 0xb3 }, { X86_MAP_0F, 0xb6, 0xb8 }, /* BTR, MOVZX, POPCNT */
	{ X86_MAP_0F, 0xba, 0xf6 }, { X86_MAP_0F, 0xf8, 0xfe }, /* without MASKMOV */
	{ X86_MAP_0F38, 0x00, 0x7f }, { X86_MAP_0F38, 0x8c, 0x8f }, /* without INVEPT, INVVPID, INVPCID, gathers */
	{ X86_MAP_0F38, 0x96, 0x9f }, { X86_MAP_0F38, 0xa6, 0xc5 },
	{ X86_MAP_0F38, 0xc8, 0xf3 }, { X86_MAP_0F38, 0xf5, 0xf7 }, /* without MOVDIR64B and its kind */
	{ X86_MAP_0F3A, 0x00, 0xff },
};
/* clang-format on */

/* The byte behind the legacy prefixes. */
static const uint8_t *behind_prefixes(const struct x86_insn *in)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
					   0x66, 0x67, 0xf0, 0xf2, 0xf3};
	unsigned at = 0, i = 0;

	while (at + 1u < in->len && i < sizeof(prefixes)) {
		if (in->bytes[at] == prefixes[i]) {
			at++;
			i = 0;
		} else {
			i++;
		}
	}
	return in->bytes + at;
}

static bool is_vex(const uint8_t *p)
{
	return *p == 0xc4 || *p == 0xc5;
}

static bool opcode_allowed(const struct x86_insn *in)
{
	for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++)
		if (allowed[i].map == in->map && in->opcode >= allowed[i].first &&
		    in->opcode <= allowed[i].last)
			return true;
	return false;
}

#define OPCODE(map, opcode) ((unsigned)(map) << 8 | (opcode))

/* Forms of the opcodes above that do something else than compute. */
static bool forbidden_form(const struct x86_insn *in, bool vex)
{
	unsigned digit = (in->modrm >> 3) & 7;
	bool mem = in->has_modrm && in->modrm < 0xc0;

	if (in->pfx67)
		return true;
	switch (OPCODE(in->map, in->opcode)) {
	/* XABORT, XBEGIN. */
	case OPCODE(X86_MAP_1, 0xc6):
	case OPCODE(X86_MAP_1, 0xc7): return digit != 0;
	/* FLDENV, FNSTENV; FRSTOR, FNSAVE: they show or take host addresses. */
	case OPCODE(X86_MAP_1, 0xd9):
	case OPCODE(X86_MAP_1, 0xdd): return mem && (digit == 4 || digit == 6);
	case OPCODE(X86_MAP_1, 0xfe): return digit > 1;
	/* CALL, CALL far, JMP far, PUSH. */
	case OPCODE(X86_MAP_1, 0xff): return digit > 1 && digit != 4;
	/* Of group 15 fences and (V)STMXCSR; not FXSAVE, XRSTOR, WRGSBASE and the rest. */
	case OPCODE(X86_MAP_0F, 0xae):
		if (vex)
			return !mem || digit != 3;
		return in->rep || in->pfx66 || (mem ? digit != 3 : digit < 5);
	case OPCODE(X86_MAP_0F, 0xb8): return in->rep != 0xf3;
	/* Of group 9 CMPXCHG8B/16B, RDRAND, RDSEED; not XRSTORS, VMPTRLD, RDPID and the rest. */
	case OPCODE(X86_MAP_0F, 0xc7): return mem ? digit != 1 : digit < 6 || in->rep;
	/* WRUSS, WRSS. */
	case OPCODE(X86_MAP_0F38, 0xf5): return !vex;
	case OPCODE(X86_MAP_0F38, 0xf6): return !vex && !in->pfx66 && in->rep != 0xf3;
	default: return false;
	}
}

/* Ordinary instructions are those that the decoder's table calls harmless too. */
static bool op_allowed(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_JMP:
	case X86_OP_JCC:
	case X86_OP_JCXZ:
	case X86_OP_CALL:
	case X86_OP_JMP_IND:
	case X86_OP_RDTSC: return true;
	case X86_OP_BT: /* in memory they are not NATIVE; guest_access() looks at the number of the bit */
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC: return true;
	default: return in->attr & X86_A_NATIVE;
	}
}

/* ---- registers ---- */

/* Is host register r an operand with this access? Only registers that have no implicit use are asked for. */
static bool names(const struct x86_insn *in, unsigned r, unsigned access)
{
	/* Then a byte register of this number is AH, CH, DH or BH. */
	bool low8 = in->rex == 0 && r >= 4 && r < 8;

	if (in->has_modrm && in->reg_kind == X86_RK_GPR && in->reg == r && (in->reg_acc & access) &&
	    !(low8 && in->reg_bytes == 1))
		return true;
	if (in->has_modrm && !in->has_mem && in->rm_kind == X86_RK_GPR && in->rm == r &&
	    (in->rm_acc & access) && !(low8 && in->rm_bytes == 1))
		return true;
	return !in->has_modrm && in->opreg == r && (in->opreg_acc & access) &&
	       !(low8 && in->opnd_bytes == 1);
}

/* VEX instructions on general registers have one more operand, which some of them write. */
static unsigned vex_register(const struct x86_insn *in, const uint8_t *p)
{
	if (*p == 0xc4 && in->map == X86_MAP_0F38 && in->opcode >= 0xf2 && in->opcode <= 0xf7)
		return (unsigned)(~p[2] >> 3) & 15;
	return 0xff;
}

/* ---- memory ---- */

#define FIELD(f) offsetof(struct soft_vcpu, f), sizeof(((struct soft_vcpu *)0)->f)
static const struct {
	size_t offset, size;
	bool kernel; /* only in blocks of CPL 0 */
} may_store[] = {
	{FIELD(s.gpr[X86_R10]), false},
	{FIELD(s.gpr[X86_R11]), false},
	{FIELD(s.gpr[X86_R15]), false},
	{FIELD(tr.flags_slot), false},
	{FIELD(tr.tmp), false},
	{FIELD(tr.count), false},
	{FIELD(s.ev.sti_shadow), true},
	{FIELD(mmu), true},
	{FIELD(s.seg[X86_FS].base), false}, /* WRFSBASE, WRGSBASE */
	{FIELD(s.seg[X86_GS].base), false},
	{FIELD(s.msr.kernel_gs_base), true},
};

/* AND and OR of one bit that the block's privilege may change. */
static bool rflags_store(const struct soft_block *b, const struct x86_insn *in)
{
	uint32_t may = X86_DF | (b->key & SOFT_KEY_CPL3 ? 0 : X86_IF | X86_AC);

	if (in->opcode != 0x81 || in->opnd_bytes != 4)
		return false;
	if (in->op == X86_OP_AND)
		return !(~(uint32_t)in->imm & ~may);
	return in->op == X86_OP_OR && !((uint32_t)in->imm & ~may);
}

static const char *vcpu_access(const struct soft_block *b, const struct x86_insn *in)
{
	uint64_t at = (uint64_t)in->disp, n = in->mem_bytes;

	if (!n || at >= sizeof(struct soft_vcpu) || n > sizeof(struct soft_vcpu) - at)
		return "it reaches outside of its vCPU";
	if (!(in->rm_acc & X86_ACC_W))
		return NULL;
	if (at == offsetof(struct soft_vcpu, s.rflags))
		return rflags_store(b, in) ? NULL : "it changes RFLAGS in a way that it may not";
	for (unsigned i = 0; i < ARRAY_SIZE(may_store); i++)
		if (at >= may_store[i].offset && at + n <= may_store[i].offset + may_store[i].size)
			return may_store[i].kernel && (b->key & SOFT_KEY_CPL3) ?
				       "it stores to a field that user code may not change" :
				       NULL;
	return "it stores to a field of its vCPU that blocks may not change";
}

/* disp of gs:[S1 + disp] as a field of a TLB entry. */
static bool tlb_field(const struct verify_flow *f, int64_t disp, unsigned *mmu, unsigned *field)
{
	uint64_t off = (uint64_t)disp - offsetof(struct soft_vcpu, tlb);
	uint64_t array = sizeof(struct soft_tlb_entry) * SOFT_TLB_SIZE;

	*mmu = (unsigned)(off / array);
	*field = (unsigned)(off % array);
	return off < array * SOFT_MMUS && *field < sizeof(struct soft_tlb_entry) &&
	       f->s1 == VERIFY_S1_MASKED &&
	       (uint32_t)f->s1_value + sizeof(struct soft_tlb_entry) <= array &&
	       (uint32_t)f->s1_value % sizeof(struct soft_tlb_entry) == 0;
}

/* disp of gs:[S1 * 8 + disp] as an array of the jump cache that begins at `base`. */
static bool jc_field(const struct verify_flow *f, int64_t disp, size_t base, unsigned *array)
{
	uint64_t off = (uint64_t)disp - base, size = SOFT_JC_SIZE * sizeof(uint64_t);

	*array = (unsigned)(off / size);
	return off < size * SOFT_JCS && off % size == 0 && f->s1 == VERIFY_S1_MASKED &&
	       (uint32_t)f->s1_value < SOFT_JC_SIZE;
}

static bool mmu_allowed(const struct soft_block *b, unsigned mmu)
{
	if (b->key & SOFT_KEY_CPL3)
		return mmu == SOFT_MMU_USER;
	return mmu == SOFT_MMU_KERNEL || mmu == SOFT_MMU_KERNEL_USER;
}

static void s0_gone(struct verify_flow *f)
{
	f->s0 = VERIFY_S0_ANY;
	f->mmu = f->write = f->size = f->part = 0;
	f->window = false;
}

/* Flags have changed: comparisons that nothing jumped by are lost. */
static void compared_gone(struct verify_flow *f)
{
	if (f->s0 == VERIFY_S0_COMPARED || f->s0 == VERIFY_S0_PART)
		s0_gone(f);
}

/* Loads by index. Each has one place in a sequence; the state goes on in *f, and *done says so. */
static const char *indexed(const struct soft_block *b, const struct x86_insn *in,
			   struct verify_flow *f, bool *done)
{
	bool s0_64 = in->map == X86_MAP_1 && in->has_modrm && in->reg == S0 && in->opnd_bytes == 8;
	unsigned mmu, field, array;

	*done = true;
	if (in->base == S1 && in->index == 0xff) {
		if (!s0_64 || !tlb_field(f, in->disp, &mmu, &field))
			return "it looks at the TLB with an index that is not masked, or in a way that is not known";
		if (!mmu_allowed(b, mmu))
			return "it uses a TLB of another privilege";
		compared_gone(f);
		if (in->opcode == 0x2b && (field == offsetof(struct soft_tlb_entry, tag_r) ||
					   field == offsetof(struct soft_tlb_entry, tag_w))) {
			s0_gone(f);
			f->s0 = VERIFY_S0_OFFSET;
			f->mmu = mmu;
			f->write = field == offsetof(struct soft_tlb_entry, tag_w);
			f->jc = 0;
			return NULL;
		}
		if (in->opcode == 0x03 && field == offsetof(struct soft_tlb_entry, host) &&
		    f->s0 == VERIFY_S0_INSIDE && f->mmu == mmu) {
			f->s0 = VERIFY_S0_HOST;
			f->mmu = f->jc = 0;
			return NULL;
		}
		return "it uses a TLB entry without having compared its tag";
	}
	if (in->base == 0xff && in->index == S1 && in->scale == 3) {
		if (s0_64 && in->opcode == 0x3b &&
		    jc_field(f, in->disp, offsetof(struct soft_vcpu, tr.jc_tag), &array)) {
			compared_gone(f);
			f->jc = (array + 1) | 8;
			return NULL;
		}
		if (in->op == X86_OP_JMP_IND &&
		    jc_field(f, in->disp, offsetof(struct soft_vcpu, tr.jc_code), &array) &&
		    f->jc == array + 1)
			return NULL;
		return "it uses the jump cache without having masked the index and compared the tag";
	}
	return "it reaches its vCPU by an address that is not known";
}

/* The jump cache at a place that was known: CMP S0 with a tag, JMP by the code beside it. */
static const char *known_place(const struct x86_insn *in, struct verify_flow *f, bool *done)
{
	uint64_t tag = (uint64_t)in->disp - offsetof(struct soft_vcpu, tr.jc_tag);
	uint64_t code = (uint64_t)in->disp - offsetof(struct soft_vcpu, tr.jc_code);
	const uint64_t size = SOFT_JCS * SOFT_JC_SIZE * sizeof(uint64_t);

	if (in->op == X86_OP_JMP_IND && code < size) {
		if (code % 8 || f->jc != (uint32_t)(code / 8 + 1) << 4)
			return "it uses the jump cache without having compared the tag";
		*done = true;
	} else if (tag < size && tag % 8 == 0 && in->map == X86_MAP_1 && in->opcode == 0x3b &&
		   in->reg == S0 && in->opnd_bytes == 8) {
		compared_gone(f);
		f->jc = (uint32_t)(tag / 8 + 1) << 4 | 8;
		*done = true;
	}
	return NULL;
}

static const char *guest_access(const struct x86_insn *in, const struct verify_flow *f)
{
	if (in->base != S0 || in->index != 0xff || in->seg_override || in->addr_bytes != 8)
		return "it reaches memory by an address that is not known";
	if (f->s0 != VERIFY_S0_HOST)
		return "it reaches memory without having looked at the TLB";
	if (!in->mem_bytes || in->disp < 0 || in->disp + in->mem_bytes > f->size)
		return "it reaches more memory than was compared";
	if ((in->rm_acc & X86_ACC_W) && !f->write)
		return "it stores where the tag for reading was compared";
	/* The number of a bit in a register moves the address. */
	if ((in->attr & X86_A_BITOFF) && (in->reg != S1 || f->s1 != VERIFY_S1_MASKED ||
					  (uint32_t)f->s1_value >= 8u * in->opnd_bytes))
		return "it reaches a bit by a number that is not masked";
	return NULL;
}

/* tr.group[]: S0 goes in and comes out as what it was. */
static const char *group(const struct x86_insn *in, struct verify_flow *f, bool *done)
{
	unsigned at = (unsigned)in->disp - (unsigned)offsetof(struct soft_vcpu, tr.group),
		 i = at / 8;

	if (in->map != X86_MAP_1 || in->reg != S0 || in->opnd_bytes != 8 || at % 8 ||
	    (in->opcode != 0x89 && in->opcode != 0x8b))
		return "it uses the place of a group for something else";
	*done = true;
	compared_gone(f);
	f->jc = 0;
	if (in->opcode == 0x89) {
		f->group[i] = f->s0 == VERIFY_S0_HOST ? (uint16_t)f->size : 0;
		f->group_write &= (uint16_t) ~(1u << i);
		if (f->group[i] && f->write)
			f->group_write |= (uint16_t)(1u << i);
		return NULL;
	}
	s0_gone(f);
	if (f->s1 == VERIFY_S1_PART)
		f->s1 = VERIFY_S1_ANY;
	if (f->group[i]) {
		f->s0 = VERIFY_S0_HOST;
		f->size = f->group[i];
		f->write = f->group_write >> i & 1;
	}
	return NULL;
}

/* ADD S0, window_delta[part]. */
static const char *window(const struct soft_block *b, const struct x86_insn *in,
			  struct verify_flow *f, bool *done)
{
	unsigned at = (unsigned)in->disp - (unsigned)offsetof(struct soft_vcpu, tr.window_delta);

	if (!(b->key & SOFT_KEY_WINDOW) || !(b->key & SOFT_KEY_CPL3))
		return "it uses a window, but its key does not say so";
	if (in->map != X86_MAP_1 || in->opcode != 0x03 || in->reg != S0 || in->opnd_bytes != 8 ||
	    at % 8 || f->s0 != VERIFY_S0_OF_PART || f->part != at / 8)
		return "it uses a window without having compared the part";
	s0_gone(f);
	f->s0 = VERIFY_S0_HOST;
	f->window = true;
	f->s1 = VERIFY_S1_ANY;
	f->jc = 0;
	*done = true;
	return NULL;
}

static const char *memory(const struct soft_block *b, const struct x86_insn *in,
			  struct verify_flow *f, bool *done)
{
	if (!in->has_mem || (in->attr & X86_A_LEA))
		return NULL;
	if (!in->has_modrm)
		return "it has an absolute address";
	if (in->seg != X86_GS)
		return guest_access(in, f);
	if (in->attr & X86_A_BITOFF)
		return "it reaches a bit of its vCPU by a register";
	if (in->base == 0xff && in->index == 0xff &&
	    (uint64_t)in->disp - offsetof(struct soft_vcpu, tr.group) < SOFT_GROUPS * 8)
		return group(in, f, done);
	if (in->base == 0xff && in->index == 0xff &&
	    (uint64_t)in->disp - offsetof(struct soft_vcpu, tr.window_delta) < SOFT_WINDOWS * 8)
		return window(b, in, f, done);
	if (in->base == 0xff && in->index == 0xff) {
		const char *why = known_place(in, f, done);

		return why || *done ? why : vcpu_access(b, in);
	}
	return indexed(b, in, f, done);
}

/* ---- what is known behind it ---- */

/* The comparisons and jumps of the sequences; true: that was one of their instructions. */
static bool sequence(const struct x86_insn *in, struct verify_flow *f)
{
	bool group1 = in->map == X86_MAP_1 && (in->opcode == 0x81 || in->opcode == 0x83) &&
		      !in->has_mem;
	bool above = in->op == X86_OP_JCC && in->cond == CC_A;

	if (group1 && in->op == X86_OP_CMP && in->opnd_bytes == 8 && in->rm == S0 &&
	    f->s0 == VERIFY_S0_OFFSET && in->imm >= 0 && in->imm < 4096) {
		f->s0 = VERIFY_S0_COMPARED;
		f->size = 4096 - (uint32_t)in->imm;
		return true;
	}
	if (above && f->s0 == VERIFY_S0_COMPARED) {
		f->s0 = VERIFY_S0_INSIDE;
		return true;
	}
	if (in->map == X86_MAP_1 && in->opcode == 0x80 && in->op == X86_OP_CMP && !in->has_mem &&
	    in->rm == S1 && f->s1 == VERIFY_S1_PART && f->s0 == VERIFY_S0_ANY) {
		for (unsigned k = 0; k < SOFT_WINDOWS; k++) {
			if ((uint8_t)in->imm != soft_window_tag[k])
				continue;
			f->s0 = VERIFY_S0_PART;
			f->part = k;
		}
		return true;
	}
	if (in->op == X86_OP_JCC && in->cond == CC_NE && f->s0 == VERIFY_S0_PART) {
		f->s0 = VERIFY_S0_OF_PART;
		return true;
	}
	return false;
}

static bool is_part_of_s0(const struct x86_insn *in)
{
	static const uint8_t rorx[] = {0xc4, 0x43, 0xfb, 0xf0, 0xda, 40}; /* r11, r10, 40 */

	for (unsigned i = 0; i < sizeof(rorx); i++)
		if (in->bytes[i] != rorx[i])
			return false;
	return true;
}

/* S1 is written: what is it? */
static void s1_written(const struct x86_insn *in, struct verify_flow *f)
{
	bool group1 = in->map == X86_MAP_1 && (in->opcode == 0x81 || in->opcode == 0x83) &&
		      !in->has_mem;

	f->s1 = VERIFY_S1_ANY;
	if (f->s0 != VERIFY_S0_HOST)
		s0_gone(f);
	if (group1 && in->op == X86_OP_AND && in->rm == S1 && in->opnd_bytes == 4 && in->imm >= 0) {
		f->s1 = VERIFY_S1_MASKED;
		f->s1_value = (int32_t)in->imm;
	}
	if (is_part_of_s0(in) && f->s0 == VERIFY_S0_ANY)
		f->s1 = VERIFY_S1_PART;
}

static void flow_on(const struct x86_insn *in, struct verify_flow *f, unsigned vex_reg)
{
	if (sequence(in, f)) {
		f->jc = 0;
		return;
	}
	compared_gone(f);
	if (f->jc & 8) /* after the comparison: JNE, or nothing is known */
		f->jc = in->op == X86_OP_JCC && in->cond == CC_NE ? f->jc & ~8u : 0;
	else
		f->jc = 0;
	if (names(in, S0, X86_ACC_W) || vex_reg == S0) {
		s0_gone(f);
		if (f->s1 == VERIFY_S1_PART)
			f->s1 = VERIFY_S1_ANY;
	}
	if (names(in, S1, X86_ACC_W) || vex_reg == S1)
		s1_written(in, f);
}

const char *verify_insn(const struct soft_block *b, const struct x86_insn *in,
			struct verify_flow *flow)
{
	const uint8_t *p = behind_prefixes(in);
	bool vex = is_vex(p), done = false;
	unsigned vex_reg = vex ? vex_register(in, p) : 0xff;
	const char *why;

	if (!opcode_allowed(in) || forbidden_form(in, vex) || !op_allowed(in))
		return "it is an instruction that blocks may not have";
	if (names(in, HR_RSP, X86_ACC_RW) || vex_reg == HR_RSP ||
	    (in->has_mem && (in->base == HR_RSP || in->index == HR_RSP)))
		return "it names the host's stack pointer";
	why = memory(b, in, flow, &done);
	if (why)
		return why;
	if (in->op == X86_OP_JMP_IND && !done)
		return "it jumps to an address that is not the jump cache's";
	if (!done)
		flow_on(in, flow, vex_reg);
	return NULL;
}
