/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto_rundir.c - folders of running VMs: names, locks, leftovers, what is not trusted; and the log and the console hub that
 * live in them.
 */
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "keeper/conlog.h"
#include "keeper/hub.h"
#include "proto/rundir.h"
#include "util/clock.h"

static char base[] = "/tmp/test-rundir-XXXXXX";

static char *at(const char *rest)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", base, rest);
	return path;
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(base))
		return -1;
	setenv("LODGE_RUN", at("run"), 1);
	return 0;
}

static int teardown(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", base);
	return system(cmd);
}

static void touch(const struct rundir *r, const char *name)
{
	int fd = openat(r->dir, name, O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void test_life(void **state)
{
	struct rundir a, b, look;
	struct err e = {0};
	char **names;

	(void)state;
	assert_int_equal(rundir_list(&names, NULL), 0);
	assert_int_equal(rundir_open(&look, "one", &e), -ESRCH);
	assert_non_null(strstr(e.msg, "one"));
	assert_int_equal(rundir_create(&a, "one", NULL), 0);
	assert_int_equal(rundir_open(&look, "one", NULL), 0);
	assert_true(rundir_alive(&look));
	e = (struct err){0};
	assert_int_equal(rundir_create(&b, "one", &e), -EEXIST);
	assert_non_null(strstr(e.msg, "is running already (process "));
	e = (struct err){0};
	assert_int_equal(rundir_claim(&look, &e), -EBUSY);
	assert_int_equal(rundir_wait(&look, clock_ns() + CLOCK_NS_PER_MS), -ETIMEDOUT);

	/* Its end. What it left goes when the next one comes. */
	touch(&a, "left");
	rundir_close(&a);
	assert_false(rundir_alive(&look));
	assert_int_equal(rundir_wait(&look, UINT64_MAX), 0);
	assert_int_equal(rundir_create(&a, "one", NULL), 0);
	assert_int_equal(faccessat(a.dir, "left", F_OK, 0), -1);
	assert_true(rundir_alive(&look));

	assert_int_equal(rundir_list(&names, NULL), 1);
	assert_string_equal(names[0], "one");
	free(names);
	rundir_remove(&a);
	rundir_close(&a);
	assert_int_equal(rundir_list(&names, NULL), 0);
	free(names);
	/* Who had it open cannot take what is not there any more. */
	assert_int_equal(rundir_claim(&look, NULL), -ESRCH);
	rundir_close(&look);
}

static void test_names(void **state)
{
	static const char *const bad[] = {"", "..", ".", "../x", "a/b", "-x", ".x"};
	struct rundir r, s;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(rundir_create(&r, bad[i], NULL), -EINVAL);
		assert_int_equal(rundir_open(&r, bad[i], NULL), -EINVAL);
	}
	assert_int_equal(rundir_create(&r, NULL, NULL), 0);
	assert_int_equal(rundir_create(&s, NULL, NULL), 0);
	assert_string_not_equal(r.name, s.name);
	assert_int_equal(strncmp(r.name, "vm-", 3), 0);
	rundir_remove(&r);
	rundir_remove(&s);
	rundir_close(&r);
	rundir_close(&s);
}

static void test_trust(void **state)
{
	struct rundir r;
	struct err e = {0};
	char path[300];

	(void)state;
	assert_int_equal(chmod(at("run/vms"), 0755), 0);
	assert_int_equal(rundir_create(&r, "x", &e), -EACCES);
	assert_non_null(strstr(e.msg, "0755"));
	assert_int_equal(chmod(at("run/vms"), 0700), 0);
	assert_int_equal(chmod(at("run"), 0777), 0);
	assert_int_equal(rundir_create(&r, "x", NULL), -EACCES);
	assert_int_equal(chmod(at("run"), 0700), 0);

	/* Links, of a VM and of a file in it, lead nowhere. */
	assert_int_equal(mkdir(at("other"), 0700), 0);
	snprintf(path, sizeof(path), "%s", at("other"));
	assert_int_equal(symlink(path, at("run/vms/x")), 0);
	assert_true(rundir_create(&r, "x", NULL) < 0);
	assert_int_equal(rundir_open(&r, "x", NULL), -ESRCH);
	assert_int_equal(unlink(at("run/vms/x")), 0);
	assert_int_equal(rundir_create(&r, "x", NULL), 0);
	assert_int_equal(symlinkat("/etc/hostname", r.dir, "info.json"), 0);
	assert_null(rundir_read(&r, "info.json"));
	assert_int_equal(symlinkat("/run", r.dir, "control"), 0);
	assert_true(rundir_connect(&r, "control", SOCK_SEQPACKET, NULL) < 0);
	rundir_remove(&r);
	rundir_close(&r);
	/* A link as the folder itself. */
	assert_int_equal(symlink(path, at("link")), 0);
	setenv("LODGE_RUN", at("link"), 1);
	assert_true(rundir_create(&r, "x", NULL) < 0);
	setenv("LODGE_RUN", at("run"), 1);
}

static void test_files(void **state)
{
	_autojson json_t *j = json_pack("{s:i}", "status", 3);
	struct rundir r, look;
	json_t *got;
	int fd, to;

	(void)state;
	assert_int_equal(rundir_create(&r, "files", NULL), 0);
	assert_int_equal(rundir_open(&look, "files", NULL), 0);
	assert_int_equal(rundir_write(&r, "info.json", j, NULL), 0);
	got = rundir_read(&look, "info.json");
	assert_true(json_equal(j, got));
	json_decref(got);
	/* It has its name only when it listens; what one who was ended in between has left is in nobody's way. */
	assert_int_equal(mknodat(r.dir, "s.new", S_IFREG | 0600, 0), 0);
	fd = rundir_listen(&r, "s", SOCK_STREAM, NULL);
	assert_true(fd >= 0);
	assert_int_equal(faccessat(r.dir, "s.new", F_OK, 0), -1);
	to = rundir_connect(&look, "s", SOCK_STREAM, NULL);
	assert_true(to >= 0);
	close(to);
	close(fd);
	assert_int_equal(rundir_connect(&look, "s", SOCK_STREAM, NULL), -ECONNREFUSED);
	/* The last words reach one who has it open, even when the folder is gone. */
	assert_int_equal(rundir_write_end(&r, j, NULL), 0);
	rundir_remove(&r);
	rundir_close(&r);
	got = rundir_last_words(&look);
	assert_true(json_equal(j, got));
	json_decref(got);
	rundir_close(&look);
}

/* Many processes want one name: one at a time has it, and in the end nothing is left. */
static void test_race(void **state)
{
	int holds = 0, status;
	char **names;

	(void)state;
	for (int i = 0; i < 8; i++) {
		if (fork() != 0)
			continue;
		for (int k = 0; k < 200; k++) {
			struct rundir r;
			int got = rundir_create(&r, "race", NULL);

			if (got == 0) {
				/* Nobody else is in here. */
				if (mkdirat(r.dir, "mine", 0700) < 0)
					_exit(1);
				unlinkat(r.dir, "mine", AT_REMOVEDIR);
				rundir_remove(&r);
			} else if (got != -EEXIST && got != -EBUSY) {
				_exit(2);
			}
			rundir_close(&r);
		}
		_exit(0);
	}
	while (wait(&status) > 0)
		holds += status != 0;
	assert_int_equal(holds, 0);
	assert_int_equal(rundir_list(&names, NULL), 0);
	free(names);
}

/* ---- the log ---- */

static void test_log(void **state)
{
	static uint8_t block[4096], out[8192];
	struct conlog l;
	struct rundir r;
	uint64_t n = 0, from;

	(void)state;
	assert_int_equal(rundir_create(&r, "log", NULL), 0);
	conlog_init(&l, r.dir, "console.log");
	for (unsigned i = 0; i < 3 * CONLOG_HALF / sizeof(block) + 7; i++) {
		for (size_t k = 0; k < sizeof(block); k++)
			block[k] = (uint8_t)((n + k) * 7 % 251);
		conlog_put(&l, block, sizeof(block));
		n += sizeof(block);
	}
	assert_int_equal(l.end, n);
	assert_in_range(l.end - l.begin, CONLOG_HALF, 2 * CONLOG_HALF);
	from = 0; /* gone: the oldest that is there */
	for (size_t got; (got = conlog_get(&l, &from, out, 1000)); from += got)
		for (size_t k = 0; k < got; k++)
			assert_int_equal(out[k], (from + k) * 7 % 251);
	assert_int_equal(from, n);
	conlog_fini(&l);
	rundir_remove(&r);
	rundir_close(&r);
}

/* ---- made again ---- */

static void test_again(void **state)
{
	static uint8_t block[4096], out[4096];
	struct rundir r, look, other;
	struct conlog l;
	uint64_t from;
	int before, moved;

	(void)state;
	assert_int_equal(rundir_create(&r, "again", NULL), 0);
	conlog_init(&l, r.dir, "console.log");
	for (unsigned i = 0; i < CONLOG_HALF / sizeof(block) + 3; i++) {
		memset(block, (int)i, sizeof(block));
		conlog_put(&l, block, sizeof(block));
	}
	assert_int_equal(rundir_open(&look, "again", NULL), 0);
	assert_true(rundir_whole(&r) && !rundir_stale(&look));

	/* All of it removed: the same descriptors lead to another, and who has the old one is told. */
	assert_int_equal(system("rm -rf $LODGE_RUN"), 0);
	assert_true(!rundir_whole(&r) && rundir_stale(&look));
	assert_int_equal(rundir_again(&r, &before, NULL), 0);
	assert_string_equal(r.name, "again");
	assert_true(rundir_whole(&r) && rundir_alive(&look));
	conlog_again(&l);
	conlog_put(&l, block, sizeof(block));
	for (from = 0; conlog_get(&l, &from, out, sizeof(out)); from += sizeof(out))
		assert_int_equal(out[9], from + sizeof(out) == l.end ?
						 block[0] :
						 (uint8_t)(from / sizeof(out)));
	assert_int_equal(from, l.end);
	assert_int_equal(faccessat(r.dir, "console.log.old", F_OK, 0), 0);
	close(before);
	assert_false(rundir_alive(&look));
	rundir_close(&look);
	assert_int_equal(rundir_open(&look, "again", NULL), 0);
	assert_true(rundir_alive(&look));
	rundir_close(&look);

	/* Only its lock. */
	assert_int_equal(unlinkat(r.dir, "lock", 0), 0);
	assert_int_equal(rundir_again(&r, &before, NULL), 0);
	assert_true(rundir_whole(&r));
	close(before);

	/* Moved, and there is another of that name. */
	moved = openat(r.dir, "..", O_RDONLY | O_DIRECTORY);
	assert_int_equal(renameat(moved, "again", moved, "elsewhere"), 0);
	assert_int_equal(rundir_create(&other, "again", NULL), 0);
	assert_int_equal(rundir_again(&r, &before, NULL), 0);
	assert_string_not_equal(r.name, "again");
	assert_true(rundir_whole(&r) && rundir_whole(&other));
	assert_int_equal(rundir_open(&look, "elsewhere", NULL), -ESRCH);
	assert_int_equal(unlinkat(moved, "elsewhere", AT_REMOVEDIR), 0);
	close(before);
	close(moved);
	conlog_fini(&l);
	rundir_remove(&other);
	rundir_close(&other);
	rundir_remove(&r);
	rundir_close(&r);
}

/* ---- the hub ---- */

static struct {
	struct loop *loop;
	struct hub *hub;
	struct rundir run;
	char typed[256];
} fx;

static void on_typed(void *ctx, const uint8_t *data, size_t len)
{
	(void)ctx;
	strncat(fx.typed, (const char *)data, len);
}

static void rounds(void)
{
	for (int i = 0; i < 20; i++)
		(void)loop_run_once(fx.loop, 0);
}

static int client(const char *line)
{
	int fd = rundir_connect(&fx.run, "console", SOCK_STREAM, NULL);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, line, strlen(line), 0), (ssize_t)strlen(line));
	rounds();
	return fd;
}

