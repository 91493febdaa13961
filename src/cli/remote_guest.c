/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_guest.c - `lodge --host URL exec` and `cp`: by a WebSocket of lodged's API (proto/frames.h); and `guest`, by a request.
 *
 * Who does not answer lodged's pings is taken for dead, and pings come behind the output. So while nobody takes our output, lodged hears of us
 * all the same, by pongs that nobody asked for (RFC 6455 §5.5.3).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/remote_ws.h"
#include "proto/config.h"

#define HERE_MS 10000
#define PLAIN_PIECE 4096u /* PIPE_BUF: a pipe that can be written to takes it at once */
#define WAIT_MAX UINT64_C(3600)

struct talk {
	struct remote_ws ws;
	const struct guestio *io;
	bool input; /* more of it may come */
	bool over;
	bool unread; /* nobody reads our output any more */
	unsigned status;
	struct err why; /* of the end */
};

static int give_out(struct talk *t, int fd, const uint8_t *data, size_t len)
{
	while (len) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		int n = poll(&p, 1, HERE_MS);
		ssize_t done;

		if (guestio_told())
			return -EINTR;
		if (n == 0)
			(void)remote_ws_send(&t->ws, WS_PONG, NULL, 0);
		if (n <= 0)
			continue;
		done = write(fd, data, MIN(len, (size_t)PLAIN_PIECE));
		if (done < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		data += MAX(done, 0);
		len -= (size_t)MAX(done, 0);
	}
	return 0;
}

/* What is no end, or says that what failed went well, must not pass for a success. */
static int take_end(struct talk *t, const struct ws_message *m, struct err *e)
{
	_autojson json_t *j = json_loadb((const char *)m->data, m->len, 0, NULL);
	bool failed = json_is_object(json_object_get(j, "error"));
	uint64_t status;

	if (!j || json_get_u64(j, "status", true, failed, UINT8_MAX, &status, NULL) < 0)
		return daemon_stranger(e);
	t->over = true;
	t->status = (unsigned)status;
	if (failed)
		(void)daemon_error(j, &t->why);
	return 0;
}

static int take(struct talk *t, const struct ws_message *m, struct err *e)
{
	int r = 0;

	if (m->op == WS_TEXT)
		return take_end(t, m, e);
	if (m->len && (m->data[0] == FRAME_OUTPUT || m->data[0] == FRAME_ERROR))
		r = give_out(t, m->data[0] == FRAME_OUTPUT ? t->io->out : t->io->err, m->data + 1,
			     m->len - 1);
	t->unread = r == -EPIPE;
	return r ? err_errno(e, -r, "cannot write what comes") : 0;
}

static int give_in(struct talk *t, struct err *e)
{
	uint8_t message[1 + FRAME_PIECE] = {FRAME_INPUT};
	ssize_t n = guestio_read(t->io, message + 1, FRAME_PIECE);

	if (n < 0)
		return err_errno(e, (int)-n, "cannot read standard input");
	t->input = n > 0;
	/* When that fails, lodged says why, or has ended. */
	if (remote_ws_send(&t->ws, WS_BINARY, message, 1 + (size_t)n) < 0)
		t->input = false;
	return 0;
}

static int pump(struct talk *t, struct err *e)
{
	struct ws_message m;
	int r = 0;

	while (r >= 0 && !t->over) {
		struct pollfd p[2] = {{.fd = t->ws.conn.fd, .events = POLLIN},
				      {.fd = t->input ? t->io->in : -1, .events = POLLIN}};

		while (!t->over && (r = remote_ws_take(&t->ws, &m, e)) == 1)
			if ((r = take(t, &m, e)) < 0)
				return r;
		if (r == -ENOTCONN && !e->code)
			return err_set(e, EPIPE, "lodged has closed the connection");
		if (r < 0 || t->over)
			break;
		if (guestio_told())
			return -EINTR;
		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return err_errno(e, errno, "cannot wait for lodged");
			continue;
		}
		if (p[0].revents && remote_ws_more(&t->ws, e) <= 0)
			r = daemon_why(&t->ws.conn, e);
		if (r >= 0 && p[1].revents)
			r = give_in(t, e);
	}
	return r < 0 ? r : 0;
}

