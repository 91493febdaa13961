/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opener.h - how a VM process, which has no file system, gets a connection to PATH_PORT when its guest connects to a port.
 *
 * A SOCK_SEQPACKET pair: the VM process asks by a message of 12 bytes, and the process that started it answers each by the same
 * message with a result, and the connected socket if that is 0.
 */
#ifndef LODGE_PROTO_OPENER_H
#define LODGE_PROTO_OPENER_H

#include "util/base.h"

struct opener_answer {
	uint32_t id, port; /* of the question */
	int fd;		   /* the caller's; or -errno */
};

/* In the VM process. 0, or -errno: -EAGAIN when too many questions are open. */
int opener_ask(int sock, uint32_t port, uint32_t id);
/* 1: an answer; 0: none now; -errno: the other end is gone, or sends what it should not. */
int opener_take(int sock, struct opener_answer *a);

/* In the other one: answers one question, by a connection to the unix socket "PATH_PORT". 1; 0: none now; -errno. */
int opener_serve(int sock, const char *path);

#endif
