/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundisk.c - disks of `lodge run`: options, files, locks.
 *
 * Files are opened and judged here, and locked: the whole file for writing if the VM may write, else for reading. The locks
 * are open file description locks (fcntl(2)): they go with the descriptor to lodge-vm and end when the last copy is closed, so
 * whatever ends a VM also frees its disks. QEMU locks bytes of the same kind, so neither takes an image the other writes to. A
 * block device is opened exclusively, too: one that is mounted is refused.
 *
 * Who holds a lock stands in /proc/PID/fdinfo, as far as this user may look.
 *
 * The format is what the option says, raw if it says nothing. The first bytes are looked at only to refuse an image that is
 * plainly another one, when no format was given.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "keeper/run.h"

#define QUEUES_DEFAULT 4u

struct disk_words {
	const char *file, *id, *serial;
	unsigned format, cache, full, aio, block;
	bool ro, snapshot, changed;
	uint64_t queues, bps, bps_burst, iops, iops_burst;
};

static const char *const formats[] = {"raw", NULL};
static const char *const blocks[] = {"512", "4096", NULL};

#define AT(field) offsetof(struct disk_words, field)

enum {
	KEY_FORMAT = 1,
	KEY_RO,
	KEY_SNAPSHOT,
	KEY_CACHE,
	KEY_FULL,
	KEY_BPS,
	KEY_BPS_BURST,
	KEY_IOPS,
	KEY_IOPS_BURST,
	KEY_QUEUES,
	KEY_SERIAL,
	KEY_BLOCK,
	KEY_AIO,
	KEY_ID,
	KEY_CHANGED
};
/* What the guest sees: not to be chosen at a restore. */
#define KEYS_OF_GUEST                                                                           \
	(BIT(KEY_RO) | BIT(KEY_SNAPSHOT) | BIT(KEY_QUEUES) | BIT(KEY_SERIAL) | BIT(KEY_BLOCK) | \
	 BIT(KEY_ID))
static const struct opt_def disk_keys[] = {
	{"file", 0, OPT_TEXT, AT(file), "FILE", "", 0, 0, NULL},
	{"format", 0, OPT_CHOICE, AT(format), "raw", "what the file is (raw)", 0, 0, formats},
	{"ro", 0, OPT_FLAG, AT(ro), "", "the guest may not write (on for *.iso, else off)", 0, 0,
	 NULL},
	{"snapshot", 0, OPT_FLAG, AT(snapshot), "", "what the guest writes is thrown away (off)", 0,
	 0, NULL},
	{"cache", 0, OPT_CHOICE, AT(cache), "WORD",
	 "writeback: the host's page cache; none: O_DIRECT (writeback)", 0, 0,
	 config_disk_cache_names},
	{"full", 0, OPT_CHOICE, AT(full), "WORD",
	 "no room on the host: pause the VM, or report it to the guest (pause)", 0, 0,
	 config_disk_full_names},
	{"bps", 0, OPT_SIZE, AT(bps), "SIZE", "bytes a second, at most", 1, INT64_MAX, NULL},
	{"bps-burst", 0, OPT_SIZE, AT(bps_burst), "SIZE", "bytes at once after a rest", 1,
	 INT64_MAX, NULL},
	{"iops", 0, OPT_UINT, AT(iops), "N", "requests a second, at most", 1, INT64_MAX, NULL},
	{"iops-burst", 0, OPT_UINT, AT(iops_burst), "N", "requests at once after a rest", 1,
	 INT64_MAX, NULL},
	{"queues", 0, OPT_UINT, AT(queues), "N", "request queues (one a CPU, at most 4)", 1,
	 CONFIG_DISK_QUEUES_MAX, NULL},
	{"serial", 0, OPT_TEXT, AT(serial), "TEXT", "serial number, up to 20 bytes (the name)", 0,
	 0, NULL},
	{"block", 0, OPT_CHOICE, AT(block), "BYTES", "block size: 512 or 4096 (512)", 0, 0, blocks},
	{"aio", 0, OPT_CHOICE, AT(aio), "WORD", "auto, io_uring or threads (auto)", 0, 0,
	 config_disk_aio_names},
	{"id", 0, OPT_TEXT, AT(id), "NAME", "name for `lodge ctl` (disk0, disk1, ...)", 0, 0, NULL},
	{"changed", 0, OPT_FLAG, AT(changed), "",
	 "with --restore: take the file although it was written since (off)", 0, 0, NULL},
};
_Static_assert(ARRAY_SIZE(disk_keys) == KEY_CHANGED + 1, "a number for each key");

