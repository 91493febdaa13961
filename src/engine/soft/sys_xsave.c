/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_xsave.c - XSAVE and its kin, and XCR0 (SDM vol. 1 chapter 13).
 *
 * Theory of operation. All is done on the saved image of the guest's registers, which has the standard format
 * itself. Components are x87, SSE and AVX; so AVX is at the same place in the standard and the compacted format.
 * A component counts as in use (XINUSE) exactly when its registers differ from the initial configuration. Only the
 * parts of the area that are transferred are touched and can fault. FPU pointers are zero (native.c).
 */
#include "engine/soft/sys.h"

#define X87 X86_XCR0_X87
#define SSE X86_XCR0_SSE
#define AVX X86_XCR0_AVX
#define HEADER X86_FX_XSTATE_BV
#define COMPACTED BIT(63)
#define MXCSR 24u
#define MXCSR_INIT 0x1f80u

static uint32_t get32(const uint8_t *p)
{
	uint32_t x;

	soft_copy(&x, p, 4);
	return x;
}

static bool zero(const uint8_t *p, unsigned n)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < n; i++) {
		any |= p[i];
		__asm__ volatile("" : : : "memory");
	}
	return !any;
}

static bool x87_in_use(const uint8_t *fx)
{
	if (fx[0] != 0x7f || fx[1] != 3 || !zero(fx + 2, 3))
		return true;
	for (unsigned i = 0; i < 8; i++)
		if (!zero(fx + 32 + 16 * i, 10))
			return true;
	return false;
}

uint64_t soft_xinuse(struct soft_vcpu *v)
{
	const uint8_t *fx = v->s.fx;

	soft_fp_save(v);
	return (x87_in_use(fx) ? X87 : 0) | (zero(fx + X86_FX_XMM, 256) ? 0 : SSE) |
	       (zero(fx + X86_FX_YMM_HI, 256) ? 0 : AVX);
}

static void need_xsave(struct soft_vcpu *v, bool offered)
{
	if (!offered || !(v->s.cr4 & X86_CR4_OSXSAVE))
		soft_raise(v, X86_EXC_UD);
}

/* Checks that all of them begin with. Returns the requested-feature bit map. */
static uint64_t begin(struct soft_vcpu *v, const struct x86_insn *in, bool offered)
{
	bool based = v->mode != X86_MODE_64 || in->seg == X86_FS || in->seg == X86_GS;

	need_xsave(v, offered);
	if (v->s.cr0 & X86_CR0_TS)
		soft_raise(v, X86_EXC_NM);
	if ((soft_ea(v, in) + (based ? v->s.seg[in->seg].base : 0)) & 63)
		soft_raise_err(v, X86_EXC_GP, 0);
	soft_fp_save(v);
	return v->s.xcr0 & (v->s.gpr[X86_RDX] << 32 | (v->s.gpr[X86_RAX] & 0xffffffffu));
}

/* A piece of the area, and the components that it is transferred for. */
struct piece {
	uint16_t at, size;
	uint8_t components;
};

#define PIECES 5u

/* Outside of 64-bit mode only the first eight vector registers. */
static void pieces(const struct soft_vcpu *v, struct piece p[PIECES])
{
	uint16_t vectors = v->mode == X86_MODE_64 ? 256 : 128;

	p[0] = (struct piece){0, MXCSR, X87};
	p[1] = (struct piece){MXCSR, 8, 0}; /* by rules of its own */
	p[2] = (struct piece){32, 128, X87};
	p[3] = (struct piece){X86_FX_XMM, vectors, SSE};
	p[4] = (struct piece){X86_FX_YMM_HI, vectors, AVX};
}

static uint64_t area(struct soft_vcpu *v, const struct x86_insn *in, unsigned at, unsigned size,
		     unsigned access)
{
	return soft_linear(v, in->seg, soft_ea(v, in) + at, size, access);
}

static void probe(struct soft_vcpu *v, const struct x86_insn *in, unsigned at, unsigned size)
{
	soft_probe_write(v, area(v, in, at, size, SOFT_WRITE), size);
}

static void store(struct soft_vcpu *v, const struct x86_insn *in, unsigned at, const void *from,
		  unsigned size)
{
	soft_write_block(v, area(v, in, at, size, SOFT_WRITE), from, size);
}

/* Stores the components `which`, MXCSR if `mxcsr`; the header is `header_size` bytes. */
static void store_area(struct soft_vcpu *v, const struct x86_insn *in, uint64_t which, bool mxcsr,
		       const uint64_t *header, unsigned header_size)
{
	struct piece p[PIECES];
	bool stored[PIECES];
	const uint32_t mask = soft_mxcsr_mask();

	pieces(v, p);
	for (unsigned i = 0; i < PIECES; i++) {
		stored[i] = i == 1 ? mxcsr : (which & p[i].components) != 0;
		if (stored[i])
			probe(v, in, p[i].at, p[i].size);
	}
	probe(v, in, HEADER, header_size);
	soft_zero(v->s.fx + 5, MXCSR - 5); /* reserved, FOP, FIP, FDP */
	soft_copy(v->s.fx + MXCSR + 4, &mask, 4);
	for (unsigned i = 0; i < PIECES; i++)
		if (stored[i])
			store(v, in, p[i].at, v->s.fx + p[i].at, p[i].size);
	store(v, in, HEADER, header, header_size);
}

