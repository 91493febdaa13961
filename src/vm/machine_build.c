/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_build.c - guest memory and the hardware, and both anew at a reset.
 *
 * Theory of operation. A reset throws the hardware away, clears guest memory and builds the hardware anew (hw.h): no device has a reset
 * of its own that could forget something. Either time the engine begins what it has to wait for before anything else is done (engine.h,
 * begin()). The guest waits meanwhile, so what only gives something back comes after the start of the new vCPUs, by pieces (`rest`): the
 * old engine with its translated code, and the pages of the old memory.
 */
#include <errno.h>

#include "board/layout.h"
#include "util/clock.h"
#include "virtio/balloon.h"
#include "vm/machine_int.h"

int machine_create_memory(struct machine *m, struct err *e)
{
	uint64_t size = m->cfg->memory_bytes, low = MIN(size, LAYOUT_LOW_RAM_MAX);
	struct gmem_range range[2] = {{0, low}, {LAYOUT_HIGH_RAM, size - low}};
	bool mapped = m->engine->second_view || m->cfg->n_shares;
	int fd[2];

	if (m->cfg->memory_huge != CONFIG_HUGE_NO && !m->engine->irqchip) {
		err_set(e, EINVAL,
			"huge pages are for the KVM engine: the %s engine protects single pages of 4 KiB",
			m->engine->name);
		return err_field(e, "memory.huge", config_huge_names[m->cfg->memory_huge]);
	}
	/* Private memory where nobody maps it a second time. The software engine does: parts of it for programs that stay
	 * (engine/soft/window.c), all of it with several vCPUs. A file server does, too. */
	if (mapped && m->owner->memory && m->owner->memory(m->owner->ctx, fd))
		return gmem_create_thp(&m->mem, range, size > low ? 2 : 1, fd, e);
	return gmem_create_huge(&m->mem, range, size > low ? 2 : 1, mapped ? GMEM_NEW : GMEM_PRIVATE,
				config_huge_bytes(m->cfg->memory_huge), e);
}

void machine_begin_engine(struct machine *m)
{
	if (m->engine->begin)
		m->begun = m->engine->begin(m->fds.fd[CONFIG_FD_KVM]);
}

int machine_build_hw(struct machine *m, bool from_state, const struct hw_slots *slots,
		     const struct rtc_battery *battery, struct err *e)
{
	struct hw_config hc = {
		.vm = m->cfg,
		.fds = &m->fds,
		.engine = m->engine,
		.begun = m->begun,
		.mem = m->mem,
		.slots = slots,
		.from_state = from_state,
		.battery = battery,
		.memory_is_zero = m->mem_is_zero,
		.lock = &m->lock,
		.loop = m->loop,
		.clock = m->clock,
		.console = m->console,
		.agent = m->agent,
		.disks = m->disks,
		.shares = &m->shares,
		.owner = &m->hw_owner,
	};
	int r;

	m->mem_is_zero = false;
	m->begun = NULL;
	r = hw_create(&m->hw, &hc, e);
	if (r == 0)
		m->hw->cfg.slots = NULL;
	if (r == 0 && m->balloon_bytes && m->hw->balloon)
		(void)balloon_set_target(m->hw->balloon, m->balloon_bytes, NULL);
	return r;
}

void machine_rest(void *ctx)
{
	struct machine *m = ctx;

	if (m->old_engine) {
		m->engine->close(m->old_engine);
		m->old_engine = NULL;
		loop_post(m->loop, &m->rest);
	} else if (gmem_clear_rest(m->mem)) {
		loop_post(m->loop, &m->rest);
	}
}

int machine_rebuild(struct machine *m, struct err *e)
{
	bool paused = m->state == MACHINE_PAUSED;
	uint64_t began = m->req.what == REQ_NONE ? clock_ns() : m->req.at_ns;
	struct rtc_battery battery;
	int r;

	vcpu_set_pause(m->hw->vcpus);
	vmclock_stop(m->clock);
	rtc_get_battery(m->hw->dev[HW_RTC], &battery);
	m->balloon_bytes = m->hw->balloon ? balloon_target(m->hw->balloon) : 0;
	machine_take_leaving(m);
	m->engine->close(m->old_engine);
	m->old_engine = hw_destroy_but_engine(m->hw);
	m->hw = NULL;
	machine_begin_engine(m);
	pthread_mutex_lock(&m->lock);
	m->req.what = REQ_NONE;
	pthread_mutex_unlock(&m->lock);
	m->mem_is_zero = gmem_clear(m->mem) == 0;
	r = machine_boot_files(m, e);
	if (r == 0)
		r = machine_build_hw(m, false, NULL, &battery, e);
	if (r == 0 && !paused)
		vmclock_start(m->clock);
	if (r == 0)
		r = vcpu_set_start(m->hw->vcpus, paused, e);
	loop_post(m->loop, &m->rest);
	if (r < 0)
		return r;
	m->paused_tsc = clock_tsc();
	m->reset_us = (clock_ns() - began) / CLOCK_NS_PER_US;
	m->n_resets++;
	m->told_halted = false;
	return 0;
}
