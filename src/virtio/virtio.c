/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.c - the life of a virtio device: status, start, stop, kicks, interrupts.
 *
 * Theory of operation. The driver's side is registers, on vCPU threads under the VM lock; the queues belong to the loop.
 * A device moves through its phases like this:
 *
 *   IDLE      queues are configured. Reset is done at once.
 *   STARTING  status got DRIVER_OK; the loop will start the queues.
 *   LIVE      kicks set a bit and post the work; the work calls class->notify.
 *   STOPPING  status was written 0 while STARTING or LIVE. It reads as before until the loop has stopped the device
 *             (virtio_stopped()), which may wait for I/O that is under way: then registers are as after power-on,
 *             status reads 0 and the phase is IDLE. §4.1.4.3.2 has the driver wait for that.
 *
 * `phase` changes under the VM lock only; the loop takes it for that, briefly, and never while it serves a queue. So a
 * queue is never started, served and stopped by two threads, and no lock is held over I/O.
 *
 * Resetting one queue (§2.6.1) is the same in small: `resetting` until virtio_queue_stopped().
 *
 * Without MSI-X the interrupt is a line that belongs to the board: the loop sets the ISR bit and posts work that drives the
 * line under the VM lock.
 */
#include "virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define OFFERED                                                                          \
	(VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | VIRTIO_F_PACKED | \
	 VIRTIO_F_RING_RESET)
#define ISR_QUEUE 1u
#define ISR_CONFIG 2u

static void lock_vm(struct virtio_dev *d)
{
	if (d->env->lock)
		pthread_mutex_lock(d->env->lock);
}

static void unlock_vm(struct virtio_dev *d)
{
	if (d->env->lock)
		pthread_mutex_unlock(d->env->lock);
}

/* ---- interrupts; any thread ---- */

static void intx_work(void *ctx)
{
	struct virtio_dev *d = ctx;

	lock_vm(d);
	pci_intx(&d->pci, load(&d->isr) != 0);
	unlock_vm(d);
}

static void interrupt(struct virtio_dev *d, const uint16_t *vector, uint8_t isr)
{
	if (pci_msix_enabled(&d->pci)) {
		uint16_t v = load(vector);

		if (v != VIRTIO_NO_VECTOR)
			pci_msix_notify(&d->pci, v);
		return;
	}
	__atomic_fetch_or(&d->isr, isr, __ATOMIC_ACQ_REL);
	loop_post(d->env->loop, &d->intx_work);
}

void virtio_config_interrupt(struct virtio_dev *d)
{
	if (load(&d->status) & VIRTIO_S_DRIVER_OK)
		interrupt(d, &d->config_vector, ISR_CONFIG);
}

static void queue_interrupt(struct virtq *q)
{
	struct virtio_queue *vq = container_of(q, struct virtio_queue, q);

	interrupt(vq->dev, &vq->vector, ISR_QUEUE);
}

void virtio_break(struct virtio_dev *d, const char *why)
{
	if (__atomic_fetch_or(&d->status, VIRTIO_S_NEEDS_RESET, __ATOMIC_ACQ_REL) &
	    VIRTIO_S_NEEDS_RESET)
		return;
	d->n_broken++;
	log_warn_limited("%s: the guest's driver broke the device: %s; it needs a reset",
			 d->pci.dev.id, why);
	virtio_config_interrupt(d);
}

static void queue_broken(struct virtq *q, const char *why)
{
	virtio_break(q->owner, why);
}

static const struct virtq_ops queue_ops = {queue_interrupt, queue_broken};

/* ---- device configuration; any thread ---- */

void virtio_set_config(struct virtio_dev *d, unsigned off, const void *buf, unsigned len, bool tell)
{
	ASSERT(off <= d->config_size && len <= d->config_size - off);
	pthread_mutex_lock(&d->config_lock);
	memcpy(d->config + off, buf, len);
	d->generation++;
	pthread_mutex_unlock(&d->config_lock);
	if (tell)
		virtio_config_interrupt(d);
}

void virtio_get_config(struct virtio_dev *d, unsigned off, void *buf, unsigned len)
{
	ASSERT(off <= d->config_size && len <= d->config_size - off);
	pthread_mutex_lock(&d->config_lock);
	memcpy(buf, d->config + off, len);
	pthread_mutex_unlock(&d->config_lock);
}

/* ---- registers as after power-on; VM lock held ---- */

static void clear_queue(struct virtio_queue *vq)
{
	vq->size = vq->size_max;
	vq->enabled = vq->resetting = vq->stop_called = false;
	vq->desc = vq->driver = vq->device = 0;
}

