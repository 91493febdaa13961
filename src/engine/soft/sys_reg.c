/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_reg.c - control and debug registers, descriptor table registers, TLB invalidation
 * (SDM vol. 3 §2.5, §4.10.4, §17.2; vol. 2).
 *
 * A write that is refused changes nothing. One that changes how addresses are translated or checked flushes
 * the TLB here, and soft_mode_changed() recomputes what follows from the new values.
 */
#include "engine/soft/sys.h"

#define CR0_VALID                                                                      \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | \
	 X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR3_NO_FLUSH BIT(63)
#define CR3_PCID 0xfffu

/* ---- CR0 ---- */

void sys_write_cr0(struct soft_vcpu *v, uint64_t value)
{
	struct x86_state *s = &v->s;
	uint64_t old = s->cr0, efer = s->msr.efer;
	bool pae_legacy;

	if (value >> 32)
		sys_gp0(v);
	value = (value & CR0_VALID) | X86_CR0_ET;
	if (((value & X86_CR0_PG) && !(value & X86_CR0_PE)) ||
	    ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
		sys_gp0(v);
	if (!(old & X86_CR0_PG) && (value & X86_CR0_PG) && (efer & X86_EFER_LME)) {
		if (!(s->cr4 & X86_CR4_PAE) || (s->seg[X86_CS].attr & X86_ATTR_L))
			sys_gp0(v);
		efer |= X86_EFER_LMA;
	} else if ((old & X86_CR0_PG) && !(value & X86_CR0_PG)) {
		if (v->mode == X86_MODE_64 || (s->cr4 & X86_CR4_PCIDE))
			sys_gp0(v);
		efer &= ~(uint64_t)X86_EFER_LMA;
	}
	pae_legacy = (value & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !(efer & X86_EFER_LMA);
	if (pae_legacy && ((old ^ value) & (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)) &&
	    !mmu_load_pdptes(v, s->cr3))
		sys_gp0(v);
	s->cr0 = value;
	s->msr.efer = efer;
	if ((old ^ value) & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		soft_tlb_flush_all(v);
	soft_mode_changed(v);
}

/* ---- CR3, CR4, CR8 ---- */

static void write_cr3(struct soft_vcpu *v, uint64_t value)
{
	struct x86_state *s = &v->s;
	bool pcids = s->cr4 & X86_CR4_PCIDE, keep = pcids && (value & CR3_NO_FLUSH);
	uint64_t old = s->cr3;

	if (sys_long(v)) {
		if (pcids)
			value &= ~CR3_NO_FLUSH;
		if (value >> v->soft->cpuid.phys_bits)
			sys_gp0(v);
	} else {
		value &= 0xffffffffu;
		if ((s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !mmu_load_pdptes(v, value))
			sys_gp0(v);
	}
	s->cr3 = value;
	if (pcids)
		soft_tlb_switch(v, old & CR3_PCID, value & CR3_PCID, keep);
	else
		soft_tlb_flush_nonglobal(v);
}

/* Bits that change translation or its checks. */
#define CR4_TRANSLATION \
	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP)

static void write_cr4(struct soft_vcpu *v, uint64_t value)
{
	struct x86_state *s = &v->s;
	uint64_t changed = s->cr4 ^ value;

	if (value & ~v->soft->cpuid.cr4_valid)
		sys_gp0(v);
	if (sys_long(v) && !(value & X86_CR4_PAE))
		sys_gp0(v);
	if ((changed & value & X86_CR4_PCIDE) && (!sys_long(v) || (s->cr3 & 0xfff)))
		sys_gp0(v);
	if ((s->cr0 & X86_CR0_PG) && !sys_long(v) && (value & X86_CR4_PAE) &&
	    (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)) &&
	    !mmu_load_pdptes(v, s->cr3))
		sys_gp0(v);
	s->cr4 = value;
	if (changed & CR4_TRANSLATION)
		soft_tlb_flush_all(v);
	soft_mode_changed(v);
}

void soft_op_sys_mov_to_cr(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value = v->s.gpr[in->rm];

	sys_need_cpl0(v);
	if (v->mode != X86_MODE_64)
		value &= 0xffffffffu;
	switch (in->reg) {
	case 0: sys_write_cr0(v, value); break;
	case 2: v->s.cr2 = value; break;
	case 3: write_cr3(v, value); break;
	case 4: write_cr4(v, value); break;
	case 8:
		if (value & ~UINT64_C(15))
			sys_gp0(v);
		v->s.cr8 = value;
		soft_cr8_write(v, (unsigned)value);
		break;
	default: soft_raise(v, X86_EXC_UD);
	}
}

void soft_op_sys_mov_from_cr(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value;

	sys_need_cpl0(v);
	switch (in->reg) {
	case 0: value = v->s.cr0; break;
	case 2: value = v->s.cr2; break;
	case 3: value = v->s.cr3; break;
	case 4: value = v->s.cr4; break;
	case 8: value = v->s.cr8 = soft_cr8_read(v) & 15; break;
	default: soft_raise(v, X86_EXC_UD);
	}
	sys_write_gpr(v, in->rm, value, v->mode == X86_MODE_64 ? 8 : 4);
}

void soft_op_sys_lmsw(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value;

	sys_need_cpl0(v);
	value = sys_read_rm(v, in, 2) & 0xf;
	value |= v->s.cr0 & X86_CR0_PE; /* LMSW cannot clear PE */
	sys_write_cr0(v, (v->s.cr0 & ~UINT64_C(0xf)) | value);
}

/* SGDT, SIDT, SLDT, STR and SMSW above CPL 0 with CR4.UMIP. */
static void check_umip(struct soft_vcpu *v)
{
	if ((v->s.cr4 & X86_CR4_UMIP) && v->cpl > 0)
		sys_gp0(v);
}

void soft_op_sys_smsw(struct soft_vcpu *v, const struct x86_insn *in)
{
	check_umip(v);
	if (in->has_mem)
		sys_write_mem(v, in, 0, v->s.cr0 & 0xffff, 2);
	else
		sys_write_gpr(v, in->rm, v->s.cr0, in->opnd_bytes);
}

void soft_op_sys_clts(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_need_cpl0(v);
	v->s.cr0 &= ~(uint64_t)X86_CR0_TS;
	soft_mode_changed(v);
}

/* ---- Debug registers ---- */

#define DR6_FIXED UINT64_C(0xffff0ff0)
#define DR6_WRITABLE UINT64_C(0xe00f)
#define DR6_BD BIT(13)
#define DR7_FIXED UINT64_C(0x400)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define DR7_GD BIT(13)

/* Which register DRn names, after the checks that reads and writes share. */
static unsigned debug_reg(struct soft_vcpu *v, unsigned n)
{
	sys_need_cpl0(v);
	if (n > 7 || ((n == 4 || n == 5) && (v->s.cr4 & X86_CR4_DE)))
		soft_raise(v, X86_EXC_UD);
	if (v->s.dr[7] & DR7_GD) {
		v->exc = (struct soft_exc){.vector = X86_EXC_DB, .dr6 = DR6_BD};
		__builtin_longjmp(v->unwind, 1);
	}
	return n == 4 || n == 5 ? n + 2 : n;
}

void soft_op_sys_mov_from_dr(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned n = debug_reg(v, in->reg);

	sys_write_gpr(v, in->rm, v->s.dr[n], v->mode == X86_MODE_64 ? 8 : 4);
}

void soft_op_sys_mov_to_dr(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned n = debug_reg(v, in->reg);
	uint64_t value = v->s.gpr[in->rm];

	if (v->mode != X86_MODE_64)
		value &= 0xffffffffu;
	if (n >= 6 && value >> 32)
		sys_gp0(v);
	if (n == 6)
		value = (value & DR6_WRITABLE) | DR6_FIXED;
	else if (n == 7)
		value = (value & DR7_WRITABLE) | DR7_FIXED;
	v->s.dr[n] = value;
	soft_mode_changed(v);
}

/* ---- Descriptor table registers ---- */

static void load_dtr(struct soft_vcpu *v, const struct x86_insn *in, struct x86_dtr *dtr)
{
	unsigned size = v->mode == X86_MODE_64 ? 8 : 4;
	uint16_t limit;
	uint64_t base;

	sys_need_cpl0(v);
	limit = (uint16_t)sys_read_mem(v, in, 0, 2);
	base = sys_read_mem(v, in, 2, size);
	if (size == 4 && in->opnd_bytes == 2)
		base &= 0xffffff;
	if (!mmu_canonical(base))
		sys_gp0(v);
	dtr->limit = limit;
	dtr->base = base;
}

static void store_dtr(struct soft_vcpu *v, const struct x86_insn *in, const struct x86_dtr *dtr)
{
	unsigned size = v->mode == X86_MODE_64 ? 8 : 4;
	uint64_t la;

	check_umip(v);
	la = soft_linear(v, in->seg, soft_ea(v, in), 2 + size, SOFT_WRITE);
	soft_probe_write(v, la, 2 + size);
	soft_write(v, la, dtr->limit, 2);
	sys_write_mem(v, in, 2, dtr->base, size);
}

void soft_op_sys_lgdt(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_dtr(v, in, &v->s.gdt);
}

void soft_op_sys_lidt(struct soft_vcpu *v, const struct x86_insn *in)
{
	load_dtr(v, in, &v->s.idt);
}

void soft_op_sys_sgdt(struct soft_vcpu *v, const struct x86_insn *in)
{
	store_dtr(v, in, &v->s.gdt);
}

void soft_op_sys_sidt(struct soft_vcpu *v, const struct x86_insn *in)
{
	store_dtr(v, in, &v->s.idt);
}

static void store_sel(struct soft_vcpu *v, const struct x86_insn *in, uint16_t sel)
{
	if (!sys_protected(v))
		soft_raise(v, X86_EXC_UD);
	check_umip(v);
	if (in->has_mem)
		sys_write_mem(v, in, 0, sel, 2);
	else
		sys_write_gpr(v, in->rm, sel, in->opnd_bytes);
}

void soft_op_sys_sldt(struct soft_vcpu *v, const struct x86_insn *in)
{
	store_sel(v, in, v->s.ldt.sel);
}

void soft_op_sys_str(struct soft_vcpu *v, const struct x86_insn *in)
{
	store_sel(v, in, v->s.tr.sel);
}

/* ---- TLB and caches ---- */

void soft_op_sys_invlpg(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t la = soft_ea(v, in);

	sys_need_cpl0(v);
	if (v->mode != X86_MODE_64)
		la = (la + v->s.seg[in->seg].base) & 0xffffffffu;
	else if (in->seg >= X86_FS)
		la += v->s.seg[in->seg].base;
	if (mmu_canonical(la)) /* otherwise it does nothing */
		soft_tlb_flush_page(v, la);
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_NONGLOBAL };

void soft_op_sys_invpcid(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t type = v->s.gpr[in->reg], pcid, la;

	sys_need_cpl0(v);
	if (v->mode != X86_MODE_64)
		type &= 0xffffffffu;
	pcid = sys_read_mem(v, in, 0, 8);
	la = sys_read_mem(v, in, 8, 8);
	if (type > INVPCID_ALL_NONGLOBAL || pcid >> 12)
		sys_gp0(v);
	if (type <= INVPCID_CONTEXT && pcid && !(v->s.cr4 & X86_CR4_PCIDE))
		sys_gp0(v);
	switch (type) {
	case INVPCID_ADDRESS:
		if (!mmu_canonical(la))
			sys_gp0(v);
		if (!(v->s.cr4 & X86_CR4_PCIDE) || pcid == (v->s.cr3 & CR3_PCID))
			soft_tlb_flush_page(v, la);
		else
			soft_tlb_flush_pcid(v, (unsigned)pcid);
		break;
	case INVPCID_CONTEXT: soft_tlb_flush_pcid(v, (unsigned)pcid); break;
	case INVPCID_ALL: soft_tlb_flush_all(v); break;
	default: soft_tlb_flush_nonglobal(v); break;
	}
}

void soft_op_sys_invd(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_need_cpl0(v);
}

void soft_op_sys_wbinvd(struct soft_vcpu *v, const struct x86_insn *in)
{
	(void)in;
	sys_need_cpl0(v);
}

/* ---- State from outside ---- */

void soft_state_loaded(struct soft_vcpu *v)
{
	struct x86_state *s = &v->s;

	s->rflags |= X86_F1;
	s->cr0 |= X86_CR0_ET;
	if ((s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !sys_long(v) &&
	    !mmu_load_pdptes(v, s->cr3)) {
		for (unsigned i = 0; i < ARRAY_SIZE(v->pdpte); i++)
			v->pdpte[i] = 0;
	}
	v->trap_pending = false;
	v->trap_dr6 = 0;
	v->shutdown = false;
	soft_tlb_flush_all(v);
	soft_mode_changed(v);
	soft_flow_changed(v);
	soft_pvclock_update(v);
	v->pv_asleep = v->s.msr.kvm_steal_time; /* as it was when the state was taken */
}
