/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_emit.c - host code for single instructions. Edges and cold code: tr_edge.c.
 *
 * Rules that every emitter here keeps: flags that somebody may still read are in the slot before a TLB check
 * or other arithmetic clobbers them; guest registers change only after the last access that can fault; S0
 * holds the host address of the memory operand, S1 is free for a homed register.
 */
#include "engine/soft/tr_emit.h"

struct tr_cold *tr_cold(struct tr *t, enum tr_cold_kind kind, uint8_t *from)
{
	static struct tr_cold spill;

	if (t->n_cold == TR_MAX_COLD) {
		t->overflow = true;
		return &spill;
	}
	struct tr_cold *c = &t->cold[t->n_cold++];

	*c = (struct tr_cold){.kind = kind, .from = from, .key = t->key};
	return c;
}

void tr_site(struct tr *t)
{
	struct soft_site *s = &t->site[t->n_sites++];

	s->host = (uint32_t)(emit_here(&t->e) - t->b->code);
	s->off = t->off[t->i];
	s->loc = (uint8_t)t->loc;
}

/* ---- status flags ---- */

void tr_flags_to_slot(struct tr *t)
{
	if (t->loc & LOC_SLOT)
		return;
	soft_emit_flags_save(&t->e);
	t->loc |= LOC_SLOT;
}

/* Before code that clobbers EFLAGS. */
void tr_flags_clobber(struct tr *t)
{
	if (t->live_before)
		tr_flags_to_slot(t);
	t->loc &= LOC_SLOT;
	t->site[t->n_sites - 1].loc =
		(uint8_t)t->loc; /* where a host fault of this instruction finds them */
}

/* Before an instruction that reads EFLAGS or changes a part of them. */
void tr_flags_to_native(struct tr *t)
{
	if (t->loc & LOC_NATIVE)
		return;
	soft_emit_flags_restore(&t->e);
	t->loc |= LOC_NATIVE;
}

/* ---- registers and addresses ---- */

/* The host register that holds guest register g; a homed one is loaded into `scratch`. */
unsigned tr_gpr(struct tr *t, unsigned g, unsigned scratch)
{
	unsigned hr = soft_host_reg(g);

	if (hr != HR_HOMED)
		return hr;
	emit_load_gs(&t->e, true, scratch, GS_GPR(g));
	return scratch;
}

/* Effective address (linear, segment base added) into dst; dst may be S0 or a guest's register. */
void tr_address(struct tr *t, const struct x86_insn *in, unsigned dst, bool with_segment)
{
	struct emit *e = &t->e;
	bool w = in->addr_bytes == 8;

	if (in->base == X86_RIP || (in->base == 0xff && in->index == 0xff)) {
		uint64_t va = (uint64_t)in->disp;

		if (in->base == X86_RIP)
			va += t->va + t->off[t->i] + in->len;
		emit_mov_imm(e, dst, w ? va : (uint32_t)va);
	} else {
		unsigned base = in->base == 0xff ? HR_NONE : tr_gpr(t, in->base, S0);
		unsigned index = in->index == 0xff ? HR_NONE : tr_gpr(t, in->index, S1);

		if (index == HR_NONE && in->disp == 0)
			emit_mov_rr(e, w, dst, base);
		else
			emit_lea(e, w, dst, base, index, in->scale, (int32_t)in->disp);
	}
	if (with_segment && t->mode == X86_MODE_64 && (in->seg == X86_FS || in->seg == X86_GS)) {
		emit_load_gs(e, true, S1,
			     GS(s.seg) + (uint32_t)(sizeof(struct x86_seg) * in->seg) +
				     (uint32_t)offsetof(struct x86_seg, base));
		emit_lea(e, true, dst, dst, S1, 0, 0);
	}
}

