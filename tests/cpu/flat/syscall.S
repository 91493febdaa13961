/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall - from CPL 3 to CPL 0 and back: SYSCALL and SYSRET, SYSENTER and SYSEXIT. expect: 0
 *
 *  1 SYSCALL with EFER.SCE clear: #UD  2 RCX, R11  3 flags by SFMASK  4 CS, SS  5 RSP kept  6 SYSRETQ: CS, SS
 *  7 its RSP  8 flags from R11 without RF  9 SYSRETL: CS, RIP  10 SYSCALL in compatibility mode: CSTAR (AMD),
 *  #UD (Intel)  11 SYSRET at CPL 3: #GP(0)  12 SYSRET to a bad RCX: #GP at CPL 3 (AMD) or 0 (Intel)
 *  13 SYSCALL from CPL 0  14 LSTAR not canonical: #GP(0)  15 SYSCALL's TF: no trap in the handler
 *  16 SYSENTER, SYSEXIT in long mode: #UD (AMD)  17 SYSENTER from CPL 3 (Intel)  18 SYSEXITQ (Intel)  19 SYSEXIT
 *  to compat (Intel)  20 legacy mode: SYSENTER with null CS: #GP(0)  21 SYSENTER: CS, SS, IF, ESP
 *  22 SYSEXIT: CS, SS, ESP  23 SYSEXIT at CPL 3: #GP(0)
 *
 * Under KVM 16 is the processor's alone, and left out: KVM looks at each #UD itself and ends the machine at SYSENTER and SYSEXIT of 64-bit
 * kernel code; and in the bed SYSENTER of compatibility mode is taken, with a code segment that no VM entry takes, should
 * the host's clock come in between.
 */
#include "flat.h"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define SFMASK_BITS 0x47700 /* TF IF DF IOPL NT AC */

	.macro JUMP_SYSCALL to
	movq $\to, sc_next
	.endm

	.macro CHECK_RAW n, cc
	j\cc .Lr\@
	mov $\n, %eax
	out %eax, $0xf4
.Lh\@:
	hlt
	jmp .Lh\@
.Lr\@:
	.endm

/* SYSCALL arrives here. */
sc64:
	jmp *sc_next
sc32:
	jmp *sc32_next

main:
	call pages_user
	xor %eax, %eax
	cpuid
	cmp $0x756e6547, %ebx /* "Genu" */
	sete is_intel

/* ---- SYSCALL and SYSRET ---- */

	TRY 1f
	syscall
1:	CHECK_EXC 1, 6
	mov $MSR_EFER, %ecx
	rdmsr
	or $1, %eax
	wrmsr
	WRMSR_IMM MSR_STAR, 0x00200010, 0
	WRMSR_IMM MSR_LSTAR, 0, sc64
	WRMSR_IMM MSR_CSTAR, 0, sc32
	WRMSR_IMM MSR_SFMASK, 0, SFMASK_BITS

	JUMP_SYSCALL 3f
	TRY 1f
	TO_USER 2f, flags=0x240ed7
2:	syscall
sys_after:
	int3
3:	pushfq
	pop %rax
	cmp $sys_after, %rcx
	CHECK 2, e
	cmp $0x240ed7, %r11
	CHECK 2, e
	cmp $(0x240ed7 & ~SFMASK_BITS), %rax
	CHECK_HW 3, e /* (QEMU clears the status flags) */
	mov %cs, %eax
	cmp $CODE64, %eax
	CHECK 4, e
	mov %ss, %eax
	cmp $DATA64, %eax
	CHECK 4, e
	cmp $user_stack_top, %rsp
	CHECK 5, e
	mov $0x254695, %r11d /* ID AC RF NT DF IF SF AF PF CF */
	mov $4f, %ecx
	sysretq
4:	int $0x80
1:	CLEAN_FLAGS
	CHECK_EXC 6, 0x80
	CHECK_EQ 6, exc_cs, USER_CODE64
	CHECK_EQ 6, exc_ss, USER_DATA
	CHECK_EQ 7, exc_rsp, user_stack_top
	cmpq $0x244697, exc_rflags
	CHECK_HW 8, e /* (QEMU takes RF) */

	TRY 1f
	movabs $0xffff000000000000 + 2f, %rcx
	mov $0x202, %r11d
	sysretl
	.code32
