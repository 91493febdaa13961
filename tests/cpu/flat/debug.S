/* SPDX-License-Identifier: Apache-2.0 */
/*
 * debug - breakpoints, single step, and the flags and registers that go with them (SDM vol. 3 ch. 17).
 * expect: 0
 *
 *  1 instruction breakpoint: a fault at the instruction, DR6  2 RF clear in its frame  3 IRET with RF goes on
 *  4 once per pass of a loop  5 enabled by the G bit too  6 RF lasts for one instruction  7 in code that ran before;
 *  gone when disabled  8 write breakpoint: a trap after the store, RF clear  9 not by reads  10 read/write
 *  11 lengths 1, 2, 4, 8  12 unaligned overlap  13 access across pages  14 stack: PUSH, CALL  15 REP STOS stops
 *  after its iteration: RCX, RDI, RIP  16 REP MOVS by its source  17 XCHG, LOCK, SSE, x87, FXSAVE, CMPXCHG16B
 *  18 MOV SS from a watched word: after the next instruction  19 single step: every RIP in order  20 DR6.BS
 *  21 PUSHF pushes TF  22 fault with TF: no trap, TF in the frame  23 BS and B0 at once  24 ICEBP: DR6 untouched,
 *  RIP behind it  25 DR7.GD: DR6.BD, at the instruction  26 GD is cleared by it  27 DR4, DR5 with CR4.DE
 *  28 without  29 upper halves of DR6 and DR7: #GP(0)  30 fixed bits  31 I/O breakpoint  32 breakpoint at CPL 3
 *  33 SYSRET with TF traps before the next instruction  34 all four registers  35 REP STOS goes on
 *  36 hit and page fault: only the fault  37 TF to CPL 3: each instruction there
 *
 * For flat.sh: kvm: 31
 * KVM does not look at I/O breakpoints when it intercepts the port (31).
 */
#include "flat.h"

#define DR6_NONE 0xffff0ff0
#define DR6_BITS 0xe00f
#define DR6_BS 0x4000
#define DR6_BD 0x2000
#define DR7_GD 0x2000
#define CR4_DE_BIT 8
/* DR7 for one breakpoint */
#define BP0(rw, len) (1 + (rw << 16) + (len << 18))
#define EXEC 0
#define WRITE 1
#define IO 2
#define RW 3
#define LEN1 0
#define LEN2 1
#define LEN4 3
#define LEN8 2

	.macro SET_DR n, address
	mov $\address, %eax
	mov %rax, %db\n
	.endm
	.macro BREAK_AT address, dr7:vararg
	SET_DR 0, \address
	SET_DR 7, \dr7
	.endm
	.macro NO_BREAK
	SET_DR 7, 0
	.endm
	.macro CHECK_DR6 n, bits
	mov %db6, %rax
	and $DR6_BITS, %eax
	cmp $\bits, %eax
	CHECK \n, e
	SET_DR 6, DR6_NONE
	.endm
	.macro CHECK_DR6_HW n, bits
	mov %db6, %rax
	and $DR6_BITS, %eax
	cmp $\bits, %eax
	CHECK_HW \n, e
	SET_DR 6, DR6_NONE
	.endm
	/* The instruction makes a debug trap behind itself. */
	.macro HIT n, what:vararg
	TRY .Lhit\@
	\what
.Lhit\@:
	CHECK_EXC \n, 1
	cmpq $.Lhit\@, exc_rip
	CHECK \n, e
	CHECK_DR6 \n, 1
	.endm
	.macro MISS n, what:vararg
	TRY .Lmiss\@
	\what
	nop
.Lmiss\@:
	CHECK_EXC \n, NO_EXC
	.endm
	.macro SET_TF
	pushfq
	orq $0x100, (%rsp)
	popfq
	.endm

/* Notes RIP and DR6 and goes on. */
hook_db:
	mov log_n, %eax
	cmp $LOG_MAX, %eax
	jae 1f
	mov FR_RIP(%rdi), %rcx
	mov %rcx, log_rip(, %rax, 8)
	mov %db6, %rcx
	mov %ecx, log_dr6(, %rax, 4)
	incl log_n
	test $15, %ecx
	jz 1f
	orq $0x10000, FR_RFLAGS(%rdi)
1:	SET_DR 6, DR6_NONE
	ret
hook_none:
	ret

main:
	call pages_user
	SET_DR 6, DR6_NONE

/* ---- instruction breakpoints ---- */

	BREAK_AT bp1, BP0(EXEC, LEN1)
	TRY 1f
	xor %ebx, %ebx
	inc %ebx
