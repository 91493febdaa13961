/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_util.h - what the integer operations share: operands, host arithmetic, read-modify-write.
 *
 * Theory of operation. The arithmetic of an operation, flags included, is done by the same instruction of the
 * host, between a load of the guest's status flags and a store of the new ones (HOST_* below). So flags
 * that the manuals leave undefined are those of the host's processor, and the same as when the translator
 * runs the instruction as itself; there is no second opinion to keep in step. Exceptions, where no host
 * instruction is used and the choice is ours: DAA, DAS, AAA, AAS, AAM, AAD, which have no 64-bit encoding, set SF,
 * ZF, PF by AL, clear OF, and AAM and AAD clear CF and AF.
 *
 * Destinations in memory are first checked for writing, so that a fault says "write" as the processor's
 * does. LOCK and XCHG go through compare-and-exchange on the host's memory. An operand that crosses a page or
 * is MMIO has no one host address: it is read and written under a global lock, atomic only with respect to
 * other such operands.
 *
 * 32-bit results clear the upper half of a register in all modes (there is no one to see it in the others).
 */
#ifndef LODGE_ENGINE_SOFT_OP_UTIL_H
#define LODGE_ENGINE_SOFT_OP_UTIL_H

#include "engine/soft/op_table.h"

#define op_inline static inline __attribute__((always_inline))

static inline uint64_t op_mask(unsigned size)
{
	return size >= 8 ? ~UINT64_C(0) : BIT(8 * size) - 1;
}

