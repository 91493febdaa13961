/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - lodged: looks after VMs.
 *
 * The start-up story:
 *   1. Settings, the state folder, and its lock: a second daemon of the same state is refused and told whose it is.
 *   2. The state (SQLite), brought up to date if it is of an older lodged.
 *   3. The socket, beside the folders of the VMs. One that was left by a killed daemon is replaced: the lock says that it is. If
 *      the settings want it, a group reaches it too, and TCP is listened on, with TLS (listen.c).
 *   4. What runs is found and watched, what is to run is started.
 *   5. READY=1 to the service manager, if there is one; then the loop, until SIGTERM or SIGINT. VMs go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/api.h"
#include "daemon/listen.h"
#include "daemon/tls.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/opt.h"

#define EXIT_USAGE 2
#define LOOK_NS (100 * CLOCK_NS_PER_MS)

struct daemon {
	struct settings set;
	struct loop *loop;
	struct store *store;
	struct vms *vms;
	struct api *api;
	struct tls *tls;
	int lock, listen, tcp, signals;
	struct listen_place place;
	struct loop_timer look; /* whether our socket is still there */
	bool failed;
	struct loop_fd *w_signals;
	char lodge[PATH_MAX];
};

/* ---- 1. ---- */

static int make_folders(char *path, struct err *e)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_errno(e, errno, "cannot make the folder \"%s\"", path);
		*p = c;
		if (!c)
			return 0;
	}
}

/* A lock of the process (F_SETLK), which a child that was just forked does not share: it ends with us, whenever that is. */
static int take_lock(struct daemon *d, const char *folder, struct err *e)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX + 8];
	int r;

	snprintf(path, sizeof(path), "%s/lock", folder);
	d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->lock < 0)
		return err_errno(e, errno, "cannot open \"%s\"", path);
	if (fcntl(d->lock, F_SETLK, &l) == 0)
		return 0;
	r = errno;
	if (r != EAGAIN && r != EACCES)
		return err_errno(e, r, "cannot lock \"%s\"", path);
	(void)fcntl(d->lock, F_GETLK, &l);
	return err_set(e, EBUSY, "lodged runs already with the state in \"%s\" (process %d)",
		       folder, l.l_type == F_UNLCK ? 0 : (int)l.l_pid);
}

static int open_state(struct daemon *d, struct err *e)
{
	char folder[PATH_MAX], path[PATH_MAX + 16];
	struct stat st;
	int r = settings_state_folder(folder, e);

	if (r == 0)
		r = make_folders(folder, e);
	if (r == 0 && (stat(folder, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)))
		r = err_set(e, EACCES, "the folder \"%s\" must be yours, and closed to others",
			    folder);
	if (r == 0)
		r = take_lock(d, folder, e);
	snprintf(path, sizeof(path), "%s/state.db", folder);
	return r == 0 ? store_open(&d->store, path, e) : r;
}

/* ---- 3. ---- */

static int make_sockets(struct daemon *d, struct err *e)
{
	struct err why = {0};
	int r;

	d->listen = listen_local(d->set.group, &d->place, e);
	if (d->listen < 0)
		return d->listen;
	if (!*d->set.listen)
		return 0;
	r = tls_create(&d->tls, d->set.certificate, d->set.key, d->set.client_ca, &why);
	/* The VMs of this host are not left alone for that: it comes by itself, in the night. */
	if (r == -EKEYEXPIRED) {
		log_error("%s; until lodged is started again, there is the unix socket only",
			  why.msg);
		return 0;
	}
	if (r < 0)
		return err_set(e, why.code, "%s", why.msg);
	d->tcp = listen_tcp(d->set.listen, e);
	return MIN(d->tcp, 0);
}

/* sd_notify(3), without its library: a datagram to $NOTIFY_SOCKET. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_autoclose int fd = -1;
	size_t len = path ? strlen(path) : 0;

	if (!len || len >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, len);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

/* ---- the socket, when somebody removes it ---- */

static void look(void *ctx)
{
	struct daemon *d = ctx;
	struct err e = {0};
	int fd, r;

	if (listen_is_there(&d->place))
		return;
	fd = listen_local(d->set.group, &d->place, &e);
	r = fd < 0 ? fd : api_listen_again(d->api, fd);
	if (r == 0) {
		close(d->listen);
		d->listen = fd;
		log_warn("somebody has removed our socket: it is made again");
		return;
	}
	/* A service manager starts us again, which no VM notices. */
	log_error("somebody has removed our socket, and it cannot be made again: %s", e.msg);
	base_close_fd(&fd);
	d->failed = true;
	loop_stop(d->loop);
}

