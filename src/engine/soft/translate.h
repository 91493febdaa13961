/* SPDX-License-Identifier: Apache-2.0 */
/*
 * translate.h - the translator: guest basic blocks become host code.
 *
 * Theory of operation. Guest and host speak the same instruction set, so most instructions are re-encoded,
 * not emulated. Guest registers live in host registers:
 *
 *   guest rax rcx rdx rbx rbp rsi rdi r8 r9 r12 r13 r14   the same host register
 *   guest rsp                                             host r15
 *   guest r10 r11 r15                                     memory (gs:), loaded where used: "homed"
 *   host r10, r11                                         scratch S0, S1
 *   host rsp                                              the host's stack
 *   gs:                                                   struct soft_vcpu
 *
 * Status flags are the host's own. A memory access goes through the soft TLB, which clobbers them, so the
 * translator tracks where the flags are - in EFLAGS ("native"), in v->tr.flags_slot ("slot"), or both - and
 * by liveness whether anybody will ask. Flags that are overwritten before they are read are not kept: in the
 * frame of a fault in between, those status bits may differ from a processor's (docs/engines.md).
 *
 * A block is guest code of one page (or one instruction that crosses into the next; its code first checks that
 * the second page is still where it was), keyed by (virtual address, physical address, mode key), up to a control
 * transfer or an instruction after which the run loop must look around; some conditional jumps forward may be
 * in it, which leave it when they are taken. It has an entry for each place the
 * flags may be, each with and without a poll of v->req. Backward and indirect jumps use the polled entries,
 * so no guest loop runs for ever without looking.
 *
 * User code of a program that has a window onto its memory (window.c) is translated with a key of its own: the host's MMU
 * does most of what the TLB check does.
 *
 * Direct jumps are chained by patching an aligned rel32 (one atomic store). Jumps within a page are always
 * valid as long as the source block is; jumps across pages are chained only between global kernel pages, and
 * all dropped when a global mapping changes (and in code with a window, where they are dropped with its pages). Everything else goes through the jump cache: arrays of each vCPU,
 * by virtual address, emptied with the TLB.
 *
 * Anything the code cannot do itself is a call to a stub (stubs.c) with a record (struct soft_rec) behind the
 * call; the stub saves the guest registers and calls C (tr_run.c), which mostly runs the one instruction by
 * soft_step() and goes on behind it. Registers are committed only after the access that can fault, so
 * re-running the instruction by the reference way raises the exact exception.
 *
 * Code memory is one sealed memfd mapped twice, writable and executable; never both at one address.
 *
 * Threads: blocks, hash and links are shared by the vCPUs, under soft_cache.lock. Dropping a block unlinks it;
 * its memory is reused only after a rendezvous in which no vCPU is inside translated code (cache.c).
 */
#ifndef LODGE_ENGINE_SOFT_TRANSLATE_H
#define LODGE_ENGINE_SOFT_TRANSLATE_H

#include <pthread.h>

#include "engine/soft/emit.h"
#include "engine/soft/soft.h"

#define SOFT_BLOCK_INSNS 64u
#define SOFT_BLOCK_SIDES 4u /* conditional jumps in the middle */

/* Host registers by role. */
#define S0 HR_R10
#define S1 HR_R11
#define HR_GUEST_RSP HR_R15
#define HR_HOMED 0xfeu

/* Mode key of a block: everything that changes what its code means. */
#define SOFT_KEY_MMU 3u /* enum soft_mmu */
#define SOFT_KEY_CPL3 4u
#define SOFT_KEY_COMPAT 8u   /* 32-bit code under long mode, flat segments */
#define SOFT_KEY_FP_SLOW 16u /* CR0.EM or TS, or no CR4.OSFXSR: FP instructions go through C */
#define SOFT_KEY_TSD 32u     /* RDTSC is privileged */
#define SOFT_KEY_SMAP 64u    /* CPL < 3 and CR4.SMAP: STAC and CLAC change the MMU mode */
#define SOFT_KEY_AVX 128u /* CR4.OSXSAVE, AVX in XCR0, no TS: else AVX instructions go through C */
#define SOFT_KEY_PLAIN 256u	  /* no groups of memory operands (tr_group.c); of blocks only */
#define SOFT_KEY_WINDOW 512u	  /* of user code: its address space has a window (window.c) */
#define SOFT_KEY_NONE 0xffffffffu /* this mode is not translated */

