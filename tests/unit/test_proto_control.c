/* SPDX-License-Identifier: Apache-2.0 */
/* test_proto_control.c - packets with fds, the start message, requests and replies, named sockets. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/control.h"
#include "util/clock.h"

struct fixture {
	int s[2];
	int file; /* a regular file with one byte */
};

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int setup(void **state)
{
	char name[] = "/tmp/lodge-control-XXXXXX";
	static struct fixture fixture;
	struct fixture *f = &fixture;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, f->s) < 0)
		return -1;
	f->file = mkstemp(name);
	if (f->file < 0 || write(f->file, "k", 1) != 1)
		return -1;
	unlink(name);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	base_close_fd(&f->s[0]);
	base_close_fd(&f->s[1]);
	base_close_fd(&f->file);
	return 0;
}

static void test_packets(void **state)
{
	struct fixture *f = *state;
	_autojson json_t *j = json_pack("{s:i}", "a", 1);
	int fds[2] = {f->file, f->file}, before = count_fds();
	struct control_msg m;
	struct err e = {0};

	control_msg_init(&m);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, &e), -EAGAIN);
	assert_int_equal(control_recv(f->s[1], &m, clock_ns() + CLOCK_NS_PER_MS, NULL), -ETIMEDOUT);
	assert_int_equal(control_send(f->s[0], j, fds, 2, CONTROL_NO_WAIT, NULL), 0);
	assert_int_equal(control_send(f->s[0], j, NULL, 0, CONTROL_NO_WAIT, NULL), 0);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), 1);
	assert_int_equal(m.n_fds, 2);
	assert_true(fcntl(m.fd[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(json_integer_value(json_object_get(m.json, "a")), 1);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), 1); /* frees the first */
	assert_int_equal(m.n_fds, 0);
	control_msg_fini(&m);
	assert_int_equal(count_fds(), before);
	base_close_fd(&f->s[0]);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), 0);
	assert_int_equal(control_send(f->s[1], j, NULL, 0, CONTROL_NO_WAIT, NULL), -EPIPE);
}

static void test_bad_packets(void **state)
{
	static const char *const bad[] = {"", "x", "[]", "{", "{\"a\":1}{\"b\":1}", "\0\0"};
	struct fixture *f = *state;
	char *big = calloc(1, CONTROL_MAX_BYTES + 100);
	struct control_msg m;
	int size = 1 << 20;

	control_msg_init(&m);
	for (unsigned i = 1; i < ARRAY_SIZE(bad); i++) {
		assert_true(send(f->s[0], bad[i], strlen(bad[i]) + !bad[i][0], 0) > 0);
		assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), -EINVAL);
		assert_null(m.json);
	}
	/* Too long: refused, and the connection goes on. */
	setsockopt(f->s[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	memset(big, ' ', CONTROL_MAX_BYTES + 100);
	assert_true(send(f->s[0], big, CONTROL_MAX_BYTES + 100, 0) > 0);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), -EMSGSIZE);
	memset(big, '[', 100000);
	assert_true(send(f->s[0], big, 100000, 0) > 0);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), -EINVAL);
	assert_true(send(f->s[0], "{}", 2, 0) > 0);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), 1);
	control_msg_fini(&m);
	free(big);
}

/* As control_send, but as many fds as one likes. */
static void send_raw(int sock, const char *text, int fd, unsigned n)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * (CONTROL_MAX_FDS + 10))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = ctl.buf,
			    .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
	struct cmsghdr *c;

	memset(&ctl, 0, sizeof(ctl));
	c = CMSG_FIRSTHDR(&mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	assert_true(sendmsg(sock, &mh, 0) > 0);
}

static void test_fd_flood(void **state)
{
	struct fixture *f = *state;
	int before = count_fds();
	struct control_msg m;

	control_msg_init(&m);
	send_raw(f->s[0], "{}", f->file, CONTROL_MAX_FDS + 10);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), -EMSGSIZE);
	assert_int_equal(count_fds(), before);
	send_raw(f->s[0], "no json", f->file, 3);
	assert_int_equal(control_recv(f->s[1], &m, CONTROL_NO_WAIT, NULL), -EINVAL);
	assert_int_equal(count_fds(), before);
}

