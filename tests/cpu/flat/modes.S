/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modes - every mode of the processor, and the far transfers between them. expect: 0
 *
 * All of it is done twice: the second time with whatever the first left in caches of translations.
 *
 *  1 CS in compatibility mode  2 INC EAX there  3 PUSH is 4 bytes  4 effective address cut to 32 bits
 *  5 far CALL 64 -> compat and RETF back  6 its frame  7 RSP after it  8 RETFQ to compat  9 IRETQ to compat
 *  10 IRETD from compat to 64-bit  11 16-bit compat: PUSH is 2 bytes  12 effective address cut to 16 bits
 *  13 segment base in compat  14 limit: #GP(0)  15 null segment: #GP(0)  16 write by CS override: #GP(0)
 *  17 call gate, same level  18 its frame  19 RSP after RETFQ  20 call gate from CPL 3: null SS
 *  21 stack from the TSS and its frame  22 RETFQ to CPL 3: CS, SS, RSP  23 the same from CPL 3 in compat
 *  24 RETFQ imm to CPL 3  25 gate with bad upper type: #GP(gate)  26 gate DPL  27 gate not present: #NP(gate)
 *  28 gate to 32-bit code: #GP(selector)  29 far JMP to data  30 to CPL 3 code  31 null  32 L and D both set
 *  33 PG off in 64-bit mode: #GP  34 PAE off in IA-32e mode: #GP  35 far JMP by a gate
 *  36 PG off: EFER.LMA goes, LME stays  37 32-bit interrupt frame  38 #UD there  39 error code of a bad selector
 *  40 IRETD to CPL 3: DS made null  41 32-bit call gate: stack switched, parameters copied  42 RETF imm through it
 *  43 #GP at CPL 3, TSS stack  44 32-bit paging: 4 KiB alias  45 #PF and CR2  46 4 MiB pages  47 PAE paging
 *  48 reserved bit in a PDPTE: #GP  49 16-bit protected: SP only  50 16-bit segment limit  51 real mode: CS
 *  52 INT through the IVT: frame  53 IF clear in it  54 IF back after IRET  55 #DE: fault address
 *  56 #GP at 64 KiB, no error code  57 segment of a 4 GiB limit kept (unreal mode)  58 far CALL  59 RETF imm
 *  60 SP wraps  61 REP STOSB: DI wraps  62 line 20 is open  63 PUSHA, POPA  64 ENTER, LEAVE  65 LOOP with CX
 *  66 LIDT moves the IVT  67 SMSW, LMSW sets PE  68 up again: EFER.LMA  69 16-bit call gate
 *  70 data segment limit in real mode: 32-bit address beyond it is #GP  71 conforming code keeps the CPL
 */
#include "flat.h"

#define LOW 0x8000 /* 16-bit code is copied here */
#define LOW_OF(label) (LOW + label - low_begin)
#define GATE_SEL SPARE_SEL
#define SEG_SEL (SPARE_SEL + 16)
#define TSS32_SEL (SPARE_SEL + 24)
#define USER_CODE64_INDEX 0x30 /* as error codes show it */
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define ALIAS 0x40000000

	/* A check in any mode at CPL 0. */
	.macro CHECK_RAW n, cc
	j\cc .Lr\@
	mov $\n, %eax
	out %eax, $0xf4
.Lh\@:
	hlt
	jmp .Lh\@
.Lr\@:
	.endm

	/* The same, not made by QEMU (see flat.h). */
	.macro CHECK_RAW_HW n, cc, prefix, seg
	j\cc .Lq\@
	\prefix cmpl $0, \seg\()is_tcg
	CHECK_RAW \n, ne
.Lq\@:
	.endm

	.macro FAR_POINTER name, label, sel
\name:
	.long \label
	.word \sel
	.endm

/* ---- 64-bit and compatibility mode ---- */

	/* rdi: target, eax: selector, dx: attributes */
