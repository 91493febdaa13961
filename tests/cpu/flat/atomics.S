/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atomics - locked operations and memory order between processors (SDM vol. 3 §8.1, 8.2).
 *
 *  1-7 start-up, see flat_smp.h
 *  8 LOCK INC  9 LOCK XADD  10 LOCK CMPXCHG  11 CMPXCHG8B  12 CMPXCHG16B  13 lock by XCHG: plain counter
 *  14 lock by BTS  15 LOCK ADD across a cache line  16 across a page  17 LOCK OR, XOR, AND of own bits
 *  18 message passing: data before flag  19 store, MFENCE, load: one sees the other; the same with XCHG
 *
 * For flat.sh: cpus: 2, seconds: 120, modes: reference,translate
 */
#include "flat.h"
#include "flat_apic.h"
#include "flat_smp.h"

#define LOOPS 20000

/* ---- locked operations: all ---- */
p_inc:	call barrier
	mov $LOOPS, %ecx
1:	lock incl ctr
	dec %ecx
	jnz 1b
	ret

p_xadd: call barrier
	mov $LOOPS, %ecx
	xor %ebx, %ebx
1:	mov $1, %eax
	lock xadd %rax, ctr
	add %rax, %rbx /* what it saw: all different in all processors */
	dec %ecx
	jnz 1b
	lock add %rbx, sum
	ret

p_cmpxchg:
	call barrier
	mov $LOOPS, %ecx
1:	mov ctr, %eax
2:	lea 3(%rax), %edx
	lock cmpxchg %edx, ctr
	jnz 2b
	dec %ecx
	jnz 1b
	ret

p_cmpxchg8b:
	call barrier
	mov $LOOPS, %esi
1:	mov wide, %eax
	mov wide + 4, %edx
2:	mov %eax, %ebx
	mov %edx, %ecx
	inc %ebx
	dec %ecx
	lock cmpxchg8b wide
	jnz 2b
	dec %esi
	jnz 1b
	ret

p_cmpxchg16b:
	call barrier
	mov $LOOPS, %esi
1:	mov wide, %rax
	mov wide + 8, %rdx
2:	lea 1(%rax), %rbx
	lea -1(%rdx), %rcx
	lock cmpxchg16b wide
	jnz 2b
	dec %esi
	jnz 1b
	ret

p_xchg: call barrier
	mov $LOOPS, %ecx
1:	mov $1, %eax
2:	xchg %eax, lock_word
	test %eax, %eax
	jz 4f
3:	pause
	cmpl $0, lock_word
	jne 3b
	jmp 2b
4:	incl ctr
	incl ctr2
	movl $0, lock_word
	dec %ecx
	jnz 1b
	ret

p_bts:	call barrier
	mov $LOOPS, %ecx
1:	lock btsl $7, lock_word
	jnc 2f
	pause
	jmp 1b
2:	incl ctr
	lock btrl $7, lock_word
	dec %ecx
	jnz 1b
	ret

p_line: call barrier
	mov $LOOPS, %ecx
	mov $0x100000001, %rax
1:	lock add %rax, split_line + 60
	dec %ecx
	jnz 1b
	ret

p_page: call barrier
	mov $LOOPS, %ecx
	mov $0x100000001, %rax
1:	lock add %rax, split_page + 4092
	dec %ecx
	jnz 1b
	ret

p_bits: call barrier
	mov %r12d, %ecx
	mov $1, %ebx
	shl %cl, %ebx
	mov %ebx, %edx
	not %edx
	mov $LOOPS, %ecx
1:	lock or %ebx, lock_word
	test %ebx, lock_word
	ACHECK 17, nz
	lock and %edx, lock_word
	test %ebx, lock_word
	ACHECK 17, z
	lock xor %ebx, lock_word
	test %ebx, lock_word
	ACHECK 17, nz
	lock xor %ebx, lock_word
	test %ebx, lock_word
	ACHECK 17, z
	dec %ecx
	jnz 1b
	ret

