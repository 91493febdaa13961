/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_dev.c - what the small devices do for a driver, and what they do with a bad one: balloon, console. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio_fixture.h"

#include "virtio/balloon.h"
#include "virtio/console.h"
#include "vm/port_socket.h"

#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)

/* ---- counters ---- */

static uint64_t counter;
static const char *counter_name;

static void on_counter(void *ctx, const char *key, uint64_t v)
{
	(void)ctx;
	if (strcmp(key, counter_name) == 0)
		counter = v;
}

static uint64_t stat(struct fix *f, const char *name)
{
	counter = UINT64_MAX;
	counter_name = name;
	virtio_stats(f->d, on_counter, NULL);
	return counter;
}

/* ---- balloon ---- */

#define F_STATS BIT(1)
#define F_REPORTING BIT(5)
#define AREA (40 * MIB) /* of pages to give */

static struct fix *fix_balloon(void)
{
	struct fix *f = fix_new();
	struct virtio_dev *d;

	assert_int_equal(balloon_create(&d, &f->b->env, NULL), 0);
	fix_add(f, d);
	return f;
}

static void fill(struct fix *f, uint64_t gpa, uint64_t len)
{
	memset(gmem_at(f->mem, gpa, len), 0xaa, len);
}

static uint8_t byte_at(struct fix *f, uint64_t gpa)
{
	return *(volatile uint8_t *)gmem_at(f->mem, gpa, 1);
}

static void test_balloon_inflate(void **st)
{
	struct fix *f = fix_balloon();
	uint32_t pfn[300];
	uint64_t before;
	struct err e = {0};

	(void)st;
	fix_up(f, BASE | F_STATS | F_REPORTING, 8);
	fix_irq(f, 0);
	assert_int_equal(balloon_set_target(f->d, 4 * MIB, NULL), 0);
	assert_true(fix_irq(f, FIX_VECTOR));
	assert_int_equal(fix_get(f, B_DEVICE, 4), 1024);
	assert_int_equal(balloon_set_target(f->d, 65 * MIB, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "64 MiB"));

	fill(f, AREA, 2 * MIB);
	/* Every other one, from above, then two that are not RAM. */
	for (unsigned i = 0; i < 256; i++)
		pfn[i] = (uint32_t)(AREA / 4096 + 2 * (255 - i));
	pfn[256] = 0xffffffff;
	pfn[257] = 64 * MIB / 4096;
	assert_int_equal(gmem_write(f->mem, FIX_DATA, pfn, sizeof(pfn)), 0);
	before = gmem_resident(f->mem);
	assert_int_equal(fix_request(f, 0, &(struct drv_seg){FIX_DATA, 258 * 4, false}, 1), 0);
	assert_int_equal(before - gmem_resident(f->mem), 256 * 4096);
	assert_int_equal(byte_at(f, AREA), 0);
	assert_int_equal(byte_at(f, AREA + 4096), 0xaa);
	assert_int_equal(byte_at(f, AREA + 510 * 4096), 0);
	assert_int_equal(byte_at(f, AREA + 511 * 4096), 0xaa);
	assert_int_equal(stat(f, "inflated_pages"), 258);
	assert_int_equal(stat(f, "refused"), 2);
	/* The driver says how far it is; odd widths and other fields are not its to write. */
	fix_set(f, B_DEVICE + 4, 256, 4);
	fix_set(f, B_DEVICE, 7, 4);
	fix_set(f, B_DEVICE + 5, 7, 1);
	assert_int_equal(balloon_actual(f->d), MIB);
	assert_int_equal(balloon_target(f->d), 4 * MIB);
	/* Deflate: nothing to do but to count. */
	assert_int_equal(fix_request(f, 1, &(struct drv_seg){FIX_DATA, 40, false}, 1), 0);
	assert_int_equal(stat(f, "deflated_pages"), 10);
	/* A new driver begins with an empty balloon, and the same wish. */
	fix_up(f, BASE, 8);
	assert_int_equal(balloon_actual(f->d), 0);
	assert_int_equal(balloon_target(f->d), 4 * MIB);
	fix_free(f);
}

