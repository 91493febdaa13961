/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - a control group for the processes of one VM.
 *
 * Theory of operation. Linux has control groups in two forms (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst). In version 1
 * each controller has a tree of its own, and any group may have groups in it: the VM's are made in those that this
 * process is in, one for memory, one for pids and one for cpu. In version 2 there is one tree, and a group that hands controllers on to groups in it may
 * have no processes itself, but for the root. So the VM's group is made
 *   1. in the group of this process, which goes on into a group "keeper" beside it if it is alone there: a scope, or a group
 *      that was handed to it (systemd calls that Delegate=yes);
 *   2. else in the one above, beside that of this process.
 * Which of the two can be had is found out by trying. The folders are named lodge-VM-PID after the process that makes them; those of
 * keepers that were killed go with the VM's run directory (proto/rundir.c), or with the next group beside them that goes.
 *
 * A limit of memory covers what the processes in the group were the first to touch: the guest's memory, their own, page tables, and the
 * page cache of the disks, which the kernel takes back before it ends anybody.
 */
#include "sandbox/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/cgroup_where.h"
#include "util/procfile.h"

#define OWN_GROUPS "/proc/self/cgroup"
#define YOUNG_SECONDS 60
#define PERIOD_US 100000u /* of a quota, as the kernel's default */
#define WEIGHT_V1 1024u	  /* what a weight of 100 is called in version 1 */

enum controller { MEMORY, PIDS, CPU, CONTROLLERS };
static const char *const controllers[CONTROLLERS] = {"memory", "pids", "cpu"};
_Static_assert(CONTROLLERS <= CGROUP_FOLDERS_MAX, "a folder for each");

static void note(struct cgroup *g, const char *fmt, ...) PRINTF_FORMAT(2, 3);

static void note(struct cgroup *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->note, sizeof(g->note), fmt, ap);
	va_end(ap);
}

void cgroup_init(struct cgroup *g)
{
	memset(g, 0, sizeof(*g));
	for (unsigned i = 0; i < CGROUP_FOLDERS_MAX; i++)
		g->procs[i] = -1;
}

/* ---- where they are ---- */

/* What there is of it in /proc. */
struct where {
	char *groups, *mounts;
};

/* One of the name in the group that is at place and below. */
static bool add_folder(struct cgroup *g, struct cgroup_span place, struct cgroup_span below,
		       const char *name)
{
	int n = asprintf(&g->folder[g->n], "%.*s%.*s/lodge-%s-%d", (int)place.len, place.at,
			 (int)below.len, below.at, name, (int)getpid());

	if (n >= PATH_MAX)
		free(g->folder[g->n]);
	if (n < 0 || n >= PATH_MAX) {
		g->folder[g->n] = NULL;
		return false;
	}
	g->n++;
	return true;
}

static void drop_folders(struct cgroup *g)
{
	for (unsigned i = 0; i < CGROUP_FOLDERS_MAX; i++) {
		free(g->folder[i]);
		g->folder[i] = NULL;
	}
	g->n = 0;
}

/* This process's group in the hierarchy of `controller` (NULL: version 2). */
static bool find(const struct where *w, const char *controller, struct cgroup_span *place,
		 struct cgroup_span *below)
{
	struct cgroup_span group;

	return cgroup_where_group(w->groups, controller, &group) &&
	       cgroup_where_folder(w->mounts, controller, group, place, below);
}

static void plan_v1(struct cgroup *g, const struct where *w, const char *name)
{
	struct cgroup_span place, below;

	for (unsigned i = 0; i < CONTROLLERS; i++) {
		if (find(w, controllers[i], &place, &below) && add_folder(g, place, below, name))
			continue;
		note(g, "no hierarchy of the controller \"%s\" is mounted", controllers[i]);
		drop_folders(g);
		return;
	}
}

/* Into a scope, where systemd runs. Has it moved? */
static bool leave(const struct where *w, const char *name, bool stay)
{
	struct cgroup_span group;
	char unit[96];

	if (!cgroup_where_group(w->groups, "name=systemd", &group) &&
	    !cgroup_where_group(w->groups, NULL, &group))
		return false;
	/* What an ordinary user leaves behind stays with the session: a scope of his ends with his last session. */
	if (geteuid() != 0 && stay && memmem(group.at, group.len, "/session-", 9))
		return false;
	snprintf(unit, sizeof(unit), "lodge-%s-%d.scope", name, (int)getpid());
	return scope_enter(unit, name) == 0;
}

