/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - client of a guest agent: the stream, and requests with their answers. agent_cmd.c has the single requests.
 *
 * What comes is gathered in one buffer until a line feed; a line longer than AGENT_ANSWER_MAX ends the connection. The buffer
 * is searched only where it is new, so a guest that sends single bytes cannot make us look at them again and again.
 */
#include "proto/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/random.h>
#include <unistd.h>

#include "util/clock.h"

#define READ_SIZE (64 * KIB)
#define SENTINEL 0xff

void agent_init(struct agent *a)
{
	a->fd = -1;
	/* A read may bring what follows the longest line. */
	buf_init(&a->got, AGENT_ANSWER_MAX + 2 * READ_SIZE);
}

void agent_fini(struct agent *a)
{
	base_close_fd(&a->fd);
	buf_fini(&a->got);
}

/* 0, or -errno with a sentence. */
static int wait_for(const struct agent *a, short events, uint64_t deadline_ns, struct err *e)
{
	struct pollfd p = {.fd = a->fd, .events = events};

	for (;;) {
		uint64_t now = clock_ns(), ms;
		int n;

		if (now >= deadline_ns)
			return err_set(e, ETIMEDOUT,
				       "the guest agent does not answer: does it run?");
		ms = (deadline_ns - now) / CLOCK_NS_PER_MS + 1;
		n = poll(&p, 1, (int)MIN(ms, (uint64_t)60000));
		if (n > 0)
			return 0;
		if (n < 0)
			return errno == EINTR ?
				       err_errno(e, EINTR, "interrupted") :
				       err_errno(e, errno, "cannot wait for the guest agent");
	}
}

/* Its end is the same, however it is heard of. */
static int lost(int code, const char *what, struct err *e)
{
	if (code == 0 || code == EPIPE || code == ECONNRESET)
		return err_set(e, EPIPE, "the connection to the guest agent was closed");
	return err_errno(e, code, "cannot %s the guest agent", what);
}

