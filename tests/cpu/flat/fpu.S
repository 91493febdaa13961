/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu - x87, MMX and SSE as an operating system sees them: exceptions, control bits, state images. expect: 0
 *
 *  1 CR0.TS: x87 #NM  2 SSE #NM  3 MMX #NM  4 FXSAVE, FXRSTOR #NM  5 CLTS  6 FWAIT: #NM with TS and MP  7 not with one
 *  of them  8 CR0.EM: x87 #NM  9 SSE, MMX #UD  10 FWAIT goes  11 FXSAVE #NM  12 OSFXSR clear: SSE #UD, before #NM
 *  13 x87, MMX and FXSAVE go then  14 CPL 3 with TS  15 MOVNTI, FENCEs ask no bit  16 #MF comes with the next waiting
 *  instruction, at its RIP  18 FNSTSW, FNSTCW, FNCLEX, FNINIT do not wait  19 FSTSW does  20 MMX does
 *  21 FIP, FDP of the instruction to blame, or zero  22 FNSTENV: the same, tag word  23 FNINIT's values  24 stack
 *  overflow and underflow: IE, SF, C1  25 precision control  26 rounding control  27 80-bit, BCD and 64-bit integer forms
 *  28 FNSAVE, FRSTOR  29 MMX aliases the x87 stack, EMMS  30 FXSAVE image  31 FXRSTOR  32 misaligned FXSAVE: #GP(0)
 *  33 MXCSR reserved bits: #GP(0) by LDMXCSR  34 by FXRSTOR  35 #XM: divide by zero, destination kept
 *  36 MXCSR flag of it  37 invalid, overflow, underflow, inexact, denormal  38 OSXMMEXCPT clear: #UD  39 packed: one
 *  element is enough  40 denormal operand flag  41 DAZ  42 FTZ  43 CVTSS2SI and MXCSR.RC  44 misaligned MOVAPS: #GP(0)
 *  45 of an arithmetic operand  46 MOVUPS, MOVSS do not mind  47 MOVUPS across a missing page: CR2, register kept
 *  48 state over system instructions, faults, port I/O  49 two contexts swapped  50 FCOMI, FCMOV  51 MASKMOVDQU
 *  52 MOVNTDQ, MOVNTPS alignment  53 comparisons with NaN: COMISS signals, UCOMISS does not  54 STMXCSR at CPL 3
 *  55 store to a read-only page leaves the x87 stack
 *
 * 7, 10, 13, 15 and 46 must not fault: if they do it is an exception that nobody asked for (100).
 */
#include "flat.h"

#define CR0_MP 2
#define CR0_NE 0x20
#define MISSING_PAGE 0x600000

	.macro SET_CR0 bits
	mov %cr0, %rax
	or $(\bits), %rax
	mov %rax, %cr0
	.endm
	.macro CLEAR_CR0 bits
	mov %cr0, %rax
	and $~(\bits), %rax
	mov %rax, %cr0
	.endm
	.macro RAISES n, vector, what:vararg
	TRY .Lra\@
.Lri\@:
	\what
.Lra\@:
	CHECK_EXC \n, \vector
	cmpq $.Lri\@, exc_rip
	CHECK \n, e
	.endm
	.macro RAISES_HW n, vector, what:vararg
	TRY .Lra\@
.Lri\@:
	\what
.Lra\@:
	CHECK_EXC_HW \n, \vector
	cmpq $.Lri\@, exc_rip
	CHECK_HW \n, e
	.endm
	.macro MXCSR value
	movl $\value, scratch
	ldmxcsr scratch
	.endm
	.macro CHECK_MXCSR n, value
	stmxcsr scratch
	cmpl $\value, scratch
	CHECK_HW \n, e /* (QEMU does not keep all flags) */
	.endm
	/* A pointer in a state image: an engine may keep none, but not show its own. */
	.macro MINE_OR_ZERO n, where, value
	cmpq $0, \where
	je .Lzero\@
	cmpq $\value, \where
	CHECK \n, e
.Lzero\@:
	.endm
	.macro FCW value
	movw $\value, scratch
	fldcw scratch
	.endm

main:
	andq $~1, pd + 24 /* MISSING_PAGE */
	call pages_user

