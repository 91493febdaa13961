/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirty.c - the kernel's log of pages that vCPUs have written, into guest memory's own (mem/gmem.h).
 *
 * Theory of operation. While a memory slot has its log switched on, the kernel notes each page that a vCPU writes, by
 * write-protecting it or by the processor's own page-modification log. KVM_GET_DIRTY_LOG hands the notes over and starts anew
 * in one step (api, 4.8). gmem_dirty_harvest() asks us for them through gmem's hook, so that what it gives out is
 * whole; dirty_sync() switches the log on when gmem's is on, and off when it is not.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/kvm/kvm.h"
#include "util/log.h"

/* seccomp vm: ioctl arg1=KVM_SET_USER_MEMORY_REGION/KVM_GET_DIRTY_LOG */

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

		r = kvm_ioctl(en->vm, KVM_SET_USER_MEMORY_REGION, &slot);
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
		}
	}
	pthread_mutex_unlock(&en->dirty_lock);
}

void kvm_dirty_collect(void *ctx)
{
	struct engine *en = ctx;
	struct gmem *m = en->cfg.mem;

	pthread_mutex_lock(&en->dirty_lock);
	for (unsigned i = 0; i < m->n_regions && en->dirty_on; i++) {
		uint64_t words = (m->region[i].size / GMEM_PAGE + 63) / 64;
		uint64_t *map = calloc(words, sizeof(*map));
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = map};

		if (!map || kvm_ioctl(en->vm, KVM_GET_DIRTY_LOG, &log) < 0) {
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
	pthread_mutex_unlock(&en->dirty_lock);
}