static void test_balloon_report(void **st)
{
	static const uint64_t features[2] = {BASE | F_STATS | F_REPORTING, BASE | F_REPORTING};
	struct fix *f = fix_balloon();

	(void)st;
	for (unsigned i = 0; i < 2; i++) {
		struct drv_seg s[2] = {{AREA + 100, 3 * 4096, true}, {AREA + MIB, MIB, true}};
		uint64_t map[64 * MIB / 4096 / 64] = {0};

		fix_up(f, features[i], 8);
		fill(f, AREA, 2 * MIB);
		gmem_dirty_start(f->mem);
		/* Queues without a feature have no number. */
		assert_int_equal(fix_request(f, i ? 2 : 3, s, 2), 0);
		/* Whole pages only. */
		assert_int_equal(byte_at(f, AREA + 100), 0xaa);
		assert_int_equal(byte_at(f, AREA + 4096), 0);
		assert_int_equal(byte_at(f, AREA + 3 * 4096 - 1), 0);
		assert_int_equal(byte_at(f, AREA + 3 * 4096), 0xaa);
		assert_int_equal(byte_at(f, AREA + MIB), 0);
		assert_int_equal(byte_at(f, AREA + 2 * MIB - 1), 0);
		gmem_dirty_harvest(f->mem, map);
		assert_true(map[(AREA + MIB) / 4096 / 64] == UINT64_MAX);
		gmem_dirty_stop(f->mem);
	}
	assert_int_equal(stat(f, "reported_bytes"), 2 * (MIB + 3 * 4096));
	fix_free(f);
}

static void test_balloon_stats(void **st)
{
	static const uint8_t said[2][10] = {{4, 0, 0, 0, 0x10}, {5, 0, 0, 0, 0x40}};
	struct drv_seg s = {FIX_DATA, sizeof(said), false};
	struct fix *f = fix_balloon();
	uint32_t len;

	(void)st;
	fix_up(f, BASE | F_STATS, 8);
	assert_int_equal(gmem_write(f->mem, FIX_DATA, said, sizeof(said)), 0);
	/* Stays with the device until somebody wants new ones. */
	assert_int_equal(fix_request(f, 2, &s, 1), -1);
	assert_int_equal(stat(f, "guest.free_bytes"), 0x100000);
	assert_true(drv_get(&f->q[2], &len) >= 0);
	assert_int_equal(stat(f, "guest.total_bytes"), 0x400000);
	/* Through a pause, put back and taken again. */
	assert_int_equal(fix_request(f, 2, &s, 1), -1);
	device_pause(&f->d->pci.dev);
	assert_int_equal(virtio_q(f->d, 2)->n_busy, 0);
	device_resume(&f->d->pci.dev);
	fix_run(f);
	assert_int_equal(virtio_q(f->d, 2)->n_busy, 1);
	/* A driver that gives two gets one back. */
	assert_int_equal(fix_request(f, 2, &s, 1), 0);
	fix_up(f, BASE, 8);
	assert_int_equal(stat(f, "guest.free_bytes"), 0x100000);
	fix_free(f);
}

/* ---- console ---- */

#define F_MULTIPORT BIT(1)

static uint8_t sent[65536];
static size_t n_sent, tx_limit;
static unsigned n_rooms;

static size_t sink(void *ctx, const uint8_t *buf, size_t len)
{
	size_t n = MIN(len, tx_limit - n_sent);

	(void)ctx;
	memcpy(sent + n_sent, buf, n);
	n_sent += n;
	return n;
}

static void room(void *ctx)
{
	(void)ctx;
	n_rooms++;
}

static struct fix *fix_console(void)
{
	struct vconsole_port port[2] = {{.console = true, .open = true, .tx = sink, .rx_room = room},
					{.name = "agent", .tx = sink, .rx_room = room}};
	struct fix *f = fix_new();
	struct virtio_dev *d;

	n_sent = n_rooms = 0;
	tx_limit = sizeof(sent);
	assert_int_equal(vconsole_create(&d, &f->b->env, port, 2, NULL), 0);
	fix_add(f, d);
	return f;
}

static void say(struct fix *f, uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t m[8];

	memcpy(m, &id, 4);
	memcpy(m + 4, &event, 2);
	memcpy(m + 6, &value, 2);
	assert_int_equal(gmem_write(f->mem, FIX_DATA, m, sizeof(m)), 0);
	assert_int_equal(fix_request(f, 3, &(struct drv_seg){FIX_DATA, 8, false}, 1), 0);
}

