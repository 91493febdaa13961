/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rng.c - the entropy device: one queue of writable buffers (virtio 1.2 §5.4).
 *
 * A buffer is filled up to CHUNK bytes and given back: the driver takes less than it asked for, and no guest can keep
 * the loop busy with one request of 4 GiB. BATCH requests are served at a time, the rest after others had their turn.
 */
#include "virtio/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 64u
#define CHUNK 4096u
#define BATCH 32u

struct rng {
	struct virtio_dev v;
	uint64_t n_bytes, n_short; /* the host had none */
};

static struct rng *from_virtio(struct virtio_dev *d)
{
	return container_of(d, struct rng, v);
}

static uint64_t fill(struct rng *r, struct virtq_chain *c)
{
	uint8_t buf[CHUNK];
	size_t want = MIN(c->in_bytes, sizeof(buf));
	ssize_t n;

	do
		/* seccomp vm: getrandom */
		n = getrandom(buf, want, GRND_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)want)
		r->n_short++;
	if (n <= 0)
		return 0;
	r->n_bytes += (uint64_t)n;
	return virtq_chain_write(c, 0, buf, (size_t)n);
}

static void notify(struct virtio_dev *d, struct virtq *q)
{
	struct virtq_chain *c;
	unsigned n = 0;

	do {
		virtq_disable_kicks(q);
		while (n < BATCH && (c = virtq_pop(q))) {
			virtq_push(q, c, fill(from_virtio(d), c));
			n++;
		}
		virtq_flush(q);
		if (n == BATCH) {
			virtio_kick(d, q->index);
			return;
		}
	} while (virtq_enable_kicks(q));
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct rng *r = from_virtio(d);

	add(ctx, "bytes", r->n_bytes);
	add(ctx, "short", r->n_short);
}

static void destroy(struct virtio_dev *d)
{
	virtio_fini(d);
	free(from_virtio(d));
}

const struct virtio_class virtio_rng_class = {
	.name = "rng",
	.help = "entropy from the host's random numbers",
	.type = 4,
	.pci_class = 0x00ff00,
	.destroy = destroy,
	.notify = notify,
	.state = virtio_no_state,
	.stats = stats,
};

int rng_create(struct virtio_dev **out, const struct dev_env *env, struct err *e)
{
	struct virtio_params p = {.id = "rng",
				  .n_queues = 1,
				  .queue_size_all = QUEUE_SIZE,
				  .features = VIRTIO_F_IN_ORDER};
	struct rng *r = calloc(1, sizeof(*r));
	int ret;

	*out = NULL;
	if (!r)
		return err_set(e, ENOMEM, "out of memory");
	ret = virtio_init(&r->v, &virtio_rng_class, env, &p, e);
	if (ret < 0) {
		free(r);
		return ret;
	}
	*out = &r->v;
	return 0;
}
