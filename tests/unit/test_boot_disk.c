/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_boot_disk.c - kernels out of disks: whole disks, MBR and GPT partitions, links and versions; nothing to find; and
 * disks with random damage, which must end in an answer. The file systems are made by mke2fs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/boot_disk.h"

#define FS_SIZE (4u << 20)
#define PART_AT (1u << 20)
#define DISK_SIZE (8u << 20)
#define DAMAGES 400u

static char dir[] = "/tmp/lodge-boot-disk.XXXXXX";

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int shell(const char *format, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	return system(command);
}

/* A file system of the tree that the commands make, as a memfd of FS_SIZE bytes. */
static int make_fs(const char *commands)
{
	char path[64];
	FILE *f;
	int fd = memfd_create("fs", 0);
	char *buf = malloc(FS_SIZE);

	assert_int_equal(
		shell("rm -rf %s/tree %s/fs && mkdir -p %s/tree/boot %s/tree/etc && cd %s/tree && %s",
		      dir, dir, dir, dir, dir, commands),
		0);
	assert_int_equal(
		shell("PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -U 01234567-89ab-cdef-0123-456789abcdef "
		      "-d %s/tree %s/fs %uk",
		      dir, dir, FS_SIZE / 1024),
		0);
	snprintf(path, sizeof(path), "%s/fs", dir);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(buf, 1, FS_SIZE, f), FS_SIZE);
	fclose(f);
	assert_int_equal(write(fd, buf, FS_SIZE), FS_SIZE);
	free(buf);
	return fd;
}

static void expect(int fd, const char *text)
{
	char buf[64] = {0};

	assert_true(pread(fd, buf, sizeof(buf) - 1, 0) > 0);
	assert_string_equal(buf, text);
}

static const char debian[] =
	"echo -n old >boot/vmlinuz-6.1.0-9-amd64; echo -n new >boot/vmlinuz-6.1.0-10-amd64;"
	"echo -n oldrd >boot/initrd.img-6.1.0-9-amd64; echo -n newrd >boot/initrd.img-6.1.0-10-amd64;";

static void newest_version(void **state)
{
	struct boot_disk d;
	struct err e = {0};
	int fd = make_fs(debian);

	(void)state;
	if (boot_disk_open(&d, fd, 1 << 20, &e) < 0)
		fail_msg("%s", e.msg);
	expect(d.kernel_fd, "new"); /* 10 is newer than 9 */
	expect(d.initrd_fd, "newrd");
	assert_string_equal(d.kernel_name, "/boot/vmlinuz-6.1.0-10-amd64");
	assert_string_equal(d.root, "root=UUID=01234567-89ab-cdef-0123-456789abcdef");
	assert_string_equal(d.cmdline, "");
	boot_disk_close(&d);
	close(fd);
}

static void links_decide(void **state)
{
	char commands[1024];
	struct boot_disk d;
	int fd;

	(void)state;
	snprintf(commands, sizeof(commands),
		 "%s ln -s boot/vmlinuz-6.1.0-9-amd64 vmlinuz; ln -s boot/initrd.img-6.1.0-9-amd64 initrd.img;"
		 "mkdir etc/kernel; printf 'quiet\\tsplash\\nmore' >etc/kernel/cmdline",
		 debian);
	fd = make_fs(commands);
	assert_int_equal(boot_disk_open(&d, fd, 1 << 20, NULL), 0);
	expect(d.kernel_fd, "old");
	expect(d.initrd_fd, "oldrd");
	assert_string_equal(d.cmdline, "quiet splash");
	boot_disk_close(&d);
	close(fd);
}

