/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_lodge.c - checks of what is Lodge's on this host for `lodge doctor`: programs, folders, VMs that have ended, lodged.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/doctor.h"
#include "keeper/image.h"
#include "util/procfile.h"

/* ---- programs ---- */

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char full[PATH_MAX];

	for (size_t n; path && *path; path += n + (path[n] == ':')) {
		n = strcspn(path, ":");
		if (snprintf(full, sizeof(full), "%.*s/%s", (int)n, path, program) <
			    (int)sizeof(full) &&
		    access(full, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_programs(json_t *lines)
{
	static const char *const ours[] = {"lodge-vm", "lodge-nat"};
	char path[PATH_MAX];
	struct err e = {0};
	bool all = true;

	for (unsigned i = 0; i < ARRAY_SIZE(ours); i++) {
		if (launch_find(ours[i], path, sizeof(path), &e) == 0)
			continue;
		doctor_say(lines, "programs", i ? DOCTOR_WARN : DOCTOR_FAIL,
			   "install all of Lodge: ninja install", "%s", e.msg);
		all = false;
		e = (struct err){0};
	}
	if (all)
		doctor_say(lines, "programs", DOCTOR_OK, NULL, "lodge-vm and lodge-nat are there");
	if (in_path("mmdebstrap") && (in_path("mke2fs") || access("/sbin/mke2fs", X_OK) == 0))
		doctor_say(lines, "images", DOCTOR_OK, NULL,
			   "`lodge image build` has what it needs (mmdebstrap, mke2fs)");
	else
		doctor_say(
			lines, "images", DOCTOR_WARN, "apt-get install mmdebstrap e2fsprogs",
			"`lodge image build` and `lodge run debian:12` cannot make images: mmdebstrap or mke2fs is missing");
	doctor_say(
		lines, "network", access("/dev/net/tun", F_OK) ? DOCTOR_WARN : DOCTOR_OK,
		access("/dev/net/tun", F_OK) ? "modprobe tun" : NULL,
		access("/dev/net/tun", F_OK) ?
			"`--net user` needs nothing of the host; `--net tap` needs /dev/net/tun, which is not there" :
			"`--net user` needs nothing of the host: no bridge, no nftables, no privileges");
}

/* ---- room on disks ---- */

#define ROOM_LOW (UINT64_C(2) * 1024 * MIB)

/* Of the file system that the path is on, or will be. */
static void check_room(json_t *lines, const char *what, const char *use, const char *path,
		       uint64_t low)
{
	char at[PATH_MAX], text[40], shown[200];
	struct statvfs st;
	uint64_t room;

	snprintf(at, sizeof(at), "%s", path);
	while (statvfs(at, &st) < 0) {
		char *slash = strrchr(at, '/');

		if (!slash)
			return;
		slash[slash == at] = '\0';
		if (slash == at && statvfs(at, &st) < 0)
			return;
	}
	room = (uint64_t)st.f_bavail * st.f_frsize / MIB * MIB;
	opt_format_size(room, text, sizeof(text));
	doctor_say(lines, what, room < low ? DOCTOR_WARN : DOCTOR_OK,
		   room < low ? "make room: a VM whose disk finds none is paused" : NULL,
		   "%s free for %s (%s)", text, use, err_quote(shown, sizeof(shown), path));
}

/* ---- the run directory ---- */

static void check_run_directory(json_t *lines)
{
	_autofree char **names = NULL;
	struct err e = {0};
	int n = rundir_list(&names, &e), dead = 0;

	if (n < 0) {
		doctor_say(lines, "run", DOCTOR_FAIL,
			   "make it yours and closed to others (mode 0700), or remove it", "%s",
			   e.msg);
		return;
	}
	for (int i = 0; i < n; i++) {
		struct rundir r;

		if (rundir_open(&r, names[i], NULL) == 0)
			dead += !rundir_alive(&r);
		rundir_close(&r);
	}
	if (dead > 20)
		doctor_say(lines, "run", DOCTOR_WARN,
			   "`lodge rm NAME` removes one; `lodge ls --filter state=stopped` lists them",
			   "%d VMs that have ended still have their logs", dead);
	else
		doctor_say(lines, "run", DOCTOR_OK, NULL, "%d VMs, %d of them ended", n, dead);
}

/* ---- lodged ---- */

static void check_lodged(json_t *lines)
{
	_autojson json_t *answer = NULL;
	struct err e = {0};
	char path[64], text[4096];
	long long pid;
	int r = daemon_call("GET", "/1.0", NULL, &answer, &e);

	if (r == 200) {
		pid = json_integer_value(json_object_get(answer, "pid"));
		snprintf(path, sizeof(path), "/proc/%lld/cgroup", pid);
		if (access("/run/systemd/system", F_OK) == 0 &&
		    procfile_read(path, text, sizeof(text)) && !strstr(text, "lodged.service"))
			doctor_say(
				lines, "lodged", DOCTOR_WARN,
				geteuid() ? "systemctl --user enable --now lodged" :
					    "systemctl enable --now lodged",
				"runs (process %lld), but not as a service: nobody starts it with the host",
				pid);
		else
			doctor_say(lines, "lodged", DOCTOR_OK, NULL, "runs (process %lld)", pid);
	} else if (r == -ENOENT || r == -ECONNREFUSED) {
		doctor_say(
			lines, "lodged", DOCTOR_OK, NULL,
			"does not run: `lodge run` does not need it; `lodge create` and restart policies do");
	} else {
		doctor_say(lines, "lodged", DOCTOR_WARN,
			   "look at its messages: journalctl -u lodged",
			   "runs and does not answer as it should: %s", e.msg);
	}
}

void doctor_lodge(json_t *lines)
{
	char path[PATH_MAX], *slash;

	check_programs(lines);
	if (image_path("debian:12", path, NULL) == 0 && (slash = strrchr(path, '/'))) {
		*slash = '\0';
		check_room(lines, "disk", "images", path, ROOM_LOW);
	}
	check_run_directory(lines);
	check_lodged(lines);
}
