/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abuse_io - ports of all kinds in all sizes, once and by string instructions: the machine answers, and goes on.
 *
 *  1 what nobody answers reads as ones  2 INS moves exactly what was asked for  3 nothing around it  4 OUTS leaves its registers behind
 *  the last element  5 INS over the end of a page into one that is not there: #PF, and the first page has its bytes
 *  6 with registers at that point  7 OUTS from there  8 INS to where no memory is changes nothing else  9 OUTS from the ROM and the APIC
 *  10 a string of 4096 elements  11 the timer still counts  12 and the UART still has its scratch register
 *
 * Left out are the ports by which a guest ends, and the UART's data, by which it talks.
 *
 * KVM writes into memory what INS has read before a fault, and leaves its registers as they were.
 *
 * For flat.sh: seconds: 60 qemu: no (it ends itself) kvm: 6
 */
#include "flat.h"
#include "flat_apic.h"

#define BUFFER 0x400000
#define NOBODY 0xe8
#define HOLE 0xd0000000
#define PAGE_TABLE 0x3f0000

/* edx: port. All sizes, in and out, the latter with values of all kinds; then by string. Keeps edx, r12-r15. */
abuse:
	in %dx, %al
	in %dx, %ax
	in %dx, %eax
	mov %edx, %r8d
	lea spared, %rsi
1:	lodsw
	cmp %ax, %dx
	je 3f
	cmp $0xffff, %ax
	jne 1b
	lea values, %rbx
2:	mov (%rbx), %eax
	out %al, %dx
	out %ax, %dx
	out %eax, %dx
	add $4, %rbx
	cmp $values_end, %rbx
	jb 2b
	lea values, %rsi
	mov $5, %ecx
	rep outsb
	lea values, %rsi
	mov $3, %ecx
	rep outsw
	lea values, %rsi
	mov $3, %ecx
	rep outsl
3:	mov $BUFFER, %edi
	mov $5, %ecx
	rep insb
	mov $3, %ecx
	rep insw
	mov $3, %ecx
	rep insl
	mov %r8d, %edx
	ret

	/* A page at BUFFER, then one that is not there; by a table of 4 KiB pages. */
split_page:
	mov $PAGE_TABLE, %edi
	mov $BUFFER + 3, %eax
	xor %ecx, %ecx
1:	mov %rax, (%rdi, %rcx, 8)
	add $0x1000, %rax
	inc %ecx
	cmp $512, %ecx
	jb 1b
	movq $0, PAGE_TABLE + 8
	movq $PAGE_TABLE + 3, pd + 8 * (BUFFER >> 21)
	mov %cr3, %rax
	mov %rax, %cr3
	ret

main:
	call apic_on
	mov $NOBODY, %edx
	xor %eax, %eax
	in %dx, %eax
	cmp $-1, %eax
	CHECK 1, e

	xor %r12d, %r12d
1:	mov list(, %r12, 4), %edx
	movzwl list + 2(, %r12, 4), %r13d
	movzwl %dx, %edx
	test %r13d, %r13d
	jz 3f
2:	call abuse
	inc %edx
	cmp %r13d, %edx
	jb 2b
	inc %r12d
	jmp 1b
3:	PIT_OFF
	OUTB 0x21, 0xff /* the interrupt controllers were abused as well */
	OUTB 0xa1, 0xff

	mov $0x1122334455667788, %rax
	mov %rax, BUFFER + 16
	mov %rax, BUFFER + 24
	mov $BUFFER + 17, %edi
	mov $7, %ecx
	mov $NOBODY, %edx
	rep insb
	cmp $BUFFER + 24, %rdi
	CHECK 2, e
	test %rcx, %rcx
	CHECK 2, z
	mov $0xffffffffffffff88, %rax
	cmp %rax, BUFFER + 16
	CHECK 3, e
	mov $0x1122334455667788, %rax
	cmp %rax, BUFFER + 24
	CHECK 3, e
	mov $BUFFER + 12, %esi
	mov $3, %ecx
	std
	rep outsl
	cld
	cmp $BUFFER, %rsi
	CHECK 4, e
	test %rcx, %rcx
	CHECK 4, z

	mov $BUFFER, %edi
	mov $4096, %ecx
	rep insb
	cmp $BUFFER + 4096, %rdi
	CHECK 10, e

	call split_page
	movl $0, BUFFER + 0xffc
	mov $BUFFER + 0xffa, %edi
	mov $5, %ecx
	TRY 1f
	rep insw
1:	CHECK_EXC 5, 14
	cmpl $-1, BUFFER + 0xffc
	CHECK 5, e
	cmp $BUFFER + 0x1000, %rdi
	CHECK 6, e
	cmp $2, %rcx
	CHECK 6, e
	mov $BUFFER + 0xffc, %esi
	mov $3, %ecx
	TRY 1f
	rep outsl
1:	CHECK_EXC 7, 14
	cmp $BUFFER + 0x1000, %rsi
	CHECK 7, e
	cmp $2, %rcx
	CHECK 7, e

	mov $HOLE, %edi
	mov $9, %ecx
	rep insb
	mov $HOLE + 0xffd, %edi
	mov $3, %ecx
	rep insl
	mov $HOLE + 0x1009, %eax
	cmp %rax, %rdi
	CHECK 8, e
	mov $HOLE, %eax
	cmpl $-1, (%rax)
	CHECK 8, e
	mov $HOLE, %esi
	mov $9, %ecx
	rep outsw
	mov $0xfffffff0, %esi
	mov $4, %ecx
	rep outsl
	mov $APIC_BASE, %esi
	mov $64, %ecx
	rep outsl
	CHECK_EQ 9, %rcx, 0

	PIT 2, 0x4000
	mov $1000000, %ebx
1:	OUTB 0x43, 0x00
	in $0x40, %al
	mov %al, %r8b
	in $0x40, %al
	OUTB 0x43, 0x00
	in $0x40, %al
	cmp %al, %r8b
	pushf
	in $0x40, %al
	popf
	jne 2f
	dec %ebx
	jnz 1b
2:	test %ebx, %ebx
	CHECK 11, nz
	PIT_OFF
	OUTB 0x3ff, 0x5a
	INB 0x3ff
	cmp $0x5a, %al
	CHECK 12, e
	xor %edi, %edi
	jmp exit

	.data
	.align 4
values:
	.long 0, 0xffffffff, 0x80000000, 0x80008000, 0x12345678, 0x0000c000
values_end:
	/* From, behind the last; ends with an empty one. */
list:
	.word 0, 0x3f0
	.word 0x3fe, 0x400
	.word 0x4d0, 0x4d4
	.word 0x500, 0x508
	.word 0x5fc, 0x604
	.word 0x608, 0x640
	.word 0xae00, 0xae20
	.word 0xcf4, 0xd04
	.word 0xfff0, 0xffff
	.word 0, 0
	/* These end the machine, or are beside one of those so that four bytes reach it; ends with -1. */
spared:
	.word 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64 /* i8042 */
	.word 0x8f, 0x90, 0x91, 0x92
	.word 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7
	.word 0x502, 0x503, 0x504, 0x505
	.word 0x601, 0x602, 0x603
	.word 0xcf6, 0xcf7, 0xcf8, 0xcf9
	.word 0xffff
	.text
