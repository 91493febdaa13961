/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - the ways out of the engine: calls to the board, the clock, and the guest's FPU state.
 *
 * Theory of operation. While translated code runs, the host's x87, SSE and AVX registers hold the guest's values
 * (v->fp_live), and everything in this folder is compiled so as not to touch them. The board and the C
 * library are not. So each call out saves the guest's state first, gives the host its own defaults, and puts
 * the guest's state back when it was live before.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/soft/host.h"
#include "engine/soft/lockstep.h"

#define FX_MXCSR 24 /* offset in the FXSAVE image */
#define HOST_MXCSR 0x1f80u
#define FX_MXCSR_MASK 28

/* Components that the host saves by XSAVE; 0: it has none, and FXSAVE is used. */
static uint32_t host_components;
/* MXCSR bits that it has; others make FXRSTOR fault. */
static uint32_t mxcsr_mask = 0xffbf; /* what a mask of zero means (SDM vol. 1 §11.6.6) */

#define COMPONENTS (X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX)
#define CPUID_1_ECX_OSXSAVE BIT(27)

void soft_fp_init(void)
{
	uint8_t fx[512] __attribute__((aligned(16)));
	uint32_t r[4], lo, hi, mask = 0;

	__asm__ volatile("fxsave64 %0" : "=m"(fx));
	soft_copy(&mask, fx + FX_MXCSR_MASK, 4);
	if (mask)
		mxcsr_mask = mask;
	cpuid_host(1, 0, r);
	if (!(r[CPUID_ECX] & (uint32_t)CPUID_1_ECX_OSXSAVE))
		return;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	host_components = lo & COMPONENTS;
}

uint32_t soft_mxcsr_mask(void)
{
	return mxcsr_mask;
}

void soft_fp_save(struct soft_vcpu *v)
{
	uint32_t mxcsr = HOST_MXCSR;

	if (!v->fp_live)
		return;
	if (host_components)
		__asm__ volatile("xsave64 %0" : "+m"(v->s.fx) : "a"(host_components), "d"(0));
	else
		__asm__ volatile("fxsave64 %0" : "=m"(*(uint8_t(*)[512])v->s.fx));
	if (host_components &
	    X86_XCR0_AVX) /* what runs now is SSE code: it must not drag upper halves along */
		__asm__ volatile("vzeroupper");
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
	v->fp_live = false;
}

void soft_fp_load(struct soft_vcpu *v)
{
	uint32_t *mxcsr = (uint32_t *)(void *)(v->s.fx + FX_MXCSR);
	uint64_t *header = (uint64_t *)(void *)(v->s.fx + X86_FX_XSTATE_BV);

	if (v->fp_live)
		return;
	/* The image may come from a snapshot or a peer: nothing in it may make the host fault. */
	*mxcsr &= mxcsr_mask;
	if (host_components) {
		header[0] &= host_components;
		header[1] = header[2] = 0;
		__asm__ volatile("xrstor64 %0" : : "m"(v->s.fx), "a"(host_components), "d"(0));
	} else {
		__asm__ volatile("fxrstor64 %0" : : "m"(*(uint8_t(*)[512])v->s.fx));
	}
	v->fp_live = true;
}

void soft_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

void soft_copy_code(uint8_t *dst, const uint8_t *page, unsigned pos, unsigned n)
{
	while (n) {
		uint64_t quad = __atomic_load_n((const uint64_t *)(const void *)(page + (pos & ~7u)),
						__ATOMIC_RELAXED);
		unsigned part = MIN(8 - pos % 8, n);

		quad >>= 8 * (pos % 8);
		for (unsigned i = 0; i < part; i++)
			dst[i] = (uint8_t)(quad >> (8 * i));
		dst += part;
		pos += part;
		n -= part;
	}
}

void soft_zero(void *dst, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
}

/* Guest FPU state is out of the host's registers between these two. */
static bool leave(struct soft_vcpu *v)
{
	bool live = v->fp_live;

	soft_fp_save(v);
	return live;
}

static void enter(struct soft_vcpu *v, bool live)
{
	if (live)
		soft_fp_load(v);
}

/* EOI and priority changes can make a waiting interrupt deliverable without anybody raising one. */
static void look_for_interrupts(struct soft_vcpu *v)
{
	__atomic_or_fetch(&v->req, SOFT_REQ_IRQ, __ATOMIC_SEQ_CST);
}

static uint64_t cut(uint64_t value, unsigned size)
{
	return size >= 8 ? value : value & (BIT(8 * size) - 1);
}

/* In lock-step: answered from the log; what was really asked goes there. */
static bool replayed(struct soft_vcpu *v, struct soft_lockstep_entry *e)
{
	return unlikely(v->lockstep) && soft_lockstep_replay(v, e);
}

static void asked(struct soft_vcpu *v, const struct soft_lockstep_entry *e)
{
	if (unlikely(v->lockstep))
		soft_lockstep_record(v, e);
}

