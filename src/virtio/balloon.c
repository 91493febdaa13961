/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.c - inflate and deflate, statistics, free page reporting (virtio 1.2 §5.5).
 *
 * Theory of operation. Two sources of pages, one sink (gmem_discard(), which punches a hole into the memory's file):
 *
 *   inflate    the driver gives page numbers until its balloon is as large as num_pages says.
 *   reporting  the driver tells of free blocks, as buffers, and takes them back when they are used: nobody uses them
 *              meanwhile. It does so by itself, without any size being asked for.
 *
 * Deflating needs no work: a page that is used again comes into being by that. So deflate-on-OOM is always offered.
 * Free page hinting is not: a driver may take such a page back before it is used (§5.5.6.6), which is fine for a
 * migration that looks at a dirty log, but not for discarding.
 *
 * Linux counts queues without gaps: of the queues 2 (statistics), 3 (hinting) and 4 (reporting) those whose feature
 * was not negotiated have no number.
 *
 * Statistics: the driver leaves one buffer with us; giving it back asks for new ones.
 */
#include "virtio/balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define F_STATS BIT(1)
#define F_DEFLATE_ON_OOM BIT(2)
#define F_REPORTING BIT(5)

#define QUEUE_SIZE 128u
#define PFN_SIZE 4096u /* §5.5.6: always, whatever the pages of the guest */
#define BATCH 16u      /* requests of a queue before others have their turn */
#define PFNS 256u      /* looked at together */
#define STATS_MAX 16u

enum role { INFLATE, DEFLATE, STATS, REPORTING, ROLES };

static const char *const stat_names[STATS_MAX] = {
	"guest.swap_in",	 "guest.swap_out",    "guest.major_faults",
	"guest.minor_faults",	 "guest.free_bytes",  "guest.total_bytes",
	"guest.available_bytes", "guest.cache_bytes", "guest.hugetlb_allocs",
	"guest.hugetlb_fails",
};

struct config {
	uint32_t num_pages, actual;
};

struct balloon {
	struct virtio_dev v;
	struct virtq_chain *stats_chain; /* the driver's, with us until somebody asks */
	bool stats_asked;		 /* since it was given back */
	uint64_t stat[STATS_MAX];	 /* as the guest said last */
	uint32_t stats_known;		 /* bit: there is such a one */
	uint64_t stats_at;		 /* board time */

	uint64_t n_inflated, n_deflated, n_bad; /* pages; requests that made no sense */
	uint64_t n_reported;			/* bytes */
};

static struct balloon *from_virtio(const struct virtio_dev *d)
{
	return container_of(d, struct balloon, v);
}

static enum role role_of(const struct virtio_dev *d, unsigned queue)
{
	static const uint64_t feature[ROLES] = {[STATS] = F_STATS, [REPORTING] = F_REPORTING};
	unsigned n = 0;

	for (unsigned role = 0; role < ROLES; role++) {
		if (feature[role] && !(d->features & feature[role]))
			continue;
		if (n++ == queue)
			return (enum role)role;
	}
	return ROLES;
}

static struct virtq *queue_of(struct virtio_dev *d, enum role role)
{
	for (unsigned i = 0; i < d->n_queues; i++)
		if (role_of(d, i) == role)
			return virtio_q(d, i);
	return NULL;
}

/* ---- inflate and deflate ---- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Neighbours go in one call. */
static void discard_pfns(struct balloon *b, uint32_t *pfn, unsigned n)
{
	struct gmem *mem = b->v.env->mem;

	qsort(pfn, n, sizeof(*pfn), by_number);
	for (unsigned i = 0, k; i < n; i = k) {
		for (k = i + 1; k < n && pfn[k] - pfn[k - 1] <= 1; k++)
			;
		if (gmem_discard(mem, (gpa_t)pfn[i] * PFN_SIZE,
				 ((uint64_t)pfn[k - 1] - pfn[i] + 1) * PFN_SIZE) < 0)
			b->n_bad++;
	}
}

static void take_pfns(struct balloon *b, const struct virtq_chain *c, enum role role)
{
	uint32_t pfn[PFNS];
	uint64_t off = 0;
	size_t n;

	while ((n = virtq_chain_read(c, off, pfn, sizeof(pfn)) / sizeof(pfn[0]))) {
		off += n * sizeof(pfn[0]);
		if (role == DEFLATE) {
			b->n_deflated += n;
			continue;
		}
		b->n_inflated += n;
		discard_pfns(b, pfn, (unsigned)n);
	}
}

/* ---- statistics ---- */

static void take_stats(struct balloon *b, const struct virtq_chain *c)
{
	struct {
		uint16_t tag;
		uint64_t value;
	} __attribute__((packed)) s;

	for (uint64_t off = 0;
	     off < STATS_MAX * sizeof(s) && virtq_chain_read(c, off, &s, sizeof(s)) == sizeof(s);
	     off += sizeof(s)) {
		if (s.tag >= STATS_MAX)
			continue;
		b->stat[s.tag] = s.value;
		b->stats_known |= 1u << s.tag;
	}
	b->stats_at = dev_now(&b->v.env->clock);
}

static void serve_stats(struct balloon *b, struct virtq *q)
{
	struct virtq_chain *c = virtq_pop(q);

	if (!c)
		return;
	if (b->stats_chain) { /* one is all the driver needs */
		virtq_push(q, b->stats_chain, 0);
		virtq_flush(q);
	}
	b->stats_chain = c;
	b->stats_asked = false;
	take_stats(b, c);
}

static void ask_stats(struct balloon *b)
{
	struct virtq *q = queue_of(&b->v, STATS);

	if (!b->stats_chain || b->stats_asked || !q || !virtio_running(&b->v))
		return;
	b->stats_asked = true;
	virtq_push(q, b->stats_chain, 0);
	b->stats_chain = NULL;
	virtq_flush(q);
}

/* ---- reports ---- */

/* The chain's writable buffers are free memory. */
static void take_report(struct balloon *b, const struct virtq_chain *c)
{
	for (unsigned i = c->n_out; i < c->n_out + c->n_in; i++) {
		b->n_reported += c->iov[i].iov_len;
		if (gmem_discard(b->v.env->mem, c->gpa[i], c->iov[i].iov_len) < 0)
			b->n_bad++;
	}
}

/* ---- queues ---- */

static void serve(struct balloon *b, struct virtq *q, enum role role)
{
	struct virtq_chain *c;
	unsigned n = 0;

	do {
		virtq_disable_kicks(q);
		while (n < BATCH && (c = virtq_pop(q))) {
			if (role == REPORTING)
				take_report(b, c);
			else
				take_pfns(b, c, role);
			virtq_push(q, c, 0);
			n++;
		}
		virtq_flush(q);
		if (n == BATCH) {
			virtio_kick(&b->v, q->index);
			return;
		}
	} while (virtq_enable_kicks(q));
}

static void notify(struct virtio_dev *d, struct virtq *q)
{
	struct balloon *b = from_virtio(d);
	enum role role = role_of(d, q->index);

	if (role == STATS)
		serve_stats(b, q);
	else if (role != ROLES)
		serve(b, q, role);
}

static void forget(struct balloon *b)
{
	b->stats_chain = NULL;
	b->stats_asked = false;
}

static void stop(struct virtio_dev *d)
{
	uint32_t none = 0;

	forget(from_virtio(d));
	virtio_set_config(d, offsetof(struct config, actual), &none, sizeof(none), false);
	virtio_stopped(d);
}

static void queue_stop(struct virtio_dev *d, struct virtq *q)
{
	struct balloon *b = from_virtio(d);

	if (b->stats_chain && b->stats_chain->q == q)
		forget(b);
	virtio_queue_stopped(d, q);
}

static void pause(struct virtio_dev *d)
{
	struct balloon *b = from_virtio(d);

	if (b->stats_chain) /* comes again after the pause */
		virtq_unpop(b->stats_chain->q, b->stats_chain);
	b->stats_chain = NULL;
}

static void config_write(struct virtio_dev *d, unsigned off, unsigned size, uint64_t value)
{
	uint32_t v = (uint32_t)value;

	if (off == offsetof(struct config, actual) && size == sizeof(v))
		virtio_set_config(d, off, &v, sizeof(v), false);
}

/* ---- the operator ---- */

static void get_config(struct virtio_dev *d, struct config *c)
{
	virtio_get_config(d, 0, c, sizeof(*c));
}

uint64_t balloon_target(struct virtio_dev *d)
{
	struct config c;

	get_config(d, &c);
	return (uint64_t)c.num_pages * PFN_SIZE;
}

uint64_t balloon_actual(struct virtio_dev *d)
{
	struct config c;

	get_config(d, &c);
	return (uint64_t)c.actual * PFN_SIZE;
}

int balloon_set_target(struct virtio_dev *d, uint64_t bytes, struct err *e)
{
	uint64_t max = d->env->mem->size_bytes;
	uint32_t pages = (uint32_t)(bytes / PFN_SIZE);

	if (bytes > max || bytes / PFN_SIZE > UINT32_MAX) {
		err_set(e, EINVAL,
			"the balloon cannot be larger than the memory of the VM, %llu MiB",
			(unsigned long long)(max / MIB));
		return err_limit(e, "%llu MiB", (unsigned long long)(max / MIB));
	}
	virtio_set_config(d, offsetof(struct config, num_pages), &pages, sizeof(pages), true);
	return 0;
}

static void stats(struct virtio_dev *d, void (*add)(void *ctx, const char *key, uint64_t v),
		  void *ctx)
{
	struct balloon *b = from_virtio(d);
	struct config c;

	get_config(d, &c);
	add(ctx, "target_bytes", (uint64_t)c.num_pages * PFN_SIZE);
	add(ctx, "actual_bytes", (uint64_t)c.actual * PFN_SIZE);
	add(ctx, "inflated_pages", b->n_inflated);
	add(ctx, "deflated_pages", b->n_deflated);
	add(ctx, "reported_bytes", b->n_reported);
	add(ctx, "refused", b->n_bad);
	for (unsigned i = 0; i < STATS_MAX; i++)
		if (stat_names[i] && (b->stats_known & (1u << i)))
			add(ctx, stat_names[i], b->stat[i]);
	if (b->stats_known)
		add(ctx, "guest.age_ms", (dev_now(&d->env->clock) - b->stats_at) / 1000000);
	ask_stats(b);
}

static int loaded(struct virtio_dev *d, struct err *e)
{
	uint64_t pages = d->env->mem->size_bytes / PFN_SIZE;
	struct config c;

	get_config(d, &c);
	if (c.num_pages <= pages)
		return 0;
	return err_set(e, EINVAL, "%s: the saved size is larger than the memory", d->pci.dev.id);
}

static void destroy(struct virtio_dev *d)
{
	virtio_fini(d);
	free(from_virtio(d));
}

const struct virtio_class virtio_balloon_class = {
	.name = "balloon",
	.help = "memory balloon: takes memory back from the guest, and what it does not use",
	.type = 5,
	.pci_class = 0x00ff00,
	.destroy = destroy,
	.notify = notify,
	.stop = stop,
	.queue_stop = queue_stop,
	.pause = pause,
	.config_write = config_write,
	.state = virtio_no_state, /* its sizes are in the configuration */
	.loaded = loaded,
	.stats = stats,
};

int balloon_create(struct virtio_dev **out, const struct dev_env *env, struct err *e)
{
	struct virtio_params p = {
		.id = "balloon",
		.n_queues = ROLES,
		.queue_size_all = QUEUE_SIZE,
		.features = F_STATS | F_DEFLATE_ON_OOM | F_REPORTING,
		.config_size = sizeof(struct config),
	};
	struct balloon *b = calloc(1, sizeof(*b));
	int r;

	*out = NULL;
	if (!b)
		return err_set(e, ENOMEM, "out of memory");
	r = virtio_init(&b->v, &virtio_balloon_class, env, &p, e);
	if (r < 0) {
		free(b);
		return r;
	}
	*out = &b->v;
	return 0;
}
