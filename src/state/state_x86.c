/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_x86.c - wire form of processor, local APIC, I/O APIC, 8259 pair and 8254.
 *
 * What state_x86_check() refuses is what VM entry refuses on a real processor (SDM vol. 3 §26.3.1), as far as a state that no
 * guest can reach could mislead an engine: reserved bits of RFLAGS, CR0 and EFER, paging without protection, long mode that
 * its bits do not agree about, a privilege level that segments do not agree about, addresses that are not canonical.
 */
#include "state/state_x86.h"

#include <errno.h>
#include <string.h>

/* ---- processor ---- */

static void segment(struct state *s, struct x86_seg *seg)
{
	state_u64(s, &seg->base);
	state_u32(s, &seg->limit);
	state_u16(s, &seg->sel);
	state_u16(s, &seg->attr);
}

static void table(struct state *s, struct x86_dtr *t)
{
	state_u64(s, &t->base);
	state_u16(s, &t->limit);
}

static void msrs(struct state *s, struct x86_msrs *m)
{
	state_u64(s, &m->efer);
	state_u64(s, &m->star);
	state_u64(s, &m->lstar);
	state_u64(s, &m->cstar);
	state_u64(s, &m->sfmask);
	state_u64(s, &m->kernel_gs_base);
	state_u64(s, &m->sysenter_cs);
	state_u64(s, &m->sysenter_esp);
	state_u64(s, &m->sysenter_eip);
	state_u64(s, &m->pat);
	state_u64(s, &m->misc_enable);
	state_u64(s, &m->apic_base);
	state_u64(s, &m->tsc_aux);
	state_u64(s, &m->tsc_adjust);
	state_u64(s, &m->tsc_deadline);
	state_u64(s, &m->mtrr_def_type);
	state_u64s(s, m->mtrr_fixed, ARRAY_SIZE(m->mtrr_fixed));
	state_u64s(s, m->mtrr_base, ARRAY_SIZE(m->mtrr_base));
	state_u64s(s, m->mtrr_mask, ARRAY_SIZE(m->mtrr_mask));
	state_u64(s, &m->spec_ctrl);
	state_u64(s, &m->mcg_status);
	state_u64(s, &m->kvm_system_time);
	state_u64(s, &m->kvm_wall_clock);
	state_u64(s, &m->kvm_pv_eoi);
	state_u64(s, &m->virt_spec_ctrl);
	state_u64(s, &m->kvm_steal_time);
}

void state_x86(struct state *s, struct x86_state *x, uint64_t *tsc)
{
	state_u64s(s, x->gpr, ARRAY_SIZE(x->gpr));
	state_u64(s, &x->rip);
	state_u64(s, &x->rflags);
	state_u64(s, &x->cr0);
	state_u64(s, &x->cr2);
	state_u64(s, &x->cr3);
	state_u64(s, &x->cr4);
	state_u64(s, &x->cr8);
	state_u64s(s, x->dr, ARRAY_SIZE(x->dr));
	for (unsigned i = 0; i < X86_SREGS; i++)
		segment(s, &x->seg[i]);
	segment(s, &x->ldt);
	segment(s, &x->tr);
	table(s, &x->gdt);
	table(s, &x->idt);
	state_u64(s, &x->xcr0);
	msrs(s, &x->msr);
	state_u64(s, tsc);
	state_bool(s, &x->ev.sti_shadow);
	state_bool(s, &x->ev.movss_shadow);
	state_bool(s, &x->ev.nmi_masked);
	state_bool(s, &x->ev.nmi_pending);
	state_bool(s, &x->ev.halted);
	state_bool(s, &x->ev.kicked);
	state_bool(s, &x->ev.wait_for_sipi);
	state_same(s, sizeof(x->fx), "the size of the XSAVE area");
	state_bytes(s, x->fx, sizeof(x->fx));
}