void tr_s0_shifted(struct tr *t, unsigned n)
{
	struct emit *e = &t->e;

	if (t->so->cache->host_bmi2) {
		static const uint8_t rorx[] = {0xc4, 0x43, 0x7b, 0xf0, 0xda}; /* r11d, r10d, n */

		for (unsigned i = 0; i < sizeof(rorx); i++)
			emit8(e, rorx[i]);
		emit8(e, n);
		return;
	}
	emit_mov_rr(e, false, S1, S0);
	emit_rex(e, false, 0, 0, S1); /* shr r11d, n */
	emit8(e, 0xc1);
	emit8(e, 0xe8 | (S1 & 7));
	emit8(e, n);
}

/* The look at the TLB itself; the rel32 of its jump when it misses. */
static uint8_t *tlb_sequence(struct tr *t, unsigned mmu, bool write, unsigned size)
{
	struct emit *e = &t->e;
	uint8_t *miss;

	tr_s0_shifted(t, 7); /* page number times the size of an entry */
	emit_alu_imm(e, false, 4, S1, (SOFT_TLB_SIZE - 1) * (int)sizeof(struct soft_tlb_entry));
	emit_gs_base(e, true, 0x2b, S0, S1, write ? GS_TLB(mmu, tag_w) : GS_TLB(mmu, tag_r));
	emit_alu_imm(e, true, 7, S0, 4096 - (int)size);
	miss = emit_jcc32(e, CC_A);
	emit_gs_base(e, true, 0x03, S0, S1, GS_TLB(mmu, host));
	return miss;
}

void tr_tlb_cold(struct tr *t, const struct tr_cold *c)
{
	uint8_t *miss = tlb_sequence(t, c->mmu, c->write, c->size);
	struct tr_cold *m = tr_cold(t, c->then, miss);
	struct tr_cold copy = *c;

	copy.kind = c->then;
	copy.from = miss;
	*m = copy;
	emit_jmp(&t->e, c->back);
}

/* Is the address in the part of linear space that the operand was guessed to be in? Then the host's MMU does the rest. */
static uint8_t *window_sequence(struct tr *t)
{
	static const uint8_t rorx[] = {0xc4, 0x43, 0xfb, 0xf0, 0xda, 40}; /* r11, r10, 40 */
	struct emit *e = &t->e;
	int part = soft_window_part(t->likely_va);
	uint8_t *other;

	if (part < 0)
		part = MAX(soft_window_part(t->va), 0);
	for (unsigned i = 0; i < sizeof(rorx); i++)
		emit8(e, rorx[i]);
	emit8(e, 0x41); /* cmp r11b, tag */
	emit8(e, 0x80);
	emit8(e, 0xf8 | (S1 & 7));
	emit8(e, soft_window_tag[part]);
	other = emit_jcc32(e, CC_NE);
	emit_gs(e, true, 0x03, S0, GS(tr.window_delta) + 8 * (unsigned)part);
	return other;
}

/* S0: guest address in, host address out. Clobbers S1 and EFLAGS. Returns the cold entry, to set `next`. */
struct tr_cold *tr_tlb_check(struct tr *t, const struct x86_insn *in, bool write, unsigned size,
			     uint8_t *retry)
{
	bool window = t->key & SOFT_KEY_WINDOW;
	unsigned mmu = t->key & SOFT_KEY_MMU;
	uint8_t *from = window ? window_sequence(t) : tlb_sequence(t, mmu, write, size);
	struct tr_cold *c = tr_cold(t, window ? TR_COLD_WINDOW : TR_COLD_MISS, from);

	c->then = TR_COLD_MISS;
	c->back = emit_here(&t->e);
	c->i = (uint8_t)t->i;
	c->retry = retry;
	c->off = t->off[t->i];
	c->size = (uint16_t)size;
	c->len = in->len;
	c->mmu = (uint8_t)mmu;
	c->write = write;
	return c;
}

struct tr_cold *tr_memory_operand(struct tr *t, const struct x86_insn *in, bool write, unsigned size)
{
	struct tr_place p = tr_place_of(t, in);

	tr_flags_clobber(t);
	tr_guess(t, in, &p);

	uint8_t *retry = emit_here(&t->e);

	tr_address(t, in, S0, true);
	return tr_tlb_check(t, in, write, size, retry);
}

void tr_done(struct tr *t, struct tr_cold *c)
{
	if (!tr_in_open_group(t))
		c->next = emit_here(&t->e);
}

