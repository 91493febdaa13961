/* SPDX-License-Identifier: Apache-2.0 */
/* procfile.c - see procfile.h. */
#include "util/procfile.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

bool procfile_read(const char *path, char *out, size_t size)
{
	_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	/* One read gives a page of a long one. */
	while (fd >= 0 && len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	return len > 0;
}

char *procfile_whole(const char *path)
{
	_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0, size = 4096;
	char *text = malloc(size);
	ssize_t n;

	while (text && fd >= 0 && (n = read(fd, text + len, size - 1 - len)) > 0) {
		len += (size_t)n;
		if (len + 1 == size) {
			char *more = realloc(text, size *= 2);

			if (!more)
				free(text);
			text = more;
		}
	}
	if (text)
		text[len] = '\0';
	return text;
}
