/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - code memory, and the blocks in it: find, insert, link, drop, flush.
 *
 * Code memory is filled from front to back and emptied as a whole (soft_cache_flush), when no vCPU is inside.
 * A dropped block is unlinked from everything that leads to it - the hash, chained jumps, its page's list - so
 * no vCPU enters it any more; one that is inside finishes it or leaves at the next poll.
 *
 * Rendezvous. `stop` is taken by one vCPU with compare-and-swap, not under the lock, because a vCPU may need the
 * lock to reach its next poll. Before entering translated code a vCPU sets tr.in_code, then looks at `stop`;
 * the one that stops sets `stop`, then waits for every in_code. The order of the two stores is what makes it safe.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/soft/trace.h"
#include "engine/soft/verify.h"
#include "x86/cpuid.h"

#define F7_EBX_BMI2 BIT(8)
#define MAX_CROSS (2 * SOFT_MAX_BLOCKS) /* each block has two links */

static void *map_zero(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int map_code(struct soft_cache *c, size_t size, struct err *e)
{
	c->size = size;
	/* seccomp vm: memfd_create, ftruncate, fcntl arg1=F_ADD_SEALS - code memory */
	c->memfd = memfd_create("lodge-code", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (c->memfd < 0)
		return err_errno(e, errno, "no code memory for the software engine: memfd_create");
	if (ftruncate(c->memfd, (off_t)size) < 0 ||
	    fcntl(c->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_errno(e, errno, "cannot size %zu MiB of code memory", size >> 20);

	void *rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->memfd, 0);

	if (rw == MAP_FAILED)
		return err_errno(e, errno, "cannot map code memory");
	c->rw = rw;

	/* seccomp vm: mmap arg2=PROT_READ|PROT_EXEC arg3&MAP_TYPE=MAP_SHARED - code memory, the other mapping of what is written as data */
	void *rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, c->memfd, 0);

	if (rx == MAP_FAILED)
		return err_errno(e, errno,
				 "cannot map code memory executable (is the host forbidding it?)");
	c->rx = rx;
	return 0;
}

/* Not __builtin_cpu_supports(), for which the program would execute CPUID a dozen times whenever it starts: 4 us each in a virtual machine. */
static bool has_bmi2(void)
{
	uint32_t r[4];

	cpuid_host(0, 0, r);
	if (r[CPUID_EAX] < 7)
		return false;
	cpuid_host(7, 0, r);
	return r[CPUID_EBX] & (uint32_t)F7_EBX_BMI2;
}

int soft_cache_create(struct soft *so, size_t size, struct err *e)
{
	struct soft_cache *c = calloc(1, sizeof(*c));
	struct emit em;

	if (!c)
		return err_set(e, ENOMEM, "no memory for the code cache");
	so->cache = c;
	pthread_mutex_init(&c->lock, NULL);
	c->host_bmi2 = has_bmi2();
	c->host_vendor = so->cpuid.vendor;
	c->memfd = -1;

	int r = map_code(c, size, e);

	if (r < 0)
		return r;
	c->n_pages = so->mem->size_bytes / GMEM_PAGE;
	c->arena_size = c->size * 2; /* block structures take about as much as their code */
	c->arena = map_zero(c->arena_size);
	c->page = map_zero(c->n_pages * sizeof(*c->page));
	c->page_use = map_zero(c->n_pages * sizeof(*c->page_use));
	c->page_code = map_zero(c->n_pages / 8 + 8);
	c->block = map_zero(SOFT_MAX_BLOCKS * sizeof(*c->block));
	c->cross = map_zero(MAX_CROSS * sizeof(*c->cross));
	if (!c->arena || !c->page || !c->page_code || !c->page_use || !c->block || !c->cross)
		return err_set(e, ENOMEM, "no memory for the block tables of the software engine");

	em = (struct emit){.p = c->rw, .end = c->rw + 64 * KIB, .delta = c->rx - c->rw};
	soft_stubs_emit(so, &em);
	ASSERT(!em.full);
	/* Behind the stubs: a thunk area for each vCPU (native.c). */
	c->thunks = ALIGN_UP((size_t)(em.p - c->rw), SOFT_THUNK_SIZE);
	c->stubs_end = c->thunks + so->n_vcpus * (size_t)SOFT_THUNK_SIZE;
	c->used = c->stubs_end;
	soft_trace_stubs(so);
	return 0;
}

void soft_cache_destroy(struct soft *so)
{
	struct soft_cache *c = so->cache;

	if (!c)
		return;
	if (c->rx)
		munmap(c->rx, c->size);
	if (c->rw)
		munmap(c->rw, c->size);
	if (c->memfd >= 0)
		close(c->memfd);
	if (c->arena)
		munmap(c->arena, c->arena_size);
	if (c->page)
		munmap(c->page, c->n_pages * sizeof(*c->page));
	if (c->page_use)
		munmap(c->page_use, c->n_pages * sizeof(*c->page_use));
	if (c->page_code)
		munmap(c->page_code, c->n_pages / 8 + 8);
	if (c->block)
		munmap(c->block, SOFT_MAX_BLOCKS * sizeof(*c->block));
	if (c->cross)
		munmap(c->cross, MAX_CROSS * sizeof(*c->cross));
	pthread_mutex_destroy(&c->lock);
	free(c);
	so->cache = NULL;
}

void *soft_cache_alloc(struct soft_cache *c, size_t size)
{
	size = ALIGN_UP(size, 16);
	if (c->arena_size - c->arena_used < size)
		return NULL;
	void *p = c->arena + c->arena_used;

	c->arena_used += size;
	soft_zero(p, size);
	return p;
}

static unsigned hash(uint64_t va, gpa_t gpa, uint32_t key)
{
	uint64_t h = (va ^ gpa * 31 ^ (uint64_t)key << 20) * 0x9e3779b97f4a7c15u;

	return (unsigned)(h >> 48) % SOFT_HASH_SIZE;
}

struct soft_block *soft_cache_find(struct soft_cache *c, uint64_t va, gpa_t gpa, uint32_t key)
{
	struct soft_block *b;

	for (b = c->hash[hash(va, gpa, key)]; b; b = b->hash_next)
		if (b->va == va && b->gpa == gpa && b->key == key)
			return b;
	return NULL;
}

/* The block whose code holds rx, or NULL. Blocks are in order of address. Used by the signal handler, which
 * interrupts translated code: its own block is in the table. */
struct soft_block *soft_cache_block_at(struct soft_cache *c, const uint8_t *rx)
{
	uint32_t lo = 0, hi = __atomic_load_n(&c->n_blocks, __ATOMIC_ACQUIRE);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (c->block[mid]->code_end <= rx)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == __atomic_load_n(&c->n_blocks, __ATOMIC_ACQUIRE) || rx < c->block[lo]->code)
		return NULL;
	return c->block[lo];
}

void soft_cache_insert(struct soft_cache *c, struct soft_block *b)
{
	unsigned h = hash(b->va, b->gpa, b->key);

	b->hash_next = c->hash[h];
	c->hash[h] = b;
	for (unsigned i = 0; i < b->n_pages; i++) {
		b->page[i].next = c->page[b->page[i].number];
		c->page[b->page[i].number] = b;
	}
	c->n_translated++;
	c->n_insns += b->n_insns;
	c->n_bytes_guest += b->bytes;
}

/* Which of its pages number n is. */
static unsigned page_slot(const struct soft_block *b, uint64_t n)
{
	return b->n_pages > 1 && b->page[1].number == n;
}

static void remove_from_page(struct soft_cache *c, struct soft_block *b, uint64_t n)
{
	for (struct soft_block **pp = &c->page[n]; *pp; pp = &(*pp)->page[page_slot(*pp, n)].next) {
		if (*pp == b) {
			*pp = b->page[page_slot(b, n)].next;
			return;
		}
	}
}

static bool user_link(const struct soft_link *l)
{
	return l->key & SOFT_KEY_CPL3;
}

/* Points a direct jump at a block's entry for where its flags are, with one atomic store. Lock held. */
void soft_cache_link(struct soft *so, struct soft_link *l, struct soft_block *to)
{
	struct soft_cache *c = so->cache;
	uint8_t *entry;

	if (l->to || l->from->dead || to->dead)
		return;
	if (l->cross_page && c->n_cross == MAX_CROSS)
		return;
	if (l->loc == LOC_SLOT || (l->loc == LOC_BOTH && to->body_slot))
		entry = l->polled ? to->e_slot_polled : to->e_slot;
	else
		entry = l->polled ? to->e_native_polled : to->e_native;
	soft_verify_chained(c, l, to, entry);
	l->to = to;
	l->next_in = to->in;
	to->in = l;
	if (l->cross_page) {
		c->cross[c->n_cross++] = l;
		c->n_cross_user += user_link(l);
		soft_filter_add(&c->cross_pages, to->va);
	}
	int32_t rel = (int32_t)(entry - (soft_cache_rx(c, l->site) + 4));

	__atomic_store_n((int32_t *)(void *)l->site, rel, __ATOMIC_RELEASE);
}

static void unlink_one(struct soft_cache *c, struct soft_link *l)
{
	int32_t rel = (int32_t)(l->cold - (soft_cache_rx(c, l->site) + 4));

	__atomic_store_n((int32_t *)(void *)l->site, rel, __ATOMIC_RELEASE);
	l->to = NULL;
	c->n_unlinked++;
}

static void remove_from_in_list(struct soft_link *l)
{
	for (struct soft_link **pp = &l->to->in; *pp; pp = &(*pp)->next_in) {
		if (*pp == l) {
			*pp = l->next_in;
			return;
		}
	}
}

void soft_cache_unlink_cross(struct soft *so)
{
	struct soft_cache *c = so->cache;

	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->n_cross; i++) {
		struct soft_link *l = c->cross[i];

		if (l->to) {
			remove_from_in_list(l);
			unlink_one(c, l);
		}
	}
	c->n_cross = c->n_cross_user = 0;
	soft_zero(&c->cross_pages, sizeof(c->cross_pages));
	pthread_mutex_unlock(&c->lock);
}

