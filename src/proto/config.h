/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the resolved configuration of one VM, as it crosses the process boundary to lodge-vm.
 *
 * Everything is decided: no "auto", no paths (files travel as open fds, see enum config_fd; names
 * are for messages only). In JSON it is one flat object of dotted keys; config_from_json() treats it
 * as hostile: unknown key, wrong type, out of range, missing are all errors that name the key.
 *
 *   key          JSON     field          notes
 *   name         string   name           config_check_name()
 *   engine       string   engine         "soft", "kvm"
 *   soft.mode    string   soft_mode      "translate", "reference", "lockstep", "chaos"
 *   soft.cache   integer  soft_cache_bytes
 *   soft.perf_map boolean soft_perf_map  names of translated code for `perf`; needs fd "perf-map"
 *   soft.trace   string   soft_trace     optional: guest address, config_parse_address()
 *   kvm.pit      string   kvm_pit        optional: "auto", "board", "kernel": whose interval timer the guest has under KVM
 *   acpi         string   acpi           optional: "auto", "full", "reduced": the fixed hardware that the ACPI tables describe
 *   cpus         integer  cpus           1..CONFIG_CPUS_MAX
 *   cpu.model    string   cpu_model      "host", "x86-64", "x86-64-v2", "x86-64-v3"
 *   memory       integer  memory_bytes   whole pages, CONFIG_MEMORY_MIN..CONFIG_MEMORY_MAX
 *   memory.huge  string   memory_huge    "no"; "2M" or "1G": pages of that size that the host has reserved
 *   boot.kernel  string   kernel_name    needs fd "kernel"; optional if there are disks: then kernel, initrd and root
 *                                        file system are looked for on the first one (board/boot_disk.h)
 *   boot.initrd  string   initrd_name    optional; needs fd "initrd"
 *   boot.cmdline string   cmdline        at most CONFIG_CMDLINE_MAX bytes
 *   boot.unpack  string   boot_unpack    optional: who unpacks a compressed kernel: "host" (if it can), "guest"
 *   console      string   console        "none", "stdio", "file", "pty"
 *   console.device string console_device "serial", "virtio"
 *   rng          boolean  rng            the virtio entropy device
 *   disk         array    disk, n_disks  optional: disks, each an object of {id, file, format "raw", ro, snapshot,
 *                cache, full, aio, serial, queues, block, bps, bps_burst, iops, iops_burst, changed}; disk number N needs
 *                fd "disk.N", with snapshot also "overlay.N"
 *   net          array    net, n_nets    optional: network cards, each an object of
 *                {id, kind "user"|"tap"|"socket", mac, mtu, queues, bytes_per_s, bytes_burst, packets_per_s, packets_burst,
 *                unplugged};
 *                card number N needs fd "net.N"
 *   share        array    share, n_shares  optional: shared folders, each an object of {tag, ro}; number N needs fd "share.N"
 *   rings        string   split_rings    optional: "split", no packed virtqueues are offered
 *   balloon      boolean  balloon        the virtio memory balloon, which also reports free pages
 *   agent        boolean  agent          a port of the virtio console for a guest agent
 *   vsock.cid    integer  vsock_cid      3..0xfffffffe; absent: no vsock device
 *   lpc          boolean  lpc            optional: false, without the ICH9 LPC bridge, as new machines are. Not said: with it, as
 *                in configurations that were saved when all machines had it
 *   debug_exit   boolean  debug_exit     the test device at port 0xf4
 *   no_reboot    boolean  no_reboot      a guest reset ends the VM
 *   on_crash     string   on_crash       triple fault or kernel panic: "stop" the VM, or "reset" it as a PC would
 *   sandbox      string   sandbox        optional: "on", "strict", "trace", "off"
 *
 * Of these the host's own are name, engine, soft.*, kvm.*, memory.huge, boot.unpack, console, no_reboot, on_crash and sandbox; of a disk file, cache, full, aio, changed and the
 * limits; of a network card kind, the limits and unplugged. The others are what the guest sees; with a saved state (fd "state") they must be as
 * they were when it was saved. Then the fds "kernel" and "initrd" are not there.
 */
#ifndef LODGE_PROTO_CONFIG_H
#define LODGE_PROTO_CONFIG_H

#include "util/base.h"
#include "util/err.h"
#include "util/json.h"

#define CONFIG_NAME_MAX 64u	 /* bytes */
#define CONFIG_CMDLINE_MAX 2047u /* Linux x86 COMMAND_LINE_SIZE is 2048 with the NUL */
#define CONFIG_CPUS_MAX 255u	 /* APIC ids 0..254 */
#define CONFIG_MEMORY_MIN (16 * MIB)
#define CONFIG_MEMORY_MAX (UINT64_C(1) << 40)
#define CONFIG_DISKS_MAX 8u
#define CONFIG_NETS_MAX 8u
#define CONFIG_SHARES_MAX 4u
#define CONFIG_ID_MAX 15u /* name of a device in a VM, bytes */
#define CONFIG_VSOCK_CID_MIN 3u
#define CONFIG_VSOCK_CID_MAX 0xfffffffeu
#define CONFIG_FILE_NAME_MAX 255u /* display name of a file, bytes */

