/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why_guest.c - rules about the guest itself: what it said last on its console, and what its processors do.
 *
 * A console tells what the guest wants it to tell. So its words explain why a guest stands still and are never a reason to do anything
 * by themselves; they are shown without control characters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/why.h"

/* ---- console ---- */

const char *why_last_said(const char *console, const char *what, char *out, size_t size)
{
	const char *found = NULL;
	char line[160];
	size_t n;

	for (const char *p = console; (p = strstr(p, what)); p++)
		found = p;
	if (!found)
		return NULL;
	found += strlen(what);
	n = MIN(strcspn(found, "\r\n"), sizeof(line) - 1);
	memcpy(line, found, n);
	line[n] = '\0';
	return err_quote(out, size, line);
}

/* The last line that is not empty. */
static const char *last_line(const char *console, char *out, size_t size)
{
	const char *end = console + strlen(console), *begin;
	char line[160];
	size_t n;

	while (end > console && strchr(" \r\n", end[-1]))
		end--;
	begin = end;
	while (begin > console && begin[-1] != '\n' && begin[-1] != '\r')
		begin--;
	n = MIN((size_t)(end - begin), sizeof(line) - 1);
	memcpy(line, begin, n);
	line[n] = '\0';
	return err_quote(out, size, line);
}

/* Words that say by themselves why a guest does not go on. `at_end`: only if they are in the last line. */
static const struct sign {
	const char *words;
	bool at_end, rest; /* rest: the words after them belong to the text */
	enum why_level level;
	const char *text, *to_do;
} signs[] = {
	{"VFS: Unable to mount root fs", false, false, WHY_STUCK,
	 "has panicked because its kernel has no root file system that it can mount",
	 "check root= of --cmdline, the disks (--disk) and whether the initrd (--initrd) has the driver of the file system"},
	{"No working init found", false, false, WHY_STUCK,
	 "has panicked because its root file system has no program /sbin/init",
	 "check root= and init= of --cmdline, or rdinit= and the initrd"},
	{"Attempted to kill init", false, false, WHY_STUCK,
	 "has panicked because its first process (init) ended", "`lodge logs @` shows what it said"},
	{"System is deadlocked on memory", false, false, WHY_STUCK,
	 "has panicked because it has no memory left", "give it more (-m)"},
	{"Kernel panic - not syncing: ", false, true, WHY_STUCK, "has panicked: ",
	 "`lodge logs @` has the rest; --on-crash reset starts such a guest anew where its kernel reports panics (pvpanic)"},
	{"Waiting for root device ", true, true, WHY_STUCK,
	 "waits for a root device that it does not have: ",
	 "give it that disk (--disk), or correct root= of --cmdline"},
	{"Gave up waiting for root", false, false, WHY_STUCK,
	 "stands at the shell of its initramfs because the root device is not there",
	 "check root= of --cmdline and the disks (--disk); `lodge console @` reaches the shell"},
	{"No root device specified", false, false, WHY_STUCK,
	 "stands at the shell of its initramfs because the kernel command line names no root device",
	 "add root= to --cmdline"},
	{"(initramfs)", true, false, WHY_STUCK, "stands at the shell of its initramfs",
	 "`lodge console @` reaches it, and `lodge logs @` shows why it is there"},
	{"Give root password for maintenance", true, false, WHY_STUCK,
	 "stands in systemd's emergency mode", "`lodge console @` reaches it"},
	{"You are in emergency mode", false, false, WHY_STUCK, "is in systemd's emergency mode",
	 "`lodge console @` reaches it, and `lodge logs @` shows what failed"},
	{"passphrase", true, false, WHY_STUCK, "waits for a passphrase on its console",
	 "`lodge console @`"},
	{"Please unlock disk", true, false, WHY_STUCK, "waits for a passphrase on its console",
	 "`lodge console @`"},
	{"reboot: System halted", true, false, WHY_STUCK,
	 "has halted: it shut down without powering off",
	 "`lodge stop -f @` ends it; in the guest: poweroff instead of halt"},
	{"rcu: INFO: rcu_", false, false, WHY_SLOW,
	 "reports CPUs that stand still (RCU stall), because it gets too little of the host or its kernel hangs",
	 "`lodge logs @` shows where"},
	{"watchdog: BUG: soft lockup", false, false, WHY_SLOW,
	 "reports a CPU that is stuck in its kernel (soft lockup)", "`lodge logs @` shows where"},
	{"blocked for more than", false, false, WHY_SLOW,
	 "reports a program that waits for its disk or network for minutes (hung task)",
	 "`lodge ctl @ disks` shows whether a disk does not answer"},
	{"Out of memory: Killed process ", false, true, WHY_SLOW,
	 "ran out of memory and has killed a program: ", "give it more (-m), or swap"},
	{"Remounting filesystem read-only", false, false, WHY_SLOW,
	 "has made a file system read-only after an error of its disk",
	 "look after the disk on the host, then run fsck in the guest"},
	{"login:", true, false, WHY_NOTE, "waits for somebody to log in on its console",
	 "`lodge console @`"},
};

