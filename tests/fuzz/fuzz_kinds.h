/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_kinds.h - for fuzz_virtio.c: each kind of device with the host's end of it, and its requests as a driver makes
 * them, with mistakes where the input wants some.
 */
#ifndef LODGE_TESTS_FUZZ_KINDS_H
#define LODGE_TESTS_FUZZ_KINDS_H

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "fuzz_ram.h"

#include "../unit/fs_server.h"
#include "../unit/virtio_fixture.h"

#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/disk.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock_conn.h"

struct kind {
	const char *name;
	void (*create)(void);		 /* makes f->d */
	void (*destroy)(void);		 /* after the device: what was behind it; may be NULL */
	void (*event)(struct input *in); /* something happens on the host's side; may be NULL */
	/* A request for queue q, at `at` and behind it. Returns the segments. */
	unsigned (*request)(struct input *in, unsigned q, gpa_t at, struct drv_seg *s);
};

static struct fix *f;

static void put(gpa_t at, const void *p, size_t n)
{
	ASSERT(gmem_write(f->mem, at, p, n) == 0);
}

/* So many bytes of the input as the content of a buffer. */
static void put_input(struct input *in, gpa_t at, size_t n)
{
	uint8_t bytes[256];

	in_bytes(in, bytes, MIN(n, sizeof(bytes)));
	put(at, bytes, MIN(n, sizeof(bytes)));
}

/* Closes an fd that may not be there. */
static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- blk ---- */

static struct blk *blk;
static struct ram *ram;

static void blk_kind_create(void)
{
	struct blk_config bc = {.id = "disk0", .pause_when_full = true};
	struct disk_config dc = {.serial = "a serial", .n_queues = 2};

	ram = ram_new();
	ASSERT(blk_create(&blk, f->loop, &ram->layer, &bc, NULL) == 0);
	dc.blk = blk;
	ASSERT(disk_create(&f->d, &f->b->env, &dc, NULL) == 0);
}

static void blk_kind_destroy(void)
{
	blk_destroy(blk);
}

static void blk_kind_event(struct input *in)
{
	static const int result[] = {0, 0, 0, 0, 0, -EIO, -ENOSPC, -EOPNOTSUPP};
	uint8_t what = in8(in);
	struct blk_limits limits = {0};

	switch (what >> 5) {
	case 0:
		limits.iops = what & 15;
		limits.bps = (uint64_t)(what & 16) << 12;
		blk_set_limits(blk, &limits);
		break;
	case 1: blk_resume(blk); break;
	default:
		for (unsigned n = 1 + what % 32; n && ram->n_pending; n--)
			ram_complete(ram, in8(in) % ram->n_pending,
				     result[what >> 5 == 2 ? in8(in) % ARRAY_SIZE(result) : 0]);
		layer_batch(&ram->layer);
	}
}

static unsigned blk_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	static const uint32_t type[] = {0, 1, 0, 1, 4, 8, 11, 13};
	uint8_t how = in8(in);
	struct {
		uint32_t type, zero;
		uint64_t sector;
	} h = {type[how & 7], 0, in8(in)};
	uint32_t bytes = 512u * (in8(in) % 20);
	unsigned n = 0;

	(void)q;
	if (how & 8)
		h.sector = in_edge(in);
	if (how & 16)
		bytes = (uint32_t)in_edge(in) & 0x1ffff;
	if (how & 32)
		h.type = (uint32_t)in_edge(in);
	put(at, &h, sizeof(h));
	s[n++] = (struct drv_seg){at, how & 64 ? in8(in) % 20 : 16, false};
	if (h.type == 11 || h.type == 13) { /* ranges: sector, number, flags */
		bytes = 16u * (1 + in8(in) % 3);
		put_input(in, at + 0x1000, bytes);
	}
	if (bytes && h.type != 4)
		s[n++] = (struct drv_seg){at + 0x1000, bytes, h.type == 0 || h.type == 8};
	s[n++] = (struct drv_seg){at + 0x100, how & 128 ? in8(in) % 4 : 1, true};
	return n;
}

/* ---- net ---- */

