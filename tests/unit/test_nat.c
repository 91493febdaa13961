/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_nat.c - the user-mode network as a guest sees it, from the other end of the frame socket: ARP, DHCP, ping,
 * UDP there and back, a forwarded port, checksums left to us, loopback shut off, ports in use, garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nat/frame.h"
#include "nat/nat.h"
#include "util/clock.h"

#define GUEST_IP 0x0a00020fu
#define GATEWAY_IP 0x0a000202u
#define ROUNDS 200u
#define WAIT_NS (30 * CLOCK_NS_PER_S)

struct guest {
	struct nat *nat;
	int fd, nat_fd;
	uint8_t gateway_mac[6];
	uint8_t buf[FRAME_MAX]; /* the last frame that came, header in front */
	size_t len;
};

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0, 0, 1};

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static struct nat_config config(void)
{
	return (struct nat_config){
		.network.s_addr = htonl(0x0a000200u),
		.mask.s_addr = htonl(0xffffff00u),
		.mtu = 65520,
		.host_loopback = true,
	};
}

static void begin(struct guest *g, const struct nat_config *c)
{
	int pair[2];
	struct err e = {0};

	memset(g, 0, sizeof(*g));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	g->fd = pair[0];
	g->nat_fd = pair[1];
	if (nat_create(&g->nat, c, g->nat_fd, &e) < 0)
		fail_msg("%s", e.msg);
	memset(g->gateway_mac, 0xff, 6);
}

static void finish(struct guest *g)
{
	nat_destroy(g->nat);
	close(g->fd);
	close(g->nat_fd);
}

static void transmit(struct guest *g, const uint8_t *frame, size_t len, const uint8_t *hdr)
{
	static uint8_t p[FRAME_MAX];

	memset(p, 0, FRAME_HDR);
	if (hdr)
		memcpy(p, hdr, FRAME_HDR);
	memcpy(p + FRAME_HDR, frame, len);
	assert_int_equal(send(g->fd, p, FRAME_HDR + len, 0), FRAME_HDR + len);
}

/* One round of the network. It may wait for a timer of its own, which only comes when nothing else does: a byte of garbage keeps
 * it from sleeping. Whether a frame came that `wanted` accepts: the last of g->buf then. */
static bool round_of(struct guest *g, bool (*wanted)(const uint8_t *frame, size_t len))
{
	const uint8_t none[FRAME_HDR] = {0};
	ssize_t n;

	assert_int_equal(send(g->fd, none, sizeof(none), 0), sizeof(none));
	assert_true(nat_round(g->nat));
	while ((n = recv(g->fd, g->buf, sizeof(g->buf), 0)) > 0) {
		g->len = (size_t)n - FRAME_HDR;
		if (wanted && wanted(g->buf + FRAME_HDR, g->len))
			return true;
	}
	return false;
}

/* Lets the network work until such a frame comes: the host's own loopback may take its time. NULL: none came. */
static const uint8_t *frame_of(struct guest *g, bool (*wanted)(const uint8_t *frame, size_t len))
{
	uint64_t end = clock_ns() + WAIT_NS;

	while (clock_ns() < end)
		if (round_of(g, wanted))
			return g->buf + FRAME_HDR;
	return NULL;
}

/* Lets it work for a while. */
static void rounds(struct guest *g)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		(void)round_of(g, NULL);
}

static void ethernet(uint8_t *f, const struct guest *g, uint16_t type)
{
	memcpy(f, g->gateway_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, type);
}

/* IPv4 header for a payload; returns the length of the whole frame. */
static size_t ipv4(uint8_t *f, const struct guest *g, uint8_t proto, uint32_t src, uint32_t dst,
		   size_t payload)
{
	uint8_t *ip = f + 14;
	uint16_t sum;

	ethernet(f, g, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)(20 + payload));
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	sum = (uint16_t)~frame_sum(ip, 20);
	memcpy(ip + 10, &sum, 2);
	return 34 + payload;
}

static bool is_arp_reply(const uint8_t *f, size_t len)
{
	return len >= 42 && get16(f + 12) == 0x0806 && get16(f + 20) == 2;
}

static bool is_echo_reply(const uint8_t *f, size_t len)
{
	return len >= 42 && get16(f + 12) == 0x0800 && f[23] == 1 && f[34] == 0;
}

static bool is_udp(const uint8_t *f, size_t len)
{
	return len >= 42 && get16(f + 12) == 0x0800 && f[23] == 17;
}

static bool is_tcp_syn(const uint8_t *f, size_t len)
{
	return len >= 54 && get16(f + 12) == 0x0800 && f[23] == 6 && (f[47] & 0x12) == 2;
}

