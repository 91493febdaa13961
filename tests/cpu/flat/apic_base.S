/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic_base - IA32_APIC_BASE, and what the registers of x2APIC take (SDM vol. 3 ch. 11): the modes of the local APIC and the ways between them.
 *
 *  1 IA32_APIC_BASE: enabled, boot processor  2 its reserved bits #GP  3 x2APIC without enable #GP
 *  4 x2APIC's MSRs #GP in xAPIC mode  5 illegal register sets ESR  6 off: CPUID says so  7 memory there is no APIC
 *  8 on again: registers are reset  9 moved by its base  10 x2APIC: IA32_APIC_BASE  11 no APIC in memory  12 id  13 LDR
 *  14 #GP: write of a read-only register  15 read of a write-only one  16 EOI and ESR take 0 only  17 reserved bits
 *  18 registers that are not there  19 upper half  20 #GP: x2APIC to xAPIC  21 SELF IPI register  22 ICR reads back
 *  23 #GP: off to x2APIC  24 on again, an interrupt comes  25 there is x2APIC
 *
 * For flat.sh: kvm: 5,8,16,17
 * KVM does not reset an APIC that is switched off (8), and is silent about illegal registers and bits (5, 16, 17).
 * Known of QEMU's TCG, and not checked there: 2-4, 6-9. Its 7.2 has no x2APIC; a processor without it prints a line and passes.
 */
#include "flat.h"
#include "flat_apic.h"

#define V_LOW 0x41
#define V_HIGH 0x71

	.macro MSR_GP_W n, msr, hi, lo
	mov $\msr, %ecx
	mov $\lo, %eax
	mov $\hi, %edx
	CHECK_GP \n, wrmsr
	.endm
	.macro MSR_GP_R n, msr
	mov $\msr, %ecx
	CHECK_GP \n, rdmsr
	.endm

main:
	HOOK V_LOW, hook_log
	HOOK V_HIGH, hook_log
	call apic_on
	call base
	call apic_on

	NEED_X2APIC 25, apic_base, 2f
	call x2
	call x2_off
2:	xor %edi, %edi
	jmp exit

/* ---- IA32_APIC_BASE ---- */
base:
	mov $MSR_APIC_BASE, %ecx
	rdmsr
	test %edx, %edx
	CHECK 1, z
	cmp $(APIC_BASE | 0x900), %eax
	CHECK 1, e
	TRY 1f
	mov $(APIC_BASE | 0x901), %eax
	wrmsr
1:	CHECK_EXC_HW 2, 13
	TRY 1f
	mov $(APIC_BASE | 0x900), %eax
	mov $MSR_APIC_BASE, %ecx
	mov $0x80000000, %edx
	wrmsr
1:	CHECK_EXC_HW 2, 13
	TRY 1f
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x500)
1:	CHECK_EXC_HW 3, 13
	TRY 1f
	mov $0x802, %ecx
	rdmsr
1:	CHECK_EXC_HW 4, 13
	APIC_WR REG_ESR, $0
	APIC_RD 0x05
	APIC_WR REG_ESR, $0
	APIC_RD REG_ESR
	test $0x80, %eax
	CHECK 5, nz
	cmpl $0, is_tcg
	jne 2f /* cannot be switched on again there */
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x100)
	mov $1, %eax
	cpuid
	test $0x200, %edx
	CHECK 6, z
	mov $APIC_BASE, %ebx
	mov 0x30(%rbx), %eax
	mov %eax, %ebp
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x900)
	mov $1, %eax
	cpuid
	test $0x200, %edx
	CHECK 6, nz
	APIC_RD REG_VERSION
	cmp %eax, %ebp
	CHECK 7, ne
	APIC_RD REG_SVR
	cmp $0xff, %eax
	CHECK 8, e
	APIC_RD REG_TIMER
	cmp $LVT_MASKED, %eax
	CHECK 8, e
	APIC_RD REG_DFR
	cmp $0xffffffff, %eax
	CHECK 8, e
	APIC_RD REG_LDR
	test %eax, %eax
	CHECK 8, z
	APIC_RD REG_VERSION
	mov %eax, %ebp
	WRMSR_IMM MSR_APIC_BASE, 0, (0xfed80000 | 0x900)
	mov $0xfed80000, %eax
	cmp 0x30(%rax), %ebp
	CHECK 9, e
	APIC_RD REG_VERSION
	cmp %eax, %ebp
	CHECK 9, ne
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x900)
2:	ret

