/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_virtq.c - the ring walker against a driver of the tests: traffic in all layouts, suppression, bad rings. */
#include <errno.h>

#include "virtq_driver.h"

#define RINGS 0x10000u
#define DATA 0x200000u
#define HIGH (UINT64_C(4) << 30)

static struct gmem *mem;
static unsigned interrupts, breaks;
static const char *broken_why;

static void on_interrupt(struct virtq *q)
{
	(void)q;
	interrupts++;
}

static void on_broken(struct virtq *q, const char *why)
{
	(void)q;
	breaks++;
	broken_why = why;
}

static const struct virtq_ops ops = {on_interrupt, on_broken};

static int setup(void **st)
{
	struct gmem_range r[2] = {{0, 8 * MIB}, {HIGH, 8 * MIB}};

	(void)st;
	interrupts = breaks = 0;
	broken_why = NULL;
	return gmem_create(&mem, r, 2, -1, NULL);
}

static int teardown(void **st)
{
	(void)st;
	gmem_destroy(mem);
	return 0;
}

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)(seed >> 4) * n) >> 28);
}

static void start(struct virtq *q, struct drv *d, struct virtq_setup set)
{
	memset(q, 0, sizeof(*q));
	q->ops = &ops;
	drv_init(d, mem, RINGS, set);
	assert_int_equal(virtq_start(q, mem, &d->set), 0);
}

/* ---- traffic ---- */

/* A request asks for the sum of its out bytes, repeated over its in bytes. */
static void serve_one(struct virtq_chain *c)
{
	uint8_t buf[4096], sum = 0;
	uint64_t off = 0;
	size_t n;

	while ((n = virtq_chain_read(c, off, buf, 1 + off % 700))) {
		for (size_t i = 0; i < n; i++)
			sum = (uint8_t)(sum + buf[i]);
		off += n;
	}
	assert_int_equal(off, c->out_bytes);
	memset(buf, sum, sizeof(buf));
	for (off = 0; (n = virtq_chain_write(c, off, buf, 1 + off % 900)); off += n)
		;
	assert_int_equal(off, c->in_bytes);
}

struct request {
	struct drv_seg seg[DRV_SEGS_MAX];
	unsigned n;
	uint8_t sum;
	uint32_t in_bytes;
};

static struct request requests[DRV_SIZE_MAX];
static unsigned n_out;

static void add_some(struct drv *d, bool indirect)
{
	struct request r = {0};
	unsigned n_read = rnd(4), n_write = rnd(4), where;
	bool table = indirect && rnd(2);
	uint8_t data[512];
	int id;

	if (!table && n_read + n_write > d->set.size)
		n_read = n_write = 0;
	if (n_read + n_write == 0)
		n_write = 1;
	if (!d->n_free_id)
		return;
	where = d->free_id[d->n_free_id - 1]; /* the id it will get */
	for (unsigned i = 0; i < n_read + n_write; i++) {
		struct drv_seg *s = &r.seg[r.n++];

		*s = (struct drv_seg){(rnd(2) ? DATA : HIGH) + where * 4096u + i * 500,
				      1 + rnd(499), i >= n_read};
		if (s->write) {
			r.in_bytes += s->len;
			continue;
		}
		for (unsigned k = 0; k < s->len; k++) {
			data[k] = (uint8_t)rnd(256);
			r.sum = (uint8_t)(r.sum + data[k]);
		}
		assert_int_equal(gmem_write(mem, s->addr, data, s->len), 0);
	}
	id = drv_add(d, r.seg, r.n, table);
	if (id < 0)
		return;
	assert_int_equal((unsigned)id, where);
	requests[id] = r;
	n_out++;
}

static unsigned take_used(struct drv *d)
{
	unsigned n = 0;
	uint32_t len;
	int id;

	while ((id = drv_get(d, &len)) >= 0) {
		const struct request *r = &requests[id];

		assert_int_equal(len, r->in_bytes);
		for (unsigned i = 0; i < r->n; i++) {
			uint8_t data[512];

			if (!r->seg[i].write)
				continue;
			assert_int_equal(gmem_read(mem, r->seg[i].addr, data, r->seg[i].len), 0);
			for (unsigned k = 0; k < r->seg[i].len; k++)
				assert_int_equal(data[k], r->sum);
		}
		n++;
		n_out--;
	}
	return n;
}

