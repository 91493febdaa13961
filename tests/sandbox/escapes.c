/* SPDX-License-Identifier: Apache-2.0 */
/*
 * escapes.c - ways out of a locked-in process that its kernel must refuse.
 *
 * Each says whether it worked. With the filter of system calls most end the process at the first call; without it the rest of
 * the sandbox has to stand. What is nobody's harm by itself (a namespace of one's own), or what only the filter keeps away, is marked filter_only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/vm_sockets.h>
#include <grp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/owned.h"

/* One escape a line where it fits. */
/* clang-format off */

#define TRY(name) static bool try_##name(const struct owned_targets *t)
#define UNUSED (void)t

static bool opens(const char *path, int flags)
{
	return open(path, flags, 0600) >= 0;
}

static bool opens_in(const struct owned_targets *t, const char *name, int flags)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", t->folder, name);
	return opens(path, flags);
}

static bool opens_proc(int pid, const char *name, int flags)
{
	char path[60];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return opens(path, flags);
}

/* ---- files ---- */

TRY(passwd) { UNUSED; return opens("/etc/passwd", O_RDONLY); }
TRY(dots) { UNUSED; return opens("../../../../../../../../etc/passwd", O_RDONLY); }
TRY(sibling_disk) { return opens_in(t, "disk", O_RDWR); }
TRY(secret) { return opens_in(t, "secret", O_RDONLY); }
TRY(secret_handle)
{
	struct {
		struct file_handle h;
		unsigned char space[128];
	} f = {.h.handle_bytes = 128};
	char path[300];
	int id;

	snprintf(path, sizeof(path), "%s/secret", t->folder);
	return name_to_handle_at(AT_FDCWD, path, &f.h, &id, 0) == 0 &&
	       open_by_handle_at(AT_FDCWD, &f.h, O_RDONLY) >= 0;
}
TRY(own_memory) { UNUSED; return opens("/proc/self/mem", O_RDWR); }
TRY(sibling_memory) { return opens_proc(t->sibling, "mem", O_RDWR); }
TRY(sibling_files)
{
	char name[8];

	for (int fd = 0; fd < 16; fd++) {
		snprintf(name, sizeof(name), "fd/%d", fd);
		if (opens_proc(t->sibling, name, O_RDONLY))
			return true;
	}
	return false;
}
TRY(driver_files) { return opens_proc(t->driver, "fd/0", O_RDONLY); }
TRY(driver_root) { return opens_proc(t->driver, "root/etc/passwd", O_RDONLY); }
TRY(sysctl) { UNUSED; return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
TRY(dev_kvm) { UNUSED; return opens("/dev/kvm", O_RDWR); }
TRY(dev_mem) { UNUSED; return opens("/dev/mem", O_RDWR); }
TRY(make_in_root) { UNUSED; return opens("/file", O_RDWR | O_CREAT); }
TRY(make_unnamed) { UNUSED; return opens("/", O_RDWR | O_TMPFILE); }
TRY(make_folder) { UNUSED; return mkdir("/folder", 0700) == 0; }
TRY(make_link) { UNUSED; return symlink("/etc", "/link") == 0; }
TRY(make_device) { UNUSED; return mknod("/disk", S_IFBLK | 0600, makedev(8, 0)) == 0; }
TRY(make_fifo) { UNUSED; return mknod("/fifo", S_IFIFO | 0600, 0) == 0; }
TRY(remove_secret)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/secret", t->folder);
	return unlink(path) == 0;
}
TRY(chmod_root) { UNUSED; return chmod("/", 0777) == 0; }
TRY(chown_root) { UNUSED; return chown("/", 1, 1) == 0; }

/* ---- mounts and namespaces ---- */

TRY(mount_proc) { UNUSED; return mount("proc", "/", "proc", 0, NULL) == 0; }
TRY(mount_tmpfs) { UNUSED; return mount("tmpfs", "/", "tmpfs", 0, NULL) == 0; }
TRY(remount) { UNUSED; return mount(NULL, "/", NULL, MS_REMOUNT, NULL) == 0; }
TRY(unmount) { UNUSED; return umount2("/", MNT_DETACH) == 0; }
TRY(pivot) { UNUSED; return syscall(SYS_pivot_root, ".", ".") == 0; }
TRY(change_root) { UNUSED; return chroot("/") == 0; }
TRY(file_system) { UNUSED; return syscall(SYS_fsopen, "tmpfs", 0) >= 0; }
TRY(open_tree) { UNUSED; return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */) >= 0; }
TRY(join_by_file) { UNUSED; return setns(open("/proc/1/ns/mnt", O_RDONLY), CLONE_NEWNS) == 0; }
TRY(join_by_process)
{
	int fd = (int)syscall(SYS_pidfd_open, t->driver, 0);

	return fd >= 0 && setns(fd, CLONE_NEWNS | CLONE_NEWPID) == 0;
}
TRY(new_user_namespace) { UNUSED; return unshare(CLONE_NEWUSER) == 0; }
TRY(new_mounts) { UNUSED; return unshare(CLONE_NEWNS) == 0; }
TRY(new_network) { UNUSED; return unshare(CLONE_NEWNET) == 0; }
TRY(clone_namespace) { UNUSED; return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) > 0; }