set_gate64:
	mov %di, gdt_spare
	mov %ax, gdt_spare + 2
	mov %dx, gdt_spare + 4
	shr $16, %rdi
	mov %di, gdt_spare + 6
	shr $16, %rdi
	mov %edi, gdt_spare + 8
	movl $0, gdt_spare + 12
	ret

	.macro GATE64 target, sel, attr=0xec00
	mov $\target, %edi
	mov $\sel, %eax
	mov $\attr, %edx
	call set_gate64
	.endm

main:
	mov %rsp, main_rsp
	call pages_user
	movl $0x12345678, 0x2000
	mov $low_begin, %esi
	mov $LOW, %edi
	mov $(low_end - low_begin), %ecx
	rep movsb
	/* vectors of real mode */
	movl $LOW_OF(real_h0), 0 * 4
	movl $LOW_OF(real_h13), 13 * 4
	movl $LOW_OF(real_h60), 0x60 * 4
	movl $2, rounds

round:
	ljmp *far_compat
	.code32
compat:
	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK_RAW 1, e
	mov $-1, %eax
	.byte 0x40 /* inc %eax */
	CHECK_RAW 2, z
	mov %esp, %ecx
	push %eax
	sub %esp, %ecx
	pop %eax
	cmp $4, %ecx
	CHECK_RAW 3, e
	mov $0x80000000, %eax
	mov marker(%eax, %eax), %edx
	cmp $0x600df00d, %edx
	CHECK_RAW 4, e
	ljmp $CODE64, $1f
	.code64
1:	mov %rsp, %rbp
	xor %ebx, %ebx
	lcall *far_sub32
	cmp $0x5a, %ebx
	CHECK 5, e
	cmp %rsp, %rbp
	CHECK 7, e
	pushq $CODE32
	pushq $1f
	lretq
	.code32
1:	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK_RAW 8, e
	pushf
	push $CODE64
	push $1f
	iret
	.code64
1:	mov %cs, %eax
	cmp $CODE64, %eax
	CHECK 10, e
	mov %rsp, %rax
	pushq $DATA64
	pushq %rax
	pushfq
	pushq $CODE32
	pushq $1f
	iretq
	.code32
1:	mov %cs, %eax
	cmp $CODE32, %eax
	CHECK_RAW 9, e
	ljmp $CODE16, $LOW_OF(low_compat)
	.code64
from_compat16:
	/* A data segment with base and limit. */
	mov $marker, %eax
	mov %ax, gdt_spare + 16 + 2
	shr $16, %eax
	mov %al, gdt_spare + 16 + 4
	mov %ah, gdt_spare + 16 + 7
	movw $0xfff, gdt_spare + 16
	movb $0x93, gdt_spare + 16 + 5
	movb $0x40, gdt_spare + 16 + 6
	mov $SEG_SEL, %eax
	mov %eax, %fs
	TRY 2f
	ljmp *far_1
	.code32
compat_1:
	cmpl $0x600df00d, %fs:0
	CHECK_RAW 13, e
	cmpl $0, %fs:0xffc
	mov %fs:0xffd, %eax
	ljmp $CODE64, $2f
	.code64
2:	CHECK_EXC_HW 14, 13 /* (QEMU checks no limits and segment types) */
	CHECK_ERR_HW 14, 0
	xor %eax, %eax
	mov %eax, %fs
	TRY 2f
	ljmp *far_2
	.code32
compat_2:
	mov %fs:marker, %eax
	ljmp $CODE64, $2f
	.code64
2:	CHECK_EXC_HW 15, 13
	CHECK_ERR_HW 15, 0
	TRY 2f
	ljmp *far_3
	.code32
compat_3:
	mov %eax, %cs:marker
	ljmp $CODE64, $2f
	.code64
2:	CHECK_EXC_HW 16, 13
	CHECK_ERR_HW 16, 0

/* ---- call gates, far transfers ---- */

	GATE64 gate_same, CODE64
	mov %rsp, %rbp
	xor %ebx, %ebx
	lcall *far_gate
