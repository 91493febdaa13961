/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_rmw.c - the lock for locked operands that have no one host address: those that cross a page, and MMIO.
 *
 * A spin lock, held over one read and one write of a checked operand. All vCPUs share it; the host calls made
 * under it (MMIO) take device locks that are never held while guest code runs, so there is no cycle.
 */
#include "engine/soft/op_util.h"

static bool slow_lock;

void op_slow_lock(void)
{
	while (__atomic_test_and_set(&slow_lock, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
}

void op_slow_unlock(void)
{
	__atomic_clear(&slow_lock, __ATOMIC_RELEASE);
}
