/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk_stats.c - the counters of a disk, one by one, as `lodge ctl stats` and the metrics show them.
 *
 * Latencies are counted in buckets of powers of two (blk.h), so a percentile is the upper end of a bucket: right within a factor of two, and
 * counting costs no more than an addition.
 */
#include "blk/blk.h"

#include <stdio.h>

/* The time below which `percent` of all requests were done: the upper end of their bucket. */
static uint64_t percentile_us(const struct blk_op_stats *s, unsigned percent)
{
	uint64_t wanted = (s->ops * percent + 99) / 100, seen = 0;

	for (unsigned i = 0; i < BLK_BUCKETS && s->ops; i++) {
		seen += s->latency[i];
		if (seen >= wanted)
			return BIT(i);
	}
	return 0;
}

static void list_op(const struct blk_op_stats *s, const char *op,
		    void (*add)(void *ctx, const char *key, uint64_t v), void *ctx)
{
	const struct {
		const char *name;
		uint64_t v;
	} value[] = {{"ops", s->ops},
		     {"bytes", s->bytes},
		     {"errors", s->errors},
		     {"us", s->total_ns / 1000},
		     {"p50_us", percentile_us(s, 50)},
		     {"p99_us", percentile_us(s, 99)}};
	char key[48];

	for (unsigned i = 0; i < ARRAY_SIZE(value); i++) {
		snprintf(key, sizeof(key), "%s.%s", op, value[i].name);
		add(ctx, key, value[i].v);
	}
}

void blk_stats_list(const struct blk_stats *st, void (*add)(void *ctx, const char *key, uint64_t v),
		    void *ctx)
{
	for (unsigned i = 0; i < BLK_OPS; i++)
		list_op(&st->op[i], blk_op_names[i], add, ctx);
	add(ctx, "in_flight", st->in_flight);
	add(ctx, "held", st->held);
	add(ctx, "throttled", st->throttled);
	add(ctx, "refused", st->refused);
	add(ctx, "stalls", st->stalls);
}
