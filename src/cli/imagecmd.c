/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imagecmd.c - `lodge image`: build, import, clone, ls, info, rm.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/show.h"
#include "keeper/image.h"
#include "util/fdio.h"
#include "util/json.h"

#define COPY_CHUNK (1024 * 1024)

struct image_options {
	uint64_t size;
	const char *packages;
	struct opt_list filter;
	unsigned format;
	bool json, quiet, json_errors, help;
};

#define AT(field) offsetof(struct image_options, field)

static const struct opt_def table[] = {
	{"size", 0, OPT_SIZE, AT(size), "SIZE", "build: size of the disk (8G)", IMAGE_SIZE_MIN,
	 IMAGE_SIZE_MAX, NULL},
	{"packages", 0, OPT_TEXT, AT(packages), "A,B,...", "build: these Debian packages too", 0, 0,
	 NULL},
	{"format", 0, OPT_CHOICE, AT(format), "WORD", "ls, info: table, json, yaml or csv (table)",
	 0, 0, show_format_names},
	{"json", 0, OPT_FLAG, AT(json), "", "as --format json", 0, 0, NULL},
	{"filter", 0, OPT_LIST, AT(filter), "KEY=VALUE",
	 "ls: only those of which this is true, or KEY!=VALUE; may be repeated", 0, 0, NULL},
	{"quiet", 'q', OPT_FLAG, AT(quiet), "", "no progress; ls: only the names", 0, 0, NULL},
	{"json-errors", 0, OPT_FLAG, AT(json_errors), "", "errors as JSON objects", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

void cli_image_options(FILE *f)
{
	fprintf(f, "  build NAME          makes debian:12 or debian:13 from Debian's packages\n"
		   "  import FILE NAME    takes a raw disk over (a sparse copy)\n"
		   "  clone NAME FILE     makes a disk of your own of it, for --disk FILE\n"
		   "  ls                  all of them\n"
		   "  info NAME           one of them\n"
		   "  rm NAME...          removes them\n\n");
	opt_print_help(table, ARRAY_SIZE(table), f);
}

/* ---- copying; holes stay holes ---- */

static int copy_range(int from, int to, off_t at, off_t end)
{
	_autofree char *buf = malloc(COPY_CHUNK);

	if (!buf)
		return -ENOMEM;
	while (at < end) {
		size_t n = (size_t)MIN((off_t)COPY_CHUNK, end - at);
		int r = fdio_read(from, buf, n, (uint64_t)at);

		if (r == 0)
			r = fdio_write(to, buf, n, (uint64_t)at);
		if (r < 0)
			return r;
		at += (off_t)n;
	}
	return 0;
}

static int copy_sparse(int from, int to, off_t size)
{
	off_t at = 0;

	if (ftruncate(to, size) < 0)
		return -errno;
	while (at < size) {
		off_t data = lseek(from, at, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			break; /* only a hole is left */
		if (data < 0)
			data = at; /* a file system without holes */
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data)
			hole = size;
		r = copy_range(from, to, data, MIN(hole, size));
		if (r)
			return r;
		at = hole;
	}
	return fsync(to) < 0 ? -errno : 0;
}

/* To a file that is not there yet; on an error none is left. */
static int copy_file(const char *from_path, const char *to_path, struct err *e)
{
	_autoclose int from = -1;
	_autoclose int to = -1;
	char temporary[PATH_MAX];
	uint64_t size;
	int r;

	from = runfile_open(from_path, "image", "image", &size, e);
	if (from < 0)
		return from;
	if (access(to_path, F_OK) == 0) {
		err_set(e, EEXIST, "\"%.200s\" is there already", to_path);
		return -EEXIST;
	}
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new.XXXXXX", to_path) >=
	    sizeof(temporary))
		return err_set(e, ENAMETOOLONG, "the path \"%.100s...\" is too long", to_path);
	to = mkostemp(temporary, O_CLOEXEC);
	if (to < 0)
		return err_errno(e, errno, "cannot make \"%.200s\"", to_path);
	r = copy_sparse(from, to, (off_t)size);
	if (r == 0 && rename(temporary, to_path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	unlink(temporary);
	return err_errno(e, -r, "cannot copy \"%.100s\" to \"%.100s\"", from_path, to_path);
}

/* ---- what there is ---- */

static json_t *describe(const char *name, const char *path, const struct stat *st)
{
	char when[32];
	struct tm tm;

	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&st->st_mtime, &tm));
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "name", name, "path", path, "format",
			 "raw", "size", (json_int_t)st->st_size, "allocated",
			 (json_int_t)st->st_blocks * 512, "changed", when);
}

/* All images, by name. */
static int list_images(json_t *list, struct err *e)
{
	char path[PATH_MAX], *folder_end;
	struct dirent **entry;
	int n, r = image_path("x", path, e);

	if (r)
		return r;
	folder_end = strrchr(path, '/');
	*folder_end = '\0';
	n = scandir(path, &entry, NULL, alphasort);
	if (n < 0)
		return errno == ENOENT ?
			       0 :
			       err_errno(e, errno, "cannot read the folder \"%.200s\"", path);
	for (int i = 0; i < n; i++) {
		char *file = entry[i]->d_name, name[IMAGE_NAME_MAX + 1], full[PATH_MAX];
		size_t len = strlen(file);
		struct stat st;

		if (len > 4 && len - 4 <= IMAGE_NAME_MAX && !strcmp(file + len - 4, ".raw") &&
		    (size_t)snprintf(full, sizeof(full), "%s/%s", path, file) < sizeof(full) &&
		    stat(full, &st) == 0) {
			memcpy(name, file, len - 4);
			name[len - 4] = '\0';
			if (strchr(name, '_'))
				*strchr(name, '_') = ':';
			r |= json_array_append_new(list, describe(name, full, &st));
		}
		free(entry[i]);
	}
	free(entry);
	return r ? err_set(e, ENOMEM, "out of memory") : 0;
}

