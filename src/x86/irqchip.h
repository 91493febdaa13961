/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irqchip.h - the architectural state of the interrupt controllers and of the interval timer, owned neither by an
 * engine nor by the board.
 *
 * The board's devices (board/lapic.h, board/irq.h, board/pit.h) and the in-kernel ones of the KVM engine (engine/engine.h:
 * get_irqchip() and the like) both fill these in and take them; the wire form is made by state/state_x86.h. All is taken and
 * set while every vCPU is parked and board time stands still.
 *
 * Times are in nanoseconds of board time (board/device.h), relative to that moment: what is left, or what has gone. So
 * nothing depends on when a clock began. IRQCHIP_NEVER: not armed.
 *
 * What can be computed is not in here: the processor priority, the PIC's output, which APIC passes it on, the level of
 * LINT0. Who takes a state checks it first (state_lapic_check() and the like, state/state_x86.h: fields may come from a hostile file) and brings
 * these in line afterwards.
 */
#ifndef LODGE_X86_IRQCHIP_H
#define LODGE_X86_IRQCHIP_H

#include "util/base.h"

#define IRQCHIP_NEVER UINT64_MAX
/* Longest time in a state: about 36 years. Sums and products of a few do not overflow. */
#define IRQCHIP_TIME_MAX (UINT64_C(1) << 60)

/* Local vector table, in this order. A controller without CMCI keeps that entry masked (IRQCHIP_LVT_MASKED). */
enum irqchip_lvt {
	IRQCHIP_LVT_TIMER,
	IRQCHIP_LVT_THERMAL,
	IRQCHIP_LVT_PERF,
	IRQCHIP_LVT_LINT0,
	IRQCHIP_LVT_LINT1,
	IRQCHIP_LVT_ERROR,
	IRQCHIP_LVT_CMCI,
	IRQCHIP_LVTS
};
#define IRQCHIP_LVT_MASKED 0x00010000u

/*
 * One local APIC (SDM vol. 3 chapter 11). Registers hold what a read of the 32-bit register gives; sets of vectors are 8
 * words of 32 as the register page has them (vector v: word v / 32, bit v % 32).
 */
struct irqchip_lapic {
	uint64_t apic_base; /* IA32_APIC_BASE: address, BSP, EXTD, EN */
	uint32_t id;	    /* the APIC id as a number, in either mode; always the vCPU's index */
	uint32_t tpr;	    /* bits 0-7; CR8 is bits 4-7 of it */
	uint32_t ldr;	    /* xAPIC: bits 24-31; x2APIC: cluster and bit */
	uint32_t dfr;	    /* xAPIC only; bits 0-27 are ones */
	uint32_t svr;
	uint32_t isr[8], tmr[8], irr[8];
	uint32_t esr; /* what a read shows */
	uint32_t esr_pending; /* collected since the last write to ESR; 0 where the engine does not keep it apart */
	uint64_t icr; /* x2APIC: destination in bits 32-63; xAPIC: in bits 56-63 */
	uint32_t lvt[IRQCHIP_LVTS];
	bool extint; /* an ExtINT message (not the PIC's line) waits for its acknowledge */

	/*
	 * The timer; LVT timer bits 17-18 say the mode. The bus clock is 1 GHz: one count is `divisor` ns, where divisor
	 * comes from the divide configuration.
	 */
	uint32_t timer_initial; /* initial count register */
	uint32_t timer_divide;	/* divide configuration register: bits 0, 1, 3 */
	/*
	 * One-shot and periodic: until the count gets to zero next; 0: it is due and the interrupt was not raised yet.
	 * IRQCHIP_NEVER: not counting (initial count 0, a one-shot that has expired, TSC-deadline mode). The current count is
	 * this / divisor, rounded up.
	 */
	uint64_t timer_left_ns;
	uint64_t tsc_deadline; /* IA32_TSC_DEADLINE, in counts of the guest's TSC; 0: disarmed */
};

#define IRQCHIP_IOAPIC_PINS 24

/* The I/O APIC (82093AA). */
struct irqchip_ioapic {
	uint32_t select;		   /* IOREGSEL, 8 bits */
	uint32_t id;			   /* register 0: the id in bits 24-27 */
	uint64_t rte[IRQCHIP_IOAPIC_PINS]; /* redirection entries, remote IRR (bit 14) included */
	uint32_t line; /* levels of the pins, one bit each: what the wires carry, asserted = 1 */
};

/* One 8259A; chip 0 is the master, the slave is on its input 2. */
struct irqchip_8259 {
	uint8_t irr; /* requests latched (edge) or present (level) */
	uint8_t imr, isr;
	uint8_t line;	/* levels of the inputs */
	uint8_t elcr;	/* 1: level-triggered */
	uint8_t base;	/* vector of input 0 (ICW2); bits 0-2 are 0 */
	uint8_t lowest; /* input with the lowest priority, 0..7; 7 at first */
	uint8_t icw;	/* initialisation word that is expected next: 0 none, 2, 3 or 4 */
	bool icw4_needed, single;
	bool auto_eoi, rotate_aeoi, special_mask, special_nested;
	bool read_isr; /* OCW3: which register the command port shows */
	bool poll;     /* OCW3: the next read is a poll */
};

struct irqchip_pic {
	struct irqchip_8259 chip[2];
};

/*
 * One channel of the 8254. The count follows from the clocks (1193182 Hz) since it was loaded, as board/pit.c tells. A model that
 * cannot take `elapsed_ns` begins the count anew.
 */
struct irqchip_8254 {
	uint8_t mode; /* 0..5 */
	uint8_t rw;   /* 1 low byte, 2 high byte, 3 low then high */
	bool bcd, gate;
	bool loaded;	/* a count was written since the control word */
	bool triggered; /* modes 1 and 5: the gate has started it */
	bool frozen;	/* the gate is low in modes 0, 2, 3, 4: clocks stand at frozen_clocks */
	bool has_next;	/* a count waits for the end of the cycle or the trigger */
	uint32_t count; /* 1..65536 */
	uint32_t next;	/* with has_next: 1..65536 */
	uint64_t next_at_clocks; /* with has_next, modes 2 and 3: clocks since the load at which it comes */
	uint64_t elapsed_ns; /* since the count was loaded, or (re)started by the gate */
	uint64_t frozen_clocks;
	uint16_t latch;	 /* latched count */
	uint8_t latched; /* bytes of it still to be read, 0..2 */
	uint8_t status;	 /* latched status byte */
	bool status_latched;
	bool read_high, write_high; /* the next byte is the high one */
	uint8_t write_low;	    /* with write_high: the low byte that came */
};

struct irqchip_pit {
	struct irqchip_8254 ch[3];
	uint8_t port61; /* port 0x61 bits 0-3: gate of channel 2, speaker data */
	/* Until IRQ 0 rises next; 0: it is due and was not raised yet. IRQCHIP_NEVER: no edge to come. */
	uint64_t edge_left_ns;
};

/* Nanoseconds a count of the APIC timer takes, from the divide configuration register: 1, 2, 4 ... 128. */
static inline unsigned irqchip_timer_divisor(uint32_t divide)
{
	unsigned v = (divide & 3) | ((divide >> 1) & 4);

	return v == 7 ? 1 : 2u << v;
}

#endif