static void test_start(void **state)
{
	struct fixture *f = *state;
	struct vm_config c, got;
	struct config_fds fds, got_fds;
	struct err e = {0};
	int before = count_fds();

	config_init(&c);
	config_fds_init(&fds);
	strcpy(c.kernel_name, "vmlinuz");
	fds.fd[CONFIG_FD_KERNEL] = f->file;
	fds.fd[CONFIG_FD_CONSOLE_OUT] = f->s[0];
	assert_int_equal(control_send_start(f->s[0], &c, &fds, &e), 0);
	assert_int_equal(control_recv_start(f->s[1], &got, &got_fds, CONTROL_NO_WAIT, &e), 0);
	assert_true(got_fds.fd[CONFIG_FD_KERNEL] >= 0);
	assert_true(got_fds.fd[CONFIG_FD_CONSOLE_OUT] >= 0);
	assert_int_equal(got_fds.fd[CONFIG_FD_INITRD], -1);
	assert_string_equal(got.kernel_name, "vmlinuz");
	config_fds_close(&got_fds);
	assert_int_equal(count_fds(), before);

	/* A kernel that is a socket, and no kernel. */
	fds.fd[CONFIG_FD_KERNEL] = f->s[0];
	assert_int_equal(control_send_start(f->s[0], &c, &fds, NULL), 0);
	assert_int_equal(control_recv_start(f->s[1], &got, &got_fds, CONTROL_NO_WAIT, NULL),
			 -EINVAL);
	fds.fd[CONFIG_FD_KERNEL] = -1;
	assert_int_equal(control_send_start(f->s[0], &c, &fds, NULL), 0);
	assert_int_equal(control_recv_start(f->s[1], &got, &got_fds, CONTROL_NO_WAIT, NULL),
			 -EINVAL);
	/* An initrd that is named and not sent; sent and not named. */
	fds.fd[CONFIG_FD_KERNEL] = f->file;
	strcpy(c.initrd_name, "i");
	assert_int_equal(control_send_start(f->s[0], &c, &fds, NULL), 0);
	assert_int_equal(control_recv_start(f->s[1], &got, &got_fds, CONTROL_NO_WAIT, NULL),
			 -EINVAL);
	c.initrd_name[0] = '\0';
	fds.fd[CONFIG_FD_INITRD] = f->file;
	assert_int_equal(control_send_start(f->s[0], &c, &fds, NULL), 0);
	assert_int_equal(control_recv_start(f->s[1], &got, &got_fds, CONTROL_NO_WAIT, NULL),
			 -EINVAL);
	assert_int_equal(count_fds(), before);
}

/* Start messages that lie about their files. */
static void test_start_roles(void **state)
{
	static const char *const roles[] = {
		"[\"kernel\",\"kernel\"]",
		"[\"kernel\",\"disk\"]",
		"[\"kernel\"]",
		"[\"kernel\",1]",
		"[\"kernel\",\"console-in\",\"initrd\"]",
		"{}",
		"\"kernel\"",
	};
	struct fixture *f = *state;
	struct config_fds fds;
	struct vm_config c;
	int before = count_fds();
	char text[4096];

	config_init(&c);
	strcpy(c.kernel_name, "k");
	for (unsigned i = 0; i < ARRAY_SIZE(roles); i++) {
		_autojson json_t *j = config_to_json(&c);
		_autofree char *config = json_text(j);

		snprintf(text, sizeof(text), "{\"lodge\":1,\"config\":%s,\"fds\":%s}", config,
			 roles[i]);
		send_raw(f->s[0], text, f->file, 2);
		assert_int_equal(control_recv_start(f->s[1], &c, &fds, CONTROL_NO_WAIT, NULL),
				 -EINVAL);
		assert_int_equal(count_fds(), before);
		assert_int_equal(fds.fd[CONFIG_FD_KERNEL], -1);
	}
	base_close_fd(&f->s[0]);
	assert_int_equal(control_recv_start(f->s[1], &c, &fds, CONTROL_NO_WAIT, NULL), -EPIPE);
}

static int request(const char *text, struct control_request *r)
{
	json_t *j = json_loads(text, 0, NULL);
	int ret = control_parse_request(j, r, NULL);

	json_decref(j);
	return ret;
}

static void test_requests(void **state)
{
	struct control_request r;

	(void)state;
	assert_int_equal(request("{\"id\":7,\"cmd\":\"pause\"}", &r), 0);
	assert_int_equal(r.id, 7);
	assert_int_equal(r.cmd, CONTROL_PAUSE);
	assert_int_equal(request("{\"id\":8,\"cmd\":\"dump\",\"vcpu\":3}", &r), 0);
	assert_int_equal(r.vcpu, 3);
	assert_int_equal(request("{\"id\":9,\"cmd\":\"dance\"}", &r), -EINVAL);
	assert_int_equal(r.id, 9);
	assert_int_equal(request("{\"id\":9,\"cmd\":\"dump\",\"vcpu\":300}", &r), -EINVAL);
	assert_int_equal(request("{\"id\":9,\"cmd\":\"quit\",\"fork\":true}", &r), -EINVAL);
	assert_int_equal(request("{\"id\":-1,\"cmd\":\"quit\"}", &r), -EINVAL);
	assert_int_equal(request("{\"cmd\":\"quit\"}", &r), -EINVAL);
	assert_int_equal(request("{\"id\":1}", &r), -EINVAL);
	assert_int_equal(request("{}", &r), -EINVAL);
}