/* ---- by C ---- */

/* The instruction runs by soft_step(). */
void tr_by_c(struct tr *t, const struct x86_insn *in)
{
	bool end = in->attr & (X86_A_END | X86_A_BRANCH);

	if (t->live_before)
		tr_flags_to_slot(t);
	emit_call(&t->e, t->so->cache->stub.step);
	tr_step_record(t, in, end ? REC_END : 0, NULL);
	t->loc = LOC_BOTH;
	if (end)
		t->ended = true;
}

/* SYSCALL, SYSRET and IRET: a stub does the common case. */
static void flow(struct tr *t, const struct x86_insn *in)
{
	const struct soft_stubs *st = &t->so->cache->stub;
	unsigned mmu = t->key & SOFT_KEY_MMU;
	const uint8_t *stub = NULL;

	if (t->mode == X86_MODE_64 && in->op == X86_OP_SYSCALL && (t->key & SOFT_KEY_CPL3))
		stub = st->syscall[t->v->tr.flow.kernel_mmu];
	else if (t->mode == X86_MODE_64 && !(t->key & SOFT_KEY_CPL3) && in->opnd_bytes == 8) {
		if (in->op == X86_OP_SYSRET)
			stub = st->sysret;
		else if (in->op == X86_OP_IRET &&
			 !(mmu == SOFT_MMU_KERNEL_USER && (t->key & SOFT_KEY_SMAP)))
			stub = st->iret[mmu];
	}
	if (!stub) {
		tr_by_c(t, in);
		return;
	}
	tr_flags_to_slot(t);
	if (in->op == X86_OP_SYSCALL)
		emit_mov_imm(&t->e, S0, t->va + t->off[t->i] + in->len);
	emit_call(&t->e, stub);
	tr_step_record(t, in, REC_END, NULL);
	t->ended = true;
}

/* MOVS and STOS: a stub does the common case. */
static void string(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	unsigned lg = (unsigned)__builtin_ctz(in->opnd_bytes);

	if (t->mode != X86_MODE_64 || in->addr_bytes != 8 || in->seg == X86_FS ||
	    in->seg == X86_GS) {
		tr_by_c(t, in);
		return;
	}
	tr_flags_clobber(t);
	emit_call(e, t->so->cache->stub.string[t->key & SOFT_KEY_MMU][in->op == X86_OP_MOVS][lg]
					      [in->rep != 0]);
	emit8(e, 0xeb); /* over the record */
	emit8(e, sizeof(struct soft_rec));
	tr_step_record(t, in, 0, NULL);
}

/* ---- direct jumps ---- */

static uint64_t branch_target(const struct tr *t, const struct x86_insn *in)
{
	return tr_va(t, t->va + t->off[t->i] + in->len + (uint64_t)in->imm);
}

static void jcc(struct tr *t, const struct x86_insn *in)
{
	tr_flags_to_native(t);
	emit_align_rel32(&t->e, 2);

	uint8_t *site = emit_jcc32(&t->e, in->cond);

	tr_emit_edge(t, branch_target(t, in), t->live_taken[t->i], site);
	if (t->i + 1 < t->n) {
		t->keep_s0 = true;
		return;
	}
	tr_emit_edge(t, tr_va(t, t->va + t->off[t->i + 1]), t->live_next, NULL);
	t->ended = true;
}

/* ---- stack ---- */

static unsigned stack_bytes(const struct tr *t)
{
	return t->mode == X86_MODE_64 ? 8 : 4;
}

void tr_move_rsp(struct tr *t, int32_t by)
{
	emit_lea(&t->e, t->mode == X86_MODE_64, HR_GUEST_RSP, HR_GUEST_RSP, HR_NONE, 0, by);
}

/* S0: host address of the new top of stack. */
struct tr_cold *tr_push_slot(struct tr *t, const struct x86_insn *in)
{
	unsigned n = stack_bytes(t);

	tr_flags_clobber(t);
	t->likely_va = t->v->s.gpr[X86_RSP];

