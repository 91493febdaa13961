/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.c - an HTTP client of one request a connection, on lodged's socket. */
#include "cli/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/rundir.h"
#include "util/buf.h"

#define ANSWER_MAX ((size_t)16 * 1024 * 1024)
#define WAIT_SECONDS 3600u

static int connect_daemon(struct err *e)
{
	struct timeval patience = {.tv_sec = WAIT_SECONDS + 60};
	struct err inner = {0};
	struct rundir base;
	int fd;

	if (getenv("LODGE_DIRECT"))
		return -ENOENT;
	fd = rundir_open_base(&base, e);
	if (fd < 0)
		return fd;
	fd = rundir_connect(&base, "lodged.socket", SOCK_STREAM, &inner);
	rundir_close(&base);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return -ENOENT;
	if (fd < 0)
		return err_set(e, inner.code, "cannot reach lodged: %s", inner.msg);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return 0;
}

/* All that comes, until the daemon closes. */
static int receive(int fd, struct buf *b)
{
	char piece[4096];
	ssize_t n;

	while ((n = recv(fd, piece, sizeof(piece), 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf_put(b, piece, (size_t)n);
		if (buf_error(b))
			return buf_error(b);
	}
	buf_put_u8(b, 0);
	return buf_error(b);
}

/* What status_of() is to make of an error's id. */
static int code_of(const char *id)
{
	static const struct {
		const char *id;
		int code;
	} all[] = {{"not-found", ESRCH},   {"exists", EEXIST},	  {"running", EBUSY},
		   {"not-running", EBUSY}, {"busy", EBUSY},	  {"revision", EBUSY},
		   {"forbidden", EPERM},   {"permission", EPERM}, {"bad-request", EINVAL},
		   {"bad-value", EINVAL},  {"capacity", ENOSPC}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].id, id))
			return all[i].code;
	return EIO;
}

static int error_of(const json_t *holder, struct err *e)
{
	const json_t *error = json_object_get(holder, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *id = json_string_value(json_object_get(error, "id"));
	char shown[400];

	return err_set(e, code_of(id ? id : ""), "%s",
		       err_quote(shown, sizeof(shown), message ? message : "lodged refuses that"));
}

static int parse(const struct buf *b, json_t **answer, struct err *e)
{
	const char *text = (const char *)b->data, *body = strstr(text, "\r\n\r\n");
	_autojson json_t *j = NULL;
	int status = 0;

	if (strncmp(text, "HTTP/1.1 ", 9) == 0)
		status = atoi(text + 9);
	if (status < 200 || status > 599 || !body)
		return err_set(e, EPROTO, "what answers in place of lodged is not lodged");
	body += 4;
	if (*body && json_parse(body, strlen(body), ANSWER_MAX, "lodged's answer", &j, e) < 0)
		return -EPROTO;
	if (status >= 400)
		(void)error_of(j, e);
	if (answer)
		*answer = json_incref(j);
	return status;
}

int daemon_call(const char *method, const char *path, const json_t *body, json_t **answer,
		struct err *e)
{
	_autofree char *text = body ? json_text(body) : NULL, *request = NULL;
	_autoclose int fd = connect_daemon(e);
	struct buf b;
	int r;

	if (answer)
		*answer = NULL;
	if (fd < 0)
		return fd;
	if (asprintf(&request,
		     "%s %s HTTP/1.1\r\nHost: lodged\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		     method, path, text ? strlen(text) : 0, text ? text : "") < 0)
		return err_set(e, ENOMEM, "out of memory");
	buf_init(&b, ANSWER_MAX);
	r = send_all(fd, request, strlen(request));
	if (r == 0)
		r = receive(fd, &b);
	r = r < 0 ? err_errno(e, -r, "lodged does not answer") : parse(&b, answer, e);
	buf_fini(&b);
	return r;
}

bool daemon_has(const char *name)
{
	char path[96];

	if (config_check_name(name, NULL) < 0)
		return false;
	snprintf(path, sizeof(path), "/1.0/vms/%s", name);
	return daemon_call("GET", path, NULL, NULL, NULL) == 200;
}

int daemon_operate(const char *name, const char *verb, const json_t *body, struct err *e)
{
	_autojson json_t *begun = NULL, *ended = NULL;
	const char *state;
	char path[96];
	int r;

	snprintf(path, sizeof(path), "/1.0/vms/%.64s/%s", name, verb);
	r = daemon_call("POST", path, body, &begun, e);
	if (r != 202)
		return r < 0 ? r : -e->code;
	snprintf(path, sizeof(path), "/1.0/operations/%" JSON_INTEGER_FORMAT "?wait=%u",
		 json_integer_value(json_object_get(begun, "id")), WAIT_SECONDS);
	r = daemon_call("GET", path, NULL, &ended, e);
	if (r != 200)
		return r < 0 ? r : -e->code;
	state = json_string_value(json_object_get(ended, "state"));
	if (state && !strcmp(state, "done"))
		return 0;
	return error_of(ended, e);
}
