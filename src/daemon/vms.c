/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vms.c - definitions, what runs, restart policies.
 *
 * Theory of operation. Whether a VM runs is never remembered, it is looked up: its run directory says so (proto/rundir.h), and its
 * keeper's pidfd tells of its end. So adopting the VMs of a daemon that was killed is no special case. What is remembered is
 * what is wanted. When a keeper ends:
 *
 *   wanted    restart       how it ended        then
 *   stopped   any           any                 nothing
 *   running   no            any                 wanted becomes stopped
 *   running   on-failure    status 0            wanted becomes stopped
 *   running   on-failure    anything else       it is started again
 *   running   always        any                 it is started again
 *
 * A start again waits: 1 s, doubled with each end within 60 s of the start, up to 60 s. A daemon that begins does the same for what ended
 * meanwhile. When the host itself was restarted (there is no trace of the VM), what runs again is what has `autostart` or
 * restart=always.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/vms_int.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/log.h"

#define AGAIN_MAX_S 60u
#define STEADY_NS (60 * CLOCK_NS_PER_S)
#define LOOK_NS (100 * CLOCK_NS_PER_MS)

const char *vms_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

struct vm *vms_find(struct vms *v, const char *name)
{
	struct vm *vm = v->all;

	while (vm && strcmp(vm->name, name) != 0)
		vm = vm->next;
	return vm;
}

static struct vm *find(struct vms *v, const char *name, struct err *e)
{
	struct vm *vm = vms_find(v, name);
	char shown[80];

	if (!vm) {
		err_set(e, ESRCH, "lodged has no VM named \"%s\"",
			err_quote(shown, sizeof(shown), name));
		err_field(e, "not-found", name);
	}
	return vm;
}

static bool wanted(const struct vm *vm)
{
	return !strcmp(vms_text(vm->def, "wanted"), "running");
}

const char *vms_state(const struct vm *vm)
{
	return vm->op ? "busy" : vm->keeper >= 0 ? "running" : wanted(vm) ? "waiting" : "stopped";
}

void vms_changed(struct vm *vm)
{
	const struct vms_calls *calls = &vm->vms->calls;
	const char *state = vms_state(vm);

	if (vm->said == state)
		return;
	vm->said = state;
	calls->vm_changed(calls->ctx, vm->name, state);
}

/* Makes `def` the definition, if it can be kept; consumed. `put`: store_put_vm() or store_note_vm(). */
static int keep(struct vm *vm, json_t *def,
		int (*put)(struct store *s, const char *name, const json_t *j, struct err *e),
		struct err *e)
{
	int r = put(vm->vms->store, vm->name, def, e);

	if (r < 0) {
		json_decref(def);
		return err_field(e, r == -ENOSPC ? "full" : "internal", NULL);
	}
	json_decref(vm->def);
	vm->def = def;
	return 0;
}

int vms_want(struct vm *vm, bool running, struct err *e)
{
	json_t *def;

	if (wanted(vm) == running)
		return 0;
	def = json_deep_copy(vm->def);
	if (!def)
		return err_set(e, ENOMEM, "out of memory");
	json_object_set_new(def, "wanted", json_string(running ? "running" : "stopped"));
	/* Not a change that a client made: the revision that it knows stays good. */
	return keep(vm, def, store_note_vm, e);
}

/* ---- what runs ---- */

static void unwatch(struct vm *vm)
{
	loop_fd_del(vm->w_keeper);
	vm->w_keeper = NULL;
	base_close_fd(&vm->keeper);
	rundir_close(&vm->run);
	json_decref(vm->info);
	vm->info = NULL;
}

static void start_again(struct vm *vm)
{
	struct err e = {0};
	uint64_t id;

	if (op_begin(vm, VMS_START, 0, false, &id, &e) < 0 && e.code != EBUSY) {
		log_error("%s", e.msg);
		(void)loop_timer_set(&vm->again, clock_ns() + AGAIN_MAX_S * CLOCK_NS_PER_S);
	}
}