static int net_pair[2] = {-1, -1};

static void net_kind_create(void)
{
	struct virtio_net_config cfg = {.id = "net0",
					.mac = {2, 0, 0, 0, 0, 1},
					.mtu = 1500,
					.pairs = 2,
					.kind = NET_KIND_SOCKET};

	ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, net_pair) == 0);
	cfg.fd = net_pair[0];
	ASSERT(virtio_net_create(&f->d, &f->b->env, &cfg, NULL) == 0);
}

static void net_kind_destroy(void)
{
	drop(&net_pair[0]);
	drop(&net_pair[1]);
}

/* Header and frame, often of a size that its header says. */
static size_t packet(struct input *in, uint8_t *p, size_t max)
{
	static const uint16_t size[] = {12, 26, 54, 60, 66, 98, 1526, 9000};
	uint8_t how = in8(in);
	size_t n = MIN(size[how & 7], max);

	memset(p, 0, n);
	p[12 + 12] = 8; /* IPv4 */
	p[12 + 14] = 0x45;
	p[12 + 23] = how & 8 ? 6 : 17;
	memset(p + 12, how & 16 ? 0xff : 0, 6);
	if (how & 32) { /* the header's fields */
		in_bytes(in, p, 10);
		p[1] &= 0x87;
	}
	if (how & 64) {
		size_t some = in8(in);

		in_bytes(in, p + 12, MIN(some, n > 12 ? n - 12 : 0));
	}
	return n;
}

static void net_kind_event(struct input *in)
{
	static uint8_t p[NET_PACKET_MAX];
	struct bucket_config bytes = {0}, packets = {0};
	uint8_t what = in8(in);
	ssize_t n = 0;

	switch (what % 8) {
	case 0:
		if (what == 0xf8)
			drop(&net_pair[1]);
		break;
	case 1:
		bytes.rate = in16(in);
		packets.rate = in8(in);
		virtio_net_set_limit(f->d, &bytes, &packets);
		break;
	case 2:
		while (net_pair[1] >= 0 && n >= 0)
			n = recv(net_pair[1], p, sizeof(p), 0);
		break;
	default:
		for (unsigned k = 1 + what / 64; k && net_pair[1] >= 0 && n >= 0; k--)
			n = send(net_pair[1], p, packet(in, p, sizeof(p)), MSG_NOSIGNAL);
	}
}

static unsigned net_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	static const uint16_t room[] = {12, 60, 1526, 4096, 16384, 65535};
	static uint8_t p[NET_PACKET_MAX];
	uint8_t how = in8(in), command[2];
	size_t n;

	if (q == f->d->n_queues - 1) { /* control: class, command; data; acknowledgement */
		static const uint8_t length[] = {0, 1, 2, 4, 6, 8, 14, 200};

		command[0] = how & 7;
		command[1] = in8(in) & 7;
		n = length[how >> 3 & 7];
		put(at, command, 2);
		put_input(in, at + 0x1000, n);
		s[0] = (struct drv_seg){at, 2, false};
		s[1] = (struct drv_seg){at + 0x1000, (uint32_t)n, false};
		s[2] = (struct drv_seg){at + 0x100, 1, true};
		return 3;
	}
	if (q % 2 == 0) {
		s[0] = (struct drv_seg){at, room[how % ARRAY_SIZE(room)], true};
		return 1;
	}
	n = packet(in, p, sizeof(p));
	put(at, p, n);
	s[0] = (struct drv_seg){at, how & 1 ? 12 : 10, false};
	s[1] = (struct drv_seg){at + s[0].len, (uint32_t)n - MIN(s[0].len, (uint32_t)n), false};
	if (!(how & 2))
		s[0].len = (uint32_t)n;
	return how & 2 ? 2 : 1;
}

/* ---- rng ---- */

static void rng_kind_create(void)
{
	ASSERT(rng_create(&f->d, &f->b->env, NULL) == 0);
}

static unsigned rng_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	(void)q;
	s[0] = (struct drv_seg){at, (uint32_t)in_edge(in) & 0x1ffff, true};
	return 1;
}

/* ---- balloon ---- */

