/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_ctl.c - `lodge --host URL ctl VM COMMAND`: requests to a VM of another host, by lodged's API. What needs a file, a terminal or the inside of
 * this host's VM process (save, dump, look, agent, quit) has no endpoint and is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/remote.h"
#include "proto/config.h"

/* Members of an answer that count; none: all. */
#define SHOWN_MAX 8

static const struct way {
	const char *command, *verb; /* "disk", "add"; verb NULL: there is none */
	const char *method, *path;
	const char *shown[SHOWN_MAX];
} ways[] = {
	{"query", NULL, "GET", "info", {"name", "state", "engine", "cpus", "memory", "uptime_ms"}},
	{"info",
	 NULL,
	 "GET",
	 "info",
	 {"name", "state", "engine", "cpus", "memory", "uptime_ms", "sandbox"}},
	{"disks", NULL, "GET", "info", {"disks"}},
	{"nets", NULL, "GET", "info", {"nets"}},
	{"stats", NULL, "GET", "stats", {NULL}},
	{"pause", NULL, "POST", "pause", {NULL}},
	{"resume", NULL, "POST", "resume", {NULL}},
	{"reset", NULL, "POST", "reset", {NULL}},
	{"powerdown", NULL, "POST", "powerdown", {NULL}},
	{"disk", "limit", "POST", "disk-limit", {NULL}},
	{"disk", "grow", "POST", "disk-grow", {NULL}},
	{"disk", "add", "POST", "disk-add", {NULL}},
	{"disk", "rm", "POST", "disk-rm", {NULL}},
	{"net", "limit", "POST", "net-limit", {NULL}},
	{"net", "link", "POST", "net-link", {NULL}},
	{"net", "add", "POST", "net-add", {NULL}},
	{"net", "rm", "POST", "net-rm", {NULL}},
};
static const struct way balloon_look = {
	"balloon", NULL, "GET", "info", {"target_bytes", "actual_bytes", "resident_bytes"}};
static const struct way balloon_set = {"balloon", NULL, "POST", "balloon", {NULL}};

static const struct way *find(const struct remote_ctl *c)
{
	if (!strcmp(c->command, "balloon"))
		return c->has_size ? &balloon_set : &balloon_look;
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].command, c->command) &&
		    (!ways[i].verb || (c->verb && !strcmp(ways[i].verb, c->verb))))
			return &ways[i];
	return NULL;
}

static json_t *body_of(const struct way *w, const struct remote_ctl *c)
{
	json_t *j;

	if (c->has_size)
		return json_pack("{s:o}", "size", json_u64(c->size));
	if (!w->verb)
		return NULL;
	if (!strcmp(w->verb, "add"))
		return json_pack("{s:s}", c->command, c->word);
	if (!strcmp(w->verb, "rm"))
		return json_pack("{s:s, s:b}", c->command, c->word, "force", c->force);
	j = json_deep_copy(c->request);
	json_object_del(j, "id");
	json_object_del(j, "cmd");
	return j;
}

int remote_ctl(const struct remote_ctl *c, json_t **result, struct err *e)
{
	const struct way *w = find(c);
	_autojson json_t *body = NULL, *answer = NULL;
	char path[96];
	int r;

	*result = NULL;
	if (!w) {
		snprintf(path, sizeof(path), "ctl VM %.40s", c->command);
		return remote_none(path, e);
	}
	r = config_check_name(c->vm, e);
	if (r < 0)
		return r;
	body = body_of(w, c);
	snprintf(path, sizeof(path), "/1.0/vms/%.64s/%s", c->vm, w->path);
	r = daemon_call(w->method, path, body, &answer, e);
	if (r < 0 || r >= 400)
		return daemon_refused(r, e);
	if (!w->shown[0]) {
		*result = json_incref(answer);
		return 0;
	}
	*result = json_object();
	for (unsigned i = 0; w->shown[i]; i++)
		json_object_set(*result, w->shown[i], json_object_get(answer, w->shown[i]));
	return 0;
}
