/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - JSON from outside: the configuration that a VM process is sent or finds in saved state, and requests of its
 * control socket. What is accepted has to survive the way to JSON and back: from the first JSON of ours on, nothing changes (what
 * came may have written the same in another way: a network card's address in capitals).
 */
#include "fuzz.h"

#include "proto/config.h"
#include "proto/control.h"
#include "util/json.h"

static void config(const json_t *j)
{
	static struct vm_config c, again;
	_autojson json_t *back = NULL, *twice = NULL;
	struct err e = {0};

	config_init(&c);
	if (config_from_json(j, &c, &e) < 0) {
		ASSERT(e.msg[0]);
		return;
	}
	back = config_to_json(&c);
	ASSERT(back);
	config_init(&again);
	if (config_from_json(back, &again, &e) < 0) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	twice = config_to_json(&again);
	if (!json_equal(back, twice) || config_same_machine(back, twice, &e) < 0) {
		fprintf(stderr, "another machine after the way to JSON and back %s\n", e.msg);
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_request r;
	_autojson json_t *j = NULL;
	json_t *result;
	struct err e = {0};

	if (json_parse((const char *)data, size, 64 * KIB, "input", &j, &e) < 0) {
		ASSERT(e.msg[0]);
		return 0;
	}
	config(j);
	if (control_parse_request(j, &r, &e) < 0)
		ASSERT(e.msg[0]);
	memset(&e, 0, sizeof(e));
	(void)control_parse_event(j);
	(void)control_parse_reply(j, 1, &result, &e);
	memset(&e, 0, sizeof(e));
	(void)control_error_parse(j, &e);
	return 0;
}

bool fuzz_seed(unsigned i, struct seed *s)
{
	static const char *const requests[] = {
		"{\"id\":1,\"cmd\":\"query\"}",
		"{\"id\":2,\"cmd\":\"balloon\",\"args\":{\"bytes\":1048576}}",
		"{\"id\":3,\"cmd\":\"disk-limit\",\"args\":{\"disk\":\"disk0\",\"bps\":1,\"iops_burst\":7}}",
		"{\"id\":4,\"cmd\":\"disk-grow\",\"args\":{\"disk\":\"disk0\",\"bytes\":8192}}",
		"{\"id\":5,\"cmd\":\"dump\",\"args\":{\"vcpu\":0}}",
		"{\"id\":6,\"cmd\":\"save\",\"args\":{\"hold\":true}}",
		"{\"event\":\"started\"}",
		"{\"id\":1,\"error\":{\"message\":\"no\",\"code\":\"EINVAL\",\"limit\":\"4\"}}",
	};
	_autojson json_t *j = NULL;
	_autofree char *text = NULL;
	struct vm_config c;

	if (i < ARRAY_SIZE(requests)) {
		text = strdup(requests[i]);
	} else if (i < 24) {
		config_init(&c);
		c.cpus = 1 + i % 4;
		c.memory_bytes = i * 64 * MIB;
		snprintf(c.kernel_name, sizeof(c.kernel_name), "vmlinuz");
		if (i & 1)
			snprintf(c.cmdline, sizeof(c.cmdline), "console=ttyS0 quiet");
		for (; c.n_disks < i % 3; c.n_disks++) {
			struct config_disk *d = &c.disk[c.n_disks];

			*d = (struct config_disk){.queues = 1, .block = 512, .limits.bps = i};
			snprintf(d->id, sizeof(d->id), "disk%u", c.n_disks);
			snprintf(d->name, sizeof(d->name), "x.raw");
		}
		for (; c.n_nets < i / 3 % 3; c.n_nets++) {
			struct config_net *n = &c.net[c.n_nets];

			*n = (struct config_net){.kind = CONFIG_NET_USER, .queues = 1, .mtu = 1500};
			snprintf(n->id, sizeof(n->id), "net%u", c.n_nets);
			n->mac[0] = 2;
			n->mac[5] = (uint8_t)c.n_nets;
		}
		c.vsock_cid = i & 4 ? 3 : 0;
		c.lpc = i & 8;
		j = config_to_json(&c);
		text = json_text(j);
	}
	for (const char *p = text; p && *p; p++)
		seed_put(s, (uint8_t)*p);
	return text;
}