static void plan_v2(struct cgroup *g, const struct where *w, const char *name)
{
	struct cgroup_span place, below;
	const char *slash;

	g->v2 = true;
	if (!find(w, NULL, &place, &below)) {
		note(g, "no control groups are mounted");
		return;
	}
	if (!add_folder(g, place, below, name) || !below.len)
		return;
	slash = memrchr(below.at, '/', below.len);
	below.len = (size_t)(slash - below.at);
	(void)add_folder(g, place, below, name);
}

void cgroup_plan(struct cgroup *g, const char *name, bool stay)
{
	struct where w = {procfile_whole(OWN_GROUPS), procfile_whole("/proc/self/mountinfo")};
	struct cgroup_span place, below;

	cgroup_init(g);
	if (w.groups && w.mounts && leave(&w, name, stay)) {
		free(w.groups);
		w.groups = procfile_whole(OWN_GROUPS);
	}
	if (!w.groups || !w.mounts)
		note(g, "out of memory");
	else if (find(&w, "memory", &place, &below))
		plan_v1(g, &w, name);
	else
		plan_v2(g, &w, name);
	free(w.groups);
	free(w.mounts);
}

/* ---- what others left ---- */

/*
 * Removes empty groups beside ours whose keepers were killed, and whose run directory went without `lodge rm`. One that is young may
 * belong to a keeper that is about to fill it, and that this process cannot see.
 */
static void sweep(const char *folder)
{
	char parent[PATH_MAX];
	struct dirent *d;
	DIR *dir;

	strcpy(parent, folder); /* add_folder() has looked that it has room */
	*strrchr(parent, '/') = '\0';
	dir = opendir(parent);
	while (dir && (d = readdir(dir))) {
		const char *dash = strrchr(d->d_name, '-');
		long pid = dash ? strtol(dash + 1, NULL, 10) : 0;
		struct stat st;

		if (strncmp(d->d_name, "lodge-", 6) != 0 || pid <= 0 || pid > INT_MAX ||
		    kill((pid_t)pid, 0) == 0 || errno != ESRCH ||
		    fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_mtime + YOUNG_SECONDS > time(NULL))
			continue;
		(void)unlinkat(dirfd(dir), d->d_name,
			       AT_REMOVEDIR); /* not if there is anybody in it */
	}
	if (dir)
		closedir(dir);
}

/* ---- making one ---- */

static int put(const char *folder, const char *file, const char *text)
{
	char path[PATH_MAX + 64];
	_autoclose int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int put_number(const char *folder, const char *file, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return put(folder, file, text);
}

static ssize_t get(const char *folder, const char *file, char *text, size_t size)
{
	char path[PATH_MAX + 64];
	_autoclose int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	text[MAX(n, 0)] = '\0';
	return n;
}

static int open_procs(struct cgroup *g, unsigned i)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", g->folder[i]);
	g->procs[i] = open(path, O_WRONLY | O_CLOEXEC);
	return g->procs[i] < 0 ? -errno : 0;
}

static int limits_v1(const struct cgroup *g, const struct cgroup_limits *l)
{
	int r = put_number(g->folder[MEMORY], "memory.limit_in_bytes", l->memory_bytes);

	if (r == 0)
		r = put_number(g->folder[PIDS], "pids.max", l->tasks);
	if (r == 0 && l->cpu_weight)
		r = put_number(g->folder[CPU], "cpu.shares",
			       MAX(l->cpu_weight * WEIGHT_V1 / 100, (uint64_t)2));
	if (r == 0 && l->cpu_percent)
		r = put_number(g->folder[CPU], "cpu.cfs_quota_us", l->cpu_percent * PERIOD_US / 100);
	return r;
}

static int make_v1(struct cgroup *g, const struct cgroup_limits *l)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < g->n; i++) {
		/* Two controllers may have one hierarchy. */
		r = mkdir(g->folder[i], 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (r < 0)
			note(g, "%s: %.80s", strerrordesc_np(-r), g->folder[i]);
	}
	if (r == 0)
		r = limits_v1(g, l);
	for (unsigned i = 0; r == 0 && i < g->n; i++)
		r = open_procs(g, i);
	return r;
}

/* Is nobody else in the group? Then this process makes room for others below. */
static int make_room(const char *parent)
{
	char text[64], path[PATH_MAX + 16], *end;
	ssize_t n = get(parent, "cgroup.procs", text, sizeof(text));

	if (n <= 0 || strtol(text, &end, 10) != getpid() || strcmp(end, "\n") != 0)
		return -EBUSY;
	snprintf(path, sizeof(path), "%s/keeper", parent);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return put(path, "cgroup.procs", "0");
}