	uint8_t *retry = emit_here(&t->e);

	emit_lea(&t->e, n == 8, S0, HR_GUEST_RSP, HR_NONE, 0, -(int32_t)n);
	return tr_tlb_check(t, in, true, n, retry);
}

static void store_imm(struct tr *t, uint64_t value, int32_t disp)
{
	struct emit *e = &t->e;
	bool w = stack_bytes(t) == 8;

	if (w && (int64_t)value != (int32_t)value) {
		emit_mov_imm(e, S1, value);
		emit_rm(e, true, 0x89, S1, S0, HR_NONE, 0, disp);
		return;
	}
	emit_rm(e, w, 0xc7, 0, S0, HR_NONE, 0, disp);
	emit32(e, (uint32_t)value);
}

static void push_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	if (in->imm_bytes) {
		store_imm(t, (uint64_t)in->imm, disp);
	} else {
		unsigned r = tr_gpr(t, in->opreg != 0xff ? in->opreg : in->rm, S1);

		emit_rm(&t->e, stack_bytes(t) == 8, 0x89, r, S0, HR_NONE, 0, disp);
	}
	tr_move_rsp(t, -(int32_t)stack_bytes(t));
}

/* The operand waits in tr.tmp while the slot is looked for. */
static void push_mem(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	bool w = stack_bytes(t) == 8;
	struct tr_cold *c;

	(void)tr_memory_operand(t, in, false, stack_bytes(t));
	emit_rm(e, w, 0x8b, S0, S0, HR_NONE, 0, 0);
	emit_store_gs(e, true, S0, GS(tr.tmp));
	c = tr_push_slot(t, in);
	emit_load_gs(e, true, S1, GS(tr.tmp));
	emit_rm(e, w, 0x89, S1, S0, HR_NONE, 0, 0);
	tr_move_rsp(t, -(int32_t)stack_bytes(t));
	tr_done(t, c);
}

static void push(struct tr *t, const struct x86_insn *in)
{
	if (in->opnd_bytes != stack_bytes(t))
		tr_by_c(t, in);
	else if (in->has_mem)
		push_mem(t, in);
	else
		(void)tr_stack_access(t, in, X86_RSP, -(int32_t)stack_bytes(t), true, push_body);
}

static void pop_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	unsigned g = in->opreg != 0xff ? in->opreg : in->rm;
	unsigned hr = soft_host_reg(g);

	emit_rm(&t->e, stack_bytes(t) == 8, 0x8b, hr == HR_HOMED ? S1 : hr, S0, HR_NONE, 0, disp);
	if (hr == HR_HOMED)
		emit_store_gs(&t->e, true, S1, GS_GPR(g));
	if (g != X86_RSP)
		tr_move_rsp(t, (int32_t)stack_bytes(t));
}

static void pop(struct tr *t, const struct x86_insn *in)
{
	if (in->has_mem || in->opnd_bytes != stack_bytes(t))
		tr_by_c(t, in);
	else
		(void)tr_stack_access(t, in, X86_RSP, 0, false, pop_body);
}

static void leave_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	bool w = stack_bytes(t) == 8;

	(void)in;
	emit_rm(&t->e, w, 0x8b, S1, S0, HR_NONE, 0, disp);
	emit_lea(&t->e, w, HR_GUEST_RSP, HR_RBP, HR_NONE, 0, (int32_t)stack_bytes(t));
	emit_mov_rr(&t->e, w, HR_RBP, S1);
}

static void leave(struct tr *t, const struct x86_insn *in)
{
	if (in->opnd_bytes != stack_bytes(t))
		tr_by_c(t, in);
	else
		(void)tr_stack_access(t, in, X86_RBP, 0, false, leave_body);
}

/* ---- calls, returns, indirect jumps ---- */

static void call_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	store_imm(t, tr_va(t, t->va + t->off[t->i] + in->len), disp);
	tr_move_rsp(t, -(int32_t)stack_bytes(t));
}