/* Where the status flags are. */
#define LOC_NATIVE 1u
#define LOC_SLOT 2u
#define LOC_BOTH 3u

enum soft_tr_exit {
	TR_EXIT_STEP, /* C has updated the state: look around */
	TR_EXIT_NEXT, /* C has updated the state: go on at s.rip, which the jump cache did not know */
	TR_EXIT_PC,   /* rec: u64 address to go on at */
	TR_EXIT_LINK,	/* rec: struct soft_link * to resolve */
	TR_EXIT_IND,	/* tr.va: target; rec: struct soft_rec */
	TR_EXIT_FAULT,	/* host fault: tr.fault_rip */
	TR_EXIT_NATIVE, /* thunk of native.c is done */
};

/* Behind a call to a stub. Unaligned in code memory; read with a copy. */
struct soft_rec {
	uint32_t block;		     /* index in soft_cache.block */
	uint16_t off;		     /* of the instruction in the block */
	uint16_t size;		     /* memory access size, bytes */
	uint8_t len;		     /* of the instruction */
	uint8_t flags;		     /* REC_* */
	int16_t rsp_undo;	     /* REC_REDO: add to RSP to undo the instruction */
	uint16_t key;		     /* mode key that the code behind the record was made for */
	int32_t retry, next;	     /* host addresses relative to this record; next 0: none */
	const struct x86_insn *insn; /* decoded, in the arena; NULL: soft_step() fetches it */
} __attribute__((packed));

#define REC_END 1u   /* after the instruction, leave the code */
#define REC_GROUP 4u /* a group's check failed; next: the way to the plain block */
#define REC_READS 8u /* REC_GROUP: its leader reads only */
#define REC_REDO \
	2u /* indirect jump by RET, JMP or CALL: on a bad target the instruction itself faults */

struct soft_block;

struct soft_link {
	struct soft_block *from, *to; /* to: NULL while not chained */
	struct soft_link *next_in;    /* in to->in */
	uint8_t *site;		      /* rel32, writable mapping */
	uint8_t *cold;		      /* executable address it points to while not chained */
	uint64_t target;	      /* guest virtual address */
	uint32_t key; /* mode key at the jump: STAC and CLAC change it inside a block */
	uint8_t loc;  /* where the flags are on this edge (LOC_BOTH: nobody asks, or both) */
	bool polled, cross_page;
};

struct soft_site {
	uint32_t host; /* offset of the instruction's code in the block's */
	uint16_t off;  /* guest offset in the block */
	uint8_t loc;   /* flags at its start */
	uint8_t pad;
};

struct soft_block {
	uint64_t va;
	gpa_t gpa;
	uint32_t key, index;
	uint16_t bytes, n_insns;
	bool dead, body_slot;
	uint8_t *code, *code_end; /* executable addresses */
	uint8_t *e_slot, *e_slot_polled, *e_native, *e_native_polled;
	struct soft_block *hash_next;
	/* Guest pages its code depends on: its own, and the next one when its one instruction crosses into it. */
	unsigned n_pages;
	struct {
		gpa_t gpa;
		uint64_t number;
		uint64_t granules; /* 64-byte granules whose bytes matter */
		struct soft_block *next;
	} page[2];
	struct soft_link *in;
	struct soft_link *link; /* edges, and the groups' ways out */
	uint8_t n_links;
	uint16_t n_sites;
	struct soft_site *site;
};

/* Cold code of a block under translation: what is behind a branch that is rarely taken. */
enum tr_cold_kind {
	TR_COLD_MISS,
	TR_COLD_EXIT,
	TR_COLD_STI,
	TR_COLD_LINK,
	TR_COLD_IND,
	TR_COLD_EDGE,
	TR_COLD_GROUP,	/* tr_mem.c */
	TR_COLD_WINDOW, /* not in that part of the window: by the TLB */
	TR_COLD_STEP	/* the instruction runs by soft_step() */
};

struct tr;
/* Emits what an instruction does with its operand at [S0 + disp]. May be called twice (tr_mem.c). */
typedef void tr_body(struct tr *t, const struct x86_insn *in, int32_t disp);

/* A guest address relative to registers that have not changed since. */
struct tr_place {
	uint8_t base, index, scale; /* 0xff: none; disp is the address then */
	bool simple;		    /* 64-bit, no segment base: may be in a group */
	bool stack; /* of PUSH, POP and the like: not the instruction's own operand */
	int64_t disp;
};