/* Next message from the device: id << 32 | event << 16 | value; 0: none. */
static uint64_t hear(struct fix *f, char *name)
{
	struct drv_seg s = {FIX_DATA + 4096, 64, true};
	uint8_t m[64];
	uint32_t len;
	uint64_t v = 0;

	assert_true(drv_add(&f->q[2], &s, 1, false) >= 0);
	fix_kick(f, 2);
	fix_run(f);
	if (drv_get(&f->q[2], &len) < 0)
		return 0;
	assert_true(len >= 8 && len <= 64);
	assert_int_equal(gmem_read(f->mem, FIX_DATA + 4096, m, len), 0);
	v = (uint64_t)(m[0] | m[1] << 8) << 32 | (uint64_t)(m[4] | m[5] << 8) << 16 | m[6] |
	    m[7] << 8;
	if (name)
		memcpy(name, m + 8, len - 8);
	return v;
}

#define MSG(id, event, value) ((uint64_t)(id) << 32 | (event) << 16 | (value))

static void test_console_control(void **st)
{
	struct fix *f = fix_console();
	char name[64] = "";

	(void)st;
	assert_int_equal(fix_get(f, B_DEVICE + 4, 4), 2);
	fix_up(f, BASE | F_MULTIPORT, 8);
	say(f, 0, 0, 1); /* DEVICE_READY */
	assert_int_equal(hear(f, NULL), MSG(0, 1, 1));
	assert_int_equal(hear(f, NULL), MSG(1, 1, 1));
	say(f, 0, 3, 1); /* PORT_READY */
	assert_int_equal(hear(f, NULL), MSG(0, 4, 1));
	assert_int_equal(hear(f, NULL), MSG(0, 6, 1));
	say(f, 1, 3, 1);
	assert_int_equal(hear(f, name), MSG(1, 7, 1));
	assert_string_equal(name, "agent");
	vconsole_set_open(f->d, 1, true);
	assert_int_equal(hear(f, NULL), MSG(1, 6, 1));
	vconsole_set_open(f->d, 1, false);
	assert_int_equal(hear(f, NULL), MSG(1, 6, 0));
	/* Nonsense is not answered. */
	say(f, 77, 3, 1);
	say(f, 0, 99, 1);
	assert_int_equal(fix_request(f, 3, &(struct drv_seg){FIX_DATA, 3, false}, 1), 0);
	assert_int_equal(hear(f, NULL), 0);
	fix_free(f);
}

static void test_console_bytes(void **st)
{
	struct fix *f = fix_console();
	struct drv_seg s[2] = {{FIX_DATA, 3000, false}, {FIX_DATA + 4096, 5000, false}};
	struct drv_seg in = {FIX_DATA + 65536, 16, true};
	uint8_t data[16];
	uint32_t len;

	(void)st;
	fix_up(f, BASE | F_MULTIPORT, 8);
	for (unsigned i = 0; i < 9200; i++)
		*(uint8_t *)gmem_at(f->mem, FIX_DATA + i, 1) = (uint8_t)(i * 7);
	/* A back-end that takes a part: the rest waits, through a pause too. */
	tx_limit = 1000;
	assert_int_equal(fix_request(f, 1, s, 2), -1);
	assert_int_equal(n_sent, 1000);
	device_pause(&f->d->pci.dev);
	assert_int_equal(virtio_q(f->d, 1)->n_busy, 0);
	tx_limit = 4500;
	device_resume(&f->d->pci.dev);
	fix_run(f);
	assert_int_equal(n_sent, 4500);
	tx_limit = sizeof(sent);
	vconsole_tx_ready(f->d, 0);
	fix_run(f);
	assert_true(drv_get(&f->q[1], &len) >= 0);
	assert_int_equal(n_sent, 8000);
	for (unsigned i = 0; i < 8000; i++)
		assert_int_equal(sent[i], (uint8_t)((i < 3000 ? i : i - 3000 + 4096) * 7));

	/* In: as much as there is room, and told when there is again. */
	assert_int_equal(vconsole_rx_space(f->d, 0), 0);
	n_rooms = 0;
	assert_int_equal(fix_request(f, 0, &in, 1), -1);
	assert_int_equal(n_rooms, 1);
	assert_int_equal(vconsole_rx_space(f->d, 0), 16);
	device_pause(&f->d->pci.dev);
	assert_int_equal(vconsole_rx_push(f->d, 0, (const uint8_t *)"x", 1), 0);
	assert_int_equal(virtio_q(f->d, 0)->n_busy, 0);
	device_resume(&f->d->pci.dev);
	fix_run(f);
	assert_int_equal(vconsole_rx_push(f->d, 0, (const uint8_t *)"0123456789abcdefgh", 18), 16);
	assert_int_equal(drv_get(&f->q[0], &len) >= 0 ? len : 0, 16);
	assert_int_equal(gmem_read(f->mem, in.addr, data, 16), 0);
	assert_memory_equal(data, "0123456789abcdef", 16);
	assert_true(fix_irq(f, FIX_VECTOR + 1));
	/* A port that nobody has open takes nothing. */
	assert_int_equal(fix_request(f, 4, &in, 1), -1);
	assert_int_equal(vconsole_rx_push(f->d, 1, (const uint8_t *)"x", 1), 0);
	n_rooms = 0;
	say(f, 1, 6, 1); /* PORT_OPEN */
	assert_true(n_rooms > 0);
	assert_int_equal(vconsole_rx_push(f->d, 1, (const uint8_t *)"x", 1), 1);
	/* An empty buffer is not a place to fill for ever. */
	assert_int_equal(fix_request(f, 0, &(struct drv_seg){FIX_DATA, 4, false}, 1), -1);
	assert_int_equal(vconsole_rx_space(f->d, 0), 0);
	assert_true(drv_get(&f->q[0], &len) >= 0);
	/* Reset with a chain in hand. */
	tx_limit = n_sent + 1;
	assert_int_equal(fix_request(f, 1, s, 2), -1);
	fix_up(f, BASE, 8);
	tx_limit = sizeof(sent);
	assert_int_equal(fix_request(f, 1, s, 1), 0);
	fix_free(f);
}

