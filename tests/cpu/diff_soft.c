/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_soft.c - the software engine's side of the differential test: a guest at CPL 3.
 *
 * Guest physical memory: page tables, descriptor tables and the kernel's stack in the first megabyte, then
 * the code cells (in reverse order of pages, so that a page crossing is not one in physical memory) and the
 * data pages. Linear addresses are those of diff.h; the kernel's part is at KBASE, supervisor only. Each
 * exception goes through an IDT gate to an address of its own, where there is only HLT; the frame that the
 * delivery pushed is what the test compares.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/soft/soft.h"
#include "engine/soft/translate.h"
#include "diff.h"

#define KBASE UINT64_C(0xffffffff80000000) /* linear = KBASE + gpa for the first MiB */
#define G_PML4 0x1000u
#define G_TABLES 0x2000u /* further page tables, allocated upward */
#define G_GDT 0x20000u
#define G_IDT 0x21000u
#define G_TSS 0x22000u
#define G_STACK_TOP 0x30000u
#define G_HANDLERS 0x31000u /* 16 bytes a vector, HLT */
#define G_CODE 0x100000u
#define G_D0 0x200000u
#define G_D1 0x300000u
#define G_D2 0x210000u
#define G_SIZE 0x400000u

/* The translator comes later than the reference way; the test does without it then. */
#pragma weak soft_run_block
#pragma weak soft_vcpu_of

struct diff_soft {
	struct gmem *mem;
	struct engine *en;
	struct engine_vcpu *ev;
	struct soft_vcpu *v;
	uint8_t *d0, *d1;
	unsigned next_table;
	struct x86_state init;
	const struct diff_batch *batch;
};

static uint32_t no_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
	(void)ctx, (void)vcpu, (void)port, (void)size;
	return ~0u;
}
static void no_out(void *ctx, unsigned vcpu, uint16_t port, uint32_t value, unsigned size)
{
	(void)ctx, (void)vcpu, (void)port, (void)value, (void)size;
}
static uint64_t no_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
	(void)ctx, (void)vcpu, (void)gpa, (void)size;
	return ~UINT64_C(0);
}
static void no_write(void *ctx, unsigned vcpu, gpa_t gpa, uint64_t value, unsigned size)
{
	(void)ctx, (void)vcpu, (void)gpa, (void)value, (void)size;
}
static int no_msr_read(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *value)
{
	(void)ctx, (void)vcpu, (void)msr, (void)value;
	return -1;
}
static int no_msr_write(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value)
{
	(void)ctx, (void)vcpu, (void)msr, (void)value;
	return -1;
}
static unsigned no_cr8(void *ctx, unsigned vcpu)
{
	(void)ctx, (void)vcpu;
	return 0;
}
static void no_cr8_write(void *ctx, unsigned vcpu, unsigned tpr)
{
	(void)ctx, (void)vcpu, (void)tpr;
}
static bool no_irq(void *ctx, unsigned vcpu)
{
	(void)ctx, (void)vcpu;
	return false;
}
static int no_ack(void *ctx, unsigned vcpu)
{
	(void)ctx, (void)vcpu;
	return -1;
}
static const struct engine_host host = {
	.port_in = no_in,
	.port_out = no_out,
	.mmio_read = no_read,
	.mmio_write = no_write,
	.apic_msr_read = no_msr_read,
	.apic_msr_write = no_msr_write,
	.cr8_read = no_cr8,
	.cr8_write = no_cr8_write,
	.irq_pending = no_irq,
	.irq_ack = no_ack,
};

static uint64_t *at(struct diff_soft *d, gpa_t gpa)
{
	return gmem_at(d->mem, gpa, 8);
}

/* Maps one 4 KiB page. */
static void map(struct diff_soft *d, uint64_t la, gpa_t gpa, uint64_t flags)
{
	gpa_t table = G_PML4;

	for (int level = 3; level > 0; level--) {
		gpa_t slot = table + ((la >> (12 + 9 * level)) & 511) * 8;

		if (!*at(d, slot)) {
			*at(d, slot) = d->next_table | 7;
			d->next_table += 0x1000;
		}
		table = *at(d, slot) & 0xfffff000;
	}
	*at(d, table + ((la >> 12) & 511) * 8) = gpa | flags | 0x61; /* P, A, D */
}