/* Memory operands that one check does for (tr_group.c). */
struct tr_group {
	uint8_t base, index, scale;
	uint8_t first, last; /* instructions */
	bool write;
	uint32_t version;   /* of base and index */
	int64_t start, end; /* the range, relative to them */
};

struct tr_cold {
	enum tr_cold_kind kind;
	uint8_t *from;	       /* rel32 to patch (writable) */
	uint8_t *retry, *next; /* executable addresses; MISS */
	uint64_t va;	       /* EXIT, STI, EDGE: guest address */
	struct soft_link *link;
	uint8_t *back;		/* STEP, WINDOW: where its code goes on */
	enum tr_cold_kind then; /* WINDOW: what a miss of the TLB is */
	uint8_t i;
	uint16_t off, size, live;
	uint32_t key;
	uint8_t len, mmu, write, flags, loc;
	int16_t rsp_undo;
};

#define TR_MAX_COLD (6 * SOFT_BLOCK_INSNS + 16)

/* The translator's working state for one block (tr_emit.h). */
struct tr {
	struct emit e;
	struct soft_vcpu *v;
	struct soft *so;
	struct soft_block *b;
	uint64_t va;
	uint32_t key;	     /* at the instruction being emitted */
	const uint8_t *page; /* host address of the page's first byte */
	bool page_global, crosses;
	uint64_t second_tag; /* soft_xtlb_entry.tag of the second page */
	enum x86_mode mode;
	unsigned n, i; /* instructions, the one being emitted */
	struct x86_insn insn[SOFT_BLOCK_INSNS];
	uint16_t off[SOFT_BLOCK_INSNS + 1], live_after[SOFT_BLOCK_INSNS];
	unsigned n_sites;
	struct soft_site
		site[2 * SOFT_BLOCK_INSNS]; /* in order of `host`; an instruction may have a copy in cold code */
	uint16_t live_taken[SOFT_BLOCK_INSNS];
	unsigned live_in, live_next;
	unsigned n_side; /* conditional jumps that do not end the block */
	unsigned loc, live,
		live_before; /* flags: where, needed after and before the current instruction */
	bool ended, overflow;
	/* Groups: which one each instruction's operand is in (number + 1), and where relative to it. */
	unsigned n_groups;
	struct tr_group group[SOFT_BLOCK_INSNS];
	uint8_t in_group[SOFT_BLOCK_INSNS];
	int64_t at[SOFT_BLOCK_INSNS];
	unsigned s0_group;  /* S0 is the address of this group (number + 1), or 0 */
	uint64_t likely_va; /* of the operand whose check comes next: a guess */
	bool keep_s0;	    /* the current instruction leaves it so */
	unsigned n_cold;
	struct tr_cold cold[TR_MAX_COLD];
};

#define SOFT_HASH_SIZE 65536u
#define SOFT_THUNK_SIZE 4096u
#define SOFT_MAX_BLOCKS (1u << 18)

/* An instruction of a stub that may fault on the host, and where it goes on then. */
struct soft_stub_fault {
	const uint8_t *insn, *go_on;
};

struct soft_stubs {
	uint8_t *enter, *leave, *resume, *step, *link, *exit_pc, *fault, *native_done;
	uint8_t *step_popped, *ind_popped[SOFT_JCS]; /* the same with the record popped */
	uint8_t *ind[SOFT_JCS];			     /* S0: target */
	uint8_t *syscall[2], *sysret, *iret[2];	     /* [mmu]: SYSCALL's new one, IRET's old one */
	uint8_t *miss[SOFT_MMUS][2];		     /* [mmu][write] */
	unsigned n_fault_at;
	struct soft_stub_fault fault_at[SOFT_MMUS * 2 * 4 * 3]; /* a REP has two */
	uint8_t *string[SOFT_MMUS][2][4][2]; /* [mmu][0 STOS, 1 MOVS][log2 of the element's bytes][REP] */
};

/* What smc.c knows of a page of guest memory that holds code, or did. */
struct soft_page_use {
	uint16_t stores; /* since its last new block */
	uint8_t level;	 /* how often it was taken for data though it had blocks */
};

/* Blocks that are patched often, perhaps (smc.c). */
#define SOFT_PATCHED 64u
struct soft_patched {
	uint64_t va;
	gpa_t gpa;
	uint64_t made; /* TSC */
	uint8_t lives; /* how often in a row it was dropped soon */
	uint8_t same;  /* how often in a row it was run by soft_step() with these first bytes */
	uint8_t bytes[16];
};

