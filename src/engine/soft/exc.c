/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exc.c - delivery of exceptions and interrupts through the IDT, and what follows from a change of mode.
 *
 * Theory of operation. An event is delivered by one of three functions: through 16-byte gates in IA-32e mode
 * (SDM vol. 3 §6.14), 8-byte gates in protected mode (§6.12), the vector table in real mode (vol. 1 §20.1).
 * Each checks everything, writes the frame to the new stack and only then changes registers, so that a fault
 * on the way leaves the interrupted context whole. Such a fault arrives by soft_raise() like any other;
 * deliver_event() catches it with an unwind point of its own and delivers the new exception, a double fault
 * or a shutdown in its place, by the table of §6.15. A software interrupt does not need that: its fault is
 * the fault of the INT instruction and unwinds to soft_step().
 *
 * Not modelled: task gates and hardware task switches (a task gate gets #GP with its selector), virtual-8086
 * mode.
 */
#include "engine/soft/lockstep.h"
#include "engine/soft/sys.h"

/* What to deliver. */
struct event {
	uint8_t vector;
	bool has_error;
	bool check_dpl; /* INT n, INT3, INTO */
	bool set_rf; /* in the pushed flags: faults restart their instruction with RF set (§6.2, vol. 3 §17.3.1.1) */
	uint32_t error;
	uint32_t ext; /* EXT bit of error codes raised on the way */
	uint64_t rip; /* to be pushed */
};

#define IDT_CODE(ev) ((uint32_t)(ev)->vector * 8 + 2 + (ev)->ext)

/* ---- Mode ---- */

void soft_mode_changed(struct soft_vcpu *v)
{
	const struct x86_state *s = &v->s;
	bool data = false, align;

	v->cpl = (uint8_t)x86_state_cpl(s);
	if ((s->msr.efer & X86_EFER_LMA) && (s->seg[X86_CS].attr & X86_ATTR_L))
		v->mode = X86_MODE_64;
	else
		v->mode = s->seg[X86_CS].attr & X86_ATTR_DB ? X86_MODE_32 : X86_MODE_16;
	if (v->cpl == 3)
		v->mmu = SOFT_MMU_USER;
	else if ((s->cr4 & X86_CR4_SMAP) && !(s->rflags & X86_AC))
		v->mmu = SOFT_MMU_KERNEL;
	else
		v->mmu = SOFT_MMU_KERNEL_USER;

	if (unlikely(v->tr.flow.cr0 != s->cr0 || v->tr.flow.cr4 != s->cr4 ||
		     v->tr.flow.efer != s->msr.efer))
		soft_flow_changed(v);

	v->code_breakpoints = false;
	if (unlikely(s->dr[7] & 0xff)) {
		for (unsigned i = 0; i < 4; i++) {
			if (!(s->dr[7] >> (2 * i) & 3))
				continue;
			if (s->dr[7] >> (16 + 4 * i) & 3)
				data = true;
			else
				v->code_breakpoints = true;
		}
	}
	if (unlikely(data && !v->data_breakpoints)) {
		v->data_breakpoints = true;
		soft_tlb_flush_all(v);
	}
	v->data_breakpoints = data;
	align = v->cpl == 3 && (s->rflags & X86_AC) && (s->cr0 & X86_CR0_AM);
	if (unlikely(align && !v->align_check))
		soft_tlb_flush_all(v);
	v->align_check = align;
}

/* ---- IA-32e mode ---- */

static void start_handler(struct soft_vcpu *v, bool mask_interrupts)
{
	v->s.rflags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM |
				   (mask_interrupts ? X86_IF : 0));
	v->s.ev.sti_shadow = v->s.ev.movss_shadow = false;
	soft_mode_changed(v);
}

static uint64_t flags_image(const struct soft_vcpu *v, const struct event *ev)
{
	return v->s.rflags | (ev->set_rf ? X86_RF : 0);
}

