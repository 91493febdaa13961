/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strings - MOVS, STOS, LODS, CMPS, SCAS with REP: faults in the middle, direction, overlap, sizes. expect: 0
 *
 * Pages of a window at 1 GiB are missing until the #PF handler maps them; it notes the registers it found.
 *
 *  1 REP MOVSB, destination missing: RCX, RSI, RDI, RIP, CR2, error code  2 the result after the restart
 *  3 source missing  4 MOVSQ across the boundary: nothing written before the fault  5 DF = 1, destination
 *  6 DF = 1, source  7 DF in the pushed flags, back after IRET  8 STOSB, W, L, Q missing page  9 page read-only
 *  10 LODS: the last element is in RAX  11 its fault  12 REPE CMPSB: fault, then difference  13 REPNE CMPSW
 *  14 REPNE SCASB: fault, then found  15 REPE SCASL, DF = 1  16 RCX = 0 at a bad address: nothing happens
 *  17 flags kept then  18 RCX = 1 there: #GP(0), registers unchanged  19 32-bit addresses and count  20 FS source
 *  21 64 KiB of missing pages: every fault exact  22 the same with MOVSQ, both sides, unaligned
 *  23 overlap: any distance, size and direction, as single loads and stores do it  24 from CPL 3 to a supervisor
 *  page  25 without REP: fault leaves the registers  26 REPNE MOVSB is REP  27 RCX = 0 after each of them
 *  28 CMPS flags  29 large copy and compare  30 REP STOS stopped by a limit of user access leaves a prefix
 */
#include "flat.h"

#define WINDOW 0x40000000
#define FR_RSI 72
#define FR_RDI 64

	/* Makes page n of the window missing, or read-only. */
	.macro MISSING n
	andq $~1, pt + 8 * (\n)
	invlpg WINDOW + 4096 * (\n)
	.endm
	.macro READ_ONLY n
	andq $~2, pt + 8 * (\n)
	invlpg WINDOW + 4096 * (\n)
	.endm
	.macro REGS rcx, rsi, rdi
	mov $\rcx, %ecx
	mov $\rsi, %esi
	mov $\rdi, %edi
	movl $0, pf_count
	.endm
	.macro CHECK_REGS n, rcx, rsi, rdi
	cmp $\rcx, %rcx
	CHECK \n, e
	cmp $\rsi, %rsi
	CHECK \n, e
	cmp $\rdi, %rdi
	CHECK \n, e
	.endm
	/* The last page fault. */
	.macro CHECK_PF n, rip, rcx, rsi, rdi, cr2, error
	cmpl $1, pf_count
	CHECK \n, e
	cmpq $\rip, pf_rip
	CHECK \n, e
	cmpq $\rcx, pf_rcx
	CHECK \n, e
	cmpq $\rsi, pf_rsi
	CHECK \n, e
	cmpq $\rdi, pf_rdi
	CHECK \n, e
	cmpq $\cr2, pf_cr2
	CHECK \n, e
	cmpq $\error, pf_error
	CHECK \n, e
	.endm

hook_pf:
	incl pf_count
	mov FR_RIP(%rdi), %rax
	mov %rax, pf_rip
	mov FR_RCX(%rdi), %rax
	mov %rax, pf_rcx
	mov FR_RSI(%rdi), %rax
	mov %rax, pf_rsi
	mov FR_RDI(%rdi), %rax
	mov %rax, pf_rdi
	mov FR_RAX(%rdi), %rax
	mov %rax, pf_rax
	mov FR_RFLAGS(%rdi), %rax
	mov %rax, pf_rflags
	mov FR_ERR(%rdi), %rax
	mov %rax, pf_error
	mov %cr2, %rax
	mov %rax, pf_cr2
	mov pf_watch, %rcx /* what was at a place when it faulted */
	mov (%rcx), %rcx
	mov %rcx, pf_seen
	mov pf_check, %rcx
	test %rcx, %rcx
	jz 1f
	call *%rcx
