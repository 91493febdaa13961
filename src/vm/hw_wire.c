/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_wire.c - wires the engine to the board.
 *
 * Out of the engine (struct engine_host, on a vCPU's thread): ports and MMIO go to the buses under
 * the VM lock; the local APIC's page, its MSRs, CR8 and interrupt acknowledge go to the APIC without it.
 * Into the engine: the APIC's wake, NMI, INIT and SIPI go to the vCPU threads (vcpu.h), from any thread.
 * Time: the devices' and the APICs' timers are the clock's (vmclock.h).
 *
 * An engine that has interrupt controllers of its own is opened before the board is built, the router sends lines and
 * messages to it, and none of the APIC calls above are ever made.
 *
 * Time stamp counter. All vCPUs start with the same offset, which makes the guest's TSC begin near 0. The
 * APIC needs to know the TSC as the guest sees it, on other threads as well, when its deadline timer fires;
 * so the offset is noted each time the guest writes a deadline.
 */
#include "vm/hw.h"

#include "util/clock.h"

#define MSR_TSC_DEADLINE 0x6e0u

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* ---- engine to board; vCPU threads ---- */

static uint32_t port_in(void *ctx, unsigned vcpu, uint16_t port, unsigned size)
{
	struct hw *hw = ctx;
	uint32_t v;

	(void)vcpu;
	pthread_mutex_lock(hw->cfg.lock);
	v = (uint32_t)bus_read(&hw->ports, port, size);
	pthread_mutex_unlock(hw->cfg.lock);
	return v;
}

static void port_out(void *ctx, unsigned vcpu, uint16_t port, uint32_t value, unsigned size)
{
	struct hw *hw = ctx;

	(void)vcpu;
	pthread_mutex_lock(hw->cfg.lock);
	bus_write(&hw->ports, port, value, size);
	pthread_mutex_unlock(hw->cfg.lock);
}

static uint64_t mmio_read(void *ctx, unsigned vcpu, gpa_t gpa, unsigned size)
{
	struct hw *hw = ctx;
	uint64_t v;

	if (hw->lapics && lapic_mmio_hit(hw->lapics, vcpu, gpa))
		return lapic_mmio_read(hw->lapics, vcpu, gpa, size);
	pthread_mutex_lock(hw->cfg.lock);
	v = bus_read(&hw->mmio, gpa, size);
	pthread_mutex_unlock(hw->cfg.lock);
	return v;
}

static void mmio_write(void *ctx, unsigned vcpu, gpa_t gpa, uint64_t value, unsigned size)
{
	struct hw *hw = ctx;

	if (hw->lapics && lapic_mmio_hit(hw->lapics, vcpu, gpa)) {
		lapic_mmio_write(hw->lapics, vcpu, gpa, value, size);
		return;
	}
	pthread_mutex_lock(hw->cfg.lock);
	bus_write(&hw->mmio, gpa, value, size);
	pthread_mutex_unlock(hw->cfg.lock);
}

static int apic_msr_read(void *ctx, unsigned vcpu, uint32_t msr, uint64_t *value)
{
	return lapic_msr_read(((struct hw *)ctx)->lapics, vcpu, msr, value);
}

static int apic_msr_write(void *ctx, unsigned vcpu, uint32_t msr, uint64_t value)
{
	struct hw *hw = ctx;
	struct x86_state st;

	if (msr == MSR_TSC_DEADLINE) {
		vcpu_get_state(hw->vcpus, vcpu, X86_STATE_MSR, &st);
		store(&hw->tsc_offset[vcpu], st.msr.tsc_offset);
	}
	return lapic_msr_write(hw->lapics, vcpu, msr, value);
}

static unsigned cr8_read(void *ctx, unsigned vcpu)
{
	return lapic_cr8_read(((struct hw *)ctx)->lapics, vcpu);
}

static void cr8_write(void *ctx, unsigned vcpu, unsigned tpr)
{
	lapic_cr8_write(((struct hw *)ctx)->lapics, vcpu, tpr);
}

static bool irq_pending(void *ctx, unsigned vcpu)
{
	return lapic_irq_pending(((struct hw *)ctx)->lapics, vcpu);
}

static int irq_ack(void *ctx, unsigned vcpu)
{
	return lapic_irq_ack(((struct hw *)ctx)->lapics, vcpu);
}

static void wake(void *ctx, unsigned vcpu)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_look(hw->vcpus, vcpu);
}

static const struct engine_host host_calls = {
	.port_in = port_in,
	.port_out = port_out,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.apic_msr_read = apic_msr_read,
	.apic_msr_write = apic_msr_write,
	.cr8_read = cr8_read,
	.cr8_write = cr8_write,
	.irq_pending = irq_pending,
	.irq_ack = irq_ack,
	.wake = wake,
};

