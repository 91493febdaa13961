/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control socket of a VM: messages between lodge-vm and who started or controls it.
 *
 * Transport: AF_UNIX SOCK_SEQPACKET, one JSON object a packet, at most CONTROL_MAX_BYTES; fds go by
 * SCM_RIGHTS.
 *
 * Start. `lodge-vm --control-fd N` gets one first message on socket N with everything it needs:
 *   {"lodge":1,"config":{...},"fds":["kernel","initrd",...]}   + that many fds, in that order
 * by control_send_start() and control_recv_start(). When this socket closes, the VM ends. The same
 * socket then is a control connection like those accepted on the fd "control-listen" (which may
 * come and go).
 *
 * Then requests, answered in order on the connection they came on:
 *   {"id":7,"cmd":"pause"}   ->  {"id":7,"ok":true,"result":{...}}
 *                            or  {"id":7,"error":{"message":..,"code":"EINVAL","field":..,
 *                                                 "value":..,"limit":..,"hint":..}}
 *   query      result {"name","state":"running|paused","engine","cpus","memory","uptime_ms"}
 *   info       as query, and "sandbox":[{"layer":"seccomp","on":true,"note":".."},...]
 *   pause, resume, powerdown (ACPI power button), reset     result {}; also when already so
 *   quit       result {}, then the event "shutdown" with cause "quit", then the process ends
 *   balloon    result {"target_bytes","actual_bytes","resident_bytes"}; with "size":N the balloon is to take N bytes
 *   dump       result {"text":..}; "vcpu":N optional, default 0
 *   stats      result {"name":number,...}
 *   look       all that can keep a guest from going on: as query, "nets" as below, and "paused_by" (request, disk, save), "resets",
 *              "resident_bytes", "balloon_bytes", "console_pending", "agent" (none: no port; closed: nobody has it open; open; busy: and a
 *              client talks to it), "devices":[{"id","driver","broken"}], "vcpus":[{"doing" (runs, sleeps, dead: halted with
 *              interrupts off, off: not started), "rip","interrupts","cpl","cpu_us","halts","timer_ms"}]
 *   disk-limit result {}; "disk":id, and of "bps", "bps_burst", "iops", "iops_burst" those that change (0: none)
 *   disk-grow  result {"size":bytes}; "disk":id, "size":bytes optional: else what its file has grown to
 *   disks      result {"disks":[{"id",...}]}: what they are, limits, counters; nets: the same for network cards
 *   net-limit  result {}; "net":id, and of "bps", "bps_burst", "pps", "pps_burst" those that change (0: none)
 *   net-link   result {}; "net":id, "up":boolean: the cable is put in or pulled
 *   disk-add   result {}; "config": an object of the configuration's list "disk", with its file, and its overlay if it is a
 *              throw-away one, as fds. net-add: the same for "net" and its fd
 *   disk-rm    result {}; "disk":id: the guest is asked to let go; event "disk-removed" when it has. "force":true: its file is
 *              closed at once. net-rm with "net":id: the same
 *   save       with one fd, an empty regular file, writable: everything into it (state/state_file.h); result {"bytes",
 *              "memory_bytes","ms"}. The guest stands still meanwhile and goes on; with "hold":true it stays paused
 *   agent      with one fd, an end of a stream socket: it becomes the other end of the port for a guest agent, if there is a
 *              program in the guest that has the port open: result {"open":bool}. EBUSY while somebody else talks to it,
 *              ENODEV in a machine without that port
 *   listen     with one fd, a listening socket: others connect there, too; of the last one that was given so. For the start socket only
 *   events     result {}: from now on events are sent to this connection too
 *
 * Events, to the start socket always and to the connections that asked:
 *   {"event":"started"}, {"event":"paused"}, {"event":"resumed"}
 *   {"event":"powerdown"}                      the power button was pressed; the guest is still up
 *   {"event":"reset","cause":"guest|request|crash"}  the machine was reset and runs again
 *   {"event":"disk-error","disk":id,"op":"write","offset":N,"bytes":N,"error":"ENOSPC","action":"pause|report"}
 *                                              pause: the VM is paused; after a resume it is tried again (ENOSPC,
 *                                              EDQUOT), or the guest sees the error (a flush)
 *   {"event":"disk-size","disk":id,"size":N}   it has grown
 *   {"event":"disk-removed","disk":id,"forced":boolean}, {"event":"net-removed","net":id,...}  what was behind it is closed
 *   {"event":"halted"}                         every vCPU sleeps with interrupts off, for ever
 * Last ones: one of these is sent, then the socket closes and the process ends:
 *   {"event":"shutdown","cause":"poweroff|quit|reset"}   reset: with no_reboot
 *   {"event":"crashed","text":..}                 triple fault, or the kernel's panic (board/pvpanic.h)
 *   {"event":"guest-exit","code":N}               the test device was written, N the value, 0..255
 *   {"event":"error","message":..,"code":..,...}  cannot start or go on: an error object as above
 *
 * lodge-vm's own exit status: 0 after shutdown and guest-exit, 3 after crashed, 1 after error,
 * 2 bad arguments.
 */
