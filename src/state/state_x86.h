/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state_x86.h - the wire form of the processor's and the interrupt controllers' state (x86/state.h, x86/irqchip.h), the same for
 * every engine. They move the fields of an open section; the caller begins and ends it.
 *
 * Who loads validates: by the functions called *_check(), before the state goes into an engine or a device.
 */
#ifndef LODGE_STATE_STATE_X86_H
#define LODGE_STATE_STATE_X86_H

#include "state/state.h"
#include "x86/irqchip.h"
#include "x86/state.h"

/* All of it but msr.tsc_offset, which belongs to a host: `tsc` takes its place, the TSC as the guest reads it at
 * the moment of the save. msr.tsc_offset stays as it is. */
void state_x86(struct state *s, struct x86_state *x, uint64_t *tsc);
/* What AVX-512 adds; since version 2 of who calls it. */
void state_avx512(struct state *s, struct x86_avx512 *x);
/* Is it a state that a processor can be in, as far as an engine relies on it? 0, or -EINVAL with a sentence. */
int state_x86_check(const struct x86_state *x, unsigned cpu, struct err *e);

void state_lapic(struct state *s, struct irqchip_lapic *l);
void state_ioapic(struct state *s, struct irqchip_ioapic *io);
void state_pic(struct state *s, struct irqchip_pic *p);
void state_pit(struct state *s, struct irqchip_pit *p);

/*
 * Are the fields possible at all? Called by who takes a state, before it uses a field as an index, a divisor or a time.
 * 0, or -EINVAL with a sentence. `cpu`: the index of the vCPU; n_lvts: how many LVT entries there are to be other than
 * masked (6: no CMCI).
 */
int state_lapic_check(const struct irqchip_lapic *l, unsigned cpu, unsigned n_lvts, struct err *e);
int state_ioapic_check(const struct irqchip_ioapic *io, struct err *e);
int state_pic_check(const struct irqchip_pic *p, struct err *e);
int state_pit_check(const struct irqchip_pit *p, struct err *e);

#endif
