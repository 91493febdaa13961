/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto_agent.c - the client of a guest agent: against Lodge's own agent (src/guest, as a process with a socket), and against
 * one that means ill. base64 in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/agent.h"
#include "util/base64.h"
#include "util/clock.h"

static uint64_t in_s(uint64_t s)
{
	return clock_ns() + s * CLOCK_NS_PER_S;
}

/* ---- base64 ---- */

static void base64_both_ways(void **state)
{
	static const char *const text[] = {"",	       "Zg==",	   "Zm8=",    "Zm9v",
					   "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	static const char *const bad[] = {"Z",	  "Zg",	  "Zg=",  "Zh==",   "Zm9=",    "Zg==Zg==",
					  "=g==", "Z===", "Zm 9", "Zm9v\n", "Zm9\xff", "===="};
	uint8_t *data;
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
		char *t = base64_encode("foobar", i);

		assert_string_equal(t, text[i]); /* RFC 4648 §10 */
		free(t);
		assert_int_equal(base64_decode(text[i], strlen(text[i]), &data, &len), 0);
		assert_int_equal(len, i);
		assert_memory_equal(data, "foobar", i);
		free(data);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &data, &len), -EINVAL);
}

/* ---- our own agent ---- */

static pid_t agent_pid;

static int own_agent(struct agent *a)
{
	char path[4096], *slash;
	int pair[2];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);

	assert_true(n > 0);
	path[n] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash, "/../src/guest/lodge-agent");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	agent_pid = fork();
	if (agent_pid == 0) {
		dup2(pair[1], STDIN_FILENO);
		execl(path, "lodge-agent", "-", (char *)NULL);
		_exit(127);
	}
	close(pair[1]);
	agent_init(a);
	return agent_open(a, pair[0], in_s(30), NULL);
}

static void own_agent_end(struct agent *a)
{
	int status;

	agent_fini(a);
	assert_int_equal(waitpid(agent_pid, &status, 0), agent_pid);
	assert_int_equal(status, 0); /* it ends when the other end of its socket left */
}

/* Runs it to its end; output is gathered. */
static struct agent_exit run(struct agent *a, char *const argv[], const void *input, size_t len,
			     bool stream)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct agent_exit all = {0}, x;
	uint64_t pid, end = in_s(60);
	struct err e = {0};

	if (agent_exec(a, argv, input, len, stream, end, &pid, &e))
		fail_msg("%s", e.msg);
	do {
		nanosleep(&pause, NULL);
		assert_true(clock_ns() < end);
		if (agent_exec_status(a, pid, end, &x, &e))
			fail_msg("%s", e.msg);
		assert_true(stream || x.exited || (!x.out_len && !x.err_len));
		all.out = realloc(all.out, all.out_len + x.out_len + 1);
		all.err = realloc(all.err, all.err_len + x.err_len + 1);
		if (x.out_len)
			memcpy(all.out + all.out_len, x.out, x.out_len);
		if (x.err_len)
			memcpy(all.err + all.err_len, x.err, x.err_len);
		all.out_len += x.out_len;
		all.err_len += x.err_len;
		all.exited = x.exited;
		all.by_signal = x.by_signal;
		all.code = x.code;
		all.cut |= x.cut;
		agent_exit_fini(&x);
	} while (!all.exited);
	assert_int_equal(agent_exec_status(a, pid, end, &x, &e), -EREMOTEIO); /* told once */
	return all;
}

#define ARGV(...) ((char *const[]){__VA_ARGS__, NULL})

