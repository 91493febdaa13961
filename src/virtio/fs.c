/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs.c - shared folders: virtio-fs (virtio 1.2 §5.11) in front of a vhost-user server.
 *
 * Theory of operation. The server is not given the guest's rings. Each queue has a second ring in memory of our own (a sealed
 * memfd that the server maps beside guest memory): a chain is taken from the guest's ring by the ring walker, checked, and put on the
 * second ring with the same guest addresses; when the server has used it, it goes back by virtq_push(). So split and packed rings,
 * indirect tables and event index work with any server; what the server wrote is known (dirty log, translated code); the
 * server can damage no more than buffers of requests, and memory, by itself; and a share can be read-only whatever the server thinks:
 *
 * Read-only. The part that the server reads (a FUSE request) is copied to our memory first, and only requests that change nothing pass;
 * others are answered with EROFS. The guest cannot change the copy.
 *
 * The end of the server. Requests that it had, and all from then on, are answered with ENOTCONN: what the guest's programs get.
 * Nothing waits for the server without a limit: it has STOP_NS to stop when the guest resets the device.
 *
 * The server works while the VM is paused; what it has done is looked at after the resume. Not saved: the server's open files are its
 * own.
 */
#include "virtio/fs_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/log.h"

#define BATCH 64u
#define STOP_NS (10 * CLOCK_NS_PER_S)
#define DESTROY_NS (3 * CLOCK_NS_PER_S)

static struct fs *from_v(struct virtio_dev *d)
{
	return container_of(d, struct fs, v);
}

static void lost(struct fs *f);

static void take_used(struct fs_queue *q)
{
	fs_ring_take(q);
	if (!fs_alive(q->fs))
		lost(q->fs);
}

/* ---- rings on and off ---- */

static void on_call(void *ctx, int fd, uint32_t events);
static void on_server(void *ctx, int fd, uint32_t events);

/* All that the server may map: guest memory, and ours. */
static int tell_memory(struct fs *f)
{
	struct vhost_user_region r[GMEM_MAX_REGIONS + 1];
	struct gmem *m = f->v.env->mem;
	unsigned n = 0;

	for (; n < m->n_regions; n++)
		r[n] = (struct vhost_user_region){m->region[n].gpa, m->region[n].size,
						  m->region[n].hva, m->memfd,
						  m->region[n].file_offset};
	r[n++] = (struct vhost_user_region){FS_OUR_GPA, FS_QUEUES * FS_QUEUE_MEMORY, f->memory,
					    f->memfd, 0};
	return n <= VHOST_USER_REGIONS_MAX ? vhost_user_set_memory(f->cfg.server, r, n) : -E2BIG;
}

static void ring_on(struct fs_queue *q)
{
	struct fs *f = q->fs;
	struct vhost_user_ring r = {
		FS_RING, q->desc, q->memory + FS_AT_AVAIL, q->memory + FS_AT_USED,
		q->kick, q->call};

	fs_ring_clear(q);
	q->on = true;
	q->stopping = false;
	if ((!f->has_memory && tell_memory(f) < 0) ||
	    vhost_user_start_ring(f->cfg.server, q->index, &r) < 0)
		lost(f);
	else
		f->has_memory = true;
}

/* The server has nothing of it any more. */
static void ring_off(struct fs_queue *q)
{
	struct fs *f = q->fs;
	bool waits = false;

	q->on = q->stopping = false;
	for (unsigned i = 0; i < FS_QUEUES; i++)
		waits |= f->queue[i].stopping;
	if (!waits)
		loop_timer_cancel(&f->timer);
	if (q->queue_stop) {
		q->queue_stop = false;
		virtio_queue_stopped(&f->v, virtio_q(&f->v, q->index));
	}
	if (!f->stopping)
		return;
	for (unsigned i = 0; i < FS_QUEUES; i++)
		if (f->queue[i].on)
			return;
	f->stopping = false;
	virtio_stopped(&f->v);
}

static void ring_stop(struct fs_queue *q)
{
	struct fs *f = q->fs;

	if (q->on && !q->stopping) {
		q->stopping = true;
		if (vhost_user_stop_ring(f->cfg.server, q->index) < 0)
			lost(f);
		else
			(void)loop_timer_set(&f->timer, clock_ns() + STOP_NS);
	} else if (!q->on) {
		ring_off(q);
	}
}