void rundisk_print_help(FILE *f)
{
	fprintf(f, "\n--disk FILE[,key=value...]: a raw image or a block device; keys:\n");
	opt_print_keys(disk_keys, ARRAY_SIZE(disk_keys), f);
}

/* ---- words ---- */

static bool is_iso(const char *path)
{
	size_t n = strlen(path);

	return n > 4 && !strcasecmp(path + n - 4, ".iso");
}

static int parse_words(const char *word, struct run_disk *d, struct disk_words *w, uint64_t *given,
		       struct err *e)
{
	int r;

	d->fd = -1;
	d->text = strdup(word);
	if (!d->text)
		return err_set(e, ENOMEM, "out of memory");
	r = opt_parse_keys("--disk", disk_keys, ARRAY_SIZE(disk_keys), d->text, w, given, e);
	d->path = w->file;
	d->format_given = *given & BIT(KEY_FORMAT);
	return r;
}

/* The last part of its path, for messages. */
static void disk_name(struct config_disk *c, const char *path)
{
	const char *slash = strrchr(path, '/');

	err_quote(c->name, sizeof(c->name), slash && slash[1] ? slash + 1 : path);
}

static int parse_one(const char *word, struct run_disk *d, struct config_disk *c, unsigned index,
		     unsigned cpus, struct err *e)
{
	struct disk_words w = {.queues = MIN(cpus, QUEUES_DEFAULT)};
	char id[16], shown[40];
	uint64_t given = 0;
	int r;

	r = parse_words(word, d, &w, &given, e);
	if (r)
		return r;
	if (given & BIT(KEY_CHANGED)) {
		err_set(e, EINVAL, "--disk: changed is for --restore only: leave it out");
		return err_field(e, "--disk", word);
	}
	snprintf(id, sizeof(id), "disk%u", index);
	if (!w.id)
		w.id = id;
	if (!w.serial)
		w.serial = w.id;
	r = config_check_id(w.id, e);
	if (r)
		return err_field(e, "--disk", word);
	if (strlen(w.serial) > CONFIG_DISK_SERIAL_MAX) {
		err_set(e, EINVAL, "--disk serial \"%s\" is too long: at most %u bytes are possible",
			err_quote(shown, sizeof(shown), w.serial), CONFIG_DISK_SERIAL_MAX);
		err_limit(e, "%u bytes", CONFIG_DISK_SERIAL_MAX);
		return err_field(e, "--disk", word);
	}
	if (w.ro && w.snapshot) {
		err_set(e, EINVAL,
			"--disk: ro and snapshot exclude each other: a throw-away disk never writes to its file");
		return err_field(e, "--disk", word);
	}
	strcpy(c->id, w.id);
	strcpy(d->id, w.id);
	strcpy(c->serial, w.serial);
	disk_name(c, w.file);
	c->read_only = given & BIT(KEY_RO) ? w.ro : is_iso(w.file) && !w.snapshot;
	c->snapshot = w.snapshot;
	c->cache = (enum config_disk_cache)w.cache;
	c->full = (enum config_disk_full)w.full;
	c->aio = (enum config_disk_aio)w.aio;
	c->queues = (unsigned)w.queues;
	c->block = w.block ? 4096 : 512;
	c->limits = (struct config_disk_limits){w.bps, w.bps_burst, w.iops, w.iops_burst};
	return 0;
}

/* The file, and what else is the host's, of a disk that was saved. */
static int parse_restored(const char *word, struct run_disk *d, struct config_disk *c, struct err *e)
{
	struct disk_words w = {.cache = c->cache,
			       .full = c->full,
			       .aio = c->aio,
			       .bps = c->limits.bps,
			       .bps_burst = c->limits.bps_burst,
			       .iops = c->limits.iops,
			       .iops_burst = c->limits.iops_burst};
	uint64_t given = 0;
	int r = parse_words(word, d, &w, &given, e);

	if (r)
		return r;
	if (given & KEYS_OF_GUEST) {
		const char *key = disk_keys[__builtin_ctzll(given & KEYS_OF_GUEST)].name;

		err_set(e, EINVAL,
			"--disk: %s cannot be chosen with --restore: the guest has seen it already",
			key);
		err_hint(e, "leave out %s", key);
		return err_field(e, "--disk", word);
	}
	disk_name(c, w.file);
	c->cache = (enum config_disk_cache)w.cache;
	c->full = (enum config_disk_full)w.full;
	c->aio = (enum config_disk_aio)w.aio;
	c->limits = (struct config_disk_limits){w.bps, w.bps_burst, w.iops, w.iops_burst};
	c->changed = w.changed;
	strcpy(d->id, c->id);
	return 0;
}

