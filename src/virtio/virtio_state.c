/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_state.c - saves and loads a virtio device: the PCI function, the transport's registers, where each queue stands, and
 * what the device itself keeps.
 *
 * At a save the device is paused, so nothing is with it (class->pause()): a queue is then one position, which the driver and we
 * have both come to. Rings and buffers are guest memory and travel with that.
 *
 * A device that was LIVE is started again when the machine goes on (class->start(), as after DRIVER_OK); one that was
 * STARTING or STOPPING goes on with that.
 */
#include <errno.h>

#include "state/state.h"
#include "virtio/virtio.h"

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define STATUS_KNOWN                                                                          \
	(VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK | \
	 VIRTIO_S_NEEDS_RESET | VIRTIO_S_FAILED)
#define STATUS_UP (VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK)

static void queue_state(struct virtio_queue *vq, struct state *s)
{
	struct virtq *q = &vq->q;
	uint16_t vector = load(&vq->vector), place = q->live ? q->avail : 0;
	bool live = q->live, wrap = q->live && q->avail_wrap;

	state_same(s, vq->size_max, "the size of a queue");
	state_u16(s, &vq->size);
	state_u16(s, &vector);
	state_bool(s, &vq->enabled);
	state_bool(s, &vq->resetting);
	state_u64(s, &vq->desc);
	state_u64(s, &vq->driver);
	state_u64(s, &vq->device);
	state_bool(s, &live);
	state_u16(s, &place);
	state_bool(s, &wrap);
	if (!state_loading(s))
		return;
	store(&vq->vector, vector);
	vq->load_live = live;
	vq->load_place = place;
	vq->load_wrap = wrap;
}

/* What the driver still waits for would be lost. What it has given up by a reset is not missed. */
static int check_idle(const struct virtio_dev *d, struct state *s)
{
	for (unsigned i = 0; i < d->n_queues && !state_loading(s); i++) {
		const struct virtio_queue *vq = &d->queue[i];

		if (vq->q.live && !vq->q.broken && vq->q.n_busy && !vq->resetting &&
		    d->phase != VIRTIO_STOPPING)
			return state_fail(s, "%u requests of queue %u are still under way",
					  vq->q.n_busy, i);
	}
	return state_error(s);
}

int virtio_dev_state(struct virtio_dev *d, struct state *s)
{
	uint8_t status = load(&d->status), isr = load(&d->isr);
	uint16_t vector = load(&d->config_vector);

	pci_device_state(&d->pci, s);
	state_begin(s, "virtio", d->pci.dev.id, 1);
	state_same(s, d->class->type, "the kind of the device");
	state_same(s, d->n_queues, "the number of queues");
	state_same(s, d->config_size, "the size of the device configuration");
	d->phase = (enum virtio_phase)state_choice(s, d->phase, VIRTIO_STOPPING + 1);
	state_u8(s, &status);
	state_u64(s, &d->features);
	state_u32(s, &d->device_feature_select);
	state_u32(s, &d->driver_feature_select);
	state_u16(s, &d->queue_select);
	state_u16(s, &vector);
	state_u8(s, &isr);
	state_u8(s, &d->generation);
	state_bytes(s, d->config, d->config_size);
	for (unsigned i = 0; i < d->n_queues; i++)
		queue_state(&d->queue[i], s);
	if (state_loading(s)) {
		store(&d->status, status);
		store(&d->config_vector, vector);
		store(&d->isr, isr);
	}
	if (state_end(s) < 0)
		return state_error(s);
	if (!d->class->state)
		return state_fail(s, "the device %s cannot be saved", d->class->name);
	return d->class->state(d, s) < 0 ? state_error(s) : check_idle(d, s);
}

/* ---- after a load ---- */

static bool vector_ok(const struct virtio_dev *d, uint16_t v)
{
	return v < d->pci.msix.n || v == VIRTIO_NO_VECTOR;
}

static bool registers_ok(const struct virtio_dev *d)
{
	uint8_t status = load(&d->status);

	if ((status & ~STATUS_KNOWN) || !vector_ok(d, load(&d->config_vector)) || load(&d->isr) > 3)
		return false;
	if ((status & VIRTIO_S_FEATURES_OK) && !(d->features & VIRTIO_F_VERSION_1))
		return false;
	if (d->phase == VIRTIO_IDLE)
		return !(status & VIRTIO_S_DRIVER_OK);
	return (status & STATUS_UP) == STATUS_UP;
}

static bool queue_ok(const struct virtio_dev *d, const struct virtio_queue *vq)
{
	bool running = d->phase == VIRTIO_LIVE || d->phase == VIRTIO_STOPPING;

	return vq->size >= 1 && vq->size <= vq->size_max && vector_ok(d, load(&vq->vector)) &&
	       (!vq->resetting || (vq->enabled && d->phase != VIRTIO_IDLE)) &&
	       (!vq->load_live || (vq->enabled && running));
}

static int restore_queue(struct virtio_dev *d, struct virtio_queue *vq)
{
	struct virtq_setup set = virtio_queue_setup(d, vq);
	int r = virtq_start(&vq->q, d->env->mem, &set);

	if (r == 0)
		r = virtq_restore(&vq->q, vq->load_place, vq->load_wrap);
	return r;
}

int virtio_dev_loaded(struct virtio_dev *d, struct err *e)
{
	int r = pci_device_loaded(&d->pci, e);

	if (r < 0)
		return r;
	if (!registers_ok(d))
		return err_set(e, EINVAL, "%s: the saved registers cannot be", d->pci.dev.id);
	if (d->features & ~d->offered && load(&d->status) & VIRTIO_S_FEATURES_OK)
		return err_set(
			e, EINVAL,
			"%s: the guest's driver uses features that the device does not have here (%#llx)",
			d->pci.dev.id, (unsigned long long)(d->features & ~d->offered));
	store(&d->dma, pci_bus_master(&d->pci));
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *vq = &d->queue[i];

		if (!queue_ok(d, vq) || (vq->load_live && restore_queue(d, vq) < 0))
			return err_set(e, EINVAL, "%s: saved queue %u cannot be", d->pci.dev.id, i);
	}
	d->started = d->stop_called = false;
	virtio_pci_doorbells(d);
	return d->class->loaded ? d->class->loaded(d, e) : 0;
}

int virtio_no_state(struct virtio_dev *d, struct state *s)
{
	(void)d;
	return state_error(s);
}