/* It ended, or was found not running; end NULL: nobody knows how. */
static void decide(struct vm *vm, const json_t *end)
{
	const char *policy = vms_text(vm->def, "restart");
	bool well = end && json_integer_value(json_object_get(end, "status")) == 0;
	struct err e = {0};
	uint64_t seconds;

	if (!wanted(vm) || vm->op)
		return; /* what goes on with it decides */
	if (!strcmp(policy, "always") || (!strcmp(policy, "on-failure") && !well)) {
		vm->failures = vm->up_ns && clock_ns() - vm->up_ns > STEADY_NS ? 0 :
										 vm->failures + 1;
		vm->up_ns = 0; /* the next one may end before it is seen */
		seconds = MIN((uint64_t)1 << MIN(vm->failures, 7u), (uint64_t)AGAIN_MAX_S);
		vm->look = false;
		log_info("\"%s\" has ended; it is started again in %llu s", vm->name,
			 (unsigned long long)seconds);
		(void)loop_timer_set(&vm->again, clock_ns() + seconds * CLOCK_NS_PER_S);
		return;
	}
	log_info("\"%s\" has ended", vm->name);
	if (vms_want(vm, false, &e) < 0)
		log_error("%s", e.msg);
}

static void keeper_ended(void *ctx, int fd, uint32_t events)
{
	struct vm *vm = ctx;
	_autojson json_t *end = vms_last_words(&vm->run), *said = vms_end_of(end);
	const struct vms_calls *calls = &vm->vms->calls;

	(void)fd;
	(void)events;
	(void)fault_point("keeper-gone", NULL);
	calls->vm_ended(calls->ctx, vm->name, said);
	rundir_remove_folders(&vm->run);
	unwatch(vm);
	decide(vm, end);
	vms_changed(vm);
}

void vms_refresh(struct vm *vm)
{
	struct rundir run;
	int r;

	if (vm->keeper >= 0 && rundir_alive(&vm->run))
		return;
	if (vm->keeper >=
	    0) { /* it has said how it ended and let go, but is still there for a moment */
		keeper_ended(vm, vm->keeper, EPOLLIN);
		return;
	}
	if (rundir_open(&run, vm->name, NULL) < 0 || !rundir_alive(&run)) {
		_autojson json_t *end = run.dir >= 0 ? rundir_read(&run, "exit.json") : NULL;

		rundir_close(&run);
		if (!loop_timer_armed(&vm->again))
			decide(vm, end);
		return;
	}
	vm->keeper = rundir_keeper(&run);
	r = vm->keeper < 0 ?
		    vm->keeper :
		    loop_fd_add(vm->vms->loop, vm->keeper, EPOLLIN, keeper_ended, vm, &vm->w_keeper);
	if (r < 0) { /* it is just coming or going */
		base_close_fd(&vm->keeper);
		rundir_close(&run);
		vm->look = true;
		(void)loop_timer_set(&vm->again, clock_ns() + LOOK_NS);
		return;
	}
	loop_timer_cancel(&vm->again);
	vm->run = run;
	vm->up_ns = clock_ns();
	vms_changed(vm);
}

static void again(void *ctx)
{
	struct vm *vm = ctx;

	if (vm->look)
		vms_refresh(vm);
	else if (wanted(vm) && vm->keeper < 0)
		start_again(vm);
}

/* ---- definitions ---- */

json_t *vms_get(struct vms *v, const char *name, struct err *e)
{
	struct vm *vm = find(v, name, e);

	return vm ? vms_describe(vm) : NULL;
}

const struct rundir *vms_run(struct vms *v, const char *name, struct err *e)
{
	struct vm *vm = find(v, name, e);

	if (vm && vm->keeper >= 0)
		vms_find_again(vm);
	if (vm && vm->keeper < 0) {
		err_set(e, EBUSY, "\"%s\" is not running: `lodge start %s` starts it", name, name);
		err_field(e, "not-running", NULL);
		return NULL;
	}
	return vm ? &vm->run : NULL;
}

const char *vms_program(const struct vms *v)
{
	return v->lodge;
}

uint64_t vms_revision(struct vms *v, const char *name)
{
	struct vm *vm = vms_find(v, name);

	return vm ? (uint64_t)json_integer_value(json_object_get(vm->def, "revision")) : 0;
}