static void traffic(struct virtq_setup set, unsigned rounds)
{
	struct virtq_chain *held[DRV_SIZE_MAX];
	unsigned n_held = 0, served = 0, n;
	struct virtq q;
	struct drv d;

	n_out = 0;
	start(&q, &d, set);
	drv_interrupts(&d, true);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned before = interrupts, pushed = 0, older = n_held;

		for (unsigned k = rnd(6); k--;)
			add_some(&d, set.indirect);
		while ((held[n_held] = virtq_pop(&q)))
			n_held++;
		/* Some are put back: they come again. */
		for (n = rnd(3); n && n_held > older; n--)
			virtq_unpop(&q, held[--n_held]);
		while ((held[n_held] = virtq_pop(&q)))
			n_held++;
		assert_int_equal(n_held, q.n_busy - (set.in_order ? served : 0));
		for (n = rnd(n_held + 1); n; n--) {
			unsigned i = set.in_order && rnd(2) ? 0 : rnd(n_held);

			serve_one(held[i]);
			virtq_push(&q, held[i], held[i]->in_bytes);
			pushed++;
			memmove(held + i, held + i + 1, (--n_held - i) * sizeof(held[0]));
		}
		assert_int_equal(take_used(&d), 0); /* not before the flush */
		virtq_flush(&q);
		n = take_used(&d);
		if (set.in_order)
			served += pushed - n;
		else
			assert_int_equal(n, pushed);
		/* It was asked for at the next used buffer; without the index, at each flush that shows some. */
		assert_int_equal(interrupts - before, n > 0);
		drv_interrupts(&d, true);
	}
	assert_int_equal(breaks, 0);
	assert_int_equal(n_out, n_held + (set.in_order ? served : 0));
	virtq_stop(&q);
	assert_false(q.live);
}

static void test_traffic(void **st)
{
	static const uint16_t sizes[] = {1, 2, 3, 4, 7, 8, 32, 256, 1024};

	(void)st;
	seed = 1;
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
		for (unsigned bits = 0; bits < 16; bits++) {
			struct virtq_setup set = {.packed = bits & 1,
						  .event_idx = bits & 2,
						  .indirect = bits & 4,
						  .in_order = bits & 8,
						  .size = sizes[s]};

			if (!set.packed && (set.size & (set.size - 1)))
				continue;
			traffic(set, 400);
		}
}

/* The free running 16-bit indices of a split ring go around, and a packed ring many times. */
static void test_wrap(void **st)
{
	(void)st;
	for (unsigned packed = 0; packed < 2; packed++) {
		struct virtq_setup set = {.packed = packed, .event_idx = true, .size = 4};
		struct drv_seg s = {DATA, 16, true};
		struct virtq q;
		struct drv d;

		start(&q, &d, set);
		for (unsigned i = 0; i < 70000; i++) {
			struct virtq_chain *c;
			uint32_t len;
			int id;

			drv_interrupts(&d, true);
			interrupts = 0;
			id = drv_add(&d, &s, 1, false);
			assert_true(id >= 0);
			c = virtq_pop(&q);
			assert_non_null(c);
			virtq_push(&q, c, i % 17);
			virtq_flush(&q);
			assert_int_equal(interrupts, 1);
			assert_int_equal(drv_get(&d, &len), id);
			assert_int_equal(len, i % 17);
		}
		virtq_stop(&q);
	}
}

/* ---- suppression ---- */

static void test_kicks(void **st)
{
	(void)st;
	for (unsigned bits = 0; bits < 4; bits++) {
		struct virtq_setup set = {.packed = bits & 1, .event_idx = bits & 2, .size = 8};
		struct drv_seg s = {DATA, 16, true};
		struct virtq q;
		struct drv d;

		start(&q, &d, set);
		assert_true(drv_kick_wanted(&d, (uint16_t)-1) || set.event_idx);
		virtq_disable_kicks(&q);
		if (!set.event_idx || set.packed)
			assert_false(drv_kick_wanted(&d, 0));
		assert_false(virtq_enable_kicks(&q));
		if (set.packed && set.event_idx)
			assert_int_equal(drv_get16(&d, d.set.device), drv_place(&d));
		assert_true(drv_add(&d, &s, 1, false) >= 0);
		assert_true(drv_kick_wanted(&d, 0));
		virtq_disable_kicks(&q);
		assert_non_null(virtq_pop(&q));
		assert_true(drv_add(&d, &s, 1, false) >= 0);
		if (!set.packed || !set.event_idx)
			assert_false(drv_kick_wanted(&d, 1));
		assert_true(virtq_enable_kicks(&q)); /* there is one already */
		assert_non_null(virtq_pop(&q));
		assert_false(virtq_enable_kicks(&q));
		if (set.packed && set.event_idx)
			assert_int_equal(drv_get16(&d, d.set.device), drv_place(&d));
		virtq_stop(&q);
	}
}

