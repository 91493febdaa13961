/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp - several processors: start-up, messages, shoot-down, code patched by another processor, HLT, INIT.
 *
 * All of it but the first start runs in xAPIC mode, and again in x2APIC mode where there is one, with 50 more.
 *
 *  1-7 start-up, see flat_smp.h
 *  20 IPI there and back, many times  21 to all but self  22 to all  23 logical  24 lowest priority: one of them
 *  25 crossfire: each to the next, none is lost  26 TLB shoot-down: the new page is seen  27 read-only then: #PF 3
 *  28 A and D bits set by one processor, others in the same entry by another: none is lost
 *  29 code patched while the others wait in a handler  30 code patched under a running processor: old or new
 *  31 HLT woken by IPI, many times  32 of the boot processor too  33 NMI, also in HLT with IF clear
 *  34 INIT stops a processor that runs without interrupts  35 it starts again elsewhere  36 INIT of a halted one
 *  37 start-up IPI to a running one is ignored  38 TSC does not go back from one to the next
 *  39 the APIC timer of another processor comes there
 *  40 string stores over code that the other processor has run: each ends where it must, what they wrote is run
 *  41 the same with one store over all the pages
 *
 * For flat.sh: cpus: 2, seconds: 120, modes: reference,translate
 * Known of QEMU's TCG, and not checked there: 30, the running processor may keep the old code for ever.
 */
#include "flat.h"
#include "flat_apic.h"
#include "flat_smp.h"

#define VA 0x8000000000 /* PML4 slot 1, 4 KiB pages of `pt` */

#define V_SHOOT 0x81
#define V_STOP 0x82
#define V_HLT 0x83
#define V_PING 0x84
#define V_PONG 0x85
#define V_COUNT 0x86
#define V_TIMER 0x87
#define V_HLT0 0x88

/* ---- messages ---- */
hook_ping: /* on the second processor */
	call apic_eoi
	IPI $V_PONG, $0
	ret

hook_count:
	call own_id
	lock incl rx(, %rax, 4)
	jmp apic_eoi

hook_shoot:
	mov $VA, %rax
	invlpg (%rax)
	lock incl shot
	jmp apic_eoi

hook_stop: /* waits until the code has been patched */
	mov stopped, %ebx
	inc %ebx
	mov %ebx, stopped
	AWAIT 29, release, ge, %ebx
	xor %eax, %eax
	cpuid
	jmp apic_eoi

hook_hlt:
	lock incl woken
	jmp apic_eoi

hook_hlt0:
	lock incl woken0
	jmp apic_eoi

hook_nmi:
	lock incl nmis
	ret

hook_timer:
	call own_id
	mov %eax, timer_cpu
	lock incl timers
	jmp apic_eoi

	/* Sum of rx in ebx. */
rx_sum: xor %ebx, %ebx
	xor %ecx, %ecx
1:	add rx(, %rcx, 4), %ebx
	inc %ecx
	cmp $SMP_CPUS, %ecx
	jb 1b
	mov %ebx, rx_total
	ret
rx_clear:
	xor %ecx, %ecx
1:	movl $0, rx(, %rcx, 4)
	inc %ecx
	cmp $8, %ecx
	jb 1b
	ret

	/* Until rx_sum is esi. */
rx_wait:
	mov $100000000, %ebp
1:	call rx_sum
	cmp %esi, %ebx
	jae 2f
	pause
	dec %ebp
	jnz 1b
2:	cmp %esi, %ebx
	ret

p_cross: /* each to the next one; one at a time, so each must arrive */
	call barrier
	sti
	lea 1(%r12), %r14d
	cmp $SMP_CPUS, %r14d
	jb 1f
	xor %r14d, %r14d
1:	mov $1, %ebx
2:	IPI $V_COUNT, %r14d
	mov %r14d, %ecx
	AWAIT 25, "rx(, %rcx, 4)", ae, %ebx
	inc %ebx
	cmp $100, %ebx
	jbe 2b
	call barrier
	ret

