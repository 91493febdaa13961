/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_gen.c - makes the cases: an encoding of a form, and a state that leads it somewhere interesting.
 *
 * Theory of operation. The opcode comes from the form, everything around it (prefixes, REX, ModRM, SIB,
 * displacement, immediate) is random. The decoder under test then says what the bytes are; where it is
 * wrong the two sides will differ, as the real processor reads the bytes itself. From the decoded operand
 * the generator works back: it picks a target address - mostly mapped, sometimes across a page boundary, in
 * the read-only page, in a hole, or non-canonical - and solves base, index or displacement for it.
 */
#include <string.h>

#include "diff.h"

uint8_t diff_d2[4096];

static bool low_stack_op(enum x86_op op)
{
	switch (op) {
	case X86_OP_PUSH:
	case X86_OP_POP:
	case X86_OP_PUSHA:
	case X86_OP_POPA:
	case X86_OP_ENTER:
	case X86_OP_LEAVE:
	case X86_OP_CALL:
	case X86_OP_CALL_IND:
	case X86_OP_RET:
	case X86_OP_PUSHF:
	case X86_OP_POPF:
	case X86_OP_PUSH_SREG: return true;
	default: return false;
	}
}

/* Near branches with an operand size prefix in 64-bit mode: Intel ignores it, as the engine does, AMD cuts RIP to 16 bits. */
static bool near_branch(const struct x86_form_info *f)
{
	return (f->attr & X86_A_BRANCH) != 0;
}

uint64_t diff_gen_target(struct diff_gen *g, unsigned size)
{
	struct diff_rng *r = &g->r;
	unsigned k = diff_rnd(r, 100), room = size < 4096 ? 4096 - size : 1;
	uint64_t page = diff_chance(r, 50) ? DIFF_D0 : DIFF_D1;
	unsigned cut = size > 1 ? 1 + diff_rnd(r, size - 1) : 1;

	if (size == 0)
		size = 1;
	if (g->o->no_faults && k >= 85)
		k = 0;
	if (k < 45) {
		unsigned align = size & (size - 1) ? 16 : size > 64 ? 64 : size;

		return page + (diff_rnd(r, room) & ~(align - 1));
	}
	if (k < 75)
		return page + diff_rnd(r, room);
	if (k < 85)
		return DIFF_D1 - cut;
	switch (k - 85) {
	case 0:
	case 1:
	case 2: return DIFF_D2 + diff_rnd(r, room);
	case 3:
	case 4: return DIFF_D2 - cut;
	case 5:
	case 6: return DIFF_D2 + 4096 - cut;
	case 7:
	case 8: return DIFF_D2 + 4096 + diff_rnd(r, 4096);
	case 9:
	case 10: return DIFF_D0 - cut;
	case 11:
		if (!g->b->compat)
			return UINT64_C(0x7fffffffffff) + diff_rnd(r, 64) - size;
		return page + (diff_rnd(r, room) & ~63u);
	case 12:
		if (!g->b->compat)
			return (diff_rng_u64(r) & 0x0000ffffffffffff) | UINT64_C(0x1234) << 48;
		return page + (diff_rnd(r, room) & ~63u);
	default: /* page edges, aligned */
		return diff_chance(r, 50) ? DIFF_D1 : DIFF_D1 - ALIGN_UP(size, 8);
	}
}

void diff_gen_put(struct diff_gen *g, uint64_t addr, const uint8_t *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint64_t off = addr + i - DIFF_CODE;

		if (off < DIFF_CODE_SIZE)
			g->b->native_code[off] = g->b->guest_code[off] = bytes[i];
	}
}

/* The trampoline's addresses are fixed (diff_native.c): exit64 and exit32 are told by these. */
extern const char __attribute__((visibility("hidden"))) diff_tramp_begin[], diff_tramp_exit64[],
	diff_tramp_exit32[];
#define TRAMP 0x40000000u
#define CTX_STUB 0x400100b6u

void diff_gen_stub(struct diff_gen *g, uint64_t addr)
{
	uint8_t p[16];
	unsigned n = 0;
	uint32_t stub = CTX_STUB, rel;
	const char *to = g->b->compat ? diff_tramp_exit32 : diff_tramp_exit64;

	if (g->c->n_ends == DIFF_MAX_ENDS || addr + 13 > DIFF_CODE_END)
		return;
	p[n++] = 0xc6; /* mov byte [stub], n */
	if (g->b->compat) {
		p[n++] = 0x05;
	} else {
		p[n++] = 0x04;
		p[n++] = 0x25;
	}
	memcpy(p + n, &stub, 4);
	n += 4;
	p[n++] = g->c->n_ends;
	p[n++] = 0xe9;
	rel = TRAMP + (uint32_t)(to - diff_tramp_begin) - (uint32_t)(addr + n + 4);
	memcpy(p + n, &rel, 4);
	n += 4;
	memcpy(g->b->native_code + (addr - DIFF_CODE), p, n);
	p[0] = 0x0f;
	p[1] = 0x0b;
	memcpy(g->b->guest_code + (addr - DIFF_CODE), p, n);
	g->c->end[g->c->n_ends++] = addr;
}

