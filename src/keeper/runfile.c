/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runfile.c - opens what a VM gets, after looking at it. No path goes further than this.
 *
 * Files are opened without blocking (a FIFO would wait for a writer) and judged by the open
 * descriptor, so what was checked is what is used. Their contents are for lodge-vm to look at.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "keeper/run.h"

static const char *file_kind(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return "a directory";
	case S_IFIFO: return "a FIFO";
	case S_IFSOCK: return "a socket";
	case S_IFCHR:
	case S_IFBLK: return "a device";
	default: return "something else";
	}
}

int runfile_open(const char *path, const char *what, const char *option, uint64_t *size,
		 struct err *e)
{
	char shown[160];
	struct stat st;
	int fd, out, r;

	err_quote(shown, sizeof(shown), path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		r = errno;
		if (r == ENXIO) /* a socket */
			err_set(e, r, "the %s \"%s\" is not a regular file", what, shown);
		else
			err_errno(e, r, "cannot open the %s \"%s\"", what, shown);
		err_field(e, option, path);
		return -r;
	}
	out = fd;
	if (fstat(fd, &st) < 0)
		out = err_errno(e, errno, "cannot look at the %s \"%s\"", what, shown);
	else if (!S_ISREG(st.st_mode))
		out = err_set(e, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			      "the %s \"%s\" is %s, not a regular file", what, shown,
			      file_kind(st.st_mode));
	else if (st.st_size == 0)
		out = err_set(e, EINVAL, "the %s \"%s\" is empty", what, shown);
	if (out < 0) {
		err_field(e, option, path);
		close(fd);
		return out;
	}
	*size = (uint64_t)st.st_size;
	return out;
}

int runfile_check_memory(uint64_t memory_bytes, struct err *e)
{
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	char asked[40];

	if (memory_bytes <= host)
		return 0;
	opt_format_size(memory_bytes, asked, sizeof(asked));
	err_set(e, ENOMEM, "--memory %s is more than this host has: %" PRIu64 " MiB", asked,
		host / MIB);
	err_limit(e, "%" PRIu64 " MiB", host / MIB);
	err_hint(e, "use at most --memory %" PRIu64 "M", host / MIB);
	err_field(e, "--memory", asked);
	return -ENOMEM;
}

int runfile_open_kvm(struct config_fds *fds, struct err *e)
{
	int r;

	fds->fd[CONFIG_FD_KVM] = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fds->fd[CONFIG_FD_KVM] >= 0)
		return 0;
	r = errno;
	err_errno(e, r, "--engine kvm: cannot open /dev/kvm");
	err_hint(e, "`lodge doctor` says more; use --engine soft, or auto");
	err_field(e, "--engine", "kvm");
	return -r;
}

int runfile_open_boot(const struct run_options *o, const struct vm_config *c,
		      struct config_fds *fds, struct err *e)
{
	uint64_t kernel_size = 0, initrd_size = 0;
	char shown[160];

	if (!o->kernel)
		return 0; /* on the first disk */
	fds->fd[CONFIG_FD_KERNEL] = runfile_open(o->kernel, "kernel", "--kernel", &kernel_size, e);
	if (fds->fd[CONFIG_FD_KERNEL] < 0)
		return fds->fd[CONFIG_FD_KERNEL];
	if (!o->initrd)
		return 0;
	fds->fd[CONFIG_FD_INITRD] = runfile_open(o->initrd, "initrd", "--initrd", &initrd_size, e);
	if (fds->fd[CONFIG_FD_INITRD] < 0)
		return fds->fd[CONFIG_FD_INITRD];
	if (initrd_size < c->memory_bytes)
		return 0;
	err_set(e, EFBIG,
		"the initrd \"%s\" does not fit: it has %" PRIu64 " MiB, the VM %" PRIu64
		" MiB of memory",
		err_quote(shown, sizeof(shown), o->initrd), (initrd_size + MIB - 1) / MIB,
		c->memory_bytes / MIB);
	err_limit(e, "less than %" PRIu64 " MiB", c->memory_bytes / MIB);
	err_hint(e, "give the VM more memory by --memory");
	err_field(e, "--initrd", o->initrd);
	return -EFBIG;
}

static int console_file(const char *path, struct config_fds *fds, struct err *e)
{
	char shown[160];
	int fd, r;

	err_quote(shown, sizeof(shown), path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (fd < 0) {
		r = errno;
		if (r == ENXIO)
			err_set(e, r, "nobody reads the console file \"%s\"", shown);
		else
			err_errno(e, r, "cannot open the console file \"%s\"", shown);
		err_field(e, "--console", path);
		return -r;
	}
	fds->fd[CONFIG_FD_CONSOLE_OUT] = fd;
	return 0;
}

static int console_pty(struct config_fds *fds, struct err *e)
{
	struct termios t;
	char name[64];
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;

	if (fd < 0)
		return err_errno(e, errno, "cannot make a pseudo terminal");
	fds->fd[CONFIG_FD_CONSOLE_IN] = fd;
	if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)) != 0)
		return err_errno(e, errno, "cannot make a pseudo terminal");
	/* Without echo until somebody opens it: the guest's output must not come back as its input. */
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave >= 0) {
		if (tcgetattr(slave, &t) == 0) {
			cfmakeraw(&t);
			tcsetattr(slave, TCSANOW, &t);
		}
		close(slave);
	}
	fds->fd[CONFIG_FD_CONSOLE_OUT] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fds->fd[CONFIG_FD_CONSOLE_OUT] < 0)
		return err_errno(e, errno, "cannot make a pseudo terminal");
	fprintf(stderr, "lodge: the console is %s\n", name);
	return 0;
}

int runfile_open_console(const struct vm_config *c, const char *path, struct config_fds *fds,
			 struct err *e)
{
	if (c->console == CONFIG_CONSOLE_FILE)
		return console_file(path, fds, e);
	if (c->console == CONFIG_CONSOLE_PTY)
		return console_pty(fds, e);
	return 0;
}
