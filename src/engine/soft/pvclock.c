/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pvclock.c - kvmclock: guest time as a page that the guest reads by itself (Linux,
 * Documentation/virt/kvm/x86/msr.rst).
 *
 * Theory of operation. The page says: at TSC value `tsc_timestamp` it was `system_time` ns, and the TSC runs
 * at a rate given by a multiplier and a shift. Guest time is that of the TSC as the host gives it to the guest
 * (starting at 0 with the VM, standing still while it is paused), without what the guest itself did to it:
 * IA32_TSC_ADJUST holds the sum of its changes, so that is the TSC value at guest time 0. All vCPUs so describe
 * the same straight line. A guest may compare times across vCPUs (the "TSC stable" flag), and a page needs to be
 * written again only when the vCPU's TSC is.
 *
 * A machine that was loaded from saved state may have had its clock from another engine, where guest time and TSC did not
 * begin together: pv_base_ns is what guest time was when the TSC was 0.
 */
#include "engine/soft/host.h"
#include "engine/soft/lockstep.h"
#include "engine/soft/mmu.h"

#define PVCLOCK_ENABLE 1u
#define PVCLOCK_TSC_STABLE 1u
#define NS_PER_S UINT64_C(1000000000)

/* struct pvclock_vcpu_time_info */
#define TI_VERSION 0
#define TI_TSC_TIMESTAMP 8
#define TI_SYSTEM_TIME 16
#define TI_MUL 24
#define TI_SHIFT 28
#define TI_FLAGS 29

/* struct pvclock_wall_clock */
#define WC_VERSION 0
#define WC_SEC 4
#define WC_NSEC 8

/* ns = ((ticks << shift) * mul) >> 32, with a shift to the right when negative. */
static void rate(uint32_t tsc_khz, uint32_t *mul, int *shift)
{
	uint64_t hz = (uint64_t)(tsc_khz ? tsc_khz : 1000000) * 1000, ns = NS_PER_S, quotient, rest;

	*shift = 0;
	while (hz <= ns) {
		hz <<= 1;
		(*shift)++;
	}
	while (ns << 1 < hz) {
		ns <<= 1;
		(*shift)--;
	}
	/* ns * 2^32 / hz, below 2^32 because ns < hz. */
	__asm__("divq %4"
		: "=a"(quotient), "=d"(rest)
		: "a"(ns << 32), "d"(ns >> 32), "r"(hz)
		: "cc");
	*mul = (uint32_t)quotient;
}

static uint64_t ticks_to_ns(const struct soft *so, uint64_t ticks)
{
	uint32_t mul;
	int shift;

	rate(so->cfg.tsc_khz, &mul, &shift);
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return (uint64_t)((unsigned __int128)ticks * mul >> 32);
}

/* Guest memory by physical address, any alignment; where there is no RAM nothing happens. */
static void put(struct soft_vcpu *v, gpa_t gpa, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		uint8_t *host = mmu_ram(v, gpa + i);

		if (!host)
			continue;
		if (unlikely(v->lockstep))
			host = soft_lockstep_touch(v, host, false);
		host += (gpa + i) & 0xfff;
		*(volatile uint8_t *)host = (uint8_t)(value >> (8 * i));
		mmu_ram_written(v, gpa + i, 1);
	}
}

static uint32_t get32(struct soft_vcpu *v, gpa_t gpa)
{
	uint32_t r = 0;

	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *host = mmu_ram(v, gpa + i);

		if (host)
			r |= (uint32_t)host[(gpa + i) & 0xfff] << (8 * i);
	}
	return r;
}

void soft_pvclock_update(struct soft_vcpu *v)
{
	const struct soft *so = v->soft;
	gpa_t gpa = v->s.msr.kvm_system_time & ~(gpa_t)PVCLOCK_ENABLE;
	uint32_t version, mul;
	int shift;

	if (!(v->s.msr.kvm_system_time & PVCLOCK_ENABLE))
		return;
	rate(so->cfg.tsc_khz, &mul, &shift);
	version = get32(v, gpa + TI_VERSION) | 1;
	put(v, gpa + TI_VERSION, version, 4);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put(v, gpa + TI_TSC_TIMESTAMP, v->s.msr.tsc_adjust, 8);
	put(v, gpa + TI_SYSTEM_TIME, so->pv_base_ns, 8);
	put(v, gpa + TI_MUL, mul, 4);
	put(v, gpa + TI_SHIFT, (uint8_t)shift, 1);
	put(v, gpa + TI_FLAGS, PVCLOCK_TSC_STABLE, 1);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put(v, gpa + TI_VERSION, version + 1, 4);
}

void soft_pvclock_wall(struct soft_vcpu *v)
{
	const struct soft *so = v->soft;
	gpa_t gpa = v->s.msr.kvm_wall_clock;
	uint64_t sec, now;
	uint32_t nsec, version;

	/* The time of day when guest time was 0. */
	host_wall_clock(v, &sec, &nsec);
	now = so->pv_base_ns + ticks_to_ns(so, soft_guest_tsc(v) - v->s.msr.tsc_adjust);
	now = sec * NS_PER_S + nsec - now;
	version = get32(v, gpa + WC_VERSION) | 1;
	put(v, gpa + WC_VERSION, version, 4);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put(v, gpa + WC_SEC, now / NS_PER_S, 4);
	put(v, gpa + WC_NSEC, now % NS_PER_S, 4);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	put(v, gpa + WC_VERSION, version + 1, 4);
}

uint64_t soft_pvclock_get(const struct soft *so, uint64_t tsc)
{
	return so->pv_base_ns + ticks_to_ns(so, tsc - so->vcpu[0]->s.msr.tsc_adjust);
}

void soft_pvclock_set(struct soft *so, uint64_t tsc, uint64_t ns)
{
	so->pv_base_ns = ns - ticks_to_ns(so, tsc - so->vcpu[0]->s.msr.tsc_adjust);
	for (unsigned i = 0; i < so->n_vcpus; i++)
		soft_pvclock_update(so->vcpu[i]);
}