after_gate:
	cmp $0x6b, %ebx
	CHECK 17, e
	cmp %rsp, %rbp
	CHECK 19, e
	mov %rsp, %rbp
	GATE64 1f, CODE64
	ljmp *far_gate
1:	cmp %rsp, %rbp
	CHECK 35, e

	GATE64 gate_inner, CODE64
	movq $user_after, want_rip
	movq $USER_CODE64, want_cs
	TRY 1f
	TO_USER 2f
2:	lcall *far_gate
user_after:
	int $0x80
1:	CHECK_EXC 22, 0x80
	CHECK_EQ 22, exc_cs, USER_CODE64
	CHECK_EQ 22, exc_ss, USER_DATA
	CHECK_EQ 22, exc_rsp, user_stack_top
	movq $user_after32, want_rip
	movq $USER_CODE32, want_cs
	TRY 1f
	TO_USER 2f, cs=USER_CODE32
	.code32
2:	lcall $(GATE_SEL | 3), $0
user_after32:
	int $0x80
	.code64
1:	CHECK_EXC 23, 0x80
	CHECK_EQ 23, exc_cs, USER_CODE32
	CHECK_EQ 23, exc_ss, USER_DATA
	CHECK_EQ 23, exc_rsp, user_stack_top

	TRY 1f
	pushq $USER_DATA
	pushq $(user_stack_top - 64)
	sub $16, %rsp
	pushq $USER_CODE64
	pushq $2f
	lretq $16
2:	int $0x80
1:	CHECK_EXC 24, 0x80
	CHECK_EQ 24, exc_rsp, user_stack_top-48

	movl $0x0c00, gdt_spare + 12
	TRY 1f
	lcall *far_gate
1:	CHECK_EXC_ERR 25, 13, GATE_SEL
	GATE64 gate_inner, CODE64, 0x8c00
	TRY 1f
	TO_USER 2f
2:	lcall *far_gate
1:	CHECK_EXC_ERR 26, 13, GATE_SEL
	GATE64 gate_inner, CODE64, 0x6c00
	TRY 1f
	lcall *far_gate
1:	CHECK_EXC_ERR 27, 11, GATE_SEL
	GATE64 gate_inner, CODE32
	TRY 1f
	lcall *far_gate
1:	CHECK_EXC_ERR 28, 13, CODE32
	TRY 1f
	ljmp *far_data
1:	CHECK_EXC_ERR 29, 13, DATA64
	TRY 1f
	ljmp *far_user
1:	CHECK_EXC_ERR 30, 13, USER_CODE64_INDEX
	TRY 1f
	ljmp *far_null
1:	CHECK_EXC_ERR 31, 13, 0
	cmpl $2, is_tcg /* QEMU takes it for 64-bit code; in a guest's guest the next VM entry fails then */
	je 2f
	movabs $0x00ef9b000000ffff, %rax /* L and D */
	mov %rax, gdt_spare + 16
	TRY 1f
	ljmp *far_seg
1:	CHECK_EXC_HW 32, 13
2:

	/* Conforming code of DPL 0, from CPL 3. */
	movabs $0x00af9f000000ffff, %rax
	mov %rax, gdt_spare + 16
	TRY 1f
	TO_USER 2f
2:	ljmp *far_conforming
conforming:
	int $0x80
1:	CHECK_EXC 71, 0x80
	CHECK_EQ 71, exc_cs, SEG_SEL+3

	mov %cr0, %rax
	btr $31, %rax
	TRY 1f
	mov %rax, %cr0
1:	CHECK_EXC_ERR 33, 13, 0
	mov %cr4, %rax
	btr $5, %rax
	TRY 1f
	mov %rax, %cr4
1:	CHECK_EXC_ERR 34, 13, 0
	ljmp *far_leave

