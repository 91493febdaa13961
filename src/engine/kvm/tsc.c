/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsc.c - the guest's time stamp counter and kvmclock.
 *
 * Theory of operation. A guest's TSC is the host's plus an offset. All vCPUs of a VM get kvmclock from one place in the kernel; it is
 * set to what the software engine shows for that TSC: the time that the TSC has counted without what the guest did to it.
 *
 * The rate. vCPUs get the frequency that the host's TSC has now. Without that, on processors that do not say that theirs is constant,
 * they get the one that was known when KVM's module was loaded; if that is off by more than 250 ppm, and the processor does not scale,
 * a vCPU has no frequency at all (each TSC deadline has passed at once, and the guest drowns in timer interrupts) or has its TSC
 * moved at each entry. It is said to the VM since Linux 5.19, to each vCPU before that.
 *
 * Another rate. A saved guest goes on at its own, where KVM can give it that: with a processor that scales (KVM_CAP_TSC_CONTROL) any, else
 * a higher one than the host's, which the kernel makes by moving the offset forward at each entry. Everybody but this file then
 * counts in the guest's ticks: the "host's TSC" is kvm_tsc_scaled() of it, and offsets are to that. The kernel's own offset is to
 * something else (its idea of the host's TSC in guest ticks, or the bare host's TSC), and what lies between the two, `tsc_gap`, is measured whenever
 * an offset is set or read: the ratio that the kernel uses is not known to the last digit, and would drift from ours. One gap holds for all
 * vCPUs where the processor scales, so that their TSCs stay the same; where the kernel moves the offset, each has its own, and it is that of the
 * beginning of a pause as long as the pause lasts, since nobody moves the offset then.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/kvm/kvm.h"
#include "util/clock.h"
#include "util/log.h"

/*
 * seccomp vm: ioctl arg1=KVM_GET_MSRS/KVM_SET_MSRS/KVM_GET_DEVICE_ATTR/KVM_SET_DEVICE_ATTR/
 *	KVM_GET_CLOCK/KVM_SET_CLOCK/KVM_SET_TSC_KHZ/KVM_CHECK_EXTENSION
 */

#define MSR_TSC 0x10u

/* ---- rate ---- */

void kvm_tsc_host_rate(struct engine *en)
{
	en->vm_tsc_rate = ioctl(en->made.vm, KVM_SET_TSC_KHZ, 0) == 0;
}

void kvm_tsc_vcpu_rate(struct engine_vcpu *v)
{
	if (!v->en->vm_tsc_rate)
		(void)ioctl(v->fd, KVM_SET_TSC_KHZ, 0);
}

uint64_t kvm_tsc_scaled(const struct engine *en, uint64_t tsc)
{
	if (!en->host_khz)
		return tsc;
	return (uint64_t)((unsigned __int128)tsc * en->tsc_khz / en->host_khz);
}