/* ---- x2APIC ---- */
x2:
	APIC_RD REG_VERSION
	mov %eax, %ebp
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0xd00)
	rdmsr
	cmp $(APIC_BASE | 0xd00), %eax
	CHECK 10, e
	mov $APIC_BASE, %eax
	cmp 0x30(%rax), %ebp
	CHECK 11, ne
	movl $1, x2apic
	mov $0xb, %eax
	xor %ecx, %ecx
	cpuid
	mov %edx, %ebx
	APIC_RD REG_ID
	cmp %eax, %ebx
	CHECK 12, e
	mov %eax, %ecx
	and $15, %ecx
	shr $4, %eax
	shl $16, %eax
	bts %ecx, %eax
	mov %eax, %ebx
	APIC_RD REG_LDR
	cmp %eax, %ebx
	CHECK 13, e

	MSR_GP_W 14, 0x802, 0, 0
	MSR_GP_W 14, 0x803, 0, 0
	MSR_GP_W 14, 0x80a, 0, 0
	MSR_GP_W 14, 0x80d, 0, 1
	MSR_GP_W 14, 0x810, 0, 0
	MSR_GP_W 14, 0x818, 0, 0
	MSR_GP_W 14, 0x820, 0, 0
	MSR_GP_W 14, 0x839, 0, 0
	MSR_GP_R 15, 0x80b
	MSR_GP_R 15, 0x83f
	MSR_GP_W 16, 0x80b, 0, 1
	MSR_GP_W 16, 0x828, 0, 1
	MSR_GP_W 17, 0x808, 0, 0x100
	MSR_GP_W 17, 0x80f, 0, 0x10000
	MSR_GP_W 17, 0x832, 0, 0x100000
	MSR_GP_W 17, 0x835, 0, 0x20000
	MSR_GP_W 17, 0x83e, 0, 0x10
	MSR_GP_W 17, 0x830, 0, 0x100041
	MSR_GP_W 17, 0x83f, 0, 0x100
	MSR_GP_R 18, 0x80e
	MSR_GP_W 18, 0x80e, 0, 0xffffffff
	MSR_GP_R 18, 0x831
	MSR_GP_W 18, 0x831, 0, 0
	MSR_GP_R 18, 0x800
	MSR_GP_R 18, 0x804
	MSR_GP_R 18, 0x809
	MSR_GP_R 18, 0x80c
	MSR_GP_R 18, 0x829
	MSR_GP_R 18, 0x83a
	MSR_GP_R 18, 0x840
	MSR_GP_R 18, 0x8ff
	MSR_GP_W 18, 0x8ff, 0, 0
	MSR_GP_W 19, 0x808, 1, 0
	MSR_GP_W 19, 0x80b, 1, 0
	MSR_GP_W 19, 0x838, 1, 0
	MSR_GP_W 20, MSR_APIC_BASE, 0, (APIC_BASE | 0x900)
	MSR_GP_W 3, MSR_APIC_BASE, 0, (APIC_BASE | 0x500)

	LOG_CLEAR
	APIC_WR REG_SVR, $0x1ff
	sti
	WRMSR_IMM 0x83f, 0, V_HIGH
	AWAIT 21, log_len, ae, $1
	cli
	WRMSR_IMM 0x830, 0x12345, V_LOW
	rdmsr
	cmp $0x12345, %edx
	CHECK 22, e
	cmp $V_LOW, %eax
	CHECK 22, e
	ret

	/* Off, and what leads from there */
x2_off:
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x100)
	MSR_GP_W 23, MSR_APIC_BASE, 0, (APIC_BASE | 0xd00)
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0x900)
	movl $0, x2apic
	APIC_RD REG_SVR
	cmp $0xff, %eax
	CHECK 8, e
	MSR_GP_R 4, 0x802
	call apic_on
	LOG_CLEAR
	sti
	IPI_SELF V_LOW
	AWAIT 24, log_len, ae, $1
	cli
	ret