gate_same:
	CHECK_EQ 18, (%rsp), after_gate
	CHECK_EQ 18, 8(%rsp), CODE64
	mov $0x6b, %ebx
	lretq

gate_inner:
	mov %ss, %eax
	test %eax, %eax
	CHECK 20, z
	cmp $(rsp0_top - 32), %rsp
	CHECK 21, e
	mov want_rip, %rax
	cmp %rax, (%rsp)
	CHECK 21, e
	mov want_cs, %rax
	cmp %rax, 8(%rsp)
	CHECK 21, e
	CHECK_EQ 21, 16(%rsp), user_stack_top
	CHECK_EQ 21, 24(%rsp), USER_DATA
	lretq

/* ---- 32-bit protected mode ---- */

	.code32
sub32:
	mov $0x5a, %ebx
	cmpl $CODE64, 4(%esp)
	CHECK_RAW 6, e
	lea 8(%esp), %eax
	cmp %ebp, %eax
	CHECK_RAW 6, e
	lret

	/* ecx: vector, eax: handler, edx: attributes */
set_gate32:
	mov %ax, idt32(, %ecx, 8)
	movw $CODE32, idt32 + 2(, %ecx, 8)
	mov %dx, idt32 + 4(, %ecx, 8)
	shr $16, %eax
	mov %ax, idt32 + 6(, %ecx, 8)
	ret
	.macro GATE32 vector, handler, attr=0x8e00
	mov $\vector, %ecx
	mov $\handler, %eax
	mov $\attr, %edx
	call set_gate32
	.endm
	/* The next exception of 32-bit mode goes to `label` at CPL 0 with this ESP. */
	.macro TRY32 label
	movl $\label, resume32
	mov %esp, resume32_esp
	movl $NO_EXC, exc_vector
	.endm

leave:
	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %cr0, %eax
	btr $31, %eax
	mov %eax, %cr0
	jmp 1f
1:	mov $MSR_EFER, %ecx
	rdmsr
	mov %eax, %ebx
	and $(EFER_LME | EFER_LMA), %ebx
	cmp $EFER_LME, %ebx
	CHECK_RAW 36, e
	and $~EFER_LME, %eax
	wrmsr
	lidt idt32_ptr
	GATE32 6, h32_6
	GATE32 13, h32_13
	GATE32 14, h32_14
	GATE32 0x40, h32_40
	GATE32 0x41, h32_41, 0xee00
	/* a 32-bit TSS */
	mov $tss32, %eax
	mov %ax, gdt + TSS32_SEL + 2
	shr $16, %eax
	mov %al, gdt + TSS32_SEL + 4
	mov %ah, gdt + TSS32_SEL + 7
	movw $103, gdt + TSS32_SEL
	movb $0x89, gdt + TSS32_SEL + 5
	movl $rsp0_top, tss32 + 4
	movl $DATA64, tss32 + 8
	movw $104, tss32 + 102
	mov $TSS32_SEL, %eax
	ltr %ax

	xor %ebx, %ebx
	mov %esp, %ebp
	int $0x40
after_int40:
	cmp $1, %ebx
	CHECK_RAW 37, e
	cmp %esp, %ebp
	CHECK_RAW 37, e
	TRY32 1f
ud32:	ud2
1:	cmpl $6, exc_vector
	CHECK_RAW 38, e
	cmpl $ud32, exc_rip
	CHECK_RAW 38, e
	mov $0x7b, %ecx
	TRY32 1f
	mov %ecx, %es
1:	cmpl $13, exc_vector
	CHECK_RAW 39, e
	cmpl $0x78, exc_error
	CHECK_RAW 39, e

	/* A gate for CPL 3, two parameters. */
	mov $gate32, %eax
	mov %ax, gdt_spare
	movw $CODE32, gdt_spare + 2
	movw $0xec02, gdt_spare + 4
	shr $16, %eax
	mov %ax, gdt_spare + 6
	TRY32 3f
	mov $0x77, %esi
	push $USER_DATA
	push $user_stack_top
	push $2
	push $USER_CODE32
	push $2f
	iret
