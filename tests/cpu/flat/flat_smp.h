/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flat_smp.h - start-up of the other processors, and work for a team of them. Behind flat_apic.h.
 *
 * SMP_CPUS processors (2; -DSMP_CPUS=4 makes it 4, at most 8), the machine has at least as many; APIC ids from 0.
 *
 *   call smp_start        starts them all by INIT and two start-up IPIs (SDM vol. 3 §9.4), with checks:
 *     1 every processor starts  2 its state at the first instruction: CS, DS, SS, EFLAGS, CR0, CR4, EFER
 *     3 real mode: INT by the vector table, far call, string move  4 the second start-up IPI is ignored
 *     5 APIC id by CPUID and by register  6 not the boot processor  7 its APIC is as INIT leaves it
 *   ALL n, fn             all run fn, with r12d the own number; n when that does not end
 *   PAIR n, fn            the first two do
 *   call barrier          in fn: until the whole team is there
 *
 * A processor without work sleeps in HLT and is woken by vector V_WAKE. Functions keep r12, r13 and rsp.
 */
#ifndef SMP_CPUS
#define SMP_CPUS 2
#endif

#define TRAMP 0x8000
#define TRAMP2 0x9000
#define LOW_STACK 0x7000
#define LOW_COPY 0x6000
#define V_WAKE 0x30 /* look for work */

	/* All processors run fn, this one too; waits until they have. */
	.macro ALL n, fn
	movl $SMP_CPUS, team
	mov $\fn, %eax
	call run_team
	AWAIT \n, team_done, ge, $SMP_CPUS
	.endm
	/* This one and the first of the others. */
	.macro PAIR n, fn
	movl $2, team
	mov $\fn, %eax
	call run_team
	AWAIT \n, team_done, ge, $2
	.endm

/* ---- start-up: copied to TRAMP and TRAMP2 ---- */
	.code16
tramp:	mov %ds, %cs:t_ds - tramp
	mov %ss, %cs:t_ss - tramp
	mov %cs, %ax
	mov %ax, %ds
	mov %ax, t_cs - tramp
	xor %ax, %ax
	mov %ax, %ss
	mov $LOW_STACK, %sp
	mov %ax, %es
	pushfl
	popl t_flags - tramp
	mov %cr0, %eax
	mov %eax, t_cr0 - tramp
	mov %cr4, %eax
	mov %eax, t_cr4 - tramp
	mov $MSR_EFER, %ecx
	rdmsr
	mov %eax, t_efer - tramp
	lock incl t_starts - tramp
	int $0x60
	lcall $TRAMP >> 4, $t_far - tramp
	cld
	xor %si, %si
	mov $LOW_COPY, %di
	mov $(tramp_end - tramp), %cx
	rep movsb
	lgdtl t_gdt - tramp
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $CODE32, $ap_32

t_int:	incl %cs:t_ints - tramp
	iret
t_far:	incl %cs:t_calls - tramp
	lret

	.align 4
t_gdt:	.word gdt_end - gdt - 1
	.long gdt
	.align 4
t_cs:	.long 0
t_ds:	.long 0xffff
t_ss:	.long 0xffff
t_flags: .long 0
t_cr0:	.long 0
t_cr4:	.long 0xffff
t_efer:	.long 0xffff
t_starts: .long 0
t_ints:	.long 0
t_calls: .long 0
tramp_end:

	.code32
ap_32:	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $ap_64, %eax
	jmp to_long

	.code64
ap_64:	mov $1, %eax
	cpuid
	shr $24, %ebx
	mov %ebx, %r12d
	cmp $SMP_CPUS, %ebx
	ACHECK 5, b
	lea 1(%rbx), %eax
	shl $13, %eax
	lea ap_stacks(%rax), %rsp
	lidt idt_ptr
	call own_id
	cmp %r12d, %eax
	ACHECK 5, e
	mov $MSR_APIC_BASE, %ecx
	rdmsr
	test $0x100, %eax
	ACHECK 6, z
	APIC_RD REG_SVR
	cmp $0xff, %eax
	ACHECK 7, e
	APIC_RD REG_TIMER
	cmp $LVT_MASKED, %eax
	ACHECK 7, e
	call apic_set
	mov cmd_seq, %r13d
	lock incl ap_up
	/* Idle: look for work, and sleep. */
ap_idle:
	cli
	cmp cmd_seq, %r13d
	jne 1f
	sti
	hlt
	jmp ap_idle
