/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip - 8259 pair, 8254, IOAPIC, and HLT (82093AA, 8259A and 8254 data sheets).
 *
 *  1 NMI by IOAPIC wakes HLT with IF clear
 *  2 IRR of the PIC while masked  3 nothing comes while IMR has it  4 timer through PIC and LINT0  5 its vector
 *  6 ISR bit in the handler  7 none more without EOI  8 then goes on  9 mode 0: one interrupt  10 count falls
 *  11 LINT0 masked holds INTR  12 and lets it in when unmasked  13 slave: RTC by the cascade  14 both ISRs
 *  15 read-back status  16 PIC: the higher of two comes first
 *  17 IOAPIC has 24 pins  18 RTE keeps what is written  19 edge: timer on pin 2  20 masked: none  21 TMR clear
 *  22 level: UART comes on pin 4  23 Remote IRR while in service  24 TMR bit set  25 again after EOI while the line is
 *  up  26 not without EOI  27 Remote IRR clear at the end  28 unmasking with the line up sends  29 edge with
 *  the line staying up: one  30 logical destination  31 to an APIC that is not there: nothing
 *  32 HLT ends with each interrupt, RIP behind it  33 IF clear in the saved flags never happens there
 *  34 the line goes down and up in service: not sent again before EOI
 *
 * For flat.sh: modes: reference,translate
 */
#include "flat.h"
#include "flat_apic.h"

hook_pic: /* keeps what the PIC's ISR says */
	mov $0x0b, %al
	out %al, $0x20
	in $0x20, %al
	mov %al, seen_isr
	mov $0x0a, %al
	out %al, $0x20
	call log_it
	cmpl $0, no_eoi
	jne 1f
	mov $0x20, %al
	out %al, $0x20
1:	ret

hook_rtc:
	mov $0x0b, %al
	out %al, $0x20
	out %al, $0xa0
	in $0x20, %al
	mov %al, seen_isr
	in $0xa0, %al
	mov %al, seen_isr + 1
	mov $0x0a, %al
	out %al, $0x20
	out %al, $0xa0
	call log_it
	mov $0x0c, %al
	out %al, $0x70
	in $0x71, %al
	mov $0x20, %al
	out %al, $0xa0
	out %al, $0x20
	ret

hook_level:
	call log_it
	mov $IOAPIC_BASE, %ecx
	mov (%rcx), %ebx /* main may be between selecting a register and its use */
	IOAPIC_RD 0x18
	mov %eax, seen_rte
	mov $IOAPIC_BASE, %ecx
	mov %ebx, (%rcx)
	mov FR_VEC(%rdi), %eax
	mov $REG_TMR, %ecx
	call apic_bit
	mov %eax, seen_tmr
	mov log_len, %eax
	cmp level_rounds, %eax
	jb 1f
	call uart_quiet
1:	cmpl $0, no_eoi
	je apic_eoi
	ret

hook_hlt:
	lea hlt_next, %rax
	cmp %rax, FR_RIP(%rdi)
	je 1f
	incl bad_rip
1:	testl $RFLAGS_IF, FR_RFLAGS(%rdi)
	jnz 2f
	incl bad_flags
2:	incl log_len
	jmp apic_eoi

hook_nmi:
	jmp log_it

uart_quiet:
	mov $0x3f9, %edx
	xor %eax, %eax
	out %al, %dx
	ret
uart_up: /* "holding register empty" raises the line */
	OUTB 0x3fc, 0x0b
	OUTB 0x3f9, 0x02
	ret

main:
	call apic_on

	/* ---- PIC and PIT ---- */
	PIT_OFF
	OUTB 0x20, 0x11
	OUTB 0x21, 0x20
	OUTB 0x21, 0x04
	OUTB 0x21, 0x01
	OUTB 0xa0, 0x11
	OUTB 0xa1, 0x28
	OUTB 0xa1, 0x02
	OUTB 0xa1, 0x01
	OUTB 0x21, 0xff
	OUTB 0xa1, 0xff
	HOOK 0x20, hook_pic
	HOOK 0x28, hook_rtc
	ROUTE 2, $LVT_MASKED
	ROUTE 0, $LVT_MASKED
	APIC_WR REG_LINT0, $0x700
	LOG_CLEAR
	PIT 0, 0x1000
	sti
	mov $100000000, %ebx
1:	in $0x20, %al
	test $1, %al
	jnz 2f
	dec %ebx
	jnz 1b
