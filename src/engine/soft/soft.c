/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft.c - the software engine as an engine_class: its life cycle and the run loop of a vCPU.
 *
 * The run loop takes what other threads asked for (v->req), delivers what is pending at an instruction
 * boundary in the order of SDM vol. 3 §6.9 (traps, NMI, interrupts), and runs: translated where the mode
 * allows, else one instruction by the reference way.
 *
 * Files of this folder that run while guest FPU state is live must not use vector registers; this one saves
 * that state (soft_fp_save) before it calls the host or the C library.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/soft/lockstep.h"
#include "engine/soft/translate.h"
#include "x86/cpuid_model.h"

#define CODE_CACHE_SIZE (64 * MIB) /* where the configuration does not say */
#define TRIM_ABOVE (2 * MIB)	   /* of code: what an idle guest runs is less */

struct engine {
	struct soft so;
};

static struct soft_vcpu *vcpu_of(struct engine_vcpu *ev)
{
	return (struct soft_vcpu *)(void *)ev;
}

struct soft_vcpu *soft_vcpu_of(struct engine_vcpu *ev)
{
	return vcpu_of(ev);
}

/* ---- life cycle ---- */

static void memory_written(void *ctx, gpa_t gpa, uint64_t len)
{
	struct soft *so = ctx;

	__atomic_add_fetch(&so->n_written, 1, __ATOMIC_SEQ_CST); /* as soft_store_done() does, too */
	soft_code_written(so, NULL, gpa, len);
}

static int make_view(struct soft *so, struct err *e)
{
	void *p;

	so->view = so->mem->base;
	if (so->n_vcpus == 1)
		return 0;
	p = mmap(NULL, so->mem->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		 so->mem->memfd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "cannot map %llu MiB of guest memory a second time",
				 (unsigned long long)(so->mem->size_bytes >> 20));
	so->view = p;
	return 0;
}

static void soft_close(struct engine *en)
{
	if (!en)
		return;
	if (en->so.mem && en->so.mem->hook.ctx == &en->so)
		en->so.mem->hook = (struct gmem_hook){0};
	if (en->so.mem && en->so.view && en->so.view != en->so.mem->base)
		munmap(en->so.view, en->so.mem->size_bytes);
	soft_cache_destroy(&en->so);
	free(en);
}

static int soft_open(struct engine **out, const struct engine_config *cfg, struct err *e)
{
	struct engine *en = calloc(1, sizeof(*en));
	int r;

	if (!en)
		return err_set(e, ENOMEM, "no memory for the software engine");
	if (cfg->n_vcpus < 1 || cfg->n_vcpus > ARRAY_SIZE(en->so.vcpu)) {
		free(en);
		return err_set(e, EINVAL, "the software engine runs 1 to %zu vCPUs, not %u",
			       ARRAY_SIZE(en->so.vcpu), cfg->n_vcpus);
	}
	en->so.cfg = *cfg;
	en->so.chaos = cfg->soft_mode == SOFT_MODE_CHAOS;
	if (en->so.chaos)
		en->so.cfg.soft_mode = SOFT_MODE_TRANSLATE;
	en->so.mem = cfg->mem;
	en->so.host = cfg->host;
	en->so.n_vcpus = cfg->n_vcpus;
	soft_fp_init();
	cpuid_build(&en->so.cpuid, cpuid_host, cfg->cpu_model, cfg->n_vcpus, cfg->tsc_khz);
	cpuid_add_pv(&en->so.cpuid, cfg->n_vcpus, UINT32_MAX);
	r = cpuid_model_check(cfg->cpu_model, &en->so.cpuid, "software", e);
	if (!r)
		r = make_view(&en->so, e);
	if (!r)
		r = soft_cache_create(&en->so,
				      cfg->soft_cache_bytes ? cfg->soft_cache_bytes :
							      CODE_CACHE_SIZE,
				      e);
	if (!r)
		r = soft_signal_init(e);
	if (r) {
		soft_close(en);
		return r;
	}
	cfg->mem->hook = (struct gmem_hook){.written = memory_written, .ctx = &en->so};
	*out = en;
	return 0;
}

static int soft_vcpu_create(struct engine *en, unsigned index, struct engine_vcpu **out,
			    struct err *e)
{
	size_t size = ALIGN_UP(sizeof(struct soft_vcpu), 4096);
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return err_errno(e, errno, "no memory for vCPU %u", index);
	struct soft_vcpu *v = p;

