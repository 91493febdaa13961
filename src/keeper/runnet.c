/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runnet.c - network cards of `lodge run`: options, addresses, and what is behind a card.
 *
 * A user network is a process of its own, lodge-nat, with one end of a socket pair; the VM gets the other. A tap device is
 * opened here, a socket in runnet_socket.c. All are made after everything else has been checked, and are gone when the VM is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/run.h"
#include "proto/control.h"
#include "proto/portfwd.h"
#include "sandbox/cgroup.h"

#define NET_USER_MTU 32000u  /* libslirp offers a window of 64 KiB and no more: two packets of it */
#define NET_VNET_HDR_SIZE 12 /* virtio_net_hdr_v1 */
#define NET_ERROR_TEXT 8192u
#define HOSTNAME_MAX 32u /* libslirp keeps no more of it */

struct net_words {
	const char *kind, *id, *mac, *ifname, *network, *hostname, *path;
	uint64_t mtu, queues, bps, bps_burst, pps, pps_burst, fd;
	bool ipv6, host_loopback, restricted, link, listen;
};

#define AT(field) offsetof(struct net_words, field)

static const struct opt_def net_keys[] = {
	{"kind", 0, OPT_TEXT, AT(kind), "KIND", "", 0, 0, NULL},
	{"id", 0, OPT_TEXT, AT(id), "NAME", "name of the card (net0, net1, ...)", 0, 0, NULL},
	{"mac", 0, OPT_TEXT, AT(mac), "ADDRESS", "its address (random)", 0, 0, NULL},
	{"mtu", 0, OPT_UINT, AT(mtu), "BYTES", "largest packet (user: 32000)", CONFIG_NET_MTU_MIN,
	 CONFIG_NET_MTU_MAX, NULL},
	{"queues", 0, OPT_UINT, AT(queues), "N", "queue pairs (1)", 1, CONFIG_NET_QUEUES_MAX, NULL},
	{"bps", 0, OPT_SIZE, AT(bps), "SIZE", "bytes a second each way, at most", 1, INT64_MAX,
	 NULL},
	{"bps-burst", 0, OPT_SIZE, AT(bps_burst), "SIZE", "bytes at once after a rest", 1,
	 INT64_MAX, NULL},
	{"pps", 0, OPT_UINT, AT(pps), "N", "packets a second each way, at most", 1, INT64_MAX, NULL},
	{"pps-burst", 0, OPT_UINT, AT(pps_burst), "N", "packets at once after a rest", 1, INT64_MAX,
	 NULL},
	{"link", 0, OPT_FLAG, AT(link), "", "the cable is plugged in (on)", 0, 0, NULL},
	{"ifname", 0, OPT_TEXT, AT(ifname), "NAME", "tap: the host's interface", 0, 0, NULL},
	{"path", 0, OPT_TEXT, AT(path), "FILE", "socket: its name, where the other end listens", 0,
	 0, NULL},
	{"listen", 0, OPT_FLAG, AT(listen), "",
	 "socket: this end makes the name and waits for the other (off)", 0, 0, NULL},
	{"fd", 0, OPT_UINT, AT(fd), "N", "socket: one that is open already", 3, INT32_MAX, NULL},
	{"network", 0, OPT_TEXT, AT(network), "A.B.C.0/N", "user: addresses (10.0.2.0/24)", 0, 0,
	 NULL},
	{"hostname", 0, OPT_TEXT, AT(hostname), "NAME", "user: the guest's name (the VM's)", 0, 0,
	 NULL},
	{"ipv6", 0, OPT_FLAG, AT(ipv6), "", "user: IPv6 too (on)", 0, 0, NULL},
	{"host-loopback", 0, OPT_FLAG, AT(host_loopback), "",
	 "user: the gateway's address reaches 127.0.0.1 of the host (off)", 0, 0, NULL},
	{"restricted", 0, OPT_FLAG, AT(restricted), "",
	 "user: published ports only, no way out (off)", 0, 0, NULL},
};