int rundisk_restore(const struct opt_list *words, struct vm_config *c, struct run_disks *disks,
		    struct err *e)
{
	int r = 0;

	if (words->n != c->n_disks) {
		err_set(e, EINVAL,
			"the saved machine has %u disk%s, and --disk is given %u times: give the file of each, in their order%s%s",
			c->n_disks, c->n_disks == 1 ? "" : "s", words->n,
			c->n_disks ? "; the first was " : "", c->n_disks ? c->disk[0].name : "");
		return err_field(e, "--disk", NULL);
	}
	for (; !r && disks->n < words->n; disks->n++)
		r = parse_restored(words->word[disks->n], &disks->disk[disks->n],
				   &c->disk[disks->n], e);
	return r;
}

int rundisk_parse(const struct opt_list *words, struct vm_config *c, struct run_disks *disks,
		  struct err *e)
{
	int r = 0;

	if (words->n > CONFIG_DISKS_MAX) {
		err_set(e, EINVAL, "--disk is given %u times: a VM has at most %u disks", words->n,
			CONFIG_DISKS_MAX);
		err_limit(e, "%u", CONFIG_DISKS_MAX);
		return err_field(e, "--disk", words->word[CONFIG_DISKS_MAX]);
	}
	for (; !r && disks->n < words->n; disks->n++, c->n_disks++)
		r = parse_one(words->word[disks->n], &disks->disk[disks->n], &c->disk[disks->n],
			      disks->n, c->cpus, e);
	return r;
}

int rundisk_add(const char *word, unsigned index, struct vm_config *c, struct run_disks *disks,
		struct err *e)
{
	disks->n = c->n_disks = 1;
	return parse_one(word, &disks->disk[0], &c->disk[0], index, c->cpus, e);
}

void rundisk_forget(struct run_disks *disks, const char *id)
{
	for (unsigned i = 0; i < disks->n; i++)
		if (!strcmp(disks->disk[i].id, id))
			base_close_fd(&disks->disk[i].fd);
}

void rundisk_end(struct run_disks *disks)
{
	for (unsigned i = 0; i < CONFIG_DISKS_MAX; i++) {
		if (!disks->disk[i].text)
			continue;
		base_close_fd(&disks->disk[i].fd);
		free(disks->disk[i].text);
		disks->disk[i].text = NULL;
	}
	disks->n = 0;
}

void rundisk_keep(struct run_disks *disks, struct config_fds *fds)
{
	for (unsigned i = 0; i < disks->n; i++) {
		disks->disk[i].fd = fds->fd[CONFIG_FD_DISK + i];
		fds->fd[CONFIG_FD_DISK + i] = -1;
	}
}

/* ---- locks ---- */

/* Does this fdinfo file tell of a lock? */
static bool has_lock(int proc_fd, const char *name)
{
	_autoclose int fd = -1;
	char path[32], text[1024];
	ssize_t n;

	snprintf(path, sizeof(path), "fdinfo/%.20s", name);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return strstr(text, "lock:");
}

static bool process_holds(const char *pid, const struct stat *st)
{
	char path[48];
	struct dirent *d;
	struct stat has;
	bool found = false;
	int proc_fd;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s", pid);
	proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && proc_fd >= 0 && !found && (d = readdir(dir)))
		found = d->d_name[0] != '.' && fstatat(dirfd(dir), d->d_name, &has, 0) == 0 &&
			has.st_dev == st->st_dev && has.st_ino == st->st_ino &&
			has_lock(proc_fd, d->d_name);
	if (dir)
		closedir(dir);
	base_close_fd(&proc_fd);
	return found;
}