static void balloon_kind_create(void)
{
	ASSERT(balloon_create(&f->d, &f->b->env, NULL) == 0);
}

static void add_nothing(void *ctx, const char *key, uint64_t v)
{
	(void)ctx;
	(void)key;
	(void)v;
}

static void balloon_kind_event(struct input *in)
{
	struct err e = {0};
	int r = balloon_set_target(f->d, in_edge(in) << 12, &e);

	ASSERT(r == 0 || e.msg[0]);
}

static unsigned balloon_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	uint8_t how = in8(in);
	unsigned n = how & 63;

	if (q >= 3) { /* reported: pages of the data area */
		for (unsigned i = 0; i < 1 + n % 4; i++)
			s[i] = (struct drv_seg){FIX_DATA + (in16(in) & 0x1fff) * 4096u +
							(how & 64 ? in8(in) : 0),
						4096u * (1 + in8(in) % 4), true};
		return 1 + n % 4;
	}
	if (q == 2) {
		put_input(in, at, 10 * n);
		s[0] = (struct drv_seg){at, 10 * n, false};
		return 1;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t pfn = how & 64 ? (uint32_t)in_edge(in) : FIX_DATA / 4096 + in8(in) + i;

		put(at + 4 * i, &pfn, 4);
	}
	s[0] = (struct drv_seg){at, 4 * n + (how & 128 ? 1 : 0), false};
	return 1;
}

/* ---- console ---- */

static size_t console_room;

static size_t console_sink(void *ctx, const uint8_t *buf, size_t len)
{
	size_t n = MIN(len, console_room);
	volatile uint8_t last = 0;

	(void)ctx;
	if (n)
		last = buf[n - 1];
	(void)last;
	console_room -= n;
	return n;
}

static void console_kind_create(void)
{
	struct vconsole_port port[2] = {{.console = true, .open = true, .tx = console_sink},
					{.name = "agent", .tx = console_sink}};

	console_room = 100;
	ASSERT(vconsole_create(&f->d, &f->b->env, port, 2, NULL) == 0);
}

static void console_kind_event(struct input *in)
{
	uint8_t what = in8(in), bytes[4096] = {0};
	unsigned port = what & 1;
	size_t n, space;

	switch (what >> 1 & 3) {
	case 0: vconsole_set_open(f->d, port, what & 8); break;
	case 1:
		console_room += in16(in);
		vconsole_tx_ready(f->d, port);
		break;
	default:
		n = in16(in) % sizeof(bytes);
		in_bytes(in, bytes, MIN(n, (size_t)16));
		space = vconsole_rx_space(f->d, port); /* (once: it looks at the ring) */
		n = MIN(n, space);
		ASSERT(vconsole_rx_push(f->d, port, bytes, n) <= n);
	}
}

static unsigned console_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	uint8_t how = in8(in);
	struct {
		uint32_t id;
		uint16_t event, value;
	} m = {how & 1, how >> 1 & 7, how >> 4 & 1};

	if (q == 3) {
		if (how & 32)
			in_bytes(in, &m, sizeof(m));
		put(at, &m, sizeof(m));
		s[0] = (struct drv_seg){at, how & 64 ? in8(in) : 8, false};
		return 1;
	}
	s[0] = (struct drv_seg){at, (uint32_t)in_edge(in) & 0x3fff, q % 2 == 0};
	return 1;
}

/* ---- vsock ---- */

#define VSOCK_CLIENTS 6u

static int vsock_listen = -1, vsock_client[VSOCK_CLIENTS];
static struct sockaddr_un vsock_address;
static uint32_t vsock_asked[16][2];
static unsigned vsock_n_asked;

static int vsock_connect_cb(void *ctx, uint32_t port, uint32_t id)
{
	(void)ctx;
	if (port == 666)
		return -ECONNREFUSED;
	if (vsock_n_asked < ARRAY_SIZE(vsock_asked)) {
		vsock_asked[vsock_n_asked][0] = port;
		vsock_asked[vsock_n_asked++][1] = id;
	}
	return 0;
}