/* ---- TS, EM, MP, OSFXSR ---- */

	fninit
	fxsave image
	SET_CR0 CR0_TS
	RAISES 1, 7, fld1
	RAISES 1, 7, fldcw scratch
	RAISES 1, 7, fnstsw %ax
	RAISES 1, 7, fninit
	RAISES 2, 7, xorps %xmm0, %xmm0
	RAISES 2, 7, movss scratch, %xmm0
	RAISES 2, 7, movdqu %xmm0, scratch
	RAISES 2, 7, stmxcsr scratch
	RAISES 2, 7, cvtsi2sd %eax, %xmm0
	RAISES 3, 7, paddb %mm0, %mm0
	RAISES_HW 3, 7, emms
	RAISES 4, 7, fxsave image
	RAISES 4, 7, fxrstor image
	RAISES 6, 7, fwait
	CLEAR_CR0 CR0_MP
	fwait
	SET_CR0 CR0_MP
	movnti %eax, scratch
	lfence
	mfence
	sfence
	prefetcht0 scratch
	pause
	TRY 1f
	TO_USER 2f
2:	nop
3:	movaps %xmm0, %xmm1
1:	CHECK_EXC 14, 7
	CHECK_EQ 14, exc_rip, 3b
	CHECK_EQ 14, exc_cs, USER_CODE64
	clts
	mov %cr0, %rax
	test $CR0_TS, %eax
	CHECK 5, z
	fld1
	fstp %st
	fwait
	SET_CR0 CR0_EM
	RAISES 8, 7, fld1
	RAISES 8, 7, fnstcw scratch
	RAISES 9, 6, xorps %xmm0, %xmm0
	RAISES 9, 6, paddb %mm0, %mm0
	RAISES 9, 6, ldmxcsr scratch
	RAISES 11, 7, fxsave image
	fwait
	movnti %eax, scratch
	CLEAR_CR0 CR0_EM
	SET_CR0 CR0_TS
	CLEAR_CR4 CR4_OSFXSR
	RAISES 12, 6, xorps %xmm0, %xmm0
	RAISES 12, 6, ldmxcsr scratch
	RAISES 12, 6, movups %xmm0, scratch
	clts
	RAISES 12, 6, addsd %xmm0, %xmm0
	fld1
	fstp %st
	paddb %mm0, %mm0
	emms
	fxsave image
	movnti %eax, scratch
	SET_CR4 CR4_OSFXSR

/* ---- x87 exceptions ---- */

	fninit
	FCW 0x37b /* divide by zero */
	fld1
fpu_insn:
	fdivs zero
	fnstsw %ax
	test $0x84, %al /* ES, ZE */
	CHECK 18, nz
	fnstcw scratch
	fnstenv image
	fldcw image /* FNSTENV masks all: unmask again */
	RAISES_HW 16, 16, fld1 /* (QEMU: FWAIT only) */
	RAISES 16, 16, fwait
	RAISES_HW 19, 16, fstsw %ax
	RAISES_HW 20, 16, paddb %mm0, %mm0
	cmpw $0x37b, image
	CHECK 22, e
	fxsave64 image
	MINE_OR_ZERO 21, image + 8, fpu_insn
	MINE_OR_ZERO 21, image + 16, zero
	testw $0x80, image + 2
	CHECK 21, nz
	fnclex
	fwait
	fnstsw %ax
	test $0x80ff, %eax
	CHECK 18, z
	fninit
	fnstcw scratch
	cmpw $0x37f, scratch
	CHECK 23, e
	fnstsw %ax
	test %ax, %ax
	CHECK 23, z
	fnstenv image
	cmpw $0xffff, image + 8
	CHECK 23, e
	FCW 0x37b
	fld1
