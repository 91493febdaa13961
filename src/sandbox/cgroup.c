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
 * keepers that were killed go with the VM's run directory (proto/rundir.c), or when the next group is made beside them.
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

/* Is `word` in a list with commas? */
static bool listed(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += len)
		if ((p == list || p[-1] == ',') &&
		    (!p[len] || p[len] == ',' || p[len] == '\n' || p[len] == ' '))
			return true;
	return false;
}

/* The group of this process in the hierarchy of `controller` (NULL: version 2), as /proc tells it. */
static bool own_group(const char *controller, char path[PATH_MAX])
{
	_autofree char *line = NULL;
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;
	size_t size = 0;

	while (f && !found && getline(&line, &size, f) > 0) {
		char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;

		if (!at)
			continue;
		*at++ = '\0';
		names++;
		at[strcspn(at, "\n")] = '\0';
		found = (controller ? listed(names, controller) : !*names) && *at == '/' &&
			strlen(at) < PATH_MAX;
		if (found)
			strcpy(path, at);
	}
	if (f)
		fclose(f);
	return found;
}

/*
 * The folder of a group: where its hierarchy is mounted, and its path from there. A line of mountinfo is (proc(5))
 *   ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS
 */
static bool folder_of(const char *controller, const char *group, char folder[PATH_MAX])
{
	const char *type = controller ? "cgroup" : "cgroup2";
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char root[512], place[512], kind[32], options[512];
	_autofree char *line = NULL;
	bool found = false;
	size_t size = 0;

	while (f && !found && getline(&line, &size, f) > 0) {
		const char *rest = strstr(line, " - ");
		size_t len;

		if (!rest || sscanf(line, "%*s %*s %*s %511s %511s", root, place) != 2 ||
		    sscanf(rest, " - %31s %*s %511s", kind, options) != 2 ||
		    strcmp(kind, type) != 0 || (controller && !listed(options, controller)))
			continue;
		len = strcmp(root, "/") != 0 ? strlen(root) : 0;
		if (strncmp(group, root, len) != 0 || (group[len] && group[len] != '/'))
			continue;
		group += len;
		found = snprintf(folder, PATH_MAX, "%s%s", place,
				 strcmp(group, "/") != 0 ? group : "") < PATH_MAX;
	}
	if (f)
		fclose(f);
	return found;
}

static int add_folder(struct cgroup *g, const char *parent, const char *name)
{
	if (snprintf(g->folder[g->n], PATH_MAX, "%s/lodge-%s-%d", parent, name, (int)getpid()) >=
	    PATH_MAX)
		return -ENAMETOOLONG;
	g->n++;
	return 0;
}

static void plan_v1(struct cgroup *g, const char *name)
{
	char group[PATH_MAX], folder[PATH_MAX];

	for (unsigned i = 0; i < CONTROLLERS; i++) {
		if (own_group(controllers[i], group) && folder_of(controllers[i], group, folder) &&
		    add_folder(g, folder, name) == 0)
			continue;
		note(g, "no hierarchy of the controller \"%s\" is mounted", controllers[i]);
		g->n = 0;
		return;
	}
}

/* Into a scope, where systemd runs. */
static void leave(const char *name, bool stay)
{
	char group[PATH_MAX], unit[96];

	if (!own_group("name=systemd", group) && !own_group(NULL, group))
		return;
	/* What an ordinary user leaves behind stays with the session: a scope of his ends with his last session. */
	if (geteuid() != 0 && stay && strstr(group, "/session-"))
		return;
	snprintf(unit, sizeof(unit), "lodge-%s-%d.scope", name, (int)getpid());
	(void)scope_enter(unit, name);
}

static void plan_v2(struct cgroup *g, const char *name)
{
	char group[PATH_MAX], folder[PATH_MAX];

	g->v2 = true;
	if (!own_group(NULL, group) || !folder_of(NULL, group, folder)) {
		note(g, "no control groups are mounted");
		return;
	}
	if (add_folder(g, folder, name) == 0 && strcmp(group, "/") != 0) {
		*strrchr(folder, '/') = '\0';
		(void)add_folder(g, folder, name);
	}
}

void cgroup_plan(struct cgroup *g, const char *name, bool stay)
{
	char group[PATH_MAX], folder[PATH_MAX];

	cgroup_init(g);
	leave(name, stay);
	if (own_group("memory", group) && folder_of("memory", group, folder))
		plan_v1(g, name);
	else
		plan_v2(g, name);
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

	strcpy(parent, folder);
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
	strcpy(g->folder[0], g->folder[1]);
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
	for (unsigned i = 0; i < g->n; i++)
		sweep(g->folder[i]);
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
	}
	cgroup_init(g);
}
