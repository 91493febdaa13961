/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - states of a machine, and the requests that change them.
 *
 * Theory of operation. What happens on vCPU threads (a device asks for a reset or for power off, a triple fault, an
 * engine that cannot go on) is noted under the VM lock, the first one wins, all vCPUs are asked to pause so that
 * the guest does not run on, and the loop thread is told by a post. Everything that changes the state happens
 * there, one thing after the other.
 *
 * A reset builds the hardware anew (machine_build.c). The end throws it away, then waits until the console's reader has taken the last bytes (not for ever: it may stand still
 * for FLUSH_NS, and a quit cuts it short), and only then tells the final event: whoever sees it has seen all output.
 *
 * A pause is invisible to the guest: board time stands still (vmclock.h), and the guest's TSC is set back by the
 * length of the pause at the resume.
 */
#include "vm/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "virtio/balloon.h"
#include "vm/machine_int.h"

#define FLUSH_NS \
	(30 * CLOCK_NS_PER_S) /* at the end the console's reader may stand still this long */
#define FLUSH_QUIT_NS \
	(100 * CLOCK_NS_PER_MS) /* and this long in all when somebody wants the end now */

/* ---- from vCPU threads ---- */

/* Notes it; the first one wins. */
static void note_locked(struct machine *m, enum request what, unsigned vcpu, unsigned code,
			const char *text)
{
	if (m->req.what != REQ_NONE)
		return;
	m->req.what = what;
	m->req.vcpu = vcpu;
	m->req.code = code;
	m->req.at_ns = clock_ns();
	snprintf(m->req.text, sizeof(m->req.text), "%s", text);
	vcpu_set_ask_pause(m->hw->vcpus);
	loop_post(m->loop, &m->act);
}

static void hw_request(void *ctx, enum dev_request what, uint32_t code)
{
	static const enum request map[] = {
		[DEV_REQ_RESET] = REQ_RESET,
		[DEV_REQ_POWEROFF] = REQ_POWEROFF,
		[DEV_REQ_PANIC] = REQ_PANIC,
		[DEV_REQ_DEBUG_EXIT] = REQ_DEBUG_EXIT,
	};

	note_locked(ctx, map[what], 0, code & 0xff, "");
}

static void hw_ejected(void *ctx, unsigned slot)
{
	struct machine *m = ctx;

	__atomic_fetch_or(&m->ejected, (uint32_t)BIT(slot), __ATOMIC_ACQ_REL);
	loop_post(m->loop, &m->eject);
}

static void hw_stopped(void *ctx, unsigned vcpu, enum vcpu_stop why, const char *text)
{
	struct machine *m = ctx;

	pthread_mutex_lock(&m->lock);
	note_locked(m, why == VCPU_STOP_TRIPLE_FAULT ? REQ_TRIPLE_FAULT : REQ_ERROR, vcpu, 0, text);
	pthread_mutex_unlock(&m->lock);
}

static void hw_all_dead(void *ctx)
{
	struct machine *m = ctx;

	loop_post(m->loop, &m->dead);
}

/* ---- idle ---- */

#define IDLE_LOOK_NS CLOCK_NS_PER_S
#define IDLE_SHARE 50 /* idle: vCPUs used less than 1/50 of the time */

/* A guest that has nothing to do keeps no more memory than its doing nothing needs. */
static void idle_look(void *ctx)
{
	struct machine *m = ctx;
	struct vcpu_stats st;
	uint64_t cpu_ns = 0;

	if (!m->hw)
		return;
	for (unsigned i = 0; i < m->cfg->cpus; i++) {
		vcpu_stats(m->hw->vcpus, i, &st);
		cpu_ns += st.cpu_ns;
	}
	if (m->state == MACHINE_RUNNING && cpu_ns - m->idle_cpu_ns < IDLE_LOOK_NS / IDLE_SHARE)
		m->engine->trim(m->hw->engine);
	m->idle_cpu_ns = cpu_ns;
	(void)loop_timer_set(&m->idle_timer, clock_ns() + IDLE_LOOK_NS);
}