static void deliver_long(struct soft_vcpu *v, const struct event *ev)
{
	uint32_t off = (uint32_t)ev->vector * 16;
	uint64_t lo, hi, target, rsp;
	struct sys_stack st;
	struct sys_desc cs;
	unsigned type, cpl, ist;
	uint16_t sel;

	if (off + 15 > v->s.idt.limit)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	lo = soft_read_sys(v, v->s.idt.base + off, 8);
	hi = soft_read_sys(v, v->s.idt.base + off + 8, 8);
	type = lo >> 40 & 0x1f;
	if (type != SYS_TYPE_INT32 && type != SYS_TYPE_TRAP32)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	if (ev->check_dpl && (lo >> 45 & 3) < v->cpl)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	if (!(lo >> 47 & 1))
		soft_raise_err(v, X86_EXC_NP, IDT_CODE(ev));

	sel = (uint16_t)(lo >> 16);
	target = (lo & 0xffff) | (lo >> 32 & 0xffff0000) | hi << 32;
	if (!(sel & SYS_SEL_INDEX))
		soft_raise_err(v, X86_EXC_GP, ev->ext);
	if (!sys_desc_read(v, sel, &cs, false) || !sys_is_code(&cs) || cs.dpl > v->cpl ||
	    (cs.attr & (X86_ATTR_L | X86_ATTR_DB)) != X86_ATTR_L)
		soft_raise_err(v, X86_EXC_GP, (sel & SYS_SEL_INDEX) | ev->ext);
	if (!(cs.attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, (sel & SYS_SEL_INDEX) | ev->ext);
	cpl = sys_is_conforming(&cs) ? v->cpl : cs.dpl;

	ist = lo >> 32 & 7;
	if (ist)
		rsp = sys_tss_rsp(v, 0x24 + (ist - 1) * 8, ev->ext);
	else if (cpl < v->cpl)
		rsp = sys_tss_rsp(v, 4 + cpl * 8, ev->ext);
	else
		rsp = v->s.gpr[X86_RSP];
	if (!mmu_canonical(target))
		soft_raise_err(v, X86_EXC_GP, ev->ext);

	st.sp = rsp & ~UINT64_C(15);
	st.mask = ~UINT64_C(0);
	st.flat = true;
	st.kind = cpl == v->cpl ? v->mmu : mmu_sys_kind(v);
	st.error = ev->ext;
	sys_stack_push(v, &st, v->s.seg[X86_SS].sel, 8);
	sys_stack_push(v, &st, v->s.gpr[X86_RSP], 8);
	sys_stack_push(v, &st, flags_image(v, ev), 8);
	sys_stack_push(v, &st, v->s.seg[X86_CS].sel, 8);
	sys_stack_push(v, &st, ev->rip, 8);
	if (ev->has_error)
		sys_stack_push(v, &st, ev->error, 8);

	sys_set_cs(v, sel, &cs, cpl);
	if (cpl != v->cpl)
		sys_set_null_ss(v, cpl);
	sys_stack_commit(v, &st);
	v->next_rip = target;
	start_handler(v, type == SYS_TYPE_INT32);
}

/* ---- Protected mode ---- */

static void deliver_protected(struct soft_vcpu *v, const struct event *ev)
{
	uint32_t off = (uint32_t)ev->vector * 8;
	struct sys_desc cs, ss;
	struct sys_stack st;
	unsigned type, cpl, size;
	uint64_t gate, target;
	uint16_t sel, new_ss = 0;

	if (off + 7 > v->s.idt.limit)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	gate = soft_read_sys(v, (v->s.idt.base + off) & 0xffffffffu, 8);
	type = gate >> 40 & 0x1f;
	/* Includes task gates: hardware task switches are not modelled. */
	if (type != SYS_TYPE_INT32 && type != SYS_TYPE_TRAP32 && type != SYS_TYPE_INT16 &&
	    type != SYS_TYPE_TRAP16)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	if (ev->check_dpl && (gate >> 45 & 3) < v->cpl)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	if (!(gate >> 47 & 1))
		soft_raise_err(v, X86_EXC_NP, IDT_CODE(ev));
	size = type & 8 ? 4 : 2;

	sel = (uint16_t)(gate >> 16);
	target = gate & 0xffff;
	if (size == 4)
		target |= gate >> 32 & 0xffff0000;
	if (!(sel & SYS_SEL_INDEX))
		soft_raise_err(v, X86_EXC_GP, ev->ext);
	if (!sys_desc_read(v, sel, &cs, false) || !sys_is_code(&cs) || cs.dpl > v->cpl)
		soft_raise_err(v, X86_EXC_GP, (sel & SYS_SEL_INDEX) | ev->ext);
	if (!(cs.attr & X86_ATTR_P))
		soft_raise_err(v, X86_EXC_NP, (sel & SYS_SEL_INDEX) | ev->ext);
	cpl = sys_is_conforming(&cs) ? v->cpl : cs.dpl;

	sys_stack_current(v, &st, ev->ext);
	if (cpl < v->cpl) {
		sys_tss_stack(v, cpl, &new_ss, &st.sp, ev->ext);
		sys_check_new_ss(v, new_ss, cpl, &ss, ev->ext);
		sys_seg_set(&st.seg, new_ss, &ss);
		st.mask = ss.attr & X86_ATTR_DB ? 0xffffffffu : 0xffffu;
		st.kind = mmu_sys_kind(v);
		st.error = (new_ss & SYS_SEL_INDEX) | ev->ext;
		sys_stack_push(v, &st, v->s.seg[X86_SS].sel, size);
		sys_stack_push(v, &st, v->s.gpr[X86_RSP], size);
	}
	sys_stack_push(v, &st, flags_image(v, ev), size);
	sys_stack_push(v, &st, v->s.seg[X86_CS].sel, size);
	sys_stack_push(v, &st, ev->rip, size);
	if (ev->has_error)
		sys_stack_push(v, &st, ev->error, size);
	sys_check_target(v, &cs, target, ev->ext);

	if (cpl < v->cpl) {
		sys_desc_mark_accessed(v, &ss);
		sys_seg_set(&v->s.seg[X86_SS], new_ss, &ss);
	}
	sys_set_cs(v, sel, &cs, cpl);
	sys_stack_commit(v, &st);
	v->next_rip = target;
	start_handler(v, !(type & 1));
}

/* ---- Real-address mode: no error codes ---- */

static void deliver_real(struct soft_vcpu *v, const struct event *ev)
{
	uint32_t off = (uint32_t)ev->vector * 4;
	struct sys_stack st;
	uint64_t entry;

	if (off + 3 > v->s.idt.limit)
		soft_raise_err(v, X86_EXC_GP, IDT_CODE(ev));
	entry = soft_read_sys(v, (v->s.idt.base + off) & 0xffffffffu, 4);
	sys_stack_current(v, &st, 0);
	sys_stack_push(v, &st, v->s.rflags, 2);
	sys_stack_push(v, &st, v->s.seg[X86_CS].sel, 2);
	sys_stack_push(v, &st, ev->rip, 2);

	sys_load_seg_real(v, X86_CS, (uint16_t)(entry >> 16));
	sys_stack_commit(v, &st);
	v->next_rip = entry & 0xffff;
	v->s.rflags &= ~(uint64_t)X86_AC;
	start_handler(v, true);
}

static void deliver(struct soft_vcpu *v, const struct event *ev)
{
	if (sys_long(v))
		deliver_long(v, ev);
	else if (sys_protected(v))
		deliver_protected(v, ev);
	else
		deliver_real(v, ev);
}

/* ---- Faults on the way (SDM vol. 3 §6.15) ---- */

/* False: soft_raise() was called; the new exception is in v->exc. */
static __attribute__((noinline)) bool try_deliver(struct soft_vcpu *v, const struct event *ev)
{
	if (__builtin_setjmp(v->unwind))
		return false;
	deliver(v, ev);
	return true;
}

enum exc_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exc_class class_of(unsigned vector)
{
	switch (vector) {
	case X86_EXC_DE:
	case X86_EXC_TS:
	case X86_EXC_NP:
	case X86_EXC_SS:
	case X86_EXC_GP: return CONTRIBUTORY;
	case X86_EXC_PF: return PAGE_FAULT;
	case X86_EXC_DF: return DOUBLE_FAULT;
	default: return BENIGN;
	}
}

#define DR6_TRAPS 0xfu
#define DR6_BD BIT(13)
#define DR7_GD BIT(13)

/* The event that v->exc is, with its side effects on CR2, DR6 and DR7. */
static void event_of_exception(struct soft_vcpu *v, struct event *ev)
{
	const struct soft_exc *x = &v->exc;

	ev->vector = x->vector;
	ev->has_error = x->has_error;
	ev->error = x->error;
	ev->check_dpl = false;
	ev->ext = 1;
	ev->rip = v->s.rip;
	ev->set_rf = true;
	switch (x->vector) {
	case X86_EXC_PF: v->s.cr2 = x->addr; break;
	case X86_EXC_DB:
		v->s.dr[6] = (v->s.dr[6] & ~(uint64_t)DR6_TRAPS) | x->dr6;
		v->s.dr[7] &= ~DR7_GD;
		ev->set_rf = x->dr6 & DR6_BD;
		break;
	case X86_EXC_BP:
	case X86_EXC_OF:
	case X86_EXC_DF:
	case X86_EXC_MC: ev->set_rf = false; break;
	default: break;
	}
}

/* `class` of the event itself: an interrupt is benign whatever its vector. */
static void deliver_event(struct soft_vcpu *v, struct event *ev, enum exc_class class)
{
	void *outer[ARRAY_SIZE(v->unwind)];

	for (unsigned i = 0; i < ARRAY_SIZE(outer); i++)
		outer[i] = v->unwind[i];
	while (!try_deliver(v, ev)) {
		enum exc_class second = class_of(v->exc.vector);

		if (class == DOUBLE_FAULT) {
			v->shutdown = true;
			v->next_rip = v->s.rip;
			break;
		}
		event_of_exception(v, ev);
		v->n_exc++;
		if ((class == CONTRIBUTORY && second == CONTRIBUTORY) ||
		    (class == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT))) {
			v->exc.vector = X86_EXC_DF;
			v->exc.has_error = true;
			v->exc.error = 0;
			event_of_exception(v, ev);
			class = DOUBLE_FAULT;
		} else {
			class = second;
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(outer); i++)
		v->unwind[i] = outer[i];
	v->s.rip = v->next_rip;
}

/* ---- The ways in ---- */

void soft_exception(struct soft_vcpu *v)
{
	struct event ev;

	if (unlikely(v->lockstep))
		soft_lockstep_exception(v);
	v->n_exc++;
	v->trap_pending = false;
	v->trap_dr6 = 0;
	event_of_exception(v, &ev);
	deliver_event(v, &ev, class_of(ev.vector));
}

void soft_debug_trap(struct soft_vcpu *v)
{
	v->exc.vector = X86_EXC_DB;
	v->exc.has_error = false;
	v->exc.error = 0;
	v->exc.dr6 = v->trap_dr6;
	soft_exception(v);
}

static void deliver_interrupt(struct soft_vcpu *v, uint8_t vector)
{
	struct event ev = {.vector = vector, .ext = 1, .rip = v->s.rip};

	v->n_irq++;
	v->s.ev.halted = false;
	deliver_event(v, &ev, BENIGN);
}

void soft_interrupt(struct soft_vcpu *v, unsigned vector)
{
	deliver_interrupt(v, (uint8_t)vector);
}

void soft_nmi(struct soft_vcpu *v)
{
	v->s.ev.nmi_masked = true;
	v->s.ev.nmi_pending = false;
	deliver_interrupt(v, X86_EXC_NMI);
}

void sys_software_int(struct soft_vcpu *v, unsigned vector, enum sys_int_kind kind)
{
	struct event ev = {.vector = (uint8_t)vector,
			   .check_dpl = kind == SYS_INT_SOFT,
			   .ext = kind == SYS_INT_ICEBP,
			   .rip = v->next_rip};

	deliver(v, &ev);
}

/* ---- Instructions ---- */

void soft_op_sys_int(struct soft_vcpu *v, const struct x86_insn *in)
{
	sys_software_int(v, (unsigned)in->imm & 0xff, SYS_INT_SOFT);
}

void soft_op_sys_int3(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_software_int(v, X86_EXC_BP, SYS_INT_SOFT);
}

void soft_op_sys_into(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	if (v->s.rflags & X86_OF)
		sys_software_int(v, X86_EXC_OF, SYS_INT_SOFT);
}

void soft_op_sys_int1(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_software_int(v, X86_EXC_DB, SYS_INT_ICEBP);
}

void soft_op_sys_ud(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	soft_raise(v, X86_EXC_UD);
}