#define TAP_KEYS "ifname"
#define USER_KEYS "network", "hostname", "ipv6", "host-loopback", "restricted"
#define SOCKET_KEYS "path", "listen", "fd"
/* Those of the other kinds. */
static const char *const other_keys[CONFIG_NET_KINDS][10] = {
	[CONFIG_NET_USER] = {TAP_KEYS, SOCKET_KEYS},
	[CONFIG_NET_TAP] = {USER_KEYS, SOCKET_KEYS},
	[CONFIG_NET_SOCKET] = {USER_KEYS, TAP_KEYS},
};

void runnet_print_help(FILE *f)
{
	fprintf(f,
		"\n--net KIND[,key=value...]: KIND is user (NAT, no privileges), tap, socket or none; keys:\n");
	opt_print_keys(net_keys, ARRAY_SIZE(net_keys), f);
}

/* What the guest sees: not to be chosen at a restore. */
enum { KEY_ID = 1, KEY_MAC, KEY_MTU, KEY_QUEUES };
static const unsigned guest_keys[] = {KEY_ID, KEY_MAC, KEY_MTU, KEY_QUEUES};

/* ---- words ---- */

/* A key of the other kind? */
static int refuse_keys(const char *const *keys, uint64_t given, const char *kind, const char *word,
		       struct err *e)
{
	for (unsigned i = 1; i < ARRAY_SIZE(net_keys); i++) {
		for (unsigned k = 0; (given & BIT(i)) && keys[k]; k++) {
			if (strcmp(keys[k], net_keys[i].name) != 0)
				continue;
			err_set(e, EINVAL, "--net %s has no key \"%s\": leave it out", kind,
				keys[k]);
			return err_field(e, "--net", word);
		}
	}
	return 0;
}

static int random_mac(uint8_t mac[6], struct err *e)
{
	/* Locally administered, one card's (IEEE 802 §8.2): bit 1 of the first byte set, bit 0 clear. */
	static const uint8_t prefix[3] = {0x02, 0x4c, 0x47};

	memcpy(mac, prefix, 3);
	if (getrandom(mac + 3, 3, 0) != 3)
		return err_errno(e, errno, "cannot get random bytes for a network card's address");
	return 0;
}

static int check_ifname(const char *name, const char *word, struct err *e)
{
	char shown[40];

	if (name && *name && strlen(name) < IFNAMSIZ && !strpbrk(name, "/ \t%"))
		return 0;
	if (!name)
		err_set(e, EINVAL,
			"--net tap needs the name of an interface: --net tap,ifname=NAME");
	else
		err_set(e, EINVAL,
			"--net tap: \"%s\" cannot be the name of an interface: 1 to %d characters",
			err_quote(shown, sizeof(shown), name), IFNAMSIZ - 1);
	return err_field(e, "--net", word);
}

/* The words of one --net, and what is behind the card. `w` has the defaults; `word` is the option as written. */
static int parse_words(const char *word, struct run_net *n, struct config_net *c,
		       struct net_words *w, uint64_t *given, struct err *e)
{
	static const char *const kinds[] = {"user", "tap", "socket", "none", NULL};
	const char *near;
	char shown[40];
	const char *vm_name = w->hostname;
	unsigned kind;
	int r;

	n->pid = -1;
	n->text = strdup(word);
	if (!n->text)
		return err_set(e, ENOMEM, "out of memory");
	r = opt_parse_keys("--net", net_keys, ARRAY_SIZE(net_keys), n->text, w, given, e);
	if (r)
		return r;
	if (w->hostname != vm_name &&
	    runseed_hostname("--net hostname", w->hostname, HOSTNAME_MAX, e) < 0)
		return err_field(e, "--net", word);
	for (kind = 0; kind < CONFIG_NET_KINDS; kind++)
		if (!strcmp(config_net_kind_names[kind], w->kind))
			break;
	if (kind == CONFIG_NET_KINDS) {
		near = opt_suggest(w->kind, kinds);
		err_set(e, EINVAL,
			"--net \"%s\" is not known: it must be user, tap, socket or none%s",
			err_quote(shown, sizeof(shown), w->kind),
			!strcmp(w->kind, "none") ? ", and none alone" : "");
		err_limit(e, "user, tap, socket, none");
		if (near)
			err_hint(e, "use %s", near);
		return err_field(e, "--net", word);
	}
	c->kind = (enum config_net_kind)kind;
	r = refuse_keys(other_keys[c->kind], *given, w->kind, word, e);
	if (!r && c->kind == CONFIG_NET_TAP)
		r = check_ifname(w->ifname, word, e);
	c->bytes_per_s = w->bps;
	c->packets_per_s = w->pps;
	c->bytes_burst = w->bps_burst;
	c->packets_burst = w->pps_burst;
	c->unplugged = !w->link;
	n->ifname = w->ifname;
	n->network = w->network;
	n->hostname = w->hostname;
	n->ipv6 = w->ipv6;
	n->host_loopback = w->host_loopback;
	n->restricted = w->restricted;
	n->path = w->path;
	n->listen = w->listen;
	n->fd = (int)w->fd;
	if (!r && c->kind == CONFIG_NET_SOCKET)
		r = runnet_socket_check(n, word, e);
	return r;
}