2:	test %ebx, %ebx
	CHECK 2, nz
	QUIET
	cmpl $0, log_len
	CHECK 3, e
	OUTB 0x21, 0xfe
	AWAIT 9, log_len, ae, $1
	QUIET
	cmpl $1, log_len
	CHECK 9, e
	cmpb $0x20, irq_log
	CHECK 5, e
	testb $1, seen_isr
	CHECK 6, nz

	LOG_CLEAR
	PIT 2, 1193
	AWAIT 4, log_len, ae, $5
	OUTB 0x43, 0x00 /* latch */
	in $0x40, %al
	mov %al, %bl
	in $0x40, %al
	mov %al, %bh
	mov $100000000, %ebp
1:	OUTB 0x43, 0x00
	in $0x40, %al
	mov %al, %cl
	in $0x40, %al
	mov %al, %ch
	cmp %cx, %bx
	jne 2f
	dec %ebp
	jnz 1b
2:	test %ebp, %ebp
	CHECK 10, nz
	movzx %cx, %ecx
	cmp $1193, %ecx
	CHECK 10, be
	OUTB 0x43, 0xe2 /* read-back, status of channel 0 */
	in $0x40, %al
	and $0x3f, %al
	cmp $0x34, %al
	CHECK 15, e

	cli
	movl $1, no_eoi
	LOG_CLEAR
	sti
	AWAIT 7, log_len, ae, $1
	mov $100000000, %ebx
1:	in $0x20, %al
	test $1, %al
	jnz 2f
	dec %ebx
	jnz 1b
2:	test %ebx, %ebx
	CHECK 7, nz
	QUIET
	cmpl $1, log_len
	CHECK 7, e
	cli
	movl $0, no_eoi
	OUTB 0x20, 0x20
	sti
	AWAIT 8, log_len, ae, $4
	cli
	PIT_OFF
	sti
	nop
	QUIET
	cli

	/* LINT0 */
	APIC_WR REG_LINT0, $(LVT_MASKED | 0x700)
	LOG_CLEAR
	PIT 0, 0x100
	sti
	QUIET
	cmpl $0, log_len
	CHECK 11, e
	APIC_WR REG_LINT0, $0x700
	cmpb $0, is_kvm /* it sees the unmasked LINT0 when something else has happened: here INTR falling and rising */
	je 1f
	OUTB 0x21, 0xff
	OUTB 0x21, 0xfe
1:	AWAIT 12, log_len, ae, $1
	cli

	/* The slave, and which of two comes first */
	LOG_CLEAR
	OUTB 0x21, 0xff
	OUTB 0xa1, 0xfe
	PIT 0, 0x100
	OUTB 0x70, 0x8a /* 1024 Hz */
	OUTB 0x71, 0x26
	OUTB 0x70, 0x8b
	in $0x71, %al
	or $0x40, %al
	mov %al, %bl
	OUTB 0x70, 0x8b
	mov %bl, %al
	out %al, $0x71
	OUTB 0x70, 0x0c
	in $0x71, %al
	mov $100000000, %ebx
1:	in $0xa0, %al
	mov %al, %cl
	in $0x20, %al
	and $1, %al
	and %al, %cl
	jnz 2f
	dec %ebx
	jnz 1b