static inline uint64_t op_sign_extend(uint64_t value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* ---- registers ---- */

static inline uint64_t op_reg(const struct soft_vcpu *v, const struct x86_insn *in, unsigned reg,
			      unsigned size)
{
	if (size == 1)
		return x86_reg8_high(in, reg) ? (v->s.gpr[reg - 4] >> 8) & 0xff :
						v->s.gpr[reg] & 0xff;
	return v->s.gpr[reg] & op_mask(size);
}

/* A register by its number in full, as part of an address or an implicit operand: never AH and its like. */
static inline void op_gpr_set(struct soft_vcpu *v, unsigned reg, uint64_t value, unsigned size)
{
	if (size >= 4)
		v->s.gpr[reg] = value & op_mask(size);
	else
		v->s.gpr[reg] = (v->s.gpr[reg] & ~op_mask(size)) | (value & op_mask(size));
}

static inline void op_reg_set(struct soft_vcpu *v, const struct x86_insn *in, unsigned reg,
			      uint64_t value, unsigned size)
{
	if (size == 1 && x86_reg8_high(in, reg))
		v->s.gpr[reg - 4] = (v->s.gpr[reg - 4] & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
	else
		op_gpr_set(v, reg, value, size);
}

static inline void op_set_flags(struct soft_vcpu *v, uint64_t mask, uint64_t value)
{
	v->s.rflags = (v->s.rflags & ~mask) | (value & mask);
}

/* Conditions of Jcc, SETcc, CMOVcc by their four bits (SDM vol. 1 appendix B). */
static inline bool op_condition(const struct soft_vcpu *v, unsigned cond)
{
	uint64_t f = v->s.rflags;
	bool less = ((f & X86_SF) != 0) != ((f & X86_OF) != 0);
	bool is;

	switch (cond >> 1) {
	case 0: is = f & X86_OF; break;
	case 1: is = f & X86_CF; break;
	case 2: is = f & X86_ZF; break;
	case 3: is = f & (X86_CF | X86_ZF); break;
	case 4: is = f & X86_SF; break;
	case 5: is = f & X86_PF; break;
	case 6: is = less; break;
	default: is = less || (f & X86_ZF); break;
	}
	return is != (cond & 1);
}

/* ---- memory ---- */

static inline uint64_t op_linear(struct soft_vcpu *v, const struct x86_insn *in, unsigned size,
				 unsigned access)
{
	return soft_linear(v, in->seg, soft_ea(v, in), size, access);
}

/* The ModRM.rm operand, register or memory. */
static inline uint64_t op_rm_read(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (in->has_mem)
		return soft_read(v, op_linear(v, in, in->rm_bytes, SOFT_READ), in->rm_bytes);
	return op_reg(v, in, in->rm, in->rm_bytes);
}

static inline void op_rm_write(struct soft_vcpu *v, const struct x86_insn *in, uint64_t value)
{
	if (in->has_mem)
		soft_write(v, op_linear(v, in, in->rm_bytes, SOFT_WRITE),
			   value & op_mask(in->rm_bytes), in->rm_bytes);
	else
		op_reg_set(v, in, in->rm, value, in->rm_bytes);
}

/* Host memory, any alignment. */
struct op_unaligned {
	uint16_t u16;
} __attribute__((packed, may_alias));
struct op_unaligned32 {
	uint32_t u32;
} __attribute__((packed, may_alias));
struct op_unaligned64 {
	uint64_t u64;
} __attribute__((packed, may_alias));

op_inline uint64_t op_load(const void *p, unsigned size)
{
	switch (size) {
	case 1: return *(const uint8_t *)p;
	case 2: return ((const struct op_unaligned *)p)->u16;
	case 4: return ((const struct op_unaligned32 *)p)->u32;
	default: return ((const struct op_unaligned64 *)p)->u64;
	}
}

op_inline void op_store(void *p, uint64_t value, unsigned size)
{
	switch (size) {
	case 1: *(uint8_t *)p = (uint8_t)value; break;
	case 2: ((struct op_unaligned *)p)->u16 = (uint16_t)value; break;
	case 4: ((struct op_unaligned32 *)p)->u32 = (uint32_t)value; break;
	default: ((struct op_unaligned64 *)p)->u64 = value; break;
	}
}

/* LOCK CMPXCHG at any alignment. True if *p was `*old` and now is value; else *old is what it was. */
static inline bool op_cas(void *p, uint64_t *old, uint64_t value, unsigned size)
{
	bool done;

	switch (size) {
	case 1:
		__asm__ volatile("lock cmpxchgb %b[value], (%[p])"
				 : "+a"(*old), "=@ccz"(done)
				 : [p] "r"(p), [value] "q"(value)
				 : "memory");
		break;
	case 2:
		__asm__ volatile("lock cmpxchgw %w[value], (%[p])"
				 : "+a"(*old), "=@ccz"(done)
				 : [p] "r"(p), [value] "r"(value)
				 : "memory");
		break;
	case 4:
		__asm__ volatile("lock cmpxchgl %k[value], (%[p])"
				 : "+a"(*old), "=@ccz"(done)
				 : [p] "r"(p), [value] "r"(value)
				 : "memory");
		break;
	default:
		__asm__ volatile("lock cmpxchgq %[value], (%[p])"
				 : "+a"(*old), "=@ccz"(done)
				 : [p] "r"(p), [value] "r"(value)
				 : "memory");
		break;
	}
	*old &= op_mask(size);
	return done;
}

/* The lock for locked operands without a host address; op_rmw.c. Nothing that raises may run under it. */
void op_slow_lock(void);
void op_slow_unlock(void);

/*
 * One arithmetic operation on operands of `size` bytes: the result of a with b (and c), and the new status flags
 * in *flags. Results may have garbage above `size`.
 */
typedef uint64_t (*op_calc)(uint64_t a, uint64_t b, uint64_t c, unsigned size, uint64_t *flags);

/*
 * dst = calc(dst, b, c) for the ModRM.rm operand; commits flags after the store. Returns the old value.
 */
op_inline uint64_t op_rmw(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc, uint64_t b,
			  uint64_t c, bool lock)
{
	unsigned size = in->rm_bytes;
	uint64_t flags = v->s.rflags;
	uint64_t old, value;

	if (!in->has_mem) {
		old = op_reg(v, in, in->rm, size);
		value = calc(old, b, c, size, &flags);
		op_reg_set(v, in, in->rm, value, size);
		v->s.rflags = flags;
		return old;
	}
	uint64_t la = op_linear(v, in, size, SOFT_WRITE);
	void *p = soft_ptr(v, la, size, SOFT_WRITE);
	if (likely(p != NULL)) {
		old = op_load(p, size);
		if (lock) {
			do {
				flags = v->s.rflags;
				value = calc(old, b, c, size, &flags);
			} while (!op_cas(p, &old, value, size));
		} else {
			op_store(p, calc(old, b, c, size, &flags), size);
		}
		soft_wrote(v, la, size);
	} else {
		soft_probe_write(v, la, size);
		if (lock)
			op_slow_lock();
		old = soft_read(v, la, size);
		soft_write(v, la, calc(old, b, c, size, &flags) & op_mask(size), size);
		if (lock)
			op_slow_unlock();
	}
	v->s.rflags = flags;
	return old;
}

/* ---- host arithmetic ---- */

/* Status flags as LAHF and SETO make them: AH has SF ZF AF PF CF, AL has OF. */
op_inline uint64_t host_flags_in(uint64_t rflags)
{
	return (rflags & 0xd5) << 8 | ((rflags >> 11) & 1);
}

op_inline uint64_t host_flags_out(uint64_t rflags, uint64_t ax)
{
	return (rflags & ~(uint64_t)X86_STATUS_FLAGS) | ((ax >> 8) & 0xd5) | (ax & 1) << 11;
}

#define HOST_IN "addb $0x7f, %%al; sahf; "
#define HOST_OUT "; lahf; seto %%al"

/* clang-format off */
#define HOST_CASE(insn, width, fmt_b, fmt_a, cons)                                                 \
	__asm__ volatile(HOST_IN #insn #width " %" fmt_b "[b], %" fmt_a "[a]" HOST_OUT             \
			 : "+&a"(ax), [a] "+&" cons(a) : [b] cons(b) : "cc")

/* host_add() and so on: a op= b. */
#define HOST_BINARY(name, insn)                                                                    \
	op_inline uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, unsigned size,          \
				       uint64_t *flags)                                            \
	{                                                                                          \
		uint64_t ax = host_flags_in(*flags);                                               \
		(void)c;                                                                           \
		switch (size) {                                                                    \
		case 1: HOST_CASE(insn, b, "b", "b", "q"); break;                                  \
		case 2: HOST_CASE(insn, w, "w", "w", "r"); break;                                  \
		case 4: HOST_CASE(insn, l, "k", "k", "r"); break;                                  \
		default: HOST_CASE(insn, q, "q", "q", "r"); break;                                 \
		}                                                                                  \
		*flags = host_flags_out(*flags, ax);                                               \
		return a;                                                                          \
	}

/* The same without a byte form. */
#define HOST_BINARY_WLQ(name, insn)                                                                \
	op_inline uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, unsigned size,          \
				       uint64_t *flags)                                            \
	{                                                                                          \
		uint64_t ax = host_flags_in(*flags);                                               \
		(void)c;                                                                           \
		switch (size) {                                                                    \
		case 2: HOST_CASE(insn, w, "w", "w", "r"); break;                                  \
		case 4: HOST_CASE(insn, l, "k", "k", "r"); break;                                  \
		default: HOST_CASE(insn, q, "q", "q", "r"); break;                                 \
		}                                                                                  \
		*flags = host_flags_out(*flags, ax);                                               \
		return a;                                                                          \
	}

