/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_conn.h - between the two halves of the vsock device: vsock.c (packets, queues) and vsock_conn.c (connections, their
 * sockets and credit).
 */
#ifndef LODGE_VIRTIO_VSOCK_CONN_H
#define LODGE_VIRTIO_VSOCK_CONN_H

#include "virtio/vsock.h"

#define VSOCK_BUF \
	65536u /* bytes of a connection from the guest that may wait for the host's reader */

enum vsock_op {
	OP_REQUEST = 1,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_CREDIT_UPDATE,
	OP_CREDIT_REQUEST,
	OPS
};

#define SHUT_F_RECV 1u
#define SHUT_F_SEND 2u
#define SHUT_F_BOTH 3u

/* §5.10.6, all little-endian. */
struct vsock_hdr {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len;
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_hdr) == 44, "as in the specification");

enum vsock_state {
	VSOCK_HELLO,	  /* a client of the listening socket has not said which port yet */
	VSOCK_REQUESTED,  /* the guest was asked (or will be: `due`) */
	VSOCK_CONNECTING, /* the guest asked; connect() is under way */
	VSOCK_OPEN,
	VSOCK_DEAD, /* no socket any more; stays until the guest has been told */
};

struct vsock_conn {
	struct vsock *vs;
	struct vsock_conn *next;
	enum vsock_state state;
	uint32_t id; /* never the same twice in 2^32 */
	uint32_t host_port, guest_port;
	char hello[32]; /* HELLO: what came of the line so far */
	unsigned n_hello;
	uint32_t due;	     /* bit: op to be sent */
	uint32_t shut_flags; /* of a SHUTDOWN that is due */

	int fd;
	struct loop_fd *watch;
	bool readable;	     /* there may be something to read: not watched meanwhile */
	bool want_out;	     /* waits for EPOLLOUT */
	bool eof;	     /* our client sends no more */
	uint32_t guest_shut; /* flags of the guest's SHUTDOWNs */

	/* Credit (§5.10.6.3), in bytes since the beginning, modulo 2^32. */
	uint32_t tx_cnt;		       /* sent to the guest */
	uint32_t peer_buf_alloc, peer_fwd_cnt; /* what the guest said */
	uint32_t fwd_cnt, fwd_told;	       /* taken by our client; and as the guest knows it */

	/* From the guest, not taken by our client yet. NULL: never needed. */
	uint8_t *buf;
	uint32_t head, used;
};

struct vsock {
	struct virtio_dev v;
	struct vsock_config cfg;
	struct loop_fd *listen;
	struct vsock_conn *conns; /* served in turn: who was served goes to the end */
	unsigned n_conns;
	uint32_t last_id, last_port;
	/* Refusals for which there is no connection. */
	struct {
		uint32_t host_port, guest_port;
	} rst[64];
	unsigned n_rst;
	bool reset_due; /* the guest is to hear that all connections are gone */
	uint64_t n_opened, n_refused, n_in, n_out, n_bad;
};

/* A new connection, on the list; NULL: there are too many, or no memory. */
struct vsock_conn *vsock_conn_new(struct vsock *vs, enum vsock_state state);
/* Off the list; socket closed. */
void vsock_conn_free(struct vsock_conn *c);
/* Ends it; the guest is told by RST. */
void vsock_conn_kill(struct vsock_conn *c);
/* Makes fd its socket. False: it could not be watched; fd is closed. */
bool vsock_conn_socket(struct vsock_conn *c, int fd);
/* The guest's bytes, from `off` of the chain: to the socket, and what it does not take into the buffer. False: the
 * guest sent more than it may. */
bool vsock_conn_write(struct vsock_conn *c, const struct virtq_chain *chain, uint64_t off,
		      uint32_t len);
/* Text of our own, to a client that has just begun to listen. */
void vsock_conn_say(struct vsock_conn *c, const char *text);
/* How many bytes the guest has room for. */
uint32_t vsock_conn_credit(const struct vsock_conn *c);
/* The guest is done with one direction or both: as far as the buffer is empty, so is the socket. */
void vsock_conn_shut(struct vsock_conn *c);
/* Reads into the in part of a chain behind the header. Bytes; 0: nothing now (c->eof may have come true). */
uint32_t vsock_conn_read(struct vsock_conn *c, const struct virtq_chain *chain);
/* Somebody connected to the listening socket. */
void vsock_conn_accept(void *ctx, int fd, uint32_t events);

/* vsock.c: something is to be sent to the guest. */
void vsock_pump(struct vsock *vs);

#endif