/* Words that are lodged's own business, and a folder that is none. */
static int check_definition(const json_t *def, struct err *e)
{
	static const char *const own[] = {"--detach", "-d", "--name", "--rm", "--help", "-h", "--"};
	const json_t *words = json_object_get(def, "words");
	const char *folder = vms_text(def, "folder");
	json_t *w;
	size_t i;

	if (*folder && *folder != '/') {
		err_set(e, EINVAL, "\"folder\" must be an absolute path");
		return err_field(e, "bad-value", "folder");
	}
	json_array_foreach((json_t *)(uintptr_t)words, i, w)
	{
		const char *text = json_string_value(w);

		for (unsigned k = 0; text && k < ARRAY_SIZE(own); k++) {
			size_t len = strlen(own[k]);

			if (strcmp(text, own[k]) != 0 &&
			    (len <= 2 || strncmp(text, own[k], len) != 0 || text[len] != '='))
				continue;
			err_set(e, EINVAL, "\"%s\" cannot be among the words: it is lodged's own",
				own[k]);
			return err_field(e, "bad-value", "words");
		}
	}
	return 0;
}

static int add(struct vms *v, const char *name, const json_t *def, struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm)), **at;

	if (vm)
		vm->def = json_deep_copy(def);
	if (!vm || !vm->def) {
		free(vm);
		return err_set(e, ENOMEM, "out of memory");
	}
	vm->vms = v;
	vm->keeper = -1;
	rundir_init(&vm->run);
	strcpy(vm->name, name);
	loop_timer_init(&vm->again, v->loop, again, vm);
	for (at = &v->all; *at && strcmp((*at)->name, name) < 0; at = &(*at)->next)
		;
	vm->next = *at;
	*at = vm;
	return 0;
}

int vms_define(struct vms *v, const json_t *def, struct err *e)
{
	const char *name = vms_text(def, "name");
	_autojson json_t *kept = NULL;
	int r;

	if (config_check_name(name, e) < 0) {
		if (e)
			strcpy(e->field, "bad-value");
		return -EINVAL;
	}
	if (vms_find(v, name)) {
		err_set(e, EEXIST, "lodged has a VM named \"%s\" already", name);
		return err_field(e, "exists", name);
	}
	r = check_definition(def, e);
	if (r < 0)
		return r;
	kept = json_pack("{s:s, s:b, s:s, s:i}", "restart", "no", "autostart", 0, "wanted",
			 "stopped", "revision", 1);
	if (kept)
		json_object_update(kept, (json_t *)(uintptr_t)def);
	json_object_del(kept, "name");
	r = store_put_vm(v->store, name, kept, e);
	if (r < 0)
		return err_field(e, r == -ENOSPC ? "full" : "internal", NULL);
	r = add(v, name, kept, e);
	if (r == 0) {
		vms_refresh(vms_find(v, name)); /* one of that name may run already: it is adopted */
		vms_changed(vms_find(v, name));
	}
	return r;
}

static int check_revision(const struct vm *vm, uint64_t revision, struct err *e)
{
	uint64_t is = (uint64_t)json_integer_value(json_object_get(vm->def, "revision"));

	if (!revision || revision == is)
		return 0;
	err_set(e, ESTALE, "\"%s\" was changed meanwhile: it is at revision %llu, not %llu",
		vm->name, (unsigned long long)is, (unsigned long long)revision);
	return err_field(e, "revision", NULL);
}

int vms_check_revision(struct vms *v, const char *name, uint64_t revision, struct err *e)
{
	const struct vm *vm = vms_find(v, name);

	return vm ? check_revision(vm, revision, e) : 0;
}

int vms_set(struct vms *v, const char *name, const json_t *change, uint64_t revision, struct err *e)
{
	struct vm *vm = find(v, name, e);
	json_t *def;
	int r;

	if (!vm)
		return -ESRCH;
	r = check_revision(vm, revision, e);
	if (r == 0)
		r = check_definition(change, e);
	if (r < 0)
		return r;
	def = json_deep_copy(vm->def);
	if (!def)
		return err_set(e, ENOMEM, "out of memory");
	json_object_update(def, (json_t *)(uintptr_t)change);
	if (json_equal(def, vm->def)) { /* who knows the revision knows all that there is */
		json_decref(def);
		return 0;
	}
	json_object_set_new(def, "revision", json_u64(vms_revision(v, name) + 1));
	r = keep(vm, def, store_put_vm, e);
	vm->said = NULL;
	vms_changed(vm);
	return r;
}

static void drop(struct vm *vm)
{
	unwatch(vm);
	loop_timer_cancel(&vm->again);
	json_decref(vm->def);
	free(vm);
}

