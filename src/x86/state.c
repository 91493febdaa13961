/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.c - the processor at power-up, after INIT and after a start-up IPI (SDM vol. 3 §9.1, table 9-1),
 * and its dump for people.
 */
#include <stdio.h>

#include "util/text.h"
#include "x86/state.h"

#define APIC_BASE_DEFAULT UINT64_C(0xfee00000)
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_ENABLE BIT(11)
#define PAT_DEFAULT UINT64_C(0x0007040600070406)
#define MISC_ENABLE_FAST_STRING BIT(0)
#define DR6_DEFAULT UINT64_C(0xffff0ff0)
#define DR7_DEFAULT UINT64_C(0x400)

/* FXSAVE image, SDM vol. 1 §10.5.1. */
#define FX_FCW 0
#define FX_FTW 4
#define FX_MXCSR 24

static void set_seg(struct x86_seg *seg, uint16_t sel, uint64_t base, uint16_t attr)
{
	seg->sel = sel;
	seg->base = base;
	seg->limit = 0xffff;
	seg->attr = attr;
}

/* What RESET and INIT have in common. */
static void common(struct x86_state *s, bool bsp)
{
	const uint16_t data = X86_ATTR_P | X86_ATTR_S | X86_ATTR_RW | X86_ATTR_ACCESSED;

	for (unsigned i = 0; i < ARRAY_SIZE(s->gpr); i++)
		s->gpr[i] = 0;
	s->gpr[X86_RDX] =
		0x600; /* family 6: what software that looks at it expects of "a P6 or later" */
	s->rip = 0xfff0;
	s->rflags = X86_F1;
	s->cr2 = s->cr3 = s->cr4 = s->cr8 = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(s->dr); i++)
		s->dr[i] = 0;
	s->dr[6] = DR6_DEFAULT;
	s->dr[7] = DR7_DEFAULT;
	for (unsigned i = 0; i < X86_SREGS; i++)
		set_seg(&s->seg[i], 0, 0, data);
	set_seg(&s->seg[X86_CS], 0xf000, 0xffff0000, data | X86_ATTR_CODE);
	set_seg(&s->ldt, 0, 0, X86_ATTR_P | 2);
	set_seg(&s->tr, 0, 0, X86_ATTR_P | 11);
	s->gdt.base = s->idt.base = 0;
	s->gdt.limit = s->idt.limit = 0xffff;
	s->msr.efer = 0;
	s->ev.sti_shadow = s->ev.movss_shadow = false;
	s->ev.nmi_masked = s->ev.nmi_pending = false;
	s->ev.halted = s->ev.kicked = false;
	s->ev.wait_for_sipi = !bsp;
}

void x86_state_reset(struct x86_state *s, bool bsp)
{
	struct x86_msrs *m = &s->msr;

	*m = (struct x86_msrs){0};
	m->pat = PAT_DEFAULT;
	m->misc_enable = MISC_ENABLE_FAST_STRING;
	m->apic_base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
	s->cr0 = X86_CR0_ET | X86_CR0_NW | X86_CR0_CD;
	s->xcr0 = 1;
	for (unsigned i = 0; i < sizeof(s->fx); i++)
		s->fx[i] = 0;
	s->fx[FX_FCW] = 0x40;
	s->fx[FX_FTW] = 0xff; /* all registers hold +0.0 */
	s->fx[FX_MXCSR] = 0x80;
	s->fx[FX_MXCSR + 1] = 0x1f;
	s->fx[X86_FX_XSTATE_BV] = X86_XCR0_X87; /* FCW is not as FNINIT leaves it */
	s->avx512 = (struct x86_avx512){0};
	common(s, bsp);
}

void x86_state_init(struct x86_state *s, bool bsp)
{
	s->cr0 = X86_CR0_ET | (s->cr0 & (X86_CR0_NW | X86_CR0_CD));
	common(s, bsp);
}

