/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvsched.c - what several vCPUs tell one another, so that none waits in vain for one that does not run: KVM's steal time
 * record and hypercalls (Linux, Documentation/virt/kvm/x86/msr.rst, cpuid.rst, hypercalls.rst), and PAUSE.
 *
 * Theory of operation. A guest's kernel takes its processors for real ones: they run all the time. It spins for a lock whose
 * holder the host has put aside, and wakes a sleeping processor by an interrupt only to have its TLB flushed.
 *
 * Steal time record. One byte of it says that the vCPU does not run now. We set it before the thread goes to sleep in HLT
 * and take it back when it wakes. Another vCPU may add a bit to it, by compare-and-swap, that asks for a TLB flush on
 * waking instead of sending an interrupt. Linux flushes user mappings this way, never global ones: so do we, and do not
 * lose what is known of the kernel. The time stolen is not told: it stays 0.
 *
 * PV spinlocks. Who waits long for a lock halts, often with interrupts off; who frees it kicks by a hypercall. A kick
 * that comes before the HLT makes that HLT do nothing, so it is state of the vCPU (x86_events.kicked).
 *
 * PAUSE says that its code waits for another processor. One that goes on for longer than such waits take gives its host
 * CPU away, first for a moment, then to sleep: if the one waited for is not running, that is what makes it run.
 * Any request to the vCPU is seen after NAP_NS at the latest.
 *
 * All this is offered to guests with several vCPUs only.
 */
#include "engine/soft/host.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/mmu.h"

#define STEAL_ENABLE 1u
#define STEAL_RESERVED 0x3eu /* the record is 64-byte aligned */
#define STEAL_PREEMPTED 16   /* offset of the byte */
#define PREEMPTED 1u
#define FLUSH_TLB 2u

#define HC_KICK_CPU 5u
#define HC_SCHED_YIELD 11u
#define HC_ENOSYS 1000

/* Of time spent in one run of PAUSEs. Those further apart than the first are not one run. */
#define APART_US 10u
#define YIELD_US 20u
#define SLEEP_US 100u
#define NAP_NS 50000u

bool soft_pv_offered(const struct soft_vcpu *v)
{
	return v->soft->n_vcpus > 1;
}

/* ---- The steal time record ---- */

/* Puts `value` into the byte; returns what was there. */
static uint8_t exchange(struct soft_vcpu *v, uint8_t value)
{
	uint64_t msr = v->s.msr.kvm_steal_time;
	gpa_t gpa = (msr & ~(gpa_t)STEAL_ENABLE) + STEAL_PREEMPTED;
	uint8_t *host = msr & STEAL_ENABLE ? mmu_ram(v, gpa) : NULL, old;

	if (!host)
		return 0;
	if (unlikely(v->lockstep))
		host = soft_lockstep_touch(v, host, false);
	old = __atomic_exchange_n(host + (gpa & 0xfff), value, __ATOMIC_SEQ_CST);
	mmu_ram_written(v, gpa, 1);
	return old;
}

bool soft_pv_steal_time(struct soft_vcpu *v, uint64_t value)
{
	if (!soft_pv_offered(v) || (value & STEAL_RESERVED))
		return false;
	v->s.msr.kvm_steal_time = value;
	(void)exchange(v, 0);
	return true;
}

void soft_pv_asleep(struct soft_vcpu *v)
{
	if (!(v->s.msr.kvm_steal_time & STEAL_ENABLE))
		return;
	(void)exchange(v, PREEMPTED);
	v->pv_asleep = true;
}

void soft_pv_awake(struct soft_vcpu *v)
{
	if (!v->pv_asleep)
		return;
	v->pv_asleep = false;
	if (exchange(v, 0) & FLUSH_TLB)
		soft_tlb_flush_nonglobal(v);
}

/* ---- Hypercalls ---- */

static int64_t kick(struct soft_vcpu *v, uint64_t apic_id)
{
	struct soft_vcpu *to = apic_id < v->soft->n_vcpus ? v->soft->vcpu[apic_id] :
							    NULL; /* the id is the index */

	if (!to)
		return 0;
	__atomic_or_fetch(&to->req, SOFT_REQ_KICK, __ATOMIC_SEQ_CST);
	host_wake(v, to->index);
	return 0;
}

int64_t soft_pv_hypercall(struct soft_vcpu *v, uint64_t nr, uint64_t a1)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_HYPERCALL,
					.number = (uint32_t)nr,
					.value = a1};

	if (!soft_pv_offered(v))
		return -HC_ENOSYS;
	if (unlikely(v->lockstep)) {
		if (soft_lockstep_replay(v, &e))
			return nr == HC_KICK_CPU || nr == HC_SCHED_YIELD ? 0 : -HC_ENOSYS;
		soft_lockstep_record(v, &e);
	}
	switch (nr) {
	case HC_KICK_CPU: return kick(v, a1);
	case HC_SCHED_YIELD: host_yield(v); return 0;
	default: return -HC_ENOSYS;
	}
}

/* ---- PAUSE ---- */

void soft_pause(struct soft_vcpu *v)
{
	uint64_t now, us = v->soft->cfg.tsc_khz / 1000;

	__asm__ volatile("pause");
	if (!soft_pv_offered(v) || !us ||
	    v->lockstep) /* (lock-step: the others wait for this one) */
		return;
	now = soft_host_tsc();
	if (now - v->pause_last > APART_US * us)
		v->pause_yield = v->pause_first = now;
	v->pause_last = now;
	if (now - v->pause_yield < YIELD_US * us || __atomic_load_n(&v->req, __ATOMIC_RELAXED))
		return;
	if (now - v->pause_first < SLEEP_US * us)
		host_yield(v);
	else
		host_nap(v, NAP_NS);
	v->n_yield++;
	v->pause_last = v->pause_yield = soft_host_tsc();
}
