/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty.c - the pages that vCPUs have written, as the kernel notes them, into guest memory's own log (mem/gmem.h).
 *
 * Theory of operation. While a memory slot has its log switched on, the kernel notes each page that a vCPU writes, by
 * write-protecting it or by the processor's own page-modification log. It notes in one of two ways, chosen before the first
 * vCPU is made and for the VM's life:
 *
 *   log    a bit for each page of a slot. KVM_GET_DIRTY_LOG hands a slot's bits over and starts anew in one step (api, 4.8).
 *   ring   the page's number, in a ring of the vCPU that wrote it, which we see (api, 8.29). What was read is given back by
 *          KVM_RESET_DIRTY_RINGS, which protects these pages anew. A vCPU whose ring is full comes out, and empties all of them.
 *
 * gmem_dirty_harvest() asks for either through gmem's hook, so that what it gives out is whole; dirty_sync() switches the kernel's
 * notes on when gmem's log is on, and off when it is not. A ring is whole only when its vCPU is out of the kernel, since
 * the processor may keep the latest pages to itself until then: a harvest sends for the vCPUs that are in it.
 *
 * Which. A log costs a look at each bit of all memory at each harvest, in the kernel under the lock that the page faults of vCPUs need,
 * and two bits of kernel memory for each page while it is on. A ring is quicker, but has its memory all the time, whether
 * anything is ever noted or not, and a page that is written all the time is noted once more each time a ring was full. Rings are taken where
 * they cost half of what the log would: 64 KiB for a vCPU at the least, so from 2 GiB of guest memory on for each, and more for larger guests.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"
#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_CHECK_EXTENSION/KVM_ENABLE_CAP/KVM_SET_USER_MEMORY_REGION/
 *	KVM_GET_DIRTY_LOG/KVM_RESET_DIRTY_RINGS
 */

/* The kernel keeps up to 576 entries back for what one exit may add. */
#define RING_ENTRIES_MIN 4096u
#define RING_BITS_A_PAGE 1u /* all rings, of guest memory: half of what the log takes */

/* ---- rings ---- */

static size_t ring_bytes(const struct engine *en)
{
	return en->ring_entries * sizeof(struct kvm_dirty_gfn);
}

/* How many entries a vCPU's ring shall have. 0: the slots' logs are better here. */
static uint32_t choose(const struct engine *en, uint32_t max)
{
	uint64_t pages = en->cfg.mem->size_bytes / GMEM_PAGE,
		 budget = pages * RING_BITS_A_PAGE / 8 / en->cfg.n_vcpus;
	uint32_t n = RING_ENTRIES_MIN;

	if (en->cfg.kvm_dirty == KVM_DIRTY_AUTO && budget < n * sizeof(struct kvm_dirty_gfn))
		return 0;
	while (n <= max / 2 && 2 * n * sizeof(struct kvm_dirty_gfn) <= budget)
		n *= 2;
	return n;
}

int kvm_dirty_init(struct engine *en, struct err *e)
{
	struct kvm_enable_cap c = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL};
	int max;

	if (en->cfg.kvm_dirty == KVM_DIRTY_LOG)
		return 0;
	max = ioctl(en->made.vm, KVM_CHECK_EXTENSION, (unsigned long)c.cap);
	if (max <= 0) {
		c.cap = KVM_CAP_DIRTY_LOG_RING; /* Linux before 6.1 */
		max = ioctl(en->made.vm, KVM_CHECK_EXTENSION, (unsigned long)c.cap);
	}
	if (max >= (int)(RING_ENTRIES_MIN * sizeof(struct kvm_dirty_gfn)))
		en->ring_entries = choose(en,
					  (uint32_t)max / (uint32_t)sizeof(struct kvm_dirty_gfn));
	c.args[0] = ring_bytes(en);
	if (en->ring_entries && ioctl(en->made.vm, KVM_ENABLE_CAP, &c) < 0)
		en->ring_entries = 0;
	if (!en->ring_entries && en->cfg.kvm_dirty == KVM_DIRTY_RING)
		return err_set(
			e, ENOTSUP,
			"KVM here has no rings of written pages: Linux 5.11 or later is needed");
	return 0;
}

int kvm_dirty_map(struct engine_vcpu *v, struct err *e)
{
	off_t at = KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE);
	void *p;

	if (!v->en->ring_entries)
		return 0;
	p = mmap(NULL, ring_bytes(v->en), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, at);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "cannot map the ring of written pages of vCPU %u",
				 v->index);
	v->dirty_ring = p;
	return 0;
}

