/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.h - WebSocket (RFC 6455) without the sockets: the answer to a greeting, frames to messages, and heads of frames.
 *
 * The reader takes bytes as they come, in pieces of any size, and gives out whole messages. What the other end may send is checked
 * to the letter (§5): reserved bits and opcodes, masks where they belong, lengths in their shortest form, control frames that are
 * short and whole, fragments in order, text that is UTF-8, closes with a code that may be sent. No extension, no subprotocol.
 */
#ifndef LODGE_PROTO_WS_H
#define LODGE_PROTO_WS_H

#include <sys/types.h>

#include "util/base.h"

#define WS_HEAD_MAX 14u
#define WS_CONTROL_MAX 125u /* bytes of a control frame, §5.5 */

enum ws_op {
	WS_NONE = -1,
	WS_MORE = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING,
	WS_PONG
};

/* Codes of a close, §7.4.1. */
enum ws_code {
	WS_NORMAL = 1000,
	WS_GOING_AWAY = 1001,
	WS_PROTOCOL = 1002,
	WS_NOT_TEXT = 1007,
	WS_POLICY = 1008,
	WS_TOO_LARGE = 1009,
	WS_INTERNAL = 1011,
	WS_TRY_LATER = 1013,
};

/* Members are the reader's own. */
struct ws_reader {
	bool server; /* what comes is from a client: masked */
	size_t max;  /* bytes of a message */
	uint8_t head[WS_HEAD_MAX];
	unsigned head_len;
	enum ws_op frame; /* of the frame that is being read; WS_NONE: its head is */
	bool final;
	uint64_t left; /* bytes of it that are to come */
	uint8_t mask[4];
	unsigned mask_at;
	enum ws_op op; /* of the message that is being put together; WS_NONE: none */
	uint8_t *data;
	size_t len, cap;
	uint8_t control[WS_CONTROL_MAX + 1];
	size_t control_len;
};

struct ws_message {
	enum ws_op op; /* WS_NONE: it is not there whole. Never WS_MORE */
	const uint8_t *data;
	size_t len;
	unsigned code; /* of a close; 1005: it has none */
};

void ws_reader_init(struct ws_reader *r, bool server, size_t max);
void ws_reader_fini(struct ws_reader *r);
/*
 * Takes bytes, up to the end of one message at most; returns how many. The message is valid until the next call. < 0: minus the code of
 * the close that the other end deserves; nothing can be read any more.
 */
ssize_t ws_read(struct ws_reader *r, const uint8_t *data, size_t len, struct ws_message *m);

/* The head of a frame that is a whole message; mask NULL: from a server. Returns its length. */
size_t ws_head(uint8_t head[WS_HEAD_MAX], enum ws_op op, size_t len, const uint8_t mask[4]);
void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4]);
/* What a close frame says; returns its length. `reason` is cut to fit. */
size_t ws_close_body(uint8_t body[WS_CONTROL_MAX], unsigned code, const char *reason);

/* Is it a key of a greeting: 16 bytes in base64 (§4.1)? */
bool ws_key_good(const char *key);
#define WS_ACCEPT_MAX 29u
/* What the server says to it (§4.2.2). false: out of memory. */
bool ws_accept(const char *key, char accept[WS_ACCEPT_MAX]);
/* Is it proper UTF-8 (RFC 3629)? */
bool ws_utf8(const uint8_t *text, size_t len);

#endif
