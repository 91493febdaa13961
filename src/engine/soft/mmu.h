/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu.h - inside the MMU: the page table walk, and accesses at a stated privilege. Only for the files
 * that implement memory and system instructions; others use what soft.h offers.
 */
#ifndef LODGE_ENGINE_SOFT_MMU_H
#define LODGE_ENGINE_SOFT_MMU_H

#include "engine/soft/soft.h"

/* Page fault error code (SDM vol. 3 §4.7). */
#define MMU_PF_P 1u
#define MMU_PF_W 2u
#define MMU_PF_U 4u
#define MMU_PF_RSVD 8u
#define MMU_PF_I 16u

/* Low bits of soft_tlb_entry.gpa. */
#define MMU_TLB_GLOBAL BIT(0)
#define MMU_TLB_2M BIT(1) /* from a 2 MiB or 4 MiB page */
#define MMU_TLB_1G BIT(2)

static inline unsigned mmu_tlb_index(uint64_t la)
{
	return (unsigned)(la >> 12) & (SOFT_TLB_SIZE - 1);
}

static inline uint64_t mmu_page(uint64_t la)
{
	return la & ~UINT64_C(0xfff);
}

/* tlb.c: an entry that is not global was made, or one of a large page. */
void mmu_journal(struct soft_vcpu *v, unsigned kind, unsigned i);
void mmu_note_fetch(struct soft_vcpu *v, unsigned i);
/* tlb.c: entry i of array `kind` has got a write tag. */
void mmu_note_write(struct soft_vcpu *v, unsigned kind, unsigned i);
void mmu_note_large(struct soft_vcpu *v, uint64_t la, bool global);

enum mmu_result { MMU_OK, MMU_PF, MMU_GP };

/* What a walk found. */
struct mmu_xlate {
	gpa_t gpa;     /* of the byte asked for */
	uint8_t *host; /* first byte of its 4 KiB page in host memory; NULL: not RAM */
	uint32_t size; /* MMU_TLB_2M, MMU_TLB_1G or 0 */
	bool global;
	bool writable;	/* in this privilege, with CR0.WP as it is */
	bool dirty;	/* the dirty bit is set (or there is none) */
	uint32_t error; /* when MMU_PF */
};

/*
 * Translates la for an access of `kind` (enum soft_mmu) and sets accessed and dirty bits when it is
 * allowed. Looks at the page tables, not at the TLB. Raises nothing.
 */
enum mmu_result mmu_walk(struct soft_vcpu *v, uint64_t la, unsigned access, unsigned kind,
			 struct mmu_xlate *x);

/* First byte of the RAM page that holds gpa, or NULL. (gmem_at() for one page, without leaving this folder.) */
uint8_t *mmu_ram(const struct soft_vcpu *v, gpa_t gpa);
/* After a write to RAM by the engine that no TLB entry covers: dirty log and translated code. */
void mmu_ram_written(struct soft_vcpu *v, gpa_t gpa, unsigned size);

/* Loads the four PAE page directory pointers for cr3 (SDM vol. 3 §4.4.1). False: a reserved bit is set and
 * nothing was loaded; the instruction gets #GP(0). */
bool mmu_load_pdptes(struct soft_vcpu *v, uint64_t cr3);

/* Accesses at a stated privilege. */
uint64_t mmu_read(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned size);
void mmu_write(struct soft_vcpu *v, unsigned kind, uint64_t la, uint64_t value, unsigned size);
void mmu_probe_write(struct soft_vcpu *v, unsigned kind, uint64_t la, unsigned size);

/* The privilege of implicit supervisor accesses (SDM vol. 3 §4.6.1): SMAP counts whatever EFLAGS.AC says. */
static inline unsigned mmu_sys_kind(const struct soft_vcpu *v)
{
	return v->s.cr4 & X86_CR4_SMAP ? SOFT_MMU_KERNEL : SOFT_MMU_KERNEL_USER;
}

static inline bool mmu_canonical(uint64_t la)
{
	return (uint64_t)((int64_t)(la << 16) >> 16) == la;
}

/* Host accesses of any alignment, as one host instruction for sizes 1, 2, 4, 8. */
typedef uint16_t __attribute__((aligned(1), may_alias)) mmu_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) mmu_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) mmu_u64;

static inline uint64_t mmu_load(const void *p, unsigned size)
{
	switch (size) {
	case 1: return *(const volatile uint8_t *)p;
	case 2: return *(const volatile mmu_u16 *)p;
	case 4: return *(const volatile mmu_u32 *)p;
	case 8: return *(const volatile mmu_u64 *)p;
	default: {
		const volatile uint8_t *b = p;
		uint64_t r = 0;

		for (unsigned i = 0; i < size; i++)
			r |= (uint64_t)b[i] << (8 * i);
		return r;
	}
	}
}

static inline void mmu_store(void *p, uint64_t value, unsigned size)
{
	switch (size) {
	case 1: *(volatile uint8_t *)p = (uint8_t)value; break;
	case 2: *(volatile mmu_u16 *)p = (uint16_t)value; break;
	case 4: *(volatile mmu_u32 *)p = (uint32_t)value; break;
	case 8: *(volatile mmu_u64 *)p = value; break;
	default: {
		volatile uint8_t *b = p;

		for (unsigned i = 0; i < size; i++)
			b[i] = (uint8_t)(value >> (8 * i));
	}
	}
}

#endif
