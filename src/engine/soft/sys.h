/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - inside the system instructions: descriptors, stacks of far transfers, delivery of software
 * interrupts. Only for exc.c, iret.c, segment.c and sys_*.c.
 *
 * All of these may raise. The last argument `error` or `ext` of a function is what goes into the error code
 * beside the selector: 1 (EXT) while an exception or external interrupt is being delivered, else 0.
 */
#ifndef LODGE_ENGINE_SOFT_SYS_H
#define LODGE_ENGINE_SOFT_SYS_H

#include "engine/soft/mmu.h"
#include "engine/soft/op_table.h"

#define SYS_SEL_INDEX 0xfffcu /* selector without RPL: what error codes show */

/* System descriptor types (SDM vol. 3 §3.5). */
#define SYS_TYPE_TSS16 1u
#define SYS_TYPE_LDT 2u
#define SYS_TYPE_CALL16 4u
#define SYS_TYPE_TASK 5u
#define SYS_TYPE_INT16 6u
#define SYS_TYPE_TRAP16 7u
#define SYS_TYPE_TSS32 9u /* or 64 */
#define SYS_TYPE_CALL32 12u
#define SYS_TYPE_INT32 14u
#define SYS_TYPE_TRAP32 15u

/* A descriptor as read from the GDT or LDT. */
struct sys_desc {
	uint64_t addr; /* linear */
	uint64_t raw;
	uint64_t high; /* bytes 8-15 of a 16-byte descriptor, else 0 */
	uint16_t attr; /* X86_ATTR_* */
	uint8_t dpl;
};

static inline bool sys_long(const struct soft_vcpu *v) /* IA-32e mode: 64-bit or compatibility */
{
	return v->s.msr.efer & X86_EFER_LMA;
}

static inline bool sys_protected(const struct soft_vcpu *v)
{
	return v->s.cr0 & X86_CR0_PE;
}

static inline unsigned sys_iopl(const struct soft_vcpu *v)
{
	return (unsigned)(v->s.rflags & X86_IOPL) >> 12;
}

static inline uint64_t sys_cut(uint64_t value, unsigned size)
{
	return size >= 8 ? value : value & (BIT(8 * size) - 1);
}

/* ---- segment.c ---- */

/* Reads the descriptor that sel names; false: beyond the table. Sets `high` only when wide (16 bytes). */
bool sys_desc_read(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, bool wide);
void sys_desc_mark_accessed(struct soft_vcpu *v, struct sys_desc *d);
/* The segment register that a descriptor makes. */
void sys_seg_set(struct x86_seg *seg, uint16_t sel, const struct sys_desc *d);
static inline bool sys_is_code(const struct sys_desc *d)
{
	return (d->attr & (X86_ATTR_S | X86_ATTR_CODE)) == (X86_ATTR_S | X86_ATTR_CODE);
}
static inline bool sys_is_conforming(const struct sys_desc *d)
{
	return d->attr & X86_ATTR_CONFORMING;
}
static inline bool sys_is_writable_data(const struct sys_desc *d)
{
	return (d->attr & (X86_ATTR_S | X86_ATTR_CODE | X86_ATTR_RW)) == (X86_ATTR_S | X86_ATTR_RW);
}
/* Loads a data or stack segment register with all checks, in any mode. */
void sys_load_seg(struct soft_vcpu *v, unsigned sreg, uint16_t sel);
/* Real-address mode: base is sel << 4, the rest stays. */
void sys_load_seg_real(struct soft_vcpu *v, unsigned sreg, uint16_t sel);
/* Sets CS, with cpl as the selector's RPL; marks the descriptor accessed. */
void sys_set_cs(struct soft_vcpu *v, uint16_t sel, struct sys_desc *d, unsigned cpl);
/* 64-bit mode after a privilege change: a null SS that only holds the privilege level. */
void sys_set_null_ss(struct soft_vcpu *v, unsigned cpl);
/* Faults #GP(0) if rip is no address that code of descriptor d can run at; `error` is the code. */
void sys_check_target(struct soft_vcpu *v, const struct sys_desc *d, uint64_t rip, uint32_t error);
/* After a return to less privilege: data segments that it may not have become null (SDM vol. 2, RET). */
void sys_drop_segs(struct soft_vcpu *v, unsigned new_cpl);
/* Checks SS for a stack switch by gate: faults #TS or #SS. */
void sys_check_new_ss(struct soft_vcpu *v, uint16_t ss, unsigned cpl, struct sys_desc *d,
		      uint32_t ext);
/* Stack pointers of the TSS: legacy SS:ESP of a level; 64-bit RSPn at byte offset `off`. */
void sys_tss_stack(struct soft_vcpu *v, unsigned cpl, uint16_t *ss, uint64_t *sp, uint32_t ext);
uint64_t sys_tss_rsp(struct soft_vcpu *v, unsigned off, uint32_t ext);

/* A stack that is pushed to or popped from without changing registers: commit by sys_stack_commit(). */
struct sys_stack {
	uint64_t sp;
	uint64_t mask; /* of the bits of sp that move */
	struct x86_seg seg;
	bool flat;	/* 64-bit mode: no segment */
	unsigned kind;	/* enum soft_mmu */
	uint32_t error; /* of a #SS it raises */
};

/* The current stack. */
void sys_stack_current(struct soft_vcpu *v, struct sys_stack *st, uint32_t error);
void sys_stack_push(struct soft_vcpu *v, struct sys_stack *st, uint64_t value, unsigned size);
/* Pushes a slot of which only the low `size` bytes are written. */
void sys_stack_push_low(struct soft_vcpu *v, struct sys_stack *st, uint64_t value, unsigned size,
			unsigned slot);
uint64_t sys_stack_pop(struct soft_vcpu *v, struct sys_stack *st, unsigned size);
static inline void sys_stack_commit(struct soft_vcpu *v, const struct sys_stack *st)
{
	v->s.gpr[X86_RSP] = st->sp;
}

/* ---- exc.c ---- */

enum sys_int_kind {
	SYS_INT_SOFT,  /* INT n, INT3, INTO: the gate's DPL counts */
	SYS_INT_ICEBP, /* INT1 */
};
/* Delivers a software interrupt; next_rip becomes the handler's. */
void sys_software_int(struct soft_vcpu *v, unsigned vector, enum sys_int_kind kind);

/* ---- sys_reg.c ---- */

/* MOV to CR0 and what LMSW does; raises #GP(0) for an invalid value. */
void sys_write_cr0(struct soft_vcpu *v, uint64_t value);

/* ---- operands, sys_misc.c ---- */

/* ModRM.rm as register or memory of `size` bytes. */
uint64_t sys_read_rm(struct soft_vcpu *v, const struct x86_insn *in, unsigned size);
void sys_write_rm(struct soft_vcpu *v, const struct x86_insn *in, uint64_t value, unsigned size);
/* Writes a general register as an instruction does: 4 bytes clear the upper half, 2 keep the rest. */
void sys_write_gpr(struct soft_vcpu *v, unsigned reg, uint64_t value, unsigned size);
/* Reads the memory operand at byte `off` into it. */
uint64_t sys_read_mem(struct soft_vcpu *v, const struct x86_insn *in, unsigned off, unsigned size);
void sys_write_mem(struct soft_vcpu *v, const struct x86_insn *in, unsigned off, uint64_t value,
		   unsigned size);
/* #GP(0) unless CPL is 0. */
void sys_need_cpl0(struct soft_vcpu *v);
_Noreturn void sys_gp0(struct soft_vcpu *v);

#endif
