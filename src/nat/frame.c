/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.c - checksums that a guest left to its network card.
 *
 * A guest that negotiated VIRTIO_NET_F_CSUM sends TCP and UDP with only the pseudo header's sum in the
 * checksum field and says where to begin and where to put it (virtio 1.2 §5.1.6.2). A large TCP packet that a card
 * would cut up (GSO) is left whole: the stack behind takes any size, nothing is ever cut on this way.
 */
#include "nat/frame.h"

#include <string.h>

#define HDR_F_NEEDS_CSUM 1u
#define HDR_F_DATA_VALID 2u
#define ETH_HLEN 14u

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

uint16_t frame_sum(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;

	/* 32-bit words into 64 bits: 2^32 of them before a carry could be lost. */
	for (; len >= 32; len -= 32, p += 32) {
		uint32_t w[8];

		memcpy(w, p, sizeof(w));
		for (unsigned i = 0; i < 8; i++)
			sum += w[i];
	}
	for (; len >= 2; len -= 2, p += 2)
		sum += get16(p);
	if (len)
		sum += *p;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

size_t frame_from_guest(uint8_t *buf, size_t len)
{
	uint8_t *frame = buf + FRAME_HDR;
	size_t start, at;
	uint16_t sum;

	if (len < FRAME_HDR + ETH_HLEN)
		return 0;
	len -= FRAME_HDR;
	if (!(buf[0] & HDR_F_NEEDS_CSUM))
		return len;
	start = get16(buf + 6);
	at = start + get16(buf + 8);
	if (start < ETH_HLEN || at + 2 > len)
		return 0;
	sum = (uint16_t)~frame_sum(frame + start, len - start);
	if (!sum)
		sum = 0xffff; /* 0 means none for UDP (RFC 768), and is the same number */
	memcpy(frame + at, &sum, sizeof(sum));
	return len;
}

void frame_header_to_guest(uint8_t hdr[FRAME_HDR])
{
	memset(hdr, 0, FRAME_HDR);
	hdr[0] = HDR_F_DATA_VALID;
	hdr[10] = 1; /* num_buffers */
}