enum config_engine { CONFIG_ENGINE_SOFT, CONFIG_ENGINE_KVM, CONFIG_ENGINES };
#define CONFIG_SOFT_CACHE_MIN (UINT64_C(4) << 20)
#define CONFIG_SOFT_CACHE_MAX (UINT64_C(1) << 30)
#define CONFIG_SOFT_CACHE_DEFAULT (UINT64_C(64) << 20)

/* The same order as enum soft_mode of engine/engine.h. */
enum config_soft_mode {
	CONFIG_SOFT_TRANSLATE,
	CONFIG_SOFT_REFERENCE,
	CONFIG_SOFT_LOCKSTEP,
	CONFIG_SOFT_CHAOS,
	CONFIG_SOFT_MODES
};
/* The same order as enum cpuid_model of x86/cpuid.h. */
enum config_cpu_model {
	CONFIG_CPU_HOST,
	CONFIG_CPU_V1,
	CONFIG_CPU_V2,
	CONFIG_CPU_V3,
	CONFIG_CPU_MODELS
};

enum config_kvm_pit {
	CONFIG_KVM_PIT_AUTO,
	CONFIG_KVM_PIT_BOARD,
	CONFIG_KVM_PIT_KERNEL,
	CONFIG_KVM_PITS
};

/* What the ACPI tables say: the fixed hardware that there is, or hardware-reduced. AUTO: hw_boot.c. */
enum config_acpi { CONFIG_ACPI_AUTO, CONFIG_ACPI_FULL, CONFIG_ACPI_REDUCED, CONFIG_ACPIS };

/* Pages of the guest's memory: the host's ordinary ones, or hugetlbfs. */
enum config_huge { CONFIG_HUGE_NO, CONFIG_HUGE_2M, CONFIG_HUGE_1G, CONFIG_HUGES };

/* What the console is for the operator; lodge-vm only looks at which console fds it got. */
enum config_console {
	CONFIG_CONSOLE_NONE,
	CONFIG_CONSOLE_STDIO,
	CONFIG_CONSOLE_FILE,
	CONFIG_CONSOLE_PTY,
	CONFIG_CONSOLES
};

/* Which device of the guest the console is. */
enum config_console_device { CONFIG_CONSOLE_SERIAL, CONFIG_CONSOLE_VIRTIO, CONFIG_CONSOLE_DEVICES };
/* How the VM process locks itself in: as far as the host lets it (on), or wholly or not at all (strict); naming a system call that it was
 * refused (trace); or not (off). */
enum config_sandbox {
	CONFIG_SANDBOX_ON,
	CONFIG_SANDBOX_STRICT,
	CONFIG_SANDBOX_TRACE,
	CONFIG_SANDBOX_OFF,
	CONFIG_SANDBOXES
};
/* Who unpacks the kernel of a bzImage. */
enum config_unpack { CONFIG_UNPACK_HOST, CONFIG_UNPACK_GUEST, CONFIG_UNPACKS };
enum config_on_crash { CONFIG_ON_CRASH_STOP, CONFIG_ON_CRASH_RESET, CONFIG_ON_CRASHES };

/* Names, NULL-terminated, indexed by the enums. */
extern const char *const config_engine_names[];
extern const char *const config_soft_mode_names[];
extern const char *const config_kvm_pit_names[];
extern const char *const config_acpi_names[];
extern const char *const config_cpu_model_names[];
extern const char *const config_huge_names[];
extern const char *const config_unpack_names[];
extern const char *const config_console_names[];
extern const char *const config_console_device_names[];
extern const char *const config_on_crash_names[];
extern const char *const config_sandbox_names[];
extern const char *const config_net_kind_names[];

/* What is behind a network card. For lodge-vm both are an open fd. */
enum config_net_kind {
	CONFIG_NET_USER,   /* a socket to lodge-nat */
	CONFIG_NET_TAP,	   /* a tap device of the host */
	CONFIG_NET_SOCKET, /* a socket to whoever is at its other end */
	CONFIG_NET_KINDS
};

#define CONFIG_NET_MTU_MIN 1280u
#define CONFIG_NET_MTU_MAX 65520u
#define CONFIG_NET_QUEUES_MAX 32u

