/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * flat.h - what every flat guest starts with: PVH entry, long mode, exceptions, serial port, exit.
 *
 * Theory of operation. A flat guest is one assembler file that includes this one and defines `main`, called in
 * 64-bit mode at CPL 0 with paging on (first 4 GiB mapped to themselves by 2 MiB pages), interrupts off, an
 * IDT, a TSS and a stack. main ends with `xor %edi, %edi; jmp exit`. A failed check ends the guest with its
 * number through port 0xf4 (isa-debug-exit). Numbers 1..99 are the program's own, in order of appearance and
 * listed at its top; 100 is an exception that nobody asked for (printed on COM1), 101 a time-out.
 *
 *   TRY label            an exception from here on goes to `label`, at CPL 0 with today's RSP
 *   CHECK n, cc          fails with n unless condition cc holds
 *   CHECK_EXC n, v       the exception was vector v
 *   CHECK_EXC_ERR n, v, e  and had error code e
 *   HOOK v, fn           vector v calls fn (rdi: frame: rax at 0(FR_RAX).., all registers kept) and returns
 *
 * A kernel command line "flat: kvm tcg 7 11" says that this is a guest of KVM, that the processor is QEMU's TCG (which CPUID shows
 * only to its own guest, not to a guest's guest), and that the checks 7 and 11 are forgiven when they fail.
 *
 * A TRY holds for one exception. exc_* describe the last exception. In the frame of an exception from user
 * mode exc_cs etc. are the user's.
 */
#define CODE32 0x08
#define CODE64 0x10
#define DATA64 0x18
#define USER_CODE32 0x23
#define USER_DATA 0x2b
#define USER_CODE64 0x33
#define CODE16 0x38
#define DATA16 0x40
#define TSS_SEL 0x48
#define SPARE_SEL 0x58 /* two descriptors for a test's own use, then two more */

#define EXC_UNEXPECTED 100
#define EXC_TIMEOUT 101

#define FR_RAX 112
#define FR_RCX 104
#define FR_RDX 96
#define FR_RBX 88
#define FR_VEC 120
#define FR_ERR 128
#define FR_RIP 136
#define FR_CS 144
#define FR_RFLAGS 152
#define FR_RSP 160
#define FR_SS 168

#define NO_EXC 0xff

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103

#define CR0_TS 8
#define CR0_EM 4
#define CR0_WP 0x10000
#define CR4_TSD 4
#define CR4_DE 8
#define CR4_PGE 0x80
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_UMIP 0x800
#define CR4_FSGSBASE 0x10000
#define CR4_PCIDE 0x20000
#define CR4_SMEP 0x100000
#define CR4_SMAP 0x200000

	.macro TRY label
	movq $\label, exc_resume
	mov %rsp, exc_resume_rsp
	movq $NO_EXC, exc_vector
	.endm

	.macro CHECK n, cc
	j\cc .Lok\@
	btl $(\n & 31), forgiven + \n / 32 * 4
	jc .Lok\@
	mov $\n, %edi
	jmp exit
.Lok\@:
	.endm

	.macro CHECK_EXC n, v
	movq $0, exc_resume
	cmpq $\v, exc_vector
	CHECK \n, e
	.endm

	.macro CHECK_EXC_ERR n, v, e
	CHECK_EXC \n, \v
	cmpq $\e, exc_error
	CHECK \n, e
	.endm

	/* A check that QEMU's TCG is known to fail (it is the second oracle of these tests): not made there. */
	.macro CHECK_HW n, cc
	j\cc .Lhw\@
	cmpl $0, is_tcg
	CHECK \n, ne
