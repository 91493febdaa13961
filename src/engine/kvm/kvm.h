/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm.h - what the files of the KVM engine share.
 *
 *   begin.c    the VM of the host's kernel, made in the background
 *   kvm.c      the VM: opening it, memory slots, what the host's KVM can do; the engine_class
 *   run.c      the vCPU: its run loop, exits, kicks, what went wrong as a sentence
 *   state.c    architectural state to and from the kernel
 *   tsc.c      the TSC's rate and offset, kvmclock
 *   xsave.c    ... of its XSAVE area
 *   irqchip.c  the kernel's interrupt controllers: lines, messages, pause
 *   chips.c    their state
 *   pit.c      the kernel's interval timer
 *   dirty.c    the pages that vCPUs have written: a log of each slot, or a ring for each vCPU
 *   cpuid.c    what CPUID tells the guest
 *   support.c  what processor KVM can give
 *   probe.c    what KVM on this host can really do; absent.c: why there is none
 *
 * Threads: as engine/engine.h says. What is in struct engine is set while it is opened and only read afterwards, but
 * the counters and what is said to be otherwise.
 */
#ifndef LODGE_ENGINE_KVM_KVM_H
#define LODGE_ENGINE_KVM_KVM_H

#include <linux/kvm.h>
#include <string.h>
#include <pthread.h>

#include "engine/engine.h"
#include "engine/kvm/xsave.h"
#include "util/text.h"
#include "x86/cpuid.h"

/* Guest physical space that KVM may use for itself on old Intel processors: a page table and a TSS. In the reserved
 * range between the local APICs' page and the top of 4 GiB, where nothing of the board is. */
#define KVM_IDENTITY_MAP UINT64_C(0xfeffc000)
#define KVM_TSS UINT64_C(0xfeffd000)
#define KVM_MSRS 64u

/* What the host's KVM can do, as far as we ask for it. */
struct kvm_caps {
	bool immediate_exit, signal_msi, user_msr, tsc_deadline, xsave, xcrs, vcpu_events,
		debugregs, tsc_offset, kvmclock_ctrl, adjust_clock, readonly_mem;
	unsigned coalesced; /* page of the vCPU's mapping that has the ring of late writes; 0: none */
	unsigned max_vcpus;
};

/* Counters; each is written by one vCPU's thread. */
struct kvm_stats {
	uint64_t n_coalesced, n_exits, n_port_in, n_port_out, n_mmio_read, n_mmio_write, n_msr,
		n_kicks, n_other, n_ring_full;
};

struct engine_vcpu {
	struct engine *en;
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with the kernel; made.run_size bytes */
	pthread_t thread;
	bool attached;	/* `thread` is valid; atomic */
	bool in_kernel; /* in KVM_RUN, or about to be; atomic */
	bool awaited;	/* kvm_run_out() waits until it is not; atomic */
	struct kvm_dirty_gfn
		*dirty_ring;	  /* en->ring_entries of them, shared with the kernel; NULL: none */
	uint32_t dirty_next;	  /* the first that was not looked at; en->dirty_lock */
	uint64_t tsc_offset;	  /* as last set or read */
	uint64_t tsc_gap;	  /* what it is more than the kernel's (tsc.c) */
	uint64_t paused_deadline; /* TSC deadline that was armed when the pause began */
	struct kvm_stats stats;
};

/* A VM that has nothing yet. */
struct kvm_made {
	int kvm; /* /dev/kvm; owned if own_kvm */
	bool own_kvm;
	int vm;
	size_t run_size; /* of a vCPU's shared page, and what is behind it */
};

struct engine {
	struct engine_config cfg;
	struct kvm_made made;
	struct kvm_caps caps;
	uint32_t tsc_khz;    /* the guest's; the host's, if the next is 0 */
	uint32_t host_khz;   /* the host's, of a guest with another */
	bool tsc_catches_up; /* such a one has it by a kernel that moves its offset */
	bool vm_tsc_rate;    /* the VM has told KVM that vCPUs have that */
	enum cpuid_vendor vendor;
	struct kvm_cpuid2 *supported; /* KVM_GET_SUPPORTED_CPUID; freed when the last vCPU has been made */
	struct cpuid_table cpuid;
	struct kvm_xsave_layout xsave;
	struct kvm_coalesced_mmio_ring *ring; /* late writes, in vCPU 0's mapping; NULL: none */
	pthread_mutex_t ring_lock;	      /* of who empties it */
	uint32_t ioapic_line;		      /* levels of its inputs; atomic */
	uint32_t ring_entries; /* of each vCPU's ring of written pages, a power of two; 0: the slots have a log */
	pthread_mutex_t dirty_lock;
	bool dirty_on; /* the kernel notes; dirty_lock */
	pthread_mutex_t out_lock;
	pthread_cond_t out;  /* a vCPU that was `awaited` has come out */
	int64_t clock_delta; /* kvmclock less the time that the TSC shows, as set_clock() left it */
	uint64_t paused_clock; /* kvmclock when the pause began */
	bool paused;
	bool pit;			  /* the kernel has the interval timer */
	bool pit_stands;		  /* it was stopped: its state is the next */
	struct kvm_pit_state2 paused_pit; /* as it was, or shall be when it goes on */
	uint8_t msr_ok[KVM_MSRS]; /* by index into the table of state.c: 0 not tried, 1 works, 2 does not */
	unsigned n_vcpus;	  /* made so far */
	struct engine_vcpu *vcpu[]; /* cfg.n_vcpus */
};

