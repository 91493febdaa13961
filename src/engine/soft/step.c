/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - the reference way: fetch, decode, check, call the C function of one instruction.
 *
 * soft_raise() unwinds to the __builtin_setjmp() in soft_step(): five words, no signal mask, no vector
 * registers. What is between must hold nothing that needs undoing.
 */
#include "engine/soft/mmu.h"
#include "engine/soft/op_table.h"
#include "engine/soft/soft.h"

_Noreturn void soft_raise(struct soft_vcpu *v, unsigned vector)
{
	v->exc = (struct soft_exc){.vector = (uint8_t)vector};
	__builtin_longjmp(v->unwind, 1);
}

_Noreturn void soft_raise_err(struct soft_vcpu *v, unsigned vector, uint32_t error)
{
	v->exc = (struct soft_exc){.vector = (uint8_t)vector, .has_error = true, .error = error};
	__builtin_longjmp(v->unwind, 1);
}

_Noreturn void soft_raise_pf(struct soft_vcpu *v, uint64_t addr, uint32_t error)
{
	v->exc = (struct soft_exc){.vector = X86_EXC_PF,
				   .has_error = true,
				   .error = error,
				   .addr = addr};
	__builtin_longjmp(v->unwind, 1);
}

/* Instruction breakpoints (SDM vol. 3 §17.2.4): enabled, R/W 00, address of the first byte. */
static void check_code_breakpoints(struct soft_vcpu *v, uint64_t la)
{
	uint64_t hit = 0;

	if (v->s.rflags & X86_RF)
		return;
	for (unsigned i = 0; i < 4; i++) {
		bool on = (v->s.dr[7] >> (2 * i)) & 3;
		unsigned type = (v->s.dr[7] >> (16 + 4 * i)) & 3;

		if (on && type == 0 && v->s.dr[i] == la)
			hit |= BIT(i);
	}
	if (!hit)
		return;
	v->exc = (struct soft_exc){.vector = X86_EXC_DB, .dr6 = hit};
	__builtin_longjmp(v->unwind, 1);
}

/* Linear address of s.rip; raises what a bad one raises. */
static uint64_t fetch_address(struct soft_vcpu *v)
{
	if (v->mode == X86_MODE_64) {
		if (unlikely(!mmu_canonical(v->s.rip)))
			soft_raise_err(v, X86_EXC_GP, 0);
		return v->s.rip;
	}
	if (unlikely(v->s.rip > v->s.seg[X86_CS].limit))
		soft_raise_err(v, X86_EXC_GP, 0);
	return (uint32_t)(v->s.seg[X86_CS].base + v->s.rip);
}

/* The instruction at la into v->insn. */
static void fetch_and_decode(struct soft_vcpu *v, uint64_t la)
{
	const struct soft_xtlb_entry *x = soft_fetch_page(v, la);
	unsigned pos = la & 0xfff, got = 4096 - pos;
	const uint8_t *bytes = x->host ? x->host + pos : NULL;
	uint8_t buf[X86_INSN_MAX + 1];
	enum x86_decode_result r = X86_DECODE_TRUNCATED;

	if (bytes && got >= X86_INSN_MAX) {
		soft_copy(buf, bytes, X86_INSN_MAX); /* once: another vCPU may be writing */
		r = soft_decode(v, &v->insn, buf, X86_INSN_MAX);
	} else {
		/* Near the end of the page: the second page is touched only if the instruction needs it. */
		got = MIN(got, (unsigned)X86_INSN_MAX);
		for (;;) {
			unsigned n = soft_fetch(v, la, buf, got);

			r = soft_decode(v, &v->insn, buf, n);
			if (r != X86_DECODE_TRUNCATED || got >= X86_INSN_MAX)
				break;
			got++;
		}
	}
	if (r == X86_DECODE_UD)
		soft_raise(v, X86_EXC_UD);
	if (r != X86_DECODE_OK)
		soft_raise_err(v, X86_EXC_GP, 0);
}

static uint64_t wrap_rip(const struct soft_vcpu *v, uint64_t rip)
{
	return v->mode == X86_MODE_64 ? rip :
	       v->mode == X86_MODE_32 ? (uint32_t)rip :
					(uint16_t)rip;
}

/*
 * Does a single-step trap follow the instruction? As a rule if TF was set before it. What clears TF as it enters a
 * handler ends single-stepping there (SDM vol. 3 §17.3.1.4); SYSCALL and SYSRET trap by the TF that they leave: a
 * step over SYSCALL ends behind it in the caller.
 */
static bool single_steps(const struct soft_vcpu *v, const struct x86_insn *in, bool trap_flag)
{
	switch (in->op) {
	case X86_OP_INT:
	case X86_OP_INT3:
	case X86_OP_INTO:
	case X86_OP_INT1:
	case X86_OP_SYSENTER: return trap_flag && (v->s.rflags & X86_TF);
	case X86_OP_SYSCALL:
	case X86_OP_SYSRET: return v->s.rflags & X86_TF;
	default: return trap_flag;
	}
}

static bool after(struct soft_vcpu *v, const struct x86_insn *in, bool trap_flag)
{
	if (single_steps(v, in, trap_flag)) {
		v->trap_pending = true;
		v->trap_dr6 |= UINT64_C(0x4000); /* BS */
	}
	if (unlikely(v->trap_pending) && !v->s.ev.movss_shadow) {
		soft_debug_trap(v);
		return false;
	}
	return !v->s.ev.halted && !v->shutdown;
}

/* Privilege, shadows, the operation. Next: after(). */
static void execute(struct soft_vcpu *v, const struct x86_insn *in)
{
	if ((in->attr & X86_A_PRIV) && v->cpl != 0)
		soft_raise_err(v, X86_EXC_GP, 0);
	v->s.rflags &= ~(uint64_t)X86_RF;
	v->s.ev.sti_shadow = false;
	v->s.ev.movss_shadow = false;
	v->next_rip = wrap_rip(v, v->s.rip + in->len);
	soft_op_table[in->op](v, in);
	v->s.rip = v->next_rip;
}

bool soft_step(struct soft_vcpu *v)
{
	if (__builtin_setjmp(v->unwind)) {
		soft_exception(v);
		return false;
	}
	bool trap_flag = v->s.rflags & X86_TF;
	uint64_t la = fetch_address(v);

	v->step_rip = v->s.rip;
	v->n_steps++;
	if (unlikely(v->code_breakpoints))
		check_code_breakpoints(v, la);
	fetch_and_decode(v, la);
	execute(v, &v->insn);
	return after(v, &v->insn, trap_flag);
}

bool soft_step_decoded(struct soft_vcpu *v, const struct x86_insn *in)
{
	if (__builtin_setjmp(v->unwind)) {
		soft_exception(v);
		return false;
	}
	v->n_steps++;
	execute(v, in);
	return after(v, in, false);
}