.Lhw\@:
	.endm

	.macro CHECK_EXC_HW n, v
	movq $0, exc_resume
	cmpq $\v, exc_vector
	CHECK_HW \n, e
	.endm

	.macro CHECK_ERR_HW n, e
	cmpq $\e, exc_error
	CHECK_HW \n, e
	.endm

	/* Compares a quadword in memory or a register with a constant. */
	.macro CHECK_EQ n, what, value
	cmpq $\value, \what
	CHECK \n, e
	.endm

	.macro HOOK v, fn
	movq $\fn, vec_hook + 8 * (\v)
	.endm
	.macro UNHOOK v
	movq $0, vec_hook + 8 * (\v)
	.endm

	.macro WRMSR_IMM msr, hi, lo
	mov $\msr, %ecx
	mov $\lo, %eax
	mov $\hi, %edx
	wrmsr
	.endm

	.macro SET_CR4 bits
	mov %cr4, %rax
	or $(\bits), %rax
	mov %rax, %cr4
	.endm
	.macro CLEAR_CR4 bits
	mov %cr4, %rax
	and $~(\bits), %rax
	mov %rax, %cr4
	.endm

	.macro CLEAN_FLAGS
	pushq $2
	popfq
	.endm

	/* To CPL 3 at `rip`, with the stack at `rsp`; comes back by TRY and any exception (int $0x80 too). */
	.macro TO_USER rip, rsp=user_stack_top, cs=USER_CODE64, flags=0x202
	pushq $USER_DATA
	pushq $\rsp
	pushq $\flags
	pushq $\cs
	pushq $\rip
	iretq
	.endm

	/* Waits until memory (dword) is not less than a value, or fails by time-out (some seconds). */
	.macro WAIT_GE what, value
	mov $2000000000, %r15
.Lwait\@:
	cmpl $\value, \what
	jge .Lgot\@
	pause
	dec %r15
	jnz .Lwait\@
	mov $EXC_TIMEOUT, %edi
	jmp exit
.Lgot\@:
	.endm

	.section .note.Xen, "a", @note
	.align 4
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start

	.text
	.code32
	.globl _start, exit, main
_start:
	cli
	cld
	mov %ebx, pvh_info
	mov $stack_top, %esp
	lgdt gdt_ptr
	ljmp $CODE32, $1f
1:	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	/* Page tables: 4 GiB by 2 MiB pages. Not user. */
	mov $pdpt + 3, %eax
	mov %eax, pml4
	mov $pd + 3, %eax
	mov %eax, pdpt
	add $4096, %eax
	mov %eax, pdpt + 8
	add $4096, %eax
	mov %eax, pdpt + 16
	add $4096, %eax
	mov %eax, pdpt + 24
	xor %ecx, %ecx
2:	mov %ecx, %eax
	shl $21, %eax
	or $0x83, %eax
	mov %eax, pd(, %ecx, 8)
	inc %ecx
	cmp $2048, %ecx
	jb 2b
	mov $long_start, %eax
	/* fall through */

	/* Protected mode, paging off, to the 64-bit code at EAX. Uses ECX, EDX. Application processors come here too. */
to_long:
	mov %eax, %edi
	mov %cr4, %eax
	or $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
	mov %eax, %cr4
	mov $pml4, %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x900, %eax /* LME, NXE */
	wrmsr
	mov $0x80010033, %eax /* PG WP NE ET MP PE */
	mov %eax, %cr0
	ljmp $CODE64, $3f
	.code64
3:	mov %edi, %edi
	jmp *%rdi

long_start:
	mov $stack_top, %rsp
	/* IDT: 256 stubs of 16 bytes. */
	mov $idt, %rdi
	mov $vec_stubs, %rsi
	xor %ecx, %ecx
4:	call set_gate
	inc %ecx
	cmp $256, %ecx
	jb 4b
	movb $0xee, idt + 3 * 16 + 5 /* DPL 3 */
	movb $0xee, idt + 4 * 16 + 5
	movb $0xee, idt + 0x80 * 16 + 5
	lidt idt_ptr
	mov $tss, %eax
	mov %ax, gdt + TSS_SEL + 2
	shr $16, %eax
	mov %al, gdt + TSS_SEL + 4
	mov %ah, gdt + TSS_SEL + 7
	movw $103, gdt + TSS_SEL
	movb $0x89, gdt + TSS_SEL + 5
	movq $rsp0_top, tss + 4
	movq $ist1_top, tss + 36
	movq $ist2_top, tss + 44
	movw $104, tss + 102
	mov $TSS_SEL, %eax
	ltr %ax
	mov $0xff, %eax /* both 8259s masked */
	out %al, $0x21
	out %al, $0xa1
	fninit
	mov $0x40000000, %eax
	cpuid
	cmp $0x54474354, %ebx /* "TCGT" */
	sete is_tcg
	call read_words
	xor %eax, %eax
	xor %ebp, %ebp
	call main
	xor %edi, %edi
	/* fall through */

