/* SPDX-License-Identifier: Apache-2.0 */
/* test_virtio_vsock.c - connections both ways, credit, refusals; the opener; then a driver that sends anything. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio_fixture.h"

#include "proto/opener.h"
#include "virtio/vsock_conn.h"

#define BASE (VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET)
#define RXBUF(i) (FIX_DATA + 0x10000u * (1 + (i)))
#define TXBUF (FIX_DATA + 0x1000000u)

static struct sockaddr_un address;
static int listen_fd;
static uint32_t asked_port, asked_id;
static unsigned n_asked;

static int on_connect(void *ctx, uint32_t port, uint32_t id)
{
	(void)ctx;
	asked_port = port;
	asked_id = id;
	n_asked++;
	return port == 666 ? -ECONNREFUSED : 0;
}

static struct fix *fix_vsock(void)
{
	struct vsock_config cfg = {.cid = 42, .connect = on_connect};
	struct fix *f = fix_new();
	struct virtio_dev *d;

	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/lodge-vsock-%d", (int)getpid());
	unlink(address.sun_path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listen_fd, 16), 0);
	cfg.listen_fd = listen_fd;
	n_asked = 0;
	assert_int_equal(vsock_create(&d, &f->b->env, &cfg, NULL), 0);
	fix_add(f, d);
	assert_int_equal(fix_get(f, B_DEVICE, 8), 42);
	return f;
}

static void free_vsock(struct fix *f)
{
	fix_free(f);
	close(listen_fd);
	unlink(address.sun_path);
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* ---- the guest's driver ---- */

static unsigned rx_slot[DRV_SIZE_MAX];

static void rx_add(struct fix *f, unsigned n, uint32_t size)
{
	static unsigned slot;

	for (; n; n--) {
		unsigned i = slot++ % 64;
		int id = drv_add(&f->q[0], &(struct drv_seg){RXBUF(i), size, true}, 1, false);

		if (id < 0)
			break;
		rx_slot[id] = i;
	}
	fix_kick(f, 0);
	fix_run(f);
}

/* Next packet from the device: its operation, or 0. */
static unsigned rx_get(struct fix *f, struct vsock_hdr *h, void *data, size_t size)
{
	uint32_t len;
	int id = drv_get(&f->q[0], &len);

	if (id < 0)
		return 0;
	assert_true(len >= sizeof(*h));
	assert_int_equal(gmem_read(f->mem, RXBUF(rx_slot[id]), h, sizeof(*h)), 0);
	assert_int_equal(len, sizeof(*h) + h->len);
	assert_int_equal(h->src_cid, 2);
	assert_int_equal(h->dst_cid, 42);
	assert_int_equal(h->type, 1);
	assert_true(h->len <= size);
	assert_int_equal(gmem_read(f->mem, RXBUF(rx_slot[id]) + sizeof(*h), data, h->len), 0);
	return h->op;
}

static struct vsock_hdr packet(uint32_t guest_port, uint32_t host_port, unsigned op)
{
	return (struct vsock_hdr){.src_cid = 42,
				  .dst_cid = 2,
				  .src_port = guest_port,
				  .dst_port = host_port,
				  .type = 1,
				  .op = (uint16_t)op,
				  .buf_alloc = 1000};
}

static void tx(struct fix *f, struct vsock_hdr h, const void *data, uint32_t len)
{
	struct drv_seg s[2] = {{TXBUF, sizeof(h), false}, {TXBUF + 4096, len, false}};

	h.len = len;
	assert_int_equal(gmem_write(f->mem, TXBUF, &h, sizeof(h)), 0);
	if (len)
		assert_int_equal(gmem_write(f->mem, TXBUF + 4096, data, len), 0);
	assert_int_equal(fix_request(f, 1, s, len ? 2 : 1), 0);
}

static void expect_text(int fd, const char *text)
{
	char buf[64] = "";
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_int_equal(n, strlen(text));
	assert_string_equal(buf, text);
}