static void idle_start(struct machine *m)
{
	if (m->engine->trim)
		(void)loop_timer_set(&m->idle_timer, clock_ns() + IDLE_LOOK_NS);
}

/* ---- the end ---- */

void machine_tell(struct machine *m, enum control_event ev, json_t *details)
{
	m->owner->event(m->owner->ctx, ev, details);
}

static void finish(void *ctx)
{
	struct machine *m = ctx;
	json_t *details = m->end_details;

	if (m->finished)
		return; /* both the flush and its timer call this */
	m->finished = true;
	loop_timer_cancel(&m->flush_timer);
	m->end_details = NULL;
	machine_tell(m, m->end_event, details);
	m->owner->ended(m->owner->ctx, m->end_status);
}

static void flush_for(struct machine *m, uint64_t ns)
{
	m->end_pending = console_pending(m->console);
	(void)loop_timer_set(&m->flush_timer, clock_ns() + ns);
}

static void flush_timeout(void *ctx)
{
	struct machine *m = ctx;

	if (!m->quit && console_pending(m->console) < m->end_pending) {
		flush_for(m, FLUSH_NS);
		return;
	}
	log_warn("the console's reader is too slow: its last bytes are lost");
	finish(m);
}

static void end(struct machine *m, enum control_event ev, json_t *details, int status)
{
	if (m->hw)
		vcpu_set_pause(m->hw->vcpus);
	vmclock_stop(m->clock);
	hw_destroy(m->hw);
	m->hw = NULL;
	m->state = MACHINE_ENDING;
	m->end_event = ev;
	m->end_details = details;
	m->end_status = status;
	console_flush(m->console, finish, m);
	flush_for(m, m->quit ? FLUSH_QUIT_NS : FLUSH_NS);
}

static void end_with_error(struct machine *m, const struct err *e)
{
	log_error("%s", e->msg);
	end(m, CONTROL_EV_ERROR, control_error_json(e), MACHINE_EXIT_ERROR);
}

static void end_crashed(struct machine *m)
{
	struct x86_state st;
	char text[256] = "its kernel has panicked; its console says why";

	vcpu_set_pause(m->hw->vcpus);
	vcpu_get_state(m->hw->vcpus, m->req.vcpu, X86_STATE_ALL, &st);
	if (m->req.what == REQ_TRIPLE_FAULT)
		snprintf(text, sizeof(text),
			 "triple fault on vCPU %u at %04x:%#llx (CR0 %#llx, CR2 %#llx, CR3 %#llx)",
			 m->req.vcpu, st.seg[X86_CS].sel, (unsigned long long)st.rip,
			 (unsigned long long)st.cr0, (unsigned long long)st.cr2,
			 (unsigned long long)st.cr3);
	end(m, CONTROL_EV_CRASHED, json_pack("{s:s}", "text", text), MACHINE_EXIT_CRASHED);
}

/* ---- reset, pause, resume ---- */

static void reset(struct machine *m, const char *cause)
{
	struct err e = {0};

	if (machine_rebuild(m, &e) < 0)
		end_with_error(m, &e);
	else
		machine_tell(m, CONTROL_EV_RESET, json_pack("{s:s}", "cause", cause));
}

void machine_let_run(struct machine *m)
{
	bool held;

	pthread_mutex_lock(&m->lock);
	held = m->req.what != REQ_NONE;
	pthread_mutex_unlock(&m->lock);
	if (m->state == MACHINE_RUNNING && !held)
		vcpu_set_resume(m->hw->vcpus);
}

int machine_not_ending(const struct machine *m, struct err *e)
{
	if (m->state == MACHINE_ENDING)
		return err_set(e, ESHUTDOWN, "the VM '%s' is ending", m->cfg->name);
	return 0;
}

void machine_stop_time(struct machine *m)
{
	vcpu_set_pause(m->hw->vcpus);
	hw_pause(m->hw);
	vmclock_stop(m->clock);
	m->paused_tsc = clock_tsc();
	m->state = MACHINE_PAUSED;
}

