/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_group.c - which memory operands of a block lie near one another, so that one look at the TLB does for all.
 *
 * Theory of operation. Before anything is emitted, this pass goes over the decoded instructions and finds those whose
 * one memory operand is at a constant distance from another one's: same base, same index, neither written in
 * between (RSP may move by a constant). They are a group. The first of them, its leader, checks the whole range that
 * the group's operands cover, as one access that lies in one page; the host address of the range's first byte is
 * then good for all, and is kept in v->tr.group[] for when S0 has been used for something else (tr_mem.c).
 *
 * When the leader's check fails and the TLB entry cannot be had - the range crosses pages, one of its operands
 * faults, the page may not be written without a look - nothing has happened yet: the code goes on in another block, made
 * for the same instructions from the leader on with SOFT_KEY_PLAIN, in which every operand is checked by itself.
 *
 * A group with a store in it is checked for writing from the start. That may ask for more than its leader needs, so
 * a leader that only reads never makes the entry writable: the plain block does, when it comes to the store.
 *
 * An instruction that runs by C ends all groups: what is known about the TLB does not outlive it.
 */
#include "engine/soft/tr_emit.h"

#define MAX_SPAN 512 /* bytes: the longer, the more often it crosses pages */
#define MAX_DISP (1 << 30)

/* What the operands of later instructions are relative to. */
struct scan {
	struct tr *t;
	uint16_t version[16]; /* of each register's value */
	int64_t rsp;	      /* RSP now - RSP when its version began */
	unsigned open;	      /* groups before this one are closed */
};

/* ---- what an instruction does ---- */

/* General registers that an instruction changes; all of them where it is not plain to see. */
static unsigned registers_written(const struct x86_insn *in)
{
	unsigned mask = 0;

	switch (in->op) {
	case X86_OP_ADD:
	case X86_OP_OR:
	case X86_OP_ADC:
	case X86_OP_SBB:
	case X86_OP_AND:
	case X86_OP_SUB:
	case X86_OP_XOR:
	case X86_OP_CMP:
	case X86_OP_TEST:
	case X86_OP_INC:
	case X86_OP_DEC:
	case X86_OP_NEG:
	case X86_OP_NOT:
	case X86_OP_IMUL:
	case X86_OP_ROL:
	case X86_OP_ROR:
	case X86_OP_SHL:
	case X86_OP_SHR:
	case X86_OP_SAR:
	case X86_OP_MOV:
	case X86_OP_MOVZX:
	case X86_OP_MOVSX:
	case X86_OP_MOVSXD:
	case X86_OP_MOVNTI:
	case X86_OP_LEA:
	case X86_OP_CMOV:
	case X86_OP_SETCC:
	case X86_OP_BSWAP:
	case X86_OP_NOP:
	case X86_OP_PREFETCH:
	case X86_OP_PUSH:
	case X86_OP_POP:
	case X86_OP_BT:
	case X86_OP_BSF:
	case X86_OP_BSR:
	case X86_OP_TZCNT:
	case X86_OP_LZCNT:
	case X86_OP_POPCNT:
	case X86_OP_MOVBE:
	case X86_OP_SHLD:
	case X86_OP_SHRD:
	case X86_OP_JCC:
	case X86_OP_JMP:
	case X86_OP_CALL: break;
	case X86_OP_MUL:
	case X86_OP_IMUL1:
	case X86_OP_DIV:
	case X86_OP_IDIV:
	case X86_OP_CBW:
	case X86_OP_CWD: mask = 1u << X86_RAX | 1u << X86_RDX; break;
	case X86_OP_FP:
		/* PCMPxSTRx and FNSTSW AX write a register that no field names. */
		if ((in->map == X86_MAP_0F3A && in->opcode >= 0x60 && in->opcode <= 0x63) ||
		    in->opcode == 0xdf)
			return 0xffff;
		break;
	default: return 0xffff;
	}
	if (in->opreg != 0xff && (in->opreg_acc & X86_ACC_W))
		mask |= 1u << in->opreg;
	if (in->reg_kind == X86_RK_GPR && (in->reg_acc & X86_ACC_W) && in->reg < 16)
		mask |= 1u << in->reg;
	if (!in->has_mem && in->rm_kind == X86_RK_GPR && (in->rm_acc & X86_ACC_W) && in->rm < 16)
		mask |= 1u << in->rm;
	if (in->vvvv_kind == X86_RK_GPR && (in->vvvv_acc & X86_ACC_W) && in->vvvv < 16)
		mask |= 1u << in->vvvv;
	if (in->rm_bytes == 1 || in->reg_bytes == 1 || in->opnd_bytes == 1)
		mask |= (mask >> 4) & 0xf; /* AH is a part of RAX */
	return mask;
}

/* By how much it moves RSP, where that is a constant. */
static bool moves_rsp(const struct x86_insn *in, int64_t *by)
{
	if (in->opnd_bytes != 8)
		return false;
	switch (in->op) {
	case X86_OP_PUSH: *by = -8; return true;
	case X86_OP_POP:
		*by = 8;
		return in->opreg != 0xff ? in->opreg != X86_RSP : !in->has_mem && in->rm != X86_RSP;
	case X86_OP_LEA:
		*by = in->disp;
		return in->reg == X86_RSP && in->base == X86_RSP && in->index == 0xff &&
		       in->addr_bytes == 8;
	case X86_OP_ADD:
	case X86_OP_SUB:
		*by = in->op == X86_OP_SUB ? -in->imm : in->imm;
		return !in->has_mem && in->has_modrm && in->rm == X86_RSP && in->imm_bytes;
	default: return false;
	}
}