	v->index = index;
	v->soft = &en->so;
	v->host = en->so.host;
	v->mem = en->so.mem;
	v->view_delta = en->so.mem->base - en->so.view;
	v->tr.self = (uint64_t)(uintptr_t)v;
	v->tr.max_insns = SOFT_BLOCK_INSNS;
	v->tr.native_code = en->so.cache->rw + en->so.cache->thunks +
			    index * (size_t)SOFT_THUNK_SIZE;
	soft_window_init(v);
	x86_state_reset(&v->s, index == 0);
	soft_mode_changed(v);
	en->so.vcpu[index] = v;
	soft_tr_init_jc(v);
	if (en->so.chaos)
		soft_chaos_init(v);
	soft_tlb_flush_all(v);
	*out = p;
	return 0;
}

static void soft_vcpu_destroy(struct engine_vcpu *ev)
{
	struct soft_vcpu *v = vcpu_of(ev);

	if (!v)
		return;
	v->soft->vcpu[v->index] = NULL;
	soft_lockstep_destroy(v);
	soft_window_destroy(v);
	munmap(v, ALIGN_UP(sizeof(*v), 4096));
}

static int soft_vcpu_attach(struct engine_vcpu *ev, struct err *e)
{
	struct soft_vcpu *v = vcpu_of(ev);

	/* seccomp vm: arch_prctl arg0=ARCH_SET_GS - the vCPU that a thread is */
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, v) < 0)
		return err_errno(e, errno, "cannot set the GS base of vCPU %u's thread", v->index);
	soft_signal_attach(v);
	return 0;
}

/* ---- running ---- */

static void take_requests(struct soft_vcpu *v, uint32_t *req)
{
	*req = __atomic_exchange_n(&v->req, 0, __ATOMIC_SEQ_CST);
	if (*req & SOFT_REQ_FLUSH)
		soft_tlb_flush_all(v);
	if (*req & SOFT_REQ_CLEAN) {
		soft_tlb_drop_write_tags(v);
		__atomic_add_fetch(&v->n_clean, 1, __ATOMIC_SEQ_CST);
	}
	if (*req & SOFT_REQ_JC)
		soft_tr_flush_jc(v);
	if (*req & SOFT_REQ_STOP)
		soft_cache_park(v->soft->cache);
	if (*req & SOFT_REQ_NMI)
		v->s.ev.nmi_pending = true;
	if (*req & SOFT_REQ_KICK)
		v->s.ev.kicked = true;
	if (*req & SOFT_REQ_IRQ)
		v->tr.irq_check = true;
}

/* Delivers at most one event at an instruction boundary. */
static void deliver(struct soft_vcpu *v)
{
	struct x86_events *ev = &v->s.ev;

	if (v->trap_pending && !ev->movss_shadow) {
		soft_debug_trap(v);
		return;
	}
	if (ev->nmi_pending && !ev->nmi_masked && !ev->movss_shadow) {
		ev->nmi_pending = ev->halted = false;
		soft_nmi(v);
		return;
	}
	if (!v->tr.irq_check || !(v->s.rflags & X86_IF))
		return;
	/* An STI shadow holds interrupts back for one more instruction. */
	if (ev->sti_shadow || ev->movss_shadow)
		return;
	soft_fp_save(v);
	if (!v->host->irq_pending(v->host->ctx, v->index)) {
		v->tr.irq_check = false;
		return;
	}
	int vector = v->host->irq_ack(v->host->ctx, v->index);

	/* irq_check stays: there may be another one, and accepting this one changed the priority. */
	if (vector < 0)
		return;
	ev->halted = false;
	soft_window_tick(v);
	soft_interrupt(v, (unsigned)vector);
}

/* One turn at an instruction boundary; false: *exit says why the caller is to look. */
static bool turn(struct soft_vcpu *v, struct engine_exit *exit)
{
	enum soft_mode mode = v->soft->cfg.soft_mode;
	uint32_t req = 0;

	soft_pv_awake(v);
	if (__atomic_load_n(&v->req, __ATOMIC_SEQ_CST))
		take_requests(v, &req);
	deliver(v);
	if (v->shutdown) {
		exit->reason = ENGINE_EXIT_SHUTDOWN;
		return false;
	}
	if (req & SOFT_REQ_OUT) {
		exit->reason = ENGINE_EXIT_KICK;
		return false;
	}
	if (v->s.ev.wait_for_sipi) {
		exit->reason = ENGINE_EXIT_HALT;
		return false;
	}
	if (v->s.ev.halted && v->s.ev.kicked)
		v->s.ev.halted = v->s.ev.kicked = false;
	if (v->s.ev.halted) {
		if (__atomic_load_n(&v->req, __ATOMIC_SEQ_CST))
			return true;
		exit->reason = ENGINE_EXIT_HALT;
		soft_pv_asleep(v);
		return false;
	}
	if (mode == SOFT_MODE_LOCKSTEP) {
		exit->reason = ENGINE_EXIT_ERROR;
		return soft_lockstep_run(v, exit->why, sizeof(exit->why));
	}
	if (mode == SOFT_MODE_REFERENCE || !soft_tr_run(v)) {
		/* A run of single steps; look around as often as the translator does. */
		for (unsigned i = 0; i < 64 && soft_step(v); i++) {
			if (__atomic_load_n(&v->req, __ATOMIC_RELAXED) || v->tr.irq_check ||
			    mode == SOFT_MODE_TRANSLATE)
				break;
		}
	}
	return true;
}

