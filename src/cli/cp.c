/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp.c - `lodge cp`: a file into a guest, or out of one, by its agent.
 *
 * VM:PATH is a file of the guest: what stands before the first colon is the name of a VM, or what stands before one of them the
 * path of a socket. Bytes go in pieces, so a file may be larger than memory. A file of the host appears under its name only when all of it is there: the pieces go to
 * a file beside it, which is renamed. In the guest the file is written in place, because the protocol has nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "keeper/guest.h"
#include "util/clock.h"

struct cp_options {
	uint64_t wait_s;
	bool json_errors, help;
};

#define AT(field) offsetof(struct cp_options, field)

static const struct opt_def table[] = {
	{"wait", 0, OPT_UINT, AT(wait_s), "SECONDS",
	 "wait this long for the agent of a guest that has just begun (5)", 0, 86400, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_cp_options(FILE *f)
{
	fprintf(f, "One of FROM and TO is VM:PATH, VM its name or the path of its control socket:\n"
		   "  lodge cp notes.txt web:/tmp/notes.txt\n"
		   "  lodge cp web:/var/log/syslog .\n\n");
	opt_print_help(table, ARRAY_SIZE(table), f);
}

/* VM:PATH cut in two; false: a path of the host. */
static bool split(char *word, const char **vm, const char **path)
{
	char *first = strchr(word, ':');

	for (char *colon = first; colon; colon = strchr(colon + 1, ':')) {
		struct stat st;
		bool sock;

		*colon = '\0';
		sock = (colon == first && config_check_name(word, NULL) == 0) ||
		       (stat(word, &st) == 0 && S_ISSOCK(st.st_mode));
		if (sock) {
			*vm = word;
			*path = colon + 1;
			return true;
		}
		*colon = ':';
	}
	return false;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* `to`, or if that is a folder, the name that `from` has in it. */
static int target(const char *to, bool folder, const char *from, char out[PATH_MAX], struct err *e)
{
	int n = folder ? snprintf(out, PATH_MAX, "%s%s%s", to, to[strlen(to) - 1] == '/' ? "" : "/",
				  last_part(from)) :
			 snprintf(out, PATH_MAX, "%s", to);

	return n < PATH_MAX ? 0 : err_set(e, ENAMETOOLONG, "the path of the copy is too long");
}

static int send_file(struct agent *a, int fd, const char *from, int64_t handle, struct err *e)
{
	_autofree uint8_t *piece = malloc(AGENT_CHUNK);
	char shown[160];

	if (!piece)
		return err_set(e, ENOMEM, "out of memory");
	for (;;) {
		ssize_t n = read(fd, piece, AGENT_CHUNK);
		int r;

		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "cannot read \"%s\"",
					 err_quote(shown, sizeof(shown), from));
		r = agent_file_write(a, handle, piece, (size_t)n, guest_call_deadline(), e);
		if (r)
			return r;
	}
}

/* The file gets the mode of the one that is copied: an agent may make files that everybody can write to. */
static int set_mode(struct agent *a, const char *path, mode_t mode, struct err *e)
{
	const struct timespec pause = {.tv_nsec = 5 * CLOCK_NS_PER_MS};
	uint64_t pid, deadline = guest_call_deadline();
	char program[] = "chmod", end[] = "--", octal[8], name[PATH_MAX];
	char *argv[] = {program, octal, end, name, NULL};
	struct agent_exit x = {0};
	int r;

	snprintf(octal, sizeof(octal), "%o", (unsigned)mode & 0777);
	snprintf(name, sizeof(name), "%s", path);
	r = agent_exec(a, argv, NULL, 0, false, deadline, &pid, e);
	while (!r && !x.exited) {
		r = agent_exec_status(a, pid, deadline, &x, e);
		free(x.out);
		free(x.err);
		if (!r && !x.exited && clock_ns() > deadline)
			r = -ETIMEDOUT;
		if (!r && !x.exited)
			nanosleep(&pause, NULL);
	}
	if (!r && (x.by_signal || x.code))
		r = -EACCES;
	return r ? err_set(e, -r, "cannot set the mode of the copy in the guest") : 0;
}

static int copy_in(struct agent *a, const char *from, const char *to, struct err *e)
{
	_autoclose int fd = open(from, O_RDONLY | O_CLOEXEC);
	char path[PATH_MAX], shown[160];
	struct stat st;
	int64_t handle;
	int r, closed;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "cannot open \"%s\"",
				 err_quote(shown, sizeof(shown), from));
	if (S_ISDIR(st.st_mode)) {
		err_set(e, EISDIR, "\"%s\" is a folder: only files are copied",
			err_quote(shown, sizeof(shown), from));
		return err_hint(e, "tar c FOLDER | lodge exec VM -- tar x");
	}
	r = target(to, to[strlen(to) - 1] == '/', from, path, e);
	if (!r)
		r = agent_file_open(a, path, "w", guest_call_deadline(), &handle, e);
	if (r)
		return r;
	r = set_mode(a, path, st.st_mode, e);
	if (!r)
		r = send_file(a, fd, from, handle, e);
	closed = agent_file_close(a, handle, r ? clock_ns() + CLOCK_NS_PER_S : guest_call_deadline(),
				  r ? NULL : e);
	return r ? r : closed;
}

static int receive_file(struct agent *a, int64_t handle, int fd, const char *to, struct err *e)
{
	for (;;) {
		_autofree uint8_t *piece = NULL;
		char shown[160];
		size_t len;
		int r = agent_file_read(a, handle, guest_call_deadline(), &piece, &len, e);

		if (r || len == 0)
			return r;
		r = guest_write_all(fd, piece, len);
		if (r)
			return err_errno(e, -r, "cannot write \"%s\"",
					 err_quote(shown, sizeof(shown), to));
	}
}

static int copy_out(struct agent *a, const char *from, const char *to, struct err *e)
{
	char path[PATH_MAX], temporary[PATH_MAX], shown[160];
	_autoclose int fd = -1;
	mode_t mask = umask(0);
	int64_t handle;
	struct stat st;
	int r;

	umask(mask);
	r = target(to, stat(to, &st) == 0 && S_ISDIR(st.st_mode), from, path, e);
	if (!r && snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= PATH_MAX)
		r = err_set(e, ENAMETOOLONG, "the path of the copy is too long");
	if (!r)
		r = agent_file_open(a, from, "r", guest_call_deadline(), &handle, e);
	if (r)
		return r;
	err_quote(shown, sizeof(shown), path);
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "cannot make \"%s\"", shown);
	r = receive_file(a, handle, fd, path, e);
	if (!r)
		(void)agent_file_close(a, handle, guest_call_deadline(), NULL);
	if (!r && fchmod(fd, 0666 & ~mask) < 0)
		r = err_errno(e, errno, "cannot write \"%s\"", shown);
	if (!r && rename(temporary, path) < 0)
		r = err_errno(e, errno, "cannot make \"%s\"", shown);
	if (r)
		unlink(temporary);
	return r;
}

int cli_cp(int argc, char **argv)
{
	struct cp_options o = {.wait_s = GUEST_WAIT_S};
	const char *vm = NULL, *path = NULL, *other;
	struct opt_result res = {0};
	struct err e = {0};
	struct agent a;
	bool in, out;
	int r;

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_cp);
	if (res.n_args != 2) {
		err_set(&e, EINVAL, "`lodge cp` needs two paths: lodge cp FROM TO");
		return status_fail(&e, STATUS_USAGE);
	}
	out = split(res.arg[0], &vm, &path);
	in = split(res.arg[1], &vm, &path);
	if (in == out || !*path || !res.arg[in ? 0 : 1][0]) {
		err_set(&e, EINVAL, "one of the two must be VM:PATH, VM the name of a running VM");
		return status_fail(&e, STATUS_USAGE);
	}
	other = res.arg[in ? 0 : 1];
	agent_init(&a);
	r = guest_connect(vm, clock_ns() + (o.wait_s + 1) * CLOCK_NS_PER_S, &a, &e);
	if (!r)
		r = in ? copy_in(&a, other, path, &e) : copy_out(&a, path, other, &e);
	agent_fini(&a);
	return r ? status_fail(&e, STATUS_RUNTIME) : STATUS_OK;
}
