/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_state.c - devices saved in the middle of work and loaded into another machine; then damaged state. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio_fixture.h"

#include "blk/layer.h"
#include "state/state.h"
#include "util/clock.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/disk.h"
#include "virtio/net.h"
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

/* A disk on a file that both machines have, and a card whose other end is `peer`. */
#define DISK_BYTES (4 * MIB)
static int disk_fd = -1, peer = -1, card = -1;
static struct blk *blk_made;

static int make_disk(struct virtio_dev **d, const struct dev_env *env)
{
	struct blk_config bc = {.id = "disk0", .pause_when_full = true};
	struct file_config fc = {.fd = dup(disk_fd), .name = "t", .aio = AIO_THREADS};
	struct disk_config dc = {.serial = "s", .n_queues = 1};
	struct blk_layer *layer;

	assert_int_equal(file_open(&layer, env->loop, &fc, NULL), 0);
	assert_int_equal(blk_create(&blk_made, env->loop, layer, &bc, NULL), 0);
	dc.blk = blk_made;
	return disk_create(d, env, &dc, NULL);
}

static void free_disk(struct fix *f)
{
	blk_destroy(f->backend);
}

static int make_net(struct virtio_dev **d, const struct dev_env *env)
{
	struct virtio_net_config c = {.id = "net0",
				      .mac = {2, 0, 0, 0, 0, 1},
				      .mtu = 1500,
				      .pairs = 1,
				      .kind = NET_KIND_SOCKET,
				      .fd = card};

	return virtio_net_create(d, env, &c, NULL);
}

typedef int (*maker)(struct virtio_dev **d, const struct dev_env *env);

/* A machine with the device on the bus, and nothing else done. */
static struct fix *fresh(maker make)
{
	struct fix *f = fix_new();

	assert_int_equal(make(&f->d, &f->b->env), 0);
	if (make == make_disk) {
		f->backend = blk_made;
		f->free_backend = free_disk;
	}
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

/* ---- disk ---- */

#define SLOT(i) (FIX_DATA + (i)*0x10000u)
#define N_WRITES 7u
#define F_DISCARD BIT(13)

static void disk_header(struct fix *f, unsigned i, uint32_t type, uint64_t sector)
{
	uint32_t h[4] = {type, 0, (uint32_t)sector, (uint32_t)(sector >> 32)};

	assert_int_equal(gmem_write(f->mem, SLOT(i), h, 16), 0);
	*(uint8_t *)gmem_at(f->mem, SLOT(i) + 0x8000, 1) = 0xee;
}

static uint8_t disk_status(struct fix *f, unsigned i)
{
	return *(uint8_t *)gmem_at(f->mem, SLOT(i) + 0x8000, 1);
}

/* A request that is not waited for. */
static void disk_begin(struct fix *f, unsigned i, uint32_t bytes)
{
	struct drv_seg s[3] = {{SLOT(i), 16, false},
			       {SLOT(i) + 0x1000, bytes, false},
			       {SLOT(i) + 0x8000, 1, true}};

	assert_true(drv_add(&f->q[0], s, 3, f->q[0].set.indirect) >= 0);
	fix_kick(f, 0);
}

static void disk_end(struct fix *f, unsigned n)
{
	uint64_t limit = clock_ns() + 20 * CLOCK_NS_PER_S;
	uint32_t len;

	while (n) {
		n -= drv_get(&f->q[0], &len) >= 0;
		assert_true(clock_ns() < limit);
		loop_run_once(f->loop, 1);
	}
}

/* Writes are under way, and one discard of many ranges: all of them are done in the machine that goes on, once. */
static void test_disk(void **st)
{
	uint8_t back[4096];

	(void)st;
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(disk_fd, DISK_BYTES), 0);
	for (unsigned bits = 0; bits < 4; bits++) {
		struct fix *f = mapped(make_disk);

		fix_up(f,
		       BASE | F_DISCARD | (bits & 1 ? VIRTIO_F_PACKED : 0) |
			       (bits & 2 ? VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT : 0),
		       32);
		for (unsigned round = 0; round < 4; round++) {
			for (unsigned i = 0; i < N_WRITES; i++) {
				disk_header(f, i, 1, 8 * i);
				memset(gmem_at(f->mem, SLOT(i) + 0x1000, 4096),
				       (int)(i + round + 1), 4096);
				disk_begin(f, i, 4096);
			}
			disk_header(f, N_WRITES, 11, 0);
			for (unsigned i = 0; i < 16; i++) {
				uint32_t range[4] = {4096 + 8 * i, 0, 8, 0};

				assert_int_equal(gmem_write(f->mem, SLOT(N_WRITES) + 0x1000 + 16 * i,
							    range, 16),
						 0);
			}
			disk_begin(f, N_WRITES, 256);
			for (unsigned i = 0; i < round % 4; i++)
				loop_run_once(f->loop, 0);
			f = move(f, make_disk);
			disk_end(f, N_WRITES + 1);
			for (unsigned i = 0; i <= N_WRITES; i++)
				assert_int_equal(disk_status(f, i), 0);
			for (unsigned i = 0; i < N_WRITES; i++) {
				assert_int_equal(pread(disk_fd, back, 4096, 4096 * i), 4096);
				assert_int_equal(back[0], (uint8_t)(i + round + 1));
				assert_memory_equal(back, back + 1, 4095);
			}
			/* A reset with requests under way: what was given up does not hinder. */
			disk_header(f, 0, 1, 0);
			disk_begin(f, 0, 4096);
			loop_run_once(f->loop, 0);
			fix_set(f, C_STATUS, 0, 1);
			for (unsigned i = 0; i < round % 3; i++)
				loop_run_once(f->loop, 0);
			f = move(f, make_disk);
			fix_up(f, BASE | F_DISCARD, 32);
		}
		fix_free(f);
	}
	close(disk_fd);
}

