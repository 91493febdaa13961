/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic - the local APIC by memory and by MSR: priorities, timers, messages to itself (SDM vol. 3 ch. 11).
 *
 * 1-49 run in xAPIC mode; the same with 50 more in x2APIC mode (51-99).
 *  1 id is CPUID's  2 version  3 self-IPI comes  4 waits in IRR while IF is clear  5 in service: ISR, not IRR
 *  6 EOI clears ISR  7 of three pending the highest first  8 a higher class interrupts a handler  9 its own class does
 *  not  10 but comes after EOI  11 EOI ends only the highest  12 TPR holds back its class  13 not the one above
 *  14 lowering it delivers  15 PPR is TPR  16 PPR is the class in service  17 or TPR when that is higher
 *  18 CR8 is TPR's upper half, both ways  19 lowering CR8 delivers behind the instruction  20 reserved bits of CR8
 *  #GP  21 sent twice while pending is one  22 pending behind the one in service is a second one
 *  23 one-shot comes  24 once, and the count stays 0  25 masked: nothing, neither after unmasking  26 initial count
 *  0 stops it  27 periodic comes again and again  28 count is never above initial  29 stops  30 divide
 *  31 vector of the timer at expiry  32 software disable masks every LVT entry  33 and keeps it so
 *  34 nothing is accepted meanwhile  35 LVT entries stay masked after enabling  36 SVR keeps its bits
 *  37 error: vector below 16 sent: ESR  38 and the error interrupt  39 ESR reads what was latched by a write
 *  40 all including self  41 all excluding self: nothing  42 logical destination  43 lowest priority
 *  44 nobody there: nothing  45 TMR clear for edge  46 the spurious vector never came  47 TPR holds back across HLT's
 *  wake-up by a higher one  48 a one-shot restarted before its end
 * 102 TSC-deadline: comes, once  103 not early, MSR is 0 after it  104 past, disarmed, other modes (these three in both
 * modes)  105 there is x2APIC
 *
 * For flat.sh: modes: reference,translate, kvm: 15,17,25
 * KVM on AMD keeps TPR as CR8 shows it: its low four bits are lost (15, 17). KVM keeps a timer's interrupt that comes while the
 * entry is masked (25).
 * Known of QEMU's TCG, and not checked there: 20, 32-35, 37-39. Its 7.2 has neither x2APIC nor TSC-deadline;
 * a processor without one of these prints a line and passes.
 */
#include "flat.h"
#include "flat_apic.h"

#define CPUID_DEADLINE (1 << 24)

#define V_LOW 0x41
#define V_SAME 0x45
#define V_MID 0x61
#define V_HIGH 0x71
#define V_TIMER 0x52
#define V_TIMER2 0x53
#define V_ERROR 0x54
#define V_DEADLINE 0x55

	/* One instruction with IF set for what is pending, and then some. */
	.macro LET_IN
	sti
	nop
	nop
	cli
	.endm

hook_service: /* what the registers say while in service */
	call log_it
	mov FR_VEC(%rdi), %eax
	mov $REG_ISR, %ecx
	call apic_bit
	mov %eax, seen_isr
	mov FR_VEC(%rdi), %eax
	mov $REG_IRR, %ecx
	call apic_bit
	mov %eax, seen_irr
	mov FR_VEC(%rdi), %eax
	mov $REG_TMR, %ecx
	call apic_bit
	mov %eax, seen_tmr
	APIC_RD REG_PPR
	mov %eax, seen_ppr
	APIC_WR REG_TPR, $0x9a
	APIC_RD REG_PPR
	mov %eax, seen_ppr2
	APIC_WR REG_TPR, $0
	jmp apic_eoi

hook_nest: /* vector V_LOW, lets in what is above */
	call log_it
	sti
	IPI_SELF V_MID
	AWAIT 8, log_len, ae, $2
	IPI_SELF V_SAME
	QUIET
	cli
	mov log_len, %eax
	mov %eax, seen_nest
	BIT_OF REG_ISR, V_LOW
	mov %eax, seen_isr
	BIT_OF REG_ISR, V_MID
	mov %eax, seen_isr2
	jmp apic_eoi

hook_again: /* sends itself once more, before its EOI */
	call log_it
	cmpl $1, log_len
	jne apic_eoi
	mov FR_VEC(%rdi), %eax
	mov my_id, %edx
	call apic_ipi
	mov FR_VEC(%rdi), %eax
	call wait_irr
	jmp apic_eoi

