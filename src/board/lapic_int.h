/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_int.h - inside of the local APICs: for lapic.c (registers), lapic_irq.c (interrupts) and
 * lapic_timer.c only.
 */
#ifndef LODGE_BOARD_LAPIC_INT_H
#define LODGE_BOARD_LAPIC_INT_H

#include <pthread.h>

#include "board/lapic.h"

/* Registers: xAPIC offset >> 4 = x2APIC MSR - 0x800 (SDM vol. 3 table 11-1, 11-6). */
enum lapic_reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR2 = 0x31,
	REG_LVT = 0x32, /* to 0x37 */
	REG_INITIAL = 0x38,
	REG_CURRENT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f
};

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

#define LVT_VECTOR 0x000000ffu
#define LVT_MODE(v) (((v) >> 8) & 7u)
#define LVT_REMOTE_IRR 0x00004000u
#define LVT_LEVEL 0x00008000u
#define LVT_MASKED 0x00010000u
#define LVT_TIMER_MODE(v) (((v) >> 17) & 3u)
#define TIMER_ONESHOT 0u
#define TIMER_PERIODIC 1u
#define TIMER_DEADLINE 2u

#define BASE_BSP BIT(8)
#define BASE_EXTD BIT(10)
#define BASE_EN BIT(11)

#define SVR_ENABLED 0x100u

#define ESR_SEND_VECTOR 0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER 0x80u

/* `hot`: zero when there is certainly nothing to deliver. Bit i (0-3): irr[i] may have bits. */
#define HOT_WORDS 0x0fu
#define HOT_EXTINT_LINE 0x10u /* INTR is up and passes LINT0 */
#define HOT_EXTINT_MSG 0x20u  /* an ExtINT message came */

/*
 * One local APIC. "atomic": read and written with __atomic builtins, by any thread; "own": written by the
 * vCPU's own thread only (atomically, others look at it); "lock": under `lock`.
 */
struct lapic {
	uint32_t hot;		 /* atomic */
	uint32_t ppr;		 /* own: processor priority, kept current */
	uint32_t tpr;		 /* own */
	uint64_t irr[4], tmr[4]; /* atomic */
	uint64_t isr[4];	 /* own */
	uint64_t base;		 /* own: IA32_APIC_BASE */
	uint32_t ldr, dfr, svr;	 /* own */
	uint32_t lvt[LVTS];	 /* atomic; changed under lock */
	uint32_t esr;		 /* own: what the guest reads */
	uint32_t esr_new;	 /* atomic: collected since the last write to ESR */
	uint64_t icr;		 /* own */
	unsigned cpu;

	pthread_mutex_t lock;
	/* Timer; lock. Times are board time. */
	uint32_t initial, divide; /* registers */
	uint64_t start_ns;	  /* when the count was `initial` */
	uint64_t deadline_ns;	  /* of the host timer */
	uint64_t tsc_deadline;	  /* 0: disarmed */
	bool armed;		  /* counting, in one-shot and periodic mode */

	uint64_t n_irq, n_ipi, n_timer; /* counters, own (n_timer: lock) */
} __attribute__((aligned(64)));

struct lapic_set {
	struct lapic_config cfg;
	struct lapic_intc intc;
	uint64_t base_reserved; /* reserved bits of IA32_APIC_BASE */
	uint32_t lint[2];	/* atomic: levels of the pins */
	uint32_t rotate;	/* atomic: where lowest-priority arbitration begins */
	bool paused;		/* atomic */
	unsigned n;
	struct lapic apic[];
};

static inline uint64_t lapic_base(const struct lapic *l)
{
	return __atomic_load_n(&l->base, __ATOMIC_SEQ_CST);
}

static inline uint32_t lapic_load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline void lapic_store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static inline bool lapic_enabled(const struct lapic *l)
{
	return lapic_base(l) & BASE_EN;
}

static inline bool lapic_is_x2(const struct lapic *l)
{
	return (lapic_base(l) & (BASE_EN | BASE_EXTD)) == (BASE_EN | BASE_EXTD);
}

/* ---- lapic_irq.c ---- */

/* Vector into IRR; wakes. False: software-disabled or illegal vector. Any thread. */
bool lapic_accept(struct lapic_set *s, struct lapic *l, uint8_t vector, bool level);
/* The vCPU may have something to deliver. Any thread. */
void lapic_wake(const struct lapic_set *s, const struct lapic *l);
/* Raises what the LVT entry of a pin says (masked: nothing). Any thread, lock not held. */
void lapic_raise_lvt(struct lapic_set *s, struct lapic *l, enum lapic_lvt which);
/*
 * The timer has expired. Any thread, with the lock held since it was found to be so: who takes the lock next, to read the
 * count, to stop the timer or to save it, finds the interrupt in IRR. True: lapic_wake() is due when the lock is released.
 */
bool lapic_raise_timer(struct lapic_set *s, struct lapic *l);
void lapic_error(struct lapic_set *s, struct lapic *l, uint32_t bits);
/* After LVT LINT0, the enable bits or INTR changed. */
void lapic_lint_update(struct lapic_set *s, struct lapic *l);
/* A level-triggered LINT pin that is up and not yet served is (again). */
void lapic_lint_level(struct lapic_set *s, struct lapic *l, unsigned pin);
void lapic_eoi(struct lapic_set *s, struct lapic *l);
void lapic_set_tpr(struct lapic_set *s, struct lapic *l, uint32_t tpr);
void lapic_icr_write(struct lapic_set *s, struct lapic *l, uint64_t icr);
/* Clears IRR, ISR, TMR, TPR. Own thread. */
void lapic_irq_reset(struct lapic *l);

/* After IRR, ISR and TMR were loaded: what follows from them. */
void lapic_irq_loaded(struct lapic *l, uint32_t tpr, bool extint);

/* ---- lapic.c ---- */

/* Registers other than interrupt sets and timer, from a saved state that was checked. -EINVAL: not this machine's. */
int lapic_registers_set(struct lapic_set *s, struct lapic *l, const struct irqchip_lapic *in,
			struct err *e);

/* ---- lapic_timer.c; take the lock themselves ---- */

/* Between the timer and its saved form; LVT set before. Loading does not arm the host's timer. */
void lapic_timer_get(struct lapic_set *s, struct lapic *l, struct irqchip_lapic *out);
void lapic_timer_loaded(struct lapic_set *s, struct lapic *l, const struct irqchip_lapic *in);

void lapic_timer_reset(struct lapic_set *s, struct lapic *l);
void lapic_timer_set_initial(struct lapic_set *s, struct lapic *l, uint32_t initial);
void lapic_timer_set_divide(struct lapic_set *s, struct lapic *l, uint32_t divide);
uint32_t lapic_timer_current(struct lapic_set *s, struct lapic *l);
void lapic_timer_set_deadline(struct lapic_set *s, struct lapic *l, uint64_t tsc);
uint64_t lapic_timer_get_deadline(struct lapic_set *s, struct lapic *l);
/* Called before the LVT timer entry becomes `lvt`. */
void lapic_timer_mode(struct lapic_set *s, struct lapic *l, uint32_t lvt);
void lapic_timer_pause(struct lapic_set *s, struct lapic *l);
void lapic_timer_resume(struct lapic_set *s, struct lapic *l);

#endif
