/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine_dev.c - disks and network cards of a machine while it exists: what they are, limits, growth, the cable; coming and going.
 *
 * Removal has two halves. The guest is asked (hw_plug.c), and when it has let go the device is destroyed, then what was behind it. By
 * force the second comes first: the file or socket is closed at once, and the device stays, with errors or without a cable, until
 * the guest lets go of it. A reset of the machine lets go of everything that was asked for.
 *
 * What is changed here is changed in the machine's configuration too: it holds after a reset, and goes into a saved state.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "virtio/disk.h"
#include "virtio/net.h"
#include "vm/machine_int.h"

/* ---- disks ---- */

int machine_disk_limit(struct machine *m, const struct control_request *rq, struct err *e)
{
	struct config_disk_limits l;
	int i, r = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : 0;

	if (r == 0)
		r = i = disks_find(m->disks, rq->disk, e);
	if (r < 0)
		return r;
	l = m->config.disk[i].limits;
	if (rq->given.bps)
		l.bps = rq->limits.bps;
	if (rq->given.bps_burst)
		l.bps_burst = rq->limits.bps_burst;
	if (rq->given.iops)
		l.iops = rq->limits.iops;
	if (rq->given.iops_burst)
		l.iops_burst = rq->limits.iops_burst;
	m->config.disk[i].limits = l;
	blk_set_limits(disks_get(m->disks, (unsigned)i),
		       &(struct blk_limits){l.bps, l.bps_burst, l.iops, l.iops_burst});
	return 0;
}

int machine_disk_grow(struct machine *m, const struct control_request *rq, json_t **out,
		      struct err *e)
{
	return machine_not_ending(m, e) < 0 ? -ESHUTDOWN : disks_grow(m->disks, rq, out, e);
}

int machine_disks(struct machine *m, json_t **out, struct err *e)
{
	*out = json_pack("{s:o}", "disks", disks_query(m->disks));
	return *out ? 0 : err_set(e, ENOMEM, "out of memory");
}

/* ---- network cards ---- */

/* Index of the card in the configuration, or -ENODEV. */
static int find_net(const struct machine *m, const char *id, struct err *e)
{
	char list[CONFIG_NETS_MAX * (CONFIG_ID_MAX + 2) + 1] = "", shown[40];
	size_t used = 0;

	for (unsigned i = 0; i < m->config.n_nets; i++) {
		if (!strcmp(m->config.net[i].id, id))
			return (int)i;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 m->config.net[i].id);
	}
	err_set(e, ENODEV, "the VM has no network card \"%s\": it has %s",
		err_quote(shown, sizeof(shown), id), used ? list : "none");
	err_limit(e, "%.90s", list);
	err_field(e, "net", id);
	return -ENODEV;
}

static struct virtio_dev *net_device(const struct machine *m, unsigned i)
{
	return hw_virtio_find(m->hw, &virtio_net_class, m->config.net[i].id);
}

int machine_net_limit(struct machine *m, const struct control_request *rq, struct err *e)
{
	struct config_net *n;
	int i = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : find_net(m, rq->net, e);

	if (i < 0)
		return i;
	n = &m->config.net[i];
	if (rq->given.bps)
		n->bytes_per_s = rq->limits.bps;
	if (rq->given.bps_burst)
		n->bytes_burst = rq->limits.bps_burst;
	if (rq->given.pps)
		n->packets_per_s = rq->pps;
	if (rq->given.pps_burst)
		n->packets_burst = rq->pps_burst;
	virtio_net_set_limit(net_device(m, (unsigned)i),
			     &(struct bucket_config){n->bytes_per_s, n->bytes_burst},
			     &(struct bucket_config){n->packets_per_s, n->packets_burst});
	return 0;
}

int machine_net_link(struct machine *m, const struct control_request *rq, struct err *e)
{
	int i = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : find_net(m, rq->net, e);

	if (i < 0)
		return i;
	m->config.net[i].unplugged = !rq->up;
	virtio_net_set_cable(net_device(m, (unsigned)i), rq->up);
	return 0;
}

