/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - lodge-vm: the process of one virtual machine.
 *
 * The start-up story:
 *   1. Arguments: one number, the control socket, and a word about the control group that the process was put into.
 *      Everything else comes through the socket.
 *   2. Close every descriptor but stdin, stdout, stderr and that one. Its memory is the guest's: it is not dumpable.
 *   3. Receive the configuration and the open files in one message, from who started it.
 *   4. Lock in (sandbox/sandbox.h). What cannot be had afterwards is made just before: the rings for disks, the clock's scale. From here on
 *      nothing can be opened; what the guest, an image, a kernel file or a client brings is looked at only now.
 *   5. Build: memory, board, kernel, engine (machine_create()). From here on errors go out as the event "error" too.
 *   6. Run the loop, until the machine has ended by itself, by request, by SIGTERM, or because the other end of the
 *      control socket is gone.
 *   7. Take everything down again, in the opposite order, and exit with the status of proto/control.h.
 *
 * Signals: SIGTERM ends the VM like the command "quit"; SIGINT, SIGHUP, SIGPIPE and SIGXFSZ are ignored (a terminal's keys are
 * the business of who has the terminal). The engine handles its own hardware signals.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blk/aio.h"
#include "sandbox/sandbox.h"
#include "util/clock.h"
#include "util/log.h"
#include "virtio/vsock.h"
#include "vm/machine.h"
#include "vm/server.h"

#define EXIT_USAGE 2
#define LAST_WORD_NS \
	CLOCK_NS_PER_S /* how long the event of a failed start may wait for its reader */

/* Limits of the process. */
#define FDS_BASE 512u
#define THREADS_BASE 64u
#define THREADS_PER_DISK 32u	   /* the kernel's workers for io_uring count too */
#define FILE_SIZE_MIN (8192 * GIB) /* what a file system has room for is the host's to limit */

extern const struct sandbox_filter sandbox_filter_vm; /* generated */

struct vm {
	struct vm_config cfg;
	struct config_fds fds;
	int memory_fd[2]; /* for the machine, until it takes them over; -1: none */
	struct sandbox sandbox;
	const char *group; /* for sandbox_config */
	int control_fd;
	int signal_fd;
	struct loop *loop;
	struct loop_fd *signals;
	struct server *server;
	struct machine *machine;
	struct loop_work gone; /* the start connection went away */
	int status;
};

static const char usage_text[] =
	"usage: lodge-vm --control-fd N [GROUP]\n"
	"\n"
	"Runs one virtual machine. Started by lodge, which sends the configuration and the open\n"
	"files over the socket N; not meant to be started by hand. See lodge --help.\n";

/* 1. Returns the descriptor, or exits. */
static int parse_arguments(int argc, char **argv, const char **group)
{
	char *end;
	long fd;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage_text, stdout);
		exit(0);
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("lodge-vm " LODGE_VERSION);
		exit(0);
	}
	if ((argc != 3 && argc != 4) || strcmp(argv[1], "--control-fd") != 0) {
		fputs(usage_text, stderr);
		exit(EXIT_USAGE);
	}
	errno = 0;
	fd = strtol(argv[2], &end, 10);
	if (errno || end == argv[2] || *end || fd < 3 || fd > 65535) {
		log_error("--control-fd takes the number of an open socket, 3 or more");
		exit(EXIT_USAGE);
	}
	*group = argc == 4 ? argv[3] : NULL;
	return (int)fd;
}