/* Its memory operand, if tr_access() will be asked for just that one. */
static bool operand(const struct tr *t, const struct x86_insn *in, struct tr_place *p, bool *write,
		    unsigned *size)
{
	switch (in->op) {
	case X86_OP_PUSH:
	case X86_OP_CALL:
		*p = tr_stack_place(t, X86_RSP, -8);
		*write = true;
		*size = 8;
		return !in->has_mem;
	case X86_OP_POP:
	case X86_OP_RET:
		*p = tr_stack_place(t, X86_RSP, 0);
		*write = false;
		*size = 8;
		return true;
	case X86_OP_LEAVE:
		*p = tr_stack_place(t, X86_RBP, 0);
		*write = false;
		*size = 8;
		return true;
	case X86_OP_LEA:
	case X86_OP_NOP:
	case X86_OP_PREFETCH:
	case X86_OP_JMP_IND:
	case X86_OP_CALL_IND: return false;
	default:
		*p = tr_place_of(t, in);
		*write = in->rm_acc & X86_ACC_W;
		*size = in->mem_bytes;
		return in->has_mem;
	}
}

/* ---- groups ---- */

/* The distance of p from its group's registers as they were when their versions began. */
static int64_t distance(const struct scan *s, const struct tr_place *p)
{
	return p->disp + (p->base == X86_RSP ? s->rsp : 0);
}

static uint32_t version(const struct scan *s, const struct tr_place *p)
{
	return (p->base < 16 ? s->version[p->base] : 0) |
	       (uint32_t)(p->index < 16 ? s->version[p->index] : 0) << 16;
}

static struct tr_group *find(const struct scan *s, const struct tr_place *p, int64_t at,
			     unsigned size)
{
	for (unsigned i = s->open; i < s->t->n_groups; i++) {
		struct tr_group *g = &s->t->group[i];

		if (g->base == p->base && g->index == p->index && g->scale == p->scale &&
		    g->version == version(s, p) &&
		    MAX(g->end, at + (int64_t)size) - MIN(g->start, at) <= MAX_SPAN)
			return g;
	}
	return NULL;
}

static void add(struct scan *s, unsigned i, const struct tr_place *p, bool write, unsigned size)
{
	struct tr *t = s->t;
	int64_t at = distance(s, p);
	struct tr_group *g = find(s, p, at, size);

	if ((p->base != 0xff || p->index != 0xff) && (p->disp > MAX_DISP || p->disp < -MAX_DISP))
		return; /* the group's first byte may be out of reach */
	if (!g) {
		if (t->n_groups == ARRAY_SIZE(t->group))
			return;
		g = &t->group[t->n_groups];
		*g = (struct tr_group){.base = p->base,
				       .index = p->index,
				       .scale = p->scale,
				       .version = version(s, p),
				       .start = at,
				       .end = at,
				       .first = (uint8_t)i};
		t->n_groups++;
	}
	g->start = MIN(g->start, at);
	g->end = MAX(g->end, at + (int64_t)size);
	g->write |= write;
	g->last = (uint8_t)i;
	t->in_group[i] = (uint8_t)(g - t->group) + 1;
	t->at[i] = at;
}

static void written(struct scan *s, const struct x86_insn *in)
{
	unsigned mask = registers_written(in);
	int64_t by;

	if (moves_rsp(in, &by)) {
		s->rsp += by;
		mask &= ~(1u << X86_RSP);
		/* As an index it is not followed: nothing has it as one (SDM vol. 2 §2.2.1.2). */
	}
	for (unsigned r = 0; r < 16; r++)
		if (mask >> r & 1)
			s->version[r]++;
	if (mask >> X86_RSP & 1)
		s->rsp = 0;
}

/* Those of one operand are none. Numbers close up; so each group has a place in v->tr.group[]. */
static void drop_singles(struct tr *t)
{
	uint8_t to[ARRAY_SIZE(t->group) + 1] = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < t->n_groups; i++) {
		if (t->group[i].first == t->group[i].last || n == SOFT_GROUPS)
			continue;
		t->group[n] = t->group[i];
		to[i + 1] = (uint8_t)++n;
	}
	for (unsigned i = 0; i < t->n; i++)
		t->in_group[i] = to[t->in_group[i]];
	t->n_groups = n;
}

void tr_find_groups(struct tr *t)
{
	struct scan s = {.t = t};

	t->n_groups = 0;
	for (unsigned i = 0; i < t->n; i++)
		t->in_group[i] = 0;
	/* Lock-step makes no entries for writing. */
	if (t->mode != X86_MODE_64 || (t->key & SOFT_KEY_PLAIN) || t->crosses ||
	    t->so->cfg.soft_mode == SOFT_MODE_LOCKSTEP)
		return;
	for (unsigned i = 0; i < t->n; i++) {
		const struct x86_insn *in = &t->insn[i];
		struct tr_place p;
		unsigned size;
		bool write;

		t->i = i;
		if (tr_may_leave(t, in))
			s.open = t->n_groups;
		else if (operand(t, in, &p, &write, &size) && p.simple && size && size <= 64)
			add(&s, i, &p, write, size);
		written(&s, in);
	}
	drop_singles(t);
}
