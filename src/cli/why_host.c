/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why_host.c - rules about the host's side of a VM: its processes, how it ended, why it is paused, what lodged does with it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/why.h"

static const char again[] = "`lodge start @` starts it again";

/* ---- it has ended ---- */

static void killed(struct why *w, const json_t *exit)
{
	int sig = (int)why_number(exit, "signal");
	const char *word = sigabbrev_np(sig);
	char limit[120];

	if (sig == SIGSYS)
		why_find(w, WHY_STUCK, "end",
			 "`--sandbox trace` names the call; please report it, this is a fault of Lodge's",
			 "was ended by its sandbox: its process made a system call that it may not make");
	else if (sig == SIGKILL && json_object_get(exit, "limit"))
		why_find(w, WHY_STUCK, "end",
			 "start it again; if that does not last, please report it: the limit is one of Lodge's (docs/security.md)",
			 "was killed by the kernel because its processes wanted more memory than their control group may have (%s)",
			 err_quote(limit, sizeof(limit), why_text(exit, "limit")));
	else if (sig == SIGKILL && json_is_true(json_object_get(exit, "oom")))
		why_find(w, WHY_STUCK, "end",
			 "give the guest less (-m) or the host more, then start it again",
			 "was killed by the kernel because the host, or a control group that it is in, had no memory left");
	else if (sig)
		why_find(w, WHY_STUCK, "end", again,
			 "ended because its process was killed from outside by signal %d (SIG%s)",
			 sig, word ? word : "?");
	else
		why_find(w, WHY_STUCK, "end", again,
			 "ended because its process went without a word; `lodge logs` and the file `messages` of its run directory may say more");
}

/* It ended by itself or by request: not a fault. */
static void ended_well(struct why *w, const json_t *exit)
{
	const char *cause = why_text(exit, "cause");
	json_int_t status = why_number(exit, "status");

	if (!strcmp(cause, "timeout"))
		why_find(w, WHY_NOTE, "end", again, "is not running: its --timeout was over");
	else if (!strcmp(cause, "guest-exit"))
		why_find(w, WHY_NOTE, "end", again,
			 "is not running: the guest ended it by the test device, with status %lld",
			 (long long)status);
	else
		why_find(w, WHY_NOTE, "end", again, "is not running: %s",
			 !strcmp(cause, "poweroff")   ? "the guest has powered itself off" :
			 !strcmp(cause, "reset")      ? "the guest reset, with --no-reboot" :
			 status == STATUS_INTERRUPTED ? "its keeper was ended by a signal" :
							"it was ended by request");
}

static void rule_ended(struct why *w)
{
	const char *state = why_text(w->vm, "state"), *text;
	const json_t *exit = json_object_get(w->vm, "exit");
	char shown[200], panic[160];

	if (strcmp(state, "stopped") != 0 && strcmp(state, "crashed") != 0 &&
	    strcmp(state, "failed") != 0 && strcmp(state, "dead") != 0)
		return;
	text = err_quote(shown, sizeof(shown), why_text(exit, "text"));
	if (!strcmp(state, "dead"))
		why_find(w, WHY_STUCK, "end", again,
			 "ended because its keeper (process %lld) was killed, and the VM with it",
			 (long long)why_number(w->vm, "keeper"));
	else if (!strcmp(state, "crashed") &&
		 why_last_said(why_text(w->facts, "console"), "Kernel panic - not syncing: ", panic,
			       sizeof(panic)))
		why_find(w, WHY_STUCK, "end", "`lodge logs @` has the rest",
			 "ended because its kernel panicked: %s", panic);
	else if (!strcmp(state, "crashed"))
		why_find(w, WHY_STUCK, "end", "`lodge logs @` has its last words", "crashed: %s",
			 *text ? text : "a triple fault");
	else if (!strcmp(why_text(exit, "cause"), "killed"))
		killed(w, exit);
	else if (!strcmp(state, "failed"))
		why_find(w, WHY_STUCK, "end", again, "could not go on: %s", text);
	else if (exit)
		ended_well(w, exit);
	else
		why_find(w, WHY_NOTE, "end", again, "is not running");
}

/* ---- lodged ---- */

static void rule_lodged(struct why *w)
{
	const json_t *def = json_object_get(w->facts, "lodged"), *error;
	const char *state = why_text(def, "state");
	const json_t *exit = json_object_get(w->vm, "exit");
	char shown[300];

	if (!strcmp(state, "waiting"))
		why_find(w, WHY_STUCK, "lodged", "`lodge stop @` ends that",
			 "has ended with status %lld and is about to be started again by lodged (restart: %s)",
			 (long long)why_number(exit, "status"), why_text(def, "restart"));
	else if (!strcmp(state, "busy"))
		why_find(w, WHY_NOTE, "lodged", NULL,
			 "is being worked on: operation %lld of lodged goes on",
			 (long long)why_number(def, "operation"));
	error = json_object_get(json_object_get(w->facts, "failed"), "error");
	if (error && w->last == NULL)
		why_find(w, WHY_STUCK, "lodged", "mend that, then `lodge start @`",
			 "does not run because its last %s failed: %s",
			 why_text(json_object_get(w->facts, "failed"), "verb"),
			 err_quote(shown, sizeof(shown), why_text(error, "message")));
	if (def && !strcmp(why_text(w->vm, "state"), "defined"))
		why_find(w, WHY_NOTE, "lodged", "`lodge start @`",
			 "is defined and has not been started");
}

