/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abuse_mmio - accesses of all sizes, places and kinds where devices, holes and ends of memory are: the machine answers, and goes on.
 *
 *  1 a hole reads as ones in each size  2 and keeps nothing  3 an access over the end of RAM: the part in RAM is written  4 and read
 *  5 above it are ones  6 string from a hole to RAM, over the ends of pages  7 from a hole to a hole  8 RAM to a hole, backward
 *  9 locked read-modify-write in a hole  10 CMPXCHG8B and 16B there  11 SSE moves  12 the other instructions that KVM's emulator has
 *  13 read-modify-write of a device's register  14 PUSH, CALL and RET with the stack there  15 page tables of RAM that map a device twice
 *  16 the table entry that is changed by a store to where it maps itself  17 the APIC's and IOAPIC's pages from end to end, all sizes
 *  18 interrupts to all kinds of addresses of the APICs' range  19 the ROM's place cannot be written  20 the APIC is as it was
 *
 * For flat.sh: seconds: 60 qemu: no
 */
#include "flat.h"
#include "flat_apic.h"

#define HOLE 0xd0000000
#define BUFFER 0x400000
#define TABLE 0x3f0000
#define WINDOW 0x600000 /* mapped by TABLE */
#define PCI_WINDOW 0xc0000000
#define ECAM 0xe0000000
#define HPET 0xfed00000
#define ROM 0xfffff000

	/* Of `at` in all sizes, aligned or not. */
	.macro READS at
	mov \at(%rbx), %al
	mov \at(%rbx), %ax
	mov \at(%rbx), %eax
	mov \at(%rbx), %rax
	.endm
	.macro WRITES at
	mov %al, \at(%rbx)
	mov %ax, \at(%rbx)
	mov %eax, \at(%rbx)
	mov %rax, \at(%rbx)
	.endm

/* rbx: a page. Reads it from end to end, and over its ends. */
read_page:
	mov $-8, %rsi
1:	mov (%rbx, %rsi), %al
	mov (%rbx, %rsi), %ax
	mov (%rbx, %rsi), %eax
	mov (%rbx, %rsi), %rax
	add $5, %rsi
	cmp $0x1008, %rsi
	jl 1b
	ret

