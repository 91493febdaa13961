/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup_where.h - where the control groups of this process are: what /proc/self/cgroup and /proc/self/mountinfo say.
 *
 * The kernel writes both anew for each reader, mountinfo one line for each mount of the host: they are read once, and looked at as text.
 * A hierarchy is named by one of its controllers, or by NULL: that of version 2.
 */
#ifndef LODGE_SANDBOX_CGROUP_WHERE_H
#define LODGE_SANDBOX_CGROUP_WHERE_H

#include "util/base.h"

/* A part of such a text. */
struct cgroup_span {
	const char *at;
	size_t len;
};

/* The group of this process: a path from the root of its hierarchy, "/..." */
bool cgroup_where_group(const char *groups, const char *controller, struct cgroup_span *group);
/*
 * The folder of a group: its hierarchy is mounted at `place`, and the group is at `below` in there, "/..." or "" for that place itself.
 * False: no mount shows it.
 */
bool cgroup_where_folder(const char *mounts, const char *controller, struct cgroup_span group,
			 struct cgroup_span *place, struct cgroup_span *below);

#endif
