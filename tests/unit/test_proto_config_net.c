/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto_config_net.c - network cards: JSON there and back and all that must be refused; the words of --net and --publish.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "keeper/run.h"
#include "proto/config.h"

static void example(struct vm_config *c)
{
	config_init(c);
	strcpy(c->kernel_name, "vmlinuz");
	c->n_nets = 2;
	c->net[0] = (struct config_net){.id = "net0",
					.kind = CONFIG_NET_USER,
					.mac = {2, 0x4c, 0x47, 0xab, 0xcd, 0xef},
					.mtu = 65520,
					.queues = 1};
	c->net[1] = (struct config_net){.id = "lan",
					.kind = CONFIG_NET_TAP,
					.mac = {2, 0x4c, 0x47, 0, 0, 1},
					.queues = 4,
					.bytes_per_s = 1000000,
					.packets_per_s = 5};
}

static void round_trip(void **state)
{
	struct vm_config a, b;
	struct err e = {0};
	json_t *j;

	(void)state;
	example(&a);
	j = config_to_json(&a);
	assert_int_equal(config_from_json(j, &b, &e), 0);
	assert_int_equal(b.n_nets, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct config_net *x = &a.net[i], *y = &b.net[i];

		assert_string_equal(x->id, y->id);
		assert_int_equal(x->kind, y->kind);
		assert_memory_equal(x->mac, y->mac, 6);
		assert_int_equal(x->mtu, y->mtu);
		assert_int_equal(x->queues, y->queues);
		assert_int_equal(x->bytes_per_s, y->bytes_per_s);
		assert_int_equal(x->packets_per_s, y->packets_per_s);
	}
	json_unref(&j);
	a.n_nets = 0;
	j = config_to_json(&a);
	assert_null(json_object_get(j, "net"));
	assert_int_equal(config_from_json(j, &b, &e), 0);
	assert_int_equal(b.n_nets, 0);
	json_unref(&j);
}

/* One key of the first card replaced (NULL: taken away). */
static void refused(const char *key, json_t *value)
{
	struct vm_config c;
	struct err e = {0};
	json_t *j, *card;

	example(&c);
	j = config_to_json(&c);
	card = json_array_get(json_object_get(j, "net"), 0);
	if (value)
		json_object_set_new(card, key, value);
	else
		json_object_del(card, key);
	if (config_from_json(j, &c, &e) == 0)
		fail_msg("a bad \"%s\" was taken", key);
	assert_true(e.msg[0] != '\0');
	json_unref(&j);
}

static void bad_json(void **state)
{
	static const char *const keys[] = {"id",     "kind",	    "mac",	    "mtu",
					   "queues", "bytes_per_s", "packets_per_s"};
	struct vm_config c;
	json_t *j, *list = json_array();

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		refused(keys[i], NULL);
		refused(keys[i], json_null());
		refused(keys[i], json_array());
		refused(keys[i], json_integer(-1));
	}
	refused("colour", json_string("red"));
	refused("id", json_string("lan")); /* twice */
	refused("id", json_string(""));
	refused("id", json_string("Net0"));
	refused("id", json_string("0net"));
	refused("id", json_string("../../etc"));
	refused("id", json_string("a123456789012345"));
	refused("kind", json_string("wifi"));
	refused("mac", json_string("02:4c:47:00:00:01")); /* the other card's */
	refused("mac", json_string("03:4c:47:00:00:02")); /* a group's */
	refused("mac", json_string("00:00:00:00:00:00"));
	refused("mac", json_string("024c47000002"));
	refused("mac", json_string("02:4c:47:00:00:0g"));
	refused("mac", json_string("02-4c-47-00-00-02"));
	refused("mac", json_string("02:4c:47:00:00:02:03"));
	refused("mac", json_string("\x12\x12:4c:47:00:00:02"));
	refused("mtu", json_integer(1279));
	refused("mtu", json_integer(65521));
	refused("queues", json_integer(0));
	refused("queues", json_integer(33));

	example(&c);
	j = config_to_json(&c);
	json_object_set_new(j, "net", json_object());
	assert_true(config_from_json(j, &c, NULL) < 0);
	for (unsigned i = 0; i < CONFIG_NETS_MAX + 1; i++)
		json_array_append_new(list, json_object());
	json_object_set_new(j, "net", list);
	assert_true(config_from_json(j, &c, NULL) < 0);
	json_unref(&j);
}

/* The words of a command line, space between; `ports` likewise. */
static int words(char *nets, char *ports, struct vm_config *c, struct run_nets *out, struct err *e)
{
	struct opt_list n = {0}, p = {0};
	char *save = NULL;

	for (char *w = strtok_r(nets, " ", &save); w; w = strtok_r(NULL, " ", &save))
		n.word[n.n++] = w;
	for (char *w = strtok_r(ports, " ", &save); w; w = strtok_r(NULL, " ", &save))
		p.word[p.n++] = w;
	config_init(c);
	strcpy(c->name, "web");
	memset(out, 0, sizeof(*out));
	memset(e, 0, sizeof(*e));
	return runnet_parse(&n, &p, c, out, e);
}