/* Board time and the guest's TSC go on from where they stood. */
static void start_time(struct machine *m)
{
	if (hw_tsc_back(m->hw, clock_tsc() - m->paused_tsc) < 0)
		log_warn("the engine did not take the time stamp counter of before the pause");
	vmclock_start(m->clock);
	hw_resume(m->hw);
	m->state = MACHINE_RUNNING;
}

void machine_let_time_run(struct machine *m)
{
	start_time(m);
	machine_let_run(m);
}

int machine_pause(struct machine *m, struct err *e)
{
	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	if (m->state == MACHINE_PAUSED)
		return 0;
	machine_stop_time(m);
	m->paused_by = "request";
	machine_tell(m, CONTROL_EV_PAUSED, NULL);
	return 0;
}

int machine_resume(struct machine *m, struct err *e)
{
	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	if (m->state == MACHINE_RUNNING)
		return 0;
	machine_let_time_run(m);
	machine_tell(m, CONTROL_EV_RESUMED, NULL);
	return 0;
}

int machine_powerdown(struct machine *m, struct err *e)
{
	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	if (!hw_power_button(m->hw))
		log_info("the guest does not listen to the power button");
	machine_tell(m, CONTROL_EV_POWERDOWN, NULL);
	return 0;
}

int machine_reset(struct machine *m, struct err *e)
{
	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	reset(m, "request");
	return 0;
}

int machine_quit(struct machine *m, struct err *e)
{
	(void)e;
	m->quit = true;
	if (m->finished)
		return 0;
	if (m->state == MACHINE_ENDING)
		flush_for(m, FLUSH_QUIT_NS);
	else
		end(m, CONTROL_EV_SHUTDOWN, json_pack("{s:s}", "cause", "quit"), MACHINE_EXIT_OK);
	return 0;
}

/* Does what was noted on a vCPU's thread. */
static void act(void *ctx)
{
	struct machine *m = ctx;
	struct err e = {0};
	enum request what;

	if (m->state == MACHINE_ENDING)
		return;
	pthread_mutex_lock(&m->lock);
	what = m->req.what;
	pthread_mutex_unlock(&m->lock);
	switch (what) {
	case REQ_NONE: break;
	case REQ_RESET:
		if (!m->cfg->no_reboot)
			reset(m, "guest");
		else
			end(m, CONTROL_EV_SHUTDOWN, json_pack("{s:s}", "cause", "reset"),
			    MACHINE_EXIT_OK);
		break;
	case REQ_POWEROFF:
		end(m, CONTROL_EV_SHUTDOWN, json_pack("{s:s}", "cause", "poweroff"),
		    MACHINE_EXIT_OK);
		break;
	case REQ_DEBUG_EXIT:
		end(m, CONTROL_EV_GUEST_EXIT, json_pack("{s:i}", "code", (int)m->req.code),
		    MACHINE_EXIT_OK);
		break;
	case REQ_TRIPLE_FAULT:
	case REQ_PANIC:
		if (m->cfg->on_crash != CONFIG_ON_CRASH_RESET)
			end_crashed(m);
		else if (m->cfg->no_reboot)
			end(m, CONTROL_EV_SHUTDOWN, json_pack("{s:s}", "cause", "reset"),
			    MACHINE_EXIT_OK);
		else
			reset(m, "crash");
		break;
	case REQ_ERROR:
		err_set(&e, EIO, "vCPU %u cannot go on: %s", m->req.vcpu, m->req.text);
		end_with_error(m, &e);
		break;
	}
}

static void dead(void *ctx)
{
	struct machine *m = ctx;
	struct vcpu_stats st;

	if (m->state != MACHINE_RUNNING || m->told_halted)
		return;
	for (unsigned i = 0; i < m->cfg->cpus; i++) {
		vcpu_stats(m->hw->vcpus, i, &st);
		if (st.phase != VCPU_DEAD && st.phase != VCPU_WAITING)
			return;
	}
	m->told_halted = true;
	machine_tell(m, CONTROL_EV_HALTED, NULL);
}

/* ---- disks ---- */

static void disks_event(void *ctx, enum control_event ev, json_t *details)
{
	machine_tell(ctx, ev, details);
}

static void disks_pause(void *ctx)
{
	struct machine *m = ctx;

	if (machine_pause(m, NULL) == 0)
		m->paused_by = "disk";
}

