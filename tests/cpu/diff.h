/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff.h - differential CPU test: the same instructions on the real processor and in the software engine.
 *
 * Theory of operation. diff_gen.c makes cases: a few instruction bytes and a random register, flags, FPU
 * and memory state that suits them. Cases go in batches of DIFF_BATCH through shared memory to a child
 * process (diff_native.c), which runs each one natively between two halves of a small trampoline, and
 * are run in the engine by diff_soft.c, in a guest at CPL 3 whose page tables map the same addresses.
 * diff.c compares what is left behind: registers, flags, FPU/SSE image, changed memory, and for faults
 * vector, error code, CR2 and the address. Everything comes from one seed; a case has a number and can
 * be run alone.
 *
 * Address space, on both sides (D0 and D1 are adjacent here but not in guest physical memory):
 *
 *   DIFF_CODE   32 pages, user, read and execute; DIFF_BATCH cells of 512 bytes, shifted by half a cell so
 *               that every eighth cell lies across a page boundary, and the last one across the end
 *   (hole)
 *   DIFF_D0, D1 two pages, user, read and write: all data and the stack
 *   DIFF_D2     one page, user, read only
 *   (holes on both sides of D0..D2)
 *
 * A case begins at cell `rip` and ends when it reaches one of its stubs (diff_case.end): native code that
 * notes which stub it was and goes home; UD2 in the guest.
 */
#ifndef LODGE_TESTS_CPU_DIFF_H
#define LODGE_TESTS_CPU_DIFF_H

#include "util/base.h"
#include "x86/decode.h"
#include "x86/state.h"

#define DIFF_BATCH 256u
#define DIFF_CELL 512u
#define DIFF_CODE 0x10000000u
#define DIFF_CODE_SIZE (DIFF_BATCH * DIFF_CELL)
#define DIFF_CODE_END (DIFF_CODE + DIFF_CODE_SIZE)
#define DIFF_D0 0x10100000u
#define DIFF_D1 (DIFF_D0 + 0x1000u)
#define DIFF_D2 (DIFF_D0 + 0x2000u)
#define DIFF_DATA_SIZE 0x2000u /* D0 and D1 */
#define DIFF_LINE 64u
#define DIFF_LINES (DIFF_DATA_SIZE / DIFF_LINE)

/* The real side's trampoline and its context (diff_native.c): pages that the guest does not have. */
#define DIFF_OWN 0x40000000u
#define DIFF_OWN_SIZE 0x11000u

#define DIFF_MAX_INSNS 34u
#define DIFF_MAX_ENDS 8u
#define DIFF_NO_VECTOR 0xffu
#define DIFF_HUNG 0xfeu /* the engine did not finish */

/* The selectors of a Linux process; the guest has the same. */
#define DIFF_CS64 0x33
#define DIFF_CS32 0x23
#define DIFF_DS 0x2b

struct diff_regs {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base;
	uint8_t fx[X86_FX_SIZE] __attribute__((aligned(64))); /* as in struct x86_state */
};

struct diff_result {
	struct diff_regs r;
	uint64_t err, cr2;
	uint8_t vector; /* DIFF_NO_VECTOR: ended in a stub */
	uint16_t n_lines;
	uint16_t line_no[DIFF_LINES]; /* changed lines of D0 and D1 */
	uint8_t line[DIFF_LINES][DIFF_LINE];
};

/* An instruction of a case, for masks and reports. */
struct diff_insn {
	uint64_t rip;
	uint16_t undef_in;  /* status flags with undefined value before it */
	uint16_t undef_out; /* and after it */
	uint16_t flags_write;
	uint16_t fault_undef; /* not compared in the frame of a fault of it */
	uint8_t len;
	bool pieces;  /* its 10 bytes may be stored in two pieces */
	bool any_cr2; /* its page fault may name any byte of the page */
};

struct diff_case {
	uint64_t number;
	uint32_t form; /* index of the form under test; blocks: of the last one */
	bool compat;   /* 32-bit code */
	bool block;    /* more than one instruction */
	bool step;     /* RFLAGS.TF set */
	bool fpu_lost; /* the FPU state is not compared after #GP */
	uint8_t n_insns, n_ends;
	struct diff_insn insn[DIFF_MAX_INSNS];
	uint64_t end[DIFF_MAX_ENDS]; /* addresses of stubs */
	uint16_t poke_len;	     /* bytes laid over the data before the case */
	uint32_t poke_addr;
	uint8_t poke[1024];
	uint32_t ptr_addr,
		ptr_len; /* memory not compared: FPU instruction pointers in a stored image; 0 none */
	struct diff_regs in;
	struct diff_result nat;
};

struct diff_batch {
	uint64_t first; /* number of the first case */
	unsigned n;
	bool compat;
	uint8_t data[DIFF_DATA_SIZE]; /* initial contents of D0 and D1 */
	uint8_t guest_code[DIFF_CODE_SIZE];
	uint8_t native_code[DIFF_CODE_SIZE];
	struct diff_case c[DIFF_BATCH];
};

