/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - an independent look at translated code, before it runs (test builds: meson option `verify`).
 *
 * The translator is trusted with the host's processor: whatever it emits runs with lodge-vm's rights. So in
 * test builds every block is read back from code memory, decoded, and held against rules that do not know what the
 * translator meant to do. They say that the code can do nothing but compute in the guest's registers, look
 * at its vCPU, reach guest memory through a checked TLB entry, and leave by a stub:
 *
 *   instructions  only those listed in verify_insn.c, by opcode, and which the decoder calls harmless as well
 *   host rsp      is no operand of anything
 *   memory        gs:[disp32] inside struct soft_vcpu (stores: the fields listed); the TLB and the jump cache by a
 *                 masked index; [r10] after the whole sequence subtract tag, compare, ja, add host, within the size
 *                 that was compared, stores only by the tag for writing; tr.group[] keeps such an r10; a block of CPL 3
 *                 uses user entries only. With SOFT_KEY_WINDOW also [r10] after: bits 40 to 47 into r11b, compare with
 *                 the tag of a part, jne, add window_delta[] of that part (window.c)
 *   branches      to an instruction of the same block, no loops; out of it by links, to entries (soft_verify_link). The one
 *                 jump back is that behind a look at the TLB, to behind the addition of window_delta[] that the look
 *                 stands in for
 *   calls         to a stub, with the record that this stub expects behind the call, and every field of it good
 *   the end       is never fallen through
 *
 * A block that fails is our own bug: its bytes are logged, and the process ends.
 */
#ifndef LODGE_ENGINE_SOFT_VERIFY_H
#define LODGE_ENGINE_SOFT_VERIFY_H

#include "engine/soft/translate.h"

#ifndef SOFT_VERIFY
#define SOFT_VERIFY 0
#endif

struct soft_verify_error {
	const char *why; /* a constant sentence */
	uint32_t at;	 /* offset in the block's code */
};

/* Does the block keep the rules? It is complete, its links are not chained yet. Lock held. */
bool soft_verify_block(const struct soft_cache *c, const struct soft_block *b,
		       struct soft_verify_error *err);
/* May link `l` be pointed at `entry` of block `to`? Lock held. */
bool soft_verify_link(const struct soft_cache *c, const struct soft_link *l,
		      const struct soft_block *to, const uint8_t *entry,
		      struct soft_verify_error *err);
/* Logs the block's bytes and ends the process. */
_Noreturn void soft_verify_failed(const struct soft_block *b, const struct soft_verify_error *err);

/* For the places that emit and link: nothing in a build without verification. */
static inline void soft_verify_emitted(const struct soft_cache *c, const struct soft_block *b)
{
	struct soft_verify_error err;

	if (SOFT_VERIFY && !soft_verify_block(c, b, &err))
		soft_verify_failed(b, &err);
}

static inline void soft_verify_chained(const struct soft_cache *c, const struct soft_link *l,
				       const struct soft_block *to, const uint8_t *entry)
{
	struct soft_verify_error err;

	if (SOFT_VERIFY && !soft_verify_link(c, l, to, entry, &err))
		soft_verify_failed(l->from, &err);
}

/* ---- walking over the code of a block: instructions, and records behind calls ---- */

enum soft_stub_kind {
	SOFT_STUB_NONE, /* not the address of a stub that blocks may call */
	SOFT_STUB_STEP,
	SOFT_STUB_MISS,
	SOFT_STUB_IND,
	SOFT_STUB_LINK,
	SOFT_STUB_EXIT_PC,
	SOFT_STUB_STRING, /* a short jump stands between the call and the record */
};

struct soft_stub {
	enum soft_stub_kind kind;
	unsigned mmu;	/* MISS, STRING */
	bool write;	/* MISS */
	unsigned array; /* IND: of the jump cache */
};

struct soft_stub soft_stub_at(const struct soft_cache *c, const uint8_t *target);

struct soft_walk {
	const struct soft_cache *c;
	const uint8_t *p, *end; /* what comes next; executable addresses */
	const uint8_t *at;	/* the item */
	unsigned len;
	bool record;	       /* it is a record of `stub`, not an instruction */
	struct x86_insn in;    /* else this one */
	struct soft_stub stub; /* that the last call went to */
	unsigned due;	       /* items until its record */
};

void soft_walk_start(struct soft_walk *w, const struct soft_cache *c, const struct soft_block *b);
/* The next item; false at the end, and at what cannot be decoded (then p != end). */
bool soft_walk_next(struct soft_walk *w);
/* Target of a direct branch or call. */
const uint8_t *soft_walk_target(const struct soft_walk *w);

/* ---- verify_insn.c: one instruction ---- */

/* What is known of the scratch registers at a place in the code. */
enum verify_s0 {
	VERIFY_S0_ANY,
	VERIFY_S0_OFFSET, /* guest address - tag of the TLB entry that S1 is the index of */
	VERIFY_S0_COMPARED, /* the same, and flags are of a comparison with 4096 - size; JA must follow */
	VERIFY_S0_INSIDE, /* at most 4096 - size */
	VERIFY_S0_PART, /* guest address; flags are of a comparison of S1's part with its tag; JNE must follow */
	VERIFY_S0_OF_PART, /* guest address in that part, but for bits 48 to 63 */
	VERIFY_S0_HOST, /* host address in a page of guest memory; size bytes there are in that page */
};

enum verify_s1 {
	VERIFY_S1_ANY,
	VERIFY_S1_MASKED, /* has no bit outside of s1_value */
	VERIFY_S1_PART,	  /* its low byte is bits 40 to 47 of S0 */
};

struct verify_flow {
	uint32_t s0, mmu, write, size;
	uint32_t part; /* of S0 */
	bool window;   /* S0 is HOST by window_delta[]: the host looks after size and rights */
	uint32_t s1;
	int32_t s1_value;
	uint32_t jc; /* array + 1 of the jump cache whose entry S1 was just compared, or (entry + 1) << 4; + 8: JNE must follow */
	uint16_t group[SOFT_GROUPS]; /* tr.group[] holds an S0 that was HOST: its size, 0 for none */
	uint16_t group_write;	     /* bit a group: its write */
};

/* Checks the instruction and takes over what it changes; flow is what falls through. NULL, or what is wrong. */
const char *verify_insn(const struct soft_block *b, const struct x86_insn *in,
			struct verify_flow *flow);

#endif
