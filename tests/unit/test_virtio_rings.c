/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_virtio_rings.c - every small ring there is, against a second reading of the specification.
 *
 * Split: all rings of 1, 2 and 4 descriptors, all flags, all successors (one that does not exist included) and heads; all
 * indirect tables of up to 4 entries, and of 5 but for nested tables. Packed: all rings of 1 to 4, all flags, available or not,
 * each place and wrap bit, good and bad ids; all indirect tables of up to 5 entries. `model()` says for each what must come out: a
 * chain of these buffers in this order, nothing, or a broken queue.
 */
#include <errno.h>
#include <stdio.h>

#include "virtq_driver.h"

#define RINGS 0x10000u
#define DATA 0x40000u
#define TABLE 0x80000u
#define NEXT 1u
#define WRITE 2u
#define INDIRECT 4u
#define ENTRIES_MAX 5u

static struct gmem *mem;
static struct drv d;
static struct virtq q;
static unsigned n_good, n_broken, n_none;

struct entry {
	unsigned flags, next;
	bool available; /* packed */
};

/* What must come out. */
struct expected {
	enum { NONE, BROKEN, CHAIN } what;
	unsigned n, place[2 * ENTRIES_MAX]; /* which buffer; in a table: ENTRIES_MAX + i */
	bool write[2 * ENTRIES_MAX];
};

static void on_interrupt(struct virtq *vq)
{
	(void)vq;
}

static void on_broken(struct virtq *vq, const char *why)
{
	(void)vq;
	assert_non_null(why);
}

static const struct virtq_ops ops = {on_interrupt, on_broken};

static int setup(void **st)
{
	struct gmem_range r = {0, MIB};

	(void)st;
	n_good = n_broken = n_none = 0;
	memset(&q, 0, sizeof(q));
	q.ops = &ops;
	return gmem_create(&mem, &r, 1, -1, NULL);
}

static int teardown(void **st)
{
	(void)st;
	virtq_stop(&q);
	gmem_destroy(mem);
	return 0;
}

/* ---- the model ---- */

/* §2.7.4.2, §2.8.6: what the device reads stands before what it writes. */
static bool add(struct expected *x, unsigned place, unsigned flags)
{
	bool write = flags & WRITE;

	if (x->n && x->write[x->n - 1] && !write)
		return false;
	x->place[x->n] = place;
	x->write[x->n++] = write;
	return true;
}

/* §2.7.5: from `at` to a descriptor without NEXT, none twice. */
static bool follow(struct expected *x, const struct entry *e, unsigned n, unsigned at, unsigned base)
{
	bool seen[ENTRIES_MAX] = {false};

	for (;;) {
		if (at >= n || seen[at] || (e[at].flags & INDIRECT) ||
		    !add(x, base + at, e[at].flags))
			return false;
		seen[at] = true;
		if (!(e[at].flags & NEXT))
			return true;
		at = e[at].next;
	}
}

static struct expected model_split(const struct entry *ring, unsigned n, unsigned head,
				   const struct entry *table, unsigned n_table)
{
	struct expected x = {.what = BROKEN};
	bool seen[ENTRIES_MAX] = {false};
	unsigned at = head;

	/* Up to a descriptor that leads to the table, which may follow others (§2.7.5.3). */
	for (;;) {
		if (at >= n || seen[at])
			return x;
		if (ring[at].flags & INDIRECT) {
			if (!(ring[at].flags & NEXT) && follow(&x, table, n_table, 0, ENTRIES_MAX))
				x.what = CHAIN;
			return x;
		}
		if (!add(&x, at, ring[at].flags))
			return x;
		seen[at] = true;
		if (!(ring[at].flags & NEXT)) {
			x.what = CHAIN;
			return x;
		}
		at = ring[at].next;
	}
}