static void own_programs(void **state)
{
	static char sh[] = "sh", c[] = "-c", none[] = "/no/such/program", etc[] = "/etc",
		    both[] = "printf out; printf err >&2; exit 7", die[] = "kill -9 $$",
		    cat[] = "cat; echo end >&2", much[] = "head -c 5000000 /dev/zero",
		    more[] = "head -c 18000000 /dev/zero", left[] = "sleep 1000 & echo $!";
	const size_t len = 1024 * 1024 + 3;
	uint8_t *input = malloc(len);
	struct agent_exit x;
	struct err e = {0};
	struct agent a;
	uint64_t pid;

	(void)state;
	assert_int_equal(own_agent(&a), 0);
	assert_int_equal(agent_can_stream(&a, in_s(30), NULL), 1);
	for (int stream = 0; stream < 2; stream++) {
		x = run(&a, ARGV(sh, c, both), NULL, 0, stream);
		assert_false(x.by_signal);
		assert_int_equal(x.code, 7);
		assert_int_equal(x.out_len, 3);
		assert_memory_equal(x.out, "out", 3);
		assert_int_equal(x.err_len, 3);
		assert_memory_equal(x.err, "err", 3);
		agent_exit_fini(&x);
		x = run(&a, ARGV(sh, c, die), NULL, 0, stream);
		assert_true(x.by_signal);
		assert_int_equal(x.code, SIGKILL);
		agent_exit_fini(&x);
		for (size_t i = 0; i < len; i++)
			input[i] = (uint8_t)(i * 2654435761u >> 13);
		x = run(&a, ARGV(sh, c, cat), input, len, stream);
		assert_int_equal(x.out_len, len);
		assert_memory_equal(x.out, input, len);
		assert_memory_equal(x.err, "end\n", 4);
		agent_exit_fini(&x);
		x = run(&a, ARGV(sh, c, much), NULL, 0, stream);
		assert_int_equal(x.out_len, 5000000);
		assert_false(x.cut);
		agent_exit_fini(&x);
	}
	/* More than is kept: only the stream has it all. */
	x = run(&a, ARGV(sh, c, more), NULL, 0, true);
	assert_int_equal(x.out_len, 18000000);
	agent_exit_fini(&x);
	x = run(&a, ARGV(sh, c, more), NULL, 0, false);
	assert_true(x.cut && x.out_len > 15000000 && x.out_len <= 16777216);
	agent_exit_fini(&x);
	/* What it leaves behind does not hold it up. */
	x = run(&a, ARGV(sh, c, left), NULL, 0, true);
	assert_int_equal(x.code, 0);
	assert_true(x.out_len > 0);
	x.out[x.out_len] = '\0';
	kill(atoi((char *)x.out), SIGKILL);
	agent_exit_fini(&x);
	assert_int_equal(agent_exec(&a, ARGV(none), NULL, 0, true, in_s(30), &pid, &e), -EREMOTEIO);
	assert_non_null(strstr(e.msg, "No such file or directory"));
	e = (struct err){0};
	assert_int_equal(agent_exec(&a, ARGV(etc), NULL, 0, true, in_s(30), &pid, &e), -EREMOTEIO);
	assert_non_null(strstr(e.msg, "Permission denied"));
	assert_int_equal(agent_exec(&a, ARGV(sh, (char[]){"\xff"}), NULL, 0, true, in_s(30), &pid,
				    NULL),
			 -EINVAL);
	own_agent_end(&a);
	free(input);
}

/* The bytes of output in the next answer that the agent has under way. */
static size_t told(struct agent *a, char *line, size_t size, bool *exited)
{
	const char *text;
	size_t n = 0, len;
	uint8_t *data;
	json_t *j, *r;

	do { /* the answer, and nothing of the one behind it */
		assert_true(n < size);
		assert_int_equal(recv(a->fd, line + n, 1, MSG_WAITALL), 1);
	} while (line[n++] != '\n');
	j = json_loadb(line, n, 0, NULL);
	r = json_object_get(j, "return");
	text = json_string_value(json_object_get(r, "out-data"));
	*exited = json_is_true(json_object_get(r, "exited"));
	len = 0;
	if (text) {
		assert_int_equal(base64_decode(text, strlen(text), &data, &len), 0);
		free(data);
	}
	json_decref(j);
	return len;
}

