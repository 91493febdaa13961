/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_state.c - devices saved in the middle of work and loaded into another machine; then damaged state. */
#include <errno.h>

#include "virtio_fixture.h"

#include "state/state.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)
#define F_STATS BIT(1)
#define F_MULTIPORT BIT(1)

static uint8_t sent[65536];
static size_t n_sent, tx_limit;

static size_t sink(void *ctx, const uint8_t *buf, size_t len)
{
	size_t n = MIN(len, tx_limit - n_sent);

	(void)ctx;
	memcpy(sent + n_sent, buf, n);
	n_sent += n;
	return n;
}

static int make_rng(struct virtio_dev **d, const struct dev_env *env)
{
	return rng_create(d, env, NULL);
}

static int make_balloon(struct virtio_dev **d, const struct dev_env *env)
{
	return balloon_create(d, env, NULL);
}

static int make_console(struct virtio_dev **d, const struct dev_env *env)
{
	struct vconsole_port port[2] = {{.console = true, .open = true, .tx = sink},
					{.name = "agent", .tx = sink}};

	return vconsole_create(d, env, port, 2, NULL);
}

static int make_vsock(struct virtio_dev **d, const struct dev_env *env)
{
	struct vsock_config cfg = {.cid = 42, .listen_fd = -1};

	return vsock_create(d, env, &cfg, NULL);
}

typedef int (*maker)(struct virtio_dev **d, const struct dev_env *env);

/* A machine with the device on the bus, and nothing else done. */
static struct fix *fresh(maker make)
{
	struct fix *f = fix_new();

	assert_int_equal(make(&f->d, &f->b->env), 0);
	assert_int_equal(pci_root_add(f->root, &f->d->pci, PCI_DEVFN(FIX_SLOT, 0), NULL), 0);
	return f;
}

static struct fix *mapped(maker make)
{
	struct fix *f = fresh(make);

	fix_map(f);
	return f;
}

/* Pauses and saves. The caller frees the bytes. */
static uint8_t *save(struct fix *f, size_t *len)
{
	struct state s;
	struct err e = {0};
	uint8_t *bytes;

	device_pause(&f->d->pci.dev);
	state_init_save(&s);
	assert_int_equal(device_state(&f->d->pci.dev, &s), 0);
	assert_int_equal(state_finish(&s, &e), 0);
	*len = s.out.len;
	bytes = malloc(*len);
	assert_non_null(bytes);
	memcpy(bytes, s.out.data, *len);
	state_fini(&s);
	return bytes;
}

/* 0, or what refused it. The device is paused. */
static int load(struct fix *f, const uint8_t *bytes, size_t len)
{
	struct state s;
	struct err e = {0};
	int r;

	device_pause(&f->d->pci.dev);
	r = state_init_load(&s, bytes, len, &e);
	if (r < 0)
		return r;
	r = device_state(&f->d->pci.dev, &s);
	if (r == 0)
		r = state_finish(&s, &e);
	if (r == 0)
		r = device_loaded(&f->d->pci.dev, &e);
	state_fini(&s);
	return r;
}

/* The machine goes on in another one. */
static struct fix *move(struct fix *f, maker make)
{
	struct fix *g = fresh(make);
	size_t len;
	uint8_t *bytes = save(f, &len);

	memcpy(g->mem->base, f->mem->base, 64 * MIB);
	assert_int_equal(load(g, bytes, len), 0);
	memcpy(g->q, f->q, sizeof(g->q));
	for (unsigned i = 0; i < FIX_QUEUES; i++)
		g->q[i].mem = g->mem;
	device_resume(&g->d->pci.dev);
	fix_run(g);
	free(bytes);
	fix_free(f);
	return g;
}

static const struct drv_seg one = {FIX_DATA, 256, true};

static void test_rng(void **st)
{
	(void)st;
	for (unsigned bits = 0; bits < 8; bits++) {
		uint64_t features = BASE | (bits & 1 ? VIRTIO_F_PACKED : 0) |
				    (bits & 2 ? VIRTIO_F_EVENT_IDX : 0) |
				    (bits & 4 ? VIRTIO_F_IN_ORDER : 0);
		struct fix *f = mapped(make_rng);

		fix_up(f, features, 8);
		for (unsigned i = 0; i < 13; i++)
			assert_int_equal(fix_request(f, 0, &one, 1), 256);
		f = move(f, make_rng);
		for (unsigned i = 0; i < 13; i++) {
			drv_interrupts(&f->q[0], true);
			fix_irq(f, 0);
			assert_int_equal(fix_request(f, 0, &one, 1), 256);
			assert_true(fix_irq(f, FIX_VECTOR + 1));
		}
		assert_int_equal(fix_get(f, C_STATUS, 1), 15);
		/* A kick that had not been served comes with it; so does a reset. */
		assert_true(drv_add(&f->q[0], &one, 1, false) >= 0);
		fix_kick(f, 0);
		f = move(f, make_rng);
		assert_true(drv_get(&f->q[0], &(uint32_t){0}) >= 0);
		fix_set(f, C_STATUS, 0, 1);
		f = move(f, make_rng);
		assert_int_equal(fix_get(f, C_STATUS, 1), 0);
		fix_up(f, features, 8);
		assert_int_equal(fix_request(f, 0, &one, 1), 256);
		fix_free(f);
	}
}