2:	test %ebx, %ebx
	CHECK 13, nz
	OUTB 0x21, 0xfa
	sti
	AWAIT 13, log_len, ae, $4
	cli
	cmpb $0x20, irq_log
	CHECK 16, e
	cmpb $0x28, irq_log + 1
	CHECK 13, e
	cmpw $0x0104, seen_isr
	CHECK 14, e
	OUTB 0x70, 0x8b
	in $0x71, %al
	and $~0x40, %al
	mov %al, %bl
	OUTB 0x70, 0x8b
	mov %bl, %al
	out %al, $0x71
	OUTB 0x70, 0x0c
	in $0x71, %al
	sti
	QUIET
	cli
	OUTB 0x21, 0xff
	OUTB 0xa1, 0xff
	APIC_WR REG_LINT0, $LVT_MASKED

	/* ---- IOAPIC ---- */
	IOAPIC_RD 1
	shr $16, %eax
	cmp $23, %al
	CHECK 17, e
	IOAPIC_WR 0x1a, $(LVT_MASKED | 0xa0b9) /* pin 5: level, active low, lowest priority.. */
	IOAPIC_RD 0x1a
	cmp $(LVT_MASKED | 0xa0b9), %eax
	CHECK 18, e
	IOAPIC_WR 0x1b, $0x03000000
	IOAPIC_RD 0x1b
	cmp $0x03000000, %eax
	CHECK 18, e
	IOAPIC_WR 0x1a, $LVT_MASKED

	HOOK 0x60, hook_level
	LOG_CLEAR
	ROUTE 2, $0x60
	movl $-1, level_rounds
	PIT 2, 1193
	sti
	AWAIT 19, log_len, ae, $4
	cmpl $0, seen_tmr
	CHECK 21, e
	IOAPIC_WR 0x14, $(LVT_MASKED | 0x60)
	QUIET
	LOG_CLEAR
	QUIET
	cmpl $0, log_len
	CHECK 20, e
	cli
	PIT_OFF

	/* NMI by pin 2 wakes HLT although IF is clear. */
	HOOK 2, hook_nmi
	LOG_CLEAR
	ROUTE 2, $ICR_NMI
	PIT 2, 23860
	hlt
	cmpl $1, log_len
	CHECK 1, ae
	hlt
	cmpl $2, log_len
	CHECK 1, ae
	PIT_OFF
	IOAPIC_WR 0x14, $LVT_MASKED
	QUIET

	/* Level: the UART */
	call uart_quiet
	INB 0x3fa
	HOOK 0x61, hook_level
	LOG_CLEAR
	movl $3, level_rounds
	ROUTE 4, $0x8061
	sti
	QUIET
	cmpl $0, log_len
	CHECK 22, e
	call uart_up
	AWAIT 22, log_len, ae, $1
	AWAIT 25, log_len, ae, $3
	testl $0x4000, seen_rte
	CHECK 23, nz
	cmpl $1, seen_tmr
	CHECK 24, e
	QUIET
	cmpl $3, log_len
	CHECK 27, e
	IOAPIC_RD 0x18
	test $0x4000, %eax
	CHECK 27, z

	cli
	LOG_CLEAR
	movl $1, no_eoi
	movl $-1, level_rounds
	sti
	call uart_up
	AWAIT 26, log_len, ae, $1
	QUIET
	cmpl $1, log_len
	CHECK 26, e
	cli
	IOAPIC_RD 0x18
	test $0x4000, %eax
	CHECK 26, nz
	call uart_quiet
	call uart_up
	BIT_OF REG_IRR, 0x61
	CHECK 34, z
	movl $0, no_eoi
	movl $2, level_rounds
	call apic_eoi
	sti
	AWAIT 26, log_len, ae, $2
	QUIET
	cmpl $2, log_len
	CHECK 27, e
	cli

	/* Unmask with the line up */
	LOG_CLEAR
	movl $1, level_rounds
	ROUTE 4, $(LVT_MASKED | 0x8061)
	call uart_up
	sti
	QUIET
	cmpl $0, log_len
	CHECK 28, e
	ROUTE 4, $0x8061
	AWAIT 28, log_len, ae, $1
	QUIET
	cmpl $1, log_len
	CHECK 28, e

	/* Edge with a line that stays up */
	INB 0x3fa
	LOG_CLEAR
	movl $-1, level_rounds
	ROUTE 4, $0x61
	call uart_up
	AWAIT 29, log_len, ae, $1
	QUIET
	cmpl $1, log_len
	CHECK 29, e
	call uart_quiet
	INB 0x3fa

	/* Logical destination, and one that nobody has */
	cli
	LOG_CLEAR
	movl $1, level_rounds
	APIC_WR REG_DFR, $0xffffffff
	APIC_WR REG_LDR, $0x20000000
	IOAPIC_WR 0x19, $0x60000000
	IOAPIC_WR 0x18, $0x8861
	sti
	call uart_up
	AWAIT 30, log_len, ae, $1
	QUIET
	cmpl $1, log_len
	CHECK 30, e
	LOG_CLEAR
	IOAPIC_WR 0x19, $0x40000000
	call uart_up
	QUIET
	cmpl $0, log_len
	CHECK 31, e
	call uart_quiet
	INB 0x3fa
	cli
	IOAPIC_WR 0x18, $LVT_MASKED

	/* ---- HLT ---- */
	HOOK 0x62, hook_hlt
	LOG_CLEAR
	movl $0, bad_rip
	ROUTE 2, $0x62
	PIT 2, 11930
	mov $5, %ebx
1:	mov log_len, %ebp
	sti
	hlt
hlt_next:
	cli
	cmp log_len, %ebp
	CHECK 32, b
	dec %ebx
	jnz 1b
	PIT_OFF
	cmpl $0, bad_rip
	CHECK 32, e
	cmpl $0, bad_flags
	CHECK 33, e

	xor %edi, %edi
	jmp exit

	.bss
	.align 8
no_eoi: .skip 4
seen_isr: .skip 4
seen_rte: .skip 4
seen_tmr: .skip 4
level_rounds: .skip 4
bad_rip: .skip 4
bad_flags: .skip 4
	.text
