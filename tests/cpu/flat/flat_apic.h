/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * flat_apic.h - interrupt controllers and waiting, for flat guests. Include it behind flat.h.
 *
 * Theory of operation. The local APIC is reached by memory or by MSR, as the flag `x2apic` says; the register
 * is named by its number, which is offset >> 4 and MSR - 0x800 (SDM vol. 3 table 11-6). Everything here
 * clobbers rax, rcx and rdx and nothing else; AWAIT r15 too.
 *
 *   APIC_RD reg              eax (x2APIC ICR: edx too)
 *   APIC_WR reg, value       value: an immediate with $, or anything a MOV to EAX takes but rcx
 *   IOAPIC_RD reg, IOAPIC_WR reg, value   the same with the IOAPIC's registers
 *   ROUTE pin, low           a redirection entry to this processor
 *   OUTB port, value; INB port; PIT mode, count; PIT_OFF (channel 0)
 *   IPI low, dest            sends: low word of ICR, APIC id (an immediate with $ or a register but eax, ecx)
 *   IPI_SELF vector          to the own id, by physical destination
 *   AWAIT n, what, cc, value until `cmp value, what` (dword) gives cc; else fails with n: bounded, some seconds
 *   DELAY_TSC ticks          that long at least
 *   CHECK_GP n, insn...      the rest is one instruction, which must give #GP(0)
 *   BIT_OF reg, vector       ZF, eax: a bit of REG_IRR, REG_ISR, REG_TMR
 *   PENDING n, vector        waits until the vector is in IRR, with IF clear; else fails with n
 *   NEED_X2APIC n, guest, label   without x2APIC a line that says so, and on at the label: which only QEMU's TCG may need, else
 *                            fails with n. Clobbers ebx, rsi and rdi, too
 *
 * Failures go to apic_fail, which adds fail_base to the number, so that one list of checks can be run in
 * several settings.
 *
 * Every wait tells a lost event from a slow machine only by its bound; what must *not* happen is given a while
 * (QUIET), and a machine that is slow then can only hide a mistake, not make one up.
 */
#define APIC_BASE 0xfee00000
#define IOAPIC_BASE 0xfec00000

#define REG_ID 0x02
#define REG_VERSION 0x03
#define REG_TPR 0x08
#define REG_PPR 0x0a
#define REG_EOI 0x0b
#define REG_LDR 0x0d
#define REG_DFR 0x0e
#define REG_SVR 0x0f
#define REG_ISR 0x10
#define REG_TMR 0x18
#define REG_IRR 0x20
#define REG_ESR 0x28
#define REG_ICR 0x30
#define REG_ICR2 0x31
#define REG_TIMER 0x32
#define REG_THERMAL 0x33
#define REG_LINT0 0x35
#define REG_LINT1 0x36
#define REG_ERROR 0x37
#define REG_INITIAL 0x38
#define REG_CURRENT 0x39
#define REG_DIVIDE 0x3e
#define REG_SELF_IPI 0x3f

#define LVT_MASKED 0x10000
#define LVT_PERIODIC 0x20000
#define LVT_DEADLINE 0x40000
#define ICR_NMI 0x400
#define ICR_INIT 0x500
#define ICR_SIPI 0x600
#define ICR_LOGICAL 0x800
#define ICR_BUSY 0x1000
#define ICR_ASSERT 0x4000
#define ICR_SELF 0x40000
#define ICR_ALL 0x80000
#define ICR_OTHERS 0xc0000

#define RFLAGS_IF 0x200
#define CPUID_X2APIC (1 << 21)

#define AWAIT_LOOPS 100000000
#define QUIET_TICKS 8000000

	.macro APIC_RD reg
	mov $\reg, %ecx
	call apic_read
	.endm

	.macro APIC_WR reg, value
	mov \value, %eax
	mov $\reg, %ecx
	call apic_write
	.endm

	.macro IPI low, dest
	mov \dest, %edx
	mov \low, %eax
	call apic_ipi
	.endm

	.macro IPI_SELF vector
	mov my_id, %edx
	mov $\vector, %eax
	call apic_ipi
	.endm

	.macro ACHECK n, cc
	j\cc .Lok\@
	btl $(\n & 31), forgiven + \n / 32 * 4
	jc .Lok\@
	mov $\n, %edi
	jmp apic_fail
.Lok\@:
	.endm

	/* As CHECK_HW in flat.h: known to be wrong in QEMU's TCG. */
	.macro ACHECK_HW n, cc
	j\cc .Lhw\@
	cmpl $0, is_tcg
	ACHECK \n, ne
.Lhw\@:
	.endm

	.macro ACHECK_EQ n, what, value
	cmpl \value, \what
	ACHECK \n, e
	.endm

	.macro AWAIT n, what, cc, value
	mov $AWAIT_LOOPS, %r15d
.Lwait\@:
	cmpl \value, \what
	j\cc .Lgot\@
	pause
	dec %r15d
	jnz .Lwait\@
	btl $(\n & 31), forgiven + \n / 32 * 4
	jc .Lgot\@
	mov $\n, %edi
	jmp apic_fail
.Lgot\@:
	.endm

	.macro DELAY_TSC ticks
	mov $\ticks, %eax
	call delay_tsc
	.endm

	.macro QUIET
	DELAY_TSC QUIET_TICKS
	.endm

	.macro CHECK_GP n, insn:vararg
	TRY .Lgp\@
	\insn