#define NET_WORDS(name)                                                                  \
	{                                                                                \
		.network = "10.0.2.0/24", .hostname = (name), .queues = 1, .ipv6 = true, \
		.link = true                                                             \
	}

/* One --net. */
static int parse_one(const char *word, struct run_net *n, struct config_net *c, unsigned index,
		     const char *vm_name, struct err *e)
{
	struct net_words w = NET_WORDS(vm_name);
	uint64_t given = 0;
	char id[16];
	int r = parse_words(word, n, c, &w, &given, e);

	snprintf(id, sizeof(id), "net%u", index);
	if (!r)
		r = config_check_id(w.id ? w.id : id, e);
	if (!r)
		r = w.mac ? config_parse_mac(w.mac, c->mac, e) : random_mac(c->mac, e);
	if (r)
		return r;
	strcpy(c->id, w.id ? w.id : id);
	c->queues = (unsigned)w.queues;
	c->mtu = (unsigned)(w.mtu || c->kind != CONFIG_NET_USER ? w.mtu : NET_USER_MTU);
	return 0;
}

/* What is behind a card that was saved. */
static int parse_restored(const char *word, struct run_net *n, struct config_net *c,
			  const char *vm_name, struct err *e)
{
	struct net_words w = NET_WORDS(vm_name);
	uint64_t given = 0;
	int r;

	w.bps = c->bytes_per_s;
	w.pps = c->packets_per_s;
	w.bps_burst = c->bytes_burst;
	w.pps_burst = c->packets_burst;
	w.link = !c->unplugged;
	r = parse_words(word, n, c, &w, &given, e);
	if (r)
		return r;
	for (unsigned i = 0; i < ARRAY_SIZE(guest_keys); i++) {
		if (!(given & BIT(guest_keys[i])))
			continue;
		err_set(e, EINVAL,
			"--net: %s cannot be chosen with --restore: the guest has seen it already",
			net_keys[guest_keys[i]].name);
		err_hint(e, "leave out %s", net_keys[guest_keys[i]].name);
		return err_field(e, "--net", word);
	}
	return 0;
}

/* Ports to publish go to the first user network. */
static int publish(const struct opt_list *ports, const struct vm_config *c, struct run_nets *nets,
		   struct err *e)
{
	struct portfwd fwd[PORTFWD_MAX];
	unsigned k, n = 0;

	if (!ports->n)
		return 0;
	for (k = 0; k < c->n_nets && c->net[k].kind != CONFIG_NET_USER; k++)
		;
	if (k == c->n_nets) {
		err_set(e, EINVAL,
			"--publish needs a user network, and this VM has only others: add --net user");
		return err_field(e, "--publish", ports->word[0]);
	}
	for (unsigned i = 0; i < ports->n; i++) {
		char one[PORTFWD_TEXT_MAX];
		int r;

		r = portfwd_parse(ports->word[i], &fwd[n], e);
		if (r)
			return err_field(e, "--publish", ports->word[i]);
		for (unsigned j = 0; j < n; j++) {
			if (!portfwd_collide(&fwd[j], &fwd[n]))
				continue;
			err_set(e, EEXIST,
				"--publish %s: that port of the host is published already",
				ports->word[i]);
			return err_field(e, "--publish", ports->word[i]);
		}
		portfwd_format(&fwd[n++], one, sizeof(one));
		snprintf(nets->forward + strlen(nets->forward),
			 sizeof(nets->forward) - strlen(nets->forward), "%s%s", i ? "," : "", one);
	}
	nets->forward_net = k;
	return 0;
}

