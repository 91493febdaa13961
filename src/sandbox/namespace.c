/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespace.c - a user of its own, namespaces, and an empty file system.
 *
 * The root of the process becomes a tmpfs without room, read-only, without programs and devices; the tree that it came from is
 * taken off, so that not even a path through an open directory leads back. A process that root started changes to its own user
 * before it makes the user namespace, which therefore belongs to that user and to nobody else; one that an ordinary user started has been put
 * into a user namespace by namespace_start(), because its PID namespace needed one.
 *
 * A process that is about to exec needs no copy of its parent's memory: the kernel would copy the tables of all pages, and both would copy each page
 * that either writes to next. So it shares the memory, has a stack of its own there, and the parent's thread stands still until the exec
 * (CLONE_VM and CLONE_VFORK, clone(2)): as vfork(), but with namespaces and a control group. Handlers of signals, which would run
 * in the parent's memory, are taken off by the kernel (CLONE_CLEAR_SIGHAND, Linux 5.5). Where the kernel cannot or may not do it so, the
 * memory is copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/sandbox.h"

#ifndef CLONE_CLEAR_SIGHAND /* Linux 5.5 */
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif

#define STACK_SIZE 16384u /* of a process that is about to exec */
#define SANDBOX_UID_BASE 1879048192u
#define ROOM "size=4k,nr_inodes=8,mode=0555"

static bool write_file(const char *path, const char *text)
{
	_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Is this process in the user namespace that the host began with? Its map is the one of everything. */
static bool in_first_user_namespace(void)
{
	_autoclose int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char map[80];
	ssize_t n = fd < 0 ? -1 : read(fd, map, sizeof(map) - 1);
	unsigned long from, to, count;

	if (n <= 0)
		return true;
	map[n] = '\0';
	return sscanf(map, "%lu %lu %lu", &from, &to, &count) == 3 && count == UINT32_MAX;
}

/* The process id as the host sees it. 0: not known. */
static unsigned long host_pid(void)
{
	char text[24];
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strtoul(text, NULL, 10);
}

/* Inside of the new namespace this user is root, who has all rights there, also after exec. Without a map he is "nobody". */
static void map_user(unsigned uid, unsigned gid)
{
	char map[40];

	snprintf(map, sizeof(map), "0 %u 1", uid);
	(void)write_file("/proc/self/uid_map", map);
	(void)write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	(void)write_file("/proc/self/gid_map", map);
}

/* What a new process does first. */
struct start {
	void (*run)(void *ctx, bool inside);
	void *ctx;
	bool inside; /* it is in its control group */
	bool mapped; /* it is in a user namespace, as uid and gid */
	unsigned uid, gid;
};

static void begin(const struct start *s)
{
	if (s->mapped)
		map_user(s->uid, s->gid);
	s->run(s->ctx, s->inside);
	_exit(127); /* it does not return */
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The sanitizers' run-time libraries would take the other process for a thread that they do not know. */
static pid_t start_shared(uint64_t flags, int group, const struct start *s)
{
	(void)flags;
	(void)group;
	(void)s;
	return -1;
}
#else
/* In the memory of this process, which waits until the other one has exec'd or ended. -1: it cannot be done so. */
static pid_t start_shared(uint64_t flags, int group, const struct start *s)
{
	_Alignas(16) uint8_t stack[STACK_SIZE];
	struct clone_args args = {.flags = flags | CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND,
				  .exit_signal = SIGCHLD,
				  .stack = (uint64_t)(uintptr_t)stack,
				  .stack_size = sizeof(stack)};
	long r;

	if (group >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group;
	}
	/* Two processes come out of it: the new one, with 0 and at the top of its stack, must not go back into a frame of ours. Its registers
	 * are named, so that none of them is the frame pointer that is cleared. */
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t" /* the outermost frame */
			 "mov %%rbx, %%rdi\n\t"
			 "call *%%rdx\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(r)
			 : "a"(SYS_clone3), "D"(&args), "S"(sizeof(args)), "b"(s), "d"(begin)
			 : "rcx", "r11", "cc", "memory");
	return r < 0 ? -1 : (pid_t)r;
}
#endif

/* With a copy of the memory. -1 with errno. */
static pid_t start_copied(uint64_t flags, int group, struct start *s)
{
	struct clone_args args = {.flags = flags | CLONE_INTO_CGROUP,
				  .exit_signal = SIGCHLD,
				  .cgroup = (uint64_t)group};
	long pid = group >= 0 ? syscall(SYS_clone3, &args, sizeof(args)) : -1;

	if (pid < 0) {
		s->inside = false;
		pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
	}
	if (pid < 0) {
		s->mapped = false;
		pid = fork();
	}
	if (pid == 0)
		begin(s);
	return (pid_t)pid;
}

pid_t namespace_start(int group, void (*run)(void *ctx, bool inside), void *ctx)
{
	struct start s = {
		.run = run, .ctx = ctx, .inside = group >= 0, .uid = geteuid(), .gid = getegid()};
	uint64_t flags = CLONE_NEWPID;
	pid_t pid;

	/* Root of the host needs no user namespace for it, and has a better one made later: one of another user. */
	s.mapped = s.uid != 0 || !in_first_user_namespace();
	if (s.mapped)
		flags |= CLONE_NEWUSER;
	pid = start_shared(flags, group, &s);
	return pid < 0 ? start_copied(flags, group, &s) : pid;
}

/* Root only: becomes a user that nobody else is. */
static void become_own_user(struct sandbox *s)
{
	unsigned long pid = host_pid();
	gid_t gid;
	uid_t uid;

	if (!pid || pid > INT_MAX / 2) {
		sandbox_note(s, SANDBOX_UID, "/proc does not tell the process's id");
		return;
	}
	uid = SANDBOX_UID_BASE + (uid_t)pid;
	gid = (gid_t)uid;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
		sandbox_note(s, SANDBOX_UID, "cannot become user %u: %s", (unsigned)uid,
			     strerrordesc_np(errno));
		return;
	}
	s->on[SANDBOX_UID] = true;
	sandbox_note(s, SANDBOX_UID, "user %u", (unsigned)uid);
	/* The change made it undumpable, and with that /proc/self/uid_map root's. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static bool new_user_namespace(struct sandbox *s)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(CLONE_NEWUSER) < 0) {
		sandbox_note(s, SANDBOX_USER, "unshare: %s%s", strerrordesc_np(errno),
			     errno == EPERM || errno == ENOSPC ?
				     " (the host or its container does not allow user namespaces)" :
				     "");
		return false;
	}
	map_user(uid, gid);
	return true;
}

void namespace_user(struct sandbox *s)
{
	bool first = in_first_user_namespace();

	s->on[SANDBOX_PIDS] = getpid() == 1;
	if (!s->on[SANDBOX_PIDS])
		sandbox_note(s, SANDBOX_PIDS, "the host or its container does not allow it");
	if (getuid() == 0 && first) {
		become_own_user(s);
	} else {
		s->on[SANDBOX_UID] = true;
		sandbox_note(s, SANDBOX_UID, "the user who started it");
	}
	/* PID 1 and root, but not the host's: namespace_start() made it one. */
	if (!first && s->on[SANDBOX_PIDS] && getuid() == 0)
		s->on[SANDBOX_USER] = true;
	else
		s->on[SANDBOX_USER] = new_user_namespace(s);
}

