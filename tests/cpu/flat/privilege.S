/* SPDX-License-Identifier: Apache-2.0 */
/*
 * privilege - what CPL 3 may not do, and what it may when it is let: SWAPGS, FSGSBASE, system instructions, UMIP, IOPL, the I/O bitmap.
 * expect: 0
 *
 *  1 SWAPGS  2 GS access after it  3 SWAPGS at CPL 3  4 in compatibility mode: #UD  5 FSGSBASE off: #UD
 *  6 64-bit forms  7 32-bit forms  8 %fs: access  9 MSRs agree  10 not canonical: #GP(0)  11 at CPL 3
 *  12 in compatibility mode: #UD  13 selector load sets base  14 FS_BASE MSR not canonical: #GP(0)
 *  15 privileged instructions at CPL 3: #GP(0) at their own RIP  16 the same in compatibility mode
 *  17 RDPMC at CPL 3: #GP(0)  18 CLI, STI, IN, OUT at CPL 3 with IOPL 3  19 POPF at CPL 3: IF, IOPL kept
 *  20 POPF with IOPL 3: IF changes, IOPL does not  21 SGDT, SIDT, SLDT, STR, SMSW at CPL 3  22 with UMIP: #GP(0)
 *  23 I/O bitmap: allowed port  24 denied port  25 word that reaches into a denied port  26 dword
 *  27 bitmap's end  28 last byte of a bitmap  29 INS, OUTS  30 bitmap base beyond the TSS limit
 *
 * CPL 0 asks no bitmap: that would be an exception that nobody asked for (100).
 */
#include "flat.h"

#define IOTSS_SEL SPARE_SEL
#define IOMAP (iotss + 104)

main:
	call pages_user
	mov $MSR_EFER, %ecx /* SYSRET is there, and not for CPL 3 */
	rdmsr
	or $1, %eax
	wrmsr

/* ---- SWAPGS, FSGSBASE ---- */

	WRMSR_IMM MSR_GS_BASE, 0x1234, 0x56789abc
	WRMSR_IMM MSR_KERNEL_GS_BASE, 0, gs_block
	swapgs
	mov $MSR_GS_BASE, %ecx
	rdmsr
	cmp $gs_block, %eax
	CHECK 1, e
	test %edx, %edx
	CHECK 1, z
	mov $MSR_KERNEL_GS_BASE, %ecx
	rdmsr
	cmp $0x56789abc, %eax
	CHECK 1, e
	cmp $0x1234, %edx
	CHECK 1, e
	cmpl $0x65, %gs:8
	CHECK 2, e
	TRY 1f
	TO_USER 2f
2:	swapgs
1:	CHECK_EXC_ERR 3, 13, 0
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	.byte 0x0f, 0x01, 0xf8 /* swapgs */
	int3
	.code64
1:	CHECK_EXC 4, 6

	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	test $1, %ebx
	jz no_fsgsbase
	TRY 1f
	rdfsbase %rax
1:	CHECK_EXC 5, 6
	SET_CR4 CR4_FSGSBASE
	movabs $0xffff800012345678, %rax
	wrfsbase %rax
	rdfsbase %rcx
	cmp %rax, %rcx
	CHECK 6, e
	wrgsbase %rax
	rdgsbase %rdx
	cmp %rax, %rdx
	CHECK 6, e
	mov $-1, %rcx
	rdfsbase %ecx
	cmp $0x12345678, %rcx
	CHECK 7, e
	wrgsbase %eax
	rdgsbase %rdx
	cmp $0x12345678, %rdx
	CHECK 7, e
	mov $gs_block, %eax
	wrfsbase %rax
	cmpl $0x65, %fs:8
	CHECK 8, e
	mov $MSR_FS_BASE, %ecx
	rdmsr
	cmp $gs_block, %eax
	CHECK 9, e
	WRMSR_IMM MSR_GS_BASE, 0, 0x7777
	rdgsbase %rdx
	cmp $0x7777, %rdx
	CHECK 9, e
	movabs $0x800000000000, %rax
	TRY 1f
	wrfsbase %rax
1:	CHECK_EXC_HW 10, 13 /* (QEMU 7.2 takes it, and 14) */
	CHECK_ERR_HW 10, 0
	rdfsbase %rdx
	cmp $gs_block, %rdx
	CHECK_HW 10, e
	mov $gs_block, %eax
	wrfsbase %rax
	TRY 1f
	TO_USER 2f
