/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall - between CPL 0 and CPL 3: SYSCALL, SYSENTER, IRET, SWAPGS, FSGSBASE, privilege, the I/O bitmap.
 * expect: 0
 *
 *  1 SYSCALL with EFER.SCE clear: #UD  2 RCX, R11  3 flags by SFMASK  4 CS, SS  5 RSP kept  6 SYSRETQ: CS, SS
 *  7 its RSP  8 flags from R11 without RF  9 SYSRETL: CS, RIP  10 SYSCALL in compatibility mode: CSTAR (AMD),
 *  #UD (Intel)  11 SYSRET at CPL 3: #GP(0)  12 SYSRET to a bad RCX: #GP at CPL 3 (AMD) or 0 (Intel)
 *  13 SYSCALL from CPL 0  14 LSTAR not canonical: #GP(0)  15 SWAPGS  16 GS access after it  17 SWAPGS at CPL 3
 *  18 SWAPGS in compatibility mode: #UD  19 FSGSBASE off: #UD  20 64-bit forms  21 32-bit forms  22 %fs: access
 *  23 MSRs agree  24 not canonical: #GP(0)  25 at CPL 3  26 in compatibility mode: #UD  27 selector load sets base
 *  28 FS_BASE MSR not canonical: #GP(0)  29 privileged instructions at CPL 3: #GP(0) at their own RIP
 *  30 the same in compatibility mode  31 CLI, STI, IN, OUT at CPL 3 with IOPL 3  32 POPF at CPL 3: IF, IOPL kept
 *  33 POPF with IOPL 3: IF changes, IOPL does not  34 SGDT, SIDT, SLDT, STR, SMSW at CPL 3  35 with UMIP: #GP(0)
 *  36 I/O bitmap: allowed port  37 denied port  38 word that reaches into a denied port  39 dword
 *  40 bitmap's end  41 last byte of a bitmap  42 bitmap base beyond the TSS limit  43 INS, OUTS  44 CPL 0 asks nobody
 *  45 IRETQ with NT: #GP(0)  46 SS RPL is not CS RPL: #GP(SS)  47 null CS: #GP(0)  48 to more privilege: #GP(CS)
 *  49 IRETQ within CPL 3 keeps IF and IOPL  50 DS with DPL 0 is null at CPL 3  51 IRETQ to compat CPL 3: 32-bit ESP
 *  52 SYSENTER, SYSEXIT in long mode: #UD (AMD)  53 SYSENTER from CPL 3 (Intel)  54 SYSEXITQ (Intel)  55 SYSEXIT
 *  to compat (Intel)  56 RDPMC at CPL 3: #GP(0)  57 legacy mode: SYSENTER with null CS: #GP(0)  58 SYSENTER: CS, SS,
 *  IF, ESP  59 SYSEXIT: CS, SS, ESP  60 SYSEXIT at CPL 3: #GP(0)  61 SYSCALL's TF: no trap in the handler
 *  62 IRETQ after its code descriptor has changed: #NP(CS)  63 its stack descriptor: #SS(SS)  64 GDT's limit: #GP(CS)
 *  65 IRETQ with AC to CPL 3, and the mode of what follows  66 IRETQ to the same level: RSP, flags, again and again
 *
 * For flat.sh: bed: 52
 * In the bed SYSENTER of compatibility mode is taken (52).
 *
 * 44 must not fault: if it does it is an exception that nobody asked for (100).
 */
#include "flat.h"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define SFMASK_BITS 0x47700 /* TF IF DF IOPL NT AC */
#define IOTSS_SEL SPARE_SEL
#define IOMAP (iotss + 104)
#define EFLAGS_CLEAN 2

	.macro CLEAN_FLAGS
	pushq $EFLAGS_CLEAN
	popfq
	.endm

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
1:	CHECK_EXC_HW 14, 13 /* (QEMU 7.2 takes it, and 24 and 28) */
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
1:	CHECK_EXC 61, 0x80
	test $0x100, %r12d
	CHECK 61, nz

/* ---- SWAPGS, FSGSBASE ---- */

	WRMSR_IMM MSR_GS_BASE, 0x1234, 0x56789abc
	WRMSR_IMM MSR_KERNEL_GS_BASE, 0, gs_block
	swapgs
	mov $MSR_GS_BASE, %ecx
	rdmsr
	cmp $gs_block, %eax
	CHECK 15, e
	test %edx, %edx
	CHECK 15, z
	mov $MSR_KERNEL_GS_BASE, %ecx
	rdmsr
	cmp $0x56789abc, %eax
	CHECK 15, e
	cmp $0x1234, %edx
	CHECK 15, e
	cmpl $0x65, %gs:8
	CHECK 16, e
	TRY 1f
	TO_USER 2f
