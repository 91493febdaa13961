/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_decode.c - the decoder against Zydis: seeded random instructions in the three modes; validity, length,
 * operation, operands, sizes, memory operand, immediates and flags must agree.
 *
 * Where the two may differ is said, with the reason, where it is allowed. LODGE_TEST_SEED and
 * LODGE_TEST_COUNT (instructions a mode) change the run; a failure prints the bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>
#include <cmocka.h>

#include "decode_gen.h"
#include "x86/decode.h"

/* One comparison. */
struct trial {
	const uint8_t *bytes;
	unsigned mode;
	enum cpuid_vendor vendor;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	bool z_ok;
	struct x86_insn in;
	enum x86_decode_result r;
};

static unsigned failures;
static uint64_t compared;

static void complain(const struct trial *t, const char *fmt, ...) PRINTF_FORMAT(2, 3);

static void complain(const struct trial *t, const char *fmt, ...)
{
	static const char *const mode_name[] = {"16", "32", "64"};
	char text[200];
	va_list ap;

	if (++failures > 40)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	print_error("%s-bit:", mode_name[t->mode]);
	for (unsigned i = 0; i < X86_INSN_MAX; i++)
		print_error(" %02x", t->bytes[i]);
	print_error(" (zydis %s, lodge %s %u): %s\n",
		    t->z_ok ? ZydisMnemonicGetString(t->z.mnemonic) : "refuses",
		    x86_op_name(t->in.op), t->in.len, text);
}

/* ---- what Lodge does not decode on purpose ---- */

static bool out_of_scope(const ZydisDecodedInstruction *z)
{
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
		switch (z->meta.isa_ext) {
		case ZYDIS_ISA_EXT_AVX:
		case ZYDIS_ISA_EXT_AVX2:
		case ZYDIS_ISA_EXT_AVX2GATHER:
		case ZYDIS_ISA_EXT_AVXAES:
		case ZYDIS_ISA_EXT_BMI1:
		case ZYDIS_ISA_EXT_BMI2:
		case ZYDIS_ISA_EXT_F16C:
		case ZYDIS_ISA_EXT_FMA:
		case ZYDIS_ISA_EXT_VAES:
		case ZYDIS_ISA_EXT_VPCLMULQDQ: return false;
		default: return true;
		}
	}
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return true; /* EVEX, XOP, 3DNow! */
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_INVALID:
	case ZYDIS_ISA_EXT_AMD3DNOW: /* FEMMS; the rest has its own encoding */
		return z->mnemonic == ZYDIS_MNEMONIC_FEMMS;
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_AMD_INVLPGB:
	case ZYDIS_ISA_EXT_CLWB:
	case ZYDIS_ISA_EXT_CLZERO:
	case ZYDIS_ISA_EXT_ENQCMD:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_HRESET:
	case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_MOVDIR:
	case ZYDIS_ISA_EXT_PADLOCK:
	case ZYDIS_ISA_EXT_PCONFIG:
	case ZYDIS_ISA_EXT_PKU:
	case ZYDIS_ISA_EXT_PT:
	case ZYDIS_ISA_EXT_RDPRU:
	case ZYDIS_ISA_EXT_RTM:
	case ZYDIS_ISA_EXT_SERIALIZE:
	case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_SGX_ENCLV:
	case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_TDX:
	case ZYDIS_ISA_EXT_TSX_LDTRK:
	case ZYDIS_ISA_EXT_UINTR:
	case ZYDIS_ISA_EXT_VMFUNC:
	case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_XSAVES: return true;
	case ZYDIS_ISA_EXT_CET: /* without CET its hints are NOPs, the rest is #UD */
		return z->mnemonic != ZYDIS_MNEMONIC_NOP;
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_VTX:
		return z->mnemonic != ZYDIS_MNEMONIC_VMCALL && z->mnemonic != ZYDIS_MNEMONIC_VMMCALL;
	default: return false;
	}
}

/* ---- the operation ---- */

static bool any_of(const char *name, const char *list)
{
	size_t len = strlen(name);

	for (const char *p = list; (p = strstr(p, name)) != NULL; p += len)
		if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == 0))
			return true;
	return false;
}