static void build(struct diff_soft *d)
{
	struct x86_state *s = &d->init;
	static const uint64_t gdt[] = {
		0,
		0x00cf9b000000ffff,
		0x00af9b000000ffff,
		0x00cf93000000ffff,
		0x00cffb000000ffff,
		0x00cff3000000ffff,
		0x00affb000000ffff,
	};
	const uint64_t nx = BIT(63);

	d->next_table = G_TABLES;
	for (uint64_t p = 0; p < 0x100000; p += 0x1000)
		map(d, KBASE + p, p, 2);
	for (uint64_t p = 0; p < DIFF_CODE_SIZE; p += 0x1000)
		map(d, DIFF_CODE + p, G_CODE + DIFF_CODE_SIZE - 0x1000 - p, 4);
	map(d, DIFF_D0, G_D0, 6 | nx);
	map(d, DIFF_D1, G_D1, 6 | nx);
	map(d, DIFF_D2, G_D2, 4 | nx);
	memcpy(at(d, G_GDT), gdt, sizeof(gdt));
	memset(at(d, G_HANDLERS), 0xf4, 0x1000);
	for (unsigned vec = 0; vec < 256; vec++) {
		uint64_t h = KBASE + G_HANDLERS + vec * 16, dpl = vec == 3 || vec == 4 ? 3 : 0;

		*at(d, G_IDT + vec * 16) = (h & 0xffff) | UINT64_C(0x10) << 16 |
					   (0x8e | dpl << 5) << 40 | (h >> 16 & 0xffff) << 48;
		*at(d, G_IDT + vec * 16 + 8) = h >> 32;
	}
	memcpy((uint8_t *)at(d, G_TSS) + 4, &(uint64_t){KBASE + G_STACK_TOP}, 8); /* RSP0 */
	*at(d, G_TSS + 0x60) = UINT64_C(0xffff) << 48; /* no I/O bitmap */
	memcpy(at(d, G_D2), diff_d2, 4096);

	x86_state_reset(s, true);
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |
		 X86_CR0_PG;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
		 X86_CR4_FSGSBASE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_UMIP;
	if (diff_host_avx()) {
		s->cr4 |= X86_CR4_OSXSAVE;
		s->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	}
	s->cr3 = G_PML4;
	s->msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->gdt = (struct x86_dtr){KBASE + G_GDT, 0x7f};
	s->idt = (struct x86_dtr){KBASE + G_IDT, 0xfff};
	s->tr = (struct x86_seg){KBASE + G_TSS, 0x67, 0x40, 0x8b};
	s->ldt = (struct x86_seg){0};
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x400;
}

bool diff_soft_has_translate(void)
{
	return soft_run_block != NULL;
}

struct diff_soft *diff_soft_create(bool chaos)
{
	struct diff_soft *d = calloc(1, sizeof(*d));
	const struct gmem_range range = {0, G_SIZE};
	struct err e = {0};
	struct engine_config cfg = {.host = &host,
				    .n_vcpus = 1,
				    .tsc_khz = 1000000,
				    .soft_mode = SOFT_MODE_REFERENCE};

	if (soft_run_block)
		cfg.soft_mode = chaos ? SOFT_MODE_CHAOS : SOFT_MODE_TRANSLATE;
	if (gmem_create(&d->mem, &range, 1, -1, &e) != 0)
		goto fail;
	build(d);
	cfg.mem = d->mem;
	if (engine_soft.open(&d->en, &cfg, &e) != 0 ||
	    engine_soft.vcpu_create(d->en, 0, &d->ev, &e) != 0 ||
	    engine_soft.vcpu_attach(d->ev, &e) != 0)
		goto fail;
	d->v = soft_vcpu_of ? soft_vcpu_of(d->ev) : (struct soft_vcpu *)(void *)d->ev;
	d->d0 = gmem_at(d->mem, G_D0, 4096);
	d->d1 = gmem_at(d->mem, G_D1, 4096);
	engine_soft.set_state(d->ev, X86_STATE_ALL, &d->init);
	return d;
fail:
	fprintf(stderr, "cpu-diff: %s\n", e.msg);
	exit(1);
}

void diff_soft_destroy(struct diff_soft *d)
{
	engine_soft.vcpu_destroy(d->ev);
	engine_soft.close(d->en);
	gmem_destroy(d->mem);
	free(d);
}

void diff_soft_begin_batch(struct diff_soft *d, const struct diff_batch *b)
{
	d->batch = b;
	/* By the checked gate, as a device would: the engine must drop what it translated. */
	for (unsigned p = 0; p < DIFF_CODE_SIZE; p += 0x1000)
		gmem_write(d->mem, G_CODE + DIFF_CODE_SIZE - 0x1000 - p, b->guest_code + p, 0x1000);
	if (soft_run_block) {
		struct engine_exit e;

		engine_soft.kick(
			d->ev,
			true); /* the engine's loop does what the writes asked of it; soft_run_block() does not */
		engine_soft.run(d->ev, &e);
	}
	memcpy(d->d0, b->data, 4096);
	memcpy(d->d1, b->data + 4096, 4096);
	/* Each second batch with a window onto the user's memory. */
	if (b->first / DIFF_BATCH % 2)
		soft_window_open(d->v);
	else
		soft_window_close(d->v);
}

static void set_segments(struct x86_state *s, const struct diff_case *c)
{
	const struct x86_seg data = {0, 0xffffffff, DIFF_DS, 0xc0f3};

	s->seg[X86_CS] = (struct x86_seg){0, 0xffffffff, c->compat ? DIFF_CS32 : DIFF_CS64,
					  c->compat ? 0xc0fb : 0xa0fb};
	s->seg[X86_SS] = s->seg[X86_DS] = s->seg[X86_ES] = data;
	s->seg[X86_FS] = (struct x86_seg){.base = c->in.fs_base};
	s->seg[X86_GS] = c->compat ? data : (struct x86_seg){0};
	s->seg[X86_GS].base = c->in.gs_base;
}