int kvm_tsc_set_khz(struct engine *en, uint32_t khz)
{
	struct err e = {0};
	int r = 0;

	if (!en->caps.tsc_offset)
		return -ENOTSUP;
	for (unsigned i = 0; i < en->n_vcpus && r == 0; i++)
		if (ioctl(en->vcpu[i]->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
			r = -ENOTSUP;
	if (r < 0)
		return r;
	en->tsc_catches_up = ioctl(en->made.vm, KVM_CHECK_EXTENSION,
				   (unsigned long)KVM_CAP_TSC_CONTROL) <= 0;
	en->host_khz = en->cfg.tsc_khz;
	en->tsc_khz = khz;
	cpuid_set_tsc_khz(&en->cpuid, khz);
	for (unsigned i = 0; i < en->n_vcpus && r == 0; i++)
		r = kvm_cpuid_set(en->vcpu[i], &e);
	if (r < 0)
		log_error("%s", e.msg);
	return r;
}

/* ---- offset ---- */

static int msr_tsc(struct engine_vcpu *v, unsigned long request, uint64_t *tsc)
{
	union {
		struct kvm_msrs head;
		uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one;
	int r;

	memset(&one, 0, sizeof(one));
	one.head.nmsrs = 1;
	one.head.entries[0].index = MSR_TSC;
	one.head.entries[0].data = *tsc;
	r = kvm_ioctl(v->fd, request, &one);
	*tsc = one.head.entries[0].data;
	return r == 1 ? 0 : -EINVAL;
}

static int tsc_offset(struct engine_vcpu *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL,
				    .attr = KVM_VCPU_TSC_OFFSET,
				    .addr = (uintptr_t)offset};

	return kvm_ioctl(v->fd, request, &a);
}

/* How much the kernel's offset is less than ours. */
static void measure_gap(struct engine_vcpu *v)
{
	struct engine *en = v->en;
	uint64_t before, after, tsc = 0, offset = 0;

	if (!en->host_khz)
		return;
	if (v->index > 0 && !en->tsc_catches_up) {
		v->tsc_gap = en->vcpu[0]->tsc_gap;
		return;
	}
	before = clock_tsc();
	if (msr_tsc(v, KVM_GET_MSRS, &tsc) < 0 || tsc_offset(v, KVM_GET_DEVICE_ATTR, &offset) < 0)
		return;
	after = clock_tsc();
	v->tsc_gap = tsc - offset - kvm_tsc_scaled(en, before + (after - before) / 2);
}

/* Without the attribute (Linux before 5.16) the TSC itself is written, which is off by the time of the call. */
static int set_offset(struct engine_vcpu *v, uint64_t offset)
{
	uint64_t tsc = clock_tsc() + offset;

	v->tsc_offset = offset;
	if (!v->en->caps.tsc_offset)
		return msr_tsc(v, KVM_SET_MSRS, &tsc);
	measure_gap(v);
	offset -= v->tsc_gap;
	return tsc_offset(v, KVM_SET_DEVICE_ATTR, &offset);
}

uint64_t kvm_tsc_get(struct engine_vcpu *v)
{
	uint64_t offset = 0;

	if (!v->en->paused)
		measure_gap(v);
	if (v->en->caps.tsc_offset && tsc_offset(v, KVM_GET_DEVICE_ATTR, &offset) == 0)
		v->tsc_offset = offset + v->tsc_gap;
	return v->tsc_offset;
}

void kvm_tsc_pause(struct engine *en)
{
	for (unsigned i = 0; i < en->n_vcpus; i++)
		measure_gap(en->vcpu[i]);
}

/* ---- kvmclock ---- */

static uint64_t tsc_to_ns(const struct engine *en, uint64_t ticks)
{
	return (uint64_t)((unsigned __int128)ticks * 1000000 / en->tsc_khz);
}

static uint64_t tsc_now(const struct engine *en)
{
	return kvm_tsc_scaled(en, clock_tsc());
}

static bool clock_by_tsc(const struct engine *en)
{
	return en->caps.adjust_clock && en->tsc_khz;
}

/* kvmclock as the TSC of the first vCPU says. While the VM is paused it stands still, and is set when it goes on. */
static void clock_set(struct engine_vcpu *v, const struct x86_msrs *m)
{
	struct engine *en = v->en;
	struct kvm_clock_data clock = {0};

	if (v->index != 0 || !clock_by_tsc(en) || en->paused)
		return;
	clock.clock = tsc_to_ns(en, tsc_now(en) + m->tsc_offset - m->tsc_adjust) +
		      (uint64_t)en->clock_delta;
	(void)kvm_ioctl(en->made.vm, KVM_SET_CLOCK, &clock);
}

/* How much the guest's TSC is ahead of `tsc` now, in ns (modulo 2^64). */
static uint64_t ns_since(struct engine *en, uint64_t tsc)
{
	int64_t ticks = (int64_t)(tsc_now(en) + en->vcpu[0]->tsc_offset - tsc);

	return ticks < 0 ? 0 - tsc_to_ns(en, 0 - (uint64_t)ticks) : tsc_to_ns(en, (uint64_t)ticks);
}

int kvm_tsc_get_clock(struct engine *en, uint64_t tsc, uint64_t *ns)
{
	struct kvm_clock_data clock;
	int r;

	if (!clock_by_tsc(en))
		return -ENOTSUP;
	if (en->paused) {
		*ns = en->paused_clock;
		return 0;
	}
	r = kvm_ioctl(en->made.vm, KVM_GET_CLOCK, &clock);
	if (r == 0)
		*ns = clock.clock - ns_since(en, tsc);
	return r;
}

int kvm_tsc_set_clock(struct engine *en, uint64_t tsc, uint64_t ns)
{
	struct kvm_clock_data clock = {0};

	if (!clock_by_tsc(en))
		return -ENOTSUP;
	en->clock_delta = (int64_t)(ns - tsc_to_ns(en, tsc));
	en->paused_clock = ns;
	clock.clock = ns + ns_since(en, tsc);
	return kvm_ioctl(en->made.vm, KVM_SET_CLOCK, &clock);
}

int kvm_tsc_set(struct engine_vcpu *v, const struct x86_msrs *m)
{
	int r = set_offset(v, m->tsc_offset);

	if (r == 0)
		clock_set(v, m);
	return r;
}