/* F3 90 with REX.B: Zydis says PAUSE, processors of AMD exchange EAX and R8D. */
static bool pause_r8(const struct trial *t)
{
	return t->in.op == X86_OP_XCHG && t->z.mnemonic == ZYDIS_MNEMONIC_PAUSE && (t->in.rex & 1);
}

static void check_op(const struct trial *t)
{
	const char *z = ZydisMnemonicGetString(t->z.mnemonic);
	const char *op = x86_op_name(t->in.op);
	bool ok;

	if (pause_r8(t))
		return;
	switch (t->in.op) {
	case X86_OP_FP:
		switch (t->z.meta.isa_ext) {
		case ZYDIS_ISA_EXT_X87:
		case ZYDIS_ISA_EXT_MMX:
		case ZYDIS_ISA_EXT_SSE:
		case ZYDIS_ISA_EXT_SSE2:
		case ZYDIS_ISA_EXT_SSE3:
		case ZYDIS_ISA_EXT_SSSE3:
		case ZYDIS_ISA_EXT_SSE4:
		case ZYDIS_ISA_EXT_AES:
		case ZYDIS_ISA_EXT_PCLMULQDQ:
		case ZYDIS_ISA_EXT_AVX:
		case ZYDIS_ISA_EXT_AVX2:
		case ZYDIS_ISA_EXT_AVXAES:
		case ZYDIS_ISA_EXT_F16C:
		case ZYDIS_ISA_EXT_FMA:
		case ZYDIS_ISA_EXT_VAES:
		case ZYDIS_ISA_EXT_VPCLMULQDQ:
		case ZYDIS_ISA_EXT_SHA: ok = true; break;
		default: ok = false;
		}
		break;
	case X86_OP_BMI:
		ok = any_of(z,
			    "andn blsr blsmsk blsi bzhi pext pdep mulx bextr shlx sarx shrx rorx");
		break;
	case X86_OP_VMASKMOV: ok = any_of(z, "vmaskmovps vmaskmovpd vpmaskmovd vpmaskmovq"); break;
	case X86_OP_VGATHER:
		ok = strncmp(z, "vgather", 7) == 0 || strncmp(z, "vpgather", 8) == 0;
		break;
	case X86_OP_LDMXCSR: ok = any_of(z, "ldmxcsr vldmxcsr"); break;
	case X86_OP_STMXCSR: ok = any_of(z, "stmxcsr vstmxcsr"); break;
	case X86_OP_FSTENV: ok = any_of(z, "fnstenv"); break;
	case X86_OP_FSAVE: ok = any_of(z, "fnsave"); break;
	case X86_OP_IMUL1: ok = any_of(z, "imul"); break;
	case X86_OP_CMOV: ok = strncmp(z, "cmov", 4) == 0; break;
	case X86_OP_SETCC: ok = strncmp(z, "set", 3) == 0; break;
	case X86_OP_JCC: ok = z[0] == 'j' && t->z.meta.category == ZYDIS_CATEGORY_COND_BR; break;
	case X86_OP_JCXZ: ok = any_of(z, "jcxz jecxz jrcxz"); break;
	case X86_OP_JMP_IND:
	case X86_OP_JMP_FAR: ok = any_of(z, "jmp"); break;
	case X86_OP_CALL_IND:
	case X86_OP_CALL_FAR: ok = any_of(z, "call"); break;
	case X86_OP_RET_FAR: ok = any_of(z, "ret"); break;
	case X86_OP_CBW: ok = any_of(z, "cbw cwde cdqe"); break;
	case X86_OP_CWD: ok = any_of(z, "cwd cdq cqo"); break;
	case X86_OP_MOV_FROM_SREG:
	case X86_OP_MOV_TO_SREG:
	case X86_OP_MOV_FROM_CR:
	case X86_OP_MOV_TO_CR:
	case X86_OP_MOV_FROM_DR:
	case X86_OP_MOV_TO_DR:
	case X86_OP_MOV: ok = any_of(z, "mov"); break;
	case X86_OP_PUSH_SREG: ok = any_of(z, "push"); break;
	case X86_OP_POP_SREG: ok = any_of(z, "pop"); break;
	case X86_OP_MOVS:
	case X86_OP_STOS:
	case X86_OP_LODS:
	case X86_OP_CMPS:
	case X86_OP_SCAS:
	case X86_OP_INS:
	case X86_OP_OUTS:
	case X86_OP_XLAT:
	case X86_OP_PUSHF:
	case X86_OP_POPF:
	case X86_OP_PUSHA:
	case X86_OP_POPA:
	case X86_OP_IRET:
	case X86_OP_UD:
	case X86_OP_PREFETCH:
	case X86_OP_CLFLUSH:
	case X86_OP_FXSAVE:
	case X86_OP_FXRSTOR:
	case X86_OP_XSAVE:
	case X86_OP_XSAVEC:
	case X86_OP_XSAVEOPT:
	case X86_OP_XRSTOR:
	case X86_OP_MASKMOV: ok = strncmp(z + (z[0] == 'v'), op, strlen(op)) == 0; break;
	default: ok = any_of(z, op);
	}
	if (!ok)
		complain(t, "operation");
}

