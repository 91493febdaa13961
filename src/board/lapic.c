/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.c - registers and modes of the local APICs, by memory (xAPIC) and by MSR (x2APIC).
 *
 * Both ways reach the same registers: number = offset >> 4 = MSR - 0x800. They differ in what is there (table
 * below) and in what a bad access does: xAPIC ignores it and sets "illegal register address", x2APIC is #GP, also
 * for reserved bits that xAPIC cuts off (SDM vol. 3 §11.12.1).
 *
 * Modes (SDM vol. 3 §11.12.5): off -> xAPIC -> x2APIC -> off, and xAPIC -> off. What leads elsewhere is #GP. An APIC
 * that is switched off loses its registers.
 */
#include "board/lapic_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "board/layout.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC 0x800u

#define VERSION (0x14u | (LVTS - 1) << 16)

/* Writable bits; in x2APIC mode other bits but LVT_READ_ONLY must be 0. */
static const uint32_t lvt_mask[LVTS] = {0x000700ff, 0x000107ff, 0x000107ff,
					0x0001a7ff, 0x0001a7ff, 0x000100ff};
#define LVT_READ_ONLY 0x00005000u /* delivery status, remote IRR */
#define SVR_MASK 0x3ffu
#define DIVIDE_MASK 0xbu
#define ICR_RESERVED_X2 UINT64_C(0xfff32000)

#define R 1
#define W 2
/* Access by register number. */
static const uint8_t xapic_access[0x40] = {
	[REG_ID] = R | W,
	[REG_VERSION] = R,
	[REG_TPR] = R | W,
	[REG_APR] = R,
	[REG_PPR] = R,
	[REG_EOI] = W,
	[REG_RRD] = R,
	[REG_LDR] = R | W,
	[REG_DFR] = R | W,
	[REG_SVR] = R | W,
	[REG_ISR... REG_IRR + 7] = R,
	[REG_ESR] = R | W,
	[REG_ICR] = R | W,
	[REG_ICR2] = R | W,
	[REG_LVT... REG_LVT + LVTS - 1] = R | W,
	[REG_INITIAL] = R | W,
	[REG_CURRENT] = R,
	[REG_DIVIDE] = R | W,
};
static const uint8_t x2apic_access[0x40] = {
	[REG_ID] = R,
	[REG_VERSION] = R,
	[REG_TPR] = R | W,
	[REG_PPR] = R,
	[REG_EOI] = W,
	[REG_LDR] = R,
	[REG_SVR] = R | W,
	[REG_ISR... REG_IRR + 7] = R,
	[REG_ESR] = R | W,
	[REG_ICR] = R | W,
	[REG_LVT... REG_LVT + LVTS - 1] = R | W,
	[REG_INITIAL] = R | W,
	[REG_CURRENT] = R,
	[REG_DIVIDE] = R | W,
	[REG_SELF_IPI] = W,
};

static uint32_t word(const uint64_t w[4], unsigned i)
{
	return (uint32_t)(__atomic_load_n(&w[i / 2], __ATOMIC_SEQ_CST) >> (32 * (i & 1)));
}

/* `reg` is readable. */
static uint32_t reg_read(struct lapic_set *s, struct lapic *l, unsigned reg)
{
	switch (reg) {
	case REG_ID: return lapic_is_x2(l) ? l->cpu : l->cpu << 24;
	case REG_VERSION: return VERSION;
	case REG_TPR: return l->tpr;
	case REG_APR:
	case REG_PPR: return l->ppr;
	case REG_LDR: return l->ldr;
	case REG_DFR: return l->dfr;
	case REG_SVR: return l->svr;
	case REG_ISR ... REG_ISR + 7: return word(l->isr, reg - REG_ISR);
	case REG_TMR ... REG_TMR + 7: return word(l->tmr, reg - REG_TMR);
	case REG_IRR ... REG_IRR + 7: return word(l->irr, reg - REG_IRR);
	case REG_ESR: return l->esr;
	case REG_ICR: return (uint32_t)l->icr;
	case REG_ICR2: return (uint32_t)(l->icr >> 32);
	case REG_LVT ... REG_LVT + LVTS - 1: return lapic_load(&l->lvt[reg - REG_LVT]);
	case REG_INITIAL: return l->initial;
	case REG_CURRENT: return lapic_timer_current(s, l);
	case REG_DIVIDE: return l->divide;
	}
	return 0;
}

