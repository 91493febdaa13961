/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.c - memory of a long-running user program, mapped so that the host's MMU does what the soft TLB does.
 *
 * Theory of operation. Four parts of linear space, of 1 TiB each, hold nearly all that Linux programs have: at 0
 * (programs with fixed addresses, and their heaps), 0x55 and 0x56 TiB (those without), and 0x7f TiB (libraries, mappings, the
 * stack). When a program has run for a while and its page tables have been at rest, its vCPU reserves address space of
 * the host for these parts - a window each - and user code is translated with SOFT_KEY_WINDOW: an access looks only
 * whether bits 40 to 47 of its address are those of the part (soft_window_tag[]), and adds where the window is
 * (v->tr.window_delta[]). What its other bits say, the host finds out:
 *
 *   bits 48 to 63   are 0, or the sum is no canonical address: #GP
 *   the page        is mapped with the rights that the guest's page tables give, or #PF
 *
 * Either leaves by signal.c. soft_window_fault() asks the soft TLB for an entry and maps the page of guest memory that it
 * names, for writing only where the entry has a write tag; the instruction is then tried again. Where there is none -
 * the guest faults, device memory, code in the page - the instruction runs by soft_step(), as ever.
 *
 * So a window holds nothing that the soft TLB could not hold, and is emptied like it: by INVLPG, flushes, when pages get code
 * and when the dirty log is emptied. It belongs to one address space (a value of CR3). In others user code is
 * translated without, and should code with it be run all the same, window_delta[] leads to addresses that nobody can
 * access.
 *
 * A page that is mapped costs a signal and a system call or two, as much as a thousand checks that it saves. So windows are for
 * those who stay: two ticks (interrupts of user code, at least TICK_US apart) in one address space with few flushes
 * between them open one, and one that needs too much work, or too many pages, is closed for a time, longer at each turn.
 *
 * Threads: a vCPU's window is its own, but when another vCPU finds code in a page, write permission goes at once
 * (soft_window_revoke_write()): the page is marked first, then each window looked at under its lock; who maps a page for
 * writing looks at the mark under the same lock.
 */
#include <sys/mman.h>

#include "engine/soft/mmu.h"
#include "engine/soft/translate.h"

#define PART_BITS 40u
#define PART (UINT64_C(1) << PART_BITS)
/* Where a window would be that no access finds: bit 47 is set, so bits 48 to 63 are all set too - the host kernel's half - or
 * the address is not canonical. */
#define NOWHERE (UINT64_C(1) << 47)
#define GUARD (2 * MIB) /* behind each part that has no neighbour */

#define TICK_US 2000u
#define TICKS_TO_OPEN 1u
#define TICKS_TO_TAKE 8u      /* from another address space, */
#define TICKS_IDLE 3u	      /* if that has not run through so many */
#define FLUSHES_AT_REST 64u   /* at most, between two ticks */
#define WORK_OF_TICK 160u     /* pages mapped or taken away, between two ticks */
#define WORK_OF_OPENING 1024u /* one time */
#define CLOSED_TICKS 64u      /* at first; doubled each time */
#define CLOSED_TICKS_MAX 4096u
#define PAGES_OF_ALL 16384u /* each may be a mapping of its own (vm.max_map_count) */

const uint8_t soft_window_tag[SOFT_WINDOWS] = {0x00, 0x55, 0x56, 0x7f};

int soft_window_part(uint64_t va)
{
	for (unsigned k = 0; k < SOFT_WINDOWS; k++)
		if (va >> PART_BITS == soft_window_tag[k])
			return (int)k;
	return -1;
}

/* Parts 1 and 2 are neighbours in the guest, and here. */
static uint8_t *part_host(const struct soft_window *w, unsigned k)
{
	return w->area + k * PART + (k + (k < 2)) * GUARD;
}

static uint8_t *page_host(const struct soft_window *w, uint64_t va)
{
	return part_host(w, (unsigned)soft_window_part(va)) + (va & (PART - 1));
}

#define AREA_SIZE (SOFT_WINDOWS * PART + (SOFT_WINDOWS + 1) * GUARD)

