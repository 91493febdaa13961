/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abuse_cpu - instructions that a guest has no right to, hypercalls that nobody knows, and a storm of messages to another processor: the
 * machine goes on, and that processor starts at the end.
 *
 *  1-7 start-up after the storm, see flat_smp.h
 *  10 instructions of VMX, SVM, SMM, SGX and SMX are #UD at CPL 0  11 INVLPGA  12 MONITOR and MWAIT  13 XSAVES  14 RDPMC is #GP
 *  15 and at CPL 3: #UD or #GP  16 control registers that do not exist are #UD  17 reserved bits #GP
 *  18 hypercalls give an error, and change no other register
 *  20 the storm ends
 *
 * KVM: INVLPGA does what it says, MONITOR and MWAIT nothing. In the bed 13: there XSAVES does what XSAVEC does.
 *
 * For flat.sh: cpus: 2, seconds: 60 qemu: no kvm: 11,12 bed: 13
 */
#include "flat.h"
#include "flat_apic.h"
#include "flat_smp.h"

#define ROUNDS 200
#define SPIN_PAGE 0x10 /* start-up vectors */
#define HALT_PAGE 0x11

	.macro REFUSED n, v, bytes:vararg
	TRY 1f
	.byte \bytes
1:	CHECK_EXC \n, \v
	.endm

	/* eax: low word of ICR, edx: to whom. Keeps rcx. */
	.macro SEND low, dest
	movl $(\dest << 24), 0x310(%rbx)
	movl $\low, 0x300(%rbx)
	.endm

	/* With either instruction: the other vendor's may be #UD. */
hypercall: /* r8d: number */
	TRY 1f
	mov %r8, %rax
	mov $-1, %rcx
	mov $0x7fffffffffffffff, %rdx
	mov $0xfee00000, %ebx
	mov $-2, %rsi
	jmp *%r9
vmcall_it:
	vmcall
	jmp 1f
vmmcall_it:
	vmmcall
1:	cmpq $NO_EXC, exc_vector
	je 2f
	CHECK_EXC 18, 6
	ret
2:	movq $0, exc_resume
	test %rax, %rax
	CHECK 18, s
	CHECK_EQ 18, %rcx, -1
	CHECK_EQ 18, %rsi, -2
	cmp $0xfee00000, %ebx
	CHECK 18, e
	ret

	.align 4096
user_code: /* each is an exception by itself */
	vmmcall
	vmcall
	hlt
	mov %cr0, %rax
	wbinvd
	in $0xe8, %al
	mov $0x10, %ecx
	wrmsr
	int $0x80
user_code_end:

storm:
	mov $APIC_BASE, %ebx
	movl $0xfeebfeeb, SPIN_PAGE << 12
	movl $0xfdebf4fb, HALT_PAGE << 12 /* sti; hlt; jmp to the hlt */
	mov $ROUNDS, %r8d
1:	SEND ICR_INIT | ICR_ASSERT, 1
	SEND ICR_SIPI | SPIN_PAGE, 1
	SEND ICR_SIPI | HALT_PAGE, 1
	SEND ICR_INIT | ICR_ASSERT, 1
	SEND ICR_INIT | ICR_ASSERT, 1
	SEND ICR_SIPI | HALT_PAGE, 1
	SEND 0x41, 1
	SEND ICR_INIT | ICR_ASSERT, 0x55
	SEND ICR_SIPI | HALT_PAGE, 0xff
	SEND ICR_INIT | 0x8000, 1 /* de-assert */
	SEND ICR_OTHERS | ICR_INIT | ICR_ASSERT, 0
	SEND ICR_OTHERS | ICR_SIPI | SPIN_PAGE, 0
	SEND 0x300, 1 /* reserved delivery mode */
	SEND 0x700, 1 /* external interrupt */
	SEND 0x03, 1 /* vectors that are none */
	SEND 0x100, 1
	dec %r8d
	jnz 1b
	SEND ICR_INIT | ICR_ASSERT, 1
	ret

