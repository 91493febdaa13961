/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - configuration files, and where lodged keeps its own. */
#include "daemon/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/opt.h"

#define LINE_MAX_BYTES 1024

static const struct {
	const char *key;
	size_t offset;
	uint64_t min, max;
} keys[] = {{"memory-percent", offsetof(struct settings, memory_percent), 1, 10000},
	    {"cpu-percent", offsetof(struct settings, cpu_percent), 1, 1000000},
	    {"starts", offsetof(struct settings, starts), 1, 64}};

static const char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

static int set_line(struct settings *s, char *line, const char *path, unsigned number, struct err *e)
{
	char *sign = strchr(line, '='), shown[64];
	const char *key, *value, *names[ARRAY_SIZE(keys) + 1], *near;
	struct err inner = {0};
	unsigned i;

	line[strcspn(line, "#")] = '\0';
	if (!*trim(line))
		return 0;
	if (!sign || sign >= line + strlen(line) + 1 || !strchr(line, '='))
		return err_set(e, EINVAL, "%s, line %u: write KEY = VALUE", path, number);
	*sign = '\0';
	key = trim(line);
	value = trim(sign + 1);
	for (i = 0; i < ARRAY_SIZE(keys) && strcmp(keys[i].key, key) != 0; i++)
		names[i] = keys[i].key;
	if (i == ARRAY_SIZE(keys)) {
		names[i] = NULL;
		near = opt_suggest(key, names);
		return err_set(e, EINVAL, "%s, line %u: there is no setting \"%s\"%s%s", path,
			       number, err_quote(shown, sizeof(shown), key),
			       near ? ": did you mean " : "", near ? near : "");
	}
	if (opt_parse_uint(value, keys[i].min, keys[i].max,
			   (uint64_t *)(void *)((char *)s + keys[i].offset), &inner) < 0)
		return err_set(e, EINVAL, "%s, line %u: %s: %s", path, number, keys[i].key,
			       inner.msg);
	return 0;
}

/* One that is not there is as an empty one. */
static int load_file(struct settings *s, const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");
	char line[LINE_MAX_BYTES];
	unsigned number = 0;
	int r = 0;

	if (!f)
		return errno == ENOENT ? 0 : err_errno(e, errno, "cannot read \"%s\"", path);
	while (r == 0 && fgets(line, sizeof(line), f))
		r = set_line(s, line, path, ++number, e);
	fclose(f);
	return r;
}

static int is_conf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && d->d_name[0] != '.' && !strcmp(d->d_name + n - 5, ".conf");
}

static int folder(char path[PATH_MAX], const char *own, const char *root, const char *xdg,
		  const char *home, struct err *e)
{
	const char *o = getenv(own), *x = getenv(xdg), *h = getenv("HOME");
	int n;

	if (o && *o)
		n = snprintf(path, PATH_MAX, "%s", o);
	else if (geteuid() == 0)
		n = snprintf(path, PATH_MAX, "%s", root);
	else if (x && *x == '/')
		n = snprintf(path, PATH_MAX, "%s/lodge", x);
	else if (h && *h == '/')
		n = snprintf(path, PATH_MAX, "%s/%s/lodge", h, home);
	else
		return err_set(e, ENOENT, "there is no folder for lodged: set HOME, or %s", own);
	return n < PATH_MAX - 300 ? 0 : err_set(e, ENAMETOOLONG, "the path in %s is too long", own);
}

int settings_state_folder(char path[PATH_MAX], struct err *e)
{
	return folder(path, "LODGE_STATE", "/var/lib/lodge", "XDG_STATE_HOME", ".local/state", e);
}

int settings_load(struct settings *s, struct err *e)
{
	char dir[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
	struct dirent **list = NULL;
	int r, n;

	*s = (struct settings){.memory_percent = 100, .cpu_percent = 1000, .starts = 4};
	r = folder(dir, "LODGE_CONFIG", "/etc/lodge", "XDG_CONFIG_HOME", ".config", e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/lodged.conf", dir);
	r = load_file(s, path, e);
	strcat(dir, "/lodged.conf.d");
	n = r == 0 ? scandir(dir, &list, is_conf, alphasort) : 0;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (r == 0)
			r = load_file(s, path, e);
		free(list[i]);
	}
	free(list);
	return r;
}
