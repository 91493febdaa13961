/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - where images are, and how one is made.
 *
 * The making is the program lodge-image-build (image/lodge-image-build). Here it is given a place, watched, and its phases
 * are shown; its own words go to a log beside the image, which is kept only when it fails. A lock file keeps two of them
 * from making the same image; whoever comes second waits and finds it made.
 */
#include "keeper/image.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/run.h"
#include "util/clock.h"

static const struct {
	const char *name, *suite;
} known[] = {
	{"debian:12", "bookworm"},
	{"debian:bookworm", "bookworm"},
	{"debian:13", "trixie"},
	{"debian:trixie", "trixie"},
};

int image_check_name(const char *name, struct err *e)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	size_t word = strspn(name, chars), tag = 0;
	bool good = word && name[0] != '.' && name[0] != '-' && strlen(name) <= IMAGE_NAME_MAX;
	char shown[80];

	if (good && name[word] == ':') {
		tag = strspn(name + word + 1, chars);
		good = tag && !name[word + 1 + tag];
	} else if (good) {
		good = !name[word];
	}
	if (good)
		return 0;
	err_set(e, EINVAL,
		"\"%s\" is no image's name: write WORD or WORD:TAG of a-z, 0-9, \".\" and \"-\", for example debian:12",
		err_quote(shown, sizeof(shown), name));
	err_limit(e, "1..%u of a-z 0-9 . - and one :", IMAGE_NAME_MAX);
	return err_field(e, "image", name);
}

static int image_folder(char path[PATH_MAX], struct err *e)
{
	const char *own = getenv("LODGE_IMAGES"), *data = getenv("XDG_DATA_HOME"),
		   *home = getenv("HOME");
	int n;

	if (own && *own)
		n = snprintf(path, PATH_MAX, "%s", own);
	else if (data && *data == '/')
		n = snprintf(path, PATH_MAX, "%s/lodge/images", data);
	else if (home && *home == '/')
		n = snprintf(path, PATH_MAX, "%s/.local/share/lodge/images", home);
	else
		return err_set(e, ENOENT,
			       "there is no place for images: set HOME, or LODGE_IMAGES to a folder");
	return n < PATH_MAX - 100 ?
		       0 :
		       err_set(e, ENAMETOOLONG, "the path of the image folder is too long");
}

int image_path(const char *name, char path[PATH_MAX], struct err *e)
{
	char *file;
	int r = image_check_name(name, e);

	if (!r)
		r = image_folder(path, e);
	if (r)
		return r;
	file = path + strlen(path);
	sprintf(file, "/%s.raw", name); /* 100 bytes are left, and the name was checked */
	file = strchr(file, ':');
	if (file)
		*file = '_';
	return 0;
}

const char *image_suite(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(known[i].name, name))
			return known[i].suite;
	return NULL;
}

/* ---- making one ---- */

int image_make_folder(char *path, struct err *e)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST) {
			int r = err_errno(e, errno, "cannot make the folder \"%s\" for images",
					  path);

			*p = '/';
			return r;
		}
		*p = '/';
	}
	return 0;
}

static bool have_program(const char *name)
{
	const char *path = getenv("PATH");
	char dirs[4096], full[4352], *save = NULL;

	snprintf(dirs, sizeof(dirs), "%s:/sbin:/usr/sbin", path ? path : "/bin:/usr/bin");
	for (char *d = strtok_r(dirs, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
		snprintf(full, sizeof(full), "%s/%s", d, name);
		if (access(full, X_OK) == 0)
			return true;
	}
	return false;
}

static pid_t start_build(const char *program, const char *path, const char *suite, uint64_t size,
			 const char *packages, int log, int *out, struct err *e)
{
	char mib[24];
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	snprintf(mib, sizeof(mib), "%llu", (unsigned long long)(size / MIB));
	pid = fork();
	if (pid < 0) {
		int r = err_errno(e, errno, "cannot start a process");

		close(p[0]);
		close(p[1]);
		return r;
	}
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, STDIN_FILENO);
		dup2(p[1], STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		close_range(3, ~0u, 0);
		execl(program, program, path, suite, mib, packages, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	*out = p[0];
	return pid;
}

struct shown {
	const char *name;
	char phase[40];
	uint64_t start_ns, phase_ns;
	bool quiet, tty;
};

static void show(struct shown *s, bool end)
{
	uint64_t now = clock_ns();

	if (s->quiet || !s->phase[0])
		return;
	if (s->tty)
		fprintf(stderr, "\r\033[K%s: %s, %llu s", s->name, s->phase,
			(unsigned long long)((now - s->start_ns) / CLOCK_NS_PER_S));
	if (end)
		fprintf(stderr, "%s%s: %s, %.1f s\n", s->tty ? "\r\033[K" : "", s->name, s->phase,
			(double)(now - s->phase_ns) / 1e9);
}

/* One line of the program's. */
static void said(struct shown *s, const char *line)
{
	if (strncmp(line, "phase ", 6) != 0)
		return;
	show(s, true);
	snprintf(s->phase, sizeof(s->phase), "%.39s", line + 6);
	s->phase_ns = clock_ns();
	if (!strcmp(s->phase, "done"))
		s->phase[0] = '\0';
	show(s, false);
}

static void watch(int fd, struct shown *s)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char line[128];
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t n;

		if (poll(&p, 1, 1000) == 0) {
			show(s, false);
			continue;
		}
		n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		if (c != '\n') {
			if (len < sizeof(line) - 1)
				line[len++] = c;
			continue;
		}
		line[len] = '\0';
		len = 0;
		said(s, line);
	}
}

