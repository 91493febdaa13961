/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the files of the command line share.
 *
 * A command is a function that gets the words after its name and returns the exit status. It prints
 * its own errors with cli_fail(), as one sentence or, with --json-errors, as one JSON object.
 */
#ifndef LODGE_CLI_CLI_H
#define LODGE_CLI_CLI_H

#include <limits.h>
#include <sys/types.h>

#include "proto/config.h"
#include "proto/rundir.h"
#include "util/err.h"
#include "util/opt.h"

/* Exit statuses; docs/man-lodge-run.md explains them. 0..127 may also be the guest's own with
 * --debug-exit. */
enum cli_exit {
	CLI_EXIT_OK = 0,
	CLI_EXIT_RUNTIME = 1,
	CLI_EXIT_USAGE = 2,
	CLI_EXIT_CRASHED = 3,
	CLI_EXIT_NOT_FOUND = 4,
	CLI_EXIT_CONFLICT = 5,
	CLI_EXIT_PERMISSION = 6,
	CLI_EXIT_TIMEOUT = 124,
	CLI_EXIT_INTERRUPTED = 130,
};

struct cli_command {
	const char *name;
	const char *usage; /* what follows the name */
	const char *help;  /* one line */
	int (*run)(int argc, char **argv);
	void (*options)(FILE *f); /* prints the options, or NULL */
};

extern const struct cli_command cli_commands[]; /* commands.c; ends with a NULL name */

/* Prints e to stderr and returns `status`. */
int cli_fail(const struct err *e, enum cli_exit status);
/* The status that the error of a named VM is: not found, conflict, no permission, time-out, or another. */
enum cli_exit cli_status(const struct err *e);
/* The same for a field that is a configuration key: it is named as the option ("boot.kernel": --kernel). */
int cli_fail_option(struct err *e, enum cli_exit status);
void cli_set_json_errors(bool on);
void cli_print_help(FILE *f, const struct cli_command *c);
/* Help of the command with this function, on stdout; returns CLI_EXIT_OK. */
int cli_own_help(int (*run)(int argc, char **argv));

/* By name; NULL with the error set, which suggests a near one. */
const struct cli_command *cli_find_command(const char *name, struct err *e);

int cli_version(int argc, char **argv);
int cli_help(int argc, char **argv);
int cli_run(int argc, char **argv); /* run.c */
void cli_run_options(FILE *f);
int cli_image(int argc, char **argv); /* imagecmd.c */
void cli_image_options(FILE *f);
int cli_ctl(int argc, char **argv); /* ctl.c */
void cli_ctl_options(FILE *f);
/* Prints events until the VM ends. */
int ctl_events(int sock, struct err *e);
/* The control socket of a VM: a path, which has a slash in it or is there, or else the name of a VM. fd or -errno. */
int ctl_connect(const char *where, struct err *e);
int cli_exec(int argc, char **argv); /* exec.c */
void cli_exec_options(FILE *f);
int cli_cp(int argc, char **argv); /* cp.c */
void cli_cp_options(FILE *f);
int cli_guest(int argc, char **argv); /* guestcmd.c */
void cli_guest_options(FILE *f);
/* ctldev.c: a request of the words behind "disk" or "net"; NULL: an error. */
json_t *ctldev_request(const char *device, int argc, char **argv, struct err *e);
/* ctlplug.c: does it do that? It does; *result is the caller's, or NULL. */
bool ctlplug_is(const char *device, const char *verb);
int ctlplug_run(int sock, const char *device, const char *verb, const char *word, bool force,
		uint64_t deadline_ns, json_t **result, struct err *e);
int cli_doctor(int argc, char **argv); /* doctor.c */

/* ---- runopt.c: from words to a configuration ---- */

