/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_masked.c - AVX moves that access memory element by element, as a mask says: VMASKMOV, VPMASKMOV, gathers.
 *
 * Only an element whose mask has its top bit set is accessed, and only it can fault (SDM vol. 2, "VMASKMOV",
 * "VPGATHERDD"). They cannot run as themselves with one bounce buffer, so they are done here, on the saved image of
 * the registers. A store checks all its elements first. A gather takes its elements from the lowest up and clears
 * their masks as it goes: a fault in the middle leaves what is done, and the instruction can be begun again. What else a
 * fault leaves depends on the vendor: see begin_gather() and segment_first().
 */
#include "engine/soft/op_util.h"

/* Byte `at` of a YMM register in the saved image. */
static uint8_t *ymm(struct soft_vcpu *v, unsigned reg, unsigned at)
{
	return v->s.fx + (at < 16 ? X86_FX_XMM : X86_FX_YMM_HI - 16) + 16 * reg + at;
}

static uint64_t element(struct soft_vcpu *v, unsigned reg, unsigned at, unsigned size)
{
	uint64_t value = 0;

	soft_copy(&value, ymm(v, reg, at), size);
	return value;
}

static void set_element(struct soft_vcpu *v, unsigned reg, unsigned at, uint64_t value,
			unsigned size)
{
	soft_copy(ymm(v, reg, at), &value, size);
}

static bool masked(struct soft_vcpu *v, const struct x86_insn *in, unsigned at, unsigned size)
{
	return *ymm(v, in->vvvv, at + size - 1) & 0x80;
}

/* The registers are used from the image now. */
static void open_image(struct soft_vcpu *v)
{
	soft_fp_save(v);
	v->s.fx[X86_FX_XSTATE_BV] |= X86_XCR0_SSE | X86_XCR0_AVX;
}

/* Intel looks at the segment and at canonical form of all elements first, AMD at each in its turn. */
static void segment_first(struct soft_vcpu *v, const struct x86_insn *in, uint64_t ea, unsigned n,
			  unsigned size, unsigned access)
{
	if (!soft_intel(v->soft))
		return;
	for (unsigned i = 0; i < n; i++)
		if (masked(v, in, i * size, size))
			(void)soft_linear(v, in->seg, ea + i * size, size, access);
}

void soft_op_vmaskmov(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->opcode >= 0x80 ? (in->rex & 8 ? 8 : 4) : in->opcode & 1 ? 8 : 4;
	unsigned n = (16u << in->vex_l) / size;
	uint64_t ea, value[8] = {0};

	soft_fp_available(v, in);
	open_image(v);
	ea = soft_ea(v, in);
	segment_first(v, in, ea, n, size, in->reg_acc & X86_ACC_W ? SOFT_READ : SOFT_WRITE);
	if (in->reg_acc & X86_ACC_W) {
		for (unsigned i = 0; i < n; i++)
			if (masked(v, in, i * size, size))
				value[i] = soft_read(v,
						     soft_linear(v, in->seg, ea + i * size, size,
								 SOFT_READ),
						     size);
		for (unsigned i = 0; i < n; i++)
			set_element(v, in->reg, i * size, value[i], size);
		if (!in->vex_l)
			soft_zero(ymm(v, in->reg, 16), 16);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		if (masked(v, in, i * size, size))
			soft_probe_write(v, soft_linear(v, in->seg, ea + i * size, size, SOFT_WRITE),
					 size);
	for (unsigned i = 0; i < n; i++)
		if (masked(v, in, i * size, size))
			soft_write(v, soft_linear(v, in->seg, ea + i * size, size, SOFT_WRITE),
				   element(v, in->reg, i * size, size), size);
}

/*
 * The mask as SDM vol. 2 has it before the first element: the top bit of each element extended over it, the upper half
 * cleared in a gather of 128 bits. The handler of an element's fault finds it so on Intel; on AMD it finds what is left
 * of the mask that was given.
 */
static void begin_gather(struct soft_vcpu *v, const struct x86_insn *in, unsigned size)
{
	unsigned bytes = 16u << in->vex_l;

	for (unsigned at = 0; at < bytes; at += size)
		set_element(v, in->vvvv, at, masked(v, in, at, size) ? ~UINT64_C(0) : 0, size);
	if (!in->vex_l)
		soft_zero(ymm(v, in->vvvv, 16), 16);
}

void soft_op_vgather(struct soft_vcpu *v, const struct x86_insn *in)
{
	unsigned size = in->rex & 8 ? 8 : 4, index_size = in->opcode & 1 ? 8 : 4;
	unsigned n = (16u << in->vex_l) / MAX(size, index_size);
	bool intel = soft_intel(v->soft);
	struct x86_insn base = *in;

	soft_fp_available(v, in);
	open_image(v);
	base.index = 0xff;
	if (intel)
		begin_gather(v, in, size);
	for (unsigned i = 0; i < n; i++) {
		uint64_t index = op_sign_extend(element(v, in->index, i * index_size, index_size),
						index_size);

		if (masked(v, in, i * size, size)) {
			base.disp = (int64_t)((uint64_t)in->disp + (index << in->scale));
			uint64_t la = soft_linear(v, in->seg, soft_ea(v, &base), size, SOFT_READ);

			set_element(v, in->reg, i * size, soft_read(v, la, size), size);
			if (intel && !in->vex_l)
				soft_zero(ymm(v, in->reg, 16), 16);
		}
		set_element(v, in->vvvv, i * size, 0, size);
	}
	for (unsigned at = n * size; at < 32; at += 4)
		set_element(v, in->reg, at, 0, 4);
	for (unsigned at = 0; at < 32; at += 8)
		set_element(v, in->vvvv, at, 0, 8);
}
