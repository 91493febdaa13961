/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock - the time-stamp counter and what is read through it: RDTSC, its MSRs, kvmclock, the ACPI timer.
 * expect: 0 modes: reference,translate (in lock-step the TSC counts instructions)
 *
 *  1 RDTSC never goes back  2 it moves  3 CR4.TSD: #GP(0) at CPL 3 for RDTSC  4 for RDTSCP  5 not at CPL 0
 *  6 RDTSCP: TSC_AUX in ECX  7 RDPID the same  8 WRMSR to IA32_TSC  9 IA32_TSC_ADJUST follows  10 and leads
 *  11 MSR read agrees with RDTSC  12 hypervisor bit and KVM's signature  13 clock feature bits  14 kvmclock: version
 *  even and not 0  15 stable flag  16 multiplier  17 time never goes back  18 it moves  19 its rate is the TSC's rate
 *  that CPUID tells  20 TSC and kvmclock agree with the ACPI timer  21 written anew after the TSC was  22 off: the page
 *  is left alone  23 the old MSR numbers, which CPUID does not show: #GP  24 wall clock: version, seconds  25 reserved MSR: #GP(0)
 *  26 the page may lie anywhere in a page, by 4 bytes  27 ACPI timer moves  28 RDTSC at CPL 3
 *
 * 12 to 26 are for KVM's clock, which QEMU's TCG does not have.
 */
#include "flat.h"

#define MSR_TSC 0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_WALL_OLD 0x11
#define MSR_SYSTEM_TIME_OLD 0x12
#define MSR_WALL 0x4b564d00
#define MSR_SYSTEM_TIME 0x4b564d01
#define PM_TIMER 0x608
#define PM_HZ 3579545

	/* Into rax. Clobbers rdx. */
	.macro TSC
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	.endm

main:
	call pages_user

	TSC
	mov %rax, %rbx
	mov %rax, %r12
	mov $20000, %ebp
1:	TSC
	cmp %rbx, %rax
	CHECK 1, ae
	mov %rax, %rbx
	dec %ebp
	jnz 1b
	cmp %r12, %rbx
	CHECK 2, a

	TRY 1f
	TO_USER 2f
2:	rdtsc
	int $0x80
1:	CHECK_EXC 28, 0x80
	SET_CR4 CR4_TSD
	TRY 1f
	TO_USER 2f
2:	rdtsc
1:	CHECK_EXC_ERR 3, 13, 0
	CHECK_EQ 3, exc_rip, 2b
	rdtsc
	mov $0x80000001, %eax
	cpuid
	bt $27, %edx
	jnc no_rdtscp
	TRY 1f
	TO_USER 2f
2:	rdtscp
1:	CHECK_EXC_ERR 4, 13, 0
	CLEAR_CR4 CR4_TSD
	WRMSR_IMM MSR_TSC_AUX, 0, 0x12345
	TSC
	mov %rax, %rbx
	mov $-1, %rcx
	rdtscp
	cmp $0x12345, %rcx
	CHECK 6, e
	shl $32, %rdx
	or %rdx, %rax
	cmp %rbx, %rax
	CHECK 5, ae
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	bt $22, %ecx
	jnc no_rdtscp
	rdpid %rax
	cmp $0x12345, %rax
	CHECK 7, e
no_rdtscp:
	CLEAR_CR4 CR4_TSD
	mov $MSR_TSC, %ecx
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, %rbx
	TSC
	sub %rbx, %rax
	shr $33, %rax
	CHECK 11, z

	cmpl $0, is_tcg
	jne pm_timer /* (QEMU's TCG: TSC and IA32_TSC_ADJUST cannot be written) */
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	test $2, %ebx
	jz no_adjust
	mov $MSR_TSC_ADJUST, %ecx
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, %r12
	TSC
	mov %rax, %r13
	/* now + 2^45 */
	mov $1, %ebx
	shl $45, %rbx
	add %rbx, %rax
	mov %rax, %rdx
	shr $32, %rdx
	mov $MSR_TSC, %ecx
	wrmsr
	TSC
	sub %r13, %rax
	cmp %rbx, %rax
	CHECK 8, ae
	mov $MSR_TSC_ADJUST, %ecx
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	sub %r12, %rax
	sub %rbx, %rax /* a little less than was added */
	neg %rax
	shr $33, %rax
	CHECK 9, z
	/* and back */
	mov %r12, %rdx
	shr $32, %rdx
	mov %r12d, %eax
	mov $MSR_TSC_ADJUST, %ecx
	wrmsr
	TSC
	sub %r13, %rax
	shr $40, %rax
	CHECK 10, z
no_adjust:

/* ---- kvmclock ---- */

	mov $1, %eax
	cpuid
	bt $31, %ecx
	CHECK 12, c
	mov $0x40000000, %eax
	cpuid
	cmp $0x4b4d564b, %ebx
	CHECK 12, e
	cmp $0x564b4d56, %ecx
	CHECK 12, e
	cmp $0x4d, %edx
	CHECK 12, e
	cmp $0x40000001, %eax
	CHECK 12, ae
	mov %eax, %ebp
	mov $0x40000001, %eax
	cpuid
	and $0x01000008, %eax /* CLOCKSOURCE2, CLOCKSOURCE_STABLE */
	cmp $0x01000008, %eax
	CHECK 13, e
	mov $0x40000010, %eax
	cmp %eax, %ebp
	jb 1f
	cpuid
	mov %eax, tsc_khz