fpu_insn2:
	fdivs zero
	fnstenv image
	mov image + 12, %eax
	mov %rax, scratch
	MINE_OR_ZERO 22, scratch, fpu_insn2
	mov image + 20, %eax
	mov %rax, scratch
	MINE_OR_ZERO 22, scratch, zero
	cmpw $0x3fff, image + 8 /* ST0 valid */
	CHECK_HW 22, e /* (QEMU stores the infinity) */
	fninit

	fstp %st /* underflow, masked */
	fnstsw %ax
	and $0x241, %eax
	cmp $0x41, %eax
	CHECK_HW 24, e
	fnclex
	fninit
	.rept 8
	fld1
	.endr
	fnstsw %ax
	test $0x41, %eax
	CHECK 24, z
	fld1 /* overflow */
	fnstsw %ax
	and $0x241, %eax
	cmp $0x241, %eax
	CHECK_HW 24, e
	fninit
	fld1
	fdivs three
	fstpl scratch
	mov scratch, %rax
	FCW 0x07f /* single precision */
	fld1
	fdivs three
	fstpl scratch
	mov scratch, %rcx
	cmp %rax, %rcx
	CHECK 25, ne
	movabs $0x3fd5555560000000, %rdx
	cmp %rdx, %rcx
	CHECK 25, e
	FCW 0xf7f /* towards zero */
	flds two_and_half
	fistpl scratch
	cmpl $2, scratch
	CHECK 26, e
	FCW 0xb7f /* up */
	flds two_and_half
	fistpl scratch
	cmpl $3, scratch
	CHECK 26, e
	fninit
	fldpi
	fstpt scratch
	fldt scratch
	fstpt scratch + 16
	mov scratch, %rax
	cmp scratch + 16, %rax
	CHECK 27, e
	movabs $0xc90fdaa22168c235, %rcx
	cmp %rcx, %rax
	CHECK 27, e
	cmpw $0x4000, scratch + 24
	CHECK 27, e
	movabs $0x7fffffffffffff01, %rax
	mov %rax, scratch
	fildq scratch
	fistpq scratch + 8
	cmp scratch + 8, %rax
	CHECK 27, e
	movl $1234567, scratch
	fildl scratch
	fbstp scratch
	mov scratch, %eax
	cmp $0x01234567, %eax
	CHECK 27, e
	fbld scratch
	fistpl scratch
	cmpl $1234567, scratch
	CHECK 27, e

	fninit
	fld1
	fldpi
	fnsave image
	fnstenv scratch
	cmpw $0xffff, scratch + 8 /* FNSAVE is FNINIT, too */
	CHECK 28, e
	frstor image
	fstpl scratch
	fstpl scratch + 8
	movabs $0x400921fb54442d18, %rax
	cmp %rax, scratch
	CHECK 28, e
	movabs $0x3ff0000000000000, %rax
	cmp %rax, scratch + 8
	CHECK 28, e

	fninit
	fld1
	fld1
	mov $0x1122334455667788, %rax
	movq %rax, %mm3
	fxsave64 image
	cmp %rax, image + 32 + 3 * 16
	CHECK 29, e
	cmpw $0xffff, image + 32 + 3 * 16 + 8
	CHECK_HW 29, e /* (QEMU keeps the exponent) */
	cmpb $0xff, image + 4
	CHECK 29, e
	testw $0x3800, image + 2 /* TOP */
	CHECK 29, z
	emms
	fxsave64 image
	cmpb $0, image + 4
	CHECK 29, e

/* ---- FXSAVE, FXRSTOR ---- */

	mov $image, %edi
	mov $512, %ecx
	xor %eax, %eax
	rep stosb
	fninit
	FCW 0x27f
	fldz
	fld1
	MXCSR 0x1fa0
	mov $0x1111111111111111, %rax
	mov %rax, %rcx
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq %rcx, %xmm\n
	punpcklqdq %xmm\n, %xmm\n
	add %rax, %rcx
	.endr
	fxsave64 image
	cmpl $0x3000027f, image /* FCW, FSW: TOP = 6 */
	CHECK 30, e
	cmpb $0xc0, image + 4
	CHECK 30, e
	cmpl $0x1fa0, image + 24
	CHECK 30, e
	testl $0xffbf, image + 28
	CHECK 30, nz
	movabs $0x8000000000000000, %rdx
	cmp %rdx, image + 32
	CHECK 30, e
	cmpw $0x3fff, image + 40
	CHECK 30, e
	cmpq $0, image + 48
	CHECK 30, e
	mov %rax, %rcx
	mov $image + 160, %edi
	mov $16, %ebx
1:	cmp %rcx, (%rdi)
	CHECK 30, e
	cmp %rcx, 8(%rdi)
	CHECK 30, e
	add %rax, %rcx
	add $16, %edi
	dec %ebx
	jnz 1b
	fninit
	MXCSR 0x1f80
	xorps %xmm5, %xmm5
	xorps %xmm15, %xmm15
	fxrstor64 image
	fxsave64 image2
	call same_images
	CHECK 31, e
	TRY 1f
	fxsave64 image + 8
1:	CHECK_EXC_ERR 32, 13, 0
	TRY 1f
	fxrstor64 image + 8
