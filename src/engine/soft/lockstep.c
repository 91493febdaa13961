/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.c - the translator held against the reference way.
 *
 * Theory of operation. Guest code is run in units of some ten thousand instructions. The translated side goes first, just
 * as it would without us: chained blocks, jump cache, inline TLB. Before its first store to a page, the page is copied;
 * what it asks the outside - ports, MMIO, APIC, clocks, random numbers - is answered and noted. Then the registers
 * are put back, and the reference way runs the same number of instructions by soft_step(). Pages that the first side
 * stored to it finds as they were, and it stores to copies only. The outside is not asked again: the notes answer, and what
 * the reference way asks must be what they say, in that order. So both sides see one and the same world and time, and
 * whatever happens once, happens once. At the end registers, FPU state and the stored pages must be the same. The
 * guest goes on with what the translated side made.
 *
 * How many instructions? Every block adds its length to v->tr.count as it is entered; who leaves a block in the middle
 * takes back what has not run (soft_block_left()). The count begins at 2^32 - n, so that its high half becomes 1 when n
 * is reached: the polls of translated code look at that too, and end the unit. Interrupts are taken between
 * units; a unit ends where one could be.
 *
 * Both sides begin with empty TLBs, so that accessed and dirty bits are set by both. Status flags that the translator
 * knows to be dead may differ at the end of a unit and at an exception: then the code that follows must be seen to
 * overwrite them (soft_lockstep_dead()), and the reference goes on with the other side's flags into the frame of the
 * exception. Accessed bits may differ, since both sides may look ahead at code.
 *
 * Devices may store to guest memory while a unit runs. Nothing of it is lost, but the sides may see it at different
 * instructions. A unit that differs is not compared if a device stored meanwhile.
 *
 * When a unit differs, it is run again from its begin, block by block, both sides by the notes: the first block that
 * differs is reported. If none does, the fault is in what holds blocks together, and the report says so.
 *
 * With several vCPUs they take turns, a unit each; the lock is fair.
 *
 * Nothing here may use vector registers while guest FPU state is live; allocation, comparison and reports save it first.
 */
#include "engine/soft/lockstep.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine/soft/translate.h"
#include "util/log.h"

#define UNIT_INSNS 20000u
#define DEVICE_MS 200u
#define COUNT_FULL (UINT64_C(1) << 32)
#define SPARE_PAGES 64u	    /* one instruction stores to fewer */
#define SPARE_ENTRIES 8192u /* and makes fewer calls */

/* ---- turns ---- */

/* A ticket lock that sleeps: a mutex alone would let one vCPU wait for ever. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t turn;
	uint64_t next, serving;
} turns = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

void soft_lockstep_enter(struct soft_vcpu *v)
{
	uint64_t mine;

	soft_fp_save(v);
	pthread_mutex_lock(&turns.lock);
	mine = turns.next++;
	while (turns.serving != mine)
		pthread_cond_wait(&turns.turn, &turns.lock);
	pthread_mutex_unlock(&turns.lock);
}

void soft_lockstep_leave(struct soft_vcpu *v)
{
	soft_fp_save(v);
	pthread_mutex_lock(&turns.lock);
	turns.serving++;
	pthread_cond_broadcast(&turns.turn);
	pthread_mutex_unlock(&turns.lock);
}

/* ---- pages ---- */

uint8_t *soft_lockstep_page(const struct soft_vcpu *v, uint8_t *host)
{
	const struct soft_lockstep *l = v->lockstep;
	uint32_t i;

	if (l->side == LOCKSTEP_TRANSLATED)
		return host;
	i = l->slot[(uint64_t)(host - v->mem->base) / 4096];
	return i < l->n_pages && l->page[i].host == host ? l->shadow[i] : host;
}

