/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keeper_attach.c - the life of `lodge run` with a VM process, played by a small function here.
 *
 * Three processes: the test, the attached command line (its stdin and stdout are pipes or a pseudo
 * terminal that the test holds), and its child, the fake VM, which speaks the control protocol.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper/run.h"
#include "proto/control.h"
#include "util/clock.h"

#define PATIENCE_NS (60 * CLOCK_NS_PER_S)

/* What the fake VM does with its two sockets; its return value is its exit status. */
typedef int (*fake_fn)(int control, int console);

struct session {
	pid_t pid; /* the attached command line */
	int in;	   /* what it reads */
	int out;   /* what it prints */
};

static void say(int control, enum control_event ev, const char *key, json_t *value)
{
	json_t *details = json_object();

	if (key)
		json_object_set_new(details, key, value);
	details = control_event(ev, details);
	control_send(control, details, NULL, 0, CONTROL_WAIT_FOREVER, NULL);
	json_decref(details);
}

/* Answers requests until "quit", which it obeys if `obey`. */
static int serve(int control, bool obey)
{
	struct control_request r;
	struct control_msg m;

	control_msg_init(&m);
	while (control_recv(control, &m, CONTROL_WAIT_FOREVER, NULL) > 0) {
		if (control_parse_request(m.json, &r, NULL))
			continue;
		if (r.cmd == CONTROL_QUIT && !obey)
			continue;
		json_t *reply = control_reply_ok(r.id, NULL);
		control_send(control, reply, NULL, 0, CONTROL_WAIT_FOREVER, NULL);
		json_decref(reply);
		if (r.cmd == CONTROL_PAUSE)
			say(control, CONTROL_EV_PAUSED, NULL, NULL);
		if (r.cmd == CONTROL_RESUME)
			say(control, CONTROL_EV_RESUMED, NULL, NULL);
		if (r.cmd == CONTROL_POWERDOWN) {
			say(control, CONTROL_EV_SHUTDOWN, "cause", json_string("poweroff"));
			break;
		}
		if (r.cmd == CONTROL_QUIT) {
			say(control, CONTROL_EV_SHUTDOWN, "cause", json_string("quit"));
			break;
		}
	}
	control_msg_fini(&m);
	return 0;
}

/* Runs attach_run() on the given stdin and stdout in a child, which closes the test's own ends. */
static pid_t start(fake_fn fn, int in, int out, const int own[2], uint64_t timeout_s, bool leader)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	struct attach_options o = {.timeout_s = timeout_s};
	int control[2], console[2];

	if (leader) { /* a session of its own with the terminal */
		setsid();
		in = open(ttyname(in), O_RDWR);
	}
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	close(own[0]);
	close(own[1]);
	close(in);
	close(out);
	attach_hold_signals();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0)
		_exit(99);
	o.pid = fork();
	if (o.pid == 0) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(control[0]);
		close(console[0]);
		_exit(fn(control[1], console[1]));
	}
	close(control[1]);
	close(console[1]);
	o.control = control[0];
	o.console = console[0];
	_exit(attach_run(&o));
}

static void begin(struct session *s, fake_fn fn, uint64_t timeout_s)
{
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	s->in = in[1];
	s->out = out[0];
	s->pid = start(fn, in[0], out[1], (int[]){in[1], out[0]}, timeout_s, false);
	close(in[0]);
	close(out[1]);
}