/* edi: 0 passed, else the number of the failed check. */
exit:
	cli
	mov %edi, %ebx
	test %edi, %edi
	jz 1f
	lea msg_fail, %rsi
	call puts
	mov %rbx, %rax
	call put_hex
	lea msg_last, %rsi
	call puts
	call put_exc
1:	mov $0xf4, %edx
	mov %ebx, %eax
	out %eax, %dx
2:	hlt
	jmp 2b

	/* The first GiB becomes the user's too. Uses RAX, RCX, RDI. */
pages_user:
	orq $4, pml4
	orq $4, pdpt
	mov $512, %ecx
	mov $pd, %rdi
1:	orq $4, (%rdi)
	add $8, %rdi
	dec %ecx
	jnz 1b
	mov %cr3, %rax
	mov %rax, %cr3
	ret

/* The command line: struct hvm_start_info, offset 24. */
read_words:
	mov pvh_info, %ebx
	mov 24(%rbx), %rsi
	test %rsi, %rsi
	jz 4f
	cmpl $0x74616c66, (%rsi) /* "flat" */
	jne 4f
	add $4, %rsi
1:	xor %ecx, %ecx
2:	movzbl (%rsi), %eax
	inc %rsi
	cmp $'t', %al
	jne 3f
	movl $2, is_tcg
3:	cmp $'k', %al
	sete %dl
	or %dl, is_kvm
	sub $'0', %al
	cmp $9, %al
	ja 5f
	imul $10, %ecx, %ecx
	add %eax, %ecx
	jmp 2b
5:	test %ecx, %ecx
	jz 6f
	movzbl %cl, %ecx
	bts %ecx, forgiven
6:	add $'0', %al
	jnz 1b
4:	ret

/* rdi: gate, rsi: stub; both move on to the next. */
set_gate:
	mov %rsi, %rax
	mov %ax, (%rdi)
	movw $CODE64, 2(%rdi)
	movw $0x8e00, 4(%rdi)
	shr $16, %rax
	mov %ax, 6(%rdi)
	shr $16, %rax
	mov %eax, 8(%rdi)
	movl $0, 12(%rdi)
	add $16, %rdi
	add $16, %rsi
	ret

	.align 16
vec_stubs:
	.set vec_no, 0
	.rept 256
	.align 16
	.if !((vec_no == 8) || (vec_no >= 10 && vec_no <= 14) || (vec_no == 17) || (vec_no == 21))
	pushq $0
	.endif
	pushq $vec_no
	jmp vec_common
	.set vec_no, vec_no + 1
	.endr

	.align 16
vec_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	mov FR_VEC(%rdi), %rbx
	lock incl vec_count(, %rbx, 4)
	mov vec_hook(, %rbx, 8), %rax
	test %rax, %rax
	jz 1f
	call *%rax
	jmp 3f
1:	mov %rbx, exc_vector
	mov FR_ERR(%rdi), %rax
	mov %rax, exc_error
	mov FR_RIP(%rdi), %rax
	mov %rax, exc_rip
	mov FR_CS(%rdi), %rax
	mov %rax, exc_cs
	mov FR_RFLAGS(%rdi), %rax
	mov %rax, exc_rflags
	mov FR_RSP(%rdi), %rax
	mov %rax, exc_rsp
	mov FR_SS(%rdi), %rax
	mov %rax, exc_ss
	mov %rdi, exc_frame
	mov %cr2, %rax
	mov %rax, exc_cr2
	mov exc_resume, %rax
	test %rax, %rax
	jz unexpected
	movq $0, exc_resume
	mov %rax, FR_RIP(%rdi)
	movq $CODE64, FR_CS(%rdi)
	movq $DATA64, FR_SS(%rdi)
	mov exc_resume_rsp, %rax
	mov %rax, FR_RSP(%rdi)
	andq $~0x10100, FR_RFLAGS(%rdi) /* no RF, no TF */
3:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

unexpected:
	lea msg_exc, %rsi
	call puts
	call put_exc
	mov $EXC_UNEXPECTED, %edi
	jmp exit

put_exc:
	mov exc_vector, %rax
	call put_hex
	lea msg_err, %rsi
	call puts
	mov exc_error, %rax
	call put_hex
	lea msg_rip, %rsi
	call puts
	mov exc_rip, %rax
	call put_hex
	lea msg_cr2, %rsi
	call puts
	mov exc_cr2, %rax
	call put_hex
	jmp put_nl

/* rsi: string. Clobbers rax, rdx, rsi. */
puts:
1:	lodsb
	test %al, %al
	jz 2f
	call putc
	jmp 1b
2:	ret

putc:
	push %rax
	mov $0x3fd, %edx
1:	in %dx, %al
	test $0x20, %al
	jz 1b
	pop %rax
	mov $0x3f8, %edx
	out %al, %dx
	ret

put_nl:
	mov $10, %al
	jmp putc

/* rax in hexadecimal. */
put_hex:
	push %rcx
	push %rbx
	mov %rax, %rbx
	mov $16, %ecx
1:	rol $4, %rbx
	mov %bl, %al
	and $15, %al
	add $'0', %al
	cmp $'9', %al
	jbe 2f
	add $39, %al
2:	call putc
	dec %ecx
	jnz 1b
	pop %rbx
	pop %rcx
	ret

	.data
msg_fail: .asciz "flat: failed check "
msg_last: .asciz "; last exception "
msg_exc: .asciz "flat: exception "
msg_err: .asciz " error "
msg_rip: .asciz " rip "
msg_cr2: .asciz " cr2 "

	.align 16
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 08 32-bit code */
	.quad 0x00af9b000000ffff /* 10 64-bit code */
	.quad 0x00cf93000000ffff /* 18 data */
	.quad 0x00cffb000000ffff /* 20 user 32-bit code */
	.quad 0x00cff3000000ffff /* 28 user data */
	.quad 0x00affb000000ffff /* 30 user 64-bit code */
	.quad 0x000f9b000000ffff /* 38 16-bit code, base 0, 1 MiB */
	.quad 0x000093000000ffff /* 40 16-bit data, base 0, 64 KiB */
	.quad 0, 0 /* 48 TSS, made at run time */
gdt_spare:
	.quad 0, 0, 0, 0
gdt_end:
	.align 16
gdt_ptr:
	.word gdt_end - gdt - 1
	.quad gdt
	.align 16
idt_ptr:
	.word 256 * 16 - 1
	.quad idt

	.bss
	.align 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4 * 4096
idt: .skip 4096
vec_hook: .skip 256 * 8
vec_count: .skip 256 * 4
exc_vector: .skip 8
exc_error: .skip 8
exc_rip: .skip 8
exc_cs: .skip 8
exc_rflags: .skip 8
exc_rsp: .skip 8
exc_ss: .skip 8
exc_cr2: .skip 8
exc_frame: .skip 8
exc_resume: .skip 8
exc_resume_rsp: .skip 8
pvh_info: .skip 8
is_tcg: .skip 8 /* 1: by CPUID, 2: by the command line */
is_kvm: .skip 8
forgiven: .skip 32 /* a bit for each check, by the command line */
	.align 16
tss: .skip 112
	.align 4096
	.skip 16384
stack_top:
	.skip 16384
rsp0_top:
	.skip 8192
ist1_top:
	.skip 8192
ist2_top:
	.skip 8192
user_stack_top:
	.text
