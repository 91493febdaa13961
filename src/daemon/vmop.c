/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmop.c - operations: each is a run of the program `lodge`: `lodge run -d` to start, `lodge stop` to stop, and to restart first
 * the one, then the other.
 *
 * So lodged opens no disk, image or guest memory, and what works by hand works here. The program is a child, but what it starts is
 * not: when lodged dies, the child goes on to its end and the VM is found in the run directory. An operation is recorded
 * before its program starts, and again at its end. Under systemd the program that starts a VM is not even a child (unit.c). At most `starts` go on at once, the others are pending, in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/child.h"
#include "daemon/vms_int.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

#define LOST_MS 500
#define WORDS_MAX 160u

static const char *const verb_names[] = {"start", "stop", "restart"};
_Static_assert(ARRAY_SIZE(verb_names) == VMS_VERBS, "a name for each verb");

static void op_keep(struct op *op)
{
	struct err e = {0};

	if (store_put_operation(op->vms->store, op->id, op->record, &e) < 0)
		log_error("%s", e.msg);
}

static void op_set(struct op *op, const char *state)
{
	json_object_set_new(op->record, "state", json_string(state));
}

static void op_free(struct op *op)
{
	loop_fd_del(op->w_end);
	loop_fd_del(op->w_said);
	base_close_fd(&op->pidfd);
	base_close_fd(&op->said);
	json_decref(op->record);
	free(op);
}

static void op_unlink(struct op *op)
{
	for (struct op **p = &op->vms->ops; *p; p = &(*p)->next)
		if (*p == op) {
			*p = op->next;
			break;
		}
	if (op->vm->op == op)
		op->vm->op = NULL;
}

/* id NULL: it is done. */
static void op_end(struct op *op, const char *state, const char *id, const char *message)
{
	struct vms *v = op->vms;
	struct vm *vm = op->vm;
	uint64_t number = op->id;
	json_t *text;

	op_set(op, state);
	json_object_set_new(op->record, "ended_ms", json_u64(clock_realtime_ns() / CLOCK_NS_PER_MS));
	if (id) {
		text = json_string(message);
		json_object_set_new(op->record, "error",
				    json_pack("{s:s, s:o}", "id", id, "message",
					      text ? text : json_string("it failed")));
	}
	op_keep(op);
	if (id)
		log_info("%s of \"%s\": %s", verb_names[op->verb], vm->name, message);
	op_unlink(op);
	op_free(op);
	vms_refresh(vm);
	loop_post(v->loop, &v->pump);
	v->calls.operation_ended(v->calls.ctx, number);
	vms_changed(vm);
}

/* ---- the program ---- */

static void op_said(void *ctx, int fd, uint32_t events)
{
	struct op *op = ctx;
	char buf[512];
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		loop_fd_del(op->w_said);
		op->w_said = NULL;
	}
	for (ssize_t i = 0; i < n; i++) {
		/* Only the last line counts. */
		if (op->len && op->text[op->len - 1] == '\n')
			op->len = 0;
		if (op->len + 1 < sizeof(op->text))
			op->text[op->len++] = buf[i];
	}
}

