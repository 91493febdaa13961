/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_disk.h - takes a kernel, its initrd and its command line out of the file system of a disk, for direct boot.
 *
 * So a guest that upgrades its kernel boots the new one next time, and no firmware or boot loader is needed. The disk is as
 * hostile as a guest can make it: it is read inside of the VM's own process, and nothing in it is trusted.
 */
#ifndef LODGE_BOARD_BOOT_DISK_H
#define LODGE_BOARD_BOOT_DISK_H

#include "util/base.h"
#include "util/err.h"

#define BOOT_DISK_KERNEL_MAX (UINT64_C(256) << 20)
#define BOOT_DISK_NAME_MAX 127u

struct boot_disk {
	int kernel_fd, initrd_fd; /* memfds with the files; initrd -1: the disk has none */
	char kernel_name[BOOT_DISK_NAME_MAX + 1], initrd_name[BOOT_DISK_NAME_MAX + 1];
	char root[64]; /* "root=UUID=...", without an initrd "root=/dev/vda1": where they are from */
	char cmdline[2048]; /* the first line of its /etc/kernel/cmdline, or "" */
};

/*
 * Looks for an ext2, ext3 or ext4 file system on the whole disk and in its partitions (MBR, GPT) that has a kernel:
 * /vmlinuz and /initrd.img, which Debian keeps pointing to the newest, else the newest /boot/vmlinuz-VERSION with its
 * initrd. `fd`: a regular file or a block device, the first disk
 * of the VM, read by whole pages. `initrd_max`: bytes. 0 or -errno with a sentence; *out is
 * to be closed after success only. Any one thread.
 */
int boot_disk_open(struct boot_disk *out, int fd, uint64_t initrd_max, struct err *e);
void boot_disk_close(struct boot_disk *d);

#endif
