/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupts - gates, the interrupt flag and its shadows, interrupts of CPL 3, NMI (SDM vol. 3 ch. 6).
 *
 *  1 interrupt gate clears IF  2 trap gate keeps it  3 IRET brings IF back  4 a handler runs without NT; 5 the
 *  frame has it  6 IRET with NT is #GP in IA-32e mode  7 gate of a type that is none: #GP(n*8+2)  8 null selector:
 *  #GP(0)  9 data segment: #GP(selector)  10 32-bit code segment  11 vector beyond the IDT's limit: #GP(n*8+2)
 *  12 the same for an external interrupt: EXT is set  13 and RIP is of the instruction not yet run  14 self-IPI does
 *  not arrive while IF is clear  15 sti: one more instruction runs  16 sti, cli: nothing arrives  17 popf has no shadow
 *  18 nor has IRET: RIP of the target  19 MOV SS holds a single-step trap back by one instruction
 *  20 no timer interrupt between MOV SS and what follows  21 interrupts inside that loop did come
 *  22 sti; hlt wakes for what was pending  23 popf at CPL 3 leaves IF  24 sti at CPL 3: #GP  25 IOPL 3 allows it
 *  26 interrupt of CPL 3: frame's CS, SS  27 RSP0 is used  28 IRET to CPL 3 goes on
 *  29 NMI with IF clear  30 a second one waits for IRET  31 then comes at the same RIP  32 two waiting are one
 *  33 IRET of an exception inside the handler lets it in  34 NMI does not change IF seen after it
 *
 * For flat.sh: modes: reference,translate
 * Known of QEMU's TCG, and not checked there: 7, 11 the error code has n*16; 12 that and
 * EXT is missing; 20 sometimes one does come.
 */
#include "flat.h"
#include "flat_apic.h"

#define VEC 0x50 /* for self-IPIs */

hook_flags: /* the handler's own RFLAGS and the saved ones */
	pushf
	pop %rax
	mov %rax, seen_flags
	mov FR_RFLAGS(%rdi), %rax
	mov %rax, log_rflags
	ret

hook_frame:
	mov %rdi, seen_frame
	mov FR_CS(%rdi), %rax
	mov %rax, seen_cs
	mov FR_SS(%rdi), %rax
	mov %rax, seen_ss
	call log_it
	jmp apic_eoi

hook_nmi: call log_it
	incl nmi_depth
	mov nmi_depth, %eax
	cmp %eax, nmi_deepest
	jae 1f
	mov %eax, nmi_deepest
1:	mov FR_RIP(%rdi), %rax
	mov nmi_rip, %rcx
	mov %rcx, nmi_rip_before
	mov %rax, nmi_rip
	mov nmi_resend, %ebx
	movl $0, nmi_resend
	test %ebx, %ebx
	jz 3f
2:	IPI_SELF ICR_NMI
	DELAY_TSC 100000
	dec %ebx
	jnz 2b
3:	cmpl $0, nmi_fault
	je 4f
	movl $0, nmi_fault
	TRY 5f
	ud2
5:	movq $0, exc_resume
	nop
4:	decl nmi_depth
	ret

hook_step:
	mov FR_RIP(%rdi), %rax
	mov %rax, log_rip
	incl log_len
	andq $~0x100, FR_RFLAGS(%rdi)
	ret

hook_movss:
	lea movss_next, %rax
	cmp %rax, FR_RIP(%rdi)
	jne 1f
	incl bad_rip
1:	lea movss_loop, %rax
	cmp %rax, FR_RIP(%rdi)
	jb 2f
	lea movss_end, %rax
	cmp %rax, FR_RIP(%rdi)
	ja 2f
	incl log_len
2:	jmp apic_eoi

main:
	call apic_on

	/* ---- gates ---- */
	HOOK 0x70, hook_flags
	HOOK 0x71, hook_flags
	movb $0x8f, idt + 0x71 * 16 + 5 /* trap gate */
	APIC_WR REG_TPR, $0xff /* nobody disturbs */
	sti
	int $0x70
	testl $RFLAGS_IF, seen_flags
	CHECK 1, z
	testl $RFLAGS_IF, log_rflags
	CHECK 3, nz
	pushf
	testl $RFLAGS_IF, (%rsp)
	pop %rax
	CHECK 3, nz
	int $0x71
	testl $RFLAGS_IF, seen_flags
	CHECK 2, nz
	cli
	pushq $0x4002 /* NT */
	popf
	int $0x70
	pushq $2
	popf
	testl $0x4000, seen_flags
	CHECK 4, z
	testl $0x4000, log_rflags
	CHECK 5, nz
	TRY 1f
	mov %rsp, %r14
	pushq $DATA64
	push %r14
	pushq $2
	pushq $CODE64
	pushq $1f
	pushq $0x4002
	popf
	iretq