/* Who has the gateway's address? */
static void arp(struct guest *g)
{
	uint8_t f[42] = {0};
	const uint8_t *r;

	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	f[18] = 6;
	f[19] = 4;
	put16(f + 20, 1);
	memcpy(f + 22, guest_mac, 6);
	put32(f + 28, GUEST_IP);
	put32(f + 38, GATEWAY_IP);
	transmit(g, f, sizeof(f), NULL);
	r = frame_of(g, is_arp_reply);
	assert_non_null(r);
	memcpy(g->gateway_mac, r + 22, 6);
}

static void arp_and_ping(void **state)
{
	struct nat_config c = config();
	struct guest g;
	uint8_t f[34 + 64];
	const uint8_t *r;
	uint16_t sum;
	size_t len;

	(void)state;
	begin(&g, &c);
	arp(&g);
	memset(f, 0x5a, sizeof(f));
	len = ipv4(f, &g, 1, GUEST_IP, GATEWAY_IP, 64);
	memset(f + 34, 0, 8);
	f[34] = 8;
	put16(f + 38, 77);
	sum = (uint16_t)~frame_sum(f + 34, 64);
	memcpy(f + 36, &sum, 2);
	transmit(&g, f, len, NULL);
	r = frame_of(&g, is_echo_reply);
	assert_non_null(r);
	assert_int_equal(get16(r + 38), 77);
	assert_memory_equal(r + 42, f + 42, 56);
	assert_int_equal(frame_sum(r + 34, 64), 0xffff);
	finish(&g);
}

static void dhcp(void **state)
{
	struct nat_config c = config();
	struct guest g;
	uint8_t f[34 + 8 + 300] = {0}, *b = f + 42;
	const uint8_t *r;
	size_t len;

	(void)state;
	c.hostname = "sparrow";
	begin(&g, &c);
	len = ipv4(f, &g, 17, 0, 0xffffffffu, 308);
	put16(f + 34, 68);
	put16(f + 36, 67);
	put16(f + 38, 308);
	b[0] = 1;
	b[1] = 1;
	b[2] = 6;
	put32(b + 4, 0x12345678);
	memcpy(b + 28, guest_mac, 6);
	put32(b + 236, 0x63825363);
	memcpy(b + 240, "\x35\x01\x01\xff", 4);
	transmit(&g, f, len, NULL);
	r = frame_of(&g, is_udp);
	assert_non_null(r);
	assert_int_equal(get16(r + 36), 68);
	assert_int_equal(get16(r + 42 + 16) << 16 | get16(r + 42 + 18), GUEST_IP); /* yiaddr */
	assert_non_null(memmem(r, g.len, "sparrow", 7));
	finish(&g);
}

static int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, type | SOCK_NONBLOCK, 0);

	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return s;
}

/* A datagram to the host's loopback by way of the gateway, with the checksum left to the other side. */
static void send_udp(struct guest *g, uint16_t port, const char *text)
{
	uint8_t f[34 + 8 + 64] = {0}, hdr[FRAME_HDR] = {1, 0, 0, 0, 0, 0, 34, 0, 6, 0};
	uint8_t pseudo[12] = {0};
	size_t n = 8 + strlen(text), len = ipv4(f, g, 17, GUEST_IP, GATEWAY_IP, n);
	uint16_t sum;

	put16(f + 34, 4000);
	put16(f + 36, port);
	put16(f + 38, (uint16_t)n);
	memcpy(f + 42, text, n - 8);
	put32(pseudo, GUEST_IP);
	put32(pseudo + 4, GATEWAY_IP);
	pseudo[9] = 17;
	put16(pseudo + 10, (uint16_t)n);
	sum = frame_sum(pseudo, 12);
	memcpy(f + 40, &sum, 2);
	transmit(g, f, len, hdr);
}

static void udp_there_and_back(void **state)
{
	struct nat_config c = config();
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	struct guest g;
	char text[64];
	const uint8_t *r;
	uint16_t port;
	ssize_t n = -1;
	int s = host_socket(SOCK_DGRAM, &port);

	(void)state;
	begin(&g, &c);
	arp(&g);
	send_udp(&g, port, "question?");
	for (uint64_t end = clock_ns() + WAIT_NS; n < 0 && clock_ns() < end;) {
		(void)round_of(&g, NULL);
		n = recvfrom(s, text, sizeof(text), 0, (struct sockaddr *)&from, &from_len);
	}
	assert_int_equal(n, 9);
	assert_memory_equal(text, "question?", 9);
	assert_int_equal(sendto(s, "answer", 6, 0, (struct sockaddr *)&from, from_len), 6);
	r = frame_of(&g, is_udp);
	assert_non_null(r);
	assert_int_equal(get16(r + 36), 4000);
	assert_int_equal(get16(r + 34), port);
	assert_memory_equal(r + 42, "answer", 6);
	finish(&g);
	close(s);
}