int machine_nets(struct machine *m, json_t **out, struct err *e)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; m->hw && i < m->config.n_nets; i++) {
		const struct config_net *n = &m->config.net[i];
		struct virtio_dev *d = net_device(m, i);
		char mac[CONFIG_MAC_TEXT];
		struct net_stats s;

		virtio_net_stats(d, &s);
		r |= json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
				  "id", n->id, "kind", config_net_kind_names[n->kind], "mac",
				  config_format_mac(n->mac, mac), "mtu", (json_int_t)n->mtu, "link",
				  virtio_net_link(d) ? "up" : "down", "plugged", (int)!n->unplugged,
				  "bps", (json_int_t)n->bytes_per_s, "pps",
				  (json_int_t)n->packets_per_s, "rx_packets",
				  (json_int_t)s.rx_packets, "rx_bytes", (json_int_t)s.rx_bytes,
				  "tx_packets", (json_int_t)s.tx_packets, "tx_bytes",
				  (json_int_t)s.tx_bytes, "throttled", (json_int_t)s.n_throttled));
	}
	*out = json_pack("{s:o}", "nets", list);
	if (r || !*out) {
		json_decref(*out);
		*out = NULL;
		return err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

/* ---- coming and going ---- */

#define FDS(role) (&m->fds.fd[role])

/* Closes entry i of a list of descriptors, and moves up those behind it. */
static void close_entry(int *list, unsigned i, unsigned max)
{
	base_close_fd(&list[i]);
	memmove(&list[i], &list[i + 1], (max - i - 1) * sizeof(list[0]));
	list[max - 1] = -1;
}

static void take_disk(struct machine *m, unsigned i)
{
	struct config_disk gone = m->config.disk[i];
	bool told = disks_ejected(m->disks, i);

	disks_remove(m->disks, i);
	close_entry(FDS(CONFIG_FD_DISK), i, CONFIG_DISKS_MAX);
	close_entry(FDS(CONFIG_FD_OVERLAY), i, CONFIG_DISKS_MAX);
	m->config.n_disks--;
	memmove(&m->config.disk[i], &m->config.disk[i + 1],
		(m->config.n_disks - i) * sizeof(m->config.disk[0]));
	if (!told)
		machine_tell(m, CONTROL_EV_DISK_REMOVED,
			     json_pack("{s:s,s:b}", "disk", gone.id, "forced", 0));
}

static void take_net(struct machine *m, unsigned i)
{
	struct config_net gone = m->config.net[i];
	bool told = m->fds.fd[CONFIG_FD_NET + i] < 0;

	close_entry(FDS(CONFIG_FD_NET), i, CONFIG_NETS_MAX);
	m->config.n_nets--;
	memmove(&m->config.net[i], &m->config.net[i + 1],
		(m->config.n_nets - i) * sizeof(m->config.net[0]));
	if (!told)
		machine_tell(m, CONTROL_EV_NET_REMOVED,
			     json_pack("{s:s,s:b}", "net", gone.id, "forced", 0));
}

/* The device goes, and what is behind it. */
static void take(struct machine *m, struct virtio_dev *d)
{
	bool disk = d->class == &virtio_disk_class;
	char id[CONFIG_ID_MAX + 1];
	int i;

	snprintf(id, sizeof(id), "%s", d->pci.dev.id);
	i = disk ? disks_find(m->disks, id, NULL) : find_net(m, id, NULL);
	pthread_mutex_lock(&m->lock);
	hw_virtio_remove(m->hw, d);
	pthread_mutex_unlock(&m->lock);
	if (i < 0)
		return;
	if (disk)
		take_disk(m, (unsigned)i);
	else
		take_net(m, (unsigned)i);
}

void machine_eject(void *ctx)
{
	struct machine *m = ctx;
	uint32_t slots = __atomic_exchange_n(&m->ejected, 0, __ATOMIC_ACQ_REL);

	for (; m->hw && slots; slots &= slots - 1) {
		struct virtio_dev *d = hw_virtio_in_slot(m->hw, (unsigned)__builtin_ctz(slots));

		if (d)
			take(m, d);
	}
}

void machine_take_leaving(struct machine *m)
{
	machine_eject(m);
	for (unsigned i = m->hw->n_virtio; i-- > 0;)
		if (hw_leaving(m->hw, m->hw->virtio[i]))
			take(m, m->hw->virtio[i]);
}

static bool fd_is(int fd, mode_t a, mode_t b)
{
	struct stat st;

	return fstat(fd, &st) == 0 && ((st.st_mode & S_IFMT) == a || (st.st_mode & S_IFMT) == b);
}

static int add_disk(struct machine *m, const struct config_disk *c, const int *fd, struct err *e)
{
	unsigned n = m->config.n_disks;
	int over = c->snapshot ? fd[1] : -1, r;

	if (!fd_is(fd[0], S_IFREG, S_IFBLK) || (c->snapshot && !fd_is(fd[1], S_IFREG, S_IFREG)))
		return err_set(e, EINVAL,
			       "the file of the disk is neither a regular file nor a block device");
	r = disks_add(m->disks, c, fd[0], over, e);
	if (r < 0)
		return r;
	r = hw_plug_disk(m->hw, c, disks_get(m->disks, n), m->state == MACHINE_PAUSED, e);
	if (r < 0)
		disks_remove(m->disks, n);
	return r;
}

/* The configuration with one device more, which is checked as a whole. The caller frees it. */
static struct vm_config *with_one_more(struct machine *m, const json_t *disk, const json_t *net,
				       struct err *e)
{
	struct vm_config *c = malloc(sizeof(*c));
	int r = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : 0;

	if (!c && r == 0)
		r = err_set(e, ENOMEM, "out of memory");
	if (r == 0) {
		*c = m->config;
		r = disk ? config_disk_add(c, disk, e) : config_net_add(c, net, e);
	}
	if (r == 0)
		r = config_check(c, e);
	if (r == 0)
		return c;
	free(c);
	return NULL;
}

int machine_disk_add(struct machine *m, const json_t *config, int *fd, unsigned n_fds, struct err *e)
{
	_autofree struct vm_config *c = with_one_more(m, config, NULL, e);
	unsigned i = m->config.n_disks;
	int r;

	if (!c)
		return e && e->code ? -e->code : -EINVAL;
	if (n_fds != 1u + c->disk[i].snapshot)
		return err_set(e, EINVAL, "disk-add needs the open files of the disk");
	r = add_disk(m, &c->disk[i], fd, e);
	if (r < 0)
		return r;
	m->config = *c;
	m->fds.fd[CONFIG_FD_DISK + i] = fd[0];
	fd[0] = -1;
	if (n_fds == 2) {
		m->fds.fd[CONFIG_FD_OVERLAY + i] = fd[1];
		fd[1] = -1;
	}
	return 0;
}

int machine_net_add(struct machine *m, const json_t *config, int *fd, unsigned n_fds, struct err *e)
{
	_autofree struct vm_config *c = with_one_more(m, NULL, config, e);
	unsigned i = m->config.n_nets;
	int r;

	if (!c)
		return e && e->code ? -e->code : -EINVAL;
	if (n_fds != 1 || !fd_is(fd[0], S_IFSOCK, S_IFCHR))
		return err_set(e, EINVAL, "net-add needs an open socket or tap device");
	r = hw_plug_net(m->hw, &c->net[i], fd[0], m->state == MACHINE_PAUSED, e);
	if (r < 0)
		return r;
	m->config = *c;
	m->fds.fd[CONFIG_FD_NET + i] = fd[0];
	fd[0] = -1;
	return 0;
}

/* Asks the guest, unless it was asked already and does not hear it. */
static int ask(struct machine *m, struct virtio_dev *d, struct err *e)
{
	return d ? hw_unplug(m->hw, d, e) : err_set(e, EINVAL, "the device is gone already");
}

int machine_disk_rm(struct machine *m, const struct control_request *rq, struct err *e)
{
	int i = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : disks_find(m->disks, rq->disk, e), r;

	if (i < 0)
		return i;
	if (i == 0 && !m->config.kernel_name[0]) {
		err_set(e, EBUSY, "the VM boots from the disk %s: it cannot be removed", rq->disk);
		return err_field(e, "disk", rq->disk);
	}
	r = ask(m, hw_virtio_find(m->hw, &virtio_disk_class, rq->disk), e);
	if (r < 0 || !rq->force || disks_ejected(m->disks, (unsigned)i))
		return r;
	r = disks_eject(m->disks, (unsigned)i, e);
	if (r < 0)
		return r;
	base_close_fd(&m->fds.fd[CONFIG_FD_DISK + i]);
	base_close_fd(&m->fds.fd[CONFIG_FD_OVERLAY + i]);
	machine_tell(m, CONTROL_EV_DISK_REMOVED,
		     json_pack("{s:s,s:b}", "disk", rq->disk, "forced", 1));
	return 0;
}

int machine_net_rm(struct machine *m, const struct control_request *rq, struct err *e)
{
	int i = machine_not_ending(m, e) < 0 ? -ESHUTDOWN : find_net(m, rq->net, e), r;

	if (i < 0)
		return i;
	r = ask(m, net_device(m, (unsigned)i), e);
	if (r < 0 || !rq->force || m->fds.fd[CONFIG_FD_NET + i] < 0)
		return r;
	virtio_net_cut(net_device(m, (unsigned)i));
	base_close_fd(&m->fds.fd[CONFIG_FD_NET + i]);
	machine_tell(m, CONTROL_EV_NET_REMOVED, json_pack("{s:s,s:b}", "net", rq->net, "forced", 1));
	return 0;
}