1:	mov pf_cr2, %rax
	mov %rax, %rcx
	shr $12, %rcx
	and $511, %ecx
	orq $3, pt(, %rcx, 8)
	invlpg (%rax)
	ret

/* 21: STOSQ from the window's start. */
check_21:
	mov pf_rdi, %rax
	cmp pf_cr2, %rax
	CHECK 21, e
	sub $WINDOW, %rax
	mov pf_rcx, %rcx
	shl $3, %rcx
	add %rcx, %rax
	cmp $0x10000, %rax
	CHECK 21, e
	ret

/* 22: MOVSQ, registers in step, at an element that touches the missing page. */
check_22:
	mov pf_rdi, %rax
	sub pf_rsi, %rax
	cmp $(0x10005 - 0x3), %rax
	CHECK 22, e
	mov pf_rcx, %rax
	shl $3, %rax
	add pf_rdi, %rax
	cmp $(WINDOW + 0x10005 + 0x3000), %rax
	CHECK 22, e
	mov pf_cr2, %rax
	mov pf_rsi, %rcx
	cmp $(WINDOW + 0x10000), %rax
	jb 1f
	mov pf_rdi, %rcx
1:	sub %rcx, %rax
	cmp $8, %rax
	CHECK 22, b
	ret

main:
	/* The window: 4 KiB pages, writable, user but for page 63. */
	movq $(pt + 7), pd + 4096
	mov $(pages + 7), %eax
	xor %ecx, %ecx
1:	mov %rax, pt(, %rcx, 8)
	add $4096, %eax
	inc %ecx
	cmp $64, %ecx
	jb 1b
	andq $~4, pt + 63 * 8
	orq $4, pdpt + 8
	call pages_user
	movq $pf_seen, pf_watch
	HOOK 14, hook_pf
	/* A pattern everywhere. */
	mov $WINDOW, %edi
	mov $(64 * 4096 / 4), %ecx
	mov $12345, %eax
1:	imul $1103515245, %eax
	add $12345, %eax
	mov %eax, (%rdi)
	add $4, %rdi
	dec %ecx
	jnz 1b

/* ---- MOVS ---- */

	MISSING 5
	REGS 20, WINDOW+0x123, WINDOW+0x4ff6
i1:	rep movsb
	CHECK_PF 1, i1, 10, WINDOW+0x12d, WINDOW+0x5000, WINDOW+0x5000, 2
	CHECK_REGS 2, 0, WINDOW+0x137, WINDOW+0x500a
	mov $WINDOW + 0x123, %esi
	mov $WINDOW + 0x4ff6, %edi
	call same_20
	CHECK 2, e
	MISSING 1
	REGS 20, WINDOW+0xff4, WINDOW+0x4ff6
i3:	rep movsb
	CHECK_PF 3, i3, 8, WINDOW+0x1000, WINDOW+0x5002, WINDOW+0x1000, 0
	CHECK_REGS 3, 0, WINDOW+0x1008, WINDOW+0x500a
	mov $WINDOW + 0xff4, %esi
	mov $WINDOW + 0x4ff6, %edi
	call same_20
	CHECK 3, e
	movl $0x11223344, WINDOW + 0x4ffc
	movq $(WINDOW + 0x4ff8), pf_watch
	MISSING 5
	REGS 3, WINDOW+0x2000, WINDOW+0x4ffc
i4:	rep movsq
	movq $pf_seen, pf_watch
	CHECK_PF 4, i4, 3, WINDOW+0x2000, WINDOW+0x4ffc, WINDOW+0x5000, 2
	cmpl $0x11223344, pf_seen + 4
	CHECK 4, e
	CHECK_REGS 4, 0, WINDOW+0x2018, WINDOW+0x5014
	mov WINDOW + 0x2000, %rax
	cmp WINDOW + 0x4ffc, %rax
	CHECK 4, e
	mov WINDOW + 0x2010, %rax
	cmp WINDOW + 0x500c, %rax
	CHECK 4, e

	MISSING 4
	REGS 6, WINDOW+0x2100, WINDOW+0x5008
	std
