/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_run.c - `lodge --host URL run --detach`: a definition of that host's lodged, and its start.
 *
 * The words go there as they are, but for those that are not about the machine: its name and --detach. A start that fails takes the definition with
 * it. Without --detach `lodge run` is the keeper of its VM, which nobody can be from elsewhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "keeper/run.h"

#define NAME_TRIES 100u

/* The option of a word that begins with two dashes; NULL: there is none. */
static const struct opt_def *long_option(const char *word)
{
	size_t len = strcspn(word + 2, "=");
	const struct opt_def *table;
	unsigned n;

	table = runopt_table(&n);
	for (unsigned i = 0; i < n; i++)
		if (strlen(table[i].name) == len && !strncmp(table[i].name, word + 2, len))
			return &table[i];
	return NULL;
}

/* Takes 'd' out of "-qd". Is the value of its last letter the next word? */
static bool short_options(char *word)
{
	const struct opt_def *table;
	unsigned n, k;

	table = runopt_table(&n);
	for (char *p = word + 1; *p;) {
		for (k = 0; k < n && table[k].letter != *p; k++)
			;
		if (k < n && table[k].type != OPT_FLAG)
			return !p[1];
		if (*p == 'd')
			memmove(p, p + 1, strlen(p));
		else
			p++;
	}
	return false;
}

/* Those that opt_parse() has taken as they should be; argv is left as it was, but for letters. */
static json_t *machine_words(int argc, char **argv)
{
	json_t *words = json_array();
	bool only_args = false;

	for (int i = 0; i < argc; i++) {
		bool option = !only_args && argv[i][0] == '-' && argv[i][1], value = false;
		const struct opt_def *o = NULL;

		if (option && !strcmp(argv[i], "--")) {
			only_args = true;
			continue;
		}
		if (option && argv[i][1] == '-') {
			o = long_option(argv[i]);
			value = o && o->type != OPT_FLAG && !strchr(argv[i], '=');
		} else if (option) {
			value = short_options(argv[i]);
		}
		if (o && (!strcmp(o->name, "name") || !strcmp(o->name, "detach"))) {
			i += value;
			continue;
		}
		if (!option || argv[i][1])
			(void)json_array_append_new(words, json_string(argv[i]));
		if (value && i + 1 < argc)
			(void)json_array_append_new(words, json_string(argv[++i]));
	}
	return words;
}

/* name NULL: one is found, as by `lodge run` on this host. */
static int define(const char *name, char is[CONFIG_NAME_MAX + 1], const json_t *words, struct err *e)
{
	int r = -EEXIST;

	for (unsigned i = 0; i < NAME_TRIES && r == -EEXIST && !(name && i); i++) {
		_autojson json_t *def = NULL;
		uint16_t v = 0;

		if (name)
			snprintf(is, CONFIG_NAME_MAX + 1, "%s", name);
		else if (getrandom(&v, sizeof(v), 0) == sizeof(v))
			snprintf(is, CONFIG_NAME_MAX + 1, "vm-%04x", v);
		else
			return err_errno(e, errno, "there are no random numbers");
		*e = (struct err){0};
		def = json_pack("{s:s, s:O, s:s}", "name", is, "words", words, "folder", "/");
		if (!def)
			return err_set(e, EINVAL, "a word is not valid UTF-8");
		r = daemon_call("POST", "/1.0/vms", def, NULL, e);
		r = r == 201 ? 0 : daemon_refused(r, e);
	}
	return r;
}

int remote_run(int argc, char **argv, const char *name)
{
	_autojson json_t *words = machine_words(argc, argv);
	char is[CONFIG_NAME_MAX + 1], path[96];
	struct err e = {0};

	if (define(name, is, words, &e) < 0)
		return status_fail(&e, status_of(&e));
	if (daemon_operate(is, "start", NULL, &e) < 0) {
		snprintf(path, sizeof(path), "/1.0/vms/%s", is);
		(void)daemon_call("DELETE", path, NULL, NULL, NULL);
		return status_fail(&e, status_of(&e));
	}
	puts(is);
	return STATUS_OK;
}