2:	mov $-1, %eax
	.byte 0x40 /* inc %eax */
	jnz 3f
	int $0x80
3:	int3
	.code64
1:	CHECK_EXC 9, 0x80
	CHECK_EQ 9, exc_cs, USER_CODE32
	CHECK_EQ 9, exc_ss, USER_DATA

	movq $3f, sc32_next
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	syscall
sys_after32:
	nop
	int $0x80
	.code64
3:	cmp $sys_after32, %ecx
	CHECK 10, e
	mov %cs, %eax
	cmp $CODE64, %eax
	CHECK 10, e
	sysretl
1:	cmpb $0, is_intel
	jne 2f
	CHECK_EXC 10, 0x80
	CHECK_EQ 10, exc_cs, USER_CODE32
	jmp 3f
2:	CHECK_EXC_HW 10, 6 /* (QEMU does as AMD always) */
3:

	TRY 1f
	TO_USER 2f
2:	mov $2b, %ecx
	sysretq
1:	CHECK_EXC_ERR 11, 13, 0
	TRY 1f
	movabs $0x0000800000000000, %rcx
	mov $0x202, %r11d
	sysretq
1:	CHECK_EXC_ERR 12, 13, 0
	mov $USER_CODE64, %eax
	mov $CODE64, %ecx
	cmpb $0, is_intel
	cmovne %ecx, %eax
	cmp exc_cs, %rax
	CHECK_HW 12, e
	JUMP_SYSCALL 1f
	mov $SFMASK_BITS, %edi
	pushq $0x602
	popfq
	syscall
2:	int3
1:	cmp $2b, %rcx
	CHECK 13, e
	cmp $0x602, %r11
	CHECK 13, e
	mov $MSR_LSTAR, %ecx
	mov $0x8000, %edx
	xor %eax, %eax
	TRY 1f
	wrmsr
1:	CHECK_EXC_HW 14, 13 /* (QEMU 7.2 takes it) */
	CHECK_ERR_HW 14, 0
	WRMSR_IMM MSR_LSTAR, 0, sc64
	/* TF is in R11, and SYSCALL itself does not trap when SFMASK clears it. */
	JUMP_SYSCALL 3f
	TRY 1f
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	pushq $2f
	iretq
2:	pushq $0x302
	popfq
	syscall
	int3
3:	nop
	nop
	mov %r11, %r12
	int $0x80
1:	CHECK_EXC 15, 0x80
	test $0x100, %r12d
	CHECK 15, nz

/* ---- SYSENTER in IA-32e mode ---- */

	WRMSR_IMM MSR_SYSENTER_CS, 0, CODE32
	WRMSR_IMM MSR_SYSENTER_ESP, 0, stack_top
	WRMSR_IMM MSR_SYSENTER_EIP, 0, sysenter_64
	cmpb $0, is_intel
	jne 3f
	cmpb $0, is_kvm
	jne legacy
	TRY 1f
	sysenter
1:	CHECK_EXC 16, 6
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	sysenter
	int3
	.code64
1:	CHECK_EXC 16, 6
	TRY 1f
	sysexitl
1:	CHECK_EXC 16, 6
	jmp legacy
3:	TRY 1f
	TO_USER 2f
2:	sysenter
	int3
sysenter_64:
	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK 17, e
	mov %ss, %eax
	cmp $CODE64, %eax
	CHECK 17, e
	cmp $stack_top, %rsp
	CHECK 17, e
	mov $2f, %edx
	mov $user_stack_top, %ecx
	sysexitq
2:	int $0x80
1:	CHECK_EXC 18, 0x80
	CHECK_EQ 18, exc_cs, (CODE32+32+3)
	CHECK_EQ 18, exc_ss, (CODE32+40+3)
	CHECK_EQ 18, exc_rsp, user_stack_top
	TRY 1f
	mov $2f, %edx
	mov $user_stack_top, %ecx
	sysexitl
	.code32
2:	int $0x80
	.code64