static void save_standard(struct soft_vcpu *v, const struct x86_insn *in, bool optimised)
{
	uint64_t rfbm = begin(v, in,
			      optimised ? v->soft->cpuid.xsaveopt : v->soft->cpuid.xcr0_valid != 0);
	uint64_t in_use = soft_xinuse(v), old;

	old = soft_read(v, area(v, in, HEADER, 8, SOFT_READ), 8);
	old = (old & ~rfbm) | (in_use & rfbm);
	store_area(v, in, optimised ? rfbm & in_use : rfbm, rfbm & (SSE | AVX), &old, 8);
}

void soft_op_sys_xsave(struct soft_vcpu *v, const struct x86_insn *in)
{
	save_standard(v, in, false);
}

void soft_op_sys_xsaveopt(struct soft_vcpu *v, const struct x86_insn *in)
{
	save_standard(v, in, true);
}

void soft_op_sys_xsavec(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t rfbm = begin(v, in, v->soft->cpuid.xsavec), in_use = soft_xinuse(v) & rfbm;

	if ((rfbm & SSE) && get32(v->s.fx + MXCSR) != MXCSR_INIT)
		in_use |= SSE;
	const uint64_t header[2] = {in_use, rfbm | COMPACTED};

	store_area(v, in, in_use, in_use & SSE, header, sizeof(header));
}

/* The header's checks (SDM vol. 1 §13.8.1, §13.8.2). */
static void check_header(struct soft_vcpu *v, const uint64_t h[8])
{
	uint64_t bad = h[0] & ~v->s.xcr0;

	if (h[1] & COMPACTED) {
		uint64_t bv = h[1] & ~COMPACTED;

		bad |= !v->soft->cpuid.xsavec || (bv & ~v->s.xcr0) || (h[0] & ~bv) ||
		       !zero((const uint8_t *)(h + 2), 48);
	} else {
		bad |= h[1] | h[2];
	}
	if (bad)
		soft_raise_err(v, X86_EXC_GP, 0);
}

static void initialise(uint8_t *fx, const struct piece *p)
{
	soft_zero(fx + p->at, p->size);
	if (p->at == 0) {
		fx[0] = 0x7f;
		fx[1] = 3;
	}
}

void soft_op_sys_xrstor(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t rfbm = begin(v, in, v->soft->cpuid.xcr0_valid != 0), h[8], bv;
	uint8_t buf[X86_FX_SIZE];
	struct piece p[PIECES];
	bool compacted, mxcsr, load[PIECES];

	soft_read_block(v, area(v, in, HEADER, 64, SOFT_READ), h, 64);
	check_header(v, h);
	bv = h[0];
	compacted = h[1] & COMPACTED;
	/* In the compacted format MXCSR belongs to SSE; in the standard one it is loaded with SSE or AVX, always. */
	mxcsr = compacted ? rfbm & SSE : rfbm & (SSE | AVX);
	pieces(v, p);
	for (unsigned i = 0; i < PIECES; i++) {
		load[i] = i == 1 ? mxcsr && (!compacted || (bv & SSE)) :
				   (rfbm & bv & p[i].components) != 0;
		if (load[i])
			soft_read_block(v, area(v, in, p[i].at, p[i].size, SOFT_READ),
					buf + p[i].at, p[i].size);
	}
	if (load[1] && (get32(buf + MXCSR) & ~soft_mxcsr_mask()))
		soft_raise_err(v, X86_EXC_GP, 0);
	for (unsigned i = 0; i < PIECES; i++) {
		if (i == 1)
			continue;
		if (load[i])
			soft_copy(v->s.fx + p[i].at, buf + p[i].at, p[i].size);
		else if (rfbm & p[i].components)
			initialise(v->s.fx, &p[i]);
	}
	if (mxcsr) {
		const uint32_t init = MXCSR_INIT;

		soft_copy(v->s.fx + MXCSR, load[1] ? (const void *)(buf + MXCSR) : &init, 4);
	}
	/* Half of the vector registers keep their values outside of 64-bit mode. */
	if (v->mode == X86_MODE_64)
		v->s.fx[HEADER] = (uint8_t)((v->s.fx[HEADER] & ~rfbm) | (bv & rfbm));
	else
		v->s.fx[HEADER] |= (uint8_t)rfbm;
}

void soft_op_sys_xgetbv(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint32_t n = (uint32_t)v->s.gpr[X86_RCX];
	uint64_t value = v->s.xcr0;

	(void)in;
	need_xsave(v, v->soft->cpuid.xcr0_valid != 0);
	if (n > 1 || (n == 1 && !v->soft->cpuid.xgetbv1))
		soft_raise_err(v, X86_EXC_GP, 0);
	if (n == 1)
		value &= soft_xinuse(v);
	v->s.gpr[X86_RAX] = value & 0xffffffffu;
	v->s.gpr[X86_RDX] = value >> 32;
}

void soft_op_sys_xsetbv(struct soft_vcpu *v, const struct x86_insn *in)
{
	uint64_t value = v->s.gpr[X86_RDX] << 32 | (v->s.gpr[X86_RAX] & 0xffffffffu);

	(void)in;
	need_xsave(v, v->soft->cpuid.xcr0_valid != 0);
	sys_need_cpl0(v);
	if ((uint32_t)v->s.gpr[X86_RCX] != 0 || (value & ~v->soft->cpuid.xcr0_valid) ||
	    !(value & X87) || ((value & AVX) && !(value & SSE)))
		soft_raise_err(v, X86_EXC_GP, 0);
	v->s.xcr0 = value;
	soft_flow_changed(v);
}