int runnet_parse(const struct opt_list *words, const struct opt_list *ports, struct vm_config *c,
		 struct run_nets *nets, struct err *e)
{
	bool none = words->n == 1 && !strcmp(words->word[0], "none");
	int r = 0;

	_Static_assert(PORTFWD_MAX >= OPT_LIST_MAX, "every --publish has its place");
	_Static_assert(sizeof(nets->forward) >= (size_t)PORTFWD_MAX * PORTFWD_TEXT_MAX,
		       "all of them fit");
	if (words->n > CONFIG_NETS_MAX) {
		err_set(e, E2BIG, "%u network cards are too many: a VM has at most %u", words->n,
			CONFIG_NETS_MAX);
		err_limit(e, "%u", CONFIG_NETS_MAX);
		return err_field(e, "--net", NULL);
	}
	for (unsigned i = 0; i < words->n && !none && !r; i++) {
		r = parse_one(words->word[i], &nets->net[i], &c->net[i], i, c->name, e);
		nets->n = i + 1;
	}
	if (!r && !words->n && ports->n) {
		r = parse_one("user", &nets->net[0], &c->net[0], 0, c->name, e);
		nets->n = 1;
	}
	c->n_nets = nets->n;
	if (!r)
		r = config_net_check(c, e);
	return r ? r : publish(ports, c, nets, e);
}

int runnet_add(const char *word, unsigned index, struct vm_config *c, struct run_nets *nets,
	       struct err *e)
{
	nets->n = c->n_nets = 1;
	return parse_one(word, &nets->net[0], &c->net[0], index, c->name, e);
}

int runnet_restore(const struct opt_list *words, const struct opt_list *ports, struct vm_config *c,
		   struct run_nets *nets, struct err *e)
{
	int r = 0;

	if (words->n != c->n_nets) {
		err_set(e, EINVAL,
			"the saved machine has %u network card%s, and --net is given %u times: say for each what is behind it, in their order",
			c->n_nets, c->n_nets == 1 ? "" : "s", words->n);
		if (c->n_nets)
			err_hint(e, "--net %s", config_net_kind_names[c->net[0].kind]);
		return err_field(e, "--net", NULL);
	}
	for (unsigned i = 0; i < words->n && !r; i++) {
		r = parse_restored(words->word[i], &nets->net[i], &c->net[i], c->name, e);
		nets->n = i + 1;
	}
	return r ? r : publish(ports, c, nets, e);
}

/* ---- opening ---- */

static int open_tap(const struct run_net *n, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int hdr = NET_VNET_HDR_SIZE, r, fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		r = err_errno(e, errno, "cannot open /dev/net/tun for --net tap");
		err_hint(e, "use --net user, which needs no privileges");
		return r;
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", n->ifname);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		r = -errno;
		if (r == -EPERM)
			err_set(e, EPERM,
				"no permission for the tap interface \"%s\": have it made for you by `ip tuntap add %s mode tap user $USER`",
				n->ifname, n->ifname);
		else if (r == -EBUSY)
			err_set(e, EBUSY, "the tap interface \"%s\" is in use by another program",
				n->ifname);
		else if (r == -EINVAL)
			err_set(e, EINVAL, "the interface \"%s\" of the host is no tap device",
				n->ifname);
		else
			err_errno(e, -r, "cannot use the tap interface \"%s\"", n->ifname);
	} else if (ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0) {
		r = err_errno(e, errno, "the tap interface \"%s\" does not take packet headers",
			      n->ifname);
	} else {
		return fd;
	}
	err_field(e, "--net", n->ifname);
	close(fd);
	return r;
}

