/* SPDX-License-Identifier: Apache-2.0 */
/*
 * float.c - tests of floating point: SSE2 vectors, SSE2 scalars, x87. Sums are taken over the results' bits.
 */
#include <emmintrin.h>
#include <string.h>

#include "cpubench.h"

/* --- sse2-matmul: a turn multiplies two matrices of 64 x 64 doubles with packed instructions --- */

#define N 64u

static double *ma, *mb, *mc;

int matmul_prepare(void)
{
	uint64_t x = 99;
	size_t i;

	ma = bench_pages(N * N * sizeof(double));
	mb = bench_pages(N * N * sizeof(double));
	mc = bench_pages(N * N * sizeof(double));
	if (!ma || !mb || !mc)
		return -1;
	for (i = 0; i < N * N; i++) {
		ma[i] = (double)(int64_t)(bench_random(&x) >> 40) / 16777216.0 - 0.5;
		mb[i] = (double)(int64_t)(bench_random(&x) >> 40) / 16777216.0 - 0.5;
	}
	return 0;
}

static __attribute__((noipa)) void multiply(double *c, const double *a, const double *b)
{
	size_t i, j, k;

	for (i = 0; i < N; i++) {
		for (j = 0; j < N; j += 8) {
			__m128d s0 = _mm_setzero_pd(), s1 = s0, s2 = s0, s3 = s0;

			for (k = 0; k < N; k++) {
				__m128d v = _mm_set1_pd(a[i * N + k]);
				const double *row = b + k * N + j;

				s0 = _mm_add_pd(s0, _mm_mul_pd(v, _mm_load_pd(row)));
				s1 = _mm_add_pd(s1, _mm_mul_pd(v, _mm_load_pd(row + 2)));
				s2 = _mm_add_pd(s2, _mm_mul_pd(v, _mm_load_pd(row + 4)));
				s3 = _mm_add_pd(s3, _mm_mul_pd(v, _mm_load_pd(row + 6)));
			}
			_mm_store_pd(c + i * N + j, s0);
			_mm_store_pd(c + i * N + j + 2, s1);
			_mm_store_pd(c + i * N + j + 4, s2);
			_mm_store_pd(c + i * N + j + 6, s3);
		}
	}
}

int matmul_run(uint64_t turns, uint64_t *sum)
{
	while (turns--)
		multiply(mc, ma, mb);
	*sum = bench_mix_bytes(0, mc, N * N * sizeof(double));
	return 0;
}

/* --- fp-scalar, x87: a turn is one step of five bodies that attract one another --- */

#define BODIES 5u

#define DEFINE_BODIES(T, name, root)                                                           \
	struct name {                                                                          \
		T x[3], v[3], m;                                                               \
	};                                                                                     \
	static __attribute__((noipa)) void name##_step(struct name *b, T dt)                   \
	{                                                                                      \
		unsigned i, j, k;                                                              \
		for (i = 0; i < BODIES; i++) {                                                 \
			for (j = i + 1; j < BODIES; j++) {                                     \
				T d[3], r2 = (T)0.01, f;                                       \
				for (k = 0; k < 3; k++) {                                      \
					d[k] = b[i].x[k] - b[j].x[k];                          \
					r2 += d[k] * d[k];                                     \
				}                                                              \
				f = dt / (r2 * root(r2));                                      \
				for (k = 0; k < 3; k++) {                                      \
					b[i].v[k] -= d[k] * b[j].m * f;                        \
					b[j].v[k] += d[k] * b[i].m * f;                        \
				}                                                              \
			}                                                                      \
		}                                                                              \
		for (i = 0; i < BODIES; i++) {                                                 \
			for (k = 0; k < 3; k++)                                                \
				b[i].x[k] += dt * b[i].v[k];                                   \
		}                                                                              \
	}                                                                                      \
	static void name##_start(struct name *b)                                               \
	{                                                                                      \
		uint64_t x = 31415;                                                            \
		unsigned i, k;                                                                 \
		for (i = 0; i < BODIES; i++) {                                                 \
			b[i].m = (T)1 / (T)(i + 1);                                            \
			for (k = 0; k < 3; k++) {                                              \
				b[i].x[k] = (T)(int64_t)(bench_random(&x) >> 44) / (T)65536;   \
				b[i].v[k] = (T)(int64_t)(bench_random(&x) >> 44) / (T)4194304; \
			}                                                                      \
		}                                                                              \
	}

DEFINE_BODIES(double, body_sse, __builtin_sqrt)
DEFINE_BODIES(long double, body_x87, __builtin_sqrtl)

int fp_scalar_run(uint64_t turns, uint64_t *sum)
{
	struct body_sse b[BODIES];
	unsigned i;

	body_sse_start(b);
	while (turns--)
		body_sse_step(b, 0.001);
	*sum = 0;
	for (i = 0; i < BODIES; i++)
		*sum = bench_mix_bytes(*sum, b[i].x, sizeof(b[i].x));
	return 0;
}

int x87_run(uint64_t turns, uint64_t *sum)
{
	struct body_x87 b[BODIES];
	unsigned i, k;

	body_x87_start(b);
	while (turns--)
		body_x87_step(b, 0.001L);
	*sum = 0;
	for (i = 0; i < BODIES; i++) {
		for (k = 0; k < 3; k++)
			*sum = bench_mix_bytes(*sum, &b[i].x[k], 10); /* the rest is padding */
	}
	return 0;
}
