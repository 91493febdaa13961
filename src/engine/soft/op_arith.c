/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_arith.c - integer arithmetic and logic: ADD to XOR, CMP, TEST, INC, DEC, NEG, NOT, multiplication,
 * division, and the decimal adjustments. SDM vol. 2; flags as op_util.h says.
 */
#include "engine/soft/op_util.h"

HOST_BINARY(or, or)
HOST_BINARY(adc, adc)
HOST_BINARY(sbb, sbb)
HOST_BINARY(and, and)
HOST_BINARY(xor, xor)
HOST_BINARY(test, test)
HOST_UNARY(inc, inc)
HOST_UNARY(dec, dec)
HOST_UNARY(neg, neg)
HOST_UNARY(not, not )
HOST_BINARY_WLQ(imul, imul)

/* The six shapes of an ALU operation (opcodes 00-3F and group 1). */
op_inline void alu(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc)
{
	if (in->opreg != 0xff) {
		uint64_t a = op_reg(v, in, in->opreg, in->opnd_bytes);

		a = calc(a, (uint64_t)in->imm, 0, in->opnd_bytes, &v->s.rflags);
		op_reg_set(v, in, in->opreg, a, in->opnd_bytes);
	} else if (in->reg == 0xff) {
		op_rmw(v, in, calc, (uint64_t)in->imm, 0, in->lock);
	} else if (in->opcode & 2) {
		uint64_t b = op_rm_read(v, in);
		uint64_t a = op_reg(v, in, in->reg, in->reg_bytes);

		op_reg_set(v, in, in->reg, calc(a, b, 0, in->reg_bytes, &v->s.rflags),
			   in->reg_bytes);
	} else {
		op_rmw(v, in, calc, op_reg(v, in, in->reg, in->reg_bytes), 0, in->lock);
	}
}

/* CMP and TEST: the same, with nothing stored. */
op_inline void alu_flags(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc,
			 bool reversible)
{
	if (in->opreg != 0xff) {
		calc(op_reg(v, in, in->opreg, in->opnd_bytes), (uint64_t)in->imm, 0, in->opnd_bytes,
		     &v->s.rflags);
		return;
	}
	uint64_t a = op_rm_read(v, in);
	if (in->reg == 0xff) {
		calc(a, (uint64_t)in->imm, 0, in->rm_bytes, &v->s.rflags);
		return;
	}
	uint64_t b = op_reg(v, in, in->reg, in->reg_bytes);
	if (reversible && (in->opcode & 2))
		calc(b, a, 0, in->rm_bytes, &v->s.rflags);
	else
		calc(a, b, 0, in->rm_bytes, &v->s.rflags);
}