/* "lodge: there is no ..." without what is in front. */
static const char *op_sentence(struct op *op)
{
	char *text = op->text, *start;

	op->text[op->len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	start = strstr(text, ": ");
	if (!strncmp(text, "lodge", 5) && start)
		text = start + 2;
	return *text ? text : "it failed without a word";
}

static int op_spawn(struct op *op, struct err *e);
static void op_run(struct op *op);

/* Runs on, but its run directory was removed and its keeper could not make it anew: nobody but us can end it. */
static void op_kill_lost(struct vm *vm)
{
	struct pollfd p = {.fd = vm->keeper, .events = POLLIN};

	if (vm->keeper < 0 || !rundir_stale(&vm->run))
		return;
	vms_find_again(vm);
	if (!rundir_stale(&vm->run))
		return;
	(void)syscall(SYS_pidfd_send_signal, vm->keeper, SIGKILL, NULL, 0);
	/* Not for long: only so that it is seen as ended when the operation is. */
	if (poll(&p, 1, LOST_MS) == 1)
		vms_refresh(vm);
}

/* The program has ended with this status. */
static void op_result(struct op *op, unsigned code)
{
	static const char *const ids[] = {"failed",    "failed",  "bad-value", "crashed",
					  "not-found", "running", "permission"};
	/* Gone already: that is what was wanted. */
	bool well = code == 0 || (!op->starting && (code == 4 || code == 5));

	if (!op->starting && code == 4)
		op_kill_lost(op->vm);
	if (op->cancelled && op->starting && !op->undone) {
		/* It may have come up in the moment before it heard of that. */
		op->undone = true;
		op->force = true;
		op->starting = unit_used();
		if (op_spawn(op, NULL) < 0)
			op_end(op, "cancelled", "cancelled", "it was cancelled");
	} else if (op->cancelled) {
		op_end(op, "cancelled", "cancelled", "it was cancelled");
	} else if (well && op->verb == VMS_RESTART && !op->starting) {
		op->starting = true;
		op_run(op);
	} else if (well) {
		op_end(op, "done", NULL, NULL);
	} else {
		op_end(op, "failed", code < ARRAY_SIZE(ids) ? ids[code] : "failed", op_sentence(op));
	}
}

static void op_ended(void *ctx, int fd, uint32_t events)
{
	struct op *op = ctx;
	int status;

	(void)fd;
	(void)events;
	if (waitpid(op->pid, &status, WNOHANG) != op->pid)
		return;
	if (op->starting && unit_used()) {
		/* systemctl has only to say that it failed. */
		char said[sizeof(op->text)];
		size_t len = unit_said(op->vm->name, said, sizeof(said));

		if (len) {
			memcpy(op->text, said, len);
			op->len = len;
			loop_fd_del(op->w_said);
			op->w_said = NULL;
		}
	}
	while (op->w_said && op->said >= 0) { /* what is still in the pipe; its writers may live on */
		size_t before = op->len;

		op_said(op, op->said, EPOLLIN);
		if (op->len == before)
			break;
	}
	loop_fd_del(op->w_end);
	loop_fd_del(op->w_said);
	op->w_end = op->w_said = NULL;
	base_close_fd(&op->pidfd);
	base_close_fd(&op->said);
	(void)fault_point("program-ended", NULL);
	op_result(op, WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : UINT32_MAX);
}

static unsigned start_words(const struct op *op, const char *argv[WORDS_MAX])
{
	const json_t *words = json_object_get(op->vm->def, "words");
	size_t count = MIN(json_array_size(words), WORDS_MAX - 6);
	unsigned n = 0;

	argv[n++] = "lodge";
	argv[n++] = "run";
	argv[n++] = "--detach";
	argv[n++] = "--name";
	argv[n++] = op->vm->name;
	for (size_t i = 0; i < count; i++)
		argv[n++] = json_string_value(json_array_get(words, i));
	argv[n] = NULL;
	return n;
}

static unsigned stop_words(const struct op *op, const char *argv[WORDS_MAX], char timeout[24])
{
	unsigned n = 0;

	snprintf(timeout, 24, "%llu", (unsigned long long)op->timeout_s);
	argv[n++] = "lodge";
	argv[n++] = "stop";
	argv[n++] = "--timeout";
	argv[n++] = timeout;
	if (op->force)
		argv[n++] = "--force";
	argv[n++] = op->vm->name;
	argv[n] = NULL;
	return n;
}

/* In the child; does not return. */
static _Noreturn void op_exec(const struct op *op, const char *const argv[], int said)
{
	const char *folder = op->starting && !unit_used() ? vms_text(op->vm->def, "folder") : "";
	int null = open("/dev/null", O_RDWR);

	child_exec(!strcmp(argv[0], "lodge") ? op->vms->lodge : argv[0], argv,
		   *folder ? folder : "/", true, (int[]){null, null, said});
}

static int op_spawn(struct op *op, struct err *e)
{
	const char *argv[WORDS_MAX], *const *words = argv;
	struct unit_words unit;
	char timeout[24];
	int p[2], r;

	op->len = 0;
	r = fault_point("program-start", e);
	if (r < 0)
		return r;
	if (op->starting)
		start_words(op, argv);
	else
		stop_words(op, argv, timeout);
	if (op->starting && unit_used()) {
		unit_words(&unit, op->undone ? "stop" : "start", op->vm->name);
		words = unit.argv;
		if (!op->undone)
			r = unit_tell(op->vm->name, vms_text(op->vm->def, "folder"), op->vms->lodge,
				      argv, e);
	}
	if (r < 0)
		return r;
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_errno(e, errno, "cannot make a pipe");
	op->said = p[0];
	op->pid = fork();
	if (op->pid == 0)
		op_exec(op, words, p[1]);
	close(p[1]);
	if (op->pid < 0) {
		op->pid = 0;
		return err_errno(e, errno, "cannot start a process");
	}
	(void)fault_point("program-started", NULL);
	op->pidfd = (int)syscall(SYS_pidfd_open, op->pid, 0);
	r = op->pidfd < 0 ?
		    -errno :
		    loop_fd_add(op->vms->loop, op->pidfd, EPOLLIN, op_ended, op, &op->w_end);
	if (r == 0)
		r = loop_fd_add(op->vms->loop, op->said, EPOLLIN, op_said, op, &op->w_said);
	if (r == 0)
		return 0;
	kill(op->pid, SIGKILL);
	waitpid(op->pid, NULL, 0);
	return err_errno(e, -r, "cannot watch a process");
}

static void op_run(struct op *op)
{
	struct err e = {0};
	int r;

	if (op->vm->keeper < 0 && op->verb == VMS_STOP) {
		op_end(op, "done", NULL, NULL); /* it only waited to be started again */
		return;
	}
	op->starting = op->starting || op->verb == VMS_START || op->vm->keeper < 0;
	r = op->starting ? vms_admit(op->vm, &e) : 0;
	if (r < 0) {
		op_end(op, "failed", "capacity", e.msg);
		return;
	}
	op_set(op, "running");
	op_keep(op);
	op->vms->calls.operation_changed(op->vms->calls.ctx, op->id);
	if (op_spawn(op, &e) < 0)
		op_end(op, "failed", "internal", e.msg);
}

void op_pump(void *ctx)
{
	struct vms *v = ctx;
	uint64_t running = 0;
	struct op *op;

	for (op = v->ops; op; op = op->next)
		running += op->pid > 0;
	for (;;) {
		for (op = v->ops; op && op->pid > 0; op = op->next)
			;
		if (!op || running >= v->set->starts || v->ending)
			return;
		running++;
		op_run(op); /* may end it */
	}
}

int op_begin(struct vm *vm, enum vms_verb verb, uint64_t timeout_s, bool force, uint64_t *id,
	     struct err *e)
{
	struct op *op, **last;
	int r;

	if (vm->op) {
		err_set(e, EBUSY, "\"%s\" is busy: operation %llu (%s) goes on", vm->name,
			(unsigned long long)vm->op->id, verb_names[vm->op->verb]);
		return err_field(e, "busy", NULL);
	}
	op = calloc(1, sizeof(*op));
	if (!op)
		return err_set(e, ENOMEM, "out of memory");
	*op = (struct op){.vms = vm->vms,
			  .vm = vm,
			  .verb = verb,
			  .timeout_s = timeout_s,
			  .force = force,
			  .pidfd = -1,
			  .said = -1};
	op->record = json_pack("{s:s, s:s, s:s, s:I}", "verb", verb_names[verb], "vm", vm->name,
			       "state", "pending", "started_ms",
			       (json_int_t)(clock_realtime_ns() / CLOCK_NS_PER_MS));
	r = op->record ? store_new_operation(vm->vms->store, op->record, &op->id, e) :
			 err_set(e, ENOMEM, "out of memory");
	if (r < 0) {
		op_free(op);
		return err_field(e, r == -ENOSPC ? "full" : "internal", NULL);
	}
	for (last = &vm->vms->ops; *last; last = &(*last)->next)
		;
	*last = op;
	vm->op = op;
	*id = op->id;
	vm->vms->calls.operation_changed(vm->vms->calls.ctx, op->id);
	vms_changed(vm);
	loop_post(vm->vms->loop, &vm->vms->pump);
	return 0;
}

int vms_cancel(struct vms *v, uint64_t id, struct err *e)
{
	struct op *op;

	for (op = v->ops; op && op->id != id; op = op->next)
		;
	if (!op) {
		err_set(e, EINVAL, "operation %llu does not go on", (unsigned long long)id);
		return err_field(e, "not-running", NULL);
	}
	op->cancelled = true;
	/* What comes up all the same goes down again, and stays so. */
	if (op->verb != VMS_STOP && vms_want(op->vm, false, e) < 0)
		return -e->code;
	if (!op->pid)
		op_end(op, "cancelled", "cancelled", "it was cancelled");
	else if (!op->undone)
		kill(op->pid, SIGTERM); /* a start: it ends its keeper, and then itself */
	return 0;
}

bool vms_operation_open(struct vms *v, uint64_t id)
{
	for (const struct op *op = v->ops; op; op = op->next)
		if (op->id == id)
			return true;
	return false;
}

void op_drop_all(struct vms *v)
{
	while (v->ops) {
		struct op *op = v->ops;

		op_unlink(op);
		op_free(op);
	}
}