bp1:	inc %ebx
	inc %ebx
1:	CHECK_EXC 1, 1
	CHECK_EQ 1, exc_rip, bp1
	cmp $1, %ebx
	CHECK 1, e
	CHECK_DR6 1, 1
	testl $0x10000, exc_rflags
	CHECK 2, z
	BREAK_AT bp3, BP0(EXEC, LEN1)
	movl $0, log_n
	HOOK 1, hook_db
	xor %ebx, %ebx
	mov $5, %ecx
2:	nop
bp3:	inc %ebx
	dec %ecx
	jnz 2b
	cmp $5, %ebx
	CHECK 3, e
	cmpl $5, log_n
	CHECK 4, e
	CHECK_EQ 4, log_rip + 32, bp3
	UNHOOK 1
	BREAK_AT bp5, 2
	TRY 1f
bp5:	nop
1:	CHECK_EXC 5, 1
	CHECK_DR6 5, 1

	/* Breakpoints on two instructions that follow one another; RF lets the first one run. */
	SET_DR 0, bp6
	SET_DR 1, bp6_next
	SET_DR 7, 5
	TRY 1f
	mov %rsp, %rax
	pushq $DATA64
	push %rax
	pushq $0x10002
	pushq $CODE64
	pushq $bp6
	xor %ebx, %ebx
	iretq
bp6:	inc %ebx
bp6_next:
	inc %ebx
1:	CHECK_EXC 6, 1
	CHECK_EQ 6, exc_rip, bp6_next
	cmp $1, %ebx
	CHECK 6, e
	CHECK_DR6 6, 2
	NO_BREAK
	mov $5000, %ebp
2:	call hot
	dec %ebp
	jnz 2b
	BREAK_AT bp7, BP0(EXEC, LEN1)
	TRY 1f
	call hot
1:	CHECK_EXC 7, 1
	CHECK_EQ 7, exc_rip, bp7
	CHECK_DR6 7, 1
	NO_BREAK
	MISS 7, call hot
	BREAK_AT bp32, BP0(EXEC, LEN1)
	TRY 1f
	TO_USER 2f
2:	nop
bp32:	nop
	int $0x80
1:	CHECK_EXC 32, 1
	CHECK_EQ 32, exc_rip, bp32
	CHECK_EQ 32, exc_cs, USER_CODE64
	CHECK_DR6 32, 1

/* ---- data breakpoints ---- */

	BREAK_AT watch, BP0(WRITE, LEN4)
	HIT 8, movl $0x1234, watch
	cmpl $0x1234, watch
	CHECK 8, e
	testl $0x10000, exc_rflags
	CHECK 8, z
	MISS 9, mov watch, %eax
	MISS 9, cmpl $5, watch
	HIT 12, movq $1, watch - 4
	HIT 12, movq $1, watch + 3
	MISS 12, movq $1, watch - 8
	MISS 12, movl $1, watch + 4
	BREAK_AT watch, BP0(RW, LEN4)
	HIT 10, mov watch, %eax
	HIT 10, mov %eax, watch
	HIT 10, incl watch
	HIT 10, testb $1, watch + 3
	BREAK_AT watch + 1, BP0(WRITE, LEN1)
	MISS 11, movb $1, watch
	HIT 11, movb $1, watch + 1
	MISS 11, movb $1, watch + 2
	HIT 11, movl $1, watch
	cmpl $0, is_tcg
	jne 2f /* (QEMU does not round the address) */
	BREAK_AT watch + 3, BP0(WRITE, LEN2)
	MISS 11, movb $1, watch + 1
	HIT 11, movb $1, watch + 2
	HIT 11, movb $1, watch + 3
	MISS 11, movb $1, watch + 4
2:
	BREAK_AT watch, BP0(WRITE, LEN8)
	HIT 11, movb $1, watch + 7
	MISS 11, movb $1, watch + 8
	BREAK_AT page2, BP0(RW, LEN2)
	HIT 13, movq $1, page2 - 4
	HIT 13, mov page2 - 4, %rax
	MISS 13, mov page2 - 8, %rax

	lea -8(%rsp), %rax
	mov %rax, %db0
	SET_DR 7, BP0(WRITE, LEN8)
	HIT 14, push %rcx
	TRY 1f
	call 2f
	nop
