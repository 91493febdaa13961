/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tr_vex.c - host code for VEX-encoded instructions: AVX and its kin, and BMI with up to three general registers.
 */
#include "engine/soft/tr_emit.h"

/* Scratch registers of one instruction, and which guest registers they stand for. */
struct scratch {
	uint8_t guest[2]; /* of S0, S1; 0xff free, 0xfe taken */
	bool none_left;
};

/* The host register for guest register g: its own, or a scratch; sets none_left when there is none. */
static unsigned scratch_for(struct scratch *s, unsigned g)
{
	unsigned hr = soft_host_reg(g);

	if (hr != HR_HOMED)
		return hr;
	for (unsigned i = 2; i-- > 0;)
		if (s->guest[i] == g || s->guest[i] == 0xff) {
			s->guest[i] = (uint8_t)g;
			return i ? S1 : S0;
		}
	s->none_left = true;
	return S1;
}

/*
 * VEX-encoded: three registers, of which more may be homed than there are scratches. The assignment is the same
 * each time it is made: S1 first, then S0 unless that is the memory operand's address.
 */
static struct scratch vex_scratches(const struct x86_insn *in, unsigned *reg, unsigned *vvvv,
				    unsigned *rm)
{
	struct scratch s = {.guest = {in->has_mem ? 0xfe : 0xff, 0xff}};

	*reg = in->reg_kind == X86_RK_GPR ? scratch_for(&s, in->reg) : in->reg;
	*vvvv = in->vvvv_kind == X86_RK_GPR ? scratch_for(&s, in->vvvv) : in->vvvv;
	*rm = in->has_mem ? S0 : in->rm_kind == X86_RK_GPR ? scratch_for(&s, in->rm) : in->rm;
	return s;
}

static void store_homed(struct tr *t, unsigned guest, unsigned kind, unsigned acc, unsigned hr)
{
	if (kind == X86_RK_GPR && (acc & X86_ACC_W) && soft_host_reg(guest) == HR_HOMED)
		emit_store_gs(&t->e, true, hr, GS_GPR(guest));
}

static void vex_body(struct tr *t, const struct x86_insn *in, int32_t disp)
{
	struct emit *e = &t->e;
	unsigned reg, vvvv, rm;
	struct scratch s = vex_scratches(in, &reg, &vvvv, &rm);

	if (in->flags_read || (in->flags_may_write && (t->live & ~(unsigned)in->flags_write)))
		tr_flags_to_native(t);
	for (unsigned i = 0; i < 2; i++)
		if (s.guest[i] < 16)
			emit_load_gs(e, true, i ? S1 : S0, GS_GPR(s.guest[i]));
	bool encoded = soft_emit_insn(e, in, reg, rm, vvvv, disp);

	ASSERT(encoded || e->full);
	store_homed(t, in->reg, in->reg_kind, in->reg_acc, reg);
	store_homed(t, in->vvvv, in->vvvv_kind, in->vvvv_acc, vvvv);
	if (!in->has_mem)
		store_homed(t, in->rm, in->rm_kind, in->rm_acc, rm);
	if (in->flags_may_write)
		t->loc = LOC_NATIVE;
	t->keep_s0 = s.guest[0] >= 16; /* S0 is as it was */
}

bool tr_vex_by_c(const struct x86_insn *in)
{
	unsigned reg, vvvv, rm;

	return vex_scratches(in, &reg, &vvvv, &rm).none_left;
}

void tr_vex(struct tr *t, const struct x86_insn *in)
{
	if (tr_vex_by_c(in))
		tr_by_c(t, in);
	else if (in->has_mem)
		(void)tr_operand(t, in, vex_body);
	else
		vex_body(t, in, 0);
}
