/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem_thp.c - files whose pages may be huge: on a tmpfs that nobody else has.
 *
 * A memfd lies on the kernel's own tmpfs, which makes huge pages only where an administrator has switched that on for all of the host
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled), and by default he has not. A tmpfs says for itself whether it does: with
 * huge=advise for those mappings that ask by MADV_HUGEPAGE (Documentation/filesystems/tmpfs.rst). Any user may mount one in a mount
 * namespace of his own, and it need not be put anywhere in the tree (fsmount(2)): its files keep it alive.
 *
 * Whether the host really gives huge pages is tried out with one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mem/gmem.h"

#define NAME "guest-memory" /* as it stands in /proc/PID/maps */

/* A mount of a tmpfs with room for `size` bytes, as an fd. */
static int mount_tmpfs(uint64_t size)
{
	_autoclose int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char text[24];
	int mnt;

	if (fs < 0)
		return -errno;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "huge", "advise", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "3", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return mnt < 0 ? -errno : mnt;
}

/* Is its first page a huge one? It is gone afterwards. */
static bool gets_huge_pages(int fd)
{
	const size_t size = 2 * MIB;
	uint8_t *p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);
	bool yes = false;
	struct stat st;
	uint8_t *at;

	if (p == MAP_FAILED)
		return false;
	at = (uint8_t *)ALIGN_UP((uintptr_t)p, size);
	if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) !=
		    MAP_FAILED &&
	    madvise(at, size, MADV_HUGEPAGE) == 0) {
		*(volatile uint8_t *)at = 1;
		yes = fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= size;
	}
	munmap(p, 2 * size);
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0 && yes;
}

static int open_file(int mnt, uint64_t size)
{
	int fd = openat(mnt, NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), code;

	if (fd < 0 || (unlinkat(mnt, NAME, 0) == 0 && ftruncate(fd, (off_t)size) == 0))
		return fd < 0 ? -errno : fd;
	code = errno;
	close(fd);
	return -code;
}

int gmem_open_thp(uint64_t size, int fd[2])
{
	_autoclose int mnt = -1;
	int r = -ENOTSUP;

	fd[0] = fd[1] = -1;
	if (size < 2 * MIB)
		return -EINVAL;
	mnt = mount_tmpfs(2 * ALIGN_UP(size, 2 * MIB)); /* while one is emptied the other is in use */
	if (mnt < 0)
		return mnt;
	fd[0] = open_file(mnt, size);
	fd[1] = open_file(mnt, size);
	if (fd[0] >= 0 && fd[1] >= 0 && gets_huge_pages(fd[0]))
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		if (fd[i] < 0)
			r = fd[i];
		base_close_fd(&fd[i]);
	}
	return r;
}
