/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft.h - the software engine's inside: its vCPU, and what its files give one another.
 *
 * Theory of operation. The engine has two ways to run an instruction. The *reference* way decodes it and
 * calls the C function of its operation (op_*.c, sys_*.c): all modes, exact, slow. The *translated* way
 * (translate.c) turns basic blocks of 64-bit and compatibility-mode code into host code that keeps guest
 * registers in host registers and reaches memory through the soft TLB below; whatever it does not do
 * inline, it does by calling the reference way for that one instruction.
 *
 * While translated code runs, guest SSE and x87 state lives in the host's registers. So everything that it
 * can call - this folder - is compiled with -mgeneral-regs-only and calls no C library function that may
 * use vector registers (no memcpy, no printf); a test looks at the object files. Calls out of the engine
 * (host.c) save the FPU state around them.
 *
 * Exceptions. An operation that faults calls soft_raise(), which does not return: it unwinds to soft_step().
 * So an operation commits registers only after its last access that can fault. At the time of the raise
 * s.rip still is the address of the instruction; traps set v->next_rip themselves.
 *
 * Threads: a vCPU is used by its own thread only, but for `req` (atomic).
 */
#ifndef LODGE_ENGINE_SOFT_SOFT_H
#define LODGE_ENGINE_SOFT_SOFT_H

#include <pthread.h>

#include "engine/engine.h"
#include "x86/cpuid.h"
#include "x86/decode.h"

/* How an access is checked: index of the TLB array. */
enum soft_mmu {
	SOFT_MMU_KERNEL,      /* supervisor access; user pages are #PF (SMAP on, AC clear) */
	SOFT_MMU_KERNEL_USER, /* supervisor access; user pages allowed (SMAP off, or AC set) */
	SOFT_MMU_USER,	      /* CPL 3 */
	SOFT_MMUS
};

#define SOFT_TLB_BITS 12
#define SOFT_TLB_SIZE (1u << SOFT_TLB_BITS)

/*
 * A soft TLB entry. Translated code does: off = va - tag; if (off > 4096 - size) miss; host = entry.host + off.
 * An empty tag of entry i is the address of a page that belongs to another entry (soft_tlb_empty(i)), so no
 * va can hit it, canonical or not. tag_w is set only when a plain store needs nothing else: page writable in
 * this mode, dirty bit already set in the page table, no translated code in the page, no dirty logging due.
 */
struct soft_tlb_entry {
	uint64_t tag_r, tag_w;
	uint64_t host; /* host address of the page's first byte */
	uint64_t gpa;  /* page address; bit 0: global */
};

static inline uint64_t soft_tlb_empty(unsigned i)
{
	return (uint64_t)((i + 1) & (SOFT_TLB_SIZE - 1)) << 12;
}

#define SOFT_LARGE_BITS 256u
#define SOFT_WRITTEN 4096u

/* Instruction side, used from C only. va has bit 0 set when empty. */
#define SOFT_XTLB_SIZE 256u
struct soft_xtlb_entry {
	uint64_t va; /* page address */
	uint64_t gpa;
	uint64_t tag;  /* gpa | mmu: translated code compares it */
	uint8_t *host; /* page's first byte; NULL: not RAM */
	uint8_t mmu;   /* enum soft_mmu it was filled for (KERNEL for both kernel modes) */
	bool global;
};

/* Reasons to leave translated code, set by any thread (bits of v->req). */
#define SOFT_REQ_IRQ 1u /* look at host->irq_pending */
#define SOFT_REQ_OUT 2u /* engine_kick(out) */
#define SOFT_REQ_NMI 4u
#define SOFT_REQ_FLUSH 8u   /* another vCPU changed something: full soft TLB and jump cache flush */
#define SOFT_REQ_STOP 16u   /* rendezvous: park until told */
#define SOFT_REQ_JC 32u	    /* another thread dropped blocks: jump cache flush */
#define SOFT_REQ_CLEAN 128u /* engine_class.dirty_sync: drop write tags */
#define SOFT_REQ_KICK 64u   /* hypercall KICK_CPU: end the HLT, this one or the next (pvsched.c) */