i5:	rep movsl
	pushfq
	pop %rax
	cld
	CHECK_PF 5, i5, 3, WINDOW+0x20f4, WINDOW+0x4ffc, WINDOW+0x4ffc, 2
	CHECK_REGS 5, 0, WINDOW+0x20e8, WINDOW+0x4ff0
	test $0x400, %eax
	CHECK 7, nz
	testl $0x400, pf_rflags
	CHECK 7, nz
	mov $WINDOW + 0x20ec, %esi
	mov $WINDOW + 0x4ff4, %edi
	call same_20
	CHECK 5, e
	MISSING 1
	REGS 20, WINDOW+0x2009, WINDOW+0x5009
	std
i6:	rep movsb
	cld
	CHECK_REGS 6, 0, WINDOW+0x1ff5, WINDOW+0x4ff5
	CHECK_PF 6, i6, 10, WINDOW+0x1fff, WINDOW+0x4fff, WINDOW+0x1fff, 0
	MISSING 1
	REGS 9, WINDOW+0x1010, WINDOW+0x3000
	TRY 1f /* (not used: the hook) */
i25:	movsl
1:	movq $0, exc_resume
	CHECK_PF 25, i25, 9, WINDOW+0x1010, WINDOW+0x3000, WINDOW+0x1010, 0
	CHECK_REGS 25, 9, WINDOW+0x1014, WINDOW+0x3004
	MISSING 5
	REGS 20, WINDOW+0x123, WINDOW+0x4ff6
i26:	.byte 0xf2, 0xa4 /* repne movsb */
	CHECK_PF 26, i26, 10, WINDOW+0x12d, WINDOW+0x5000, WINDOW+0x5000, 2
	CHECK_REGS 26, 0, WINDOW+0x137, WINDOW+0x500a

/* ---- STOS, LODS ---- */

	movabs $0x1122334455667788, %rax
	MISSING 5
	REGS 16, 7, WINDOW+0x4ff8
i8b:	rep stosb
	CHECK_PF 8, i8b, 8, 7, WINDOW+0x5000, WINDOW+0x5000, 2
	CHECK_REGS 27, 0, 7, WINDOW+0x5008
	MISSING 5
	REGS 8, 7, WINDOW+0x4ff8
i8w:	rep stosw
	CHECK_PF 8, i8w, 4, 7, WINDOW+0x5000, WINDOW+0x5000, 2
	MISSING 5
	REGS 4, 7, WINDOW+0x4ff8
i8l:	rep stosl
	CHECK_PF 8, i8l, 2, 7, WINDOW+0x5000, WINDOW+0x5000, 2
	MISSING 5
	REGS 3, 7, WINDOW+0x4ffa
i8q:	rep stosq
	CHECK_PF 8, i8q, 3, 7, WINDOW+0x4ffa, WINDOW+0x5000, 2
	CHECK_REGS 8, 0, 7, WINDOW+0x5012
	cmp WINDOW + 0x500a, %rax
	CHECK 8, e
	cmp WINDOW + 0x4ffa, %rax
	CHECK 8, e
	cmpw $0x7788, WINDOW + 0x4ff8
	CHECK 8, e
	READ_ONLY 5
	REGS 16, 7, WINDOW+0x4ff8
i9:	rep stosb
	CHECK_PF 9, i9, 8, 7, WINDOW+0x5000, WINDOW+0x5000, 3
	MISSING 4
	REGS 16, 7, WINDOW+0x5007
	std
i8d:	rep stosb
	cld
	CHECK_PF 8, i8d, 8, 7, WINDOW+0x4fff, WINDOW+0x4fff, 2
	CHECK_REGS 8, 0, 7, WINDOW+0x4ff7

	MISSING 2
	REGS 10, WINDOW+0x1ffa, 7
	mov $-1, %rax
