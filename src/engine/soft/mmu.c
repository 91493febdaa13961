/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu.c - the soft TLB and every access to memory that is made by C code.
 *
 * Theory of operation. There is one direct-mapped array of entries for each way an access is checked
 * (enum soft_mmu), indexed by the page number. An entry always stands for one 4 KiB page, whatever the size
 * of the page in the page tables. A hit needs one subtraction and one comparison (soft.h). A miss walks the
 * page tables (mmu_walk.c) and fills the entry, unless the page is not RAM (MMIO is never cached), or data
 * breakpoints or alignment checks are on (then every access comes here and is looked at).
 *
 * What takes entries away again stands in tlb.c.
 *
 * Writes. An entry's write tag is set only when a store needs no more than the store itself: page writable,
 * dirty bit set, no translated code in the page, page already in the dirty log. All other stores come here.
 */
#include "engine/soft/mmu.h"

#include "engine/soft/lockstep.h"

/* Entries point into the engine's view of guest memory, which may be write-protected (smc.c); C code goes
 * through the memory's own mapping. */
static inline uint8_t *entry_host(const struct soft_vcpu *v, const struct soft_tlb_entry *e)
{
	return (uint8_t *)(uintptr_t)e->host + v->view_delta;
}

/* With several vCPUs another one may have put code into a page that this one still has a write tag for. */
static inline bool stale_write_tag(const struct soft_vcpu *v, const struct soft_tlb_entry *e)
{
	if (!v->view_delta)
		return false;
	soft_store_done(v->soft);
	return soft_page_has_code(v->soft, mmu_page(e->gpa));
}

/* ---- Filling ---- */

static void tlb_insert(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned access,
		       const struct mmu_xlate *x)
{
	unsigned i = mmu_tlb_index(la);
	struct soft_tlb_entry *e = &v->tlb[kind][i];
	gpa_t page = mmu_page(x->gpa);
	bool journaled = e->tag_r != soft_tlb_empty(i) && !(e->gpa & MMU_TLB_GLOBAL);
	bool plain_write;

	v->n_tlb_fill++;
	plain_write = x->writable && x->dirty && !soft_page_has_code(v->soft, page);
	if (plain_write && unlikely(v->mem->dirty)) {
		if (access == SOFT_WRITE)
			mmu_ram_written(v, page, 1);
		else
			plain_write = false;
	}
	if (unlikely(v->lockstep) && access != SOFT_WRITE)
		plain_write = false; /* the first store is to be seen */
	e->tag_r = mmu_page(la);
	e->tag_w = plain_write ? mmu_page(la) : soft_tlb_empty(i);
	e->host = (uint64_t)(uintptr_t)(x->host - v->view_delta);
	e->gpa = page | x->size | (x->global ? MMU_TLB_GLOBAL : 0);
	if (plain_write)
		mmu_note_write(v, kind, i);
	if (!x->global && !journaled)
		mmu_journal(v, kind, i);
	if (x->size)
		mmu_note_large(v, la, x->global);
}

static enum mmu_result translate(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned access,
				 struct mmu_xlate *x)
{
	enum mmu_result r = mmu_walk(v, la, access, kind, x);

	if (unlikely(v->lockstep) && r == MMU_OK && x->host && access == SOFT_WRITE)
		x->host = soft_lockstep_touch(v, x->host, false);
	if (r == MMU_OK && x->host && access != SOFT_FETCH && !v->data_breakpoints &&
	    !(v->align_check && kind == SOFT_MMU_USER))
		tlb_insert(v, kind, la, access, x);
	return r;
}

static void translate_or_raise(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned access,
			       struct mmu_xlate *x)
{
	switch (translate(v, kind, la, access, x)) {
	case MMU_OK: return;
	case MMU_PF: soft_raise_pf(v, la, x->error);
	case MMU_GP:
	default: soft_raise_err(v, X86_EXC_GP, 0);
	}
}