/* A client connected to guest port 7. Returns the host's port. */
static uint32_t open_to_guest(struct fix *f, int fd)
{
	struct vsock_hdr h;
	char text[32];
	uint32_t port;

	assert_int_equal(write(fd, "CONN", 4), 4);
	fix_run(f);
	assert_int_equal(write(fd, "ECT 7\nearly", 11), 11);
	fix_run(f);
	rx_add(f, 1, 256);
	assert_int_equal(rx_get(f, &h, NULL, 0), OP_REQUEST);
	assert_int_equal(h.dst_port, 7);
	assert_true(h.buf_alloc >= 4096);
	port = h.src_port;
	tx(f, packet(7, port, OP_RESPONSE), NULL, 0);
	snprintf(text, sizeof(text), "OK %u\n", port);
	expect_text(fd, text);
	return port;
}

static void test_host_to_guest(void **st)
{
	struct fix *f = fix_vsock();
	struct vsock_hdr h;
	uint8_t data[2048], big[4000];
	uint32_t port;
	int fd;

	(void)st;
	fix_up(f, BASE, 16);
	fd = client();
	port = open_to_guest(f, fd);
	/* What came behind the line is data. */
	rx_add(f, 1, 256);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RW);
	assert_int_equal(h.len, 5);
	assert_memory_equal(data, "early", 5);
	/* Not more than the guest has room for: 1000 bytes, of which 5 are used; in buffers of 256. */
	memset(big, 0x5a, sizeof(big));
	assert_int_equal(write(fd, big, sizeof(big)), sizeof(big));
	rx_add(f, 8, 256 + 44);
	for (unsigned left = 995; left;) {
		assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RW);
		assert_int_equal(h.len, MIN(left, 256));
		left -= h.len;
	}
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), 0);
	h = packet(7, port, OP_CREDIT_UPDATE);
	h.fwd_cnt = 1000;
	tx(f, h, NULL, 0);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RW);
	/* The other way. */
	tx(f, packet(7, port, OP_RW), "from the guest", 14);
	expect_text(fd, "from the guest");
	tx(f, packet(7, port, OP_CREDIT_REQUEST), NULL, 0);
	rx_add(f, 8, 4096);
	do
		assert_true(rx_get(f, &h, data, sizeof(data)));
	while (h.op == OP_RW);
	assert_int_equal(h.op, OP_CREDIT_UPDATE);
	assert_int_equal(h.fwd_cnt, 14);
	/* The guest is done: the client reads to the end; then both are. */
	h = packet(7, port, OP_SHUTDOWN);
	h.flags = SHUT_F_SEND;
	tx(f, h, NULL, 0);
	assert_int_equal(read(fd, data, 1), 0);
	h.flags = SHUT_F_RECV;
	tx(f, h, NULL, 0);
	rx_add(f, 4, 4096);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	close(fd);
	/* A refusal by the guest. */
	fd = client();
	assert_int_equal(write(fd, "CONNECT 8\n", 10), 10);
	fix_run(f);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_REQUEST);
	tx(f, packet(8, h.src_port, OP_RST), NULL, 0);
	assert_int_equal(read(fd, data, 1), 0);
	close(fd);
	/* Not in the language. */
	for (unsigned i = 0; i < 5; i++) {
		static const char *const words[] = {"CONNECT x\n", "CONNECT 1 2\n", "connect 1\n",
						    "CONNECT 99999999999\n",
						    "CONNECT 1111111111111111111111111111111\n"};

		fd = client();
		assert_true(write(fd, words[i], strlen(words[i])) > 0);
		fix_run(f);
		assert_true(read(fd, data, 1) <= 0 && errno != EAGAIN);
		errno = 0;
		close(fd);
	}
	free_vsock(f);
}

