/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h - a virtio 1.2 device on PCI: what the transport does for it, and what it does itself.
 *
 * A device embeds struct virtio_dev first in its own struct, calls virtio_init() and names its callbacks in a struct
 * virtio_class. The transport (virtio_pci.c) answers all registers, negotiates features, freezes the queues'
 * configuration at DRIVER_OK, and starts and stops the queues; the device only serves them.
 *
 * Threads. Registers: vCPU threads under the VM lock. Everything else - start, notify, stop, completions, back-end
 * events - on the loop thread without the VM lock, so that I/O never holds up a vCPU. The two meet in a few atomic words and
 * in posted work; the device itself needs no lock. A queue may later be given a thread of its own: everything between
 * virtq_pop() and virtq_flush(), the interrupt included, needs only that one thread serves it at a time.
 *
 * Life: create -> start -> notify... -> stop -> virtio_stopped() -> start -> ... -> destroy.
 *   start     the driver is ready (DRIVER_OK); the queues it enabled are live (q->live).
 *   notify    there may be something in queue q. Also called for every live queue after start and after a pause.
 *   stop      the driver resets the device. Nothing may touch guest memory any more when virtio_stopped() is called, at once or
 *             later; chains that the device still has become invalid then. The driver waits until then.
 *   pause     the VM stands still and may be saved: finish or put back (virtq_unpop()) every chain; begin nothing.
 *             notify, start and stop do not come until resume.
 *   destroy   VM lock held. As stop, but all at once: after it nothing touches guest memory or `d`. It frees the
 *             device's own, calls virtio_fini(), and frees the struct.
 */
#ifndef LODGE_VIRTIO_VIRTIO_H
#define LODGE_VIRTIO_VIRTIO_H

#include "board/pci.h"
#include "util/loop.h"
#include "virtio/virtq.h"

#define VIRTIO_QUEUES_MAX 128u
#define VIRTIO_NO_VECTOR 0xffffu

/* Feature bits that the transport looks after (§6). A device names its own, bits 0 to 23. */
#define VIRTIO_F_INDIRECT BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_F_PACKED BIT(34)
#define VIRTIO_F_IN_ORDER BIT(35)
#define VIRTIO_F_RING_RESET BIT(40)

/* Device status (§2.1). */
#define VIRTIO_S_ACKNOWLEDGE 1u
#define VIRTIO_S_DRIVER 2u
#define VIRTIO_S_DRIVER_OK 4u
#define VIRTIO_S_FEATURES_OK 8u
#define VIRTIO_S_NEEDS_RESET 64u
#define VIRTIO_S_FAILED 128u

struct virtio_dev;

struct virtio_class {
	const char *name;   /* "rng" */
	const char *help;   /* one line */
	uint16_t type;	    /* device id of §5: 4 for rng */
	uint32_t pci_class; /* base class, sub-class, programming interface */

	void (*destroy)(struct virtio_dev *d);
	void (*notify)(struct virtio_dev *d, struct virtq *q);
	/* The rest may be NULL. Without stop and queue_stop a device never has a chain outside of notify, or none that
	 * anybody else would write to. */
	void (*start)(struct virtio_dev *d);
	void (*stop)(struct virtio_dev *d);			   /* virtio_stopped() */
	void (*queue_stop)(struct virtio_dev *d, struct virtq *q); /* virtio_queue_stopped() */
	void (*pause)(struct virtio_dev *d);			   /* VM lock held, loop thread */
	void (*resume)(struct virtio_dev *d);			   /* likewise */
	/* The driver writes to the device's configuration; off + size are inside. vCPU thread, VM lock held. */
	void (*config_write)(struct virtio_dev *d, unsigned off, unsigned size, uint64_t value);
	/* Saved state of the device itself, in a section of its own (virtio_no_state(): it has none). NULL: it cannot be saved.
	 * The bytes of the device configuration are saved with the registers; loaded() sets those that belong to the machine.
	 * loaded() checks it, with the queues live and the device paused; start comes when the machine goes on. May be NULL. */
	int (*state)(struct virtio_dev *d, struct state *s);
	int (*loaded)(struct virtio_dev *d, struct err *e);
	/* Counters: calls add() for each. Loop thread. */
	void (*stats)(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		      void *ctx);
	void (*dump)(const struct virtio_dev *d, struct text *t); /* lines for people */
};

/* Every class, in the order of help texts; ends with NULL. */
extern const struct virtio_class *const virtio_classes[];

/* A queue and its registers. Registers: VM lock; frozen while `enabled`. */
struct virtio_queue {
	struct virtq q; /* the loop's */
	struct virtio_dev *dev;
	uint16_t size; /* what the driver chose; size_max at reset */
	uint16_t size_max;
	uint16_t vector; /* atomic */
	bool enabled;
	bool resetting; /* queue_reset was written; until virtio_queue_stopped() */
	gpa_t desc, driver, device;
	bool stop_called;	   /* the loop's */
	bool load_live, load_wrap; /* between state() and loaded() */
	uint16_t load_place;
	struct dev_doorbell doorbell;
	bool doorbell_on;
};

