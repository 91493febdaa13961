/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power_off - soft off by ACPI: SLP_TYP for S5 with SLP_EN into PM1a control. expect: 0 qemu: no
 *
 *  1 PM1 control cannot be read back (SCI_EN)  2 the machine is still there a while later
 */
#include "flat.h"

#define PM1_CNT 0x604
#define SLP_EN 0x2000
#define S5 0 /* as \_S5 says */

main:
	mov $PM1_CNT, %edx
	in %dx, %ax
	test $1, %eax
	CHECK_HW 1, nz /* (QEMU's firmware leaves it off) */
	mov $(SLP_EN | (S5 << 10)), %eax
	out %ax, %dx
	mov $PM1_CNT + 4, %edx
	mov $1000000, %ecx
1:	in %dx, %eax
	dec %ecx
	jnz 1b
	mov $2, %edi
	jmp exit
