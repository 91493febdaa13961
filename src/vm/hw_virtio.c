/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hw_virtio.c - the virtio devices of a machine, in the order of their PCI slots.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "virtio/net.h"
#include "virtio/rng.h"
#include "vm/hw.h"

int hw_virtio_add(struct hw *hw, struct virtio_dev *d, struct err *e)
{
	int r = -ENOSPC;

	if (hw->n_virtio == HW_VIRTIO_MAX)
		err_set(e, ENOSPC, "%s: a machine has at most %u virtio devices", d->pci.dev.id,
			HW_VIRTIO_MAX);
	else
		r = pci_root_add(hw->pci, &d->pci, -1, e);
	if (r < 0) {
		device_destroy(&d->pci.dev);
		return r;
	}
	hw->virtio[hw->n_virtio++] = d;
	return 0;
}

static int create_net(struct hw *hw, unsigned i, struct err *e)
{
	const struct config_net *n = &hw->cfg.vm->net[i];
	struct bucket_config bytes = {.rate = n->bytes_per_s}, packets = {.rate = n->packets_per_s};
	struct virtio_net_config cfg = {
		.id = n->id,
		.mtu = n->mtu,
		.pairs = n->queues,
		.kind = n->kind == CONFIG_NET_TAP ? NET_KIND_TAP : NET_KIND_SOCKET,
		.fd = hw->cfg.fds->fd[CONFIG_FD_NET + i],
	};
	struct virtio_dev *d;
	int r;

	memcpy(cfg.mac, n->mac, 6);
	r = virtio_net_create(&d, &hw->env, &cfg, e);
	if (r < 0)
		return r;
	virtio_net_set_limit(d, &bytes, &packets);
	return hw_virtio_add(hw, d, e);
}

int hw_virtio_create(struct hw *hw, struct err *e)
{
	const struct vm_config *vm = hw->cfg.vm;
	struct virtio_dev *d;
	int r = 0;

	if (vm->rng) {
		r = rng_create(&d, &hw->env, e);
		if (r == 0)
			r = hw_virtio_add(hw, d, e);
	}
	for (unsigned i = 0; i < vm->n_nets && r == 0; i++)
		r = create_net(hw, i, e);
	return r;
}

void hw_virtio_destroy(struct hw *hw)
{
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