#ifndef LODGE_PROTO_CONTROL_H
#define LODGE_PROTO_CONTROL_H

#include "proto/config.h"

#define CONTROL_PROTOCOL 1u
#define CONTROL_MAX_BYTES ((size_t)128 * 1024)
#define CONTROL_MAX_FDS 64u

enum control_cmd {
	CONTROL_QUERY,
	CONTROL_PAUSE,
	CONTROL_RESUME,
	CONTROL_POWERDOWN,
	CONTROL_RESET,
	CONTROL_QUIT,
	CONTROL_DUMP,
	CONTROL_STATS,
	CONTROL_SAVE,
	CONTROL_EVENTS,
	CONTROL_BALLOON,
	CONTROL_DISK_LIMIT,
	CONTROL_DISK_GROW,
	CONTROL_INFO,
	CONTROL_AGENT,
	CONTROL_DISKS,
	CONTROL_NETS,
	CONTROL_NET_LIMIT,
	CONTROL_NET_LINK,
	CONTROL_DISK_ADD,
	CONTROL_DISK_RM,
	CONTROL_NET_ADD,
	CONTROL_NET_RM,
	CONTROL_LOOK,
	CONTROL_LISTEN,
	CONTROL_CMDS
};
extern const char *const control_cmd_names[]; /* NULL-terminated */

enum control_event {
	CONTROL_EV_STARTED,
	CONTROL_EV_PAUSED,
	CONTROL_EV_RESUMED,
	CONTROL_EV_POWERDOWN,
	CONTROL_EV_RESET,
	CONTROL_EV_HALTED,
	CONTROL_EV_DISK_ERROR,
	CONTROL_EV_DISK_SIZE,
	CONTROL_EV_DISK_REMOVED,
	CONTROL_EV_NET_REMOVED,
	CONTROL_EV_SHUTDOWN,
	CONTROL_EV_CRASHED,
	CONTROL_EV_GUEST_EXIT,
	CONTROL_EV_ERROR,
	CONTROL_EVENTS_N
};
extern const char *const control_event_names[];

/* ---- packets ---- */

/* A received message; fds that nobody took are closed by control_msg_fini(). */
struct control_msg {
	json_t *json; /* an object */
	int fd[CONTROL_MAX_FDS];
	unsigned n_fds;
};

void control_msg_init(struct control_msg *m);
void control_msg_fini(struct control_msg *m);

#define CONTROL_NO_WAIT 0u
#define CONTROL_WAIT_FOREVER UINT64_MAX

/*
 * Sends one packet with copies of the fds (they stay the caller's). deadline_ns: a clock_ns() time,
 * CONTROL_NO_WAIT or CONTROL_WAIT_FOREVER. 0; -EAGAIN (no room without waiting), -ETIMEDOUT, -EPIPE
 * (peer gone), -EMSGSIZE, ... Never raises SIGPIPE.
 */
int control_send(int sock, const json_t *msg, const int *fds, unsigned n_fds, uint64_t deadline_ns,
		 struct err *e);
/*
 * Receives one packet into m (initialised). 1: a message; 0: the peer closed; -EAGAIN, -ETIMEDOUT;
 * -EINVAL or -EMSGSIZE: the packet was not a proper message (it is gone, its fds closed; the
 * connection is still usable). fds are close-on-exec.
 */
int control_recv(int sock, struct control_msg *m, uint64_t deadline_ns, struct err *e);
/*
 * -ETIMEDOUT when the deadline has passed. For loops that wait for one message among others: who sends others without end would keep
 * them for ever.
 */