1:	pushq $2
	popf
	CHECK_EXC_ERR 6, 13, 0
	mov %r14, %rsp

	movb $0x85, idt + 0x70 * 16 + 5 /* task gate */
	TRY 1f
	int $0x70
1:	CHECK_EXC 7, 13
	CHECK_ERR_HW 7, (0x70 * 8 + 2)
	movb $0x86, idt + 0x70 * 16 + 5 /* 16-bit interrupt gate */
	TRY 1f
	int $0x70
1:	CHECK_EXC 7, 13
	CHECK_ERR_HW 7, (0x70 * 8 + 2)
	movb $0x8e, idt + 0x70 * 16 + 5
	movw $0, idt + 0x70 * 16 + 2
	TRY 1f
	int $0x70
1:	CHECK_EXC_ERR 8, 13, 0
	movw $DATA64, idt + 0x70 * 16 + 2
	TRY 1f
	int $0x70
1:	CHECK_EXC_ERR 9, 13, DATA64
	movw $CODE32, idt + 0x70 * 16 + 2
	TRY 1f
	int $0x70
1:	CHECK_EXC_ERR 10, 13, CODE32
	movw $CODE64, idt + 0x70 * 16 + 2
	movw $0x50 * 16 + 14, short_idt /* vector 0x50 less one byte */
	lidt short_idt
	TRY 1f
	int $0x50
1:	CHECK_EXC 11, 13
	CHECK_ERR_HW 11, (0x50 * 8 + 2)
	APIC_WR REG_TPR, $0
	HOOK VEC, hook_log
	IPI_SELF VEC
	PENDING 14, VEC
	TRY 1f
	pushf
	orl $RFLAGS_IF, (%rsp)
	popf
ext_insn:
	nop
1:	cli
	lidt idt_ptr
	CHECK_EXC 12, 13
	CHECK_ERR_HW 12, (VEC * 8 + 3)
	cmpq $ext_insn, exc_rip
	CHECK 13, e
	call apic_eoi

	/* ---- IF and shadows ---- */
	LOG_CLEAR
	IPI_SELF VEC
	PENDING 14, VEC
	nop
	nop
	ACHECK_EQ 14, log_len, $0
	sti
	nop
sti_next:
	nop
	cli
	cmpl $1, log_len
	CHECK 15, e
	cmpq $sti_next, log_rip
	CHECK 15, e
	testl $RFLAGS_IF, log_rflags
	CHECK 15, nz

	LOG_CLEAR
	IPI_SELF VEC
	PENDING 16, VEC
	mov $1000, %ebx
1:	sti
	cli
	dec %ebx
	jnz 1b
	cmpl $0, log_len
	CHECK 16, e
	pushf
	pushf
	orl $RFLAGS_IF, (%rsp)
	popf
popf_next:
	nop
	popf
	cmpl $1, log_len
	CHECK 17, e
	cmpq $popf_next, log_rip
	CHECK 17, e

	LOG_CLEAR
	IPI_SELF VEC
	PENDING 18, VEC
	mov %rsp, %r14
	pushq $DATA64
	push %r14
	pushq $0x202
	pushq $CODE64
	pushq $iret_next
	iretq
	nop
iret_next:
	nop
	cli
	cmpl $1, log_len
	CHECK 18, e
	cmpq $iret_next, log_rip
	CHECK 18, e

	/* MOV SS and the trap flag */
	HOOK 1, hook_step
	LOG_CLEAR
	mov $DATA64, %eax
	pushf
	orl $0x100, (%rsp)
	popf
	mov %eax, %ss
	nop
step_next:
	nop
	UNHOOK 1
	cmpl $1, log_len
	CHECK 19, e
	cmpq $step_next, log_rip
	CHECK 19, e

	/* MOV SS and interrupts: a fast periodic timer, until 20 have come inside the loop */
	HOOK 0x51, hook_movss
	LOG_CLEAR
	APIC_WR REG_DIVIDE, $0xb
	APIC_WR REG_TIMER, $(LVT_PERIODIC | 0x51)
	APIC_WR REG_INITIAL, $150000
	mov $2000000000, %ecx
	mov $DATA64, %eax
	sti