static void loopback_is_shut(void **state)
{
	struct nat_config c = config();
	struct guest g;
	char text[64];
	uint16_t port;
	int s = host_socket(SOCK_DGRAM, &port);

	(void)state;
	c.host_loopback = false;
	begin(&g, &c);
	arp(&g);
	send_udp(&g, port, "let me in");
	rounds(&g);
	assert_true(recv(s, text, sizeof(text), 0) < 0);
	finish(&g);
	close(s);
}

static void forwarded_port(void **state)
{
	struct nat_config c = config(), second;
	/* An address of our own: there is no connection from it, and nobody takes the port that is free. */
	uint32_t own = 0x7f000002u + ((uint32_t)getpid() & 0xffff) * 4;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(own)};
	struct guest g, h;
	struct err e = {0};
	const uint8_t *r;
	uint16_t port;
	int s = host_socket(SOCK_STREAM, &port), to;

	(void)state;
	close(s);
	c.n_forwards = 1;
	c.forward[0] =
		(struct portfwd){.host4.s_addr = htonl(own), .host_port = port, .guest_port = 80};
	begin(&g, &c);
	arp(&g);

	second = c;
	memset(&h, 0, sizeof(h));
	assert_true(nat_create(&h.nat, &second, g.nat_fd, &e) < 0); /* somebody has the port */
	assert_non_null(strstr(e.msg, "in use"));
	assert_null(h.nat);

	to = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	a.sin_port = htons(port);
	(void)connect(to, (struct sockaddr *)&a, sizeof(a));
	r = frame_of(&g, is_tcp_syn);
	assert_non_null(r);
	assert_int_equal(get16(r + 36), 80);
	assert_int_equal(get16(r + 30) << 16 | get16(r + 32), GUEST_IP);
	close(to);
	finish(&g);
}

/* Whatever a guest sends, the network goes on for it. */
static void garbage(void **state)
{
	struct nat_config c = config();
	struct guest g;
	uint8_t f[600];

	(void)state;
	srandom(1);
	begin(&g, &c);
	arp(&g);
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = 14 + (size_t)random() % (sizeof(f) - 14);
		uint8_t hdr[FRAME_HDR];

		for (size_t k = 0; k < len; k++)
			f[k] = (uint8_t)random();
		for (size_t k = 0; k < sizeof(hdr); k++)
			hdr[k] = (uint8_t)random();
		ethernet(f, &g, i & 1 ? 0x0800 : (uint16_t)(i & 2 ? 0x0806 : 0x86dd));
		if (i & 1 && len > 34)
			f[14] = 0x45;
		transmit(&g, f, len, hdr);
		if (i % 20 == 19)
			rounds(&g);
	}
	while (recv(g.fd, g.buf, sizeof(g.buf), 0) > 0)
		;
	arp(&g);
	shutdown(g.fd, SHUT_RDWR);
	for (unsigned i = 0; i < ROUNDS; i++)
		if (!nat_round(g.nat)) {
			finish(&g);
			return;
		}
	fail_msg("the end of the socket was not seen");
}

static void checksums(void **state)
{
	uint8_t buf[FRAME_HDR + 300];

	(void)state;
	/* Against the sum written down as in RFC 1071, for every length and alignment. */
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len < 200; len++) {
		for (size_t at = 0; at < 4; at++) {
			uint32_t sum = 0;

			for (size_t k = 0; k < len; k++)
				sum += (uint32_t)buf[at + k] << (k & 1 ? 8 : 0);
			while (sum >> 16)
				sum = (sum & 0xffff) + (sum >> 16);
			assert_int_equal(frame_sum(buf + at, len), sum);
		}
	}
	memset(buf, 0, sizeof(buf));
	buf[0] = 1;
	assert_int_equal(frame_from_guest(buf, FRAME_HDR + 13), 0);
	assert_int_equal(frame_from_guest(buf, 3), 0);
	buf[6] = 14;
	buf[8] = 100;
	assert_int_equal(frame_from_guest(buf, FRAME_HDR + 115), 0);
	assert_int_equal(frame_from_guest(buf, FRAME_HDR + 116), 116);
	assert_int_equal(buf[FRAME_HDR + 114], 0xff); /* all zero: 0xffff, not "none" */
	buf[6] = 13;
	assert_int_equal(frame_from_guest(buf, sizeof(buf)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksums),
		cmocka_unit_test(arp_and_ping),
		cmocka_unit_test(dhcp),
		cmocka_unit_test(udp_there_and_back),
		cmocka_unit_test(loopback_is_shut),
		cmocka_unit_test(forwarded_port),
		cmocka_unit_test(garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
