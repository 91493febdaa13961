/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runshare.c - shared folders of `lodge run`: options, and virtiofsd, which serves them.
 *
 * The server is a process of its own between the guest and the folder: it opens files by the names that the guest gives it, so it
 * locks itself in (name spaces of its own, the folder as its root). Started by an ordinary user it runs as root of a user name
 * space that has this user only: it can do what the user can, and files that it makes are the user's.
 *
 * It wants a listening socket. That is made in a folder that only we can enter, we connect at once, and the name goes away: nobody
 * else can be its client.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper/run.h"

struct share_words {
	const char *path, *tag;
	bool ro;
};

#define AT(field) offsetof(struct share_words, field)

static const struct opt_def share_keys[] = {
	{"folder", 0, OPT_TEXT, AT(path), "FOLDER", "", 0, 0, NULL},
	{"tag", 0, OPT_TEXT, AT(tag), "NAME", "what the guest mounts (the folder's name)", 0, 0,
	 NULL},
	{"ro", 0, OPT_FLAG, AT(ro), "", "the guest may only read (off)", 0, 0, NULL},
};

void runshare_print_help(FILE *f)
{
	fprintf(f,
		"\n--share FOLDER[,key=value...], or socket=PATH[,...] of a vhost-user file server; keys:\n");
	opt_print_keys(share_keys, ARRAY_SIZE(share_keys), f);
}

static int parse_one(const char *word, struct run_share *s, struct config_share *c, struct err *e)
{
	static const char prefix[] = "socket=";
	struct share_words w = {0};
	char real[PATH_MAX];
	uint64_t given = 0;
	const char *tag;
	int r;

	s->pid = s->fd = -1;
	s->text = strdup(word);
	if (!s->text)
		return err_set(e, ENOMEM, "out of memory");
	r = opt_parse_keys("--share", share_keys, ARRAY_SIZE(share_keys), s->text, &w, &given, e);
	if (r)
		return r;
	s->is_socket = !strncmp(w.path, prefix, sizeof(prefix) - 1);
	s->path = w.path + (s->is_socket ? sizeof(prefix) - 1 : 0);
	if (!*s->path) {
		err_set(e, EINVAL, "--share needs %s",
			s->is_socket ? "the path of a socket" : "a folder");
		return err_field(e, "--share", word);
	}
	tag = w.tag ? w.tag : s->path;
	if (!w.tag && realpath(s->path, real)) /* "." and "x/" have a name, too */
		tag = real;
	if (!w.tag && strrchr(tag, '/') && strrchr(tag, '/')[1])
		tag = strrchr(tag, '/') + 1;
	if (strlen(tag) > CONFIG_TAG_MAX) {
		err_set(e, EINVAL,
			"--share: the tag is longer than %u bytes: give a shorter one by tag=NAME",
			CONFIG_TAG_MAX);
		err_limit(e, "1..%u", CONFIG_TAG_MAX);
		return err_field(e, "--share", word);
	}
	strcpy(c->tag, tag);
	c->read_only = w.ro;
	return 0;
}

int runshare_parse(const struct opt_list *words, struct vm_config *c, struct run_shares *shares,
		   struct err *e)
{
	int r = 0;

	if (words->n > CONFIG_SHARES_MAX) {
		err_set(e, E2BIG, "%u shared folders are too many: a VM has at most %u", words->n,
			CONFIG_SHARES_MAX);
		err_limit(e, "%u", CONFIG_SHARES_MAX);
		return err_field(e, "--share", NULL);
	}
	for (unsigned i = 0; i < words->n && !r; i++) {
		r = parse_one(words->word[i], &shares->share[i], &c->share[i], e);
		shares->n = i + 1;
	}
	c->n_shares = shares->n;
	return r ? r : config_share_check(c, e);
}

/* ---- the server ---- */

/* Where distributions have it; QEMU's own was replaced by one in Rust, whose options have other names. */
static const struct {
	const char *path;
	bool rust;
} servers[] = {
	{"/usr/libexec/virtiofsd", true},
	{"/usr/lib/virtiofsd", true},
	{"/usr/lib/qemu/virtiofsd", false},
	{"/usr/libexec/qemu/virtiofsd", false},
};

static int find_server(unsigned *which, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
		if (access(servers[i].path, X_OK) == 0) {
			*which = i;
			return 0;
		}
	}
	err_set(e, ENOENT, "--share needs the program virtiofsd, which is not installed here");
	err_hint(e, "install the package qemu-system-common (Debian 12) or virtiofsd (Debian 13)");
	return err_field(e, "--share", NULL);
}