int control_late(uint64_t deadline_ns, struct err *e);

/* ---- start ---- */

int control_send_start(int sock, const struct vm_config *c, const struct config_fds *fds,
		       struct err *e);
/* Validates all of it: the config, the roles (each at most once, as many as fds), and that the fds
 * fit the config ("kernel" there, "initrd" iff boot.initrd; both regular files). On success fds own
 * the descriptors. */
int control_recv_start(int sock, struct vm_config *c, struct config_fds *fds, uint64_t deadline_ns,
		       struct err *e);

/* ---- server side ---- */

struct control_request {
	uint64_t id;
	enum control_cmd cmd;
	unsigned vcpu; /* dump */
	bool has_size; /* balloon: set it; disk-grow: to this */
	uint64_t size;
	char disk[CONFIG_ID_MAX + 1]; /* disk-*, "" else */
	struct {
		bool bps, bps_burst, iops, iops_burst, pps, pps_burst;
	} given; /* disk-limit, net-limit */
	struct config_disk_limits limits;
	char net[CONFIG_ID_MAX + 1]; /* net-*, "" else */
	uint64_t pps, pps_burst;     /* net-limit; bytes are in `limits` */
	bool up;		     /* net-link */
	bool force;		     /* disk-rm, net-rm */
	bool hold;		     /* save */
};

/* -EINVAL: not a request; r->id is the message's if it had a usable one, else 0: for the reply. */
int control_parse_request(const json_t *msg, struct control_request *r, struct err *e);
/* New objects, or NULL when out of memory (control_send() refuses NULL). `result` and `details` are
 * consumed and may be NULL. */
json_t *control_reply_ok(uint64_t id, json_t *result);
json_t *control_reply_error(uint64_t id, const struct err *e);
json_t *control_event(enum control_event ev, json_t *details);
/* {message, code, field, value, limit, hint}: the JSON form of an error. */
json_t *control_error_json(const struct err *e);

/* ---- client side ---- */

/* The reverse: fills *e (zeroed before) from an error object, whatever is in it. Returns -e->code. */
int control_error_parse(const json_t *error, struct err *e);
/* Which event a message is, or -1. */
int control_parse_event(const json_t *msg);
/* Is it the reply to `id`? 1 and *result (borrowed) on success; -errno and e filled from the error
 * object when the request failed; 0: some other message. */
int control_parse_reply(const json_t *msg, uint64_t id, json_t **result, struct err *e);
json_t *control_request_json(uint64_t id, enum control_cmd cmd);
/* Sends cmd and waits for its reply; events that come in between are dropped. *result (may be NULL)
 * is owned by the caller. */
int control_call(int sock, enum control_cmd cmd, uint64_t deadline_ns, json_t **result,
		 struct err *e);

/* The command "save" with its file (which stays the caller's). */
int control_call_save(int sock, int fd, bool hold, uint64_t deadline_ns, json_t **result,
		      struct err *e);

/* The command "agent" with its socket (which stays the caller's). *open: the guest has an agent, and fd is its. */
int control_call_agent(int sock, int fd, uint64_t deadline_ns, bool *open, struct err *e);
/* A request of the caller's (with any id), with descriptors, which stay the caller's. As control_call(). */
int control_call_request(int sock, json_t *req, const int *fds, unsigned n_fds,
			 uint64_t deadline_ns, json_t **result, struct err *e);

/* ---- named sockets ---- */

/* Makes a listening socket at path, mode 0600. A socket there that nobody listens on is removed; a
 * live one is -EADDRINUSE. Returns the fd or -errno. */
int control_listen(const char *path, struct err *e);
/* The same for a stream socket of another purpose: `what` for messages ("guest agent's socket"), and the option. */
int control_listen_stream(const char *path, const char *what, const char *field, struct err *e);
/* Connects to it. Returns the fd or -errno. */
int control_connect(const char *path, struct err *e);
/* Both for a socket of another purpose: its type, what it is for messages, and the option. */
struct control_name {
	int type;
	const char *what, *field;
};
int control_listen_named(const char *path, const struct control_name *n, struct err *e);
int control_connect_named(const char *path, const struct control_name *n, struct err *e);

#endif
