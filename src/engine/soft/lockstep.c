/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.c - the translator held against the reference way, block by block.
 *
 * Theory of operation. For the block at s.rip: run its instructions by soft_step(), keeping a copy of every
 * page before its first store; put the pages and the registers back; run the translated block, alone and not
 * chained; compare registers, FPU state and those pages. What must happen only once is not compared but run by
 * the reference way alone: instructions that end a block (I/O, system registers, ...), blocks that reached MMIO,
 * blocks that changed their own code. The guest's TSC counts instructions, so that both ways read the same.
 *
 * After an exception the status flags, and the memory they were pushed to, are not compared (translate.h).
 */
#include "engine/soft/lockstep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/soft/translate.h"

#define MAX_PAGES 64u

struct soft_lockstep {
	struct x86_state before, reference;
	unsigned n_pages;
	bool overflow;
	bool marked; /* accessed or dirty bits were set: the translated code must find an empty TLB, too */
	uint8_t *page[MAX_PAGES];
	uint8_t old[MAX_PAGES][4096], expect[MAX_PAGES][4096];
};

void soft_lockstep_touch(struct soft_vcpu *v, uint8_t *page)
{
	struct soft_lockstep *l = v->lockstep;

	for (unsigned i = 0; i < l->n_pages; i++)
		if (l->page[i] == page)
			return;
	if (l->n_pages == MAX_PAGES) {
		l->overflow = true;
		return;
	}
	soft_copy(l->old[l->n_pages], page, 4096);
	l->page[l->n_pages++] = page;
}

void soft_lockstep_marked(struct soft_vcpu *v)
{
	v->lockstep->marked = true;
}

/* Runs up to n instructions that follow one another from s.rip. Returns how many. */
static unsigned run_reference(struct soft_vcpu *v, unsigned n, bool *exception)
{
	unsigned i;
	uint64_t exc = v->n_exc;

	for (i = 0; i < n; i++) {
		uint64_t next;

		if (!soft_step(v))
			break;
		next = v->insn.len; /* a REP that stopped half way, or a branch, ends the run */
		if (v->next_rip != v->step_rip + next) {
			i++;
			break;
		}
		if (v->s.ev.movss_shadow || v->s.ev.sti_shadow) {
			i++;
			break;
		}
	}
	*exception = v->n_exc != exc;
	return i;
}

static bool fx_differs(const uint8_t *a, const uint8_t *b)
{
	/* Not FOP, FIP, FDP (host addresses), not MXCSR_MASK (the host's), not the reserved end. */
	return memcmp(a, b, 6) || memcmp(a + 24, b + 24, 4) || memcmp(a + 32, b + 32, 416 - 32) ||
	       memcmp(a + X86_FX_YMM_HI, b + X86_FX_YMM_HI, X86_FX_SIZE - X86_FX_YMM_HI);
}

/* What differs, and the block's bytes for a disassembler. */
static bool report(char *why, size_t size, struct soft_vcpu *v, const struct soft_block *b,
		   const char *what, uint64_t got, uint64_t want)
{
	const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, b->va);
	size_t n = (size_t)snprintf(
		why, size, "lock-step: block %#llx: %s is %#llx, the reference says %#llx; code",
		(unsigned long long)b->va, what, (unsigned long long)got, (unsigned long long)want);

	for (unsigned i = 0; x && x->host && i < b->bytes && n + 4 < size; i++)
		n += (size_t)snprintf(why + n, size - n, " %02x", x->host[(b->va & 0xfff) + i]);
	return false;
}

static bool compare(struct soft_vcpu *v, const struct soft_block *b, bool exception, char *why,
		    size_t size)
{
	static const char *const name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					     "rsi", "rdi", "r8",  "r9",	 "r10", "r11",
					     "r12", "r13", "r14", "r15"};
	const struct soft_lockstep *l = v->lockstep_state;
	const struct x86_state *want = &l->reference;
	uint64_t mask = exception ? ~(uint64_t)X86_STATUS_FLAGS : ~UINT64_C(0);

	mask &= ~(uint64_t)v->undef_flags;
	if (v->s.rip != want->rip)
		return report(why, size, v, b, "rip", v->s.rip, want->rip);
	for (unsigned i = 0; i < 16; i++)
		if (v->s.gpr[i] != want->gpr[i])
			return report(why, size, v, b, name[i], v->s.gpr[i], want->gpr[i]);
	if ((v->s.rflags ^ want->rflags) & mask)
		return report(why, size, v, b, "rflags", v->s.rflags, want->rflags);
	if (v->s.cr2 != want->cr2)
		return report(why, size, v, b, "cr2", v->s.cr2, want->cr2);
	if (fx_differs(v->s.fx, want->fx))
		return report(why, size, v, b, "FPU state (FSW)", v->s.fx[2], want->fx[2]);
	for (unsigned p = 0; p < l->n_pages && !exception; p++)
		for (unsigned i = 0; i < 4096 && memcmp(l->page[p], l->expect[p], 4096); i++)
			if (l->page[p][i] != l->expect[p][i])
				return report(why, size, v, b, "a byte in memory", l->page[p][i],
					      l->expect[p][i]);
	return true;
}