/* The filter goes on to name their pages, which costs a look and no more. */
void soft_cache_unlink_cross_user(struct soft *so)
{
	struct soft_cache *c = so->cache;
	uint32_t kept = 0;

	if (!c->n_cross_user)
		return;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->n_cross; i++) {
		struct soft_link *l = c->cross[i];

		if (!l->to)
			continue;
		if (!user_link(l)) {
			c->cross[kept++] = l;
			continue;
		}
		remove_from_in_list(l);
		unlink_one(c, l);
	}
	c->n_cross = kept;
	c->n_cross_user = 0;
	pthread_mutex_unlock(&c->lock);
}

/* Also leaves out of the list and the filter what was unlinked otherwise. Other threads look at the filter meanwhile: it
 * is written over, word by word, by one that has the same bits for the links that stay. */
void soft_cache_unlink_cross_page(struct soft *so, uint64_t la)
{
	struct soft_cache *c = so->cache;
	uint32_t kept = 0;

	pthread_mutex_lock(&c->lock);
	soft_zero(&c->cross_scratch, sizeof(c->cross_scratch));
	for (uint32_t i = 0; i < c->n_cross; i++) {
		struct soft_link *l = c->cross[i];

		if (!l->to)
			continue;
		if (!((l->to->va ^ la) >> 12)) {
			remove_from_in_list(l);
			unlink_one(c, l);
			continue;
		}
		soft_filter_add(&c->cross_scratch, l->to->va);
		c->cross[kept++] = l;
	}
	c->n_cross = kept;
	for (unsigned i = 0; i < ARRAY_SIZE(c->cross_pages.word); i++)
		__atomic_store_n(&c->cross_pages.word[i], c->cross_scratch.word[i],
				 __ATOMIC_RELAXED);
	pthread_mutex_unlock(&c->lock);
}