#define HOST_CASE1(insn, width, fmt, cons)                                                         \
	__asm__ volatile(HOST_IN #insn #width " %" fmt "[a]" HOST_OUT                              \
			 : "+&a"(ax), [a] "+&" cons(a) : : "cc")

#define HOST_UNARY(name, insn)                                                                     \
	op_inline uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, unsigned size,          \
				       uint64_t *flags)                                            \
	{                                                                                          \
		uint64_t ax = host_flags_in(*flags);                                               \
		(void)b;                                                                           \
		(void)c;                                                                           \
		switch (size) {                                                                    \
		case 1: HOST_CASE1(insn, b, "b", "q"); break;                                      \
		case 2: HOST_CASE1(insn, w, "w", "r"); break;                                      \
		case 4: HOST_CASE1(insn, l, "k", "r"); break;                                      \
		default: HOST_CASE1(insn, q, "q", "r"); break;                                     \
		}                                                                                  \
		*flags = host_flags_out(*flags, ax);                                               \
		return a;                                                                          \
	}

#define HOST_CASE_CL(insn, width, fmt, cons)                                                       \
	__asm__ volatile(HOST_IN #insn #width " %%cl, %" fmt "[a]" HOST_OUT                        \
			 : "+&a"(ax), [a] "+&" cons(a) : "c"(b) : "cc")