/* One listening socket for all inputs: its name, in the abstract space, is the kernel's choice. */
static void vsock_kind_create(void)
{
	struct vsock_config cfg = {.cid = 42, .connect = vsock_connect_cb};
	socklen_t len = sizeof(vsock_address);

	memset(vsock_client, 0xff, sizeof(vsock_client));
	vsock_n_asked = 0;
	vsock_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	vsock_listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT(vsock_listen >= 0);
	ASSERT(bind(vsock_listen, (struct sockaddr *)&vsock_address, sizeof(sa_family_t)) == 0);
	ASSERT(listen(vsock_listen, 16) == 0);
	ASSERT(getsockname(vsock_listen, (struct sockaddr *)&vsock_address, &len) == 0);
	cfg.listen_fd = vsock_listen;
	ASSERT(vsock_create(&f->d, &f->b->env, &cfg, NULL) == 0);
}

static void vsock_kind_destroy(void)
{
	for (unsigned i = 0; i < VSOCK_CLIENTS; i++)
		drop(&vsock_client[i]);
	drop(&vsock_listen);
}

/* The guest asked for a connection of the host: yes or no, maybe too late. */
static void vsock_answer(bool yes, int *fd)
{
	int pair[2] = {-1, -1};

	if (!vsock_n_asked)
		return;
	vsock_n_asked--;
	if (yes && *fd < 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0)
		*fd = pair[0];
	vsock_connected(f->d, vsock_asked[vsock_n_asked][0], vsock_asked[vsock_n_asked][1], pair[1]);
}

static void vsock_kind_event(struct input *in)
{
	uint8_t what = in8(in), bytes[4096] = {0};
	int *fd = &vsock_client[what % VSOCK_CLIENTS];
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 6;
	ssize_t n = 0;

	switch (what / VSOCK_CLIENTS % 7) {
	case 0:
		if (*fd >= 0)
			break;
		*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(*fd, (struct sockaddr *)&vsock_address, len) < 0 ||
		    (what < 200 && write(*fd, "CONNECT 7\n", 10) != 10))
			drop(fd);
		break;
	case 1:
		in_bytes(in, bytes, 20);
		if (*fd >= 0)
			n = send(*fd, bytes, in16(in) % sizeof(bytes), MSG_NOSIGNAL);
		break;
	case 2:
		if (*fd >= 0)
			n = recv(*fd, bytes, sizeof(bytes), 0);
		break;
	case 3: drop(fd); break;
	case 4:
		if (*fd >= 0)
			n = shutdown(*fd, what % 3);
		break;
	default: vsock_answer(what & 1, fd); break;
	}
	(void)n;
}

static unsigned vsock_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	uint8_t how = in8(in);
	struct vsock_hdr h = {.src_cid = 42,
			      .dst_cid = 2,
			      .src_port = 7,
			      .dst_port = (in8(in) & 15) + UINT32_C(0x40000000),
			      .type = 1,
			      .op = (uint16_t)(1 + (how & 7)),
			      .buf_alloc = 1u << (how >> 4)};
	uint32_t len;

	if (q != 1) {
		s[0] = (struct drv_seg){at, how & 1 ? 4096 : 44 + (how >> 1), true};
		return 1;
	}
	if (h.op == OP_RW)
		h.len = (uint32_t)in_edge(in) & 0xfff;
	if (h.op == OP_SHUTDOWN)
		h.flags = how >> 4;
	if (how & 8) { /* ports of its own, or anything */
		uint8_t at_byte = in8(in) % (sizeof(h) - 4);

		h.src_port = 1024 + (how >> 4);
		h.dst_port = how & 16 ? 666 : 5000;
		if (how & 128)
			in_bytes(in, (uint8_t *)&h + at_byte, 4);
	}
	len = h.len;
	put(at, &h, sizeof(h));
	s[0] = (struct drv_seg){at, sizeof(h), false};
	s[1] = (struct drv_seg){at + 0x1000, MIN(len, 0x4000u), false};
	return len ? 2 : 1;
}

/* ---- fs: both the guest and the file server do what the input says ---- */

static struct fs_server fs_server;
static struct vhost_user *fs_client;
static bool fs_read_only; /* of the next device; event 6 changes it */