2:	swapgs
1:	CHECK_EXC_ERR 17, 13, 0
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	.byte 0x0f, 0x01, 0xf8 /* swapgs */
	int3
	.code64
1:	CHECK_EXC 18, 6

	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	test $1, %ebx
	jz no_fsgsbase
	TRY 1f
	rdfsbase %rax
1:	CHECK_EXC 19, 6
	SET_CR4 CR4_FSGSBASE
	movabs $0xffff800012345678, %rax
	wrfsbase %rax
	rdfsbase %rcx
	cmp %rax, %rcx
	CHECK 20, e
	wrgsbase %rax
	rdgsbase %rdx
	cmp %rax, %rdx
	CHECK 20, e
	mov $-1, %rcx
	rdfsbase %ecx
	cmp $0x12345678, %rcx
	CHECK 21, e
	wrgsbase %eax
	rdgsbase %rdx
	cmp $0x12345678, %rdx
	CHECK 21, e
	mov $gs_block, %eax
	wrfsbase %rax
	cmpl $0x65, %fs:8
	CHECK 22, e
	mov $MSR_FS_BASE, %ecx
	rdmsr
	cmp $gs_block, %eax
	CHECK 23, e
	WRMSR_IMM MSR_GS_BASE, 0, 0x7777
	rdgsbase %rdx
	cmp $0x7777, %rdx
	CHECK 23, e
	movabs $0x800000000000, %rax
	TRY 1f
	wrfsbase %rax
1:	CHECK_EXC_HW 24, 13
	CHECK_ERR_HW 24, 0
	rdfsbase %rdx
	cmp $gs_block, %rdx
	CHECK_HW 24, e
	mov $gs_block, %eax
	wrfsbase %rax
	TRY 1f
	TO_USER 2f
2:	mov $0x4321, %ebx
	wrgsbase %rbx
	rdgsbase %r12
	mov %fs:8, %r13d
	int $0x80
1:	CHECK_EXC 25, 0x80
	cmp $0x4321, %r12
	CHECK 25, e
	cmp $0x65, %r13
	CHECK 25, e
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	.byte 0xf3, 0x0f, 0xae, 0xc0 /* rdfsbase %eax */
	int3
	.code64
1:	CHECK_EXC 26, 6
	mov $DATA64, %eax
	mov %eax, %fs
	rdfsbase %rax
	test %rax, %rax
	CHECK 27, z
no_fsgsbase:
	mov $MSR_FS_BASE, %ecx
	mov $0x8000, %edx
	TRY 1f
	wrmsr
1:	CHECK_EXC_HW 28, 13
	CHECK_ERR_HW 28, 0

/* ---- privilege ---- */

	mov $priv_list, %ebp
1:	TRY 2f
	mov (%rbp), %rax
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	push %rax
	iretq
2:	CHECK_EXC_ERR 29, 13, 0
	mov (%rbp), %rax
	cmp exc_rip, %rax
	CHECK 29, e
	add $8, %ebp
	cmp $priv_list_end, %ebp
	jb 1b
	mov $priv_list, %ebp
1:	TRY 2f
	mov (%rbp), %rax
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE32
	push %rax
	iretq
2:	CHECK_EXC_ERR 30, 13, 0
	mov (%rbp), %rax
	cmp exc_rip, %rax
	CHECK 30, e
	add $8, %ebp
	cmp $priv_list_32, %ebp
	jb 1b
	TRY 1f
	TO_USER 2f
2:	xor %ecx, %ecx
	rdpmc
1:	CHECK_EXC_ERR 56, 13, 0

	TRY 1f
	TO_USER 2f, flags=0x3202
2:	cli
	pushfq
	pop %r12
	sti
	nop
	mov $0x80, %edx
	in %dx, %al
	out %al, $0x80
	int $0x80
1:	CHECK_EXC 31, 0x80
	cmp $0x3002, %r12
	CHECK 31, e
	testl $0x200, exc_rflags
	CHECK 31, nz
	CLEAN_FLAGS

	TRY 1f
	TO_USER 2f, flags=0x1202
2:	pushq $0x2003
	popfq
	int $0x80
1:	CHECK_EXC 32, 0x80
	CHECK_EQ 32, exc_rflags, 0x1203
	TRY 1f
	TO_USER 2f, flags=0x3202
2:	pushq $0x0003
	popfq
	int $0x80