static void clear_registers(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		clear_queue(&d->queue[i]);
		store(&d->queue[i].vector, VIRTIO_NO_VECTOR);
	}
	memset(d->kicked, 0, sizeof(d->kicked));
	d->device_feature_select = d->driver_feature_select = 0;
	d->queue_select = 0;
	d->features = 0;
	store(&d->config_vector, VIRTIO_NO_VECTOR);
	store(&d->isr, 0);
	pci_intx(&d->pci, false);
	d->phase = VIRTIO_IDLE;
	store(&d->status, 0);
}

void virtio_reset(struct virtio_dev *d)
{
	if (load(&d->status))
		d->n_resets++;
	if (d->phase == VIRTIO_IDLE) {
		clear_registers(d);
		return;
	}
	d->phase = VIRTIO_STOPPING;
	virtio_pci_doorbells(d);
	loop_post(d->env->loop, &d->work);
}

void virtio_set_status(struct virtio_dev *d, uint8_t status)
{
	uint8_t old = load(&d->status), set = status & (uint8_t)~old;

	if (status == 0) {
		virtio_reset(d);
		return;
	}
	if (d->phase == VIRTIO_STOPPING)
		return;
	set &= VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_DRIVER_OK | VIRTIO_S_FEATURES_OK |
	       VIRTIO_S_FAILED;
	/* §3.1.1: refused by not setting the bit. */
	if ((set & VIRTIO_S_FEATURES_OK) &&
	    ((d->features & ~d->offered) || !(d->features & VIRTIO_F_VERSION_1)))
		set &= (uint8_t)~VIRTIO_S_FEATURES_OK;
	if ((set & VIRTIO_S_DRIVER_OK) && !((old | set) & VIRTIO_S_FEATURES_OK))
		set &= (uint8_t)~VIRTIO_S_DRIVER_OK;
	__atomic_fetch_or(&d->status, set, __ATOMIC_ACQ_REL);
	if (set & VIRTIO_S_DRIVER_OK) {
		d->phase = VIRTIO_STARTING;
		loop_post(d->env->loop, &d->work);
	}
}

void virtio_queue_reset(struct virtio_dev *d, struct virtio_queue *vq)
{
	if (!(d->features & VIRTIO_F_RING_RESET) || !vq->enabled || vq->resetting)
		return;
	if (d->phase == VIRTIO_IDLE) {
		clear_queue(vq);
		return;
	}
	vq->resetting = true;
	virtio_pci_doorbells(d);
	loop_post(d->env->loop, &d->work);
}

/* ---- the loop ---- */

bool virtio_has(const struct virtio_dev *d, uint64_t features)
{
	return d->started && (d->features & features) == features;
}

bool virtio_running(const struct virtio_dev *d)
{
	return d->started && !d->paused && load(&d->dma) &&
	       !(load(&d->status) & VIRTIO_S_NEEDS_RESET);
}

void virtio_kick(struct virtio_dev *d, unsigned queue)
{
	__atomic_fetch_or(&d->kicked[queue / 64], BIT(queue % 64), __ATOMIC_ACQ_REL);
	loop_post(d->env->loop, &d->work);
}

struct virtq_setup virtio_queue_setup(const struct virtio_dev *d, const struct virtio_queue *vq)
{
	return (struct virtq_setup){
		.packed = d->features & VIRTIO_F_PACKED,
		.event_idx = d->features & VIRTIO_F_EVENT_IDX,
		.indirect = d->features & VIRTIO_F_INDIRECT,
		.in_order = d->features & VIRTIO_F_IN_ORDER,
		.size = vq->size,
		.desc = vq->desc,
		.driver = vq->driver,
		.device = vq->device,
	};
}

static int start_queue(struct virtio_dev *d, struct virtio_queue *vq)
{
	struct virtq_setup set = virtio_queue_setup(d, vq);
	unsigned i = (unsigned)(vq - d->queue);
	int r;

	r = virtq_start(&vq->q, d->env->mem, &set);
	if (r == 0)
		__atomic_fetch_or(&d->kicked[i / 64], BIT(i % 64), __ATOMIC_ACQ_REL);
	return r;
}

/* Queues that the driver enabled become live: all at the start, later those that were reset. */
static void start_queues(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *vq = &d->queue[i];
		bool wanted;

		lock_vm(d);
		wanted = vq->enabled && !vq->resetting && !vq->q.live;
		unlock_vm(d);
		if (wanted && start_queue(d, vq) < 0) {
			virtio_break(d, "a queue's rings are not in guest RAM, or not aligned");
			return;
		}
	}
}

