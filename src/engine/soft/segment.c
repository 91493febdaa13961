/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.c - descriptors and segment registers, LDT and TSS, and the stacks of far transfers
 * (SDM vol. 3 §3.4, §5, §8.2).
 *
 * Theory of operation. Everything that reads a descriptor goes through sys_desc_read(). Loads check in the
 * order of the SDM's pseudo-code and commit at the end, so that a fault leaves the registers as they were.
 * SS.attr's DPL is the CPL; it is kept also when SS is null in 64-bit mode.
 */
#include "engine/soft/sys.h"

/* ---- Descriptors ---- */

bool sys_desc_read(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, bool wide)
{
	unsigned index = sel & 0xfff8u, last = index + (wide ? 15 : 7);
	uint64_t base = v->s.gdt.base;

	if (sel & 4) {
		if (!(v->s.ldt.attr & X86_ATTR_P) || last > v->s.ldt.limit)
			return false;
		base = v->s.ldt.base;
	} else if (last > v->s.gdt.limit) {
		return false;
	}
	d->addr = base + index;
	if (!sys_long(v))
		d->addr &= 0xffffffffu;
	d->raw = soft_read_sys(v, d->addr, 8);
	d->high = wide ? soft_read_sys(v, d->addr + 8, 8) : 0;
	d->attr = (uint16_t)(d->raw >> 40) & 0xf0ff;
	d->dpl = X86_ATTR_DPL(d->attr);
	return true;
}

void sys_desc_mark_accessed(struct soft_vcpu *v, struct sys_desc *d)
{
	if (d->attr & X86_ATTR_ACCESSED)
		return;
	d->attr |= X86_ATTR_ACCESSED;
	soft_write_sys(v, d->addr + 5, d->attr & 0xff, 1);
}

void sys_seg_set(struct x86_seg *seg, uint16_t sel, const struct sys_desc *d)
{
	uint64_t raw = d->raw;

	seg->sel = sel;
	seg->attr = d->attr;
	seg->base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000) | d->high << 32;
	seg->limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000));
	if (d->attr & X86_ATTR_G)
		seg->limit = seg->limit << 12 | 0xfff;
}

/* ---- Segment registers ---- */

void sys_load_seg_real(struct soft_vcpu *v, unsigned sreg, uint16_t sel)
{
	struct x86_seg *seg = &v->s.seg[sreg];

	seg->sel = sel;
	seg->base = (uint64_t)sel << 4;
	if (sreg != X86_CS || !(seg->attr & X86_ATTR_P))
		seg->attr = (seg->attr & (X86_ATTR_DB | X86_ATTR_G)) | X86_ATTR_P | X86_ATTR_S |
			    X86_ATTR_RW | X86_ATTR_ACCESSED;
}

static void load_null(struct soft_vcpu *v, unsigned sreg, uint16_t sel)
{
	struct x86_seg *seg = &v->s.seg[sreg];

	/* CPUID 0x80000021.EAX[6]: a null selector clears the base. */
	seg->sel = sel;
	seg->base = 0;
	seg->limit = 0;
	seg->attr = sreg == X86_SS ? (uint16_t)(v->cpl << X86_ATTR_DPL_SHIFT) : 0;
}

void sys_load_seg(struct soft_vcpu *v, unsigned sreg, uint16_t sel)
{
	unsigned cpl = v->cpl, rpl = sel & 3;
	struct sys_desc d;

	if (!sys_protected(v)) {
		sys_load_seg_real(v, sreg, sel);
		if (sreg == X86_SS)
			soft_mode_changed(v);
		return;
	}
	if (!(sel & SYS_SEL_INDEX)) {
		if (sreg == X86_SS && (v->mode != X86_MODE_64 || cpl == 3 || rpl != cpl))
			sys_gp0(v);
		load_null(v, sreg, sel);
		return;
	}
	if (!sys_desc_read(v, sel, &d, false))
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	if (sreg == X86_SS) {
		if (rpl != cpl || !sys_is_writable_data(&d) || d.dpl != cpl)
			soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
		if (!(d.attr & X86_ATTR_P))
			soft_raise_err(v, X86_EXC_SS, sel & SYS_SEL_INDEX);
	} else {
		bool code = d.attr & X86_ATTR_CODE;

		if (!(d.attr & X86_ATTR_S) || (code && !(d.attr & X86_ATTR_RW)))
			soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
		if (!(code && sys_is_conforming(&d)) && (rpl > d.dpl || cpl > d.dpl))
			soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
		if (!(d.attr & X86_ATTR_P))
			soft_raise_err(v, X86_EXC_NP, sel & SYS_SEL_INDEX);
	}
	sys_desc_mark_accessed(v, &d);
	sys_seg_set(&v->s.seg[sreg], sel, &d);
	if (sreg == X86_SS)
		soft_mode_changed(v);
}