/* Shifts and rotates: b is the count. */
#define HOST_SHIFT(name, insn)                                                                     \
	op_inline uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, unsigned size,          \
				       uint64_t *flags)                                            \
	{                                                                                          \
		uint64_t ax = host_flags_in(*flags);                                               \
		(void)c;                                                                           \
		switch (size) {                                                                    \
		case 1: HOST_CASE_CL(insn, b, "b", "q"); break;                                    \
		case 2: HOST_CASE_CL(insn, w, "w", "r"); break;                                    \
		case 4: HOST_CASE_CL(insn, l, "k", "r"); break;                                    \
		default: HOST_CASE_CL(insn, q, "q", "r"); break;                                   \
		}                                                                                  \
		*flags = host_flags_out(*flags, ax);                                               \
		return a;                                                                          \
	}

#define HOST_CASE_DBL(insn, width, fmt)                                                            \
	__asm__ volatile(HOST_IN #insn #width " %%cl, %" fmt "[b], %" fmt "[a]" HOST_OUT           \
			 : "+&a"(ax), [a] "+&r"(a) : [b] "r"(b), "c"(c) : "cc")

/* Double shifts: b is filled in, c the count. */
#define HOST_DOUBLE(name, insn)                                                                    \
	op_inline uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, unsigned size,          \
				       uint64_t *flags)                                            \
	{                                                                                          \
		uint64_t ax = host_flags_in(*flags);                                               \
		switch (size) {                                                                    \
		case 2: HOST_CASE_DBL(insn, w, "w"); break;                                        \
		case 4: HOST_CASE_DBL(insn, l, "k"); break;                                        \
		default: HOST_CASE_DBL(insn, q, "q"); break;                                       \
		}                                                                                  \
		*flags = host_flags_out(*flags, ax);                                               \
		return a;                                                                          \
	}

/* clang-format on */

HOST_BINARY(sub, sub)
HOST_BINARY(add, add)

/* ---- stack ---- */

/* Width of the stack pointer, in bytes. */
static inline unsigned op_stack_size(const struct soft_vcpu *v)
{
	return v->mode == X86_MODE_64 ? 8 : v->s.seg[X86_SS].attr & X86_ATTR_DB ? 4 : 2;
}

/* A stack pointer `delta` from sp, cut to its width. */
static inline uint64_t op_sp_add(const struct soft_vcpu *v, uint64_t sp, int64_t delta)
{
	return (sp + (uint64_t)delta) & op_mask(op_stack_size(v));
}

static inline void op_sp_set(struct soft_vcpu *v, uint64_t sp)
{
	op_gpr_set(v, X86_RSP, sp, op_stack_size(v));
}

/* Stores at the offset in the stack segment. */
static inline void op_stack_write(struct soft_vcpu *v, uint64_t sp, uint64_t value, unsigned size)
{
	soft_write(v, soft_linear(v, X86_SS, sp, size, SOFT_WRITE), value & op_mask(size), size);
}

static inline uint64_t op_stack_read(struct soft_vcpu *v, uint64_t sp, unsigned size)
{
	return soft_read(v, soft_linear(v, X86_SS, sp, size, SOFT_READ), size);
}

static inline void op_push(struct soft_vcpu *v, uint64_t value, unsigned size)
{
	uint64_t sp = op_sp_add(v, v->s.gpr[X86_RSP], -(int64_t)size);

	op_stack_write(v, sp, value, size);
	op_sp_set(v, sp);
}

#endif