/* ---- shoot-down: pair ---- */
	.macro SHOOT n
	movl $0, shot
	mfence
	IPI $V_SHOOT, $1
	AWAIT \n, shot, e, $1
	.endm

p_shoot:
	mov $VA, %rsi
	mov $1, %ebx
	sti
1:	test %r12d, %r12d
	jnz 3f
	movq $page_a + 3, pt
	invlpg (%rsi)
	call barrier
	cmpl $0xaaaa, (%rsi)
	ACHECK 26, e
	call barrier
	movq $page_b + 3, pt
	invlpg (%rsi)
	SHOOT 26
	mov %ebx, go
	cmpl $0xbbbb, (%rsi)
	ACHECK 26, e
	jmp 4f
3:	call barrier
	mov $VA, %rsi
	invlpg (%rsi)
	cmpl $0xaaaa, (%rsi)
	ACHECK 26, e
	call barrier
	AWAIT 26, go, ge, %ebx
	cmpl $0xbbbb, (%rsi)
	ACHECK 26, e
4:	call barrier
	inc %ebx
	cmp $60, %ebx
	jbe 1b

	/* Write permission taken away. */
	mov $1000, %ebx
1:	test %r12d, %r12d
	jnz 3f
	movq $page_b + 0x63, pt
	SHOOT 27
	call barrier
	call barrier
	movq $page_b + 0x61, pt
	SHOOT 27
	mov %ebx, go
	jmp 4f
3:	call barrier
	incl 4(%rsi)
	call barrier
	AWAIT 27, go, ge, %ebx
	TRY 2f
	incl 4(%rsi)
2:	movq $0, exc_resume
	cmpq $14, exc_vector
	ACHECK 27, e
	cmpq $3, exc_error
	ACHECK 27, e
	sti
4:	call barrier
	inc %ebx
	cmp $1040, %ebx
	jb 1b
	ret

p_ad:	/* the second touches the page, the first sets a bit of its own in the entry */
	mov $VA + 0x1000, %rsi
	mov $100, %ebx
1:	test %r12d, %r12d
	jnz 3f
	movq $page_a + 3, pt + 8
	call barrier
	mov $20, %ecx
2:	lock xorq $0x200, pt + 8
	lock xorq $0x400, pt + 8
	dec %ecx
	jnz 2b
	lock xorq $0x800, pt + 8
	call barrier
	mov pt + 8, %rax
	and $0xe60, %eax
	cmp $0x860, %eax
	ACHECK 28, e
	jmp 4f
3:	invlpg (%rsi)
	call barrier
	movl $1, 16(%rsi)
	call barrier
4:	call barrier
	dec %ebx
	jnz 1b
	ret

/* ---- cross-modifying code: pair ---- */
	.align 8
	.skip 7, 0x90
patched: /* the constant is aligned */
	mov $0, %eax
	ret

p_patch:
	sti
	test %r12d, %r12d
	jnz 4f
	call barrier
	mov $1, %ebx
1:	IPI $V_STOP, $1
	AWAIT 29, stopped, ge, %ebx
	mov calls, %ebp
	add $2, %ebp
	mov %ebx, patched + 1
	mov %ebx, release
	AWAIT 29, calls, ge, %ebp
	cmp %ebx, patch_seen
	ACHECK 29, e
	inc %ebx
	cmp $60, %ebx
	jbe 1b
	/* without asking */
	cmpl $0, is_tcg /* may go on with the old code for ever */
	jne 3f
	mov $1000, %ebx
2:	mov %ebx, patched + 1
	AWAIT 30, patch_seen, e, %ebx
	inc %ebx
	cmp $1100, %ebx
	jb 2b
3:	movl $1, stop
	ret
4:	call barrier
5:	call patched
	cmp patch_seen, %eax
	ACHECK 30, ge
	mov %eax, patch_seen
	incl calls
	cmpl $0, stop
	je 5b
	ret

/* ---- strings over code: pair ---- */
#define STR_PAGES 8

p_strings:
	xor %ebp, %ebp