bool soft_tlb_fill(struct soft_vcpu *v, uint64_t la, unsigned size, unsigned access)
{
	struct soft_tlb_entry *e = &v->tlb[v->mmu][mmu_tlb_index(la)];
	struct mmu_xlate x;

	if ((la & 0xfff) + size > 4096 || v->data_breakpoints || v->align_check)
		return false;
	if (translate(v, v->mmu, la, access, &x) != MMU_OK || !x.host)
		return false;
	return (access == SOFT_WRITE ? e->tag_w : e->tag_r) == mmu_page(la);
}

/* ---- Data breakpoints (SDM vol. 3 §17.2.4) ---- */

static void check_breakpoints(struct soft_vcpu *v, uint64_t la, unsigned size, unsigned access)
{
	uint64_t dr7 = v->s.dr[7];

	for (unsigned i = 0; i < 4; i++) {
		unsigned type = dr7 >> (16 + 4 * i) & 3, code = dr7 >> (18 + 4 * i) & 3;
		unsigned len = code == 2 ? 8 : code + 1;
		uint64_t start = v->s.dr[i] & ~(uint64_t)(len - 1);

		if (!(dr7 >> (2 * i) & 3) || !(type == 3 || (type == 1 && access == SOFT_WRITE)))
			continue;
		if (la - start < len || start - la < size) {
			v->trap_pending = true;
			v->trap_dr6 |= BIT(i);
		}
	}
}

/* Alignment (SDM vol. 3 §6.15, interrupt 17): of the operand's size, but 8 for all that is larger. */
static void check_alignment(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned size)
{
	unsigned align = size >= 8 ? 8 : size;

	if (kind == SOFT_MMU_USER && (la & (align - 1)))
		soft_raise_err(v, X86_EXC_AC, 0);
}

/* ---- Segments and effective addresses ---- */

_Noreturn static void segment_fault(struct soft_vcpu *v, unsigned seg)
{
	soft_raise_err(v, seg == X86_SS ? X86_EXC_SS : X86_EXC_GP, 0);
}

uint64_t soft_linear(struct soft_vcpu *v, unsigned seg, uint64_t off, unsigned size, unsigned access)
{
	const struct x86_seg *sg = &v->s.seg[seg];
	uint64_t last;

	if (likely(v->mode == X86_MODE_64)) {
		uint64_t la = seg >= X86_FS ? sg->base + off : off;

		if (unlikely(!mmu_canonical(la) || !mmu_canonical(la + size - 1)))
			segment_fault(v, seg);
		return la;
	}
	last = off + size - 1;
	if (v->s.cr0 & X86_CR0_PE) {
		bool code = sg->attr & X86_ATTR_CODE;

		if (!(sg->attr & X86_ATTR_P))
			segment_fault(v, seg);
		if (access == SOFT_WRITE ? code || !(sg->attr & X86_ATTR_RW) :
					   code && !(sg->attr & X86_ATTR_RW))
			segment_fault(v, seg);
		if (!code && (sg->attr & X86_ATTR_EXPAND_DOWN)) {
			if (off <= sg->limit ||
			    last > (sg->attr & X86_ATTR_DB ? 0xffffffffu : 0xffffu))
				segment_fault(v, seg);
			return (sg->base + off) & 0xffffffffu;
		}
	}
	if (unlikely(last > sg->limit))
		segment_fault(v, seg);
	return (sg->base + off) & 0xffffffffu;
}

uint64_t soft_ea(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t ea = (uint64_t)in->disp;

	if (in->base == X86_RIP)
		ea += v->s.rip + in->len;
	else if (in->base < 16)
		ea += v->s.gpr[in->base];
	if (in->index < 16)
		ea += v->s.gpr[in->index] << in->scale;
	if (in->addr_bytes == 4)
		ea &= 0xffffffffu;
	else if (in->addr_bytes == 2)
		ea &= 0xffffu;
	return ea;
}

/* ---- Reads and writes ---- */

