/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xsave.c - a vCPU's XSAVE area as the kernel gives and takes it, to and from x86_state.
 *
 * Theory of operation. The kernel's area (KVM_GET_XSAVE, 4096 bytes) is the processor's standard format: x87 and SSE, the header, AVX
 * behind it, and the components of AVX-512 where CPUID leaf 0xd says, which is one place on Intel's processors and another
 * on AMD's. x86_state has x87, SSE and AVX in the same format and AVX-512 apart from it (struct x86_avx512), so
 * a saved guest does not depend on the place.
 *
 * XSTATE_BV is exact on the way out: a component that equals its initial configuration is not marked. On the way in
 * all components are marked, those that were not being made initial, because the kernel takes MXCSR only with SSE or AVX.
 */
#include "engine/kvm/xsave.h"

#include <string.h>

#define FX_FCW 0
#define FX_MXCSR 24
#define FX_ST 32
#define FX_LEGACY 512
#define FX_RESERVED 416 /* and the software's own, to the end of the legacy area */

static const uint8_t *fx_initial(void)
{
	static uint8_t fx[FX_LEGACY];

	fx[FX_FCW] = 0x7f;
	fx[FX_FCW + 1] = 0x03;
	return fx;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static uint64_t xstate_bv(const uint8_t *fx)
{
	uint64_t bv;

	memcpy(&bv, fx + X86_FX_XSTATE_BV, sizeof(bv));
	return bv;
}

static void set_xstate_bv(uint8_t *fx, uint64_t bv)
{
	memcpy(fx + X86_FX_XSTATE_BV, &bv, sizeof(bv));
}

/* The components of `which` in their initial configuration (SDM vol. 1 §13.6). */
static void make_initial(uint8_t *fx, uint64_t which)
{
	if (which & X86_XCR0_X87) {
		memcpy(fx, fx_initial(), FX_MXCSR);
		memset(fx + FX_ST, 0, X86_FX_XMM - FX_ST);
	}
	if (which & X86_XCR0_SSE)
		memset(fx + X86_FX_XMM, 0, 256);
	if (which & X86_XCR0_AVX)
		memset(fx + X86_FX_YMM_HI, 0, 256);
}

/* Those that differ from it. */
static uint64_t in_use(const uint8_t *fx)
{
	uint64_t bv = 0;

	if (memcmp(fx, fx_initial(), FX_MXCSR) || !is_zero(fx + FX_ST, X86_FX_XMM - FX_ST))
		bv |= X86_XCR0_X87;
	if (!is_zero(fx + X86_FX_XMM, 256))
		bv |= X86_XCR0_SSE;
	if (!is_zero(fx + X86_FX_YMM_HI, 256))
		bv |= X86_XCR0_AVX;
	return bv;
}

/* ---- AVX-512 ---- */

/* Where each of its components is in the state, by its number less 5. */
static uint8_t *component(struct x86_avx512 *x, unsigned i, size_t *size)
{
	switch (i) {
	case 0: *size = sizeof(x->k); return (uint8_t *)x->k;
	case 1: *size = sizeof(x->zmm_hi); return x->zmm_hi[0];
	default: *size = sizeof(x->zmm_16); return x->zmm_16[0];
	}
}

bool kvm_xsave_layout(struct kvm_xsave_layout *l, uint32_t (*leaf)[4])
{
	static struct x86_avx512 sizes;

	for (unsigned i = 0; i < KVM_XSAVE_WIDE; i++) {
		uint32_t size = leaf[i][CPUID_EAX], at = leaf[i][CPUID_EBX];
		size_t want;

		(void)component(&sizes, i, &want);
		if (size != want || at < X86_FX_SIZE || at > sizeof(struct kvm_xsave) - want) {
			*l = (struct kvm_xsave_layout){0};
			return false;
		}
		l->at[i] = at;
	}
	return true;
}

/* ---- the area ---- */

void kvm_xsave_out(const struct kvm_xsave *area, const struct kvm_xsave_layout *l,
		   uint64_t xcr0_valid, struct x86_state *s)
{
	const uint8_t *from = (const uint8_t *)area->region;
	uint64_t bv = xstate_bv(from);

	memcpy(s->fx, from, X86_FX_SIZE);
	make_initial(s->fx, ~bv);
	memset(s->fx + FX_RESERVED, 0, FX_LEGACY - FX_RESERVED);
	memset(s->fx + FX_LEGACY, 0, X86_FX_YMM_HI - FX_LEGACY);
	if (!(xcr0_valid & X86_XCR0_AVX))
		memset(s->fx + X86_FX_YMM_HI, 0, 256);
	set_xstate_bv(s->fx, in_use(s->fx));
	s->avx512 = (struct x86_avx512){0};
	for (unsigned i = 0; i < KVM_XSAVE_WIDE && (xcr0_valid & X86_XCR0_AVX512); i++) {
		size_t size;
		uint8_t *to = component(&s->avx512, i, &size);

		if (bv & BIT(5 + i))
			memcpy(to, from + l->at[i], size);
	}
}

void kvm_xsave_in(struct kvm_xsave *area, const struct kvm_xsave_layout *l, uint64_t xcr0_valid,
		  const struct x86_state *s)
{
	uint64_t all = X86_XCR0_X87 | X86_XCR0_SSE | (xcr0_valid & (X86_XCR0_AVX | X86_XCR0_AVX512));
	uint8_t *fx = (uint8_t *)area->region;
	struct x86_avx512 wide = s->avx512;

	memset(area, 0, sizeof(*area));
	memcpy(fx, s->fx, FX_LEGACY);
	memcpy(fx + X86_FX_YMM_HI, s->fx + X86_FX_YMM_HI, X86_FX_SIZE - X86_FX_YMM_HI);
	make_initial(fx, ~xstate_bv(s->fx));
	for (unsigned i = 0; i < KVM_XSAVE_WIDE && (xcr0_valid & X86_XCR0_AVX512); i++) {
		size_t size;
		const uint8_t *from = component(&wide, i, &size);

		memcpy(fx + l->at[i], from, size);
	}
	set_xstate_bv(fx, all);
}