/* Opens it, says what is wanted (consumed; NULL: out of memory), and goes on to the end. */
static int talk(struct talk *t, const char *name, const char *what, json_t *start,
		const struct guestio *io, bool input, struct err *e)
{
	_autofree char *text = start ? json_text(start) : NULL;
	char path[96];
	int r = config_check_name(name, e);

	*t = (struct talk){.ws = {.conn = {.fd = -1, .why = -1}}, .io = io, .input = input};
	json_decref(start);
	if (r < 0)
		return r;
	if (!text)
		return err_set(e, ENOMEM, "out of memory");
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/%s", name, what);
	r = remote_ws_open(&t->ws, path, e);
	if (r == 0 && remote_ws_send(&t->ws, WS_TEXT, text, strlen(text)) < 0)
		r = daemon_why(&t->ws.conn, e);
	if (r == 0)
		r = pump(t, e);
	remote_ws_close(&t->ws);
	return r;
}

int remote_exec(const char *name, char *const argv[], bool input, uint64_t timeout_s,
		uint64_t wait_s)
{
	json_t *words = json_array(), *start;
	struct guestio io;
	struct err e = {0};
	struct talk t;
	int r;

	guestio_standard(&io, false);
	for (unsigned i = 0; argv[i]; i++)
		if (json_array_append_new(words, json_string(argv[i])) < 0) {
			json_decref(words);
			err_set(&e, EINVAL, "word %u of the command is not valid UTF-8", i + 1);
			return status_fail(&e, EXIT_OWN);
		}
	start = json_pack("{s:o, s:b, s:I}", "command", words, "input", input, "wait",
			  (json_int_t)MIN(wait_s, WAIT_MAX));
	if (start && timeout_s)
		json_object_set_new(start, "timeout", json_u64(timeout_s));
	r = talk(&t, name, "exec", start, &io, input, &e);
	if (guestio_told())
		return STATUS_INTERRUPTED;
	if (r < 0)
		return t.unread ? EXIT_OWN : (enum status)status_fail(&e, EXIT_OWN);
	if (t.why.code && t.status != STATUS_TIMEOUT)
		return status_fail(&t.why, (enum status)t.status);
	return (int)t.status;
}

static int copy(const char *name, json_t *start, const struct guestio *io, bool input, struct err *e)
{
	struct talk t;
	int r = talk(&t, name, "file", start, io, input, e);

	if (r == 0 && t.status)
		return err_set(e, EIO, "%s", t.why.code ? t.why.msg : "the copy failed");
	return r == -EINTR ? err_set(e, EINTR, "interrupted") : r;
}

int remote_put(const char *name, uint64_t wait_s, const char *path, mode_t mode,
	       const struct guestio *from, struct err *e)
{
	return copy(name,
		    json_pack("{s:s, s:s, s:i, s:I}", "path", path, "do", "write", "mode",
			      (int)mode, "wait", (json_int_t)MIN(wait_s, WAIT_MAX)),
		    from, true, e);
}

int remote_get(const char *name, uint64_t wait_s, const char *path, const struct guestio *to,
	       struct err *e)
{
	return copy(name,
		    json_pack("{s:s, s:s, s:I}", "path", path, "do", "read", "wait",
			      (json_int_t)MIN(wait_s, WAIT_MAX)),
		    to, false, e);
}

int remote_guest(const char *name, const char *command, uint64_t wait_s, json_t **result,
		 struct err *e)
{
	_autojson json_t *body = json_pack("{s:s, s:I}", "command", command, "wait",
					   (json_int_t)MIN(wait_s, WAIT_MAX));
	_autojson json_t *answer = NULL;
	char path[96];
	int r = config_check_name(name, e);

	*result = NULL;
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/guest", name);
	r = daemon_call("POST", path, body, &answer, e);
	if (r != 200)
		return daemon_refused(r, e);
	*result = json_incref(json_object_get(answer, "result"));
	return 0;
}
