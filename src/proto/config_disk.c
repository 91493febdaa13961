/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_disk.c - the disks of a configuration: JSON both ways, checks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/config.h"

const char *const config_disk_cache_names[] = {"writeback", "none", NULL};
const char *const config_disk_full_names[] = {"pause", "report", NULL};
const char *const config_disk_aio_names[] = {"auto", "io_uring", "threads", NULL};
_Static_assert(ARRAY_SIZE(config_disk_cache_names) == CONFIG_DISK_CACHES + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_disk_full_names) == CONFIG_DISK_FULLS + 1, "a name for each");
_Static_assert(ARRAY_SIZE(config_disk_aio_names) == CONFIG_DISK_AIOS + 1, "a name for each");

json_t *config_disk_to_json(const struct vm_config *c)
{
	json_t *list = json_array();
	int r = 0;

	for (unsigned i = 0; i < c->n_disks; i++) {
		const struct config_disk *d = &c->disk[i];
		json_t *j = json_object();

		r |= json_object_set_new(j, "id", json_string(d->id));
		r |= json_object_set_new(j, "file", json_string(d->name));
		r |= json_object_set_new(j, "format", json_string("raw"));
		r |= json_object_set_new(j, "ro", json_boolean(d->read_only));
		r |= json_object_set_new(j, "snapshot", json_boolean(d->snapshot));
		r |= json_object_set_new(j, "cache", json_string(config_disk_cache_names[d->cache]));
		r |= json_object_set_new(j, "full", json_string(config_disk_full_names[d->full]));
		r |= json_object_set_new(j, "aio", json_string(config_disk_aio_names[d->aio]));
		r |= json_object_set_new(j, "serial", json_string(d->serial));
		r |= json_object_set_new(j, "queues", json_integer(d->queues));
		r |= json_object_set_new(j, "block", json_integer(d->block));
		if (d->changed)
			r |= json_object_set_new(j, "changed", json_true());
		r |= json_object_set_new(j, "bps", json_u64(d->limits.bps));
		r |= json_object_set_new(j, "bps_burst", json_u64(d->limits.bps_burst));
		r |= json_object_set_new(j, "iops", json_u64(d->limits.iops));
		r |= json_object_set_new(j, "iops_burst", json_u64(d->limits.iops_burst));
		r |= json_array_append_new(list, j);
	}
	if (r) {
		json_decref(list);
		return NULL;
	}
	return list;
}

int config_disk_limits_from_json(const json_t *j, struct config_disk_limits *l, struct err *e)
{
	if (json_get_u64(j, "bps", false, 0, INT64_MAX, &l->bps, e) < 0 ||
	    json_get_u64(j, "bps_burst", false, 0, INT64_MAX, &l->bps_burst, e) < 0 ||
	    json_get_u64(j, "iops", false, 0, INT64_MAX, &l->iops, e) < 0 ||
	    json_get_u64(j, "iops_burst", false, 0, INT64_MAX, &l->iops_burst, e) < 0)
		return -EINVAL;
	return 0;
}

static int one_from_json(const json_t *j, struct config_disk *d, struct err *e)
{
	static const char *const keys[] = {"id",      "file", "format", "ro",	     "snapshot",
					   "cache",   "full", "aio",	"serial",    "queues",
					   "block",   "bps",  "iops",	"bps_burst", "iops_burst",
					   "changed", NULL};
	static const char *const formats[] = {"raw", NULL};
	unsigned format, cache = 0, full = 0, aio = 0;
	uint64_t queues = 0, block = 0;

	if (json_check_keys(j, keys, "the disk", e) ||
	    json_get_text(j, "id", true, d->id, sizeof(d->id), e) < 0 ||
	    json_get_text(j, "file", true, d->name, sizeof(d->name), e) < 0 ||
	    json_get_choice(j, "format", true, formats, &format, e) < 0 ||
	    json_get_bool(j, "ro", true, &d->read_only, e) < 0 ||
	    json_get_bool(j, "snapshot", true, &d->snapshot, e) < 0 ||
	    json_get_choice(j, "cache", true, config_disk_cache_names, &cache, e) < 0 ||
	    json_get_choice(j, "full", true, config_disk_full_names, &full, e) < 0 ||
	    json_get_choice(j, "aio", true, config_disk_aio_names, &aio, e) < 0 ||
	    json_get_text(j, "serial", true, d->serial, sizeof(d->serial), e) < 0 ||
	    json_get_bool(j, "changed", false, &d->changed, e) < 0 ||
	    json_get_u64(j, "queues", true, 1, CONFIG_DISK_QUEUES_MAX, &queues, e) < 0 ||
	    json_get_u64(j, "block", true, 512, 4096, &block, e) < 0 ||
	    config_disk_limits_from_json(j, &d->limits, e) < 0)
		return -EINVAL;
	d->cache = (enum config_disk_cache)cache;
	d->full = (enum config_disk_full)full;
	d->aio = (enum config_disk_aio)aio;
	d->queues = (unsigned)queues;
	d->block = (unsigned)block;
	return 0;
}