/* A bool, and what it says is there: most guests have none of it. */
void state_avx512(struct state *s, struct x86_avx512 *x)
{
	static const struct x86_avx512 none;
	bool some = memcmp(x, &none, sizeof(none)) != 0;

	state_bool(s, &some);
	if (!some)
		return;
	state_u64s(s, x->k, ARRAY_SIZE(x->k));
	state_bytes(s, x->zmm_hi, sizeof(x->zmm_hi));
	state_bytes(s, x->zmm_16, sizeof(x->zmm_16));
}

#define RFLAGS_VALID                                                                         \
	(X86_STATUS_FLAGS | X86_F1 | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | \
	 X86_VM | X86_AC | X86_VIF | X86_VIP | X86_ID)
#define CR0_VALID                                                                      \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define XCR0_VALID (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX | X86_XCR0_AVX512)
#define MXCSR_AT 24
#define MXCSR_VALID 0xffffu

static bool canonical(uint64_t a, const struct x86_state *x)
{
	unsigned shift = x->cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(a << shift) >> shift) == a;
}

static const char *check_modes(const struct x86_state *x)
{
	bool pg = x->cr0 & X86_CR0_PG, lma = x->msr.efer & X86_EFER_LMA;
	uint64_t wide = x->xcr0 & X86_XCR0_AVX512;

	if ((x->rflags & ~(uint64_t)RFLAGS_VALID) || !(x->rflags & X86_F1))
		return "reserved flags";
	if (x->cr0 & ~(uint64_t)CR0_VALID)
		return "reserved bits in CR0";
	if (pg && !(x->cr0 & X86_CR0_PE))
		return "paging without protected mode";
	if ((x->cr0 & X86_CR0_NW) && !(x->cr0 & X86_CR0_CD))
		return "CR0.NW without CD";
	if (lma != (pg && (x->msr.efer & X86_EFER_LME)))
		return "a long mode that its bits do not agree about";
	if (lma && !(x->cr4 & X86_CR4_PAE))
		return "long mode without PAE";
	if (lma && (x->rflags & X86_VM))
		return "virtual 8086 mode in long mode";
	if ((x->cr4 & X86_CR4_PCIDE) && !lma)
		return "PCIDs without long mode";
	if (!(x->cr0 & X86_CR0_PE) && (x->rflags & X86_VM))
		return "virtual 8086 mode in real mode";
	if (x->cr8 > 0xf)
		return "an impossible CR8";
	if ((x->dr[6] >> 32) || (x->dr[7] >> 32))
		return "an impossible debug register";
	if (!(x->xcr0 & X86_XCR0_X87) || (x->xcr0 & ~(uint64_t)XCR0_VALID) ||
	    ((x->xcr0 & X86_XCR0_AVX) && !(x->xcr0 & X86_XCR0_SSE)) ||
	    (wide && (wide != X86_XCR0_AVX512 || !(x->xcr0 & X86_XCR0_AVX))))
		return "an XCR0 that this version does not know";
	if (buf_le32(x->fx + MXCSR_AT) & ~MXCSR_VALID)
		return "reserved bits in MXCSR";
	if (buf_le64(x->fx + X86_FX_XSTATE_BV) & ~(uint64_t)7)
		return "processor state that this version does not know";
	return NULL;
}

/* What VM entry checks of segments, less what depends on virtual 8086 and real mode. */
static const char *check_segments(const struct x86_state *x)
{
	const struct x86_seg *cs = &x->seg[X86_CS];
	bool lma = x->msr.efer & X86_EFER_LMA, pe = x->cr0 & X86_CR0_PE;
	unsigned type;

	if (!(cs->attr & X86_ATTR_P) || !(cs->attr & X86_ATTR_S))
		return "no code segment";
	if (pe && !(x->rflags & X86_VM)) {
		type = cs->attr & X86_ATTR_TYPE;
		if (!(type & X86_ATTR_CODE) && type != 3)
			return "no code segment";
		if (lma && (cs->attr & X86_ATTR_L) && (cs->attr & X86_ATTR_DB))
			return "a code segment of two sizes";
		if ((cs->attr & X86_ATTR_CODE) && !(cs->attr & X86_ATTR_CONFORMING) &&
		    X86_ATTR_DPL(cs->attr) != x86_state_cpl(x))
			return "privilege levels that do not agree";
	}
	if ((x->rflags & X86_VM) && x86_state_cpl(x) != 3)
		return "privilege levels that do not agree";
	for (unsigned i = 0; i < X86_SREGS; i++)
		if (!canonical(x->seg[i].base, x) || (x->seg[i].attr & 0x0f00))
			return "an impossible segment";
	if (!canonical(x->ldt.base, x) || !canonical(x->tr.base, x) || !canonical(x->gdt.base, x) ||
	    !canonical(x->idt.base, x) || ((x->ldt.attr | x->tr.attr) & 0x0f00))
		return "an impossible descriptor table";
	if (lma && (cs->attr & X86_ATTR_L) ? !canonical(x->rip, x) : x->rip >> 32)
		return "an instruction pointer out of range";
	return NULL;
}

