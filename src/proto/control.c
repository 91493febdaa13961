/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the meaning of control messages: start, requests, replies, events. Packets: packet.c.
 */
#include "proto/control.h"
#include "util/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

const char *const control_cmd_names[] = {"query",     "pause",	   "resume",   "powerdown",
					 "reset",     "quit",	   "dump",     "stats",
					 "save",      "events",	   "balloon",  "disk-limit",
					 "disk-grow", "info",	   "agent",    "disks",
					 "nets",      "net-limit", "net-link", "disk-add",
					 "disk-rm",   "net-add",   "net-rm",   "look",
					 "listen",    NULL};
const char *const control_event_names[] = {"started",	   "paused",	  "resumed",	"powerdown",
					   "reset",	   "halted",	  "disk-error", "disk-size",
					   "disk-removed", "net-removed", "shutdown",	"crashed",
					   "guest-exit",   "error",	  NULL};
_Static_assert(ARRAY_SIZE(control_cmd_names) == CONTROL_CMDS + 1, "a name for each command");
_Static_assert(ARRAY_SIZE(control_event_names) == CONTROL_EVENTS_N + 1, "a name for each event");

/* ---- start ---- */

int control_send_start(int sock, const struct vm_config *c, const struct config_fds *fds,
		       struct err *e)
{
	_autojson json_t *msg = json_object();
	json_t *roles = json_array();
	int list[CONFIG_FDS];
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < CONFIG_FDS; i++) {
		if (fds->fd[i] < 0)
			continue;
		list[n++] = fds->fd[i];
		r |= json_array_append_new(roles, json_string(config_fd_names[i]));
	}
	r |= json_object_set_new(msg, "lodge", json_integer(CONTROL_PROTOCOL));
	r |= json_object_set_new(msg, "config", config_to_json(c));
	r |= json_object_set_new(msg, "fds", roles);
	if (r)
		return err_errno(e, ENOMEM, "cannot make the start message");
	return control_send(sock, msg, list, n, CONTROL_WAIT_FOREVER, e);
}

/* Which role each fd has; moves them from m to fds. */
static int control_take_roles(struct control_msg *m, struct config_fds *fds, struct err *e)
{
	const json_t *roles = json_object_get(m->json, "fds");
	char shown[40];

	if (!json_is_array(roles) || json_array_size(roles) != m->n_fds)
		return err_set(e, EINVAL, "the start message names %zu files and carries %u",
			       json_array_size(roles), m->n_fds);
	for (unsigned i = 0; i < m->n_fds; i++) {
		const char *name = json_string_value(json_array_get(roles, i));
		unsigned k;

		for (k = 0; name && k < CONFIG_FDS && strcmp(config_fd_names[k], name); k++)
			;
		if (!name || k == CONFIG_FDS)
			return err_set(e, EINVAL,
				       "the start message has a file of unknown use \"%s\"",
				       err_quote(shown, sizeof(shown), name ? name : ""));
		if (fds->fd[k] >= 0)
			return err_set(e, EINVAL, "the start message has the file \"%s\" twice",
				       name);
		fds->fd[k] = m->fd[i];
		m->fd[i] = -1;
	}
	return 0;
}

static int control_check_file(int fd, const char *role, struct err *e)
{
	struct stat st;

	if (fd < 0)
		return err_set(e, EINVAL, "the start message lacks the file \"%s\"", role);
	/* seccomp vm: fstat */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL,
			       "the file \"%s\" of the start message is not a regular file", role);
	return 0;
}

/* Disk number i: a file or block device for each that the configuration has, an overlay for those that want one. */
static int control_check_disk(const struct vm_config *c, const struct config_fds *fds, unsigned i,
			      struct err *e)
{
	const char *const *name = config_fd_names;
	int fd = fds->fd[CONFIG_FD_DISK + i], over = fds->fd[CONFIG_FD_OVERLAY + i];
	bool there = i < c->n_disks, snapshot = there && c->disk[i].snapshot;
	struct stat st;

	if (there != (fd >= 0) || snapshot != (over >= 0))
		return err_set(
			e, EINVAL,
			"the files \"%s\" and \"%s\" of the start message do not fit the configuration",
			name[CONFIG_FD_DISK + i], name[CONFIG_FD_OVERLAY + i]);
	if (there && (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))))
		return err_set(
			e, EINVAL,
			"the file \"%s\" of the start message is neither a regular file nor a block device",
			name[CONFIG_FD_DISK + i]);
	return snapshot ? control_check_file(over, name[CONFIG_FD_OVERLAY + i], e) : 0;
}