/* Bytes for the form, decoded. False: try again. */
static bool encode_once(struct diff_gen *g, const struct diff_form *df, struct x86_insn *in,
			uint8_t bytes[32], bool calm)
{
	struct diff_rng *r = &g->r;
	const struct x86_form_info *f = &df->f;
	bool compat = g->b->compat;
	uint8_t pfx[6];
	unsigned np = 0, n = 0, opc;

	if (compat ? f->only64 : f->no64)
		return false;
	if (f->sse_pfx && !f->vex)
		pfx[np++] = f->sse_pfx;
	if (!f->vex && f->sse_pfx != 0x66 && diff_chance(r, 22) &&
	    !(near_branch(f) && (compat ? calm : !diff_host_intel())) && f->op != X86_OP_BSWAP)
		pfx[np++] = 0x66;
	if (diff_chance(r, 8) && !(calm && compat))
		pfx[np++] = 0x67;
	if (diff_chance(r, 12)) {
		static const uint8_t seg[] = {0x64, 0x65, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e};

		pfx[np++] = seg[diff_rnd(r, calm ? 5 : sizeof(seg))];
		if (compat && pfx[np - 1] == 0x64 && diff_chance(r, 90))
			pfx[np - 1] = 0x65; /* FS is null there */
	}
	if (f->attr & X86_A_STRING) {
		if (diff_chance(r, 70))
			pfx[np++] = diff_chance(r, 60) ? 0xf3 : 0xf2;
	} else if (!f->vex && !f->sse_pfx && f->map <= X86_MAP_0F && diff_chance(r, 1) &&
		   !near_branch(f)) {
		pfx[np++] = diff_chance(r, 50) ? 0xf3 : 0xf2;
	}
	if ((f->attr & X86_A_LOCK) ? diff_chance(r, 40) : !calm && !f->vex && diff_rnd(r, 400) == 0)
		pfx[np++] = 0xf0;
	for (unsigned i = np; i > 1; i--) { /* any order */
		unsigned k = diff_rnd(r, i);
		uint8_t t = pfx[i - 1];

		pfx[i - 1] = pfx[k];
		pfx[k] = t;
	}
	memcpy(bytes, pfx, np);
	n = np;
	if (!f->vex && !compat && diff_chance(r, 60))
		bytes[n++] = (uint8_t)(0x40 | diff_rnd(r, 16));
	if (f->vex)
		n = diff_rng_vex(r, f, compat, bytes, n);
	if (f->map != X86_MAP_1 && !f->vex)
		bytes[n++] = 0x0f;
	if (f->map == X86_MAP_0F38 && !f->vex)
		bytes[n++] = 0x38;
	if (f->map == X86_MAP_0F3A && !f->vex)
		bytes[n++] = 0x3a;
	opc = n;
	bytes[n++] = f->opcode;
	if (f->has_modrm) {
		unsigned mod = f->mod_class == 3  ? 3 :
			       f->mod_class == 1  ? diff_rnd(r, 3) :
			       diff_chance(r, 45) ? 3 :
						    diff_rnd(r, 3);
		unsigned reg = f->modrm_ext >= 0 ? (unsigned)f->modrm_ext : diff_rnd(r, 8);

		if ((f->attr & X86_A_LOCK) && bytes[0] == 0xf0 && f->mod_class == 0 && mod == 3)
			mod = 0;
		bytes[n++] = (uint8_t)(mod << 6 | reg << 3 | diff_rnd(r, 8));
	}
	for (unsigned i = 0; i < 14; i++)
		bytes[n + i] = (uint8_t)diff_rng_int(r);
	if (f->has_modrm && diff_chance(r, 90))
		bytes[n] = (uint8_t)diff_rng_u64(r); /* a SIB byte of any kind */
	if (diff_decode(in, bytes, n + 14, compat) != X86_DECODE_OK)
		return false;
	if (in->opreg != 0xff && (in->opreg & 7) == (f->opcode & 7) && diff_chance(r, 90)) {
		/* a register in the opcode (or RAX that the opcode implies: then another one does not name it) */
		unsigned k = diff_rnd(r, 8);

		bytes[opc] = (uint8_t)((bytes[opc] & ~7) | k);
		if (diff_decode(in, bytes, n + 14, compat) != X86_DECODE_OK || (in->opreg & 7) != k)
			return false;
	}
	/* (a 66 row may be of the operand size, not a mandatory prefix) */
	if (in->vex != f->vex)
		return false;
	/* VPEXTRQ and VPINSRQ outside of 64-bit mode: AMD #UD, Intel does not look at W. */
	if (compat && f->vex && f->map == X86_MAP_0F3A &&
	    (f->opcode == 0x16 || f->opcode == 0x22) && bytes[opc - 1] & 0x80)
		return false;
	return in->op == f->op && in->map == f->map &&
	       (in->sse_pfx == f->sse_pfx || (f->sse_pfx == 0x66 && in->pfx66 && !in->sse_pfx)) &&
	       (in->opcode == f->opcode || in->opreg != 0xff);
}

