/* SPDX-License-Identifier: Apache-2.0 */
/* guestio.c - see guestio.h. */
#include "cli/guestio.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"

#define GRACE_MS 50
#define PLAIN_PIECE 4096u /* PIPE_BUF: a pipe that can be written to takes it at once */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM};
static volatile sig_atomic_t told_to_end;

/* A signal that comes just before a call waits is not seen by it, and some calls begin anew: so there is another one each second. */
static void on_signal(int sig)
{
	if (sig != SIGALRM)
		told_to_end = sig;
	alarm(1);
}

void guestio_catch(void)
{
	const struct sigaction act = {.sa_handler = on_signal};

	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &act, NULL);
}

void guestio_hold(bool yes)
{
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(yes ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

void guestio_finish(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
}

bool guestio_told(void)
{
	return told_to_end;
}

void guestio_standard(struct guestio *io, bool frames)
{
	*io = (struct guestio){.in = STDIN_FILENO,
			       .out = frames ? STDIN_FILENO : STDOUT_FILENO,
			       .err = frames ? STDIN_FILENO : STDERR_FILENO,
			       .frames = frames};
}

/* One packet. 0: the end of the input; -EAGAIN: it was something else. */
static ssize_t receive(int fd, void *data, size_t size)
{
	uint8_t what;
	struct iovec parts[] = {{.iov_base = &what, .iov_len = 1},
				{.iov_base = data, .iov_len = size}};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};
	ssize_t n = recvmsg(fd, &m, 0);

	if (n < 0)
		return -errno;
	if (n == 0)
		return -ECONNRESET;
	if (m.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	return what == FRAME_INPUT ? n - 1 : -EAGAIN;
}

ssize_t guestio_read(const struct guestio *io, void *data, size_t size)
{
	while (!told_to_end) {
		ssize_t n = io->frames ? receive(io->in, data, size) : read(io->in, data, size);

		if (n < 0 && !io->frames)
			n = -errno;
		if (n != -EAGAIN && n != -EINTR)
			return n;
	}
	return -EINTR;
}

static ssize_t transmit(int fd, enum frame what, const void *data, size_t len)
{
	uint8_t byte = (uint8_t)what;
	struct iovec parts[] = {{.iov_base = &byte, .iov_len = 1},
				{.iov_base = (void *)(uintptr_t)data, .iov_len = len}};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts)};
	ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

	return n < 0 ? -errno : n - 1;
}

int guestio_write(const struct guestio *io, enum frame what, const void *data, size_t len,
		  struct agent *a)
{
	const uint8_t *from = data;
	int fd = what == FRAME_ERROR ? io->err : io->out;

	while (len) {
		size_t piece = MIN(len, (size_t)(io->frames ? FRAME_PIECE : PLAIN_PIECE));
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t n;

		if (told_to_end)
			return -EINTR;
		if (a && a->fd >= 0 && poll(&p, 1, GRACE_MS) == 0)
			agent_fini(a);
		n = io->frames ? transmit(fd, what, from, piece) : write(fd, from, piece);
		if (n < 0 && !io->frames)
			n = -errno;
		if (n < 0 && n != -EINTR)
			return (int)n;
		from += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return 0;
}

bool guestio_waits(const struct guestio *io)
{
	struct pollfd p = {.fd = io->in, .events = POLLIN};

	return poll(&p, 1, GRACE_MS) == 0;
}

bool guestio_pause(const struct guestio *io, uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / CLOCK_NS_PER_S),
			     .tv_nsec = (long)(ns % CLOCK_NS_PER_S)};
	struct pollfd p = {.fd = io->frames ? io->in : -1}; /* a hang-up is always told */

	return !told_to_end && ppoll(&p, 1, &t, NULL) <= 0 && !told_to_end;
}

/* The stable id of an error, for programs. */
static const char *error_id(unsigned status, int code)
{
	switch (status) {
	case STATUS_TIMEOUT: return "timeout";
	case 126: return "cannot-run";
	case 127: return "not-found";
	default: break;
	}
	switch (code) {
	case ETIMEDOUT: return "no-answer";
	case EBUSY: return "busy";
	case EFBIG: return "too-large";
	case EREMOTEIO: return "refused";
	default: return "failed";
	}
}

int guestio_end(const struct guestio *io, unsigned status, const struct err *e)
{
	_autojson json_t *j = NULL;
	_autofree char *text = NULL;
	char sentence[STATUS_SENTENCE_MAX];
	json_t *said;

	if (!io->frames)
		return e && e->code ? status_fail(e, (enum status)status) : (int)status;
	j = json_pack("{s:i}", "status", (int)status);
	if (j && e && e->code) {
		said = json_string(status_sentence(e, sentence));
		json_object_set_new(j, "error",
				    json_pack("{s:s, s:o}", "id", error_id(status, e->code),
					      "message", said ? said : json_string("it failed")));
	}
	text = j ? json_text(j) : NULL;
	if (text)
		(void)transmit(io->out, FRAME_END, text, strlen(text));
	return (int)status;
}

int guestio_result(const json_t *j)
{
	_autofree char *text = json_text(j);
	ssize_t n = text ? transmit(STDIN_FILENO, FRAME_END, text, strlen(text)) : -ENOMEM;

	return n < 0 ? (int)n : 0;
}
