/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw.c - builds the board and the engine (what connects them is in hw_wire.c), and has the life of both: pause, resume, end.
 */
#include "vm/hw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "board/debug_exit.h"
#include "board/hotplug.h"
#include "board/i8042.h"
#include "board/layout.h"
#include "board/pit.h"
#include "board/pm.h"
#include "board/pvpanic.h"
#include "board/rtc.h"
#include "board/uart.h"
#include "util/clock.h"
#include "x86/cpuid.h"

/* ---- building ---- */

/* The list of devices; VM lock held. */
static int build_devices(struct hw *hw, struct err *e)
{
	const struct dev_env *env = &hw->env;
	const struct gmem *mem = hw->cfg.mem;
	struct rtc_config rtc = {.n_cpus = hw->n_cpus, .battery = hw->cfg.battery};
	struct uart_config uart = {.id = "com1", .port = LAYOUT_PORT_COM1, .gsi = LAYOUT_IRQ_COM1};
	struct pm_config pm = {.timer_32bit = false};
	struct pci_root_config pci = {.no_lpc = !hw->cfg.vm->lpc};
	int r = 0;

	for (unsigned i = 0; i < mem->n_regions; i++)
		if (mem->region[i].gpa < LAYOUT_HIGH_RAM)
			rtc.low_ram_bytes += mem->region[i].size;
		else
			rtc.high_ram_bytes += mem->region[i].size;
	if (hw->cfg.vm->console_device == CONFIG_CONSOLE_SERIAL) {
		struct console_calls calls;

		console_backend(hw->cfg.console, &calls);
		uart.backend = (struct uart_backend){calls.ctx, calls.tx, calls.rx_room};
	}

	if (!hw->cfg.engine->has_pit || !hw->cfg.engine->has_pit(hw->engine))
		r = pit_create(&hw->dev[HW_PIT], env, e);
	if (r == 0)
		r = rtc_create(&hw->dev[HW_RTC], env, &rtc, e);
	if (r == 0)
		r = uart_create(&hw->dev[HW_UART], env, &uart, e);
	if (r == 0)
		r = pm_create(&hw->dev[HW_PM], env, &pm, e);
	if (r == 0)
		r = i8042_create(&hw->dev[HW_I8042], env, e);
	if (r == 0)
		r = pvpanic_create(&hw->dev[HW_PVPANIC], env, e);
	if (r == 0 && hw->cfg.vm->debug_exit)
		r = debug_exit_create(&hw->dev[HW_DEBUG_EXIT], env, e);
	if (r == 0)
		r = hw_plug_create(hw, e);
	pci.pm = hw->dev[HW_PM];
	if (r == 0)
		r = pci_root_create(&hw->pci, env, &pci, e);
	if (r == 0)
		r = hw_virtio_create(hw, e);
	if (r == 0)
		hw_plug_slots(hw);
	return r;
}

static size_t uart_space(void *ctx)
{
	return uart_rx_space(ctx);
}

static size_t uart_push(void *ctx, const uint8_t *buf, size_t len)
{
	return uart_rx_push(ctx, buf, len);
}

static void uart_ready(void *ctx)
{
	uart_tx_ready(ctx);
}

static void attach_console(struct hw *hw)
{
	const struct console_user user = {hw->dev[HW_UART], uart_space, uart_push, uart_ready};

	if (hw->cfg.vm->console_device == CONFIG_CONSOLE_SERIAL)
		console_attach(hw->cfg.console, &user);
	else
		hw_virtio_attach(hw);
}

/*
 * Whose the interval timer is under KVM. The kernel's costs a thread, and only a guest that lives by this timer has something of it:
 * Linux does when it is told so.
 */
static enum kvm_pit choose_pit(const struct vm_config *vm)
{
	if (vm->kvm_pit != CONFIG_KVM_PIT_AUTO)
		return vm->kvm_pit == CONFIG_KVM_PIT_KERNEL ? KVM_PIT_KERNEL : KVM_PIT_BOARD;
	return hw_boot_wants_pit(vm->cmdline) ? KVM_PIT_TRY : KVM_PIT_BOARD;
}

static int open_engine(struct hw *hw, struct err *e)
{
	struct engine_config ec = {
		.mem = hw->cfg.mem,
		.host = &hw->host,
		.n_vcpus = hw->n_cpus,
		.tsc_khz = hw->tsc_khz,
		.cpu_model = (enum cpuid_model)hw->cfg.vm->cpu_model,
		.soft_mode = (enum soft_mode)hw->cfg.vm->soft_mode,
		.soft_trace = hw->cfg.vm->soft_trace,
		.soft_trace_address = hw->cfg.vm->soft_trace_address,
		.soft_perf_map = hw->cfg.vm->soft_perf_map,
		.soft_perf_map_fd = hw->cfg.fds->fd[CONFIG_FD_PERF_MAP],
		.soft_cache_bytes = hw->cfg.vm->soft_cache_bytes,
		.latch_port = {LAYOUT_PORT_RTC}, /* the index of CMOS */
		.n_latch_ports = 1,
		.kvm_pit = choose_pit(hw->cfg.vm),
		.kvm_fd = hw->cfg.fds->fd[CONFIG_FD_KVM],
		.begun = hw->cfg.begun,
	};

	hw->cfg.begun = NULL;
	return hw->cfg.engine->open(&hw->engine, &ec, e);
}