void soft_cache_unlink_all(struct soft *so)
{
	struct soft_cache *c = so->cache;

	soft_cache_unlink_cross(so);
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; i < c->n_blocks; i++) {
		struct soft_block *b = c->block[i];

		for (unsigned k = 0; k < b->n_links; k++) {
			if (!b->link[k].to)
				continue;
			remove_from_in_list(&b->link[k]);
			unlink_one(c, &b->link[k]);
		}
	}
	pthread_mutex_unlock(&c->lock);
}

void soft_cache_drop(struct soft_cache *c, struct soft_block *b)
{
	for (unsigned i = 0; i < b->n_pages; i++)
		remove_from_page(c, b, b->page[i].number);
	for (struct soft_block **pp = &c->hash[hash(b->va, b->gpa, b->key)]; *pp;
	     pp = &(*pp)->hash_next) {
		if (*pp == b) {
			*pp = b->hash_next;
			break;
		}
	}
	while (b->in) {
		struct soft_link *l = b->in;

		b->in = l->next_in;
		unlink_one(c, l);
	}
	for (unsigned i = 0; i < b->n_links; i++) {
		if (b->link[i].to) {
			remove_from_in_list(&b->link[i]);
			unlink_one(c, &b->link[i]);
		}
	}
	b->dead = true;
	c->n_invalidated++;
}

