/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_disk.c - finds a kernel on a disk.
 *
 * Theory of operation. The list of places where a file system may begin is short: the disk itself, four primary MBR
 * partitions, or the first PARTS_MAX entries of a GPT. Each that has ext4's magic number is opened by libext2fs
 * through an I/O manager of our own, which reads that range of the descriptor and nothing else, and never writes. The
 * first one that holds a kernel wins. A journal that was not replayed is not looked at: what the guest wrote in its
 * last seconds before a crash may be missing, until it has been mounted once.
 *
 * Sources: UEFI 2.10 §5.3 (GPT), the MBR as in §5.2.1; Linux Documentation/filesystems/ext4.
 */
#include "board/boot_disk.h"

#include <endian.h>
#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE 4096u
#define PARTS_MAX 128u
#define EXT_MAGIC_AT (1024u + 56u)
#define EXT_MAGIC 0xef53u
#define COPY_CHUNK (64u * 1024)
#define DIR_ENTRIES_MAX 10000u
#define READS_MAX \
	(1u << 21)	/* of one file system; a file of 1 GiB in blocks of 1 KiB is half of that */
#define VERSION_MAX 95u /* characters of a kernel's version that is looked at */

struct part {
	uint64_t start, size; /* bytes */
	unsigned number;      /* 1 and up; 0: the whole disk */
};

/* ---- reading; a descriptor may be one for direct I/O, which takes whole pages only ---- */

