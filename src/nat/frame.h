/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - frames with a virtio_net_hdr in front, on their way to and from libslirp.
 */
#ifndef LODGE_NAT_FRAME_H
#define LODGE_NAT_FRAME_H

#include "util/base.h"

#define FRAME_HDR 12u			     /* virtio_net_hdr_v1; virtio 1.2 §5.1.6 */
#define FRAME_MAX (FRAME_HDR + 14u + 65535u) /* with one IP packet of any size */

/* A frame from the guest, header in front, `len` bytes in all: fills in the checksum that it left to us. The length of the
 * Ethernet frame behind the header, or 0: not a frame that anybody can use. */
size_t frame_from_guest(uint8_t *buf, size_t len);
/* Writes the header of a frame with good checksums. */
void frame_header_to_guest(uint8_t hdr[FRAME_HDR]);
/* Sum of 16-bit words in memory order, folded to 16 bits, of the Internet checksum (RFC 1071); an odd last byte counts as
 * if a 0 followed. */
uint16_t frame_sum(const uint8_t *p, size_t len);

#endif
