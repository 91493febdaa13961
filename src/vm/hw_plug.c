/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_plug.c - disks and network cards that come and go while the guest runs.
 *
 * Theory of operation. At power-on the ACPI tables get the slots of disks and cards, and HW_PLUG_SLOTS free ones: those can
 * be used. A new device is put on the bus by the loop, and the guest told (board/hotplug.h). To take one away the guest is asked; its
 * driver resets the device, and _EJ0 comes on a vCPU's thread, which only notes the slot. The loop takes the device off the bus and
 * destroys it: until then it answers, which does no harm, because nobody looks at it any more.
 */
#include <errno.h>
#include <string.h>

#include "board/hotplug.h"
#include "virtio/disk.h"
#include "virtio/net.h"
#include "vm/hw.h"

static void ejected(void *ctx, unsigned slot)
{
	const struct hw_owner *o = ((struct hw *)ctx)->cfg.owner;

	o->ejected(o->ctx, slot);
}

int hw_plug_create(struct hw *hw, struct err *e)
{
	struct hotplug_config c = {.pm = hw->dev[HW_PM], .eject = ejected, .ctx = hw};

	return hotplug_create(&hw->dev[HW_HOTPLUG], &hw->env, &c, e);
}

void hw_plug_slots(struct hw *hw)
{
	uint32_t slots = 0;
	unsigned n_free = 0;

	for (unsigned slot = 1; slot <= HW_VIRTIO_MAX; slot++) {
		const struct virtio_dev *d = hw_virtio_in_slot(hw, slot);

		if (d ? d->class == &virtio_disk_class || d->class == &virtio_net_class :
			n_free < HW_PLUG_SLOTS)
			slots |= (uint32_t)BIT(slot);
		n_free += !d;
	}
	hotplug_set_slots(hw->dev[HW_HOTPLUG], slots);
}

/* A free one of those that the guest knows of. */
static int free_slot(const struct hw *hw, struct err *e)
{
	uint32_t slots = hotplug_slots(hw->dev[HW_HOTPLUG]);

	for (; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots);

		if (!hw_virtio_in_slot(hw, slot))
			return (int)slot;
	}
	return err_set(
		e, ENOSPC,
		"all slots for new devices are taken: remove one, or reset the VM, which makes %u more",
		HW_PLUG_SLOTS);
}

/* Makes the device `id` with `c` or `n`, in a free slot. VM lock held. */
static int plug(struct hw *hw, const char *id, const struct config_disk *c, struct blk *b,
		const struct config_net *n, int fd, bool paused, struct err *e)
{
	struct hw_slots at = {.n = 1};
	struct virtio_dev *d;
	int r, slot = free_slot(hw, e);

	if (slot < 0)
		return slot;
	strcpy(at.at[0].id, id);
	at.at[0].slot = (uint8_t)slot;
	hw->cfg.slots = &at;
	r = c ? hw_virtio_add_disk(hw, c, b, &d, e) : hw_virtio_add_net(hw, n, fd, &d, e);
	hw->cfg.slots = NULL;
	if (r < 0)
		return r;
	if (paused)
		device_pause(&d->pci.dev);
	hotplug_came(hw->dev[HW_HOTPLUG], (unsigned)slot);
	return 0;
}

int hw_plug_disk(struct hw *hw, const struct config_disk *c, struct blk *b, bool paused,
		 struct err *e)
{
	int r;

	pthread_mutex_lock(hw->cfg.lock);
	r = plug(hw, c->id, c, b, NULL, -1, paused, e);
	pthread_mutex_unlock(hw->cfg.lock);
	return r;
}

int hw_plug_net(struct hw *hw, const struct config_net *c, int fd, bool paused, struct err *e)
{
	int r;

	pthread_mutex_lock(hw->cfg.lock);
	r = plug(hw, c->id, NULL, NULL, c, fd, paused, e);
	pthread_mutex_unlock(hw->cfg.lock);
	return r;
}

int hw_unplug(struct hw *hw, struct virtio_dev *d, struct err *e)
{
	unsigned slot = PCI_SLOT(d->pci.devfn);
	int r = 0;

	pthread_mutex_lock(hw->cfg.lock);
	if (hotplug_slots(hw->dev[HW_HOTPLUG]) & BIT(slot))
		hotplug_ask(hw->dev[HW_HOTPLUG], slot);
	else
		r = err_set(e, ENOTSUP, "%s is in a PCI slot from which nothing can be removed",
			    d->pci.dev.id);
	pthread_mutex_unlock(hw->cfg.lock);
	return r;
}

bool hw_leaving(struct hw *hw, const struct virtio_dev *d)
{
	bool r;

	pthread_mutex_lock(hw->cfg.lock);
	r = hotplug_leaving(hw->dev[HW_HOTPLUG]) & BIT(PCI_SLOT(d->pci.devfn));
	pthread_mutex_unlock(hw->cfg.lock);
	return r;
}