/* ---- APIC to vCPUs; any thread. Before there are vCPUs nothing can be woken. ---- */

static void apic_wake(void *ctx, unsigned cpu)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_interrupt(hw->vcpus, cpu);
}

static void apic_nmi(void *ctx, unsigned cpu)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_nmi(hw->vcpus, cpu);
}

static void apic_init(void *ctx, unsigned cpu)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_init(hw->vcpus, cpu);
}

static void apic_sipi(void *ctx, unsigned cpu, uint8_t vector)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_sipi(hw->vcpus, cpu, vector);
}

static uint64_t apic_guest_tsc(void *ctx, unsigned cpu)
{
	struct hw *hw = ctx;

	return clock_tsc() + load(&hw->tsc_offset[cpu]);
}

/* The clock's word to the APIC, and the armed deadline to the vCPU that may sleep until then. */
static void apic_timer_fired(void *ctx, unsigned cpu)
{
	lapic_timer_fired(((struct hw *)ctx)->lapics, cpu);
}

static void apic_timer_armed(void *ctx, unsigned cpu, uint64_t host_ns)
{
	struct hw *hw = ctx;

	if (hw->vcpus)
		vcpu_set_deadline(hw->vcpus, cpu, host_ns);
}

/* ---- vCPUs to machine ---- */

static void vcpu_stopped(void *ctx, unsigned vcpu, enum vcpu_stop why, const char *text)
{
	const struct hw_owner *o = ((struct hw *)ctx)->cfg.owner;

	o->stopped(o->ctx, vcpu, why, text);
}

static void vcpu_init_apic(void *ctx, unsigned vcpu)
{
	lapic_init_reset(((struct hw *)ctx)->lapics, vcpu);
}

static void vcpu_all_dead(void *ctx)
{
	const struct hw_owner *o = ((struct hw *)ctx)->cfg.owner;

	o->all_dead(o->ctx);
}

/* ---- interrupts of devices ---- */

static void sink_line(void *ctx, int pin, int isa, bool level)
{
	struct hw *hw = ctx;
	unsigned input = (pin >= 0 ? ENGINE_LINE_IOAPIC((unsigned)pin) : 0) |
			 (isa >= 0 ? ENGINE_LINE_PIC((unsigned)isa) : 0);

	hw->cfg.engine->irqchip->line(hw->engine, input, level);
}

static bool sink_msi(void *ctx, uint64_t addr, uint32_t data)
{
	struct hw *hw = ctx;

	return hw->cfg.engine->irqchip->msi(hw->engine, addr, data);
}

static int engine_interrupts(struct hw *hw, struct err *e)
{
	int r;

	hw->irq_sink = (struct irq_sink){.ctx = hw, .line = sink_line, .msi = sink_msi};
	r = irq_router_create_sink(&hw->irq, &hw->env, &hw->irq_sink, e);
	hw->env.irq = hw->irq;
	return r;
}

static int board_interrupts(struct hw *hw, struct err *e)
{
	struct lapic_config lc = {
		.n_cpus = hw->n_cpus,
		.tsc_khz = hw->tsc_khz,
		.phys_bits = hw_phys_bits(),
		.host = {.ctx = hw,
			 .wake = apic_wake,
			 .nmi = apic_nmi,
			 .init = apic_init,
			 .sipi = apic_sipi,
			 .guest_tsc = apic_guest_tsc},
		.timer = {.ctx = hw->cfg.clock,
			  .arm = vmclock_apic_arm,
			  .cancel = vmclock_apic_cancel},
		.now = vmclock_now,
		.now_ctx = hw->cfg.clock,
	};
	struct vmclock_apic timers = {.ctx = hw,
				      .fired = apic_timer_fired,
				      .armed = apic_timer_armed};
	int r;

	r = vmclock_apic_attach(hw->cfg.clock, hw->n_cpus, &timers, e);
	if (r < 0)
		return r;
	r = lapic_create(&hw->lapics, &lc, e);
	if (r < 0)
		return r;
	r = irq_router_create(&hw->irq, &hw->env, hw->lapics, e);
	hw->env.irq = hw->irq;
	return r;
}

int hw_wire_interrupts(struct hw *hw, struct err *e)
{
	return hw->cfg.engine->irqchip ? engine_interrupts(hw, e) : board_interrupts(hw, e);
}

void hw_wire(struct hw *hw)
{
	hw->host = host_calls;
	hw->host.ctx = hw;
	hw->vcpu_owner = (struct vcpu_owner){
		.ctx = hw,
		.stopped = vcpu_stopped,
		.init = vcpu_init_apic,
		.deadline = apic_timer_fired,
		.all_dead = vcpu_all_dead,
	};
}