bool diff_gen_encode(struct diff_gen *g, const struct diff_form *f, struct x86_insn *in,
		     uint8_t bytes[32], bool calm)
{
	for (unsigned i = 0; i < 30; i++)
		if (encode_once(g, f, in, bytes, calm))
			return true;
	return false;
}

void diff_gen_regs(struct diff_gen *g, bool calm)
{
	struct diff_regs *in = &g->c->in;
	struct diff_rng *r = &g->r;

	for (unsigned i = 0; i < 16; i++) {
		in->gpr[i] = diff_rng_int(r);
		if (g->b->compat)
			in->gpr[i] = i < 8 ? (uint32_t)in->gpr[i] : 0;
	}
	in->gpr[X86_RSP] = DIFF_D0 + 0x400 + (diff_rnd(r, 0xc00) & ~7u);
	in->rflags = X86_F1 | X86_IF | (diff_rng_u64(r) & X86_STATUS_FLAGS);
	if (diff_chance(r, 30))
		in->rflags |= X86_DF;
	if (diff_chance(r, 5))
		in->rflags |= X86_ID;
	in->fs_base = diff_chance(r, 50) ? 0 : diff_rnd(r, 0x1000000);
	in->gs_base = diff_chance(r, 50) ? diff_rnd(r, 0x100) : diff_rnd(r, 0x1000000);
	if (g->b->compat)
		in->fs_base = 0;
	else if (!calm && diff_chance(r, 20))
		in->gs_base = diff_rng_u64(r) & 0x7fffffffffff;
	diff_rng_fx(r, in->fx, calm);
}

static void patch(struct x86_insn *in, uint8_t *bytes, unsigned at, uint64_t value, unsigned n)
{
	memcpy(bytes + at, &value, n);
	memcpy(in->bytes + at, &value, n);
}

static uint64_t seg_base(const struct diff_gen *g, const struct x86_insn *in)
{
	if (in->seg == X86_FS)
		return g->c->in.fs_base;
	if (in->seg == X86_GS)
		return g->c->in.gs_base;
	return 0;
}

static uint64_t addr_mask(const struct x86_insn *in)
{
	return in->addr_bytes == 8 ? ~UINT64_C(0) : in->addr_bytes == 4 ? 0xffffffff : 0xffff;
}

/* A register that holds `off` for an address size: what lies above it must not matter. */
static uint64_t addr_reg(struct diff_gen *g, const struct x86_insn *in, uint64_t off)
{
	uint64_t m = addr_mask(in);

	if (g->b->compat)
		return (off & m) | (m == 0xffff ? (uint32_t)diff_rng_u64(&g->r) & 0xffff0000 : 0);
	return (off & m) | (diff_chance(&g->r, 50) ? 0 : diff_rng_u64(&g->r) & ~m);
}

/* Random indices and mask; base or displacement for the address. */
static void vsib(struct diff_gen *g, struct x86_insn *in, uint64_t base, uint8_t *bytes, unsigned at)
{
	diff_rng_vsib(&g->r, g->c->in.fx, in);
	if (in->base != 0xff)
		g->c->in.gpr[in->base] = addr_reg(g, in, base);
	else if (in->disp_bytes)
		patch(in, bytes, at, base + (uint64_t)in->disp, in->disp_bytes);
}

