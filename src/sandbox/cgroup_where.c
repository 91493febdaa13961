/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_where.c - see cgroup_where.h.
 *
 * Lines of /proc/self/cgroup (cgroups(7)):     ID:CONTROLLER,CONTROLLER...:PATH, without controllers for version 2
 * Lines of /proc/self/mountinfo (proc(5)):     ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS FIELD... - TYPE SOURCE OPTIONS
 */
#include "sandbox/cgroup_where.h"

#include <string.h>

static bool is(struct cgroup_span s, const char *word)
{
	return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

/* Is `word` in a list with commas? */
static bool listed(struct cgroup_span list, const char *word)
{
	while (list.len) {
		const char *comma = memchr(list.at, ',', list.len);
		struct cgroup_span one = {list.at, comma ? (size_t)(comma - list.at) : list.len};

		if (is(one, word))
			return true;
		one.len += comma != NULL;
		list.at += one.len;
		list.len -= one.len;
	}
	return false;
}

/* What stands before the next of `ends`, which is taken too; at the end of the line there is nothing more. */
static struct cgroup_span take(const char **at, const char *ends)
{
	struct cgroup_span s = {*at, strcspn(*at, ends)};

	*at += s.len;
	if (**at && **at != '\n')
		++*at;
	return s;
}

static const char *next_line(const char *at)
{
	const char *end = strchr(at, '\n');

	return end ? end + 1 : at + strlen(at);
}

bool cgroup_where_group(const char *groups, const char *controller, struct cgroup_span *group)
{
	for (const char *line = groups; *line; line = next_line(line)) {
		const char *at = line;
		struct cgroup_span names;

		(void)take(&at, ":\n");
		names = take(&at, ":\n");
		*group = take(&at, "\n");
		if ((controller ? listed(names, controller) : !names.len) && group->len &&
		    group->at[0] == '/')
			return true;
	}
	return false;
}

bool cgroup_where_folder(const char *mounts, const char *controller, struct cgroup_span group,
			 struct cgroup_span *place, struct cgroup_span *below)
{
	for (const char *line = mounts; *line; line = next_line(line)) {
		struct cgroup_span root, type, field;
		const char *at = line;

		for (unsigned i = 0; i < 3; i++)
			(void)take(&at, " \n");
		root = take(&at, " \n");
		*place = take(&at, " \n");
		do
			field = take(&at, " \n");
		while (field.len && !is(field, "-"));
		type = take(&at, " \n");
		(void)take(&at, " \n");
		if (!is(type, controller ? "cgroup" : "cgroup2") ||
		    (controller && !listed(take(&at, " \n"), controller)))
			continue;
		if (is(root, "/"))
			root.len = 0;
		*below = (struct cgroup_span){group.at + root.len, group.len - root.len};
		if (root.len > group.len || memcmp(root.at, group.at, root.len) != 0 ||
		    (below->len && below->at[0] != '/'))
			continue;
		if (is(*below, "/"))
			below->len = 0;
		return true;
	}
	return false;
}