/* 2. */
static void close_others(int control_fd)
{
	if (control_fd > 3)
		(void)close_range(3, (unsigned)control_fd - 1, 0);
	(void)close_range((unsigned)control_fd + 1, ~0u, 0);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

/* Descriptors that a machine may have open at once: what it got, its devices' and clients', and some for the hot plug. */
static uint64_t fds_needed(const struct vm_config *c)
{
	uint64_t n = FDS_BASE + VSOCK_CONNS_MAX + 2 * (uint64_t)c->cpus;

	for (unsigned i = 0; i < c->n_nets; i++)
		n += 4 * (uint64_t)c->net[i].queues;
	for (unsigned i = 0; i < c->n_disks; i++)
		n += 2 * (uint64_t)c->disk[i].queues;
	return n;
}

#ifdef LODGE_OWNED /* a build for tests: tests/sandbox/owned.h */
bool owned_without_filter(const struct vm_config *c);
void owned_try(const struct vm_config *c, const struct config_fds *fds, int control_fd);
#else
static bool owned_without_filter(const struct vm_config *c)
{
	(void)c;
	return false;
}

static void owned_try(const struct vm_config *c, const struct config_fds *fds, int control_fd)
{
	(void)c;
	(void)fds;
	(void)control_fd;
}
#endif

/* Files of disks that may want an I/O ring. */
static unsigned uring_files(const struct vm_config *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_disks; i++)
		if (c->disk[i].aio != CONFIG_DISK_THREADS)
			n += c->disk[i].snapshot ? 2 : 1;
	return n;
}

/* The largest disk may double; a state of the machine, or a disk that is plugged in, may be as large as most are. */
static uint64_t file_size_needed(const struct vm *vm)
{
	uint64_t size = FILE_SIZE_MIN;
	struct stat st;

	for (unsigned i = 0; i < vm->cfg.n_disks; i++)
		if (fstat(vm->fds.fd[CONFIG_FD_DISK + i], &st) == 0)
			size = MAX(size, 2 * (uint64_t)st.st_size);
	return size;
}

/* Huge pages for the memory of the software engine's guests; not where a file server gets the memory too, which wants it sealed. */
static void make_memory(void *ctx)
{
	struct vm *vm = ctx;

	if (vm->cfg.engine == CONFIG_ENGINE_SOFT && !vm->cfg.n_shares)
		(void)gmem_open_thp(vm->cfg.memory_bytes, vm->memory_fd);
}

static bool take_memory(void *ctx, int fd[2])
{
	struct vm *vm = ctx;

	for (unsigned i = 0; i < 2; i++) {
		fd[i] = vm->memory_fd[i];
		vm->memory_fd[i] = -1;
	}
	return fd[0] >= 0;
}

/* 4. */
static int lock_in(struct vm *vm, struct err *e)
{
	const struct vm_config *c = &vm->cfg;
	const struct sandbox_config sc = {.filter = &sandbox_filter_vm,
					  .group = vm->group,
					  .max_fds = fds_needed(c),
					  .max_threads = THREADS_BASE + c->cpus +
							 THREADS_PER_DISK * (uint64_t)c->n_disks,
					  .max_file = file_size_needed(vm),
					  .prepare = make_memory,
					  .ctx = vm,
					  .trap = c->sandbox == CONFIG_SANDBOX_TRACE};

	if (c->sandbox == CONFIG_SANDBOX_OFF) {
		make_memory(vm);
		sandbox_none(&vm->sandbox, "--sandbox off");
		return 0;
	}
	aio_prepare(uring_files(c));
	sandbox_isolate(&vm->sandbox, &sc);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a change of user has cleared it */
	if (!owned_without_filter(c))
		sandbox_seal(&vm->sandbox, &sc);
	return c->sandbox == CONFIG_SANDBOX_STRICT ? sandbox_missing(&vm->sandbox, e) : 0;
}

static json_t *tell_sandbox(void *ctx)
{
	return sandbox_json(&((struct vm *)ctx)->sandbox);
}

static const struct engine_class *find_engine(const struct vm_config *cfg, struct err *e)
{
	const char *name = config_engine_names[cfg->engine];

	for (unsigned i = 0; engine_list[i]; i++)
		if (strcmp(engine_list[i]->name, name) == 0)
			return engine_list[i];
	err_set(e, ENOTSUP, "this build of Lodge has no engine \"%s\"", name);
	err_field(e, "engine", name);
	err_hint(e, "use --engine soft");
	return NULL;
}

/* ---- what happens on the loop ---- */

static void machine_event(void *ctx, enum control_event ev, json_t *details)
{
	server_event(((struct vm *)ctx)->server, ev, details);
}

static void machine_ended(void *ctx, int status)
{
	struct vm *vm = ctx;

	vm->status = status;
	loop_stop(vm->loop);
}

