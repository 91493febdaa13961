/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.h - input, output and end of a program in a guest, or of a copy, as messages: between lodged and the `lodge exec` or `lodge cp`
 * that it runs (packets of a SOCK_SEQPACKET socket), and between a client of the API and lodged (WebSocket messages).
 *
 * The first byte of a message says what it is. In a WebSocket a message is binary, but the end, which is text and has no such byte.
 */
#ifndef LODGE_PROTO_FRAMES_H
#define LODGE_PROTO_FRAMES_H

#define FRAME_MAX (64u * 1024)	 /* bytes of a message */
#define FRAME_PIECE (16u * 1024) /* of data that we send at once */

enum frame {
	FRAME_INPUT,  /* nothing behind it: that was all */
	FRAME_OUTPUT, /* standard output, or the file */
	FRAME_ERROR,  /* standard error */
	FRAME_END, /* the last: {"status":N} and, if it did not come about, "error":{"id","message"} */
};

#endif
