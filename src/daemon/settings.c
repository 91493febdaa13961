/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - configuration files, and where lodged keeps its own. */
#include "daemon/settings.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/opt.h"

#define LINE_MAX_BYTES (PATH_MAX + 64)
#define TEXT(field) offsetof(struct settings, field), 0, 0, sizeof(((struct settings *)0)->field)
#define NUMBER(field, min, max) offsetof(struct settings, field), min, max, 0
#define GRANT 0, 0, 0, 0

static const struct {
	const char *key;
	size_t offset;
	uint64_t min, max; /* of a number */
	size_t size;	   /* of a text's place; all zero: a grant */
} keys[] = {{"memory-percent", NUMBER(memory_percent, 1, 10000)},
	    {"cpu-percent", NUMBER(cpu_percent, 1, 1000000)},
	    {"starts", NUMBER(starts, 1, 64)},
	    {"group", TEXT(group)},
	    {"listen", TEXT(listen)},
	    {"certificate", TEXT(certificate)},
	    {"key", TEXT(key)},
	    {"client-ca", TEXT(client_ca)},
	    {"client", GRANT},
	    {"user", GRANT}};

const char *const settings_role_names[] = {"none", "viewer", "operator", "admin", NULL};
_Static_assert(ARRAY_SIZE(settings_role_names) == ROLES + 1, "a name for each role");

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

static struct settings_grant *find_grant(struct settings *s, uid_t uid, const char *certificate)
{
	for (unsigned i = 0; i < s->n_grants; i++)
		if (!strcmp(s->grant[i].certificate, certificate) &&
		    (*certificate || s->grant[i].uid == uid))
			return &s->grant[i];
	return NULL;
}

/* "sha256:0A:1b.." as "sha256:0a1b..". */
static int parse_fingerprint(const char *text, char out[72], struct err *e)
{
	size_t n = strlen("sha256:");

	memcpy(out, "sha256:", n + 1);
	if (strncmp(text, out, n) != 0)
		n = 0;
	for (const char *p = n ? text + n : ""; *p; p++) {
		if (*p == ':')
			continue;
		if (n >= 71 || !isxdigit((unsigned char)*p)) {
			n = 0;
			break;
		}
		out[n++] = (char)tolower((unsigned char)*p);
	}
	out[n] = '\0';
	return n == 71 ?
		       0 :
		       err_set(e, EINVAL,
			       "a client is named by its certificate's fingerprint: sha256: and 64 hexadecimal digits");
}

static int parse_user(const char *text, uid_t *uid, struct err *e)
{
	const struct passwd *pw = getpwnam(text);
	uint64_t number;
	char shown[64];

	if (!pw && opt_parse_uint(text, 0, UINT32_MAX - 1, &number, NULL) < 0)
		return err_set(e, EINVAL, "there is no user \"%s\"",
			       err_quote(shown, sizeof(shown), text));
	*uid = pw ? pw->pw_uid : (uid_t)number;
	return 0;
}

/* "WHO ROLE": `client` or `user`. One who is named again has the later role. */
static int set_grant(struct settings *s, bool client, char *value, struct err *e)
{
	size_t n = strcspn(value, " \t");
	struct settings_grant g = {.uid = (uid_t)-1}, *place;
	const char *role = value + n + strspn(value + n, " \t");
	unsigned i;
	int r;

	for (i = 0; i < ROLES && strcmp(settings_role_names[i], role) != 0; i++)
		;
	if (i == ROLES)
		return err_set(e, EINVAL, "write WHO and one of none, viewer, operator, admin");
	value[n] = '\0';
	g.role = (enum role)i;
	r = client ? parse_fingerprint(value, g.certificate, e) : parse_user(value, &g.uid, e);
	if (r < 0)
		return r;
	place = find_grant(s, g.uid, g.certificate);
	if (!place && s->n_grants == SETTINGS_GRANTS_MAX)
		return err_set(e, ENOSPC, "there are more than %u of these", SETTINGS_GRANTS_MAX);
	if (!place)
		place = &s->grant[s->n_grants++];
	*place = g;
	return 0;
}

enum role settings_user_role(const struct settings *s, uid_t uid)
{
	const struct settings_grant *g = find_grant((struct settings *)(uintptr_t)s, uid, "");

	return g ? g->role : ROLE_NONE;
}

enum role settings_certificate_role(const struct settings *s, const char *fingerprint)
{
	const struct settings_grant *g = find_grant((struct settings *)(uintptr_t)s, 0, fingerprint);

	return g ? g->role : ROLE_NONE;
}

static int set_text(char *to, size_t size, const char *value, struct err *e)
{
	if (!*value || strlen(value) >= size)
		return err_set(e, EINVAL, "write a text of 1 to %zu bytes", size - 1);
	strcpy(to, value);
	return 0;
}

static int set_line(struct settings *s, char *line, const char *path, unsigned number, struct err *e)
{
	char *sign = strchr(line, '='), shown[64];
	const char *key, *names[ARRAY_SIZE(keys) + 1], *near;
	struct err inner = {0};
	char *value;
	unsigned i;
	int r;

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
	if (keys[i].max)
		r = opt_parse_uint(value, keys[i].min, keys[i].max,
				   (uint64_t *)(void *)((char *)s + keys[i].offset), &inner);
	else if (keys[i].size)
		r = set_text((char *)s + keys[i].offset, keys[i].size, value, &inner);
	else
		r = set_grant(s, !strcmp(key, "client"), value, &inner);
	if (r < 0)
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
	if (r == 0 && *s->listen && (!*s->certificate || !*s->key || !*s->client_ca))
		r = err_set(
			e, EINVAL,
			"listen needs certificate, key and client-ca too: over TCP there is TLS only");
	return r;
}
