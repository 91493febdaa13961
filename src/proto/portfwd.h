/* SPDX-License-Identifier: Apache-2.0 */
/*
 * portfwd.h - port forwards of a user-mode network, as people write them.
 *
 *   [HOST:]PORT:GUESTPORT[/tcp|/udp]
 *
 * HOST is where the host listens: an IPv4 address, or an IPv6 address in brackets; left out it is 127.0.0.1,
 * so that nothing is open to the network unless it is asked for. A list of them is separated by commas.
 */
#ifndef LODGE_PROTO_PORTFWD_H
#define LODGE_PROTO_PORTFWD_H

#include <netinet/in.h>

#include "util/base.h"
#include "util/err.h"

#define PORTFWD_MAX 32u	     /* forwards of one network */
#define PORTFWD_TEXT_MAX 72u /* one of them as text, with its NUL */

struct portfwd {
	bool udp;
	bool v6;
	struct in_addr host4;		/* network byte order */
	struct in6_addr host6;		/* if v6 */
	uint16_t host_port, guest_port; /* 1..65535, host byte order */
};

/* One forward. -EINVAL with a sentence that names the part that is wrong. */
int portfwd_parse(const char *text, struct portfwd *out, struct err *e);
/* A comma list, "" for none; -EINVAL also for one given twice, -E2BIG for more than max. */
int portfwd_parse_list(const char *text, struct portfwd *out, unsigned max, unsigned *n,
		       struct err *e);
/* The same, whole: "127.0.0.1:8080:80/tcp". Returns buf. */
const char *portfwd_format(const struct portfwd *f, char *buf, size_t size);
/* The same listening socket? */
bool portfwd_collide(const struct portfwd *a, const struct portfwd *b);

#endif