/*
 * What the TLB and the jump cache held for a PCID that is not the current one (tlb.c): entries that are not global, with
 * their places in the arrays (the arrays one behind the other), and jump targets of user code, 64-bit and 32-bit.
 */
#define SOFT_SPACES 8u /* Linux uses six PCIDs */
#define SOFT_SPACE_ENTRIES 768u
#define SOFT_SPACE_JUMPS 384u
struct soft_space {
	bool valid;
	bool no_write; /* write tags are out of date */
	uint16_t pcid;
	uint32_t n, n_jc[2], jc_key[2];
	uint64_t used; /* when, for the choice of whom to forget */
	uint64_t jc_epoch, large[SOFT_LARGE_BITS / 64];
	uint16_t at[SOFT_SPACE_ENTRIES], jc_at[2][SOFT_SPACE_JUMPS];
	struct soft_tlb_entry entry[SOFT_SPACE_ENTRIES];
	uint64_t jc_tag[2][SOFT_SPACE_JUMPS], jc_code[2][SOFT_SPACE_JUMPS];
};

/* Pages of a user program that the host's MMU looks after (window.c). */
#define SOFT_WINDOWS 4u
#define SOFT_WINDOW_PAGES 2048u
#define SOFT_WINDOW_HASH 8192u
struct soft_window_page {
	uint64_t va;
	gpa_t gpa;
	uint8_t prot;
};
struct soft_window {
	pthread_mutex_t lock; /* pages */
	uint8_t *area;	      /* address space for all parts; NULL: none reserved yet */
	bool open;	      /* it belongs to the address space cr3 */
	bool on;	      /* which is the current one: user code uses it */
	uint64_t cr3;
	unsigned n;
	struct soft_window_page page[SOFT_WINDOW_PAGES];
	uint16_t hash[SOFT_WINDOW_HASH]; /* index of page + 1 */
	/* When to open and to close it: ticks, and system calls done for it. */
	uint64_t tick_tsc, tick_flushes, tick_cr3, closed_cr3;
	unsigned ticks, idle, wait, penalty, work, may_work;
	uint64_t n_opened, n_closed, n_faults;
};

struct soft_exc {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t addr; /* #PF: CR2 */
	uint64_t dr6;  /* #DB: bits to set */
};

struct soft;

/* Flags slot: status flags as LAHF (high byte) and SETO (low byte) leave them in AX. */
static inline uint16_t soft_slot_of_flags(uint64_t rflags)
{
	return (uint16_t)((rflags & 0xd5) << 8 | ((rflags >> 11) & 1));
}

static inline uint64_t soft_flags_of_slot(uint16_t slot)
{
	return ((slot >> 8) & 0xd5u) | (uint64_t)(slot & 1) << 11;
}

/*
 * A Bloom filter of addresses' pages (or of larger units: the caller shifts). Two bits for each, so that a thousand
 * pages make one in 300 others look as if it were there. A page cannot be taken out: who finds one that is not
 * there any more builds the filter anew.
 */
#define SOFT_FILTER_BITS 32768u
struct soft_filter {
	uint64_t word[SOFT_FILTER_BITS / 64];
};
struct soft_filter_bits {
	unsigned a, b;
};
static inline struct soft_filter_bits soft_filter_bits(uint64_t va)
{
	uint64_t h = (va >> 12) * 0x9e3779b97f4a7c15u;

	return (struct soft_filter_bits){(unsigned)(h >> 49), (unsigned)(h >> 34) & 0x7fff};
}
static inline void soft_filter_add(struct soft_filter *f, uint64_t va)
{
	struct soft_filter_bits i = soft_filter_bits(va);

	f->word[i.a / 64] |= BIT(i.a % 64);
	f->word[i.b / 64] |= BIT(i.b % 64);
}
static inline bool soft_filter_has(const struct soft_filter *f, uint64_t va)
{
	struct soft_filter_bits i = soft_filter_bits(va);
	uint64_t a = __atomic_load_n(&f->word[i.a / 64], __ATOMIC_RELAXED) >> (i.a % 64);
	uint64_t b = __atomic_load_n(&f->word[i.b / 64], __ATOMIC_RELAXED) >> (i.b % 64);

	return a & b & 1;
}