struct config_net {
	char id[CONFIG_ID_MAX + 1]; /* "net0" */
	enum config_net_kind kind;
	uint8_t mac[6];
	unsigned mtu;			     /* 0: the guest decides */
	unsigned queues;		     /* pairs, 1..CONFIG_NET_QUEUES_MAX */
	uint64_t bytes_per_s, packets_per_s; /* limits of each direction; 0: none */
	uint64_t bytes_burst, packets_burst; /* at once after a rest; 0: the usual */
	bool unplugged;			     /* the cable is out */
};

/* Who keeps what was read and written: the host's page cache, or nobody (O_DIRECT). */
enum config_disk_cache { CONFIG_DISK_WRITEBACK, CONFIG_DISK_NONE, CONFIG_DISK_CACHES };
/* What happens when there is no room on the host: the VM pauses, or the guest is told. */
enum config_disk_full { CONFIG_DISK_PAUSE, CONFIG_DISK_REPORT, CONFIG_DISK_FULLS };
/* The same order as enum aio_kind of blk/aio.h. */
enum config_disk_aio { CONFIG_DISK_AUTO, CONFIG_DISK_URING, CONFIG_DISK_THREADS, CONFIG_DISK_AIOS };

extern const char *const config_disk_cache_names[];
extern const char *const config_disk_full_names[];
extern const char *const config_disk_aio_names[];

#define CONFIG_DISK_QUEUES_MAX 16u
#define CONFIG_DISK_SERIAL_MAX 20u

/* As struct blk_limits of blk/blk.h: a second, and at once. 0: no limit, the usual burst. */
struct config_disk_limits {
	uint64_t bps, bps_burst, iops, iops_burst;
};

struct config_disk {
	char id[CONFIG_ID_MAX + 1];	     /* "disk0" */
	char name[CONFIG_FILE_NAME_MAX + 1]; /* of the file, for messages */
	bool read_only;
	bool snapshot; /* writes go to the fd "overlay.N" and are thrown away */
	enum config_disk_cache cache;
	enum config_disk_full full;
	enum config_disk_aio aio;
	char serial[CONFIG_DISK_SERIAL_MAX + 1];
	unsigned queues; /* 1..CONFIG_DISK_QUEUES_MAX */
	unsigned block;	 /* 512 or 4096 */
	struct config_disk_limits limits;
	bool changed; /* with a saved state: the file may have been written since */
};

#define CONFIG_TAG_MAX 36u /* bytes, virtio 1.2 §5.11.4 */

/* A folder of the host, served by a process of its own. */
struct config_share {
	char tag[CONFIG_TAG_MAX + 1]; /* the name by which the guest mounts it */
	bool read_only;
};

struct vm_config {
	char name[CONFIG_NAME_MAX + 1];
	enum config_engine engine;
	enum config_soft_mode soft_mode;
	uint64_t soft_cache_bytes; /* of translated code, at most; CONFIG_SOFT_CACHE_* */
	bool soft_perf_map;
	bool soft_trace;
	uint64_t soft_trace_address; /* trace the translation of the code there */
	enum config_kvm_pit kvm_pit;
	enum config_acpi acpi;
	unsigned cpus;
	enum config_cpu_model cpu_model;
	uint64_t memory_bytes;
	enum config_huge memory_huge;
	char kernel_name[CONFIG_FILE_NAME_MAX + 1]; /* "": it is on the first disk */
	char initrd_name[CONFIG_FILE_NAME_MAX + 1]; /* "": no initrd */
	char cmdline[CONFIG_CMDLINE_MAX + 1];
	enum config_unpack boot_unpack;
	enum config_console console;
	enum config_console_device console_device;
	bool rng, balloon, agent;
	bool split_rings;   /* virtio devices offer no packed virtqueues */
	uint32_t vsock_cid; /* 0: no vsock device */
	bool lpc;	    /* the ICH9 LPC bridge is there */
	struct config_disk disk[CONFIG_DISKS_MAX];
	unsigned n_disks;
	struct config_net net[CONFIG_NETS_MAX];
	unsigned n_nets;
	struct config_share share[CONFIG_SHARES_MAX];
	unsigned n_shares;
	bool debug_exit;
	bool no_reboot;
	enum config_on_crash on_crash;
	enum config_sandbox sandbox;
};