void x86_state_sipi(struct x86_state *s, uint8_t vector)
{
	s->seg[X86_CS].sel = (uint16_t)(vector << 8);
	s->seg[X86_CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	s->ev.wait_for_sipi = false;
	s->ev.halted = false;
}

void x86_state_copy(struct x86_state *to, const struct x86_state *from, uint64_t mask)
{
	if (mask & X86_STATE_GPR) {
		for (unsigned i = 0; i < ARRAY_SIZE(to->gpr); i++)
			to->gpr[i] = from->gpr[i];
		to->rip = from->rip;
		to->rflags = from->rflags;
	}
	if (mask & X86_STATE_SYS) {
		to->cr0 = from->cr0;
		to->cr2 = from->cr2;
		to->cr3 = from->cr3;
		to->cr4 = from->cr4;
		to->cr8 = from->cr8;
		for (unsigned i = 0; i < ARRAY_SIZE(to->dr); i++)
			to->dr[i] = from->dr[i];
		for (unsigned i = 0; i < X86_SREGS; i++)
			to->seg[i] = from->seg[i];
		to->ldt = from->ldt;
		to->tr = from->tr;
		to->gdt = from->gdt;
		to->idt = from->idt;
		to->xcr0 = from->xcr0;
	}
	if (mask & X86_STATE_MSR)
		to->msr = from->msr;
	if (mask & X86_STATE_FPU) {
		for (unsigned i = 0; i < sizeof(to->fx); i++)
			to->fx[i] = from->fx[i];
		to->avx512 = from->avx512;
	}
	if (mask & X86_STATE_EVENTS)
		to->ev = from->ev;
}

/* ---- Dump ---- */

static void add_seg(struct text *t, const char *name, const struct x86_seg *seg)
{
	text_print(t, "%-4s %04x base %016llx limit %08x attr %04x%s\n", name, seg->sel,
		   (unsigned long long)seg->base, seg->limit, seg->attr,
		   seg->attr & X86_ATTR_P ? "" : " unusable");
}

/* Two registers a line, most significant byte first; those that are zero are left out. */
static void add_vectors(struct text *t, const uint8_t *fx)
{
	unsigned shown = 0;

	for (unsigned i = 0; i < 16; i++) {
		const uint8_t *lo = fx + X86_FX_XMM + 16 * i, *hi = fx + X86_FX_YMM_HI + 16 * i;
		unsigned any = 0, any_hi = 0;

		for (unsigned k = 0; k < 16; k++) {
			any |= lo[k] | hi[k];
			any_hi |= hi[k];
		}
		if (!any)
			continue;
		text_print(t, "%smm%-2u ", any_hi ? "y" : "x", i);
		for (unsigned k = 16; any_hi && k-- > 0;)
			text_print(t, "%02x", hi[k]);
		for (unsigned k = 16; k-- > 0;)
			text_print(t, "%02x", lo[k]);
		text_print(t, ++shown % 2 ? "  " : "\n");
	}
	if (shown % 2)
		text_print(t, "\n");
}

int x86_state_print(const struct x86_state *s, char *buf, size_t size)
{
	static const char *const gpr[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",	 "r9",	"r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const sreg[] = {"es", "cs", "ss", "ds", "fs", "gs"};
	static const struct {
		uint32_t bit;
		char name[4];
	} flags[] = {{X86_CF, "cf"}, {X86_PF, "pf"}, {X86_AF, "af"}, {X86_ZF, "zf"}, {X86_SF, "sf"},
		     {X86_TF, "tf"}, {X86_IF, "if"}, {X86_DF, "df"}, {X86_OF, "of"}, {X86_NT, "nt"},
		     {X86_RF, "rf"}, {X86_VM, "vm"}, {X86_AC, "ac"}, {X86_ID, "id"}};
	const struct x86_events *ev = &s->ev;
	struct text t = {.buf = buf, .size = size};

	for (unsigned i = 0; i < 16; i++)
		text_print(&t, "%-3s %016llx%s", gpr[i], (unsigned long long)s->gpr[i],
			   i % 4 == 3 ? "\n" : "  ");
	text_print(&t, "rip %016llx  rflags %08llx cpl %u", (unsigned long long)s->rip,
		   (unsigned long long)s->rflags, x86_state_cpl(s));
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		if (s->rflags & flags[i].bit)
			text_print(&t, " %s", flags[i].name);
	}
	text_print(&t, "\ncr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  cr8 %llx  efer %04llx\n",
		   (unsigned long long)s->cr0, (unsigned long long)s->cr2,
		   (unsigned long long)s->cr3, (unsigned long long)s->cr4,
		   (unsigned long long)s->cr8, (unsigned long long)s->msr.efer);
	for (unsigned i = 0; i < X86_SREGS; i++)
		add_seg(&t, sreg[i], &s->seg[i]);
	add_seg(&t, "ldt", &s->ldt);
	add_seg(&t, "tr", &s->tr);
	text_print(&t, "gdt  base %016llx limit %04x\nidt  base %016llx limit %04x\n",
		   (unsigned long long)s->gdt.base, s->gdt.limit, (unsigned long long)s->idt.base,
		   s->idt.limit);
	text_print(&t,
		   "dr0 %016llx  dr1 %016llx  dr2 %016llx  dr3 %016llx  dr6 %08llx  dr7 %08llx\n",
		   (unsigned long long)s->dr[0], (unsigned long long)s->dr[1],
		   (unsigned long long)s->dr[2], (unsigned long long)s->dr[3],
		   (unsigned long long)s->dr[6], (unsigned long long)s->dr[7]);
	text_print(
		&t,
		"star %016llx  lstar %016llx  cstar %016llx  sfmask %08llx  kernel_gs_base %016llx\n",
		(unsigned long long)s->msr.star, (unsigned long long)s->msr.lstar,
		(unsigned long long)s->msr.cstar, (unsigned long long)s->msr.sfmask,
		(unsigned long long)s->msr.kernel_gs_base);
	text_print(&t, "apic_base %llx  tsc_offset %llx  tsc_deadline %llx  kvmclock %llx\n",
		   (unsigned long long)s->msr.apic_base, (unsigned long long)s->msr.tsc_offset,
		   (unsigned long long)s->msr.tsc_deadline,
		   (unsigned long long)s->msr.kvm_system_time);
	text_print(&t, "xcr0 %llx  fcw %02x%02x  fsw %02x%02x  mxcsr %02x%02x\n",
		   (unsigned long long)s->xcr0, s->fx[1], s->fx[0], s->fx[3], s->fx[2],
		   s->fx[FX_MXCSR + 1], s->fx[FX_MXCSR]);
	add_vectors(&t, s->fx);
	text_print(&t, "events%s%s%s%s%s%s%s\n", ev->sti_shadow ? " sti-shadow" : "",
		   ev->movss_shadow ? " movss-shadow" : "", ev->nmi_masked ? " nmi-masked" : "",
		   ev->nmi_pending ? " nmi-pending" : "", ev->halted ? " halted" : "",
		   ev->kicked ? " kicked" : "", ev->wait_for_sipi ? " wait-for-sipi" : "");
	return (int)t.len;
}
