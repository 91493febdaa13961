/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_ask.c - what can be asked of a machine: state, counters, registers, and a look at all that can keep a guest from going on
 * (`lodge why`).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "virtio/balloon.h"
#include "virtio/net.h"
#include "vm/machine_int.h"

#define DUMP_MAX 65536u

static int packed(json_t *j, json_t **out, struct err *e)
{
	*out = j;
	return j ? 0 : err_set(e, ENOMEM, "out of memory");
}

int machine_agent(struct machine *m, int *fd, json_t **out, struct err *e)
{
	bool open;
	int r;

	if (!m->agent) {
		err_set(e, ENODEV, "this VM has no port for a guest agent");
		err_hint(e, "start it without --agent off");
		return -ENODEV;
	}
	r = port_socket_take(m->agent, fd, &open, e);
	return r ? r : packed(json_pack("{s:b}", "open", open), out, e);
}

int machine_query(struct machine *m, json_t **out, struct err *e)
{
	json_t *j = json_object();

	if (j &&
	    (json_object_set_new(j, "name", json_string(m->cfg->name)) ||
	     json_object_set_new(j, "state",
				 json_string(m->state == MACHINE_RUNNING ? "running" : "paused")) ||
	     json_object_set_new(j, "engine", json_string(m->engine->name)) ||
	     json_object_set_new(j, "cpus", json_u64(m->cfg->cpus)) ||
	     json_object_set_new(j, "memory", json_u64(m->cfg->memory_bytes)) ||
	     json_object_set_new(j, "uptime_ms", json_u64(vmclock_now(m->clock) / CLOCK_NS_PER_MS)) ||
	     json_object_set_new(j, "disks", disks_query(m->disks)))) {
		json_decref(j);
		j = NULL;
	}
	return packed(j, out, e);
}

int machine_info(struct machine *m, json_t **out, struct err *e)
{
	int r = machine_query(m, out, e);

	if (r == 0 && m->owner->sandbox &&
	    json_object_set_new(*out, "sandbox", m->owner->sandbox(m->owner->ctx))) {
		json_decref(*out);
		return packed(NULL, out, e);
	}
	return r;
}

/* The engine's "name value\n" lines. */
static int add_engine_stats(struct machine *m, json_t *j)
{
	_autofree char *text = malloc(DUMP_MAX);
	char *line, *save = NULL;
	int r = 0;

	if (!text || m->engine->stats(m->hw->engine, text, DUMP_MAX) < 0)
		return -ENOMEM;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		r |= json_object_set_new(j, line, json_u64(strtoull(value, NULL, 10)));
	}
	return r ? -ENOMEM : 0;
}

int machine_stats(struct machine *m, json_t **out, struct err *e)
{
	json_t *j = json_object();
	struct console_stats cs;
	int r = 0;

	if (machine_not_ending(m, e) < 0) {
		json_decref(j);
		return -ESHUTDOWN;
	}
	if (!j)
		return packed(NULL, out, e);
	console_stats(m->console, &cs);
	r |= json_object_set_new(j, "uptime_ms", json_u64(vmclock_now(m->clock) / CLOCK_NS_PER_MS));
	r |= json_object_set_new(j, "resets", json_u64(m->n_resets));
	r |= json_object_set_new(j, "start_cpu_us", json_u64(vcpu_first_run_cpu_ns() / 1000));
	r |= json_object_set_new(j, "reset_us", json_u64(m->reset_us));
	r |= json_object_set_new(j, "memory.resident_bytes", json_u64(gmem_resident(m->mem)));
	r |= json_object_set_new(j, "console.bytes_in", json_u64(cs.bytes_in));
	r |= json_object_set_new(j, "console.bytes_out", json_u64(cs.bytes_out));
	r |= json_object_set_new(j, "console.blocked", json_u64(cs.n_blocked));
	r |= hw_stats(m->hw, j);
	for (unsigned i = 0; i < m->cfg->cpus; i++) {
		struct vcpu_stats vs;
		char key[32];

		vcpu_stats(m->hw->vcpus, i, &vs);
		snprintf(key, sizeof(key), "vcpu%u.cpu_ms", i);
		r |= json_object_set_new(j, key, json_u64(vs.cpu_ns / CLOCK_NS_PER_MS));
		snprintf(key, sizeof(key), "vcpu%u.runs", i);
		r |= json_object_set_new(j, key, json_u64(vs.n_runs));
		snprintf(key, sizeof(key), "vcpu%u.halts", i);
		r |= json_object_set_new(j, key, json_u64(vs.n_halts));
		snprintf(key, sizeof(key), "vcpu%u.wakes", i);
		r |= json_object_set_new(j, key, json_u64(vs.n_wakes));
	}
	r |= add_engine_stats(m, j);
	if (r) {
		json_decref(j);
		j = NULL;
	}
	return packed(j, out, e);
}

int machine_balloon(struct machine *m, const uint64_t *bytes, json_t **out, struct err *e)
{
	struct virtio_dev *d;

	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	d = m->hw->balloon;
	if (!d) {
		err_set(e, ENODEV, "the VM '%s' has no memory balloon", m->cfg->name);
		return err_hint(e, "start it with --balloon on");
	}
	if (bytes && balloon_set_target(d, *bytes, e) < 0)
		return err_field(e, "size", NULL);
	*out = json_object();
	if (*out && (json_object_set_new(*out, "target_bytes", json_u64(balloon_target(d))) ||
		     json_object_set_new(*out, "actual_bytes", json_u64(balloon_actual(d))) ||
		     json_object_set_new(*out, "resident_bytes", json_u64(gmem_resident(m->mem))))) {
		json_decref(*out);
		*out = NULL;
	}
	return packed(*out, out, e);
}