static void test_interrupts(void **st)
{
	(void)st;
	for (unsigned bits = 0; bits < 4; bits++) {
		struct virtq_setup set = {.packed = bits & 1, .event_idx = bits & 2, .size = 8};
		struct drv_seg s = {DATA, 16, true};
		struct virtq q;
		struct drv d;
		uint32_t len;

		start(&q, &d, set);
		interrupts = 0;
		drv_interrupts(&d, false);
		for (unsigned i = 0; i < 5; i++)
			assert_true(drv_add(&d, &s, 1, false) >= 0);
		virtq_push(&q, virtq_pop(&q), 0);
		virtq_flush(&q);
		assert_int_equal(interrupts, 0);
		virtq_flush(&q); /* nothing new */
		assert_true(drv_get(&d, &len) >= 0);
		drv_interrupts(&d, true);
		virtq_flush(&q);
		assert_int_equal(interrupts, 0);
		virtq_push(&q, virtq_pop(&q), 0);
		virtq_push(&q, virtq_pop(&q), 0);
		virtq_flush(&q);
		assert_int_equal(interrupts, 1);
		/* The event has passed: with the index no other comes before the driver asks again. */
		virtq_push(&q, virtq_pop(&q), 0);
		virtq_flush(&q);
		assert_int_equal(interrupts, set.event_idx ? 1 : 2);
		virtq_stop(&q);
	}
}

/* ---- the dirty log, and slices ---- */

static bool dirty(gpa_t a, const uint64_t *map)
{
	const struct gmem_region *r = gmem_find(mem, a);
	uint64_t p = (r->file_offset + a - r->gpa) / GMEM_PAGE;

	return map[p / 64] & BIT(p % 64);
}

static void test_dirty(void **st)
{
	struct virtq_setup set = {.size = 8};
	struct drv_seg s[3] = {{DATA, 100, false},
			       {DATA + 4096, 4096, true},
			       {HIGH + 8192, 8192, true}};
	uint64_t map[(16 * MIB / GMEM_PAGE + 63) / 64];
	struct virtq_chain *c;
	struct iovec iov[4];
	struct virtq q;
	struct drv d;
	uint64_t n;

	(void)st;
	start(&q, &d, set);
	drv_add(&d, s, 3, false);
	drv_add(&d, s, 3, false);
	assert_int_equal(gmem_dirty_start(mem), 0);
	c = virtq_pop(&q);
	assert_int_equal(c->out_bytes, 100);
	assert_int_equal(c->in_bytes, 12288);
	virtq_push(&q, c, 4097);
	gmem_dirty_harvest(mem, map);
	assert_false(dirty(DATA, map));
	assert_true(dirty(DATA + 4096, map));
	assert_true(dirty(HIGH + 8192, map));
	assert_false(dirty(HIGH + 12288, map));
	virtq_flush(&q);
	gmem_dirty_harvest(mem, map);
	assert_true(dirty(d.set.device, map));
	/* Slices: across the two writable buffers, and cut. */
	c = virtq_pop(&q);
	assert_int_equal(virtq_chain_iov(c, true, 4000, 200, iov, 4, &n), 2);
	assert_int_equal(n, 200);
	assert_ptr_equal(iov[0].iov_base, gmem_at(mem, DATA + 4096 + 4000, 96));
	assert_int_equal(iov[1].iov_len, 104);
	assert_int_equal(virtq_chain_iov(c, true, 4000, 200, iov, 1, &n), 1);
	assert_int_equal(n, 96);
	assert_int_equal(virtq_chain_iov(c, true, 12288, 1, iov, 4, &n), 0);
	assert_int_equal(virtq_chain_iov(c, false, 0, UINT64_MAX, iov, 4, &n), 1);
	assert_int_equal(n, 100);
	/* What was with the device at the end may have been written all over. */
	gmem_dirty_harvest(mem, map);
	virtq_stop(&q);
	gmem_dirty_harvest(mem, map);
	assert_true(dirty(DATA + 4096, map) && dirty(HIGH + 12288, map));
	gmem_dirty_stop(mem);
}