2:	mov $0x4321, %ebx
	wrgsbase %rbx
	rdgsbase %r12
	mov %fs:8, %r13d
	int $0x80
1:	CHECK_EXC 11, 0x80
	cmp $0x4321, %r12
	CHECK 11, e
	cmp $0x65, %r13
	CHECK 11, e
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	.byte 0xf3, 0x0f, 0xae, 0xc0 /* rdfsbase %eax */
	int3
	.code64
1:	CHECK_EXC 12, 6
	mov $DATA64, %eax
	mov %eax, %fs
	rdfsbase %rax
	test %rax, %rax
	CHECK 13, z
no_fsgsbase:
	mov $MSR_FS_BASE, %ecx
	mov $0x8000, %edx
	TRY 1f
	wrmsr
1:	CHECK_EXC_HW 14, 13
	CHECK_ERR_HW 14, 0

/* ---- privilege ---- */

	/* Each of a list at CPL 3: #GP(0), at its own RIP. */
	.macro ALL_DENIED n, list, end, cs=USER_CODE64
	mov $\list, %ebp
.Lad\@:
	TRY .Ladd\@
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x202
	pushq $\cs
	pushq (%rbp)
	iretq
.Ladd\@:
	CHECK_EXC_ERR \n, 13, 0
	mov (%rbp), %rax
	cmp exc_rip, %rax
	CHECK \n, e
	add $8, %ebp
	cmp $\end, %ebp
	jb .Lad\@
	.endm
	ALL_DENIED 15, priv_list, priv_list_end
	ALL_DENIED 16, priv_list, priv_list_32, cs=USER_CODE32
	TRY 1f
	TO_USER 2f
2:	xor %ecx, %ecx
	rdpmc
1:	CHECK_EXC_ERR 17, 13, 0

	TRY 1f
	TO_USER 2f, flags=0x3202
2:	cli
	pushfq
	pop %r12
	sti
	nop
	mov $0x80, %edx
	in %dx, %al
	out %al, $0x80
	int $0x80
1:	CHECK_EXC 18, 0x80
	cmp $0x3002, %r12
	CHECK 18, e
	testl $0x200, exc_rflags
	CHECK 18, nz
	CLEAN_FLAGS

	TRY 1f
	TO_USER 2f, flags=0x1202
2:	pushq $0x2003
	popfq
	int $0x80
1:	CHECK_EXC 19, 0x80
	CHECK_EQ 19, exc_rflags, 0x1203
	TRY 1f
	TO_USER 2f, flags=0x3202
2:	pushq $0x0003
	popfq
	int $0x80
1:	CHECK_EXC 20, 0x80
	CHECK_EQ 20, exc_rflags, 0x3003
	CLEAN_FLAGS

	TRY 1f
	TO_USER 2f
2:	sgdt scratch
	sldt %eax
	str %r12d
	smsw %rbx
	sidt scratch + 16
	int $0x80
1:	CHECK_EXC 21, 0x80
	cmpl $gdt, scratch + 2
	CHECK 21, e
	cmpl $idt, scratch + 18
	CHECK 21, e
	cmp $TSS_SEL, %r12d
	CHECK 21, e
	mov %cr0, %rax
	cmp %rax, %rbx
	CHECK 21, e
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	test $4, %ecx
	jz no_umip
	SET_CR4 CR4_UMIP
	ALL_DENIED 22, umip_list, umip_list_end
	sgdt scratch /* not at CPL 0 */
	CLEAR_CR4 CR4_UMIP
no_umip:

/* ---- I/O bitmap: ports 0-0x87 are in it; 0x80-0x85 allowed but for 0x83 ---- */

	mov $0x80 / 8, %ecx
	mov $IOMAP, %edi
	mov $0xff, %al
	rep stosb
	movb $0b11001000, IOMAP + 0x10
	movb $0xff, IOMAP + 0x11
	movq $rsp0_top, iotss + 4
	movw $104, iotss + 102
	mov $iotss, %eax
	mov %ax, gdt_spare + 2
	shr $16, %eax
	mov %al, gdt_spare + 4
	mov %ah, gdt_spare + 7
	movl $0, gdt_spare + 8
	movl $0, gdt_spare + 12
	mov $(104 + 0x11), %eax /* limit: the bitmap, and the byte of ones behind it */
	call load_iotss

	.macro IO_ALLOWED n, what:vararg
	TRY .Lio\@
	TO_USER .Liou\@
