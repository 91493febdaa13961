/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diskcmd.c - `lodge disk create|ls|info|resize`: files of raw disks.
 *
 * A file is locked as a VM locks it (rundisk_lock()), so that nothing is done to a disk that a VM uses; one that runs has its disk
 * made larger by `lodge ctl VM disk grow`.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "cli/vm.h"
#include "util/clock.h"

#define BLOCK 512u
#define LOOK_NS (500 * CLOCK_NS_PER_MS)

struct disk_options {
	struct opt_list filter;
	unsigned format;
	bool shrink, quiet, json_errors, help;
};

#define AT(field) offsetof(struct disk_options, field)

static const struct opt_def table[] = {
	{"shrink", 0, OPT_FLAG, AT(shrink), "", "resize: what is behind the new end may be lost", 0,
	 0, NULL},
	{"format", 0, OPT_CHOICE, AT(format), "WORD", "ls, info: table, json, yaml or csv (table)",
	 0, 0, show_format_names},
	{"filter", 0, OPT_LIST, AT(filter), "KEY=VALUE",
	 "ls: only those of which this is true, or KEY!=VALUE; may be repeated", 0, 0, NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), "", "ls: only the files", 0, 0, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_disk_options(FILE *f)
{
	fprintf(f, "  create FILE SIZE    makes an empty raw disk; it takes room as it is written\n"
		   "  info FILE           what it is, and whether it is in use\n"
		   "  resize FILE SIZE    makes it larger (or, with --shrink, smaller)\n"
		   "  ls                  the disks of VMs\n\n");
	opt_print_help(table, ARRAY_SIZE(table), f);
}

static int parse_size(const char *text, uint64_t *size, struct err *e)
{
	struct err inner = {0};
	int r = opt_parse_size(text, size, &inner);

	if (r == 0 && (*size % BLOCK || *size > INT64_MAX))
		err_set(&inner, EINVAL,
			"\"%.40s\" is no size of a disk: a multiple of %u bytes, at most 8 EiB less that",
			text, BLOCK);
	if (inner.code) {
		err_set(e, EINVAL, "the size %s", inner.msg);
		return err_field(e, "size", text);
	}
	return 0;
}

/* ---- files ---- */

static int disk_create(const char *path, uint64_t size, struct err *e)
{
	_autoclose int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char shown[160];
	int r;

	err_quote(shown, sizeof(shown), path);
	if (fd < 0 && errno == EEXIST)
		err_set(e, EEXIST, "\"%s\" is there already: choose another name, or remove it",
			shown);
	else if (fd < 0)
		err_errno(e, errno, "cannot make the disk \"%s\"", shown);
	if (fd < 0)
		return err_field(e, "file", path);
	if (ftruncate(fd, (off_t)size) == 0 && fsync(fd) == 0)
		return 0;
	r = errno;
	unlink(path);
	err_errno(e, r, "cannot make the disk \"%s\" that large", shown);
	return err_field(e, "size", NULL);
}

/* Opens a file that can be a raw disk. */
static int open_disk(const char *path, int flags, struct stat *st, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char shown[160];

	err_quote(shown, sizeof(shown), path);
	if (fd >= 0 && fstat(fd, st) == 0 && S_ISREG(st->st_mode))
		return fd;
	if (fd < 0 && errno == ENOENT)
		err_set(e, ESRCH, "there is no disk \"%s\"", shown);
	else if (fd < 0)
		err_errno(e, errno, "cannot open the disk \"%s\"", shown);
	else
		err_set(e, ENODEV, "\"%s\" is no regular file", shown);
	base_close_fd(&fd);
	return err_field(e, "file", path);
}

static int disk_info(const char *path, const struct disk_options *o, struct err *e)
{
	_autojson json_t *j = NULL;
	struct err busy = {0};
	struct stat st;
	_autoclose int fd = open_disk(path, O_RDONLY, &st, e);
	char when[32];
	struct tm tm;

	if (fd < 0)
		return fd;
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&st.st_mtime, &tm));
	j = json_pack("{s:s, s:s, s:I, s:I, s:s}", "file", path, "format", "raw", "size",
		      (json_int_t)st.st_size, "allocated", (json_int_t)st.st_blocks * 512,
		      "changed", when);
	if (!j)
		return err_set(e, EINVAL, "the name of the file is no UTF-8 text");
	/* Somebody who writes has it for himself. */
	json_object_set_new(j, "in_use",
			    json_boolean(rundisk_lock(fd, false, path, &busy) == -EBUSY));
	if (o->format == SHOW_TABLE) {
		show_as_size(j, "size");
		show_as_size(j, "allocated");
	}
	return show_object(j, (enum show_format)o->format, stdout) < 0 ?
		       err_set(e, EIO, "cannot write what is known of the disk") :
		       0;
}

static int disk_resize(const char *path, uint64_t size, bool shrink, struct err *e)
{
	struct stat st;
	_autoclose int fd = open_disk(path, O_RDWR, &st, e);
	char shown[160], is[40];
	int r;

	if (fd < 0)
		return fd;
	err_quote(shown, sizeof(shown), path);
	r = rundisk_lock(fd, true, path, e);
	if (r < 0) {
		err_hint(e, "lodge ctl VM disk grow ID SIZE");
		return r;
	}
	if (size < (uint64_t)st.st_size && !shrink) {
		err_set(e, EINVAL,
			"the disk \"%s\" is larger (%s): what is behind the new end would be lost; --shrink does it all the same",
			shown, opt_format_size((uint64_t)st.st_size, is, sizeof(is)));
		err_hint(e, "--shrink");
		return err_field(e, "size", NULL);
	}
	if (ftruncate(fd, (off_t)size) == 0 && fsync(fd) == 0)
		return 0;
	return err_errno(e, errno, "cannot resize the disk \"%s\"", shown);
}