/* Nothing at all: most likely its kernel speaks elsewhere. One whose agent answers is well, and just quiet. */
static void rule_silent(struct why *w, const char *console)
{
	const json_t *agent = json_object_get(w->facts, "agent");

	if (!json_object_get(w->facts, "console") || console[strspn(console, " \r\n")] ||
	    why_number(w->last, "uptime_ms") < WHY_YOUNG_MS ||
	    json_is_true(json_object_get(agent, "answers")))
		return;
	why_find(w, WHY_CUT_OFF, "console",
		 "the kernel's console must be the VM's: console=ttyS0 on its command line, or console=hvc0 with --console-device virtio",
		 "has said nothing on its console since it was started");
}

void why_console_rules(struct why *w)
{
	const char *console = why_text(w->facts, "console"), *found;
	char last[160], rest[120];

	if (!w->last || strcmp(why_text(w->last, "state"), "paused") == 0)
		return;
	last_line(console, last, sizeof(last));
	for (unsigned i = 0; i < ARRAY_SIZE(signs); i++) {
		const struct sign *s = &signs[i];

		found = why_last_said(s->at_end ? last : console, s->words, rest, sizeof(rest));
		if (!found)
			continue;
		for (size_t n = strlen(rest); n && rest[n - 1] == '.'; n--)
			rest[n - 1] = '\0'; /* the sentence goes on */
		why_find(w, s->level, "console", s->to_do, "%s%s", s->text, s->rest ? found : "");
		return;
	}
	rule_silent(w, console);
}

/* ---- processors ---- */

/* Of vCPU i: in all looks it ran, within how many bytes of code, with interrupts off or on, at which level. */
struct spin {
	bool runs, interrupts, kernel;
	uint64_t low, high;
};

static void look_at(const json_t *looks, size_t cpu, struct spin *s)
{
	const json_t *look;
	size_t i;

	*s = (struct spin){.runs = json_array_size(looks) > 2, .kernel = true, .low = UINT64_MAX};
	json_array_foreach((json_t *)(uintptr_t)looks, i, look)
	{
		const json_t *v = json_array_get(json_object_get(look, "vcpus"), cpu);
		uint64_t rip = strtoull(why_text(v, "rip"), NULL, 0);

		s->runs &= !strcmp(why_text(v, "doing"), "runs");
		s->interrupts |= json_is_true(json_object_get(v, "interrupts"));
		s->kernel &= why_number(v, "cpl") == 0;
		s->low = MIN(s->low, rip);
		s->high = MAX(s->high, rip);
	}
}

/* How much of the span vCPU i used, in percent. */
static json_int_t share(const struct why *w, size_t i)
{
	json_int_t us = why_number(json_array_get(json_object_get(w->last, "vcpus"), i), "cpu_us") -
			why_number(json_array_get(json_object_get(w->first, "vcpus"), i), "cpu_us");

	return us / (10 * w->span_ms);
}