/* ---- diff_rng.c ---- */

struct diff_rng {
	uint64_t s[2];
};
void diff_rng_seed(struct diff_rng *r, uint64_t seed, uint64_t stream);
uint64_t diff_rng_u64(struct diff_rng *r);
static inline unsigned diff_rnd(struct diff_rng *r, unsigned n) /* 0..n-1 */
{
	return (unsigned)(((diff_rng_u64(r) >> 32) * n) >> 32);
}
static inline bool diff_chance(struct diff_rng *r, unsigned percent)
{
	return diff_rnd(r, 100) < percent;
}
uint64_t diff_rng_int(struct diff_rng *r); /* values that matter: edges, small ones, single bits */
void diff_rng_data(struct diff_rng *r, uint8_t *p, unsigned len);
void diff_rng_xsave(struct diff_rng *r, uint8_t fx[X86_FX_SIZE]);
unsigned diff_rng_vex(struct diff_rng *r, const struct x86_form_info *f, bool compat,
		      uint8_t *bytes, unsigned n);
void diff_rng_vsib(struct diff_rng *r, uint8_t fx[X86_FX_SIZE], const struct x86_insn *in);
void diff_rng_fx(struct diff_rng *r, uint8_t fx[X86_FX_SIZE],
		 bool calm); /* calm: all exceptions masked */

/* ---- diff_forms.c ---- */

struct diff_form {
	struct x86_form_info f;
	char name[48];
	const char *skip; /* why it is not tested here; NULL: it is */
	uint64_t tried;	  /* cases */
	uint64_t ran;	  /* of these, executed natively without #UD */
	uint64_t failed;
};
extern struct diff_form *diff_forms;
extern unsigned diff_n_forms;
void diff_forms_init(void);
/* Why an operation is out of scope, or NULL. */
const char *diff_skip_reason(enum x86_op op);
/* As the host's processor does. */
enum x86_decode_result diff_decode(struct x86_insn *in, const uint8_t *bytes, unsigned n,
				   bool compat);
/* Status flags that it leaves undefined; those of the frame of its fault. */
uint16_t diff_undef(const struct x86_insn *in);
uint16_t diff_fault_undef(const struct x86_insn *in);
bool diff_in_pieces(const struct x86_insn *in);

/* ---- diff_gen.c, diff_block.c ---- */

extern uint8_t diff_d2[4096]; /* contents of the read-only page */

struct diff_gen_opts {
	uint64_t seed;
	const char *form; /* only forms with this operation or name; NULL all */
	unsigned blocks;  /* percent of cases that are blocks */
	bool no_faults;	  /* keep operands in mapped memory */
};
/* Fills b with the cases b->first .. b->first + b->n - 1. */
void diff_gen_batch(struct diff_batch *b, const struct diff_gen_opts *o);
void diff_gen_batch_data(struct diff_batch *b, struct diff_rng *r);

/* Shared between the two generators. */
struct diff_gen {
	struct diff_rng r;
	const struct diff_gen_opts *o;
	struct diff_batch *b;
	struct diff_case *c;
	unsigned cell; /* index */
	uint64_t base; /* address of the cell */
};
bool diff_gen_encode(struct diff_gen *g, const struct diff_form *f, struct x86_insn *in,
		     uint8_t bytes[32], bool calm);
void diff_gen_put(struct diff_gen *g, uint64_t addr, const uint8_t *bytes, unsigned len);
void diff_gen_stub(struct diff_gen *g, uint64_t addr);
uint64_t diff_gen_target(struct diff_gen *g, unsigned size);
void diff_gen_regs(struct diff_gen *g, bool calm);
const struct diff_form *diff_gen_pick(struct diff_gen *g);
bool diff_gen_block(struct diff_gen *g);

/* ---- diff_native.c ---- */

struct diff_native;
bool diff_host_avx(void); /* and XSAVE */
bool diff_host_intel(void);
/* `slots` batches in shared memory. */
struct diff_native *diff_native_create(unsigned slots);
void diff_native_destroy(struct diff_native *n);
struct diff_batch *diff_native_batch(struct diff_native *n, unsigned slot);
void diff_native_submit(struct diff_native *n, unsigned slot);
/* Waits until the batch is done. False: the child hung or died; *at is the case it was in; nothing more can be
 * submitted. */
bool diff_native_wait(struct diff_native *n, unsigned slot, unsigned *at);

/* ---- diff_soft.c ---- */

struct diff_soft;
enum diff_mode { DIFF_REFERENCE, DIFF_TRANSLATE };
struct diff_soft *diff_soft_create(bool chaos);
void diff_soft_destroy(struct diff_soft *d);
bool diff_soft_has_translate(void);
void diff_soft_begin_batch(struct diff_soft *d, const struct diff_batch *b);
/* Translate mode: max_insns 0 is the engine's own loop, else one block of at most so many at a time. */
void diff_soft_run(struct diff_soft *d, const struct diff_batch *b, const struct diff_case *c,
		   enum diff_mode mode, unsigned max_insns, struct diff_result *out);

#endif
