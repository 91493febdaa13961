/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep_report.c - is what the two sides made of a unit the same; and if not, what to tell about it.
 *
 * Called with guest FPU state in v->s. One sentence goes to the caller, everything that differs to the log.
 */
#include <stdio.h>
#include <string.h>

#include "engine/soft/lockstep.h"
#include "util/log.h"

#define ACCESSED UINT64_C(0x20) /* in an entry of a page table */
#define MAX_PLACES 8u		/* differing places of memory that are told */

static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const seg_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};

/* Collects; the first difference becomes the sentence. */
struct report {
	struct soft_vcpu *v;
	bool quiet, same;
	char first[160];
};

static void differ(struct report *r, const char *what, uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	if (r->same)
		(void)snprintf(r->first, sizeof(r->first), "%s is %#llx, the reference says %#llx",
			       what, (unsigned long long)got, (unsigned long long)want);
	r->same = false;
	if (!r->quiet)
		log_error("lock-step:   %-24s translated %016llx  reference %016llx", what,
			  (unsigned long long)got, (unsigned long long)want);
}

static void registers(struct report *r)
{
	const struct x86_state *got = &r->v->lockstep_state->translated, *want = &r->v->s;
	/* RF counts for code breakpoints; with those on, nothing is translated. */
	uint32_t flags = (uint32_t)(got->rflags ^ want->rflags) & ~X86_RF;

	differ(r, "rip", got->rip, want->rip);
	for (unsigned i = 0; i < 16; i++)
		differ(r, gpr_names[i], got->gpr[i], want->gpr[i]);
	if ((flags & ~(uint32_t)X86_STATUS_FLAGS) || got->rip != want->rip ||
	    (flags && !soft_lockstep_dead(r->v, flags)))
		differ(r, "rflags", got->rflags, want->rflags);
	differ(r, "cr0", got->cr0, want->cr0);
	differ(r, "cr2", got->cr2, want->cr2);
	differ(r, "cr3", got->cr3, want->cr3);
	differ(r, "cr4", got->cr4, want->cr4);
	differ(r, "xcr0", got->xcr0, want->xcr0);
	for (unsigned i = 0; i < 8; i++) {
		char name[4] = {'d', 'r', (char)('0' + i), 0};

		differ(r, name, got->dr[i], want->dr[i]);
	}
}

static void segment(struct report *r, const char *name, const struct x86_seg *got,
		    const struct x86_seg *want)
{
	char what[24];

	(void)snprintf(what, sizeof(what), "%s base", name);
	differ(r, what, got->base, want->base);
	(void)snprintf(what, sizeof(what), "%s limit", name);
	differ(r, what, got->limit, want->limit);
	(void)snprintf(what, sizeof(what), "%s selector, attributes", name);
	differ(r, what, (uint64_t)got->sel << 16 | got->attr,
	       (uint64_t)want->sel << 16 | want->attr);
}

static void system_state(struct report *r)
{
	const struct soft_lockstep *l = r->v->lockstep_state;
	const struct x86_state *got = &l->translated, *want = &r->v->s;
	const uint64_t *a = (const uint64_t *)(const void *)&got->msr;
	const uint64_t *b = (const uint64_t *)(const void *)&want->msr;
	char what[40];

	for (unsigned i = 0; i < X86_SREGS; i++)
		segment(r, seg_names[i], &got->seg[i], &want->seg[i]);
	segment(r, "ldt", &got->ldt, &want->ldt);
	segment(r, "tr", &got->tr, &want->tr);
	differ(r, "gdt base", got->gdt.base, want->gdt.base);
	differ(r, "gdt limit", got->gdt.limit, want->gdt.limit);
	differ(r, "idt base", got->idt.base, want->idt.base);
	differ(r, "idt limit", got->idt.limit, want->idt.limit);
	for (unsigned i = 0; i < sizeof(got->msr) / 8; i++) {
		(void)snprintf(what, sizeof(what), "MSR (word %u of x86_msrs)", i);
		differ(r, what, a[i], b[i]);
	}
	differ(r, "STI shadow", got->ev.sti_shadow, want->ev.sti_shadow);
	differ(r, "MOV SS shadow", got->ev.movss_shadow, want->ev.movss_shadow);
	differ(r, "NMI masked", got->ev.nmi_masked, want->ev.nmi_masked);
	differ(r, "halted", got->ev.halted, want->ev.halted);
	for (unsigned i = 0; i < ARRAY_SIZE(l->rest_translated.pdpte); i++)
		differ(r, "PDPTE", l->rest_translated.pdpte[i], r->v->pdpte[i]);
	differ(r, "debug trap", l->rest_translated.trap_pending, r->v->trap_pending);
	differ(r, "debug trap's DR6", l->rest_translated.trap_dr6, r->v->trap_dr6);
	differ(r, "shutdown", l->rest_translated.shutdown, r->v->shutdown);
}

/* ---- FPU ---- */

struct fpu_field {
	const char *name;
	unsigned offset, n, bytes, component;
};

/* Not FOP, FIP, FDP: host addresses, of which the guest sees nothing. Not MXCSR_MASK: the host's. */
static const struct fpu_field fpu_fields[] = {
	{"FCW", 0, 1, 2, X86_XCR0_X87},
	{"FSW", 2, 1, 2, X86_XCR0_X87},
	{"FTW", 4, 1, 1, X86_XCR0_X87},
	{"MXCSR", 24, 1, 4, 0},
	{"st", 32, 16, 8, X86_XCR0_X87}, /* halves */
	{"xmm", X86_FX_XMM, 32, 8, X86_XCR0_SSE},
	{"ymm (upper)", X86_FX_YMM_HI, 32, 8, X86_XCR0_AVX},
};

