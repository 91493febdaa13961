/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c - a systemd scope for this process: a unit that ends with it and with nothing else.
 *
 * One call of StartTransientUnit (org.freedesktop.systemd1(5)) over the socket that the service manager itself listens on: the system's for root, the
 * user's own for others. On it systemd speaks D-Bus with one peer, without a bus: authentication (EXTERNAL), one message there, its answer,
 * and the signal JobRemoved when the unit stands. The format is that of the D-Bus specification: "Message Protocol", little-endian.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox/cgroup.h"
#include "util/clock.h"

#define WAIT_S 5
#define MESSAGE_MAX 65536u

enum { CALL = 1, RETURN = 2, ERROR = 3, SIGNAL = 4 }; /* types of messages */
enum { PATH = 1, INTERFACE = 2, MEMBER = 3, DESTINATION = 6, SIGNATURE = 8 }; /* header fields */

/* ---- writing ---- */

struct out {
	uint8_t data[1024];
	size_t len;
	bool full;
};

static void put_bytes(struct out *o, const void *p, size_t n)
{
	if (o->len + n > sizeof(o->data)) {
		o->full = true;
		return;
	}
	memcpy(o->data + o->len, p, n);
	o->len += n;
}

static void align(struct out *o, size_t to)
{
	static const uint8_t zero[8];

	put_bytes(o, zero, (to - o->len % to) % to);
}

static void put_u32(struct out *o, uint32_t v)
{
	align(o, 4);
	put_bytes(o, &v, 4);
}

static void put_text(struct out *o, const char *s)
{
	put_u32(o, (uint32_t)strlen(s));
	put_bytes(o, s, strlen(s) + 1);
}

static void put_signature(struct out *o, const char *s)
{
	uint8_t len = (uint8_t)strlen(s);

	put_bytes(o, &len, 1);
	put_bytes(o, s, len + 1u);
}

static void put_field(struct out *o, uint8_t field, const char *type, const char *value)
{
	align(o, 8);
	put_bytes(o, &field, 1);
	put_signature(o, type);
	if (*type == 'g')
		put_signature(o, value);
	else
		put_text(o, value);
}

/* The length of an array is written when it has ended; where its first element stands does not count for it. */
static size_t begin_array(struct out *o, size_t alignment)
{
	put_u32(o, 0);
	align(o, alignment);
	return o->len;
}

static void end_array(struct out *o, size_t begin, size_t length_at)
{
	uint32_t n = (uint32_t)(o->len - begin);

	if (!o->full)
		memcpy(o->data + length_at, &n, 4);
}

/* StartTransientUnit(in s name, in s mode, in a(sv) properties, in a(sa(sv)) aux, out o job) */
static void put_body(struct out *o, const char *unit, const char *description)
{
	size_t at, begin;

	put_text(o, unit);
	put_text(o, "fail");
	align(o, 4);
	at = o->len;
	begin = begin_array(o, 8);
	put_text(o, "Description");
	put_signature(o, "s");
	put_text(o, description);
	align(o, 8);
	put_text(o, "Delegate");
	put_signature(o, "b");
	put_u32(o, 1);
	align(o, 8);
	put_text(o, "CollectMode"); /* nobody has to look at it after its end */
	put_signature(o, "s");
	put_text(o, "inactive-or-failed");
	align(o, 8);
	put_text(o, "PIDs");
	put_signature(o, "au");
	put_u32(o, 4);
	put_u32(o, (uint32_t)getpid());
	end_array(o, begin, at);
	put_u32(o, 0);
	align(o, 8);
}

static bool put_call(struct out *o, const char *unit, const char *description)
{
	struct out body = {.len = 0};
	uint8_t head[4] = {'l', CALL, 0, 1};
	size_t begin;

	put_body(&body, unit, description);
	put_bytes(o, head, 4);
	put_u32(o, (uint32_t)body.len);
	put_u32(o, 1); /* serial */
	begin = begin_array(o, 8);
	put_field(o, PATH, "o", "/org/freedesktop/systemd1");
	put_field(o, INTERFACE, "s", "org.freedesktop.systemd1.Manager");
	put_field(o, MEMBER, "s", "StartTransientUnit");
	put_field(o, DESTINATION, "s", "org.freedesktop.systemd1");
	put_field(o, SIGNATURE, "g", "ssa(sv)a(sa(sv))");
	end_array(o, begin, 12);
	align(o, 8);
	put_bytes(o, body.data, body.len);
	return !o->full && !body.full;
}

