/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_flow.c - control transfers that may change privilege: far JMP and CALL, call gates, SYSCALL and
 * SYSENTER with their returns, SWAPGS (SDM vol. 2; AMD APM vol. 3 where vendors differ).
 *
 * Vendors differ in SYSCALL outside of 64-bit mode (AMD only), SYSENTER in IA-32e mode (Intel only) and
 * where SYSRET to a bad address faults (Intel: before the change of privilege). The guest sees the host's
 * vendor, and gets its behaviour.
 *
 * Not modelled: jumps and calls to a TSS or a task gate (hardware task switch); they get #GP with the selector.
 */
#include "engine/soft/sys.h"

/* ---- Far JMP and CALL ---- */

/* Checks a code segment that a far jump, call or gate leads to (`gate`: RPL does not count). */
static void check_code(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, bool gate,
		       bool to_inner)
{
	bool bad = !sys_is_code(d);

	if (sys_is_conforming(d) || to_inner)
		bad = bad || d->dpl > v->cpl;
	else
		bad = bad || d->dpl != v->cpl || (!gate && (sel & 3u) > v->cpl);
	if (sys_long(v)) {
		if ((d->attr & X86_ATTR_L) && (d->attr & X86_ATTR_DB))
			bad = true;
		if (gate && !(d->attr & X86_ATTR_L))
			bad = true;
	}
	if (bad)
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	if (!(d->attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, sel & SYS_SEL_INDEX);
}

static void enter_code(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, unsigned cpl,
		       uint64_t rip)
{
	sys_set_cs(v, sel, d, cpl);
	v->next_rip = rip;
	soft_mode_changed(v);
}

/* Through a call gate to more privilege: switches stacks, copies parameters (SDM vol. 3 §5.8.5). */
static void call_inner(struct soft_vcpu *v, const struct sys_desc *gate, uint16_t sel,
		       struct sys_desc *cs, uint64_t rip, unsigned size)
{
	struct sys_stack old, st;
	struct sys_desc ss;
	unsigned cpl = cs->dpl, count = size == 8 ? 0 : gate->raw >> 32 & 0x1f;
	uint16_t new_ss = 0;
	uint32_t param[31];

	sys_stack_current(v, &old, 0);
	st = old;
	st.kind = mmu_sys_kind(v);
	if (size == 8) {
		st.sp = sys_tss_rsp(v, 4 + cpl * 8, 0);
		st.flat = true;
		st.mask = ~UINT64_C(0);
	} else {
		sys_tss_stack(v, cpl, &new_ss, &st.sp, 0);
		sys_check_new_ss(v, new_ss, cpl, &ss, 0);
		sys_seg_set(&st.seg, new_ss, &ss);
		st.mask = ss.attr & X86_ATTR_DB ? 0xffffffffu : 0xffffu;
		st.error = new_ss & SYS_SEL_INDEX;
	}
	for (unsigned i = 0; i < count; i++)
		param[i] = (uint32_t)sys_stack_pop(v, &old, size);
	sys_check_target(v, cs, rip, 0);
	sys_stack_push(v, &st, v->s.seg[X86_SS].sel, size);
	sys_stack_push(v, &st, v->s.gpr[X86_RSP], size);
	for (unsigned i = count; i-- > 0;)
		sys_stack_push(v, &st, param[i], size);
	sys_stack_push(v, &st, v->s.seg[X86_CS].sel, size);
	sys_stack_push(v, &st, v->next_rip, size);

	if (size == 8) {
		sys_desc_mark_accessed(v, cs);
		sys_set_null_ss(v, cpl);
	} else {
		sys_desc_mark_accessed(v, cs);
		sys_desc_mark_accessed(v, &ss);
		sys_seg_set(&v->s.seg[X86_SS], new_ss, &ss);
	}
	sys_stack_commit(v, &st);
	enter_code(v, sel, cs, cpl, rip);
}

static void push_return(struct soft_vcpu *v, struct sys_stack *st, unsigned size)
{
	sys_stack_current(v, st, 0);
	sys_stack_push(v, st, v->s.seg[X86_CS].sel, size);
	sys_stack_push(v, st, v->next_rip, size);
}

/* To a system descriptor: only call gates. `d` was read with 8 bytes. */
static void far_gate(struct soft_vcpu *v, uint16_t gate_sel, struct sys_desc *d, bool call)
{
	unsigned type = d->attr & (X86_ATTR_S | X86_ATTR_TYPE), size;
	struct sys_desc cs;
	struct sys_stack st;
	uint64_t rip;
	uint16_t sel;

	if (type != SYS_TYPE_CALL32 && (sys_long(v) || type != SYS_TYPE_CALL16))
		soft_raise_err(v, X86_EXC_GP, gate_sel & SYS_SEL_INDEX);
	if (d->dpl < v->cpl || d->dpl < (gate_sel & 3u))
		soft_raise_err(v, X86_EXC_GP, gate_sel & SYS_SEL_INDEX);
	if (sys_long(v) && (!sys_desc_read(v, gate_sel, d, true) || (d->high >> 40 & 0x1f)))
		soft_raise_err(v, X86_EXC_GP, gate_sel & SYS_SEL_INDEX);
	if (!(d->attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, gate_sel & SYS_SEL_INDEX);

	size = sys_long(v) ? 8 : type == SYS_TYPE_CALL32 ? 4 : 2;
	sel = (uint16_t)(d->raw >> 16);
	rip = d->raw & 0xffff;
	if (size >= 4)
		rip |= d->raw >> 32 & 0xffff0000;
	if (size == 8)
		rip |= d->high << 32;
	if (!(sel & SYS_SEL_INDEX))
		sys_gp0(v);
	if (!sys_desc_read(v, sel, &cs, false))
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	check_code(v, sel, &cs, true, call);
	if (call && !sys_is_conforming(&cs) && cs.dpl < v->cpl) {
		call_inner(v, d, sel, &cs, rip, size);
		return;
	}
	if (call)
		push_return(v, &st, size);
	sys_check_target(v, &cs, rip, 0);
	sys_desc_mark_accessed(v, &cs);
	if (call)
		sys_stack_commit(v, &st);
	enter_code(v, sel, &cs, v->cpl, rip);
}

static void far_transfer(struct soft_vcpu *v, const struct x86_insn *in, bool call)
{
	unsigned size = in->opnd_bytes;
	struct sys_stack st;
	struct sys_desc d;
	uint64_t rip;
	uint16_t sel;

	if (in->has_mem) {
		rip = sys_read_mem(v, in, 0, size);
		sel = (uint16_t)sys_read_mem(v, in, size, 2);
	} else {
		rip = sys_cut((uint64_t)in->imm, size);
		sel = in->imm2;
	}
	if (!sys_protected(v)) {
		if (rip > v->s.seg[X86_CS].limit)
			sys_gp0(v);
		if (call) {
			push_return(v, &st, size);
			sys_stack_commit(v, &st);
		}
		sys_load_seg_real(v, X86_CS, sel);
		v->next_rip = rip;
		soft_mode_changed(v);
		return;
	}
	if (!(sel & SYS_SEL_INDEX))
		sys_gp0(v);
	if (!sys_desc_read(v, sel, &d, false))
		soft_raise_err(v, X86_EXC_GP, sel & SYS_SEL_INDEX);
	if (!(d.attr & X86_ATTR_S)) {
		far_gate(v, sel, &d, call);
		return;
	}
	check_code(v, sel, &d, false, false);
	if (call)
		push_return(v, &st, size);
	sys_check_target(v, &d, rip, 0);
	sys_desc_mark_accessed(v, &d);
	if (call)
		sys_stack_commit(v, &st);
	enter_code(v, sel, &d, v->cpl, rip);
}

void soft_op_sys_jmp_far(struct soft_vcpu *v, const struct x86_insn *in)
{
	far_transfer(v, in, false);
}

void soft_op_sys_call_far(struct soft_vcpu *v, const struct x86_insn *in)
{
	far_transfer(v, in, true);
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

/* CS and SS as these instructions set them: fixed attributes, nothing read from memory. */
static void set_flat(struct soft_vcpu *v, uint16_t cs_sel, uint16_t ss_sel, unsigned cpl,
		     bool long_code)
{
	struct x86_seg *cs = &v->s.seg[X86_CS], *ss = &v->s.seg[X86_SS];
	uint16_t common = X86_ATTR_P | X86_ATTR_S | X86_ATTR_G | X86_ATTR_RW | X86_ATTR_ACCESSED |
			  (uint16_t)(cpl << X86_ATTR_DPL_SHIFT);

	cs->sel = (cs_sel & SYS_SEL_INDEX) | (uint16_t)cpl;
	cs->base = 0;
	cs->limit = 0xffffffffu;
	cs->attr = common | X86_ATTR_CODE | (long_code ? X86_ATTR_L : X86_ATTR_DB);
	ss->sel = (ss_sel & SYS_SEL_INDEX) | (uint16_t)cpl;
	ss->base = 0;
	ss->limit = 0xffffffffu;
	ss->attr = common | X86_ATTR_DB;
	soft_mode_changed(v);
}

static bool is_amd(const struct soft_vcpu *v)
{
	return v->soft->cpuid.vendor == CPUID_VENDOR_AMD;
}

void soft_op_sys_syscall(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct x86_msrs *m = &v->s.msr;
	uint16_t sel = (uint16_t)(m->star >> 32);

	(void)in;
	if (!(m->efer & X86_EFER_SCE) || !sys_protected(v) || (v->mode != X86_MODE_64 && !is_amd(v)))
		soft_raise(v, X86_EXC_UD);
	v->s.gpr[X86_RCX] = v->next_rip;
	if (sys_long(v)) {
		v->s.gpr[X86_R11] = v->s.rflags & ~(uint64_t)X86_RF;
		v->next_rip = v->mode == X86_MODE_64 ? m->lstar : m->cstar;
		v->s.rflags &= ~(m->sfmask | X86_RF);
		v->s.rflags |= X86_F1;
	} else {
		v->next_rip = m->star & 0xffffffffu;
		v->s.rflags &= ~(uint64_t)(X86_IF | X86_RF | X86_VM);
	}
	set_flat(v, sel, sel + 8, 0, sys_long(v));
}

void soft_op_sys_sysret(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct x86_msrs *m = &v->s.msr;
	uint16_t sel = (uint16_t)(m->star >> 48);
	uint64_t rcx = v->s.gpr[X86_RCX];
	bool to_64 = in->opnd_bytes == 8;

	if (!(m->efer & X86_EFER_SCE) || !sys_protected(v) || (v->mode != X86_MODE_64 && !is_amd(v)))
		soft_raise(v, X86_EXC_UD);
	sys_need_cpl0(v);
	if (to_64 && !is_amd(v) && !mmu_canonical(rcx))
		sys_gp0(v);
	if (sys_long(v))
		v->s.rflags = (v->s.gpr[X86_R11] & 0x3c7fd7) | X86_F1;
	else
		v->s.rflags |= X86_IF;
	v->next_rip = to_64 ? rcx : rcx & 0xffffffffu;
	set_flat(v, to_64 ? sel + 16 : sel, sel + 8, 3, to_64);
}

void soft_op_sys_sysenter(struct soft_vcpu *v, const struct x86_insn *in)
{
	struct x86_msrs *m = &v->s.msr;
	bool lng = sys_long(v);
	uint16_t sel = (uint16_t)m->sysenter_cs;

	(void)in;
	if (lng && is_amd(v))
		soft_raise(v, X86_EXC_UD);
	if (!sys_protected(v) || !(sel & SYS_SEL_INDEX))
		sys_gp0(v);
	v->s.rflags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
	v->s.gpr[X86_RSP] = lng ? m->sysenter_esp : m->sysenter_esp & 0xffffffffu;
	v->next_rip = lng ? m->sysenter_eip : m->sysenter_eip & 0xffffffffu;
	set_flat(v, sel, sel + 8, 0, lng);
}

void soft_op_sys_sysexit(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint16_t sel = (uint16_t)v->s.msr.sysenter_cs;
	uint64_t rip = v->s.gpr[X86_RDX], rsp = v->s.gpr[X86_RCX];
	bool to_64 = in->opnd_bytes == 8;

	if (sys_long(v) && is_amd(v))
		soft_raise(v, X86_EXC_UD);
	if (!sys_protected(v) || !(sel & SYS_SEL_INDEX) || v->cpl != 0)
		sys_gp0(v);
	if (to_64) {
		if (!mmu_canonical(rip) || !mmu_canonical(rsp))
			sys_gp0(v);
		sel += 32;
	} else {
		rip &= 0xffffffffu;
		rsp &= 0xffffffffu;
		sel += 16;
	}
	v->s.gpr[X86_RSP] = rsp;
	v->next_rip = rip;
	set_flat(v, sel, sel + 8, 3, to_64);
}

void soft_op_sys_swapgs(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t base = v->s.seg[X86_GS].base;

	(void)in;
	if (v->mode != X86_MODE_64)
		soft_raise(v, X86_EXC_UD);
	sys_need_cpl0(v);
	v->s.seg[X86_GS].base = v->s.msr.kernel_gs_base;
	v->s.msr.kernel_gs_base = base;
}