/* The next page's linear address; legacy and compatibility mode wrap at 4 GiB. */
static uint64_t la_add(const struct soft_vcpu *v, uint64_t la, unsigned n)
{
	return v->s.msr.efer & X86_EFER_LMA ? la + n : (la + n) & 0xffffffffu;
}

static uint64_t read_part(struct soft_vcpu *v, const struct mmu_xlate *x, unsigned size)
{
	if (x->host)
		return mmu_load(x->host + (x->gpa & 0xfff), size);
	return soft_mmio_read(v, x->gpa, size);
}

static void write_part(struct soft_vcpu *v, const struct mmu_xlate *x, uint64_t value, unsigned size)
{
	if (!x->host) {
		soft_mmio_write(v, x->gpa, value, size);
		return;
	}
	mmu_store(x->host + (x->gpa & 0xfff), value, size);
	mmu_ram_written(v, x->gpa, size);
}

static __attribute__((noinline)) uint64_t read_slow(struct soft_vcpu *v, unsigned kind, uint64_t la,
						    unsigned size)
{
	unsigned first = 4096 - (unsigned)(la & 0xfff);
	struct mmu_xlate x, y;
	uint64_t r;

	translate_or_raise(v, kind, la, SOFT_READ, &x);
	if (unlikely(v->align_check))
		check_alignment(v, kind, la, size);
	if (unlikely(v->data_breakpoints))
		check_breakpoints(v, la, size, SOFT_READ);
	if (size <= first)
		return read_part(v, &x, size);
	translate_or_raise(v, kind, la_add(v, la, first), SOFT_READ, &y);
	r = read_part(v, &x, first);
	return r | read_part(v, &y, size - first) << (8 * first);
}

static __attribute__((noinline)) void write_slow(struct soft_vcpu *v, unsigned kind, uint64_t la,
						 uint64_t value, unsigned size)
{
	unsigned first = 4096 - (unsigned)(la & 0xfff);
	struct mmu_xlate x, y;

	translate_or_raise(v, kind, la, SOFT_WRITE, &x);
	if (size > first)
		translate_or_raise(v, kind, la_add(v, la, first), SOFT_WRITE, &y);
	if (unlikely(v->align_check))
		check_alignment(v, kind, la, size);
	if (unlikely(v->data_breakpoints))
		check_breakpoints(v, la, size, SOFT_WRITE);
	if (size <= first) {
		write_part(v, &x, value, size);
		return;
	}
	write_part(v, &x, value & (BIT(8 * first) - 1), first);
	write_part(v, &y, value >> (8 * first), size - first);
}

uint64_t mmu_read(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned size)
{
	const struct soft_tlb_entry *e = &v->tlb[kind][mmu_tlb_index(la)];
	uint64_t off = la - e->tag_r;

	if (likely(off <= 4096 - size))
		return mmu_load(entry_host(v, e) + off, size);
	return read_slow(v, kind, la, size);
}

void mmu_write(struct soft_vcpu *v, unsigned kind, uint64_t la, uint64_t value, unsigned size)
{
	const struct soft_tlb_entry *e = &v->tlb[kind][mmu_tlb_index(la)];
	uint64_t off = la - e->tag_w;

	if (unlikely(off > 4096 - size)) {
		write_slow(v, kind, la, value, size);
		return;
	}
	mmu_store(entry_host(v, e) + off, value, size);
	if (unlikely(stale_write_tag(v, e)))
		mmu_ram_written(v, mmu_page(e->gpa) + off, size);
}

uint64_t soft_read(struct soft_vcpu *v, uint64_t la, unsigned size)
{
	return mmu_read(v, v->mmu, la, size);
}

void soft_write(struct soft_vcpu *v, uint64_t la, uint64_t value, unsigned size)
{
	mmu_write(v, v->mmu, la, value, size);
}

uint64_t soft_read_sys(struct soft_vcpu *v, uint64_t la, unsigned size)
{
	return mmu_read(v, mmu_sys_kind(v), la, size);
}