2:	mov %ds, %esi
	mov $USER_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	push $0x11
	push $0x22
	lcall $(GATE_SEL | 3), $0
user32_after:
	mov %esp, %edi
	cli
3:	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	test %esi, %esi
	CHECK_RAW 40, z
	cmp $0x33, %ebx
	CHECK_RAW 41, e
	cmp $user_stack_top, %edi
	CHECK_RAW 42, e
	cmpl $13, exc_vector
	CHECK_RAW 43, e
	cmpl $0, exc_error
	CHECK_RAW 43, e
	cmpl $USER_CODE32, exc_cs
	CHECK_RAW 43, e
	cmpl $user_stack_top, exc_rsp
	CHECK_RAW 43, e
	cmpl $(rsp0_top - 24), exc_frame
	CHECK_RAW 43, e
	/* 16-bit gate: pushes words. Its target lies below 64 KiB. */
	movw $LOW_OF(low_gate16), gdt_spare
	movw $CODE32, gdt_spare + 2
	movw $0xe400, gdt_spare + 4
	movw $0, gdt_spare + 6
	mov %esp, %ebp
	lcall $GATE_SEL, $0
	/* (comes back to the low half of the address, see there) */
back_gate16:
	cmp %esp, %ebp
	CHECK_RAW 69, e

	/* 32-bit paging: 4 MiB pages to themselves; a 4 KiB page at ALIAS. */
	mov %cr4, %eax
	and $~0x20, %eax
	or $0x10, %eax
	mov %eax, %cr4
	xor %ecx, %ecx
1:	mov %ecx, %eax
	shl $22, %eax
	or $0x87, %eax
	mov %eax, dir32(, %ecx, 4)
	inc %ecx
	cmp $1024, %ecx
	jb 1b
	movl $(table32 + 7), dir32 + (ALIAS >> 20)
	movl $(marker + 7), table32
	movl $0, table32 + 4
	mov $dir32, %eax
	mov %eax, %cr3
	mov %cr0, %eax
	bts $31, %eax
	mov %eax, %cr0
	jmp 1f
1:	cmpl $0x600df00d, ALIAS
	CHECK_RAW 44, e
	TRY32 1f
	incl ALIAS + 0x1008
1:	cmpl $14, exc_vector
	CHECK_RAW 45, e
	cmpl $2, exc_error
	CHECK_RAW_HW 45, e /* (QEMU reads first) */
	mov %cr2, %eax
	cmp $(ALIAS + 0x1008), %eax
	CHECK_RAW 45, e
	movl $0x87, dir32 + 4 * 0x101 /* ALIAS + 4 MiB: physical 0 */
	mov %cr3, %eax
	mov %eax, %cr3
	mov $marker, %esi
	and $0x3fffff, %esi
	cmpl $0x600df00d, ALIAS + 0x400000(%esi)
	CHECK_RAW 46, e

	/* PAE paging, with the page directories of long mode. */
	mov %cr0, %eax
	btr $31, %eax
	mov %eax, %cr0
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	movl $(pd + 1), pae_pdpt
	movl $(pd + 4096 + 1), pae_pdpt + 8
	movl $(pd + 8192 + 1), pae_pdpt + 16
	movl $(pd + 12288 + 1), pae_pdpt + 24
	mov $pae_pdpt, %eax
	mov %eax, %cr3
	mov %cr0, %eax
	bts $31, %eax
	mov %eax, %cr0
	movl $0x83, pd + 4096 /* 0x40000000: physical 0 */
	mov %cr3, %eax
	mov %eax, %cr3
	mov $marker, %esi
	and $0x1fffff, %esi
	cmpl $0x600df00d, ALIAS(%esi)
	CHECK_RAW 47, e
	movl $(ALIAS + 0x87), pd + 4096
	movl $(pd + 3), pae_pdpt
	TRY32 1f
	mov %cr3, %eax
	mov %eax, %cr3