/* ---- reading ---- */

static int read_all(int fd, void *p, size_t n, uint64_t deadline_ns)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = recv(fd, (char *)p + got, n - got, 0);

		if (r == 0 || (r < 0 && errno != EINTR))
			return r == 0 ? -EPIPE : -errno;
		got += (size_t)MAX(r, 0);
		if (clock_ns() > deadline_ns)
			return -ETIMEDOUT;
	}
	return 0;
}

static int send_all(int fd, const void *p, size_t n)
{
	return send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -EPIPE;
}

/* One message: its type, and its body in `body`, *len bytes and a zero. */
static int read_message(int fd, uint8_t *body, size_t *len, uint64_t deadline_ns)
{
	uint32_t head[4];
	uint8_t type;
	size_t fields;
	int r = read_all(fd, head, sizeof(head), deadline_ns);

	if (r < 0)
		return r;
	type = (uint8_t)(head[0] >> 8);
	*len = head[1];
	fields = ((size_t)head[3] + 7) & ~(size_t)7;
	if ((head[0] & 0xff) != 'l' || *len >= MESSAGE_MAX || fields >= MESSAGE_MAX)
		return -EPROTO;
	r = read_all(fd, body, fields, deadline_ns);
	if (r == 0)
		r = read_all(fd, body, *len, deadline_ns);
	body[*len] = '\0';
	return r < 0 ? r : type;
}

/* A string at *at, which goes on behind it. NULL: the message ends before. */
static const char *take_text(const uint8_t *body, size_t len, size_t *at)
{
	const char *s;
	uint32_t n;

	*at = (*at + 3) & ~(size_t)3;
	if (*at + 4 > len)
		return NULL;
	memcpy(&n, body + *at, 4);
	s = (const char *)body + *at + 4;
	*at += 4 + (size_t)n + 1;
	return *at > len || s[n] ? NULL : s;
}

/* JobRemoved(u id, o job, s unit, s result) of this unit? JobNew, which comes before, has no result. */
static bool job_ended(const uint8_t *body, size_t len, const char *unit)
{
	size_t at = 4;
	const char *job = take_text(body, len, &at), *of = job ? take_text(body, len, &at) : NULL;

	return of && !strcmp(of, unit) && take_text(body, len, &at);
}

static int wait_unit(int fd, const char *unit)
{
	_autofree uint8_t *body = malloc(MESSAGE_MAX + 1);
	uint64_t deadline_ns = clock_ns() + WAIT_S * CLOCK_NS_PER_S;

	while (body) {
		size_t len;
		int type = read_message(fd, body, &len, deadline_ns);

		if (type < 0)
			return type;
		if (type == ERROR)
			return -EACCES;
		if (type == SIGNAL && job_ended(body, len, unit))
			return 0;
	}
	return -ENOMEM;
}

static int authenticate(int fd)
{
	char text[64], id[16], c = '\0';
	uint64_t deadline_ns = clock_ns() + WAIT_S * CLOCK_NS_PER_S;
	size_t n;
	int r;

	snprintf(id, sizeof(id), "%u", (unsigned)geteuid());
	n = 1 + (size_t)snprintf(text + 1, sizeof(text) - 1, "AUTH EXTERNAL ");
	text[0] = '\0';
	for (const char *p = id; *p; p++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%02x", (unsigned char)*p);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	r = send_all(fd, text, n);
	if (r == 0)
		r = read_all(fd, text, 2, deadline_ns);
	if (r == 0 && memcmp(text, "OK", 2) != 0)
		return -EACCES;
	while (r == 0 && c != '\n')
		r = read_all(fd, &c, 1, deadline_ns);
	return r == 0 ? send_all(fd, "BEGIN\r\n", 7) : r;
}

int scope_enter(const char *unit, const char *description)
{
	struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const char *folder = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
	_autoclose int fd = -1;
	struct out o = {.len = 0};
	int r;

	if (!folder || snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/systemd/private", folder) >=
			       (int)sizeof(sa.sun_path))
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (!put_call(&o, unit, description))
		return -E2BIG;
	r = authenticate(fd);
	if (r == 0)
		r = send_all(fd, o.data, o.len);
	return r == 0 ? wait_unit(fd, unit) : r;
}