/* ioctl() that goes on after a signal; 0 or more, or -errno. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

/* ---- begin.c ---- */

struct engine_begun *kvm_begin(int kvm_fd);
void kvm_abandon(struct engine_begun *b);
/* What begin() has begun, which is gone then; b NULL: it is made now. *m is to be closed, also after an error. */
int kvm_made_get(struct engine_begun *b, int kvm_fd, struct kvm_made *m, struct err *e);
void kvm_made_close(struct kvm_made *m);

/* ---- cpuid.c ---- */

/* Asks KVM what it supports and builds en->cpuid. */
int kvm_cpuid_init(struct engine *en, struct err *e);
int kvm_cpuid_set(struct engine_vcpu *v, struct err *e);

/* ---- irqchip.c ---- */

extern const struct engine_irqchip kvm_irqchip;
int kvm_irqchip_create(struct engine *en, struct err *e);

/* ---- chips.c ---- */

int kvm_chips_get_lapic(struct engine_vcpu *v, struct irqchip_lapic *l);
int kvm_chips_set_lapic(struct engine_vcpu *v, const struct irqchip_lapic *l);
int kvm_chips_get_ioapic(struct engine *en, struct irqchip_ioapic *io);
int kvm_chips_set_ioapic(struct engine *en, const struct irqchip_ioapic *io);
int kvm_chips_get_pic(struct engine *en, struct irqchip_pic *p);
int kvm_chips_set_pic(struct engine *en, const struct irqchip_pic *p);
/* A register of the APIC's page. */
static inline uint32_t kvm_lapic_reg_get(const struct kvm_lapic_state *l, unsigned reg)
{
	uint32_t v;

	memcpy(&v, l->regs + reg, sizeof(v));
	return v;
}

static inline void kvm_lapic_reg_set(struct kvm_lapic_state *l, unsigned reg, uint32_t v)
{
	memcpy(l->regs + reg, &v, sizeof(v));
}

/* IA32_TSC_DEADLINE. */
int kvm_chips_deadline(struct engine_vcpu *v, uint64_t *tsc, bool set);

/* ---- tsc.c ---- */

/* vCPUs get the host's rate: of a new VM, and of a new vCPU. */
void kvm_tsc_host_rate(struct engine *en);
void kvm_tsc_vcpu_rate(struct engine_vcpu *v);
int kvm_tsc_set_khz(struct engine *en, uint32_t khz);
uint64_t kvm_tsc_scaled(const struct engine *en, uint64_t tsc);
/* tsc_offset of a state; setting it sets kvmclock with vCPU 0's. */
uint64_t kvm_tsc_get(struct engine_vcpu *v);
int kvm_tsc_set(struct engine_vcpu *v, const struct x86_msrs *m);
/* A pause begins. */
void kvm_tsc_pause(struct engine *en);
int kvm_tsc_get_clock(struct engine *en, uint64_t tsc, uint64_t *ns);
int kvm_tsc_set_clock(struct engine *en, uint64_t tsc, uint64_t ns);

/* ---- pit.c ---- */

int kvm_pit_create(struct engine *en, struct err *e);
bool kvm_pit_there(const struct engine *en);
int kvm_pit_get(struct engine *en, struct irqchip_pit *p);
int kvm_pit_set(struct engine *en, const struct irqchip_pit *p);
void kvm_pit_pause(struct engine *en);
void kvm_pit_resume(struct engine *en);
void kvm_pit_dump(struct engine *en, struct text *t);

/* ---- dirty.c ---- */

/* Chooses between log and ring; before the first vCPU is made. */
int kvm_dirty_init(struct engine *en, struct err *e);
/* Maps a new vCPU's ring, and takes it away. */
int kvm_dirty_map(struct engine_vcpu *v, struct err *e);
void kvm_dirty_unmap(struct engine_vcpu *v);
/* The vCPU's ring is full. Its own thread. */
void kvm_dirty_full(struct engine_vcpu *v);
void kvm_dirty_sync(struct engine *en);
void kvm_dirty_collect(void *ctx);

/* ---- run.c ---- */

int kvm_run_attach(struct engine_vcpu *v, struct err *e);
void kvm_run_loop(struct engine_vcpu *v, struct engine_exit *exit);
void kvm_run_kick(struct engine_vcpu *v, bool out);
void kvm_run_nmi(struct engine_vcpu *v);
/* Returns when each vCPU has been out of the kernel since the call. Any thread; no lock held that a vCPU waits for in the kernel. */
void kvm_run_out(struct engine *en);
/* Tells the writes that the kernel has kept back. No vCPU of the VM running, or vcpu's own thread. */
void kvm_run_late_writes(struct engine *en, unsigned vcpu);

/* ---- state.c ---- */

void kvm_state_get(struct engine_vcpu *v, uint64_t mask, struct x86_state *s);
int kvm_state_set(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s);

#endif