/* The last line of the log that says something is the reason. */
static int failed(const char *name, const char *log_path, int status, struct err *e)
{
	FILE *f = fopen(log_path, "r");
	char line[256], last[256] = "", shown[200];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "E: ", 3) || !last[0] || strncmp(last, "E: ", 3) != 0)
			if (strspn(line, " \t\r\n") != strlen(line))
				memcpy(last, line, sizeof(last));
	if (f)
		fclose(f);
	last[strcspn(last, "\r\n")] = '\0';
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(e, ENOENT, "cannot run lodge-image-build: is bash installed?");
	err_set(e, EIO, "the image %s could not be made: %s", name,
		last[0] ? err_quote(shown, sizeof(shown), last) : "no reason given");
	return err_hint(e, "all that was said is in %.150s", log_path);
}

static int build_locked(const char *name, const char *path, uint64_t size, const char *packages,
			bool quiet, struct err *e)
{
	struct shown s = {.name = name, .quiet = quiet, .tty = isatty(STDERR_FILENO)};
	char program[PATH_MAX], log_path[PATH_MAX + 8];
	_autoclose int log = -1;
	int out, status, r;
	pid_t pid;

	r = launch_find("lodge-image-build", program, sizeof(program), e);
	if (r)
		return r;
	snprintf(log_path, sizeof(log_path), "%s.log", path);
	log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log < 0)
		return err_errno(e, errno, "cannot write \"%.200s\"", log_path);
	s.start_ns = s.phase_ns = clock_ns();
	pid = start_build(program, path, image_suite(name), size, packages, log, &out, e);
	if (pid < 0)
		return pid;
	watch(out, &s);
	close(out);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (s.tty && !quiet)
		fprintf(stderr, "\r\033[K");
	if (status != 0 || access(path, R_OK) < 0)
		return failed(name, log_path, status, e);
	unlink(log_path);
	if (!quiet)
		fprintf(stderr, "%s: made in %.0f s\n", name,
			(double)(clock_ns() - s.start_ns) / 1e9);
	return 0;
}

int image_build(const char *name, uint64_t size, const char *packages, bool quiet, struct err *e)
{
	char path[PATH_MAX], lock_path[PATH_MAX + 8];
	_autoclose int lock = -1;
	int r = image_path(name, path, e);

	if (!r && !image_suite(name)) {
		err_set(e, EINVAL, "an image %s cannot be made: debian:12 and debian:13 can", name);
		err_hint(e, "lodge image import FILE %s", name);
		r = err_field(e, "image", name);
	}
	if (!r && packages &&
	    packages[strspn(packages, "abcdefghijklmnopqrstuvwxyz0123456789+.-,")]) {
		char shown[80];

		err_set(e, EINVAL,
			"--packages \"%s\" is no list of packages: write names with commas between them",
			err_quote(shown, sizeof(shown), packages));
		r = err_field(e, "--packages", packages);
	}
	if (!r && (!have_program("mmdebstrap") || !have_program("mke2fs"))) {
		err_set(e, ENOENT,
			"making an image needs mmdebstrap and e2fsprogs: type apt-get install mmdebstrap e2fsprogs (as root)");
		r = err_field(e, "image", name);
	}
	if (!r)
		r = image_make_folder(path, e);
	if (r)
		return r;
	snprintf(lock_path, sizeof(lock_path), "%s.lock", path);
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_errno(e, errno, "cannot lock \"%.200s\"", lock_path);
	r = access(path, F_OK) == 0 ? -EEXIST : build_locked(name, path, size, packages, quiet, e);
	unlink(lock_path);
	if (r != -EEXIST)
		return r;
	err_set(e, EEXIST, "there is an image %s already", name);
	err_hint(e, "remove it by lodge image rm %s", name);
	return err_field(e, "image", name);
}

int image_ensure(const char *name, bool quiet, struct err *e)
{
	char path[PATH_MAX];
	int r = image_path(name, path, e);

	if (r || access(path, F_OK) == 0)
		return r;
	if (!image_suite(name)) {
		err_set(e, ESRCH, "there is no image %s", name);
		err_hint(e, "lodge image ls shows those that there are");
		err_field(e, "image", name);
		return -ESRCH;
	}
	r = image_build(name, IMAGE_SIZE_DEFAULT, NULL, quiet, e);
	if (r == -EEXIST && access(path, F_OK) == 0) {
		*e = (struct err){0}; /* somebody else made it meanwhile */
		r = 0;
	}
	return r;
}