/* Jump cache: guest address to host entry, one array for each of four kinds of code, so that the address
 * alone is the tag. An empty entry i has the tag i ^ 1, whose own index is not i. */
#define SOFT_JC_BITS 11
#define SOFT_JC_SIZE (1u << SOFT_JC_BITS)
#define SOFT_JC_SHIFT 12u
static inline unsigned soft_jc_index(uint64_t va)
{
	return (unsigned)(((uint32_t)va >> SOFT_JC_SHIFT) ^ va) & (SOFT_JC_SIZE - 1);
}
/* What a collision drives out goes to a second array, which a stub looks at before C does. Empty: (i ^ 1) << 4. */
static inline unsigned soft_jc_index2(uint64_t va)
{
	return (((uint32_t)va >> 4) ^ ((uint32_t)va >> 15)) & (SOFT_JC_SIZE - 1);
}
#define SOFT_JCS 4u /* SOFT_MMU_* for 64-bit code, and compatibility mode */

#define SOFT_GROUPS 8u /* of memory operands, in a block */

/* What IRET from 64-bit kernel code loaded last, and from which descriptors (stubs_flow.c). */
struct soft_flow_iret {
	uint32_t cs_sel, ss_sel; /* cs_sel UINT32_MAX: nothing here */
	uint64_t cs_raw, ss_raw; /* the descriptors; ss_raw is cs_raw for a null SS */
	uint64_t gdt_base, gdt_limit;
	uint64_t desc, ss_delta; /* where they are: linear address, distance */
	uint64_t cs_base, ss_base, cs_upper, ss_upper; /* segment registers by halves */
	uint64_t pad[5];
};

/* What SYSCALL, SYSRET and IRET do in the plain case, ready for their stubs (stubs_flow.c). */
struct soft_flow {
	uint64_t cs[2], ss[2]; /* upper halves of the segment registers after SYSCALL, SYSRET */
	uint32_t rflags_mask;  /* flags that SYSCALL keeps, */
	uint32_t slot_mask;    /* and those in the slot */
	uint8_t syscall_ok[2]; /* SYSCALL leads to this MMU mode, as the stub does it */
	bool sysret_ok;
	uint8_t kernel_mmu;
	uint64_t cr0, cr4, efer;       /* that this was made for */
	struct soft_flow_iret iret[2]; /* to CPL 0, to CPL 3 */
};