/* A program that is over for long, and nobody asked: what it said at last waits in its pipe, behind what the agent has read. */
static void own_last_words(void **state)
{
	static char sh[] = "sh", c[] = "-c", much[] = "head -c 1100000 /dev/zero";
	const struct timespec pause = {.tv_nsec = 1000000}, linger = {.tv_nsec = 600000000};
	const size_t size = 2 << 20;
	char *line = malloc(size), text[256];
	bool exited = false;
	size_t n;
	struct agent a;
	uint64_t pid, end;

	(void)state;
	assert_int_equal(own_agent(&a), 0);
	assert_int_equal(fcntl(a.fd, F_SETFL, fcntl(a.fd, F_GETFL) & ~O_NONBLOCK), 0);
	end = in_s(60);
	assert_int_equal(agent_exec(&a, ARGV(sh, c, much), NULL, 0, true, end, &pid, NULL), 0);
	while (kill((pid_t)pid, 0) == 0) { /* until the agent has seen its end */
		nanosleep(&pause, NULL);
		assert_true(clock_ns() < end);
	}
	nanosleep(&linger, NULL);
	/* Two questions at once: it reads no pipe between them. */
	snprintf(text, sizeof(text),
		 "{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":%llu}}\n",
		 (unsigned long long)pid);
	n = strlen(text);
	assert_true(2 * n < sizeof(text));
	memcpy(text + n, text, n);
	assert_int_equal(send(a.fd, text, 2 * n, MSG_NOSIGNAL), (ssize_t)(2 * n));
	n = told(&a, line, size, &exited);
	assert_false(exited);
	n += told(&a, line, size, &exited);
	assert_true(exited);
	assert_int_equal(n, 1100000);
	own_agent_end(&a);
	free(line);
}

static void own_files(void **state)
{
	const size_t len = 700001; /* three pieces */
	uint8_t *bytes = malloc(len), *piece;
	char path[] = "/tmp/lodge-agent-XXXXXX";
	size_t got, at = 0;
	struct agent a;
	int64_t handle;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 11);
	assert_int_equal(own_agent(&a), 0);
	assert_int_equal(agent_file_open(&a, path, "w", in_s(30), &handle, NULL), 0);
	assert_int_equal(agent_file_write(&a, handle, bytes, len, in_s(30), NULL), 0);
	assert_int_equal(agent_file_close(&a, handle, in_s(30), NULL), 0);
	assert_int_equal(agent_file_close(&a, handle, in_s(30), NULL), -EREMOTEIO);
	assert_int_equal(agent_file_open(&a, path, "r", in_s(30), &handle, NULL), 0);
	for (;;) {
		assert_int_equal(agent_file_read(&a, handle, in_s(30), &piece, &got, NULL), 0);
		assert_true(at + got <= len);
		if (got)
			assert_memory_equal(piece, bytes + at, got);
		at += got;
		free(piece);
		if (!got)
			break;
	}
	assert_int_equal(at, len);
	assert_int_equal(agent_file_close(&a, handle, in_s(30), NULL), 0);
	assert_int_equal(agent_file_open(&a, "/", "r", in_s(30), &handle, NULL), -EREMOTEIO);
	assert_int_equal(agent_file_open(&a, "/no/such", "r", in_s(30), &handle, NULL), -EREMOTEIO);
	/* Handles have an end. */
	for (got = 0; agent_file_open(&a, path, "r", in_s(30), &handle, NULL) == 0; got++)
		assert_true(got < 100);
	own_agent_end(&a);
	unlink(path);
	free(bytes);
}

