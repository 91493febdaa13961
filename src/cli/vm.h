/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - commands for VMs by name, without a daemon: what they share. A VM is found in the run directory
 * (proto/rundir.h).
 */
#ifndef LODGE_CLI_VM_H
#define LODGE_CLI_VM_H

#include "cli/cli.h"
#include "cli/show.h"
#include "proto/vmsock.h"

struct vm_options {
	uint64_t timeout_s, tail;
	unsigned format;
	struct opt_list filter;
	bool quiet, all, force, follow, watch, take, frames, json_errors, help;
};

/* The entries of the commands' tables. */
#define VM_AT(field) offsetof(struct vm_options, field)
#define VM_OPT_END                                                                                  \
	{"json-errors", 0, OPT_FLAG, VM_AT(json_errors), "", "errors as JSON objects", 0, 0, NULL}, \
	{                                                                                           \
		"help", 'h', OPT_FLAG, VM_AT(help), "", "this help", 0, 0, NULL                     \
	}
#define VM_OPT_FORMAT                                                               \
	{                                                                           \
		"format", 0, OPT_CHOICE, VM_AT(format), "WORD",                     \
			"table, json, yaml or csv (table)", 0, 0, show_format_names \
	}
#define VM_OPT_QUIET(what)                                                 \
	{                                                                  \
		"quiet", 'q', OPT_FLAG, VM_AT(quiet), "", what, 0, 0, NULL \
	}
#define VM_OPT_FILTER                                                                                     \
	{                                                                                                 \
		"filter", 0, OPT_LIST, VM_AT(filter), "KEY=VALUE",                                        \
			"only those of which this is true, or KEY!=VALUE; * at the end; may be repeated", \
			0, 0, NULL                                                                        \
	}
#define VM_OPT_ALL                                                                            \
	{                                                                                     \
		"all", 'a', OPT_FLAG, VM_AT(all), "", "all VMs, instead of names", 0, 0, NULL \
	}
#define VM_OPT_FORCE(what)                                                 \
	{                                                                  \
		"force", 'f', OPT_FLAG, VM_AT(force), "", what, 0, 0, NULL \
	}
#define VM_OPT_TIMEOUT(what)                                                                     \
	{                                                                                        \
		"timeout", 't', OPT_UINT, VM_AT(timeout_s), "SECONDS", what, 0, UINT32_MAX, NULL \
	}

/* A command for some VMs: its options, and what it does with one of them. */
struct vm_verb {
	const struct opt_def *table;
	unsigned n_options;
	int (*run)(int argc, char **argv);
	bool many; /* takes several names */
	/* 0 or -errno. Exit status: of the error, or *status. */
	int (*one)(struct rundir *r, const struct vm_options *o, int *status, struct err *e);
	/* The same for a VM that is lodged's; NULL: they are not different. */
	int (*managed)(const char *name, const struct vm_options *o, struct err *e);
	/* With --host; NULL: `managed` serves. */
	int (*remote)(const char *name, const struct vm_options *o, int *status, struct err *e);
};

/* Parses, opens each VM and calls `one`; all of them, even if one fails. Returns the exit status, of the first that failed. */
int vm_each(const struct vm_verb *v, struct vm_options *o, int argc, char **argv);

/* With e, of a VM that was not found: if lodged has it, it only has not run yet. Returns -e->code. */
int vm_not_found(const char *name, struct err *e);
/* Appends the names of all VMs: those that the run directory knows, and lodged's. */
int vm_names(json_t *list, struct err *e);
/* Everything that is known of it: {name, state, ...}. */
json_t *vm_describe(const struct rundir *r);
/* As people say it: memory "512 MiB", uptime "3 min". */
void vm_humanise(json_t *j);

int vm_ls(int argc, char **argv); /* vmlook.c */
void vm_ls_options(FILE *f);
int vm_info(int argc, char **argv);
void vm_info_options(FILE *f);
int vm_pause(int argc, char **argv); /* vmlife.c */
int vm_resume(int argc, char **argv);
void vm_pause_options(FILE *f);
int vm_stop(int argc, char **argv);
void vm_stop_options(FILE *f);
int vm_start(int argc, char **argv);
int vm_restart(int argc, char **argv);
void vm_start_options(FILE *f);
int vm_rm(int argc, char **argv);
void vm_rm_options(FILE *f);
int vm_wait(int argc, char **argv);
void vm_wait_options(FILE *f);
int vm_events(int argc, char **argv);
void vm_events_options(FILE *f);
int vm_logs(int argc, char **argv); /* vmconsole.c */
void vm_logs_options(FILE *f);
int vm_console(int argc, char **argv);
void vm_console_options(FILE *f);
int cli_disk(int argc, char **argv); /* diskcmd.c */
void cli_disk_options(FILE *f);
int cli_host(int argc, char **argv); /* host.c */
void cli_host_options(FILE *f);
int cli_why(int argc, char **argv); /* why.c */
void cli_why_options(FILE *f);
/* remote.c: VMs of another host. */
int remote_rows(json_t *rows, struct err *e);
json_t *remote_describe(const char *name, struct err *e);
int remote_pause(const char *name, const struct vm_options *o, int *status, struct err *e);
int remote_resume(const char *name, const struct vm_options *o, int *status, struct err *e);
int remote_events(const char *name, const struct vm_options *o, int *status, struct err *e);
int remote_console(const char *name, const struct vm_options *o, int *status, struct err *e);
int remote_logs(const char *name, const struct vm_options *o, int *status, struct err *e);
/* Is there a command of this name for another host? */
bool remote_has(const char *command);
int cli_create(int argc, char **argv); /* dcmd.c */
/* Says that lodged does not run; the exit status. */
int dcmd_no_daemon(void);
int cli_apply(int argc, char **argv); /* apply.c */
int cli_diff(int argc, char **argv);
void cli_apply_options(FILE *f);
void cli_diff_options(FILE *f);
int cli_set(int argc, char **argv);
void cli_create_options(FILE *f);
int cli_operation(int argc, char **argv);
void cli_operation_options(FILE *f);
int cli_completion(int argc, char **argv); /* completion.c */
void cli_completion_options(FILE *f);

#endif
