/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plug.c - disks and network cards for a VM that runs, and away from it: `lodge ctl VM disk add|rm` and `net add|rm`; declared in plug.h.
 *
 * What is added is opened here, by the options and checks of `lodge run`, and passed to the VM as open descriptors. A network of
 * its own (lodge-nat) is started here too and stays when we end, until the VM closes its socket.
 *
 * What is removed the guest has to let go of: we wait for the event that says so.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "keeper/plug.h"
#include "keeper/run.h"
#include "proto/control.h"
#include "util/clock.h"

#define SEND_NS (5 * CLOCK_NS_PER_S)

/* The list of devices of the VM, and the name PREFIXn with the smallest n that is not in it. */
static int free_index(int sock, enum control_cmd cmd, const char *prefix, uint64_t deadline,
		      unsigned *index, struct err *e)
{
	_autojson json_t *result = NULL;
	int r = control_call(sock, cmd, deadline, &result, e);
	json_t *j;
	size_t i;

	if (r < 0)
		return r;
	for (*index = 0; *index < CONFIG_DISKS_MAX + CONFIG_NETS_MAX; ++*index) {
		const json_t *list = json_object_get(result, prefix[0] == 'd' ? "disks" : "nets");
		bool taken = false;
		char id[16];

		snprintf(id, sizeof(id), "%s%u", prefix, *index);
		json_array_foreach(list, i, j)
		{
			const char *other = json_string_value(json_object_get(j, "id"));

			taken |= other && !strcmp(other, id);
		}
		if (!taken)
			return 0;
	}
	return 0;
}

/* CPUs and name of the VM. */
static int describe(int sock, uint64_t deadline, struct vm_config *c, struct err *e)
{
	_autojson json_t *result = NULL;
	int r = control_call(sock, CONTROL_QUERY, deadline, &result, e);
	const char *name;

	if (r < 0)
		return r;
	config_init(c);
	c->cpus = (unsigned)json_integer_value(json_object_get(result, "cpus"));
	name = json_string_value(json_object_get(result, "name"));
	if (name && config_check_name(name, NULL) == 0)
		strcpy(c->name, name);
	return 0;
}

/* Sends a device: the only one of the list. What was opened may have taken all of the time. */
static int send_device(int sock, enum control_cmd cmd, json_t *list, const int *fds, unsigned n_fds,
		       uint64_t deadline, struct err *e)
{
	_autojson json_t *req = control_request_json(1, cmd);
	uint64_t least = clock_ns() + SEND_NS;
	int r = -ENOMEM;

	if (req && list && json_object_set(req, "config", json_array_get(list, 0)) == 0)
		r = control_call_request(sock, req, fds, n_fds, MAX(deadline, least), NULL, e);
	else
		err_set(e, ENOMEM, "out of memory");
	json_decref(list);
	return r;
}

static int add_disk(int sock, const char *word, unsigned index, struct vm_config *c,
		    struct config_fds *fds, uint64_t deadline, struct err *e)
{
	struct run_disks disks = {0};
	int r = rundisk_add(word, index, c, &disks, e);

	if (r == 0)
		r = rundisk_open(&disks, c, fds, e);
	if (r == 0)
		r = send_device(sock, CONTROL_DISK_ADD, config_disk_to_json(c),
				(int[]){fds->fd[CONFIG_FD_DISK], fds->fd[CONFIG_FD_OVERLAY]},
				1u + c->disk[0].snapshot, deadline, e);
	rundisk_end(&disks);
	return r;
}

static int add_net(int sock, const char *word, unsigned index, struct vm_config *c,
		   struct config_fds *fds, bool apart, uint64_t deadline, struct err *e)
{
	struct run_nets nets = {.stay = true};
	int r = runnet_add(word, index, c, &nets, e);

	if (r == 0 && apart)
		r = runnet_apart(&nets, word, e);
	if (r == 0)
		r = runnet_open(&nets, c, fds, e);
	if (r == 0)
		r = send_device(sock, CONTROL_NET_ADD, config_net_to_json(c),
				&fds->fd[CONFIG_FD_NET], 1, deadline, e);
	if (r == 0)
		nets.net[0].pid = -1; /* it is the VM's now */
	runnet_end(&nets);
	return r;
}