static void fs_kind_create(void)
{
	struct virtio_fs_config cfg = {.id = "share0", .tag = "work", .read_only = fs_read_only};
	int theirs;

	ASSERT(fs_server_init(&fs_server, FS_FEATURES, &theirs));
	ASSERT(vhost_user_create(&fs_client, "share", theirs, NULL) == 0);
	cfg.server = fs_client;
	ASSERT(virtio_fs_create(&f->d, &f->b->env, &cfg, NULL) == 0);
}

static void fs_kind_destroy(void)
{
	vhost_user_destroy(fs_client);
	fs_server_end(&fs_server);
}

static void fs_kind_event(struct input *in)
{
	uint8_t what = in8(in), bytes[32];
	unsigned ring = what & 1, head;
	struct fs_desc d[16];
	ssize_t n;

	if (fs_server.fd < 0)
		return;
	if (!fs_server_read(&fs_server)) {
		fs_server_end(&fs_server);
		return;
	}
	switch (what >> 1 & 15) {
	case 0: /* any message, or a part of one */
		in_bytes(in, bytes, sizeof(bytes));
		n = send(fs_server.fd, bytes, 1 + in8(in) % sizeof(bytes),
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)n;
		break;
	case 1: fs_server_send(&fs_server, 11, &(uint64_t){in8(in) & 3}, 8); break;
	case 2:
		fs_server_use(&fs_server, ring, (uint32_t)in_edge(in), (uint32_t)in_edge(in));
		break;
	case 3: /* anywhere in the rings */
		if (fs_server.memory)
			in_bytes(in, fs_server.memory + in16(in) % 0x8000, 1 + in8(in) % 8);
		break;
	case 4: fs_server.mute = what & 0x80; break;
	case 5:
		if (what & 0x80)
			fs_server_end(&fs_server);
		break;
	case 6: fs_read_only = what & 0x80; break;
	default:
		if (fs_server_next(&fs_server, ring, d, ARRAY_SIZE(d), &head))
			fs_server_use(&fs_server, ring, head,
				      what & 0x80 ? (uint32_t)in_edge(in) : 16);
	}
}

/* A server that still speaks lets its rings end; another one is ended. */
static void fs_kind_settle(void)
{
	if (fs_server.fd < 0)
		return;
	if (!fs_server_read(&fs_server) || fs_server.mute || fs_server.was_mute)
		fs_server_end(&fs_server);
}

static unsigned fs_kind_request(struct input *in, unsigned q, gpa_t at, struct drv_seg *s)
{
	static const uint8_t opcode[] = {1, 3, 14, 15, 16, 2, 26, 42};
	uint8_t how = in8(in);
	uint32_t h[14] = {56, opcode[how & 7], how, in8(in)};

	(void)q;
	h[10] = how & 8 ? 2 : 0; /* flags of an open */
	put(at, h, sizeof(h));
	s[0] = (struct drv_seg){at, how & 16 ? in8(in) : 40, false};
	s[1] = (struct drv_seg){at + 40, how & 32 ? (uint32_t)in_edge(in) & 0x3fff : 16, false};
	s[2] = (struct drv_seg){at + 0x1000, 16, true};
	s[3] = (struct drv_seg){at + 0x2000, (uint32_t)in_edge(in) & 0x7fff, true};
	return how & 64 ? 4 : how & 128 ? 2 : 3;
}

static const struct kind kinds[] = {
	{"blk", blk_kind_create, blk_kind_destroy, blk_kind_event, blk_kind_request},
	{"net", net_kind_create, net_kind_destroy, net_kind_event, net_kind_request},
	{"rng", rng_kind_create, NULL, NULL, rng_kind_request},
	{"balloon", balloon_kind_create, NULL, balloon_kind_event, balloon_kind_request},
	{"console", console_kind_create, NULL, console_kind_event, console_kind_request},
	{"fs", fs_kind_create, fs_kind_destroy, fs_kind_event, fs_kind_request},
	{"vsock", vsock_kind_create, vsock_kind_destroy, vsock_kind_event, vsock_kind_request},
};

#endif