/* The translator's part of a vCPU (translate.h tells what it is for). Offsets are baked into code. */
struct soft_tr {
	uint64_t self;	 /* the struct soft_vcpu */
	uint64_t va;	 /* guest address of a TLB miss, or target of an indirect jump */
	const void *rec; /* record behind the call that left the code */
	uint64_t resume; /* host address to go on at */
	uint64_t tmp;	 /* scratch of one instruction's code */
	uint64_t window_delta[SOFT_WINDOWS]; /* host address - guest address (window.c) */
	uint64_t group[SOFT_GROUPS]; /* host addresses of a block's groups of memory operands (tr_group.c) */
	uint16_t flags_slot; /* status flags while translated code has them not in EFLAGS */
	uint32_t exit;	     /* enum soft_tr_exit */
	uint64_t count;	     /* lock-step: instructions; see lockstep.c */
	uint32_t fault_left; /* host fault: instructions of the block from that one on */
	struct soft_flow flow;
	uint64_t fault_rip;   /* host fault: the guest instruction's address */
	uint32_t in_code;     /* atomic: this thread may be inside translated code */
	uint32_t native_trap; /* native.c: trap number + 1 that the host raised; 0 none */
	uint32_t native_used; /* bytes of the thunk area */
	uint8_t bounce[640] __attribute__((aligned(64))); /* native.c: the memory operand */
	uint64_t jc_tag[SOFT_JCS][SOFT_JC_SIZE];
	uint64_t jc_code[SOFT_JCS][SOFT_JC_SIZE];
	uint64_t jc2_tag[SOFT_JCS][SOFT_JC_SIZE];
	uint64_t jc2_code[SOFT_JCS][SOFT_JC_SIZE];
	uint32_t jc_key[SOFT_JCS]; /* mode key that the array is valid for */
	uint16_t jc_used[SOFT_JCS]
			[512]; /* indices filled since the arrays were emptied; second one: + SOFT_JC_SIZE */
	uint16_t jc_n_used[SOFT_JCS]; /* 0xffff: more than that */
	struct soft_filter jc_pages;  /* pages that jump cache targets lie in, or did */
	uint64_t jc_epoch;    /* counts flushes of all arrays: what was saved before is void */
	bool jc_nonglobal;    /* a kernel array has an entry for a page that is not global */
	uint8_t *native_code; /* this vCPU's thunk area: writable address */
	bool irq_check;	      /* an interrupt may be deliverable: ask the host once IF is set */
	unsigned max_insns;   /* most instructions in a block (tunable, tests) */
	uint64_t n_enter, n_miss, n_slow, n_link, n_ind, n_fault;
	uint64_t slow_by_op[X86_OP_COUNT];
};

struct soft_vcpu {
	struct x86_state s; /* first: offsets into it are baked into code. s.fx is stale while fp_live */

	/* Reference way. */
	uint64_t next_rip; /* where execution goes when the current operation returns */
	struct soft_exc exc;
	void *unwind[5];      /* __builtin_setjmp buffer of soft_step() */
	struct x86_insn insn; /* the current instruction */
	bool fp_live;	      /* guest FPU/SSE state is in the host's registers now */
	uint8_t mmu; /* enum soft_mmu of the current privilege, SMAP and AC; kept by soft_mode_changed() */
	uint8_t cpl;   /* likewise */
	uint8_t mode;  /* enum x86_mode of CS, likewise */
	bool shutdown; /* triple fault */
	bool trap_pending; /* single-step or data breakpoint #DB due after this instruction; bits in exc_dr6 */
	uint64_t trap_dr6;
	bool data_breakpoints; /* DR7 enables a data or I/O breakpoint: no TLB entry is made while set */
	bool code_breakpoints; /* DR7 enables an instruction breakpoint: no translated code is run */
	bool align_check; /* unaligned accesses are #AC (CPL 3, CR0.AM, EFLAGS.AC): no TLB entry of user mode while set */

	unsigned index;
	struct soft *soft;
	const struct engine_host *host;
	struct gmem *mem;
	uint32_t req;		   /* SOFT_REQ_*, atomic */
	uint32_t running, n_clean; /* atomic: inside of run(); how often SOFT_REQ_CLEAN was done */

	/* MMU. */
	struct soft_tlb_entry tlb[SOFT_MMUS][SOFT_TLB_SIZE];
	struct soft_xtlb_entry xtlb[SOFT_XTLB_SIZE];
	uint64_t pdpte[4];		  /* PAE paging: loaded with CR3 */
	uint16_t journal[SOFT_MMUS][512]; /* indices filled since the last flush of non-global entries */
	uint16_t journal_len[SOFT_MMUS];   /* 0xffff: overflowed */
	uint16_t written_at[SOFT_WRITTEN]; /* where the write tag of a guest page is (tlb.c) */
	uint8_t fetch_journal[64], fetch_journal_len; /* the same for xtlb; 0xff: overflowed */
	/* Which GiB of linear space (hashed, mmu.c) got entries from large pages: [1] global ones, [0] others. INVLPG asks. */
	uint64_t large[2][SOFT_LARGE_BITS / 64];
	uint64_t wr_la,
		wr_gpa; /* page of the last soft_ptr() for writing that had no write tag; for soft_wrote() */
	ptrdiff_t view_delta; /* guest memory's own mapping - the engine's view; 0 when they are one */
	uint64_t pvclock_next_update;
	bool pv_asleep; /* the steal time record may say that we do not run */
	uint64_t pause_first, pause_last, pause_yield; /* host TSC: of a run of PAUSEs (pvsched.c) */

