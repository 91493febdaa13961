/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_triple - a triple fault ends the machine as crashed. expect: 3 qemu: no
 *
 *  1 it goes on
 *
 * (QEMU -no-reboot: status 0.)
 */
#include "flat.h"

main:
	lidt no_idt
	int3
	mov $1, %edi
	jmp exit

	.data
no_idt:
	.word 0
	.quad 0
	.text
