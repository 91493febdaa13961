/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smc - self-modifying code: every way in which a store can hit code that has run or is about to.
 *
 *  1 function patched and called  2 patched again  3 the next instruction patched  4 a later one of the same
 *  block  5 a loop that patches its own constant  6 patch through an alias mapping, then a serialising
 *  instruction  7 code in another page  8 instruction across a page boundary, its tail patched  9 and its head
 *  10 REP STOSB over a function  11 REP MOVSB of a new one  12 LOCK CMPXCHG8B patch  13 XCHG patch
 *  14 SSE store patch  15 PUSH patch  16 INT3 over an instruction, and back  17 jump displacement patched
 *  18 data beside the code: many writes, code stays right  19 function copied to fresh pages, again and again
 *  20 code patched by a page-crossing store  21 an earlier instruction patched in a loop  22 page remapped to
 *  other code  23 patch under a call that returns into it  24 FXSAVE patch  25 32-bit code patched
 *  26 x87 store patch  27 indirect call target patched  28 patch by CMPXCHG16B  29 callee patches its caller
 */
#include "flat.h"

#define ALIAS 0x8000000000

main:
	/* 1, 2 */
	call f1
	cmp $1, %eax
	CHECK 1, e
	movb $2, f1 + 1
	call f1
	cmp $2, %eax
	CHECK 1, e
	movb $3, f1 + 1
	call f1
	cmp $3, %eax
	CHECK 2, e

	/* 3: twice, so that the code has run before */
	mov $2, %r12d
1:	mov $0, %ebx
	mov %r12b, 2f + 1
2:	mov $0, %ebx
	cmp %r12d, %ebx
	CHECK 3, e
	inc %r12d
	cmp $6, %r12d
	jb 1b
	/* 4 */
	mov $2, %r12d
1:	mov %r12b, 2f + 1
	nop
	mov $5, %ecx
	add %ecx, %ecx
	imul %ecx, %ecx
2:	mov $0, %ebx
	cmp %r12d, %ebx
	CHECK 4, e
	inc %r12d
	cmp $9, %r12d
	jb 1b

	/* 5 */
	xor %eax, %eax
	mov $1000, %ecx
1:	incl 2f + 1
2:	.byte 0x05 /* add $imm32, %eax */
	.long 0
	loop 1b
	cmp $500500, %eax
	CHECK 5, e

	/* 6: page of `other` at ALIAS too */
	movq $pdpt1 + 3, pml4 + 8
	movq $pd1 + 3, pdpt1
	movq $pt + 3, pd1
	movq $other + 3, pt
	movq $other + 3, pt + 8
	call other
	cmp $1, %eax
	CHECK 7, e
	mov $ALIAS, %rbp
	mov $2, %r12d
1:	mov %r12b, 1(%rbp)
	xor %eax, %eax
	cpuid
	call other
	cmp %r12d, %eax
	CHECK 6, e
	call *%rbp /* the same by the other address */
	cmp %r12d, %eax
	CHECK 6, e
	inc %r12d
	cmp $20, %r12d
	jb 1b
	/* 7 */
	movb $77, other + 1
	call other
	cmp $77, %eax
	CHECK 7, e

	/* 8, 9: mov $imm32, %eax that begins two bytes before the page's end */
	call crossing
	cmp $0x11111111, %eax
	CHECK 8, e
	movw $0x2222, crossing + 3
	call crossing
	cmp $0x22221111, %eax
	CHECK 8, e
	movb $0x33, crossing + 1
	call crossing
	cmp $0x22221133, %eax
	CHECK 9, e
	mov $0x44444444, %edx
	mov %edx, crossing + 1 /* the store crosses, too */
	call crossing
	cmp $0x44444444, %eax
	CHECK 20, e

	/* 10 */
	call f2
	cmp $9, %eax
	CHECK 10, e
	mov $f2, %edi
	mov $4, %ecx
	mov $0x90, %al
	rep stosb
	call f2 /* nop nop nop nop; mov $10, %eax.. */
	cmp $10, %eax
	CHECK 10, e
	/* 11 */
	mov $f2, %edi
	mov $f2_new, %esi
	mov $f2_new_end - f2_new, %ecx
	rep movsb
	call f2
	cmp $11, %eax
	CHECK 11, e

	/* 12: f3 is eight bytes, aligned */
	call f3
	cmp $1, %eax
	CHECK 12, e
	mov f3, %eax
	mov f3 + 4, %edx
	mov f3_new, %ebx
	mov f3_new + 4, %ecx
	lock cmpxchg8b f3
	CHECK 12, e
	call f3
	cmp $2, %eax
	CHECK 12, e
	mov $0x90c300000003b8, %rax /* mov $3, %eax; ret; nop */
	xchg %rax, f3
	call f3
	cmp $3, %eax
	CHECK 13, e
	/* 14 */
	movups f4_new, %xmm0
	call f4
	cmp $1, %eax
	CHECK 14, e
	movaps %xmm0, f4
	call f4
	cmp $4, %eax
	CHECK 14, e
	/* 15 */
	mov %rsp, %r14
	mov $f4 + 8, %rsp
	mov $0x90c300000005b8, %rax
	push %rax
	mov %r14, %rsp
	call f4
	cmp $5, %eax
	CHECK 15, e
	/* 28 */
	mov f4, %rax
	mov f4 + 8, %rdx
	mov f4_newer, %rbx
	mov f4_newer + 8, %rcx
	lock cmpxchg16b f4
	CHECK 28, e
	call f4
	cmp $28, %eax
	CHECK 28, e
	/* 26: FISTP writes 8 bytes */
	fninit
	fildq f4_x87
	fistpq f4
	call f4
	cmp $26, %eax
	CHECK 26, e

	/* 16 */
	call f1
	mov $3, %r12d