/* A field of the image, which is initial where its component is not in use (state.h). */
static uint64_t fpu_value(const struct x86_state *s, const struct fpu_field *f, unsigned i)
{
	uint64_t value = 0, bv;

	memcpy(&bv, s->fx + X86_FX_XSTATE_BV, 8);
	if (f->component && !(bv & f->component))
		return f->offset == 0 ? 0x37f : 0;
	memcpy(&value, s->fx + f->offset + i * f->bytes, f->bytes);
	return value;
}

static void fpu(struct report *r)
{
	const struct x86_state *got = &r->v->lockstep_state->translated, *want = &r->v->s;
	char what[40];

	if (!memcmp(got->fx, want->fx, sizeof(got->fx)))
		return;
	for (unsigned k = 0; k < ARRAY_SIZE(fpu_fields); k++) {
		const struct fpu_field *f = &fpu_fields[k];

		for (unsigned i = 0; i < f->n; i++) {
			if (f->n == 1)
				(void)snprintf(what, sizeof(what), "%s", f->name);
			else
				(void)snprintf(what, sizeof(what), "%s%u, %s half", f->name, i / 2,
					       i & 1 ? "high" : "low");
			differ(r, what, fpu_value(got, f, i), fpu_value(want, f, i));
		}
	}
}

/* ---- memory ---- */

static gpa_t gpa_of(const struct soft_vcpu *v, const uint8_t *host)
{
	uint64_t off = (uint64_t)(host - v->mem->base);

	for (unsigned i = 0; i < v->mem->n_regions; i++) {
		const struct gmem_region *g = &v->mem->region[i];

		if (off - g->file_offset < g->size)
			return g->gpa + (off - g->file_offset);
	}
	return 0;
}

static void memory(struct report *r)
{
	const struct soft_lockstep *l = r->v->lockstep_state;
	unsigned places = 0;

	for (unsigned p = 0; p < l->n_pages; p++) {
		const struct soft_lockstep_page *page = &l->page[p];
		uint64_t mask = page->table ? ~ACCESSED : ~UINT64_C(0);

		if (!memcmp(page->host, l->shadow[p], 4096))
			continue;
		for (unsigned i = 0; i < 4096 && places < MAX_PLACES; i += 8) {
			uint64_t got, want;
			char what[40];

			memcpy(&got, page->host + i, 8);
			memcpy(&want, l->shadow[p] + i, 8);
			(void)snprintf(what, sizeof(what), "memory at %#llx",
				       (unsigned long long)gpa_of(r->v, page->host) + i);
			differ(r, what, got & mask, want & mask);
			places += (got & mask) != (want & mask);
		}
	}
	if (places == MAX_PLACES && !r->quiet)
		log_error("lock-step:   (there may be more in memory)");
}

/* ---- all of it ---- */

static void look(struct report *r)
{
	registers(r);
	system_state(r);
	fpu(r);
	memory(r);
}

bool soft_lockstep_same(struct soft_vcpu *v)
{
	struct report r = {.v = v, .quiet = true, .same = true};

	look(&r);
	return r.same;
}

static void code(struct soft_vcpu *v, uint64_t va, unsigned bytes)
{
	for (unsigned pos = 0; pos < bytes;) {
		const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, va + pos);
		unsigned off = (unsigned)(va + pos) & 0xfff;
		char hex[3 * X86_INSN_MAX + 1];
		struct x86_insn in;

		if (!x || !x->host ||
		    soft_decode(v, &in, x->host + off, 4096 - off) != X86_DECODE_OK)
			return;
		for (unsigned i = 0; i < in.len; i++)
			(void)snprintf(hex + 3 * i, 4, "%02x ", x->host[off + i]);
		log_error("lock-step:   %016llx  %-34s %s", (unsigned long long)(va + pos), hex,
			  x86_op_name(in.op));
		pos += in.len;
	}
}

void soft_lockstep_report(struct soft_vcpu *v, uint64_t va, unsigned bytes, uint64_t n_insns,
			  char *why, size_t size)
{
	struct report r = {.v = v, .same = true};
	const struct soft_lockstep *l = v->lockstep_state;
	char where[64] = "";

	if (bytes)
		(void)snprintf(where, sizeof(where), "block %#llx: ", (unsigned long long)va);
	log_error("lock-step: vCPU %u differs after %llu instructions%s%s", v->index,
		  (unsigned long long)n_insns, bytes ? "; code:" : "", bytes ? "" : ":");
	code(v, va, bytes);
	if (bytes) {
		log_error("lock-step:   registers before:");
		for (unsigned i = 0; i < 16; i += 2)
			log_error("lock-step:   %-3s %016llx  %-3s %016llx", gpr_names[i],
				  (unsigned long long)l->before.gpr[i], gpr_names[i + 1],
				  (unsigned long long)l->before.gpr[i + 1]);
		log_error("lock-step:   rip %016llx  rflags %08llx",
			  (unsigned long long)l->before.rip, (unsigned long long)l->before.rflags);
	}
	if (l->differs) {
		log_error("lock-step:   the reference asks the outside for something else: %s",
			  l->why);
		(void)snprintf(r.first, sizeof(r.first), "%s", l->why);
		r.same = false;
	}
	look(&r);
	(void)snprintf(why, size, "lock-step: %s%s", where, r.first);
}