static int connect_to(const struct sockaddr_un *a)
{
	int r, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
		return fd;
	r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

/* A listening socket without a name, and a connection to it. */
static int make_sockets(int *listening, int *connected, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char folder[] = "/tmp/lodge-share.XXXXXX";
	int r = 0;

	if (!mkdtemp(folder))
		return err_errno(e, errno, "cannot make a folder in /tmp for a socket");
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", folder);
	*listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listening < 0 || bind(*listening, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(*listening, 1) < 0)
		r = -errno;
	if (r == 0) {
		*connected = connect_to(&a);
		r = MIN(*connected, 0);
	}
	unlink(a.sun_path);
	rmdir(folder);
	return r ? err_errno(e, -r, "cannot make a socket for the file server") : 0;
}

static int start_server(struct run_share *s, struct err *e)
{
	bool root = geteuid() == 0;
	char name[] = "virtiofsd", fd_opt[] = "--fd=3", o[] = "-o", level[] = "log_level=err",
	     rlimit[] = "--rlimit-nofile=0", rust_level[] = "--log-level=error";
	_autofree char *source = NULL;
	_autoclose int listening = -1;
	char real[PATH_MAX], *argv[12] = {name, fd_opt};
	unsigned which, k = 2;
	struct stat st;
	int fd = -1, r;

	if (!realpath(s->path, real) || stat(real, &st) < 0) {
		r = err_errno(e, errno, "cannot share \"%.200s\"", s->path);
		err_field(e, "--share", s->path);
		return r;
	}
	if (!S_ISDIR(st.st_mode)) {
		err_set(e, ENOTDIR, "cannot share \"%.200s\": it is not a folder", s->path);
		return err_field(e, "--share", s->path);
	}
	r = find_server(&which, e);
	if (r)
		return r;
	if (!servers[which].rust && strchr(real, ',')) { /* its -o has no way to say that */
		err_set(e, EINVAL,
			"cannot share \"%.200s\": virtiofsd takes no folder with a comma in its name",
			s->path);
		return err_field(e, "--share", s->path);
	}
	if (asprintf(&source, servers[which].rust ? "--shared-dir=%s" : "source=%s", real) < 0)
		return err_set(e, ENOMEM, "out of memory");
	if (servers[which].rust) {
		argv[k++] = source;
		argv[k++] = rust_level;
	} else {
		argv[k++] = o;
		argv[k++] = source;
		argv[k++] = o;
		argv[k++] = level;
	}
	if (!root)
		argv[k++] = rlimit;
	argv[k] = NULL;
	r = make_sockets(&listening, &fd, e);
	if (r == 0)
		r = launch_path(servers[which].path, argv, &listening, 1,
				root ? LAUNCH_PLAIN : LAUNCH_OWN_USER, &s->pid, e);
	if (r == 0) {
		s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd;
	}
	base_close_fd(&fd);
	return r;
}

static int connect_server(const struct run_share *s, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int r;

	if (strlen(s->path) >= sizeof(a.sun_path)) {
		err_set(e, ENAMETOOLONG,
			"--share: the path of the socket is too long: at most %zu bytes",
			sizeof(a.sun_path) - 1);
		return err_field(e, "--share", s->path);
	}
	strcpy(a.sun_path, s->path);
	r = connect_to(&a);
	if (r >= 0)
		return r;
	err_errno(e, -r, "cannot connect to the file server's socket \"%.200s\"", s->path);
	err_field(e, "--share", s->path);
	return r;
}

int runshare_open(struct run_shares *shares, struct config_fds *fds, struct err *e)
{
	for (unsigned i = 0; i < shares->n; i++) {
		struct run_share *s = &shares->share[i];
		int fd = s->is_socket ? connect_server(s, e) : start_server(s, e);

		if (fd < 0)
			return fd;
		fds->fd[CONFIG_FD_SHARE + i] = fd;
	}
	return 0;
}

void runshare_end(struct run_shares *shares)
{
	for (unsigned i = 0; i < shares->n; i++) {
		if (shares->share[i].pid > 0)
			launch_end(shares->share[i].pid);
		base_close_fd(&shares->share[i].fd);
		free(shares->share[i].text);
	}
	shares->n = 0;
}
