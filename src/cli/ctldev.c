/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctldev.c - the words of `lodge ctl VM disk ...` and `net ...`, as a request.
 *
 *	disk limit ID [bps=SIZE] [bps-burst=SIZE] [iops=N] [iops-burst=N]	0: no limit
 *	disk grow ID [SIZE]							without: what the file has grown to
 *	net limit ID [bps=SIZE] [bps-burst=SIZE] [pps=N] [pps-burst=N]
 *	net link ID up|down
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "proto/control.h"

struct limit {
	const char *name, *key;
	bool size;
};

static const struct limit disk_limits[] = {{"bps", "bps", true},
					   {"bps-burst", "bps_burst", true},
					   {"iops", "iops", false},
					   {"iops-burst", "iops_burst", false},
					   {NULL, NULL, false}};
static const struct limit net_limits[] = {{"bps", "bps", true},
					  {"bps-burst", "bps_burst", true},
					  {"pps", "pps", false},
					  {"pps-burst", "pps_burst", false},
					  {NULL, NULL, false}};

static const struct verb {
	const char *device, *name; /* "disk", "limit" */
	enum control_cmd cmd;
	int min, max; /* words behind the verb: the id and what follows */
	const char *usage;
} verbs[] = {
	{"disk", "limit", CONTROL_DISK_LIMIT, 2, 5, "disk limit ID bps=SIZE iops=N"},
	{"disk", "grow", CONTROL_DISK_GROW, 1, 2, "disk grow ID [SIZE]"},
	{"net", "limit", CONTROL_NET_LIMIT, 2, 5, "net limit ID bps=SIZE pps=N"},
	{"net", "link", CONTROL_NET_LINK, 2, 2, "net link ID up|down"},
};

static int limit_word(json_t *req, const struct limit *limits, const char *device, char *word,
		      struct err *e)
{
	char *value = strchr(word, '='), shown[40], list[64] = "";
	const char *names[8] = {NULL}, *near;
	struct err inner = {0};
	uint64_t v = 0;
	unsigned i, n;
	int r;

	if (value)
		*value++ = '\0';
	for (n = 0; limits[n].name; n++) {
		names[n] = limits[n].name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", n ? ", " : "",
			 names[n]);
	}
	for (i = 0; i < n && strcmp(limits[i].name, word) != 0; i++)
		;
	err_quote(shown, sizeof(shown), word);
	if (i == n) {
		near = opt_suggest(word, names);
		if (near)
			err_hint(e, "use %s", near);
		err_set(e, EINVAL, "a %s has no limit \"%s\": there are %s",
			!strcmp(device, "net") ? "network card" : device, shown, list);
		return err_field(e, "limit", word);
	}
	if (!value || !*value) {
		err_set(e, EINVAL, "the limit %s needs a value: %s=%s, or 0 for none", shown, shown,
			limits[i].size ? "SIZE" : "N");
		return err_field(e, word, NULL);
	}
	if (!strcmp(value, "0"))
		r = 0;
	else if (limits[i].size)
		r = opt_parse_size(value, &v, &inner);
	else
		r = opt_parse_uint(value, 0, INT64_MAX, &v, &inner);
	if (r) {
		err_set(e, EINVAL, "the limit %s %s", shown, inner.msg);
		return err_field(e, word, value);
	}
	return json_object_set_new(req, limits[i].key, json_u64(v)) ? -ENOMEM : 0;
}

static int grow_word(json_t *req, const char *word, struct err *e)
{
	struct err inner = {0};
	uint64_t v;

	if (opt_parse_size(word, &v, &inner)) {
		err_set(e, EINVAL, "the size %s", inner.msg);
		return err_field(e, "size", word);
	}
	return json_object_set_new(req, "size", json_u64(v)) ? -ENOMEM : 0;
}

static int link_word(json_t *req, const char *word, struct err *e)
{
	bool up = !strcmp(word, "up");

	if (!up && strcmp(word, "down") != 0) {
		err_set(e, EINVAL, "the link can be up or down");
		return err_field(e, "link", word);
	}
	return json_object_set_new(req, "up", json_boolean(up)) ? -ENOMEM : 0;
}

static int verb_word(json_t *req, const struct verb *v, char *word, struct err *e)
{
	switch (v->cmd) {
	case CONTROL_DISK_LIMIT: return limit_word(req, disk_limits, v->device, word, e);
	case CONTROL_NET_LIMIT: return limit_word(req, net_limits, v->device, word, e);
	case CONTROL_NET_LINK: return link_word(req, word, e);
	default: return grow_word(req, word, e);
	}
}

static json_t *refuse(const char *device, const char *word, struct err *e)
{
	char usage[256] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].device, device))
			snprintf(usage + strlen(usage), sizeof(usage) - strlen(usage), "%s%s",
				 *usage ? ", or " : "", verbs[i].usage);
	err_set(e, EINVAL, "lodge ctl VM %s needs other words: %s", device, usage);
	err_hint(e, "%s", usage);
	err_field(e, "command", word);
	return NULL;
}

json_t *ctldev_request(const char *device, int argc, char **argv, struct err *e)
{
	const struct verb *v = NULL;
	json_t *req;
	int r;

	for (unsigned i = 0; argc && i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].device, device) && !strcmp(verbs[i].name, argv[0]))
			v = &verbs[i];
	if (!v || argc - 1 < v->min || argc - 1 > v->max)
		return refuse(device, argc ? argv[0] : device, e);
	req = control_request_json(1, v->cmd);
	r = json_object_set_new(req, device, json_string(argv[1]));
	for (int i = 2; !r && i < argc; i++)
		r = verb_word(req, v, argv[i], e);
	if (!r)
		return req;
	err_set(e, ENOMEM, "cannot make the request");
	json_decref(req);
	return NULL;
}
