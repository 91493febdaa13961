/* SPDX-License-Identifier: Apache-2.0 */
/* test_vm_server.c - the control socket: requests, events, bad requests, clients that do not read or go away. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vm_fixture.h"
#include "vm/server.h"

static struct server *server;
static int start_peer, start_fd, listen_fd;
static char listen_path[108];
static bool gone;
static bool prepare_disk; /* begin() makes the machine with a disk of 1 MiB */

static void server_event_cb(void *ctx, enum control_event ev, json_t *details)
{
	fx_event(ctx, ev, json_incref(details));
	server_event(server, ev, details);
}

static void on_gone(void *ctx)
{
	(void)ctx;
	gone = true;
}

static void guest_idle(struct engine_vcpu *v, struct engine_exit *exit)
{
	(void)exit;
	while (!fake_idle(v))
		;
}

static void begin(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int pair[2];

	fx_prepare(guest_idle);
	if (prepare_disk) {
		fx.cfg.n_disks = 1;
		strcpy(fx.cfg.disk[0].id, "disk0");
		strcpy(fx.cfg.disk[0].name, "test.raw");
		fx.cfg.disk[0].queues = 1;
		fx.cfg.disk[0].block = 512;
		fx.fds.fd[CONFIG_FD_DISK] = memfd_create("disk", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fx.fds.fd[CONFIG_FD_DISK], MIB), 0);
	}
	fx.owner.event = server_event_cb;
	gone = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	start_peer = pair[0];
	start_fd = pair[1];
	snprintf(listen_path, sizeof(listen_path), "%s/lodge-test-%d.sock",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", getpid());
	unlink(listen_path);
	strcpy(sa.sun_path, listen_path);
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listen_fd, 8), 0);
	assert_int_equal(server_create(&server, fx.loop, start_fd, on_gone, NULL, NULL), 0);
	fx_create();
	server_serve(server, fx.m);
	if (listen_fd >= 0)
		assert_int_equal(server_listen(server, listen_fd, NULL), 0);
	assert_int_equal(machine_start(fx.m, NULL), 0);
}

static void end(void)
{
	machine_destroy(fx.m);
	fx.m = NULL;
	server_destroy(server);
	base_close_fd(&start_peer);
	base_close_fd(&start_fd);
	base_close_fd(&listen_fd);
	unlink(listen_path);
	fx_finish();
}

static int dial(void)
{
	struct err e = {0};
	int fd = control_connect(listen_path, &e);

	if (fd < 0)
		fail_msg("%s", e.msg);
	return fd;
}

/* The next message on sock, running the loop meanwhile; NULL: closed. */
static json_t *next(int sock)
{
	uint64_t limit = clock_ns() + DEADLINE_NS;
	struct control_msg m;
	json_t *j;
	int r;

	control_msg_init(&m);
	while ((r = control_recv(sock, &m, CONTROL_NO_WAIT, NULL)) == -EAGAIN) {
		if (clock_ns() > limit)
			fail_msg("no message came");
		loop_run_once(fx.loop, 1);
	}
	if (r == 0)
		return NULL;
	assert_int_equal(r, 1);
	j = json_incref(m.json);
	control_msg_fini(&m);
	return j;
}

static void expect_event(int sock, enum control_event ev)
{
	json_t *j = next(sock);

	assert_non_null(j);
	assert_int_equal(control_parse_event(j), ev);
	json_decref(j);
}

static void ask(int sock, uint64_t id, enum control_cmd cmd)
{
	json_t *j = control_request_json(id, cmd);

	assert_int_equal(control_send(sock, j, NULL, 0, CONTROL_NO_WAIT, NULL), 0);
	json_decref(j);
}

/* The reply to id; events before it are skipped. */
static json_t *reply(int sock, uint64_t id)
{
	for (;;) {
		json_t *j = next(sock);

		assert_non_null(j);
		if (control_parse_event(j) < 0) {
			assert_int_equal(json_integer_value(json_object_get(j, "id")), id);
			return j;
		}
		json_decref(j);
	}
}

static void expect_ok(int sock, uint64_t id, enum control_cmd cmd)
{
	json_t *j;

	ask(sock, id, cmd);
	j = reply(sock, id);
	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
}

static void expect_error(int sock, uint64_t id, const char *code)
{
	json_t *j = reply(sock, id);

	assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "code")),
			    code);
	json_decref(j);
}