static void without_initrd(void **state)
{
	struct boot_disk d;
	int fd = make_fs("echo -n k >vmlinuz");

	(void)state;
	assert_int_equal(boot_disk_open(&d, fd, 1 << 20, NULL), 0);
	expect(d.kernel_fd, "k");
	assert_int_equal(d.initrd_fd, -1);
	assert_string_equal(d.root, "root=/dev/vda");
	boot_disk_close(&d);
	close(fd);
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/* A disk with one partition at PART_AT that holds the file system. */
static int make_disk(int fs, bool gpt)
{
	uint8_t *disk = calloc(1, DISK_SIZE), *entry;
	int fd = memfd_create("disk", 0);

	assert_int_equal(pread(fs, disk + PART_AT, FS_SIZE, 0), FS_SIZE);
	disk[510] = 0x55;
	disk[511] = 0xaa;
	entry = disk + 446;
	entry[4] = gpt ? 0xee : 0x83;
	put32(entry + 8, gpt ? 1 : PART_AT / 512);
	put32(entry + 12, gpt ? DISK_SIZE / 512 - 1 : FS_SIZE / 512);
	if (gpt) {
		memcpy(disk + 512, "EFI PART", 8);
		put32(disk + 512 + 72, 2);
		put32(disk + 512 + 80, 128);
		put32(disk + 512 + 84, 128);
		entry = disk + 1024 + 128; /* the second; the first is not used */
		memset(entry, 0x77, 16);
		put32(entry + 32, PART_AT / 512);
		put32(entry + 40, (PART_AT + FS_SIZE) / 512 - 1);
	}
	assert_int_equal(write(fd, disk, DISK_SIZE), DISK_SIZE);
	free(disk);
	return fd;
}

static void partitions(void **state)
{
	int fs = make_fs(debian);

	(void)state;
	for (int gpt = 0; gpt < 2; gpt++) {
		struct boot_disk d;
		int fd = make_disk(fs, gpt);

		assert_int_equal(boot_disk_open(&d, fd, 1 << 20, NULL), 0);
		expect(d.kernel_fd, "new");
		boot_disk_close(&d);
		close(fd);
	}
	close(fs);
}

static void refused(int fd, uint64_t initrd_max, const char *says)
{
	struct boot_disk d;
	struct err e = {0};

	assert_true(boot_disk_open(&d, fd, initrd_max, &e) < 0);
	if (!strstr(e.msg, says))
		fail_msg("%s", e.msg);
	close(fd);
}

static void nothing_to_boot(void **state)
{
	int empty = memfd_create("empty", 0);

	(void)state;
	refused(empty, 1 << 20, "no ext4 file system");
	refused(make_fs("true"), 1 << 20, "no kernel");
	refused(make_fs("mkdir vmlinuz"), 1 << 20, "not a file");
	refused(make_fs(": >vmlinuz"), 1 << 20, "not a file with something");
	refused(make_fs("ln -s vmlinuz vmlinuz"), 1 << 20, "no kernel");
	refused(make_fs("ln -s /nowhere vmlinuz"), 1 << 20, "no kernel");
	refused(make_fs("echo k >vmlinuz; head -c 2000 /dev/zero >initrd.img"), 1999, "more than");
	refused(make_fs("truncate -s 1T vmlinuz"), 1 << 20, "more than");
}

/* Whatever is wrong with a disk, there is an answer. */
static void damage(void **state)
{
	int fs = make_fs(debian), fd = make_disk(fs, true);
	uint8_t *disk = mmap(NULL, DISK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint8_t *good = malloc(DISK_SIZE);
	unsigned found = 0;

	(void)state;
	assert_true(disk != MAP_FAILED);
	memcpy(good, disk, DISK_SIZE);
	srandom(7);
	for (unsigned i = 0; i < DAMAGES; i++) {
		struct boot_disk d;
		struct err e = {0};

		for (unsigned k = 0; k <= (unsigned)random() % 6; k++) {
			/* Tables, superblock and descriptors, or all the metadata at the front. */
			uint64_t at = i % 3 == 0 ? (uint64_t)random() % 2048 :
				      i % 3 == 1 ? PART_AT + 1024 + (uint64_t)random() % 4096 :
						   PART_AT + (uint64_t)random() % (1u << 20);

			disk[at] = (uint8_t)random();
		}
		if (boot_disk_open(&d, fd, 1 << 20, &e) == 0) {
			found++;
			boot_disk_close(&d);
		} else {
			assert_true(e.msg[0] != '\0');
		}
		memcpy(disk, good, DISK_SIZE);
	}
	assert_in_range(found, 1, DAMAGES - 1);
	munmap(disk, DISK_SIZE);
	free(good);
	close(fd);
	close(fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newest_version),  cmocka_unit_test(links_decide),
		cmocka_unit_test(without_initrd),  cmocka_unit_test(partitions),
		cmocka_unit_test(nothing_to_boot), cmocka_unit_test(damage),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	(void)shell("rm -rf %s", dir);
	return r;
}