1:	mov %ebp, %ebx
	shl $12, %ebx
	add $str_pages, %ebx
	test %r12d, %r12d
	jnz 3f
	mov $2, %esi /* the page is written, and written again while the TLB knows it */
	mov $0xc3, %al
2:	mov %ebx, %edi
	mov $4096, %ecx
	rep stosb
	dec %esi
	jnz 2b
3:	call barrier
	test %r12d, %r12d
	jz 4f
	call *%rbx
4:	call barrier
	test %r12d, %r12d
	jnz 7f
	lea 8(%rbx), %edi
	mov $511, %ecx
	test $1, %ebp
	jnz 5f
	movabs $0xc301578dc301578d, %rax /* lea 1(%rdi), %edx; ret */
	rep stosq
	jmp 6f
5:	mov $str_source, %esi
	rep movsq
	cmp $str_source + 8 * 511, %esi
	ACHECK 40, e
6:	test %rcx, %rcx
	ACHECK 40, z
	add $4096, %ebx
	cmp %rbx, %rdi
	ACHECK 40, e
	sub $4096, %ebx
7:	call barrier
	mov $16, %edi /* both run what was written */
	xor %edx, %edx
	lea 4088(%rbx), %eax
	call *%rax
	cmp $17, %edx
	ACHECK 40, e
	call barrier
	inc %ebp
	cmp $STR_PAGES, %ebp
	jb 1b
	ret

p_long_string:
	test %r12d, %r12d
	jnz 2f
	mov $2, %esi
	mov $0xc3, %al
1:	mov $str_pages, %edi
	mov $(4096 * STR_PAGES), %ecx
	rep stosb
	dec %esi
	jnz 1b
2:	call barrier
	mov $str_pages, %ebx
3:	test %r12d, %r12d
	jz 4f
	call *%rbx
4:	add $4096, %ebx
	cmp $(str_pages + 4096 * STR_PAGES), %ebx
	jb 3b
	call barrier
	test %r12d, %r12d
	jnz 5f
	mov $(str_pages + 8), %edi
	mov $(512 * STR_PAGES - 1), %ecx
	movabs $0xc301578dc301578d, %rax
	rep stosq
	test %rcx, %rcx
	ACHECK 41, z
	cmp $(str_pages + 4096 * STR_PAGES), %rdi
	ACHECK 41, e
5:	call barrier
	mov $16, %edi
	mov $str_pages, %ebx
6:	xor %edx, %edx
	lea 4088(%rbx), %eax
	call *%rax
	cmp $17, %edx
	ACHECK 41, e
	add $4096, %ebx
	cmp $(str_pages + 4096 * STR_PAGES), %ebx
	jb 6b
	ret

/* ---- HLT, NMI ---- */
p_hlt:	test %r12d, %r12d
	jnz 3f
	mov $1, %ebx
	call barrier
1:	IPI $V_HLT, $1
	AWAIT 31, woken, ge, %ebx
	test $3, %bl
	jnz 2f
	DELAY_TSC 200000 /* now it sleeps for certain */
2:	inc %ebx
	cmp $100, %ebx
	jbe 1b
	movl $1, stop
	IPI $V_WAKE, $1
	ret
3:	call barrier
4:	cli
	cmpl $0, stop
	jne 5f
	sti
	hlt
	jmp 4b
5:	sti
	ret

p_hlt0: test %r12d, %r12d
	jz 3f
	mov $1, %ebx
	call barrier
1:	IPI $V_HLT0, $0
	AWAIT 32, woken0, ge, %ebx
	test $3, %bl
	jnz 2f
	DELAY_TSC 200000
2:	inc %ebx
	cmp $100, %ebx
	jbe 1b
	movl $1, stop
	IPI $V_WAKE, $0
	ret
3:	call barrier
4:	cli
	cmpl $0, stop
	jne 5f
	sti
	hlt
	jmp 4b
5:	sti
	ret

p_nmi:	cli
	test %r12d, %r12d
	jnz 3f
	mov $1, %ebx
	call barrier