/* The block. It may be left half way, where an access goes by C; then on from there by single steps. */
static void run_translated(struct soft_vcpu *v, const struct soft_block *b, unsigned n)
{
	uint64_t exc = v->n_exc, want = v->lockstep_state->reference.rip;

	soft_tr_run_block(v);
	while (n-- != 0 && v->n_exc == exc && v->s.rip != want && v->s.rip > b->va &&
	       v->s.rip - b->va < b->bytes)
		if (!soft_step(v))
			break;
}

/* Looks through the block: flags that its last writers leave undefined (there the C functions and the processor
 * may differ), and whether it asks for random numbers. */
static uint32_t undefined_flags(struct soft_vcpu *v, const struct soft_block *b, bool *random)
{
	const struct soft_xtlb_entry *x = soft_fetch_page_peek(v, b->va);
	uint32_t undef = 0;
	unsigned pos = b->va & 0xfff, end = pos + b->bytes;
	struct x86_insn in;

	while (x && x->host && pos < end) {
		if (x86_decode(&in, x->host + pos, 4096 - pos, (enum x86_mode)v->mode) !=
		    X86_DECODE_OK)
			break;
		undef &= ~(uint32_t)in.flags_write;
		undef |= in.flags_undef;
		*random = *random || in.op == X86_OP_RDRAND || in.op == X86_OP_RDSEED;
		pos += in.len;
	}
	return undef;
}

bool soft_lockstep_run(struct soft_vcpu *v, char *why, size_t size)
{
	struct soft_lockstep *l = v->lockstep_state;
	uint32_t key = soft_tr_key(v);
	bool exception, random = false;
	/* With data breakpoints stores pass by the TLB and are not noted. */
	bool alone = v->s.ev.sti_shadow || v->s.ev.movss_shadow || v->trap_pending ||
		     v->data_breakpoints;
	struct soft_block *b = key == SOFT_KEY_NONE || alone ? NULL : soft_tr_block(v, key);
	uint64_t io;

	if (!l) {
		soft_fp_save(v);
		l = v->lockstep_state = calloc(1, sizeof(*l));
		if (!l) {
			(void)snprintf(why, size, "no memory for lock-step");
			return false;
		}
	}
	if (!b || soft_tr_block_ends_at_once(v, b)) {
		(void)soft_step(v);
		v->soft->insn_clock++;
		return true;
	}
	soft_fp_save(v);
	v->undef_flags = undefined_flags(v, b, &random);
	l->before = v->s;
	l->n_pages = 0;
	l->overflow = l->marked = false;
	soft_tlb_drop_write_tags(v);
	io = v->n_mmio + v->n_pio;
	v->lockstep = l;

	unsigned n = run_reference(v, b->n_insns, &exception);

	v->lockstep = NULL;
	v->soft->insn_clock += n + (exception ? 1 : 0);
	if (random || v->n_mmio + v->n_pio != io || b->dead || l->overflow || v->shutdown ||
	    v->s.ev.halted || v->trap_pending)
		return true;
	soft_fp_save(v);
	l->reference = v->s;
	for (unsigned p = 0; p < l->n_pages; p++) {
		soft_copy(l->expect[p], l->page[p], 4096);
		soft_copy(l->page[p], l->old[p], 4096);
	}
	v->s = l->before;
	soft_mode_changed(v);
	if (l->marked)
		soft_tlb_flush_all(v);
	v->soft->insn_clock -= n + (exception ? 1 : 0);
	run_translated(v, b, n);
	soft_fp_save(v);
	v->soft->insn_clock += n + (exception ? 1 : 0);
	if (compare(v, b, exception, why, size))
		return true;
	v->s = l->reference;
	soft_mode_changed(v);
	return false;
}