static void soft_run(struct engine_vcpu *evcpu, struct engine_exit *exit)
{
	struct soft_vcpu *v = vcpu_of(evcpu);
	bool lockstep = v->soft->cfg.soft_mode == SOFT_MODE_LOCKSTEP, more;

	exit->why[0] = 0;
	__atomic_store_n(&v->running, 1,
			 __ATOMIC_SEQ_CST); /* then looks at v->req (soft_dirty_sync) */
	do {
		if (unlikely(lockstep))
			soft_lockstep_enter(v);
		more = turn(v, exit);
		if (unlikely(lockstep))
			soft_lockstep_leave(v);
	} while (more);
	soft_fp_save(v);
	__atomic_store_n(&v->running, 0, __ATOMIC_SEQ_CST);
}

void soft_run_block(struct soft_vcpu *v, unsigned max_insns)
{
	v->tr.max_insns = max_insns;
	__atomic_store_n(&v->req, 0, __ATOMIC_SEQ_CST);
	soft_tr_run_block(v);
	soft_fp_save(v);
	v->tr.max_insns = SOFT_BLOCK_INSNS;
}

static void soft_kick(struct engine_vcpu *ev, bool out)
{
	__atomic_or_fetch(&vcpu_of(ev)->req, SOFT_REQ_IRQ | (out ? SOFT_REQ_OUT : 0),
			  __ATOMIC_SEQ_CST);
}

static void soft_nmi_request(struct engine_vcpu *ev)
{
	__atomic_or_fetch(&vcpu_of(ev)->req, SOFT_REQ_NMI, __ATOMIC_SEQ_CST);
}

/* ---- state ---- */

static void soft_get_state(struct engine_vcpu *ev, uint64_t mask, struct x86_state *s)
{
	struct soft_vcpu *v = vcpu_of(ev);

	soft_fp_save(v);
	v->s.cr8 = v->host->cr8_read(v->host->ctx, v->index);
	x86_state_copy(s, &v->s, mask);
	/* One that came since the last look. */
	if ((mask & X86_STATE_EVENTS) && (__atomic_load_n(&v->req, __ATOMIC_RELAXED) & SOFT_REQ_NMI))
		s->ev.nmi_pending = true;
}

static int soft_set_state(struct engine_vcpu *ev, uint64_t mask, const struct x86_state *s)
{
	struct soft_vcpu *v = vcpu_of(ev);

	soft_fp_save(v);
	x86_state_copy(&v->s, s, mask);
	v->s.rflags |= X86_F1;
	v->shutdown = v->trap_pending = false;
	v->trap_dr6 = 0;
	v->tr.irq_check = true;
	soft_state_loaded(v);
	return 0;
}

/* A vCPU that is not running now takes the request before its next instruction. */
static void soft_dirty_sync(struct engine *en)
{
	struct soft *so = &en->so;
	uint32_t done[ARRAY_SIZE(so->vcpu)];

	for (unsigned i = 0; i < so->n_vcpus; i++) {
		struct soft_vcpu *v = so->vcpu[i];

		if (!v)
			continue;
		done[i] = __atomic_load_n(&v->n_clean, __ATOMIC_SEQ_CST);
		__atomic_or_fetch(&v->req, SOFT_REQ_CLEAN, __ATOMIC_SEQ_CST);
	}
	for (unsigned i = 0; i < so->n_vcpus; i++) {
		struct soft_vcpu *v = so->vcpu[i];

		while (v && __atomic_load_n(&v->running, __ATOMIC_SEQ_CST) &&
		       __atomic_load_n(&v->n_clean, __ATOMIC_SEQ_CST) == done[i])
			sched_yield();
	}
}

static int soft_get_clock(struct engine *en, uint64_t tsc, uint64_t *ns)
{
	*ns = soft_pvclock_get(&en->so, tsc);
	return 0;
}

static int soft_set_clock(struct engine *en, uint64_t tsc, uint64_t ns)
{
	soft_pvclock_set(&en->so, tsc, ns);
	return 0;
}