/* Makes the file `path` (absolute) of the old root, which is at /, visible in the new one, which is the current folder. */
static bool keep_file(const char *path)
{
	_autofree char *copy = strdup(path + 1);
	_autofree char *real = realpath(path, NULL);
	_autoclose int fd = -1;

	if (!copy || !real)
		return false;
	for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0555) < 0 && errno != EEXIST)
			return false;
		*slash = '/';
	}
	fd = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
	return fd >= 0 && mount(real, copy, NULL, MS_BIND, NULL) == 0 &&
	       mount(NULL, copy, NULL,
		     MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
}

/* The name of the step that failed, or NULL. */
static const char *empty_root(struct sandbox *s, const char *keep)
{
	static const char *const places[] = {"/proc", "/tmp", "/dev", "/usr"};
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	unsigned i;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "making mounts private";
	for (i = 0; i < ARRAY_SIZE(places); i++)
		if (mount("lodge", places[i], "tmpfs", flags, ROOM) == 0)
			break;
	if (i == ARRAY_SIZE(places) || chdir(places[i]) < 0)
		return "mounting a tmpfs";
	if (keep && !keep_file(keep))
		sandbox_note(s, SANDBOX_FILES, "without %s: %s", keep, strerrordesc_np(errno));
	if (mount(NULL, ".", NULL, MS_REMOUNT | MS_RDONLY | flags, ROOM) < 0)
		return "making the tmpfs read-only";
	/* Both in the same place: the old root lies on the new one, and is taken off. */
	if (syscall(SYS_pivot_root, ".", ".") == 0)
		return umount2(".", MNT_DETACH) < 0 ? "taking off the old root" :
		       chdir("/") < 0		    ? "entering the new root" :
						      NULL;
	/* The kernel's first root (a host that lives in its initramfs) cannot be taken off, but covered, as switch_root(8) does it. */
	if (errno != EINVAL)
		return "pivot_root";
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
		return "covering the old root";
	return chroot(".") < 0 || chdir("/") < 0 ? "entering the new root" : NULL;
}

void namespace_rest(struct sandbox *s, bool network, const char *keep)
{
	static const struct {
		int flag;
		enum sandbox_layer layer;
	} parts[] = {{CLONE_NEWNS, SANDBOX_FILES},
		     {CLONE_NEWNET, SANDBOX_NETWORK},
		     {CLONE_NEWIPC, SANDBOX_IPC},
		     {CLONE_NEWUTS, SANDBOX_UTS},
		     {CLONE_NEWCGROUP, SANDBOX_CGROUP_NS}};
	const char *failed;
	bool together;
	int all = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i].layer != SANDBOX_NETWORK || !network)
			all |= parts[i].flag;
	together = unshare(all) == 0; /* else each that can be had */
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i].layer == SANDBOX_NETWORK && network) {
			s->on[SANDBOX_NETWORK] = true;
			sandbox_note(s, SANDBOX_NETWORK, "the host's, which it is for");
			continue;
		}
		s->on[parts[i].layer] = together || unshare(parts[i].flag) == 0;
		if (!s->on[parts[i].layer])
			sandbox_note(s, parts[i].layer, "unshare: %s", strerrordesc_np(errno));
	}
	if (s->on[SANDBOX_UTS])
		s->on[SANDBOX_UTS] = sethostname("lodge", 5) == 0;
	if (!s->on[SANDBOX_FILES])
		return;
	failed = empty_root(s, keep);
	if (failed) {
		s->on[SANDBOX_FILES] = false;
		sandbox_note(s, SANDBOX_FILES, "%s: %s", failed, strerrordesc_np(errno));
	}
}