/* ---- operands ---- */

static unsigned reg_kind(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return X86_RK_GPR;
	case ZYDIS_REGCLASS_X87: return X86_RK_ST;
	case ZYDIS_REGCLASS_MMX: return X86_RK_MMX;
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_XMM: return X86_RK_XMM;
	case ZYDIS_REGCLASS_SEGMENT: return X86_RK_SREG;
	case ZYDIS_REGCLASS_CONTROL: return X86_RK_CR;
	case ZYDIS_REGCLASS_DEBUG: return X86_RK_DR;
	default: return X86_RK_NONE;
	}
}

/* Its number as ModRM and REX name it: AH is 4 without REX, SPL 4 with. */
static unsigned reg_number(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_DIL)
		return 4 + (unsigned)(reg - ZYDIS_REGISTER_SPL);
	if (reg >= ZYDIS_REGISTER_R8B && reg <= ZYDIS_REGISTER_R15B)
		return 8 + (unsigned)(reg - ZYDIS_REGISTER_R8B);
	return (unsigned)ZydisRegisterGetId(reg);
}

static unsigned base_number(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return 0xff;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return X86_RIP;
	return reg_number(reg);
}

static unsigned access_of(const ZydisDecodedOperand *o)
{
	unsigned acc = 0;

	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		acc |= X86_ACC_R;
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		acc |= X86_ACC_W;
	/* What is written only sometimes keeps its old value otherwise. */
	if (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE)
		acc |= X86_ACC_R;
	return acc;
}

static void check_register(const struct trial *t, const ZydisDecodedOperand *o, unsigned number,
			   unsigned kind, unsigned bytes, unsigned acc, const char *where)
{
	const struct x86_insn *in = &t->in;

	if (in->op == X86_OP_NOP)
		return; /* an unused operand */
	if (reg_number(o->reg.value) != number || reg_kind(o->reg.value) != kind)
		complain(t, "%s: %s is %u kind %u", where, ZydisRegisterGetString(o->reg.value),
			 number, kind);
	/* XMM and x87 accesses are not told apart as finely; names and hints access nothing here. */
	if (kind == X86_RK_XMM || kind == X86_RK_ST || kind == X86_RK_MMX || (in->attr & X86_A_LEA))
		return;
	/* Zydis: a 32-bit register where REX.W does not matter, a 16-bit one where MOVSXD has 66. */
	if (kind == X86_RK_GPR && o->size != bytes * 8 && !(o->size == 32 && bytes == 8) &&
	    !(in->op == X86_OP_MOVSXD && in->opnd_bytes == 2))
		complain(t, "%s: %u bits, not %u bytes", where, o->size, bytes);
	/* BSF and BSR leave the register alone when the source is zero. */
	if ((in->op == X86_OP_BSF || in->op == X86_OP_BSR) && acc == X86_ACC_RW)
		return;
	if (access_of(o) != acc)
		complain(t, "%s: access %u, not %u", where, access_of(o), acc);
}