static void call(struct tr *t, const struct x86_insn *in)
{
	(void)tr_stack_access(t, in, X86_RSP, -(int32_t)stack_bytes(t), true, call_body);
	tr_emit_edge(t, branch_target(t, in), t->live_taken[t->i], NULL);
	t->ended = true;
}

static void ret_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	emit_rm(&t->e, stack_bytes(t) == 8, 0x8b, S0, S0, HR_NONE, 0, disp);
	tr_move_rsp(t, (int32_t)(stack_bytes(t) + ((unsigned)in->imm & 0xffff)));
}

#define RET_MAX 32767u /* bytes off the stack: what struct soft_rec has room for */

static unsigned ret_bytes(const struct tr *t, const struct x86_insn *in)
{
	return stack_bytes(t) + ((unsigned)in->imm & 0xffff);
}

static void ret(struct tr *t, const struct x86_insn *in)
{
	struct tr_cold *c;

	if (ret_bytes(t, in) > RET_MAX) {
		tr_by_c(t, in);
		return;
	}
	tr_flags_clobber(t);
	c = tr_stack_access(t, in, X86_RSP, 0, false, ret_body);
	if (c)
		c->next = NULL; /* S0 is not where it went then */
	tr_look_up(t, REC_REDO, -(int)ret_bytes(t, in));
	t->ended = true;
}

static void jmp_ind(struct tr *t, const struct x86_insn *in)
{
	bool w = stack_bytes(t) == 8;

	if (in->has_mem) {
		(void)tr_memory_operand(t, in, false, stack_bytes(t));
		emit_rm(&t->e, w, 0x8b, S0, S0, HR_NONE, 0, 0);
	} else {
		tr_flags_clobber(t);
		unsigned hr = tr_gpr(t, in->rm, S0);

		if (hr != S0 || !w)
			emit_mov_rr(&t->e, w, S0, hr);
	}
	tr_look_up(t, REC_REDO, 0);
	t->ended = true;
}

static void call_ind(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	bool w = stack_bytes(t) == 8;

	if (in->has_mem) {
		(void)tr_memory_operand(t, in, false, stack_bytes(t));
		emit_rm(e, w, 0x8b, S0, S0, HR_NONE, 0, 0);
		emit_store_gs(e, true, S0, GS(tr.tmp));
	}
	(void)tr_push_slot(t, in);
	store_imm(t, tr_va(t, t->va + t->off[t->i] + in->len), 0);
	if (in->has_mem) {
		emit_load_gs(e, true, S0, GS(tr.tmp));
	} else {
		unsigned hr = tr_gpr(t, in->rm, S0);

		if (hr != S0 || !w)
			emit_mov_rr(e, w, S0, hr);
	}
	tr_move_rsp(t, -(int32_t)stack_bytes(t));
	tr_look_up(t, REC_REDO, (int)stack_bytes(t));
	t->ended = true;
}

/* ---- the rest ---- */

static void lea(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;
	unsigned hr = soft_host_reg(in->reg);
	unsigned dst = hr == HR_HOMED || in->opnd_bytes == 2 ? S0 : hr;

	tr_address(t, in, dst, false);
	/* A homed base is loaded into S0. */
	t->keep_s0 = dst != S0 && (in->base > X86_R15 || soft_host_reg(in->base) != HR_HOMED);
	if (in->opnd_bytes == 4) { /* cut; a 32-bit address is cut already */
		if (in->addr_bytes == 8)
			emit_mov_rr(e, false, dst, dst);
	} else if (in->opnd_bytes == 2) {
		unsigned r = tr_gpr(t, in->reg, S1);

		emit8(e, 0x66);
		emit_mov_rr(e, false, r, S0);
		dst = r;
	}
	if (hr == HR_HOMED)
		emit_store_gs(e, true, dst, GS_GPR(in->reg));
}

/* INC and DEC of a register in one byte (0x40 - 0x4f), which 64-bit code writes as FF /0, /1. */
static void inc_dec_short(struct tr *t, const struct x86_insn *in)
{
	struct emit *e = &t->e;

	if ((t->live & ~(unsigned)in->flags_write) != 0)
		tr_flags_to_native(t);
	unsigned r = soft_host_reg(in->opreg); /* 0..7: never homed */

	if (in->opnd_bytes == 2)
		emit8(e, 0x66);
	emit_rex(e, false, 0, 0, r);
	emit8(e, 0xff);
	emit8(e, 0xc0 | (in->op == X86_OP_DEC ? 8 : 0) | (r & 7));
	t->loc = LOC_NATIVE;
}

