/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos.c - tests: everything that the translator keeps to be fast is thrown away at random.
 *
 * Theory of operation. TLB entries, write tags, jump caches, links, blocks and the whole of code memory are caches: a guest
 * must not notice when something of them goes, at any moment at which it may go. With soft_mode "chaos" it goes all the
 * time: before a block is entered (soft_chaos()), and after a TLB miss was answered, before the access is tried again
 * (soft_chaos_miss()). Blocks are made of random lengths, so that each instruction comes to be first and last. Polls
 * are answered at random too. Results must be those of an undisturbed run.
 *
 * The sequence is the same each time for each vCPU; what it meets is not, since interrupts come when they come.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/translate.h"

static uint64_t rnd(struct soft_vcpu *v)
{
	uint64_t x = v->chaos_state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	v->chaos_state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

void soft_chaos_init(struct soft_vcpu *v)
{
	v->chaos_state = UINT64_C(0x9e3779b97f4a7c15) * (v->index + 1);
}

/* A few blocks, as a store to their code would. */
static void drop_blocks(struct soft_vcpu *v)
{
	struct soft_cache *c = v->soft->cache;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < 4 && c->n_blocks; i++) {
		struct soft_block *b = c->block[rnd(v) % c->n_blocks];

		if (!b->dead)
			soft_cache_drop(c, b);
	}
	pthread_mutex_unlock(&c->lock);
	soft_cache_clear_jump_caches(v->soft, v);
}

void soft_chaos(struct soft_vcpu *v)
{
	uint64_t r = rnd(v);

	v->tr.max_insns = r & 1 ? SOFT_BLOCK_INSNS : 1 + (unsigned)(r >> 1) % 8;
	r >>= 8;
	switch (r % 64) {
	case 0: soft_tlb_flush_all(v); break;
	case 1: soft_tlb_flush_nonglobal(v); break;
	case 2:
	case 3: soft_tlb_drop_write_tags(v); break;
	case 4:
	case 5: soft_tlb_flush_page(v, v->tr.va); break;
	case 6: soft_tlb_flush_page(v, v->s.rip); break;
	case 7: soft_tlb_flush_page(v, v->s.gpr[X86_RSP]); break;
	case 8: soft_tr_flush_jc(v); break;
	case 9: soft_cache_unlink_cross(v->soft); break;
	case 10:
	case 11:
	case 12: drop_blocks(v); break;
	case 13:
		if ((r >> 8) % 64 == 0)
			soft_cache_unlink_all(v->soft);
		break;
	case 14:
		if ((r >> 8) % 256 == 0)
			soft_cache_flush(v->soft, v, false);
		break;
	case 15:
		if ((r >> 8) % 16 == 0)
			soft_window_close(v); /* until the next interrupt of user code */
		break;
	default: break;
	}
}

void soft_chaos_miss(struct soft_vcpu *v)
{
	uint64_t r = rnd(v);

	switch (r % 16) {
	case 0: soft_tlb_flush_page(v, v->tr.va); break; /* once more */
	case 1: soft_tlb_drop_write_tags(v); break;
	case 2: __atomic_or_fetch(&v->req, SOFT_REQ_IRQ, __ATOMIC_SEQ_CST); break;
	default: break;
	}
}
