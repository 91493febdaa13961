/* SPDX-License-Identifier: Apache-2.0 */
/* fdio.c - pread and pwrite until all is done. */
#include "util/fdio.h"

#include <errno.h>
#include <unistd.h>

/* seccomp vm: pread64 */
int fdio_read(int fd, void *data, size_t len, uint64_t at)
{
	uint8_t *p = data;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* seccomp vm: pwrite64 */
int fdio_write(int fd, const void *data, size_t len, uint64_t at)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}