/* Exactly those that the configuration has: `n` of `max`, from this role on. */
static int control_check_count(const struct config_fds *fds, unsigned first, unsigned n,
			       unsigned max, struct err *e)
{
	for (unsigned i = 0; i < max; i++) {
		if ((fds->fd[first + i] >= 0) == (i < n))
			continue;
		return err_set(
			e, EINVAL,
			i < n ? "the start message lacks the file \"%s\"" :
				"the start message has a file \"%s\" that the configuration does not name",
			config_fd_names[first + i]);
	}
	return 0;
}

int control_recv_start(int sock, struct vm_config *c, struct config_fds *fds, uint64_t deadline_ns,
		       struct err *e)
{
	static const char *const keys[] = {"lodge", "config", "fds", NULL};
	struct control_msg m;
	uint64_t version;
	int r;

	control_msg_init(&m);
	config_fds_init(fds);
	r = control_recv(sock, &m, deadline_ns, e);
	if (r <= 0)
		return r ? r : err_errno(e, EPIPE, "no start message came");
	r = json_check_keys(m.json, keys, "the start message", e);
	if (!r && json_get_u64(m.json, "lodge", true, CONTROL_PROTOCOL, CONTROL_PROTOCOL, &version,
			       e) < 0)
		r = -EINVAL;
	if (!r)
		r = config_from_json(json_object_get(m.json, "config"), c, e);
	if (!r)
		r = control_take_roles(&m, fds, e);
	if (!r && fds->fd[CONFIG_FD_STATE] >= 0)
		r = control_check_file(fds->fd[CONFIG_FD_STATE], "state", e);
	if (!r && fds->fd[CONFIG_FD_STATE] >= 0 &&
	    (fds->fd[CONFIG_FD_KERNEL] >= 0 || fds->fd[CONFIG_FD_INITRD] >= 0))
		r = err_set(e, EINVAL,
			    "the start message has a saved state and a kernel or initrd beside it");
	if (!r && fds->fd[CONFIG_FD_STATE] < 0 && c->kernel_name[0])
		r = control_check_file(fds->fd[CONFIG_FD_KERNEL], "kernel", e);
	if (!r && !c->kernel_name[0] && fds->fd[CONFIG_FD_KERNEL] >= 0)
		r = err_set(e, EINVAL,
			    "the start message has a kernel that the configuration does not name");
	if (!r && fds->fd[CONFIG_FD_STATE] < 0 && c->initrd_name[0])
		r = control_check_file(fds->fd[CONFIG_FD_INITRD], "initrd", e);
	if (!r && !c->initrd_name[0] && fds->fd[CONFIG_FD_INITRD] >= 0)
		r = err_set(e, EINVAL,
			    "the start message has an initrd that the configuration does not name");
	if (!r && c->soft_perf_map)
		r = control_check_file(fds->fd[CONFIG_FD_PERF_MAP], "perf-map", e);
	for (unsigned i = 0; !r && i < CONFIG_DISKS_MAX; i++)
		r = control_check_disk(c, fds, i, e);
	if (!r && c->engine == CONFIG_ENGINE_KVM && fds->fd[CONFIG_FD_KVM] < 0)
		r = err_set(e, EINVAL,
			    "the start message lacks the file \"kvm\" for the engine kvm");
	if (!r)
		r = control_check_count(fds, CONFIG_FD_NET, c->n_nets, CONFIG_NETS_MAX, e);
	if (!r)
		r = control_check_count(fds, CONFIG_FD_SHARE, c->n_shares, CONFIG_SHARES_MAX, e);
	if (r)
		config_fds_close(fds);
	control_msg_fini(&m);
	return r;
}

/* ---- server side ---- */

/* A handful of codes have a name that is part of the protocol; errno's own names serve. */
static const char *control_code_name(int code)
{
	const char *name = strerrorname_np(code);

	return name ? name : "EINVAL";
}

static int control_code_number(const char *name)
{
	for (int i = 1; name && i < 134; i++) {
		const char *known = strerrorname_np(i);

		if (known && !strcmp(known, name))
			return i;
	}
	return EIO;
}