i11:	rep lodsb
	CHECK_PF 11, i11, 4, WINDOW+0x2000, 7, WINDOW+0x2000, 0
	CHECK_REGS 10, 0, WINDOW+0x2004, 7
	cmp WINDOW + 0x2003, %al
	CHECK 10, e
	shr $8, %rax
	movabs $0x00ffffffffffffff, %rcx
	cmp %rcx, %rax
	CHECK 10, e
	mov WINDOW + 0x1fff, %al
	cmp %al, pf_rax
	CHECK 11, e
	REGS 3, WINDOW+0x1ffa, 7
	rep lodsl
	mov WINDOW + 0x2002, %ecx
	cmp %rcx, %rax
	CHECK 10, e

/* ---- CMPS, SCAS ---- */

	mov $WINDOW + 0x1f00, %esi
	mov $WINDOW + 0x6f00, %edi
	mov $0x200, %ecx
	rep movsb
	notb WINDOW + 0x7010
	MISSING 2
	REGS 0x200, WINDOW+0x1f00, WINDOW+0x6f00
i12:	repe cmpsb
	pushfq
	CHECK_PF 12, i12, 0x100, WINDOW+0x2000, WINDOW+0x7000, WINDOW+0x2000, 0
	CHECK_REGS 12, 0xef, WINDOW+0x2011, WINDOW+0x7011
	mov WINDOW + 0x2010, %al
	cmp WINDOW + 0x7010, %al
	pushfq
	pop %rax
	pop %rbx
	xor %ebx, %eax
	test $0x8d5, %eax
	CHECK 28, z
	notb WINDOW + 0x7010
	REGS 0x200, WINDOW+0x1f00, WINDOW+0x6f00
	repe cmpsb
	CHECK 12, e
	CHECK_REGS 12, 0, WINDOW+0x2100, WINDOW+0x7100
	/* different all the way, then equal */
	mov $WINDOW + 0x8ff0, %edi
	mov $0x100, %ecx
	xor %eax, %eax
	rep stosb
	mov $WINDOW + 0xbff0, %edi
	mov $0x100, %ecx
	mov $1, %al
	rep stosb
	movw $0, WINDOW + 0xc006
	MISSING 12
	REGS 0x40, WINDOW+0x8ff0, WINDOW+0xbff0
i13:	repne cmpsw
	CHECK 13, e
	CHECK_PF 13, i13, 0x38, WINDOW+0x9000, WINDOW+0xc000, WINDOW+0xc000, 0
	CHECK_REGS 13, 0x34, WINDOW+0x9008, WINDOW+0xc008
	movb $0x99, WINDOW + 0xc020
	MISSING 12
	REGS 0x100, 7, WINDOW+0xbff0
	mov $0x99, %al
i14:	repne scasb
	CHECK 14, e
	CHECK_PF 14, i14, 0xf0, 7, WINDOW+0xc000, WINDOW+0xc000, 0
	CHECK_REGS 14, 0xcf, 7, WINDOW+0xc021
	mov $0x01010101, %eax
	movl $0, WINDOW + 0xbff4
	MISSING 11
	REGS 100, 7, WINDOW+0xc000
	std
i15:	repe scasl
	cld
	CHECK 15, ne
	CHECK_PF 15, i15, 99, 7, WINDOW+0xbffc, WINDOW+0xbffc, 0
	CHECK_REGS 15, 96, 7, WINDOW+0xbff0

/* ---- counts of 0, bad addresses ---- */

	movabs $0x8000000000000000, %rsi
	lea 5(%rsi), %rdi
	xor %ecx, %ecx
	movl $0, pf_count
	mov $0x83, %edx
	pushq $0x8d7
	popfq
	rep movsb
	rep stosq
	rep lodsl
	repe cmpsb
	repne scasw
	rep insb
	rep outsl
	pushfq
	pop %rbx
	cmp $0x8d7, %rbx
	CHECK 17, e
	test %rcx, %rcx
	CHECK 16, z
	shl $1, %rsi
	CHECK 16, z
	mov $0x40000000 + 64 * 4096, %esi /* not mapped */
	mov %rsi, %rdi
	rep movsq
	repne cmpsl
	rep stosb
	cmpl $0, pf_count
	CHECK 16, e
	movabs $0x8000000000000000, %rdi
	mov $WINDOW, %esi
	mov $1, %ecx
	TRY 1f
	rep movsb
