/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drive.c - starts taken-over VM processes, as `lodge` starts VM processes, and looks at how each of them ends.
 *
 *   owned calls     every system call number, with three kinds of arguments, each in a process of its own: the kernel must kill it at every
 *                   call that stands in no seccomp comment, and at none that a comment allows whatever its arguments are
 *   owned escapes   every escape, with the filter and, where other layers must stop it too, without
 *   owned free      some harmless escapes without a sandbox: they must work, or this proves nothing
 *
 * Several run at a time. A sibling VM process and this one are what they try to reach; both must be as before at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/run.h"
#include "sandbox/owned.h"

#define CALLS_END 640	      /* numbers that are looked at: beyond the newest kernel's */
#define CALLS_X32 0x40000000u /* the other table of numbers, and its end */
#define KINDS 3u
#define AT_A_TIME 8u
#define DISK_BYTES 65536

static const struct {
	int number;
	bool always;
} allowed[] = {
#include "numbers.h"
};

struct run {
	pid_t pid;
	int control;
	char name[40], what[80];
	int number; /* of a system call; -1: an escape */
	bool free;  /* without a sandbox */
};

static struct drive {
	struct run run[AT_A_TIME];
	struct config_fds fds;
	char targets[300], folder[100];
	int disk;
	unsigned n_tried, n_refused, n_bad;
} drive;

static void complain(const char *what, const char *why)
{
	printf("FAIL %s: %s\n", what, why);
	drive.n_bad++;
}

/*
 * 1: allowed whatever its arguments are, 0: with some, or not ours to say, -1: never. Linux asks no filter about uretprobe (335, since 6.11) and
 * uprobe (336): only code that the kernel itself put into a process may make them, for any other they end in a signal or an error.
 */
static int rule_of(int number)
{
	if (number == 335 || number == 336)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++)
		if (allowed[i].number == number)
			return allowed[i].always;
	return -1;
}

static void judge(const struct run *r, int status)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
	/* The build for tests says so itself. */
	bool trapped = WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSYS;
	int rule = r->number >= 0 ? rule_of(r->number) : 0;
	char why[80];

	drive.n_tried++;
	drive.n_refused += killed || trapped;
	if (r->free) {
		if (!WIFEXITED(status) || WEXITSTATUS(status) != OWNED_ESCAPED)
			complain(r->what, "without a sandbox it should work");
		return;
	}
	if (r->number >= 0 && rule < 0 && !killed && !trapped)
		complain(r->what, "it was let through");
	else if (r->number >= 0 && rule > 0 && (killed || trapped))
		complain(r->what, "it is allowed, and was refused");
	else if (r->number < 0 && WIFEXITED(status) && WEXITSTATUS(status) == OWNED_ESCAPED)
		complain(r->what, "ESCAPED");
	else if (r->number < 0 && !killed && !trapped &&
		 !(WIFEXITED(status) && WEXITSTATUS(status) == OWNED_RETURNED)) {
		/* Killed in another way (a page that is not there) is no escape, but not known not to be one either. */
		snprintf(why, sizeof(why), "ended with wait status %#x", (unsigned)status);
		complain(r->what, why);
	}
}

static int start(struct run *r, struct err *e)
{
	struct vm_config c;

	config_init(&c);
	snprintf(c.name, sizeof(c.name), "%s", r->name);
	snprintf(c.cmdline, sizeof(c.cmdline), "%s", drive.targets);
	strcpy(c.kernel_name, "kernel");
	c.n_disks = 1;
	strcpy(c.disk[0].id, "disk0");
	strcpy(c.disk[0].name, "disk");
	c.disk[0].queues = 1;
	c.disk[0].block = 512;
	c.sandbox = r->free ? CONFIG_SANDBOX_OFF : CONFIG_SANDBOX_ON;
	r->control = -1;
	return launch_vm(&c, &drive.fds, &r->pid, &r->control, e);
}

/* Waits for one of those that run. */
static void reap(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	for (unsigned i = 0; i < AT_A_TIME; i++) {
		if (drive.run[i].pid != pid)
			continue;
		judge(&drive.run[i], status);
		base_close_fd(&drive.run[i].control);
		drive.run[i].pid = 0;
		return;
	}
	complain("the sibling", "it has ended");
}

static bool busy(void)
{
	for (unsigned i = 0; i < AT_A_TIME; i++)
		if (drive.run[i].pid)
			return true;
	return false;
}

static void attempt(const char *name, const char *what, int number, bool free)
{
	struct run *r = NULL;
	struct err e = {0};

	while (!r) {
		for (unsigned i = 0; i < AT_A_TIME && !r; i++)
			if (!drive.run[i].pid)
				r = &drive.run[i];
		if (!r)
			reap();
	}
	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->what, sizeof(r->what), "%s", what);
	r->number = number;
	r->free = free;
	if (start(r, &e) < 0) {
		r->pid = 0;
		complain(what, e.msg);
	}
}

static void calls(void)
{
	char name[40], what[80];

	for (unsigned kind = 0; kind < KINDS; kind++) {
		for (unsigned i = 0; i < CALLS_END + 2; i++) {
			unsigned n = i < CALLS_END ? i : i == CALLS_END ? CALLS_X32 : INT32_MAX;

			snprintf(name, sizeof(name), "sys-%u-%u", n, kind);
			snprintf(what, sizeof(what), "system call %u, arguments %u", n, kind);
			attempt(name, what, (int)n, false);
		}
	}
}