/* The exit status; output is collected in `text` if that is not NULL. */
static int end(struct session *s, char *text, size_t size)
{
	uint64_t deadline = clock_ns() + PATIENCE_NS;
	size_t used = 0;
	char drop[4096];
	int status;

	for (;;) {
		struct pollfd p = {.fd = s->out, .events = POLLIN};
		ssize_t n;

		if (clock_ns() > deadline) {
			kill(s->pid, SIGKILL);
			fail_msg("it did not end");
		}
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(s->out, drop, sizeof(drop));
		if (n <= 0)
			break;
		for (ssize_t i = 0; text && i < n && used + 1 < size; i++)
			text[used++] = drop[i];
	}
	if (text)
		text[used] = '\0';
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	close(s->in);
	close(s->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Waits for text from the terminal or pipe. */
static void expect(struct session *s, const char *wanted)
{
	uint64_t deadline = clock_ns() + PATIENCE_NS;
	char text[4096];
	size_t used = 0;

	while (clock_ns() < deadline) {
		struct pollfd p = {.fd = s->out, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(s->out, text + used, sizeof(text) - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		text[used] = '\0';
		if (strstr(text, wanted))
			return;
	}
	fail_msg("did not see \"%s\"", wanted);
}

static void type(struct session *s, const char *text)
{
	assert_int_equal(write(s->in, text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- fakes ---- */

#define MUCH (1u << 20)

static int fake_talker(int control, int console)
{
	char block[4096];

	say(control, CONTROL_EV_STARTED, NULL, NULL);
	for (unsigned sent = 0; sent < MUCH; sent += sizeof(block)) {
		memset(block, 'a' + (int)(sent / sizeof(block) % 26), sizeof(block));
		if (write(console, block, sizeof(block)) != (ssize_t)sizeof(block))
			return 1;
	}
	say(control, CONTROL_EV_SHUTDOWN, "cause", json_string("poweroff"));
	return 0;
}

static int fake_echo(int control, int console)
{
	char c;

	say(control, CONTROL_EV_STARTED, NULL, NULL);
	if (write(console, "ready", 5) != 5)
		return 1;
	while (read(console, &c, 1) == 1 && c != 'Q')
		if (write(console, &c, 1) != 1)
			return 1;
	say(control, CONTROL_EV_GUEST_EXIT, "code", json_integer(0x85));
	return 0;
}

static int fake_server(int control, int console)
{
	if (write(console, "ready", 5) != 5)
		return 1;
	return serve(control, true);
}

static int fake_stubborn(int control, int console)
{
	signal(SIGTERM, SIG_IGN);
	if (write(console, "ready", 5) != 5)
		return 1;
	return serve(control, false);
}

static int fake_crash(int control, int console)
{
	(void)console;
	say(control, CONTROL_EV_CRASHED, "text", json_string("triple fault at 0x1000"));
	return 3;
}

static int fake_error(int control, int console)
{
	(void)console;
	say(control, CONTROL_EV_ERROR, "text", json_string("the kernel \"x\" is no kernel"));
	return 1;
}

static int fake_segv(int control, int console)
{
	(void)control;
	(void)console;
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	return 0;
}

static int fake_silent(int control, int console)
{
	(void)control;
	(void)console;
	return 0;
}

static int fake_garbage(int control, int console)
{
	(void)console;
	for (int i = 0; i < 1000; i++)
		if (send(control, "garbage", 7, MSG_NOSIGNAL) < 0)
			return 1;
	say(control, CONTROL_EV_SHUTDOWN, "cause", json_string("poweroff"));
	return 0;
}

/* ---- tests ---- */

static void test_output_whole(void **state)
{
	static char text[MUCH + 10];
	struct session s;

	(void)state;
	begin(&s, fake_talker, 0);
	usleep(50000); /* a slow reader: the VM is long gone when we begin to read */
	assert_int_equal(end(&s, text, sizeof(text)), 0);
	assert_int_equal(strlen(text), MUCH);
	for (unsigned i = 0; i < MUCH; i += 4096)
		assert_int_equal(text[i], 'a' + (int)(i / 4096 % 26));
}

static void test_input(void **state)
{
	struct session s;
	char text[64];

	(void)state;
	begin(&s, fake_echo, 0);
	expect(&s, "ready");
	type(&s, "hello\001x"); /* not a terminal: Ctrl-A is a byte like others */
	expect(&s, "hello\001x");
	type(&s, "Q");
	assert_int_equal(end(&s, text, sizeof(text)), 0x85 & 0x7f);
}

static void test_endings(void **state)
{
	static const struct {
		fake_fn fn;
		int status;
	} cases[] = {{fake_crash, STATUS_CRASHED},
		     {fake_error, STATUS_RUNTIME},
		     {fake_segv, STATUS_RUNTIME},
		     {fake_silent, STATUS_RUNTIME},
		     {fake_garbage, STATUS_OK}};
	struct session s;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(&s, cases[i].fn, 0);
		assert_int_equal(end(&s, NULL, 0), cases[i].status);
	}
}

static void test_signals(void **state)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct session s;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		begin(&s, fake_server, 0);
		expect(&s, "ready");
		kill(s.pid, signals[i]);
		assert_int_equal(end(&s, NULL, 0), STATUS_INTERRUPTED);
	}
	/* It does not listen: the second signal kills. */
	begin(&s, fake_stubborn, 0);
	expect(&s, "ready");
	kill(s.pid, SIGINT);
	usleep(100000);
	kill(s.pid, SIGTERM);
	assert_int_equal(end(&s, NULL, 0), STATUS_INTERRUPTED);
}

static void test_timeout(void **state)
{
	struct session s;

	(void)state;
	begin(&s, fake_server, 1);
	assert_int_equal(end(&s, NULL, 0), STATUS_TIMEOUT);
}

static void test_reader_gone(void **state)
{
	struct session s;
	int status;

	(void)state;
	begin(&s, fake_talker, 0);
	close(s.out);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	assert_true(WIFEXITED(status));
	close(s.in);
}

/* ---- on a terminal ---- */

static int master_fd, slave_fd;

static void begin_tty(struct session *s, fake_fn fn, struct termios *before)
{
	master_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(master_fd >= 0);
	assert_int_equal(grantpt(master_fd), 0);
	assert_int_equal(unlockpt(master_fd), 0);
	slave_fd = open(ptsname(master_fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave_fd >= 0);
	assert_int_equal(tcgetattr(slave_fd, before), 0);
	assert_true(before->c_lflag & ICANON);
	s->pid = start(fn, slave_fd, slave_fd, (int[]){master_fd, -1}, 0, true);
	s->in = s->out = master_fd;
}

static int end_tty(struct session *s, const struct termios *before)
{
	struct termios after;
	int status;

	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_int_equal(tcgetattr(slave_fd, &after), 0);
	assert_int_equal(after.c_lflag, before->c_lflag);
	assert_int_equal(after.c_iflag, before->c_iflag);
	close(master_fd);
	close(slave_fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_tty_keys(void **state)
{
	struct termios before, now;
	struct session s;

	(void)state;
	begin_tty(&s, fake_echo, &before);
	expect(&s, "ready"); /* comes through only after the terminal is raw */
	assert_int_equal(tcgetattr(slave_fd, &now), 0);
	assert_false(now.c_lflag & (ICANON | ECHO | ISIG));
	type(&s, "a\003b\001a"); /* Ctrl-C is the guest's */
	expect(&s, "a\003b\001");
	type(&s, "Q");
	assert_int_equal(end_tty(&s, &before), 5);
}

static void test_tty_escape(void **state)
{
	struct termios before;
	struct session s;

	(void)state;
	begin_tty(&s, fake_server, &before);
	expect(&s, "ready");
	type(&s, "\001p");
	usleep(50000);
	type(&s, "\001p\001r");
	usleep(50000);
	type(&s, "\001x");
	assert_int_equal(end_tty(&s, &before), STATUS_OK);
	begin_tty(&s, fake_server, &before);
	expect(&s, "ready");
	type(&s, "\001s");
	assert_int_equal(end_tty(&s, &before), STATUS_OK);
}

static void test_tty_signals(void **state)
{
	struct termios before;
	struct session s;

	(void)state;
	begin_tty(&s, fake_server, &before);
	expect(&s, "ready");
	kill(s.pid, SIGTERM);
	assert_int_equal(end_tty(&s, &before), STATUS_INTERRUPTED);
	/* A crash of our own restores the terminal, too. */
	begin_tty(&s, fake_server, &before);
	expect(&s, "ready");
	kill(s.pid, SIGSEGV);
	end_tty(&s, &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_whole), cmocka_unit_test(test_input),
		cmocka_unit_test(test_endings),	     cmocka_unit_test(test_signals),
		cmocka_unit_test(test_timeout),	     cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_tty_keys),     cmocka_unit_test(test_tty_escape),
		cmocka_unit_test(test_tty_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