hook_spurious:
	incl spurious
	ret

hook_tsc:
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, seen_tsc
	jmp hook_log

	/* edi: divide register. Clocks of the timer in m_c, ticks of the TSC in m_t. */
measure:
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
	APIC_WR REG_DIVIDE, %edi
	APIC_WR REG_INITIAL, $0xffffffff
	rdtsc
	mov %eax, %ebx
	APIC_RD REG_CURRENT
	mov %eax, %ebp
	DELAY_TSC 20000000
	APIC_RD REG_CURRENT
	sub %eax, %ebp
	mov %ebp, m_c
	rdtsc
	sub %ebx, %eax
	mov %eax, m_t
	APIC_WR REG_INITIAL, $0
	ret

	/* Until the count of the timer is 0. */
wait_count:
	mov $50000000, %ebx
1:	APIC_RD REG_CURRENT
	test %eax, %eax
	jz 2f
	dec %ebx
	jnz 1b
2:	test %ebx, %ebx
	ret

main:
	HOOK 0xff, hook_spurious
	HOOK V_ERROR, hook_log
	HOOK V_TIMER, hook_log
	HOOK V_TIMER2, hook_log
	HOOK V_DEADLINE, hook_tsc
	call apic_on
	call suite
	call deadline
	call apic_on

	NEED_X2APIC 105, apic, 2f
	WRMSR_IMM MSR_APIC_BASE, 0, (APIC_BASE | 0xd00)
	movl $1, x2apic
	call apic_on
	movl $50, fail_base
	call suite
	movl $0, fail_base
	call deadline
2:	xor %edi, %edi
	jmp exit

/* ---- both modes ---- */
suite:
	mov $1, %eax
	cpuid
	shr $24, %ebx
	cmp my_id, %ebx
	ACHECK 1, e
	APIC_RD REG_VERSION
	mov %eax, %ebx
	and $0xf0, %al
	cmp $0x10, %al
	ACHECK 2, e
	shr $16, %ebx
	cmp $3, %bl
	ACHECK 2, ae
	cmp $7, %bl
	ACHECK 2, be

	APIC_WR REG_LINT0, $(LVT_MASKED | 0x700)
	APIC_WR REG_LINT1, $(LVT_MASKED | 0x400)
	HOOK V_LOW, hook_log
	HOOK V_SAME, hook_log
	HOOK V_MID, hook_log
	HOOK V_HIGH, hook_log
	LOG_CLEAR
	sti
	IPI_SELF V_LOW
	AWAIT 3, log_len, ae, $1
	cli
	cmpb $V_LOW, irq_log
	ACHECK 3, e

	HOOK V_MID, hook_service
	LOG_CLEAR
	IPI_SELF V_MID
	PENDING 4, V_MID
	BIT_OF REG_ISR, V_MID
	ACHECK 4, z
	ACHECK_EQ 4, log_len, $0
	LET_IN
	ACHECK_EQ 4, log_len, $1
	ACHECK_EQ 5, seen_isr, $1
	ACHECK_EQ 5, seen_irr, $0
	ACHECK_EQ 45, seen_tmr, $0
	ACHECK_EQ 16, seen_ppr, $(V_MID & 0xf0)
	ACHECK_EQ 17, seen_ppr2, $0x9a
	BIT_OF REG_ISR, V_MID
	ACHECK 6, z
	BIT_OF REG_IRR, V_MID
	ACHECK 6, z
	HOOK V_MID, hook_log

	LOG_CLEAR
	IPI_SELF V_LOW
	IPI_SELF V_HIGH
	IPI_SELF V_MID
	PENDING 7, V_LOW
	PENDING 7, V_HIGH
	PENDING 7, V_MID
	sti
	AWAIT 7, log_len, ae, $3
	cli
	mov irq_log, %eax
	and $0xffffff, %eax
	ACHECK_EQ 7, %eax, $(V_LOW << 16 | V_MID << 8 | V_HIGH)

	LOG_CLEAR
	HOOK V_LOW, hook_nest
	IPI_SELF V_LOW
	PENDING 8, V_LOW
	LET_IN
	AWAIT 10, log_len, ae, $3
	mov irq_log, %eax
	and $0xffffff, %eax
	ACHECK_EQ 8, %eax, $(V_SAME << 16 | V_MID << 8 | V_LOW)
	ACHECK_EQ 9, seen_nest, $2
	ACHECK_EQ 11, seen_isr, $1
	ACHECK_EQ 11, seen_isr2, $0
	HOOK V_LOW, hook_log

	/* Task priority */
	LOG_CLEAR
	APIC_WR REG_TPR, $0x63
	APIC_RD REG_PPR
	ACHECK_EQ 15, %eax, $0x63
	mov %cr8, %rax
	cmp $6, %rax
	ACHECK 18, e
	IPI_SELF V_MID
	IPI_SELF V_HIGH
	PENDING 12, V_MID
	sti
	AWAIT 13, log_len, ae, $1
	QUIET
	ACHECK_EQ 12, log_len, $1
	cmpb $V_HIGH, irq_log
	ACHECK 13, e
	BIT_OF REG_IRR, V_MID
	ACHECK 12, nz
	APIC_WR REG_TPR, $0x60
	QUIET
	ACHECK_EQ 12, log_len, $1
	APIC_WR REG_TPR, $0x5f
	AWAIT 14, log_len, ae, $2
	cli
	cmpb $V_MID, irq_log + 1
	ACHECK 14, e

	LOG_CLEAR
	mov $7, %eax
	mov %rax, %cr8
	APIC_RD REG_TPR
	ACHECK_EQ 18, %eax, $0x70
	IPI_SELF V_HIGH
	PENDING 19, V_HIGH
	sti
	nop
	nop
	ACHECK_EQ 19, log_len, $0
	mov $6, %eax
	mov %rax, %cr8