/* ---- other processes ---- */

TRY(kill_sibling) { return kill(t->sibling, SIGKILL) == 0; }
TRY(kill_driver) { return kill(t->driver, SIGKILL) == 0; }
TRY(kill_all) { UNUSED; return kill(-1, SIGKILL) == 0; }
TRY(signal_thread) { return syscall(SYS_tgkill, t->sibling, t->sibling, SIGTERM) == 0; }
TRY(queue_signal)
{
	siginfo_t si = {.si_code = SI_QUEUE};

	return syscall(SYS_rt_sigqueueinfo, t->sibling, SIGTERM, &si) == 0;
}
TRY(trace) { return ptrace(PTRACE_ATTACH, t->sibling, NULL, NULL) == 0; }
TRY(trace_seize) { return ptrace(PTRACE_SEIZE, t->driver, NULL, NULL) == 0; }
TRY(read_memory)
{
	char buf[8];
	struct iovec here = {buf, sizeof(buf)}, there = {(void *)(uintptr_t)0x400000, sizeof(buf)};

	/* EFAULT would mean that only the address was wrong. */
	return process_vm_readv(t->sibling, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
}
TRY(process_handle) { return syscall(SYS_pidfd_open, t->sibling, 0) >= 0; }
TRY(take_file)
{
	int fd = (int)syscall(SYS_pidfd_open, t->sibling, 0);

	return fd >= 0 && syscall(SYS_pidfd_getfd, fd, 3, 0) >= 0;
}
TRY(set_limit_of)
{
	struct rlimit none = {0, 0};

	return prlimit(t->sibling, RLIMIT_NOFILE, &none, NULL) == 0;
}
TRY(priority_of) { return setpriority(PRIO_PROCESS, (id_t)t->sibling, 19) == 0; }

/* ---- programs and code ---- */

static char *const no_args[] = {NULL};

TRY(run_shell) { UNUSED; return execve("/bin/sh", no_args, no_args) == 0; }
TRY(run_self) { UNUSED; return execve("/proc/self/exe", no_args, no_args) == 0; }
TRY(run_memfd)
{
	/* A script whose interpreter is not there: ENOENT says that it would have been run. */
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	UNUSED;
	if (write(fd, "#!/x\n", 5) != 5)
		return false;
	(void)syscall(SYS_execveat, fd, "", no_args, no_args, AT_EMPTY_PATH);
	return errno == ENOENT;
}
TRY(fork_one)
{
	pid_t pid = (pid_t)syscall(SYS_fork);

	UNUSED;
	if (pid == 0)
		_exit(0);
	return pid > 0;
}
TRY(fork_bomb)
{
	unsigned n = 0;

	UNUSED;
	for (; n < 2000; n++) {
		pid_t pid = fork();

		if (pid < 0)
			return false;
		if (pid == 0)
			for (;;)
				pause();
	}
	return true; /* they end with us: process 1 of their namespace */
}
TRY(map_wx)
{
	UNUSED;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) != MAP_FAILED;
}
TRY(protect_x)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	UNUSED;
	return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}
TRY(protect_x_key)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	UNUSED;
	return p != MAP_FAILED && syscall(SYS_pkey_mprotect, p, 4096, PROT_EXEC, -1) == 0;
}
TRY(map_file_wx)
{
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	UNUSED;
	return ftruncate(fd, 4096) == 0 &&
	       mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0) != MAP_FAILED;
}
TRY(old_calls)
{
	long r = -1;

	UNUSED;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20 /* getpid of i386 */) : "memory", "r8", "r9", "r10", "r11");
#endif
	return r > 0;
}
TRY(x32_calls) { UNUSED; return syscall(0x40000000 + 39) > 0; }
TRY(personality_x) { UNUSED; return syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */) >= 0; }

/* ---- sockets ---- */