/* The server is gone: what it had is answered here. Accepts to be called again. */
static void lost(struct fs *f)
{
	if (f->watch) {
		log_error("%s: the server of the shared folder \"%s\" has ended; the guest gets errors from it",
			  f->v.pci.dev.id, f->cfg.tag);
		loop_fd_del(f->watch);
		f->watch = NULL;
	}
	vhost_user_end(f->cfg.server);
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		struct fs_queue *q = &f->queue[i];

		if (!q->on)
			continue;
		q->on = false;
		/* At a reset nobody waits for answers. */
		for (unsigned k = 0; k < FS_RING; k++) {
			struct virtq_chain *c = q->chain[k];

			if (!c || q->stopping)
				continue;
			q->chain[k] = NULL;
			f->n_failed++;
			fs_ring_answer(c, ENOTCONN);
		}
		if (!q->stopping)
			virtq_flush(virtio_q(&f->v, i));
		ring_off(q);
	}
}

/* ---- callbacks of the loop ---- */

static void notify(struct virtio_dev *d, struct virtq *vq);

static void on_call(void *ctx, int fd, uint32_t events)
{
	struct fs_queue *q = ctx;
	uint64_t n;

	(void)events;
	if (read(fd, &n, sizeof(n)) != (ssize_t)sizeof(n) || !virtio_running(&q->fs->v) || !q->on ||
	    q->stopping)
		return; /* after a pause: resume() looks */
	take_used(q);
	notify(&q->fs->v, virtio_q(&q->fs->v, q->index)); /* there may be room again */
}

static void on_server(void *ctx, int fd, uint32_t events)
{
	struct fs *f = ctx;
	unsigned index;
	int r;

	(void)fd;
	(void)events;
	while ((r = vhost_user_take(f->cfg.server, &index)) > 0) {
		if (index >= FS_QUEUES || !f->queue[index].stopping) {
			vhost_user_end(f->cfg.server);
			r = -EPROTO;
			break;
		}
		ring_off(&f->queue[index]);
	}
	if (r < 0)
		lost(f);
}

static void too_long(void *ctx)
{
	struct fs *f = ctx;

	log_error("%s: the server of the shared folder does not stop", f->v.pci.dev.id);
	lost(f);
}

/* ---- the class ---- */

static void notify(struct virtio_dev *d, struct virtq *vq)
{
	struct fs *f = from_v(d);
	struct fs_queue *q = &f->queue[vq->index];
	struct virtq_chain *c;
	unsigned n = 0;

	if (f->stopping || q->stopping)
		return;
	if (!q->on && fs_alive(f))
		ring_on(q);
	do {
		virtq_disable_kicks(vq);
		while (n < BATCH && (c = virtq_pop(vq))) {
			if (!fs_ring_give(q, c)) {
				virtq_unpop(vq, c);
				fs_ring_show(q);
				return; /* until a request is done */
			}
			n++;
		}
		if (q->on)
			fs_ring_show(q);
		virtq_flush(vq);
		if (n == BATCH) {
			virtio_kick(d, vq->index);
			return;
		}
	} while (virtq_enable_kicks(vq));
}

static void stop(struct virtio_dev *d)
{
	struct fs *f = from_v(d);

	f->stopping = true;
	for (unsigned i = 0; i < FS_QUEUES && f->stopping; i++)
		ring_stop(&f->queue[i]);
}

static void queue_stop(struct virtio_dev *d, struct virtq *vq)
{
	struct fs_queue *q = &from_v(d)->queue[vq->index];

	q->queue_stop = true;
	ring_stop(q);
}

static void resume(struct virtio_dev *d)
{
	struct fs *f = from_v(d);

	for (unsigned i = 0; i < FS_QUEUES; i++)
		if (f->queue[i].on && !f->queue[i].stopping)
			take_used(&f->queue[i]);
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	const struct fs *f = from_v(d);

	add(ctx, "served", f->n_requests);
	add(ctx, "refused", f->n_refused);
	add(ctx, "failed", f->n_failed);
	add(ctx, "alive", fs_alive(f));
}

static void dump(const struct virtio_dev *d, struct text *t)
{
	const struct fs *f = container_of(d, struct fs, v);

	text_print(t, " share \"%s\"%s: server %s%s\n", f->cfg.tag,
		   f->cfg.read_only ? " read-only" : "", fs_alive(f) ? "there" : "gone",
		   loop_timer_armed(&f->timer) ? ", is to stop" : "");
}

/* Waits until the server has let go of the rings, or for its end. */
static void stop_now(struct fs *f)
{
	uint64_t limit = clock_ns() + DESTROY_NS, now;
	unsigned index;
	uint32_t left = 0; /* bit: ring */

	for (unsigned i = 0; i < FS_QUEUES; i++) {
		if (!f->queue[i].on)
			continue;
		left |= (uint32_t)BIT(i);
		if (!f->queue[i].stopping && vhost_user_stop_ring(f->cfg.server, i) < 0)
			return;
	}
	while (left) {
		/* seccomp vm: poll */
		struct pollfd p = {.fd = vhost_user_fd(f->cfg.server), .events = POLLIN};
		int r = vhost_user_take(f->cfg.server, &index);

		if (r > 0 && index < FS_QUEUES && left & BIT(index)) {
			left &= ~(uint32_t)BIT(index);
			continue;
		}
		now = clock_ns();
		if (r || now >= limit ||
		    (poll(&p, 1, (int)((limit - now) / 1000000) + 1) < 0 && errno != EINTR)) {
			vhost_user_end(f->cfg.server);
			return;
		}
	}
}