cr8_next:
	nop
	cli
	ACHECK_EQ 19, log_len, $1
	cmpq $cr8_next, log_rip
	ACHECK 19, e
	mov $0x10, %eax
	TRY 1f
	mov %rax, %cr8
1:	movq $0, exc_resume
	cmpq $13, exc_vector
	ACHECK_HW 20, e
	xor %eax, %eax
	mov %rax, %cr8

	/* HLT with a lower one held back: only the higher one wakes it */
	LOG_CLEAR
	APIC_WR REG_TPR, $0x50
	IPI_SELF V_LOW
	PENDING 47, V_LOW
	APIC_WR REG_DIVIDE, $0xb
	APIC_WR REG_TIMER, $V_HIGH
	APIC_WR REG_INITIAL, $3000000
	sti
	hlt
	cli
	ACHECK_EQ 47, log_len, $1
	cmpb $V_HIGH, irq_log
	ACHECK 47, e
	APIC_WR REG_TPR, $0
	LET_IN
	ACHECK_EQ 47, log_len, $2

	LOG_CLEAR
	IPI_SELF V_LOW
	PENDING 21, V_LOW
	IPI_SELF V_LOW
	sti
	QUIET
	cli
	ACHECK_EQ 21, log_len, $1
	LOG_CLEAR
	HOOK V_LOW, hook_again
	IPI_SELF V_LOW
	PENDING 22, V_LOW
	sti
	AWAIT 22, log_len, ae, $2
	QUIET
	cli
	ACHECK_EQ 22, log_len, $2
	HOOK V_LOW, hook_log

	/* ---- timer ---- */
	LOG_CLEAR
	APIC_WR REG_DIVIDE, $0xb
	APIC_WR REG_TIMER, $V_TIMER
	sti
	APIC_WR REG_INITIAL, $1000000
	AWAIT 23, log_len, ae, $1
	cmpb $V_TIMER, irq_log
	ACHECK 23, e
	APIC_RD REG_CURRENT
	test %eax, %eax
	ACHECK 24, z
	APIC_RD REG_INITIAL
	ACHECK_EQ 24, %eax, $1000000
	QUIET
	ACHECK_EQ 24, log_len, $1
	APIC_RD REG_CURRENT
	test %eax, %eax
	ACHECK 24, z

	LOG_CLEAR
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
	APIC_WR REG_INITIAL, $1000000
	call wait_count
	ACHECK 25, nz
	QUIET
	BIT_OF REG_IRR, V_TIMER
	ACHECK 25, z
	APIC_WR REG_TIMER, $V_TIMER
	QUIET
	ACHECK_EQ 25, log_len, $0
	LOG_CLEAR

	APIC_WR REG_INITIAL, $2000000000
	APIC_WR REG_INITIAL, $0
	APIC_RD REG_CURRENT
	test %eax, %eax
	ACHECK 26, z
	QUIET
	ACHECK_EQ 26, log_len, $0

	/* Restarted with a long count, then a short one: one interrupt, by the second */
	APIC_WR REG_INITIAL, $4000000000
	APIC_RD REG_CURRENT
	cmp $3000000000, %eax
	ACHECK 48, a
	APIC_WR REG_INITIAL, $100000
	AWAIT 48, log_len, ae, $1
	APIC_RD REG_CURRENT
	test %eax, %eax
	ACHECK 48, z

	/* The vector that counts is the one at the end */
	LOG_CLEAR
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
	APIC_WR REG_INITIAL, $100000000 /* not over before the next line, if the host does something else meanwhile */
	APIC_WR REG_TIMER, $V_TIMER2
	AWAIT 31, log_len, ae, $1
	cmpb $V_TIMER2, irq_log
	ACHECK 31, e

	LOG_CLEAR
	APIC_WR REG_TIMER, $(LVT_PERIODIC | V_TIMER)
	APIC_WR REG_INITIAL, $500000
	mov $20000, %ebx
