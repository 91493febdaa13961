/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw.h - the hardware of one machine from one power-on to the next reset: board, engine, vCPUs, wired together.
 *
 * A reset destroys it and makes a new one, so what a reset leaves behind is what a power-on makes, by
 * construction. Guest memory, the clock and the console live longer and belong to the machine.
 */
#ifndef LODGE_VM_HW_H
#define LODGE_VM_HW_H

#include "board/boot.h"
#include "board/bus.h"
#include "board/irq.h"
#include "board/lapic.h"
#include "board/pci.h"
#include "board/rtc.h"
#include "engine/engine.h"
#include "proto/config.h"
#include "state/state.h"
#include "virtio/virtio.h"
#include "vm/console.h"
#include "vm/doorbell.h"
#include "vm/disks.h"
#include "vm/port_socket.h"
#include "vm/shares.h"
#include "vm/vcpu.h"
#include "vm/vmclock.h"

/* What the machine hears, on a vCPU's thread. It may not wait for the loop thread. */
struct hw_owner {
	void *ctx;
	/* The guest has let go of the card in this PCI slot, which hw_unplug() asked for: hw_virtio_remove() it. VM lock held. */
	void (*ejected)(void *ctx, unsigned slot);
	/* A device asks for it; VM lock held. */
	void (*request)(void *ctx, enum dev_request what, uint32_t code);
	/* A vCPU cannot run on; no lock held. */
	void (*stopped)(void *ctx, unsigned vcpu, enum vcpu_stop why, const char *text);
	/* Every vCPU sleeps and only an NMI could wake one; no lock held. */
	void (*all_dead)(void *ctx);
};

/* All borrowed, and must outlive the hardware. */
struct hw_config {
	const struct vm_config *vm;
	const struct config_fds *fds;
	const struct engine_class *engine;
	struct engine_begun *begun; /* of its begin(), or NULL; hw_create() takes it over */
	struct gmem *mem;
	const struct hw_slots *slots; /* where virtio devices go; NULL: the first free slots */
	bool from_state; /* hw_state() comes next: no kernel is loaded, vCPUs stay in the power-up state */
	const struct rtc_battery *battery; /* of the machine before a reset; NULL: none */
	bool memory_is_zero;		   /* nothing was ever written to it, or it was cleared */
	pthread_mutex_t *lock;		   /* the VM lock */
	struct loop *loop;
	struct vmclock *clock;
	struct console *console;
	struct port_socket *agent; /* NULL: none */
	struct disks *disks;
	struct shares *shares;
	const struct hw_owner *owner;
};

enum hw_device { /* in the order in which they are made; PCI is beside them */
		 HW_PIT,
		 HW_RTC,
		 HW_UART,
		 HW_PM,
		 HW_HOTPLUG,
		 HW_I8042,
		 HW_PVPANIC,
		 HW_DEBUG_EXIT,
		 HW_DEVICES
};

#define HW_VIRTIO_MAX 30u /* PCI slots 1 to 30 */
#define HW_PLUG_SLOTS 8u  /* free ones at the start that a card can come into */

/* Which device is in which PCI slot: what came and went while a machine ran decides that, so it is saved. */
struct hw_slots {
	unsigned n;
	struct {
		char id[CONFIG_ID_MAX + 1];
		uint8_t slot;
	} at[HW_VIRTIO_MAX];
};

struct hw {
	struct hw_config cfg;
	unsigned n_cpus;
	struct bus ports, mmio; /* VM lock */
	struct dev_env env;
	struct lapic_set *
		lapics; /* NULL: the engine has the interrupt controllers (engine.h, engine_irqchip) */
	struct irq_sink irq_sink; /* to those */
	struct irq_router *irq;
	struct device *dev[HW_DEVICES]; /* NULL: not there */
	struct pci_root *pci;
	struct virtio_dev *virtio[HW_VIRTIO_MAX]; /* in the order of their slots */
	unsigned n_virtio;
	struct virtio_dev *balloon, *console, *vsock; /* three of them; NULL: not there */
	struct loop_fd *opener;			      /* for vsock; NULL: none */
	struct boot_result boot;		      /* what was loaded */
	bool acpi_reduced;			      /* acpi_config.reduced, for what was loaded */

	struct engine *engine;
	struct doorbell_set *doorbells; /* NULL: the engine has none */
	struct engine_host host;
	struct vcpu_owner vcpu_owner;
	struct vcpu_set *vcpus;
	uint64_t *tsc_offset; /* of each vCPU, as last seen on its own thread; atomic */
	uint32_t tsc_khz;
};

/* Builds everything, loads the kernel, vCPUs in their first state and not started. Loop thread, VM lock not held. */
int hw_create(struct hw **out, const struct hw_config *cfg, struct err *e);
/* hw_virtio.c: puts a device on the bus and on the list, or destroys it; all that the configuration has; and all of them away.
 * VM lock held. */