/* The process that holds a lock on it, as " by process 17 (lodge)"; empty if it cannot be seen. */
static void find_holder(const struct stat *st, char *text, size_t size)
{
	struct dirent *d;
	DIR *dir = opendir("/proc");

	text[0] = '\0';
	while (dir && !text[0] && (d = readdir(dir))) {
		_autoclose int fd = -1;
		char path[48], name[32] = "";
		ssize_t n;

		if (!isdigit((unsigned char)d->d_name[0]) || atoi(d->d_name) == getpid() ||
		    !process_holds(d->d_name, st))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", d->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
		name[n > 0 ? n - 1 : 0] = '\0'; /* without its line break */
		snprintf(text, size, " by process %.10s (%s)", d->d_name, name);
	}
	if (dir)
		closedir(dir);
}

int rundisk_lock(int fd, bool write, const char *path, struct err *e)
{
	struct flock fl = {.l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
	char holder[64], shown[160];
	struct stat st;

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	err_quote(shown, sizeof(shown), path);
	if ((errno != EAGAIN && errno != EACCES) || fstat(fd, &st) < 0) {
		int r = errno;

		/* A file system without locks: nothing to be done, and not a reason to refuse. */
		if (r == ENOLCK || r == EOPNOTSUPP || r == ENOSYS)
			return 0;
		err_errno(e, r, "cannot lock the disk \"%s\"", shown);
		err_field(e, "--disk", path);
		return -r;
	}
	find_holder(&st, holder, sizeof(holder));
	err_set(e, EBUSY, "the disk \"%s\" is in use%s: end that first, or use a copy", shown,
		holder);
	err_field(e, "--disk", path);
	return -EBUSY;
}

/* ---- files ---- */

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return "a directory";
	case S_IFIFO: return "a FIFO";
	case S_IFSOCK: return "a socket";
	case S_IFCHR: return "a character device";
	default: return "something else";
	}
}

/* An image that is plainly not raw; NULL: nothing known. */
static const char *other_format(int fd)
{
	static const struct {
		const char *magic, *name;
		size_t len;
	} known[] = {
		{"QFI\xfb", "qcow2", 4}, {"KDMV", "VMDK", 4},	      {"vhdxfile", "VHDX", 8},
		{"conectix", "VHD", 8},	 {"LUKS\xba\xbe", "LUKS", 6},
	};
	/* Aligned, for O_DIRECT. */
	static uint8_t head[4096] __attribute__((aligned(4096)));
	ssize_t n = pread(fd, head, sizeof(head), 0);

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (n >= 8 && !memcmp(head, known[i].magic, known[i].len))
			return known[i].name;
	return NULL;
}

static int check_file(int fd, const struct run_disk *d, const struct config_disk *c,
		      const struct stat *st, uint64_t *size, struct err *e)
{
	const char *format;
	char shown[160];

	err_quote(shown, sizeof(shown), d->path);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode)) {
		err_set(e, S_ISDIR(st->st_mode) ? EISDIR : EINVAL,
			"the disk \"%s\" is %s, neither a file nor a block device", shown,
			kind_of(st->st_mode));
		return err_field(e, "--disk", d->path);
	}
	*size = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, size) < 0) {
		err_errno(e, errno, "cannot find out how large the disk \"%s\" is", shown);
		return err_field(e, "--disk", d->path);
	}
	if (!*size) {
		err_set(e, EINVAL,
			"the disk \"%s\" is empty: make it as large as it is to be, for example by truncate -s 8G",
			shown);
		return err_field(e, "--disk", d->path);
	}
	if (*size % c->block) {
		err_set(e, EINVAL,
			"the disk \"%s\" has %llu bytes, no multiple of %u: is it a raw image, and whole?",
			shown, (unsigned long long)*size, c->block);
		err_limit(e, "a multiple of %u bytes", c->block);
		return err_field(e, "--disk", d->path);
	}
	format = d->format_given ? NULL : other_format(fd);
	if (format) {
		err_set(e, EINVAL,
			"the disk \"%s\" looks like a %s image, and this version of Lodge reads raw ones: convert it, or say format=raw",
			shown, format);
		err_hint(e, "qemu-img convert -O raw");
		return err_field(e, "--disk", d->path);
	}
	return 0;
}

/* Opens it as it is to be used; a second time for a block device, exclusively. */
static int open_disk(const struct run_disk *d, const struct config_disk *c, bool write,
		     struct stat *st, struct err *e)
{
	int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
		    (c->cache == CONFIG_DISK_NONE ? O_DIRECT : 0);
	int fd = open(d->path, flags | O_NONBLOCK), r;
	char shown[160];