1:	sti
	mov cmd_seq, %r13d
	cmp team, %r12d
	jae ap_idle
	mov cmd_fn, %rax
	call *%rax
	sti
	lock incl team_done
	jmp ap_idle

	/* eax: function; this processor is in the team, and is the first. */
run_team:
	mov %rax, cmd_fn
	push %rax
	movl $0, team_done
	mfence
	incl cmd_seq
	IPI $(ICR_OTHERS | V_WAKE), $0
	pop %rax
	xor %r12d, %r12d
	call *%rax
	lock incl team_done
	ret

apic_set: /* every processor's own */
	APIC_WR REG_SVR, $0x1ff
	APIC_WR REG_TPR, $0
	cmpl $0, x2apic
	jne 1f
	APIC_WR REG_DFR, $0xffffffff
	mov %r12d, %ecx
	mov $0x01000000, %ebx
	shl %cl, %ebx
	APIC_WR REG_LDR, %ebx
1:	ret

own_id: APIC_RD REG_ID
	cmpl $0, x2apic
	jne 1f
	shr $24, %eax
1:	ret

	/* Until the whole team is here. */
barrier:
	mov bar_gen, %edx
	mov $1, %eax
	lock xadd %eax, bar_count
	inc %eax
	cmp team, %eax
	jne 1f
	movl $0, bar_count
	incl bar_gen
	ret
1:	AWAIT EXC_TIMEOUT, bar_gen, ne, %edx
	ret

hook_eoi:
	jmp apic_eoi

	/* Starts processor ebx by the trampoline at page edi; ap_up becomes one more. */
start:
	mov ap_up, %esi
	inc %esi
	IPI $(ICR_INIT | ICR_ASSERT), %ebx
	DELAY_TSC 1000000
	lea ICR_SIPI | ICR_ASSERT(%rdi), %eax
	mov %ebx, %edx
	call apic_ipi
	DELAY_TSC 500000
	lea ICR_SIPI | ICR_ASSERT(%rdi), %eax
	mov %ebx, %edx
	call apic_ipi
	AWAIT 1, ap_up, ge, %esi
	ret

smp_start:
	call apic_on
	xor %r12d, %r12d
	call apic_set
	HOOK V_WAKE, hook_eoi
	cld
	mov $tramp, %esi
	mov $TRAMP, %edi
	mov $(tramp_end - tramp), %ecx
	rep movsb
	mov $tramp, %esi
	mov $TRAMP2, %edi
	mov $(tramp_end - tramp), %ecx
	rep movsb
	xor %eax, %eax
	movl $(TRAMP << 12) + t_int - tramp, 0x60 * 4(%rax)

	mov $1, %ebx
1:	mov $TRAMP >> 12, %edi
	call start
	mov $TRAMP, %eax
	cmpw $TRAMP >> 4, t_cs - tramp(%rax)
	CHECK 2, e
	cmpw $0, t_ds - tramp(%rax)
	CHECK 2, e
	cmpw $0, t_ss - tramp(%rax)
	CHECK 2, e
	mov t_flags - tramp(%rax), %ecx
	and $~0x44, %ecx /* XOR was before it */
	cmp $2, %ecx
	CHECK 2, e
	mov t_cr0 - tramp(%rax), %ecx
	and $~0x60000000, %ecx /* CD and NW stay over INIT */
	cmp $0x10, %ecx
	CHECK 2, e
	cmpl $0, t_cr4 - tramp(%rax)
	CHECK 2, e
	cmpl $0, t_efer - tramp(%rax)
	CHECK 2, e
	cmp %ebx, t_ints - tramp(%rax)
	CHECK 3, e
	cmp %ebx, t_calls - tramp(%rax)
	CHECK 3, e
	mov $LOW_COPY, %edx
	cmp %ebx, t_calls - tramp(%rdx)
	CHECK 3, e
	mov tramp, %ecx
	cmp %ecx, (%rdx)
	CHECK 3, e
	inc %ebx
	cmp $SMP_CPUS, %ebx
	jb 1b
	QUIET
	mov $TRAMP, %eax
	cmpl $SMP_CPUS - 1, t_starts - tramp(%rax)
	CHECK 4, e
	ret

	.bss
	.align 16
ap_stacks: .skip 9 * 8192
	.align 64
bar_count: .skip 64
bar_gen: .skip 64
cmd_fn: .skip 8
cmd_seq: .skip 4
team: .skip 4
team_done: .skip 4
ap_up: .skip 4
	.text
