/* SPDX-License-Identifier: Apache-2.0 */
/* state_forge.h - saved state as somebody makes it who damages it on purpose: with right checksums. */
#ifndef LODGE_TESTS_STATE_FORGE_H
#define LODGE_TESTS_STATE_FORGE_H

#include <string.h>
#include <zlib.h>

#include "util/buf.h"

/* Checksums of all sections, made right. */
static inline void state_forge(uint8_t *data, size_t len)
{
	size_t at = 0;

	while (at + 16 <= len) {
		size_t n = 16 + buf_le16(data + at + 6) + (size_t)buf_le32(data + at);
		uint32_t crc;

		if (n > len - at)
			return;
		memset(data + at + 8, 0, 4);
		crc = (uint32_t)crc32_z(0, data + at, n);
		memcpy(data + at + 8, &crc, 4);
		at += n;
	}
}

#endif