main:
	call apic_on
	PIT_OFF
	mov $HOLE, %ebx
	READS 0
	CHECK_EQ 1, %rax, -1
	READS 1
	CHECK_EQ 1, %rax, -1
	READS 0xffd
	CHECK_EQ 1, %rax, -1
	xor %eax, %eax
	WRITES 0
	WRITES 3
	WRITES 0xffb
	cmpq $-1, (%rbx)
	CHECK 2, e

	/* RAM ends at 64 MiB. */
	mov $(64 << 20), %ebx
	movl $0, -4(%rbx)
	mov $0x1122334455667788, %rax
	mov %rax, -4(%rbx)
	cmpl $0x55667788, -4(%rbx)
	CHECK 3, e
	mov -4(%rbx), %rax
	mov $0xffffffff55667788, %rcx
	cmp %rcx, %rax
	CHECK 4, e
	mov %eax, -3(%rbx)
	mov %ax, -1(%rbx)
	cmpb $0x88, -1(%rbx)
	CHECK 3, e
	cmpl $-1, (%rbx)
	CHECK 5, e

	mov $HOLE + 0xff0, %esi
	mov $BUFFER + 0xff5, %edi
	mov $32, %ecx
	rep movsb
	cmpq $-1, BUFFER + 0x1000
	CHECK 6, e
	mov $BUFFER, %edi
	mov $1024, %ecx
	mov $HOLE, %esi
	rep movsl
	cmp $BUFFER + 0x1000, %rdi
	CHECK 6, e
	mov $HOLE + 0xff0, %esi
	mov $HOLE + 0x20ff3, %edi
	mov $9, %ecx
	rep movsq
	CHECK_EQ 7, %rcx, 0
	std
	mov $BUFFER + 0x1010, %esi
	mov $HOLE + 0x1010, %edi
	mov $40, %ecx
	rep movsw
	cld
	cmp $HOLE + 0xfc0, %edi
	CHECK 8, e
	mov $HOLE + 0xffc, %edi
	mov $40, %ecx
	rep stosl
	mov $-1, %eax
	mov $HOLE, %edi
	mov $40, %ecx
	repe scasl
	CHECK 6, e

	mov $HOLE, %ebx
	mov $1, %eax
	lock xadd %eax, 8(%rbx)
	cmp $-1, %eax
	CHECK 9, e
	lock incl (%rbx)
	CHECK 9, z
	lock btsl $3, (%rbx)
	CHECK 9, c
	lock addq $1, 5(%rbx)
	CHECK 9, z
	xchg %al, 0xfff(%rbx)
	cmp $0xff, %al
	CHECK 9, e
	mov $-1, %eax
	mov $-1, %edx
	lock cmpxchg8b 16(%rbx)
	CHECK 10, e
	xor %eax, %eax
	lock cmpxchg8b 16(%rbx)
	CHECK 10, ne
	cmp $-1, %eax
	CHECK 10, e

	movups 3(%rbx), %xmm0
	movq %xmm0, %rax
	CHECK_EQ 11, %rax, -1
	pxor %xmm0, %xmm0
	movups %xmm0, 0xff9(%rbx)
	movaps (%rbx), %xmm1
	movdqa %xmm1, 0x20(%rbx)
	movq %xmm1, %rax
	CHECK_EQ 11, %rax, -1
	movnti %eax, 8(%rbx)

	xor %eax, %eax
	cmp %eax, (%rbx)
	CHECK 12, ne
	testl $1, (%rbx)
	CHECK 12, nz
	orl $1, (%rbx)
	andl $1, 4(%rbx)
	CHECK 12, nz
	xorl $1, 4(%rbx)
	notl (%rbx)
	negl (%rbx)
	shll $1, (%rbx)
	rorb $3, (%rbx)
	movzbl 1(%rbx), %eax
	CHECK_EQ 12, %rax, 255
	movsxd (%rbx), %rax
	CHECK_EQ 12, %rax, -1
	movbe 2(%rbx), %eax
	mov $2, %eax
	mull (%rbx)
	CHECK_EQ 12, %rdx, 1
	imul $2, (%rbx), %ecx
	cmp $-2, %ecx
	CHECK 12, e
	cmovz (%rbx), %eax
	setz (%rbx)
	bt $5, %eax

	mov $APIC_BASE, %ebx
	movl $0x10010, 0x350(%rbx)
	orl $0x20, 0x350(%rbx)
	incl 0x350(%rbx)
	cmpl $0x10031, 0x350(%rbx)
	CHECK 13, e
	movl $LVT_MASKED, 0x350(%rbx)

	mov %rsp, %r12
	mov $HOLE + 0x1004, %esp
	push %rax
	pushq $5
	pop %rax
	mov %r12, %rsp
	CHECK_EQ 14, %rax, -1

	/* A device twice, and RAM, by 4 KiB pages; their table is among them. */
	mov $TABLE, %edi
	mov $512, %ecx
	xor %eax, %eax
	rep stosq
	movl $APIC_BASE + 0x1b, TABLE
	movl $APIC_BASE + 0x1b, TABLE + 8
	movl $HOLE + 3, TABLE + 16
	movl $TABLE + 3, TABLE + 24
	movl $BUFFER + 3, TABLE + 32
	movq $TABLE + 3, pd + 8 * (WINDOW >> 21)
	mov %cr3, %rax
	mov %rax, %cr3
	mov $WINDOW, %ebx
	mov 0x30(%rbx), %eax
	cmp 0x1030(%rbx), %eax
	CHECK 15, e
	mov 0xffe(%rbx), %rax
	cmpl $-1, 0x2000(%rbx)
	CHECK 15, e
	mov 0x1ffc(%rbx), %rax
	shr $32, %rax
	cmp $-1, %eax
	CHECK 15, e
	movl $0x600dcafe, BUFFER
	movl $BUFFER + 3, 0x3010(%rbx) /* the hole becomes RAM */
	invlpg 0x2000(%rbx)
	cmpl $0x600dcafe, 0x2000(%rbx)
	CHECK 16, e
	movl $HOLE + 3, 0x3020(%rbx) /* and RAM the hole */
	invlpg 0x4000(%rbx)
	cmpl $-1, 0x4000(%rbx)
	CHECK 16, e
	movl $0, 0x3020(%rbx)
	invlpg 0x4000(%rbx)
	TRY 1f
	mov 0x3ffc(%rbx), %rax
1:	CHECK_EXC 16, 14
	lea 0x4000(%rbx), %rax
	cmp %rax, exc_cr2
	CHECK 16, e

	lea pages, %r12
1:	mov (%r12), %ebx
	test %ebx, %ebx
	jz 2f
	call read_page
	add $4, %r12
	jmp 1b
2:	cmpl $0, (%r12)
	CHECK 17, e
	/* Interrupts: data of all kinds, so that they come to no vector that is enabled: IF is clear, the APIC is off meanwhile. */
	APIC_WR REG_SVR, $0xff
	mov $0xfee00000, %ebx
	lea odd, %rsi
3:	lodsl
	mov %eax, %ecx
	lea odd, %rdi
4:	mov (%rdi), %eax
	add %rcx, %rbx
	mov %eax, (%rbx)
	mov %ax, 2(%rbx)
	mov %al, 7(%rbx)
	mov %rax, 9(%rbx)
	sub %rcx, %rbx
	add $4, %rdi
	cmp $odd_end, %rdi
	jb 4b
	cmp $odd_end, %rsi
	jb 3b
	mov $IOAPIC_BASE, %ebx
	WRITES 1
	WRITES 0xffc
	cmpl $HOLE, odd
	CHECK 18, ne
	mov $ROM, %ebx
	mov 0xff0(%rbx), %rcx
	mov $0x1234, %eax
	WRITES 0xff0
	cmp %rcx, 0xff0(%rbx)
	CHECK 19, e
	call apic_on
	APIC_RD REG_SVR
	CHECK_EQ 20, %rax, 0x1ff
	xor %edi, %edi
	jmp exit

	.data
	.align 4
pages:
	.long APIC_BASE, IOAPIC_BASE, HPET, PCI_WINDOW, ECAM, ECAM + 0xfffff000 - 0xf0000000, ROM - 0x1000, HOLE, 0xfeffc000, 0xfeffe000, 0
	/* Offsets from the APIC's page, of which none is a register that counts, and values. */
odd:
	.long 0x1000, 0x2c00, 0x4004, 0xf000, 0xff000, 0xfffec, 0x12344, 0x300000
odd_end:
	.text