/* The file is another one than the guest was shown. */
static void test_disk_size(void **st)
{
	struct fix *f, *g;
	size_t len;
	uint8_t *bytes;

	(void)st;
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(disk_fd, DISK_BYTES), 0);
	f = mapped(make_disk);
	fix_up(f, BASE, 8);
	bytes = save(f, &len);
	assert_int_equal(ftruncate(disk_fd, 2 * DISK_BYTES), 0);
	g = fresh(make_disk);
	memcpy(g->mem->base, f->mem->base, 64 * MIB);
	fix_irq(g, 0);
	assert_int_equal(load(g, bytes, len), 0);
	assert_int_equal(fix_get(g, B_DEVICE, 8), 2 * DISK_BYTES / 512);
	assert_true(fix_irq(g, FIX_VECTOR));
	fix_free(g);
	assert_int_equal(ftruncate(disk_fd, DISK_BYTES / 2), 0);
	g = fresh(make_disk);
	assert_int_equal(load(g, bytes, len), -EINVAL);
	fix_free(g);
	free(bytes);
	fix_free(f);
	close(disk_fd);
}

/* What waits for room cannot be saved. */
static int64_t no_room(void *ctx, const struct aio_req *r)
{
	(void)ctx;
	return r->op == AIO_WRITE ? -ENOSPC : 0;
}

static void test_disk_full(void **st)
{
	struct state s;
	struct err e = {0};
	struct fix *f;

	(void)st;
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(disk_fd, DISK_BYTES), 0);
	f = mapped(make_disk);
	aio_set_fault(file_aio(blk_top(f->backend)), no_room, NULL);
	fix_up(f, BASE, 8);
	disk_header(f, 0, 1, 0);
	disk_begin(f, 0, 4096);
	loop_run_once(f->loop, 0);
	device_pause(&f->d->pci.dev);
	assert_true(blk_full(f->backend));
	state_init_save(&s);
	assert_int_not_equal(device_state(&f->d->pci.dev, &s), 0);
	assert_int_equal(state_finish(&s, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "waits for room"));
	state_fini(&s);
	aio_set_fault(file_aio(blk_top(f->backend)), NULL, NULL);
	device_resume(&f->d->pci.dev);
	disk_end(f, 1);
	assert_int_equal(disk_status(f, 0), 0);
	fix_free(f);
	close(disk_fd);
}

/* ---- network card ---- */

#define NET_FEATURES (BASE | BIT(5) | BIT(16) | BIT(17) | BIT(18) | BIT(21) | BIT(23))
#define FRAME 60u
#define Q_RX 0u
#define Q_TX 1u
#define Q_CTRL 2u

static void net_begin(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	peer = pair[0];
	card = pair[1];
}

static void net_end(void)
{
	close(peer);
	close(card);
}

static uint8_t net_ctrl(struct fix *f, const uint8_t *cmd, uint32_t len)
{
	struct drv_seg s[2] = {{FIX_DATA, len, false}, {FIX_DATA + 4096, 1, true}};

	assert_int_equal(gmem_write(f->mem, FIX_DATA, cmd, len), 0);
	assert_int_equal(fix_request(f, Q_CTRL, s, 2), 1);
	return *(uint8_t *)gmem_at(f->mem, FIX_DATA + 4096, 1);
}

static void net_send(struct fix *f, uint8_t tag)
{
	uint8_t p[12 + FRAME] = {0};
	struct drv_seg s = {FIX_DATA + 0x10000 + tag * 0x100u, sizeof(p), false};

	memset(p + 12, tag, FRAME);
	assert_int_equal(gmem_write(f->mem, s.addr, p, sizeof(p)), 0);
	assert_true(drv_add(&f->q[Q_TX], &s, 1, false) >= 0);
	fix_kick(f, Q_TX);
}