/* Solves base, index or displacement so that the memory operand is at `target`. */
static void place(struct diff_gen *g, struct x86_insn *in, uint8_t *bytes, uint64_t rip,
		  uint64_t target)
{
	uint64_t *gpr = g->c->in.gpr;
	unsigned at = (unsigned)(in->len - in->imm_bytes - in->disp_bytes);
	uint64_t off = target - seg_base(g, in), disp = (uint64_t)in->disp;

	if (in->base == X86_RIP) {
		patch(in, bytes, at, off - (rip + in->len), 4);
		return;
	}
	if (in->base == 0xff && in->index == 0xff) {
		if (in->disp_bytes)
			patch(in, bytes, at, off, in->disp_bytes);
		return;
	}
	if (in->attr & X86_A_VSIB) {
		vsib(g, in, off - disp, bytes, at);
		return;
	}
	if (in->base != 0xff && in->index == in->base) {
		uint64_t k = 1 + (UINT64_C(1) << in->scale);

		if (in->scale == 0 && in->disp_bytes) { /* 2 x: the displacement takes the odd bit */
			disp ^= (off ^ disp) & 1;
			patch(in, bytes, at, disp, in->disp_bytes);
			in->disp = (int64_t)disp;
		}
		gpr[in->base] = addr_reg(g, in, ((off - disp) & addr_mask(in)) / k);
		return;
	}
	if (in->base != 0xff) {
		uint64_t idx = in->index == 0xff ? 0 : gpr[in->index] << in->scale;

		gpr[in->base] = addr_reg(g, in, off - disp - idx);
		return;
	}
	/* Index and a 32-bit displacement. */
	gpr[in->index] = addr_reg(g, in,
				  ((off & addr_mask(in)) >> in->scale) + diff_rnd(&g->r, 4096));
	patch(in, bytes, at, off - (gpr[in->index] << in->scale), in->disp_bytes);
}

static void poke(struct diff_gen *g, uint64_t addr, const void *data, unsigned len)
{
	if (addr < DIFF_D0 || addr + len > DIFF_D0 + DIFF_DATA_SIZE || len > sizeof(g->c->poke))
		return;
	g->c->poke_addr = (uint32_t)addr;
	g->c->poke_len = (uint16_t)len;
	memcpy(g->c->poke, data, len);
}

/* An FPU image that loads: environment or whole, or now and then one that does not. */
static void poke_fpu(struct diff_gen *g, const struct x86_insn *in, uint64_t addr)
{
	uint8_t fx[X86_FX_SIZE], p[128] = {0};
	bool small = in->opnd_bytes == 2;
	unsigned env = small ? 14 : 28, step = small ? 2 : 4;

	diff_rng_fx(&g->r, fx, false);
	if (in->op == X86_OP_FXRSTOR) {
		if (diff_chance(&g->r, 5))
			fx[27] = 1; /* reserved MXCSR bit: #GP */
		poke(g, addr, fx, 512);
		return;
	}
	if (in->op == X86_OP_LDMXCSR) {
		if (diff_chance(&g->r, 5))
			fx[26] = 4;
		poke(g, addr, fx + 24, 4);
		return;
	}
	diff_rng_data(&g->r, p, 120);
	memcpy(p, fx, 2);
	memcpy(p + step, fx + 2, 2);
	/* Instruction and data pointers are not compared; zero is what every processor takes. */
	memset(p + 3 * step, 0, 4 * step);
	poke(g, addr, p, in->op == X86_OP_FLDENV ? env : env + 80);
}

/* Marks the FPU pointers of a stored image as not comparable (they depend on the vendor, and on what ran before). */
static void mask_fpu(struct diff_gen *g, const struct x86_insn *in, uint64_t addr)
{
	bool small = in->opnd_bytes == 2;

	if (in->op == X86_OP_FXSAVE) {
		g->c->ptr_addr = (uint32_t)addr + 6;
		g->c->ptr_len = 18;
	} else if (in->op == X86_OP_FSTENV || in->op == X86_OP_FSAVE) {
		g->c->ptr_addr = (uint32_t)addr + (small ? 6 : 12);
		g->c->ptr_len = small ? 8 : 16;
	}
}

/* Immediate branch: to one of the stubs. */
static void branch_imm(struct diff_gen *g, struct x86_insn *in, uint8_t *bytes, uint64_t rip)
{
	uint64_t to = diff_chance(&g->r, 50) ? rip + 48 : rip - 48;

	if (in->imm_bytes >= 2 && in->opnd_bytes == 2 && g->b->compat)
		return; /* IP is cut to 16 bits: a fault at the target, on both sides */
	patch(in, bytes, (unsigned)(in->len - in->imm_bytes), to - (rip + in->len), in->imm_bytes);
}

