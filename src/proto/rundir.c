/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.c - the folders of the running VMs.
 *
 * Making one: mkdir, open, take the lock, then look whether what is locked still is what has the name. Who removes one holds
 * its lock, so a name that changed in between means: again from the start.
 */
#include "proto/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fdio.h"

#define CREATE_TRIES 200
#define FOLDERS_MS 5000u

void rundir_init(struct rundir *r)
{
	*r = (struct rundir){.dir = -1, .lock = -1};
}

void rundir_close(struct rundir *r)
{
	base_close_fd(&r->lock);
	base_close_fd(&r->dir);
}

/* ---- opening beneath ---- */

/* One name in the folder `dir`; never through a link, never out of it. */
static int open_beneath(int dir, const char *name, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
			       .mode = flags & O_CREAT ? mode : 0,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

	/* Kernels before 5.6, and filters that do not know it: a name without a slash needs no more than this. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM) && !strchr(name, '/') &&
	    strcmp(name, "..") != 0)
		fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	return fd < 0 ? -errno : (int)fd;
}

/* Is it a folder of ours that nobody else writes to, or with `secret` even looks into? */
static int check_folder(int fd, const char *path, bool secret, struct err *e)
{
	mode_t others = secret ? S_IRWXG | S_IRWXO : S_IWGRP | S_IWOTH;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "cannot look at the folder \"%s\"", path);
	if (st.st_uid != geteuid()) {
		err_set(e, EACCES,
			"the folder \"%s\" belongs to user %u and not to you: remove it, or set LODGE_RUN to another one",
			path, (unsigned)st.st_uid);
		return -EACCES;
	}
	if (st.st_mode & others) {
		err_set(e, EACCES,
			"the folder \"%s\" can be %s by others (mode %04o): chmod it to 0700, or set LODGE_RUN to another one",
			path, secret ? "used" : "changed", (unsigned)(st.st_mode & 07777));
		return -EACCES;
	}
	return 0;
}

/* Makes and opens a folder; `path` is for messages and, with dir AT_FDCWD, the place. */
static int make_folder(int dir, const char *name, const char *path, bool secret, struct err *e)
{
	int fd, r;

	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "cannot make the folder \"%s\"", path);
	if (dir == AT_FDCWD) {
		fd = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	} else {
		fd = open_beneath(dir, name, O_RDONLY | O_DIRECTORY, 0);
	}
	if (fd < 0)
		return err_errno(e, -fd, "cannot open the folder \"%s\"", path);
	r = check_folder(fd, path, secret, e);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int base_path(char path[PATH_MAX], struct err *e)
{
	const char *own = getenv("LODGE_RUN"), *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int n;

	if (own && *own)
		n = snprintf(path, PATH_MAX, "%s", own);
	else if (geteuid() == 0)
		n = snprintf(path, PATH_MAX, "/run/lodge");
	else if (xdg && *xdg == '/' && stat(xdg, &st) == 0 && S_ISDIR(st.st_mode) &&
		 st.st_uid == geteuid())
		n = snprintf(path, PATH_MAX, "%s/lodge", xdg);
	else
		n = snprintf(path, PATH_MAX, "/tmp/lodge-%u", (unsigned)geteuid());
	return n < PATH_MAX - 8 ?
		       0 :
		       err_set(e, ENAMETOOLONG,
			       "the path of the run directory is too long: set LODGE_RUN to a shorter one");
}

int rundir_open_base(struct rundir *r, struct err *e)
{
	char path[PATH_MAX], shown[160];
	int got = base_path(path, e);

	rundir_init(r);
	strcpy(r->name, "lodged");
	if (got == 0)
		r->dir = got = make_folder(AT_FDCWD, path, err_quote(shown, sizeof(shown), path),
					   false, e);
	return MIN(got, 0);
}