/* ---- its processes ---- */

static void rule_processes(struct why *w)
{
	const char *vm = why_text(json_object_get(w->facts, "process"), "state");
	const char *keeper = why_text(json_object_get(w->facts, "keeper"), "state");
	long long pid = why_number(w->vm, "vm"), keeper_pid = why_number(w->vm, "keeper");
	bool stuck = !strcmp(why_text(w->vm, "state"), "stuck");
	char cont[64];

	if (!strcmp(why_text(w->vm, "state"), "starting"))
		why_find(w, WHY_STUCK, "process", "`lodge ls` shows when it runs",
			 "is starting: its VM process is not up yet");
	if (*vm == 'T' || *vm == 't') {
		snprintf(cont, sizeof(cont), "`kill -CONT %lld` lets it go on", pid);
		why_find(w, WHY_STUCK, "process", *vm == 'T' ? cont : NULL,
			 "stands still because its VM process (%lld) was %s", pid,
			 *vm == 'T' ? "stopped by a signal" : "stopped by a debugger");
	} else if (stuck && *vm == 'D') {
		why_find(w, WHY_STUCK, "process", "look at that disk or file server",
			 "stands still because its VM process (%lld) waits in the host's kernel, for a disk of the host most likely",
			 pid);
	} else if (stuck) {
		why_find(w, WHY_STUCK, "process", "`lodge stop -f @` ends it",
			 "does not answer: its VM process (%lld) has not spoken for half a second",
			 pid);
	}
	if (*keeper == 'T' || *keeper == 't') {
		snprintf(cont, sizeof(cont), "`kill -CONT %lld` lets it go on", keeper_pid);
		why_find(w, WHY_CUT_OFF, "process", cont,
			 "has no console because its keeper (process %lld) was stopped", keeper_pid);
	}
}

/* ---- paused ---- */

static void rule_paused(struct why *w)
{
	const char *by = why_text(w->last, "paused_by");
	const json_t *disk;
	char shown[160];
	size_t i;

	if (strcmp(why_text(w->last, "state"), "paused") != 0)
		return;
	json_array_foreach(json_object_get(w->last, "disks"), i, disk)
	{
		const char *error = why_text(disk, "error");

		err_quote(shown, sizeof(shown), why_text(disk, "file"));
		if (json_is_true(json_object_get(disk, "full"))) {
			why_find(w, WHY_STUCK, "disk", "make room there, then `lodge resume @`",
				 "is paused because there is no room for its disk %s on the host's file system (%s, \"%s\")",
				 why_text(disk, "id"), *error ? error : "ENOSPC", shown);
			return;
		}
		if (!strcmp(by, "disk") && *error) {
			why_find(w, WHY_STUCK, "disk",
				 "look after that storage; `lodge resume @` lets the guest see the error",
				 "is paused because writing its disk %s failed (%s, \"%s\")",
				 why_text(disk, "id"), error, shown);
			return;
		}
	}
	why_find(w, WHY_STUCK, "pause", "`lodge resume @` lets it go on", "is paused%s",
		 !strcmp(by, "request") ? " because somebody asked for it" :
		 !strcmp(by, "save")	? " since it was saved" :
					  "");
}

/* ---- the host is too small ---- */

static void rule_host(struct why *w)
{
	const json_t *p = json_object_get(w->facts, "process");
	json_int_t delay = why_number(p, "delay_permille"), swap = why_number(p, "swap_bytes");
	char text[40];

	/* Time that it may not use is counted as time that it waits. */
	if (why_number(w->facts, "throttled") > 0)
		why_find(w, WHY_SLOW, "host", "start it with a larger --cpu-quota, or without",
			 "is slow because it uses up the CPU time that its control group gives it (--cpu-quota)");
	else if (delay >= WHY_DELAY_PERMILLE && why_number(w->last, "uptime_ms") >= WHY_YOUNG_MS)
		why_find(w, WHY_SLOW, "host", "stop something else, or give it fewer CPUs",
			 "is slow because it waits for the host's processors %lld %% of the time",
			 (long long)delay / 10);
	if (swap >= (json_int_t)(32 * MIB)) {
		opt_format_size((uint64_t)swap, text, sizeof(text));
		why_find(w, WHY_SLOW, "host", "the host needs more memory, or fewer guests",
			 "is slow because %s of its memory are in the host's swap", text);
	}
}

void why_host_rules(struct why *w)
{
	rule_lodged(w);
	rule_ended(w);
	rule_processes(w);
	rule_paused(w);
	rule_host(w);
}