static void test_commands(void **st)
{
	int c;

	(void)st;
	begin();
	expect_event(start_peer, CONTROL_EV_STARTED);
	for (unsigned cmd = 0; cmd < CONTROL_CMDS; cmd++)
		if (cmd != CONTROL_QUIT && cmd != CONTROL_SAVE && cmd != CONTROL_DISK_LIMIT &&
		    cmd != CONTROL_DISK_GROW && (cmd < CONTROL_NET_LIMIT || cmd > CONTROL_NET_RM) &&
		    cmd != CONTROL_AGENT && cmd != CONTROL_LISTEN)
			expect_ok(start_peer, cmd + 1, cmd);
	ask(start_peer, 40, CONTROL_SAVE); /* without a file */
	expect_error(start_peer, 40, "EINVAL");
	ask(start_peer, 41, CONTROL_AGENT); /* without a socket */
	expect_error(start_peer, 41, "EINVAL");
	ask(start_peer, 42, CONTROL_LISTEN); /* without one */
	expect_error(start_peer, 42, "EINVAL");
	c = dial();
	ask(c, 43, CONTROL_LISTEN); /* not the keeper */
	expect_error(c, 43, "EINVAL");
	expect_ok(c, 50, CONTROL_PAUSE); /* no events here */
	expect_event(start_peer, CONTROL_EV_PAUSED);
	expect_ok(c, 51, CONTROL_EVENTS);
	ask(start_peer, 52, CONTROL_RESUME);
	expect_event(c, CONTROL_EV_RESUMED);
	expect_ok(c, 53, CONTROL_QUIT);
	expect_event(c, CONTROL_EV_SHUTDOWN);
	FX_UNTIL(fx.ended);
	ask(c, 54, CONTROL_STATS);
	expect_error(c, 54, "ESHUTDOWN");
	base_close_fd(&c);
	end();
}

static void raw(int sock, const char *text)
{
	assert_int_equal(send(sock, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void ask_disk(uint64_t id, const char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	assert_non_null(j);
	assert_int_equal(json_object_set_new(j, "id", json_u64(id)), 0);
	assert_int_equal(control_send(start_peer, j, NULL, 0, CONTROL_NO_WAIT, NULL), 0);
	json_decref(j);
}

/* Limits and growth of a disk; what is wrong with a request is said. */
static void test_disks(void **st)
{
	json_t *j, *disk;

	(void)st;
	prepare_disk = true;
	begin();
	prepare_disk = false;
	expect_event(start_peer, CONTROL_EV_STARTED);
	ask_disk(1, "{\"cmd\":\"disk-limit\",\"disk\":\"disk0\",\"bps\":1000,\"iops\":7}");
	json_decref(reply(start_peer, 1));
	ask_disk(2, "{\"cmd\":\"disk-limit\",\"disk\":\"disk0\",\"bps\":2000}");
	json_decref(reply(start_peer, 2));
	ask_disk(3, "{\"cmd\":\"disk-grow\",\"disk\":\"disk0\",\"size\":2097152}");
	expect_event(start_peer, CONTROL_EV_DISK_SIZE);
	j = reply(start_peer, 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "result"), "size")),
			 2 * MIB);
	json_decref(j);
	ask(start_peer, 4, CONTROL_QUERY);
	j = reply(start_peer, 4);
	disk = json_array_get(json_object_get(json_object_get(j, "result"), "disks"), 0);
	assert_int_equal(json_integer_value(json_object_get(disk, "bps")), 2000);
	assert_int_equal(json_integer_value(json_object_get(disk, "iops")), 7);
	assert_int_equal(json_integer_value(json_object_get(disk, "size")), 2 * MIB);
	json_decref(j);
	ask_disk(5, "{\"cmd\":\"disk-grow\",\"disk\":\"disk0\",\"size\":1048576}");
	expect_error(start_peer, 5, "EINVAL");
	ask_disk(6, "{\"cmd\":\"disk-grow\",\"disk\":\"disk1\"}");
	expect_error(start_peer, 6, "ENODEV");
	ask_disk(7, "{\"cmd\":\"disk-limit\"}");
	expect_error(start_peer, 7, "EINVAL");
	ask_disk(8, "{\"cmd\":\"disk-limit\",\"disk\":\"disk0\",\"bps\":-1}");
	expect_error(start_peer, 8, "EINVAL");
	ask_disk(11, "{\"cmd\":\"disk-add\"}");
	expect_error(start_peer, 11, "EINVAL");
	ask_disk(12, "{\"cmd\":\"disk-add\",\"config\":{\"id\":\"disk0\"}}");
	expect_error(start_peer, 12, "EINVAL");
	ask_disk(13, "{\"cmd\":\"disk-rm\",\"disk\":\"disk7\"}");
	expect_error(start_peer, 13, "ENODEV");
	ask_disk(14, "{\"cmd\":\"net-add\",\"config\":[]}");
	expect_error(start_peer, 14, "EINVAL");
	ask_disk(15, "{\"cmd\":\"net-link\",\"net\":\"net0\",\"up\":true}");
	expect_error(start_peer, 15, "ENODEV");
	/* A reset of the machine keeps the disk and its limits. */
	ask(start_peer, 9, CONTROL_RESET);
	json_decref(reply(start_peer, 9));
	ask(start_peer, 10, CONTROL_QUERY);
	j = reply(start_peer, 10);
	disk = json_array_get(json_object_get(json_object_get(j, "result"), "disks"), 0);
	assert_int_equal(json_integer_value(json_object_get(disk, "iops")), 7);
	json_decref(j);
	end();
}