/* Before DRIVER_OK, and between it and the loop's hearing of it. */
static void test_early(void **st)
{
	struct fix *f = mapped(make_rng);

	(void)st;
	fix_negotiate(f, BASE);
	fix_queue(f, 0, 8, BASE);
	f = move(f, make_rng);
	assert_int_equal(fix_get(f, C_STATUS, 1), 11);
	fix_set(f, C_STATUS, 15, 1);
	f = move(f, make_rng);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	/* A broken device stays so. */
	assert_int_equal(fix_request(f, 0, &(struct drv_seg){64 * MIB, 16, true}, 1), -1);
	f = move(f, make_rng);
	assert_int_equal(fix_get(f, C_STATUS, 1), 0x4f);
	assert_int_equal(fix_request(f, 0, &one, 1), -1);
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 0, &one, 1), 256);
	fix_free(f);
}

static void test_devices(void **st)
{
	struct drv_seg out = {FIX_DATA, 3000, false}, event = {FIX_DATA, 16, true};
	struct fix *f = mapped(make_console);
	uint32_t id = 99;

	(void)st;
	/* A console whose reader took a part: the rest, once, and nothing twice. */
	n_sent = 0;
	tx_limit = 1000;
	fix_up(f, BASE | F_MULTIPORT, 8);
	for (unsigned i = 0; i < 3000; i++)
		*(uint8_t *)gmem_at(f->mem, FIX_DATA + i, 1) = (uint8_t)(i * 7);
	assert_int_equal(fix_request(f, 1, &out, 1), -1);
	f = move(f, make_console);
	tx_limit = sizeof(sent);
	vconsole_tx_ready(f->d, 0);
	fix_run(f);
	assert_int_equal(n_sent, 3000);
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal(sent[i], (uint8_t)(i * 7));
	fix_free(f);

	/* A balloon keeps its size, and the buffer for statistics. */
	f = mapped(make_balloon);
	fix_up(f, BASE | F_STATS, 8);
	assert_int_equal(balloon_set_target(f->d, 4 * MIB, NULL), 0);
	assert_int_equal(fix_request(f, 2, &(struct drv_seg){FIX_DATA, 20, false}, 1), -1);
	f = move(f, make_balloon);
	assert_int_equal(balloon_target(f->d), 4 * MIB);
	assert_int_equal(virtio_q(f->d, 2)->n_busy, 1);
	fix_free(f);

	/* The guest hears that its vsock connections are gone. */
	f = mapped(make_vsock);
	fix_up(f, BASE, 8);
	assert_int_equal(fix_request(f, 2, &event, 1), -1);
	f = move(f, make_vsock);
	assert_true(drv_get(&f->q[2], &(uint32_t){0}) >= 0);
	assert_int_equal(gmem_read(f->mem, FIX_DATA, &id, 4), 0);
	assert_int_equal(id, 0);
	fix_free(f);
}

/* Every byte of a section damaged, with its checksum put right: loaded or refused, and what is loaded does no harm. */
static void test_damaged(void **st)
{
	static const maker makers[] = {make_rng, make_balloon, make_console, make_vsock};
	unsigned refused = 0, loaded = 0;

	(void)st;
	for (unsigned m = 0; m < ARRAY_SIZE(makers); m++) {
		struct fix *f = mapped(makers[m]), *g = fresh(makers[m]);

		fix_up(f, BASE | VIRTIO_F_PACKED, 8);
		device_pause(&f->d->pci.dev);
		for (unsigned i = 0; i < 300; i++) {
			struct virtio_dev *d = f->d;
			struct virtio_queue *vq = &d->queue[i % d->n_queues];
			struct virtio_queue was_vq = *vq;
			struct virtio_dev was = *d;
			size_t len;
			uint8_t *bytes;

			/* A field that the device itself would never have. */
			switch (i % 10) {
			case 0: d->status = (uint8_t)i; break;
			case 1: d->features ^= BIT(i % 64); break;
			case 2: d->config_vector = (uint16_t)i; break;
			case 3: vq->size = (uint16_t)(i * 97); break;
			case 4: vq->vector = (uint16_t)(i * 31); break;
			case 5: vq->desc += i * 4093; break;
			case 6: vq->device ^= BIT(i % 64); break;
			case 7: vq->enabled = false; break;
			case 8: vq->q.avail = (uint16_t)(i * 3); break;
			case 9: d->phase = (enum virtio_phase)(i / 10 % 4); break;
			}
			bytes = save(f, &len);
			vq->size = was_vq.size;
			vq->vector = was_vq.vector;
			vq->desc = was_vq.desc;
			vq->device = was_vq.device;
			vq->enabled = was_vq.enabled;
			vq->q.avail = was_vq.q.avail;
			d->status = was.status;
			d->features = was.features;
			d->config_vector = was.config_vector;
			d->phase = was.phase;
			if (load(g, bytes, len) == 0) {
				loaded++;
				device_resume(&g->d->pci.dev);
				fix_run(g);
			} else {
				refused++;
			}
			free(bytes);
			fix_free(g);
			g = fresh(makers[m]);
		}
		fix_free(f);
		fix_free(g);
	}
	assert_true(refused > 300 && loaded > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rng),
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
