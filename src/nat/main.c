/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - lodge-nat: user-mode network of one VM, without privileges.
 *
 * The start-up story:
 *   1. Arguments: the numbers of two open descriptors, and what the network is to be.
 *   2. Close every other descriptor.
 *   3. Listen on the forwarded ports.
 *   4. Lock in (sandbox/sandbox.h): all layers but the network namespace; of files only /etc/resolv.conf, to read it. libslirp looks at it again and
 *      again for the host's name servers; a file that takes its place later is not seen.
 *   5. Say how it went on the status pipe, which then closes: a JSON object with the layers of the sandbox, or an error object.
 *   6. Move packets until the other end of the network socket is closed, or SIGTERM comes.
 *
 * The network socket (SOCK_SEQPACKET or a pair of datagram sockets) carries one frame a packet, with a virtio_net_hdr_v1 in
 * front, both ways. Network namespace and addresses are those of who started it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "nat/nat.h"
#include "proto/control.h"
#include "sandbox/sandbox.h"
#include "util/log.h"
#include "util/opt.h"

#define EXIT_USAGE 2
#define FDS_MAX 4096u /* a guest's connections */
#define THREADS_MAX 4u

extern const struct sandbox_filter sandbox_filter_nat; /* generated */

struct options {
	uint64_t fd, status_fd, mtu;
	unsigned sandbox; /* enum config_sandbox */
	const char *network, *forward, *hostname, *group;
	bool no_ipv6, host_loopback, restricted, stay, help, version;
};

#define AT(field) offsetof(struct options, field)

static const struct opt_def table[] = {
	{"fd", 0, OPT_UINT, AT(fd), "N", "socket of the VM's network card", 3, 65535, NULL},
	{"status-fd", 0, OPT_UINT, AT(status_fd), "N", "pipe for the result of the start", 3, 65535,
	 NULL},
	{"network", 0, OPT_TEXT, AT(network), "A.B.C.D/N", "IPv4 network (10.0.2.0/24)", 0, 0, NULL},
	{"mtu", 0, OPT_UINT, AT(mtu), "BYTES", "largest packet", NAT_MTU_MIN, NAT_MTU_MAX, NULL},
	{"forward", 0, OPT_TEXT, AT(forward), "LIST", "port forwards", 0, 0, NULL},
	{"hostname", 0, OPT_TEXT, AT(hostname), "NAME", "the guest's name, by DHCP", 0, 0, NULL},
	{"no-ipv6", 0, OPT_FLAG, AT(no_ipv6), "", "IPv4 only", 0, 0, NULL},
	{"host-loopback", 0, OPT_FLAG, AT(host_loopback), "",
	 "the gateway's address is the host's 127.0.0.1", 0, 0, NULL},
	{"sandbox", 0, OPT_CHOICE, AT(sandbox), "WORD", "on, strict, trace or off (on)", 0, 0,
	 config_sandbox_names},
	{"group", 0, OPT_TEXT, AT(group), "WORD", "about the control group that it was put into", 0,
	 0, NULL},
	{"restricted", 0, OPT_FLAG, AT(restricted), "", "forwards only, no way out", 0, 0, NULL},
	{"stay", 0, OPT_FLAG, AT(stay), "", "go on when the parent ends", 0, 0, NULL},
	{"version", 0, OPT_FLAG, AT(version), "", "version", 0, 0, NULL},
	{"help", 'h', OPT_FLAG, AT(help), "", "this help", 0, 0, NULL},
};

/* fd4c:6f64:6765::/64, "Lodge" in a locally assigned prefix (RFC 4193). */
static const struct in6_addr prefix6 = {
	.s6_addr = {0xfd, 0x4c, 0x6f, 0x64, 0x67, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}};

static volatile sig_atomic_t ended;

static void on_term(int sig)
{
	(void)sig;
	ended = 1;
}

