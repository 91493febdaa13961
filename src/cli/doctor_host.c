/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_host.c - checks of the host for `lodge doctor`: engine, sandbox, control groups, memory and processors.
 *
 * What is checked is tried, not concluded from versions: a kernel may have a feature and a container or a setting may take it away.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "cli/host.h"
#include "util/clock.h"
#include "util/procfile.h"

static void check_engine(json_t *lines, const struct kvm_probe *probe)
{
	if (kvm_probe_usable(probe))
		doctor_say(lines, "engine", DOCTOR_OK, NULL, "KVM runs guests here");
	else if (probe->result == KVM_PROBE_PERMISSION)
		doctor_say(lines, "engine", DOCTOR_WARN,
			   "have an administrator give you access to it, then log in again",
			   "the software engine only: %s", probe->why);
	else
		doctor_say(lines, "engine", DOCTOR_OK, NULL,
			   "the software engine, which needs nothing of the host; KVM is not usable");
	if (!clock_tsc_invariant())
		doctor_say(lines, "clock", DOCTOR_WARN,
			   "where you can choose the machine, choose another",
			   "the time stamp counter is not invariant: guest time may drift");
}

/* ---- the layers of the sandbox ---- */

/* Does it work, in a process of its own? */
static bool works(bool (*try)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(try() ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static bool try_namespaces(void)
{
	return unshare(CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET |
						      CLONE_NEWIPC | CLONE_NEWUTS) == 0;
}

static void check_sandbox(json_t *lines)
{
	long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0,
				LANDLOCK_CREATE_RULESET_VERSION);

	if (works(try_namespaces))
		doctor_say(lines, "namespaces", DOCTOR_OK, NULL, "VMs get name spaces of their own");
	else
		doctor_say(
			lines, "namespaces", DOCTOR_WARN,
			"sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0",
			"VMs of this user get no name spaces: `--sandbox strict` refuses to start them");
	if (landlock > 0)
		doctor_say(lines, "landlock", DOCTOR_OK, NULL, "version %ld of its interface",
			   landlock);
	else
		doctor_say(lines, "landlock", DOCTOR_WARN,
			   "boot with lsm=landlock,... (Linux 5.13 or later)",
			   "Landlock is not there: the sandbox has a layer less");
	if (prctl(PR_GET_SECCOMP) >= 0)
		doctor_say(lines, "seccomp", DOCTOR_OK, NULL, "system calls are filtered");
	else
		doctor_say(lines, "seccomp", DOCTOR_WARN, "use a kernel with CONFIG_SECCOMP_FILTER",
			   "system calls cannot be filtered");
}

/* ---- control groups ---- */

static void check_cgroups(json_t *lines)
{
	char text[4096], path[sizeof(text) + 32];
	const char *own;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) < 0) {
		if (access("/sys/fs/cgroup/memory", F_OK) == 0)
			doctor_say(lines, "cgroups",
				   access("/sys/fs/cgroup/memory", W_OK) ? DOCTOR_WARN : DOCTOR_OK,
				   access("/sys/fs/cgroup/memory", W_OK) ?
					   "boot with systemd.unified_cgroup_hierarchy=1" :
					   NULL,
				   "version 1%s",
				   access("/sys/fs/cgroup/memory", W_OK) ?
					   ": only root can limit VMs" :
					   "");
		else
			doctor_say(lines, "cgroups", DOCTOR_WARN, "mount cgroup2 on /sys/fs/cgroup",
				   "there are no control groups: VMs are not limited by the host");
		return;
	}
	if (!procfile_read("/proc/self/cgroup", text, sizeof(text)) || !(own = strstr(text, "0::")))
		own = "0::/\n";
	snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s", (int)strcspn(own + 3, "\n"), own + 3);
	if (access(path, W_OK) == 0)
		doctor_say(lines, "cgroups", DOCTOR_OK, NULL,
			   "version 2, and this group may be divided");
	else
		doctor_say(
			lines, "cgroups", DOCTOR_WARN,
			"start VMs through lodged as a service: systemctl --user enable --now lodged",
			"version 2, but you may not divide your group here: VMs that you start are not limited");
}

/* ---- memory and processors ---- */

/* "avg10=1.23" of the line "some" of a file of /proc/pressure (Linux 4.20), in percent; -1: not there. */
static double pressure(const char *path)
{
	char text[512];
	const char *at = procfile_read(path, text, sizeof(text)) ? strstr(text, "avg10=") : NULL;

	return at ? strtod(at + strlen("avg10="), NULL) : -1;
}

static void check_resources(json_t *lines)
{
	uint64_t total, available;
	long host_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char text[64], a[40], b[40], c[40];
	struct host_vms vms;
	double cpu = pressure("/proc/pressure/cpu"), mem = pressure("/proc/pressure/memory");

	host_memory(&total, &available);
	host_vms(&vms);
	opt_format_size(vms.memory / MIB * MIB, a, sizeof(a));
	opt_format_size(total / MIB * MIB, b, sizeof(b));
	opt_format_size(available / MIB * MIB, c, sizeof(c));
	if (vms.memory > total)
		doctor_say(lines, "room", DOCTOR_WARN, "stop some, or give them less",
			   "%u VMs have %s of memory, and the host has %s (%s available)", vms.n, a,
			   b, c);
	else if (available < total / 20)
		doctor_say(lines, "room", DOCTOR_WARN, "stop some VMs or other programs",
			   "only %s of %s of memory are available", c, b);
	else
		doctor_say(lines, "room", DOCTOR_OK, NULL,
			   "%s of %s of memory are available; %u VMs of yours have %s", c, b, vms.n,
			   a);
	if (vms.cpus > 10 * (uint64_t)host_cpus)
		doctor_say(lines, "load", DOCTOR_WARN, "stop some VMs, or give them fewer CPUs",
			   "%u VMs have %llu CPUs, and the host has %ld", vms.n,
			   (unsigned long long)vms.cpus, host_cpus);
	else if (cpu > 50)
		doctor_say(lines, "load", DOCTOR_WARN, "`lodge why VM` shows which VM waits",
			   "programs waited for the host's processors in %.0f %% of the last 10 s",
			   cpu);
	else
		doctor_say(lines, "load", DOCTOR_OK, NULL,
			   "%u VMs of yours have %llu CPUs, the host %ld", vms.n,
			   (unsigned long long)vms.cpus, host_cpus);
	if (mem > 10)
		doctor_say(lines, "pressure", DOCTOR_WARN,
			   "the host needs more memory, or less to do",
			   "programs waited for memory in %.0f %% of the last 10 s", mem);
	if (procfile_read("/proc/sys/vm/overcommit_memory", text, sizeof(text)) && text[0] == '2')
		doctor_say(
			lines, "overcommit", DOCTOR_WARN, "sysctl vm.overcommit_memory=0",
			"the host promises no more memory than it has: a VM counts with all of its own and 64 MiB to 1 GiB more at its start");
	else
		doctor_say(lines, "overcommit", DOCTOR_OK, NULL,
			   "guests take memory of the host as they use it");
}

void doctor_host(json_t *lines, const struct kvm_probe *probe)
{
	check_engine(lines, probe);
	check_sandbox(lines);
	check_cgroups(lines);
	check_resources(lines);
}
