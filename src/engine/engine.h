/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what runs guest instructions: KVM, or our own software engine, behind one small interface.
 *
 * An engine knows guest memory (mem/) and architectural state (x86/state.h) and nothing of the board.
 * What an instruction reaches outside of RAM goes through `struct engine_host`, a table of calls that
 * vm/ fills in and wires to the board. Calls into the host are made synchronously on the vCPU's own
 * thread, in the middle of engine_run(), as an instruction needs them: the KVM engine makes the same
 * calls from its exit loop. (A return to the caller for each access would force every emulated
 * instruction to be restartable half way; synchronous calls keep both engines simple.)
 *
 * Threads: open/close/map from the thread that builds the VM, with no vCPU running. run, get_state
 * and set_state of one vCPU from its own thread only (or any one thread while the vCPU is not running).
 * kick and nmi from any thread.
 *
 * Interrupt controllers. An engine either leaves local APICs, IOAPIC and PIC to its user (`irqchip` NULL: the host table's
 * APIC and interrupt calls are made, HLT is an exit, INIT and SIPI are the user's to apply) or has them itself
 * (struct engine_irqchip): then HLT, INIT, SIPI, IPIs and APIC timers stay inside, those calls are never made, and
 * interrupts come in by irqchip->line and irqchip->msi.
 */
#ifndef LODGE_ENGINE_ENGINE_H
#define LODGE_ENGINE_ENGINE_H

#include "mem/gmem.h"
#include "util/err.h"
#include "x86/cpuid.h"
#include "x86/irqchip.h"
#include "x86/state.h"

struct engine;
struct engine_vcpu;
struct engine_begun;

/* Where guest instructions reach the world outside RAM. Sizes are 1, 2, 4 (ports) or 1..8 (MMIO)
 * bytes, values little-endian in the low bits. An access that nothing answers reads as all ones and
 * ignores writes. Called on the vCPU's thread; may block for a lock, never for the guest. */
struct engine_host {
	void *ctx;
	uint32_t (*port_in)(void *ctx, unsigned vcpu, uint16_t port, unsigned size);
	void (*port_out)(void *ctx, unsigned vcpu, uint16_t port, uint32_t value, unsigned size);
	uint64_t (*mmio_read)(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size);
	void (*mmio_write)(void *ctx, unsigned vcpu, gpa_t gpa, uint64_t value, unsigned size);

	/* Local APIC registers by MSR: IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and x2APIC
	 * (0x800-0x8ff). Return 0, or -1: the instruction gets #GP. */
	int (*apic_msr_read)(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *value);
	int (*apic_msr_write)(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value);
	/* Task priority, 0..15, as CR8 shows it. */
	unsigned (*cr8_read)(void *ctx, unsigned vcpu);
	void (*cr8_write)(void *ctx, unsigned vcpu, unsigned tpr);
	/* Is a maskable interrupt deliverable now (above the processor priority)? Lock-free, called often. */
	bool (*irq_pending)(void *ctx, unsigned vcpu);
	/* Acknowledge it: the vector, or -1 if it went away. */
	int (*irq_ack)(void *ctx, unsigned vcpu);
	/* The engine has put something aside for that vCPU: if it sleeps after ENGINE_EXIT_HALT, run it again. NULL: none. */
	void (*wake)(void *ctx, unsigned vcpu);
};

enum engine_exit_reason {
	ENGINE_EXIT_KICK, /* somebody called engine_kick(), or a host call asked to stop: look around, run again */
	ENGINE_EXIT_HALT, /* HLT with nothing deliverable: sleep until irq_pending/NMI/kick, then run again */
	ENGINE_EXIT_SHUTDOWN, /* triple fault */
	ENGINE_EXIT_ERROR, /* the engine cannot go on (its own or the host's fault); text in `why` */
};

struct engine_exit {
	enum engine_exit_reason reason;
	char why[400];
};

/* How the KVM engine notes the pages that vCPUs write: a log of each memory slot, or a ring for each vCPU (engine/kvm/dirty.c). */
enum kvm_dirty { KVM_DIRTY_AUTO, KVM_DIRTY_LOG, KVM_DIRTY_RING };

/* Whose the interval timer is under KVM: the board's, the kernel's if KVM has one, or the kernel's or an error of open(). */
enum kvm_pit { KVM_PIT_BOARD, KVM_PIT_TRY, KVM_PIT_KERNEL };

enum soft_mode { SOFT_MODE_TRANSLATE, SOFT_MODE_REFERENCE, SOFT_MODE_LOCKSTEP, SOFT_MODE_CHAOS };

struct engine_config {
	struct gmem *mem;
	const struct engine_host *host;
	unsigned n_vcpus;
	uint32_t tsc_khz; /* frequency of the TSC that guests see (= the host's) */
	enum cpuid_model
		cpu_model; /* one that the host cannot carry is an error of open() or of the first vcpu_create() */
	enum soft_mode soft_mode; /* soft engine only, as the next */
	bool soft_trace;	  /* log the code of blocks that contain this guest address */
	uint64_t soft_trace_address;
	bool soft_perf_map; /* write the names of blocks there, in the format of perf-PID.map; borrowed */
	int soft_perf_map_fd;
	uint64_t soft_cache_bytes; /* translated code, at most; 0: as the engine likes */
	/* KVM engine only, as the next. Byte ports that hold what was written to them and do nothing else: a write may be told later,
	 * but before any other access of any vCPU. */
	uint16_t latch_port[2];
	unsigned n_latch_ports;
	enum kvm_dirty kvm_dirty; /* a ring that KVM here does not have is an error of open() */
	enum kvm_pit kvm_pit;
	int kvm_fd; /* /dev/kvm, open for reading and writing; borrowed. -1: it opens it itself */
	struct engine_begun *
		begun; /* of begin() with that kvm_fd; open() takes it over, whatever it returns. NULL: none */
};

/* The input of an interrupt line: bits 0-5 the IOAPIC's pin, bit 6 whether it goes there, bits 8-11 the PIC's
 * input, bit 12 whether it goes there. */
#define ENGINE_LINE_IOAPIC(pin) (0x40u | (pin))
#define ENGINE_LINE_PIC(n) (0x1000u | (n) << 8)
#define ENGINE_LINE_BOTH(pin, n) (ENGINE_LINE_IOAPIC(pin) | ENGINE_LINE_PIC(n))

/* Controllers that the engine has itself. line and msi: any thread, also before the first vCPU is there. */
struct engine_irqchip {
	/* Level of an input, or of one of each controller. */
	void (*line)(struct engine *en, unsigned input, bool level);
	/* A message-signalled interrupt. False: not an interrupt address, or nobody took it. */
	bool (*msi)(struct engine *en, uint64_t addr, uint32_t data);
	/* What firmware does on the boot processor (board/lapic.h, lapic_virtual_wire()). vCPUs made, not running. */
	int (*virtual_wire)(struct engine *en);
	/* Time stands still from here to resume: no timer expires, kvmclock does not go on. No vCPU running. */
	void (*pause)(struct engine *en);
	void (*resume)(struct engine *en);
	/* Many lines for a person, about one vCPU's controller and the shared ones; returns as snprintf. */
	int (*dump)(struct engine *en, unsigned vcpu, char *buf, size_t size);
};

struct engine_class {
	const char *name; /* "soft", "kvm" */
	const char *help;
	/*
	 * Begins what open() would only wait for and what needs nothing of the machine, beside the caller's other work. What it returns goes
	 * to open() in engine_config.begun, which reports what went wrong, or to abandon(), which waits for it and takes it back. NULL
	 * returned: nothing was begun, and open() does it all. Optional: NULL, both of them. From the thread that builds the VM.
	 */
	struct engine_begun *(*begin)(int kvm_fd);
	void (*abandon)(struct engine_begun *b); /* accepts NULL */
	int (*open)(struct engine **out, const struct engine_config *cfg, struct err *e);
	void (*close)(struct engine *en); /* accepts NULL; all vCPUs destroyed before */
	int (*vcpu_create)(struct engine *en, unsigned index, struct engine_vcpu **out,
			   struct err *e);
	void (*vcpu_destroy)(struct engine_vcpu *v);
	/* Called once on the thread that will run the vCPU, before the first run. */
	int (*vcpu_attach)(struct engine_vcpu *v, struct err *e);
	/* Runs guest instructions until there is something for the caller. */
	void (*run)(struct engine_vcpu *v, struct engine_exit *exit);
	/* Makes run() look for interrupts and return ENGINE_EXIT_KICK soon (`out` true), or only look for
	 * interrupts and go on (`out` false). Sticky: a kick before run() counts for it. */
	void (*kick)(struct engine_vcpu *v, bool out);
	void (*nmi)(struct engine_vcpu *v);
	void (*get_state)(struct engine_vcpu *v, uint64_t mask, struct x86_state *s);
	int (*set_state)(struct engine_vcpu *v, uint64_t mask, const struct x86_state *s);
	/*
	 * The dirty log (gmem.h) sees every store of the vCPUs only if none of them keeps the right to store to a page without
	 * saying so. Call it after gmem_dirty_start(), and after each gmem_dirty_harvest() before the pages are read: when it
	 * returns, stores that come later are noted in the log, and those that came before are in memory. vCPUs may
	 * run meanwhile. Any thread but a vCPU's, one at a time. NULL: this engine cannot log.
	 */
	void (*dirty_sync)(struct engine *en);
	/* Gives back memory that can be made again; the VM has been idle for a while. Any thread but a vCPU's. NULL: none. */
	void (*trim)(struct engine *en);

	/*
	 * Saved state of what an engine has inside that is the board's elsewhere. Optional: NULL, and the board's own devices
	 * are asked. Called while every vCPU is parked (or before the first run); set_* gets what state_*_check() (state/state_x86.h) has
	 * passed. A level is set in the ioapic and pic state before devices drive it again. 0 or -errno.
	 */
	int (*get_lapic)(struct engine_vcpu *v, struct irqchip_lapic *l);
	int (*set_lapic)(struct engine_vcpu *v, const struct irqchip_lapic *l);
	int (*get_ioapic)(struct engine *en, struct irqchip_ioapic *io);
	int (*set_ioapic)(struct engine *en, const struct irqchip_ioapic *io);
	int (*get_pic)(struct engine *en, struct irqchip_pic *p);
	int (*set_pic)(struct engine *en, const struct irqchip_pic *p);
	/* Is the interval timer inside, too? NULL: no. get_pit and set_pit are called only if it is. */
	bool (*has_pit)(const struct engine *en);
	int (*get_pit)(struct engine *en, struct irqchip_pit *p);
	int (*set_pit)(struct engine *en, const struct irqchip_pit *p);
	/*
	 * The paravirtual clock (kvmclock), ns, at the moment when vCPU 0's TSC reads `tsc`; set: it shall read `ns` then, and go
	 * on from there. set_clock() comes after the vCPUs' MSRs were set. NULL: there is none, it reads as 0.
	 */
	int (*get_clock)(struct engine *en, uint64_t tsc, uint64_t *ns);
	int (*set_clock)(struct engine *en, uint64_t tsc, uint64_t ns);
	/*
	 * The guest's TSC runs at khz, not at the host's rate, as a saved guest's did; CPUID says so. All vCPUs made, none has run, and no state
	 * set. From then on a state's tsc_offset is to tsc_scaled() of the host's TSC. 0 or -errno: not on this host, and nothing is to be
	 * run. NULL: never; tsc_scaled NULL: the same value.
	 */
	int (*set_tsc_khz)(struct engine *en, uint32_t khz);
	uint64_t (*tsc_scaled)(const struct engine *en, uint64_t tsc);
	/* What CPUID shows to vCPU 0 in leaf and sub-leaf, eax to edx. Saved with the state: an engine that lacks a feature that
	 * the guest has seen refuses it. Any time after vcpu_create(). NULL: not known, nothing is compared. */
	void (*cpuid)(struct engine *en, uint32_t leaf, uint32_t sub, uint32_t out[4]);

	/*
	 * From now on (`on` false: no longer) a guest's write to gpa, of `size` bytes (0: any) and of this value (`match`; NULL: any),
	 * signals the eventfd and is not told to the host. Any thread. 0 or -errno. NULL: this engine tells every write.
	 */
	int (*doorbell)(struct engine *en, uint64_t gpa, unsigned size, const uint64_t *match,
			int fd, bool on);
	/* Maps the memfd of guest memory, or parts of it, a second time, if there is one. With several vCPUs it must: memory cannot be
	 * a private view of a file then. */
	bool second_view;
	/* NULL: the controllers are the user's. */
	const struct engine_irqchip *irqchip;
	/* Counters for people: writes "name value\n" lines, returns as snprintf. */
	int (*stats)(struct engine *en, char *buf, size_t size);
};

extern const struct engine_class engine_soft, engine_kvm;

/* All engines, in order of preference for --engine auto; ends with NULL. */
extern const struct engine_class *const engine_list[];

#endif
