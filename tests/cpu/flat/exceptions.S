/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exceptions - every vector that an instruction can reach, its error code and saved RIP; IST; double fault.
 *
 *  1 #DE  2 its RIP  3 #BP  4 its RIP behind the INT3  5 #UD  6 LOCK prefix #UD  7 #NM by TS  8 #NM by EM (x87)
 *  9 SSE with EM is #UD  10 #GP non-canonical  11 #SS non-canonical  12 #GP(selector) segment load  13 #NP
 *  14 #TS (bad SS in a TSS cannot be had in long mode: IRET to a bad SS is #GP)  15 #PF not present  16 CR2
 *  17 #PF write to read-only: error  18 #MF  19 #XM  20 #AC at CPL 3  21 #OF by INTO in compatibility mode
 *  22 #BR by BOUND  23 #GP for CLI at CPL 3  24 INT n with gate DPL 0 from CPL 3: #GP(n*8+2)
 *  25 INT 0x80 from CPL 3  26 its saved CS  27 RSP0 was used  28 IST is used  29 #DF by a missing #GP gate
 *  30 #DF error code is 0  31 nested: fault in a handler  32 after it the outer one goes on
 *  33 gate not present: #NP with error  34 UD2 length of RIP  35 15-byte limit: #GP
 *  36 #DB by ICEBP  37 DR6.BS clear for it  38 stack frame alignment  39 RF set in a fault's frame
 *  40 RF clear in a trap's  41 user #PF error has U  42 IRET to non-canonical RIP: #GP
 *  43 call to a compat-mode LES/LDS... invalid opcodes in 64-bit mode  44 MOV to CS
 *
 * For flat.sh: bed: 29,30
 * In the bed a fault while a fault is delivered is not made into a double fault (29, 30).
 */
#include "flat.h"

hook_nested: /* #BP handler that itself faults */
	mov %rdi, %r13
	TRY 1f
	ud2
1:	CHECK_EXC 31, 6
	incl nested_done
	/* TRY brought the same stack back */
	ret

hook_rsp0:
	mov %rdi, seen_frame
	mov FR_CS(%rdi), %rax
	mov %rax, seen_cs
	movq $CODE64, FR_CS(%rdi)
	movq $DATA64, FR_SS(%rdi)
	mov back_to, %rax
	mov %rax, FR_RIP(%rdi)
	mov back_rsp, %rax
	mov %rax, FR_RSP(%rdi)
	ret

main:
	TRY 1f
	xor %edx, %edx
	xor %ecx, %ecx
	mov $1, %eax
div_insn: div %ecx
1:	CHECK_EXC 1, 0
	cmpq $div_insn, exc_rip
	CHECK 2, e
	testl $0x10000, exc_rflags
	CHECK_HW 39, nz /* (QEMU does not set RF) */

	TRY 1f
	int3
after_int3: nop
1:	CHECK_EXC 3, 3
	cmpq $after_int3, exc_rip
	CHECK 4, e
	testl $0x10000, exc_rflags
	CHECK 40, z

	TRY 1f
ud_insn: ud2
1:	CHECK_EXC 5, 6
	cmpq $ud_insn, exc_rip
	CHECK 34, e
	TRY 1f
	.byte 0xf0, 0x90 /* lock nop */
1:	CHECK_EXC 6, 6

	mov %cr0, %rax
	or $CR0_TS, %rax
	mov %rax, %cr0
	TRY 1f
	fld1
1:	CHECK_EXC 7, 7
	clts
	mov %cr0, %rax
	or $CR0_EM, %rax
	mov %rax, %cr0
	TRY 1f
	fld1
1:	CHECK_EXC 8, 7
	TRY 1f
	xorps %xmm0, %xmm0
1:	CHECK_EXC 9, 6
	mov %cr0, %rax
	and $~CR0_EM, %rax
	mov %rax, %cr0

	mov $0x1234567800000000, %rbx
	TRY 1f
	mov (%rbx), %eax
1:	CHECK_EXC_ERR 10, 13, 0
	mov %rsp, %rbp
	mov %rbp, saved_rbp
	mov %rbx, %rbp
	TRY 1f
	mov (%rbp), %eax
1:	CHECK_EXC_HW 11, 12 /* (QEMU: #GP) */
	CHECK_EQ 11, exc_error, 0
	mov saved_rbp, %rbp

	mov $0x7b, %eax /* beyond the GDT's end: error is the selector without RPL */
	TRY 1f
	mov %eax, %ds
1:	CHECK_EXC_ERR 12, 13, 0x78
	movabs $0x00cf13000000ffff, %rax /* data, not present */
	mov %rax, gdt_spare
	mov $SPARE_SEL, %eax
	TRY 1f
	mov %eax, %ds
1:	CHECK_EXC_ERR 13, 11, SPARE_SEL

	/* IRET with a null SS to CPL 3: #GP(0) */
	TRY 1f
	pushq $0
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 14, 13, 0

	/* page 3 MiB.. not present */
	andq $~1, pd + 16
	invlpg 0x400000
	TRY 1f
	mov 0x400123, %eax
1:	CHECK_EXC_ERR 15, 14, 0
	cmpq $0x400123, exc_cr2
	CHECK 16, e
	orq $1, pd + 16
	andq $~2, pd + 16
	invlpg 0x400000
	TRY 1f
	movb $1, 0x400008
1:	CHECK_EXC_ERR 17, 14, 3
	orq $2, pd + 16
	invlpg 0x400000

	/* x87: divide by zero, unmasked; the exception comes with the next waiting instruction. */
	fninit
	movw $0x37b, scratch
	fldcw scratch
	fld1
	fldz
	fdivrp
	TRY 1f
	fwait