	struct soft_window window;
	struct soft_tr tr;
	uint64_t chaos_state;		      /* chaos.c; 0: off */
	struct soft_lockstep *lockstep;	      /* while a unit of lock-step runs, else NULL */
	struct soft_lockstep *lockstep_state; /* lockstep.c */
	uint64_t step_rip; /* address of the last instruction that soft_step() began */
	uint64_t n_steps, n_tlb_fill, n_flush, n_exc, n_irq, n_mmio, n_pio, n_yield; /* counters */
	uint64_t n_space_hits;
	struct soft_space space[SOFT_SPACES];
};

/* ---- step.c: the reference way ---- */

typedef void (*soft_op_fn)(struct soft_vcpu *v, const struct x86_insn *in);
extern const soft_op_fn soft_op_table[X86_OP_COUNT]; /* op_table.c */

/* Runs the one instruction at s.rip, including the delivery of an exception that it causes. Needs s.rflags
 * whole. Returns false when the vCPU has stopped (halted, shutdown) or an exception was delivered. */
bool soft_step(struct soft_vcpu *v);
/* The same for an instruction that has been fetched and decoded already. Trap flag and code breakpoints are off. */
bool soft_step_decoded(struct soft_vcpu *v, const struct x86_insn *in);

_Noreturn void soft_raise(struct soft_vcpu *v, unsigned vector); /* no error code */
_Noreturn void soft_raise_err(struct soft_vcpu *v, unsigned vector, uint32_t error);
_Noreturn void soft_raise_pf(struct soft_vcpu *v, uint64_t addr, uint32_t error);

/* ---- mmu.c ---- */

#define SOFT_READ 0u
#define SOFT_WRITE 1u
#define SOFT_FETCH 2u

/* Linear address of [seg:off, off+size) after segment checks in the current mode: limit and type, or
 * canonical form. Raises #GP(0), or #SS(0) for SS. `access` SOFT_READ or SOFT_WRITE. */
uint64_t soft_linear(struct soft_vcpu *v, unsigned seg, uint64_t off, unsigned size,
		     unsigned access);
/* Effective address (offset, cut to the address size) of in's memory operand. */
uint64_t soft_ea(struct soft_vcpu *v, const struct x86_insn *in);

/* Linear accesses at the current privilege (v->mmu), sizes 1, 2, 4, 8; any alignment; RAM and MMIO. Raise #PF.
 * A write that crosses pages checks both before it stores. */
uint64_t soft_read(struct soft_vcpu *v, uint64_t la, unsigned size);
void soft_write(struct soft_vcpu *v, uint64_t la, uint64_t value, unsigned size);
/* The same with supervisor privilege whatever the CPL (descriptor tables, TSS, IDT; "implicit"). */
uint64_t soft_read_sys(struct soft_vcpu *v, uint64_t la, unsigned size);
void soft_write_sys(struct soft_vcpu *v, uint64_t la, uint64_t value, unsigned size);
/* Blocks of up to 512 bytes. */
void soft_read_block(struct soft_vcpu *v, uint64_t la, void *buf, unsigned size);
void soft_write_block(struct soft_vcpu *v, uint64_t la, const void *buf, unsigned size);
/* Raises what a write of [la, la+size) would raise; writes nothing (sets A and D bits). */
void soft_probe_write(struct soft_vcpu *v, uint64_t la, unsigned size);
/*
 * Host pointer for an access of [la, la+size) that lies in one page of RAM, or NULL (crosses a page, MMIO,
 * breakpoints on). Raises #PF. A caller that got a pointer for SOFT_WRITE calls soft_wrote() after its store.
 */
void *soft_ptr(struct soft_vcpu *v, uint64_t la, unsigned size, unsigned access);
void soft_wrote(struct soft_vcpu *v, uint64_t la, unsigned size);

