/* SPDX-License-Identifier: Apache-2.0 */
/* procfile.h - small files of /proc and /sys, whole. Any thread. */
#ifndef LODGE_UTIL_PROCFILE_H
#define LODGE_UTIL_PROCFILE_H

#include "util/base.h"

/* Its first size - 1 bytes, with a NUL behind them. False: it cannot be read, or is empty; `out` is "" then. */
bool procfile_read(const char *path, char *out, size_t size);
/* All of it, for the caller to free; "" where it cannot be read. NULL: out of memory. */
char *procfile_whole(const char *path);

#endif
