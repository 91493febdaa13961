/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.c - an HTTP client of one request a connection, to lodged here or elsewhere. */
#include "cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/guestio.h"
#include "cli/progress.h"
#include "keeper/launch.h"
#include "proto/rundir.h"
#include "util/buf.h"

#define ANSWER_MAX ((size_t)16 * 1024 * 1024)
#define WAIT_SECONDS 3600u

bool daemon_remote(void)
{
	const char *host = getenv("LODGE_HOST");

	return host && *host;
}

/* $LODGE_CONFIG, or as settings.h of lodged has it. */
static int config_file(char path[PATH_MAX], const char *name, struct err *e)
{
	const char *own = getenv("LODGE_CONFIG"), *xdg = getenv("XDG_CONFIG_HOME");
	const char *home = getenv("HOME");
	int n;

	if (own && *own)
		n = snprintf(path, PATH_MAX, "%s/%s", own, name);
	else if (xdg && *xdg == '/')
		n = snprintf(path, PATH_MAX, "%s/lodge/%s", xdg, name);
	else if (home && *home == '/')
		n = snprintf(path, PATH_MAX, "%s/.config/lodge/%s", home, name);
	else
		return err_set(e, ENOENT,
			       "there is no folder to find \"%s\" in: set HOME, or LODGE_CONFIG",
			       name);
	return n < PATH_MAX ? 0 : err_set(e, ENAMETOOLONG, "the path of \"%s\" is too long", name);
}

/* "HOST", "HOST:PORT", "[ADDRESS]:PORT", in place. */
static int split_host(char *text, char **host, const char **port)
{
	char *end = strrchr(text, ':');

	*port = "8443";
	*host = text;
	text[strcspn(text, "/")] = '\0';
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end)
			return -EINVAL;
		*host = text + 1;
		*end++ = '\0';
		if (*end != ':')
			end = NULL;
	}
	if (end && *end == ':') {
		*end = '\0';
		*port = end + 1;
	}
	return **host && **port && strspn(*port, "0123456789") == strlen(*port) && **host != '-' ?
		       0 :
		       -EINVAL;
}

static int connect_tls(struct daemon_conn *c, const char *url, struct err *e)
{
	static const char *const names[] = {"client.crt", "client.key", "host-ca.crt"};
	char files[ARRAY_SIZE(names)][PATH_MAX], text[300], *host;
	char *argv[7] = {(char *)(uintptr_t) "lodge-tls"};
	const char *port;
	int pair[2], why[2], fds[2], r = 0;

	if (strlen(url) >= sizeof(text))
		return err_set(e, EINVAL, "the name of the host is too long");
	strcpy(text, url);
	if (split_host(text, &host, &port) < 0)
		return err_set(e, EINVAL, "write --host https://NAME or https://NAME:PORT");
	for (unsigned i = 0; i < ARRAY_SIZE(names) && r == 0; i++) {
		r = config_file(files[i], names[i], e);
		argv[3 + i] = files[i];
	}
	if (r < 0)
		return r;
	argv[1] = host;
	argv[2] = (char *)(uintptr_t)port;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a socket");
	if (pipe2(why, O_CLOEXEC) < 0) {
		r = err_errno(e, errno, "cannot make a pipe");
		close(pair[0]);
		close(pair[1]);
		return r;
	}
	fds[0] = pair[1];
	fds[1] = why[1];
	r = launch_program("lodge-tls", argv, fds, 2, false, &c->pid, e);
	close(pair[1]);
	close(why[1]);
	c->fd = pair[0];
	c->why = why[0];
	return r;
}

static int connect_path(const char *path, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG, "the path of the socket is too long");
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	err_errno(e, errno, "cannot reach lodged at \"%s\"", path);
	if (fd >= 0)
		close(fd);
	return -e->code;
}

static int connect_local(struct err *e)
{
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
	return fd < 0 ? err_set(e, inner.code, "cannot reach lodged: %s", inner.msg) : fd;
}

int daemon_connect(struct daemon_conn *c, struct err *e)
{
	struct timeval patience = {.tv_sec = WAIT_SECONDS + 60};
	const char *host = daemon_remote() ? getenv("LODGE_HOST") : NULL;
	struct err inner = {0}, *why = e ? e : &inner;
	int r;

	*c = (struct daemon_conn){.fd = -1, .why = -1};
	if (!host)
		r = c->fd = connect_local(why);
	else if (!strncmp(host, "unix:", 5))
		r = c->fd = connect_path(host + 5, why);
	else if (!strncmp(host, "https://", 8))
		r = connect_tls(c, host + 8, why);
	else
		r = err_set(why, EINVAL, "write --host https://NAME[:PORT] or unix:PATH");
	if (r < 0) {
		daemon_close(c);
		/* "There is no daemon" is for this host only. */
		return daemon_remote() && r == -ENOENT ? -ECONNREFUSED : r;
	}
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return 0;
}

