/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.c - token bucket.
 */
#include "util/bucket.h"

#define NS_PER_S UINT64_C(1000000000)
#define BURST_DEFAULT_NS (NS_PER_S / 10)
/* Longer than any process lives, and far from an overflow. */
#define LONGEST_NS (UINT64_C(1) << 60)

static uint64_t time_of(uint64_t units, uint64_t rate)
{
	unsigned __int128 ns = (unsigned __int128)units * NS_PER_S / rate;

	return ns > LONGEST_NS ? LONGEST_NS : (uint64_t)ns;
}

void bucket_set(struct bucket *b, const struct bucket_config *cfg)
{
	b->cfg = *cfg;
	b->burst_ns = 0;
	if (!cfg->rate) {
		b->full_ns = 0;
		return;
	}
	b->burst_ns = cfg->burst ? time_of(cfg->burst, cfg->rate) : BURST_DEFAULT_NS;
	if (!b->burst_ns)
		b->burst_ns = 1;
}

uint64_t bucket_wait(const struct bucket *b, uint64_t now_ns)
{
	if (!b->cfg.rate || b->full_ns < now_ns + b->burst_ns)
		return 0;
	return b->full_ns - now_ns - b->burst_ns + 1;
}

void bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	if (!b->cfg.rate)
		return;
	if (b->full_ns < now_ns)
		b->full_ns = now_ns;
	b->full_ns += time_of(n, b->cfg.rate);
	if (b->full_ns > now_ns + LONGEST_NS)
		b->full_ns = now_ns + LONGEST_NS;
}