uint8_t *soft_lockstep_touch(struct soft_vcpu *v, uint8_t *host, bool table)
{
	struct soft_lockstep *l = v->lockstep;
	unsigned off = (uintptr_t)host & 0xfff;
	uint8_t *page = host - off;
	uint64_t n = (uint64_t)(page - v->mem->base) / 4096;
	uint32_t i;

	if (n >= v->mem->size_bytes / 4096) { /* a shadow already */
		l->page[(page - l->shadow[0]) / 4096].table |= table;
		return host;
	}
	i = l->slot[n];
	if (i < l->n_pages && l->page[i].host == page) {
		l->page[i].table |= table;
		return l->side == LOCKSTEP_TRANSLATED ? host : l->shadow[i] + off;
	}
	if (l->n_pages == LOCKSTEP_PAGES) {
		l->overflow = true;
		return l->side == LOCKSTEP_TRANSLATED ? host : l->spare + off;
	}
	i = l->slot[n] = l->n_pages++;
	l->page[i] = (struct soft_lockstep_page){.host = page, .table = table};
	soft_copy(l->old[i], page, 4096);
	if (l->side == LOCKSTEP_TRANSLATED)
		return host;
	/* The reference alone stores to it: for the other side it is as it was. Its TLB may know the page itself. */
	soft_copy(l->shadow[i], page, 4096);
	soft_tlb_flush_all(v);
	return l->shadow[i] + off;
}

/* ---- counting ---- */

static uint64_t counted(const struct soft_vcpu *v, uint64_t limit)
{
	return v->tr.count - (COUNT_FULL - limit);
}

/* ---- the two sides ---- */

static void save_rest(const struct soft_vcpu *v, struct soft_lockstep_rest *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(r->pdpte); i++)
		r->pdpte[i] = v->pdpte[i];
	r->trap_dr6 = v->trap_dr6;
	r->trap_pending = v->trap_pending;
	r->shutdown = v->shutdown;
}

static void load_rest(struct soft_vcpu *v, const struct soft_lockstep_rest *r)
{
	for (unsigned i = 0; i < ARRAY_SIZE(r->pdpte); i++)
		v->pdpte[i] = r->pdpte[i];
	v->trap_dr6 = r->trap_dr6;
	v->trap_pending = r->trap_pending;
	v->shutdown = r->shutdown;
}

/* Something the run loop must do before the next instruction. */
static bool due(const struct soft_vcpu *v)
{
	const struct x86_events *ev = &v->s.ev;

	return ev->halted || ev->wait_for_sipi || v->shutdown || ev->nmi_pending ||
	       (v->trap_pending && !ev->movss_shadow) ||
	       (v->tr.irq_check && (v->s.rflags & X86_IF) && !ev->sti_shadow && !ev->movss_shadow);
}

static bool room(const struct soft_lockstep *l)
{
	return l->n_pages < LOCKSTEP_PAGES - SPARE_PAGES &&
	       l->n_entries < LOCKSTEP_ENTRIES - SPARE_ENTRIES;
}

/* At least `limit` instructions from here, but for what must be looked at before. Returns how many. */
static uint64_t run_translated(struct soft_vcpu *v, uint64_t limit)
{
	const struct soft_lockstep *l = v->lockstep;

	v->tr.count = COUNT_FULL - limit;
	do {
		if (l->replay) /* not now: the code would be left at once */
			__atomic_store_n(&v->req, 0, __ATOMIC_SEQ_CST);
		if (!soft_tr_run(v)) {
			v->tr.count++;
			(void)soft_step(v);
		}
	} while (v->tr.count < COUNT_FULL && !due(v) && room(l) && !l->differs &&
		 (l->replay || !__atomic_load_n(&v->req, __ATOMIC_SEQ_CST)));
	return counted(v, limit);
}

static void run_reference(struct soft_vcpu *v, uint64_t n)
{
	const struct soft_lockstep *l = v->lockstep;

	for (uint64_t i = 0; i < n && !l->differs && !l->overflow; i++)
		(void)soft_step(v);
}