int vms_remove(struct vms *v, const char *name, uint64_t revision, struct err *e)
{
	struct vm *vm = find(v, name, e);
	struct rundir run;
	int r;

	if (!vm)
		return -ESRCH;
	r = check_revision(vm, revision, e);
	if (r < 0)
		return r;
	/* Who waited for its end may be sooner here than the end of its keeper. */
	if (!vm->op)
		vms_refresh(vm);
	if (vm->op || vm->keeper >= 0) {
		err_set(e, EBUSY, vm->op ? "\"%s\" is busy" : "\"%s\" is running: stop it first",
			name);
		return err_field(e, vm->op ? "busy" : "running", NULL);
	}
	r = store_drop_vm(v->store, name, e);
	if (r < 0)
		return err_field(e, r == -ENOSPC ? "full" : "internal", NULL);
	for (struct vm **p = &v->all; *p; p = &(*p)->next)
		if (*p == vm) {
			*p = vm->next;
			break;
		}
	(void)fault_point("remove", NULL);
	if (rundir_open(&run, vm->name, NULL) == 0 && rundir_claim(&run, NULL) == 0)
		rundir_remove(&run);
	rundir_close(&run);
	if (unit_used())
		unit_forget(vm->name);
	v->calls.vm_changed(v->calls.ctx, vm->name, "removed");
	drop(vm);
	return 0;
}

int vms_begin(struct vms *v, const char *name, enum vms_verb verb, uint64_t timeout_s, bool force,
	      uint64_t *id, struct err *e)
{
	struct vm *vm = find(v, name, e);
	bool runs;
	int r;

	if (!vm)
		return -ESRCH;
	vms_refresh(vm);
	runs = vm->keeper >= 0;
	if (!vm->op && verb == VMS_START && runs) {
		err_set(e, EBUSY, "\"%s\" is running already", name);
		return err_field(e, "running", NULL);
	}
	if (!vm->op && verb != VMS_START && !runs && !loop_timer_armed(&vm->again)) {
		err_set(e, EBUSY, "\"%s\" is not running: `lodge start %s` starts it", name, name);
		return err_field(e, "not-running", NULL);
	}
	r = vm->op ? 0 : vms_want(vm, verb != VMS_STOP, e);
	if (r == 0)
		r = op_begin(vm, verb, timeout_s, force, id, e);
	if (r == 0)
		loop_timer_cancel(&vm->again);
	return r;
}

/* ---- life ---- */

static int load(void *ctx, const char *name, const json_t *j)
{
	return config_check_name(name, NULL) < 0 ? -EINVAL : add(ctx, name, j, NULL);
}

/* Of a VM when the daemon begins. */
static void begin(struct vm *vm)
{
	bool always = !strcmp(vms_text(vm->def, "restart"), "always");
	struct rundir run;
	struct err e = {0};
	bool trace = rundir_open(&run, vm->name, NULL) == 0;

	rundir_close(&run);
	if (trace) {
		vms_refresh(vm);
		return;
	}
	/* The host was restarted, or it never ran. */
	if (json_is_true(json_object_get(vm->def, "autostart")) || (wanted(vm) && always)) {
		if (vms_want(vm, true, &e) < 0)
			log_error("%s", e.msg);
		start_again(vm);
	} else if (vms_want(vm, false, &e) < 0) {
		log_error("%s", e.msg);
	}
}

int vms_create(struct vms **out, struct loop *l, struct store *s, const struct settings *set,
	       const char *lodge, const struct vms_calls *calls, struct err *e)
{
	struct vms *v = calloc(1, sizeof(*v));
	int r;

	*out = NULL;
	if (!v)
		return err_set(e, ENOMEM, "out of memory");
	*v = (struct vms){.loop = l, .store = s, .set = set, .lodge = lodge, .calls = *calls};
	loop_work_init(&v->pump, op_pump, v);
	r = store_end_operations(s, e);
	if (r == 0)
		r = store_each_vm(s, load, v, e);
	if (r < 0) {
		vms_destroy(v);
		return e && e->code ? -e->code :
				      err_set(e, -r, "cannot load the definitions of VMs");
	}
	for (struct vm *vm = v->all; vm; vm = vm->next)
		begin(vm);
	*out = v;
	return 0;
}

void vms_destroy(struct vms *v)
{
	if (!v)
		return;
	v->ending = true;
	op_drop_all(v);
	loop_unpost(v->loop, &v->pump);
	while (v->all) {
		struct vm *vm = v->all;

		v->all = vm->next;
		drop(vm);
	}
	free(v);
}