void sys_set_cs(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, unsigned cpl)
{
	sys_desc_mark_accessed(v, d);
	sys_seg_set(&v->s.seg[X86_CS], (sel & SYS_SEL_INDEX) | (uint16_t)cpl, d);
}

void sys_set_null_ss(struct soft_vcpu *v, unsigned cpl)
{
	struct x86_seg *ss = &v->s.seg[X86_SS];

	ss->sel = (uint16_t)cpl;
	ss->attr = (uint16_t)(cpl << X86_ATTR_DPL_SHIFT);
	ss->base = 0;
	ss->limit = 0;
}

void sys_check_target(struct soft_vcpu *v, const struct sys_desc *d, uint64_t rip, uint32_t error)
{
	struct x86_seg seg;

	if (sys_long(v) && (d->attr & X86_ATTR_L)) {
		if (!mmu_canonical(rip))
			soft_raise_err(v, X86_EXC_GP, error);
		return;
	}
	sys_seg_set(&seg, 0, d);
	if (rip > seg.limit)
		soft_raise_err(v, X86_EXC_GP, error);
}

void sys_drop_segs(struct soft_vcpu *v, unsigned new_cpl)
{
	static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct x86_seg *seg = &v->s.seg[data[i]];
		bool conforming = (seg->attr & X86_ATTR_CODE) && (seg->attr & X86_ATTR_CONFORMING);

		if ((seg->attr & X86_ATTR_P) && !conforming && X86_ATTR_DPL(seg->attr) < new_cpl) {
			seg->sel = 0;
			seg->attr = 0;
		}
	}
}

/* ---- Stacks ---- */

static bool stack_ok(const struct sys_stack *st, uint64_t off, unsigned size)
{
	uint64_t last = off + size - 1;

	if (st->flat)
		return mmu_canonical(off) && mmu_canonical(last);
	if (st->seg.attr & X86_ATTR_EXPAND_DOWN)
		return off > st->seg.limit && last <= st->mask;
	return last <= st->seg.limit;
}

void sys_stack_current(struct soft_vcpu *v, struct sys_stack *st, uint32_t error)
{
	st->sp = v->s.gpr[X86_RSP];
	st->seg = v->s.seg[X86_SS];
	st->flat = v->mode == X86_MODE_64;
	st->mask = st->flat ? ~UINT64_C(0) : st->seg.attr & X86_ATTR_DB ? 0xffffffffu : 0xffffu;
	st->kind = v->mmu;
	st->error = error;
}

static uint64_t stack_linear(struct soft_vcpu *v, const struct sys_stack *st, uint64_t off,
			     unsigned size)
{
	if (!stack_ok(st, off, size))
		soft_raise_err(v, X86_EXC_SS, st->error);
	return st->flat ? off : (st->seg.base + off) & 0xffffffffu;
}

/* A 16-bit stack keeps the upper half of ESP; a 32-bit one clears that of RSP. */
static void stack_move(struct sys_stack *st, uint64_t sp)
{
	st->sp = st->mask == 0xffff ? (st->sp & ~UINT64_C(0xffff)) | (sp & 0xffff) : sp & st->mask;
}

void sys_stack_push_low(struct soft_vcpu *v, struct sys_stack *st, uint64_t value, unsigned size,
			unsigned slot)
{
	uint64_t sp = (st->sp - slot) & st->mask;

	mmu_write(v, st->kind, stack_linear(v, st, sp, size), sys_cut(value, size), size);
	stack_move(st, sp);
}

void sys_stack_push(struct soft_vcpu *v, struct sys_stack *st, uint64_t value, unsigned size)
{
	sys_stack_push_low(v, st, value, size, size);
}

uint64_t sys_stack_pop(struct soft_vcpu *v, struct sys_stack *st, unsigned size)
{
	uint64_t sp = st->sp & st->mask;
	uint64_t value = mmu_read(v, st->kind, stack_linear(v, st, sp, size), size);

	stack_move(st, sp + size);
	return value;
}

/* ---- The TSS ---- */

void sys_tss_stack(struct soft_vcpu *v, unsigned cpl, uint16_t *ss, uint64_t *sp, uint32_t ext)
{
	bool wide = v->s.tr.attr & 8;
	unsigned off = wide ? 4 + cpl * 8 : 2 + cpl * 4, last = off + (wide ? 5 : 3);

	if (!(v->s.tr.attr & X86_ATTR_P) || last > v->s.tr.limit)
		soft_raise_err(v, X86_EXC_TS, (v->s.tr.sel & SYS_SEL_INDEX) | ext);
	*sp = soft_read_sys(v, (v->s.tr.base + off) & 0xffffffffu, wide ? 4 : 2);
	*ss = (uint16_t)soft_read_sys(v, (v->s.tr.base + off + (wide ? 4 : 2)) & 0xffffffffu, 2);
}