/* ---- memory order: pair ---- */
p_message: /* the first writes data, flag; the other must not see flag and old data */
	call barrier
	mov $1, %ebx
	test %r12d, %r12d
	jnz 2f
1:	mov %ebx, data
	mov %ebx, flag
	inc %ebx
	cmp $200000, %ebx
	jne 1b
	ret
2:	mov $100000000, %ecx
3:	mov flag, %eax
	mov data, %edx
	cmp %eax, %edx
	ACHECK 18, ae
	cmp $199999, %eax
	je 4f
	dec %ecx
	jnz 3b
4:	ret

p_store_load: /* each stores to its own, then loads the other's: not both old */
	mov $1, %ebx
	mov %r12d, %esi
	mov %r12d, %edi
	xor $1, %edi
	shl $6, %esi
	shl $6, %edi
1:	call barrier
	test $1, %ebx
	jz 2f
	mov %ebx, order(%rsi)
	mfence
	jmp 3f
2:	mov %ebx, %eax
	xchg %eax, order(%rsi)
3:	mov order(%rdi), %eax
	mov %eax, order_seen(%rsi)
	call barrier
	cmp %ebx, order_seen
	je 4f
	cmp %ebx, order_seen + 64
	ACHECK 19, e
4:	inc %ebx
	cmp $150, %ebx
	jne 1b
	ret

main:
	call smp_start
	sti
	ALL 8, p_inc
	cmpl $SMP_CPUS * LOOPS, ctr
	CHECK 8, e
	movq $0, ctr
	ALL 9, p_xadd
	cmpl $SMP_CPUS * LOOPS, ctr
	CHECK 9, e
	mov $SMP_CPUS * LOOPS, %eax
	lea -1(%rax), %ecx
	imul %rcx, %rax
	shr $1, %rax
	cmp %rax, sum
	CHECK 9, e
	movq $0, ctr
	ALL 10, p_cmpxchg
	cmpl $SMP_CPUS * LOOPS * 3, ctr
	CHECK 10, e
	ALL 11, p_cmpxchg8b
	cmpl $SMP_CPUS * LOOPS, wide
	CHECK 11, e
	cmpl $-SMP_CPUS * LOOPS, wide + 4
	CHECK 11, e
	movq $0, wide
	ALL 12, p_cmpxchg16b
	cmpq $SMP_CPUS * LOOPS, wide
	CHECK 12, e
	cmpq $-SMP_CPUS * LOOPS, wide + 8
	CHECK 12, e
	movq $0, ctr
	ALL 13, p_xchg
	cmpl $SMP_CPUS * LOOPS, ctr
	CHECK 13, e
	cmpl $SMP_CPUS * LOOPS, ctr2
	CHECK 13, e
	movq $0, ctr
	ALL 14, p_bts
	cmpl $SMP_CPUS * LOOPS, ctr
	CHECK 14, e
	ALL 15, p_line
	cmpl $SMP_CPUS * LOOPS, split_line + 60
	CHECK 15, e
	cmpl $SMP_CPUS * LOOPS, split_line + 64
	CHECK 15, e
	ALL 16, p_page
	cmpl $SMP_CPUS * LOOPS, split_page + 4092
	CHECK 16, e
	cmpl $SMP_CPUS * LOOPS, split_page + 4096
	CHECK 16, e
	movl $0, lock_word
	ALL 17, p_bits
	cmpl $0, lock_word
	CHECK 17, e
	PAIR 18, p_message
	PAIR 19, p_store_load

	xor %edi, %edi
	jmp exit

	.bss
	.align 4096
split_page: .skip 8192
split_line: .skip 128
	.align 64
wide: .skip 64
order: .skip 128
order_seen: .skip 128
data: .skip 64
flag: .skip 64
ctr: .skip 64
ctr2: .skip 64
lock_word: .skip 64
sum: .skip 8
	.text
