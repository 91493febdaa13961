/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rate.c - lodge-rate FILE PERCENT: makes of a saved machine (state/state_file.h) one whose time stamp counter ran that much faster, as
 * if it came from another host. For tests/bed/move.sh.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>

#include "util/buf.h"

#define SECTIONS 4096u /* where they begin */
#define HEAD \
	16u /* of a section (state/state.c): length, version, length of the name, checksum, 0 */
#define HEAD_CRC 8u

static void put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* The last field of the section "machine" is the rate in kHz. */
static int change(uint8_t *file, size_t size, unsigned percent)
{
	for (size_t at = SECTIONS; at + HEAD <= size;) {
		size_t len = buf_le32(file + at), name = buf_le16(file + at + 6),
		       all = HEAD + name + len;
		uint8_t *rate;

		if (len < 4 || all > size - at)
			return 1;
		if (name == 7 && !memcmp(file + at + HEAD, "machine", 7)) {
			rate = file + at + all - 4;
			put32(rate, buf_le32(rate) / 100 * (100 + percent));
			put32(file + at + HEAD_CRC, 0);
			put32(file + at + HEAD_CRC, (uint32_t)crc32_z(0, file + at, all));
			return 0;
		}
		at += all;
	}
	return 1;
}

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
	struct stat st;
	void *file;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 2;
	file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return 2;
	return change(file, (size_t)st.st_size, (unsigned)atoi(argv[2]));
}