static const char *heard(int fd)
{
	static char buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	buf[MAX(n, 0)] = '\0';
	return n == 0 || (n < 0 && errno != EAGAIN) ? "(closed)" : buf;
}

static void test_hub(void **state)
{
	int listen_fd, a, b, c, mad;
	char want[64];

	(void)state;
	assert_int_equal(loop_create(&fx.loop, NULL), 0);
	assert_int_equal(rundir_create(&fx.run, "hub", NULL), 0);
	listen_fd = rundir_listen(&fx.run, "console", SOCK_STREAM, NULL);
	assert_true(listen_fd >= 0);
	assert_int_equal(hub_create(&fx.hub, fx.loop, fx.run.dir, listen_fd, on_typed, NULL, NULL),
			 0);

	hub_said(fx.hub, (const uint8_t *)"before", 6);
	a = client("write\nkeys");
	assert_string_equal(heard(a), "write\nbefore");
	assert_string_equal(fx.typed, "keys");
	b = client("write 3\nlost");
	snprintf(want, sizeof(want), "watch %d\nore", (int)getpid());
	assert_string_equal(heard(b), want);
	assert_string_equal(fx.typed, "keys");
	hub_said(fx.hub, (const uint8_t *)"+", 1);
	assert_string_equal(heard(a), "+");
	assert_string_equal(heard(b), "+");

	/* Nobody types while the guest does not take it. */
	hub_accept(fx.hub, false);
	assert_int_equal(send(a, "late", 4, 0), 4);
	rounds();
	assert_string_equal(fx.typed, "keys");
	hub_accept(fx.hub, true);
	rounds();
	assert_string_equal(fx.typed, "keyslate");

	c = client("take 0\n!");
	assert_string_equal(heard(c), "write\n");
	assert_string_equal(fx.typed, "keyslate!");
	assert_non_null(strstr(heard(a), "types now"));
	assert_int_equal(send(a, "no", 2, 0), 2);
	rounds();
	assert_string_equal(fx.typed, "keyslate!");
	close(c);
	rounds();

	/* What is no request ends the connection, and only that. */
	mad = client("listen\n");
	assert_string_equal(heard(mad), "(closed)");
	close(mad);
	mad = client("0123456789012345678901234567890123456789");
	assert_string_equal(heard(mad), "(closed)");
	close(mad);
	mad = client("watch -1\n");
	assert_string_equal(heard(mad), "(closed)");
	close(mad);

	/* One that does not read loses what is not kept, and is told; the guest is not held up. */
	for (unsigned i = 0; i < 5 * CONLOG_HALF / 1024; i++) {
		char text[1024];

		memset(text, 'x', sizeof(text));
		hub_said(fx.hub, (const uint8_t *)text, sizeof(text));
		(void)heard(b);
	}
	for (bool told = false; !told;) {
		const char *text = heard(a);

		assert_true(*text);
		told = strstr(text, "bytes are left out");
		rounds();
	}
	hub_local_writer(fx.hub, true);
	c = client("take 0\n");
	assert_non_null(strstr(heard(c), "watch"));
	close(a);
	close(b);
	close(c);
	hub_destroy(fx.hub);
	loop_destroy(fx.loop);
	rundir_remove(&fx.run);
	rundir_close(&fx.run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),  cmocka_unit_test(test_names),
		cmocka_unit_test(test_trust), cmocka_unit_test(test_files),
		cmocka_unit_test(test_race),  cmocka_unit_test(test_log),
		cmocka_unit_test(test_hub),   cmocka_unit_test(test_again),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