static void check_memory(const struct trial *t, const ZydisDecodedOperand *o)
{
	const struct x86_insn *in = &t->in;
	unsigned size = o->size / 8;

	if (!in->has_mem) {
		complain(t, "no memory operand");
		return;
	}
	/* No base with a 32-bit displacement, whatever REX.B: Zydis forgets this for 32-bit addresses. */
	if (in->has_sib && (in->sib & 7) == 5 && in->modrm >> 6 == 0 && in->addr_bytes == 4 &&
	    (in->rex & 1))
		return;
	if (base_number(o->mem.base) != in->base || base_number(o->mem.index) != in->index)
		complain(t, "base %u index %u", in->base, in->index);
	if (o->mem.index != ZYDIS_REGISTER_NONE && t->in.addr_bytes != 2 &&
	    (o->mem.scale & 15) != 1u << in->scale)
		complain(t, "scale");
	int64_t disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
	if (!in->has_modrm && in->disp_bytes < 8) /* an absolute address: not sign-extended here */
		disp &= (int64_t)(BIT(8 * in->disp_bytes) - 1);
	if (in->disp != disp)
		complain(t, "disp %llx, not %llx", (unsigned long long)in->disp,
			 (unsigned long long)disp);
	if (o->mem.type == ZYDIS_MEMOP_TYPE_AGEN || (in->attr & X86_A_LEA)) {
		if (in->mem_bytes != 0)
			complain(t, "mem_bytes of a mere name");
		return;
	}
	unsigned seg = (unsigned)ZydisRegisterGetId(o->mem.segment);
	if (seg != in->seg)
		complain(t, "segment %u, not %u", in->seg, seg);
	switch (in->op) {
	case X86_OP_CLFLUSH: /* a whole line, read as one byte */ return;
	case X86_OP_LDMXCSR:
	case X86_OP_STMXCSR: break;
	case X86_OP_CALL_FAR:
	case X86_OP_JMP_FAR:
	case X86_OP_LES:
	case X86_OP_LDS:
	case X86_OP_LSS:
	case X86_OP_LFS:
	case X86_OP_LGS: break;
	default:
		if (access_of(o) != in->rm_acc)
			complain(t, "memory access %u, not %u", access_of(o), in->rm_acc);
	}
	if (in->op == X86_OP_MOVSXD && in->opnd_bytes == 2 && t->vendor == CPUID_VENDOR_INTEL)
		size = 2; /* (Zydis has AMD's 32 bits) */
	if (size != in->mem_bytes)
		complain(t, "memory %u bytes, not %u", in->mem_bytes, size);
}

static void check_operands(const struct trial *t)
{
	const struct x86_insn *in = &t->in;
	bool memory = false;

	for (unsigned i = 0; i < t->z.operand_count; i++) {
		const ZydisDecodedOperand *o = &t->op[i];

		switch (o->type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
				check_register(t, o, in->reg, in->reg_kind, in->reg_bytes,
					       in->reg_acc, "reg");
			else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
				check_register(t, o, in->rm, in->rm_kind, in->rm_bytes, in->rm_acc,
					       "rm");
			else if (o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE &&
				 in->op != X86_OP_NOP)
				check_register(t, o, in->opreg, X86_RK_GPR, in->opnd_bytes,
					       in->opreg_acc, "opreg");
			else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
				check_register(t, o, in->vvvv, in->vvvv_kind, in->vvvv_bytes,
					       in->vvvv_acc, "vvvv");
			else if (o->encoding == ZYDIS_OPERAND_ENCODING_IS4 &&
				 reg_number(o->reg.value) != (((unsigned)in->imm >> 4) &
							      (t->mode == X86_MODE_64 ? 15 : 7)))
				complain(t, "is4");
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
			    o->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64) {
				memory = true;
				check_memory(t, o);
			} else if (o->mem.type == ZYDIS_MEMOP_TYPE_MEM &&
				   (in->attr & X86_A_STRING) &&
				   o->mem.segment != ZYDIS_REGISTER_ES) {
				if ((unsigned)ZydisRegisterGetId(o->mem.segment) != in->seg)
					complain(t, "string segment");
			}
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE: {
			uint64_t want = o->imm.value.u;
			uint64_t got = (uint64_t)in->imm;
			unsigned bits = o->size < 64 ? o->size : 64;
			if (o->imm.is_relative)
				bits = 64;
			if (in->op == X86_OP_ENTER && i == 1)
				got = in->imm2;
			if (bits < 64)
				want &= BIT(bits) - 1, got &= BIT(bits) - 1;
			if (want != got)
				complain(t, "immediate %llx, not %llx", (unsigned long long)got,
					 (unsigned long long)want);
			break;
		}
		case ZYDIS_OPERAND_TYPE_POINTER:
			if (in->imm2 != o->ptr.segment || (uint32_t)in->imm != o->ptr.offset)
				complain(t, "far pointer");
			break;
		default: break;
		}
	}
	if (in->has_mem && !memory)
		complain(t, "a memory operand too many");
}