void kvm_dirty_unmap(struct engine_vcpu *v)
{
	if (v->dirty_ring)
		munmap(v->dirty_ring, ring_bytes(v->en));
	v->dirty_ring = NULL;
}

/* Reads what is in a vCPU's ring; how many entries. dirty_lock held. */
static unsigned read_ring(struct engine_vcpu *v)
{
	struct gmem *m = v->en->cfg.mem;
	unsigned n = 0;

	for (;; v->dirty_next++, n++) {
		struct kvm_dirty_gfn *g = &v->dirty_ring[v->dirty_next & (v->en->ring_entries - 1)];

		if (__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return n;
		if (g->slot < m->n_regions && g->offset < m->region[g->slot].size / GMEM_PAGE)
			gmem_dirty_mark(m, m->region[g->slot].gpa + g->offset * GMEM_PAGE,
					GMEM_PAGE);
		__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

/* All rings empty, and their pages protected anew. dirty_lock held. */
static void read_rings(struct engine *en)
{
	unsigned n = 0;
	int r;

	for (unsigned i = 0; i < en->n_vcpus; i++)
		if (en->vcpu[i])
			n += read_ring(en->vcpu[i]);
	if (n == 0)
		return;
	r = kvm_ioctl(en->made.vm, KVM_RESET_DIRTY_RINGS, NULL);
	if (r < 0)
		log_error_limited("KVM does not take its rings of written pages back: error %d", -r);
}

void kvm_dirty_full(struct engine_vcpu *v)
{
	__atomic_store_n(&v->stats.n_ring_full, v->stats.n_ring_full + 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&v->en->dirty_lock);
	read_rings(v->en);
	pthread_mutex_unlock(&v->en->dirty_lock);
}

/* ---- logs ---- */

static int set_log(struct engine *en, bool on)
{
	const struct gmem *m = en->cfg.mem;
	int r = 0;

	for (unsigned i = 0; i < m->n_regions && r == 0; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = m->region[i].gpa,
			.memory_size = m->region[i].size,
			.userspace_addr = (uintptr_t)m->region[i].hva,
		};

		r = kvm_ioctl(en->made.vm, KVM_SET_USER_MEMORY_REGION, &slot);
	}
	return r;
}

/* Everything counts as written: more is sent than had to be, and nothing is lost. */
static void mark_all(struct engine *en)
{
	for (unsigned i = 0; i < en->cfg.mem->n_regions; i++)
		gmem_dirty_mark(en->cfg.mem, en->cfg.mem->region[i].gpa,
				en->cfg.mem->region[i].size);
}

/* The logs of all slots. dirty_lock held. */
static void read_logs(struct engine *en)
{
	struct gmem *m = en->cfg.mem;

	for (unsigned i = 0; i < m->n_regions; i++) {
		uint64_t words = (m->region[i].size / GMEM_PAGE + 63) / 64;
		uint64_t *map = calloc(words, sizeof(*map));
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = map};

		if (!map || kvm_ioctl(en->made.vm, KVM_GET_DIRTY_LOG, &log) < 0) {
			log_error_limited("KVM does not tell which pages were written");
			mark_all(en);
		}
		for (uint64_t w = 0; map && w < words; w++)
			for (uint64_t bits = map[w]; bits; bits &= bits - 1)
				gmem_dirty_mark(m,
						m->region[i].gpa +
							(w * 64 + (unsigned)__builtin_ctzll(bits)) *
								GMEM_PAGE,
						GMEM_PAGE);
		free(map);
	}
}

/* ---- both ---- */

void kvm_dirty_sync(struct engine *en)
{
	bool want = __atomic_load_n(&en->cfg.mem->dirty, __ATOMIC_ACQUIRE);
	int r;

	pthread_mutex_lock(&en->dirty_lock);
	if (want != en->dirty_on) {
		r = set_log(en, want);
		if (r < 0) {
			log_error_limited("KVM does not log written pages: error %d", -r);
			if (want)
				mark_all(en);
		} else {
			en->dirty_on = want;
			if (en->ring_entries) /* what is left there is of before */
				read_rings(en);
		}
	}
	pthread_mutex_unlock(&en->dirty_lock);
}

void kvm_dirty_collect(void *ctx)
{
	struct engine *en = ctx;

	if (en->ring_entries)
		kvm_run_out(en);
	pthread_mutex_lock(&en->dirty_lock);
	if (en->dirty_on && en->ring_entries)
		read_rings(en);
	else if (en->dirty_on)
		read_logs(en);
	pthread_mutex_unlock(&en->dirty_lock);
}
