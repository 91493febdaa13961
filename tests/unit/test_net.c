/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_net.c - the front of network back-ends over a socket pair: both ways, pressure, bad packets, limits, ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "util/clock.h"

#define FRAME 100u

struct card {
	struct loop *loop;
	struct net_port *port;
	int peer;
	unsigned room; /* packets that the card still takes */
	unsigned got, batches, writable, lost;
	uint8_t last[NET_PACKET_MAX];
	size_t last_len;
};

static bool receive(void *ctx, uint8_t *packet, size_t len)
{
	struct card *c = ctx;

	if (!c->room)
		return false;
	c->room--;
	c->got++;
	memcpy(c->last, packet, len);
	c->last_len = len;
	return true;
}

static void writable(void *ctx)
{
	((struct card *)ctx)->writable++;
}

static void link_lost(void *ctx)
{
	((struct card *)ctx)->lost++;
}

static void received(void *ctx)
{
	struct card *c = ctx;

	c->batches++;
	assert_true(c->got > 0);
}

static const struct net_port_ops ops = {receive, received, writable, link_lost};

static int setup(void **state)
{
	static struct card c;
	static int pair[2];

	memset(&c, 0, sizeof(c));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(loop_create(&c.loop, NULL), 0);
	assert_int_equal(net_port_create(&c.port, c.loop, NET_KIND_SOCKET, pair[0], &ops, &c, NULL),
			 0);
	c.peer = pair[1];
	c.room = 1000;
	*state = &c;
	return 0;
}

static int teardown(void **state)
{
	struct card *c = *state;

	net_port_destroy(c->port);
	loop_destroy(c->loop);
	close(c->peer);
	return 0;
}

/* Rounds until nothing happens any more. */
static void settle(struct card *c)
{
	for (unsigned i = 0; i < 50; i++)
		(void)loop_run_once(c->loop, 0);
}

static void packet(uint8_t *p, uint8_t fill)
{
	memset(p, 0, NET_HDR_SIZE);
	memset(p + NET_HDR_SIZE, fill, FRAME);
}

static void both_ways(void **state)
{
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME], q[512];
	struct iovec iov[3] = {{p, 5}, {p + 5, 10}, {p + 15, sizeof(p) - 15}};
	struct net_stats st;

	packet(p, 7);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	settle(c);
	assert_int_equal(c->got, 0); /* not asked for yet */
	net_port_receive(c->port, true);
	settle(c);
	assert_int_equal(c->got, 1);
	assert_memory_equal(c->last, p, sizeof(p));

	p[10] = 0xff; /* num_buffers, which is not the guest's */
	p[0] = NET_HDR_F_DATA_VALID;
	assert_int_equal(net_port_send(c->port, iov, 3), 0);
	assert_int_equal(recv(c->peer, q, sizeof(q), 0), sizeof(p));
	assert_int_equal(q[10], 1);
	assert_int_equal(q[0], 0);
	assert_memory_equal(q + NET_HDR_SIZE, p + NET_HDR_SIZE, FRAME);

	net_port_stats(c->port, &st);
	assert_int_equal(st.rx_packets, 1);
	assert_int_equal(st.rx_bytes, FRAME);
	assert_int_equal(st.tx_packets, 1);
	assert_int_equal(st.tx_bytes, FRAME);
}

static void no_room_keeps_packets(void **state)
{
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME];

	c->room = 3;
	net_port_receive(c->port, true);
	for (uint8_t i = 0; i < 10; i++) {
		packet(p, i);
		assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	}
	settle(c);
	assert_int_equal(c->got, 3);
	net_port_receive(c->port, true); /* too early: refused again */
	settle(c);
	assert_int_equal(c->got, 3);
	c->room = 1;
	net_port_receive(c->port, true);
	settle(c);
	assert_int_equal(c->got, 4);
	assert_int_equal(c->last[NET_HDR_SIZE], 3);
	c->room = 100;
	net_port_receive(c->port, true);
	settle(c);
	assert_int_equal(c->got, 10);
	assert_in_range(c->batches, 3, 4);
	assert_int_equal(c->last[NET_HDR_SIZE], 9);
	net_port_receive(c->port, false);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	settle(c);
	assert_int_equal(c->got, 10);
}

static void pressure_from_the_guest(void **state)
{
	struct card *c = *state;
	static uint8_t p[NET_PACKET_MAX], q[NET_PACKET_MAX + 10];
	struct iovec iov = {p, sizeof(p)};
	unsigned sent = 0, got = 0;

	while (net_port_send(c->port, &iov, 1) == 0) {
		sent++;
		assert_true(sent < 10000);
	}
	settle(c);
	assert_int_equal(c->writable, 0);
	while (recv(c->peer, q, sizeof(q), 0) == (ssize_t)sizeof(p))
		got++;
	assert_int_equal(got, sent);
	settle(c);
	assert_int_equal(c->writable, 1);
	settle(c);
	assert_int_equal(c->writable, 1); /* once */
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
}