static bool connects(int family, const void *sa, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM, 0);

	return fd >= 0 && connect(fd, sa, len) == 0;
}
TRY(daemon_socket)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s/daemon", t->folder);
	return connects(AF_UNIX, &sa, sizeof(sa));
}
TRY(abstract_socket)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int n = snprintf(sa.sun_path + 1, sizeof(sa.sun_path) - 1, "%.90s", t->folder);

	return connects(AF_UNIX, &sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n));
}
TRY(loopback)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)t->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	return connects(AF_INET, &sa, sizeof(sa));
}
TRY(loopback6)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6,
				  .sin6_port = htons((uint16_t)t->port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	return connects(AF_INET6, &sa, sizeof(sa));
}
TRY(listen_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(4711)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	UNUSED;
	return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
}
TRY(packet_socket) { UNUSED; return socket(AF_PACKET, SOCK_RAW, 0) >= 0; }
TRY(raw_socket) { UNUSED; return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0; }
TRY(netlink_socket) { UNUSED; return socket(AF_NETLINK, SOCK_RAW, 0) >= 0; }
TRY(vsock_socket) { UNUSED; return socket(AF_VSOCK, SOCK_STREAM, 0) >= 0; }
TRY(crypto_socket) { UNUSED; return socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0; }

/* ---- rights ---- */

TRY(other_user) { UNUSED; return setresuid(1000, 1000, 1000) == 0; }
TRY(other_group) { UNUSED; return setresgid(1000, 1000, 1000) == 0; }
TRY(groups)
{
	gid_t g = 0;

	UNUSED;
	return setgroups(1, &g) == 0;
}
TRY(capabilities)
{
	uint32_t head[2] = {0x20080522, 0}, all[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u};

	UNUSED;
	return syscall(SYS_capset, head, all) == 0;
}
TRY(secure_bits) { UNUSED; return prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0; }
TRY(dumpable) { UNUSED; return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0; }
TRY(raise_limit)
{
	struct rlimit more = {1 << 20, 1 << 20};

	UNUSED;
	return setrlimit(RLIMIT_NOFILE, &more) == 0;
}
TRY(core_files)
{
	struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};

	UNUSED;
	return setrlimit(RLIMIT_CORE, &more) == 0;
}
TRY(real_time)
{
	struct sched_param p = {.sched_priority = 1};

	UNUSED;
	return sched_setscheduler(0, SCHED_FIFO, &p) == 0;
}
TRY(ports) { UNUSED; return syscall(SYS_iopl, 3) == 0; }
TRY(port_bits) { UNUSED; return syscall(SYS_ioperm, 0x70, 2, 1) == 0; }
TRY(module) { UNUSED; return syscall(SYS_init_module, "", 0, "") == 0; }
TRY(kexec) { UNUSED; return syscall(SYS_kexec_load, 0, 0, NULL, 0) == 0; }
TRY(restart) { UNUSED; return reboot(RB_ENABLE_CAD) == 0; }
TRY(host_name) { UNUSED; return sethostname("owned", 5) == 0; }
TRY(set_clock)
{
	struct timespec ts;

	UNUSED;
	return clock_gettime(CLOCK_REALTIME, &ts) == 0 && clock_settime(CLOCK_REALTIME, &ts) == 0;
}
TRY(adjust_clock)
{
	struct timex tx = {.modes = ADJ_OFFSET};

	UNUSED;
	return adjtimex(&tx) >= 0;
}
TRY(swap) { UNUSED; return swapon("/", 0) == 0; }
TRY(accounting) { UNUSED; return acct(NULL) == 0; }
TRY(kernel_log) { UNUSED; return syscall(SYS_syslog, 5 /* clear */, NULL, 0) == 0; }
TRY(watch_cpu)
{
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(a)};

	UNUSED;
	return syscall(SYS_perf_event_open, &a, -1, 0, -1, 0) >= 0;
}
TRY(program_in_kernel)
{
	uint64_t attr[18] = {0};

	UNUSED;
	return syscall(SYS_bpf, 0 /* map */, attr, sizeof(attr)) >= 0;
}
TRY(keys) { UNUSED; return syscall(SYS_add_key, "user", "x", "x", 1, -4) >= 0; }
TRY(page_faults) { UNUSED; return syscall(SYS_userfaultfd, 1) >= 0; }
TRY(new_ring)
{
	struct io_uring_params p = {0};

	UNUSED;
	return syscall(SYS_io_uring_setup, 8, &p) >= 0;
}
TRY(shared_memory) { UNUSED; return shmget(IPC_PRIVATE, 4096, 0600) >= 0; }
TRY(message_queue) { UNUSED; return syscall(SYS_mq_open, "x", O_RDWR | O_CREAT, 0600, NULL) >= 0; }

/* ---- what it has ---- */