uint64_t sys_tss_rsp(struct soft_vcpu *v, unsigned off, uint32_t ext)
{
	uint64_t rsp;

	if (!(v->s.tr.attr & X86_ATTR_P) || off + 7 > v->s.tr.limit)
		soft_raise_err(v, X86_EXC_TS, (v->s.tr.sel & SYS_SEL_INDEX) | ext);
	rsp = soft_read_sys(v, v->s.tr.base + off, 8);
	if (!mmu_canonical(rsp))
		soft_raise_err(v, X86_EXC_SS, ext);
	return rsp;
}

void sys_check_new_ss(struct soft_vcpu *v, uint16_t ss, unsigned cpl, struct sys_desc *d,
		      uint32_t ext)
{
	uint32_t error = (ss & SYS_SEL_INDEX) | ext;

	if (!(ss & SYS_SEL_INDEX))
		soft_raise_err(v, X86_EXC_TS, ext);
	if (!sys_desc_read(v, ss, d, false))
		soft_raise_err(v, X86_EXC_TS, error);
	if ((ss & 3u) != cpl || d->dpl != cpl || !sys_is_writable_data(d))
		soft_raise_err(v, X86_EXC_TS, error);
	if (!(d->attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_SS, error);
}

/* ---- Instructions ---- */

void soft_op_sys_mov_from_sreg(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint16_t sel = v->s.seg[in->modrm >> 3 & 7].sel;

	if (in->has_mem)
		sys_write_mem(v, in, 0, sel, 2);
	else
		sys_write_gpr(v, in->rm, sel, in->opnd_bytes);
}

static void movss_shadow(struct soft_vcpu *v)
{
	v->s.ev.movss_shadow = true;
}

void soft_op_sys_mov_to_sreg(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned sreg = in->modrm >> 3 & 7;

	if (sreg == X86_CS || sreg >= X86_SREGS)
		soft_raise(v, X86_EXC_UD);
	sys_load_seg(v, sreg, (uint16_t)sys_read_rm(v, in, 2));
	if (sreg == X86_SS)
		movss_shadow(v);
}

/* 06 0e 16 1e in the one-byte map, 0f a0 and 0f a8. */
static unsigned pushed_sreg(const struct x86_insn *in)
{
	return in->map == X86_MAP_1 ? in->opcode >> 3 & 3 : in->opcode & 8 ? X86_GS : X86_FS;
}

void soft_op_sys_push_sreg(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint16_t sel = v->s.seg[pushed_sreg(in)].sel;
	struct sys_stack st;

	sys_stack_current(v, &st, 0);
	/* Of a slot of 32 bits the upper half stays on Intel (SDM vol. 2, "PUSH"); one of 64 is written (seen on a Xeon). */
	if (soft_intel(v->soft) && in->opnd_bytes == 4)
		sys_stack_push_low(v, &st, sel, 2, 4);
	else
		sys_stack_push(v, &st, sel, in->opnd_bytes);
	sys_stack_commit(v, &st);
}

void soft_op_sys_pop_sreg(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned sreg = pushed_sreg(in);
	struct sys_stack st;

	sys_stack_current(v, &st, 0);
	sys_load_seg(v, sreg, (uint16_t)sys_stack_pop(v, &st, in->opnd_bytes));
	sys_stack_commit(v, &st);
	if (sreg == X86_SS)
		movss_shadow(v);
}

static void load_far_pointer(struct soft_vcpu *v, const struct x86_insn *in, unsigned sreg)
{
	uint64_t off = sys_read_mem(v, in, 0, in->opnd_bytes);
	uint16_t sel = (uint16_t)sys_read_mem(v, in, in->opnd_bytes, 2);

	sys_load_seg(v, sreg, sel);
	sys_write_gpr(v, in->reg, off, in->opnd_bytes);
}

void soft_op_sys_les(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_far_pointer(v, in, X86_ES);
}

void soft_op_sys_lds(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_far_pointer(v, in, X86_DS);
}

void soft_op_sys_lss(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_far_pointer(v, in, X86_SS);
}

void soft_op_sys_lfs(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_far_pointer(v, in, X86_FS);
}

void soft_op_sys_lgs(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_far_pointer(v, in, X86_GS);
}

void soft_op_sys_lldt(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool wide = sys_long(v);
	struct sys_desc d;
	uint16_t sel;

	if (!sys_protected(v))
		soft_raise(v, X86_EXC_UD);
	sys_need_cpl0(v);
	sel = (uint16_t)sys_read_rm(v, in, 2);
	if (!(sel & SYS_SEL_INDEX)) {
		v->s.ldt.sel = sel;
		v->s.ldt.attr = 0;
		v->s.ldt.base = 0;
		v->s.ldt.limit = 0;
		return;
	}
	if ((sel & 4) || !sys_desc_read(v, sel, &d, wide) ||
	    (d.attr & (X86_ATTR_S | X86_ATTR_TYPE)) != SYS_TYPE_LDT)
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	if (!(d.attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, sel & SYS_SEL_INDEX);
	sys_seg_set(&v->s.ldt, sel, &d);
}

void soft_op_sys_ltr(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool wide = sys_long(v);
	struct sys_desc d;
	uint16_t sel;
	unsigned type;

	if (!sys_protected(v))
		soft_raise(v, X86_EXC_UD);
	sys_need_cpl0(v);
	sel = (uint16_t)sys_read_rm(v, in, 2);
	if (!(sel & SYS_SEL_INDEX))
		sys_gp0(v);
	if ((sel & 4) || !sys_desc_read(v, sel, &d, wide))
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	type = d.attr & (X86_ATTR_S | X86_ATTR_TYPE);
	if (!(type == SYS_TYPE_TSS32 || (type == SYS_TYPE_TSS16 && !wide)) || (d.high >> 40 & 0x1f))
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	if (!(d.attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, sel & SYS_SEL_INDEX);
	d.attr |= 2; /* busy */
	soft_write_sys(v, d.addr + 5, d.attr & 0xff, 1);
	sys_seg_set(&v->s.tr, sel, &d);
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

/* May the current privilege see the descriptor at all (SDM vol. 3 §5.10)? */
static bool visible(struct soft_vcpu *v, uint16_t sel, const struct sys_desc *d)
{
	if (sys_is_code(d) && sys_is_conforming(d))
		return true;
	return d->dpl >= v->cpl && d->dpl >= (sel & 3u);
}

static bool look(struct soft_vcpu *v, const struct x86_insn *in, uint16_t *sel, struct sys_desc *d)
{
	if (!sys_protected(v))
		soft_raise(v, X86_EXC_UD);
	*sel = (uint16_t)sys_read_rm(v, in, 2);
	return (*sel & SYS_SEL_INDEX) && sys_desc_read(v, *sel, d, false);
}

static void set_zf(struct soft_vcpu *v, bool zf)
{
	v->s.rflags = zf ? v->s.rflags | X86_ZF : v->s.rflags & ~(uint64_t)X86_ZF;
}

void soft_op_sys_lar(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct sys_desc d;
	uint16_t sel;
	bool ok = look(v, in, &sel, &d);

	if (ok && !(d.attr & X86_ATTR_S)) {
		unsigned valid = sys_long(v) ? 0x1a04 :
					       0x1a3e; /* by type: long mode LDT, TSS, call gate */

		ok = valid >> (d.attr & X86_ATTR_TYPE) & 1;
	}
	ok = ok && visible(v, sel, &d);
	if (ok)
		sys_write_gpr(v, in->reg, d.raw >> 32 & 0x00ffff00, in->opnd_bytes);
	set_zf(v, ok);
}

void soft_op_sys_lsl(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct sys_desc d;
	struct x86_seg seg;
	uint16_t sel;
	bool ok = look(v, in, &sel, &d);

	if (ok && !(d.attr & X86_ATTR_S)) {
		unsigned valid = sys_long(v) ? 0x0a04 : 0x0a0e;

		ok = valid >> (d.attr & X86_ATTR_TYPE) & 1;
	}
	ok = ok && visible(v, sel, &d);
	if (ok) {
		sys_seg_set(&seg, sel, &d);
		sys_write_gpr(v, in->reg, seg.limit, in->opnd_bytes);
	}
	set_zf(v, ok);
}

void soft_op_sys_verr(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct sys_desc d;
	uint16_t sel;
	bool ok = look(v, in, &sel, &d);

	ok = ok && (d.attr & X86_ATTR_S) && visible(v, sel, &d) &&
	     (!(d.attr & X86_ATTR_CODE) || (d.attr & X86_ATTR_RW));
	set_zf(v, ok);
}

void soft_op_sys_verw(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct sys_desc d;
	uint16_t sel;
	bool ok = look(v, in, &sel, &d);

	ok = ok && sys_is_writable_data(&d) && visible(v, sel, &d);
	set_zf(v, ok);
}

void soft_op_sys_arpl(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint16_t dst, src;

	if (!sys_protected(v) || v->mode == X86_MODE_64)
		soft_raise(v, X86_EXC_UD);
	dst = (uint16_t)sys_read_rm(v, in, 2);
	src = (uint16_t)v->s.gpr[in->reg];
	if ((dst & 3) < (src & 3)) {
		sys_write_rm(v, in, (dst & ~3u) | (src & 3), 2);
		set_zf(v, true);
	} else {
		set_zf(v, false);
	}
}
