/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - every operation that the decoder can name: one list, three owners.
 *
 * X86_OPS_INT are integer operations with a C function each (engine/soft/op_*.c).
 * X86_OPS_SYS are system, segment and privileged operations with a C function each (engine/soft/sys_*.c).
 * X86_OPS_FP run as themselves (x87, MMX, SSE, AVX, BMI, AES, SHA): the engine makes the host execute them. Only the
 * masked moves and gathers among them are done in C.
 */
#ifndef LODGE_X86_OPS_H
#define LODGE_X86_OPS_H

#define X86_OPS_INT(X) \
	X(ADD)         \
	X(OR)          \
	X(ADC)         \
	X(SBB)         \
	X(AND)         \
	X(SUB)         \
	X(XOR)         \
	X(CMP)         \
	X(TEST)        \
	X(INC)         \
	X(DEC)         \
	X(NEG)         \
	X(NOT)         \
	X(MUL)         \
	X(IMUL1)       \
	X(IMUL)        \
	X(DIV)         \
	X(IDIV)        \
	X(ROL)         \
	X(ROR)         \
	X(RCL)         \
	X(RCR)         \
	X(SHL)         \
	X(SHR)         \
	X(SAR)         \
	X(SHLD)        \
	X(SHRD)        \
	X(BT)          \
	X(BTS)         \
	X(BTR)         \
	X(BTC)         \
	X(BSF)         \
	X(BSR)         \
	X(TZCNT)       \
	X(LZCNT)       \
	X(POPCNT)      \
	X(CRC32)       \
	X(MOV)         \
	X(MOVZX)       \
	X(MOVSX)       \
	X(MOVSXD)      \
	X(MOVNTI)      \
	X(MOVBE)       \
	X(LEA)         \
	X(XCHG)        \
	X(XADD)        \
	X(CMPXCHG)     \
	X(CMPXCHG8B)   \
	X(CMPXCHG16B)  \
	X(BSWAP)       \
	X(CMOV)        \
	X(SETCC)       \
	X(CBW)         \
	X(CWD)         \
	X(LAHF)        \
	X(SAHF)        \
	X(SALC)        \
	X(CLC)         \
	X(STC)         \
	X(CMC)         \
	X(CLD)         \
	X(STD)         \
	X(XLAT)        \
	X(AAA)         \
	X(AAS)         \
	X(DAA)         \
	X(DAS)         \
	X(AAM)         \
	X(AAD)         \
	X(BOUND)       \
	X(PUSH)        \
	X(POP)         \
	X(PUSHA)       \
	X(POPA)        \
	X(ENTER)       \
	X(LEAVE)       \
	X(JMP)         \
	X(JCC)         \
	X(CALL)        \
	X(RET)         \
	X(LOOP)        \
	X(LOOPE)       \
	X(LOOPNE)      \
	X(JCXZ)        \
	X(JMP_IND)     \
	X(CALL_IND)    \
	X(MOVS)        \
	X(STOS)        \
	X(LODS)        \
	X(CMPS)        \
	X(SCAS)        \
	X(NOP)         \
	X(PAUSE)       \
	X(PREFETCH)    \
	X(LFENCE)      \
	X(SFENCE)      \
	X(MFENCE)      \
	X(CLFLUSH)     \
	X(RDRAND)      \
	X(RDSEED)

#define X86_OPS_SYS(X)                                                 \
	X(UD)                                                          \
	X(INS)                                                         \
	X(OUTS)                                                        \
	X(IN)                                                          \
	X(OUT)                                                         \
	X(MOV_FROM_SREG)                                               \
	X(MOV_TO_SREG)                                                 \
	X(PUSH_SREG)                                                   \
	X(POP_SREG)                                                    \
	X(LES)                                                         \
	X(LDS)                                                         \
	X(LSS)                                                         \
	X(LFS)                                                         \
	X(LGS)                                                         \
	X(JMP_FAR)                                                     \
	X(CALL_FAR)                                                    \
	X(RET_FAR) /* direct (imm:imm2) and indirect (memory) alike */ \
	X(INT)                                                         \
	X(INT3)                                                        \
	X(INTO)                                                        \
	X(INT1)                                                        \
	X(IRET)                                                        \
	X(SYSCALL)                                                     \
	X(SYSRET)                                                      \
	X(SYSENTER)                                                    \
	X(SYSEXIT)                                                     \
	X(SWAPGS)                                                      \
	X(MOV_FROM_CR)                                                 \
	X(MOV_TO_CR)                                                   \
	X(MOV_FROM_DR)                                                 \
	X(MOV_TO_DR)                                                   \
	X(LMSW)                                                        \
	X(SMSW)                                                        \
	X(CLTS)                                                        \
	X(LGDT)                                                        \
	X(LIDT)                                                        \
	X(SGDT)                                                        \
	X(SIDT)                                                        \
	X(LLDT)                                                        \
	X(LTR)                                                         \
	X(SLDT)                                                        \
	X(STR)                                                         \
	X(LAR)                                                         \
	X(LSL)                                                         \
	X(VERR)                                                        \
	X(VERW)                                                        \
	X(ARPL)                                                        \
	X(INVLPG)                                                      \
	X(INVPCID)                                                     \
	X(INVD)                                                        \
	X(WBINVD)                                                      \
	X(RDTSC)                                                       \
	X(RDTSCP)                                                      \
	X(RDPMC)                                                       \
	X(RDPID)                                                       \
	X(RDMSR)                                                       \
	X(WRMSR)                                                       \
	X(CPUID)                                                       \
	X(HLT)                                                         \
	X(CLI)                                                         \
	X(STI)                                                         \
	X(CLAC)                                                        \
	X(STAC)                                                        \
	X(PUSHF)                                                       \
	X(POPF)                                                        \
	X(RDFSBASE)                                                    \
	X(RDGSBASE)                                                    \
	X(WRFSBASE)                                                    \
	X(WRGSBASE)                                                    \
	X(MONITOR)                                                     \
	X(MWAIT)                                                       \
	X(XGETBV)                                                      \
	X(XSETBV)                                                      \
	X(VMCALL)                                                      \
	X(VMMCALL)                                                     \
	X(RSM)                                                         \
	X(XSAVE)                                                       \
	X(XSAVEOPT)                                                    \
	X(XSAVEC)                                                      \
	X(XRSTOR)

#define X86_OPS_FP(X)                                                                          \
	X(FP) /* x87, MMX, SSE, AVX, FMA, AES, SHA .. with at most one ModRM memory operand */ \
	X(FWAIT)                                                                               \
	X(FSTENV)                                                                              \
	X(FLDENV)                                                                              \
	X(FSAVE)                                                                               \
	X(FRSTOR)                                                                              \
	X(FXSAVE)                                                                              \
	X(FXRSTOR)                                                                             \
	X(LDMXCSR)                                                                             \
	X(STMXCSR)                                                                             \
	X(BMI)	    /* BMI1 and BMI2 with VEX: general registers only */                       \
	X(MASKMOV)  /* MASKMOVQ, (V)MASKMOVDQU: implicit memory at DS:rDI */                   \
	X(VMASKMOV) /* VMASKMOVPS/PD, VPMASKMOVD/Q: only elements with a mask are accessed */  \
	X(VGATHER)

enum x86_op {
#define X(name) X86_OP_##name,
	X86_OPS_INT(X) X86_OPS_SYS(X) X86_OPS_FP(X)
#undef X
		X86_OP_COUNT
};

#endif
