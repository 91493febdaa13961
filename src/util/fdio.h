/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdio.h - whole reads and writes at a place of a file. Any thread; the file's position is not used.
 */
#ifndef LODGE_UTIL_FDIO_H
#define LODGE_UTIL_FDIO_H

#include "util/base.h"

/* 0, -ENODATA when the file ends before, or -errno. */
int fdio_read(int fd, void *data, size_t len, uint64_t at);
/* 0 or -errno. */
int fdio_write(int fd, const void *data, size_t len, uint64_t at);

#endif
