/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_port92 - reset by port 0x92: bit 0 from 0 to 1, address line 20 stays open.
 * `lodge run` needs --no-reboot. expect: 0 qemu: no
 *
 *  1 it goes on
 */
#include "flat.h"

main:
	mov $2, %al
	out %al, $0x92
	mov $3, %al
	out %al, $0x92
	mov $1000000, %ecx
1:	in $0x80, %al
	dec %ecx
	jnz 1b
	mov $1, %edi
	jmp exit