enum virtio_phase {
	VIRTIO_IDLE,	 /* not DRIVER_OK */
	VIRTIO_STARTING, /* DRIVER_OK, the loop has not seen it yet */
	VIRTIO_LIVE,
	VIRTIO_STOPPING, /* reset, and the loop is not done with it */
};

/* First in a device's struct. */
struct virtio_dev {
	struct pci_device pci; /* pci.dev.id names the device */
	const struct virtio_class *class;
	struct dev_class dev_class; /* pci.dev's */
	const struct dev_env *env;
	struct virtio_queue *queue; /* [n_queues] */
	unsigned n_queues;
	uint64_t offered; /* features */
	uint64_t features; /* the driver's; what counts once FEATURES_OK is set. VM lock; fixed while live */

	/* Registers: VM lock. */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector; /* atomic */
	uint8_t status;		/* atomic: the loop sets NEEDS_RESET */
	uint8_t isr;		/* atomic; only without MSI-X */
	enum virtio_phase phase;
	bool dma;	  /* bus master; atomic */
	unsigned pci_cap; /* offset of the capability with a window to the BAR */
	bool flr_cap;
	unsigned express_cap;

	/* Device configuration. */
	pthread_mutex_t config_lock;
	uint8_t *config;
	unsigned config_size;
	uint8_t generation;

	/* The loop's. */
	struct loop_work work, intx_work;
	uint64_t kicked[VIRTIO_QUEUES_MAX / 64]; /* atomic bits: queues to be looked at */
	bool started;				 /* class->start was called, class->stop not */
	bool stop_called;
	bool paused;
	uint64_t n_resets, n_broken;
};

/* What a device is, for virtio_init(). */
struct virtio_params {
	const char *id; /* static, or at least as long as the device */
	unsigned n_queues;
	const uint16_t *queue_size; /* [n_queues], or one for all: NULL and the next */
	uint16_t queue_size_all;
	uint64_t features; /* the device's own. Ring features are the transport's; IN_ORDER only if named here */
	const void *config; /* first contents of the device configuration; NULL: zero */
	unsigned config_size;
};

/*
 * Makes a PCI function of it, to be put on the bus by pci_root_add(&d->pci). Zeroes the struct. On error nothing is left
 * (virtio_fini() is allowed). VM lock held, as for all creation.
 */
int virtio_init(struct virtio_dev *d, const struct virtio_class *class, const struct dev_env *env,
		const struct virtio_params *p, struct err *e);
/* Off the bus, queues stopped, work taken back. Accepts a zeroed struct. VM lock held, loop thread. */
void virtio_fini(struct virtio_dev *d);

/* ---- for devices; loop thread ---- */

static inline struct virtq *virtio_q(struct virtio_dev *d, unsigned i)
{
	return &d->queue[i].q;
}

/* Is there a driver that has these features (all of them)? False unless live. */
bool virtio_has(const struct virtio_dev *d, uint64_t features);
/* Live, not broken, not paused, and the device may reach memory: queues may be served. */
bool virtio_running(const struct virtio_dev *d);
/* Has notify called again soon. Any thread. */
void virtio_kick(struct virtio_dev *d, unsigned queue);
void virtio_stopped(struct virtio_dev *d);
void virtio_queue_stopped(struct virtio_dev *d, struct virtq *q);
/* Changes bytes of the device configuration, and tells the driver if `tell`. Any thread. */
void virtio_set_config(struct virtio_dev *d, unsigned off, const void *buf, unsigned len, bool tell);
void virtio_get_config(struct virtio_dev *d, unsigned off, void *buf, unsigned len);
/* The device cannot go on until the driver resets it (§2.1.2). `why` is static text. */
void virtio_break(struct virtio_dev *d, const char *why);

/* Calls class->stats and adds the queues' own counters. Loop thread. */
void virtio_stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx);

/* The device behind a PCI function, or NULL if that is none of virtio's. */
struct virtio_dev *virtio_from_pci(struct pci_device *p);

/* For a class without state of its own. */
int virtio_no_state(struct virtio_dev *d, struct state *s);

/* ---- between virtio.c, virtio_pci.c and virtio_state.c ---- */

/* The driver's set-up of a queue. */
struct virtq_setup virtio_queue_setup(const struct virtio_dev *d, const struct virtio_queue *vq);
int virtio_dev_state(struct virtio_dev *d, struct state *s);
int virtio_dev_loaded(struct virtio_dev *d, struct err *e);

int virtio_pci_init(struct virtio_dev *d, struct err *e);
/* Adds and removes doorbells as phase and BAR want it. VM lock held. */
void virtio_pci_doorbells(struct virtio_dev *d);
/* The driver writes the status register. VM lock held. */
void virtio_set_status(struct virtio_dev *d, uint8_t status);
void virtio_queue_reset(struct virtio_dev *d, struct virtio_queue *vq);
/* Status 0 as far as that goes at once. VM lock held. */
void virtio_reset(struct virtio_dev *d);
void virtio_config_interrupt(struct virtio_dev *d);

#endif
