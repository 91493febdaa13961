/* SPDX-License-Identifier: Apache-2.0 */
/* remote_ws.c - see remote_ws.h. */
#include "cli/remote_ws.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "cli/guestio.h"
#include "util/base64.h"

#define ANSWER_MAX ((size_t)4 * 1024 * 1024)

/* ---- the head of an answer ---- */

void remote_ws_close(struct remote_ws *s)
{
	daemon_close(&s->conn);
	buf_fini(&s->got);
	ws_reader_fini(&s->reader);
}

int remote_ws_more(struct remote_ws *s, struct err *e)
{
	char piece[16384];
	ssize_t n;

	do
		n = recv(s->conn.fd, piece, sizeof(piece), 0);
	while (n < 0 && errno == EINTR && !guestio_told());
	if (n < 0 && errno == EINTR)
		return err_set(e, EINTR, "interrupted");
	if (n < 0)
		return err_errno(e, errno, "lodged does not answer");
	if (s->got.pos == s->got.len)
		buf_reset(&s->got);
	buf_put(&s->got, piece, (size_t)n);
	return buf_error(&s->got) ? err_set(e, EMSGSIZE, "lodged's answer is too long") : n > 0;
}

int remote_ws_get(struct remote_ws *s, const char *path, const char *fields,
		  char head[REMOTE_WS_HEAD_MAX], size_t *length, struct err *e)
{
	_autofree char *request = NULL;
	const char *end, *field;
	size_t n;
	int r;

	*s = (struct remote_ws){.conn = {.fd = -1, .why = -1}};
	ws_reader_init(&s->reader, false, ANSWER_MAX);
	buf_init(&s->got, ANSWER_MAX);
	r = daemon_connect(&s->conn, e);
	if (r == -ENOENT)
		return err_set(e, ECONNREFUSED, "lodged does not run");
	if (r < 0)
		return r;
	if (asprintf(&request, "GET %s HTTP/1.1\r\nHost: lodged\r\n%s\r\n", path, fields) < 0)
		return err_set(e, ENOMEM, "out of memory");
	if (daemon_send(&s->conn, request, strlen(request)) < 0)
		return daemon_why(&s->conn, e);
	do {
		r = remote_ws_more(s, e);
		if (r <= 0)
			return r == -EINTR ? r : daemon_why(&s->conn, e);
		end = memmem(s->got.data, s->got.len, "\r\n\r\n", 4);
	} while (!end && s->got.len < REMOTE_WS_HEAD_MAX);
	n = end ? (size_t)(end - (const char *)s->got.data) + 4 : REMOTE_WS_HEAD_MAX;
	if (n >= REMOTE_WS_HEAD_MAX)
		return daemon_stranger(e);
	memcpy(head, s->got.data, n);
	head[n] = '\0';
	s->got.pos = n;
	r = daemon_status(head);
	field = strcasestr(head, "\r\nContent-Length:");
	*length = field ? strtoul(field + 17, NULL, 10) : ANSWER_MAX;
	return r ? r : daemon_stranger(e);
}

int remote_ws_body(struct remote_ws *s, size_t length, struct err *e)
{
	int r = 1;

	while (r > 0 && s->got.len - s->got.pos < length)
		r = remote_ws_more(s, e);
	return r == 0 ? daemon_why(&s->conn, e) : MIN(r, 0);
}

int remote_ws_error(struct remote_ws *s, int status, size_t length, struct err *e)
{
	_autojson json_t *j = NULL;
	int r = status < 400 ? daemon_stranger(e) : remote_ws_body(s, length, e);

	if (r == 0 && json_parse((const char *)s->got.data + s->got.pos, length, ANSWER_MAX,
				 "lodged's answer", &j, NULL) < 0)
		r = daemon_stranger(e);
	return r < 0 ? r : daemon_error(j, e);
}

/* ---- WebSocket ---- */

int remote_ws_open(struct remote_ws *s, const char *path, struct err *e)
{
	char fields[256], head[REMOTE_WS_HEAD_MAX], accept[WS_ACCEPT_MAX],
		wanted[WS_ACCEPT_MAX + 32];
	uint8_t random[16];
	_autofree char *key = NULL;
	size_t length = 0;
	int r;

	*s = (struct remote_ws){.conn = {.fd = -1, .why = -1}}; /* to be closed, whatever happens */
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_errno(e, errno, "there are no random numbers");
	key = base64_encode(random, sizeof(random));
	if (!key || !ws_accept(key, accept))
		return err_set(e, ENOMEM, "out of memory");
	snprintf(fields, sizeof(fields),
		 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
		 key);
	r = remote_ws_get(s, path, fields, head, &length, e);
	if (r < 0)
		return r;
	if (r != 101)
		return remote_ws_error(s, r, length, e);
	snprintf(wanted, sizeof(wanted), "Sec-WebSocket-Accept: %s\r\n", accept);
	return strcasestr(head, wanted) ? 0 : err_set(e, EPROTO, "what answers is not a WebSocket");
}

int remote_ws_send(const struct remote_ws *s, enum ws_op op, const void *data, size_t len)
{
	_autofree uint8_t *frame = NULL;
	uint8_t mask[4];
	size_t n;

	if (getrandom(mask, sizeof(mask), 0) != (ssize_t)sizeof(mask))
		return -EIO;
	frame = malloc(WS_HEAD_MAX + len);
	if (!frame)
		return -ENOMEM;
	n = ws_head(frame, op, len, mask);
	if (len)
		memcpy(frame + n, data, len);
	ws_mask(frame + n, len, mask);
	return daemon_send(&s->conn, frame, n + len);
}

int remote_ws_take(struct remote_ws *s, struct ws_message *m, struct err *e)
{
	char shown[WS_CONTROL_MAX + 1], why[WS_CONTROL_MAX + 1];

	while (s->got.pos < s->got.len) {
		ssize_t n = ws_read(&s->reader, s->got.data + s->got.pos, s->got.len - s->got.pos,
				    m);

		if (n < 0)
			return err_set(e, EPROTO, "lodged does not speak WebSocket");
		s->got.pos += (size_t)n;
		switch (m->op) {
		case WS_TEXT:
		case WS_BINARY: return 1;
		case WS_PING:
			if (remote_ws_send(s, WS_PONG, m->data, m->len) < 0)
				return daemon_why(&s->conn, e);
			break;
		case WS_CLOSE:
			snprintf(why, sizeof(why), "%.*s", (int)m->len, (const char *)m->data);
			if (m->code != WS_NORMAL)
				err_set(e, EPIPE, "lodged has closed the connection: %s",
					err_quote(shown, sizeof(shown), why));
			return -ENOTCONN;
		default: break;
		}
	}
	return 0;
}