/* ---- flags ---- */

static void check_flags(const struct trial *t)
{
	const struct x86_insn *in = &t->in;
	const ZydisAccessedFlags *f = t->z.cpu_flags;
	uint32_t read = 0, written = 0, undefined = 0;

	if (f != NULL) {
		read = f->tested & X86_STATUS_FLAGS;
		undefined = f->undefined & X86_STATUS_FLAGS;
		written = (f->modified | f->set_0 | f->set_1 | f->undefined) & X86_STATUS_FLAGS;
	}
	switch (in->op) {
	case X86_OP_FP: /* VPTEST, VTESTPS, VTESTPD clear the other flags (SDM) */
		if (in->vex && in->map == X86_MAP_0F38 && in->flags_may_write == X86_STATUS_FLAGS)
			written = X86_STATUS_FLAGS;
		break;
	case X86_OP_BMI: /* BEXTR: sets ZF, clears CF and OF (SDM) */
		if (undefined & X86_OF)
			undefined = X86_AF | X86_SF | X86_PF;
		break;
	case X86_OP_SBB: /* AF is defined (SDM) */ undefined = 0; break;
	case X86_OP_SHL:
	case X86_OP_SHR:
	case X86_OP_SAR:
	case X86_OP_ROL:
	case X86_OP_ROR:
	case X86_OP_RCL:
	case X86_OP_RCR:
	case X86_OP_SHLD:
	case X86_OP_SHRD: return; /* by count: test_shift_flags() */
	case X86_OP_INT:
	case X86_OP_INT1:
	case X86_OP_INT3:
	case X86_OP_INTO:
	case X86_OP_SYSCALL:
		read = X86_STATUS_FLAGS; /* saved for the handler */
		break;
	case X86_OP_VMCALL:
		written = 0; /* of VMX, not of hypercalls */
		break;
	case X86_OP_CMPS:
	case X86_OP_SCAS:
		read = 0; /* REPE and REPNE test the flag that was just set */
		break;
	default: break;
	}
	if (in->flags_read != read)
		complain(t, "reads %x, not %x", in->flags_read, read);
	if (in->flags_may_write != written)
		complain(t, "writes %x, not %x", in->flags_may_write, written);
	if (in->flags_undef != undefined)
		complain(t, "undefined %x, not %x", in->flags_undef, undefined);
	if ((in->flags_write & ~in->flags_may_write) || (in->flags_undef & ~in->flags_may_write))
		complain(t, "flags_write or flags_undef outside of flags_may_write");
}

/* ---- one instruction ---- */

static bool operand_size_matters(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_FP:
	case X86_OP_VMASKMOV:
	case X86_OP_VGATHER:
	case X86_OP_BMI:
	case X86_OP_XSAVE:
	case X86_OP_XSAVEC:
	case X86_OP_XSAVEOPT:
	case X86_OP_XRSTOR:
	case X86_OP_LDMXCSR:
	case X86_OP_STMXCSR:
	case X86_OP_MASKMOV:
	case X86_OP_FXSAVE:
	case X86_OP_FXRSTOR:
	case X86_OP_XLAT:
	case X86_OP_SYSCALL:
	case X86_OP_NOP:
	case X86_OP_INVLPG:
	case X86_OP_INS:
	case X86_OP_OUTS:
	case X86_OP_CLFLUSH:
	case X86_OP_RDPID:
	case X86_OP_MOVNTI:
	case X86_OP_RDFSBASE:
	case X86_OP_RDGSBASE:
	case X86_OP_WRFSBASE:
	case X86_OP_WRGSBASE: return false;
	default: return true;
	}
}