struct soft_cache {
	pthread_mutex_t lock; /* all below, but for reads of code by running vCPUs */
	int memfd;
	uint8_t *rw, *rx; /* the two mappings of code memory */
	size_t size;
	size_t used, stubs_end; /* bytes; blocks begin behind stubs and thunk areas */
	size_t thunks;		/* where the thunk areas begin, SOFT_THUNK_SIZE for each vCPU */
	struct soft_stubs stub;
	bool host_bmi2;
	enum cpuid_vendor host_vendor; /* whose instructions the code is */
	struct tr tr;		       /* the block under translation */
	struct soft_block *hash[SOFT_HASH_SIZE];
	struct soft_block **block; /* by index, in order of code address */
	uint32_t n_blocks;
	uint8_t *arena; /* block structures and sites: bump allocation, reset by a flush */
	size_t arena_used, arena_size;
	struct soft_block **page; /* by page number of guest memory: blocks whose bytes lie there */
	uint64_t n_pages;
	struct soft_page_use *page_use; /* by page number (smc.c) */
	struct soft_patched patched[SOFT_PATCHED];
	uint64_t *page_code;		/* bit a page: has code. Atomic reads without the lock */
	struct soft_link **cross;	/* chained cross-page links */
	uint32_t n_cross, n_cross_user; /* all; of user code, or were */
	struct soft_filter cross_pages; /* pages they lead to, or did. Read without the lock */
	struct soft_filter cross_scratch;
	uint32_t stop; /* atomic: rendezvous under way */
	uint64_t n_translated, n_insns, n_bytes_guest, n_invalidated, n_flushes, n_unlinked;
};

/* cache.c */
int soft_cache_create(struct soft *so, size_t size, struct err *e);
void soft_cache_destroy(struct soft *so);
static inline uint8_t *soft_cache_rx(const struct soft_cache *c, uint8_t *rw)
{
	return rw + (c->rx - c->rw);
}
/* Takes from the arena; NULL when it is full. */
void *soft_cache_alloc(struct soft_cache *c, size_t size);
struct soft_block *soft_cache_find(struct soft_cache *c, uint64_t va, gpa_t gpa, uint32_t key);
/* Makes a block findable, by key and by the guest pages its bytes lie in. Lock held. */
void soft_cache_insert(struct soft_cache *c, struct soft_block *b);
/* Unlinks a block from everything that leads to it. Lock held; it must not be dead. */
void soft_cache_drop(struct soft_cache *c, struct soft_block *b);
/* Drops the blocks of guest page number n that depend on any of `granules`. Lock held. True: some were. */
bool soft_cache_drop_page(struct soft *so, uint64_t n, uint64_t granules);
/* Empties the jump caches: of `self` at once, of the other vCPUs before they enter code again or at a poll. */
void soft_cache_clear_jump_caches(struct soft *so, struct soft_vcpu *self);
/* Drops every block, after waiting until no vCPU but `self` (may be NULL) is in translated code. Caller: out of
 * code, no lock. `release`: the host gets the memory back. */
void soft_cache_flush(struct soft *so, struct soft_vcpu *self, bool release);
/* Parks while a rendezvous is under way. */
void soft_cache_park(struct soft_cache *c);
void soft_cache_link(struct soft *so, struct soft_link *l, struct soft_block *to);
/* Takes back the links to other pages, because a mapping of global pages changed: all; or those to the page of la. */
void soft_cache_unlink_cross(struct soft *so);
/* Those of user code, which a window's address space has (tr_edge.c). */
void soft_cache_unlink_cross_user(struct soft *so);
void soft_cache_unlink_cross_page(struct soft *so, uint64_t la);
void soft_cache_unlink_all(struct soft *so);
struct soft_block *soft_cache_block_at(struct soft_cache *c, const uint8_t *rx);

/* smc.c */
#define SOFT_NO_PAGE UINT64_MAX
/* Number of the guest RAM page of gpa, in order of the memfd, or SOFT_NO_PAGE. */
uint64_t soft_page_number(const struct soft *so, gpa_t gpa);
/* Bits of the 64-byte granules that [start, start + len) of a page touches. */
uint64_t soft_granules(unsigned start, unsigned len);
/* From now on stores to the page are seen. Before its bytes are read for translation. Lock held. False: the host gives
 * no more of what that takes, until the cache is flushed. */
