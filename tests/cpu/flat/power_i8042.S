/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_i8042 - reset by the keyboard controller: a pulse on bit 0 of its output port.
 * `lodge run` needs --no-reboot. expect: 0 qemu: no
 *
 *  1 it goes on
 */
#include "flat.h"

main:
1:	in $0x64, %al
	test $2, %al
	jnz 1b
	mov $0xfe, %al
	out %al, $0x64
	mov $1000000, %ecx
1:	in $0x80, %al
	dec %ecx
	jnz 1b
	mov $1, %edi
	jmp exit