static void special(struct diff_gen *g, struct x86_insn *in, uint8_t *bytes, uint64_t rip,
		    uint64_t *target)
{
	struct diff_rng *r = &g->r;
	uint64_t *gpr = g->c->in.gpr, v;
	bool wide = in->opnd_bytes == 8;
	uint8_t area[X86_FX_SIZE];

	switch (in->op) {
	case X86_OP_DIV:
	case X86_OP_IDIV:
		if (diff_chance(r, 75)) { /* mostly a quotient that fits */
			if (in->op == X86_OP_IDIV && diff_chance(r, 50))
				gpr[X86_RDX] = (int64_t)gpr[X86_RAX] < 0 ? ~UINT64_C(0) : 0;
			else
				gpr[X86_RDX] = diff_rnd(r, 256);
			if (in->rm_bytes == 1)
				gpr[X86_RAX] &= 0x1fff;
			if (g->b->compat)
				gpr[X86_RDX] = (uint32_t)gpr[X86_RDX];
		}
		break;
	case X86_OP_CMPXCHG:
	case X86_OP_CMPXCHG8B:
	case X86_OP_CMPXCHG16B:
		if (in->has_mem && diff_chance(r, 60) && *target >= DIFF_D0 &&
		    *target + 16 <= DIFF_D0 + DIFF_DATA_SIZE) {
			const uint8_t *p = g->b->data + (*target - DIFF_D0);
			unsigned half = in->op == X86_OP_CMPXCHG ? in->mem_bytes : in->mem_bytes / 2;

			memcpy(&gpr[X86_RAX], p, half);
			if (in->op != X86_OP_CMPXCHG) {
				memcpy(&gpr[X86_RDX], p + half, half);
				if (half == 4 && !g->b->compat && diff_chance(r, 50))
					gpr[X86_RDX] |= diff_rng_u64(r) << 32;
			}
		} else if (!in->has_mem && diff_chance(r, 50) && in->rm < 16) {
			gpr[X86_RAX] = gpr[in->rm];
		}
		break;
	case X86_OP_BT:
	case X86_OP_BTS:
	case X86_OP_BTR:
	case X86_OP_BTC:
		if ((in->attr & X86_A_BITOFF) && in->has_mem && in->reg < 16) {
			gpr[in->reg] = (gpr[in->reg] & ~UINT64_C(0xffffffff)) |
				       (uint32_t)(int32_t)(diff_rnd(r, 0x8000) - 0x4000);
			if (wide)
				gpr[in->reg] = (uint64_t)(int64_t)(int32_t)gpr[in->reg];
			if (g->b->compat)
				gpr[in->reg] = (uint32_t)gpr[in->reg];
			if (diff_chance(r, 90))
				*target = DIFF_D1 - 0x800 + diff_rnd(r, 0x1000 - 8);
		}
		break;
	case X86_OP_MOVS:
	case X86_OP_STOS:
	case X86_OP_LODS:
	case X86_OP_CMPS:
	case X86_OP_SCAS: {
		uint64_t m = addr_mask(in), count = diff_rnd(r, 40);
		uint64_t src = diff_gen_target(g, 8), dst = diff_gen_target(g, 8);

		if (diff_chance(r, 25)) /* overlap */
			dst = src + diff_rnd(r, 64) - 32;
		if (diff_chance(r, 10))
			count = diff_rnd(r, 3000);
		if (diff_chance(r, 8))
			count = 0;
		gpr[X86_RSI] = addr_reg(g, in, src - seg_base(g, in));
		gpr[X86_RDI] = addr_reg(g, in, dst);
		gpr[X86_RCX] = addr_reg(g, in, count & m);
		if (in->op == X86_OP_SCAS && diff_chance(r, 70) && dst >= DIFF_D0 &&
		    dst + 512 <= DIFF_D2) {
			/* a run of equal elements to scan over */
			uint8_t same[512];

			memset(same, (int)(gpr[X86_RAX] & 0xff), sizeof(same));
			gpr[X86_RAX] = (gpr[X86_RAX] & 0xff) * UINT64_C(0x0101010101010101);
			if (g->b->compat)
				gpr[X86_RAX] = (uint32_t)gpr[X86_RAX];
			same[diff_rnd(r, 256)] ^= (uint8_t)diff_chance(r, 50);
			poke(g, dst - (diff_chance(r, 20) ? 128 : 0), same, 64 + diff_rnd(r, 400));
		}
		if (in->op == X86_OP_CMPS && diff_chance(r, 60) && dst >= DIFF_D0 &&
		    dst + 128 <= DIFF_D2 && src >= DIFF_D0 && src + 128 <= DIFF_D2)
			poke(g, dst, g->b->data + (src - DIFF_D0), 1 + diff_rnd(r, 127));
		break;
	}
	case X86_OP_INS:
	case X86_OP_OUTS: /* #GP; harmless registers in any case */
		gpr[X86_RCX] = addr_reg(g, in, 1);
		gpr[X86_RDI] = addr_reg(g, in, DIFF_D0 + 64);
		gpr[X86_RSI] = addr_reg(g, in, DIFF_D0 + 64);
		break;
	case X86_OP_XLAT:
		gpr[X86_RBX] = addr_reg(g, in, *target - seg_base(g, in) - (gpr[X86_RAX] & 0xff));
		break;
	case X86_OP_MASKMOV: gpr[X86_RDI] = addr_reg(g, in, *target - seg_base(g, in)); break;
	case X86_OP_BOUND:
		if (*target >= DIFF_D0 && *target + 8 <= DIFF_D0 + DIFF_DATA_SIZE &&
		    diff_chance(r, 80)) {
			int32_t lo = (int32_t)diff_rng_int(r) >> 1,
				span = (int32_t)diff_rnd(r, 1 << 20);
			int32_t b32[2] = {lo, lo + span};
			int16_t b16[2] = {(int16_t)(lo >> 8), (int16_t)((lo >> 8) + (span & 0xff))};

			if (in->reg < 8)
				gpr[in->reg] = (uint32_t)((in->opnd_bytes == 2 ? b16[0] : lo) +
							  (int32_t)diff_rnd(r, 300) - 20);
			poke(g, *target, in->opnd_bytes == 2 ? (void *)b16 : (void *)b32,
			     in->opnd_bytes == 2 ? 4 : 8);
		}
		break;
	case X86_OP_RET:
		gpr[X86_RSP] = DIFF_D0 + 0x800 + diff_rnd(r, 0x1000);
		v = diff_chance(r, 50) ? rip + 48 : rip - 48;
		poke(g, gpr[X86_RSP], &v, in->opnd_bytes);
		break;
	case X86_OP_JMP_IND:
	case X86_OP_CALL_IND:
		v = diff_chance(r, 50) ? rip + 48 : rip - 48;
		if (in->has_mem)
			poke(g, *target, &v, in->mem_bytes);
		else if (in->rm < 16)
			gpr[in->rm] = v;
		break;
	case X86_OP_JMP:
	case X86_OP_JCC:
	case X86_OP_CALL:
	case X86_OP_LOOP:
	case X86_OP_LOOPE:
	case X86_OP_LOOPNE:
	case X86_OP_JCXZ:
		branch_imm(g, in, bytes, rip);
		if (diff_chance(r, 50))
			gpr[X86_RCX] = (gpr[X86_RCX] & ~addr_mask(in)) | diff_rnd(r, 3);
		if (g->b->compat)
			gpr[X86_RCX] = (uint32_t)gpr[X86_RCX];
		break;
	case X86_OP_ENTER:
		gpr[X86_RSP] = DIFF_D0 + 0x1000 + diff_rnd(r, 0xff8);
		gpr[X86_RBP] = DIFF_D0 + 0x400 + diff_rnd(r, 0x1000);
		if (diff_chance(r, 80)) { /* a frame that fits */
			v = diff_rnd(r, 0x600);
			patch(in, bytes, in->len - 3u, v, 2);
		}
		if (diff_chance(r, 60))
			patch(in, bytes, in->len - 1u, diff_rnd(r, 4), 1);
		break;
	case X86_OP_LEAVE: gpr[X86_RBP] = diff_gen_target(g, 8); break;
	case X86_OP_POPF:
		gpr[X86_RSP] = DIFF_D0 + 0x400 + diff_rnd(r, 0x1000);
		v = diff_rng_u64(r) & ~(uint64_t)(X86_TF | X86_AC);
		poke(g, gpr[X86_RSP], &v, in->opnd_bytes);
		break;
	case X86_OP_FXRSTOR:
	case X86_OP_FLDENV:
	case X86_OP_FRSTOR:
	case X86_OP_LDMXCSR:
		if (*target < DIFF_D0 ||
		    *target + in->mem_bytes > DIFF_D2) /* whole in memory, or not at all */
			*target = diff_chance(r, 80) ?
					  (uint64_t)DIFF_D1 - 512 + (diff_rnd(r, 1024) & ~15u) :
					  DIFF_D2 + 4096 + 64;
		poke_fpu(g, in, *target);
		break;
	case X86_OP_XSAVE:
	case X86_OP_XSAVEC:
	case X86_OP_XSAVEOPT:
	case X86_OP_XRSTOR:
		gpr[X86_RAX] = (diff_chance(r, 50) ? 7 : diff_rnd(r, 8)) |
			       (g->b->compat ? 0 : diff_rng_u64(r) << 32);
		gpr[X86_RDX] = 0;
		if (*target < DIFF_D0 || *target + X86_FX_SIZE > DIFF_D2)
			*target = diff_chance(r, 80) ?
					  (uint64_t)DIFF_D1 - 832 + (diff_rnd(r, 2048) & ~63u) :
					  DIFF_D2 + 4096 + 64;
		if (diff_chance(r, 97))
			*target &= ~UINT64_C(63);
		if (in->op == X86_OP_XRSTOR) {
			diff_rng_xsave(r, area);
			poke(g, *target, area, sizeof(area));
			/* A reserved bit of MXCSR, which Intel's processors find when some of the rest is loaded: what,
			 * no manual says. */
			g->c->fpu_lost = diff_host_intel() &&
					 (area[X86_FX_XSTATE_BV + 15] & 0x80) &&
					 ((area[26] | area[27]) != 0);
			break;
		}
		g->c->ptr_addr = (uint32_t)*target + 6;
		g->c->ptr_len = 18;
		break;
	case X86_OP_FXSAVE:
	case X86_OP_FSTENV:
	case X86_OP_FSAVE: mask_fpu(g, in, *target); break;
	case X86_OP_WRFSBASE:
	case X86_OP_WRGSBASE:
		if (in->rm < 16 && diff_chance(r, 85))
			gpr[in->rm] &= 0x7fffffffffff; /* an address of the lower half */
		else if (in->rm < 16 && diff_chance(r, 50))
			gpr[in->rm] |= UINT64_C(1) << 63;
		break;
	case X86_OP_SHLD:
	case X86_OP_SHRD: break;
	default: break;
	}
}