/* ---- signals ---- */

static void signal_ready(void *ctx, int fd, uint32_t events)
{
	struct daemon *d = ctx;
	struct signalfd_siginfo info;

	(void)events;
	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	if (info.ssi_signo != SIGIO)
		loop_stop(d->loop);
	else if (!loop_timer_armed(&d->look)) /* who removes one file removes the others next */
		(void)loop_timer_set(&d->look, clock_ns() + LOOK_NS);
}

static int watch_signals(struct daemon *d, struct err *e)
{
	sigset_t set;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	loop_timer_init(&d->look, d->loop, look, d);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = d->signals < 0 ?
		    -errno :
		    loop_fd_add(d->loop, d->signals, EPOLLIN, signal_ready, d, &d->w_signals);
	return r < 0 ? err_errno(e, -r, "cannot wait for signals") : 0;
}

/* The program `lodge`, beside this one or in ../bin. */
static int find_lodge(struct daemon *d, struct err *e)
{
	static const char *const places[] = {"lodge", "../bin/lodge", "../../bin/lodge"};
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return err_errno(e, errno, "cannot find out where this program is");
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		if ((size_t)snprintf(d->lodge, sizeof(d->lodge), "%s/%s", self, places[i]) <
			    sizeof(d->lodge) &&
		    access(d->lodge, X_OK) == 0)
			return 0;
	return err_set(e, ENOENT, "the program lodge is not beside lodged in \"%s\"", self);
}

static int run(struct daemon *d, struct err *e)
{
	struct vms_calls calls = {.operation_changed = api_operation_changed,
				  .operation_ended = api_operation_ended,
				  .vm_changed = api_vm_changed,
				  .vm_ended = api_vm_ended};
	int r = settings_load(&d->set, e);

	if (r == 0)
		r = find_lodge(d, e);
	if (r == 0)
		r = open_state(d, e);
	if (r == 0)
		r = loop_create(&d->loop, e);
	if (r == 0)
		r = watch_signals(d, e);
	if (r == 0)
		r = make_sockets(d, e);
	if (r == 0)
		r = api_create(&d->api, d->loop, &d->set, d->listen, d->tcp, d->tls, e);
	calls.ctx = d->api;
	if (r == 0)
		r = vms_create(&d->vms, d->loop, d->store, &d->set, d->lodge, &calls, e);
	if (r == 0)
		r = api_serve(d->api, d->vms, d->store, e);
	if (r < 0)
		return r;
	log_info("ready");
	notify("READY=1");
	loop_run(d->loop);
	notify("STOPPING=1");
	return d->failed ? -EIO : 0; /* and it was said why */
}

int main(int argc, char **argv)
{
	static struct daemon d = {
		.lock = -1, .listen = -1, .tcp = -1, .signals = -1, .place = {.dir = -1}};
	struct err e = {0};
	int r;

	log_init("lodged", NULL);
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		puts("lodged " LODGE_VERSION);
		return 0;
	}
	if (argc != 1) {
		fputs("usage: lodged\n\nLooks after VMs. Settings are in lodged.conf: see docs/lodged.md.\n",
		      argc == 2 && !strcmp(argv[1], "--help") ? stdout : stderr);
		return argc == 2 && !strcmp(argv[1], "--help") ? 0 : EXIT_USAGE;
	}
	umask(077);
	unsetenv("LODGE_HOST"); /* the programs that we start work here */
	r = run(&d, &e);
	if (r < 0 && e.code)
		log_error("%s", e.msg);
	vms_destroy(d.vms);
	api_destroy(d.api);
	loop_fd_del(d.w_signals);
	if (d.loop)
		loop_timer_cancel(&d.look);
	loop_destroy(d.loop);
	store_close(d.store);
	base_close_fd(&d.signals);
	base_close_fd(&d.listen);
	base_close_fd(&d.place.dir);
	base_close_fd(&d.tcp);
	tls_destroy(d.tls);
	base_close_fd(&d.lock);
	return r < 0;
}
