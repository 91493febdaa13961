/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.h - MSRs of the vendors that operating systems read without asking CPUID, and what both engines show there: the
 * values of a processor where firmware has left nothing to do. Writes to them are ignored.
 */
#ifndef LODGE_X86_MSR_H
#define LODGE_X86_MSR_H

#include "x86/cpuid.h"

#define MSR_FEATURE_CONTROL 0x3au

/* True: it is one of them, and *value what it reads as. False: *value is 0. */
bool msr_constant(enum cpuid_vendor vendor, uint32_t msr, uint64_t *value);
/* Of those, one whose writes get #GP. */
static inline bool msr_constant_read_only(uint32_t msr)
{
	return msr == MSR_FEATURE_CONTROL; /* locked */
}

#endif