static int parse_network(const char *text, struct nat_config *c, struct err *e)
{
	char addr[INET_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	uint64_t bits = 0;

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		goto bad;
	memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = '\0';
	if (inet_pton(AF_INET, addr, &c->network) != 1 ||
	    opt_parse_uint(slash + 1, 8, 27, &bits, NULL))
		goto bad;
	c->mask.s_addr = htonl(~0u << (32 - bits));
	if (!(c->network.s_addr & ~c->mask.s_addr))
		return 0;
bad:
	err_set(e, EINVAL, "\"%s\" is not an IPv4 network: write for example 10.0.2.0/24", text);
	err_limit(e, "A.B.C.0/8..27");
	return err_field(e, "network", text);
}

static int configure(const struct options *o, struct nat_config *c, struct err *e)
{
	int r;

	*c = (struct nat_config){.ipv6 = !o->no_ipv6,
				 .prefix6 = prefix6,
				 .mtu = (unsigned)o->mtu,
				 .hostname = o->hostname,
				 .host_loopback = o->host_loopback,
				 .restricted = o->restricted};
	r = parse_network(o->network, c, e);
	if (r == 0 && o->forward)
		r = portfwd_parse_list(o->forward, c->forward, PORTFWD_MAX, &c->n_forwards, e);
	return r;
}

/* 2. The two numbers may come in either order. */
static void close_others(unsigned a, unsigned b)
{
	unsigned low = MIN(a, b), high = MAX(a, b);

	if (low > 3)
		(void)close_range(3, low - 1, 0);
	if (high > low + 1)
		(void)close_range(low + 1, high - 1, 0);
	(void)close_range(high + 1, ~0u, 0);
}

/* 4. */
static int lock_in(const struct options *o, struct sandbox *s, struct err *e)
{
	const struct sandbox_config sc = {.filter = &sandbox_filter_nat,
					  .network = true,
					  .group = o->group,
					  .keep = "/etc/resolv.conf",
					  .max_fds = FDS_MAX,
					  .max_threads = THREADS_MAX,
					  .max_file = 1,
					  .trap = o->sandbox == CONFIG_SANDBOX_TRACE};
	struct sigaction ignore = {.sa_handler = SIG_IGN}, term = {.sa_handler = on_term};
	int death = o->stay ? 0 : SIGKILL;

	if (o->stay) {
		(void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
		(void)dup2(STDIN_FILENO,
			   STDERR_FILENO); /* nobody reads it, but may wait for its end */
	}
	/* seccomp nat: rt_sigaction */
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGTERM, &term, NULL);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, death, 0, 0, 0);
	if (o->sandbox == CONFIG_SANDBOX_OFF) {
		sandbox_none(s, "--sandbox off");
		return 0;
	}
	sandbox_isolate(s, &sc);
	(void)prctl(PR_SET_PDEATHSIG, death, 0, 0, 0); /* a change of user has cleared it */
	sandbox_seal(s, &sc);
	return o->sandbox == CONFIG_SANDBOX_STRICT ? sandbox_missing(s, e) : 0;
}

/* 5. */
static int report(int status_fd, const struct err *e)
{
	_autojson json_t *j = control_error_json(e);
	_autofree char *text = j ? json_text(j) : NULL;

	if (!text || write(status_fd, text, strlen(text)) < 0)
		log_error("%s", e->msg);
	return 1;
}

/* {"sandbox":[...]}: it runs, and this is how it is locked in. */
static void report_sandbox(int status_fd, const struct sandbox *s)
{
	_autojson json_t *j = json_pack("{s:o*}", "sandbox", sandbox_json(s));
	_autofree char *text = j ? json_text(j) : NULL;

	if (text && write(status_fd, text, strlen(text)) < 0)
		log_warn("cannot tell of the sandbox");
}

int main(int argc, char **argv)
{
	struct options o = {.mtu = 65520, .network = "10.0.2.0/24"};
	struct opt_result res = {0};
	struct nat_config cfg;
	struct nat *nat = NULL;
	struct sandbox sandbox;
	struct err e = {0};

	log_init("lodge-nat", NULL);
	if (opt_parse(table, ARRAY_SIZE(table), argc - 1, argv + 1, &o, &res, &e)) {
		log_error("%s", e.msg);
		return EXIT_USAGE;
	}
	if (o.version || o.help) {
		puts("lodge-nat " LODGE_VERSION ": user-mode network of one VM; started by lodge");
		if (o.help)
			opt_print_help(table, ARRAY_SIZE(table), stdout);
		return 0;
	}
	if (!o.fd || !o.status_fd || o.fd == o.status_fd) {
		log_error(
			"--fd and --status-fd are needed; lodge-nat is not meant to be started by hand");
		return EXIT_USAGE;
	}
	close_others((unsigned)o.fd, (unsigned)o.status_fd);
	if (configure(&o, &cfg, &e) < 0 || nat_create(&nat, &cfg, (int)o.fd, &e) < 0 ||
	    lock_in(&o, &sandbox, &e) < 0)
		return report((int)o.status_fd, &e);
	report_sandbox((int)o.status_fd, &sandbox);
	close((int)o.status_fd);
	while (!ended && nat_round(nat))
		;
	nat_destroy(nat);
	return 0;
}