void soft_write_sys(struct soft_vcpu *v, uint64_t la, uint64_t value, unsigned size)
{
	mmu_write(v, mmu_sys_kind(v), la, value, size);
}

/* One page's share of a block access; MMIO in naturally sized pieces. */
static void block_part(struct soft_vcpu *v, const struct mmu_xlate *x, uint8_t *buf, unsigned size,
		       bool write)
{
	unsigned done = 0;

	if (x->host) {
		uint8_t *host = x->host + (x->gpa & 0xfff);

		if (write) {
			soft_copy(host, buf, size);
			mmu_ram_written(v, x->gpa, size);
		} else {
			soft_copy(buf, host, size);
		}
		return;
	}
	while (done < size) {
		gpa_t gpa = x->gpa + done;
		unsigned n = 8;

		while ((gpa & (n - 1)) || n > size - done)
			n /= 2;
		if (write)
			soft_mmio_write(v, gpa, mmu_load(buf + done, n), n);
		else
			mmu_store(buf + done, soft_mmio_read(v, gpa, n), n);
		done += n;
	}
}

/* As translate_or_raise(), by the TLB if it knows. */
static void look_up(struct soft_vcpu *v, uint64_t la, unsigned access, struct mmu_xlate *x)
{
	const struct soft_tlb_entry *e = &v->tlb[v->mmu][mmu_tlb_index(la)];

	if ((access == SOFT_WRITE ? e->tag_w : e->tag_r) != mmu_page(la)) {
		translate_or_raise(v, v->mmu, la, access, x);
		return;
	}
	x->gpa = mmu_page(e->gpa) | (la & 0xfff);
	x->host = entry_host(v, e);
}

static void block(struct soft_vcpu *v, uint64_t la, uint8_t *buf, unsigned size, unsigned access)
{
	unsigned first = 4096 - (unsigned)(la & 0xfff);
	struct mmu_xlate x, y;

	if (first > size)
		first = size;
	look_up(v, la, access, &x);
	if (size > first)
		look_up(v, la_add(v, la, first), access, &y);
	if (unlikely(v->align_check))
		check_alignment(v, v->mmu, la, size);
	if (unlikely(v->data_breakpoints))
		check_breakpoints(v, la, size, access);
	block_part(v, &x, buf, first, access == SOFT_WRITE);
	if (size > first)
		block_part(v, &y, buf + first, size - first, access == SOFT_WRITE);
}

void soft_read_block(struct soft_vcpu *v, uint64_t la, void *buf, unsigned size)
{
	block(v, la, buf, size, SOFT_READ);
}

void soft_write_block(struct soft_vcpu *v, uint64_t la, const void *buf, unsigned size)
{
	/* Not written through: SOFT_WRITE only reads the buffer. */
	block(v, la, (uint8_t *)(uintptr_t)buf, size, SOFT_WRITE);
}

void mmu_probe_write(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned size)
{
	unsigned first = 4096 - (unsigned)(la & 0xfff);
	struct mmu_xlate x;

	if (v->tlb[kind][mmu_tlb_index(la)].tag_w != mmu_page(la))
		translate_or_raise(v, kind, la, SOFT_WRITE, &x);
	for (; first < size; first += 4096)
		translate_or_raise(v, kind, la_add(v, la, first), SOFT_WRITE, &x);
}

void soft_probe_write(struct soft_vcpu *v, uint64_t la, unsigned size)
{
	mmu_probe_write(v, v->mmu, la, size);
}

void *soft_ptr(struct soft_vcpu *v, uint64_t la, unsigned size, unsigned access)
{
	const struct soft_tlb_entry *e = &v->tlb[v->mmu][mmu_tlb_index(la)];
	uint64_t off = la - (access == SOFT_WRITE ? e->tag_w : e->tag_r);
	struct mmu_xlate x;

	if (likely(off <= 4096 - size))
		return entry_host(v, e) + off;
	if ((la & 0xfff) + size > 4096 || v->data_breakpoints || v->align_check)
		return NULL;
	translate_or_raise(v, v->mmu, la, access, &x);
	if (!x.host)
		return NULL;
	if (access == SOFT_WRITE && e->tag_w != mmu_page(la)) {
		v->wr_la = mmu_page(la);
		v->wr_gpa = mmu_page(x.gpa);
	}
	return x.host + (la & 0xfff);
}

