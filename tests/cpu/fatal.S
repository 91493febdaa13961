/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatal - guests that do to themselves what KVM can end in no way but with them, for tests/bed/fatal. Built once for each way:
 *
 *   FATAL_FETCH   jumps to where no memory is
 *   FATAL_INSN    an instruction that KVM does not emulate (FNSAVE), with an operand where no memory is
 *   FATAL_IDT     an exception, and the interrupt descriptor table where no memory is
 *   FATAL_STACK   an exception, and the stack where no memory is
 *   FATAL_TABLES  page tables where no memory is
 *   FATAL_SMI     a system management interrupt, for which no firmware is there
 */
#include "flat.h"

#define HOLE 0xd0000000
#define APIC_ICR 0xfee00300
#define ICR_SMI_SELF 0x44200

main:
#if defined(FATAL_FETCH)
	mov $HOLE, %eax
	jmp *%rax
#elif defined(FATAL_INSN)
	mov $HOLE, %eax
	fnsave (%rax)
#elif defined(FATAL_IDT)
	movl $HOLE, idt_ptr + 2
	lidt idt_ptr
	int3
#elif defined(FATAL_STACK)
	mov $(HOLE + 0x1000), %esp
	int3
#elif defined(FATAL_TABLES)
	mov $HOLE, %eax
	mov %rax, %cr3
#elif defined(FATAL_SMI)
	mov $APIC_ICR, %eax
	movl $ICR_SMI_SELF, (%rax)
#endif
	mov $1, %edi
	jmp exit
