/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stuck - a guest that hangs, for tests of `lodge why` (tests/system/why): with STUCK_HALT its processor sleeps with interrupts off, else
 * it spins with interrupts off.
 */
#include "flat.h"

main:
	cli
#ifdef STUCK_HALT
	hlt
#endif
	jmp main