static void stop_queues(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *vq = &d->queue[i];
		bool wanted;

		lock_vm(d);
		wanted = vq->resetting && !vq->stop_called;
		unlock_vm(d);
		if (!wanted)
			continue;
		vq->stop_called = true;
		if (vq->q.live && d->class->queue_stop)
			d->class->queue_stop(d, &vq->q);
		else
			virtio_queue_stopped(d, &vq->q);
	}
}

void virtio_queue_stopped(struct virtio_dev *d, struct virtq *q)
{
	virtq_stop(q);
	lock_vm(d);
	clear_queue(container_of(q, struct virtio_queue, q));
	unlock_vm(d);
}

void virtio_stopped(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		virtq_stop(&d->queue[i].q);
	d->started = d->stop_called = false;
	lock_vm(d);
	clear_registers(d);
	unlock_vm(d);
}

static void serve(struct virtio_dev *d)
{
	for (unsigned w = 0; w < ARRAY_SIZE(d->kicked); w++) {
		uint64_t bits;

		if (!virtio_running(d))
			return;
		bits = __atomic_exchange_n(&d->kicked[w], 0, __ATOMIC_ACQ_REL);
		for (; bits; bits &= bits - 1) {
			struct virtq *q = &d->queue[w * 64 + (unsigned)__builtin_ctzll(bits)].q;

			q->stats.n_kicks++;
			if (q->live && !q->broken)
				d->class->notify(d, q);
		}
	}
}

static void work(void *ctx)
{
	struct virtio_dev *d = ctx;
	enum virtio_phase phase;

	if (d->paused)
		return; /* resume posts it again */
	lock_vm(d);
	if (d->phase == VIRTIO_STARTING) {
		d->phase = VIRTIO_LIVE;
		virtio_pci_doorbells(d);
	}
	phase = d->phase;
	unlock_vm(d);
	switch (phase) {
	case VIRTIO_STOPPING:
		if (d->stop_called)
			return;
		d->stop_called = true;
		if (d->started && d->class->stop)
			d->class->stop(d);
		else
			virtio_stopped(d);
		return;
	case VIRTIO_LIVE: break;
	default: return;
	}
	stop_queues(d);
	start_queues(d);
	if (!d->started) {
		d->started = true;
		if (d->class->start)
			d->class->start(d);
	}
	serve(d);
}

static void doorbell(void *arg)
{
	struct virtio_queue *vq = arg;
	struct virtio_dev *d = vq->dev;
	unsigned i = (unsigned)(vq - d->queue);

	__atomic_fetch_or(&d->kicked[i / 64], BIT(i % 64), __ATOMIC_ACQ_REL);
	work(d);
}

/* ---- the board's callbacks; VM lock held ---- */

static struct virtio_dev *from_dev(const struct device *dev)
{
	return container_of(container_of(dev, struct pci_device, dev), struct virtio_dev, pci);
}

static void dev_destroy(struct device *dev)
{
	struct virtio_dev *d = from_dev(dev);

	d->class->destroy(d);
}

static void dev_reset(struct device *dev)
{
	struct virtio_dev *d = from_dev(dev);

	virtio_reset(d);
	pci_reset(&d->pci);
}

static void dev_pause(struct device *dev)
{
	struct virtio_dev *d = from_dev(dev);

	d->paused = true;
	if (d->class->pause && d->started)
		d->class->pause(d);
}

static void dev_resume(struct device *dev)
{
	struct virtio_dev *d = from_dev(dev);

	d->paused = false;
	if (d->class->resume && d->started)
		d->class->resume(d);
	for (unsigned i = 0; i < d->n_queues; i++)
		virtio_kick(d, i);
}

static int dev_state(struct device *dev, struct state *s)
{
	return virtio_dev_state(from_dev(dev), s);
}

static int dev_loaded(struct device *dev, struct err *e)
{
	return virtio_dev_loaded(from_dev(dev), e);
}