static void lvt_write(struct lapic_set *s, struct lapic *l, enum lapic_lvt which, uint32_t v)
{
	uint32_t old;

	v &= lvt_mask[which];
	if (!(l->svr & SVR_ENABLED))
		v |= LVT_MASKED;
	if (which == LVT_TIMER)
		lapic_timer_mode(s, l, v);
	pthread_mutex_lock(&l->lock);
	old = lapic_load(&l->lvt[which]);
	if (v & LVT_LEVEL)
		v |= old & LVT_REMOTE_IRR;
	lapic_store(&l->lvt[which], v);
	pthread_mutex_unlock(&l->lock);
	if (which == LVT_LINT0)
		lapic_lint_update(s, l);
	if (which == LVT_LINT0 || which == LVT_LINT1)
		lapic_lint_level(s, l, which - LVT_LINT0);
}

static void svr_write(struct lapic_set *s, struct lapic *l, uint32_t v)
{
	lapic_store(&l->svr, v & SVR_MASK);
	if (v & SVR_ENABLED)
		return;
	for (unsigned i = 0; i < LVTS; i++)
		__atomic_or_fetch(&l->lvt[i], LVT_MASKED, __ATOMIC_SEQ_CST);
	lapic_lint_update(s, l);
}

/* `reg` is writable, reserved bits of x2APIC mode checked. */
static void reg_write(struct lapic_set *s, struct lapic *l, unsigned reg, uint32_t v)
{
	switch (reg) {
	case REG_ID: /* fixed */ break;
	case REG_TPR: lapic_set_tpr(s, l, v); break;
	case REG_EOI: lapic_eoi(s, l); break;
	case REG_LDR: lapic_store(&l->ldr, v & 0xff000000); break;
	case REG_DFR: lapic_store(&l->dfr, v | 0x0fffffff); break;
	case REG_SVR: svr_write(s, l, v); break;
	case REG_ESR: l->esr = __atomic_exchange_n(&l->esr_new, 0, __ATOMIC_SEQ_CST); break;
	case REG_ICR:
		l->icr = (l->icr & ~UINT64_C(0xffffffff)) | (v & 0xcdfff);
		l->icr &= ~BIT(12);
		lapic_icr_write(s, l, l->icr);
		break;
	case REG_ICR2: l->icr = (l->icr & 0xffffffff) | (uint64_t)(v & 0xff000000) << 32; break;
	case REG_LVT ... REG_LVT + LVTS - 1: lvt_write(s, l, reg - REG_LVT, v); break;
	case REG_INITIAL: lapic_timer_set_initial(s, l, v); break;
	case REG_DIVIDE: lapic_timer_set_divide(s, l, v & DIVIDE_MASK); break;
	case REG_SELF_IPI:
		if ((v & 0xff) < 16)
			lapic_error(s, l, ESR_SEND_VECTOR);
		else
			lapic_accept(s, l, (uint8_t)v, false);
		break;
	}
}

/* ---- xAPIC ---- */

bool lapic_mmio_hit(const struct lapic_set *s, unsigned cpu, uint64_t gpa)
{
	uint64_t base = s->apic[cpu].base;

	return (base & (BASE_EN | BASE_EXTD)) == BASE_EN && (gpa >> 12) == (base >> 12);
}

uint64_t lapic_mmio_read(struct lapic_set *s, unsigned cpu, uint64_t gpa, unsigned size)
{
	struct lapic *l = &s->apic[cpu];
	unsigned off = gpa & 0xfff, reg = off >> 4;

	(void)size;
	if (off >= 0x400 || !(xapic_access[reg] & R)) {
		lapic_error(s, l, ESR_REGISTER);
		return 0;
	}
	if ((off & 0xf) > 3)
		return 0;
	return reg_read(s, l, reg) >> (8 * (off & 3));
}

void lapic_mmio_write(struct lapic_set *s, unsigned cpu, uint64_t gpa, uint64_t value, unsigned size)
{
	struct lapic *l = &s->apic[cpu];
	unsigned off = gpa & 0xfff, reg = off >> 4;

	if (off >= 0x400 || !(xapic_access[reg] & W)) {
		lapic_error(s, l, ESR_REGISTER);
		return;
	}
	/* Other sizes and alignments are undefined (SDM vol. 3 §11.4.1). */
	if (size >= 4 && !(off & 0xf))
		reg_write(s, l, reg, (uint32_t)value);
}

/* ---- MSRs ---- */

static void state_reset(struct lapic_set *s, struct lapic *l)
{
	lapic_irq_reset(l);
	lapic_store(&l->svr, 0xff);
	lapic_store(&l->dfr, UINT32_MAX);
	lapic_store(&l->ldr, lapic_is_x2(l) ? (l->cpu >> 4) << 16 | 1u << (l->cpu & 0xf) : 0);
	for (unsigned i = 0; i < LVTS; i++)
		lapic_store(&l->lvt[i], LVT_MASKED);
	l->esr = 0;
	lapic_store(&l->esr_new, 0);
	l->icr = 0;
	lapic_timer_reset(s, l);
	lapic_lint_update(s, l);
}