static int client(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)sa, sizeof(*sa)), 0);
	return fd;
}

static void test_port_socket(void **st)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct drv_seg out = {FIX_DATA + 8192, 5, false}, in = {FIX_DATA + 65536, 16, true};
	struct vconsole_port port[1];
	struct fix *f = fix_new();
	struct port_socket *ps;
	struct virtio_dev *d;
	int listen_fd, a, b;
	uint32_t len;
	char text[16];

	(void)st;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/lodge-port-%d", (int)getpid());
	unlink(sa.sun_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listen_fd, 4), 0);
	assert_int_equal(port_socket_create(&ps, f->loop, listen_fd, NULL), 0);
	port_socket_backend(ps, "agent", 0, &port[0]);
	assert_int_equal(vconsole_create(&d, &f->b->env, port, 1, NULL), 0);
	port_socket_attach(ps, d);
	fix_add(f, d);
	fix_up(f, BASE | F_MULTIPORT, 8);
	say(f, 0, 3, 1);
	assert_int_equal(hear(f, NULL), MSG(0, 7, 1));
	say(f, 0, 6, 1);
	assert_int_equal(gmem_write(f->mem, out.addr, "hello", 5), 0);
	/* Without a client bytes are dropped; with one they arrive. */
	assert_int_equal(fix_request(f, 1, &out, 1), 0);
	a = client(&sa);
	b = client(&sa); /* waits */
	fix_run(f);
	assert_int_equal(hear(f, NULL), MSG(0, 6, 1));
	assert_int_equal(fix_request(f, 1, &out, 1), 0);
	assert_int_equal(read(a, text, sizeof(text)), 5);
	assert_memory_equal(text, "hello", 5);
	/* The client's bytes wait for a buffer. */
	assert_int_equal(write(a, "answer", 6), 6);
	fix_run(f);
	assert_int_equal(fix_request(f, 0, &in, 1), 6);
	assert_int_equal(gmem_read(f->mem, in.addr, text, 6), 0);
	assert_memory_equal(text, "answer", 6);
	/* It leaves, the next one comes: the guest hears of both or of the last. */
	close(a);
	fix_run(f);
	assert_int_equal(fix_request(f, 1, &out, 1), 0);
	assert_int_equal(read(b, text, sizeof(text)), 5);
	close(b);
	fix_run(f);
	assert_int_equal(drv_get(&f->q[0], &len), -1);
	port_socket_detach(ps);
	port_socket_destroy(ps);
	fix_free(f);
	close(listen_fd);
	unlink(sa.sun_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balloon_inflate), cmocka_unit_test(test_balloon_report),
		cmocka_unit_test(test_balloon_stats),	cmocka_unit_test(test_console_control),
		cmocka_unit_test(test_console_bytes),	cmocka_unit_test(test_port_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