static void good_words(void **state)
{
	struct run_nets nets;
	struct vm_config c;
	struct err e;

	(void)state;
	assert_int_equal(words((char[]){"none"}, (char[]){""}, &c, &nets, &e), 0);
	assert_int_equal(c.n_nets, 0);
	runnet_end(&nets);

	assert_int_equal(words((char[]){""}, (char[]){"8080:80 53:53/udp"}, &c, &nets, &e), 0);
	assert_int_equal(c.n_nets, 1);
	assert_int_equal(c.net[0].kind, CONFIG_NET_USER);
	assert_int_equal(c.net[0].mac[0], 2);
	assert_int_equal(c.net[0].mtu, 32000);
	assert_string_equal(c.net[0].id, "net0");
	assert_string_equal(nets.net[0].hostname, "web");
	assert_string_equal(nets.forward, "127.0.0.1:8080:80/tcp,127.0.0.1:53:53/udp");
	assert_true(nets.net[0].ipv6 && !nets.net[0].host_loopback);
	runnet_end(&nets);

	assert_int_equal(
		words((char[]){"tap,ifname=tap7,id=lan,queues=2,mtu=1500 "
			       "user,mac=52:54:00:00:00:01,ipv6=off,host-loopback,bps=1M,pps=9"},
		      (char[]){"1:1"}, &c, &nets, &e),
		0);
	assert_int_equal(c.n_nets, 2);
	assert_int_equal(c.net[0].kind, CONFIG_NET_TAP);
	assert_int_equal(c.net[0].mtu, 1500);
	assert_int_equal(c.net[0].queues, 2);
	assert_string_equal(nets.net[0].ifname, "tap7");
	assert_string_equal(c.net[1].id, "net1");
	assert_int_equal(c.net[1].mac[5], 1);
	assert_int_equal(c.net[1].bytes_per_s, 1 << 20);
	assert_int_equal(c.net[1].packets_per_s, 9);
	assert_true(!nets.net[1].ipv6 && nets.net[1].host_loopback);
	assert_int_equal(nets.forward_net, 1);
	runnet_end(&nets);
	runnet_end(&nets);
}

static void bad_words(void **state)
{
	static const struct {
		const char *nets, *ports, *says;
	} t[] = {
		{"usr", "", "user, tap, socket or none"},
		{"socket", "", "path=FILE or fd=N"},
		{"socket,path=/x,fd=5", "", "exclude each other"},
		{"socket,fd=5,listen=on", "", "listen needs a path"},
		{"socket,fd=2", "", "fd"},
		{"socket,path=/x,ifname=t", "", "no key \"ifname\""},
		{"socket,path=/x,ipv6=off", "", "no key \"ipv6\""},
		{"user,path=/x", "", "no key \"path\""},
		{"tap,ifname=t,fd=5", "", "no key \"fd\""},
		{"socket,path=/x", "80:80", "--net user"},
		{"none user", "", "none alone"},
		{"user,id=a,id=b", "", "twice"},
		{"user,ifname=x", "", "no key \"ifname\""},
		{"tap,ifname=t,ipv6=off", "", "no key \"ipv6\""},
		{"tap", "", "ifname=NAME"},
		{"tap,ifname=a/b", "", "cannot be the name"},
		{"tap,ifname=abcdefghijklmnop", "", "cannot be the name"},
		{"user,mac=ff:ff:ff:ff:ff:ff", "", "group's"},
		{"user,mac=x", "", "52:54:00"},
		{"user,mac=02:00:00:00:00:01 user,mac=02:00:00:00:00:01", "", "same address"},
		{"user user,id=net0", "", "net0"},
		{"user,mtu=65521", "", "65520"},
		{"user,queues=0", "", "queues"},
		{"user,quees=1", "", "did you mean queues"},
		{"user,bps=-1", "", "bps"},
		{"tap,ifname=t", "80:80", "--net user"},
		{"user", "80:80 80:81", "published already"},
		{"user", "80", "port of the guest"},
		{"user user user user user user user user user", "", "too many"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		char nets[200], ports[200];
		struct run_nets out;
		struct vm_config c;
		struct err e;

		strcpy(nets, t[i].nets);
		strcpy(ports, t[i].ports);
		if (words(nets, ports, &c, &out, &e) == 0)
			fail_msg("\"%s\" \"%s\" was taken", t[i].nets, t[i].ports);
		if (!strstr(e.msg, t[i].says))
			fail_msg("\"%s\": %s", t[i].nets, e.msg);
		runnet_end(&out);
	}
}

/* At a restore: what the guest does not see may be another. */
static void same_machine(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		struct vm_config a, b;
		struct err e = {0};
		json_t *was, *is;

		example(&a);
		a.n_disks = 1;
		a.disk[0] =
			(struct config_disk){.id = "d", .name = "a.raw", .queues = 1, .block = 512};
		b = a;
		switch (i) {
		case 0: b.net[0].kind = CONFIG_NET_TAP; break;
		case 1: b.net[1].bytes_per_s = 7; break;
		case 2: strcpy(b.disk[0].name, "b.raw"); break;
		case 3: b.disk[0].changed = true; break;
		case 4: b.disk[0].cache = CONFIG_DISK_NONE; break;
		case 5: b.boot_unpack = CONFIG_UNPACK_GUEST; break;
		case 6: b.net[0].mac[5]++; break;
		case 7: b.net[1].mtu = 1500; break;
		case 8: b.disk[0].read_only = true; break;
		case 9: b.n_disks = 0; break;
		case 10: b.lpc = true; break;
		case 11: b.acpi = CONFIG_ACPI_FULL; break;
		}
		was = config_to_json(&a);
		is = config_to_json(&b);
		assert_int_equal(config_same_machine(was, is, &e), i < 6 ? 0 : -EINVAL);
		json_decref(was);
		json_decref(is);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),	cmocka_unit_test(bad_json),
		cmocka_unit_test(good_words),	cmocka_unit_test(bad_words),
		cmocka_unit_test(same_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
