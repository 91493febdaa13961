/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_forms.c - the forms of the decode table, which of them the differential test covers, and why not the rest;
 * what an instruction leaves undefined.
 *
 * Every form must either have been executed natively at least once or stand, by its operation, in the table
 * of reasons below; diff.c checks that at the end of a run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diff.h"

/* Privileged instructions are tested: at CPL 3 they raise #GP on both sides. What they do at CPL 0, and what
 * is listed here, is tested by the flat guests (tests/cpu/flat). */
static const struct {
	enum x86_op op;
	const char *why;
} skip[] = {
	{X86_OP_RDRAND, "random result"},
	{X86_OP_RDSEED, "random result"},
	{X86_OP_RDTSC, "result depends on time"},
	{X86_OP_RDTSCP, "result depends on time"},
	{X86_OP_RDPMC, "depends on the host's CR4.PCE"},
	{X86_OP_RDPID, "result is the host's processor number"},
	{X86_OP_CPUID, "the guest's CPUID is its own; may be trapped on the host"},
	{X86_OP_XGETBV, "depends on the host's XCR0"},
	{X86_OP_XSETBV, "#GP at CPL 3; the guest's XCR0 is not the host's"},
	{X86_OP_INT1, "hypervisors below the host get its RIP wrong"},
	{X86_OP_INT, "would call the host kernel"},
	{X86_OP_IRET, "segment selectors of the host process"},
	{X86_OP_SYSCALL, "would call the host kernel"},
	{X86_OP_SYSENTER, "would call the host kernel; #UD on AMD in long mode"},
	{X86_OP_SYSRET, "vendors differ in the order of its checks"},
	{X86_OP_SYSEXIT, "vendors differ in long mode"},
	{X86_OP_JMP_FAR, "segment selectors of the host process"},
	{X86_OP_CALL_FAR, "segment selectors of the host process"},
	{X86_OP_RET_FAR, "segment selectors of the host process"},
	{X86_OP_MOV_TO_SREG, "segment selectors of the host process"},
	{X86_OP_POP_SREG, "segment selectors of the host process"},
	{X86_OP_LES, "segment selectors of the host process"},
	{X86_OP_LDS, "segment selectors of the host process"},
	{X86_OP_LSS, "segment selectors of the host process"},
	{X86_OP_LFS, "segment selectors of the host process"},
	{X86_OP_LGS, "segment selectors of the host process"},
	{X86_OP_LAR, "host descriptor tables"},
	{X86_OP_LSL, "host descriptor tables"},
	{X86_OP_VERR, "host descriptor tables"},
	{X86_OP_VERW, "host descriptor tables"},
	{X86_OP_SGDT, "host descriptor tables; the kernel emulates it under UMIP"},
	{X86_OP_SIDT, "host descriptor tables; the kernel emulates it under UMIP"},
	{X86_OP_SLDT, "host descriptor tables; the kernel emulates it under UMIP"},
	{X86_OP_STR, "host descriptor tables; the kernel emulates it under UMIP"},
	{X86_OP_SMSW, "host CR0; the kernel emulates it under UMIP"},
	{X86_OP_VMCALL, "may reach a hypervisor below the host"},
	{X86_OP_VMMCALL, "may reach a hypervisor below the host"},
	{X86_OP_MONITOR, "depends on the host's CPUID"},
	{X86_OP_MWAIT, "depends on the host's CPUID"},
};

struct diff_form *diff_forms;
unsigned diff_n_forms;

const char *diff_skip_reason(enum x86_op op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(skip); i++)
		if (skip[i].op == op)
			return skip[i].why;
	return NULL;
}

static void add(void *ctx, const struct x86_form_info *f)
{
	static const char *const map[] = {"", "0f", "0f38", "0f3a"};
	struct diff_form *d;
	char ext[8] = "", pfx[8] = "", vex[16] = "";

	(void)ctx;
	diff_forms = realloc(diff_forms, (diff_n_forms + 1) * sizeof(*diff_forms));
	d = &diff_forms[diff_n_forms++];
	memset(d, 0, sizeof(*d));
	d->f = *f;
	d->skip = diff_skip_reason(f->op);
	if (f->modrm_ext >= 0)
		snprintf(ext, sizeof(ext), "/%d", f->modrm_ext);
	if (f->sse_pfx)
		snprintf(pfx, sizeof(pfx), "%02x.", f->sse_pfx);
	if (f->vex)
		snprintf(vex, sizeof(vex), "v%s%s.",
			 f->vex_l == 1 ? "128" :
			 f->vex_l == 2 ? "256" :
					 "",
			 f->vex_w == 1 ? "w0" :
			 f->vex_w == 2 ? "w1" :
					 "");
	snprintf(d->name, sizeof(d->name), "%s%s%s%02x%s%s:%s", vex, pfx, map[f->map & 3],
		 f->opcode, ext,
		 f->mod_class == 1 ? "m" :
		 f->mod_class == 3 ? "r" :
				     "",
		 x86_op_name(f->op));
}

void diff_forms_init(void)
{
	x86_forms(add, NULL);
}

enum x86_decode_result diff_decode(struct x86_insn *in, const uint8_t *bytes, unsigned n,
				   bool compat)
{
	return x86_decode(in, bytes, n, compat ? X86_MODE_32 : X86_MODE_64,
			  diff_host_intel() ? CPUID_VENDOR_INTEL : CPUID_VENDOR_AMD);
}

static unsigned opnd_bits(const struct x86_insn *in)
{
	return 8u * (in->rm_bytes ? in->rm_bytes : in->opnd_bytes);
}

/* The undefined flags of this very instruction: the decoder's, less what a fixed count makes certain. */
uint16_t diff_undef(const struct x86_insn *in)
{
	uint16_t u = in->flags_undef;

	switch (in->op) {
	case X86_OP_SHL:
	case X86_OP_SHR:
	case X86_OP_SAR:
		if (in->imm_bytes) {
			unsigned n = (unsigned)in->imm &
				     (in->opnd_bytes == 8 || in->rm_bytes == 8 ? 63 : 31);

			if (n == 0)
				u = 0;
			else if (n == 1)
				u &= (uint16_t) ~(X86_OF | X86_CF);
			else if (n < opnd_bits(in))
				u &= (uint16_t)~X86_CF;
		}
		break;
	default: break;
	}
	return u;
}

/* A repeated comparison that faults half way: SDM vol. 2 (REP) says that the flags are as before the instruction, AMD
 * processors leave those of the last comparison. */
uint16_t diff_fault_undef(const struct x86_insn *in)
{
	return !diff_host_intel() && in->rep && (in->op == X86_OP_CMPS || in->op == X86_OP_SCAS) ?
		       X86_STATUS_FLAGS :
		       0;
}

/* FSTP and FBSTP of 10 bytes (SDM vol. 3, "Guaranteed Atomic Operations": more than a quadword). */
bool diff_in_pieces(const struct x86_insn *in)
{
	return (in->attr & X86_A_X87) && in->mem_bytes == 10 && (in->rm_acc & X86_ACC_W);
}