#define ALU_OP(name)                                                        \
	void soft_op_##name(struct soft_vcpu *v, const struct x86_insn *in) \
	{                                                                   \
		alu(v, in, host_##name);                                    \
	}

ALU_OP(add)
ALU_OP(or)
ALU_OP(adc)
ALU_OP(sbb)
ALU_OP(and)
ALU_OP(sub)
ALU_OP(xor)

void soft_op_cmp(struct soft_vcpu *v, const struct x86_insn *in)
{
	alu_flags(v, in, host_sub, true);
}

void soft_op_test(struct soft_vcpu *v, const struct x86_insn *in)
{
	alu_flags(v, in, host_test, false);
}

/* One operand: ModRM.rm, or the register in the opcode (INC and DEC 40-4F). */
op_inline void unary(struct soft_vcpu *v, const struct x86_insn *in, op_calc calc)
{
	if (in->opreg != 0xff) {
		uint64_t a = op_reg(v, in, in->opreg, in->opnd_bytes);

		op_reg_set(v, in, in->opreg, calc(a, 0, 0, in->opnd_bytes, &v->s.rflags),
			   in->opnd_bytes);
	} else {
		op_rmw(v, in, calc, 0, 0, in->lock);
	}
}

#define UNARY_OP(name)                                                      \
	void soft_op_##name(struct soft_vcpu *v, const struct x86_insn *in) \
	{                                                                   \
		unary(v, in, host_##name);                                  \
	}

UNARY_OP(inc)
UNARY_OP(dec)
UNARY_OP(neg)
UNARY_OP(not )

/* ---- multiplication ---- */

/* clang-format off */
#define MUL_CASE(insn, width, fmt)                                                                 \
	__asm__ volatile(HOST_IN "movq %[lo], %%rax; " #insn #width " %" fmt "[b]; movq %%rax, %[lo]" HOST_OUT \
			 : "+&a"(ax), [lo] "+&r"(lo), "+&d"(hi) : [b] "r"(b) : "cc")

/* MUL and one-operand IMUL: rDX:rAX (AX) = rAX * rm. */
#define MUL_OP(name, insn)                                                                         \
	void soft_op_##name(struct soft_vcpu *v, const struct x86_insn *in)                        \
	{                                                                                          \
		uint64_t b = op_rm_read(v, in);                                                    \
		uint64_t lo = v->s.gpr[X86_RAX], hi = 0;                                           \
		uint64_t ax = host_flags_in(v->s.rflags);                                          \
		switch (in->rm_bytes) {                                                            \
		case 1: MUL_CASE(insn, b, "b"); break;                                             \
		case 2: MUL_CASE(insn, w, "w"); break;                                             \
		case 4: MUL_CASE(insn, l, "k"); break;                                             \
		default: MUL_CASE(insn, q, "q"); break;                                            \
		}                                                                                  \
		v->s.rflags = host_flags_out(v->s.rflags, ax);                                     \
		if (in->rm_bytes == 1) {                                                           \
			op_gpr_set(v, X86_RAX, lo, 2);                                             \
		} else {                                                                           \
			op_gpr_set(v, X86_RAX, lo, in->rm_bytes);                                  \
			op_gpr_set(v, X86_RDX, hi, in->rm_bytes);                                  \
		}                                                                                  \
	}

/* clang-format on */

MUL_OP(mul, mul)
MUL_OP(imul1, imul)

void soft_op_imul(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t b = op_rm_read(v, in);
	uint64_t a = in->imm_bytes ? (uint64_t)in->imm : op_reg(v, in, in->reg, in->reg_bytes);

	op_reg_set(v, in, in->reg, host_imul(a, b, 0, in->reg_bytes, &v->s.rflags), in->reg_bytes);
}

/* ---- division: the quotient is known to fit before the host divides ---- */

/* clang-format off */
#define DIV_CASE(insn, width, fmt)                                                                 \
	__asm__ volatile(HOST_IN "movq %[lo], %%rax; " #insn #width " %" fmt "[b]; movq %%rax, %[lo]" HOST_OUT \
			 : "+&a"(ax), [lo] "+&r"(lo), "+&d"(hi) : [b] "r"(b) : "cc")

#define DIVIDE(insn)                                                                               \
	do {                                                                                       \
		switch (in->rm_bytes) {                                                            \
		case 1: DIV_CASE(insn, b, "b"); break;                                             \
		case 2: DIV_CASE(insn, w, "w"); break;                                             \
		case 4: DIV_CASE(insn, l, "k"); break;                                             \
		default: DIV_CASE(insn, q, "q"); break;                                            \
		}                                                                                  \
	} while (0)

/* clang-format on */

static void divided(struct soft_vcpu *v, const struct x86_insn *in, uint64_t lo, uint64_t hi,
		    uint64_t ax)
{
	v->s.rflags = host_flags_out(v->s.rflags, ax);
	if (in->rm_bytes == 1) { /* AL, AH */
		op_gpr_set(v, X86_RAX, lo, 2);
	} else {
		op_gpr_set(v, X86_RAX, lo, in->rm_bytes);
		op_gpr_set(v, X86_RDX, hi, in->rm_bytes);
	}
}

void soft_op_div(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->rm_bytes;
	uint64_t b = op_rm_read(v, in);
	uint64_t lo = v->s.gpr[X86_RAX], hi = v->s.gpr[X86_RDX];
	uint64_t upper = size == 1 ? (lo >> 8) & 0xff : hi & op_mask(size);
	uint64_t ax = host_flags_in(v->s.rflags);

	if (upper >= b) /* zero, or a quotient that does not fit */
		soft_raise(v, X86_EXC_DE);
	DIVIDE(div);
	divided(v, in, lo, hi, ax);
}

/* Does the signed quotient of hi:lo by b (size bytes each) fit? */
static bool idiv_fits(uint64_t hi, uint64_t lo, uint64_t b, unsigned size)
{
	int64_t divisor = (int64_t)op_sign_extend(b, size);
	unsigned __int128 n = ((unsigned __int128)op_sign_extend(hi, size) << (8 * size)) |
			      (lo & op_mask(size));
	uint64_t d, limit = BIT(8 * size - 1);

	if (divisor == 0)
		return false;
	if (size < 8) /* sign-extended by hi: widen it to 128 bits */
		n |= (int64_t)op_sign_extend(hi, size) < 0 ? ~(unsigned __int128)0 << 64 : 0;
	bool negative = n >> 127;
	if (negative)
		n = -n;
	d = divisor < 0 ? -(uint64_t)divisor : (uint64_t)divisor;
	/* |quotient| <= limit - 1, or limit when the result is negative: n < d * (limit + neg). */
	if (negative != (divisor < 0))
		limit++;
	return n < (unsigned __int128)d * limit;
}

void soft_op_idiv(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->rm_bytes;
	uint64_t b = op_rm_read(v, in);
	uint64_t lo = v->s.gpr[X86_RAX], hi = v->s.gpr[X86_RDX];
	uint64_t ax = host_flags_in(v->s.rflags);

	if (!idiv_fits(size == 1 ? lo >> 8 : hi, lo, b, size))
		soft_raise(v, X86_EXC_DE);
	DIVIDE(idiv);
	divided(v, in, lo, hi, ax);
}

/* ---- decimal adjustments (not in 64-bit mode) ---- */

static uint64_t flags_of_al(uint8_t al)
{
	uint64_t flags = __builtin_parity(al) ? 0 : X86_PF;

	if (al == 0)
		flags |= X86_ZF;
	if (al & 0x80)
		flags |= X86_SF;
	return flags;
}

static void set_al(struct soft_vcpu *v, uint8_t al, uint64_t extra_flags)
{
	op_gpr_set(v, X86_RAX, al, 1);
	op_set_flags(v, X86_STATUS_FLAGS, flags_of_al(al) | extra_flags);
}

static void decimal(struct soft_vcpu *v, bool subtract)
{
	uint8_t al = (uint8_t)v->s.gpr[X86_RAX], old = al;
	bool cf = v->s.rflags & X86_CF;
	uint64_t flags = 0;

	if ((al & 15) > 9 || (v->s.rflags & X86_AF)) {
		flags |= X86_AF;
		if (subtract) {
			if (cf || al < 6)
				flags |= X86_CF;
			al -= 6;
		} else {
			al += 6;
		}
	}
	if (old > 0x99 || cf) {
		al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
		flags |= X86_CF;
	}
	set_al(v, al, flags);
}

void soft_op_daa(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	decimal(v, false);
}

void soft_op_das(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	decimal(v, true);
}

static void ascii(struct soft_vcpu *v, bool subtract)
{
	uint16_t ax = (uint16_t)v->s.gpr[X86_RAX];
	bool adjust = (ax & 15) > 9 || (v->s.rflags & X86_AF);

	if (adjust)
		ax = (uint16_t)(subtract ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	op_gpr_set(v, X86_RAX, ax, 2);
	op_set_flags(v, X86_STATUS_FLAGS, flags_of_al((uint8_t)ax) | (adjust ? X86_AF | X86_CF : 0));
}

void soft_op_aaa(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	ascii(v, false);
}

void soft_op_aas(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	ascii(v, true);
}

void soft_op_aam(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint8_t al = (uint8_t)v->s.gpr[X86_RAX], base = (uint8_t)in->imm;

	if (base == 0)
		soft_raise(v, X86_EXC_DE);
	/* cppcheck-suppress zerodivcond ; it does not see that soft_raise() stays away */
	uint8_t high = al / base, low = al % base;

	op_gpr_set(v, X86_RAX, (uint64_t)high << 8, 2);
	set_al(v, low, 0);
}

void soft_op_aad(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint16_t ax = (uint16_t)v->s.gpr[X86_RAX];
	uint8_t al = (uint8_t)(ax + (ax >> 8) * (uint8_t)in->imm);

	op_gpr_set(v, X86_RAX, 0, 2);
	set_al(v, al, 0);
}