.Lgp\@:
	movq $0, exc_resume
	cmpq $13, exc_vector
	ACHECK \n, e
	cmpq $0, exc_error
	ACHECK \n, e
	.endm

	.macro BIT_OF reg, vector
	mov $\vector, %eax
	mov $\reg, %ecx
	call apic_bit
	.endm

	.macro PENDING n, vector
	mov $\vector, %eax
	call wait_irr
	ACHECK \n, nz
	.endm

	.macro NEED_X2APIC n, guest, label
	mov $1, %eax
	cpuid
	test $CPUID_X2APIC, %ecx
	jnz .Lx2\@
	lea .Lno_x2\@, %rsi
	call puts
	cmpl $0, is_tcg
	CHECK \n, ne
	jmp \label
	.pushsection .data
.Lno_x2\@: .asciz "\guest: no x2APIC here, not tested\n"
	.popsection
.Lx2\@:
	.endm

	.macro IOAPIC_RD reg
	mov $IOAPIC_BASE, %ecx
	movl $\reg, (%rcx)
	mov 16(%rcx), %eax
	.endm
	.macro IOAPIC_WR reg, value
	mov \value, %eax
	mov $IOAPIC_BASE, %ecx
	movl $\reg, (%rcx)
	mov %eax, 16(%rcx)
	.endm

	/* Redirection entry: low word, to this processor. */
	.macro ROUTE pin, low
	mov my_id, %eax
	shl $24, %eax
	IOAPIC_WR (0x11 + 2 * \pin), %eax
	IOAPIC_WR (0x10 + 2 * \pin), \low
	.endm
	.macro OUTB port, value
	mov $\value, %al
	mov $\port, %edx
	out %al, %dx
	.endm
	.macro INB port
	mov $\port, %edx
	in %dx, %al
	.endm
	/* PIT channel 0: mode, count. */
	.macro PIT mode, count
	OUTB 0x43, (0x30 | (\mode) << 1)
	OUTB 0x40, ((\count) & 0xff)
	OUTB 0x40, ((\count) >> 8)
	.endm
	.macro PIT_OFF
	OUTB 0x43, 0x30 /* mode 0 without a count */
	.endm

	.text
	/* ecx: register. Returns eax. */
apic_read:
	cmpl $0, x2apic(%rip)
	jne 1f
	shl $4, %ecx
	mov $APIC_BASE, %eax
	mov (%rax, %rcx), %eax
	ret
1:	add $0x800, %ecx
	rdmsr
	ret

	/* ecx: register, eax: value. Not for the ICR. */
apic_write:
	cmpl $0, x2apic(%rip)
	jne 1f
	shl $4, %ecx
	mov $APIC_BASE, %edx
	mov %eax, (%rdx, %rcx)
	ret
1:	add $0x800, %ecx
	xor %edx, %edx
	wrmsr
	ret

	/* eax: low word of the ICR, edx: APIC id of the destination. */
apic_ipi:
	cmpl $0, x2apic(%rip)
	jne 2f
	mov $APIC_BASE, %ecx
1:	testl $ICR_BUSY, 0x300(%rcx)
	jnz 1b
	shl $24, %edx
	mov %edx, 0x310(%rcx)
	mov %eax, 0x300(%rcx)
	ret
2:	mov $0x830, %ecx
	wrmsr
	ret

	/* End of interrupt. */
apic_eoi:
	xor %eax, %eax
	mov $REG_EOI, %ecx
	jmp apic_write

	/* eax: ticks to wait at least. */
delay_tsc:
	push %rbx
	mov %eax, %ebx
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	add %rax, %rbx
1:	pause
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	cmp %rbx, %rax
	jb 1b
	pop %rbx
	ret

	/* eax: vector, ecx: REG_IRR, REG_ISR, REG_TMR. Returns eax and ZF: is it set? */
apic_bit:
	push %rbx
	mov %eax, %ebx
	shr $5, %eax
	add %eax, %ecx
	call apic_read
	and $31, %ebx
	bt %ebx, %eax
	mov $0, %eax
	adc %eax, %eax
	pop %rbx
	test %eax, %eax
	ret

	/* eax: vector. Until it is in IRR; ZF set: it does not come. */
wait_irr:
	push %rbx
	push %rbp
	mov %eax, %ebx
	mov $5000000, %ebp
1:	mov %ebx, %eax
	mov $REG_IRR, %ecx
	call apic_bit
	jnz 2f
	pause
	dec %ebp
	jnz 1b
2:	pop %rbp
	pop %rbx
	ret

	/* edi: number. */
apic_fail:
	add fail_base(%rip), %edi
	jmp exit

	/* Software-enables the local APIC with spurious vector 0xff, accepts everything; my_id. For the first processor. */
apic_on:
	APIC_WR REG_SVR, $0x1ff
	APIC_WR REG_TPR, $0
	APIC_RD REG_ID
	cmpl $0, x2apic(%rip)
	jne 1f
	shr $24, %eax
1:	mov %eax, my_id(%rip)
	ret

	/* A handler that writes down its vector, RIP and RFLAGS, and ends the interrupt. */
hook_log:
	call log_it
	jmp apic_eoi
	/* The same without end of interrupt. */
hook_log_only:
log_it:
	mov log_len(%rip), %ecx
	mov FR_VEC(%rdi), %rax
	cmp $63, %ecx
	ja 1f
	mov %al, irq_log(%rcx)
1:	incl log_len(%rip)
	mov FR_RIP(%rdi), %rax
	mov %rax, log_rip(%rip)
	mov FR_RFLAGS(%rdi), %rax
	mov %rax, log_rflags(%rip)
	ret

	.macro LOG_CLEAR
	movl $0, log_len
	movq $0, irq_log
	.endm

	.bss
	.align 8
log_rip: .skip 8
log_rflags: .skip 8
x2apic: .skip 4
fail_base: .skip 4
my_id: .skip 4
log_len: .skip 4
irq_log: .skip 64
	.text
