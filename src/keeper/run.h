/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - from the words of `lodge run` to a VM that runs: what the files of the keeper share. The keeper is the process that opens
 * what the VM gets, starts its process, and lives with it until it ends.
 */
#ifndef LODGE_KEEPER_RUN_H
#define LODGE_KEEPER_RUN_H

#include <limits.h>
#include <sys/types.h>

#include "keeper/attach.h"
#include "keeper/launch.h"
#include "proto/config.h"
#include "proto/rundir.h"
#include "proto/status.h"
#include "util/err.h"
#include "util/opt.h"

/* ---- runopt.c: from words to a configuration ---- */

enum run_engine { RUN_ENGINE_AUTO, RUN_ENGINE_KVM, RUN_ENGINE_SOFT };
enum run_unpack { RUN_UNPACK_AUTO, RUN_UNPACK_HOST, RUN_UNPACK_GUEST };

/* The file of a disk; rundisk.c's own. */
struct run_disk {
	char *text; /* the words that the rest points into */
	const char *path;
	bool format_given;
	int fd; /* kept until the end: so that whoever looks for the holder of its lock finds us; -1: none */
	dev_t dev; /* once it is open: which file it is */
	ino_t ino;
	bool write;
	char id[CONFIG_ID_MAX + 1];
};

struct run_disks {
	struct run_disk disk[CONFIG_DISKS_MAX];
	unsigned n;
};

/* What is behind a network card; runnet.c's own. */
struct run_net {
	char *text; /* the words that the rest points into */
	const char *ifname, *network, *hostname;
	bool ipv6, host_loopback, restricted;
	const char *path; /* socket: of its name; NULL: fd */
	bool listen;
	int fd;
	pid_t pid;	 /* lodge-nat; -1: none */
	json_t *sandbox; /* how that is locked in; NULL: it has not said */
};

struct run_nets {
	struct run_net net[CONFIG_NETS_MAX];
	unsigned n;
	bool stay;	      /* the helpers go on when this process ends */
	unsigned forward_net; /* has the published ports */
	char forward[2560];   /* their list */
};

/* What a guest is told at its first start; runseed.c's own. */
struct run_seed {
	const char *user, *ssh_key, *hostname, *cloud_init;
	int fd;	       /* the disk with it, in memory; -1: none */
	char disk[64]; /* the --disk that it stands for */
};

/* What is behind a shared folder; runshare.c's own. */
struct run_share {
	char *text; /* the words that the rest points into */
	const char *path;
	bool is_socket; /* path is that of a server's socket */
	pid_t pid;	/* virtiofsd; -1: none */
	int fd;		/* its connection, kept so that it ends after the VM, by us; -1: none */
};

struct run_shares {
	struct run_share share[CONFIG_SHARES_MAX];
	unsigned n;
};

struct run_options {
	const char *kernel, *initrd, *cmdline, *name, *console, *control;
	const char *image;		    /* NULL: none */
	char image_disk[2 * PATH_MAX + 16]; /* the --disk that it stands for */
	uint64_t cpus, memory, timeout_s;   /* timeout 0: none */
	uint64_t cpu_weight, cpu_quota;	    /* 0: none */
	unsigned engine;		    /* enum run_engine */
	unsigned kernel_unpack;		    /* enum run_unpack */
	unsigned memory_huge;		    /* enum config_huge */
	unsigned cpu_model;		    /* enum config_cpu_model */
	uint64_t soft_cache;
	unsigned soft_mode; /* enum config_soft_mode */
	unsigned kvm_pit;   /* enum config_kvm_pit */
	unsigned acpi;	    /* enum config_acpi */
	const char *soft_trace;
	bool perf_map;
	unsigned rng, balloon;	 /* on_off */
	unsigned rings;		 /* ring_words */
	unsigned console_device; /* enum config_console_device */
	const char *agent, *vsock;
	uint64_t vsock_cid;
	struct opt_list disk;
	struct run_disks disks; /* made of it; rundisk_end() */
	struct run_seed seed;
	bool no_probe;
	struct opt_list share;
	struct run_shares shares; /* made of it; runshare_end() */
	struct opt_list net, publish;
	struct run_nets nets; /* made of them; runnet_end() */
	const char *restore;  /* a saved machine instead of a kernel */
	unsigned on_crash;    /* enum config_on_crash */
	unsigned sandbox;     /* enum config_sandbox */
	bool debug_exit, no_reboot, quiet, json_errors, help;
	bool detach, remove;
	struct {
		bool engine, name, no_reboot, on_crash, soft_mode, soft_cache, kvm_pit;
	} given; /* on the command line; looked at with `restore` */
};

/* Parses and checks what can be told from the words alone; what fails here is a usage error. Fills
 * in c but for the engine, and *console_path for file:PATH. */
int runopt_parse(int argc, char **argv, struct run_options *o, struct vm_config *c,
		 const char **console_path, struct err *e);
void runopt_print_help(FILE *f);
/* The options, for who writes them otherwise than as words; their offsets are those of struct run_options. */
const struct opt_def *runopt_table(unsigned *n);

/* ---- rungroup.c: the control group of the VM's processes ---- */

struct cgroup;

/* Makes it, if the host lets us, and has what is started from now on go into it. An error only if it was asked for by an option. */
int rungroup_open(struct cgroup *g, const struct run_options *o, const struct vm_config *c,
		  const struct rundir *run, struct err *e);