int state_x86_check(const struct x86_state *x, unsigned cpu, struct err *e)
{
	const struct x86_msrs *m = &x->msr;
	const char *what = check_modes(x);

	if (!what)
		what = check_segments(x);
	if (!what && (!canonical(m->lstar, x) || !canonical(m->cstar, x) ||
		      !canonical(m->kernel_gs_base, x) || !canonical(m->sysenter_esp, x) ||
		      !canonical(m->sysenter_eip, x)))
		what = "an address in a register that is none";
	if (what)
		return err_set(e, EINVAL, "the saved vCPU %u has %s", cpu, what);
	return 0;
}

/* ---- interrupt controllers ---- */

void state_lapic(struct state *s, struct irqchip_lapic *l)
{
	state_u64(s, &l->apic_base);
	state_u32(s, &l->id);
	state_u32(s, &l->tpr);
	state_u32(s, &l->ldr);
	state_u32(s, &l->dfr);
	state_u32(s, &l->svr);
	state_u32s(s, l->isr, ARRAY_SIZE(l->isr));
	state_u32s(s, l->tmr, ARRAY_SIZE(l->tmr));
	state_u32s(s, l->irr, ARRAY_SIZE(l->irr));
	state_u32(s, &l->esr);
	state_u32(s, &l->esr_pending);
	state_u64(s, &l->icr);
	state_u32s(s, l->lvt, IRQCHIP_LVTS);
	state_bool(s, &l->extint);
	state_u32(s, &l->timer_initial);
	state_u32(s, &l->timer_divide);
	state_u64(s, &l->timer_left_ns);
	state_u64(s, &l->tsc_deadline);
}

void state_ioapic(struct state *s, struct irqchip_ioapic *io)
{
	state_u32(s, &io->select);
	state_u32(s, &io->id);
	state_u64s(s, io->rte, IRQCHIP_IOAPIC_PINS);
	state_u32(s, &io->line);
}

void state_pic(struct state *s, struct irqchip_pic *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct irqchip_8259 *c = &p->chip[i];

		state_u8(s, &c->irr);
		state_u8(s, &c->imr);
		state_u8(s, &c->isr);
		state_u8(s, &c->line);
		state_u8(s, &c->elcr);
		state_u8(s, &c->base);
		state_u8(s, &c->lowest);
		state_u8(s, &c->icw);
		state_bool(s, &c->icw4_needed);
		state_bool(s, &c->single);
		state_bool(s, &c->auto_eoi);
		state_bool(s, &c->rotate_aeoi);
		state_bool(s, &c->special_mask);
		state_bool(s, &c->special_nested);
		state_bool(s, &c->read_isr);
		state_bool(s, &c->poll);
	}
}

