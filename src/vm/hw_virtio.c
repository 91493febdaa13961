/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_virtio.c - the virtio devices of a machine, in the order of their PCI slots.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/opener.h"
#include "util/log.h"
#include "virtio/balloon.h"
#include "virtio/console.h"
#include "virtio/disk.h"
#include "virtio/fs.h"
#include "virtio/net.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"
#include "vm/hw.h"

#define AGENT_PORT "org.qemu.guest_agent.0" /* the name that qemu-guest-agent looks for */

/* The function number that the device has to have, or -1: any. */
static int wanted_devfn(const struct hw *hw, const char *id)
{
	const struct hw_slots *s = hw->cfg.slots;

	for (unsigned i = 0; s && i < s->n; i++)
		if (!strcmp(s->at[i].id, id))
			return PCI_DEVFN(s->at[i].slot, 0);
	return -1;
}

int hw_virtio_add(struct hw *hw, struct virtio_dev *d, struct err *e)
{
	int r = -ENOSPC;

	if (hw->n_virtio == HW_VIRTIO_MAX)
		err_set(e, ENOSPC, "%s: a machine has at most %u virtio devices", d->pci.dev.id,
			HW_VIRTIO_MAX);
	else
		r = pci_root_add(hw->pci, &d->pci, wanted_devfn(hw, d->pci.dev.id), e);
	if (r < 0) {
		device_destroy(&d->pci.dev);
		return r;
	}
	hw->virtio[hw->n_virtio++] = d;
	return 0;
}

struct virtio_dev *hw_virtio_find(const struct hw *hw, const struct virtio_class *class,
				  const char *id)
{
	for (unsigned i = 0; i < hw->n_virtio; i++)
		if (hw->virtio[i]->class == class && !strcmp(hw->virtio[i]->pci.dev.id, id))
			return hw->virtio[i];
	return NULL;
}

struct virtio_dev *hw_virtio_in_slot(const struct hw *hw, unsigned slot)
{
	for (unsigned i = 0; i < hw->n_virtio; i++)
		if (PCI_SLOT(hw->virtio[i]->pci.devfn) == slot)
			return hw->virtio[i];
	return NULL;
}

void hw_virtio_slots(const struct hw *hw, struct hw_slots *s)
{
	s->n = hw->n_virtio;
	for (unsigned i = 0; i < s->n; i++) {
		snprintf(s->at[i].id, sizeof(s->at[i].id), "%s", hw->virtio[i]->pci.dev.id);
		s->at[i].slot = PCI_SLOT(hw->virtio[i]->pci.devfn);
	}
}

int hw_virtio_add_net(struct hw *hw, const struct config_net *n, int fd, struct virtio_dev **out,
		      struct err *e)
{
	struct bucket_config bytes = {n->bytes_per_s, n->bytes_burst};
	struct bucket_config packets = {n->packets_per_s, n->packets_burst};
	struct virtio_net_config cfg = {
		.id = n->id,
		.mtu = n->mtu,
		.pairs = n->queues,
		.kind = n->kind == CONFIG_NET_TAP ? NET_KIND_TAP : NET_KIND_SOCKET,
		.fd = fd,
	};
	struct virtio_dev *d;
	int r;

	memcpy(cfg.mac, n->mac, 6);
	r = virtio_net_create(&d, &hw->env, &cfg, e);
	if (r < 0)
		return r;
	virtio_net_set_limit(d, &bytes, &packets);
	virtio_net_set_cable(d, !n->unplugged);
	r = hw_virtio_add(hw, d, e);
	*out = r < 0 ? NULL : d;
	return r;
}

int hw_virtio_add_disk(struct hw *hw, const struct config_disk *c, struct blk *b,
		       struct virtio_dev **out, struct err *e)
{
	struct disk_config dc = {.blk = b, .serial = c->serial, .n_queues = c->queues};
	struct virtio_dev *d;
	int r = disk_create(&d, &hw->env, &dc, e);