/* What the helper says of its start: how it is locked in, or an error. Nothing is one, too: it has ended. */
static int nat_result(int fd, json_t **sandbox, struct err *e)
{
	char text[NET_ERROR_TEXT];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) &&
	       ((n = read(fd, text + len, sizeof(text) - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	if (!len)
		return err_set(e, EPROTO, "lodge-nat does not start");
	_autojson json_t *j = NULL;
	if (json_parse(text, len, sizeof(text), "lodge-nat's answer", &j, e) < 0)
		return err_set(e, EPROTO, "lodge-nat does not start");
	*sandbox = json_incref(json_object_get(j, "sandbox"));
	return *sandbox ? 0 : control_error_parse(j, e);
}

static int start_nat(struct run_net *n, const struct config_net *c, const char *forward, bool stay,
		     enum config_sandbox sandbox, struct err *e)
{
	char mtu[8], name[] = "lodge-nat", fd_opt[] = "--fd=3", status_opt[] = "--status-fd=4";
	char sandbox_opt[24], word[CGROUP_NOTE_SIZE + 1];
	char *argv[16] = {name, fd_opt, status_opt, sandbox_opt};
	_autofree char *network = NULL, *hostname = NULL, *fwd = NULL, *mtu_opt = NULL;
	_autofree char *group = NULL;
	char no_ipv6[] = "--no-ipv6", loopback[] = "--host-loopback", restricted[] = "--restricted";
	char stay_opt[] = "--stay";
	_autoclose int theirs = -1;
	_autoclose int status_r = -1;
	_autoclose int status_w = -1;
	unsigned k = 4;
	int pair[2], p[2], r;
	pid_t pid;

	snprintf(mtu, sizeof(mtu), "%u", c->mtu);
	snprintf(sandbox_opt, sizeof(sandbox_opt), "--sandbox=%s", config_sandbox_names[sandbox]);
	launch_group_word(word, sizeof(word));
	if (asprintf(&group, "--group=%s", word) < 0 ||
	    asprintf(&network, "--network=%s", n->network) < 0 ||
	    asprintf(&hostname, "--hostname=%s", n->hostname) < 0 ||
	    asprintf(&fwd, "--forward=%s", forward) < 0 || asprintf(&mtu_opt, "--mtu=%s", mtu) < 0)
		return err_set(e, ENOMEM, "out of memory");
	argv[k++] = network;
	argv[k++] = hostname;
	argv[k++] = mtu_opt;
	argv[k++] = group;
	if (*forward)
		argv[k++] = fwd;
	if (!n->ipv6)
		argv[k++] = no_ipv6;
	if (n->host_loopback)
		argv[k++] = loopback;
	if (n->restricted)
		argv[k++] = restricted;
	if (stay)
		argv[k++] = stay_opt;
	argv[k] = NULL;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_errno(e, errno, "cannot make a network socket");
	theirs = pair[1];
	if (pipe2(p, O_CLOEXEC) < 0) {
		r = err_errno(e, errno, "cannot make a pipe");
		goto fail;
	}
	status_r = p[0];
	status_w = p[1];
	r = launch_program("lodge-nat", argv, (const int[]){theirs, status_w}, 2,
			   sandbox != CONFIG_SANDBOX_OFF, &pid, e);
	if (r)
		goto fail;
	n->pid = pid;
	base_close_fd(&status_w);
	r = nat_result(status_r, &n->sandbox, e);
	if (r)
		goto fail;
	return pair[0];
fail:
	close(pair[0]);
	return r;
}

int runnet_open(struct run_nets *nets, const struct vm_config *c, struct config_fds *fds,
		struct err *e)
{
	for (unsigned i = 0; i < nets->n; i++) {
		struct run_net *n = &nets->net[i];
		int fd = -1;

		switch (c->net[i].kind) {
		case CONFIG_NET_TAP: fd = open_tap(n, e); break;
		case CONFIG_NET_SOCKET: fd = runnet_socket_open(n, e); break;
		default:
			fd = start_nat(n, &c->net[i], i == nets->forward_net ? nets->forward : "",
				       nets->stay, c->sandbox, e);
		}
		if (fd < 0)
			return fd;
		fds->fd[CONFIG_FD_NET + i] = fd;
	}
	return 0;
}

void runnet_end(struct run_nets *nets)
{
	for (unsigned i = 0; i < nets->n; i++) {
		if (nets->net[i].pid > 0)
			launch_end(nets->net[i].pid);
		json_decref(nets->net[i].sandbox);
		nets->net[i].sandbox = NULL;
		free(nets->net[i].text);
	}
	nets->n = 0;
}
