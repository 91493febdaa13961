/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_block.c - cases of 2 to 30 instructions: what a translator can get wrong between instructions.
 *
 * Memory operands go through a few registers that hold pointers into the data pages and that no instruction
 * of the block may write (string instructions move RSI and RDI, a little). Branches go forward, to a later
 * instruction or to the end; every fourth block is a loop that RCX counts. An instruction that would read a status flag which is undefined at that
 * point on any path is not taken.
 */
#include <string.h>

#include "diff.h"

#define REG(n) (1u << (n))

/* General registers that an instruction writes without naming them in ModRM or opcode. ~0: not for blocks. */
static uint32_t implicit_writes(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_MUL:
	case X86_OP_IMUL1:
	case X86_OP_DIV:
	case X86_OP_IDIV:
	case X86_OP_CWD:
	case X86_OP_CMPXCHG8B:
	case X86_OP_CMPXCHG16B: return REG(X86_RAX) | REG(X86_RDX);
	case X86_OP_CMPXCHG:
	case X86_OP_CBW:
	case X86_OP_LAHF:
	case X86_OP_SALC:
	case X86_OP_XLAT:
	case X86_OP_AAA:
	case X86_OP_AAS:
	case X86_OP_DAA:
	case X86_OP_DAS:
	case X86_OP_AAM:
	case X86_OP_AAD: return REG(X86_RAX);
	case X86_OP_LODS: return REG(X86_RAX) | (in->rep ? REG(X86_RCX) : 0);
	case X86_OP_LOOP:
	case X86_OP_LOOPE:
	case X86_OP_LOOPNE: return REG(X86_RCX);
	case X86_OP_MOVS:
	case X86_OP_STOS:
	case X86_OP_CMPS:
	case X86_OP_SCAS: return in->rep ? REG(X86_RCX) : 0;
	case X86_OP_POPA:
	case X86_OP_ENTER:
	case X86_OP_LEAVE:
	case X86_OP_RET:
	case X86_OP_JMP_IND:
	case X86_OP_CALL_IND:
	case X86_OP_UD:
	case X86_OP_INT3:
	case X86_OP_INT1:
	case X86_OP_INTO:
	case X86_OP_WRFSBASE:
	case X86_OP_WRGSBASE:
	case X86_OP_MASKMOV:
	case X86_OP_FXSAVE:
	case X86_OP_FSAVE:
	case X86_OP_FSTENV:
	case X86_OP_FXRSTOR:
	case X86_OP_FRSTOR:
	case X86_OP_FLDENV:
	case X86_OP_LDMXCSR:
	case X86_OP_BOUND:
	case X86_OP_POPF:
	case X86_OP_XSAVE:
	case X86_OP_XSAVEC:
	case X86_OP_XSAVEOPT:
	case X86_OP_XRSTOR:
	case X86_OP_VGATHER: return ~0u;
	case X86_OP_FP: /* PCMPESTRI, PCMPISTRI: ECX; FNSTSW AX */
		return REG(X86_RAX) | REG(X86_RCX);
	default: return 0;
	}
}

static uint32_t reg_bit(unsigned reg, unsigned kind, unsigned bytes, const struct x86_insn *in)
{
	if (kind != X86_RK_GPR || reg > 15)
		return 0;
	return bytes == 1 && x86_reg8_high(in, reg) ? REG(reg - 4) : REG(reg);
}

