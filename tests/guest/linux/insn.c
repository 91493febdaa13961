/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insn.c - the loop behind the figure insn-rate: a known number of instructions between two lines.
 *
 * Twenty instructions a turn in proportions like those of ordinary programs: a quarter touch memory (16 KiB,
 * reached through a changing index, so that it stays in the first cache), one call and return, two
 * conditional branches (one of them with a pattern), the rest integer arithmetic with flags that are used.
 * The host takes the time between the two lines: the guest's clock has no part in it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest.h"

#define INSNS_PER_TURN 20u
#define TABLE_WORDS 2048u

static uint64_t table[TABLE_WORDS];

static uint64_t run(uint64_t turns)
{
	uint64_t a = 1, b = 2, i;

	__asm__ volatile("	sub $128, %%rsp\n" /* past the red zone: the loop calls */
			 "	jmp 3f\n"
			 "2:	add %[b], %[a]\n"
			 "	ret\n"
			 "3:	mov %[a], %[i]\n" /* a turn begins */
			 "	and %[mask], %[i]\n"
			 "	mov (%[t],%[i],8), %%rax\n"
			 "	add %%rax, %[b]\n"
			 "	lea 7(%[b],%[b],4), %%rdx\n"
			 "	xor %%rdx, %[a]\n"
			 "	shr $3, %%rdx\n"
			 "	add %%rdx, (%[t],%[i],8)\n"
			 "	call 2b\n" /* the 9th; add and ret make 11 */
			 "	test $1, %[b]\n"
			 "	jnz 4f\n" /* 13 */
			 "	imul $13, %[b], %[b]\n"
			 "	jmp 5f\n"
			 "4:	rol $5, %[b]\n"
			 "	nop\n"
			 "5:	cmp %[a], %[b]\n" /* two either way: the 16th */
			 "	adc $0, %[a]\n"
			 "	mov %[a], 8(%[t])\n"
			 "	dec %[n]\n"
			 "	jnz 3b\n" /* 20 */
			 "	add $128, %%rsp\n"
			 : [a] "+&r"(a), [b] "+&r"(b), [i] "=&r"(i), [n] "+&r"(turns)
			 : [t] "r"(table), [mask] "i"(TABLE_WORDS - 1)
			 : "rax", "rdx", "cc", "memory");
	return a ^ b;
}

int insn_main(int argc, char **argv)
{
	uint64_t millions = argc > 1 ? strtoull(argv[1], NULL, 10) : 100, sum;

	/* Once through before, so that what is translated or brought in on first use is not in the figure. */
	sum = run(100000);
	printf("lodge-insn: begin\n");
	fflush(stdout);
	sum += run(millions * 1000000 / INSNS_PER_TURN);
	printf("lodge-insn: end %llu million, sum %016llx\n", (unsigned long long)millions,
	       (unsigned long long)sum);
	fflush(stdout);
	return 0;
}
