/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the architectural state of one x86-64 logical processor, owned by no engine.
 *
 * Both engines load and store this structure; snapshots, migration, lock-step comparison and the
 * state dump use it too. Local APIC state is the board's, not in here, except what the processor
 * itself shows (CR8, IA32_APIC_BASE). All fields are host-endian; the wire form is made by src/state.
 */
#ifndef LODGE_X86_STATE_H
#define LODGE_X86_STATE_H

#include "util/base.h"

enum x86_gpr {
	X86_RAX,
	X86_RCX,
	X86_RDX,
	X86_RBX,
	X86_RSP,
	X86_RBP,
	X86_RSI,
	X86_RDI,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
	X86_RIP /* only as a base in an address */
};

enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SREGS };

/* Segment attributes: the access byte and flags nibble of a descriptor, as in bits 40-47 and
 * 52-55 of it (SDM vol. 3 §3.4.5): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15. */
#define X86_ATTR_TYPE 0x000fu
#define X86_ATTR_S 0x0010u
#define X86_ATTR_DPL_SHIFT 5
#define X86_ATTR_DPL(a) (((a) >> X86_ATTR_DPL_SHIFT) & 3u)
#define X86_ATTR_P 0x0080u
#define X86_ATTR_AVL 0x1000u
#define X86_ATTR_L 0x2000u
#define X86_ATTR_DB 0x4000u
#define X86_ATTR_G 0x8000u
/* With S: */
#define X86_ATTR_CODE 0x0008u	    /* type bit 3 */
#define X86_ATTR_CONFORMING 0x0004u /* code: type bit 2 */
#define X86_ATTR_EXPAND_DOWN 0x0004u
#define X86_ATTR_RW 0x0002u /* code: readable; data: writable */
#define X86_ATTR_ACCESSED 0x0001u

struct x86_seg {
	uint64_t base;
	uint32_t limit; /* last valid offset in bytes (granularity already applied) */
	uint16_t sel;
	uint16_t attr; /* X86_ATTR_*; P clear: unusable (null selector) */
};

struct x86_dtr {
	uint64_t base;
	uint16_t limit;
};

#define X86_CF 0x0001u
#define X86_F1 0x0002u /* always 1 */
#define X86_PF 0x0004u
#define X86_AF 0x0010u
#define X86_ZF 0x0040u
#define X86_SF 0x0080u
#define X86_TF 0x0100u
#define X86_IF 0x0200u
#define X86_DF 0x0400u
#define X86_OF 0x0800u
#define X86_IOPL 0x3000u
#define X86_NT 0x4000u
#define X86_RF 0x10000u
#define X86_VM 0x20000u
#define X86_AC 0x40000u
#define X86_VIF 0x80000u
#define X86_VIP 0x100000u
#define X86_ID 0x200000u
#define X86_STATUS_FLAGS (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF)

#define X86_CR0_PE 0x1u
#define X86_CR0_MP 0x2u
#define X86_CR0_EM 0x4u
#define X86_CR0_TS 0x8u
#define X86_CR0_ET 0x10u
#define X86_CR0_NE 0x20u
#define X86_CR0_WP 0x10000u
#define X86_CR0_AM 0x40000u
#define X86_CR0_NW 0x20000000u
#define X86_CR0_CD 0x40000000u
#define X86_CR0_PG 0x80000000u

#define X86_CR4_VME 0x1u
#define X86_CR4_PVI 0x2u
#define X86_CR4_TSD 0x4u
#define X86_CR4_DE 0x8u
#define X86_CR4_PSE 0x10u
#define X86_CR4_PAE 0x20u
#define X86_CR4_MCE 0x40u
#define X86_CR4_PGE 0x80u
#define X86_CR4_PCE 0x100u
#define X86_CR4_OSFXSR 0x200u
#define X86_CR4_OSXMMEXCPT 0x400u
#define X86_CR4_UMIP 0x800u
#define X86_CR4_LA57 0x1000u
#define X86_CR4_FSGSBASE 0x10000u
#define X86_CR4_PCIDE 0x20000u
#define X86_CR4_OSXSAVE 0x40000u
#define X86_CR4_SMEP 0x100000u
#define X86_CR4_SMAP 0x200000u
#define X86_CR4_PKE 0x400000u

#define X86_EFER_SCE 0x1u
#define X86_EFER_LME 0x100u
#define X86_EFER_LMA 0x400u
#define X86_EFER_NXE 0x800u
#define X86_EFER_AIBRSE 0x200000u /* AMD: automatic IBRS */

