/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iret - IRETQ: what it refuses, to CPL 3 and within a level, and descriptors that change behind it. expect: 0
 *
 *  1 IRETQ with NT: #GP(0)  2 SS RPL is not CS RPL: #GP(SS)  3 null CS: #GP(0)  4 to more privilege: #GP(CS)
 *  5 IRETQ within CPL 3 keeps IF and IOPL  6 DS with DPL 0 is null at CPL 3  7 IRETQ to compat CPL 3: 32-bit ESP
 *  8 after its code descriptor has changed: #NP(CS)  9 its stack descriptor: #SS(SS)  10 GDT's limit: #GP(CS)
 *  11 IRETQ with AC to CPL 3, and the mode of what follows  12 to the same level: RSP, flags, again and again
 */
#include "flat.h"

main:
	call pages_user

	TRY 1f
	pushq $DATA64
	pushq $stack_top
	pushq $2
	pushq $CODE64
	pushq $1f
	pushq $0x4002
	popfq
	iretq
1:	CLEAN_FLAGS
	CHECK_EXC_ERR 1, 13, 0
	TRY 1f
	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 2, 13, DATA64
	TRY 1f
	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $3
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 3, 13, 0
	TRY 1f
	TO_USER 2f
2:	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $CODE64
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 4, 13, CODE64
	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	TRY 1f
	TO_USER 2f
2:	mov %ds, %r12d
	mov %es, %r13d
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x3001
	pushq $USER_CODE64
	pushq $3f
	iretq
3:	int $0x80
1:	CHECK_EXC 5, 0x80
	CHECK_EQ 5, exc_rflags, 0x203
	or %r12d, %r13d
	CHECK 6, z
	TRY 1f
	pushq $USER_DATA
	mov $user_stack_top, %eax
	bts $40, %rax
	push %rax
	pushq $0x202
	pushq $USER_CODE32
	pushq $2f
	iretq
	.code32
2:	push %eax
	pop %ebx
	int $0x80
	.code64
1:	CHECK_EXC 7, 0x80
	mov exc_rsp, %eax
	cmp $user_stack_top, %eax
	CHECK 7, e

	.macro USER_AND_BACK n
	TRY .Lb\@
	TO_USER .Lu\@
.Lu\@:
	int $0x80
.Lb\@:
	CHECK_EXC \n, 0x80
	.endm
	.macro NOT_TO_USER n, vector, error
	TRY .Lb\@
	TO_USER .Lu\@
.Lu\@:
	int $0x80
.Lb\@:
	CHECK_EXC_ERR \n, \vector, \error
	.endm
	mov $3, %r14d /* the second time IRETQ has seen these descriptors */
1:	USER_AND_BACK 8
	dec %r14d
	jnz 1b
	andb $0x7f, gdt + USER_CODE64-3+5
	NOT_TO_USER 8, 11, (USER_CODE64-3)
	orb $0x80, gdt + USER_CODE64-3+5
	USER_AND_BACK 8
	andb $0x7f, gdt + USER_DATA - 3 + 5
	TRY 1f
	TO_USER 2f
2:	int $0x80
1:	CHECK_EXC_HW 9, 12 /* (QEMU: #NP) */
	CHECK_ERR_HW 9, (USER_DATA-3)
	orb $0x80, gdt + USER_DATA - 3 + 5
	USER_AND_BACK 9
	movw $(USER_CODE64 - 3 - 1), gdt_ptr
	lgdt gdt_ptr
	NOT_TO_USER 10, 13, (USER_CODE64-3)
	movw $(gdt_end - gdt - 1), gdt_ptr
	lgdt gdt_ptr
	USER_AND_BACK 10
	TRY 1f
	TO_USER 2f, flags=0x40202
2:	pushfq
	pop %r12
	int $0x80
1:	CLEAN_FLAGS
	CHECK_EXC 11, 0x80
	cmp $0x40202, %r12
	CHECK 11, e
	mov $4, %r14d
1:	mov %rsp, %rbx
	pushq $DATA64
	lea -256(%rbx), %rax
	push %rax
	pushq $0x40c97
	pushq $CODE64
	pushq $2f
	iretq
2:	pushfq
	pop %rax
	lea 256(%rsp), %rcx
	mov %rcx, %rsp
	cmp %rbx, %rcx
	CHECK 12, e
	cmp $0x40c97, %rax
	CHECK 12, e
	CLEAN_FLAGS
	dec %r14d
	jnz 1b
	xor %edi, %edi
	jmp exit
