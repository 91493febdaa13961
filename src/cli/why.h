/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.h - `lodge why VM`: what is gathered about a VM, and the rules that make one sentence of it.
 *
 * Facts are one JSON object, so that rules can be tested without a VM:
 *   "vm"       what `lodge info` knows: name, state, exit, config, started_ms, ... (vm_describe())
 *   "looks"    answers of the control command "look" (proto/control.h), one after another, the last WHY_SPAN_MS after the first
 *   "span_ms"  how long after it really
 *   "throttled" how often within the span its control group was stopped because its CPU time was used up
 *   "console"  the last of what the guest said since it was started or reset, as text
 *   "process"  {"state","swap_bytes","delay_permille"}: of the VM process, by the host's kernel: its letter in /proc/PID/stat, memory in swap,
 *              and which share of the span its vCPU that fared worst was ready to run and did not
 *   "keeper"   {"state"}
 *   "agent"    {"answers":bool,"addresses":[text,..]}: when one has the port open
 *   "lodged"   its definition, as GET /1.0/vms/NAME; "failed": the last operation, if it failed
 * A part that is not there is not known; no rule may take that for a fault.
 */
#ifndef LODGE_CLI_WHY_H
#define LODGE_CLI_WHY_H

#include "cli/vm.h"

#define WHY_SPAN_MS 200u
/* Of this much less than the span a VM waits for the host without being called slow, and so does one that is younger. */
#define WHY_DELAY_PERMILLE 250
#define WHY_YOUNG_MS 10000

/* The lower, the worse. */
enum why_level {
	WHY_STUCK,   /* it does not go on until somebody does something */
	WHY_SLOW,    /* it goes on, but hindered */
	WHY_CUT_OFF, /* it goes on, and is not to be reached */
	WHY_NOTE,    /* worth knowing; nothing is wrong */
	WHY_LEVELS
};
extern const char *const why_level_names[];

/* The findings: [{"level","about","text","do"}], the one that matters most first. `text` goes on from the VM's name: "is paused because ..". */
json_t *why_judge(const json_t *facts);
/* One sentence without a line feed, malloc'd. */
char *why_sentence(const json_t *facts, const json_t *findings);

/* ---- between why_judge.c and its rules ---- */

struct why {
	const json_t *facts, *vm, *first, *last; /* looks; NULL: none */
	const char *name;
	json_int_t span_ms;
	json_t *findings;
};

/* Adds one. `what_to_do` may be NULL; '@' in it becomes the VM's name. */
void why_find(struct why *w, enum why_level level, const char *about, const char *what_to_do,
	      const char *text, ...) PRINTF_FORMAT(5, 6);
json_int_t why_span_ms(const json_t *facts);
/* Members, "" and 0 where there is none. */
const char *why_text(const json_t *j, const char *key);
json_int_t why_number(const json_t *j, const char *key);
/* How much a counter went up between the first look and the last; `list` and `id` NULL: of the machine itself. */
json_int_t why_rise(const struct why *w, const char *list, const char *id, const char *key);

/* why_host.c: the VM's processes, its end, pauses, what lodged does. */
void why_host_rules(struct why *w);
/* why_guest.c: what the guest says on its console and what its processors do. */
/* The rest of the line behind the last place of `what`, without control characters; NULL: it does not say that. */
const char *why_last_said(const char *console, const char *what, char *out, size_t size);
void why_console_rules(struct why *w);
void why_cpu_rules(struct why *w);
/* why_device.c: disks, network cards, agent, memory. */
void why_device_rules(struct why *w);

#endif