static void set_state(struct soft_vcpu *v, const struct x86_state *s,
		      const struct soft_lockstep_rest *r)
{
	soft_fp_save(v);
	v->s = *s;
	load_rest(v, r);
	soft_mode_changed(v);
	soft_flow_changed(v);
}

static void begin(struct soft_vcpu *v, struct soft_lockstep *l)
{
	soft_fp_save(v);
	l->before = v->s;
	save_rest(v, &l->rest_before);
	l->n_pages = 0;
	l->overflow = l->differs = false;
	l->side = LOCKSTEP_TRANSLATED;
	v->lockstep = l;
	if (l->n_fill != v->n_tlb_fill || !l->n_units) /* else it is empty */
		soft_tlb_flush_all(v);
}

/* The translated side has run: now the reference way. */
static void other_side(struct soft_vcpu *v, struct soft_lockstep *l)
{
	soft_fp_save(v);
	l->translated = v->s;
	save_rest(v, &l->rest_translated);
	for (uint32_t i = 0; i < l->n_pages; i++)
		soft_copy(l->shadow[i], l->old[i], 4096);
	set_state(v, &l->before, &l->rest_before);
	soft_tlb_flush_all(v);
	l->side = LOCKSTEP_REFERENCE;
}

/* Both have run; on with what the translated side made. */
static void end(struct soft_vcpu *v, struct soft_lockstep *l)
{
	set_state(v, &l->translated, &l->rest_translated);
	soft_tlb_flush_all(v); /* shadows are in it */
	l->n_fill = v->n_tlb_fill;
	v->lockstep = NULL;
}

/* ---- where the difference begins ---- */

/* Back to the begin of the unit that differs. */
static void undo(struct soft_vcpu *v, struct soft_lockstep *l)
{
	bool code = false;

	soft_fp_save(v);
	for (uint32_t i = 0; i < l->n_pages; i++) {
		code = code || v->soft->cache->page[(l->page[i].host - v->mem->base) / 4096];
		soft_copy(l->page[i].host, l->old[i], 4096);
	}
	set_state(v, &l->before, &l->rest_before);
	/* Blocks may have been made of code that is not there yet. */
	if (code)
		soft_cache_flush(v->soft, v, false);
}

/* Runs it again block by block. True: one of them differs, and is reported. */
static bool find_block(struct soft_vcpu *v, struct soft_lockstep *l, uint64_t total, char *why,
		       size_t size)
{
	uint64_t done = 0;

	undo(v, l);
	l->replay = true;
	l->next = 0;
	soft_cache_unlink_all(v->soft);
	while (done < total) {
		uint32_t key = soft_tr_key(v);
		const struct soft_block *b = NULL;
		uint32_t first = l->next;
		uint64_t va = v->s.rip, n;
		unsigned bytes = 0;

		begin(v, l);
		if (key != SOFT_KEY_NONE && !v->s.ev.sti_shadow && !v->s.ev.movss_shadow)
			b = soft_tr_block(v, key);
		if (b)
			bytes = b->bytes;
		n = run_translated(v, 1);
		if (!n || l->overflow || l->differs)
			return false; /* another course than the first time */
		other_side(v, l);
		l->next = first;
		run_reference(v, n);
		soft_fp_save(v);
		if (l->overflow)
			return false;
		if (l->differs || !soft_lockstep_same(v)) {
			soft_lockstep_report(v, va, bytes, l->n_insns + done + n, why, size);
			return true;
		}
		done += n;
		end(v, l);
	}
	return false;
}

static bool differs(struct soft_vcpu *v, struct soft_lockstep *l, uint64_t n, char *why, size_t size)
{
	uint64_t va = l->before.rip;

	log_error("lock-step: the unit of %llu instructions from %#llx on differs",
		  (unsigned long long)n, (unsigned long long)va);
	soft_lockstep_report(v, 0, 0, l->n_insns + n, why, size);
	log_error("lock-step: looking for the block");
	if (!find_block(v, l, n, why, size)) {
		size_t used = strlen(why);

		(void)snprintf(why + used, size - used,
			       " (within the %llu instructions from %#llx on; no block of them "
			       "differs when it runs alone)",
			       (unsigned long long)n, (unsigned long long)va);
	}
	end(v, l);
	return false;
}