static void soft_cpuid(struct engine *en, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	cpuid_get(&en->so.cpuid, leaf, sub, 0, &out[CPUID_EAX], &out[CPUID_EBX], &out[CPUID_ECX],
		  &out[CPUID_EDX]);
}

/* Most translated code of a boot is never run again. */
static void soft_trim(struct engine *en)
{
	struct soft_cache *c = en->so.cache;

	if (c->used - c->stubs_end > TRIM_ABOVE)
		soft_cache_flush(&en->so, NULL, true);
}

static int soft_stats(struct engine *en, char *buf, size_t size)
{
	struct soft *so = &en->so;
	struct soft_cache *c = so->cache;
	struct soft_vcpu *sum = calloc(1, sizeof(*sum)); /* too large for a stack */

	if (!sum)
		return 0;
	for (unsigned i = 0; i < so->n_vcpus; i++) {
		const struct soft_vcpu *v = so->vcpu[i];

		if (!v)
			continue;
#define ADD(f) sum->f += v->f
		ADD(n_steps), ADD(n_tlb_fill), ADD(n_flush), ADD(n_exc), ADD(n_irq), ADD(n_mmio),
			ADD(n_pio), ADD(n_yield), ADD(n_space_hits);
		ADD(tr.n_enter), ADD(tr.n_miss), ADD(tr.n_slow), ADD(tr.n_link), ADD(tr.n_ind),
			ADD(tr.n_fault), ADD(window.n_opened), ADD(window.n_closed),
			ADD(window.n_faults);
#undef ADD
		for (unsigned op = 0; op < X86_OP_COUNT; op++)
			sum->tr.slow_by_op[op] += v->tr.slow_by_op[op];
	}
	size_t n = 0;
#define OUT(...) \
	n += (size_t)snprintf(n < size ? buf + n : NULL, n < size ? size - n : 0, __VA_ARGS__)
#define LINE(name, value) OUT("%s %llu\n", name, (unsigned long long)(value))
	LINE("soft.blocks", c->n_blocks);
	LINE("soft.code_bytes", c->used);
	LINE("soft.arena_bytes", c->arena_used);
	LINE("soft.translated", c->n_translated);
	LINE("soft.translated_insns", c->n_insns);
	LINE("soft.translated_bytes", c->n_bytes_guest);
	LINE("soft.invalidated", c->n_invalidated);
	LINE("soft.unlinked", c->n_unlinked);
	LINE("soft.cache_flushes", c->n_flushes);
	LINE("soft.cross_links", c->n_cross);
	LINE("soft.enters", sum->tr.n_enter);
	LINE("soft.link_exits", sum->tr.n_link);
	LINE("soft.indirect_misses", sum->tr.n_ind);
	LINE("soft.host_faults", sum->tr.n_fault);
	LINE("soft.tlb_misses", sum->tr.n_miss);
	LINE("soft.tlb_fills", sum->n_tlb_fill);
	LINE("soft.tlb_flushes", sum->n_flush);
	LINE("soft.pcid_hits", sum->n_space_hits);
	LINE("soft.windows", sum->window.n_opened);
	LINE("soft.windows_closed", sum->window.n_closed);
	LINE("soft.window_faults", sum->window.n_faults);
	LINE("soft.steps", sum->n_steps);
	LINE("soft.slow", sum->tr.n_slow);
	LINE("soft.exceptions", sum->n_exc);
	LINE("soft.interrupts", sum->n_irq);
	LINE("soft.mmio", sum->n_mmio);
	LINE("soft.pio", sum->n_pio);
	LINE("soft.yields", sum->n_yield);
	for (unsigned op = 0; op < X86_OP_COUNT; op++)
		if (sum->tr.slow_by_op[op])
			OUT("soft.slow.%s %llu\n", x86_op_name((enum x86_op)op),
			    (unsigned long long)sum->tr.slow_by_op[op]);
#undef LINE
#undef OUT
	free(sum);
	return (int)n;
}

const struct engine_class engine_soft = {
	.name = "soft",
	.help = "Lodge's own software engine: any x86-64 host, no hardware virtualization needed",
	.open = soft_open,
	.close = soft_close,
	.vcpu_create = soft_vcpu_create,
	.vcpu_destroy = soft_vcpu_destroy,
	.vcpu_attach = soft_vcpu_attach,
	.run = soft_run,
	.kick = soft_kick,
	.nmi = soft_nmi_request,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.dirty_sync = soft_dirty_sync,
	.trim = soft_trim,
	.get_clock = soft_get_clock,
	.set_clock = soft_set_clock,
	.cpuid = soft_cpuid,
	.second_view = true,
	.stats = soft_stats,
};