2:	nop
1:	CHECK_EXC 14, 1
	CHECK_EQ 14, exc_rip, 2b
	CHECK_DR6 14, 1

	BREAK_AT buffer + 2, BP0(WRITE, LEN1)
	mov $buffer, %edi
	mov $5, %ecx
	mov $0x5a, %al
	TRY 1f
rep15:	rep stosb
1:	CHECK_EXC 15, 1
	CHECK_EQ 15, exc_rip, rep15
	cmp $2, %rcx
	CHECK 15, e
	cmp $(buffer + 3), %rdi
	CHECK 15, e
	CHECK_DR6 15, 1
	mov $0x5a, %al
	rep stosb
	cmp $(buffer + 5), %rdi
	CHECK 35, e
	cmpl $0x5a5a5a5a, buffer
	CHECK 35, e
	cmpw $0x005a, buffer + 4
	CHECK 35, e
	BREAK_AT buffer + 4, BP0(RW, LEN4)
	mov $buffer, %esi
	mov $watch, %edi
	mov $4, %ecx
	TRY 1f
rep16:	rep movsl
1:	CHECK_EXC 16, 1
	CHECK_EQ 16, exc_rip, rep16
	cmp $2, %rcx
	CHECK 16, e
	cmp $(buffer + 8), %rsi
	CHECK 16, e
	cmp $(watch + 8), %rdi
	CHECK 16, e
	CHECK_DR6 16, 1

	BREAK_AT watch + 4, BP0(RW, LEN4)
	HIT 17, xchg %eax, watch + 4
	HIT 17, lock incl watch + 4
	HIT 17, movaps %xmm0, watch
	HIT 17, movaps watch, %xmm1
	HIT 17, paddd watch, %xmm1
	MISS 17, movss watch, %xmm1
	fldz
	HIT 17, fstpl watch
	HIT 17, fxsave watch - 256
	HIT 17, fxrstor watch - 256
	xor %ebx, %ebx
	HIT 17, lock cmpxchg16b watch
	HIT 17, pushq watch + 4
	NO_BREAK
	mov gdt_ptr, %rax
	mov %rax, watch
	movw $0, watch + 8
	BREAK_AT watch + 4, BP0(RW, LEN4)
	HIT 17, lgdt watch

	SET_DR 0, watch
	SET_DR 1, watch + 4
	SET_DR 2, watch + 8
	SET_DR 3, watch + 12
	SET_DR 7, 0xdddd0055
	TRY 1f
	movq $0, watch + 4
1:	CHECK_EXC 34, 1
	CHECK_DR6_HW 34, 6 /* (QEMU: one of them) */
	TRY 1f
	movb $0, watch + 15
1:	CHECK_EXC 34, 1
	CHECK_DR6 34, 8

	NO_BREAK
	movl $DATA64, watch
	BREAK_AT watch, BP0(RW, LEN4)
	TRY 1f
	mov watch, %ss
	nop
after18:
	nop
1:	CHECK_EXC 18, 1
	cmpq $after18, exc_rip
	CHECK_HW 18, e /* (QEMU: before the NOP) */
	CHECK_DR6 18, 1
	/* A store that hits in its first page and faults in the second. */
	andq $~1, pd + 16
	invlpg 0x400000
	BREAK_AT 0x3ffff8, BP0(WRITE, LEN8)
	TRY 1f
	movq $0, 0x3ffffc
1:	CHECK_EXC 36, 14
	mov %db6, %rax
	test $15, %eax
	CHECK_HW 36, z
	SET_DR 6, DR6_NONE
	orq $1, pd + 16
	NO_BREAK

/* ---- single step ---- */

	HOOK 1, hook_db
	HOOK 3, hook_none
	movl $0, log_n
	mov $buffer, %edi
	SET_TF
	nop
s0:	mov %eax, %eax
s1:	jmp s2
	int3
s2:	call s4
s3:	jmp s5
s4:	ret
s5:	mov $3, %ecx
s6:	rep stosb
s7:	pushfq
s8:	pop %r12
s9:	mov %ss, %eax
s10:	mov %eax, %ss /* no trap behind it */
	nop
s11:	xor %eax, %eax
s12:	cpuid
s13:	std
s14:	cld
s15:	int3 /* its handler runs without TF */
	nop
s16:	xor %ecx, %ecx
s17:	rep stosb
s18:	movaps %xmm0, buffer
s19:	pushfq
s20:	andq $~0x100, (%rsp)
s21:	popfq /* still traps */
s22:	nop
	nop
	cmpl $STEPS, log_n
	CHECK 19, e
	xor %ecx, %ecx