static void destroy(struct virtio_dev *d)
{
	struct fs *f = from_v(d);

	stop_now(f);
	loop_timer_cancel(&f->timer);
	loop_fd_del(f->watch);
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		loop_fd_del(f->queue[i].watch);
		base_close_fd(&f->queue[i].kick);
		base_close_fd(&f->queue[i].call);
	}
	virtio_fini(d);
	if (f->memory)
		munmap(f->memory, FS_QUEUES * FS_QUEUE_MEMORY);
	base_close_fd(&f->memfd);
	free(f);
}

const struct virtio_class virtio_fs_class = {
	.name = "fs",
	.help = "shared folder, by virtiofsd",
	.type = 26,
	.pci_class = 0x018000,
	.destroy = destroy,
	.notify = notify,
	.stop = stop,
	.queue_stop = queue_stop,
	.resume = resume,
	.stats = stats,
	.dump = dump,
};

static int make_memory(struct fs *f, struct err *e)
{
	uint64_t size = FS_QUEUES * FS_QUEUE_MEMORY;
	void *p;

	/* seccomp vm: memfd_create, ftruncate, fcntl arg1=F_ADD_SEALS - the second rings, made anew at a reset */
	f->memfd = memfd_create("share", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Sealed: cut short by the server, it would end us. */
	if (f->memfd < 0 || ftruncate(f->memfd, (off_t)size) < 0 ||
	    fcntl(f->memfd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return err_errno(e, errno, "%s: cannot make its memory", f->cfg.id);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	if (p == MAP_FAILED)
		return err_errno(e, errno, "%s: cannot map its memory", f->cfg.id);
	f->memory = p;
	return 0;
}

static int make_queue(struct fs *f, struct fs_queue *q, struct err *e)
{
	int r;

	q->memory = f->memory + q->index * FS_QUEUE_MEMORY;
	q->desc = (struct fs_desc *)(void *)q->memory;
	/* seccomp vm: eventfd2 */
	q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick < 0 || q->call < 0)
		return err_errno(e, errno, "%s: cannot make its event descriptors", f->cfg.id);
	r = loop_fd_add(f->v.env->loop, q->call, EPOLLIN, on_call, q, &q->watch);
	return r < 0 ? err_errno(e, -r, "%s: cannot watch its event descriptors", f->cfg.id) : 0;
}

int virtio_fs_create(struct virtio_dev **out, const struct dev_env *env,
		     const struct virtio_fs_config *cfg, struct err *e)
{
	struct {
		char tag[VIRTIO_FS_TAG_MAX];
		uint32_t n_queues;
	} config = {.n_queues = FS_QUEUES - 1};
	struct virtio_params p = {.id = cfg->id,
				  .n_queues = FS_QUEUES,
				  .queue_size_all = FS_QUEUE_SIZE,
				  .config = &config,
				  .config_size = sizeof(config)};
	struct fs *f = calloc(1, sizeof(*f));
	int r;

	*out = NULL;
	if (!f)
		return err_set(e, ENOMEM, "out of memory");
	ASSERT(env->mem->memfd >= 0);
	memcpy(config.tag, cfg->tag, MIN(strlen(cfg->tag), sizeof(config.tag)));
	f->cfg = *cfg;
	f->memfd = -1;
	for (unsigned i = 0; i < FS_QUEUES; i++) {
		f->queue[i].fs = f;
		f->queue[i].index = i;
		f->queue[i].kick = f->queue[i].call = -1;
	}
	r = virtio_init(&f->v, &virtio_fs_class, env, &p, e);
	if (r < 0) {
		free(f);
		return r;
	}
	loop_timer_init(&f->timer, env->loop, too_long, f);
	r = make_memory(f, e);
	for (unsigned i = 0; r == 0 && i < FS_QUEUES; i++)
		r = make_queue(f, &f->queue[i], e);
	if (r == 0 && fs_alive(f)) {
		r = loop_fd_add(env->loop, vhost_user_fd(cfg->server), EPOLLIN, on_server, f,
				&f->watch);
		if (r < 0)
			err_errno(e, -r, "%s: cannot watch the server's socket", cfg->id);
	}
	if (r < 0) {
		destroy(&f->v);
		return r;
	}
	*out = &f->v;
	return 0;
}
