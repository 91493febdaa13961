/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abuse_msr - MSRs of all kinds with values of all kinds: what comes is a value or #GP(0), and the machine goes on.
 *
 *  1 RDMSR: a value or #GP  2 its error code is 0  3 WRMSR: nothing or #GP  4 its error code is 0  5 what was read can be read again
 *  6 in x2APIC mode too
 *  7 paravirtual MSRs that CPUID does not show are #GP to read  8 and to write  9 no MSR of another hypervisor answers
 *  10 machine check banks read as 0, also those that MCG_CAP does not tell of: a guest moves between engines that show different numbers
 *
 * For flat.sh: seconds: 100 qemu: no
 */
#include "flat.h"
#include "flat_apic.h"

#define CPUID_PV 0x40000001

	/* The MSR is said before the guest ends. */
	.macro CHECK_MSR n, cc
	j\cc .Lmsr\@
	call say_msr
	btl $(\n & 31), forgiven + \n / 32 * 4
	jc .Lmsr\@
	mov $\n, %edi
	jmp exit
.Lmsr\@:
	.endm

say_msr:
	mov %ebp, %eax
	call put_hex
	jmp put_nl

/* ebp: MSR. CF: #GP, else rdx:rax. */
try_read:
	TRY 1f
	mov %ebp, %ecx
	rdmsr
1:	cmpq $NO_EXC, exc_vector
	je 2f
	cmpq $13, exc_vector
	CHECK_MSR 1, e
	cmpq $0, exc_error
	CHECK_MSR 2, e
	stc
	ret
2:	movq $0, exc_resume
	clc
	ret

/* ebp: MSR, rdx:rax: the value. CF: #GP. */
try_write:
	TRY 1f
	mov %ebp, %ecx
	wrmsr
1:	cmpq $NO_EXC, exc_vector
	je 2f
	cmpq $13, exc_vector
	CHECK_MSR 3, e
	cmpq $0, exc_error
	CHECK_MSR 4, e
	stc
	ret
2:	movq $0, exc_resume
	clc
	ret

/* ebp: MSR. Clobbers all but ebp, r12, r13. */
abuse:
	call try_read
	setc %r8b
	mov %eax, %r9d
	mov %edx, %r10d
	lea spared, %rsi
1:	lodsl
	cmp %eax, %ebp
	je 4f
	test %eax, %eax
	jnz 1b
	lea values, %rbx
2:	mov (%rbx), %eax
	mov 4(%rbx), %edx
	call try_write
	add $8, %rbx
	cmp $values_end, %rbx
	jb 2b
	test %r8b, %r8b
	jnz 4f
	mov %r9d, %eax
	mov %r10d, %edx
	call try_write
	call try_read
	CHECK_MSR 5, nc
4:	ret

/* r12: a list of ranges. */
abuse_all:
	mov (%r12), %ebp
	mov 4(%r12), %r13d
	test %r13d, %r13d
	jz 2f
1:	call abuse
	inc %ebp
	cmp %r13d, %ebp
	jb 1b
	add $8, %r12
	jmp abuse_all
2:	ret

/* ebp: MSR that a guest that asks CPUID does not know. */
absent:
	call try_read
	CHECK_MSR 7, c
	xor %eax, %eax
	xor %edx, %edx
	call try_write
	CHECK_MSR 8, c
	ret

main:
	call apic_on
	PIT_OFF
	lea ranges, %r12
	call abuse_all

	mov $0x400, %ebp
1:	call try_read
	CHECK_MSR 10, nc
	or %edx, %eax
	test $3, %ebp /* MCi_CTL may be what was written to it */
	jz 2f
	test %eax, %eax
	CHECK_MSR 10, z
2:	inc %ebp
	cmp $0x480, %ebp
	jb 1b

	mov $0x40000000, %eax
	cpuid
	cmp $0x4b4d564b, %ebx /* "KVMK" */
	jne 3f
	mov $CPUID_PV, %eax
	cpuid
	mov %eax, %r14d
	lea pv, %r12
1:	mov (%r12), %ebp
	mov 4(%r12), %ecx
	bt %ecx, %r14d
	jc 2f
	call absent
2:	add $8, %r12
	cmpl $0, (%r12)
	jne 1b
	mov $0x40000000, %ebp
1:	call try_read
	CHECK_MSR 9, c
	inc %ebp
	cmp $0x40000120, %ebp
	jb 1b

3:	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0xd00)
	lea x2apic_ranges, %r12
	call abuse_all
	mov $0x802, %ebp
	call try_read
	CHECK 6, nc
	xor %edi, %edi
	jmp exit

	.data
	.align 8
values:
	.quad 0, ~0, 0xffffffff, 0x8000000000000000, 0x7fffffffffff, 0x800000000000, 1, 0xfee00001
values_end:
	/* From, behind the last; ends with 0, 0. */
ranges:
	.long 0, 0x300
	.long 0x300, 0x500
	.long 0x560, 0x5a0
	.long 0x600, 0x700
	.long 0x800, 0x900
	.long 0xc80, 0xcb0
	.long 0xd90, 0xdc0
	.long 0x1200, 0x1220
	.long 0x14c0, 0x1610
	.long 0x1900, 0x1930
	.long 0x40000000, 0x40000120
	.long 0x4b564cf8, 0x4b564d18
	.long 0x80000000, 0x80000004
	.long 0xbfffffe0, 0xbfffffff
	.long 0xc0000000, 0xc0000020
	.long 0xc0000080, 0xc0000110
	.long 0xc00001a0, 0xc00001b0
	.long 0xc00002f0, 0xc0000310
	.long 0xc0002000, 0xc0002020
	.long 0xc0010000, 0xc0010160
	.long 0xc0010200, 0xc0010210
	.long 0xc0010290, 0xc00102c0
	.long 0xc0011000, 0xc0011040
	.long 0xfffffff0, 0xffffffff
	.long 0, 0
x2apic_ranges:
	.long 0x800, 0x830
	.long 0x831, 0x900
	.long 0, 0
	/* Not written: what this guest itself runs by, and the TSC, which writes of themselves would change. */
spared:
	.long MSR_APIC_BASE, MSR_EFER, MSR_FS_BASE, MSR_GS_BASE, 0x10, 0x3b, 0
	/* MSR, and the bit of leaf 0x40000001 EAX that shows it; ends with 0. */
pv:
	.long 0x11, 0
	.long 0x12, 0
	.long 0x4b564d00, 3
	.long 0x4b564d01, 3
	.long 0x4b564d02, 4
	.long 0x4b564d03, 5
	.long 0x4b564d04, 6
	.long 0x4b564d05, 12
	.long 0x4b564d06, 14
	.long 0x4b564d07, 14
	.long 0x4b564d08, 17
	.long 0
	.text