	if (r == 0)
		r = hw_virtio_add(hw, d, e);
	*out = r < 0 ? NULL : d;
	return r;
}

void hw_virtio_remove(struct hw *hw, struct virtio_dev *d)
{
	for (unsigned i = 0; i < hw->n_virtio; i++) {
		if (hw->virtio[i] != d)
			continue;
		memmove(&hw->virtio[i], &hw->virtio[i + 1],
			(hw->n_virtio - i - 1) * sizeof(hw->virtio[0]));
		hw->n_virtio--;
		device_destroy(&d->pci.dev);
		return;
	}
}

/* ---- the console's port: no VM lock on the loop, where the console wants it ---- */

static size_t console_tx(void *ctx, const uint8_t *buf, size_t len)
{
	struct hw *hw = ctx;
	struct console_calls calls;
	size_t n;

	console_backend(hw->cfg.console, &calls);
	if (!calls.tx)
		return len;
	pthread_mutex_lock(hw->cfg.lock);
	n = calls.tx(calls.ctx, buf, len);
	pthread_mutex_unlock(hw->cfg.lock);
	return n;
}

static void console_room(void *ctx)
{
	struct hw *hw = ctx;
	struct console_calls calls;

	console_backend(hw->cfg.console, &calls);
	pthread_mutex_lock(hw->cfg.lock);
	calls.rx_room(calls.ctx);
	pthread_mutex_unlock(hw->cfg.lock);
}

static size_t port0_space(void *ctx)
{
	return vconsole_rx_space(ctx, 0);
}

static size_t port0_push(void *ctx, const uint8_t *buf, size_t len)
{
	return vconsole_rx_push(ctx, 0, buf, len);
}

static void port0_ready(void *ctx)
{
	vconsole_tx_ready(ctx, 0);
}

void hw_virtio_attach(struct hw *hw)
{
	const struct console_user user = {hw->console, port0_space, port0_push, port0_ready};

	if (hw->cfg.vm->console_device == CONFIG_CONSOLE_VIRTIO)
		console_attach(hw->cfg.console, &user);
}

static int create_console(struct hw *hw, struct err *e)
{
	struct vconsole_port port[2];
	struct virtio_dev *d;
	unsigned n = 0;
	int r;

	if (hw->cfg.vm->console_device == CONFIG_CONSOLE_VIRTIO)
		port[n++] = (struct vconsole_port){.console = true,
						   .open = true,
						   .ctx = hw,
						   .tx = console_tx,
						   .rx_room = console_room};
	if (hw->cfg.vm->agent) {
		port[n] = (struct vconsole_port){.name = AGENT_PORT};
		if (hw->cfg.agent)
			port_socket_backend(hw->cfg.agent, AGENT_PORT, n, &port[n]);
		n++;
	}
	if (n == 0)
		return 0;
	r = vconsole_create(&d, &hw->env, port, n, e);
	if (r == 0)
		r = hw_virtio_add(hw, d, e);
	if (r < 0)
		return r;
	hw->console = d;
	if (hw->cfg.agent)
		port_socket_attach(hw->cfg.agent, d);
	return 0;
}

/* ---- connections of the guest to the host: asked for at whoever started us ---- */

static int ask_opener(void *ctx, uint32_t port, uint32_t id)
{
	struct hw *hw = ctx;

	return hw->opener ? opener_ask(hw->cfg.fds->fd[CONFIG_FD_VSOCK_OPENER], port, id) :
			    -ECONNREFUSED;
}

static void opener_ready(void *ctx, int fd, uint32_t events)
{
	struct hw *hw = ctx;
	struct opener_answer a;
	int r = opener_take(fd, &a);

	(void)events;
	if (r > 0) {
		vsock_connected(hw->vsock, a.port, a.id, a.fd);
	} else if (r < 0) {
		log_warn("the guest's connections to the host are refused from now on");
		loop_fd_del(hw->opener);
		hw->opener = NULL;
	}
}