void soft_cache_clear_jump_caches(struct soft *so, struct soft_vcpu *self)
{
	for (unsigned i = 0; i < so->n_vcpus; i++) {
		struct soft_vcpu *v = so->vcpu[i];

		if (v == self && v)
			soft_tr_flush_jc(v);
		else if (v)
			__atomic_or_fetch(&v->req, SOFT_REQ_JC, __ATOMIC_SEQ_CST);
	}
}

bool soft_cache_drop_page(struct soft *so, uint64_t n, uint64_t granules)
{
	struct soft_cache *c = so->cache;
	struct soft_block *b, *next;
	bool any = false;

	for (b = c->page[n]; b; b = next) {
		next = b->page[page_slot(b, n)].next;
		if (b->page[page_slot(b, n)].granules & granules) {
			soft_patched_dropped(so, b);
			soft_cache_drop(c, b);
			any = true;
		}
	}
	return any;
}

/* seccomp vm: sched_yield */
void soft_cache_park(struct soft_cache *c)
{
	while (__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST))
		sched_yield();
}

static void release_memory(struct soft_cache *c)
{
	size_t from = ALIGN_UP(c->stubs_end, 4096);

	(void)fallocate(c->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
			(off_t)(c->size - from));
	(void)madvise(c->arena, c->arena_size, MADV_DONTNEED);
	(void)madvise(c->block, SOFT_MAX_BLOCKS * sizeof(*c->block), MADV_DONTNEED);
	(void)madvise(c->cross, MAX_CROSS * sizeof(*c->cross), MADV_DONTNEED);
}

void soft_cache_flush(struct soft *so, struct soft_vcpu *self, bool release)
{
	struct soft_cache *c = so->cache;
	uint32_t free_stop = 0;

	if (!__atomic_compare_exchange_n(&c->stop, &free_stop, 1, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST)) {
		soft_cache_park(c); /* somebody else is flushing */
		return;
	}
	for (unsigned i = 0; i < so->n_vcpus; i++) {
		struct soft_vcpu *v = so->vcpu[i];

		if (!v || v == self)
			continue;
		__atomic_or_fetch(&v->req, SOFT_REQ_STOP, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&v->tr.in_code, __ATOMIC_SEQ_CST))
			sched_yield();
	}
	pthread_mutex_lock(&c->lock);
	soft_zero(c->hash, sizeof(c->hash));
	for (uint32_t i = 0; i < c->n_blocks; i++)
		for (unsigned p = 0; p < c->block[i]->n_pages; p++)
			c->page[c->block[i]->page[p].number] = NULL;
	soft_pages_clear(so);
	__atomic_store_n(&c->n_blocks, 0, __ATOMIC_RELEASE);
	c->arena_used = 0;
	c->used = c->stubs_end;
	c->n_cross = c->n_cross_user = 0;
	soft_zero(&c->cross_pages, sizeof(c->cross_pages));
	c->n_flushes++;
	if (release)
		release_memory(c);
	pthread_mutex_unlock(&c->lock);
	soft_cache_clear_jump_caches(so, self);
	__atomic_store_n(&c->stop, 0, __ATOMIC_SEQ_CST);
}