int daemon_why(struct daemon_conn *c, struct err *e)
{
	char text[400], shown[400];
	size_t n = 0;
	ssize_t got;

	if (c->fd >= 0) /* so that it ends, if it has not */
		(void)shutdown(c->fd, SHUT_RDWR);
	while (c->why >= 0 && n + 1 < sizeof(text) &&
	       (got = read(c->why, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	return err_set(e, EPIPE, "%s",
		       n ? err_quote(shown, sizeof(shown), text) :
			   "lodged has closed the connection");
}

void daemon_close(struct daemon_conn *c)
{
	base_close_fd(&c->fd);
	base_close_fd(&c->why);
	if (c->pid > 0)
		(void)waitpid(c->pid, NULL, 0); /* it ends with its socket */
	c->pid = 0;
}

int daemon_send(const struct daemon_conn *c, const void *data, size_t len)
{
	const char *text = data;

	while (len) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && (errno != EINTR || guestio_told()))
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
		   {"bad-value", EINVAL},  {"capacity", ENOSPC},  {"no-answer", ETIMEDOUT}};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(all[i].id, id))
			return all[i].code;
	return EIO;
}

int daemon_error(const json_t *holder, struct err *e)
{
	const json_t *error = json_object_get(holder, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *id = json_string_value(json_object_get(error, "id"));
	char shown[400];

	return err_set(e, code_of(id ? id : ""), "%s",
		       err_quote(shown, sizeof(shown), message ? message : "lodged refuses that"));
}

int daemon_stranger(struct err *e)
{
	return err_set(e, EPROTO, "what answers in place of lodged is not lodged");
}

int daemon_refused(int r, struct err *e)
{
	return r < 0 ? r : r >= 400 ? -e->code : daemon_stranger(e);
}

int daemon_status(const char *head)
{
	const char *digits = head + 9;

	if (strncmp(head, "HTTP/1.1 ", 9) != 0 || *digits < '1' || *digits > '5' ||
	    strspn(digits, "0123456789") != 3)
		return 0;
	return atoi(digits);
}

/* Those of lodged's have JSON, but for 204, which has nothing. */
static int parse(const struct buf *b, json_t **answer, struct err *e)
{
	const char *text = (const char *)b->data, *body = strstr(text, "\r\n\r\n");
	_autojson json_t *j = NULL;
	int status = daemon_status(text);

	if (status < 200 || (status >= 300 && status < 400) || !body)
		return daemon_stranger(e);
	body += 4;
	if (status != 204 &&
	    json_parse(body, strlen(body), ANSWER_MAX, "lodged's answer", &j, NULL) < 0)
		return daemon_stranger(e);
	if (status >= 400)
		(void)daemon_error(j, e);
	if (answer)
		*answer = json_incref(j);
	return status;
}

int daemon_call(const char *method, const char *path, const json_t *body, json_t **answer,
		struct err *e)
{
	_autofree char *text = body ? json_text(body) : NULL, *request = NULL;
	struct daemon_conn c;
	struct buf b;
	int r = daemon_connect(&c, e);

	if (answer)
		*answer = NULL;
	if (r < 0)
		return r;
	if (asprintf(&request,
		     "%s %s HTTP/1.1\r\nHost: lodged\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
		     method, path, text ? strlen(text) : 0, text ? text : "") < 0) {
		daemon_close(&c);
		return err_set(e, ENOMEM, "out of memory");
	}
	buf_init(&b, ANSWER_MAX);
	r = daemon_send(&c, request, strlen(request));
	if (r == 0)
		r = receive(c.fd, &b);
	if ((r < 0 && r != -EAGAIN) || (r == 0 && b.len <= 1))
		r = daemon_why(&c, e);
	else if (r < 0)
		r = err_errno(e, -r, "lodged does not answer");
	else
		r = parse(&b, answer, e);
	if (r == 204 && !strcmp(method, "GET"))
		r = daemon_stranger(e);
	buf_fini(&b);
	daemon_close(&c);
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

/* Until it has ended. */
static int follow(const char *name, const char *verb, json_int_t id, json_t **ended, struct err *e)
{
	unsigned wait = progress_live() ? 1 : PROGRESS_PLAIN_S, waited = 0;
	char path[96];

	for (;;) {
		const char *state;
		int r;

		snprintf(path, sizeof(path), "/1.0/operations/%" JSON_INTEGER_FORMAT "?wait=%u", id,
			 wait);
		r = daemon_call("GET", path, NULL, ended, e);
		state = json_string_value(json_object_get(*ended, "state")) ?: "";
		if (r != 200 || (strcmp(state, "pending") != 0 && strcmp(state, "running") != 0))
			return r;
		waited += wait;
		if (waited >= WAIT_SECONDS)
			return r;
		progress_show("%s %s: operation %" JSON_INTEGER_FORMAT " is %s, %u s", verb, name,
			      id, state, waited);
		if (!progress_live())
			wait = WAIT_SECONDS;
		json_decref(*ended);
		*ended = NULL;
	}
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
		return daemon_refused(r, e);
	r = follow(name, verb, json_integer_value(json_object_get(begun, "id")), &ended, e);
	progress_clear();
	if (r != 200)
		return daemon_refused(r, e);
	state = json_string_value(json_object_get(ended, "state"));
	if (state && !strcmp(state, "done"))
		return 0;
	return daemon_error(ended, e);
}