static int base_write(struct lapic_set *s, struct lapic *l, uint64_t v)
{
	uint64_t old = l->base, mode = v & (BASE_EN | BASE_EXTD), was = old & (BASE_EN | BASE_EXTD);

	if (v & s->base_reserved)
		return -1;
	if (mode == BASE_EXTD || (was == 0 && (mode & BASE_EXTD)) ||
	    ((was & BASE_EXTD) && mode == BASE_EN))
		return -1;
	__atomic_store_n(&l->base, v, __ATOMIC_SEQ_CST);
	if (was && !mode) {
		state_reset(s, l);
	} else if (mode != was && (mode & BASE_EXTD)) {
		lapic_store(&l->ldr, (l->cpu >> 4) << 16 | 1u << (l->cpu & 0xf));
		l->icr = 0;
	} else if (mode != was) {
		lapic_lint_update(s, l);
	}
	return 0;
}

int lapic_msr_read(struct lapic_set *s, unsigned cpu, uint32_t msr, uint64_t *value)
{
	struct lapic *l = &s->apic[cpu];
	unsigned reg = msr - MSR_X2APIC;

	if (msr == MSR_APIC_BASE) {
		*value = l->base;
		return 0;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*value = lapic_timer_get_deadline(s, l);
		return 0;
	}
	if (!lapic_is_x2(l) || reg >= 0x40 || !(x2apic_access[reg] & R))
		return -1;
	*value = reg == REG_ICR ? l->icr : reg_read(s, l, reg);
	return 0;
}

/* Bits that may be set in a write, x2APIC mode. */
static uint32_t x2_mask(unsigned reg)
{
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI: return 0xff;
	case REG_SVR: return SVR_MASK;
	case REG_LVT ... REG_LVT + LVTS - 1: return lvt_mask[reg - REG_LVT] | LVT_READ_ONLY;
	case REG_INITIAL: return UINT32_MAX;
	case REG_DIVIDE: return DIVIDE_MASK;
	}
	return 0; /* EOI, ESR: only 0 */
}

int lapic_msr_write(struct lapic_set *s, unsigned cpu, uint32_t msr, uint64_t value)
{
	struct lapic *l = &s->apic[cpu];
	unsigned reg = msr - MSR_X2APIC;

	if (msr == MSR_APIC_BASE)
		return base_write(s, l, value);
	if (msr == MSR_TSC_DEADLINE) {
		lapic_timer_set_deadline(s, l, value);
		return 0;
	}
	if (!lapic_is_x2(l) || reg >= 0x40 || !(x2apic_access[reg] & W))
		return -1;
	if (reg == REG_ICR) {
		if (value & ICR_RESERVED_X2)
			return -1;
		l->icr = value & ~BIT(12);
		lapic_icr_write(s, l, l->icr);
		return 0;
	}
	if (value & ~(uint64_t)x2_mask(reg))
		return -1;
	reg_write(s, l, reg, (uint32_t)value);
	return 0;
}

/* ---- the set ---- */

int lapic_create(struct lapic_set **out, const struct lapic_config *cfg, struct err *e)
{
	unsigned phys_bits = cfg->phys_bits ? cfg->phys_bits : 46;
	struct lapic_set *s;
	size_t size = sizeof(*s) + cfg->n_cpus * sizeof(s->apic[0]);

	*out = NULL;
	if (cfg->n_cpus < 1 || cfg->n_cpus > LAPIC_MAX_CPUS)
		return err_set(e, EINVAL, "%u CPUs: local APICs go from 1 to %u", cfg->n_cpus,
			       LAPIC_MAX_CPUS);
	if (cfg->tsc_khz < 1000 || phys_bits < 32 || phys_bits > 52)
		return err_set(e, EINVAL, "local APIC: TSC of %u kHz, %u address bits",
			       cfg->tsc_khz, phys_bits);
	s = aligned_alloc(64, ALIGN_UP(size, 64));
	if (!s)
		return err_set(e, ENOMEM, "no memory for %u local APICs", cfg->n_cpus);
	memset(s, 0, ALIGN_UP(size, 64));
	s->cfg = *cfg;
	s->n = cfg->n_cpus;
	s->base_reserved = ~(BIT(phys_bits) - 1) | 0x2ff;
	for (unsigned i = 0; i < s->n; i++) {
		s->apic[i].cpu = i;
		pthread_mutex_init(&s->apic[i].lock, NULL);
	}
	lapic_reset(s);
	*out = s;
	return 0;
}

void lapic_destroy(struct lapic_set *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++) {
		lapic_timer_reset(s, &s->apic[i]);
		pthread_mutex_destroy(&s->apic[i].lock);
	}
	free(s);
}

unsigned lapic_count(const struct lapic_set *s)
{
	return s->n;
}

void lapic_connect(struct lapic_set *s, const struct lapic_intc *intc)
{
	s->intc = *intc;
}

