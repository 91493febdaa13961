/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft_tables.h - descriptor tables, page tables and start states for tests that step single instructions of
 * the soft engine: 64-bit mode and flat 32-bit protected mode, at CPL 0 or 3, every vector with a gate.
 */
#ifndef LODGE_TESTS_UNIT_SOFT_TABLES_H
#define LODGE_TESTS_UNIT_SOFT_TABLES_H

#include "soft_fixture.h"

/* Where things are, identity mapped. */
#define PML4 0x1000u
#define PDPT 0x2000u
#define GDT 0x3000u
#define IDT 0x4000u
#define TSS 0x5000u
#define CODE 0x8000u
#define STACK 0x20000u	/* CPL 0 */
#define USTACK 0x30000u /* CPL 3 */
#define IST1 0x40000u
#define HANDLER(n) (0x100000u + (n)*16)

/* Selectors. */
#define KCS 0x08u
#define KDS 0x10u
#define UCS32 0x1bu
#define UDS 0x23u
#define UCS 0x2bu
#define TR 0x30u
#define GATE 0x40u
#define CONF 0x50u

/* A descriptor: access byte and flags nibble as in x86_seg.attr, without the limit's high bits. */
static inline void gdt_set(struct fix *f, unsigned sel, uint64_t base, uint32_t limit, unsigned attr)
{
	uint64_t d = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)(attr & 0xf0ff) << 40 |
		     (uint64_t)(limit >> 16 & 0xf) << 48 | (base >> 24 & 0xff) << 56;

	fix_put(f, GDT + (sel & ~7u), d, 8);
}

static inline void idt64(struct fix *f, unsigned n, unsigned sel, unsigned type, unsigned dpl,
			 unsigned ist)
{
	uint64_t at = HANDLER(n);

	fix_put(f, IDT + n * 16,
		(at & 0xffff) | (uint64_t)sel << 16 | (uint64_t)ist << 32 |
			(uint64_t)(0x80 | dpl << 5 | type) << 40 | (at >> 16 & 0xffff) << 48,
		8);
	fix_put(f, IDT + n * 16 + 8, at >> 32, 8);
}

static inline void idt32(struct fix *f, unsigned n, unsigned sel, unsigned type, unsigned dpl)
{
	uint64_t at = HANDLER(n);

	fix_put(f, IDT + n * 8,
		(at & 0xffff) | (uint64_t)sel << 16 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
			(at >> 16 & 0xffff) << 48,
		8);
}

static inline void seg(struct x86_seg *s, unsigned sel, unsigned attr)
{
	s->sel = (uint16_t)sel;
	s->base = 0;
	s->limit = 0xffffffff;
	s->attr = (uint16_t)attr;
}

static inline void gdt_common(struct fix *f)
{
	gdt_set(f, KCS, 0, 0xfffff, 0xa09b);
	gdt_set(f, KDS, 0, 0xfffff, 0xc093);
	gdt_set(f, UCS32, 0, 0xfffff, 0xc0fb);
	gdt_set(f, UDS, 0, 0xfffff, 0xc0f3);
	gdt_set(f, UCS, 0, 0xfffff, 0xa0fb);
	gdt_set(f, CONF, 0, 0xfffff, 0xa09f);
	f->v->s.gdt = (struct x86_dtr){GDT, 0xff};
	f->v->s.idt = (struct x86_dtr){IDT, 0xfff};
}

/* 64-bit mode at `cpl`; every vector has an interrupt gate. */
static inline struct x86_state *mode64(struct fix *f, unsigned cpl)
{
	struct x86_state *s = &f->v->s;

	fix_put(f, PML4, PDPT | 7, 8);
	fix_put(f, PDPT, 0x87, 8);
	gdt_common(f);
	gdt_set(f, TR, TSS, 0x67, 0x8b);
	fix_put(f, GDT + TR + 8, 0, 8);
	for (unsigned i = 0; i < 256; i++)
		idt64(f, i, KCS, 14, 0, 0);
	fix_put(f, TSS + 4, STACK, 8);
	fix_put(f, TSS + 0x24, IST1, 8);
	seg(&s->tr, TR, 0x8b);
	s->tr.base = TSS;
	s->tr.limit = 0x67;
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_ET | X86_CR0_NE;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE;
	s->msr.efer = X86_EFER_LMA | X86_EFER_LME | X86_EFER_NXE | X86_EFER_SCE;
	seg(&s->seg[X86_CS], cpl ? UCS : KCS, cpl ? 0xa0fb : 0xa09b);
	for (unsigned i = 0; i < X86_SREGS; i++) {
		if (i != X86_CS)
			seg(&s->seg[i], cpl ? UDS : KDS, cpl ? 0xc0f3 : 0xc093);
	}
	s->gpr[X86_RSP] = cpl ? USTACK : STACK;
	s->rip = CODE;
	s->rflags = 0x202;
	s->ev = (struct x86_events){0};
	soft_state_loaded(f->v);
	assert_int_equal(f->v->cpl, cpl);
	return s;
}

/* Flat 32-bit protected mode without paging. */
static inline struct x86_state *mode32(struct fix *f, unsigned cpl)
{
	struct x86_state *s = &f->v->s;

	gdt_common(f);
	gdt_set(f, KCS, 0, 0xfffff, 0xc09b);
	gdt_set(f, TR, TSS, 0x67, 0x8b);
	for (unsigned i = 0; i < 256; i++)
		idt32(f, i, KCS, 14, 0);
	fix_put(f, TSS + 4, STACK, 4);
	fix_put(f, TSS + 8, KDS, 4);
	seg(&s->tr, TR, 0x8b);
	s->tr.base = TSS;
	s->tr.limit = 0x67;
	s->cr0 = X86_CR0_PE | X86_CR0_ET;
	s->cr4 = 0;
	s->msr.efer = 0;
	s->ev = (struct x86_events){0};
	seg(&s->seg[X86_CS], cpl ? UCS32 : KCS, cpl ? 0xc0fb : 0xc09b);
	for (unsigned i = 0; i < X86_SREGS; i++) {
		if (i != X86_CS)
			seg(&s->seg[i], cpl ? UDS : KDS, cpl ? 0xc0f3 : 0xc093);
	}
	s->gpr[X86_RSP] = cpl ? USTACK : STACK;
	s->rip = CODE;
	s->rflags = 0x202;
	soft_state_loaded(f->v);
	return s;
}

/* Steps over the instruction in the string of bytes, from CODE. True: no exception. */
#define run(f, bytes) run_(f, bytes, sizeof(bytes) - 1)
static inline bool run_(struct fix *f, const char *bytes, size_t n)
{
	assert_int_equal(gmem_write(f->mem, CODE, bytes, n), 0);
	f->v->s.rip = CODE;
	return soft_step(f->v);
}

/* The exception frame in 64-bit mode, from s->gpr[RSP]. */
#define frame(f, i) fix_get(f, (f)->v->s.gpr[X86_RSP] + 8 * (i), 8)
#define frame32(f, i) fix_get(f, (f)->v->s.gpr[X86_RSP] + 4 * (i), 4)

#endif