/* The folder "vms". With !make -ENOENT if there is none. */
static int open_all(bool make, struct err *e)
{
	char path[PATH_MAX], shown[160];
	_autoclose int base = -1;
	struct stat st;
	int r = base_path(path, e);

	if (r)
		return r;
	if (!make && stat(path, &st) < 0 && errno == ENOENT)
		return -ENOENT;
	err_quote(shown, sizeof(shown), path);
	base = make_folder(AT_FDCWD, path, shown, false, e);
	if (base < 0)
		return base;
	strcat(path, "/vms");
	return make_folder(base, "vms", err_quote(shown, sizeof(shown), path), true, e);
}

/* ---- the lock ---- */

static int lock_op(int fd, int cmd, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET};

	return fcntl(fd, cmd, &l) < 0 ? -errno : l.l_type;
}

bool rundir_alive(const struct rundir *r)
{
	/* A shared lock, of one who waits, does not stand against a shared one. */
	return r->lock >= 0 && lock_op(r->lock, F_OFD_GETLK, F_RDLCK) == F_WRLCK;
}

static json_t *read_json(int fd)
{
	_autofree char *text = NULL;
	json_t *j = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    (uint64_t)st.st_size > RUNDIR_INFO_MAX)
		return NULL;
	text = malloc((size_t)st.st_size);
	if (!text || fdio_read(fd, text, (size_t)st.st_size, 0) < 0 ||
	    json_parse(text, (size_t)st.st_size, RUNDIR_INFO_MAX, "the file", &j, NULL) < 0)
		return NULL;
	if (json_is_object(j))
		return j;
	json_decref(j);
	return NULL;
}

json_t *rundir_last_words(const struct rundir *r)
{
	return r->lock < 0 ? NULL : read_json(r->lock);
}

int rundir_write_lock(const struct rundir *r, const json_t *j)
{
	_autofree char *text = json_text(j);

	if (!text)
		return -ENOMEM;
	if (ftruncate(r->lock, 0) < 0)
		return -errno;
	return fdio_write(r->lock, text, strlen(text), 0);
}