static struct expected model_packed(const struct entry *ring, unsigned n, unsigned first,
				    unsigned id, const struct entry *table, unsigned n_table)
{
	struct expected x = {.what = BROKEN};
	unsigned at = first;

	if (!ring[first].available) {
		x.what = NONE;
		return x;
	}
	if (id >= n)
		return x;
	if (ring[first].flags & INDIRECT) {
		if (ring[first].flags & NEXT)
			return x;
		for (unsigned i = 0; i < n_table; i++) /* §2.8.7: only WRITE counts */
			if (!add(&x, ENTRIES_MAX + i, table[i].flags))
				return x;
		x.what = CHAIN;
		return x;
	}
	for (unsigned k = 0; k < n; k++, at = (at + 1) % n) {
		if ((ring[at].flags & INDIRECT) || !add(&x, at, ring[at].flags))
			return x;
		if (!(ring[at].flags & NEXT)) {
			x.what = CHAIN;
			return x;
		}
	}
	return x;
}

/* ---- the walker ---- */

static gpa_t buffer(unsigned place)
{
	return DATA + 0x100u * place;
}

static void check(const struct expected *x)
{
	struct virtq_chain *c = virtq_pop(&q);

	assert_int_equal(q.broken, x->what == BROKEN);
	assert_int_equal(c != NULL, x->what == CHAIN);
	n_good += x->what == CHAIN;
	n_broken += x->what == BROKEN;
	n_none += x->what == NONE;
	if (!c)
		return;
	assert_int_equal(c->n_out + c->n_in, x->n);
	for (unsigned i = 0; i < x->n; i++) {
		assert_int_equal(c->gpa[i], buffer(x->place[i]));
		assert_int_equal(c->iov[i].iov_len, 16 + x->place[i]);
		assert_ptr_equal(c->iov[i].iov_base, mem->base + c->gpa[i]);
		assert_int_equal(i >= c->n_out, x->write[i]);
	}
	/* And the way back: used, and not there any more. */
	virtq_push(&q, c, 0);
	virtq_flush(&q);
	assert_int_equal(q.n_busy, 0);
}

static void put_table(const struct entry *table, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = (uint16_t)table[i].flags, next = (uint16_t)table[i].next;

		drv_put_desc(&d, TABLE, i, buffer(ENTRIES_MAX + i), 16 + ENTRIES_MAX + i,
			     d.set.packed ? 0 : flags, d.set.packed ? flags : next);
	}
}

static void start(bool packed, unsigned n)
{
	struct virtq_setup set = {.packed = packed, .indirect = true, .size = (uint16_t)n};

	virtq_stop(&q);
	drv_init(&d, mem, RINGS, set);
	assert_int_equal(virtq_start(&q, mem, &d.set), 0);
}

/* As new, without making it new. */
static void again(uint16_t place, bool wrap)
{
	if (q.broken) {
		virtq_stop(&q);
		assert_int_equal(virtq_start(&q, mem, &d.set), 0);
	}
	assert_int_equal(virtq_restore(&q, place, wrap), 0);
}

static void run_split(const struct entry *ring, unsigned n, unsigned head,
		      const struct entry *table, unsigned n_table)
{
	struct expected x = model_split(ring, n, head, table, n_table);

	for (unsigned i = 0; i < n; i++) {
		bool indirect = ring[i].flags & INDIRECT;

		drv_put_desc(&d, d.set.desc, i, indirect ? TABLE : buffer(i),
			     indirect ? 16 * n_table : 16 + i, (uint16_t)ring[i].flags,
			     (uint16_t)ring[i].next);
	}
	again(0, true);
	drv_put16(&d, d.set.driver + 4, (uint16_t)head);
	drv_put16(&d, d.set.driver + 2, 1);
	check(&x);
}

/* Number v of the entries that differ: without NEXT a successor means nothing. Returns how many there are. */
static unsigned entry(unsigned v, unsigned n, unsigned n_flags, struct entry *e)
{
	/* Successors 0..n-1, and n, which is not there. */
	unsigned with = n_flags * (n + 1);

	if (v < with)
		*e = (struct entry){.flags = NEXT | (v % n_flags) << 1, .next = v / n_flags};
	else
		*e = (struct entry){.flags = ((v - with) % n_flags) << 1};
	return with + n_flags;
}