TRY(fill_disk)
{
	/* Beyond the limit of file sizes: by its own disk, and by memory that looks like a file. */
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	return ftruncate(fd, INT64_C(1) << 50) == 0 ||
	       pwrite(t->fds->fd[CONFIG_FD_DISK], "x", 1, INT64_C(1) << 50) == 1;
}
TRY(many_files)
{
	for (unsigned i = 0; i < 5000; i++)
		if (fcntl(t->control_fd, F_DUPFD_CLOEXEC, 0) < 0)
			return false;
	return true;
}
static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		sleep(1000);
	return NULL;
}
TRY(many_threads)
{
	pthread_t thread;
	pthread_attr_t a;

	UNUSED;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 65536);
	for (unsigned i = 0; i < 2000; i++)
		if (pthread_create(&thread, &a, wait_for_ever, NULL))
			return false;
	return true;
}
TRY(leaked_files)
{
	/* Open are: 0, 1, 2, the control socket, the kernel, the disk, its ring, two files for memory. The driver has many more. */
	struct stat st;
	unsigned n = 0;

	UNUSED;
	for (int fd = 0; fd < 1024; fd++)
		n += fstat(fd, &st) == 0;
	return n > 9;
}
TRY(signal_by_file)
{
	return fcntl(t->control_fd, F_SETOWN, t->sibling) == 0 &&
	       fcntl(t->control_fd, F_GETOWN) == t->sibling;
}
TRY(type_into_terminal) { UNUSED; return ioctl(STDERR_FILENO, TIOCSTI, "x") == 0; }
TRY(immutable_file)
{
	int flags = FS_NOATIME_FL;

	return ioctl(t->fds->fd[CONFIG_FD_DISK], FS_IOC_SETFLAGS, &flags) == 0;
}
TRY(give_away_disk) { return fchown(t->fds->fd[CONFIG_FD_DISK], 1, 1) == 0; }
TRY(open_up_kernel) { return fchmod(t->fds->fd[CONFIG_FD_KERNEL], 0666) == 0; }
TRY(write_kernel) { return pwrite(t->fds->fd[CONFIG_FD_KERNEL], "x", 1, 0) == 1; }

/* (ring.c) */
#define try_ring_beyond owned_ring_beyond
#define try_ring_register owned_ring_register

#define BOTH(name) {#name, try_##name, false}
#define FILTER(name) {#name, try_##name, true}

const struct owned_escape owned_escapes[] = {
	BOTH(passwd), BOTH(dots), BOTH(sibling_disk), BOTH(secret), BOTH(secret_handle), BOTH(own_memory), BOTH(sibling_memory),
	BOTH(sibling_files), BOTH(driver_files), BOTH(driver_root), BOTH(sysctl), BOTH(dev_kvm), BOTH(dev_mem), BOTH(make_in_root),
	BOTH(make_unnamed), BOTH(make_folder), BOTH(make_link), BOTH(make_device), BOTH(make_fifo), BOTH(remove_secret), BOTH(chmod_root),
	BOTH(chown_root), BOTH(mount_proc), BOTH(mount_tmpfs), BOTH(remount), BOTH(unmount), BOTH(pivot), BOTH(change_root),
	BOTH(file_system), BOTH(open_tree), BOTH(join_by_file), BOTH(join_by_process), FILTER(new_user_namespace), BOTH(new_mounts),
	BOTH(new_network), FILTER(clone_namespace), BOTH(kill_sibling), BOTH(kill_driver), BOTH(kill_all), BOTH(signal_thread),
	BOTH(queue_signal), BOTH(trace), BOTH(trace_seize), BOTH(read_memory), BOTH(process_handle), BOTH(take_file), BOTH(set_limit_of),
	BOTH(priority_of), BOTH(run_shell), BOTH(run_self), FILTER(run_memfd), FILTER(fork_one), BOTH(fork_bomb), BOTH(map_wx),
	BOTH(protect_x), BOTH(protect_x_key), BOTH(map_file_wx), FILTER(old_calls), FILTER(x32_calls), FILTER(personality_x),
	BOTH(daemon_socket), BOTH(abstract_socket), BOTH(loopback), BOTH(loopback6), BOTH(listen_port), BOTH(packet_socket), BOTH(raw_socket),
	FILTER(netlink_socket), FILTER(vsock_socket), FILTER(crypto_socket), BOTH(other_user), BOTH(other_group), BOTH(groups),
	BOTH(capabilities), BOTH(secure_bits), FILTER(dumpable), BOTH(raise_limit), BOTH(core_files), BOTH(real_time), BOTH(ports),
	BOTH(port_bits), BOTH(module), BOTH(kexec), BOTH(restart), BOTH(host_name), BOTH(set_clock), BOTH(adjust_clock), BOTH(swap),
	BOTH(accounting), BOTH(kernel_log), FILTER(watch_cpu), FILTER(program_in_kernel), FILTER(keys), FILTER(page_faults),
	FILTER(new_ring), FILTER(shared_memory), BOTH(message_queue), BOTH(fill_disk), BOTH(many_files), BOTH(many_threads),
	BOTH(leaked_files), BOTH(signal_by_file), BOTH(type_into_terminal), FILTER(immutable_file), FILTER(give_away_disk),
	FILTER(open_up_kernel), BOTH(write_kernel), BOTH(ring_beyond), BOTH(ring_register),
};
const unsigned owned_n_escapes = ARRAY_SIZE(owned_escapes);