int machine_dump(struct machine *m, unsigned vcpu, json_t **out, struct err *e)
{
	struct text t = {.buf = malloc(DUMP_MAX), .size = DUMP_MAX};
	char number[16];

	if (machine_not_ending(m, e) < 0) {
		free(t.buf);
		return -ESHUTDOWN;
	}
	if (vcpu >= m->cfg->cpus) {
		free(t.buf);
		snprintf(number, sizeof(number), "%u", vcpu);
		err_set(e, EINVAL, "there is no vCPU %u; the VM has %u", vcpu, m->cfg->cpus);
		return err_field(e, "vcpu", number);
	}
	if (!t.buf)
		return packed(NULL, out, e);
	t.buf[0] = '\0';
	vcpu_set_pause(m->hw->vcpus);
	hw_dump(m->hw, vcpu, &t);
	machine_let_run(m);
	*out = json_pack("{s:s}", "text", t.buf);
	free(t.buf);
	return packed(*out, out, e);
}

/* ---- a look ---- */

/* What a vCPU does, by its registers: both engines say it alike. */
static const char *vcpu_doing(const struct x86_state *st)
{
	if (st->ev.wait_for_sipi)
		return "off";
	if (!st->ev.halted)
		return "runs";
	return st->rflags & X86_IF ? "sleeps" : "dead";
}

static json_t *look_vcpu(struct machine *m, unsigned i, const struct vcpu_stats *vs)
{
	struct x86_state st;
	uint64_t now = clock_ns();
	char rip[24];
	json_t *j;

	vcpu_get_state(m->hw->vcpus, i, X86_STATE_GPR | X86_STATE_SYS | X86_STATE_EVENTS, &st);
	snprintf(rip, sizeof(rip), "%#llx", (unsigned long long)(st.seg[X86_CS].base + st.rip));
	j = json_pack("{s:s, s:s, s:b, s:i, s:I, s:I}", "doing", vcpu_doing(&st), "rip", rip,
		      "interrupts", (int)!!(st.rflags & X86_IF), "cpl", (int)x86_state_cpl(&st),
		      "cpu_us", (json_int_t)(vs->cpu_ns / CLOCK_NS_PER_US), "halts",
		      (json_int_t)vs->n_halts);
	/* An engine with controllers of its own keeps its timers to itself. */
	if (j && m->hw->lapics && vs->deadline_ns)
		json_object_set_new(j, "timer_ms",
				    json_u64((vs->deadline_ns > now ? vs->deadline_ns - now : 0) /
					     CLOCK_NS_PER_MS));
	return j;
}

static json_t *look_vcpus(struct machine *m)
{
	struct vcpu_stats vs[CONFIG_CPUS_MAX];
	json_t *list = json_array();

	/* What their threads used and how long they sleep is changed by the pause. */
	for (unsigned i = 0; i < m->cfg->cpus; i++)
		vcpu_stats(m->hw->vcpus, i, &vs[i]);
	vcpu_set_pause(m->hw->vcpus);
	for (unsigned i = 0; i < m->cfg->cpus; i++)
		(void)json_array_append_new(list, look_vcpu(m, i, &vs[i]));
	machine_let_run(m);
	return list;
}

static json_t *look_devices(struct machine *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->hw->n_virtio; i++) {
		const struct virtio_dev *d = m->hw->virtio[i];
		uint8_t status = __atomic_load_n(&d->status, __ATOMIC_RELAXED);

		(void)json_array_append_new(list,
					    json_pack("{s:s, s:b, s:b}", "id", d->pci.dev.id,
						      "driver",
						      (int)!!(status & VIRTIO_S_DRIVER_OK), "broken",
						      (int)!!(status & VIRTIO_S_NEEDS_RESET)));
	}
	return list;
}

int machine_look(struct machine *m, json_t **out, struct err *e)
{
	_autojson json_t *nets = NULL;
	json_t *j;
	int r;

	if (machine_not_ending(m, e) < 0)
		return -ESHUTDOWN;
	r = machine_query(m, out, e);
	if (r == 0 && machine_nets(m, &nets, e) < 0) {
		json_decref(*out);
		r = -ENOMEM;
	}
	if (r < 0)
		return r;
	j = *out;
	r |= json_object_update(j, nets);
	if (m->state == MACHINE_PAUSED && m->paused_by)
		r |= json_object_set_new(j, "paused_by", json_string(m->paused_by));
	r |= json_object_set_new(j, "resets", json_u64(m->n_resets));
	r |= json_object_set_new(j, "resident_bytes", json_u64(gmem_resident(m->mem)));
	r |= json_object_set_new(j, "balloon_bytes",
				 json_u64(m->hw->balloon ? balloon_actual(m->hw->balloon) : 0));
	r |= json_object_set_new(j, "console_pending", json_u64(console_pending(m->console)));
	r |= json_object_set_new(j, "agent",
				 json_string(m->agent ? port_socket_look(m->agent) : "none"));
	r |= json_object_set_new(j, "devices", look_devices(m));
	r |= json_object_set_new(j, "vcpus", look_vcpus(m));
	if (r == 0)
		return 0;
	json_decref(j);
	return packed(NULL, out, e);
}