void lapic_reset(struct lapic_set *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct lapic *l = &s->apic[i];

		__atomic_store_n(&l->base, LAYOUT_LAPIC | BASE_EN | (i == 0 ? BASE_BSP : 0),
				 __ATOMIC_SEQ_CST);
		state_reset(s, l);
	}
}

void lapic_init_reset(struct lapic_set *s, unsigned cpu)
{
	state_reset(s, &s->apic[cpu]);
}

void lapic_virtual_wire(struct lapic_set *s, unsigned cpu)
{
	struct lapic *l = &s->apic[cpu];

	svr_write(s, l, SVR_ENABLED | 0xff);
	lvt_write(s, l, LVT_LINT0, LAPIC_EXTINT << 8);
	lvt_write(s, l, LVT_LINT1, LAPIC_NMI << 8);
}

int lapic_registers_set(struct lapic_set *s, struct lapic *l, const struct irqchip_lapic *in,
			struct err *e)
{
	bool enabled = in->svr & SVR_ENABLED;

	if (in->apic_base & s->base_reserved)
		return err_set(e, EINVAL, "the saved local APIC %u has an impossible base address",
			       l->cpu);
	__atomic_store_n(&l->base, in->apic_base, __ATOMIC_SEQ_CST);
	lapic_store(&l->ldr, lapic_is_x2(l) ? (l->cpu >> 4) << 16 | 1u << (l->cpu & 0xf) :
					      in->ldr & 0xff000000);
	lapic_store(&l->dfr, in->dfr | 0x0fffffff);
	lapic_store(&l->svr, in->svr & SVR_MASK);
	l->esr = in->esr & 0xff;
	lapic_store(&l->esr_new, in->esr_pending & 0xff);
	l->icr = in->icr;
	for (unsigned i = 0; i < LVTS; i++) {
		uint32_t keep = lvt_mask[i] | (lvt_mask[i] & LVT_LEVEL ? LVT_REMOTE_IRR : 0);

		lapic_store(&l->lvt[i], (in->lvt[i] & keep) | (enabled ? 0 : LVT_MASKED));
	}
	return 0;
}

void lapic_pause(struct lapic_set *s)
{
	__atomic_store_n(&s->paused, true, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < s->n; i++)
		lapic_timer_pause(s, &s->apic[i]);
}

void lapic_resume(struct lapic_set *s)
{
	__atomic_store_n(&s->paused, false, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < s->n; i++)
		lapic_timer_resume(s, &s->apic[i]);
}

void lapic_tsc_changed(struct lapic_set *s, unsigned cpu)
{
	struct lapic *l = &s->apic[cpu];

	lapic_timer_resume(s, l);
}

static void dump_set(struct text *t, const char *name, const uint64_t w[4])
{
	text_print(t, " %s", name);
	for (unsigned v = 0; v < 256; v++) {
		if (__atomic_load_n(&w[v / 64], __ATOMIC_RELAXED) & BIT(v % 64))
			text_print(t, " %02x", v);
	}
	text_print(t, "\n");
}

int lapic_dump(const struct lapic_set *s, unsigned cpu, char *buf, size_t size)
{
	static const char *const names[LVTS] = {"timer", "thermal", "perf",
						"lint0", "lint1",   "error"};
	struct text t = {buf, size, 0};
	const struct lapic *l;

	if (size)
		buf[0] = '\0';
	if (cpu >= s->n)
		return 0;
	l = &s->apic[cpu];
	text_print(&t,
		   "lapic %u: base %#" PRIx64 " (%s) svr %03x tpr %02x ppr %02x ldr %08x dfr %08x\n",
		   cpu, l->base,
		   !lapic_enabled(l) ? "off" :
		   lapic_is_x2(l)    ? "x2apic" :
				       "xapic",
		   l->svr, l->tpr, l->ppr, l->ldr, l->dfr);
	dump_set(&t, "irr", l->irr);
	dump_set(&t, "isr", l->isr);
	dump_set(&t, "tmr", l->tmr);
	for (unsigned i = 0; i < LVTS; i++)
		text_print(&t, " %s %08x", names[i], lapic_load(&l->lvt[i]));
	text_print(&t, "\n icr %016" PRIx64 " esr %02x+%02x hot %02x\n", l->icr, l->esr, l->esr_new,
		   l->hot);
	text_print(&t,
		   " timer: initial %u divide %x armed %d deadline %" PRIu64
		   " ns, tsc-deadline %#" PRIx64 "\n",
		   l->initial, l->divide, l->armed, l->deadline_ns, l->tsc_deadline);
	text_print(&t, " acked %" PRIu64 " ipis %" PRIu64 " timer %" PRIu64 "\n", l->n_irq,
		   l->n_ipi, l->n_timer);
	return (int)t.len;
}
