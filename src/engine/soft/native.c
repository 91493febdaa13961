/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native.c - x87, MMX, SSE, AVX and BMI instructions by the reference way: the host executes them.
 *
 * Theory of operation. The checks that depend on guest state (#NM, #UD, segment, paging, alignment) are made
 * here. Then the instruction is re-encoded into a thunk whose memory operand is a bounce buffer in the vCPU,
 * with the same alignment modulo 64, and run with the guest's registers and FPU state in the host's. What it
 * wrote to the buffer goes to guest memory afterwards; that it may be written is known beforehand. A fault that
 * the host raises (#MF, #XM, #GP) comes back as a trap number from the signal handler and is raised here.
 *
 * FXSAVE and FNSTENV store the address of the last FPU instruction: a host address, which the guest must not
 * see. Those fields are stored as zero.
 */
#include "engine/soft/op_table.h"
#include "engine/soft/translate.h"

void soft_fp_available(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t cr0 = v->s.cr0;

	if (in->attr & X86_A_VEX) { /* SDM vol. 2 §2.5.1: neither CR0.EM nor CR4.OSFXSR matter */
		if (!(cr0 & X86_CR0_PE) || ((in->attr & X86_A_AVX) && !soft_avx_enabled(v)))
			soft_raise(v, X86_EXC_UD);
		if ((in->attr & X86_A_AVX) && (cr0 & X86_CR0_TS))
			soft_raise(v, X86_EXC_NM);
		return;
	}
	if (in->op == X86_OP_FWAIT) {
		if ((cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
			soft_raise(v, X86_EXC_NM);
		return;
	}
	if (in->attr & (X86_A_SSE | X86_A_MMX)) {
		bool fx = in->op == X86_OP_FXSAVE || in->op == X86_OP_FXRSTOR;

		if ((cr0 & X86_CR0_EM) && !fx)
			soft_raise(v, X86_EXC_UD);
		if ((in->attr & X86_A_SSE) && !(v->s.cr4 & X86_CR4_OSFXSR) && !fx)
			soft_raise(v, X86_EXC_UD);
	}
	if (!(in->attr & (X86_A_SSE | X86_A_MMX | X86_A_X87)))
		return;
	if (cr0 & (X86_CR0_EM | X86_CR0_TS))
		soft_raise(v, X86_EXC_NM);
}

/* Instruction and data pointers of an environment or image at p: zero (SDM vol. 1 §8.1.10, §10.5.1). */
static void clear_pointers(const struct x86_insn *in, uint8_t *p)
{
	if (in->op == X86_OP_FXSAVE) {
		soft_zero(p + 6, 2);
		soft_zero(p + 8, 16);
	} else if (in->op == X86_OP_FSTENV || in->op == X86_OP_FSAVE) {
		if (in->opnd_bytes == 2)
			soft_zero(p + 6, 8);
		else
			soft_zero(p + 12, 16);
	}
}

/* A host register for each homed operand of one instruction: S0, S1, and one that is put aside. */
struct loan {
	uint8_t guest[3]; /* what S0, S1 and `third` stand for; 0xff free */
	uint8_t third;
	bool used;
};

static unsigned loan(struct loan *l, unsigned g)
{
	unsigned hr = soft_host_reg(g), i;

	if (hr != HR_HOMED)
		return hr;
	for (i = 0; i < 2 && l->guest[i] != g && l->guest[i] != 0xff; i++)
		;
	l->guest[i] = (uint8_t)g;
	l->used = l->used || i == 2;
	return i == 0 ? S0 : i == 1 ? S1 : l->third;
}

/* A host register that the instruction does not use: MULX and others use RAX, RCX, RDX besides their operands. */
static uint8_t unused(const struct x86_insn *in)
{
	static const uint8_t r[] = {X86_RBX, X86_RBP, X86_RSI, X86_RDI};

	for (unsigned i = 0; i < ARRAY_SIZE(r) - 1; i++)
		if (in->reg != r[i] && in->rm != r[i] && in->vvvv != r[i])
			return r[i];
	return X86_RDI;
}

static bool gpr_written(unsigned kind, unsigned acc)
{
	return kind == X86_RK_GPR && (acc & X86_ACC_W);
}

/* Emits the thunk; returns its executable address. */
static uint8_t *thunk(struct soft_vcpu *v, const struct x86_insn *in, const uint8_t *operand)
{
	struct soft_cache *c = v->soft->cache;
	struct emit e;
	struct loan l = {.guest = {in->has_mem ? 0xfe : 0xff, 0xff, 0xff}, .third = unused(in)};
	unsigned reg = in->reg, rm = in->rm, vvvv = in->vvvv;

	if (v->tr.native_used > SOFT_THUNK_SIZE - 192)
		v->tr.native_used = 0;
	e = (struct emit){.p = v->tr.native_code + v->tr.native_used, .delta = c->rx - c->rw};
	e.end = e.p + 192;
	v->tr.native_used += 192;

	uint8_t *at = emit_here(&e);

	if (in->flags_read || in->flags_may_write)
		soft_emit_flags_restore(&e);
	if (in->has_mem) {
		emit_mov_imm(&e, S0, (uint64_t)(uintptr_t)operand);
		rm = S0;
	} else if (in->has_modrm && in->rm_kind == X86_RK_GPR) {
		rm = loan(&l, in->rm);
	}
	if (in->has_modrm && in->reg_kind == X86_RK_GPR)
		reg = loan(&l, in->reg);
	if (in->vvvv_kind == X86_RK_GPR)
		vvvv = loan(&l, in->vvvv);
	if (l.used)
		emit_store_gs(&e, true, l.third, GS(tr.tmp));
	for (unsigned i = 0; i < 3; i++)
		if (l.guest[i] < 16)
			emit_load_gs(&e, true,
				     i == 0 ? S0 :
				     i == 1 ? S1 :
					      l.third,
				     GS_GPR(l.guest[i]));
	bool encoded = soft_emit_insn(&e, in, reg, rm, vvvv, 0);

	ASSERT(encoded && !e.full);
	/* What is not homed is stored with all other registers. */
	if (gpr_written(in->reg_kind, in->reg_acc) && soft_host_reg(in->reg) == HR_HOMED)
		emit_store_gs(&e, true, reg, GS_GPR(in->reg));
	if (gpr_written(in->vvvv_kind, in->vvvv_acc) && soft_host_reg(in->vvvv) == HR_HOMED)
		emit_store_gs(&e, true, vvvv, GS_GPR(in->vvvv));
	if (!in->has_mem && gpr_written(in->rm_kind, in->rm_acc) &&
	    soft_host_reg(in->rm) == HR_HOMED)
		emit_store_gs(&e, true, rm, GS_GPR(in->rm));
	if (l.used)
		emit_load_gs(&e, true, l.third, GS(tr.tmp));
	if (in->flags_may_write)
		soft_emit_flags_save(&e);
	emit_jmp(&e, c->stub.native_done);
	ASSERT(!e.full);
	return at;
}

static void raise_host_trap(struct soft_vcpu *v, unsigned trap)
{
	switch (trap) {
	case X86_EXC_XM: soft_raise(v, v->s.cr4 & X86_CR4_OSXMMEXCPT ? X86_EXC_XM : X86_EXC_UD);
	case X86_EXC_MF: soft_raise(v, X86_EXC_MF);
	case X86_EXC_GP: soft_raise_err(v, X86_EXC_GP, 0);
	default: soft_raise(v, X86_EXC_UD);
	}
}

/* FSW.ES: the next waiting instruction raises #MF, before it looks at its operand. */
static bool fpu_error_pending(struct soft_vcpu *v)
{
	uint16_t fsw;

	if (v->fp_live)
		__asm__ volatile("fnstsw %0" : "=am"(fsw));
	else
		soft_copy(&fsw, v->s.fx + 2, 2);
	return fsw & 0x80;
}

/* Does it look for a pending FPU error first? FNSTCW, FNSTSW, FNSTENV, FNSAVE do not. */
static bool waits(const struct x86_insn *in)
{
	if (in->op != X86_OP_FP)
		return in->op == X86_OP_FLDENV || in->op == X86_OP_FRSTOR;
	if (in->attr & X86_A_MMX)
		return true;
	if (!(in->attr & X86_A_X87))
		return false;
	return !(in->has_mem && in->map == X86_MAP_1 &&
		 (in->opcode == 0xd9 || in->opcode == 0xdd) && (in->modrm >> 3 & 7) == 7);
}

/* The host runs it, on operand. A fault that the host raises is raised here; what it left in MXCSR stays. */
static void run(struct soft_vcpu *v, const struct x86_insn *in, const uint8_t *operand)
{
	uint8_t *code;

	v->tr.flags_slot = soft_slot_of_flags(v->s.rflags);
	soft_fp_load(v);
	v->tr.native_trap = 0;
	code = thunk(v, in, operand);
	((void (*)(struct soft_vcpu *, const void *))(uintptr_t)v->soft->cache->stub.enter)(v, code);
	if (v->tr.native_trap)
		raise_host_trap(v, v->tr.native_trap - 1);
}

static uint16_t fpu_status(void)
{
	uint16_t fsw;

	__asm__ volatile("fnstsw %0" : "=am"(fsw));
	return fsw;
}

/* TOP becomes 0; the registers, their tags and C1 stay as they are (FINCSTP would clear C1). */
static void clear_top(struct soft_vcpu *v)
{
	uint8_t old[128], *fx = v->s.fx;
	unsigned top;

	soft_fp_load(v);
	top = fpu_status() >> 11 & 7;
	if (!top)
		return;
	soft_fp_save(v); /* the image has ST(i), not registers by their number */
	soft_copy(old, fx + 32, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		soft_copy(fx + 32 + 16 * i, old + 16 * ((i - top) & 7), 16);
	fx[3] &= 0xc7;
}

/*
 * FST and its kin, where an unmasked exception keeps them from storing (SDM vol. 1 §8.5: invalid operation, overflow,
 * underflow). True: done. False: nothing has happened.
 */
static bool stores_nothing(struct soft_vcpu *v, const struct x86_insn *in)
{
	const unsigned ie_oe_ue = 0x19;
	uint16_t fcw;

	soft_fp_load(v);
	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	if (!(~fcw & ie_oe_ue))
		return false;
	soft_fp_save(v);
	run(v, in, v->tr.bounce);
	if (fpu_status() & ~fcw & ie_oe_ue) /* a new one: none was pending */
		return true;
	v->fp_live = false; /* back to what was saved */
	soft_fp_load(v);
	return false;
}

/*
 * What Intel's processors do with a store before they look at where it goes: the handler of its fault finds TOP changed
 * (MMX) or flags in MXCSR (VCVTPS2PH), or there is no fault, as nothing would have been stored (x87). AMD's look first.
 * True: the instruction is done.
 */
static bool before_store(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (!soft_intel(v->soft) || in->op != X86_OP_FP)
		return false;
	if (in->attr & X86_A_MMX)
		clear_top(v);
	else if (in->attr & X86_A_X87)
		return waits(in) && stores_nothing(v, in);
	else if (in->vex && in->map == X86_MAP_0F3A && in->opcode == 0x1d)
		run(v, in, v->tr.bounce); /* again on the operand, which changes nothing more */
	return false;
}

/* MASKMOVQ, MASKMOVDQU: bytes of reg whose mask byte in rm has its top bit go to DS:rDI. */
static void maskmov(struct soft_vcpu *v, const struct x86_insn *in)
{
	bool xmm = in->reg_kind == X86_RK_XMM;
	unsigned n = xmm ? 16 : 8;
	uint64_t off = v->s.gpr[X86_RDI];
	uint8_t data[16], mask[16];

	if (in->addr_bytes == 4)
		off = (uint32_t)off;
	else if (in->addr_bytes == 2)
		off = (uint16_t)off;
	if (!xmm && fpu_error_pending(v))
		soft_raise(v, X86_EXC_MF);
	if (!xmm) { /* as any MMX instruction: TOP 0, all tags valid; processors do it first */
		soft_fp_load(v);
		__asm__ volatile("movd %%mm0, %%eax" : : : "eax");
	}
	soft_fp_save(v);
	if (xmm) {
		soft_copy(data, v->s.fx + 160 + 16 * in->reg, n);
		soft_copy(mask, v->s.fx + 160 + 16 * in->rm, n);
	} else {
		soft_copy(data, v->s.fx + 32 + 16 * in->reg, n);
		soft_copy(mask, v->s.fx + 32 + 16 * in->rm, n);
	}
	(void)soft_linear(v, in->seg, off, n,
			  SOFT_WRITE); /* the segment is checked whatever the mask is */
	for (unsigned i = 0; i < n; i++)
		if (mask[i] & 0x80)
			soft_probe_write(v, soft_linear(v, in->seg, off + i, 1, SOFT_WRITE), 1);
	for (unsigned i = 0; i < n; i++)
		if (mask[i] & 0x80)
			soft_write(v, soft_linear(v, in->seg, off + i, 1, SOFT_WRITE), data[i], 1);
}

void soft_op_native(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint8_t *operand = NULL;
	uint64_t la = 0;
	unsigned size = in->mem_bytes;
	bool write = in->rm_acc & X86_ACC_W;
	bool mem = in->has_mem && size;

	soft_fp_available(v, in);
	if (in->op == X86_OP_MASKMOV) {
		maskmov(v, in);
		return;
	}
	/* FXSAVE and FXRSTOR outside of 64-bit mode leave XMM8-15 alone (SDM vol. 1 §10.5.1). */
	bool half = v->mode != X86_MODE_64 && (in->op == X86_OP_FXSAVE || in->op == X86_OP_FXRSTOR);

	if (mem && waits(in) && fpu_error_pending(v))
		soft_raise(v, X86_EXC_MF);
	if (mem && write && before_store(v, in))
		return;
	if (mem) {
		uint64_t ea = soft_ea(v, in);
		bool based = v->mode != X86_MODE_64 || in->seg == X86_FS || in->seg == X86_GS;

		/* Alignment comes before canonical form (which would be #SS for a stack address). */
		unsigned align = in->vex ? size : 16;

		if ((in->attr & X86_A_ALIGN16) &&
		    ((ea + (based ? v->s.seg[in->seg].base : 0)) & (align - 1)))
			soft_raise_err(v, X86_EXC_GP, 0);
		la = soft_linear(v, in->seg, ea, size, write ? SOFT_WRITE : SOFT_READ);
		operand = v->tr.bounce + (la & 63);
		if (write)
			soft_probe_write(v, la, size);
		soft_read_block(v, la, operand, size);
	}
	if (half && in->op == X86_OP_FXRSTOR) {
		soft_fp_save(v);
		soft_copy(operand + 288, v->s.fx + 288, 128);
	}
	run(v, in, operand);
	if (in->flags_may_write)
		v->s.rflags = (v->s.rflags & ~(uint64_t)X86_STATUS_FLAGS) |
			      soft_flags_of_slot(v->tr.flags_slot);
	if (mem && write) {
		if (in->attr & X86_A_FSTENV)
			clear_pointers(in, operand);
		if (half)
			soft_read_block(v, la + 288, operand + 288, 128);
		soft_write_block(v, la, operand, size);
	}
}
