/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httphead.h - the head of an HTTP/1.1 request (RFC 9112 §3, §5): from text to parts.
 *
 * Strict: what could be read in two ways (two lengths, a length beside a coding, blanks before a colon, folded lines, two hosts)
 * is refused, not guessed.
 */
#ifndef LODGE_DAEMON_HTTPHEAD_H
#define LODGE_DAEMON_HTTPHEAD_H

#include "util/base.h"

struct http_head {
	char *method, *path;
	const char *query;    /* "" if there is none, as all below */
	const char *if_match; /* of If-Match */
	const char *host, *origin;
	uint64_t length; /* of the body */
	bool close;	 /* the connection is not to stay */
	/* A greeting of WebSocket (RFC 6455 §4.2.1); ws_version: what it wants, 13 is the only one there is. */
	bool ws;
	const char *ws_key, *ws_version;
};

/*
 * `text` is a head without its last empty line, ended by a NUL; it is cut up in place, and parts of `h` point into it. 0, or the status
 * to refuse with.
 */
unsigned http_head_parse(char *text, struct http_head *h);

#endif