1:	CHECK_EXC 19, 0x80
	CHECK_EQ 19, exc_cs, (CODE32+16+3)

/* ---- legacy mode ---- */

legacy:
	ljmp *far_leave
	.code32
leave:
	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %cr0, %eax
	btr $31, %eax
	mov %eax, %cr0
	lidt idt32_ptr
	mov $h32_13, %eax
	mov $13, %ecx
	mov $0x8e00, %edx
	call set_gate32
	mov $h32_40, %eax
	mov $0x40, %ecx
	mov $0xee00, %edx
	call set_gate32
	mov $tss32, %eax
	mov %ax, gdt_spare + 2
	shr $16, %eax
	mov %al, gdt_spare + 4
	mov %ah, gdt_spare + 7
	movw $103, gdt_spare
	movb $0x89, gdt_spare + 5
	movl $rsp0_top, tss32 + 4
	movl $DATA64, tss32 + 8
	mov $SPARE_SEL, %eax
	ltr %ax

	.macro USER32 label
	push $USER_DATA
	push $user_stack_top
	push $0x202
	push $USER_CODE32
	push $\label
	iret
	.endm

	WRMSR_IMM MSR_SYSENTER_CS, 0, 0
	movl $1f, resume32
	USER32 2f
2:	sysenter
1:	cmp $13, %ebx
	CHECK_RAW 20, e
	cmp $0, %edi
	CHECK_RAW 20, e
	WRMSR_IMM MSR_SYSENTER_CS, 0, CODE32
	WRMSR_IMM MSR_SYSENTER_ESP, 0, rsp0_top
	WRMSR_IMM MSR_SYSENTER_EIP, 0, 3f
	movl $1f, resume32
	USER32 2f
2:	sysenter
	int3
3:	pushf
	pop %ecx
	test $0x200, %ecx
	CHECK_RAW 21, z
	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK_RAW 21, e
	mov %ss, %eax
	cmp $(CODE32 + 8), %eax
	CHECK_RAW 21, e
	cmp $rsp0_top, %esp
	CHECK_RAW 21, e
	mov $2f, %edx
	mov $(user_stack_top - 16), %ecx
	sysexit
2:	push $0
	int $0x40
1:	cmp $0x40, %ebx
	CHECK_RAW 22, e
	cmp $(CODE32 + 16 + 3), %esi
	CHECK_RAW 22, e
	cmp $(CODE32 + 24 + 3), %ebp
	CHECK_RAW 22, e
	cmp $(user_stack_top - 20), %edx
	CHECK_RAW 22, e
	mov $DATA64, %eax
	mov %eax, %ss
	mov $stack_top, %esp
	movl $1f, resume32
	USER32 2f
2:	sysexit
1:	cmp $13, %ebx
	CHECK_RAW 23, e
	cmp $0, %edi
	CHECK_RAW 23, e
	xor %eax, %eax
	out %eax, $0xf4
1:	hlt
	jmp 1b

	/* ecx: vector, eax: handler, edx: attributes */
set_gate32:
	mov %ax, idt32(, %ecx, 8)
	movw $CODE32, idt32 + 2(, %ecx, 8)
	mov %dx, idt32 + 4(, %ecx, 8)
	shr $16, %eax
	mov %ax, idt32 + 6(, %ecx, 8)
	ret

	/* From CPL 3: vector to ebx, error code to edi, CS to esi, ESP to edx, SS to ebp. */
h32_40:
	push $0
	mov $0x40, %ebx
	jmp 1f
h32_13:
	mov $13, %ebx
1:	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov (%esp), %edi
	mov 8(%esp), %esi
	mov 16(%esp), %edx
	mov 20(%esp), %ebp
	mov $stack_top, %esp
	jmp *resume32
	.code64

	.data
far_leave:
	.long leave
	.word CODE32
idt32_ptr:
	.word 0x50 * 8 - 1
	.long idt32

	.bss
	.align 16
idt32: .skip 0x50 * 8
sc_next: .skip 8
sc32_next: .skip 8
resume32: .skip 4
is_intel: .skip 4
tss32: .skip 104
	.text