1:	CHECK_EXC_ERR 18, 13, 0
	cmp $1, %rcx
	CHECK 18, e
	cmp $WINDOW, %rsi
	CHECK 18, e

	movabs $0xdead000000000000 + WINDOW + 0x3000, %rdi
	movabs $0xbeef000000000000 + WINDOW + 0x2000, %rsi
	movabs $0xfee1000000000008, %rcx
	addr32 rep movsb
	CHECK_REGS 19, 0, WINDOW+0x2008, WINDOW+0x3008
	mov WINDOW + 0x2000, %rax
	cmp WINDOW + 0x3000, %rax
	CHECK 19, e
	WRMSR_IMM MSR_FS_BASE, 0, WINDOW+0x2000
	mov $WINDOW + 0x3000, %edi
	mov $0x10, %esi
	mov $2, %ecx
	rep movsq %fs:(%rsi), (%rdi)
	CHECK_REGS 20, 0, 0x20, WINDOW+0x3010
	mov WINDOW + 0x2018, %rax
	cmp WINDOW + 0x3008, %rax
	CHECK 20, e

/* ---- many faults ---- */

	xor %ecx, %ecx
1:	andq $~1, pt(, %rcx, 8)
	inc %ecx
	cmp $16, %ecx
	jb 1b
	mov %cr3, %rax
	mov %rax, %cr3
	movq $check_21, pf_check
	REGS 0x2000, 7, WINDOW
	movabs $0x0123456789abcdef, %rax
	rep stosq
	CHECK_REGS 21, 0, 7, WINDOW+0x10000
	cmpl $16, pf_count
	CHECK 21, e
	REGS 0x2000, 7, WINDOW
	repe scasq
	CHECK 21, e
	movq $0, pf_check
	/* 3 pages from window + 3 to window + 0x10005. */
	mov $WINDOW, %edi
	mov $0x2000, %ecx
	mov $77, %eax
1:	imul $69069, %eax
	inc %eax
	mov %eax, (%rdi)
	add $4, %rdi
	dec %ecx
	jnz 1b
	.irp n, 0, 1, 2, 3, 16, 17, 18, 19
	andq $~1, pt + 8 * \n
	.endr
	mov %cr3, %rax
	mov %rax, %cr3
	movq $check_22, pf_check
	REGS 0x600, WINDOW+3, WINDOW+0x10005
	rep movsq
	CHECK_REGS 22, 0, WINDOW+0x3003, WINDOW+0x13005
	cmpl $8, pf_count
	CHECK 22, e
	movq $0, pf_check
	REGS 0x3000, WINDOW+3, WINDOW+0x10005
	repe cmpsb
	CHECK 22, e

/* ---- overlap ---- */

	mov $moves, %ebx
1:	mov $distances, %ebp
2:	call overlap
	add $4, %ebp
	cmp $distances_end, %ebp
	jb 2b
	add $16, %ebx
	cmp $moves_end, %ebx
	jb 1b

/* ---- larger ones ---- */

	mov $WINDOW, %esi
	mov $(WINDOW + 0x20000), %edi
	mov $0x1fff7, %ecx
	rep movsb
	mov $WINDOW, %esi
	mov $(WINDOW + 0x20000), %edi
	mov $0x1fff7, %ecx
	repe cmpsb
	CHECK 29, e
	test %ecx, %ecx
	CHECK 29, z

/* ---- CPL 3 ---- */

	UNHOOK 14
	mov $WINDOW + 63 * 4096, %eax
	movq $0, (%rax)
	mov $0x55, %eax
	TRY 1f
	TO_USER 2f
2:	mov $WINDOW + 63 * 4096 - 6, %edi
	mov $20, %ecx
	mov $0x55, %eax