/* ---- life ---- */

int machine_create(struct machine **out, struct loop *l, const struct vm_config *cfg,
		   struct config_fds *fds, const struct engine_class *engine,
		   const struct machine_owner *owner, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));
	int r;

	*out = NULL;
	if (!m)
		return err_set(e, ENOMEM, "out of memory");
	m->loop = l;
	m->config = *cfg;
	m->cfg = &m->config;
	m->fds = *fds;
	for (unsigned i = CONFIG_FD_DISK; i <= CONFIG_FD_NET_LAST; i++)
		fds->fd[i] = -1;
	m->saved.fd = -1;
	m->engine = engine;
	m->owner = owner;
	m->mem_is_zero = true;
	m->hw_owner = (struct hw_owner){.ctx = m,
					.ejected = hw_ejected,
					.request = hw_request,
					.stopped = hw_stopped,
					.all_dead = hw_all_dead};
	pthread_mutex_init(&m->lock, NULL);
	loop_work_init(&m->act, act, m);
	loop_work_init(&m->dead, dead, m);
	loop_work_init(&m->eject, machine_eject, m);
	loop_work_init(&m->rest, machine_rest, m);
	loop_timer_init(&m->flush_timer, l, flush_timeout, m);
	loop_timer_init(&m->idle_timer, l, idle_look, m);
	machine_begin_engine(m);
	r = machine_create_memory(m, e);
	if (r == 0)
		r = vmclock_create(&m->clock, l, &m->lock, e);
	if (r == 0)
		r = console_create(&m->console, l, &m->lock, fds->fd[CONFIG_FD_CONSOLE_IN],
				   fds->fd[CONFIG_FD_CONSOLE_OUT], e);
	if (r == 0 && cfg->agent)
		r = port_socket_create(&m->agent, l, fds->fd[CONFIG_FD_AGENT_LISTEN], e);
	m->disks_owner = (struct disks_owner){.ctx = m, .event = disks_event, .pause = disks_pause};
	if (r == 0)
		r = disks_create(&m->disks, l, m->cfg, &m->fds, &m->disks_owner, e);
	if (r == 0)
		r = shares_connect(&m->shares, cfg, fds, e);
	if (r == 0)
		r = fds->fd[CONFIG_FD_STATE] >= 0 ? machine_restore(m, e) :
						    machine_build_hw(m, false, NULL, NULL, e);
	if (r < 0) {
		machine_destroy(m);
		return r;
	}
	*out = m;
	return 0;
}

int machine_start(struct machine *m, struct err *e)
{
	int r;

	if (m->restored) {
		start_time(m);
	} else {
		vmclock_start(m->clock);
		m->state = MACHINE_RUNNING;
	}
	m->restored = false;
	idle_start(m);
	r = vcpu_set_start(m->hw->vcpus, false, e);
	if (r == 0)
		machine_tell(m, CONTROL_EV_STARTED, NULL);
	return r;
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	hw_destroy(m->hw);
	if (m->begun)
		m->engine->abandon(m->begun);
	m->engine->close(m->old_engine);
	port_socket_destroy(m->agent);
	disks_destroy(m->disks);
	shares_end(&m->shares);
	for (unsigned i = CONFIG_FD_DISK; i <= CONFIG_FD_NET_LAST; i++)
		base_close_fd(&m->fds.fd[i]);
	console_destroy(m->console);
	vmclock_destroy(m->clock);
	gmem_destroy(m->mem);
	loop_timer_cancel(&m->flush_timer);
	loop_timer_cancel(&m->idle_timer);
	loop_unpost(m->loop, &m->act);
	loop_unpost(m->loop, &m->dead);
	loop_unpost(m->loop, &m->eject);
	loop_unpost(m->loop, &m->rest);
	json_decref(m->end_details);
	state_file_fini(&m->saved);
	if (m->own_boot) {
		base_close_fd(&m->fds.fd[CONFIG_FD_KERNEL]);
		base_close_fd(&m->fds.fd[CONFIG_FD_INITRD]);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

enum machine_state machine_state(const struct machine *m)
{
	return m->state;
}
