/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctldisk.c - the words of `lodge ctl VM disk ...`, as a request.
 *
 *	disk limit ID [bps=SIZE] [bps-burst=SIZE] [iops=N] [iops-burst=N]	0: no limit
 *	disk grow ID [SIZE]							without: what the file has grown to
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "proto/control.h"

static const char usage[] = "disk limit ID bps=SIZE iops=N, or disk grow ID [SIZE]";

static int limit_word(json_t *req, char *word, struct err *e)
{
	static const struct {
		const char *name, *key;
		bool size;
	} limits[] = {{"bps", "bps", true},
		      {"bps-burst", "bps_burst", true},
		      {"iops", "iops", false},
		      {"iops-burst", "iops_burst", false}};
	static const char *const names[] = {"bps", "bps-burst", "iops", "iops-burst", NULL};
	char *value = strchr(word, '='), shown[40];
	struct err inner = {0};
	uint64_t v = 0;
	const char *near;
	unsigned i;
	int r;

	if (value)
		*value++ = '\0';
	for (i = 0; i < ARRAY_SIZE(limits) && strcmp(limits[i].name, word) != 0; i++)
		;
	err_quote(shown, sizeof(shown), word);
	if (i == ARRAY_SIZE(limits)) {
		near = opt_suggest(word, names);
		if (near)
			err_hint(e, "use %s", near);
		err_set(e, EINVAL,
			"a disk has no limit \"%s\": there are bps, bps-burst, iops, iops-burst",
			shown);
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

json_t *ctldisk_request(int argc, char **argv, struct err *e)
{
	enum control_cmd cmd = CONTROL_CMDS;
	json_t *req;
	int r;

	if (argc >= 1 && !strcmp(argv[0], "limit") && argc >= 3)
		cmd = CONTROL_DISK_LIMIT;
	else if (argc >= 1 && !strcmp(argv[0], "grow") && (argc == 2 || argc == 3))
		cmd = CONTROL_DISK_GROW;
	if (cmd == CONTROL_CMDS) {
		err_set(e, EINVAL, "lodge ctl VM disk needs more words: %s", usage);
		err_hint(e, "%s", usage);
		err_field(e, "command", argc ? argv[0] : "disk");
		return NULL;
	}
	req = control_request_json(1, cmd);
	r = json_object_set_new(req, "disk", json_string(argv[1]));
	for (int i = 2; !r && i < argc; i++)
		r = cmd == CONTROL_DISK_LIMIT ? limit_word(req, argv[i], e) :
						grow_word(req, argv[i], e);
	if (!r)
		return req;
	err_set(e, ENOMEM, "cannot make the request");
	json_decref(req);
	return NULL;
}