void soft_wrote(struct soft_vcpu *v, uint64_t la, unsigned size)
{
	const struct soft_tlb_entry *e = &v->tlb[v->mmu][mmu_tlb_index(la)];
	uint64_t page = mmu_page(la);
	struct mmu_xlate x;

	if (likely(e->tag_w == page && !stale_write_tag(v, e)))
		return;
	/* The page tables may have changed under us since soft_ptr(): ask what it found, not them. */
	if (v->wr_la == page)
		mmu_ram_written(v, v->wr_gpa | (la & 0xfff), size);
	else if (e->tag_r == page)
		mmu_ram_written(v, mmu_page(e->gpa) | (la & 0xfff), size);
	else if (mmu_walk(v, la, SOFT_WRITE, v->mmu, &x) == MMU_OK && x.host)
		mmu_ram_written(v, x.gpa, size);
}

/* ---- Instruction fetch ---- */

static enum mmu_result fetch_page(struct soft_vcpu *v, uint64_t la, struct soft_xtlb_entry **out,
				  uint32_t *error)
{
	struct soft_xtlb_entry *e = &v->xtlb[(la >> 12) % SOFT_XTLB_SIZE];
	uint8_t kind = v->mmu == SOFT_MMU_USER ? SOFT_MMU_USER : SOFT_MMU_KERNEL;
	struct mmu_xlate x;
	enum mmu_result r;

	*out = e;
	if (likely(e->va == mmu_page(la) && e->mmu == kind))
		return MMU_OK;
	r = mmu_walk(v, la, SOFT_FETCH, kind, &x);
	if (r != MMU_OK) {
		*error = x.error;
		return r;
	}
	e->va = mmu_page(la);
	e->gpa = mmu_page(x.gpa);
	e->tag = e->gpa | kind;
	e->host = x.host;
	e->mmu = kind;
	e->global = x.global;
	if (!x.global)
		mmu_note_fetch(v, (unsigned)(e - v->xtlb));
	if (x.size)
		mmu_note_large(v, la, x.global);
	return MMU_OK;
}

const struct soft_xtlb_entry *soft_fetch_page(struct soft_vcpu *v, uint64_t la)
{
	struct soft_xtlb_entry *e;
	uint32_t error;

	switch (fetch_page(v, la, &e, &error)) {
	case MMU_OK: return e;
	case MMU_PF: soft_raise_pf(v, la, error);
	case MMU_GP:
	default: soft_raise_err(v, X86_EXC_GP, 0);
	}
}

const struct soft_xtlb_entry *soft_fetch_page_peek(struct soft_vcpu *v, uint64_t la)
{
	struct soft_xtlb_entry *e;
	uint32_t error;

	return fetch_page(v, la, &e, &error) == MMU_OK ? e : NULL;
}

unsigned soft_fetch(struct soft_vcpu *v, uint64_t la, uint8_t *buf, unsigned need)
{
	unsigned got = 0;

	while (got < need || got == 0) {
		const struct soft_xtlb_entry *e = soft_fetch_page(v, la);
		unsigned off = (unsigned)(la & 0xfff), n = MIN(4096 - off, X86_INSN_MAX - got);

		if (likely(e->host))
			soft_copy_code(buf + got, e->host, off, n);
		for (unsigned i = 0; i < n && !e->host; i++)
			buf[got + i] = (uint8_t)soft_mmio_read(v, e->gpa + off + i, 1);
		got += n;
		la = la_add(v, la, n);
		if (got == X86_INSN_MAX)
			break;
	}
	return got;
}