static void compare(struct trial *t)
{
	const struct x86_insn *in = &t->in;

	bool reg_0f0d = t->z_ok && t->z.opcode_map == ZYDIS_OPCODE_MAP_0F && t->z.opcode == 0x0d &&
			t->z.raw.modrm.mod == 3; /* #UD on AMD */

	if (t->r == X86_DECODE_OK && in->op == X86_OP_UD) { /* a fault either way */
		if (t->vendor == CPUID_VENDOR_INTEL && t->z_ok && in->len != t->z.length)
			complain(t, "length, not %u", t->z.length);
		return;
	}
	if (!t->z_ok || out_of_scope(&t->z) || reg_0f0d) {
		if (t->r == X86_DECODE_OK)
			complain(t, "decoded, but should not be");
		return;
	}
	if (t->r != X86_DECODE_OK) {
		complain(t, "refused (%d), %s", t->r, ZydisISAExtGetString(t->z.meta.isa_ext));
		return;
	}
	if (in->len != t->z.length) {
		complain(t, "length, not %u", t->z.length);
		return;
	}
	if (memcmp(in->bytes, t->bytes, in->len) != 0)
		complain(t, "bytes");
	compared++;
	check_op(t);
	check_operands(t);
	check_flags(t);
	if (in->addr_bytes * 8 != t->z.address_width)
		complain(t, "address size %u", in->addr_bytes);
	if (operand_size_matters(in) && in->opnd_bytes * 8 != t->z.operand_width)
		complain(t, "operand size %u, not %u", in->opnd_bytes, t->z.operand_width / 8);
}

static void decoder(ZydisDecoder *zd, unsigned mode)
{
	static const ZydisMachineMode machine[] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						   ZYDIS_MACHINE_MODE_LEGACY_32,
						   ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth width[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						ZYDIS_STACK_WIDTH_64};

	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(zd, machine[mode], width[mode])));
	/* Hints of features that are not offered are NOPs. */
	ZydisDecoderEnableMode(zd, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(zd, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(zd, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(zd, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
}

static void run_mode(unsigned mode)
{
	const char *seed = getenv("LODGE_TEST_SEED"), *count = getenv("LODGE_TEST_COUNT");
	uint64_t n = count ? strtoull(count, NULL, 0) : 2000000;
	ZydisDecoder zd;

	if (n_forms == 0)
		x86_forms(form_add, NULL);
	rng_state = (seed ? strtoull(seed, NULL, 0) : 1) * 3 + mode;
	decoder(&zd, mode);
	failures = 0;
	compared = 0;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t bytes[32];
		struct trial t = {.bytes = bytes,
				  .mode = mode,
				  .vendor = i % 2 ? CPUID_VENDOR_INTEL : CPUID_VENDOR_AMD};

		generate(bytes);
		t.z_ok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zd, bytes, X86_INSN_MAX, &t.z, t.op));
		t.r = x86_decode(&t.in, bytes, sizeof(bytes), (enum x86_mode)mode, t.vendor);
		compare(&t);
	}
	assert_int_equal(failures, 0);
	assert_true(compared > n / 4);
}

static void test_16(void **st)
{
	(void)st;
	run_mode(X86_MODE_16);
}

static void test_32(void **st)
{
	(void)st;
	run_mode(X86_MODE_32);
}

static void test_64(void **st)
{
	(void)st;
	run_mode(X86_MODE_64);
}