/* All combinations of n entries; fn is called with each. */
static void all_entries(unsigned n, unsigned n_flags, struct entry *e,
			void (*fn)(struct entry *e, unsigned n))
{
	unsigned v[ENTRIES_MAX] = {0}, kinds = entry(0, n, n_flags, &e[0]), i;

	for (;;) {
		for (i = 0; i < n; i++)
			entry(v[i], n, n_flags, &e[i]);
		fn(e, n);
		for (i = 0; i < n && ++v[i] == kinds; i++)
			v[i] = 0;
		if (i == n)
			return;
	}
}

static const struct entry plain_table[2] = {{.flags = NEXT, .next = 1}, {.flags = WRITE}};

static void split_ring(struct entry *e, unsigned n)
{
	for (unsigned head = 0; head < n; head++)
		run_split(e, n, head, plain_table, 2);
}

static void test_split_rings(void **st)
{
	static const unsigned sizes[] = {1, 2, 4};
	struct entry ring[ENTRIES_MAX];

	(void)st;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		start(false, sizes[i]);
		put_table(plain_table, 2);
		all_entries(sizes[i], 4, ring, split_ring);
	}
	assert_int_equal(n_good + n_broken, 12 + 2 * 16 * 16 + 4 * 24 * 24 * 24 * 24);
	assert_true(n_good > 100000 && n_broken > 100000);
}

/* A ring whose first descriptor leads to the table; its second leads to the first. */
static void split_table(struct entry *e, unsigned n)
{
	static const struct entry ring[2] = {{.flags = INDIRECT}, {.flags = NEXT, .next = 0}};

	put_table(e, n);
	run_split(ring, 2, n_good & 1, e, n);
}

static void test_split_tables(void **st)
{
	struct entry table[ENTRIES_MAX];

	(void)st;
	start(false, 2);
	for (unsigned n = 1; n <= 4; n++)
		all_entries(n, 4, table, split_table);
	all_entries(5, 2, table, split_table);
	assert_true(n_good > 10000 && n_broken > 100000);
}

static void run_packed(const struct entry *ring, unsigned n, unsigned first, bool wrap, unsigned id,
		       const struct entry *table, unsigned n_table)
{
	struct expected x = model_packed(ring, n, first, id, table, n_table);

	for (unsigned i = 0; i < n; i++) {
		/* Behind the end of the ring the wrap bit is the other one. */
		bool w = i >= first ? wrap : !wrap, indirect = ring[i].flags & INDIRECT;
		unsigned bits = ring[i].available ? (w ? 0x80 : 0x8000) : (w ? 0x8000 : 0x80);

		drv_put_desc(&d, d.set.desc, i, indirect ? TABLE : buffer(i),
			     indirect ? 16 * n_table : 16 + i, (uint16_t)id,
			     (uint16_t)(bits | ring[i].flags));
	}
	again((uint16_t)first, wrap);
	check(&x);
}

static void test_packed_rings(void **st)
{
	(void)st;
	for (unsigned n = 1; n <= 4; n++) {
		start(true, n);
		put_table(plain_table, 2);
		for (unsigned v = 0; v < 1u << 4 * n; v++) {
			struct entry ring[ENTRIES_MAX] = {{0}};

			for (unsigned i = 0; i < n; i++)
				ring[i] = (struct entry){.flags = v >> 4 * i & 7,
							 .available = v >> 4 * i & 8};
			for (unsigned first = 0; first < n; first++)
				for (unsigned k = 0; k < 3; k++)
					run_packed(ring, n, first, v & 1 ? k & 1 : !(k & 1),
						   k == 2 ? n : n - 1, plain_table, 2);
		}
	}
	assert_true(n_good > 50000 && n_broken > 100000 && n_none > 100000);
}

static void test_packed_tables(void **st)
{
	(void)st;
	start(true, 2);
	for (unsigned n = 1; n <= 5; n++)
		for (unsigned v = 0; v < 1u << 3 * n; v++) {
			static const struct entry ring[2] = {{.flags = INDIRECT, .available = true},
							     {0}};
			struct entry table[ENTRIES_MAX] = {{0}};

			for (unsigned i = 0; i < n; i++)
				table[i].flags = v >> 3 * i & 7;
			put_table(table, n);
			run_packed(ring, 2, 0, true, 1, table, n);
		}
	assert_true(n_good > 5000 && n_broken > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_split_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_split_tables, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packed_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packed_tables, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