json_t *control_error_json(const struct err *e)
{
	const struct {
		const char *key, *text;
	} part[] = {{"message", e->msg}, {"code", control_code_name(e->code)},
		    {"field", e->field}, {"value", e->value},
		    {"limit", e->limit}, {"hint", e->hint}};
	json_t *j = json_object();
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
		json_t *text = json_string(part[i].text);

		/* Text from outside may be no UTF-8. */
		r |= json_object_set_new(j, part[i].key, text ? text : json_string("?"));
	}
	if (r) {
		json_decref(j);
		return NULL;
	}
	return j;
}

int control_parse_request(const json_t *msg, struct control_request *r, struct err *e)
{
	static const char *const keys[] = {"id",    "cmd", "vcpu",	"disk", "size",
					   "hold",  "bps", "bps_burst", "iops", "iops_burst",
					   "net",   "pps", "pps_burst", "up",	"config",
					   "force", NULL};
	uint64_t vcpu = 0;
	unsigned cmd = 0;
	bool net;

	memset(r, 0, sizeof(*r));
	if (json_get_u64(msg, "id", true, 0, INT64_MAX, &r->id, e) < 0 ||
	    json_check_keys(msg, keys, "the request", e) < 0 ||
	    json_get_choice(msg, "cmd", true, control_cmd_names, &cmd, e) < 0 ||
	    json_get_u64(msg, "vcpu", false, 0, CONFIG_CPUS_MAX - 1, &vcpu, e) < 0 ||
	    json_get_u64(msg, "size", false, 0,
			 cmd == CONTROL_DISK_GROW ? (uint64_t)INT64_MAX : CONFIG_MEMORY_MAX,
			 &r->size, e) < 0 ||
	    json_get_text(msg, "disk",
			  cmd == CONTROL_DISK_LIMIT || cmd == CONTROL_DISK_GROW ||
				  cmd == CONTROL_DISK_RM,
			  r->disk, sizeof(r->disk), e) < 0 ||
	    config_disk_limits_from_json(msg, &r->limits, e) < 0 ||
	    json_get_bool(msg, "hold", false, &r->hold, e) < 0)
		return -EINVAL;
	net = cmd == CONTROL_NET_LIMIT || cmd == CONTROL_NET_LINK || cmd == CONTROL_NET_RM;
	if (json_get_text(msg, "net", net, r->net, sizeof(r->net), e) < 0 ||
	    json_get_u64(msg, "pps", false, 0, INT64_MAX, &r->pps, e) < 0 ||
	    json_get_u64(msg, "pps_burst", false, 0, INT64_MAX, &r->pps_burst, e) < 0 ||
	    json_get_bool(msg, "up", cmd == CONTROL_NET_LINK, &r->up, e) < 0 ||
	    json_get_bool(msg, "force", false, &r->force, e) < 0)
		return -EINVAL;
	r->given.pps = json_object_get(msg, "pps");
	r->given.pps_burst = json_object_get(msg, "pps_burst");
	r->has_size = json_object_get(msg, "size") != NULL;
	r->given.bps = json_object_get(msg, "bps");
	r->given.bps_burst = json_object_get(msg, "bps_burst");
	r->given.iops = json_object_get(msg, "iops");
	r->given.iops_burst = json_object_get(msg, "iops_burst");
	r->cmd = (enum control_cmd)cmd;
	r->vcpu = (unsigned)vcpu;
	return 0;
}

json_t *control_reply_ok(uint64_t id, json_t *result)
{
	json_t *j = json_object();
	int r = 0;

	r |= json_object_set_new(j, "id", json_u64(id));
	r |= json_object_set_new(j, "ok", json_true());
	r |= json_object_set_new(j, "result", result ? result : json_object());
	if (r) {
		json_decref(j);
		return NULL;
	}
	return j;
}

json_t *control_reply_error(uint64_t id, const struct err *e)
{
	json_t *j = json_object();
	int r = 0;

	r |= json_object_set_new(j, "id", json_u64(id));
	r |= json_object_set_new(j, "error", control_error_json(e));
	if (r) {
		json_decref(j);
		return NULL;
	}
	return j;
}

json_t *control_event(enum control_event ev, json_t *details)
{
	json_t *j = details ? details : json_object();

	if (json_object_set_new(j, "event", json_string(control_event_names[ev]))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* ---- client side ---- */

int control_parse_event(const json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "event"));

	for (int i = 0; name && i < CONTROL_EVENTS_N; i++)
		if (!strcmp(name, control_event_names[i]))
			return i;
	return -1;
}

