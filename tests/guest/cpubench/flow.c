/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.c - tests of control flow: recursion, a switch that is a jump table, calls through pointers, code that changes.
 */
#include <stdio.h>
#include <sys/mman.h>

#include "cpubench.h"

/* --- recursion: a turn is fib(20), 21,891 calls. The empty asm keeps the compiler from making loops of them. --- */

static __attribute__((noipa)) uint64_t fib(uint64_t n)
{
	uint64_t a, b;

	if (n < 2)
		return n;
	a = fib(n - 1);
	__asm__ volatile("" : "+r"(a));
	b = fib(n - 2);
	__asm__ volatile("" : "+r"(b));
	return a + b;
}

int recursion_run(uint64_t turns, uint64_t *sum)
{
	*sum = 0;
	while (turns--)
		*sum = bench_mix(*sum, fib(20));
	return 0;
}

/* --- switch: a turn interprets 1024 instructions of a made-up machine with 16 of them --- */

#define PROGRAM_INSNS 1024u

static uint8_t *program;

int switch_prepare(void)
{
	uint64_t x = 777;
	size_t i;

	program = bench_pages(PROGRAM_INSNS);
	for (i = 0; program && i < PROGRAM_INSNS; i++)
		program[i] = (uint8_t)(bench_random(&x) >> 24 & 15);
	return program ? 0 : -1;
}

static __attribute__((noipa)) uint64_t interpret(const uint8_t *p, uint64_t a)
{
	const uint8_t *end = p + PROGRAM_INSNS;
	uint64_t b = 1, c = 2;

	for (; p < end; p++) {
		switch (*p) {
		case 0: a += b; break;
		case 1: b ^= a; break;
		case 2: c = c * 5 + 1; break;
		case 3: a = a << 7 | a >> 57; break;
		case 4: b -= c; break;
		case 5: a ^= c >> 3; break;
		case 6: c += a & b; break;
		case 7: b = ~b; break;
		case 8: a *= 13; break;
		case 9: c ^= b << 9; break;
		case 10: a -= 0x1234567; break;
		case 11: b |= c & 0xff; break;
		case 12: c = a + 77; break;
		case 13: b += a >> 17; break;
		case 14: a = __builtin_bswap64(a); break;
		case 15: c -= b ^ a; break;
		}
	}
	return a ^ b ^ c;
}

int switch_run(uint64_t turns, uint64_t *sum)
{
	uint64_t a = 3;

	while (turns--)
		a = interpret(program, a);
	*sum = a;
	return 0;
}

/* --- indirect: a turn is 64 calls through pointers, of 8 functions in a fixed order without a short period --- */

#define CALLS 64u

typedef uint64_t (*step_fn)(uint64_t a);

#define STEP(n, expr)                                              \
	static __attribute__((noipa)) uint64_t step##n(uint64_t a) \
	{                                                          \
		return expr;                                       \
	}
STEP(0, a + 0x9e3779b9)
STEP(1, a ^ a >> 7)
STEP(2, a * 5)
STEP(3, a << 3 | a >> 61)
STEP(4, ~a)
STEP(5, a - 12345)
STEP(6, a ^ 0x5555)
STEP(7, __builtin_bswap64(a) + 1)

static step_fn calls[CALLS];

int indirect_prepare(void)
{
	static const step_fn steps[8] = {step0, step1, step2, step3, step4, step5, step6, step7};
	uint64_t x = 4242;
	size_t i;

	for (i = 0; i < CALLS; i++)
		calls[i] = steps[bench_random(&x) >> 20 & 7];
	return 0;
}

int indirect_run(uint64_t turns, uint64_t *sum)
{
	uint64_t a = 9;
	size_t i;

	while (turns--) {
		for (i = 0; i < CALLS; i++)
			a = calls[i](a);
	}
	*sum = a;
	return 0;
}

/* --- patch: a turn writes the immediate of `mov $imm, %eax; ret` and calls it --- */

#define PATCH_BYTES 4096u

static uint8_t *patched;

int patch_prepare(void)
{
	patched = mmap(NULL, PATCH_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (patched == MAP_FAILED)
		return bench_fail("mmap of code");
	patched[0] = 0xb8; /* mov $imm32, %eax */
	patched[5] = 0xc3; /* ret */
	return 0;
}

int patch_run(uint64_t turns, uint64_t *sum)
{
	uint32_t (*call)(void) = (uint32_t(*)(void))(uintptr_t)patched;
	volatile uint32_t *imm = (volatile uint32_t *)(uintptr_t)(patched + 1);
	uint64_t s = 0;
	uint32_t i, got, want;

	for (i = 0; i < turns; i++) {
		want = i * UINT32_C(2654435761) + 1;
		*imm = want;
		got = call();
		if (got != want) {
			printf("patch: call %u gave %08x instead of %08x\n", i, got, want);
			return -1;
		}
		s = bench_mix(s, got);
	}
	*sum = s;
	return 0;
}