/* Fewer bytes than the instruction has: TRUNCATED, whatever follows; nothing beyond them is read. */
static void test_truncated(void **st)
{
	(void)st;
	if (n_forms == 0)
		x86_forms(form_add, NULL);
	rng_state = 99;
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t bytes[32];
		struct x86_insn whole, part;
		enum x86_mode mode = (enum x86_mode)(rng() % 3);
		enum cpuid_vendor vendor = rng() % 2 ? CPUID_VENDOR_INTEL : CPUID_VENDOR_AMD;

		generate(bytes);
		if (x86_decode(&whole, bytes, sizeof(bytes), mode, vendor) != X86_DECODE_OK)
			continue;
		unsigned n = (unsigned)(rng() % whole.len);
		uint8_t *exact =
			malloc(n + 1u); /* a checker of memory accesses sees a read beyond n */
		memcpy(exact + 1, bytes, n);
		assert_int_equal(x86_decode(&part, exact + 1, n, mode, vendor),
				 X86_DECODE_TRUNCATED);
		free(exact);
		assert_int_equal(x86_decode(&part, bytes, whole.len, mode, vendor), X86_DECODE_OK);
		assert_memory_equal(&part, &whole, sizeof(part));
	}
}

static enum x86_decode_result decode64(struct x86_insn *in, const uint8_t *bytes, size_t n)
{
	return x86_decode(in, bytes, n, X86_MODE_64, CPUID_VENDOR_AMD);
}

static void test_too_long(void **st)
{
	uint8_t bytes[32];
	struct x86_insn in;

	(void)st;
	memset(bytes, 0x66, sizeof(bytes));
	assert_int_equal(decode64(&in, bytes, sizeof(bytes)), X86_DECODE_TOO_LONG);
	assert_int_equal(decode64(&in, bytes, 15), X86_DECODE_TOO_LONG);
	assert_int_equal(decode64(&in, bytes, 14), X86_DECODE_TRUNCATED);
	bytes[14] = 0x90;
	assert_int_equal(decode64(&in, bytes, sizeof(bytes)), X86_DECODE_OK);
	assert_int_equal(in.len, 15);
	bytes[13] = 0xb0;
	bytes[14] = 1;
	assert_int_equal(decode64(&in, bytes, sizeof(bytes)), X86_DECODE_OK);
	bytes[13] = 0x66;
	bytes[14] = 0xb0;
	assert_int_equal(decode64(&in, bytes, sizeof(bytes)), X86_DECODE_TOO_LONG);
	assert_int_equal(decode64(&in, bytes, 0), X86_DECODE_TRUNCATED);
}

/* The bytes that mean one thing on Intel's processors and another on AMD's. */
static void test_vendors(void **st)
{
	static const struct {
		uint8_t bytes[8];
		struct {
			enum x86_op op;
			uint8_t len, mem_bytes;
		} intel, amd;
	} row[] = {
		/* UD1 eax, [rax + rcx * 4 + 1]; UD0 eax, eax */
		{{0x0f, 0xb9, 0x44, 0x88, 1}, {X86_OP_UD, 5, 0}, {X86_OP_UD, 2, 0}},
		{{0x0f, 0xff, 0xc0}, {X86_OP_UD, 3, 0}, {X86_OP_UD, 2, 0}},
		{{0x0f, 0x0b}, {X86_OP_UD, 2, 0}, {X86_OP_UD, 2, 0}},
		/* F3 with REX.B before 90 */
		{{0xf3, 0x41, 0x90}, {X86_OP_PAUSE, 3, 0}, {X86_OP_XCHG, 3, 0}},
		{{0x41, 0x90}, {X86_OP_XCHG, 2, 0}, {X86_OP_XCHG, 2, 0}},
		{{0xf3, 0x90}, {X86_OP_PAUSE, 2, 0}, {X86_OP_PAUSE, 2, 0}},
		/* MOVSXD ax, [rax]; eax, [rax]; rax, [rax] */
		{{0x66, 0x63, 0x00}, {X86_OP_MOVSXD, 3, 2}, {X86_OP_MOVSXD, 3, 4}},
		{{0x63, 0x00}, {X86_OP_MOVSXD, 2, 4}, {X86_OP_MOVSXD, 2, 4}},
		{{0x66, 0x48, 0x63, 0x00}, {X86_OP_MOVSXD, 4, 4}, {X86_OP_MOVSXD, 4, 4}},
	};

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		struct x86_insn in;

		assert_int_equal(x86_decode(&in, row[i].bytes, sizeof(row[i].bytes), X86_MODE_64,
					    CPUID_VENDOR_INTEL),
				 X86_DECODE_OK);
		assert_int_equal(in.op, row[i].intel.op);
		assert_int_equal(in.len, row[i].intel.len);
		assert_int_equal(in.mem_bytes, row[i].intel.mem_bytes);
		assert_int_equal(decode64(&in, row[i].bytes, sizeof(row[i].bytes)), X86_DECODE_OK);
		assert_int_equal(in.op, row[i].amd.op);
		assert_int_equal(in.len, row[i].amd.len);
		assert_int_equal(in.mem_bytes, row[i].amd.mem_bytes);
	}
}

