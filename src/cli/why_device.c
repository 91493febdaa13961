/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why_device.c - rules about what a guest waits for and is reached by: disks, network cards, console, agent; and its memory.
 */
#include <stdio.h>
#include <string.h>

#include "cli/why.h"

/* ---- disks ---- */

static void rule_disk(struct why *w, const json_t *disk)
{
	const char *id = why_text(disk, "id"), *error = why_text(disk, "error");
	json_int_t waits = why_number(disk, "in_flight"), held = why_number(disk, "held");
	char to_do[160], shown[120];

	err_quote(shown, sizeof(shown), why_text(disk, "file"));
	if (json_is_true(json_object_get(disk, "full"))) {
		why_find(w, WHY_STUCK, "disk", "make room on the host's file system",
			 "waits for room for its disk %s (\"%s\")", id, shown);
	} else if (held || why_rise(w, "disks", id, "throttled") > 0) {
		snprintf(to_do, sizeof(to_do),
			 "`lodge ctl @ disk limit %s bps=0 iops=0` takes the limit away", id);
		why_find(w, WHY_SLOW, "disk", to_do,
			 "is held back by the limits of its disk %s (bps %lld, iops %lld; %lld requests wait)",
			 id, (long long)why_number(disk, "bps"),
			 (long long)why_number(disk, "iops"), (long long)held);
	} else if (waits && why_rise(w, "disks", id, "done") == 0) {
		why_find(w, WHY_SLOW, "disk", "look after that storage (iostat, dmesg)",
			 "waits for its disk %s (\"%s\"): %lld requests are under way and none was done in the last %lld ms",
			 id, shown, (long long)waits, (long long)w->span_ms);
	}
	if (why_number(disk, "errors") && *error)
		why_find(w, WHY_NOTE, "disk", "look after that storage (dmesg)",
			 "has seen %lld errors of its disk %s (\"%s\", the last one %s)",
			 (long long)why_number(disk, "errors"), id, shown, error);
}

/* ---- network ---- */

static bool driven(const struct why *w, const char *id)
{
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(w->last, "devices"), i, d)
	{
		if (!strcmp(why_text(d, "id"), id))
			return json_is_true(json_object_get(d, "driver"));
	}
	return true; /* not known */
}

static void rule_net(struct why *w, const json_t *net)
{
	const char *id = why_text(net, "id");
	char to_do[120];

	if (json_is_false(json_object_get(net, "plugged"))) {
		snprintf(to_do, sizeof(to_do), "`lodge ctl @ net link %s up` puts it in", id);
		why_find(w, WHY_CUT_OFF, "net", to_do,
			 "is not to be reached because the cable of its network card %s is pulled",
			 id);
	} else if (!strcmp(why_text(net, "link"), "down")) {
		why_find(w, WHY_CUT_OFF, "net",
			 "restart the VM: the file `messages` of its run directory may say why",
			 "is not to be reached because nothing is behind its network card %s any more (%s)",
			 id, why_text(net, "kind"));
	} else if (why_rise(w, "nets", id, "throttled") > 0) {
		snprintf(to_do, sizeof(to_do),
			 "`lodge ctl @ net limit %s bps=0 pps=0` takes the limit away", id);
		why_find(w, WHY_SLOW, "net", to_do,
			 "is held back by the limits of its network card %s (bps %lld, packets %lld a second)",
			 id, (long long)why_number(net, "bps"), (long long)why_number(net, "pps"));
	} else if (!driven(w, id)) {
		why_find(w, WHY_NOTE, "net", "if it has started: is the driver virtio_net there?",
			 "does not use its network card %s", id);
	} else if (!why_number(net, "tx_packets")) {
		why_find(w, WHY_NOTE, "net", "set the card up in the guest (DHCP)",
			 "has not sent one packet by its network card %s", id);
	} else if (!why_number(net, "rx_packets") && why_number(net, "tx_packets") > 10) {
		why_find(w, WHY_CUT_OFF, "net",
			 "look after the other end of the card, and at the guest's addresses: `lodge guest @ addresses`",
			 "gets no answer by its network card %s: %lld packets sent, none received",
			 id, (long long)why_number(net, "tx_packets"));
	}
}

/* ---- the agent ---- */

static void rule_agent(struct why *w)
{
	const char *port = why_text(w->last, "agent");
	const json_t *agent = json_object_get(w->facts, "agent");
	size_t cards = json_array_size(json_object_get(w->last, "nets"));

	if (!strcmp(port, "none"))
		why_find(w, WHY_NOTE, "agent", "start it without `--agent off`",
			 "has no port for an agent, so that `lodge exec` and `lodge cp` do not work");
	else if (!strcmp(port, "closed"))
		why_find(w, WHY_NOTE, "agent",
			 "install the package qemu-guest-agent in it, or wait while it boots",
			 "has no agent that runs, so that `lodge exec` and `lodge cp` do not work");
	if (!agent)
		return;
	if (json_is_false(json_object_get(agent, "answers")))
		why_find(w, WHY_CUT_OFF, "agent", "`lodge console @` reaches it",
			 "has an agent that does not answer: its programs do not get to run, or the agent hangs");
	else if (cards && !json_array_size(json_object_get(agent, "addresses")))
		why_find(w, WHY_CUT_OFF, "net",
			 "set its network up: by DHCP it gets an address from `--net user`",
			 "is not to be reached because no network card of it has an address");
}

/* ---- memory, console ---- */

static void rule_memory(struct why *w)
{
	json_int_t memory = why_number(w->last, "memory"),
		   taken = why_number(w->last, "balloon_bytes");
	char a[40], b[40];

	if (memory && taken > memory / 2) {
		opt_format_size((uint64_t)taken, a, sizeof(a));
		opt_format_size((uint64_t)memory, b, sizeof(b));
		why_find(w, WHY_SLOW, "memory", "`lodge ctl @ balloon 0` gives it back",
			 "has given %s of its %s of memory to the balloon", a, b);
	}
}

static void rule_console(struct why *w)
{
	json_int_t waits = why_number(w->last, "console_pending");

	if (waits && waits == why_number(w->first, "console_pending") &&
	    !strcmp(why_text(json_object_get(w->vm, "config"), "console"), "stdio"))
		why_find(w, WHY_SLOW, "console",
			 "let the reader of `lodge run` go on, or start it with -d",
			 "is held back because nobody takes what it says on its console: %lld bytes wait",
			 (long long)waits);
}

void why_device_rules(struct why *w)
{
	const json_t *j;
	size_t i;

	if (!w->last || !strcmp(why_text(w->last, "state"), "paused"))
		return;
	json_array_foreach(json_object_get(w->last, "devices"), i, j)
	{
		if (json_is_true(json_object_get(j, "broken")))
			why_find(w, WHY_STUCK, "device",
				 "reset the machine (`lodge ctl @ reset`); its driver is at fault",
				 "cannot use its device %s any more: its driver broke the rules of virtio",
				 why_text(j, "id"));
	}
	json_array_foreach(json_object_get(w->last, "disks"), i, j)
	{
		rule_disk(w, j);
	}
	json_array_foreach(json_object_get(w->last, "nets"), i, j)
	{
		rule_net(w, j);
	}
	rule_memory(w);
	rule_console(w);
	rule_agent(w);
}