1:	IPI $ICR_NMI, $1
	AWAIT 33, nmis, ge, %ebx
	test $1, %bl
	jnz 2f
	DELAY_TSC 200000
2:	inc %ebx
	cmp $100, %ebx
	jbe 1b
	movl $1, stop
	mov $10000, %ebx /* the last one may have come between its look and its HLT */
1:	IPI $ICR_NMI, $1
	DELAY_TSC 200000
	cmpl $1, team_done
	jae 2f
	dec %ebx
	jnz 1b
2:	ret
3:	call barrier
4:	hlt
	cmpl $0, stop
	je 4b
	ret

p_runaway: /* not to come back */
	test %r12d, %r12d
	jz 2f
	cli
	lea runaway(%rip), %rax
1:	incl (%rax)
	jmp 1b
2:	ret

p_dead: test %r12d, %r12d
	jz 2f
	cli
	movl $1, flag
1:	hlt
	jmp 1b
2:	ret

/* ---- time ---- */
p_tsc:	mov $1, %ebx
	call barrier
1:	mov %ebx, %eax
	xor %r12d, %eax
	and $1, %eax
	jz 2f /* the other's turn */
	AWAIT 38, turn, ge, %ebx
	mov stamp, %rsi
	mfence
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	cmp %rsi, %rax
	ACHECK 38, ae
	mov %rax, stamp
	lea 1(%rbx), %eax
	mov %eax, turn
2:	inc %ebx
	cmp $200, %ebx
	jbe 1b
	call barrier
	ret

p_timer: sti
	test %r12d, %r12d
	jz 1f
	APIC_WR REG_DIVIDE, $0xb
	APIC_WR REG_TIMER, $V_TIMER
	APIC_WR REG_INITIAL, $1000000
	AWAIT 39, timers, ge, $1
	APIC_WR REG_TIMER, $(LVT_MASKED | V_TIMER)
1:	ret

p_x2:	cli
	call barrier
	mov $MSR_APIC_BASE, %ecx
	rdmsr
	or $0x400, %eax
	wrmsr
	call barrier
	movl $1, x2apic
	call barrier
	sti
	ret

main:
	call smp_start
	HOOK V_SHOOT, hook_shoot
	HOOK V_STOP, hook_stop
	HOOK V_HLT, hook_hlt
	HOOK V_HLT0, hook_hlt0
	HOOK V_PING, hook_ping
	HOOK V_PONG, hook_count
	HOOK V_COUNT, hook_count
	HOOK V_TIMER, hook_timer
	HOOK 2, hook_nmi
	movq $pdpt1 + 7, pml4 + 8
	movq $pd1 + 7, pdpt1
	movq $pt + 7, pd1
	movl $0xaaaa, page_a
	movl $0xbbbb, page_b

	sti

	call messages
	NEED_X2APIC 20, smp, 2f
	ALL 1, p_x2
	movl $50, fail_base
	call messages
2:	xor %edi, %edi
	jmp exit

messages:
	call rx_clear
	mov $1, %ebx