1:	APIC_RD REG_CURRENT
	cmp $500000, %eax
	ACHECK 28, be
	dec %ebx
	jnz 1b
	AWAIT 27, log_len, ae, $5
	cli
	APIC_WR REG_INITIAL, $0
	LET_IN
	LOG_CLEAR
	sti
	QUIET
	cli
	ACHECK_EQ 29, log_len, $0

	/* Divide by 1 and by 16: within a factor of two, in one of ten tries */
	mov $10, %r12d
2:	mov $0xb, %edi
	call measure
	mov m_c, %r13d
	mov m_t, %r14d
	mov $0x3, %edi
	call measure
	mov m_t, %eax
	imul %r13, %rax /* count by 1, brought to the other one's time */
	xor %edx, %edx
	div %r14
	mov m_c, %ecx
	shl $3, %rcx
	cmp %rcx, %rax
	jb 3f
	shl $2, %rcx
	cmp %rcx, %rax
	jb 4f
3:	dec %r12d
	jnz 2b
4:	test %r12d, %r12d
	ACHECK 30, nz
	APIC_WR REG_DIVIDE, $0xb

	/* ---- software disable ---- */
	LOG_CLEAR
	APIC_WR REG_TIMER, $V_TIMER
	APIC_WR REG_LINT1, $0x400
	APIC_WR REG_SVR, $0x0ff
	mov $REG_TIMER, %ebp
1:	cmp $REG_TIMER, %ebp
	je 3f
	cmp $REG_LINT0, %ebp
	jb 2f
3:	mov %ebp, %ecx
	call apic_read
	test $LVT_MASKED, %eax
	ACHECK_HW 32, nz
2:	inc %ebp
	cmp $REG_ERROR, %ebp
	jbe 1b
	APIC_WR REG_TIMER, $V_TIMER
	APIC_RD REG_TIMER
	cmp $(LVT_MASKED | V_TIMER), %eax
	ACHECK_HW 33, e
	IPI_SELF V_LOW
	DELAY_TSC 100000
	BIT_OF REG_IRR, V_LOW
	ACHECK_HW 34, z
	APIC_WR REG_SVR, $0x1ff
	APIC_RD REG_LINT1
	test $LVT_MASKED, %eax
	ACHECK_HW 35, nz
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
	LET_IN
	APIC_WR REG_SVR, $0x1ef
	APIC_RD REG_SVR
	ACHECK_EQ 36, %eax, $0x1ef
	APIC_WR REG_SVR, $0x1ff

	/* ---- errors ---- */
	cmpl $0, is_tcg /* it delivers the vector */
	jne 3f
	LOG_CLEAR
	APIC_WR REG_ESR, $0
	APIC_WR REG_ESR, $0
	APIC_WR REG_ERROR, $V_ERROR
	sti
	IPI $(ICR_SELF | 5), $0
	QUIET
	cli
	ACHECK_EQ 38, log_len, $1
	cmpb $V_ERROR, irq_log
	ACHECK 38, e
	APIC_RD REG_ESR
	test %eax, %eax
	ACHECK 39, z /* not latched yet */
	APIC_WR REG_ESR, $0
	APIC_RD REG_ESR
	test $0x20, %eax
	ACHECK 37, nz
	APIC_WR REG_ESR, $0
	APIC_RD REG_ESR
	test %eax, %eax
	ACHECK 39, z
	APIC_WR REG_ERROR, $LVT_MASKED
