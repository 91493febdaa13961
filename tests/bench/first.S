/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first.S - the shortest guests, to measure what a machine costs before its first instruction (./bench kvm). With HALT it sleeps for good; else its
 * second instruction ends the machine with 42 by the test device at port 0xf4: then the machine's end counts too.
 */
	.section .note.Xen, "a", @note
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY: PVH, 32-bit protected mode (Xen docs/misc/pvh) */
	.asciz "Xen"
	.long _start

	.text
	.code32
	.globl _start
_start:
#ifdef HALT
	cli
1:	hlt
	jmp 1b
#else
	mov $42, %al
	out %al, $0xf4
	hlt
#endif