/* Exception vectors (SDM vol. 3 §6.3.1). */
enum x86_vector {
	X86_EXC_DE = 0,
	X86_EXC_DB = 1,
	X86_EXC_NMI = 2,
	X86_EXC_BP = 3,
	X86_EXC_OF = 4,
	X86_EXC_BR = 5,
	X86_EXC_UD = 6,
	X86_EXC_NM = 7,
	X86_EXC_DF = 8,
	X86_EXC_TS = 10,
	X86_EXC_NP = 11,
	X86_EXC_SS = 12,
	X86_EXC_GP = 13,
	X86_EXC_PF = 14,
	X86_EXC_MF = 16,
	X86_EXC_AC = 17,
	X86_EXC_MC = 18,
	X86_EXC_XM = 19
};

#define X86_MTRR_VAR 8

struct x86_msrs {
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, misc_enable, apic_base;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset (modulo 2^64) */
	uint64_t tsc_aux, tsc_adjust, tsc_deadline;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[X86_MTRR_VAR], mtrr_mask[X86_MTRR_VAR];
	uint64_t spec_ctrl, virt_spec_ctrl, mcg_status;
	uint64_t kvm_system_time, kvm_wall_clock, kvm_pv_eoi, kvm_steal_time;
};

/* Interrupt shadow and pending events that have begun but not been delivered. */
struct x86_events {
	bool sti_shadow;   /* interrupts held back for one instruction after STI */
	bool movss_shadow; /* interrupts and debug traps held back after MOV SS / POP SS */
	bool nmi_masked;   /* between NMI delivery and IRET */
	bool nmi_pending;
	bool halted; /* in HLT */
	bool kicked; /* the next HLT does nothing: somebody was faster (KVM's hypercall KICK_CPU) */
	bool wait_for_sipi; /* after INIT, before SIPI */
};

/*
 * x87, SSE and AVX state: the standard-format XSAVE area of these three (SDM vol. 1 §13.4). Its first 512 bytes are
 * the FXSAVE64 image (§10.5.1). Of the header only XSTATE_BV is used: a component whose bit is clear is in its initial
 * configuration whatever its bytes say (MXCSR is not part of any); who sets the state from elsewhere sets the bits.
 */
#define X86_XCR0_X87 1u
#define X86_XCR0_SSE 2u
#define X86_XCR0_AVX 4u
#define X86_XCR0_AVX512 0xe0u /* opmasks, ZMM_Hi256, Hi16_ZMM: all or none */
#define X86_FX_XMM 160
#define X86_FX_XSTATE_BV 512
#define X86_FX_YMM_HI 576 /* upper halves of YMM0-15 */
#define X86_FX_SIZE 832

/*
 * What AVX-512 adds (SDM vol. 1 §13.5.4), apart from the area above because its place in an XSAVE area is the processor's. A
 * component in its initial configuration is zero. The software engine has none of it and lets it be.
 */
struct x86_avx512 {
	uint64_t k[8];
	uint8_t zmm_hi[16][32]; /* upper halves of ZMM0-15 */
	uint8_t zmm_16[16][64]; /* ZMM16-31 */
};

struct x86_state {
	uint64_t gpr[16];
	uint64_t rip; /* offset in CS */
	uint64_t rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t dr[8]; /* 0-3 addresses, 6 status, 7 control; 4 and 5 unused */
	struct x86_seg seg[X86_SREGS];
	struct x86_seg ldt, tr;
	struct x86_dtr gdt, idt;
	uint64_t xcr0;
	struct x86_msrs msr;
	struct x86_events ev;
	uint8_t fx[X86_FX_SIZE] __attribute__((aligned(64)));
	struct x86_avx512 avx512; /* with X86_STATE_FPU */
};

/* Which parts engine get/set moves. */
#define X86_STATE_GPR BIT(0) /* gpr, rip, rflags */
#define X86_STATE_SYS BIT(1) /* control, debug, segment, descriptor table registers, xcr0 */
#define X86_STATE_MSR BIT(2)
#define X86_STATE_FPU BIT(3)
#define X86_STATE_EVENTS BIT(4)
#define X86_STATE_ALL 0x1fu

/* Power-up or INIT state (SDM vol. 3 table 9-1). INIT keeps FPU, most MSRs, CR0.CD/NW and the TSC.
 * `bsp`: sets the BSP bit of IA32_APIC_BASE; others wait for SIPI. */
void x86_state_reset(struct x86_state *s, bool bsp);
void x86_state_init(struct x86_state *s, bool bsp);
/* Start-up IPI: CS = vector << 8 real mode, IP 0; leaves wait_for_sipi. */
void x86_state_sipi(struct x86_state *s, uint8_t vector);

/* Copies the parts named by `mask` (X86_STATE_*). */
void x86_state_copy(struct x86_state *to, const struct x86_state *from, uint64_t mask);

static inline unsigned x86_state_cpl(const struct x86_state *s)
{
	return X86_ATTR_DPL(s->seg[X86_SS].attr);
}

/* Writes a many-line dump for people into buf; returns the length it wanted (as snprintf). */
int x86_state_print(const struct x86_state *s, char *buf, size_t size);

#endif