1:	mov step_rip(, %ecx, 4), %eax
	cmp %rax, log_rip(, %ecx, 8)
	CHECK 19, e
	mov log_dr6(, %ecx, 4), %eax
	and $DR6_BITS, %eax
	cmp $DR6_BS, %eax
	CHECK 20, e
	inc %ecx
	cmp $STEPS, %ecx
	jb 1b
	test $0x100, %r12d
	CHECK 21, nz
	UNHOOK 1
	UNHOOK 3

	TRY 1f
	SET_TF
	ud2
1:	CHECK_EXC 22, 6
	testl $0x100, exc_rflags
	CHECK 22, nz
	BREAK_AT watch, BP0(WRITE, LEN4)
	TRY 1f
	SET_TF
	movl $0, watch
1:	CHECK_EXC 23, 1
	CHECK_DR6 23, 0x4001
	NO_BREAK
	HOOK 1, hook_db
	movl $0, log_n
	TRY 1f
	TO_USER 2f, flags=0x302
2:	nop
	nop
3:	int $0x80
1:	UNHOOK 1
	CHECK_EXC 37, 0x80
	cmpl $2, log_n
	CHECK 37, e
	CHECK_EQ 37, log_rip + 8, 3b
	mov $MSR_EFER, %ecx
	rdmsr
	or $1, %eax
	wrmsr
	WRMSR_IMM MSR_STAR, 0x00200010, 0
	TRY 1f
	mov $2f, %ecx
	mov $0x302, %r11d
	sysretq
2:	nop
	nop
1:	CHECK_EXC 33, 1
	CHECK_EQ 33, exc_rip, 2b
	CHECK_EQ 33, exc_cs, USER_CODE64
	CHECK_DR6 33, DR6_BS

	cmpl $0, is_tcg
	jne no_icebp /* (QEMU 7.2 raises #UD) */
	TRY 1f
	.byte 0xf1
1:	CHECK_EXC 24, 1
	CHECK_EQ 24, exc_rip, 1b
	CHECK_DR6 24, 0
	testl $0x10000, exc_rflags
	CHECK 24, z
no_icebp:

/* ---- the registers ---- */

	cmpl $0, is_tcg
	jne no_gd /* (QEMU ignores GD) */
	SET_DR 7, DR7_GD
	TRY 1f
gd:	mov %db0, %rax
1:	CHECK_EXC 25, 1
	CHECK_EQ 25, exc_rip, gd
	CHECK_DR6 25, DR6_BD
	mov %db7, %rax
	cmp $0x400, %rax
	CHECK 26, e
no_gd:
	SET_CR4 CR4_DE_BIT
	TRY 1f
	mov %db4, %rax
1:	CHECK_EXC 27, 6
	TRY 1f
	mov %rax, %db5
1:	CHECK_EXC 27, 6
	BREAK_AT 0x80, BP0(IO, LEN1)
	HIT 31, in $0x80, %al
	HIT 31, out %al, $0x80
	MISS 31, in $0x81, %al
	NO_BREAK
	CLEAR_CR4 CR4_DE_BIT
	SET_DR 6, 0xffff4ff5
	mov %db4, %rax
	cmp $0xffff4ff5, %eax
	CHECK 28, e
	mov %db5, %rax
	cmp $0x400, %eax
	CHECK 28, e
	mov $1, %eax
	shl $32, %rax
	TRY 1f
	mov %rax, %db6
1:	CHECK_EXC_HW 29, 13
	TRY 1f
	mov %rax, %db7
1:	CHECK_EXC_HW 29, 13
	SET_DR 6, 0
	mov %db6, %rax
	mov $DR6_NONE, %ecx
	cmp %rcx, %rax
	CHECK 30, e
	mov $-1, %rcx
	mov %rcx, %db0
	mov %db0, %rax
	cmp %rcx, %rax
	CHECK 30, e
	ret

	.align 64
hot:	mov $3, %ecx
1:	inc %eax
bp7:	inc %edx
	dec %ecx
	jnz 1b
	ret

	.set LOG_MAX, 64
	.set STEPS, 25
	.data
	.align 4
step_rip:
	.long s0, s1, s2, s4, s3, s5, s6, s6, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, s16, s17, s18, s19
	.long s20, s21, s22

	.align 16
	.skip 256
watch:	.skip 512
	.bss
	.align 4096
	.skip 4096
page2:	.skip 64
	.align 16
buffer: .skip 64
log_n: .skip 8
log_rip: .skip 64 * 8
log_dr6: .skip 64 * 4
	.text
