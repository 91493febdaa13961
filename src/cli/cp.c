/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp.c - `lodge cp`: a file into a guest, or out of one, by its agent.
 *
 * VM:PATH is a file of the guest: what stands before the first colon is the name of a VM, or what stands before one of them the
 * path of a socket. The bytes go by guestfile.c or, for a VM of another host, by lodged there (remote_guest.c). A file of the host appears
 * under its name only when all of it is there: the pieces go to a file beside it, which is renamed. In the guest the file is written in
 * place, because the protocol has nothing else. With --frames lodged runs us, and "-" is its client (proto/frames.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/guestio.h"
#include "cli/remote.h"
#include "keeper/guest.h"

struct cp_options {
	uint64_t wait_s;
	const char *mode;
	bool frames, json_errors, help;
};

#define AT(field) offsetof(struct cp_options, field)
#define MODE_DEFAULT 0644

static const struct opt_def table[] = {
	{"wait", 0, OPT_UINT, AT(wait_s), "SECONDS",
	 "wait this long for the agent of a guest that has just begun (5)", 0, 86400, NULL},
	{"mode", 0, OPT_TEXT, AT(mode), "OCTAL",
	 "of the copy in the guest (that of the file; 644 for -)", 0, 0, NULL},
	{"frames", 0, OPT_FLAG, AT(frames), "", NULL, 0, 0, NULL}, /* by lodged */
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_cp_options(FILE *f)
{
	fprintf(f,
		"One of FROM and TO is VM:PATH, VM its name or the path of its control socket; the other one is a\n"
		"file of this host, or - for standard input or output:\n"
		"  lodge cp notes.txt web:/tmp/notes.txt\n"
		"  lodge cp web:/var/log/syslog .\n"
		"  lodge cp web:/etc/hosts - | sort\n\n");
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

struct way {
	const char *vm;
	uint64_t wait_s;
	mode_t mode; /* of the copy in the guest, if it is given or not that of a file */
	bool mode_given, frames;
};

static int put(const struct way *w, const char *path, mode_t mode, const struct guestio *from,
	       struct err *e)
{
	return (daemon_remote() ? remote_put : guestfile_put)(w->vm, w->wait_s, path, mode, from, e);
}

static int get(const struct way *w, const char *path, const struct guestio *to, struct err *e)
{
	return (daemon_remote() ? remote_get : guestfile_get)(w->vm, w->wait_s, path, to, e);
}

static int copy_in(const struct way *w, const char *from, const char *to, struct err *e)
{
	_autoclose int fd = -1;
	char path[PATH_MAX], shown[160];
	struct guestio io;
	struct stat st;
	int r;

	guestio_standard(&io, w->frames);
	if (!strcmp(from, "-"))
		return put(w, to, w->mode, &io, e);
	fd = io.in = open(from, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, errno, "cannot open \"%s\"",
				 err_quote(shown, sizeof(shown), from));
	if (S_ISDIR(st.st_mode)) {
		err_set(e, EISDIR, "\"%s\" is a folder: only files are copied",
			err_quote(shown, sizeof(shown), from));
		return err_hint(e, "tar c FOLDER | lodge exec VM -- tar x");
	}
	r = target(to, to[strlen(to) - 1] == '/', from, path, e);
	return r ? r : put(w, path, w->mode_given ? w->mode : st.st_mode & 0777, &io, e);
}

static int copy_out(const struct way *w, const char *from, const char *to, struct err *e)
{
	char path[PATH_MAX], temporary[PATH_MAX], shown[160];
	_autoclose int fd = -1;
	mode_t mask = umask(0);
	struct guestio io;
	struct stat st;
	int r;

	umask(mask);
	guestio_standard(&io, w->frames);
	if (!strcmp(to, "-"))
		return get(w, from, &io, e);
	r = target(to, stat(to, &st) == 0 && S_ISDIR(st.st_mode), from, path, e);
	if (!r && snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= PATH_MAX)
		r = err_set(e, ENAMETOOLONG, "the path of the copy is too long");
	if (r)
		return r;
	err_quote(shown, sizeof(shown), path);
	fd = io.out = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "cannot make \"%s\"", shown);
	r = get(w, from, &io, e);
	if (!r && fchmod(fd, 0666 & ~mask) < 0)
		r = err_errno(e, errno, "cannot write \"%s\"", shown);
	if (!r && rename(temporary, path) < 0)
		r = err_errno(e, errno, "cannot make \"%s\"", shown);
	if (r)
		unlink(temporary);
	return r;
}

static int parse_mode(const char *text, mode_t *mode, struct err *e)
{
	char *rest;
	unsigned long v = strtoul(text, &rest, 8);

	if (!*text || strspn(text, "01234567") != strlen(text) || v > 0777) {
		err_set(e, EINVAL, "--mode must be an octal number from 0 to 777");
		return err_field(e, "--mode", text);
	}
	*mode = (mode_t)v;
	return 0;
}

int cli_cp(int argc, char **argv)
{
	struct cp_options o = {.wait_s = GUEST_WAIT_S};
	struct way w = {.mode = MODE_DEFAULT};
	struct opt_result res = {0};
	struct guestio io;
	const char *path = NULL, *other;
	struct err e = {0};
	bool in, out;
	int r;

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e) ||
	    (o.mode && parse_mode(o.mode, &w.mode, &e)))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_cp);
	if (res.n_args != 2) {
		err_set(&e, EINVAL, "`lodge cp` needs two paths: lodge cp FROM TO");
		return status_fail(&e, STATUS_USAGE);
	}
	out = split(res.arg[0], &w.vm, &path);
	in = split(res.arg[1], &w.vm, &path);
	if (in == out || !*path || !res.arg[in ? 0 : 1][0]) {
		err_set(&e, EINVAL, "one of the two must be VM:PATH, VM the name of a running VM");
		return status_fail(&e, STATUS_USAGE);
	}
	other = res.arg[in ? 0 : 1];
	w.wait_s = o.wait_s;
	w.frames = o.frames;
	w.mode_given = o.mode;
	guestio_catch();
	guestio_standard(&io, o.frames);
	r = in ? copy_in(&w, other, path, &e) : copy_out(&w, path, other, &e);
	if (r && o.frames) /* the error has an id instead */
		return guestio_end(&io, STATUS_RUNTIME, &e);
	return guestio_end(&io, r ? status_of(&e) : STATUS_OK, &e);
}
