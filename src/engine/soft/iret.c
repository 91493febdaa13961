/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iret.c - far returns: IRET and RET FAR, in every mode, to the same or to less privilege
 * (SDM vol. 2, IRET and RET; vol. 3 §6.14.3).
 *
 * Theory of operation. Both pop an instruction pointer and CS (IRET: flags too), and a stack pointer and SS
 * when the return goes to less privilege; IRET in 64-bit mode always pops them. All is popped and checked
 * before the first register changes.
 *
 * Not modelled: returns by task switch (NT set outside of IA-32e mode) and to virtual-8086 mode; both get
 * #GP(0).
 */
#include "engine/soft/sys.h"

/* What was popped. */
struct frame {
	uint64_t rip, rsp;
	uint16_t cs, ss;
	bool has_stack;
	struct sys_desc cs_desc, ss_desc;
};

static bool null_sel(uint16_t sel)
{
	return !(sel & SYS_SEL_INDEX);
}

static void check_cs(struct soft_vcpu *v, struct frame *f)
{
	struct sys_desc *d = &f->cs_desc;
	unsigned rpl = f->cs & 3;

	if (null_sel(f->cs))
		sys_gp0(v);
	if (!sys_desc_read(v, f->cs, d, false) || !sys_is_code(d) || rpl < v->cpl ||
	    (sys_is_conforming(d) ? d->dpl > rpl : d->dpl != rpl) ||
	    (sys_long(v) && (d->attr & X86_ATTR_L) && (d->attr & X86_ATTR_DB)))
		soft_raise_err(v, X86_EXC_GP, f->cs & SYS_SEL_INDEX);
	if (!(d->attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, f->cs & SYS_SEL_INDEX);
}

static void check_ss(struct soft_vcpu *v, struct frame *f)
{
	struct sys_desc *d = &f->ss_desc;
	unsigned rpl = f->cs & 3;

	if (null_sel(f->ss)) {
		if (!sys_long(v) || !(f->cs_desc.attr & X86_ATTR_L) || rpl == 3 ||
		    (f->ss & 3u) != rpl)
			sys_gp0(v);
		return;
	}
	if (!sys_desc_read(v, f->ss, d, false) || (f->ss & 3u) != rpl || !sys_is_writable_data(d) ||
	    d->dpl != rpl)
		soft_raise_err(v, X86_EXC_GP, f->ss & SYS_SEL_INDEX);
	if (!(d->attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_SS, f->ss & SYS_SEL_INDEX);
}

/* Checks f and makes it the current context. Flags stay; `release` bytes go off the new stack. */
static void return_to(struct soft_vcpu *v, struct frame *f, const struct sys_stack *st,
		      unsigned release)
{
	unsigned old_cpl = v->cpl, cpl = f->cs & 3;
	struct sys_stack outer;

	check_cs(v, f);
	if (f->has_stack)
		check_ss(v, f);
	sys_check_target(v, &f->cs_desc, f->rip, 0);

	/* Marking the descriptors may still fault: do both before any register changes. */
	sys_desc_mark_accessed(v, &f->cs_desc);
	if (f->has_stack && !null_sel(f->ss))
		sys_desc_mark_accessed(v, &f->ss_desc);

	sys_seg_set(&v->s.seg[X86_CS], f->cs, &f->cs_desc);
	if (!f->has_stack) {
		sys_stack_commit(v, st);
	} else {
		if (null_sel(f->ss))
			sys_set_null_ss(v, cpl);
		else
			sys_seg_set(&v->s.seg[X86_SS], f->ss, &f->ss_desc);
		soft_mode_changed(v);
		sys_stack_current(v, &outer, 0);
		if (outer.mask == 0xffff) /* a 16-bit stack: the upper bits of ESP stay */
			v->s.gpr[X86_RSP] = (v->s.gpr[X86_RSP] & 0xffff0000u) |
					    ((f->rsp + release) & 0xffff);
		else
			v->s.gpr[X86_RSP] = (f->rsp + release) & outer.mask;
	}
	if (cpl > old_cpl)
		sys_drop_segs(v, cpl);
	v->next_rip = f->rip;
	soft_mode_changed(v);
}

/* ---- RET FAR ---- */

static void ret_far_real(struct soft_vcpu *v, unsigned size, unsigned release)
{
	struct sys_stack st;
	uint64_t rip;
	uint16_t cs;

	sys_stack_current(v, &st, 0);
	rip = sys_stack_pop(v, &st, size);
	cs = (uint16_t)sys_stack_pop(v, &st, size);
	if (rip > v->s.seg[X86_CS].limit)
		sys_gp0(v);
	st.sp = (st.sp & ~st.mask) | ((st.sp + release) & st.mask);
	sys_load_seg_real(v, X86_CS, cs);
	sys_stack_commit(v, &st);
	v->next_rip = rip;
	soft_mode_changed(v);
}

void soft_op_sys_ret_far(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes, release = in->imm_bytes ? (unsigned)in->imm & 0xffff : 0;
	struct sys_stack st;
	struct frame f;

	if (!sys_protected(v)) {
		ret_far_real(v, size, release);
		return;
	}
	sys_stack_current(v, &st, 0);
	f.rip = sys_stack_pop(v, &st, size);
	f.cs = (uint16_t)sys_stack_pop(v, &st, size);
	f.has_stack = (f.cs & 3u) > v->cpl;
	st.sp = (st.sp & ~st.mask) | ((st.sp + release) & st.mask);
	if (f.has_stack) {
		f.rsp = sys_stack_pop(v, &st, size);
		f.ss = (uint16_t)sys_stack_pop(v, &st, size);
	}
	return_to(v, &f, &st, release);
}

/* ---- IRET ---- */

/* Flags that IRET at privilege cpl takes from the stack (SDM vol. 2, IRET). */
static uint64_t iret_flags_mask(const struct soft_vcpu *v, unsigned cpl, unsigned size)
{
	uint64_t mask = X86_STATUS_FLAGS | X86_TF | X86_DF | X86_NT;

	if (size > 2)
		mask |= X86_RF | X86_AC | X86_ID;
	if (cpl <= sys_iopl(v))
		mask |= X86_IF;
	if (cpl == 0)
		mask |= X86_IOPL | (size > 2 ? X86_VIF | X86_VIP : 0);
	return mask;
}

static void iret_real(struct soft_vcpu *v, unsigned size)
{
	uint64_t mask = iret_flags_mask(v, 0, size) & ~(uint64_t)(X86_VIF | X86_VIP), rip, flags;
	struct sys_stack st;
	uint16_t cs;

	sys_stack_current(v, &st, 0);
	rip = sys_stack_pop(v, &st, size);
	cs = (uint16_t)sys_stack_pop(v, &st, size);
	flags = sys_stack_pop(v, &st, size);
	if (rip > v->s.seg[X86_CS].limit)
		sys_gp0(v);
	sys_load_seg_real(v, X86_CS, cs);
	sys_stack_commit(v, &st);
	v->next_rip = rip;
	v->s.rflags = (v->s.rflags & ~mask) | (flags & mask) | X86_F1;
	v->s.ev.nmi_masked = false;
	soft_mode_changed(v);
}

void soft_op_sys_iret(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opnd_bytes;
	struct sys_stack st;
	struct frame f;
	uint64_t mask, flags;
	bool plain;

	if (!sys_protected(v)) {
		iret_real(v, size);
		return;
	}
	/* NMIs are let in again even if the instruction faults (SDM vol. 3 §6.7.1). */
	v->s.ev.nmi_masked = false;
	if (v->s.rflags & X86_NT)
		sys_gp0(v);
	sys_stack_current(v, &st, 0);
	f.rip = sys_stack_pop(v, &st, size);
	f.cs = (uint16_t)sys_stack_pop(v, &st, size);
	flags = sys_stack_pop(v, &st, size);
	if ((flags & X86_VM) && size > 2 && v->cpl == 0 && !sys_long(v))
		sys_gp0(v);
	f.has_stack = v->mode == X86_MODE_64 || (f.cs & 3u) > v->cpl;
	if (f.has_stack) {
		f.rsp = sys_stack_pop(v, &st, size);
		f.ss = (uint16_t)sys_stack_pop(v, &st, size);
	}
	mask = iret_flags_mask(v, v->cpl, size);
	plain = size == 8 && v->mode == X86_MODE_64 && v->cpl == 0;
	return_to(v, &f, &st, 0);
	v->s.rflags = (v->s.rflags & ~mask) | (flags & mask) | X86_F1;
	soft_mode_changed(v);
	if (plain)
		soft_flow_iret(v, f.cs, f.ss);
}