static void escapes(void)
{
	char name[40], what[80];

	for (unsigned i = 0; i < owned_n_escapes; i++) {
		snprintf(name, sizeof(name), "esc-%u", i);
		attempt(name, owned_escapes[i].name, -1, false);
		if (owned_escapes[i].filter_only)
			continue;
		snprintf(name, sizeof(name), "bare-%u", i);
		snprintf(what, sizeof(what), "%s without the filter", owned_escapes[i].name);
		attempt(name, what, -1, false);
	}
}

static void free_ones(void)
{
	/* The last two for root only: for an ordinary user the sibling is not dumpable, sandbox or not. */
	static const char *const names[] = {
		"passwd",	  "dots",	    "sibling_disk",    "secret",
		"fork_one",	  "map_wx",	    "protect_x",       "map_file_wx",
		"run_memfd",	  "daemon_socket",  "abstract_socket", "loopback",
		"signal_by_file", "process_handle", "priority_of",     "sibling_files",
		"read_memory",
	};
	const unsigned n = ARRAY_SIZE(names) - (geteuid() == 0 ? 0 : 2);
	char name[40];

	for (unsigned i = 0; i < owned_n_escapes; i++) {
		for (unsigned k = 0; k < n; k++) {
			if (strcmp(names[k], owned_escapes[i].name) != 0)
				continue;
			snprintf(name, sizeof(name), "esc-%u", i);
			attempt(name, names[k], -1, true);
		}
	}
	while (busy())
		reap();
	if (drive.n_tried != n)
		complain("the list of free ones", "it has names that are no escapes");
}

/* ---- what they would like to reach ---- */

static int make_file(const char *name, const char *text, size_t size)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", drive.folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0 || write(fd, text, strlen(text)) < 0 ||
	    ftruncate(fd, (off_t)size) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static int listen_unix(bool abstract)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(sa.sun_path + abstract, sizeof(sa.sun_path) - 1, "%.90s%s", drive.folder,
			 abstract ? "" : "/daemon");

	if (bind(fd, (struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + (size_t)n)) < 0 ||
	    listen(fd, 8) < 0) {
		perror("listen");
		exit(1);
	}
	if (!abstract)
		(void)chmod(sa.sun_path, 0777);
	return fd;
}

static int listen_port(unsigned *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
		perror("listen");
		exit(1);
	}
	*port = ntohs(sa.sin_port);
	return fd;
}

static bool holds(int fd, const char *text)
{
	char got[32] = "";
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 1 &&
	       pread(fd, got, sizeof(got) - 1, 0) == (ssize_t)sizeof(got) - 1 &&
	       !strncmp(got, text, strlen(text));
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {{"calls", calls}, {"escapes", escapes}, {"free", free_ones}};

int main(int argc, char **argv)
{
	struct run sibling = {.name = "idle",
			      .number = -1,
			      .free = argc > 1 && !strcmp(argv[1], "free")};
	int disk, secret, sock[3];
	struct err e = {0};
	unsigned port;

	void (*what)(void) = NULL;
	bool free_mode;

	for (unsigned i = 0; argc == 3 && i < ARRAY_SIZE(modes); i++)
		if (!strcmp(argv[1], modes[i].name))
			what = modes[i].run;
	free_mode = what == free_ones;
	if (!what) {
		fprintf(stderr, "usage: owned calls|escapes|free FOLDER\n");
		return 2;
	}
	snprintf(drive.folder, sizeof(drive.folder), "%s", argv[2]);
	disk = make_file("disk", "sibling", DISK_BYTES);
	secret = make_file("secret", "secret", 4096);
	drive.disk = make_file("own-disk", "own", DISK_BYTES);
	sock[0] = listen_unix(false);
	sock[1] = listen_unix(true);
	sock[2] = listen_port(&port);
	config_fds_init(&drive.fds);
	drive.fds.fd[CONFIG_FD_KERNEL] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	drive.fds.fd[CONFIG_FD_DISK] = disk;
	if (start(&sibling, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	snprintf(drive.targets, sizeof(drive.targets), "%s %d %d %u", drive.folder,
		 (int)sibling.pid, (int)getpid(), port);
	drive.fds.fd[CONFIG_FD_DISK] = drive.disk;

	what();
	while (busy())
		reap();

	for (unsigned i = 0; !free_mode && i < ARRAY_SIZE(sock); i++)
		if (accept4(sock[i], NULL, NULL, SOCK_CLOEXEC) >= 0)
			complain("a socket of the host", "somebody came through");
	if (!holds(disk, "sibling") || !holds(secret, "secret"))
		complain("files of others", "they are not as they were");
	if (waitpid(sibling.pid, NULL, WNOHANG) != 0)
		complain("the sibling", "it has ended");
	else
		launch_end(sibling.pid);
	printf("%u tried, %u ended by the filter, %u wrong\n", drive.n_tried, drive.n_refused,
	       drive.n_bad);
	return drive.n_bad || (!free_mode && drive.n_tried < 60);
}
