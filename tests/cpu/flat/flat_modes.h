/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * flat_modes.h - the 16-bit part of modes.S: compatibility, protected and real mode. modes.S, which has the numbers of its checks, copies it to LOW,
 * below 64 KiB, and goes there; labels in it are used by LOW_OF().
 */

	.code16
low_begin:
low_compat: /* SS is a 32-bit stack still */
	mov %esp, %ecx
	push %ax
	sub %esp, %ecx
	pop %ax
	cmp $2, %cx
	CHECK_RAW 11, e
	mov $0x9000, %bx
	mov $0x9000, %si
	cmpl $0x12345678, (%bx, %si)
	CHECK_RAW 12, e
	ljmpl $CODE64, $from_compat16

	/* 32-bit code that a 16-bit gate leads to. The return address was cut to 16 bits. */
	.code32
low_gate16:
	lea 4(%esp), %eax
	cmp %ebp, %eax
	CHECK_RAW 69, e
	cmpw $CODE32, 2(%esp)
	CHECK_RAW 69, e
	cmpw $(back_gate16 - 0x100000), (%esp)
	CHECK_RAW 69, e
	add $4, %esp
	mov $back_gate16, %eax
	jmp *%eax

	.code16
low_protected:
	mov $DATA64, %ax
	mov %ax, %fs
	mov $DATA16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %gs
	mov %ax, %ss
	mov $0x12347000, %esp
	push %ax
	cmp $0x12346ffe, %esp
	CHECK_RAW 49, e
	cmp %ax, 0x6ffe
	CHECK_RAW 49, e
	/* beyond the limit: to the 32-bit #GP handler. Its ESP goes through a 16-bit SS, like its TRY32. */
	addr32 movl $1f, %fs:resume32
	addr32 movl $0x6ff0, %fs:resume32_esp
	mov $0x6ff0, %esp
	mov $0x10000, %ebx
	mov (%ebx), %al
	ljmpl $CODE32, $1f
	.code32
1:	cmpl $13, %fs:exc_vector
	CHECK_RAW_HW 50, e, , %fs:
	ljmp $CODE16, $LOW_OF(2f)
	.code16
2:	mov $DATA16, %ax
	mov %ax, %ds
	mov %cr0, %eax
	and $0xfe, %al
	mov %eax, %cr0
	ljmp $0, $LOW_OF(real)

real:
	mov %cs, %ax
	test %ax, %ax
	CHECK_RAW 51, z
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $0x7000, %esp
	lidt LOW_OF(real_idt)
	xor %bx, %bx
	sti
	int $0x60
real_after:
	pushf
	pop %ax
	cli
	test $0x200, %ax
	CHECK_RAW 54, nz
	cmp $1, %bx
	CHECK_RAW 52, e
	cmp $0x7000, %sp
	CHECK_RAW 52, e
	xor %cx, %cx
	mov $1, %dx
real_div:
	div %cx
real_div_end:
	cmp $0x55, %cx
	CHECK_RAW 55, e
	mov $0xffff, %si
real_limit:
	mov (%si), %ax
real_limit_end:
	cmp $0x66, %cx
	CHECK_RAW_HW 56, e, addr32, %fs:
	mov $0x10000, %ebx
	mov $LOW_OF(real_limit2_end), %dx
	xor %cx, %cx
	mov (%ebx), %al
real_limit2_end:
	cmp $0x67, %cx
	CHECK_RAW_HW 70, e, addr32, %fs:
	addr32 cmpl $0x600df00d, %fs:marker
	CHECK_RAW 57, e
	xor %ax, %ax /* the limit survives a load in real mode */
	mov %ax, %fs
	addr32 cmpl $0x600df00d, %fs:marker
	CHECK_RAW 57, e
	push $0x1234
	lcall $(LOW >> 4), $(real_far - low_begin)
	cmp $0x77, %cx
	CHECK_RAW 58, e
	cmp $0x7000, %sp
	CHECK_RAW 59, e
	xor %sp, %sp
	push $0x4321
	cmp $0xfffe, %sp
	CHECK_RAW 60, e
	cmpw $0x4321, 0xfffe
	CHECK_RAW 60, e
	mov $0x7000, %sp
	mov $0x1000, %ax
	mov %ax, %es
	movl $0, %es:0xfffc
	movl $0, %es:0
	mov $0xfffe, %di
	mov $4, %cx
	mov $0xab, %al
	rep stosb
	cmp $2, %di
	CHECK_RAW 61, e
	cmpl $0xabab0000, %es:0xfffc
	CHECK_RAW 61, e
	cmpl $0xabab, %es:0
	CHECK_RAW 61, e
	mov $0xffff, %ax
	mov %ax, %es
	addr32 mov %fs:0x100000, %eax
	movl $0, 0
	cmp %es:0x10, %eax
	CHECK_RAW 62, e
	movl $LOW_OF(real_h0), 0
	mov $1, %ax
	mov $2, %bx
	mov $3, %bp
	mov $4, %di
	pusha
	cmp $0x6ff0, %sp
	CHECK_RAW 63, e
	cmpw $0x7000, 0x6ff6 /* SP before */
	CHECK_RAW 63, e
	xor %ax, %ax
	xor %bp, %bp
	popa
	add %bp, %ax
	cmp $4, %ax
	CHECK_RAW 63, e
	enter $8, $0
	cmp $0x6ff6, %sp
	CHECK_RAW 64, e
	cmp $0x6ffe, %bp
	CHECK_RAW 64, e
	leave
	cmp $3, %bp
	CHECK_RAW 64, e
	mov $0x10003, %ecx
	xor %ax, %ax
1:	inc %ax
	loop 1b
	cmp $3, %ax
	CHECK_RAW 65, e
	cmp $0x10000, %ecx
	CHECK_RAW 65, e
	/* the IVT elsewhere */
	movl $LOW_OF(real_moved), 0x3000 + 0x60 * 4
	lidt LOW_OF(real_idt_moved)
	xor %bx, %bx
	int $0x60
	cmp $0x99, %bx
	CHECK_RAW 66, e
	smsw %ax
	test $1, %ax
	CHECK_RAW 67, z
	or $1, %ax
	lmsw %ax
	smsw %ax
	test $1, %ax
	CHECK_RAW 67, nz
	ljmpl $CODE32, $up32

real_far:
	mov %cs, %ax
	cmp $(LOW >> 4), %ax
	CHECK_RAW 58, e
	mov $0x77, %cx
	lret $2

real_h60:
	mov %sp, %bp
	cmpw $LOW_OF(real_after), (%bp)
	CHECK_RAW 52, e
	cmpw $0, 2(%bp)
	CHECK_RAW 52, e
	testw $0x200, 4(%bp)
	CHECK_RAW 52, nz
	pushf
	pop %ax
	test $0x200, %ax
	CHECK_RAW 53, z
	inc %bx
	iret
real_moved:
	mov $0x99, %bx
	iret
real_h0:
	mov %sp, %bp
	cmpw $LOW_OF(real_div), (%bp)
	CHECK_RAW 55, e
	movw $LOW_OF(real_div_end), (%bp)
	mov $0x55, %cx
	iret
real_h13: /* the first, for real_limit; then one whose next address is in DX */
	mov %sp, %bp
	cmpw $LOW_OF(real_limit), (%bp)
	jne 1f
	movw $LOW_OF(real_limit_end), (%bp)
	mov $0x66, %cx
	iret
1:	mov %dx, (%bp)
	mov $0x67, %cx
	iret
	.align 4
real_idt:
	.word 0x3ff
	.long 0
real_idt_moved:
	.word 0x3ff
	.long 0x3000
low_end:
	.code64