/* A form for this batch's mode; NULL: none of those asked for exists in it. */
const struct diff_form *diff_gen_pick(struct diff_gen *g)
{
	static uint16_t list[2][4096];
	static unsigned n[2];
	unsigned m = g->b->compat;

	if (n[0] + n[1] == 0) {
		const char *only = g->o->form;

		for (unsigned k = 0; k < 2 * diff_n_forms; k++) {
			const struct diff_form *f = &diff_forms[k / 2];

			if (k & 1 ? f->f.only64 : f->f.no64)
				continue;
			if (only ? strcmp(f->name, only) == 0 ||
					    strcmp(x86_op_name(f->f.op), only) == 0 :
				   !f->skip)
				if (n[k & 1] < ARRAY_SIZE(list[0]))
					list[k & 1][n[k & 1]++] = (uint16_t)(k / 2);
		}
	}
	return n[m] ? &diff_forms[list[m][diff_rnd(&g->r, n[m])]] : NULL;
}

static bool gen_single(struct diff_gen *g)
{
	struct diff_case *c = g->c;
	const struct diff_form *f = diff_gen_pick(g);
	struct x86_insn in;
	uint8_t bytes[32];
	uint64_t rip, target = 0;
	unsigned size;

	if (!f || !diff_gen_encode(g, f, &in, bytes, false))
		return false;
	if (in.op >= X86_OP_XSAVE && in.op <= X86_OP_XRSTOR && /* EDX:EAX say what is to be saved */
	    (in.base == X86_RAX || in.base == X86_RDX || in.index == X86_RAX || in.index == X86_RDX))
		return false;
	c->form = (uint32_t)(f - diff_forms);
	diff_gen_regs(g, false);

	/* Where: the middle of the cell is a page boundary in every eighth. */
	rip = g->base + 128 + diff_rnd(&g->r, 64);
	if (g->cell == DIFF_BATCH - 1) {
		if (diff_chance(&g->r, 60))
			rip = g->base + 256 - 1 - diff_rnd(&g->r, in.len); /* runs into the hole */
	} else if (g->cell % 8 == 7) {
		rip = g->base + 256 - diff_rnd(&g->r, in.len + 1u);
	}
	c->in.rip = rip;

	size = in.mem_bytes;
	if (in.op == X86_OP_XLAT)
		size = 1;
	if (in.op == X86_OP_MASKMOV)
		size = in.pfx66 ? 16 : 8;
	if (size > 512)
		size = 512; /* (XSAVE: see special()) */
	target = diff_gen_target(g, size);
	/* Operands that must be aligned mostly are. */
	if (((in.attr & X86_A_ALIGN16) || size == 512) && diff_chance(&g->r, 75))
		target &= ~UINT64_C(15);
	if ((in.attr & X86_A_FSTENV) && diff_chance(&g->r, 75))
		target = DIFF_D0 + (diff_rnd(&g->r, DIFF_DATA_SIZE - 512) & ~15u);
	if (in.addr_bytes == 2 && in.has_mem) { /* 16-bit addresses reach the data through GS */
		if (in.seg == X86_GS)
			c->in.gs_base = DIFF_D0 - 0x1000 + diff_rnd(&g->r, 0x800);
	} else if (in.addr_bytes == 4 && (in.seg == X86_GS || in.seg == X86_FS)) {
		c->in.gs_base &= 0xffffff;
		c->in.fs_base &= 0xffffff;
	}
	/* SHA: AMD processors take operands that are not aligned. MASKMOV: where it faults is the processor's choice. */
	if (in.op == X86_OP_FP &&
	    ((in.map == X86_MAP_0F38 && in.opcode >= 0xc8 && in.opcode <= 0xcd) ||
	     (in.map == X86_MAP_0F3A && in.opcode == 0xcc)))
		target &= ~UINT64_C(15);
	if (in.op == X86_OP_MASKMOV)
		target = DIFF_D0 + diff_rnd(&g->r, DIFF_DATA_SIZE - 16);
	special(g, &in, bytes, rip, &target);
	if (in.has_mem)
		place(g, &in, bytes, rip, target);
	if (low_stack_op(in.op) && in.op != X86_OP_RET && in.op != X86_OP_POPF &&
	    in.op != X86_OP_ENTER && diff_chance(&g->r, 60) && in.base != X86_RSP)
		c->in.gpr[X86_RSP] = diff_gen_target(g, 8) + (diff_chance(&g->r, 50) ? 8 : 0);
	if (g->b->compat)
		for (unsigned i = 0; i < 16; i++)
			c->in.gpr[i] = (uint32_t)c->in.gpr[i];
	if (!g->b->compat &&
	    (in.op == X86_OP_FXSAVE || in.op == X86_OP_FSAVE || in.op == X86_OP_FSTENV) &&
	    c->ptr_len == 0)
		return false;
	if (!c->block && diff_rnd(&g->r, 300) == 0 && !(in.attr & (X86_A_END | X86_A_STRING)) &&
	    in.op != X86_OP_INT3 && in.op != X86_OP_INT1 && in.op != X86_OP_PUSHF &&
	    in.op != X86_OP_VGATHER /* (may trap between elements) */) {
		c->step = true;
		c->in.rflags |= X86_TF;
	}
	diff_gen_put(g, rip, bytes, in.len);
	diff_gen_stub(g, rip + in.len);
	if (rip + 64 < DIFF_CODE_END)
		diff_gen_stub(g, rip + 48);
	diff_gen_stub(g, rip - 48);
	c->n_insns = 1;
	c->insn[0] = (struct diff_insn){.rip = rip,
					.len = in.len,
					.undef_out = diff_undef(&in),
					.fault_undef = diff_fault_undef(&in),
					.flags_write = in.flags_may_write,
					.pieces = diff_in_pieces(&in),
					.any_cr2 = in.op == X86_OP_VMASKMOV};
	return true;
}