int config_disk_from_json(const json_t *list, struct vm_config *c, struct err *e)
{
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > CONFIG_DISKS_MAX) {
		err_set(e, EINVAL, "the disks are not a list of at most %u", CONFIG_DISKS_MAX);
		return err_field(e, "disk", NULL);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		int r = one_from_json(json_array_get(list, i), &c->disk[i], e);

		if (r)
			return r;
	}
	c->n_disks = (unsigned)json_array_size(list);
	return 0;
}

int config_disk_add(struct vm_config *c, const json_t *j, struct err *e)
{
	int r;

	if (c->n_disks == CONFIG_DISKS_MAX) {
		err_set(e, ENOSPC, "the VM has %u disks already, and cannot have more", c->n_disks);
		return err_limit(e, "%u", CONFIG_DISKS_MAX);
	}
	c->disk[c->n_disks] = (struct config_disk){0};
	r = one_from_json(j, &c->disk[c->n_disks], e);
	c->n_disks += r == 0;
	return r;
}

static int check_serial(const struct config_disk *d, struct err *e)
{
	for (const char *p = d->serial; *p; p++) {
		if (*p > ' ' && *p < 0x7f)
			continue;
		err_set(e, EINVAL,
			"the serial number of the disk %s has a character that is not allowed: use letters, digits and signs",
			d->id);
		err_limit(e, "1..%u printable characters", CONFIG_DISK_SERIAL_MAX);
		return err_field(e, "serial", d->serial);
	}
	return 0;
}

int config_disk_check(const struct vm_config *c, struct err *e)
{
	if (c->n_disks > CONFIG_DISKS_MAX) {
		err_set(e, EINVAL, "%u disks are too many: a VM has at most %u", c->n_disks,
			CONFIG_DISKS_MAX);
		err_limit(e, "%u", CONFIG_DISKS_MAX);
		return err_field(e, "disk", NULL);
	}
	for (unsigned i = 0; i < c->n_disks; i++) {
		const struct config_disk *d = &c->disk[i];
		int r = config_check_id(d->id, e);

		if (!r)
			r = check_serial(d, e);
		if (r)
			return r;
		if ((unsigned)d->cache >= CONFIG_DISK_CACHES ||
		    (unsigned)d->full >= CONFIG_DISK_FULLS ||
		    (unsigned)d->aio >= CONFIG_DISK_AIOS || d->queues < 1 ||
		    d->queues > CONFIG_DISK_QUEUES_MAX || (d->block != 512 && d->block != 4096))
			return err_set(e, EINVAL, "the disk %s has a choice out of range", d->id);
		if (d->snapshot && d->read_only) {
			err_set(e, EINVAL,
				"the disk %s cannot be both read-only and a throw-away one: choose one of ro and snapshot",
				d->id);
			return err_field(e, "snapshot", NULL);
		}
		for (unsigned k = 0; k < i; k++) {
			if (strcmp(c->disk[k].id, d->id) != 0)
				continue;
			err_set(e, EEXIST, "two disks are called %s", d->id);
			return err_field(e, "id", d->id);
		}
	}
	return 0;
}