1:	mov f1, %r13b
	movb $0xcc, f1
	TRY 2f
	call f1
2:	CHECK_EXC 16, 3
	cmpq $f1 + 1, exc_rip
	CHECK 16, e
	mov %r13b, f1
	call f1
	cmp $3, %eax
	CHECK 16, e
	dec %r12d
	jnz 1b

	/* 17 */
	call f5
	cmp $1, %eax
	CHECK 17, e
	movb $f5_b - f5_end, f5 + 1
	call f5
	cmp $2, %eax
	CHECK 17, e

	/* 18 */
	mov $20000, %r12d
	xor %r13d, %r13d
1:	mov %r12d, f6_data
	call f6
	add %eax, %r13d
	dec %r12d
	jnz 1b
	cmp $20000, %r13d
	CHECK 18, e
	/* 19: pages of code made anew */
	mov $200, %r12d
1:	mov %r12d, %edi
	and $15, %edi
	shl $12, %edi
	add $fresh, %edi
	mov %edi, %ebx
	mov $f7, %esi
	mov $f7_end - f7, %ecx
	rep movsb
	mov %r12d, 1(%rbx)
	call *%rbx
	cmp %r12d, %eax
	CHECK 19, e
	dec %r12d
	jnz 1b

	/* 21: patches an instruction before it, in the same loop */
	mov $100, %ecx
	xor %eax, %eax
	movl $0, 1f + 1
1:	.byte 0x05
	.long 0
	mov %ecx, 1b + 1
	loop 1b
	cmp $5049, %eax /* 100 + .. + 2 */
	CHECK 21, e

	/* 22 */
	mov $ALIAS + 0x1000, %rbp
	movb $21, other + 1
	movl $0x00000000, other2 + 1
	movb $22, other2 + 1
	mov $50, %r12d
1:	movq $other + 3, pt + 8
	invlpg (%rbp)
	call *%rbp
	cmp $21, %eax
	CHECK 22, e
	movq $other2 + 3, pt + 8
	invlpg (%rbp)
	call *%rbp
	cmp $22, %eax
	CHECK 22, e
	dec %r12d
	jnz 1b

	/* 23: the callee patches what it returns to; 29: behind the return */
	mov $3, %r12d
1:	call patch_return
2:	mov $0, %ebx
	cmp %r12d, %ebx
	CHECK 23, e
	nop
3:	mov $0, %ebx
	cmp %r12d, %ebx
	CHECK 29, e
	inc %r12d
	cmp $8, %r12d
	jb 1b
	jmp 4f
patch_return:
	mov %r12b, 2b + 1
	mov %r12b, 3b + 1
	ret
4:
	/* 24: FXSAVE over a page: xmm0 (offset 160) is code */
	movups f4_new, %xmm0
	mov $fresh, %ebx
	lea 160(%rbx), %rdx
	movb $0xc3, (%rdx)
	call *%rdx
	fxsave (%rbx)
	xor %eax, %eax
	call *%rdx
	cmp $4, %eax
	CHECK 24, e

	/* 25: compatibility mode */
	orq $4, pml4
	orq $4, pdpt
	orq $4, pd
	orq $4, pd + 8
	mov %cr3, %rax
	mov %rax, %cr3
	mov $1, %r12d
1:	TRY 2f
	TO_USER 3f, cs=USER_CODE32
	.code32
3:	mov $USER_DATA, %eax
	mov %eax, %ds
	mov $0, %ebx
	mov $10, %ecx
5:	incl 6f + 1
6:	mov $0, %ebx
	loop 5b
	int $0x80
	.code64
2:	CHECK_EXC 25, 0x80
	lea (%r12, %r12, 4), %eax
	add %eax, %eax
	cmp %eax, %ebx
	CHECK 25, e
	inc %r12d
	cmp $5, %r12d
	jb 1b

	/* 27 */
	mov $f8, %r13d
	mov $30, %r12d
1:	mov %r12d, f8 + 1
	call *%r13
	cmp %r12d, %eax
	CHECK 27, e
	dec %r12d
	jnz 1b

	xor %edi, %edi
	jmp exit

f1:	mov $1, %eax
	ret
f2:	mov $9, %eax
	ret
	/* behind four NOPs: 00 c3 is left of the first; make it harmless */
	.byte 0xb8, 10, 0, 0, 0, 0xc3
	.skip 16, 0x90
f2_new:
	mov $11, %eax
	ret
f2_new_end:
	.align 16
f3:	mov $1, %eax
	ret
	.align 16
f3_new:
	mov $2, %eax
	ret
	.align 16
f4:	mov $1, %eax
	ret
	.align 16
f4_new:
	mov $4, %eax
	ret
	.align 16
f4_newer:
	mov $28, %eax
	ret
	.align 16
f4_x87:
	mov $26, %eax
	ret
	.align 8
f5:	jmp f5_a
f5_end:
f5_a:	mov $1, %eax
	ret
f5_b:	mov $2, %eax
	ret
f6:	mov $1, %eax
	ret
f6_data: .long 0
f7:	mov $0, %eax
	ret
f7_end:
f8:	mov $0, %eax
	ret

	.align 4096
other:	mov $1, %eax
	ret
	.align 4096
other2: mov $2, %eax
	ret
	.align 4096
	.skip 4094
crossing:
	mov $0x11111111, %eax
	ret

	.bss
	.align 4096
pdpt1: .skip 4096
pd1: .skip 4096
pt: .skip 4096
fresh: .skip 16 * 4096
	.text