/* Shifts whose effect on flags follows from the immediate. */
static void test_shift_flags(void **st)
{
	static const struct {
		uint8_t bytes[5], len;
		uint16_t write, may, undef;
	} row[] = {
		{{0xc1, 0xe0, 0}, 3, 0, 0, 0},		/* shl eax, 0 */
		{{0xc1, 0xe0, 0x20}, 3, 0, 0, 0},	/* shl eax, 32 */
		{{0x48, 0xc1, 0xe0, 0x40}, 4, 0, 0, 0}, /* shl rax, 64 */
		{{0xd1, 0xe0}, 2, X86_STATUS_FLAGS, X86_STATUS_FLAGS, X86_AF},
		{{0xc1, 0xe0, 3}, 3, X86_STATUS_FLAGS, X86_STATUS_FLAGS, X86_AF | X86_OF},
		{{0xc0, 0xe0, 8}, 3, X86_STATUS_FLAGS, X86_STATUS_FLAGS, X86_AF | X86_OF | X86_CF},
		{{0xc0, 0xf8, 9}, 3, X86_STATUS_FLAGS, X86_STATUS_FLAGS, X86_AF | X86_OF},
		{{0xd3, 0xe0}, 2, 0, X86_STATUS_FLAGS, X86_AF | X86_OF},
		{{0xd2, 0xe0}, 2, 0, X86_STATUS_FLAGS, X86_AF | X86_OF | X86_CF},
		{{0xc1, 0xc0, 0}, 3, 0, 0, 0}, /* rol eax, 0 */
		{{0xc1, 0xc0, 1}, 3, X86_CF | X86_OF, X86_CF | X86_OF, 0},
		{{0xd1, 0xd0}, 2, X86_CF | X86_OF, X86_CF | X86_OF, 0}, /* rcl eax, 1 */
		{{0xc0, 0xd0, 9}, 3, 0, X86_CF | X86_OF, X86_OF},	/* rcl al, 9 */
		{{0x0f, 0xa4, 0xc0, 0}, 4, 0, 0, 0},			/* shld eax, eax, 0 */
		{{0x0f, 0xa4, 0xc0, 1}, 4, X86_STATUS_FLAGS, X86_STATUS_FLAGS, X86_AF},
		{{0x66, 0x0f, 0xa4, 0xc0, 17},
		 5,
		 X86_STATUS_FLAGS,
		 X86_STATUS_FLAGS,
		 X86_STATUS_FLAGS},
	};

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		struct x86_insn in;

		assert_int_equal(decode64(&in, row[i].bytes, row[i].len), X86_DECODE_OK);
		assert_int_equal(in.flags_write, row[i].write);
		assert_int_equal(in.flags_may_write, row[i].may);
		assert_int_equal(in.flags_undef, row[i].undef);
	}
}

static void form_seen(void *ctx, const struct x86_form_info *f)
{
	bool *seen = ctx;

	assert_true((unsigned)f->op < X86_OP_COUNT);
	seen[f->op] = true;
}

/* Each operation has a name and a form. */
static void test_forms(void **st)
{
	static bool seen[X86_OP_COUNT];

	(void)st;
	assert_true(x86_forms(form_seen, seen) > 800);
	for (unsigned op = 0; op < X86_OP_COUNT; op++) {
		assert_non_null(x86_op_name((enum x86_op)op));
		if (!seen[op] && op != X86_OP_NOP)
			fail_msg("no form of %s", x86_op_name((enum x86_op)op));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64),	    cmocka_unit_test(test_32),
		cmocka_unit_test(test_16),	    cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_too_long),    cmocka_unit_test(test_vendors),
		cmocka_unit_test(test_shift_flags), cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