static bool is_high8(const struct x86_insn *in)
{
	bool reg = in->has_modrm && in->reg_kind == X86_RK_GPR && in->reg_bytes == 1 &&
		   x86_reg8_high(in, in->reg);
	bool rm = in->has_modrm && !in->has_mem && in->rm_kind == X86_RK_GPR && in->rm_bytes == 1 &&
		  x86_reg8_high(in, in->rm);

	return reg || rm;
}

/* AH, CH, DH, BH cannot be encoded beside a register that needs REX. */
static bool high8_conflict(const struct x86_insn *in)
{
	if (!is_high8(in))
		return false;
	if (in->has_mem)
		return true;
	/* No REX means registers 0-7; only RSP is elsewhere on the host. */
	return in->reg_kind == X86_RK_GPR && in->reg_bytes > 1 && in->reg == X86_RSP;
}

/* The instruction itself; a memory operand is at [S0 + disp]. */
static void native_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	struct emit *e = &t->e;
	unsigned reg = in->reg, rm = in->rm;
	bool reg_homed = false, rm_homed = false;
	unsigned opreg = in->has_modrm ? 0xff : in->opreg;

	if (in->has_mem)
		rm = S0;
	if (in->flags_read || (in->flags_may_write && (t->live & ~(unsigned)in->flags_write)))
		tr_flags_to_native(t);
	if (opreg != 0xff) {
		/* A high byte register (mov ah, imm) is its full register for the encoder. */
		bool high = in->opnd_bytes == 1 && x86_reg8_high(in, opreg);

		reg_homed = soft_host_reg(opreg) == HR_HOMED;
		reg = high ? opreg : tr_gpr(t, opreg, S1);
	} else if (in->has_modrm && in->reg_kind == X86_RK_GPR) {
		bool high = in->reg_bytes == 1 && x86_reg8_high(in, in->reg);

		reg_homed = soft_host_reg(in->reg) == HR_HOMED;
		reg = high ? in->reg : tr_gpr(t, in->reg, S1);
	}
	if (in->has_modrm && !in->has_mem && in->rm_kind == X86_RK_GPR) {
		bool high = in->rm_bytes == 1 && x86_reg8_high(in, in->rm);

		rm_homed = soft_host_reg(in->rm) == HR_HOMED;
		rm = high ? in->rm : tr_gpr(t, in->rm, S0);
	}
	bool encoded = soft_emit_insn(e, in, reg, rm, 0, disp);

	ASSERT(encoded || e->full);
	if (reg_homed && (opreg != 0xff ? in->opreg_acc : in->reg_acc) & X86_ACC_W)
		emit_store_gs(e, true, S1, GS_GPR(opreg != 0xff ? opreg : in->reg));
	if (rm_homed && in->rm_acc & X86_ACC_W)
		emit_store_gs(e, true, S0, GS_GPR(in->rm));
	if (in->flags_may_write)
		t->loc = LOC_NATIVE;
	t->keep_s0 = !rm_homed;
}

static void native(struct tr *t, const struct x86_insn *in)
{
	if (in->has_mem)
		(void)tr_operand(t, in, native_body);
	else
		native_body(t, in, 0);
}

static bool must_be_by_c(const struct tr *t, const struct x86_insn *in)
{
	if ((in->attr & (X86_A_X87 | X86_A_MMX | X86_A_SSE)) && (t->key & SOFT_KEY_FP_SLOW))
		return true;
	if ((in->attr & X86_A_AVX) && !(t->key & SOFT_KEY_AVX))
		return true;
	if (tr_counts(t) && (in->op == X86_OP_RDRAND || in->op == X86_OP_RDSEED))
		return true; /* for both sides the same number */
	if (in->has_mem && in->addr_bytes == 2)
		return true;
	/* FS and GS are not flat; CS cannot be written. */
	if (in->has_mem && t->mode == X86_MODE_32 &&
	    (in->seg == X86_FS || in->seg == X86_GS || in->seg == X86_CS))
		return true;
	if (in->op == X86_OP_PAUSE && t->so->n_vcpus > 1)
		return true;
	return (in->attr & X86_A_BRANCH) && in->opnd_bytes != stack_bytes(t);
}