static void poke(struct diff_soft *d, uint32_t addr, const uint8_t *p, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		unsigned off = addr + i - DIFF_D0;

		(off < 4096 ? d->d0 : d->d1)[off & 4095] = p[i];
	}
}

static void collect(struct diff_soft *d, struct diff_result *o)
{
	o->n_lines = 0;
	for (unsigned page = 0; page < 2; page++) {
		uint8_t *data = page ? d->d1 : d->d0;
		const uint8_t *pristine = d->batch->data + 4096 * page;

		if (memcmp(data, pristine, 4096) == 0)
			continue;
		for (unsigned i = 0; i < 4096 / DIFF_LINE; i++) {
			uint8_t *p = data + i * DIFF_LINE;

			if (memcmp(p, pristine + i * DIFF_LINE, DIFF_LINE) == 0)
				continue;
			o->line_no[o->n_lines] = (uint16_t)(page * 4096 / DIFF_LINE + i);
			memcpy(o->line[o->n_lines++], p, DIFF_LINE);
			memcpy(p, pristine + i * DIFF_LINE, DIFF_LINE);
		}
	}
}

/* The vector whose handler s.rip is at, or -1. */
static int handler_vector(const struct x86_state *s)
{
	uint64_t off = s->rip - (KBASE + G_HANDLERS);

	return off < 4096 && s->seg[X86_CS].sel == 0x10 ? (int)(off / 16) : -1;
}

static bool is_end(const struct diff_case *c, uint64_t rip)
{
	for (unsigned i = 0; i < c->n_ends; i++)
		if (c->end[i] == rip)
			return true;
	return false;
}

void diff_soft_run(struct diff_soft *d, const struct diff_batch *b, const struct diff_case *c,
		   enum diff_mode mode, unsigned max_insns, struct diff_result *out)
{
	struct soft_vcpu *v = d->v;
	struct x86_state *s = &v->s;
	int vec = -1;

	(void)b;
	memcpy(s->gpr, c->in.gpr, sizeof(s->gpr));
	s->rip = c->in.rip;
	s->rflags = c->in.rflags;
	s->cr2 = 0;
	s->dr[6] = d->init.dr[6];
	set_segments(s, c);
	memcpy(s->fx, c->in.fx, sizeof(s->fx));
	memset(&s->ev, 0, sizeof(s->ev));
	v->trap_pending = false;
	v->trap_dr6 = 0;
	v->shutdown = false;
	soft_mode_changed(v);
	if (c->poke_len)
		poke(d, c->poke_addr, c->poke, c->poke_len);

	out->vector = DIFF_HUNG;
	out->err = 0;
	out->cr2 = 0;
	for (unsigned n = 0; n < 10000; n++) {
		if (mode == DIFF_TRANSLATE && max_insns) {
			soft_run_block(v, max_insns);
		} else if (mode == DIFF_TRANSLATE) {
			struct engine_exit e;

			engine_soft.run(d->ev,
					&e); /* the whole engine, until the HLT at the handler */
		} else {
			soft_step(v);
		}
		soft_fp_save(
			v); /* the guest's FPU state may be in our registers: nothing else before this */
		vec = handler_vector(s);
		if (vec >= 0 || v->shutdown)
			break;
		/* A single instruction is over when RIP moved; its target need not be there. */
		if (is_end(c, s->rip) || (!c->block && s->rip != c->in.rip)) {
			out->vector = DIFF_NO_VECTOR;
			break;
		}
	}
	memcpy(out->r.gpr, s->gpr, sizeof(out->r.gpr));
	out->r.rip = s->rip;
	out->r.rflags = s->rflags;
	out->r.fs_base = s->seg[X86_FS].base;
	out->r.gs_base = s->seg[X86_GS].base;
	memcpy(out->r.fx, s->fx, sizeof(s->fx));
	if (vec >= 0) {
		bool has_err = vec == 8 || (vec >= 10 && vec <= 14) || vec == 17;
		const uint64_t *f = at(d, s->gpr[X86_RSP] - KBASE);

		if (!f || s->gpr[X86_RSP] < KBASE) {
			out->vector = DIFF_HUNG;
		} else {
			out->vector = (uint8_t)vec;
			out->err = has_err ? *f++ : 0;
			out->cr2 = s->cr2;
			out->r.rip = f[0];
			out->r.rflags = f[2];
			out->r.gpr[X86_RSP] = f[3];
			if (vec == X86_EXC_UD && is_end(c, f[0])) { /* the stub's UD2 */
				out->vector = DIFF_NO_VECTOR;
				out->r.rflags &= ~(uint64_t)X86_RF;
			}
		}
	}
	collect(d, out);
}