/* Fills the TLB for an access from translated code. True: an inline access of this kind will now hit.
 * False: run the instruction by soft_step() (it faults, crosses, is MMIO, or the page holds code ...). Does not raise. */
bool soft_tlb_fill(struct soft_vcpu *v, uint64_t la, unsigned size, unsigned access);

/* Instruction fetch: entry for the page of la, raising #PF on failure. */
const struct soft_xtlb_entry *soft_fetch_page(struct soft_vcpu *v, uint64_t la);
/* The same without raising: NULL when the fetch would fault. */
const struct soft_xtlb_entry *soft_fetch_page_peek(struct soft_vcpu *v, uint64_t la);
/* Copies up to 15 bytes at s.rip for decoding, crossing pages only as `need` asks; returns the bytes got. */
unsigned soft_fetch(struct soft_vcpu *v, uint64_t la, uint8_t *buf, unsigned need);

void soft_tlb_flush_all(struct soft_vcpu *v);		    /* global entries too */
void soft_tlb_flush_nonglobal(struct soft_vcpu *v);	    /* of all PCIDs */
void soft_tlb_flush_page(struct soft_vcpu *v, uint64_t la); /* of the current PCID */
/* The entries of one PCID that are not global. */
void soft_tlb_flush_pcid(struct soft_vcpu *v, unsigned pcid);
/* CR3 was loaded. `keep`: what is known of PCID `to` still holds. */
void soft_tlb_switch(struct soft_vcpu *v, unsigned from, unsigned to, bool keep);
/* Drops write permission of a guest page in this vCPU's TLB (it now holds code, or is to be logged). */
void soft_tlb_revoke_write(struct soft_vcpu *v, gpa_t page);
/* The same for every page: the next store of each kind is looked at again. */
void soft_tlb_drop_write_tags(struct soft_vcpu *v);

/* ---- window.c ---- */

void soft_window_init(struct soft_vcpu *v);
void soft_window_destroy(struct soft_vcpu *v);
/* Bits 40 to 47 of the addresses in each part of linear space that there is a window for. The others are 0. */
extern const uint8_t soft_window_tag[SOFT_WINDOWS];
/* The part that va lies in, or -1. */
int soft_window_part(uint64_t va);
/* An interrupt of user code: may open or close the window. */
void soft_window_tick(struct soft_vcpu *v);
/* Opens one for the current address space, if this host and this guest can have it; closes it. Out of translated code. */
void soft_window_open(struct soft_vcpu *v);
void soft_window_close(struct soft_vcpu *v);
enum soft_window_answer {
	SOFT_WINDOW_OTHER, /* no address in it */
	SOFT_WINDOW_RETRY, /* the page is there now */
	SOFT_WINDOW_STEP   /* the instruction is to run by soft_step() */
};
/* Translated user code has faulted at this host address. In its signal handler: the FPU state is not the guest's. */
enum soft_window_answer soft_window_fault(struct soft_vcpu *v, uint64_t host, bool write);
/* s.cr3 may have changed. */
void soft_window_switched(struct soft_vcpu *v);
/* What tlb.c does to the TLB, for the window. */
void soft_window_flush(struct soft_vcpu *v);
void soft_window_flush_pcid(struct soft_vcpu *v, unsigned pcid);
void soft_window_drop_writes(struct soft_vcpu *v);
void soft_window_flush_page(struct soft_vcpu *v, uint64_t la);
/* No vCPU's window has the page writable when it returns. */
void soft_window_revoke_write(struct soft *so, gpa_t page);

/* ---- exc.c: exceptions, interrupts, IRET; segment.c: descriptors ---- */