/* A frame to this address from the other end: did the guest get it? */
static bool net_arrives(struct fix *f, const uint8_t to[6])
{
	uint8_t p[12 + FRAME] = {0};
	struct drv_seg s = {FIX_DATA + 0x40000, 2048, true};
	uint32_t len;

	memcpy(p + 12, to, 6);
	if (f->q[Q_RX].n_free == f->q[Q_RX].set.size) {
		assert_true(drv_add(&f->q[Q_RX], &s, 1, false) >= 0);
		fix_kick(f, Q_RX);
	}
	assert_int_equal(send(peer, p, sizeof(p), 0), sizeof(p));
	fix_run(f);
	return drv_get(&f->q[Q_RX], &len) >= 0;
}

static uint16_t net_status(struct fix *f)
{
	return (uint16_t)fix_get(f, B_DEVICE + 6, 2);
}

static void test_net(void **st)
{
	static const uint8_t own[6] = {2, 0, 0, 0, 0, 1}, set[6] = {2, 0, 0, 0, 0, 9};
	static const uint8_t group[6] = {1, 0, 0x5e, 0, 0, 7}, other[6] = {2, 7, 7, 7, 7, 7};
	static const uint8_t all_off[] = {0, 0, 0}, set_mac[] = {1, 1, 2, 0, 0, 0, 0, 9};
	static const uint8_t table[] = {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 7};
	static const uint8_t ack[] = {3, 0}, bad_ack[] = {3, 1};
	uint8_t got[256], tag = 0, seen = 0;
	struct fix *f;
	ssize_t n;

	(void)st;
	net_begin();
	f = mapped(make_net);
	fix_up(f, NET_FEATURES, 64);
	assert_int_equal(net_status(f), 1);
	assert_int_equal(net_ctrl(f, all_off, sizeof(all_off)), 0);
	assert_int_equal(net_ctrl(f, set_mac, sizeof(set_mac)), 0);
	assert_int_equal(net_ctrl(f, table, sizeof(table)), 0);

	assert_int_equal(setsockopt(card, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)), 0);
	/* Frames that the other end had no room for come from the machine that goes on, in their order. */
	for (unsigned round = 0; round < 40 && f->q[Q_TX].n_free; round++) {
		net_send(f, tag++);
		fix_run(f);
		while (drv_get(&f->q[Q_TX], &(uint32_t){0}) >= 0)
			;
	}
	assert_true(f->q[Q_TX].n_free < 64); /* some wait */
	fix_irq(f, 0);
	f = move(f, make_net);
	assert_int_equal(net_status(f), 3); /* plugged, and to be announced */
	assert_true(fix_irq(f, FIX_VECTOR));
	assert_int_equal(net_ctrl(f, bad_ack, sizeof(bad_ack)), 1);
	assert_int_equal(net_ctrl(f, ack, sizeof(ack)), 0);
	assert_int_equal(net_status(f), 1);
	do {
		n = recv(peer, got, sizeof(got), 0);
		if (n > 0)
			assert_int_equal(got[12], seen++);
		fix_run(f);
	} while (n > 0);
	assert_int_equal(seen, tag);
	assert_true(net_arrives(f, set));
	assert_true(net_arrives(f, group));
	assert_false(net_arrives(f, own));
	assert_false(net_arrives(f, other));
	assert_int_equal(fix_get(f, B_DEVICE, 1), 2);
	assert_int_equal(fix_get(f, B_DEVICE + 5, 1), 9);

	/* The cable: seen by the guest, nothing passes. Another one may be in elsewhere. */
	fix_irq(f, 0);
	virtio_net_set_cable(f->d, false);
	assert_true(fix_irq(f, FIX_VECTOR));
	assert_int_equal(net_status(f), 0);
	assert_false(net_arrives(f, set));
	net_send(f, 1);
	fix_run(f);
	assert_int_equal(recv(peer, got, sizeof(got), 0), -1);
	f = move(f, make_net);
	assert_int_equal(net_status(f), 3);
	virtio_net_set_cable(f->d, false);
	virtio_net_set_cable(f->d, true);
	assert_true(net_arrives(f, set));

	/* A reset forgets what the driver chose; so does one right after a load. */
	fix_up(f, NET_FEATURES, 64);
	assert_true(net_arrives(f, own));
	f = move(f, make_net);
	fix_up(f, NET_FEATURES, 64);
	assert_int_equal(net_status(f), 1);
	assert_int_equal(fix_get(f, B_DEVICE + 5, 1), 1);
	fix_free(f);
	net_end();
}

/* Every byte of a section damaged, with its checksum put right: loaded or refused, and what is loaded does no harm. */
static void test_damaged(void **st)
{
	static const maker makers[] = {make_rng,   make_balloon, make_console,
				       make_vsock, make_disk,	 make_net};
	unsigned refused = 0, loaded = 0;

	(void)st;
	disk_fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(disk_fd, DISK_BYTES), 0);
	net_begin();
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
	assert_true(refused > 450 && loaded > 150);
	close(disk_fd);
	net_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rng),	  cmocka_unit_test(test_early),
		cmocka_unit_test(test_devices),	  cmocka_unit_test(test_disk),
		cmocka_unit_test(test_disk_size), cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_net),	  cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