static const char *control_text(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

int control_error_parse(const json_t *error, struct err *e)
{
	struct err in = {.code = control_code_number(control_text(error, "code"))};

	err_quote(in.msg, sizeof(in.msg), control_text(error, "message"));
	err_quote(in.field, sizeof(in.field), control_text(error, "field"));
	err_quote(in.value, sizeof(in.value), control_text(error, "value"));
	err_quote(in.limit, sizeof(in.limit), control_text(error, "limit"));
	err_quote(in.hint, sizeof(in.hint), control_text(error, "hint"));
	if (e)
		*e = in;
	return -in.code;
}

int control_parse_reply(const json_t *msg, uint64_t id, json_t **result, struct err *e)
{
	const json_t *got = json_object_get(msg, "id"), *error = json_object_get(msg, "error");

	if (!json_is_integer(got) || (uint64_t)json_integer_value(got) != id)
		return 0;
	if (error)
		return control_error_parse(error, e);
	*result = json_object_get(msg, "result");
	if (json_is_true(json_object_get(msg, "ok")) && json_is_object(*result))
		return 1;
	return err_set(e, EPROTO, "the VM sent a reply that is none");
}

json_t *control_request_json(uint64_t id, enum control_cmd cmd)
{
	json_t *j = json_object();
	int r = 0;

	r |= json_object_set_new(j, "id", json_u64(id));
	r |= json_object_set_new(j, "cmd", json_string(control_cmd_names[cmd]));
	if (r) {
		json_decref(j);
		return NULL;
	}
	return j;
}

static uint64_t control_next_id(void)
{
	static uint64_t last_id;

	return __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
}

int control_late(uint64_t deadline_ns, struct err *e)
{
	return clock_ns() < deadline_ns ? 0 : err_errno(e, ETIMEDOUT, "no answer came");
}

/* Sends a request, with an fd or -1, and waits for its reply. */
static int control_talk(int sock, const json_t *req, uint64_t id, const int *fds, unsigned n_fds,
			uint64_t deadline_ns, json_t **result, struct err *e)
{
	struct control_msg m;
	json_t *got = NULL;
	int r;

	control_msg_init(&m);
	r = control_send(sock, req, fds, n_fds, deadline_ns, e);
	if (r)
		return r;
	for (;;) {
		r = control_recv(sock, &m, deadline_ns, e);
		if (r == 0)
			r = err_errno(e, EPIPE, "the VM closed the control connection");
		if (r < 0)
			break;
		r = control_parse_reply(m.json, id, &got, e);
		if (r == 0)
			r = control_late(deadline_ns, e);
		if (r)
			break;
	}
	if (r > 0 && result)
		*result = json_incref(got);
	control_msg_fini(&m);
	return r > 0 ? 0 : r;
}

int control_call(int sock, enum control_cmd cmd, uint64_t deadline_ns, json_t **result,
		 struct err *e)
{
	uint64_t id = control_next_id();
	_autojson json_t *req = control_request_json(id, cmd);

	return control_talk(sock, req, id, NULL, 0, deadline_ns, result, e);
}

int control_call_save(int sock, int fd, bool hold, uint64_t deadline_ns, json_t **result,
		      struct err *e)
{
	uint64_t id = control_next_id();
	_autojson json_t *req = control_request_json(id, CONTROL_SAVE);

	if (!req || json_object_set_new(req, "hold", json_boolean(hold)))
		return err_errno(e, ENOMEM, "cannot make the request");
	return control_talk(sock, req, id, &fd, 1, deadline_ns, result, e);
}

int control_call_request(int sock, json_t *req, const int *fds, unsigned n_fds,
			 uint64_t deadline_ns, json_t **result, struct err *e)
{
	uint64_t id = control_next_id();

	if (json_object_set_new(req, "id", json_u64(id)))
		return err_errno(e, ENOMEM, "cannot make the request");
	return control_talk(sock, req, id, fds, n_fds, deadline_ns, result, e);
}

int control_call_agent(int sock, int fd, uint64_t deadline_ns, bool *open, struct err *e)
{
	uint64_t id = control_next_id();
	_autojson json_t *req = control_request_json(id, CONTROL_AGENT);
	_autojson json_t *result = NULL;
	int r = control_talk(sock, req, id, &fd, 1, deadline_ns, &result, e);

	if (!r && json_get_bool(result, "open", true, open, e) < 0)
		r = -EPROTO;
	return r;
}