static int limits_v2(const char *folder, const struct cgroup_limits *l)
{
	char text[64];
	int r = put_number(folder, "memory.max", l->memory_bytes);

	if (r == 0)
		r = put_number(folder, "pids.max", l->tasks);
	if (r == 0 && l->cpu_weight)
		r = put_number(folder, "cpu.weight", l->cpu_weight);
	snprintf(text, sizeof(text), "%llu %u",
		 (unsigned long long)(l->cpu_percent * PERIOD_US / 100), PERIOD_US);
	return r == 0 && l->cpu_percent ? put(folder, "cpu.max", text) : r;
}

static int make_v2_in(struct cgroup *g, const struct cgroup_limits *l)
{
	static const char hand_on[] = "+memory +pids +cpu";
	char parent[PATH_MAX];
	int r;

	strcpy(parent, g->folder[0]);
	*strrchr(parent, '/') = '\0';
	r = put(parent, "cgroup.subtree_control", hand_on);
	if (r == -EBUSY) {
		r = make_room(parent);
		if (r == 0)
			r = put(parent, "cgroup.subtree_control", hand_on);
	}
	if (r < 0) {
		note(g, "the group %.50s hands no controllers on: %s", parent,
		     r == -EBUSY  ? "others are in it" :
		     r == -ENOENT ? "it has not got them" :
				    strerrordesc_np(-r));
		return r;
	}
	r = mkdir(g->folder[0], 0755) < 0 ? -errno : limits_v2(g->folder[0], l);
	return r == 0 ? open_procs(g, 0) : r;
}

static int make_v2(struct cgroup *g, const struct cgroup_limits *l)
{
	char why[CGROUP_NOTE_SIZE];
	int r = make_v2_in(g, l);

	if (r == 0 || g->n < 2) {
		g->n = 1;
		return r;
	}
	memcpy(why, g->note, sizeof(why));
	(void)rmdir(g->folder[0]);
	free(g->folder[0]);
	g->folder[0] = g->folder[1];
	g->folder[1] = NULL;
	g->n = 1;
	r = make_v2_in(g, l);
	if (r < 0) /* about the one that this process is in */
		memcpy(g->note, why, sizeof(why));
	return r;
}

void cgroup_make(struct cgroup *g, const struct cgroup_limits *l)
{
	char quota[48] = "", weight[48] = "";
	int r;

	if (!g->n)
		return;
	r = g->v2 ? make_v2(g, l) : make_v1(g, l);
	if (r < 0) {
		char why[CGROUP_NOTE_SIZE];

		if (!g->note[0])
			note(g, "%s", strerrordesc_np(-r));
		memcpy(why, g->note, sizeof(why));
		cgroup_fini(g);
		memcpy(g->note, why, sizeof(why));
		return;
	}
	g->on = true;
	if (l->cpu_percent)
		snprintf(quota, sizeof(quota), ", %llu %% of a CPU",
			 (unsigned long long)l->cpu_percent);
	if (l->cpu_weight)
		snprintf(weight, sizeof(weight), ", weight %llu", (unsigned long long)l->cpu_weight);
	note(g, "version %d: %llu MiB, %llu tasks%s%s", g->v2 ? 2 : 1,
	     (unsigned long long)(l->memory_bytes / MIB), (unsigned long long)l->tasks, quota,
	     weight);
}

int cgroup_open(const struct cgroup *g)
{
	return g->on && g->v2 ? open(g->folder[0], O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

bool cgroup_enter(const struct cgroup *g)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->procs[i] >= 0 && write(g->procs[i], "0", 1) != 1)
			return false;
	return true;
}

bool cgroup_out_of_memory(const struct cgroup *g)
{
	char text[512];
	const char *at;

	if (!g->on || get(g->folder[0], g->v2 ? "memory.events" : "memory.oom_control", text,
			  sizeof(text)) <= 0)
		return false;
	at = strstr(text, "oom_kill ");
	return at && strtoul(at + strlen("oom_kill "), NULL, 10) > 0;
}

void cgroup_fini(struct cgroup *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		base_close_fd(&g->procs[i]);
		(void)rmdir(g->folder[i]);
		if (g->on)
			sweep(g->folder[i]);
	}
	drop_folders(g);
	cgroup_init(g);
}