static void bad_packets(void **state)
{
	static const struct {
		uint8_t hdr[NET_HDR_SIZE];
		size_t len;
		bool good;
	} t[] = {
		{{0}, FRAME, true},
		{{0}, NET_FRAME_MIN, true},
		{{0}, NET_FRAME_MIN - 1, false},
		{{0}, 0, false},
		{{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, FRAME, true},
		{{1, 0, 0, 0, 0, 0, 13, 0, 16, 0}, FRAME, false}, /* begins in the Ethernet header */
		{{1, 0, 0, 0, 0, 0, 84, 0, 15, 0}, FRAME, false}, /* one byte behind the end */
		{{1, 0, 0, 0, 0, 0, 84, 0, 14, 0}, FRAME, true},
		{{1, 0, 0, 0, 0, 0, 255, 255, 255, 255}, FRAME, false},
		{{1, 1, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, true},    /* TCPv4 */
		{{1, 4, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, true},    /* TCPv6 */
		{{1, 0x81, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, true}, /* with ECN */
		{{1, 3, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, false}, /* UDP fragments: not offered */
		{{1, 5, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, false},
		{{1, 1, 54, 0, 0, 0, 34, 0, 16, 0}, FRAME, false}, /* no segment size */
		{{1, 1, 101, 0, 20, 0, 34, 0, 16, 0}, FRAME, false}, /* headers longer than the frame */
		{{0, 1, 54, 0, 20, 0, 34, 0, 16, 0}, FRAME, false}, /* without a checksum to fill in */
	};
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME], q[512];
	struct net_stats st;

	net_port_receive(c->port, true);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct iovec iov = {p, NET_HDR_SIZE + t[i].len};
		unsigned got = c->got;

		memset(p, 0, sizeof(p));
		memcpy(p, t[i].hdr, NET_HDR_SIZE);
		assert_int_equal(net_port_send(c->port, &iov, 1), 0);
		if ((recv(c->peer, q, sizeof(q), 0) > 0) != t[i].good)
			fail_msg("packet %u from the guest", i);
		assert_int_equal(send(c->peer, p, iov.iov_len, 0), iov.iov_len);
		settle(c);
		if (c->got - got != t[i].good)
			fail_msg("packet %u to the guest", i);
	}
	/* Shorter than a header; longer than any packet. */
	assert_int_equal(send(c->peer, p, 5, 0), 5);
	settle(c);
	net_port_stats(c->port, &st);
	assert_true(st.rx_dropped > 5);
	assert_int_equal(st.rx_dropped - 1, st.tx_dropped);
	assert_int_equal(c->lost, 0);
}

static void too_large(void **state)
{
	struct card *c = *state;
	static uint8_t p[NET_PACKET_MAX + 1];
	struct iovec iov = {p, sizeof(p)}, many[NET_IOV_MAX + 2];
	struct net_stats st;

	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	net_port_stats(c->port, &st);
	assert_int_equal(st.tx_dropped, 1);
	net_port_receive(c->port, true);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	settle(c);
	assert_int_equal(c->got, 0);
	iov.iov_len--;
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	assert_int_equal(send(c->peer, p, sizeof(p) - 1, 0), sizeof(p) - 1);
	settle(c);
	assert_int_equal(c->got, 1);
	/* More pieces than can go at once. */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct iovec){p, 20};
	assert_int_equal(net_port_send(c->port, many, ARRAY_SIZE(many)), 0);
	net_port_stats(c->port, &st);
	assert_int_equal(st.tx_dropped, 2);
	assert_int_equal(st.tx_packets, 1);
}

static void link_down(void **state)
{
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME], q[512];
	struct iovec iov = {p, sizeof(p)};

	packet(p, 1);
	net_port_receive(c->port, true);
	net_port_set_link(c->port, false);
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	assert_true(recv(c->peer, q, sizeof(q), 0) < 0);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	settle(c);
	assert_int_equal(c->got, 0);
	net_port_set_link(c->port, true);
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	assert_int_equal(recv(c->peer, q, sizeof(q), 0), sizeof(p));
}

static void peer_goes(void **state)
{
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME];
	struct iovec iov = {p, sizeof(p)};

	packet(p, 1);
	net_port_receive(c->port, true);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	close(c->peer);
	settle(c);
	assert_int_equal(c->got, 1); /* what was sent before the end comes */
	assert_int_equal(c->lost, 1);
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	settle(c);
	assert_int_equal(c->lost, 1);
	c->peer = dup(0);
}

static void limits(void **state)
{
	struct card *c = *state;
	uint8_t p[NET_HDR_SIZE + FRAME], q[512];
	struct iovec iov = {p, sizeof(p)};
	struct net_stats st;
	unsigned sent = 0;

	packet(p, 1);
	/* One packet an hour, one at once. */
	net_port_set_limit(c->port, &(struct bucket_config){0},
			   &(struct bucket_config){.rate = 1, .burst = 3600});
	for (unsigned i = 0; i < 4000 && net_port_send(c->port, &iov, 1) == 0; i++) {
		sent++;
		assert_int_equal(recv(c->peer, q, sizeof(q), 0), sizeof(p));
	}
	assert_in_range(sent, 3599, 3700);
	settle(c);
	assert_int_equal(c->writable, 0);
	/* Off: who waits may go on at once. */
	net_port_set_limit(c->port, &(struct bucket_config){0}, &(struct bucket_config){0});
	settle(c);
	assert_int_equal(c->writable, 1);
	assert_int_equal(net_port_send(c->port, &iov, 1), 0);
	net_port_stats(c->port, &st);
	assert_int_equal(st.n_throttled, 1);

	/* To the guest: the second waits, none is lost. */
	net_port_set_limit(c->port, &(struct bucket_config){.rate = 1, .burst = 1},
			   &(struct bucket_config){0});
	net_port_receive(c->port, true);
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	assert_int_equal(send(c->peer, p, sizeof(p), 0), sizeof(p));
	settle(c);
	assert_int_equal(c->got, 1);
	net_port_set_limit(c->port, &(struct bucket_config){0}, &(struct bucket_config){0});
	settle(c);
	assert_int_equal(c->got, 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_ways),
		T(no_room_keeps_packets),
		T(pressure_from_the_guest),
		T(bad_packets),
		T(too_large),
		T(link_down),
		T(peer_goes),
		T(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