static bool read_at(int fd, uint64_t at, void *buf, size_t len)
{
	uint64_t first = ALIGN_DOWN(at, PAGE);
	size_t want = (size_t)(ALIGN_UP(at + len, PAGE) - first), have = 0;
	_autofree uint8_t *page = aligned_alloc(PAGE, want);

	while (page && have < (at - first) + len) {
		ssize_t n = pread(fd, page + have, want - have, (off_t)(first + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	if (!page)
		return false;
	memcpy(buf, page + (at - first), len);
	return true;
}

/* ---- an I/O manager that reads one range of an fd ---- */

struct range {
	int fd;
	struct part part;
	unsigned n_reads;
};

static struct struct_io_manager range_manager;

static errcode_t range_open(const char *name, int flags, io_channel *out)
{
	struct struct_io_channel *io = calloc(1, sizeof(*io));
	struct range *r = calloc(1, sizeof(*r));
	unsigned long long start, size;

	if (!io || !r || (flags & IO_FLAG_RW) ||
	    sscanf(name, "%d:%llu:%llu", &r->fd, &start, &size) != 3) {
		free(io);
		free(r);
		return EXT2_ET_NO_MEMORY;
	}
	r->part = (struct part){start, size, 0};
	io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	io->manager = &range_manager;
	io->block_size = 1024;
	io->refcount = 1;
	io->private_data = r;
	*out = io;
	return 0;
}

static errcode_t range_close(io_channel io)
{
	if (--io->refcount > 0)
		return 0;
	free(io->private_data);
	free(io->name);
	free(io);
	return 0;
}

static errcode_t range_set_blksize(io_channel io, int size)
{
	if (size <= 0 || size > 65536)
		return EXT2_ET_UNEXPECTED_BLOCK_SIZE;
	io->block_size = size;
	return 0;
}

/* count < 0: that many bytes. */
static errcode_t range_read64(io_channel io, unsigned long long block, int count, void *data)
{
	struct range *r = io->private_data;
	uint64_t size = (uint64_t)io->block_size, at,
		 len = count < 0 ? (uint64_t)0 - (uint64_t)(int64_t)count : (uint64_t)count * size;

	/* Trees of blocks that point to one another have no end; a kernel and an initrd have. */
	if (++r->n_reads > READS_MAX || block > r->part.size / size)
		return EXT2_ET_SHORT_READ;
	at = block * size;
	if (len > r->part.size - at)
		return EXT2_ET_SHORT_READ;
	return read_at(r->fd, r->part.start + at, data, len) ? 0 : EXT2_ET_SHORT_READ;
}

static errcode_t range_read(io_channel io, unsigned long block, int count, void *data)
{
	return range_read64(io, block, count, data);
}

static errcode_t range_write(io_channel io, unsigned long block, int count, const void *data)
{
	(void)io;
	(void)block;
	(void)count;
	(void)data;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t range_flush(io_channel io)
{
	(void)io;
	return 0;
}

static struct struct_io_manager range_manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "range of a descriptor",
	.open = range_open,
	.close = range_close,
	.set_blksize = range_set_blksize,
	.read_blk = range_read,
	.read_blk64 = range_read64,
	.write_blk = range_write,
	.flush = range_flush,
};

/* ---- partitions ---- */

static uint32_t le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* Sectors from first to last as a range inside of the disk, if that is what they are. */
static unsigned add_part(struct part *p, unsigned n, unsigned number, uint64_t first, uint64_t last,
			 uint64_t disk)
{
	if (!first || last < first || last >= disk / SECTOR || n == PARTS_MAX)
		return n;
	p[n] = (struct part){first * SECTOR, (last - first + 1) * SECTOR, number};
	return n + 1;
}

static unsigned gpt_parts(int fd, uint64_t disk, struct part *p)
{
	uint8_t h[92], entry[128];
	uint64_t at;
	uint32_t count, size;
	unsigned n = 0;

	if (!read_at(fd, SECTOR, h, sizeof(h)) || memcmp(h, "EFI PART", 8) != 0)
		return 0;
	at = le64(h + 72);
	count = MIN(le32(h + 80), PARTS_MAX);
	size = le32(h + 84);
	if (size < sizeof(entry) || size > 4096 || at >= disk / SECTOR)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		static const uint8_t unused[16];

		if (!read_at(fd, at * SECTOR + (uint64_t)i * size, entry, sizeof(entry)))
			break;
		if (memcmp(entry, unused, sizeof(unused)) != 0)
			n = add_part(p, n, i + 1, le64(entry + 32), le64(entry + 40), disk);
	}
	return n;
}

static unsigned mbr_parts(int fd, uint64_t disk, struct part *p)
{
	uint8_t mbr[SECTOR];
	unsigned n = 0;

	if (!read_at(fd, 0, mbr, sizeof(mbr)) || mbr[510] != 0x55 || mbr[511] != 0xaa)
		return 0;
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *entry = mbr + 446 + 16 * i;
		uint64_t first = le32(entry + 8), count = le32(entry + 12);

		if (entry[4] && count)
			n = add_part(p, n, i + 1, first, first + count - 1, disk);
	}
	return n;
}

static unsigned find_parts(int fd, uint64_t disk, struct part *p)
{
	unsigned n;

	p[0] = (struct part){0, disk, 0};
	n = gpt_parts(fd, disk, p + 1);
	return 1 + (n ? n : mbr_parts(fd, disk, p + 1));
}

static bool has_magic(int fd, const struct part *p)
{
	uint8_t m[2];

	return p->size > EXT_MAGIC_AT + 2 && read_at(fd, p->start + EXT_MAGIC_AT, m, 2) &&
	       (m[0] | m[1] << 8) == EXT_MAGIC;
}

/* ---- files ---- */

/* A regular file of 1..max bytes into a memfd; -ENOENT if it is not there. */
static int take_file(ext2_filsys fs, const char *path, uint64_t max, struct err *e)
{
	char buf[COPY_CHUNK];
	struct ext2_inode inode;
	ext2_file_t file;
	ext2_ino_t ino;
	uint64_t size;
	int fd;

	if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &ino) ||
	    ext2fs_read_inode(fs, ino, &inode))
		return -ENOENT;
	size = EXT2_I_SIZE(&inode);
	if (!LINUX_S_ISREG(inode.i_mode) || !size)
		return err_set(e, EINVAL, "%s on the disk is not a file with something in it", path);
	if (size > max)
		return err_set(
			e, EFBIG,
			"%s on the disk has %llu MiB, more than the %llu MiB that are possible",
			path, (unsigned long long)(size >> 20), (unsigned long long)(max >> 20));
	/* seccomp vm: memfd_create, write - a kernel or initrd out of a file system */
	fd = memfd_create("boot-file", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "no memory for %s of the disk", path);
	if (ext2fs_file_open(fs, ino, 0, &file)) {
		close(fd);
		return err_set(e, EIO,
			       "%s on the disk cannot be opened: its file system is damaged", path);
	}
	while (size) {
		unsigned want = (unsigned)MIN(size, (uint64_t)COPY_CHUNK), got = 0;

		if (ext2fs_file_read(file, buf, want, &got) || !got) {
			err_set(e, EIO, "%s on the disk cannot be read: its file system is damaged",
				path);
			break;
		}
		if (write(fd, buf, got) != (ssize_t)got) {
			err_errno(e, errno ? errno : ENOSPC, "no memory for %s of the disk", path);
			break;
		}
		size -= got;
	}
	(void)ext2fs_file_close(file);
	if (!size)
		return fd;
	close(fd);
	return -EIO;
}

struct newest {
	char version[VERSION_MAX + 1];
	unsigned n;
};

static int look_at_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *d, int offset, int size,
			 char *buf, void *ctx)
{
	static const char prefix[] = "vmlinuz-";
	struct newest *best = ctx;
	char name[EXT2_NAME_LEN + 1];
	size_t len = (size_t)ext2fs_dirent_name_len(d);

	(void)dir;
	(void)entry;
	(void)offset;
	(void)size;
	(void)buf;
	memcpy(name, d->name, len);
	name[len] = '\0';
	if (!strncmp(name, prefix, sizeof(prefix) - 1) &&
	    len - (sizeof(prefix) - 1) <= VERSION_MAX &&
	    strverscmp(name + sizeof(prefix) - 1, best->version) > 0)
		strcpy(best->version, name + sizeof(prefix) - 1);
	return ++best->n >= DIR_ENTRIES_MAX ? DIRENT_ABORT : 0;
}

/* The newest of /boot; "" if there is none. */
static void find_newest(ext2_filsys fs, struct newest *best)
{
	ext2_ino_t boot;

	memset(best, 0, sizeof(*best));
	if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, "/boot", &boot) == 0)
		(void)ext2fs_dir_iterate2(fs, boot, 0, NULL, look_at_entry, best);
}