/* ---- bad rings ---- */

static void expect_broken(struct virtq *q, const char *words)
{
	assert_null(virtq_pop(q));
	assert_true(q->broken);
	assert_int_equal(breaks, 1);
	assert_non_null(strstr(broken_why, words));
	assert_false(virtq_ready(q));
	assert_null(virtq_pop(q));
	virtq_flush(q);
	assert_false(virtq_enable_kicks(q));
	virtq_stop(q);
	breaks = 0;
}

static void test_start_refused(void **st)
{
	struct virtq q = {.ops = &ops};
	struct virtq_setup set = {.size = 8, .desc = 0x1000, .driver = 0x2000, .device = 0x3000}, s;

	(void)st;
#define REFUSED(change)                                              \
	do {                                                         \
		s = set;                                             \
		change;                                              \
		assert_int_equal(virtq_start(&q, mem, &s), -EINVAL); \
		assert_false(q.live);                                \
	} while (0)
	REFUSED(s.size = 0);
	REFUSED(s.size = 3);
	REFUSED(s.size = 2048);
	REFUSED(s.desc = 0x1008);
	REFUSED(s.driver = 0x2001);
	REFUSED(s.device = 0x3002);
	REFUSED(s.desc = 8 * MIB - 64);
	REFUSED(s.driver = 8 * MIB - 16);
	REFUSED(s.device = 8 * MIB - 64);
	REFUSED(s.device = UINT64_MAX - 3);
	REFUSED((s.packed = true, s.driver = 0x2002));
#undef REFUSED
	assert_int_equal(virtq_start(&q, mem, &set), 0);
	assert_int_equal(virtq_start(&q, mem, &set), -EINVAL); /* live */
	virtq_stop(&q);
	virtq_stop(&q);
}