/* ---- a unit ---- */

/* Did a device store to guest memory meanwhile? It says so after the store: give it time to. */
static bool device_stored(const struct soft_vcpu *v, const struct soft_lockstep *l)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < DEVICE_MS; i++) {
		if (__atomic_load_n(&v->soft->n_written, __ATOMIC_SEQ_CST) != l->n_written)
			return true;
		/* seccomp vm: nanosleep, clock_nanosleep - lock-step mode only */
		(void)nanosleep(&ms, NULL);
	}
	return false;
}

static struct soft_lockstep *create(struct soft_vcpu *v)
{
	size_t pages = (size_t)LOCKSTEP_PAGES * 4096;
	size_t head = ALIGN_UP(sizeof(struct soft_lockstep), 4096);
	size_t slots = ALIGN_UP((size_t)(v->mem->size_bytes / 4096) * sizeof(uint32_t), 4096);
	size_t size = head + slots + 2 * pages + 4096;
	struct soft_lockstep *l;
	uint8_t *p;

	soft_fp_save(v);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	l = (struct soft_lockstep *)(void *)p;
	l->mapped = size;
	l->slot = (uint32_t *)(void *)(p + head);
	l->old = (uint8_t(*)[4096])(void *)(p + head + slots);
	l->shadow = l->old + LOCKSTEP_PAGES;
	l->spare = l->shadow[LOCKSTEP_PAGES];
	return l;
}

void soft_lockstep_destroy(struct soft_vcpu *v)
{
	struct soft_lockstep *l = v->lockstep_state;

	if (!l)
		return;
	log_info("lock-step: vCPU %u: %llu instructions in %llu units compared, %llu units not compared",
		 v->index, (unsigned long long)l->n_insns, (unsigned long long)l->n_units,
		 (unsigned long long)l->n_skipped);
	munmap(l, l->mapped);
	v->lockstep_state = NULL;
}

bool soft_lockstep_run(struct soft_vcpu *v, char *why, size_t size)
{
	struct soft_lockstep *l = v->lockstep_state;
	uint64_t n;

	if (!l)
		l = v->lockstep_state = create(v);
	if (!l) {
		(void)snprintf(why, size, "no memory for lock-step");
		return false;
	}
	l->replay = false;
	l->n_entries = l->next = 0;
	l->n_written = __atomic_load_n(&v->soft->n_written, __ATOMIC_SEQ_CST);
	begin(v, l);
	n = run_translated(v, UNIT_INSNS);
	if (n == 0) {
		v->lockstep = NULL;
		return true;
	}
	if (l->overflow) { /* what cannot be put back cannot be compared */
		v->lockstep = NULL;
		l->n_skipped++;
		return true;
	}
	other_side(v, l);
	l->replay = true;
	run_reference(v, n);
	soft_fp_save(v);
	if (l->overflow) { /* the other side stored to fewer pages */
		l->differs = true;
		(void)snprintf(l->why, sizeof(l->why), "the reference stores to %u pages",
			       LOCKSTEP_PAGES);
	}
	if (!l->differs && l->next != l->n_entries) {
		l->differs = true;
		(void)snprintf(l->why, sizeof(l->why),
			       "the reference makes %u calls to the outside, not %u", l->next,
			       l->n_entries);
	}
	if (l->differs || !soft_lockstep_same(v)) {
		if (!device_stored(v, l))
			return differs(v, l, n, why, size);
		l->n_skipped++;
	} else {
		l->n_units++;
		l->n_insns += n;
	}
	end(v, l);
	return true;
}