movss_loop:
	mov %eax, %ss
movss_next:
	nop
	mov %eax, %ss
	cmpl $20, log_len
	jae movss_end
	dec %ecx
	jnz movss_loop
movss_end:
	cli
	APIC_WR REG_INITIAL, $0
	APIC_WR REG_TIMER, $LVT_MASKED
	cmpl $0, bad_rip
	CHECK_HW 20, e
	cmpl $20, log_len
	CHECK 21, ae
	sti /* one may be on its way */
	nop
	nop
	cli

	LOG_CLEAR
	IPI_SELF VEC
	PENDING 22, VEC
	sti
	hlt
hlt1_next:
	cli
	cmpl $1, log_len
	CHECK 22, e
	cmpq $hlt1_next, log_rip
	CHECK 22, e

	/* ---- CPL 3 ---- */
	call pages_user
	TRY 1f
	TO_USER 2f
2:	pushq $2
	popf
	pushf
	pop %rbx
	int $0x80
1:	cli
	CHECK_EXC 23, 0x80
	test $RFLAGS_IF, %ebx
	CHECK 23, nz
	TRY 1f
	TO_USER 2f
2:	sti
1:	cli
	CHECK_EXC_ERR 24, 13, 0
	TRY 1f
	TO_USER 2f, flags=0x3202
2:	cli
	pushf
	pop %rbx
	sti
	pushf
	pop %rcx
	int $0x80
1:	cli
	pushq $2
	popf
	CHECK_EXC 25, 0x80
	test $RFLAGS_IF, %ebx
	CHECK 25, z
	test $RFLAGS_IF, %ecx
	CHECK 25, nz

	LOG_CLEAR
	HOOK VEC, hook_frame
	IPI_SELF VEC
	PENDING 26, VEC
	xor %ebx, %ebx
	TRY 1f
	TO_USER 2f
2:	inc %ebx
	int $0x80
1:	cli
	CHECK_EXC 28, 0x80
	cmpl $1, log_len
	CHECK 26, e
	cmpq $USER_CODE64, seen_cs
	CHECK 26, e
	cmpq $USER_DATA, seen_ss
	CHECK 26, e
	cmpq $2b, log_rip
	CHECK 26, e
	mov seen_frame, %rax
	add $FR_SS + 8, %rax
	cmp $rsp0_top, %rax
	CHECK 27, e
	cmp $1, %ebx
	CHECK 28, e
	HOOK VEC, hook_log

	/* ---- NMI ---- */
	HOOK 2, hook_nmi
	LOG_CLEAR
	IPI_SELF ICR_NMI
	AWAIT 29, log_len, ae, $1
	pushf
	pop %rax
	test $RFLAGS_IF, %eax
	CHECK 34, z

	LOG_CLEAR
	movl $1, nmi_resend
	IPI_SELF ICR_NMI
	AWAIT 30, log_len, ae, $2
	QUIET
	cmpl $1, nmi_deepest
	CHECK 30, e
	mov nmi_rip, %rax
	cmp nmi_rip_before, %rax
	CHECK 31, e

	LOG_CLEAR
	movl $3, nmi_resend
	IPI_SELF ICR_NMI
	AWAIT 32, log_len, ae, $2
	QUIET
	cmpl $2, log_len
	CHECK 32, e
	cmpl $1, nmi_deepest
	CHECK 32, e

	LOG_CLEAR
	movl $1, nmi_resend
	movl $1, nmi_fault
	IPI_SELF ICR_NMI
	AWAIT 33, log_len, ae, $2
	cmpl $2, nmi_deepest
	CHECK 33, e

	xor %edi, %edi
	jmp exit

	.bss
	.align 8
seen_flags: .skip 8
seen_frame: .skip 8
seen_cs: .skip 8
seen_ss: .skip 8
nmi_rip: .skip 8
nmi_rip_before: .skip 8
nmi_depth: .skip 4
nmi_deepest: .skip 4
nmi_resend: .skip 4
nmi_fault: .skip 4
bad_rip: .skip 4
	.data
	.align 16
short_idt:
	.word 0
	.quad idt
	.text