/* Delivers v->exc, with double and triple fault rules; at the end s.rip is the handler's. Sets v->shutdown. */
void soft_exception(struct soft_vcpu *v);
/* Delivers an external interrupt or NMI (an exception on the way is delivered in its place). */
void soft_interrupt(struct soft_vcpu *v, unsigned vector);
void soft_nmi(struct soft_vcpu *v);
/* Recomputes mmu, cpl, mode, breakpoints after s changed (CS, SS, CR0, CR4, EFER, RFLAGS.AC, DR7). */
void soft_mode_changed(struct soft_vcpu *v);
/* Delivers #DB for v->trap_pending at an instruction boundary. */
void soft_debug_trap(struct soft_vcpu *v);

/* ---- host.c: the ways out of the engine; they keep guest FPU state safe ---- */

uint32_t soft_port_in(struct soft_vcpu *v, uint16_t port, unsigned size);
void soft_port_out(struct soft_vcpu *v, uint16_t port, uint32_t value, unsigned size);
uint64_t soft_mmio_read(struct soft_vcpu *v, gpa_t gpa, unsigned size);
void soft_mmio_write(struct soft_vcpu *v, gpa_t gpa, uint64_t value, unsigned size);
int soft_apic_msr(struct soft_vcpu *v, uint32_t msr, uint64_t *value, bool write);
unsigned soft_cr8_read(struct soft_vcpu *v);
void soft_cr8_write(struct soft_vcpu *v, unsigned tpr);
uint64_t soft_host_tsc(void);
uint64_t soft_guest_tsc(struct soft_vcpu *v);
uint64_t soft_random(struct soft_vcpu *v, bool seed, bool *ok); /* of the host's processor */
/* Guest FPU state from the host's registers to s.fx and back; both idempotent by v->fp_live. */
void soft_fp_save(struct soft_vcpu *v);
void soft_fp_load(struct soft_vcpu *v);
/* Once, before anything runs: finds out how the host saves its state. */
void soft_fp_init(void);
uint32_t soft_mxcsr_mask(void); /* MXCSR bits that exist */
/* Copy without vector registers. */
void soft_copy(void *dst, const void *src, size_t n);
void soft_zero(void *dst, size_t n);
/* Instruction bytes at page[pos]: aligned quadwords at once, so that an aligned store of another processor is seen whole
 * or not at all (AMD APM vol. 2 §7.6.1; kernels patch running code so). They are looked at in the copy only. */
void soft_copy_code(uint8_t *dst, const uint8_t *page, unsigned pos, unsigned n);

/* ---- stubs_flow.c: what its stubs go by ---- */

/* CR0, CR4, EFER, XCR0, STAR or SFMASK has changed. soft_mode_changed() notices the first three. */
void soft_flow_changed(struct soft_vcpu *v);
/* An IRET with a 64-bit operand from 64-bit code of CPL 0 went well, with these selectors. */
void soft_flow_iret(struct soft_vcpu *v, uint16_t cs, uint16_t ss);
/* tr_run.c: empties the jump caches that are for another mode key than the one that is due now. */
void soft_tr_rekey(struct soft_vcpu *v);

/* ---- smc.c: which guest pages hold translated code ---- */

/* The MMU tells the translator about its flushes: `global` when global entries went too. */
void soft_tr_flushed(struct soft_vcpu *v, bool global);
void soft_tr_flushed_page(struct soft_vcpu *v, uint64_t la);
/* Moves the jump targets of user code to a saved address space, and brings them back if they still hold. */
void soft_tr_save(struct soft_vcpu *v, struct soft_space *sp);
void soft_tr_restore(struct soft_vcpu *v, const struct soft_space *sp);

bool soft_page_has_code(struct soft *so, gpa_t page);
/* After a store to a page with code: drops the blocks it overlaps. `v` may be NULL (device DMA). */
void soft_code_written(struct soft *so, struct soft_vcpu *v, gpa_t gpa, uint64_t len);

/* ---- msr.c, cpuid: src/x86/cpuid.h ---- */

/* Return false: the instruction gets #GP(0). */
bool soft_rdmsr(struct soft_vcpu *v, uint32_t msr, uint64_t *value);
bool soft_wrmsr(struct soft_vcpu *v, uint32_t msr, uint64_t value);