	err_quote(shown, sizeof(shown), d->path);
	if (fd >= 0 && fstat(fd, st) == 0 && S_ISBLK(st->st_mode) && write) {
		close(fd);
		fd = open(d->path, flags | O_NONBLOCK | O_EXCL);
	}
	if (fd >= 0) {
		/* The block layer waits for its I/O. */
		if (fcntl(fd, F_SETFL, flags & ~(O_CLOEXEC | O_NOCTTY)) < 0 || fstat(fd, st) < 0) {
			r = err_errno(e, errno, "cannot look at the disk \"%s\"", shown);
			close(fd);
			return r;
		}
		return fd;
	}
	r = errno;
	if (r == ENOENT)
		err_set(e, r, "there is no disk \"%s\": make one, for example by truncate -s 8G",
			shown);
	else if (write && (r == EACCES || r == EROFS || r == EPERM))
		err_set(e, r,
			"the disk \"%s\" cannot be opened for writing: use ro=on, or snapshot=on",
			shown);
	else if (r == EISDIR)
		err_set(e, r, "the disk \"%s\" is a directory, neither a file nor a block device",
			shown);
	else if (r == ENXIO)
		err_set(e, r, "the disk \"%s\" is neither a file nor a block device", shown);
	else if (r == EBUSY)
		err_set(e, r, "the disk \"%s\" is in use: it is mounted, or part of something",
			shown);
	else if (r == EINVAL && c->cache == CONFIG_DISK_NONE)
		err_set(e, r,
			"the file system of the disk \"%s\" has no direct access: use cache=writeback",
			shown);
	else
		err_errno(e, r, "cannot open the disk \"%s\"", shown);
	if (write && (r == EACCES || r == EROFS || r == EPERM))
		err_hint(e, "use ro=on");
	err_field(e, "--disk", d->path);
	return -r;
}

/* A file that nobody else has, for what is written and thrown away. */
static int open_overlay(uint64_t size, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	char path[512];
	int fd, r;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT) &&
	    (size_t)snprintf(path, sizeof(path), "%s/lodge-XXXXXX", dir) < sizeof(path)) {
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		return fd;
	r = errno;
	base_close_fd(&fd);
	err_errno(e, r, "cannot make a temporary file in \"%.200s\" for a throw-away disk", dir);
	err_hint(e, "set TMPDIR to a folder with room");
	err_field(e, "--disk", NULL);
	return -r;
}

/* Is it one of those that came before? */
static int check_twice(const struct run_disks *disks, unsigned i, bool write, struct err *e)
{
	const struct run_disk *d = &disks->disk[i];
	char shown[160];

	for (unsigned k = 0; k < i; k++) {
		const struct run_disk *o = &disks->disk[k];

		if (o->dev != d->dev || o->ino != d->ino || (!write && !o->write))
			continue;
		err_set(e, EBUSY,
			"the disk \"%s\" is given twice: two disks of a VM cannot write to one file",
			err_quote(shown, sizeof(shown), d->path));
		err_field(e, "--disk", d->path);
		return -EBUSY;
	}
	return 0;
}

int rundisk_open(struct run_disks *disks, const struct vm_config *c, struct config_fds *fds,
		 struct err *e)
{
	for (unsigned i = 0; i < c->n_disks; i++) {
		const struct config_disk *cd = &c->disk[i];
		struct run_disk *d = &disks->disk[i];
		bool write = !cd->read_only && !cd->snapshot;
		int *fd = &fds->fd[CONFIG_FD_DISK + i];
		uint64_t size = 0;
		struct stat st = {0};
		int r;

		*fd = open_disk(d, cd, write, &st, e);
		if (*fd < 0)
			return *fd;
		/* A device is itself under any name. */
		d->dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
		d->ino = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
		d->write = write;
		r = check_file(*fd, d, cd, &st, &size, e);
		if (!r)
			r = check_twice(disks, i, write, e);
		if (!r)
			r = rundisk_lock(*fd, write, d->path, e);
		if (!r && cd->snapshot) {
			fds->fd[CONFIG_FD_OVERLAY + i] = open_overlay(size, e);
			r = MIN(fds->fd[CONFIG_FD_OVERLAY + i], 0);
		}
		if (r)
			return r;
	}
	return 0;
}
