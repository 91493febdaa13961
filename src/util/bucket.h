/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.h - token bucket: so many units a second, and so many at once after a rest.
 *
 * Kept as one time, when the bucket will be full again (the generic cell rate algorithm): no tick, no drift. Something
 * larger than the burst passes too, whenever the bucket is not empty, and is paid for afterwards.
 * Not locked: one thread, or the owner's lock.
 */
#ifndef LODGE_UTIL_BUCKET_H
#define LODGE_UTIL_BUCKET_H

#include "util/base.h"

struct bucket_config {
	uint64_t rate;	/* units a second; 0: no limit */
	uint64_t burst; /* units; 0: as many as rate gives in 100 ms */
};

struct bucket {
	struct bucket_config cfg;
	uint64_t burst_ns; /* time in which an empty bucket fills */
	uint64_t full_ns;  /* when it is full */
};

/* Sets or changes the limit; what was already taken stays taken. Zeroed memory is a bucket without a limit. */
void bucket_set(struct bucket *b, const struct bucket_config *cfg);
/* 0: bucket_take() is allowed at `now` (ns, monotonic); else how many ns later it will be. */
uint64_t bucket_wait(const struct bucket *b, uint64_t now_ns);
/* Takes n units; after bucket_wait() said 0. */
void bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns);

#endif
