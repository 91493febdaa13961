/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_io.c - port input and output: IN, OUT, INS, OUTS (SDM vol. 1 §19, vol. 2).
 *
 * In protected mode a privilege above IOPL needs the port's bits in the I/O permission bitmap of the TSS.
 * REP runs a bounded number of iterations and then starts the instruction anew, so that interrupts get in.
 */
#include "engine/soft/sys.h"

#define IO_REP_MAX 1024u
#define TSS_IOMAP 0x66u /* offset of the bitmap's offset, in 32- and 64-bit TSSs */

/* I/O breakpoints (SDM vol. 3 §17.2.4). */
static void check_breakpoints(struct soft_vcpu *v, uint16_t port, unsigned size)
{
	uint64_t dr7 = v->s.dr[7];

	if (!(v->s.cr4 & X86_CR4_DE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		unsigned code = dr7 >> (18 + 4 * i) & 3, len = code == 2 ? 8 : code + 1;
		uint64_t start = v->s.dr[i] & ~(uint64_t)(len - 1);

		if ((dr7 >> (2 * i) & 3) && (dr7 >> (16 + 4 * i) & 3) == 2 &&
		    (port - start < len || start - port < size)) {
			v->trap_pending = true;
			v->trap_dr6 |= BIT(i);
		}
	}
}

static void check_port(struct soft_vcpu *v, uint16_t port, unsigned size)
{
	uint64_t map, bits;

	if (sys_protected(v) && v->cpl > sys_iopl(v)) {
		if (!(v->s.tr.attr & X86_ATTR_P) || !(v->s.tr.attr & 8) ||
		    v->s.tr.limit < TSS_IOMAP + 1)
			sys_gp0(v);
		map = soft_read_sys(v, v->s.tr.base + TSS_IOMAP, 2) + port / 8;
		if (map + 1 > v->s.tr.limit)
			sys_gp0(v);
		bits = soft_read_sys(v, v->s.tr.base + map, 2) >> (port & 7);
		if (bits & (BIT(size) - 1))
			sys_gp0(v);
	}
	if (unlikely(v->data_breakpoints))
		check_breakpoints(v, port, size);
}

static unsigned io_size(const struct x86_insn *in)
{
	return in->opnd_bytes > 4 ? 4 : in->opnd_bytes;
}

static uint16_t port_of(const struct soft_vcpu *v, const struct x86_insn *in)
{
	return in->opcode & 8 ? (uint16_t)v->s.gpr[X86_RDX] : (uint8_t)in->imm;
}

void soft_op_sys_in(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = io_size(in);
	uint16_t port = port_of(v, in);
	uint32_t value;

	check_port(v, port, size);
	value = soft_port_in(v, port, size);
	if (size == 1)
		v->s.gpr[X86_RAX] = (v->s.gpr[X86_RAX] & ~UINT64_C(0xff)) | (value & 0xff);
	else
		sys_write_gpr(v, X86_RAX, value, size);
}

void soft_op_sys_out(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = io_size(in);
	uint16_t port = port_of(v, in);

	check_port(v, port, size);
	soft_port_out(v, port, (uint32_t)v->s.gpr[X86_RAX], size);
}

/* ---- INS and OUTS ---- */

static uint64_t index_value(const struct soft_vcpu *v, const struct x86_insn *in, unsigned reg)
{
	return sys_cut(v->s.gpr[reg], in->addr_bytes);
}

static void advance(struct soft_vcpu *v, const struct x86_insn *in, unsigned reg, unsigned size)
{
	uint64_t step = v->s.rflags & X86_DF ? -(uint64_t)size : size;

	sys_write_gpr(v, reg, v->s.gpr[reg] + step, in->addr_bytes);
}

static void ins_once(struct soft_vcpu *v, const struct x86_insn *in, unsigned size)
{
	uint16_t port = (uint16_t)v->s.gpr[X86_RDX];
	uint64_t la = soft_linear(v, X86_ES, index_value(v, in, X86_RDI), size, SOFT_WRITE);

	check_port(v, port, size);
	soft_probe_write(v, la, size); /* before the port is read, which may have an effect */
	soft_write(v, la, soft_port_in(v, port, size), size);
	advance(v, in, X86_RDI, size);
}

static void outs_once(struct soft_vcpu *v, const struct x86_insn *in, unsigned size)
{
	uint16_t port = (uint16_t)v->s.gpr[X86_RDX];
	uint64_t la = soft_linear(v, in->seg, index_value(v, in, X86_RSI), size, SOFT_READ);

	check_port(v, port, size);
	soft_port_out(v, port, (uint32_t)soft_read(v, la, size), size);
	advance(v, in, X86_RSI, size);
}

static void string_io(struct soft_vcpu *v, const struct x86_insn *in,
		      void (*once)(struct soft_vcpu *v, const struct x86_insn *in, unsigned size))
{
	unsigned size = io_size(in);
	uint64_t count;

	if (!in->rep) {
		once(v, in, size);
		return;
	}
	for (unsigned i = 0;; i++) {
		count = sys_cut(v->s.gpr[X86_RCX], in->addr_bytes);
		if (!count)
			return;
		/* Not before the first: an instruction that is begun makes progress. */
		if (i && (i == IO_REP_MAX || v->trap_pending || (v->s.rflags & X86_TF) ||
			  (!v->lockstep && __atomic_load_n(&v->req, __ATOMIC_RELAXED))))
			break;
		once(v, in, size);
		sys_write_gpr(v, X86_RCX, count - 1, in->addr_bytes);
	}
	v->next_rip = v->s.rip;
}

void soft_op_sys_ins(struct soft_vcpu *v, const struct x86_insn *in)
{
	string_io(v, in, ins_once);
}

void soft_op_sys_outs(struct soft_vcpu *v, const struct x86_insn *in)
{
	string_io(v, in, outs_once);
}