int hw_virtio_add(struct hw *hw, struct virtio_dev *d, struct err *e);
int hw_virtio_create(struct hw *hw, struct err *e);
/* The device of this class and name; NULL: none. Loop thread. */
struct virtio_dev *hw_virtio_find(const struct hw *hw, const struct virtio_class *class,
				  const char *id);
void hw_virtio_destroy(struct hw *hw);
int hw_virtio_add_disk(struct hw *hw, const struct config_disk *c, struct blk *b,
		       struct virtio_dev **out, struct err *e);
int hw_virtio_add_net(struct hw *hw, const struct config_net *c, int fd, struct virtio_dev **out,
		      struct err *e);
/* Takes a device away, at once. VM lock held, loop thread. */
void hw_virtio_remove(struct hw *hw, struct virtio_dev *d);
/* The device in a PCI slot, or NULL. */
struct virtio_dev *hw_virtio_in_slot(const struct hw *hw, unsigned slot);
/* Fills `s` from the machine. */
void hw_virtio_slots(const struct hw *hw, struct hw_slots *s);

/*
 * Hot-plug (board/hotplug.h). Loop thread, VM lock not held. hw_plug_disk() and hw_plug_net() put a new device into a free
 * slot and tell the guest; hw_unplug() asks the guest to let go of one: owner->ejected() comes when it has. -ENOTSUP: in that slot
 * nothing can go. `paused`: the machine is.
 */
int hw_plug_disk(struct hw *hw, const struct config_disk *c, struct blk *b, bool paused,
		 struct err *e);
int hw_plug_net(struct hw *hw, const struct config_net *c, int fd, bool paused, struct err *e);
int hw_unplug(struct hw *hw, struct virtio_dev *d, struct err *e);
/* Was hw_unplug() called, and the guest has not let go yet? */
bool hw_leaving(struct hw *hw, const struct virtio_dev *d);
/* hw_wire.c, for hw.c: the calls of the engine and its vCPUs; then, VM lock held, lines and messages of devices to whoever has the
 * interrupt controllers. */
void hw_wire(struct hw *hw);
int hw_wire_interrupts(struct hw *hw, struct err *e);
/* hw_plug.c, for hw.c: the ports; which slots there are, when all devices are made. VM lock held. */
int hw_plug_create(struct hw *hw, struct err *e);
void hw_plug_slots(struct hw *hw);
/* hw_boot.c, for hw.c: kernel and initrd into guest memory; the ACPI tables, when all devices are made; then the first state of
 * the processors. */
int hw_boot_load(struct hw *hw, struct err *e);
int hw_boot_acpi(struct hw *hw, struct err *e);
int hw_boot_start(struct hw *hw, struct err *e);
/* Does this command line make Linux live by the interval timer? */
bool hw_boot_wants_pit(const char *cmdline);
/* Of physical addresses, as the guest is told. */
unsigned hw_phys_bits(void);
/* Connects the console to its virtio port, if it has one. Loop thread, VM lock not held. */
void hw_virtio_attach(struct hw *hw);
/* Ends the vCPU threads first. Accepts NULL and a half-built one. Loop thread, VM lock not held. */
void hw_destroy(struct hw *hw);
/* The same, but the engine is left to the caller, who closes it when there is time. NULL: there was none. */
struct engine *hw_destroy_but_engine(struct hw *hw);

/* What a value of the host's TSC is in counts of the guest's. */
uint64_t hw_guest_counts(const struct hw *hw, uint64_t tsc);
/* The guest's TSC goes back by `tsc` of the host's counts, as if that much time had not been. All vCPUs parked. Loop thread. */
int hw_tsc_back(struct hw *hw, uint64_t tsc);
/* No device and no APIC timer begins anything (lapic_pause(), device pause) - and again. All vCPUs parked. Loop thread. */
void hw_pause(struct hw *hw);
void hw_resume(struct hw *hw);
/*
 * Saves everything but memory, or loads it into hardware that was made with `from_state`. Paused (hw_pause()), board time
 * stopped. tsc_now: the host's TSC at which the guest's shall stand (when the pause began, or now). 0, or -errno with a
 * sentence; after a failed load the hardware can only be destroyed. Loop thread, VM lock not held. hw_state.c.
 */
int hw_state(struct hw *hw, struct state *s, uint64_t tsc_now, struct err *e);
/* Adds the devices' counters to an object. 0 or -ENOMEM. Loop thread. */
int hw_stats(struct hw *hw, json_t *j);
/* Presses the power button. True: the guest listens to it. Loop thread. */
bool hw_power_button(struct hw *hw);

/* State of a vCPU, its APIC and the devices as text for people. All vCPUs parked. Loop thread. */
void hw_dump(struct hw *hw, unsigned vcpu, struct text *t);

#endif
