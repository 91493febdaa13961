/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_cf9 - reset by the chipset's reset register: hard reset is set up, then asked for by bit 2.
 * `lodge run` needs --no-reboot. expect: 0 qemu: no
 *
 *  1 it goes on
 */
#include "flat.h"

main:
	mov $0xcf9, %edx
	mov $2, %al
	out %al, %dx
	mov $6, %al
	out %al, %dx
	mov $1000000, %ecx
1:	in $0x80, %al
	dec %ecx
	jnz 1b
	mov $1, %edi
	jmp exit