static void test_bad_requests(void **st)
{
	static char large[CONTROL_MAX_BYTES + 1];
	int c, size = 4 * sizeof(large);

	(void)st;
	begin();
	c = dial();
	raw(c, "{");
	expect_error(c, 0, "EINVAL");
	raw(c, "[]");
	expect_error(c, 0, "EINVAL");
	raw(c, "{\"id\":1,\"cmd\":\"explode\"}");
	expect_error(c, 1, "EINVAL");
	raw(c, "{\"id\":2,\"cmd\":\"pause\",\"more\":1}");
	expect_error(c, 2, "EINVAL");
	raw(c, "{\"id\":3,\"cmd\":\"dump\",\"vcpu\":1}");
	expect_error(c, 3, "EINVAL");
	memset(large, ' ', sizeof(large));
	(void)setsockopt(c, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(send(c, large, sizeof(large), 0), sizeof(large));
	expect_error(c, 0, "EMSGSIZE");
	expect_ok(c, 4, CONTROL_QUERY); /* still usable */
	base_close_fd(&c);
	end();
}

/* Asks and asks, and never reads. */
static void test_client_does_not_read(void **st)
{
	int c, d;
	unsigned sent = 0;
	json_t *j = control_request_json(9, CONTROL_DUMP);

	(void)st;
	begin();
	c = dial();
	for (unsigned i = 0; i < 3000; i++) {
		sent += control_send(c, j, NULL, 0, CONTROL_NO_WAIT, NULL) == 0;
		loop_run_once(fx.loop, 0);
	}
	json_decref(j);
	assert_true(sent < 3000); /* its own requests pile up, in the kernel */
	d = dial();
	expect_ok(d, 1, CONTROL_QUERY);
	/* It wakes up and gets all answers, in order. */
	for (unsigned i = 0; i < sent; i++)
		json_decref(reply(c, 9));
	base_close_fd(&c);

	/* One that wants events and does not read them is let go. */
	c = dial();
	expect_ok(c, 2, CONTROL_EVENTS);
	for (unsigned i = 0; i < 2000; i++) {
		machine_pause(fx.m, NULL);
		machine_resume(fx.m, NULL);
	}
	loop_run_once(fx.loop, 0);
	for (;;) {
		j = next(c);
		if (!j)
			break;
		json_decref(j);
	}
	expect_ok(d, 3, CONTROL_QUERY);
	base_close_fd(&c);
	base_close_fd(&d);
	assert_false(gone); /* the start connection lost events only */
	end();
}

static void test_clients_come_and_go(void **st)
{
	int c[24];

	(void)st;
	begin();
	for (unsigned i = 0; i < 24; i++) {
		c[i] = dial(); /* more than are served at once: they wait */
		loop_run_once(fx.loop, 0);
	}
	ask(c[23], 7, CONTROL_QUERY);
	for (unsigned i = 0; i < 10; i++)
		base_close_fd(&c[i]);
	json_decref(reply(c[23], 7));
	ask(c[22], 8, CONTROL_QUIT);
	base_close_fd(&c[22]); /* does not wait for the answer */
	FX_UNTIL(fx.ended);
	for (unsigned i = 10; i < 24; i++)
		base_close_fd(&c[i]);
	end();
}

/* The keeper gives one socket after the other: clients of the last one are served, and those that there are. */
static void test_listen_again(void **st)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int c, before;

	(void)st;
	begin();
	before = dial();
	expect_ok(before, 1, CONTROL_QUERY);
	for (unsigned i = 0; i < 3; i++) {
		json_t *j = control_request_json(10 + i, CONTROL_LISTEN);
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		unlink(listen_path);
		strcpy(sa.sun_path, listen_path);
		assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
		assert_int_equal(listen(fd, 4), 0);
		assert_int_equal(control_send(start_peer, j, &fd, 1, CONTROL_NO_WAIT, NULL), 0);
		json_decref(j);
		close(fd);
		j = reply(start_peer, 10 + i);
		assert_true(json_is_true(json_object_get(j, "ok")));
		json_decref(j);
		c = dial();
		expect_ok(c, 20 + i, CONTROL_QUERY);
		close(c);
	}
	expect_ok(before, 30, CONTROL_QUIT);
	FX_UNTIL(fx.ended);
	base_close_fd(&before);
	end();
}

static void test_start_connection_goes(void **st)
{
	(void)st;
	begin();
	base_close_fd(&start_peer);
	FX_UNTIL(gone);
	machine_quit(fx.m, NULL);
	FX_UNTIL(fx.ended);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_disks),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_client_does_not_read),
		cmocka_unit_test(test_clients_come_and_go),
		cmocka_unit_test(test_listen_again),
		cmocka_unit_test(test_start_connection_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
