/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmlife.c - pause, resume, stop, start, restart, rm, wait, events: the life of VMs by name.
 *
 * Stop: the power button, the end awaited by the lock of the run directory (no polling), after the time-out "quit", which the VM
 * process obeys whatever its guest does, and when even that does not help SIGKILL to the keeper, with which all of the VM's
 * processes die. So every VM can be stopped, and what is stopped can be removed. For a VM of lodged's, stop, start, restart and rm
 * are requests to lodged: it must know that what it looks after is to be down.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/progress.h"
#include "cli/vm.h"
#include "util/clock.h"
#include "util/fault.h"

#define STOP_SECONDS 30u
#define QUIT_NS (5 * CLOCK_NS_PER_S)
#define PRESS_NS CLOCK_NS_PER_S
#define KILL_NS (5 * CLOCK_NS_PER_S)

static int not_running(const struct rundir *r, struct err *e)
{
	err_set(e, EBUSY, "the VM \"%s\" is not running: `lodge start %s` starts it", r->name,
		r->name);
	return err_field(e, "name", r->name);
}

/* ---- pause, resume ---- */

static const struct opt_def pause_table[] = {VM_OPT_ALL, VM_OPT_END};

void vm_pause_options(FILE *f)
{
	opt_print_help(pause_table, ARRAY_SIZE(pause_table), f);
}

static int pause_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	(void)status;
	return o->all && !rundir_alive(r) ? 0 : vmsock_call(r, CONTROL_PAUSE, NULL, e);
}

static int resume_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	(void)status;
	return o->all && !rundir_alive(r) ? 0 : vmsock_call(r, CONTROL_RESUME, NULL, e);
}