static void emit_one(struct tr *t, const struct x86_insn *in)
{
	if (must_be_by_c(t, in)) {
		tr_by_c(t, in);
		return;
	}
	if (tr_inline_system(t, in)) {
		tr_emit_system(t, in);
		return;
	}
	switch (in->op) {
	case X86_OP_LEA: lea(t, in); return;
	case X86_OP_NOP:
	case X86_OP_PREFETCH: t->keep_s0 = true; return;
	case X86_OP_PUSH: push(t, in); return;
	case X86_OP_POP: pop(t, in); return;
	case X86_OP_LEAVE: leave(t, in); return;
	case X86_OP_MOVS:
	case X86_OP_STOS: string(t, in); return;
	case X86_OP_SYSCALL:
	case X86_OP_SYSRET:
	case X86_OP_IRET: flow(t, in); return;
	case X86_OP_JMP:
		tr_emit_edge(t, branch_target(t, in), t->live_taken[t->i], NULL);
		t->ended = true;
		return;
	case X86_OP_JCC: jcc(t, in); return;
	case X86_OP_CALL: call(t, in); return;
	case X86_OP_RET: ret(t, in); return;
	case X86_OP_JMP_IND: jmp_ind(t, in); return;
	case X86_OP_CALL_IND: call_ind(t, in); return;
	case X86_OP_INC:
	case X86_OP_DEC:
		if (!in->has_modrm) {
			inc_dec_short(t, in);
			return;
		}
		break;
	default: break;
	}
	if (!(in->attr & X86_A_NATIVE) || high8_conflict(in))
		tr_by_c(t, in);
	else if (in->vex)
		tr_vex(t, in);
	else
		native(t, in);
}

void tr_emit_one(struct tr *t, const struct x86_insn *in)
{
	t->keep_s0 = false;
	emit_one(t, in);
	if (!t->keep_s0)
		t->s0_group = 0;
}

void tr_count(struct tr *t, int n)
{
	struct emit *e = &t->e;

	if (likely(!tr_counts(t)) || n == 0)
		return;
	emit_load_gs(e, true, S1, GS(tr.count));
	emit_lea(e, true, S1, S1, HR_NONE, 0, n);
	emit_store_gs(e, true, S1, GS(tr.count));
}

/* Follows emit_one(). */
bool tr_may_leave(const struct tr *t, const struct x86_insn *in)
{
	if (must_be_by_c(t, in))
		return true;
	if (tr_inline_system(t, in))
		return in->op != X86_OP_RDTSC && in->op != X86_OP_RDTSCP &&
		       in->op != X86_OP_SWAPGS && in->op != X86_OP_CLD && in->op != X86_OP_STD &&
		       in->op != X86_OP_MOV_FROM_CR;
	switch (in->op) {
	case X86_OP_PUSH:
	case X86_OP_POP: return in->has_mem || in->opnd_bytes != stack_bytes(t);
	case X86_OP_LEAVE: return in->opnd_bytes != stack_bytes(t);
	case X86_OP_RET: return ret_bytes(t, in) > RET_MAX;
	case X86_OP_LEA:
	case X86_OP_NOP:
	case X86_OP_PREFETCH:
	case X86_OP_JMP:
	case X86_OP_JCC:
	case X86_OP_CALL:
	case X86_OP_JMP_IND:
	case X86_OP_CALL_IND: return false;
	case X86_OP_MOVS:
	case X86_OP_STOS: return true;
	default:
		return !(in->attr & X86_A_NATIVE) || high8_conflict(in) ||
		       (in->vex && tr_vex_by_c(in));
	}
}