static uint32_t written(const struct x86_insn *in)
{
	uint32_t w = implicit_writes(in);

	if (in->reg_acc & X86_ACC_W)
		w |= reg_bit(in->reg, in->reg_kind, in->reg_bytes, in);
	if (in->vvvv_acc & X86_ACC_W)
		w |= reg_bit(in->vvvv, in->vvvv_kind, in->vvvv_bytes, in);
	if ((in->rm_acc & X86_ACC_W) && !in->has_mem)
		w |= reg_bit(in->rm, in->rm_kind, in->rm_bytes, in);
	if ((in->opreg_acc & X86_ACC_W) && in->opreg < 16)
		w |= reg_bit(in->opreg, X86_RK_GPR, in->opnd_bytes, in);
	if ((in->op == X86_OP_MOV || in->op == X86_OP_XCHG) && in->opreg == 0xff && !in->has_modrm)
		w |= REG(X86_RAX);
	if (!in->has_modrm && in->opreg == 0xff && in->imm_bytes) /* op rAX, imm */
		w |= in->attr & (X86_A_STACK | X86_A_BRANCH) ? 0 : REG(X86_RAX);
	if (in->op == X86_OP_XCHG)
		w |= REG(X86_RAX);
	return w;
}

#define LOOP_BACK 0xff /* as a branch target: the first instruction */

struct block {
	struct x86_insn in[DIFF_MAX_INSNS];
	uint8_t bytes[DIFF_MAX_INSNS][X86_INSN_MAX];
	uint8_t target[DIFF_MAX_INSNS]; /* branches: index gone to, n: end */
	unsigned n;
};

/* Makes the memory operand [pointer + small displacement], sometimes with the index register. */
static bool point(struct diff_gen *g, struct x86_insn *in, uint8_t *bytes, uint32_t ptrs)
{
	unsigned at, mod, reg = (in->modrm >> 3) & 7, base, n = 0, old_tail;
	uint8_t out[32];
	enum x86_op op = in->op;

	if (!in->has_modrm)
		return false; /* absolute addresses: moffs */
	/* where ModRM is: count back from the end */
	at = (unsigned)(in->len - in->imm_bytes - in->disp_bytes - (in->has_sib ? 1 : 0) - 1);
	old_tail = in->imm_bytes;
	do
		base = diff_rnd(&g->r, 8);
	while (!(ptrs & REG(base)) || base == X86_RCX);
	memcpy(out, bytes, at);
	if (in->vex && !g->b->compat) { /* base from the low eight */
		for (unsigned i = 0; i + 1 < at; i++)
			if (out[i] == 0xc4 && i + 4 == at)
				out[i + 1] |= 0x20;
	} else if (in->rex) /* base from the low eight, no index extension */
		for (unsigned i = 0; i < at; i++)
			if (out[i] == in->rex &&
			    (i + 1 == at || out[i + 1] == in->opcode || out[i + 1] == 0x0f)) {
				out[i] &= 0xfc;
				break;
			}
	n = at;
	mod = 1 + diff_chance(&g->r, 30);
	if (diff_chance(&g->r, 20)) { /* SIB, index R12.. is RSP without REX: none */
		out[n++] = (uint8_t)(mod << 6 | reg << 3 | 4);
		out[n++] = (uint8_t)(4 << 3 | base);
	} else {
		out[n++] = (uint8_t)(mod << 6 | reg << 3 | base);
	}
	if (mod == 1) {
		out[n++] = (uint8_t)diff_rng_u64(&g->r);
	} else {
		int32_t d = (int32_t)diff_rnd(&g->r, 0x1000) - 0x800;

		if ((in->attr & X86_A_ALIGN16) && diff_chance(&g->r, 97))
			d &= in->vex ? ~(int32_t)(in->mem_bytes - 1) : ~15;
		memcpy(out + n, &d, 4);
		n += 4;
	}
	if (mod == 1 && (in->attr & X86_A_ALIGN16) && diff_chance(&g->r, 97))
		out[n - 1] &= in->vex && in->mem_bytes == 32 ? 0xe0 : 0xf0;
	memcpy(out + n, bytes + in->len - old_tail, old_tail);
	n += old_tail;
	if (n > X86_INSN_MAX)
		return false;
	memset(out + n, 0, 4);
	if (diff_decode(in, out, n, g->b->compat) != X86_DECODE_OK || in->op != op ||
	    in->len != n || in->base != base)
		return false;
	memcpy(bytes, out, n);
	return true;
}