int vm_pause(int argc, char **argv)
{
	static const struct vm_verb verb = {pause_table, ARRAY_SIZE(pause_table),
					    vm_pause,	 true,
					    pause_one,	 NULL,
					    remote_pause};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

int vm_resume(int argc, char **argv)
{
	static const struct vm_verb verb = {pause_table,  ARRAY_SIZE(pause_table),
					    vm_resume,	  true,
					    resume_one,	  NULL,
					    remote_resume};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- stop ---- */

static const struct opt_def stop_table[] = {
	VM_OPT_TIMEOUT("how long the guest may take to shut down, then it is ended (30)"),
	VM_OPT_FORCE("end it at once"), VM_OPT_ALL, VM_OPT_QUIET("say nothing"), VM_OPT_END};

void vm_stop_options(FILE *f)
{
	opt_print_help(stop_table, ARRAY_SIZE(stop_table), f);
}

static int kill_keeper(const struct rundir *r, struct err *e)
{
	_autoclose int keeper = rundir_keeper(r);

	if (keeper >= 0)
		(void)syscall(SYS_pidfd_send_signal, keeper, SIGKILL, NULL, 0);
	if (rundir_wait(r, clock_ns() + KILL_NS) == 0)
		return 0;
	return err_set(e, EIO, "the processes of the VM \"%s\" do not end even when killed",
		       r->name);
}

/* The power button: 1 when it is off, 0 when it was asked in vain. */
static int press(const struct rundir *r, uint64_t seconds, bool quiet, struct err *e)
{
	uint64_t begin_ns = clock_ns(), end_ns = begin_ns + seconds * CLOCK_NS_PER_S;
	struct err inner = {0};
	int got;

	do {
		/* A paused guest does not see the button. It may be off as soon as it is pressed, so nothing is asked behind it. */
		if (vmsock_call(r, CONTROL_RESUME, NULL, &inner) < 0 ||
		    vmsock_call(r, CONTROL_POWERDOWN, NULL, &inner) < 0)
			end_ns = MIN(end_ns,
				     clock_ns() + CLOCK_NS_PER_S); /* perhaps it ends just now */
		got = rundir_wait(r, MIN(end_ns, clock_ns() + PRESS_NS));
		if (got == -ETIMEDOUT && !quiet && progress_live())
			progress_show("%s: the guest shuts down, %llu of at most %llu s", r->name,
				      (unsigned long long)((clock_ns() - begin_ns) / CLOCK_NS_PER_S),
				      (unsigned long long)seconds);
		/* A guest that has not come up yet knows no button: it is pressed again. */
	} while (got == -ETIMEDOUT && clock_ns() < end_ns);
	progress_clear();
	if (got < 0 && got != -ETIMEDOUT)
		return err_errno(e, -got, "cannot wait for the end of \"%s\"", r->name);
	return got == 0;
}

/* Whatever its state is. *how: what it took. */
static int stop_vm(const struct rundir *r, const struct vm_options *o, const char **how,
		   struct err *e)
{
	int got = fault_point("stop", e);

	if (got < 0)
		return got;
	got = o->force ? 0 : press(r, o->timeout_s, o->quiet, e);
	*how = "has shut down";
	if (got != 0)
		return MIN(got, 0);
	*how = o->force ? "was ended" : "did not shut down in time and was ended";
	(void)vmsock_call(r, CONTROL_QUIT, NULL, NULL);
	if (rundir_wait(r, clock_ns() + QUIT_NS) == 0)
		return 0;
	*how = "did not end and was killed";
	return kill_keeper(r, e);
}

static int stop_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	uint64_t begin = clock_ns();
	const char *how;
	int got;

	(void)status;
	if (!rundir_alive(r))
		return o->all ? 0 : not_running(r, e);
	got = stop_vm(r, o, &how, e);
	if (got == 0 && !o->quiet)
		printf("%s: the guest %s (%.1f s)\n", r->name, how,
		       (double)(clock_ns() - begin) / (double)CLOCK_NS_PER_S);
	return got;
}

static int operate(const char *name, const char *verb, const struct vm_options *o, struct err *e)
{
	_autojson json_t *body = json_pack("{s:I, s:b}", "timeout", (json_int_t)o->timeout_s,
					   "force", o->force);

	if (body && o->timeout_s > 86400) /* the API's limit */
		json_object_set_new(body, "timeout", json_integer(86400));
	return body ? daemon_operate(name, verb, body, e) : err_set(e, ENOMEM, "out of memory");
}

/* With --all: is one of lodged's in this state, so that there is nothing to do with it? */
static bool already(const char *name, const struct vm_options *o, const char *state)
{
	_autojson json_t *vm = NULL;
	char path[96];

	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	return o->all && daemon_call("GET", path, NULL, &vm, NULL) == 200 &&
	       !strcmp(json_string_value(json_object_get(vm, "state")) ?: "", state);
}

static int stop_managed(const char *name, const struct vm_options *o, struct err *e)
{
	int got;

	if (already(name, o, "stopped"))
		return 0;
	got = operate(name, "stop", o, e);
	if (got == 0 && !o->quiet)
		printf("%s: stopped\n", name);
	return got;
}

int vm_stop(int argc, char **argv)
{
	static const struct vm_verb verb = {stop_table, ARRAY_SIZE(stop_table), vm_stop, true,
					    stop_one,	stop_managed,		NULL};
	struct vm_options o = {.timeout_s = STOP_SECONDS};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- start, restart ---- */

static const struct opt_def start_table[] = {
	VM_OPT_TIMEOUT("restart: how long the guest may take to shut down (30)"),
	VM_OPT_FORCE("restart: end it at once"), VM_OPT_ALL, VM_OPT_END};

void vm_start_options(FILE *f)
{
	opt_print_help(start_table, ARRAY_SIZE(start_table), f);
}

/* `lodge run` with the words that it was started with, in the folder where it was. */
static int run_again(const json_t *info, int *status, struct err *e)
{
	const json_t *words = json_object_get(info, "words");
	const char *cwd = json_string_value(json_object_get(info, "cwd"));
	size_t n = json_array_size(words);
	_autofree char **argv = calloc(n + 3, sizeof(*argv));
	static char arg0[] = "lodge", arg1[] = "run";
	int wstatus;
	pid_t pid;

	if (!argv)
		return err_set(e, ENOMEM, "out of memory");
	argv[0] = arg0;
	argv[1] = arg1;
	for (size_t i = 0; i < n; i++)
		argv[i + 2] = (char *)(uintptr_t)json_string_value(json_array_get(words, i));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_errno(e, errno, "cannot start a process");
	if (pid == 0) {
		if (!cwd || chdir(cwd) < 0) {
			fprintf(stderr, "lodge: the folder that the VM was started in is gone\n");
			_exit(STATUS_RUNTIME);
		}
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	*status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : STATUS_RUNTIME;
	return 0;
}

static int check_again(const struct rundir *r, json_t **info, struct err *e)
{
	*info = rundir_read(r, "info.json");
	if (json_is_array(json_object_get(*info, "words")) &&
	    json_is_true(json_object_get(*info, "detached")))
		return 0;
	if (*info)
		err_set(e, EBUSY,
			"the VM \"%s\" runs on a terminal: end it there, or reset it by `lodge ctl %s reset`",
			r->name, r->name);
	else
		err_set(e, EBUSY, "of the VM \"%s\" is not known how it was started", r->name);
	return err_field(e, "name", r->name);
}

static int start_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *info = NULL;

	if (rundir_alive(r)) {
		if (o->all)
			return 0;
		err_set(e, EBUSY, "the VM \"%s\" is running already", r->name);
		return err_field(e, "name", r->name);
	}
	return check_again(r, &info, e) < 0 ? -EBUSY : run_again(info, status, e);
}

static int restart_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *info = NULL;
	const char *how;
	int got = check_again(r, &info, e);

	if (got == 0 && rundir_alive(r))
		got = stop_vm(r, o, &how, e);
	return got < 0 ? got : run_again(info, status, e);
}

static int start_managed(const char *name, const struct vm_options *o, struct err *e)
{
	int got;

	if (already(name, o, "running"))
		return 0;
	got = daemon_operate(name, "start", NULL, e);
	if (got == 0)
		puts(name);
	return got;
}

static int restart_managed(const char *name, const struct vm_options *o, struct err *e)
{
	int got = operate(name, "restart", o, e);

	if (got == 0)
		puts(name);
	return got;
}

int vm_start(int argc, char **argv)
{
	static const struct vm_verb verb = {start_table, ARRAY_SIZE(start_table), vm_start, true,
					    start_one,	 start_managed,		  NULL};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

int vm_restart(int argc, char **argv)
{
	static const struct vm_verb verb = {start_table, ARRAY_SIZE(start_table), vm_restart, true,
					    restart_one, restart_managed,	  NULL};
	struct vm_options o = {.timeout_s = STOP_SECONDS};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- rm ---- */

static const struct opt_def rm_table[] = {VM_OPT_FORCE("end it first if it runs"), VM_OPT_ALL,
					  VM_OPT_END};

void vm_rm_options(FILE *f)
{
	opt_print_help(rm_table, ARRAY_SIZE(rm_table), f);
}

static int rm_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	const char *how;
	int got = 0;

	(void)status;
	if (rundir_alive(r) && o->all && !o->force)
		return 0;
	if (rundir_alive(r) && o->force)
		got = stop_vm(r, o, &how, e);
	if (got == 0)
		got = rundir_claim(r, e);
	/* One on a terminal removes itself: then there is nothing left to do. */
	if (got == -ESRCH && o->force)
		return 0;
	if (got == 0)
		rundir_remove(r);
	return got;
}

static int rm_managed(const char *name, const struct vm_options *o, struct err *e)
{
	struct vm_options at_once = {.force = true};
	char path[96];
	int got;

	if (!o->force && already(name, o, "running"))
		return 0;
	if (o->force && operate(name, "stop", &at_once, e) < 0) {
		if (e->code != EBUSY)
			return -e->code;
		*e = (struct err){0}; /* it does not run; if it is busy, what follows says so */
	}
	snprintf(path, sizeof(path), "/1.0/vms/%.64s", name);
	got = daemon_call("DELETE", path, NULL, NULL, e);
	return got == 204 ? 0 : daemon_refused(got, e);
}

int vm_rm(int argc, char **argv)
{
	static const struct vm_verb verb = {rm_table, ARRAY_SIZE(rm_table), vm_rm, true,
					    rm_one,   rm_managed,	    NULL};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- wait ---- */

static const struct opt_def wait_table[] = {
	VM_OPT_TIMEOUT("give up after this time, exit status 124 (never)"), VM_OPT_END};

void vm_wait_options(FILE *f)
{
	opt_print_help(wait_table, ARRAY_SIZE(wait_table), f);
}

static int still_runs(const char *name, const struct vm_options *o, struct err *e)
{
	return err_set(e, ETIMEDOUT, "the VM \"%s\" still runs after %llu s", name,
		       (unsigned long long)o->timeout_s);
}

/* end: how its keeper says that it has ended; NULL, or without a status: it could not. */
static int end_status(const char *name, const json_t *end, int *status, struct err *e)
{
	const json_t *value = json_object_get(end, "status");

	if (!json_is_integer(value))
		return err_set(e, EIO, "the VM \"%s\" ended without a word: its keeper was killed",
			       name);
	*status = (int)(json_integer_value(value) & 0x7f);
	if (json_integer_value(value) == STATUS_INTERRUPTED)
		*status = STATUS_INTERRUPTED;
	return 0;
}

static int wait_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	_autojson json_t *end = NULL;
	uint64_t deadline = o->timeout_s ? clock_ns() + o->timeout_s * CLOCK_NS_PER_S : UINT64_MAX;
	int got = rundir_wait(r, deadline);

	if (got == -ETIMEDOUT)
		return still_runs(r->name, o, e);
	if (got < 0)
		return err_errno(e, -got, "cannot wait for the end of \"%s\"", r->name);
	end = rundir_last_words(r); /* its folder may be gone */
	return end_status(r->name, end, status, e);
}

static int wait_remote(const char *name, const struct vm_options *o, int *status, struct err *e)
{
	uint64_t deadline = o->timeout_s ? clock_ns() + o->timeout_s * CLOCK_NS_PER_S : UINT64_MAX;

	for (;;) {
		_autojson json_t *end = NULL;
		uint64_t now = clock_ns(), left = deadline - MIN(now, deadline);
		char path[96];
		int r;

		/* Rounded up, and at most what the API takes. */
		snprintf(path, sizeof(path), "/1.0/vms/%.64s/end?wait=%llu", name,
			 (unsigned long long)MIN(left / CLOCK_NS_PER_S + (left > 0),
						 UINT64_C(3600)));
		r = daemon_call("GET", path, NULL, &end, e);
		if (r != 200)
			return daemon_refused(r, e);
		if (!json_is_true(json_object_get(end, "running")))
			return end_status(name, end, status, e);
		if (clock_ns() >= deadline)
			return still_runs(name, o, e);
		/* An answer that nobody was made to wait for is not asked for again and again. */
		if (clock_ns() - now < CLOCK_NS_PER_S)
			(void)poll(NULL, 0, (int)MIN(left / CLOCK_NS_PER_MS, UINT64_C(1000)));
	}
}

int vm_wait(int argc, char **argv)
{
	static const struct vm_verb verb = {wait_table, ARRAY_SIZE(wait_table),
					    vm_wait,	false,
					    wait_one,	NULL,
					    wait_remote};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}

/* ---- events ---- */

static const struct opt_def events_table[] = {VM_OPT_END};

void vm_events_options(FILE *f)
{
	opt_print_help(events_table, ARRAY_SIZE(events_table), f);
}

static int events_one(struct rundir *r, const struct vm_options *o, int *status, struct err *e)
{
	_autoclose int fd = vmsock_open(r, e);

	(void)o;
	(void)status;
	if (fd < 0)
		return fd;
	if (control_call(fd, CONTROL_EVENTS, clock_ns() + VMSOCK_ANSWER_NS, NULL, e) < 0)
		return -e->code;
	return ctl_events(fd, e);
}

int vm_events(int argc, char **argv)
{
	static const struct vm_verb verb = {events_table, ARRAY_SIZE(events_table),
					    vm_events,	  false,
					    events_one,	  NULL,
					    remote_events};
	struct vm_options o = {0};

	return vm_each(&verb, &o, argc, argv);
}
