/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_virtio_linux.c - what Linux's drivers did once with our devices (linux_probe.h) they could do again: the recorded accesses
 * are played to each device. Every value read is the recorded one, but for the offered features, of which there may be more: what
 * the driver accepted must be among them.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "linux_probe.h"
#include "virtio_fixture.h"

#include "blk/layer.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/disk.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

static struct fix *f;
static struct blk *blk;
static unsigned n_reads, n_writes;

/* Plays one access. The guest had more memory than we: addresses are taken modulo ours. */
static void play(char op, unsigned off, unsigned size, uint64_t value)
{
	static uint32_t offered[2];
	static unsigned select;
	uint64_t v;

	if (op == 'r') {
		v = fix_get(f, off, size);
		n_reads++;
		if (off == C_DF)
			offered[select & 1] = (uint32_t)v;
		else if (v != value)
			fail_msg("%s: %u bytes at %#x read as %#llx, and not %#llx",
				 f->d->class->name, size, off, (unsigned long long)v,
				 (unsigned long long)value);
		return;
	}
	n_writes++;
	if (off == C_DF_SELECT || off == C_GF_SELECT)
		select = (unsigned)value;
	if (off == C_GF)
		assert_int_equal(value & ~(uint64_t)offered[select & 1], 0);
	if (off >= C_Q_DESC && off < C_Q_DEVICE + 8 && off % 8 == 0)
		value %= f->mem->size_bytes;
	fix_set(f, off, value, size);
	fix_run(f);
}

/* All of a record. At its end the driver has reset the device: what it was just before is looked at on the way. */
static void replay(const char *record)
{
	bool was_up = false;

	n_reads = n_writes = 0;
	fix_add(f, f->d);
	fix_msix(f);
	for (const char *p = record; *p; p = strchr(p, ';') + 1) {
		unsigned off, size;
		uint64_t value;
		char op;

		assert_int_equal(sscanf(p, "%c %x %x %lx", &op, &off, &size, &value), 4);
		play(op, off, size, value);
		if (op == 'w' && off == C_STATUS && value == 15) {
			assert_int_equal(fix_get(f, C_STATUS, 1), 15);
			for (unsigned i = 0; i < f->d->n_queues; i++)
				assert_int_equal(virtio_q(f->d, i)->live, f->d->queue[i].enabled);
			assert_true(virtio_q(f->d, 0)->live);
			was_up = true;
		}
	}
	assert_true(was_up && n_reads > 15 && n_writes > 20);
	assert_int_equal(f->d->n_broken, 0);
	fix_free(f);
}

static void free_disk(struct fix *x)
{
	(void)x;
	blk_destroy(blk);
}

static void test_blk(void **st)
{
	struct blk_config bc = {.id = "disk0", .pause_when_full = true};
	struct disk_config dc = {.serial = "disk0", .n_queues = 1};
	struct file_config fc = {.name = "t", .aio = AIO_THREADS};
	struct blk_layer *layer;
	struct loop *loop;

	(void)st;
	f = fix_new();
	loop = f->loop;
	fc.fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fc.fd, 8 * MIB), 0);
	assert_int_equal(file_open(&layer, loop, &fc, NULL), 0);
	assert_int_equal(blk_create(&blk, loop, layer, &bc, NULL), 0);
	dc.blk = blk;
	assert_int_equal(disk_create(&f->d, &f->b->env, &dc, NULL), 0);
	f->free_backend = free_disk;
	replay(probe_blk);
}

static void test_net(void **st)
{
	struct virtio_net_config cfg = {.id = "net0",
					.mac = {2, 0, 0, 0, 0, 1},
					.mtu = 32000,
					.pairs = 1,
					.kind = NET_KIND_SOCKET};
	int pair[2];

	(void)st;
	f = fix_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	cfg.fd = pair[0];
	assert_int_equal(virtio_net_create(&f->d, &f->b->env, &cfg, NULL), 0);
	replay(probe_net);
	close(pair[0]);
	close(pair[1]);
}

static void test_rng(void **st)
{
	(void)st;
	f = fix_new();
	assert_int_equal(rng_create(&f->d, &f->b->env, NULL), 0);
	replay(probe_rng);
}

static void test_balloon(void **st)
{
	(void)st;
	f = fix_new();
	assert_int_equal(balloon_create(&f->d, &f->b->env, NULL), 0);
	replay(probe_balloon);
}

static void test_console(void **st)
{
	struct vconsole_port port[2] = {{.console = true, .open = true}, {.name = "agent"}};

	(void)st;
	f = fix_new();
	assert_int_equal(vconsole_create(&f->d, &f->b->env, port, 2, NULL), 0);
	replay(probe_console);
}

static void test_vsock(void **st)
{
	struct vsock_config cfg = {.cid = 3, .listen_fd = -1};

	(void)st;
	f = fix_new();
	assert_int_equal(vsock_create(&f->d, &f->b->env, &cfg, NULL), 0);
	replay(probe_vsock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blk),	cmocka_unit_test(test_net),
		cmocka_unit_test(test_rng),	cmocka_unit_test(test_balloon),
		cmocka_unit_test(test_console), cmocka_unit_test(test_vsock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
