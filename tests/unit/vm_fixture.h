/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_fixture.h - a whole machine with a real board and the fake engine, for test_vm_machine.c and test_vm_server.c.
 *
 * The kernel is a small ELF file whose code is never run: what the "guest" does is a C function (fake_engine.h) that
 * calls the ports and MSRs as instructions would. The test thread is the loop thread.
 */
#ifndef LODGE_TESTS_VM_FIXTURE_H
#define LODGE_TESTS_VM_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot_image.h"
#include "fake_engine.h"
#include "board/layout.h"
#include "util/clock.h"
#include "vm/machine.h"

#define DEADLINE_NS (30 * CLOCK_NS_PER_S)

static struct {
	struct vm_config cfg;
	struct config_fds fds;
	struct loop *loop;
	struct machine *m;
	struct machine_owner owner;
	int out_r, in_w; /* our ends of the console; -1: none */
	unsigned n_events;
	char events[4096]; /* "started reset:guest " */
	bool ended;
	int status;
	char text[512];	      /* of the last crashed or error event */
	uint32_t step, ready; /* for the guest; atomic */
} fx;

#define get(p) __atomic_load_n(&(p), __ATOMIC_SEQ_CST)
#define set(p, v) __atomic_store_n(&(p), v, __ATOMIC_SEQ_CST)
#define add(p) __atomic_add_fetch(&(p), 1, __ATOMIC_SEQ_CST)

static inline void guest_out(struct engine_vcpu *v, uint16_t port, uint32_t value, unsigned size)
{
	v->en->cfg.host->port_out(v->en->cfg.host->ctx, v->index, port, value, size);
}

static inline uint32_t guest_in(struct engine_vcpu *v, uint16_t port, unsigned size)
{
	return v->en->cfg.host->port_in(v->en->cfg.host->ctx, v->index, port, size);
}

static inline void guest_wrmsr(struct engine_vcpu *v, uint32_t msr, uint64_t value)
{
	assert_int_equal(v->en->cfg.host->apic_msr_write(v->en->cfg.host->ctx, v->index, msr, value),
			 0);
}

static inline void guest_poweroff(struct engine_vcpu *v)
{
	guest_out(v, LAYOUT_PORT_PM + 4, 0x2000, 2); /* SLP_EN, SLP_TYP 0 */
}

static void fx_event(void *ctx, enum control_event ev, json_t *details)
{
	const char *cause = json_string_value(json_object_get(details, "cause"));
	const char *text = json_string_value(
		json_object_get(details, ev == CONTROL_EV_ERROR ? "message" : "text"));
	size_t n = strlen(fx.events);

	(void)ctx;
	snprintf(fx.events + n, sizeof(fx.events) - n, "%s%s%s ", control_event_names[ev],
		 cause ? ":" : "", cause ? cause : "");
	if (ev == CONTROL_EV_GUEST_EXIT)
		snprintf(fx.events + strlen(fx.events) - 1, 16, ":%d ",
			 (int)json_integer_value(json_object_get(details, "code")));
	if (text)
		snprintf(fx.text, sizeof(fx.text), "%s", text);
	fx.n_events++;
	json_decref(details);
}

static void fx_ended(void *ctx, int status)
{
	(void)ctx;
	assert_false(fx.ended);
	fx.ended = true;
	fx.status = status;
}

/* Everything but the machine. */
static inline void fx_prepare(void (*guest)(struct engine_vcpu *v, struct engine_exit *exit))
{
	struct image im = image_elf(0);

	memset(&fx, 0, sizeof(fx));
	memset(&fake, 0, sizeof(fake));
	fake.guest = guest;
	config_init(&fx.cfg);
	config_fds_init(&fx.fds);
	strcpy(fx.cfg.name, "test");
	strcpy(fx.cfg.kernel_name, "vmlinux");
	fx.cfg.memory_bytes = 64 * MIB;
	fx.fds.fd[CONFIG_FD_KERNEL] = image_fd(&im);
	free(im.p);
	fx.out_r = fx.in_w = -1;
	fx.owner = (struct machine_owner){.event = fx_event, .ended = fx_ended};
	assert_int_equal(loop_create(&fx.loop, NULL), 0);
}

static inline void fx_console(void)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fx.out_r = p[0];
	fx.fds.fd[CONFIG_FD_CONSOLE_OUT] = p[1];
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fx.in_w = p[1];
	fx.fds.fd[CONFIG_FD_CONSOLE_IN] = p[0];
}

static inline void fx_create(void)
{
	struct err e = {0};

	if (machine_create(&fx.m, fx.loop, &fx.cfg, &fx.fds, &fake_engine_class, &fx.owner, &e) < 0)
		fail_msg("%s", e.msg);
}

static inline void fx_start(void)
{
	fx_create();
	assert_int_equal(machine_start(fx.m, NULL), 0);
}

static inline uint64_t fx_uptime(void)
{
	json_t *j = NULL;
	uint64_t ms;

	assert_int_equal(machine_query(fx.m, &j, NULL), 0);
	ms = (uint64_t)json_integer_value(json_object_get(j, "uptime_ms"));
	json_decref(j);
	return ms;
}

/* Runs the loop until cond. */
#define FX_UNTIL(cond)                                                                            \
	do {                                                                                      \
		uint64_t end_ = clock_ns() + DEADLINE_NS;                                         \
		while (!(cond)) {                                                                 \
			if (clock_ns() > end_)                                                    \
				fail_msg("never became true: %s (events: %s)", #cond, fx.events); \
			loop_run_once(fx.loop, 1);                                                \
		}                                                                                 \
	} while (0)

static inline void fx_finish(void)
{
	machine_destroy(fx.m);
	fx.m = NULL;
	loop_destroy(fx.loop);
	config_fds_close(&fx.fds);
	base_close_fd(&fx.out_r);
	base_close_fd(&fx.in_w);
	assert_int_equal(fake.opened, fake.closed);
	assert_int_equal(fake.begun, fake.taken + fake.abandoned);
}

#endif