static void test_bad_split(void **st)
{
	struct virtq_setup set = {.size = 8, .indirect = true};
	struct drv_seg ok = {DATA, 16, false};
	struct virtq q;
	struct drv d;

	(void)st;
#define BAD(words, make)                                       \
	do {                                                   \
		start(&q, &d, set);                            \
		drv_add(&d, &ok, 1, false); /* descriptor 0 */ \
		make;                                          \
		expect_broken(&q, words);                      \
	} while (0)
#define DESC(i, addr, len, flags, next) drv_put_desc(&d, d.set.desc, i, addr, len, flags, next)
	BAD("more buffers are available", drv_put16(&d, d.set.driver + 2, 9));
	BAD("not below the queue size", drv_put16(&d, d.set.driver + 4, 8));
	BAD("successor", DESC(0, DATA, 16, 1, 8));
	BAD("loops", DESC(0, DATA, 16, 1, 0));
	BAD("not in guest RAM", DESC(0, 8 * MIB - 8, 16, 0, 0));
	BAD("not in guest RAM", DESC(0, UINT64_MAX - 7, 16, 0, 0));
	BAD("not in guest RAM", DESC(0, 0xe0000000, 16, 2, 0));
	BAD("behind a writable", (DESC(0, DATA, 16, 3, 1), DESC(1, DATA, 16, 0, 0)));
	BAD("where none may be", DESC(0, DATA, 16, 5, 1));
	BAD("impossible size", DESC(0, DATA, 0, 4, 0));
	BAD("impossible size", DESC(0, DATA, 24, 4, 0));
	BAD("impossible size", DESC(0, DATA, 0xfffffff0u, 4, 0));
	BAD("table is not in guest RAM", DESC(0, 8 * MIB - 16, 32, 4, 0));
	BAD("where none may be",
	    (DESC(0, DATA, 32, 4, 0), drv_put_desc(&d, DATA, 0, DATA, 16, 4, 0)));
	BAD("loops", (DESC(0, DATA, 32, 4, 0), drv_put_desc(&d, DATA, 0, DATA, 0, 1, 1),
		      drv_put_desc(&d, DATA, 1, DATA, 0, 1, 0)));
	BAD("successor", (DESC(0, DATA, 32, 4, 0), drv_put_desc(&d, DATA, 0, DATA, 8, 1, 2)));
	set.indirect = false;
	BAD("without the feature", DESC(0, DATA, 32, 4, 0));
	set.indirect = true;

	/* The same head twice; then, after it was given back, again is right. */
	start(&q, &d, set);
	drv_add(&d, &ok, 1, false);
	assert_non_null(virtq_pop(&q));
	drv_put16(&d, d.set.driver + 4 + 2, 0);
	drv_put16(&d, d.set.driver + 2, 2);
	expect_broken(&q, "available again");

	/* Chained descriptors, then one table: allowed. Empty buffers are left out. */
	start(&q, &d, set);
	drv_add(&d, &ok, 1, false);
	DESC(0, DATA, 16, 1, 1);
	DESC(1, DATA, 0, 1, 2);
	DESC(2, DATA + 4096, 48, 4, 0);
	drv_put_desc(&d, DATA + 4096, 0, DATA, 5, 1, 2);
	drv_put_desc(&d, DATA + 4096, 2, DATA, 7, 2, 0);
	{
		struct virtq_chain *c = virtq_pop(&q);

		assert_non_null(c);
		assert_int_equal(c->n_out, 2);
		assert_int_equal(c->out_bytes, 21);
		assert_int_equal(c->in_bytes, 7);
	}
	virtq_stop(&q);

	/* 4 GiB in one chain. */
	start(&q, &d, set);
	drv_add(&d, &ok, 1, false);
	DESC(0, DATA, 16 * 700, 4, 0);
	for (unsigned i = 0; i < 700; i++)
		drv_put_desc(&d, DATA, i, 0, 8 * MIB, 1, (uint16_t)(i + 1));
	expect_broken(&q, "4 GiB");
#undef BAD
#undef DESC
}

static void test_bad_packed(void **st)
{
	struct virtq_setup set = {.size = 8, .packed = true, .indirect = true};
	struct drv_seg ok = {DATA, 16, false};
	struct virtq q;
	struct drv d;

	(void)st;
#define BAD(words, make)                  \
	do {                              \
		start(&q, &d, set);       \
		make;                     \
		expect_broken(&q, words); \
	} while (0)
#define DESC(i, addr, len, id, flags) \
	drv_put_desc(&d, d.set.desc, i, addr, len, id, (uint16_t)(0x80 | (flags)))
	BAD("not below the queue size", DESC(0, DATA, 16, 8, 0));
	BAD("not in guest RAM", DESC(0, 8 * MIB, 16, 0, 0));
	BAD("behind a writable", (DESC(0, DATA, 16, 0, 3), DESC(1, DATA, 16, 0, 0)));
	BAD("where none may be", (DESC(0, DATA, 16, 0, 1), DESC(1, DATA, 16, 0, 4)));
	BAD("where none may be", DESC(0, DATA, 16, 0, 5));
	BAD("impossible size", DESC(0, DATA, 8, 0, 4));
	BAD("table is not in guest RAM", DESC(0, 8 * MIB - 16, 32, 0, 4));
	BAD("too many buffers", DESC(0, DATA, 16 * 1025, 0, 4));
	BAD("more descriptors", for (unsigned i = 0; i < 8; i++) DESC(i, DATA, 16, 0, 1));
#undef BAD
	start(&q, &d, set);
	drv_add(&d, &ok, 1, false);
	assert_non_null(virtq_pop(&q));
	DESC(1, DATA, 16, 0, 0); /* id 0 again */
	expect_broken(&q, "available again");
	/* More places than the ring has, in two chains. */
	start(&q, &d, set);
	for (unsigned i = 0; i < 5; i++)
		DESC(i, DATA, 16, 1, i < 4 ? 1 : 0);
	assert_non_null(virtq_pop(&q));
	for (unsigned i = 0; i < 8; i++)
		drv_put_desc(&d, d.set.desc, i, DATA, 16, 2,
			     (uint16_t)((i >= 5 ? 0x80 : 0x8000) | 1));
	expect_broken(&q, "more descriptors");
#undef DESC
}