/* After s was replaced from outside (engine set_state, INIT, SIPI): everything derived from it. Faults nothing. */
void soft_state_loaded(struct soft_vcpu *v);

/* ---- pvsched.c: vCPUs that wait for one another ---- */

/* Is any of it there for this guest? */
bool soft_pv_offered(const struct soft_vcpu *v);
/* WRMSR to MSR_KVM_STEAL_TIME; false: #GP. */
bool soft_pv_steal_time(struct soft_vcpu *v, uint64_t value);
/* Before the thread sleeps in HLT, and before it runs guest code again. */
void soft_pv_asleep(struct soft_vcpu *v);
void soft_pv_awake(struct soft_vcpu *v);
/* The hypercall's result, as KVM defines them; from CPL 0. a1: its second argument. */
int64_t soft_pv_hypercall(struct soft_vcpu *v, uint64_t nr, uint64_t a1);
/* PAUSE. */
void soft_pause(struct soft_vcpu *v);

struct soft {
	struct gmem *mem;
	const struct engine_host *host;
	struct engine_config cfg;
	unsigned n_vcpus;
	struct soft_vcpu *vcpu[256];
	struct soft_cache *cache; /* translator: code memory and blocks */
	uint8_t *view; /* guest memory as TLB entries see it: mem->base, or a second mapping (smc.c) */
	bool chaos;    /* SOFT_MODE_CHAOS */
	uint64_t n_written;  /* atomic: stores of devices to guest memory */
	uint64_t pv_base_ns; /* kvmclock at TSC 0 (pvclock.c); changes only with every vCPU parked */
	struct cpuid_table cpuid; /* filled by cpuid_build() when the engine is opened */
};

/* The guest is shown the host's vendor. What Intel's processors do differently goes by this; all others are taken to do
 * what AMD's do. */
static inline bool soft_intel(const struct soft *so)
{
	return so->cpuid.vendor == CPUID_VENDOR_INTEL;
}

static inline enum x86_decode_result soft_decode(const struct soft_vcpu *v, struct x86_insn *in,
						 const uint8_t *bytes, size_t n)
{
	return x86_decode(in, bytes, n, (enum x86_mode)v->mode, v->soft->cpuid.vendor);
}

/* After a store of C to guest memory, before a look at whether there is code: the look must not overtake the store, or
 * another vCPU that is just translating the old bytes would not be noticed. */
static inline void soft_store_done(const struct soft *so)
{
	if (so->n_vcpus > 1)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- pvclock.c: kvmclock ---- */

/* Writes the vCPU's clock page, if the guest has asked for one. After the guest's TSC was written. */
void soft_pvclock_update(struct soft_vcpu *v);
/* Writes the wall clock structure at the address the guest gave. */
void soft_pvclock_wall(struct soft_vcpu *v);
/* The clock, ns, when vCPU 0's TSC reads `tsc`; sets it, for all vCPUs, which are parked. */
uint64_t soft_pvclock_get(const struct soft *so, uint64_t tsc);
void soft_pvclock_set(struct soft *so, uint64_t tsc, uint64_t ns);

/* ---- native.c: FP, MMX and SSE instructions run as themselves (all of X86_OPS_FP, and X86_A_NATIVE ops on request) ---- */
void soft_op_native(struct soft_vcpu *v, const struct x86_insn *in);
/* Raises #UD or #NM where the instruction needs FPU, SSE or AVX state that is not available now. */
void soft_fp_available(struct soft_vcpu *v, const struct x86_insn *in);

/* AVX instructions can be used, but for CR0.TS. */
static inline bool soft_avx_enabled(const struct soft_vcpu *v)
{
	const uint64_t need = X86_XCR0_SSE | X86_XCR0_AVX;

	return (v->s.cr4 & X86_CR4_OSXSAVE) && (v->s.xcr0 & need) == need;
}

/* sys_xsave.c: components not in their initial configuration, of all that XCR0 can name. Saves the FPU state. */
uint64_t soft_xinuse(struct soft_vcpu *v);

#endif