uint32_t soft_port_in(struct soft_vcpu *v, uint16_t port, unsigned size)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_PORT_IN,
					.size = (uint8_t)size,
					.number = port};

	if (!replayed(v, &e)) {
		bool live = leave(v);

		e.result = v->host->port_in(v->host->ctx, v->index, port, size);
		v->n_pio++;
		enter(v, live);
		asked(v, &e);
	}
	return (uint32_t)cut(e.result, size);
}

void soft_port_out(struct soft_vcpu *v, uint16_t port, uint32_t value, unsigned size)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_PORT_OUT,
					.size = (uint8_t)size,
					.number = port,
					.value = cut(value, size)};

	if (replayed(v, &e))
		return;
	bool live = leave(v);

	v->n_pio++;
	v->host->port_out(v->host->ctx, v->index, port, (uint32_t)e.value, size);
	enter(v, live);
	asked(v, &e);
}

uint64_t soft_mmio_read(struct soft_vcpu *v, gpa_t gpa, unsigned size)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_MMIO_READ,
					.size = (uint8_t)size,
					.addr = gpa};

	if (!replayed(v, &e)) {
		bool live = leave(v);

		e.result = v->host->mmio_read(v->host->ctx, v->index, gpa, size);
		v->n_mmio++;
		enter(v, live);
		asked(v, &e);
	}
	return cut(e.result, size);
}

void soft_mmio_write(struct soft_vcpu *v, gpa_t gpa, uint64_t value, unsigned size)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_MMIO_WRITE,
					.size = (uint8_t)size,
					.addr = gpa,
					.value = cut(value, size)};

	if (replayed(v, &e))
		return;
	bool live = leave(v);

	v->n_mmio++;
	v->host->mmio_write(v->host->ctx, v->index, gpa, e.value, size);
	look_for_interrupts(v);
	enter(v, live);
	asked(v, &e);
}

int soft_apic_msr(struct soft_vcpu *v, uint32_t msr, uint64_t *value, bool write)
{
	struct soft_lockstep_entry e = {.call = write ? LOCKSTEP_MSR_WRITE : LOCKSTEP_MSR_READ,
					.number = msr,
					.value = write ? *value : 0};

	if (!replayed(v, &e)) {
		bool live = leave(v);

		if (write) {
			e.ok = v->host->apic_msr_write(v->host->ctx, v->index, msr, *value) == 0;
			look_for_interrupts(v);
		} else {
			e.ok = v->host->apic_msr_read(v->host->ctx, v->index, msr, &e.result) == 0;
		}
		enter(v, live);
		asked(v, &e);
	}
	if (!write)
		*value = e.result;
	return e.ok ? 0 : -1;
}

unsigned soft_cr8_read(struct soft_vcpu *v)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_CR8_READ};

	if (!replayed(v, &e)) {
		bool live = leave(v);

		e.result = v->host->cr8_read(v->host->ctx, v->index);
		enter(v, live);
		asked(v, &e);
	}
	return (unsigned)e.result;
}

void soft_cr8_write(struct soft_vcpu *v, unsigned tpr)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_CR8_WRITE, .value = tpr};

	if (replayed(v, &e))
		return;
	bool live = leave(v);

	v->host->cr8_write(v->host->ctx, v->index, tpr);
	look_for_interrupts(v);
	enter(v, live);
	asked(v, &e);
}

uint64_t soft_host_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

uint64_t soft_guest_tsc(struct soft_vcpu *v)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_TSC};

	if (!replayed(v, &e)) {
		e.result = soft_host_tsc();
		asked(v, &e);
	}
	return e.result + v->s.msr.tsc_offset;
}

uint64_t soft_random(struct soft_vcpu *v, bool seed, bool *ok)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_RANDOM, .number = seed};

	if (!replayed(v, &e)) {
		if (seed)
			__asm__ volatile("rdseed %0" : "=r"(e.result), "=@ccc"(e.ok));
		else
			__asm__ volatile("rdrand %0" : "=r"(e.result), "=@ccc"(e.ok));
		asked(v, &e);
	}
	*ok = e.ok;
	return e.result;
}

void host_wall_clock(struct soft_vcpu *v, uint64_t *sec, uint32_t *nsec)
{
	struct soft_lockstep_entry e = {.call = LOCKSTEP_WALL_CLOCK};

	if (!replayed(v, &e)) {
		bool live = leave(v);
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		e.result = (uint64_t)ts.tv_sec << 30 | (uint64_t)ts.tv_nsec;
		enter(v, live);
		asked(v, &e);
	}
	*sec = e.result >> 30;
	*nsec = e.result & 0x3fffffff;
}

void host_wake(struct soft_vcpu *v, unsigned vcpu)
{
	bool live = leave(v);

	if (v->host->wake)
		v->host->wake(v->host->ctx, vcpu);
	enter(v, live);
}

void host_yield(struct soft_vcpu *v)
{
	bool live = leave(v);

	/* seccomp vm: sched_yield */
	(void)sched_yield();
	enter(v, live);
}

void host_nap(struct soft_vcpu *v, uint32_t ns)
{
	struct timespec ts = {.tv_nsec = (long)ns};
	bool live = leave(v);

	(void)syscall(SYS_futex, &v->req, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &ts, NULL, 0);
	enter(v, live);
}