static bool reserve(struct soft_window *w)
{
	void *p;

	if (w->area)
		return true;
	p = mmap(NULL, AREA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return false;
	__atomic_store_n(&w->area, p, __ATOMIC_SEQ_CST);
	return true;
}

/* ---- pages ---- */

static unsigned max_pages(const struct soft_vcpu *v)
{
	return MIN((unsigned)SOFT_WINDOW_PAGES, PAGES_OF_ALL / v->soft->n_vcpus);
}

static unsigned hash(uint64_t va)
{
	return (unsigned)(((va >> 12) * UINT64_C(0x9e3779b97f4a7c15)) >> 51) % SOFT_WINDOW_HASH;
}

/* Its page, or NULL; a page once mapped keeps its place until the window is emptied. */
static struct soft_window_page *find(struct soft_window *w, uint64_t va)
{
	for (unsigned i = hash(va); w->hash[i]; i = (i + 1) % SOFT_WINDOW_HASH)
		if (w->page[w->hash[i] - 1].va == va)
			return &w->page[w->hash[i] - 1];
	return NULL;
}

static struct soft_window_page *add(struct soft_vcpu *v, uint64_t va)
{
	struct soft_window *w = &v->window;
	unsigned i = hash(va);

	if (w->n == max_pages(v))
		return NULL;
	while (w->hash[i])
		i = (i + 1) % SOFT_WINDOW_HASH;
	w->page[w->n] = (struct soft_window_page){.va = va};
	w->hash[i] = ++w->n;
	return &w->page[w->n - 1];
}

/* False: it may be accessible still. */
static bool set_prot(const struct soft_window *w, struct soft_window_page *p, int prot)
{
	if (mprotect(page_host(w, p->va), GMEM_PAGE, prot) < 0)
		return false;
	p->prot = (uint8_t)prot;
	return true;
}

/* Lock held. Nothing is accessible afterwards: mappings are joined to the reservation again. */
static void empty_locked(struct soft_window *w)
{
	if (!w->n)
		return;
	/* It was reserved so, in one piece; a failure would be one of the host's bookkeeping of fewer mappings. */
	if (mmap(w->area, AREA_SIZE, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		base_assert_failed("a window can be emptied", __FILE__, __LINE__);
	soft_zero(w->hash, sizeof(w->hash));
	w->work += 1 + w->n / 8;
	__atomic_store_n(&w->n, 0, __ATOMIC_RELAXED);
}

static void empty(struct soft_window *w)
{
	if (!__atomic_load_n(&w->n, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&w->lock);
	empty_locked(w);
	pthread_mutex_unlock(&w->lock);
}

/* Maps the page of a TLB entry with the entry's rights. Those that it has now (PROT_NONE: it could not be mapped). */
static int map_entry(struct soft_vcpu *v, const struct soft_tlb_entry *e)
{
	struct soft_window *w = &v->window;
	uint64_t off = e->host - (uint64_t)(uintptr_t)v->soft->view;
	gpa_t gpa = mmu_page(e->gpa);
	int prot = PROT_READ | (e->tag_w == e->tag_r ? PROT_WRITE : 0);
	struct soft_window_page *p;
	bool done = false;

	pthread_mutex_lock(&w->lock);
	/* Another vCPU may just have put code into it: then its mark is there now, or it looks at this page later. */
	if (soft_page_has_code(v->soft, gpa))
		prot = PROT_READ;
	p = find(w, e->tag_r);
	if (!p)
		p = add(v, e->tag_r);
	if (p && p->prot == PROT_READ && p->gpa == gpa) {
		done = set_prot(w, p, prot);
	} else if (p) {
		done = mmap(page_host(w, p->va), GMEM_PAGE, prot,
			    MAP_SHARED | MAP_FIXED | MAP_POPULATE | MAP_NORESERVE, v->mem->memfd,
			    (off_t)off) != MAP_FAILED;
		p->gpa = gpa;
		p->prot = (uint8_t)prot;
		if (!done)
			empty_locked(w); /* a failure may leave a hole in the reservation */
	}
	w->work++;
	pthread_mutex_unlock(&w->lock);
	return done ? prot : PROT_NONE;
}

/* ---- open and closed ---- */

/* Does user code that runs now use the window? */
static void set_on(struct soft_vcpu *v, bool on)
{
	struct soft_window *w = &v->window;

	if (w->on == on)
		return;
	w->on = on;
	for (unsigned k = 0; k < SOFT_WINDOWS; k++) {
		uint64_t host = on ? (uint64_t)(uintptr_t)part_host(w, k) : NOWHERE;

		v->tr.window_delta[k] = host - ((uint64_t)soft_window_tag[k] << PART_BITS);
	}
	soft_tr_rekey(v); /* the key of user code has changed */
}

void soft_window_close(struct soft_vcpu *v)
{
	set_on(v, false);
	v->window.open = false;
}

static void close_for_a_time(struct soft_vcpu *v)
{
	struct soft_window *w = &v->window;

	soft_window_close(v);
	if (w->closed_cr3 != w->cr3)
		w->penalty = CLOSED_TICKS / 2;
	w->closed_cr3 = w->cr3;
	w->penalty = w->n == max_pages(v) ? CLOSED_TICKS_MAX : MIN(2 * w->penalty, CLOSED_TICKS_MAX);
	w->wait = w->penalty;
	w->ticks = 0;
	w->n_closed++;
}

/* What the soft TLB knows is used: the window begins with it. */
static void prefill(struct soft_vcpu *v)
{
	for (unsigned i = 0; i < SOFT_TLB_SIZE && v->window.n < max_pages(v) / 2; i++) {
		const struct soft_tlb_entry *e = &v->tlb[SOFT_MMU_USER][i];

		if (e->tag_r == soft_tlb_empty(i) || (e->gpa & MMU_TLB_GLOBAL) ||
		    soft_window_part(e->tag_r) < 0)
			continue;
		if (map_entry(v, e) == PROT_NONE)
			return;
	}
}

static bool possible(const struct soft_vcpu *v)
{
	const struct soft *so = v->soft;

	return so->cfg.soft_mode == SOFT_MODE_TRANSLATE && so->cache->host_bmi2 &&
	       v->mem->memfd >= 0 && !v->mem->from_file && !v->data_breakpoints && !v->align_check;
}

void soft_window_open(struct soft_vcpu *v)
{
	struct soft_window *w = &v->window;

	w->ticks = 0;
	if (!possible(v) || !reserve(w)) {
		w->closed_cr3 = v->s.cr3;
		w->wait = CLOSED_TICKS_MAX;
		return;
	}
	empty(w);
	soft_cache_unlink_cross_user(v->soft);
	w->cr3 = v->s.cr3;
	w->open = true;
	w->n_opened++;
	if (!v->chaos_state)
		prefill(v);
	w->work = 0;
	w->may_work = WORK_OF_OPENING;
	set_on(v, true);
}

void soft_window_tick(struct soft_vcpu *v)
{
	struct soft_window *w = &v->window;
	uint64_t now = soft_host_tsc(), flushes = v->n_flush - w->tick_flushes;
	unsigned need;

	if (v->cpl != 3 || v->mode != X86_MODE_64)
		return;
	if (!v->chaos_state &&
	    now - w->tick_tsc < v->soft->cfg.tsc_khz * UINT64_C(1) * TICK_US / 1000)
		return;
	w->tick_tsc = now;
	w->tick_flushes = v->n_flush;
	if (w->open && w->on) {
		w->idle = 0;
		w->may_work = WORK_OF_TICK;
		if (w->work < WORK_OF_TICK / 8 && w->penalty > CLOSED_TICKS)
			w->penalty--;
		w->work = 0;
		return;
	}
	w->idle++;
	if (w->wait && v->s.cr3 == w->closed_cr3 && !v->chaos_state) {
		w->wait--;
		return;
	}
	if (w->tick_cr3 != v->s.cr3 || flushes > FLUSHES_AT_REST) {
		w->tick_cr3 = v->s.cr3;
		w->ticks = 0;
	}
	need = w->open && w->idle < TICKS_IDLE ? TICKS_TO_TAKE : TICKS_TO_OPEN;
	if (++w->ticks > need || v->chaos_state)
		soft_window_open(v);
}

enum soft_window_answer soft_window_fault(struct soft_vcpu *v, uint64_t host, bool write)
{
	struct soft_window *w = &v->window;
	struct soft_tlb_entry *e;
	uint64_t va, off;
	unsigned k;
	int prot;

	if (!w->area || host - (uint64_t)(uintptr_t)w->area >= AREA_SIZE)
		return SOFT_WINDOW_OTHER;
	for (k = 0; k < SOFT_WINDOWS; k++) {
		off = host - (uint64_t)(uintptr_t)part_host(w, k);
		if (off < PART)
			break;
	}
	if (k == SOFT_WINDOWS || !w->on || v->mmu != SOFT_MMU_USER)
		return SOFT_WINDOW_STEP;
	va = ((uint64_t)soft_window_tag[k] << PART_BITS | off) & ~UINT64_C(0xfff);
	w->n_faults++;
	e = &v->tlb[SOFT_MMU_USER][mmu_tlb_index(va)];
	if (w->work > w->may_work || !possible(v)) {
		close_for_a_time(v);
		return SOFT_WINDOW_STEP;
	}
	if ((write ? e->tag_w : e->tag_r) != va &&
	    !soft_tlb_fill(v, va, 1, write ? SOFT_WRITE : SOFT_READ)) {
		w->work++;
		return SOFT_WINDOW_STEP;
	}
	prot = e->gpa & MMU_TLB_GLOBAL ? PROT_NONE : map_entry(v, e);
	if (prot == PROT_NONE) { /* no room, or nothing for it */
		close_for_a_time(v);
		return SOFT_WINDOW_STEP;
	}
	return !write || (prot & PROT_WRITE) ? SOFT_WINDOW_RETRY : SOFT_WINDOW_STEP;
}

/* ---- what empties it ---- */

void soft_window_switched(struct soft_vcpu *v)
{
	struct soft_window *w = &v->window;

	if (w->open)
		set_on(v, w->cr3 == v->s.cr3);
}

void soft_window_flush(struct soft_vcpu *v)
{
	if (!v->window.open)
		return;
	empty(&v->window);
	soft_cache_unlink_cross_user(v->soft);
}

void soft_window_drop_writes(struct soft_vcpu *v)
{
	if (v->window.open)
		empty(&v->window);
}

void soft_window_flush_pcid(struct soft_vcpu *v, unsigned pcid)
{
	if (v->window.open && (v->window.cr3 & 0xfff) == pcid)
		soft_window_flush(v);
}

void soft_window_flush_page(struct soft_vcpu *v, uint64_t la)
{
	struct soft_window *w = &v->window;
	struct soft_window_page *p;

	if (!__atomic_load_n(&w->n, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&w->lock); /* another vCPU may empty it: soft_window_revoke_write() */
	p = find(w, la & ~UINT64_C(0xfff));
	if (p && p->prot != PROT_NONE) {
		w->work++;
		if (!set_prot(w, p, PROT_NONE))
			empty_locked(w);
	}
	pthread_mutex_unlock(&w->lock);
}

void soft_window_revoke_write(struct soft *so, gpa_t page)
{
	for (unsigned i = 0; i < so->n_vcpus; i++) {
		struct soft_window *w = so->vcpu[i] ? &so->vcpu[i]->window : NULL;

		if (!w || !__atomic_load_n(&w->area, __ATOMIC_RELAXED))
			continue;
		pthread_mutex_lock(&w->lock);
		for (unsigned k = 0; k < w->n; k++) {
			struct soft_window_page *p = &w->page[k];

			if (p->gpa != page || !(p->prot & PROT_WRITE))
				continue;
			if (!set_prot(w, p, PROT_READ)) {
				empty_locked(w);
				break;
			}
		}
		pthread_mutex_unlock(&w->lock);
	}
}

void soft_window_init(struct soft_vcpu *v)
{
	pthread_mutex_init(&v->window.lock, NULL);
	for (unsigned k = 0; k < SOFT_WINDOWS; k++)
		v->tr.window_delta[k] = NOWHERE - ((uint64_t)soft_window_tag[k] << PART_BITS);
}

void soft_window_destroy(struct soft_vcpu *v)
{
	if (v->window.area)
		munmap(v->window.area, AREA_SIZE);
	pthread_mutex_destroy(&v->window.lock);
}
