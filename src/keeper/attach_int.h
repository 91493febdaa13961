/* SPDX-License-Identifier: Apache-2.0 */
/* attach_int.h - what the two files of the keeper share: attach.c (life of the VM) and attach_console.c (its console). */
#ifndef LODGE_KEEPER_ATTACH_INT_H
#define LODGE_KEEPER_ATTACH_INT_H

#include "keeper/run.h"
#include "keeper/escape.h"
#include "keeper/hub.h"
#include "proto/control.h"
#include "util/loop.h"

struct stream {
	size_t start, len; /* bytes waiting are [start, start + len) */
	uint8_t data[16384];
};

struct attach {
	const struct attach_options *opt;
	struct loop *loop;
	int control, console, signals;
	struct loop_fd *w_control, *w_console, *w_stdin, *w_stdout, *w_signals, *w_opener;
	struct plugsock *plug; /* NULL: no run directory */
	struct home *home;     /* likewise */
	bool started;	       /* the VM runs: info.json is written */
	struct hub *hub;       /* NULL: no run directory, or no console here */
	struct escape escape;
	bool escape_on; /* stdin is a terminal in raw mode */
	bool stdin_open, stdout_open;
	bool paused;
	uint64_t next_id;
	struct loop_timer timeout, kill;

	bool quitting;	 /* attach_quit() was called */
	int quit_status; /* what it was for */
	bool reaped;
	int wait_status;
	uint64_t oom_kills;   /* of the host when the VM began */
	int final;	      /* enum control_event that was the last word, or -1 */
	int final_status;     /* exit status that it means */
	char final_text[256]; /* what it said */

	/* Nobody reads what was not written there: pages of it are touched when they are needed. */
	struct stream typed, printed;
};

/* attach.c */
void attach_request(struct attach *a, enum control_cmd cmd);
/* Ends the VM; the exit status that this is to give. */
void attach_quit(struct attach *a, int status);
/* Ends the loop if all is done. */
void attach_finish(struct attach *a);

/* Writes info.json, if the VM runs. */
void attach_write_info(const struct attach *a);

/*
 * home.c: watches the run directory of the VM, and makes it anew when somebody has removed it. attach_home_end() writes into locks that
 * others may still look at how it ended (NULL: nothing), and lets them go. It accepts NULL.
 */
int attach_home(struct attach *a, struct err *e);
/* SIGIO came: something has changed there. */
void attach_home_changed(struct attach *a);
void attach_home_end(struct attach *a, const json_t *end);

/* attach_console.c */
/* The socket `console`, again. */
int attach_hub_again(struct attach *a, struct err *e);
/* The console stream, the hub, and unless we are detached the terminal. */
int attach_console_watch(struct attach *a, struct err *e);
/* Sets what each watch waits for by what the buffers hold. */
void attach_update(struct attach *a);

#endif
