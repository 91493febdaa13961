/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the files of the command line share.
 *
 * A command is a function that gets the words after its name and returns the exit status. It prints
 * its own errors with status_fail(), as one sentence or, with --json-errors, as one JSON object.
 */
#ifndef LODGE_CLI_CLI_H
#define LODGE_CLI_CLI_H

#include "keeper/run.h"
#include "proto/status.h"

struct cli_command {
	const char *name;
	const char *usage; /* what follows the name */
	const char *help;  /* one line */
	int (*run)(int argc, char **argv);
	void (*options)(FILE *f); /* prints the options, or NULL */
};

extern const struct cli_command cli_commands[]; /* commands.c; ends with a NULL name */

void cli_print_help(FILE *f, const struct cli_command *c);
/* Help of the command with this function, on stdout; returns STATUS_OK. */
int cli_own_help(int (*run)(int argc, char **argv));

/* Its options and what it says of them, as opt_mark_help() has them; malloc'd, or NULL. */
char *cli_marked_help(const struct cli_command *c);
/* man.c: a manual page in roff, by its name, on stdout. */
int man_print(const char *page, struct err *e);

/* By name; NULL with the error set, which suggests a near one. */
const struct cli_command *cli_find_command(const char *name, struct err *e);

int cli_version(int argc, char **argv);
int cli_help(int argc, char **argv);
int cli_run(int argc, char **argv); /* runcmd.c */
void cli_run_options(FILE *f);
int cli_image(int argc, char **argv); /* imagecmd.c */
void cli_image_options(FILE *f);
int cli_ctl(int argc, char **argv); /* ctl.c */
void cli_ctl_options(FILE *f);
/* Prints events until the VM ends. */
int ctl_events(int sock, struct err *e);
int cli_exec(int argc, char **argv); /* exec.c */
void cli_exec_options(FILE *f);
int cli_cp(int argc, char **argv); /* cp.c */
void cli_cp_options(FILE *f);
int cli_guest(int argc, char **argv); /* guestcmd.c */
void cli_guest_options(FILE *f);
/* ctldev.c: a request of the words behind "disk" or "net"; NULL: an error. */
json_t *ctldev_request(const char *device, int argc, char **argv, struct err *e);
int cli_doctor(int argc, char **argv); /* doctor.c */
void cli_doctor_options(FILE *f);

/* save.c */
/* `lodge ctl VM save FILE [--stop]`. *result is the caller's. */
int save_run(int sock, const char *path, bool stop, uint64_t deadline_ns, json_t **result,
	     struct err *e);

#endif