/* Waits until the guest has let go of the device. */
static int wait_removed(int sock, const char *device, const char *id, uint64_t deadline,
			struct err *e)
{
	int event = !strcmp(device, "disk") ? CONTROL_EV_DISK_REMOVED : CONTROL_EV_NET_REMOVED;
	struct control_msg m;
	int r;

	control_msg_init(&m);
	while ((r = control_recv(sock, &m, deadline, e)) > 0) {
		const char *gone = json_string_value(json_object_get(m.json, device));
		bool found = control_parse_event(m.json) == event && gone && !strcmp(gone, id);

		control_msg_fini(&m);
		if (found)
			return 0;
		r = control_late(deadline, e);
		if (r < 0)
			break;
	}
	if (r == -ETIMEDOUT && e) {
		*e = (struct err){0};
		err_set(e, ETIMEDOUT,
			"the guest has not let go of %s yet: it is gone when it does, or at a reset; --force closes what is behind it at once",
			id);
		err_hint(e, "--force");
	}
	return r ? r : err_set(e, EPIPE, "the VM ended");
}

static int remove_device(int sock, const char *device, const char *id, bool force,
			 uint64_t deadline, struct err *e)
{
	_autojson json_t *req = control_request_json(1, !strcmp(device, "disk") ? CONTROL_DISK_RM :
										  CONTROL_NET_RM);
	int r;

	if (!req || json_object_set_new(req, device, json_string(id)) ||
	    json_object_set_new(req, "force", json_boolean(force)))
		return err_set(e, ENOMEM, "out of memory");
	r = control_call(sock, CONTROL_EVENTS, deadline, NULL, e);
	if (r == 0)
		r = control_call_request(sock, req, NULL, 0, deadline, NULL, e);
	return r < 0 || force ? r : wait_removed(sock, device, id, deadline, e);
}

bool plug_is(const char *device, const char *verb)
{
	return (!strcmp(device, "disk") || !strcmp(device, "net")) &&
	       (!strcmp(verb, "add") || !strcmp(verb, "rm"));
}

/* With this number, unless the word has a name for it. */
static int add(int sock, bool disk, const char *word, unsigned index, bool apart, uint64_t deadline,
	       json_t **result, struct err *e)
{
	struct config_fds fds;
	struct vm_config c;
	int r = describe(sock, deadline, &c, e);

	config_fds_init(&fds);
	if (r == 0)
		r = disk ? add_disk(sock, word, index, &c, &fds, deadline, e) :
			   add_net(sock, word, index, &c, &fds, apart, deadline, e);
	if (r == 0)
		*result = json_pack("{s:s}", "id", disk ? c.disk[0].id : c.net[0].id);
	config_fds_close(&fds);
	return r;
}

int plug_add(int sock, bool disk, const char *word, bool apart, uint64_t deadline_ns,
	     json_t **result, struct err *e)
{
	enum control_cmd list = disk ? CONTROL_DISKS : CONTROL_NETS;
	const char *prefix = disk ? "disk" : "net";
	unsigned index, next, tries = CONFIG_DISKS_MAX + CONFIG_NETS_MAX;
	int r = free_index(sock, list, prefix, deadline_ns, &next, e);

	*result = NULL;
	if (r < 0)
		return r;
	/* The number that was free may have been another client's meanwhile. */
	do {
		struct err why = {0};

		index = next;
		r = add(sock, disk, word, index, apart, deadline_ns, result, &why);
		if (r == 0 || free_index(sock, list, prefix, deadline_ns, &next, NULL) < 0 ||
		    next == index || --tries == 0) {
			if (r < 0 && e)
				*e = why;
			return r;
		}
	} while (true);
}

int plug_run(int sock, const char *device, const char *verb, const char *word, bool force,
	     uint64_t deadline_ns, json_t **result, struct err *e)
{
	*result = NULL;
	if (!strcmp(verb, "rm"))
		return remove_device(sock, device, word, force, deadline_ns, e);
	return plug_add(sock, !strcmp(device, "disk"), word, false, deadline_ns, result, e);
}