static bool take(struct diff_gen *g, struct x86_insn *in, uint8_t bytes[32], uint32_t ptrs,
		 uint16_t undef)
{
	const struct diff_form *f = diff_gen_pick(g);

	if (!f)
		return false;
	if ((f->f.attr & X86_A_END) || implicit_writes(&(struct x86_insn){.op = f->f.op}) == ~0u)
		return false;
	/* x87 and SSE are as many forms as integer ones, but there is less to break between them. */
	if (!g->o->form && f->f.op == X86_OP_FP && diff_chance(&g->r, 65))
		return false;
	if (!diff_gen_encode(g, f, in, bytes, true))
		return false;
	if ((in->attr & X86_A_END) || (in->flags_read & undef))
		return false;
	if (in->has_mem || (in->attr & X86_A_LEA)) {
		if (in->addr_bytes == 2)
			return false;
		if (in->has_mem && !(in->attr & X86_A_LEA) && !point(g, in, bytes, ptrs))
			return false;
		if ((in->attr & X86_A_BITOFF) && in->has_mem)
			return false; /* far away, but for small offsets */
	}
	if ((in->attr & X86_A_PRIV) || in->op == X86_OP_INS || in->op == X86_OP_OUTS ||
	    in->op == X86_OP_IN || in->op == X86_OP_OUT)
		return false;
	if (in->op == X86_OP_FP && in->has_mem && (in->attr & X86_A_ALIGN16) &&
	    ((in->map == X86_MAP_0F38 && in->opcode >= 0xc8) ||
	     (in->map == X86_MAP_0F3A && in->opcode == 0xcc)))
		return false; /* SHA: see diff_gen.c */
	if ((in->op == X86_OP_DIV || in->op == X86_OP_IDIV) && diff_chance(&g->r, 80))
		return false;
	if (written(in) & (ptrs | REG(X86_RSP)))
		return false;
	return true;
}