static void quit(void *ctx)
{
	struct vm *vm = ctx;

	if (!vm->machine)
		loop_stop(vm->loop);
	else
		(void)machine_quit(vm->machine, NULL);
}

static void connection_gone(void *ctx)
{
	struct vm *vm = ctx;

	loop_post(vm->loop, &vm->gone);
}

static void signal_ready(void *ctx, int fd, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		quit(ctx);
}

static int watch_signals(struct vm *vm, struct err *e)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t term;
	int r;

	/* seccomp vm: rt_sigaction, signalfd4 */
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL); /* a limit on file sizes: the write fails */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL); /* threads inherit it */
	vm->signal_fd = signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK);
	r = vm->signal_fd < 0 ?
		    -errno :
		    loop_fd_add(vm->loop, vm->signal_fd, EPOLLIN, signal_ready, vm, &vm->signals);
	return r < 0 ? err_errno(e, -r, "cannot wait for signals") : 0;
}

/* ---- life ---- */

/* 3. to 6. */
static int run(struct vm *vm, struct err *e)
{
	static const struct machine_owner calls = {.event = machine_event,
						   .ended = machine_ended,
						   .sandbox = tell_sandbox,
						   .memory = take_memory};
	struct machine_owner owner = calls;
	const struct engine_class *engine;
	int r;

	owner.ctx = vm;
	r = control_recv_start(vm->control_fd, &vm->cfg, &vm->fds, CONTROL_WAIT_FOREVER, e);
	if (r < 0)
		return r;
	log_init("lodge-vm", vm->cfg.name);
	r = lock_in(vm, e);
	if (r < 0)
		return r;
	owned_try(&vm->cfg, &vm->fds, vm->control_fd);
	engine = find_engine(&vm->cfg, e);
	if (!engine)
		return -ENOTSUP;
	r = loop_create(&vm->loop, e);
	if (r == 0)
		r = watch_signals(vm, e);
	if (r == 0)
		r = server_create(&vm->server, vm->loop, vm->control_fd, connection_gone, vm, e);
	if (r == 0)
		r = machine_create(&vm->machine, vm->loop, &vm->cfg, &vm->fds, engine, &owner, e);
	if (r == 0)
		server_serve(vm->server, vm->machine);
	for (int i = CONFIG_FD_CONTROL_LISTEN; r == 0 && i <= CONFIG_FD_CONTROL_EXTRA; i++)
		if (vm->fds.fd[i] >= 0)
			r = server_listen(vm->server, vm->fds.fd[i], e);
	if (r == 0)
		r = machine_start(vm->machine, e);
	if (r == 0)
		loop_run(vm->loop);
	machine_destroy(vm->machine); /* while `owner` is there */
	vm->machine = NULL;
	return r;
}

/* The start failed: tells the reason to whoever reads it, the socket's peer or the operator. */
static void report(struct vm *vm, const struct err *e)
{
	_autojson json_t *event = control_event(CONTROL_EV_ERROR, control_error_json(e));
	int r;

	r = control_send(vm->control_fd, event, NULL, 0, clock_ns() + LAST_WORD_NS, NULL);
	if (r < 0)
		log_error("%s", e->msg);
}

int main(int argc, char **argv)
{
	struct vm vm = {.control_fd = -1, .signal_fd = -1};
	struct err e = {0};

	clock_tsc_begin();
	log_init("lodge-vm", NULL);
	vm.control_fd = parse_arguments(argc, argv, &vm.group);
	close_others(vm.control_fd);
	config_init(&vm.cfg);
	config_fds_init(&vm.fds);
	vm.memory_fd[0] = vm.memory_fd[1] = -1;
	loop_work_init(&vm.gone, quit, &vm);

	if (run(&vm, &e) < 0) {
		report(&vm, &e);
		vm.status = MACHINE_EXIT_ERROR;
	}

	/* 7. */
	server_destroy(vm.server);
	loop_fd_del(vm.signals);
	if (vm.loop)
		loop_unpost(vm.loop, &vm.gone);
	loop_destroy(vm.loop);
	base_close_fd(&vm.signal_fd);
	config_fds_close(&vm.fds);
	base_close_fd(&vm.control_fd);
	return vm.status;
}