/* ---- disks of VMs ---- */

static const struct show_column columns[] = {{"vm", "VM"},	   {"id", "ID"},
					     {"file", "FILE"},	   {"size", "SIZE"},
					     {"access", "ACCESS"}, {"state", "STATE"},
					     {NULL, NULL}};

/* Of one VM that runs: `disks` as its process says them. Others have none open. */
static void add_disks(const char *vm, const json_t *disks, json_t *rows)
{
	json_t *d;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)disks, i, d)
	{
		const char *access = json_is_true(json_object_get(d, "ro"))	  ? "read" :
				     json_is_true(json_object_get(d, "snapshot")) ? "throw-away" :
										    "write";

		(void)json_array_append_new(
			rows,
			json_pack("{s:s, s:O, s:O, s:O, s:s, s:s}", "vm", vm, "id",
				  json_object_get(d, "id"), "file", json_object_get(d, "file"),
				  "size", json_object_get(d, "size"), "access", access, "state",
				  json_is_true(json_object_get(d, "full")) ? "no room" : "ok"));
	}
}

static int list_here(json_t *rows, struct err *e)
{
	_autofree char **names = NULL;
	int n = rundir_list(&names, e);

	for (int i = 0; i < n; i++) {
		_autojson json_t *answer = NULL;
		_autoclose int fd = -1;
		struct rundir run;

		if (rundir_open(&run, names[i], NULL) == 0 && rundir_alive(&run))
			fd = rundir_connect(&run, "control", SOCK_SEQPACKET, NULL);
		rundir_close(&run);
		if (fd >= 0 &&
		    control_call(fd, CONTROL_QUERY, clock_ns() + LOOK_NS, &answer, NULL) == 0)
			add_disks(names[i], json_object_get(answer, "disks"), rows);
	}
	return MIN(n, 0);
}

static int list_remote(json_t *rows, struct err *e)
{
	_autojson json_t *vms = json_array();
	int r = remote_rows(vms, e);
	json_t *vm;
	size_t i;

	json_array_foreach(vms, i, vm)
	{
		const char *name = json_string_value(json_object_get(vm, "name"));
		_autojson json_t *info = NULL;
		char path[96];

		snprintf(path, sizeof(path), "/1.0/vms/%.64s/info", name);
		/* One that does not run, or no more, has none. */
		if (json_object_get(vm, "uptime_ms") &&
		    daemon_call("GET", path, NULL, &info, NULL) == 200)
			add_disks(name, json_object_get(info, "disks"), rows);
	}
	return r;
}

/* 1: the filter is wrong. */
static int disk_ls(const struct disk_options *o, struct err *e)
{
	_autojson json_t *rows = json_array();
	int r = daemon_remote() ? list_remote(rows, e) : list_here(rows, e);

	if (r < 0)
		return r;
	if (show_filter(rows, &o->filter, columns, e) < 0)
		return 1;
	for (size_t i = 0; o->format == SHOW_TABLE && i < json_array_size(rows); i++)
		show_as_size(json_array_get(rows, i), "size");
	r = o->quiet ? show_names(rows, "file", stdout) :
		       show_rows(rows, columns, (enum show_format)o->format, stdout);
	return r < 0 ? err_set(e, EIO, "cannot write the list") : 0;
}

/* ---- the command ---- */

static int wrong_words(const char *usage, struct err *e)
{
	err_set(e, EINVAL, "write: lodge disk %s", usage);
	return 1;
}

/* 1: the words are wrong. */
static int dispatch(const struct disk_options *o, char **arg, int n, struct err *e)
{
	static const char *const words[] = {"create", "info", "resize", "ls", NULL};
	const char *what = n ? arg[0] : "", *near;
	uint64_t size;
	char shown[40];

	if (daemon_remote() && *what && strcmp(what, "ls") != 0) {
		snprintf(shown, sizeof(shown), "disk %.30s", what);
		return remote_none(shown, e);
	}
	if (!strcmp(what, "ls"))
		return n == 1 ? disk_ls(o, e) : wrong_words("ls", e);
	if (!strcmp(what, "info"))
		return n == 2 ? disk_info(arg[1], o, e) : wrong_words("info FILE", e);
	if (!strcmp(what, "create") || !strcmp(what, "resize")) {
		if (n != 3)
			return wrong_words(*what == 'c' ? "create FILE SIZE" : "resize FILE SIZE",
					   e);
		if (parse_size(arg[2], &size, e) < 0)
			return 1;
		return *what == 'c' ? disk_create(arg[1], size, e) :
				      disk_resize(arg[1], size, o->shrink, e);
	}
	if (!*what) {
		err_set(e, EINVAL,
			"lodge disk needs a command: there are create, info, resize and ls");
		return 1;
	}
	near = opt_suggest(what, words);
	err_set(e, EINVAL, "lodge disk has no command \"%s\": there are create, info, resize and ls",
		err_quote(shown, sizeof(shown), what));
	if (near)
		err_hint(e, "use %s", near);
	return 1;
}

int cli_disk(int argc, char **argv)
{
	struct disk_options o = {0};
	struct opt_result res = {0};
	struct err e = {0};
	int r;

	if (opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e))
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_disk);
	r = dispatch(&o, res.arg, res.n_args, &e);
	if (r == 0)
		return STATUS_OK;
	return status_fail(&e, r > 0 ? STATUS_USAGE : status_of(&e));
}