static void dev_dump(const struct device *dev, struct text *t)
{
	static const char *const phases[] = {"idle", "starting", "live", "stopping"};
	const struct virtio_dev *d = from_dev(dev);

	text_print(t, " %s status %02x features %#llx of %#llx resets %llu broken %llu\n",
		   phases[d->phase], load(&d->status), (unsigned long long)d->features,
		   (unsigned long long)d->offered, (unsigned long long)d->n_resets,
		   (unsigned long long)d->n_broken);
	for (unsigned i = 0; i < d->n_queues; i++) {
		const struct virtio_queue *vq = &d->queue[i];
		const struct virtq *q = &vq->q;

		if (!vq->enabled)
			continue;
		text_print(
			t,
			" queue %u: size %u vector %d%s%s%s avail %u used %u busy %u; %llu requests, %llu interrupts, %llu kicks\n",
			i, vq->size, (int16_t)load(&vq->vector), q->live ? " live" : "",
			q->broken ? " broken" : "", q->set.packed ? " packed" : "", q->avail,
			q->used, q->n_busy, (unsigned long long)q->stats.n_used,
			(unsigned long long)q->stats.n_interrupts,
			(unsigned long long)q->stats.n_kicks);
	}
	if (d->class->dump)
		d->class->dump(d, t);
}

void virtio_stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	uint64_t requests = 0, interrupts = 0, kicks = 0;

	for (unsigned i = 0; i < d->n_queues; i++) {
		requests += d->queue[i].q.stats.n_used;
		interrupts += d->queue[i].q.stats.n_interrupts;
		kicks += d->queue[i].q.stats.n_kicks;
	}
	add(ctx, "requests", requests);
	add(ctx, "interrupts", interrupts);
	add(ctx, "kicks", kicks);
	add(ctx, "resets", d->n_resets);
	add(ctx, "broken", d->n_broken);
	if (d->class->stats)
		d->class->stats(d, add, ctx);
}

struct virtio_dev *virtio_from_pci(struct pci_device *p)
{
	return p->dev.class && p->dev.class->destroy == dev_destroy ?
		       container_of(p, struct virtio_dev, pci) :
		       NULL;
}

/* ---- life ---- */

int virtio_init(struct virtio_dev *d, const struct virtio_class *class, const struct dev_env *env,
		const struct virtio_params *p, struct err *e)
{
	int r;

	memset(d, 0, sizeof(*d));
	ASSERT(p->n_queues >= 1 && p->n_queues <= VIRTIO_QUEUES_MAX && env->loop && env->mem);
	d->class = class;
	d->env = env;
	d->dev_class = (struct dev_class){
		.name = class->name,
		.help = class->help,
		.destroy = dev_destroy,
		.reset = dev_reset,
		.pause = dev_pause,
		.resume = dev_resume,
		.state = dev_state,
		.loaded = dev_loaded,
		.dump = dev_dump,
	};
	d->offered = p->features | OFFERED;
	if (env->split_rings)
		d->offered &= ~VIRTIO_F_PACKED;
	d->n_queues = p->n_queues;
	d->config_size = p->config_size;
	pthread_mutex_init(&d->config_lock, NULL);
	loop_work_init(&d->work, work, d);
	loop_work_init(&d->intx_work, intx_work, d);
	/* §4.1.2.1: 0x1040 + device id; revision >= 1: no transitional device. */
	pci_init(&d->pci, &d->dev_class, p->id, env, 0x1af4, (uint16_t)(0x1040 + class->type),
		 class->pci_class, 1);
	d->queue = calloc(d->n_queues, sizeof(*d->queue));
	d->config = calloc(1, MAX(d->config_size, 1u));
	if (!d->queue || !d->config) {
		virtio_fini(d);
		return err_set(e, ENOMEM, "%s: out of memory", p->id);
	}
	if (p->config)
		memcpy(d->config, p->config, d->config_size);
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *vq = &d->queue[i];

		vq->dev = d;
		vq->size_max = p->queue_size ? p->queue_size[i] : p->queue_size_all;
		ASSERT(vq->size_max >= 1 && vq->size_max <= VIRTQ_SIZE_MAX);
		vq->q.ops = &queue_ops;
		vq->q.owner = d;
		vq->q.index = i;
		vq->doorbell = (struct dev_doorbell){.fn = doorbell, .arg = vq};
	}
	r = virtio_pci_init(d, e);
	if (r < 0) {
		virtio_fini(d);
		return r;
	}
	clear_registers(d);
	return 0;
}

void virtio_fini(struct virtio_dev *d)
{
	if (!d->class)
		return;
	d->phase = VIRTIO_IDLE;
	if (d->queue) {
		virtio_pci_doorbells(d);
		for (unsigned i = 0; i < d->n_queues; i++)
			virtq_stop(&d->queue[i].q);
	}
	pci_fini(&d->pci);
	loop_unpost(d->env->loop, &d->work);
	loop_unpost(d->env->loop, &d->intx_work);
	free(d->queue);
	free(d->config);
	pthread_mutex_destroy(&d->config_lock);
	d->class = NULL;
}