/* Every split ring of two descriptors with these fields, and every head: it ends, and what comes out is sound. */
static void test_addresses(void **st)
{
	static const uint64_t addr[] = {DATA, 8 * MIB - 8, UINT64_MAX - 8};
	static const uint32_t len[] = {0, 16, 32};
	struct virtq_setup set = {.size = 2, .indirect = true};
	unsigned good = 0, total = 0;
	struct virtq q;
	struct drv d;

	(void)st;
	start(&q, &d, set);
	/* An indirect table at DATA: two buffers. */
	drv_put_desc(&d, DATA, 0, DATA + 64, 8, 1, 1);
	drv_put_desc(&d, DATA, 1, DATA + 64, 8, 2, 0);
	for (unsigned x = 0; x < 8 * 3 * 3 * 3; x++)
		for (unsigned y = 0; y < 8 * 3 * 3 * 3; y++) {
			unsigned v[2] = {x, y};
			struct virtq_chain *c;

			drv_put16(&d, d.set.driver + 2, 0);
			virtq_stop(&q);
			assert_int_equal(virtq_start(&q, mem, &d.set), 0);
			for (unsigned i = 0; i < 2; i++)
				drv_put_desc(&d, d.set.desc, i, addr[v[i] / 8 % 3],
					     len[v[i] / 24 % 3], v[i] % 8, (uint16_t)(v[i] / 72));
			drv_put16(&d, d.set.driver + 4, (uint16_t)(y & 1));
			drv_put16(&d, d.set.driver + 2, 1);
			c = virtq_pop(&q);
			assert_int_equal(!c, q.broken);
			total++;
			if (!c)
				continue;
			good++;
			for (unsigned i = 0; i < c->n_out + c->n_in; i++)
				assert_ptr_equal(c->iov[i].iov_base,
						 gmem_at(mem, c->gpa[i], c->iov[i].iov_len));
		}
	virtq_stop(&q);
	assert_true(good > 1000 && good < total / 2);
}

/* Random bytes over rings, tables and indices while the device serves: it stays inside of guest RAM, and ends. */
static void test_hostile(void **st)
{
	unsigned n_broken = 0;

	(void)st;
	seed = 7;
	for (unsigned round = 0; round < 3000; round++) {
		struct virtq_setup set = {.packed = rnd(2),
					  .event_idx = rnd(2),
					  .indirect = rnd(4),
					  .in_order = rnd(2),
					  .size = (uint16_t)(1u << rnd(6))};
		struct virtq_chain *held[64];
		unsigned n_held = 0;
		struct virtq q;
		struct drv d;

		n_out = 0;
		start(&q, &d, set);
		for (unsigned step = 0; step < 40 && !q.broken; step++) {
			for (unsigned k = rnd(3); k--;)
				add_some(&d, set.indirect);
			for (unsigned k = rnd(4) ? 0 : 1 + rnd(3); k--;) {
				gpa_t areas[4] = {d.set.desc, d.set.driver, d.set.device, d.tables};
				gpa_t a = areas[rnd(4)] + rnd(rnd(2) ? 16 : 512);
				uint8_t b = rnd(2) ? (uint8_t)rnd(256) : (uint8_t)(1u << rnd(8));

				assert_int_equal(gmem_write(mem, a, &b, 1), 0);
			}
			while (n_held < 64 && (held[n_held] = virtq_pop(&q))) {
				assert_true(held[n_held]->n_out + held[n_held]->n_in <=
					    VIRTQ_CHAIN_MAX);
				n_held++;
				assert_true(n_held <= set.size);
			}
			if (q.broken)
				break;
			for (unsigned k = rnd(n_held + 1); k--;) {
				unsigned i = rnd(n_held);
				uint8_t byte = 1;

				virtq_chain_write(held[i], rnd(600), &byte, 1);
				virtq_push(&q, held[i], rnd(2) ? UINT64_MAX : 0);
				held[i] = held[--n_held];
			}
			virtq_flush(&q);
			virtq_enable_kicks(&q);
		}
		n_broken += q.broken;
		virtq_stop(&q);
		breaks = 0;
	}
	assert_true(n_broken > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_traffic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kicks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dirty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_split, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_packed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