static pid_t holder(const struct rundir *r)
{
	_autojson json_t *j = rundir_last_words(r);
	json_int_t pid = json_integer_value(json_object_get(j, "pid"));

	return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

int rundir_keeper(const struct rundir *r)
{
	pid_t pid = holder(r);
	long fd;

	if (!pid)
		return -ESRCH;
	fd = syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	/* It lived when the lock was looked at after the process had been opened: so the number was not yet another's. */
	if (rundir_alive(r) && holder(r) == pid)
		return (int)fd;
	close((int)fd);
	return -ESRCH;
}

static int take_lock(const struct rundir *r)
{
	for (unsigned i = 0; i < CREATE_TRIES; i++) {
		int got = lock_op(r->lock, F_OFD_SETLK, F_WRLCK);

		if (got != -EAGAIN && got != -EACCES)
			return got < 0 ? got : 0;
		if (rundir_alive(r))
			return -EBUSY;
		/* One who waited for the end has it for a moment. */
		poll(NULL, 0, 1);
	}
	return -EBUSY;
}

/* Does `name` still lead to r->dir? */
static bool same_folder(int vms, const char *name, const struct rundir *r)
{
	struct stat a, b;

	return fstat(r->dir, &a) == 0 && fstatat(vms, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int lock_is_there(const struct rundir *r)
{
	struct stat a, b;

	return fstat(r->lock, &a) == 0 && fstatat(r->dir, "lock", &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_ino == b.st_ino;
}

/* ---- life of a folder ---- */

/* `ms`: how long it may take until the processes of a keeper that was killed are gone. */
static void remove_folders(const struct rundir *r, unsigned ms)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
	_autojson json_t *j = rundir_read(r, RUNDIR_FOLDERS_FILE);
	json_t *folder;
	size_t i;

	json_array_foreach(json_object_get(j, RUNDIR_FOLDERS), i, folder)
	{
		const char *path = json_string_value(folder);

		while (path && rmdir(path) < 0 && errno == EBUSY && ms) {
			nanosleep(&pause, NULL);
			ms -= MIN(ms, 5u);
		}
	}
}

void rundir_remove_folders(const struct rundir *r)
{
	remove_folders(r, 0);
}

/* All but the lock. What is not a file or a socket was put there by somebody else, and stays. */
static void clear(const struct rundir *r)
{
	int fd = open_beneath(r->dir, ".", O_RDONLY | O_DIRECTORY, 0);
	struct dirent *d;
	DIR *dir;

	remove_folders(r, FOLDERS_MS);
	if (fd < 0)
		return;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	while ((d = readdir(dir)))
		if (strcmp(d->d_name, ".") && strcmp(d->d_name, "..") && strcmp(d->d_name, "lock"))
			(void)unlinkat(r->dir, d->d_name, 0);
	closedir(dir);
}

static int in_use(const struct rundir *r, struct err *e)
{
	pid_t pid = holder(r);

	if (pid)
		err_set(e, EEXIST,
			"a VM named \"%s\" is running already (process %d): choose another --name, or stop it with `lodge stop %s`",
			r->name, (int)pid, r->name);
	else
		err_set(e, EEXIST,
			"a VM named \"%s\" is running already: choose another --name, or stop it with `lodge stop %s`",
			r->name, r->name);
	err_field(e, "--name", r->name);
	return -EEXIST;
}

/* One try. -EAGAIN: the folder was removed meanwhile. */
static int create_once(int vms, struct rundir *r, bool fresh, struct err *e)
{
	_autojson json_t *who = json_pack("{s:i}", "pid", (int)getpid());
	int got;

	if (mkdirat(vms, r->name, 0700) < 0 && (errno != EEXIST || fresh))
		return errno == EEXIST ?
			       -EEXIST :
			       err_errno(e, errno, "cannot make the folder of \"%s\"", r->name);
	r->dir = open_beneath(vms, r->name, O_RDONLY | O_DIRECTORY, 0);
	if (r->dir == -ENOENT)
		return -EAGAIN;
	if (r->dir < 0)
		return err_errno(e, -r->dir, "cannot open the folder of \"%s\"", r->name);
	r->lock = open_beneath(r->dir, "lock", O_RDWR | O_CREAT, 0600);
	if (r->lock == -ENOENT)
		return -EAGAIN;
	if (r->lock < 0)
		return err_errno(e, -r->lock, "cannot open the lock of \"%s\"", r->name);
	got = take_lock(r);
	if (got == -EBUSY)
		return in_use(r, e);
	if (got < 0)
		return err_errno(e, -got, "cannot lock the folder of \"%s\"", r->name);
	if (!same_folder(vms, r->name, r) || !lock_is_there(r))
		return -EAGAIN;
	clear(r);
	/* For systemd-tmpfiles(8), which leaves alone what is in such a folder: one in /tmp is old some day. */
	(void)flock(r->dir, LOCK_SH | LOCK_NB);
	got = rundir_write_lock(r, who);
	return got < 0 ? err_errno(e, -got, "cannot write the lock of \"%s\"", r->name) : 0;
}

static void find_name(char *name)
{
	uint16_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = (uint16_t)(clock_ns() ^ (uint64_t)getpid());
	sprintf(name, "vm-%04x", v);
}

int rundir_create(struct rundir *r, const char *name, struct err *e)
{
	_autoclose int vms = -1;
	int got = -EAGAIN;

	rundir_init(r);
	if (name && config_check_name(name, e) < 0)
		return -EINVAL;
	vms = open_all(true, e);
	if (vms < 0)
		return vms;
	for (unsigned i = 0; i < CREATE_TRIES; i++) {
		if (name)
			strcpy(r->name, name);
		else
			find_name(r->name);
		got = create_once(vms, r, !name, e);
		if (got == 0)
			return 0;
		rundir_close(r);
		r->dir = r->lock = -1;
		if (got != -EAGAIN && !(got == -EEXIST && !name))
			return got;
	}
	return err_set(e, EBUSY, "cannot make a folder for \"%s\": others keep removing it",
		       r->name);
}

int rundir_open(struct rundir *r, const char *name, struct err *e)
{
	_autoclose int vms = -1;
	char shown[80];

	rundir_init(r);
	if (config_check_name(name, e) < 0)
		return -EINVAL;
	vms = open_all(false, e);
	if (vms < 0 && vms != -ENOENT)
		return vms;
	if (vms >= 0)
		r->dir = open_beneath(vms, name, O_RDONLY | O_DIRECTORY, 0);
	if (r->dir >= 0)
		r->lock = open_beneath(r->dir, "lock", O_RDWR, 0);
	strcpy(r->name, name);
	if (r->dir >= 0 && r->lock >= 0)
		return 0;
	if (r->dir >= 0)
		close(r->dir);
	r->dir = r->lock = -1;
	err_set(e, ESRCH, "there is no VM named \"%s\": `lodge ls` shows those that are there",
		err_quote(shown, sizeof(shown), name));
	err_field(e, "name", name);
	return -ESRCH;
}

int rundir_claim(struct rundir *r, struct err *e)
{
	int got = take_lock(r);

	if (got == 0 && lock_is_there(r))
		return 0;
	if (got == 0)
		return err_set(e, ESRCH, "the VM \"%s\" was removed meanwhile", r->name);
	err_set(e, EBUSY, "the VM \"%s\" is running: stop it first, with `lodge stop %s`", r->name,
		r->name);
	return err_field(e, "name", r->name);
}

void rundir_remove(struct rundir *r)
{
	_autoclose int vms = -1;

	if (r->dir < 0)
		return;
	vms = open_all(false, NULL);
	clear(r);
	(void)unlinkat(r->dir, "lock", 0);
	if (vms >= 0 && same_folder(vms, r->name, r))
		(void)unlinkat(vms, r->name, AT_REMOVEDIR);
}

static void on_alarm(int sig)
{
	(void)sig;
}

int rundir_wait(const struct rundir *r, uint64_t deadline_ns)
{
	struct sigaction sa = {.sa_handler = on_alarm}, old;
	struct itimerval it = {.it_interval = {.tv_usec = 100000}}, none = {0};
	uint64_t now = clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	int got;

	/* Repeated after the deadline: an alarm just before the call would not be seen by it. */
	sigaction(SIGALRM, &sa, &old);
	if (deadline_ns != UINT64_MAX) {
		it.it_value.tv_sec = (time_t)(left / CLOCK_NS_PER_S);
		it.it_value.tv_usec = (suseconds_t)MAX(left % CLOCK_NS_PER_S / 1000, 1u);
		setitimer(ITIMER_REAL, &it, NULL);
	}
	do
		got = lock_op(r->lock, F_OFD_SETLKW, F_RDLCK);
	while (got == -EINTR && clock_ns() < deadline_ns);
	if (got >= 0)
		(void)lock_op(r->lock, F_OFD_SETLK, F_UNLCK);
	setitimer(ITIMER_REAL, &none, NULL);
	sigaction(SIGALRM, &old, NULL);
	return got >= 0 ? 0 : got == -EINTR ? -ETIMEDOUT : got;
}

/* ---- made again ---- */

bool rundir_whole(const struct rundir *r)
{
	_autoclose int vms = open_all(false, NULL);

	return vms >= 0 && same_folder(vms, r->name, r) && lock_is_there(r);
}

bool rundir_stale(const struct rundir *r)
{
	struct stat st;

	return r->lock >= 0 && fstat(r->lock, &st) == 0 && st.st_nlink == 0;
}

int rundir_again(struct rundir *r, int *before, struct err *e)
{
	struct rundir made;
	struct stat a, b;
	int got;

	/* What it names is in use: nobody is to wait for its end. */
	(void)unlinkat(r->dir, RUNDIR_FOLDERS_FILE, 0);
	got = rundir_create(&made, r->name, e);
	if (got == -EEXIST) {
		if (e)
			*e = (struct err){0};
		got = rundir_create(&made, NULL, e);
	}
	if (got < 0)
		return got;
	/* One that was only moved is not to be found a second time. */
	if (fstat(r->dir, &a) == 0 && fstat(made.dir, &b) == 0 &&
	    (a.st_ino != b.st_ino || a.st_dev != b.st_dev)) {
		clear(r);
		(void)unlinkat(r->dir, "lock", 0);
	}
	*before = fcntl(r->lock, F_DUPFD_CLOEXEC, 3);
	got = *before < 0 || dup3(made.dir, r->dir, O_CLOEXEC) < 0 ||
			      dup3(made.lock, r->lock, O_CLOEXEC) < 0 ?
		      -errno :
		      0;
	if (got < 0) {
		rundir_remove(&made);
		base_close_fd(before);
	} else {
		strcpy(r->name, made.name);
	}
	rundir_close(&made);
	return got < 0 ? err_errno(e, -got, "cannot use the folder of \"%s\"", r->name) : 0;
}

/* ---- files ---- */

int rundir_write(const struct rundir *r, const char *file, const json_t *j, struct err *e)
{
	_autofree char *text = json_text(j);
	_autoclose int fd = -1;
	char part[80];
	int got = -ENOMEM;

	snprintf(part, sizeof(part), "%.60s.new", file);
	(void)unlinkat(r->dir, part, 0);
	if (text) {
		fd = open_beneath(r->dir, part, O_WRONLY | O_CREAT | O_EXCL, 0600);
		got = fd < 0 ? fd : fdio_write(fd, text, strlen(text), 0);
	}
	if (got == 0 && renameat(r->dir, part, r->dir, file) < 0)
		got = -errno;
	if (got == 0)
		return 0;
	(void)unlinkat(r->dir, part, 0);
	return err_errno(e, -got, "cannot write \"%s\" of the VM \"%s\"", file, r->name);
}

int rundir_write_end(const struct rundir *r, const json_t *j, struct err *e)
{
	int got = rundir_write(r, "exit.json", j, e);

	(void)rundir_write_lock(r, j);
	return got;
}

json_t *rundir_read(const struct rundir *r, const char *file)
{
	_autoclose int fd = open_beneath(r->dir, file, O_RDONLY | O_NONBLOCK, 0);

	return fd < 0 ? NULL : read_json(fd);
}

/* ---- all ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int rundir_list(char ***names, struct err *e)
{
	int vms = open_all(false, e), n = 0, room = 0;
	char **list = NULL;
	struct dirent *d;
	DIR *dir;

	*names = NULL;
	if (vms == -ENOENT)
		return 0;
	if (vms < 0)
		return vms;
	dir = fdopendir(vms);
	if (!dir) {
		close(vms);
		return err_errno(e, errno, "cannot read the run directory");
	}
	/* First how many, then their names behind the pointers: one allocation. */
	while ((d = readdir(dir)))
		room++;
	list = calloc(1, (size_t)(room + 1) * (sizeof(*list) + CONFIG_NAME_MAX + 1));
	rewinddir(dir);
	while (list && n < room && (d = readdir(dir))) {
		char *text = (char *)(list + room + 1) + (size_t)n * (CONFIG_NAME_MAX + 1);

		if (config_check_name(d->d_name, NULL) < 0)
			continue;
		strcpy(text, d->d_name);
		list[n++] = text;
	}
	closedir(dir);
	if (!list)
		return err_set(e, ENOMEM, "out of memory");
	qsort(list, (size_t)n, sizeof(*list), by_name);
	*names = list;
	return n;
}