static int take_kernel(ext2_filsys fs, struct boot_disk *out, uint64_t initrd_max, struct err *e)
{
	struct newest best;

	strcpy(out->kernel_name, "/vmlinuz");
	strcpy(out->initrd_name, "/initrd.img");
	out->kernel_fd = take_file(fs, out->kernel_name, BOOT_DISK_KERNEL_MAX, e);
	if (out->kernel_fd >= 0) {
		out->initrd_fd = take_file(fs, out->initrd_name, initrd_max, e);
		return out->initrd_fd == -ENOENT ? 0 : MIN(out->initrd_fd, 0);
	}
	if (out->kernel_fd != -ENOENT)
		return out->kernel_fd;
	find_newest(fs, &best);
	if (!best.version[0])
		return -ENOENT;
	snprintf(out->kernel_name, sizeof(out->kernel_name), "/boot/vmlinuz-%s", best.version);
	out->kernel_fd = take_file(fs, out->kernel_name, BOOT_DISK_KERNEL_MAX, e);
	for (unsigned i = 0; i < 2 && out->kernel_fd >= 0; i++) {
		snprintf(out->initrd_name, sizeof(out->initrd_name),
			 i ? "/boot/initramfs-%s.img" : "/boot/initrd.img-%s", best.version);
		out->initrd_fd = take_file(fs, out->initrd_name, initrd_max, e);
		if (out->initrd_fd != -ENOENT)
			return MIN(out->initrd_fd, 0);
	}
	return MIN(out->kernel_fd, 0);
}

static void take_cmdline(ext2_filsys fs, struct boot_disk *out)
{
	_autoclose int fd = take_file(fs, "/etc/kernel/cmdline", sizeof(out->cmdline) - 1, NULL);
	ssize_t n = fd < 0 ? 0 : pread(fd, out->cmdline, sizeof(out->cmdline) - 1, 0);

	out->cmdline[MAX(n, 0)] = '\0';
	out->cmdline[strcspn(out->cmdline, "\r\n")] = '\0';
	for (char *p = out->cmdline; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
}

/* ---- all of it ---- */

/* An initrd can look for a file system by its UUID; a kernel alone cannot. */
static void name_root(struct boot_disk *out, const uint8_t u[16], unsigned number)
{
	if (out->initrd_fd < 0 && !number)
		strcpy(out->root, "root=/dev/vda");
	else if (out->initrd_fd < 0)
		snprintf(out->root, sizeof(out->root), "root=/dev/vda%u", number);
	else
		snprintf(out->root, sizeof(out->root),
			 "root=UUID=%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11],
			 u[12], u[13], u[14], u[15]);
}

static int try_part(struct boot_disk *out, int fd, const struct part *p, uint64_t initrd_max,
		    struct err *e)
{
	ext2_filsys fs;
	char name[64];
	int r;

	snprintf(name, sizeof(name), "%d:%llu:%llu", fd, (unsigned long long)p->start,
		 (unsigned long long)p->size);
	if (ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, &range_manager, &fs))
		return err_set(
			e, EIO,
			"the disk's file system is damaged, or has features that are not known");
	r = take_kernel(fs, out, initrd_max, e);
	if (out->initrd_fd < 0) {
		out->initrd_fd = -1;
		out->initrd_name[0] = '\0';
	}
	if (r == 0) {
		take_cmdline(fs, out);
		name_root(out, fs->super->s_uuid, p->number);
	}
	(void)ext2fs_close(fs);
	if (r < 0)
		boot_disk_close(out);
	return r;
}

static int disk_size(int fd, uint64_t *size)
{
	off_t end = lseek(fd, 0, SEEK_END); /* a file and a block device alike */

	*size = end > 0 ? (uint64_t)end : 0;
	return end < 0 ? -errno : 0;
}

int boot_disk_open(struct boot_disk *out, int fd, uint64_t initrd_max, struct err *e)
{
	struct part part[PARTS_MAX + 1];
	struct err first = {0};
	unsigned n, systems = 0;
	uint64_t size;
	int r;

	*out = (struct boot_disk){.kernel_fd = -1, .initrd_fd = -1};
	r = disk_size(fd, &size);
	if (r < 0)
		return err_errno(e, -r, "cannot find out the size of the disk");
	n = find_parts(fd, size, part);
	for (unsigned i = 0; i < n; i++) {
		if (!has_magic(fd, &part[i]))
			continue;
		systems++;
		r = try_part(out, fd, &part[i], initrd_max, &first);
		if (r == 0)
			return 0;
	}
	if (first.code)
		return err_set(e, first.code, "%s", first.msg);
	if (!systems)
		err_set(e, ENOENT,
			"the disk has no ext4 file system to take a kernel from: give one by --kernel");
	else
		err_set(e, ENOENT,
			"the disk's file system has no kernel (/vmlinuz or /boot/vmlinuz-*): give one by --kernel");
	return -ENOENT;
}

void boot_disk_close(struct boot_disk *d)
{
	base_close_fd(&d->kernel_fd);
	base_close_fd(&d->initrd_fd);
}