bool diff_gen_block(struct diff_gen *g)
{
	struct diff_case *c = g->c;
	struct block bl = {.n = 0};
	uint16_t undef[DIFF_MAX_INSNS + 1] = {0};
	unsigned want = 2 + diff_rnd(&g->r, diff_chance(&g->r, 30) ? 29 : 9), tries = 0;
	uint32_t ptrs = REG(X86_RBX) | REG(X86_RSI) | REG(X86_RDI) | REG(X86_RBP);
	uint64_t rip, at;
	bool loop = diff_chance(&g->r, 25);
	uint16_t acc = 0;

	memset(bl.target, 0, sizeof(bl.target));
	if (loop) { /* RCX counts; any flag may be undefined when it comes round */
		want = MIN(want, DIFF_MAX_INSNS - 2);
		ptrs |= REG(X86_RCX);
		acc = undef[0] = X86_STATUS_FLAGS;
	}
	while (bl.n < want && tries++ < 2000) {
		struct x86_insn *in = &bl.in[bl.n];
		uint8_t bytes[32];

		if (!take(g, in, bytes, ptrs, acc))
			continue;
		memcpy(bl.bytes[bl.n], bytes, in->len);
		/* Forward branches: every flag that was ever undefined before stays so; simple, and safe. */
		if (in->attr & X86_A_BRANCH) {
			bl.target[bl.n] = (uint8_t)(bl.n + 1 + diff_rnd(&g->r, 4));
		} else {
			uint16_t u = diff_undef(in);
			bool skipped = false;

			for (unsigned k = 0; k < bl.n; k++)
				if ((bl.in[k].attr & X86_A_BRANCH) && bl.target[k] > bl.n)
					skipped = true;
			if (!skipped)
				acc &= (uint16_t)~in->flags_write;
			acc |= u;
		}
		undef[++bl.n] = acc;
		c->form = 0;
	}
	if (bl.n < 2)
		return false;
	if (loop) {
		static const uint8_t dec[] = {0xff, 0xc9}, jnz[] = {0x0f, 0x85, 0, 0, 0, 0};

		for (unsigned i = 0; i < bl.n; i++) /* branches that leave the block end the loop */
			bl.target[i] = MIN(bl.target[i], (uint8_t)bl.n);
		memcpy(bl.bytes[bl.n], dec, sizeof(dec));
		diff_decode(&bl.in[bl.n++], dec, sizeof(dec), g->b->compat);
		undef[bl.n] = acc & ~(X86_STATUS_FLAGS & ~X86_CF);
		memcpy(bl.bytes[bl.n], jnz, sizeof(jnz));
		diff_decode(&bl.in[bl.n], jnz, sizeof(jnz), g->b->compat);
		bl.target[bl.n++] = LOOP_BACK;
		undef[bl.n] = undef[bl.n - 1];
	}
	diff_gen_regs(g, true);
	/* Pointers into the middle of the data, at times near an edge. */
	for (unsigned i = 0; i < 8; i++)
		if ((ptrs & REG(i)) && i != X86_RCX) {
			uint64_t p = DIFF_D1 - 0x600 +
				     (diff_rnd(&g->r, 0xc00) & ~(diff_chance(&g->r, 92) ? 31u : 0u));

			if (diff_chance(&g->r, 4))
				p = diff_gen_target(g, 8);
			else if (diff_chance(&g->r, 6))
				p = DIFF_D1 - diff_rnd(&g->r, 32); /* crossing pages */
			c->in.gpr[i] = p;
		}
	c->in.gpr[X86_RCX] = loop		    ? 1 + diff_rnd(&g->r, 20) :
			     diff_chance(&g->r, 70) ? diff_rnd(&g->r, 40) :
						      c->in.gpr[X86_RCX];
	c->in.gpr[X86_RSP] = DIFF_D1 + (diff_rnd(&g->r, 0x800) & ~7u);
	c->in.fs_base &= 0xf0;
	c->in.gs_base &= 0xf0;
	if (g->b->compat)
		for (unsigned i = 0; i < 16; i++)
			c->in.gpr[i] = (uint32_t)c->in.gpr[i];

	/* Lay out: short branches may not reach; then they go to the next instruction. */
	rip = g->base + 24 + diff_rnd(&g->r, 64);
	if (g->cell % 8 == 7)
		rip = g->base + 256 - diff_rnd(&g->r, 100);
	at = rip;
	for (unsigned i = 0; i < bl.n; i++) {
		c->insn[i] = (struct diff_insn){.rip = at,
						.len = bl.in[i].len,
						.undef_in = undef[i],
						.undef_out = undef[i + 1],
						.fault_undef = diff_fault_undef(&bl.in[i]),
						.flags_write = bl.in[i].flags_may_write,
						.pieces = diff_in_pieces(&bl.in[i]),
						.any_cr2 = bl.in[i].op == X86_OP_VMASKMOV};
		at += bl.in[i].len;
	}
	if (at + 16 > g->base + DIFF_CELL)
		return false;
	for (unsigned i = 0; i < bl.n; i++) {
		struct x86_insn *in = &bl.in[i];

		if (in->attr & X86_A_BRANCH) {
			unsigned t = bl.target[i] < bl.n ? bl.target[i] : bl.n;
			uint64_t to = bl.target[i] == LOOP_BACK ? rip :
				      t < bl.n			? c->insn[t].rip :
								  at;
			int64_t rel = (int64_t)(to - (c->insn[i].rip + in->len));

			if (in->imm_bytes == 1 && rel > 127)
				rel = 0;
			if (in->imm_bytes != 1 && in->imm_bytes != 4)
				return false;
			memcpy(bl.bytes[i] + in->len - in->imm_bytes, &rel, in->imm_bytes);
		}
		diff_gen_put(g, c->insn[i].rip, bl.bytes[i], in->len);
	}
	diff_gen_stub(g, at);
	c->n_insns = (uint8_t)bl.n;
	c->in.rip = rip;
	return true;
}