bool soft_page_mark(struct soft *so, struct soft_vcpu *v, uint64_t n, gpa_t page);
/* A block was translated; was dropped by a store. Lock held. */
void soft_patched_made(struct soft_cache *c, const struct soft_block *b);
void soft_patched_dropped(struct soft *so, const struct soft_block *b);
/* The block at va is better run by soft_step() this time. Lock held. */
bool soft_patched_often(struct soft_cache *c, uint64_t va, gpa_t gpa, const uint8_t *page);
/* No page has code any more. Lock held, no vCPU in code. */
void soft_pages_clear(struct soft *so);

/* stubs.c: emits the stubs at the start of code memory. */
void soft_stubs_emit(struct soft *so, struct emit *e);
void soft_stubs_emit_string(struct soft *so, struct emit *e);	  /* stubs_string.c */
void soft_stubs_emit_flow(struct soft_stubs *st, struct emit *e); /* stubs_flow.c */

/* translate.c: translates the block at s.rip (linear address va, code bytes at host page `xt`).
 * NULL: nothing translatable here (the caller steps), or no room (*full set: the caller flushes). */
struct soft_block *soft_translate(struct soft_vcpu *v, uint64_t va,
				  const struct soft_xtlb_entry *xt, uint32_t key, bool *full);
/* Is the second page of a block that has two still the one it was made from? */
bool soft_block_valid(struct soft_vcpu *v, const struct soft_block *b);
/* Pieces that native.c uses too. */
void soft_emit_flags_save(struct emit *e);
void soft_emit_flags_restore(struct emit *e);	/* clobbers S1 */
void soft_emit_flags_from_slot(struct emit *e); /* clobbers rax */
/* Re-encodes `in` with host registers: reg (HR of ModRM.reg or the opcode's register), rm (HR when mod is 3, else
 * the HR of a base register: the operand is at [rm + disp]), vvvv (HR, or number of a vector register). False: cannot
 * be encoded (AH.. with REX). */
bool soft_emit_insn(struct emit *e, const struct x86_insn *in, unsigned reg, unsigned rm,
		    unsigned vvvv, int32_t disp);
unsigned soft_host_reg(unsigned guest); /* HR_*, or HR_HOMED */

/* tr_run.c */
uint32_t soft_tr_key(const struct soft_vcpu *v);
/* Runs translated code from s.rip until something must be looked at. False: this place cannot be translated. */
bool soft_tr_run(struct soft_vcpu *v);
/* The block for s.rip, translated if need be; NULL: step instead. */
struct soft_block *soft_tr_block(struct soft_vcpu *v, uint32_t key);
/* Its first instruction is one after which the run loop looks around. */
bool soft_tr_block_ends_at_once(struct soft_vcpu *v, const struct soft_block *b);
/* Runs the one block at s.rip, not chained to others; or one instruction where there is none. */
void soft_tr_run_block(struct soft_vcpu *v);
uint64_t soft_tr_miss(struct soft_vcpu *v, unsigned write); /* called by stubs */
uint64_t soft_tr_step(struct soft_vcpu *v);
void soft_tr_init_jc(struct soft_vcpu *v);
void soft_tr_flush_jc(struct soft_vcpu *v);
int soft_signal_init(struct err *e); /* signal.c */
void soft_signal_attach(struct soft_vcpu *v);

/* chaos.c: throws away at random what may go. Out of translated code, no lock held; and when a miss was answered. */
void soft_chaos_init(struct soft_vcpu *v);
void soft_chaos(struct soft_vcpu *v);
void soft_chaos_miss(struct soft_vcpu *v);

/* How many instructions the block has from the one at guest offset `off` to its end. */
unsigned soft_block_left(const struct soft_block *b, unsigned off);

/* For the tests: the vCPU behind the engine's handle; and one block (at most max_insns) from s.rip. */
struct soft_vcpu *soft_vcpu_of(struct engine_vcpu *ev);
void soft_run_block(struct soft_vcpu *v, unsigned max_insns);

#define GS_GPR(n) ((uint32_t)(offsetof(struct soft_vcpu, s.gpr) + 8 * (n)))
#define GS(field) ((uint32_t)offsetof(struct soft_vcpu, field))
#define GS_TLB(mmu, field)                                                  \
	((uint32_t)(offsetof(struct soft_vcpu, tlb) +                       \
		    sizeof(struct soft_tlb_entry) * SOFT_TLB_SIZE * (mmu) + \
		    offsetof(struct soft_tlb_entry, field)))

#endif
