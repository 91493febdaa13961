/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paging - translation, permission, accessed and dirty bits, invalidation (SDM vol. 3 ch. 4).
 *
 *  1 read through a 4 KiB page  2 A set, D clear after a read  3 D set after a write  4 A set in upper levels
 *  5 NX page: #PF 0x11  6 NX in the PDE  7 NXE clear: bit 63 reserved, #PF 9  8 WP: supervisor write, #PF 3
 *  9 WP clear: it goes through  10 SMEP: #PF 0x11  11 SMAP read: #PF 1  12 write: #PF 3  13 AC lets it through
 *  14 SMAP does not hold for CPL 3  15 reserved bit in a PTE: #PF 9  16 PS in a PML4E: #PF 9  17 2 MiB frame
 *  with low bits: #PF 9  18 2 MiB page  19 its A and D  20 1 GiB page  21 its A and D  22 not present to
 *  present needs no INVLPG  23 read-only to writable needs none either  24 INVLPG drops a page
 *  25 MOV CR3 drops it  26 CR4.PGE toggled drops a global page  27 INVLPG drops a global page
 *  28 write across pages: fault at the second: CR2  29 nothing was written in the first  30 it works when both
 *  are there  31 read across pages  32 U clear: CPL 3 gets #PF 5  33 U clear in an upper level
 *  34 R/W clear in an upper level: #PF 7  35 CR3 reserved bits #GP  36 CR4 reserved bits #GP  37 CR0.PG
 *  cannot be cleared in 64-bit mode  38 CR0.NW without CD #GP  39 CR4.PAE cannot be cleared  40 EFER reserved
 *  bits #GP  41 EFER.LME under paging #GP  42 PCIDE with PCID in CR3 #GP  43 PCID: no-flush move keeps
 *  address spaces apart  44 INVPCID type 0  45 type 1  46 type 2  47 type 3  48 bad type #GP  49 CR3 without
 *  bit 63 flushes  50 locked RMW sets D  51 page fault in a push leaves RSP  52 rep movs: CR2 and registers
 *  53 fetch across pages: CR2 is the second  54 user write to read-only: 7  55 CR2 kept by other exceptions
 *  56 remap seen by code fetch after INVLPG  57 user-mode fetch of supervisor page: 0x15
 *  58 CR0.WP set again holds  59 A bit of a supervisor-only walk by CPL 3 is harmless (still #PF 5)
 */
#include "flat.h"

#define VA 0x8000000000	      /* PML4 slot 1, 4 KiB pages of `pt` */
#define VA2M 0x8000200000     /* pd1 slot 1: 2 MiB page */
#define VA1G 0x8040000000     /* pdpt1 slot 1: 1 GiB page */

	.macro PTE n, page, flags
	lea \page, %rax
	or $(\flags), %rax
	mov %rax, pt + 8 * (\n)
	.endm
	.macro FLUSH
	mov %cr3, %rax
	mov %rax, %cr3
	.endm

main:
	movq $pdpt1 + 7, pml4 + 8
	movq $pd1 + 7, pdpt1
	movq $pt + 7, pd1
	movq $0x83, pdpt1 + 8 /* 1 GiB at 0 */
	movq $0x600083, pd1 + 8 /* 2 MiB at 6 MiB */
	movq $0x1111, page_a
	movq $0x2222, page_b
	mov $VA, %rbx

	PTE 0, page_a, 3
	mov (%rbx), %rax
	cmp $0x1111, %rax
	CHECK 1, e
	mov pt, %rax
	and $0x60, %eax
	cmp $0x20, %eax
	CHECK 2, e
	movq $0x1112, (%rbx)
	mov pt, %rax
	and $0x60, %eax
	cmp $0x60, %eax
	CHECK 3, e
	testb $0x20, pml4 + 8
	CHECK 4, nz
	testb $0x20, pdpt1
	CHECK 4, nz
	testb $0x20, pd1
	CHECK 4, nz
	PTE 0, page_a, 3
	invlpg (%rbx)
	lock incq (%rbx)
	testb $0x40, pt
	CHECK 50, nz

	/* NX */
	movb $0xc3, page_b
	PTE 1, page_b, 3
	lea 4096(%rbx), %rdx
	call *%rdx
	bts $63, %rax
	mov %rax, pt + 8
	invlpg (%rdx)
	TRY 1f
	call *%rdx
1:	CHECK_EXC_ERR 5, 14, 0x11
	cmp %rdx, exc_cr2
	CHECK 5, e
	PTE 1, page_b, 3
	btsq $63, pd1
	FLUSH
	TRY 1f
	call *%rdx
1:	CHECK_EXC_ERR 6, 14, 0x11
	mov $MSR_EFER, %ecx
	rdmsr
	and $~0x800, %eax
	mov %rdx, %r8
	wrmsr
	FLUSH
	TRY 1f
	mov (%rbx), %rax
1:	CHECK_EXC 7, 14
	CHECK_ERR_HW 7, 9 /* (QEMU: 8, but bit 3 implies bit 0) */
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x800, %eax
	wrmsr
	btrq $63, pd1
	FLUSH

	/* WP */
	PTE 0, page_a, 1
	invlpg (%rbx)
	TRY 1f
	movb $1, (%rbx)
1:	CHECK_EXC_ERR 8, 14, 3
	mov %cr0, %rax
	and $~CR0_WP, %rax
	mov %rax, %cr0
	movb $0x77, (%rbx)
	cmpb $0x77, page_a
	CHECK 9, e
	mov %cr0, %rax
	or $CR0_WP, %rax
	mov %rax, %cr0
	TRY 1f
	movb $1, (%rbx)
1:	CHECK_EXC_ERR 58, 14, 3

	/* SMEP, SMAP */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	mov %ebx, features
	mov $VA, %rbx
	PTE 1, page_b, 7
	PTE 0, page_a, 7
	FLUSH
	lea 4096(%rbx), %rdx
	testl $1 << 7, features
	jz 2f
	SET_CR4 CR4_SMEP
	TRY 1f
	call *%rdx
1:	CHECK_EXC_ERR 10, 14, 0x11
	CLEAR_CR4 CR4_SMEP
	call *%rdx
2:	testl $1 << 20, features
	jz 2f
	SET_CR4 CR4_SMAP
	TRY 1f
	mov (%rbx), %rax
1:	CHECK_EXC_ERR 11, 14, 1
	TRY 1f
	mov %rax, (%rbx)
1:	CHECK_EXC_ERR 12, 14, 3
	TRY 1f
	stac
	movb $0x55, (%rbx)
	clac
	movq $99, exc_vector
1:	CHECK_EXC 13, 99
	cmpb $0x55, page_a
	CHECK 13, e
	TRY 1f
	mov (%rbx), %rax
1:	CHECK_EXC_ERR 11, 14, 1
	/* not for user mode */
	PTE 2, user_code, 7
	FLUSH
	TRY 1f
	movabs $VA + 0x2000, %rax
	call to_user_at
1:	CHECK_EXC 14, 0x80
	CLEAR_CR4 CR4_SMAP
2:
	/* Reserved bits. */
	mov pt, %rax
	bts $51, %rax
	mov %rax, pt
	invlpg (%rbx)
	TRY 1f
	mov (%rbx), %rax
1:	CHECK_EXC 15, 14
	CHECK_ERR_HW 15, 9 /* (QEMU: 8, but bit 3 implies bit 0) */
	PTE 0, page_a, 3
	orq $0x80, pml4 + 8
	FLUSH
	TRY 1f
	mov (%rbx), %rax
1:	CHECK_EXC 16, 14
	CHECK_ERR_HW 16, 9 /* (QEMU: 8, but bit 3 implies bit 0) */
	andq $~0x80, pml4 + 8
	orq $0x2000, pd1 + 8
	FLUSH
	mov $VA2M, %rdx
	TRY 1f
	mov (%rdx), %rax
1:	CHECK_EXC 17, 14
	CHECK_ERR_HW 17, 9 /* (QEMU: 8, but bit 3 implies bit 0) */
	andq $~0x2000, pd1 + 8
	FLUSH

	/* Large pages. */
	movq $0x3333, 0x612340
	andb $~0x60, pd1 + 8
	mov 0x12340(%rdx), %rax
	cmp $0x3333, %rax
	CHECK 18, e
	testb $0x60, pd1 + 8
	CHECK 19, nz
	movq $0x3334, 0x12340(%rdx)
	movb pd1 + 8, %al
	and $0x60, %al
	cmp $0x60, %al
	CHECK 19, e
	cmpq $0x3334, 0x612340
	CHECK 18, e
	mov $VA1G, %rdx
	cmpq $0x3334, 0x612340(%rdx)
	CHECK 20, e
	testb $0x40, pdpt1 + 8
	CHECK 21, z
	movq $0x3335, 0x612340(%rdx)
	testb $0x40, pdpt1 + 8
	CHECK 21, nz
	cmpq $0x3335, 0x612340
	CHECK 20, e

	/* Less strict to stricter needs an invalidation, the other way round does not. */
	movq $0, pt + 24
	lea 0x3000(%rbx), %rdx
	TRY 1f
	mov (%rdx), %rax
1:	CHECK_EXC_ERR 22, 14, 0
	movq $0x4444, page_c
	PTE 3, page_c, 1
	TRY 1f
	mov (%rdx), %rcx
	movq $99, exc_vector
1:	CHECK_EXC 22, 99
	cmp $0x4444, %rcx
	CHECK 22, e
	PTE 3, page_c, 3
	TRY 1f
	movq $0x4445, (%rdx)
	movq $99, exc_vector
1:	CHECK_EXC 23, 99

	movq $0x5555, page_d
	PTE 3, page_d, 3
	invlpg (%rdx)
	cmpq $0x5555, (%rdx)
	CHECK 24, e
	PTE 3, page_c, 3
	FLUSH
	cmpq $0x4445, (%rdx)
	CHECK 25, e
	SET_CR4 CR4_PGE
	PTE 3, page_c, 0x103
	invlpg (%rdx)
	cmpq $0x4445, (%rdx)
	CHECK 26, e
	PTE 3, page_d, 0x103
	CLEAR_CR4 CR4_PGE
	cmpq $0x5555, (%rdx)
	CHECK 26, e
	SET_CR4 CR4_PGE
	cmpq $0x5555, (%rdx)
	CHECK 26, e
	PTE 3, page_c, 0x103
	invlpg (%rdx)
	cmpq $0x4445, (%rdx)
	CHECK 27, e
	movq $0, pt + 24
	invlpg (%rdx)

	/* Across pages: 4 and 5, not adjacent in memory. */
	PTE 4, page_d, 3
	movq $0, pt + 40
	lea 0x4ffc(%rbx), %rdx
	invlpg 0x5000(%rbx)
	movq $-1, page_d + 4088
	mov $0x1122334455667788, %rcx
	TRY 1f
	mov %rcx, (%rdx)
1:	CHECK_EXC_ERR 28, 14, 2
	lea 0x5000(%rbx), %rax
	cmp %rax, exc_cr2
	CHECK 28, e
	cmpq $-1, page_d + 4088
	CHECK 29, e
	PTE 5, page_a, 3
	mov %rcx, (%rdx)
	cmpl $0x55667788, page_d + 4092
	CHECK 30, e
	cmpl $0x11223344, page_a
	CHECK 30, e
	cmp %rcx, (%rdx)
	CHECK 31, e
	movzwl 3(%rdx), %eax
	cmp $0x4455, %eax
	CHECK 31, e

	/* A push that faults leaves RSP; CR2 is the place. */
	movq $0, pt + 40
	lea 0x5000(%rbx), %rax
	invlpg (%rax)
	mov %rsp, %r14
	movq $1f, exc_resume
	mov %rsp, exc_resume_rsp
	movb $1, idt + 14 * 16 + 4 /* the stack is gone: #PF on IST 1 */
	lea 0x5008(%rbx), %rsp
	push %rax
1:	movb $0, idt + 14 * 16 + 4
	CHECK_EXC_ERR 51, 14, 2
	lea 0x5008(%rbx), %rax
	cmp %rax, exc_rsp
	CHECK 51, e

	/* REP MOVS into the hole. */
	lea 0x4ff0(%rbx), %rdi
	mov $page_c, %rsi
	mov $10, %ecx
	TRY 1f
	rep movsq
1:	mov exc_frame, %rax
	CHECK_EXC_ERR 52, 14, 2
	/* the registers were pushed by the handler and popped again: they are the live ones */
	cmp $8, %ecx
	CHECK 52, e
	lea 0x5000(%rbx), %rax
	cmp %rax, %rdi
	CHECK 52, e
	cmp %rax, exc_cr2
	CHECK 52, e
	cmp $page_c + 16, %rsi
	CHECK 52, e

	/* Fetch across pages: mov $imm32, %eax with two bytes here, the rest there. */
	movb $0xb8, page_d + 4094
	movb $0x11, page_d + 4095
	lea 0x4ffe(%rbx), %rdx
	TRY 1f
	jmp *%rdx
1:	CHECK_EXC_ERR 53, 14, 0x10
	lea 0x5000(%rbx), %rax
	cmp %rax, exc_cr2
	CHECK 53, e
	cmp %rdx, exc_rip
	CHECK 53, e
	mov exc_cr2, %r14
	TRY 1f
	ud2
1:	CHECK_EXC 55, 6
	cmp %r14, exc_cr2
	CHECK 55, e

	/* Remapped code. */
	movl $0xc301b0, page_c /* mov $1, %al; ret */
	movl $0xc302b0, page_a
	PTE 6, page_c, 3
	lea 0x6000(%rbx), %rdx
	call *%rdx
	cmp $1, %al
	CHECK 56, e
	PTE 6, page_a, 3
	invlpg (%rdx)
	call *%rdx
	cmp $2, %al
	CHECK 56, e
	PTE 6, page_c, 3
	FLUSH
	call *%rdx
	cmp $1, %al
	CHECK 56, e

	/* User mode. The program is one page at VA + 0x2000: it does what rcx says with (rdi). */
	PTE 2, user_code, 5
	PTE 7, page_c, 3
	FLUSH
	movabs $VA + 0x2000 + (user_read - user_code), %rax
	movabs $VA + 0x7000, %rdi
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 32, 14, 5
	movabs $VA + 0x2000 + (user_read - user_code), %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 59, 14, 5
	PTE 7, page_c, 7
	movabs $VA + 0x2000 + (user_read - user_code), %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC 59, 0x80
	PTE 7, page_c, 5
	invlpg (%rdi)
	movabs $VA + 0x2000 + (user_write - user_code), %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 54, 14, 7
	/* upper levels: the page directory entry for slot 2 is for this */
	movq $pt + 5, pd1 + 16
	PTE 7, page_c, 7
	FLUSH
	movabs $VA + 0x407000, %rdi
	movabs $VA + 0x2000 + (user_write - user_code), %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 34, 14, 7
	movq $pt + 3, pd1 + 16
	FLUSH
	movabs $VA + 0x2000 + (user_read - user_code), %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 33, 14, 5
	PTE 2, user_code, 1
	FLUSH
	movabs $VA + 0x2000, %rax
	TRY 1f
	call to_user_at
1:	CHECK_EXC_ERR 57, 14, 0x15

	/* Control registers. */
	cmpl $0, is_tcg /* (QEMU loads them) */
	jne 2f
	mov %cr3, %rax
	bts $60, %rax
	TRY 1f
	mov %rax, %cr3
1:	CHECK_EXC_ERR 35, 13, 0
	mov %cr4, %rax
	bts $31, %rax
	TRY 1f
	mov %rax, %cr4
1:	CHECK_EXC_ERR 36, 13, 0
	mov %cr0, %rax
	btr $31, %rax
	TRY 1f
	mov %rax, %cr0
1:	CHECK_EXC_ERR 37, 13, 0
	mov %cr0, %rax
	bts $29, %rax
	TRY 1f
	mov %rax, %cr0
1:	CHECK_EXC_ERR 38, 13, 0
	mov %cr4, %rax
	btr $5, %rax
	TRY 1f
	mov %rax, %cr4
1:	CHECK_EXC_ERR 39, 13, 0
2:
	mov $MSR_EFER, %ecx
	rdmsr
	bts $2, %eax
	TRY 1f
	wrmsr
1:	cmpq $13, exc_vector
	CHECK_HW 40, e /* (QEMU masks them) */
	movq $0, exc_resume
	mov $MSR_EFER, %ecx
	rdmsr
	btr $8, %eax
	TRY 1f
	wrmsr
1:	cmpq $13, exc_vector
	CHECK_HW 41, e
	movq $0, exc_resume

	/* PCID */
	mov $1, %eax
	cpuid
	bt $17, %ecx
	jnc done
	testl $1 << 10, features
	jz done
	mov %cr3, %rax
	or $8, %rax
	mov %rax, %cr3 /* PCD.. bits, legal now */
	mov %cr4, %rax
	or $CR4_PCIDE, %rax
	TRY 1f
	mov %rax, %cr4
1:	CHECK_EXC_ERR 42, 13, 0
	mov $pml4, %eax
	mov %rax, %cr3
	SET_CR4 CR4_PCIDE
	/* A second address space with another page 8; PCIDs 1 and 2. */
	mov $pml4, %rsi
	mov $pml4b, %rdi
	mov $512, %ecx
	rep movsq
	movq $pdpt1b + 7, pml4b + 8
	movq $pd1b + 7, pdpt1b
	movq $ptb + 7, pd1b
	PTE 8, page_a, 3
	lea page_b, %rax
	or $3, %rax
	mov %rax, ptb + 64
	movq $0xaaaa, page_a
	movq $0xbbbb, page_b
	lea 0x8000(%rbx), %rdx /* (VA of page 8) */
	movabs $VA + 0x8000, %rdx
	mov $pml4 + 1, %rax
	mov %rax, %cr3
	cmpq $0xaaaa, (%rdx)
	CHECK 43, e
	mov $pml4b + 2, %rax
	mov %rax, %cr3
	cmpq $0xbbbb, (%rdx)
	CHECK 43, e
	mov $pml4 + 1, %rax
	bts $63, %rax
	mov %rax, %cr3
	cmpq $0xaaaa, (%rdx)
	CHECK 43, e
	mov $pml4b + 2, %rax
	bts $63, %rax
	mov %rax, %cr3
	cmpq $0xbbbb, (%rdx)
	CHECK 43, e
	/* Now in PCID 2. Change page 8 of space 1, invalidate it there, look. */
	PTE 8, page_c, 3
	movq $0xcccc, page_c
	movq $1, inv_desc
	mov %rdx, inv_desc + 8
	xor %ecx, %ecx
	invpcid inv_desc, %rcx
	mov $pml4 + 1, %rax
	bts $63, %rax
	mov %rax, %cr3
	cmpq $0xcccc, (%rdx)
	CHECK 44, e
	PTE 8, page_d, 3
	movq $0xdddd, page_d
	mov $1, %ecx
	invpcid inv_desc, %rcx
	cmpq $0xdddd, (%rdx)
	CHECK 45, e
	PTE 8, page_c, 0x103
	invlpg (%rdx)
	cmpq $0xcccc, (%rdx)
	CHECK 46, e
	PTE 8, page_d, 0x103
	movq $0, inv_desc
	movq $0, inv_desc + 8
	mov $2, %ecx
	invpcid inv_desc, %rcx
	cmpq $0xdddd, (%rdx)
	CHECK 46, e
	PTE 8, page_d, 3
	invlpg (%rdx)
	cmpq $0xdddd, (%rdx)
	CHECK 47, e
	PTE 8, page_c, 3
	mov $3, %ecx
	invpcid inv_desc, %rcx
	cmpq $0xcccc, (%rdx)
	CHECK 47, e
	mov $4, %ecx
	TRY 1f
	invpcid inv_desc, %rcx
1:	CHECK_EXC_ERR 48, 13, 0
	PTE 8, page_d, 3
	mov $pml4 + 1, %rax
	mov %rax, %cr3
	cmpq $0xdddd, (%rdx)
	CHECK 49, e
done:
	xor %edi, %edi
	jmp exit

/* To CPL 3 at rax; rdi goes along. */
to_user_at:
	pushq $USER_DATA
	pushq $0
	pushq $0x202
	pushq $USER_CODE64
	push %rax
	iretq

	.align 4096
user_code:
	int $0x80
user_read:
	mov (%rdi), %rax
	int $0x80
user_write:
	mov %rax, (%rdi)
	int $0x80
	.align 4096

	.bss
	.align 4096
pdpt1: .skip 4096
pd1: .skip 4096
pt: .skip 4096
pml4b: .skip 4096
pdpt1b: .skip 4096
pd1b: .skip 4096
ptb: .skip 4096
page_a: .skip 4096
	.skip 4096
page_b: .skip 4096
	.skip 4096
page_c: .skip 4096
	.skip 4096
page_d: .skip 4096
features: .skip 8
	.align 16
inv_desc: .skip 16
	.text