void diff_gen_batch_data(struct diff_batch *b, struct diff_rng *r)
{
	diff_rng_data(r, b->data, DIFF_DATA_SIZE);
	memset(b->native_code, 0xcc, DIFF_CODE_SIZE);
	memset(b->guest_code, 0xcc, DIFF_CODE_SIZE);
}

void diff_gen_batch(struct diff_batch *b, const struct diff_gen_opts *o)
{
	struct diff_gen g = {.o = o, .b = b};

	diff_rng_seed(&g.r, o->seed, b->first | BIT(63));
	b->compat = diff_chance(&g.r, 30);
	diff_gen_batch_data(b, &g.r);
	for (unsigned i = 0; i < b->n; i++) {
		bool ok = false;

		g.c = &b->c[i];
		g.cell = i;
		g.base = DIFF_CODE + DIFF_CELL / 2 + i * DIFF_CELL;
		diff_rng_seed(&g.r, o->seed, b->first + i);
		for (unsigned tries = 0; !ok && tries < (o->form ? 50 : 1000); tries++) {
			struct diff_case *c = g.c;

			memset(c, 0, offsetof(struct diff_case, poke));
			c->number = b->first + i;
			c->compat = b->compat;
			c->ptr_len = 0;
			c->block = diff_rnd(&g.r, 100) < o->blocks && i != DIFF_BATCH - 1;
			ok = c->block ? diff_gen_block(&g) : gen_single(&g);
		}
	}
}