1:	CHECK_EXC_ERR 32, 13, 0
	movl $0x80001f80, scratch
	TRY 1f
	ldmxcsr scratch
1:	CHECK_EXC_HW 33, 13 /* (QEMU takes it) */
	CHECK_ERR_HW 33, 0
	mov $image, %esi
	mov $image2, %edi
	mov $512, %ecx
	rep movsb
	orl $0x10000, image2 + 24
	TRY 1f
	fxrstor64 image2
1:	CHECK_EXC_HW 34, 13
	CHECK_ERR_HW 34, 0
	fxrstor64 image

/* ---- SIMD exceptions ---- */

	MXCSR 0x1d80
	movss one, %xmm0
	RAISES_HW 35, 19, divss zero, %xmm0
	movd %xmm0, %eax
	cmp $0x3f800000, %eax
	CHECK_HW 35, e
	CHECK_MXCSR 36, 0x1d84
	MXCSR 0x1f00
	movss minus_one, %xmm0
	RAISES_HW 37, 19, sqrtss %xmm0, %xmm0
	CHECK_MXCSR 37, 0x1f01
	MXCSR 0x1b80
	movss huge, %xmm0
	RAISES_HW 37, 19, mulss %xmm0, %xmm0
	CHECK_MXCSR 37, 0x1b88
	MXCSR 0x1780
	movss tiny, %xmm0
	RAISES_HW 37, 19, mulss %xmm0, %xmm0
	stmxcsr scratch
	testl $0x10, scratch
	CHECK_HW 37, nz
	MXCSR 0x0f80
	movss one, %xmm0
	RAISES_HW 37, 19, divss three, %xmm0
	CHECK_MXCSR 37, 0x0fa0
	MXCSR 0x1e80
	movss denormal, %xmm0
	RAISES_HW 37, 19, addss one, %xmm0
	CHECK_MXCSR 37, 0x1e82
	MXCSR 0x1d80
	movups ones, %xmm1
	RAISES_HW 39, 19, divps mixed, %xmm1
	CLEAR_CR4 CR4_OSXMMEXCPT
	MXCSR 0x1d80
	movss one, %xmm0
	RAISES_HW 38, 6, divss zero, %xmm0
	SET_CR4 CR4_OSXMMEXCPT

	MXCSR 0x1f80
	movss denormal, %xmm0
	addss denormal, %xmm0
	movd %xmm0, %eax
	cmp $2, %eax
	CHECK 40, e
	CHECK_MXCSR 40, 0x1f82
	MXCSR 0x1fc0 /* DAZ */
	movss denormal, %xmm0
	addss denormal, %xmm0
	movd %xmm0, %eax
	test %eax, %eax
	CHECK 41, z
	CHECK_MXCSR 41, 0x1fc0
	MXCSR 0x9f80 /* FTZ */
	movss tiny, %xmm0
	mulss half, %xmm0
	movd %xmm0, %eax
	test %eax, %eax
	CHECK 42, z
	CHECK_MXCSR 42, 0x9fb0
	MXCSR 0x1f80
	cvtss2si two_and_half, %eax
	cmp $2, %eax
	CHECK 43, e
	MXCSR 0x5f80 /* up */
	cvtss2si two_and_half, %eax
	cmp $3, %eax
	CHECK 43, e
	cvttss2si two_and_half, %eax
	cmp $2, %eax
	CHECK 43, e
	MXCSR 0x1f80
	movss nan, %xmm0
	ucomiss %xmm0, %xmm0
	CHECK 53, p
	CHECK_MXCSR 53, 0x1f80
	comiss %xmm0, %xmm0
	CHECK 53, p
	CHECK_MXCSR 53, 0x1f81
	MXCSR 0x1f80

/* ---- alignment, pages ---- */

	.macro GP n, what:vararg
	TRY .Lgp\@
	\what
.Lgp\@:
	CHECK_EXC_HW \n, 13 /* (QEMU 7.2 does not check) */
	CHECK_ERR_HW \n, 0
	.endm
	GP 44, movaps image + 8, %xmm0
	GP 44, movaps %xmm0, image + 4
	GP 44, movdqa image + 1, %xmm0
	GP 45, paddd image + 8, %xmm0
	GP 45, addps image + 8, %xmm0
	GP 52, movntdq %xmm0, image + 8
	GP 52, movntps %xmm0, image + 8
	movups image + 3, %xmm0
	movdqu %xmm0, image2 + 5
	movss image + 1, %xmm0
	addsd image + 1, %xmm0
	paddb image + 1, %mm0
	emms
	movups ones, %xmm7
	TRY 1f
	movups MISSING_PAGE - 6, %xmm7
