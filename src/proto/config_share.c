/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_share.c - the shared folders of a configuration: JSON both ways, checks.
 */
#include <errno.h>
#include <string.h>

#include "proto/config.h"

json_t *config_share_to_json(const struct vm_config *c)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; i < c->n_shares; i++) {
		json_t *j = json_object();

		r |= json_object_set_new(j, "tag", json_string(c->share[i].tag));
		r |= json_object_set_new(j, "ro", json_boolean(c->share[i].read_only));
		r |= json_array_append_new(list, j);
	}
	if (r) {
		json_decref(list);
		return NULL;
	}
	return list;
}

int config_share_from_json(const json_t *list, struct vm_config *c, struct err *e)
{
	static const char *const keys[] = {"tag", "ro", NULL};

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_SHARES_MAX) {
		err_set(e, EINVAL, "the shared folders are not a list of at most %u",
			CONFIG_SHARES_MAX);
		return err_field(e, "share", NULL);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *j = json_array_get(list, i);
		struct config_share *s = &c->share[i];

		if (json_check_keys(j, keys, "the shared folder", e) ||
		    json_get_text(j, "tag", true, s->tag, sizeof(s->tag), e) < 0 ||
		    json_get_bool(j, "ro", true, &s->read_only, e) < 0)
			return -EINVAL;
	}
	c->n_shares = (unsigned)json_array_size(list);
	return 0;
}

static int check_tag(const char *tag, struct err *e)
{
	char shown[64];

	for (const char *p = tag; *p > ' ' && *p <= '~'; p++)
		if (!p[1])
			return 0;
	err_set(e, EINVAL,
		"\"%s\" cannot be the tag of a shared folder: use 1 to %u letters, digits and signs, without blanks",
		err_quote(shown, sizeof(shown), tag), CONFIG_TAG_MAX);
	err_limit(e, "1..%u", CONFIG_TAG_MAX);
	return err_field(e, "tag", tag);
}

int config_share_check(const struct vm_config *c, struct err *e)
{
	if (c->n_shares > CONFIG_SHARES_MAX) {
		err_set(e, EINVAL, "%u shared folders are too many: a VM has at most %u",
			c->n_shares, CONFIG_SHARES_MAX);
		err_limit(e, "%u", CONFIG_SHARES_MAX);
		return err_field(e, "share", NULL);
	}
	for (unsigned i = 0; i < c->n_shares; i++) {
		const char *tag = c->share[i].tag;
		int r = check_tag(tag, e);

		if (r)
			return r;
		for (unsigned k = 0; k < i; k++) {
			if (strcmp(c->share[k].tag, tag) != 0)
				continue;
			err_set(e, EEXIST,
				"two shared folders have the tag \"%s\": give one another by tag=NAME",
				tag);
			return err_field(e, "tag", tag);
		}
	}
	return 0;
}