3:
	/* ---- destinations ---- */
	LOG_CLEAR
	sti
	IPI $(ICR_ALL | V_LOW), $0
	AWAIT 40, log_len, ae, $1
	IPI $(ICR_OTHERS | V_LOW), $0
	QUIET
	ACHECK_EQ 41, log_len, $1
	LOG_CLEAR
	cmpl $0, x2apic
	jne 1f
	APIC_WR REG_DFR, $0xffffffff
	APIC_WR REG_LDR, $0x02000000
	mov $0x82, %ebx
	cmpb $0, is_kvm /* it may choose a processor that is not there for the lowest priority */
	je 2f
	mov $0x02, %ebx
	jmp 2f
1:	APIC_RD REG_LDR
	mov %eax, %ebx
2:	IPI $(ICR_LOGICAL | V_MID), %ebx
	AWAIT 42, log_len, ae, $1
	IPI $(ICR_LOGICAL | 0x100 | V_HIGH), %ebx
	AWAIT 43, log_len, ae, $2
	cmpb $V_HIGH, irq_log + 1
	ACHECK 43, e
	IPI $V_MID, $0x77
	QUIET
	ACHECK_EQ 44, log_len, $2
	cli
	ACHECK_EQ 46, spurious, $0
	ret

/* ---- TSC-deadline ---- */
deadline:
	mov $1, %eax
	cpuid
	test $CPUID_DEADLINE, %ecx
	jnz 1f
	lea msg_no_deadline, %rsi
	jmp puts
1:	LOG_CLEAR
	APIC_WR REG_TIMER, $(LVT_DEADLINE | V_DEADLINE)
	sti
	mfence
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	add $6000000, %rax
	mov %rax, %rbx
	mov %rax, %rdx
	shr $32, %rdx
	mov $MSR_TSC_DEADLINE, %ecx
	wrmsr
	AWAIT 102, log_len, ae, $1
	cmp %rbx, seen_tsc
	CHECK 103, ae
	mov $MSR_TSC_DEADLINE, %ecx
	rdmsr
	or %edx, %eax
	CHECK 103, z
	QUIET
	cmpl $1, log_len
	CHECK 102, e
	/* past */
	LOG_CLEAR
	WRMSR_IMM MSR_TSC_DEADLINE, 0, 1
	AWAIT 104, log_len, ae, $1
	mov $MSR_TSC_DEADLINE, %ecx
	rdmsr
	or %edx, %eax
	CHECK 104, z
	/* far away, read back, then disarmed */
	WRMSR_IMM MSR_TSC_DEADLINE, 0x7fffffff, 0x12345678
	rdmsr
	cmp $0x12345678, %eax
	CHECK 104, e
	cmp $0x7fffffff, %edx
	CHECK 104, e
	WRMSR_IMM MSR_TSC_DEADLINE, 0, 0
	/* the counter is not used in this mode */
	APIC_WR REG_INITIAL, $1000
	APIC_RD REG_CURRENT
	test %eax, %eax
	CHECK 104, z
	QUIET
	cmpl $1, log_len
	CHECK 104, e
	/* nor the MSR in the others */
	APIC_WR REG_TIMER, $V_TIMER
	WRMSR_IMM MSR_TSC_DEADLINE, 0, 1
	rdmsr
	or %edx, %eax
	CHECK 104, z
	QUIET
	cmpl $1, log_len
	CHECK 104, e
	cli
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
	ret

	.data
msg_no_deadline: .asciz "apic: no TSC-deadline here, not tested\n"
	.bss
	.align 8
seen_tsc: .skip 8
seen_isr: .skip 4
seen_isr2: .skip 4
seen_irr: .skip 4
seen_tmr: .skip 4
seen_ppr: .skip 4
seen_ppr2: .skip 4
seen_nest: .skip 4
spurious: .skip 4
m_c: .skip 4
m_t: .skip 4
	.text