1:	IPI $V_PING, $1
	AWAIT 20, rx, ge, %ebx
	inc %ebx
	cmp $200, %ebx
	jbe 1b

	call rx_clear
	IPI $(ICR_OTHERS | V_COUNT), $0
	mov $SMP_CPUS - 1, %esi
	call rx_wait
	ACHECK 21, e
	QUIET
	call rx_sum
	ACHECK_EQ 21, rx_total, $(SMP_CPUS - 1)
	ACHECK_EQ 21, rx, $0
	call rx_clear
	IPI $(ICR_ALL | V_COUNT), $0
	mov $SMP_CPUS, %esi
	call rx_wait
	ACHECK 22, e
	QUIET
	call rx_sum
	ACHECK_EQ 22, rx_total, $SMP_CPUS
	ACHECK_EQ 22, "rx + 4", $1
	call rx_clear
	IPI $(ICR_LOGICAL | V_COUNT), $2
	mov $1, %esi
	call rx_wait
	ACHECK 23, e
	ACHECK_EQ 23, "rx + 4", $1
	IPI $(ICR_LOGICAL | V_COUNT), $((1 << SMP_CPUS) - 1)
	mov $SMP_CPUS + 1, %esi
	call rx_wait
	ACHECK 23, e
	QUIET
	call rx_sum
	ACHECK_EQ 23, rx_total, $(SMP_CPUS + 1)
	ACHECK_EQ 23, "rx + 4", $2
	call rx_clear
	IPI $(ICR_LOGICAL | 0x100 | V_COUNT), $((1 << SMP_CPUS) - 1)
	mov $1, %esi
	call rx_wait
	ACHECK 24, e
	QUIET
	call rx_sum
	ACHECK_EQ 24, rx_total, $1
	call rx_clear
	ALL 25, p_cross
	call rx_sum
	ACHECK_EQ 25, rx_total, $(SMP_CPUS * 100)

	movl $0, go
	PAIR 26, p_shoot
	PAIR 28, p_ad
	movl $0, stop
	movl $0, stopped
	movl $0, release
	movl $0, calls
	movl $0, patch_seen
	movl $0, patched + 1
	PAIR 29, p_patch
	mov $str_source, %edi
	mov $512, %ecx
	movabs $0xc301578dc301578d, %rax
	rep stosq
	PAIR 40, p_strings
	PAIR 41, p_long_string
	movl $0, stop
	movl $0, woken
	PAIR 31, p_hlt
	movl $0, stop
	movl $0, woken0
	PAIR 32, p_hlt0
	movl $0, stop
	movl $0, nmis
	PAIR 33, p_nmi
	sti
	movl $1, turn
	movq $0, stamp
	PAIR 38, p_tsc
	movl $0, timers
	PAIR 39, p_timer
	ACHECK_EQ 39, timer_cpu, $1
	ACHECK_EQ 39, timers, $1

	/* INIT */
	movl $2, team
	movl $0, runaway
	mov $p_runaway, %eax
	call run_team
	AWAIT 34, runaway, ge, $1000
	IPI $(ICR_INIT | ICR_ASSERT), $1
	mov $1000, %ebp
1:	mov runaway, %ebx
	QUIET
	cmp runaway, %ebx
	je 2f
	dec %ebp
	jnz 1b
2:	test %ebp, %ebp
	ACHECK 34, nz
	mov $TRAMP2, %eax
	movl $0, t_cs - tramp(%rax)
	mov $1, %ebx
	mov $TRAMP2 >> 12, %edi
	call start
	mov $TRAMP2, %eax
	cmpw $TRAMP2 >> 4, t_cs - tramp(%rax)
	ACHECK 35, e
	movl $0, flag
	mov $p_dead, %eax
	call run_team
	AWAIT 36, flag, e, $1
	mov $1, %ebx
	mov $TRAMP2 >> 12, %edi
	call start
	movl $0, woken
	IPI $V_HLT, $1
	AWAIT 36, woken, e, $1
	QUIET
	mov $TRAMP2, %eax
	mov t_starts - tramp(%rax), %ebx
	IPI $(ICR_SIPI | ICR_ASSERT | (TRAMP2 >> 12)), $1
	QUIET
	mov $TRAMP2, %eax
	cmp %ebx, t_starts - tramp(%rax)
	ACHECK 37, e
	IPI $V_HLT, $1
	AWAIT 37, woken, e, $2
	ret

	.bss
	.align 4096
pdpt1: .skip 4096
pd1: .skip 4096
pt: .skip 4096
page_a: .skip 4096
page_b: .skip 4096
	.align 4096
str_pages: .skip STR_PAGES * 4096
str_source: .skip 4096
flag: .skip 64
stamp: .skip 8
go: .skip 4
stop: .skip 4
turn: .skip 4
shot: .skip 4
stopped: .skip 4
release: .skip 4
calls: .skip 4
patch_seen: .skip 4
woken: .skip 4
woken0: .skip 4
nmis: .skip 4
timers: .skip 4
timer_cpu: .skip 4
runaway: .skip 4
rx_total: .skip 4
rx: .skip 32
	.text