static int build(struct hw *hw, struct err *e)
{
	bool first = hw->cfg.engine->irqchip; /* before the devices set their lines */
	int r = 0;

	hw->tsc_offset = calloc(hw->n_cpus, sizeof(*hw->tsc_offset));
	if (!hw->tsc_offset)
		return err_set(e, ENOMEM, "out of memory");
	/* The longest work comes first: behind it what was begun is ready, the engine and the measuring of the TSC. */
	if (!hw->cfg.from_state)
		r = hw_boot_load(hw, e);
	hw->tsc_khz = clock_tsc_khz();
	if (r == 0 && first)
		r = open_engine(hw, e);
	if (r == 0 && first)
		r = doorbell_set_create(&hw->doorbells, hw->cfg.engine, hw->engine, hw->cfg.loop,
					&hw->env, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(hw->cfg.lock);
	r = hw_wire_interrupts(hw, e);
	if (r == 0)
		r = build_devices(hw, e);
	pthread_mutex_unlock(hw->cfg.lock);
	if (r == 0 && !hw->cfg.from_state)
		r = hw_boot_acpi(hw, e);
	if (r == 0 && !first)
		r = open_engine(hw, e);
	if (r == 0)
		r = vcpu_set_create(&hw->vcpus, hw->cfg.engine, hw->engine, &hw->host,
				    &hw->vcpu_owner, hw->n_cpus, e);
	if (r == 0 && !hw->cfg.from_state)
		r = hw_boot_start(hw, e);
	if (r == 0)
		attach_console(hw);
	return r;
}

_Static_assert((int)CONFIG_SOFT_TRANSLATE == (int)SOFT_MODE_TRANSLATE &&
		       (int)CONFIG_SOFT_REFERENCE == (int)SOFT_MODE_REFERENCE &&
		       (int)CONFIG_SOFT_LOCKSTEP == (int)SOFT_MODE_LOCKSTEP &&
		       (int)CONFIG_SOFT_CHAOS == (int)SOFT_MODE_CHAOS,
	       "the configuration's modes are the engine's");

_Static_assert((int)CONFIG_CPU_HOST == (int)CPUID_MODEL_HOST &&
		       (int)CONFIG_CPU_V1 == (int)CPUID_MODEL_V1 &&
		       (int)CONFIG_CPU_V2 == (int)CPUID_MODEL_V2 &&
		       (int)CONFIG_CPU_V3 == (int)CPUID_MODEL_V3 &&
		       (int)CONFIG_CPU_MODELS == (int)CPUID_MODELS,
	       "the configuration's models are the engines'");

int hw_create(struct hw **out, const struct hw_config *cfg, struct err *e)
{
	struct hw *hw = calloc(1, sizeof(*hw));
	int r;

	*out = NULL;
	if (!hw) {
		if (cfg->begun)
			cfg->engine->abandon(cfg->begun);
		return err_set(e, ENOMEM, "out of memory");
	}
	hw->cfg = *cfg;
	hw->n_cpus = cfg->vm->cpus;
	hw_wire(hw);
	bus_init(&hw->ports, "port", BUS_PORT_LAST, 4);
	bus_init(&hw->mmio, "mmio", BUS_MMIO_LAST, 8);
	hw->env = (struct dev_env){
		.ports = &hw->ports,
		.mmio = &hw->mmio,
		.mem = cfg->mem,
		.split_rings = cfg->vm->split_rings,
		.loop = cfg->loop,
		.lock = cfg->lock,
		.request = cfg->owner->request,
		.request_ctx = cfg->owner->ctx,
	};
	vmclock_dev(cfg->clock, &hw->env.clock);
	r = build(hw, e);
	if (r < 0) {
		hw_destroy(hw);
		return r;
	}
	*out = hw;
	return 0;
}

struct engine *hw_destroy_but_engine(struct hw *hw)
{
	struct engine *engine = hw->engine;
	struct vcpu_set *vcpus;

	if (hw->cfg.begun)
		hw->cfg.engine->abandon(hw->cfg.begun);
	console_detach(hw->cfg.console);
	/* Threads first; then nobody but this thread and idle timers know the board. */
	vcpus = hw->vcpus;
	if (vcpus)
		vcpu_set_stop(vcpus);
	pthread_mutex_lock(hw->cfg.lock);
	hw_virtio_destroy(hw);
	if (hw->pci)
		pci_root_destroy(hw->pci);
	for (unsigned i = HW_DEVICES; i-- > 0;)
		device_destroy(hw->dev[i]);
	if (hw->irq)
		irq_router_destroy(hw->irq);
	if (hw->lapics)
		lapic_destroy(hw->lapics);
	pthread_mutex_unlock(hw->cfg.lock);
	vmclock_apic_detach(hw->cfg.clock);
	doorbell_set_destroy(hw->doorbells);
	vcpu_set_destroy(vcpus);
	hw->cfg.mem->hook = (struct gmem_hook){0};
	bus_fini(&hw->ports);
	bus_fini(&hw->mmio);
	free(hw->tsc_offset);
	free(hw);
	return engine;
}

void hw_destroy(struct hw *hw)
{
	const struct engine_class *class;

	if (!hw)
		return;
	class = hw->cfg.engine;
	class->close(hw_destroy_but_engine(hw));
}

/* ---- the running machine ---- */

uint64_t hw_guest_counts(const struct hw *hw, uint64_t tsc)
{
	const struct engine_class *cls = hw->cfg.engine;

	return cls->tsc_scaled ? cls->tsc_scaled(hw->engine, tsc) : tsc;
}

int hw_tsc_back(struct hw *hw, uint64_t tsc)
{
	uint64_t counts = hw_guest_counts(hw, tsc);
	struct x86_state st;
	int r = 0;

	for (unsigned i = 0; i < hw->n_cpus && r == 0; i++) {
		vcpu_get_state(hw->vcpus, i, X86_STATE_MSR, &st);
		st.msr.tsc_offset -= counts;
		r = vcpu_set_state(hw->vcpus, i, X86_STATE_MSR, &st);
		__atomic_store_n(&hw->tsc_offset[i], st.msr.tsc_offset, __ATOMIC_RELEASE);
	}
	return r;
}

void hw_pause(struct hw *hw)
{
	if (hw->lapics)
		lapic_pause(hw->lapics);
	else
		hw->cfg.engine->irqchip->pause(hw->engine);
	pthread_mutex_lock(hw->cfg.lock);
	for (unsigned i = 0; i < HW_DEVICES; i++)
		device_pause(hw->dev[i]);
	for (unsigned i = 0; i < hw->n_virtio; i++)
		device_pause(&hw->virtio[i]->pci.dev);
	pthread_mutex_unlock(hw->cfg.lock);
}

void hw_resume(struct hw *hw)
{
	pthread_mutex_lock(hw->cfg.lock);
	for (unsigned i = 0; i < HW_DEVICES; i++)
		device_resume(hw->dev[i]);
	for (unsigned i = 0; i < hw->n_virtio; i++)
		device_resume(&hw->virtio[i]->pci.dev);
	pthread_mutex_unlock(hw->cfg.lock);
	if (hw->lapics)
		lapic_resume(hw->lapics);
	else
		hw->cfg.engine->irqchip->resume(hw->engine);
}

bool hw_power_button(struct hw *hw)
{
	bool listens;

	pthread_mutex_lock(hw->cfg.lock);
	listens = pm_power_button(hw->dev[HW_PM]);
	pthread_mutex_unlock(hw->cfg.lock);
	return listens;
}

/* Appends what a function with snprintf's ways writes. */
#define APPEND(t, call_buf_size)                       \
	do {                                           \
		size_t at_ = MIN((t)->len, (t)->size); \
		char *buf = (t)->buf + at_;            \
		size_t size = (t)->size - at_;         \
		int n_ = (call_buf_size);              \
		(t)->len += n_ > 0 ? (size_t)n_ : 0;   \
	} while (0)

void hw_dump(struct hw *hw, unsigned vcpu, struct text *t)
{
	struct vcpu_stats vs;
	struct x86_state st;

	vcpu_stats(hw->vcpus, vcpu, &vs);
	vcpu_get_state(hw->vcpus, vcpu, X86_STATE_ALL, &st);
	text_print(t, "vcpu %u of %u: %llu runs, %llu halts, %llu wakes, %llu ms of cpu\n", vcpu,
		   hw->n_cpus, (unsigned long long)vs.n_runs, (unsigned long long)vs.n_halts,
		   (unsigned long long)vs.n_wakes,
		   (unsigned long long)(vs.cpu_ns / CLOCK_NS_PER_MS));
	APPEND(t, x86_state_print(&st, buf, size));
	if (hw->lapics)
		APPEND(t, lapic_dump(hw->lapics, vcpu, buf, size));
	else
		APPEND(t, hw->cfg.engine->irqchip->dump(hw->engine, vcpu, buf, size));
	APPEND(t, irq_dump(hw->irq, buf, size));
	pthread_mutex_lock(hw->cfg.lock);
	for (unsigned i = 0; i < HW_DEVICES; i++)
		if (hw->dev[i])
			APPEND(t, device_dump(hw->dev[i], buf, size));
	for (unsigned i = 0; i < hw->n_virtio; i++)
		APPEND(t, device_dump(&hw->virtio[i]->pci.dev, buf, size));
	APPEND(t, pci_root_dump(hw->pci, buf, size));
	APPEND(t, bus_dump(&hw->ports, buf, size));
	APPEND(t, bus_dump(&hw->mmio, buf, size));
	pthread_mutex_unlock(hw->cfg.lock);
}
