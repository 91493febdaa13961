/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.h - the local APICs of all vCPUs, xAPIC and x2APIC (SDM vol. 3 chapter 11).
 *
 * APIC ids are vCPU indices, 0..254, and cannot be changed by the guest.
 *
 * Threads: every function may be called from any thread, without the VM lock, unless it says "own thread"
 * (the vCPU's; or any while that vCPU is not running). Interrupts arrive by atomic operations on IRR; the timer and
 * registers have a lock per APIC that is held for a few instructions, never across a call out of this file but for
 * the timer operations, guest_tsc and, when the vector of the timer is an illegal one, wake.
 * The callbacks of lapic_host and lapic_timer_ops are made on the thread that caused them, possibly with the
 * irq router's lock held: they must not take the VM lock and not call back into this file or irq.h.
 */
#ifndef LODGE_BOARD_LAPIC_H
#define LODGE_BOARD_LAPIC_H

#include "board/device.h"
#include "x86/irqchip.h"

#define LAPIC_MAX_CPUS 255
/* The timer counts at 1 GHz before division, as KVM's does: CPUID 0x40000010 EBX = 1000000 kHz. */
#define LAPIC_BUS_HZ UINT64_C(1000000000)

struct lapic_host {
	void *ctx;
	/* The vCPU may have something to deliver now: kick it, or wake it from HLT. */
	void (*wake)(void *ctx, unsigned cpu);
	void (*nmi)(void *ctx, unsigned cpu);
	/* INIT: on the vCPU's own thread, x86_state_init() and lapic_init_reset(), then wait for SIPI. */
	void (*init)(void *ctx, unsigned cpu);
	/* Start-up IPI; ignored by a vCPU that does not wait for it. */
	void (*sipi)(void *ctx, unsigned cpu, uint8_t vector);
	/* The TSC as the guest on that vCPU would read it now. */
	uint64_t (*guest_tsc)(void *ctx, unsigned cpu);
};

/* One timer a vCPU, in board time (device.h). When it expires call lapic_timer_fired(), on any thread but not
 * from inside arm(). A late or spurious call does no harm. cancel() is also called by lapic_create(), reset and destroy. */
struct lapic_timer_ops {
	void *ctx;
	void (*arm)(void *ctx, unsigned cpu, uint64_t deadline_ns); /* replaces the one before */
	void (*cancel)(void *ctx, unsigned cpu);
};

struct lapic_config {
	unsigned n_cpus;    /* 1..LAPIC_MAX_CPUS */
	uint32_t tsc_khz;   /* of the guest's TSC; not 0 */
	unsigned phys_bits; /* MAXPHYADDR, for the reserved bits of IA32_APIC_BASE; 0: 46 */
	struct lapic_host host;
	struct lapic_timer_ops timer;
	uint64_t (*now)(void *ctx); /* board time */
	void *now_ctx;
};

struct lapic_set;

int lapic_create(struct lapic_set **out, const struct lapic_config *cfg, struct err *e);
void lapic_destroy(struct lapic_set *s);
unsigned lapic_count(const struct lapic_set *s);
/* Power-up state of all APICs: enabled in xAPIC mode, software-disabled, everything masked. No vCPU running. */
void lapic_reset(struct lapic_set *s);
/* INIT of one APIC: like reset, but the mode and base address stay. Own thread. */
void lapic_init_reset(struct lapic_set *s, unsigned cpu);
/* What firmware does on the boot processor before it starts an OS (virtual wire mode, MP spec §3.6.2.2): software-enabled,
 * LINT0 ExtINT (the PIC), LINT1 NMI. For direct boot, after lapic_reset(). */
void lapic_virtual_wire(struct lapic_set *s, unsigned cpu);
/* No timer expires while paused; resume arms again what was armed. */
void lapic_pause(struct lapic_set *s);
void lapic_resume(struct lapic_set *s);

/* ---- to the vCPU; own thread ---- */

/* Is gpa in this vCPU's APIC page now (enabled, xAPIC mode)? Ask before the bus. */
bool lapic_mmio_hit(const struct lapic_set *s, unsigned cpu, uint64_t gpa);
uint64_t lapic_mmio_read(struct lapic_set *s, unsigned cpu, uint64_t gpa, unsigned size);
void lapic_mmio_write(struct lapic_set *s, unsigned cpu, uint64_t gpa, uint64_t value,
		      unsigned size);
/* IA32_APIC_BASE, IA32_TSC_DEADLINE, 0x800-0x8ff. 0, or -1: #GP. */
int lapic_msr_read(struct lapic_set *s, unsigned cpu, uint32_t msr, uint64_t *value);
int lapic_msr_write(struct lapic_set *s, unsigned cpu, uint32_t msr, uint64_t value);
/* CR8: task priority 0..15. */
unsigned lapic_cr8_read(const struct lapic_set *s, unsigned cpu);
void lapic_cr8_write(struct lapic_set *s, unsigned cpu, unsigned tpr);
/* A maskable interrupt above the processor priority, or an ExtINT? Lock-free; normally one load. Any thread. */
bool lapic_irq_pending(const struct lapic_set *s, unsigned cpu);
/* Acknowledges it: the vector, or -1 if there is none (any more). */
int lapic_irq_ack(struct lapic_set *s, unsigned cpu);
/* After a change of the guest's TSC (offset, write): arms the TSC-deadline timer anew. */
void lapic_tsc_changed(struct lapic_set *s, unsigned cpu);

/* ---- to the timer ---- */

void lapic_timer_fired(struct lapic_set *s, unsigned cpu);

/* ---- to the rest of the board ---- */

enum lapic_mode { /* delivery modes, as in ICR, LVT, RTE and MSI data */
		  LAPIC_FIXED = 0,
		  LAPIC_LOWEST = 1,
		  LAPIC_SMI = 2,
		  LAPIC_REMOTE_READ = 3,
		  LAPIC_NMI = 4,
		  LAPIC_INIT = 5,
		  LAPIC_SIPI = 6,
		  LAPIC_EXTINT = 7
};

struct lapic_msg {
	uint32_t dest; /* APIC id, or set of them if `logical` */
	bool logical;
	bool broadcast; /* all, whatever dest says */
	bool level;	/* trigger mode */
	bool redirect;	/* MSI redirection hint: to one of them, as with LAPIC_LOWEST */
	uint8_t vector;
	enum lapic_mode mode;
};

/* Sends an interrupt message. Returns the number of APICs that took it (one that had it pending already counts). */
unsigned lapic_send(struct lapic_set *s, const struct lapic_msg *m);
/* LINT0 (pin 0, the PIC's INTR, wired to all) and LINT1 (pin 1: NMI) change level. */
void lapic_lint(struct lapic_set *s, unsigned pin, bool level);

/* Where EOIs of level-triggered vectors and ExtINT acknowledges go; set once by irq.c. */
struct lapic_intc {
	void *ctx;
	void (*eoi)(void *ctx, uint8_t vector);
	int (*inta)(void *ctx); /* the PIC's vector; always one (spurious if need be) */
};
void lapic_connect(struct lapic_set *s, const struct lapic_intc *intc);

/* ---- saved state; every vCPU parked, the set paused (or not started yet) ---- */

void lapic_get(struct lapic_set *s, unsigned cpu, struct irqchip_lapic *out);
/* Takes it after a look at every field; 0 or -EINVAL. The timer is armed by lapic_resume(). */
int lapic_set(struct lapic_set *s, unsigned cpu, const struct irqchip_lapic *in, struct err *e);
/* The level of LINT0 (the PIC's INTR) as it was, without an edge. After lapic_set() of all. */
void lapic_lint_loaded(struct lapic_set *s, bool intr);

/* Many lines for a person; returns as snprintf. */
int lapic_dump(const struct lapic_set *s, unsigned cpu, char *buf, size_t size);

#endif
