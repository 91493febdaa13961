/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - places where a build for tests (with the sanitizers) fails or dies if it is told to.
 *
 * $LODGE_FAULT is NAME:error or NAME:crash. At the place of that name the call fails with -EIO and a sentence, or the process is killed. Other builds have no such places.
 */
#ifndef LODGE_UTIL_FAULT_H
#define LODGE_UTIL_FAULT_H

#include "util/err.h"

#ifdef __SANITIZE_ADDRESS__
int fault_point(const char *name, struct err *e);
#else
static inline int fault_point(const char *name, struct err *e)
{
	(void)name;
	(void)e;
	return 0;
}
#endif

#endif