1:	CHECK_EXC 33, 0x80
	CHECK_EQ 33, exc_rflags, 0x3003
	CLEAN_FLAGS

	TRY 1f
	TO_USER 2f
2:	sgdt scratch
	sldt %eax
	str %r12d
	smsw %rbx
	sidt scratch + 16
	int $0x80
1:	CHECK_EXC 34, 0x80
	cmpl $gdt, scratch + 2
	CHECK 34, e
	cmpl $idt, scratch + 18
	CHECK 34, e
	cmp $TSS_SEL, %r12d
	CHECK 34, e
	mov %cr0, %rax
	cmp %rax, %rbx
	CHECK 34, e
	mov $7, %eax
	xor %ecx, %ecx
	cpuid
	test $4, %ecx
	jz no_umip
	SET_CR4 CR4_UMIP
	mov $umip_list, %ebp
1:	TRY 2f
	mov (%rbp), %rax
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	push %rax
	iretq
2:	CHECK_EXC_ERR 35, 13, 0
	add $8, %ebp
	cmp $umip_list_end, %ebp
	jb 1b
	sgdt scratch /* not at CPL 0 */
	CLEAR_CR4 CR4_UMIP
no_umip:

/* ---- I/O bitmap: ports 0-0x87 are in it; 0x80-0x85 allowed but for 0x83 ---- */

	mov $0x80 / 8, %ecx
	mov $IOMAP, %edi
	mov $0xff, %al
	rep stosb
	movb $0b11001000, IOMAP + 0x10
	movb $0xff, IOMAP + 0x11
	movq $rsp0_top, iotss + 4
	movw $104, iotss + 102
	mov $iotss, %eax
	mov %ax, gdt_spare + 2
	shr $16, %eax
	mov %al, gdt_spare + 4
	mov %ah, gdt_spare + 7
	movl $0, gdt_spare + 8
	movl $0, gdt_spare + 12
	mov $(104 + 0x11), %eax /* limit: the bitmap, and the byte of ones behind it */
	call load_iotss

	.macro IO_ALLOWED n, what:vararg
	TRY .Lio\@
	TO_USER .Liou\@
.Liou\@:
	\what
	int $0x80
.Lio\@:
	CHECK_EXC \n, 0x80
	.endm
	.macro IO_DENIED n, what:vararg
	TRY .Lio\@
	TO_USER .Liou\@
.Liou\@:
	\what
	int $0x80
.Lio\@:
	CHECK_EXC_ERR \n, 13, 0
	cmpq $.Liou\@, exc_rip
	CHECK \n, e
	.endm

	mov $0x80, %edx
	IO_ALLOWED 36, in $0x80, %al
	IO_ALLOWED 36, out %al, %dx
	IO_ALLOWED 36, in $0x84, %ax
	IO_DENIED 37, in $0x83, %al
	IO_DENIED 37, out %al, $0x70
	IO_DENIED 38, in $0x82, %ax
	IO_DENIED 38, in $0x85, %ax
	IO_DENIED 39, in $0x80, %eax
	IO_DENIED 39, out %eax, %dx
	IO_DENIED 40, in $0x90, %al
	mov $0xffff, %edx
	IO_DENIED 40, in %dx, %al
	/* Two bytes of the bitmap are read always: its last one must be there. */
	mov $(104 + 0x10), %eax
	call load_iotss
	IO_DENIED 41, in $0x80, %al
	mov $(104 + 0x11), %eax
	call load_iotss
	mov $0x80, %edx
	mov $scratch, %edi
	mov $scratch, %esi
	IO_ALLOWED 43, insb
	IO_ALLOWED 43, outsb
	mov $0x83, %edx
	IO_DENIED 43, insb
	IO_DENIED 43, outsb
	mov $3, %ecx
	IO_DENIED 43, rep insb
	cmp $3, %ecx
	CHECK 43, e
	in $0x83, %al
	movw $(104 + 0x40), iotss + 102
	IO_DENIED 42, in $0x80, %al
	movb $0x89, gdt + TSS_SEL + 5
	mov $TSS_SEL, %eax
	ltr %ax

/* ---- IRET ---- */

	TRY 1f
	pushq $DATA64
	pushq $stack_top
	pushq $2
	pushq $CODE64
	pushq $1f
	pushq $0x4002
	popfq
	iretq
1:	CLEAN_FLAGS
	CHECK_EXC_ERR 45, 13, 0
	TRY 1f
	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $USER_CODE64
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 46, 13, DATA64
	TRY 1f
	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $3
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 47, 13, 0
	TRY 1f
	TO_USER 2f