static int create_vsock(struct hw *hw, struct err *e)
{
	int opener = hw->cfg.fds->fd[CONFIG_FD_VSOCK_OPENER];
	struct vsock_config cfg = {.cid = hw->cfg.vm->vsock_cid,
				   .listen_fd = hw->cfg.fds->fd[CONFIG_FD_VSOCK_LISTEN],
				   .ctx = hw,
				   .connect = ask_opener};
	struct virtio_dev *d;
	int r;

	r = vsock_create(&d, &hw->env, &cfg, e);
	if (r == 0)
		r = hw_virtio_add(hw, d, e);
	if (r < 0)
		return r;
	hw->vsock = d;
	if (opener >= 0)
		r = loop_fd_add(hw->env.loop, opener, EPOLLIN, opener_ready, hw, &hw->opener);
	return r < 0 ? err_errno(e, -r, "cannot wait for connections of the guest") : 0;
}

static int create_shares(struct hw *hw, struct err *e)
{
	static const char *const ids[] = {"share0", "share1", "share2", "share3"};
	const struct vm_config *vm = hw->cfg.vm;
	struct virtio_dev *d;
	int r = 0;

	_Static_assert(ARRAY_SIZE(ids) == CONFIG_SHARES_MAX, "a name for each");
	for (unsigned i = 0; r == 0 && i < vm->n_shares; i++) {
		struct virtio_fs_config cfg = {.id = ids[i],
					       .tag = vm->share[i].tag,
					       .read_only = vm->share[i].read_only,
					       .server = hw->cfg.shares->server[i]};

		r = virtio_fs_create(&d, &hw->env, &cfg, e);
		if (r == 0)
			r = hw_virtio_add(hw, d, e);
	}
	return r;
}

int hw_virtio_create(struct hw *hw, struct err *e)
{
	const struct vm_config *vm = hw->cfg.vm;
	struct virtio_dev *d;
	int r = 0;

	for (unsigned i = 0; i < vm->n_disks && r == 0; i++)
		r = hw_virtio_add_disk(hw, &vm->disk[i], disks_get(hw->cfg.disks, i), &d, e);
	if (r == 0 && vm->rng) {
		r = rng_create(&d, &hw->env, e);
		if (r == 0)
			r = hw_virtio_add(hw, d, e);
	}
	for (unsigned i = 0; i < vm->n_nets && r == 0; i++)
		r = hw_virtio_add_net(hw, &vm->net[i], hw->cfg.fds->fd[CONFIG_FD_NET + i], &d, e);
	if (r == 0 && vm->balloon) {
		r = balloon_create(&d, &hw->env, e);
		if (r == 0)
			r = hw_virtio_add(hw, d, e);
		if (r == 0)
			hw->balloon = d;
	}
	if (r == 0)
		r = create_console(hw, e);
	if (r == 0 && vm->vsock_cid)
		r = create_vsock(hw, e);
	if (r == 0)
		r = create_shares(hw, e);
	return r;
}

void hw_virtio_destroy(struct hw *hw)
{
	if (hw->cfg.agent)
		port_socket_detach(hw->cfg.agent);
	loop_fd_del(hw->opener);
	hw->opener = NULL;
	while (hw->n_virtio)
		device_destroy(&hw->virtio[--hw->n_virtio]->pci.dev);
}

struct stats {
	json_t *j;
	const char *id;
	int r;
};

static void add_counter(void *ctx, const char *key, uint64_t v)
{
	struct stats *s = ctx;
	char name[64];

	snprintf(name, sizeof(name), "%s.%s", s->id, key);
	s->r |= json_object_set_new(s->j, name, json_u64(v));
}

int hw_stats(struct hw *hw, json_t *j)
{
	struct stats s = {.j = j};

	for (unsigned i = 0; i < hw->n_virtio; i++) {
		s.id = hw->virtio[i]->pci.dev.id;
		virtio_stats(hw->virtio[i], add_counter, &s);
	}
	return s.r ? -ENOMEM : 0;
}
