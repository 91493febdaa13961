/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disks.c - stacks of block layers by the configuration, their events, and what can be changed while they run.
 *
 * A disk is a file layer, with `snapshot` below an overlay. The files came open and locked; their descriptors are copied, and
 * a copy is the same open file, so the lock stays for as long as either is there.
 */
#include "vm/disks_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blk/layer.h"

_Static_assert((int)CONFIG_DISK_AUTO == (int)AIO_AUTO && (int)CONFIG_DISK_URING == (int)AIO_URING &&
		       (int)CONFIG_DISK_THREADS == (int)AIO_THREADS,
	       "the configuration's ways of I/O are the block layer's");

static void want_pause(void *ctx)
{
	struct disks *d = ctx;

	d->owner->pause(d->owner->ctx);
}

static void tell(struct disks *d, enum control_event ev, json_t *details)
{
	if (details)
		d->owner->event(d->owner->ctx, ev, details);
}

static void disk_error(struct disk *k, const struct blk_event *ev)
{
	bool pause = ev->kind != BLK_EV_ERROR;
	const char *name = strerrorname_np(ev->error);
	char why[80];
	uint32_t held;

	k->error = ev->error;
	/* A guest may cause as many as it likes. */
	if (!pause && !log_limit_pass(&k->events, &held))
		return;
	log_warn("disk %s (\"%s\"): %s at byte %llu failed: %s%s", k->cfg.id, k->cfg.name,
		 blk_op_names[ev->op], (unsigned long long)ev->offset,
		 strerror_r(ev->error, why, sizeof(why)),
		 ev->kind == BLK_EV_FULL ?
			 "; the VM is paused, a resume tries again" :
		 ev->kind == BLK_EV_FLUSH ?
			 "; data that the guest believes safe may be lost, the VM is paused" :
			 "");
	tell(k->disks, CONTROL_EV_DISK_ERROR,
	     json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "disk", k->cfg.id, "op",
		       blk_op_names[ev->op], "offset", (json_int_t)ev->offset, "bytes",
		       (json_int_t)ev->bytes, "error", name ? name : "EIO", "action",
		       pause ? "pause" : "report"));
	if (pause)
		loop_post(k->disks->loop, &k->disks->pause);
}

static void disk_event(void *ctx, struct blk *b, const struct blk_event *ev)
{
	struct disk *k = ctx;

	if (ev->kind == BLK_EV_SIZE)
		tell(k->disks, CONTROL_EV_DISK_SIZE,
		     json_pack("{s:s, s:I}", "disk", k->cfg.id, "size",
			       (json_int_t)blk_info(b)->size));
	else
		disk_error(k, ev);
}

/* ---- making them ---- */

static int open_file(struct blk_layer **out, struct loop *l, const struct config_disk *c, int fd,
		     bool read_only, struct err *e)
{
	/* seccomp vm: fcntl arg1=F_DUPFD_CLOEXEC/F_GETFL */
	struct file_config fc = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
				 .name = c->name,
				 .read_only = read_only,
				 .block = c->block,
				 .aio = (enum aio_kind)c->aio};
	int flags = fcntl(fd, F_GETFL);

	if (fc.fd < 0 || flags < 0) {
		base_close_fd(&fc.fd);
		return err_errno(e, errno, "cannot take over the disk %s", c->id);
	}
	fc.direct = flags & O_DIRECT;
	if (!read_only && (flags & O_ACCMODE) != O_RDWR) {
		base_close_fd(&fc.fd);
		return err_set(e, EBADF, "the file of the disk %s is not open for writing", c->id);
	}
	return file_open(out, l, &fc, e);
}

static int open_stack(struct blk_layer **out, struct loop *l, const struct config_disk *c, int fd,
		      int overlay_fd, struct err *e)
{
	struct blk_layer *file = NULL, *over = NULL;
	int r;

	r = open_file(&file, l, c, fd, c->read_only || c->snapshot, e);
	if (r || !c->snapshot) {
		*out = file;
		return r;
	}
	r = open_file(&over, l, c, overlay_fd, false, e);
	if (r) {
		file->class->destroy(file);
		return r;
	}
	return overlay_open(out, l, file, over, e);
}

int disks_add(struct disks *d, const struct config_disk *c, int fd, int overlay_fd, struct err *e)
{
	struct disk *k = calloc(1, sizeof(*k));
	struct blk_config bc = {
		.id = c->id,
		.pause_when_full = c->full == CONFIG_DISK_PAUSE,
		.limits = {c->limits.bps, c->limits.bps_burst, c->limits.iops, c->limits.iops_burst},
		.owner = {.ctx = k, .event = disk_event},
	};
	struct blk_layer *top;
	int r;

	if (!k)
		return err_set(e, ENOMEM, "out of memory");
	k->disks = d;
	k->cfg = *c;
	k->fd = fd;
	k->overlay_fd = overlay_fd;
	r = open_stack(&top, d->loop, c, fd, overlay_fd, e);
	if (!r)
		r = blk_create(&k->blk, d->loop, top, &bc, e);
	if (r) {
		free(k);
		return r;
	}
	d->disk[d->n++] = k;
	return 0;
}

