/* SPDX-License-Identifier: Apache-2.0 */
/*
 * first.S - the shortest guest: its second instruction ends the machine with 42 by the test device at port 0xf4.
 * What `lodge run` costs with it is what a machine costs before its first instruction, and its end (./bench kvm).
 */
	.section .note.Xen, "a", @note
	.long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY: PVH, 32-bit protected mode (Xen docs/misc/pvh) */
	.asciz "Xen"
	.long _start

	.text
	.code32
	.globl _start
_start:
	mov $42, %al
	out %al, $0xf4
	hlt