void state_pit(struct state *s, struct irqchip_pit *p)
{
	for (unsigned i = 0; i < 3; i++) {
		struct irqchip_8254 *c = &p->ch[i];

		state_u8(s, &c->mode);
		state_u8(s, &c->rw);
		state_bool(s, &c->bcd);
		state_bool(s, &c->gate);
		state_bool(s, &c->loaded);
		state_bool(s, &c->triggered);
		state_bool(s, &c->frozen);
		state_bool(s, &c->has_next);
		state_u32(s, &c->count);
		state_u32(s, &c->next);
		state_u64(s, &c->next_at_clocks);
		state_u64(s, &c->elapsed_ns);
		state_u64(s, &c->frozen_clocks);
		state_u16(s, &c->latch);
		state_u8(s, &c->latched);
		state_u8(s, &c->status);
		state_bool(s, &c->status_latched);
		state_bool(s, &c->read_high);
		state_bool(s, &c->write_high);
		state_u8(s, &c->write_low);
	}
	state_u8(s, &p->port61);
	state_u64(s, &p->edge_left_ns);
}

/*
 * Bits that a real controller would never show (an ISR bit without its interrupt, say) harm nobody but the guest and
 * pass. What is refused would make an index, a divisor or a time go wrong in whoever takes the state, or is no state of
 * this machine (another APIC id).
 */
#define BASE_EXTD BIT(10)
#define BASE_EN BIT(11)

static bool time_valid(uint64_t ns)
{
	return ns <= IRQCHIP_TIME_MAX || ns == IRQCHIP_NEVER;
}

int state_lapic_check(const struct irqchip_lapic *l, unsigned cpu, unsigned n_lvts, struct err *e)
{
	const char *what = NULL;

	if (l->id != cpu)
		what = "another APIC id";
	else if ((l->apic_base & (BASE_EN | BASE_EXTD)) == BASE_EXTD)
		what = "x2APIC mode without being enabled";
	else if (l->tpr > 0xff)
		what = "an impossible task priority";
	else if ((l->isr[0] | l->irr[0] | l->tmr[0]) & 0xffff)
		what = "an interrupt vector below 16";
	else if (!time_valid(l->timer_left_ns) || (l->timer_divide & ~0xbu))
		what = "an impossible timer";
	else if (l->timer_left_ns != IRQCHIP_NEVER &&
		 (l->timer_initial == 0 ||
		  l->timer_left_ns >
			  (uint64_t)l->timer_initial * irqchip_timer_divisor(l->timer_divide)))
		what = "a timer with more time left than its count";
	for (unsigned i = n_lvts; !what && i < IRQCHIP_LVTS; i++)
		if (!(l->lvt[i] & IRQCHIP_LVT_MASKED))
			what = "an interrupt source that this machine has not";
	if (what)
		return err_set(e, EINVAL, "the saved local APIC %u has %s", cpu, what);
	return 0;
}

int state_ioapic_check(const struct irqchip_ioapic *io, struct err *e)
{
	if (io->select > 0xff || (io->id & ~0x0f000000u) || io->line >> IRQCHIP_IOAPIC_PINS)
		return err_set(e, EINVAL, "the saved I/O APIC has an impossible register");
	return 0;
}

int state_pic_check(const struct irqchip_pic *p, struct err *e)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct irqchip_8259 *c = &p->chip[i];

		if (c->lowest > 7 || c->icw > 4 || c->icw == 1 || (c->base & 7))
			return err_set(
				e, EINVAL,
				"the saved interrupt controller (8259) has an impossible register");
	}
	return 0;
}

static bool count_valid(uint32_t n)
{
	return n >= 1 && n <= 65536;
}

int state_pit_check(const struct irqchip_pit *p, struct err *e)
{
	bool good = time_valid(p->edge_left_ns) && p->port61 <= 0xf;

	for (unsigned i = 0; i < 3; i++) {
		const struct irqchip_8254 *c = &p->ch[i];

		good = good && c->mode <= 5 && c->rw >= 1 && c->rw <= 3 && count_valid(c->count) &&
		       (!c->has_next || count_valid(c->next)) && c->latched <= 2 &&
		       c->elapsed_ns <= IRQCHIP_TIME_MAX && c->frozen_clocks <= IRQCHIP_TIME_MAX &&
		       c->next_at_clocks <= IRQCHIP_TIME_MAX;
	}
	if (!good)
		return err_set(e, EINVAL,
			       "the saved interval timer (8254) has an impossible register");
	return 0;
}