int disks_create(struct disks **out, struct loop *l, const struct vm_config *c,
		 const struct config_fds *fds, const struct disks_owner *owner, struct err *e)
{
	struct disks *d = calloc(1, sizeof(*d));
	int r = 0;

	*out = NULL;
	if (!d)
		return err_set(e, ENOMEM, "out of memory");
	d->loop = l;
	d->owner = owner;
	loop_work_init(&d->pause, want_pause, d);
	for (unsigned i = 0; !r && i < c->n_disks; i++)
		r = disks_add(d, &c->disk[i], fds->fd[CONFIG_FD_DISK + i],
			      fds->fd[CONFIG_FD_OVERLAY + i], e);
	if (r) {
		disks_destroy(d);
		return r;
	}
	*out = d;
	return 0;
}

void disks_remove(struct disks *d, unsigned i)
{
	struct disk *k = d->disk[i];

	memmove(&d->disk[i], &d->disk[i + 1], (d->n - i - 1) * sizeof(d->disk[0]));
	d->n--;
	blk_destroy(k->blk);
	free(k);
}

int disks_eject(struct disks *d, unsigned i, struct err *e)
{
	d->disk[i]->fd = d->disk[i]->overlay_fd = -1;
	return blk_eject(d->disk[i]->blk, e);
}

bool disks_ejected(const struct disks *d, unsigned i)
{
	return d->disk[i]->fd < 0;
}

void disks_destroy(struct disks *d)
{
	if (!d)
		return;
	while (d->n)
		disks_remove(d, d->n - 1);
	loop_unpost(d->loop, &d->pause);
	free(d);
}

struct blk *disks_get(struct disks *d, unsigned i)
{
	return d->disk[i]->blk;
}

/* ---- requests ---- */

int disks_find(const struct disks *d, const char *id, struct err *e)
{
	char list[CONFIG_DISKS_MAX * (CONFIG_ID_MAX + 2) + 1] = "", shown[40];
	const char *names[CONFIG_DISKS_MAX + 1] = {NULL};
	size_t used = 0;

	for (unsigned i = 0; i < d->n; i++) {
		if (!strcmp(d->disk[i]->cfg.id, id))
			return (int)i;
		names[i] = d->disk[i]->cfg.id;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 names[i]);
	}
	err_quote(shown, sizeof(shown), id);
	if (d->n)
		err_set(e, ENODEV, "the VM has no disk \"%s\": it has %s", shown, list);
	else
		err_set(e, ENODEV, "the VM has no disk \"%s\": it has none", shown);
	err_limit(e, "%.90s", list);
	err_field(e, "disk", id);
	return -ENODEV;
}

int disks_grow(struct disks *d, const struct control_request *rq, json_t **result, struct err *e)
{
	int r = disks_find(d, rq->disk, e);
	struct blk *b;

	if (r < 0)
		return r;
	b = d->disk[r]->blk;
	r = blk_grow(b, rq->size, e);
	if (r)
		return r;
	*result = json_pack("{s:I}", "size", (json_int_t)blk_info(b)->size);
	return *result ? 0 : err_set(e, ENOMEM, "out of memory");
}

json_t *disks_query(struct disks *d)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; i < d->n; i++) {
		const struct disk *k = d->disk[i];
		const struct blk_limits *l = blk_limits(k->blk);
		const struct blk_info *info = blk_info(k->blk);
		uint64_t n_done = 0, n_errors = 0;
		struct blk_stats st;
		json_t *j;

		blk_stats(k->blk, &st);
		for (unsigned op = 0; op < BLK_OPS; op++) {
			n_done += st.op[op].ops;
			n_errors += st.op[op].errors;
		}
		j = json_pack(
			"{s:s, s:s, s:I, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			"id", k->cfg.id, "file", k->cfg.name, "size", (json_int_t)info->size, "ro",
			(int)info->read_only, "snapshot", (int)k->cfg.snapshot, "full",
			(int)blk_full(k->blk), "bps", (json_int_t)l->bps, "iops",
			(json_int_t)l->iops, "read_bytes", (json_int_t)st.op[BLK_READ].bytes,
			"write_bytes", (json_int_t)st.op[BLK_WRITE].bytes, "done",
			(json_int_t)n_done, "in_flight", (json_int_t)st.in_flight, "held",
			(json_int_t)st.held, "throttled", (json_int_t)st.throttled, "errors",
			(json_int_t)n_errors);
		if (k->error) {
			const char *name = strerrorname_np(k->error);

			r |= json_object_set_new(j, "error", json_string(name ? name : "EIO"));
		}
		r |= json_array_append_new(list, j);
	}
	if (r) {
		json_decref(list);
		return NULL;
	}
	return list;
}