2:	pushq $DATA64
	pushq $user_stack_top
	pushq $0x202
	pushq $CODE64
	pushq $1f
	iretq
1:	CHECK_EXC_ERR 48, 13, CODE64
	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	TRY 1f
	TO_USER 2f
2:	mov %ds, %r12d
	mov %es, %r13d
	pushq $USER_DATA
	pushq $user_stack_top
	pushq $0x3001
	pushq $USER_CODE64
	pushq $3f
	iretq
3:	int $0x80
1:	CHECK_EXC 49, 0x80
	CHECK_EQ 49, exc_rflags, 0x203
	or %r12d, %r13d
	CHECK 50, z
	TRY 1f
	pushq $USER_DATA
	mov $user_stack_top, %eax
	bts $40, %rax
	push %rax
	pushq $0x202
	pushq $USER_CODE32
	pushq $2f
	iretq
	.code32
2:	push %eax
	pop %ebx
	int $0x80
	.code64
1:	CHECK_EXC 51, 0x80
	mov exc_rsp, %eax
	cmp $user_stack_top, %eax
	CHECK 51, e

	.macro USER_AND_BACK n
	TRY .Lb\@
	TO_USER .Lu\@
.Lu\@:
	int $0x80
.Lb\@:
	CHECK_EXC \n, 0x80
	.endm
	.macro NOT_TO_USER n, vector, error
	TRY .Lb\@
	TO_USER .Lu\@
.Lu\@:
	int $0x80
.Lb\@:
	CHECK_EXC_ERR \n, \vector, \error
	.endm
	mov $3, %r14d /* the second time IRETQ has seen these descriptors */
1:	USER_AND_BACK 62
	dec %r14d
	jnz 1b
	andb $0x7f, gdt + USER_CODE64-3+5
	NOT_TO_USER 62, 11, (USER_CODE64-3)
	orb $0x80, gdt + USER_CODE64-3+5
	USER_AND_BACK 62
	andb $0x7f, gdt + USER_DATA - 3 + 5
	TRY 1f
	TO_USER 2f
2:	int $0x80
1:	CHECK_EXC_HW 63, 12 /* (QEMU: #NP) */
	CHECK_ERR_HW 63, (USER_DATA-3)
	orb $0x80, gdt + USER_DATA - 3 + 5
	USER_AND_BACK 63
	movw $(USER_CODE64 - 3 - 1), gdt_ptr
	lgdt gdt_ptr
	NOT_TO_USER 64, 13, (USER_CODE64-3)
	movw $(gdt_end - gdt - 1), gdt_ptr
	lgdt gdt_ptr
	USER_AND_BACK 64
	TRY 1f
	TO_USER 2f, flags=0x40202
2:	pushfq
	pop %r12
	int $0x80
1:	CLEAN_FLAGS
	CHECK_EXC 65, 0x80
	cmp $0x40202, %r12
	CHECK 65, e
	mov $4, %r14d
1:	mov %rsp, %rbx
	pushq $DATA64
	lea -256(%rbx), %rax
	push %rax
	pushq $0x40c97
	pushq $CODE64
	pushq $2f
	iretq
2:	pushfq
	pop %rax
	lea 256(%rsp), %rcx
	mov %rcx, %rsp
	cmp %rbx, %rcx
	CHECK 66, e
	cmp $0x40c97, %rax
	CHECK 66, e
	CLEAN_FLAGS
	dec %r14d
	jnz 1b

/* ---- SYSENTER in IA-32e mode ---- */

	WRMSR_IMM MSR_SYSENTER_CS, 0, CODE32
	WRMSR_IMM MSR_SYSENTER_ESP, 0, stack_top
	WRMSR_IMM MSR_SYSENTER_EIP, 0, sysenter_64
	cmpb $0, is_intel
	jne 3f
	cmpb $0, is_kvm /* looks at every #UD itself, and ends the machine at SYSENTER and SYSEXIT of 64-bit kernel code */
	jne 4f
	TRY 1f
	sysenter
1:	CHECK_EXC 52, 6
4:	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	sysenter
	int3
	.code64
1:	CHECK_EXC 52, 6
	cmpb $0, is_kvm
	jne legacy
	TRY 1f
	sysexitl
1:	CHECK_EXC 52, 6
	jmp legacy
3:	TRY 1f
	TO_USER 2f
2:	sysenter
	int3
sysenter_64:
	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK 53, e
	mov %ss, %eax
	cmp $CODE64, %eax
	CHECK 53, e
	cmp $stack_top, %rsp
	CHECK 53, e
	mov $2f, %edx
	mov $user_stack_top, %ecx
	sysexitq