1:	CHECK_EXC_ERR 47, 14, 0
	CHECK_EQ 47, exc_cr2, MISSING_PAGE
	movq %xmm7, %rax
	cmp ones, %rax
	CHECK 47, e
	movq $0, MISSING_PAGE - 8
	TRY 1f
	movups %xmm7, MISSING_PAGE - 6
1:	CHECK_EXC_ERR 47, 14, 2
	cmpq $0, MISSING_PAGE - 8
	CHECK_HW 47, e
	andq $~2, pd + 16 /* 4 MiB: read-only */
	invlpg 0x400000
	fninit
	fldpi
	TRY 1f
	fstpl 0x400000
1:	CHECK_EXC_ERR 55, 14, 3
	fnstsw %ax
	and $0x3800, %eax
	cmp $0x3800, %eax
	CHECK 55, e
	orq $2, pd + 16
	invlpg 0x400000
	fstpl 0x400000
	mov $0x0f0f, %eax
	movd %eax, %xmm1
	pxor %xmm1, %xmm1
	pcmpeqb %xmm2, %xmm2
	psrldq $12, %xmm2
	movq $0, scratch
	movq $-1, %rax
	movq %rax, %xmm1
	mov $scratch, %edi
	maskmovdqu %xmm2, %xmm1
	mov $0xffffffff, %eax
	cmp %rax, scratch
	CHECK 51, e

/* ---- what keeps the state ---- */

	fxrstor64 image
	mov $200, %ebp
1:	in $0x80, %al
	out %al, $0x80
	xor %eax, %eax
	cpuid
	mov %cr3, %rax
	mov %rax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	wrmsr
	TRY 2f
	ud2
2:	CHECK_EXC 48, 6
	mov 0xfee00030, %eax /* a device in memory */
	TRY 2f
	mov MISSING_PAGE, %eax
2:	CHECK_EXC 48, 14
	sti
	nop
	cli
	dec %ebp
	jnz 1b
	fxsave64 image2
	call same_images
	CHECK 48, e

	fninit
	MXCSR 0x1f80
	xorps %xmm3, %xmm3
	fldpi
	fxsave64 image2
	mov $50, %ebp
1:	fxrstor64 image
	movq %xmm3, %rax
	movabs $0x4444444444444444, %rcx
	cmp %rcx, %rax
	CHECK 49, e
	fxrstor64 image2
	movq %xmm3, %rax
	test %rax, %rax
	CHECK 49, z
	fstl scratch
	movabs $0x400921fb54442d18, %rax
	cmp %rax, scratch
	CHECK 49, e
	dec %ebp
	jnz 1b
	fninit
	fldz
	fld1
	fcomi %st(1), %st
	CHECK 50, a
	fcmovnbe %st(1), %st
	fstpl scratch
	cmpq $0, scratch
	CHECK 50, e
	fninit
	TRY 1f
	TO_USER 2f
2:	stmxcsr scratch
	fld1
	mov scratch, %r12d
	int $0x80
1:	CHECK_EXC 54, 0x80
	cmp $0x1f80, %r12d
	CHECK 54, e
	fnstsw %ax
	and $0x3800, %eax
	cmp $0x3800, %eax
	CHECK 54, e
	ret

/* ZF: image and image2 are the same but for FOP, FIP, FDP. */
same_images:
	movq $0, image + 8
	movq $0, image2 + 8
	movq $0, image + 16
	movq $0, image2 + 16
	movw $0, image + 6
	movw $0, image2 + 6
	mov $image, %esi
	mov $image2, %edi
	mov $416, %ecx
	repe cmpsb
	ret

	.data
	.align 16
ones:	.float 1, 1, 1, 1
mixed:	.float 2, 4, 0, 8
zero:	.float 0
one:	.float 1
minus_one: .float -1
three:	.float 3
half:	.float 0.5
two_and_half: .float 2.5
huge:	.long 0x7f000000
tiny:	.long 0x00800000
denormal: .long 1
nan:	.long 0x7fc00000

	.bss
	.align 64
image:	.skip 1024
image2:	.skip 1024
scratch: .skip 64
	.text