#define SPIN_BYTES 512u

static bool rule_dead(struct why *w)
{
	const json_t *v;
	size_t i, dead = 0;

	json_array_foreach(json_object_get(w->last, "vcpus"), i, v)
	{
		const char *doing = why_text(v, "doing");

		if (strcmp(doing, "dead") != 0 && strcmp(doing, "off") != 0)
			return false;
		dead += !strcmp(doing, "dead");
	}
	if (!dead)
		return false;
	why_find(w, WHY_STUCK, "cpu",
		 "`lodge stop -f @` ends it, `lodge ctl @ reset` starts it anew; `lodge logs @` shows what it said before",
		 "has halted for good: %s with interrupts off, and nothing can wake %s",
		 dead == 1 ? "its CPU sleeps" : "all its CPUs sleep", dead == 1 ? "it" : "them");
	return true;
}

static void rule_spin(struct why *w)
{
	const json_t *looks = json_object_get(w->facts, "looks");
	size_t n = json_array_size(json_object_get(w->last, "vcpus")), busy = 0;

	for (size_t i = 0; i < n; i++) {
		struct spin s;
		json_int_t used = share(w, i);

		look_at(looks, i, &s);
		busy += used >= 90;
		/* One that does not get to run is found at the same place, too. */
		if (!s.runs || s.high - s.low > SPIN_BYTES || !s.kernel || used < 10)
			continue;
		if (!s.interrupts) {
			why_find(w, WHY_STUCK, "cpu",
				 "`lodge ctl @ dump` shows its registers, `lodge ctl @ reset` starts the guest anew",
				 "hangs: its CPU %zu spins with interrupts off at %#llx", i,
				 (unsigned long long)s.low);
			return;
		}
		why_find(w, WHY_SLOW, "cpu", "`lodge ctl @ dump` shows its registers",
			 "has a CPU (%zu) that spins in its kernel at %#llx", i,
			 (unsigned long long)s.low);
		return;
	}
	/* Whoever comes up is busy. */
	if (n && busy == n && why_number(w->last, "uptime_ms") >= WHY_YOUNG_MS)
		why_find(w, WHY_SLOW, "cpu",
			 "that is well if it has work to do; else look with `lodge exec @ -- top -b -n 1`, or give it more CPUs (-c)",
			 "has no processor time to spare: %s busy all the time",
			 n == 1 ? "its CPU is" : "all its CPUs are");
}

/* Nothing but a device can wake it: no timer is set. Only told of guests that sleep in all looks. */
static void rule_asleep(struct why *w)
{
	const json_t *looks = json_object_get(w->facts, "looks"), *look, *v;
	size_t i, k;

	if (strcmp(why_text(w->last, "engine"), "soft") != 0)
		return; /* the other one keeps its timers to itself */
	json_array_foreach((json_t *)(uintptr_t)looks, i, look)
	{
		json_array_foreach(json_object_get(look, "vcpus"), k, v)
		{
			const char *doing = why_text(v, "doing");

			if (json_object_get(v, "timer_ms") || !strcmp(doing, "runs") ||
			    !strcmp(doing, "dead"))
				return;
		}
	}
	why_find(w, WHY_NOTE, "cpu", NULL,
		 "sleeps with no timer of its CPUs set, so only a device wakes it");
}

void why_cpu_rules(struct why *w)
{
	json_int_t resets = why_number(w->last, "resets");

	if (!w->last || strcmp(why_text(w->last, "state"), "paused") == 0)
		return;
	if (!rule_dead(w)) {
		rule_spin(w);
		rule_asleep(w);
	}
	if (resets >= 3 && why_number(w->last, "uptime_ms") / resets < 120000)
		why_find(w, WHY_SLOW, "reset", "`lodge logs @` shows what it says before it does",
			 "starts anew over and over: %lld resets in %lld s", (long long)resets,
			 (long long)why_number(w->last, "uptime_ms") / 1000);
}