1:	cmpl $13, exc_vector
	jne 2f
	cmpl $0, exc_error
2:	CHECK_RAW_HW 48, e /* (QEMU does not check) */
	mov %cr0, %eax
	btr $31, %eax
	mov %eax, %cr0
	ljmp $CODE16, $LOW_OF(low_protected)

gate32:
	cmp $(rsp0_top - 24), %esp
	CHECK_RAW 41, e
	cmpl $user32_after, (%esp)
	CHECK_RAW 41, e
	cmpl $USER_CODE32, 4(%esp)
	CHECK_RAW 41, e
	cmpl $(user_stack_top - 8), 16(%esp)
	CHECK_RAW 41, e
	cmpl $USER_DATA, 20(%esp)
	CHECK_RAW 41, e
	mov 8(%esp), %ebx
	cmp $0x22, %ebx
	CHECK_RAW 41, e
	add 12(%esp), %ebx /* 0x11 + 0x22 */
	lret $8

h32_40:
	cmpl $after_int40, (%esp)
	CHECK_RAW 37, e
	cmpl $CODE32, 4(%esp)
	CHECK_RAW 37, e
	lea 12(%esp), %eax
	cmp %ebp, %eax
	CHECK_RAW 37, e
	inc %ebx
	iret

h32_6:
	push $0
	push $6
	jmp h32
h32_41:
	push $0
	push $0x41
	jmp h32
h32_13:
	push $13
	jmp h32
h32_14:
	push $14
h32:	push %ds
	push $DATA64
	pop %ds
	push %eax
	lea 12(%esp), %eax /* at the error code */
	mov %eax, exc_frame
	mov 8(%esp), %eax
	mov %eax, exc_vector
	mov 12(%esp), %eax
	mov %eax, exc_error
	mov 16(%esp), %eax
	mov %eax, exc_rip
	mov 20(%esp), %eax
	mov %eax, exc_cs
	mov 28(%esp), %eax
	mov %eax, exc_rsp
	mov 32(%esp), %eax
	mov %eax, exc_ss
	pop %eax
	mov resume32_esp, %esp
	jmp *resume32

up32:
	mov $DATA64, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xor %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	mov $stack_top, %esp
	mov $up64, %eax
	jmp to_long

	.code64
up64:
	mov main_rsp, %rsp
	lidt idt_ptr
	movb $0x89, gdt + TSS_SEL + 5
	mov $TSS_SEL, %eax
	ltr %ax
	mov $MSR_EFER, %ecx
	rdmsr
	test $EFER_LMA, %eax
	CHECK 68, nz
	decl rounds
	jnz round
	ret

#include "flat_modes.h"

	.data
	.align 4096
marker: .quad 0x600df00d
	.skip 4096
FAR_POINTER far_compat, compat, CODE32
FAR_POINTER far_1, compat_1, CODE32
FAR_POINTER far_2, compat_2, CODE32
FAR_POINTER far_3, compat_3, CODE32
FAR_POINTER far_sub32, sub32, CODE32
FAR_POINTER far_leave, leave, CODE32
FAR_POINTER far_gate, 0, GATE_SEL
FAR_POINTER far_data, 0, DATA64
FAR_POINTER far_user, 0, USER_CODE64
FAR_POINTER far_null, 0, 0
FAR_POINTER far_seg, 0, SEG_SEL
FAR_POINTER far_conforming, conforming, SEG_SEL
idt32_ptr:
	.word 0x50 * 8 - 1
	.long idt32

	.bss
	.align 4096
dir32: .skip 4096
table32: .skip 4096
pae_pdpt: .skip 32
idt32: .skip 0x50 * 8
tss32: .skip 104
main_rsp: .skip 8
want_rip: .skip 8
want_cs: .skip 8
resume32: .skip 4
resume32_esp: .skip 4
rounds: .skip 4
	.text