2:	int $0x80
1:	CHECK_EXC 54, 0x80
	CHECK_EQ 54, exc_cs, (CODE32+32+3)
	CHECK_EQ 54, exc_ss, (CODE32+40+3)
	CHECK_EQ 54, exc_rsp, user_stack_top
	TRY 1f
	mov $2f, %edx
	mov $user_stack_top, %ecx
	sysexitl
	.code32
2:	int $0x80
	.code64
1:	CHECK_EXC 55, 0x80
	CHECK_EQ 55, exc_cs, (CODE32+16+3)

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
	mov $iotss, %eax
	mov %ax, gdt_spare + 2
	shr $16, %eax
	mov %al, gdt_spare + 4
	mov %ah, gdt_spare + 7
	movw $103, gdt_spare
	movb $0x89, gdt_spare + 5
	movl $rsp0_top, iotss + 4
	movl $DATA64, iotss + 8
	mov $IOTSS_SEL, %eax
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
	CHECK_RAW 57, e
	cmp $0, %edi
	CHECK_RAW 57, e
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
	CHECK_RAW 58, z
	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK_RAW 58, e
	mov %ss, %eax
	cmp $(CODE32 + 8), %eax
	CHECK_RAW 58, e
	cmp $rsp0_top, %esp
	CHECK_RAW 58, e
	mov $2f, %edx
	mov $(user_stack_top - 16), %ecx
	sysexit
2:	push $0
	int $0x40
1:	cmp $0x40, %ebx
	CHECK_RAW 59, e
	cmp $(CODE32 + 16 + 3), %esi
	CHECK_RAW 59, e
	cmp $(CODE32 + 24 + 3), %ebp
	CHECK_RAW 59, e
	cmp $(user_stack_top - 20), %edx
	CHECK_RAW 59, e
	mov $DATA64, %eax
	mov %eax, %ss
	mov $stack_top, %esp
	movl $1f, resume32
	USER32 2f
2:	sysexit
1:	cmp $13, %ebx
	CHECK_RAW 60, e
	cmp $0, %edi
	CHECK_RAW 60, e
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

/* eax: limit */
load_iotss:
	mov %ax, gdt_spare
	movb $0x89, gdt_spare + 5
	mov $IOTSS_SEL, %eax
	ltr %ax
	ret

/* Executed at CPL 3. The same bytes do for compatibility mode up to priv_list_32. */
	.macro PRIV what:vararg
	.pushsection .data.priv, "aw", @progbits
	.quad .Lp\@
	.popsection
.Lp\@:
	\what
	int3
	.endm

	.pushsection .data.priv, "aw", @progbits
	.balign 8
priv_list:
	.popsection
	PRIV cli
	PRIV sti
	PRIV hlt
	PRIV clts
	PRIV in $0x80, %al
	PRIV in $0x80, %eax
	PRIV in %dx, %al
	PRIV out %al, $0x80
	PRIV out %eax, %dx
	PRIV mov %cr0, %rax
	PRIV mov %rax, %cr0
	PRIV mov %cr2, %rax
	PRIV mov %rax, %cr3
	PRIV mov %cr4, %rax
	PRIV mov %db0, %rax
	PRIV mov %rax, %db7
	PRIV rdmsr
	PRIV wrmsr
	PRIV invd
	PRIV wbinvd
	PRIV lmsw %ax
	PRIV ltr %ax
	PRIV lldt %ax
	PRIV invlpg (%rax)
	PRIV lgdt (%rax)
	PRIV lidt (%rax)
	PRIV insb
	PRIV outsl
	.pushsection .data.priv, "aw", @progbits
priv_list_32:
	.popsection
	PRIV swapgs
	PRIV mov %cr8, %rax
	PRIV mov %rax, %cr8
	PRIV sysretq
	PRIV rep insb
	.pushsection .data.priv, "aw", @progbits
priv_list_end:
umip_list:
	.popsection
	PRIV sgdt scratch
	PRIV sidt scratch
	PRIV sldt %eax
	PRIV str scratch
	PRIV smsw %eax
	.pushsection .data.priv, "aw", @progbits
umip_list_end:
	.popsection

	.data
far_leave:
	.long leave
	.word CODE32
	.align 8
gs_block: .quad 0, 0x65
idt32_ptr:
	.word 0x50 * 8 - 1
	.long idt32

	.bss
	.align 16
scratch: .skip 64
idt32: .skip 0x50 * 8
sc_next: .skip 8
sc32_next: .skip 8
resume32: .skip 4
is_intel: .skip 4
	.align 256
iotss: .skip 512
	.text