static void own_rest(void **state)
{
	static const char *const wrong[] = {"guest-file-read", "guest-exec", "guest-exec-status",
					    "guest-set-time",  "guest-sync", "guest-file-seek"};
	json_t *j = NULL;
	struct agent a;

	(void)state;
	assert_int_equal(own_agent(&a), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(agent_call(&a, wrong[i], NULL, in_s(30), NULL, NULL), -EREMOTEIO);
	assert_int_equal(agent_call(&a, "guest-no-such", NULL, in_s(30), NULL, NULL), -EREMOTEIO);
	assert_int_equal(agent_call(&a, "guest-network-get-interfaces", NULL, in_s(30), &j, NULL),
			 0);
	assert_true(json_array_size(j) >= 1);
	json_decref(j);
	assert_int_equal(agent_call(&a, "guest-fsfreeze-status", NULL, in_s(30), &j, NULL), 0);
	assert_string_equal(json_string_value(j), "thawed");
	json_decref(j);
	assert_int_equal(agent_call(&a, "guest-get-time", NULL, in_s(30), &j, NULL), 0);
	assert_true(json_integer_value(j) / 1000000000 -
			    (json_int_t)(clock_realtime_ns() / 1000000000) <
		    60);
	json_decref(j);
	/* Half a request of somebody who left: what comes after the next start is understood. */
	assert_true(send(a.fd, "{\"execute\":\"gu", 14, MSG_NOSIGNAL) == 14);
	{
		int fd = dup(a.fd);
		struct agent b;

		agent_init(&b);
		assert_int_equal(agent_open(&b, fd, in_s(30), NULL), 0);
		assert_int_equal(agent_call(&b, "guest-ping", NULL, in_s(30), NULL, NULL), 0);
		agent_fini(&b);
	}
	own_agent_end(&a);
}

/* ---- one that means ill ---- */

struct liar {
	int fd;
	const char *before, *answer; /* before and after the sync's; answer to the first request */
	bool no_sync, wrong_sync, endless, silent;
	char prefix;
};

static void *lie(void *arg)
{
	struct liar *l = arg;
	static char garbage[65536];
	char text[512];
	ssize_t n = recv(l->fd, text, sizeof(text) - 1, 0);
	unsigned id = 0;

	text[n > 0 ? n : 0] = '\0';
	if (strstr(text, "\"id\":"))
		id = (unsigned)strtoul(strstr(text, "\"id\":") + 5, NULL, 10);
	if (l->before)
		send(l->fd, l->before, strlen(l->before), MSG_NOSIGNAL);
	if (l->no_sync)
		memset(garbage, 'x', sizeof(garbage));
	while (l->no_sync && send(l->fd, garbage, sizeof(garbage), MSG_NOSIGNAL) > 0)
		;
	n = snprintf(text, sizeof(text), "\xff{\"return\":%u}\n", l->wrong_sync ? id + 1 : id);
	send(l->fd, text, (size_t)n, MSG_NOSIGNAL);
	if (l->silent)
		while (recv(l->fd, text, sizeof(text), 0) > 0)
			;
	if (!l->silent && recv(l->fd, text, sizeof(text), 0) > 0) {
		if (l->answer)
			send(l->fd, l->answer, strlen(l->answer), MSG_NOSIGNAL);
		memset(garbage, '{', sizeof(garbage));
		while (l->endless && send(l->fd, garbage, sizeof(garbage), MSG_NOSIGNAL) > 0)
			;
	}
	close(l->fd);
	return NULL;
}

static pthread_t liar_start(struct liar *l, int *ours)
{
	pthread_t t;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	l->fd = pair[1];
	*ours = pair[0];
	assert_int_equal(pthread_create(&t, NULL, lie, l), 0);
	return t;
}

static void hostile_sync(void **state)
{
	static struct liar liars[] = {
		{.no_sync = true},
		{.wrong_sync = true, .silent = true},
		{.before =
			 "{\"return\":{}}\n\xff\n\xff{\"return\":[]}\n\xff\xff{}\n{\"ret\xff{\"return\":\"1\"}\n",
		 .silent = true},
	};
	static const int want[] = {-EPROTO, -ETIMEDOUT, 0};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(liars); i++) {
		struct err e = {0};
		struct agent a;
		int fd, r;
		pthread_t t = liar_start(&liars[i], &fd);

		agent_init(&a);
		r = agent_open(&a, fd,
			       clock_ns() + (want[i] == -ETIMEDOUT ? 1 : 60) * CLOCK_NS_PER_S, &e);
		if (want[i] == -EPROTO)
			assert_true(r == -EPROTO || r == -EMSGSIZE);
		else
			assert_int_equal(r, want[i]);
		assert_true(r == 0 || e.msg[0]);
		agent_fini(&a);
		pthread_join(t, NULL);
	}
}

