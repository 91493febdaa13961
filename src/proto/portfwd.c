/* SPDX-License-Identifier: Apache-2.0 */
/*
 * portfwd.c - reads and writes port forwards.
 */
#include "proto/portfwd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/opt.h"

static int bad(struct err *e, const char *text, const char *why)
{
	char shown[80];

	err_set(e, EINVAL, "the port forward \"%s\" %s", err_quote(shown, sizeof(shown), text), why);
	err_limit(e, "[HOST:]PORT:GUESTPORT[/tcp|/udp]");
	err_hint(e, "write for example 8080:80 or 0.0.0.0:5353:53/udp");
	return err_field(e, "publish", text);
}

static bool port(const char *text, uint16_t *out)
{
	uint64_t v;

	if (opt_parse_uint(text, 1, 65535, &v, NULL))
		return false;
	*out = (uint16_t)v;
	return true;
}

/* "a.b.c.d" or "[v6]"; cuts the text. */
static bool host(char *text, struct portfwd *out)
{
	size_t len = strlen(text);

	if (text[0] == '[' && len > 2 && text[len - 1] == ']') {
		text[len - 1] = '\0';
		out->v6 = true;
		return inet_pton(AF_INET6, text + 1, &out->host6) == 1;
	}
	return inet_pton(AF_INET, text, &out->host4) == 1;
}

int portfwd_parse(const char *text, struct portfwd *out, struct err *e)
{
	char buf[PORTFWD_TEXT_MAX], *slash, *guest, *colon;

	*out = (struct portfwd){.host4.s_addr = htonl(INADDR_LOOPBACK)};
	if (strlen(text) >= sizeof(buf))
		return bad(e, text, "is too long");
	strcpy(buf, text);
	slash = strchr(buf, '/');
	if (slash) {
		*slash++ = '\0';
		out->udp = !strcmp(slash, "udp");
		if (!out->udp && strcmp(slash, "tcp") != 0)
			return bad(e, text, "has a protocol that is neither tcp nor udp");
	}
	guest = strrchr(buf, ':');
	if (!guest)
		return bad(e, text, "has no port of the guest");
	*guest++ = '\0';
	if (!port(guest, &out->guest_port))
		return bad(e, text, "has a guest port that is not within 1..65535");
	/* The last colon in front of the host's port, which no bracket follows. */
	colon = strrchr(buf, ':');
	if (colon && strchr(colon, ']'))
		colon = NULL;
	if (!port(colon ? colon + 1 : buf, &out->host_port))
		return bad(e, text, "has a host port that is not within 1..65535");
	if (colon) {
		*colon = '\0';
		if (!host(buf, out))
			return bad(e, text, "has a host address that is neither IPv4 nor [IPv6]");
	}
	return 0;
}

bool portfwd_collide(const struct portfwd *a, const struct portfwd *b)
{
	if (a->udp != b->udp || a->v6 != b->v6 || a->host_port != b->host_port)
		return false;
	return a->v6 ? !memcmp(&a->host6, &b->host6, sizeof(a->host6)) :
		       a->host4.s_addr == b->host4.s_addr;
}

int portfwd_parse_list(const char *text, struct portfwd *out, unsigned max, unsigned *n,
		       struct err *e)
{
	char one[PORTFWD_TEXT_MAX];

	*n = 0;
	while (*text) {
		size_t len = strcspn(text, ",");
		int r;

		if (*n == max)
			return err_set(e, E2BIG,
				       "more than %u port forwards: a network has at most that many",
				       max);
		if (len >= sizeof(one))
			return bad(e, text, "is too long");
		memcpy(one, text, len);
		one[len] = '\0';
		r = portfwd_parse(one, &out[*n], e);
		if (r)
			return r;
		for (unsigned i = 0; i < *n; i++)
			if (portfwd_collide(&out[i], &out[*n]))
				return bad(e, one, "listens where another one listens already");
		++*n;
		text += len;
		if (*text == ',' && !*++text)
			return bad(e, "", "is empty: the list ends with a comma");
	}
	return 0;
}

const char *portfwd_format(const struct portfwd *f, char *buf, size_t size)
{
	char addr[INET6_ADDRSTRLEN] = "";

	inet_ntop(f->v6 ? AF_INET6 : AF_INET, f->v6 ? (const void *)&f->host6 : &f->host4, addr,
		  sizeof(addr));
	snprintf(buf, size, "%s%s%s:%u:%u/%s", f->v6 ? "[" : "", addr, f->v6 ? "]" : "",
		 f->host_port, f->guest_port, f->udp ? "udp" : "tcp");
	return buf;
}