/* Files that go with it, in the start message's "fds" array by these names. */
enum config_fd {
	CONFIG_FD_KERNEL, /* "kernel": regular file, read-only, any offset: use pread */
	CONFIG_FD_INITRD, /* "initrd": likewise */
	CONFIG_FD_CONSOLE_IN, /* "console-in": bytes to the guest's COM1; a read of 0 ends input, not the VM */
	CONFIG_FD_CONSOLE_OUT, /* "console-out": bytes from it; a file, pipe, pty or stream socket.
				   * O_NONBLOCK may be set on both: they are never shared with a terminal user */
	CONFIG_FD_PERF_MAP, /* "perf-map": empty regular file that `perf` will read, for appending */
	CONFIG_FD_KVM,	    /* "kvm": /dev/kvm, for the engine of that name */
	CONFIG_FD_AGENT_LISTEN, /* "agent-listen": listening SOCK_STREAM socket; its clients talk to the guest agent */
	CONFIG_FD_VSOCK_LISTEN, /* "vsock-listen": listening SOCK_STREAM socket; its clients connect to the guest */
	CONFIG_FD_VSOCK_OPENER, /* "vsock-opener": asks for connections of the guest, proto/opener.h */
	CONFIG_FD_STATE, /* "state": regular file, read-only: the saved state to begin with, kept open */
	CONFIG_FD_CONTROL_LISTEN, /* "control-listen": listening SOCK_SEQPACKET socket for more control clients */
	CONFIG_FD_CONTROL_EXTRA, /* "control-extra": another one */
	CONFIG_FD_DISK, /* "disk.0" to "disk.7": raw file or block device, locked, blocking; writable unless ro or snapshot */
	CONFIG_FD_DISK_LAST = CONFIG_FD_DISK + (int)CONFIG_DISKS_MAX - 1,
	CONFIG_FD_OVERLAY, /* "overlay.0" to "overlay.7": empty file of the disk's size, nobody else's */
	CONFIG_FD_OVERLAY_LAST = CONFIG_FD_OVERLAY + (int)CONFIG_DISKS_MAX - 1,
	CONFIG_FD_NET, /* "net.0" to "net.7": packets of a network card, as net/net.h says */
	CONFIG_FD_NET_LAST = CONFIG_FD_NET + (int)CONFIG_NETS_MAX - 1,
	CONFIG_FD_SHARE, /* "share.0" to "share.3": stream socket of a vhost-user file server, connected */
	CONFIG_FD_SHARE_LAST = CONFIG_FD_SHARE + (int)CONFIG_SHARES_MAX - 1,
	CONFIG_FDS
};

extern const char *const config_fd_names[];

struct config_fds {
	int fd[CONFIG_FDS]; /* -1: not there. Owned by who holds the struct */
};

/* Bytes of such a page; 0: ordinary ones. */
uint64_t config_huge_bytes(enum config_huge h);

void config_init(struct vm_config *c);	    /* defaults: 1 CPU, 512 MiB, soft translate, no files */
void config_fds_init(struct config_fds *f); /* all -1 */
void config_fds_close(struct config_fds *f); /* closes what is there */

/* A whole object, or NULL when out of memory. Caller owns it. */
json_t *config_to_json(const struct vm_config *c);
/* Validates everything; c is unspecified on error. */
int config_from_json(const json_t *j, struct vm_config *c, struct err *e);
/* The same checks on a struct, in the words of the keys above: for who fills one in by hand. */
int config_check(const struct vm_config *c, struct err *e);
/* Do two configurations in JSON describe the same machine for the guest? 0, or -EINVAL with a sentence that names the key. */
int config_same_machine(const json_t *saved, const json_t *now, struct err *e);
/* A 64-bit number, as in a kernel's symbol table: "0xffffffff81000000", or without the 0x. `what` begins the sentence. */
int config_parse_address(const char *what, const char *text, uint64_t *out, struct err *e);
/* 1..CONFIG_ID_MAX bytes of a-z 0-9 and -, beginning with a letter. */
int config_check_id(const char *id, struct err *e);
/* For config.c: the disks. Limits: the keys that are there are taken over. */
json_t *config_disk_to_json(const struct vm_config *c);
int config_disk_from_json(const json_t *list, struct vm_config *c, struct err *e);
/* One more, which is not checked against the others: config_check(). */
int config_disk_add(struct vm_config *c, const json_t *j, struct err *e);
int config_disk_limits_from_json(const json_t *j, struct config_disk_limits *l, struct err *e);
int config_disk_check(const struct vm_config *c, struct err *e);
/* "52:54:00:12:34:56", one card's own (not a group's, not all zero). */
int config_parse_mac(const char *text, uint8_t mac[6], struct err *e);
#define CONFIG_MAC_TEXT 18u /* bytes, with the NUL */
const char *config_format_mac(const uint8_t mac[6], char text[CONFIG_MAC_TEXT]);
/* For config.c: the shared folders. */
json_t *config_share_to_json(const struct vm_config *c);
int config_share_from_json(const json_t *list, struct vm_config *c, struct err *e);
int config_share_check(const struct vm_config *c, struct err *e);
/* For config.c: the network cards. */
json_t *config_net_to_json(const struct vm_config *c);
int config_net_from_json(const json_t *list, struct vm_config *c, struct err *e);
int config_net_add(struct vm_config *c, const json_t *j, struct err *e);
int config_net_check(const struct vm_config *c, struct err *e);
/* 1..64 bytes of a-z A-Z 0-9 . _ -, not beginning with . or -. */
int config_check_name(const char *name, struct err *e);

#endif