static int send_all(struct agent *a, const char *text, size_t len, uint64_t deadline_ns,
		    struct err *e)
{
	while (len) {
		ssize_t n = send(a->fd, text, len, MSG_NOSIGNAL);
		int r;

		if (n > 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return lost(errno, "talk to", e);
		r = wait_for(a, POLLOUT, deadline_ns, e);
		if (r)
			return r;
	}
	return 0;
}

/* Brings more bytes. */
static int receive(struct agent *a, uint64_t deadline_ns, struct err *e)
{
	struct buf *b = &a->got;
	uint8_t bytes[READ_SIZE];
	ssize_t n;
	int r;

	if (b->pos) { /* only the rest is kept */
		memmove(b->data, b->data + b->pos, b->len - b->pos);
		b->len -= b->pos;
		b->pos = 0;
	}
	r = wait_for(a, POLLIN, deadline_ns, e);
	if (r)
		return r;
	n = recv(a->fd, bytes, sizeof(bytes), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return lost(n < 0 ? errno : 0, "hear", e);
	buf_put(b, bytes, (size_t)n);
	return buf_error(b) ? err_errno(e, -buf_error(b), "cannot keep the guest agent's answer") :
			      0;
}

/* Finds `byte`, and takes all up to and with it: *len bytes at the returned place, valid until the next call. */
static int take_until(struct agent *a, int byte, const uint8_t **at, size_t *len,
		      uint64_t deadline_ns, struct err *e)
{
	struct buf *b = &a->got;
	size_t looked = 0;

	for (;;) {
		size_t left = b->len - b->pos;
		const uint8_t *start = left ? b->data + b->pos : NULL, *hit = NULL;
		int r;

		if (left > looked)
			hit = memchr(start + looked, byte, left - looked);
		if (hit) {
			*at = start;
			*len = (size_t)(hit - start) + 1;
			b->pos += *len;
			return 0;
		}
		if (left > AGENT_ANSWER_MAX)
			return err_set(e, EMSGSIZE, "the guest agent's answer is longer than %u MiB",
				       (unsigned)(AGENT_ANSWER_MAX / MIB));
		looked = left;
		r = receive(a, deadline_ns, e);
		if (r)
			return r;
	}
}

static int parse_line(struct agent *a, json_t **answer, uint64_t deadline_ns, struct err *e)
{
	const uint8_t *line;
	size_t len;
	int r = take_until(a, '\n', &line, &len, deadline_ns, e);

	if (r)
		return r;
	r = json_parse((const char *)line, len, AGENT_ANSWER_MAX + 1, "the guest agent's answer",
		       answer, e);
	if (!r && !json_is_object(*answer))
		r = err_set(e, EPROTO, "the guest agent's answer is no JSON object");
	return r;
}

/* The bytes before the sentinel belong to nobody; so do answers to other numbers. */
static int synchronize(struct agent *a, uint64_t deadline_ns, struct err *e)
{
	char text[96];
	uint32_t id = 0;
	size_t passed = 0;
	int n, r;

	if (getrandom(&id, sizeof(id), 0) < 0)
		return err_errno(e, errno, "cannot get a random number");
	n = snprintf(text, sizeof(text),
		     "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%u}}\n", id);
	r = send_all(a, text, (size_t)n, deadline_ns, e);
	while (!r) {
		_autojson json_t *answer = NULL;
		const uint8_t *before;
		size_t len;

		r = take_until(a, SENTINEL, &before, &len, deadline_ns, e);
		if (r)
			break;
		passed += len;
		if (passed > AGENT_ANSWER_MAX)
			return err_set(e, EPROTO, "the guest agent sends nothing but garbage");
		r = parse_line(a, &answer, deadline_ns, NULL);
		if (r == 0 && json_is_integer(json_object_get(answer, "return")) &&
		    json_integer_value(json_object_get(answer, "return")) == id)
			return 0;
		if (r && r != -EINVAL && r != -EPROTO)
			/* Again for the sentence: the state is the same. */
			return r == -ETIMEDOUT ?
				       err_set(e, ETIMEDOUT,
					       "the guest agent does not answer: does it run?") :
				       err_errno(e, -r, "cannot hear the guest agent");
		r = 0;
	}
	return r;
}

int agent_open(struct agent *a, int fd, uint64_t deadline_ns, struct err *e)
{
	int r = 0;

	agent_fini(a);
	agent_init(a);
	a->fd = fd;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		r = err_errno(e, errno, "cannot use the guest agent's stream");
	if (!r)
		r = synchronize(a, deadline_ns, e);
	if (r)
		agent_fini(a);
	return r;
}

static char *request_text(const char *command, json_t *arguments)
{
	_autojson json_t *j = json_object();
	int r = json_object_set_new(j, "execute", json_string(command));

	if (arguments)
		r |= json_object_set_new(j, "arguments", arguments);
	return r ? NULL : json_text(j);
}

int agent_call(struct agent *a, const char *command, json_t *arguments, uint64_t deadline_ns,
	       json_t **result, struct err *e)
{
	_autofree char *text = request_text(command, arguments);
	_autojson json_t *answer = NULL;
	json_t *got, *error;
	char shown[256];
	size_t len;
	int r;

	if (!text)
		return err_set(e, ENOMEM, "out of memory");
	len = strlen(text);
	text[len++] = '\n'; /* in place of the NUL */
	r = send_all(a, text, len, deadline_ns, e);
	if (!r)
		r = parse_line(a, &answer, deadline_ns, e);
	if (r)
		return r;
	error = json_object_get(answer, "error");
	got = json_object_get(answer, "return");
	if (error) {
		const char *why = json_string_value(json_object_get(error, "desc"));

		return err_set(e, EREMOTEIO, "the guest agent refuses %s: %s", command,
			       err_quote(shown, sizeof(shown), why ? why : "no reason given"));
	}
	if (!got)
		return err_set(e, EPROTO, "the guest agent's answer to %s has no result", command);
	if (result)
		*result = json_incref(got);
	return 0;
}