static void test_guest_to_host(void **st)
{
	struct fix *f = fix_vsock();
	struct vsock_hdr h;
	uint8_t data[512];
	static uint8_t big[65000];
	int pair[2];

	(void)st;
	fix_up(f, BASE, 16);
	rx_add(f, 8, 512);
	tx(f, packet(3000, 5000, OP_REQUEST), NULL, 0);
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked_port, 5000);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), 0);
	/* Answers that nobody waits for. */
	vsock_connected(f->d, 5001, asked_id, -ENOENT);
	vsock_connected(f->d, 5000, asked_id + 1, -ENOENT);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vsock_connected(f->d, 5000, asked_id, pair[0]);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RESPONSE);
	assert_int_equal(h.src_port, 5000);
	assert_int_equal(h.dst_port, 3000);
	tx(f, packet(3000, 5000, OP_RW), "hello", 5);
	expect_text(pair[1], "hello");
	assert_int_equal(write(pair[1], "world", 5), 5);
	fix_run(f);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RW);
	assert_memory_equal(data, "world", 5);
	/* The host's end leaves. */
	close(pair[1]);
	fix_run(f);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_SHUTDOWN);
	assert_int_equal(h.flags, SHUT_F_SEND);
	tx(f, packet(3000, 5000, OP_RW), "x", 1); /* nobody reads this */
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	/* Refusals: at once, later, and of what belongs to no connection or to another host. */
	tx(f, packet(3000, 666, OP_REQUEST), NULL, 0);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	tx(f, packet(3000, 5002, OP_REQUEST), NULL, 0);
	vsock_connected(f->d, 5002, asked_id, -ECONNREFUSED);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	tx(f, packet(1, 2, OP_RW), "x", 1);
	rx_add(f, 8, 512);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	h = packet(3000, 5000, OP_REQUEST);
	h.dst_cid = 99;
	n_asked = 0;
	tx(f, h, NULL, 0);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RST);
	tx(f, packet(1, 2, OP_RST), NULL, 0);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), 0);
	assert_int_equal(n_asked, 0);
	/* More than it may send, to a client that does not read. */
	tx(f, packet(3000, 5000, OP_REQUEST), NULL, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vsock_connected(f->d, 5000, asked_id, pair[0]);
	assert_int_equal(rx_get(f, &h, data, sizeof(data)), OP_RESPONSE);
	for (unsigned i = 0; i < 40 && h.op != OP_RST; i++) {
		tx(f, packet(3000, 5000, OP_RW), big, sizeof(big));
		rx_add(f, 1, 512);
		(void)rx_get(f, &h, data, sizeof(data));
	}
	assert_int_equal(h.op, OP_RST);
	close(pair[1]);
	free_vsock(f);
}

static void test_opener(void **st)
{
	struct opener_answer a = {0};
	int pair[2], server, peer;
	char path[80], text[8];

	(void)st;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(path, sizeof(path), "/tmp/lodge-opener-%d", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_77", path);
	unlink(address.sun_path);
	server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server, 4), 0);
	assert_int_equal(opener_take(pair[0], &a), 0);
	assert_int_equal(opener_serve(pair[1], path), 0);
	assert_int_equal(opener_ask(pair[0], 77, 5), 0);
	assert_int_equal(opener_ask(pair[0], 78, 6), 0);
	assert_int_equal(opener_serve(pair[1], path), 1);
	assert_int_equal(opener_serve(pair[1], path), 1);
	assert_int_equal(opener_take(pair[0], &a), 1);
	assert_int_equal(a.id, 5);
	assert_int_equal(a.port, 77);
	assert_true(a.fd >= 0);
	peer = accept(server, NULL, NULL);
	assert_int_equal(write(peer, "hi", 2), 2);
	assert_int_equal(read(a.fd, text, sizeof(text)), 2);
	close(a.fd);
	close(peer);
	assert_int_equal(opener_take(pair[0], &a), 1);
	assert_int_equal(a.id, 6);
	assert_int_equal(a.fd, -ENOENT);
	/* Messages that are none, and an end. */
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(opener_take(pair[0], &a), -EPROTO);
	close(pair[1]);
	assert_int_equal(opener_take(pair[0], &a), -EPIPE);
	assert_int_equal(opener_ask(pair[0], 1, 1), -EPIPE);
	close(pair[0]);
	close(server);
	unlink(address.sun_path);
}

