/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_util_bucket.c - token buckets: rate, burst, debt, change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "util/bucket.h"

#define S UINT64_C(1000000000)

/* Units of `size` that pass between two times. */
static uint64_t passes(struct bucket *b, uint64_t from, uint64_t to, uint64_t size)
{
	uint64_t n = 0, now = from;

	while (now <= to) {
		uint64_t wait = bucket_wait(b, now);

		if (wait) {
			now += wait;
			continue;
		}
		bucket_take(b, size, now);
		n += size;
		if (n > 100000000)
			return n;
	}
	return n;
}

static void no_limit(void **state)
{
	struct bucket b = {0};

	(void)state;
	bucket_take(&b, UINT64_MAX, 5);
	assert_int_equal(bucket_wait(&b, 0), 0);
	bucket_set(&b, &(struct bucket_config){0});
	bucket_take(&b, UINT64_MAX, 5);
	assert_int_equal(bucket_wait(&b, 6), 0);
}

static void rate_and_burst(void **state)
{
	struct bucket b = {0};
	uint64_t n;

	(void)state;
	bucket_set(&b, &(struct bucket_config){.rate = 1000, .burst = 200});
	n = passes(&b, S, S, 1); /* at once: the burst */
	assert_in_range(n, 199, 201);
	n = passes(&b, S, 11 * S, 1); /* then the rate */
	assert_in_range(n, 9990, 10010);
	n = passes(&b, 60 * S, 60 * S, 1); /* a long rest fills it no more than once */
	assert_in_range(n, 199, 201);
}

static void larger_than_burst(void **state)
{
	struct bucket b = {0};

	(void)state;
	bucket_set(&b, &(struct bucket_config){.rate = 1000, .burst = 10});
	assert_int_equal(bucket_wait(&b, S), 0);
	bucket_take(&b, 5000, S);
	/* Five seconds' worth, less the burst that was there. */
	assert_in_range(bucket_wait(&b, S), 5 * S - S / 50, 5 * S);
	assert_in_range(passes(&b, S, 101 * S, 5000), 95000, 105000);
}

static void extremes(void **state)
{
	struct bucket b = {0};

	(void)state;
	bucket_set(&b, &(struct bucket_config){.rate = 1, .burst = UINT64_MAX});
	for (unsigned i = 0; i < 10; i++)
		bucket_take(&b, UINT64_MAX, S);
	(void)bucket_wait(&b, S);
	bucket_set(&b, &(struct bucket_config){.rate = UINT64_MAX, .burst = 1});
	bucket_take(&b, 1, 1);
	bucket_set(&b, &(struct bucket_config){0}); /* off again */
	assert_int_equal(bucket_wait(&b, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_limit),
		cmocka_unit_test(rate_and_burst),
		cmocka_unit_test(larger_than_burst),
		cmocka_unit_test(extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