/* Its processes have ended. Also after an error. */
void rungroup_close(struct cgroup *g);
/* Writes down which folders of control groups there are, for who removes what is left. */
int rungroup_record(const struct cgroup *g, const struct rundir *run, struct err *e);

/* ---- runfile.c: checks against the host; opens what the VM gets ---- */

/* Opens a regular, readable, non-empty file; says `what` it was to be. fd or -errno. */
int runfile_open(const char *path, const char *what, const char *option, uint64_t *size,
		 struct err *e);
int runfile_check_memory(uint64_t memory_bytes, struct err *e);
/* Kernel and initrd into fds. */
int runfile_open_boot(const struct run_options *o, const struct vm_config *c,
		      struct config_fds *fds, struct err *e);
/* /dev/kvm into fds. */
int runfile_open_kvm(struct config_fds *fds, struct err *e);
/* file:PATH and pty; stdio is attach.c's. */
int runfile_open_console(const struct vm_config *c, const char *path, struct config_fds *fds,
			 struct err *e);

/* ---- rundisk.c: disks ---- */

/* Fills in c->disk of --disk. */
int rundisk_parse(const struct opt_list *words, struct vm_config *c, struct run_disks *disks,
		  struct err *e);
/* One --disk, for disk number `index` of a VM that runs: c->disk[0]. */
int rundisk_add(const char *word, unsigned index, struct vm_config *c, struct run_disks *disks,
		struct err *e);
/* The VM does not have the disk of this name any more: its file is let go. */
void rundisk_forget(struct run_disks *disks, const char *id);
/* The files of the disks in c, which is a saved machine's. */
int rundisk_restore(const struct opt_list *words, struct vm_config *c, struct run_disks *disks,
		    struct err *e);
/* Opens and locks the files. */
int rundisk_open(struct run_disks *disks, const struct vm_config *c, struct config_fds *fds,
		 struct err *e);
/* Locks the open file of a disk until it is closed, against writers, or against everybody. -EBUSY: the sentence names the holder. */
int rundisk_lock(int fd, bool write, const char *path, struct err *e);
/* Takes the disks' descriptors out of fds. */
void rundisk_keep(struct run_disks *disks, struct config_fds *fds);
/* Frees what rundisk_parse() made, and closes. Also after an error, and twice. */
void rundisk_end(struct run_disks *disks);
void rundisk_print_help(FILE *f);

/* ---- runseed.c: --user, --ssh-key, --hostname, --cloud-init ---- */

/* Can this be a host's name? The sentence begins with `option`. */
int runseed_hostname(const char *option, const char *name, unsigned max, struct err *e);
/* Adds a disk to the words of --disk if there is something to tell. restored: the guest has it already, in its last place. */
int runseed_parse(struct run_seed *s, struct opt_list *disks, bool restored, struct err *e);
/* Reads the files and fills the disk. name: the guest's without --hostname. */
int runseed_write(const struct run_seed *s, const char *name, struct err *e);
/* Also after an error, and twice. */
void runseed_end(struct run_seed *s);

/* ---- runnet.c: network cards ---- */

/* Fills in c->net of --net and --publish. */
int runnet_parse(const struct opt_list *words, const struct opt_list *ports, struct vm_config *c,
		 struct run_nets *nets, struct err *e);
/* One --net, for card number `index` of a VM that runs: c->net[0]. */
int runnet_add(const char *word, unsigned index, struct vm_config *c, struct run_nets *nets,
	       struct err *e);
/* What is behind the cards in c, which is a saved machine's. */
int runnet_restore(const struct opt_list *words, const struct opt_list *ports, struct vm_config *c,
		   struct run_nets *nets, struct err *e);
/* runnet_socket.c: the words of --net socket, and its open fd or -errno. May wait for the other end. */
int runnet_socket_check(const struct run_net *n, const char *word, struct err *e);
/* Refuses what only somebody who is there can have: another end that is waited for, a descriptor. */
int runnet_apart(const struct run_nets *nets, const char *word, struct err *e);
int runnet_socket_open(const struct run_net *n, struct err *e);
/* Opens tap devices, starts a lodge-nat for each user network. */
int runnet_open(struct run_nets *nets, const struct vm_config *c, struct config_fds *fds,
		struct err *e);
/* Ends the helpers and frees what runnet_parse() made. Also after an error, and twice. */
void runnet_end(struct run_nets *nets);
void runnet_print_help(FILE *f);
/* ---- runshare.c: shared folders ---- */

/* Fills in c->share of --share. */
int runshare_parse(const struct opt_list *words, struct vm_config *c, struct run_shares *shares,
		   struct err *e);
/* Starts a file server for each, or connects to it. */
int runshare_open(struct run_shares *shares, struct config_fds *fds, struct err *e);
/* Ends the servers and frees what runshare_parse() made. Also after an error, and twice. */
void runshare_end(struct run_shares *shares);
void runshare_print_help(FILE *f);

/* ---- restore.c: a saved machine ---- */

/* Opens the file of --restore and completes c, which has the options, from it. */
int restore_config(struct run_options *o, struct vm_config *c, int *fd, struct err *e);

/* ---- run.c: one VM ---- */

/* Runs it until it ends, or detached; words are those of the command line. Consumes state_fd. Returns the exit status. */
int run_parsed(struct run_options *o, struct vm_config *c, const char *console_path, int state_fd,
	       const json_t *words);

#endif