/* ---- hostile ---- */

static uint32_t seed = 5;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)(seed >> 4) * n) >> 28);
}

static void test_hostile(void **st)
{
	static uint8_t junk[4096];
	struct fix *f = fix_vsock();
	struct vsock *vs = container_of(f->d, struct vsock, v);
	int clients[16], ends[16], pair[2];
	struct vsock_hdr h;
	uint8_t data[4096];

	(void)st;
	for (unsigned i = 0; i < 16; i++)
		clients[i] = ends[i] = -1;
	fix_up(f, BASE, 64);
	for (unsigned i = 0; i < 6000; i++) {
		unsigned k = rnd(16);

		h = packet(rnd(3), rnd(4) ? rnd(4) : vs->last_port - rnd(3), rnd(10));
		h.buf_alloc = rnd(4) ? rnd(3000) : (uint32_t)-1;
		h.fwd_cnt = rnd(4) ? rnd(100) : rnd(1u << 28);
		h.flags = rnd(5);
		if (rnd(20) == 0)
			h.src_cid = rnd(50);
		if (rnd(4)) {
			struct drv_seg s[2] = {{TXBUF, rnd(20) ? 44 : rnd(44), false},
					       {TXBUF + 4096, rnd(4000), false}};
			uint32_t len;

			h.len = rnd(20) ? s[1].len : rnd(1u << 28);
			assert_int_equal(gmem_write(f->mem, TXBUF, &h, sizeof(h)), 0);
			while (drv_get(&f->q[1], &len) >= 0)
				;
			(void)drv_add(&f->q[1], s, s[1].len ? 2 : 1, false);
			fix_kick(f, 1);
		}
		if (rnd(5) == 0 && clients[k] < 0) {
			clients[k] = client();
			(void)!send(clients[k], "CONNECT 1\n", rnd(11), MSG_NOSIGNAL);
		} else if (rnd(3) == 0 && clients[k] >= 0) {
			close(clients[k]);
			clients[k] = -1;
		} else if (clients[k] >= 0) {
			(void)!send(clients[k], junk, rnd(4096), MSG_NOSIGNAL);
			(void)!read(clients[k], data, rnd(4096));
		}
		if (rnd(6) == 0) {
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
					 0);
			vsock_connected(f->d, asked_port, asked_id, rnd(3) ? pair[0] : -1);
			(void)!send(pair[1], junk, 100, MSG_NOSIGNAL);
			k = rnd(16);
			if (ends[k] >= 0)
				close(ends[k]);
			ends[k] = pair[1];
		}
		if (rnd(3) == 0)
			(void)drv_add(&f->q[0],
				      &(struct drv_seg){RXBUF(rnd(64)),
							rnd(10) ? 44 + rnd(2000) : rnd(60), true},
				      1, false);
		for (uint32_t len; rnd(2) && drv_get(&f->q[0], &len) >= 0;)
			;
		if (rnd(3) == 0)
			fix_kick(f, rnd(3));
		loop_run_once(f->loop, 0);
		assert_true(vs->n_conns <= VSOCK_CONNS_MAX && vs->n_rst <= ARRAY_SIZE(vs->rst));
		assert_false(virtio_q(f->d, 0)->broken || virtio_q(f->d, 1)->broken);
		if (rnd(500) == 0) {
			device_pause(&f->d->pci.dev);
			assert_int_equal(virtio_q(f->d, 0)->n_busy + virtio_q(f->d, 1)->n_busy, 0);
			device_resume(&f->d->pci.dev);
		}
		if (rnd(1500) == 0) {
			fix_up(f, BASE | (rnd(2) ? VIRTIO_F_PACKED : 0), 64);
			assert_null(vs->conns);
		}
	}
	for (unsigned i = 0; i < 16; i++) {
		if (clients[i] >= 0)
			close(clients[i]);
		if (ends[i] >= 0)
			close(ends[i]);
	}
	free_vsock(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host_to_guest),
		cmocka_unit_test(test_guest_to_host),
		cmocka_unit_test(test_opener),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