1:	CHECK_EXC 18, 16
	fninit
	movl $0x1d80, scratch /* divide-by-zero unmasked */
	ldmxcsr scratch
	movl $0x3f800000, scratch
	movss scratch, %xmm0
	xorps %xmm1, %xmm1
	TRY 1f
	divss %xmm1, %xmm0
1:	CHECK_EXC_HW 19, 19 /* (QEMU raises no SIMD exceptions) */
	movl $0x1f80, scratch
	ldmxcsr scratch

	/* User mode. Make the whole map user. */
	call pages_user

	mov %cr0, %rax
	or $0x40000, %rax /* AM */
	mov %rax, %cr0
	TRY 1f
	TO_USER 2f, flags=0x40202
2:	mov scratch + 1, %eax
	int $0x80
1:	CHECK_EXC_HW 20, 17 /* (QEMU 7.2 does not check alignment) */

	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	mov $0x7fffffff, %eax
	add $1, %eax
	into
	int $0x80
	.code64
1:	CHECK_EXC 21, 4
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	mov $1000, %eax
	mov $USER_DATA, %ecx
	mov %ecx, %ds
	bound %eax, bounds
	int $0x80
	.code64
1:	CHECK_EXC 22, 5
	TRY 1f
	TO_USER 2f
2:	cli
1:	CHECK_EXC_ERR 23, 13, 0
	TRY 1f
	TO_USER 2f
2:	int $0x21
1:	CHECK_EXC 24, 13
	CHECK_ERR_HW 24, 0x21*8+2 /* (QEMU: n*16+2) */
	TRY 1f
	TO_USER 2f
2:	int $0x80
1:	CHECK_EXC 25, 0x80
	cmpq $USER_CODE64, exc_cs
	CHECK 26, e
	movq $1f, back_to
	mov %rsp, back_rsp
	HOOK 0x80, hook_rsp0
	TO_USER 2f
2:	int $0x80
1:	UNHOOK 0x80
	mov $rsp0_top, %rax
	sub $176, %rax
	cmp %rax, seen_frame
	CHECK 27, e
	TRY 1f
	TO_USER 2f
2:	mov 0xfee00000, %eax /* supervisor page (the last GiB was left alone) */
1:	CHECK_EXC_ERR 41, 14, 5

	/* IST 1 for #UD, even without a change of privilege. */
	movb $1, idt + 6 * 16 + 4
	TRY 1f
	ud2
1:	CHECK_EXC 5, 6
	movb $0, idt + 6 * 16 + 4
	mov $ist1_top, %rax
	sub $176, %rax
	cmp %rax, exc_frame
	CHECK 28, e

	/* #GP gate absent: contributory on contributory is a double fault. On IST 2 */
	movb $2, idt + 8 * 16 + 4
	movb $0x0e, idt + 13 * 16 + 5
	TRY 1f
	mov $0x1234567800000000, %rbx
	mov (%rbx), %eax
1:	CHECK_EXC 29, 8
	cmpq $0, exc_error
	CHECK 30, e
	movb $0x8e, idt + 13 * 16 + 5
	/* #UD's gate absent: benign then contributory: #NP with the gate's index, EXT set */
	movb $0x0e, idt + 6 * 16 + 5
	TRY 1f
	ud2
1:	CHECK_EXC 33, 11
	CHECK_ERR_HW 33, 6*8+2+1 /* (QEMU: n*16+2) */
	movb $0x8e, idt + 6 * 16 + 5

	HOOK 3, hook_nested
	int3
	UNHOOK 3
	cmpl $1, nested_done
	CHECK 32, e

	/* Sixteen bytes. */
	TRY 1f
	.byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
1:	CHECK_EXC_ERR 35, 13, 0

	mov %dr6, %rax
	and $~0xe00f, %rax
	mov %rax, %dr6
	TRY 1f
	.byte 0xf1
1:	CHECK_EXC_HW 36, 1 /* (QEMU stops for its debugger) */
	mov %dr6, %rax
	test $0x4000, %eax
	CHECK 37, z

	/* In 64-bit mode the frame is 16-byte aligned whatever RSP was. */
	mov %rsp, %r14
	sub $3, %rsp
	TRY 1f
	ud2
1:	CHECK_EXC 5, 6
	mov exc_frame, %rax
	add $176, %rax
	test $15, %al
	CHECK 38, z
	mov %r14, %rsp

	TRY 1f
	mov $0x8000000000000000, %rax
	mov $0x0000800000000000, %rax
	pushq $DATA64
	push %rsp
	pushq $2
	pushq $CODE64
	push %rax
	iretq
1:	cmpq $13, exc_vector
	CHECK 42, e
	movq $0, exc_resume

	TRY 1f
	.byte 0x06 /* push es */
1:	CHECK_EXC 43, 6
	TRY 1f
	.byte 0x27 /* daa */
1:	CHECK_EXC 43, 6
	TRY 1f
	.byte 0x60 /* pusha */
1:	CHECK_EXC 43, 6
	TRY 1f
	.byte 0xea, 0, 0, 0, 0, 0, 0, 0 /* far jump, direct */
1:	CHECK_EXC 43, 6
	TRY 1f
	.byte 0xce /* into */
1:	CHECK_EXC 43, 6
	TRY 1f
	.byte 0x8e, 0xc8 /* mov cs, eax */
1:	CHECK_EXC 44, 6

	xor %edi, %edi
	jmp exit

	.data
	.align 16
bounds: .long 0, 999
	.bss
	.align 16
scratch: .skip 64
nested_done: .skip 8
saved_rbp: .skip 8
seen_frame: .skip 8
seen_cs: .skip 8
back_to: .skip 8
back_rsp: .skip 8