/* Each answer is refused; `status`: as one to guest-exec-status. */
static void hostile_answers(void **state)
{
	static const struct {
		const char *answer;
		int want;
	} cases[] = {
		{"\n", -EINVAL},
		{"[1]\n", -EPROTO},
		{"{}\n", -EPROTO},
		{"{\"return\":5}\n", -EPROTO},
		{"{\"return\":{\"exited\":1}}\n", -EPROTO},
		{"{\"return\":{\"exited\":true}}\n", -EPROTO},
		{"{\"return\":{\"exited\":true,\"exitcode\":256}}\n", -EPROTO},
		{"{\"return\":{\"exited\":true,\"exitcode\":-1}}\n", -EPROTO},
		{"{\"return\":{\"exited\":true,\"signal\":128}}\n", -EPROTO},
		{"{\"return\":{\"exited\":true,\"exitcode\":0,\"out-data\":\"*\"}}\n", -EINVAL},
		{"{\"return\":{\"exited\":true,\"exitcode\":0,\"out-data\":\"QQ==\",\"err-data\":7}}\n",
		 -EPROTO},
		{"{\"return\":{\"exited\":true,\"exitcode\":0},\"return\":{}}\n", -EINVAL},
		{"{\"error\":[]}\n", -EREMOTEIO},
		{"{\"error\":{\"desc\":\"\\u001b[2Jno\"}}\n", -EREMOTEIO},
		{"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n", -EINVAL},
		{"{\"return\":{\"exited\":true,\"exitcode\":3}}\n", 0},
		{NULL, -EPIPE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct liar l = {.answer = cases[i].answer};
		struct agent_exit x = {0};
		struct err e = {0};
		struct agent a;
		int fd;
		pthread_t t = liar_start(&l, &fd);

		agent_init(&a);
		assert_int_equal(agent_open(&a, fd, in_s(60), &e), 0);
		assert_int_equal(agent_exec_status(&a, 1, in_s(60), &x, &e), cases[i].want);
		assert_true(cases[i].want == 0 || e.msg[0]);
		assert_null(strchr(e.msg, '\033'));
		assert_true(cases[i].want || (x.exited && x.code == 3));
		agent_exit_fini(&x);
		agent_fini(&a);
		pthread_join(t, NULL);
	}
}

static void hostile_file(void **state)
{
	static const char *const answers[] = {
		"{\"return\":{\"count\":2,\"buf-b64\":\"QQ==\"}}\n",
		"{\"return\":{\"count\":1}}\n",
		"{\"return\":{\"count\":99999999999,\"buf-b64\":\"QQ==\"}}\n",
		"{\"return\":{\"count\":\"1\",\"buf-b64\":\"QQ==\"}}\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct liar l = {.answer = answers[i]};
		struct err e = {0};
		struct agent a;
		uint8_t *data;
		size_t len;
		int fd;
		pthread_t t = liar_start(&l, &fd);

		agent_init(&a);
		assert_int_equal(agent_open(&a, fd, in_s(60), &e), 0);
		assert_int_equal(agent_file_read(&a, 1, in_s(60), &data, &len, &e), -EPROTO);
		agent_fini(&a);
		pthread_join(t, NULL);
	}
}

/* No line ever ends; nothing ever comes. */
static void hostile_length_and_silence(void **state)
{
	struct liar endless = {.endless = true}, silent = {.silent = true};
	struct err e = {0};
	struct agent a;
	pthread_t t;
	int fd;

	(void)state;
	t = liar_start(&endless, &fd);
	agent_init(&a);
	assert_int_equal(agent_open(&a, fd, in_s(60), &e), 0);
	assert_int_equal(agent_call(&a, "guest-ping", NULL, in_s(100), NULL, &e), -EMSGSIZE);
	agent_fini(&a);
	pthread_join(t, NULL);
	t = liar_start(&silent, &fd);
	assert_int_equal(agent_open(&a, fd, in_s(60), NULL), 0);
	assert_int_equal(agent_call(&a, "guest-ping", NULL, clock_ns() + CLOCK_NS_PER_MS, NULL,
				    NULL),
			 -ETIMEDOUT);
	agent_fini(&a);
	pthread_join(t, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_both_ways),
		cmocka_unit_test(own_programs),
		cmocka_unit_test(own_last_words),
		cmocka_unit_test(own_files),
		cmocka_unit_test(own_rest),
		cmocka_unit_test(hostile_sync),
		cmocka_unit_test(hostile_answers),
		cmocka_unit_test(hostile_file),
		cmocka_unit_test(hostile_length_and_silence),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