1:	WRMSR_IMM MSR_SYSTEM_TIME, 0, clock_page+1
	mov clock_page, %eax
	test %eax, %eax
	CHECK 14, nz
	test $1, %eax
	CHECK 14, z
	testb $1, clock_page + 29
	CHECK 15, nz
	cmpl $0, clock_page + 24
	CHECK 16, ne
	call now
	mov %rax, %rbx
	mov %rax, %r12
	mov $20000, %ebp
1:	call now
	cmp %rbx, %rax
	CHECK 17, ae
	mov %rax, %rbx
	dec %ebp
	jnz 1b
	cmp %r12, %rbx
	CHECK 18, a
	cmpl $0, tsc_khz
	je 1f
	/* 10^9 ns are tsc_khz * 1000 ticks, to 1 in 10^6. */
	mov tsc_khz, %eax
	imul $1000, %rax
	call scale
	sub $1000000000, %rax
	add $1000, %rax
	cmp $2000, %rax
	CHECK 19, b
1:
	/* A new TSC; time goes on. */
	call now
	mov %rax, %r12
	WRMSR_IMM MSR_TSC, 0x100, 0
	testl $1, clock_page
	CHECK 21, z
	call now
	sub %r12, %rax
	CHECK 21, ae
	shr $30, %rax
	CHECK 21, z
	WRMSR_IMM MSR_TSC, 0, 0
	call now
	sub %r12, %rax
	CHECK 21, ae
	shr $30, %rax
	CHECK 21, z

	WRMSR_IMM MSR_SYSTEM_TIME, 0, clock_page
	movq $0, clock_page
	movq $0, clock_page + 8
	WRMSR_IMM MSR_TSC, 0, 0
	cmpq $0, clock_page
	CHECK 22, e
	cmpq $0, clock_page + 8
	CHECK 22, e
	TRY 1f
	WRMSR_IMM MSR_SYSTEM_TIME_OLD, 0, clock_page+1
1:	CHECK_EXC_ERR 23, 13, 0
	WRMSR_IMM MSR_SYSTEM_TIME, 0, clock_page+101
	cmpl $0, clock_page + 100 + 24
	CHECK 26, ne
	WRMSR_IMM MSR_WALL, 0, clock_page+200
	mov clock_page + 200, %eax
	test %eax, %eax
	CHECK 24, nz
	test $1, %eax
	CHECK 24, z
	cmpl $1600000000, clock_page + 204 /* 2020 */
	CHECK 24, a
	cmpl $1000000000, clock_page + 208
	CHECK 24, b
	TRY 1f
	WRMSR_IMM MSR_WALL_OLD, 0, clock_page+220
1:	CHECK_EXC_ERR 23, 13, 0
	mov $0x4b564d7f, %ecx
	TRY 1f
	rdmsr
1:	CHECK_EXC_ERR 25, 13, 0
	WRMSR_IMM MSR_SYSTEM_TIME, 0, clock_page+1

/* ---- the ACPI timer: some 20 ms by it and by kvmclock ---- */

pm_timer:
	mov $20, %r13d /* attempts: the host may take the processor away between two readings */
again:	mov $PM_TIMER, %edx
	in %dx, %eax
	mov %eax, %r14d
	cmpl $0, is_tcg
	jne 1f
	call now
	mov %rax, %r12
1:	mov $PM_TIMER, %edx
	mov $100000000, %ebp
2:	in %dx, %eax
	sub %r14d, %eax
	and $0xffffff, %eax
	cmp $(PM_HZ / 50), %eax
	jae 3f
	dec %ebp
	CHECK 27, nz
	jmp 2b
3:	cmpl $0, is_tcg
	jne 4f
	mov %eax, %ebx
	call now
	sub %r12, %rax
	/* rbx ticks in ns, to compare with rax: 1 ms for what comes between the two readings */
	imul $1000000000, %rbx, %rbx
	mov %rax, %rsi
	mov %rbx, %rax
	xor %edx, %edx
	mov $PM_HZ, %ecx
	div %rcx
	sub %rax, %rsi
	jns 5f
	neg %rsi
5:	cmp $1000000, %rsi
	jb 4f
	dec %r13d
	CHECK 20, nz
	jmp again
4:	ret

/* ns of kvmclock into rax, by the protocol. Clobbers rcx, rdx, rsi. */
now:
1:	mov clock_page, %esi
	test $1, %esi
	jnz 1b
	TSC
	sub clock_page + 8, %rax
	call scale
	add clock_page + 16, %rax
	cmp clock_page, %esi
	jne 1b
	ret

/* Ticks in rax to ns. Clobbers rcx, rdx. */
scale:
	movsbl clock_page + 28, %ecx
	test %ecx, %ecx
	js 1f
	shl %cl, %rax
	jmp 2f
1:	neg %ecx
	shr %cl, %rax
2:	mov clock_page + 24, %ecx
	mul %rcx
	shrd $32, %rdx, %rax
	ret

	.bss
	.align 4096
clock_page: .skip 4096
tsc_khz: .skip 8
	.text