static void test_replies(void **state)
{
	struct err e = {0}, got = {0};
	json_t *j, *result = NULL;

	(void)state;
	j = control_reply_ok(3, json_pack("{s:i}", "cpus", 2));
	assert_int_equal(control_parse_reply(j, 4, &result, &got), 0);
	assert_int_equal(control_parse_reply(j, 3, &result, &got), 1);
	assert_int_equal(json_integer_value(json_object_get(result, "cpus")), 2);
	json_decref(j);
	err_set(&e, EBUSY, "the VM is paused");
	err_field(&e, "state", "paused");
	err_limit(&e, "running");
	err_hint(&e, "resume it");
	j = control_reply_error(5, &e);
	assert_int_equal(control_parse_reply(j, 5, &result, &got), -EBUSY);
	assert_memory_equal(&e, &got, sizeof(int));
	assert_string_equal(got.msg, e.msg);
	assert_string_equal(got.field, "state");
	assert_string_equal(got.value, "paused");
	assert_string_equal(got.limit, "running");
	assert_string_equal(got.hint, "resume it");
	json_decref(j);
	/* Not UTF-8 from somewhere: still a message. */
	e = (struct err){.code = EIO};
	strcpy(e.msg, "bad \xff");
	j = control_reply_error(5, &e);
	assert_non_null(j);
	json_decref(j);
	j = control_event(CONTROL_EV_GUEST_EXIT, json_pack("{s:i}", "code", 3));
	assert_int_equal(control_parse_event(j), CONTROL_EV_GUEST_EXIT);
	assert_int_equal(control_parse_reply(j, 5, &result, NULL), 0);
	json_decref(j);
	j = json_pack("{s:s}", "event", "party");
	assert_int_equal(control_parse_event(j), -1);
	json_decref(j);
}

static void test_named(void **state)
{
	char dir[] = "/tmp/lodge-named-XXXXXX", path[128], other[128], longer[200];
	struct err e = {0};
	struct stat st;
	int a, b, c;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(other, sizeof(other), "%s/f", dir);
	assert_int_equal(control_connect(path, &e), -ENOENT);
	a = control_listen(path, NULL);
	assert_true(a >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	c = control_connect(path, NULL);
	assert_true(c >= 0);
	close(c);
	/* In use. */
	e = (struct err){0};
	assert_int_equal(control_listen(path, &e), -EADDRINUSE);
	assert_non_null(strstr(e.msg, "in use by process"));
	/* Stale: taken over. */
	close(a);
	e = (struct err){0};
	assert_int_equal(control_connect(path, &e), -ECONNREFUSED);
	assert_non_null(strstr(e.msg, "stale"));
	b = control_listen(path, NULL);
	assert_true(b >= 0);
	close(b);
	unlink(path);
	/* Something else stays as it is. */
	close(open(other, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_listen(other, NULL), -EEXIST);
	assert_int_equal(stat(other, &st), 0);
	unlink(other);
	/* 108 bytes with the NUL: unix(7). */
	memset(longer, 'x', 150);
	longer[150] = '\0';
	memcpy(longer, "/tmp/", 5);
	e = (struct err){0};
	assert_int_equal(control_listen(longer, &e), -ENAMETOOLONG);
	assert_string_equal(e.limit, "107 bytes");
	assert_int_equal(control_listen("", NULL), -EINVAL);
	assert_int_equal(control_listen("/nonexistent/s", NULL), -ENOENT);
	rmdir(dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* A VM's process that sends events without end does not keep who waits for an answer: behind the deadline no more of them are read. */
static void test_flood(void **state)
{
	static const char event[] = "{\"event\":\"resumed\"}";
	char got[sizeof(event)];
	struct err e = {0};
	int s[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(send(s[1], event, sizeof(event) - 1, 0) > 0);
	assert_int_equal(control_call(s[0], CONTROL_QUERY, clock_ns(), NULL, &e), -ETIMEDOUT);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(recv(s[0], got, sizeof(got), MSG_DONTWAIT), sizeof(event) - 1);
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_packets),
		TEST(test_bad_packets),
		TEST(test_fd_flood),
		TEST(test_start),
		TEST(test_start_roles),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