enum run_engine { RUN_ENGINE_AUTO, RUN_ENGINE_KVM, RUN_ENGINE_SOFT };

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
	pid_t pid; /* lodge-nat; -1: none */
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
	unsigned engine;		    /* enum run_engine */
	unsigned memory_huge;		    /* enum config_huge */
	unsigned cpu_model;		    /* enum config_cpu_model */
	uint64_t soft_cache;
	unsigned soft_mode; /* enum config_soft_mode */
	const char *soft_trace;
	bool perf_map;
	unsigned rng, balloon;	 /* on_off */
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
		bool engine, name, no_reboot, on_crash, soft_mode, soft_cache;
	} given; /* on the command line; looked at with `restore` */
};

/* Parses and checks what can be told from the words alone; what fails here is a usage error. Fills
 * in c but for the engine, and *console_path for file:PATH. */
int runopt_parse(int argc, char **argv, struct run_options *o, struct vm_config *c,
		 const char **console_path, struct err *e);
void runopt_print_help(FILE *f);

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
/* Takes the disks' descriptors out of fds. */
void rundisk_keep(struct run_disks *disks, struct config_fds *fds);
/* Frees what rundisk_parse() made, and closes. Also after an error, and twice. */
void rundisk_end(struct run_disks *disks);
void rundisk_print_help(FILE *f);

/* ---- runseed.c: --user, --ssh-key, --hostname, --cloud-init ---- */

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

/* ---- restore.c, save.c: saved machines ---- */

/* Opens the file of --restore and completes c, which has the options, from it. */
int restore_config(struct run_options *o, struct vm_config *c, int *fd, struct err *e);
/* `lodge ctl VM save FILE [--stop]`. *result is the caller's. */
int save_run(int sock, const char *path, bool stop, uint64_t deadline_ns, json_t **result,
	     struct err *e);

/* ---- launch.c: the VM process ---- */

/* Where a program of ours is: beside this one, or in libexec. */
int launch_find(const char *program, char *path, size_t size, struct err *e);
/* Starts it with argv and `n` descriptors (at most 2), which it finds as numbers 3 and up; they stay the caller's. `sandbox`: it
 * will lock itself in. */
int launch_program(const char *program, char *const argv[], const int *fds, unsigned n,
		   bool sandbox, pid_t *pid, struct err *e);
/* The same with any program. */
enum launch_how {
	LAUNCH_PLAIN,
	LAUNCH_SANDBOX,	 /* it will lock itself in */
	LAUNCH_OWN_USER, /* as root of a user name space that has this user only */
};
int launch_path(const char *path, char *const argv[], const int *fds, unsigned n,
		enum launch_how how, pid_t *pid, struct err *e);
/* Kills and reaps it. */
void launch_end(pid_t pid);
/* Starts it with the control socket, makes the file for --perf-map, and sends the start message. On success *control is the
 * caller's end. */
int launch_vm(const struct vm_config *c, const struct config_fds *fds, pid_t *pid, int *control,
	      struct err *e);

/* ---- attach.c: the keeper, lives with the VM until it ends ---- */

struct detach;

struct attach_options {
	const struct rundir *run; /* its lock is held; NULL: there is none */
	const json_t *info;	  /* for info.json, when the VM runs */
	struct detach *detach;	  /* NULL: on this terminal */
	pid_t pid;
	int control;	    /* owned by attach */
	int opener;	    /* our end for the guest's vsock connections, owned; if `vsock` */
	const char *vsock;  /* the path that they begin with; NULL: there are none */
	int console;	    /* our end of the console stream, owned; -1: none */
	uint64_t timeout_s; /* 0: none */
	bool restored;	    /* it goes on: its clock is behind */
	bool quiet;
	struct run_disks *disks; /* files of disks that are removed are let go */
};

/* From here on signals that end us wait for attach_run(): an end in the middle of a start leaves
 * nothing behind. */
void attach_hold_signals(void);
/* Returns the exit status. Terminal and process are cleaned up. */
int attach_run(const struct attach_options *o);

#endif