main:
	call apic_on
	PIT_OFF
	lea scratch, %rax
	xor %ecx, %ecx
	xor %edx, %edx
	REFUSED 10, 6, 0xf3, 0x0f, 0xc7, 0x30 /* vmxon */
	REFUSED 10, 6, 0x0f, 0xc7, 0x30 /* vmptrld */
	REFUSED 10, 6, 0x66, 0x0f, 0xc7, 0x30 /* vmclear */
	REFUSED 10, 6, 0x0f, 0x78, 0xc8 /* vmread */
	REFUSED 10, 6, 0x0f, 0x79, 0xc8 /* vmwrite */
	REFUSED 10, 6, 0x0f, 0x01, 0xc2 /* vmlaunch */
	REFUSED 10, 6, 0x0f, 0x01, 0xc3 /* vmresume */
	REFUSED 10, 6, 0x0f, 0x01, 0xc4 /* vmxoff */
	REFUSED 10, 6, 0x0f, 0x01, 0xd4 /* vmfunc */
	REFUSED 10, 6, 0x66, 0x0f, 0x38, 0x80, 0x08 /* invept */
	REFUSED 10, 6, 0x66, 0x0f, 0x38, 0x81, 0x08 /* invvpid */
	REFUSED 10, 6, 0x0f, 0x01, 0xd8 /* vmrun */
	REFUSED 10, 6, 0x0f, 0x01, 0xda /* vmload */
	REFUSED 10, 6, 0x0f, 0x01, 0xdb /* vmsave */
	REFUSED 10, 6, 0x0f, 0x01, 0xdc /* stgi */
	REFUSED 10, 6, 0x0f, 0x01, 0xdd /* clgi */
	REFUSED 10, 6, 0x0f, 0x01, 0xde /* skinit */
	REFUSED 10, 6, 0x0f, 0xaa /* rsm */
	REFUSED 10, 6, 0x0f, 0x37 /* getsec */
	REFUSED 10, 6, 0x0f, 0x01, 0xcf /* encls */
	REFUSED 10, 6, 0x0f, 0x01, 0xd7 /* enclu */
	REFUSED 11, 6, 0x0f, 0x01, 0xdf /* invlpga */
	REFUSED 12, 6, 0x0f, 0x01, 0xc8 /* monitor */
	REFUSED 12, 6, 0x0f, 0x01, 0xc9 /* mwait */
	SET_CR4 0x40000 /* OSXSAVE, where there is XSAVE */
	lea scratch, %rdi
	xor %eax, %eax
	REFUSED 13, 6, 0x0f, 0xc7, 0x2f /* xsaves */
	mov $0x12345, %ecx
	REFUSED 14, 13, 0x0f, 0x33 /* rdpmc */
	REFUSED 16, 6, 0x0f, 0x22, 0xc8 /* mov %rax, %cr1 */
	REFUSED 16, 6, 0x0f, 0x20, 0xe8 /* mov %cr5, %rax */
	REFUSED 16, 6, 0x44, 0x0f, 0x22, 0xf8 /* mov %rax, %cr15 */
	mov $1 << 30, %eax
	REFUSED 17, 13, 0x0f, 0x22, 0xe0 /* mov %rax, %cr4 */
	cmpl $0, is_tcg
	jne 2f /* QEMU's TCG takes this, and the next entry fails */
	mov $1 << 60, %rax
	REFUSED 17, 13, 0x0f, 0x22, 0xd8 /* mov %rax, %cr3 */
2:
	mov $1 << 32, %rax
	REFUSED 17, 13, 0x0f, 0x22, 0xc0 /* mov %rax, %cr0 */

	lea calls, %r12
1:	mov (%r12), %r8d
	mov $vmcall_it, %r9d
	call hypercall
	mov $vmmcall_it, %r9d
	call hypercall
	add $4, %r12
	cmp $calls_end, %r12
	jb 1b

	call pages_user
	mov $user_code, %r12d
1:	TRY 3f
	TO_USER 2f
2:	jmp *%r12
3:	cmpq $6, exc_vector
	je 4f
	cmpq $13, exc_vector
	je 4f
	cmpq $0x80, exc_vector
	je 5f
	CHECK 15, e
4:	mov exc_rip, %rax
	cmp $user_code, %rax
	CHECK 15, ae
	call insn_len
	lea (%rax, %rcx), %r12
	jmp 1b
5:	cmpq $user_code_end, exc_rip
	CHECK 15, e

	call storm
	mov $100, %r12d
1:	SEND ICR_INIT | ICR_ASSERT, 1
	dec %r12d
	jnz 1b
	call smp_start
	xor %edi, %edi
	jmp exit

/* rcx: the length of the instruction of user_code at rax. */
insn_len:
	mov $3, %ecx
	cmpw $0x010f, (%rax)
	je 1f
	cmpw $0x200f, (%rax)
	je 1f
	mov $2, %ecx
	cmpb $0x0f, (%rax)
	je 1f
	cmpb $0xe4, (%rax)
	je 1f
	mov $1, %ecx
1:	ret

	.data
	.align 4
	/* Not those that are there: CLOCK_PAIRING and KICK_CPU, SEND_IPI and SCHED_YIELD have their own tests. */
calls:
	.long 0, 2, 3, 4, 6, 7, 8, 12, 13, 100, 0x7fffffff, 0x80000000, 0xffffffff
calls_end:
	.bss
	.align 4096
scratch: .skip 4096
	.text