3:	rep stosb
1:	CHECK_EXC_ERR 24, 14, 7
	CHECK_EQ 24, exc_rip, 3b
	CHECK_EQ 24, exc_cr2, WINDOW+63*4096
	cmp $14, %rcx
	CHECK 24, e
	cmp $(WINDOW + 63 * 4096), %rdi
	CHECK 24, e
	cmpl $0x55555555, WINDOW + 63 * 4096 - 4
	CHECK 30, e
	cmpl $0, WINDOW + 63 * 4096
	CHECK 30, e
	ret

/* ZF: 20 bytes at rsi and rdi are the same. */
same_20:
	mov (%rsi), %rax
	cmp (%rdi), %rax
	jne 1f
	mov 8(%rsi), %rax
	cmp 8(%rdi), %rax
	jne 1f
	mov 16(%rsi), %eax
	cmp 16(%rdi), %eax
1:	ret

/*
 * rbx: an entry of moves, rbp: of distances. Moves inside one area by REP MOVS and inside another one by loads
 * and stores, and compares the areas.
 */
overlap:
	mov $WINDOW, %edi
	mov $0x3000 / 4, %ecx
	mov $4711, %eax
1:	imul $69069, %eax
	inc %eax
	mov %eax, (%rdi)
	mov %eax, 0x8000(%rdi)
	add $4, %rdi
	dec %ecx
	jnz 1b
	mov $WINDOW + 0xf31, %esi
	movslq (%rbp), %rax
	lea (%rsi, %rax), %rdi
	mov $300, %ecx
	mov %rsi, %r8
	mov %rdi, %r9
	movslq 8(%rbx), %r10
	test %r10, %r10
	jns 1f
	std
1:	call *(%rbx)
	cld
	test %rcx, %rcx
	CHECK 23, z
	mov %rsi, %r11
	mov %rdi, %r12
	lea 0x8000(%r8), %rsi
	lea 0x8000(%r9), %rdi
	mov $300, %ecx
	movslq 12(%rbx), %rax
	jmp *%rax
one_b:	mov (%rsi), %al
	mov %al, (%rdi)
	jmp 2f
one_w:	mov (%rsi), %ax
	mov %ax, (%rdi)
	jmp 2f
one_l:	mov (%rsi), %eax
	mov %eax, (%rdi)
	jmp 2f
one_q:	mov (%rsi), %rax
	mov %rax, (%rdi)
2:	add %r10, %rsi
	add %r10, %rdi
	movslq 12(%rbx), %rax
	dec %ecx
	jz 3f
	jmp *%rax
3:	sub $0x8000, %rsi
	sub $0x8000, %rdi
	cmp %rsi, %r11
	CHECK 23, e
	cmp %rdi, %r12
	CHECK 23, e
	mov $WINDOW, %edi
	mov $0x3000 / 8, %ecx
4:	mov (%rdi), %rax
	cmp %rax, 0x8000(%rdi)
	CHECK 23, e
	add $8, %rdi
	dec %ecx
	jnz 4b
	ret

move_b:	rep movsb
	ret
move_w:	rep movsw
	ret
move_l:	rep movsl
	ret
move_q:	rep movsq
	ret

	.data
	.align 8
	/* routine; step; its single form */
moves:
	.quad move_b
	.long 1, one_b
	.quad move_w
	.long 2, one_w
	.quad move_l
	.long 4, one_l
	.quad move_q
	.long 8, one_q
	.quad move_b
	.long -1, one_b
	.quad move_w
	.long -2, one_w
	.quad move_l
	.long -4, one_l
	.quad move_q
	.long -8, one_q
moves_end:
distances:
	.long 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100, 0x200, 0x1000
	.long -1, -2, -3, -4, -5, -7, -8, -9, -15, -16, -17, -33, -64, -100, -0x200
distances_end:

	.bss
	.align 4096
pt: .skip 4096
pages: .skip 64 * 4096
pf_count: .skip 8
pf_rip: .skip 8
pf_rcx: .skip 8
pf_rsi: .skip 8
pf_rdi: .skip 8
pf_rax: .skip 8
pf_rflags: .skip 8
pf_error: .skip 8
pf_cr2: .skip 8
pf_seen: .skip 16
pf_watch: .skip 8
pf_check: .skip 8
	.text