static const struct show_column columns[] = {{"name", "NAME"},
					     {"size", "SIZE"},
					     {"allocated", "ON DISK"},
					     {"changed", "CHANGED"},
					     {NULL, NULL}};

/* 1: the filter is wrong. */
static int image_ls(const struct image_options *o, struct err *e)
{
	_autojson json_t *list = json_array();
	int r = list_images(list, e);

	if (r)
		return r;
	if (show_filter(list, &o->filter, columns, e) < 0)
		return 1;
	if (o->format == SHOW_TABLE)
		for (size_t i = 0; i < json_array_size(list); i++) {
			show_as_size(json_array_get(list, i), "size");
			show_as_size(json_array_get(list, i), "allocated");
		}
	r = o->quiet ? show_names(list, "name", stdout) :
		       show_rows(list, columns, (enum show_format)o->format, stdout);
	return r < 0 ? err_set(e, EIO, "cannot write the list") : 0;
}

static int no_image(const char *name, struct err *e)
{
	err_set(e, ESRCH, "there is no image %s", name);
	err_hint(e, "lodge image ls shows those that there are");
	err_field(e, "image", name);
	return -ESRCH;
}

static int image_info(const char *name, const struct image_options *o, struct err *e)
{
	_autojson json_t *j = NULL;
	char path[PATH_MAX];
	struct stat st;
	int r = image_path(name, path, e);

	if (r)
		return r;
	if (stat(path, &st) < 0)
		return no_image(name, e);
	j = describe(name, path, &st);
	return show_object(j, (enum show_format)o->format, stdout) < 0 ?
		       err_set(e, EIO, "cannot write what is known of the image") :
		       0;
}

static int image_rm(const char *name, struct err *e)
{
	char path[PATH_MAX];
	int r = image_path(name, path, e);

	if (r)
		return r;
	if (unlink(path) == 0)
		return 0;
	return errno == ENOENT ? no_image(name, e) :
				 err_errno(e, errno, "cannot remove the image %s", name);
}

static int image_import(const char *file, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int r = image_path(name, path, e);

	if (!r)
		r = image_make_folder(path, e);
	return r ? r : copy_file(file, path, e);
}

static int image_clone(const char *name, const char *file, struct err *e)
{
	char path[PATH_MAX];
	int r = image_path(name, path, e);

	if (r == 0 && access(path, F_OK) < 0 && errno == ENOENT)
		return no_image(name, e);
	return r ? r : copy_file(path, file, e);
}

/* ---- words ---- */

static int wrong_words(const char *usage, struct err *e)
{
	err_set(e, EINVAL, "write lodge image %s", usage);
	return 1;
}

/* 0; 1: the words are wrong; -errno. */
static int dispatch(const struct image_options *o, char **arg, int n, struct err *e)
{
	static const char *const words[] = {"build", "import", "clone", "ls", "info", "rm", NULL};
	const char *what = n ? arg[0] : "", *near;
	char shown[40];
	int r = 0;

	if (!strcmp(what, "build"))
		return n == 2 ? image_build(arg[1], o->size, o->packages, o->quiet, e) :
				wrong_words("build NAME", e);
	if (!strcmp(what, "import"))
		return n == 3 ? image_import(arg[1], arg[2], e) : wrong_words("import FILE NAME", e);
	if (!strcmp(what, "clone"))
		return n == 3 ? image_clone(arg[1], arg[2], e) : wrong_words("clone NAME FILE", e);
	if (!strcmp(what, "ls"))
		return n == 1 ? image_ls(o, e) : wrong_words("ls", e);
	if (!strcmp(what, "info"))
		return n == 2 ? image_info(arg[1], o, e) : wrong_words("info NAME", e);
	if (!strcmp(what, "rm")) {
		for (int i = 1; i < n && r == 0; i++)
			r = image_rm(arg[i], e);
		return n > 1 ? r : wrong_words("rm NAME...", e);
	}
	if (!*what) {
		err_set(e, EINVAL,
			"lodge image needs a command: there are build, import, clone, ls, info and rm");
		return 1;
	}
	near = opt_suggest(what, words);
	err_set(e, EINVAL,
		"lodge image has no command \"%s\": there are build, import, clone, ls, info and rm",
		err_quote(shown, sizeof(shown), what));
	if (near)
		err_hint(e, "use %s", near);
	return 1;
}

int cli_image(int argc, char **argv)
{
	struct image_options o = {.size = IMAGE_SIZE_DEFAULT};
	struct opt_result res = {0};
	struct err e = {0};
	int r;

	r = opt_parse(table, ARRAY_SIZE(table), argc, argv, &o, &res, &e);
	if (r)
		return status_fail(&e, STATUS_USAGE);
	if (o.help)
		return cli_own_help(cli_image);
	if (o.json)
		o.format = SHOW_JSON;
	r = dispatch(&o, res.arg, res.n_args, &e);
	if (r == 0)
		return STATUS_OK;
	return status_fail(&e, r > 0 ? STATUS_USAGE : status_of(&e));
}