.Liou\@:
	\what
	int $0x80
.Lio\@:
	CHECK_EXC \n, 0x80
	.endm
	.macro IO_DENIED n, what:vararg
	TRY .Lio\@
	TO_USER .Liou\@
.Liou\@:
	\what
	int $0x80
.Lio\@:
	CHECK_EXC_ERR \n, 13, 0
	cmpq $.Liou\@, exc_rip
	CHECK \n, e
	.endm

	mov $0x80, %edx
	IO_ALLOWED 23, in $0x80, %al
	IO_ALLOWED 23, out %al, %dx
	IO_ALLOWED 23, in $0x84, %ax
	IO_DENIED 24, in $0x83, %al
	IO_DENIED 24, out %al, $0x70
	IO_DENIED 25, in $0x82, %ax
	IO_DENIED 25, in $0x85, %ax
	IO_DENIED 26, in $0x80, %eax
	IO_DENIED 26, out %eax, %dx
	IO_DENIED 27, in $0x90, %al
	mov $0xffff, %edx
	IO_DENIED 27, in %dx, %al
	/* Two bytes of the bitmap are read always: its last one must be there. */
	mov $(104 + 0x10), %eax
	call load_iotss
	IO_DENIED 28, in $0x80, %al
	mov $(104 + 0x11), %eax
	call load_iotss
	mov $0x80, %edx
	mov $scratch, %edi
	mov $scratch, %esi
	IO_ALLOWED 29, insb
	IO_ALLOWED 29, outsb
	mov $0x83, %edx
	IO_DENIED 29, insb
	IO_DENIED 29, outsb
	mov $3, %ecx
	IO_DENIED 29, rep insb
	cmp $3, %ecx
	CHECK 29, e
	in $0x83, %al
	movw $(104 + 0x40), iotss + 102
	IO_DENIED 30, in $0x80, %al
	movb $0x89, gdt + TSS_SEL + 5
	mov $TSS_SEL, %eax
	ltr %ax

	xor %edi, %edi
	jmp exit

/* eax: limit */
load_iotss:
	mov %ax, gdt_spare
	movb $0x89, gdt_spare + 5
	mov $IOTSS_SEL, %eax
	ltr %ax
	ret

/* Executed at CPL 3. The same bytes do for compatibility mode up to priv_list_32. */
	.macro PRIV what:vararg
	.pushsection .data.priv, "aw", @progbits
	.quad .Lp\@
	.popsection
.Lp\@:
	\what
	int3
	.endm

	.pushsection .data.priv, "aw", @progbits
	.balign 8
priv_list:
	.popsection
	PRIV cli
	PRIV sti
	PRIV hlt
	PRIV clts
	PRIV in $0x80, %al
	PRIV in $0x80, %eax
	PRIV in %dx, %al
	PRIV out %al, $0x80
	PRIV out %eax, %dx
	PRIV mov %cr0, %rax
	PRIV mov %rax, %cr0
	PRIV mov %cr2, %rax
	PRIV mov %rax, %cr3
	PRIV mov %cr4, %rax
	PRIV mov %db0, %rax
	PRIV mov %rax, %db7
	PRIV rdmsr
	PRIV wrmsr
	PRIV invd
	PRIV wbinvd
	PRIV lmsw %ax
	PRIV ltr %ax
	PRIV lldt %ax
	PRIV invlpg (%rax)
	PRIV lgdt (%rax)
	PRIV lidt (%rax)
	PRIV insb
	PRIV outsl
	.pushsection .data.priv, "aw", @progbits
priv_list_32:
	.popsection
	PRIV swapgs
	PRIV mov %cr8, %rax
	PRIV mov %rax, %cr8
	PRIV sysretq
	PRIV rep insb
	.pushsection .data.priv, "aw", @progbits
priv_list_end:
umip_list:
	.popsection
	PRIV sgdt scratch
	PRIV sidt scratch
	PRIV sldt %eax
	PRIV str scratch
	PRIV smsw %eax
	.pushsection .data.priv, "aw", @progbits
umip_list_end:
	.popsection

	.data
	.align 8
gs_block: .quad 0, 0x65

	.bss
	.align 16
scratch: .skip 64
	.align 256
iotss: .skip 512
	.text
